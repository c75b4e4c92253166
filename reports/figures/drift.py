"""False-positive rates day by day, of detectors that were calibrated once and of the same recalibrated every day."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from reports.figures.style import GREY, LINES, Format, draw, tidy, wrapped

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MOST_LINES = len(LINES)


@dataclass(frozen=True)
class DayCurve:
    """Shares of benign flows above the threshold, one per day of the panel; None: there is none."""

    fixed: Sequence[float | None]
    recalibrated: Sequence[float | None]


def day_curves(
    panels: Mapping[str, tuple[Sequence[str], Mapping[str, DayCurve]]],
    promised: float,
    form: Format = "svg",
    note: str = "",
) -> bytes:
    """A panel per network: name → its days and detector → curve; a line at the rate that was ``promised``.

    ValueError without a panel, or with more detectors than can be told apart.
    """
    if not panels or max(len(curves) for _, curves in panels.values()) > MOST_LINES:
        raise ValueError(f"a figure of days shows 1 to {MOST_LINES} detectors: name them with --detectors")
    return draw(lambda figure: _paint(figure, panels, promised), (6.2, 1.9 * len(panels) + 0.6), form, note)


def _paint(figure: Figure, panels: Mapping[str, tuple[Sequence[str], Mapping[str, DayCurve]]], promised: float) -> None:
    for axes, (name, (days, curves)) in zip(
        figure.subplots(len(panels), squeeze=False)[:, 0], panels.items(), strict=True
    ):
        places = range(len(days))
        for (label, curve), (color, dashes) in zip(curves.items(), LINES, strict=False):
            for values, marker, what in ((curve.fixed, "o", "fixed"), (curve.recalibrated, "x", "recalibrated")):
                axes.plot(
                    places,
                    [float("nan") if value is None else 100 * value for value in values],
                    color=color,
                    linestyle=dashes if what == "fixed" else ":",
                    marker=marker,
                    markersize=3.5,
                    linewidth=1.0,
                    label=f"{label}, {what}",
                )
        axes.axhline(100 * promised, color=GREY, linewidth=0.8)
        axes.set_xticks(places, days, rotation=30, ha="right")
        axes.set_ylabel("benign flows\nabove τ, %")
        axes.set_ylim(bottom=0)
        axes.set_title(wrapped(name, 60), loc="left")
        tidy(axes)
        axes.legend(frameon=False, loc="upper left", bbox_to_anchor=(1.0, 1.0))
