"""The files of the folder: ``main.tex`` compiles as it is, every other file can be read by a paper of one's own with
``\\input``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from reports.figures import Matrices, cross_heat_map, forest_plot
from reports.paper.bibliography import CHECKLIST, DatasetSource, bibliography, cite
from reports.paper.cards import cards_text
from reports.paper.methods import methods_text, statistics_of
from reports.paper.numbers import numbers_of, numbers_text
from reports.paper.tables import floats
from reports.paper.text import breakable, latin
from reports.render.latex import code, escape
from reports.tables.boards import COST, has_numbers, leaderboard_table, matrix_table, parts_table
from reports.tables.fields import flags, metric_name, problems
from reports.tables.forest import forest_rows
from reports.tables.intervals import ranking_summary
from reports.tables.model import Table
from reports.tables.pitfalls import pitfall_records, pitfall_tables
from reports.tables.verdict import verdict_lines

if TYPE_CHECKING:
    from reports.results.model import ResultTable
    from reports.tables.document import Board, BoardRow
    from reports.tables.evidence import FolderFacts

ONE_COLUMN = 3.3  # Inches; a wider figure takes both.

MAIN = r"""% Made by janus-bench paper: compile with pdflatex, bibtex, pdflatex, pdflatex.
\documentclass[10pt,twocolumn]{article}
\usepackage[utf8]{inputenc}
\usepackage[letterpaper,margin=0.75in]{geometry}
\usepackage{array,booktabs,graphicx}
\setlength{\emergencystretch}{3em}
\setlength{\belowcaptionskip}{4pt}
% LaTeX's own signs for these are bitmaps where few fonts are installed.
\renewcommand{\labelitemi}{$\bullet$}
\renewcommand{\textdollar}{{\upshape\char36}}
\input{numbers}
\begin{document}
\title{A comparison of network anomaly detectors}
\author{}
\date{}
\maketitle
\section{Methods}
\input{methods}
\section{Results}
\input{results}
\input{tables/leaderboard}
\input{figures}
\bibliographystyle{plain}
\bibliography{references}
\onecolumn
\appendix
\section{To be read with the numbers}
\input{notes}
\section{Pitfalls}
\input{pitfalls}
\section{Further tables}
\input{tables/costs}
\input{tables/parts}
\input{tables/matrices}
\twocolumn
\section{Dataset cards}
\input{cards}
\end{document}
"""


@dataclass(frozen=True)
class PaperData:
    """What the folder is made of.

    document   the AUROC of every run, with intervals
    beside     (heading, document of the same rows under another metric)
    sources    dataset → licence and citation
    detectors  registered name → what it says is its source
    """

    table: ResultTable
    document: Board
    beside: Sequence[tuple[str, Board]]
    facts: FolderFacts
    sources: Mapping[str, DatasetSource]
    detectors: Mapping[str, str]


def paper_files(data: PaperData) -> dict[str, bytes]:
    """Path inside the folder → content."""
    board = data.document
    references = bibliography(
        board["made_by"],
        {name: (entry.hash, data.sources[name]) for name, entry in data.table.datasets.items()},
        data.detectors,
        (*CHECKLIST, *statistics_of(board)),
    )
    figures = _figures(board)
    texts = {
        "main.tex": MAIN,
        "numbers.tex": numbers_text(numbers_of(board, data.table)),
        "methods.tex": methods_text(board, data.table, references),
        "results.tex": " ".join(breakable(line) for line in verdict_lines(board["verdict"])) + "\n",
        "notes.tex": _notes(board),
        "figures.tex": _figures_text(board, figures),
        "pitfalls.tex": _pitfalls(data),
        "cards.tex": cards_text(board, data.table, data.sources, references),
        "references.bib": references.text,
        **{f"tables/{name}.tex": text for name, text in _tables(data).items()},
    }
    return {
        **{name: latin(text).encode() for name, text in texts.items()},
        **{name: pdf for name, (pdf, _) in figures.items()},
    }


def _notes(board: Board) -> str:
    failed = [rf"\item {code(name)} {breakable(what)}" for name, what in problems(board)]
    notes = [rf"\item {breakable(note)}" for note in board["notes"]]
    return "\n".join([r"\begin{itemize}\raggedright", *failed, *notes, r"\end{itemize}", ""])


def _tables(data: PaperData) -> dict[str, str]:
    board, mark = data.document, escape(flags(data.document))
    shown = leaderboard_table(board, "report", data.beside)
    first = shown.only(lambda _, column: "more" not in column.css.split())
    results = replace(first, columns=[replace(column, headings={}) for column in first.columns])
    text = leaderboard_table(board)
    last = len(text.columns) - 1
    costs = text.only(lambda place, column: place < 2 or column.priority == COST or place == last)
    parts = parts_table(board)
    title = f"{escape(metric_name(board['metric']))} of each detector{mark}"
    return {
        "leaderboard": floats(
            "leaderboard",
            results,
            rf"{title}, protocol {code(board['protocol'])}. 95\,\% and ties: these networks, rows with a letter in "
            "common cannot be told apart. Gain: what a row has more than its target-only control.",
        ),
        "costs": floats("costs", costs, f"Cost and status{mark}."),
        "parts": floats("parts", parts, f"{escape(parts.title)}."),
        "matrices": "\n".join(
            floats(f"matrix-{place}", _matrix(board, row), _matrix_caption(board, row))
            for place, row in enumerate(filter(has_numbers, board["rows"]), 1)
        ),
    }


def _matrix(board: Board, row: BoardRow) -> Table:
    return replace(matrix_table(board, row), notes=())


def _matrix_caption(board: Board, row: BoardRow) -> str:
    extreme = "highest" if board["higher_is_better"] else "lowest"
    return (
        rf"{code(row['detector'])}: {escape(metric_name(board['metric']))}{escape(flags(board))}, sources in rows, "
        f"targets in columns. Italic: within a network; bold: {extreme} of its column."
    )


def _pitfalls(data: PaperData) -> str:
    (table,) = pitfall_tables(data.document, pitfall_records(data.document, data.facts))
    key, name, here, why = table.columns
    columns = [
        key,
        replace(name, latex=_ragged(95)),
        replace(here, latex=_ragged(62)),
        replace(why, latex=_ragged(270)),
    ]
    caption = f"Pitfalls of such comparisons{escape(flags(data.document))}, judged by rule from what is stored."
    text = f"Table~\\ref{{tab:pitfalls-a}} is the checklist of known pitfalls{cite(CHECKLIST)}.\n"
    return text + floats("pitfalls", replace(table, columns=columns), caption)


def _ragged(points: int) -> str:
    """A column of text of this width."""
    return rf">{{\raggedright\arraybackslash}}p{{{points}pt}}"


Figures = dict[str, tuple[bytes, float]]  # Path → PDF, and its width in inches.


def _figures(board: Board) -> Figures:
    """A forest plot where there are means, and the matrix of the first row that has one."""
    warning = flags(board).removeprefix(" · ")
    found: Figures = {}
    if rows := forest_rows(board):
        axis = f"{ranking_summary(board).replace('_', ' ')} of {metric_name(board['metric'])}"
        shown = [replace(row, label=latin(row.label)) for row in rows]
        found["figures/forest.pdf"] = forest_plot(shown, axis, "pdf", warning), 7.0
    if row := next(filter(has_numbers, board["rows"]), None):
        sources, targets = (list(dict.fromkeys(cell[end] for cell in row["cells"])) for end in ("source", "target"))
        means = {(cell["source"], cell["target"]): cell["mean"] for cell in row["cells"]}
        matrix = np.array([[means.get((source, target)) for target in targets] for source in sources], dtype=np.float64)
        name, ends = latin(row["detector"]), ([*map(latin, sources)], [*map(latin, targets)])
        matrices = Matrices(matrix, matrix, (name, name), *ends, metric_name(board["metric"]))
        found["figures/matrix.pdf"] = cross_heat_map(matrices, "pdf", warning), 2.0 + 0.42 * len(targets)
    return found


def _figures_text(board: Board, figures: Figures) -> str:
    first = next((row["detector"] for row in board["rows"] if has_numbers(row)), "")
    captions = {
        "figures/forest.pdf": "Means with both 95\\,\\% intervals, and the gain over the target-only control.",
        "figures/matrix.pdf": f"{code(first)}: {escape(metric_name(board['metric']))} of each source and target.",
    }
    lines = []
    for name, (_, width) in figures.items():
        wide = "*" if width > ONE_COLUMN else ""
        lines += [
            rf"\begin{{figure{wide}}}[tbp]",
            r"\centering",
            rf"\includegraphics[width={min(width, 7.0):.2f}in,height=.85\textheight,keepaspectratio]{{{name}}}",
            rf"\caption{{{captions[name]}{escape(flags(board))}}}",
            rf"\end{{figure{wide}}}",
        ]
    return "\n".join([*lines, ""])
