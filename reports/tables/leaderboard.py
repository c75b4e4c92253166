"""The leaderboard document: what every renderer shows and what ``leaderboard --format json`` prints.

A number that does not exist is None, never 0; a cell that failed or is not there keeps its status and reason.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from operator import itemgetter
from statistics import fmean, stdev

from janus_bench.errors import DataError, UsageError
from janus_bench.records import Recorded
from reports.results.measures import Measure
from reports.results.model import MISSING, Number, Pair, ResultTable, Row, Run
from reports.results.sites import FEW_SITES, SITE
from reports.tables.document import (
    SUMMARIES,
    Board,
    BoardCell,
    BoardPartition,
    BoardRow,
    Cost,
    DatasetInfo,
    SiteView,
    Summary,
    SummaryName,
    TableStatistics,
)
from reports.tables.fields import COLLAPSE, all_or_none, grouped, mean_of_all
from reports.tables.intervals import with_statistics
from reports.tables.notes import notes_of
from reports.tables.sites import not_at_hand, site_view
from reports.tables.verdict import verdict_of

MACRO = "macro_auroc"
AUROC_LIKE = ("auroc", MACRO)

Numbers = Mapping[Pair, Sequence[float | None]]  # Of every cell, in the order of its seeds.

WORST_FIRST = ("error", "invalid_output", "oom", "timeout", "killed", "interrupted", "skipped", MISSING, "ok")
"""Which status a cell shows when its seeds differ."""


def build_leaderboard(table: ResultTable, measure: Measure, statistics: TableStatistics | None = None) -> Board:
    """The document of a table: ``measure`` of every run.

    statistics  intervals and tie groups of these very rows (``reports.statistics.intervals.leaderboard_statistics``),
                if they are wanted

    A detector is expected for the seeds that its own plans name.  A cell's mean and std (sample standard deviation,
    None for one seed) are over its ``n_seeds`` seeds with a number.  A target-only baseline counts only if all its
    seeds are ok.  A summary is made from the cells' means and exists only if every one of its cells is complete;
    ``cross_worst`` is the lowest of them (the highest where lower is better); ``summary_std`` is the spread of the
    summaries made from each seed alone.  UsageError if no row's score columns allow the aggregator that was asked for.
    """
    _check_aggregator(table, measure)
    view, beside = _sites(table, measure)
    means = _Means.of(table, measure)
    plan = table.plan
    document: Board = {
        "schema_version": plan.schema_version,
        "protocol": plan.shown_protocol,
        "regime": "transfer",
        "calibration": plan.calibration,
        "split": plan.split,
        "profile": plan.profile,
        "synthetic": any(entry.synthetic for entry in table.datasets.values()),
        "metric": measure.name,
        "higher_is_better": measure.metric.higher_is_better,
        "aggregator": measure.aggregator,
        "seeds": table.seeds,
        "datasets": list(table.datasets),
        "n_expected_cells": len(table.pairs),
        "rows": _ranked([_row(row, table, measure, means, beside) for row in table.rows], table, measure, means),
        "made_by": _made_by(table),
        "datasets_info": _datasets_info(table),
        "statistics": None,
        "notes": [],
    }
    if view is not None:
        document["sites"] = view
    shown = document if statistics is None else with_statistics(document, statistics)
    return {**shown, "verdict": verdict_of(shown, statistics), "notes": notes_of(shown)}


@dataclass(frozen=True)
class _Means:
    """The cells that a table's means are over, for one measure.

    worst: which of them is, ``min`` or ``max``
    """

    within: Sequence[Pair]
    cross: Sequence[Pair]
    worst: Callable[..., float | None]

    @classmethod
    def of(cls, table: ResultTable, measure: Measure) -> _Means:
        pairs = [pair for pair in table.pairs if table.in_means(pair, measure)]
        within = [pair for pair in pairs if pair[0] == pair[1]]
        cross = [pair for pair in pairs if pair[0] != pair[1]]
        return cls(within, cross, min if measure.metric.higher_is_better else max)

    @property
    def pairs(self) -> Sequence[Pair]:
        return [*self.within, *self.cross]

    def summary(self, values: Mapping[Pair, float | None]) -> Summary:
        cross = [values.get(pair) for pair in self.cross]
        return {
            "within_mean": mean_of_all([values.get(pair) for pair in self.within]),
            "cross_mean": mean_of_all(cross),
            "cross_worst": self.worst(all_or_none(cross), default=None),
        }


@dataclass(frozen=True)
class _Beside:
    """Numbers inside sites, which stand beside pooled ones; ``measure`` None: there are none."""

    measure: Measure | None
    means: _Means


def _sites(table: ResultTable, measure: Measure) -> tuple[SiteView | None, _Beside | None]:
    """What is known of the sites, and the numbers inside them that stand beside a pooled measure's; nothing for other
    views, and for results of schema version 1."""
    if table.schema_version < 2 or measure.view not in ("", SITE):
        return None, None
    site = replace(measure, view=SITE)
    try:
        for _ in _derive(table, site):
            pass
        return site_view(table, site), None if measure.by_site else _Beside(site, _Means.of(table, site))
    except DataError as error:  # what is asked for by name must be there, what stands beside it may be absent
        if measure.by_site:
            raise
        return not_at_hand(site, str(error)), _Beside(None, _Means((), (), min))


def _derive(table: ResultTable, measure: Measure) -> Iterator[tuple[Run, Number]]:
    """Runs with a row, and their numbers; derives what is not stored, run by run in the order of targets, so that no
    file of scores or truth is read twice."""
    for _, runs in sorted(grouped((run.pair[1], run) for run in table.runs if run.record is not None).items()):
        for _, run in sorted({(run.key, run.row_aggregator): run for run in runs}.items(), key=itemgetter(0)):
            yield run, run.found(measure)


def _check_aggregator(table: ResultTable, measure: Measure) -> None:
    refused, allowed = "", False
    for run, number in _derive(table, measure):
        refused = refused or number.reason
        allowed |= not run.single_score and not number.reason
    if refused and not allowed:
        raise UsageError(refused)


def _numbers(cells: Mapping[Pair, Sequence[Run]], measure: Measure | None) -> Numbers:
    """Without a measure nobody has a number."""
    return {pair: [] if measure is None else [run.number(measure) for run in seeds] for pair, seeds in cells.items()}


def _complete(numbers: Numbers) -> dict[Pair, float | None]:
    """The mean over seeds of every cell that has them all."""
    return {pair: mean_of_all(of_seeds) for pair, of_seeds in numbers.items()}


def _row(row: Row, table: ResultTable, measure: Measure, means: _Means, beside: _Beside | None) -> BoardRow:
    aggregator = measure.aggregator or row.aggregator
    transfer: Mapping[Pair, Sequence[Run]] = {pair: row.cells.get(pair, ()) for pair in table.pairs}
    baseline: Mapping[Pair, Sequence[Run]] = {
        pair: row.baseline.cells.get(pair, ()) if row.baseline else () for pair in table.pairs
    }
    numbers, of_baseline = _numbers(transfer, measure), _numbers(baseline, measure)
    complete, control = _complete(numbers), _complete(of_baseline)
    cells = [_cell(pair, transfer[pair], numbers[pair], control[pair], aggregator, measure) for pair in table.pairs]
    runs = [run for seeds in transfer.values() for run in seeds]
    baseline_runs = {run.key: run for seeds in baseline.values() for run in seeds}.values()
    first, *others = [cell["params"] for cell in cells if cell["aggregator"] is not None] or [{}]
    # σ within and across may differ, and is then found in the cells
    params = {
        name: value for name, value in first.items() if all(name in other and other[name] == value for other in others)
    }
    all_there = all(value is not None for value in complete.values())
    collapsed = sum(value <= COLLAPSE for pair in means.pairs if (value := complete[pair]) is not None)
    shown: BoardRow = {
        "detector": row.label,
        "name": row.declared.name,
        "aggregator": aggregator,
        "upper_bound": row.chosen_with_labels and measure.aggregator is None,
        "group": row.declared.group,
        "params": params,
        "provenance": row.declared.provenance,
        "uses_labels": row.declared.uses_labels,
        "versions": sorted({run.record.spec["version"] for run in runs if run.record is not None}),
        "rank": None,
        "status_counts": _status_counts(runs),
        "control_status_counts": _status_counts(baseline_runs),
        "control_reason": _baseline_reason(baseline),
        "summary": means.summary(complete),
        "summary_std": _summary_std(transfer, numbers, means),
        "control_summary": means.summary(control),
        "control_summary_std": _summary_std(baseline, of_baseline, means),
        "collapse_cells": collapsed if all_there and measure.metric.name in AUROC_LIKE else None,
        "cost": _cost([run.ok for run in runs if run.ok is not None]),
        "intervals": {},
        "cells": cells,
    }
    if table.schema_version >= 2:
        shown["target_use"] = _target_use(row, table, aggregator)
    if sizes := {size for run in runs if run.record is not None and (size := run.record.spec.get("train_size"))}:
        shown["train_size"] = max(sizes)
    if _macro_beside(table, measure):
        stored = {pair: mean_of_all([_stored_macro(run) for run in seeds]) for pair, seeds in transfer.items()}
        shown["macro_summary"] = means.summary(stored)
    if beside is not None:
        inside = _numbers(transfer, beside.measure)
        control_inside = _complete(_numbers(baseline, beside.measure))
        shown["site_summary"] = beside.means.summary(_complete(inside))
        shown["control_site_summary"] = beside.means.summary(control_inside)
        for pair, cell in zip(table.pairs, cells, strict=True):
            cell["site_mean"] = mean_of_all([number for number in inside[pair] if number is not None])
            cell["control_site"] = control_inside[pair]
    return shown


def _macro_beside(table: ResultTable, measure: Measure) -> bool:
    """Beside a pooled AUROC, from the stored numbers: scores are not read for it."""
    pooled = measure.is_auroc and not measure.view and measure.aggregator is None
    return pooled and table.schema_version >= 2 and any(_stored_macro(run) is not None for run in table.runs)


def _stored_macro(run: Run) -> float | None:
    """None also where the row's aggregator is not the one that the stored numbers are of."""
    return run.ok.metrics.get(MACRO) if run.ok is not None and run.aggregator() == run.ok.aggregator else None


def _target_use(row: Row, table: ResultTable, aggregator: str) -> str | None:
    from protocols.roles import use_of_target

    if row.declared.calibrates is None:
        return None
    used = use_of_target(row.fitted, table.plan.calibration, row.declared.calibrates, aggregator)
    return " + ".join(used) or "nothing"


def _cell(
    pair: Pair,
    seeds: Sequence[Run],
    of_seeds: Sequence[float | None],
    control: float | None,
    aggregator: str,
    measure: Measure,
) -> BoardCell:
    numbers = [number for number in of_seeds if number is not None]
    best = [run for run in seeds if run.ok is not None] or [run for run in seeds if run.record is not None]
    records = [run.record for run in best if run.record is not None]
    status, reason = _worst(seeds, measure)
    return {
        "source": pair[0],
        "target": pair[1],
        "metric": measure.name,
        "mean": fmean(numbers) if numbers else None,
        "std": stdev(numbers) if len(numbers) > 1 else None,
        "n_seeds": len(numbers),
        "low": None,
        "high": None,
        "control": control,
        "status": status,
        "reason": reason,
        "params": records[0].spec["params"] if records else {},
        "aggregator": best[0].aggregator(aggregator) if best else None,
        # the partition differs from seed to seed: the fewest flows that stand behind any of the numbers
        "n_train": _fewest("n_train", records),
        "n_cal": _fewest("n_cal", records),
        "n_test_benign": _fewest("n_test_benign", records),
        "n_test_attack": _fewest("n_test_attack", records),
    }


def _worst(seeds: Sequence[Run], measure: Measure) -> tuple[str, str]:
    """Status and reason of a cell: the worst of its seeds, which is named if the others fared differently."""
    if not seeds:
        return MISSING, "in no plan"
    worst = min(seeds, key=lambda run: WORST_FIRST.index(run.status))
    reasons = [run.found(measure).reason if run.ok is not None else run.reason for run in seeds]
    reason = reasons[seeds.index(worst)]
    alike = all((run.status, other) == (worst.status, reason) for run, other in zip(seeds, reasons, strict=True))
    return worst.status, reason if alike else f"seed {worst.seed}: {reason}"


def _baseline_reason(baseline: Mapping[Pair, Sequence[Run]]) -> str:
    """What happened to the worst of the baseline's runs; empty if all are ok or there is none."""
    runs = [run for seeds in baseline.values() for run in seeds if run.status != "ok"]
    if not runs:
        return ""
    worst = min(runs, key=lambda run: WORST_FIRST.index(run.status))
    return f"{worst.status} on {worst.pair[1]}, seed {worst.seed}: {worst.reason}"


def _fewest(name: str, records: Sequence[Recorded]) -> int | None:
    return min((count for record in records if (count := record.counts.get(name)) is not None), default=None)


def _status_counts(runs: Iterable[Run]) -> dict[str, int]:
    counts = Counter(run.status for run in runs)
    return {
        status: counts[status] for status in ("ok", *WORST_FIRST[:-1]) if counts[status] or (status == "ok" and counts)
    }


def _summary_std(cells: Mapping[Pair, Sequence[Run]], numbers: Numbers, means: _Means) -> Summary:
    by_seed: dict[int, dict[Pair, float | None]] = {}
    for pair, seeds in cells.items():
        for run, number in zip(seeds, numbers[pair], strict=True):
            by_seed.setdefault(run.seed, {})[pair] = number
    summaries = [means.summary(values) for values in by_seed.values()]
    spread = {name: all_or_none([summary[name] for summary in summaries]) for name in SUMMARIES}
    return {name: stdev(numbers) if len(numbers) > 1 else None for name, numbers in spread.items()}


def _cost(records: Sequence[Recorded]) -> Cost:
    """fit_s and flows_per_s: the mean over fits (a fit's cells first averaged among themselves); peak_rss_mb: the
    highest."""
    fits = grouped((record.fit_key, record) for record in records)

    def numbers(name: str, members: Sequence[Recorded]) -> list[float]:
        return [value for record in members if (value := record.cost.get(name)) is not None]

    def mean_over_fits(name: str) -> float | None:
        per_fit = [fmean(found) for members in fits.values() if (found := numbers(name, members))]
        return fmean(per_fit) if per_fit else None

    return {
        "fit_s": mean_over_fits("fit_s"),
        "flows_per_s": mean_over_fits("flows_per_s"),
        "peak_rss_mb": max(numbers("peak_rss_mb", records), default=None),
    }


def _ranked(rows: Sequence[BoardRow], table: ResultTable, measure: Measure, means: _Means) -> list[BoardRow]:
    """Complete rows by cross mean (within mean where there is no cross cell), best first, equal numbers sharing a rank;
    then incomplete ones, by the number of cells they have; then those without any number.  An upper bound stands in its
    place without a rank, and so does everyone where a mean rests on fewer than ``FEW_SITES`` sites."""
    deciding: SummaryName = "cross_mean" if means.cross else "within_mean"
    values = {
        row["detector"]: row["summary"][deciding] if all(cell["status"] == "ok" for cell in row["cells"]) else None
        for row in rows
    }

    def place(row: BoardRow) -> tuple[int, float, str]:
        value = values[row["detector"]]
        if value is not None:
            return 0, -value if measure.metric.higher_is_better else value, row["detector"]
        numbers = sum(cell["mean"] is not None for cell in row["cells"])
        return (1 if numbers else 2), -numbers, row["detector"]

    ordered = sorted(rows, key=place)
    counted = [value for row in ordered if (value := values[row["detector"]]) is not None and not row["upper_bound"]]

    no_lead = measure.by_site and table.n_sites(measure.metric) < FEW_SITES

    def rank(row: BoardRow) -> int | None:
        value = values[row["detector"]]
        return None if value is None or row["upper_bound"] or no_lead else counted.index(value) + 1

    return [{**row, "rank": rank(row)} for row in ordered]


def _datasets_info(table: ResultTable) -> dict[str, DatasetInfo]:
    """Sizes of the datasets, and for each seed the partition that the rows recorded (kind, reason, sizes, …)."""
    partitions: dict[str, dict[str, BoardPartition]] = {name: {} for name in table.datasets}
    same = grouped((entry.hash, name) for name, entry in table.datasets.items())
    for run in sorted(table.runs, key=lambda run: run.seed):
        if run.record is not None and run.record.partition:
            # a detector that sees no neighbours does not know what an overlay changed
            known = partitions[run.pair[1]].get(str(run.seed), {})
            partitions[run.pair[1]][str(run.seed)] = {**known, **run.record.partition}  # type: ignore[typeddict-item]
    return {
        name: {
            "flows": entry.flows,
            "benign": entry.benign,
            "attack": entry.attack,
            "synthetic": entry.synthetic,
            "task": entry.task,
            "notes": [
                *([entry.notes] if isinstance(entry.notes, str) and entry.notes else entry.notes),
                *(
                    f"the same content as {other}, so that both are one network"
                    for other in same[entry.hash]
                    if other != name
                ),
            ],
            "partitions": partitions[name],
        }
        for name, entry in table.datasets.items()
    }


def _made_by(table: ResultTable) -> list[str]:
    """Versions of janus-bench (with the commit, if known) that wrote the ok rows of this table."""
    environments = [run.ok.environment for run in table.runs if run.ok is not None]
    return sorted(
        {" ".join(filter(None, (found.get("janus-bench", ""), found.get("commit", "")))) for found in environments}
        - {""}
    )
