"""Numbers from the literature: ``published.toml``, read strictly, and the table that stands beside measured rows.  Standard library only.

They are shown with venue, protocol, footnote and provenance, and never take part in a rank.  A predicted number is refused.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any, Literal

from janus_bench.errors import DataError

__all__ = ["REPORTED_ONLY", "Published", "PublishedMethod", "PublishedNumber", "load_published", "published_table", "read_published"]

FILE = Path(__file__).with_name("published.toml")
REPORTED_ONLY = "reported only"
MAIN_METRIC = "auroc"

PROVENANCES = ("reported", "reproduced")
KINDS = ("within", "cross", "ablation", "thresholded", "outline", "difference", "spread")
UNITS: Mapping[str, tuple[float, float, float]] = {
    "percent": (0.01, 0.0, 1.0),
    "fraction": (1.0, 0.0, 1.0),
    "points": (0.01, -1.0, 1.0),
    "difference": (1.0, -1.0, 1.0),
}
"""Unit of a printed number → factor to a fraction, lowest and highest possible fraction."""
METRICS = ("auroc", "f1", "precision", "auroc_std")
MAX_STD = 0.5
"""No number between 0 and 1 can have a larger (population) standard deviation."""

# Target-benign calibration makes this word false for everything here.
FORBIDDEN = re.compile(r"zero[\W_]*shot", re.IGNORECASE)

MISMATCH = ("CIC-IoT2023", "additional benchmark; metric mismatch (F1 against our AUROC)")
REQUIRED_NOTES: tuple[tuple[Mapping[str, str], str], ...] = (
    ({"protocol_id": "predecessor"}, "a predecessor with the single score terminal_norm, not JANUS + OAS"),
    ({"method": "janus", "source": "CIC-DDoS2019", "target": "CIC-IDS2017", "variant": "", "metric": "auroc"}, "matches Shafir's .93"),
    ({"variant": "best-fixed"}, "an ablation upper bound"),
)
"""(fields of a number, words that its note must then have)."""


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

    def registered_as(self, registered: Collection[str]) -> str | None:
        """The first of its names that is registered."""
        return next((name for name in self.detectors if name in registered), None)


@dataclass(frozen=True)
class PublishedNumber:
    """One printed figure.

    value, std   fractions: AUROC .9826, difference −.0670; ``printed`` is the text as printed, in ``unit``
    source       dataset trained on in a cross cell, else None
    target       dataset, or what the number summarises
    variant      which score, ablation or setting of the method; empty for the method itself
    protocol     one line, from the table ``protocols`` (``protocol_id``); ``seeds`` None where the source does not say
    footnote     its mark, or empty
    provenance   ``reported`` in the cited paper, or ``reproduced`` by the authors who cite it; never measured here
    document     where it was read
    """

    kind: str
    method: str
    name: str
    venue: str
    variant: str
    source: str | None
    target: str
    metric: str
    value: float
    std: float | None
    unit: str
    printed: str
    approximate: bool
    seeds: int | None
    protocol: str
    protocol_id: str
    footnote: str
    provenance: Literal["reported", "reproduced"]
    document: str
    note: str


@dataclass(frozen=True)
class Published:
    """The whole file.  ``datasets``: name → normalised spellings; ``dataset_notes``: name → note; ``titles``: kind of table → title."""

    methods: tuple[PublishedMethod, ...]
    numbers: tuple[PublishedNumber, ...]
    footnotes: Mapping[str, str]
    datasets: Mapping[str, frozenset[str]]
    dataset_notes: Mapping[str, str]
    titles: Mapping[str, str]


def load_published() -> tuple[PublishedNumber, ...]:
    """Every published number.  DataError if the file breaks a rule."""
    return read_published().numbers


# -- reading -----------------------------------------------------------------------------------------------------------------------


def read_published(path: Path = FILE) -> Published:
    """The file, checked.  DataError says which number breaks which rule: predicted or of unknown provenance, an unknown footnote mark or one that its
    protocol does not carry, a value out of range, an unknown method, dataset or key, a duplicate, a missing note."""
    try:
        text = path.read_text(encoding="utf-8")
        content = tomllib.loads(text, parse_float=Decimal)
    except (OSError, ValueError) as error:
        raise DataError(f"{path} cannot be read ({error})") from None
    if found := FORBIDDEN.search(text):
        raise DataError(f"{path} says {found.group()!r}: write 'calibrated cross-domain transfer'")
    reader = _Reader(path, content)
    methods = tuple(reader.method(key, entry) for key, entry in content["methods"].items())
    numbers = tuple(number for table in content["tables"] for number in reader.table(table, {method.key: method for method in methods}))
    _refuse_duplicates(path, numbers)
    return Published(
        methods,
        numbers,
        dict(content["footnotes"]),
        {name: frozenset(map(_normal, [name, *entry["aliases"]])) for name, entry in content["datasets"].items()},
        {name: entry["note"] for name, entry in content["datasets"].items() if "note" in entry},
        {table["kind"]: table["title"] for table in content["tables"]},
    )


def _normal(name: str) -> str:
    """A dataset's name without case and punctuation."""
    return re.sub(r"[^a-z0-9]", "", name.lower())


def _refuse_duplicates(path: Path, numbers: Sequence[PublishedNumber]) -> None:
    seen = set()
    for number in numbers:
        key = (number.kind, number.method, number.variant, number.source, number.target, number.metric)
        if key in seen:
            raise DataError(f"{path}: {number.kind}, {number.method} on {number.target} ({number.metric}) is there twice")
        seen.add(key)


class _Reader:
    """Turns entries into records; every complaint names the place."""

    TOP = ("schema_version", "sources", "footnotes", "protocols", "datasets", "methods", "tables")

    def __init__(self, path: Path, content: Mapping[str, Any]) -> None:
        self.path = path
        self.content = content
        self._keys(content, "top level", self.TOP)
        if content["schema_version"] != 1:
            raise DataError(f"{path}: schema_version must be 1")
        for name, entry in content["datasets"].items():
            self._keys(entry, f"dataset {name}", ("aliases",), ("note",))
        for name, entry in content["protocols"].items():
            self._keys(entry, f"protocol {name}", ("summary",), ("seeds", "footnote"))
            self._known(entry.get("footnote", ""), ["", *content["footnotes"]], "footnote mark", f"protocol {name}")
        name, note = MISMATCH
        if content["datasets"].get(name, {}).get("note") != note:
            raise DataError(f"{path}: dataset {name} must carry the note {note!r}")

    def method(self, key: str, entry: Mapping[str, Any]) -> PublishedMethod:
        self._keys(entry, f"method {key}", ("name", "venue", "detectors"), ("printed", "note"))
        if not entry["detectors"]:
            raise DataError(f"{self.path}: method {key} needs at least one name in detectors")
        return PublishedMethod(key, entry["name"], entry["venue"], tuple(entry["detectors"]), entry.get("printed", ""), entry.get("note", ""))

    def table(self, table: Mapping[str, Any], methods: Mapping[str, PublishedMethod]) -> list[PublishedNumber]:
        where = f"table {table.get('kind')}"
        self._keys(table, where, ("kind", "title", "source", "unit", "numbers"), ("metric",))
        self._known(table["kind"], KINDS, "kind", where)
        self._known(table["unit"], UNITS, "unit", where)
        self._known(table["source"], self.content["sources"], "source", where)
        return [self._number(table, position, entry, methods) for position, entry in enumerate(table["numbers"], 1)]

    def _number(self, table: Mapping[str, Any], position: int, entry: Mapping[str, Any], methods: Mapping[str, PublishedMethod]) -> PublishedNumber:
        where = f"table {table['kind']}, number {position} ({entry.get('method')} on {entry.get('target')})"
        optional = ("variant", "from", "metric", "std", "approximate", "footnote", "note")
        self._keys(entry, where, ("method", "target", "value", "protocol", "provenance"), optional)
        if entry["provenance"] == "predicted":
            raise DataError(f"{self.path}: {where}: a predicted number is never shown; only {' or '.join(PROVENANCES)} ones are")
        self._known(entry["provenance"], PROVENANCES, "provenance", where)
        self._known(entry["method"], methods, "method", where)
        self._known(entry["protocol"], self.content["protocols"], "protocol", where)
        metric = entry.get("metric", table.get("metric"))
        self._known(metric, METRICS, "metric", where)
        if "from" in entry:
            self._known(entry["from"], self.content["datasets"], "dataset", where)
        if table["kind"] in ("within", "cross"):
            self._known(entry["target"], self.content["datasets"], "dataset", where)
        protocol = self.content["protocols"][entry["protocol"]]
        mark = entry.get("footnote", "")
        self._known(mark, ["", *self.content["footnotes"]], "footnote mark", where)
        if mark != protocol.get("footnote", ""):
            raise DataError(f"{self.path}: {where}: footnote {mark!r}, but protocol {entry['protocol']} has {protocol.get('footnote', '')!r}")
        value, std = self._value(table["unit"], entry, where)
        if std is not None and protocol.get("seeds", 0) < 2:
            raise DataError(f"{self.path}: {where}: a std needs a protocol with at least two seeds")
        method = methods[entry["method"]]
        number = PublishedNumber(
            kind=table["kind"],
            method=method.key,
            name=method.name,
            venue=method.venue,
            variant=entry.get("variant", ""),
            source=entry.get("from"),
            target=entry["target"],
            metric=metric,
            value=value,
            std=std,
            unit=table["unit"],
            printed=_as_printed(table["unit"], entry),
            approximate=entry.get("approximate", False),
            seeds=protocol.get("seeds"),
            protocol=protocol["summary"],
            protocol_id=entry["protocol"],
            footnote=mark,
            provenance=entry["provenance"],
            document=self.content["sources"][table["source"]],
            note=entry.get("note", ""),
        )
        self._required_notes(number, where)
        return number

    def _value(self, unit: str, entry: Mapping[str, Any], where: str) -> tuple[float, float | None]:
        factor, low, high = UNITS[unit]
        scaled: dict[str, float] = {}
        for name, lowest, highest in (("value", low, high), ("std", 0.0, MAX_STD)):
            if name not in entry:
                continue
            raw = entry[name]
            if not isinstance(raw, (Decimal, int)) or isinstance(raw, bool):
                raise DataError(f"{self.path}: {where}: {name} must be a number, not {raw!r}")
            scaled[name] = float(raw * Decimal(str(factor)))
            if not lowest <= scaled[name] <= highest:  # also refuses NaN
                raise DataError(f"{self.path}: {where}: {name} {raw} is not possible in {unit}")
        return scaled["value"], scaled.get("std")

    def _required_notes(self, number: PublishedNumber, where: str) -> None:
        for fields, words in REQUIRED_NOTES:
            if all((getattr(number, name) or "") == value for name, value in fields.items()) and words not in number.note:
                raise DataError(f"{self.path}: {where}: its note must say {words!r}")

    def _keys(self, entry: Mapping[str, Any], where: str, required: Sequence[str], optional: Sequence[str] = ()) -> None:
        if missing := [key for key in required if key not in entry]:
            raise DataError(f"{self.path}: {where}: {', '.join(missing)} missing")
        if surplus := [key for key in entry if key not in (*required, *optional)]:
            raise DataError(f"{self.path}: {where}: unknown key {', '.join(surplus)}")

    def _known(self, name: Any, known: Collection[str], what: str, where: str) -> None:
        if name not in known:
            raise DataError(f"{self.path}: {where}: unknown {what} {name!r}; known are {', '.join(filter(None, known))}")


def _as_printed(unit: str, entry: Mapping[str, Any]) -> str:
    sign = "+" if unit in ("points", "difference") and entry["value"] > 0 else ""
    about = "≈ " if entry.get("approximate") else ""
    return f"{about}{sign}{entry['value']}" + (f" ± {entry['std']}" if "std" in entry else "")


# -- the table beside measured rows ------------------------------------------------------------------------------------------------


def published_table(document: Mapping[str, Any] | None, registered: Collection[str]) -> dict[str, Any]:
    """What is published, next to what was measured.

    document    the leaderboard document (see ``reports/leaderboard.py``), which is not changed; None without results
    registered  names of the detectors that can be run: a method under none of them is ``reported only``

    ``methods`` has every method of the file: name, venue, ``status`` (``built as NAME`` or ``reported only``), ``rank`` (always None), ``numbers``
    (its within-dataset figures by dataset) and ``measured`` (rows of the document made by that detector, with the cells whose datasets are
    published ones).  ``cross``, ``ablation`` and ``others`` are lists of numbers.  ``mixed_metric`` marks a number of another metric than the
    measured ones.
    """
    published = read_published()
    metric = document["metric"] if document is not None else MAIN_METRIC
    methods = [_method_row(method, published, document, registered, metric) for method in published.methods]

    def numbers(*kinds: str) -> list[dict[str, Any]]:
        return [_number_row(number, metric) for number in published.numbers if number.kind in kinds]

    table = {
        "title": "Published numbers, not measured here",
        "metric": metric,
        "datasets": list(published.datasets),
        "methods": methods,
        "cross": numbers("cross"),
        "ablation": numbers("ablation"),
        "others": numbers("thresholded", "outline", "difference", "spread"),
        "titles": dict(published.titles),
        "footnotes": dict(published.footnotes),
    }
    return table | {"notes": _notes(table, published)}


def _method_row(
    method: PublishedMethod, published: Published, document: Mapping[str, Any] | None, registered: Collection[str], metric: str
) -> dict[str, Any]:
    detector = method.registered_as(registered)
    within: dict[str, list[dict[str, Any]]] = {name: [] for name in published.datasets}
    for number in published.numbers:
        alike = number.method == method.key and number.target in within
        if alike and (number.kind == "within" or (number.kind == "thresholded" and not number.variant)):
            within[number.target].append(_number_row(number, metric))
    rows = [] if document is None else [row for row in document["rows"] if row["detector"].partition("[")[0] in method.detectors]
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


def _number_row(number: PublishedNumber, metric: str) -> dict[str, Any]:
    fields = ("method", "name", "variant", "source", "target", "metric", "value", "std", "unit", "printed", "footnote", "provenance", "seeds")
    return {name: getattr(number, name) for name in (*fields, "protocol", "document", "note", "kind")} | {"mixed_metric": number.metric != metric}


def _measured(row: Mapping[str, Any], published: Published) -> list[dict[str, Any]]:
    """Cells of a row whose two datasets are published ones, under their published names."""
    known = {spelling: name for name, spellings in published.datasets.items() for spelling in spellings}
    found = []
    for cell in row["cells"]:
        source, target = (known.get(_normal(cell[end] or "")) for end in ("source", "target"))
        if source is not None and target is not None:
            found.append({"source": source, "target": target} | {name: cell[name] for name in ("metric", "mean", "std", "n_seeds", "status")})
    return found


def _notes(table: Mapping[str, Any], published: Published) -> list[str]:
    """What a reader has to know, most important first."""
    missing = [row["name"] for row in table["methods"] if row["detector"] is None]
    lines = ["from the literature: other partitions and protocols than the measured rows; never ranked, and no rank counts them"]
    measured = [row for method in table["methods"] for row in method["measured"]]
    if measured and not any(row["cells"] for row in measured):
        lines += ["nothing measured stands beside them: none of the measured datasets is a published one"]
    lines += [f"{REPORTED_ONLY} (no such detector is registered): {', '.join(missing)}"] if missing else []
    lines += [f"every number is an AUROC unless it names its metric; ≠ marks another metric than {table['metric']}: not comparable along its column"]
    lines += [f"{name}: {note}" for name, note in published.dataset_notes.items()]
    lines += ["CIC-DDoS2019 → CIC-IDS2017: JANUS matches Shafir's .93"]
    lines += ["calibrated cross-domain transfer: the aggregator is fitted on benign flows of the target"]
    lines += [f"{row['name']}: {row['note']}" for row in table["methods"] if row["note"]]
    return lines
