r"""The leaderboard, its matrices and the published tables in LaTeX (booktabs), to be read with ``\input``.  Standard
library only.

What has to be in the preamble is ``PREAMBLE``, which the first line of the output repeats.
"""

import re
from collections.abc import Sequence
from dataclasses import replace

from reports.published.render import closing_lines, cross_table, other_tables, within_groups
from reports.published.table import PublishedTable
from reports.tables.boards import CONTROLS, COST, has_numbers, leaderboard_table, matrix_table, parts_table
from reports.tables.details import tables_of
from reports.tables.document import Board
from reports.tables.fields import flags, problems, subtitle, title
from reports.tables.model import Cell, Column, Table, TableRow

PREAMBLE = r"\usepackage{adjustbox,array,booktabs}"

NARROW = 6  # A table of more columns spans both columns of an article that has two: in one it would be too small.
WAITING = 20  # So many tables may wait for a page that they span.
ROWS = 48  # A table has at most so many rows on a page; the rest continues in another one.
MINUS = re.compile(r"(?<![\w-])-(?=[.\d])")  # A hyphen that is a sign.

BEGIN = (
    f"% preamble: {PREAMBLE}",
    f"% tables of more than {NARROW} columns are table*, as wide as the page: with two columns they need no more",
    "",
)

# Characters that LaTeX reads as commands, that a following optional argument could swallow ([ and ]), or that its
# default fonts lack.
SYMBOLS = {
    "±": "pm",
    "×": "times",
    "→": "rightarrow",
    "↓": "downarrow",
    "≤": "leq",
    "≥": "geq",
    "≈": "approx",
    "≠": "neq",
    "√": "surd",
    "·": "cdot",
}
GREEK = {"Δ": "Delta", "λ": "lambda", "µ": "mu", "σ": "sigma", "τ": "tau"}
RAISED = {"†": "dagger", "‡": "ddagger", "★": "star"}
NAMED = {
    "\\": "textbackslash",
    "~": "textasciitilde",
    "^": "textasciicircum",
    "<": "textless",
    ">": "textgreater",
    "|": "textbar",
    "…": "dots",
}
SPECIAL = (
    {character: rf"\{character}" for character in "&%$#_{}"}
    | {character: rf"\{name}{{}}" for character, name in NAMED.items()}
    | {character: rf"$\{name}$" for character, name in (SYMBOLS | GREEK).items()}
    | {character: rf"$^{{\{name}}}$" for character, name in RAISED.items()}
    | {"[": "{[}", "]": "{]}", '"': "''", "−": "$-$", "–": "--", "—": "---"}
)


def escape(text: str, side: str = "r") -> str:
    """Text as LaTeX that prints it; several lines are stacked, set ``l``eft or ``r``ight."""
    return _stacked(_lines(text), side)


def _lines(text: str) -> list[str]:
    return [
        "".join(SPECIAL.get(character, character) for character in line) for line in MINUS.sub("−", text).split("\n")
    ]


def _stacked(lines: Sequence[str], side: str) -> str:
    return lines[0] if len(lines) == 1 else rf"\shortstack[{side}]{{" + r"\\".join(lines) + "}"


def code(text: str) -> str:
    return rf"\texttt{{{escape(text, 'l')}}}"


def tabular(table: Table) -> list[str]:
    """The lines of a ``tabular``, with booktabs' rules."""
    spec = "".join(column.latex or ("r" if column.right else "l") for column in table.columns)
    header = [escape(column.heading_in("latex")) for column in table.columns]
    body = []
    for place, row in enumerate(table.rows):
        body += [*([r"\midrule"] if row.rule or place == 0 else []), " & ".join(_row(table.columns, row)) + r" \\"]
    return [
        rf"\begin{{tabular}}{{@{{}}{spec}@{{}}}}",
        r"\toprule",
        " & ".join(header) + r" \\",
        *body,
        r"\bottomrule",
        r"\end{tabular}",
    ]


def _float(label: str, table: Table, text: str) -> list[str]:
    r"""A ``table``, or a ``table*`` where it is wide, with its caption ``text``, which is LaTeX already, above, as
    booktabs advises; its notes in small print under it."""
    below = r" \par ".join(escape(note) for note in table.notes)
    name = "table" if len(table.columns) <= NARROW else "table*"
    return [
        rf"\begin{{{name}}}[htbp]",
        r"\centering",
        rf"\caption{{{text}}}",
        rf"\label{{tab:{label}}}",
        r"\small\setlength{\tabcolsep}{4pt}",
        r"\begin{adjustbox}{max width=\linewidth}",
        *tabular(table),
        r"\end{adjustbox}",
        *([rf"\par\smallskip\parbox{{\linewidth}}{{\footnotesize {below}}}"] if below else []),
        rf"\end{{{name}}}",
        "",
    ]


def _row(columns: Sequence[Column], row: TableRow) -> list[str]:
    if len(row.cells) == 1 < len(columns):
        return [rf"\multicolumn{{{len(columns)}}}{{@{{}}l}}{{\emph{{{escape(row.cells[0].text)}}}}}"]
    first, *others = [_cell(column, cell) for column, cell in zip(columns, row.cells, strict=True)]
    return [rf"\emph{{{first}}}" if row.baseline else first, *others]


def _cell(column: Column, cell: Cell) -> str:
    """Emphasised where the source is the target or, of the first line, nothing is better; mathematics (±) keeps its own
    font, as usual in tables of results."""
    if cell.label:
        return code(cell.text) if cell.text == cell.text.lstrip() else rf"\quad {code(cell.text.lstrip())}"
    first, *others = [rf"\textit{{{line}}}" if cell.within and line else line for line in _lines(cell.text)]
    return _stacked([rf"\textbf{{{first}}}" if cell.best else first, *others], "r" if column.right else "l")


def render_latex(document: Board, width: int, color: bool) -> str:  # noqa: ARG001  the signature of every renderer
    """Results, costs, a matrix per detector (diagonal in italics, highest of each column in bold), partitions,
    notes."""
    lines = [
        *BEGIN,
        *(_details(document) if "details" in document else [*_leaderboard(document), *_matrices(document)]),
    ]
    parts = parts_table(document)
    lines += _float("parts", parts, f"{escape(parts.title)}.")
    found = [rf"{code(name)} {escape(what)}" for name, what in problems(document)]
    lines += [r"\paragraph{Not ok}", *_items(found), ""] if found else []
    return _joined([*lines, *_items([escape(note) for note in document["notes"]])])


def _joined(lines: Sequence[str]) -> str:
    """As text.  Wide tables wait for the next page, and LaTeX gives up where a hundred do: the page is ended before."""
    shown: list[str] = []
    waiting = 0
    for line in lines:
        shown.append(line)
        waiting += line == r"\end{table*}"
        if waiting == WAITING:
            shown.append(r"\clearpage")
            waiting = 0
    return "\n".join(shown)


def _items(lines: Sequence[str]) -> list[str]:
    return [r"\begin{itemize}", *(rf"\item {line}" for line in lines), r"\end{itemize}"] if lines else []


def _leaderboard(document: Board) -> list[str]:
    """Controls, and costs with the status (the last column), make tables of their own: all columns together would be
    made too small to read."""
    table = leaderboard_table(document)
    last = len(table.columns) - 1
    results = table.only(lambda place, column: place < 2 or (column.priority < CONTROLS and place != last))
    controls = table.only(lambda place, column: place < 2 or CONTROLS <= column.priority < COST)
    costs = table.only(lambda place, column: place < 2 or column.priority == COST or place == last)
    shown = flags(document)
    lines = _float("leaderboard", results, f"{escape(title(document))}. {escape(subtitle(document))}.")
    if len(controls.columns) > 2:
        lines += _float("controls", controls, f"What each was given, and its target-only control{escape(shown)}.")
    return [*lines, *_float("costs", costs, f"Cost and status{escape(shown)}.")]


def _matrices(document: Board) -> list[str]:
    extreme = "maximum" if document["higher_is_better"] else "minimum"
    lines = []
    for position, row in enumerate(document["rows"], 1):
        if has_numbers(row):
            table = matrix_table(document, row)
            text = f"{code(table.about)}: {escape(table.title)}. Italic: within; bold: {extreme} of its column."
            lines += _float(f"matrix-{position}", table, text)
    return lines


def _details(document: Board) -> list[str]:
    """A table may be longer than a page, which a float may not: ``longtable`` would be, but not narrower than its
    columns."""
    return [
        line for position, table in enumerate(tables_of(document), 1) for line in _long(f"details-{position}", table)
    ]


def _long(label: str, table: Table) -> list[str]:
    """A float per page of rows."""
    lines = []
    for part, start in enumerate(range(0, len(table.rows), ROWS), 1):
        of = f" ({part} of {-(-len(table.rows) // ROWS)})" if len(table.rows) > ROWS else ""
        page = replace(table, rows=table.rows[start : start + ROWS])
        lines += _float(f"{label}-{part}", page, escape(f"{table.title}{of}."))
    return lines


def latex_tables(label: str, heading: str, tables: Sequence[Table], notes: Sequence[str]) -> str:
    """Any tables under a heading, and notes."""
    lines = [*BEGIN, rf"\paragraph{{{escape(heading)}}}", ""]
    for position, table in enumerate(tables, 1):
        lines += _long(f"{label}-{position}", table)
    return _joined([*lines, *_items([escape(note) for note in notes])])


def latex_published(table: PublishedTable) -> str:
    """The document of ``published_table``: the two tables of the literature in their printed form, ablations, other
    figures, footnotes and notes."""
    lines = [*BEGIN]
    for label, shown in (("within", within_groups(table)), ("cross", cross_table(table, print_form=True))):
        lines += _float(f"published-{label}", shown, escape(shown.title))
    for position, other in enumerate(other_tables(table), 1):
        lines += _float(f"published-{position}", other, f"{escape(other.title)}.")
    return _joined([*lines, *_items([escape(line) for line in closing_lines(table)])])
