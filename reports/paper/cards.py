"""Dataset cards: what is known of each dataset of a run, from its plan, its truth, its manifest and its audit; what
nobody stated says so."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import polars as pl

from janus_bench.errors import DataError
from janus_bench.records import NOT_STATED
from reports.paper.bibliography import Bibliography, DatasetSource, cite
from reports.paper.text import breakable
from reports.render.latex import code
from reports.tables.audits import grave
from reports.tables.document import Board
from reports.tables.fields import whole

if TYPE_CHECKING:
    from reports.results.model import ResultTable

FAMILIES = 30  # The largest are listed, the others counted.


def cards_text(
    document: Board, table: ResultTable, sources: Mapping[str, DatasetSource], references: Bibliography
) -> str:
    """A subsection for each dataset."""
    return "\n".join(_card(name, document, table, sources[name], references) for name in document["datasets"])


def _card(name: str, document: Board, table: ResultTable, source: DatasetSource, references: Bibliography) -> str:
    info, entry = document["datasets_info"][name], table.datasets[name]
    facts = [
        ("What it is", breakable(entry.summary) or NOT_STATED),
        ("Origin", "generated (SYNTHETIC)" if info["synthetic"] else "recorded"),
        ("Licence", breakable(source.licence) or NOT_STATED),
        ("To be cited", (breakable(source.citation) or NOT_STATED) + cite(references.datasets[name])),
        ("Flows", f"{whole(info['flows'])}: {whole(info['benign'])} benign, {whole(info['attack'])} attack"),
        *_recorded(table, entry.hash),
        ("Sites", _sites(document, name)),
        *(("Known of it", breakable(note)) for note in info["notes"]),
        ("Audit", _audit(document, name)),
        ("Content hash", code(entry.hash[:16])),
    ]
    items = [rf"\item[{what}] {text}" for what, text in facts]
    return "\n".join(
        [rf"\subsection*{{{code(name)}}}", r"\begin{description}\raggedright", *items, r"\end{description}", ""]
    )


def _recorded(table: ResultTable, data_hash: str) -> list[tuple[str, str]]:
    """Captures and families of the flows that are known here."""
    try:
        truth = table.results.truth(data_hash)
    except DataError:
        return [("Families", "not stored")]
    attacks = truth.filter("attack")
    sizes = attacks.group_by("family").agg(pl.len().alias("flows"), pl.col("source").n_unique().alias("captures"))
    rows = sizes.sort(["flows", "family"], descending=[True, False]).rows()
    listed = [
        f"{breakable(family)} ({whole(flows)} in {whole(captures)})" for family, flows, captures in rows[:FAMILIES]
    ]
    more = [f"and {len(rows) - FAMILIES} more"] if len(rows) > FAMILIES else []
    captures = truth.filter(~pl.col("attack"))["source"].n_unique(), attacks["source"].n_unique()
    return [
        ("Captures", f"{whole(captures[0])} with benign flows, {whole(captures[1])} with attacks"),
        ("Families", f"flows in captures: {', '.join([*listed, *more])}" if rows else "no attacks"),
    ]


def _sites(document: Board, name: str) -> str:
    of = document["sites"]["targets"].get(name) if "sites" in document else None
    if of is None or not of["sites"]:
        return "none is named"
    counted = f"numbers inside {', '.join(map(code, of['counted']))}" if of["counted"] else "no number inside any"
    return f"{', '.join(map(code, of['sites']))}; {counted}"


def _audit(document: Board, name: str) -> str:
    audits = document.get("audits", {})
    if name not in audits:
        return "none at hand"
    found = grave(audits[name])
    return (
        " ".join(f"{breakable(each['text'][:1].upper() + each['text'][1:])}." for each in found)
        if found
        else "no warnings"
    )
