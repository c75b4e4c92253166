"""``janus-bench published``: numbers of the literature beside the measured rows of a results folder, if one is named."""

from __future__ import annotations

from pathlib import Path

from harness import plugins
from harness.cli import console, leaderboard
from harness.store import RunStore
from harness.suggest import unknown

FORMATS = ("table", "markdown", "latex", "json")


def execute(runs: Path | None, protocol: str, output: str) -> None:
    import json

    from reports.published import published_table
    from reports.render_latex import latex_published
    from reports.render_published import published_markdown, published_text

    if output not in FORMATS:
        raise unknown("format", output, FORMATS)
    document = None
    if runs is not None:
        store = RunStore.open(runs)
        document = leaderboard.document(store, leaderboard.select_plans(store, protocol), "auroc")
    table = published_table(document, set(plugins.detector_entries()))
    write = {
        "table": lambda: published_text(table, console.width(), console.color()),
        "markdown": lambda: published_markdown(table),
        "latex": lambda: latex_published(table),
        "json": lambda: json.dumps(table, indent=1, ensure_ascii=False, allow_nan=False),
    }
    console.out(write[output]())
