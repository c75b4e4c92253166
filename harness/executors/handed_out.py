"""Fits that are written to a folder for somebody else to do, and collected when they are done (``harness.handout``)."""

from __future__ import annotations

import os
import shutil
import tempfile
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from harness.executors import Outcome
from harness.executors.pipes import KEPT
from harness.handout import (
    JOB,
    LOG,
    AnsweredTarget,
    Task,
    TaskAnswer,
    check_answered,
    check_target,
    hand_out,
    place_of,
    read_answer,
    task_of,
)
from harness.jobs import Event, Failed, FitDone, Job, JobTarget, Scored
from janus_bench.errors import InvalidScores, UsageError
from janus_bench.files import why
from janus_bench.stored import Unreadable, regular


class FolderExecutor:
    """``folder``: where tasks are written to and answers are looked for; UsageError where it cannot be written."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        if any(folder.glob(f"*/{JOB}")):
            return  # answers are collected from a medium that cannot be written, too
        there = next(path for path in (folder, *folder.absolute().parents) if os.path.lexists(path))
        try:
            with tempfile.TemporaryFile(dir=there):  # nothing is left of it: a dry run comes through here
                pass
        except OSError as error:
            raise UsageError(
                f"--executor folder:{folder}: {there} cannot be written ({why(error)}): choose another folder"
            ) from None

    def run(self, job: Job, stop: threading.Event, on_event: Callable[[Event], None]) -> Outcome:
        """Collect what was answered, or hand out what was not; see ``Executor``.  A model is not collected: it would be
        a stranger's."""
        if reason := why_not_handed_out(job.detector, job.hints is not None):
            return Outcome("error", reason, 0.0, None)
        task = task_of(job)
        place = place_of(task, self.folder)
        try:
            answer = read_answer(place)
            if answer is None:
                hand_out(task, job, self.folder)
                return Outcome("interrupted", str(place), 0.0, None, handed_out=True)
            check_answered(task, answer, place)
        except InvalidScores as error:
            return Outcome("invalid_output", self._refused(error), 0.0, None)
        return self._collect(task, job, answer, place, on_event)

    def _refused(self, reason: Exception | str) -> str:
        """What whoever reads it can do about it."""
        return f"{reason}; mend it, or `janus-bench work {self.folder}` does it again"

    def _collect(
        self, task: Task, job: Job, answer: TaskAnswer, place: Path, on_event: Callable[[Event], None]
    ) -> Outcome:
        if answer.fit_s is not None:
            on_event(FitDone(answer.fit_s))
        for target in job.targets if answer.status == "ok" else ():
            on_event(self._event_of(task, target, answer, place, Path(job.folder)))
        log = b""
        with suppress(OSError, Unreadable):
            regular(place / LOG)
            with (place / LOG).open("rb") as file:
                log = file.read(2 * KEPT)
        return Outcome(answer.status, answer.reason, answer.wall_s, answer.peak_rss_mb, log)

    def _event_of(self, task: Task, target: JobTarget, answer: TaskAnswer, place: Path, stage: Path) -> Event:
        """What a child would have said of the target, its files in the places where a child leaves them."""
        ended = answer.targets.get(target.name, AnsweredTarget())
        if ended.status != "ok":
            status = ended.status if ended.status in ("invalid_output", "oom") else "error"
            return Failed(status, ended.reason, target.name)  # type: ignore[arg-type]
        source, out = place / "out" / target.name, stage / "out" / target.name
        try:
            check_target(task, target, place, stage / "in")
            out.mkdir()
            for role in target.score:
                shutil.copyfile(source / f"{role}.npy", out / f"{role}.npy", follow_symlinks=False)
        except InvalidScores as error:
            return Failed("invalid_output", self._refused(error), target.name)
        except OSError as error:
            return Failed("invalid_output", self._refused(f"{source}: {why(error)}"), target.name)
        return Scored(target.name, ended.calibrate_s, ended.score_s, ended.peak_rss_mb)


def why_not_handed_out(detector: str, hinted: bool) -> str:
    """Why fits of a detector are never handed out, or an empty string."""
    if hinted:
        return "it is told which flows are attacks, which is never handed out: run it with --executor local"
    if detector.startswith("exec:"):
        return "it is a program of this machine, which is not handed out: run it with --executor local"
    return ""
