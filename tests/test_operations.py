"""The operational table against the worked example and scipy, source-likeness and transfer gain."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest
from sklearn.metrics import roc_auc_score

from protocols.metrics import Alerts, alerts_at_quantile
from protocols.operations import (
    BASE_RATES,
    clopper_pearson,
    operational_table,
    source_likeness,
    transfer_gain,
)


def test_one_percent_false_alerts_bury_one_attack_in_ten_thousand():
    # TPR .9, FPR 1 %, base rate 1e-4, a million flows: 90 true among 9 999 false alerts a day
    row = operational_table(Alerts(true=900, false=100, n_attack=1_000, n_benign=10_000), base_rates=[1e-4])[0]
    assert row.true_alerts == pytest.approx(90)
    assert row.false_alerts == pytest.approx(9_999)
    assert row.ppv == pytest.approx(90 / 10_089)
    assert f"{row.ppv:.1%}" == "0.9%"
    # exact 95 % range of 100 in 10 000
    exact = binomtest(100, 10_000).proportion_ci(method="exact")
    assert row.false_alerts_interval == pytest.approx((exact.low * 999_900, exact.high * 999_900))
    low, high = row.ppv_interval
    assert (low, high) == pytest.approx((90 / (90 + exact.high * 999_900), 90 / (90 + exact.low * 999_900)))
    assert low < row.ppv < high


def test_rarer_attacks_make_alerts_worth_less():
    rows = operational_table(Alerts(900, 100, 1_000, 10_000), flows_per_day=50_000)
    assert [row.base_rate for row in rows] == list(BASE_RATES)
    assert [row.true_alerts for row in rows] == pytest.approx([450, 45, 4.5])
    assert [row.false_alerts for row in rows] == pytest.approx([495, 499.5, 499.95])
    assert [row.ppv for row in rows] == pytest.approx([450 / 945, 45 / 544.5, 4.5 / 504.45])


@pytest.mark.parametrize(("false", "exists"), [(0, False), (9, False), (10, True), (1_000, True)])
def test_nothing_is_said_below_ten_over_fpr_benign_flows(false, exists):
    rows = operational_table(Alerts(50, false, 100, 1_000))
    assert len(rows) == len(BASE_RATES)
    for row in rows:
        numbers = (row.true_alerts, row.false_alerts, row.false_alerts_interval, row.ppv, row.ppv_interval)
        assert [number is not None for number in numbers] == [exists] * 5
        assert (row.reason == "") == exists
    if not exists:
        assert f"{false} false alerts on 1000 benign" in rows[0].reason


def test_no_attacks_or_no_benign_flows_is_a_reason_and_nonsense_is_refused():
    assert "no attacks" in operational_table(Alerts(0, 50, 0, 1_000))[0].reason
    assert "no benign" in operational_table(Alerts(5, 0, 10, 0))[0].reason
    for wrong in ({"flows_per_day": 0}, {"base_rates": [0.0]}, {"base_rates": [1.0]}):
        with pytest.raises(ValueError):
            operational_table(Alerts(5, 50, 10, 1_000), **wrong)


def test_the_table_follows_from_stored_scores():
    rng = np.random.default_rng(4)
    attack = np.repeat([False, True], [4_000, 500])
    scores = rng.normal(size=4_500) + 3 * attack
    alerts = alerts_at_quantile(scores, attack, rng.normal(size=1_000), 100)
    row = operational_table(alerts, 10_000, [0.01])[0]
    assert row.false_alerts == pytest.approx(alerts.fpr * 9_900)
    assert row.true_alerts == pytest.approx(alerts.recall * 100)


@given(st.integers(0, 300).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))), st.sampled_from([0.5, 0.95, 0.999]))
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


def test_gain_exists_only_with_both_sides():
    assert transfer_gain(0.75, 0.5) == 0.25
    assert transfer_gain(None, 0.5) is transfer_gain(0.5, None) is None
