"""Options that several commands have, declared once, and how a command's examples are written."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from harness.cli import completing
from janus_bench.errors import UsageError

DEFAULT_RUNS = Path("runs")

Runs = Annotated[Path, typer.Option("--runs", envvar="JANUS_BENCH_RUNS", help="Folder of results.")]
ListFormat = Annotated[Literal["table", "json"], typer.Option("--format", help="Table for people, JSON for programs.")]
ProtocolName = Annotated[
    str, typer.Option("--protocol", autocompletion=completing.protocol, help="Default: the protocol that was run last.")
]
MetricName = Annotated[
    str,
    typer.Option(
        "--metric",
        autocompletion=completing.metric,
        help="See `janus-bench metric list`; add @2+ for flows of two or more packets, @site for the mean over sites.",
    ),
]
Replace = Annotated[bool, typer.Option("--replace", help="Replace the dataset of this name, if there is one.")]
DatasetName = Annotated[str, typer.Argument(autocompletion=completing.dataset, help="See `janus-bench data list`.")]
ModelFolder = Annotated[Path, typer.Argument(help="A model that fit, recalibrate or run left.")]
IdleTimeout = Annotated[float, typer.Option(help="Seconds without a packet that end a flow.")]
ActiveTimeout = Annotated[float | None, typer.Option(help="Seconds after which a flow is cut though it goes on.")]
TcpClose = Annotated[
    Literal["idle", "cicflowmeter"],
    typer.Option(help="idle: only timeouts end a flow; cicflowmeter: its first FIN too."),
]
RemoveMirrored = Annotated[
    bool, typer.Option("--remove-mirrored", help="Leave out the second copy of packets captured twice.")
]
Device = Annotated[Literal["auto", "cpu", "cuda"], typer.Option(envvar="JANUS_BENCH_DEVICE", help="Where models run.")]
Stream = Annotated[
    bool,
    typer.Option(
        "--stream/--no-stream",
        help="Keep the packet stream, 70 bytes a packet, for detectors of whole captures (kitsune).",
    ),
]


def shown_bytes(number: int) -> str:
    """``840 kB``, ``1.2 MB``, ``3.4 GB``."""
    if number < 1e6:
        return f"{number / 1e3:.0f} kB"
    return f"{number / 1e6:.1f} MB" if number < 1e9 else f"{number / 1e9:.1f} GB"


def examples(*commands: str) -> str:
    """An epilog that keeps its line breaks; what follows ``janus-bench`` is given."""
    return "\b\nExamples:\n" + "\n".join(f"  janus-bench {command}" for command in commands)


def chosen_device(asked: str, executor: str = "local") -> str:
    """``cpu`` or ``cuda``; UsageError where that is asked for and not there.  Whether another machine has a GPU, its
    executor is left to find out."""
    if asked == "cuda":
        from harness.executors.choice import is_elsewhere

        if is_elsewhere(executor):
            return "cuda"
    if asked == "cpu" or (asked == "auto" and not Path("/dev/nvidiactl").exists()):
        return "cpu"
    import torch

    if torch.cuda.is_available():
        return "cuda"
    if asked == "cuda":
        raise UsageError("--device cuda: torch finds no usable GPU on this machine; use --device auto or cpu")
    return "cpu"
