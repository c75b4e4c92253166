r"""The leaderboard, its matrices and the published tables in LaTeX (booktabs), to be read with ``\input``.  Standard library only.

What has to be in the preamble is ``PREAMBLE``, which the first line of the output repeats.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from reports.published.render import (
    blocks,
    closing_lines,
    figure,
    measured_cell,
    measured_matrices,
    measured_rows,
)
from reports.tables.fields import (
    COST,
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
)

__all__ = ["PREAMBLE", "escape", "latex_published", "render_latex", "tabular"]

PREAMBLE = r"\usepackage{adjustbox,array,booktabs}"

Row = Mapping[str, Any]

RAGGED = r">{\raggedright\arraybackslash}p{3.4cm}"
"""A column of running text."""

ROWS = 48
"""A table has at most so many rows on a page; the rest continues in another one."""

MINUS = re.compile(r"(?<![\w-])-(?=[.\d])")
"""A hyphen that is a sign."""

# Characters that LaTeX reads as commands, that a following optional argument could swallow ([ and ]), or that its default fonts lack.
SPECIAL = {
    "\\": r"\textbackslash{}",
    "&": r"\&",
    "%": r"\%",
    "$": r"\$",
    "#": r"\#",
    "_": r"\_",
    "{": r"\{",
    "}": r"\}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    "[": "{[}",
    "]": "{]}",
    '"': "''",
    "±": r"$\pm$",
    "−": "$-$",
    "×": r"$\times$",
    "→": r"$\rightarrow$",
    "↓": r"$\downarrow$",
    "≤": r"$\leq$",
    "≥": r"$\geq$",
    "≈": r"$\approx$",
    "≠": r"$\neq$",
    "Δ": r"$\Delta$",
    "λ": r"$\lambda$",
    "µ": r"$\mu$",
    "σ": r"$\sigma$",
    "τ": r"$\tau$",
    "√": r"$\surd$",
    "†": r"$^{\dagger}$",
    "‡": r"$^{\ddagger}$",
    "★": r"$^{\star}$",
    "·": r"$\cdot$",
    "–": "--",
    "—": "---",
    "…": r"\dots{}",
}


def escape(text: str, side: str = "r") -> str:
    """Text as LaTeX that prints it; several lines are stacked, set ``l``eft or ``r``ight."""
    return _stacked(["".join(SPECIAL.get(character, character) for character in line) for line in MINUS.sub("−", text).split("\n")], side)


def _stacked(lines: Sequence[str], side: str = "r") -> str:
    """LaTeX lines below each other in one cell."""
    return lines[0] if len(lines) == 1 else rf"\shortstack[{side}]{{" + r"\\".join(lines) + "}"


def _code(text: str) -> str:
    return rf"\texttt{{{escape(text)}}}"


def tabular(spec: str, header: Sequence[str], groups: Sequence[Sequence[Sequence[str]]]) -> list[str]:
    """A booktabs ``tabular``; cells are LaTeX already, a rule stands between groups of rows."""
    bodies = [[" & ".join(row) + r" \\" for row in group] for group in groups if group]
    lines = [rf"\begin{{tabular}}{{@{{}}{spec}@{{}}}}", r"\toprule", " & ".join(header) + r" \\"]
    for body in bodies:
        lines += [r"\midrule", *body]
    return [*lines, r"\bottomrule", r"\end{tabular}"]


def _float(label: str, text: str, body: Sequence[str], *, below: Sequence[str] = ()) -> list[str]:
    r"""A ``table`` with its caption above, as booktabs advises; ``below`` in small print under it.  All is already LaTeX."""
    under = [r"\par\smallskip\parbox{\linewidth}{\footnotesize " + r" \par ".join(below) + "}"] if below else []
    return [
        r"\begin{table}[htbp]",
        r"\centering",
        rf"\caption{{{text}}}",
        rf"\label{{tab:{label}}}",
        r"\small\setlength{\tabcolsep}{4pt}",
        r"\begin{adjustbox}{max width=\linewidth}",
        *body,
        r"\end{adjustbox}",
        *under,
        r"\end{table}",
        "",
    ]


# -- leaderboard -------------------------------------------------------------------------------------------------------------------


def render_latex(document: Row, width: int, color: bool) -> str:  # noqa: ARG001  the signature of every renderer
    """Results, costs, a matrix per detector (diagonal in italics, highest of each column in bold), partitions, notes."""
    lines = [f"% preamble: {PREAMBLE}", ""]
    if document.get("details"):
        lines += _details(document)
    else:
        lines += _leaderboard(document) + _costs(document)
        for position, row in enumerate(document["rows"], 1):
            lines += _matrix(document, row, position)
    lines += _datasets(document) + _problems(document)
    notes = [rf"\item {escape(note)}" for note in document["notes"]]
    return "\n".join([*lines, r"\begin{itemize}", *notes, r"\end{itemize}"]) if notes else "\n".join(lines)


def _leaderboard(document: Row) -> list[str]:
    # costs and status (the last priority and the last column) make a table of their own: all columns together are wider than a page
    return _fields_table(
        document, "leaderboard", f"{escape(title(document))}. {escape(subtitle(document))}.", leaderboard_fields(document)[:-1], most=COST - 1
    )


def _details(document: Row) -> list[str]:
    """A block may be longer than a page, which a float may not: ``longtable`` would be, but not narrower than its columns."""
    from reports.tables.details import blocks_of

    lines = []
    for position, block in enumerate(blocks_of(document), 1):
        spec = "".join("l" if block.is_text(place) else "r" for place in range(len(block.header)))
        header = [escape(wrapped(name)) for name in block.header]
        body = [[escape(cell) for cell in row] for row in block.rows]
        for part, start in enumerate(range(0, len(body), ROWS), 1):
            of = f" ({part} of {-(-len(body) // ROWS)})" if len(body) > ROWS else ""
            text = escape(f"{block.title}{of}.")
            lines += _float(f"details-{position}-{part}", text, tabular(spec, header, [body[start : start + ROWS]]))
    return lines


def wrapped(name: str) -> str:
    """A long column head on several lines."""
    return name.replace(" ", "\n") if len(name) > 10 else name


def _costs(document: Row) -> list[str]:
    fields = leaderboard_fields(document)
    columns = [field for field in fields if field.priority == COST]
    return _fields_table(document, "costs", f"Cost and status{escape(flags(document))}.", (*columns, fields[-1]), most=COST)


def _fields_table(document: Row, label: str, text: str, fields: Sequence[Field], most: int) -> list[str]:
    kept = [field for field in fields if field.priority <= most]
    spec = "rl" + "".join("r" if field.right else "l" for field in kept)
    header = [r"\#", "detector", *(escape(field.header) for field in kept)]
    body = [
        [
            "--" if row["rank"] is None else str(row["rank"]),
            _code(name_of(row)),
            *(escape(field.text(row), "r" if field.right else "l") for field in kept),
        ]
        for row in document["rows"]
    ]
    return _float(label, text, tabular(spec, header, [body]))


def _matrix(document: Row, row: Row, position: int) -> list[str]:
    cells = {(cell["source"], cell["target"]): cell for cell in row["cells"]}
    if all(cell["mean"] is None for cell in cells.values()):
        return []
    sources = list(dict.fromkeys(source for source, _ in cells))
    targets = list(dict.fromkeys(target for _, target in cells))
    extreme = max if document["higher_is_better"] else min
    columns = {target: {cell["mean"] for (_, other), cell in cells.items() if other == target} - {None} for target in targets}
    best = {target: extreme(values) for target, values in columns.items() if len(values) > 1}  # equal numbers: nothing stands out

    def shown(source: str, target: str) -> str:
        cell = cells.get((source, target))
        if cell is None:
            return ""
        return _emphasised(cell_text(cell), bold=target in best and cell["mean"] == best[target], italic=source == target)

    body = [[escape(source), *(shown(source, target) for target in targets)] for source in sources]
    controls = [[rf"\emph{{{escape(word)}}}", *(escape(number(value)) for value in values)] for word, values in control_rows(row, targets)]
    header = [r"source $\rightarrow$ target", *map(escape, targets)]
    text = f"{_code(name_of(row))}: {escape(metric_name(document) + flags(document))}. Italic: within; bold: {extreme.__name__}imum of its column."
    table = tabular("l" + "r" * len(targets), header, [body, controls])
    return _float(f"matrix-{position}", text, table, below=[escape(line) for line in caption(row)])


def _emphasised(text: str, *, bold: bool, italic: bool) -> str:
    """Mathematics (±) keeps its own font, as usual in tables of results."""
    latex = escape(text)
    latex = rf"\textit{{{latex}}}" if italic else latex
    return rf"\textbf{{{latex}}}" if bold else latex


def _datasets(document: Row) -> list[str]:
    rows = dataset_rows(document)
    spec = "l" + "".join("r" if field.right else "l" for field in DATASETS)
    header = ["dataset", *(escape(field.header) for field in DATASETS)]
    body = [[escape(row.name), *(escape(field.text(row)) for field in DATASETS)] for row in rows]
    return _float("parts", f"Flows of each part{escape(flags(document))}.", tabular(spec, header, [body]), below=[escape(SHARING)])


def _problems(document: Row) -> list[str]:
    found = [rf"\item {_code(name)} {escape(what)}" for name, what in problems(document)]
    return [r"\paragraph{Not ok}", r"\begin{itemize}", *found, r"\end{itemize}", ""] if found else []


# -- published numbers -------------------------------------------------------------------------------------------------------------


def latex_published(table: Row) -> str:
    """The document of ``published_table``: the two tables of the literature in their printed form, ablations, other figures, footnotes and notes."""
    lines = [f"% preamble: {PREAMBLE}", "", *_within(table), *_cross(table)]
    for position, block in enumerate(blocks(table)[2:], 1):
        columns = len(block.header)
        spec = "".join(RAGGED if column < min(block.left, 2) or column >= columns - block.notes else "r" for column in range(columns))
        body = [[escape(cell) for cell in row] for row in block.rows]
        lines += _float(f"published-{position}", f"{escape(block.title)}.", tabular(spec, [escape(name) for name in block.header], [body]))
    return "\n".join([*lines, r"\begin{itemize}", *(rf"\item {escape(line)}" for line in closing_lines(table)), r"\end{itemize}"])


def _within(table: Row) -> list[str]:
    """Table 1 of the literature: method, venue, a column per dataset; first what is reported only, then what is built, with its measured rows below
    it; JANUS last and bold, as printed."""
    datasets = table["datasets"]
    groups: dict[str, list[list[str]]] = {"reported only": [], "built here, too": [], "": []}
    for method in table["methods"]:
        if not any(method["numbers"].values()) and not measured_rows(method):
            continue
        own = method["method"] == "janus"
        cells = [_stacked([_emphasised(figure(each), bold=own, italic=False) for each in method["numbers"][name]] or ["---"]) for name in datasets]
        group = groups["reported only" if method["detector"] is None else "" if own else "built here, too"]
        group.append([_emphasised(method["name"], bold=own, italic=False), escape(method["venue"]) or "---", *cells])
        group.extend(_measured_row(measured, datasets) for measured in measured_rows(method))
    width = len(datasets) + 2
    bodies = [[*([[rf"\multicolumn{{{width}}}{{@{{}}l}}{{\emph{{{name}}}}}"]] if name and rows else []), *rows] for name, rows in groups.items()]
    text = f"{escape(table['titles']['within'])}, AUROC in \\%, mean $\\pm$ std; published numbers, not measured here unless marked so."
    return _float("published-within", text, tabular("ll" + "r" * len(datasets), ["method", "venue", *map(escape, datasets)], bodies))


def _measured_row(row: Row, datasets: Sequence[str]) -> list[str]:
    found = {cell["target"]: cell for cell in row["cells"] if cell["source"] == cell["target"]}
    cells = [escape(measured_cell(found[name], 100, 2)) if name in found else "---" for name in datasets]
    return [rf"\quad {_code(row['detector'])}", "measured here", *cells]


def _cross(table: Row) -> list[str]:
    """Table 2 of the literature: source rows, target columns, diagonal in italics, highest of each column in bold; measured matrices below it."""
    names = list(dict.fromkeys(each["target"] for each in table["cross"]))
    cells = {(each["source"], each["target"]): each for each in table["cross"]}
    best = {name: max(each["value"] for (_, target), each in cells.items() if target == name) for name in names}

    def shown(source: str, target: str) -> str:
        cell = cells[source, target]
        return _emphasised(figure(cell), bold=cell["value"] == best[target], italic=source == target)

    groups = [[[escape(source), *(shown(source, target) for target in names)] for source in names]]
    for detector, measured in measured_matrices(table):
        group = []
        for source in names:
            row = [_emphasised(measured.get((source, target), NONE), bold=False, italic=source == target) for target in names]
            group.append([escape(f"{detector}: {source}"), *row])
        groups.append(group)
    text = f"{escape(table['titles']['cross'])}: JANUS, AUROC, mean $\\pm$ std. Italic: within; bold: maximum of its column."
    header = [r"source $\downarrow$ / target $\rightarrow$", *map(escape, names)]
    return _float("published-cross", text, tabular("l" + "r" * len(names), header, groups))
