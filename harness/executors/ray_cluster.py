"""Fits on a Ray cluster: each is a task with its cores and its GPU; what a lost node was at is done again elsewhere."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Generator, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from harness.environment import environment
from harness.executors import Outcome
from harness.executors.carried import Carried, Lost, carried_out, done_here, inputs_of
from harness.jobs import Event, Job
from janus_bench.errors import UsageError
from janus_bench.plugins import one_line

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
        """Run one job somewhere in the cluster; see ``Executor``."""
        return carried_out(job, stop, on_event, self._once)

    def _once(self, job: Job, stop: threading.Event) -> Generator[Carried | Outcome, None, None]:
        from ray import exceptions as lost

        ray = self._ray
        gpus = 1 if job.device.startswith("cuda") else 0
        task = ray.remote(_task).options(num_cpus=job.threads, num_gpus=gpus, max_retries=0, num_returns="streaming")
        inputs = {name: self._store(path) for name, path in inputs_of(job).items()}
        said = task.remote(job, inputs, environment())
        try:
            while not stop.is_set():
                ready, _ = ray.wait([said], timeout=POLL_S)
                if ready:
                    yield ray.get(next(said))
            ray.cancel(said, force=True)
        except lost.OutOfMemoryError as error:
            yield Outcome("oom", f"ended by Ray, for want of memory: {one_line(error)}", 0.0, None)
        except lost.RayTaskError as error:
            yield Outcome("error", one_line(error), 0.0, None)
        except lost.RayError as error:
            raise Lost(f"its worker or node was lost ({type(error).__name__})") from None

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
