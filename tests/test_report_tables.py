"""What the report's tables leave out, and what their shades say."""

from __future__ import annotations

import re
from dataclasses import replace

from reports.render.html.drawing import source
from reports.render.html.results import SHADES, leaderboards
from tests.test_report import planted


def test_shades_of_matrices_are_stronger_and_farther_from_the_paper_the_better_in_both_themes() -> None:
    """The caption says so: a pale cell must not stand for a better number than a deep blue one."""
    style = source("style.css")
    for theme in (part.split("}")[0] for part in style.split("prefers-color-scheme: dark")[:2]):
        colors = {name: bytes.fromhex(value) for name, value in re.findall(r"--(paper|q\d): #(\w{6});", theme)}
        shades = [colors[f"q{place}"] for place in range(len(SHADES) + 1)]
        saturation = [1 - min(shade) / max(shade) for shade in shades]
        distance = [abs(sum(shade) - sum(colors["paper"])) for shade in shades]
        assert saturation == sorted(saturation)
        assert distance == sorted(distance)


def test_a_column_without_any_number_is_not_on_the_page() -> None:
    data = planted()
    board = data.first
    assert any("Cross worst" in column.heading_in("html") for column in leaderboards(data)[0].columns)
    rows = [{**row, "summary": {**row["summary"], "cross_worst": None}} for row in board["rows"]]
    shown = leaderboards(replace(data, documents={"auroc": {**board, "rows": rows}}))[0]
    assert not any(column.heading_in("html") == "Cross worst" for column in shown.columns)
    assert [column.heading_in("html") for column in shown.columns][-1] == "Status"
