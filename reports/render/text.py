"""The leaderboard as markdown, tidy CSV, JSON and Parquet.  Standard library only, and pyarrow for Parquet."""

import csv
import io
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain
from typing import Any

from reports.tables.boards import has_numbers, leaderboard_table, matrix_table, parts_table
from reports.tables.details import tables_of
from reports.tables.document import Board, BoardCell, BoardRow, SummaryName
from reports.tables.fields import problems, subtitle, title
from reports.tables.model import Table
from reports.tables.verdict import verdict_lines

SETTINGS = ("protocol", "regime", "calibration", "split", "profile", "synthetic")
OF_ROW = ("detector", "provenance", "uses_labels")
MEANS: tuple[SummaryName, ...] = ("within_mean", "cross_mean")
OF_INTERVAL = ("low", "high", "group", "low_these", "high_these", "group_these")
LEVELS = 4  # The document, its rows, a row, its cells.
FORMULA = ("=", "+", "-", "@", "\t", "\r")
OF_CELL = tuple(BoardCell.__annotations__)
OF_SITE = ("site_summary", "control_site_summary", "macro_summary")


def render_json(document: Board, width: int, color: bool) -> Iterator[str]:  # noqa: ARG001  the signature of every renderer
    """The document itself, a cell of a row on a line: an encoder that indents everything takes as long as all else."""
    return _laid_out(document, LEVELS)


def _laid_out(value: object, levels: int, indent: str = "") -> Iterator[str]:
    """JSON whose objects and lists are taken apart so many ``levels`` deep, an entry a line."""
    if not levels or not value or not isinstance(value, dict | list):
        yield json.dumps(value, allow_nan=False, ensure_ascii=False)
        return
    named = isinstance(value, dict)
    start, end = "{}" if named else "[]"
    for number, entry in enumerate(value):
        yield f"{',' if number else start}\n{indent}  "
        if named:
            yield f"{json.dumps(entry, ensure_ascii=False)}: "
        yield from _laid_out(value[entry] if named else entry, levels - 1, f"{indent}  ")
    yield f"\n{indent}{end}"


def tidy(document: Board) -> tuple[list[str], Iterator[list[Any]]]:
    """Columns and lines of the tidy forms: one line per cell, or per record of the document's details; every setting
    repeated on it.

    What a row's means are, and their intervals and tie groups, is repeated on its cells.
    """
    settings = _values(document, SETTINGS)
    if "details" in document:
        records = document["details"]["records"]
        columns = list(dict.fromkeys(name for record in records for name in record))
        return [*SETTINGS, "table", *columns], (
            [*settings, document["details"]["table"], *_values(record, columns)] for record in records
        )
    of_means = [f"{name}{number}" for name in MEANS for number in ("", *(f"_{number}" for number in OF_INTERVAL))]
    first = document["rows"][0]
    of_row = [*OF_ROW, *(["target_use"] if "target_use" in first else [])]
    of_site = [part for part in OF_SITE if part in first]
    of_means += [f"{part.removesuffix('_summary')}_{name}" for part in of_site for name in MEANS]
    of_cell = [name for name in OF_CELL if name in first["cells"][0]]

    def lines() -> Iterator[list[Any]]:
        for row in document["rows"]:
            parts: Mapping[str, Any] = row
            inside = [parts[part][name] for part in of_site for name in MEANS]
            start = [*settings, *_values(row, of_row), *_means(row), *inside]
            yield from ([*start, *_values(cell, of_cell)] for cell in row["cells"])

    return [*SETTINGS, *of_row, *of_means, *of_cell], lines()


def _values(part: Mapping[str, object], names: Sequence[str]) -> list[object]:
    return [part[name] for name in names]


def _means(row: BoardRow) -> list[object]:
    """Each mean, then what its interval says of it."""
    found: list[object] = []
    for name in MEANS:
        interval: Mapping[str, object] = row["intervals"].get(name) or {}
        found += [row["summary"][name], *(interval.get(number) for number in OF_INTERVAL)]
    return found


def render_csv(document: Board, width: int, color: bool) -> Iterator[str]:  # noqa: ARG001  see render_json
    """The tidy form in full precision; a number that does not exist is an empty field; params as JSON."""
    return csv_lines(*tidy(document))


def csv_lines(columns: Sequence[str], lines: Iterable[Sequence[Any]]) -> Iterator[str]:
    """With their ends.  No cell is one that a spreadsheet would run."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    for line in chain([columns], lines):
        writer.writerow([_field(value) for value in line])
        yield text.getvalue()
        text.seek(0)
        text.truncate()


def render_parquet(document: Board, width: int, color: bool) -> bytes:
    """The tidy form; a number that does not exist is null; params as JSON; the whole document under the key
    ``janus-bench`` of its metadata."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    columns, lines = tidy(document)
    rows = [[_params(value) for value in line] for line in lines]
    values = {name: [row[place] for row in rows] for place, name in enumerate(columns)}
    whole = "".join(render_json(document, width, color))
    table = pa.table(values).replace_schema_metadata({"janus-bench": whole})
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, compression="zstd")
    return bytes(sink.getvalue())


def _params(value: Any) -> Any:
    return json.dumps(value, sort_keys=True) if isinstance(value, dict) else value


def _field(value: Any) -> Any:
    """A text that a spreadsheet would take for a formula is told apart by an apostrophe; numbers, negative ones too,
    are no texts."""
    if isinstance(value, str):  # a carriage return would end the line unquoted
        return f"'{value}".replace("\r", "\\r") if value.startswith(FORMULA) else value.replace("\r", "\\r")
    if value is None or type(value) is float:  # most of a large table
        return value
    return str(value).lower() if isinstance(value, bool) else _params(value)


def render_markdown(document: Board, width: int, color: bool) -> str:  # noqa: ARG001  see render_json
    """GitHub tables: leaderboard and a matrix per detector, or the document's details; what is not ok, partitions,
    notes."""
    details = "details" in document
    lines = [f"## {escape(title(document))}", "", escape(subtitle(document)), ""]
    if "verdict" in document and not details:
        lines += [*(f"- {escape(line)}" for line in verdict_lines(document["verdict"])), ""]
    for table in tables_of(document) if details else ():
        lines += markdown_table(table)
    lines += [] if details else markdown_table(leaderboard_table(document))[2:]  # its title is that of the document
    found = [f"- {_code(name)} {escape(what)}" for name, what in problems(document)]
    lines += ["**Not ok**", "", *found, ""] if found else []
    for row in () if details else filter(has_numbers, document["rows"]):
        lines += markdown_table(matrix_table(document, row))
    return "\n".join(
        [*lines, *markdown_table(parts_table(document)), *(f"- {escape(note)}" for note in document["notes"])]
    )


def markdown_table(table: Table) -> list[str]:
    """Title, table and notes, each with an empty line below it."""
    heading = f"### {_code(table.about)} {table.title}" if table.about else f"### {escape(table.title)}"
    header = [column.headings.get("markdown") or escape(column.heading.replace("\n", " ")) for column in table.columns]
    rule = [column.markdown or ("--:" if column.right else ":--") for column in table.columns]
    body = []
    for row in table.rows:
        first, *others = [_code(cell.text) if cell.label else escape(cell.text) for cell in row.cells]
        body.append([f"*{first}*" if row.baseline else first, *others])
    end = "  " if table.about else ""  # a line break, as a matrix has several notes
    notes = [*(f"{escape(note)}{end}" for note in table.notes), ""] if table.notes or table.about else []
    return [heading, "", *(f"| {' | '.join(cells)} |" for cells in (header, rule, *body)), "", *notes]


def _code(text: str) -> str:
    """A code span: brackets and stars stay as they are; a pipe would end the table cell even here."""
    return f"`{text.replace('|', chr(92) + '|')}`"


def escape(text: str) -> str:
    for character in "\\`*_[]<>|":
        text = text.replace(character, f"\\{character}")
    return text.replace("\n", "<br>")
