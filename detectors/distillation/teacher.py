"""The frozen teacher of the distillation rows: a residual network that learned to fill in hidden packets of benign
flows, or a random one."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from detectors.shared.encoders import (
    CHANNELS,
    ResidualCNN,
    as_packets,
    by_length,
    hidden,
    masked_mean,
    packet_errors,
    presence,
    smallest,
    stretched,
)
from detectors.shared.sequences import AT_ONCE
from detectors.shared.training import Phase, Schedule, cosine, seeded_initialisation, train_phases
from janus_bench.columns import MAX_PACKETS
from janus_bench.contract import FitContext

HIDDEN = 0.3
"""Probability that a packet is hidden in the pretext task."""


class FillIn(nn.Module):
    """The teacher under a head that fills in hidden packets: the three maps, each through a 1×1 convolution, at all
    positions; their sum, conv3, ReLU, 1×1 → 9 channels."""

    def __init__(self, teacher: ResidualCNN) -> None:
        super().__init__()
        inner = 2 * teacher.widths[0]
        self.teacher = teacher
        self.scales = nn.ModuleList(nn.Conv1d(width, inner, 1) for width in teacher.widths)
        self.head = nn.Sequential(nn.Conv1d(inner, inner, 3, padding=1), nn.ReLU(), nn.Conv1d(inner, CHANNELS, 1))

    def errors(self, packets: Tensor, draws: Tensor) -> Tensor:
        """Error of each flow in its hidden packets, (B,); draws (B, T) from U(0, 1) say which: at least one, and not
        all where a flow has two or more."""
        valid = presence(packets)
        packets_kept = valid.sum(dim=1)
        wanted = (valid & (draws < HIDDEN)).sum(dim=1).clamp_min(1)
        mask = smallest(draws, valid, torch.minimum(wanted, (packets_kept - 1).clamp_min(1)))
        maps = self.teacher.of(hidden(packets, mask), valid)
        summed = sum(stretched(scale(x), packets.shape[1]) for scale, x in zip(self.scales, maps.features, strict=True))
        return masked_mean(packet_errors(packets, self.head(summed).transpose(1, 2)), mask)


def pretrain(
    teacher: ResidualCNN, rows: NDArray[np.float32], validation: NDArray[np.float32], epochs: int, ctx: FitContext
) -> None:
    """Train the teacher in place on benign rows (n, 640); the weights of the epoch with the lowest error on the
    validation rows are kept, in whose packets the same ones are hidden every time."""
    with seeded_initialisation(ctx.seed):
        network = FillIn(teacher).to(ctx.device)
    held_out = torch.from_numpy(validation)  # NumPy takes an index of one element for a number, and a dimension is lost
    draws = torch.rand(len(validation), MAX_PACKETS, generator=torch.Generator().manual_seed(ctx.seed))

    def loss(batch: Tensor, _: Tensor, generator: torch.Generator) -> Tensor:
        errors = []
        for part in by_length(batch):
            packets = as_packets(batch[part])
            errors.append(
                network.errors(packets, torch.rand(packets.shape[:2], generator=generator).to(packets.device))
            )
        return torch.cat(errors).mean()

    @torch.inference_mode()
    def validate() -> float:
        total = 0.0
        for part in torch.arange(len(validation)).split(AT_ONCE):
            packets = as_packets(held_out[part].to(ctx.device))
            total += float(network.errors(packets, draws[part, : packets.shape[1]].to(packets.device)).sum())
        return total / len(validation)

    schedule = Schedule(
        epochs, 128, 1e-3, patience=epochs, optimiser="adamw", weight_decay=1e-4, lr_factor=cosine(epochs)
    )
    train_phases(
        [network], rows, [Phase(network.parameters(), loss)], schedule, ctx, validate if len(validation) else None
    )
