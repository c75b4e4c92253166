"""Detectors compared on the flows that they share: stored scores and truth, joined into what the statistics need.  Nothing is run.

A *side* is one detector of one results folder.  Cells are those of the transfer regime; the number is AUROC, differences are first − second.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np

from harness.errors import UsageError
from harness.evaluate import cell_scores
from harness.schema import SCHEMA_VERSION, PlanRecord, RunRecord
from harness.store import RunStore
from harness.suggest import unknown
from reports.bootstrap import CellScores, Interval, Pair, Resampled, interval_of, resample
from reports.statistics import DELONG_CAVEAT, PairedTest, delong_over_seeds, holm, rank_test_warning, tie_groups

__all__ = ["Side", "check_same_schema", "check_same_table", "compare", "leaderboard_statistics", "sides_between", "sides_within"]

ALPHA = 0.05
SUMMARIES: Mapping[str, Callable[[Pair], bool]] = {
    "cross_mean": lambda pair: pair[0] != pair[1],
    "within_mean": lambda pair: pair[0] == pair[1],
}
NAMES_DIFFER = ("protocol", "profile", "split", "calibration")

CELL_NUMBERS = (
    *("first", "second", "difference", "low", "high", "delong_p", "delong_p_holm"),
    *("n_benign", "n_attack", "captures_benign", "captures_attack"),
)

MEAN_NUMBERS = ("first", "second", "difference", "low", "high", "p", "p_holm", "low_these", "high_these", "p_these", "p_these_holm")

CellSeed = tuple[Pair, int]


@dataclass(frozen=True, eq=False)
class Side:
    """One detector of one results folder: its runs by (source, target) and seed, and those that are ok."""

    name: str
    label: str
    store: RunStore
    runs: Mapping[CellSeed, str]
    records: Mapping[str, RunRecord]

    def status(self, where: CellSeed) -> str:
        """``ok``, what went wrong, or ``missing``."""
        record = self.records.get(self.runs.get(where, ""))
        return record.status if record is not None else "missing"

    def record(self, where: CellSeed) -> RunRecord:
        return self.records[self.runs[where]]


@dataclass
class _Truths:
    """Truth tables, each read once."""

    read: dict[str, Any] = field(default_factory=dict)

    def of(self, store: RunStore, data_hash: str) -> Any:
        if data_hash not in self.read:
            self.read[data_hash] = store.truth(data_hash)
        return self.read[data_hash]


# -- which runs --------------------------------------------------------------------------------------------------------------------


def side_of(store: RunStore, plans: Sequence[PlanRecord], label: str, name: str, records: Mapping[str, RunRecord]) -> Side:
    """The transfer runs of a detector; where two plans name different runs for a cell and seed, the later one counts."""
    cells = [cell for plan in plans for cell in plan.cells if cell.label == label and cell.regime == "transfer"]
    return Side(name, label, store, {((cell.source, cell.target), cell.seed): cell.run_key for cell in cells}, records)


def sides_within(store: RunStore, plans: Sequence[PlanRecord], labels: Sequence[str]) -> list[tuple[Side, Side]]:
    """Every pair of the named detectors of one folder, in the order given.  UsageError for an unknown one or fewer than two."""
    known = _labels(plans)
    for label in labels:
        if label not in known:
            raise unknown("detector", label, known, f"Those are the ones in {store.folder}.")
    if len(set(labels)) < 2:
        raise UsageError("name two or more different detectors with --detectors a,b, or a second results folder")
    records = store.records()
    return list(combinations([side_of(store, plans, label, label, records) for label in dict.fromkeys(labels)], 2))


def sides_between(
    first: tuple[RunStore, Sequence[PlanRecord]], second: tuple[RunStore, Sequence[PlanRecord]], labels: Sequence[str]
) -> list[tuple[Side, Side]]:
    """Each detector that both folders have (of ``labels``, if any), first folder − second.  UsageError if there is none."""
    common = [label for label in _labels(first[1]) if label in _labels(second[1])]
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


def check_same_schema(folders: Sequence[Path]) -> None:
    """UsageError unless all plans were written by this version of the schema."""
    for folder in folders:
        for path in sorted((folder / "plans").glob("*.json")):
            try:
                version = json.loads(path.read_text()).get("schema_version")
            except (OSError, ValueError, AttributeError):
                continue  # the store says what is wrong with the file
            if version != SCHEMA_VERSION:
                raise UsageError(f"cannot compare: {folder} has schema version {version}, this janus-bench {SCHEMA_VERSION}; run it again")


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


def _labels(plans: Sequence[PlanRecord]) -> list[str]:
    return list(dict.fromkeys(label for plan in plans for label in plan.detectors))


# -- from scores to cells ----------------------------------------------------------------------------------------------------------


def _joined(sides: Sequence[Side], where: CellSeed, truths: _Truths) -> CellScores:
    """The scores of all sides on the test flows of one cell and seed.  UsageError if they were tested on different flows."""
    import polars as pl

    (source, target), seed = where
    tested: list[Any] = []
    values = []
    for side in sides:
        record = side.record(where)
        scores, truth = side.store.scores(record.key), truths.of(side.store, record.spec["target_hash"])
        views = cell_scores(scores, truth, record.spec, record.aggregator)
        # the test flows keep the order of the scores there
        part = scores.filter(pl.col("role") == "test").select("flow_id").with_columns(score=views[""].score).sort("flow_id")
        tested.append(part["flow_id"].to_numpy())
        values.append(part["score"].to_numpy())
        if not np.array_equal(tested[0], tested[-1]):
            raise UsageError(
                f"{sides[0].name} and {side.name} were tested on different flows of {target} (seed {seed}): run both with one version of janus-bench"
            )
    table = pl.DataFrame({"flow_id": tested[0]}).join(truth, on="flow_id", how="left", maintain_order="left")
    capture, attack = table["source"].to_numpy().astype(np.str_), table["attack"].to_numpy()
    return CellScores(source, target, seed, tested[0], capture, attack, np.stack(values))


def _seeds(sides: Sequence[Side]) -> list[int]:
    """Seeds that every side was asked for."""
    return sorted(set.intersection(*({seed for _, seed in side.runs} for side in sides)))


def _pairs(sides: Sequence[Side]) -> list[Pair]:
    return list(dict.fromkeys(pair for side in sides for pair, _ in side.runs))


# -- compare -----------------------------------------------------------------------------------------------------------------------


def compare(pairs: Sequence[tuple[Side, Side]], plan: PlanRecord, resamples: int = 1000) -> dict[str, Any]:
    """The document of ``janus-bench compare``: for every pair of sides its cells, its means, and p values corrected across what stands beside it.

    A mean exists only if every one of its cells has a number for every shared seed.  DeLong's p is corrected (Holm) across the cells of a pair, the
    means' p across pairs.  UsageError if a pair shares no seed, or was tested on different flows.
    """
    compared = [_compare_pair(first, second, resamples) for first, second in pairs]
    for summary in SUMMARIES:
        for p, corrected in (("p", "p_holm"), ("p_these", "p_these_holm")):
            rows = [row for pair in compared for row in pair["means"] if row["summary"] == summary]
            for row, value in zip(rows, holm([row[p] for row in rows]), strict=True):
                row[corrected] = value
    detectors = {name for pair in compared for name in (pair["first"], pair["second"])}
    notes = [DELONG_CAVEAT, f"Holm: DeLong's p across the cells of a pair, a mean's p across all pairs ({len(compared)})"]
    notes += [warning] if (warning := rank_test_warning(len(detectors), len(plan.datasets))) else []
    if any(len(pair["seeds"]) == 1 for pair in compared):
        notes.append("one seed: the intervals know nothing of the spread between seeds")
    return {
        "schema_version": SCHEMA_VERSION,
        "metric": "auroc",
        "regime": "transfer",
        **{name: getattr(plan, name) for name in NAMES_DIFFER},
        "datasets": {name: info["hash"] for name, info in plan.datasets.items()},
        "resamples": resamples,
        "pairs": compared,
        "notes": notes,
    }


def _compare_pair(first: Side, second: Side, resamples: int) -> dict[str, Any]:
    sides, seeds = (first, second), _seeds((first, second))
    if not seeds:
        raise UsageError(f"{first.name} and {second.name} have no seed in common: run both with the same --seeds")
    truths = _Truths()
    missing = {pair: reason for pair in _pairs(sides) if (reason := _why_missing(sides, pair, seeds))}
    there = [pair for pair in _pairs(sides) if pair not in missing]
    cells = [_joined(sides, (pair, seed), truths) for pair in there for seed in seeds]
    resampled = resample(cells, resamples) if cells else None
    rows: list[dict[str, Any]] = []
    for pair in _pairs(sides):
        if resampled is None or pair in missing:
            rows.append({"source": pair[0], "target": pair[1], **dict.fromkeys(CELL_NUMBERS), "reason": missing[pair]})
            continue
        own = [cell for cell in cells if cell.pair == pair]
        test = delong_over_seeds([(cell.scores[0], cell.scores[1], cell.attack) for cell in own])
        rows.append(_cell_row(pair, own, resampled.estimate[pair], interval_of(resampled, [pair], (1, -1), datasets=False), test))
    for row, corrected in zip(rows, holm([row["delong_p"] for row in rows]), strict=True):
        row["delong_p_holm"] = corrected
    means: list[dict[str, Any]] = []
    for summary, belongs in SUMMARIES.items():
        wanted = [pair for pair in _pairs(sides) if belongs(pair)]
        if not wanted:
            continue
        absent = [pair for pair in wanted if pair in missing]
        if resampled is None or absent:
            source, target = absent[0]
            reason = f"{len(absent)} of {len(wanted)} cells have no number, as {source} → {target} ({missing[absent[0]]})"
            means.append({"summary": summary, **dict.fromkeys(MEAN_NUMBERS), "reason": reason, "reason_these": reason})
        else:
            means.append({"summary": summary} | _mean_row(resampled, wanted))
    return {"first": first.name, "second": second.name, "seeds": seeds, "cells": rows, "means": means}


def _why_missing(sides: Sequence[Side], pair: Pair, seeds: Sequence[int]) -> str:
    """Why a cell cannot be compared, or an empty string."""
    for side in sides:
        for seed in seeds:
            if (status := side.status((pair, seed))) != "ok":
                return f"{side.name}, seed {seed}: {status}"
    return ""


def _cell_row(pair: Pair, cells: Sequence[CellScores], areas: Any, interval: Interval, test: PairedTest) -> dict[str, Any]:
    """One cell; flows and captures are the fewest that stand behind any seed."""
    return {
        "source": pair[0],
        "target": pair[1],
        "first": float(areas[0]),
        "second": float(areas[1]),
        "difference": interval.estimate,
        "low": interval.low,
        "high": interval.high,
        "delong_p": test.p,
        "n_benign": min(int(np.count_nonzero(~cell.attack)) for cell in cells),
        "n_attack": min(int(np.count_nonzero(cell.attack)) for cell in cells),
        "captures_benign": min(len(np.unique(cell.capture[~cell.attack])) for cell in cells),
        "captures_attack": min(len(np.unique(cell.capture[cell.attack])) for cell in cells),
        "reason": interval.reason,
    }


def _mean_row(resampled: Resampled, wanted: Sequence[Pair]) -> dict[str, Any]:
    """``low`` … ``p`` for other datasets like these (the headline), ``*_these`` for these very datasets; ``*_holm`` are filled in later."""
    others, these = (interval_of(resampled, wanted, (1, -1), datasets=datasets) for datasets in (True, False))
    areas = np.mean([resampled.estimate[pair] for pair in wanted], axis=0)
    return {
        "first": float(areas[0]),
        "second": float(areas[1]),
        "difference": others.estimate,
        **{name: getattr(others, name) for name in ("low", "high", "p", "reason")},
        **{f"{name}_these": getattr(these, name) for name in ("low", "high", "p", "reason")},
        "p_holm": None,
        "p_these_holm": None,
    }


# -- leaderboard -------------------------------------------------------------------------------------------------------------------


def leaderboard_statistics(store: RunStore, plans: Sequence[PlanRecord], resamples: int = 1000) -> dict[str, Any]:
    """Intervals and tie groups of the AUROC means of all detectors of one table.

    → summary → {``detectors``, ``tests``}, and ``warning``: str | None.  ``detectors``: label → {mean, low, high, reason, group, …}, ``tests``:
    [{first, second, difference, p_holm, …}]; names with ``_these`` are for these very datasets, the others for datasets like these.  A detector
    without a number in every cell and seed of a summary is not in it.  Two detectors share a letter of ``group`` unless their difference is
    significant at 5 % after Holm's correction; ``a`` is the best one's group.
    """
    records = store.records()
    labels = _labels(plans)
    sides = [side_of(store, plans, label, label, records) for label in labels]
    seeds = sorted({seed for side in sides for _, seed in side.runs})
    truths = _Truths()
    document: dict[str, Any] = {"warning": rank_test_warning(len(labels), len(plans[-1].datasets))}
    for summary, belongs in SUMMARIES.items():
        wanted = [pair for pair in _pairs(sides) if belongs(pair)]
        complete = [side for side in sides if not any(_why_missing([side], pair, seeds) for pair in wanted)]
        if wanted and complete:
            cells = [_joined(complete, (pair, seed), truths) for pair in wanted for seed in seeds]
            document[summary] = _summary_statistics([side.label for side in complete], cells, wanted, resamples)
    return document


def _summary_statistics(labels: Sequence[str], cells: Sequence[CellScores], wanted: Sequence[Pair], resamples: int) -> dict[str, Any]:
    resampled = resample(cells, resamples)
    chosen = dict(zip(labels, np.eye(len(labels)), strict=True))
    rows: dict[str, dict[str, Any]] = {}
    for label, contrast in chosen.items():
        others, these = (interval_of(resampled, wanted, contrast.tolist(), datasets=datasets) for datasets in (True, False))
        rows[label] = {"mean": others.estimate} | {name: getattr(others, name) for name in ("low", "high", "reason")}
        rows[label] |= {f"{name}_these": getattr(these, name) for name in ("low", "high", "reason")}
    order = sorted(labels, key=lambda label: (-rows[label]["mean"], label))
    duels = list(combinations(order, 2))
    tests: list[dict[str, Any]] = [{"first": one, "second": two, "difference": rows[one]["mean"] - rows[two]["mean"]} for one, two in duels]
    for datasets, suffix in ((True, ""), (False, "_these")):
        p_values = [interval_of(resampled, wanted, (chosen[one] - chosen[two]).tolist(), datasets=datasets).p for one, two in duels]
        corrected = holm(p_values)
        for test, p in zip(tests, corrected, strict=True):
            test[f"p{suffix}_holm"] = p
        different = [frozenset(duel) for duel, p in zip(duels, corrected, strict=True) if p is not None and p <= ALPHA]
        for label, letters in tie_groups(order, different).items():
            rows[label][f"group{suffix}"] = letters
    return {"detectors": {label: rows[label] for label in order}, "tests": tests}
