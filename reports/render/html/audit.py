"""Audits as tables of a page, in the report and on a page of their own."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from janus_bench.words import counted
from reports.render.html.cells import left, numeric, right, text
from reports.render.html.drawing import draw
from reports.tables.fields import NONE, count, number, share
from reports.tables.model import Cell, Table, TableRow

# a measure's unit → how its value is written
UNITS: Mapping[str, Callable[[float], str]] = {"auroc": number, "share": share, "count": count}
SEVERITIES = ("error", "warning", "note")
SHADES = (0.1, 0.2, 0.3, 0.45, 0.6, 0.8)  # Distances between which the shades of a matrix change.

DISTANCE_HINT = (
    "Benign flows against benign flows, channel by channel: the largest Kolmogorov–Smirnov distance between two "
    "networks of any of the channel’s numbers of a flow, named below it. 0: the same distribution; 1: one threshold "
    "divides the networks; the darker, the further apart. Outlined cells are a network against itself, training "
    "against test captures: what lies below them is no distance between networks. The further a target lies from its "
    "source, the less a fall of AUROC says of the detector."
)
GROUPS = {
    "coverage": "Labels",
    "parts": "Sizes of parts",
    "tuples": "5-tuples on both sides",
    "origins": "Where flows come from",
    "captures": "Captures",
    "mirrored": "Packets recorded twice",
    "caps": "Caps on packets",
    "one_packet": "One-packet flows",
    "separability": "What separates attacks from benign flows",
    "control": "Controls: shuffled labels",
    "context": "Context",
    "duplicates": "Repetition",
    "families": "Families as experiments",
}
"""What the first word of a measure's key means, as a heading."""


def findings_of(audit: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    """(severity, text, what to do) of each finding, the gravest first as they were given."""
    return [
        (str(found["severity"]), str(found["text"]), str(found.get("action", "")))
        for found in audit.get("findings", ())
    ]


def measures_table(measures: Sequence[Mapping[str, Any]], title: str) -> Table:
    """What was measured, a row each."""
    rows = []
    for measure in measures:
        value = measure["value"]
        found = {
            name: share(each) if isinstance(each, float) else NONE if each is None else each
            for name, each in measure["detail"].items()
        }
        detail = ", ".join(f"{name} {each}" for name, each in found.items())
        shown, status = NONE if value is None else UNITS[measure["unit"]](value), measure.get("status", "")
        rows.append(
            TableRow(
                [
                    text(measure["what"], "l wide", head=True),
                    numeric(shown, value),
                    text(status, f"l {status}" if status in (*SEVERITIES, "ok") else "l"),
                    text(detail, "l wide"),
                ]
            )
        )
    return Table(title, [left("Measured"), right("Value"), left("Status"), left("Detail")], rows)


def numbers_table(table: Mapping[str, Any], title: str) -> Table:
    """``tables`` of an audit: the first column names the row."""
    units = table["units"]
    columns = [
        (left if unit == "text" else right)(str(column)) for column, unit in zip(table["columns"], units, strict=True)
    ]
    rows = [
        TableRow(
            [_cell(value, unit, head=not place) for place, (unit, value) in enumerate(zip(units, values, strict=True))]
        )
        for values in table["rows"]
    ]
    return Table(title, columns, rows)


def _cell(value: Any, unit: str, *, head: bool) -> Cell:
    if value is None or unit == "text":
        return text(NONE if value is None else str(value), "l", head=head)
    return Cell(
        {"share": "{:.1%}", "hours": "{:,.2f} h"}.get(unit, "{:,}").format(value), float(value), css="n", head=head
    )


def distance_tables(distances: Mapping[str, Any], flags: str) -> list[Table]:
    """One matrix per channel; the darker, the further apart."""
    names, tables = list(distances["datasets"]), []
    for channel, matrix in distances["values"].items():
        rows = []
        for name, values, by in zip(names, matrix, distances["by"][channel], strict=True):
            cells = [
                _distance(value, which, own=name == other)
                for other, value, which in zip(names, values, by, strict=True)
            ]
            rows.append(TableRow([text(name, "l", head=True), *cells]))
        columns = [left("network"), *(right(name) for name in names)]
        tables.append(Table(f"{channel} · benign against benign{flags}", columns, rows, sortable=False, css="m"))
    return tables


def _distance(value: float | None, by: str, *, own: bool) -> Cell:
    outlined = " own" if own else ""
    if value is None:
        return text(NONE, f"n{outlined}")
    shade = sum(value > bound for bound in SHADES)
    return Cell(f"{value:.2f}".removeprefix("0"), value, small=by, css=f"n q{shade}{outlined}")


@dataclass(frozen=True)
class CountTile:
    what: str
    value: str
    small: str = ""
    css: str = ""


@dataclass(frozen=True)
class MeasureGroup:
    """Measures of one check, folded; said: how many of them have which status."""

    title: str
    said: str
    table: Table


@dataclass(frozen=True)
class AuditOfDataset:
    """A dataset on the page of audits."""

    dataset: str
    flags: str
    tiles: list[CountTile]
    findings: list[tuple[str, str, str]]
    partition: str
    groups: list[MeasureGroup]


def render_audits(documents: Sequence[Mapping[str, Any]], distances: Mapping[str, Any] | None = None) -> str:
    """One self-contained page of the documents that ``data audit`` makes, and of the distances between their networks.
    The same documents give the same page."""
    names = [str(document["dataset"]) for document in documents]
    return draw(
        "audit.html.j2",
        title=f"Audit · {', '.join(names)}",
        subtitle="What besides attacks tells attack flows from benign flows, and what to do about it",
        audits=[_view(document) for document in documents],
        distances=distance_tables(distances, "") if distances else [],
        shared=[str(each["text"]) for each in distances["shared"]] if distances else [],
        distance_hint=DISTANCE_HINT,
    )


def _view(document: Mapping[str, Any]) -> AuditOfDataset:
    found, name = Counter(str(each["severity"]) for each in document["findings"]), str(document["dataset"])
    flags, partition = " · SYNTHETIC DATA" if document["synthetic"] else "", document["partition"]
    tiles = [
        CountTile("benign flows", count(document["benign"])),
        CountTile("attack flows", count(document["attack"])),
        *(CountTile(f"{each}s", str(found[each]), css=each if found[each] else "") for each in SEVERITIES),
    ]
    by_kind: dict[str, list[Mapping[str, Any]]] = {}
    for measure in document["measures"]:
        by_kind.setdefault(str(measure["key"]).partition(".")[0], []).append(measure)
    groups = []
    for kind, measures in by_kind.items():
        statuses = Counter(str(measure["status"]) for measure in measures)
        said = ", ".join(f"{number} {status}" for status, number in statuses.items())
        title = GROUPS.get(kind, kind)
        groups.append(MeasureGroup(title, said, measures_table(measures, f"{name} · {title}{flags}")))
    for table in document["tables"]:
        said, title = counted(len(table["rows"]), "row"), str(table["title"])
        groups.append(MeasureGroup(title, said, numbers_table(table, f"{name} · {title}{flags}")))
    why = f" ({partition['reason']})" if partition["reason"] else ""
    division = (
        f"Partition of seed {document['seed']}: {partition['kind']}{why}. Content {str(document['hash'])[:12]}, audit "
        f"version {document['audit_version']}."
    )
    return AuditOfDataset(name, flags, tiles, findings_of(document), division, groups)
