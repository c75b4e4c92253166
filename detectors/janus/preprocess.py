"""Flows → standardised sequences: log1p, z-scores by the benign training flows, clipped.  numpy only."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from detectors.janus.config import JanusParams
from janus_bench.columns import CONTINUOUS_CHANNELS, DISCRETE_CHANNELS
from janus_bench.contract import FlowBatch
from janus_bench.ragged import positions, starts_of

CHANNELS = CONTINUOUS_CHANNELS + DISCRETE_CHANNELS
"""Channel order of every packet tensor in this package: the continuous ones first, so that one slice separates the two
kinds."""

N_CONTINUOUS = len(CONTINUOUS_CHANNELS)

CLIP = 10.0
# A column that hardly varies among the benign training flows must not turn the smallest change into the clip value:
# below a tenth of a log unit (10 % of the quantity) differences are not magnified further.
STD_FLOOR = 0.1


@dataclass(frozen=True)
class Sequences:
    """Standardised flows, ragged.

    flow     (n, F) float32, z-scores of the parameters' ``flow_columns``; F = 20, or 0 without a FLOW token
    packets  (total packets, 9) float32 in ``CHANNELS`` order: z-scores of the continuous channels, bits in {0, 1} (−1 /
             +1 as continuous channels)
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
        """The packets of the flows ``rows`` as (m, width, 9), zero beyond each flow's end, and the mask of real packets
        (m, width)."""
        steps = np.arange(width)
        valid = steps < self.lengths[rows, None]  # (m, width)
        dense = np.zeros((len(rows), width, len(CHANNELS)), dtype=np.float32)
        dense[valid] = self.packets[(self.starts[rows, None] + steps)[valid]]
        return dense, valid


@dataclass(frozen=True)
class Standardiser:
    """Means and floored standard deviations of the benign training flows: of features (F,), and of log1p channels over
    packets (3,)."""

    flow_mean: NDArray[np.float64]
    flow_std: NDArray[np.float64]
    packet_mean: NDArray[np.float64]
    packet_std: NDArray[np.float64]

    @classmethod
    def fitted(cls, benign: FlowBatch, params: JanusParams) -> Standardiser:
        """Statistics of ``benign`` flows; only the packets that will be read count, and what is not read has none,
        (0,)."""
        features = _features(benign, params)  # (n, 20 | 0)
        rows, _, _ = _first_packets(benign, params.T)
        continuous = _log_channels(benign, rows)  # (total, 3)
        return cls(*_moments(features), *_moments(continuous))

    def apply(self, flows: FlowBatch, params: JanusParams) -> Sequences:
        """``flows`` standardised and clipped to ±10; each flow's first T packets."""
        rows, starts, lengths = _first_packets(flows, params.T)
        packets = np.empty((len(rows), len(CHANNELS)), dtype=np.float32)
        packets[:, :N_CONTINUOUS] = np.clip(
            (_log_channels(flows, rows) - self.packet_mean) / self.packet_std, -CLIP, CLIP
        )
        for column, name in enumerate(DISCRETE_CHANNELS, start=N_CONTINUOUS):
            packets[:, column] = _packets(flows, name, rows) > 0
        if params.disc_as_cont:
            packets[:, N_CONTINUOUS:] = 2.0 * packets[:, N_CONTINUOUS:] - 1.0
        features = (_features(flows, params) - self.flow_mean) / self.flow_std
        return Sequences(np.clip(features, -CLIP, CLIP).astype(np.float32), packets, starts, lengths)


def _features(flows: FlowBatch, params: JanusParams) -> NDArray[np.float64]:
    return flows.feature_matrix(params.flow_columns) if params.use_flow_token else np.empty((len(flows), 0))


def _first_packets(
    flows: FlowBatch, max_packets: int
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Which packet rows are read, and the starts and lengths of the flows among those rows."""
    if max_packets == 0:  # a batch without packets will do
        none = np.zeros(len(flows), dtype=np.int64)
        return none[:0], none, none
    lengths = np.minimum(flows.lengths, max_packets)
    assert flows.offsets is not None  # ``lengths`` has just required it
    return positions(flows.offsets[:-1], lengths), starts_of(lengths)[:-1], lengths


def _packets(flows: FlowBatch, name: str, rows: NDArray[np.int64]) -> NDArray[Any]:
    return flows.packet(name)[rows] if len(rows) else np.empty(0)


def _log_channels(flows: FlowBatch, rows: NDArray[np.int64]) -> NDArray[np.float64]:
    # A capture may hold packets out of order; a negative gap counts as none.
    return np.column_stack(
        [np.log1p(np.maximum(_packets(flows, name, rows).astype(np.float64), 0.0)) for name in CONTINUOUS_CHANNELS]
    )


def _moments(values: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    if not len(values):
        return np.zeros(values.shape[1]), np.ones(values.shape[1])
    return values.mean(axis=0), np.maximum(values.std(axis=0), STD_FLOOR)
