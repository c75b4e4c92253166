"""Aggregators: OAS against scikit-learn and the defining formula, and the degenerate calibration sets of real
detectors."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from sklearn.covariance import OAS, LedoitWolf

from janus_bench.errors import UsageError
from janus_bench.params import columns_of
from protocols.aggregators import AGGREGATORS, fit_aggregator


def score_table(rng: np.random.Generator, n: int) -> np.ndarray:
    """Ten columns of very different scale; the last is the mean of six others, as in JANUS, so their covariance has
    rank 9."""
    base = rng.lognormal(size=(n, 9)) * np.array([1, 1, 1, 0.3, 0.01, 0.02, 0.001, 0.1, 0.05])
    return np.column_stack([base, base[:, 3:].mean(axis=1)])


@pytest.mark.parametrize("n", [2, 3, 11, 2_000])
def test_oas_is_the_mahalanobis_distance_of_scikit_learn(n: int) -> None:
    rng = np.random.default_rng(n)
    calibration, test = score_table(rng, n), 3 * score_table(rng, 500)
    scalar = fit_aggregator("oas", calibration, tuple("abcdefghij"))
    expected = OAS().fit(calibration).mahalanobis(test)
    np.testing.assert_allclose(scalar(test), expected, rtol=1e-8)


def test_oas_follows_the_published_formula() -> None:
    rng = np.random.default_rng(7)
    s, test = rng.normal(size=(30, 4)) @ rng.normal(size=(4, 4)), rng.normal(size=(20, 4))
    n, p = s.shape
    mean = s.sum(axis=0) / n
    S = (s - mean).T @ (s - mean) / n
    square, trace = np.trace(S @ S), np.trace(S)
    # scikit-learn's form of Chen et al. (2010), eq. 23, which drops the terms with 2/p
    rho = min(1.0, (square + trace**2) / ((n + 1) * (square - trace**2 / p)))
    shrunk = (1 - rho) * S + rho * trace / p * np.eye(p)
    expected = [(x - mean) @ np.linalg.inv(shrunk) @ (x - mean) for x in test]
    np.testing.assert_allclose(fit_aggregator("oas", s, tuple("abcd"))(test), expected, rtol=1e-10)


def test_oas_of_one_column_is_the_squared_z_score() -> None:
    calibration = np.array([[1.0], [3.0], [5.0]])  # mean 3, variance 8/3
    distance = fit_aggregator("oas", calibration, ("score",))(np.array([[3.0], [7.0], [-1.0]]))
    np.testing.assert_allclose(distance, [0, 6, 6], rtol=1e-12)


@pytest.mark.parametrize("rows", [1, 5])
def test_oas_without_any_spread_is_the_euclidean_distance(rows: int) -> None:
    # 0.1 is not a binary fraction: the mean of five of them may differ from 0.1 in the last digit, which must not
    # become a covariance
    calibration = np.tile([0.1, 2.0], (rows, 1))
    distance = fit_aggregator("oas", calibration, ("a", "b"))(np.array([[0.1, 2.0], [3.1, 6.0]]))
    np.testing.assert_allclose(distance, [0, 25], atol=1e-12)


def test_a_constant_column_among_others_gives_what_scikit_learn_gives() -> None:
    rng = np.random.default_rng(3)
    calibration = np.column_stack([rng.normal(size=50), np.full(50, 0.1)])
    test = rng.normal(size=(10, 2))
    np.testing.assert_allclose(
        fit_aggregator("oas", calibration, ("a", "b"))(test), OAS().fit(calibration).mahalanobis(test), rtol=1e-8
    )


@pytest.mark.parametrize("factor", [1e-170, 1e-30, 1e30, 1e170])
def test_oas_does_not_depend_on_a_common_factor(factor: float) -> None:
    rng = np.random.default_rng(4)
    calibration, test = score_table(rng, 200), score_table(rng, 50)
    columns = tuple("abcdefghij")
    plain = fit_aggregator("oas", calibration, columns)(test)
    np.testing.assert_allclose(fit_aggregator("oas", calibration * factor, columns)(test * factor), plain, rtol=1e-6)


@settings(max_examples=60)
@given(
    arrays(np.float64, st.tuples(st.integers(1, 6), st.just(3)), elements=st.floats(-1e100, 1e100, allow_nan=False)),
    arrays(np.float64, (4, 3), elements=st.floats(allow_nan=False, allow_infinity=False)),
)
def test_oas_is_finite_and_never_negative(calibration: np.ndarray, values: np.ndarray) -> None:
    distance = fit_aggregator("oas", calibration, ("a", "b", "c"))(values)
    assert distance.shape == (4,)
    assert np.isfinite(distance).all()
    assert (distance >= 0).all()


def test_oas_scores_a_flow_alike_whatever_the_company() -> None:
    rng = np.random.default_rng(5)
    scalar = fit_aggregator("oas", score_table(rng, 300), tuple("abcdefghij"))
    test = score_table(rng, 64)
    alone = np.concatenate([scalar(row[None, :]) for row in test])
    np.testing.assert_allclose(alone, scalar(test), rtol=1e-12)


def test_columns_and_identity_pass_scores_through() -> None:
    values = np.array([[1.0, 20.0], [3.0, 5.0]])
    np.testing.assert_array_equal(fit_aggregator("column:b", values, ("a", "b"))(values), [20, 5])
    np.testing.assert_array_equal(fit_aggregator("identity", values[:, :1], ("a",))(values[:, :1]), [1, 3])


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("oass", "unknown aggregator 'oass'. Did you mean 'oas'?"),
        ("column:terminal_nrm", "unknown score column 'terminal_nrm'. Did you mean 'terminal_norm'?"),
        ("column", "Did you mean 'column:NAME'?"),
        ("oas[columns=terminal_nrm]", "Did you mean 'terminal_norm'?"),
        ("oas[standardise=zscore]", "Did you mean 'standardize'?"),
        ("oas[standardize=zscor]", "must be one of none, zscore, robust"),
        ("knn[k=0]", "k=0 must be at least 1"),
        ("identity", "needs a single score column, there are 2"),
    ],
)
def test_a_wrong_name_says_what_to_write(name: str, message: str) -> None:
    with pytest.raises(UsageError) as caught:
        fit_aggregator(name, np.zeros((3, 2)), ("terminal_norm", "disc_nll_total"))
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


COLUMNS = tuple("abcdefghij")


def test_empirical_mahalanobis_is_the_pseudo_inverse_where_the_covariance_is_singular() -> None:
    rng = np.random.default_rng(8)
    calibration, test = score_table(rng, 400), score_table(rng, 50)
    # without the redundant column the covariance is regular, and test rows obey the same relation
    nine = calibration[:, :9]
    inverse = np.linalg.inv(np.cov(nine, rowvar=False, bias=True))
    deviation = test[:, :9] - nine.mean(axis=0)
    expected = np.einsum("mi,ij,mj->m", deviation, inverse, deviation)
    np.testing.assert_allclose(fit_aggregator("mahalanobis", calibration, COLUMNS)(test), expected, rtol=1e-6)
    np.testing.assert_allclose(fit_aggregator("mahalanobis", nine, COLUMNS[:9])(test[:, :9]), expected, rtol=1e-8)


def test_ledoit_wolf_is_scikit_learns() -> None:
    rng = np.random.default_rng(9)
    calibration, test = score_table(rng, 300), score_table(rng, 50)
    np.testing.assert_allclose(
        fit_aggregator("ledoit_wolf", calibration, COLUMNS)(test),
        LedoitWolf().fit(calibration).mahalanobis(test),
        rtol=1e-8,
    )


def test_max_z_by_hand() -> None:
    # means 1 and 7, standard deviations 1 and 0 (counted from 7, unscaled)
    calibration = np.array([[0.0, 7.0], [2.0, 7.0]])
    scalar = fit_aggregator("max_z", calibration, ("a", "b"))
    np.testing.assert_allclose(scalar(np.array([[3.0, 7.5], [1.0, 9.0], [-5.0, 7.0]])), [2.0, 2.0, 0.0])


def test_knn_by_brute_force() -> None:
    rng = np.random.default_rng(10)
    calibration, test = score_table(rng, 200), score_table(rng, 40)
    magnitude = np.median(np.abs(calibration), axis=0)
    logged = [np.sign(x) * np.log1p(np.abs(x) / magnitude) for x in (calibration, test)]
    a, b = ((x - logged[0].mean(axis=0)) / logged[0].std(axis=0) for x in logged)
    distances = np.sort(np.linalg.norm(b[:, None] - a[None], axis=2), axis=1)
    np.testing.assert_allclose(fit_aggregator("knn", calibration, COLUMNS)(test), distances[:, 0], rtol=1e-6, atol=1e-9)
    np.testing.assert_allclose(fit_aggregator("knn[k=3]", calibration, COLUMNS)(test), distances[:, 2], rtol=1e-6)


def test_options_prepare_with_statistics_of_the_calibration_scores() -> None:
    rng = np.random.default_rng(11)
    calibration, test = score_table(rng, 300), score_table(rng, 50)
    standard = [(x - calibration.mean(axis=0)) / calibration.std(axis=0) for x in (calibration, test)]
    expected = OAS().fit(standard[0]).mahalanobis(standard[1])
    np.testing.assert_allclose(
        fit_aggregator("oas[standardize=zscore]", calibration, COLUMNS)(test), expected, rtol=1e-8
    )
    low, middle, high = np.quantile(calibration, [0.25, 0.5, 0.75], axis=0)
    robust = [(x - middle) / ((high - low) / 1.349) for x in (calibration, test)]
    np.testing.assert_allclose(
        fit_aggregator("oas[standardize=robust]", calibration, COLUMNS)(test),
        OAS().fit(robust[0]).mahalanobis(robust[1]),
        rtol=1e-8,
    )
    part = [x[:, [2, 0]] for x in (calibration, test)]
    np.testing.assert_allclose(
        fit_aggregator("oas[columns=c+a]", calibration, COLUMNS)(test),
        OAS().fit(part[0]).mahalanobis(part[1]),
        rtol=1e-8,
    )


def test_options_of_a_single_column_by_hand() -> None:
    """``identity`` shows what the options make of a column; the others would forgive a shift or a common factor."""
    calibration, test = np.array([[-4.0], [1.0], [2.0], [9.0]]), np.array([[-2.0], [0.0], [7.0]])
    log = np.sign(test) * np.log1p(np.abs(test) / 3.0)  # 3: the median of 1, 2, 4, 9
    expected = {
        "identity[log=true]": log,
        "identity[standardize=zscore]": (test - 2.0) / np.sqrt((36 + 1 + 0 + 49) / 4),
        "identity[standardize=robust]": (test - 1.5) / ((3.75 + 0.25) / 1.349),  # quartiles −.25, 1.5 and 3.75
    }
    for name, values in expected.items():
        np.testing.assert_allclose(
            fit_aggregator(name, calibration, ("a",))(test), values[:, 0], rtol=1e-12, err_msg=name
        )


def test_a_small_direction_counts_in_the_empirical_mahalanobis_distance() -> None:
    rng = np.random.default_rng(4)
    one = rng.normal(size=400)
    calibration = np.column_stack([one, one + 0.02 * rng.normal(size=400)])
    inverse, test = np.linalg.inv(np.cov(calibration, rowvar=False, bias=True)), np.array([[1.0, 1.0], [1.0, -1.0]])
    deviation = test - calibration.mean(axis=0)
    np.testing.assert_allclose(
        fit_aggregator("mahalanobis", calibration, ("a", "b"))(test),
        np.einsum("mi,ij,mj->m", deviation, inverse, deviation),
        rtol=1e-6,
    )


def test_no_calibration_flows_is_a_clear_error() -> None:
    with pytest.raises(UsageError, match="there are none"):
        fit_aggregator("oas", np.empty((0, 2)), ("a", "b"))


def test_every_registered_aggregator_can_be_fitted() -> None:
    calibration = np.random.default_rng(6).normal(size=(40, 1))
    for kind, entry in AGGREGATORS.items():
        scalar = fit_aggregator(kind, calibration, ("score",))
        assert entry.summary
        assert scalar(calibration[:7]).shape == (7,)


def test_min_quantile_is_the_smaller_empirical_rank_and_has_no_ties_beyond_the_calibration_flows():
    rng = np.random.default_rng(0)
    calibration = np.column_stack([np.arange(1.0, 101.0), rng.permutation(np.arange(1.0, 101.0)) * 7])
    scalar = fit_aggregator("min_quantile", calibration, ("a", "b"))
    # 50.5 lies above 50 of 100 in column a, 7 · 20.5 above 20 of 100 in column b
    assert scalar(np.array([[50.5, 7 * 20.5]]))[0] == pytest.approx(0.2)
    assert scalar(np.array([[10.5, 7 * 90.5]]))[0] == pytest.approx(0.1)
    beyond = scalar(np.array([[100.0, 700.0], [101.0, 701.0], [1e6, 1e6], [0.0, 1e6], [-5.0, 1e6]]))
    assert beyond[2] > beyond[1] > beyond[0] > beyond[3] > beyond[4]


def test_columns_of_an_aggregator_are_those_it_reads():
    columns = ("terminal_flow", "terminal_norm", "curvature")
    assert columns_of("oas", columns) == columns
    assert columns_of("oas[columns=terminal_*]", columns) == columns[:2]
    assert columns_of("column:curvature", columns) == ("curvature",)
