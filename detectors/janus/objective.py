"""The training objective: one noised batch, coupled as a whole, and its loss, summed over micro-batches.

Continuous entries (OT-CFM: Lipman et al. 2023; Tong et al. 2024):  c_t = (1 − t) c0 + t c1 + σ ε,  target u = c1 − c0,  c0 ~ N(0, I).
Bits (discrete flow matching: Gat et al. 2024, mixture path with κ_t = t):  x_t = x1 with probability t, else from the source; cross-entropy of
the posterior p(x1 | x_t, c_t).  One t per flow, shared by both.  Loss = L_c + λ_disc · L_d, each a mean over the batch's valid entries.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits, mse_loss

from detectors.janus.batching import Layout
from detectors.janus.coupling import assign, transport_cost
from detectors.janus.network import Network, Placement
from detectors.janus.params import JanusParams
from detectors.janus.preprocess import N_CONTINUOUS, N_DISCRETE, N_FEATURES, Sequences

__all__ = ["NoisyBatch", "batch_loss", "noised_bits", "noisy_batch"]


@dataclass(frozen=True)
class NoisyBatch:
    """One optimiser batch along the path: B flows, L packets of the longest.

    t               (B,)
    flow            (B, 20) c_t of the FLOW features
    packets         (B, L, 9) c_t of the continuous channels, x_t of the bits as −1 / +1 (0: masked)
    flow_target     (B, 20) velocity c1 − c0
    packet_target   (B, L, 9) velocity of the continuous channels, data bits in {0, 1}
    lengths         (B,) int64, numpy
    """

    t: Tensor
    flow: Tensor
    packets: Tensor
    flow_target: Tensor
    packet_target: Tensor
    lengths: NDArray[np.int64]

    def to(self, device: torch.device) -> NoisyBatch:
        """The same batch on ``device``."""
        t, flow, packets = self.t.to(device), self.flow.to(device), self.packets.to(device)
        return NoisyBatch(t, flow, packets, self.flow_target.to(device), self.packet_target.to(device), self.lengths)


def noisy_batch(data: Sequences, rows: NDArray[np.int64], params: JanusParams, generator: torch.Generator) -> NoisyBatch:
    """Draw t, noise and source bits for the flows ``rows``, pair noise with data over all of them, and place them on the path."""
    lengths = data.lengths[rows]
    size, width = len(rows), int(lengths.max())
    dense, mask = data.padded(rows, width)
    packets, valid = torch.from_numpy(dense), torch.from_numpy(mask)  # (B, L, 9), (B, L)
    bits = packets[..., N_CONTINUOUS:]  # (B, L, 6)
    data_entries = torch.cat([torch.from_numpy(data.flow[rows]), packets[..., :N_CONTINUOUS].flatten(1)], dim=1)  # (B, 20 + 3 L)

    t = torch.rand(size, generator=generator)
    noise = torch.randn(data_entries.shape, generator=generator)
    entry_valid = torch.cat([valid.new_ones(size, N_FEATURES), valid.repeat_interleave(N_CONTINUOUS, dim=1)], dim=1)  # (B, 20 + 3 L)
    noise = noise[torch.from_numpy(assign(params.coupling, transport_cost(data_entries, entry_valid, noise), generator))]
    blur = torch.randn(data_entries.shape, generator=generator)
    uniform = torch.rand(bits.shape, generator=generator)
    coin = torch.rand(bits.shape, generator=generator) < 0.5

    target = data_entries - noise  # (B, 20 + 3 L)
    state = noise + t[:, None] * target + params.sigma * blur
    shown = noised_bits(params.discrete_source, bits, t[:, None, None], uniform, coin)  # (B, L, 6)
    per_packet = (size, width, N_CONTINUOUS)
    return NoisyBatch(
        t=t,
        flow=state[:, :N_FEATURES],
        packets=torch.cat([state[:, N_FEATURES:].view(per_packet), shown], dim=2),
        flow_target=target[:, :N_FEATURES],
        packet_target=torch.cat([target[:, N_FEATURES:].view(per_packet), bits], dim=2),
        lengths=lengths,
    )


def noised_bits(source: str, bits: Tensor, t: Tensor | float, uniform: Tensor, coin: Tensor) -> Tensor:
    """x_t of the mixture path, as the network reads bits: −1 / +1, and 0 for masked.

    ``bits`` (..., 6) data in {0, 1}; a cell keeps its bit where ``uniform`` < t, otherwise it shows the source's: ``coin`` or the mask.
    """
    return torch.where(uniform < t, 2.0 * bits - 1.0, _SOURCES[source](coin))


_SOURCES: dict[str, Callable[[Tensor], Tensor]] = {
    "uniform": lambda coin: 2.0 * coin.float() - 1.0,
    "mask": lambda coin: torch.zeros_like(coin, dtype=torch.float32),
}


def batch_loss(network: Network, batch: NoisyBatch, layout: Layout, lambda_disc: float) -> Tensor:
    """The part of the batch's loss that the flows of ``layout`` carry, a scalar.

    Normalised by the valid entries of the whole batch, so the sum over any partition into micro-batches is the whole batch's loss, and so is
    its gradient.
    """
    packets_in_batch = int(batch.lengths.sum())
    entries = len(batch.lengths) * N_FEATURES + packets_in_batch * N_CONTINUOUS
    cells = max(packets_in_batch * N_DISCRETE, 1)

    device = batch.t.device
    rows = torch.from_numpy(layout.rows).to(device)  # (b,)
    packets = rows[torch.from_numpy(layout.flow_of).to(device)], torch.from_numpy(layout.position).to(device)  # rows and columns, each (P,)
    placement = Placement.of(layout, network.mode, device)
    out = network(batch.flow[rows], batch.packets[packets], network.condition(batch.t[rows]), placement)
    target = batch.packet_target[packets]  # (P, 9)
    squares = mse_loss(out.flow, batch.flow_target[rows], reduction="sum") + mse_loss(out.packet, target[:, :N_CONTINUOUS], reduction="sum")
    cross_entropy = binary_cross_entropy_with_logits(out.logits, target[:, N_CONTINUOUS:], reduction="sum")
    return squares / entries + lambda_disc * cross_entropy / cells
