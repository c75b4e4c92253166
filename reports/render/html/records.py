"""The tables behind the results: parts of the datasets, audits, versions, every run."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from reports.published.render import blocks
from reports.render.html.evidence import CONTROL, ReportData, RunRow
from reports.render.html.results import CONTROL_NAME, detector_numbers
from reports.render.html.table import (
    Cell,
    Head,
    Row,
    Table,
    share,
    text,
)
from reports.tables.fields import (
    DATASETS,
    NONE,
    count,
    dataset_rows,
    flags,
    name_of,
    number,
    seconds,
    varying_params,
)

__all__ = ["AuditView", "audits", "dataset_table", "environment_table", "hash_table", "params_table", "published_tables", "run_table"]


def dataset_table(data: ReportData) -> Table:
    """Sizes of the parts, as every renderer shows them."""
    heads = [Head("Dataset", "l"), *(Head(field.header.replace("\n", " "), "" if field.right else "l") for field in DATASETS)]
    rows = []
    for row in dataset_rows(data.first):
        synthetic = "synthetic" if row.info["synthetic"] else ""
        rows.append(Row([Cell(row.name, small=synthetic, head=True), *(text(field.text(row), "n" if field.right else "l") for field in DATASETS)]))
    return Table(f"Flows of each part{flags(data.first)}", heads, rows, sortable=False)


@dataclass(frozen=True)
class AuditView:
    """findings: (severity, text), the gravest first as they were given; None where there is no audit."""

    dataset: str
    notes: list[str]
    findings: list[tuple[str, str]] | None
    tables: list[Table]


# a measure's unit → how its value is written
UNITS: Mapping[str, Callable[[float], str]] = {"auroc": number, "share": share, "count": count}


def audits(data: ReportData) -> list[AuditView]:
    """One per dataset; without an audit its ``findings`` are None."""
    views = []
    for name, info in data.first["datasets_info"].items():
        audit = data.audits.get(name)
        findings = None if audit is None else [(str(finding["severity"]), str(finding["text"])) for finding in audit.get("findings", ())]
        tables = [] if audit is None else [_audit_table(data, name, table) for table in audit.get("tables", ())]
        if audit is not None and audit.get("measures"):
            tables.insert(0, _measures(data, name, audit["measures"]))
        views.append(AuditView(name, list(info["notes"]), findings, tables))
    return views


def _measures(data: ReportData, dataset: str, measures: Sequence[Mapping[str, Any]]) -> Table:
    heads = [Head("Measured", "l"), Head("Value"), Head("Detail", "l")]
    rows = []
    for measure in measures:
        value = measure["value"]
        detail = ", ".join(f"{name} {_detail(found)}" for name, found in measure["detail"].items())
        shown = NONE if value is None else UNITS[measure["unit"]](value)
        rows.append(Row([text(measure["what"], "l wide", head=True), Cell(shown, value, css="n"), text(detail, "l wide")]))
    return Table(f"{dataset} · audit{flags(data.first)}", heads, rows)


def _detail(value: object) -> str:
    return NONE if value is None else share(value) if isinstance(value, float) else str(value)


def _audit_table(data: ReportData, dataset: str, table: Mapping[str, Any]) -> Table:
    heads = [Head(str(column), "" if place else "l") for place, column in enumerate(table["columns"])]
    rows = [Row([_audit_cell(value, place) for place, value in enumerate(values)]) for values in table["rows"]]
    return Table(f"{dataset} · {table.get('title', 'audit')}{flags(data.first)}", heads, rows)


def _audit_cell(value: Any, place: int) -> Cell:
    if value is None:
        return text(NONE, "n")
    if isinstance(value, int | float) and not isinstance(value, bool):
        return Cell(f"{value:,}" if isinstance(value, int) else f"{value:.4g}", float(value), css="n", head=not place)
    return text(str(value), "l", head=not place)


def published_tables(data: ReportData) -> list[Table]:
    """The literature, as printed there: never ranked, never sorted among measured rows."""
    tables = []
    for block in blocks(data.published):
        last = len(block.header) - block.notes
        heads = [Head(name, "l" if place < block.left or place >= last else "") for place, name in enumerate(block.header)]
        rows = [
            Row([text(value, "l" if place < block.left or place >= last else "n", head=not place) for place, value in enumerate(row)])
            for row in block.rows
        ]
        tables.append(Table(block.title, heads, rows, sortable=False))
    return tables


def hash_table(data: ReportData) -> Table:
    rows = [Row([text(name, head=True), text(data_hash, "l c")]) for name, data_hash in data.hashes.items()]
    return Table(f"Data{flags(data.first)}", [Head("Dataset", "l"), Head("SHA-256 of the flow store", "l")], rows, sortable=False)


def environment_table(data: ReportData) -> Table:
    """A column per environment that rows recorded: results of several machines are seen as such."""
    names = list(dict.fromkeys(name for environment in data.environments for name in environment.values))
    heads = [Head("", "l"), *(Head(f"Environment {place}", "l", hint=f"{env.runs} runs") for place, env in enumerate(data.environments, 1))]
    rows = [Row([text(name, head=True), *(text(env.values.get(name, NONE), "l c") for env in data.environments)]) for name in names]
    if "commit" not in names:
        rows.append(Row([text("commit", head=True), *(text("not recorded", "l") for _ in data.environments)]))
    return Table(f"Versions and machine{flags(data.first)}", heads, rows, sortable=False)


def params_table(data: ReportData) -> Table:
    """Detectors with their resolved parameters and the aggregator."""
    numbers = detector_numbers(data)
    rows = []
    for row in data.first["rows"]:
        versions = dict.fromkeys(run.version for run in data.runs if run.detector == row["detector"] and run.version)
        aggregators = dict.fromkeys(cell["aggregator"] for cell in row["cells"] if cell["aggregator"])
        params = [f"{name}={value}" for name, value in row["params"].items()] + [line for line in [varying_params(row)] if line]
        cells = [text(name_of(row), "d", head=True), *(text(", ".join(values) or NONE, "l") for values in (versions, aggregators, params))]
        rows.append(Row(cells, numbers[row["detector"]]))
    heads = [Head("Detector", "l"), Head("Version", "l"), Head("Aggregator", "l"), Head("Parameters", "l")]
    return Table(f"Detectors{flags(data.first)}", heads, rows, sortable=False)


def run_table(data: ReportData) -> Table:
    """Every expected run."""
    numbers = detector_numbers(data)
    names = ("Run", "Detector", "Source", "Target", "Seed", "Status", "Attempt", "Fit s", "Finished", "Reason")
    heads = [Head(name, "" if name in ("Seed", "Attempt", "Fit s") else "l") for name in names]
    return Table(f"Every run{flags(data.first)}", heads, [_run_row(run, numbers.get(run.detector)) for run in data.runs], css="runs")


def _run_row(run: RunRow, detector: int | None) -> Row:
    cells = [
        text(run.key, "c", head=True),
        *(text(value) for value in (run.detector, CONTROL_NAME if run.source == CONTROL else run.source, run.target)),
        text(str(run.seed), "n"),
        text(run.status, "" if run.status == "ok" else "bad"),
        text(NONE if run.attempt is None else str(run.attempt), "n"),
        text(seconds(run.cost.get("fit_s")), "n"),
        *(text(value or NONE) for value in (run.finished[:19].replace("T", " "), run.reason)),
    ]
    return Row(cells, detector)
