"""``janus-bench compare``: two detectors, one detector in two results folders, or one and its control, on the flows
that they share."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from harness.cli import completing, console
from harness.cli.options import MetricName, ProtocolName
from harness.cli.progress import PreparationProgress
from janus_bench.errors import DataError, UsageError
from janus_bench.params import split_requests

if TYPE_CHECKING:
    from reports.statistics.compare import Comparison


def compare(
    runs_a: Annotated[Path, typer.Argument(help="Folder of results.")],
    runs_b: Annotated[Path | None, typer.Argument(help="A second one; without it, two detectors of the first.")] = None,
    protocol: ProtocolName = "",
    detectors: Annotated[
        str, typer.Option(autocompletion=completing.detectors, help="Comma-separated: which to compare.")
    ] = "",
    control: Annotated[
        bool, typer.Option("--control", help="Each detector against its own target-only control.")
    ] = False,
    metric: MetricName = "auroc",
    best_regime: Annotated[
        bool,
        typer.Option(
            "--best-regime",
            help="The first of --detectors against the others, each in the regime that serves it best.",
        ),
    ] = False,
    output: Annotated[
        Literal["table", "markdown", "latex", "csv", "json"],
        typer.Option("--format", help="csv: a line per cell and per mean."),
    ] = "table",
) -> None:
    """Differences between detectors on the same flows, with intervals.  Nothing is run."""
    from harness.cli.leaderboard import read
    from reports.results.measures import measure_of
    from reports.statistics import compare as statistics

    measure = measure_of(metric)
    labels = split_requests(detectors)
    if control and best_regime:
        raise UsageError("--control and --best-regime are two comparisons: ask for one at a time")
    if (control or best_regime) and runs_b is not None:
        option = "--control" if control else "--best-regime"
        raise UsageError(f"{option} compares within one results folder: leave the second one out")
    if runs_b is None and not labels and not control and not best_regime:
        if not runs_a.is_dir():  # or it would be asked what of a folder that is not there is to be compared
            raise DataError(f"there is no folder {runs_a}: name one of results")
        raise UsageError("name a second results folder, two detectors of this one with --detectors a,b, or --control")
    tables = [read(folder, protocol) for folder in (runs_a, runs_b) if folder is not None]
    if best_regime:
        from reports.statistics.regimes import compare_in_best_regime

        with PreparationProgress() as progress:
            best = compare_in_best_regime(tables[0], labels, measure, progress=progress)
        _show(best, output)
        return
    if control:
        pairs = statistics.rows_with_baselines(tables[0], labels)
    elif runs_b is None:
        pairs = statistics.rows_within(tables[0], labels)
    else:
        pairs = statistics.rows_between(tables[0], tables[1], labels)
    with PreparationProgress() as progress:
        document = statistics.compare(pairs, tables[0], measure, progress=progress)
    _show(document, output)


def _show(document: Comparison, output: str) -> None:
    from reports.render import comparison

    if output == "json":
        console.document(document, "json")
        return
    cleaned = console.cleaned(document)
    write = {
        "table": lambda: comparison.comparison_text(cleaned, console.width()),
        "markdown": lambda: comparison.comparison_markdown(cleaned),
        "latex": lambda: comparison.comparison_latex(cleaned),
        "csv": lambda: comparison.comparison_csv(cleaned),
    }
    console.out(write[output]())
