"""Why a flow stands out, in words: the features, and of several score columns those, that lie furthest out among the
calibration flows."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from janus_bench.columns import FLOW_FEATURES, PACKET_CHANNELS

REASONS = 3

Matrix = NDArray[np.float64]


class Reasons:
    """Calibration flows' features (n, 20) and score columns (n, k), each column sorted by itself."""

    def __init__(self, features: Matrix, columns: Matrix, names: Sequence[str]) -> None:
        self._features = np.sort(features, axis=0)
        self._columns = np.sort(columns, axis=0) if len(names) > 1 else None
        self._names = names

    def of(self, features: Matrix, columns: Matrix) -> list[list[str]]:
        """For each of m flows its reasons, the strongest first; features (m, 20), columns (m, k)."""
        # as they are kept: rounded otherwise, a value would lie beside its equals
        found = _furthest(features.astype(self._features.dtype), self._features, FLOW_FEATURES, _in_units)
        if self._columns is not None:
            scores = _furthest(columns, self._columns, [_of_channel(name) for name in self._names], _plain)
            found = [mine + more for mine, more in zip(found, scores, strict=True)]
        return found


def _furthest(
    values: Matrix, known: Matrix, names: Sequence[str], shown: Callable[[str, float], str]
) -> list[list[str]]:
    """The columns of each row whose value has the fewest calibration flows at it or beyond; of equals, the one that is
    furthest beyond, in quartile distances."""
    n = len(known)
    below = np.column_stack([np.searchsorted(known[:, c], values[:, c], side="left") for c in range(len(names))])
    not_above = np.column_stack([np.searchsorted(known[:, c], values[:, c], side="right") for c in range(len(names))])
    tail = np.minimum(n - below, not_above)  # (m, k): calibration flows as far out, on its own side
    low, high = np.quantile(known, [0.25, 0.75], axis=0)
    spread = np.maximum(high - low, 1e-9)
    beyond = np.maximum(np.maximum(values - known[-1], known[0] - values), 0) / spread
    order = np.lexsort((-beyond, tail), axis=1)[:, :REASONS]
    return [
        [
            f"{names[c]} {shown(names[c], float(row[c]))}: "
            + (
                f"above {under[c] / n:.2%} of benign"
                if n - under[c] <= up_to[c]
                else f"below {1 - up_to[c] / n:.2%} of benign"
            )
            for c in chosen
        ]
        for row, under, up_to, chosen in zip(values, below, not_above, order, strict=True)
    ]


def _of_channel(name: str) -> str:
    """A score column that ends in ``_chN`` is that of packet channel N, which a person knows by its name."""
    channel = re.search(r"_ch(\d+)$", name)
    if channel is None or int(channel[1]) >= len(PACKET_CHANNELS):
        return name
    return f"{name} ({PACKET_CHANNELS[int(channel[1])]})"


def _plain(_name: str, value: float) -> str:
    return f"{value:.4g}"


def _in_units(name: str, value: float) -> str:
    """A feature as a person reads it: they are log1p of bytes, counts or µs, but for the ratio."""
    if name == "down_up_ratio":
        return f"{value:.2f}"
    value = float(np.expm1(value))
    if name.startswith(("bytes", "size")):
        return _scaled(value, 1000, ("B", "kB", "MB", "GB"))
    if name.startswith(("log_duration", "iat")):
        return _scaled(value, 1000, ("µs", "ms", "s")) if value < 1e9 else f"{value / 1e6:,.0f} s"
    return f"{value:,.0f}"


def _scaled(value: float, step: int, units: Sequence[str]) -> str:
    place = 0
    while value >= step and place < len(units) - 1:
        value, place = value / step, place + 1
    return f"{value:.3g} {units[place]}"
