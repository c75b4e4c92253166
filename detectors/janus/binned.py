"""The variants, kept out of the main path: continuous entries as categories (B4), heads trained apart (B5), other
pairings of noise and data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy

from detectors.janus.config import JanusParams
from detectors.janus.matching import Cost, FlowPath, GaussianPath, Pairing, Progress, Weights, sinkhorn, train
from detectors.janus.model import Network, Prediction
from detectors.janus.preprocess import Sequences


def path_of(params: JanusParams, data: Sequences) -> FlowPath:
    """The path that ``params`` ask for; bins are those of ``data``, the benign training flows."""
    arrays = vars(Binning.fitted(data, params.widths.continuous, params.cont_n_bins)) if params.cont_as_disc else {}
    return restored_path(params, arrays)


def restored_path(params: JanusParams, arrays: Mapping[str, NDArray[Any]]) -> FlowPath:
    """The path of ``params`` and ``arrays``, the fields of its ``Binning`` where there is one."""
    weights = Weights(1.0, params.lambda_disc)
    if arrays:
        return BinnedPath(Binning(**arrays), params.widths.flow, weights)
    return GaussianPath(params.sigma, weights, PAIRINGS[params.coupling])


# continuous entries as categories (B4)


@dataclass(frozen=True)
class Binning:
    """Quantile bins of the F + C entries: the F of the FLOW token, then the C continuous packet channels, whatever the
    packet's position.

    edges    (F + C, K − 1) float32, inner edges; a bin holds its lower edge
    centres  (F + C, K) float32, the middle training value of each bin, by which the network is shown it.  Where values
             repeat, quantiles coincide and leave bins empty: such a bin is shown as its lower edge, and no value is in
             it
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
        """The bin of each of ``values`` (n, e), which are entries ``first``, ``first`` + 1, …"""
        found = np.empty(values.shape, dtype=np.int64)
        for column in range(values.shape[1]):
            found[:, column] = np.searchsorted(self.edges[first + column], values[:, column], side="right")
        return found

    def apply(self, data: Sequences) -> Sequences:
        """``data`` with every continuous entry replaced by the centre of its bin."""
        features = data.flow.shape[1]
        flow = np.take_along_axis(self.centres[:features].T, self.index(data.flow, 0), axis=0)
        packets = data.packets.copy()
        continuous = len(self.edges) - features
        packets[:, :continuous] = np.take_along_axis(
            self.centres[features:].T, self.index(packets[:, :continuous], features), axis=0
        )
        return replace(data, flow=flow, packets=packets)


@dataclass(frozen=True)
class BinnedPath:
    """The discrete path of bins: an entry shows its own bin's centre with probability t, else that of any bin; the
    target is its bin.

    There is no continuous loss: every entry is a cell of the discrete one, a mean over entries and bits together.
    """

    binning: Binning
    features: int
    weights: Weights

    def prepared(self, data: Sequences) -> Sequences:
        return self.binning.apply(data)

    def arrays(self) -> Mapping[str, NDArray[np.float32]]:
        return vars(self.binning)

    def sample(
        self, entries: Tensor, valid: Tensor, t: Tensor, lengths: NDArray[np.int64], generator: torch.Generator
    ) -> tuple[Tensor, Tensor]:
        channels = len(self.binning.edges) - self.features
        packets = (entries.shape[1] - self.features) // channels
        # (E,) entry of the binning
        kinds = np.concatenate([np.arange(self.features), np.tile(self.features + np.arange(channels), packets)])
        # (E, K − 1), (E, K)
        edges, centres = torch.from_numpy(self.binning.edges)[kinds], torch.from_numpy(self.binning.centres)[kinds]
        bins = torch.searchsorted(edges, entries.T.contiguous(), right=True)  # (E, B)
        other = torch.randint(centres.shape[1], bins.shape, generator=generator)  # (E, B)
        kept = torch.rand(bins.shape, generator=generator) < t  # (E, B)
        return torch.where(kept, entries.T, centres.gather(1, other)).T, bins.T.float()

    def loss(self, out: Prediction, target: Prediction, entries: int, bits: int) -> Tensor:
        in_bits = binary_cross_entropy_with_logits(out.logits, target.logits, reduction="sum")
        in_bins = self._cross_entropy(out.flow, target.flow) + self._cross_entropy(out.packet, target.packet)
        return self.weights.discrete * (in_bits + in_bins) / (bits + entries)

    def _cross_entropy(self, logits: Tensor, bins: Tensor) -> Tensor:
        """Sum over ``logits`` (m, e K) of −log p(bin), ``bins`` (m, e)."""
        return cross_entropy(logits.reshape(-1, self.binning.centres.shape[1]), bins.flatten().long(), reduction="sum")

    def frozen(
        self, t: Tensor, shape: tuple[int, ...], first: int, generator: torch.Generator
    ) -> tuple[Tensor, Tensor]:
        kept = (torch.rand(shape, generator=generator) < t.view(-1, *[1] * (len(shape) - 1))).float()  # 0 or 1
        centres = torch.from_numpy(self.binning.centres)[first : first + shape[-1]]  # (e, K)
        bins = torch.randint(centres.shape[1], shape, generator=generator)
        return centres[torch.arange(shape[-1]), bins] * (1.0 - kept), kept


# heads trained apart (B5)


def train_apart(
    data: Sequences,
    validation: Sequences,
    params: JanusParams,
    generators: Sequence[torch.Generator],
    device: torch.device,
    progress: Progress,
) -> tuple[Network, Network]:
    """Two networks of the same form with a generator each, the first trained on the continuous loss alone, the second
    on the discrete."""

    def trained(weights: Weights, generator: torch.Generator, first: float) -> Network:
        def half(fraction: float, text: str) -> None:
            progress(first + 0.5 * fraction, text)

        path = GaussianPath(params.sigma, weights, PAIRINGS[params.coupling])
        return train(data, validation, params, path, generator, device, half)

    return trained(Weights(1.0, 0.0), generators[0], 0.0), trained(Weights(0.0, 1.0), generators[1], 0.5)


def _stratified(cost: Cost, lengths: NDArray[np.int64], generator: torch.Generator) -> NDArray[np.int64]:
    """Sinkhorn among flows of equal length.

    A pairing over all lengths lets the cost, which grows with the length, choose which noise goes to long flows, so
    p(c0 | length) is not N(0, I) any more and terminal scores can depend on length; here it is.
    """
    chosen = np.empty(len(cost), dtype=np.int64)
    for length in np.unique(lengths):
        rows = np.flatnonzero(lengths == length)
        chosen[rows] = rows[sinkhorn(cost[np.ix_(rows, rows)], lengths[rows], generator)]
    return chosen


PAIRINGS: dict[str, Pairing] = {
    "sinkhorn": sinkhorn,
    "stratified": _stratified,
    "exact": lambda cost, *_: linear_sum_assignment(cost)[1],
    "none": lambda cost, *_: np.arange(len(cost)),
}
