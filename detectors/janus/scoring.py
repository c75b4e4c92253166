"""The score columns of a flow, computed from that flow, the network and a fixed noise bank only."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits

from detectors.janus.batching import (
    Group,
    Layout,
    group_by_length,
    micro_batches,
)
from detectors.janus.binning import Binning
from detectors.janus.columns import BIT_COLUMNS, score_columns
from detectors.janus.network import Network, Placement, Prediction
from detectors.janus.objective import noised_bits
from detectors.janus.params import JanusParams
from detectors.janus.preprocess import Sequences

__all__ = ["NoiseBank", "reverse_ode", "score_sequences"]

NLL_TIMES = (0.25, 0.5, 0.75)
"""Never t = 1 with x_t = x_1: there the posterior copies what it is shown."""


@dataclass(frozen=True)
class NoiseBank:
    """The noise of scoring, the same for every flow: R = 3 times of ``NLL_TIMES``, then (for the bits) the K times of the reverse ODE.

    flow        (R, F) and packets (R, T, C): what is added to ``kept`` · data: (1 − t) c0 + σ ε of the Gaussian path, drawn as one Gaussian;
                of binned entries the centre of another bin, or 0 where the datum is kept
    flow_kept   (R, F) and packets_kept (R, T, C): t; of binned entries 0 or 1
    uniform     (R + K, T, D) in [0, 1): a cell keeps its bit where it is below t
    coin        (R + K, T, D) bool: the uniform source's bits
    """

    flow: Tensor
    packets: Tensor
    flow_kept: Tensor
    packets_kept: Tensor
    uniform: Tensor
    coin: Tensor

    @classmethod
    def drawn(cls, params: JanusParams, generator: torch.Generator, binning: Binning | None = None) -> NoiseBank:
        """A bank for ``params``; ``binning``: of the continuous entries, where the parameters ask for one."""
        features, continuous, bits = params.widths
        shapes = (len(NLL_TIMES), features), (len(NLL_TIMES), params.T, continuous)
        if binning is None:
            times = torch.tensor(NLL_TIMES)
            std = torch.sqrt((1.0 - times) ** 2 + params.sigma**2)  # (R,)
            flow, packets = (_rows(std, shape) * torch.randn(shape, generator=generator) for shape in shapes)
            flow_kept, packets_kept = (_rows(times, shape).expand(shape) for shape in shapes)
        else:
            centres = torch.from_numpy(binning.centres).split([features, continuous])
            (flow, flow_kept), (packets, packets_kept) = (_bin_noise(*part, generator) for part in zip(centres, shapes, strict=True))
        cells = (len(NLL_TIMES) + params.k_steps, params.T, bits)
        return cls(
            flow=flow,
            packets=packets,
            flow_kept=flow_kept,
            packets_kept=packets_kept,
            uniform=torch.rand(cells, generator=generator),
            coin=torch.rand(cells, generator=generator) < 0.5,
        )

    def to(self, device: torch.device) -> NoiseBank:
        """The same bank on ``device``."""
        return NoiseBank(**{name: tensor.to(device) for name, tensor in vars(self).items()})


def _rows(values: Tensor, shape: tuple[int, ...]) -> Tensor:
    """``values`` (R,) as (R, 1, …), to be broadcast to ``shape``."""
    return values.view(-1, *(1 for _ in shape[1:]))


def _bin_noise(centres: Tensor, shape: tuple[int, ...], generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """What is added and what is kept (0 or 1) of entries with ``centres`` (e, K), both of ``shape`` (R, …, e)."""
    kept = (torch.rand(shape, generator=generator) < _rows(torch.tensor(NLL_TIMES), shape)).float()
    bins = torch.randint(centres.shape[1], shape, generator=generator)
    return centres[torch.arange(shape[-1]), bins] * (1.0 - kept), kept


@torch.inference_mode()
def score_sequences(
    network: Network, data: Sequences, bank: NoiseBank, params: JanusParams, groups: list[Group] | None = None, bit_network: Network | None = None
) -> NDArray[np.float64]:
    """The columns of ``score_columns(params)`` for each flow, (n, columns).

    ``groups`` is any partition of the flows; by default the fast one.  ``bit_network`` scores the bits, if it is another than ``network``.
    """
    device = network.position.device
    bank = bank.to(device)
    columns = score_columns(params)
    velocity_model, bit_model = _Model.of(network, params), _Model.of(bit_network or network, params)
    scores = np.empty((len(data), len(columns)))
    for batch in micro_batches(group_by_length(data.lengths) if groups is None else groups):
        layout = Layout.of(batch, data.lengths)
        packet_rows = data.starts[layout.rows][layout.flow_of] + layout.position  # (P,)
        flows = _Flows(
            placement=network.place(layout),
            flow=torch.from_numpy(data.flow[layout.rows]).to(device),
            packets=torch.from_numpy(data.packets[packet_rows]).to(device),
            flow_of=torch.from_numpy(layout.flow_of).to(device),
            lengths=torch.from_numpy(layout.lengths).to(device),
            continuous=params.widths.continuous,
            reduction=params.reduction,
        )
        found = {} if params.cont_as_disc else _path_scores(velocity_model, flows, bank, params)
        if params.has_bit_scores:
            found |= _bit_nll(bit_model, flows, bank, params)
        scores[layout.rows] = torch.stack([found[name] for name in columns], dim=1).cpu().numpy()
    return scores


@dataclass(frozen=True)
class _Model:
    """A network with its modulations at each time of the bank, of which all flows share one."""

    network: Network
    conditions: tuple[tuple[Tensor, ...], ...]

    @classmethod
    def of(cls, network: Network, params: JanusParams) -> _Model:
        ode_times = 1.0 - torch.arange(params.k_steps) / params.k_steps  # t_k, (K,)
        times = torch.cat([torch.tensor(NLL_TIMES), ode_times]).to(network.position.device)
        return cls(network, tuple(network.condition(time[None]) for time in times))

    def predict(self, time: int, flows: _Flows, flow: Tensor, continuous: Tensor, bits: Tensor) -> Prediction:
        """The heads at the bank's time number ``time``, for states (B, F), (P, C) and shown bits (P, D)."""
        return self.network(flow, torch.cat([continuous, bits], dim=1), self.conditions[time], flows.placement)


@dataclass(frozen=True)
class _Flows:
    """One micro-batch to score: B flows with P packets in all.

    flow        (B, F) and packets (P, C + D), data; ``continuous`` is C
    flow_of     (P,) flow of each packet
    lengths     (B,)
    reduction   how a flow's packets make its score (``JanusParams``)
    """

    placement: Placement
    flow: Tensor
    packets: Tensor
    flow_of: Tensor
    lengths: Tensor
    continuous: int
    reduction: str

    def shown_bits(self, time: int, t: float, bank: NoiseBank, params: JanusParams) -> Tensor:
        """x_t of the observed bits by the bank's noise number ``time``, (P, D)."""
        position = self.placement.position
        return noised_bits(params.discrete_source, self.packets[:, self.continuous :], t, bank.uniform[time, position], bank.coin[time, position])

    def sum_packets(self, values: Tensor) -> Tensor:
        """Per-flow sums of ``values`` (P, C), (B, C) float64, each in packet order, so that company does not change them."""
        return torch.zeros(len(self.flow), values.shape[1], dtype=torch.float64, device=values.device).index_add_(0, self.flow_of, values.double())

    def reduced(self, means: Tensor, sums: Tensor, entries: int) -> Tensor:
        """Scores (B, n) float64 of flows whose packets have ``sums`` (P, n), each of ``entries`` entries, and ``means`` (B, n) over these entries."""
        return _REDUCTIONS[self.reduction](means, sums, entries, self.flow_of)

    def means(self, flow: Tensor, packets: Tensor) -> Tensor:
        """Means of a flow's FLOW entries ``flow`` (B, F), of its packet entries ``packets`` (P, C), and of all, (B, 3) float64.

        A sum would measure the flow's length.  The second is the reduction over packets.
        """
        packet_sums = packets.sum(1, keepdim=True)  # (P, 1)
        packet_entries = self.lengths * self.continuous  # (B,)
        entries = torch.stack([torch.full_like(packet_entries, self.flow.shape[1]), packet_entries], dim=1)  # (B, 2)
        sums = torch.cat([flow.double().sum(1, keepdim=True), self.sum_packets(packet_sums)], dim=1)  # (B, 2)
        each = sums / entries.clamp_min(1)
        packet = self.reduced(each[:, 1:], packet_sums, self.continuous)  # (B, 1)
        return torch.cat([each[:, :1], packet, sums.sum(1, keepdim=True) / entries.sum(1, keepdim=True).clamp_min(1)], dim=1)

    def mean_squares(self, flow: Tensor, packets: Tensor) -> Tensor:
        """The same of squares."""
        return self.means(flow.square(), packets.square())


def _max(means: Tensor, sums: Tensor, entries: int, flow_of: Tensor) -> Tensor:
    """The largest of a flow's packets' own means; 0 without packets."""
    largest = torch.zeros_like(means).scatter_reduce_(0, flow_of[:, None].expand_as(sums), sums.double(), "amax", include_self=False)
    return largest / entries


_REDUCTIONS: dict[str, Callable[[Tensor, Tensor, int, Tensor], Tensor]] = {"mean": lambda means, *_: means, "max": _max}


def reverse_ode(
    velocity: Callable[[int, Tensor, Tensor], tuple[Tensor, Tensor]],
    flow: Tensor,
    packets: Tensor,
    steps: int,
    watch: Callable[[int, Tensor, Tensor], None] | None = None,
) -> tuple[Tensor, Tensor]:
    """From data (t = 1) to the source (t = 0) by ``steps`` Euler steps: z ← z − v(z, t_k) / K at t_k = 1 − k / K.

    ``velocity(k, z_flow, z_packets)`` gives both velocities, which ``watch(k, v_flow, v_packets)`` is shown; ``flow`` (B, F) and ``packets`` (P, C)
    are left untouched.
    """
    for k in range(steps):
        flow_velocity, packet_velocity = velocity(k, flow, packets)
        if watch is not None:
            watch(k, flow_velocity, packet_velocity)
        flow = flow - flow_velocity / steps
        packets = packets - packet_velocity / steps
    return flow, packets


def _path_scores(model: _Model, flows: _Flows, bank: NoiseBank, params: JanusParams) -> dict[str, Tensor]:
    """What the reverse ODE tells, per flow (B,): every score is a mean over entries, or the root of one (of packets: the reduction).

    terminal    root mean square of z_0
    velocity    root mean square of v(c1, 1) − c1, an estimate of −E[c0 | c1]: zero for an independent coupling and σ = 0
    kinetic     mean over steps of v²
    curvature   mean over steps of (v − mean v)², the straightness of Liu et al. (rectified flow, ICLR 2023): zero for a straight path at even speed
    arc_length  mean over steps of the root mean square of v over all entries
    """
    data, steps = flows.packets[:, : flows.continuous], params.k_steps
    bits = flows.packets[:, flows.continuous :]  # (P, D)
    observed = 2.0 * bits - 1.0
    at_data = torch.empty(0)
    energy = arc = torch.zeros(len(flows.flow), 3, dtype=torch.float64, device=flows.flow.device)  # (B, 3)
    # Per entry, the mean velocity so far and the sum of squares around it (Welford 1962): the difference of two means of squares would cancel.
    average, around = [torch.zeros_like(flows.flow), torch.zeros_like(data)], [torch.zeros_like(flows.flow), torch.zeros_like(data)]

    def velocity(k: int, z_flow: Tensor, z_packets: Tensor) -> tuple[Tensor, Tensor]:
        time = len(NLL_TIMES) + k
        shown = observed if params.bits == "clamped" else flows.shown_bits(time, 1.0 - k / steps, bank, params)
        return model.predict(time, flows, z_flow, z_packets, shown)[:2]

    def watch(k: int, v_flow: Tensor, v_packets: Tensor) -> None:
        nonlocal at_data, energy, arc
        if k == 0:
            at_data = flows.mean_squares(v_flow - flows.flow, v_packets - data)
        speed = flows.mean_squares(v_flow, v_packets)
        energy = energy + speed / steps
        arc = arc + speed.sqrt() / steps
        for part, v in enumerate((v_flow, v_packets)):
            off = v - average[part]
            average[part] += off / (k + 1)
            around[part] += off * (v - average[part])

    z_flow, z_packets = reverse_ode(velocity, flows.flow, data, steps, watch)
    bend = flows.means(*around) / steps
    power = average[1].square() + around[1] / steps  # (P, C), of each entry the mean over steps of v²
    energy[:, 1:2] = flows.reduced(energy[:, 1:2], power.sum(1, keepdim=True), flows.continuous)  # the worst packet of the path, not of each step
    terminal = flows.mean_squares(z_flow, z_packets)
    found = {"arc_length": arc[:, 2]}
    for place, (part, whole) in enumerate((("flow", "flow"), ("packet", "packet"), ("norm", "total"))):
        found[f"terminal_{part}"] = terminal[:, place].sqrt()
        found[f"velocity_{whole}"] = at_data[:, place].sqrt()
        found[f"kinetic_{whole}"] = energy[:, place]
        found[f"curvature_{whole}"] = bend[:, place]
    return found


def _bit_nll(model: _Model, flows: _Flows, bank: NoiseBank, params: JanusParams) -> dict[str, Tensor]:
    """Mean over ``NLL_TIMES`` of −log p(b | x_t, c_t), reduced over packets, per flow (B,): of each discrete channel, and the mean over channels."""
    data, bits = flows.packets[:, : flows.continuous], flows.packets[:, flows.continuous :]
    position = flows.placement.position
    total = torch.zeros_like(bits)
    for time, t in enumerate(NLL_TIMES):
        noisy_flow = bank.flow_kept[time] * flows.flow + bank.flow[time]  # (B, F)
        noisy = bank.packets_kept[time, position] * data + bank.packets[time, position]  # (P, C)
        logits = model.predict(time, flows, noisy_flow, noisy, flows.shown_bits(time, t, bank, params)).logits  # (P, D)
        total += binary_cross_entropy_with_logits(logits, bits, reduction="none")
    means = flows.sum_packets(total) / (len(NLL_TIMES) * flows.lengths[:, None].clamp_min(1))  # (B, D)
    nll = flows.reduced(means, total, len(NLL_TIMES))  # (B, D)
    return dict(zip(BIT_COLUMNS, (nll.mean(1), *nll.unbind(1)), strict=True))
