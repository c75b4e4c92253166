"""What each piece is worth: the rows of a protocol with groups, as differences to one of its rows, and how much their
scores tell networks apart.

``reports.tables.studies`` makes tables of them.  Standard library only.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, cast

from janus_bench import plugins
from janus_bench.records import CLASS_SHIFT, OVERLAID
from reports.tables.document import SUMMARIES, AblationRecord, Board, BoardCell, BoardRow, SummaryName
from reports.tables.fields import UPPER_BOUND, mean_of_all

SEPARATOR = " · "  # Between a detector and its variant in the name of a row.

HEADERS: Mapping[SummaryName, str] = dict(zip(SUMMARIES, ("within", "cross mean", "cross worst"), strict=True))


@dataclass(frozen=True)
class CellLikeness:
    """How much the scalar of one row tells the source's benign flows from the target's
    (``protocols.operations.source_likeness``), means over seeds.

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


def ablation_records(document: Board, likeness: Sequence[CellLikeness] = ()) -> list[AblationRecord]:
    """One record per row of ``document`` (``reports.tables.leaderboard``) and summary or cell, as fractions; None where
    there is no number.

    likeness  of cells, rows in the order in which they are to be shown; rows that it does not have come last, by group
              and name

    ``what`` is a name of ``SUMMARIES`` or ``cell``.  Deltas are taken against the variant that the protocol declares as
    its reference; without such a row there are none.  ``likeness`` of a mean is the mean over its cells, if all have
    one; cells that test on a class shift are ``in_means`` no more than in the metric's.
    """
    outside = {
        name for name, info in document["datasets_info"].items() if info["task"] == CLASS_SHIFT or info["attack"] == 0
    }
    reference = study_of(document)[0]
    variants = {cell.detector: cell.variant for cell in likeness}
    base = {
        without_variant(row["detector"], reference): row
        for row in document["rows"]
        if variants.get(row["detector"], "") == reference
    }
    place = {label: position for position, label in enumerate(dict.fromkeys(cell.detector for cell in likeness))}
    found = {(cell.detector, cell.source, cell.target): cell for cell in likeness}
    records: list[AblationRecord] = []
    for row in sorted(
        document["rows"], key=lambda row: (place.get(row["detector"], len(place)), row["group"], row["detector"])
    ):
        cells = [(cell, found.get((row["detector"], cell["source"], cell["target"]))) for cell in row["cells"]]
        variant = variants.get(row["detector"], "")
        records += _records_of(row, variant, base.get(without_variant(row["detector"], variant)), cells, outside)
    return records


Measured = tuple[BoardCell, CellLikeness | None]


def _records_of(
    row: BoardRow, variant: str, base: BoardRow | None, cells: Sequence[Measured], outside: Collection[str]
) -> list[AblationRecord]:
    """``outside``: targets that are in no mean."""
    who = {"detector": row["detector"], "group": row["group"], "variant": variant, "upper_bound": row["upper_bound"]}
    who |= {"reference": base is not None and base["detector"] == row["detector"], "aggregator": row["aggregator"]}

    def record(
        what: str, own: Sequence[Measured], of: Mapping[str, Any], minus: float | None, in_means: bool = True
    ) -> AblationRecord:
        found: dict[str, Any] = {
            "what": what,
            "source": of.get("source"),
            "target": of.get("target"),
            "mean": of["mean"],
            "std": of["std"],
        }
        likes = [like for _, like in own] if what != "cross_worst" else []
        index, area = (
            mean_of_all([None if like is None else getattr(like, name) for like in likes]) for name in ("index", "area")
        )
        found |= {"delta": _minus(of["mean"], minus), "likeness": index, "likeness_auroc": area}
        found |= {"n_seeds": min((cell["n_seeds"] for cell, _ in own), default=0), "in_means": in_means}
        return cast("AblationRecord", {**who, **found, **_status([cell for cell, _ in own], of["mean"])})

    records = []
    for name in SUMMARIES:
        own = [
            each
            for each in cells
            if (each[0]["source"] == each[0]["target"]) is (name == "within_mean") and each[0]["target"] not in outside
        ]
        of = {"mean": row["summary"][name], "std": row["summary_std"][name]}
        records.append(record(name, own, of, None if base is None else base["summary"][name]))
    base_cells = {} if base is None else {(cell["source"], cell["target"]): cell["mean"] for cell in base["cells"]}
    for each in cells:
        minus = base_cells.get((each[0]["source"], each[0]["target"]))
        records.append(record("cell", [each], each[0], minus, in_means=each[0]["target"] not in outside))
    return records


def without_variant(label: str, variant: str) -> str:
    """A row's name without its variant's: what the variants of one detector share."""
    return label.removesuffix(f"{SEPARATOR}{variant}") if variant else label


def study_of(document: Board) -> tuple[str, str]:
    """The variants that the document's protocol declares as its reference and as the one beside it; empty where it
    declares none."""
    protocol = plugins.protocols().get(document["protocol"].removesuffix(OVERLAID))
    return (protocol.reference, protocol.beside) if protocol is not None else ("", "")


def _status(cells: Sequence[BoardCell], mean: float | None) -> dict[str, str]:
    """Of the first cell that is not ok or has no number; a number made without it needs no reason."""
    found = next((cell for cell in cells if cell["status"] != "ok" or cell["mean"] is None), None)
    if found is None or (mean is not None and len(cells) > 1):
        return {"status": "ok", "reason": ""}
    return {"status": found["status"], "reason": found["reason"]}


def _minus(value: float | None, base: float | None) -> float | None:
    return None if value is None or base is None else value - base


def reference_label(document: Board, variants: Mapping[str, str]) -> str | None:
    """The row that the protocol's others are compared with, of the first detector that has it; None if the protocol
    declares none.

    variants  label → the row's variant
    """
    reference, _ = study_of(document)
    return min((label for label, variant in variants.items() if variant and variant == reference), default=None)


def ablation_deltas(
    document: Board, reference: str, labels: Sequence[str] = (), variants: Mapping[str, str] = MappingProxyType({})
) -> dict[str, dict[str, float | None]]:
    """Name → summary → difference to the row ``reference`` in points, as ``reports.figures.ablation.ablation_bars``
    draws it.

    labels    rows to compare; by default the other variants of the same detector, by group and name; all other rows
              where the reference is no variant
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
