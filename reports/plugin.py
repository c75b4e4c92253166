"""Registers the built-in renderers the way a third-party plugin would."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any, cast

from janus_bench.extensions import Renderer, hookimpl
from reports.tables.document import Board


@hookimpl
def janus_bench_renderers() -> Iterable[Renderer]:
    from reports.render.latex import render_latex
    from reports.render.text import render_csv, render_json, render_markdown, render_parquet

    return (
        Renderer("table", "For a terminal: leaderboard, matrices, partitions and notes.", _table),
        Renderer("markdown", "The same as GitHub tables.", _renderer(render_markdown)),
        Renderer("csv", "One line per cell, with every setting.", _renderer(render_csv)),
        Renderer("json", "The document, for programs.", _renderer(render_json)),
        Renderer("parquet", "The lines of csv as a Parquet file, for -o.", _renderer(render_parquet), binary=True),
        Renderer("latex", "Tables for a paper (booktabs), to be read with \\input.", _renderer(render_latex)),
    )


def _renderer(
    render: Callable[[Board, int, bool], str | bytes],
) -> Callable[[Mapping[str, Any], int, bool], str | bytes]:
    """A plugin's renderer is given a plain mapping; ours know its keys."""
    return cast("Callable[[Mapping[str, Any], int, bool], str | bytes]", render)


def _table(document: Mapping[str, Any], width: int, color: bool) -> str:
    from reports.render.terminal import render_table  # rich is not needed to list the formats

    return render_table(cast("Board", document), width, color)
