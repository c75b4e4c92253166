"""ARCADE's networks: a small convolutional autoencoder of packets and a Wasserstein critic of its reconstructions."""

from collections.abc import Callable
from itertools import pairwise

import torch
from torch import Tensor, nn

from detectors.shared.encoders import CHANNELS, N_COLUMNS
from detectors.shared.inputs import N_CONTINUOUS

WIDTHS = (N_COLUMNS, 16, 32, 64)


class _Down(nn.Sequential):
    """Three convolutions of kernel 4 and stride 2, T → T / 8 positions, and a linear layer."""

    def __init__(self, length: int, outputs: int, normalised: bool) -> None:
        layers: list[nn.Module] = []
        for scale, (before, after) in enumerate(pairwise(WIDTHS)):
            layers.append(nn.Conv1d(before, after, 4, 2, padding=1))
            layers += [nn.LayerNorm([after, length >> (scale + 1)])] if normalised else []
            layers.append(nn.LeakyReLU(0.2))
        super().__init__(*layers, nn.Flatten(), nn.Linear(WIDTHS[-1] * (length // 8), outputs))


class Adversaries(nn.Module):
    """Autoencoder and critic of images (B, 10, T), T a multiple of 8."""

    def __init__(self, length: int, code: int) -> None:
        super().__init__()
        self.encoder = _Down(length, code, normalised=False)
        layers: list[nn.Module] = [
            nn.Linear(code, WIDTHS[-1] * (length // 8)),
            nn.ReLU(),
            nn.Unflatten(1, (WIDTHS[-1], length // 8)),
        ]
        for before, after in pairwise((*WIDTHS[:0:-1], CHANNELS)):
            layers += [nn.ConvTranspose1d(before, after, 4, 2, padding=1), nn.ReLU()]
        self.decoder = nn.Sequential(*layers[:-1])
        self.critic = _Down(length, 1, normalised=True)

    def forward(self, x: Tensor) -> Tensor:
        """Image (B, 10, T) → reconstruction (B, 9, T), bits as logits."""
        return self.decoder(self.encoder(x))


def shown(x: Tensor, output: Tensor) -> Tensor:
    """What the critic sees of a reconstruction (B, 9, T): bits as probabilities, and padding and presence as ``x``
    (B, 10, T) has them."""
    values = torch.cat([output[:, :N_CONTINUOUS], output[:, N_CONTINUOUS:].sigmoid()], dim=1)
    return torch.cat([values * x[:, -1:], x[:, -1:]], dim=1)


def penalty(critic: Callable[[Tensor], Tensor], true: Tensor, made: Tensor, share: Tensor) -> Tensor:
    """10 · mean (‖∇ C(u)‖ − 1)², u = ``share`` (B,) of ``made`` and the rest of ``true``, (): Gulrajani et al.,
    2017."""
    between = torch.lerp(true, made, share[:, None, None]).requires_grad_()
    (slope,) = torch.autograd.grad(critic(between).sum(), between, create_graph=True)
    return 10 * (slope.flatten(1).norm(dim=1) - 1).square().mean()
