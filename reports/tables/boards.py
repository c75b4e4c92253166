"""The tables made of a leaderboard document itself: the leaderboard, a matrix per detector, and the parts of the
datasets.  Standard library only.

Adding a leaderboard column is adding an entry to ``leaderboard_columns``.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Literal

from reports.results.sites import SITE
from reports.tables import fields
from reports.tables.document import Board, BoardCell, BoardInterval, BoardPartition, BoardRow, DatasetInfo, SummaryName
from reports.tables.fields import NONE, count, grouped, in_order
from reports.tables.intervals import ranking_summary
from reports.tables.model import Cell, Column, Table, TableRow, figure
from reports.tables.sites import names_sites

CONTROLS = 2  # Priority of the columns of controls; that of what a detector is and is given is one more.
COST = 4  # Priority of the columns of cost, the last ones.
SHARING = "* attack test flows whose capture also holds benign training flows"
SOURCE_WIDTH, TARGET_WIDTH = 20, 12  # Names of datasets wrap at this width as heads of rows and of columns.


@dataclass(frozen=True)
class BoardColumn:
    """A column of the leaderboard: ``text`` is its heading in a terminal, in markdown and in LaTeX, ``report`` that on
    the HTML page; where it has none, the column is absent.  ``priority``, ``right`` and ``hint`` as those of
    ``Column``; ``more``: on the page it is shown only when asked for."""

    text: str
    report: str
    cell: Callable[[BoardRow], Cell]
    priority: int = 0
    right: bool = True
    hint: str = ""
    more: bool = False


def leaderboard_columns(document: Board, beside: Sequence[tuple[str, Board]] = ()) -> list[BoardColumn]:
    """All columns behind rank and detector; ``beside``: (heading, document of the same rows under another metric), for
    the report."""
    ranking = ranking_summary(document)
    word = ranking.replace("_mean", "")
    mean, cross = ("cross mean", ", cross mean") if word == "cross" else (word, "")
    sites = partial(_at_sites, document)
    return [
        BoardColumn("provenance", "Provenance", lambda row: Cell(row["provenance"]), 3, right=False, more=True),
        *_target_use(document),
        BoardColumn("within", "Within", _mean("within_mean")),
        *sites("within", "Within", "within_mean", more=True),
        BoardColumn("cross\nmean", "Cross mean", _mean("cross_mean")),
        *sites("cross\nmean", "Cross mean", "cross_mean"),
        BoardColumn("cross\nworst", "Cross worst", _mean("cross_worst"), more=True),
        *sites("cross\nworst", "Cross worst", "cross_worst", more=True),
        *_macro(document, ranking, mean),
        *(_intervals(ranking, word) if document["statistics"] is not None else ()),
        *(
            BoardColumn("", heading, _elsewhere(other, ranking), hint=mean, more=place > 0)
            for place, (heading, other) in enumerate(beside)
        ),
        BoardColumn("", "Control", _baseline(ranking), hint=f"target only{cross}"),
        BoardColumn("control\nwithin", "", _baseline("within_mean"), CONTROLS),
        *sites("control\nwithin", "", "within_mean", baseline=True),
        BoardColumn("control\ncross\nmean", "", _baseline("cross_mean"), CONTROLS),
        *sites("control\ncross\nmean", "", "cross_mean", baseline=True),
        BoardColumn("control\ncross\nworst", "", _baseline("cross_worst"), CONTROLS),
        BoardColumn("gain", "Gain", _gain, hint="transfer − control"),
        BoardColumn(
            "", "Collapse", lambda row: _whole(row["collapse_cells"]), hint=f"cells ≤ {fields.COLLAPSE_TEXT}", more=True
        ),
        BoardColumn("fit s", "", lambda row: Cell(fields.seconds(row["cost"]["fit_s"])), COST),
        BoardColumn("flows/s", "", lambda row: Cell(count(row["cost"]["flows_per_s"])), COST),
        BoardColumn("peak\nMB", "", lambda row: Cell(count(row["cost"]["peak_rss_mb"])), COST),
        BoardColumn("status", "Status", _status, right=False),
    ]


def column_names(document: Board) -> list[str]:
    """Of the columns behind rank and detector that tables of text have, the status apart."""
    return [_column_name(column) for column in leaderboard_columns(document)[:-1] if column.text]


def _column_name(column: BoardColumn) -> str:
    return column.text.replace("\n", " ")


def leaderboard_table(
    document: Board, form: Literal["text", "report"] = "text", beside: Sequence[tuple[str, Board]] = ()
) -> Table:
    """Rank, detector (the parameters that vary below it), and the columns of the form; the last one is the status."""
    *found, status = [column for column in leaderboard_columns(document, beside) if getattr(column, form)]
    if "columns" in document and form == "text":
        found = [column for column in found if _column_name(column) in document["columns"]]
    chosen = [*found, status]
    columns = [Column("#"), Column("detector", right=False, headings={"html": "Detector"})]
    columns += [
        Column(getattr(column, form), column.right, column.priority, hint=column.hint, css=_css(column))
        for column in chosen
    ]
    rows = []
    for row in document["rows"]:
        name = Cell(
            fields.name_of(row),
            small=fields.varying_params(row) if form == "text" else "",
            label=True,
            css="d",
            head=True,
        )
        rows.append(TableRow([_whole(row["rank"]), name, *(column.cell(row) for column in chosen)]))
    return Table(
        f"{fields.metric_name(document['metric'])} per detector{fields.flags(document)}", columns, rows, labels=2
    )


def _css(column: BoardColumn) -> str:
    return " ".join(filter(None, ("" if column.right else "l", "more" if column.more else "")))


Show = Callable[[BoardRow], Cell]


def _mean(name: SummaryName) -> Show:
    return lambda row: figure(row["summary"][name], row["summary_std"][name])


def _baseline(name: SummaryName) -> Show:
    return lambda row: figure(row["control_summary"][name], row["control_summary_std"][name])


def _target_use(document: Board) -> list[BoardColumn]:
    """Absent where no row says it."""
    if not any(row.get("target_use") for row in document["rows"]):
        return []
    hint = "of calibration"
    return [
        BoardColumn(
            "target\nflows",
            "Target flows",
            lambda row: Cell(row.get("target_use") or NONE),
            3,
            right=False,
            hint=hint,
            more=True,
        )
    ]


def _at_sites(
    document: Board, text: str, report: str, name: SummaryName, *, baseline: bool = False, more: bool = False
) -> list[BoardColumn]:
    """The column of the same number inside sites; absent where no network names any.  That there are few is said."""
    if not names_sites(document):
        return []
    label = fields.site_label(document["sites"]["n_sites"])

    def shown(row: BoardRow) -> Cell:
        summary = row.get("control_site_summary") if baseline else row.get("site_summary")
        return figure(None if summary is None else summary[name])

    hint = "mean over sites" if label == SITE else label
    return [
        BoardColumn(f"{text}\n{label}", f"{report} {SITE}" if report else "", shown, 2 * baseline, hint=hint, more=more)
    ]


def _macro(document: Board, name: SummaryName, mean: str) -> list[BoardColumn]:
    """The mean over families beside a pooled AUROC, where sites stand beside it, too; the report has a table of it."""
    if not names_sites(document) or not any("macro_summary" in row for row in document["rows"]):
        return []

    def shown(row: BoardRow) -> Cell:
        return figure(row["macro_summary"][name] if "macro_summary" in row else None)

    return [BoardColumn("macro\n" + mean.replace(" ", "\n"), "", shown)]


def _elsewhere(document: Board, name: SummaryName) -> Show:
    """The mean of the row of the same name in another document."""
    means = {row["detector"]: row["summary"][name] for row in document["rows"]}
    return lambda row: figure(means[row["detector"]])


def _intervals(ranking: SummaryName, word: str) -> list[BoardColumn]:
    """Intervals and tie groups of the mean that rows are ranked by: for other networks, and for these very ones.  They
    sort by their lower end."""

    def of(text: Callable[[BoardInterval], Cell]) -> Show:
        return lambda row: text(row["intervals"][ranking]) if ranking in row["intervals"] else Cell(NONE)

    others, fixed = (
        of(lambda own: _bounds(own["low"], own["high"])),
        of(lambda own: _bounds(own["low_these"], own["high_these"])),
    )
    return [
        BoardColumn(
            f"{word}\n95 %\nnetworks", "95 %", others, 1, hint=f"of the {word} mean, other networks", more=True
        ),
        BoardColumn(
            "tie", "Tie", of(lambda own: Cell(own["group"] or NONE)), 1, right=False, hint="other networks", more=True
        ),
        BoardColumn(f"{word}\n95 %\nthese", "95 %", fixed, 1, hint=f"of the {word} mean, these networks"),
        BoardColumn(
            "tie\nthese", "Tie", of(lambda own: Cell(own["group_these"] or NONE)), 1, right=False, hint="these networks"
        ),
    ]


def _bounds(low: float | None, high: float | None) -> Cell:
    return Cell(fields.interval(low, high), low)


def _gain(row: BoardRow) -> Cell:
    """Transfer minus the target-only baseline, over the cross cells where there are any."""
    ranking: SummaryName = "within_mean" if row["summary"]["cross_mean"] is None else "cross_mean"
    mean, baseline = row["summary"][ranking], row["control_summary"][ranking]
    if mean is None or baseline is None:
        return Cell(NONE)
    text = fields.number(mean - baseline)
    return Cell(text if text.startswith("-") else f"+{text}", mean - baseline)


def _whole(value: int | None) -> Cell:
    return Cell(NONE if value is None else str(value), value)


def _status(row: BoardRow) -> Cell:
    return Cell(fields.statuses(row["status_counts"]), failed=set(row["status_counts"]) != {"ok"})


def has_numbers(row: BoardRow) -> bool:
    return any(cell["mean"] is not None for cell in row["cells"])


def matrix_table(document: Board, row: BoardRow) -> Table:
    """Sources in rows, targets in columns, below them the target-only baseline."""
    cells = {(cell["source"], cell["target"]): cell for cell in row["cells"]}
    sources, targets = in_order(source for source, _ in cells), in_order(target for _, target in cells)
    best = _best(document, row)
    rows = [
        TableRow(
            [
                Cell(source, head=True),
                *(_matrix_cell(document, cells.get((source, target)), best) for target in targets),
            ]
        )
        for source in sources
    ]
    for place, (word, values) in enumerate(_baselines(row, targets)):
        own = [
            _with_site(figure(value), site, document, target)
            for target, (value, site) in zip(targets, values, strict=True)
        ]
        rows.append(TableRow([Cell(word, head=True), *own], baseline=True, rule=place == 0))
    first = Column(
        "source → target", right=False, wrap=SOURCE_WIDTH, headings={"terminal": "", "html": "source ↓  target →"}
    )
    title = f"{fields.metric_name(document['metric'])}{fields.flags(document)}"
    return Table(
        title,
        [first, *(Column(target, wrap=TARGET_WIDTH) for target in targets)],
        rows,
        fields.name_of(row),
        fields.caption(row),
    )


def _best(document: Board, row: BoardRow) -> dict[str, float]:
    """Target → the best mean of its column; equal numbers: nothing stands out."""
    columns = grouped((cell["target"], cell["mean"]) for cell in row["cells"] if cell["mean"] is not None)
    extreme = max if document["higher_is_better"] else min
    return {target: extreme(means) for target, means in columns.items() if len(set(means)) > 1}


def _with_site(cell: Cell, value: float | None, document: Board, target: str) -> Cell:
    """With the same number inside the target's sites on a line of its own, if there is one."""
    if value is None or "sites" not in document:
        return cell
    label = fields.site_label(len(document["sites"]["targets"][target]["counted"]))
    beside = f"{label} {fields.number(value)}"
    return replace(cell, text=f"{cell.text}\n{beside}", small=beside)


def _matrix_cell(document: Board, cell: BoardCell | None, best: Mapping[str, float]) -> Cell:
    if cell is None:
        return Cell("")
    mean, within, failed = cell["mean"], cell["source"] == cell["target"], cell["status"] != "ok"
    best_of_column = mean is not None and mean == best.get(cell["target"])
    shown = Cell(fields.cell_text(cell), mean, within=within, failed=failed, best=best_of_column)
    return _with_site(shown, cell.get("site_mean"), document, cell["target"])


Beside = tuple[float | None, float | None]  # A number, and the same inside sites.


def _baselines(row: BoardRow, targets: Sequence[str]) -> list[tuple[str, list[Beside]]]:
    """The target-only baseline per target: one line, or two where its parameters within and across differ; none without
    a baseline."""
    if not row["control_status_counts"]:
        return []
    within, cross = (
        {
            cell["target"]: (cell["control"], cell.get("control_site"))
            for cell in row["cells"]
            if (cell["source"] == cell["target"]) is own
        }
        for own in (True, False)
    )
    both = {**within, **cross}
    if all(within.get(target, both[target]) == cross.get(target, both[target]) for target in targets):
        return [("control", [both[target] for target in targets])]
    return [
        (f"control, {word}", [values.get(target, (None, None)) for target in targets])
        for word, values in (("within", within), ("cross", cross))
    ]


@dataclass(frozen=True)
class _Parts:
    """A dataset and its partitions, seeds with the same one together."""

    info: DatasetInfo
    seeds: list[str]
    partitions: list[BoardPartition]

    def lines(self, text: Callable[[BoardPartition], str]) -> str:
        """A line per partition; a single one where all agree."""
        lines = [text(partition) for partition in self.partitions]
        return "\n".join(lines if len(set(lines)) > 1 else lines[:1]) or NONE

    def size(self, part: str) -> str:
        return self.lines(lambda partition: count(partition.get("sizes", {}).get(part)))


SIZES = ("train", "val", "cal A", "cal B", "test\nbenign", "test\nattack")
PARTS: tuple[tuple[Column, Callable[[_Parts], str]], ...] = (
    (Column("flows"), lambda of: count(of.info["flows"])),
    (Column("benign"), lambda of: count(of.info["benign"])),
    (Column("attack"), lambda of: count(of.info["attack"])),
    (Column("seed", False, 1, markdown="--:"), lambda of: "\n".join(of.seeds) or NONE),
    (Column("partition", False, 1, markdown="--:"), lambda of: of.lines(lambda partition: partition.get("kind", NONE))),
    *(
        (Column(name, priority=1), partial(_Parts.size, part=name.lower().replace(" ", "_").replace("\n", "_")))
        for name in SIZES
    ),
    (
        Column("attacks\nshared*", priority=1, headings={"markdown": "attacks shared*"}),
        lambda of: of.lines(lambda partition: count(partition.get("attacks_sharing_a_training_capture"))),
    ),
)


def parts_table(document: Board) -> Table:
    """How many flows each part of each dataset has."""
    rows = []
    for name, info in document["datasets_info"].items():
        alike: dict[str, tuple[list[str], BoardPartition]] = {}
        for seed, partition in info["partitions"].items():
            alike.setdefault(repr([partition.get("kind"), partition.get("sizes")]), ([], partition))[0].append(seed)
        own = _Parts(
            info, [", ".join(seeds) for seeds, _ in alike.values()], [partition for _, partition in alike.values()]
        )
        first = Cell(name, small="synthetic" if info["synthetic"] else "", head=True)
        rows.append(TableRow([first, *(Cell(text(own)) for _, text in PARTS)]))
    columns = [
        Column("dataset", right=False, wrap=SOURCE_WIDTH, headings={"html": "Dataset"}),
        *(column for column, _ in PARTS),
    ]
    return Table(f"Flows of each part{fields.flags(document)}", columns, rows, notes=[SHARING], sortable=False)
