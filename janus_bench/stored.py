"""Files that others may have damaged, read back: JSON as its annotation says, arrays and tables of the types that they
should have.

Whatever is wrong with one is an ``Unreadable``, whose text says what; the caller adds which file it was and what to do
about it.
"""

from __future__ import annotations

import dataclasses
import json
import math
import os
import re
import stat
import types
import typing
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from janus_bench.files import why

if TYPE_CHECKING:
    import polars as pl
    from numpy.typing import NDArray

LARGEST = 2**63
"""Whole numbers are below it: nothing that is stored needs more than 64 bits."""
_SURROGATE = re.compile("[\ud800-\udfff]")
"""Halves of characters, which no file can hold as text."""


class Unreadable(ValueError):
    """What is wrong with a file, in a few words."""


def read_json(path: Path, hint: Any = Any, compact: Callable[[dict[str, Any]], Any] | None = None) -> Any:
    """The JSON of a file, held to an annotation (see ``mismatch``).

    compact: what takes the place of an object as soon as that is read, where a file has very many of a kind
    """
    try:
        regular(path)
        text = path.read_text(encoding="utf-8")
        floats = _finite if _MAY_BE_INFINITE.search(text) else None
        value = json.loads(text, parse_constant=_no_number, parse_float=floats, object_hook=compact)
    except Unreadable:
        raise
    except RecursionError:
        raise Unreadable("it is nested too deep") from None
    except UnicodeDecodeError:
        raise Unreadable("it is not UTF-8 text") from None
    except OSError as error:
        raise Unreadable(why(error)) from None
    except ValueError as error:
        raise Unreadable(f"it is not JSON: {error}") from None
    if wrong := mismatch(value, hint):
        raise Unreadable(wrong)
    return value


LONGEST_TOML = 1 << 20


def read_toml(path: Path) -> tuple[dict[str, Any], bytes]:
    """What somebody has written in TOML, and its bytes.  A pipe is welcome; of a device that never ends no more is read
    than such a file can have."""
    import tomllib

    try:
        with path.open("rb") as file:
            content = file.read(LONGEST_TOML + 1)
        if len(content) > LONGEST_TOML:
            raise Unreadable(f"longer than {LONGEST_TOML >> 20} MiB, as no file of settings is")
        return tomllib.loads(content.decode()), content
    except Unreadable:
        raise
    except OSError as error:
        raise Unreadable(why(error)) from None
    except (ValueError, RecursionError) as error:  # also of bytes that are no UTF-8
        raise Unreadable(f"not valid TOML: {error}") from None


def mismatch(value: object, hint: Any, where: str = "") -> str:
    """Where a value made of JSON is not what an annotation says, or an empty string: ``cells[3].seed is null, expected
    a whole number``.

    Known are None, bool, int, float (finite), str, Literal, unions, ``Mapping[str, …]``, lists and tuples, TypedDicts
    (further keys are allowed), and dataclasses, whose fields with a default may be left out; one that is made already
    was held to its annotation then.
    """
    return _check_of(hint)(value, where)


Check = Callable[[Any, str], str]


@cache
def _check_of(hint: Any) -> Check:
    """``mismatch`` of one annotation, which is taken apart once: a folder may have a hundred thousand rows."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if hint is Any or hint is object:
        return lambda _, __: ""
    if origin in (typing.Union, types.UnionType):
        return _check_union([_check_of(option) for option in arguments])
    if origin is Literal:
        return lambda value, where: (
            "" if value in arguments else _unmet(where, value, f"one of {', '.join(map(str, arguments))}")
        )
    if dataclasses.is_dataclass(hint) or typing.is_typeddict(hint):
        return _check_fields(hint)
    if origin is not None and issubclass(origin, Mapping):
        return _check_mapping(arguments[1])
    if origin is not None and issubclass(origin, Sequence):
        fixed = origin is tuple and Ellipsis not in arguments
        return _check_list([_check_of(kind) for kind in (arguments if fixed else arguments[:1])], fixed)
    return lambda value, where: "" if _is(value, hint) else _unmet(where, value, _SIMPLE[hint])


def _check_union(options: Sequence[Check]) -> Check:
    def check(value: object, where: str) -> str:
        found = []
        for option in options:
            found.append(option(value, where))
            if not found[-1]:
                return ""
        return max(found, key=len)

    return check


def _check_mapping(of: Any) -> Check:
    of_key = _check_of(str)

    def check(value: object, where: str) -> str:
        if not isinstance(value, dict):
            return _unmet(where, value, "an object")
        check_one = _check_of(of)  # not before: an annotation may name itself
        for key, one in value.items():
            if of_key(key, "") or check_one(one, ""):  # where it is, is put together only where something is wrong
                return of_key(key, f"a key of {where or 'it'}") or check_one(one, _at(where, key))
        return ""

    return check


def _check_list(kinds: Sequence[Check], fixed: bool) -> Check:
    def check(value: object, where: str) -> str:
        if not isinstance(value, list):
            return _unmet(where, value, "a list")
        if fixed and len(kinds) != len(value):
            return _unmet(where, value, f"a list of {len(kinds)}")
        for place, one in enumerate(value):
            kind = kinds[place] if fixed else kinds[0]
            if kind(one, ""):
                return kind(one, f"{where}[{place}]")
        return ""

    return check


def _check_fields(kind: Any) -> Check:
    def check(value: object, where: str) -> str:
        if not isinstance(value, dict):
            made = not typing.is_typeddict(kind) and isinstance(value, kind)
            return "" if made else _unmet(where, value, "an object")
        checks, required, closed = _fields(kind)
        for name in required:
            if name not in value:
                return f"{_at(where, name)} is missing"
        for name, one in value.items():
            if name not in checks:
                if closed:
                    return f"{_at(where, name)} is not known"
            elif checks[name](one, ""):
                return checks[name](one, _at(where, name))
        return ""

    return check


_SIMPLE: Mapping[Any, str] = {
    type(None): "null",
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    str: "text",
}


def _is(value: object, kind: Any) -> bool:
    if kind is str:
        return isinstance(value, str) and (value.isascii() or not _SURROGATE.search(value))
    if kind in (int, float):
        wanted = int if kind is int else (int, float)
        typed = isinstance(value, wanted) and not isinstance(value, bool)
        return typed and (math.isfinite(value) if isinstance(value, float) else abs(value) < LARGEST)  # type: ignore[arg-type]
    return isinstance(value, kind)


@cache
def _fields(kind: Any) -> tuple[Mapping[str, Check], Sequence[str], bool]:
    """Checks of all fields, the fields that have to be there, and whether there may be no others."""
    hints = typing.get_type_hints(kind)
    if typing.is_typeddict(kind):
        return {name: _check_of(hint) for name, hint in hints.items()}, sorted(kind.__required_keys__), False
    fields = dataclasses.fields(kind)
    given = [
        field.name
        for field in fields
        if field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
    ]
    return {field.name: _check_of(hints[field.name]) for field in fields}, given, True


def _at(where: str, name: object) -> str:
    return f"{where}.{name}" if where else str(name)


def _unmet(where: str, value: object, expected: str) -> str:
    shown = "null" if value is None else json.dumps(value, default=str)
    return f"{where or 'it'} is {shown if len(shown) <= 40 else shown[:40] + '…'}, expected {expected}"


def _no_number(text: str) -> None:
    raise ValueError(f"{text} is no number")


_MAY_BE_INFINITE = re.compile(r"[eE]\+?\d{3}")  # Python reads 1e999 as infinity.


def _finite(text: str) -> float:
    if not math.isfinite(float(text)):
        _no_number(text)
    return float(text)


def read_array(path: Path, *, mapped: bool = True) -> NDArray[Any]:
    """One array of a ``.npy`` file, memory-mapped unless it is empty or that is not wanted; never pickled objects.

    Not ``numpy.load``, which hands the header to Python's parser: in two threads at once that one fails now and then
    (SystemError, cpython gh-106905), and a fit was lost.
    """
    import numpy as np

    try:
        regular(path)
        with path.open("rb") as file:
            shape, fortran_order, dtype = npy_header(file)
            if dtype.hasobject:
                raise Unreadable("it holds Python objects")
            begin, size = file.tell(), os.fstat(file.fileno()).st_size
            if (wanted := math.prod(shape) * dtype.itemsize) > size - begin:
                raise Unreadable(f"it is cut short: {size - begin} of {wanted} bytes")
            order: Literal["F", "C"] = "F" if fortran_order else "C"
            if mapped and 0 not in shape:
                return np.memmap(file, dtype, "r", begin, shape, order)
            return np.fromfile(file, dtype, math.prod(shape)).reshape(shape, order=order)
    except Unreadable:
        raise
    except OSError as error:
        raise Unreadable(why(error)) from None
    except (ValueError, TypeError, OverflowError, MemoryError) as error:
        raise Unreadable(first_line(error)) from None


LONGEST_HEADER = 1 << 16
_HEADER = re.compile(
    rb"\{\s*'descr'\s*:\s*(?:'(?P<dtype>[^'\\]{1,40})'|(?P<records>\[.*\]))\s*,\s*'fortran_order'\s*:\s*(?P<fortran>True|False)"
    rb"\s*,\s*'shape'\s*:\s*\((?P<shape>[0-9L,\s]*)\)\s*,?\s*\}\s*",
    re.DOTALL,
)


def npy_header(file: typing.IO[bytes]) -> tuple[tuple[int, ...], bool, Any]:
    """Shape, Fortran order and dtype of a ``.npy`` file that is read from its beginning; ValueError where there is no
    such header, or one whose keys do not stand in the order of their names, as every ``numpy.save`` writes them.

    The length that a header claims is looked at before it is read, for it may claim 4 GiB.
    """
    import numpy as np

    version = np.lib.format.read_magic(file)
    width = 2 if version == (1, 0) else 4
    length = file.read(width)
    size = int.from_bytes(length, "little")
    if len(length) != width or size > LONGEST_HEADER or len(head := file.read(size)) != size:
        raise Unreadable("its header is cut short or too long")
    found = _HEADER.fullmatch(head)
    if found is None:
        raise Unreadable("its header is damaged")
    if found["records"]:
        raise Unreadable("it holds records, not numbers")
    shape = tuple(int(text.rstrip(b"L")) for text in found["shape"].replace(b" ", b"").split(b",") if text)
    if not all(length < LARGEST for length in shape):
        raise Unreadable(f"its header is damaged (shape {shape})")
    return shape, found["fortran"] == b"True", np.dtype(found["dtype"].decode("latin-1"))


def table_columns(path: Path) -> tuple[str, ...]:
    """Names of the columns of a Parquet file."""
    with _parquet(path) as file:
        return tuple(file.schema_arrow.names)


def read_table(path: Path, columns: Sequence[str] | None = None) -> pl.DataFrame:
    """A Parquet table, or some of its columns, which hold numbers, truth values, texts or times and nothing nested.

    Read with Arrow, which answers damage with an exception where polars panics, and looks at the checksums of pages
    where a file has them.
    """
    import polars as pl

    with _parquet(path) as file:
        schema = file.schema_arrow
        names = list(columns or schema.names)
        if len(set(schema.names)) < len(schema.names):
            raise Unreadable("two columns have one name")
        if absent := [name for name in names if name not in schema.names]:
            raise Unreadable(f"it has no column {', '.join(absent)}")
        for name in names:
            if not _is_plain(schema.field(name).type):
                raise Unreadable(f"column {name} holds {schema.field(name).type}")
        table = file.read(columns=names)
        table.validate(full=True)  # texts that are no UTF-8, codes of no category
        if any(len(column) != file.metadata.num_rows for column in table.columns):
            raise Unreadable("its columns are not as long as it says")
        return pl.DataFrame(pl.from_arrow(table)).select(names)


@contextmanager
def _parquet(path: Path) -> Iterator[Any]:
    """The file opened, and whatever Arrow says against it as ``Unreadable``."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        regular(path)
        with pq.ParquetFile(path, page_checksum_verification=True) as file:
            yield file
    except OSError as error:
        raise Unreadable(why(error)) from None
    except (pa.ArrowException, ValueError, TypeError, MemoryError, OverflowError) as error:
        raise error if isinstance(error, Unreadable) else Unreadable(first_line(error)) from None


def _is_plain(kind: Any) -> bool:
    from pyarrow import types as arrow

    inner = kind.value_type if arrow.is_dictionary(kind) else kind
    tests = (
        arrow.is_integer,
        arrow.is_floating,
        arrow.is_boolean,
        arrow.is_string,
        arrow.is_large_string,
        arrow.is_string_view,
        arrow.is_temporal,
    )
    return any(test(inner) for test in tests) or arrow.is_null(inner) or arrow.is_decimal(inner)


def table_bytes(table: pl.DataFrame) -> bytes:
    """The table as Parquet whose pages have checksums, so that a flipped bit is damage and not another number."""
    import io

    import pyarrow.parquet as pq

    buffer = io.BytesIO()
    pq.write_table(table.to_arrow(), buffer, compression="zstd", write_page_checksum=True, store_schema=False)
    return buffer.getvalue()


def first_line(error: BaseException) -> str:
    """What an exception says, in one line."""
    return next(iter(str(error).strip().splitlines()), "") or type(error).__name__


def regular(path: Path) -> None:
    """Unreadable unless it is a file: a FIFO in its place would be waited for, for ever."""
    if not stat.S_ISREG(path.stat().st_mode):
        raise Unreadable("it is not a regular file")
