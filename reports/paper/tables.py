"""Tables for an article of two columns: none is shrunk; one that is wider than a column takes both, and one that is
wider than the page continues in a further table."""

import re
from collections.abc import Sequence
from dataclasses import replace

from reports.render.latex import ROWS, escape, tabular
from reports.render.layout import wrap_between, wrap_name
from reports.tables.model import Cell, Column, Table

COLUMN_WIDTH, TEXT_WIDTH = 240, 500  # Of one column and of both, in points.
CHARACTER, SEPARATION = 4.4, 3  # Widest mean width of text in \footnotesize (8 pt), and \tabcolsep, in points.
NAME, WORDS = 26, 16  # Names of detectors, and text that is set left, wrap at so many characters.
FIXED = re.compile(r"p\{(\d+)pt\}$")  # A column of fixed width.
OPTION = re.compile(r"(?<![-\w])--(?=[a-z])")  # ``--protocol``, which LaTeX would print as a dash.
LEVEL = r"\renewcommand{\shortstack}[2][r]{\begin{tabular}[t]{@{}#1@{}}#2\end{tabular}}"  # First lines on one level.
FLOATS = 12  # After so many LaTeX must print those that wait: it cannot hold any number of them.


def floats(label: str, table: Table, caption: str) -> str:
    """``caption`` is LaTeX already; the labels of further parts end in ``-b``, ``-c`` …"""
    shown = _wrapped(table)
    parts = [
        replace(page, rows=page.rows[start : start + ROWS])
        for page in _pages(shown)
        for start in range(0, max(1, len(page.rows)), ROWS)
    ]
    lines = []
    for place, part in enumerate(parts):
        wide = "*" if _width(part.columns, part) > COLUMN_WIDTH else ""
        of = f" (part {place + 1} of {len(parts)})" if len(parts) > 1 else ""
        notes = r" \par ".join(escape(note) for note in part.notes)
        lines += [
            rf"\begin{{table{wide}}}[!htbp]",
            r"\centering",
            rf"\caption{{{caption}{of}}}",
            rf"\label{{tab:{label}-{chr(ord('a') + place % 26)}{place // 26 or ''}}}",
            rf"\footnotesize\setlength{{\tabcolsep}}{{{SEPARATION}pt}}",
            LEVEL,
            *tabular(part),
            *([rf"\par\smallskip\parbox{{\linewidth}}{{\scriptsize {notes}}}"] if notes else []),
            rf"\end{{table{wide}}}",
            *([r"\clearpage"] if place % FLOATS == FLOATS - 1 else []),
            "",
        ]
    return OPTION.sub("-{}-", "\n".join(lines))


def _wrapped(table: Table) -> Table:
    """Headings, names and words on several lines."""
    columns = [
        replace(column, headings={"latex": wrap_between(column.heading_in("latex").replace("\n", " "), _limit(column))})
        for column in table.columns
    ]
    rows = [
        replace(row, cells=[_wrapped_cell(*pair) for pair in zip(table.columns, row.cells, strict=len(row.cells) > 1)])
        for row in table.rows
    ]
    return replace(table, columns=columns, rows=rows)


def _limit(column: Column) -> int:
    """Of a heading: numbers below it are narrow."""
    return 9 if column.right else WORDS


def _wrapped_cell(column: Column, cell: Cell) -> Cell:
    if column.right or column.latex:
        return cell
    lines = [wrap_name(line, NAME if cell.label else WORDS) for line in cell.text.split("\n")]
    return replace(cell, text="\n".join(lines))


def _width(columns: Sequence[Column], table: Table) -> float:
    """Of these columns of the table, as far as it can be told without fonts; of one of fixed width what it says."""
    places = [place for place, column in enumerate(table.columns) if column in columns]
    return sum(_column_width(table, place) + 2 * SEPARATION for place in places)


def _column_width(table: Table, place: int) -> float:
    column = table.columns[place]
    if fixed := FIXED.search(column.latex):
        return float(fixed[1])
    texts = [column.heading_in("latex"), *(row.cells[place].text for row in table.rows if len(row.cells) > 1)]
    return CHARACTER * max(len(line) for text in texts for line in text.split("\n"))


def _pages(table: Table) -> list[Table]:
    """Columns that do not fit continue below, behind the labels again."""
    labels = range(table.labels)
    widths = [_column_width(table, place) + 2 * SEPARATION for place in range(len(table.columns))]
    room = TEXT_WIDTH - sum(widths[place] for place in labels)
    pages: list[list[int]] = []
    left = 0.0
    for place in range(table.labels, len(widths)):
        if not pages or widths[place] > left:
            pages.append([])
            left = room
        pages[-1].append(place)
        left -= widths[place]
    return [table.only(lambda place, _, chosen=(*labels, *page): place in chosen) for page in pages]  # type: ignore[misc]
