"""The forest plot of the page: coordinates of what ``reports.tables.forest`` knows.

The template draws each row as a SVG of its own, beside its name or, on a narrow screen, below it.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from reports.render.html.cells import signs
from reports.render.html.evidence import ReportData
from reports.tables.fields import metric_name, name_of, number, signed
from reports.tables.forest import ForestRow, Range, ends, forest_rows
from reports.tables.intervals import ranking_summary

MEANS, GAINS, GAP = 320, 150, 40  # Widths in pixels: of the axis of means, of that of gains, and between them.
EDGE = 10  # Beside the axis of means, for half of the numbers at its ends; the axis and both edges fit a telephone.
MARGIN = 30  # Space for the text of a gain.


@dataclass(frozen=True)
class Line:
    """A row: its name, and where its marks are from the left; None where there is none."""

    label: str
    detector: int
    mean: float
    these: Range
    networks: Range
    gain: tuple[float, float] | None
    gain_these: Range
    gain_text: str
    loss: bool


@dataclass(frozen=True)
class Forest:
    title: str
    width: int
    zero: float | None
    ticks: list[tuple[float, str]]
    lines: list[Line]


def forest(data: ReportData) -> Forest | None:
    """None where no row has a mean."""
    rows = forest_rows(data.first)
    if not rows:
        return None
    low, high = ends(rows)
    span = max(high - low, 0.1)

    def across(value: float) -> float:
        return round(EDGE + MEANS * (value - low) / span, 1)

    gained = [(row.gain, *(row.gain_these or ())) for row in rows if row.gain is not None]
    largest = max((abs(value) for values in gained for value in values), default=0.0)
    zero = _zero(rows)

    def beside(value: float) -> float:
        return round((zero or 0.0) + (value / largest if largest else 0.0) * (GAINS / 2 - MARGIN / 2), 1)

    numbers = {name_of(row): data.numbers[row["detector"]] for row in data.first["rows"]}
    lines = []
    for row in rows:
        bar = None if zero is None or row.gain is None else sorted((zero, beside(row.gain)))
        text = row.without if row.gain is None else signs(signed(row.gain))
        lines.append(
            Line(
                row.label,
                numbers[row.label],
                across(row.mean),
                _moved(row.these, across),
                _moved(row.networks, across),
                None if bar is None else (bar[0], round(bar[1] - bar[0], 1)),
                _moved(row.gain_these, beside),
                text,
                row.gain is not None and row.gain < 0,
            )
        )
    steps = round(10 * span)
    ticks = [(across(low + step / 10), number(low + step / 10)[:-2]) for step in range(steps + 1)]
    name = f"{ranking_summary(data.first).replace('_', ' ')} of {metric_name(data.first['metric'])}"
    width = 2 * EDGE + MEANS + (GAP + GAINS + 2 * MARGIN if zero is not None else 0)
    return Forest(f"{name}{data.flags}", width, zero, ticks, lines)


def _zero(rows: Sequence[ForestRow]) -> float | None:
    """Where gains begin; None where no row has one."""
    gains = any(row.gain is not None for row in rows)
    return 2 * EDGE + MEANS + GAP + MARGIN + GAINS / 2 if gains else None


def _moved(of: Range, across: Callable[[float], float]) -> Range:
    return None if of is None else (across(of[0]), across(of[1]))
