"""``janus-bench compare``: two detectors, one detector in two results folders, or one and its control, on the flows that they share."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from harness.cli import console
from harness.cli.leaderboard import find_metric, select_plans
from harness.cli.progress import PreparationProgress
from janus_bench.errors import UsageError
from janus_bench.params import split_requests
from reports.results.folder import RunStore
from reports.statistics.compare import compare
from reports.statistics.sides import (
    Measure,
    check_same_schema,
    check_same_table,
    sides_between,
    sides_with_controls,
    sides_within,
)

SUMMARY_NAMES = {"cross_mean": "cross mean", "within_mean": "within mean"}


def execute(runs_a: Path, runs_b: Path | None, protocol: str, detectors: str, output: str, metric: str = "auroc", control: bool = False) -> None:
    measure = Measure(*find_metric(metric))
    labels = split_requests(detectors)
    if control and runs_b is not None:
        raise UsageError("--control compares within one results folder: leave the second one out")
    if runs_b is None and not labels and not control:
        raise UsageError("name a second results folder, two detectors of this one with --detectors a,b, or --control")
    folders = [runs_a] if runs_b is None else [runs_a, runs_b]
    stores = [RunStore.open(folder) for folder in folders]
    check_same_schema(folders)
    tables = [(store, select_plans(store, protocol)) for store in stores]
    plan = tables[0][1][-1]
    if control:
        pairs = sides_with_controls(*tables[0], labels)
    elif runs_b is None:
        pairs = sides_within(*tables[0], labels)
    else:
        check_same_table(plan, tables[1][1][-1], (runs_a, runs_b))
        pairs = sides_between(tables[0], tables[1], labels)
    with PreparationProgress() as progress:
        document = compare(pairs, plan, measure, progress=progress)
    if output == "json":
        console.document(document, "json")
    else:
        _print(document)


def _print(document: Mapping[str, Any]) -> None:
    from reports.tables.fields import metric_name

    setting = f"{metric_name(document['metric'])}, {document['regime']}, {document['protocol']} ({document['profile']}, {document['split']} split)"
    columns = ["source → target", "A", "B", "A − B", "95 %", "DeLong p", "Holm", "benign (captures)", "attack (captures)"]
    for pair in document["pairs"]:
        seeds = ", ".join(map(str, pair["seeds"]))
        console.out(f"A = {pair['first']}\nB = {pair['second']}\n{setting}, seeds {seeds}; difference = A − B, 95 % interval for these datasets\n")
        _table(columns, [_cell(row) for row in pair["cells"]], [row["reason"] for row in pair["cells"]])
    rows = [(pair, row) for pair in document["pairs"] for row in pair["means"]]
    columns = ["mean", "A", "B", "A", "B", "A − B", "these datasets 95 %", "p", "Holm", "other datasets 95 %", "p", "Holm"]
    body = [[SUMMARY_NAMES[row["summary"]], pair["first"], pair["second"], *_mean(row)] for pair, row in rows]
    _table(columns, body, [row["reason"] for _, row in rows])
    for note in document["notes"]:
        console.out(f"note: {note}")


def _table(columns: list[str], rows: list[list[str]], reasons: list[str]) -> None:
    """With a last column that says why numbers are missing, if any are."""
    if any(reasons):
        columns, rows = [*columns, "why not"], [[*row, reason] for row, reason in zip(rows, reasons, strict=True)]
    console.table(columns, rows, "table")
    console.out("")


def _cell(row: Mapping[str, Any]) -> list[str]:
    flows = [f"{row[f'n_{kind}']} ({row[f'captures_{kind}']})" if row[f"n_{kind}"] is not None else "–" for kind in ("benign", "attack")]
    numbers = (_number(row["first"]), _number(row["second"]), _signed(row["difference"]), _range(row["low"], row["high"]))
    return [f"{row['source']} → {row['target']}", *numbers, _p(row["delong_p"]), _p(row["delong_p_holm"]), *flows]


def _mean(row: Mapping[str, Any]) -> list[str]:
    these = (_range(row["low_these"], row["high_these"]), _p(row["p_these"]), _p(row["p_these_holm"]))
    others = (_range(row["low"], row["high"]), _p(row["p"]), _p(row["p_holm"]))
    return [_number(row["first"]), _number(row["second"]), _signed(row["difference"]), *these, *others]


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"


def _signed(value: float | None) -> str:
    return "–" if value is None else f"{value:+.3f}"


def _range(low: float | None, high: float | None) -> str:
    return "–" if low is None or high is None else f"{low:+.3f} … {high:+.3f}"


def _p(value: float | None) -> str:
    """Three decimals; what is smaller says so."""
    return "–" if value is None else "< .001" if value < 0.001 else f"{value:.3f}"
