"""The one model of tables: whoever shows a table makes this of it, and every renderer only draws it.  Standard library
only."""

import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Self

from reports.tables.fields import NONE, spread

NAME_WIDTH, TEXT_WIDTH = 26, 34  # Text in the first and in the other columns wraps at these widths in a terminal.
MAX_HEADING = 10  # A longer heading stands on several lines in print.
APART = re.compile(r"(?<!→) (?![%→])")  # Where it is divided: ``95 %`` and ``source → target`` are one word each.


@dataclass(frozen=True)
class Cell:
    """What stands in one place of a table.

    text    may have several lines;  small: in small print below it (in a report, and below a name in a terminal)
    value   what it is sorted and shaded by, where that is not its text
    label   it names a detector, as it is written on a command line
    within  the source is the target;  best: of its column;  failed: there is a status in place of a number, or beside
            it
    css, detector, head  of a report: further classes, the number that its filter knows a detector by, and whether the
                         cell names its row
    """

    text: str
    value: float | None = None
    small: str = ""
    label: bool = False
    within: bool = False
    best: bool = False
    failed: bool = False
    css: str = ""
    detector: int | None = None
    head: bool = False


@dataclass(frozen=True)
class Column:
    """A column of a table.

    heading   may have two lines;  headings: what one form (``terminal``, ``markdown``, ``latex``, ``html``) says in its
              place
    right     how it is set;  latex, markdown: column type and rule where those are not of the same side
    priority  columns with the lowest number stay in the first table where the terminal is too narrow for one
    wrap      width at which the heading, and text that is set left, wraps in a terminal; 0: never
    hint, css, detector  of a report: a line below the heading, classes, and the number that its filter knows a detector
                         by
    """

    heading: str
    right: bool = True
    priority: int = 0
    wrap: int = 0
    headings: Mapping[str, str] = field(default_factory=dict)
    latex: str = ""
    markdown: str = ""
    hint: str = ""
    css: str = ""
    detector: int | None = None

    def heading_in(self, form: str) -> str:
        return self.headings.get(form, self.heading)


@dataclass(frozen=True)
class TableRow:
    """A row of a table.

    cells     one per column, or a single one that is a heading of the rows below it
    baseline  it is the target-only baseline below a matrix;  rule: a rule stands above it in print
    detector, data  of a report: the number that its filter knows the row's detector by, and further ``data-``
                    attributes
    """

    cells: Sequence[Cell]
    baseline: bool = False
    rule: bool = False
    detector: int | None = None
    data: Mapping[str, str | float] = field(default_factory=dict)


@dataclass(frozen=True)
class Table:
    """A titled table.

    about     the detector that it is of, named before the title
    notes     lines below it
    labels    so many columns begin every part of a table that is too wide for a terminal, or one where they would take
              half of it
    view      of a report: the choice that shows it (``metric=auroc``), empty if it is always shown; sortable, css and
              detector: of a report, too
    """

    title: str
    columns: Sequence[Column]
    rows: Sequence[TableRow]
    about: str = ""
    notes: Sequence[str] = ()
    labels: int = 1
    view: str = ""
    sortable: bool = True
    css: str = ""
    detector: int | None = None

    def only(self, belongs: Callable[[int, Column], bool]) -> Self:
        """The same table with the columns that ``belongs`` (place, column) accepts."""
        places = [place for place, column in enumerate(self.columns) if belongs(place, column)]
        rows = [replace(row, cells=[row.cells[place] for place in places]) for row in self.rows]
        return replace(self, columns=[self.columns[place] for place in places], rows=rows)

    def without_empty(self, kept: Collection[int]) -> Self:
        """Without the columns that have no number in any row, except those at the places ``kept``."""
        return self.only(lambda place, _: place in kept or any(row.cells[place].text != NONE for row in self.rows))


def figure(mean: float | None, std: float | None = None) -> Cell:
    """A number with three decimals, and its spread; sorted by its full value."""
    return Cell(spread(mean, std), mean)


def text_table(
    title: str,
    headings: Sequence[str],
    rows: Sequence[Sequence[str]],
    left: int = 1,
    notes: int = 0,
    stack: bool = True,
) -> Table:
    """A table of text: the first ``left`` and the last ``notes`` columns are set left, the others right.

    stack  long headings stand on several lines in print
    """
    columns = []
    for place, heading in enumerate(headings):
        width = NAME_WIDTH if place < left else TEXT_WIDTH
        printed = {"latex": APART.sub("\n", heading)} if stack and len(heading) > MAX_HEADING else {}
        columns.append(Column(heading, left <= place < len(headings) - notes, place, width, headings=printed))
    return Table(title, columns, [TableRow([Cell(text) for text in row]) for row in rows], labels=left)
