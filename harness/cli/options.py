"""Options that several commands have, declared once, and how a command's examples are written."""

from pathlib import Path
from typing import Annotated, Literal

import typer

DEFAULT_RUNS = Path("runs")

Runs = Annotated[Path, typer.Option("--runs", envvar="JANUS_BENCH_RUNS", help="Folder of results.")]
ListFormat = Annotated[Literal["table", "json"], typer.Option("--format", help="Table for people, JSON for programs.")]
ProtocolName = Annotated[str, typer.Option("--protocol", help="Default: the protocol that was run last.")]
MetricName = Annotated[
    str,
    typer.Option(
        "--metric",
        help="See `janus-bench metric list`; add @2+ for flows of two or more packets, @site for the mean over sites.",
    ),
]
DatasetName = Annotated[str, typer.Argument(help="See `janus-bench data list`.")]
Stream = Annotated[
    bool,
    typer.Option(
        "--stream/--no-stream",
        help="Keep the packet stream, 70 bytes a packet, for detectors of whole captures (kitsune).",
    ),
]


def examples(*commands: str) -> str:
    """An epilog that keeps its line breaks; what follows ``janus-bench`` is given."""
    return "\b\nExamples:\n" + "\n".join(f"  janus-bench {command}" for command in commands)
