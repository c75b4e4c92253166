"""Fits as forks of processes that have imported already what they will (``harness.executors.server``)."""

from __future__ import annotations

import os
import select
import signal
import socket
import subprocess
import tempfile
import threading
import time
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO

from harness.executors.server import NOWHERE
from harness.jobs import HEAVY, Finished, Job

KEPT = 3  # Servers that wait for requests, each with up to some 300 MB; the one that was asked longest ago goes.
POLL_S = 0.05
MESSAGE = 64  # Bytes: no message of a server or of a fit is longer.


class Forked:
    """A fit that a server has forked: as much of ``subprocess.Popen`` as an executor has use for."""

    def __init__(self, pid: int, line: socket.socket, stdin: IO[bytes], stdout: IO[bytes], stderr: IO[bytes]) -> None:
        self.pid, self.stdin, self.stdout, self.stderr = pid, stdin, stdout, stderr
        self.returncode: int | None = None
        self._line = line

    def poll(self) -> int | None:
        if self.returncode is None and select.select([self._line], [], [], 0)[0]:
            self._hear()
        return self.returncode

    def wait(self) -> int:
        """From then on the number of its process may be another's."""
        if self.returncode is None:
            self._hear()
        self._line.close()
        assert self.returncode is not None
        return self.returncode

    def _hear(self) -> None:
        said = self._line.recv(MESSAGE)
        # a server that has died says nothing, and its fits have died with it
        self.returncode = int(said.split()[1]) if said else -signal.SIGKILL


class Warm:
    """Servers, one for each set of modules: a fit is forked from the one that has what fits of its detector have been
    seen to import, and nothing more, which would count as memory of the fit."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._imported: dict[str, tuple[str, ...]] = {}
        self._servers: OrderedDict[tuple[int, tuple[str, ...]], _Server] = OrderedDict()
        self._retired: list[_Server] = []

    def start(
        self, job: Job, launch: Sequence[str], environment: Mapping[str, str], stop: threading.Event, until: float
    ) -> Forked | None:
        """A fit that waits for its job; None where it has to be a process by itself.

        ``launch`` and ``environment`` start a server.  It is waited for until ``stop`` is set, or ``until`` on the
        monotonic clock.
        """
        if job.device != "cpu" or not hasattr(os, "pidfd_open"):  # a GPU's driver does not survive a fork
            return None
        with self._lock:
            key = job.threads, self._imported.get(job.detector, ())
            server = self._servers.pop(key, None) or _Server(launch, key[1], environment)
            self._servers[key] = server
            if len(self._servers) > KEPT:
                self._retired.append(self._servers.popitem(last=False)[1])
                self._retired[-1].retire()
        return server.fork(Path(job.folder), stop, until)

    def saw(self, job: Job, finished: Finished) -> None:
        """What a fit had imported at its end."""
        self._imported[job.detector] = tuple(name for name in HEAVY if name in finished.imported)

    def close(self) -> None:
        for server in (*self._retired, *self._servers.values()):
            server.end()


class _Server:
    def __init__(self, launch: Sequence[str], modules: Sequence[str], environment: Mapping[str, str]) -> None:
        self._control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        kept = {name: value for name, value in environment.items() if name != "HOME"}
        with theirs:
            self._process = subprocess.Popen(
                [*launch, str(theirs.fileno()), *modules],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                cwd="/",
                # the last variable, for where a shorter one takes its place, who reads them sees their end
                env=kept | {"TMPDIR": tempfile.gettempdir(), "HOME": NOWHERE},
                start_new_session=True,
                pass_fds=[theirs.fileno()],
            )

    def fork(self, folder: Path, stop: threading.Event, until: float) -> Forked | None:
        """A new fit; None where there is none by then, or the server has died."""
        pipes = [os.pipe() for _ in range(3)]
        line, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        (stdin, into), (out, stdout), (log, stderr) = pipes
        streams = os.fdopen(into, "wb"), os.fdopen(out, "rb"), os.fdopen(log, "rb")
        with theirs, suppress(OSError):  # of a server that has died; the line tells that, too
            socket.send_fds(self._control, [os.fsencode(folder)], [stdin, stdout, stderr, theirs.fileno()])
        for descriptor in (stdin, stdout, stderr):
            os.close(descriptor)
        pid = _announced(line, stop, until)
        if pid is None:
            for ours in (line, *streams):
                ours.close()
            return None
        return Forked(pid, line, *streams)

    def retire(self) -> None:
        """It ends with the last of its fits."""
        self._control.close()

    def end(self) -> None:
        """With all of its fits."""
        self._control.close()
        self._process.kill()
        self._process.wait()


def _announced(line: socket.socket, stop: threading.Event, until: float) -> int | None:
    """The number of a fit's process, once it is one of its own."""
    while not select.select([line], [], [], POLL_S)[0]:
        if stop.is_set() or time.monotonic() > until:
            return None
    word, _, number = line.recv(MESSAGE).partition(b" ")
    return int(number) if word == b"pid" else None
