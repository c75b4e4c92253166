"""What a detector's rates mean for whoever answers its alerts, how much a score tells networks apart, and what a source model adds.

A number that does not exist is None, never 0.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from protocols.metrics import Alerts, auroc

__all__ = [
    "BASE_RATES",
    "FALSE_ALERTS",
    "FLOWS_PER_DAY",
    "Operation",
    "SourceLikeness",
    "clopper_pearson",
    "operation",
    "operational_table",
    "source_likeness",
    "transfer_gain",
]

BASE_RATES = (1e-2, 1e-3, 1e-4)
"""Shares of attacks among all flows that the operational table is made for."""

FLOWS_PER_DAY = 1_000_000

FALSE_ALERTS = 10
"""A false-positive rate f counts as measured from this many over f benign flows on, that is with this many false alerts."""

Interval = tuple[float, float]


@dataclass(frozen=True)
class Operation:
    """One base rate of the operational table.  Counts are expected alerts a day.

    ppv             share of attacks among the alerts (positive predictive value)
    *_interval      95 %, from the Clopper–Pearson interval of the false-positive rate; the rate of attacks found is taken as it is
    reason          why there are no numbers; empty if there are
    """

    base_rate: float
    flows_per_day: int
    true_alerts: float | None = None
    false_alerts: float | None = None
    false_alerts_interval: Interval | None = None
    ppv: float | None = None
    ppv_interval: Interval | None = None
    reason: str = ""


def operational_table(alerts: Alerts, flows_per_day: int = FLOWS_PER_DAY, base_rates: Sequence[float] = BASE_RATES) -> list[Operation]:
    """Alerts a day and their precision where a share ``base_rate`` of ``flows_per_day`` flows are attacks (Axelsson, ACM TISSEC 2000).

    alerts: of the test flows at one threshold (``metrics.alerts_at_quantile``).  Every number is None, with the reason, without attacks or with fewer
    than ``FALSE_ALERTS`` / FPR benign test flows: the false-positive rate is then known to less than a factor of two.  ValueError for a base rate
    outside 0 … 1 or flows_per_day < 1.
    """
    if flows_per_day < 1 or not all(0 < base_rate < 1 for base_rate in base_rates):
        raise ValueError("flows_per_day must be at least 1 and every base rate between 0 and 1")
    reason = _why_not(alerts)
    if reason:
        return [Operation(base_rate, flows_per_day, reason=reason) for base_rate in base_rates]
    tpr, fpr = alerts.true / alerts.n_attack, alerts.false / alerts.n_benign
    bounds = clopper_pearson(alerts.false, alerts.n_benign)
    return [operation(tpr, fpr, bounds, flows_per_day, base_rate) for base_rate in base_rates]


def _why_not(alerts: Alerts) -> str:
    if not alerts.n_attack:
        return "no attacks in the test flows"
    if not alerts.n_benign:
        return "no benign test flows"
    if alerts.false < FALSE_ALERTS:
        return f"{alerts.false} false alerts on {alerts.n_benign} benign test flows: fewer than {FALSE_ALERTS} cannot tell the false-positive rate"
    return ""


def operation(tpr: float, fpr: float, bounds: Interval, flows_per_day: int, base_rate: float) -> Operation:
    """Alerts a day from a true-positive rate and a false-positive rate above 0 with its interval ``bounds``."""

    def false_a_day(rate: float) -> float:
        return rate * (1 - base_rate) * flows_per_day

    true, false = tpr * base_rate * flows_per_day, false_a_day(fpr)
    low, high = (false_a_day(bound) for bound in bounds)
    return Operation(base_rate, flows_per_day, true, false, (low, high), true / (true + false), (true / (true + high), true / (true + low)))


def clopper_pearson(k: int, n: int, confidence: float = 0.95) -> Interval:
    """The exact interval of a binomial proportion from ``k`` of ``n`` (Biometrika 1934): it covers at least as often as it says.

    Flows are assumed independent.  (0, 1) for n = 0.
    """
    if not 0 <= k <= n:
        raise ValueError(f"{k} of {n} is no proportion")
    from scipy.special import betaincinv

    tail = (1 - confidence) / 2
    low = float(betaincinv(k, n - k + 1, tail)) if k else 0.0
    high = float(betaincinv(k + 1, n - k, 1 - tail)) if k < n else 1.0
    return low, high


@dataclass(frozen=True)
class SourceLikeness:
    """How well a score tells benign flows of the target from benign flows of the source, though neither are attacks.

    index  ½: it cannot (no leak) … 1: it is a domain classifier
    sign   +1 if the target's flows look the more anomalous, −1 if the source's do, 0 at exactly ½
    """

    index: float
    sign: Literal[-1, 0, 1]


def source_likeness(source_val: NDArray[np.float64], cal_b: NDArray[np.float64]) -> SourceLikeness | None:
    """max(a, 1 − a) and the side of a = AUROC(source val (n,) against target cal B (m,)), target positive.  None if either is empty.

    Within a network (source = target) the index is chance: about ½ + .29 √(1/n + 1/m) · .8 on average where the captures are alike, more where not.
    """
    area = auroc(np.concatenate([source_val, cal_b]), np.repeat([False, True], [len(source_val), len(cal_b)]))
    if area is None:
        return None
    return SourceLikeness(max(area, 1 - area), 0 if area == 0.5 else 1 if area > 0.5 else -1)


def transfer_gain(transfer: float | None, control: float | None) -> float | None:
    """AUROC of a cell minus that of the same detector fitted on the target's calibration flows alone.  None unless both exist."""
    return None if transfer is None or control is None else transfer - control
