"""One fit in one child process on this machine: started clean, watched, limited, and its end explained."""

import contextlib
import math
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import Self

import psutil

from harness.environment import peak_resident
from harness.executors import Outcome
from harness.executors.pipes import EventPipe, LogPipe
from harness.executors.warm import Forked, Warm
from harness.jobs import Event, Failed, Finished, Job, event_from, line_of
from janus_bench.records import Status

POLL_S = 0.02
STRAYS_S = 1.0  # Between looks at all processes of the machine for those that have left the child's family.
GRACE_S = 2.0  # How long a child may take to end after its last word.
LINE = 1 << 12  # Bytes at the end of a log in which its last line is looked for.
LAUNCH = (
    "import ctypes, importlib, os, sys\n"
    "if sys.platform == 'linux': ctypes.CDLL(None).prctl(1, 9)\n"  # PR_SET_PDEATHSIG, SIGKILL
    "if os.getppid() != int(sys.argv[1]): os._exit(1)\n"
    "sys.exit(importlib.import_module(sys.argv[2]).main())\n"
)
"""The child dies with its parent from the first moment on, before any slow import; a parent that died still earlier is
noticed."""
KEPT_VARIABLES = ("PATH", "LANG", "LC_ALL", "LD_LIBRARY_PATH", "CUDA_VISIBLE_DEVICES", "NUMBA_CACHE_DIR", "VIRTUAL_ENV")


class LocalExecutor:
    """Child processes on this machine; ``max_memory`` and ``timeout_s`` are the job's.  As a context manager it has
    them forked from servers, which spares each what it would import; outside of one, a fit is a process by itself."""

    def __init__(self) -> None:
        self._warm: Warm | None = None

    def __enter__(self) -> Self:
        self._warm = Warm()
        return self

    def __exit__(self, *_: object) -> None:
        assert self._warm is not None
        self._warm.close()
        self._warm = None

    def run(self, job: Job, stop: threading.Event, on_event: Callable[[Event], None]) -> Outcome:
        """Run ``harness.worker`` on a staged job and wait for it; see ``Executor``.

        The child's standard error comes through a pipe: an open file of the results folder would show the child where
        labels are, and a file in the stage could be put in a link's or a FIFO's place by then.
        """
        started, folder = time.monotonic(), Path(job.folder)
        child = self._forked(job, stop, started) or start(job)
        assert child.stdin is not None
        assert child.stdout is not None
        assert child.stderr is not None
        events, log = EventPipe(child.stdout), LogPipe(child.stderr)
        watch = _Watch(child, events, job, stop, on_event)
        try:
            with contextlib.suppress(BrokenPipeError):  # a child that died at once: its exit status and log tell why
                child.stdin.write(line_of(job).encode())
                child.stdin.close()
            ended = watch.until_the_end(started)
        finally:
            end(child, folder)
            events.stop()
            log.stop()
        watch.drain()
        if self._warm is not None and watch.events and isinstance(watch.events[-1], Finished):
            self._warm.saw(job, watch.events[-1])
        status, reason = ended or explain(child.wait(), watch.events, log.text())
        peak_mb = watch.peak / 2**20 if watch.peak else None
        return Outcome(status, reason, time.monotonic() - started, peak_mb, log.text())

    def _forked(self, job: Job, stop: threading.Event, started: float) -> Forked | None:
        if self._warm is None:
            return None
        until = math.inf if job.timeout_s is None else started + job.timeout_s
        environment = _environment(Path(job.folder), job.threads)
        return self._warm.start(job, _launch("harness.executors.server"), environment, stop, until)


def start(job: Job) -> subprocess.Popen[bytes]:
    """A child that waits for its job, with pipes to all that it reads and writes."""
    folder = Path(job.folder)
    return subprocess.Popen(
        _launch("harness.worker"),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=folder / "work",
        env=_environment(folder, job.threads),
        start_new_session=True,
    )


def _launch(module: str) -> list[str]:
    """The command of a child that is ``module``'s ``main``."""
    return [sys.executable, "-P", "-c", LAUNCH, str(os.getpid()), module]


class _Watch:
    """Follows one child: passes its events on in the caller's thread, remembers its peak memory, and says when it must
    end."""

    def __init__(
        self,
        child: subprocess.Popen[bytes] | Forked,
        pipe: EventPipe,
        job: Job,
        stop: threading.Event,
        on_event: Callable[[Event], None],
    ) -> None:
        self.events: list[Event] = []
        self.peak = 0
        self._strays: list[psutil.Process] = []
        self._looked = -STRAYS_S
        self._child, self._pipe, self._job, self._stop, self._on_event = child, pipe, job, stop, on_event

    def until_the_end(self, started: float) -> tuple[Status, str] | None:
        """Poll until the child ends (None) or must end (why).  One that has said that it is finished is given no more
        than a moment to end.

        The peak is the kernel's high-water mark VmHWM; ru_maxrss of wait4 would start from the parent's own size,
        inherited through fork.
        """
        limits, finished = self._job, None
        while self._child.poll() is None:
            self.peak = max(self.peak, peak_resident(self._child.pid))
            if self._stop.is_set():
                return "interrupted", "interrupted by the user"
            if limits.timeout_s is not None and time.monotonic() - started > limits.timeout_s:
                return "timeout", f"still running after {limits.timeout_s:g} s (--timeout)"
            if limits.max_memory is not None and (used := self._used(limits.max_memory)) > limits.max_memory:
                self.peak = max(self.peak, used)
                return (
                    "oom",
                    f"used {used / 2**20:.0f} MiB, more than {limits.max_memory / 2**20:.0f} MiB (--max-memory)",
                )
            self.drain()
            if self.events and isinstance(self.events[-1], Finished):
                finished = finished or time.monotonic()
                if time.monotonic() - finished > GRACE_S:
                    return None
            time.sleep(POLL_S)
        return None

    def _used(self, limit: int) -> int:
        if time.monotonic() - self._looked >= STRAYS_S:
            self._looked, self._strays = time.monotonic(), _strays(Path(self._job.folder))
        return _used({process.pid: process for process in (*_family(self._child.pid), *self._strays)}.values(), limit)

    def drain(self) -> None:
        """Hand over every event that has arrived."""
        for line in self._pipe.waiting():
            event = event_from(line)
            if event is not None:
                self.events.append(event)
                self._on_event(event)


def explain(code: int, events: Sequence[Event], log: bytes) -> tuple[Status, str]:
    for event in events:
        if isinstance(event, Failed) and event.target is None:
            return event.status, event.reason
    # what is left of it afterwards, such as a thread, is ended without a word
    if any(isinstance(event, Finished) for event in events):
        return "ok", ""
    if code == -signal.SIGKILL:
        return "killed", "the worker was killed (signal 9), by someone else or by the system when memory ran out"
    if code < 0:
        return "killed", f"the worker died of signal {-code} ({signal.strsignal(-code) or 'a real-time signal'})"
    lines = log[-LINE:].decode(errors="replace").strip().splitlines()
    return "error", f"the worker exited with code {code}: {lines[-1] if lines else 'no message'}"


def _environment(folder: Path, threads: int) -> dict[str, str]:
    """Nothing of the parent's environment but what programs need to start; home, temporary and cache folders are the
    stage's scratch."""
    kept = {name: os.environ[name] for name in KEPT_VARIABLES if name in os.environ}
    scratch = str(folder / "scratch")
    threading_variables = dict.fromkeys(
        ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS"), str(threads)
    )
    return (
        kept
        | threading_variables
        | {"HOME": scratch, "TMPDIR": scratch, "PYTHONHASHSEED": "0", "PYTHONDONTWRITEBYTECODE": "1"}
    )


def _used(processes: Collection[psutil.Process], limit: int) -> int:
    """Bytes of memory of some processes.

    Where their resident memory is above the limit, each counts its share of the pages that several have (PSS): a fork
    has all of its parent's.
    """
    resident = sum(_bytes_of(process, "rss") for process in processes)
    return (
        resident
        if resident <= limit or len(processes) == 1
        else sum(_bytes_of(process, "pss") for process in processes)
    )


def _family(child: int) -> list[psutil.Process]:
    """A process and its descendants."""
    try:
        root = psutil.Process(child)
        return [root, *root.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def _strays(folder: Path) -> list[psutil.Process]:
    """Whoever lives in the environment of a stage's child, whatever has become of its session and its parent."""
    found, scratch = [], str(folder / "scratch")
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if process.environ().get("HOME") == scratch:
                found.append(process)
    return found


def _bytes_of(process: psutil.Process, kind: str) -> int:
    try:
        return int(process.memory_info().rss if kind == "rss" else process.memory_full_info().pss)
    except psutil.Error:
        return 0


def end(child: subprocess.Popen[bytes] | Forked, folder: Path) -> None:
    """End the child's whole session, and whoever has left it but still lives in the stage's environment, so that
    nothing outlives a fit."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(child.pid, signal.SIGKILL)
    child.wait()
    for process in _strays(folder):
        with contextlib.suppress(psutil.Error):
            process.kill()
