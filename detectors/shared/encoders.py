"""Networks on packets that several detectors share: masks and pooling over positions, a residual convolutional
network, a transformer with packets as tokens, and the error of reconstructed packets."""

import math
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from detectors.shared.inputs import N_CONTINUOUS, PACKET_COLUMNS
from janus_bench.columns import MAX_PACKETS

N_COLUMNS = len(PACKET_COLUMNS)
CHANNELS = N_COLUMNS - 1
"""Columns of a packet that can be reconstructed: all but ``present``."""

LENGTHS = (8, 16, 32, MAX_PACKETS)
"""To which numbers of positions packets are cut, where no flow has more: padding costs time and tells nothing."""

WORTH = 2048
"""Positions that a part of a batch has to spare: each part costs some time of its own."""


def as_packets(rows: Tensor) -> Tensor:
    """Rows (B, 640) → packets (B, T, 10), T the smallest of ``LENGTHS`` that holds every flow of the batch."""
    packets = rows.unflatten(1, (-1, N_COLUMNS))  # (B, 64, 10)
    longest = int(packets[..., -1].sum(dim=1).max())
    return packets[:, : next(length for length in LENGTHS if length >= longest)]


def by_length(rows: Tensor) -> list[Tensor]:
    """Numbers of the rows (B, 640) in parts, from short flows to long ones: a batch that ``as_packets`` cuts to its
    longest flow is mostly padding.  Flows that would spare fewer than ``WORTH`` positions stay with longer ones."""
    lengths = rows[:, N_COLUMNS - 1 :: N_COLUMNS].sum(dim=1)  # (B,)
    group = torch.bucketize(lengths, lengths.new_tensor(LENGTHS))
    parts: list[Tensor] = []
    cut = 0
    for k in reversed(range(len(LENGTHS))):
        chosen = (group == k).nonzero()[:, 0]
        if parts and len(chosen) * (cut - LENGTHS[k]) < WORTH:
            parts[-1] = torch.cat([parts[-1], chosen])
        elif len(chosen):
            parts.append(chosen)
            cut = LENGTHS[k]
    return parts[::-1]


def presence(packets: Tensor) -> Tensor:
    """Which positions of (B, T, 10) hold a packet, (B, T) bool."""
    return packets[..., -1] > 0


def smallest(draws: Tensor, valid: Tensor, count: Tensor) -> Tensor:
    """The ``count`` (B,) valid positions of (B, T) that have the smallest draws, (B, T) bool."""
    ranks = draws.masked_fill(~valid, math.inf).argsort(dim=1).argsort(dim=1)  # (B, T)
    return valid & (ranks < count[:, None])


def hidden(packets: Tensor, mask: Tensor) -> Tensor:
    """Packets (B, T, 10) of which those in ``mask`` (B, T) are as if they were padding."""
    return packets * ~mask[..., None]


def masked_mean(values: Tensor, mask: Tensor) -> Tensor:
    """Mean of (B, T) over the positions in ``mask`` (B, T), (B,); 0 where there are none."""
    return (values * mask).sum(dim=1) / mask.sum(dim=1).clamp_min(1)


def pooled(values: Tensor, mask: Tensor, how: str) -> Tensor:
    """Values (B, T) ≥ 0 over the positions in ``mask`` → ``max`` or ``mean``, (B,)."""
    return masked_mean(values, mask) if how == "mean" else (values * mask).amax(dim=1)


def packet_errors(packets: Tensor, output: Tensor) -> Tensor:
    """Of packets (B, T, 10) and their reconstructions (B, T, 9), bits as logits: mean squared error of the continuous
    channels plus mean binary cross-entropy of the bits, (B, T)."""
    squares = (packets[..., :N_CONTINUOUS] - output[..., :N_CONTINUOUS]).square().mean(dim=2)  # (B, T)
    bits = functional.binary_cross_entropy_with_logits(
        output[..., N_CONTINUOUS:], packets[..., N_CONTINUOUS:-1], reduction="none"
    ).mean(dim=2)
    return squares + bits


class ChannelNorm(nn.LayerNorm):
    """Layer normalisation of (B, C, T) over the channels of each position: no statistics of a batch, and none of
    padding."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.transpose(1, 2)).transpose(1, 2)


class ResidualBlock(nn.Module):
    """Residual block: conv3 – norm – ReLU – conv3 – norm – (+ skip) – ReLU, (B, C, T) → (B, C′, T / stride).

    What is not in the mask of the result is 0 after each convolution, so that padding cannot leak.
    """

    def __init__(self, before: int, after: int, stride: int = 1) -> None:
        super().__init__()
        self.first = nn.Conv1d(before, after, 3, stride, padding=1)
        self.second = nn.Conv1d(after, after, 3, padding=1)
        self.norms = nn.ModuleList([ChannelNorm(after), ChannelNorm(after)])
        alike = before == after and stride == 1
        self.skip: nn.Module = nn.Identity() if alike else nn.Conv1d(before, after, 1, stride)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        inner = self.norms[0](self.first(x)).relu() * mask
        return (self.norms[1](self.second(inner)) + self.skip(x)).relu() * mask


def halved(mask: Tensor) -> Tensor:
    """Mask (B, 1, T) at half as many positions: whether either of two holds a packet."""
    return functional.max_pool1d(mask, 2)


class Maps(NamedTuple):
    """Features at three scales, (B, C_k, T / 2^k), and their masks (B, 1, T / 2^k) of 0 and 1."""

    features: list[Tensor]
    masks: list[Tensor]


class ResidualCNN(nn.Module):
    """Stem and three stages of two residual blocks: W channels at T positions, 2 W at T / 2, 4 W at T / 4."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.widths = (width, 2 * width, 4 * width)
        self.stem = nn.Conv1d(N_COLUMNS, width, 3, padding=1)
        self.stages = nn.ModuleList(
            nn.ModuleList([ResidualBlock(before, after, stride), ResidualBlock(after, after)])
            for before, after, stride in zip((width, *self.widths), self.widths, (1, 2, 2), strict=False)
        )

    def forward(self, packets: Tensor) -> Maps:
        """Packets (B, T, 10), T a multiple of 4."""
        return self.of(packets, presence(packets))

    def of(self, packets: Tensor, valid: Tensor) -> Maps:
        """Of packets (B, T, 10) some of which may be hidden; ``valid`` (B, T): where there is one at all."""
        mask = valid[:, None].to(packets.dtype)  # (B, 1, T)
        x = self.stem(packets.transpose(1, 2)).relu() * mask
        maps = Maps([], [])
        stage: Any
        for stage in self.stages:
            mask = halved(mask) if maps.masks else mask
            x = stage[1](stage[0](x, mask), mask)
            maps.features.append(x)
            maps.masks.append(mask)
        return maps


def stretched(x: Tensor, length: int) -> Tensor:
    """(B, C, T / 2^k) → (B, C, T), each position repeated."""
    return x if x.shape[-1] == length else functional.interpolate(x, size=length, mode="nearest")


def sines(positions: int, width: int) -> Tensor:
    """Fixed sine and cosine positions (Vaswani et al., 2017), (positions, width); ``width`` is even."""
    phases = torch.arange(positions)[:, None] * 10_000.0 ** (-torch.arange(0, width, 2) / width)
    return torch.stack([phases.sin(), phases.cos()], dim=2).flatten(1)


class PacketTransformer(nn.Module):
    """Packets as tokens: linear embedding and sine positions, then self-attention among the packets that are shown.

    Positions are those of the flow, whether packets before are shown or not.
    """

    positions: Tensor

    def __init__(self, width: int, layers: int, heads: int = 4) -> None:
        super().__init__()
        self.embed = nn.Linear(N_COLUMNS, width)
        self.register_buffer("positions", sines(MAX_PACKETS, width), persistent=False)
        layer = nn.TransformerEncoderLayer(
            width, heads, 4 * width, dropout=0.0, activation="gelu", batch_first=True, norm_first=True
        )
        self.layers = nn.TransformerEncoder(layer, layers, norm=nn.LayerNorm(width), enable_nested_tensor=False)

    def forward(self, packets: Tensor, shown: Tensor) -> Tensor:
        """Packets (B, T, 10), ``shown`` (B, T) bool → tokens (B, T, W); those that are not shown influence none."""
        absent = ~shown
        # attention among nothing would be 0 / 0
        absent = absent & ~(absent.all(dim=1, keepdim=True) & (torch.arange(absent.shape[1], device=shown.device) == 0))
        tokens = self.embed(packets) + self.positions[: packets.shape[1]]
        return self.layers(tokens, src_key_padding_mask=absent)
