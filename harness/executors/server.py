"""A process that has imported what fits import, and is forked for each of them: a fit begins at once, and is otherwise
what a process of its own would be.

It is started with the environment of a fit, since libraries ask for their number of threads once, when they are
imported.  It reads no data, runs no code of a detector, and has one thread.
"""

from __future__ import annotations

import ctypes
import gc
import importlib
import os
import selectors
import signal
import socket
import sys
import tempfile
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path

import numpy as np

from harness import worker
from janus_bench import plugins

PATH_MAX = 4096  # Of Linux.
NOWHERE = "/nonexistent".ljust(PATH_MAX, "/")
"""The server's HOME.  It is as long as any fit's may be, for a fit writes its own in its place."""


def serve(control: socket.socket, modules: Sequence[str]) -> None:
    """Import ``modules`` and fork a fit for each request; returns in the process of a fit, and nowhere else.

    A request on ``control`` (SOCK_SEQPACKET) is the stage's folder with four descriptors: standard input, output and
    error of the fit, and its line (SOCK_SEQPACKET too).  On that the fit says ``pid <number>`` once it is a process of
    its own, and the server ``code <number>`` when it has ended (negative: of that signal).  Its process is reaped when
    the line is closed at the other end, so that until then its number means no other.
    """
    for name in ("numpy.random", *modules):
        importlib.import_module(name)
    for each in (plugins.detector_entries, plugins.detector_families):
        each()  # every fit asks for them
    os.close(os.pidfd_open(os.getpid()))  # where the kernel has none, this ends before the first fit, not with it
    if not _forks_whole():
        sys.exit("there are threads here that a fork would not have")
    gc.freeze()  # looking through what was imported would copy every page of it into each fit
    _Server(control).run()


def _forks_whole() -> bool:
    """Whether a fork has all that this process has.  OpenBLAS ends its threads before a fork and begins them anew when
    it needs them; those of others would be missing, with whatever they have locked."""
    pid = os.fork()
    if pid == 0:
        os._exit(0)
    os.waitpid(pid, 0)
    return len(list(Path("/proc/self/task").iterdir())) == 1


class _Server:
    def __init__(self, control: socket.socket) -> None:
        self._control, self._selector = control, selectors.DefaultSelector()
        self._heard: set[socket.socket | int] = set()
        self._living: dict[int, int] = {}  # Process of a fit → descriptor that is ready when it has ended.
        self._hear(control, self._fork)

    def run(self) -> None:
        """Until nobody asks any more and every fit has ended."""
        while self._heard:
            (key, _), *_ = self._selector.select()  # one at a time: it may end what the others are about
            if key.data():
                return
        os._exit(0)

    def _hear(self, what: socket.socket | int, then: Callable[[], bool]) -> None:
        self._heard.add(what)
        self._selector.register(what, selectors.EVENT_READ, then)

    def _leave(self, what: socket.socket | int) -> None:
        self._heard.discard(what)
        self._selector.unregister(what)
        _close(what)

    def _fork(self) -> bool:
        """Whether this is the fit's process."""
        folder, descriptors, *_ = socket.recv_fds(self._control, PATH_MAX, 4, socket.MSG_CMSG_CLOEXEC)
        if not folder:
            self._leave(self._control)
            return False
        server = os.getpid()
        try:
            pid = os.fork()
        except OSError:  # for want of memory, say: whoever asks hears that the line is closed, and tries by itself
            for descriptor in descriptors:
                os.close(descriptor)
            return False
        if pid == 0:
            for what in self._heard:
                _close(what)
            self._selector.close()
            _begin(Path(os.fsdecode(folder)), descriptors, server)
            return True
        for descriptor in descriptors[:3]:
            os.close(descriptor)
        line = socket.socket(fileno=descriptors[3])
        self._living[pid] = os.pidfd_open(pid)
        self._hear(self._living[pid], partial(self._ended, pid, line))
        self._hear(line, partial(self._left, pid, line))
        return False

    def _ended(self, pid: int, line: socket.socket) -> bool:
        self._leave(self._living.pop(pid))
        found = os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
        assert found is not None
        with suppress(OSError):  # nobody listens any more, which the line tells too
            line.send(b"code %d" % (found.si_status if found.si_code == os.CLD_EXITED else -found.si_status))
        return False

    def _left(self, pid: int, line: socket.socket) -> bool:
        """Nobody waits for the fit any more."""
        if pid in self._living:
            self._leave(self._living.pop(pid))
        self._leave(line)
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        return False


def _close(what: socket.socket | int) -> None:
    if isinstance(what, socket.socket):
        what.close()
    else:
        os.close(what)


def _begin(folder: Path, descriptors: Sequence[int], server: int) -> None:
    """Make this fork what a process is that was started for a fit."""
    libc = ctypes.CDLL(None)
    libc.prctl(1, 9)  # PR_SET_PDEATHSIG, SIGKILL
    if os.getppid() != server:
        os._exit(1)
    os.setsid()
    *streams, line = descriptors
    for number, descriptor in enumerate(streams):
        os.dup2(descriptor, number)
        os.close(descriptor)
    os.chdir(folder / "work")
    scratch = os.fsencode(folder / "scratch")
    # /proc/<pid>/environ, by which whatever outlives a fit is found, is what the process was started with
    libc.getenv.restype = ctypes.c_void_p
    ctypes.memmove(libc.getenv(b"HOME"), scratch.ljust(PATH_MAX, b"\0"), PATH_MAX)
    os.environ.update(dict.fromkeys(("HOME", "TMPDIR"), os.fsdecode(scratch)))
    tempfile.tempdir = None  # it may have been asked for
    _draw_new_seeds()
    with socket.socket(fileno=line) as told:
        told.send(b"pid %d" % os.getpid())


def _draw_new_seeds() -> None:
    """numpy and torch seed their global generators when they are imported: all forks would draw the same numbers.
    ``random`` and numba seed theirs anew in a fork by themselves."""
    np.random.seed()  # noqa: NPY002
    if "torch" in sys.modules:
        sys.modules["torch"].default_generator.seed()


def main() -> int:
    """Serve with what the arguments name, a descriptor and modules; of a fit's process, its exit code."""
    _, _, _, control, *modules = sys.argv
    serve(socket.socket(fileno=int(control)), modules)
    return worker.main()
