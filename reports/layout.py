"""Tables that fit a width without cutting a number: columns that do not fit go into a further table, names wrap."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.table import Table
    from rich.text import Text

__all__ = ["GAP", "Column", "paged", "to_table", "wrap_name"]

GAP = 2
"""Columns of space between table columns."""


@dataclass(frozen=True, eq=False)
class Column:
    """A column ready to print; cells may have several lines."""

    header: str
    cells: Sequence[Text]
    right: bool = True
    priority: int = 0

    @property
    def width(self) -> int:
        from rich.cells import cell_len

        lines = [*self.header.split("\n"), *(line for cell in self.cells for line in cell.plain.split("\n"))]
        return max(cell_len(line) for line in lines)


def wrap_name(name: str, width: int) -> str:
    """Break a name into lines of at most ``width``: after a separator (``,`` ``[`` ``_`` ``-`` or a space) where possible, anywhere otherwise."""
    lines = [""]
    for piece in re.findall(r"[^,\[_\- ]*[,\[_\- ]|[^,\[_\- ]+", name):
        if len(lines[-1]) + len(piece.rstrip()) > width and lines[-1]:
            lines.append("")
        lines[-1] += piece
        while len(lines[-1].rstrip()) > width:
            lines[-1:] = [lines[-1][:width], lines[-1][width:]]
    return "\n".join(line.rstrip() for line in lines)


def paged(labels: Sequence[Column], columns: Sequence[Column], width: int) -> list[list[Column]]:
    """Divide ``columns`` into tables that fit ``width``, each beginning with ``labels``.

    Columns of one priority stay together if they can; the lower the number, the earlier the table.  Inside a table they keep their given order.
    """
    room = width - sum(column.width + GAP for column in labels)
    pages: list[list[Column]] = []
    left = 0
    for group in _groups(columns, room):
        needed = sum(column.width + GAP for column in group)
        if not pages or needed > left + GAP:
            pages.append([])
            left = room
        pages[-1] += group
        left -= needed
    return [[*labels, *(column for column in columns if column in page)] for page in pages]


def _groups(columns: Sequence[Column], room: int) -> list[list[Column]]:
    """Columns by priority; a group wider than a whole table is taken apart."""
    by_priority: dict[int, list[Column]] = {}
    for column in sorted(columns, key=lambda column: column.priority):
        by_priority.setdefault(column.priority, []).append(column)
    groups: list[list[Column]] = []
    for group in by_priority.values():
        fits = sum(column.width + GAP for column in group) <= room + GAP
        groups += [group] if fits else [[column] for column in group]
    return groups


def to_table(columns: Sequence[Column]) -> Table:
    """A rich table with exactly the columns' own widths, a rule under the header."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, show_edge=False, padding=(0, GAP - 1, 0, 0), pad_edge=False, header_style="bold")
    for column in columns:
        table.add_column(
            Text(column.header),
            justify="right" if column.right else "left",
            vertical="top",
            min_width=column.width,
            max_width=column.width,
            no_wrap=True,
        )
    for cells in zip(*(column.cells for column in columns), strict=True):
        table.add_row(*cells)
    return table
