"""The time-conditioned network of the flow-matching detectors: a field on rows (B, D) at times in [0, 1]."""

import torch
from torch import Tensor, nn

EMBEDDING = 128
HIDDEN = 256


class TimeField(nn.Module):
    """MLP (D + 128) → 256 → 256 → D, ReLU, on rows and a sinusoidal embedding of the time (Vaswani et al., 2017;
    frequencies 1 to 10⁻⁴)."""

    frequencies: Tensor

    def __init__(self, width: int) -> None:
        super().__init__()
        self.register_buffer("frequencies", 10_000.0 ** -torch.linspace(0, 1, EMBEDDING // 2), persistent=False)
        self.layers = nn.Sequential(
            nn.Linear(width + EMBEDDING, HIDDEN),
            nn.ReLU(),
            nn.Linear(HIDDEN, HIDDEN),
            nn.ReLU(),
            nn.Linear(HIDDEN, width),
        )

    def forward(self, rows: Tensor, times: Tensor) -> Tensor:
        """Rows (B, D) and times (B,) → field (B, D)."""
        phases = times[:, None] * self.frequencies  # (B, 64)
        return self.layers(torch.cat([rows, phases.sin(), phases.cos()], dim=1))
