"""Fits that are written to a folder for somebody else to do, and collected when they are done (``harness.handout``)."""

from __future__ import annotations

import os
import shutil
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from harness.executors import Outcome
from harness.executors.pipes import KEPT
from harness.handout import (
    LOG,
    AnsweredTarget,
    Task,
    TaskAnswer,
    check_answered,
    check_ids,
    hand_out,
    place_of,
    read_answer,
    task_of,
)
from harness.jobs import Event, Failed, FitDone, Job, JobTarget, Scored
from janus_bench.errors import InvalidScores
from janus_bench.files import why
from janus_bench.stored import Unreadable, regular


class FolderExecutor:
    """``folder``: where tasks are written to and answers are looked for."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def run(self, job: Job, stop: threading.Event, on_event: Callable[[Event], None]) -> Outcome:
        """Collect what was answered, or hand out what was not; see ``Executor``.  A model is not collected: it would be
        a stranger's."""
        if job.hints is not None:
            reason = "it is told which flows are attacks, which is never handed out: run it with --executor local"
            return Outcome("error", reason, 0.0, None)
        if job.detector.startswith("exec:"):
            reason = "it is a program of this machine, which is not handed out: run it with --executor local"
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
            return Outcome("invalid_output", str(error), 0.0, None)
        return self._collect(task, job, answer, place, on_event)

    def _collect(
        self, task: Task, job: Job, answer: TaskAnswer, place: Path, on_event: Callable[[Event], None]
    ) -> Outcome:
        if answer.fit_s is not None:
            on_event(FitDone(answer.fit_s))
        for target in job.targets if answer.status == "ok" else ():
            on_event(_event_of(target, answer, place, Path(job.folder)))
        log = b""
        with suppress(OSError, Unreadable):
            regular(place / LOG)
            with (place / LOG).open("rb") as file:
                log = file.read(2 * KEPT)
        return Outcome(answer.status, answer.reason, answer.wall_s, answer.peak_rss_mb, log)


def _event_of(target: JobTarget, answer: TaskAnswer, place: Path, stage: Path) -> Event:
    """What a child would have said of the target, its files in the places where a child leaves them."""
    ended = answer.targets.get(target.name, AnsweredTarget())
    if ended.status != "ok":
        status = ended.status if ended.status in ("invalid_output", "oom") else "error"
        return Failed(status, ended.reason, target.name)  # type: ignore[arg-type]
    try:
        check_ids(target, place, stage)
        out = stage / "out" / target.name
        out.mkdir()
        for role in target.score:  # whether it holds scores is looked at where a child's are
            source = place / "out" / target.name / f"{role}.npy"
            if not os.path.lexists(source):
                raise InvalidScores(f"{source} is missing")
            shutil.copyfile(source, out / f"{role}.npy", follow_symlinks=False)
    except InvalidScores as error:
        return Failed("invalid_output", str(error), target.name)
    except OSError as error:
        return Failed("invalid_output", f"{place / 'out' / target.name}: {why(error)}", target.name)
    return Scored(target.name, ended.calibrate_s, ended.score_s, ended.peak_rss_mb)
