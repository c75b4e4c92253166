"""Fits on a Ray cluster: each is a task with its cores and its GPU; what a lost node was at is done again elsewhere."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from harness.environment import environment
from harness.executors import Outcome
from harness.executors.carried import Carried, done_here, inputs_of, put_back
from harness.jobs import Event, Failed, Job, Progress, Scored
from janus_bench.errors import UsageError
from janus_bench.plugins import one_line

ATTEMPTS = 4  # A fit is begun so many times before its node's loss is its row's reason.
POLL_S = 0.2
KEPT_FILES = 1024  # Staged files that stay in the object store for the next fit; older ones go.


class RayExecutor:
    """``address`` of a cluster; empty: ``RAY_ADDRESS``, one that runs on this machine, or else this machine alone."""

    def __init__(self, address: str = "") -> None:
        self._address = address
        self._lock = threading.Lock()
        self._stored: OrderedDict[tuple[object, ...], Any] = OrderedDict()
        self._ray = _connected(address)

    def fits_at_once(self, threads: int) -> int:
        """As many as the cluster has cores for."""
        return max(1, int(self._ray.cluster_resources().get("CPU", 1)) // threads)

    def run(self, job: Job, stop: threading.Event, on_event: Callable[[Event], None]) -> Outcome:
        """Run one job somewhere in the cluster; see ``Executor``.  Targets whose scores have come back are not asked
        for again."""
        from ray import exceptions as lost

        started, left, reason = time.monotonic(), job, ""
        for attempt in range(ATTEMPTS):
            if attempt:
                on_event(Progress(0.0, f"begun again: {reason}"))
            ended: set[str] = set()
            try:
                return self._once(left, stop, on_event, ended)
            except lost.OutOfMemoryError as error:
                return Outcome("oom", f"ended by Ray, for want of memory: {one_line(error)}", _since(started), None)
            except lost.RayTaskError as error:
                return Outcome("error", one_line(error), _since(started), None)
            except lost.RayError as error:
                reason = f"its worker or node was lost ({type(error).__name__})"
                left = replace(left, targets=tuple(each for each in left.targets if each.name not in ended))
                if not left.targets:
                    return Outcome("ok", "", _since(started), None)
            if stop.is_set():
                return Outcome("interrupted", "interrupted by the user", _since(started), None)
        return Outcome("killed", f"{reason}, {ATTEMPTS} times", _since(started), None)

    def _once(self, job: Job, stop: threading.Event, on_event: Callable[[Event], None], ended: set[str]) -> Outcome:
        ray = self._ray
        gpus = 1 if job.device.startswith("cuda") else 0
        task = ray.remote(_task).options(num_cpus=job.threads, num_gpus=gpus, max_retries=0, num_returns="streaming")
        inputs = {name: self._store(path) for name, path in inputs_of(job).items()}
        said = task.remote(job, inputs, environment())
        started = time.monotonic()
        while True:
            if stop.is_set():
                ray.cancel(said, force=True)
                return Outcome("interrupted", "interrupted by the user", _since(started), None)
            ready, _ = ray.wait([said], timeout=POLL_S)
            if not ready:
                continue
            found: Carried | Outcome = ray.get(next(said))
            if isinstance(found, Outcome):
                return found
            put_back(job, found)
            on_event(found.event)
            if isinstance(found.event, Scored | Failed) and found.event.target is not None:
                ended.add(found.event.target)

    def _store(self, path: Path) -> Any:
        """A file in the object store: once, however many fits link to it."""
        about = path.stat()
        key = about.st_dev, about.st_ino, about.st_size, about.st_mtime_ns
        with self._lock:
            if key not in self._stored:
                self._stored[key] = self._ray.put(np.fromfile(path, np.uint8))
                while len(self._stored) > KEPT_FILES:
                    self._stored.popitem(last=False)
            self._stored.move_to_end(key)
            return self._stored[key]


def _task(job: Job, inputs: Mapping[str, Any], asked_by: Mapping[str, str]) -> Iterator[Carried | Outcome]:
    """In a worker of the cluster."""
    import ray

    contents = ray.get(list(inputs.values()))
    yield from done_here(job, dict(zip(inputs, contents, strict=True)), asked_by)


def _since(started: float) -> float:
    return time.monotonic() - started


def _connected(address: str) -> Any:
    """The module, connected.  UsageError where it is not installed, or nobody answers."""
    import logging

    try:
        import ray
    except ImportError:
        raise UsageError("--executor ray needs Ray: pip install 'janus-bench[ray]'") from None
    if not ray.is_initialized():
        try:
            ray.init(address or None, logging_level=logging.ERROR, log_to_driver=False)
        except (ConnectionError, RuntimeError, ValueError, OSError) as error:
            where = address or "on this machine"
            raise UsageError(f"--executor ray: no cluster answers {where} ({one_line(error)})") from None
    return ray
