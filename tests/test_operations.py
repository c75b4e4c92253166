"""Alerts a day against the worked example and scipy, and source-likeness."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest
from sklearn.metrics import roc_auc_score

from protocols.operations import clopper_pearson, operation, source_likeness


def test_one_percent_false_alerts_bury_one_attack_in_ten_thousand():
    # TPR .9, FPR 1 % (100 of 10 000), base rate 1e-4, a million flows: 90 true among 9 999 false alerts a day
    exact = binomtest(100, 10_000).proportion_ci(method="exact")
    found = operation(0.9, 0.01, (exact.low, exact.high), 1_000_000, 1e-4)
    assert found.true_alerts == pytest.approx(90)
    assert found.false_alerts == pytest.approx(9_999)
    assert found.ppv == pytest.approx(90 / 10_089)
    assert f"{found.ppv:.1%}" == "0.9%"
    assert found.false_alerts_interval == pytest.approx((exact.low * 999_900, exact.high * 999_900))
    low, high = found.ppv_interval
    assert (low, high) == pytest.approx((90 / (90 + exact.high * 999_900), 90 / (90 + exact.low * 999_900)))
    assert low < found.ppv < high


def test_rarer_attacks_make_alerts_worth_less():
    found = [operation(0.9, 0.01, (0.008, 0.012), 50_000, base_rate) for base_rate in (1e-2, 1e-3, 1e-4)]
    assert [each.true_alerts for each in found] == pytest.approx([450, 45, 4.5])
    assert [each.false_alerts for each in found] == pytest.approx([495, 499.5, 499.95])
    assert [each.ppv for each in found] == pytest.approx([450 / 945, 45 / 544.5, 4.5 / 504.45])


@given(
    st.integers(0, 300).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))), st.sampled_from([0.5, 0.95, 0.999])
)
def test_clopper_pearson_is_the_exact_interval_of_scipy(kn, confidence):
    k, n = kn
    if n == 0:
        assert clopper_pearson(k, n, confidence) == (0.0, 1.0)
        return
    exact = binomtest(k, n).proportion_ci(confidence, method="exact")
    assert clopper_pearson(k, n, confidence) == pytest.approx((exact.low, exact.high), abs=1e-12)


def test_clopper_pearson_refuses_what_is_no_proportion():
    with pytest.raises(ValueError, match="3 of 2"):
        clopper_pearson(3, 2)


values = st.lists(st.integers(-3, 3).map(float), max_size=30)


@given(values, values)
def test_source_likeness_is_the_better_side_of_the_area(source, target):
    got = source_likeness(np.array(source), np.array(target))
    if not source or not target:
        assert got is None
        return
    area = roc_auc_score([0] * len(source) + [1] * len(target), source + target)
    assert got.index == pytest.approx(max(area, 1 - area))
    assert got.index >= 0.5
    assert got.sign == (0 if abs(area - 0.5) < 1e-9 else 1 if area > 0.5 else -1)
    mirrored = source_likeness(np.array(target), np.array(source))
    assert mirrored.index == pytest.approx(got.index)
    assert mirrored.sign == -got.sign
