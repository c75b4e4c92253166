"""``janus-bench leaderboard``: from a results folder to a table."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.cli import console
from harness.cli.progress import PreparationProgress
from janus_bench import plugins
from janus_bench.errors import DataError, UsageError, unknown
from janus_bench.extensions import Metric, Renderer
from janus_bench.params import split_requests
from janus_bench.records import PlanRecord, canonical_json
from reports.results.evidence import VIEWS, metric_of
from reports.results.folder import RunStore
from reports.tables.document import Board, TableStatistics


@dataclass(frozen=True)
class Options:
    """How a table is shown beyond its metric.

    table          a name of ``reports.tables.details.TABLES`` or ``leaderboard``; empty: the protocol's
    intervals      None: for AUROC of the rows' own aggregators, where they take seconds once and are then kept
    flows_per_day, base_rates  for the table ``alerts``; None: a million, and 1e-2, 1e-3, 1e-4
    """

    table: str = ""
    intervals: bool | None = None
    flows_per_day: int | None = None
    base_rates: str = ""


def execute(runs: Path, protocol: str, metric: str, aggregator: str | None, output: str, file: Path | None, options: Options | None = None) -> None:
    options = options or Options()
    renderer = find_renderer(output, file)
    store = RunStore.open(runs)
    plans = select_plans(store, protocol)
    table = table_name(plans, options)
    shown = with_table(store, plans, _with_intervals(store, plans, metric, aggregator, options, table), options, table)
    write(renderer.render(shown, console.width(), console.color() and file is None), file)


def show(store: RunStore, plans: Sequence[PlanRecord], renderer: Renderer) -> str:
    """What ``run`` prints at its end: the protocol's table, without intervals, which ``leaderboard`` computes."""
    options = Options()
    shown = with_table(store, plans, document(store, plans, "auroc"), options, table_name(plans, options))
    return str(renderer.render(shown, console.width(), console.color()))


def write(text: str | bytes, file: Path | None) -> None:
    """To standard output, or to a file."""
    if file is None:
        console.out(str(text))
        return
    data = text if isinstance(text, bytes) else (text if text.endswith("\n") else f"{text}\n").encode()
    try:
        file.write_bytes(data)
    except OSError as error:
        raise UsageError(f"cannot write {file} ({error.strerror}): choose another file with -o") from None
    console.say(f"wrote {file}")


def find_renderer(name: str, file: Path | None = None) -> Renderer:
    """UsageError for one that nobody registered, and for a binary one without a file."""
    found = plugins.renderers()
    if name not in found:
        raise unknown("format", name, found)
    if found[name].binary and file is None:
        raise UsageError(f"--format {name} is not text: write it to a file, as in `janus-bench leaderboard --format {name} -o table.{name}`")
    return found[name]


def table_name(plans: Sequence[PlanRecord], options: Options) -> str:
    """The table that was asked for, or that the protocol names."""
    from reports.tables.details import LEADERBOARD, TABLES

    protocol = plugins.protocols().get(plans[-1].protocol)
    name = options.table or (protocol.table if protocol is not None else "") or LEADERBOARD
    if name not in (LEADERBOARD, *TABLES):
        raise unknown("table", name, [LEADERBOARD, *TABLES])
    return name


def _with_intervals(store: RunStore, plans: Sequence[PlanRecord], metric: str, aggregator: str | None, options: Options, table: str) -> Board:
    from reports.statistics.intervals import kept_statistics
    from reports.statistics.sides import Measure
    from reports.tables.details import LEADERBOARD

    if options.intervals and aggregator:
        raise UsageError("--intervals are those of every row's own aggregator: leave out --intervals or --aggregator")
    measure = Measure(*find_metric(metric))
    wanted = (measure.is_auroc and not aggregator and table == LEADERBOARD) if options.intervals is None else options.intervals
    if not wanted:
        return document(store, plans, metric, aggregator)
    with PreparationProgress() as progress:
        statistics = kept_statistics(store, plans, measure, console.say, progress)
    return document(store, plans, metric, aggregator, statistics)


def with_table(store: RunStore, plans: Sequence[PlanRecord], board: Board, options: Options, name: str) -> Board:
    """The document, with the details of a table other than the leaderboard."""
    from reports.tables.details import (
        LEADERBOARD,
        TABLES,
        Operations,
        with_details,
    )

    if name == LEADERBOARD:
        return board
    from protocols.operations import BASE_RATES, FLOWS_PER_DAY
    from reports.render.html.collect import a_day, cell_evidence, cell_likeness

    flows = FLOWS_PER_DAY if options.flows_per_day is None else options.flows_per_day
    operations = Operations(flows, _base_rates(options.base_rates) or BASE_RATES, a_day)
    collect: dict[str, Callable[[PreparationProgress], Sequence[Any]]] = {
        "scores": lambda progress: cell_evidence(store, plans, console.say, progress),
        "likeness": lambda progress: cell_likeness(store, plans, board["aggregator"], progress),
    }
    cells: Sequence[Any] = ()
    if TABLES[name].evidence in collect:
        with PreparationProgress() as progress:
            cells = collect[TABLES[name].evidence](progress)
    return with_details(board, name, cells, operations)


def _base_rates(text: str) -> tuple[float, ...]:
    try:
        rates = tuple(float(part) for part in split_requests(text))
    except ValueError:
        rates = (0.0,)
    if not all(0 < rate < 1 for rate in rates) or len(set(rates)) < len(rates):
        raise UsageError(f"--base-rates {text!r}: give different numbers between 0 and 1 separated by commas, as in 0.01,0.001")
    return rates


def select_plans(store: RunStore, protocol: str, say: Callable[[str], None] = console.say) -> list[PlanRecord]:
    """The plans of one table: those that agree with the latest one (of the protocol asked for) in everything but detectors and seeds."""
    plans = store.plans()
    if protocol:
        names = {plan.protocol for plan in plans}
        if protocol not in names:
            known = plugins.protocols()
            if protocol not in known:
                raise unknown("protocol", protocol, known)
            raise DataError(f"{store.folder} has no results of protocol {protocol!r}, only of {', '.join(sorted(names)) or 'none'}")
        plans = [plan for plan in plans if plan.protocol == protocol]
    if not plans:
        raise DataError(f"no results in {store.folder}: start with `janus-bench run --runs {store.folder}`")
    tables: dict[str, list[PlanRecord]] = {}
    for plan in plans:
        tables.setdefault(_table_of(plan), []).append(plan)
    chosen = tables.pop(_table_of(plans[-1]))
    for others in tables.values():
        plan = others[-1]
        say(
            f"note: {store.folder} also holds {plan.protocol} ({plan.profile}, {plan.split} split) on {', '.join(plan.datasets)}: "
            "tables are not mixed; the one shown was asked for last"
        )
    return chosen


def _table_of(plan: PlanRecord) -> str:
    hashes = {name: dataset["hash"] for name, dataset in plan.datasets.items()}
    return canonical_json(
        {"protocol": plan.protocol, "profile": plan.profile, "split": plan.split, "calibration": plan.calibration, "datasets": hashes}
    )


def document(
    store: RunStore, plans: Sequence[PlanRecord], metric: str, aggregator: str | None = None, statistics: TableStatistics | None = None
) -> Board:
    """The leaderboard as a JSON document (``architecture.md``)."""
    from reports.tables.leaderboard import build_leaderboard, value_key

    known, suffix = find_metric(metric)
    records = store.records()
    values: dict[str, float | None] = {}
    reasons: dict[str, str] = {}
    refusals: list[UsageError] = []
    possible = False  # for any row that has several score columns
    for plan in plans:
        own = {label: declared["aggregator"] for label, declared in plan.detectors.items()}
        for cell in plan.cells:
            name = value_key(cell.run_key, own[cell.label], records.get(cell.run_key))
            if name in values or name in reasons or cell.run_key not in records:
                continue
            try:
                values[name] = metric_of(store, records[cell.run_key], known, suffix, aggregator or own[cell.label], console.say)
                possible |= records[cell.run_key].aggregator != "identity"
            except UsageError as error:  # a detector without that score column has no such number
                refusals.append(error)
                reasons[name] = str(error)
    if refusals and not possible:
        raise refusals[0]
    return build_leaderboard(
        plans, records, values, metric, aggregator, higher_is_better=known.higher_is_better, reasons=reasons, statistics=statistics
    )


def find_metric(name: str) -> tuple[Metric, str]:
    found = plugins.metrics()
    for suffix in sorted(VIEWS, key=len, reverse=True):
        base = name.removesuffix(suffix) if suffix else name
        if base in found and (base != name or not suffix):
            return found[base], suffix
    raise unknown("metric", name, found, "Add @2+ for flows of two or more packets.")
