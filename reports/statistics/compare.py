"""Rows compared on the flows that they share (``reports.statistics.joining``): differences are first − second.  Nothing
is run."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from typing import NotRequired, TypedDict, TypeVar, cast

import numpy as np
from numpy.typing import NDArray

from janus_bench.errors import UsageError, unknown
from janus_bench.quiet import ignore
from reports.results.measures import Measure
from reports.results.model import SETTINGS, Pair, Progress, ResultTable, Row
from reports.statistics.bootstrap import CellScores, Resampled, interval_of
from reports.statistics.joining import SUMMARIES, Joined, joined_cells, resample_cells, resamples_of, why_missing
from reports.statistics.tests import DELONG_CAVEAT, delong_over_seeds, holm, rank_test_warning
from reports.tables.sites import site_notes, site_view

Part = TypeVar("Part")


class ComparedCell(TypedDict):
    """Flows and captures are the fewest that stand behind any seed; every number is None where there is a
    ``reason``."""

    source: str
    target: str
    first: float | None
    second: float | None
    difference: float | None
    low: float | None
    high: float | None
    delong_p: float | None
    delong_p_holm: float | None
    n_benign: int | None
    n_attack: int | None
    captures_benign: int | None
    captures_attack: int | None
    reason: str


class ComparedMean(TypedDict):
    """``low`` … ``p`` for other datasets like these (the headline), ``*_these`` for these very datasets."""

    summary: str
    first: float | None
    second: float | None
    difference: float | None
    low: float | None
    high: float | None
    p: float | None
    p_holm: float | None
    low_these: float | None
    high_these: float | None
    p_these: float | None
    p_these_holm: float | None
    reason: str
    reason_these: str


class Paired(TypedDict):
    """Of one target and seed: means over the sources."""

    target: str
    seed: int
    first: float
    second: float
    difference: float


class ComparedRows(TypedDict):
    """Two rows under the seeds that both were asked for.

    rival, regime, regimes, paired  with ``--best-regime``: the second row's detector, its regime, the means that it was
                                    chosen by, and the differences behind that mean
    """

    first: str
    second: str
    seeds: list[int]
    cells: list[ComparedCell]
    means: list[ComparedMean]
    rival: NotRequired[str]
    regime: NotRequired[str]
    regimes: NotRequired[Mapping[str, float | None]]
    paired: NotRequired[list[Paired]]


class Comparison(TypedDict):
    """What ``janus-bench compare --format json`` prints."""

    schema_version: int
    metric: str
    higher_is_better: bool
    regime: str
    protocol: str
    profile: str
    split: str
    calibration: str
    datasets: Mapping[str, str]
    resamples: int
    pairs: list[ComparedRows]
    notes: list[str]


def rows_within(table: ResultTable, labels: Sequence[str]) -> list[tuple[Row, Row]]:
    """Every pair of the named rows of one table, in the order given.  UsageError for an unknown one, fewer than two, or
    one chosen with labels."""
    rows = named_rows(table, labels)
    if len(rows) < 2:
        raise UsageError("name two or more different detectors with --detectors a,b, or a second results folder")
    return list(combinations(rows, 2))


def rows_with_baselines(table: ResultTable, labels: Sequence[str]) -> list[tuple[Row, Row]]:
    """Each named row (all that have one, if none is named) and its target-only baseline.

    UsageError for an unknown row, one without a baseline, or one chosen with labels.
    """
    pairs = [(row, row.baseline) for row in (named_rows(table, labels) or table.comparable)]
    for row, baseline in pairs:
        if baseline is None and labels:
            raise UsageError(
                f"{row.label} has no target-only control in {table.results.folder}: it learns nothing, or its "
                "protocol has none; try --protocol cross"
            )
    found = [(row, baseline) for row, baseline in pairs if baseline is not None]
    if not found:
        raise UsageError(
            f"no detector in {table.results.folder} has a target-only control: run a protocol that has them, "
            "such as cross"
        )
    return found


def rows_between(first: ResultTable, second: ResultTable, labels: Sequence[str]) -> list[tuple[Row, Row]]:
    """Each row that both tables have (of ``labels``, if any), first − second.  UsageError if there is none, or if the
    tables differ in more."""
    _check_alike(first, second)
    ours, theirs = (
        {row.label: replace(row, name=f"{row.label} in {table.results.folder}") for row in table.comparable}
        for table in (first, second)
    )
    common = [label for label in ours if label in theirs]
    for label in labels:
        if label not in common:
            raise unknown("detector", label, common, "Those are the ones in both folders.")
    if not common:
        where = f"{first.results.folder} and {second.results.folder}"
        raise UsageError(f"{where} have no detector in common: compare two of one folder with --detectors a,b")
    return [(ours[label], theirs[label]) for label in labels or common]


def named_rows(table: ResultTable, labels: Sequence[str]) -> list[Row]:
    """UsageError for an unknown row and for one chosen with labels."""
    rows = [table.row(label) for label in dict.fromkeys(labels)]
    for row in rows:
        if row.chosen_with_labels:
            raise UsageError(
                f"{row.label} chooses its score with the labels of the test: it is an upper bound and cannot "
                "be compared"
            )
    return rows


def _check_alike(first: ResultTable, second: ResultTable) -> None:
    """UsageError, naming what differs, unless two tables have the same schema version, protocol, profile, split,
    calibration and data."""
    where = f"{first.results.folder} and {second.results.folder}"
    for name in SETTINGS:
        ours, theirs = getattr(first.plan, name), getattr(second.plan, name)
        if ours != theirs:
            raise UsageError(
                f"cannot compare {where}: {name.replace('_', ' ')} is {ours} in the first and {theirs} in the "
                "second; run both alike"
            )
    only = sorted(set(first.datasets) ^ set(second.datasets))
    if only:
        raise UsageError(
            f"cannot compare {where}: only one of them has {', '.join(only)}; run both on the same datasets"
        )
    for name, entry in first.datasets.items():
        ours, theirs = entry.hash, second.datasets[name].hash
        if ours != theirs:
            raise UsageError(
                f"cannot compare {where}: the data of {name} differ (hash {ours[:12]} and {theirs[:12]}); run "
                "both on the same data"
            )


@dataclass(frozen=True)
class _How:
    """What is computed for the rows of a table, from how many resamples, and who hears of its progress."""

    table: ResultTable
    measure: Measure
    resamples: int
    progress: Progress


def compare(
    pairs: Sequence[tuple[Row, Row]],
    table: ResultTable,
    measure: Measure,
    resamples: int | None = None,
    progress: Progress = ignore,
) -> Comparison:
    """For every pair of rows its cells, its means, and p values corrected across what stands beside it; ``table``: of
    the first row.

    A mean exists only if every one of its cells has a number for every shared seed.  DeLong's p (of AUROC alone) is
    corrected (Holm) across the cells of a pair, the means' p across pairs.  resamples: ``resamples_of(measure)`` by
    default.  UsageError if a pair shares no seed, or was tested on different flows.
    """
    how = _How(table, measure, resamples or resamples_of(measure), progress)
    compared = [_compare_rows(first, second, how) for first, second in pairs]
    for summary in SUMMARIES:
        means = [mean for pair in compared for mean in pair["means"] if mean["summary"] == summary]
        corrected = [holm([mean[name] for mean in means]) for name in ("p", "p_these")]
        for mean, p, p_fixed in zip(means, *corrected, strict=True):
            mean["p_holm"], mean["p_these_holm"] = p, p_fixed
    plan = table.plan
    return {
        "schema_version": plan.schema_version,
        "metric": measure.name,
        "higher_is_better": measure.metric.higher_is_better,
        "regime": " against ".join(dict.fromkeys(row.regime for row in pairs[0])),
        "protocol": plan.shown_protocol,
        "profile": plan.profile,
        "split": plan.split,
        "calibration": plan.calibration,
        "datasets": {name: entry.hash for name, entry in plan.datasets.items()},
        "resamples": how.resamples,
        "pairs": compared,
        "notes": _notes(compared, how),
    }


def _notes(compared: Sequence[ComparedRows], how: _How) -> list[str]:
    detectors = {name for pair in compared for name in (pair["first"], pair["second"])}
    across = f"a mean's p across all pairs ({len(compared)})"
    notes = (
        [DELONG_CAVEAT, f"Holm: DeLong's p across the cells of a pair, {across}"]
        if _has_delong(how.measure)
        else [f"Holm: {across}"]
    )
    if not _has_delong(how.measure):
        what = "it is not for a mean over sites" if how.measure.by_site else "it is for AUROC alone"
        notes.append(f"{how.resamples} resamples, and no DeLong test: {what}")
    if how.measure.by_site:
        notes += site_notes(site_view(how.table, how.measure))
    if not how.measure.metric.higher_is_better:
        notes.append(f"{how.measure.metric.name}: lower is better, so a difference above 0 speaks for B")
    notes += [warning] if (warning := rank_test_warning(len(detectors), len(how.table.datasets))) else []
    if any(len(pair["seeds"]) == 1 for pair in compared):
        notes.append("one seed: the intervals know nothing of the spread between seeds")
    return notes


def _has_delong(measure: Measure) -> bool:
    """It is a test of one AUROC, not of a mean over sites."""
    return measure.is_auroc and not measure.by_site


def _compare_rows(first: Row, second: Row, how: _How) -> ComparedRows:
    rows, seeds = (first, second), sorted(first.seeds & second.seeds)
    if not seeds:
        raise UsageError(f"{first.name} and {second.name} have no seed in common: run both with the same --seeds")
    title, pairs = f"{first.name} against {second.name}", list(dict.fromkeys([*first.cells, *second.cells]))
    views = {pair: how.table.views(how.measure, pair[1]) for pair in pairs}
    missing = {pair: "no site has enough flows (see docs/statistics.md)" for pair in pairs if not views[pair]}
    missing |= {pair: reason for pair in pairs if (reason := why_missing(rows, pair, seeds))}
    there = [pair for pair in pairs if pair not in missing]
    found = joined_cells(rows, there, seeds, how.measure, lambda done: how.progress(f"{title}: reading scores", done))
    without = {each.cell.pair for each in found if any(value is None for value in each.values)}
    missing |= {
        pair: f"{how.measure.name} does not exist there (see docs/statistics.md)" for pair in there if pair in without
    }
    cells = [each for each in found if each.cell.pair not in without]
    resampled = (
        resample_cells(cells, how.measure, how.resamples, lambda done: how.progress(title, done)) if cells else None
    )
    compared = [
        _without(ComparedCell, source=pair[0], target=pair[1], reason=missing[pair])
        if resampled is None or pair in missing
        else _cell(pair, cells, resampled, how.measure)
        for pair in pairs
    ]
    for cell, corrected in zip(compared, holm([cell["delong_p"] for cell in compared]), strict=True):
        cell["delong_p_holm"] = corrected
    wanted = {
        summary: [pair for pair in pairs if belongs(pair) and how.table.in_means(pair, how.measure)]
        for summary, belongs in SUMMARIES.items()
    }
    means = [_mean(summary, chosen, missing, resampled) for summary, chosen in wanted.items() if chosen]
    return {"first": first.name, "second": second.name, "seeds": seeds, "cells": compared, "means": means}


def _cell(pair: Pair, joined: Sequence[Joined], resampled: Resampled, measure: Measure) -> ComparedCell:
    cells: list[CellScores] = [each.cell for each in joined if each.cell.pair == pair]
    interval = interval_of(resampled, [pair], (1, -1), datasets=False)
    tested = (
        delong_over_seeds([(cell.scores[0], cell.scores[1], cell.attack) for cell in cells])
        if _has_delong(measure)
        else None
    )
    return {
        "source": pair[0],
        "target": pair[1],
        "first": float(resampled.estimate[pair][0]),
        "second": float(resampled.estimate[pair][1]),
        "difference": interval.estimate,
        "low": interval.low,
        "high": interval.high,
        "delong_p": None if tested is None else tested.p,
        "n_benign": min(int(np.count_nonzero(~cell.attack)) for cell in cells),
        "n_attack": min(int(np.count_nonzero(cell.attack)) for cell in cells),
        "captures_benign": min(_captures(cell, ~cell.attack) for cell in cells),
        "captures_attack": min(_captures(cell, cell.attack) for cell in cells),
        "reason": interval.reason,
        "delong_p_holm": None,
    }


def _without(kind: type[Part], **known: str) -> Part:
    """A cell or a mean without any number."""
    return cast("Part", dict.fromkeys(kind.__annotations__) | known)


def _captures(cell: CellScores, members: NDArray[np.bool_]) -> int:
    return len(np.unique(cell.capture[members]))


def _mean(
    summary: str, wanted: Sequence[Pair], missing: Mapping[Pair, str], resampled: Resampled | None
) -> ComparedMean:
    """Its numbers are None unless every cell is there."""
    absent = [pair for pair in wanted if pair in missing]
    if resampled is None or absent:
        source, target = absent[0]
        reason = f"{len(absent)} of {len(wanted)} cells have no number, as {source} → {target} ({missing[absent[0]]})"
        return _without(ComparedMean, summary=summary, reason=reason, reason_these=reason)
    others, fixed = (interval_of(resampled, wanted, (1, -1), datasets=datasets) for datasets in (True, False))
    areas = np.mean([resampled.estimate[pair] for pair in wanted], axis=0)
    return {
        "summary": summary,
        "first": float(areas[0]),
        "second": float(areas[1]),
        "difference": others.estimate,
        "low": others.low,
        "high": others.high,
        "p": others.p,
        "reason": others.reason,
        "low_these": fixed.low,
        "high_these": fixed.high,
        "p_these": fixed.p,
        "reason_these": fixed.reason,
        "p_holm": None,
        "p_these_holm": None,
    }
