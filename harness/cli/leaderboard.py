"""``janus-bench leaderboard``: from a results folder to a table."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from harness.cli import completing, console
from harness.cli.choosing import (
    check_aggregator,
    check_columns,
    check_options,
    check_results,
    check_table_options,
    narrowed,
    with_columns,
)
from harness.cli.declared import capabilities_of
from harness.cli.options import DEFAULT_RUNS, MetricName, ProtocolName, Runs
from harness.cli.progress import PreparationProgress
from janus_bench import plugins
from janus_bench.errors import UsageError, unknown
from janus_bench.params import split_requests

if TYPE_CHECKING:
    from janus_bench.extensions import Renderer
    from reports.results.measures import Measure
    from reports.results.model import ResultTable
    from reports.tables.document import Board


def leaderboard(
    runs: Runs = DEFAULT_RUNS,
    protocol: ProtocolName = "",
    metric: MetricName = "auroc",
    aggregator: Annotated[
        str,
        typer.Option(
            autocompletion=completing.aggregator,
            help=(
                "Make the scalar another way: oas[standardize=zscore], knn, max_z, mahalanobis, ledoit_wolf, "
                "column:NAME."
            ),
        ),
    ] = "",
    output: Annotated[
        str, typer.Option("--format", autocompletion=completing.renderer, help="See `janus-bench renderer list`.")
    ] = "table",
    file: Annotated[Path | None, typer.Option("-o", "--output", help="Write to a file.")] = None,
    table: Annotated[
        str,
        typer.Option(
            autocompletion=completing.table,
            help=(
                "leaderboard, pitfalls, thresholds, alerts, incidents, drift, families, stability, ablation or "
                "mechanism; default: the protocol's."
            ),
        ),
    ] = "",
    intervals: Annotated[
        bool | None,
        typer.Option(
            "--intervals/--no-intervals",
            help="95 % intervals and tie groups; default: for AUROC. Computed once, then kept.",
        ),
    ] = None,
    flows_per_day: Annotated[int | None, typer.Option(min=1, help="For --table alerts; default: 1 000 000.")] = None,
    base_rates: Annotated[
        str, typer.Option(help="For --table alerts: shares of attacks among all flows; default: 0.01,0.001,0.0001.")
    ] = "",
    window: Annotated[float | None, typer.Option(min=0.1, help="For --table incidents: minutes; default: 10.")] = None,
    incidents_per_day: Annotated[
        float | None,
        typer.Option(min=0.01, help="For --table incidents: false ones that there is time for; default: 10."),
    ] = None,
    datasets: Annotated[
        str, typer.Option(autocompletion=completing.dataset, help="Comma-separated: only these, as source and target.")
    ] = "",
    detectors: Annotated[
        str, typer.Option(autocompletion=completing.detectors, help="Comma-separated: only these rows.")
    ] = "",
    columns: Annotated[
        str, typer.Option(help="Comma-separated, as their headings: 'within,cross mean,gain'; default: all.")
    ] = "",
    watch: Annotated[bool, typer.Option("--watch", help="Redraw while a run fills the folder; terminal only.")] = False,
) -> None:
    """Print the leaderboard of a results folder.  Nothing is run; every number comes from stored scores."""
    if watch:
        from harness.cli.watch import watch as redraw

        redraw(runs, protocol, metric, aggregator or None)
        return
    from reports.results.measures import measure_of

    renderer, measure = find_renderer(output, file), measure_of(metric, aggregator or None)
    results = narrowed(read(runs, protocol), datasets, detectors)
    name = table_name(results, table)
    check_options(name, renderer, measure, columns)
    check_results(results, name)
    check_aggregator(results, measure)
    check_table_options(
        name,
        {
            "--flows-per-day": flows_per_day,
            "--base-rates": base_rates,
            "--window": window,
            "--incidents-per-day": incidents_per_day,
        },
    )
    if columns and _wanted(measure, intervals, name):
        check_columns(document(results, metric, aggregator or None), columns)
    board = with_columns(_audited(results, with_intervals(results, measure, intervals, name)), columns)
    shown = console.cleaned(
        with_table(results, board, name, flows_per_day, base_rates, window=window, incidents_per_day=incidents_per_day)
    )
    drawn = renderer.render(shown, console.width(), console.color() and file is None)
    if file is not None:
        console.save(file, drawn if isinstance(drawn, bytes) else console.ended(drawn))
    elif not isinstance(drawn, bytes):
        console.out(drawn, as_json=output == "json")


def read(runs: Path, protocol: str) -> ResultTable:
    """The rows of a protocol, by default the one that was run last, in a results folder."""
    from reports.results.model import Results

    return Results.open(runs, console.say).select(protocol)


def show(table: ResultTable, renderer: Renderer) -> str | Iterator[str]:
    """What ``run`` prints at its end: the protocol's table, without intervals, which ``leaderboard`` computes."""
    shown = console.cleaned(with_table(table, _audited(table, document(table, "auroc")), table_name(table)))
    drawn = renderer.render(shown, console.width(), console.color())
    return str(drawn) if isinstance(drawn, bytes) else drawn


def _audited(table: ResultTable, board: Board) -> Board:
    """With what audits found that were made before; those that were not are named, since one takes a while."""
    from datasets_registry.registry import added
    from harness.cli.audit import kept_audits
    from reports.tables.audits import with_audits

    audits = kept_audits(table)
    if lacking := [name for name in table.datasets if name not in audits and name in added()]:
        console.say(
            f"note: this version made no audit of {', '.join(lacking)} yet: `janus-bench data audit {lacking[0]}` "
            "says what else than attacks separates it, and tables then carry it"
        )
    return with_audits(board, audits)


def find_renderer(name: str, file: Path | None = None) -> Renderer:
    """UsageError for one that nobody registered, and for a binary one without a file."""
    found = plugins.renderers()
    if name not in found:
        raise unknown("format", name, found)
    if found[name].binary and file is None:
        raise UsageError(
            f"--format {name} is not text: write it to a file, as in `janus-bench leaderboard --format {name} "
            f"-o table.{name}`"
        )
    return found[name]


def table_name(table: ResultTable, asked: str = "") -> str:
    """The table that was asked for, or that the protocol names."""
    from reports.tables.details import LEADERBOARD, TABLES

    protocol = plugins.protocols().get(table.plan.protocol)
    name = asked or (protocol.table if protocol is not None else "") or LEADERBOARD
    if name not in (LEADERBOARD, *TABLES):
        raise unknown("table", name, [LEADERBOARD, *TABLES])
    return name


def with_intervals(table: ResultTable, measure: Measure, intervals: bool | None, name: str) -> Board:
    """The board with intervals, by default for AUROC; kept ones are used, others are computed and kept."""
    from reports.statistics.intervals import kept_statistics
    from reports.tables.leaderboard import build_leaderboard

    if not _wanted(measure, intervals, name):
        return build_leaderboard(table, measure)
    with PreparationProgress() as progress:
        statistics = kept_statistics(table, measure, progress)
    return build_leaderboard(table, measure, statistics)


def _wanted(measure: Measure, intervals: bool | None, name: str) -> bool:
    """Whether there are to be intervals."""
    from reports.tables.details import LEADERBOARD

    if intervals and measure.aggregator:
        raise UsageError("--intervals are those of every row's own aggregator: leave out --intervals or --aggregator")
    return (measure.is_auroc and not measure.aggregator and name == LEADERBOARD) if intervals is None else intervals


def with_table(
    table: ResultTable,
    board: Board,
    name: str,
    flows_per_day: int | None = None,
    base_rates: str = "",
    *,
    window: float | None = None,
    incidents_per_day: float | None = None,
) -> Board:
    """The document, with the details of a table other than the leaderboard; flows a day and shares of attacks are for
    ``alerts``, the window (minutes) and false incidents a day for ``incidents``."""
    from reports.tables.details import LEADERBOARD, TABLES, Operations, with_details

    if name == LEADERBOARD:
        return board
    from protocols.incidents import INCIDENTS_PER_DAY, WINDOW_S
    from protocols.operations import BASE_RATES, FLOWS_PER_DAY
    from reports.render.html.collect import cell_evidence, cell_likeness, day_evidence, incident_evidence
    from reports.results.facts import folder_facts
    from reports.statistics.incidents import IncidentRules

    window_s = WINDOW_S if window is None else 60 * window
    operations = Operations(flows_per_day or FLOWS_PER_DAY, _base_rates(base_rates) or BASE_RATES, window_s)
    cells: Sequence[Any] = ()
    with PreparationProgress() as progress:
        if TABLES[name].evidence == "scores":
            cells = cell_evidence(table, progress)
        elif TABLES[name].evidence == "likeness":
            cells = cell_likeness(table, board["aggregator"], progress)
        elif TABLES[name].evidence == "incidents":
            cells = incident_evidence(table, IncidentRules(window_s, incidents_per_day or INCIDENTS_PER_DAY), progress)
        elif TABLES[name].evidence == "days":
            cells = day_evidence(table, progress)
        elif TABLES[name].evidence == "folder":
            cells = [folder_facts(table, capabilities_of(table))]
    return with_details(board, name, cells, operations)


def _base_rates(text: str) -> tuple[float, ...]:
    try:
        rates = tuple(float(part) for part in split_requests(text))
    except ValueError:
        rates = (0.0,)
    if not all(0 < rate < 1 for rate in rates) or len(set(rates)) < len(rates):
        raise UsageError(
            f"--base-rates {text!r}: give different numbers between 0 and 1 separated by commas, as in 0.01,0.001"
        )
    return rates


def document(table: ResultTable, metric: str, aggregator: str | None = None) -> Board:
    """The leaderboard without intervals."""
    from reports.results.measures import measure_of
    from reports.tables.leaderboard import build_leaderboard

    return build_leaderboard(table, measure_of(metric, aggregator))
