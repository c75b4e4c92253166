"""Rows of text that fit a width: short columns stand beside each other, long text wraps at words or stands below its
row; no word and no number is broken that fits a line."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from rich.cells import cell_len
from rich.console import Group, RenderableType
from rich.text import Text

from reports.render.layout import GAP, WORDS, paged, stacked, terminal_columns, wrapped_text
from reports.tables.model import Table

READABLE = 28  # Text that wraps is given at least so many columns.
INDENT = 4  # Of what stands below its row.
ONE = r"[<≤≥±+−-]? ?[\d.,]+ ?%?"
NUMBER = re.compile(rf"{ONE}(( to | … |±){ONE})?|–|")  # an interval and a spread are numbers, too
BETWEEN = " · "
RULE = "─"


@dataclass(frozen=True)
class _Column:
    heading: str
    cells: Sequence[str]

    @cached_property
    def body(self) -> int:
        return max(map(_width, self.cells), default=0)

    @cached_property
    def natural(self) -> int:
        return max(self.body, _width(self.heading))

    @cached_property
    def least(self) -> int:
        """The width that breaks no word and leaves text readable."""
        lines = (line for text in (self.heading, *self.cells) for line in text.split("\n"))
        words = (cell_len(word) for line in lines for word in WORDS.split(line))
        return max(min(self.body, READABLE), *words, 1)

    @cached_property
    def right(self) -> bool:
        return all(NUMBER.fullmatch(cell) for cell in self.cells)


def _width(text: str) -> int:
    return max(map(cell_len, text.split("\n")))


def listing(headings: Sequence[str], rows: Sequence[Sequence[str]], width: int) -> list[str]:
    """The rows as lines of at most ``width`` columns, headings and a rule first (neither, where no heading says
    anything); a column without any text is left out.

    Where the columns do not fit, text and headings wrap; where that takes more lines, or is impossible, the columns
    that are left over stand below each row, named by their headings.
    """
    columns = [_Column(heading, [row[place] for row in rows]) for place, heading in enumerate(headings)]
    columns = [column for column in columns if not rows or any(column.cells)]
    everything = range(len(columns))
    if _total([column.natural for column in columns]) <= width:
        return _drawn(columns, everything, [column.natural for column in columns], width)
    forms = [
        _drawn(columns, kept, widths, width)
        for kept in (everything, _beside(columns, width))
        if (widths := _fitted([columns[place] for place in kept], width))
    ]
    return min(forms, key=len)


def _total(widths: Sequence[int]) -> int:
    return sum(widths) + GAP * (len(widths) - 1)


def _fitted(columns: Sequence[_Column], width: int) -> list[int]:
    """Widths of columns whose headings and text wrap; none where they do not fit.  A single one always does."""
    widths = [column.least for column in columns]
    if len(columns) == 1:
        return [min(columns[0].natural, width)]
    if _total(widths) > width:
        return []
    for place in sorted(range(len(columns)), key=lambda place: columns[place].natural - widths[place]):
        # a column that lacks little gets it all before one that lacks much
        widths[place] += min(columns[place].natural - widths[place], width - _total(widths))
    return widths


def _beside(columns: Sequence[_Column], width: int) -> list[int]:
    """The columns that stand beside each other where not all can: the first one, and in their order those that still
    fit."""
    kept = [0]
    for place in range(1, len(columns)):
        if _fitted([columns[each] for each in (*kept, place)], width):
            kept.append(place)
    return kept


def _drawn(columns: Sequence[_Column], kept: Sequence[int], widths: Sequence[int], width: int) -> list[str]:
    """Lines of the table of the columns at the places ``kept``; the other columns' texts are below each row."""
    shown = [columns[place] for place in kept]
    lines = []
    if any(column.heading for column in shown):
        lines = [*_side_by_side([column.heading for column in shown], shown, widths), RULE * _total(widths)]
    below = [column for place, column in enumerate(columns) if place not in kept]
    for number in range(len(columns[0].cells)):
        lines += _side_by_side([column.cells[number] for column in shown], shown, widths)
        named = [
            f"{column.heading} {column.cells[number]}" for column in below if column.cells[number] not in ("", "–")
        ]
        text = wrapped_text(BETWEEN.join(named), width - INDENT)
        lines += [f"{'':{INDENT}}{line}" for line in text.split("\n") if line]
    return lines


def _side_by_side(texts: Sequence[str], columns: Sequence[_Column], widths: Sequence[int]) -> list[str]:
    cells = [wrapped_text(text, own).split("\n") for text, own in zip(texts, widths, strict=True)]
    lines = []
    for number in range(max(map(len, cells))):
        parts = []
        for cell, column, own in zip(cells, columns, widths, strict=True):
            part = cell[number] if number < len(cell) else ""
            space = " " * (own - cell_len(part))
            parts.append(space + part if column.right else part + space)
        lines.append((" " * GAP).join(parts).rstrip())
    return lines


def fitted_table(table: Table, width: int) -> RenderableType:
    """A table for a terminal; what does not fit continues below, where every row is named again by all its labels.

    Labels that take most of the width would leave little room there: they stand once, and what is left over stands
    below each row.
    """
    columns = terminal_columns(table, width)
    pages = paged(columns[: table.labels], columns[table.labels :], width)
    if len(pages) == 1 or sum(column.width + GAP for column in columns[: table.labels]) <= width / 2:
        return stacked(pages)
    headings = [column.heading_in("terminal") for column in table.columns]
    lines = listing(headings, [[cell.text for cell in row.cells] for row in table.rows], width)
    head = next(number for number, line in enumerate(lines) if line.startswith(RULE))
    return Group(*(Text(line, "bold" if number < head else "") for number, line in enumerate(lines)))
