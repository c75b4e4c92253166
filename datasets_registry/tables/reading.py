"""The rows of a CSV or Parquet table, block by block: numbers as numbers, and an account of every row that is left
out."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

import numpy as np
import polars as pl
from numpy.typing import NDArray

from datasets_registry.labelling.csv_text import check_csv_text
from datasets_registry.tables.layouts import DURATION_OF, PACKETS_OF, Places, TableLayout, places_in
from janus_bench.columns import FEATURE_INPUTS
from janus_bench.errors import DataError
from janus_bench.stored import first_line
from janus_bench.words import counted

BLOCK = 1 << 24  # Bytes of a CSV that are parsed at a time.
BATCH = 1 << 17  # Rows of a Parquet file that are.
LARGEST = 1e38  # What stored numbers can hold; NetFlow v2 datasets have rates of 1e300, from flows of no duration.
TIMES = ("%Y-%m-%d %H:%M:%S%.f", "%Y-%m-%dT%H:%M:%S%.f", "%Y-%m-%d %H:%M", "%d/%m/%Y %H:%M:%S%.f", "%d/%m/%Y %H:%M")
"""Times that are read, the day always before the month; and seconds or milliseconds since the epoch."""
YEARS = (-62_135_596_800, 253_402_300_799)  # Seconds of the years 1 to 9999; others are no times.
KINDS = (
    ("empty", pl.col("text").is_null() | (pl.col("text").str.strip_chars() == "")),
    ("NaN", pl.col("text").str.contains(r"(?i)^\s*[+-]?nan\s*$")),
    ("infinite", pl.col("text").str.contains(r"(?i)^\s*[+-]?inf(inity)?\s*$")),
    ("with thousands separators", pl.col("text").str.contains(r"^\s*[+-]?\d{1,3}([,' ]\d{3})+(\.\d*)?\s*$")),
)
"""Why a text is no finite number, the first that holds; else it is no number."""


@dataclass
class TableAccount:
    """What became of the rows of a file.

    left_out  reason → rows that are not used;  noted: what → rows that are used all the same
    faults    (column, kind) → rows, and the first of them in words
    """

    rows: int = 0
    left_out: Counter[str] = field(default_factory=Counter)
    noted: Counter[str] = field(default_factory=Counter)
    faults: dict[tuple[str, str], tuple[int, str]] = field(default_factory=dict)
    said: list[str] = field(default_factory=list)

    def fault(self, column: str, kind: str, count: int, example: str) -> None:
        before, first = self.faults.get((column, kind), (0, example))
        self.faults[column, kind] = before + count, first

    @property
    def used(self) -> int:
        return self.rows - sum(self.left_out.values())

    def lines(self, name: str) -> list[str]:
        """What to warn of, a line each."""
        reasons = {**self.left_out, **self.noted}
        listed = ", ".join(f"{count} {what.replace('_', ' ')}" for what, count in reasons.items() if count)
        lines = [f"{name}: of {self.rows} rows, {listed}"] if listed else []
        for (column, kind), (count, example) in self.faults.items():
            lines.append(f"{name}: {column}: {counted(count, 'row')} {kind}, such as {example}")
        return [*lines, *(f"{name}: {line}" for line in self.said)]


def read_table_rows(
    path: Path, layout: TableLayout, account: TableAccount, advance: Callable[[int], None]
) -> Iterator[tuple[pl.DataFrame, NDArray[np.float32]]]:
    """The usable rows of a file, in blocks: position (Int64, from 0), label, packets, duration (Float64) and, where the
    file has them, flag and roles; and the features, (rows, columns), finite, in the order of the layout's set.

    ``advance`` is told of bytes as they are read.  DataError where the file is not of the layout.
    """
    parquet = path.suffix.lower() == ".parquet"
    header = _parquet_header(path) if parquet else _csv_header(path)
    places = places_in(path, header, layout)
    account.said += places.said
    for raw, texts in (_parquet if parquet else _csv)(path, header, places, advance):
        yield _usable(raw, texts, header, places, layout, account)


Texts = Callable[[pl.Series], pl.DataFrame]
"""Positions in a block → the texts of these rows, columns ``c0``, ``c1``, …"""


def _usable(
    raw: pl.DataFrame, texts: Texts, header: Sequence[str], places: Places, layout: TableLayout, account: TableAccount
) -> tuple[pl.DataFrame, NDArray[np.float32]]:
    begin, features = account.rows, [f"f{number}" for number in range(len(places.features))]
    account.rows += raw.height
    frame, matrix = _as_stored(raw, places, texts=False), _matrix(raw, features)
    needed = frame.select("label", *places.roles)
    # False where there is a NaN, too; what is fine as it is needs no second look.
    beyond = not (matrix.max(initial=0.0) <= LARGEST and matrix.min(initial=0.0) >= -LARGEST)
    if beyond or sum(needed.null_count().row(0)):
        fine = _fine(frame, features, places)
        rows = (~fine).arg_true()
        written = texts(rows).select(pl.all().str.strip_chars())  # numbers with spaces around them are numbers
        again = written.select(rows.cast(pl.Int64).alias("position"), *_expressions(places, texts=True))
        again = _as_stored(again, places, texts=True)
        mended = _fine(again, features, places)
        _say_why(written.filter(~mended), rows.filter(~mended), begin, header, places, account)
        frame = pl.concat([frame.filter(fine), again.filter(mended)]).sort("position")
        _say_what_is_beyond(frame, features, begin, layout, account)
        frame = frame.with_columns(pl.col(features).clip(-LARGEST, LARGEST))
        matrix = _matrix(frame, features)
    names = FEATURE_INPUTS[layout.features]
    packets = [pl.col(f"f{names.index(name)}") for name in PACKETS_OF[layout.features]]
    duration, unit = DURATION_OF[layout.features]
    rows_of = frame.select(
        pl.col("position") + begin,
        pl.exclude("position", *features),
        packets=pl.sum_horizontal(packets),
        duration=pl.col(f"f{names.index(duration)}") * unit,
    )
    return rows_of, matrix


def _matrix(frame: pl.DataFrame, features: Sequence[str]) -> NDArray[np.float32]:
    matrix = frame.select(pl.col(features).cast(pl.Float32)).to_numpy(order="c", writable=True)
    matrix += 0.0  # There is one zero, also where ``-0`` was written.
    return matrix


def _say_what_is_beyond(
    frame: pl.DataFrame, features: Sequence[str], begin: int, layout: TableLayout, account: TableAccount
) -> None:
    names = FEATURE_INPUTS[layout.features]
    high = frame.select((pl.col(features).abs() > LARGEST).any()).row(0)
    for number in [number for number, one in enumerate(high) if one]:
        beyond = (frame[f"f{number}"].abs() > LARGEST).arg_true()
        account.noted["numbers_beyond_1e38"] += len(beyond)
        row = frame.row(int(beyond[0]), named=True)
        example = f"{row[f'f{number}']:g} (row {begin + row['position'] + 1})"
        account.fault(names[number], "beyond 1e38, stored as that", len(beyond), example)


def _as_stored(raw: pl.DataFrame, places: Places, *, texts: bool) -> pl.DataFrame:
    """With roles and labels as they are stored, null where they cannot be read."""
    label = pl.col("label").str.strip_chars().replace("", None)
    return raw.with_columns(*(_role(name, pl.col(name), text=texts) for name in places.roles), label=label)


def _fine(frame: pl.DataFrame, features: Sequence[str], places: Places) -> pl.Series:
    """(n,) Boolean: everything that is needed can be read."""
    finite = pl.col(features).is_finite().fill_null(False)
    return frame.select(pl.all_horizontal(finite, pl.col("label", *places.roles).is_not_null())).to_series()


def _is_number(role: str) -> bool:
    return role.endswith("_port") or role == "proto"


def _role(name: str, given: pl.Expr, *, text: bool) -> pl.Expr:
    """A role as it is stored, null where it cannot be read; a port is 0 where a protocol has none (empty, ``-``).

    ``text``: numbers are given as the text that they were written as, too, which tells a port that is not there from
    one that cannot be read; otherwise such rows are null and have to be given again.
    """
    high, kind = (65535, pl.UInt16) if name.endswith("_port") else (255, pl.UInt8)
    if _is_number(name) and not text:
        return pl.when(given.is_between(0, high)).then(given).cast(kind).alias(name)
    text_of = given.str.strip_chars()
    if name == "time":
        return text_of.map_batches(_seconds, pl.Float64).alias(name)
    if name.endswith("_ip"):
        return text_of.replace("", None).alias(name)
    number = text_of.cast(pl.Float64, strict=False)
    none = text_of.is_null() | text_of.is_in(["", "-"])
    inside = pl.when(number.is_between(0, high)).then(number)
    return pl.when(none).then(0.0 if name.endswith("_port") else None).otherwise(inside).cast(kind).alias(name)


def _seconds(texts: pl.Series) -> pl.Series:
    """Times in seconds since the epoch, null where they cannot be read.

    No text is a time in two forms, so that the order in which they are tried decides about speed alone: the first text
    shows which is likely.
    """
    number = texts.cast(pl.Float64, strict=False).to_frame("time")
    seconds = pl.when(pl.col("time") > 1e11).then(pl.col("time") / 1e3).otherwise("time")
    found = number.select(pl.when(seconds.is_between(*YEARS)).then(seconds)).to_series()
    first = texts.drop_nulls().head(1)
    for form in sorted(TIMES, key=lambda form: _in_form(first, form).null_count()):
        if not found.null_count():
            break
        found = found.fill_null(_in_form(texts, form))
    return found


def _in_form(texts: pl.Series, form: str) -> pl.Series:
    return texts.str.to_datetime(form, strict=False, time_unit="us").dt.epoch("us") / 1e6


def _say_why(
    texts: pl.DataFrame,
    rows: pl.Series,
    begin: int,
    header: Sequence[str],
    places: Places,
    account: TableAccount,
) -> None:
    """Count the rows that cannot be used by what is wrong with them; ``texts``: theirs, at the places ``rows``."""
    label = pl.col(f"c{places.label}").str.strip_chars()
    repeated = texts.select((label == header[places.label].strip()).fill_null(False)).to_series()
    account.left_out["repeated_headers"] += int(repeated.sum())
    texts, rows = texts.filter(~repeated), rows.filter(~repeated)
    account.left_out["bad_rows"] += texts.height
    for place in dict.fromkeys((*places.features, places.label, *places.roles.values())):
        column = texts[f"c{place}"].rename("text").to_frame()
        if place == places.label:
            wrong = column.select(KINDS[0][1]).to_series()
        elif place in places.features:
            number = column["text"].cast(pl.Float64, strict=False)
            wrong = ~number.is_finite().fill_null(False)
        else:
            role = next(name for name, there in places.roles.items() if there == place)
            wrong = column.select(_role(role, pl.col("text"), text=True)).to_series().is_null()
        kinds = column.select(
            pl.coalesce(*(pl.when(test).then(pl.lit(kind)) for kind, test in KINDS), pl.lit("unreadable"))
        ).to_series()
        for kind in kinds.filter(wrong).unique(maintain_order=True):
            these = (wrong & (kinds == kind)).arg_true()
            shown = column["text"][int(these[0])]
            example = f"{shown!r} (row {begin + int(rows[int(these[0])]) + 1})"
            account.fault(header[place].strip(), kind, len(these), example)


def _expressions(places: Places, *, texts: bool) -> list[pl.Expr]:
    """Columns ``c…`` of a block as ``read_table_rows`` names them; ``texts``: roles that are numbers as text, too."""
    named = {"label": places.label, **({"flag": places.flag} if places.flag >= 0 else {}), **places.roles}
    return [
        *(_number(place, f"f{number}") for number, place in enumerate(places.features)),
        *(
            _number(place, name) if _is_number(name) and not texts else pl.col(f"c{place}").cast(pl.String).alias(name)
            for name, place in named.items()
        ),
    ]


def _number(place: int, name: str) -> pl.Expr:
    return pl.col(f"c{place}").cast(pl.Float64, strict=False).alias(name)


# -- CSV -----------------------------------------------------------------------------------------------------------


def _csv_header(path: Path) -> list[str]:
    check_csv_text(path, lossy=True)
    with path.open("rb") as file:
        first = file.readline().decode("utf-8-sig", errors="replace")
    names = next(csv.reader([first.rstrip("\r\n")]), [])
    if len(names) < 2:
        raise DataError(f"{path}: its first line is no header of a table with commas between its columns")
    return names


def _csv(
    path: Path, header: Sequence[str], places: Places, advance: Callable[[int], None]
) -> Iterator[tuple[pl.DataFrame, Texts]]:
    numbers = {place for role, place in places.roles.items() if _is_number(role)}
    words = {places.label, places.flag, *places.roles.values()} - numbers
    # Whole numbers are parsed faster than fractions: a column is taken for them until one of its numbers is none.
    whole = {f"c{place}" for place in numbers.union(places.features) - words}
    types: dict[str, type[pl.DataType]] = {f"c{place}": pl.String for place in range(len(header))}
    types.update(dict.fromkeys(whole, pl.Int64))
    with path.open("rb") as file:
        advance(len(file.readline()))
        while block := _lines(file, BLOCK):
            frame = _parsed(path, block, types)
            if fractions := [name for name in whole if frame[name].null_count()]:
                whole.difference_update(fractions)
                types.update(dict.fromkeys(fractions, pl.Float64))
                frame = _parsed(path, block, types)
            frame = frame.select("position", *_expressions(places, texts=False))

            def texts(rows: pl.Series, block: bytes = block) -> pl.DataFrame:
                return _parsed(path, block, dict.fromkeys(types, pl.String))[rows].drop("position")

            yield frame, texts
            advance(len(block))


def _lines(file: BinaryIO, size: int) -> bytes:
    """At least ``size`` bytes, up to the end of a line; read in one piece, which copies none."""
    begin = file.tell()
    file.seek(begin + size)
    file.readline()
    end = file.tell()
    file.seek(begin)
    return file.read(end - begin)


def _parsed(path: Path, block: bytes, types: Mapping[str, type[pl.DataType]]) -> pl.DataFrame:
    try:
        return (
            pl.scan_csv(
                block,
                has_header=False,
                schema=dict(types),
                encoding="utf8-lossy",
                truncate_ragged_lines=True,
                missing_columns="insert",
                ignore_errors=True,
                row_index_name="position",
            )
            .with_columns(pl.col("position").cast(pl.Int64))
            .collect()
        )
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException) as error:
        raise DataError(f"{path}: not a readable CSV ({first_line(error)})") from None


# -- Parquet -------------------------------------------------------------------------------------------------------


def _parquet_header(path: Path) -> list[str]:
    import pyarrow.parquet as pq

    try:
        return list(pq.read_schema(path).names)
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: not a readable Parquet file ({first_line(error)})") from None


def _parquet(
    path: Path, header: Sequence[str], places: Places, advance: Callable[[int], None]
) -> Iterator[tuple[pl.DataFrame, Texts]]:
    import pyarrow.parquet as pq

    used = sorted({*places.features, places.label, *places.roles.values(), *({places.flag} - {-1})})
    try:
        file = pq.ParquetFile(path)
        share = path.stat().st_size / max(file.metadata.num_rows, 1)
        for batch in file.iter_batches(BATCH, columns=[header[place] for place in used]):
            whole = pl.DataFrame(pl.from_arrow(batch))
            whole.columns = [f"c{place}" for place in used]
            frame = whole.with_row_index("position").select(
                pl.col("position").cast(pl.Int64), *_expressions(places, texts=False)
            )

            def texts(rows: pl.Series, whole: pl.DataFrame = whole) -> pl.DataFrame:
                return whole[rows].select(pl.all().cast(pl.String))

            yield frame, texts
            advance(int(share * whole.height))
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: not a readable Parquet file ({first_line(error)})") from None
