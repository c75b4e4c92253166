"""mahalanobis, knn, pca, gmm and ecod against scikit-learn, SciPy and sums written out; what they share."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import skew
from sklearn import decomposition
from sklearn.covariance import OAS
from sklearn.metrics import roc_auc_score
from sklearn.mixture import GaussianMixture
from sklearn.neighbors import NearestNeighbors
from sklearn.preprocessing import StandardScaler

from detectors.simple import ECOD, GMM, KNN, PCA, GMMParams, KNNParams, Mahalanobis, PCAParams
from janus_bench.conformance import parametrize_with_detectors
from janus_bench.errors import DataError, PluginError, UsageError
from tests.factories import fitted
from tests.factories import on_features as flows

ALL = (Mahalanobis, KNN, PCA, GMM, ECOD)


@parametrize_with_detectors(ALL)
def test_simple_detectors_keep_the_contract(check):
    check()


def correlated(seed, n):
    """Twenty columns of spread above the standardiser's floor, driven by five hidden variables, one of them skewed."""
    rng = np.random.default_rng(seed)
    hidden = rng.normal(size=(n, 5))
    hidden[:, 0] = rng.exponential(size=n)
    return hidden @ np.random.default_rng(99).normal(size=(5, 20)) + 0.5 * rng.normal(size=(n, 20)) + 3


TRAIN, TEST = correlated(0, 400), np.concatenate([correlated(1, 100), 3 * correlated(2, 20)])
SCALER = StandardScaler().fit(TRAIN)
ROWS, TEST_ROWS = SCALER.transform(TRAIN), SCALER.transform(TEST)


def test_mahalanobis_equals_scikit_learn_s_oas():
    np.testing.assert_allclose(
        fitted(Mahalanobis(), flows(TRAIN)).score(flows(TEST)), OAS().fit(ROWS).mahalanobis(TEST_ROWS), rtol=1e-9
    )


@pytest.mark.parametrize("k", [1, 5, 400])
def test_knn_equals_scikit_learn_s_kth_distance(k):
    distances, _ = NearestNeighbors(n_neighbors=k, algorithm="brute").fit(ROWS).kneighbors(TEST_ROWS)
    np.testing.assert_allclose(
        fitted(KNN(KNNParams(k=k)), flows(TRAIN)).score(flows(TEST)), distances[:, -1], rtol=1e-6
    )


def test_knn_with_fewer_training_flows_than_k_takes_the_farthest():
    np.testing.assert_array_equal(
        fitted(KNN(KNNParams(k=50)), flows(TRAIN[:7])).score(flows(TEST)),
        fitted(KNN(KNNParams(k=7)), flows(TRAIN[:7])).score(flows(TEST)),
    )


@pytest.mark.parametrize("variance", [0.3, 0.9, 0.99])
def test_pca_equals_scikit_learn_s_reconstruction_error(variance):
    reference = decomposition.PCA(n_components=variance, svd_solver="full").fit(ROWS)
    residual = TEST_ROWS - reference.inverse_transform(reference.transform(TEST_ROWS))
    np.testing.assert_allclose(
        fitted(PCA(PCAParams(variance=variance)), flows(TRAIN)).score(flows(TEST)),
        np.square(residual).sum(axis=1),
        rtol=1e-8,
    )


def test_gmm_equals_scikit_learn_s_mixture():
    reference = GaussianMixture(4, reg_covar=0.01, max_iter=200, random_state=7).fit(ROWS)
    detector = fitted(GMM(GMMParams(components=4, regularisation=0.01)), flows(TRAIN), seed=7)
    np.testing.assert_allclose(detector.score(flows(TEST)), -reference.score_samples(TEST_ROWS), rtol=1e-9)


def test_ecod_equals_its_definition_flow_by_flow():
    train, test = np.round(TRAIN, 1), np.round(TEST[60:], 1)  # rounded: ties among the training flows and with them
    expected = []
    for row in test:
        together = np.vstack([train, row])
        total = 0.0
        for column, value in enumerate(row):
            left = -np.log(np.mean(together[:, column] <= value))
            right = -np.log(np.mean(together[:, column] >= value))
            chosen = left if skew(train[:, column]) < 0 else right
            total += max(left, right, chosen)
        expected.append(total)
    np.testing.assert_allclose(fitted(ECOD(), flows(train)).score(flows(test)), expected, rtol=1e-9)


def test_ecod_equals_pyod_one_flow_at_a_time():
    reference = (
        pytest.importorskip("pyod.models.ecod", reason="PyOD is not installed: pip install 'janus-bench[pyod]'")
        .ECOD()
        .fit(ROWS)
    )
    detector = fitted(ECOD(), flows(TRAIN))
    unmoved = [
        i for i, row in enumerate(TEST_ROWS) if (np.sign(skew(np.vstack([ROWS, row]))) == np.sign(skew(ROWS))).all()
    ]
    assert len(unmoved) > 90  # of 120: the others are extreme enough to turn a skewness around
    expected = np.concatenate([reference.decision_function(TEST_ROWS[i : i + 1]) for i in unmoved])
    np.testing.assert_allclose(detector.score(flows(TEST[unmoved])), expected, rtol=1e-9)


@pytest.mark.parametrize("detector", [Mahalanobis, KNN, PCA, GMM])
def test_flows_that_break_only_the_dependence_between_features_rank_high(detector):
    """Marginals are kept: each column is shuffled by itself.  (ECOD looks at the marginals alone.)"""
    rng = np.random.default_rng(0)
    broken = np.column_stack([rng.permutation(column) for column in correlated(3, 300).T])
    scores = fitted(detector(), flows(TRAIN)).score(flows(np.concatenate([correlated(1, 300), broken])))
    assert roc_auc_score(np.repeat([0, 1], 300), scores) > 0.9


@pytest.mark.parametrize("detector", ALL)
def test_extreme_values_and_training_flows_that_are_all_alike_leave_scores_finite(detector):
    extreme = np.full((2, 20), [[1e300], [-1e300]])
    assert np.isfinite(fitted(detector(), flows(TRAIN)).score(flows(extreme))).all()
    alike = fitted(detector(), flows(np.ones((30, 20)) * 2))
    assert np.isfinite(alike.score(flows(np.concatenate([TEST, extreme, np.full((1, 20), 2.0)])))).all()


@pytest.mark.parametrize("detector", ALL)
def test_saved_and_loaded_scores_are_equal(detector, tmp_path):
    before = fitted(detector(), flows(TRAIN))
    before.save(tmp_path)
    np.testing.assert_array_equal(detector.load(tmp_path).score(flows(TEST)), before.score(flows(TEST)))


def test_loading_with_other_parameters_is_refused(tmp_path):
    fitted(KNN(KNNParams(k=3)), flows(TRAIN)).save(tmp_path)
    with pytest.raises(DataError, match=r"knn\.json: saved with .* asked for"):
        KNN.load(tmp_path, KNNParams(k=4))


@pytest.mark.parametrize("detector", ALL)
def test_scoring_before_fitting_says_so(detector):
    with pytest.raises(PluginError, match=r"score\(\) before fit\(\)"):
        detector().score(flows(TEST))


@pytest.mark.parametrize(
    ("params", "wrong"),
    [
        (KNNParams, {"k": 0}),
        (KNNParams, {"k": 1.5}),
        (PCAParams, {"variance": 1.0}),
        (PCAParams, {"variance": float("nan")}),
        (GMMParams, {"components": 0}),
        (GMMParams, {"regularisation": 0.0}),
    ],
    ids=str,
)
def test_wrong_parameters_are_refused_by_name(params, wrong):
    with pytest.raises(UsageError, match=f": {next(iter(wrong))} must be "):
        params(**wrong)
