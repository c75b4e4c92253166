"""``janus-bench leaderboard --watch``: the table of a results folder, redrawn while a run fills it."""

import sys
import time
from collections import Counter
from pathlib import Path

from harness.cli import console
from janus_bench.errors import UsageError
from janus_bench.words import counted
from reports.results.measures import measure_of
from reports.results.model import MISSING, Results, ResultTable

EVERY_S = 1.0


def watch(runs: Path, protocol: str, metric: str, aggregator: str | None, every_s: float = EVERY_S) -> None:
    """Redraw until every expected run has a row, or until an interrupt.  UsageError where standard output is no
    terminal."""
    if not sys.stdout.isatty():
        raise UsageError("--watch redraws a terminal, and standard output is none: leave --watch out")
    from rich.console import Console
    from rich.live import Live
    from rich.text import Text

    screen = Console(no_color=not console.color(), highlight=False)
    seen: object = None
    with Live(console=screen, auto_refresh=False, vertical_overflow="crop") as live:
        try:
            while True:
                if (state := _state(runs)) != seen:
                    seen = state
                    # notes would tear the picture; the leaderboard prints them
                    text, done = _frame(Results.open(runs).select(protocol), metric, aggregator, screen.width)
                    live.update(Text.from_ansi(text), refresh=True)
                    if done:
                        return
                time.sleep(every_s)
        except KeyboardInterrupt:  # the usual way to stop watching; the run itself goes on elsewhere
            return


def _state(runs: Path) -> object:
    """Changes whenever a row or a plan is written; the same plan asked for again is the same file, written anew."""
    rows = sorted(path.name for path in (runs / "results").glob("*.json"))
    return rows, sorted((path.name, path.stat().st_mtime_ns) for path in (runs / "plans").glob("*.json"))


def _frame(table: ResultTable, metric: str, aggregator: str | None, width: int) -> tuple[str, bool]:
    """What is drawn (a line on how the runs stand, then the table), and whether nothing more is expected."""
    from reports.render.terminal import render_table
    from reports.tables.leaderboard import build_leaderboard

    line, done = _progress(table)
    board = console.cleaned(build_leaderboard(table, measure_of(metric, aggregator)))
    return f"{line}\n\n{render_table(board, width, console.color())}", done


def _progress(table: ResultTable) -> tuple[str, bool]:
    counts = Counter({run.key: run.status for run in table.runs}.values())
    expected, missing = counts.total(), counts.pop(MISSING, 0)
    listed = ", ".join(
        f"{counts[status]} {status}" for status in sorted(counts, key=lambda status: (status != "ok", status))
    )
    said = f"{expected - missing} of {counted(expected, 'run')}: {listed or 'none yet'}"
    return f"{said} · {'all there' if not missing else 'Ctrl-C stops watching, not the run'}", not missing
