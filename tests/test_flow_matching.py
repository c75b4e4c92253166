"""tccm and rfm: scores against a forward pass written out, couplings against all permutations, and planted
structure."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score

from detectors.rfm import RFM, RFMParams, integrate, worst_coupling
from detectors.shared.inputs import INPUTS
from detectors.tccm import TCCM, TCCMParams
from janus_bench.conformance import check_detector, parametrize_with_detectors
from janus_bench.conformance.flows import mixed_flows, synthetic_benign
from janus_bench.errors import DataError, PluginError, UsageError
from tests.factories import FEATURE_NAMES, fitted
from tests.factories import on_features as flows

BOTH = (TCCM, RFM)


@parametrize_with_detectors(BOTH)
def test_flow_matching_detectors_keep_the_contract(check):
    check()


def test_tccm_on_packets_keeps_the_contract_too():
    assert [
        result for result in check_detector(TCCM, TCCMParams(input="packets", epochs=3)) if result.status == "failed"
    ] == []


def plane(seed, n, basis):
    """Flows near a three-dimensional subspace of the twenty features; another ``basis`` is another subspace, with
    columns of like spread."""
    rng = np.random.default_rng(seed)
    axes = np.linalg.qr(np.random.default_rng(basis).normal(size=(20, 20)))[0][:3] * 5
    return flows(rng.normal(size=(n, 3)) @ axes + 0.3 * rng.normal(size=(n, 20)))


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize(
    ("detector", "params"), [(TCCM, TCCMParams(epochs=15)), (RFM, RFMParams(epochs=30, batch=64))], ids=["tccm", "rfm"]
)
def test_flows_off_the_training_subspace_rank_high(detector, params, seed):
    model = fitted(detector(params), plane(seed, 600, basis=90), seed)
    scores = np.concatenate(
        [model.score(plane(seed + 10, 200, basis=90)), model.score(plane(seed + 20, 200, basis=91))]
    )
    assert roc_auc_score(np.repeat([0, 1], 200), scores) > 0.95


def forward(weights, row, time):
    """The network of the paper, written out."""
    frequencies = [10_000.0 ** (-i / 63) for i in range(64)]
    hidden = np.concatenate([row, [math.sin(time * f) for f in frequencies], [math.cos(time * f) for f in frequencies]])
    for layer in (0, 2, 4):
        hidden = weights[f"layers.{layer}.weight"] @ hidden + weights[f"layers.{layer}.bias"]
        hidden = hidden if layer == 4 else np.maximum(hidden, 0)
    return hidden


def test_tccm_score_is_the_distance_by_which_one_step_misses_the_origin():
    model = fitted(TCCM(TCCMParams(epochs=2)), synthetic_benign(0, 200))
    weights = {name: weight.double().numpy() for name, weight in model._model.state_dict().items()}
    assert weights["layers.0.weight"].shape == (256, 20 + 128)
    batch = mixed_flows().take(slice(280, 320))
    columns = np.column_stack([batch.features[name] for name in FEATURE_NAMES])
    rows = np.clip((columns - model._standardiser.mean) / model._standardiser.std, -10, 10)
    np.testing.assert_allclose(
        model.score(batch), [np.linalg.norm(forward(weights, row, 1.0) + row) for row in rows], rtol=1e-4
    )


def test_tccm_learns_to_contract_unseen_benign_flows_at_all_times():
    model = fitted(TCCM(TCCMParams(epochs=15)), plane(0, 600, basis=90))
    rows = torch.from_numpy(INPUTS["features"].rows(plane(1, 200, basis=90), model._standardiser, 10.0, np.float32))
    for time in (0.0, 0.5, 1.0):
        missed = (model._model(rows, torch.full((200,), time)) + rows).norm(dim=1).detach()
        assert missed.mean() < 0.25 * rows.norm(dim=1).mean(), time


def test_worst_coupling_costs_most_among_all_permutations():
    rng = np.random.default_rng(0)
    for _ in range(10):
        rows, noise = rng.normal(size=(6, 3)), rng.normal(size=(6, 3))
        costs = {p: float(((rows - noise[list(p)]) ** 2).sum()) for p in itertools.permutations(range(6))}
        chosen = tuple(int(i) for i in worst_coupling(rows, noise))
        assert costs[chosen] == pytest.approx(max(costs.values()))
        assert max(costs.values()) > 1.2 * np.mean(list(costs.values()))


def test_integration_equals_the_solution_of_linear_fields():
    """dx/dt = −x gives x/e; dx/dt = 2t gives x + 1.  The midpoint rule's error falls with the square of the step."""
    rows = torch.tensor([[1.0, -2.0], [0.5, 3.0]], dtype=torch.float64)
    errors = [(integrate(lambda x, t: -x, rows, steps) - rows * math.exp(-1)).abs().max().item() for steps in (10, 20)]
    assert errors[0] < 5e-3
    assert errors[1] == pytest.approx(errors[0] / 4, rel=0.1)
    np.testing.assert_allclose(integrate(lambda x, t: 2 * t[:, None].expand_as(x), rows, 3), rows + 1, rtol=1e-12)


def test_rfm_leaves_isotropic_rows_at_the_length_of_noise():
    """Data that are noise already: every coupling keeps the marginals, so unseen rows must stay near √20 in spite of
    the highest transport cost."""

    def isotropic(seed, n):
        return flows(np.random.default_rng(seed).normal(size=(n, 20)))

    model = fitted(RFM(RFMParams(epochs=30, batch=64)), isotropic(0, 800))
    unseen = isotropic(1, 300)
    with torch.inference_mode():
        carried = model._evaluate(torch.from_numpy(model._rows(unseen))).numpy().astype(np.float64)
    lengths = np.linalg.norm(carried, axis=1)
    assert lengths.mean() == pytest.approx(math.sqrt(20), rel=0.1)
    assert np.abs(np.cov(carried.T) - np.eye(20)).mean() < 0.15
    np.testing.assert_allclose(model.score(unseen), np.abs(lengths - math.sqrt(20)))


@pytest.mark.parametrize(
    ("detector", "params"), [(TCCM, TCCMParams(epochs=1)), (TCCM, TCCMParams("packets", 1)), (RFM, RFMParams(epochs=1))]
)
def test_saved_and_loaded_scores_are_equal_and_other_parameters_are_refused(detector, params, tmp_path):
    model = fitted(detector(params), synthetic_benign(0, 100))
    model.save(tmp_path)
    np.testing.assert_array_equal(detector.load(tmp_path, params).score(mixed_flows()), model.score(mixed_flows()))
    with pytest.raises(DataError, match=r"\.json: saved with .* asked for"):
        detector.load(tmp_path, replace(params, batch=5))


@pytest.mark.parametrize("detector", BOTH)
def test_scoring_before_fitting_says_so(detector):
    with pytest.raises(PluginError, match=r"score\(\) before fit\(\)"):
        detector().score(mixed_flows())


@pytest.mark.parametrize(
    ("params", "wrong"),
    [
        (TCCMParams, {"input": "bytes"}),
        (TCCMParams, {"epochs": 0}),
        (TCCMParams, {"batch": 0}),
        (TCCMParams, {"lr": float("nan")}),
        (RFMParams, {"epochs": 0}),
        (RFMParams, {"batch": 1.5}),
        (RFMParams, {"lr": -1.0}),
        (RFMParams, {"steps": 0}),
    ],
    ids=str,
)
def test_wrong_parameters_are_refused_by_name(params, wrong):
    with pytest.raises(UsageError, match=f": {next(iter(wrong))} must be "):
        params(**wrong)
