"""What the checks look at and what they answer with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from datasets_registry.store import FlowStore
from janus_bench.columns import BIT_OF, FLOW_FEATURES
from janus_bench.hashing import splitmix64
from janus_bench.ragged import starts_of

if TYPE_CHECKING:
    import polars as pl

Ids = NDArray[np.int64]
ONE_CLASS = "one class only"


@dataclass(frozen=True)
class Measured:
    """One measured number.  unit: ``auroc``, ``share`` (of 1), or ``count``; a value that does not exist is None and
    ``detail`` has the ``reason``.

    key     ``check.name``, unique in a document
    detail  what belongs to the number: numbers per label or family, the name of a feature, n
    judged  whether a finding can come of it: a number without a threshold is neither good nor bad
    """

    key: str
    what: str
    unit: Literal["auroc", "share", "count"]
    value: float | None
    detail: Mapping[str, Any] = field(default_factory=dict)
    judged: bool = True


@dataclass(frozen=True)
class Finding:
    """A measure beyond its threshold, in plain language.  short: the same in a few words, for the head of a report."""

    key: str
    severity: Literal["note", "warning", "error"]
    text: str
    short: str
    value: float
    threshold: float


def judged(
    key: str, value: float | None, text: str, short: str, *, note: float | None = None, warning: float | None = None
) -> list[Finding]:
    """The warning or the note where ``value`` reaches its threshold; nothing below, or where there is no value."""
    thresholds: Sequence[tuple[Literal["note", "warning"], float | None]] = (("warning", warning), ("note", note))
    for severity, threshold in thresholds:
        if value is not None and threshold is not None and value >= threshold:
            return [Finding(key, severity, text, short, value, threshold)]
    return []


@dataclass(frozen=True)
class MeasuredTable:
    """Numbers that belong together, a row each of ``columns``; None where there is no number.  units: of each column,
    ``text``, ``count``, ``hours`` or ``share`` (of 1)."""

    key: str
    title: str
    columns: Sequence[str]
    units: Sequence[Literal["text", "count", "hours", "share"]]
    rows: Sequence[Sequence[str | int | float | None]]


@dataclass(frozen=True)
class Answer:
    """What one check measured and found."""

    measures: Sequence[Measured]
    findings: Sequence[Finding] = ()
    tables: Sequence[MeasuredTable] = ()


@dataclass(frozen=True, eq=False)
class AuditView:
    """A dataset as the audit sees it: N flows and P stored packets, labels beside them.

    offsets (N + 1,); packets: ``columns.PACKET_ARRAYS``, (P,) each; features (N, 20); n_packets (N,) before the cut to
    ``MAX_PACKETS``; attack (N,) bool; family (N,) str; capture (N,) the number of the original capture, 0 … C − 1; ends
    (N, 2) numbers of the two addresses; ports (N, 2), initiator first; proto (N,); start (N,) seconds since the epoch.
    """

    offsets: Ids
    packets: Mapping[str, NDArray[Any]]
    features: NDArray[np.float64]
    n_packets: Ids
    attack: NDArray[np.bool_]
    family: NDArray[np.str_]
    capture: Ids
    ends: Ids
    ports: Ids
    proto: Ids
    start: NDArray[np.float64]
    manifest: Mapping[str, Any]

    @classmethod
    def from_store(cls, store: FlowStore) -> AuditView:
        """DataError if one of the store's tables is damaged."""
        import polars as pl

        flows, labels = store.flows(), store.labels()
        everything = np.arange(store.n_flows)
        batch = store.take(everything, everything.astype(np.uint64), frozenset({"features"}))
        ends = _numbered(pl.concat([flows["src_ip"], flows["dst_ip"]])).reshape(2, -1).T
        return cls(
            offsets=starts_of(store.packet_counts()),
            packets=store.packets(),
            features=batch.feature_matrix(FLOW_FEATURES),
            n_packets=flows["n_packets"].to_numpy().astype(np.int64),
            attack=labels["attack"].to_numpy(),
            family=labels["family"].to_numpy().astype(np.str_),
            capture=_numbered(labels["source"]),
            ends=ends,
            ports=np.column_stack([flows["src_port"].to_numpy(), flows["dst_port"].to_numpy()]).astype(np.int64),
            proto=flows["proto"].to_numpy().astype(np.int64),
            start=flows["ts_start"].to_numpy(),
            manifest=store.manifest,
        )

    def __len__(self) -> int:
        return len(self.attack)

    @cached_property
    def stored(self) -> Ids:
        """Stored packets of each flow, (N,)."""
        return np.diff(self.offsets)

    @cached_property
    def bits(self) -> NDArray[np.uint8]:
        """Direction and flags of each packet, nothing else, (P,)."""
        return self.packets["bits"] & np.uint8((1 << len(BIT_OF)) - 1)

    @cached_property
    def flow_of_packet(self) -> Ids:
        """(P,)."""
        return np.repeat(np.arange(len(self)), self.stored)

    @cached_property
    def tuples(self) -> NDArray[np.uint64]:
        """Equal for flows of one 5-tuple, whichever end began, (N,): a 64-bit hash."""
        ends = np.sort(self.ends << 16 | self.ports, axis=1).astype(np.uint64)
        return splitmix64(splitmix64(ends[:, 0] << np.uint64(8) | self.proto.astype(np.uint64)) ^ ends[:, 1])

    @cached_property
    def n_captures(self) -> int:
        return int(self.capture.max(initial=-1)) + 1

    @cached_property
    def benign_in_capture(self) -> Ids:
        """Benign flows in the capture of each flow, (N,)."""
        return np.bincount(self.capture[~self.attack], minlength=self.n_captures)[self.capture]


def _numbered(texts: pl.Series) -> Ids:
    """Every text by its place in the sorted distinct ones."""
    return texts.rank("dense").cast(int).to_numpy() - 1


def share(chosen: NDArray[np.bool_]) -> float | None:
    """Share of True, None of an empty array."""
    return float(chosen.mean()) if len(chosen) else None


def percent(value: float | None) -> str:
    if value is None:
        return "–"
    return f"{value:.1%}" if value < 0.995 or value == 1 else f"{value:.2%}"
