"""What tables are made of besides the leaderboard document: of every cell, numbers derived from stored scores.
Standard library only.

A number that does not exist is None.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

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


@dataclass(frozen=True)
class Estimate:
    """A number, mean over seeds, with its 95 % interval for other captures and seeds of this network; None where there
    is none."""

    value: float | None = None
    low: float | None = None
    high: float | None = None


INCIDENT_COUNTS = (
    *("campaigns", "found", "flows_to_alert", "missed_windows"),
    *("true_incidents", "false_incidents", "observed_hours", "alerts"),
)
INCIDENT_ESTIMATES = ("found_share", "found_in_60s", "seconds_to_alert", "false_per_day", "alerts_per_incident")


@dataclass(frozen=True)
class IncidentEvidence:
    """Incidents (``protocols.incidents``) of one cell at one threshold, means over seeds; where the cell is refused,
    nothing but the reason.

    threshold  ``P99``, ``P99.9``, or so many false incidents a day
    reason     why the cell has no numbers
    counts     ``INCIDENT_COUNTS``: campaigns that there are and that were found, flows of a campaign until its first
               alert (the median of those found), windows with attacks and no alert, incidents, hours that were watched
    estimates  ``INCIDENT_ESTIMATES``; ``found_share`` and ``found_in_60s`` of all campaigns, ``seconds_to_alert`` the
               median of those found
    day_reason, interval_reason  why false incidents a day, and intervals, are not known
    """

    detector: str
    source: str
    target: str
    n_seeds: int
    threshold: str
    reason: str = ""
    counts: Mapping[str, float | None] = field(default_factory=dict)
    estimates: Mapping[str, Estimate] = field(default_factory=dict)
    day_reason: str = ""
    interval_reason: str = ""


@dataclass(frozen=True)
class DayEvidence:
    """One day of a cell at a threshold, means over seeds.

    day           ISO date, UTC
    fpr           realised on the day's benign flows, τ from threshold calibration;  low, high: what chance allows of it
                  (99 %, flows taken for exchangeable), the widest of any seed
    recalibrated  the same with aggregator and τ from the benign flows of the day before
    auroc         None where there are no attacks, or no benign flows
    reason        why there is no threshold;  recalibrated_reason: why none from the day before
    """

    detector: str
    source: str
    target: str
    n_seeds: int
    threshold: str
    day: str
    n_benign: int
    n_attack: int
    fpr: float | None
    low: float | None
    high: float | None
    recalibrated: float | None
    auroc: float | None
    auroc_recalibrated: float | None
    reason: str
    recalibrated_reason: str


@dataclass(frozen=True)
class FolderFacts:
    """What a results folder tells of its rows besides their numbers.

    protocols      all that it has results of
    simple         labels of rows whose detectors belong to the group ``classical``;  unknown: those of rows whose
                   detectors are not installed here
    low_fpr        ok runs on attacks that have a TPR at 1 % FPR, and all of them
    fewest_cal_b   threshold calibration flows, the fewest of any ok run; None without one
    with_hardware  ok runs that name processor and seconds, and all of them
    captures       dataset → captures with benign flows, with attacks, and in all
    contaminations, train_sizes  shares of attacks in training above 0, and how many sizes of training parts were asked
                   for
    """

    protocols: tuple[str, ...]
    simple: tuple[str, ...]
    unknown: tuple[str, ...]
    low_fpr: tuple[int, int]
    fewest_cal_b: int | None
    with_hardware: tuple[int, int]
    captures: Mapping[str, tuple[int, int, int]]
    contaminations: tuple[float, ...]
    train_sizes: int
