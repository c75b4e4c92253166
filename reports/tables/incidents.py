"""The table of incidents: what an operator sees of a detector's alerts (``protocols.incidents``).  Standard library
only."""

from collections.abc import Mapping, Sequence
from typing import cast

from reports.tables.document import Board, IncidentRecord
from reports.tables.evidence import CONTROL, INCIDENT_COUNTS, INCIDENT_ESTIMATES, Estimate, IncidentEvidence
from reports.tables.fields import (
    NONE,
    bounds,
    cell_name,
    flags,
    grouped,
    in_order,
    listed,
    name_of,
    number,
    seconds,
    whole,
)
from reports.tables.model import Table, text_table

INCIDENT_NOTES = (
    (
        "incident: a window of one initiating host in one capture with an alert, true if one of its alerts is an "
        "attack; a flow is in the window in which it ended, or in which its 64th packet came"
    ),
    (
        "campaign: attack flows of one family in one capture that are linked by shared hosts; found if one of them "
        "has an alert; share within 60 s: of all campaigns; seconds and flows until the first alert: medians of those "
        "found, – where a seed found none"
    ),
    (
        "false incidents a day: over the time in which flows were seen, until 300 s after their ends; τ of a budget "
        "is the smallest calibration score that keeps to it among threshold-calibration flows"
    ),
    (
        "95 %: captures and seeds drawn anew, paired over detectors; flows inside a capture are not, since they make "
        "incidents together"
    ),
)


def incident_records(document: Board, cells: Sequence[IncidentEvidence], window_s: float) -> list[IncidentRecord]:
    """By detector as ranked, then target, then source, the target-only baseline last."""
    place = {row["detector"]: position for position, row in enumerate(document["rows"])}
    dataset = {name: position for position, name in enumerate([*document["datasets"], CONTROL])}
    ordered = sorted(cells, key=lambda cell: (place[cell.detector], dataset[cell.target], dataset[cell.source]))
    return [_record(cell, window_s) for cell in ordered]


def _record(cell: IncidentEvidence, window_s: float) -> IncidentRecord:
    found: dict[str, object] = {
        "detector": cell.detector,
        "source": cell.source or None,
        "target": cell.target,
        "n_seeds": cell.n_seeds,
        "threshold": cell.threshold,
        "window_s": window_s,
    }
    found |= {name: cell.counts.get(name) for name in INCIDENT_COUNTS}
    for name in INCIDENT_ESTIMATES:
        of = cell.estimates.get(name, Estimate())
        found |= {name: of.value, f"{name}_low": of.low, f"{name}_high": of.high}
    found |= {"reason": cell.reason, "day_reason": cell.day_reason, "interval_reason": cell.interval_reason}
    return cast("IncidentRecord", found)


def incident_tables(document: Board, records: Sequence[IncidentRecord]) -> list[Table]:
    """One per threshold, and what is refused with the reason."""
    names = {row["detector"]: name_of(row) for row in document["rows"]}
    tables = []
    for threshold in in_order(record["threshold"] for record in records):
        own = [record for record in records if record["threshold"] == threshold and not record["reason"]]
        what = f"τ = {threshold} of calibration flows B" if threshold.startswith("P") else f"a budget of {threshold}"
        if own:
            tables += [
                text_table(
                    f"Campaigns, {what}{flags(document)}",
                    (*WHO, "campaigns", "found", "95 %", "in 60 s", "95 %", "first alert s", "95 %", "flows"),
                    [(names[at["detector"]], _cell(at), *_campaigns(at)) for at in own],
                    left=2,
                ),
                text_table(
                    f"Incidents, {what}{flags(document)}",
                    (*WHO, "true", "missed", "false", "hours", "false a day", "95 %", "alerts each", "95 %"),
                    [(names[at["detector"]], _cell(at), *_incidents(at)) for at in own],
                    left=2,
                ),
            ]
    refused = _refused(records, names)
    return [*tables, *([text_table(f"Refused{flags(document)}", REFUSED, refused, left=2, notes=1)] if refused else [])]


WHO = ("detector", "source → target")
REFUSED = (*WHO, "what", "why")


def _cell(record: IncidentRecord) -> str:
    return cell_name(record["source"], record["target"])


def _campaigns(at: IncidentRecord) -> tuple[str, ...]:
    return (
        _count(at["campaigns"]),
        _count(at["found"]),
        bounds(number(at["found_share_low"]), number(at["found_share_high"])),
        number(at["found_in_60s"]),
        bounds(number(at["found_in_60s_low"]), number(at["found_in_60s_high"])),
        seconds(at["seconds_to_alert"]),
        bounds(seconds(at["seconds_to_alert_low"]), seconds(at["seconds_to_alert_high"])),
        _count(at["flows_to_alert"]),
    )


def _incidents(at: IncidentRecord) -> tuple[str, ...]:
    return (
        _count(at["true_incidents"]),
        _count(at["missed_windows"]),
        _count(at["false_incidents"]),
        seconds(at["observed_hours"]),
        seconds(at["false_per_day"]),
        bounds(seconds(at["false_per_day_low"]), seconds(at["false_per_day_high"])),
        seconds(at["alerts_per_incident"]),
        bounds(seconds(at["alerts_per_incident_low"]), seconds(at["alerts_per_incident_high"])),
    )


def _refused(records: Sequence[IncidentRecord], names: Mapping[str, str]) -> list[tuple[str, str, str, str]]:
    """What has no number and why, once for all thresholds, cells and detectors that it is true of."""
    found = []
    for record in records:
        every = record["threshold"]
        for what, reason in (
            (every, record["reason"]),
            (f"{every}: false a day", record["day_reason"]),
            (f"{every}: 95 %", record["interval_reason"]),
        ):
            if reason:
                found.append(((_cell(record), what, reason), names[record["detector"]]))
    of_cells = grouped(((tuple(in_order(who)), what, why), cell) for (cell, what, why), who in grouped(found).items())
    lines = grouped(((who, tuple(cells), why), what) for (who, what, why), cells in of_cells.items())
    cells = len({_cell(record) for record in records})
    return [
        (listed(who, len(names), "rows"), listed(where, cells, "cells"), ", ".join(in_order(what)), why)
        for (who, where, why), what in lines.items()
    ]


def _count(value: float | None) -> str:
    """A mean of counts over seeds: whole where it is."""
    return NONE if value is None else whole(value) if value == round(value) else f"{value:,.1f}"
