"""Registers the built-in renderers the way a third-party plugin would."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from janus_bench.extensions import Renderer, hookimpl


@hookimpl
def janus_bench_renderers() -> Iterable[Renderer]:
    from reports.render.latex import render_latex
    from reports.render.text import (
        render_csv,
        render_json,
        render_markdown,
        render_parquet,
    )

    return (
        Renderer("table", "For a terminal: leaderboard, matrices, partitions and notes.", _table),
        Renderer("markdown", "The same as GitHub tables.", render_markdown),
        Renderer("csv", "One line per cell, with every setting.", render_csv),
        Renderer("json", "The document, for programs.", render_json),
        Renderer("parquet", "The lines of csv as a Parquet file, for -o.", render_parquet, binary=True),
        Renderer("latex", "Tables for a paper (booktabs), to be read with \\input.", render_latex),
    )


def _table(document: Mapping[str, Any], width: int, color: bool) -> str:
    from reports.render.terminal import render_table  # rich is not needed to list the formats

    return render_table(document, width, color)
