"""What the kinds of faults share: what came of them, and cases that run in child processes, which may crash or hang."""

from __future__ import annotations

import json
import os
import select
import shutil
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
Say = Callable[[str], None]
QUIET_S = 600.0
"""A child that says nothing for so long hangs: a case takes a second, a bench some ten to set up, and a busy machine
many times that."""


@dataclass
class Tally:
    """What came of the faults of one kind.

    cases     how many there were, by what was seen (an exit code, the status of a row, what was killed)
    failures  seed → what went wrong
    """

    kind: str
    cases: Counter[str] = field(default_factory=Counter)
    failures: dict[int, list[str]] = field(default_factory=dict)
    seconds: float = 0.0
    lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    @property
    def number(self) -> int:
        return sum(self.cases.values())

    def add(self, seed: int, seen: str, wrong: str, say: Say) -> None:
        with self.lock:
            self.cases[seen] += 1
            if wrong:
                self.failures.setdefault(seed, []).append(wrong)
                say(f"FAILED {self.kind} {seed}: {wrong}\n  again: {self.again(seed)}")
            elif self.number % 25 == 0:
                say(f"{self.kind}: {self.number} done, {sum(map(len, self.failures.values()))} failed")

    def again(self, seed: int) -> str:
        return f"python -m tests.faults --kind {self.kind} --seed {seed} --count 1"


def in_children(tally: Tally, seed: int, count: int, jobs: int, folder: Path, say: Say) -> None:
    """``count`` cases of ``tests.faults.bench`` with seeds from ``seed`` on, shared between ``jobs`` children."""
    ends = [seed + count * place // jobs for place in range(jobs + 1)]
    with ThreadPoolExecutor(jobs) as pool:
        shares = [
            pool.submit(_one_share, tally, ends[place], ends[place + 1], folder / str(place), say)
            for place in range(jobs)
        ]
        for share in shares:
            share.result()


def _one_share(tally: Tally, begin: int, end: int, folder: Path, say: Say) -> None:
    """A child that crashes or hangs costs its case; another one goes on behind it."""
    attempt = 0
    while begin < end:
        attempt += 1
        work = folder / str(attempt)
        work.mkdir(parents=True)
        command = [sys.executable, "-m", "tests.faults.bench", tally.kind, str(begin), str(end), str(work)]
        at = begin
        with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, start_new_session=True) as child:
            for at, seen, wrong in _lines(child):
                tally.add(at, seen, wrong, say)
                at += 1
            hangs = child.poll() is None
            if hangs:
                os.killpg(child.pid, 9)
            code = child.wait()
        if at < end:
            tally.add(at, "none", "it hangs" if hangs else f"the process ended with code {code}", say)
            at += 1
        begin = at
        shutil.rmtree(work, ignore_errors=True)


def _lines(child: subprocess.Popen[bytes]) -> Iterator[tuple[int, str, str]]:
    """(seed, what was seen, what went wrong) of each case, until the child ends or is silent for too long."""
    assert child.stdout is not None
    rest, heard = b"", time.monotonic()
    while time.monotonic() - heard < QUIET_S:
        if not select.select([child.stdout], [], [], 1.0)[0]:
            continue
        data = os.read(child.stdout.fileno(), 1 << 16)
        if not data:
            child.wait(QUIET_S)
            return
        heard = time.monotonic()
        *whole, rest = (rest + data).split(b"\n")
        for line in whole:
            seed, seen, wrong = json.loads(line)
            yield seed, seen, wrong
