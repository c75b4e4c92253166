"""Means of a board with both intervals, and the gain over the target-only control as a bar from zero."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from reports.figures.style import BLUE, GREY, INK, VERMILION, Format, draw, tidy, wrapped
from reports.tables.fields import signed

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from reports.tables.forest import ForestRow

ROW = 0.3  # Height of a row in inches.
NAME_WIDTH = 34


def forest_plot(rows: Sequence[ForestRow], axis: str, form: Format = "svg", note: str = "") -> bytes:
    """A row per detector, the best on top; ``axis`` is what the means are.  ValueError without rows."""
    if not rows:
        raise ValueError("there is no row with a mean to draw")
    return draw(lambda figure: _paint(figure, rows, axis), (7.0, ROW * len(rows) + 1.1), form, note)


def _paint(figure: Figure, rows: Sequence[ForestRow], axis: str) -> None:
    gains = any(row.gain is not None for row in rows)
    panels = figure.subplots(1, 1 + gains, sharey=True, squeeze=False, width_ratios=[2, 1][: 1 + gains])[0]
    means = panels[0]
    for place, row in enumerate(rows):
        if row.networks is not None:
            means.plot(row.networks, [place, place], color=GREY, linewidth=1, solid_capstyle="butt")
        if row.these is not None:
            means.plot(row.these, [place, place], color=BLUE, linewidth=3.5, solid_capstyle="butt")
        means.plot([row.mean], [place], "o", color=INK, markersize=3.5)
    means.set_yticks(range(len(rows)), [wrapped(row.label, NAME_WIDTH) for row in rows])
    means.set_ylim(len(rows) - 0.5, -0.5)
    intervals = {
        "these networks (thick)": any(row.these is not None for row in rows),
        "others like them (thin)": any(row.networks is not None for row in rows),
    }
    drawn = ", ".join(name for name, there in intervals.items() if there)
    means.set_xlabel(f"{axis}\n95 %: {drawn}" if drawn else axis)
    means.grid(axis="x", linewidth=0.4, alpha=0.5)
    if gains:
        bars = panels[1]
        for place, row in enumerate(rows):
            if row.gain is None:
                bars.text(0, place, f" {row.without}", va="center", color=GREY)
                continue
            bars.barh(place, row.gain, height=0.55, color=BLUE if row.gain > 0 else VERMILION)
            if row.gain_these is not None:
                bars.plot(row.gain_these, [place, place], color=INK, linewidth=1.2, solid_capstyle="butt")
            # beside the axes, where neither an interval nor a line runs through it
            bars.annotate(
                signed(row.gain).replace("-", "−"),
                (1, place),
                xycoords=("axes fraction", "data"),
                xytext=(28, 0),
                textcoords="offset points",
                va="center",
                ha="right",
            )
        bars.axvline(0, color=INK, linewidth=0.8)
        tested = any(row.gain_these is not None for row in rows)
        bars.set_xlabel(f"gain over the\ntarget-only control{', 95 % (line)' if tested else ''}")
        bars.tick_params(axis="y", length=0)
        tidy(bars)
    tidy(means)
