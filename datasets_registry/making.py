"""Datasets that are made by one process at a time, in a folder that it holds (``janus_bench.held``)."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from janus_bench.errors import UsageError
from janus_bench.held import beside, hold, remove_dead, remove_if_dead

EXTRACTED = ".extracted"
"""Folder beside the datasets with what is extracted for those that are being made."""
KEPT = ".kept"
"""In such a folder: whoever worked in it stopped in good order, and may go on."""


@contextmanager
def making(datasets: Path, name: str, *, wait: bool = False) -> Iterator[Path]:
    """The folder of what is extracted for the dataset ``name`` of ``datasets``, which this process alone makes.

    It goes when the dataset is there, and stays for another try where making it fails.  What killed processes left
    behind, of any dataset, goes when the next one is made; their extracted captures stay only if it is the same that
    is made.  UsageError if another process is at it; with ``wait`` that one is waited for.
    """
    folder = datasets / EXTRACTED / name
    handle = _hold_new(folder, wait)
    try:
        (folder / KEPT).unlink(missing_ok=True)
        others = [path for path in folder.parent.iterdir() if path != folder]
        for path in others:
            if not (path / KEPT).exists():
                remove_if_dead(path)
        for parent in (datasets, folder, *others):
            if parent.is_dir():
                remove_dead(parent, r"[\w-]+")
        yield folder
        shutil.rmtree(folder, ignore_errors=True)
    finally:
        with suppress(OSError):
            if any(folder.iterdir()):
                (folder / KEPT).touch()
            else:
                folder.rmdir()
        if handle is not None:
            os.close(handle)


def remove_made(datasets: Path, name: str) -> None:
    """Remove the dataset ``name`` of ``datasets`` and what is extracted for it; UsageError if it is being made."""
    with making(datasets, name) as extracted, beside(datasets / name, ".old") as old:
        (datasets / name).replace(old)  # in one step: whoever opens it finds it whole or not at all
        shutil.rmtree(extracted, ignore_errors=True)


def _hold_new(folder: Path, wait: bool) -> int | None:
    patience = 5  # who looks for what dead processes left holds a folder for a moment
    while patience:
        folder.mkdir(parents=True, exist_ok=True)
        try:
            return hold(folder, wait=wait)
        except FileNotFoundError:  # whoever held it before has removed it
            continue
        except BlockingIOError:
            patience -= 1
            time.sleep(0.1)
    instead = "wait for it, or choose another name; nothing was changed"
    raise UsageError(f"another process is making {folder.name} at this moment: {instead}")
