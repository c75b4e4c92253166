"""The rows of a results folder, kept in one file beside them: a board of many thousand rows opens at once.

``index.npz`` holds nothing that the files do not hold, and counts for a file only as long as that file's number, size
and time of change are what they were when it was read.  So it may be deleted, be old, or come from elsewhere: what it
does not cover is read from the files, and it is written anew, in one step, by whoever has read many of them.

It has the parts of ``reports.results.columns``, and beside them

files    (rows,) bytes: name of the row's file
stamps   (rows, 3) int64: number, size and time of change of the row's file; −1 where it was too young to be kept
"""

from __future__ import annotations

import os
import time
from array import array
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from janus_bench.files import remove_left_behind, written_aside
from janus_bench.stored import regular
from reports.results.columns import RowColumns

if TYPE_CHECKING:
    from collections.abc import Iterable

    import numpy as np
    from numpy.typing import NDArray

FILE = "index.npz"
FEWEST, SHARE = 256, 20
"""It is written when it lacks so many rows, and one in so many."""
YOUNG_NS = 2 * 10**9
"""What has changed a moment ago may change once more without a new time, so it is not kept."""
LARGEST = 2**63 - 1  # Some file systems give numbers of 64 bits.
UNKNOWN = (-1, -1, -1)  # In place of a stamp: no file has it.


@dataclass(frozen=True)
class RowFiles:
    """The files of a folder's rows, the last attempt of each run, in the order of the runs' keys.

    names   (runs,) bytes
    stamps  (runs, 3) int64: see above
    """

    keys: list[str]
    names: NDArray[np.bytes_]
    stamps: NDArray[np.int64]


def row_files(entries: Iterable[os.DirEntry[str]]) -> RowFiles:
    """Of the entries of a folder, of which nothing is kept but name and stamp: there may be many thousand."""
    import numpy as np

    last: dict[str, int] = {}
    names: list[bytes] = []
    attempts: list[int] = []
    stamps = array("q")
    for entry in entries:
        key, attempt = attempt_of(entry.name)
        if attempt > (attempts[last[key]] if key in last else 0):
            last[key] = len(names)
            names.append(os.fsencode(entry.name))
            attempts.append(attempt)
            stamps.extend(_stamp_of(entry))  # before it is read: what changes meanwhile is another file
    keys = sorted(last)
    places = np.array([last[key] for key in keys], np.int64)
    return RowFiles(keys, np.array(names or [b""])[places], np.array(stamps, np.int64).reshape(-1, 3)[places])


def attempt_of(name: str) -> tuple[str, int]:
    """A row's run and attempt, by the name of its file."""
    key, _, attempt = name.removesuffix(".json").partition(".")
    return key, int(attempt) if attempt.isascii() and attempt.isdigit() and attempt[0] != "0" else 0


def _stamp_of(entry: os.DirEntry[str]) -> tuple[int, int, int]:
    try:
        found = entry.stat()
    except OSError:  # it is gone
        return UNKNOWN
    return found.st_ino & LARGEST, found.st_size & LARGEST, found.st_ctime_ns & LARGEST


class RowIndex:
    """The file, read.  An empty one stands for a file that is not there or cannot be used."""

    def __init__(self, columns: RowColumns | None = None, files: Any = None, stamps: Any = None) -> None:
        self._columns, self._files, self._stamps = columns, files, stamps

    @classmethod
    def read(cls, folder: Path) -> RowIndex:
        import numpy as np

        try:
            regular(folder / FILE)
            # it stays open, for columns are read when they are asked for; whose parts have checksums
            parts = np.load(folder / FILE, allow_pickle=False)
            columns, files, stamps = RowColumns(parts), parts["files"], parts["stamps"]
            columns.check()
            alike = files.shape == (len(columns),) and stamps.shape == (len(columns), 3)
            if files.dtype.kind != "S" or stamps.dtype.str[1:] != "i8" or not alike:
                return cls()
            return cls(columns, files, stamps)
        except Exception:  # noqa: BLE001  a damaged one may be wrong in any way, and the rows are in their files
            return cls()

    @property
    def columns(self) -> RowColumns:
        """KeyError from an empty one."""
        if self._columns is None:
            raise KeyError(FILE)
        return self._columns

    def rows(self, files: RowFiles) -> NDArray[np.int64]:
        """Of every file the row that is in it; −1 unless it is still the file that was read."""
        import numpy as np

        if self._columns is None or not len(self._files) or not files.keys:
            return np.full(len(files.keys), -1)
        order = np.argsort(self._files, kind="stable")
        found = np.searchsorted(self._files, files.names, sorter=order)
        found = order[np.minimum(found, len(order) - 1)]
        same = (self._files[found] == files.names) & (self._stamps[found] == files.stamps).all(axis=1)
        return np.where(same & (files.stamps[:, 0] >= 0), found, -1)


def is_due(lacking: int, rows: int) -> bool:
    """Whether writing it pays: ``lacking`` of so many rows are not in it."""
    return lacking >= max(FEWEST, rows / SHARE)


def write_index(folder: Path, columns: RowColumns, files: RowFiles) -> None:
    """Keep these rows, which are in these files.  OSError where that cannot be written."""
    import numpy as np

    young = files.stamps[:, 2] >= time.time_ns() - YOUNG_NS
    stamps = np.where(young[:, None], UNKNOWN, files.stamps)
    remove_left_behind(folder, folder / FILE)
    with written_aside(folder / FILE) as file:
        np.savez(file, **columns.parts, files=files.names, stamps=stamps)  # type: ignore[arg-type]
