"""The leaderboard for a terminal: summary table, what went wrong, a source × target matrix per detector, partitions, notes."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from reports.render.layout import (
    GAP,
    Column,
    block_tables,
    paged,
    to_table,
    wrap_name,
)
from reports.tables.fields import (
    DATASETS,
    NONE,
    SHARING,
    Field,
    caption,
    cell_text,
    control_rows,
    dataset_rows,
    flags,
    leaderboard_fields,
    metric_name,
    name_of,
    number,
    problems,
    subtitle,
    title,
    varying_params,
)

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.text import Text

__all__ = ["render_table"]

MIN_WIDTH = 40
"""A table is laid out for at least so many columns: narrower terminals wrap it, but no number is cut."""
NAME_WIDTH = (16, 34)
"""A detector's name gets at least and at most so many columns before it wraps."""
SOURCE_WIDTH, TARGET_WIDTH = 20, 12
"""Names of datasets wrap at this width as heads of rows and of columns."""
MATRIX_GAP = 4

# backgrounds of the 256-colour palette, all readable under black: collapse in pink, then from pale to strong blue
SHADES = ((0.14, 174, "▁"), (0.40, 252, "▂"), (0.60, 153, "▃"), (0.80, 117, "▅"), (0.90, 75, "▆"), (1.01, 69, "█"))
"""(upper bound of the value's place between chance and ideal, colour, bar): the bars say the same where there is no colour."""

Row = Mapping[str, Any]


def render_table(document: Row, width: int, color: bool) -> str:
    """The document as text of at most ``width`` columns (at least ``MIN_WIDTH``); ANSI codes only with ``color``.

    A column of the leaderboard for which no row has a number is left out.
    """
    from rich.console import Console, Group
    from rich.text import Text

    width = max(width, MIN_WIDTH)
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
    parts: list[RenderableType] = [Group(Text(title(document), "bold"), Text(subtitle(document), "dim"))]
    if document.get("details"):
        parts += [*_details(document, width), *_problems(document)]
    else:
        parts += [_leaderboard(document, width), *_problems(document), *_matrices(document, width)]
    parts += [_datasets(document, width), _notes(document)]
    with console.capture() as captured:
        for part in parts:
            console.print(part)
            console.print()
    return "\n".join(line.rstrip() for line in captured.get().rstrip().split("\n"))


def _leaderboard(document: Row, width: int) -> RenderableType:
    from rich.text import Text

    rows = document["rows"]
    fields = leaderboard_fields(document)
    columns = [_column(field, rows) for field in fields if field is fields[-1] or any(field.text(row) != NONE for row in rows)]
    status = Column("status", [Text(cell.plain, "green" if cell.plain == "ok" else "bold red") for cell in columns[-1].cells], right=False)
    columns[-1] = status
    rank = Column("#", [Text(NONE if row["rank"] is None else str(row["rank"])) for row in rows])
    first = sum(column.width + GAP for column in columns if column.priority == 0) + rank.width
    low, high = NAME_WIDTH
    longest = max((len(text) for row in rows for text in (name_of(row), varying_params(row))), default=low)
    room = min(longest, max(low, min(high, width - first - GAP)))
    names = Column("detector", [_name(row, room) for row in rows], right=False)
    return _stacked(paged([rank, names], columns, width))


def _details(document: Row, width: int) -> list[RenderableType]:
    from rich.console import Group
    from rich.text import Text

    from reports.tables.details import blocks_of

    return [Group(Text(block.title, "bold"), *block_tables(block, width)) for block in blocks_of(document)]


def _stacked(pages: Sequence[Sequence[Column]]) -> RenderableType:
    """The tables below each other, an empty line between them."""
    from rich.console import Group
    from rich.text import Text

    parts: list[RenderableType] = []
    for page in pages:
        parts += [Text(), to_table(page)] if parts else [to_table(page)]
    return Group(*parts)


def _column(field: Field, rows: Sequence[Any]) -> Column:
    from rich.text import Text

    return Column(field.header, [Text(field.text(row)) for row in rows], field.right, field.priority)


def _name(row: Row, width: int) -> Text:
    """The label as the user wrote it, its parameters dim; below it the parameters that differ within and across networks."""
    from rich.text import Text

    text = Text(wrap_name(name_of(row), width), "bold")
    bracket = text.plain.find("[")
    if bracket >= 0:
        text.stylize("not bold dim", bracket, text.plain.rindex("]") + 1)
    varying = varying_params(row)
    if varying:
        text.append("\n" + wrap_name(varying, width), "not bold dim")
    return text


def _problems(document: Row) -> list[RenderableType]:
    from rich.console import Group
    from rich.text import Text

    lines = [Text.assemble((name, "bold"), " ", what) for name, what in problems(document)]
    return [Group(Text("Not ok", "bold red"), *map(_item, lines))] if lines else []


def _item(text: Text) -> RenderableType:
    """A list item whose further lines are indented."""
    from rich.table import Table

    grid = Table.grid(padding=(0, 1, 0, 0))
    grid.add_column(width=1)
    grid.add_column(overflow="fold")
    grid.add_row("-", text)
    return grid


# -- matrices ----------------------------------------------------------------------------------------------------------------------


def _matrices(document: Row, width: int) -> list[RenderableType]:
    """One matrix per detector that has a number, side by side where the terminal is wide."""
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    blocks = [_matrix(document, row, width) for row in document["rows"] if any(cell["mean"] is not None for cell in row["cells"])]
    if not blocks:
        return []
    widest = max(block_width for _, block_width in blocks)
    beside = max(1, (width + MATRIX_GAP) // (widest + MATRIX_GAP))
    lines: list[RenderableType] = [Text(f"{metric_name(document)}, source (rows) → target (columns){flags(document)}", "bold"), _legend(document)]
    for start in range(0, len(blocks), beside):
        grid = Table.grid(padding=(0, MATRIX_GAP, 0, 0), pad_edge=False)
        chosen = [block for block, _ in blocks[start : start + beside]]
        for _ in chosen:
            grid.add_column(width=widest if beside > 1 else width, overflow="fold")
        grid.add_row(*chosen)
        lines += [Text(), grid]
    return [Group(*lines)]


def _matrix(document: Row, row: Row, width: int) -> tuple[RenderableType, int]:
    """The matrix of one detector, and its width."""
    from rich.console import Group
    from rich.text import Text

    cells = {(cell["source"], cell["target"]): cell for cell in row["cells"]}
    sources = list(dict.fromkeys(source for source, _ in cells))
    targets = list(dict.fromkeys(target for _, target in cells))
    controls = control_rows(row, targets)
    heads = [*(Text(wrap_name(source, SOURCE_WIDTH)) for source in sources), *(Text(word, "dim") for word, _ in controls)]
    columns = []
    for position, target in enumerate(targets):
        shown = [_shaded(document, cells.get((source, target))) for source in sources]
        shown += [Text(number(values[position]), "dim") for _, values in controls]
        columns.append(_aligned(Column(wrap_name(target, TARGET_WIDTH), shown)))
    pages = paged([Column("", heads, right=False)], columns, width)
    widest = max(sum(column.width + GAP for column in page) - GAP for page in pages)
    name = Text(name_of(row), "bold", overflow="fold")
    under = [Text(line, "dim", overflow="fold") for line in caption(row)]
    return Group(name, _stacked(pages), *under), max(widest, min(width, len(name_of(row))))


def _legend(document: Row) -> Text:
    """What the shades stand for, in the metric's own numbers."""
    from rich.text import Text

    chance, ideal = _scale(document)
    relation = "≤" if document["higher_is_better"] else "≥"
    legend = Text()
    for bound, color, bar in SHADES[:-1]:
        legend.append(f"{bar} {relation} {number(chance + bound * (ideal - chance))[:-1]}", f"color(16) on color({color})").append("  ")
    _, color, bar = SHADES[-1]
    return legend.append(f"{bar} better", f"color(16) on color({color})")


def _scale(document: Row) -> tuple[float, float]:
    """What chance gives and what would be ideal, as far as the metric's name tells."""
    if not document["higher_is_better"]:
        return 1.0, 0.0
    return (0.5 if "auroc" in document["metric"] or "pauc" in document["metric"] else 0.0), 1.0


def _shaded(document: Row, cell: Row | None) -> Text:
    from rich.text import Text

    if cell is None:
        return Text("")
    if cell["mean"] is None:
        return Text(wrap_name(cell_text(cell), TARGET_WIDTH), "" if cell["status"] == "ok" else "bold red")
    chance, ideal = _scale(document)
    place = (cell["mean"] - chance) / (ideal - chance)
    _, shade, bar = next((shade for shade in SHADES if place <= shade[0] + 1e-9), SHADES[-1])
    return Text(f"{bar} {cell_text(cell)}", f"color(16) on color({shade})")


def _aligned(column: Column) -> Column:
    """Pad every line to the column's width, so that a background fills its cell."""
    from rich.text import Text

    width = column.width
    padded = [Text("\n".join(line.rjust(width) for line in cell.plain.split("\n")), cell.style) for cell in column.cells]
    return Column(column.header, padded, column.right, column.priority)


# -- below the tables --------------------------------------------------------------------------------------------------------------


def _datasets(document: Row, width: int) -> RenderableType:
    from rich.console import Group
    from rich.text import Text

    rows = dataset_rows(document)
    names = Column("dataset", [Text(wrap_name(row.name, SOURCE_WIDTH)) for row in rows], right=False)
    pages = paged([names], [_column(field, rows) for field in DATASETS], width)
    return Group(Text(f"Flows of each part{flags(document)}", "bold"), _stacked(pages), Text(SHARING, "dim"))


def _notes(document: Row) -> RenderableType:
    from rich.console import Group
    from rich.text import Text

    loud = [note.startswith("SYNTHETIC DATA") for note in document["notes"]]
    return Group(*(_item(Text(note, "bold yellow" if is_loud else "")) for note, is_loud in zip(document["notes"], loud, strict=True)))
