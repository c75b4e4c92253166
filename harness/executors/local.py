"""One fit in one child process on this machine: started clean, watched, limited, and its end explained."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from harness.schema import Status

POLL_S = 0.02
KEPT_VARIABLES = ("PATH", "LANG", "LC_ALL", "LD_LIBRARY_PATH", "CUDA_VISIBLE_DEVICES", "NUMBA_CACHE_DIR", "VIRTUAL_ENV")


@dataclass(frozen=True)
class Limits:
    """``timeout_s`` for the whole child, ``max_memory`` bytes resident for it and its descendants; None = unlimited."""

    timeout_s: float | None
    max_memory: int | None


@dataclass(frozen=True)
class Outcome:
    """How a child ended.  ``status`` applies to every target that has no event of its own; ``peak_rss_mb`` is None if it was never seen alive."""

    status: Status
    reason: str
    wall_s: float
    peak_rss_mb: float | None
    events: tuple[Mapping[str, Any], ...] = field(default=())


def run_child(
    job: Mapping[str, Any], folder: Path, log: Path, limits: Limits, stop: threading.Event, on_event: Callable[[Mapping[str, Any]], None]
) -> Outcome:
    """Run ``harness.worker`` on a staged job and wait for it.  ``stop`` interrupts; ``on_event`` sees every event as it arrives."""
    started = time.monotonic()
    with log.open("wb") as stderr:
        child = subprocess.Popen(
            [sys.executable, "-P", "-m", "harness.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=stderr,
            cwd=folder / "work",
            env=_environment(folder, int(job["threads"])),
            start_new_session=True,
            text=True,
        )
    events: list[Mapping[str, Any]] = []
    reader = threading.Thread(target=_read_events, args=(child, events, on_event), daemon=True)
    reader.start()
    try:
        assert child.stdin is not None
        child.stdin.write(json.dumps(job))
        child.stdin.close()
    except BrokenPipeError:
        pass  # the child died at once: its exit status and log tell why
    ended, peak = _watch(child, limits, started, stop)
    _kill(child)
    child.wait()
    reader.join(timeout=5)
    status, reason = ended or _explain(child.returncode, events, log)
    return Outcome(status, reason, time.monotonic() - started, peak / 2**20 if peak else None, tuple(events))


def _watch(child: subprocess.Popen[str], limits: Limits, started: float, stop: threading.Event) -> tuple[tuple[Status, str] | None, int]:
    """Poll until the child ends or must end.

    The peak is the kernel's high-water mark VmHWM; ru_maxrss of wait4 would start from the parent's own size, inherited through fork.
    """
    peak = 0
    while child.poll() is None:
        peak = max(peak, _high_water(child.pid))
        if stop.is_set():
            return ("interrupted", "interrupted by the user"), peak
        if limits.timeout_s is not None and time.monotonic() - started > limits.timeout_s:
            return ("timeout", f"still running after {limits.timeout_s:g} s (--timeout)"), peak
        if limits.max_memory is not None and (used := _resident(child.pid)) > limits.max_memory:
            return ("oom", f"used {used / 2**20:.0f} MiB, more than {limits.max_memory / 2**20:.0f} MiB (--max-memory)"), max(peak, used)
        time.sleep(POLL_S)
    return None, peak


def _explain(code: int, events: list[Mapping[str, Any]], log: Path) -> tuple[Status, str]:
    for event in events:
        if event["event"] == "failed" and event["target"] is None:
            return event["status"], event["reason"]
    if code == 0 and events and events[-1]["event"] == "finished":
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


def _read_events(child: subprocess.Popen[str], events: list[Mapping[str, Any]], on_event: Callable[[Mapping[str, Any]], None]) -> None:
    assert child.stdout is not None
    for line in child.stdout:
        try:
            event = json.loads(line)
        except json.JSONDecodeError:
            continue  # the last line of a killed child may be cut
        events.append(event)
        on_event(event)


def _high_water(pid: int) -> int:
    try:
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    except OSError:
        return 0
    return 0


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
