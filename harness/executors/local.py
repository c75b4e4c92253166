"""One fit in one child process on this machine: started clean, watched, limited, and its end explained."""

from __future__ import annotations

import contextlib
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import psutil

from harness.environment import peak_resident
from harness.executors import Outcome
from harness.jobs import Event, Failed, Finished, Job, event_from, line_of
from janus_bench.records import Status

POLL_S = 0.02
KEPT_VARIABLES = ("PATH", "LANG", "LC_ALL", "LD_LIBRARY_PATH", "CUDA_VISIBLE_DEVICES", "NUMBA_CACHE_DIR", "VIRTUAL_ENV")


class LocalExecutor:
    """Child processes on this machine; ``max_memory`` and ``timeout_s`` are the job's."""

    def run(self, job: Job, stop: threading.Event, on_event: Callable[[Event], None]) -> Outcome:
        """Run ``harness.worker`` on a staged job and wait for it; see ``Executor``.

        The child's standard error goes to ``log`` in the stage: an open file of the results folder would show the child where labels are.
        """
        started, folder = time.monotonic(), Path(job.folder)
        with (folder / "log").open("wb") as stderr:
            child = subprocess.Popen(
                [sys.executable, "-P", "-m", "harness.worker"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=stderr,
                cwd=folder / "work",
                env=_environment(folder, job.threads),
                start_new_session=True,
                text=True,
            )
        lines: queue.SimpleQueue[str] = queue.SimpleQueue()
        reader = threading.Thread(target=_pump, args=(child, lines), daemon=True)
        reader.start()
        watch = _Watch(child, lines, job, stop, on_event)
        try:
            with contextlib.suppress(BrokenPipeError):  # a child that died at once: its exit status and log tell why
                assert child.stdin is not None
                child.stdin.write(line_of(job))
                child.stdin.close()
            ended = watch.until_the_end(started)
        finally:
            _kill(child)
            child.wait()
            reader.join(timeout=5)
        watch.drain()
        status, reason = ended or _explain(child.returncode, watch.events, folder / "log")
        return Outcome(status, reason, time.monotonic() - started, watch.peak / 2**20 if watch.peak else None)


class _Watch:
    """Follows one child: passes its events on in the caller's thread, remembers its peak memory, and says when it must end."""

    def __init__(
        self,
        child: subprocess.Popen[str],
        lines: queue.SimpleQueue[str],
        job: Job,
        stop: threading.Event,
        on_event: Callable[[Event], None],
    ) -> None:
        self.events: list[Event] = []
        self.peak = 0
        self._child, self._lines, self._job, self._stop, self._on_event = child, lines, job, stop, on_event

    def until_the_end(self, started: float) -> tuple[Status, str] | None:
        """Poll until the child ends (None) or must end (why).

        The peak is the kernel's high-water mark VmHWM; ru_maxrss of wait4 would start from the parent's own size, inherited through fork.
        """
        limits = self._job
        while self._child.poll() is None:
            self.peak = max(self.peak, peak_resident(self._child.pid))
            if self._stop.is_set():
                return "interrupted", "interrupted by the user"
            if limits.timeout_s is not None and time.monotonic() - started > limits.timeout_s:
                return "timeout", f"still running after {limits.timeout_s:g} s (--timeout)"
            if limits.max_memory is not None and (used := _resident(self._child.pid)) > limits.max_memory:
                self.peak = max(self.peak, used)
                return "oom", f"used {used / 2**20:.0f} MiB, more than {limits.max_memory / 2**20:.0f} MiB (--max-memory)"
            self.drain()
            time.sleep(POLL_S)
        return None

    def drain(self) -> None:
        """Hand over every event that has arrived."""
        while not self._lines.empty():
            event = event_from(self._lines.get())
            if event is not None:
                self.events.append(event)
                self._on_event(event)


def _explain(code: int, events: Sequence[Event], log: Path) -> tuple[Status, str]:
    for event in events:
        if isinstance(event, Failed) and event.target is None:
            return event.status, event.reason
    if code == 0 and events and isinstance(events[-1], Finished):
        return "ok", ""
    if code == -signal.SIGKILL:
        return "killed", "the worker was killed (signal 9), by someone else or by the system when memory ran out"
    if code < 0:
        return "killed", f"the worker died of signal {-code} ({signal.Signals(-code).name})"
    lines = log.read_text(errors="replace").strip().splitlines()
    return "error", f"the worker exited with code {code}: {lines[-1] if lines else 'no message'}"


def _environment(folder: Path, threads: int) -> dict[str, str]:
    """Nothing of the parent's environment but what programs need to start; home, temporary and cache folders are the stage's scratch."""
    kept = {name: os.environ[name] for name in KEPT_VARIABLES if name in os.environ}
    scratch = str(folder / "scratch")
    threading_variables = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS"), str(threads))
    return kept | threading_variables | {"HOME": scratch, "TMPDIR": scratch, "PYTHONHASHSEED": "0", "PYTHONDONTWRITEBYTECODE": "1"}


def _pump(child: subprocess.Popen[str], lines: queue.SimpleQueue[str]) -> None:
    assert child.stdout is not None
    for line in child.stdout:
        lines.put(line)


def _resident(pid: int) -> int:
    """Resident bytes of a process and its descendants."""
    total = 0
    try:
        root = psutil.Process(pid)
        for process in [root, *root.children(recursive=True)]:
            try:
                total += process.memory_info().rss
            except psutil.NoSuchProcess:
                continue
    except psutil.NoSuchProcess:
        return 0
    return total


def _kill(child: subprocess.Popen[str]) -> None:
    """End the child's whole session, so that a detector's own subprocesses go with it."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(child.pid, signal.SIGKILL)
