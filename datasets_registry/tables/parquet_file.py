"""The rows of a Parquet table, block by block, as numbers and texts."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import polars as pl

from datasets_registry.tables.cells import YEARS, Texts, named_columns
from datasets_registry.tables.layouts import Places
from janus_bench.errors import DataError
from janus_bench.stored import first_line

if TYPE_CHECKING:
    import pyarrow as pa

TICKS = {"s": 1.0, "ms": 1e3, "us": 1e6, "ns": 1e9}
BATCH = 1 << 17  # Rows of a Parquet file that are.


def parquet_header(path: Path) -> list[str]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        return list(pq.read_schema(path).names)
    except (OSError, ValueError, pa.ArrowException) as error:
        raise DataError(f"{path}: not a readable Parquet file ({first_line(error)})") from None


def parquet_blocks(
    path: Path, header: Sequence[str], places: Places, advance: Callable[[int], None]
) -> Iterator[tuple[pl.DataFrame, Texts]]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    used = sorted({*places.features, places.label, *places.roles.values(), *({places.flag} - {-1})})
    try:
        file = pq.ParquetFile(path)
        share = path.stat().st_size / max(file.metadata.num_rows, 1)
        for batch in file.iter_batches(BATCH, columns=[header[place] for place in used]):
            # Of columns with one name the first counts.
            found = {place: batch.column(batch.schema.names.index(header[place])) for place in used}
            at = places.roles.get("time")
            whole = pl.DataFrame(
                {f"c{place}": _plain(path, header[place], column, place == at) for place, column in found.items()}
            )
            frame = whole.with_row_index("position").select(
                pl.col("position").cast(pl.Int64), *named_columns(places, None, texts=False)
            )

            def texts(rows: pl.Series, whole: pl.DataFrame = whole) -> pl.DataFrame:
                return whole[rows].select(pl.all().cast(pl.String))

            yield frame, texts
            advance(int(share * whole.height))
    except (OSError, ValueError, pa.ArrowException, pl.exceptions.PolarsError) as error:
        raise DataError(f"{path}: not a readable Parquet file ({first_line(error)})") from None


def _plain(path: Path, name: str, column: pa.Array, is_time: bool) -> pl.Series:
    """A column as numbers or texts, a time as seconds since the epoch; DataError where it is neither.

    Looked at as Arrow has it: what polars does not know ends its process.
    """
    import pyarrow as pa

    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    kind = column.type
    if is_time and pa.types.is_date(kind):
        column = column.cast(pa.timestamp("s"))
    if is_time and pa.types.is_timestamp(column.type):  # in UTC, whatever its zone
        ticks = pl.Series(pl.from_arrow(column.cast(pa.int64()))).cast(pl.Float64).to_numpy()
        seconds = pl.Series(ticks / TICKS[column.type.unit]).fill_nan(None)
        return seconds.set(~seconds.is_between(*YEARS).fill_null(True), None)
    known = (pa.types.is_integer, pa.types.is_floating, pa.types.is_decimal128, pa.types.is_boolean, pa.types.is_null)
    texts = (pa.types.is_string, pa.types.is_large_string, pa.types.is_string_view)
    if not any(test(kind) for test in known + texts):
        raise DataError(f"{path}: column {name!r} holds {kind}: make numbers or texts of it")
    if any(test(kind) for test in texts):
        column.validate(full=True)  # texts that are no UTF-8
    return pl.Series(pl.from_arrow(column))
