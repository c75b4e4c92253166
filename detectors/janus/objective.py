"""The training objective: one noised batch, coupled as a whole, and its loss, summed over micro-batches.

Continuous entries (OT-CFM: Lipman et al. 2023; Tong et al. 2024):  c_t = (1 − t) c0 + t c1 + σ ε,  target u = c1 − c0,  c0 ~ N(0, I).
Bits (discrete flow matching: Gat et al. 2024, mixture path with κ_t = t):  x_t = x1 with probability t, else from the source; cross-entropy of
the posterior p(x1 | x_t, c_t).  One t per flow, shared by both.  Loss = L_c + λ_disc · L_d, each a mean over the batch's valid entries.  Without a
continuous head (B4) every entry is a cell of L_d, on the same discrete path from uniformly drawn bins.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy, mse_loss

from detectors.janus.batching import Layout
from detectors.janus.binning import Binning
from detectors.janus.coupling import assign, transport_cost
from detectors.janus.network import Network
from detectors.janus.params import JanusParams
from detectors.janus.preprocess import Sequences

__all__ = ["NoisyBatch", "Weights", "batch_loss", "noised_bits", "noisy_batch"]


@dataclass(frozen=True)
class NoisyBatch:
    """One optimiser batch along the path: B flows, L packets of the longest.  F, C, D: ``params.Widths``, C + D = 9.

    t               (B,)
    flow            (B, F) c_t of the FLOW features
    packets         (B, L, 9) c_t of the C continuous channels, x_t of the D bits as −1 / +1 (0: masked)
    flow_target     (B, F) velocity c1 − c0, or the number of the data's bin
    packet_target   (B, L, 9) velocity of the continuous channels (or the number of the bin), data bits in {0, 1}
    lengths         (B,) int64, numpy
    """

    t: Tensor
    flow: Tensor
    packets: Tensor
    flow_target: Tensor
    packet_target: Tensor
    lengths: NDArray[np.int64]

    def to(self, device: torch.device) -> NoisyBatch:
        """The same batch on ``device``, copied without waiting where its memory is pinned."""
        return self._each(lambda tensor: tensor.to(device, non_blocking=True))

    def pinned(self) -> NoisyBatch:
        """The same batch in page-locked memory, from which a GPU copies while it computes."""
        return self._each(Tensor.pin_memory)

    def _each(self, change: Callable[[Tensor], Tensor]) -> NoisyBatch:
        t, flow, packets = change(self.t), change(self.flow), change(self.packets)
        return NoisyBatch(t, flow, packets, change(self.flow_target), change(self.packet_target), self.lengths)


def noisy_batch(
    data: Sequences, rows: NDArray[np.int64], params: JanusParams, generator: torch.Generator, binning: Binning | None = None
) -> NoisyBatch:
    """Draw t, noise and source bits for the flows ``rows``, pair noise with data over all of them, and place them on the path.

    ``binning``: of the continuous entries of ``data``, where ``params`` ask for one.
    """
    lengths = data.lengths[rows]
    size, width = len(rows), int(lengths.max())
    features, continuous, _ = params.widths
    dense, mask = data.padded(rows, width)
    packets, valid = torch.from_numpy(dense), torch.from_numpy(mask)  # (B, L, 9), (B, L)
    bits = packets[..., continuous:]  # (B, L, D)
    entries = torch.cat([torch.from_numpy(data.flow[rows]), packets[..., :continuous].flatten(1)], dim=1)  # (B, F + C L)

    t = torch.rand(size, generator=generator)
    if binning is None:
        entry_valid = torch.cat([valid.new_ones(size, features), valid.repeat_interleave(continuous, dim=1)], dim=1)  # (B, F + C L)
        state, target = _gaussian_path(entries, entry_valid, t, lengths, params, generator)  # each (B, F + C L)
    else:
        kinds = np.concatenate([np.arange(features), np.tile(features + np.arange(continuous), width)])  # (F + C L,) entry of the binning
        state, target = _binned_path(entries, kinds, t, binning, generator)
    uniform = torch.rand(bits.shape, generator=generator)
    coin = torch.rand(bits.shape, generator=generator) < 0.5
    shown = noised_bits(params.discrete_source, bits, t[:, None, None], uniform, coin)  # (B, L, D)
    per_packet = (size, width, continuous)
    return NoisyBatch(
        t=t,
        flow=state[:, :features],
        packets=torch.cat([state[:, features:].view(per_packet), shown], dim=2),
        flow_target=target[:, :features],
        packet_target=torch.cat([target[:, features:].view(per_packet), bits], dim=2),
        lengths=lengths,
    )


def _gaussian_path(
    entries: Tensor, valid: Tensor, t: Tensor, lengths: NDArray[np.int64], params: JanusParams, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """c_t and c1 − c0 of ``entries`` (B, E), of which ``valid`` count, both (B, E)."""
    noise = torch.randn(entries.shape, generator=generator)
    noise = noise[torch.from_numpy(assign(params.coupling, transport_cost(entries, valid, noise), lengths, generator))]
    blur = torch.randn(entries.shape, generator=generator)
    target = entries - noise
    return noise + t[:, None] * target + params.sigma * blur, target


def _binned_path(entries: Tensor, kinds: NDArray[np.int64], t: Tensor, binning: Binning, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Centres shown at t and bins of ``entries`` (B, E), whose column e is entry ``kinds[e]`` of ``binning``, both (B, E)."""
    edges, centres = torch.from_numpy(binning.edges)[kinds], torch.from_numpy(binning.centres)[kinds]  # (E, K − 1), (E, K)
    bins = torch.searchsorted(edges, entries.T.contiguous(), right=True)  # (E, B)
    other = torch.randint(centres.shape[1], bins.shape, generator=generator)  # (E, B)
    kept = torch.rand(bins.shape, generator=generator) < t
    return torch.where(kept, entries.T, centres.gather(1, other)).T, bins.T.float()


def noised_bits(source: str, bits: Tensor, t: Tensor | float, uniform: Tensor, coin: Tensor) -> Tensor:
    """x_t of the mixture path, as the network reads bits: −1 / +1, and 0 for masked.

    ``bits`` (..., D) data in {0, 1}; a cell keeps its bit where ``uniform`` < t, otherwise it shows the source's: ``coin`` or the mask.
    """
    return torch.where(uniform < t, 2.0 * bits - 1.0, _SOURCES[source](coin))


_SOURCES: dict[str, Callable[[Tensor], Tensor]] = {
    "uniform": lambda coin: 2.0 * coin.float() - 1.0,
    "mask": lambda coin: torch.zeros_like(coin, dtype=torch.float32),
}


class Weights(NamedTuple):
    """How much each loss counts: 1 and λ_disc, or one of the two alone."""

    continuous: float
    discrete: float


def batch_loss(network: Network, batch: NoisyBatch, layout: Layout, weights: Weights) -> Tensor:
    """The part of the batch's loss that the flows of ``layout`` carry, a scalar.

    Normalised by the valid entries of the whole batch, so the sum over any partition into micro-batches is the whole batch's loss, and so is
    its gradient.
    """
    features, continuous, bits = network.widths
    packets_in_batch = int(batch.lengths.sum())
    entries = len(batch.lengths) * features + packets_in_batch * continuous
    cells = packets_in_batch * bits + (entries if network.bins else 0)

    device = batch.t.device
    rows = torch.from_numpy(layout.rows).to(device)  # (b,)
    packets = rows[torch.from_numpy(layout.flow_of).to(device)], torch.from_numpy(layout.position).to(device)  # rows and columns, each (P,)
    out = network(batch.flow[rows], batch.packets[packets], network.condition(batch.t[rows]), network.place(layout))
    target = batch.packet_target[packets]  # (P, 9)
    in_bits = binary_cross_entropy_with_logits(out.logits, target[:, continuous:], reduction="sum")
    if network.bins:
        in_bins = _bin_cross_entropy(out.flow, batch.flow_target[rows]) + _bin_cross_entropy(out.packet, target[:, :continuous])
        return weights.discrete * (in_bits + in_bins) / cells
    squares = mse_loss(out.flow, batch.flow_target[rows], reduction="sum") + mse_loss(out.packet, target[:, :continuous], reduction="sum")
    return weights.continuous * squares / max(entries, 1) + weights.discrete * in_bits / max(cells, 1)


def _bin_cross_entropy(logits: Tensor, bins: Tensor) -> Tensor:
    """Sum over ``logits`` (m, e, K) of −log p(bin), ``bins`` (m, e)."""
    return cross_entropy(logits.flatten(0, 1), bins.flatten().long(), reduction="sum")
