"""Cross matrices of two score choices side by side, and their difference in colour (Figure 1 of the JANUS outline)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from reports.figures.style import GREY, INK, LETTER, Format, draw, number, wrapped
from reports.tables.fields import COLLAPSE

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.colors import Colormap, Normalize
    from matplotlib.figure import Figure

# Ends of the colour scale; what is below LOW has the colour of LOW, and the bar says so by its arrow.
LOW, HIGH = 0.4, 1.0
DIFFERENCE = 0.6
CELL, LINE = 0.42, 0.14  # Side of a cell, and height of a line of a title, in inches.


@dataclass(frozen=True, eq=False)
class Matrices:
    """Two matrices over the same networks.

    first, second   (S, T): the metric, NaN where there is no number; ``names`` of the two, e.g. ``("terminal_norm",
                    "oas")``
    sources, targets  the S and T names
    metric          for the colour bar; between 0 and 1, higher is better
    area            it is one under the ROC curve, where chance is ½: others are not underlined where they are low, and
                    their colours begin at 0
    heading         what both matrices are of
    """

    first: NDArray[np.float64]
    second: NDArray[np.float64]
    names: tuple[str, str]
    sources: Sequence[str]
    targets: Sequence[str]
    metric: str = "AUROC"
    area: bool = True
    heading: str = ""

    def __post_init__(self) -> None:
        for matrix in (self.first, self.second):
            if np.shape(matrix) != (len(self.sources), len(self.targets)):
                raise ValueError(
                    f"a matrix of shape {np.shape(matrix)} does not fit {len(self.sources)} sources and "
                    f"{len(self.targets)} targets"
                )


def cross_heat_maps(matrices: Matrices, form: Format = "svg", note: str = "") -> bytes:
    """Three panels: first, second, second − first.  Rows are sources; cells whose source is their target are framed,
    collapse cells underlined."""
    rows, columns = len(matrices.sources), len(matrices.targets)
    titles = [_title(name, columns * CELL) for name in (*matrices.names, " − ".join(reversed(matrices.names)))]
    size = (3 * columns * CELL + 2.1, rows * CELL + 1.6 + _more(titles))
    heading = wrapped(matrices.heading, int(size[0] / LETTER))
    return draw(lambda figure: _paint(figure, matrices, titles), size, form, note, heading)


def cross_heat_map(matrices: Matrices, form: Format = "svg", note: str = "") -> bytes:
    """The first matrix alone."""
    rows, columns = len(matrices.sources), len(matrices.targets)
    size = (columns * CELL + 2.0, rows * CELL + 1.6)
    heading = wrapped(", ".join(filter(None, (matrices.heading, matrices.names[0]))), int(size[0] / LETTER))
    return draw(lambda figure: _paint_one(figure, matrices), size, form, note, heading)


def _title(name: str, width: float) -> str:
    """In lines that are no wider than its panel of ``width`` inches: titles stand beside each other."""
    return wrapped(name, max(10, int(width / LETTER)))


def _more(titles: Sequence[str]) -> float:
    """Height in inches of the lines behind the first."""
    return LINE * max(title.count("\n") for title in titles)


def _scale(matrices: Matrices) -> tuple[Normalize, Literal["min", "neither"], str]:
    """Of the colours: its ends, whether the bar goes on below it, and what the bar says of the numbers."""
    from matplotlib.colors import Normalize

    if not matrices.area:
        return Normalize(0, 1), "neither", matrices.metric
    return Normalize(LOW, HIGH), "min", f"{matrices.metric}; ≤ {number(COLLAPSE)} underlined"


def _paint_one(figure: Figure, matrices: Matrices) -> None:
    import matplotlib as mpl

    axes, colors = figure.subplots(), mpl.colormaps["cividis"]
    level, extend, said = _scale(matrices)
    _panel(axes, matrices.first, matrices, colors, level)
    axes.set_ylabel("source")
    axes.set_xlabel("target")
    bar = figure.colorbar(mpl.cm.ScalarMappable(level, colors), ax=axes, extend=extend, fraction=0.06, aspect=20)
    bar.set_label(said)


def _paint(figure: Figure, matrices: Matrices, titles: Sequence[str]) -> None:
    import matplotlib as mpl
    from matplotlib.colors import Normalize

    panels = figure.subplots(1, 3, sharey=True)
    (level, extend, said), change = _scale(matrices), Normalize(-DIFFERENCE, DIFFERENCE)
    sequential, diverging = mpl.colormaps["cividis"], mpl.colormaps["RdBu"]
    first, second = (np.asarray(matrix, dtype=np.float64) for matrix in (matrices.first, matrices.second))
    for axes, values in zip(panels[:2], (first, second), strict=True):
        _panel(axes, values, matrices, sequential, level)
    _panel(panels[2], second - first, matrices, diverging, change, signed=True)
    panels[0].set_ylabel("source")
    for axes, title in zip(panels, titles, strict=True):
        axes.set_title(title, fontweight="bold")
        axes.set_xlabel("target")
    bars: dict[str, Any] = {"orientation": "horizontal", "fraction": 0.06, "aspect": 30, "pad": 0.04}
    bar = figure.colorbar(mpl.cm.ScalarMappable(level, sequential), ax=list(panels[:2]), extend=extend, **bars)
    bar.set_label(f"{said}, source = target framed")
    bar = figure.colorbar(
        mpl.cm.ScalarMappable(change, diverging), ax=panels[2], extend="both", **(bars | {"aspect": 15})
    )
    bar.set_label("difference")
    bar.set_ticks([-DIFFERENCE, 0, DIFFERENCE])


def _panel(
    axes: Axes, values: ArrayLike, matrices: Matrices, colors: Colormap, scale: Normalize, signed: bool = False
) -> None:
    from matplotlib.patches import Rectangle

    values = np.asarray(values)
    shown = colors.with_extremes(bad="#ffffff")
    axes.imshow(np.ma.masked_invalid(values), cmap=shown, norm=scale, aspect="equal")
    axes.set_xticks(
        range(len(matrices.targets)),
        [wrapped(name) for name in matrices.targets],
        rotation=45,
        ha="right",
        rotation_mode="anchor",
    )
    axes.set_yticks(range(len(matrices.sources)), [wrapped(name, 16) for name in matrices.sources])
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    axes.set_xticks(np.arange(1, len(matrices.targets)) - 0.5, minor=True)
    axes.set_yticks(np.arange(1, len(matrices.sources)) - 0.5, minor=True)
    axes.grid(which="minor", color="white", linewidth=1)
    axes.tick_params(which="minor", length=0)
    for (row, column), value in np.ndenumerate(values):
        if np.isnan(value):
            axes.text(column, row, "–", ha="center", va="center", color=GREY)
            continue
        red, green, blue, _ = colors(scale(value))
        dark = 0.2126 * red + 0.7152 * green + 0.0722 * blue < 0.5  # relative luminance decides the ink
        axes.text(column, row, number(value, signed), ha="center", va="center", color="white" if dark else INK)
        if matrices.area and not signed and value <= COLLAPSE:
            axes.plot(
                [column - 0.24, column + 0.24],
                [row + 0.22, row + 0.22],
                color="white",
                linewidth=1.2,
                solid_capstyle="butt",
            )
        if matrices.sources[row] == matrices.targets[column]:
            axes.add_patch(
                Rectangle(
                    (column - 0.46, row - 0.46),
                    0.92,
                    0.92,
                    fill=False,
                    edgecolor="white" if dark else INK,
                    linewidth=1.0,
                )
            )
