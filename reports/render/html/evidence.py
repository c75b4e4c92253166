"""What the page is made from, collected by ``reports.render.html.collect``.  Standard library only.  A number that does not exist is None."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

__all__ = ["CONTROL", "CellEvidence", "Environment", "FamilyArea", "FamilySize", "ReportData", "RunRow", "ThresholdEvidence"]

CONTROL = ""
"""The ``source`` of a control: it has none."""

Audit = Mapping[str, Any]
"""An audit of a dataset: ``findings`` [{severity, text}], ``measures`` [{what, unit, value, detail}] (``datasets_registry.audits.audit_store``), and
``tables`` [{title, columns, rows}]; each may be absent."""


@dataclass(frozen=True)
class FamilyArea:
    """AUROC of one attack family against all benign test flows: mean over seeds, and the fewest test flows of the family."""

    auroc: float | None
    n: int


@dataclass(frozen=True)
class FamilySize:
    """Flows of a family in the whole dataset, and the captures that they come from."""

    flows: int
    captures: int


@dataclass(frozen=True)
class ThresholdEvidence:
    """Numbers at τ = a percentile of calibration flows B, means over seeds; ``score > τ`` is an alert.

    fpr            realised on benign test flows
    fpr_low, fpr_high  95 % Clopper-Pearson interval of it for ``n_benign`` independent flows and a given τ
    measured       whether enough benign test flows were above τ to state alerts a day (``protocols.operations.FALSE_ALERTS``)
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
    """One detector on one source → target, or its target-only control (``source`` = ``CONTROL``).

    fpr, tpr     the thinned ROC curve, rising; tpr[i] is the mean over seeds of the largest TPR with a false-positive rate of at most fpr[i]
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
class RunRow:
    """One attempted run, or an expected one that is missing (``key`` names it all the same)."""

    key: str
    detector: str
    version: str
    regime: str
    source: str
    target: str
    seed: int
    status: str
    reason: str
    attempt: int | None
    finished: str
    device: str
    aggregator: str
    cost: Mapping[str, float | None]


@dataclass(frozen=True)
class Environment:
    """Versions and machine, as the rows recorded them, and how many rows did."""

    values: Mapping[str, str]
    runs: int


@dataclass(frozen=True)
class ReportData:
    """Everything on the page.

    documents     metric → leaderboard document (``reports.tables.leaderboard``), all of the same plans; the first is shown first
    summaries     metric → what it is, one line
    cells         in any order; cells without an ok run are absent (their status is in the documents)
    families      dataset → family → size
    hashes        dataset → hash of its data
    plans         keys of the plans, oldest first
    published     ``reports.published.table.published_table``: the literature, never ranked
    """

    documents: Mapping[str, Mapping[str, Any]]
    summaries: Mapping[str, str]
    cells: tuple[CellEvidence, ...]
    families: Mapping[str, Mapping[str, FamilySize]]
    hashes: Mapping[str, str]
    plans: tuple[str, ...]
    runs: tuple[RunRow, ...]
    environments: tuple[Environment, ...]
    audits: Mapping[str, Audit]
    published: Mapping[str, Any]

    @property
    def first(self) -> Mapping[str, Any]:
        """The document that is shown first."""
        return next(iter(self.documents.values()))
