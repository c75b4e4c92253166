"""ROC curves with the region of low false positive rates enlarged."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray

from reports.figures.style import GREY, LINES, Format, draw, number, tidy

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Right end of the enlarged region: the false positive rates that an operator can bear lie at its left edge.
LOW_FPR = 0.05
OPERATING = 0.01


def roc(score: ArrayLike, attack: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """False and true positive rate at every distinct threshold, from (0, 0) to (1, 1); tied scores move together, so
    ties count one half in the area.

    score (n,), higher = more anomalous; attack (n,) bool.  ValueError unless there are both attacks and benign flows.
    """
    score, attack = np.asarray(score, dtype=np.float64), np.asarray(attack, dtype=bool)
    if score.shape != attack.shape or attack.all() or not attack.any():
        raise ValueError("a ROC curve needs a score per flow, and both attacks and benign flows")
    order = np.argsort(-score, kind="stable")
    last = np.append(np.nonzero(np.diff(score[order]))[0], len(score) - 1)  # last flow of each group of ties
    true = np.cumsum(attack[order])[last]
    false = last + 1 - true
    return np.append(0.0, false / false[-1]), np.append(0.0, true / true[-1])


def roc_curves(
    curves: Mapping[str, tuple[ArrayLike, ArrayLike]], form: Format = "svg", note: str = "", heading: str = ""
) -> bytes:
    """One line per name: (score (n,), attack (n,) bool).  Left the whole curve, right FPR ≤ 5 % with the operating
    point of 1 % marked.

    heading  what all of them are of, such as ``office → home, seed 42``

    The legend has the area and the TPR at 1 % FPR.  ValueError for more lines than there are distinguishable styles.
    """
    if not 1 <= len(curves) <= len(LINES):
        raise ValueError(f"a ROC figure holds 1 to {len(LINES)} curves, not {len(curves)}")
    return draw(lambda figure: _paint(figure, curves), (6.6, 3.5 + 0.14 * len(curves)), form, note, heading)


def _paint(figure: Figure, curves: Mapping[str, tuple[ArrayLike, ArrayLike]]) -> None:
    whole, low = figure.subplots(1, 2)
    handles, names = [], []
    for (name, (score, attack)), (color, dashes) in zip(curves.items(), LINES, strict=False):
        false, true = roc(score, attack)
        for axes in (whole, low):
            (line,) = axes.plot(false, true, color=color, linestyle=dashes, linewidth=1.4)
        handles.append(line)
        found = number(float(true[false <= OPERATING].max()))  # without interpolation, as the metric tpr_at_fpr_1pct
        names.append(f"AUROC {number(float(np.trapezoid(true, false)))}   TPR at 1 % FPR {found}   {name}")
    for axes in (whole, low):
        tidy(axes)
        axes.plot([0, 1], [0, 1], color=GREY, linewidth=0.6, linestyle=(0, (1, 3)))
        axes.set_ylim(0, 1.005)
        axes.grid(color="#dddddd", linewidth=0.5)
        axes.set_axisbelow(True)
    whole.set(xlim=(0, 1), xlabel="false positive rate", ylabel="true positive rate")
    low.set(xlim=(0, LOW_FPR), xlabel=f"false positive rate, enlarged to {LOW_FPR:.0%}".replace("%", " %"))
    low.axvline(OPERATING, color=GREY, linewidth=0.8, linestyle=(0, (1, 2)))
    low.annotate("1 % FPR", (OPERATING, 1.0), (3, -2), textcoords="offset points", color=GREY, fontsize=7, va="top")
    whole.axvspan(0, LOW_FPR, color="#eeeeee", zorder=0)
    figure.legend(handles, names, loc="outside lower center", frameon=False, handlelength=3.5)
