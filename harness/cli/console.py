"""Where things are printed: data on standard output, everything else on standard error; tables that survive a pipe."""

import io
import json
import os
import shlex
import shutil
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from janus_bench import plugins
from janus_bench.errors import UsageError

PIPED_WIDTH = 140  # Columns when standard output is not a terminal; rich would cut tables at 80.


def width() -> int:
    if columns := os.environ.get("COLUMNS"):
        return max(40, int(columns)) if columns.isdigit() else PIPED_WIDTH
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else PIPED_WIDTH


def color() -> bool:
    return sys.stdout.isatty() and "NO_COLOR" not in os.environ


def out(text: str) -> None:
    """Data."""
    sys.stdout.write(text if text.endswith("\n") else f"{text}\n")
    sys.stdout.flush()


def say(text: str) -> None:
    """Everything else."""
    sys.stderr.write(f"{text}\n")
    sys.stderr.flush()


def say_broken_plugins() -> None:
    """A line for each plugin that could not be used."""
    for broken in plugins.broken_plugins():
        say(f"janus-bench: plugin {broken.name} ({broken.origin}) is left out: {broken.error}")


def save(file: Path, data: bytes, what: str = "") -> None:
    """A file that was asked for with ``-o``; ``what`` is said of it after its name."""
    try:
        file.write_bytes(data)
    except OSError as error:
        raise UsageError(f"cannot write {file} ({error.strerror}): choose another file with -o") from None
    say(f"wrote {file}{what}")


def retry_command() -> str:
    """The command line as it was typed, to be copied."""
    return shlex.join(["janus-bench", *sys.argv[1:]])


def table(columns: Sequence[str], rows: Sequence[Sequence[str]], output: str, title: str = "") -> None:
    """Rows as an aligned table, or as JSON objects; cells are printed literally (no markup)."""
    if output == "json":
        out(json.dumps([dict(zip(columns, row, strict=True)) for row in rows], indent=1, ensure_ascii=False))
        return
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    grid = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for number, column in enumerate(columns):
        grid.add_column(column, overflow="fold", no_wrap=number == 0)
    for row in rows:
        grid.add_row(*(Text(cell) for cell in row))
    console = Console(width=width(), no_color=not color(), force_terminal=color(), file=io.StringIO(), highlight=False)
    if title:  # a table's own title would be wrapped to the width of the table
        console.print(Text(title))
    console.print(grid)
    out("\n".join(line.rstrip() for line in console.file.getvalue().strip("\n").splitlines()))  # type: ignore[attr-defined]


def document(fields: Mapping[str, Any], output: str) -> None:
    """Named facts, one a line, or as a JSON object."""
    if output == "json":
        out(json.dumps(fields, indent=1, ensure_ascii=False))
    else:
        table(("", ""), [(name, str(value)) for name, value in fields.items()], output)
