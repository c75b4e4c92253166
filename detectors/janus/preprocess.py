"""Flows → standardised sequences: log1p, z-scores by the benign training flows, clipped.  numpy only."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from harness.contract import CONTINUOUS_CHANNELS, DISCRETE_CHANNELS, FLOW_FEATURES, FlowBatch

__all__ = ["CHANNELS", "N_CONTINUOUS", "N_DISCRETE", "N_FEATURES", "Sequences", "Standardiser"]

CHANNELS = CONTINUOUS_CHANNELS + DISCRETE_CHANNELS
"""Channel order of every packet tensor in this package: the continuous ones first, so that one slice separates the two kinds."""

N_CONTINUOUS = len(CONTINUOUS_CHANNELS)
N_DISCRETE = len(DISCRETE_CHANNELS)
N_FEATURES = len(FLOW_FEATURES)

CLIP = 10.0
# A column that hardly varies among the benign training flows must not turn the smallest change into the clip value: below a tenth of a
# log unit (10 % of the quantity) differences are not magnified further.
STD_FLOOR = 0.1


@dataclass(frozen=True)
class Sequences:
    """Standardised flows, ragged.

    flow     (n, 20) float32, z-scores of ``FLOW_FEATURES``
    packets  (total packets, 9) float32 in ``CHANNELS`` order: z-scores of the continuous channels, bits in {0, 1}
    starts   (n,) int64, first row of each flow in ``packets``
    lengths  (n,) int64, packets of each flow
    """

    flow: NDArray[np.float32]
    packets: NDArray[np.float32]
    starts: NDArray[np.int64]
    lengths: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.lengths)

    def padded(self, rows: NDArray[np.int64], width: int) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        """The packets of the flows ``rows`` as (m, width, 9), zero beyond each flow's end, and the mask of real packets (m, width)."""
        steps = np.arange(width)
        valid = steps < self.lengths[rows, None]  # (m, width)
        dense = np.zeros((len(rows), width, len(CHANNELS)), dtype=np.float32)
        dense[valid] = self.packets[(self.starts[rows, None] + steps)[valid]]
        return dense, valid


@dataclass(frozen=True)
class Standardiser:
    """Means and floored standard deviations of the benign training flows: of features (20,), and of log1p channels over packets (3,)."""

    flow_mean: NDArray[np.float64]
    flow_std: NDArray[np.float64]
    packet_mean: NDArray[np.float64]
    packet_std: NDArray[np.float64]

    @classmethod
    def fitted(cls, benign: FlowBatch, max_packets: int) -> Standardiser:
        """Statistics of ``benign``; only the packets that will be read count."""
        features = benign.feature_matrix(FLOW_FEATURES)  # (n, 20)
        rows, _, _ = _first_packets(benign, max_packets)
        continuous = _log_channels(benign, rows)  # (total, 3)
        return cls(*_moments(features), *_moments(continuous))

    def apply(self, flows: FlowBatch, max_packets: int) -> Sequences:
        """``flows`` standardised and clipped to ±10; each flow's first ``max_packets`` packets."""
        rows, starts, lengths = _first_packets(flows, max_packets)
        packets = np.empty((len(rows), len(CHANNELS)), dtype=np.float32)
        packets[:, :N_CONTINUOUS] = np.clip((_log_channels(flows, rows) - self.packet_mean) / self.packet_std, -CLIP, CLIP)
        for column, name in enumerate(DISCRETE_CHANNELS, start=N_CONTINUOUS):
            packets[:, column] = flows.packet(name)[rows] > 0
        features = (flows.feature_matrix(FLOW_FEATURES) - self.flow_mean) / self.flow_std
        return Sequences(np.clip(features, -CLIP, CLIP).astype(np.float32), packets, starts, lengths)


def _first_packets(flows: FlowBatch, max_packets: int) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Which packet rows are read, and the starts and lengths of the flows among those rows."""
    stored = flows.lengths
    lengths = np.minimum(stored, max_packets)
    starts = np.cumsum(lengths) - lengths
    assert flows.offsets is not None  # ``lengths`` has just required it
    rows = np.repeat(flows.offsets[:-1] - starts, lengths) + np.arange(int(lengths.sum()))
    return rows, starts, lengths


def _log_channels(flows: FlowBatch, rows: NDArray[np.int64]) -> NDArray[np.float64]:
    # A capture may hold packets out of order; a negative gap counts as none.
    return np.column_stack([np.log1p(np.maximum(flows.packet(name)[rows].astype(np.float64), 0.0)) for name in CONTINUOUS_CHANNELS])


def _moments(values: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    return values.mean(axis=0), np.maximum(values.std(axis=0), STD_FLOOR)
