"""Bars of what each ablation costs, or gains."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from reports.figures.style import BLUE, INK, VERMILION, Format, draw, tidy, wrapped

if TYPE_CHECKING:
    from matplotlib.figure import Figure

STYLES = (("#a6cee3", ""), (BLUE, ""), (VERMILION, "////"))
"""(colour, hatch): light, dark and hatched, to be told apart in print without colour."""
BAR = 0.26


def ablation_bars(
    deltas: Mapping[str, Mapping[str, float | None]],
    reference: str,
    unit: str = "AUROC points",
    form: Format = "svg",
    note: str = "",
) -> bytes:
    """Horizontal bars: ablation → {summary: difference to ``reference``}; at most three summaries (within mean, cross
    mean, cross worst).

    None leaves its bar out and says so.  ValueError if the ablations do not have the same one to three summaries.
    """
    summaries = list(next(iter(deltas.values()), {}))
    if not 1 <= len(summaries) <= len(STYLES) or any(list(row) != summaries for row in deltas.values()):
        raise ValueError(f"every ablation needs the same 1 to {len(STYLES)} summaries")
    return draw(
        lambda figure: _paint(figure, deltas, summaries, f"difference to {reference}, {unit}"),
        (6.2, 0.54 * len(deltas) + 0.9),
        form,
        note,
    )


def _paint(figure: Figure, deltas: Mapping[str, Mapping[str, float | None]], summaries: list[str], label: str) -> None:
    axes = figure.subplots()
    places = np.arange(len(deltas))
    for position, (summary, (color, hatch)) in enumerate(zip(summaries, STYLES, strict=False)):
        offset = (position - (len(summaries) - 1) / 2) * BAR
        values = [row[summary] for row in deltas.values()]
        widths = [0.0 if value is None else value for value in values]
        axes.barh(
            places + offset,
            widths,
            BAR * 0.92,
            color=color,
            hatch=hatch,
            edgecolor="white" if hatch else color,
            linewidth=0,
            label=summary,
        )
        for place, value in zip(places + offset, values, strict=True):
            text = "no number" if value is None else f"{value:+.2f}".replace("-", "−")
            left = value is not None and value < 0
            where: dict[str, Any] = {
                "xytext": (-3 if left else 3, 0),
                "textcoords": "offset points",
                "ha": "right" if left else "left",
            }
            box = {"facecolor": "white", "edgecolor": "none", "pad": 0.5}
            axes.annotate(text, (value or 0.0, place), va="center", fontsize=6.5, bbox=box, **where)
    axes.axvline(0, color=INK, linewidth=0.8)
    axes.set_yticks(places, [wrapped(name, 34) for name in deltas])
    axes.invert_yaxis()
    axes.tick_params(axis="y", length=0)
    axes.margins(x=0.14, y=0.01)
    axes.set_xlabel(wrapped(label, 60))
    axes.grid(axis="x", color="#dddddd", linewidth=0.5)
    axes.set_axisbelow(True)
    tidy(axes)
    axes.spines["left"].set_visible(False)
    figure.legend(loc="outside lower center", ncols=len(summaries), frameon=False)
