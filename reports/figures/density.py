"""How scores are distributed for each source and target: benign flows, attacks, and where the threshold lies."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from reports.figures.style import BLUE, GREY, INK, VERMILION, Format, draw, wrapped

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

BINS = 48
SHADE = "#eeeeee"
# Quantiles of all scores of a target that its axis spans; flows beyond are counted in the outermost bins.
SPAN = (0.001, 0.999)
MARGIN = 0.02
LOG_RATIO = 50.0  # Positive scores whose span is wider than this factor are shown on a logarithmic axis.
STYLES: tuple[dict[str, Any], ...] = (
    {"color": BLUE, "filled": True, "linestyle": "-"},
    {"color": VERMILION, "filled": False, "linestyle": "-"},
    {"color": GREY, "filled": False, "linestyle": (0, (2, 1.2))},
)
"""The first group is filled, so that two groups differ without colour."""


@dataclass(frozen=True, eq=False)
class ScorePanel:
    """One source → target cell.

    groups     name → scores (n,), at most three, e.g. benign, attack, source benign
    threshold  where the vertical line stands, or None
    """

    source: str
    target: str
    groups: Mapping[str, ArrayLike] = field(default_factory=dict)
    threshold: float | None = None


def score_densities(
    panels: Sequence[ScorePanel],
    score: str,
    threshold: str = "",
    form: Format = "svg",
    note: str = "",
    heading: str = "",
) -> bytes:
    """Small multiples, a row per source and a column per target; every group is normalised to its own highest bin.

    score      name of the score, under the axis
    threshold  what the vertical line is, for the legend (``τ = P99 of benign calibration``)
    heading    what all panels are of, such as ``knn, seed 42``

    A column shares its axis, logarithmic where the scores are positive and span more than a factor of 50.
    """
    sources = list(dict.fromkeys(panel.source for panel in panels))
    targets = list(dict.fromkeys(panel.target for panel in panels))
    if not panels or any(not 1 <= len(panel.groups) <= len(STYLES) for panel in panels):
        raise ValueError(f"every panel of a density figure holds 1 to {len(STYLES)} groups of scores")
    size = (1.45 * len(targets) + 1.0, 0.95 * len(sources) + 1.1)
    return draw(lambda figure: _paint(figure, panels, sources, targets, (score, threshold)), size, form, note, heading)


def _paint(
    figure: Figure, panels: Sequence[ScorePanel], sources: list[str], targets: list[str], words: tuple[str, str]
) -> None:
    from matplotlib.patches import Patch

    grid = figure.subplots(len(sources), len(targets), squeeze=False, sharex="col", sharey=True)
    edges = {target: _edges([panel for panel in panels if panel.target == target]) for target in targets}
    handles: dict[str, Any] = {}
    for axes in grid.flat:  # a cell without scores stays empty; the bottom row keeps the numbers of its column
        axes.spines[:].set_visible(False)
        axes.tick_params(which="both", length=0, labelsize=6)
        axes.set_yticks([])
    for panel in panels:
        axes = grid[sources.index(panel.source), targets.index(panel.target)]
        handles |= _panel(axes, panel, *edges[panel.target])
    for column, target in enumerate(targets):
        grid[0, column].set_title(wrapped(target, 18), fontweight="bold")
    for row, source in enumerate(sources):
        grid[row, 0].set_ylabel(wrapped(source, 14), fontsize=8)
    figure.supylabel("source", fontsize=8, color=GREY)
    if any(panel.source == panel.target for panel in panels):
        handles["source = target"] = Patch(facecolor=SHADE)
    if "threshold" in handles:
        handles[words[1] or "threshold"] = handles.pop("threshold")
    # the legend's title stands where the name of the x axis belongs
    title = f"{words[0]} (outermost bins: all beyond)"
    figure.legend(
        [*handles.values()],
        [*handles],
        loc="outside lower center",
        ncols=len(handles),
        frameon=False,
        title=title,
        title_fontsize=8,
    )


def _edges(panels: Sequence[ScorePanel]) -> tuple[NDArray[np.float64], bool]:
    """Bin edges that all cells of a target share, and whether they are logarithmic."""
    values = np.concatenate(
        [np.asarray(scores, dtype=np.float64) for panel in panels for scores in panel.groups.values()]
    )
    thresholds = [panel.threshold for panel in panels if panel.threshold is not None]
    low, high = np.quantile(values, SPAN)
    low, high = min([low, *thresholds]), max([high, *thresholds])
    if high <= low:
        low, high = low - 0.5, high + 0.5
    logarithmic = bool(min([values.min(), *thresholds]) > 0 and high / low > LOG_RATIO)
    if logarithmic:
        margin = (high / low) ** MARGIN
        return np.geomspace(low / margin, high * margin, BINS + 1), True
    margin = (high - low) * MARGIN
    return np.linspace(low - margin, high + margin, BINS + 1), False


def _panel(axes: Axes, panel: ScorePanel, edges: NDArray[np.float64], logarithmic: bool) -> dict[str, Any]:
    """Draw one cell; the artists for the legend."""
    if logarithmic:
        axes.set_xscale("log")
    axes.set(xlim=(edges[0], edges[-1]), ylim=(0, 1.08))
    axes.tick_params(axis="x", which="major", length=3)
    axes.tick_params(axis="x", which="minor", length=1.5)
    axes.spines["bottom"].set_visible(True)
    handles: dict[str, Any] = {}
    for (name, scores), style in zip(panel.groups.items(), STYLES, strict=False):
        counts, _ = np.histogram(np.clip(np.asarray(scores, dtype=np.float64), edges[0], edges[-1]), edges)
        height = counts / max(counts.max(), 1)
        if style["filled"]:
            handles[name] = axes.stairs(height, edges, fill=True, color=style["color"], alpha=0.45, linewidth=0)
        else:
            handles[name] = axes.stairs(
                height, edges, color=style["color"], linestyle=style["linestyle"], linewidth=1.1
            )
    if panel.threshold is not None:
        handles["threshold"] = axes.axvline(panel.threshold, color=INK, linewidth=0.8, linestyle=(0, (3, 2)))
    if panel.source == panel.target:
        axes.set_facecolor(SHADE)
    return handles
