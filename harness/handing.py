"""Works through tasks that were handed out (``harness.handout``): each in a child process, as ``run`` has it."""

from __future__ import annotations

import os
import shutil
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

from harness.executors import Executor
from harness.executors.local import LocalExecutor
from harness.handout import AnsweredTarget, Task, TaskAnswer, check_inputs, ids_file, is_done, write_answer
from harness.jobs import Event, Failed, FitDone, Job, Scored, own_code
from harness.staging import new_stage, remove_stale
from janus_bench import one_file
from janus_bench.errors import InvalidScores, JanusBenchError
from janus_bench.files import link_or_copy, remove_folder, why
from janus_bench.held import hold
from janus_bench.words import counted

Say = Callable[[str], None]
POLL_S = 0.5


class Worker:
    """Does tasks, ``jobs`` at a time; one that another worker holds is left to that one, and looked at again in the
    end: that worker may have been killed."""

    def __init__(self, tasks: Sequence[tuple[Path, Task]], jobs: int, say: Say) -> None:
        self._tasks, self._jobs, self._say = tasks, jobs, say
        self._stop = threading.Event()
        self.interrupted = False

    def run(self) -> int:
        """How many did not end well; what is wrong with one is a line, and costs no other."""
        with LocalExecutor() as executor, ThreadPoolExecutor(self._jobs) as pool:
            futures = [pool.submit(self._do, executor, number, *task) for number, task in enumerate(self._tasks, 1)]
            try:
                ended = [future.result() for future in futures]
                if held := [number for number, well in enumerate(ended) if well is None]:
                    self._say(f"waiting for {counted(len(held), 'fit')} of other workers")
                while held and not self._stop.wait(POLL_S):
                    again = [pool.submit(self._do, executor, number + 1, *self._tasks[number]) for number in held]
                    for number, future in zip(held, again, strict=True):
                        ended[number] = future.result()
                    held = [number for number in held if ended[number] is None]
                return sum(not well for well in ended)
            except KeyboardInterrupt:
                self.interrupted = True
                self._stop.set()
                return 0

    def _do(self, executor: Executor, number: int, place: Path, task: Task) -> bool | None:
        """Whether it ended well; None while another worker holds it."""
        if self._stop.is_set():
            return False
        title = f"[{number}/{len(self._tasks)}] {task.detector}, {place.name}"
        try:
            handle = hold(place)
        except BlockingIOError:
            return None
        except OSError as error:
            self._say(f"{title}: {place}: {why(error)}")
            return False
        try:
            if _is_done_now(task, place):
                self._say(f"{title}: done by another worker")
                return True
            answer = answered(task, place, executor, self._stop)
        except JanusBenchError as error:
            self._say(f"{title}: {error}")
            return False
        finally:
            if handle is not None:
                os.close(handle)
        if answer is None:
            return False
        ended = [(answer.status, answer.reason), *((each.status, each.reason) for each in answer.targets.values())]
        status, reason = next((one for one in ended if one[0] != "ok"), ("ok", ""))
        self._say(f"{title}: {status} in {answer.wall_s:.1f} s{f' ({reason})' if reason else ''}")
        return answer.ok


def _is_done_now(task: Task, place: Path) -> bool:
    """An answer that ``run`` would refuse is none."""
    try:
        return is_done(task, place)
    except InvalidScores:
        return False


def answered(task: Task, place: Path, executor: Executor, stop: threading.Event) -> TaskAnswer | None:
    """Do one task and write its answer; None where it was interrupted, JanusBenchError where there is none to write."""
    remove_stale()  # of those that were killed here
    stage, held = new_stage()
    try:
        check_inputs(task, place)
        (place / "out").mkdir(exist_ok=True)  # who wants a fit done again removes it
        for name in ("work", "scratch", "out"):
            (stage / name).mkdir()
        shutil.copytree(place / "in", stage / "in", copy_function=link_or_copy)
        job = Job(
            folder=str(stage),
            code=own_code(),
            detector=_detector(task, place),
            hints=None,
            **{name: getattr(task, name) for name in Job.__dataclass_fields__ if name in _TOLD},
        )
        fit_s: list[float] = []
        targets: dict[str, AnsweredTarget] = {}

        def heard(event: Event) -> None:
            match event:
                case FitDone():
                    fit_s.append(event.fit_s)
                case Scored():
                    _bring(task, event.target, stage, place)
                    targets[event.target] = AnsweredTarget(
                        "ok", "", event.calibrate_s, event.score_s, event.peak_rss_mb
                    )
                case Failed() if event.target is not None:
                    targets[event.target] = AnsweredTarget(event.status, event.reason)

        outcome = executor.run(job, stop, heard)
        if outcome.status == "interrupted":
            return None
        answer = TaskAnswer(
            fingerprint=task.fingerprint,
            status=outcome.status,
            reason=outcome.reason,
            wall_s=outcome.wall_s,
            peak_rss_mb=outcome.peak_rss_mb,
            fit_s=next(iter(fit_s), None),
            targets=targets,
        )
        write_answer(place, answer, outcome.log)
        return answer
    except OSError as error:
        raise JanusBenchError(f"{error.filename or place}: {why(error)}") from None
    finally:
        remove_folder(stage)
        if held is not None:
            os.close(held)


_TOLD = set(Task.__dataclass_fields__) - {"detector"}


def _detector(task: Task, place: Path) -> str:
    """What a child loads: of a detector in a file, the copy that was handed out."""
    if not one_file.is_file(task.detector):
        return task.detector
    return str(place.absolute() / "detector" / Path(task.detector).name)


def _bring(task: Task, target: str, stage: Path, place: Path) -> None:
    """A target's scores, and the ids that they belong to."""
    (asked,) = (each for each in task.targets if each.name == target)
    out = place / "out" / target
    out.mkdir(exist_ok=True)
    for role, batch in asked.score.items():
        with suppress(FileNotFoundError):
            shutil.copyfile(stage / "out" / target / f"{role}.npy", out / f"{role}.npy", follow_symlinks=False)
        shutil.copyfile(stage / "in" / batch / "ids" / "ids.npy", out / ids_file(role))
