"""``janus-bench leaderboard --watch``: the table of a results folder, redrawn while a run fills it."""

from __future__ import annotations

import sys
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from harness.cli import console
from harness.cli.leaderboard import document, select_plans
from janus_bench.errors import UsageError
from janus_bench.records import PlanRecord, RunRecord
from reports.results.folder import RunStore

EVERY_S = 1.0


def watch(runs: Path, protocol: str, metric: str, aggregator: str | None, every_s: float = EVERY_S) -> None:
    """Redraw until every expected run has a row, or until an interrupt.  UsageError where standard output is no terminal."""
    if not sys.stdout.isatty():
        raise UsageError("--watch redraws a terminal, and standard output is none: leave --watch out")
    from rich.console import Console
    from rich.live import Live
    from rich.text import Text

    store = RunStore.open(runs)
    screen = Console(no_color=not console.color(), highlight=False)
    seen: object = None
    with Live(console=screen, auto_refresh=False, vertical_overflow="crop") as live:
        try:
            while True:
                if (state := _state(store)) != seen:
                    seen = state
                    plans = select_plans(store, protocol, say=_silent)
                    text, done = _frame(store, plans, metric, aggregator, screen.width)
                    live.update(Text.from_ansi(text), refresh=True)
                    if done:
                        return
                time.sleep(every_s)
        except KeyboardInterrupt:  # the usual way to stop watching; the run itself goes on elsewhere
            return


def _silent(line: str) -> None:
    """Notes would tear the picture; the leaderboard prints them."""


def _state(store: RunStore) -> object:
    """Changes whenever a row or a plan is written."""
    return [sorted(path.name for path in (store.folder / name).glob("*.json")) for name in ("results", "plans")]


def _frame(store: RunStore, plans: Sequence[PlanRecord], metric: str, aggregator: str | None, width: int) -> tuple[str, bool]:
    """What is drawn (a line on how the runs stand, then the table), and whether nothing more is expected."""
    from reports.render.terminal import render_table

    text = render_table(document(store, plans, metric, aggregator), width, console.color())
    expected = {cell.run_key for plan in plans for cell in plan.cells}
    line, done = _progress(expected, store.records())
    return f"{line}\n\n{text}", done


def _progress(expected: set[str], records: dict[str, RunRecord]) -> tuple[str, bool]:
    counts = Counter(records[key].status for key in expected & set(records))
    missing = len(expected) - sum(counts.values())
    listed = ", ".join(f"{counts[status]} {status}" for status in sorted(counts, key=lambda status: (status != "ok", status)))
    said = f"{len(expected) - missing} of {len(expected)} runs: {listed or 'none yet'}"
    return f"{said} · {'all there' if not missing else 'Ctrl-C stops watching, not the run'}", not missing
