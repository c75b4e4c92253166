"""``janus-bench compare``: two detectors, one detector in two results folders, or one and its control, on the flows
that they share."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from harness.cli import completing, console
from harness.cli.options import ListFormat, MetricName, ProtocolName
from harness.cli.progress import PreparationProgress
from janus_bench.errors import UsageError
from janus_bench.params import split_requests

if TYPE_CHECKING:
    from collections.abc import Callable

    from reports.statistics.compare import ComparedCell, ComparedMean, Comparison


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
    output: ListFormat = "table",
) -> None:
    """Differences between detectors on the same flows, with intervals.  Nothing is run."""
    from harness.cli.leaderboard import read
    from reports.results.model import measure_of
    from reports.statistics import compare as statistics

    measure = measure_of(metric)
    labels = split_requests(detectors)
    if control and best_regime:
        raise UsageError("--control and --best-regime are two comparisons: ask for one at a time")
    if (control or best_regime) and runs_b is not None:
        option = "--control" if control else "--best-regime"
        raise UsageError(f"{option} compares within one results folder: leave the second one out")
    if runs_b is None and not labels and not control and not best_regime:
        raise UsageError("name a second results folder, two detectors of this one with --detectors a,b, or --control")
    tables = [read(folder, protocol) for folder in (runs_a, runs_b) if folder is not None]
    if best_regime:
        from reports.statistics.regimes import compare_in_best_regime

        with PreparationProgress() as progress:
            best = compare_in_best_regime(tables[0], labels, measure, progress=progress)
        _show(best, _print_best, output)
        return
    if control:
        pairs = statistics.rows_with_baselines(tables[0], labels)
    elif runs_b is None:
        pairs = statistics.rows_within(tables[0], labels)
    else:
        pairs = statistics.rows_between(tables[0], tables[1], labels)
    with PreparationProgress() as progress:
        document = statistics.compare(pairs, tables[0], measure, progress=progress)
    _show(document, _print, output)


def _show(document: Comparison, printed: Callable[[Comparison], None], output: str) -> None:
    if output == "json":
        console.document(document, "json")
    else:
        printed(console.cleaned(document))


def _print_best(document: Comparison) -> None:
    """One line per rival and mean; the cells are in JSON."""
    from reports.tables.fields import metric_name

    console.out(
        f"A = {document['pairs'][0]['first']}\n{metric_name(document['metric'])}, {document['regime']}, "
        f"{document['protocol']} ({document['profile']}, {document['split']} split)\n"
    )
    for summary in dict.fromkeys(mean["summary"] for pair in document["pairs"] for mean in pair["means"]):
        rows = [(pair, mean) for pair in document["pairs"] for mean in pair["means"] if mean["summary"] == summary]
        others = any(mean["low"] is not None for _, mean in rows)
        columns = [f"B, {summary.replace('_', ' ')}", "regime of B", "seeds", "A", "B", "A − B", "these 95 %", "Holm"]
        columns += ["others 95 %", "Holm"] if others else []
        body = []
        for pair, mean in rows:
            numbers = [_number(mean["first"]), _number(mean["second"]), _number(mean["difference"], "+")]
            these = [_range(mean["low_these"], mean["high_these"]), _p(mean["p_these_holm"])]
            beside = [_range(mean["low"], mean["high"]), _p(mean["p_holm"])] if others else []
            seeds = ", ".join(map(str, pair["seeds"]))
            body.append([pair["rival"], pair["regime"], seeds, *numbers, *these, *beside])
        _table(columns, body, [mean["reason_these"] for _, mean in rows])
    for note in document["notes"]:
        console.out(f"note: {note}")


def _print(document: Comparison) -> None:
    from reports.tables.fields import metric_name

    setting = (
        f"{metric_name(document['metric'])}, {document['regime']}, {document['protocol']} ({document['profile']}, "
        f"{document['split']} split)"
    )
    columns = [
        "source → target",
        "A",
        "B",
        "A − B",
        "95 %",
        "DeLong p",
        "Holm",
        "benign (captures)",
        "attack (captures)",
    ]
    for pair in document["pairs"]:
        seeds = ", ".join(map(str, pair["seeds"]))
        console.out(
            f"A = {pair['first']}\nB = {pair['second']}\n{setting}, seeds {seeds}; difference = A − B, 95 % "
            "interval for these datasets\n"
        )
        _table(columns, [_cell(row) for row in pair["cells"]], [row["reason"] for row in pair["cells"]])
    rows = [(pair, row) for pair in document["pairs"] for row in pair["means"]]
    columns = [
        "mean",
        "A",
        "B",
        "A",
        "B",
        "A − B",
        "these datasets 95 %",
        "p",
        "Holm",
        "other datasets 95 %",
        "p",
        "Holm",
    ]
    body = [[row["summary"].replace("_", " "), pair["first"], pair["second"], *_mean(row)] for pair, row in rows]
    _table(columns, body, [row["reason"] for _, row in rows])
    for note in document["notes"]:
        console.out(f"note: {note}")


def _table(columns: list[str], rows: list[list[str]], reasons: list[str]) -> None:
    """With a last column that says why numbers are missing, if any are."""
    if any(reasons):
        columns, rows = [*columns, "why not"], [[*row, reason] for row, reason in zip(rows, reasons, strict=True)]
    console.table(columns, rows, "table")
    console.out("")


def _cell(row: ComparedCell) -> list[str]:
    counts = ((row["n_benign"], row["captures_benign"]), (row["n_attack"], row["captures_attack"]))
    flows = [f"{flows} ({captures})" if flows is not None else "–" for flows, captures in counts]
    numbers = (
        _number(row["first"]),
        _number(row["second"]),
        _number(row["difference"], "+"),
        _range(row["low"], row["high"]),
    )
    return [f"{row['source']} → {row['target']}", *numbers, _p(row["delong_p"]), _p(row["delong_p_holm"]), *flows]


def _mean(row: ComparedMean) -> list[str]:
    these = (_range(row["low_these"], row["high_these"]), _p(row["p_these"]), _p(row["p_these_holm"]))
    others = (_range(row["low"], row["high"]), _p(row["p"]), _p(row["p_holm"]))
    return [_number(row["first"]), _number(row["second"]), _number(row["difference"], "+"), *these, *others]


def _number(value: float | None, sign: str = "") -> str:
    return "–" if value is None else f"{value:{sign}.3f}"


def _range(low: float | None, high: float | None) -> str:
    return "–" if low is None or high is None else f"{low:+.3f} … {high:+.3f}"


def _p(value: float | None) -> str:
    return "–" if value is None else "< .001" if value < 0.001 else f"{value:.3f}"
