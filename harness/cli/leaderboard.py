"""``janus-bench leaderboard``: from a results folder to a table."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.cli import console
from harness.cli.progress import PreparationProgress
from janus_bench import plugins
from janus_bench.errors import UsageError, unknown
from janus_bench.extensions import Renderer
from janus_bench.params import split_requests
from reports.results.model import Measure, Results, ResultTable, measure_of

if TYPE_CHECKING:
    from reports.tables.document import Board


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
    table = Results.open(runs, console.say).select(protocol)
    name = table_name(table, options)
    shown = with_table(table, _with_intervals(table, measure_of(metric, aggregator), options, name), options, name)
    write(renderer.render(shown, console.width(), console.color() and file is None), file)


def show(table: ResultTable, renderer: Renderer) -> str:
    """What ``run`` prints at its end: the protocol's table, without intervals, which ``leaderboard`` computes."""
    options = Options()
    shown = with_table(table, document(table, "auroc"), options, table_name(table, options))
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


def table_name(table: ResultTable, options: Options) -> str:
    """The table that was asked for, or that the protocol names."""
    from reports.tables.details import LEADERBOARD, TABLES

    protocol = plugins.protocols().get(table.plan.protocol)
    name = options.table or (protocol.table if protocol is not None else "") or LEADERBOARD
    if name not in (LEADERBOARD, *TABLES):
        raise unknown("table", name, [LEADERBOARD, *TABLES])
    return name


def _with_intervals(table: ResultTable, measure: Measure, options: Options, name: str) -> Board:
    from reports.statistics.intervals import kept_statistics
    from reports.tables.details import LEADERBOARD
    from reports.tables.leaderboard import build_leaderboard

    if options.intervals and measure.aggregator:
        raise UsageError("--intervals are those of every row's own aggregator: leave out --intervals or --aggregator")
    wanted = (measure.is_auroc and not measure.aggregator and name == LEADERBOARD) if options.intervals is None else options.intervals
    if not wanted:
        return build_leaderboard(table, measure)
    with PreparationProgress() as progress:
        statistics = kept_statistics(table, measure, progress)
    return build_leaderboard(table, measure, statistics)


def with_table(table: ResultTable, board: Board, options: Options, name: str) -> Board:
    """The document, with the details of a table other than the leaderboard."""
    from reports.tables.details import LEADERBOARD, TABLES, Operations, with_details

    if name == LEADERBOARD:
        return board
    from protocols.operations import BASE_RATES, FLOWS_PER_DAY
    from reports.render.html.collect import a_day, cell_evidence, cell_likeness

    flows = FLOWS_PER_DAY if options.flows_per_day is None else options.flows_per_day
    operations = Operations(flows, _base_rates(options.base_rates) or BASE_RATES, a_day)
    collect: dict[str, Callable[[PreparationProgress], Sequence[Any]]] = {
        "scores": lambda progress: cell_evidence(table, progress),
        "likeness": lambda progress: cell_likeness(table, board["aggregator"], progress),
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


def document(table: ResultTable, metric: str, aggregator: str | None = None) -> Board:
    """The leaderboard without intervals."""
    from reports.tables.leaderboard import build_leaderboard

    return build_leaderboard(table, measure_of(metric, aggregator))
