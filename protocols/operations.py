"""What a detector's rates mean for whoever answers its alerts, and how much a score tells networks apart."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from protocols.metrics import auroc

BASE_RATES = (1e-2, 1e-3, 1e-4)  # Shares of attacks among all flows that alerts a day are stated for.

FLOWS_PER_DAY = 1_000_000

FALSE_ALERTS = 10
"""A false-positive rate f counts as measured from this many over f benign flows on, that is with this many false
alerts."""

Interval = tuple[float, float]


@dataclass(frozen=True)
class Operation:
    """Expected alerts a day, and ``ppv``, the share of attacks among them (positive predictive value).

    *_interval  95 %, from the Clopper–Pearson interval of the false-positive rate; the rate of attacks found is taken
                as it is
    """

    true_alerts: float
    false_alerts: float
    false_alerts_interval: Interval
    ppv: float
    ppv_interval: Interval


def operation(tpr: float, fpr: float, bounds: Interval, flows_per_day: int, base_rate: float) -> Operation:
    """Alerts a day where a share ``base_rate`` of ``flows_per_day`` flows are attacks (Axelsson, ACM TISSEC 2000).

    From a true-positive rate, and a false-positive rate above 0 with its interval ``bounds``.
    """

    def false_a_day(rate: float) -> float:
        return rate * (1 - base_rate) * flows_per_day

    true, false = tpr * base_rate * flows_per_day, false_a_day(fpr)
    low, high = (false_a_day(bound) for bound in bounds)
    return Operation(true, false, (low, high), true / (true + false), (true / (true + high), true / (true + low)))


def clopper_pearson(k: int, n: int, confidence: float = 0.95) -> Interval:
    """The exact interval of a binomial proportion from ``k`` of ``n`` (Biometrika 1934): it covers at least as often as
    it says.

    Flows are assumed independent.  (0, 1) for n = 0.
    """
    if not 0 <= k <= n:
        raise ValueError(f"{k} of {n} is no proportion")
    from scipy.special import betaincinv

    tail = (1 - confidence) / 2
    low = float(betaincinv(k, n - k + 1, tail)) if k else 0.0
    high = float(betaincinv(k + 1, n - k, 1 - tail)) if k < n else 1.0
    return low, high


def rates_by_chance(n_cal: int, above: int, flows: int, confidence: float = 0.99) -> Interval:
    """Between which shares of ``flows`` (one or more) lie above a threshold that ``above`` of ``n_cal`` calibration
    scores exceed, if all are exchangeable: their number is beta-binomial."""
    from scipy.stats import betabinom

    chance = betabinom(flows, above + 1, n_cal - above)
    tail = (1 - confidence) / 2
    return float(chance.ppf(tail)) / flows, float(chance.ppf(1 - tail)) / flows


@dataclass(frozen=True)
class SourceLikeness:
    """How well a score tells benign flows of the target from benign flows of the source, though neither are attacks.

    index  ½: it cannot (no leak) … 1: it is a domain classifier
    sign   +1 if the target's flows look the more anomalous, −1 if the source's do, 0 at exactly ½
    """

    index: float
    sign: Literal[-1, 0, 1]


def source_likeness(source_val: NDArray[np.float64], cal_b: NDArray[np.float64]) -> SourceLikeness | None:
    """max(a, 1 − a) and the side of a = AUROC(source val (n,) against target cal B (m,)), target positive.  None if
    either is empty.

    Within a network (source = target) the index is chance: about ½ + .29 √(1/n + 1/m) · .8 on average where the
    captures are alike, more where not.
    """
    area = auroc(np.concatenate([source_val, cal_b]), np.repeat([False, True], [len(source_val), len(cal_b)]))
    if area is None:
        return None
    return SourceLikeness(max(area, 1 - area), 0 if area == 0.5 else 1 if area > 0.5 else -1)
