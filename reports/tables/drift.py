"""The table of days: what becomes of a detector that was calibrated once.  Standard library only."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import cast

from reports.tables.document import Board, DayRecord
from reports.tables.evidence import CONTROL, DayEvidence
from reports.tables.fields import bounds, cell_name, count, flags, grouped, listed, name_of, number, share
from reports.tables.model import Table, text_table

DRIFT_NOTES = (
    (
        "fixed: calibrated once, by the protocol drift on the earliest day; again: aggregator and τ from the benign "
        "flows of the day before (its first and its second half; of the first tested day as fixed), nothing trained; a "
        "detector's own memory bank stays as it was"
    ),
    (
        "chance: the share of benign flows above τ that the calibration flows let one expect, 99 %, if flows of all "
        "days were exchangeable; a day outside it is marked"
    ),
)


def day_records(document: Board, cells: Sequence[DayEvidence]) -> list[DayRecord]:
    """By detector as ranked, then target, then source, the target-only control last; then threshold and day."""
    place = {row["detector"]: position for position, row in enumerate(document["rows"])}
    dataset = {name: position for position, name in enumerate([*document["datasets"], CONTROL])}
    ordered = sorted(cells, key=lambda cell: (place[cell.detector], dataset[cell.target], dataset[cell.source]))
    return [
        cast("DayRecord", {**asdict(cell), "source": cell.source or None, "drift": _side(cell)}) for cell in ordered
    ]


def _side(cell: DayEvidence) -> str:
    """On which side of what chance allows a day is, or an empty string."""
    if cell.fpr is None or cell.low is None or cell.high is None:
        return ""
    return "above" if cell.fpr > cell.high else "below" if cell.fpr < cell.low else ""


def day_tables(document: Board, records: Sequence[DayRecord]) -> list[Table]:
    """One per cell and threshold, since each has rates of its own, and why a threshold does not exist."""
    names = {row["detector"]: name_of(row) for row in document["rows"]}
    header = (
        "detector",
        "day",
        "benign",
        "attack",
        "FPR fixed",
        "chance",
        "",
        "FPR again",
        "AUROC fixed",
        "AUROC again",
    )
    tables = []
    for (where, threshold), own in grouped(
        ((cell_of(r["source"], r["target"]), r["threshold"]), r) for r in records
    ).items():
        rows = [
            (
                *(names[day["detector"]], day["day"], count(day["n_benign"]), count(day["n_attack"])),
                *(share(day["fpr"]), bounds(share(day["low"]), share(day["high"])), day["drift"]),
                *(share(day["recalibrated"]), number(day["auroc"]), number(day["auroc_recalibrated"])),
            )
            for day in own
            if not day["reason"]
        ]
        if rows:
            title = f"{where}: day by day, τ = {threshold} of calibration flows{flags(document)}"
            tables.append(text_table(title, header, rows, left=2))
    refused = [
        (names[label], f"{where}, {threshold}", text)
        for (label, where, threshold), own in grouped(
            ((r["detector"], cell_of(r["source"], r["target"]), r["threshold"]), r) for r in records
        ).items()
        if (text := own[0]["reason"] or _too_few_before(own))
    ]
    refused = [
        (listed(who, len(names), "rows"), *rest)
        for rest, who in grouped((line[1:], line[0]) for line in refused).items()
    ]
    if refused:
        tables.append(text_table(f"Refused{flags(document)}", ("detector", "what", "why"), refused, left=2, notes=1))
    return tables


def cell_of(source: str | None, target: str) -> str:
    """The network alone, where it is also the source, as it always is in the protocol ``drift``."""
    return target if source == target else cell_name(source, target)


def _too_few_before(days: Sequence[DayRecord]) -> str:
    """On which days there is no threshold from the day before."""
    without = [day["day"] for day in days if day["recalibrated_reason"]]
    return f"again: too few flows on the day before {listed(without)}" if without else ""
