"""The network: a transformer whose attention (series) is set against a Gaussian of the distance in time (prior)."""

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from detectors.shared.encoders import CHANNELS, N_COLUMNS, masked_mean, sines
from janus_bench.columns import MAX_PACKETS

EPSILON = 1e-4  # below the logarithms of the divergences, as in the public code


class Associations(NamedTuple):
    """Of one layer: where each position attends to, and where its Gaussian lies, (B, H, T, T), rows with sum 1."""

    series: Tensor
    prior: Tensor


def spread(linear: Tensor) -> Tensor:
    """σ = 3^(sigmoid(5 s) + 10⁻⁵) − 1, in (0, 2]."""
    return 3 ** (torch.sigmoid(5 * linear) + 1e-5) - 1


def prior_of(sigma: Tensor, valid: Tensor) -> Tensor:
    """Gaussian of |i − j| with the spread of row i, over the valid positions: σ (B, H, T), valid (B, T) → (B, H, T,
    T)."""
    steps = torch.arange(sigma.shape[-1], device=sigma.device)
    squares = (steps[:, None] - steps).square()  # (T, T)
    exponents = -squares / (2 * sigma[..., None].square())
    return exponents.masked_fill(~valid[:, None, None, :], -math.inf).softmax(dim=-1)


def divergence(series: Tensor, prior: Tensor) -> Tensor:
    """KL(P ‖ S) + KL(S ‖ P) of each row, mean over the heads, (B, T)."""
    ratio = (prior + EPSILON).log() - (series + EPSILON).log()
    return ((prior - series) * ratio).sum(dim=-1).mean(dim=1)


class Layer(nn.Module):
    """Anomaly attention and a feed-forward network, each followed by its sum with the input and a layer norm."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.query, self.key, self.value, self.out = (nn.Linear(width, width) for _ in range(4))
        self.sigma = nn.Linear(width, heads)
        self.feed = nn.Sequential(nn.Linear(width, width), nn.GELU(), nn.Linear(width, width))
        self.norms = nn.ModuleList([nn.LayerNorm(width), nn.LayerNorm(width)])

    def forward(self, x: Tensor, valid: Tensor) -> tuple[Tensor, Associations]:
        """Tokens (B, T, W) → tokens and associations; positions that are not valid are attended to by none."""
        query, key, value = (
            part(x).unflatten(2, (self.heads, -1)).transpose(1, 2) for part in (self.query, self.key, self.value)
        )  # (B, H, T, W / H)
        scores = query @ key.transpose(2, 3) / math.sqrt(query.shape[-1])
        series = scores.masked_fill(~valid[:, None, None, :], -math.inf).softmax(dim=-1)  # (B, H, T, T)
        prior = prior_of(spread(self.sigma(x)).transpose(1, 2), valid)
        x = self.norms[0](x + self.out((series @ value).transpose(1, 2).flatten(2)))
        return self.norms[1](x + self.feed(x)), Associations(series, prior)


class AssociationNetwork(nn.Module):
    """Packets → their reconstruction and the associations of every layer."""

    positions: Tensor

    def __init__(self, width: int, layers: int, heads: int) -> None:
        super().__init__()
        self.embed = nn.Conv1d(N_COLUMNS, width, 3, padding=1)
        self.register_buffer("positions", sines(MAX_PACKETS, width), persistent=False)
        self.layers = nn.ModuleList(Layer(width, heads) for _ in range(layers))
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, CHANNELS)

    def forward(self, packets: Tensor, valid: Tensor) -> tuple[Tensor, list[Associations]]:
        """Packets (B, T, 10), valid (B, T) → (B, T, 9), bits as logits, and one pair a layer."""
        x = self.embed(packets.transpose(1, 2)).transpose(1, 2) + self.positions[: packets.shape[1]]
        associations = []
        for layer in self.layers:
            x, pair = layer(x, valid)
            associations.append(pair)
        return self.head(self.norm(x)), associations


def minimax(errors: Tensor, associations: list[Associations], valid: Tensor, k: float) -> Tensor:
    """Both phases of the minimax training as one loss, (): 2 · error − k · A(S, P fixed) + k · A(P, S fixed), with the
    gradients of the published two; ``errors`` (B, T)."""
    apart = [divergence(series.detach(), prior) - divergence(series, prior.detach()) for series, prior in associations]
    return (2 * errors + k * torch.stack(apart).mean(dim=0))[valid].mean()


def criterion(errors: Tensor, associations: list[Associations], valid: Tensor, temperature: float) -> Tensor:
    """Σ_i softmax_i(−temperature · Σ_layers divergence_i) · error_i over the valid positions, (B,)."""
    total: Tensor = torch.stack([divergence(*pair) for pair in associations]).sum(dim=0)  # (B, T)
    weights = functional.softmax((-temperature * total).masked_fill(~valid, -math.inf), dim=1)
    return (weights * errors).sum(dim=1)


def reconstruction(errors: Tensor, valid: Tensor) -> Tensor:
    """Mean error over the valid positions, (B,)."""
    return masked_mean(errors, valid)
