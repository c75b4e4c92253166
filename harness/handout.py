"""A fit that somebody else does, elsewhere: a folder with flows under opaque ids on the way there, scores on the way
back.

<name>/job.json             what is asked for (``Task``): no dataset, no path, no label
<name>/in/<batch>/<input>/  columns as ``.npy`` files, the flows' ids among them
<name>/detector/            a detector that is a file of its own
<name>/out/answer.json      how it ended (``TaskAnswer``); written last
<name>/out/<target>/        for every role of the target's ``score`` ``<role>.npy``, (flows, scores) float64, and
                            ``<role>.ids.npy``, the ids that they belong to, as they were handed out
<name>/out/log              what the fit printed

The name begins the fingerprint, which is made of ``job.json`` and of every file below ``in/``: the same fit of the
same data is the same folder, and an answer to anything else is refused.  A detector that is a file of its own is in it
by its version, which is made of the file's content, and which whoever does the fit looks at.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.jobs import Job, JobTarget
from janus_bench import one_file
from janus_bench.errors import DataError, InvalidScores, UsageError
from janus_bench.files import PART, checksum, remove_folder, why, write_atomically
from janus_bench.records import Status, canonical_json
from janus_bench.stored import Unreadable, read_array, read_json

if TYPE_CHECKING:
    from numpy.typing import NDArray

FORMAT = 1
SHOWN = 16  # Characters of a fingerprint that name its folder.
JOB, ANSWER, LOG = "job.json", "out/answer.json", "out/log"


@dataclass(frozen=True)
class Task:
    """A ``Job`` as somebody else is told it; ``scores`` names the columns that are asked for."""

    format: int
    fingerprint: str
    detector: str
    version: str
    params: Mapping[str, Any]
    scores: tuple[str, ...]
    seed: int
    device: str
    threads: int
    timeout_s: float | None
    max_memory: int | None
    train: tuple[str, ...]
    validate: str
    targets: tuple[JobTarget, ...]


@dataclass(frozen=True)
class AnsweredTarget:
    """How one target ended; what was not measured is None."""

    status: Status = "ok"
    reason: str = ""
    calibrate_s: float | None = None
    score_s: float | None = None
    peak_rss_mb: float | None = None


@dataclass(frozen=True)
class TaskAnswer:
    """How a task ended: ``fingerprint`` is that of the task; a target that is not named is one that went well."""

    fingerprint: str
    status: Status = "ok"
    reason: str = ""
    wall_s: float = 0.0
    peak_rss_mb: float | None = None
    fit_s: float | None = None
    targets: Mapping[str, AnsweredTarget] = field(default_factory=dict)

    @property
    def ok(self) -> bool:
        return self.status == "ok" and all(target.status == "ok" for target in self.targets.values())


def task_of(job: Job) -> Task:
    """What is handed out of a staged job."""
    detector = job.detector
    if one_file.is_file(detector):
        detector = f"./{Path(detector).name}"  # the class behind a colon is kept
    told = Task(
        format=FORMAT,
        fingerprint="",
        detector=detector,
        **{name: getattr(job, name) for name in Task.__dataclass_fields__ if name in _SHARED},
    )
    return replace(told, fingerprint=_fingerprint(told, Path(job.folder) / "in"))


_SHARED = set(Job.__dataclass_fields__) - {"detector"}


def _fingerprint(task: Task, inputs: Path) -> str:
    """Of the task and its inputs; what a file manager leaves among them (``.DS_Store``) is none."""
    digest = hashlib.sha256(canonical_json(asdict(replace(task, fingerprint=""))).encode())
    for path in sorted(path for path in inputs.rglob("*") if path.is_file() and not path.name.startswith(".")):
        digest.update(f"{path.relative_to(inputs)} {checksum(path)}\n".encode())
    return digest.hexdigest()


def check_inputs(task: Task, place: Path) -> None:
    """DataError unless ``job.json`` and ``in/`` are what was handed out: whatever scores came of others would be
    scores of other flows."""
    if _fingerprint(task, place / "in") != task.fingerprint:
        raise DataError(
            f"the inputs do not match what was handed out (fingerprint of {JOB} and in/): copy {place} again, or "
            "remove it and have it handed out again"
        )


def place_of(task: Task, folder: Path) -> Path:
    return folder / task.fingerprint[:SHOWN]


def hand_out(task: Task, job: Job, folder: Path) -> Path:
    """Write what is not there yet; DataError where the folder cannot be written."""
    place = place_of(task, folder)
    if place.is_dir():
        return place
    aside = place.with_name(f".{place.name}.{os.getpid()}{PART}")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        shutil.copytree(Path(job.folder) / "in", aside / "in")
        (aside / "out").mkdir()
        if one_file.is_file(job.detector):
            source = one_file.path_of(job.detector)
            (aside / "detector").mkdir()
            shutil.copyfile(source, aside / "detector" / source.name)
        (aside / JOB).write_text(json.dumps(asdict(task), indent=1) + "\n", encoding="utf-8")
        aside.rename(place)
    except OSError as error:
        remove_folder(aside)
        if place.is_dir():  # another run was faster
            return place
        raise DataError(
            f"{folder} cannot be written ({why(error)}): choose another with --executor folder:DIR"
        ) from None
    return place


def tasks_in(folder: Path) -> Iterator[Path]:
    """The places of what was handed out, in the order of their names; DataError where there is nothing."""
    found = sorted(path.parent for path in folder.glob(f"*/{JOB}")) if folder.is_dir() else []
    if not found:
        raise DataError(
            f"{folder}: nothing is handed out there: `janus-bench run --executor folder:{folder}` writes it"
        )
    yield from (path for path in found if not path.name.startswith("."))


def read_task(place: Path) -> Task:
    """DataError where it is damaged, UsageError where another version wrote it."""
    try:
        fields = read_json(place / JOB, Mapping[str, Any])
        if fields.get("format") != FORMAT:
            raise UsageError(
                f"{place / JOB} has format {fields.get('format')}, this janus-bench reads {FORMAT}: install the one "
                "that handed it out"
            )
        fields = read_json(place / JOB, Task)
    except Unreadable as error:
        raise DataError(f"{place / JOB} is damaged ({error}): remove {place} and have it handed out again") from None
    targets = tuple(JobTarget(**target) for target in fields["targets"])
    return Task(**fields | {"targets": targets, "train": tuple(fields["train"]), "scores": tuple(fields["scores"])})


def read_answer(place: Path) -> TaskAnswer | None:
    """None while there is none; InvalidScores where it is no answer."""
    path = place / ANSWER
    if not path.exists():
        return None
    try:
        fields = read_json(path, TaskAnswer)
    except Unreadable as error:
        raise InvalidScores(f"{path} is no answer: {error}") from None
    targets = {name: AnsweredTarget(**target) for name, target in fields.get("targets", {}).items()}
    return TaskAnswer(**fields | {"targets": targets})


def write_answer(place: Path, answer: TaskAnswer, log: bytes) -> None:
    write_atomically(place / LOG, log)
    write_atomically(place / ANSWER, json.dumps(asdict(answer), indent=1) + "\n")


def ids_file(role: str) -> str:
    return f"{role}.ids.npy"


def check_answered(task: Task, answer: TaskAnswer, place: Path) -> None:
    """InvalidScores unless the answer is to this very task."""
    if answer.fingerprint != task.fingerprint:
        raise InvalidScores(
            f"{place / ANSWER} answers another task (fingerprint {answer.fingerprint[:SHOWN]}, asked for "
            f"{task.fingerprint[:SHOWN]})"
        )


def check_target(task: Task, target: JobTarget, place: Path, inputs: Path) -> None:
    """InvalidScores unless each role of the target has the ids that were handed out (``inputs``), in their order, and
    scores of all of them."""
    import numpy as np

    from harness.scored import read_scores

    out = place / "out" / target.name
    for role, batch in target.score.items():
        given, asked = _ids(out / ids_file(role)), _ids(inputs / batch / "ids" / "ids.npy")
        if given.dtype != asked.dtype or not np.array_equal(given, asked):
            raise InvalidScores(f"{out / ids_file(role)} does not hold the ids that were handed out, in their order")
        try:
            read_scores(out / f"{role}.npy", (len(asked), len(task.scores)))
        except InvalidScores as error:
            raise InvalidScores(f"{out}/{error}") from None  # which of all tasks is said by the folder alone


def _ids(path: Path) -> NDArray[Any]:
    try:
        return read_array(path, mapped=False)
    except Unreadable as error:
        raise InvalidScores(f"{path} cannot be read: {error}") from None


def is_done(task: Task, place: Path) -> bool:
    """Whether there is an answer that went well; InvalidScores where there is one that ``run`` refuses."""
    answer = read_answer(place)
    if answer is None:
        return False
    check_answered(task, answer, place)
    if answer.ok:
        for target in task.targets:
            check_target(task, target, place, place / "in")
    return answer.ok
