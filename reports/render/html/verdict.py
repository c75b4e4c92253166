"""The first screen of the page: the verdict and the best numbers, each with its interval."""

import re
from dataclasses import dataclass

from reports.render.html.evidence import ReportData
from reports.results.sites import SITE
from reports.tables.document import Board, BoardRow, SummaryName
from reports.tables.fields import interval, name_of, number
from reports.tables.intervals import ranking_summary
from reports.tables.verdict import verdict_lines

MINUS = re.compile(r"(?<!\w)-(?=[.\d])")  # A hyphen that is a sign.


@dataclass(frozen=True)
class Tile:
    """The best number of a kind, whose it is, and its 95 % interval for these networks (or that there is none)."""

    what: str
    value: str
    who: str
    range: str


def sentences(data: ReportData) -> list[str]:
    return [MINUS.sub("−", line) for line in verdict_lines(data.first["verdict"])]


def tiles(data: ReportData) -> list[Tile]:
    """Best within, across and inside sites, and best TPR at 1 % FPR; what has no number is left out."""
    first = data.first
    wanted: list[tuple[str, str, SummaryName]] = [
        ("Best within a network", first["metric"], "within_mean"),
        ("Best across networks", first["metric"], "cross_mean"),
        ("Best inside a site", f"auroc{SITE}", ranking_summary(first)),
        ("Best TPR at 1 % FPR", "tpr_at_fpr_1pct", ranking_summary(first)),
    ]
    found = [_tile(what, data.documents[metric], name) for what, metric, name in wanted if metric in data.documents]
    return [tile for tile in found if tile is not None]


def _tile(what: str, document: Board, name: SummaryName) -> Tile | None:
    rows = [row for row in document["rows"] if row["summary"][name] is not None and not row["upper_bound"]]
    if not rows:
        return None
    best = (max if document["higher_is_better"] else min)(rows, key=lambda row: row["summary"][name] or 0.0)
    return Tile(what, number(best["summary"][name]), name_of(best), _range(best, name))


def _range(row: BoardRow, name: SummaryName) -> str:
    own = row["intervals"].get(name)
    if own is None:
        return "no interval computed"
    if own["low_these"] is None:
        return f"no interval: {own['reason_these']}"
    return f"95 % {interval(own['low_these'], own['high_these'])}, these networks"
