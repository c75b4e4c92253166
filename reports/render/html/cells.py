"""Cells and tables in the dress of the report: real minus signs, classes of the style sheet.  The template escapes
text, never these functions."""

from collections.abc import Sequence
from dataclasses import replace

from reports.tables.fields import count, spread
from reports.tables.model import Cell, Column, Table, TableRow


def signs(text: str) -> str:
    return text.replace("-", "−").replace("±", " ± ")


def text(value: str, css: str = "", *, head: bool = False) -> Cell:
    return Cell(value, css=css, head=head)


def numeric(value: str, sorted_by: float | None, css: str = "", small: str = "") -> Cell:
    return Cell(value, sorted_by, small, css=f"n {css}".strip())


def whole_number(value: float | None) -> Cell:
    return numeric(count(value), value)


def figure(value: float | None, css: str = "", detector: int | None = None) -> Cell:
    """A number with three decimals, sorted by its full value."""
    return replace(numeric(signs(spread(value, None)), value, css), detector=detector)


def left(heading: str, hint: str = "") -> Column:
    return Column(heading, right=False, hint=hint)


def right(heading: str, hint: str = "") -> Column:
    return Column(heading, hint=hint)


Pairs = list[tuple[Column, Cell]]


def paired(
    title: str, lines: Sequence[tuple[Pairs, TableRow]], *, view: str = "", sortable: bool = True, css: str = ""
) -> Table:
    """A table of at least one line, each its (column, cell) pairs and the row that they are put into."""
    columns = [column for column, _ in lines[0][0]]
    return Table(
        title,
        columns,
        [replace(row, cells=[cell for _, cell in pairs]) for pairs, row in lines],
        view=view,
        sortable=sortable,
        css=css,
    )


def for_report(table: Table) -> Table:
    """A table that every form shares: cells get the classes of their columns, except the one that names its row;
    headings stand on one line."""
    columns = [
        replace(column, headings={"html": column.heading_in("html").replace("\n", " ")}) for column in table.columns
    ]
    return replace(
        table, columns=columns, rows=[replace(row, cells=[*map(_dressed, columns, row.cells)]) for row in table.rows]
    )


def _dressed(column: Column, cell: Cell) -> Cell:
    if cell.head:
        return cell
    parts = (
        "n" if column.right else "l",
        cell.css,
        "bad" if cell.failed else "",
        "more" if "more" in column.css else "",
    )
    return replace(cell, css=" ".join(filter(None, parts)))
