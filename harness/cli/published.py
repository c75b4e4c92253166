"""``janus-bench published``: numbers of the literature beside the measured rows of a results folder, if one is
named."""

import json
from pathlib import Path
from typing import Annotated, Literal

import typer

from harness.cli import completing, console, leaderboard
from janus_bench import plugins


def published(
    runs: Annotated[
        Path | None, typer.Option("--runs", help="Show measured rows of this results folder beside them.")
    ] = None,
    protocol: Annotated[
        str,
        typer.Option(
            autocompletion=completing.protocol, help="Of the results folder; default: the protocol that was run last."
        ),
    ] = "",
    output: Annotated[Literal["table", "markdown", "latex", "json"], typer.Option("--format")] = "table",
) -> None:
    """Numbers of the literature with their protocols and footnotes, never ranked.  Methods that are not built are
    `reported only`."""
    from reports.published.render import published_markdown, published_text
    from reports.published.table import published_table
    from reports.render.latex import latex_published

    document = (
        None if runs is None else console.cleaned(leaderboard.document(leaderboard.read(runs, protocol), "auroc"))
    )
    table = published_table(document, set(plugins.detector_entries()))
    write = {
        "table": lambda: published_text(table, console.width(), console.color()),
        "markdown": lambda: published_markdown(table),
        "latex": lambda: latex_published(table),
        "json": lambda: json.dumps(table, indent=1, ensure_ascii=False, allow_nan=False),
    }
    console.out(write[output](), as_json=output == "json")
