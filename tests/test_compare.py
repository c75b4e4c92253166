"""Comparing detectors and results folders: numbers from the stored scores, and refusals to mix what does not belong
together."""

from __future__ import annotations

import json
import shutil
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from sklearn.metrics import average_precision_score, roc_auc_score

from harness.cli.compare import compare as command
from janus_bench.errors import DataError, UsageError
from janus_bench.extensions import BEST_FIXED
from janus_bench.records import DatasetEntry, DetectorRow, ExpectedCell, PlanRecord, RunRecord, RunSpec
from protocols.metrics import METRICS
from reports.results.folder import RunStore
from reports.results.measures import Measure
from reports.results.model import Results
from reports.statistics import intervals
from reports.statistics.bootstrap import Interval
from reports.statistics.intervals import leaderboard_statistics
from reports.tables.fields import number

AUROC = Measure(next(metric for metric in METRICS if metric.name == "auroc"))
NAMES, SEEDS = ("alpha", "beta", "gamma"), (1, 2)
SKILL = {"good": 2.0, "fair": 2.0, "poor": 0.2}


def hash_of(name: str) -> str:
    return f"hash-of-{name}"


def truth(name: str, n: int = 160) -> pl.DataFrame:
    """160 flows of 16 captures, 60 of them attacks in their own captures."""
    attack = np.arange(n) >= 100
    sources = [f"{name}-{number}" for number in np.arange(n) // 10]
    return pl.DataFrame(
        {"flow_id": np.arange(n), "attack": attack, "family": ["x"] * n, "source": sources, "n_packets": np.full(n, 3)}
    )


def scores(label: str, source: str, target: str, seed: int) -> pl.DataFrame:
    """Calibration flows are 0 … 29; all others are tested."""
    rng = np.random.default_rng([SEEDS.index(seed), NAMES.index(source), NAMES.index(target), list(SKILL).index(label)])
    ids = np.arange(160)
    role = np.where(ids < 10, "source_val", np.where(ids < 20, "cal_a", np.where(ids < 30, "cal_b", "test")))
    values = (
        np.random.default_rng(NAMES.index(target)).normal(size=160)
        + 0.5 * rng.normal(size=160)
        + SKILL[label] * (ids >= 100)
    )
    return pl.DataFrame({"flow_id": ids, "target": [target] * 160, "role": role, "score": values})


def run_spec(label: str, source: str, target: str, seed: int) -> RunSpec:
    return RunSpec(
        detector=label,
        version="1",
        params={},
        regime="transfer",
        source=source,
        source_hash=hash_of(source),
        target=target,
        target_hash=hash_of(target),
        seed=seed,
        split="grouped",
        caps="quick",
        profile="quick",
        calibration="target_benign",
        device="cpu",
    )


def write_folder(folder: Path, labels=("good", "poor"), failed=(), controlled=(), **changes) -> Path:
    """A results folder of the cross protocol; ``failed``: (label, source, target, seed) of runs that ended in an error.

    ``controlled``: labels with a target-only control, one run a target and seed, whose scores are those of ``poor``
    from the target itself.
    """
    version = {name: value for name, value in changes.items() if name == "schema_version"}
    store = RunStore.create(folder)
    version = {name: value for name, value in changes.items() if name == "schema_version"}  # of its rows, too
    cells = []
    for name in NAMES:
        store.write_truth(hash_of(name), truth(name))
    for label in labels:
        for source in NAMES:
            for target in NAMES:
                for seed in SEEDS:
                    spec = run_spec(label, source, target, seed)
                    status = "error" if (label, source, target, seed) in failed else "ok"
                    declared = asdict(spec)
                    store.append(
                        RunRecord(
                            spec.key,
                            spec.fit_key,
                            declared,
                            status,
                            "",
                            0,
                            "2026-01-01",
                            "control",
                            False,
                            "identity",
                            **version,
                        )
                    )
                    if status == "ok":
                        store.write_scores(spec.key, scores(label, source, target, seed))
                    cells.append(ExpectedCell(label, "transfer", source, target, seed, spec.key))
                    if label in controlled:
                        spec = replace(spec, regime="control", source=None, source_hash=None)
                        store.append(
                            RunRecord(
                                spec.key,
                                spec.fit_key,
                                asdict(spec),
                                "ok",
                                "",
                                0,
                                "2026-01-01",
                                "control",
                                False,
                                "identity",
                                **version,
                            )
                        )
                        store.write_scores(spec.key, scores("poor", target, target, seed))
                        cells.append(ExpectedCell(label, "control", source, target, seed, spec.key))
    datasets = {name: DatasetEntry(hash_of(name), synthetic=True) for name in NAMES}
    detectors = {label: DetectorRow(label, provenance="control") for label in labels}
    plan = PlanRecord("cross", "quick", "grouped", "target_benign", SEEDS, datasets, detectors, tuple(cells))
    store.write_plan(replace(plan, **changes))
    return folder


def compared(capsys, *arguments) -> dict:
    command(*arguments, output="json")
    return json.loads(capsys.readouterr().out)


def expected_area(label: str, source: str, target: str) -> float:
    areas = []
    for seed in SEEDS:
        tested = scores(label, source, target, seed).filter(pl.col("role") == "test")
        areas.append(roc_auc_score(tested["flow_id"].to_numpy() >= 100, tested["score"].to_numpy()))
    return float(np.mean(areas))


def test_two_detectors_of_one_folder(tmp_path, capsys):
    document = compared(capsys, write_folder(tmp_path / "runs"), None, "", "good,poor")
    (pair,) = document["pairs"]
    assert (pair["first"], pair["second"], pair["seeds"]) == ("good", "poor", list(SEEDS))
    assert len(pair["cells"]) == 9
    for row in pair["cells"]:
        first, second = (expected_area(label, row["source"], row["target"]) for label in ("good", "poor"))
        assert (row["first"], row["second"], row["difference"]) == pytest.approx((first, second, first - second))
        assert row["low"] <= row["difference"] <= row["high"]
        assert row["delong_p"] <= row["delong_p_holm"] <= 9 * row["delong_p"]
        assert (row["n_benign"], row["n_attack"], row["captures_benign"], row["captures_attack"]) == (70, 60, 7, 6)
    cross, within = pair["means"]
    assert (cross["summary"], within["summary"]) == ("cross_mean", "within_mean")
    differences = [row["difference"] for row in pair["cells"] if row["source"] != row["target"]]
    assert cross["difference"] == pytest.approx(np.mean(differences))
    assert 0 < cross["low"] < cross["difference"] < cross["high"]  # 2 against .2 standard deviations
    assert cross["p_these_holm"] < 0.001
    assert document["datasets"] == {name: hash_of(name) for name in NAMES}
    assert any("flows assumed independent" in note for note in document["notes"])
    assert any("Wilcoxon" in note for note in document["notes"])


def test_a_detector_against_its_target_only_control(tmp_path, capsys):
    folder = write_folder(tmp_path / "runs", controlled=("good",))
    command(folder, control=True, output="json")  # of all, the one that has a control
    document = json.loads(capsys.readouterr().out)
    (pair,) = document["pairs"]
    assert (pair["first"], pair["second"], document["regime"]) == (
        "good",
        "control of good",
        "transfer against control",
    )
    assert len(pair["cells"]) == 9
    for row in pair["cells"]:
        areas = expected_area("good", row["source"], row["target"]), expected_area("poor", row["target"], row["target"])
        assert (row["first"], row["second"]) == pytest.approx(areas)
    with pytest.raises(UsageError, match="poor has no target-only control in"):
        command(folder, detectors="poor", control=True, output="json")
    with pytest.raises(UsageError, match="within one results folder"):
        command(folder, folder, control=True, output="json")
    with pytest.raises(UsageError, match=r"no detector in .* has a target-only control"):
        command(write_folder(tmp_path / "without"), control=True, output="json")


def test_exchanging_the_detectors_changes_the_sign_only(tmp_path, capsys):
    folder = write_folder(tmp_path / "runs")
    there, back = (compared(capsys, folder, None, "", names)["pairs"][0] for names in ("good,poor", "poor,good"))
    for one, other in zip(there["cells"] + there["means"], back["cells"] + back["means"], strict=True):
        assert (one["difference"], one["low"], one["high"]) == pytest.approx(
            (-other["difference"], -other["high"], -other["low"])
        )


def test_means_are_corrected_for_the_number_of_pairs(tmp_path, capsys):
    document = compared(capsys, write_folder(tmp_path / "runs", tuple(SKILL)), None, "", "good,fair,poor")
    assert [(pair["first"], pair["second"]) for pair in document["pairs"]] == [
        ("good", "fair"),
        ("good", "poor"),
        ("fair", "poor"),
    ]
    cross = [pair["means"][0] for pair in document["pairs"]]
    smallest = min(cross, key=lambda row: row["p"])
    assert smallest["p_holm"] == pytest.approx(min(1.0, 3 * smallest["p"]))


def test_a_folder_against_its_copy_differs_by_nothing(tmp_path, capsys):
    folder = write_folder(tmp_path / "a")
    shutil.copytree(folder, tmp_path / "b")
    document = compared(capsys, folder, tmp_path / "b")
    assert [pair["first"] for pair in document["pairs"]] == [f"{label} in {folder}" for label in ("good", "poor")]
    for pair in document["pairs"]:
        for row in pair["cells"]:
            assert (row["difference"], row["low"], row["high"], row["delong_p"]) == (0, 0, 0, 1)
        assert [(row["difference"], row["p"], row["p_these"]) for row in pair["means"]] == [(0, 1, 1)] * 2


def test_a_failed_run_takes_its_cell_and_its_mean_not_the_rest(tmp_path, capsys):
    folder = write_folder(tmp_path / "runs", failed=[("poor", "alpha", "beta", 2)])
    (pair,) = compared(capsys, folder, None, "", "good,poor")["pairs"]
    broken = [row for row in pair["cells"] if row["difference"] is None]
    assert [(row["source"], row["target"], row["reason"]) for row in broken] == [
        ("alpha", "beta", "poor, seed 2: error")
    ]
    cross, within = pair["means"]
    assert (cross["difference"], cross["low"], cross["p"]) == (None, None, None)
    assert "1 of 6 cells" in cross["reason"]
    assert within["low_these"] is not None


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"protocol": "within"}, "protocol is cross in the first and within in the second"),
        ({"split": "random"}, "split is grouped in the first and random in the second"),
        ({"profile": "paper"}, "profile is quick in the first and paper in the second"),
        ({"calibration": "none"}, "calibration is target_benign in the first and none in the second"),
        (
            {"datasets": {name: DatasetEntry("other" if name == "beta" else hash_of(name)) for name in NAMES}},
            "the data of beta differ",
        ),
        ({"datasets": {name: DatasetEntry(hash_of(name)) for name in (*NAMES, "delta")}}, "only one of them has delta"),
    ],
)
def test_folders_that_do_not_belong_together_are_refused_by_name(tmp_path, change, named):
    first, second = write_folder(tmp_path / "a"), write_folder(tmp_path / "b", **change)
    with pytest.raises(UsageError, match=named) as refusal:
        command(first, second)
    assert "\n" not in str(refusal.value)


def test_another_schema_version_is_refused_by_name(tmp_path):
    first, second = write_folder(tmp_path / "a", schema_version=1), write_folder(tmp_path / "b", schema_version=2)
    with pytest.raises(
        UsageError, match=r"cannot compare .*: schema version is 1 in the first and 2 in the second; run both alike$"
    ):
        command(first, second)
    later = write_folder(tmp_path / "c", schema_version=99)
    with pytest.raises(
        DataError, match=r"has schema version 99, this janus-bench reads 1 and 2: it was written by another version"
    ):
        command(first, later)


@pytest.mark.parametrize(
    ("detectors", "said"),
    [
        ("good,pooor", "unknown detector 'pooor'. Did you mean 'poor'"),
        ("good", "two or more"),
        ("", "second results folder"),
    ],
)
def test_too_few_or_unknown_detectors_are_one_line(tmp_path, detectors, said):
    with pytest.raises(UsageError, match=said):
        command(write_folder(tmp_path / "runs"), detectors=detectors)


def test_folders_without_a_common_detector_or_seed_are_refused(tmp_path):
    folder = write_folder(tmp_path / "a", ("good",))
    with pytest.raises(UsageError, match="no detector in common"):
        command(folder, write_folder(tmp_path / "b", ("poor",)))
    other = write_folder(tmp_path / "c", ("good",), cells=(ExpectedCell("good", "transfer", "alpha", "beta", 77, "x"),))
    with pytest.raises(UsageError, match="no seed in common"):
        command(folder, other)


def test_scores_of_other_flows_are_refused(tmp_path):
    first, second = write_folder(tmp_path / "a"), write_folder(tmp_path / "b")
    key = run_spec("good", "alpha", "beta", 1).key
    RunStore.open(second).write_scores(key, scores("good", "alpha", "beta", 1).filter(pl.col("flow_id") != 150))
    with pytest.raises(UsageError, match="tested on different flows of beta"):
        command(first, second, detectors="good")


def test_the_table_says_what_it_shows(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    folder = write_folder(tmp_path / "runs", failed=[("poor", "alpha", "beta", 2)])
    command(folder, detectors="good,poor")
    text = capsys.readouterr().out
    row = next(line for line in text.splitlines() if line.strip().startswith("beta → alpha"))
    area = expected_area("good", "beta", "alpha")
    assert f" {number(area)} " in row
    assert f" +{number(area - expected_area('poor', 'beta', 'alpha'))} " in row
    assert "70 (7)" in row
    assert next(line for line in text.splitlines() if "alpha → beta" in line).rstrip().endswith("poor, seed 2: error")
    assert "note: DeLong: flows assumed independent" in text


def test_leaderboard_intervals_and_tie_groups(tmp_path):
    table = Results.open(write_folder(tmp_path / "runs", tuple(SKILL), failed=[("fair", "alpha", "alpha", 1)])).select()
    document = leaderboard_statistics(table, AUROC, resamples=300)
    cross = document["summaries"]["cross_mean"]["detectors"]
    pairs = [(source, target) for source in NAMES for target in NAMES if source != target]
    for label, row in cross.items():
        assert row["mean"] == pytest.approx(np.mean([expected_area(label, *pair) for pair in pairs]))
        assert row["low"] <= row["low_these"] < row["mean"] < row["high_these"] <= row["high"]
    # good and fair differ in nothing but noise
    assert {label: row["group_these"] for label, row in cross.items()} == {"good": "a", "fair": "a", "poor": "b"}
    assert list(document["summaries"]["within_mean"]["detectors"]) == ["good", "poor"]  # fair lacks a cell
    assert "Wilcoxon" in document["warning"]


def compared_by(capsys, folder: Path, metric: str) -> dict:
    command(folder, detectors="good,poor", metric=metric, output="json")
    return json.loads(capsys.readouterr().out)


def test_a_folder_that_is_not_there_is_named_before_anything_is_asked_of_it(tmp_path):
    with pytest.raises(DataError, match=r"there is no folder .*nope"):
        command(tmp_path / "nope")
    with pytest.raises(UsageError, match="name a second results folder"):
        command(tmp_path)


def test_any_metric_is_compared_and_delong_is_for_auroc_alone(tmp_path, capsys):
    document = compared_by(capsys, write_folder(tmp_path / "runs"), "auprc")
    assert (document["metric"], document["resamples"]) == ("auprc", 200)
    (pair,) = document["pairs"]
    for row in pair["cells"]:
        found = []
        for label in ("good", "poor"):
            tests = [
                scores(label, row["source"], row["target"], seed).filter(pl.col("role") == "test") for seed in SEEDS
            ]
            found.append(
                np.mean(
                    [
                        average_precision_score(test["flow_id"].to_numpy() >= 100, test["score"].to_numpy())
                        for test in tests
                    ]
                )
            )
        assert (row["first"], row["second"]) == pytest.approx(found)
        assert row["low"] < row["difference"] < row["high"]
        assert (row["delong_p"], row["delong_p_holm"]) == (None, None)
    cross = pair["means"][0]
    assert cross["p_these_holm"] < 0.001
    assert not any("DeLong:" in note for note in document["notes"])
    assert any("it is for AUROC alone" in note for note in document["notes"])


def test_lower_is_better_is_said_and_a_metric_that_does_not_exist_has_no_numbers(tmp_path, capsys):
    """Ten calibration flows B: P95 would need 20, so no cell has a false-positive rate at it."""
    document = compared_by(capsys, write_folder(tmp_path / "runs"), "fpr_p95")
    (pair,) = document["pairs"]
    assert {row["reason"] for row in pair["cells"]} == {"fpr_p95 does not exist there (see docs/statistics.md)"}
    assert {(row["first"], row["low"], row["p"]) for row in pair["means"]} == {(None, None, None)}
    assert any("lower is better" in note for note in document["notes"])


def test_auroc_by_repeating_flows_is_auroc_by_weights(tmp_path):
    """The way of any other metric and the way of AUROC, on the same draws."""
    table = Results.open(write_folder(tmp_path / "runs")).select()
    renamed = Measure(replace(AUROC.metric, name="the same"))
    slow, fast = (leaderboard_statistics(table, measure, resamples=60) for measure in (renamed, AUROC))
    for summary in ("cross_mean", "within_mean"):
        for label, row in fast["summaries"][summary]["detectors"].items():
            other = slow["summaries"][summary]["detectors"][label]
            assert [other[name] for name in ("mean", "low", "high", "low_these", "high_these")] == pytest.approx(
                [row[name] for name in ("mean", "low", "high", "low_these", "high_these")]
            )


def test_a_row_that_chooses_its_score_with_labels_is_not_compared(tmp_path):
    best, plain = (
        DetectorRow("good", provenance="control", aggregator=BEST_FIXED),
        DetectorRow("poor", provenance="control"),
    )
    folder = write_folder(tmp_path / "runs", detectors={"good": best, "poor": plain})
    with pytest.raises(UsageError, match="good chooses its score with the labels of the test"):
        command(folder, detectors="good,poor")


def test_rows_differ_only_after_holm_at_5_percent(tmp_path, monkeypatch):
    """Three pairs: .02, .03 and .04 are below 5 %, and after Holm none is (.06 each); .01, .04 and .3 become .03, .08
    and .3."""
    table = Results.open(write_folder(tmp_path / "runs", tuple(SKILL))).select()
    groups = []
    for planned in ((0.02, 0.03, 0.04), (0.01, 0.04, 0.3)):
        values = iter(planned * 4)

        def interval(resampled, cells, contrast, *, datasets, values=values):
            return Interval(
                float(np.mean([resampled.estimate[pair] @ contrast for pair in cells])),
                0.0,
                1.0,
                next(values) if min(contrast) < 0 else None,
            )

        monkeypatch.setattr(intervals, "interval_of", interval)
        found = leaderboard_statistics(table, AUROC, resamples=20)["summaries"]["cross_mean"]
        groups.append([row["group"] for row in found["detectors"].values()])
    assert groups == [["a", "a", "a"], ["a", "b", "ab"]]


def test_letters_are_of_other_datasets_like_these_and_those_of_these_very_ones_stand_apart(tmp_path, monkeypatch):
    table = Results.open(write_folder(tmp_path / "runs", tuple(SKILL))).select()

    def interval(resampled, cells, contrast, *, datasets):
        estimate = float(np.mean([resampled.estimate[pair] @ contrast for pair in cells]))
        low, p = (0.1, 0.5) if datasets else (0.2, 0.001)
        return Interval(estimate, low, 1.0, p if min(contrast) < 0 else None)

    monkeypatch.setattr(intervals, "interval_of", interval)
    found = leaderboard_statistics(table, AUROC, resamples=20)["summaries"]["cross_mean"]
    rows = list(found["detectors"].values())
    assert [(row["group"], row["group_these"]) for row in rows] == [("a", "a"), ("a", "b"), ("a", "c")]
    assert {(row["low"], row["low_these"]) for row in rows} == {(0.1, 0.2)}
    assert [(test["p_holm"], test["p_these_holm"]) for test in found["tests"]] == [(1.0, pytest.approx(0.003))] * 3
    # the best has the first letter
    assert [row["mean"] for row in rows] == sorted((row["mean"] for row in rows), reverse=True)


def test_rows_of_one_run_are_compared_under_their_own_aggregators(tmp_path, capsys):
    """Two rows share their runs, which have two score columns: ``first`` tells attacks, ``second`` tells nothing."""
    folder = write_folder(tmp_path / "runs", ("good",))
    store = RunStore.open(folder)
    (plan,) = store.plans()
    for record in store.records().values():
        table = store.scores(record.key)
        noise = np.random.default_rng(0).permutation(table["score"].to_numpy())
        store.write_scores(record.key, table.rename({"score": "first"}).with_columns(second=noise))
        store.append(replace(record, aggregator="column:first"))
    rows = {
        f"good · {name}": replace(plan.detectors["good"], aggregator=f"column:{name}", variant=name)
        for name in ("first", "second")
    }
    cells = tuple(replace(cell, label=label) for label in rows for cell in plan.cells)
    store.write_plan(replace(plan, detectors=rows, cells=cells))
    (pair,) = compared(capsys, folder, None, "", "good · first,good · second")["pairs"]
    for cell in pair["cells"]:
        areas = []
        for name in ("first", "second"):
            tests = [
                store.scores(run_spec("good", cell["source"], cell["target"], seed).key).filter(
                    pl.col("role") == "test"
                )
                for seed in SEEDS
            ]
            areas.append(
                np.mean([roc_auc_score(test["flow_id"].to_numpy() >= 100, test[name].to_numpy()) for test in tests])
            )
        assert (cell["first"], cell["second"]) == pytest.approx(areas)
        assert areas[0] > areas[1] + 0.1
