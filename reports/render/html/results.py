"""The tables of results: leaderboard, matrices, attack families, alerts."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from reports.render.html.cells import Pairs, figure, for_report, left, numeric, paired, right, signs, text, whole_number
from reports.render.html.evidence import ReportData
from reports.results.sites import SITE
from reports.tables.boards import leaderboard_table, matrix_table
from reports.tables.details import TABLES
from reports.tables.document import Board, BoardRow
from reports.tables.evidence import CONTROL, CellEvidence, ThresholdEvidence
from reports.tables.fields import (
    COLLAPSE,
    NONE,
    SMALL_FAMILY,
    in_order,
    mean_of_all,
    metric_name,
    name_of,
    seconds,
    share,
    whole,
)
from reports.tables.model import Cell, Column, Table, TableRow

BASE_RATE = 1e-3
FLOWS_A_DAY = 1_000_000
BASELINE_NAME = "target only (control)"
CROSS = "mean of other sources"
LONG = 1000  # Rows of a table that a page shows more than once, or that are all alike.
MIDDLE = "P99"
OTHER_THRESHOLDS = "P95 and P99.9: janus-bench leaderboard --table thresholds."
# Upper bounds of a value's place between chance and ideal; one shade more than bounds.
SHADES = (0.2, 0.4, 0.6, 0.75, 0.9, 0.97)


def source_name(source: str) -> str:
    return BASELINE_NAME if source == CONTROL else source


def leaderboards(data: ReportData) -> list[Table]:
    """One per metric and view, each with its co-headline beside it."""
    return [_leaderboard(data, document) for document in data.documents.values()]


def _leaderboard(data: ReportData, document: Board) -> Table:
    table = for_report(
        leaderboard_table(document, "report", [(_short(other, document), other) for other in _beside(data, document)])
    )
    rows = []
    for row, shown in zip(document["rows"], table.rows, strict=True):
        complete = "1" if all(cell["status"] == "ok" for cell in row["cells"]) else "0"
        cells = [
            replace(cell, text=signs(cell.text)) if column.right else cell
            for column, cell in zip(table.columns, shown.cells, strict=True)
        ]
        rows.append(
            TableRow(
                cells,
                detector=data.numbers[row["detector"]],
                data={"provenance": row["provenance"], "complete": complete},
            )
        )
    # as in a terminal, a column stands only where a row has something in it
    last = len(table.columns) - 1
    return replace(table, rows=rows, view=f"metric={document['metric']}").without_empty({0, 1, last})


def _beside(data: ReportData, document: Board) -> list[Board]:
    """The numbers that a reader has to see in the same line: pooled and macro AUROC, and the same metric without
    single-packet flows."""
    name, at, view = document["metric"].partition("@")
    partner = {"auroc": "macro_auroc", "macro_auroc": "auroc"}.get(name)
    wanted = [f"{partner}{at}{view}"] if partner else []
    wanted += [  # what is inside sites has columns of its own
        other
        for other in data.documents
        if other.partition("@")[0] == name and other != document["metric"] and not other.endswith(SITE)
    ]
    return [data.documents[other] for other in wanted if other in data.documents]


def _short(other: Board, document: Board) -> str:
    """The name of a column beside a metric: the view alone where the metric is the same."""
    name, _, view = metric_name(other["metric"]).partition(",")
    if other["metric"].partition("@")[0] != document["metric"].partition("@")[0]:
        return name
    return view.strip().replace("2+", "≥ 2") or "all flows"


def matrices(data: ReportData) -> list[Table]:
    """Source × target, per metric and detector."""
    found = []
    for document in data.documents.values():
        for row in document["rows"]:
            table = matrix_table(document, row)
            rows = [_matrix_row(document, line) for line in table.rows]
            own = for_report(
                replace(
                    table,
                    rows=[],
                    title=f"{table.about} · {table.title}",
                    view=f"metric={document['metric']}",
                    sortable=False,
                )
            )
            notes = [line for line in table.notes[:1] if line.startswith("aggregator")]
            found.append(replace(own, rows=rows, css="m", notes=notes, detector=data.numbers[row["detector"]]))
    return found


def _matrix_row(document: Board, row: TableRow) -> TableRow:
    first, *others = row.cells
    if row.baseline:
        own = [replace(figure(cell.value), small=cell.small) for cell in others]
        return TableRow([first, *own], data={"control": "1"})
    return TableRow([first, *(_shaded(document, cell) for cell in others)])


def _shaded(document: Board, cell: Cell) -> Cell:
    own = " own" if cell.within else ""
    if cell.value is None:
        return text(cell.text, f"bad{own}" if cell.text else "")
    auroc = "auroc" in document["metric"]
    chance = 0.5 if auroc else 0.0
    place = (cell.value - chance) / (1 - chance) if document["higher_is_better"] else 1 - cell.value
    collapsed = auroc and cell.value <= COLLAPSE
    shade = "qc" if collapsed else f"q{sum(place > bound for bound in SHADES)}"
    own_text = cell.text.removesuffix(f"\n{cell.small}") if cell.small else cell.text
    shown, _, status = own_text.replace("-", "−").partition("\n")
    mean, plus_minus, std = shown.partition("±")
    small = " ".join(filter(None, [plus_minus + std, status, "collapse" if collapsed else ""]))
    small = "\n".join(filter(None, [small, cell.small]))
    return Cell(mean, small=small, css=f"n {shade}{own}")


def sources_of(data: ReportData, target: str) -> list[str]:
    """What a target's numbers can be chosen by, the one shown first in front."""
    there = {cell.source for cell in data.cells if cell.target == target}
    own = [name for name in data.first["datasets"] if name in there]
    cross = [CROSS] if any(name != target for name in own) else []
    return [*cross, *own, *([BASELINE_NAME] if CONTROL in there else [])]


def family_tables(data: ReportData) -> list[Table]:
    """One per target and choice of source: families in rows, detectors in columns; the mean over sources, if every one
    of them has a number."""
    return [
        _family_table(data, target, choice) for target in data.first["datasets"] for choice in sources_of(data, target)
    ]


def _family_table(data: ReportData, target: str, choice: str) -> Table:
    wanted = {CROSS: [name for name in data.first["datasets"] if name != target], BASELINE_NAME: [CONTROL]}.get(
        choice, [choice]
    )
    found: dict[str, list[CellEvidence]] = {label: [] for label in data.numbers}
    for cell in data.cells:
        if cell.target == target and cell.source in wanted:
            found[cell.detector].append(cell)
    columns = [
        left("Family"),
        right("Flows", "dataset"),
        right("Captures", "dataset"),
        right("Flows", "in test, fewest of any seed"),
    ]
    columns += [Column(label, css="d", detector=place) for label, place in data.numbers.items()]
    rows = []
    for family, size in data.families.get(target, {}).items():
        areas = {label: [cell.families.get(family) for cell in cells] for label, cells in found.items()}
        means = {
            label: mean_of_all([area.auroc if area else None for area in own])
            for label, own in areas.items()
            if len(own) == len(wanted)
        }
        n = min((area.n for own in areas.values() for area in own if area), default=0)
        few = n < SMALL_FAMILY
        cells = [
            Cell(family, head=True, small=f"fewer than {SMALL_FAMILY}, in no macro average" if few else ""),
            *map(whole_number, (size.flows, size.captures, n)),
            *(figure(means.get(label), "few" if few else "", place) for label, place in data.numbers.items()),
        ]
        rows.append(TableRow(cells))
    where = f"sources: {choice}" if choice == CROSS else f"source: {choice}"
    return Table(
        f"{target} · AUROC per attack family · {where}{data.flags}", columns, rows, view=f"source={choice}", css="fam"
    )


def alert_tables(data: ReportData) -> list[Table]:
    """One per percentile: what a threshold set on calibration flows costs a day; where a table is long, that of P99
    alone."""
    names = sorted({name for cell in data.cells for name in cell.thresholds})
    if len(data.cells) > LONG and MIDDLE in names:
        return [replace(_alert_table(data, MIDDLE), notes=[OTHER_THRESHOLDS])]
    return [_alert_table(data, name) for name in names]


def _alert_table(data: ReportData, name: str) -> Table:
    order = {source: place for place, source in enumerate([*data.first["datasets"], CONTROL])}
    cells = sorted(data.cells, key=lambda cell: (order[cell.target], data.numbers[cell.detector], order[cell.source]))
    lines = [
        _alert_line(cell, cell.thresholds[name], data.numbers[cell.detector])
        for cell in cells
        if name in cell.thresholds
    ]
    return paired(
        f"Alerts, threshold at {name} of calibration flows B{data.flags}", lines, view=f"threshold={name}", css="alerts"
    )


def _alert_line(cell: CellEvidence, at: ThresholdEvidence, detector: int) -> tuple[Pairs, TableRow]:
    known = at.measured
    false, low, high = (FLOWS_A_DAY * (1 - BASE_RATE) * fpr for fpr in (at.fpr, at.fpr_low, at.fpr_high))
    true = None if at.recall is None else FLOWS_A_DAY * BASE_RATE * at.recall
    ppv = None if true is None or not known else _ratio(true, false)
    ends = f"{share(_ratio(true, high))} to {share(_ratio(true, low))}" if true else ""
    exact = {"fpr": at.fpr, "low": at.fpr_low, "high": at.fpr_high, "tpr": at.recall}
    attributes: dict[str, str | float] = {
        "source": source_name(cell.source),
        "target": cell.target,
        "known": int(known),
        **{name: f"{value:.7g}" for name, value in exact.items() if value is not None},
    }
    return [
        (left("Detector"), text(cell.detector, "d", head=True)),
        (left("Source"), text(source_name(cell.source), "l")),
        (left("Target"), text(cell.target, "l")),
        (
            right("False alerts", "a day, 95 %"),
            numeric(whole(false) if known else NONE, false if known else None, "fa", f"{whole(low)} to {whole(high)}"),
        ),
        (right("PPV", "at the chosen base rate"), numeric(share(ppv), ppv, "ppv", ends)),
        (right("True alerts", "a day"), numeric(whole(true), true, "ta")),
        (
            right("FPR", "realised, 95 %"),
            numeric(share(at.fpr), at.fpr, small=f"{share(at.fpr_low)} to {share(at.fpr_high)}"),
        ),
        (right("Recall"), figure(at.recall)),
        (right("F1"), figure(at.f1)),
        (right("Precision", "at the base rate of the test part"), figure(at.precision)),
        (right("Benign", "test flows"), whole_number(at.n_benign)),
        (right("Calibration", "flows B"), whole_number(at.n_cal)),
    ], TableRow((), detector=detector, data=attributes)


def _ratio(true: float, false: float) -> float | None:
    return true / (true + false) if true + false else None


@dataclass(frozen=True)
class DetailSection:
    """A table of ``leaderboard --table`` on the page."""

    name: str
    title: str
    notes: Sequence[str]
    tables: Sequence[Table]


def detail_sections(data: ReportData) -> list[DetailSection]:
    numbers = {name_of(row): data.numbers[row["detector"]] for row in data.first["rows"]}
    sections = []
    for name, records in data.details.items():
        of, tables = TABLES[name], []
        for table in map(for_report, of.tables(data.first, records)):
            rows = [replace(row, detector=numbers.get(row.cells[0].text)) for row in table.rows]
            tables.append(replace(table, rows=rows, sortable=False))
        sections.append(DetailSection(name, of.title, of.notes, tables))
    return sections


def cost_table(data: ReportData) -> Table:
    """Per detector: the mean over fits of its transfer runs, and what its slowest and largest run took."""
    return paired(f"Cost per detector{data.flags}", [_cost_line(data, row) for row in data.first["rows"]])


def _cost_line(data: ReportData, row: BoardRow) -> tuple[Pairs, TableRow]:
    runs = [run for run in data.runs if run.label == row["detector"]]
    records = [run.record for run in runs if run.record is not None]
    cost = row["cost"]
    slowest = max((value for record in records if (value := record.cost.get("fit_s")) is not None), default=None)
    ok = sum(run.status == "ok" for run in runs)
    return [
        (left("Detector"), text(name_of(row), "d", head=True)),
        (left("Device"), text(", ".join(in_order(record.spec["device"] for record in records)) or NONE, "l")),
        (right("Fit s", "mean over fits"), numeric(seconds(cost["fit_s"]), cost["fit_s"])),
        (right("Flows/s", "scoring, mean over fits"), whole_number(cost["flows_per_s"])),
        (right("Peak MB", "highest of any fit"), whole_number(cost["peak_rss_mb"])),
        (right("Slowest fit s", "controls included"), numeric(seconds(slowest), slowest)),
        (right("Runs", "ok of expected"), numeric(f"{ok} of {len(runs)}", ok)),
    ], TableRow((), detector=data.numbers[row["detector"]])
