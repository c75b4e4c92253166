"""5-tuples of label files in the form in which flows have them: endpoints in canonical order, protocol and ports in one
word."""

import polars as pl

from datasets_registry.capture.addresses import parse_address

KEY_COLUMNS = ("a_high", "a_low", "b_high", "b_low", "rest")  # A 5-tuple as in ``capture.sessions.Sessions``.

WITH_PORTS = (6, 17, 33, 132, 136)


def addresses(texts: pl.Series) -> pl.DataFrame:
    """version (Int64), high, low (UInt64) of each address, every distinct text parsed once; null where a text is
    none."""
    distinct = texts.unique(maintain_order=True)
    columns = {"text": pl.String, "version": pl.Int64, "high": pl.UInt64, "low": pl.UInt64}
    table = pl.DataFrame([(text, *_parsed(text)) for text in distinct], schema=columns, orient="row")
    return texts.to_frame("text").join(table, on="text", how="left", maintain_order="left").drop("text")


def _parsed(text: str | None) -> tuple[int | None, int | None, int | None]:
    try:
        return parse_address(text or "")
    except ValueError:
        return None, None, None


def canonical_keys(source: pl.DataFrame, destination: pl.DataFrame, protocol: pl.Series) -> pl.DataFrame:
    """``KEY_COLUMNS`` of n rows.

    ``source``, ``destination``: version, high, low (see ``addresses``) and port (Int64); the ports of a protocol
    without ports are taken as 0.
    """
    ends = [
        end.rename({name: f"{side}_{name}" for name in end.columns})
        for side, end in (("src", source), ("dst", destination))
    ]
    frame = pl.concat([*ends, protocol.alias("protocol").to_frame()], how="horizontal").with_columns(
        pl.col("src_port", "dst_port") * pl.col("protocol").is_in(WITH_PORTS).cast(pl.Int64)
    )
    parts = ("high", "low", "port")
    src, dst = [f"src_{part}" for part in parts], [f"dst_{part}" for part in parts]
    swap = (
        (pl.col("dst_high") < pl.col("src_high"))
        | (pl.col("dst_high") == pl.col("src_high")) & (pl.col("dst_low") < pl.col("src_low"))
        | (pl.col("dst_high") == pl.col("src_high"))
        & (pl.col("dst_low") == pl.col("src_low"))
        & (pl.col("dst_port") < pl.col("src_port"))
    )

    def end(lower: bool, part: int) -> pl.Expr:
        return pl.when(swap == lower).then(pl.col(dst[part])).otherwise(pl.col(src[part]))

    ports = end(True, 2) * 65536 + end(False, 2)
    rest = (pl.col("src_version") * 256 + pl.col("protocol")) * 2**32 + ports
    return frame.select(
        a_high=end(True, 0), a_low=end(True, 1), b_high=end(False, 0), b_low=end(False, 1), rest=rest.cast(pl.UInt64)
    )
