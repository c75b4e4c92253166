"""The ten score columns of a flow, computed from that flow, the network and a fixed noise bank only."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits

from detectors.janus.batching import Group, Layout, group_by_length, micro_batches
from detectors.janus.network import Network, Placement, Prediction
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
    conditions = tuple(network.condition(time[None]) for time in torch.cat([torch.tensor(NLL_TIMES), ode_times]).to(device))
    scores = np.empty((len(data), 3 + 1 + N_DISCRETE))
    for batch in micro_batches(group_by_length(data.lengths) if groups is None else groups):
        layout = Layout.of(batch, data.lengths)
        packet_rows = data.starts[layout.rows][layout.flow_of] + layout.position  # (P,)
        flows = _Flows(
            network=network,
            conditions=conditions,
            placement=Placement.of(layout, network.mode, device),
            flow=torch.from_numpy(data.flow[layout.rows]).to(device),
            packets=torch.from_numpy(data.packets[packet_rows]).to(device),
            flow_of=torch.from_numpy(layout.flow_of).to(device),
            lengths=torch.from_numpy(layout.lengths).to(device),
        )
        nll = _bit_nll(flows, bank, params)  # (B, 6)
        scores[layout.rows] = torch.cat([_terminal(flows, bank, params), nll.mean(1, keepdim=True), nll], dim=1).cpu().numpy()
    return scores


def reverse_ode(velocity: Callable[[int, Tensor, Tensor], tuple[Tensor, Tensor]], flow: Tensor, packets: Tensor, steps: int) -> tuple[Tensor, Tensor]:
    """From data (t = 1) to the source (t = 0) by ``steps`` Euler steps: z ← z − v(z, t_k) / K at t_k = 1 − k / K.

    ``velocity(k, z_flow, z_packets)`` gives both velocities; ``flow`` (B, 20) and ``packets`` (P, 3) are left untouched.
    """
    for k in range(steps):
        flow_velocity, packet_velocity = velocity(k, flow, packets)
        flow = flow - flow_velocity / steps
        packets = packets - packet_velocity / steps
    return flow, packets


@dataclass(frozen=True)
class _Flows:
    """One micro-batch to score: B flows with P packets in all, and the network as it sees them at each time of the bank.

    flow     (B, 20) and packets (P, 9), data
    flow_of  (P,) flow of each packet
    lengths  (B,)
    """

    network: Network
    conditions: tuple[tuple[Tensor, ...], ...]
    placement: Placement
    flow: Tensor
    packets: Tensor
    flow_of: Tensor
    lengths: Tensor

    def predict(self, time: int, flow: Tensor, continuous: Tensor, bits: Tensor) -> Prediction:
        """The heads at the bank's time number ``time``, for states (B, 20), (P, 3) and shown bits (P, 6)."""
        return self.network(flow, torch.cat([continuous, bits], dim=1), self.conditions[time], self.placement)

    def shown_bits(self, time: int, t: float, bank: NoiseBank, params: JanusParams) -> Tensor:
        """x_t of the observed bits by the bank's noise number ``time``, (P, 6)."""
        position = self.placement.position
        return noised_bits(params.discrete_source, self.packets[:, N_CONTINUOUS:], t, bank.uniform[time, position], bank.coin[time, position])

    def sum_packets(self, values: Tensor) -> Tensor:
        """Per-flow sums of ``values`` (P, C), (B, C) float64, each in packet order, so that company does not change them."""
        return torch.zeros(len(self.flow), values.shape[1], dtype=torch.float64, device=values.device).index_add_(0, self.flow_of, values.double())


def _terminal(flows: _Flows, bank: NoiseBank, params: JanusParams) -> Tensor:
    """Root mean squares of z_0 over FLOW entries, packet entries, and both, (B, 3): a sum of squares would measure flow length."""
    observed = 2.0 * flows.packets[:, N_CONTINUOUS:] - 1.0  # (P, 6)

    def velocity(k: int, z_flow: Tensor, z_packets: Tensor) -> tuple[Tensor, Tensor]:
        time = len(NLL_TIMES) + k
        bits = observed if params.bits == "clamped" else flows.shown_bits(time, 1.0 - k / params.k_steps, bank, params)
        return flows.predict(time, z_flow, z_packets, bits)[:2]

    z_flow, z_packets = reverse_ode(velocity, flows.flow, flows.packets[:, :N_CONTINUOUS], params.k_steps)
    flow_squares = z_flow.double().square().sum(1)  # (B,)
    packet_squares = flows.sum_packets(z_packets.square()).sum(1)  # (B,)
    entries = flows.lengths * N_CONTINUOUS  # (B,)
    means = (flow_squares / N_FEATURES, packet_squares / entries.clamp_min(1), (flow_squares + packet_squares) / (entries + N_FEATURES))
    return torch.stack(means, dim=1).sqrt()


def _bit_nll(flows: _Flows, bank: NoiseBank, params: JanusParams) -> Tensor:
    """Mean over packets and over ``NLL_TIMES`` of −log p(b | x_t, c_t), per discrete channel, (B, 6)."""
    continuous, bits = flows.packets[:, :N_CONTINUOUS], flows.packets[:, N_CONTINUOUS:]
    total = torch.zeros_like(bits)
    for time, t in enumerate(NLL_TIMES):
        noisy = t * continuous + bank.packets[time, flows.placement.position]  # (P, 3)
        logits = flows.predict(time, t * flows.flow + bank.flow[time], noisy, flows.shown_bits(time, t, bank, params)).logits  # (P, 6)
        total += binary_cross_entropy_with_logits(logits, bits, reduction="none")
    return flows.sum_packets(total) / (len(NLL_TIMES) * flows.lengths[:, None].clamp_min(1))
