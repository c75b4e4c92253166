"""Tables that fit a width without cutting a number: columns that do not fit go into a further table, names wrap."""

import io
import re
from collections.abc import Sequence
from dataclasses import dataclass

from rich import box
from rich.cells import cell_len
from rich.console import Console, Group, RenderableType
from rich.table import Table as RichTable
from rich.text import Text

from reports.tables.fields import grouped
from reports.tables.model import Column, Table

GAP = 2  # Columns of space between table columns.
WHOLE = 18  # A word of so many characters is never broken: two of them stand beside each other in any terminal.
PIECE = re.compile(r"[^,\[_\-+= ]*[,\[_\-+= ]|[^,\[_\-+= ]+")
WORDS = re.compile(r" (?!\d{3}(?!\d)|%)")  # ``10 000`` and ``95 %`` are one word each.


@dataclass(frozen=True, eq=False)
class TerminalColumn:
    """A column ready to print; cells may have several lines."""

    header: str
    cells: Sequence[Text]
    right: bool = True
    priority: int = 0

    @property
    def width(self) -> int:
        lines = [*self.header.split("\n"), *(line for cell in self.cells for line in cell.plain.split("\n"))]
        return max(cell_len(line) for line in lines)


def wrap_name(name: str, width: int) -> str:
    """Break a name into lines of at most ``width``: after a separator (``,`` ``[`` ``_`` ``-`` ``+`` ``=`` or a space)
    where possible, anywhere otherwise."""
    lines = [""]
    for piece in PIECE.findall(name):
        if len(lines[-1]) + len(piece.rstrip()) > width and lines[-1]:
            lines.append("")
        lines[-1] += piece
        while len(lines[-1].rstrip()) > width:
            lines[-1:] = [lines[-1][:width], lines[-1][width:]]
    return "\n".join(line.rstrip() for line in lines)


def wrapped_text(text: str, width: int) -> str:
    """Lines of at most ``width``, broken at spaces; a word that is longer is broken as names are."""
    lines = []
    for line in text.split("\n"):
        current = ""
        for word in WORDS.split(line.strip()):
            if current and cell_len(current) + 1 + cell_len(word) <= width:
                current += f" {word}"
                continue
            lines += [current] if current else []
            *full, current = wrap_name(word, width).split("\n")
            lines += full
        lines.append(current)
    return "\n".join(lines)


def wrap_between(text: str, width: int) -> str:
    """As ``wrapped_text``, but a piece of a name of up to ``WHOLE`` characters is not broken, though it be wider."""
    longest = max(map(len, PIECE.findall(text)), default=0)
    return wrapped_text(text, max(width, min(longest, WHOLE)))


def paged(
    labels: Sequence[TerminalColumn], columns: Sequence[TerminalColumn], width: int
) -> list[list[TerminalColumn]]:
    """Divide ``columns`` into tables that fit ``width``, each beginning with ``labels``.

    Columns of one priority stay together if they can; the lower the number, the earlier the table.  Inside a table they
    keep their given order.
    """
    room = width - sum(column.width + GAP for column in labels)
    pages: list[list[TerminalColumn]] = []
    left = 0
    for group in _groups(columns, room):
        needed = sum(column.width + GAP for column in group)
        if not pages or needed > left + GAP:
            pages.append([])
            left = room
        pages[-1] += group
        left -= needed
    return [[*labels, *(column for column in columns if column in page)] for page in pages]


def _groups(columns: Sequence[TerminalColumn], room: int) -> list[list[TerminalColumn]]:
    """Columns by priority; a group wider than a whole table is taken apart."""
    groups: list[list[TerminalColumn]] = []
    for group in grouped(
        (column.priority, column) for column in sorted(columns, key=lambda column: column.priority)
    ).values():
        fits = sum(column.width + GAP for column in group) <= room + GAP
        groups += [group] if fits else [[column] for column in group]
    return groups


def to_table(columns: Sequence[TerminalColumn]) -> RichTable:
    """A rich table with exactly the columns' own widths, a rule under the header."""
    table = RichTable(
        box=box.SIMPLE_HEAD, show_edge=False, padding=(0, GAP - 1, 0, 0), pad_edge=False, header_style="bold"
    )
    for column in columns:
        justify, width = "right" if column.right else "left", column.width
        table.add_column(
            Text(column.header),
            justify=justify,  # type: ignore[arg-type]
            vertical="top",
            min_width=width,
            max_width=width,
            no_wrap=True,
        )
    for cells in zip(*(column.cells for column in columns), strict=True):
        table.add_row(*cells)
    return table


def terminal_columns(table: Table, width: int = 0) -> list[TerminalColumn]:
    """``width``: of the terminal, of which no column of text gets more than half, so that two stand beside each
    other."""
    limit = (width - GAP) // 2 if width else 0
    return [
        _terminal_column(column, [row.cells[place].text for row in table.rows], limit)
        for place, column in enumerate(table.columns)
    ]


def _terminal_column(column: Column, texts: Sequence[str], limit: int) -> TerminalColumn:
    wrap = min(column.wrap, limit or column.wrap)

    def wrapped(text: str) -> str:
        return wrap_between(text, wrap) if wrap else text

    cells = [Text(text if column.right else wrapped(text)) for text in texts]
    return TerminalColumn(wrapped(column.heading_in("terminal")), cells, column.right, column.priority)


def stacked(pages: Sequence[Sequence[TerminalColumn]]) -> RenderableType:
    """The tables below each other, an empty line between them."""
    return Group(*[part for page in pages for part in (Text(), to_table(page))][1:])


def printed(parts: Sequence[RenderableType], width: int, color: bool) -> str:
    """The parts as text of ``width`` columns, an empty line between them; ANSI codes only with ``color``."""
    console = Console(
        file=io.StringIO(),
        width=width,
        height=100,  # with both given, nothing is asked of the terminal or its environment
        force_terminal=color,
        color_system="256" if color else None,
        no_color=not color,
        legacy_windows=False,
        markup=False,
        highlight=False,
        emoji=False,
    )
    with console.capture() as captured:
        for part in parts:
            console.print(part)
            console.print()
    return "\n".join(line.rstrip() for line in captured.get().rstrip().split("\n"))
