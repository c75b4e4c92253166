"""Intervals and tie groups of a leaderboard's rows, from stored scores; kept in the results folder, because they take
seconds to minutes."""

import json
from collections.abc import Sequence
from itertools import combinations
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from janus_bench.files import remove_left_behind, why, write_atomically
from janus_bench.quiet import ignore
from janus_bench.records import key_of
from janus_bench.stored import Unreadable, read_json
from reports.results.measures import Measure
from reports.results.model import Pair, Progress, ResultTable, Row
from reports.results.sites import FEW_SITES
from reports.statistics.bootstrap import Resampled, interval_of
from reports.statistics.joining import SUMMARIES, joined_cells, resample_cells, resamples_of, why_missing
from reports.statistics.tests import holm, rank_test_warning, tie_groups
from reports.tables.document import Difference, Duel, RowStatistics, SummaryName, SummaryStatistics, TableStatistics

ALPHA = 0.05
VERSION = 5  # Of the computation and its document: what an older one kept is not used.
FOLDER = "statistics"


def kept_statistics(table: ResultTable, measure: Measure, progress: Progress = ignore) -> TableStatistics:
    """``leaderboard_statistics`` of these very rows: as kept in the folder, else computed and kept; it is said where
    that is impossible."""
    path, found = _path(table, measure), read_kept(table, measure)
    if found is None:
        found = leaderboard_statistics(table, measure, resamples_of(measure), progress)
        try:
            path.parent.mkdir(exist_ok=True)
            remove_left_behind(path.parent)
            write_atomically(path, json.dumps(found, allow_nan=False))
        except OSError as error:
            table.results.say(
                f"note: intervals could not be kept in {path.parent} ({why(error)}): they are computed again next time"
            )
    return found


def read_kept(table: ResultTable, measure: Measure) -> TableStatistics | None:
    """None where they are not kept yet, or damaged: they can be computed again."""
    try:
        found: TableStatistics = read_json(_path(table, measure), TableStatistics)
    except Unreadable:
        return None
    return found


def _path(table: ResultTable, measure: Measure) -> Path:
    return table.results.folder / FOLDER / f"{_key(table, measure)}.json"


def _key(table: ResultTable, measure: Measure) -> str:
    """Of everything that the statistics depend on."""
    planned = [cell for plan in table.plans for cell in plan.cells if cell.regime == "transfer"]
    records = table.results.records
    attempts = {
        cell.run_key: [records[cell.run_key].attempt, records[cell.run_key].finished]
        for cell in planned
        if cell.run_key in records
    }
    of = {
        "rows": [(cell.label, cell.source, cell.target, cell.seed, cell.run_key) for cell in planned],
        "of": {row.label: row.aggregator for row in table.rows},
    }
    return key_of(
        {"version": VERSION, "metric": measure.name, "resamples": resamples_of(measure), "attempts": attempts, **of}
    )


def leaderboard_statistics(
    table: ResultTable, measure: Measure, resamples: int, progress: Progress = ignore
) -> TableStatistics:
    """Intervals and tie groups of the means of all rows of one table.

    A row without a number in every cell and seed of a summary is not in it, but in ``absent`` with the reason; nor is
    one that chooses its score with labels.  Two rows share a letter of ``group`` unless their difference is significant
    at 5 % after Holm's correction; ``a`` is the best one's.
    """
    rows = table.comparable
    seeds = sorted({seed for row in rows for seed in row.seeds})
    chosen = {row.label: "its score is chosen with labels" for row in table.rows if row.chosen_with_labels}
    planned = list(dict.fromkeys(pair for row in rows for pair in row.cells))
    summaries: dict[SummaryName, SummaryStatistics] = {}
    absent: dict[str, dict[str, str]] = {}
    for summary, belongs in SUMMARIES.items():
        wanted = [pair for pair in planned if belongs(pair) and table.in_means(pair, measure)]
        why = {row.label: next(filter(None, (why_missing([row], pair, seeds) for pair in wanted)), "") for row in rows}
        absent[summary] = chosen | {label: reason for label, reason in why.items() if reason}
        complete = [row for row in rows if not why[row.label]]
        if wanted and complete:
            # baselines are resampled with the rows, on the same captures, seeds and flows: gains are paired
            baselines = [
                row.baseline
                for row in complete
                if row.baseline is not None and not any(why_missing([row.baseline], pair, seeds) for pair in wanted)
            ]
            cells = joined_cells([*complete, *baselines], wanted, seeds, measure)
            if all(value is not None for each in cells for value in each.values):
                resampled = resample_cells(cells, measure, resamples, lambda done: progress("intervals", done))
                found = _summary(
                    complete, baselines, wanted, resampled, higher_is_better=measure.metric.higher_is_better
                )
                few = measure.by_site and table.n_sites(measure.metric) < FEW_SITES
                summaries[summary] = _without_lead(found) if few else found
    warning = rank_test_warning(len(table.rows), len(table.datasets))
    return {
        "metric": measure.name,
        "resamples": resamples,
        "warning": warning,
        "summaries": summaries,
        "absent": absent,
    }


def _without_lead(found: SummaryStatistics) -> SummaryStatistics:
    """So few sites rank nobody: no letters, and no tests behind them."""
    return {
        "detectors": {label: {**of, "group": "", "group_these": ""} for label, of in found["detectors"].items()},
        "tests": [],
        "gains": {},
    }


def _summary(
    rows: Sequence[Row],
    baselines: Sequence[Row],
    wanted: Sequence[Pair],
    resampled: Resampled,
    *,
    higher_is_better: bool,
) -> SummaryStatistics:
    """``baselines`` stand behind the rows in what was resampled."""
    unit = np.eye(len(rows) + len(baselines))
    contrast = {row.label: own for row, own in zip(rows, unit, strict=False)}
    gain = {row.label: contrast[row.label] - own for row, own in zip(baselines, unit[len(rows) :], strict=True)}
    found: dict[str, RowStatistics] = {}
    for label, own in contrast.items():
        others, fixed = (interval_of(resampled, wanted, own.tolist(), datasets=datasets) for datasets in (True, False))
        of_cells = {pair: interval_of(resampled, [pair], own.tolist(), datasets=False) for pair in wanted}
        found[label] = {
            "mean": others.estimate,
            "low": others.low,
            "high": others.high,
            "reason": others.reason,
            "low_these": fixed.low,
            "high_these": fixed.high,
            "reason_these": fixed.reason,
            "cells": [
                {"source": pair[0], "target": pair[1], "low": of.low, "high": of.high, "reason": of.reason}
                for pair, of in of_cells.items()
            ],
            "group": "",
            "group_these": "",
        }
    better = -1 if higher_is_better else 1
    order = sorted(contrast, key=lambda label: (better * found[label]["mean"], label))
    pairs = list(combinations(order, 2))
    duels = _differences([contrast[one] - contrast[two] for one, two in pairs], wanted, resampled)
    groups = []
    for name in ("p_holm", "p_these_holm"):
        p_values = [duel[name] for duel in duels]  # type: ignore[literal-required]
        tested = {pair: p for pair, p in zip(pairs, p_values, strict=True) if p is not None}
        letters = tie_groups(order, [frozenset(pair) for pair, p in tested.items() if p <= ALPHA])
        compared = {label for pair in tested for label in pair}  # a letter says that a row was compared with others
        groups.append({label: letter if label in compared else "" for label, letter in letters.items()})
    rows_of: dict[str, RowStatistics] = {
        label: {**found[label], "group": groups[0][label], "group_these": groups[1][label]} for label in order
    }
    tests: list[Duel] = [{"first": one, "second": two, **duel} for (one, two), duel in zip(pairs, duels, strict=True)]
    gains = dict(zip(gain, _differences(list(gain.values()), wanted, resampled), strict=True))
    return {"detectors": rows_of, "tests": tests, "gains": gains}


def _differences(
    contrasts: Sequence[NDArray[np.float64]], wanted: Sequence[Pair], resampled: Resampled
) -> list[Difference]:
    """One per contrast, corrected over all of them."""
    others, fixed = (
        [interval_of(resampled, wanted, contrast.tolist(), datasets=datasets) for contrast in contrasts]
        for datasets in (True, False)
    )
    p_values, p_fixed = (holm([each.p for each in found]) for found in (others, fixed))
    return [
        {
            "difference": over.estimate,
            "low": over.low,
            "high": over.high,
            "p_holm": p,
            "low_these": within.low,
            "high_these": within.high,
            "p_these_holm": p_these,
        }
        for over, within, p, p_these in zip(others, fixed, p_values, p_fixed, strict=True)
    ]
