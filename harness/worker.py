"""The child process of one fit: fit → calibrate → score, nothing else.

It is started with no arguments, an empty working folder and a scrubbed environment; the job arrives on standard input
and names a staged folder.  It knows neither datasets nor flow ids nor where results go.  Events leave as JSON lines on
the original standard output; whatever a detector prints ends in the log (standard error).
"""

import faulthandler
import json
import os
import resource
import sys
import time
import traceback
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from harness.environment import cpu_seconds, peak_of_gpu_mb, peak_resident
from harness.jobs import (
    HEAVY,
    Event,
    Explained,
    Failed,
    Finished,
    FitDone,
    Job,
    JobTarget,
    ModelSaved,
    Progress,
    Scored,
    ask_from,
    job_from,
    line_of,
    own_code,
    short,
)
from janus_bench.columns import FEATURE_INPUTS
from janus_bench.contract import FitContext, FlowBatch, PacketStream, concatenated, validate_scores
from janus_bench.errors import InvalidScores, JanusBenchError
from janus_bench.files import write_array
from janus_bench.plugins import load_planned, one_line

SCORE_BLOCK = 65_536  # Flows handed to ``score`` at once; bounds memory on large test sets.


class Batches:
    """The staged batches of a job."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def whole(self, *names: str) -> FlowBatch:
        """Batches in one piece, one after the other."""
        return concatenated([next(self.blocks(name)) for name in names])

    def flows(self, name: str) -> int:
        """How many there are."""
        return len(np.load(self._folder / name / "ids" / "ids.npy", mmap_mode="r"))

    def blocks(self, name: str, block: int | None = None) -> Iterator[FlowBatch]:
        """A batch in blocks of flows (in one piece by default), read from memory-mapped columns."""
        folders = sorted((self._folder / name).iterdir())
        inputs = {
            folder.name: {path.stem: np.load(path, mmap_mode="r") for path in sorted(folder.glob("*.npy"))}
            for folder in folders
        }
        ids, packets = inputs["ids"]["ids"], inputs.get("packets", {})
        stream = PacketStream(**inputs["stream"]) if "stream" in inputs else None
        n = len(ids)
        if stream is not None:
            block = None  # whole captures are replayed for one flow as for all
        for start in range(0, n, block or max(n, 1)):
            stop = min(n, start + (block or n))
            offsets, channels = None, {}
            if packets:
                offsets = np.array(packets["offsets"][start : stop + 1])
                first, last = int(offsets[0]), int(offsets[-1])
                offsets -= first
                channels = {key: np.array(value[first:last]) for key, value in packets.items() if key != "offsets"}
            features: dict[str, NDArray[np.float64]] = {}
            for kind, columns in FEATURE_INPUTS.items():
                if kind in inputs:
                    matrix = np.array(inputs[kind][kind][start:stop])
                    features |= {column: np.ascontiguousarray(matrix[:, place]) for place, column in enumerate(columns)}
            yield FlowBatch(np.array(ids[start:stop]), offsets, channels, features, stream)


class Told(Protocol):
    """Who hears what becomes of a job."""

    def send(self, event: Event) -> None: ...
    def failed(self, error: BaseException, target: str | None = None) -> None: ...


class Events:
    """Lines to the parent."""

    def __init__(self) -> None:
        self._stream = os.fdopen(os.dup(1), "w", buffering=1)
        os.set_inheritable(self._stream.fileno(), False)
        os.dup2(2, 1)

    def send(self, event: Event) -> None:
        self._stream.write(line_of(event) + "\n")

    def failed(self, error: BaseException, target: str | None = None) -> None:
        sys.stdout.flush()  # what was printed before the error stands before it in the log
        traceback.print_exc(file=sys.stderr)
        status, reason = classify(error)
        self.send(Failed(status, short(reason), target))


def classify(error: BaseException) -> tuple[Literal["invalid_output", "oom", "error"], str]:
    """Status and one-line reason of a row whose detector raised ``error``."""
    if isinstance(error, InvalidScores):
        return "invalid_output", str(error)
    if isinstance(error, SystemExit):
        return "error", f"the detector calls sys.exit({error.code!r})"
    text = one_line(error).lower()
    if (
        isinstance(error, MemoryError)
        or "can't allocate memory" in text
        or "out of memory" in text
        or "not enough memory" in text
    ):
        return "oom", f"out of memory: {one_line(error)}"
    return "error", str(error) if isinstance(error, JanusBenchError) else one_line(error)


def run(job: Job, events: Told) -> None:
    """Fit once, then calibrate and score for every target; a failure on one target leaves the others alone."""
    if job.code != own_code():
        raise JanusBenchError(
            f"the worker runs {own_code()}, the run was started from {job.code}: install the one that you mean"
        )
    loaded = load_planned(job.detector)
    params = None if loaded.params_type is None else loaded.params_type(**job.params)
    loaded = loaded.declaring(params)
    if job.version not in ("", loaded.version):
        raise JanusBenchError(
            f"{job.detector} is version {loaded.version!r} and was planned as {job.version!r}: it was changed since; "
            "run again"
        )
    folder, batches = Path(job.folder), Batches(Path(job.folder) / "in")
    if job.model is not None:
        detector = loaded.restore(folder / "in" / job.model, params)
    else:
        detector = loaded.create(params)
        context = FitContext(
            validation=batches.whole(job.validate),
            seed=job.seed,
            rng=np.random.default_rng(job.seed),
            device=job.device,
            scratch=folder / "scratch",
            threads=job.threads,
            deadline=None if job.timeout_s is None else time.monotonic() + job.timeout_s,
            hints=None if job.hints is None else batches.whole(job.hints),
            progress=lambda fraction, text: events.send(Progress(float(fraction), str(text))),
        )
        started, busy = time.perf_counter(), cpu_seconds()
        detector.fit(batches.whole(*job.train), context)
        events.send(FitDone(time.perf_counter() - started, cpu_seconds() - busy))
        if callable(getattr(detector, "save", None)) and _saved(detector, folder / "out" / "model"):
            events.send(ModelSaved())
    known: dict[str, NDArray[np.float64]] = {}
    scoring = _Scoring(events, batches, job.targets)
    for target in job.targets:
        try:
            events.send(
                _run_target(
                    detector, target, batches, loaded.capabilities.scores, known, folder / "out" / target.name, scoring
                )
            )
            if target.keep:
                detector.save(_made(folder / "out" / target.name / "model"))
        except (Exception, SystemExit) as error:  # noqa: BLE001  the detector's failure becomes this cell's status, with its traceback in the log
            events.failed(error, target.name)
    if job.serve:
        _serve(detector, batches, loaded.capabilities.scores, folder / "out", events)


def _saved(detector: Any, model: Path) -> bool:
    """Whether the detector could be saved; that it could not is in the log, and costs no good fit."""
    try:
        detector.save(_made(model))
    except Exception:  # noqa: BLE001  see above
        traceback.print_exc(file=sys.stderr)
        return False
    return True


def _serve(detector: Any, batches: Batches, columns: tuple[str, ...], out: Path, events: Told) -> None:
    """Do what is asked on standard input, a line each, until it ends."""
    while line := sys.stdin.readline().strip():
        ask, started = ask_from(line), time.perf_counter()
        if ask.explain:
            (out / f"{ask.batch}.json").write_text(json.dumps(_explained(detector, batches.whole(ask.batch))))
            events.send(Explained(ask.batch))
        else:
            write_array(out / f"{ask.batch}.npy", _score(detector, batches, ask.batch, columns))
            events.send(Scored(ask.batch, 0.0, time.perf_counter() - started, peak_resident(os.getpid()) / 2**20))


def _explained(detector: Any, flows: FlowBatch) -> list[str]:
    """What the detector says of each flow, on a line; ValueError where it does not say one text a flow."""
    said = list(detector.explain(flows))
    if len(said) != len(flows) or not all(isinstance(each, str) for each in said):
        raise ValueError(f"explain() must return one text for each of {len(flows)} flows")
    return [short(each) for each in said]


class _Scoring:
    """Tells the parent which scores are being made and how many of all flows have theirs: it may take as long as the
    fit."""

    def __init__(self, events: Told, batches: Batches, targets: Sequence[JobTarget]) -> None:
        self._events, self._targets = events, targets
        self._flows = {name: batches.flows(name) for target in targets for name in target.score.values()}
        self._done: set[str] = set()

    def begins(self, target: JobTarget, role: str) -> None:
        done, total = sum(self._flows[name] for name in self._done), sum(self._flows.values())
        place = f"target {self._targets.index(target) + 1} of {len(self._targets)}"
        self._events.send(Progress(done / max(total, 1), f"scoring {place}, {role}"))
        self._done.add(target.score[role])


def _run_target(
    detector: Any,
    target: JobTarget,
    batches: Batches,
    columns: tuple[str, ...],
    known: dict[str, NDArray[np.float64]],
    out: Path,
    scoring: _Scoring,
) -> Scored:
    """Calibrate on this target, then score: never the other way round, or a target would have the calibration of the
    one before.

    ``known``: scores of the source's validation flows, which no target changes unless the detector is calibrated.
    """
    started, busy = time.perf_counter(), cpu_seconds()
    if target.calibrate is not None:
        detector.calibrate(batches.whole(target.calibrate))
        known.clear()
    calibrated = time.perf_counter()
    scored = {}
    for role, name in target.score.items():
        if role != "source_val":
            scoring.begins(target, role)
            scored[role] = _score(detector, batches, name, columns)
    score_s, cpu_s = time.perf_counter() - calibrated, cpu_seconds() - busy
    if "source_val" not in known:
        scoring.begins(target, "source_val")
        known["source_val"] = _score(detector, batches, target.score["source_val"], columns)
    _made(out)
    for role, scores in (scored | known).items():
        write_array(out / f"{role}.npy", scores)
    peak_mb = peak_resident(os.getpid()) / 2**20
    return Scored(target.name, calibrated - started, score_s, peak_mb, cpu_s, peak_of_gpu_mb())


def _score(detector: Any, batches: Batches, name: str, columns: tuple[str, ...]) -> NDArray[np.float64]:
    """(flows, columns) float64."""
    blocks = [
        validate_scores(detector.score(flows), len(flows), columns) for flows in batches.blocks(name, SCORE_BLOCK)
    ]
    return np.concatenate(
        [np.column_stack([block[column] for column in columns]) for block in blocks] or [np.empty((0, len(columns)))]
    )


def _made(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _confine(max_memory: int | None) -> None:
    """Leave no core file; refuse allocations far beyond the limit (the parent enforces the exact one on resident
    memory)."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if max_memory is not None:
        ceiling = max_memory + (1 << 30)  # slack for address space that is mapped but never touched
        resource.setrlimit(resource.RLIMIT_DATA, (ceiling, ceiling))


def main() -> int:
    faulthandler.enable()  # a crash of compiled code leaves the line of Python that it came from in the log
    job = job_from(sys.stdin.readline())
    if not job.serve:
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    events = Events()
    _confine(job.max_memory if job.device == "cpu" else None)
    try:
        run(job, events)
    except (Exception, SystemExit) as error:  # noqa: BLE001  a failed fit is the status of all its cells, with its traceback in the log
        events.failed(error)
        return 1
    events.send(Finished([name for name in HEAVY if name in sys.modules]))
    return 0


if __name__ == "__main__":
    sys.exit(main())
