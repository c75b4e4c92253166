"""Names and shapes of everything that is written to disk.  A leaf module: standard library only.

``RunSpec`` is what a run declares (its hash is the run's key), ``RunRecord`` what came of it.  A *run* is one cell: one
fitted detector scored on one target; a *fit* is the group of runs that share everything but the target.
"""

import hashlib
import json
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from functools import cached_property
from typing import Any, Literal, Protocol, Self, TypedDict

SCHEMA_VERSION = 2
READABLE_VERSIONS = (1, 2)
"""Schema versions that can be read.  Rows of different ones never stand in one table: they were not made under the same
rules."""

Status = Literal["ok", "error", "timeout", "oom", "killed", "invalid_output", "interrupted", "skipped"]
Regime = Literal["transfer", "control", "pooled"]

ROLES = ("source_val", "cal_a", "cal_b", "test")
"""Roles in ``scores/<run>.parquet``; beside them ``flow_id`` (int64), ``target`` (str) and one float64 column per
score."""


def canonical_json(value: Mapping[str, Any]) -> str:
    """The one spelling of a declaration that keys are made from: sorted keys, no spaces, no NaN."""
    return _CANONICAL.encode(value)


_CANONICAL = json.JSONEncoder(sort_keys=True, separators=(",", ":"), allow_nan=False, ensure_ascii=True)


def key_of(value: Mapping[str, Any]) -> str:
    """16 hex digits of the SHA-256 of the canonical JSON."""
    return hashlib.sha256(canonical_json(value).encode()).hexdigest()[:16]


CAME_LATER = ("overlay", "attacks_left")
OVERLAID = "+overlay"  # Behind a protocol's name in tables: with it the protocol is another one.


def declared(spec: Mapping[str, Any]) -> dict[str, Any]:
    """What a run's key is made of.  Fields that came later than stored keys are left out where they change nothing, so
    that no run becomes an old one."""
    return {name: value for name, value in spec.items() if name not in CAME_LATER or value}


@dataclass(frozen=True)
class RunSpec:
    """Everything that decides a run's scores, and nothing else (the protocol's name is not part of it: identical fits
    are shared).

    ``source`` is None in the control regime, where the target's calibration flows are the only training data.
    ``split``, ``caps``, ``train_size`` and ``contamination`` decide the partitions (``protocols.splits.Draw``);
    ``profile`` the detector's parameters; ``overlay`` and ``attacks_left`` the neighbours of flows
    (``protocols.roles.Surroundings``).
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
    overlay: bool = False
    attacks_left: float = 0.0

    @property
    def declared(self) -> dict[str, Any]:
        """As it is stored."""
        return declared({name: getattr(self, name) for name in _SPEC})

    @cached_property
    def key(self) -> str:
        return key_of(self.declared)

    @cached_property
    def fit_key(self) -> str:
        """Shared by all runs that one fit serves."""
        of_target = ("target", "target_hash") if self.regime == "transfer" else ()
        return key_of({name: value for name, value in self.declared.items() if name not in of_target})


_SPEC = tuple(each.name for each in fields(RunSpec))


class StoredPartition(TypedDict, total=False):
    """How one seed's flows of a dataset were divided, as its runs recorded it; ``sizes``: part → flows, ``sites``: site
    → its ``benign`` and ``attack`` test flows (flows of no named site under an empty name).

    context_changed  under an overlay: share of the test flows whose context is another one
    """

    kind: str
    reason: str
    sizes: Mapping[str, int]
    sites: Mapping[str, Mapping[str, int]]
    uncapped: Mapping[str, int]
    attacks_sharing_a_training_capture: int
    attacks_in_train: int
    context_changed: float


@dataclass(frozen=True, slots=True)
class RunRecord:
    """One row: an attempted run.  Numbers that do not exist are None, never 0.

    ``metrics`` are those of the default aggregator, kept so that a leaderboard need not open the scores; any other
    number is derived from the stored scores and ``truth``.  ``cost`` has fit_s, calibrate_s, score_s (seconds on the
    clock), fit_cpu_s, score_cpu_s (of the processor, the second with calibration), flows_per_s, peak_rss_mb,
    peak_vram_mb; rows of before lack some.  ``environment`` tells machine, code, versions and threads.  ``counts`` has
    n_train, n_val, n_cal, n_cal_b, n_test_benign, n_test_attack.  ``partition`` tells how the benign flows were divided
    (``grouped``, ``time blocks`` or ``random``).
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


class Recorded(Protocol):
    """What readers ask of a row: a ``RunRecord``, or one that is kept by columns (``reports.results.columns``)."""

    @property
    def key(self) -> str: ...
    @property
    def fit_key(self) -> str: ...
    @property
    def spec(self) -> Mapping[str, Any]: ...
    @property
    def status(self) -> Status: ...
    @property
    def reason(self) -> str: ...
    @property
    def attempt(self) -> int: ...
    @property
    def finished(self) -> str: ...
    @property
    def provenance(self) -> str: ...
    @property
    def uses_labels(self) -> bool: ...
    @property
    def aggregator(self) -> str: ...
    @property
    def counts(self) -> Mapping[str, int | None]: ...
    @property
    def cost(self) -> Mapping[str, float | None]: ...
    @property
    def metrics(self) -> Mapping[str, float | None]: ...
    @property
    def partition(self) -> Mapping[str, Any]: ...
    @property
    def environment(self) -> Mapping[str, str]: ...
    @property
    def schema_version(self) -> int: ...


@dataclass(frozen=True, slots=True)
class ExpectedCell:
    """One entry of a plan: which run a cell of a table stands for.

    ``label`` names the row: the detector as the user wrote it, and the variant.  ``regime`` is the cell's place in the
    table, ``transfer`` or ``control`` beside it (pooled runs are rows of their own, in the place of transfer).  A
    control cell names the source of the transfer cell that it stands beside, though its run has none and is shared by
    all cells of the target.
    """

    label: str
    regime: Regime
    source: str
    target: str
    seed: int
    run_key: str

    def to_json(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in CELL}

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> Self:
        """A text is kept once, however many cells have it, as many have a control's key.  TypeError or KeyError for
        what is no cell."""
        names: dict[str, Any] = {name: sys.intern(stored[name]) for name in ("label", "regime", "source", "target")}
        key = sys.intern(stored["run_key"]) if stored["regime"] == "control" else stored["run_key"]
        return cls(**names, seed=stored["seed"], run_key=key)


CELL = tuple(each.name for each in fields(ExpectedCell))


CLASS_SHIFT = "class shift"
WITHOUT_PACKETS = "a table without packets"  # How the note of a dataset begins whose flows somebody else has built.


LARGEST_SEED = 2**32 - 1
"""That every library takes: numpy's and scikit-learn's older generators take no more."""

NOT_STATED = "not stated"
"""In place of a licence or a citation that nobody gave."""


@dataclass(frozen=True)
class DatasetEntry:
    """A dataset of a plan.  ``task`` is ``attacks``, or ``CLASS_SHIFT`` where the positives are another class of
    traffic.  ``licence``, ``citation``: empty where nobody stated them, and then not stored."""

    hash: str
    synthetic: bool = False
    summary: str = ""
    flows: int | None = None
    benign: int | None = None
    attack: int | None = None
    notes: str | tuple[str, ...] = ()
    task: str = "attacks"
    licence: str = ""
    citation: str = ""


@dataclass(frozen=True)
class DetectorRow:
    """What a plan declares of one of its rows.

    name        the registered detector;  ``scores``: its score columns;  ``learns``: whether it is fitted
    aggregator  the row's, which a protocol's variant may have chosen in place of the detector's own
    detector    the detector as the user wrote it;  ``variant``: the protocol's setting, empty where it has only one;
                ``params``: what the two set. Plans of schema version 1 do not store these three.
    regime      of its runs, ``transfer`` or ``pooled``;  ``calibrates``: ``Capabilities.target_use``.  None in older
                plans, which do not store them.
    at_end      True where it judges a flow at its end, never by its first 64 packets; else None
    """

    name: str
    group: str = ""
    provenance: str = ""
    uses_labels: bool = False
    learns: bool = True
    scores: tuple[str, ...] = ()
    aggregator: str = "identity"
    detector: str = ""
    variant: str = ""
    params: Mapping[str, Any] = field(default_factory=dict)
    regime: Regime | None = None
    calibrates: str | None = None
    at_end: bool | None = None


PARTS = ("detector", "variant", "params")
LATER = ("regime", "calibrates", "at_end")
"""Of a plan's row: what version 1 does not store, and what is not stored where it is None, so that a plan that knows
nothing of it keeps its key."""


@dataclass(frozen=True)
class PlanRecord:
    """``plans/<key>.json``: what was asked for, so that a table knows which cells are missing.

    ``detectors``: label → row.  ``made``: when it was asked for last (ISO 8601, UTC, microseconds); no part of the key,
    so that the same request is the same file.  Plans of schema version 1 may lack it.  ``overlay``: see
    ``datasets_registry.overlay``.
    """

    protocol: str
    profile: str
    split: str
    calibration: str
    seeds: tuple[int, ...]
    datasets: Mapping[str, DatasetEntry]
    detectors: Mapping[str, DetectorRow]
    cells: tuple[ExpectedCell, ...]
    schema_version: int = SCHEMA_VERSION
    made: str = ""
    overlay: bool = False

    @property
    def shown_protocol(self) -> str:
        """Its name in tables."""
        return f"{self.protocol}{OVERLAID if self.overlay else ''}"

    @cached_property
    def key(self) -> str:
        """``key_of`` of what is stored but ``made``, put together cell by cell: there may be a hundred thousand."""
        whole = canonical_json({**replace(self, made="")._without_cells(), "cells": []})
        before, after = whole.split('"cells":[]', 1)  # the first: only the calibration stands before it
        digest = hashlib.sha256(f'{before}"cells":['.encode())
        for place, cell in enumerate(self.cells):
            digest.update(f"{',' if place else ''}{canonical_json(cell.to_json())}".encode())
        digest.update(f"]{after}".encode())
        return digest.hexdigest()[:16]

    @cached_property
    def outside_means(self) -> frozenset[str]:
        """Datasets without attacks, or whose positives are none but another class of traffic: cells that test on them
        are left out of means."""
        return frozenset(
            name for name, entry in self.datasets.items() if entry.task == CLASS_SHIFT or entry.attack == 0
        )

    def to_json(self) -> dict[str, Any]:
        """As it is stored; version 1 knows no parts of a row, so that its key stays what it was."""
        return {**self._without_cells(), "cells": [cell.to_json() for cell in self.cells]}

    def _without_cells(self) -> dict[str, Any]:
        stored = asdict(replace(self, cells=()))
        unknown = PARTS if self.schema_version == 1 else ()
        stored["detectors"] = {
            label: {
                name: value
                for name, value in row.items()
                if name not in unknown and not (name in LATER and value is None)
            }
            for label, row in stored["detectors"].items()
        }
        for entry in stored["datasets"].values():
            for name in ("licence", "citation"):
                if not entry[name]:
                    del entry[name]
        left_out = {name for name in ("made", "overlay") if not stored[name]}
        return {name: value for name, value in stored.items() if name not in left_out}

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> Self:
        """``stored``: as it is stored, or with its cells already made.  TypeError or KeyError for what is no plan."""
        rows = {label: _tuples(row) for label, row in stored["detectors"].items()}
        if stored.get("schema_version", SCHEMA_VERSION) == 1:
            rows = {label: row | _parts_of_version_1(label) for label, row in rows.items()}
        read = {
            "seeds": tuple(stored["seeds"]),
            "datasets": {name: DatasetEntry(**_tuples(entry)) for name, entry in stored["datasets"].items()},
            "detectors": {label: DetectorRow(**row) for label, row in rows.items()},
            "cells": tuple(
                cell if isinstance(cell, ExpectedCell) else ExpectedCell.from_json(cell) for cell in stored["cells"]
            ),
        }
        return cls(**{**stored, **read})


def _parts_of_version_1(label: str) -> dict[str, str]:
    """Detector and variant of a row, which version 1 stored in its label only.  Nothing else reads a label."""
    detector, _, variant = label.partition(" · ")
    return {"detector": detector, "variant": variant}


def _tuples(stored: Mapping[str, Any]) -> dict[str, Any]:
    return {name: tuple(value) if isinstance(value, list) else value for name, value in stored.items()}
