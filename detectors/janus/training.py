"""Fitting the network: AdamW, averaged weights, early stopping on benign validation flows."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable

import numpy as np
import torch
from torch import nn

from detectors.janus.batching import Group, Layout, group_by_length, micro_batches
from detectors.janus.network import Network
from detectors.janus.objective import NoisyBatch, batch_loss, noisy_batch
from detectors.janus.params import JanusParams
from detectors.janus.preprocess import Sequences

__all__ = ["accumulate_gradient", "averaging", "train"]

GRADIENT_CLIP = 1.0
VALIDATION_FLOWS = 2048
"""Validation flows that are used at most: enough to rank epochs, and an epoch's check stays cheaper than the epoch."""

VALIDATION_SEED = 0
"""The noise of the validation loss is the same in every epoch, so that epochs differ by their weights only."""


def train(
    data: Sequences,
    validation: Sequences,
    params: JanusParams,
    generator: torch.Generator,
    device: torch.device,
    progress: Callable[[float, str], None],
) -> Network:
    """The averaged weights of the epoch with the lowest benign validation loss (of the last epoch where there are no validation flows)."""
    network = Network(params, generator).to(device)
    average = copy.deepcopy(network).requires_grad_(False)
    optimiser = torch.optim.AdamW(network.parameters(), lr=params.lr, weight_decay=params.weight_decay, fused=True)
    held_out = _validation_batches(validation, params, device)
    best_loss, best_state, best_epoch, step = math.inf, average.state_dict(), 0, 0
    for epoch in range(1, params.epochs + 1):
        order = torch.randperm(len(data), generator=generator).numpy()
        total = 0.0
        for start in range(0, len(order), params.batch):
            rows = order[start : start + params.batch]
            batch = noisy_batch(data, rows, params, generator).to(device)
            optimiser.zero_grad()
            total += len(rows) * accumulate_gradient(network, batch, params.lambda_disc)
            nn.utils.clip_grad_norm_(network.parameters(), GRADIENT_CLIP)
            optimiser.step()
            _average(average, network, averaging(step, params.ema))
            step += 1
        text = f"epoch {epoch}/{params.epochs}, loss {total / len(order):.4f}"
        if held_out:
            loss = _validation_loss(average, held_out, params.lambda_disc)
            text += f", validation {loss:.4f}"
            if loss < best_loss:
                best_loss, best_epoch = loss, epoch
                best_state = {name: value.clone() for name, value in average.state_dict().items()}
        progress(epoch / params.epochs, text)
        if held_out and epoch - best_epoch >= params.patience:
            break
    average.load_state_dict(best_state)
    return average


def accumulate_gradient(network: Network, batch: NoisyBatch, lambda_disc: float, groups: list[Group] | None = None) -> float:
    """Add the gradient of the whole batch's loss to the network's, one micro-batch after the other; the loss.

    ``groups`` is any partition of the batch's flows; by default the fast one.
    """
    total = 0.0
    for part in micro_batches(group_by_length(batch.lengths) if groups is None else groups):
        loss = batch_loss(network, batch, Layout.of(part, batch.lengths), lambda_disc)
        loss.backward()
        total += float(loss.detach())
    return total


def averaging(step: int, decay: float) -> float:
    """Decay of the averaged weights after optimiser step ``step`` (0, 1, …).

    Warmed up: with a constant .999 a fit of a few hundred steps (``quick`` has 500) would still hold e^(−500/1000) = 61 % of the random
    initial weights.  (1 + s) / (10 + s) averages over about the last tenth of the steps so far, until ``decay`` is reached (at 8 990).
    """
    return min(decay, (1 + step) / (10 + step))


@torch.no_grad()
def _average(average: Network, network: Network, decay: float) -> None:
    for kept, current in zip(average.parameters(), network.parameters(), strict=True):
        kept.lerp_(current, 1.0 - decay)


def _validation_batches(validation: Sequences, params: JanusParams, device: torch.device) -> list[NoisyBatch]:
    generator = torch.Generator().manual_seed(VALIDATION_SEED)
    rows = torch.randperm(len(validation), generator=generator).numpy()[:VALIDATION_FLOWS]
    parts = np.split(rows, range(params.batch, len(rows), params.batch)) if len(rows) else []
    return [noisy_batch(validation, part, params, generator).to(device) for part in parts]


@torch.no_grad()
def _validation_loss(network: Network, batches: list[NoisyBatch], lambda_disc: float) -> float:
    losses = []
    for batch in batches:
        layouts = (Layout.of(groups, batch.lengths) for groups in micro_batches(group_by_length(batch.lengths)))
        losses.append(sum(float(batch_loss(network, batch, layout, lambda_disc)) for layout in layouts))
    return float(np.average(losses, weights=[len(batch.lengths) for batch in batches]))
