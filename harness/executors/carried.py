"""A job that is done on another machine: its inputs go there, events and the files behind them come back as they are
made, and what a lost machine was at is begun again elsewhere."""

from __future__ import annotations

import os
import queue
import stat
import threading
import time
from collections.abc import Callable, Generator, Mapping
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from harness.environment import environment
from harness.executors import Outcome
from harness.executors.local import LocalExecutor
from harness.jobs import Began, Event, Failed, Job, ModelSaved, Progress, Scored, own_code
from harness.staging import new_stage, remove_stale
from janus_bench.files import remove_folder

ATTEMPTS = 4  # A fit is begun so many times before its machine's loss is its row's reason.
PROGRESS_S = 1.0  # Progress that follows sooner is not passed on.
MUST_AGREE = ("janus-bench", "commit", "code", "python")


@dataclass(frozen=True)
class Carried:
    """An event, and the files that it speaks of: path below the job's folder → content."""

    event: Event
    files: Mapping[str, bytes]


class Lost(Exception):
    """The machine that a job was on, or its worker there, is lost; the message says what is known of it."""


def carried_out(
    job: Job,
    stop: threading.Event,
    on_event: Callable[[Event], None],
    attempt: Callable[[Job, threading.Event], Generator[Carried | Outcome, None, None]],
) -> Outcome:
    """Do a job elsewhere, as often as its machine is ``Lost``.  Targets whose scores have come back are not asked for
    again.

    attempt  what comes back of one try, the outcome last; it is closed, whatever happens
    """
    started, left, reason = time.monotonic(), job, ""
    for number in range(ATTEMPTS):
        if number:
            on_event(Progress(0.0, f"begun again: {reason}"))
        ended: set[str] = set()
        try:
            with closing(attempt(left, stop)) as coming:
                for found in coming:
                    if isinstance(found, Outcome):
                        return found
                    _put_back(job, found)
                    on_event(found.event)
                    if isinstance(found.event, Scored | Failed) and found.event.target is not None:
                        ended.add(found.event.target)
        except Lost as lost:
            reason = str(lost)
            left = replace(left, targets=tuple(each for each in left.targets if each.name not in ended))
            if not left.targets:
                return Outcome("ok", "", _since(started), None)
        if stop.is_set():
            return Outcome("interrupted", "interrupted by the user", _since(started), None)
    return Outcome("killed", f"{reason}, {ATTEMPTS} times", _since(started), None)


def _since(started: float) -> float:
    return time.monotonic() - started


def _put_back(job: Job, carried: Carried) -> None:
    """The files of an event in the job's folder, as if its child had left them there."""
    for name, content in carried.files.items():
        path = Path(job.folder) / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


def inputs_of(job: Job) -> dict[str, Path]:
    """Path below the job's folder → the file: all that its child reads."""
    folder = Path(job.folder)
    return {path.relative_to(folder).as_posix(): path for path in sorted((folder / "in").rglob("*")) if path.is_file()}


def disagreement(mine: Mapping[str, str], theirs: Mapping[str, str]) -> str:
    """Why scores that are made there would not be those that are made here; empty if they would be."""
    for name in MUST_AGREE:
        if mine.get(name, "") != theirs.get(name, ""):
            return (
                f"a node has {name} {theirs.get(name) or 'of no known version'}, the run was started with "
                f"{mine.get(name) or 'none'}: install the same there"
            )
    return ""


def done_here(
    job: Job, inputs: Mapping[str, Any], asked_by: Mapping[str, str]
) -> Generator[Carried | Outcome, None, None]:
    """Do a job that came from elsewhere in a stage of its own; the outcome comes last.

    inputs    ``inputs_of`` → contents (bytes-like)
    asked_by  ``environment`` of where the job comes from: another version here is refused
    """
    yield Carried(Began(environment()), {})
    if why := disagreement(asked_by, environment()):
        yield Outcome("error", why, 0.0, None)
        return
    remove_stale()  # of workers that were killed here
    folder, held = new_stage()
    stop, said = threading.Event(), queue.SimpleQueue[Carried | Outcome | BaseException]()
    try:
        for name in ("in", "work", "scratch", "out"):
            (folder / name).mkdir()
        for name, content in inputs.items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
            path.chmod(0o444)
        own = replace(job, folder=str(folder), code=own_code())
        doing = threading.Thread(target=_do, args=(own, stop, said.put), daemon=True)
        doing.start()  # one thread from beginning to end: the child dies with the thread that started it
        while True:
            found = said.get()
            if isinstance(found, BaseException):
                raise found
            yield found
            if isinstance(found, Outcome):
                return
    finally:
        stop.set()
        remove_folder(folder)
        if held is not None:
            os.close(held)


def _do(job: Job, stop: threading.Event, say: Callable[[Carried | Outcome | BaseException], None]) -> None:
    told = -PROGRESS_S

    def heard(event: Event) -> None:
        nonlocal told
        if isinstance(event, Progress):
            if time.monotonic() - told < PROGRESS_S:
                return
            told = time.monotonic()
        say(Carried(event, _files_behind(Path(job.folder), event)))

    try:
        say(LocalExecutor().run(job, stop, heard))
    except BaseException as error:  # noqa: BLE001  it is raised where somebody listens
        say(error)


def _files_behind(folder: Path, event: Event) -> dict[str, bytes]:
    """What lies where the event says; a stranger made it, so only regular files of it are read."""
    place = {ModelSaved: "model", Scored: getattr(event, "target", "")}.get(type(event))
    found = {}
    for path in sorted((folder / "out" / place).rglob("*")) if place else ():
        if stat.S_ISREG(path.lstat().st_mode):
            found[path.relative_to(folder).as_posix()] = path.read_bytes()
    return found
