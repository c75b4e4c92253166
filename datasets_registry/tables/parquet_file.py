"""The rows of a Parquet table, block by block, as numbers and texts."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import polars as pl

from datasets_registry.tables.cells import Texts, named_columns
from datasets_registry.tables.layouts import Places
from janus_bench.errors import DataError
from janus_bench.stored import first_line

BATCH = 1 << 17  # Rows of a Parquet file that are.


def parquet_header(path: Path) -> list[str]:
    import pyarrow.parquet as pq

    try:
        return list(pq.read_schema(path).names)
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: not a readable Parquet file ({first_line(error)})") from None


def parquet_blocks(
    path: Path, header: Sequence[str], places: Places, advance: Callable[[int], None]
) -> Iterator[tuple[pl.DataFrame, Texts]]:
    import pyarrow.parquet as pq

    used = sorted({*places.features, places.label, *places.roles.values(), *({places.flag} - {-1})})
    try:
        file = pq.ParquetFile(path)
        share = path.stat().st_size / max(file.metadata.num_rows, 1)
        for batch in file.iter_batches(BATCH, columns=[header[place] for place in used]):
            # Of columns with one name the first counts.
            found = {
                place: pl.Series(pl.from_arrow(batch.column(batch.schema.names.index(header[place])))) for place in used
            }
            whole = pl.DataFrame({f"c{place}": _plain(path, header[place], column) for place, column in found.items()})
            frame = whole.with_row_index("position").select(
                pl.col("position").cast(pl.Int64), *named_columns(places, None, texts=False)
            )

            def texts(rows: pl.Series, whole: pl.DataFrame = whole) -> pl.DataFrame:
                return whole[rows].select(pl.all().cast(pl.String))

            yield frame, texts
            advance(int(share * whole.height))
    except (OSError, ValueError, pl.exceptions.PolarsError, pl.exceptions.PanicException) as error:
        raise DataError(f"{path}: not a readable Parquet file ({first_line(error)})") from None


def _plain(path: Path, name: str, column: pl.Series) -> pl.Series:
    """A column as numbers or texts, a time as seconds since the epoch; DataError where it is neither."""
    kind = column.dtype
    if kind.is_temporal() and kind not in (pl.Duration, pl.Time):
        return column.cast(pl.Datetime("us")).dt.epoch("us") / 1e6
    if kind in (pl.Categorical, pl.Enum):
        return column.cast(pl.String)
    if not (kind.is_numeric() or kind in (pl.String, pl.Boolean, pl.Null)):
        raise DataError(f"{path}: column {name!r} holds {kind}: make numbers or texts of it")
    return column
