"""tipso-gan-unsupervised: the swarm on a known minimum, and the parts of the score."""

from __future__ import annotations

import copy
from dataclasses import replace

import numpy as np
import pytest
import torch

from detectors.tipso import RANGE, TIPSOGAN, TIPSOGANParams
from detectors.tipso.swarm import Swarm, inertia, search
from janus_bench.conformance import parametrize_with_detectors
from janus_bench.errors import UsageError
from tests.factories import context
from tests.planted_sequences import dependence, separation


@parametrize_with_detectors([TIPSOGAN])
def test_tipso_keeps_the_contract(check):
    check()


@pytest.mark.parametrize("seed", range(3))
def test_the_swarm_finds_the_minimum_of_a_quadratic(seed):
    minimum, scale = np.array([1.0, -2.0, 3.0]), np.array([1.0, 4.0, 0.5])

    def loss(place):
        return float((scale * np.square(place - minimum)).sum())

    bound = np.full(3, 5.0)
    *_, swarm = search(loss, -bound, bound, 20, 150, np.random.default_rng(seed))
    assert np.abs(swarm.leader - minimum).max() < 1e-2
    assert np.abs(swarm.places).max() <= 5


def test_inertia_falls_from_nine_tenths_to_four():
    weights = [inertia(progress) for progress in np.linspace(0, 1, 101)]
    assert all(0.4 <= weight <= 0.9 for weight in weights)
    assert weights == sorted(weights, reverse=True)
    assert weights[0] > 0.89
    assert weights[50] == pytest.approx(0.65)
    assert weights[-1] < 0.41


def test_a_particle_without_a_better_place_for_25_iterations_is_drawn_anew_but_the_leader():
    """Nothing is ever better than the first place where the loss is flat."""
    bound = np.ones(2)
    states = [
        copy.deepcopy(state) for state in search(lambda place: 1.0, -bound, bound, 4, 30, np.random.default_rng(0))
    ]
    redrawn = [state.redrawn.tolist() for state in states]
    assert [any(each) for each in redrawn] == [False] * 25 + [True] + [False] * 4
    assert redrawn[25] == [False, True, True, True]


@pytest.fixture(scope="module")
def detector():
    fitted, planted = TIPSOGAN(TIPSOGANParams(swarm=2, iterations=2, trial=1, epochs=15, lr=1e-3)), dependence()
    fitted.fit(planted.train, context(planted.validation))
    return fitted


def test_the_score_is_the_sum_of_two_z_scores_of_the_validation_flows(detector):
    planted = dependence()
    assert detector.score(planted.validation).mean() == pytest.approx(0, abs=1e-9)
    rows = torch.from_numpy(detector._rows(planted.benign))
    with torch.inference_mode():
        errors = (detector._model(rows) - rows).square().mean(dim=1).double().numpy()
        logits = detector._model.critic(rows)[:, 0].double().numpy()
        held = torch.from_numpy(detector._rows(planted.validation))
        usual = (detector._model(held) - held).square().mean(dim=1).double().numpy()
        judged = detector._model.critic(held)[:, 0].double().numpy()
    expected = (errors - usual.mean()) / usual.std() - (logits - judged.mean()) / judged.std()
    np.testing.assert_allclose(detector.score(planted.benign), expected, rtol=1e-4, atol=1e-4)


def test_a_broken_dependence_shows_in_the_reconstruction(detector):
    planted = dependence()
    usual, broken = (detector._measured(detector._rows(flows)) for flows in (planted.benign, planted.anomalies["dep"]))
    assert separation(usual[:, 0], broken[:, 0]) >= 0.95
    assert planted.aurocs(detector)["far"] >= 0.95


def test_what_the_swarm_found_lies_in_its_range_and_follows_from_the_seed():
    planted = dependence(100, 20)
    found = []
    for seed in (1, 1, 2):
        detector = TIPSOGAN(TIPSOGANParams(swarm=3, iterations=2, trial=1, epochs=1))
        detector.fit(planted.train, context(planted.validation, seed))
        found.append(detector._weights)
        assert (np.abs(found[-1]) <= RANGE).all()
    np.testing.assert_array_equal(found[0], found[1])
    assert (found[0] != found[2]).all()


def test_a_particle_is_judged_by_the_reconstruction_after_a_training_with_what_it_holds(monkeypatch):
    """With as many epochs as a trial has, the last training repeats the leader's."""
    planted, place, judged = dependence(100, 20), np.array([0.5, -0.5, 0.2]), []

    def one_particle(loss, low, high, *_):
        judged.append(loss(place))
        state = np.zeros(1, dtype=np.int64)
        yield Swarm(place[None], place[None], np.array(judged), state, state.astype(bool))

    monkeypatch.setattr("detectors.tipso.search", one_particle)
    detector = TIPSOGAN(TIPSOGANParams(trial=2, epochs=2, lr=1e-3))
    detector.fit(planted.train, context(planted.validation))
    assert judged == [pytest.approx(detector._usual[0], rel=1e-6)]
    assert detector._schedule().lr == pytest.approx(1e-3 * 10**0.2)
    rows = torch.from_numpy(detector._rows(planted.benign))
    with torch.inference_mode():
        output = detector._model(rows)
        error = float((output - rows).square().mean())
        real, made = (detector._model.critic(each)[:, 0].double().numpy() for each in (rows, output))
        losses = [float(phase.loss(rows, None, None)) for phase in detector._phases()]

    def entropy(logits, label):
        chance = 1 / (1 + np.exp(-logits))
        return -(label * np.log(chance) + (1 - label) * np.log(1 - chance)).mean()

    critic = (entropy(real, 0.9) + entropy(made, 0.1)) / 2
    assert losses == pytest.approx([critic, 10**-0.5 * error + 0.1 * 10**0.5 * entropy(made, 0.9)], rel=1e-4)


def test_wrong_parameters_are_refused_by_name():
    with pytest.raises(UsageError, match="tipso-gan-unsupervised: swarm must be "):
        replace(TIPSOGANParams(), swarm=0)
