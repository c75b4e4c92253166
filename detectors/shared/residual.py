"""A residual network on rows of features."""

from torch import Tensor, nn


class ResidualMLP(nn.Module):
    """D → width (ReLU), then ``depth`` − 1 times h + ReLU(W h), and linear to ``code``."""

    def __init__(self, inputs: int, width: int, depth: int, code: int) -> None:
        super().__init__()
        self.first = nn.Linear(inputs, width)
        self.residual = nn.ModuleList(nn.Linear(width, width) for _ in range(depth - 1))
        self.last = nn.Linear(width, code)

    def forward(self, rows: Tensor) -> Tensor:
        """Rows (B, D) → codes (B, code)."""
        hidden = self.first(rows).relu()  # (B, W)
        for layer in self.residual:
            hidden = hidden + layer(hidden).relu()
        return self.last(hidden)
