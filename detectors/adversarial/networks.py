"""Encoder–decoder–encoder with or without a discriminator, on 64 packets as 1-D images (GANomaly, MFAD, UnDiff)."""

import math
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn

from detectors.shared.encoders import CHANNELS, N_COLUMNS
from detectors.shared.inputs import N_CONTINUOUS


def images(rows: Tensor) -> Tensor:
    """Rows (B, 640) → (B, 10, 64), the last channel 1 where there is a packet."""
    return rows.unflatten(1, (-1, N_COLUMNS)).transpose(1, 2)


class CBAM(nn.Module):
    """Attention over channels, then over positions (Woo et al., ECCV 2018), 1-D: ratio 16, kernel 7."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        inner = max(channels // 16, 1)
        self.channels = nn.Sequential(nn.Linear(channels, inner), nn.ReLU(), nn.Linear(inner, channels))
        self.positions = nn.Conv1d(2, 1, 7, padding=3)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, T) → (B, C, T)."""
        x = x * (self.channels(x.mean(dim=2)) + self.channels(x.amax(dim=2))).sigmoid()[..., None]
        both = torch.stack([x.mean(dim=1), x.amax(dim=1)], dim=1)  # (B, 2, T)
        return x * self.positions(both).sigmoid()


class Encoder(nn.Module):
    """Four convolutions of kernel 4 and stride 2, 64 → 4 positions, W to 8 W channels, batch normalisation after all
    but the first, leaky ReLU; then one of kernel 4 → (B, outputs)."""

    def __init__(self, width: int, outputs: int, attention: bool = False) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for before, after in pairwise((N_COLUMNS, width, 2 * width, 4 * width, 8 * width)):
            layers.append(nn.Conv1d(before, after, 4, 2, padding=1, bias=False))
            layers += [nn.BatchNorm1d(after)] if len(layers) > 1 else []
            layers.append(nn.LeakyReLU(0.2))
            layers += [CBAM(after)] if attention else []
        self.features = nn.Sequential(*layers)
        self.last = nn.Conv1d(8 * width, outputs, 4, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """(B, 10, 64) → (B, outputs)."""
        return self.last(self.features(x))[..., 0]


class Decoder(nn.Module):
    """The encoder mirrored: (B, code) → (B, 9, 64), batch normalisation and ReLU but for the last."""

    def __init__(self, width: int, code: int, attention: bool = False) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for before, after in pairwise((code, 8 * width, 4 * width, 2 * width, width)):
            stride, padding = (2, 1) if layers else (1, 0)
            layers += [nn.ConvTranspose1d(before, after, 4, stride, padding, bias=False), nn.BatchNorm1d(after)]
            layers.append(nn.ReLU())
            layers += [CBAM(after)] if attention else []
        self.layers = nn.Sequential(*layers, nn.ConvTranspose1d(width, CHANNELS, 4, 2, padding=1, bias=False))

    def forward(self, codes: Tensor) -> Tensor:
        return self.layers(codes[..., None])


class Trio(nn.Module):
    """Encoder, decoder, second encoder, whose code is ``extra`` numbers longer, and perhaps a discriminator."""

    def __init__(
        self, width: int, code: int, attention: bool = False, extra: int = 0, discriminator: bool = True
    ) -> None:
        super().__init__()
        self.first = Encoder(width, code, attention)
        self.decoder = Decoder(width, code, attention)
        self.second = Encoder(width, code + extra, attention)
        self.discriminator = Encoder(width, 1, attention) if discriminator else None
        self.apply(_as_dcgan)

    def generator(self) -> list[nn.Parameter]:
        """All parameters but the discriminator's."""
        return [weight for part in (self.first, self.decoder, self.second) for weight in part.parameters()]

    def again(self, x: Tensor, code: Tensor) -> Tensor:
        """The image (B, 10, 64) of a code (B, Z): bits as probabilities, and the presence that ``x`` has."""
        raw, present = self.decoder(code), x[:, -1:]
        values = torch.cat([raw[:, :N_CONTINUOUS], raw[:, N_CONTINUOUS:].sigmoid()], dim=1) * present
        return torch.cat([values, present], dim=1)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Image (B, 10, 64) → z (B, Z), x̂ (B, 10, 64), ẑ (B, Z + extra)."""
        code = self.first(x)
        made = self.again(x, code)
        return code, made, self.second(made)


def _as_dcgan(module: nn.Module) -> None:
    """Weights from N(0, 0.02), scales of batch normalisation from N(1, 0.02)."""
    if isinstance(module, nn.Conv1d | nn.ConvTranspose1d):
        nn.init.normal_(module.weight, 0.0, 0.02)
    elif isinstance(module, nn.BatchNorm1d):
        nn.init.normal_(module.weight, 1.0, 0.02)


def content(x: Tensor, made: Tensor) -> Tensor:
    """Mean absolute difference over the channels of present packets, ()."""
    return (x - made).abs().sum() / (x[:, -1].sum() * CHANNELS)


def evidence(raw: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Three numbers (B, 3) → v > 0, α > 1, β > 0 of a normal-inverse-gamma, (B,) each.

    The paper's code has α = softplus, with which the variance β / (v (α − 1)) turns negative below 1.
    """
    v, alpha, beta = nn.functional.softplus(raw).clamp_min(1e-6).unbind(dim=1)
    return v, 1 + alpha + 1e-3, beta


def student_t_nll(squared: Any, v: Tensor, alpha: Tensor, beta: Tensor) -> Tensor:
    """−log density of √``squared`` (B,) under the normal-inverse-gamma with mean 0 (Amini et al., 2020, eq. 8), (B,):
    a Student t of 2α degrees of freedom with squared scale β (1 + v) / (v α)."""
    omega = 2 * beta * (1 + v)
    return (
        0.5 * (math.pi / v).log()
        - alpha * omega.log()
        + (alpha + 0.5) * (v * squared + omega).log()
        + alpha.lgamma()
        - (alpha + 0.5).lgamma()
    )
