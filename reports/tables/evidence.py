"""What tables are made of besides the leaderboard document: of every cell, numbers derived from stored scores.
Standard library only.

A number that does not exist is None.
"""

from collections.abc import Mapping
from dataclasses import dataclass

CONTROL = ""  # The ``source`` of a target-only baseline: it has none.


@dataclass(frozen=True)
class FamilyArea:
    """AUROC of one attack family against all benign test flows: mean over seeds, and the fewest test flows of the
    family."""

    auroc: float | None
    n: int


@dataclass(frozen=True)
class ThresholdEvidence:
    """Numbers at τ = a percentile of calibration flows B, means over seeds; ``score > τ`` is an alert.

    fpr            realised on benign test flows
    fpr_low, fpr_high  95 % Clopper-Pearson interval of it for ``n_benign`` independent flows and a given τ
    measured       whether enough benign test flows were above τ to state alerts a day
                   (``protocols.operations.FALSE_ALERTS``)
    n_benign, n_attack, n_cal  the fewest of any seed
    """

    fpr: float
    fpr_low: float
    fpr_high: float
    measured: bool
    recall: float | None
    precision: float | None
    f1: float | None
    n_benign: int
    n_attack: int
    n_cal: int


@dataclass(frozen=True)
class CellEvidence:
    """One detector on one source → target, or its target-only baseline (``source`` = ``CONTROL``).

    fpr, tpr     the thinned ROC curve, rising; tpr[i] is the mean over seeds of the largest TPR with a false-positive
                 rate of at most fpr[i]
    families     family → area
    thresholds   ``P95``, ``P99``, ``P99.9`` → numbers; absent where the percentile does not exist
    """

    detector: str
    source: str
    target: str
    n_seeds: int
    n_benign: int
    fpr: tuple[float, ...]
    tpr: tuple[float, ...]
    families: Mapping[str, FamilyArea]
    thresholds: Mapping[str, ThresholdEvidence]
