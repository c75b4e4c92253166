"""What learns from the frozen teacher, and how far its maps are from the teacher's: STFPM, RD4AD, MMR."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from detectors.shared.encoders import (
    ChannelNorm,
    Maps,
    PacketTransformer,
    ResidualBlock,
    ResidualCNN,
    halved,
    masked_mean,
    presence,
    smallest,
    stretched,
)

FLOOR = 1e-12
"""Below the logarithm of a product of three distances: where one scale agrees exactly the product is 0."""


class Pair(nn.Module):
    """A frozen teacher and its student.  The teacher is initialised first: with one seed it is the same in every
    detector, and never the student's twin."""

    def __init__(self, width: int, student: Callable[[int], nn.Module]) -> None:
        super().__init__()
        self.teacher = ResidualCNN(width)
        self.student = student(width)


class Embedding(nn.Module):
    """The teacher alone: mean and maximum of its maps over a flow's packets."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.teacher = ResidualCNN(width)

    def forward(self, packets: Tensor) -> Tensor:
        """Packets (B, T, 10) → (B, 14 W)."""
        maps = self.teacher(packets)
        means = [x.sum(dim=2) / mask.sum(dim=2).clamp_min(1) for x, mask in zip(*maps, strict=True)]
        return torch.cat([*means, *(x.amax(dim=2) for x in maps.features)], dim=1)


def squared_distances(taught: Maps, learned: list[Tensor]) -> list[Tensor]:
    """‖t̂ − ŝ‖² at each position and scale, t̂ and ŝ normalised over the channels, (B, T_k); 0 in padding."""
    return [
        (functional.normalize(t, dim=1) - functional.normalize(s, dim=1)).square().sum(dim=1) * mask[:, 0]
        for t, s, mask in zip(taught.features, learned, taught.masks, strict=True)
    ]


def angles(taught: Maps, learned: list[Tensor]) -> list[Tensor]:
    """1 − cos of teacher and student at each position and scale, (B, T_k); 0 in padding."""
    return [
        (1 - functional.cosine_similarity(t, s, dim=1)) * mask[:, 0]
        for t, s, mask in zip(taught.features, learned, taught.masks, strict=True)
    ]


def mean_of_scales(values: list[Tensor], masks: list[Tensor]) -> Tensor:
    """Σ over the scales of the mean over valid positions, (B,)."""
    return torch.stack([masked_mean(each, mask[:, 0]) for each, mask in zip(values, masks, strict=True)]).sum(dim=0)


def flat_angles(taught: Maps, learned: list[Tensor]) -> Tensor:
    """Σ over the scales of 1 − cos of the whole maps, flattened after masking, (B,): RD4AD's loss in its code."""
    return torch.stack(
        [
            1 - functional.cosine_similarity((t * mask).flatten(1), (s * mask).flatten(1), dim=1)
            for t, s, mask in zip(taught.features, learned, taught.masks, strict=True)
        ]
    ).sum(dim=0)


def upsampled(values: list[Tensor]) -> Tensor:
    """Values (B, T_k) of the three scales at all positions, (3, B, T)."""
    length = values[0].shape[1]
    return torch.stack([stretched(each[:, None], length)[:, 0] for each in values])


class Reverse(nn.Module):
    """RD4AD's trainable part: a bottleneck that fuses the teacher's maps into one at T / 8, and a decoder that makes
    the three maps again from it."""

    def __init__(self, width: int) -> None:
        super().__init__()
        one, two, three = width, 2 * width, 4 * width
        self.down = nn.ModuleList([_Conv(one, two), _Conv(two, three), _Conv(two, three)])
        self.fuse = ResidualBlock(3 * three, 2 * three, 2)
        self.up = nn.ModuleList(_Up(before, after) for before, after in ((2 * three, three), (three, two), (two, one)))

    def forward(self, taught: Maps) -> list[Tensor]:
        """The teacher's maps → the decoder's, in the order of the teacher's."""
        (first, second, third), masks = taught.features, taught.masks
        first = self.down[1](self.down[0](first, masks[1]), masks[2])
        second = self.down[2](second, masks[2])
        x = self.fuse(torch.cat([first, second, third], dim=1), halved(masks[2]))  # (B, 8 W, T / 8)
        made: list[Tensor] = []
        for up, mask in zip(self.up, reversed(masks), strict=True):
            x = up(x, mask)
            made.append(x)
        return made[::-1]


class _Conv(nn.Module):
    """conv3 with stride 2 – norm – ReLU."""

    def __init__(self, before: int, after: int) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv1d(before, after, 3, 2, padding=1), ChannelNorm(after)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        return self.norm(self.conv(x)).relu() * mask


class _Up(nn.Module):
    """A transposed convolution to twice as many positions, and a residual block."""

    def __init__(self, before: int, after: int) -> None:
        super().__init__()
        self.widen, self.block = nn.ConvTranspose1d(before, after, 2, 2), ResidualBlock(after, after)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        return self.block(self.widen(x) * mask, mask)


class MaskedStudent(nn.Module):
    """MMR's student: a transformer over the packets that are shown, a mask token with its position for each that is
    not, and a pyramid of convolutions that emits maps of the teacher's shapes."""

    def __init__(self, width: int, tokens: int, layers: int) -> None:
        super().__init__()
        self.encoder = PacketTransformer(tokens, layers)
        self.mask_token = nn.Parameter(torch.zeros(tokens).normal_(std=0.02))
        self.halve = nn.ModuleList(nn.Conv1d(tokens, tokens, 2, 2) for _ in range(2))
        self.norms = nn.ModuleList(ChannelNorm(tokens) for _ in range(2))
        self.lateral = nn.ModuleList(
            nn.ModuleList([nn.Conv1d(tokens, out, 1), ChannelNorm(out), nn.Conv1d(out, out, 3, padding=1)])
            for out in (width, 2 * width, 4 * width)
        )

    def forward(self, packets: Tensor, masked: Tensor | None = None) -> list[Tensor]:
        """Packets (B, T, 10) of which those in ``masked`` (B, T) are not seen → three maps."""
        valid = presence(packets)
        shown = valid if masked is None else valid & ~masked
        tokens = self.encoder(packets * shown[..., None], shown)  # (B, T, D)
        empty = self.mask_token + self.encoder.positions[: packets.shape[1]]
        x = (torch.where(shown[..., None], tokens, empty) * valid[..., None]).transpose(1, 2)  # (B, D, T)
        mask, maps = valid[:, None].to(packets.dtype), []
        lateral: Any
        for scale, lateral in enumerate(self.lateral):
            if scale:
                mask = halved(mask)
                x = functional.gelu(self.norms[scale - 1](self.halve[scale - 1](x))) * mask
            maps.append(lateral[2](lateral[1](lateral[0](x)) * mask) * mask)
        return maps


def drawn_mask(packets: Tensor, share: float, generator: torch.Generator) -> Tensor:
    """That share of each flow's packets, rounded, at random, one at least being left, (B, T)."""
    valid = presence(packets)
    n = valid.sum(dim=1)
    count = torch.minimum((share * n).round().long(), n - 1)
    return smallest(torch.rand(valid.shape, generator=generator).to(valid.device), valid, count)
