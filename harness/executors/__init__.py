"""Where fits run: a staged job goes in, an outcome comes back, and the files lie below the job's folder."""

import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

from harness.jobs import Event, Job
from janus_bench.records import Status


@dataclass(frozen=True)
class Outcome:
    """How a job ended.  ``status`` applies to every target that has no event of its own; ``peak_rss_mb`` is None if it
    was never seen alive; ``log`` is what is kept of its standard error; ``handed_out``: somebody else will do it,
    ``reason`` is where, and there is nothing else to be said of it yet."""

    status: Status
    reason: str
    wall_s: float
    peak_rss_mb: float | None
    log: bytes = b""
    handed_out: bool = False


class Executor(Protocol):
    """One way to run jobs.  The job's folder has ``in/`` on the way there and ``out/`` on the way back.  One that is a
    context manager is entered for a whole run, and may keep for its fits what they share."""

    def run(self, job: Job, stop: threading.Event, on_event: Callable[[Event], None]) -> Outcome:
        """Run one job and wait for it.  ``stop`` interrupts it; ``on_event`` sees every event as it arrives, in the
        caller's thread."""


@runtime_checkable
class Spread(Protocol):
    """An executor that has more than this machine."""

    def fits_at_once(self, threads: int) -> int:
        """How many fits with so many threads each it has room for."""


@runtime_checkable
class Shared(Protocol):
    """An executor whose machines read what is staged where it was staged, in a folder that they share."""

    stages_in: Path
