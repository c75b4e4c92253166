"""What each piece is worth: the leaderboard of a protocol with groups, as differences to one of its rows.

The form is that of the JANUS project's table: within, cross mean, cross worst, and what a change to the reference row costs or gains.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from reports.layout import Block
from reports.leaderboard import SUMMARIES

__all__ = ["REFERENCES", "AblationRow", "ablation_blocks", "ablation_deltas", "ablation_rows", "matrices_beside"]

REFERENCES = {"ablation": "A5 OAS", "mechanism": "OAS over ten"}
"""Protocol → the variant that the others are compared with."""

SEPARATOR = " · "
"""Between a detector and its variant in the name of a row."""

UPPER_BOUND = "best-fixed"
"""The aggregator of a row whose score was chosen with the labels of the test."""

NONE = "–"
HEADERS = ("within", "cross mean", "cross worst")
Row = Mapping[str, Any]


@dataclass(frozen=True)
class AblationRow:
    """One variant of one detector.  The mappings go from ``SUMMARIES`` to fractions; None where there is no number.

    delta        the summary minus that of the reference row
    likeness     source-likeness index of the scalar, mean over cross cells: ½ no leak … 1 a domain classifier
    upper_bound  the score was chosen with the labels of the test
    reason       why there is no number, if there is none in any cell
    """

    detector: str
    group: str
    name: str
    summary: Mapping[str, float | None]
    std: Mapping[str, float | None]
    delta: Mapping[str, float | None]
    likeness: float | None
    upper_bound: bool
    reason: str


def ablation_rows(document: Row, likeness: Mapping[str, float | None] | None = None, reference: str | None = None) -> list[AblationRow]:
    """The rows of ``document`` (``reports.leaderboard``) by detector and group, names in order; the reference's is among them.

    likeness   label of a row → its source-likeness index
    reference  name of the variant that deltas are taken against; by default that of the protocol in ``REFERENCES``.  Without such a row there are
               no deltas.
    """
    likeness = likeness or {}
    reference = reference or REFERENCES.get(document["protocol"], "")
    base = {_parts(row)[0]: row["summary"] for row in document["rows"] if _parts(row)[1] == reference}
    nothing = dict.fromkeys(SUMMARIES)
    rows = []
    for row in sorted(document["rows"], key=lambda row: (_parts(row)[0], row["group"], _parts(row)[1])):
        detector, name = _parts(row)
        rows.append(
            AblationRow(
                detector=detector,
                group=row["group"],
                name=name,
                summary=row["summary"],
                std=row["summary_std"],
                delta={key: _minus(row["summary"][key], base.get(detector, nothing)[key]) for key in SUMMARIES},
                likeness=likeness.get(row["detector"]),
                upper_bound=any(cell["aggregator"] == UPPER_BOUND for cell in row["cells"]),
                reason=_reason(row["cells"]),
            )
        )
    return rows


def ablation_deltas(rows: Sequence[AblationRow]) -> dict[str, dict[str, float | None]]:
    """Variant → summary → difference in points, as ``reports.figures.ablation.ablation_bars`` draws it; rows without any difference are left out."""
    named = dict(zip(SUMMARIES, HEADERS, strict=True))
    return {row.name: {header: _points(row.delta[key]) for key, header in named.items()} for row in rows if any(row.delta[key] for key in SUMMARIES)}


def ablation_blocks(document: Row, likeness: Mapping[str, float | None] | None = None, reference: str | None = None) -> list[Block]:
    """One table per detector and group: summaries in percent, differences in points (− is a loss), the likeness index, notes."""
    rows = ablation_rows(document, likeness, reference)
    measure = str(document["metric"])
    header = ("variant", *HEADERS, *(f"Δ {name}" for name in HEADERS), "source-likeness", "note")
    sections = dict.fromkeys((row.detector, row.group) for row in rows)
    return [
        Block(
            f"{detector}, {group} ({measure} %, differences in points)" if group else f"{detector} ({measure} %)",
            header,
            tuple(_cells(row) for row in rows if (row.detector, row.group) == (detector, group)),
            notes=1,
        )
        for detector, group in sections
    ]


def matrices_beside(document: Row, first: str, second: str) -> Block:
    """Two rows of ``document``, named by their labels, as one source × target matrix: ``first | second`` in each cell.

    ValueError if one of them is not in the document.
    """
    cells: dict[str, dict[tuple[str, str], float | None]] = {
        row["detector"]: {(cell["source"], cell["target"]): cell["mean"] for cell in row["cells"]} for row in document["rows"]
    }
    for label in (first, second):
        if label not in cells:
            raise ValueError(f"no row {label!r} in the document; it has {', '.join(cells)}")
    names = document["datasets"]
    rows = tuple(
        (source, *(f"{_percent(cells[first].get((source, target)))} | {_percent(cells[second].get((source, target)))}" for target in names))
        for source in names
    )
    return Block(f"{first} | {second} ({document['metric']} %)", ("source ↓ target →", *names), rows)


def _parts(row: Row) -> tuple[str, str]:
    detector, _, name = row["detector"].partition(SEPARATOR)
    return detector, name


def _reason(cells: Sequence[Row]) -> str:
    if any(cell["mean"] is not None for cell in cells):
        return ""
    return next((f"{cell['status']}: {cell['reason']}" if cell["status"] != "ok" else cell["reason"] for cell in cells if cell["reason"]), "")


def _minus(value: float | None, base: float | None) -> float | None:
    return None if value is None or base is None else value - base


def _points(value: float | None) -> float | None:
    return None if value is None else 100 * value


def _cells(row: AblationRow) -> tuple[str, ...]:
    summaries = [_percent(row.summary[key], row.std[key]) for key in SUMMARIES]
    deltas = [NONE if (value := _points(row.delta[key])) is None else f"{value:+.2f}".replace("-", "−") for key in SUMMARIES]
    note = "upper bound: chosen with the labels of the test" if row.upper_bound else row.reason
    return (row.name, *summaries, *deltas, NONE if row.likeness is None else f"{row.likeness:.3f}", note)


def _percent(value: float | None, std: float | None = None) -> str:
    if value is None:
        return NONE
    return f"{100 * value:.2f}" if std is None else f"{100 * value:.2f} ± {100 * std:.2f}"
