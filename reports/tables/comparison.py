"""What ``compare`` found as tables, and as records for the tidy form.  Standard library only."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from reports.tables.fields import NONE, count, metric_name, number, signed
from reports.tables.model import Table, text_table

if TYPE_CHECKING:
    from reports.statistics.compare import ComparedCell, ComparedMean, ComparedRows, Comparison

CELLS = ("source → target", "A", "B", "A − B", "95 %", "DeLong p", "Holm", "benign (captures)", "attack (captures)")
THESE, OTHERS = (tuple(f"{name}, {whose}" for name in ("95 %", "p", "Holm")) for whose in ("these", "others"))
MEANS = ("mean", "of A", "of B", "A − B", *THESE, *OTHERS)
RIVALS = ("B", "its regime", "seeds", "of A", "of B", "A − B", *THESE[::2])
WHOSE = " (these networks, others like them)"  # Behind the titles of tables whose headings are that short.
WHY = "why not"
SETTINGS = ("metric", "regime", "protocol", "profile", "split", "calibration")


def heading(document: Comparison) -> str:
    """What all tables of a comparison have in common."""
    return (
        f"{metric_name(document['metric'])}, {document['regime']}, {document['protocol']} ({document['profile']}, "
        f"{document['split']} split); difference = A − B, with 95 % intervals"
    )


def comparison_tables(document: Comparison) -> list[Table]:
    """The cells and the means of every pair; of a detector against rivals in their best regimes, the means alone."""
    if any("rival" in pair for pair in document["pairs"]):
        return _rivals(document)
    return [table for pair in document["pairs"] for table in (_cells(pair), _means(pair)) if table.rows]


def _cells(pair: ComparedRows) -> Table:
    seeds = ", ".join(map(str, pair["seeds"]))
    title = f"A = {pair['first']}, B = {pair['second']}, seeds {seeds}"
    rows = [_cell(row) for row in pair["cells"]]
    return _table(title, CELLS, rows, [row["reason"] for row in pair["cells"]])


def _means(pair: ComparedRows) -> Table:
    title = f"means of A = {pair['first']}, B = {pair['second']}{WHOSE}"
    return _table(title, MEANS, [_mean(row) for row in pair["means"]], [row["reason"] for row in pair["means"]])


def _rivals(document: Comparison) -> list[Table]:
    """A table per mean, with a line per rival."""
    tables = []
    pairs = document["pairs"]
    for summary in dict.fromkeys(mean["summary"] for pair in pairs for mean in pair["means"]):
        found = [(pair, mean) for pair in pairs for mean in pair["means"] if mean["summary"] == summary]
        others = any(mean["low"] is not None for _, mean in found)
        rows = []
        for pair, mean in found:
            numbers = [number(mean["first"]), number(mean["second"]), _signed(mean["difference"])]
            these = [_range(mean["low_these"], mean["high_these"]), _p(mean["p_these_holm"])]
            beside = [_range(mean["low"], mean["high"]), _p(mean["p_holm"])] if others else []
            seeds = ", ".join(map(str, pair["seeds"]))
            rows.append([pair["rival"], pair["regime"], seeds, *numbers, *these, *beside])
        word = summary.replace("_", " ")
        columns = (*RIVALS, *(OTHERS[::2] if others else ()))
        title = f"A = {pairs[0]['first']}, {word}{WHOSE if others else ''}"
        tables.append(_table(title, columns, rows, [mean["reason_these"] for _, mean in found]))
    return tables


def _table(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]], reasons: Sequence[str]) -> Table:
    """With a last column that says why numbers are missing, if any are."""
    if not any(reasons):
        return text_table(title, columns, rows)
    return text_table(
        title, [*columns, WHY], [[*row, reason] for row, reason in zip(rows, reasons, strict=True)], notes=1
    )


def _cell(row: ComparedCell) -> list[str]:
    counts = ((row["n_benign"], row["captures_benign"]), (row["n_attack"], row["captures_attack"]))
    flows = [NONE if flows is None else f"{count(flows)} ({captures})" for flows, captures in counts]
    numbers = (number(row["first"]), number(row["second"]), _signed(row["difference"]))
    tests = (_range(row["low"], row["high"]), _p(row["delong_p"]), _p(row["delong_p_holm"]))
    return [f"{row['source']} → {row['target']}", *numbers, *tests, *flows]


def _mean(row: ComparedMean) -> list[str]:
    these = (_range(row["low_these"], row["high_these"]), _p(row["p_these"]), _p(row["p_these_holm"]))
    others = (_range(row["low"], row["high"]), _p(row["p"]), _p(row["p_holm"]))
    numbers = (number(row["first"]), number(row["second"]), _signed(row["difference"]))
    return [row["summary"].replace("_", " "), *numbers, *these, *others]


def _signed(value: float | None) -> str:
    return NONE if value is None else signed(value)


def _range(low: float | None, high: float | None) -> str:
    return NONE if low is None or high is None else f"{signed(low)} … {signed(high)}"


def _p(value: float | None) -> str:
    return NONE if value is None else "< .001" if value < 0.001 else number(value)


def comparison_records(document: Comparison) -> list[Mapping[str, object]]:
    """One record per cell and per mean, in full precision, with every setting repeated; ``part`` tells them apart."""
    settings = {name: value for name, value in document.items() if name in SETTINGS}
    records: list[Mapping[str, object]] = []
    for pair in document["pairs"]:
        seeds = " ".join(map(str, pair["seeds"]))
        of = settings | {"row_a": pair["first"], "row_b": pair["second"], "seeds": seeds}
        for cell in pair["cells"]:  # its interval is for these datasets, as ``low_these`` of a mean
            low, high = cell["low"], cell["high"]
            shown = {name: value for name, value in cell.items() if name not in ("low", "high")}
            records.append(of | {"part": "cell", "low_these": low, "high_these": high} | shown)
        records += [of | {"part": "mean"} | mean for mean in pair["means"]]
    return records
