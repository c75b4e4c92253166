"""Rows of runs by columns: a hundred thousand take little memory, and what nobody asks for is not read.

Columns are arrays under names, as ``numpy.savez`` keeps them:

about      JSON: version, number of rows, the fields as (of, name) with ``of`` empty or ``spec``, and the numbers as
           (kind, name) with ``kind`` ``cost`` or ``metrics``
codes.3    (rows,) int32: place of the third field's value among its values; −1: the row has no such field
values.3   JSON: these values
numbers.5  (rows,) float64; NaN: None; infinite: the row has no such number

A run's key is not among them: it is the name of the row's file.
"""

from __future__ import annotations

import json
import math
from array import array
from collections.abc import Iterator, Mapping
from dataclasses import MISSING, fields
from typing import TYPE_CHECKING, Any, get_type_hints

from janus_bench.errors import DataError
from janus_bench.records import Recorded, RunRecord, RunSpec, Status, StoredPartition
from janus_bench.stored import first_line, mismatch

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

VERSION = 2  # Also of what is asked of a row before it is kept.
NUMBERS = ("cost", "metrics")
WHOLE = tuple(each.name for each in fields(RunRecord) if each.name not in (*NUMBERS, "key", "spec"))

HINTS = {
    (of, name): hint for of, kind in (("", RunRecord), ("spec", RunSpec)) for name, hint in get_type_hints(kind).items()
} | {("", "partition"): StoredPartition}
REQUIRED = {each.name for each in fields(RunSpec) if each.default is MISSING}

Parts = Mapping[str, "NDArray[Any]"]


class RowColumns:
    """Rows by columns, each of which is fetched from ``parts`` when it is first asked for, and kept.

    ValueError, KeyError, TypeError or AttributeError for parts that hold no such thing; whether every column is whole
    ``check`` tells.
    """

    def __init__(self, parts: Parts) -> None:
        about = _from_json(parts["about"])
        if about["version"] != VERSION:
            raise ValueError(f"version {about['version']}")
        self._parts, self._rows = parts, int(about["rows"])
        self._fields: list[tuple[str, str]] = [(of, name) for of, name in about["fields"]]
        self._named: list[tuple[str, str]] = [(kind, name) for kind, name in about["numbers"]]
        place = {named: column for column, named in enumerate(self._fields)}
        self._whole = {name: place["", name] for name in WHOLE}
        self.spec = {name: column for (of, name), column in place.items() if of}
        self.numbers_of = {
            kind: {name: column for column, (of, name) in enumerate(self._named) if of == kind} for kind in NUMBERS
        }
        self._coded: dict[int, tuple[NDArray[np.int32], list[Any]]] = {}
        self._numbers: dict[int, NDArray[np.float64]] = {}

    def __len__(self) -> int:
        return self._rows

    @property
    def parts(self) -> Parts:
        return self._parts

    def check(self) -> None:
        """ValueError unless everything is there that a row may ask for by its place; nothing of it is kept."""
        if self._rows and not self.spec.keys() >= REQUIRED:
            raise ValueError("fields of a spec are missing")
        for column, (of, name) in enumerate(self._fields):
            codes, values = self._coded_of(column)
            lowest = -1 if of and name not in REQUIRED else 0
            if codes.shape != (self._rows,) or codes.dtype.str[1:] != "i4" or not isinstance(values, list):
                raise ValueError(f"field {column}")
            if self._rows and not lowest <= codes.min() <= codes.max() < len(values):
                raise ValueError(f"codes of field {column}")
            if wrong := mismatch(values, list[HINTS.get((of, name), Any)], f"field {column}"):  # type: ignore[misc]
                raise ValueError(wrong)
        for column in range(len(self._named)):
            numbers = self._part(f"numbers.{column}")
            if numbers.shape != (self._rows,) or numbers.dtype.str[1:] != "f8":
                raise ValueError(f"numbers {column}")

    def record(self, key: str, row: int) -> KeptRecord:
        return KeptRecord(self, key, row)

    def whole(self, name: str, row: int) -> Any:
        codes, values = self._column(self._whole[name])
        return values[codes[row]]

    def declared(self, name: str, row: int) -> Any:
        """KeyError where the row's spec has no such field."""
        codes, values = self._column(self.spec[name])
        if (code := codes[row]) < 0:
            raise KeyError(name)
        return values[code]

    def number(self, column: int, row: int) -> float:
        """NaN and infinite as they are kept."""
        if column not in self._numbers:
            self._numbers[column] = self._part(f"numbers.{column}")
        return float(self._numbers[column][row])

    def _column(self, column: int) -> tuple[NDArray[np.int32], list[Any]]:
        if column not in self._coded:
            self._coded[column] = self._coded_of(column)
        return self._coded[column]

    def _coded_of(self, column: int) -> tuple[NDArray[np.int32], list[Any]]:
        return self._part(f"codes.{column}"), _from_json(self._part(f"values.{column}"))

    def _part(self, name: str) -> NDArray[Any]:
        """DataError where the file that it is in has been written over since it was checked."""
        try:
            return self._parts[name]
        except Exception as error:  # noqa: BLE001  as a file may be damaged
            raise DataError(
                f"the index of the results has changed while it was read ({first_line(error)}): try again"
            ) from None


class KeptRecord:
    """A row of ``RowColumns``: what a ``RunRecord`` says, without holding it."""

    __slots__ = ("_columns", "_row", "key")

    def __init__(self, columns: RowColumns, key: str, row: int) -> None:
        self._columns, self.key, self._row = columns, key, row

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.key!r}, {self.status!r})"

    def __eq__(self, other: object) -> bool:
        """As ``RunRecord`` has it: every field."""
        if not isinstance(other, KeptRecord | RunRecord):
            return NotImplemented
        return all(getattr(self, each.name) == getattr(other, each.name) for each in fields(RunRecord))

    def __reduce__(self) -> tuple[type, tuple[Any, ...]]:
        """A copy is the record itself."""
        return RunRecord, tuple(getattr(self, each.name) for each in fields(RunRecord))

    @property
    def spec(self) -> Mapping[str, Any]:
        return _Fields(self._columns, self._row)

    @property
    def cost(self) -> Mapping[str, float | None]:
        return _Numbers(self._columns, "cost", self._row)

    @property
    def metrics(self) -> Mapping[str, float | None]:
        return _Numbers(self._columns, "metrics", self._row)

    @property
    def fit_key(self) -> str:
        return str(self._columns.whole("fit_key", self._row))

    @property
    def status(self) -> Status:
        found: Status = self._columns.whole("status", self._row)
        return found

    @property
    def reason(self) -> str:
        return str(self._columns.whole("reason", self._row))

    @property
    def attempt(self) -> int:
        return int(self._columns.whole("attempt", self._row))

    @property
    def finished(self) -> str:
        return str(self._columns.whole("finished", self._row))

    @property
    def provenance(self) -> str:
        return str(self._columns.whole("provenance", self._row))

    @property
    def uses_labels(self) -> bool:
        return bool(self._columns.whole("uses_labels", self._row))

    @property
    def aggregator(self) -> str:
        return str(self._columns.whole("aggregator", self._row))

    @property
    def counts(self) -> Mapping[str, int | None]:
        found: Mapping[str, int | None] = self._columns.whole("counts", self._row)
        return found

    @property
    def partition(self) -> Mapping[str, Any]:
        found: Mapping[str, Any] = self._columns.whole("partition", self._row)
        return found

    @property
    def environment(self) -> Mapping[str, str]:
        found: Mapping[str, str] = self._columns.whole("environment", self._row)
        return found

    @property
    def schema_version(self) -> int:
        return int(self._columns.whole("schema_version", self._row))


class _Fields(Mapping[str, Any]):
    """A run's declaration: its values are shared with other rows."""

    __slots__ = ("_columns", "_row")

    def __init__(self, columns: RowColumns, row: int) -> None:
        self._columns, self._row = columns, row

    def __getitem__(self, name: str) -> Any:
        return self._columns.declared(name, self._row)

    def __iter__(self) -> Iterator[str]:
        for name in self._columns.spec:
            try:
                self[name]
            except KeyError:
                continue
            yield name

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def __repr__(self) -> str:
        return repr(dict(self))

    def __reduce__(self) -> tuple[type, tuple[dict[str, Any]]]:
        return dict, (dict(self),)


class _Numbers(Mapping[str, float | None]):
    """Costs or metrics of a row."""

    __slots__ = ("_columns", "_kind", "_row")

    def __init__(self, columns: RowColumns, kind: str, row: int) -> None:
        self._columns, self._kind, self._row = columns, kind, row

    def __getitem__(self, name: str) -> float | None:
        value = self._columns.number(self._columns.numbers_of[self._kind][name], self._row)
        if math.isinf(value):
            raise KeyError(name)
        return None if math.isnan(value) else value

    def __iter__(self) -> Iterator[str]:
        columns = self._columns
        return (
            name
            for name, column in columns.numbers_of[self._kind].items()
            if not math.isinf(columns.number(column, self._row))
        )

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def __repr__(self) -> str:
        return repr(dict(self))

    def __reduce__(self) -> tuple[type, tuple[dict[str, float | None]]]:
        return dict, (dict(self),)


class RowsMaker:
    """Takes rows one by one and holds none of them."""

    def __init__(self) -> None:
        self._rows = 0
        self._coded: dict[tuple[str, str], _Coded] = {("", name): _Coded() for name in WHOLE}
        self._numbers: dict[tuple[str, str], array[float]] = {}

    def add(self, record: Recorded) -> None:
        for name in WHOLE:
            self._coded["", name].add(getattr(record, name), self._rows)
        for name, value in record.spec.items():
            self._coded.setdefault(("spec", name), _Coded()).add(value, self._rows)
        for kind in NUMBERS:
            for name, number in getattr(record, kind).items():
                numbers = self._numbers.setdefault((kind, name), array("d"))
                _fill(numbers, math.inf, self._rows)
                numbers.append(math.nan if number is None else number)
        self._rows += 1

    def columns(self) -> RowColumns:
        """Of the rows that were added."""
        import numpy as np

        about = {"version": VERSION, "rows": self._rows, "fields": [*self._coded], "numbers": [*self._numbers]}
        parts = {"about": _as_json(about)}
        for place, coded in enumerate(self._coded.values()):
            _fill(coded.codes, -1, self._rows)
            parts[f"codes.{place}"] = np.array(coded.codes, np.int32)
            parts[f"values.{place}"] = _as_json(coded.values)
        for place, numbers in enumerate(self._numbers.values()):
            _fill(numbers, math.inf, self._rows)
            parts[f"numbers.{place}"] = np.array(numbers, np.float64)
        return RowColumns(parts)


class _Coded:
    """A field's different values, and of every row the place of its own among them."""

    def __init__(self) -> None:
        self.codes: array[int] = array("i")
        self.values: list[Any] = []
        self._places: dict[Any, int] = {}

    def add(self, value: Any, row: int) -> None:
        _fill(self.codes, -1, row)
        # equal as JSON; true and 1 differ
        same = value if isinstance(value, str) else (type(value), json.dumps(value))
        place = self._places.setdefault(same, len(self.values))
        if place == len(self.values):
            self.values.append(value)
        self.codes.append(place)


def _fill(column: array[Any], with_: float, rows: int) -> None:
    """Rows that lack it."""
    if len(column) < rows:
        column.extend([with_] * (rows - len(column)))


def _as_json(value: Any) -> NDArray[np.uint8]:
    import numpy as np

    return np.frombuffer(json.dumps(value, allow_nan=False).encode(), np.uint8)


def _from_json(part: NDArray[np.uint8]) -> Any:
    return json.loads(part.tobytes())
