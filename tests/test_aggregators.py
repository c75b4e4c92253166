"""Aggregators: OAS against scikit-learn and the defining formula, and the degenerate calibration sets of real detectors."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from sklearn.covariance import OAS

from harness.contract import UsageError
from protocols.aggregators import AGGREGATORS, fit_aggregator


def score_table(rng: np.random.Generator, n: int) -> np.ndarray:
    """Ten columns of very different scale; the last is the mean of six others, as in JANUS, so their covariance has rank 9."""
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
    # 0.1 is not a binary fraction: the mean of five of them may differ from 0.1 in the last digit, which must not become a covariance
    calibration = np.tile([0.1, 2.0], (rows, 1))
    distance = fit_aggregator("oas", calibration, ("a", "b"))(np.array([[0.1, 2.0], [3.1, 6.0]]))
    np.testing.assert_allclose(distance, [0, 25], atol=1e-12)


def test_a_constant_column_among_others_gives_what_scikit_learn_gives() -> None:
    rng = np.random.default_rng(3)
    calibration = np.column_stack([rng.normal(size=50), np.full(50, 0.1)])
    test = rng.normal(size=(10, 2))
    np.testing.assert_allclose(fit_aggregator("oas", calibration, ("a", "b"))(test), OAS().fit(calibration).mahalanobis(test), rtol=1e-8)


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
        ("column", "write column:NAME"),
        ("oas:3", "write oas"),
        ("identity", "needs a single score column, there are 2"),
    ],
)
def test_a_wrong_name_says_what_to_write(name: str, message: str) -> None:
    with pytest.raises(UsageError) as caught:
        fit_aggregator(name, np.zeros((3, 2)), ("terminal_norm", "disc_nll_total"))
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_no_calibration_flows_is_a_clear_error() -> None:
    with pytest.raises(UsageError, match="there are none"):
        fit_aggregator("oas", np.empty((0, 2)), ("a", "b"))


def test_every_registered_aggregator_can_be_fitted() -> None:
    calibration = np.random.default_rng(6).normal(size=(40, 1))
    for kind, entry in AGGREGATORS.items():
        scalar = fit_aggregator(f"{kind}:score" if entry.argument else kind, calibration, ("score",))
        assert scalar(calibration[:7]).shape == (7,)
