"""Flows → standardised rows, as the detectors that learn on plain matrices read them.  numpy only."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from janus_bench.columns import (
    CONTINUOUS_CHANNELS,
    DISCRETE_CHANNELS,
    FLOW_FEATURES,
    MAX_PACKETS,
    PACKET_CHANNELS,
)
from janus_bench.contract import FlowBatch

__all__ = ["INPUTS", "N_CONTINUOUS", "PACKET_COLUMNS", "Standardiser", "feature_columns", "width_of"]

N_CONTINUOUS = len(CONTINUOUS_CHANNELS)
PACKET_COLUMNS = (*CONTINUOUS_CHANNELS, *DISCRETE_CHANNELS, "present")
"""Columns of a packet in a row of the input ``packets``; ``present`` is 1 for a packet and 0 for padding, whose other columns are 0 too."""

# A column that hardly varies among the benign training flows must not turn the smallest change into a huge one: below a tenth of a log unit
# (10 % of the quantity) differences are not magnified further.
STD_FLOOR = 0.1

_CONTINUOUS = [PACKET_CHANNELS.index(name) for name in CONTINUOUS_CHANNELS]
_DISCRETE = [PACKET_CHANNELS.index(name) for name in DISCRETE_CHANNELS]


def feature_columns(flows: FlowBatch) -> NDArray[np.float64]:
    """The 20 flow features, (n, 20)."""
    return flows.feature_matrix(FLOW_FEATURES)


def _packet_columns(flows: FlowBatch) -> NDArray[np.float64]:
    """log1p of the continuous channels of every stored packet, (total packets, 3); a negative gap, from packets out of order, counts as none."""
    return np.column_stack([np.log1p(np.maximum(flows.packet(name).astype(np.float64), 0)) for name in CONTINUOUS_CHANNELS])


def _feature_rows(flows: FlowBatch, standardiser: Standardiser, limit: float) -> NDArray[np.float32]:
    return standardiser(feature_columns(flows), limit).astype(np.float32)  # (n, 20)


def _packet_rows(flows: FlowBatch, standardiser: Standardiser, limit: float) -> NDArray[np.float32]:
    dense, mask = flows.padded()  # (n, 64, 9), (n, 64)
    rows = np.zeros((*mask.shape, len(PACKET_COLUMNS)), dtype=np.float32)  # (n, 64, 10)
    rows[mask, :N_CONTINUOUS] = standardiser(np.log1p(np.maximum(dense[mask][:, _CONTINUOUS].astype(np.float64), 0)), limit)
    rows[..., N_CONTINUOUS:-1] = dense[..., _DISCRETE] > 0
    rows[..., -1] = mask
    return rows.reshape(len(flows), -1)  # (n, 640)


@dataclass(frozen=True)
class _Input:
    """``columns``: what is standardised; ``rows``: the flows as a network reads them; ``width``: columns of those rows."""

    columns: Callable[[FlowBatch], NDArray[np.float64]]
    rows: Callable[[FlowBatch, Standardiser, float], NDArray[np.float32]]
    width: int


INPUTS: Mapping[str, _Input] = {
    "features": _Input(feature_columns, _feature_rows, len(FLOW_FEATURES)),
    "packets": _Input(_packet_columns, _packet_rows, MAX_PACKETS * len(PACKET_COLUMNS)),
}


def width_of(name: str) -> int:
    """Columns of the rows of an input: 20 for ``features``, 640 for ``packets``."""
    return INPUTS[name].width


@dataclass(frozen=True)
class Standardiser:
    """Means and floored standard deviations of the benign training flows' columns: (20,) for ``features``, (3,) for ``packets``."""

    mean: NDArray[np.float64]
    std: NDArray[np.float64]

    @classmethod
    def fitted(cls, columns: NDArray[np.float64]) -> Standardiser:
        """Moments of ``columns`` (n, D); standard deviations below ``STD_FLOOR`` are raised to it."""
        return cls(columns.mean(axis=0), np.maximum(columns.std(axis=0), STD_FLOOR))

    def __call__(self, columns: NDArray[np.float64], limit: float) -> NDArray[np.float64]:
        """z-scores of ``columns`` (n, D), clipped to ±``limit``."""
        return np.clip((columns - self.mean) / self.std, -limit, limit)
