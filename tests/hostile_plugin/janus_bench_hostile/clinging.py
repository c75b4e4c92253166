"""Detectors whose scores are right, but that leave something behind or get in the way of whoever reads what they
wrote."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np

from janus_bench import FitContext, FlowBatch

from .failing import _Honest


class LeavesThread(_Honest):
    def fit(self, benign: FlowBatch, ctx: FitContext) -> None:
        super().fit(benign, ctx)
        threading.Thread(target=time.sleep, args=(600,)).start()


class LeavesDaemon(_Honest):
    """A grandchild in a session of its own, with its own copy of the pipes."""

    def fit(self, benign: FlowBatch, ctx: FitContext) -> None:
        super().fit(benign, ctx)
        subprocess.Popen(
            [sys.executable, "-c", "import time; time.sleep(600)  # left by h-daemon"], start_new_session=True
        )


class Chatters(_Honest):
    def fit(self, benign: FlowBatch, ctx: FitContext) -> None:
        super().fit(benign, ctx)
        print("the first line")
        for _ in range(400):
            print("x" * 100_000)
        print("y" * 3_000_000, end="")


class EndlessReason(_Honest):
    def fit(self, benign: FlowBatch, ctx: FitContext) -> None:
        raise ValueError("z" * 3_000_000)


class Babbles(_Honest):
    """Writes junk to every pipe that it finds open, the one of events among them."""

    def fit(self, benign: FlowBatch, ctx: FitContext) -> None:
        super().fit(benign, ctx)
        for descriptor in range(3, 20):
            try:
                os.write(
                    descriptor,
                    b'{"message": "Scored"}\n\xff\xfe[]\n{"message": "FitDone", "fit_s": 1, "more": 2}\nnull\n',
                )
            except OSError:
                continue


class RealTimeSignal(_Honest):
    def fit(self, benign: FlowBatch, ctx: FitContext) -> None:
        os.kill(os.getpid(), signal.SIGRTMIN + 3)
        time.sleep(60)


class SaveFails(_Honest):
    def save(self, folder: Path) -> None:
        raise OSError("no room for me")


class SavesLinks(_Honest):
    def save(self, folder: Path) -> None:
        (folder / "secret").symlink_to("/etc/passwd")
        (folder / "dangling").symlink_to("/nowhere/at/all")


class SavesPipe(_Honest):
    def save(self, folder: Path) -> None:
        os.mkfifo(folder / "pipe")


class _Overwrites(_Honest):
    """Has a thread that replaces what the worker has written as scores."""

    def fit(self, benign: FlowBatch, ctx: FitContext) -> None:
        super().fit(benign, ctx)
        self._out = ctx.scratch.parent / "out"

    def score(self, flows: FlowBatch) -> np.ndarray:
        place = self._out / "t0"
        place.mkdir(exist_ok=True)
        self.spoil(place / "test.npy")
        return super().score(flows)

    def spoil(self, path: Path) -> None:
        raise NotImplementedError


class ScoresPipe(_Overwrites):
    def spoil(self, path: Path) -> None:
        if not path.exists():
            path.symlink_to("/dev/full")
