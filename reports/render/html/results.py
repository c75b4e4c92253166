"""The tables of results: leaderboard, matrices, attack families, alerts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Any

from reports.render.html.evidence import (
    CONTROL,
    CellEvidence,
    ReportData,
    ThresholdEvidence,
)
from reports.render.html.table import (
    Cell,
    Head,
    Row,
    Table,
    figure,
    share,
    text,
    whole,
)
from reports.tables.fields import (
    NONE,
    SMALL_FAMILY,
    caption,
    cell_text,
    control_rows,
    count,
    flags,
    gain,
    interval,
    metric_name,
    name_of,
    number,
    ranking_summary,
    seconds,
    statuses,
)
from reports.tables.leaderboard import COLLAPSE

__all__ = [
    "BASE_RATE",
    "CONTROL_NAME",
    "CROSS",
    "FLOWS_A_DAY",
    "alert_tables",
    "cost_table",
    "detector_numbers",
    "family_tables",
    "leaderboards",
    "matrices",
    "sources_of",
]

BASE_RATE = 1e-3
FLOWS_A_DAY = 1_000_000
CONTROL_NAME = "target only (control)"
CROSS = "mean of other sources"
SHADES = (0.2, 0.4, 0.6, 0.75, 0.9, 0.97)
"""Upper bounds of a value's place between chance and ideal; one shade more than bounds."""

Document = Mapping[str, Any]


def detector_numbers(data: ReportData) -> dict[str, int]:
    """Label → the number that the filter knows a detector by: its place on the first leaderboard."""
    return {row["detector"]: place for place, row in enumerate(data.first["rows"])}


# -- leaderboard and matrices ------------------------------------------------------------------------------------------------------


def leaderboards(data: ReportData) -> list[Table]:
    """One per metric and view, each with its co-headline beside it."""
    return [_leaderboard(data, document) for document in data.documents.values()]


def _leaderboard(data: ReportData, document: Document) -> Table:
    numbers = detector_numbers(data)
    beside = _beside(data, document)
    others = {name: {row["detector"]: row for row in data.documents[name]["rows"]} for name in beside}
    summary = ranking_summary(document)
    heads = [
        *(Head("#"), Head("Detector", "l"), Head("Provenance", "l")),
        *(Head("Within"), Head("Cross mean"), Head("Cross worst")),
        *_interval_heads(document),
        *(Head(_short(other, document), hint="cross mean" if summary == "cross_mean" else "within") for other in beside.values()),
        *(Head("Control", hint="target only, cross mean" if summary == "cross_mean" else "target only"), Head("Gain", hint="transfer − control")),
        *(Head("Collapse", hint=f"cells ≤ {number(COLLAPSE).rstrip('0')}"), Head("Status", "l")),
    ]
    rows = []
    for row in document["rows"]:
        mean, std, control = row["summary"], row["summary_std"], row["control_summary"]
        rank = row["rank"]
        gained = None if mean[summary] is None or control[summary] is None else mean[summary] - control[summary]
        cells = [
            Cell(NONE if rank is None else str(rank), rank, css="n"),
            text(name_of(row), "d", head=True),
            text(row["provenance"], "l"),
            *(figure(mean[name], std[name]) for name in ("within_mean", "cross_mean", "cross_worst")),
            *_interval_cells(document, row, summary),
            *(figure(others[name][row["detector"]]["summary"][summary]) for name in beside),
            figure(control[summary], row["control_summary_std"][summary]),
            Cell(gain(row).replace("-", "−"), gained, css="n"),
            Cell(NONE if row["collapse_cells"] is None else str(row["collapse_cells"]), row["collapse_cells"], css="n"),
            text(statuses(row["status_counts"]), "l" if set(row["status_counts"]) == {"ok"} else "l bad"),
        ]
        complete = "1" if all(cell["status"] == "ok" for cell in row["cells"]) else "0"
        rows.append(Row(cells, numbers[row["detector"]], {"provenance": row["provenance"], "complete": complete}))
    return Table(f"{metric_name(document)} per detector{flags(document)}", heads, rows, f"metric={document['metric']}")


def _interval_heads(document: Document) -> list[Head]:
    if document["statistics"] is None:
        return []
    of = "of the cross mean" if ranking_summary(document) == "cross_mean" else "of the within mean"
    return [
        *(Head("95 %", hint=f"{of}, other networks"), Head("Tie", "l", hint="other networks")),
        *(Head("95 %", hint=f"{of}, these networks"), Head("Tie", "l", hint="these networks")),
    ]


def _interval_cells(document: Document, row: Mapping[str, Any], summary: str) -> list[Cell]:
    """Sorted by their lower end and by their letters."""
    if document["statistics"] is None:
        return []
    found = row["intervals"].get(summary, {})
    cells = []
    for suffix in ("", "_these"):
        low, high = found.get(f"low{suffix}"), found.get(f"high{suffix}")
        cells += [Cell(interval(low, high), low, css="n"), text(found.get(f"group{suffix}") or NONE, "l")]
    return cells


def _beside(data: ReportData, document: Document) -> dict[str, Document]:
    """The numbers that a reader has to see in the same line: pooled and macro AUROC, and the same metric without single-packet flows."""
    name, at, view = document["metric"].partition("@")
    partner = {"auroc": "macro_auroc", "macro_auroc": "auroc"}.get(name)
    wanted = [f"{partner}{at}{view}"] if partner else []
    wanted += [other for other in data.documents if other.partition("@")[0] == name and other != document["metric"]]
    return {other: data.documents[other] for other in wanted if other in data.documents}


def _short(other: Document, document: Document) -> str:
    """The name of a column beside a metric: the view alone where the metric is the same."""
    same = other["metric"].partition("@")[0] == document["metric"].partition("@")[0]
    if not same:
        return metric_name(other).partition(",")[0]
    return metric_name(other).partition(", ")[2].replace("2+", "≥ 2") or "all flows"


def matrices(data: ReportData) -> list[Table]:
    """Source × target, per metric and detector."""
    numbers = detector_numbers(data)
    return [_matrix(document, row, numbers[row["detector"]]) for document in data.documents.values() for row in document["rows"]]


def _matrix(document: Document, row: Mapping[str, Any], detector: int) -> Table:
    cells = {(cell["source"], cell["target"]): cell for cell in row["cells"]}
    sources, targets = list(dict.fromkeys(source for source, _ in cells)), list(dict.fromkeys(target for _, target in cells))
    heads = [Head("source ↓  target →", "l"), *(Head(target) for target in targets)]
    lines = [
        Row([text(source, head=True), *(_shaded(document, cells.get((source, target)), source == target) for target in targets)])
        for source in sources
    ]
    lines += [
        Row([text(word, head=True), *(figure(value) for value in values)], data={"control": "1"}) for word, values in control_rows(row, targets)
    ]
    under = [line for line in caption(row)[:1] if line.startswith("aggregator")]
    return Table(
        f"{name_of(row)} · {metric_name(document)}{flags(document)}", heads, lines, f"metric={document['metric']}", False, "m", under, detector
    )


def _shaded(document: Document, cell: Mapping[str, Any] | None, diagonal: bool) -> Cell:
    own = " own" if diagonal else ""
    if cell is None:
        return text("")
    if cell["mean"] is None:
        return text(cell_text(cell), f"bad{own}")
    auroc = "auroc" in document["metric"]
    chance = 0.5 if auroc else 0.0
    place = (cell["mean"] - chance) / (1 - chance) if document["higher_is_better"] else 1 - cell["mean"]
    shade = sum(place > bound for bound in SHADES)
    collapsed = auroc and cell["mean"] <= COLLAPSE
    shown, _, status = cell_text(cell).replace("-", "−").partition("\n")
    mean, plus_minus, std = shown.partition("±")
    small = " ".join(filter(None, [plus_minus + std, status, "collapse" if collapsed else ""]))
    return Cell(mean, small=small, css=f"n {'qc' if collapsed else f'q{shade}'}{own}")


# -- families ----------------------------------------------------------------------------------------------------------------------


def sources_of(data: ReportData, target: str) -> list[str]:
    """What a target's numbers can be chosen by, the one shown first in front."""
    there = {cell.source for cell in data.cells if cell.target == target}
    own = [name for name in data.first["datasets"] if name in there]
    cross = [CROSS] if any(name != target for name in own) else []
    return [*cross, *own, *([CONTROL_NAME] if CONTROL in there else [])]


def family_tables(data: ReportData) -> list[Table]:
    """One per target and choice of source: families in rows, detectors in columns."""
    return [_family_table(data, target, choice) for target in data.first["datasets"] for choice in sources_of(data, target)]


def _family_table(data: ReportData, target: str, choice: str) -> Table:
    numbers = detector_numbers(data)
    wanted = {CROSS: [name for name in data.first["datasets"] if name != target], CONTROL_NAME: [CONTROL]}.get(choice, [choice])
    found: dict[str, list[CellEvidence]] = {label: [] for label in numbers}
    for cell in data.cells:
        if cell.target == target and cell.source in wanted:
            found[cell.detector].append(cell)
    complete = {label: cells for label, cells in found.items() if len(cells) == len(wanted)}
    heads = [Head("Family", "l"), Head("Flows", hint="dataset"), Head("Captures", hint="dataset"), Head("Flows", hint="in test, fewest of any seed")]
    heads += [Head(label, "d", detector=number_) for label, number_ in numbers.items()]
    rows = []
    for family, size in data.families.get(target, {}).items():
        tested = [cell.families[family].n for cells in found.values() for cell in cells if family in cell.families]
        n = min(tested, default=0)
        few = n < SMALL_FAMILY
        cells = [
            Cell(family, head=True, small=f"fewer than {SMALL_FAMILY}, in no macro average" if few else ""),
            *(Cell(count(value), value, css="n") for value in (size.flows, size.captures, n)),
            *(figure(_family_mean(complete.get(label, ()), family), css="few" if few else "", detector=place) for label, place in numbers.items()),
        ]
        rows.append(Row(cells))
    where = f"sources: {choice}" if choice == CROSS else f"source: {choice}"
    return Table(f"{target} · AUROC per attack family · {where}{flags(data.first)}", heads, rows, f"source={choice}", css="fam")


def _family_mean(cells: Sequence[CellEvidence], family: str) -> float | None:
    """The mean over sources, if every one of them has a number."""
    areas = [cell.families[family].auroc if family in cell.families else None for cell in cells]
    numbers = [area for area in areas if area is not None]
    return fmean(numbers) if numbers and len(numbers) == len(areas) else None


# -- alerts ------------------------------------------------------------------------------------------------------------------------


def alert_tables(data: ReportData) -> list[Table]:
    """One per percentile: what a threshold set on calibration flows costs a day."""
    names = list(dict.fromkeys(name for cell in data.cells for name in cell.thresholds))
    return [_alert_table(data, name) for name in sorted(names)]


def _alert_table(data: ReportData, name: str) -> Table:
    numbers = detector_numbers(data)
    datasets = data.first["datasets"]
    order = {source: place for place, source in enumerate([*datasets, CONTROL])}
    heads = [
        *(Head("Detector", "l"), Head("Source", "l"), Head("Target", "l")),
        *(Head("False alerts", hint="a day, 95 %"), Head("PPV", hint="at the chosen base rate"), Head("True alerts", hint="a day")),
        *(Head("FPR", hint="realised, 95 %"), Head("Recall"), Head("F1"), Head("Precision", hint="at the base rate of the test part")),
        *(Head("Benign", hint="test flows"), Head("Calibration", hint="flows B")),
    ]
    cells = sorted(data.cells, key=lambda cell: (order[cell.target], numbers[cell.detector], order[cell.source]))
    rows = [_alert_row(cell, cell.thresholds[name], numbers[cell.detector]) for cell in cells if name in cell.thresholds]
    return Table(f"Alerts, threshold at {name} of calibration flows B{flags(data.first)}", heads, rows, f"threshold={name}", css="alerts")


def _alert_row(cell: CellEvidence, at: ThresholdEvidence, detector: int) -> Row:
    known = at.measured
    false, low, high = (FLOWS_A_DAY * (1 - BASE_RATE) * fpr for fpr in (at.fpr, at.fpr_low, at.fpr_high))
    true = None if at.recall is None else FLOWS_A_DAY * BASE_RATE * at.recall
    ppv = None if true is None or not known else _ratio(true, false)
    ends = f"{share(_ratio(true, high))} to {share(_ratio(true, low))}" if true else ""
    cells = [
        text(cell.detector, "d", head=True),
        text(CONTROL_NAME if cell.source == CONTROL else cell.source, "l"),
        text(cell.target, "l"),
        Cell(whole(false) if known else NONE, false if known else None, f"{whole(low)} to {whole(high)}", "n fa"),
        Cell(share(ppv), ppv, ends, "n ppv"),
        Cell(whole(true), true, css="n ta"),
        Cell(share(at.fpr), at.fpr, f"{share(at.fpr_low)} to {share(at.fpr_high)}", "n"),
        *(figure(value) for value in (at.recall, at.f1, at.precision)),
        *(Cell(count(value), value, css="n") for value in (at.n_benign, at.n_cal)),
    ]
    exact: dict[str, str | float] = {"fpr": at.fpr, "low": at.fpr_low, "high": at.fpr_high, "known": int(known)}
    exact |= {} if at.recall is None else {"tpr": at.recall}
    place = {"source": CONTROL_NAME if cell.source == CONTROL else cell.source, "target": cell.target}
    return Row(cells, detector, place | exact)


def _ratio(true: float, false: float) -> float | None:
    return true / (true + false) if true + false else None


# -- costs -------------------------------------------------------------------------------------------------------------------------


def cost_table(data: ReportData) -> Table:
    """Per detector: the mean over fits of its transfer runs, and what its slowest and largest run took."""
    numbers = detector_numbers(data)
    heads = [
        *(Head("Detector", "l"), Head("Device", "l"), Head("Fit s", hint="mean over fits"), Head("Flows/s", hint="scoring, mean over fits")),
        *(Head("Peak MB", hint="highest of any fit"), Head("Slowest fit s", hint="controls included"), Head("Runs", hint="ok of expected")),
    ]
    rows = []
    for row in data.first["rows"]:
        runs = [run for run in data.runs if run.detector == row["detector"]]
        cost = row["cost"]
        slowest = max((value for run in runs if (value := run.cost.get("fit_s")) is not None), default=None)
        ok = sum(run.status == "ok" for run in runs)
        cells = [
            text(name_of(row), "d", head=True),
            text(", ".join(dict.fromkeys(run.device for run in runs if run.device)) or NONE, "l"),
            Cell(seconds(cost["fit_s"]), cost["fit_s"], css="n"),
            Cell(count(cost["flows_per_s"]), cost["flows_per_s"], css="n"),
            Cell(count(cost["peak_rss_mb"]), cost["peak_rss_mb"], css="n"),
            Cell(seconds(slowest), slowest, css="n"),
            Cell(f"{ok} of {len(runs)}", ok, css="n"),
        ]
        rows.append(Row(cells, numbers[row["detector"]]))
    return Table(f"Cost per detector{flags(data.first)}", heads, rows)
