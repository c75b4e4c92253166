"""Tables in place of the leaderboard and its matrices: attack families, thresholds, alerts a day, spread over seeds.  Standard library only.

A table is made of *records* (what CSV, Parquet and JSON hold) and shown as *blocks* of text.  Adding one is adding an entry to ``TABLES``.
All functions that make records have one signature.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any, Literal

from reports.render.html.evidence import CONTROL, CellEvidence, ThresholdEvidence
from reports.render.html.table import share, whole
from reports.render.layout import Block
from reports.tables.ablation import (
    SEPARATOR,
    CellLikeness,
    ablation_blocks,
    ablation_records,
    mechanism_blocks,
)
from reports.tables.fields import (
    NONE,
    SMALL_FAMILY,
    count,
    flags,
    metric_name,
    name_of,
    number,
    spread,
)

__all__ = ["LEADERBOARD", "TABLES", "Operations", "Table", "blocks_of", "with_details"]

LEADERBOARD = "leaderboard"
"""The name of the table that needs no details."""
CONTROL_NAME = "control"
THRESHOLDS = ("P95", "P99", "P99.9")

Row = Mapping[str, Any]
Records = list[dict[str, Any]]


@dataclass(frozen=True)
class Operations:
    """What alerts a day are asked for: the volume, the base rates, and a function (TPR, FPR, its bounds, flows a day, base rate) → false alerts a day
    and their bounds, true alerts a day, PPV and its bounds."""

    flows_per_day: int
    base_rates: tuple[float, ...]
    compute: Callable[[float, float, tuple[float, float], int, float], Mapping[str, float | None]]


@dataclass(frozen=True)
class Table:
    """``records``: of a leaderboard document, the evidence of its cells and the operations asked for; ``blocks``: the same as text.

    evidence  what is wanted of each cell: ``scores`` (``CellEvidence``), ``likeness`` (``reports.tables.ablation.CellLikeness``) or ``none``
    """

    summary: str
    title: str
    records: Callable[[Row, Sequence[Any], Operations], Records]
    blocks: Callable[[Row, Sequence[Row]], list[Block]]
    notes: tuple[str, ...] = ()
    evidence: Literal["scores", "likeness", "none"] = "scores"


def with_details(document: Row, name: str, cells: Sequence[Any], operations: Operations) -> dict[str, Any]:
    """The leaderboard document with ``details``: {table, title, records}, and with the table's notes; ``name``: one of ``TABLES``.

    ``cells``: the evidence that the table wants.
    """
    table = TABLES[name]
    details = {"table": name, "title": table.title, "records": table.records(document, cells, operations)}
    return {**document, "details": details, "notes": [*document["notes"], *table.notes]}


def blocks_of(document: Row) -> list[Block]:
    """The details of a document as text."""
    return TABLES[document["details"]["table"]].blocks(document, document["details"]["records"])


# -- what all share ----------------------------------------------------------------------------------------------------------------


def _ordered(document: Row, cells: Sequence[CellEvidence]) -> list[CellEvidence]:
    """By detector as ranked, then target, then source, the control last."""
    place = {row["detector"]: position for position, row in enumerate(document["rows"])}
    dataset = {name: position for position, name in enumerate([*document["datasets"], CONTROL])}
    return sorted(cells, key=lambda cell: (place[cell.detector], dataset[cell.target], dataset[cell.source]))


def _where(cell: CellEvidence) -> dict[str, Any]:
    return {"detector": cell.detector, "source": None if cell.source == CONTROL else cell.source, "target": cell.target, "n_seeds": cell.n_seeds}


def _names(document: Row) -> dict[str, str]:
    """Label → with its dagger."""
    return {row["detector"]: name_of(row) for row in document["rows"]}


def _cell_name(record: Row) -> str:
    return f"{record['source'] or CONTROL_NAME} → {record['target']}"


def _mean(values: Sequence[float | None]) -> float | None:
    """None unless all are there."""
    there = [value for value in values if value is not None]
    return fmean(there) if there and len(there) == len(values) else None


def _range(low: float | None, high: float | None, text: Callable[[float | None], str]) -> str:
    return NONE if low is None or high is None else f"{text(low)} to {text(high)}"


# -- thresholds --------------------------------------------------------------------------------------------------------------------

AT_THRESHOLD = ("fpr", "fpr_low", "fpr_high", "recall", "precision", "f1", "n_benign", "n_attack", "n_cal")


def _at(at: ThresholdEvidence | None, names: Sequence[str]) -> dict[str, Any]:
    return {name: None if at is None else getattr(at, name) for name in names}


def _threshold_records(document: Row, cells: Sequence[CellEvidence], operations: Operations) -> Records:  # noqa: ARG001
    """A threshold that so few calibration flows cannot give has a record without numbers."""
    return [
        _where(cell) | {"threshold": name} | _at(cell.thresholds.get(name), AT_THRESHOLD) for cell in _ordered(document, cells) for name in THRESHOLDS
    ]


def _threshold_blocks(document: Row, records: Sequence[Row]) -> list[Block]:
    names = _names(document)
    shown = [name for name in THRESHOLDS if any(record["fpr"] is not None for record in records if record["threshold"] == name)]
    summary = []
    for label in dict.fromkeys(record["detector"] for record in records):
        cells = []
        for threshold in shown:
            own = [record for record in records if (record["detector"], record["threshold"]) == (label, threshold) and record["source"] is not None]
            for diagonal in (True, False):
                chosen = [record for record in own if (record["source"] == record["target"]) is diagonal]
                cells += [share(_mean([record["fpr"] for record in chosen])), number(_mean([record["recall"] for record in chosen]))]
        summary.append((names[label], *cells))
    heads = [f"{threshold} {where} {what}" for threshold in shown for where in ("within", "cross") for what in ("FPR", "recall")]
    blocks = [Block(f"Mean realised FPR and recall, τ from calibration flows B{flags(document)}", ("detector", *heads), tuple(summary))]
    header = ("detector", "source → target", "FPR", "95 %", "recall", "precision", "F1", "benign", "attack", "cal B")
    for threshold in shown:
        rows = tuple(
            (
                *(names[record["detector"]], _cell_name(record), share(record["fpr"]), _range(record["fpr_low"], record["fpr_high"], share)),
                *(number(record[name]) for name in ("recall", "precision", "f1")),
                *(count(record[name]) for name in ("n_benign", "n_attack", "n_cal")),
            )
            for record in records
            if record["threshold"] == threshold
        )
        blocks.append(Block(f"τ = {threshold} of calibration flows B{flags(document)}", header, rows, left=2))
    return blocks


# -- alerts a day ------------------------------------------------------------------------------------------------------------------

OF_DAY = ("false_alerts", "false_alerts_low", "false_alerts_high", "true_alerts", "ppv", "ppv_low", "ppv_high")


def _alert_records(document: Row, cells: Sequence[CellEvidence], operations: Operations) -> Records:
    """Without numbers, and with the reason, where so few benign test flows cannot tell them."""
    records = []
    for cell in _ordered(document, cells):
        for name in THRESHOLDS:
            at = cell.thresholds.get(name)
            for base_rate in operations.base_rates:
                asked = {"threshold": name, "base_rate": base_rate, "flows_per_day": operations.flows_per_day}
                records.append(_where(cell) | asked | _at(at, ("fpr", "recall")) | _a_day(at, operations, base_rate))
    return records


def _a_day(at: ThresholdEvidence | None, operations: Operations, base_rate: float) -> dict[str, Any]:
    nothing = dict.fromkeys(OF_DAY)
    if at is None:
        return {**nothing, "reason": "too few calibration flows B"}
    if at.recall is None:
        return {**nothing, "reason": "no attacks"}
    if not at.measured:
        return {**nothing, "reason": "too few false alerts on the benign test flows"}
    found = operations.compute(at.recall, at.fpr, (at.fpr_low, at.fpr_high), operations.flows_per_day, base_rate)
    return {**{name: found[name] for name in OF_DAY}, "reason": ""}


def _alert_blocks(document: Row, records: Sequence[Row]) -> list[Block]:
    """False alerts hardly depend on the base rate: those of the lowest are shown, and the PPV of every one."""
    names = _names(document)
    rates = sorted({record["base_rate"] for record in records}, reverse=True)
    header = ("detector", "source → target", "FPR", "recall", "false alerts a day", "95 %", *(f"PPV at {rate:g}" for rate in rates))
    blocks = []
    for threshold in THRESHOLDS:
        found: dict[tuple[str, str], dict[float, Row]] = {}
        for record in records:
            if record["threshold"] == threshold and record["fpr"] is not None:
                found.setdefault((record["detector"], _cell_name(record)), {})[record["base_rate"]] = record
        rows = []
        for (label, where), by_rate in found.items():
            rare = by_rate[rates[-1]]
            day = (whole(rare["false_alerts"]), _range(rare["false_alerts_low"], rare["false_alerts_high"], whole))
            rows.append((names[label], where, share(rare["fpr"]), number(rare["recall"]), *day, *(share(by_rate[rate]["ppv"]) for rate in rates)))
        if rows:
            flows = records[0]["flows_per_day"]
            blocks.append(Block(f"{flows:,} flows a day, τ = {threshold} of calibration flows B{flags(document)}", header, tuple(rows), left=2))
    return blocks


# -- families ----------------------------------------------------------------------------------------------------------------------


def _family_records(document: Row, cells: Sequence[CellEvidence], operations: Operations) -> Records:  # noqa: ARG001
    return [
        _where(cell) | {"family": family, "auroc": area.auroc, "n_test": area.n, "in_macro": area.n >= SMALL_FAMILY}
        for cell in _ordered(document, cells)
        for family, area in sorted(cell.families.items())
    ]


def _family_blocks(document: Row, records: Sequence[Row]) -> list[Block]:
    """Per target and kind of source: families in rows, detectors in columns; the mean over sources, if every one of them has a number."""
    names = _names(document)
    labels = [label for label in names if any(record["detector"] == label for record in records)]
    kinds: dict[str, Callable[[Row], bool]] = {
        "mean of other sources": lambda record: record["source"] not in (None, record["target"]),
        "within": lambda record: record["source"] == record["target"],
        "control (target only)": lambda record: record["source"] is None,
    }
    blocks = []
    for target in document["datasets"]:
        for kind, belongs in kinds.items():
            own = [record for record in records if record["target"] == target and belongs(record)]
            families = dict.fromkeys(record["family"] for record in sorted(own, key=lambda record: (-record["n_test"], record["family"])))
            rows = []
            for family in families:
                members = [record for record in own if record["family"] == family]
                n = min(record["n_test"] for record in members)
                areas = [number(_mean([record["auroc"] for record in members if record["detector"] == label])) for label in labels]
                rows.append((f"{family}{' *' if n < SMALL_FAMILY else ''}", count(n), *areas))
            if rows:
                header = ("family", "test flows", *(names[label] for label in labels))
                blocks.append(Block(f"{target}, {kind}: AUROC per attack family{flags(document)}", header, tuple(rows)))
    return blocks


# -- spread over seeds -------------------------------------------------------------------------------------------------------------

SUMMARY_NAMES = {"within_mean": "within mean", "cross_mean": "cross mean", "cross_worst": "cross worst"}


def _stability_records(document: Row, cells: Sequence[CellEvidence], operations: Operations) -> Records:  # noqa: ARG001
    from reports.statistics.tests import seed_multiplier

    def record(label: str, what: Mapping[str, Any], mean: float | None, std: float | None, n: int) -> dict[str, Any]:
        factor = seed_multiplier(n)
        half = None if std is None or factor is None else factor * std / n**0.5
        return {"detector": label, **what, "mean": mean, "std": std, "n_seeds": n, "half_width": half}

    records = []
    for row in document["rows"]:
        seeds = min((cell["n_seeds"] for cell in row["cells"]), default=0)
        for name in SUMMARY_NAMES:
            where = {"what": name, "source": None, "target": None}
            records.append(record(row["detector"], where, row["summary"][name], row["summary_std"][name], seeds))
        for cell in row["cells"]:
            where = {"what": "cell", "source": cell["source"], "target": cell["target"]}
            records.append(record(row["detector"], where, cell["mean"], cell["std"], cell["n_seeds"]))
    return records


TINY = 1e-9
"""A standard deviation below this is rounding: there is no ratio to it."""


def _spread_beside(document: Row, records: Sequence[Row]) -> list[Block]:
    """Per detector with variants: their standard deviations in points beside each other and, of two, the second's over the first's."""
    found: dict[str, dict[str, dict[str, float]]] = {}
    for record in records:
        detector, dot, variant = record["detector"].partition(SEPARATOR)
        if dot and record["std"] is not None:
            where = SUMMARY_NAMES.get(record["what"]) or f"{record['source']} → {record['target']}"
            found.setdefault(detector, {}).setdefault(where, {})[variant] = 100 * record["std"]
    blocks = []
    for detector, by_place in found.items():
        variants = sorted({variant for stds in by_place.values() for variant in stds})
        if len(variants) > 1:
            ratio = [" / ".join(reversed(variants))] if len(variants) == 2 else []
            rows = []
            for where, stds in by_place.items():
                first, second = (stds.get(variant) for variant in variants[:2])
                share_of = [NONE if first is None or second is None or first < TINY else f"{second / first:.2f}"] if ratio else []
                rows.append((where, *(f"{stds[variant]:.2f}" if variant in stds else NONE for variant in variants), *share_of))
            title = f"{detector}: standard deviation of {metric_name(document)} over seeds in points{flags(document)}"
            blocks.append(Block(title, ("where", *variants, *ratio), tuple(rows)))
    return blocks


def _stability_blocks(document: Row, records: Sequence[Row]) -> list[Block]:
    names = _names(document)

    def shown(record: Row) -> tuple[str, ...]:
        half = NONE if record["half_width"] is None else f"±{number(record['half_width'])}"
        return spread(record["mean"], record["std"]), half, str(record["n_seeds"])

    header = ("mean±std", "95 %", "seeds")
    means = tuple(
        (names[record["detector"]], SUMMARY_NAMES[record["what"]], *shown(record))
        for record in records
        if record["what"] != "cell" and record["mean"] is not None
    )
    cells = tuple(
        (names[record["detector"]], f"{record['source']} → {record['target']}", *shown(record)) for record in records if record["what"] == "cell"
    )
    title = f"{metric_name(document)} over seeds{flags(document)}"
    found = [Block(f"{title}: means", ("detector", "mean", *header), means, left=2)] if means else []
    return [*_spread_beside(document, records), *found, Block(f"{title}: cells", ("detector", "source → target", *header), cells, left=2)]


# -- what each part is worth -------------------------------------------------------------------------------------------------------

ABLATION_NOTES = (
    "Δ: difference to the reference in points (hundredths of the metric); ± is the spread of the mean itself, not of the difference",
    "source-likeness: mean over cross cells and seeds of max(a, 1 − a), where a = AUROC of benign flows alone, calibration flows B of the target "
    "against validation flows of the source: 0.5 is no leak, 1 a domain classifier",
    "(+n −m): in n cells the target's benign flows look the more anomalous, in m the source's",
)


def _ablation_records(document: Row, cells: Sequence[CellLikeness], operations: Operations) -> Records:  # noqa: ARG001
    return ablation_records(document, cells)


TABLES: Mapping[str, Table] = {
    "thresholds": Table(
        "Realised FPR, recall, precision and F1 with τ at P95, P99 and P99.9 of calibration flows B.",
        "Thresholds",
        _threshold_records,
        _threshold_blocks,
        (
            "τ = P95, P99, P99.9 of calibration flows B (of the target, unseen by detector and aggregator); an alert is score > τ",
            "P-q needs 1 / (1 − q) calibration flows B: 20, 100, 1 000; without them it is left out",
            "means over seeds; 95 %: Clopper–Pearson on the benign test flows for a given τ, flows assumed independent; n: the fewest of any seed",
            "precision and F1 depend on the share of attacks in the test flows",
        ),
    ),
    "alerts": Table(
        "Alerts a day and the share of attacks among them (PPV), at chosen base rates and volumes.",
        "Alerts a day",
        _alert_records,
        _alert_blocks,
        (
            "false alerts a day = flows × (1 − base rate) × realised FPR; PPV = share of attacks among the alerts",
            "95 %: Clopper–Pearson on the benign test flows, flows assumed independent, at the lowest base rate",
            f"{NONE} where fewer than ten benign test flows were above τ: the false-positive rate is then known to less than a factor of two",
        ),
    ),
    "families": Table(
        "AUROC of every attack family against all benign test flows.",
        "Attack families",
        _family_records,
        _family_blocks,
        (f"* fewer than {SMALL_FAMILY} test flows: in no macro average", "a family from one capture is one experiment, however many flows it has"),
    ),
    "stability": Table(
        "Mean and standard deviation over seeds, with the half width of a 95 % interval.",
        "Spread over seeds",
        _stability_records,
        _stability_blocks,
        (
            "95 %: Student's t over seeds alone (4.30 · std / √3 for three); it knows nothing of other captures or networks",
            f"{NONE}: one seed has no spread",
        ),
        evidence="none",
    ),
    "ablation": Table(
        "Variants by group: within, cross mean, cross worst, differences to the reference, source-likeness.",
        "What each part is worth",
        _ablation_records,
        ablation_blocks,
        ABLATION_NOTES,
        evidence="likeness",
    ),
    "mechanism": Table(
        "Single scores × backbones: cross mean beside source-likeness, differences to the whole, two matrices beside each other.",
        "Single scores",
        _ablation_records,
        mechanism_blocks,
        ABLATION_NOTES,
        evidence="likeness",
    ),
}
