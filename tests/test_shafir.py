"""Shafir NF: a density that is one, a score that ranks, and nothing global touched."""

from __future__ import annotations

import itertools
import math
from dataclasses import asdict, replace

import hypothesis.strategies as st
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis.extra.numpy import arrays
from scipy import stats
from sklearn.metrics import roc_auc_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MinMaxScaler, StandardScaler

from detectors.shafir import ShafirNF, ShafirParams, _Scaling
from detectors.shafir.features import FEATURE_SETS
from detectors.shafir.flow import BOUND, build_flow, log_density, train
from detectors.shafir.latent import CentredBeta
from detectors.shafir.shapley import shapley_values, top_features
from janus_bench.columns import CIC_FEATURES, FLOW_FEATURES
from janus_bench.errors import DataError, PluginError, UsageError
from protocols.aggregators import fit_aggregator
from tests.factories import context, on_features

SIX = FEATURE_SETS["released"]


@pytest.fixture
def ctx(tmp_path):
    return context(flows(np.zeros((0, 6))), scratch=tmp_path)


def flows(matrix, names=SIX):
    return on_features(matrix, names)


def correlated(seed, n, sign=1.0):
    """Six columns driven by one hidden variable; ``sign=-1`` breaks the dependence and keeps every marginal."""
    rng = np.random.default_rng(seed)
    hidden = rng.normal(size=(n, 1))
    direction = np.array([1.0, 1.0, 1.0, sign, sign, sign])
    return hidden * direction + 0.2 * rng.normal(size=(n, 6))


def crescent(n):
    rng = np.random.default_rng(0)
    x = rng.uniform(-3, 3, size=n)
    return np.column_stack([x, 0.4 * x**2 - 2 + 0.3 * rng.normal(size=n)]).astype(np.float32)


def test_one_dimensional_density_integrates_to_one_before_and_after_training(ctx):
    grid = np.linspace(-9, 9, 20_001)
    flow = build_flow(1, bins=16, seed=0)
    data = np.random.default_rng(1).choice([-2.0, 1.5], size=(400, 1)) + np.random.default_rng(2).normal(
        0, 0.3, size=(400, 1)
    )
    before = np.exp(log_density(flow, grid[:, None].astype(np.float32)))
    train(flow, data.astype(np.float32), ShafirParams(optimiser="adam", epochs=40, batch=400, lr=0.1), ctx)
    after = np.exp(log_density(flow, grid[:, None].astype(np.float32)))
    assert np.trapezoid(before, grid) == pytest.approx(1, abs=1e-4)
    assert np.trapezoid(after, grid) == pytest.approx(1, abs=1e-3)
    two_modes = np.exp(-((grid[:, None] - [-2.0, 1.5]) ** 2) / 0.18).sum(axis=1) / (2 * np.sqrt(np.pi * 0.18))
    assert np.trapezoid(np.abs(after - two_modes), grid) < 0.25 * np.trapezoid(np.abs(before - two_modes), grid)


def test_two_dimensional_density_integrates_to_one_before_and_after_training(ctx):
    axis = np.linspace(-8, 8, 321)
    points = np.stack(np.meshgrid(axis, axis), axis=-1).reshape(-1, 2).astype(np.float32)
    flow = build_flow(2, bins=16, seed=0)
    for epochs in (0, 10):
        if epochs:
            train(flow, crescent(1000), ShafirParams(optimiser="adam", epochs=epochs, batch=256, lr=3e-3), ctx)
        density = np.exp(log_density(flow, points)).reshape(len(axis), len(axis))
        assert np.trapezoid(np.trapezoid(density, axis), axis) == pytest.approx(1, abs=5e-3), epochs


def test_log_density_is_the_change_of_variables_formula_with_an_autograd_jacobian():
    flow = build_flow(4, bins=8, seed=3).double()
    for row in np.random.default_rng(0).uniform(-6, 6, size=(6, 4)):
        x = torch.tensor(row)
        jacobian = torch.autograd.functional.jacobian(lambda v: flow.transform_to_noise(v[None])[0], x)
        z = flow.transform_to_noise(x[None])[0]
        expected = -0.5 * (z @ z) - 2 * np.log(2 * np.pi) + torch.linalg.slogdet(jacobian).logabsdet
        assert flow.log_prob(x[None]).item() == pytest.approx(expected.item(), abs=1e-9)


@pytest.mark.parametrize("dimensions", [2, 3, 6, 7])
def test_a_coupling_layer_for_every_dimension_transforms_all_of_them(dimensions):
    flow = build_flow(dimensions, bins=16, seed=0)
    couplings = [module for module in flow.modules() if hasattr(module, "transform_net")]
    assert len(couplings) == dimensions
    assert all(len(coupling.transform_features) == dimensions - dimensions // 2 for coupling in couplings)
    x = torch.linspace(-3, 3, dimensions)[None]
    z = flow.transform_to_noise(x).detach()
    back = z[0][torch.arange(dimensions).roll(-dimensions)]  # D rolls by one are no roll
    assert (torch.abs(back - x[0]) > 1e-3).all()


def test_scaling_is_standardisation_followed_by_a_shift_to_minus_four_to_four():
    train_rows, test_rows = correlated(0, 300) * [1, 10, 0.01, 5, 1, 3] + 7, correlated(1, 50)
    reference = make_pipeline(StandardScaler(), MinMaxScaler((-4, 4))).fit(train_rows)
    scaling = _Scaling.of(train_rows)
    np.testing.assert_allclose(scaling(train_rows), reference.transform(train_rows), atol=1e-5)
    np.testing.assert_allclose(scaling(test_rows), reference.transform(test_rows), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("optimiser", ["sgd", "adam"])
def test_training_lowers_the_negative_log_density_of_unseen_benign_flows(ctx, optimiser):
    unseen = flows(correlated(1, 500))
    means = []
    for epochs in (1, 10):
        detector = ShafirNF(ShafirParams(optimiser=optimiser, epochs=epochs, batch=64))
        detector.fit(flows(correlated(0, 500)), ctx)
        means.append(detector.score(unseen).mean())
    assert means[1] < means[0] - 0.5


def test_outliers_that_break_only_the_dependence_between_features_rank_high(ctx):
    detector = ShafirNF(ShafirParams(optimiser="adam", epochs=8, batch=128, lr=3e-3))
    detector.fit(flows(correlated(0, 1000)), ctx)
    scores = detector.score(flows(np.concatenate([correlated(1, 500), correlated(2, 500, sign=-1.0)])))
    assert roc_auc_score(np.repeat([0, 1], 500), scores) > 0.9


def test_score_grows_with_the_distance_of_far_points_and_stays_finite(ctx):
    detector = ShafirNF(ShafirParams(epochs=2))
    detector.fit(flows(correlated(0, 300)), ctx)
    distances = np.array([2.0, 5.0, 20.0, 1e3, 1e5])
    scores = detector.score(flows(np.outer(distances, np.full(6, 4.0))))
    assert (np.diff(scores) > 0).all()
    assert np.isfinite(detector.score(flows(np.full((2, 6), [[1e300], [-1e300]])))).all()


def test_constant_columns_and_an_extreme_training_row_leave_scores_finite(ctx):
    rows = correlated(0, 300)
    rows[:, 0] = 3.0
    rows[:, 1] = 1e-12 * rows[:, 1] + 100.0  # varies by rounding only
    rows[0, 2] = 1e12
    detector = ShafirNF(ShafirParams(epochs=3))
    detector.fit(flows(rows), ctx)
    assert np.isfinite(detector.score(flows(rows))).all()
    assert np.isfinite(detector.score(flows(correlated(1, 300)))).all()


@settings(max_examples=20, deadline=None)
@given(
    rows=arrays(np.float64, (6, 6), elements=st.floats(-1e9, 1e9)),
    unseen=arrays(np.float64, (5, 6), elements=st.floats(-1e300, 1e300)),
)
def test_scores_are_finite_whatever_the_features(rows, unseen):
    detector = ShafirNF(ShafirParams(epochs=2, bins=4))
    detector.fit(flows(rows), context(flows(rows), seed=0))
    for batch in (rows, unseen):
        assert np.isfinite(detector.score(flows(batch))).all()


def test_the_seed_alone_decides_and_the_global_generator_is_left_alone(ctx):
    def scores(seed):
        detector = ShafirNF(ShafirParams(epochs=2))
        detector.fit(flows(correlated(0, 300)), replace(ctx, seed=seed))
        return detector.score(flows(correlated(1, 100)))

    torch.manual_seed(5)
    before = torch.get_rng_state()
    first = scores(42)
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(6)
    np.testing.assert_array_equal(scores(42), first)
    assert np.abs(scores(43) - first).max() > 1e-3


# 77 layers differ in nothing but their number
@pytest.mark.parametrize("name", [name for name in FEATURE_SETS if name != "cic"])
def test_each_feature_set_reads_the_features_it_names(ctx, name):
    names = FEATURE_SETS[name]
    matrix = np.random.default_rng(0).normal(size=(100, len(names)))
    detector = ShafirNF(ShafirParams(features=name, epochs=1))
    detector.fit(flows(matrix, names), ctx)
    base = detector.score(flows(matrix[:1], names))
    for i in range(len(names)):
        moved = matrix[:1].copy()
        moved[0, i] += 100
        assert detector.score(flows(moved, names)) > base + 100, names[i]


@pytest.mark.parametrize(
    ("optimiser", "step"),
    [("sgd", lambda slope: 0.01 * slope), ("adam", lambda slope: 0.01 * slope / (slope.abs() + 1e-8))],
)
def test_a_step_of_training_is_the_optimiser_s(ctx, optimiser, step):
    data = correlated(0, 50)[:, :2].astype(np.float32)
    trained, start = build_flow(2, 4, 0), build_flow(2, 4, 0)
    train(trained, data, ShafirParams(optimiser=optimiser, epochs=1, batch=64, lr=0.01, bins=4), ctx)
    (-start.log_prob(torch.from_numpy(data)).mean()).backward()
    for after, before in zip(trained.parameters(), start.parameters(), strict=True):
        torch.testing.assert_close(after, before - step(before.grad), rtol=1e-4, atol=1e-4)


def test_the_sets_of_the_script_and_of_the_paper_are_theirs():
    assert FEATURE_SETS["released"] == (
        *("Packet Length Mean", "Flow IAT Max", "PSH Flag Count", "ACK Flag Count", "Fwd IAT Max", "Fwd Packets/s"),
    )
    assert FEATURE_SETS["published"] == (
        *("Bwd Packet Length Mean", "Fwd Packets/s", "ACK Flag Count", "Total Length of Bwd Packets", "Flow Duration"),
    )
    assert FEATURE_SETS["tor"] == ("Bwd IAT Std", "Active Mean")


def test_the_sets_are_cicflowmeter_features_or_ours_and_declared_as_such():
    assert {name: len(names) for name, names in FEATURE_SETS.items()} == {
        "released": 6,
        "published": 5,
        "tor": 2,
        "cic": 77,
        "flow": 20,
    }
    for name, names in FEATURE_SETS.items():
        assert set(names) <= set(FLOW_FEATURES if name == "flow" else CIC_FEATURES)
        assert ShafirNF.declare(ShafirParams(features=name)).inputs == {
            "features" if name == "flow" else "cic_features"
        }
    assert ShafirNF.declare(ShafirParams(features="flow", second="released")).inputs == {"features", "cic_features"}
    assert ShafirNF.declare(ShafirParams(latent="beta")).provenance == "faithful"
    assert ShafirNF.declare(ShafirParams(latent="beta", optimiser="adam")).provenance == "adapted"


def test_the_beta_latent_is_scipys_inside_and_falls_on_outside(ctx):
    z = np.linspace(-4.99, 4.99, 41)
    reference = stats.beta(13, 13, loc=-BOUND, scale=2 * BOUND).logpdf(z)
    latent = CentredBeta(1, BOUND)
    np.testing.assert_allclose(latent.log_prob(torch.tensor(z)[:, None]).numpy(), reference, rtol=1e-9)
    grid = torch.linspace(-12, 12, 200_001, dtype=torch.float64)
    assert torch.trapezoid(latent.log_prob(grid[:, None]).exp(), grid).item() == pytest.approx(1, abs=1e-9)
    outside = latent.log_prob(torch.tensor([[4.9], [4.999], [5.0], [5.5], [100.0]], dtype=torch.float64))
    assert (outside.diff() < 0).all()
    detector = ShafirNF(ShafirParams(latent="beta", epochs=2))
    detector.fit(flows(correlated(0, 300)), ctx)
    far = detector.score(flows(np.outer([2.0, 5.0, 20.0, 1e3, 1e5], np.full(6, 4.0))))
    assert np.isfinite(far).all()
    assert (np.diff(far) > 0).all()


def test_two_flows_flag_only_what_both_flag(ctx):
    """``released`` sees the first kind of outlier alone, ``published`` the second alone, both the third."""
    names = tuple(dict.fromkeys((*SIX, *FEATURE_SETS["published"])))
    only = {
        "first": [name for name in SIX if name not in FEATURE_SETS["published"]],
        "second": [name for name in FEATURE_SETS["published"] if name not in SIX],
    }
    rng = np.random.default_rng(0)
    detector = ShafirNF(ShafirParams(second="published", epochs=10, optimiser="adam", lr=3e-3, batch=128))
    detector.fit(flows(rng.normal(size=(600, len(names))), names), ctx)
    calibration, benign = rng.normal(size=(300, len(names))), rng.normal(size=(300, len(names)))
    kinds = []
    for columns in (only["first"], only["second"], names):
        kind = rng.normal(size=(50, len(names)))
        kind[:, [names.index(name) for name in columns]] += 8
        kinds.append(kind)
    declared = ShafirNF.declare(detector.params)
    columns = [
        np.column_stack([detector.score(flows(rows, names))[name] for name in declared.scores])
        for rows in (calibration, np.vstack([benign, *kinds]))
    ]
    scalar = fit_aggregator(declared.aggregator, columns[0], declared.scores)(columns[1])
    threshold = np.quantile(scalar[:300], 0.99)
    flagged = [(scalar[300 + 50 * kind : 350 + 50 * kind] > threshold).mean() for kind in range(3)]
    assert flagged[2] > 0.95
    assert max(flagged[:2]) < 0.2


def exact_shapley(value, row, background):
    """All coalitions, all background rows: φ_i = Σ_S |S|! (D − |S| − 1)! / D! (v(S ∪ i) − v(S))."""
    dimensions = len(row)

    def of(coalition):
        mixed = background.copy()
        mixed[:, list(coalition)] = row[list(coalition)]
        return value(mixed).mean()

    phi = np.zeros(dimensions)
    for feature in range(dimensions):
        others = [other for other in range(dimensions) if other != feature]
        for size in range(dimensions):
            weight = math.factorial(size) * math.factorial(dimensions - size - 1) / math.factorial(dimensions)
            phi[feature] += weight * sum(
                of((*chosen, feature)) - of(chosen) for chosen in itertools.combinations(others, size)
            )
    return phi


def test_sampled_shapley_values_approach_the_exact_ones_and_always_add_up():
    rng = np.random.default_rng(0)
    background, rows = rng.normal(size=(30, 4)), rng.normal(size=(5, 4)) + 1

    def value(x):
        return x[:, 0] * x[:, 1] + np.maximum(x[:, 2], 0) - 2 * x[:, 3]

    exact = np.array([exact_shapley(value, row, background) for row in rows])
    np.testing.assert_allclose(exact.sum(axis=1), value(rows) - value(background).mean())
    errors = [
        np.abs(shapley_values(value, rows, background, n, np.random.default_rng(1)) - exact).mean() for n in (4, 400)
    ]
    assert errors[1] < errors[0] / 4  # theory: a tenth
    one = shapley_values(value, rows, background[:1], 3, np.random.default_rng(1))
    np.testing.assert_allclose(one.sum(axis=1), value(rows) - value(background[:1]))


@pytest.mark.parametrize(
    ("select", "hints"), [("benign", "none"), ("few_shot", "few_shot"), ("transductive", "transductive")]
)
def test_a_selection_keeps_the_features_that_explain_the_flows_it_is_shown(ctx, select, hints):
    names = FEATURE_SETS["flow"]
    rng = np.random.default_rng(0)
    shown = rng.normal(size=(20, 20))
    shown[:, [3, 11]] += 12
    given = flows(shown, names)
    params = ShafirParams(features="flow", select=select, keep=2, epochs=3, optimiser="adam", lr=3e-3, batch=128)
    assert ShafirNF.declare(params).hints == hints
    assert ShafirNF.declare(params).uses_labels == (hints != "none")
    detector = ShafirNF(params)
    shown_to = replace(ctx, validation=given) if hints == "none" else replace(ctx, hints=given)
    detector.fit(flows(rng.normal(size=(400, 20)), names), shown_to)
    assert detector._model[0].names == (names[3], names[11])


def test_a_selection_without_flows_to_explain_says_so(ctx):
    with pytest.raises(PluginError, match="select=few_shot has no flows"):
        ShafirNF(ShafirParams(features="flow", select="few_shot")).fit(
            flows(np.zeros((5, 20)), FEATURE_SETS["flow"]), ctx
        )


def test_top_features_are_in_the_order_of_the_features():
    phi = np.array([[0.0, 5.0, -6.0, 1.0], [0.0, 5.0, 6.0, 1.0]])
    assert top_features(phi, 2).tolist() == [1, 2]


def test_progress_reaches_one_and_reports_the_loss(ctx):
    seen = []
    ShafirNF(ShafirParams(epochs=3)).fit(
        flows(correlated(0, 50)), replace(ctx, progress=lambda fraction, text: seen.append((fraction, text)))
    )
    assert [fraction for fraction, _ in seen] == pytest.approx([1 / 3, 2 / 3, 1])
    assert all(np.isfinite(float(text.split()[-1])) for _, text in seen)


def test_saved_and_loaded_scores_are_equal_and_other_parameters_are_refused(ctx, tmp_path):
    params = ShafirParams(epochs=2)
    detector = ShafirNF(params)
    detector.fit(flows(correlated(0, 200)), ctx)
    detector.save(tmp_path)
    unseen = flows(correlated(1, 50))
    np.testing.assert_array_equal(ShafirNF.load(tmp_path, params).score(unseen), detector.score(unseen))
    with pytest.raises(DataError, match=r"shafir\.json: saved with .* asked for"):
        ShafirNF.load(tmp_path, replace(params, bins=8))


def test_scoring_before_fitting_says_so():
    with pytest.raises(PluginError, match="before fit"):
        ShafirNF(ShafirParams()).score(flows(correlated(0, 2)))


@pytest.mark.parametrize(
    "wrong",
    [
        {"features": "five"},
        {"second": "released"},
        {"latent": "gauss"},
        {"select": "some"},
        {"keep": 0},
        {"optimiser": "adamw"},
        {"epochs": 0},
        {"epochs": 1.5},
        {"lr": 0.0},
        {"lr": float("nan")},
        {"batch": 0},
        {"bins": 1},
    ],
    ids=str,
)
def test_wrong_parameters_are_refused_in_one_line_that_names_them(wrong):
    with pytest.raises(UsageError) as caught:
        ShafirParams(**wrong)
    assert str(caught.value).startswith(f"shafir: {next(iter(wrong))} must be ")
    assert "\n" not in str(caught.value)


def test_defaults_are_those_of_the_released_script():
    defaults = asdict(ShafirParams())
    assert {name: defaults[name] for name in ("features", "optimiser", "epochs", "lr", "batch", "bins")} == {
        "features": "released",
        "optimiser": "sgd",
        "epochs": 100,
        "lr": 1e-3,
        "batch": 1024,
        "bins": 16,
    }
