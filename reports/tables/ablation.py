"""What each piece is worth: the rows of a protocol with groups, as differences to one of its rows, and how much their scores tell networks apart.

``reports.tables.studies`` makes tables of them.  Standard library only.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import cast

from janus_bench.records import CLASS_SHIFT
from reports.tables.document import SUMMARIES, AblationRecord, Board, BoardCell, BoardRow, SummaryName
from reports.tables.notes import UPPER_BOUND

__all__ = ["BESIDE", "REFERENCES", "SEPARATOR", "CellLikeness", "ablation_deltas", "ablation_records", "points", "reference_label"]

REFERENCES = {"ablation": "A5 OAS", "mechanism": "OAS over ten"}
"""Protocol → the variant that the others are compared with."""

BESIDE = {"ablation": "A1 terminal_norm", "mechanism": "causal packets, mixed heads: terminal_norm"}
"""Protocol → the variant whose matrix stands beside that of the reference."""

SEPARATOR = " · "
"""Between a detector and its variant in the name of a row."""

HEADERS: Mapping[SummaryName, str] = dict(zip(SUMMARIES, ("within", "cross mean", "cross worst"), strict=True))


@dataclass(frozen=True)
class CellLikeness:
    """How much the scalar of one row tells the source's benign flows from the target's (``protocols.operations.source_likeness``), means over seeds.

    index  max(a, 1 − a): ½ no leak … 1 a domain classifier; None unless every seed has one
    area   a itself, target positive: above ½ the target's flows look the more anomalous
    """

    detector: str
    source: str
    target: str
    index: float | None
    area: float | None


# -- records -----------------------------------------------------------------------------------------------------------------------


def ablation_records(document: Board, likeness: Sequence[CellLikeness] = (), reference: str | None = None) -> list[AblationRecord]:
    """One record per row of ``document`` (``reports.tables.leaderboard``) and summary or cell, as fractions; None where there is no number.

    likeness   of cells, rows in the order in which they are to be shown; rows that it does not have come last, by detector, group and name
    reference  name of the variant that deltas are taken against; by default that of the protocol in ``REFERENCES``.  Without such a row there are
               no deltas.

    ``what`` is a name of ``SUMMARIES`` or ``cell``.  ``likeness`` of a mean is the mean over its cells, if all have one; cells that test on a
    class shift are ``in_means`` no more than in the metric's.
    """
    outside = {name for name, info in document["datasets_info"].items() if info["task"] == CLASS_SHIFT}
    reference = REFERENCES.get(document["protocol"], "") if reference is None else reference
    base = {_parts(row)[0]: row for row in document["rows"] if _parts(row)[1] == reference}
    place = {label: position for position, label in enumerate(dict.fromkeys(cell.detector for cell in likeness))}
    found = {(cell.detector, cell.source, cell.target): cell for cell in likeness}
    records: list[AblationRecord] = []
    for row in sorted(document["rows"], key=lambda row: (place.get(row["detector"], len(place)), _parts(row)[0], row["group"], _parts(row)[1])):
        cells = [found.get((row["detector"], cell["source"], cell["target"])) for cell in row["cells"]]
        records += _records_of(row, base.get(_parts(row)[0]), cells, outside)
    return records


def _records_of(row: BoardRow, base: BoardRow | None, likeness: Sequence[CellLikeness | None], outside: Collection[str]) -> list[AblationRecord]:
    """``likeness``: of the row's cells, in their order; ``outside``: targets that are in no mean."""
    who: dict[str, object] = {"detector": row["detector"], "group": row["group"], "variant": _parts(row)[1], "upper_bound": row["upper_bound"]}
    who |= {"reference": base is not None and base["detector"] == row["detector"], "aggregator": row["aggregator"]}
    base_cells = {} if base is None else {(cell["source"], cell["target"]): cell["mean"] for cell in base["cells"]}
    both = list(zip(row["cells"], likeness, strict=True))
    records = []
    for name in SUMMARIES:
        own = [(cell, like) for cell, like in both if (cell["source"] == cell["target"]) is (name == "within_mean") and cell["target"] not in outside]
        mean = row["summary"][name]
        numbers: dict[str, object] = {
            "mean": mean,
            "std": row["summary_std"][name],
            "delta": _minus(mean, None if base is None else base["summary"][name]),
        }
        numbers |= _mean_of([like for _, like in own] if name != "cross_worst" else [])
        numbers |= {"n_seeds": min((cell["n_seeds"] for cell, _ in own), default=0), "in_means": True}
        rest = _status([cell for cell, _ in own], mean)
        records.append(cast("AblationRecord", {**who, "what": name, "source": None, "target": None, **numbers, **rest}))
    for cell, like in both:
        where = {"what": "cell", "source": cell["source"], "target": cell["target"]}
        delta = _minus(cell["mean"], base_cells.get((cell["source"], cell["target"])))
        numbers = {"mean": cell["mean"], "std": cell["std"], "delta": delta, **_mean_of([like])}
        numbers |= {"n_seeds": cell["n_seeds"], "in_means": cell["target"] not in outside}
        records.append(cast("AblationRecord", {**who, **where, **numbers, **_status([cell], cell["mean"])}))
    return records


def _mean_of(cells: Sequence[CellLikeness | None]) -> dict[str, float | None]:
    """The mean over cells, if there are any and all have an index."""
    there = [(like.index, like.area) for like in cells if like is not None and like.index is not None and like.area is not None]
    if not there or len(there) < len(cells):
        return {"likeness": None, "likeness_auroc": None}
    return {"likeness": fmean(index for index, _ in there), "likeness_auroc": fmean(area for _, area in there)}


def _parts(row: BoardRow) -> tuple[str, str]:
    detector, _, name = row["detector"].partition(SEPARATOR)
    return detector, name


def _status(cells: Sequence[BoardCell], mean: float | None) -> dict[str, str]:
    """Of the first cell that is not ok or has no number; a number made without it needs no reason."""
    found = next((cell for cell in cells if cell["status"] != "ok" or cell["mean"] is None), None)
    if found is None or (mean is not None and len(cells) > 1):
        return {"status": "ok", "reason": ""}
    return {"status": found["status"], "reason": found["reason"]}


def _minus(value: float | None, base: float | None) -> float | None:
    return None if value is None or base is None else value - base


# -- differences -------------------------------------------------------------------------------------------------------------------


def reference_label(document: Board) -> str | None:
    """The row that the protocol's others are compared with, of the first detector that has it; None if the protocol names none."""
    labels = sorted(row["detector"] for row in document["rows"] if _parts(row)[1] and _parts(row)[1] == REFERENCES.get(document["protocol"]))
    return labels[0] if labels else None


def ablation_deltas(document: Board, reference: str, labels: Sequence[str] = ()) -> dict[str, dict[str, float | None]]:
    """Name → summary → difference to the row ``reference`` in points, as ``reports.figures.ablation.ablation_bars`` draws it.

    labels  rows to compare; by default the other variants of the same detector, by group and name; all other rows where the reference is no variant
    """
    rows = {row["detector"]: row for row in document["rows"]}
    detector, variant = _parts(rows[reference])
    if not labels and variant:
        own = [row for row in document["rows"] if _parts(row)[0] == detector and row["detector"] != reference]
        labels = [row["detector"] for row in sorted(own, key=lambda row: (row["group"], _parts(row)[1]))]
    deltas = {}
    for label in labels or [label for label in rows if label != reference]:
        row = rows[label]
        own_detector, name = _parts(row)
        shown = name if variant and own_detector == detector else label
        base = rows[reference]["summary"]
        deltas[f"{shown} {UPPER_BOUND} upper bound" if row["upper_bound"] else shown] = {
            header: points(_minus(row["summary"][key], base[key])) for key, header in HEADERS.items()
        }
    return deltas


def points(value: float | None) -> float | None:
    return None if value is None else 100 * value
