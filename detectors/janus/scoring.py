"""The score columns of a flow, from that flow, the network and a fixed noise bank only.

The reverse ODE takes a flow's continuous entries c1 from t = 1 to the source by K Euler steps, with its bits b shown as
observed:

    z_0 = c1,   v_k = v(z_k, b, t_k),   z_(k+1) = z_k − v_k / K,   t_k = 1 − k / K
    terminal    √ mean z_K²           how far from N(0, I) the flow ends
    velocity    √ mean (v_0 − c1)²    v(c1, 1) − c1 estimates −E[c0 | c1]: zero for an independent coupling and σ = 0
    kinetic     mean_k mean v_k²
    curvature   mean_k mean (v_k − mean_k v_k)²    zero for a straight path at even speed (Liu et al., rectified flow,
                ICLR 2023)
    arc_length  mean_k √ mean v_k²
    disc_nll    mean over t ∈ {¼, ½, ¾} of −log p(b | c_t, x_t, t), with the bank's noise

The means are over FLOW entries, over packet entries (or of the worst packet: ``reduction``), or over all; a sum would
measure the flow's length. Shapes: B flows with P packets in all; F, C, D: ``config.Widths``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits

from detectors.janus.config import BIT_COLUMNS, JanusParams, score_columns
from detectors.janus.matching import FlowPath, noised_bits
from detectors.janus.model import Network
from detectors.janus.packing import Group, Layout, Placement, packed
from detectors.janus.preprocess import Sequences

NLL_TIMES = (0.25, 0.5, 0.75)  # Never t = 1 with x_t = x_1: there the posterior copies what it is shown.


@dataclass(frozen=True)
class NoiseBank:
    """The noise of scoring, the same for every flow: R = 3 times of ``NLL_TIMES``, then (for the bits) the K times of
    the reverse ODE.

    flow, packets            (R, F) and (R, T, C), what is added to the kept data: (1 − t) c0 + σ ε of the Gaussian path
    flow_kept, packets_kept  the same shapes, how much of the data is kept: t
    uniform                  (R + K, T, D) in [0, 1): a cell keeps its bit where it is below t
    coin                     (R + K, T, D) bool: the source bits of the uniform source
    """

    flow: Tensor
    packets: Tensor
    flow_kept: Tensor
    packets_kept: Tensor
    uniform: Tensor
    coin: Tensor

    @classmethod
    def drawn(cls, params: JanusParams, path: FlowPath, generator: torch.Generator) -> NoiseBank:
        features, continuous, bits = params.widths
        t = torch.tensor(NLL_TIMES)  # (R,)
        flow, flow_kept = path.frozen(t, (len(t), features), 0, generator)
        packets, packets_kept = path.frozen(t, (len(t), params.T, continuous), features, generator)
        cells = (len(t) + params.k_steps, params.T, bits)
        uniform, coin = torch.rand(cells, generator=generator), torch.rand(cells, generator=generator) < 0.5
        return cls(flow, packets, flow_kept, packets_kept, uniform, coin)

    def to(self, device: torch.device) -> NoiseBank:
        return NoiseBank(**{name: tensor.to(device) for name, tensor in vars(self).items()})


@torch.inference_mode()
def score_sequences(
    network: Network,
    data: Sequences,
    bank: NoiseBank,
    params: JanusParams,
    groups: list[Group] | None = None,
    bit_network: Network | None = None,
) -> NDArray[np.float64]:
    """The columns of ``score_columns(params)`` for each flow, (n, columns); ``groups``: any partition of the flows, by
    default the fast one; ``bit_network`` scores the bits, if it is another than ``network``."""
    bank = bank.to(network.position.device)
    columns = score_columns(params)
    bit_network = bit_network or network
    conditions, bit_conditions = conditions_of(network, params), conditions_of(bit_network, params)
    scores = np.empty((len(data), len(columns)))
    for layout in packed(data.lengths, groups):
        flows = MicroBatch.of(layout, data, network, params)
        found = {} if params.cont_as_disc else _path_scores(network, conditions, flows, bank, params)
        if params.has_bit_scores:
            found |= _bit_nll(bit_network, bit_conditions, flows, bank, params)
        scores[layout.rows] = torch.stack([found[name] for name in columns], dim=1).cpu().numpy()
    return scores


Conditions = tuple[tuple[Tensor, ...], ...]


def conditions_of(network: Network, params: JanusParams) -> Conditions:
    """The network's modulations at each time of the bank, of which all flows share one."""
    ode_times = 1.0 - torch.arange(params.k_steps) / params.k_steps  # (K,) t_k
    times = torch.cat([torch.tensor(NLL_TIMES), ode_times]).to(network.position.device)  # (R + K,)
    return tuple(network.condition(time[None]) for time in times)


@dataclass(frozen=True)
class MicroBatch:
    """One micro-batch to score.

    flow (B, F) and packets (P, C), c1; bits (P, D); flow_of (P,) flow of each packet; lengths (B,)
    """

    flow: Tensor
    packets: Tensor
    bits: Tensor
    flow_of: Tensor
    lengths: Tensor
    placement: Placement
    reduction: Reduction

    @classmethod
    def of(cls, layout: Layout, data: Sequences, network: Network, params: JanusParams) -> MicroBatch:
        device = network.position.device
        packets = torch.from_numpy(data.packets[layout.packet_rows(data.starts)]).to(device)  # (P, C + D)
        return cls(
            flow=torch.from_numpy(data.flow[layout.rows]).to(device),
            packets=packets[:, : params.widths.continuous],
            bits=packets[:, params.widths.continuous :],
            flow_of=torch.from_numpy(layout.flow_of).to(device),
            lengths=torch.from_numpy(layout.lengths).to(device),
            placement=network.place(layout),
            reduction=_REDUCTIONS[params.reduction],
        )

    def shown_bits(self, time: int, t: float, bank: NoiseBank, params: JanusParams) -> Tensor:
        """x_t of the observed bits by the bank's noise number ``time``, (P, D)."""
        cells = time, self.placement.position
        return noised_bits(params.discrete_source, self.bits, t, bank.uniform[cells], bank.coin[cells])

    def shown_in_step(self, step: int, bank: NoiseBank, params: JanusParams) -> Tensor:
        """The bits that the reverse ODE shows in its step k, (P, D): as observed, or by the bank's noise."""
        if params.bits == "clamped":
            return 2.0 * self.bits - 1.0
        return self.shown_bits(len(NLL_TIMES) + step, 1.0 - step / params.k_steps, bank, params)

    def sum_packets(self, values: Tensor) -> Tensor:
        """Per-flow sums of ``values`` (P, n), (B, n) float64, in packet order, so that company does not change them."""
        return torch.zeros(len(self.flow), values.shape[1], dtype=torch.float64, device=values.device).index_add_(
            0, self.flow_of, values.double()
        )

    def means(self, flow: Tensor, packets: Tensor) -> Tensor:
        """Means of a flow's FLOW entries ``flow`` (B, F), of its packet entries ``packets`` (P, C), reduced, and of
        all, (B, 3) float64."""
        packet_sums = packets.sum(1, keepdim=True)  # (P, 1)
        packet_entries = self.lengths * packets.shape[1]  # (B,)
        entries = torch.stack([torch.full_like(packet_entries, flow.shape[1]), packet_entries], dim=1)  # (B, 2)
        sums = torch.cat([flow.double().sum(1, keepdim=True), self.sum_packets(packet_sums)], dim=1)  # (B, 2)
        each = sums / entries.clamp_min(1)  # (B, 2)
        packet = self.reduction(each[:, 1:], packet_sums, packets.shape[1], self.flow_of)  # (B, 1)
        every = sums.sum(1, keepdim=True) / entries.sum(1, keepdim=True).clamp_min(1)  # (B, 1)
        return torch.cat([each[:, :1], packet, every], dim=1)


Reduction = Callable[[Tensor, Tensor, int, Tensor], Tensor]
"""From means (B, n) over packets, each packet's sums (P, n) over so many entries, its flow (P,): (B, n) float64."""


def _max(means: Tensor, sums: Tensor, entries: int, flow_of: Tensor) -> Tensor:
    """The largest of a flow's packets' own means; 0 without packets."""
    largest = torch.zeros_like(means).scatter_reduce_(
        0, flow_of[:, None].expand_as(sums), sums.double(), "amax", include_self=False
    )
    return largest / entries


_REDUCTIONS: dict[str, Reduction] = {"mean": lambda means, *_: means, "max": _max}


def _path_scores(
    network: Network, conditions: Conditions, flows: MicroBatch, bank: NoiseBank, params: JanusParams
) -> dict[str, Tensor]:
    """What the reverse ODE tells, per flow (B,)."""
    steps = params.k_steps
    at_data = torch.empty(0)
    energy = arc = torch.zeros(len(flows.flow), 3, dtype=torch.float64, device=flows.flow.device)  # (B, 3)
    # Per entry, the mean velocity so far and the sum of squares around it (Welford 1962): the difference of two means
    # of squares would cancel.
    average, around = ([torch.zeros_like(flows.flow), torch.zeros_like(flows.packets)] for _ in range(2))
    z_flow, z_packets = flows.flow, flows.packets  # (B, F), (P, C)
    for k in range(steps):
        state = torch.cat([z_packets, flows.shown_in_step(k, bank, params)], dim=1)  # (P, C + D)
        # (B, F), (P, C)
        v_flow, v_packets, _ = network(z_flow, state, conditions[len(NLL_TIMES) + k], flows.placement)
        z_flow, z_packets = z_flow - v_flow / steps, z_packets - v_packets / steps
        if k == 0:
            at_data = flows.means((v_flow - flows.flow).square(), (v_packets - flows.packets).square())  # (B, 3)
        speed = flows.means(v_flow.square(), v_packets.square())  # (B, 3)
        energy = energy + speed / steps
        arc = arc + speed.sqrt() / steps
        for part, v in enumerate((v_flow, v_packets)):
            off = v - average[part]
            average[part] += off / (k + 1)
            around[part] += off * (v - average[part])
    bend = flows.means(*around) / steps  # (B, 3)
    power = average[1].square() + around[1] / steps  # (P, C), of each entry the mean over steps of v²
    # The worst packet is that of the whole path, not of each step.
    energy[:, 1:2] = flows.reduction(energy[:, 1:2], power.sum(1, keepdim=True), power.shape[1], flows.flow_of)
    terminal = flows.means(z_flow.square(), z_packets.square())  # (B, 3)
    found = {"arc_length": arc[:, 2]}
    for place, (end, whole) in enumerate((("flow", "flow"), ("packet", "packet"), ("norm", "total"))):
        found[f"terminal_{end}"] = terminal[:, place].sqrt()
        found[f"velocity_{whole}"] = at_data[:, place].sqrt()
        found[f"kinetic_{whole}"] = energy[:, place]
        found[f"curvature_{whole}"] = bend[:, place]
    return found


def _bit_nll(
    network: Network, conditions: Conditions, flows: MicroBatch, bank: NoiseBank, params: JanusParams
) -> dict[str, Tensor]:
    """−log p of the observed bits, reduced over packets, (B,): of each discrete channel, and their mean."""
    total, times = bit_nlls(network, conditions, flows, bank, params), len(NLL_TIMES)
    means = flows.sum_packets(total) / (times * flows.lengths[:, None].clamp_min(1))  # (B, D)
    nll = flows.reduction(means, total, times, flows.flow_of)  # (B, D)
    return dict(zip(BIT_COLUMNS, (nll.mean(1), *nll.unbind(1)), strict=True))


def bit_nlls(
    network: Network, conditions: Conditions, flows: MicroBatch, bank: NoiseBank, params: JanusParams
) -> Tensor:
    """−log p of each observed bit, the sum over the bank's times, (P, D)."""
    position = flows.placement.position  # (P,)
    total = torch.zeros_like(flows.bits)  # (P, D)
    for time, t in enumerate(NLL_TIMES):
        noisy_flow = bank.flow_kept[time] * flows.flow + bank.flow[time]  # (B, F)
        noisy = bank.packets_kept[time, position] * flows.packets + bank.packets[time, position]  # (P, C)
        packets = torch.cat([noisy, flows.shown_bits(time, t, bank, params)], dim=1)  # (P, C + D)
        logits = network(noisy_flow, packets, conditions[time], flows.placement).logits  # (P, D)
        total += binary_cross_entropy_with_logits(logits, flows.bits, reduction="none")
    return total
