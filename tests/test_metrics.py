"""Metrics against scikit-learn, numpy and plain-Python oracles that count pairs."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from sklearn.metrics import average_precision_score, roc_auc_score, roc_curve

from harness.extensions import TestScores
from protocols.metrics import METRICS, auprc, auroc, fpr_at_quantile, macro_auroc, tpr_at_fpr

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
def test_tpr_at_fpr_is_the_best_of_all_thresholds(data: tuple[NDArray[np.float64], NDArray[np.bool_]], one_in: int) -> None:
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
    got = fpr_at_quantile(scores, attack, np.array(calibration, dtype=np.float64), one_in)
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
    assert fpr_at_quantile(scores, attack, np.zeros(99), 100) is None
    assert fpr_at_quantile(scores, attack, np.zeros(100), 100) == 0.9  # nine of ten exceed τ = 0


def test_macro_auroc_averages_families_of_at_least_twenty_flows() -> None:
    benign = [1.0, 2.0, 3.0, 4.0]
    # scan: 20 flows above all benign → 1; flood: 30 flows between 2 and 3 → ½; probe: 19 flows below all → 0, too few to count
    scores = np.array(benign + [9.0] * 20 + [2.5] * 30 + [0.0] * 19)
    attack = np.array([False] * 4 + [True] * 69)
    family = np.array(["benign"] * 4 + ["scan"] * 20 + ["flood"] * 30 + ["probe"] * 19)
    assert macro_auroc(scores, attack, family) == 0.75
    # pooled: (20 · 1 + 30 · ½ + 19 · 0) / 69
    assert auroc(scores, attack) == pytest.approx(35 / 69)
    assert macro_auroc(scores[-19:], attack[-19:], family[-19:]) is None  # no benign flow
    few = family == "probe"
    assert macro_auroc(scores[few | ~attack], attack[few | ~attack], family[few | ~attack]) is None  # no family of twenty


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


def test_every_metric_is_null_on_an_empty_cell_and_perfect_on_a_separable_one() -> None:
    empty = TestScores(np.empty(0), np.empty(0, dtype=bool), np.empty(0, dtype=str), np.empty(0))
    assert {name: metric.compute(empty) for name, metric in BY_NAME.items()} == dict.fromkeys(BY_NAME)
    ideal = TestScores(
        score=np.concatenate([np.arange(200.0), np.full(50, 1e3)]),
        attack=np.repeat([False, True], [200, 50]),
        family=np.repeat(["benign", "scan"], [200, 50]),
        cal_b=np.arange(200.0),
    )
    # τ at P95 of 0 … 199 is the rank ceil(199 · .95) = 190: 9 of 200 benign flows exceed it; at P99 the rank is ceil(197.01) = 198: 1 of 200
    expected = {"auroc": 1.0, "auprc": 1.0, "tpr_at_fpr_1pct": 1.0, "macro_auroc": 1.0, "fpr_p95": 9 / 200, "fpr_p99": 1 / 200}
    assert {name: metric.compute(ideal) for name, metric in BY_NAME.items()} == expected
    assert {name for name, metric in BY_NAME.items() if not metric.higher_is_better} == {"fpr_p95", "fpr_p99"}
