"""``compare --best-regime``: a detector against every rival in the one regime that serves the rival best.  Results are
planted; what is expected is worked out here by trying every regime."""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
import polars as pl
import pytest

from harness.cli import leaderboard
from harness.cli.compare import compare as command
from janus_bench.errors import UsageError
from janus_bench.records import DatasetEntry, DetectorRow, ExpectedCell, PlanRecord, RunRecord, RunSpec
from reports.results.measures import measure_of
from reports.results.model import Results, ResultTable
from reports.statistics import joining
from reports.statistics.compare import Comparison
from reports.statistics.regimes import compare_in_best_regime
from reports.tables.comparison import MEANS, comparison_tables
from reports.tables.fields import signed

SEEDS = (1, 2)
BENIGN, ATTACK = 30, 24  # Test flows of every network, in three captures each.
RIVALS = {
    "flagship": ("transfer", "control"),
    "copycat": ("transfer", "control", "pooled"),
    "pupil": ("transfer", "control", "pooled"),
    "length": ("transfer",),  # it learns nothing
}
SKILL = {
    ("flagship", "transfer"): 2.0,
    ("flagship", "control"): 2.5,
    ("copycat", "transfer"): 0.2,
    ("copycat", "control"): 1.2,
    ("copycat", "pooled"): 0.8,
    ("pupil", "transfer"): 0.6,
    ("pupil", "control"): 0.3,
    ("pupil", "pooled"): 0.9,
    ("length", "transfer"): 0.1,
}


def scores_of(detector: str, regime: str, source: str, target: str, seed: int) -> np.ndarray:
    """Benign test flows, then attacks.  A control has no source.  What a regime is worth differs from cell to cell."""
    origin = "" if regime == "control" else source
    rng = np.random.default_rng([*f"{detector}{regime}{origin}{target}".encode(), seed])
    skill = SKILL[detector, regime] + 0.7 * rng.normal()
    return np.concatenate([rng.normal(size=BENIGN), rng.normal(size=ATTACK) + skill])


def area(scores: np.ndarray) -> float:
    pairs = [(a > b) + 0.5 * (a == b) for b in scores[:BENIGN] for a in scores[BENIGN:]]
    return sum(map(float, pairs)) / len(pairs)


def spec_of(detector: str, regime: str, source: str, target: str, seed: int) -> RunSpec:
    origin = (None, None) if regime == "control" else (source, f"hash-{source}")
    where = (*origin, target, f"hash-{target}", seed)
    return RunSpec(detector, "1", {}, regime, *where, "grouped", "quick", "quick", "target_benign", "cpu")  # type: ignore[arg-type]


def score_table(spec: RunSpec, values: np.ndarray) -> pl.DataFrame:
    ids = np.arange(9 + len(values))
    role = [*np.repeat(["source_val", "cal_a", "cal_b"], 3), *["test"] * len(values)]
    score = np.concatenate([np.arange(9) / 10, values])
    return pl.DataFrame({"flow_id": ids, "target": [spec.target] * len(ids), "role": role, "score": score})


def truth() -> pl.DataFrame:
    n = 9 + BENIGN + ATTACK
    attack = np.arange(n) >= 9 + BENIGN
    return pl.DataFrame(
        {
            "flow_id": np.arange(n),
            "attack": attack,
            "family": np.where(attack, "scan", ""),
            "source": [f"{'attack' if hit else 'benign'}-{place % 3}" for place, hit in enumerate(attack)],
            "n_packets": np.full(n, 3),
        }
    )


def plan_of(
    networks: Sequence[str],
    protocol: str = "pooled",
    regimes: Sequence[str] = ("transfer", "control", "pooled"),
    seeds: Sequence[int] = SEEDS,
) -> PlanRecord:
    """A plan of a protocol; regimes that it has not are left out."""
    cells, rows = [], {}
    for detector, own in RIVALS.items():
        for place in [regime for regime in own if regime in regimes]:
            label = f"{detector} · pooled" if place == "pooled" else detector
            regime = "control" if place == "control" else "transfer"
            variant = "pooled" if place == "pooled" else ""
            if place != "control":
                rows[label] = DetectorRow(detector, detector=detector, variant=variant, regime=place, calibrates="")  # type: ignore[arg-type]
            for source, target in itertools.product(networks, networks):
                for seed in seeds:
                    key = spec_of(detector, place, source, target, seed).key
                    cells.append(ExpectedCell(label, regime, source, target, seed, key))  # type: ignore[arg-type]
    datasets = {name: DatasetEntry(f"hash-{name}") for name in networks}
    return PlanRecord(protocol, "quick", "grouped", "target_benign", tuple(seeds), datasets, rows, tuple(cells))


class Planted:
    """Every run of the networks, in memory, under these plans; the last one was asked for last."""

    folder = Path("planted")

    def __init__(self, networks: Sequence[str], *plans: PlanRecord) -> None:
        self._plans = [replace(plan, made=str(place)) for place, plan in enumerate(plans or [plan_of(networks)])]
        self._specs = {}
        for (detector, regime), source, target, seed in itertools.product(SKILL, networks, networks, SEEDS):
            spec = spec_of(detector, regime, source, target, seed)
            self._specs[spec.key] = spec

    def plans(self) -> Sequence[PlanRecord]:
        return self._plans

    def records(self) -> Mapping[str, RunRecord]:
        done = ("ok", "", 0, "2026-01-01", "our reading", False, "identity")
        return {key: RunRecord(key, spec.fit_key, asdict(spec), *done) for key, spec in self._specs.items()}  # type: ignore[arg-type]

    def scores(self, run_key: str) -> pl.DataFrame:
        spec = self._specs[run_key]
        return score_table(spec, scores_of(spec.detector, spec.regime, spec.source or "", spec.target, spec.seed))

    def truth(self, data_hash: str) -> pl.DataFrame:
        return truth()

    def timeline(self, data_hash: str) -> pl.DataFrame | None:
        return None


def expected(
    networks: Sequence[str], rival: str, seeds: Sequence[int] = SEEDS
) -> tuple[str, dict[tuple[str, int], float]]:
    """The rival's best regime, found by trying each over the whole table, and the flagship's lead by (target, seed)."""
    cross = [pair for pair in itertools.product(networks, networks) if pair[0] != pair[1]]

    def mean(regime: str) -> float:
        return fmean(area(scores_of(rival, regime, *pair, seed)) for pair in cross for seed in seeds)

    best = max(RIVALS[rival], key=mean)
    lead = {}
    for target in networks:
        for seed in seeds:
            sources = [source for source in networks if source != target]
            ours, theirs = (
                fmean(area(scores_of(who, regime, source, target, seed)) for source in sources)
                for who, regime in (("flagship", "transfer"), (rival, best))
            )
            lead[target, seed] = ours - theirs
    return best, lead


FOUR, THREE = ("a", "b", "c", "d"), ("a", "b", "c")


@pytest.fixture(scope="module")
def four() -> ResultTable:
    return Results(Planted(FOUR)).select()


@pytest.fixture(scope="module")
def document(four: ResultTable) -> Comparison:
    return compare_in_best_regime(four, ["flagship"], measure_of("auroc"), 60)


def test_every_rival_is_in_the_regime_that_trying_all_of_them_finds_best(document: Comparison) -> None:
    assert [pair["rival"] for pair in document["pairs"]] == ["copycat", "pupil", "length"]
    chosen = {pair["rival"]: pair["regime"] for pair in document["pairs"]}
    assert set(chosen.values()) == {"control", "pooled", "transfer"}  # or this would show little
    for pair in document["pairs"]:
        regime, lead = expected(FOUR, pair["rival"])
        assert pair["regime"] == regime
        assert {(of["target"], of["seed"]): of["difference"] for of in pair["paired"]} == pytest.approx(lead)
        cross, within = pair["means"]
        assert (cross["summary"], within["summary"]) == ("cross_mean", "within_mean")
        assert cross["difference"] == pytest.approx(fmean(lead.values()))
        diagonal = [
            area(scores_of("flagship", "transfer", name, name, seed))
            - area(scores_of(pair["rival"], regime, name, name, seed))
            for name in FOUR
            for seed in SEEDS
        ]
        assert within["difference"] == pytest.approx(fmean(diagonal))
        assert cross["low_these"] < cross["difference"] < cross["high_these"]
        assert cross["low"] <= cross["low_these"]  # four networks: both intervals
        assert {regime: mean is None for regime, mean in pair["regimes"].items()} == dict.fromkeys(
            RIVALS[pair["rival"]], False
        )


def test_one_regime_serves_all_cells_though_another_is_better_in_some(document: Comparison) -> None:
    """The choice is never per cell: a choice per cell would give the rival more."""
    pair = document["pairs"][0]
    of_cells = {(cell["source"], cell["target"]): cell["second"] for cell in pair["cells"]}
    per_cell = []
    for source, target in itertools.product(FOUR, FOUR):
        by_regime = {
            regime: fmean(area(scores_of("copycat", regime, source, target, seed)) for seed in SEEDS)
            for regime in RIVALS["copycat"]
        }
        assert of_cells[source, target] == pytest.approx(by_regime["control"])
        per_cell.append(max(by_regime, key=lambda regime: by_regime[regime]))
    assert len(set(per_cell)) > 1


def test_p_is_corrected_after_holm_over_the_rivals(document: Comparison) -> None:
    for place in (0, 1):
        for name in ("p", "p_these"):
            raw = [pair["means"][place][name] for pair in document["pairs"]]  # type: ignore[literal-required]
            order = sorted(range(3), key=lambda rival: raw[rival])
            largest, corrected = 0.0, [0.0] * 3
            for rank, rival in enumerate(order):
                largest = max(largest, min(1.0, raw[rival] * (3 - rank)))
                corrected[rival] = largest
            found = [pair["means"][place][f"{name}_holm"] for pair in document["pairs"]]  # type: ignore[literal-required]
            assert found == pytest.approx(corrected)


def test_on_three_networks_there_is_only_the_interval_for_these_datasets_and_it_says_so(
    capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "160")
    monkeypatch.setattr(joining, "RESAMPLES", 60)
    monkeypatch.setattr(leaderboard, "read", lambda *_: Results(Planted(THREE)).select())
    folder = Planted.folder
    command(folder, detectors="flagship", best_regime=True, output="json")
    document = json.loads(capsys.readouterr().out)
    said = (
        "3 networks: the interval is for these datasets alone; one for other datasets needs 4 where regimes are chosen"
    )
    assert said in document["notes"]
    for pair in document["pairs"]:
        assert pair["regime"] == expected(THREE, pair["rival"])[0]
        for mean in pair["means"]:
            assert (mean["low"], mean["high"], mean["p"], mean["p_holm"], mean["reason"]) == (None,) * 4 + (said,)
            assert mean["low_these"] < mean["difference"] < mean["high_these"]
            assert mean["p_these_holm"] is not None
    command(folder, detectors="flagship", best_regime=True, output="table")
    printed = capsys.readouterr().out
    assert f"note: {said}" in printed
    assert "others" not in printed.split("note:")[0]
    assert "95 %, these" in printed
    for pair in document["pairs"]:
        cross = pair["means"][0]
        line = next(line for line in printed.splitlines() if line.split()[:1] == [pair["rival"]])
        assert line.split()[1] == pair["regime"]
        assert signed(cross["difference"]) in line
        assert f"{signed(cross['low_these'])} … {signed(cross['high_these'])}" in line


def test_every_heading_of_a_comparison_says_what_no_other_one_does(document: Comparison) -> None:
    """Columns that do not fit stand below their row and have nothing but their headings."""
    for table in comparison_tables(document):
        headings = [column.heading for column in table.columns]
        assert {"95 %, these", "95 %, others", "Holm, these", "Holm, others"} <= set(headings)
        assert len(set(headings)) == len(headings)
    assert len(set(MEANS)) == len(MEANS)


def test_pooled_rows_of_another_protocol_of_the_folder_count_under_the_seeds_that_both_have() -> None:
    """cross for everyone under two seeds, pooled under one."""
    plans = plan_of(FOUR, "cross", ("transfer", "control")), plan_of(FOUR, "pooled", seeds=(1,))
    table = Results(Planted(FOUR, *plans)).select("cross")
    document = compare_in_best_regime(table, ["flagship", "pupil"], measure_of("auroc"), 60)
    (pair,) = document["pairs"]
    cross = [pair for pair in itertools.product(FOUR, FOUR) if pair[0] != pair[1]]
    means = {
        regime: fmean(
            area(scores_of("pupil", regime, *cell, seed))
            for cell in cross
            for seed in ((1,) if regime == "pooled" else SEEDS)
        )
        for regime in RIVALS["pupil"]
    }
    assert pair["regimes"] == pytest.approx(means)
    assert pair["regime"] == max(means, key=lambda regime: means[regime]) == "pooled"
    assert (pair["seeds"], pair["second"]) == ([1], "pupil · pooled")


def test_an_incomplete_regime_is_not_chosen() -> None:
    plan = plan_of(FOUR)
    gone = spec_of("copycat", "control", "", "b", 2).key
    cells = [replace(cell, run_key="never run") if cell.run_key == gone else cell for cell in plan.cells]
    table = Results(Planted(FOUR, replace(plan, cells=tuple(cells)))).select()
    (pair,) = compare_in_best_regime(table, ["flagship", "copycat"], measure_of("auroc"), 60)["pairs"]
    assert pair["regimes"]["control"] is None
    assert pair["regime"] == "pooled"


def test_where_lower_is_better_the_lowest_mean_is_chosen(four: ResultTable) -> None:
    document = compare_in_best_regime(four, ["flagship", "pupil"], measure_of("fpr_at_tpr_95pct"), 4)
    (pair,) = document["pairs"]
    means = {regime: mean for regime, mean in pair["regimes"].items() if mean is not None}
    assert means[pair["regime"]] == min(means.values())
    assert not math.isclose(min(means.values()), max(means.values()))


def test_what_cannot_be_compared_is_refused_in_a_line(four: ResultTable, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leaderboard, "read", lambda *_: four)
    folder = Planted.folder
    for arguments, said in (
        ({"detectors": ""}, "--best-regime compares one detector with all others: name it with --detectors"),
        ({"detectors": "nobody"}, "unknown detector"),
        ({"detectors": "flagship", "control": True}, "ask for one at a time"),
        ({"detectors": "flagship", "runs_b": folder}, "--best-regime compares within one results folder"),
    ):
        with pytest.raises(UsageError, match=said):
            command(folder, best_regime=True, output="json", **arguments)
