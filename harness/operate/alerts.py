"""Scored flows as records: who spoke with whom, when, how odd it is, and why."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import numpy as np
from numpy.typing import NDArray

from datasets_registry.ingest import flow_columns
from datasets_registry.streaming import EndedFlows
from harness.operate.community_id import community_id
from harness.operate.judge import Judge, p_values
from harness.operate.reasons import Reasons
from janus_bench.columns import MAX_PACKETS

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class FlowRecord:
    """A flow that was scored.

    first, last      UTC, of its packets until it was scored: at most the first 64
    packets, bytes   of these, IP length: sent by the initiator, and by the responder
    icmp             type and code of the first packet, of ICMP
    community_id     None where addresses are hashed, for it would give them away
    why              what the detector itself says, then the strongest reasons; only of an alert
    capture          the name of the one that it was in
    """

    alert: bool
    score: float
    threshold: float
    p_value: float
    first: datetime
    last: datetime
    src_ip: str
    src_port: int
    dst_ip: str
    dst_port: int
    proto: int
    icmp: tuple[int, int]
    packets: tuple[int, int]
    bytes: tuple[int, int]
    community_id: str | None
    why: tuple[str, ...]
    detector: str
    capture: str


Explain = Callable[[EndedFlows], list[str]]
"""What a detector itself says of each of some flows; empty where it has nothing to say."""


class Recorder:
    """Makes the records of a model; ``key``: addresses are replaced by a hash under it."""

    def __init__(self, judge: Judge, detector: str, names: Sequence[str], key: str, everything: bool) -> None:
        self._judge, self._detector, self._everything = judge, detector, everything
        self._reasons = Reasons(judge.features, judge.columns, names)
        self._key = hashlib.sha256(key.encode()).digest() if key else b""
        self.flows = self.alerts = 0

    def records(
        self, ended: EndedFlows, columns: NDArray[np.float64], capture: str = "", explain: Explain | None = None
    ) -> Iterator[FlowRecord]:
        """Of the flows of ``capture`` that alert, or of all; columns (n, k): the detector's scores; ``explain`` asks it
        for its own reasons."""
        scores = self._judge.scalar(columns)
        alert = scores > self._judge.threshold.value
        self.flows += len(scores)
        self.alerts += int(alert.sum())
        chosen = np.arange(len(scores)) if self._everything else np.flatnonzero(alert)
        if len(chosen):
            yield from self._records(
                ended.take(chosen), scores[chosen], alert[chosen], columns[chosen], capture, explain
            )

    def _records(
        self,
        ended: EndedFlows,
        scores: NDArray[np.float64],
        alert: NDArray[np.bool_],
        columns: NDArray[np.float64],
        capture: str,
        explain: Explain | None,
    ) -> Iterator[FlowRecord]:
        flows = ended.flows
        table = flow_columns({name: getattr(flows, name) for name in ("keys", "swapped", "first", "last", "n_packets")})
        source, destination = table["src_ip"].to_list(), table["dst_ip"].to_list()
        sizes, packets = _each_way(ended)
        p = p_values(scores, self._judge.scores)
        odd = np.flatnonzero(alert)
        why: dict[int, list[str]] = {}
        if len(odd):
            reasons = self._reasons.of(ended.features()[odd], columns[odd])
            if explain is not None:
                own = explain(ended.take(odd))
                reasons = [[text, *others] if text else others for text, others in zip(own, reasons, strict=True)]
            why = dict(zip(odd.tolist(), reasons, strict=True))
        last = _last_seen(ended)
        for i in range(len(flows)):
            port = int(table["src_port"][i]), int(table["dst_port"][i])
            proto, icmp = int(table["proto"][i]), int(flows.icmp[i])
            named = None if self._key else community_id(source[i], destination[i], proto, *port, icmp)
            yield FlowRecord(
                alert=bool(alert[i]),
                score=float(scores[i]),
                threshold=self._judge.threshold.value,
                p_value=float(p[i]),
                first=utc(int(flows.first[i])),
                last=utc(int(last[i])),
                src_ip=self._shown(source[i]),
                src_port=port[0],
                dst_ip=self._shown(destination[i]),
                dst_port=port[1],
                proto=proto,
                icmp=(icmp >> 8, icmp & 0xFF),
                packets=(int(packets[i, 0]), int(packets[i, 1])),
                bytes=(int(sizes[i, 0]), int(sizes[i, 1])),
                community_id=named,
                why=tuple(why.get(i, ())),
                detector=self._detector,
                capture=capture,
            )

    def _shown(self, address: str) -> str:
        return hashlib.blake2b(address.encode(), key=self._key, digest_size=8).hexdigest() if self._key else address


def _each_way(ended: EndedFlows) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Bytes and stored packets of each flow, forward and backward, (n, 2) each."""
    flows = ended.flows
    place = 2 * np.repeat(np.arange(len(flows)), np.diff(flows.offsets)) + (flows.bits & 1)
    size = np.bincount(place, flows.size, 2 * len(flows)).astype(np.int64)
    count = np.bincount(place, minlength=2 * len(flows))
    return size.reshape(-1, 2), count.reshape(-1, 2)


def _last_seen(ended: EndedFlows) -> NDArray[np.int64]:
    """(n,) ns: the last packet, or the last one that is kept: a flow is scored by then."""
    flows = ended.flows
    kept = np.array(
        [
            1000.0 * flows.iat[begin:end].astype(np.float64).sum()
            for begin, end in zip(flows.offsets[:-1], flows.offsets[1:], strict=True)
        ]
    )
    return np.where(flows.n_packets > MAX_PACKETS, flows.first + np.round(kept).astype(np.int64), flows.last)


def utc(ns: int) -> datetime:
    return EPOCH + timedelta(microseconds=ns // 1000)
