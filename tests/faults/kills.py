"""Kills aimed at work in progress: signals at random moments to the command, its workers, or all of them, until it is
done.

Nothing that was finished is lost, nobody lives on, nothing is left, and the result is that of an undisturbed run.
"""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from tests.faults.campaign import Say, Tally
from tests.faults.places import START, Place
from tests.faults.scenes import SCENES, Finished, Scene

LONGEST_S = 900.0
"""For one command, on a busy machine: it hangs if it goes on."""
ORDER = (0, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7)
"""Scenes of consecutive seeds: work that lasts longest, and is done by several processes, most often."""


@dataclass
class _Templates:
    """What each scene begins with, what comes of it undisturbed, and how long that takes; made once."""

    folder: Path
    made: dict[str, tuple[Path, Finished, float]] = field(default_factory=dict)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def of(self, scene: Scene) -> tuple[Path, Finished, float]:
        with self.lock:
            if scene.name not in self.made:
                template = self.folder / scene.name.replace(" ", "-")
                template.mkdir(parents=True)
                scene.prepare(template)
                place = Place(Path(shutil.copytree(template, f"{template}-done", symlinks=True)))
                started = time.monotonic()
                code = place.run(*scene.command)
                if code != 0:
                    raise RuntimeError(f"{scene.name} fails undisturbed: {place.err}")
                self.made[scene.name] = template, scene.result(place.folder), time.monotonic() - started
            return self.made[scene.name]


def campaign(
    tally: Tally, seed: int, count: int, jobs: int, folder: Path, say: Say, scenes: Sequence[Scene] = ()
) -> None:
    """Rounds of seed ``seed``, ``seed + 1``, … until ``count`` kills were made; a round kills one piece of work again
    and again.  ``count`` 1 is one round."""
    templates, lock, following = _Templates(folder / "templates"), threading.Lock(), [seed]

    def work(_: int) -> None:
        while tally.number < count:
            with lock:
                mine = following[0]
                following[0] += 1
            if count == 1 and mine > seed:
                return
            scene = scenes[mine % len(scenes)] if scenes else SCENES[ORDER[mine % len(ORDER)]]
            place = Place(folder / f"round-{mine}")
            template, expected, took = templates.of(scene)
            shutil.copytree(template, place.folder, symlinks=True)
            Round(tally, mine, scene, place, took, say).go(expected)
            shutil.rmtree(place.folder, ignore_errors=True)

    with ThreadPoolExecutor(jobs) as pool:
        list(pool.map(work, range(jobs)))


@dataclass
class Round:
    tally: Tally
    seed: int
    scene: Scene
    place: Place
    took: float
    say: Say

    def go(self, expected: Finished) -> None:
        rng = random.Random(self.seed)
        for _ in range(rng.randint(4, 10)):
            if self._begun_and_killed(rng):
                break
        code = self.place.run(*self.scene.command, limit_s=LONGEST_S)
        wrong = "" if code == 0 else f"not done in the end: exit code {code}: {self.place.err[-300:]}"
        if self.scene.name == "merge" and code == 2 and "merged" in self.place.err:
            wrong = ""  # the last kill came when it was there
        wrong = wrong or self.place.orphans() or self.place.garbage()
        if not wrong and self.scene.result(self.place.folder) != expected:
            wrong = "it is not what an undisturbed run makes"
        if wrong:
            self.tally.failures.setdefault(self.seed, []).append(wrong)
            self.say(f"FAILED kills {self.seed} ({self.scene.name}): {wrong}\n  again: {self.tally.again(self.seed)}")

    def _begun_and_killed(self, rng: random.Random) -> bool:
        """Whether it was done before it could be killed."""
        before, aimed, left = self.scene.finished(self.place.folder), rng.random() < 0.5, self._half_done()
        process = self.place.start(*self.scene.command)
        until = time.monotonic() + rng.uniform(0.1, 1.0) * self.took
        while time.monotonic() < until and process.poll() is None and not (aimed and self._writes(left)):
            time.sleep(0.002)
        if process.poll() is not None:
            return process.returncode == 0
        seen, polite = self._strike(process, rng)
        wrong = self._after(process) or self.lost(before)
        if not wrong and polite and process.returncode == 130 and (more := self._half_done() - left):
            wrong = f"left by an interrupt: {sorted(more)}"
        self.tally.add(self.seed, seen, f"{self.scene.name}, {seen}: {wrong}" if wrong else "", self.say)
        return process.returncode == 0 and not wrong

    def _writes(self, left: set[str]) -> bool:
        """Something else than what was left is being written aside at this moment."""
        place = self.place.folder
        for folder in (place, *place.glob("runs/*"), self.place.datasets, *self.place.datasets.glob(".extracted/*")):
            with suppress(OSError):
                found = [path for path in folder.iterdir() if path.suffix == ".part"]
                if any(path.relative_to(place).as_posix() not in left for path in found):
                    return True
        return False

    def _strike(self, process: subprocess.Popen[str], rng: random.Random) -> tuple[str, bool]:
        """What was done, and whether the command was asked to end rather than killed."""
        whom = rng.choice(
            ("command", "group", "all", "worker", "worker") if self.scene.workers else ("command", "group")
        )
        number = rng.choice((signal.SIGKILL, signal.SIGTERM, signal.SIGINT))
        with suppress(psutil.Error, ProcessLookupError):
            if whom == "worker" and (workers := psutil.Process(process.pid).children(recursive=True)):
                rng.choice(workers).send_signal(number)
            elif whom == "group":
                os.killpg(process.pid, number)
            elif whom == "all":
                for one in self.place.living():
                    with suppress(psutil.Error):
                        one.kill()
                number = signal.SIGKILL
            else:
                whom = "command"
                process.send_signal(number)
                if number == signal.SIGINT and rng.random() < 0.5:  # twice, as the impatient do
                    time.sleep(rng.uniform(0, 0.2))
                    process.send_signal(number)
        return f"{number.name} to {whom}", number != signal.SIGKILL and whom != "worker"

    def _half_done(self) -> set[str]:
        """Stages, and what is written aside: a killed process leaves them to the next one."""
        found = [*self.place.temp.glob("janus-bench-*"), *self.place.folder.rglob("*.part")]
        return {path.relative_to(self.place.folder).as_posix() for path in found}

    def _after(self, process: subprocess.Popen[str]) -> str:
        try:
            process.wait(LONGEST_S)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            return "it hangs"
        err = self.place.err
        # an interrupt of the interpreter before ``main`` has begun is Python's own
        if "Exception ignored" in err or ("Traceback" in err and 'File "<string>", line 2' in err):
            return f"a traceback: {err[-1000:]}"
        if process.returncode not in (0, 1, 130, -signal.SIGKILL, -signal.SIGTERM, -signal.SIGINT):
            return f"exit code {process.returncode}: {err[-300:]}"
        return self.place.orphans()

    def lost(self, before: Finished) -> str:
        try:
            after = self.scene.finished(self.place.folder)
        except Exception as error:
            return f"torn: {type(error).__name__}: {error}"
        lost = [key for key, value in before.items() if after.get(key) != value]
        return f"finished before, and lost or changed: {lost[:3]}" if lost else ""


assert START.count("\n") == 1  # ``main`` begins in the second line, which ``_after`` looks for
