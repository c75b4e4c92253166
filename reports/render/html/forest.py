"""The forest plot of the page: coordinates of what ``reports.tables.forest`` knows, drawn by the template as SVG."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from reports.render.html.cells import signs
from reports.render.html.evidence import ReportData
from reports.tables.fields import metric_name, name_of, number
from reports.tables.forest import ForestRow, Range, ends, forest_rows
from reports.tables.intervals import ranking_summary

ROW, TOP = 24, 30  # Heights in pixels: of a row, and of what is above the first.
NAMES, MEANS, GAINS, GAP = 260, 360, 150, 50  # Widths: of the names, of the axis of means, of that of gains.
MARGIN = 30  # Space for the text of a gain.


@dataclass(frozen=True)
class Line:
    """A row: its place from above, its text, and where its marks are from the left; None where there is none."""

    y: int
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
    height: int
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
        return round(NAMES + MEANS * (value - low) / span, 1)

    gained = [(row.gain, *(row.gain_these or ())) for row in rows if row.gain is not None]
    largest = max((abs(value) for values in gained for value in values), default=0.0)
    zero = _zero(rows)

    def beside(value: float) -> float:
        return round((zero or 0.0) + (value / largest if largest else 0.0) * (GAINS / 2 - MARGIN / 2), 1)

    numbers = {name_of(row): data.numbers[row["detector"]] for row in data.first["rows"]}
    lines = []
    for place, row in enumerate(rows):
        bar = None if zero is None or row.gain is None else sorted((zero, beside(row.gain)))
        text = "no control" if row.gain is None else signs(number(row.gain)) if row.gain < 0 else f"+{number(row.gain)}"
        lines.append(
            Line(
                TOP + ROW * place,
                row.label if len(row.label) <= 36 else f"{row.label[:35]}…",
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
    width = NAMES + MEANS + (GAP + GAINS + 2 * MARGIN if zero is not None else GAP)
    return Forest(f"{name}{data.flags}", width, TOP + ROW * len(rows) + 8, zero, ticks, lines)


def _zero(rows: Sequence[ForestRow]) -> float | None:
    """Where gains begin; None where no row has one."""
    gains = any(row.gain is not None for row in rows)
    return NAMES + MEANS + GAP + MARGIN + GAINS / 2 if gains else None


def _moved(of: Range, across: Callable[[float], float]) -> Range:
    return None if of is None else (across(of[0]), across(of[1]))
