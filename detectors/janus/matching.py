"""Mixed flow matching: the path from noise to data, the pairing of noise with data, the losses, and training.

Continuous entries (OT-CFM: Lipman et al. 2023; Tong et al., TMLR 2024) and bits (discrete flow matching: Gat et al.
2024, mixture path with κ_t = t) of a flow share one time t ~ U(0, 1):

    c_t = (1 − t) c0 + t c1 + σ ε,   u = c1 − c0,   c0, ε ~ N(0, I),   (c0, c1) paired by entropic optimal transport in
                                     the batch
    x_t = x1 with probability t, else x0 from the source, bit by bit
    L   = mean ‖v(c_t, x_t, t) − u‖² + λ_disc · mean −log p(x1 | c_t, x_t, t),   means over the valid entries, and over
    the valid bits, of the batch

Shapes: B flows of the batch, L packets of the longest, P packets of a micro-batch; F, C, D: ``config.Widths``, C + D =
9; E = F + C L entries.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits, mse_loss

from detectors.janus.config import JanusParams
from detectors.janus.model import Network, Prediction
from detectors.janus.packing import Group, Layout, on_device, packed
from detectors.janus.preprocess import Sequences

# of the median cost: squared distances over 23 … 212 dimensions are in the hundreds, where a fixed 0.05 underflows
REGULARISATION = 0.05
TOLERANCE = 1e-3  # relative error of the plan's row sums
MAX_ROUNDS = 50
SCALINGS_PER_ROUND = 10

GRADIENT_CLIP = 1.0
VALIDATION_FLOWS = 2048
"""Validation flows that are used at most: enough to rank epochs, and an epoch's check stays cheaper than the epoch."""

VALIDATION_SEED = 0
"""The noise of the validation loss is the same in every epoch, so that epochs differ by their weights only."""

Progress = Callable[[float, str], None]
Cost = NDArray[np.float64]
Pairing = Callable[[Cost, NDArray[np.int64], torch.Generator], NDArray[np.int64]]
"""From the cost (B, B) of every data row i and noise row j, and the flows' lengths (B,): the noise row of each data
row, a permutation (B,)."""


# the paths


class Weights(NamedTuple):
    """How much each loss counts: 1 and λ_disc, or one of the two alone."""

    continuous: float
    discrete: float


class FlowPath(Protocol):
    """How continuous entries get from noise to data, and what the network is to say on the way: ``GaussianPath``, or a
    variant's."""

    def prepared(self, data: Sequences) -> Sequences:
        """``data`` as the path ends in it."""

    def sample(
        self, entries: Tensor, valid: Tensor, t: Tensor, lengths: NDArray[np.int64], generator: torch.Generator
    ) -> tuple[Tensor, Tensor]:
        """A state at ``t`` (B,) and its target for ``entries`` (B, E), of which ``valid`` (B, E) count, each (B, E)."""

    def arrays(self) -> Mapping[str, NDArray[np.float32]]:
        """What a saved model must hold to make it again, by name."""

    def loss(self, out: Prediction, target: Prediction, entries: int, bits: int) -> Tensor:
        """The share of the batch's loss that ``out`` has, where the batch has so many valid ``entries`` and ``bits``, a
        scalar."""

    def frozen(
        self, t: Tensor, shape: tuple[int, ...], first: int, generator: torch.Generator
    ) -> tuple[Tensor, Tensor]:
        """Noise that is drawn once for all flows, at the times ``t`` (R,): what is added to the kept data, and how much
        of the data is kept.

        Each is of ``shape`` (R, …, e), of the e entries from number ``first`` on; they count the F of FLOW, then the C
        of a packet.
        """


@dataclass(frozen=True)
class GaussianPath:
    """c_t = (1 − t) c0 + t c1 + σ ε with velocity c1 − c0."""

    sigma: float
    weights: Weights
    pair: Pairing

    def prepared(self, data: Sequences) -> Sequences:
        return data

    def arrays(self) -> Mapping[str, NDArray[np.float32]]:
        return {}

    def sample(
        self, entries: Tensor, valid: Tensor, t: Tensor, lengths: NDArray[np.int64], generator: torch.Generator
    ) -> tuple[Tensor, Tensor]:
        noise = torch.randn(entries.shape, generator=generator)  # (B, E)
        cost = transport_cost(entries, valid, noise).double().numpy()  # (B, B)
        noise = noise[torch.from_numpy(self.pair(cost, lengths, generator))]  # (B, E) c0
        blur = torch.randn(entries.shape, generator=generator)  # (B, E) ε
        target = entries - noise  # (B, E) u
        return noise + t[:, None] * target + self.sigma * blur, target

    def loss(self, out: Prediction, target: Prediction, entries: int, bits: int) -> Tensor:
        in_bits = binary_cross_entropy_with_logits(out.logits, target.logits, reduction="sum")
        squares = mse_loss(out.flow, target.flow, reduction="sum") + mse_loss(
            out.packet, target.packet, reduction="sum"
        )
        return self.weights.continuous * squares / max(entries, 1) + self.weights.discrete * in_bits / max(bits, 1)

    def frozen(
        self, t: Tensor, shape: tuple[int, ...], first: int, generator: torch.Generator
    ) -> tuple[Tensor, Tensor]:
        t = t.view(-1, *[1] * (len(shape) - 1))  # (R, 1, …)
        std = torch.sqrt((1.0 - t) ** 2 + self.sigma**2)  # of (1 − t) c0 + σ ε
        return std * torch.randn(shape, generator=generator), t.expand(shape)


def noised_bits(source: str, bits: Tensor, t: Tensor | float, uniform: Tensor, source_bits: Tensor) -> Tensor:
    """x_t of the mixture path, as the network reads bits: −1 / +1, and 0 for masked.

    ``bits`` (..., D) data in {0, 1}; a cell keeps its bit where ``uniform`` < t, else it shows the source: its
    ``source_bits`` (bool), or the mask.
    """
    return torch.where(uniform < t, 2.0 * bits - 1.0, _SOURCES[source](source_bits))


_SOURCES: dict[str, Callable[[Tensor], Tensor]] = {
    "uniform": lambda source_bits: 2.0 * source_bits.float() - 1.0,
    "mask": lambda source_bits: torch.zeros_like(source_bits, dtype=torch.float32),
}


# pairing noise with data


def transport_cost(data: Tensor, valid: Tensor, noise: Tensor) -> Tensor:
    """cost_ij = ‖m_i ⊙ (noise_j − data_i)‖², (B, B): only the entries that flow i has count.

    ``data`` (B, E), ``valid`` (B, E) its mask m, ``noise`` (B, E).
    """
    weight = valid.to(data.dtype)  # (B, E)
    data = data * weight
    cost = weight @ noise.square().T - 2.0 * data @ noise.T + data.square().sum(1, keepdim=True)  # (B, B)
    return cost.clamp_min(0.0)


def sinkhorn(cost: Cost, lengths: NDArray[np.int64], generator: torch.Generator) -> NDArray[np.int64]:  # noqa: ARG001 — a Pairing
    """A permutation drawn from the entropic plan: row after row, each from its row of the plan over the noise that is
    still free.

    Free noise only, so that every draw of c0 is used once and the batch's noise stays N(0, I); sampling with
    replacement would not.  Training shuffles the rows of its batches, so no flow is favoured.  Drawn by the Gumbel-max
    trick.
    """
    uniform = torch.rand(cost.shape, generator=generator).clamp_min(torch.finfo(torch.float32).tiny)
    gumbel = -(-uniform.log()).log().numpy()
    keys = sinkhorn_log_plan(cost) + gumbel  # (B, B)
    chosen = np.empty(len(cost), dtype=np.int64)
    taken = np.zeros(len(cost))  # 0, or −∞ once a noise row is used
    for row in range(len(cost)):
        chosen[row] = best = (keys[row] + taken).argmax()
        taken[best] = -np.inf
    return chosen


def sinkhorn_log_plan(cost: Cost) -> Cost:
    """Log of the entropic transport plan between uniform marginals, (B, B), each row and column summing to 1 / B.

    Sinkhorn in the log domain with ε = 0.05 × the median cost: the potentials live in the log domain, and each round
    scales the kernel that they stabilise by a few matrix–vector products, then absorbs the scalings (Schmitzer 2019):
    as safe as log-sum-exp, and much faster.
    """
    size = len(cost)
    scaled = -cost / (REGULARISATION * max(float(np.median(cost)), 1e-12))  # (B, B)
    # Both potentials start so that the largest entry of every row and of every column of the kernel is 1: no sum can
    # vanish.
    f = -scaled.max(axis=1)  # (B,)
    g = -(scaled + f[:, None]).max(axis=0)  # (B,)
    for _ in range(MAX_ROUNDS):
        kernel = np.exp(scaled + f[:, None] + g)  # (B, B)
        v = np.ones(size)
        for _ in range(SCALINGS_PER_ROUND):
            u = 1.0 / (kernel @ v)
            v = 1.0 / (u @ kernel)
        f, g = f + np.log(u), g + np.log(v)
        if np.abs(u * (kernel @ v) - 1.0).max() < TOLERANCE:  # rows; columns are exact
            break
    return scaled + f[:, None] + g - np.log(size)


# one batch


@dataclass(frozen=True)
class NoisyBatch:
    """One optimiser batch along the path.

    t               (B,)
    flow            (B, F) c_t of the FLOW features
    packets         (B, L, 9) c_t of the C continuous channels, x_t of the D bits as −1 / +1 (0: masked)
    flow_target     (B, F) what ``FlowPath.sample`` says
    packet_target   (B, L, 9) the same of the continuous channels, data bits in {0, 1}
    lengths         (B,) int64, numpy
    """

    t: Tensor
    flow: Tensor
    packets: Tensor
    flow_target: Tensor
    packet_target: Tensor
    lengths: NDArray[np.int64]

    def each(self, change: Callable[[Tensor], Tensor]) -> NoisyBatch:
        """The same batch with every tensor changed, in place or device."""
        t, flow, packets = change(self.t), change(self.flow), change(self.packets)
        return NoisyBatch(t, flow, packets, change(self.flow_target), change(self.packet_target), self.lengths)


def noisy_batch(
    data: Sequences, rows: NDArray[np.int64], params: JanusParams, path: FlowPath, generator: torch.Generator
) -> NoisyBatch:
    """Draw t, noise and source bits for the flows ``rows``, and place them on the path."""
    lengths = data.lengths[rows]
    size, width = len(rows), int(lengths.max())
    features, continuous, _ = params.widths
    dense, mask = data.padded(rows, width)
    packets, valid = torch.from_numpy(dense), torch.from_numpy(mask)  # (B, L, 9), (B, L)
    bits = packets[..., continuous:]  # (B, L, D)
    entries = torch.cat([torch.from_numpy(data.flow[rows]), packets[..., :continuous].flatten(1)], dim=1)  # (B, E)
    # (B, E)
    entry_valid = torch.cat([valid.new_ones(size, features), valid.repeat_interleave(continuous, dim=1)], dim=1)

    t = torch.rand(size, generator=generator)  # (B,)
    state, target = path.sample(entries, entry_valid, t, lengths, generator)  # each (B, E)
    uniform = torch.rand(bits.shape, generator=generator)  # (B, L, D)
    source_bits = torch.rand(bits.shape, generator=generator) < 0.5  # (B, L, D)
    shown = noised_bits(params.discrete_source, bits, t[:, None, None], uniform, source_bits)  # (B, L, D)
    per_packet = (size, width, continuous)
    return NoisyBatch(
        t=t,
        flow=state[:, :features],
        packets=torch.cat([state[:, features:].view(per_packet), shown], dim=2),
        flow_target=target[:, :features],
        packet_target=torch.cat([target[:, features:].view(per_packet), bits], dim=2),
        lengths=lengths,
    )


def batch_loss(network: Network, batch: NoisyBatch, layout: Layout, path: FlowPath) -> Tensor:
    """The part of the batch's loss that the flows of ``layout`` carry, a scalar.

    Normalised by the valid entries of the whole batch, so the sum over any partition into micro-batches is the whole
    batch's loss, and so is its gradient.
    """
    features, continuous, bits = network.widths
    count = int(batch.lengths.sum())
    device = batch.t.device
    rows = torch.from_numpy(layout.rows).to(device)  # (b,) of the batch's B
    # rows and columns, each (P,)
    packets = rows[torch.from_numpy(layout.flow_of).to(device)], torch.from_numpy(layout.position).to(device)
    out = network(batch.flow[rows], batch.packets[packets], network.condition(batch.t[rows]), network.place(layout))
    at_packets = batch.packet_target[packets]  # (P, 9)
    target = Prediction(batch.flow_target[rows], at_packets[:, :continuous], at_packets[:, continuous:])
    return path.loss(out, target, len(batch.lengths) * features + count * continuous, count * bits)


def accumulate_gradient(
    network: Network, batch: NoisyBatch, path: FlowPath, groups: list[Group] | None = None
) -> float:
    """Add the gradient of the whole batch's loss to the network's, one micro-batch after the other; the loss.

    ``groups`` is any partition of the batch's flows; by default the fast one.
    """
    total = 0.0
    for layout in packed(batch.lengths, groups):
        loss = batch_loss(network, batch, layout, path)
        loss.backward()
        total += float(loss.detach())
    return total


# training


def train(
    data: Sequences,
    validation: Sequences,
    params: JanusParams,
    path: FlowPath,
    generator: torch.Generator,
    device: torch.device,
    progress: Progress,
) -> Network:
    """The averaged weights of the epoch with the lowest benign validation loss (of the last epoch where there are no
    validation flows)."""
    network = Network(params, generator).to(device)
    average = copy.deepcopy(network).requires_grad_(False)
    optimiser = torch.optim.AdamW(network.parameters(), lr=params.lr, weight_decay=params.weight_decay, fused=True)
    held_out = _validation_batches(validation, params, path, device)
    best_loss, best_state, best_epoch, step = math.inf, average.state_dict(), 0, 0
    for epoch in range(1, params.epochs + 1):
        total = 0.0
        order = torch.randperm(len(data), generator=generator).numpy()
        for batch in on_device(_batches(data, order, params, path, generator), device):
            optimiser.zero_grad()
            total += len(batch.lengths) * accumulate_gradient(network, batch, path)
            nn.utils.clip_grad_norm_(network.parameters(), GRADIENT_CLIP)
            optimiser.step()
            with torch.no_grad():
                for kept, current in zip(average.parameters(), network.parameters(), strict=True):
                    kept.lerp_(current, 1.0 - averaging(step, params.ema))
            step += 1
        text = f"epoch {epoch}/{params.epochs}, loss {total / len(data):.4f}"
        if held_out:
            loss = _validation_loss(average, held_out, path)
            text += f", validation {loss:.4f}"
            if loss < best_loss:
                best_loss, best_epoch = loss, epoch
                best_state = {name: value.clone() for name, value in average.state_dict().items()}
        progress(epoch / params.epochs, text)
        if held_out and epoch - best_epoch >= params.patience:
            break
    average.load_state_dict(best_state)
    return average


def averaging(step: int, decay: float) -> float:
    """Decay of the averaged weights after optimiser step ``step`` (0, 1, …).

    Warmed up: with a constant .999 a fit of a few hundred steps (``quick`` has 500) would still hold e^(−500/1000) = 61
    % of the random initial weights.  (1 + s) / (10 + s) averages over about the last tenth of the steps so far, until
    ``decay`` is reached (at 8 990).
    """
    return min(decay, (1 + step) / (10 + step))


def _batches(
    data: Sequences, order: NDArray[np.int64], params: JanusParams, path: FlowPath, generator: torch.Generator
) -> Iterator[NoisyBatch]:
    for start in range(0, len(order), params.batch):
        yield noisy_batch(data, order[start : start + params.batch], params, path, generator)


def _validation_batches(
    validation: Sequences, params: JanusParams, path: FlowPath, device: torch.device
) -> list[NoisyBatch]:
    generator = torch.Generator().manual_seed(VALIDATION_SEED)
    order = torch.randperm(len(validation), generator=generator).numpy()[:VALIDATION_FLOWS]
    return list(on_device(_batches(validation, order, params, path, generator), device))


@torch.no_grad()
def _validation_loss(network: Network, batches: list[NoisyBatch], path: FlowPath) -> float:
    losses = [
        sum(float(batch_loss(network, batch, layout, path)) for layout in packed(batch.lengths)) for batch in batches
    ]
    return float(np.average(losses, weights=[len(batch.lengths) for batch in batches]))
