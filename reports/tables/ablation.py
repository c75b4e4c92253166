"""What each piece is worth: the rows of a protocol with groups, as differences to one of its rows, and how much their scores tell networks apart.

The form is that of the JANUS project's tables: within, cross mean, cross worst, and what a change to the reference row costs or gains; scores ×
backbones; one source × target matrix beside another.  Standard library only.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from types import MappingProxyType
from typing import Any

from janus_bench import plugins
from janus_bench.records import CLASS_SHIFT
from reports.render.layout import Block
from reports.tables.fields import NONE, flags, metric_name
from reports.tables.leaderboard import SUMMARIES
from reports.tables.notes import UPPER_BOUND

__all__ = [
    "SEPARATOR",
    "CellLikeness",
    "ablation_blocks",
    "ablation_deltas",
    "ablation_records",
    "matrices_beside",
    "mechanism_blocks",
    "reference_label",
    "study_of",
]

SEPARATOR = " · "
"""Between a detector and its variant in the name of a row."""

HEADERS = dict(zip(SUMMARIES, ("within", "cross mean", "cross worst"), strict=True))
CELL = "cell"
Row = Mapping[str, Any]


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


def ablation_records(document: Row, likeness: Sequence[CellLikeness] = (), reference: str | None = None) -> list[dict[str, Any]]:
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
    base = {_detector(row["detector"], reference): row for row in document["rows"] if variants.get(row["detector"], "") == reference}
    place = {label: position for position, label in enumerate(dict.fromkeys(cell.detector for cell in likeness))}
    found = {(cell.detector, cell.source, cell.target): cell for cell in likeness}
    records = []
    for row in sorted(document["rows"], key=lambda row: (place.get(row["detector"], len(place)), row["group"], row["detector"])):
        cells = [found.get((row["detector"], cell["source"], cell["target"])) for cell in row["cells"]]
        variant = variants.get(row["detector"], "")
        records += _records_of(row, variant, base.get(_detector(row["detector"], variant)), cells, outside)
    return records


def _records_of(row: Row, variant: str, base: Row | None, likeness: Sequence[CellLikeness | None], outside: Collection[str]) -> list[dict[str, Any]]:
    """``likeness``: of the row's cells, in their order; ``outside``: targets that are in no mean."""
    who = {"detector": row["detector"], "group": row["group"], "variant": variant, "upper_bound": row["upper_bound"]}
    who |= {"reference": base is not None and base["detector"] == row["detector"], "aggregator": row["aggregator"]}
    base_cells = {} if base is None else {(cell["source"], cell["target"]): cell["mean"] for cell in base["cells"]}
    both = list(zip(row["cells"], likeness, strict=True))
    records = []
    for name in SUMMARIES:
        own = [(cell, like) for cell, like in both if (cell["source"] == cell["target"]) is (name == "within_mean") and cell["target"] not in outside]
        mean = row["summary"][name]
        numbers = {"mean": mean, "std": row["summary_std"][name], "delta": _minus(mean, None if base is None else base["summary"][name])}
        numbers |= _mean_of([like for _, like in own] if name != "cross_worst" else [])
        numbers |= {"n_seeds": min((cell["n_seeds"] for cell, _ in own), default=0), "in_means": True}
        records.append({**who, "what": name, "source": None, "target": None, **numbers, **_status([cell for cell, _ in own], mean)})
    for cell, like in both:
        where = {"what": CELL, "source": cell["source"], "target": cell["target"]}
        delta = _minus(cell["mean"], base_cells.get((cell["source"], cell["target"])))
        numbers = {"mean": cell["mean"], "std": cell["std"], "delta": delta, **_mean_of([like])}
        numbers |= {"n_seeds": cell["n_seeds"], "in_means": cell["target"] not in outside}
        records.append({**who, **where, **numbers, **_status([cell], cell["mean"])})
    return records


def _mean_of(cells: Sequence[CellLikeness | None]) -> dict[str, float | None]:
    """The mean over cells, if there are any and all have an index."""
    there = [(like.index, like.area) for like in cells if like is not None and like.index is not None and like.area is not None]
    if not there or len(there) < len(cells):
        return {"likeness": None, "likeness_auroc": None}
    return {"likeness": fmean(index for index, _ in there), "likeness_auroc": fmean(area for _, area in there)}


def _detector(label: str, variant: str) -> str:
    """A row's name without its variant's: what the variants of one detector share."""
    return label.removesuffix(f"{SEPARATOR}{variant}") if variant else label


def study_of(document: Row) -> tuple[str, str]:
    """The variants that the document's protocol declares as its reference and as the one beside it; empty where it declares none."""
    protocol = plugins.protocols().get(document["protocol"])
    return (protocol.reference, protocol.beside) if protocol is not None else ("", "")


def _status(cells: Sequence[Row], mean: float | None) -> dict[str, str]:
    """Of the first cell that is not ok or has no number; a number made without it needs no reason."""
    found = next((cell for cell in cells if cell["status"] != "ok" or cell["mean"] is None), None)
    if found is None or (mean is not None and len(cells) > 1):
        return {"status": "ok", "reason": ""}
    return {"status": found["status"], "reason": found["reason"]}


def _minus(value: float | None, base: float | None) -> float | None:
    return None if value is None or base is None else value - base


# -- differences -------------------------------------------------------------------------------------------------------------------


def reference_label(document: Row, variants: Mapping[str, str]) -> str | None:
    """The row that the protocol's others are compared with, of the first detector that has it; None if the protocol declares none.

    variants  label → the row's variant
    """
    reference, _ = study_of(document)
    return min((label for label, variant in variants.items() if variant and variant == reference), default=None)


def ablation_deltas(
    document: Row, reference: str, labels: Sequence[str] = (), variants: Mapping[str, str] = MappingProxyType({})
) -> dict[str, dict[str, float | None]]:
    """Name → summary → difference to the row ``reference`` in points, as ``reports.figures.ablation.ablation_bars`` draws it.

    labels    rows to compare; by default the other variants of the same detector, by group and name; all other rows where the reference is no variant
    variants  label → the row's variant
    """
    rows = {row["detector"]: row for row in document["rows"]}
    of = {label: (_detector(label, variants.get(label, "")), variants.get(label, "")) for label in rows}
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
            header: _points(_minus(row["summary"][key], base[key])) for key, header in HEADERS.items()
        }
    return deltas


def _points(value: float | None) -> float | None:
    return None if value is None else 100 * value


# -- blocks ------------------------------------------------------------------------------------------------------------------------

ByWhat = Mapping[str, Row]


def ablation_blocks(document: Row, records: Sequence[Row]) -> list[Block]:
    """One table per detector and group, and the matrices of two of its rows beside each other."""
    return [*_sections(document, records), *_beside(document, records)]


def mechanism_blocks(document: Row, records: Sequence[Row]) -> list[Block]:
    """Scores × backbones, then as ``ablation_blocks``."""
    return [*_grids(document, records), *_sections(document, records), *_beside(document, records)]


def _by_row(records: Sequence[Row]) -> dict[str, dict[str, Row]]:
    """Label → summary → record."""
    found: dict[str, dict[str, Row]] = {}
    for record in records:
        if record["what"] != CELL:
            found.setdefault(record["detector"], {})[record["what"]] = record
    return found


def _sections(document: Row, records: Sequence[Row]) -> list[Block]:
    """Summaries in percent, differences in points, likeness index, notes; a column without any number is left out."""
    sections: dict[tuple[str, str], list[tuple[str, ...]]] = {}
    for label, summaries in _by_row(records).items():
        first = summaries["within_mean"]
        cells = [_percent(summaries[key]["mean"], summaries[key]["std"]) for key in SUMMARIES]
        deltas = [_signed(_points(summaries[key]["delta"])) for key in SUMMARIES]
        line = (_name(first), *cells, *deltas, _likeness(label, summaries, records), _note(first, summaries))
        sections.setdefault((_detector(label, first["variant"]), first["group"]), []).append(line)
    header = ("variant", *HEADERS.values(), *(f"Δ {name}" for name in HEADERS.values()), "source-likeness", "note")
    return [
        _without_empty(Block(f"{', '.join(filter(None, who))}: {metric_name(document)} in %{flags(document)}", header, tuple(lines), notes=1))
        for who, lines in sections.items()
    ]


def _name(record: Row) -> str:
    name = (record["variant"] or record["detector"]).removeprefix(f"{record['group']}: ")
    return f"{name} {UPPER_BOUND}" if record["upper_bound"] else name


def _note(first: Row, summaries: ByWhat) -> str:
    if first["upper_bound"]:
        return "upper bound of single scores, chosen with the labels of the test"
    if first["reference"]:
        return "reference of Δ"
    absent = next((record for record in summaries.values() if record["mean"] is None and record["reason"]), None)
    if absent is None:
        return ""
    if absent["status"] != "ok":
        return f"{absent['status']}: {absent['reason']}"
    column = first["aggregator"].removeprefix("column:")
    return f"no score column {column}" if column != first["aggregator"] else str(absent["reason"])


def _likeness(label: str, summaries: ByWhat, records: Sequence[Row]) -> str:
    """``0.871 (+9 −3)``: the mean, and in how many cells the target's or the source's flows look the more anomalous."""
    index = summaries["cross_mean"]["likeness"]
    if index is None:
        return NONE
    own = [record for record in records if (record["detector"], record["what"]) == (label, CELL) and record["in_means"]]
    cells = [record for record in own if record["source"] != record["target"]]
    target, source = (sum(sign * (record["likeness_auroc"] - 0.5) > 0 for record in cells) for sign in (1, -1))
    return f"{index:.3f} (+{target} −{source})"


def _without_empty(block: Block) -> Block:
    kept = [place for place in range(len(block.header)) if block.is_text(place) or any(row[place] != NONE for row in block.rows)]
    return Block(
        block.title,
        tuple(block.header[place] for place in kept),
        tuple(tuple(row[place] for place in kept) for row in block.rows),
        block.left,
        block.notes,
    )


def _grids(document: Row, records: Sequence[Row]) -> list[Block]:
    """Per detector: scores in rows, backbones in columns; only rows whose variant is named ``group: score``."""
    found: dict[str, dict[tuple[str, str], str]] = {}
    for summaries in _by_row(records).values():
        cross = summaries["cross_mean"]
        group, colon, score = cross["variant"].partition(": ")
        if colon and group == cross["group"]:
            text = f"{_percent(cross['mean'])} | {_index(cross['likeness'])}"
            found.setdefault(_detector(cross["detector"], cross["variant"]), {})[score, group] = text if cross["mean"] is not None else NONE
    blocks = []
    for detector, cells in found.items():
        scores, groups = (list(dict.fromkeys(key[end] for key in cells)) for end in (0, 1))
        rows = tuple((score, *(cells.get((score, group), NONE) for group in groups)) for score in scores)
        title = f"{detector}, scores × backbones: cross mean of {metric_name(document)} in % | source-likeness{flags(document)}"
        blocks.append(Block(title, ("score", *groups), rows))
    return blocks


def _beside(document: Row, records: Sequence[Row]) -> list[Block]:
    """Per detector: the metric, then the likeness index, of the protocol's two rows; nothing where it has not both."""
    second, first = study_of(document)
    there = {(_detector(record["detector"], record["variant"]), record["variant"]): record["detector"] for record in records}
    blocks = []
    for detector in dict.fromkeys(detector for detector, _ in there):
        pair = (there.get((detector, first)), there.get((detector, second)))
        if pair[0] is not None and pair[1] is not None:
            labels, title = (pair[0], pair[1]), f"{detector}: {first} | {second}"
            blocks.append(matrices_beside(document, records, labels, f"{title}, {metric_name(document)} in %", "mean", _percent))
            if any(record["likeness"] is not None for record in records if record["detector"] in labels):
                blocks.append(matrices_beside(document, records, labels, f"{title}, source-likeness", "likeness", _index))
    return blocks


def matrices_beside(
    document: Row, records: Sequence[Row], labels: tuple[str, str], title: str, what: str, text: Callable[[float | None], str]
) -> Block:
    """Two rows, named by their labels, as one source × target matrix of the number ``what`` of their cells: ``first | second`` in each."""
    found = {(record["detector"], record["source"], record["target"]): record[what] for record in records if record["what"] == CELL}
    names = document["datasets"]
    rows = tuple((source, *(" | ".join(text(found.get((label, source, target))) for label in labels) for target in names)) for source in names)
    return Block(f"{title}{flags(document)}", ("source ↓ target →", *names), rows)


def _percent(value: float | None, std: float | None = None) -> str:
    if value is None:
        return NONE
    return f"{100 * value:.2f}" if std is None else f"{100 * value:.2f} ± {100 * std:.2f}"


def _signed(points: float | None) -> str:
    return NONE if points is None else f"{points:+.2f}".replace("-", "−").replace("−0.00", "+0.00")


def _index(value: float | None) -> str:
    return NONE if value is None else f"{value:.3f}"
