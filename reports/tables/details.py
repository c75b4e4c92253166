"""Tables in place of the leaderboard and its matrices: attack families, thresholds, alerts a day, spread over seeds.
Standard library only.

A table is made of *records* (what CSV, Parquet and JSON hold) and shown as tables of text.  Adding one is adding an
entry to ``TABLES``. All functions that make records have one signature.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, cast

from reports.tables.ablation import ablation_records
from reports.tables.document import (
    AlertRecord,
    Board,
    DetailRecord,
    FamilyRecord,
    ThresholdRecord,
)
from reports.tables.drift import DRIFT_NOTES, day_records, day_tables
from reports.tables.evidence import CONTROL, CellEvidence, ThresholdEvidence
from reports.tables.fields import (
    NONE,
    SMALL_FAMILY,
    bounds,
    cell_name,
    count,
    flags,
    in_order,
    mean_of_all,
    name_of,
    number,
    share,
    whole,
)
from reports.tables.incidents import INCIDENT_NOTES, incident_records, incident_tables
from reports.tables.model import Table, text_table
from reports.tables.pitfalls import PITFALL_NOTES, pitfall_records, pitfall_tables
from reports.tables.stability import stability_records, stability_tables
from reports.tables.studies import ablation_tables, mechanism_tables

LEADERBOARD = "leaderboard"  # The name of the table that needs no details.
THRESHOLDS = ("P95", "P99", "P99.9")


@dataclass(frozen=True)
class Operations:
    """What alerts a day are asked for: the volume and the base rates; and the length of incidents' windows."""

    flows_per_day: int
    base_rates: tuple[float, ...]
    window_s: float


@dataclass(frozen=True)
class DetailTable:
    """``records``: of a leaderboard document, the evidence of its cells and the operations asked for; ``tables``: the
    same as text.

    compares  the variants of a detector, of which a table of others has none
    evidence  what is wanted of each cell: ``scores`` (``CellEvidence``), ``likeness`` (``CellLikeness``), ``incidents``
              (``IncidentEvidence``), ``days`` (``DayEvidence``), or ``none``; ``folder``: one ``FolderFacts``
    """

    summary: str
    title: str
    records: Callable[[Board, Sequence[Any], Operations], Sequence[DetailRecord]]
    tables: Callable[[Board, Sequence[Any]], list[Table]]
    notes: tuple[str, ...] = ()
    evidence: Literal["scores", "likeness", "incidents", "days", "folder", "none"] = "scores"
    compares: bool = False

    @property
    def of_metric(self) -> bool:
        """Whether it shows the leaderboard's metric; other tables have numbers of their own."""
        return self.evidence in ("likeness", "none")


def with_details(document: Board, name: str, cells: Sequence[Any], operations: Operations) -> Board:
    """The leaderboard document with ``details`` and the table's notes; ``name``: one of ``TABLES``, ``cells``: the
    evidence that it wants."""
    table = TABLES[name]
    records = table.records(document, cells, operations)
    return {
        **document,
        "details": {"table": name, "title": table.title, "records": records},
        "notes": [*document["notes"], *table.notes],
    }


def tables_of(document: Board) -> list[Table]:
    """The details of a document as text."""
    return TABLES[document["details"]["table"]].tables(document, document["details"]["records"])


def _ordered(document: Board, cells: Sequence[CellEvidence]) -> list[CellEvidence]:
    """By detector as ranked, then target, then source, the target-only baseline last."""
    place = {row["detector"]: position for position, row in enumerate(document["rows"])}
    dataset = {name: position for position, name in enumerate([*document["datasets"], CONTROL])}
    return sorted(cells, key=lambda cell: (place[cell.detector], dataset[cell.target], dataset[cell.source]))


def _where(cell: CellEvidence) -> dict[str, object]:
    return {"detector": cell.detector, "source": cell.source or None, "target": cell.target, "n_seeds": cell.n_seeds}


def _names(document: Board) -> dict[str, str]:
    """Label → with its dagger."""
    return {row["detector"]: name_of(row) for row in document["rows"]}


def _cell_name(record: ThresholdRecord | AlertRecord) -> str:
    return cell_name(record["source"], record["target"])


AT_THRESHOLD = ("fpr", "fpr_low", "fpr_high", "recall", "precision", "f1", "n_benign", "n_attack", "n_cal")


def _at(at: ThresholdEvidence | None, names: Sequence[str]) -> dict[str, object]:
    return {name: None if at is None else getattr(at, name) for name in names}


def _threshold_records(document: Board, cells: Sequence[CellEvidence], operations: Operations) -> list[ThresholdRecord]:  # noqa: ARG001
    """A threshold that so few calibration flows cannot give has a record without numbers."""
    return [
        cast("ThresholdRecord", _where(cell) | {"threshold": name} | _at(cell.thresholds.get(name), AT_THRESHOLD))
        for cell in _ordered(document, cells)
        for name in THRESHOLDS
    ]


def _threshold_tables(document: Board, records: Sequence[ThresholdRecord]) -> list[Table]:
    names = _names(document)
    shown = [
        name
        for name in THRESHOLDS
        if any(record["fpr"] is not None for record in records if record["threshold"] == name)
    ]
    summary = []
    for label in in_order(record["detector"] for record in records):
        means = []
        for threshold in shown:
            own = [
                record
                for record in records
                if (record["detector"], record["threshold"]) == (label, threshold) and record["source"] is not None
            ]
            for within in (True, False):
                chosen = [record for record in own if (record["source"] == record["target"]) is within]
                means += [
                    share(mean_of_all([record["fpr"] for record in chosen])),
                    number(mean_of_all([record["recall"] for record in chosen])),
                ]
        summary.append((names[label], *means))
    heads = [
        f"{threshold} {where} {what}"
        for threshold in shown
        for where in ("within", "cross")
        for what in ("FPR", "recall")
    ]
    found = [
        text_table(
            f"Mean realised FPR and recall, τ from calibration flows B{flags(document)}", ("detector", *heads), summary
        )
    ]
    header = ("detector", "source → target", "FPR", "95 %", "recall", "precision", "F1", "benign", "attack", "cal B")
    for threshold in shown:
        rows = [
            (
                *(
                    names[at["detector"]],
                    _cell_name(at),
                    share(at["fpr"]),
                    bounds(share(at["fpr_low"]), share(at["fpr_high"])),
                ),
                *(number(at["recall"]), number(at["precision"]), number(at["f1"])),
                *(count(at["n_benign"]), count(at["n_attack"]), count(at["n_cal"])),
            )
            for at in records
            if at["threshold"] == threshold
        ]
        found.append(text_table(f"τ = {threshold} of calibration flows B{flags(document)}", header, rows, left=2))
    return found


OF_DAY = ("false_alerts", "false_alerts_low", "false_alerts_high", "true_alerts", "ppv", "ppv_low", "ppv_high")


def _alert_records(document: Board, cells: Sequence[CellEvidence], operations: Operations) -> list[AlertRecord]:
    """Without numbers, and with the reason, where so few benign test flows cannot tell them."""
    records = []
    for cell in _ordered(document, cells):
        for name in THRESHOLDS:
            at = cell.thresholds.get(name)
            for base_rate in operations.base_rates:
                asked = {"threshold": name, "base_rate": base_rate, "flows_per_day": operations.flows_per_day}
                records.append(
                    cast(
                        "AlertRecord",
                        _where(cell) | asked | _at(at, ("fpr", "recall")) | _a_day(at, operations, base_rate),
                    )
                )
    return records


def _a_day(at: ThresholdEvidence | None, operations: Operations, base_rate: float) -> dict[str, object]:
    from protocols.operations import operation

    reason = "too few calibration flows B" if at is None else "no attacks" if at.recall is None else ""
    reason = reason or ("" if at is None or at.measured else "too few false alerts on the benign test flows")
    if reason or at is None or at.recall is None:
        return {**dict.fromkeys(OF_DAY), "reason": reason}
    found = operation(at.recall, at.fpr, (at.fpr_low, at.fpr_high), operations.flows_per_day, base_rate)
    numbers = (found.false_alerts, *found.false_alerts_interval, found.true_alerts, found.ppv, *found.ppv_interval)
    return {**dict(zip(OF_DAY, numbers, strict=True)), "reason": ""}


def _alert_tables(document: Board, records: Sequence[AlertRecord]) -> list[Table]:
    """False alerts hardly depend on the base rate: those of the lowest are shown, and the PPV of every one."""
    names = _names(document)
    rates = sorted({record["base_rate"] for record in records}, reverse=True)
    header = (
        "detector",
        "source → target",
        "FPR",
        "recall",
        "false alerts a day",
        "95 %",
        *(f"PPV at {rate:g}" for rate in rates),
    )
    found = []
    for threshold in THRESHOLDS:
        cells: dict[tuple[str, str], dict[float, AlertRecord]] = {}
        for record in records:
            if record["threshold"] == threshold and record["fpr"] is not None:
                cells.setdefault((record["detector"], _cell_name(record)), {})[record["base_rate"]] = record
        rows = []
        for (label, where), by_rate in cells.items():
            rare = by_rate[rates[-1]]
            day = (
                whole(rare["false_alerts"]),
                bounds(whole(rare["false_alerts_low"]), whole(rare["false_alerts_high"])),
            )
            rows.append(
                (
                    names[label],
                    where,
                    share(rare["fpr"]),
                    number(rare["recall"]),
                    *day,
                    *(share(by_rate[rate]["ppv"]) for rate in rates),
                )
            )
        if rows:
            flows = records[0]["flows_per_day"]
            found.append(
                text_table(
                    f"{flows:,} flows a day, τ = {threshold} of calibration flows B{flags(document)}",
                    header,
                    rows,
                    left=2,
                )
            )
    return found


def _family_records(document: Board, cells: Sequence[CellEvidence], operations: Operations) -> list[FamilyRecord]:  # noqa: ARG001
    return [
        cast(
            "FamilyRecord",
            _where(cell)
            | {"family": family, "auroc": area.auroc, "n_test": area.n, "in_macro": area.n >= SMALL_FAMILY},
        )
        for cell in _ordered(document, cells)
        for family, area in sorted(cell.families.items())
    ]


KINDS: Mapping[str, Callable[[FamilyRecord], bool]] = {
    "mean of other sources": lambda record: record["source"] not in (None, record["target"]),
    "within": lambda record: record["source"] == record["target"],
    "control (target only)": lambda record: record["source"] is None,
}


def _family_tables(document: Board, records: Sequence[FamilyRecord]) -> list[Table]:
    """Per target and kind of source: families in rows, detectors in columns; the mean over sources, if every one of
    them has a number."""
    names = {
        label: name
        for label, name in _names(document).items()
        if any(record["detector"] == label for record in records)
    }
    found = []
    for target in document["datasets"]:
        for kind, belongs in KINDS.items():
            own = [record for record in records if record["target"] == target and belongs(record)]
            rows = []
            for family in in_order(
                record["family"] for record in sorted(own, key=lambda record: (-record["n_test"], record["family"]))
            ):
                members = [record for record in own if record["family"] == family]
                n = min(record["n_test"] for record in members)
                areas = [
                    number(mean_of_all([record["auroc"] for record in members if record["detector"] == label]))
                    for label in names
                ]
                rows.append((f"{family}{' *' if n < SMALL_FAMILY else ''}", count(n), *areas))
            if rows:
                title = f"{target}, {kind}: AUROC per attack family{flags(document)}"
                found.append(text_table(title, ("family", "test flows", *names.values()), rows))
    return found


ABLATION_NOTES = (
    (
        "Δ: difference to the reference in points (hundredths of the metric); ± is the spread of the mean itself, "
        "not of the difference"
    ),
    "source-likeness: mean over cross cells and seeds of max(a, 1 − a), where a = AUROC of benign flows alone, "
    "calibration flows B of the target "
    "against validation flows of the source: 0.5 is no leak, 1 a domain classifier",
    "(+n −m): in n cells the target's benign flows look the more anomalous, in m the source's",
)


TABLES: Mapping[str, DetailTable] = {
    "thresholds": DetailTable(
        "Realised FPR, recall, precision and F1 with τ at P95, P99 and P99.9 of calibration flows B.",
        "Thresholds",
        _threshold_records,
        _threshold_tables,
        (
            (
                "τ = P95, P99, P99.9 of calibration flows B (of the target, unseen by detector and aggregator); an "
                "alert is score > τ"
            ),
            "P-q needs 1 / (1 − q) calibration flows B: 20, 100, 1 000; without them it is left out",
            (
                "means over seeds; 95 %: Clopper–Pearson on the benign test flows for a given τ, flows assumed "
                "independent; n: the fewest of any seed"
            ),
            "precision and F1 depend on the share of attacks in the test flows",
        ),
    ),
    "alerts": DetailTable(
        "Alerts a day and the share of attacks among them (PPV), at chosen base rates and volumes.",
        "Alerts a day",
        _alert_records,
        _alert_tables,
        (
            "false alerts a day = flows × (1 − base rate) × realised FPR; PPV = share of attacks among the alerts",
            "95 %: Clopper–Pearson on the benign test flows, flows assumed independent, at the lowest base rate",
            (
                f"{NONE} where fewer than ten benign test flows were above τ: the false-positive rate is then "
                "known to less than a factor of two"
            ),
        ),
    ),
    "incidents": DetailTable(
        "What an operator sees: campaigns found, time to the first alert, false incidents a day, alerts an incident.",
        "Incidents",
        lambda document, cells, operations: incident_records(document, cells, operations.window_s),
        incident_tables,
        INCIDENT_NOTES,
        evidence="incidents",
    ),
    "drift": DetailTable(
        "Day by day, with and without recalibrating on the day before: realised FPR at P95 and P99, AUROC.",
        "Drift",
        lambda document, cells, _: day_records(document, cells),
        day_tables,
        DRIFT_NOTES,
        evidence="days",
    ),
    "pitfalls": DetailTable(
        "Which known pitfalls of such comparisons the folder avoids, and by what; which it cannot exclude.",
        "Pitfalls",
        lambda document, facts, _: pitfall_records(document, facts[0]),
        pitfall_tables,
        PITFALL_NOTES,
        evidence="folder",
    ),
    "families": DetailTable(
        "AUROC of every attack family against all benign test flows.",
        "Attack families",
        _family_records,
        _family_tables,
        (
            f"* fewer than {SMALL_FAMILY} test flows: in no macro average",
            "a family from one capture is one experiment, however many flows it has",
        ),
    ),
    "stability": DetailTable(
        "Mean and standard deviation over seeds, with the half width of a 95 % interval.",
        "Spread over seeds",
        lambda document, *_: stability_records(document),
        stability_tables,
        (
            (
                "95 %: Student's t over seeds alone (4.30 · std / √3 for three); it knows nothing of other "
                "captures or networks"
            ),
            f"{NONE}: one seed has no spread",
        ),
        evidence="none",
    ),
    "ablation": DetailTable(
        "Variants by group: within, cross mean, cross worst, differences to the reference, source-likeness.",
        "What each part is worth",
        lambda document, cells, _: ablation_records(document, cells),
        ablation_tables,
        ABLATION_NOTES,
        evidence="likeness",
        compares=True,
    ),
    "mechanism": DetailTable(
        (
            "Single scores × backbones: cross mean beside source-likeness, differences to the whole, two matrices "
            "beside each other."
        ),
        "Single scores",
        lambda document, cells, _: ablation_records(document, cells),
        mechanism_tables,
        ABLATION_NOTES,
        evidence="likeness",
        compares=True,
    ),
}
