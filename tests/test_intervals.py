"""What intervals and tests are of: which flows, which rows, which kept numbers; and DeLong and Holm once more by
their definitions."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from scipy.stats import norm

from janus_bench.extensions import Metric
from reports.results.folder import RunStore
from reports.results.measures import Measure
from reports.results.model import Results
from reports.statistics import intervals
from reports.statistics.bootstrap import CellScores, resample
from reports.statistics.intervals import kept_statistics, leaderboard_statistics
from reports.statistics.tests import delong_over_seeds
from tests.test_compare import AUROC, NAMES, SEEDS, compared, scores, truth, write_folder


def changed_plan(folder: Path, **changes: Any) -> None:
    store = RunStore.open(folder)
    plan = store.plans()[-1]
    store.write_plan(replace(plan, **changes))


def test_a_target_whose_positives_are_no_attacks_is_in_no_interval_of_a_mean(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "runs")
    entries = RunStore.open(folder).plans()[0].datasets
    changed_plan(folder, datasets={**entries, "gamma": replace(entries["gamma"], task="class shift")})
    (table,) = Results.open(folder).tables()
    found = leaderboard_statistics(table, AUROC, resamples=20)["summaries"]["cross_mean"]["detectors"]["good"]["cells"]
    pairs = {(cell["source"], cell["target"]) for cell in found}
    assert pairs == {(source, target) for source in NAMES for target in ("alpha", "beta") if source != target}


def test_a_row_that_was_compared_with_nobody_has_no_letter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (table,) = Results.open(write_folder(tmp_path / "runs", ("good", "poor"))).tables()
    made = intervals._differences
    monkeypatch.setattr(intervals, "_differences", lambda *of: [{**each, "p_holm": None} for each in made(*of)])
    for summary in leaderboard_statistics(table, AUROC, resamples=20)["summaries"].values():
        rows = summary["detectors"].values()
        assert {row["group"] for row in rows} == {""}  # as where there is one network
        assert {row["group_these"] for row in rows} <= {"a", "b"}


def test_kept_intervals_are_of_their_metric_and_of_their_aggregator(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "runs", ("good",))
    store = RunStore.open(folder)
    for record in store.records().values():
        table = store.scores(record.key).rename({"score": "first"})
        store.write_scores(record.key, table.with_columns(second=-pl.col("first")))
        store.append(replace(record, aggregator="column:first"))
    declared = store.plans()[0].detectors["good"]
    means: dict[str, float] = {}
    half, quarter = (
        Measure(Metric(name, "", lambda cell, value=value: value)) for name, value in (("half", 0.5), ("quarter", 0.25))
    )
    for column in ("first", "second"):
        changed_plan(folder, detectors={"good": replace(declared, aggregator=f"column:{column}")})
        for measure in (AUROC, half, quarter):
            results = Results.open(folder)
            table = results.table(results.plans[-1:])
            kept = kept_statistics(table, measure)
            assert kept["metric"] == measure.name
            means[f"{column} {measure.name}"] = kept["summaries"]["cross_mean"]["detectors"]["good"]["mean"]
            assert kept_statistics(table, measure) == kept
    assert means["second auroc"] == pytest.approx(1 - means["first auroc"])
    assert means["first auroc"] > 0.8
    assert means["first half"] == means["second half"] == 0.5
    assert means["first quarter"] == 0.25
    assert len(list((folder / "statistics").iterdir())) == 6


def test_the_stored_number_is_that_of_the_run_s_own_aggregator_and_of_no_other(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "runs", ("good",))
    store = RunStore.open(folder)
    key = next(iter(store.records()))
    store.write_scores(key, store.scores(key).rename({"score": "first"}).with_columns(second=-pl.col("first")))
    store.append(replace(store.records()[key], aggregator="column:first", metrics={"auroc": 0.777}))
    results = Results.open(folder)
    record = results.records[key]
    assert results.number(record, AUROC.metric, ("",), "column:first").value == 0.777
    derived = results.number(record, AUROC.metric, ("",), "column:second").value
    assert derived is not None
    assert derived < 0.2 != 0.777


def cell(
    values: np.ndarray,
    attack: np.ndarray,
    capture: np.ndarray,
    source: str = "a",
    seed: int = 0,
    flow: np.ndarray | None = None,
) -> CellScores:
    return CellScores(
        source, "a", seed, np.arange(len(attack)) if flow is None else flow, capture.astype(str), attack, values
    )


def test_flows_keep_their_weights_in_whatever_order_a_cell_has_them() -> None:
    rng = np.random.default_rng(0)
    attack, capture = np.arange(60) % 3 == 0, np.arange(60) % 6
    values, order = rng.normal(size=(2, 60)) + attack, rng.permutation(60)
    other = cell(values[:, order], attack[order], capture[order], "b", flow=order)
    draws = resample([cell(values, attack, capture), other], 40).draws
    np.testing.assert_allclose(draws["a", "a"], draws["b", "a"], atol=1e-12)
    assert draws["a", "a"].std() > 0.01


def test_a_seed_that_was_not_drawn_does_not_spoil_a_resample() -> None:
    """Under seed 2 all attacks come from one of four captures: drawn in 1 − (3/4)⁴ of the resamples.  A seed is drawn
    in three of four."""
    rng = np.random.default_rng(1)
    benign, hostile = np.repeat(np.arange(10, 20), 10), np.repeat(np.arange(4), 10)
    cells = []
    for seed, captures in ((1, hostile), (2, hostile[:10])):
        capture = np.concatenate([benign, captures])
        attack = capture < 10
        flow = np.concatenate([np.arange(100), 100 + np.arange(len(captures))])
        cells.append(cell(rng.normal(size=(1, len(attack))), attack, capture, seed=seed, flow=flow))
    spoilt = np.isnan(resample(cells, 4000).draws["a", "a"]).mean()
    assert spoilt == pytest.approx(0.75 * 0.75**4, abs=0.03)


def test_delong_over_seeds_is_the_variance_of_the_difference_of_placements() -> None:
    """Var (D₁₀) / a + Var (D₀₁) / b, with D the difference of two detectors' placements, flow by flow; errors of
    seeds are averaged."""
    rng = np.random.default_rng(2)
    runs, differences, errors = [], [], []
    for _ in range(3):
        attack = np.arange(90) % 3 == 0
        common = rng.normal(size=90)
        first, second = (common + 0.7 * rng.normal(size=90) + shift * attack for shift in (1.0, 0.8))
        runs.append((first, second, attack))
        placed = [[np.mean(hit > one[~attack]) for hit in one[attack]] for one in (first, second)]
        passed = [[np.mean(one[attack] > other) for other in one[~attack]] for one in (first, second)]
        of_attacks, of_benign = np.subtract(*placed), np.subtract(*passed)
        differences.append(of_attacks.mean())
        errors.append(np.sqrt(of_attacks.var(ddof=1) / 30 + of_benign.var(ddof=1) / 60))
    found = delong_over_seeds(runs)
    assert found.difference == pytest.approx(np.mean(differences))
    assert found.error == pytest.approx(np.mean(errors))
    assert found.p == pytest.approx(2 * norm.sf(abs(np.mean(differences)) / np.mean(errors)))


def test_p_of_the_cells_of_a_pair_is_corrected_after_holm(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (pair,) = compared(capsys, write_folder(tmp_path / "runs", ("good", "fair")), None, "", "good,fair")["pairs"]
    raw = [row["delong_p"] for row in pair["cells"]]
    largest, expected = 0.0, {}
    for rank, place in enumerate(np.argsort(raw)):
        largest = max(largest, min(1.0, raw[place] * (len(raw) - rank)))
        expected[int(place)] = largest
    assert [row["delong_p_holm"] for row in pair["cells"]] == pytest.approx(
        [expected[place] for place in range(len(raw))]
    )
    assert max(raw) > 0.05
    assert any(
        one < corrected < 1 for one, corrected in zip(raw, (row["delong_p_holm"] for row in pair["cells"]), strict=True)
    )


def test_a_comparison_of_flows_of_two_packets_is_of_those_flows(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = write_folder(tmp_path / "runs")
    for name in NAMES:
        (folder / "truth" / f"hash-of-{name}.parquet").unlink()  # what is there stays
        RunStore.open(folder).write_truth(
            f"hash-of-{name}", truth(name).with_columns(n_packets=pl.col("flow_id") % 2 + 1)
        )
    document = compared(capsys, folder, None, "", "good,poor", False, "auroc@2+")
    assert document["metric"] == "auroc@2+"
    for row in document["pairs"][0]["cells"]:
        assert (row["n_benign"], row["n_attack"]) == (35, 30)
        areas = []
        for seed in SEEDS:
            tested = scores("good", row["source"], row["target"], seed).filter(
                (pl.col("role") == "test") & (pl.col("flow_id") % 2 == 1)
            )
            attack = tested["flow_id"].to_numpy() >= 100
            value = tested["score"].to_numpy()
            areas.append(np.mean(value[attack][:, None] > value[~attack]))
        assert row["first"] == pytest.approx(np.mean(areas))
