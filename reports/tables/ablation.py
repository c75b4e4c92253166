"""What each piece is worth: the rows of a protocol with groups, as differences to one of its rows, and how much their scores tell networks apart.

``reports.tables.studies`` makes tables of them.  Standard library only.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from types import MappingProxyType
from typing import cast

from janus_bench import plugins
from janus_bench.records import CLASS_SHIFT
from reports.tables.document import SUMMARIES, AblationRecord, Board, BoardCell, BoardRow, SummaryName
from reports.tables.notes import UPPER_BOUND

__all__ = ["SEPARATOR", "CellLikeness", "ablation_deltas", "ablation_records", "points", "reference_label", "study_of", "without_variant"]

SEPARATOR = " · "
"""Between a detector and its variant in the name of a row."""

HEADERS: Mapping[SummaryName, str] = dict(zip(SUMMARIES, ("within", "cross mean", "cross worst"), strict=True))


@dataclass(frozen=True)
class CellLikeness:
    """How much the scalar of one row tells the source's benign flows from the target's (``protocols.operations.source_likeness``), means over seeds.

    variant  of the row's protocol, empty where it has only one
    index  max(a, 1 − a): ½ no leak … 1 a domain classifier; None unless every seed has one
    area   a itself, target positive: above ½ the target's flows look the more anomalous
    """

    detector: str
    variant: str
    source: str
    target: str
    index: float | None
    area: float | None


# -- records -----------------------------------------------------------------------------------------------------------------------


def ablation_records(document: Board, likeness: Sequence[CellLikeness] = (), reference: str | None = None) -> list[AblationRecord]:
    """One record per row of ``document`` (``reports.tables.leaderboard``) and summary or cell, as fractions; None where there is no number.

    likeness   of cells, rows in the order in which they are to be shown; rows that it does not have come last, by group and name
    reference  name of the variant that deltas are taken against; by default the one that the protocol declares.  Without such a row there are no
               deltas.

    ``what`` is a name of ``SUMMARIES`` or ``cell``.  ``likeness`` of a mean is the mean over its cells, if all have one; cells that test on a
    class shift are ``in_means`` no more than in the metric's.
    """
    outside = {name for name, info in document["datasets_info"].items() if info["task"] == CLASS_SHIFT}
    reference = study_of(document)[0] if reference is None else reference
    variants = {cell.detector: cell.variant for cell in likeness}
    base = {without_variant(row["detector"], reference): row for row in document["rows"] if variants.get(row["detector"], "") == reference}
    place = {label: position for position, label in enumerate(dict.fromkeys(cell.detector for cell in likeness))}
    found = {(cell.detector, cell.source, cell.target): cell for cell in likeness}
    records: list[AblationRecord] = []
    for row in sorted(document["rows"], key=lambda row: (place.get(row["detector"], len(place)), row["group"], row["detector"])):
        cells = [found.get((row["detector"], cell["source"], cell["target"])) for cell in row["cells"]]
        variant = variants.get(row["detector"], "")
        records += _records_of(row, variant, base.get(without_variant(row["detector"], variant)), cells, outside)
    return records


def _records_of(
    row: BoardRow, variant: str, base: BoardRow | None, likeness: Sequence[CellLikeness | None], outside: Collection[str]
) -> list[AblationRecord]:
    """``likeness``: of the row's cells, in their order; ``outside``: targets that are in no mean."""
    who: dict[str, object] = {"detector": row["detector"], "group": row["group"], "variant": variant, "upper_bound": row["upper_bound"]}
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


def without_variant(label: str, variant: str) -> str:
    """A row's name without its variant's: what the variants of one detector share."""
    return label.removesuffix(f"{SEPARATOR}{variant}") if variant else label


def study_of(document: Board) -> tuple[str, str]:
    """The variants that the document's protocol declares as its reference and as the one beside it; empty where it declares none."""
    protocol = plugins.protocols().get(document["protocol"])
    return (protocol.reference, protocol.beside) if protocol is not None else ("", "")


def _status(cells: Sequence[BoardCell], mean: float | None) -> dict[str, str]:
    """Of the first cell that is not ok or has no number; a number made without it needs no reason."""
    found = next((cell for cell in cells if cell["status"] != "ok" or cell["mean"] is None), None)
    if found is None or (mean is not None and len(cells) > 1):
        return {"status": "ok", "reason": ""}
    return {"status": found["status"], "reason": found["reason"]}


def _minus(value: float | None, base: float | None) -> float | None:
    return None if value is None or base is None else value - base


# -- differences -------------------------------------------------------------------------------------------------------------------


def reference_label(document: Board, variants: Mapping[str, str]) -> str | None:
    """The row that the protocol's others are compared with, of the first detector that has it; None if the protocol declares none.

    variants  label → the row's variant
    """
    reference, _ = study_of(document)
    return min((label for label, variant in variants.items() if variant and variant == reference), default=None)


def ablation_deltas(
    document: Board, reference: str, labels: Sequence[str] = (), variants: Mapping[str, str] = MappingProxyType({})
) -> dict[str, dict[str, float | None]]:
    """Name → summary → difference to the row ``reference`` in points, as ``reports.figures.ablation.ablation_bars`` draws it.

    labels    rows to compare; by default the other variants of the same detector, by group and name; all other rows where the reference is no variant
    variants  label → the row's variant
    """
    rows = {row["detector"]: row for row in document["rows"]}
    of = {label: (without_variant(label, variants.get(label, "")), variants.get(label, "")) for label in rows}
    detector, variant = of[reference]
    if not labels and variant:
        own = [label for label in rows if of[label][0] == detector and label != reference]
        labels = sorted(own, key=lambda label: (rows[label]["group"], of[label][1]))
    deltas = {}
    for label in labels or [label for label in rows if label != reference]:
        row = rows[label]
        shown = of[label][1] if variant and of[label][0] == detector else label
        base = rows[reference]["summary"]
        deltas[f"{shown} {UPPER_BOUND} upper bound" if row["upper_bound"] else shown] = {
            header: points(_minus(row["summary"][key], base[key])) for key, header in HEADERS.items()
        }
    return deltas


def points(value: float | None) -> float | None:
    return None if value is None else 100 * value
