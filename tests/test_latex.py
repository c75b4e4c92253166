"""The LaTeX forms: structure by a small reader of our own, and compiled where an engine is installed."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reports.plugin import janus_bench_renderers
from reports.published.table import published_table
from reports.render.latex import PREAMBLE, escape, latex_published, latex_tables, render_latex
from reports.tables.details import Operations, with_details
from reports.tables.intervals import with_statistics
from reports.tables.model import text_table
from tests.test_leaderboard import PAIRS, Planted, planted

ENGINE = next((name for name in ("tectonic", "pdflatex") if shutil.which(name)), None)
SPECIAL = set("&%$#_{}~^<>|[]\\")


def documents() -> dict[str, str]:
    table = planted()
    published = published_table(None, {"janus", "shafir"})
    measured = {
        "metric": "auroc",
        "rows": [{"detector": "janus", "cells": [published_cell("cicids2017"), published_cell("cicddos2019")]}],
    }
    return {
        "leaderboard": render_latex(table.document(), 80, False),
        "intervals": render_latex(with_statistics(table.document(), statistics(table)), 80, False),
        "stability": render_latex(
            with_details(table.document(), "stability", (), Operations(1, (0.1,), 600)), 80, False
        ),
        "synthetic": render_latex(table.document(synthetic=("site_a", "site_b")), 80, False),
        "published": latex_published(published),
        "published beside measured": latex_published(published_table(measured, {"janus"})),
    }


def statistics(table: Planted) -> dict[str, Any]:
    """Intervals and a tie group for the first detector, a reason for every other one."""
    numbers = {
        "low": 0.5,
        "high": 0.75,
        "reason": "",
        "group": "a",
        "low_these": None,
        "high_these": None,
        "reason_these": "one capture",
    }
    found = {"alpha": {**numbers, "group_these": "a", "mean": 0.6, "cells": []}}
    absent = {"cross_mean": {label: "no such run" for label in table.detectors if label != "alpha"}}
    return {
        "metric": "auroc",
        "resamples": 9,
        "warning": None,
        "absent": absent,
        "summaries": {"cross_mean": {"detectors": found, "tests": [], "gains": {}}},
    }


def published_cell(name: str) -> dict[str, Any]:
    return {"source": name, "target": name, "metric": "auroc", "mean": 0.75, "std": None, "n_seeds": 1, "status": "ok"}


DOCUMENTS = documents()

# -- structure ---------------------------------------------------------------------------------------------------------


def columns_of(spec: str) -> int:
    """Number of columns of a ``tabular``: ``@{…}`` and ``>{…}`` are none, ``p{…}`` is one."""
    spec = re.sub(r"[@>]\{(?:[^{}]|\{[^{}]*\})*\}", "", spec)
    return len(re.findall(r"[lrc]|p\{[^}]*\}", spec))


def cells_of(row: str) -> int:
    """Columns that a row fills: separators outside braces, ``\\multicolumn`` counted with its width."""
    depth, separators, previous = 0, 0, ""
    for character in row:
        if previous != "\\":
            depth += (character == "{") - (character == "}")
            separators += character == "&" and depth == 0
        previous = "" if previous == "\\" and character == "\\" else character
    return separators + 1 + sum(int(width) - 1 for width in re.findall(r"\\multicolumn\{(\d+)\}", row))


@pytest.mark.parametrize("name", DOCUMENTS)
def test_environments_are_balanced_and_every_row_has_all_columns(name: str) -> None:
    stack: list[str] = []
    widths: list[int] = []
    rows = 0
    for line in DOCUMENTS[name].splitlines():
        for kind, environment in re.findall(r"\\(begin|end)\{(\w+)\}", line):
            if kind == "begin":
                stack.append(environment)
            else:
                assert stack.pop() == environment
        if line.startswith(r"\begin{tabular}"):
            widths.append(columns_of(line.removeprefix(r"\begin{tabular}")[1:-1]))
        elif stack and stack[-1] == "tabular" and line.endswith(r"\\"):
            assert cells_of(line[:-2]) == widths[-1], line
            rows += 1
        unescaped = re.sub(r"\\[{}\\]", "", line)
        assert unescaped.count("{") == unescaped.count("}"), line
    assert not stack
    assert rows > 10


@pytest.mark.parametrize("name", DOCUMENTS)
def test_the_text_is_ascii_so_that_every_engine_has_its_glyphs(name: str) -> None:
    assert DOCUMENTS[name].isascii()
    assert DOCUMENTS[name].splitlines()[0] == f"% preamble: {PREAMBLE}"


@pytest.mark.parametrize("name", DOCUMENTS)
def test_labels_are_unique_in_a_document(name: str) -> None:
    labels = re.findall(r"\\label\{([^}]*)\}", DOCUMENTS[name])
    assert len(labels) == len(set(labels)) > 1


@pytest.mark.parametrize("name", DOCUMENTS)
def test_it_compiles(name: str, tmp_path: Path) -> None:
    if ENGINE is None:
        pytest.skip("neither tectonic nor pdflatex is installed: only the structure was checked")
    document = tmp_path / "document.tex"
    document.write_text(
        "\n".join([r"\documentclass{article}", PREAMBLE, r"\begin{document}", DOCUMENTS[name], r"\end{document}"])
    )
    options = ["-interaction=nonstopmode", "-halt-on-error"] if ENGINE == "pdflatex" else []
    done = subprocess.run([ENGINE, *options, document.name], cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    assert document.with_suffix(".pdf").stat().st_size > 1000


# -- text --------------------------------------------------------------------------------------------------------------

MACROS = {
    r"\textbackslash{}": "\\",
    r"\textasciitilde{}": "~",
    r"\textasciicircum{}": "^",
    r"\textless{}": "<",
    r"\textgreater{}": ">",
}
MACROS |= {r"\textbar{}": "|", "{[}": "[", "{]}": "]", "$-$": "-", "''": '"'} | {
    rf"\{character}": character for character in "&%$#_{}"
}


def read(latex: str) -> str:
    """The characters that the LaTeX prints, by a reader that knows these few macros and nothing of how they were
    written."""
    pattern = "|".join(re.escape(macro) for macro in sorted(MACROS, key=len, reverse=True))
    pieces = re.split(f"({pattern})", latex)
    for piece in pieces:
        assert piece in MACROS or not set(piece) & SPECIAL, f"{piece!r} is not plain text"
    return "".join(MACROS.get(piece, piece) for piece in pieces)


@given(st.text(st.sampled_from("ab1.-=, '&%$#_{}~^<>|[]\\"), max_size=40).filter(lambda text: "''" not in text))
def test_escaped_text_prints_as_it_was(text: str) -> None:
    assert read(escape(text)) == text


def test_signs_become_minus_and_hyphens_stay() -> None:
    assert escape("-.031") == "$-$.031"
    assert escape("sink-horn 1e-3 CIC-IDS2017") == "sink-horn 1e-3 CIC-IDS2017"
    assert escape(".912±.010") == r".912$\pm$.010"
    assert escape("two\nlines", "l") == r"\shortstack[l]{two\\lines}"


# -- content -----------------------------------------------------------------------------------------------------------


def test_the_renderer_is_registered() -> None:
    (latex,) = (renderer.render for renderer in janus_bench_renderers() if renderer.name == "latex")
    document = planted().document()
    assert latex(document, 80, False) == render_latex(document, 80, False)


def test_the_leaderboard_has_every_detector_number_problem_and_note() -> None:
    document = planted().document()
    latex = render_latex(document, 80, False)
    for row in document["rows"]:
        assert rf"\texttt{{{escape(row['detector'])}" in latex
    for row in document["rows"]:
        for cell in row["cells"]:
            if cell["mean"] is not None:
                assert f"{cell['mean']:.3f}".removeprefix("0") in latex
    for words in ("exceeded 30m", "more than 8G", "not run yet", *map(escape, document["notes"])):
        assert words in latex


def matrix_rows(latex: str, detector: str) -> list[list[str]]:
    part = latex.split(rf"\caption{{\texttt{{{detector}}}")[1].split(r"\end{table}")[0]
    body = part.split(r"\midrule")[1]
    return [[cell.strip() for cell in line[:-2].split("&")][1:] for line in body.splitlines() if line.endswith(r"\\")]


def two_by_two(values: tuple[float, ...]) -> str:
    table = Planted()
    table.detector("alpha")
    for pair, value in zip(PAIRS, values, strict=True):
        table.add("alpha", *pair, 1, value)
    return render_latex(table.document(), 80, False)


def test_the_diagonal_is_italic_and_the_highest_of_each_column_bold() -> None:
    rows = matrix_rows(two_by_two((0.9, 0.75, 0.5, 0.625)), "alpha")
    assert rows == [[r"\textbf{\textit{.900}}", r"\textbf{.750}"], [".500", r"\textit{.625}"]]


def test_nothing_is_bold_in_a_column_of_equal_numbers() -> None:
    rows = matrix_rows(two_by_two((0.5, 0.75, 0.5, 0.625)), "alpha")
    assert rows == [[r"\textit{.500}", r"\textbf{.750}"], [".500", r"\textit{.625}"]]


def test_the_tables_of_the_literature_keep_their_form() -> None:
    latex = DOCUMENTS["published"]
    assert r"GANomaly & ACCV 2018 & 82.75 $\pm$ 5.6 $^{\dagger}$ & --- & --- & --- \\" in latex
    own = (
        r"\textbf{JANUS} & --- & \textbf{98.26 $\pm$ 0.35} & \textbf{99.18 $\pm$ 0.05} & \textbf{95.90 $\pm$ 0.22} "
        r"& \textbf{99.09 $\pm$ 0.13} \\"
    )
    assert own in latex
    assert (
        latex.index(r"\emph{reported only}")
        < latex.index("GANomaly &")
        < latex.index(r"\emph{built here, too}")
        < latex.index("Shafir NF + Shapley &")
    )
    row = r"CIC-DDoS2019 & 0.9413 $\pm$ 0.0212 & \textbf{\textit{0.9918 $\pm$ 0.0005}} & 0.8767 $\pm$ 0.0068 \\"
    assert row in latex
    assert (
        r"\quad \texttt{janus} & measured here & 75.00 & 75.00 & --- & --- \\" in DOCUMENTS["published beside measured"]
    )


def test_a_wide_table_spans_both_columns_of_an_article_and_many_of_them_compile(tmp_path: Path) -> None:
    """LaTeX loses floats where a hundred wait for a page; a row more than a page of rows makes each table two."""
    wide = text_table("wide", [str(place) for place in range(7)], [["1"] * 7] * 49)
    narrow = text_table("narrow", [str(place) for place in range(6)], [["1"] * 6])
    text = latex_tables("many", "heading", [narrow, *[wide] * 55], [])
    assert text.count(r"\begin{table*}[htbp]") == text.count(r"\end{table*}") == 110
    assert text.count(r"\begin{table}") == 1
    assert "% tables of more than 6 columns are table*" in text
    if ENGINE == "pdflatex":
        main = ["\\documentclass[twocolumn]{article}", PREAMBLE, "\\begin{document}", text, "\\end{document}"]
        (tmp_path / "main.tex").write_text("\n".join(main), encoding="ascii")
        command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "main.tex"]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=120)
        assert done.returncode == 0, done.stdout[-2000:]


def test_a_heading_is_divided_where_its_parts_are_whole() -> None:
    table = text_table("", ["source → target", "these datasets 95 %", "95 %, others"], [])
    shown = [column.heading_in("latex") for column in table.columns]
    assert shown == ["source → target", "these\ndatasets\n95 %", "95 %,\nothers"]
