"""Who watches a run: bars on a terminal, plain lines anywhere else."""

from __future__ import annotations

import html
import sys
import threading
import time
from collections import deque
from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any, Self

from harness.cli import console
from harness.cli.estimate import duration
from janus_bench.words import counted

if TYPE_CHECKING:
    from rich.progress import Progress

    from harness.plan import Fit
    from janus_bench.records import RunRecord

LINE_EVERY_S = 10.0
SILENT_S = 60.0
"""A fit that has said nothing for so long is a line, where there are no bars."""


def in_notebook() -> bool:
    """Whether a kernel runs this process: rich would draw into the cell."""
    shell = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    return hasattr(shell, "kernel")


class _Bars(AbstractContextManager[Any]):
    """rich's bars on a terminal, None anywhere else; the first of them is ``_main``."""

    def __init__(self, title: str, total: float) -> None:
        self._title, self._total = title, total
        self._bar: Progress | None = None
        self._main: Any = None

    def __enter__(self) -> Self:
        if sys.stderr.isatty() and not in_notebook():
            from rich.console import Console
            from rich.progress import (
                BarColumn,
                Progress,
                TaskProgressColumn,
                TextColumn,
                TimeElapsedColumn,
                TimeRemainingColumn,
            )

            columns = (
                TextColumn("{task.description}"),
                BarColumn(bar_width=24),
                TaskProgressColumn(),
                TimeElapsedColumn(),
                TimeRemainingColumn(),
            )
            self._bar = Progress(*columns, console=Console(stderr=True), transient=True)
            self._bar.start()
            self._main = self._bar.add_task(self._title, total=self._total)
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.stop()


class PreparationProgress(_Bars):
    """Progress of one long step (extraction): a bar on a terminal, a line every few seconds elsewhere.  Call it with
    (text, fraction)."""

    def __init__(self) -> None:
        super().__init__("", 1.0)
        self._next_line = time.monotonic() + 2.0

    def __call__(self, text: str, fraction: float) -> None:
        if self._bar is not None:
            self._bar.update(self._main, description=_shown(text), completed=fraction)
        elif time.monotonic() >= self._next_line:
            console.say(f"{text}: {fraction:.0%}")
            self._next_line = time.monotonic() + LINE_EVERY_S


class RunProgress(_Bars):
    """An observer of ``run_plan``: one bar for all fits and one for each that is running."""

    def __init__(self, fits: int) -> None:
        super().__init__("all fits", fits)
        self._fits = fits
        self._done = 0
        self._lock = threading.Lock()
        self._tasks: dict[str, Any] = {}
        self._started: dict[str, float] = {}
        self._next_line: dict[str, float] = {}
        self._doing: dict[str, str] = {}
        self._begun = time.monotonic()
        self._ended = threading.Event()

    def __enter__(self) -> Self:
        super().__enter__()
        if self._bar is None:
            threading.Thread(target=self._break_silences, daemon=True).start()
        return self

    def __exit__(self, *error: object) -> None:
        self._ended.set()
        super().__exit__(*error)

    def fit_started(self, fit: Fit) -> None:
        with self._lock:
            self._started[fit.key] = time.monotonic()
            self._next_line[fit.key] = time.monotonic() + LINE_EVERY_S
            self._doing[fit.key] = f"{fit.title}: at work"
            if self._bar is not None:
                self._tasks[fit.key] = self._bar.add_task(_shown(fit.title), total=1.0)

    def fit_progress(self, fit: Fit, fraction: float, text: str) -> None:
        with self._lock:
            self._doing[fit.key] = f"{fit.title}: {fraction:.0%} {text}"
            if self._bar is not None:
                self._bar.update(self._tasks[fit.key], completed=fraction, description=_shown(f"{fit.title}: {text}"))
            elif time.monotonic() >= self._next_line[fit.key]:
                self._say_what_is_done(fit.key)

    def _say_what_is_done(self, key: str) -> None:
        console.say(f"        {self._doing[key]}, for {duration(time.monotonic() - self._started[key])}")
        self._next_line[key] = time.monotonic() + LINE_EVERY_S

    def _break_silences(self) -> None:
        while not self._ended.wait(LINE_EVERY_S):
            with self._lock:
                for key in self._doing:
                    if time.monotonic() >= self._next_line[key] - LINE_EVERY_S + SILENT_S:
                        self._say_what_is_done(key)

    def fit_finished(self, fit: Fit, records: Sequence[RunRecord]) -> None:
        failed = [record for record in records if record.status != "ok"]
        how = f"{len(records) - len(failed)} ok"
        for status in dict.fromkeys(record.status for record in failed):
            how += f", {sum(record.status == status for record in failed)} {status}"
        how += f" in {time.monotonic() - self._started[fit.key]:.1f} s"
        self._end(fit, f"{how} ({failed[0].reason})" if failed else how)

    def fit_handed_out(self, fit: Fit, where: str) -> None:
        self._end(fit, f"handed out in {where}")

    def _end(self, fit: Fit, how: str) -> None:
        with self._lock:
            self._done += 1
            del self._doing[fit.key]
            line = f"[{self._done}/{self._fits}] {fit.title}: {how}"
            left = (time.monotonic() - self._begun) / self._done * (self._fits - self._done)
            self._print(line + (f"; about {duration(left)} left" if left > SILENT_S else ""))
            if self._bar is not None:
                self._bar.remove_task(self._tasks.pop(fit.key))
                self._bar.update(self._main, completed=self._done)

    def message(self, line: str) -> None:
        with self._lock:
            self._print(line)

    def _print(self, line: str) -> None:
        if self._bar is not None:
            from rich.text import Text

            self._bar.console.print(Text(console.visible(line)))
        else:
            console.say(line)


class NotebookProgress(RunProgress):
    """The same below a cell of a notebook: one bar, what is at work, and the last lines."""

    SHOWN = 4  # Lines; the others are of fits that ended well.

    def __init__(self, fits: int) -> None:
        super().__init__(fits)
        self._lines: deque[str] = deque(maxlen=self.SHOWN)
        self._display: Any = None

    def __enter__(self) -> Self:
        from IPython.display import HTML, display  # type: ignore[import-not-found]

        self._html = HTML
        self._display = display(HTML(self._drawn()), display_id=True)
        return super().__enter__()

    def fit_started(self, fit: Fit) -> None:
        super().fit_started(fit)
        self._redraw()

    def fit_progress(self, fit: Fit, fraction: float, text: str) -> None:
        with self._lock:
            self._doing[fit.key] = f"{fit.title}: {fraction:.0%} {text}"
            due = time.monotonic() >= self._next_line[fit.key]
            if due:
                self._next_line[fit.key] = time.monotonic() + 1.0
        if due:
            self._redraw()

    def _end(self, fit: Fit, how: str) -> None:
        super()._end(fit, how)
        self._redraw()

    def _break_silences(self) -> None:
        """The bar shows what is at work."""

    def _print(self, line: str) -> None:
        self._lines.append(line)

    def _redraw(self) -> None:
        with self._lock:
            self._display.update(self._html(self._drawn()))

    def _drawn(self) -> str:
        bar = f"<progress value={self._done} max={max(self._fits, 1)}></progress>"
        bar += f" {self._done} of {counted(self._fits, 'fit')}"
        lines = (console.visible(line) for line in (*self._doing.values(), *self._lines))
        return "<br>".join([bar, *map(html.escape, lines)])


def _shown(text: str) -> str:
    """A description of a bar, which rich reads as markup."""
    from rich.markup import escape

    return escape(console.visible(text))
