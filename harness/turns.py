"""Of several runs that share a results folder, one at a time is at a fit."""

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from janus_bench.files import why
from janus_bench.held import hold
from reports.results.folder import WriteFailed

POLL_S = 0.2


@contextmanager
def turn(folder: Path, stop: threading.Event, wait: Callable[[], None]) -> Iterator[bool]:
    """Hold ``folder``, which is there only while somebody does, by a lock that the kernel releases when a process dies.

    ``wait`` is called once if another process holds it.  False, and not held, if ``stop`` is set before that one lets
    go.  WriteFailed where the folder cannot be made.  A file system without locks makes nobody wait.
    """
    waits = False
    while True:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            handle = hold(folder)
            break
        except FileNotFoundError:  # whoever held it before has removed it
            continue
        except BlockingIOError:
            if not waits:
                wait()
            waits = True
            if stop.wait(POLL_S):
                yield False
                return
        except OSError as error:
            raise WriteFailed(
                f"cannot write {folder}: {why(error)}; what was finished before is kept. Make room and run the "
                "same command again"
            ) from None
    try:
        yield True
    finally:
        with suppress(OSError):
            folder.rmdir()
        if handle is not None:
            os.close(handle)
