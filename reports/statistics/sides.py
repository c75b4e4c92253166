"""Rows of results folders on the flows that they share: stored scores and truth, joined into what the statistics need.  Nothing is run.

A *side* is one row of one results folder's table; its cells are those of the transfer regime, or of the target-only controls that stand beside them.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from janus_bench.errors import UsageError, unknown
from janus_bench.extensions import BEST_FIXED, Metric, TestScores
from janus_bench.records import SCHEMA_VERSION, PlanRecord, RunRecord
from reports.results.evidence import VIEWS, cell_scores
from reports.results.folder import RunStore
from reports.statistics.bootstrap import (
    CellScores,
    Pair,
    Resampled,
    resample,
)

__all__ = [
    "AUROC",
    "NAMES_DIFFER",
    "SUMMARIES",
    "CellSeed",
    "Joined",
    "Measure",
    "Progress",
    "Side",
    "Truths",
    "check_same_schema",
    "check_same_table",
    "comparable_labels",
    "ignore",
    "joined",
    "labels_of",
    "pairs_of",
    "resample_cells",
    "seeds_of",
    "side_of",
    "sides_between",
    "sides_with_controls",
    "sides_within",
    "why_missing",
]

SUMMARIES: Mapping[str, Callable[[Pair], bool]] = {
    "cross_mean": lambda pair: pair[0] != pair[1],
    "within_mean": lambda pair: pair[0] == pair[1],
}
NAMES_DIFFER = ("protocol", "profile", "split", "calibration")

AUROC = "auroc"
"""The metric that has DeLong's test, and resamples by weights alone, so that a thousand of them are cheap."""
RESAMPLES, RESAMPLES_REPEATED = 1000, 200
"""Of AUROC; and of any other metric, which is computed anew on the repeated flows of each."""

CellSeed = tuple[Pair, int]
Progress = Callable[[str, float], None]


def ignore(*_: object) -> None:
    """Nobody listens."""


@dataclass(frozen=True)
class Measure:
    """What is compared: a metric on a view (``reports.results.evidence.VIEWS``: a suffix) of the test flows."""

    metric: Metric
    view: str = ""

    @property
    def name(self) -> str:
        return f"{self.metric.name}{self.view}"

    @property
    def is_auroc(self) -> bool:
        return self.metric.name == AUROC

    @property
    def resamples(self) -> int:
        return RESAMPLES if self.is_auroc else RESAMPLES_REPEATED


@dataclass(frozen=True, eq=False)
class Side:
    """One row of one results folder in a regime: its runs by (source, target) and seed, the rows of the folder, and the row's aggregator."""

    name: str
    label: str
    store: RunStore
    runs: Mapping[CellSeed, str]
    records: Mapping[str, RunRecord]
    aggregator: str
    regime: str = "transfer"

    def status(self, where: CellSeed) -> str:
        """``ok``, what went wrong, or ``missing``."""
        record = self.records.get(self.runs.get(where, ""))
        return record.status if record is not None else "missing"

    def record(self, where: CellSeed) -> RunRecord:
        return self.records[self.runs[where]]

    def evidence(self, scores: Any, where: CellSeed, truth: Any) -> Mapping[str, TestScores]:
        """View → the scalar scores of a cell; a detector with one score column has nothing to aggregate."""
        record = self.record(where)
        aggregator = record.aggregator if record.aggregator == "identity" else self.aggregator
        return cell_scores(scores, truth, record.spec, aggregator)


@dataclass
class Truths:
    """Truth tables, each read once."""

    read: dict[str, Any] = field(default_factory=dict)

    def of(self, store: RunStore, data_hash: str) -> Any:
        if data_hash not in self.read:
            self.read[data_hash] = store.truth(data_hash)
        return self.read[data_hash]


# -- which runs --------------------------------------------------------------------------------------------------------------------


def side_of(store: RunStore, plans: Sequence[PlanRecord], label: str, name: str, records: Mapping[str, RunRecord], regime: str = "transfer") -> Side:
    """The runs of a row in a regime; where two plans name different runs for a cell and seed, the later one counts."""
    cells = [cell for plan in plans for cell in plan.cells if cell.label == label and cell.regime == regime]
    aggregator = [plan.detectors[label]["aggregator"] for plan in plans if label in plan.detectors][-1]
    return Side(name, label, store, {((cell.source, cell.target), cell.seed): cell.run_key for cell in cells}, records, aggregator, regime)


def sides_within(store: RunStore, plans: Sequence[PlanRecord], labels: Sequence[str]) -> list[tuple[Side, Side]]:
    """Every pair of the named detectors of one folder, in the order given.  UsageError for an unknown one, fewer than two, or a best-fixed row."""
    _check_labels(store, plans, labels)
    if len(set(labels)) < 2:
        raise UsageError("name two or more different detectors with --detectors a,b, or a second results folder")
    records = store.records()
    return list(combinations([side_of(store, plans, label, label, records) for label in dict.fromkeys(labels)], 2))


def sides_with_controls(store: RunStore, plans: Sequence[PlanRecord], labels: Sequence[str]) -> list[tuple[Side, Side]]:
    """Each named detector of one folder (all that have one, if none is named) and its target-only control.

    UsageError for an unknown detector, one without a control, or a best-fixed row.
    """
    _check_labels(store, plans, labels)
    controlled = {cell.label for plan in plans for cell in plan.cells if cell.regime == "control"}
    for label in labels:
        if label not in controlled:
            raise UsageError(
                f"{label} has no target-only control in {store.folder}: it learns nothing, or its protocol has none; try --protocol cross"
            )
    chosen = list(dict.fromkeys(labels)) or [label for label in comparable_labels(plans) if label in controlled]
    if not chosen:
        raise UsageError(f"no detector in {store.folder} has a target-only control: run a protocol that has them, such as cross")
    records = store.records()
    return [
        (side_of(store, plans, label, label, records), side_of(store, plans, label, f"control of {label}", records, "control")) for label in chosen
    ]


def _check_labels(store: RunStore, plans: Sequence[PlanRecord], labels: Sequence[str]) -> None:
    """UsageError for an unknown detector, or a best-fixed row."""
    known = labels_of(plans)
    for label in labels:
        if label not in known:
            raise unknown("detector", label, known, f"Those are the ones in {store.folder}.")
        if label not in comparable_labels(plans):
            raise UsageError(f"{label} chooses its score with the labels of the test: it is an upper bound and cannot be compared")


def sides_between(
    first: tuple[RunStore, Sequence[PlanRecord]], second: tuple[RunStore, Sequence[PlanRecord]], labels: Sequence[str]
) -> list[tuple[Side, Side]]:
    """Each detector that both folders have (of ``labels``, if any), first folder − second.  UsageError if there is none."""
    common = [label for label in comparable_labels(first[1]) if label in comparable_labels(second[1])]
    for label in labels:
        if label not in common:
            raise unknown("detector", label, common, "Those are the ones in both folders.")
    if not common:
        raise UsageError(f"{first[0].folder} and {second[0].folder} have no detector in common: compare two of one folder with --detectors a,b")
    records = [store.records() for store, _ in (first, second)]
    return [
        (
            side_of(first[0], first[1], label, f"{label} in {first[0].folder}", records[0]),
            side_of(second[0], second[1], label, f"{label} in {second[0].folder}", records[1]),
        )
        for label in (labels or common)
    ]


def check_same_schema(folders: Sequence[Path], purpose: str = "compare") -> None:
    """UsageError unless all plans were written by this version of the schema."""
    for folder in folders:
        for path in sorted((folder / "plans").glob("*.json")):
            try:
                version = json.loads(path.read_text()).get("schema_version")
            except (OSError, ValueError, AttributeError):
                continue  # the store says what is wrong with the file
            if version != SCHEMA_VERSION:
                raise UsageError(f"cannot {purpose}: {folder} has schema version {version}, this janus-bench {SCHEMA_VERSION}; run it again")


def check_same_table(first: PlanRecord, second: PlanRecord, folders: tuple[Path, Path]) -> None:
    """UsageError, naming what differs, unless two plans have the same protocol, profile, split, calibration and data."""
    where = f"{folders[0]} and {folders[1]}"
    for name in NAMES_DIFFER:
        ours, theirs = getattr(first, name), getattr(second, name)
        if ours != theirs:
            raise UsageError(f"cannot compare {where}: {name} is {ours} in the first and {theirs} in the second; run both alike")
    only = sorted(set(first.datasets) ^ set(second.datasets))
    if only:
        raise UsageError(f"cannot compare {where}: only one of them has {', '.join(only)}; run both on the same datasets")
    for name, info in first.datasets.items():
        ours, theirs = info["hash"], second.datasets[name]["hash"]
        if ours != theirs:
            raise UsageError(f"cannot compare {where}: the data of {name} differ (hash {ours[:12]} and {theirs[:12]}); run both on the same data")


def labels_of(plans: Sequence[PlanRecord]) -> list[str]:
    return list(dict.fromkeys(label for plan in plans for label in plan.detectors))


def comparable_labels(plans: Sequence[PlanRecord]) -> list[str]:
    """Rows with a score of their own; a best-fixed row has none."""
    return [
        label for label in labels_of(plans) if all(plan.detectors[label]["aggregator"] != BEST_FIXED for plan in plans if label in plan.detectors)
    ]


# -- from scores to cells ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Joined:
    """One cell under one seed: all sides on the same test flows, ascending by flow id, and what the metric is there (None: no such number)."""

    cell: CellScores
    evidence: tuple[TestScores, ...]
    values: tuple[float | None, ...]


def joined(sides: Sequence[Side], where: CellSeed, truths: Truths, measure: Measure) -> Joined:
    """The scores of all sides on the test flows of one cell and seed.  UsageError if they were tested on different flows."""
    import polars as pl

    (source, target), seed = where
    tested: list[NDArray[np.int64]] = []
    evidence = []
    for side in sides:
        record = side.record(where)
        truth = truths.of(side.store, record.spec["target_hash"])
        scores = side.store.scores(record.key)
        found = side.evidence(scores, where, truth)[measure.view]
        flows = scores.filter(pl.col("role") == "test").select("flow_id").join(truth, on="flow_id", how="left", maintain_order="left")
        flow_id = flows.filter(pl.col("n_packets") >= VIEWS[measure.view])["flow_id"].to_numpy()  # in the order of the scores there
        order = np.argsort(flow_id)
        tested.append(flow_id[order])
        evidence.append(TestScores(found.score[order], found.attack[order], found.family[order], found.cal_b))
        if not np.array_equal(tested[0], tested[-1]):
            raise UsageError(
                f"{sides[0].name} and {side.name} were tested on different flows of {target} (seed {seed}): run both with one version of janus-bench"
            )
    capture = pl.DataFrame({"flow_id": tested[0]}).join(truth, on="flow_id", how="left", maintain_order="left")["source"]
    scalars = np.stack([found.score for found in evidence])
    cell = CellScores(source, target, seed, tested[0], capture.to_numpy().astype(np.str_), evidence[0].attack, scalars)
    return Joined(cell, tuple(evidence), tuple(measure.metric.compute(found) for found in evidence))


def resample_cells(cells: Sequence[Joined], measure: Measure, resamples: int, progress: Callable[[float], None] = ignore) -> Resampled:
    """Resamples of captures, seeds and flows.  AUROC is had from weights; any other metric is computed on the flows repeated as often as drawn."""
    if measure.is_auroc:
        return resample([each.cell for each in cells], resamples, progress=progress)
    evidence = {(each.cell.pair, each.cell.seed): each.evidence for each in cells}

    def statistic(cell: CellScores, detector: int) -> Callable[[NDArray[np.float64]], NDArray[np.float64]]:
        own = evidence[cell.pair, cell.seed][detector]

        def value(times: NDArray[np.float64]) -> float:
            rows = np.repeat(np.arange(len(times)), times.astype(np.int64))
            found = measure.metric.compute(TestScores(own.score[rows], own.attack[rows], own.family[rows], own.cal_b))
            return np.nan if found is None else found

        return lambda weights: np.array([value(times) for times in weights.T])

    return resample([each.cell for each in cells], resamples, statistic=statistic, progress=progress)


def seeds_of(sides: Sequence[Side]) -> list[int]:
    """Seeds that every side was asked for."""
    return sorted(set.intersection(*({seed for _, seed in side.runs} for side in sides)))


def pairs_of(sides: Sequence[Side]) -> list[Pair]:
    return list(dict.fromkeys(pair for side in sides for pair, _ in side.runs))


def why_missing(sides: Sequence[Side], pair: Pair, seeds: Sequence[int]) -> str:
    """Why a cell cannot be compared, or an empty string."""
    for side in sides:
        for seed in seeds:
            if (status := side.status((pair, seed))) != "ok":
                return f"{side.name}, seed {seed}: {status}"
    return ""
