"""dte, clan, nf-iaf: networks on flow features, against what is written out by hand and known answers."""

from __future__ import annotations

import math
from dataclasses import replace
from functools import cache

import numpy as np
import pytest
import torch
from scipy.stats import spearmanr

from detectors.anomaly_transformer import AnomalyTransformerParams
from detectors.clan import CLAN, CLANParams, contrast, lr_factor
from detectors.contrastive import ContrastiveParams
from detectors.dte import DTE, DTEParams, noise_levels
from detectors.nf_iaf import NFIAF, NFIAFParams, build_flow
from detectors.tslanet import TSLANetParams
from janus_bench.conformance import parametrize_with_detectors
from janus_bench.errors import DataError, UsageError
from tests.factories import context, fitted, on_features
from tests.planted_sequences import dependence

SMALL = {
    "dte": DTEParams(epochs=12, lr=1e-3),
    "clan": CLANParams(width=128, depth=3, epochs=30, batch=256, lr=1e-3),
    "nf-iaf": NFIAFParams(epochs=10),
}
CLASSES = {"dte": DTE, "clan": CLAN, "nf-iaf": NFIAF}


@cache
def trained(name):
    """Fitted on the planted dependence, with its validation flows."""
    detector, planted = CLASSES[name](SMALL[name]), dependence()
    detector.fit(planted.train, context(planted.validation))
    return detector


@parametrize_with_detectors([DTE, CLAN, NFIAF])
def test_the_networks_on_features_keep_the_contract(check):
    check()


@pytest.mark.parametrize("name", SMALL)
def test_a_broken_dependence_between_features_is_seen(name):
    aurocs = dependence().aurocs(trained(name))
    assert aurocs["dep"] >= 0.95
    assert aurocs["far"] >= 0.95


# dte


def test_noise_levels_are_those_of_the_variance_preserving_chain():
    betas, kept, expected = [1e-4 + i * (1e-2 - 1e-4) / 399 for i in range(400)], 1.0, []
    for beta in betas:
        kept *= 1 - beta
        expected.append(math.sqrt(1 - kept))
    np.testing.assert_allclose(noise_levels(400), expected)
    assert noise_levels(400)[[0, -1]] == pytest.approx([0.010, 0.932], abs=5e-4)


def test_the_estimated_time_of_a_noisy_row_grows_with_its_noise():
    planted, detector = dependence(), trained("dte")
    rng = np.random.default_rng(0)
    rows = planted.benign.feature_matrix()
    spread = detector._standardiser.std
    levels = noise_levels(400)[np.linspace(0, 399, 10).astype(int)]
    means = [
        detector.score(on_features(rows + spread * level * rng.normal(size=rows.shape))).mean() for level in levels
    ]
    assert spearmanr(levels, means).statistic >= 0.9


@pytest.mark.parametrize("as_released", [False, True])
def test_the_loss_is_the_cross_entropy_of_the_bins_of_uniform_times(as_released):
    """Written out in NumPy, with the draws of the same generator."""
    detector = fitted(DTE(DTEParams(epochs=1, as_released=as_released)), dependence(100, 20).train)
    rows = torch.from_numpy(detector._rows(dependence(100, 20).benign))
    generator = torch.Generator().manual_seed(3)
    times = torch.randint(400, (len(rows),), generator=generator)
    noisy = rows + torch.randn(rows.shape, generator=generator) * torch.from_numpy(noise_levels(400))[times, None]
    with torch.no_grad():
        hidden = noisy.float()
        linear = [layer for layer in detector._model if isinstance(layer, torch.nn.Linear)]
        assert [layer.out_features for layer in linear] == [256, 512, 256, 7]
        assert [layer.p for layer in detector._model if isinstance(layer, torch.nn.Dropout)] == [0.5, 0.5]
        for layer in linear[:-1]:
            hidden = layer(hidden).clamp_min(0)
        logits = linear[-1](hidden).double().numpy()
        found = float(detector._loss(rows, torch.Generator().manual_seed(3)))
    chances = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    logits = chances if as_released else logits
    logs = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
    bins = [math.floor(time / 400 * 7) for time in times.tolist()]
    assert set(bins) <= set(range(7))
    assert found == pytest.approx(-logs[np.arange(len(bins)), bins].mean(), rel=1e-5)


# clan


def plain_contrast(codes, negatives, margin):
    """The loss as the page has it, pair by pair."""

    def distance(a, b):
        return (1 - a @ b / np.linalg.norm(a) / np.linalg.norm(b)) / 2

    n = len(codes)
    positive = [distance(codes[i], codes[j]) for i in range(n) for j in range(n) if i != j]
    lacking = [max(margin - distance(codes[i], negatives[j]), 0) for i in range(n) for j in range(n)]
    active = [value for value in lacking if value > 0]
    return np.mean(positive) / 2 + (np.mean(active) if active else 0) / 2


def test_contrast_equals_the_loss_pair_by_pair():
    rng = np.random.default_rng(0)
    codes, negatives = rng.normal(size=(7, 5)) + 0.5, rng.normal(size=(7, 5))
    for margin in (0.0, 0.3, 0.5):
        found = float(contrast(torch.from_numpy(codes), torch.from_numpy(negatives), margin))
        assert found == pytest.approx(plain_contrast(codes, negatives, margin), rel=1e-9)


def test_equal_codes_with_opposite_negatives_lose_nothing():
    codes = torch.ones(6, 4)
    assert float(contrast(codes, -codes, 0.5)) == pytest.approx(0, abs=1e-7)


def test_without_a_margin_only_the_attraction_is_left_and_the_codes_collapse():
    spreads = {}
    for margin in (0.0, 0.5):
        detector = fitted(CLAN(replace(SMALL["clan"], margin=margin, epochs=15)), dependence().train)
        with torch.inference_mode():
            codes = detector._model(torch.from_numpy(detector._rows(dependence().benign)))
        spreads[margin] = float(torch.nn.functional.normalize(codes, dim=1).std(dim=0).mean())
    assert spreads[0.0] < 0.1 * spreads[0.5]


def test_the_direction_of_the_mean_training_code_scores_minus_one():
    detector = fitted(CLAN(replace(SMALL["clan"], epochs=2)), dependence(100, 20).train)
    rows = torch.from_numpy(detector._rows(dependence(100, 20).train))
    with torch.inference_mode():
        centre = detector._model(rows).mean(dim=0, keepdim=True)
    detector._model = lambda given: 3 * centre.expand(len(given), -1)
    assert detector._evaluate(rows).numpy() == pytest.approx(-1)


def test_the_rate_rises_in_a_tenth_of_the_epochs_and_falls_to_where_it_began():
    factor = lr_factor(200)
    assert [factor(epoch) for epoch in (0, 20, 110, 200)] == pytest.approx([0.01, 1, 0.505, 0.01])


# nf-iaf


@pytest.fixture
def flow():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        flow = build_flow(2, 3, 16)
        for weight in flow.parameters():
            torch.nn.init.normal_(weight, std=0.2)
    return flow.double().eval()


@torch.no_grad()
def test_the_density_integrates_to_one(flow):
    axis = torch.linspace(-30, 30, 601, dtype=torch.float64)
    grid = torch.cartesian_prod(axis, axis)
    assert float(flow.log_prob(grid).exp().sum() * 0.1**2) == pytest.approx(1, abs=0.01)


def test_each_block_s_jacobian_is_triangular(flow):
    block = build_flow(5, 1, 16)._transform._transforms[0]
    row = torch.randn(1, 5, generator=torch.Generator().manual_seed(0))
    jacobian = torch.autograd.functional.jacobian(lambda x: block(x)[0], row)[0, :, 0]
    assert jacobian.triu(1).abs().max() == 0
    assert jacobian.diagonal().min() > 0


@torch.no_grad()
def test_a_flow_that_is_very_far_away_has_a_finite_score():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        flow = build_flow(20, 5, 32)
    for weight in flow.parameters():
        weight.mul_(6.0)  # so that each block multiplies what is far away
    far, detector = torch.full((1, 20), 10.0), NFIAF()
    detector._model = flow
    assert flow.log_prob(far) == -torch.inf  # which it is in single precision
    assert 1e38 < detector._evaluate(far) < torch.inf


def test_gaussian_data_rank_by_their_mahalanobis_distance():
    rng = np.random.default_rng(0)
    mixing = np.eye(20) + 0.2 * rng.normal(size=(20, 20))
    train, test = (on_features(rng.normal(size=(n, 20)) @ mixing) for n in (6000, 500))
    detector = fitted(NFIAF(NFIAFParams(epochs=12, blocks=2)), train)
    rows = test.feature_matrix() @ np.linalg.inv(mixing)
    assert spearmanr(detector.score(test), np.square(rows).sum(axis=1)).statistic >= 0.97


@pytest.mark.parametrize(
    ("params", "wrong"),
    [
        (DTEParams, {"bins": 500}),
        (DTEParams, {"times": 1}),
        (DTEParams, {"weight_decay": -1.0}),
        (CLANParams, {"replaced": 0.0}),
        (CLANParams, {"margin": -0.1}),
        (NFIAFParams, {"blocks": 0}),
        (AnomalyTransformerParams, {"width": 100}),
        (AnomalyTransformerParams, {"k": -1.0}),
        (ContrastiveParams, {"width": 30}),
        (ContrastiveParams, {"packets": 65}),
        (ContrastiveParams, {"share": 0.0}),
        (TSLANetParams, {"masked": 1.5}),
    ],
    ids=str,
)
def test_wrong_parameters_are_refused_by_name(params, wrong):
    """Those of the networks on sequences (tests/test_deep_sequences.py), too."""
    with pytest.raises(UsageError, match=f": {next(iter(wrong))} must be "):
        params(**wrong)


@pytest.mark.parametrize("detector", [DTE, CLAN, NFIAF])
def test_a_fit_is_not_loaded_under_other_parameters(detector, tmp_path):
    params = detector.Params(**detector.profiles["check"])
    model = fitted(detector(params), dependence(100, 20).train)
    model.save(tmp_path)
    flows = dependence(100, 20).benign
    np.testing.assert_array_equal(detector.load(tmp_path, params).score(flows), model.score(flows))
    with pytest.raises(DataError, match="asked for"):
        detector.load(tmp_path, replace(params, epochs=77))
