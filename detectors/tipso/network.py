"""An autoencoder whose decoder is a generator, and a critic that tells rows from reconstructions."""

from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

CODE = 100
REAL, MADE = 0.9, 0.1  # smoothed labels of the critic


def _dense(activation: Any, *widths: int) -> nn.Sequential:
    """Linear layers with ``activation`` between them."""
    layers: list[nn.Module] = []
    for before, after in pairwise(widths):
        layers += [nn.Linear(before, after), activation()]
    return nn.Sequential(*layers[:-1])


class AdversarialAutoencoder(nn.Module):
    """Encoder D → 256 → 128 → 100, generator 100 → 256 → 256 (tanh) → D, critic D → 256 → 128 → 64 → 1."""

    def __init__(self, inputs: int) -> None:
        super().__init__()
        self.encoder = _dense(nn.ReLU, inputs, 256, 128, CODE)
        self.generator = nn.Sequential(
            nn.Linear(CODE, 256), nn.ReLU(), nn.Linear(256, 256), nn.Tanh(), nn.Linear(256, inputs)
        )
        self.critic = _dense(nn.LeakyReLU, inputs, 256, 128, 64, 1)

    def forward(self, rows: Tensor) -> Tensor:
        """Rows (B, D) → reconstructions (B, D)."""
        return self.generator(self.encoder(rows))

    def measured(self, rows: Tensor) -> Tensor:
        """Mean squared error of the reconstruction, and −logit of the critic, (B, 2)."""
        return torch.stack([(self(rows) - rows).square().mean(dim=1), -self.critic(rows)[:, 0]], dim=1)

    def critic_loss(self, rows: Tensor) -> Tensor:
        """Cross-entropy of rows against reconstructions, with smoothed labels, ()."""
        real, made = self.critic(rows), self.critic(self(rows).detach())
        return (_against(real, REAL) + _against(made, MADE)) / 2

    def generator_loss(self, rows: Tensor, adversarial: float, reconstruction: float) -> Tensor:
        """Weighted sum of the reconstruction error and of what the critic makes of it, ()."""
        output = self(rows)
        return reconstruction * functional.mse_loss(output, rows) + adversarial * _against(self.critic(output), REAL)


def _against(logits: Tensor, label: float) -> Tensor:
    return functional.binary_cross_entropy_with_logits(logits, torch.full_like(logits, label))
