"""Training of the networks on plain matrices: what a seed decides."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch

from detectors.shared.training import Schedule, train
from tests.factories import context


def orders(seed: int) -> list[list[float]]:
    """The rows of every batch of two epochs, and the first number that the loss draws in each."""
    network, seen = torch.nn.Linear(1, 1), []

    def loss(rows: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        seen.append([*rows[:, 0].tolist(), float(torch.rand(1, generator=generator))])
        return network(rows).square().mean()

    train(network, np.arange(50, dtype=np.float32)[:, None], loss, Schedule(2, 20, 1e-3), replace(context(), seed=seed))
    return seen


def test_the_seed_decides_batches_and_whatever_the_loss_draws():
    one, again, other = orders(1), orders(1), orders(2)
    assert one == again
    assert [len(batch) - 1 for batch in one] == [20, 20, 10] * 2
    for epoch in (one[:3], one[3:], other[:3]):
        assert sorted(number for batch in epoch for number in batch[:-1]) == list(range(50))
    assert [batch[:-1] for batch in one[:3]] != [batch[:-1] for batch in one[3:]]
    assert [batch[:-1] for batch in one] != [batch[:-1] for batch in other]
    assert {batch[-1] for batch in one}.isdisjoint(batch[-1] for batch in other)
