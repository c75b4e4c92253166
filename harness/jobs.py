"""The message from a run to its child process, and those that come back.  Dataclasses on both sides, one line of JSON
each in between."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from janus_bench.stored import mismatch

LONGEST_REASON = 500  # Characters of a reason that are kept.
HEAVY = ("numba", "scipy.spatial", "scipy.optimize", "sklearn.utils", "torch", "nflows.flows.base")
"""What detectors import and take long over.  Importing one of these starts no thread but those of OpenBLAS and leaves
nothing outside the process.  ``torch._dynamo`` does: a folder, and its name in the environment, which would be one for
all fits."""


@dataclass(frozen=True)
class JobTarget:
    """What is done for one target; every name is a staged batch, a folder below ``in/``.

    name       opaque name of the target, which its events and its folder below ``out/`` bear
    calibrate  batch for the detector's ``calibrate``; None: it is not called
    score      stored role → batch
    keep       leave the calibrated detector in ``out/<name>/model``
    """

    name: str
    calibrate: str | None
    score: Mapping[str, str]
    keep: bool = False


@dataclass(frozen=True)
class Job:
    """One fit: everything that a child process is told.

    code      where the parent's harness lies: a child of another tree would give numbers that nobody could explain
    detector  as ``load_detector`` finds it; ``version`` as it was planned: another one is refused (empty: any)
    folder    the stage: ``in/`` batches, ``scratch/`` for the detector, ``out/`` for scores and model
    train     batches to fit on, one after the other
    hints     batch of ``Capabilities.hints``, or None
    threads, timeout_s, max_memory (bytes): limits of the process; None: unlimited
    model     folder below ``in/`` that a detector saved: it is loaded, and nothing is fitted
    scores    names of the columns that are wanted, where whoever does the job has no detector to ask
    serve     after the targets, do what each ``Ask`` on standard input says, until that ends
    """

    folder: str
    code: str
    detector: str
    params: Mapping[str, Any]
    seed: int
    device: str
    threads: int
    timeout_s: float | None
    max_memory: int | None
    train: tuple[str, ...]
    validate: str
    hints: str | None
    targets: tuple[JobTarget, ...]
    model: str | None = None
    serve: bool = False
    version: str = ""
    scores: tuple[str, ...] = ()


@dataclass(frozen=True)
class Began:
    """The job is on another machine, whose ``harness.environment.environment`` this is.  An executor says so; a child
    cannot."""

    environment: Mapping[str, str]


@dataclass(frozen=True)
class Progress:
    """The fit is so far: a fraction in [0, 1] and what it is doing."""

    fraction: float
    text: str


@dataclass(frozen=True)
class FitDone:
    """The fit has ended after so many seconds, and so many of the processor's."""

    fit_s: float
    cpu_s: float | None = None


@dataclass(frozen=True)
class ModelSaved:
    """The model lies in ``out/model``."""


@dataclass(frozen=True)
class Scored:
    """The scores of a target lie in ``out/<target>/<role>.npy``, (flows, columns) float64; what was not measured is
    None.  ``cpu_s``: seconds of the processor, calibration and scores together."""

    target: str
    calibrate_s: float | None
    score_s: float | None
    peak_rss_mb: float | None
    cpu_s: float | None = None
    peak_vram_mb: float | None = None


@dataclass(frozen=True)
class Ask:
    """To a child that serves: score the staged batch of this name, or say in words what it found odd in its flows."""

    batch: str
    explain: bool = False


@dataclass(frozen=True)
class Explained:
    """What was asked of the flows of a batch lies in ``out/<batch>.json``, a list of texts."""

    batch: str


@dataclass(frozen=True)
class Failed:
    """Something went wrong, on one target or (``target`` None) with the whole fit."""

    status: Literal["invalid_output", "oom", "error"]
    reason: str
    target: str | None = None


@dataclass(frozen=True)
class Finished:
    """Nothing more will come.  ``imported``: those of ``HEAVY`` that the fit had imported."""

    imported: list[str] = field(default_factory=list)


Event = Began | Progress | FitDone | ModelSaved | Scored | Explained | Failed | Finished
_EVENTS: Mapping[str, type[Event]] = {
    kind.__name__: kind for kind in (Progress, FitDone, ModelSaved, Scored, Explained, Failed, Finished)
}


def short(reason: str) -> str:
    """A reason on one line, cut in the middle where it is endless: it stands in every row of a fit.  What is no text
    (half of a surrogate pair, as of a file name that is not UTF-8) becomes ``?``."""
    line = " ".join(reason[: 4 * LONGEST_REASON].encode(errors="replace").decode().split())
    return line if len(line) <= LONGEST_REASON else f"{line[: LONGEST_REASON // 2]} … {line[-LONGEST_REASON // 2 :]}"


def own_code() -> str:
    """Where this process's harness lies."""
    return str(Path(__file__).resolve().parent)


def line_of(message: Job | Ask | Event) -> str:
    """The message on one line."""
    return json.dumps({"message": type(message).__name__, **asdict(message)})


def job_from(line: str) -> Job:
    """What ``line_of`` made of a job."""
    fields = json.loads(line)
    del fields["message"]
    targets = tuple(JobTarget(**target) for target in fields.pop("targets"))
    return Job(**fields | {"train": tuple(fields["train"]), "scores": tuple(fields["scores"]), "targets": targets})


def ask_from(line: str) -> Ask:
    """What ``line_of`` made of a question."""
    fields = json.loads(line)
    del fields["message"]
    return Ask(**fields)


def event_from(line: str) -> Event | None:
    """What ``line_of`` made of an event; None for anything else, such as the last line of a process that was killed
    while it wrote, or what a detector printed there: values of other types would end in rows that nobody can read."""
    try:
        fields = json.loads(line)
        kind = _EVENTS[fields.pop("message")]
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return None
    return None if mismatch(fields, kind) else kind(**fields)
