"""Intervals and tie groups of a leaderboard's rows, from stored scores; kept in the results folder, because they take seconds to minutes."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Sequence
from itertools import combinations
from pathlib import Path
from typing import Any, cast

import numpy as np

from janus_bench.records import PlanRecord, key_of, outside_means
from reports.results.folder import RunStore
from reports.statistics.bootstrap import Pair, interval_of
from reports.statistics.sides import (
    SUMMARIES,
    Joined,
    Measure,
    Progress,
    Truths,
    comparable_labels,
    ignore,
    joined,
    labels_of,
    pairs_of,
    resample_cells,
    side_of,
    why_missing,
)
from reports.statistics.tests import holm, rank_test_warning, tie_groups
from reports.tables.document import TableStatistics

__all__ = ["kept_statistics", "leaderboard_statistics"]

ALPHA = 0.05
VERSION = 1
"""Of the computation and its document: what an older one kept is not used."""
FOLDER = "statistics"


def kept_statistics(
    store: RunStore, plans: Sequence[PlanRecord], measure: Measure, say: Callable[[str], None], progress: Progress = ignore
) -> TableStatistics:
    """``leaderboard_statistics`` of these very rows: as kept in the folder, else computed and kept (``say`` gets a line if that is impossible)."""
    records = store.records()
    rows = [(cell.label, cell.source, cell.target, cell.seed, cell.run_key) for plan in plans for cell in plan.cells if cell.regime == "transfer"]
    attempts = {key: [records[key].attempt, records[key].finished] for *_, key in rows if key in records}
    aggregators = {label: declared["aggregator"] for plan in plans for label, declared in plan.detectors.items()}
    key = key_of({"version": VERSION, "metric": measure.name, "resamples": measure.resamples, "rows": rows, "attempts": attempts, "of": aggregators})
    path = store.folder / FOLDER / f"{key}.json"
    try:
        found: TableStatistics = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):  # not kept yet, or cut short: it can be computed again
        found = leaderboard_statistics(store, plans, measure, measure.resamples, progress)
        _keep(path, found, say)
    return found


def _keep(path: Path, document: TableStatistics, say: Callable[[str], None]) -> None:
    """Written beside its place and renamed: a reader finds it whole or not at all."""
    try:
        path.parent.mkdir(exist_ok=True)
        with tempfile.NamedTemporaryFile("w", dir=path.parent, prefix=".", suffix=".part", delete=False, encoding="utf-8") as file:
            json.dump(document, file, allow_nan=False)
        Path(file.name).replace(path)
    except OSError as error:
        say(f"note: intervals could not be kept in {path.parent} ({error.strerror}): they are computed again next time")


def leaderboard_statistics(
    store: RunStore, plans: Sequence[PlanRecord], measure: Measure, resamples: int, progress: Progress = ignore
) -> TableStatistics:
    """Intervals and tie groups of the means of all rows of one table.

    → {``metric``, ``resamples``, ``warning``: str | None, ``summaries``: summary → {``detectors``, ``tests``}, ``absent``: summary → label → why
    it is not there}.
    ``detectors``: label → {mean, low, high, reason, group, …, cells}; ``tests``: [{first, second, difference, p_holm, …}]; names with ``_these`` are
    for these very datasets, the others for datasets like these; ``cells``: [{source, target, low, high, reason}], for these very datasets.  A row
    without a number in every cell and seed of a summary is not in it; nor is one that chooses its score with labels.  Two rows share a letter of
    ``group`` unless their difference is significant at 5 % after Holm's correction; ``a`` is the best one's group.
    """
    records = store.records()
    sides = [side_of(store, plans, label, label, records) for label in comparable_labels(plans)]
    seeds = sorted({seed for side in sides for _, seed in side.runs})
    truths = Truths()
    document: Any = {
        "metric": measure.name,
        "resamples": resamples,
        "warning": rank_test_warning(len(labels_of(plans)), len(plans[-1].datasets)),
        "summaries": {},
        "absent": {},
    }
    chosen = {label: "its score is chosen with labels" for label in labels_of(plans) if label not in comparable_labels(plans)}
    outside = outside_means(plans[-1].datasets)
    for summary, belongs in SUMMARIES.items():
        wanted = [pair for pair in pairs_of(sides) if belongs(pair) and pair[1] not in outside]
        why = {side.label: next(filter(None, (why_missing([side], pair, seeds) for pair in wanted)), "") for side in sides}
        document["absent"][summary] = chosen | {label: reason for label, reason in why.items() if reason}
        complete = [side for side in sides if not why[side.label]]
        if wanted and complete:
            cells = [joined(complete, (pair, seed), truths, measure) for pair in wanted for seed in seeds]
            if all(value is not None for each in cells for value in each.values):
                document["summaries"][summary] = _summary([side.label for side in complete], cells, measure, resamples, progress)
    return cast("TableStatistics", document)


def _summary(labels: Sequence[str], cells: Sequence[Joined], measure: Measure, resamples: int, progress: Progress) -> dict[str, Any]:
    resampled = resample_cells(cells, measure, resamples, lambda done: progress("intervals", done))
    wanted: list[Pair] = list(dict.fromkeys(each.cell.pair for each in cells))
    chosen = dict(zip(labels, np.eye(len(labels)), strict=True))
    rows: dict[str, dict[str, Any]] = {}
    for label, contrast in chosen.items():
        others, these = (interval_of(resampled, wanted, contrast.tolist(), datasets=datasets) for datasets in (True, False))
        rows[label] = {"mean": others.estimate} | {name: getattr(others, name) for name in ("low", "high", "reason")}
        rows[label] |= {f"{name}_these": getattr(these, name) for name in ("low", "high", "reason")}
        own = {pair: interval_of(resampled, [pair], contrast.tolist(), datasets=False) for pair in wanted}
        rows[label]["cells"] = [
            {"source": pair[0], "target": pair[1], "low": found.low, "high": found.high, "reason": found.reason} for pair, found in own.items()
        ]
    better = -1 if measure.metric.higher_is_better else 1
    order = sorted(labels, key=lambda label: (better * rows[label]["mean"], label))
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
