"""The tables behind the results: parts of the datasets, audits, versions, every run."""

from collections import Counter
from dataclasses import dataclass, replace

from janus_bench.words import counted
from reports.published.render import all_tables
from reports.render.html import audit
from reports.render.html.cells import Pairs, for_report, left, paired, right, text
from reports.render.html.evidence import ReportData
from reports.render.html.results import BASELINE_NAME, LONG
from reports.results.model import Run
from reports.tables.boards import parts_table
from reports.tables.fields import NONE, aggregators_of, in_order, name_of, params_of, seconds
from reports.tables.model import Table, TableRow

ALL_RUNS = "All of them: janus-bench runs list."


def dataset_table(data: ReportData) -> Table:
    """Sizes of the parts, as every renderer shows them; what they mean is a hint on the page."""
    return replace(for_report(parts_table(data.first)), notes=())


@dataclass(frozen=True)
class AuditSection:
    """findings: see ``audit.findings_of``; None where there is no audit."""

    dataset: str
    notes: list[str]
    findings: list[tuple[str, str, str]] | None
    tables: list[Table]


def audits(data: ReportData) -> list[AuditSection]:
    """One per dataset; without an audit its ``findings`` are None."""
    views = []
    for name, info in data.first["datasets_info"].items():
        found = data.audits.get(name)
        tables = []
        if found is not None:
            tables = [
                audit.numbers_table(table, f"{name} · {table['title']}{data.flags}")
                for table in found.get("tables", ())
            ]
            if measures := found.get("measures"):
                tables.insert(0, audit.measures_table(measures, f"{name} · audit{data.flags}"))
        findings = None if found is None else audit.findings_of(found)
        views.append(AuditSection(name, list(info["notes"]), findings, tables))
    return views


def published_tables(data: ReportData) -> list[Table]:
    """The literature, as printed there: never ranked, never sorted among measured rows."""
    tables = []
    for table in all_tables(data.published):
        dressed = for_report(table)
        rows = [replace(row, cells=[replace(row.cells[0], head=True), *row.cells[1:]]) for row in dressed.rows]
        tables.append(replace(dressed, rows=rows, sortable=False))
    return tables


def hash_table(data: ReportData) -> Table:
    rows = [TableRow([text(name, head=True), text(entry.hash, "l c")]) for name, entry in data.table.datasets.items()]
    return Table(f"Data{data.flags}", [left("Dataset"), left("SHA-256 of the flow store")], rows, sortable=False)


def environment_table(data: ReportData) -> Table:
    """A column per environment that rows recorded: results of several machines are seen as such."""
    counts = Counter(tuple(sorted(run.record.environment.items())) for run in data.runs if run.record is not None)
    found = [(dict(values), runs) for values, runs in sorted(counts.items(), key=lambda item: (-item[1], item[0]))]
    names = in_order(name for values, _ in found for name in values)
    columns = [
        left(""),
        *(left(f"Environment {place}", counted(runs, "run")) for place, (_, runs) in enumerate(found, 1)),
    ]
    rows = [
        TableRow([text(name, head=True), *(text(values.get(name, NONE), "l c") for values, _ in found)])
        for name in names
    ]
    if "commit" not in names:
        rows.append(TableRow([text("commit", head=True), *(text("not recorded", "l") for _ in found)]))
    return Table(f"Versions and machine{data.flags}", columns, rows, sortable=False)


def params_table(data: ReportData) -> Table:
    """Detectors with their resolved parameters and the aggregator."""
    lines = []
    for row in data.first["rows"]:
        versions = in_order(
            run.record.spec["version"] for run in data.runs if run.label == row["detector"] and run.record is not None
        )
        pairs: Pairs = [
            (left("Detector"), text(name_of(row), "d", head=True)),
            (left("Version"), text(", ".join(versions) or NONE, "l")),
            (left("Aggregator"), text(aggregators_of(row) or NONE, "l")),
            (left("Parameters"), text(params_of(row) or NONE, "l")),
        ]
        lines.append((pairs, TableRow((), detector=data.numbers[row["detector"]])))
    return paired(f"Detectors{data.flags}", lines, sortable=False)


def run_table(data: ReportData) -> Table | None:
    """Every run; where these are many, those that are not ok; None if there is none of them."""
    few = len(data.runs) <= LONG
    shown = [run for run in data.runs if few or not run.ok]
    title = f"Every run ({len(shown)})" if few else f"Runs that are not ok ({len(shown)} of {len(data.runs)})"
    lines = [_run_line(run, data.numbers.get(run.label)) for run in shown]
    return (
        replace(paired(f"{title}{data.flags}", lines, css="runs"), notes=[] if few else [ALL_RUNS]) if lines else None
    )


def _run_line(run: Run, detector: int | None) -> tuple[Pairs, TableRow]:
    record = run.record
    attempt, finished, fit_s = (
        (NONE, "", None) if record is None else (str(record.attempt), record.finished, record.cost.get("fit_s"))
    )
    return [
        (left("Run"), text(run.key, "c", head=True)),
        (left("Detector"), text(run.label)),
        (left("Source"), text(BASELINE_NAME if run.regime == "control" else run.pair[0])),
        (left("Target"), text(run.pair[1])),
        (right("Seed"), text(str(run.seed), "n")),
        (left("Status"), text(run.status, "" if run.status == "ok" else "bad")),
        (right("Attempt"), text(attempt, "n")),
        (right("Fit s"), text(seconds(fit_s), "n")),
        (left("Finished"), text(finished[:19].replace("T", " ") or NONE)),
        (left("Reason"), text(run.reason or NONE)),
    ], TableRow((), detector=detector)
