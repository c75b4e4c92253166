"""Fits in this very process, to be looked at with a debugger: nothing isolates them, and nothing limits them."""

from __future__ import annotations

import contextlib
import io
import sys
import threading
import time
import traceback
from collections.abc import Callable
from concurrent.futures import Executor as Pool
from concurrent.futures import Future
from typing import Any

from harness.executors import Outcome
from harness.jobs import Event, Failed, Job, short


class InProcessExecutor:
    """Calls what a child process calls.  What a detector prints goes to standard error; its traceback is printed and is
    the log."""

    def run(self, job: Job, stop: threading.Event, on_event: Callable[[Event], None]) -> Outcome:
        """See ``Executor``."""
        from threadpoolctl import threadpool_limits

        from harness import worker

        started, log = time.monotonic(), io.StringIO()
        try:
            with contextlib.redirect_stdout(sys.stderr), threadpool_limits(job.threads):
                worker.run(job, _Told(on_event, log))
        except KeyboardInterrupt:
            stop.set()
            return Outcome("interrupted", "interrupted by the user", time.monotonic() - started, None)
        except (Exception, SystemExit) as error:  # noqa: BLE001  as of a child: the failure of a fit is the status of its runs
            _print(log)
            status, reason = worker.classify(error)
            return Outcome(status, short(reason), time.monotonic() - started, None, log.getvalue().encode())
        return Outcome("ok", "", time.monotonic() - started, None, log.getvalue().encode())


class _Told:
    """Stands for the pipe of events."""

    def __init__(self, on_event: Callable[[Event], None], log: io.StringIO) -> None:
        self._on_event, self._log = on_event, log

    def send(self, event: Event) -> None:
        self._on_event(event)

    def failed(self, error: BaseException, target: str | None = None) -> None:
        from harness import worker

        _print(self._log)
        status, reason = worker.classify(error)
        self._on_event(Failed(status, short(reason), target))


def _print(log: io.StringIO) -> None:
    text = traceback.format_exc()
    log.write(text)
    sys.stderr.write(text)


class SameThread(Pool):
    """A pool that does what it is given at once: a debugger and an interrupt belong to the main thread."""

    def submit(self, function: Callable[..., Any], /, *arguments: Any, **named: Any) -> Future[Any]:
        future: Future[Any] = Future()
        future.set_result(function(*arguments, **named))
        return future
