"""Metrics against scikit-learn, numpy and plain-Python oracles that count pairs."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from sklearn.metrics import average_precision_score, precision_recall_fscore_support, roc_auc_score, roc_curve

from janus_bench.extensions import TestScores
from protocols.metrics import (
    METRICS,
    alerts_at_quantile,
    auprc,
    auroc,
    fpr_at_tpr,
    macro_auroc,
    partial_auroc,
    tpr_at_fpr,
)

BY_NAME = {metric.name: metric for metric in METRICS}

finite = st.floats(-1e6, 1e6, allow_nan=False, width=32)
tied = st.integers(-2, 2).map(float)
scores_of = st.one_of(st.lists(finite, max_size=40), st.lists(tied, max_size=40), st.lists(st.just(3.0), max_size=40))


@st.composite
def labelled(draw: st.DrawFn) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Random, heavily tied or constant scores, of any size from none on, in a drawn order."""
    benign, attacks = draw(scores_of), draw(scores_of)
    order = draw(st.permutations(range(len(benign) + len(attacks))))
    scores = np.array(benign + attacks, dtype=np.float64)
    attack = np.array([False] * len(benign) + [True] * len(attacks), dtype=bool)
    return scores[list(order)], attack[list(order)]


def pairs_auroc(benign: list[float], attacks: list[float]) -> float:
    """The definition, pair by pair."""
    return sum((a > b) + 0.5 * (a == b) for a in attacks for b in benign) / (len(attacks) * len(benign))


def best_tpr(scores: NDArray[np.float64], attack: NDArray[np.bool_], one_in: int) -> float:
    """Try every threshold, and one below all scores, under the rule `score > τ`."""
    thresholds = [-np.inf, *scores.tolist()]
    allowed = [tau for tau in thresholds if one_in * int((scores[~attack] > tau).sum()) <= int((~attack).sum())]
    return max(float((scores[attack] > tau).mean()) for tau in allowed)


@given(labelled())
def test_auroc_counts_pairs_with_ties_as_one_half(data: tuple[NDArray[np.float64], NDArray[np.bool_]]) -> None:
    scores, attack = data
    got = auroc(scores, attack)
    if attack.all() or not attack.any():
        assert got is None
        return
    assert got == pytest.approx(pairs_auroc(scores[~attack].tolist(), scores[attack].tolist()), abs=1e-15)
    assert got == pytest.approx(roc_auc_score(attack, scores), abs=1e-12)


@given(labelled())
def test_auprc_is_average_precision(data: tuple[NDArray[np.float64], NDArray[np.bool_]]) -> None:
    scores, attack = data
    got = auprc(scores, attack)
    if attack.all() or not attack.any():
        assert got is None
        return
    assert got == pytest.approx(average_precision_score(attack, scores), abs=1e-12)


@given(labelled(), st.integers(1, 12))
def test_tpr_at_fpr_is_the_best_of_all_thresholds(
    data: tuple[NDArray[np.float64], NDArray[np.bool_]], one_in: int
) -> None:
    scores, attack = data
    got = tpr_at_fpr(scores, attack, one_in)
    if not attack.any() or int((~attack).sum()) < one_in:
        assert got is None
        return
    assert got == best_tpr(scores, attack, one_in)


@pytest.mark.parametrize("decimals", [1, 6])
def test_tpr_at_one_percent_agrees_with_the_roc_curve_of_scikit_learn(decimals: int) -> None:
    rng = np.random.default_rng(0)
    attack = rng.random(5_000) < 0.3
    scores = np.round(rng.normal(size=5_000) + 1.5 * attack, decimals)
    fpr, tpr, _ = roc_curve(attack, scores, drop_intermediate=False)
    expected = tpr[fpr <= 0.01].max()
    assert tpr_at_fpr(scores, attack, 100) == pytest.approx(expected, abs=1e-12)
    assert 0 < expected < 1


@given(labelled(), st.lists(tied | finite, max_size=60), st.sampled_from([2, 10, 20]))
def test_realised_fpr_uses_the_higher_quantile_and_a_strict_rule(
    data: tuple[NDArray[np.float64], NDArray[np.bool_]], calibration: list[float], one_in: int
) -> None:
    scores, attack = data
    alerts = alerts_at_quantile(scores, attack, np.array(calibration, dtype=np.float64), one_in)
    got = None if alerts is None else alerts.fpr
    benign = scores[~attack]
    if len(calibration) < one_in or not len(benign):
        assert got is None
        return
    # the smallest calibration score with at least a share 1 - 1/one_in of the other m - 1 scores at or below it
    ordered = sorted(calibration)
    rank = next(r for r in range(len(ordered)) if r * one_in >= (len(ordered) - 1) * (one_in - 1))
    assert got == sum(value > ordered[rank] for value in benign.tolist()) / len(benign)


def test_realised_fpr_is_null_when_the_calibration_flows_cannot_tell_the_rate() -> None:
    scores, attack = np.arange(10.0), np.zeros(10, dtype=bool)
    # n (1 - q) = 99 · .01 = .99 < 1; with 100 flows it is 1
    assert alerts_at_quantile(scores, attack, np.zeros(99), 100) is None
    alerts = alerts_at_quantile(scores, attack, np.zeros(100), 100)
    assert alerts is not None
    assert alerts.fpr == 0.9  # nine of ten exceed τ = 0


def test_macro_auroc_averages_families_of_at_least_twenty_flows() -> None:
    benign = [1.0, 2.0, 3.0, 4.0]
    # scan: 20 flows above all benign → 1; flood: 30 flows between 2 and 3 → ½; probe: 19 flows below all → 0, too few
    # to count
    scores = np.array(benign + [9.0] * 20 + [2.5] * 30 + [0.0] * 19)
    attack = np.array([False] * 4 + [True] * 69)
    family = np.array(["benign"] * 4 + ["scan"] * 20 + ["flood"] * 30 + ["probe"] * 19)
    assert macro_auroc(scores, attack, family) == 0.75
    # pooled: (20 · 1 + 30 · ½ + 19 · 0) / 69
    assert auroc(scores, attack) == pytest.approx(35 / 69)
    assert macro_auroc(scores[-19:], attack[-19:], family[-19:]) is None  # no benign flow
    few = family == "probe"
    # no family of twenty
    assert macro_auroc(scores[few | ~attack], attack[few | ~attack], family[few | ~attack]) is None


@settings(max_examples=30)
@given(st.integers(0, 2**32 - 1))
def test_macro_auroc_is_the_mean_of_scikit_learn_areas(seed: int) -> None:
    rng = np.random.default_rng(seed)
    family = rng.choice(["", "a", "b", "c"], p=[0.4, 0.3, 0.2, 0.1], size=150)
    attack = family != ""
    scores = np.round(rng.normal(size=150) + attack, 1)
    counted = [name for name in ("a", "b", "c") if (family == name).sum() >= 20]
    assume(counted)
    areas = [roc_auc_score(attack[(family == name) | ~attack], scores[(family == name) | ~attack]) for name in counted]
    assert macro_auroc(scores, attack, family) == pytest.approx(np.mean(areas), abs=1e-12)


def test_auroc_is_exact_where_pair_counts_exceed_float32_and_int32() -> None:
    # 100 000 × 100 000 pairs: one attack of 100 000 lies under one benign flow, the rest is above all
    benign, hits = np.zeros(100_000), np.ones(100_000)
    benign[0], hits[0] = 0.75, 0.5
    scores, attack = np.concatenate([benign, hits]), np.repeat([False, True], 100_000)
    assert auroc(scores, attack) == (10**10 - 1) / 10**10


@given(labelled(), st.integers(1, 12))
def test_partial_auroc_is_the_standardised_area_of_scikit_learn(
    data: tuple[NDArray[np.float64], NDArray[np.bool_]], one_in: int
) -> None:
    scores, attack = data
    got = partial_auroc(scores, attack, one_in)
    if not attack.any() or int((~attack).sum()) < one_in:
        assert got is None
        return
    assert got == pytest.approx(roc_auc_score(attack, scores, max_fpr=1 / one_in), abs=1e-12)


@pytest.mark.parametrize(("n", "decimals"), [(300, 1), (5_000, 2), (5_000, 9)])
def test_partial_auroc_at_one_percent_agrees_with_scikit_learn_on_larger_cells(n: int, decimals: int) -> None:
    rng = np.random.default_rng(n + decimals)
    attack = rng.random(n) < 0.4
    scores = np.round(rng.normal(size=n) + attack, decimals)
    got = partial_auroc(scores, attack, 100)
    assert got == pytest.approx(roc_auc_score(attack, scores, max_fpr=0.01), abs=1e-12)
    assert got is not None
    assert 0.5 < got < 1


@given(labelled(), st.integers(1, 12))
def test_fpr_at_tpr_is_the_smallest_of_all_thresholds(
    data: tuple[NDArray[np.float64], NDArray[np.bool_]], one_in: int
) -> None:
    scores, attack = data
    got = fpr_at_tpr(scores, attack, one_in)
    n_attack = int(attack.sum())
    if attack.all() or n_attack < one_in:
        assert got is None
        return
    thresholds = [-np.inf, *scores.tolist()]
    good_enough = [tau for tau in thresholds if one_in * int((scores[attack] <= tau).sum()) <= n_attack]
    assert got == min(float((scores[~attack] > tau).mean()) for tau in good_enough)


@given(labelled(), st.lists(tied | finite, max_size=60), st.sampled_from([2, 10, 20]))
def test_thresholded_numbers_agree_with_scikit_learn(
    data: tuple[NDArray[np.float64], NDArray[np.bool_]], calibration: list[float], one_in: int
) -> None:
    scores, attack = data
    got = alerts_at_quantile(scores, attack, np.array(calibration, dtype=np.float64), one_in)
    if len(calibration) < one_in:
        assert got is None
        return
    assert got is not None
    alert = scores > np.quantile(calibration, 1 - 1 / one_in, method="higher")
    if attack.all() or not attack.any():
        assert (got.f1, got.recall is None, got.fpr is None) == (None, not attack.any(), bool(attack.all()))
        return
    precision, recall, f1, _ = precision_recall_fscore_support(attack, alert, average="binary", zero_division=np.nan)
    assert got.recall == pytest.approx(recall, abs=1e-15)
    assert got.fpr == pytest.approx(float(alert[~attack].mean()), abs=1e-15)
    assert got.f1 == pytest.approx(f1, abs=1e-15)  # some flow is an attack, so F1 is defined: 0 where nothing is found
    if alert.any():
        assert got.precision == pytest.approx(precision, abs=1e-15)
    else:
        assert got.precision is None


def test_the_base_rate_stands_beside_every_average_precision() -> None:
    attack = np.array([True] * 3 + [False] * 9)
    cell = TestScores(np.zeros(12), attack, np.full(12, "x"), np.zeros(5))
    # constant scores are as good as random ones
    assert BY_NAME["base_rate"].compute(cell) == BY_NAME["auprc"].compute(cell) == 0.25
    for only in (attack, ~attack):
        half = TestScores(cell.score[only], attack[only], cell.family[only], cell.cal_b)
        assert BY_NAME["base_rate"].compute(half) is BY_NAME["auprc"].compute(half) is None


@pytest.mark.parametrize(
    ("n_benign", "n_attack", "n_cal_b", "null"),
    [
        (19, 20, 19, {"tpr_at_fpr_5pct", "tpr_at_fpr_1pct", "tpr_at_fpr_01pct", "pauc_1pct", "p95", "p99", "p999"}),
        (
            20,
            19,
            20,
            {"tpr_at_fpr_1pct", "tpr_at_fpr_01pct", "pauc_1pct", "fpr_at_tpr_95pct", "macro_auroc", "p99", "p999"},
        ),
        (100, 20, 100, {"tpr_at_fpr_01pct", "p999"}),
        (999, 20, 999, {"tpr_at_fpr_01pct", "p999"}),
        (1000, 20, 1000, set()),
    ],
)
def test_rates_that_so_few_flows_cannot_tell_are_null(
    n_benign: int, n_attack: int, n_cal_b: int, null: set[str]
) -> None:
    rng = np.random.default_rng(n_benign)
    attack = np.repeat([False, True], [n_benign, n_attack])
    cell = TestScores(
        rng.normal(size=len(attack)) + 4 * attack, attack, np.where(attack, "scan", ""), rng.normal(size=n_cal_b)
    )
    levels = {
        f"{number}_{level}"
        for level in null & {"p95", "p99", "p999"}
        for number in ("f1", "precision", "recall", "fpr")
    }
    assert {name for name, metric in BY_NAME.items() if metric.compute(cell) is None} == (
        null - {"p95", "p99", "p999"}
    ) | levels


def test_every_metric_is_null_on_an_empty_cell_and_perfect_on_a_separable_one() -> None:
    empty = TestScores(np.empty(0), np.empty(0, dtype=bool), np.empty(0, dtype=str), np.empty(0))
    assert {name: metric.compute(empty) for name, metric in BY_NAME.items()} == dict.fromkeys(BY_NAME)
    ideal = TestScores(
        score=np.concatenate([np.arange(1000.0), np.full(50, 1e4)]),
        attack=np.repeat([False, True], [1000, 50]),
        family=np.repeat(["benign", "scan"], [1000, 50]),
        cal_b=np.arange(1000.0),
    )
    # τ at P95 of 0 … 999 is the rank ceil(999 · .95) = 950: 49 of 1000 benign flows exceed it; P99: ceil(989.01) = 990,
    # 9 exceed it; P99.9: ceil(998.001) = 999, none
    expected = {
        "auroc": 1.0,
        "auprc": 1.0,
        "base_rate": 50 / 1050,
        "pauc_1pct": 1.0,
        "macro_auroc": 1.0,
        "fpr_at_tpr_95pct": 0.0,
    }
    expected |= {"tpr_at_fpr_5pct": 1.0, "tpr_at_fpr_1pct": 1.0, "tpr_at_fpr_01pct": 1.0}
    for level, false in (("p95", 49), ("p99", 9), ("p999", 0)):
        expected |= {f"fpr_{level}": false / 1000, f"recall_{level}": 1.0}
        expected |= {f"precision_{level}": 50 / (50 + false), f"f1_{level}": 100 / (100 + false)}
    assert {name: metric.compute(ideal) for name, metric in BY_NAME.items()} == expected
    lower = {"fpr_p95", "fpr_p99", "fpr_p999", "fpr_at_tpr_95pct"}
    assert {name for name, metric in BY_NAME.items() if not metric.higher_is_better} == lower
