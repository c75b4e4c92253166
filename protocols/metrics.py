"""Numbers of one cell, from stored scores and the truth.  numpy only.

Scores are finite float64, higher = more anomalous; an alert is ``score > τ``.  A number that does not exist is None,
never 0.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from janus_bench.extensions import Metric, TestScores

MIN_FAMILY = 20
"""Attack families with fewer test flows are left out of the macro average: their AUROC is mostly noise."""

Scores = NDArray[np.float64]


def auroc(scores: NDArray[Any], attack: NDArray[np.bool_]) -> float | None:
    """Area under the ROC curve: P(attack score > benign score) + ½ P(equal), exact (the Mann-Whitney U statistic over
    n_attack · n_benign).

    scores (n,), attack (n,).  None without attacks or without benign flows.
    """
    return _auroc_sorted(np.sort(scores[~attack]), scores[attack])


def auprc(scores: Scores, attack: NDArray[np.bool_]) -> float | None:
    """Average precision Σ (R_i − R_{i−1}) P_i over the distinct thresholds, without interpolation (scikit-learn's
    ``average_precision_score``).

    scores (n,), attack (n,).  A random score gives the share of attacks.  None without attacks or without benign flows
    (it would be 1 for any score).
    """
    benign, hits = np.sort(scores[~attack]), np.sort(scores[attack])
    if not len(benign) or not len(hits):
        return None
    # recall moves only where an attack is passed, so the thresholds that count are the distinct attack scores
    thresholds, first, ties = np.unique(hits, return_index=True, return_counts=True)
    true_alerts = len(hits) - first
    false_alerts = len(benign) - np.searchsorted(benign, thresholds, "left")
    return float(np.sum(ties * (true_alerts / (true_alerts + false_alerts))) / len(hits))


def base_rate(attack: NDArray[np.bool_]) -> float | None:
    """The share of attacks among the test flows, which is the average precision of a random score.  None exactly where
    ``auprc`` is."""
    return float(np.mean(attack)) if attack.any() and not attack.all() else None


def partial_auroc(scores: Scores, attack: NDArray[np.bool_], one_in: int) -> float | None:
    """Area under the ROC curve up to a false-positive rate of 1 / ``one_in``, standardised to ½ (random) … 1 (perfect)
    after McClish (Med. Decis. Making 1989): ½ (1 + (A − f²/2) / (f − f²/2)), f = 1 / one_in.  The curve is joined
    linearly, as in ``roc_auc_score(max_fpr=f)``.

    scores (n,), attack (n,).  None without attacks, or with fewer than ``one_in`` benign flows: the area would lie
    inside the curve's first step.
    """
    n_benign, limit = int(np.count_nonzero(~attack)), 1 / one_in
    n_attack = len(attack) - n_benign
    if not n_attack or n_benign < one_in:
        return None
    values, place = np.unique(scores, return_inverse=True)
    fpr, tpr = (
        np.concatenate([[0.0], np.cumsum(np.bincount(place[members], minlength=len(values))[::-1]) / total])
        for members, total in ((~attack, n_benign), (attack, n_attack))
    )
    # points up to the limit, then the curve's height at the limit itself
    kept = int(np.searchsorted(fpr, limit, "right"))
    x = np.append(fpr[:kept], limit)
    y = np.append(tpr[:kept], np.interp(limit, fpr, tpr))
    lowest = limit**2 / 2
    return float(0.5 * (1 + (np.trapezoid(y, x) - lowest) / (limit - lowest)))


def tpr_at_fpr(scores: Scores, attack: NDArray[np.bool_], one_in: int) -> float | None:
    """The largest share of attacks detected by a threshold with a false-positive rate of at most 1 / ``one_in``; no
    interpolation.

    scores (n,), attack (n,).  None without attacks, or with fewer than ``one_in`` benign flows: so few cannot tell that
    rate from 0.
    """
    benign, hits = scores[~attack], scores[attack]
    allowed = len(benign) // one_in  # false alerts
    if not len(hits) or allowed == 0:
        return None
    if allowed == len(benign):  # one_in = 1
        return 1.0
    # at the (allowed + 1)-th largest benign score the rule `score > τ` gives at most `allowed` false alerts; any lower
    # τ gives more
    place = len(benign) - allowed - 1
    return float(np.mean(hits > np.partition(benign, place)[place]))


def fpr_at_tpr(scores: Scores, attack: NDArray[np.bool_], one_in: int) -> float | None:
    """The smallest false-positive rate of a threshold that misses at most a share 1 / ``one_in`` of the attacks; no
    interpolation.

    scores (n,), attack (n,).  None without benign flows, or with fewer than ``one_in`` attacks: so few cannot tell that
    share from 0.
    """
    benign, hits = scores[~attack], scores[attack]
    allowed = len(hits) // one_in  # missed attacks
    if not len(benign) or allowed == 0:
        return None
    if allowed == len(hits):  # one_in = 1
        return 0.0
    # the highest τ of the rule `score > τ` that still finds all but `allowed` attacks lies just under the (allowed +
    # 1)-th smallest attack score
    return float(np.mean(benign >= np.partition(hits, allowed)[allowed]))


def macro_auroc(scores: Scores, attack: NDArray[np.bool_], family: NDArray[np.str_]) -> float | None:
    """Mean over the attack families with at least ``MIN_FAMILY`` flows of the AUROC of that family's flows against all
    benign flows.

    scores, attack, family (n,).  None if there is no such family or no benign flow.
    """
    benign, hits = np.sort(scores[~attack]), scores[attack]
    names, member = np.unique(family[attack], return_inverse=True)
    counted = np.flatnonzero(np.bincount(member, minlength=len(names)) >= MIN_FAMILY)
    areas = [area for number in counted if (area := _auroc_sorted(benign, hits[member == number])) is not None]
    return float(np.mean(areas)) if areas else None


@dataclass(frozen=True)
class Alerts:
    """Test flows by truth and alert; what has a denominator of zero is None."""

    true: int
    false: int
    n_attack: int
    n_benign: int

    @property
    def recall(self) -> float | None:
        return self.true / self.n_attack if self.n_attack else None

    @property
    def fpr(self) -> float | None:
        return self.false / self.n_benign if self.n_benign else None

    @property
    def precision(self) -> float | None:
        """None also without benign flows: it would be 1 for any score."""
        return self.true / (self.true + self.false) if self.true + self.false and self.n_benign else None

    @property
    def f1(self) -> float | None:
        """2 TP / (2 TP + FP + FN): 0 where nothing is found.  None without attacks or without benign flows."""
        return 2 * self.true / (self.true + self.false + self.n_attack) if self.n_attack and self.n_benign else None


def alerts_at_quantile(scores: Scores, attack: NDArray[np.bool_], cal_b: Scores, one_in: int) -> Alerts | None:
    """Alerts on test flows when τ was set for a false-positive rate of 1 / ``one_in`` on calibration flows.

    scores, attack (n,), cal_b (m,); τ is the 1 − 1/one_in quantile of ``cal_b`` (``method="higher"``), the rule ``score
    > τ``.  None when m / one_in < 1 (then τ would be the largest calibration score whatever the rate).
    """
    if len(cal_b) < one_in:
        return None
    alert = scores > np.quantile(cal_b, 1 - 1 / one_in, method="higher")
    n_attack = int(np.count_nonzero(attack))
    true = int(np.count_nonzero(alert & attack))
    return Alerts(true, int(np.count_nonzero(alert)) - true, n_attack, len(attack) - n_attack)


def _auroc_sorted(benign: NDArray[Any], hits: NDArray[Any]) -> float | None:
    """AUROC against benign scores that are sorted already.  Sorting the attacks too makes the searches walk through
    memory in order."""
    if not len(benign) or not len(hits):
        return None
    hits = np.sort(hits)
    below = int(np.searchsorted(benign, hits, "left").sum())
    not_above = int(np.searchsorted(benign, hits, "right").sum())
    return (below + not_above) / (2 * len(benign) * len(hits))  # whole numbers until here: exact


def _tpr_metric(name: str, one_in: int, percent: str) -> Metric:
    summary = f"Share of attacks found at a false-positive rate of at most {percent} %."
    return Metric(
        f"tpr_at_fpr_{name}",
        summary,
        lambda cell: tpr_at_fpr(cell.score, cell.attack, one_in),
        benign_in_site=max(Metric.benign_in_site, 2 * one_in),  # two false alerts are allowed, at least
    )


def _threshold_metrics(name: str, one_in: int, percentile: str) -> tuple[Metric, ...]:
    """F1, precision, recall and realised false-positive rate with τ at one percentile of the calibration flows B."""
    rule = f"with the threshold at the {percentile}th percentile of calibration flows B"

    def metric(
        prefix: str, what: str, number: Callable[[Alerts], float | None], *, higher_is_better: bool = True
    ) -> Metric:
        def compute(cell: TestScores) -> float | None:
            alerts = alerts_at_quantile(cell.score, cell.attack, cell.cal_b, one_in)
            return number(alerts) if alerts is not None else None

        return Metric(f"{prefix}_{name}", f"{what} {rule}.", compute, higher_is_better=higher_is_better)

    return (
        metric("fpr", "False-positive rate that came true", lambda alerts: alerts.fpr, higher_is_better=False),
        metric("f1", "F1", lambda alerts: alerts.f1),
        metric(
            "precision",
            "Share of attacks among the alerts (at this test set's base rate)",
            lambda alerts: alerts.precision,
        ),
        metric("recall", "Share of attacks found", lambda alerts: alerts.recall),
    )


METRICS: tuple[Metric, ...] = (
    Metric("auroc", "Area under the ROC curve, ties count ½.", lambda cell: auroc(cell.score, cell.attack)),
    Metric(
        "auprc", "Average precision; a random score gives the base rate.", lambda cell: auprc(cell.score, cell.attack)
    ),
    Metric(
        "base_rate",
        "Share of attacks among the test flows: what auprc is for a random score.",
        lambda cell: base_rate(cell.attack),
    ),
    Metric(
        "pauc_1pct",
        "ROC area up to a false-positive rate of 1 %, standardised: ½ for a random score, 1 for a perfect one.",
        lambda cell: partial_auroc(cell.score, cell.attack, 100),
        benign_in_site=200,
    ),
    _tpr_metric("5pct", 20, "5"),
    _tpr_metric("1pct", 100, "1"),
    _tpr_metric("01pct", 1000, "0.1"),
    Metric(
        "fpr_at_tpr_95pct",
        "Smallest false-positive rate at which 95 % of the attacks are found.",
        lambda cell: fpr_at_tpr(cell.score, cell.attack, 20),
        higher_is_better=False,
    ),
    Metric(
        "macro_auroc",
        f"Mean AUROC over attack families with at least {MIN_FAMILY} test flows.",
        lambda cell: macro_auroc(cell.score, cell.attack, cell.family),
    ),
    *_threshold_metrics("p95", 20, "95"),
    *_threshold_metrics("p99", 100, "99"),
    *_threshold_metrics("p999", 1000, "99.9"),
)
