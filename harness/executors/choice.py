"""Executors by name: ``local``, ``folder:DIR``.  One more is an entry here."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from harness.executors import Executor
from janus_bench.errors import UsageError, unknown


def _local(rest: str) -> Executor:
    from harness.executors.local import LocalExecutor

    if rest:
        raise UsageError(f"--executor local:{rest}: local takes nothing behind it")
    return LocalExecutor()


def _folder(rest: str) -> Executor:
    from harness.executors.handed_out import FolderExecutor

    if not rest:
        raise UsageError("--executor folder: name the folder that fits are handed out in, as in folder:./tasks")
    return FolderExecutor(Path(rest))


EXECUTORS: Mapping[str, Callable[[str], Executor]] = {"local": _local, "folder": _folder}
"""Name → executor, made of what stands behind the colon."""


def chosen_executor(text: str) -> Executor:
    """UsageError for one that there is not."""
    name, _, rest = text.partition(":")
    if name not in EXECUTORS:
        raise unknown("executor", name, EXECUTORS)
    return EXECUTORS[name](rest)
