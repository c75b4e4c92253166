"""The published numbers as text: what the tables say (``blocks``), for a terminal and as markdown."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from reports.render.layout import Block, block_tables

if TYPE_CHECKING:
    from rich.console import RenderableType

__all__ = ["blocks", "closing_lines", "published_markdown", "published_text"]

NONE = "—"
"""Printed where there is no figure, as in the tables of the literature."""

Row = Mapping[str, Any]
METRIC_NAMES = {"auroc": "AUROC", "f1": "F1", "precision": "precision", "auroc_std": "std of AUROC"}
UNIT_NAMES = {"percent": "%", "points": "AUROC points"}


def figure(number: Row) -> str:
    """A number as printed, with its footnote mark; one of another metric is marked and names its own."""
    text = f"{number['printed']} {number['footnote']}".rstrip()
    return f"≠ {METRIC_NAMES[number['metric']]} {text}" if number["mixed_metric"] else text


def blocks(table: Row) -> list[Block]:
    """Within-dataset comparison, cross matrix, ablations, other figures."""
    return [_within(table), _cross(table), _ablation(table), _others(table)]


def _within(table: Row) -> Block:
    rows = []
    for method in table["methods"]:
        if any(method["numbers"].values()) or measured_rows(method):
            cells = ["\n".join(map(figure, method["numbers"][name])) or NONE for name in table["datasets"]]
            rows.append((method["name"], method["venue"] or NONE, method["status"], *cells))
            rows += [(f"  {row['detector']}", "", _here(table), *_measured(row, table["datasets"])) for row in measured_rows(method)]
    return Block(f"{table['titles']['within']} (AUROC %, mean ± std)", ("method", "venue", "status", *table["datasets"]), tuple(rows), left=3)


def measured_rows(method: Row) -> list[Row]:
    """The measured rows of a method that have a cell between published datasets."""
    return [row for row in method["measured"] if row["cells"]]


def _here(table: Row) -> str:
    return "measured here" if table["metric"] == "auroc" else f"measured here, {table['metric']}"


def _measured(row: Row, datasets: Sequence[str]) -> list[str]:
    """The measured within cells of one detector, in percent like the printed ones."""
    found = {cell["target"]: cell for cell in row["cells"] if cell["source"] == cell["target"]}
    return [measured_cell(found[name], 100, 2) if name in found else NONE for name in datasets]


def measured_cell(cell: Row, scale: int, digits: int) -> str:
    """``98.26 ± 0.35``; the status where there is no number."""
    if cell["mean"] is None:
        return str(cell["status"])
    text = f"{scale * cell['mean']:.{digits}f}"
    return text if cell["std"] is None else f"{text} ± {scale * cell['std']:.{digits}f}"


def _cross(table: Row) -> Block:
    names = list(dict.fromkeys(number["target"] for number in table["cross"]))
    cells = {(number["source"], number["target"]): figure(number) for number in table["cross"]}
    rows: list[tuple[str, ...]] = [(f"JANUS: {source}", *(cells.get((source, target), NONE) for target in names)) for source in names]
    for detector, measured in measured_matrices(table):
        rows += [(f"{detector}: {source}", *(measured.get((source, target), NONE) for target in names)) for source in names]
    return Block(f"{table['titles']['cross']} (AUROC, source ↓ / target →)", ("source → target", *names), tuple(rows))


def measured_matrices(table: Row) -> list[tuple[str, dict[tuple[str, str], str]]]:
    """(``NAME, measured here``, cells) of every measured row with a cell between two published datasets."""
    rows = [row for method in table["methods"] for row in measured_rows(method)]
    return [
        (f"{row['detector']}, {_here(table)}", {(cell["source"], cell["target"]): measured_cell(cell, 1, 4) for cell in row["cells"]}) for row in rows
    ]


def _ablation(table: Row) -> Block:
    columns = list(dict.fromkeys(number["target"] for number in table["ablation"]))
    by_variant: dict[str, dict[str, str]] = {}
    for number in table["ablation"]:
        by_variant.setdefault(number["variant"], {})[number["target"]] = figure(number)
    rows = tuple((variant, *(cells.get(column, NONE) for column in columns)) for variant, cells in by_variant.items())
    return Block(f"{table['titles']['ablation']} (AUROC points, published)", ("JANUS with", *columns), rows)


def _others(table: Row) -> Block:
    rows = []
    for number in table["others"]:
        what = ", ".join(filter(None, [number["name"], number["variant"]]))
        where = f"{number['source']} → {number['target']}" if number["source"] else number["target"]
        value = f"{'≠ ' if number['mixed_metric'] else ''}{number['printed']} {number['footnote']}".rstrip()
        metric = METRIC_NAMES[number["metric"]] + (" difference" if number["kind"] == "difference" else "")
        rows.append((what, where, metric, value, number["note"]))
    return Block("Other published figures", ("what", "where", "metric", "value", "note"), tuple(rows), left=3, notes=1)


def closing_lines(table: Row) -> list[str]:
    """Footnotes, the protocols of numbers without one, and the notes; every line stands alone."""
    shown = [number for method in table["methods"] for cell in method["numbers"].values() for number in cell]
    shown += [*table["cross"], *table["ablation"], *table["others"]]
    used = {number["footnote"] for number in shown}
    lines = [f"{mark} {text}" for mark, text in table["footnotes"].items() if mark in used]
    protocols: dict[str, list[str]] = {}
    for number in shown:
        if not number["footnote"]:
            seeds = f"{number['seeds']} seeds" if number["seeds"] else "seeds not stated"
            protocols.setdefault(f"{number['protocol']}; {seeds}; {number['document']}", []).append(number["name"])
    lines += [f"{', '.join(dict.fromkeys(names))}: {protocol}" for protocol, names in protocols.items()]
    lines += [f"{number['name']} on {number['target']}: {number['note']}" for number in shown if number["note"] and number["kind"] == "within"]
    return [*lines, *table["notes"]]


# -- forms -------------------------------------------------------------------------------------------------------------------------


def published_text(table: Row, width: int, color: bool) -> str:
    """For a terminal of ``width`` columns; ANSI codes only with ``color``.  Tables that are too wide continue below."""
    from rich.console import Console, Group
    from rich.text import Text

    console = Console(
        file=io.StringIO(),
        width=width,
        height=100,
        force_terminal=color,
        color_system="256" if color else None,
        no_color=not color,
        legacy_windows=False,
        markup=False,
        highlight=False,
        emoji=False,
    )
    parts: list[RenderableType] = [Text(table["title"], "bold")]
    for block in blocks(table):
        parts.append(Group(Text(block.title, "bold"), *block_tables(block, width)))
    parts.append(Group(*(Text(f"- {line}", overflow="fold") for line in closing_lines(table))))
    with console.capture() as captured:
        for part in parts:
            console.print(part)
            console.print()
    return "\n".join(line.rstrip() for line in captured.get().rstrip().split("\n"))


def published_markdown(table: Row) -> str:
    """GitHub tables."""
    lines = [f"## {_escape(table['title'])}", ""]
    for block in blocks(table):
        rule = [":--" if block.is_text(column) else "--:" for column in range(len(block.header))]
        cells = [tuple(map(_escape, block.header)), tuple(rule), *(tuple(map(_escape, row)) for row in block.rows)]
        lines += [f"### {_escape(block.title)}", "", *(f"| {' | '.join(row)} |" for row in cells), ""]
    return "\n".join([*lines, *(f"- {_escape(line)}" for line in closing_lines(table))])


def _escape(text: str) -> str:
    for character in "\\`*_[]<>|":
        text = text.replace(character, f"\\{character}")
    return text.replace("\n", "<br>")
