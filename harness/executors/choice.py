"""Executors by name: ``local``, ``in-process``, ``folder:DIR``, ``ray:ADDRESS``, ``slurm:DIR``.  One more is an entry
here."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from harness.executors import Executor
from janus_bench.errors import UsageError, unknown


def _local(rest: str) -> Executor:
    from harness.executors.local import LocalExecutor

    _alone("local", rest)
    return LocalExecutor()


def _in_process(rest: str) -> Executor:
    from harness.executors.in_process import InProcessExecutor

    _alone("in-process", rest)
    return InProcessExecutor()


def _alone(name: str, rest: str) -> None:
    if rest:
        raise UsageError(f"--executor {name}:{rest}: {name} takes nothing behind it")


def _folder(rest: str) -> Executor:
    from harness.executors.handed_out import FolderExecutor

    if not rest:
        raise UsageError("--executor folder: name the folder that fits are handed out in, as in folder:./tasks")
    return FolderExecutor(Path(rest))


def _ray(rest: str) -> Executor:
    from harness.executors.ray_cluster import RayExecutor

    return RayExecutor(rest)


def _slurm(rest: str) -> Executor:
    from harness.executors.slurm_cluster import SlurmExecutor

    if not rest:
        raise UsageError("--executor slurm: name a folder that all nodes share, as in slurm:/shared/tmp")
    return SlurmExecutor(Path(rest))


EXECUTORS: Mapping[str, Callable[[str], Executor]] = {
    "local": _local,
    "in-process": _in_process,
    "folder": _folder,
    "ray": _ray,
    "slurm": _slurm,
}
"""Name → executor, made of what stands behind the colon."""
NEEDS_A_PLACE = frozenset({"folder", "slurm"})  # Behind their colon a folder has to stand.
ELSEWHERE = frozenset({"ray", "slurm"})  # Whose fits are on machines that may have what this one lacks.


def is_elsewhere(text: str) -> bool:
    return text.partition(":")[0] in ELSEWHERE


def chosen_executor(text: str) -> Executor:
    """UsageError for one that there is not."""
    name, _, rest = text.partition(":")
    if name not in EXECUTORS:
        raise unknown("executor", name, EXECUTORS)
    return EXECUTORS[name](rest)
