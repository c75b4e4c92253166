"""Names and shapes of everything that is written to disk.  A leaf module: standard library only.

``RunSpec`` is what a run declares (its hash is the run's key), ``RunRecord`` what came of it.  A *run* is one cell: one fitted detector
scored on one target; a *fit* is the group of runs that share everything but the target.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

SCHEMA_VERSION = 2

Status = Literal["ok", "error", "timeout", "oom", "killed", "invalid_output", "interrupted", "skipped"]
Regime = Literal["transfer", "control", "pooled"]

ROLES = ("source_val", "cal_a", "cal_b", "test")
"""Roles in ``scores/<run>.parquet``; beside them ``flow_id`` (int64), ``target`` (str) and one float64 column per score."""


def canonical_json(value: Mapping[str, Any]) -> str:
    """The one spelling of a declaration that keys are made from: sorted keys, no spaces, no NaN."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False, ensure_ascii=True)


def key_of(value: Mapping[str, Any]) -> str:
    """16 hex digits of the SHA-256 of the canonical JSON."""
    return hashlib.sha256(canonical_json(value).encode()).hexdigest()[:16]


@dataclass(frozen=True)
class RunSpec:
    """Everything that decides a run's scores, and nothing else (the protocol's name is not part of it: identical fits are shared).

    ``source`` is None in the control regime, where the target's calibration flows are the only training data.  ``split``, ``caps``, ``train_size``
    and ``contamination`` decide the partitions (``protocols.splits.Draw``); ``profile`` the detector's parameters.
    """

    detector: str
    version: str
    params: Mapping[str, Any]
    regime: Regime
    source: str | None
    source_hash: str | None
    target: str
    target_hash: str
    seed: int
    split: str
    caps: str
    profile: str
    calibration: str
    device: str
    train_size: int | None = None
    contamination: float | None = None
    schema_version: int = SCHEMA_VERSION

    @property
    def key(self) -> str:
        return key_of(asdict(self))

    @property
    def fit_key(self) -> str:
        """Shared by all runs that one fit serves."""
        declared = asdict(self)
        if self.regime == "transfer":
            del declared["target"], declared["target_hash"]
        return key_of(declared)


@dataclass(frozen=True)
class RunRecord:
    """One row: an attempted run.  Numbers that do not exist are None, never 0.

    ``metrics`` are those of the default aggregator, kept so that a leaderboard need not open the scores; any other number is derived from the
    stored scores and ``truth``.  ``cost`` has fit_s, calibrate_s, score_s, flows_per_s, peak_rss_mb.  ``counts`` has n_train, n_val, n_cal, n_cal_b,
    n_test_benign, n_test_attack.  ``partition`` tells how the benign flows were divided (``grouped``, ``time blocks`` or ``random``).
    """

    key: str
    fit_key: str
    spec: Mapping[str, Any]
    status: Status
    reason: str
    attempt: int
    finished: str
    provenance: str
    uses_labels: bool
    aggregator: str
    counts: Mapping[str, int | None] = field(default_factory=dict)
    cost: Mapping[str, float | None] = field(default_factory=dict)
    metrics: Mapping[str, float | None] = field(default_factory=dict)
    partition: Mapping[str, Any] = field(default_factory=dict)
    environment: Mapping[str, str] = field(default_factory=dict)
    schema_version: int = SCHEMA_VERSION


@dataclass(frozen=True)
class ExpectedCell:
    """One entry of a plan: which run a cell of a table stands for.

    ``label`` names the row: the detector as the user wrote it, and the variant.  ``regime`` is the cell's place in the table, ``transfer`` or
    ``control`` beside it (pooled runs are rows of their own, in the place of transfer).  A control cell names the source of the transfer cell
    that it stands beside, though its run has none and is shared by all cells of the target.
    """

    label: str
    regime: Regime
    source: str
    target: str
    seed: int
    run_key: str


CLASS_SHIFT = "class shift"


def outside_means(datasets: Mapping[str, Mapping[str, Any]]) -> frozenset[str]:
    """Of a plan's datasets those whose positives are no attacks but another class of traffic: cells that test on them are left out of means."""
    return frozenset(name for name, info in datasets.items() if info.get("task") == CLASS_SHIFT)


@dataclass(frozen=True)
class PlanRecord:
    """``plans/<key>.json``: what was asked for, so that a table knows which cells are missing.

    ``detectors``: label → {name, group, provenance, uses_labels, learns, scores, aggregator}; the aggregator is the row's, which a protocol's
    variant may have chosen in place of the detector's own.
    ``datasets``: name → {hash, synthetic, summary, flows, benign, attack, notes, task (``attacks`` or ``CLASS_SHIFT``)}.
    """

    protocol: str
    profile: str
    split: str
    calibration: str
    seeds: tuple[int, ...]
    datasets: Mapping[str, Mapping[str, Any]]
    detectors: Mapping[str, Mapping[str, Any]]
    cells: tuple[ExpectedCell, ...]
    schema_version: int = SCHEMA_VERSION

    @property
    def key(self) -> str:
        return key_of(asdict(self))
