"""Numbers from the literature: ``published.toml``, and the table that stands beside measured rows.  Standard library
only.

They are shown with venue, protocol, footnote and provenance, and never take part in a rank.  A predicted number is
refused; the other rules that the file keeps (marks that agree with protocols, possible values …) are those of its test.
"""

import re
import tomllib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any, Literal, TypedDict

from janus_bench.errors import DataError
from reports.tables.document import Board, BoardRow
from reports.tables.intervals import part_of

FILE = Path(__file__).with_name("published.toml")
REPORTED_ONLY = "reported only"
MAIN_METRIC = "auroc"
PROVENANCES = ("reported", "reproduced")
FACTORS = {"percent": Decimal("0.01"), "fraction": Decimal(1), "points": Decimal("0.01"), "difference": Decimal(1)}
"""Unit of a printed number → factor to a fraction."""


@dataclass(frozen=True)
class PublishedMethod:
    """A method of the literature.

    detectors   names under which it may be registered
    printed     method and venue as they were printed, where that was corrected
    """

    key: str
    name: str
    venue: str
    detectors: tuple[str, ...]
    printed: str = ""
    note: str = ""


class PublishedNumber(TypedDict):
    """One printed figure.

    value, std   fractions: AUROC .9826, difference −.0670; ``printed`` is the text as printed, in ``unit``
    source       dataset trained on in a cross cell, else None
    target       dataset, or what the number summarises
    variant      which score, ablation or setting of the method; empty for the method itself
    protocol     one line;  ``seeds``: None where the source does not say
    footnote     its mark, or empty
    provenance   ``reported`` in the cited paper, or ``reproduced`` by the authors who cite it; never measured here
    document     where it was read
    """

    method: str
    name: str
    variant: str
    source: str | None
    target: str
    metric: str
    value: float
    std: float | None
    unit: str
    printed: str
    footnote: str
    provenance: Literal["reported", "reproduced"]
    seeds: int | None
    protocol: str
    document: str
    note: str
    kind: str


@dataclass(frozen=True)
class Published:
    """The whole file.  ``datasets``: name → normalised spellings; ``dataset_notes``: name → note; ``titles``: kind of
    table → title."""

    methods: tuple[PublishedMethod, ...]
    numbers: tuple[PublishedNumber, ...]
    footnotes: Mapping[str, str]
    datasets: Mapping[str, frozenset[str]]
    dataset_notes: Mapping[str, str]
    titles: Mapping[str, str]


def load_published() -> tuple[PublishedNumber, ...]:
    """Every published number.  DataError if the file is damaged."""
    return read_published().numbers


Entry = Mapping[str, Any]


def read_published(path: Path = FILE) -> Published:
    """The file.  DataError if it cannot be read, or lacks what a number or a method needs."""
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"), parse_float=Decimal)
        methods = {
            key: PublishedMethod(key, **entry | {"detectors": tuple(entry["detectors"])})
            for key, entry in content["methods"].items()
        }
        return Published(
            tuple(methods.values()),
            tuple(
                _number(content, table, entry, methods[entry["method"]])
                for table in content["tables"]
                for entry in table["numbers"]
            ),
            dict(content["footnotes"]),
            {name: frozenset(map(_normal, [name, *entry["aliases"]])) for name, entry in content["datasets"].items()},
            {name: entry["note"] for name, entry in content["datasets"].items() if "note" in entry},
            {table["kind"]: table["title"] for table in content["tables"]},
        )
    except (OSError, ValueError) as error:
        raise DataError(f"{path} cannot be read ({error})") from None
    except (ArithmeticError, KeyError, TypeError) as error:
        raise DataError(f"{path} is damaged ({error!r})") from None


def _normal(name: str) -> str:
    """A dataset's name without case and punctuation."""
    return re.sub(r"[^a-z0-9]", "", name.lower())


def _number(content: Entry, table: Entry, entry: Entry, method: PublishedMethod) -> PublishedNumber:
    if entry["provenance"] not in PROVENANCES:
        raise ValueError(f"a {entry['provenance']} number is never shown; only {' or '.join(PROVENANCES)} ones are")
    factor, protocol = FACTORS[table["unit"]], content["protocols"][entry["protocol"]]
    return {
        "method": method.key,
        "name": method.name,
        "variant": entry.get("variant", ""),
        "source": entry.get("from"),
        "target": entry["target"],
        "metric": entry["metric"] if "metric" in entry else table["metric"],
        "value": float(entry["value"] * factor),
        "std": float(entry["std"] * factor) if "std" in entry else None,
        "unit": table["unit"],
        "printed": _as_printed(table["unit"], entry),
        "footnote": entry.get("footnote", ""),
        "provenance": entry["provenance"],
        "seeds": protocol.get("seeds"),
        "protocol": protocol["summary"],
        "document": content["sources"][table["source"]],
        "note": entry.get("note", ""),
        "kind": table["kind"],
    }


def _as_printed(unit: str, entry: Entry) -> str:
    sign = "+" if unit in ("points", "difference") and entry["value"] > 0 else ""
    about = "≈ " if entry.get("approximate") else ""
    return f"{about}{sign}{entry['value']}" + (f" ± {entry['std']}" if "std" in entry else "")


class NumberRow(PublishedNumber):
    """``mixed_metric``: of another metric than the measured ones."""

    mixed_metric: bool


class MeasuredCell(TypedDict):
    """A cell of a measured row, its datasets under their published names."""

    source: str
    target: str
    metric: str
    mean: float | None
    std: float | None
    n_seeds: int
    status: str


class MeasuredRow(TypedDict):
    """A row of the leaderboard with its cells between published datasets."""

    detector: str
    cells: list[MeasuredCell]


class MethodRow(TypedDict):
    """A method; ``status``: ``built as NAME`` or ``reported only``; ``rank`` is always None; ``numbers``: dataset → its
    within-dataset figures."""

    method: str
    name: str
    venue: str
    printed: str
    note: str
    detector: str | None
    status: str
    rank: None
    numbers: dict[str, list[NumberRow]]
    measured: list[MeasuredRow]


class PublishedTable(TypedDict):
    """What is published, next to what was measured; ``titles``: kind of table → title."""

    title: str
    metric: str
    datasets: list[str]
    methods: list[MethodRow]
    cross: list[NumberRow]
    ablation: list[NumberRow]
    others: list[NumberRow]
    titles: dict[str, str]
    footnotes: dict[str, str]
    notes: list[str]


def published_table(document: Board | None, registered: Collection[str]) -> PublishedTable:
    """What is published, next to what was measured.

    document    the leaderboard document, which is not changed; None without results
    registered  names of the detectors that can be run: a method under none of them is ``reported only``
    """
    published = read_published()
    metric = document["metric"] if document is not None else MAIN_METRIC
    methods = [_method_row(method, published, document, registered, metric) for method in published.methods]

    def numbers(*kinds: str) -> list[NumberRow]:
        return [_number_row(number, metric) for number in published.numbers if number["kind"] in kinds]

    return {
        "title": "Published numbers, not measured here",
        "metric": metric,
        "datasets": list(published.datasets),
        "methods": methods,
        "cross": numbers("cross"),
        "ablation": numbers("ablation"),
        "others": numbers("thresholded", "outline", "difference", "spread"),
        "titles": dict(published.titles),
        "footnotes": dict(published.footnotes),
        "notes": _notes(methods, metric, published),
    }


def _method_row(
    method: PublishedMethod, published: Published, document: Board | None, registered: Collection[str], metric: str
) -> MethodRow:
    detector = next((name for name in method.detectors if name in registered), None)
    within: dict[str, list[NumberRow]] = {name: [] for name in published.datasets}
    for number in published.numbers:
        alike = number["method"] == method.key and number["target"] in within
        if alike and (number["kind"] == "within" or (number["kind"] == "thresholded" and not number["variant"])):
            within[number["target"]].append(_number_row(number, metric))
    rows = (
        []
        if document is None
        else [row for row in document["rows"] if row["detector"].partition("[")[0] in method.detectors]
    )
    return {
        "method": method.key,
        "name": method.name,
        "venue": method.venue,
        "printed": method.printed,
        "note": method.note,
        "detector": detector,
        "status": REPORTED_ONLY if detector is None else f"built as {detector}",
        "rank": None,
        "numbers": within,
        "measured": [{"detector": row["detector"], "cells": _measured(row, published)} for row in rows],
    }


def _number_row(number: PublishedNumber, metric: str) -> NumberRow:
    return {**number, "mixed_metric": number["metric"] != metric}


def _measured(row: BoardRow, published: Published) -> list[MeasuredCell]:
    """Cells of a row whose two datasets are published ones, under their published names."""
    known = {spelling: name for name, spellings in published.datasets.items() for spelling in spellings}
    found: list[MeasuredCell] = []
    for cell in row["cells"]:
        source, target = known.get(_normal(cell["source"] or "")), known.get(_normal(cell["target"]))
        if source is not None and target is not None:
            found.append(part_of(cell | {"source": source, "target": target}, MeasuredCell))
    return found


def _notes(methods: Sequence[MethodRow], metric: str, published: Published) -> list[str]:
    """What a reader has to know, most important first."""
    missing = [row["name"] for row in methods if row["detector"] is None]
    lines = [
        (
            "from the literature: other partitions and protocols than the measured rows; never ranked, and no rank "
            "counts them"
        )
    ]
    measured = [row for method in methods for row in method["measured"]]
    if measured and not any(row["cells"] for row in measured):
        lines += ["nothing measured stands beside them: none of the measured datasets is a published one"]
    lines += [f"{REPORTED_ONLY} (no such detector is registered): {', '.join(missing)}"] if missing else []
    lines += [
        (
            f"every number is an AUROC unless it names its metric; ≠ marks another metric than {metric}: not "
            "comparable along its column"
        )
    ]
    lines += [f"{name}: {note}" for name, note in published.dataset_notes.items()]
    lines += ["CIC-DDoS2019 → CIC-IDS2017: JANUS matches Shafir's .93"]
    lines += ["calibrated cross-domain transfer: the aggregator is fitted on benign flows of the target"]
    lines += [f"{row['name']}: {row['note']}" for row in methods if row["note"]]
    return lines
