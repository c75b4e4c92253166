"""A child process that has loaded a model, and scores the batches that are staged for it, one after the other."""

from __future__ import annotations

import shutil
from collections import deque
from collections.abc import Iterator
from contextlib import suppress
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from harness.executors.local import end, explain, start
from harness.executors.pipes import EventPipe, LogPipe
from harness.jobs import Event, Failed, Job, Scored, event_from, line_of, own_code
from harness.runner import read_scores
from harness.staging import Stages, remove_stale, stage_flows
from janus_bench.contract import FlowBatch
from janus_bench.errors import PluginError
from janus_bench.models import SavedModel

POLL_S = 0.2


class Scorer:
    """Use it as a context manager; what is submitted comes back in its order, with what was handed in beside it."""

    def __init__(self, model: SavedModel, threads: int) -> None:
        remove_stale()
        self._model, self._columns = model, len(model.manifest["scores"])
        self._stages = Stages((), ())
        self._folder = self._stages.open({})
        model.copy_detector(self._folder / "in" / "model")
        self._waiting: deque[tuple[str, int, Any]] = deque()
        self._submitted = 0
        job = Job(
            folder=str(self._folder),
            code=own_code(),
            detector=model.manifest["detector"],
            params=dict(model.manifest["params"]),
            seed=model.manifest["seed"],
            device="cpu",
            threads=threads,
            timeout_s=None,
            max_memory=None,
            train=(),
            validate="",
            hints=None,
            targets=(),
            model="model",
            serve=True,
        )
        self._child = start(job)
        assert self._child.stdout is not None
        assert self._child.stderr is not None
        self._pipe, self._log = EventPipe(self._child.stdout), LogPipe(self._child.stderr)
        self._tell(line_of(job))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        end(self._child, self._folder)
        self._pipe.stop()
        self._log.stop()
        self._stages.close()

    @property
    def waiting(self) -> int:
        """Batches whose scores have not come back."""
        return len(self._waiting)

    def submit(self, flows: FlowBatch, beside: Any) -> None:
        name = f"b{self._submitted}"
        self._submitted += 1
        stage_flows(self._folder / "in" / name, flows)
        self._waiting.append((name, len(flows), beside))
        self._tell(name)

    def scored(self, at_most: int) -> Iterator[tuple[Any, NDArray[np.float64]]]:
        """Scores (n, columns) of what is ready, waiting until no more than ``at_most`` batches are left.

        PluginError where the detector failed.
        """
        while self._waiting:
            line = self._pipe.next(POLL_S if len(self._waiting) > at_most else 0.001)
            if line is not None:
                found = self._heard(event_from(line))
                if found is not None:
                    yield found
            elif self._child.poll() is not None:
                self._fail(explain(self._child.returncode, [], self._log.text())[1])
            elif len(self._waiting) <= at_most:
                return

    def _heard(self, event: Event | None) -> tuple[Any, NDArray[np.float64]] | None:
        match event:
            case Failed():
                self._fail(event.reason)
            case Scored():
                name, n, beside = self._waiting.popleft()
                path = self._folder / "out" / f"{name}.npy"
                scores = read_scores(path, (n, self._columns))
                path.unlink()
                shutil.rmtree(self._folder / "in" / name)
                return beside, scores
        return None

    def _tell(self, line: str) -> None:
        assert self._child.stdin is not None
        with suppress(BrokenPipeError):  # it has ended; why is heard when its scores are asked for
            self._child.stdin.write(f"{line}\n".encode())
            self._child.stdin.flush()

    def _fail(self, reason: str) -> None:
        raise PluginError(f"{self._model.folder}: {self._model.manifest['detector']} cannot score: {reason}")
