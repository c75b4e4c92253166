"""``janus-bench published``: numbers of the literature beside the measured rows of a results folder, if one is named."""

from __future__ import annotations

from pathlib import Path

from harness.cli import console, leaderboard
from janus_bench import plugins
from janus_bench.errors import unknown
from reports.results.model import Results

FORMATS = ("table", "markdown", "latex", "json")


def execute(runs: Path | None, protocol: str, output: str) -> None:
    import json

    from reports.published.render import published_markdown, published_text
    from reports.published.table import published_table
    from reports.render.latex import latex_published

    if output not in FORMATS:
        raise unknown("format", output, FORMATS)
    document = None
    if runs is not None:
        document = leaderboard.document(Results.open(runs, console.say).select(protocol), "auroc")
    table = published_table(document, set(plugins.detector_entries()))
    write = {
        "table": lambda: published_text(table, console.width(), console.color()),
        "markdown": lambda: published_markdown(table),
        "latex": lambda: latex_published(table),
        "json": lambda: json.dumps(table, indent=1, ensure_ascii=False, allow_nan=False),
    }
    console.out(write[output]())
