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
from harness.jobs import Ask, Event, Explained, Failed, Job, Scored, event_from, line_of, own_code
from harness.scored import read_scores
from harness.staging import Stages, remove_stale, stage_flows
from janus_bench.contract import FlowBatch
from janus_bench.errors import PluginError
from janus_bench.models import SavedModel
from janus_bench.stored import read_json

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
        self._ready: deque[tuple[Any, NDArray[np.float64]]] = deque()
        self._heard = ""
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
        """Batches whose scores have not been handed out."""
        return len(self._waiting) + len(self._ready)

    def submit(self, flows: FlowBatch, beside: Any) -> None:
        name = f"b{self._submitted}"
        self._submitted += 1
        stage_flows(self._folder / "in" / name, flows)
        self._waiting.append((name, len(flows), beside))
        self._tell(line_of(Ask(name)))

    def scored(self, at_most: int) -> Iterator[tuple[Any, NDArray[np.float64]]]:
        """Scores (n, columns) of what is ready, waiting until no more than ``at_most`` batches are left.

        PluginError where the detector failed.
        """
        while self._ready or self._waiting:
            if self._ready:
                yield self._ready.popleft()
            elif not self._listen(POLL_S if len(self._waiting) > at_most else 0.001) and len(self._waiting) <= at_most:
                return

    def explained(self, flows: FlowBatch) -> list[str]:
        """What the detector found odd in each flow, in words; empty where it has none.  It waits for what was submitted
        before. PluginError where the detector failed."""
        name = f"e{self._submitted}"
        self._submitted += 1
        stage_flows(self._folder / "in" / name, flows)
        self._tell(line_of(Ask(name, explain=True)))
        path = self._folder / "out" / f"{name}.json"
        while self._heard != name:
            self._listen(POLL_S)
        said: list[str] = read_json(path, list[str])
        path.unlink()
        shutil.rmtree(self._folder / "in" / name)
        return said

    def _listen(self, wait_s: float) -> bool:
        """Whether the child said something within so many seconds; PluginError where it failed."""
        line = self._pipe.next(wait_s)
        if line is not None:
            self._take(event_from(line))
        elif self._child.poll() is not None:
            self._fail(explain(self._child.returncode, [], self._log.text())[1])
        return line is not None

    def _take(self, event: Event | None) -> None:
        match event:
            case Failed():
                self._fail(event.reason)
            case Explained():
                self._heard = event.batch
            case Scored():
                name, n, beside = self._waiting.popleft()
                path = self._folder / "out" / f"{name}.npy"
                scores = read_scores(path, (n, self._columns))
                path.unlink()
                shutil.rmtree(self._folder / "in" / name)
                self._ready.append((beside, scores))

    def _tell(self, line: str) -> None:
        assert self._child.stdin is not None
        with suppress(BrokenPipeError):  # it has ended; why is heard when its scores are asked for
            self._child.stdin.write(f"{line}\n".encode())
            self._child.stdin.flush()

    def _fail(self, reason: str) -> None:
        raise PluginError(f"{self._model.folder}: {self._model.manifest['detector']} cannot score: {reason}")
