"""Where a program under fault works: its own temporary folder, home and results, and what it must not leave there."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import psutil

START = "from harness.cli.main import main\nmain()"
GRACE_S = 30.0
"""Whoever is told to end has ended by then, on a busy machine too."""


@dataclass(frozen=True)
class Place:
    """A folder with ``temp``, ``home`` and whatever a command is given or writes."""

    folder: Path
    python: str = sys.executable

    @property
    def temp(self) -> Path:
        return self.folder / "temp"

    @property
    def datasets(self) -> Path:
        return self.folder / "home" / "datasets"

    def start(self, *arguments: str | Path) -> subprocess.Popen[str]:
        """``janus-bench`` in a session of its own; what it prints goes to ``out`` and ``err``."""
        self.temp.mkdir(exist_ok=True)
        kept = {name: value for name, value in os.environ.items() if not name.startswith("JANUS_BENCH_")}
        own = {"JANUS_BENCH_HOME": str(self.folder / "home"), "TMPDIR": str(self.temp), "COLUMNS": "160"}
        with (self.folder / "out").open("w") as out, (self.folder / "err").open("w") as err:
            return subprocess.Popen(
                [self.python, "-c", START, *map(str, arguments)],
                cwd=self.folder,
                env={**kept, **own},
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                text=True,
                start_new_session=True,
            )

    def run(self, *arguments: str | Path, limit_s: float = 900.0) -> int:
        """Its exit code; a process that goes on for too long is killed, and its code is −9."""
        process = self.start(*arguments)
        try:
            return process.wait(limit_s)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            return process.wait()

    @property
    def err(self) -> str:
        return (self.folder / "err").read_text(errors="replace")

    def living(self) -> list[psutil.Process]:
        """Processes that live with this temporary folder, which every child of ours inherits or has below it."""
        found = []
        for process in psutil.process_iter():
            try:
                if str(self.temp) in " ".join(process.environ().values()) and process.status() != "zombie":
                    found.append(process)
            except (psutil.Error, OSError):
                continue
        return found

    def orphans(self) -> str:
        """Who lives though the command has ended, and is ended now; an empty string if nobody does."""
        until = time.monotonic() + GRACE_S
        while (there := self.living()) and time.monotonic() < until:
            time.sleep(0.05)
        for process in there:
            process.kill()
        return f"{len(there)} processes outlive it" if there else ""

    def garbage(self) -> str:
        """What is left of work in progress, once the work is done; an empty string if nothing is."""
        left = list(self.temp.glob("janus-bench-*"))
        left += [path for path in self.folder.rglob("*") if path.name.endswith((".part", ".old"))]
        left += self.folder.glob("*/locks/*")
        left += self.datasets.glob(".extracted/*")
        return f"left: {[path.relative_to(self.folder).as_posix() for path in left]}" if left else ""


def digests(folder: Path, pattern: str = "**/*") -> dict[str, str]:
    """Name → SHA-256 of every file below a folder."""
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.glob(pattern))
        if path.is_file()
    }


def finished_rows(runs: Path) -> dict[str, tuple[str, str]]:
    """Key of every run that is ok → its row and the digest of its scores; ValueError for a row that is not whole."""
    found = {}
    for path in (runs / "results").glob("*.json"):
        row = json.loads(path.read_text())
        if row["status"] == "ok":
            scores = (runs / "scores" / f"{row['key']}.parquet").read_bytes()
            found[row["key"]] = (json.dumps(row), hashlib.sha256(scores).hexdigest())
    return found
