"""How long a child is let live: limits, an interrupt, and what it has said last."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from harness.executors.local import _Watch
from harness.executors.pipes import EventPipe
from harness.jobs import Finished, Job, Progress, line_of

SLEEPS = "import time; print({said!r}, flush=True); kept = bytearray(b'x') * {size}; time.sleep({seconds})"

DAEMON = """
import os, time
if not os.fork():
    os.setsid()
    if os.fork():
        os._exit(0)
    open(os.environ["HOME"], "w").write(str(os.getpid()))
    kept = bytearray(b"x") * {size}
    time.sleep({seconds})
    os._exit(0)
os.wait()
time.sleep({seconds})
"""


@contextmanager
def watched(
    said: str = "", size: int = 0, seconds: float = 20.0, script: str = SLEEPS, folder: str = "", **limits: object
) -> Iterator[tuple[_Watch, threading.Event]]:
    """The watch of a child that says something, holds so many bytes, and sleeps."""
    child = subprocess.Popen(
        [sys.executable, "-c", script.format(said=said, size=size, seconds=seconds)],
        stdout=subprocess.PIPE,
        env={**os.environ, "HOME": f"{folder}/scratch"},
    )
    assert child.stdout is not None
    none: dict[str, object] = {"timeout_s": None, "max_memory": None}
    job = Job(folder, "", "x", {}, 1, "cpu", 1, train=(), validate="", hints=None, targets=(), **{**none, **limits})  # type: ignore[arg-type]
    stop, pipe = threading.Event(), EventPipe(child.stdout)
    try:
        yield _Watch(child, pipe, job, stop, lambda event: None), stop
    finally:
        child.kill()
        child.wait()
        pipe.stop()


def test_a_child_that_holds_more_than_its_memory_is_ended() -> None:
    with watched(size=3 * 10**8, max_memory=10**8) as (watch, _):
        status, reason = watch.until_the_end(time.monotonic()) or ("", "")
        assert status == "oom"
        assert reason.endswith("more than 95 MiB (--max-memory)")
        assert watch.peak > 10**8


def test_what_a_daemon_holds_that_has_left_the_child_s_family_counts(tmp_path: Path) -> None:
    with watched(script=DAEMON, folder=str(tmp_path), size=3 * 10**8, max_memory=10**8, timeout_s=15) as (watch, _):
        try:
            assert (watch.until_the_end(time.monotonic()) or ("", ""))[0] == "oom"
            assert watch.peak > 10**8
        finally:
            os.kill(int((tmp_path / "scratch").read_text()), signal.SIGKILL)


def test_a_child_that_takes_longer_than_its_time_is_ended() -> None:
    with watched(timeout_s=0.5) as (watch, _):
        assert watch.until_the_end(time.monotonic()) == ("timeout", "still running after 0.5 s (--timeout)")


def test_a_child_is_ended_by_an_interrupt() -> None:
    with watched() as (watch, stop):
        stop.set()
        assert watch.until_the_end(time.monotonic()) == ("interrupted", "interrupted by the user")


@pytest.mark.parametrize("limits", [{}, {"timeout_s": 50.0, "max_memory": 2**33}])
def test_a_child_within_its_limits_is_waited_for(limits: dict[str, object]) -> None:
    said = line_of(Progress(0.5, "half"))
    with watched(said, seconds=0.5, **limits) as (watch, _):
        assert watch.until_the_end(time.monotonic()) is None
        watch.drain()
        assert watch.events == [Progress(0.5, "half")]


def test_a_child_that_has_said_that_it_is_finished_is_not_waited_for() -> None:
    with watched(line_of(Finished()), seconds=60.0) as (watch, _):
        started = time.monotonic()
        assert watch.until_the_end(started) is None
        assert 1.5 < time.monotonic() - started < 30
