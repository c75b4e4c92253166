"""The child process of one fit: fit → calibrate → score, nothing else.

It is started with no arguments, an empty working folder and a scrubbed environment; the job arrives on standard input and names a staged
folder.  It knows neither datasets nor flow ids nor where results go.  Events leave as JSON lines on the original standard output; whatever a
detector prints ends in the log (standard error).
"""

from __future__ import annotations

import ctypes
import json
import os
import resource
import signal
import sys
import time
import traceback
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.environment import peak_resident
from janus_bench.contract import (
    FitContext,
    FlowBatch,
    PacketStream,
    validate_scores,
)
from janus_bench.errors import InvalidScores, JanusBenchError
from janus_bench.plugins import load_detector, one_line

SCORE_BLOCK = 65_536
"""Flows handed to ``score`` at once; bounds memory on large test sets."""


class Job:
    """The parent's order: see ``harness.staging.Stage.job`` for the fields."""

    def __init__(self, fields: Mapping[str, Any]) -> None:
        self.fields = fields
        self.folder = Path(fields["folder"])

    def rows(self, name: str) -> int:
        return len(np.load(self.folder / "in" / name / "ids.npy", mmap_mode="r"))

    def blocks(self, name: str, block: int | None = None) -> Iterator[FlowBatch]:
        """A staged batch in blocks of flows (in one piece by default), read from memory-mapped columns."""
        folder = self.folder / "in" / name
        columns = {path.stem: np.load(path, mmap_mode="r") for path in sorted(folder.glob("*.npy"))}
        n = len(columns["ids"])
        streamed = {key.removeprefix("stream_"): np.array(columns.pop(key)) for key in list(columns) if key.startswith("stream_")}
        stream = PacketStream(**streamed) if streamed else None
        if stream is not None:
            block = None  # whole captures are replayed for one flow as for all
        features: tuple[str, ...] = tuple(self.fields["features"])
        for start in range(0, n, block or max(n, 1)):
            stop = min(n, start + (block or n))
            offsets, packets = None, {}
            if "offsets" in columns:
                offsets = np.array(columns["offsets"][start : stop + 1])
                first, last = int(offsets[0]), int(offsets[-1])
                offsets -= first
                packets = {key.removeprefix("packet_"): np.array(value[first:last]) for key, value in columns.items() if key.startswith("packet_")}
            matrix = np.array(columns["features"][start:stop]) if "features" in columns else np.empty((stop - start, 0))
            named = {name: np.ascontiguousarray(matrix[:, column]) for column, name in enumerate(features)} if "features" in columns else {}
            yield FlowBatch(np.array(columns["ids"][start:stop]), offsets, packets, named, stream)

    def whole(self, name: str) -> FlowBatch:
        return next(self.blocks(name))


def own_packets(benign: FlowBatch) -> FlowBatch:
    """The batch without packets of other flows in its stream: what is staged for scoring is whole captures, attacks included."""
    stream = benign.stream
    if stream is None:
        return benign
    mine = stream.flow >= 0
    return replace(benign, stream=PacketStream(**{name: getattr(stream, name)[mine] for name in PacketStream.__dataclass_fields__}))


class Events:
    """JSON lines to the parent."""

    def __init__(self) -> None:
        self._stream = os.fdopen(os.dup(1), "w", buffering=1)
        os.set_inheritable(self._stream.fileno(), False)
        os.dup2(2, 1)

    def send(self, event: str, **fields: Any) -> None:
        self._stream.write(json.dumps({"event": event, **fields}) + "\n")

    def failed(self, error: BaseException, target: str | None = None) -> None:
        traceback.print_exc(file=sys.stderr)
        status, reason = classify(error)
        self.send("failed", status=status, reason=reason, target=target)


def classify(error: BaseException) -> tuple[str, str]:
    """Status and one-line reason of a row whose detector raised ``error``."""
    if isinstance(error, InvalidScores):
        return "invalid_output", str(error)
    text = str(error).lower()
    if isinstance(error, MemoryError) or "can't allocate memory" in text or "out of memory" in text or "not enough memory" in text:
        return "oom", f"out of memory: {one_line(error)}"
    return "error", str(error) if isinstance(error, JanusBenchError) else one_line(error)


def run(job: Job, events: Events) -> None:
    """Fit once, then calibrate and score for every target; a failure on one target leaves the others alone."""
    fields = job.fields
    loaded = load_detector(fields["detector"])
    params = None if loaded.params_type is None else loaded.params_type(**fields["params"])
    loaded, detector = loaded.declaring(params), loaded.create(params)
    context = FitContext(
        validation=own_packets(job.whole("val")),
        seed=fields["seed"],
        rng=np.random.default_rng(fields["seed"]),
        device=fields["device"],
        scratch=job.folder / "scratch",
        threads=fields["threads"],
        deadline=None if fields["timeout_s"] is None else time.monotonic() + fields["timeout_s"],
        hints=job.whole("hints") if loaded.capabilities.hints != "none" else None,
        progress=lambda fraction, text: events.send("progress", fraction=float(fraction), text=str(text)),
    )
    started = time.perf_counter()
    detector.fit(job.whole("train"), context)
    events.send("fitted", fit_s=time.perf_counter() - started)
    if callable(getattr(detector, "save", None)):
        detector.save(_made(job.folder / "out" / "model"))
        (job.folder / "out" / "model" / "detector.json").write_text(
            json.dumps({"detector": fields["detector"], "version": loaded.capabilities.version, "params": fields["params"]}, indent=1)
        )
        events.send("saved")

    source_val: dict[str, NDArray[np.float64]] | None = None
    for target, roles in fields["targets"].items():
        try:
            calibrate_s = 0.0
            if loaded.capabilities.calibrates and fields["calibrate_on"] is not None:
                started = time.perf_counter()
                detector.calibrate(own_packets(job.whole(fields["calibrate_on"].format(target=target))))
                calibrate_s = time.perf_counter() - started
                source_val = None
            started = time.perf_counter()
            scored = {role: _score(detector, job, f"{target}_{role}", loaded.capabilities.scores) for role in roles}
            score_s = time.perf_counter() - started
            if source_val is None:
                source_val = _score(detector, job, "val", loaded.capabilities.scores)
            _write(job.folder / "out" / target, scored | {"source_val": source_val})
            events.send("scored", target=target, calibrate_s=calibrate_s, score_s=score_s, peak_rss_mb=peak_resident(os.getpid()) / 2**20)
        except Exception as error:  # noqa: BLE001  the detector's failure becomes this cell's status, with its traceback in the log
            events.failed(error, target)


def _score(detector: Any, job: Job, name: str, columns: tuple[str, ...]) -> dict[str, NDArray[np.float64]]:
    blocks = [validate_scores(detector.score(flows), len(flows), columns) for flows in job.blocks(name, SCORE_BLOCK)]
    return {column: np.concatenate([block[column] for block in blocks]) if blocks else np.empty(0) for column in columns}


def _write(folder: Path, scored: Mapping[str, Mapping[str, NDArray[np.float64]]]) -> None:
    _made(folder)
    for role, columns in scored.items():
        np.save(folder / f"{role}.npy", np.column_stack(list(columns.values())))


def _made(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _confine(max_memory: int | None) -> None:
    """Die with the parent; leave no core file; refuse allocations far beyond the limit (the parent enforces the exact one on resident memory)."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if max_memory is not None:
        ceiling = max_memory + (1 << 30)  # slack for address space that is mapped but never touched
        resource.setrlimit(resource.RLIMIT_DATA, (ceiling, ceiling))


def main() -> int:
    job = Job(json.load(sys.stdin))
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    events = Events()
    _confine(job.fields["max_memory"] if job.fields["device"] == "cpu" else None)
    try:
        run(job, events)
    except Exception as error:  # noqa: BLE001  a failed fit is the status of all its cells, with its traceback in the log
        events.failed(error)
        return 1
    events.send("finished")
    return 0


if __name__ == "__main__":
    sys.exit(main())
