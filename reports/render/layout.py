"""Tables that fit a width without cutting a number: columns that do not fit go into a further table, names wrap."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.table import Table
    from rich.text import Text

__all__ = ["GAP", "Block", "Column", "block_tables", "paged", "to_table", "wrap_name"]

GAP = 2
"""Columns of space between table columns."""


NAME_WIDTH, TEXT_WIDTH = 26, 34
"""Text in the first and in the last columns of a block wraps at these widths."""


@dataclass(frozen=True)
class Block:
    """A titled table of text; the first ``left`` columns and the last ``notes`` ones are set left, the others right."""

    title: str
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    left: int = 1
    notes: int = 0

    def is_text(self, position: int) -> bool:
        return position < self.left or position >= len(self.header) - self.notes


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


def block_tables(block: Block, width: int) -> list[Table]:
    """A block for a terminal; what does not fit continues below, with the first ``left`` columns again where they leave room for others."""
    from rich.text import Text

    columns = []
    for position, header in enumerate(block.header):
        is_text = block.is_text(position)
        room = NAME_WIDTH if position < block.left else TEXT_WIDTH
        texts = [Text(wrap_name(row[position], room) if is_text else row[position]) for row in block.rows]
        columns.append(Column(wrap_name(header, room), texts, right=not is_text, priority=position))
    labels = columns[: block.left] if sum(column.width + GAP for column in columns[: block.left]) <= width / 2 else columns[:1]
    return [to_table(page) for page in paged(labels, columns[len(labels) :], width)]
