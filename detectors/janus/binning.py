"""Continuous entries as categories, for the variant without a continuous head (B4).  numpy only."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from detectors.janus.preprocess import Sequences

__all__ = ["Binning"]


@dataclass(frozen=True)
class Binning:
    """Quantile bins of E entries: the F of the FLOW token, then the C continuous packet channels, whatever the packet's position.

    edges    (E, K − 1) float32, inner edges; a bin holds its lower edge
    centres  (E, K) float32, the middle training value of each bin, by which the network is shown it.  Where values repeat, quantiles coincide
             and leave bins empty: such a bin is shown as its lower edge, and no value is in it
    """

    edges: NDArray[np.float32]
    centres: NDArray[np.float32]

    @classmethod
    def fitted(cls, data: Sequences, continuous: int, bins: int) -> Binning:
        """``bins`` bins of each FLOW entry and of each of the first ``continuous`` packet channels of ``data``."""
        edges, centres = [], []
        for column in (*data.flow.T, *data.packets[:, :continuous].T):
            values = np.sort(column)
            inner = np.quantile(values, np.arange(1, bins) / bins, method="inverted_cdf").astype(np.float32)
            starts = np.concatenate([[0], np.searchsorted(values, inner)])
            stops = np.append(starts[1:], len(values))
            lower = np.concatenate([inner[:1], inner])
            edges.append(inner)
            centres.append(np.where(stops > starts, values[(starts + stops - 1) // 2], lower))
        return cls(np.array(edges), np.array(centres, dtype=np.float32))

    def index(self, values: NDArray[np.float32], first: int) -> NDArray[np.int64]:
        """The bin of each of ``values`` (n, E'), which are entries ``first``, ``first`` + 1, …"""
        columns = [np.searchsorted(self.edges[first + column], values[:, column], side="right") for column in range(values.shape[1])]
        return np.stack(columns, axis=1)

    def apply(self, data: Sequences) -> Sequences:
        """``data`` with every continuous entry replaced by the centre of its bin."""
        features = data.flow.shape[1]
        flow = np.take_along_axis(self.centres[:features].T, self.index(data.flow, 0), axis=0)
        packets = data.packets.copy()
        continuous = len(self.edges) - features
        packets[:, :continuous] = np.take_along_axis(self.centres[features:].T, self.index(packets[:, :continuous], features), axis=0)
        return replace(data, flow=flow, packets=packets)
