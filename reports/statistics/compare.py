"""Detectors compared on the flows that they share (``reports.statistics.sides``): differences are first − second.  Nothing is run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from janus_bench.errors import UsageError
from janus_bench.records import SCHEMA_VERSION, PlanRecord, outside_means
from reports.statistics.bootstrap import (
    CellScores,
    Interval,
    Pair,
    Resampled,
    interval_of,
)
from reports.statistics.sides import (
    NAMES_DIFFER,
    SUMMARIES,
    Joined,
    Measure,
    Progress,
    Side,
    Truths,
    ignore,
    joined,
    pairs_of,
    resample_cells,
    seeds_of,
    why_missing,
)
from reports.statistics.tests import (
    DELONG_CAVEAT,
    delong_over_seeds,
    holm,
    rank_test_warning,
)

__all__ = ["compare"]

CELL_NUMBERS = (
    *("first", "second", "difference", "low", "high", "delong_p", "delong_p_holm"),
    *("n_benign", "n_attack", "captures_benign", "captures_attack"),
)

MEAN_NUMBERS = ("first", "second", "difference", "low", "high", "p", "p_holm", "low_these", "high_these", "p_these", "p_these_holm")


@dataclass(frozen=True)
class _How:
    """What is computed, from how many resamples, who hears of its progress, and which targets are outside means (``schema.outside_means``)."""

    measure: Measure
    resamples: int
    progress: Progress
    outside: frozenset[str]


def compare(
    pairs: Sequence[tuple[Side, Side]], plan: PlanRecord, measure: Measure, resamples: int | None = None, progress: Progress = ignore
) -> dict[str, Any]:
    """The document of ``janus-bench compare``: for every pair of sides its cells, its means, and p values corrected across what stands beside it.

    A mean exists only if every one of its cells has a number for every shared seed.  DeLong's p (of AUROC alone) is corrected (Holm) across the cells
    of a pair, the means' p across pairs.  resamples: ``measure.resamples`` by default.  UsageError if a pair shares no seed, or was tested on
    different flows.
    """
    how = _How(measure, resamples or measure.resamples, progress, outside_means(plan.datasets))
    compared = [_compare_pair(first, second, how) for first, second in pairs]
    for summary in SUMMARIES:
        for p, corrected in (("p", "p_holm"), ("p_these", "p_these_holm")):
            rows = [row for pair in compared for row in pair["means"] if row["summary"] == summary]
            for row, value in zip(rows, holm([row[p] for row in rows]), strict=True):
                row[corrected] = value
    return {
        "schema_version": SCHEMA_VERSION,
        "metric": measure.name,
        "higher_is_better": measure.metric.higher_is_better,
        "regime": " against ".join(dict.fromkeys(side.regime for side in pairs[0])),
        **{name: getattr(plan, name) for name in NAMES_DIFFER},
        "datasets": {name: info["hash"] for name, info in plan.datasets.items()},
        "resamples": how.resamples,
        "pairs": compared,
        "notes": _notes(compared, plan, how),
    }


def _notes(compared: Sequence[dict[str, Any]], plan: PlanRecord, how: _How) -> list[str]:
    detectors = {name for pair in compared for name in (pair["first"], pair["second"])}
    across = f"a mean's p across all pairs ({len(compared)})"
    notes = [DELONG_CAVEAT, f"Holm: DeLong's p across the cells of a pair, {across}"] if how.measure.is_auroc else [f"Holm: {across}"]
    if not how.measure.is_auroc:
        notes.append(f"{how.resamples} resamples, and no DeLong test: it is for AUROC alone")
    if not how.measure.metric.higher_is_better:
        notes.append(f"{how.measure.metric.name}: lower is better, so a difference above 0 speaks for B")
    notes += [warning] if (warning := rank_test_warning(len(detectors), len(plan.datasets))) else []
    if any(len(pair["seeds"]) == 1 for pair in compared):
        notes.append("one seed: the intervals know nothing of the spread between seeds")
    return notes


def _compare_pair(first: Side, second: Side, how: _How) -> dict[str, Any]:
    sides, seeds = (first, second), seeds_of((first, second))
    if not seeds:
        raise UsageError(f"{first.name} and {second.name} have no seed in common: run both with the same --seeds")
    truths, title = Truths(), f"{first.name} against {second.name}"
    cells: list[Joined] = []
    missing: dict[Pair, str] = {}
    for place, pair in enumerate(pairs_of(sides)):
        how.progress(f"{title}: reading scores", place / len(pairs_of(sides)))
        reason = why_missing(sides, pair, seeds)
        found = [] if reason else [joined(sides, (pair, seed), truths, how.measure) for seed in seeds]
        if any(value is None for each in found for value in each.values):
            reason = f"{how.measure.name} does not exist there (see docs/statistics.md)"
        missing |= {pair: reason} if reason else {}
        cells += [] if reason else found
    resampled = resample_cells(cells, how.measure, how.resamples, lambda done: how.progress(title, done)) if cells else None
    rows: list[dict[str, Any]] = []
    for pair in pairs_of(sides):
        if resampled is None or pair in missing:
            rows.append({"source": pair[0], "target": pair[1], **dict.fromkeys(CELL_NUMBERS), "reason": missing[pair]})
            continue
        own = [each.cell for each in cells if each.cell.pair == pair]
        test = delong_over_seeds([(cell.scores[0], cell.scores[1], cell.attack) for cell in own]) if how.measure.is_auroc else None
        interval = interval_of(resampled, [pair], (1, -1), datasets=False)
        rows.append(_cell_row(pair, own, resampled.estimate[pair], interval, None if test is None else test.p))
    for row, corrected in zip(rows, holm([row["delong_p"] for row in rows]), strict=True):
        row["delong_p_holm"] = corrected
    means = [mean for summary in SUMMARIES if (mean := _mean(summary, sides, missing, resampled, how.outside)) is not None]
    return {"first": first.name, "second": second.name, "seeds": seeds, "cells": rows, "means": means}


def _mean(
    summary: str, sides: Sequence[Side], missing: Mapping[Pair, str], resampled: Resampled | None, outside: frozenset[str]
) -> dict[str, Any] | None:
    """A row of means, its numbers None unless every cell is there; None if the summary has no cells."""
    wanted = [pair for pair in pairs_of(sides) if SUMMARIES[summary](pair) and pair[1] not in outside]
    if not wanted:
        return None
    absent = [pair for pair in wanted if pair in missing]
    if resampled is None or absent:
        source, target = absent[0]
        reason = f"{len(absent)} of {len(wanted)} cells have no number, as {source} → {target} ({missing[absent[0]]})"
        return {"summary": summary, **dict.fromkeys(MEAN_NUMBERS), "reason": reason, "reason_these": reason}
    return {"summary": summary} | _mean_row(resampled, wanted)


def _cell_row(pair: Pair, cells: Sequence[CellScores], areas: Any, interval: Interval, delong_p: float | None) -> dict[str, Any]:
    """One cell; flows and captures are the fewest that stand behind any seed."""
    return {
        "source": pair[0],
        "target": pair[1],
        "first": float(areas[0]),
        "second": float(areas[1]),
        "difference": interval.estimate,
        "low": interval.low,
        "high": interval.high,
        "delong_p": delong_p,
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
