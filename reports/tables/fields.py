"""What the terminal and markdown tables say, apart from how they are laid out: number formats, columns, captions.

Adding a leaderboard column is adding an entry to ``LEADERBOARD``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from reports.tables.intervals import ranking_summary
from reports.tables.leaderboard import COLLAPSE
from reports.tables.notes import DAGGER, UPPER_BOUND

__all__ = [
    "COST",
    "DATASETS",
    "LEADERBOARD",
    "NONE",
    "SMALL_FAMILY",
    "Field",
    "caption",
    "cell_text",
    "control_rows",
    "dataset_rows",
    "leaderboard_fields",
    "name_of",
    "problems",
    "ranking_summary",
    "subtitle",
    "title",
    "varying_params",
]

SMALL_FAMILY = 20
"""Families with fewer test flows are in no macro average (``protocols.metrics.MIN_FAMILY``)."""

NONE = "–"
"""How a number that does not exist is printed."""

Row = Mapping[str, Any]
METRIC_NAMES = {"auroc": "AUROC", "auprc": "AUPRC", "macro_auroc": "macro AUROC", "tpr_at_fpr_1pct": "TPR at FPR 1 %"}
MAX_LISTED = 4


def number(value: float | None) -> str:
    """Three decimals, no zero before the point: ``.912``, ``1.000``, ``-.031``."""
    if value is None:
        return NONE
    text = f"{value:.3f}"
    text = text.replace("0.", ".", 1) if text.startswith(("0.", "-0.")) else text
    return ".000" if text == "-.000" else text


def spread(mean: float | None, std: float | None) -> str:
    return number(mean) if mean is None or std is None else f"{number(mean)}±{number(std)}"


def gain(row: Row) -> str:
    """Transfer minus control, over the cross cells where there are any."""
    name = next((name for name in ("cross_mean", "within_mean") if row["summary"][name] is not None), None)
    if name is None or row["control_summary"][name] is None:
        return NONE
    text = number(row["summary"][name] - row["control_summary"][name])
    return text if text.startswith("-") else f"+{text}"


def seconds(value: float | None) -> str:
    return NONE if value is None else f"{value:,.0f}" if value >= 100 else f"{value:.1f}" if value >= 0.1 else f"{value:.3f}"


def count(value: float | None) -> str:
    return NONE if value is None else f"{value:,.0f}"


def statuses(counts: Mapping[str, int]) -> str:
    """``ok``, or one line per status."""
    return "ok" if set(counts) == {"ok"} else "\n".join(f"{n} {status}" for status, n in counts.items() if n) or NONE


@dataclass(frozen=True)
class Field:
    """A column.

    header    may have two lines
    text      row → cell, may have several lines
    priority  columns with the lowest priority number stay in the first table when the terminal is too narrow for one
    """

    header: str
    text: Callable[[Any], str]
    priority: int = 0
    right: bool = True


COST = 4
"""Priority of the columns of cost, the last ones."""


def _summary(header: str, name: str, which: str, priority: int) -> Field:
    return Field(header, lambda row: spread(row[which][name], row[f"{which}_std"][name]), priority)


LEADERBOARD: tuple[Field, ...] = (
    Field("provenance", lambda row: row["provenance"], priority=3, right=False),
    _summary("within", "within_mean", "summary", 0),
    _summary("cross\nmean", "cross_mean", "summary", 0),
    _summary("cross\nworst", "cross_worst", "summary", 0),
    _summary("control\nwithin", "within_mean", "control_summary", 2),
    _summary("control\ncross\nmean", "cross_mean", "control_summary", 2),
    _summary("control\ncross\nworst", "cross_worst", "control_summary", 2),
    Field("gain", gain),
    Field("fit s", lambda row: seconds(row["cost"]["fit_s"]), priority=COST),
    Field("flows/s", lambda row: count(row["cost"]["flows_per_s"]), priority=COST),
    Field("peak\nMB", lambda row: count(row["cost"]["peak_rss_mb"]), priority=COST),
    Field("status", lambda row: statuses(row["status_counts"]), right=False),
)


def interval(low: float | None, high: float | None) -> str:
    return NONE if low is None or high is None else f"{number(low)}–{number(high)}"


def _interval(header: str, summary: str, suffix: str) -> Field:
    def text(row: Row) -> str:
        found = row["intervals"].get(summary)
        return NONE if found is None else interval(found[f"low{suffix}"], found[f"high{suffix}"])

    return Field(header, text, 1)


def _group(header: str, summary: str, suffix: str) -> Field:
    def text(row: Row) -> str:
        found = row["intervals"].get(summary)
        return NONE if found is None else str(found[f"group{suffix}"])

    return Field(header, text, 1, right=False)


def leaderboard_fields(document: Row) -> tuple[Field, ...]:
    """The columns of a document: with intervals and tie groups of the ranking mean behind the worst cell, where it has them."""
    if document["statistics"] is None:
        return LEADERBOARD
    summary = ranking_summary(document)
    word = summary.replace("_mean", "")
    found = [
        *(_interval(f"{word}\n95 %\nnetworks", summary, ""), _group("tie", summary, "")),
        *(_interval(f"{word}\n95 %\nthese", summary, "_these"), _group("tie\nthese", summary, "_these")),
    ]
    place = next(position for position, field in enumerate(LEADERBOARD) if field.priority == 2)
    return (*LEADERBOARD[:place], *found, *LEADERBOARD[place:])


@dataclass(frozen=True)
class DatasetRow:
    """A dataset and its partitions, seeds with the same one together."""

    name: str
    info: Mapping[str, Any]
    seeds: tuple[str, ...]
    partitions: tuple[Mapping[str, Any], ...]


def _of_partition(header: str, value: Callable[[Mapping[str, Any]], str], right: bool = True) -> Field:
    """A line per partition; a single one where all agree."""

    def text(row: DatasetRow) -> str:
        lines = [value(partition) for partition in row.partitions]
        return "\n".join(lines if len(set(lines)) > 1 else lines[:1]) or NONE

    return Field(header, text, 1, right)


def _size(header: str, part: str) -> Field:
    return _of_partition(header, lambda partition: count(partition.get("sizes", {}).get(part)))


DATASETS: tuple[Field, ...] = (
    Field("flows", lambda row: count(row.info["flows"])),
    Field("benign", lambda row: count(row.info["benign"])),
    Field("attack", lambda row: count(row.info["attack"])),
    Field("seed", lambda row: "\n".join(row.seeds) or NONE, 1, right=False),
    _of_partition("partition", lambda partition: partition.get("kind", NONE), right=False),
    _size("train", "train"),
    _size("val", "val"),
    _size("cal A", "cal_a"),
    _size("cal B", "cal_b"),
    _size("test\nbenign", "test_benign"),
    _size("test\nattack", "test_attack"),
    _of_partition("attacks\nshared*", lambda partition: count(partition.get("attacks_sharing_a_training_capture"))),
)
SHARING = "* attack test flows whose capture also holds benign training flows"


def dataset_rows(document: Row) -> list[DatasetRow]:
    rows = []
    for name, info in document["datasets_info"].items():
        alike: dict[str, tuple[list[str], Mapping[str, Any]]] = {}
        for seed, partition in info["partitions"].items():
            alike.setdefault(repr([partition.get(key) for key in ("kind", "sizes")]), ([], partition))[0].append(seed)
        seeds = tuple(", ".join(members) for members, _ in alike.values())
        rows.append(DatasetRow(name, info, seeds, tuple(partition for _, partition in alike.values())))
    return rows


# -- words -------------------------------------------------------------------------------------------------------------------------


def metric_name(document: Row) -> str:
    name, _, view = document["metric"].partition("@")
    return f"{METRIC_NAMES.get(name, name)}{f', flows with {view} packets' if view else ''}"


def title(document: Row) -> str:
    if document.get("details"):
        return f"{document['details']['title']} · {document['protocol']}{flags(document)}"
    return f"Leaderboard · {document['protocol']} · {metric_name(document)}{flags(document)}"


def subtitle(document: Row) -> str:
    parts = [f"{name} {document[name]}" for name in ("profile", "split", "calibration")]
    parts += [f"{len(document['datasets'])} datasets, {document['n_expected_cells']} cells"]
    return " · ".join([*parts, f"seed{'s' if len(document['seeds']) > 1 else ''} {', '.join(map(str, document['seeds']))}"])


def flags(document: Row) -> str:
    """What stands in the title of every single table."""
    return f"{' · SYNTHETIC DATA' if document['synthetic'] else ''}{' · RANDOM SPLIT' if document['split'] == 'random' else ''}"


def name_of(row: Row) -> str:
    return " ".join(filter(None, (row["detector"], DAGGER if row["uses_labels"] else "", UPPER_BOUND if row["upper_bound"] else "")))


def _diagonal(row: Row, diagonal: bool) -> list[Row]:
    return [cell for cell in row["cells"] if (cell["source"] == cell["target"]) is diagonal]


def varying_params(row: Row) -> str:
    """Parameters that differ within and across networks, ``sigma=0.1 within, 0.6 cross``; empty if none does."""
    names = dict.fromkeys(name for cell in row["cells"] for name in cell["params"] if name not in row["params"])
    lines = []
    for name in names:
        shown = []
        for word, diagonal in (("within", True), ("cross", False)):
            values = dict.fromkeys(str(cell["params"][name]) for cell in _diagonal(row, diagonal) if name in cell["params"])
            shown += [f"{'/'.join(values)} {word}"] if values else []
        lines.append(f"{name}={', '.join(shown)}")
    return "; ".join(lines)


def caption(row: Row) -> list[str]:
    """The lines under a detector's matrix: aggregator, collapse cells, parameters."""
    aggregators = dict.fromkeys(cell["aggregator"] for cell in row["cells"] if cell["aggregator"] is not None)
    first = [f"aggregator {', '.join(aggregators)}"] if aggregators else []
    if row["collapse_cells"] is not None:
        first.append(f"cells ≤ {number(COLLAPSE).rstrip('0')}: {row['collapse_cells']} of {len(row['cells'])}")
    params = [f"{name}={value}" for name, value in row["params"].items()]
    params += filter(None, [varying_params(row)])
    return [line for line in (" · ".join(first), ", ".join(params)) if line]


def cell_text(cell: Row) -> str:
    """The number of a cell, or its status; both where only some seeds have one."""
    value = spread(cell["mean"], cell["std"])
    if cell["status"] == "ok":
        return value
    return cell["status"] if cell["mean"] is None else f"{value}\n{cell['status']}"


def control_rows(row: Row, targets: Sequence[str]) -> list[tuple[str, list[float | None]]]:
    """The control per target: one line, or two where its parameters within and across differ; none without a control."""
    if not row["control_status_counts"]:
        return []

    def line(diagonal: bool) -> dict[str, float | None]:
        return {cell["target"]: cell["control"] for cell in _diagonal(row, diagonal)}

    within, cross = line(True), line(False)
    both = {**within, **cross}
    if all(within.get(target, both[target]) == cross.get(target, both[target]) for target in targets):
        return [("control", [both[target] for target in targets])]
    return [(f"control, {word}", [values.get(target) for target in targets]) for word, values in (("within", within), ("cross", cross))]


def problems(document: Row) -> list[tuple[str, str]]:
    """(detector, what happened where) for everything that is not ok."""
    found = []
    for row in document["rows"]:
        cells: dict[tuple[str, str], list[str]] = {}
        for cell in row["cells"]:
            if cell["status"] != "ok":
                cells.setdefault((cell["status"], cell["reason"]), []).append(f"{cell['source']} → {cell['target']}")
        for (status, reason), where in cells.items():
            listed = ", ".join(where[:MAX_LISTED]) + (f" and {len(where) - MAX_LISTED} more" if len(where) > MAX_LISTED else "")
            found.append((name_of(row), f"{status} ({'all cells' if len(where) == len(row['cells']) else listed}): {reason}"))
        if row["control_reason"]:
            counts = ", ".join(f"{n} {status}" for status, n in row["control_status_counts"].items() if n)
            found.append((name_of(row), f"control ({counts}): {row['control_reason']}"))
    return found
