"""The leaderboard as markdown, tidy CSV and JSON.  Standard library only."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping, Sequence
from typing import Any

from reports.fields import (
    DATASETS,
    LEADERBOARD,
    NONE,
    SHARING,
    caption,
    cell_text,
    control_rows,
    dataset_rows,
    flags,
    metric_name,
    name_of,
    number,
    problems,
    subtitle,
    title,
)

__all__ = ["render_csv", "render_json", "render_markdown"]

Row = Mapping[str, Any]

SETTINGS = ("protocol", "regime", "calibration", "split", "profile", "synthetic")
OF_ROW = ("detector", "provenance", "uses_labels")
OF_CELL = (
    *("source", "target", "metric", "mean", "std", "n_seeds", "control", "status", "reason", "params", "aggregator"),
    *("n_train", "n_cal", "n_test_benign", "n_test_attack"),
)


def render_json(document: Row, width: int, color: bool) -> str:  # noqa: ARG001  the signature of every renderer
    """The document itself."""
    return json.dumps(document, indent=2, allow_nan=False, ensure_ascii=False)


def render_csv(document: Row, width: int, color: bool) -> str:  # noqa: ARG001  see render_json
    """One line per cell, every setting repeated on it; full precision; a number that does not exist is an empty field; params as JSON."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([*SETTINGS, *OF_ROW, *OF_CELL])
    for row in document["rows"]:
        for cell in row["cells"]:
            values = [*(document[name] for name in SETTINGS), *(row[name] for name in OF_ROW), *(cell[name] for name in OF_CELL)]
            writer.writerow([_field(value) for value in values])
    return text.getvalue().rstrip("\n")


def _field(value: Any) -> Any:
    if isinstance(value, bool):
        return str(value).lower()
    return json.dumps(value, sort_keys=True) if isinstance(value, Mapping) else value


def render_markdown(document: Row, width: int, color: bool) -> str:  # noqa: ARG001  see render_json
    """GitHub tables: leaderboard, a matrix per detector, partitions, notes."""
    lines = [f"## {_escape(title(document))}", "", _escape(subtitle(document)), ""]
    rows = document["rows"]
    header = ["#", "detector", *(field.header.replace("\n", " ") for field in LEADERBOARD)]
    body = [[NONE if row["rank"] is None else str(row["rank"]), _name(row), *(_escape(field.text(row)) for field in LEADERBOARD)] for row in rows]
    lines += [*_table(header, body, left={1, 2, len(header) - 1}), ""]
    found = [f"- {_code(name)} {_escape(what)}" for name, what in problems(document)]
    lines += ["**Not ok**", "", *found, ""] if found else []
    for row in rows:
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


def _name(row: Row) -> str:
    return _code(name_of(row))


def _code(text: str) -> str:
    """A code span: brackets and stars stay as they are; a pipe would end the table cell even here."""
    return f"`{text.replace('|', chr(92) + '|')}`"


def _escape(text: str) -> str:
    for character in "\\`*_[]<>|":
        text = text.replace(character, f"\\{character}")
    return text.replace("\n", "<br>")
