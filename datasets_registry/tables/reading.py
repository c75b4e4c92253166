"""The rows of a CSV or Parquet table, block by block: numbers as numbers, and an account of every row that is left
out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from datasets_registry.tables.cells import Texts, is_longer, named_columns, role_as_stored
from datasets_registry.tables.csv_file import csv_blocks, csv_header
from datasets_registry.tables.layouts import DURATION_OF, PACKETS_OF, Places, TableLayout, places_in
from datasets_registry.tables.parquet_file import parquet_blocks, parquet_header
from janus_bench.columns import FEATURE_INPUTS
from janus_bench.words import counted

LARGEST = 1e38  # What stored numbers can hold; NetFlow v2 datasets have rates of 1e300, from flows of no duration.
SHORT = 3  # Cells that a line lacks at its end, at least, where it is said to end early.
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
    header = parquet_header(path) if parquet else csv_header(path)
    places = places_in(path, header, layout)
    account.said += places.said
    for raw, texts in (parquet_blocks if parquet else csv_blocks)(path, header, places, advance):
        yield _usable(raw, texts, header, places, layout, account)


def _usable(
    raw: pl.DataFrame, texts: Texts, header: Sequence[str], places: Places, layout: TableLayout, account: TableAccount
) -> tuple[pl.DataFrame, NDArray[np.float32]]:
    begin, features = account.rows, [f"f{number}" for number in range(len(places.features))]
    account.rows += raw.height
    frame, matrix = _as_stored(raw, places, layout, texts=False), _matrix(raw, features)
    needed = frame.select("label", *places.roles)
    # False where there is a NaN, too; what is fine as it is needs no second look.
    beyond = not (matrix.max(initial=0.0) <= LARGEST and matrix.min(initial=0.0) >= -LARGEST)
    if beyond or sum(needed.null_count().row(0)) or not frame["whole"].all():
        fine = _fine(frame, features, places)
        rows = (~fine).arg_true()
        written = texts(rows).select(pl.all().str.strip_chars())  # numbers with spaces around them are numbers
        width = len(header) if f"c{len(header)}" in written.columns else None
        again = written.select(rows.cast(pl.Int64).alias("position"), *named_columns(places, width, texts=True))
        again = _as_stored(again, places, layout, texts=True)
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
        pl.exclude("position", "whole", *features),
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


def _as_stored(raw: pl.DataFrame, places: Places, layout: TableLayout, *, texts: bool) -> pl.DataFrame:
    """With roles and labels as they are stored, null where they cannot be read."""
    label = pl.col("label").str.strip_chars().replace("", None)
    return raw.with_columns(
        *(role_as_stored(name, pl.col(name), text=texts, afternoon=layout.afternoon) for name in places.roles),
        label=label,
    )


def _fine(frame: pl.DataFrame, features: Sequence[str], places: Places) -> pl.Series:
    """(n,) Boolean: everything that is needed can be read."""
    finite = pl.col(features).is_finite().fill_null(False)
    known = pl.col("label", *places.roles).is_not_null()
    return frame.select(pl.all_horizontal("whole", finite, known)).to_series()


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
    odd = pl.repeat(False, texts.height, dtype=pl.Boolean, eager=True)
    for kind, test in _of_lines(len(header), places, texts.columns).items():
        these = texts.select(test).to_series()
        if these.any():
            example = f"row {begin + int(rows[int(these.arg_max() or 0)]) + 1}"
            account.fault("its lines", kind, int(these.sum()), example)
            odd |= these
    texts, rows = texts.filter(~odd), rows.filter(~odd)
    for place in dict.fromkeys((*places.features, places.label, *places.roles.values())):
        column = texts[f"c{place}"].rename("text").to_frame()
        wrong = column.select(_cannot_be_read(place, places)).to_series()
        kinds = column.select(
            pl.coalesce(*(pl.when(test).then(pl.lit(kind)) for kind, test in KINDS), pl.lit(_unreadable(place, places)))
        ).to_series()
        for kind in kinds.filter(wrong).unique(maintain_order=True):
            these = (wrong & (kinds == kind)).arg_true()
            shown = column["text"][int(these[0])]
            example = f"{shown!r} (row {begin + int(rows[int(these[0])]) + 1})"
            account.fault(header[place].strip(), kind, len(these), example)


def _unreadable(place: int, places: Places) -> str:
    return "no time as docs/tables.md lists them" if place == places.roles.get("time") else "unreadable"


def _of_lines(width: int, places: Places, columns: Sequence[str]) -> dict[str, pl.Expr]:
    """What can be wrong with a line as a whole: there is no use in naming all its cells."""
    last = max((*places.features, places.label, *places.roles.values()))
    end = [f"c{place}" for place in range(min(last, max(width - SHORT, 0)), width)]
    found = {"with more cells than the header": is_longer(width)} if f"c{width}" in columns else {}
    if set(end) <= set(columns):  # of a Parquet file only what is used is read, and it has no lines
        found["that end early or are blank"] = pl.all_horizontal(pl.col(end).is_null())
    return found


def _cannot_be_read(place: int, places: Places) -> pl.Expr:
    """Of the texts of a column: as what it has to be, which may be several things."""
    text = pl.col("text")
    found = [KINDS[0][1]] if place == places.label else []
    if place in places.features:
        found.append(~text.cast(pl.Float64, strict=False).is_finite().fill_null(False))
    found += [role_as_stored(role, text, text=True).is_null() for role, there in places.roles.items() if there == place]
    return pl.any_horizontal(found)
