"""The leaderboard for a terminal: summary table, what went wrong, a source × target matrix per detector, partitions,
notes."""

from dataclasses import replace
from textwrap import wrap

from rich.console import Group, RenderableType
from rich.table import Table as RichTable
from rich.text import Text

from reports.render.layout import (
    GAP,
    TerminalColumn,
    paged,
    printed,
    stacked,
    terminal_columns,
    wrap_between,
)
from reports.render.listing import fitted_table
from reports.tables.boards import TARGET_WIDTH, has_numbers, leaderboard_table, matrix_table, parts_table
from reports.tables.details import tables_of
from reports.tables.document import Board
from reports.tables.fields import flags, metric_name, number, problems, subtitle, title
from reports.tables.model import Cell, Table, TableRow
from reports.tables.verdict import verdict_lines

MIN_WIDTH = 40  # A table is laid out for at least so many columns: narrower terminals wrap it, but no number is cut.
NAME_WIDTH = (18, 34)  # A detector's name gets at least and at most so many columns before it wraps.
MATRIX_GAP = 4
MOST_CELLS = 20_000  # Of all matrices together: some two thousand lines.
MOST_UNDER = 3  # A note under one of several matrices has at most so many lines.

# backgrounds of the 256-colour palette, all readable under black: collapse in pink, then from pale to strong blue
SHADES = ((0.14, 174, "▁"), (0.40, 252, "▂"), (0.60, 153, "▃"), (0.80, 117, "▅"), (0.90, 75, "▆"), (1.01, 69, "█"))
"""(upper bound of the value's place between chance and ideal, colour, bar): the bars say the same where there is no
colour."""


def render_table(document: Board, width: int, color: bool) -> str:
    """The document as text of at most ``width`` columns (at least ``MIN_WIDTH``); ANSI codes only with ``color``.

    A column of the leaderboard for which no row has a number is left out.
    """
    width = max(width, MIN_WIDTH)
    parts: list[RenderableType] = [Group(Text(title(document), "bold"), Text(subtitle(document), "dim"))]
    parts += _verdict(document)
    if "details" in document:
        parts += [Group(Text(table.title, "bold"), fitted_table(table, width)) for table in tables_of(document)]
        parts += _problems(document)
    else:
        parts += [_leaderboard(leaderboard_table(document), width), *_problems(document), *_matrices(document, width)]
    sizes = parts_table(document)
    columns = terminal_columns(sizes)
    notes = [Text(note, "dim") for note in sizes.notes]
    parts += [Group(Text(sizes.title, "bold"), stacked(paged(columns[:1], columns[1:], width)), *notes)]
    parts += [
        Group(
            *(
                _item(Text(note, "bold yellow" if note.startswith("SYNTHETIC DATA") else ""))
                for note in document["notes"]
            )
        )
    ]
    return printed(parts, width, color)


def _verdict(document: Board) -> list[RenderableType]:
    """Nothing above a table in the leaderboard's place."""
    if "verdict" not in document or "details" in document:
        return []
    return [Group(*map(Text, verdict_lines(document["verdict"])))]


def _leaderboard(table: Table, width: int) -> RenderableType:
    table = table.without_empty((0, 1, len(table.columns) - 1))
    columns = terminal_columns(table)
    ends = [row.cells[-1] for row in table.rows]
    status = TerminalColumn(
        "status", [Text(cell.text, "bold red" if cell.failed else "green") for cell in ends], right=False
    )
    rank, others = columns[0], [*columns[2:-1], status]
    first = sum(column.width + GAP for column in others if column.priority == 0) + rank.width
    low, high = NAME_WIDTH
    names = [row.cells[1] for row in table.rows]
    longest = max((len(text) for name in names for text in (name.text, name.small)), default=low)
    room = min(longest, max(low, min(high, width - first - GAP)))
    return stacked(
        paged([rank, TerminalColumn("detector", [_name(name, room) for name in names], right=False)], others, width)
    )


def _name(name: Cell, width: int) -> Text:
    """The label as the user wrote it, its parameters dim; below it the parameters that differ within and across
    networks."""
    text = Text(wrap_between(name.text, width), "bold")
    begin, end = text.plain.find("["), text.plain.rfind("]")
    if 0 <= begin < end:
        text.stylize("not bold dim", begin, end + 1)
    if name.small:
        text.append("\n" + wrap_between(name.small, width), "not bold dim")
    return text


def _problems(document: Board) -> list[RenderableType]:
    lines = [Text.assemble((name, "bold"), " ", what) for name, what in problems(document)]
    return [Group(Text("Not ok", "bold red"), *map(_item, lines))] if lines else []


def _item(text: Text) -> RenderableType:
    """A list item whose further lines are indented."""
    grid = RichTable.grid(padding=(0, 1, 0, 0))
    grid.add_column(width=1)
    grid.add_column(overflow="fold")
    grid.add_row("-", text)
    return grid


def _matrices(document: Board, width: int) -> list[RenderableType]:
    """One matrix per detector that has a number, side by side where the terminal is wide; none where nobody would read
    them all."""
    rows = [row for row in document["rows"] if has_numbers(row)]
    if not rows:
        return []
    if (cells := sum(len(row["cells"]) for row in rows)) > MOST_CELLS:
        left_out = (
            f"{cells:,} cells are too many for a terminal: --detectors and --datasets choose some of "
            "them, --format csv has them all"
        )
        return [Text(left_out, "dim")]
    scale, tables = _scale(document), [matrix_table(document, row) for row in rows]
    blocks = [_matrix(table, scale, width) for table in tables]
    widest = max(block_width for _, block_width in blocks)
    beside = max(1, (width + MATRIX_GAP) // (widest + MATRIX_GAP))
    heading = Text(f"{metric_name(document['metric'])}, source (rows) → target (columns){flags(document)}", "bold")
    lines: list[RenderableType] = [heading, _legend(scale, "≤" if document["higher_is_better"] else "≥")]
    column = widest if beside > 1 else width
    for start in range(0, len(blocks), beside):
        grid = RichTable.grid(padding=(0, MATRIX_GAP, 0, 0), pad_edge=False)
        chosen, below = [], []
        for table, (block, _) in zip(tables[start : start + beside], blocks[start : start + beside], strict=True):
            under = [note for note in table.notes if beside == 1 or _fits_under(note, column)]
            chosen.append(Group(block, *(Text(note, "dim", overflow="fold") for note in under)))
            below += [f"{table.about}: {note}" for note in table.notes if note not in under]
            grid.add_column(width=column, overflow="fold")
        grid.add_row(*chosen)
        lines += [Text(), grid, *(Text(note, "dim", overflow="fold") for note in below)]
    return [Group(*lines)]


def _fits_under(note: str, width: int) -> bool:
    """Whether a note is as short as what stands under a matrix may be; a longer one gets the whole width, and no word
    of it is broken."""
    return len(wrap(note, width)) <= MOST_UNDER and max(map(len, note.split())) <= width


def _matrix(table: Table, scale: tuple[float, float], width: int) -> tuple[RenderableType, int]:
    """The matrix of one detector, without its notes, and its width."""
    columns = []
    for place, column in enumerate(terminal_columns(table)):
        shown = replace(
            column, cells=[_shaded(row, place, text, scale) for row, text in zip(table.rows, column.cells, strict=True)]
        )
        columns.append(_aligned(shown) if place else shown)
    pages = paged(columns[:1], columns[1:], width)
    widest = max(sum(column.width + GAP for column in page) - GAP for page in pages)
    return Group(Text(table.about, "bold", overflow="fold"), stacked(pages)), max(widest, min(width, len(table.about)))


def _scale(document: Board) -> tuple[float, float]:
    """What chance gives and what would be ideal, as far as the metric's name tells."""
    if not document["higher_is_better"]:
        return 1.0, 0.0
    return (0.5 if "auroc" in document["metric"] or "pauc" in document["metric"] else 0.0), 1.0


def _legend(scale: tuple[float, float], relation: str) -> Text:
    """What the shades stand for, in the metric's own numbers."""
    chance, ideal = scale
    legend = Text()
    for bound, color, bar in SHADES[:-1]:
        legend.append(
            f"{bar} {relation} {number(chance + bound * (ideal - chance))[:-1]}", f"color(16) on color({color})"
        ).append("  ")
    _, color, bar = SHADES[-1]
    return legend.append(f"{bar} better", f"color(16) on color({color})")


def _shaded(row: TableRow, place: int, text: Text, scale: tuple[float, float]) -> Text:
    """A cell of a matrix: names of sources as they are, the baseline dim, numbers by their place between chance and
    ideal."""
    cell = row.cells[place]
    if row.baseline:
        return Text(text.plain, "dim")
    if cell.value is None:
        return text if cell.head else Text(wrap_between(cell.text, TARGET_WIDTH), "bold red" if cell.failed else "")
    chance, ideal = scale
    _, shade, bar = next(
        (shade for shade in SHADES if (cell.value - chance) / (ideal - chance) <= shade[0] + 1e-9), SHADES[-1]
    )
    return Text(f"{bar} {cell.text}", f"color(16) on color({shade})")


def _aligned(column: TerminalColumn) -> TerminalColumn:
    """Pad every line to the column's width, so that a background fills its cell."""
    width = column.width
    return replace(
        column,
        cells=[
            Text("\n".join(line.rjust(width) for line in cell.plain.split("\n")), cell.style) for cell in column.cells
        ],
    )
