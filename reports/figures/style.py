"""What all figures share: a palette for print and colour-blind readers, sizes in inches, and deterministic bytes.

matplotlib is used without pyplot, so nothing is global; it is imported inside functions because the command line lists
formats without it.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Format = Literal["svg", "pdf", "png"]
FORMATS: tuple[Format, ...] = ("svg", "pdf", "png")
UNDATED: dict[Format, dict[str, Any]] = {"svg": {"Date": None}, "pdf": {"CreationDate": None}, "png": {}}
PNG_DPI = 200
NOTE_HEIGHT = 0.25
LETTER = 0.075  # Width of a letter of a bold title in inches.

INK = "#1a1a1a"
GREY = "#767676"
BLUE = "#0072B2"
VERMILION = "#D55E00"
# Okabe & Ito (2008), without the yellow that vanishes on paper; every line also has its own dashes, for print without
# colour
LINES: tuple[tuple[str, Any], ...] = (
    (BLUE, "-"),
    (VERMILION, (0, (5, 1.5))),
    ("#009E73", (0, (1, 1))),
    ("#CC79A7", (0, (5, 1.5, 1, 1.5))),
    ("#56B4E9", (0, (8, 2))),
    ("#E69F00", (0, (3, 1, 1, 1, 1, 1))),
    (INK, (0, (2, 2))),
)

SETTINGS: dict[str, Any] = {
    "font.family": "DejaVu Sans",  # ships with matplotlib: the same glyphs on every machine
    "font.size": 8,
    "axes.titlesize": 8,
    "axes.labelsize": 8,
    "xtick.labelsize": 7,
    "ytick.labelsize": 7,
    "legend.fontsize": 7,
    "axes.linewidth": 0.6,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "hatch.linewidth": 0.5,
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "axes.unicode_minus": True,
    "figure.constrained_layout.h_pad": 0.06,
    "svg.fonttype": "path",
    "svg.hashsalt": "janus-bench",
    "pdf.fonttype": 42,  # TrueType, as publishers ask: Type 3 fonts are refused
}


def draw(
    paint: Callable[[Figure], None], size: tuple[float, float], form: Format, note: str = "", heading: str = ""
) -> bytes:
    """Paint a figure of ``size`` inches and return it as ``form``; equal input gives equal bytes.  ValueError for
    another format.

    note     a line over the figure that must not get lost: SYNTHETIC DATA, RANDOM SPLIT
    heading  lines above it: what all of the figure is of
    """
    import matplotlib as mpl
    from matplotlib.figure import Figure

    if form not in FORMATS:
        raise ValueError(f"figures are written as {', '.join(FORMATS)}, not {form!r}")
    buffer, above = io.BytesIO(), [*heading.splitlines(), *note.splitlines()]
    with mpl.rc_context():
        mpl.rcdefaults()  # a user's matplotlibrc must not change the bytes
        mpl.rcParams.update(SETTINGS)  # type: ignore[arg-type]
        figure = Figure(figsize=(size[0], size[1] + NOTE_HEIGHT * len(above)), layout="constrained")
        if above:
            color = VERMILION if note else INK
            figure.suptitle("\n".join(above), x=0.01, ha="left", fontsize=8, fontweight="bold", color=color)
        paint(figure)
        figure.savefig(buffer, format=form, dpi=PNG_DPI, metadata=UNDATED[form])
    return buffer.getvalue()


def tidy(axes: Axes) -> None:
    """No frame above and to the right."""
    axes.spines[["top", "right"]].set_visible(False)


def number(value: float, signed: bool = False) -> str:
    """Two decimals without the zero before the point, as on the leaderboard; a real minus sign."""
    text = f"{value:+.2f}" if signed else f"{value:.2f}"
    text = text.replace("0.", ".", 1) if text.lstrip("+-").startswith("0.") else text
    return text.replace("-", "−")


def wrapped(name: str, width: int = 12) -> str:
    """A name in lines of about ``width`` characters, broken at separators."""
    from reports.render.layout import wrap_name

    return wrap_name(name, width)
