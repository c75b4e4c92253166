"""TSLANet's blocks on patches of packets: a spectral block with an adaptive filter, and interacting convolutions."""

import torch
from torch import Tensor, nn
from torch.nn import functional

from detectors.shared.encoders import CHANNELS, N_COLUMNS, packet_errors, presence
from janus_bench.columns import MAX_PACKETS

PATCH, STRIDE = 8, 4  # packets
PATCHES = (MAX_PACKETS - PATCH) // STRIDE + 1
DROPOUT = 0.15
THRESHOLD = 0.5  # where that of the adaptive filter begins


class Spectral(nn.Module):
    """Adaptive spectral block: along the patches, every frequency times W, and those with more energy than the
    threshold times the median once more, times W_h."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.every, self.strong = (nn.Parameter(0.02 * torch.randn(width, 2)) for _ in range(2))  # complex
        self.threshold = nn.Parameter(torch.tensor(THRESHOLD))

    def passed(self, spectrum: Tensor) -> Tensor:
        """1 for each frequency of (B, F, W) that has energy enough, (B, F).

        Its gradient to the threshold is 1, as in the public code, though a higher threshold lets less through.
        """
        energy = spectrum.abs().square().sum(dim=2)  # (B, F)
        relative = energy / (energy.median(dim=1, keepdim=True).values + 1e-6)
        return ((relative > self.threshold).float() - self.threshold).detach() + self.threshold

    def forward(self, x: Tensor) -> Tensor:
        """(B, P, W) → (B, P, W)."""
        spectrum = torch.fft.rfft(x, dim=1, norm="ortho")  # (B, F, W)
        every, strong = torch.view_as_complex(self.every), torch.view_as_complex(self.strong)
        filtered = spectrum * every + self.passed(spectrum)[..., None] * spectrum * strong
        return torch.fft.irfft(filtered, n=x.shape[1], dim=1, norm="ortho")


class Interactive(nn.Module):
    """Interactive convolutions: with a of one patch and b of three, conv(a · GELU(b) + b · GELU(a)); hidden width 3
    W."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.one = nn.Conv1d(width, 3 * width, 1)
        self.three = nn.Conv1d(width, 3 * width, 3, padding=1)
        self.last = nn.Conv1d(3 * width, width, 1)
        self.dropout = nn.Dropout(DROPOUT)

    def forward(self, x: Tensor) -> Tensor:
        """(B, P, W) → (B, P, W)."""
        x = x.transpose(1, 2)
        a, b = self.one(x), self.three(x)
        mixed = a * self.dropout(functional.gelu(b)) + b * self.dropout(functional.gelu(a))
        return self.last(mixed).transpose(1, 2)


class PatchBlock(nn.Module):
    """x + interactive(norm(spectral(norm(x)))); in training, a flow skips the block with probability ``skipped``."""

    def __init__(self, width: int, skipped: float) -> None:
        super().__init__()
        self.norms = nn.ModuleList([nn.LayerNorm(width), nn.LayerNorm(width)])
        self.spectral, self.interactive, self.skipped = Spectral(width), Interactive(width), skipped

    def forward(self, x: Tensor) -> Tensor:
        """(B, P, W) → (B, P, W)."""
        inner = self.interactive(self.norms[1](self.spectral(self.norms[0](x))))
        if self.training and self.skipped:
            keep = 1 - self.skipped
            inner = inner * inner.new_empty(len(x), 1, 1).bernoulli_(keep) / keep
        return x + inner


class PatchNetwork(nn.Module):
    """Packets (B, 64, 10) → their reconstruction by each patch that holds them."""

    def __init__(self, width: int, depth: int) -> None:
        super().__init__()
        self.patches = nn.Conv1d(N_COLUMNS, width, PATCH, STRIDE)
        self.positions = nn.Parameter(0.02 * torch.randn(PATCHES, width))
        self.dropout = nn.Dropout(DROPOUT)
        self.blocks = nn.Sequential(*(PatchBlock(width, DROPOUT * i / max(depth - 1, 1)) for i in range(depth)))
        self.head = nn.Linear(width, PATCH * CHANNELS)

    def embedded(self, packets: Tensor) -> Tensor:
        """(B, 64, 10) → one embedding a patch, (B, 15, W)."""
        return self.dropout(self.patches(packets.transpose(1, 2)).transpose(1, 2) + self.positions)

    def forward(self, packets: Tensor, masked: Tensor, leak_free: bool) -> Tensor:
        """``masked`` (B, 15): patches whose packets are hidden, or else, as published, whose embeddings are 0 → (B, 15,
        8, 9), bits as logits."""
        if leak_free:
            x = self.embedded(packets * ~covered(masked)[..., None])
        else:
            x = self.embedded(packets) * ~masked[..., None]
        return self.head(self.blocks(x)).unflatten(2, (PATCH, CHANNELS))


def covered(masked: Tensor) -> Tensor:
    """Packets that lie in a patch of ``masked`` (B, 15), (B, 64)."""
    chosen = masked.float()[:, None]  # (B, 1, 15)
    kernel = torch.ones(1, 1, PATCH, device=masked.device)
    return functional.conv_transpose1d(chosen, kernel, stride=STRIDE)[:, 0] > 0


def begun(packets: Tensor) -> Tensor:
    """Patches of (B, 64, 10) whose first packet is there, (B, 15): those that tell more than the one before."""
    return presence(packets)[:, : PATCHES * STRIDE : STRIDE]


def patch_errors(packets: Tensor, output: Tensor, masked: Tensor) -> tuple[Tensor, Tensor]:
    """Sum of the errors of the valid packets in masked patches, and how many there are, (B,) each; ``output`` (B, 15,
    8, 9)."""
    parts = packets.unfold(1, PATCH, STRIDE).transpose(2, 3).flatten(1, 2)  # (B, 120, 10)
    counted = presence(parts) & masked.repeat_interleave(PATCH, dim=1)  # (B, 120)
    return (packet_errors(parts, output.flatten(1, 2)) * counted).sum(dim=1), counted.sum(dim=1)
