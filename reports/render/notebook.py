"""A table in a notebook: the model of tables as a small piece of HTML."""

from html import escape

from reports.tables.model import Cell, Table


def html_table(table: Table, heading: str) -> str:
    """Everything in it is escaped: names come from files of strangers."""
    columns = [column.heading_in("html").replace("\n", " ") for column in table.columns]
    head = "".join(f"<th>{escape(column)}</th>" for column in columns)
    sides = ["right" if column.right else "left" for column in table.columns]
    body = "".join(
        f"<tr>{''.join(_cell(cell, side) for cell, side in zip(row.cells, sides, strict=True))}</tr>"
        for row in table.rows
    )
    notes = "".join(f"<p>{escape(note)}</p>" for note in table.notes)
    caption = f'<caption style="text-align: left">{escape(heading)}</caption>'
    return f"<table>{caption}<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>{notes}"


def _cell(cell: Cell, side: str) -> str:
    text = escape(cell.text).replace("\n", "<br>")
    small = f"<br><small>{escape(cell.small)}</small>" if cell.small else ""
    return f'<td style="text-align: {side}">{f"<b>{text}</b>" if cell.best else text}{small}</td>'
