"""Training of the networks on plain matrices: what a seed decides."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch

from detectors.shared.training import Phase, Schedule, cosine, train, train_phases, warm_up
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


def steps(schedule: Schedule, every: int = 1, rows: int = 10) -> list[list[float]]:
    """The weight of a network whose loss has slope 1 everywhere, before each step of the second of two phases."""
    networks, seen = [torch.nn.Linear(1, 1, bias=False) for _ in range(2)], []

    def loss(number: int):
        def of(batch: torch.Tensor, index: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
            assert torch.equal(batch[:, 0], index.float())
            if number == 1:
                seen.append([*(network.weight.item() for network in networks), len(index)])
            return networks[number].weight.sum()

        return of

    for network in networks:
        torch.nn.init.zeros_(network.weight)
    phases = [Phase(network.parameters(), loss(i), (1, every)[i]) for i, network in enumerate(networks)]
    train_phases(networks, np.arange(rows, dtype=np.float32)[:, None], phases, schedule, context())
    return seen


def test_phases_take_turns_each_with_its_own_optimiser():
    seen = steps(Schedule(2, 4, 1.0, optimiser="sgd"), every=2)  # three batches an epoch: steps 0, 2, 4
    assert seen == [[-1, 0, 4], [-3, -1, 2], [-5, -2, 4]]


def test_the_rate_follows_its_factor_and_a_short_last_batch_can_be_left_out():
    seen = steps(Schedule(3, 4, 1.0, optimiser="sgd", lr_factor=lambda epoch: 10.0**epoch, drop_last=True))
    assert [second for _, second, _ in seen] == [0, -1, -2, -12, -22, -122]
    assert len(steps(Schedule(1, 40, 1.0, drop_last=True))) == 1  # the only batch is never left out


def test_the_gradient_is_clipped_phase_by_phase():
    seen = steps(Schedule(2, 10, 1.0, optimiser="sgd", clip=0.25))
    np.testing.assert_allclose(seen, [[-0.25, 0, 10], [-0.5, -0.25, 10]], rtol=1e-5)


def test_rates_along_half_a_cosine_and_up_a_stair():
    np.testing.assert_allclose([cosine(4)(epoch) for epoch in (0, 2, 4)], [1, 0.5, 0], atol=1e-12)
    assert [warm_up(4)(epoch) for epoch in (0, 1, 3, 9)] == [0.25, 0.5, 1, 1]


def test_all_networks_get_back_the_weights_of_the_best_epoch():
    networks = [torch.nn.Linear(1, 1, bias=False) for _ in range(2)]
    phases = [Phase(network.parameters(), lambda rows, i, g, n=network: n.weight.sum()) for network in networks]
    kept, losses = [], iter([3.0, 1.0, 2.0, 2.0])

    def validate() -> float:
        kept.append([network.weight.item() for network in networks])
        return next(losses)

    train_phases(networks, np.zeros((4, 1), np.float32), phases, Schedule(4, 4, 0.1, patience=3), context(), validate)
    assert [network.weight.item() for network in networks] == kept[1]
    assert kept[1] != kept[3]


def test_dropout_is_the_seed_s_and_the_global_generator_is_left_alone():
    network = torch.nn.Sequential(torch.nn.Linear(1, 8), torch.nn.Dropout(0.5), torch.nn.Linear(8, 1))

    def trained() -> float:
        for weight in network.parameters():
            torch.nn.init.constant_(weight, 0.1)
        data = np.linspace(0, 1, 20, dtype=np.float32)[:, None]
        train(network, data, lambda rows, _: (network(rows) - 1).square().mean(), Schedule(2, 5, 0.1), context())
        return network[2].bias.item()

    before = torch.get_rng_state()
    first = trained()
    assert torch.equal(torch.get_rng_state(), before)
    torch.rand(3)
    assert trained() == first
