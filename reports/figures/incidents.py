"""What an operator gets: the share of campaigns that are found, against the false incidents that it takes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from reports.figures.style import LINES, Format, draw, tidy

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MOST_DETECTORS = len(LINES)
MARKERS = ("o", "s", "^", "D", "v", "P")
LINEAR_TO = 0.1  # False incidents a day up to which the axis is linear, since there may be none.

Range = tuple[float, float] | None


@dataclass(frozen=True)
class IncidentPoint:
    """At one threshold: the share of campaigns found and the false incidents a day, each with its 95 % or without."""

    threshold: str
    found: float
    false_per_day: float
    found_range: Range = None
    false_range: Range = None


def incident_plot(
    points: Mapping[str, Sequence[IncidentPoint]], form: Format = "svg", note: str = "", heading: str = ""
) -> bytes:
    """A colour per detector, a marker per threshold; better is up and left.  ValueError without points, or for more
    detectors or thresholds than can be told apart."""
    thresholds = list(dict.fromkeys(point.threshold for own in points.values() for point in own))
    if not 1 <= len(points) <= MOST_DETECTORS or not 1 <= len(thresholds) <= len(MARKERS):
        raise ValueError(
            f"a figure of incidents shows 1 to {MOST_DETECTORS} detectors at up to {len(MARKERS)} thresholds"
        )
    return draw(lambda figure: _paint(figure, points, thresholds), (6.2, 3.2), form, note, heading)


def _paint(figure: Figure, points: Mapping[str, Sequence[IncidentPoint]], thresholds: Sequence[str]) -> None:
    axes = figure.subplots()
    handles, names = [], []
    for (label, own), (color, dashes) in zip(points.items(), LINES, strict=False):
        ordered = sorted(own, key=lambda point: point.false_per_day)
        (line,) = axes.plot(
            [point.false_per_day for point in ordered],
            [point.found for point in ordered],
            color=color,
            linestyle=dashes,
            linewidth=0.8,
        )
        handles.append(line)
        names.append(label)
        for point in own:
            axes.errorbar(
                point.false_per_day,
                point.found,
                xerr=_beside(point.false_per_day, point.false_range),
                yerr=_beside(point.found, point.found_range),
                color=color,
                marker=MARKERS[thresholds.index(point.threshold)],
                markersize=4,
                elinewidth=0.8,
                linestyle="none",
            )
    for threshold, marker in zip(thresholds, MARKERS, strict=False):
        (mark,) = axes.plot([], [], color="black", marker=marker, markersize=4, linestyle="none")
        handles.append(mark)
        names.append(f"τ = {threshold}")
    axes.set_xscale("symlog", linthresh=LINEAR_TO)
    axes.set(ylim=(-0.03, 1.03), xlabel="false incidents a day", ylabel="campaigns found")
    axes.set_xlim(left=0)
    axes.grid(color="#dddddd", linewidth=0.5)
    axes.set_axisbelow(True)
    tidy(axes)
    axes.legend(handles, names, frameon=False, loc="upper left", bbox_to_anchor=(1.0, 1.0))


def _beside(value: float, interval: Range) -> list[list[float]] | None:
    """Lengths of the bars to either side; none where there is no interval."""
    return None if interval is None else [[max(0.0, value - interval[0])], [max(0.0, interval[1] - value)]]
