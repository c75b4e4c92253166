"""The leaderboard document: what every renderer shows and what ``leaderboard --format json`` prints.  Standard library only.

A number that does not exist is None, never 0; a cell that failed or is not there keeps its status and reason.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, stdev
from typing import Any, cast

from janus_bench.extensions import BEST_FIXED
from janus_bench.records import (
    SCHEMA_VERSION,
    PlanRecord,
    RunRecord,
    outside_means,
)
from reports.tables.document import Board, TableStatistics
from reports.tables.intervals import with_statistics
from reports.tables.notes import notes_of

__all__ = ["COLLAPSE", "SUMMARIES", "build_leaderboard", "value_key"]

COLLAPSE = 0.57
"""An AUROC this low or lower counts as a collapse cell."""

AUROC_LIKE = ("auroc", "macro_auroc")
SUMMARIES = ("within_mean", "cross_mean", "cross_worst")

MISSING = "missing"
WORST_FIRST = ("error", "invalid_output", "oom", "timeout", "killed", "interrupted", "skipped", MISSING, "ok")
"""Which status a cell shows when its seeds differ."""

Pair = tuple[str | None, str]


@dataclass(frozen=True)
class _Run:
    """One seed of one cell; ``value`` is None unless the run is ok and the number exists."""

    key: str
    seed: int
    status: str
    reason: str
    value: float | None
    record: RunRecord | None


Cells = Mapping[Pair, Sequence[_Run]]


@dataclass(frozen=True)
class _Table:
    """What all rows share."""

    pairs: tuple[Pair, ...]
    metric: str
    aggregator: str | None
    higher_is_better: bool
    outside: frozenset[str]

    def counts(self, pair: Pair) -> bool:
        return pair[1] not in self.outside


def build_leaderboard(
    plans: Sequence[PlanRecord],
    records: Mapping[str, RunRecord],
    values: Mapping[str, float | None],
    metric: str,
    aggregator: str | None = None,
    *,
    higher_is_better: bool = True,
    reasons: Mapping[str, str] | None = None,
    statistics: TableStatistics | None = None,
) -> Board:
    """The document for plans that share protocol, profile, split, calibration and datasets; detectors and seeds are united.

    plans    oldest first: where two plans name different runs for the same detector, cell and seed, the later one counts
    records  run key → row; a run that is absent is ``missing``
    values   ``value_key`` → the metric of that run under ``aggregator`` (None: each row's own); None or absent where there is no such number
    reasons  ``value_key`` → why an ok run has no such number
    statistics  intervals and tie groups of these very rows (``reports.statistics.intervals.leaderboard_statistics``), if they are wanted

    A detector is expected for the seeds that its own plans name.  A cell's mean and std (sample standard deviation, None for one seed) are over its
    ``n_seeds`` seeds with a number.  A control counts only if all its seeds are ok.  A summary is made from the cells' means and exists only if every
    one of its cells is complete; ``cross_worst`` is the lowest of them (the highest where lower is better); ``summary_std`` is the spread of the
    summaries made from each seed alone.  ValueError for plans that do not belong in one table.
    """
    first = _common_settings(plans)
    runs = _expected_runs(plans, records, values, reasons or {})
    pairs = tuple(dict.fromkeys(pair for (_, regime), cells in runs.items() if regime == "transfer" for pair in cells))
    table = _Table(pairs, metric, aggregator, higher_is_better, outside_means(first.datasets))
    detectors = {label: declared for plan in plans for label, declared in plan.detectors.items()}
    rows = [
        _row(label, declared, runs.get((label, "transfer"), {}), runs.get((label, "control"), {}), table) for label, declared in detectors.items()
    ]
    document: Any = {
        "schema_version": SCHEMA_VERSION,
        "protocol": first.protocol,
        "regime": "transfer",
        "calibration": first.calibration,
        "split": first.split,
        "profile": first.profile,
        "synthetic": any(bool(info.get("synthetic")) for info in first.datasets.values()),
        "metric": metric,
        "higher_is_better": higher_is_better,
        "aggregator": aggregator,
        "seeds": sorted({seed for plan in plans for seed in plan.seeds}),
        "datasets": list(first.datasets),
        "n_expected_cells": len(pairs),
        "rows": _ranked(rows, table),
        "made_by": _made_by(runs),
        "datasets_info": _datasets_info(first, [run for cells in runs.values() for seeds in cells.values() for run in seeds]),
        "statistics": None,
    }
    if statistics is not None:
        document = with_statistics(document, statistics)
    document["notes"] = notes_of(document)
    return cast("Board", document)


def _common_settings(plans: Sequence[PlanRecord]) -> PlanRecord:
    if not plans:
        raise ValueError("a leaderboard needs at least one plan")
    settings = {(plan.protocol, plan.profile, plan.split, plan.calibration, tuple(sorted(plan.datasets))) for plan in plans}
    if len(settings) > 1:
        raise ValueError(f"plans of different tables: {sorted(settings)}")
    return plans[-1]


def value_key(run_key: str, row_aggregator: str, record: RunRecord | None) -> str:
    """The name of a row's number of a run: the run's key, or a longer one where the row has chosen another aggregator than the run's own."""
    chosen = record is not None and record.aggregator != "identity" and row_aggregator != record.aggregator
    return f"{run_key} {row_aggregator}" if chosen else run_key


def _expected_runs(
    plans: Sequence[PlanRecord], records: Mapping[str, RunRecord], values: Mapping[str, float | None], reasons: Mapping[str, str]
) -> dict[tuple[str, str], dict[Pair, list[_Run]]]:
    """(label, regime) → (source, target) → runs in the order of their seeds.  A control cell names the source of the cell that it stands beside."""
    keys = {(cell.label, cell.regime, (cell.source, cell.target), cell.seed): cell.run_key for plan in plans for cell in plan.cells}
    chosen = {label: declared["aggregator"] for plan in plans for label, declared in plan.detectors.items()}
    expected: dict[tuple[str, str], dict[Pair, list[_Run]]] = {}
    for (label, regime, pair, seed), key in keys.items():
        name = value_key(key, chosen[label], records.get(key))
        expected.setdefault((label, regime), {}).setdefault(pair, []).append(
            _run(key, seed, records.get(key), values.get(name), reasons.get(name, ""))
        )
    return {who: {pair: sorted(seeds, key=lambda run: run.seed) for pair, seeds in cells.items()} for who, cells in expected.items()}


def _run(key: str, seed: int, record: RunRecord | None, value: float | None, why_none: str) -> _Run:
    if record is None:
        return _Run(key, seed, MISSING, "not run yet", None, None)
    if record.status != "ok":
        return _Run(key, seed, record.status, record.reason, None, record)
    return _Run(key, seed, "ok", why_none, value if value is not None and math.isfinite(value) else None, record)


# -- rows --------------------------------------------------------------------------------------------------------------------------


def _row(label: str, declared: Mapping[str, Any], transfer: Cells, control: Cells, table: _Table) -> dict[str, Any]:
    aggregator = table.aggregator or declared["aggregator"]
    cells = [_cell(pair, transfer.get(pair, ()), control.get(pair, ()), aggregator, table.metric) for pair in table.pairs]
    complete = {pair: _mean_if_all(transfer.get(pair, ())) for pair in table.pairs}
    controls = {pair: _mean_if_all(control.get(pair, ())) for pair in table.pairs}
    control_runs = {run.key: run for seeds in control.values() for run in seeds}.values()
    all_there = all(value is not None for value in complete.values())
    collapsed = sum(value <= COLLAPSE for pair, value in complete.items() if value is not None and table.counts(pair))
    return {
        "detector": label,
        "name": declared["name"],
        "aggregator": aggregator,
        "upper_bound": declared["aggregator"] == BEST_FIXED and table.aggregator is None,
        "group": declared.get("group", ""),
        "params": _shared([cell["params"] for cell in cells if cell["status"] != MISSING]),
        "provenance": declared["provenance"],
        "uses_labels": bool(declared["uses_labels"]),
        "versions": sorted({run.record.spec["version"] for seeds in transfer.values() for run in seeds if run.record is not None}),
        "rank": None,
        "status_counts": _status_counts([run for seeds in transfer.values() for run in seeds]),
        "control_status_counts": _status_counts(list(control_runs)),
        "control_reason": _control_reason(control),
        "summary": _summary(complete, table),
        "summary_std": _summary_std(transfer, table),
        "control_summary": _summary(controls, table),
        "control_summary_std": _summary_std(control, table),
        "collapse_cells": collapsed if all_there and table.metric.partition("@")[0] in AUROC_LIKE else None,
        "cost": _cost([run.record for seeds in transfer.values() for run in seeds if run.record is not None and run.status == "ok"]),
        "intervals": {},
        "cells": cells,
    }


def _cell(pair: Pair, seeds: Sequence[_Run], control: Sequence[_Run], aggregator: str, metric: str) -> dict[str, Any]:
    numbers = [run.value for run in seeds if run.value is not None]
    found = [run.record for run in seeds if run.record is not None]
    best = [record for record in found if record.status == "ok"] or found
    status, reason = _worst(seeds)
    return {
        "source": pair[0],
        "target": pair[1],
        "metric": metric,
        "mean": fmean(numbers) if numbers else None,
        "std": stdev(numbers) if len(numbers) > 1 else None,
        "n_seeds": len(numbers),
        "low": None,
        "high": None,
        "control": _mean_if_all(control),
        "status": status,
        "reason": reason,
        "params": dict(best[0].spec["params"]) if best else {},
        # a detector with a single score column has nothing to aggregate, whatever was asked for
        "aggregator": ("identity" if best[0].aggregator == "identity" else aggregator) if best else None,
        # the partition differs from seed to seed: the fewest flows that stand behind any of the numbers
        **{name: _fewest(name, best) for name in ("n_train", "n_cal", "n_test_benign", "n_test_attack")},
    }


def _mean_if_all(seeds: Sequence[_Run]) -> float | None:
    """The mean over seeds, if there are any and every one has a number."""
    numbers = [run.value for run in seeds if run.value is not None]
    return fmean(numbers) if numbers and len(numbers) == len(seeds) else None


def _worst(seeds: Sequence[_Run]) -> tuple[str, str]:
    """Status and reason of a cell: the worst of its seeds, which is named if the others fared differently."""
    if not seeds:
        return MISSING, "in no plan"
    worst = min(seeds, key=lambda run: WORST_FIRST.index(run.status))
    alike = all((run.status, run.reason) == (worst.status, worst.reason) for run in seeds)
    return worst.status, worst.reason if alike else f"seed {worst.seed}: {worst.reason}"


def _control_reason(control: Cells) -> str:
    """What happened to the worst of the control's runs; empty if all are ok or there is none."""
    runs = [(target, run) for (_, target), seeds in control.items() for run in seeds if run.status != "ok"]
    if not runs:
        return ""
    target, worst = min(runs, key=lambda item: WORST_FIRST.index(item[1].status))
    return f"{worst.status} on {target}, seed {worst.seed}: {worst.reason}"


def _fewest(name: str, records: Sequence[RunRecord]) -> int | None:
    counts = [count for record in records if (count := record.counts.get(name)) is not None]
    return min(counts, default=None)


def _shared(params: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Parameters with the same value in every cell; σ within and across may differ, and is then found in the cells."""
    if not params:
        return {}
    return {name: value for name, value in params[0].items() if all(name in other and other[name] == value for other in params)}


def _status_counts(runs: Sequence[_Run]) -> dict[str, int]:
    counts = Counter(run.status for run in runs)
    return {status: counts[status] for status in ("ok", *WORST_FIRST[:-1]) if counts[status] or (status == "ok" and runs)}


def _summary(values: Mapping[Pair, float | None], table: _Table) -> dict[str, float | None]:
    within = _all_or_none([value for pair, value in values.items() if pair[0] == pair[1] and table.counts(pair)])
    cross = _all_or_none([value for pair, value in values.items() if pair[0] != pair[1] and table.counts(pair)])
    worst = min if table.higher_is_better else max
    return {
        "within_mean": fmean(within) if within else None,
        "cross_mean": fmean(cross) if cross else None,
        "cross_worst": worst(cross) if cross else None,
    }


def _all_or_none(values: Sequence[float | None]) -> list[float]:
    numbers = [value for value in values if value is not None]
    return numbers if len(numbers) == len(values) else []


def _summary_std(cells: Cells, table: _Table) -> dict[str, float | None]:
    by_seed: dict[int, dict[Pair, float | None]] = {}
    for pair, seeds in cells.items():
        for run in seeds:
            by_seed.setdefault(run.seed, dict.fromkeys(table.pairs))[pair] = run.value
    summaries = [_summary(values, table) for values in by_seed.values()]
    spread = {name: _all_or_none([summary[name] for summary in summaries]) for name in SUMMARIES}
    return {name: stdev(numbers) if len(numbers) > 1 else None for name, numbers in spread.items()}


def _cost(records: Sequence[RunRecord]) -> dict[str, float | None]:
    """fit_s and flows_per_s: the mean over fits (a fit's cells first averaged among themselves); peak_rss_mb: the highest."""
    fits: dict[str, list[RunRecord]] = {}
    for record in records:
        fits.setdefault(record.fit_key, []).append(record)

    def numbers(name: str, members: Sequence[RunRecord]) -> list[float]:
        return [value for record in members if (value := record.cost.get(name)) is not None]

    def mean_over_fits(name: str) -> float | None:
        per_fit = [fmean(found) for members in fits.values() if (found := numbers(name, members))]
        return fmean(per_fit) if per_fit else None

    return {
        "fit_s": mean_over_fits("fit_s"),
        "flows_per_s": mean_over_fits("flows_per_s"),
        "peak_rss_mb": max(numbers("peak_rss_mb", records), default=None),
    }


def _ranked(rows: Sequence[dict[str, Any]], table: _Table) -> list[dict[str, Any]]:
    """Complete rows by cross mean (within mean where there is no cross cell), best first, equal numbers sharing a rank; then incomplete ones, by the
    number of cells they have; then those without any number.  An upper bound stands in its place without a rank."""

    def deciding(row: Mapping[str, Any]) -> float | None:
        if any(cell["status"] != "ok" for cell in row["cells"]):
            return None
        has_cross = any(pair[0] != pair[1] and table.counts(pair) for pair in table.pairs)
        value: float | None = row["summary"]["cross_mean" if has_cross else "within_mean"]
        return value

    def place(row: Mapping[str, Any]) -> tuple[int, float, str]:
        value = deciding(row)
        if value is not None:
            return 0, -value if table.higher_is_better else value, row["detector"]
        numbers = sum(cell["mean"] is not None for cell in row["cells"])
        return (1 if numbers else 2), -numbers, row["detector"]

    ordered = sorted(rows, key=place)
    complete = [value for row in ordered if (value := deciding(row)) is not None and not row["upper_bound"]]

    def rank(row: Mapping[str, Any]) -> int | None:
        value = deciding(row)
        return None if value is None or row["upper_bound"] else complete.index(value) + 1

    return [row | {"rank": rank(row)} for row in ordered]


# -- datasets ----------------------------------------------------------------------------------------------------------------------


def _datasets_info(plan: PlanRecord, runs: Sequence[_Run]) -> dict[str, dict[str, Any]]:
    """name → flows, benign, attack, synthetic, notes, and for each seed the partition that the rows recorded (kind, reason, sizes, …)."""
    partitions: dict[str, dict[str, Any]] = {name: {} for name in plan.datasets}
    for run in sorted(runs, key=lambda run: run.seed):
        if run.record is not None and run.record.partition:
            partitions[run.record.spec["target"]][str(run.seed)] = dict(run.record.partition)
    kept = ("flows", "benign", "attack")
    return {
        name: {field: info.get(field) for field in kept}
        | {"synthetic": bool(info.get("synthetic")), "task": info.get("task", "attacks")}
        | {"notes": _lines(info.get("notes")), "partitions": partitions[name]}
        for name, info in plan.datasets.items()
    }


def _made_by(runs: Mapping[tuple[str, str], Cells]) -> list[str]:
    """Versions of janus-bench (with the commit, if known) that wrote the ok rows of this table."""
    environments = [
        run.record.environment
        for cells in runs.values()
        for seeds in cells.values()
        for run in seeds
        if run.record is not None and run.record.status == "ok"
    ]
    named = {" ".join(filter(None, (found.get("janus-bench", ""), found.get("commit", "")))) for found in environments}
    return sorted(named - {""})


def _lines(notes: str | Sequence[str] | None) -> list[str]:
    return [notes] if isinstance(notes, str) and notes else list(notes or ())
