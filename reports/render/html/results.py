"""The tables of results: leaderboard, matrices, attack families, alerts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from statistics import fmean

from reports.render.html.cells import figure, for_report, left, numeric, right, signs, text, whole_number
from reports.render.html.evidence import ReportData
from reports.tables.boards import leaderboard_table, matrix_table
from reports.tables.document import Board
from reports.tables.evidence import CONTROL, CellEvidence, ThresholdEvidence
from reports.tables.fields import NONE, SMALL_FAMILY, flags, in_order, metric_name, name_of, seconds, share, whole
from reports.tables.leaderboard import COLLAPSE
from reports.tables.model import Cell, Column, Row, Table

__all__ = [
    *("BASELINE_NAME", "BASE_RATE", "CROSS", "FLOWS_A_DAY", "alert_tables", "cost_table", "detector_numbers", "family_tables", "leaderboards"),
    *("matrices", "source_name", "sources_of"),
]

BASE_RATE = 1e-3
FLOWS_A_DAY = 1_000_000
BASELINE_NAME = "target only (control)"
CROSS = "mean of other sources"
SHADES = (0.2, 0.4, 0.6, 0.75, 0.9, 0.97)
"""Upper bounds of a value's place between chance and ideal; one shade more than bounds."""


def detector_numbers(data: ReportData) -> dict[str, int]:
    """Label → the number that the filter knows a detector by: its place on the first leaderboard."""
    return {row["detector"]: place for place, row in enumerate(data.first["rows"])}


def source_name(source: str) -> str:
    return BASELINE_NAME if source == CONTROL else source


# -- leaderboard and matrices ------------------------------------------------------------------------------------------------------


def leaderboards(data: ReportData) -> list[Table]:
    """One per metric and view, each with its co-headline beside it."""
    return [_leaderboard(data, document) for document in data.documents.values()]


def _leaderboard(data: ReportData, document: Board) -> Table:
    numbers = detector_numbers(data)
    table = for_report(leaderboard_table(document, "report", [(_short(other, document), other) for other in _beside(data, document)]))
    rows = []
    for row, shown in zip(document["rows"], table.rows, strict=True):
        complete = "1" if all(cell["status"] == "ok" for cell in row["cells"]) else "0"
        cells = [replace(cell, text=signs(cell.text)) if column.right else cell for column, cell in zip(table.columns, shown.cells, strict=True)]
        rows.append(Row(cells, detector=numbers[row["detector"]], data={"provenance": row["provenance"], "complete": complete}))
    return replace(table, rows=rows, view=f"metric={document['metric']}")


def _beside(data: ReportData, document: Board) -> list[Board]:
    """The numbers that a reader has to see in the same line: pooled and macro AUROC, and the same metric without single-packet flows."""
    name, at, view = document["metric"].partition("@")
    partner = {"auroc": "macro_auroc", "macro_auroc": "auroc"}.get(name)
    wanted = [f"{partner}{at}{view}"] if partner else []
    wanted += [other for other in data.documents if other.partition("@")[0] == name and other != document["metric"]]
    return [data.documents[other] for other in wanted if other in data.documents]


def _short(other: Board, document: Board) -> str:
    """The name of a column beside a metric: the view alone where the metric is the same."""
    name, _, view = metric_name(other["metric"]).partition(",")
    if other["metric"].partition("@")[0] != document["metric"].partition("@")[0]:
        return name
    return view.strip().replace("2+", "≥ 2") or "all flows"


def matrices(data: ReportData) -> list[Table]:
    """Source × target, per metric and detector."""
    numbers = detector_numbers(data)
    found = []
    for document in data.documents.values():
        for row in document["rows"]:
            table = matrix_table(document, row)
            rows = [_matrix_row(document, line) for line in table.rows]
            own = for_report(replace(table, rows=[], title=f"{table.about} · {table.title}", view=f"metric={document['metric']}", sortable=False))
            notes = [line for line in table.notes[:1] if line.startswith("aggregator")]
            found.append(replace(own, rows=rows, css="m", notes=notes, detector=numbers[row["detector"]]))
    return found


def _matrix_row(document: Board, row: Row) -> Row:
    first, *others = row.cells
    if row.baseline:
        return Row([first, *(figure(cell.value) for cell in others)], data={"control": "1"})
    return Row([first, *(_shaded(document, cell) for cell in others)])


def _shaded(document: Board, cell: Cell) -> Cell:
    own = " own" if cell.within else ""
    if cell.value is None:
        return text(cell.text, f"bad{own}" if cell.text else "")
    auroc = "auroc" in document["metric"]
    chance = 0.5 if auroc else 0.0
    place = (cell.value - chance) / (1 - chance) if document["higher_is_better"] else 1 - cell.value
    collapsed = auroc and cell.value <= COLLAPSE
    shade = "qc" if collapsed else f"q{sum(place > bound for bound in SHADES)}"
    shown, _, status = cell.text.replace("-", "−").partition("\n")
    mean, plus_minus, std = shown.partition("±")
    small = " ".join(filter(None, [plus_minus + std, status, "collapse" if collapsed else ""]))
    return Cell(mean, small=small, css=f"n {shade}{own}")


# -- families ----------------------------------------------------------------------------------------------------------------------


def sources_of(data: ReportData, target: str) -> list[str]:
    """What a target's numbers can be chosen by, the one shown first in front."""
    there = {cell.source for cell in data.cells if cell.target == target}
    own = [name for name in data.first["datasets"] if name in there]
    cross = [CROSS] if any(name != target for name in own) else []
    return [*cross, *own, *([BASELINE_NAME] if CONTROL in there else [])]


def family_tables(data: ReportData) -> list[Table]:
    """One per target and choice of source: families in rows, detectors in columns."""
    return [_family_table(data, target, choice) for target in data.first["datasets"] for choice in sources_of(data, target)]


def _family_table(data: ReportData, target: str, choice: str) -> Table:
    numbers = detector_numbers(data)
    wanted = {CROSS: [name for name in data.first["datasets"] if name != target], BASELINE_NAME: [CONTROL]}.get(choice, [choice])
    found: dict[str, list[CellEvidence]] = {label: [] for label in numbers}
    for cell in data.cells:
        if cell.target == target and cell.source in wanted:
            found[cell.detector].append(cell)
    complete = {label: cells for label, cells in found.items() if len(cells) == len(wanted)}
    columns = [left("Family"), right("Flows", "dataset"), right("Captures", "dataset"), right("Flows", "in test, fewest of any seed")]
    columns += [Column(label, css="d", detector=place) for label, place in numbers.items()]
    rows = []
    for family, size in data.families.get(target, {}).items():
        tested = [cell.families[family].n for cells in found.values() for cell in cells if family in cell.families]
        n = min(tested, default=0)
        few = n < SMALL_FAMILY
        cells = [
            Cell(family, head=True, small=f"fewer than {SMALL_FAMILY}, in no macro average" if few else ""),
            *map(whole_number, (size.flows, size.captures, n)),
            *(figure(_family_mean(complete.get(label, ()), family), "few" if few else "", place) for label, place in numbers.items()),
        ]
        rows.append(Row(cells))
    where = f"sources: {choice}" if choice == CROSS else f"source: {choice}"
    return Table(f"{target} · AUROC per attack family · {where}{flags(data.first)}", columns, rows, view=f"source={choice}", css="fam")


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
    columns = [
        *(left("Detector"), left("Source"), left("Target")),
        *(right("False alerts", "a day, 95 %"), right("PPV", "at the chosen base rate"), right("True alerts", "a day")),
        *(right("FPR", "realised, 95 %"), right("Recall"), right("F1"), right("Precision", "at the base rate of the test part")),
        *(right("Benign", "test flows"), right("Calibration", "flows B")),
    ]
    cells = sorted(data.cells, key=lambda cell: (order[cell.target], numbers[cell.detector], order[cell.source]))
    rows = [_alert_row(cell, cell.thresholds[name], numbers[cell.detector]) for cell in cells if name in cell.thresholds]
    return Table(f"Alerts, threshold at {name} of calibration flows B{flags(data.first)}", columns, rows, view=f"threshold={name}", css="alerts")


def _alert_row(cell: CellEvidence, at: ThresholdEvidence, detector: int) -> Row:
    known = at.measured
    false, low, high = (FLOWS_A_DAY * (1 - BASE_RATE) * fpr for fpr in (at.fpr, at.fpr_low, at.fpr_high))
    true = None if at.recall is None else FLOWS_A_DAY * BASE_RATE * at.recall
    ppv = None if true is None or not known else _ratio(true, false)
    ends = f"{share(_ratio(true, high))} to {share(_ratio(true, low))}" if true else ""
    cells = [
        text(cell.detector, "d", head=True),
        text(source_name(cell.source), "l"),
        text(cell.target, "l"),
        numeric(whole(false) if known else NONE, false if known else None, "fa", f"{whole(low)} to {whole(high)}"),
        numeric(share(ppv), ppv, "ppv", ends),
        numeric(whole(true), true, "ta"),
        numeric(share(at.fpr), at.fpr, small=f"{share(at.fpr_low)} to {share(at.fpr_high)}"),
        *map(figure, (at.recall, at.f1, at.precision)),
        *map(whole_number, (at.n_benign, at.n_cal)),
    ]
    exact: dict[str, str | float] = {"fpr": at.fpr, "low": at.fpr_low, "high": at.fpr_high, "known": int(known)}
    exact |= {} if at.recall is None else {"tpr": at.recall}
    return Row(cells, detector=detector, data={"source": source_name(cell.source), "target": cell.target} | exact)


def _ratio(true: float, false: float) -> float | None:
    return true / (true + false) if true + false else None


# -- costs -------------------------------------------------------------------------------------------------------------------------


def cost_table(data: ReportData) -> Table:
    """Per detector: the mean over fits of its transfer runs, and what its slowest and largest run took."""
    numbers = detector_numbers(data)
    columns = [
        *(left("Detector"), left("Device"), right("Fit s", "mean over fits"), right("Flows/s", "scoring, mean over fits")),
        *(right("Peak MB", "highest of any fit"), right("Slowest fit s", "controls included"), right("Runs", "ok of expected")),
    ]
    rows = []
    for row in data.first["rows"]:
        runs = [run for run in data.runs if run.detector == row["detector"]]
        cost = row["cost"]
        slowest = max((value for run in runs if (value := run.cost.get("fit_s")) is not None), default=None)
        ok = sum(run.status == "ok" for run in runs)
        cells = [
            text(name_of(row), "d", head=True),
            text(", ".join(in_order(run.device for run in runs if run.device)) or NONE, "l"),
            numeric(seconds(cost["fit_s"]), cost["fit_s"]),
            whole_number(cost["flows_per_s"]),
            whole_number(cost["peak_rss_mb"]),
            numeric(seconds(slowest), slowest),
            numeric(f"{ok} of {len(runs)}", ok),
        ]
        rows.append(Row(cells, detector=numbers[row["detector"]]))
    return Table(f"Cost per detector{flags(data.first)}", columns, rows)
