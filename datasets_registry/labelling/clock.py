"""How far the clock of a label file is from that of the captures."""

from dataclasses import dataclass

import polars as pl

from datasets_registry.labelling.times import NS

SHOWN = 4


@dataclass(frozen=True)
class Clock:
    """(start of the label − first packet) over the shared 5-tuples, one vote each.

    offsets  (offset in s, share of the votes), the most frequent first
    """

    votes: int
    offsets: tuple[tuple[int, float], ...]

    def __str__(self) -> str:
        return ", ".join(f"{offset:+d} s in {share:.1%}" for offset, share in self.offsets[:SHOWN])


def read_clock(rows: pl.DataFrame, flows: pl.DataFrame) -> Clock:
    """``rows``: session, start, precision; ``flows``: session, first (see ``overlap``).

    Of each 5-tuple, its first row against its first flow: the n-th of them need not belong together, because a meter
    cuts flows by its own rules. Offsets are counted in steps of a second, or of the labels' precision where that is
    coarser.
    """
    first_rows = (
        rows.filter(pl.col("session").is_not_null()).sort("start").unique("session", keep="first", maintain_order=True)
    )
    pairs = first_rows.join(flows.group_by("session").agg(pl.col("first").min()), on="session")
    step = pl.max_horizontal(pl.col("precision"), NS)
    # A time written to the minute lies half a minute before the middle of what it may mean: (−1, 0] minutes from the
    # packet's own time are 0.
    offset = pl.col("start") + pl.col("precision") // 2 - pl.col("first")
    seconds = pairs.select(offset=(offset + step // 2 - 1).floordiv(step) * (step // NS))["offset"]
    counts = seconds.value_counts().sort("count", pl.col("offset").abs(), "offset", descending=[True, False, False])
    return Clock(pairs.height, tuple((offset, count / pairs.height) for offset, count in counts.iter_rows()))
