"""iforest and ocsvm give scikit-learn's numbers."""

from __future__ import annotations

import numpy as np
import pytest
import sklearn.ensemble
import sklearn.kernel_approximation
import sklearn.linear_model
import sklearn.svm
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from detectors.classical import (
    IsolationForest,
    IsolationForestParams,
    NystroemSVM,
    NystroemSVMParams,
    OneClassSVM,
    OneClassSVMParams,
)
from janus_bench.conformance import check_detector
from janus_bench.conformance.flows import constant_flows, mixed_flows, synthetic_benign
from janus_bench.errors import DataError, PluginError, UsageError
from tests.factories import FEATURE_NAMES, context, on_features, only


@pytest.fixture
def ctx(tmp_path):
    return context(synthetic_benign(2, 20), scratch=tmp_path)


def matrix(flows, name):
    """The input as the detectors document it, made packet by packet."""
    if name == "features":
        return np.column_stack([flows.features[feature] for feature in FEATURE_NAMES])
    rows = np.zeros((len(flows), 64, 9))
    for i in range(len(flows)):
        for j, packet in enumerate(range(flows.offsets[i], flows.offsets[i + 1])):
            rows[i, j] = [
                flows.packets[channel][packet]
                for channel in ("size", "iat", "direction", "syn", "fin", "rst", "psh", "ack", "win")
            ]
    return rows.reshape(len(flows), 576)


@pytest.mark.parametrize("name", ["features", "packets"])
def test_isolation_forest_equals_scikit_learn(ctx, name):
    detector = IsolationForest(IsolationForestParams(input=name))
    detector.fit(synthetic_benign(0, 300), ctx)
    reference = sklearn.ensemble.IsolationForest(random_state=42).fit(matrix(synthetic_benign(0, 300), name))
    np.testing.assert_array_equal(detector.score(mixed_flows()), -reference.score_samples(matrix(mixed_flows(), name)))


def test_isolation_forest_parameters_reach_scikit_learn(ctx):
    detector = IsolationForest(IsolationForestParams(n_estimators=17, max_samples=64))
    detector.fit(synthetic_benign(0, 300), ctx)
    reference = sklearn.ensemble.IsolationForest(n_estimators=17, max_samples=64, random_state=42).fit(
        matrix(synthetic_benign(0, 300), "features")
    )
    np.testing.assert_array_equal(
        detector.score(mixed_flows()), -reference.score_samples(matrix(mixed_flows(), "features"))
    )


@pytest.mark.parametrize("name", ["features", "packets"])
@pytest.mark.parametrize("nu", [0.05, 0.5])
def test_one_class_svm_equals_scikit_learn(ctx, name, nu):
    detector = OneClassSVM(OneClassSVMParams(input=name, nu=nu))
    detector.fit(synthetic_benign(0, 300), ctx)
    reference = make_pipeline(StandardScaler(), sklearn.svm.OneClassSVM(nu=nu, gamma="scale")).fit(
        matrix(synthetic_benign(0, 300), name)
    )
    scores, expected = detector.score(mixed_flows()), -reference.score_samples(matrix(mixed_flows(), name))
    np.testing.assert_allclose(scores, expected, rtol=1e-10, atol=1e-10)
    assert np.ptp(expected) > 1


def test_one_class_svm_equals_scikit_learn_across_blocks_and_with_outliers_in_training(ctx):
    rng = np.random.default_rng(0)

    def heavy_tailed(n):
        return on_features(rng.standard_t(2, size=(n, 20)) * 10)

    train, test = heavy_tailed(500), heavy_tailed(5000)
    detector = OneClassSVM(OneClassSVMParams())
    detector.fit(train, ctx)
    reference = make_pipeline(StandardScaler(), sklearn.svm.OneClassSVM()).fit(matrix(train, "features"))
    np.testing.assert_allclose(
        detector.score(test), -reference.score_samples(matrix(test, "features")), rtol=1e-10, atol=1e-10
    )


def test_one_class_svm_of_identical_flows_equals_scikit_learn(ctx):
    train = synthetic_benign(0, 1).take(np.zeros(50, dtype=int))
    detector = OneClassSVM(OneClassSVMParams())
    detector.fit(train, ctx)
    reference = make_pipeline(StandardScaler(), sklearn.svm.OneClassSVM()).fit(matrix(train, "features"))
    np.testing.assert_allclose(
        detector.score(mixed_flows()), -reference.score_samples(matrix(mixed_flows(), "features")), atol=1e-10
    )


def test_one_class_svm_saves_and_loads_and_refuses_other_parameters(ctx, tmp_path):
    detector = OneClassSVM(OneClassSVMParams(nu=0.1))
    detector.fit(synthetic_benign(0, 100), ctx)
    detector.save(tmp_path)
    np.testing.assert_array_equal(
        OneClassSVM.load(tmp_path, OneClassSVMParams(nu=0.1)).score(mixed_flows()), detector.score(mixed_flows())
    )
    with pytest.raises(DataError, match=r"ocsvm\.json: saved with .* asked for"):
        OneClassSVM.load(tmp_path, OneClassSVMParams(nu=0.2))


@pytest.mark.parametrize("name", ["features", "packets"])
@pytest.mark.parametrize("components", [50, 5000])
def test_nystroem_svm_equals_scikit_learns_pipeline(ctx, name, components):
    detector = NystroemSVM(NystroemSVMParams(input=name, nu=0.1, components=components))
    detector.fit(synthetic_benign(0, 300), ctx)
    rows = matrix(synthetic_benign(0, 300), name)
    gamma = 1 / (rows.shape[1] * StandardScaler().fit_transform(rows).var())
    reference = make_pipeline(
        StandardScaler(),
        sklearn.kernel_approximation.Nystroem(gamma=gamma, n_components=min(components, 300), random_state=42),
        sklearn.linear_model.SGDOneClassSVM(nu=0.1, random_state=42),
    ).fit(rows)
    np.testing.assert_allclose(
        detector.score(mixed_flows()), -reference.score_samples(matrix(mixed_flows(), name)), rtol=1e-6, atol=1e-8
    )


def test_nystroem_svm_saves_and_loads(ctx, tmp_path):
    detector = NystroemSVM()
    detector.fit(synthetic_benign(0, 100), ctx)
    detector.save(tmp_path)
    np.testing.assert_array_equal(NystroemSVM.load(tmp_path).score(mixed_flows()), detector.score(mixed_flows()))
    with pytest.raises(DataError, match=r"ocsvm-nystroem\.json: saved with .* asked for"):
        NystroemSVM.load(tmp_path, NystroemSVMParams(components=20))


@pytest.mark.parametrize("detector", [IsolationForest, OneClassSVM, NystroemSVM])
def test_packet_input_keeps_the_contract_too(detector):
    failed = [
        result for result in check_detector(detector, detector.Params(input="packets")) if result.status == "failed"
    ]
    assert failed == []


@pytest.mark.parametrize("detector", [IsolationForest, OneClassSVM, NystroemSVM])
@pytest.mark.parametrize("name", ["features", "packets"])
def test_each_input_needs_only_itself(ctx, detector, name):
    whole = synthetic_benign(0, 60)
    alone = only(whole, name)
    fitted = detector(detector.Params(input=name))
    fitted.fit(alone, ctx)
    np.testing.assert_array_equal(fitted.score(alone), fitted.score(whole))


def test_training_flows_that_do_not_vary_are_no_error(ctx):
    for detector in (IsolationForest(), OneClassSVM()):
        detector.fit(constant_flows(0, 50), ctx)
        assert np.isfinite(detector.score(mixed_flows())).all()


@pytest.mark.parametrize("detector", [IsolationForest, OneClassSVM, NystroemSVM])
def test_scoring_before_fitting_says_so(detector):
    with pytest.raises(PluginError, match="before fit"):
        detector().score(mixed_flows())


@pytest.mark.parametrize(
    ("params", "wrong"),
    [
        (IsolationForestParams, {"input": "bytes"}),
        (IsolationForestParams, {"n_estimators": 0}),
        (IsolationForestParams, {"max_samples": 1}),
        (OneClassSVMParams, {"input": "bytes"}),
        (OneClassSVMParams, {"nu": 0.0}),
        (OneClassSVMParams, {"nu": 1.1}),
        (OneClassSVMParams, {"nu": float("nan")}),
    ],
    ids=str,
)
def test_wrong_parameters_are_refused_by_name(params, wrong):
    with pytest.raises(UsageError, match=f": {next(iter(wrong))} must be "):
        params(**wrong)
