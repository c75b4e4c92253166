"""Captures of one site laid over each other: what an attack looks like in the middle of the traffic of its own network.

Benign and attack traffic are often recorded apart, and then a flow's neighbours tell which capture it is of.  Under an
overlay every test capture of a site begins at a drawn moment of one common clock, and flows see the neighbours that
they would have had.  Addresses and the gaps inside a capture stay as they are.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import polars as pl

    from datasets_registry.store import FlowStore
    from protocols.flow_index import FlowIndex

Ids = NDArray[np.int64]
Floats = NDArray[np.float64]

OVERLAY_DRAW = crc32(b"overlay")  # Sets these draws apart from others of the same seed.
TICK = 2.0**-20
"""Seconds of which every offset is a multiple: times since the epoch have steps of 2⁻²², so that nothing is rounded and
the gaps of a capture are the same to the last bit."""


@dataclass(frozen=True)
class Shift:
    """Where a capture lies: ``site``, a number; its first flow, which starts at ``first`` (s since the epoch), starts
    ``offset`` seconds after the site's clock began."""

    site: int
    first: float
    offset: float


Overlay = Mapping[str, Shift]


def lay_over(store: FlowStore, index: FlowIndex, tested: Ids, seed: int) -> dict[str, Shift]:
    """Capture (file) → place, of those that hold flows of ``tested`` (m,).

    Of d seconds between its first and its last start, where the longest of its site has D, a capture is given an offset
    that is uniform in [0, D − d] and drawn from the data, the seed and its name.  A capture is of the site of most of
    its flows; where a dataset names none, it is one site.
    """
    import polars as pl

    flows = store.labels(["file"]).with_columns(
        pl.Series("start", index.start),
        pl.Series("site", index.site),
        pl.Series("tested", np.isin(np.arange(len(index.start)), tested)),
    )
    captures = (
        flows.group_by("file")
        .agg(
            pl.col("tested").any(),
            pl.col("site").mode().min(),
            first=pl.col("start").min(),
            length=pl.col("start").max() - pl.col("start").min(),
        )
        .filter("tested")
        .with_columns(room=pl.col("length").max().over("site") - pl.col("length"))
    )
    return {
        row["file"]: Shift(row["site"], row["first"], _offset(row["file"], row["room"], index.salt, seed))
        for row in captures.sort("file").iter_rows(named=True)
    }


def _offset(capture: str, room: float, salt: int, seed: int) -> float:
    drawn = np.random.default_rng([seed, salt, OVERLAY_DRAW, crc32(capture.encode())]).random()
    return math.floor(drawn * room / TICK) * TICK


def laid_over(files: pl.Series, times: tuple[Floats, ...], overlay: Overlay) -> tuple[tuple[Floats, ...], pl.Series]:
    """``times`` (n,) each, of the flows of ``files`` (n,), on the clock of their site where their capture has a place;
    and ``files``, where all captures that lie over each other have one name."""
    import polars as pl

    def of(values: Mapping[str, float]) -> Floats:
        return files.replace_strict(values, default=0.0, return_dtype=pl.Float64).to_numpy()

    first = of({name: place.first for name, place in overlay.items()})
    offset = of({name: place.offset for name, place in overlay.items()})
    of_site: dict[int, str] = {}
    one = {name: of_site.setdefault(place.site, name) for name, place in overlay.items()}
    return tuple((time - first) + offset for time in times), files.replace(one)
