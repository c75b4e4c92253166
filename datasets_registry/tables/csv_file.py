"""The lines of a CSV table, block by block, as numbers and texts."""

from __future__ import annotations

import csv
import re
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import BinaryIO

import numpy as np
import polars as pl

from datasets_registry.labelling.csv_text import check_csv_text
from datasets_registry.tables.cells import Texts, is_number, named_columns
from datasets_registry.tables.layouts import Places
from janus_bench.errors import DataError

BLOCK = 1 << 24  # Bytes of a CSV that are parsed at a time.
QUOTED = re.compile(rb'(?:(?<=,)|^)"(?:[^"]|""){0,1000}"(?=,|\r?$)', re.MULTILINE)  # A cell in quotation marks.
QUOTED_LINE = re.compile(rb'(?:[^",\n]*|"(?:[^"]|"")*")(?:,(?:[^",\n]*|"(?:[^"]|"")*"))*\r?\n?')
"""A line of which every quotation mark is at an end of a cell, or written twice inside of one."""
NEAR = 2048  # Bytes in which such a cell is, wherever it begins.


def csv_header(path: Path) -> list[str]:
    check_csv_text(path, lossy=True)
    with path.open("rb") as file:
        first = file.readline().decode("utf-8-sig", errors="replace")
    if not first:
        raise DataError(f"{path}: is empty")
    try:
        names = next(csv.reader([first.rstrip("\r\n")]), [])
    except csv.Error:  # a name of more than 131 072 letters
        names = []
    if len(names) < 2:
        raise DataError(f"{path}: its first line is no header of a table with commas between its columns")
    return names


def csv_blocks(
    path: Path, header: Sequence[str], places: Places, advance: Callable[[int], None]
) -> Iterator[tuple[pl.DataFrame, Texts]]:
    numbers = {place for role, place in places.roles.items() if is_number(role)}
    words = {places.label, places.flag, *places.roles.values()} - numbers
    # Whole numbers are parsed faster than fractions: a column is taken for them until one of its numbers is none.
    whole = {f"c{place}" for place in numbers.union(places.features) - words}
    # One column more than the header has: in it is what a longer line goes on with.
    types: dict[str, type[pl.DataType]] = {f"c{place}": pl.String for place in range(len(header) + 1)}
    types.update(dict.fromkeys(whole, pl.Int64))
    with path.open("rb") as file:
        advance(len(file.readline()))
        while block := _lines(file, BLOCK):
            frame = _parsed(path, block, types)
            if fractions := [name for name in whole if frame[name].null_count()]:
                whole.difference_update(fractions)
                types.update(dict.fromkeys(fractions, pl.Float64))
                frame = _parsed(path, block, types)
            frame = frame.select("position", *named_columns(places, len(header), texts=False))

            def texts(rows: pl.Series, block: bytes = block) -> pl.DataFrame:
                return _parsed(path, block, dict.fromkeys(types, pl.String))[rows].drop("position")

            yield frame, texts
            advance(len(block))


def _lines(file: BinaryIO, size: int) -> bytes:
    """At least ``size`` bytes, up to the end of a line that no text in quotation marks goes beyond; read in one piece,
    which copies none."""
    begin = file.tell()
    file.seek(begin + size)
    file.readline()
    end = file.tell()
    file.seek(begin)
    block = file.read(end - begin)
    before, after = block[-NEAR:], file.read(NEAR)
    file.seek(end)
    for text in QUOTED.finditer(before + after):
        if text.start() < len(before) < text.end():
            block += file.read(text.end() - len(before)) + file.readline()
    return block


def _parsed(path: Path, block: bytes, types: Mapping[str, type[pl.DataType]]) -> pl.DataFrame:
    """The lines of a block, as many whatever the types."""
    if b'"' not in block:
        return _without_quotes(path, block, types)
    ends = _ends_of_lines(block)
    found = _scanned(block, types, quote='"')
    if found is not None and found.height == len(ends):
        return found
    # A mark that opens a text and is not closed takes what follows with it, so these lines are read apart.
    lines = [block[begin:end] for begin, end in pairwise([0, *ends])]
    stray = [b'"' in line and not QUOTED_LINE.fullmatch(line) for line in lines]
    well = [number for number, one in enumerate(stray) if not one]
    found = _scanned(b"".join(lines[number] for number in well), types, quote='"') if well else None
    if found is None or found.height != len(well):
        well, stray = [], [True] * len(lines)
    rest = [number for number, one in enumerate(stray) if one]
    alone = b"".join(b" ".join(lines[number].split(b"\n")).strip() + b"\n" for number in rest)
    parts = [(well, found)] if well and found is not None else []
    if rest:
        parts.append((rest, _without_quotes(path, alone, types)))
    return pl.concat(part.with_columns(position=pl.Series(at, dtype=pl.Int64)) for at, part in parts).sort("position")


def _without_quotes(path: Path, block: bytes, types: Mapping[str, type[pl.DataType]]) -> pl.DataFrame:
    found = _scanned(block, types, quote=None)
    if found is None:
        raise DataError(f"{path}: not a readable CSV")
    return found


def _ends_of_lines(block: bytes) -> list[int]:
    """Where each line ends, and the next begins: a line break between quotation marks around a whole cell is part of a
    text."""
    letters = np.frombuffer(block, np.uint8)
    ends = np.flatnonzero(letters == ord("\n")) + 1
    if not block.endswith(b"\n"):
        ends = np.append(ends, len(block))
    marks = np.searchsorted(np.flatnonzero(letters == ord('"')), ends)
    if (np.diff(marks, prepend=0) % 2).any():  # or all are closed in the line where they are opened
        texts = np.array([match.span() for match in QUOTED.finditer(block) if b"\n" in match[0]]).reshape(-1, 2)
        begun, ended = np.searchsorted(texts[:, 0], ends), np.searchsorted(texts[:, 1], ends, side="right")
        ends = ends[begun == ended]
    return [int(end) for end in ends]


def _scanned(block: bytes, types: Mapping[str, type[pl.DataType]], quote: str | None) -> pl.DataFrame | None:
    """As the parser understands it; None where it does not."""
    try:
        with warnings.catch_warnings():  # of a stray mark: what matters is how many lines were read
            warnings.simplefilter("ignore")
            return (
                pl.scan_csv(
                    block,
                    has_header=False,
                    schema=dict(types),
                    encoding="utf8-lossy",
                    quote_char=quote,
                    truncate_ragged_lines=True,
                    missing_columns="insert",
                    extra_columns="ignore",
                    ignore_errors=True,
                    row_index_name="position",
                )
                .with_columns(pl.col("position").cast(pl.Int64))
                .collect()
            )
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException):
        return None
