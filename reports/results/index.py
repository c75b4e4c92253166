"""The rows of a results folder, kept in one file beside them: a board of many thousand rows opens at once.

``index.npz`` holds nothing that the files do not hold, and counts for a file only as long as that file's number, size
and time of change are what they were when it was read.  So it may be deleted, be old, or come from elsewhere: what it
does not cover is read from the files, and it is written anew, in one step, by whoever has read many of them.

numbers  (rows, names) float64: costs and metrics; NaN: None; infinite: there is no such number
codes    (rows, fields) int32: place of a field's value among the values of that field; −1: there is no such field
stamps   (rows, 3) int64: number, size and time of change of the row's file
"""

from __future__ import annotations

import io
import json
import math
import os
import time
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from janus_bench.files import remove_left_behind, write_atomically
from janus_bench.records import RunRecord
from janus_bench.stored import regular

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

VERSION = 1  # Of the file, and of what is asked of a row before it is in it.
FILE = "index.npz"
FEWEST, SHARE = 256, 20
"""It is written when it lacks so many rows, and one in so many."""
YOUNG_NS = 2 * 10**9
"""What has changed a moment ago may change once more without a new time, so it is not kept."""

Stamp = tuple[int, int, int]
NUMBERS = ("cost", "metrics")
WHOLE = tuple(each.name for each in fields(RunRecord) if each.name not in (*NUMBERS, "spec"))


def stamp_of(entry: os.DirEntry[str]) -> Stamp | None:
    """Number, size and time of change of a file; None where it is gone."""
    try:
        found = entry.stat()
    except OSError:
        return None
    return found.st_ino, found.st_size, found.st_ctime_ns


class _Fields(Mapping[str, Any]):
    """A run's declaration: its values are shared with other rows."""

    __slots__ = ("_kept", "_row")

    def __init__(self, kept: _Columns, row: int) -> None:
        self._kept, self._row = kept, row

    def __getitem__(self, name: str) -> Any:
        kept = self._kept
        code = kept.codes[self._row, kept.spec[name]]
        if code < 0:
            raise KeyError(name)
        return kept.values[kept.spec[name]][code]

    def __iter__(self) -> Iterator[str]:
        codes = self._kept.codes[self._row]
        return (name for name, column in self._kept.spec.items() if codes[column] >= 0)

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def __repr__(self) -> str:
        return repr(dict(self))

    def __reduce__(self) -> tuple[type, tuple[dict[str, Any]]]:
        return dict, (dict(self),)


class _Numbers(Mapping[str, float | None]):
    """Costs or metrics of a row."""

    __slots__ = ("_columns", "_kept", "_row")

    def __init__(self, kept: _Columns, columns: Mapping[str, int], row: int) -> None:
        self._kept, self._columns, self._row = kept, columns, row

    def __getitem__(self, name: str) -> float | None:
        value = float(self._kept.numbers[self._row, self._columns[name]])
        if math.isinf(value):
            raise KeyError(name)
        return None if math.isnan(value) else value

    def __iter__(self) -> Iterator[str]:
        numbers = self._kept.numbers[self._row]
        return (name for name, column in self._columns.items() if not math.isinf(numbers[column]))

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def __repr__(self) -> str:
        return repr(dict(self))

    def __reduce__(self) -> tuple[type, tuple[dict[str, float | None]]]:
        return dict, (dict(self),)


@dataclass(frozen=True, eq=False)
class _Columns:
    """What the file holds, by columns; ``spec``, ``costs`` and ``metrics``: name → column."""

    numbers: NDArray[np.float64]
    codes: NDArray[np.int32]
    values: list[list[Any]]
    whole: list[int]
    spec: Mapping[str, int]
    costs: Mapping[str, int]
    metrics: Mapping[str, int]

    def record(self, row: int) -> RunRecord:
        codes = self.codes[row]
        whole = [self.values[column][codes[column]] for column in self.whole]
        return RunRecord(
            **dict(zip(WHOLE, whole, strict=True)),
            spec=_Fields(self, row),
            cost=_Numbers(self, self.costs, row),
            metrics=_Numbers(self, self.metrics, row),
        )


class RowIndex:
    """The file, read.  An empty one stands for a file that is not there or cannot be used."""

    def __init__(self, columns: _Columns | None = None, stamps: Mapping[str, tuple[int, Stamp]] | None = None) -> None:
        self._columns, self._stamps = columns, stamps or {}

    @classmethod
    def read(cls, folder: Path) -> RowIndex:
        import numpy as np

        try:
            regular(folder / FILE)
            with np.load(folder / FILE, allow_pickle=False) as file:  # whose parts have checksums
                about = json.loads(file["about"].tobytes())
                numbers, codes, stamps = file["numbers"], file["codes"], file["stamps"]
            if about["version"] != VERSION or not _is_whole(about, numbers, codes, stamps):
                return cls()
            place = {tuple(name): column for column, name in enumerate(about["fields"])}
            named = {tuple(name): column for column, name in enumerate(about["numbers"])}
            columns = _Columns(
                numbers,
                codes,
                about["values"],
                [place["", name] for name in WHOLE],
                {name: column for (kind, name), column in place.items() if kind == "spec"},
                *({name: column for (of, name), column in named.items() if of == kind} for kind in NUMBERS),
            )
            found = {
                name: (row, tuple(stamp))
                for row, (name, stamp) in enumerate(zip(about["files"], stamps.tolist(), strict=True))
            }
            return cls(columns, found)
        except (OSError, ValueError, KeyError, TypeError, AttributeError, EOFError, zipfile.BadZipFile, MemoryError):
            return cls()

    def __len__(self) -> int:
        return len(self._stamps)

    def record(self, name: str, stamp: Stamp) -> RunRecord | None:
        """The row in a file; None unless that is the file that was read."""
        row, known = self._stamps.get(name, (0, None))
        return self._columns.record(row) if known == stamp and self._columns is not None else None


def _is_whole(about: Mapping[str, Any], numbers: Any, codes: Any, stamps: Any) -> bool:
    """It may come from anywhere: what is read out of it by place must be there."""
    rows, lengths = len(about["files"]), [len(values) for values in about["values"]]
    return bool(
        numbers.shape == (rows, len(about["numbers"]))
        and codes.shape == (rows, len(about["fields"]))
        and stamps.shape == (rows, 3)
        and len(lengths) == len(about["fields"])
        and (rows == 0 or ((codes.max(axis=0) < lengths).all() and codes.min() >= -1))
    )


def is_due(lacking: int, rows: int) -> bool:
    """Whether writing it pays: ``lacking`` of so many rows are not in it."""
    return lacking >= max(FEWEST, rows / SHARE)


def write_index(folder: Path, rows: Iterable[tuple[str, Stamp, RunRecord]]) -> None:
    """Keep these rows: name and stamp of their files, and what is in them.  OSError where that cannot be written."""
    import numpy as np

    before = time.time_ns() - YOUNG_NS
    kept = [row for row in rows if row[1][2] < before]
    records = [record for _, _, record in kept]
    names = [("spec", name) for name in dict.fromkeys(name for record in records for name in record.spec)]
    every = [("", name) for name in WHOLE] + names
    codes, values = np.empty((len(kept), len(every)), np.int32), []
    for column, (of, name) in enumerate(every):
        codes[:, column], found = _coded(records, of, name)
        values.append(found)
    named = [
        (kind, name)
        for kind in NUMBERS
        for name in dict.fromkeys(name for each in records for name in getattr(each, kind))
    ]
    numbers = np.empty((len(kept), len(named)))
    for column, (kind, name) in enumerate(named):
        given = (getattr(record, kind).get(name, math.inf) for record in records)
        numbers[:, column] = [math.nan if value is None else value for value in given]
    about = {
        "version": VERSION,
        "fields": every,
        "values": values,
        "numbers": named,
        "files": [name for name, _, _ in kept],
    }
    stamps = np.array([stamp for _, stamp, _ in kept], np.int64).reshape(-1, 3)
    file = io.BytesIO()
    text = np.frombuffer(json.dumps(about, allow_nan=False).encode(), np.uint8)
    np.savez(file, about=text, numbers=numbers, codes=codes, stamps=stamps)
    remove_left_behind(folder, folder / FILE)
    write_atomically(folder / FILE, file.getvalue())


def _coded(records: Iterable[RunRecord], of: str, name: str) -> tuple[list[int], list[Any]]:
    """Of every row the place of its value among the different ones, −1 where it has none, and those."""
    places: dict[Any, int] = {}
    codes: list[int] = []
    values: list[Any] = []
    for record in records:
        if of and name not in record.spec:
            codes.append(-1)
            continue
        value = record.spec[name] if of else getattr(record, name)
        key = type(value), value if isinstance(value, str) else json.dumps(value)  # equal as JSON; true and 1 differ
        if key not in places:
            places[key] = len(values)
            values.append(value)
        codes.append(places[key])
    return codes, values
