"""The published numbers as tables, for a terminal and as markdown."""

from collections.abc import Sequence
from dataclasses import replace

from janus_bench.words import counted
from reports.published.table import MeasuredCell, MeasuredRow, MethodRow, NumberRow, PublishedTable
from reports.render.text import escape, markdown_table
from reports.tables.fields import grouped, in_order
from reports.tables.model import Cell, Column, Table, TableRow, text_table

NONE = "—"  # Printed where there is no figure, as in the tables of the literature.
RAGGED = r">{\raggedright\arraybackslash}p{3.4cm}"  # A column of running text in print.
METRIC_NAMES = {"auroc": "AUROC", "f1": "F1", "precision": "precision", "auroc_std": "std of AUROC"}


def _figure(number: NumberRow) -> str:
    """A number as printed, with its footnote mark; one of another metric is marked and names its own."""
    text = f"{number['printed']} {number['footnote']}".rstrip()
    return f"≠ {METRIC_NAMES[number['metric']]} {text}" if number["mixed_metric"] else text


def all_tables(table: PublishedTable) -> list[Table]:
    """Within-dataset comparison, cross matrix, ablations, other figures."""
    return [_within(table), cross_table(table), *other_tables(table)]


def _shown(table: PublishedTable) -> list[MethodRow]:
    """Methods with a figure or a measured row."""
    return [method for method in table["methods"] if any(method["numbers"].values()) or _measured_rows(method)]


def _measured_rows(method: MethodRow) -> list[MeasuredRow]:
    """The measured rows of a method that have a cell between published datasets."""
    return [row for row in method["measured"] if row["cells"]]


def _within(table: PublishedTable) -> Table:
    datasets, rows = table["datasets"], []
    for method in _shown(table):
        figures = ["\n".join(map(_figure, method["numbers"][name])) or NONE for name in datasets]
        rows.append((method["name"], method["venue"] or NONE, method["status"], *figures))
        rows += [
            (f"  {row['detector']}", "", _here(table), *_measured(row, datasets)) for row in _measured_rows(method)
        ]
    title = f"{table['titles']['within']} (AUROC %, mean ± std)"
    found = text_table(title, ("method", "venue", "status", *datasets), rows, left=3, stack=False)
    return replace(found, labels=1)  # the method alone tells the rows apart


def within_groups(table: PublishedTable) -> Table:
    """As the literature prints it: first what is reported only, then what is built, with its measured rows below it;
    JANUS last and bold."""
    datasets = table["datasets"]
    groups: dict[str, list[TableRow]] = {"reported only": [], "built here, too": [], "": []}
    for method in _shown(table):
        own = method["method"] == "janus"
        figures = ["\n".join(map(_figure, method["numbers"][name])) or NONE for name in datasets]
        group = groups["reported only" if method["detector"] is None else "" if own else "built here, too"]
        first = [Cell(method["name"], best=own), Cell(method["venue"] or NONE)]
        group.append(TableRow([*first, *(Cell(text, best=own and text != NONE) for text in figures)]))
        for row in _measured_rows(method):
            group.append(
                TableRow(
                    [
                        Cell(f"  {row['detector']}", label=True),
                        Cell("measured here"),
                        *map(Cell, _measured(row, datasets)),
                    ]
                )
            )
    rows: list[TableRow] = []
    for name, members in groups.items():
        lines = [*([TableRow([Cell(name)])] if name and members else []), *members]
        rows += [replace(line, rule=place == 0 and bool(rows)) for place, line in enumerate(lines)]
    title = (
        f"{table['titles']['within']}, AUROC in %, mean ± std; published numbers, not measured here unless marked so."
    )
    return Table(title, [Column("method", right=False), Column("venue", right=False), *map(Column, datasets)], rows)


def _here(table: PublishedTable) -> str:
    return "measured here" if table["metric"] == "auroc" else f"measured here, {table['metric']}"


def _measured(row: MeasuredRow, datasets: Sequence[str]) -> list[str]:
    """The measured within cells of one detector, in percent like the printed ones."""
    found = {cell["target"]: cell for cell in row["cells"] if cell["source"] == cell["target"]}
    return [_measured_cell(found[name], 100, 2) if name in found else NONE for name in datasets]


def _measured_cell(cell: MeasuredCell, scale: int, digits: int) -> str:
    """``98.26 ± 0.35``; the status where there is no number."""
    if cell["mean"] is None:
        return cell["status"]
    text = f"{scale * cell['mean']:.{digits}f}"
    return text if cell["std"] is None else f"{text} ± {scale * cell['std']:.{digits}f}"


def cross_table(table: PublishedTable, print_form: bool = False) -> Table:
    """The matrix of the literature, measured ones below it; ``print_form``: under a title of its own, and without the
    method's name in each row."""
    names = in_order(number["target"] for number in table["cross"])
    cells = {(number["source"], number["target"]): number for number in table["cross"]}
    best = {name: max(number["value"] for (_, target), number in cells.items() if target == name) for name in names}
    rows, absent = [], "–" if print_form else NONE
    for source in names:
        numbers = [cells[source, target] for target in names]
        figures = [
            Cell(_figure(each), within=each["target"] == source, best=each["value"] == best[each["target"]])
            for each in numbers
        ]
        rows.append(TableRow([Cell(source if print_form else f"JANUS: {source}"), *figures]))
    for row in (row for method in table["methods"] for row in _measured_rows(method)):
        measured = {(cell["source"], cell["target"]): _measured_cell(cell, 1, 4) for cell in row["cells"]}
        for source in names:
            figures = [Cell(measured.get((source, target), absent), within=source == target) for target in names]
            rows.append(
                TableRow([Cell(f"{row['detector']}, {_here(table)}: {source}"), *figures], rule=source == names[0])
            )
    title, first = f"{table['titles']['cross']} (AUROC, source ↓ / target →)", "source → target"
    if print_form:
        title, first = (
            f"{table['titles']['cross']}: JANUS, AUROC, mean ± std. Italic: within; bold: maximum of its column.",
            "source ↓ / target →",
        )
    return replace(text_table(title, (first, *names), (), stack=False), rows=rows)


def other_tables(table: PublishedTable) -> list[Table]:
    """Ablations and other figures."""
    columns = in_order(number["target"] for number in table["ablation"])
    by_variant: dict[str, dict[str, str]] = {}
    for number in table["ablation"]:
        by_variant.setdefault(number["variant"], {})[number["target"]] = _figure(number)
    ablations = [(variant, *(cells.get(column, NONE) for column in columns)) for variant, cells in by_variant.items()]
    others = []
    for number in table["others"]:
        what = ", ".join(filter(None, [number["name"], number["variant"]]))
        where = f"{number['source']} → {number['target']}" if number["source"] else number["target"]
        value = f"{'≠ ' if number['mixed_metric'] else ''}{number['printed']} {number['footnote']}".rstrip()
        metric = METRIC_NAMES[number["metric"]] + (" difference" if number["kind"] == "difference" else "")
        others.append((what, where, metric, value, number["note"]))
    title = f"{table['titles']['ablation']} (AUROC points, published)"
    first = text_table(title, ("JANUS with", *columns), ablations, stack=False)
    second = text_table(
        "Other published figures", ("what", "where", "metric", "value", "note"), others, left=3, notes=1, stack=False
    )
    return [_ragged(first, (0,)), _ragged(second, (0, 1, 4))]


def _ragged(table: Table, places: Sequence[int]) -> Table:
    """Columns of running text at the places; in print the others are set right."""
    return replace(
        table,
        columns=[
            replace(column, latex=RAGGED if place in places else "r") for place, column in enumerate(table.columns)
        ],
    )


def closing_lines(table: PublishedTable) -> list[str]:
    """Footnotes, the protocols of numbers without one, and the notes; every line stands alone."""
    shown = [number for method in table["methods"] for cell in method["numbers"].values() for number in cell]
    shown += [*table["cross"], *table["ablation"], *table["others"]]
    used = {number["footnote"] for number in shown}
    lines = [f"{mark} {text}" for mark, text in table["footnotes"].items() if mark in used]
    protocols = grouped((_protocol(number), number["name"]) for number in shown if not number["footnote"])
    lines += [f"{', '.join(in_order(names))}: {protocol}" for protocol, names in protocols.items()]
    lines += [
        f"{number['name']} on {number['target']}: {number['note']}"
        for number in shown
        if number["note"] and number["kind"] == "within"
    ]
    return [*lines, *table["notes"]]


def _protocol(number: NumberRow) -> str:
    seeds = counted(number["seeds"], "seed") if number["seeds"] else "seeds not stated"
    return f"{number['protocol']}; {seeds}; {number['document']}"


def published_text(table: PublishedTable, width: int, color: bool) -> str:
    """For a terminal of ``width`` columns; ANSI codes only with ``color``.  Tables that are too wide continue below."""
    from rich.console import Group
    from rich.text import Text

    from reports.render.layout import printed  # rich is not needed for markdown
    from reports.render.listing import fitted_table

    tables = [Group(Text(each.title, "bold"), fitted_table(each, width)) for each in all_tables(table)]
    notes = Group(*(Text(f"- {line}", overflow="fold") for line in closing_lines(table)))
    return printed([Text(table["title"], "bold"), *tables, notes], width, color)


def published_markdown(table: PublishedTable) -> str:
    """GitHub tables."""
    tables = [line for each in all_tables(table) for line in markdown_table(each)]
    return "\n".join(
        [f"## {escape(table['title'])}", "", *tables, *(f"- {escape(line)}" for line in closing_lines(table))]
    )
