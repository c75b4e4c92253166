"""Fitting the network: AdamW, averaged weights, early stopping on benign validation flows."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
from torch import nn

from detectors.janus.batching import (
    Group,
    Layout,
    group_by_length,
    micro_batches,
)
from detectors.janus.binning import Binning
from detectors.janus.network import Network
from detectors.janus.objective import (
    NoisyBatch,
    Weights,
    batch_loss,
    noisy_batch,
)
from detectors.janus.params import JanusParams
from detectors.janus.preprocess import Sequences

__all__ = ["accumulate_gradient", "averaging", "prefetched", "train"]

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
    *,
    weights: Weights | None = None,
    binning: Binning | None = None,
) -> Network:
    """The averaged weights of the epoch with the lowest benign validation loss (of the last epoch where there are no validation flows).

    weights  of the two losses, 1 and λ_disc by default
    binning  of the continuous entries of ``data`` and ``validation``, where ``params`` ask for one
    """
    weights = weights or Weights(1.0, params.lambda_disc)
    network = Network(params, generator).to(device)
    average = copy.deepcopy(network).requires_grad_(False)
    optimiser = torch.optim.AdamW(network.parameters(), lr=params.lr, weight_decay=params.weight_decay, fused=True)
    held_out = _validation_batches(validation, params, device, binning)
    best_loss, best_state, best_epoch, step = math.inf, average.state_dict(), 0, 0
    for epoch in range(1, params.epochs + 1):
        total = 0.0
        for batch in _on_device(_epoch(data, params, generator, binning), device):
            optimiser.zero_grad()
            total += len(batch.lengths) * accumulate_gradient(network, batch, weights)
            nn.utils.clip_grad_norm_(network.parameters(), GRADIENT_CLIP)
            optimiser.step()
            _average(average, network, averaging(step, params.ema))
            step += 1
        text = f"epoch {epoch}/{params.epochs}, loss {total / len(data):.4f}"
        if held_out:
            loss = _validation_loss(average, held_out, weights)
            text += f", validation {loss:.4f}"
            if loss < best_loss:
                best_loss, best_epoch = loss, epoch
                best_state = {name: value.clone() for name, value in average.state_dict().items()}
        progress(epoch / params.epochs, text)
        if held_out and epoch - best_epoch >= params.patience:
            break
    average.load_state_dict(best_state)
    return average


def _epoch(data: Sequences, params: JanusParams, generator: torch.Generator, binning: Binning | None) -> Iterator[NoisyBatch]:
    order = torch.randperm(len(data), generator=generator).numpy()
    for start in range(0, len(order), params.batch):
        yield noisy_batch(data, order[start : start + params.batch], params, generator, binning)


def _on_device(batches: Iterator[NoisyBatch], device: torch.device) -> Iterator[NoisyBatch]:
    """``batches`` where the network is.  For a GPU a thread draws the next one, into pinned memory, while the last is learnt from."""
    return batches if device.type == "cpu" else (batch.to(device) for batch in prefetched(batch.pinned() for batch in batches))


def prefetched(batches: Iterator[NoisyBatch]) -> Iterator[NoisyBatch]:
    """The same batches in the same order, each drawn by one other thread while its predecessor is in use."""
    with ThreadPoolExecutor(max_workers=1) as thread:
        upcoming = thread.submit(next, batches, None)
        while (batch := upcoming.result()) is not None:
            upcoming = thread.submit(next, batches, None)
            yield batch


def accumulate_gradient(network: Network, batch: NoisyBatch, weights: Weights, groups: list[Group] | None = None) -> float:
    """Add the gradient of the whole batch's loss to the network's, one micro-batch after the other; the loss.

    ``groups`` is any partition of the batch's flows; by default the fast one.
    """
    total = 0.0
    for part in micro_batches(group_by_length(batch.lengths) if groups is None else groups):
        loss = batch_loss(network, batch, Layout.of(part, batch.lengths), weights)
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


def _validation_batches(validation: Sequences, params: JanusParams, device: torch.device, binning: Binning | None = None) -> list[NoisyBatch]:
    generator = torch.Generator().manual_seed(VALIDATION_SEED)
    rows = torch.randperm(len(validation), generator=generator).numpy()[:VALIDATION_FLOWS]
    parts = np.split(rows, range(params.batch, len(rows), params.batch)) if len(rows) else []
    return [noisy_batch(validation, part, params, generator, binning).to(device) for part in parts]


@torch.no_grad()
def _validation_loss(network: Network, batches: list[NoisyBatch], weights: Weights) -> float:
    losses = []
    for batch in batches:
        layouts = (Layout.of(groups, batch.lengths) for groups in micro_batches(group_by_length(batch.lengths)))
        losses.append(sum(float(batch_loss(network, batch, layout, weights)) for layout in layouts))
    return float(np.average(losses, weights=[len(batch.lengths) for batch in batches]))
