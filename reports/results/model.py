"""The reading model: what is stored in a results folder, as tables of rows of runs.

Every reader of results goes through it.  It alone knows which plan counts (of plans of one table the later one, per
cell and seed), which aggregator makes a row's number, and which numbers are stored and which are derived from the
scores.  Nothing is run.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from operator import attrgetter
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, Self

from janus_bench import plugins
from janus_bench.errors import DataError, UsageError, unknown
from janus_bench.extensions import BEST_FIXED, Metric
from janus_bench.quiet import ignore
from janus_bench.records import (
    OVERLAID,
    SCHEMA_VERSION,
    DatasetEntry,
    DetectorRow,
    ExpectedCell,
    PlanRecord,
    Recorded,
    Regime,
    canonical_json,
)
from janus_bench.words import counted
from reports.results.evidence import ScoredFlows, compute_metrics, likeness_of, score_columns, scored_flows
from reports.results.folder import RunStore
from reports.results.measures import Measure
from reports.results.sites import Sizes, TableSites, view_of
from reports.tables.fields import mean_of_all

if TYPE_CHECKING:
    import polars as pl

    from protocols.operations import SourceLikeness

MISSING = "missing"  # Status of a run that was planned and has no row.

SETTINGS = ("schema_version", "protocol", "profile", "split", "calibration", "overlay")
"""Of a plan: what tables must agree in, besides their data, to be one or to be compared."""

TRUTHS, SCORES, SCORED = 4, 8, 32
"""So many truths, tables of scores, and scored test flows are kept for the next question: readers ask target by target,
or run by run."""

Pair = tuple[str, str]  # (source, target); a target-only baseline names the source of the cell that it stands beside.
Progress = Callable[[str, float], None]
Say = Callable[[str], None]


class Stored(Protocol):
    """Where results come from.  ``RunStore`` reads a folder; an index over many of them would stand here."""

    @property
    def folder(self) -> Path: ...
    def plans(self) -> Sequence[PlanRecord]: ...
    def records(self) -> Mapping[str, Recorded]: ...
    def scores(self, run_key: str) -> pl.DataFrame: ...
    def truth(self, data_hash: str) -> pl.DataFrame: ...
    def timeline(self, data_hash: str) -> pl.DataFrame | None: ...


@dataclass(frozen=True, slots=True)
class Number:
    """``reason``: why an ok run has no such number, if its score columns do not allow the aggregator."""

    value: float | None
    reason: str = ""


_NO_NUMBER = Number(None)


class Results:
    """A results folder.  Its plans and rows are read once, when it is opened; scores and truths when they are asked
    for."""

    def __init__(self, stored: Stored, say: Say = ignore) -> None:
        """``say`` gets a line for what a reader should know: tables that are not shown, a metric that raised."""
        self.stored, self.say = stored, say
        self.records = stored.records()
        self.plans = sorted(stored.plans(), key=self._made)
        self.truth = lru_cache(TRUTHS)(stored.truth)
        self.timeline = lru_cache(TRUTHS)(stored.timeline)
        self.scores = lru_cache(SCORES)(stored.scores)
        self.scored = lru_cache(SCORED)(self._scored)
        self._derived: dict[tuple[str, str, tuple[str, ...], str], Number] = {}

    @classmethod
    def open(cls, folder: str | Path, say: Say = ignore) -> Self:
        """DataError if there are no results."""
        return cls(RunStore.open(Path(folder)), say)

    @property
    def folder(self) -> Path:
        return self.stored.folder

    def __repr__(self) -> str:
        shown = [
            f"{table.title}: {counted(len(table.rows), 'row')}, {counted(len(table.pairs), 'cell')}, "
            f"seeds {table.seeds}"
            for table in self.tables()
        ]
        return "\n".join(
            [
                f"{type(self).__name__} in {self.folder}: {counted(len(self.records), 'run')}",
                *(f"  {line}" for line in shown),
            ]
        )

    def _made(self, plan: PlanRecord) -> tuple[str, str, str]:
        """Plans that do not say when they were made (schema version 1) come first, by when the last of their runs
        finished."""
        finished = (
            ""
            if plan.made
            else max(
                (self.records[cell.run_key].finished for cell in plan.cells if cell.run_key in self.records), default=""
            )
        )
        return plan.made, finished, plan.key

    def tables(self) -> list[ResultTable]:
        """Plans that agree in everything but detectors and seeds are one table; the one that was asked for last comes
        last."""
        found: dict[str, list[PlanRecord]] = {}
        for plan in self.plans:
            key = _table_of(plan)
            found[key] = [*found.pop(key, ()), plan]
        return [ResultTable(self, tuple(plans)) for plans in found.values()]

    def table(self, plans: Sequence[PlanRecord]) -> ResultTable:
        """The table of these plans, oldest first.  ValueError unless they belong together."""
        if len({_table_of(plan) for plan in plans}) != 1:
            raise ValueError(
                f"{'plans of different tables' if plans else 'a table needs at least one plan'}: "
                f"{[plan.key for plan in plans]}"
            )
        return ResultTable(self, tuple(plans))

    def select(self, protocol: str = "") -> ResultTable:
        """The table that was asked for last (of the protocol, if one is named).  What else there is, and that a table
        is an old one, is said."""
        tables = [table for table in self.tables() if protocol in ("", table.plan.shown_protocol)]
        if not tables and protocol and self.plans:
            if protocol.removesuffix(OVERLAID) not in plugins.protocols():
                raise unknown("protocol", protocol, plugins.protocols())
            names = sorted({plan.shown_protocol for plan in self.plans})
            raise DataError(f"{self.folder} has no results of protocol {protocol!r}, only of {', '.join(names)}")
        if not tables:
            raise DataError(
                f"no results in {self.folder}: start with `janus-bench run --detectors iforest,knn --runs "
                f"{self.folder}`"
            )
        *others, chosen = tables
        for table in others:
            self.say(
                f"note: {self.folder} also holds {table.title}: tables are not mixed; the one shown was asked for last "
                f"({_how_to_see(table, chosen, tables)})"
            )
        if chosen.schema_version < SCHEMA_VERSION:
            self.say(
                f"note: {chosen.title} was made by an older janus-bench (schema version {chosen.schema_version}): "
                "its rules are not the present ones; run it again to have it under those"
            )
        return chosen

    def _scored(self, key: str, aggregator: str) -> ScoredFlows:
        """The test flows of an ok run.  UsageError if its columns do not allow the aggregator."""
        spec = self.records[key].spec
        return scored_flows(self.scores(key), self.truth(spec["target_hash"]), spec, aggregator)

    def number(self, record: Recorded, metric: Metric, views: Sequence[str], aggregator: str) -> Number:
        """The mean over the views, which is one view but for ``SITE``.  As stored for the run's own aggregator; derived
        from the scores, and kept, for any other, or for a metric that is new."""
        names, stored = [f"{metric.name}{view}" for view in views], record.metrics
        if aggregator == record.aggregator and all(name in stored for name in names):
            return _number(mean_of_all([stored[name] for name in names]))
        where = (record.key, metric.name, tuple(views), aggregator)
        if where not in self._derived:
            try:
                self._derived[where] = _number(self._derive(record, metric, views, aggregator))
            except UsageError as error:
                self._derived[where] = Number(None, str(error))
        return self._derived[where]

    def _derive(self, record: Recorded, metric: Metric, views: Sequence[str], aggregator: str) -> float | None:
        if aggregator == BEST_FIXED:
            # With the labels of the test: an upper bound for any single column, and marked as one wherever it is shown.
            found = [
                self._derive(record, metric, views, f"column:{column}")
                for column in score_columns(self.scores(record.key))
            ]
            return (max if metric.higher_is_better else min)(
                [value for value in found if value is not None], default=None
            )
        flows = self.scored(record.key, aggregator)
        numbers = compute_metrics({view: flows.view(view).evidence for view in views}, {metric.name: metric}, self.say)
        return mean_of_all(list(numbers.values()))

    def sizes(self, record: Recorded) -> Sizes | None:
        """Test flows of every site under the run's partition: as stored, else counted among its scores.

        None where its truth knows no sites (schema version 1), and for a run without scores that does not store them.
        """
        stored: Sizes | None = record.partition.get("sites")
        if stored is not None or record.status != "ok":
            return stored
        if "site" not in self.truth(record.spec["target_hash"]).columns:
            return None
        return self.scored(record.key, f"column:{score_columns(self.scores(record.key))[0]}").sizes()


def _how_to_see(table: ResultTable, chosen: ResultTable, tables: Sequence[ResultTable]) -> str:
    """A table of a folder that is not the chosen one."""
    protocol = table.plan.shown_protocol
    if (
        protocol != chosen.plan.shown_protocol
        and table is [each for each in tables if each.plan.shown_protocol == protocol][-1]
    ):
        return f"--protocol {protocol} shows the other"
    now = {name: entry.hash for name, entry in chosen.datasets.items()}
    if changed := [name for name, entry in table.datasets.items() if now.get(name, entry.hash) != entry.hash]:
        return f"the other is of another content of {', '.join(changed)}"
    return "its `run` again, which finds everything done, shows the other"


def _number(value: float | None) -> Number:
    return Number(value) if value is not None and math.isfinite(value) else _NO_NUMBER


def _table_of(plan: PlanRecord) -> str:
    """What plans of one table have in common."""
    shared = {name: getattr(plan, name) for name in SETTINGS}
    return canonical_json(shared | {"datasets": {name: entry.hash for name, entry in plan.datasets.items()}})


@dataclass(frozen=True, eq=False)
class ResultTable:
    """The plans of one table, oldest first, as its rows."""

    results: Results = field(repr=False)
    plans: tuple[PlanRecord, ...]

    @property
    def plan(self) -> PlanRecord:
        """The latest: it names the settings that all share."""
        return self.plans[-1]

    @property
    def schema_version(self) -> int:
        return self.plan.schema_version

    @property
    def datasets(self) -> Mapping[str, DatasetEntry]:
        return self.plan.datasets

    @property
    def title(self) -> str:
        how = f"{self.plan.profile}, {self.plan.split} split"
        return f"{self.plan.shown_protocol} ({how}) on {', '.join(self.datasets)}"

    @property
    def seeds(self) -> list[int]:
        return sorted({seed for plan in self.plans for seed in plan.seeds})

    @cached_property
    def runs(self) -> tuple[Run, ...]:
        """Row by row, a row's baseline after it.  A baseline's run stands beside several cells and comes as often."""
        beside = ((row, row.baseline) for row in self.rows)
        return tuple(run for both in beside for row in both if row is not None for run in row.runs)

    @cached_property
    def _cells(self) -> dict[tuple[str, Regime], dict[Pair, list[Run]]]:
        """(label, regime) → what was asked for, by cell, in the order of seeds.  Of a run that several plans ask for
        the last one counts."""
        declared, records = self._declared, self.results.records
        pairs: dict[Pair, Pair] = {}  # one of each, for all rows
        found: dict[tuple[str, Regime], dict[Pair, list[Run]]] = {}
        for cell in (cell for plan in self.plans for cell in plan.cells):
            named = cell.source, cell.target
            runs = found.setdefault((cell.label, cell.regime), {}).setdefault(pairs.setdefault(named, named), [])
            run = Run(self, cell, declared[cell.label].aggregator, records.get(cell.run_key))
            place = bisect_left(runs, cell.seed, key=attrgetter("seed"))
            if place < len(runs) and runs[place].seed == cell.seed:
                runs[place] = run
            else:
                runs.insert(place, run)
        return found

    @property
    def labels(self) -> list[str]:
        """Of the rows."""
        return list(self._declared)

    @property
    def _declared(self) -> dict[str, DetectorRow]:
        return {label: row for plan in self.plans for label, row in plan.detectors.items()}

    @cached_property
    def rows(self) -> tuple[Row, ...]:
        """In the order in which they were first asked for."""
        cells = self._cells
        rows = []
        for label, declared in self._declared.items():
            beside = cells.get((label, "control"))
            baseline = None if beside is None else Row(label, f"control of {label}", declared, "control", beside)
            rows.append(Row(label, label, declared, "transfer", cells.get((label, "transfer"), {}), baseline))
        return tuple(rows)

    @cached_property
    def pairs(self) -> tuple[Pair, ...]:
        return tuple(dict.fromkeys(pair for row in self.rows for pair in row.cells))

    @property
    def comparable(self) -> list[Row]:
        """Rows with a score of their own."""
        return [row for row in self.rows if not row.chosen_with_labels]

    def in_means(self, pair: Pair, measure: Measure) -> bool:
        """Not a cell that tests on a class shift, nor, under ``SITE``, on a network of which no site counts."""
        return pair[1] not in self.plan.outside_means and bool(self.views(measure, pair[1]))

    def views(self, measure: Measure, target: str) -> tuple[str, ...]:
        """The views of a target's test flows that a number is the mean over: the measure's own, or those of the sites
        that count."""
        if not measure.by_site:
            return (measure.view,)
        return tuple(map(view_of, self.sites.counted(measure.metric, target)))

    def n_sites(self, metric: Metric) -> int:
        """Sites that stand behind the table's means."""
        targets = dict.fromkeys(target for _, target in self.pairs if target not in self.plan.outside_means)
        return sum(len(self.sites.counted(metric, target)) for target in targets)

    @cached_property
    def sites(self) -> TableSites:
        def number(record: Recorded, metric: Metric, view: str) -> float | None:
            return self.results.number(record, metric, (view,), record.aggregator).value

        attempted = {run.key: run.record for run in self.runs if run.record is not None}
        return TableSites(list(attempted.values()), self.results.sizes, number)

    def row(self, label: str) -> Row:
        """UsageError if there is none."""
        for row in self.rows:
            if row.label == label:
                return row
        raise unknown(
            "detector", label, [row.label for row in self.rows], f"Those are the ones in {self.results.folder}."
        )


@dataclass(frozen=True, eq=False)
class Row:
    """One row of a table: a detector in one variant, or (``baseline``) the same fitted on the target's calibration
    flows alone.

    name   what it is called where it stands beside others
    cells  (source, target) → its runs, in the order of their seeds
    """

    label: str
    name: str
    declared: DetectorRow
    regime: Regime
    cells: Mapping[Pair, Sequence[Run]]
    baseline: Row | None = None

    @property
    def aggregator(self) -> str:
        return self.declared.aggregator

    @property
    def chosen_with_labels(self) -> bool:
        """An upper bound: it has no score of its own."""
        return self.aggregator == BEST_FIXED

    @property
    def fitted(self) -> Regime:
        """The regime of its runs: pooled ones stand in the place of transfer."""
        if self.regime == "control":
            return "control"
        if self.declared.regime is not None:
            return self.declared.regime
        known: Iterator[Regime] = (run.record.spec["regime"] for run in self.runs if run.record is not None)
        return next(known, "transfer")

    @property
    def seeds(self) -> set[int]:
        return {run.seed for run in self.runs}

    @property
    def runs(self) -> list[Run]:
        return [run for seeds in self.cells.values() for run in seeds]

    def run(self, pair: Pair, seed: int) -> Run | None:
        return next((run for run in self.cells.get(pair, ()) if run.seed == seed), None)

    def asked(self, pair: Pair, seed: int) -> Run:
        """UsageError for a cell or a seed that was not asked for."""
        run = self.run(pair, seed)
        if run is None:
            raise UsageError(
                f"no cell {pair[0]} → {pair[1]} of {self.name} with seed {seed!r} was asked for; seeds are "
                f"{', '.join(map(str, sorted(self.seeds)))} (whole numbers)"
            )
        return run


@dataclass(frozen=True, eq=False, slots=True)
class Run:
    """One seed of one cell.  ``record`` is None while it has not been run."""

    table: ResultTable = field(repr=False)
    cell: ExpectedCell
    row_aggregator: str
    record: Recorded | None = field(repr=False)

    @property
    def label(self) -> str:
        return self.cell.label

    @property
    def regime(self) -> Regime:
        return self.cell.regime

    @property
    def pair(self) -> Pair:
        return self.cell.source, self.cell.target

    @property
    def seed(self) -> int:
        return self.cell.seed

    @property
    def key(self) -> str:
        return self.cell.run_key

    @property
    def results(self) -> Results:
        return self.table.results

    @property
    def status(self) -> str:
        return MISSING if self.record is None else self.record.status

    @property
    def reason(self) -> str:
        return "not run yet" if self.record is None else self.record.reason

    @property
    def ok(self) -> Recorded | None:
        """Its record if it has scores."""
        return self.record if self.record is not None and self.record.status == "ok" else None

    def done(self) -> Recorded:
        """The record of an ok run; DataError unless it is one."""
        if self.ok is None:
            what = f"is {self.status}: {self.reason}" if self.record else "has not been run"
            raise DataError(
                f"{self.label}, {self.pair[0]} → {self.pair[1]}, seed {self.seed} {what}; run it, or choose "
                "another detector or seed"
            )
        return self.ok

    @property
    def single_score(self) -> bool:
        """There is nothing to aggregate, whatever is asked for."""
        return self.record is not None and self.record.aggregator == "identity"

    @property
    def chosen_with_labels(self) -> bool:
        """See ``Row.chosen_with_labels``; a single score leaves nothing to choose."""
        return not self.single_score and self.row_aggregator == BEST_FIXED

    def aggregator(self, asked: str | None = None) -> str:
        """Which one makes the scalar: the one asked for, or the row's."""
        return "identity" if self.single_score else asked or self.row_aggregator

    def scored(self, asked: str | None = None) -> ScoredFlows:
        """UsageError if the run's columns do not allow the aggregator, or if it has no scalar of its own.  DataError
        unless it is ok."""
        record, chosen = self.done(), self.aggregator(asked)
        if chosen == BEST_FIXED:
            raise UsageError(
                f"{self.label} chooses its score with the labels of the test and has none of its own: name one "
                "with --aggregator column:NAME"
            )
        return self.results.scored(record.key, chosen)

    def found(self, measure: Measure) -> Number:
        """The number, or why there is none though the run is ok."""
        record = self.ok
        if record is None or not (views := self.table.views(measure, self.pair[1])):
            return _NO_NUMBER
        return self.results.number(record, measure.metric, views, self.aggregator(measure.aggregator))

    def number(self, measure: Measure) -> float | None:
        """None unless the run is ok and the number exists."""
        return self.found(measure).value

    def likeness(self, asked: str | None = None) -> SourceLikeness | None:
        """How much its scalar tells the networks apart; None where it has none
        (``reports.results.evidence.likeness_of``) and unless it is ok."""
        if self.ok is None:
            return None
        try:
            return likeness_of(self.results.scores(self.key), self.ok.spec, self.aggregator(asked))
        except UsageError:  # the leaderboard document has the reason
            return None
