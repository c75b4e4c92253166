"""Registers the built-in renderers the way a third-party plugin would."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from importlib import import_module
from typing import Any

from janus_bench.extensions import Renderer, hookimpl


@hookimpl
def janus_bench_renderers() -> Iterable[Renderer]:
    return (
        Renderer("table", "For a terminal: leaderboard, matrices, partitions and notes.", _of("terminal", "table")),
        Renderer("markdown", "The same as GitHub tables.", _of("text", "markdown")),
        Renderer("csv", "One line per cell, with every setting.", _of("text", "csv"), records=True),
        Renderer("json", "The document, for programs.", _of("text", "json"), records=True),
        Renderer(
            "parquet",
            "The lines of csv as a Parquet file, for -o.",
            _of("text", "parquet"),
            binary=True,
            records=True,
        ),
        Renderer("latex", "Tables for a paper (booktabs), to be read with \\input.", _of("latex", "latex")),
    )


def _of(module: str, name: str) -> Callable[[Mapping[str, Any], int, bool], str | bytes | Iterator[str]]:
    """``reports.render.<module>.render_<name>``, which is not imported to list the formats."""

    def render(document: Mapping[str, Any], width: int, color: bool) -> str | bytes | Iterator[str]:
        drawn: str | bytes | Iterator[str] = getattr(import_module(f"reports.render.{module}"), f"render_{name}")(
            document, width, color
        )
        return drawn

    return render
