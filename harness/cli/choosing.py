"""What ``leaderboard`` shows of a folder: some datasets, some detectors, some columns.  Means, intervals, ranks and the
verdict are then those of what is shown."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, cast

from janus_bench.errors import UsageError, unknown
from janus_bench.params import split_requests

if TYPE_CHECKING:
    from janus_bench.extensions import Renderer
    from reports.results.measures import Measure
    from reports.results.model import ResultTable
    from reports.tables.document import Board

OF_TABLE = {
    "--flows-per-day": "alerts",
    "--base-rates": "alerts",
    "--window": "incidents",
    "--incidents-per-day": "incidents",
}


def narrowed(table: ResultTable, datasets: str, detectors: str) -> ResultTable:
    """The table of the named datasets, as sources and targets, and of the named rows; of all, where none is named.
    UsageError for an unknown name."""
    if not datasets and not detectors:
        return table
    names = _known("dataset", datasets, list(table.datasets))
    labels = _known("detector", detectors, table.labels)
    plans = []
    for plan in table.plans:
        cells = tuple(cell for cell in plan.cells if {cell.source, cell.target} <= {*names} and cell.label in labels)
        if cells:
            kept = {label: row for label, row in plan.detectors.items() if label in labels}
            entries = {name: entry for name, entry in plan.datasets.items() if name in names}
            plans.append(replace(plan, cells=cells, detectors=kept, datasets=entries))
    if not plans:
        raise UsageError(f"no cell of {table.title} is of these datasets and detectors: name more of them")
    return replace(table, plans=tuple(plans))


def check_options(name: str, renderer: Renderer, measure: Measure, columns: str) -> None:
    """UsageError for an option that the asked table or format would pass over in silence."""
    from reports.tables.details import LEADERBOARD, TABLES

    if columns and name != LEADERBOARD:
        raise UsageError(f"--columns chooses columns of the leaderboard: leave it out for --table {name}")
    if columns and renderer.records:
        raise UsageError(
            f"--columns chooses what is shown, and --format {renderer.name} has every number: leave one of them out"
        )
    if name != LEADERBOARD and not TABLES[name].of_metric and (not measure.is_auroc or measure.view):
        raise UsageError(
            f"--table {name} has numbers of its own and none of {measure.metric.name}: leave --metric out, or ask for "
            "--table leaderboard"
        )


def check_results(table: ResultTable, name: str) -> None:
    """UsageError for a table of which these results have nothing."""
    from reports.tables.details import LEADERBOARD, TABLES

    if name == LEADERBOARD:
        return
    if TABLES[name].evidence == "days" and table.plan.split != "drift":
        raise UsageError(
            f"--table {name} is of days after one on which everything was calibrated, and {table.title} has none: "
            "`janus-bench run --protocol drift` has"
        )
    if TABLES[name].compares and not any(row.declared.variant for row in table.rows):
        raise UsageError(
            f"--table {name} sets variants of a detector against each other, and {table.title} has none: `janus-bench "
            "protocol list` has protocols with variants, such as ablation"
        )


def check_aggregator(table: ResultTable, measure: Measure) -> None:
    """UsageError where no row has scores that an aggregator could combine or choose from."""
    runs = [run for run in table.runs if run.record is not None]
    if measure.aggregator and runs and all(run.single_score for run in runs):
        raise UsageError("every row here has one score, so that --aggregator changes nothing: leave it out")


def check_table_options(name: str, given: Mapping[str, object]) -> None:
    """UsageError for an option of another table; ``given``: None or empty where it was left out."""
    for option, value in given.items():
        if value and name != OF_TABLE[option]:
            raise UsageError(f"{option} is for --table {OF_TABLE[option]}: leave it out, or ask for that table")


def with_columns(board: Board, columns: str) -> Board:
    """The board of which tables show the named columns alone, besides rank, detector and status.  UsageError for an
    unknown one."""
    from reports.tables.boards import column_names

    if not columns:
        return board
    return {**board, "columns": _known("column", columns, column_names(board))}


def check_columns(board: Board, columns: str) -> None:
    """UsageError for a column that the board lacks even with intervals, which take a while to compute."""
    from reports.tables.boards import column_names

    with_intervals = {**board, "statistics": board["statistics"] or {}}
    _known("column", columns, column_names(cast("Board", with_intervals)))


def _known(kind: str, asked: str, known: list[str]) -> list[str]:
    """The names that were asked for, each once; all of them, where none was."""
    names = list(dict.fromkeys(split_requests(asked)))
    for name in names:
        if name not in known:
            raise unknown(kind, name, known)
    return names or known
