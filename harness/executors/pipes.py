"""What comes back from a child through its pipes: events, line by line, and its log, of which the beginning and the end
are kept."""

import os
import queue
import select
import threading
from collections import deque
from collections.abc import Callable
from typing import IO

CHUNK = 1 << 16
LONGEST_LINE = 1 << 20
"""An event is shorter than this; whatever else a detector writes to the pipe of events is thrown away, however long."""
KEPT = 1 << 22  # Bytes of a log that are kept from its beginning, and again from its end.


class _Pipe:
    """Reads a pipe in a thread until it is closed, or until ``stop``: a process that outlives the child may hold it
    open for ever."""

    def __init__(self, stream: IO[bytes], take: Callable[[bytes], None]) -> None:
        self._stream, self._take = stream, take
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self) -> None:
        while True:
            ready, _, _ = select.select([self._stream], [], [], 0.05)
            if ready:
                data = os.read(self._stream.fileno(), CHUNK)
                if not data:
                    return
                self._take(data)
            elif self._stopped.is_set():
                return

    def stop(self) -> None:
        """Take what is there, and close."""
        self._stopped.set()
        self._thread.join()
        self._stream.close()


class EventPipe(_Pipe):
    """Lines, as they come; one that is too long is dropped."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._lines: queue.SimpleQueue[str] = queue.SimpleQueue()
        self._rest = b""
        super().__init__(stream, self._split)

    def _split(self, data: bytes) -> None:
        *whole, self._rest = (self._rest + data).split(b"\n")
        for line in whole:
            self._lines.put(line.decode(errors="replace"))
        if len(self._rest) > LONGEST_LINE:
            self._rest = b""

    def next(self, timeout_s: float) -> str | None:
        """The next line, waited for; None where none came."""
        try:
            return self._lines.get(timeout=timeout_s)
        except queue.Empty:
            return None

    def waiting(self) -> list[str]:
        """The lines that have arrived since the last call."""
        return [self._lines.get() for _ in range(self._lines.qsize())]


class LogPipe(_Pipe):
    """The first and the last ``KEPT`` bytes of whatever is printed."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._head, self._tail = bytearray(), deque[bytes]()
        self._size = self._in_tail = 0
        super().__init__(stream, self._keep)

    def _keep(self, data: bytes) -> None:
        self._size += len(data)
        room = KEPT - len(self._head)
        self._head += data[:room]
        if rest := data[room:]:
            self._tail.append(rest)
            self._in_tail += len(rest)
            while self._in_tail - len(self._tail[0]) >= KEPT:
                self._in_tail -= len(self._tail.popleft())

    def text(self) -> bytes:
        """What was kept, with a line where something is missing."""
        missing = self._size - len(self._head) - self._in_tail
        return (
            bytes(self._head)
            + (b"\n[... %d bytes left out ...]\n" % missing if missing else b"")
            + b"".join(self._tail)
        )
