"""How numbers are written, and what detectors, metrics and tables are called in every form.  Standard library only."""

import math
from collections.abc import Iterable, Mapping, Sequence
from statistics import fmean
from typing import TypeVar

from janus_bench.words import counted
from reports.results.sites import FEW_SITES, SITE
from reports.tables.document import Board, BoardCell, BoardRow

Key = TypeVar("Key")
Value = TypeVar("Value")

DAGGER = "†"
UPPER_BOUND = "‡"

COLLAPSE = 0.57  # An AUROC this low or lower counts as a collapse cell.
SMALL_FAMILY = 20  # Families with fewer test flows are in no macro average (``protocols.metrics.MIN_FAMILY``).
NONE = "–"  # How a number that does not exist is printed.

METRIC_NAMES = {
    "auroc": "AUROC",
    "auprc": "AUPRC",
    "macro_auroc": "macro AUROC",
    "pauc_1pct": "partial AUROC to FPR 1 %",
    "tpr_at_fpr_5pct": "TPR at FPR 5 %",
    "tpr_at_fpr_1pct": "TPR at FPR 1 %",
    "tpr_at_fpr_01pct": "TPR at FPR .1 %",
    "fpr_at_tpr_95pct": "FPR at TPR 95 %",
    "fpr_p95": "FPR at P95",
    "fpr_p99": "FPR at P99",
    "fpr_p999": "FPR at P99.9",
}
MAX_LISTED = 4
CONTROL_NAME = "control"  # What a target-only control is called where a source stands otherwise.


def number(value: float | None) -> str:
    """Three decimals, no zero before the point: ``.912``, ``1.000``, ``-.031``."""
    if value is None:
        return NONE
    text = f"{value:.3f}"
    text = text.replace("0.", ".", 1) if text.startswith(("0.", "-0.")) else text
    return ".000" if text == "-.000" else text


def signed(value: float) -> str:
    text = number(value)
    return text if text.startswith("-") else f"+{text}"


def all_or_none(values: Sequence[float | None]) -> list[float]:
    """The numbers, or an empty list where one is missing."""
    numbers = [value for value in values if value is not None]
    return numbers if len(numbers) == len(values) else []


def mean_of_all(values: Sequence[float | None]) -> float | None:
    """None unless there are any and all are there."""
    numbers = all_or_none(values)
    return fmean(numbers) if numbers else None


def cell_name(source: str | None, target: str) -> str:
    """``alpha → beta``; a target-only control has no source."""
    return f"{source or CONTROL_NAME} → {target}"


def spread(mean: float | None, std: float | None) -> str:
    return number(mean) if mean is None or std is None else f"{number(mean)}±{number(std)}"


def interval(low: float | None, high: float | None) -> str:
    return NONE if low is None or high is None else f"{number(low)}–{number(high)}"


def bounds(low: str, high: str) -> str:
    """Both ends of an interval, as written by one of the functions here."""
    return NONE if NONE in (low, high) else f"{low} to {high}"


def seconds(value: float | None) -> str:
    return (
        NONE
        if value is None
        else f"{value:,.0f}"
        if value >= 100
        else f"{value:.1f}"
        if value >= 0.1
        else f"{value:.3f}"
    )


def count(value: float | None) -> str:
    return NONE if value is None else f"{value:,.0f}"


def whole(value: float | None) -> str:
    """A count, halves upwards as in the report's script: ``9,999``."""
    return NONE if value is None else f"{math.floor(value + 0.5):,}"


def share(value: float | None) -> str:
    """A percentage: ``12 %``, ``1.2 %``, ``0.012 %`` (two significant digits below one).  The report's script writes it
    in the same way."""
    if value is None:
        return NONE
    percent = 100 * value * (1 + 1e-12)  # no exact halves, which the two languages round differently
    if 0 < percent < 1e-4:
        return "< 0.0001 %"
    digits = 0 if percent >= 10 else 1 if percent >= 1 or percent == 0 else 1 - math.floor(math.log10(percent))
    return f"{percent:.{digits}f} %"


def statuses(counts: Mapping[str, int]) -> str:
    """``ok``, or one line per status."""
    return "ok" if set(counts) == {"ok"} else "\n".join(f"{n} {status}" for status, n in counts.items() if n) or NONE


COLLAPSE_TEXT = number(COLLAPSE).rstrip("0")


def metric_name(metric: str) -> str:
    """Of ``auroc``, ``auroc@2+``, ``auroc@site`` …"""
    name, _, view = metric.partition("@")
    words = "" if not view else ", within a site" if f"@{view}" == SITE else f", flows with {view} packets"
    return f"{METRIC_NAMES.get(name, name)}{words}"


def site_label(count: int) -> str:
    """What a number of the view ``@site`` is called: that there are few sites is said wherever it stands."""
    return SITE if count >= FEW_SITES else counted(count, "site")


def title(document: Board) -> str:
    if "details" in document:
        return f"{document['details']['title']} · {document['protocol']}{flags(document)}"
    return f"Leaderboard · {document['protocol']} · {metric_name(document['metric'])}{flags(document)}"


def subtitle(document: Board) -> str:
    parts = [f"profile {document['profile']}", f"split {document['split']}", f"calibration {document['calibration']}"]
    parts += [f"{counted(len(document['datasets']), 'dataset')}, {counted(document['n_expected_cells'], 'cell')}"]
    return " · ".join(
        [*parts, f"seed{'s' if len(document['seeds']) > 1 else ''} {', '.join(map(str, document['seeds']))}"]
    )


def flags(document: Board) -> str:
    """What stands in the title of every single table."""
    synthetic = " · SYNTHETIC DATA" if document["synthetic"] else ""
    n_sites = document["sites"]["n_sites"] if "sites" in document and document["metric"].endswith(SITE) else FEW_SITES
    few = f" · {site_label(n_sites)}" if n_sites < FEW_SITES else ""
    return f"{synthetic}{' · RANDOM SPLIT' if document['split'] == 'random' else ''}{few}"


def name_of(row: BoardRow) -> str:
    return " ".join(
        filter(None, (row["detector"], DAGGER if row["uses_labels"] else "", UPPER_BOUND if row["upper_bound"] else ""))
    )


def varying_params(row: BoardRow) -> str:
    """Parameters that differ within and across networks, ``sigma=0.1 within, 0.6 cross``; empty if none does."""
    names = dict.fromkeys(name for cell in row["cells"] for name in cell["params"] if name not in row["params"])
    lines = []
    for name in names:
        shown = []
        for word, within in (("within", True), ("cross", False)):
            own = [cell["params"] for cell in row["cells"] if (cell["source"] == cell["target"]) is within]
            values = dict.fromkeys(str(params[name]) for params in own if name in params)
            shown += [f"{'/'.join(values)} {word}"] if values else []
        lines.append(f"{name}={', '.join(shown)}")
    return "; ".join(lines)


def params_of(row: BoardRow) -> str:
    """All parameters, those that vary last; empty if there are none."""
    return ", ".join(filter(None, [*(f"{name}={value}" for name, value in row["params"].items()), varying_params(row)]))


def aggregators_of(row: BoardRow) -> str:
    return ", ".join(dict.fromkeys(cell["aggregator"] for cell in row["cells"] if cell["aggregator"] is not None))


def caption(row: BoardRow) -> list[str]:
    """The lines under a detector's matrix: aggregator, collapse cells, parameters."""
    first = [f"aggregator {aggregators_of(row)}"] if aggregators_of(row) else []
    if row["collapse_cells"] is not None:
        first.append(f"cells ≤ {COLLAPSE_TEXT}: {row['collapse_cells']} of {len(row['cells'])}")
    return [line for line in (" · ".join(first), params_of(row)) if line]


def cell_text(cell: BoardCell) -> str:
    """The number of a cell, or its status; both where only some seeds have one."""
    value = spread(cell["mean"], cell["std"])
    if cell["status"] == "ok":
        return value
    return cell["status"] if cell["mean"] is None else f"{value}\n{cell['status']}"


def problems(document: Board) -> list[tuple[str, str]]:
    """(detector, what happened where) for everything that is not ok."""
    found = []
    for row in document["rows"]:
        failed = [cell for cell in row["cells"] if cell["status"] != "ok"]
        cells = grouped(((cell["status"], cell["reason"]), f"{cell['source']} → {cell['target']}") for cell in failed)
        for (status, reason), where in cells.items():
            of = "all cells" if len(where) == len(row["cells"]) else listed(where)
            found.append((name_of(row), f"{status} ({of}): {reason}"))
        if row["control_reason"]:
            counts = ", ".join(f"{n} {status}" for status, n in row["control_status_counts"].items() if n)
            found.append((name_of(row), f"control ({counts}): {row['control_reason']}"))
    return found


def listed(names: Sequence[str], of: int | None = None, what: str = "") -> str:
    """``a, b, c, d and 3 more``; ``all 36 rows`` where so many names are all that there are (``of``, ``what``)."""
    if len(names) == of and len(names) > MAX_LISTED:
        return f"all {of} {what}"
    more = f" and {len(names) - MAX_LISTED} more" if len(names) > MAX_LISTED else ""
    return f"{', '.join(names[:MAX_LISTED])}{more}"


def in_order(names: Iterable[str]) -> list[str]:
    """Each once."""
    return list(dict.fromkeys(names))


def grouped(pairs: Iterable[tuple[Key, Value]]) -> dict[Key, list[Value]]:
    """First → all its seconds, in order."""
    found: dict[Key, list[Value]] = {}
    for first, second in pairs:
        found.setdefault(first, []).append(second)
    return found
