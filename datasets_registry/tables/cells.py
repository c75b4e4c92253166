"""What the cells of a table mean: numbers, addresses, ports, times.  Columns of a block are ``c0``, ``c1``, … by their
places in the header."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import numpy as np
import polars as pl

from datasets_registry.tables.layouts import Places

TIMES = ("%Y-%m-%d %H:%M:%S%.f", "%Y-%m-%dT%H:%M:%S%.f", "%Y-%m-%d %H:%M", "%d/%m/%Y %H:%M:%S%.f", "%d/%m/%Y %H:%M")
"""Times that are read, the day always before the month; and seconds or milliseconds since the epoch."""
YEARS = (0, 1e11)
"""Seconds of the years 1970 to 5138.  Others are no times: a year of two digits would be one of antiquity, and higher
numbers are milliseconds."""

Texts = Callable[[pl.Series], pl.DataFrame]
"""Positions in a block → the texts of these rows, columns ``c0``, ``c1``, …"""


def named_columns(places: Places, width: int | None, *, texts: bool) -> list[pl.Expr]:
    """Columns ``c…`` of a block as ``read_table_rows`` names them; ``texts``: roles that are numbers as text, too.

    width  that of the header, where a line may be longer; ``whole``: it is not
    """
    named = {"label": places.label, **({"flag": places.flag} if places.flag >= 0 else {}), **places.roles}
    whole = pl.lit(True) if width is None else ~is_longer(width)
    return [
        whole.alias("whole"),
        *(_number(place, f"f{number}") for number, place in enumerate(places.features)),
        *(
            _number(place, name) if is_number(name) and not texts else pl.col(f"c{place}").cast(pl.String).alias(name)
            for name, place in named.items()
        ),
    ]


def _number(place: int, name: str) -> pl.Expr:
    return pl.col(f"c{place}").cast(pl.Float64, strict=False).alias(name)


def is_number(role: str) -> bool:
    return role.endswith("_port") or role == "proto"


def role_as_stored(name: str, given: pl.Expr, *, text: bool, afternoon: Sequence[int] = ()) -> pl.Expr:
    """A role as it is stored, null where it cannot be read; a port is 0 where a protocol has none (empty, ``-``).

    ``text``: numbers are given as the text that they were written as, too, which tells a port that is not there from
    one that cannot be read; otherwise such rows are null and have to be given again.  ``afternoon``: see
    ``TableLayout``.
    """
    kind = pl.UInt16 if name.endswith("_port") else pl.UInt8
    if is_number(name) and not text:
        return pl.when(given.cast(kind, strict=False) == given).then(given).cast(kind).alias(name)
    text_of = given.str.strip_chars()
    if name == "time":
        return text_of.map_batches(partial(_seconds, afternoon=afternoon), pl.Float64).alias(name)
    if name.endswith("_ip"):
        return text_of.replace("", None).alias(name)
    number = text_of.cast(pl.Float64, strict=False)
    none = text_of.is_null() | text_of.is_in(["", "-"])
    inside = pl.when(number.cast(kind, strict=False) == number).then(number)
    return pl.when(none).then(0.0 if name.endswith("_port") else None).otherwise(inside).cast(kind).alias(name)


def is_longer(width: int) -> pl.Expr:
    """There is something in the first cell beyond the header: what stands before it may be anywhere."""
    return (pl.col(f"c{width}").str.strip_chars() != "").fill_null(False)


def _seconds(texts: pl.Series, afternoon: Sequence[int]) -> pl.Series:
    """Times in seconds since the epoch, null where they cannot be read.

    No text is a time in two forms, so that the order in which they are tried decides about speed alone: the first text
    shows which is likely.
    """
    number = texts.cast(pl.Float64, strict=False).to_numpy()
    # by numpy, which divides: polars multiplies by a thousandth where there are many numbers
    seconds = pl.Series("time", np.where(number > YEARS[1], number / 1e3, number), pl.Float64)
    found = seconds.set(~seconds.is_between(*YEARS).fill_null(False), None)
    first = texts.drop_nulls().head(1)
    for form in sorted(TIMES, key=lambda form: _in_form(first, form).null_count()):
        if not found.null_count():
            break
        found = found.fill_null(_in_form(texts, form, afternoon))
    if found.null_count():  # with a zone, which is added up
        zoned = texts.str.replace(r"\s*(Z|UTC|[+-]\d\d:?\d\d)$", " $1").str.replace(r" (Z|UTC)$", " +00:00")
        for form in TIMES:
            found = found.fill_null(_in_form(zoned, f"{form} %z"))
    return found


def _in_form(texts: pl.Series, form: str, afternoon: Sequence[int] = ()) -> pl.Series:
    """Hours of the ``afternoon`` are twelve later where the day is first."""
    times = texts.str.to_datetime(form, strict=False, time_unit="us")
    seconds = times.dt.epoch("us") / 1e6
    if afternoon and form.startswith("%d"):
        seconds += 43_200 * times.dt.hour().is_in(list(afternoon)).cast(pl.Float64)
    return seconds.set(~seconds.is_between(*YEARS).fill_null(True), None)
