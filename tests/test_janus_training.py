"""What JANUS draws for training and for scoring, and what a step of training goes along."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.stats import kstest

from detectors.janus import Janus, binned, matching
from detectors.janus.binned import train_apart
from detectors.janus.matching import (
    _validation_batches,
    _validation_loss,
    accumulate_gradient,
    batch_loss,
    noisy_batch,
    train,
)
from detectors.janus.model import Network
from detectors.janus.packing import packed
from detectors.janus.scoring import NoiseBank
from tests.test_janus import CPU, TINY, context, flows_of, gaussian, generator, mixed_lengths, noise_sequences, quiet

pytestmark = pytest.mark.usefixtures("one_thread")


def test_times_are_uniform_and_the_bits_of_a_flow_follow_its_own() -> None:
    """A bit is shown as it is with probability t + (1 − t) / 2, whether it is 0 or 1."""
    n = 3000
    params = replace(TINY, coupling="none")
    data = noise_sequences(np.full(n, 4))
    batch = noisy_batch(data, np.arange(n), params, gaussian(params), generator(5))
    t = batch.t.numpy()
    assert kstest(t, "uniform").pvalue > 0.01
    bits, shown = batch.packet_target[..., 3:].numpy(), batch.packets[..., 3:].numpy()
    assert set(np.unique(shown)) == {-1.0, 1.0}
    for low in (0.0, 0.25, 0.5, 0.75):
        members = (t >= low) & (t < low + 0.25)
        for bit in (0, 1):
            as_it_is = (shown[members] > 0)[bits[members] == bit] == bit
            assert as_it_is.mean() == pytest.approx(0.5 + t[members].mean() / 2, abs=5 * 0.5 / len(as_it_is) ** 0.5)


def test_every_step_goes_along_the_gradient_of_its_batch_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    before = []

    def watched(network: Network, *arguments: Any) -> float:
        before.append(
            sum(float(parameter.grad.abs().sum()) for parameter in network.parameters() if parameter.grad is not None)
        )
        return accumulate_gradient(network, *arguments)

    monkeypatch.setattr(matching, "accumulate_gradient", watched)
    train(
        noise_sequences(np.full(64, 5)),
        noise_sequences(np.zeros(0, dtype=np.int64)),
        TINY,
        gaussian(TINY),
        generator(),
        CPU,
        quiet,
    )
    assert before == [0.0] * 2 * TINY.epochs


def test_an_epoch_takes_every_flow_once_in_an_order_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    taken: list[list[int]] = []

    def watched(data: Any, rows: Any, *arguments: Any) -> Any:
        taken.append(rows.tolist())
        return noisy_batch(data, rows, *arguments)

    monkeypatch.setattr(matching, "noisy_batch", watched)
    train(
        noise_sequences(np.full(50, 3)),
        noise_sequences(np.zeros(0, dtype=np.int64)),
        TINY,
        gaussian(TINY),
        generator(),
        CPU,
        quiet,
    )
    assert [len(rows) for rows in taken] == [32, 18] * TINY.epochs
    first, second = taken[0] + taken[1], taken[2] + taken[3]
    assert sorted(first) == sorted(second) == list(range(50))
    assert first != second != list(range(50)) != first


@pytest.mark.parametrize(("flows", "used"), [(50, 50), (2048, 2048), (2100, 2048)])
def test_all_validation_flows_are_used_up_to_2048(flows: int, used: int) -> None:
    batches = _validation_batches(noise_sequences(np.full(flows, 2)), TINY, gaussian(TINY), CPU)
    assert sum(len(batch.lengths) for batch in batches) == used


def test_a_validation_flow_counts_alike_in_a_full_and_in_the_last_batch() -> None:
    network, path = Network(TINY, generator()).requires_grad_(False), gaussian(TINY)
    batches = _validation_batches(noise_sequences(np.full(36, 2)), TINY, path, CPU)
    assert [len(batch.lengths) for batch in batches] == [32, 4]
    each = [
        sum(float(batch_loss(network, batch, layout, path)) for layout in packed(batch.lengths)) for batch in batches
    ]
    assert abs(each[0] - each[1]) > 0.01
    assert _validation_loss(network, batches, path) == pytest.approx((32 * each[0] + 4 * each[1]) / 36)


def test_the_bank_of_scoring_holds_uniform_numbers_fair_coins_and_normal_noise() -> None:
    params = replace(TINY, T=64, k_steps=200, sigma=0.0)
    bank = NoiseBank.drawn(params, gaussian(params), generator(3))
    assert bank.uniform.shape == bank.coin.shape == (3 + 200, 64, 6)
    assert kstest(bank.uniform.flatten().numpy(), "uniform").pvalue > 0.01
    assert bank.coin.double().mean().item() == pytest.approx(0.5, abs=5 * 0.5 / bank.coin.numel() ** 0.5)
    for time, t in enumerate((0.25, 0.5, 0.75)):
        assert bank.packets_kept[time].unique().tolist() == [t]
        assert kstest(bank.packets[time].flatten().numpy() / (1 - t), "norm").pvalue > 0.01
    other = NoiseBank.drawn(params, gaussian(params), generator(4))
    assert not (bank.coin == other.coin).all()


def test_a_fit_trains_on_the_training_flows_in_their_units_and_stops_on_the_others(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    benign, validation = flows_of(mixed_lengths(300)), flows_of(mixed_lengths(40, 1), 1, shift=2.0)
    given: list[Any] = []

    def watched(data: Any, held_out: Any, *others: Any) -> Network:
        given.append((data, held_out))
        return Network(TINY, generator())

    monkeypatch.setattr(matching, "train", watched)
    banks = []
    for seed in (1, 2):
        detector = Janus(TINY)
        detector.fit(benign, context(validation, tmp_path, seed))
        assert detector._fitted is not None
        banks.append(detector._fitted.bank.uniform)
    data, held_out = given[0]
    assert (data.lengths.tolist(), held_out.lengths.tolist()) == (
        np.minimum(benign.lengths, TINY.T).tolist(),
        np.minimum(validation.lengths, TINY.T).tolist(),
    )
    np.testing.assert_allclose(data.flow.mean(axis=0), 0.0, atol=1e-5)
    np.testing.assert_allclose(data.flow.std(axis=0), 1.0, atol=1e-5)
    np.testing.assert_allclose(held_out.flow.mean(axis=0), 2.0, atol=0.6)
    assert not (banks[0] == banks[1]).all()


def test_heads_trained_apart_have_one_loss_each_and_a_generator_of_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[Any] = []
    monkeypatch.setattr(
        binned, "train", lambda data, validation, params, path, generator, *_: given.append((path.weights, generator))
    )
    generators, flows = (generator(1), generator(2)), noise_sequences(np.full(4, 2))
    train_apart(flows, flows, replace(TINY, lambda_disc=0.3, joint=False), generators, CPU, quiet)
    assert given == [((1.0, 0.0), generators[0]), ((0.0, 1.0), generators[1])]
