"""``leaderboard --watch`` on a terminal of its own, while rows appear."""

from __future__ import annotations

import os
import pty
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest

from harness.cli.watch import watch
from janus_bench.errors import UsageError
from tests.test_compare import write_folder

PROGRAM = (
    "import sys; from pathlib import Path; from harness.cli.watch import watch; watch(Path(sys.argv[1]), '', "
    "'auroc', None, every_s=0.05)"
)


class Terminal:
    """A child on a pseudo-terminal, and everything that it has written."""

    def __init__(self, folder: Path) -> None:
        self._main, child = pty.openpty()
        os.set_blocking(self._main, False)
        environment = {**os.environ, "TERM": "xterm", "COLUMNS": "100", "LINES": "40", "NO_COLOR": "1"}
        self.process = subprocess.Popen(
            [sys.executable, "-c", PROGRAM, folder], stdin=child, stdout=child, stderr=child, env=environment
        )
        os.close(child)
        self.text = ""

    def read(self) -> None:
        try:
            self.text += os.read(self._main, 1 << 16).decode(errors="replace")
        except BlockingIOError:
            time.sleep(0.02)
        except OSError:  # the child has closed its end
            return

    def wait_for(self, words: str, seconds: float = 60.0) -> None:
        end = time.monotonic() + seconds
        while words not in self.text:
            assert time.monotonic() < end, f"{words!r} did not appear in {self.text[-2000:]!r}"
            self.read()

    def close(self) -> int:
        """The exit code, once the child has ended by itself or is told to."""
        end = time.monotonic() + 60
        while self.process.poll() is None and time.monotonic() < end:
            self.read()
        self.read()
        if self.process.poll() is None:
            self.process.kill()
        os.close(self._main)
        return self.process.wait()


def hidden(folder: Path, name: str) -> tuple[Path, Path]:
    """A result taken out of a folder, to be put back later: (aside, place)."""
    place = next(path for path in (folder / "results").iterdir() if name in path.read_text())
    aside = folder / place.name
    place.rename(aside)
    return aside, place


def test_it_redraws_when_a_row_appears_and_ends_when_all_are_there(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "runs", failed=[("poor", "alpha", "beta", 2)])
    aside, place = hidden(folder, '"detector": "good"')
    terminal = Terminal(folder)
    terminal.wait_for("35 of 36 runs: 34 ok, 1 error")
    assert "Ctrl-C stops watching, not the run" in terminal.text
    aside.rename(place)
    terminal.wait_for("36 of 36 runs: 35 ok, 1 error")
    assert terminal.close() == 0
    assert "all there" in terminal.text
    assert re.search(r"good +control", terminal.text)


def test_an_interrupt_ends_it_quietly(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "runs")
    hidden(folder, '"detector": "good"')
    terminal = Terminal(folder)
    terminal.wait_for("35 of 36 runs")
    terminal.process.send_signal(2)
    assert terminal.close() == 0
    assert "Traceback" not in terminal.text


def test_without_a_terminal_it_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="--watch redraws a terminal, and standard output is none: leave --watch out"):
        watch(write_folder(tmp_path / "runs"), "", "auroc", None)
