"""One model of tables: what a builder puts into it stands in every form, and a new leaderboard column is one entry."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest

from reports.plugin import janus_bench_renderers
from reports.render.html.cells import for_report
from reports.render.layout import printed, wrap_between
from reports.render.listing import fitted_table
from reports.render.text import markdown_table
from reports.tables import boards
from reports.tables.boards import BoardColumn, leaderboard_table
from reports.tables.document import Board, BoardRow
from reports.tables.model import Cell, Column, Table, TableRow, text_table
from tests.rendering import whole
from tests.test_leaderboard import planted

FORMS = ("table", "markdown", "latex")


def test_an_entry_is_a_column_of_every_form(monkeypatch: pytest.MonkeyPatch) -> None:
    """The number of versions, which no form shows by itself; it has a heading in the report, too."""
    known: Callable[..., list[BoardColumn]] = boards.leaderboard_columns

    def one_more(document: Board, beside: list[tuple[str, Board]] | None = None) -> list[BoardColumn]:
        def versions(row: BoardRow) -> Cell:
            return Cell(f"{1000 + len(row['versions'])}v")

        return [BoardColumn("releases", "Releases", versions), *known(document, beside or [])]

    monkeypatch.setattr(boards, "leaderboard_columns", one_more)
    document = planted().document()
    for renderer in janus_bench_renderers():
        if renderer.name in FORMS:
            text = whole(renderer)(document, 200, False)
            assert isinstance(text, str)
            assert "releases" in text
            assert len(re.findall(r"100\dv", text)) == len(document["rows"])
    report = for_report(leaderboard_table(document, "report"))
    place = [column.heading_in("html") for column in report.columns].index("Releases")
    assert all(row.cells[place].text.startswith("100") for row in report.rows)


def test_a_wide_table_continues_below_with_its_first_columns_and_loses_nothing() -> None:
    table = text_table(
        "Many",
        ["who", *(f"column {place}" for place in range(20))],
        [[name, *(f"{name}{n}" for n in range(20))] for name in "ab"],
    )
    text = printed([fitted_table(table, 50)], 50, False)
    assert all(len(line) <= 50 for line in text.split("\n"))
    assert {f"{name}{n}" for name in "ab" for n in range(20)} <= set(text.split())
    assert text.count("who") == sum(line.startswith("a ") for line in text.split("\n")) > 1


def test_a_row_is_named_by_all_its_labels_wherever_its_numbers_stand() -> None:
    """Short labels are repeated in every part, an empty line between the parts; long ones stand once, and the numbers
    that are left over stand below them."""
    headings = ["who", "where", *(f"column {place}" for place in range(9))]
    for where, others in (
        ("left", "right"),
        ("one_long_name → another_long_name", "another_long_name → one_long_name"),
    ):
        rows = [["a", place, *(f"{place[0]}{n}" for n in range(9))] for place in (where, others)]
        text = printed([fitted_table(text_table("", headings, rows, left=2), 50)], 50, False)
        assert max(map(len, text.split("\n"))) <= 50
        for row in rows:
            begin = row[1].split()[0]
            parts = re.findall(rf"^a +{begin}(?:.|\n(?!a |who|\n))*", text, re.MULTILINE)
            assert set(row[2:]) <= set(" ".join(parts).split()), (row, text)
    table = text_table("", headings, [["a", "left", *"123456789"]], left=2)
    assert "\n\nwho  where  column" in printed([fitted_table(table, 50)], 50, False)


def test_a_word_of_a_text_is_moved_whole_before_it_is_broken() -> None:
    assert wrap_between("may be younger (--protocol time orders mixed_web)", 28) == (
        "may be younger (--protocol\ntime orders mixed_web)"
    )
    assert wrap_between("see the option --protocol", 17) == "see the option\n--protocol"
    assert wrap_between("iot_days → enterprise_windows", 20) == "iot_days →\nenterprise_windows"
    assert wrap_between("janus[history=300,window=5]", 20) == "janus[history=300,\nwindow=5]"


def test_only_columns_without_any_number_are_left_out() -> None:
    table = text_table("", ["who", "none", "some", "note"], [["a", "–", "–", "–"], ["b", "–", ".5", "–"]], notes=1)
    assert [column.heading for column in table.without_empty({0, 3}).columns] == ["who", "some", "note"]
    assert [[cell.text for cell in row.cells] for row in table.without_empty({0, 3}).rows] == [
        ["a", "–", "–"],
        ["b", ".5", "–"],
    ]


def test_markdown_keeps_labels_as_code_and_escapes_the_rest() -> None:
    rows = [
        TableRow([Cell("knn[k=5]", label=True), Cell(".9|1", 0.9)]),
        TableRow([Cell("control"), Cell("–")], baseline=True),
    ]
    table = Table("Title *", [Column("who", right=False), Column("a\nb")], rows, notes=["a note"])
    assert markdown_table(table) == [
        *(
            "### Title \\*",
            "",
            "| who | a b |",
            "| :-- | --: |",
            "| `knn[k=5]` | .9\\|1 |",
            "| *control* | – |",
            "",
            "a note",
            "",
        ),
    ]
