"""Timestamps of a label file → nanoseconds since the epoch, and the precision that their format has."""

from __future__ import annotations

from typing import TYPE_CHECKING

import polars as pl

if TYPE_CHECKING:
    from collections.abc import Callable

NS = 1_000_000_000
LATEST = 9_000_000_000  # s: int64 nanoseconds end in the year 2262
FINEST = 1000  # µs: labels are not asked to be more exact than that

_EPOCH = r"^\s*(\d{1,10})(?:\.(\d*))?\s*$"
_ISO = r"^\s*(\d{4}-\d{2}-\d{2})[T ](\d{2}:\d{2})(?::(\d{2})(?:\.(\d*))?)?\s*(?:Z|\+00:?00)?\s*$"


def parse_times(texts: pl.Series, fail: Callable[[int, str], Exception]) -> tuple[pl.Series, int]:
    """(n,) Int64 ns since the epoch (null where the text is null) and the precision in ns of the whole column.

    Accepted: seconds since the epoch with any number of decimals, and ``YYYY-MM-DD HH:MM[:SS[.ffffff]]`` in UTC.  The
    precision is that of the most exact value (writers drop trailing zeros): a minute, a second, or a power of ten down
    to 1 µs.  For a text that is neither, raises ``fail(row, text)``.
    """
    epoch = pl.col("text").str.extract(_EPOCH, 1).cast(pl.Int64)
    iso = pl.concat_str([pl.col("text").str.extract(_ISO, 1), pl.lit(" "), pl.col("text").str.extract(_ISO, 2)])
    iso_minute = iso.str.to_datetime("%Y-%m-%d %H:%M", strict=False, time_unit="ms").dt.epoch("s")
    iso_second = pl.col("text").str.extract(_ISO, 3)
    digits = pl.coalesce(pl.col("text").str.extract(_EPOCH, 2), pl.col("text").str.extract(_ISO, 4), pl.lit(""))
    frame = texts.to_frame("text").select(
        "text",
        seconds=pl.coalesce(epoch, iso_minute + iso_second.cast(pl.Int64).fill_null(0)),
        fraction=digits.str.slice(0, 9).str.pad_end(9, "0").cast(pl.Int64),
        decimals=digits.str.len_bytes(),
        to_the_minute=iso.is_not_null() & iso_second.is_null(),
    )
    possible = pl.col("seconds").is_between(0, LATEST).fill_null(False)
    wrong = frame.with_row_index("row").filter(pl.col("text").is_not_null() & ~possible)
    if wrong.height:
        raise fail(wrong["row"][0], wrong["text"][0])
    known = frame.filter(pl.col("seconds").is_not_null())
    decimals = known.select(pl.col("decimals").max()).item() or 0
    precision = 60 * NS if known.height and known["to_the_minute"].all() else max(NS // 10**decimals, FINEST)
    return (frame["seconds"] * NS + frame["fraction"]).rename(texts.name), precision
