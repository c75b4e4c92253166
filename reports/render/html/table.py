"""A table as the template writes it: text is escaped there, never here."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from reports.tables.fields import NONE, number

__all__ = ["Cell", "Head", "Row", "Table", "figure", "share", "text", "whole"]


@dataclass(frozen=True)
class Cell:
    """text may have several lines; small stands below it; value is what the cell is sorted by, where that is not its text."""

    text: str
    value: float | None = None
    small: str = ""
    css: str = ""
    detector: int | None = None
    head: bool = False


@dataclass(frozen=True)
class Head:
    """hint explains the column, in a line below it."""

    text: str
    css: str = ""
    hint: str = ""
    detector: int | None = None


@dataclass(frozen=True)
class Row:
    """detector: its number, for the filter; data: further ``data-`` attributes."""

    cells: Sequence[Cell]
    detector: int | None = None
    data: Mapping[str, str | float] = field(default_factory=dict)


@dataclass(frozen=True)
class Table:
    """view: the choice that shows it (``metric=auroc``), empty if it is always shown; detector: its number, where the table is about one."""

    caption: str
    heads: Sequence[Head]
    rows: Sequence[Row]
    view: str = ""
    sortable: bool = True
    css: str = ""
    under: Sequence[str] = ()
    detector: int | None = None


def figure(value: float | None, std: float | None = None, *, signed: bool = False, css: str = "", detector: int | None = None) -> Cell:
    """A number with three decimals, and its spread; sorted by its full value."""
    shown = number(value).replace("-", "−")
    if signed and value is not None and not shown.startswith("−"):
        shown = f"+{shown}"
    if std is not None and value is not None:
        shown += f" ± {number(std)}"
    return Cell(shown, value, css=f"n {css}".strip(), detector=detector)


def share(value: float | None) -> str:
    """A percentage: ``12 %``, ``1.2 %``, ``0.012 %`` (two significant digits below one).  The page's script writes it in the same way."""
    if value is None:
        return NONE
    percent = 100 * value * (1 + 1e-12)  # no exact halves, which the two languages round differently
    if 0 < percent < 1e-4:
        return "< 0.0001 %"
    digits = 0 if percent >= 10 else 1 if percent >= 1 or percent == 0 else 1 - math.floor(math.log10(percent))
    return f"{percent:.{digits}f} %"


def whole(value: float | None) -> str:
    """A count, halves upwards as in the page's script: ``9,999``."""
    return NONE if value is None else f"{math.floor(value + 0.5):,}"


def text(value: str, css: str = "", *, head: bool = False, detector: int | None = None) -> Cell:
    return Cell(value, css=css, head=head, detector=detector)
