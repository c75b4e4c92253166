"""The ten score columns of a flow, computed from that flow, the network and a fixed noise bank only."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits

from detectors.janus.batching import Group, group_by_length
from detectors.janus.network import Network, attention_mask
from detectors.janus.objective import noised_bits
from detectors.janus.params import JanusParams
from detectors.janus.preprocess import N_CONTINUOUS, N_DISCRETE, N_FEATURES, Sequences

__all__ = ["NoiseBank", "reverse_ode", "score_sequences"]

NLL_TIMES = (0.25, 0.5, 0.75)
"""Never t = 1 with x_t = x_1: there the posterior copies what it is shown."""


@dataclass(frozen=True)
class NoiseBank:
    """The noise of scoring, the same for every flow: R = 3 times of ``NLL_TIMES``, then (for the bits) the K times of the reverse ODE.

    flow        (R, 20) and packets (R, T, 3): (1 − t) c0 + σ ε of the continuous path, drawn as one Gaussian
    uniform     (R + K, T, 6) in [0, 1): a cell keeps its bit where it is below t
    coin        (R + K, T, 6) bool: the uniform source's bits
    """

    flow: Tensor
    packets: Tensor
    uniform: Tensor
    coin: Tensor

    @classmethod
    def drawn(cls, params: JanusParams, generator: torch.Generator) -> NoiseBank:
        """A bank for ``params``."""
        times = torch.tensor(NLL_TIMES)
        std = torch.sqrt((1.0 - times) ** 2 + params.sigma**2)  # (R,)
        cells = (len(NLL_TIMES) + params.k_steps, params.T, N_DISCRETE)
        return cls(
            flow=std[:, None] * torch.randn(len(NLL_TIMES), N_FEATURES, generator=generator),
            packets=std[:, None, None] * torch.randn(len(NLL_TIMES), params.T, N_CONTINUOUS, generator=generator),
            uniform=torch.rand(cells, generator=generator),
            coin=torch.rand(cells, generator=generator) < 0.5,
        )

    def to(self, device: torch.device) -> NoiseBank:
        """The same bank on ``device``."""
        return NoiseBank(*(tensor.to(device) for tensor in (self.flow, self.packets, self.uniform, self.coin)))


@torch.inference_mode()
def score_sequences(
    network: Network, data: Sequences, bank: NoiseBank, params: JanusParams, groups: list[Group] | None = None
) -> NDArray[np.float64]:
    """Scores (n, 10): terminal flow, packet, norm; then the total NLL of the bits and that of each discrete channel.

    ``groups`` is any partition of the flows; by default the fast one.
    """
    device = network.position.device
    bank = bank.to(device)
    ode_times = 1.0 - torch.arange(params.k_steps) / params.k_steps  # t_k, (K,)
    conditions = network.condition(torch.cat([torch.tensor(NLL_TIMES), ode_times]).to(device))  # (M, R + K, 1, D)
    scores = np.empty((len(data), 3 + 1 + N_DISCRETE))
    for group in group_by_length(data.lengths) if groups is None else groups:
        dense, real = data.padded(group.rows, group.width)
        packets, valid = torch.from_numpy(dense).to(device), torch.from_numpy(real).to(device)  # (B, L, 9), (B, L)
        flow = torch.from_numpy(data.flow[group.rows]).to(device)  # (B, 20)
        sight = _Sight(network, conditions, attention_mask(network.mode, group, valid))
        terminal = _terminal(sight, flow, packets, valid, bank, params)  # (B, 3)
        nll = _bit_nll(sight, flow, packets, valid, bank, params)  # (B, 6)
        scores[group.rows] = torch.cat([terminal, nll.mean(1, keepdim=True), nll], dim=1).cpu().numpy()
    return scores


def reverse_ode(velocity: Callable[[int, Tensor, Tensor], tuple[Tensor, Tensor]], flow: Tensor, packets: Tensor, steps: int) -> tuple[Tensor, Tensor]:
    """From data (t = 1) to the source (t = 0) by ``steps`` Euler steps: z ← z − v(z, t_k) / K at t_k = 1 − k / K.

    ``velocity(k, z_flow, z_packets)`` gives both velocities; ``flow`` (B, 20) and ``packets`` (B, L, 3) are left untouched.
    """
    for k in range(steps):
        flow_velocity, packet_velocity = velocity(k, flow, packets)
        flow = flow - flow_velocity / steps
        packets = packets - packet_velocity / steps
    return flow, packets


@dataclass(frozen=True)
class _Sight:
    """The network with what stays fixed over one group: the attention mask, and the modulation of every time in use."""

    network: Network
    conditions: Tensor
    mask: Tensor | None

    def __call__(self, time: int, flow: Tensor, packets: Tensor, shown: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        return self.network(flow, torch.cat([packets, shown], dim=2), self.conditions[:, time : time + 1], self.mask)


def _terminal(sight: _Sight, flow: Tensor, packets: Tensor, valid: Tensor, bank: NoiseBank, params: JanusParams) -> Tensor:
    """Root mean squares of z_0 over FLOW entries, valid packet entries, and both, (B, 3): a sum of squares would measure flow length."""
    bits = packets[..., N_CONTINUOUS:]  # (B, L, 6)
    width = bits.shape[1]

    def shown(k: int) -> Tensor:
        if params.bits == "clamped":
            return 2.0 * bits - 1.0
        index = len(NLL_TIMES) + k
        return noised_bits(params.discrete_source, bits, 1.0 - k / params.k_steps, bank.uniform[index, :width], bank.coin[index, :width])

    def velocity(k: int, z_flow: Tensor, z_packets: Tensor) -> tuple[Tensor, Tensor]:
        return sight(len(NLL_TIMES) + k, z_flow, z_packets, shown(k))[:2]

    z_flow, z_packets = reverse_ode(velocity, flow, packets[..., :N_CONTINUOUS], params.k_steps)
    flow_squares = z_flow.double().square().sum(1)  # (B,)
    packet_squares = (z_packets.double().square().sum(2) * valid).sum(1)  # (B,)
    entries = valid.sum(1) * N_CONTINUOUS  # (B,)
    means = (flow_squares / N_FEATURES, packet_squares / entries.clamp_min(1), (flow_squares + packet_squares) / (entries + N_FEATURES))
    return torch.stack(means, dim=1).sqrt()


def _bit_nll(sight: _Sight, flow: Tensor, packets: Tensor, valid: Tensor, bank: NoiseBank, params: JanusParams) -> Tensor:
    """Mean over valid packets and over ``NLL_TIMES`` of −log p(b | x_t, c_t), per discrete channel, (B, 6)."""
    continuous, bits = packets[..., :N_CONTINUOUS], packets[..., N_CONTINUOUS:]
    width = bits.shape[1]
    total = torch.zeros(len(flow), N_DISCRETE, dtype=torch.float64, device=flow.device)
    for index, t in enumerate(NLL_TIMES):
        shown = noised_bits(params.discrete_source, bits, t, bank.uniform[index, :width], bank.coin[index, :width])  # (B, L, 6)
        logits = sight(index, t * flow + bank.flow[index], t * continuous + bank.packets[index, :width], shown)[2]  # (B, L, 6)
        nll = binary_cross_entropy_with_logits(logits, bits, reduction="none")
        total += (nll.double() * valid[..., None]).sum(1)
    return total / (len(NLL_TIMES) * valid.sum(1, keepdim=True).clamp_min(1))
