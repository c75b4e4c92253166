"""The tables behind the results: parts of the datasets, audits, versions, every run."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from reports.published.render import all_tables
from reports.render.html.cells import for_report, left, numeric, right, text
from reports.render.html.evidence import ReportData, RunRow
from reports.render.html.results import detector_numbers, source_name
from reports.tables.boards import parts_table
from reports.tables.fields import NONE, aggregators_of, count, flags, in_order, name_of, number, params_of, seconds, share
from reports.tables.model import Cell, Row, Table

__all__ = ["AuditSection", "audits", "dataset_table", "environment_table", "hash_table", "params_table", "published_tables", "run_table"]


def dataset_table(data: ReportData) -> Table:
    """Sizes of the parts, as every renderer shows them; what they mean is a hint on the page."""
    return replace(for_report(parts_table(data.first)), notes=())


@dataclass(frozen=True)
class AuditSection:
    """findings: (severity, text), the gravest first as they were given; None where there is no audit."""

    dataset: str
    notes: list[str]
    findings: list[tuple[str, str]] | None
    tables: list[Table]


# a measure's unit → how its value is written
UNITS: Mapping[str, Callable[[float], str]] = {"auroc": number, "share": share, "count": count}


def audits(data: ReportData) -> list[AuditSection]:
    """One per dataset; without an audit its ``findings`` are None."""
    views = []
    for name, info in data.first["datasets_info"].items():
        audit = data.audits.get(name)
        findings = None if audit is None else [(str(finding["severity"]), str(finding["text"])) for finding in audit.get("findings", ())]
        tables = [] if audit is None else [_audit_table(data, name, table) for table in audit.get("tables", ())]
        if audit is not None and audit.get("measures"):
            tables.insert(0, _measures(data, name, audit["measures"]))
        views.append(AuditSection(name, list(info["notes"]), findings, tables))
    return views


def _measures(data: ReportData, dataset: str, measures: Sequence[Mapping[str, Any]]) -> Table:
    rows = []
    for measure in measures:
        value = measure["value"]
        detail = ", ".join(f"{name} {_detail(found)}" for name, found in measure["detail"].items())
        shown = NONE if value is None else UNITS[measure["unit"]](value)
        rows.append(Row([text(measure["what"], "l wide", head=True), numeric(shown, value), text(detail, "l wide")]))
    return Table(f"{dataset} · audit{flags(data.first)}", [left("Measured"), right("Value"), left("Detail")], rows)


def _detail(value: object) -> str:
    return NONE if value is None else share(value) if isinstance(value, float) else str(value)


def _audit_table(data: ReportData, dataset: str, table: Mapping[str, Any]) -> Table:
    columns = [right(str(column)) if place else left(str(column)) for place, column in enumerate(table["columns"])]
    rows = [Row([_audit_cell(value, place) for place, value in enumerate(values)]) for values in table["rows"]]
    return Table(f"{dataset} · {table.get('title', 'audit')}{flags(data.first)}", columns, rows)


def _audit_cell(value: Any, place: int) -> Cell:
    if value is None:
        return text(NONE, "n")
    if isinstance(value, int | float) and not isinstance(value, bool):
        return Cell(f"{value:,}" if isinstance(value, int) else f"{value:.4g}", float(value), css="n", head=not place)
    return text(str(value), "l", head=not place)


def published_tables(data: ReportData) -> list[Table]:
    """The literature, as printed there: never ranked, never sorted among measured rows."""
    tables = []
    for table in all_tables(data.published):
        dressed = for_report(table)
        rows = [replace(row, cells=[replace(row.cells[0], head=True), *row.cells[1:]]) for row in dressed.rows]
        tables.append(replace(dressed, rows=rows, sortable=False))
    return tables


def hash_table(data: ReportData) -> Table:
    rows = [Row([text(name, head=True), text(data_hash, "l c")]) for name, data_hash in data.hashes.items()]
    return Table(f"Data{flags(data.first)}", [left("Dataset"), left("SHA-256 of the flow store")], rows, sortable=False)


def environment_table(data: ReportData) -> Table:
    """A column per environment that rows recorded: results of several machines are seen as such."""
    names = in_order(name for environment in data.environments for name in environment.values)
    columns = [left(""), *(left(f"Environment {place}", f"{env.runs} runs") for place, env in enumerate(data.environments, 1))]
    rows = [Row([text(name, head=True), *(text(env.values.get(name, NONE), "l c") for env in data.environments)]) for name in names]
    if "commit" not in names:
        rows.append(Row([text("commit", head=True), *(text("not recorded", "l") for _ in data.environments)]))
    return Table(f"Versions and machine{flags(data.first)}", columns, rows, sortable=False)


def params_table(data: ReportData) -> Table:
    """Detectors with their resolved parameters and the aggregator."""
    numbers = detector_numbers(data)
    rows = []
    for row in data.first["rows"]:
        versions = ", ".join(in_order(run.version for run in data.runs if run.detector == row["detector"] and run.version))
        cells = [text(name_of(row), "d", head=True), *(text(value or NONE, "l") for value in (versions, aggregators_of(row), params_of(row)))]
        rows.append(Row(cells, detector=numbers[row["detector"]]))
    columns = [left("Detector"), left("Version"), left("Aggregator"), left("Parameters")]
    return Table(f"Detectors{flags(data.first)}", columns, rows, sortable=False)


def run_table(data: ReportData) -> Table:
    """Every expected run."""
    numbers = detector_numbers(data)
    names = ("Run", "Detector", "Source", "Target", "Seed", "Status", "Attempt", "Fit s", "Finished", "Reason")
    columns = [right(name) if name in ("Seed", "Attempt", "Fit s") else left(name) for name in names]
    return Table(f"Every run{flags(data.first)}", columns, [_run_row(run, numbers.get(run.detector)) for run in data.runs], css="runs")


def _run_row(run: RunRow, detector: int | None) -> Row:
    cells = [
        text(run.key, "c", head=True),
        *(text(value) for value in (run.detector, source_name(run.source), run.target)),
        text(str(run.seed), "n"),
        text(run.status, "" if run.status == "ok" else "bad"),
        text(NONE if run.attempt is None else str(run.attempt), "n"),
        text(seconds(run.cost.get("fit_s")), "n"),
        *(text(value or NONE) for value in (run.finished[:19].replace("T", " "), run.reason)),
    ]
    return Row(cells, detector=detector)
