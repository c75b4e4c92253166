"""The leaderboard as markdown, tidy CSV, JSON and Parquet.  Standard library only, and pyarrow for Parquet."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping, Sequence
from typing import Any

from reports.tables.fields import (
    DATASETS,
    NONE,
    SHARING,
    caption,
    cell_text,
    control_rows,
    dataset_rows,
    flags,
    leaderboard_fields,
    metric_name,
    name_of,
    number,
    problems,
    subtitle,
    title,
)

__all__ = ["render_csv", "render_json", "render_markdown", "render_parquet", "tidy"]

Row = Mapping[str, Any]

SETTINGS = ("protocol", "regime", "calibration", "split", "profile", "synthetic")
OF_ROW = ("detector", "provenance", "uses_labels")
OF_MEAN = ("", "low", "high", "group", "low_these", "high_these", "group_these")
"""Of a mean: itself, then what ``intervals`` says of it."""
OF_CELL = (
    *("source", "target", "metric", "mean", "std", "n_seeds", "low", "high", "control", "status", "reason", "params", "aggregator"),
    *("n_train", "n_cal", "n_test_benign", "n_test_attack"),
)


def render_json(document: Row, width: int, color: bool) -> str:  # noqa: ARG001  the signature of every renderer
    """The document itself."""
    return json.dumps(document, indent=2, allow_nan=False, ensure_ascii=False)


def tidy(document: Row) -> tuple[list[str], list[list[Any]]]:
    """Columns and lines of the tidy forms: one line per cell, or per record of the document's details; every setting repeated on it.

    What a row's means are, and their intervals and tie groups, is repeated on its cells.
    """
    settings = [document[name] for name in SETTINGS]
    if document.get("details"):
        details = document["details"]
        columns = list(dict.fromkeys(name for record in details["records"] for name in record))
        lines = [[*settings, details["table"], *(record[name] for name in columns)] for record in details["records"]]
        return [*SETTINGS, "table", *columns], lines
    means = [(name, f"{name}_{number}" if number else name, number) for name in ("within_mean", "cross_mean") for number in OF_MEAN]
    lines = []
    for row in document["rows"]:
        of_row = [row[name] for name in OF_ROW]
        of_row += [row["intervals"].get(name, {}).get(number) if number else row["summary"][name] for name, _, number in means]
        lines += [[*settings, *of_row, *(cell[name] for name in OF_CELL)] for cell in row["cells"]]
    return [*SETTINGS, *OF_ROW, *(column for _, column, _ in means), *OF_CELL], lines


def render_csv(document: Row, width: int, color: bool) -> str:  # noqa: ARG001  see render_json
    """The tidy form in full precision; a number that does not exist is an empty field; params as JSON."""
    columns, lines = tidy(document)
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    for line in lines:
        writer.writerow([_field(value) for value in line])
    return text.getvalue().rstrip("\n")


def render_parquet(document: Row, width: int, color: bool) -> bytes:
    """The tidy form; a number that does not exist is null; params as JSON; the whole document under the key ``janus-bench`` of its metadata."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    columns, lines = tidy(document)
    values = {
        name: [json.dumps(line[place], sort_keys=True) if isinstance(line[place], Mapping) else line[place] for line in lines]
        for place, name in enumerate(columns)
    }
    table = pa.table(values).replace_schema_metadata({"janus-bench": render_json(document, width, color)})
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, compression="zstd")
    return bytes(sink.getvalue())


def _field(value: Any) -> Any:
    if isinstance(value, bool):
        return str(value).lower()
    return json.dumps(value, sort_keys=True) if isinstance(value, Mapping) else value


def render_markdown(document: Row, width: int, color: bool) -> str:  # noqa: ARG001  see render_json
    """GitHub tables: leaderboard and a matrix per detector, or the document's details; what is not ok, partitions, notes."""
    lines = [f"## {_escape(title(document))}", "", _escape(subtitle(document)), ""]
    rows = document["rows"]
    lines += _details(document) if document.get("details") else _leaderboard(document)
    found = [f"- {_code(name)} {_escape(what)}" for name, what in problems(document)]
    lines += ["**Not ok**", "", *found, ""] if found else []
    for row in rows if not document.get("details") else ():
        lines += _matrix(document, row)
    sizes = [[_escape(row.name), *(_escape(field.text(row)) for field in DATASETS)] for row in dataset_rows(document)]
    lines += [
        f"### Flows of each part{flags(document)}",
        "",
        *_table(["dataset", *(field.header.replace("\n", " ") for field in DATASETS)], sizes),
        "",
    ]
    lines += [_escape(SHARING), "", *(f"- {_escape(note)}" for note in document["notes"])]
    return "\n".join(lines)


def _leaderboard(document: Row) -> list[str]:
    fields = leaderboard_fields(document)
    header = ["#", "detector", *(field.header.replace("\n", " ") for field in fields)]
    body = [[_rank(row), _name(row), *(_escape(field.text(row)) for field in fields)] for row in document["rows"]]
    return [*_table(header, body, left={1, *(place for place, field in enumerate(fields, 2) if not field.right)}), ""]


def _details(document: Row) -> list[str]:
    from reports.tables.details import blocks_of

    lines = []
    for block in blocks_of(document):
        rows = [[_escape(cell) for cell in row] for row in block.rows]
        left = {place for place in range(len(block.header)) if block.is_text(place)}
        lines += [f"### {_escape(block.title)}", "", *_table([_escape(name) for name in block.header], rows, left), ""]
    return lines


def _matrix(document: Row, row: Row) -> list[str]:
    cells = {(cell["source"], cell["target"]): cell for cell in row["cells"]}
    if all(cell["mean"] is None for cell in cells.values()):
        return []
    sources = list(dict.fromkeys(source for source, _ in cells))
    targets = list(dict.fromkeys(target for _, target in cells))
    body = [
        [_escape(source), *(_escape(cell_text(cells[source, target])) if (source, target) in cells else "" for target in targets)]
        for source in sources
    ]
    body += [[f"*{word}*", *map(number, values)] for word, values in control_rows(row, targets)]
    heading = f"### {_name(row)} {metric_name(document)}{flags(document)}"
    return [heading, "", *_table(["source → target", *map(_escape, targets)], body), "", *(f"{_escape(line)}  " for line in caption(row)), ""]


def _table(header: Sequence[str], body: Sequence[Sequence[str]], left: set[int] | None = None) -> list[str]:
    """A GitHub table; columns are right-aligned except the first and those in ``left``."""
    kept = {0} if left is None else left
    rule = [":--" if column in kept else "--:" for column in range(len(header))]
    return [f"| {' | '.join(cells)} |" for cells in (header, rule, *body)]


def _rank(row: Row) -> str:
    return NONE if row["rank"] is None else str(row["rank"])


def _name(row: Row) -> str:
    return _code(name_of(row))


def _code(text: str) -> str:
    """A code span: brackets and stars stay as they are; a pipe would end the table cell even here."""
    return f"`{text.replace('|', chr(92) + '|')}`"


def _escape(text: str) -> str:
    for character in "\\`*_[]<>|":
        text = text.replace(character, f"\\{character}")
    return text.replace("\n", "<br>")
