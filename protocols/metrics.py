"""Numbers of one cell, from stored scores and the truth.  numpy only.

Scores are finite float64, higher = more anomalous; an alert is ``score > τ``.  A number that does not exist is None, never 0.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from harness.extensions import Metric

__all__ = ["METRICS", "MIN_FAMILY", "auprc", "auroc", "fpr_at_quantile", "macro_auroc", "tpr_at_fpr"]

MIN_FAMILY = 20
"""Attack families with fewer test flows are left out of the macro average: their AUROC is mostly noise."""

Scores = NDArray[np.float64]


def auroc(scores: Scores, attack: NDArray[np.bool_]) -> float | None:
    """Area under the ROC curve: P(attack score > benign score) + ½ P(equal), exact (the Mann-Whitney U statistic over n_attack · n_benign).

    scores (n,), attack (n,).  None without attacks or without benign flows.
    """
    return _auroc_sorted(np.sort(scores[~attack]), scores[attack])


def auprc(scores: Scores, attack: NDArray[np.bool_]) -> float | None:
    """Average precision Σ (R_i − R_{i−1}) P_i over the distinct thresholds, without interpolation (scikit-learn's ``average_precision_score``).

    scores (n,), attack (n,).  A random score gives the share of attacks.  None without attacks or without benign flows (it would be 1 for any score).
    """
    benign, hits = np.sort(scores[~attack]), np.sort(scores[attack])
    if not len(benign) or not len(hits):
        return None
    # recall moves only where an attack is passed, so the thresholds that count are the distinct attack scores
    thresholds, first, ties = np.unique(hits, return_index=True, return_counts=True)
    true_alerts = len(hits) - first
    false_alerts = len(benign) - np.searchsorted(benign, thresholds, "left")
    return float(np.sum(ties * (true_alerts / (true_alerts + false_alerts))) / len(hits))


def tpr_at_fpr(scores: Scores, attack: NDArray[np.bool_], one_in: int) -> float | None:
    """The largest share of attacks detected by a threshold with a false-positive rate of at most 1 / ``one_in``; no interpolation.

    scores (n,), attack (n,).  None without attacks, or with fewer than ``one_in`` benign flows: so few cannot tell that rate from 0.
    """
    benign, hits = scores[~attack], scores[attack]
    allowed = len(benign) // one_in  # false alerts
    if not len(hits) or allowed == 0:
        return None
    if allowed == len(benign):  # one_in = 1
        return 1.0
    # at the (allowed + 1)-th largest benign score the rule `score > τ` gives at most `allowed` false alerts; any lower τ gives more
    place = len(benign) - allowed - 1
    return float(np.mean(hits > np.partition(benign, place)[place]))


def macro_auroc(scores: Scores, attack: NDArray[np.bool_], family: NDArray[np.str_]) -> float | None:
    """Mean over the attack families with at least ``MIN_FAMILY`` flows of the AUROC of that family's flows against all benign flows.

    scores, attack, family (n,).  None if there is no such family or no benign flow.
    """
    benign, hits = np.sort(scores[~attack]), scores[attack]
    names, member = np.unique(family[attack], return_inverse=True)
    counted = np.flatnonzero(np.bincount(member, minlength=len(names)) >= MIN_FAMILY)
    areas = [area for number in counted if (area := _auroc_sorted(benign, hits[member == number])) is not None]
    return float(np.mean(areas)) if areas else None


def fpr_at_quantile(scores: Scores, attack: NDArray[np.bool_], cal_b: Scores, one_in: int) -> float | None:
    """The false-positive rate that comes true on benign test flows when τ was set for a rate of 1 / ``one_in`` on calibration flows.

    scores, attack (n,), cal_b (m,); τ is the 1 − 1/one_in quantile of ``cal_b`` (``method="higher"``), the rule ``score > τ``.  None without benign
    test flows, or when m / one_in < 1 (then τ would be the largest calibration score whatever the rate).
    """
    benign = scores[~attack]
    if not len(benign) or len(cal_b) < one_in:
        return None
    return float(np.mean(benign > np.quantile(cal_b, 1 - 1 / one_in, method="higher")))


def _auroc_sorted(benign: Scores, hits: Scores) -> float | None:
    """AUROC against benign scores that are sorted already.  Sorting the attacks too makes the searches walk through memory in order."""
    if not len(benign) or not len(hits):
        return None
    hits = np.sort(hits)
    below = int(np.searchsorted(benign, hits, "left").sum())
    not_above = int(np.searchsorted(benign, hits, "right").sum())
    return (below + not_above) / (2 * len(benign) * len(hits))  # whole numbers until here: exact


METRICS: tuple[Metric, ...] = (
    Metric("auroc", "Area under the ROC curve, ties count ½.", lambda cell: auroc(cell.score, cell.attack)),
    Metric("auprc", "Average precision; a random score gives the share of attacks.", lambda cell: auprc(cell.score, cell.attack)),
    Metric(
        "tpr_at_fpr_1pct", "Share of attacks found at a false-positive rate of at most 1 %.", lambda cell: tpr_at_fpr(cell.score, cell.attack, 100)
    ),
    Metric(
        "macro_auroc",
        f"Mean AUROC over attack families with at least {MIN_FAMILY} test flows.",
        lambda cell: macro_auroc(cell.score, cell.attack, cell.family),
    ),
    Metric(
        "fpr_p95",
        "False-positive rate that came true with the threshold at the 95th percentile of calibration flows B.",
        lambda cell: fpr_at_quantile(cell.score, cell.attack, cell.cal_b, 20),
        higher_is_better=False,
    ),
    Metric(
        "fpr_p99",
        "False-positive rate that came true with the threshold at the 99th percentile of calibration flows B.",
        lambda cell: fpr_at_quantile(cell.score, cell.attack, cell.cal_b, 100),
        higher_is_better=False,
    ),
)
