"""Captures → flows → scores → records, in memory that does not grow with them."""

from __future__ import annotations

import signal
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType

import numpy as np

from datasets_registry.capture.reader import Scan
from datasets_registry.capture.rules import FlowRules
from datasets_registry.streaming import EndedFlows, read_arriving, read_ended
from harness.operate.alerts import FlowRecord, Recorder
from harness.operate.scorer import Scorer

STANDARD_INPUT = "standard input"
BLOCK = 2048
"""Flows that are scored at a time; two such blocks are on their way at most."""


class Interrupt:
    """Ctrl-C asks for the end, and what is open is still scored; a second one does not wait for that."""

    def __init__(self) -> None:
        self.asked = False

    def __call__(self) -> bool:
        return self.asked

    def ask(self, number: int, frame: FrameType | None) -> None:
        if self.asked:
            raise KeyboardInterrupt
        self.asked = True


@contextmanager
def interruptible() -> Iterator[Interrupt]:
    """Interrupts and polite kills are requests as long as the block runs."""
    interrupt = Interrupt()
    before = {number: signal.signal(number, interrupt.ask) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield interrupt
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@dataclass
class Read:
    """What became of all packets."""

    packets: int = 0
    used: int = 0
    belated: int = 0
    dropped: Counter[str] = field(default_factory=Counter)

    def add(self, scan: Scan, belated: int) -> None:
        self.packets += scan.records
        self.used += scan.used
        self.belated += belated
        self.dropped.update(scan.dropped)


class Watch:
    """Scores captures one after the other.

    write  is given the records of each block as they are ready
    tell   is told (name, bytes so far) now and then
    explains  whether the detector has reasons of its own
    """

    def __init__(
        self,
        scorer: Scorer,
        recorder: Recorder,
        rules: FlowRules,
        inputs: frozenset[str],
        write: Callable[[list[FlowRecord]], None],
        tell: Callable[[str, int], None],
        stopped: Callable[[], bool],
        explains: bool,
    ) -> None:
        self._scorer, self._recorder, self._rules, self._inputs = scorer, recorder, rules, inputs
        self._explain = self._explained if explains else None
        self._write, self._tell, self._stopped = write, tell, stopped
        self._capture = ""
        self.read = Read()

    def file(self, name: str, path: Path) -> Scan:
        """Score a file; DataError if it is not a capture."""
        done = 0

        def advance(n_bytes: int) -> None:
            nonlocal done
            done += n_bytes
            self._collect(2)
            self._tell(name, done)

        self._capture = name
        scan, belated = read_ended(path, self._rules, self._inputs, self._take, advance, self._stopped)
        return self._ended(scan, belated)

    def standard_input(self) -> Scan:
        """Score what arrives on standard input, each flow within a moment after its end."""
        done, name = 0, STANDARD_INPUT
        self._capture = name

        def advance(n_bytes: int) -> None:
            nonlocal done
            done += n_bytes
            self._collect(2)
            self._tell(name, done)

        scan, belated = read_arriving(
            sys.stdin.fileno(), name, self._rules, self._inputs, self._take, advance, self._stopped
        )
        return self._ended(scan, belated)

    def _ended(self, scan: Scan, belated: int) -> Scan:
        self._collect(0)
        self.read.add(scan, belated)
        return scan

    def _take(self, ended: EndedFlows) -> None:
        for begin in range(0, len(ended), BLOCK):
            some = ended if len(ended) <= BLOCK else ended.take(np.arange(begin, min(begin + BLOCK, len(ended))))
            self._scorer.submit(some.batch(self._inputs), some)
            self._collect(2)

    def _collect(self, at_most: int) -> None:
        if self._scorer.waiting:
            for ended, scores in self._scorer.scored(at_most):
                self._write(list(self._recorder.records(ended, scores, self._capture, self._explain)))

    def _explained(self, ended: EndedFlows) -> list[str]:
        return self._scorer.explained(ended.batch(self._inputs))


class Rate:
    """Lines of how fast it goes, now and then."""

    def __init__(self, say: Callable[[str], None], every_s: float = 30.0) -> None:
        self._say, self._every, self._begun = say, every_s, time.monotonic()
        self._next = self._begun + every_s

    def __call__(self, name: str, n_bytes: int, flows: int) -> None:
        now = time.monotonic()
        if now >= self._next:
            self._next = now + self._every
            elapsed = now - self._begun
            self._say(f"{name}: {n_bytes / 1e6:,.0f} MB, {flows:,} flows scored, {flows / elapsed:,.0f} a second")
