"""The rows of a forest plot: the mean that a board ranks by, with both intervals, and the gain over the target-only
control.  Standard library only."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from reports.tables.document import Board
from reports.tables.fields import name_of
from reports.tables.intervals import ranking_summary

Range = tuple[float, float] | None


@dataclass(frozen=True)
class ForestRow:
    """``these``, ``networks``: 95 % intervals for these very networks and for others like them; None where there is
    none.  ``gain_these``: that of the gain for these networks; ``without``: why there is no gain."""

    label: str
    mean: float
    these: Range
    networks: Range
    gain: float | None
    gain_these: Range = None
    without: str = "no control"


def forest_rows(document: Board) -> list[ForestRow]:
    """Of the rows with a mean, in the order of the board."""
    ranking = ranking_summary(document)
    found = []
    for row in document["rows"]:
        mean, control, own = row["summary"][ranking], row["control_summary"][ranking], row["intervals"].get(ranking)
        if mean is not None:
            these = None if own is None else range_of(own["low_these"], own["high_these"])
            networks = None if own is None else range_of(own["low"], own["high"])
            gain = None if control is None else mean - control
            tested = row.get("gain")
            gain_these = None if tested is None else range_of(tested["low_these"], tested["high_these"])
            without = "control incomplete" if row["control_status_counts"] else "no control"
            found.append(ForestRow(name_of(row), mean, these, networks, gain, gain_these, without))
    return found


def range_of(low: float | None, high: float | None) -> Range:
    """None where either end is missing."""
    return None if low is None or high is None else (low, high)


def ends(rows: Sequence[ForestRow]) -> tuple[float, float]:
    """Of the axis of means: all that is drawn, outwards to whole tenths; ValueError without rows."""
    values = [value for row in rows for value in (row.mean, *(row.these or ()), *(row.networks or ()))]
    return math.floor(10 * min(values)) / 10, math.ceil(10 * max(values)) / 10
