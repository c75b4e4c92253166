"""What ``compare`` found, for a terminal, as GitHub tables, in LaTeX and as tidy CSV."""

from __future__ import annotations

from typing import TYPE_CHECKING

from reports.render.latex import latex_tables
from reports.render.listing import listing, wrapped_text
from reports.render.text import csv_lines, escape, markdown_table
from reports.tables.comparison import comparison_records, comparison_tables, heading

if TYPE_CHECKING:
    from reports.statistics.compare import Comparison


def comparison_text(document: Comparison, width: int) -> str:
    """Tables of at most ``width`` columns, and notes."""
    lines = [wrapped_text(heading(document), width), ""]
    for table in comparison_tables(document):
        rows = [[cell.text for cell in row.cells] for row in table.rows]
        lines += [wrapped_text(table.title, width)]
        lines += [*listing([column.heading for column in table.columns], rows, width), ""]
    return "\n".join([*lines, *(wrapped_text(f"note: {note}", width) for note in document["notes"])])


def comparison_markdown(document: Comparison) -> str:
    lines = [f"## {escape(heading(document))}", ""]
    for table in comparison_tables(document):
        lines += markdown_table(table)
    return "\n".join([*lines, *(f"- {escape(note)}" for note in document["notes"])])


def comparison_latex(document: Comparison) -> str:
    return latex_tables("compare", heading(document), comparison_tables(document), document["notes"])


def comparison_csv(document: Comparison) -> str:
    """A line per cell and per mean; an empty field where there is no number."""
    records = comparison_records(document)
    columns = list(dict.fromkeys(name for record in records for name in record))
    return "".join(csv_lines(columns, ([record.get(name) for name in columns] for record in records)))
