"""Packets of one capture → bidirectional flows with ragged packet sequences, in memory that the length of the capture does not decide.

Kernels only see packets in time order.  Open flows and their stored packets are kept in tables; when one is full, the flows that no later packet
can belong to leave as a segment of ``FileFlows``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import numpy as np
from numba import njit
from numpy.typing import NDArray

from datasets_registry.flows.rules import NEVER, CompiledRules
from harness.contract import MAX_PACKETS

__all__ = ["FileFlows", "FlowTable", "Sink"]


@dataclass(frozen=True, eq=False)
class FileFlows:
    """F flows of one capture, in the order of their first packets.

    keys       (F, 5) uint64, 5-tuple as in ``kernels.Sessions``
    swapped    (F,) bool: the initiator is the key's second endpoint
    first      (F,) int64, ns since the epoch, of the first packet; last: of the last one
    n_packets  (F,) int64, before the cut to the first 64
    serial     (F,) int64, position among all flows of the capture
    offsets    (F + 1,) int64 into the packet columns
    size, iat, win, bits  (stored packets,), see ``schema.PACKET_ARRAYS``
    """

    keys: NDArray[np.uint64]
    swapped: NDArray[np.bool_]
    first: NDArray[np.int64]
    last: NDArray[np.int64]
    n_packets: NDArray[np.int64]
    serial: NDArray[np.int64]
    offsets: NDArray[np.int64]
    size: NDArray[np.uint16]
    iat: NDArray[np.float32]
    win: NDArray[np.uint16]
    bits: NDArray[np.uint8]

    def __len__(self) -> int:
        return len(self.first)

    def take(self, index: NDArray[np.int64]) -> FileFlows:
        """The flows at ``index``, in that order."""
        lengths = np.diff(self.offsets)[index]
        offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
        gather = np.repeat(self.offsets[:-1][index] - offsets[:-1], lengths) + np.arange(offsets[-1])
        return FileFlows(
            self.keys[index],
            self.swapped[index],
            self.first[index],
            self.last[index],
            self.n_packets[index],
            self.serial[index],
            offsets,
            self.size[gather],
            self.iat[gather],
            self.win[gather],
            self.bits[gather],
        )

    @classmethod
    def merged(cls, segments: list[FileFlows]) -> FileFlows:
        """All flows of a capture's segments (at least one), in the order of their first packets."""
        if len(segments) == 1:
            return segments[0]
        begins = np.cumsum([0, *(segment.offsets[-1] for segment in segments)])
        columns = {name: np.concatenate([getattr(segment, name) for segment in segments]) for name in cls.__dataclass_fields__ if name != "offsets"}
        offsets = np.concatenate([[0], *(segment.offsets[1:] + begin for segment, begin in zip(segments, begins[:-1], strict=True))]).astype(np.int64)
        return cls(offsets=offsets, **columns).take(np.argsort(columns["serial"]))


class Sink(Protocol):
    """Where segments of flows go; a list is one."""

    def append(self, flows: FileFlows, /) -> None:
        """Take a segment."""

    def clear(self) -> None:
        """Forget all segments: the capture is read again in another way."""


# Columns of the table of flows
FIRST, LAST, COUNT, SERIAL, SESSION, SWAPPED, CLOSED = range(7)
# ``state``: flows in the table, packets in the log, flows begun so far
N_FLOWS, N_LOG, BEGUN = range(3)


class _Log(NamedTuple):
    """Stored packets of the flows in the table, in time order; ``flow`` int32 is a row of the table."""

    flow: NDArray[np.int32]
    size: NDArray[np.uint16]
    iat: NDArray[np.float32]
    win: NDArray[np.uint16]
    bits: NDArray[np.uint8]


def _new_log(capacity: int) -> _Log:
    columns: list[Any] = [np.empty(capacity, dtype) for dtype in (np.int32, np.uint16, np.float32, np.uint16, np.uint8)]
    return _Log(*columns)


@njit(cache=True, nogil=True)
def _assemble(packets: Any, at: Any, end: Any, newest: Any, rules: Any, flows: Any, log: Any, state: Any) -> Any:
    """Enter packets ``at`` to ``end`` into flows; returns the first that there was no room for.

    ``newest`` (sessions,): each session's newest flow, -1 if it has none in the table.
    """
    n_flows, n_log = state[N_FLOWS], state[N_LOG]
    while at < end and n_log < len(log.flow):
        ts, bits, session = packets.ts[at], packets.bits[at], packets.session[at]
        if bits & 64 and rules.remove_mirrored:
            at += 1
            continue
        row: Any = np.int64(newest[session])
        if row >= 0 and (flows[row, CLOSED] or ts - flows[row, LAST] > rules.idle or ts - flows[row, FIRST] > rules.active):
            row = -1
        if row < 0:
            if n_flows == len(flows):
                break
            row = n_flows
            n_flows += 1
            newest[session] = row
            flows[row, FIRST], flows[row, LAST], flows[row, COUNT], flows[row, SERIAL] = ts, ts, 0, state[BEGUN]
            flows[row, SESSION], flows[row, SWAPPED], flows[row, CLOSED] = session, bits & 1, 0
            state[BEGUN] += 1
        position = flows[row, COUNT]
        if position < MAX_PACKETS:
            log.flow[n_log] = row
            log.size[n_log] = packets.size[at]
            log.iat[n_log] = (ts - flows[row, LAST]) / 1000.0
            log.win[n_log] = packets.win[at]
            log.bits[n_log] = (bits & 63) ^ flows[row, SWAPPED]
            n_log += 1
        flows[row, COUNT] = position + 1
        flows[row, LAST] = ts
        if rules.close_on_fin and position > 0 and bits & 4:
            flows[row, CLOSED] = 1
        at += 1
    state[N_FLOWS], state[N_LOG] = n_flows, n_log
    return at


@njit(cache=True, nogil=True)
def _finished(now: Any, newest: Any, rules: Any, flows: Any, n_flows: Any, place: Any) -> Any:
    """Which flows can get no packet at ``now`` or later: (their number, their stored packets).

    ``place`` (n_flows,) becomes the row in the table after these have left, or -1 - position in the segment that they leave as.
    """
    done, stored = 0, 0
    for row in range(n_flows):
        open_ = newest[flows[row, SESSION]] == row and not flows[row, CLOSED]
        if open_ and now - flows[row, LAST] <= rules.idle and now - flows[row, FIRST] <= rules.active:
            place[row] = row - done
        else:
            done += 1
            place[row] = -done
            stored += min(flows[row, COUNT], MAX_PACKETS)
    return done, stored


@njit(cache=True, nogil=True)
def _leave(place: Any, newest: Any, keys: Any, flows: Any, log: Any, state: Any, segment: Any) -> None:
    """Move finished flows into ``segment`` (a FileFlows' arrays) and close the gaps that they leave."""
    n_flows = state[N_FLOWS]
    cursor = np.empty(len(segment.first), np.int64)
    filled = np.int64(0)
    segment.offsets[0] = 0
    for row in range(n_flows):
        session, to = flows[row, SESSION], place[row]
        if newest[session] == row:
            newest[session] = max(to, -1)
        if to >= 0:
            flows[to] = flows[row]
            continue
        out = -1 - to
        segment.keys[out] = keys[session]
        segment.swapped[out] = flows[row, SWAPPED] != 0
        segment.first[out], segment.last[out] = flows[row, FIRST], flows[row, LAST]
        segment.n_packets[out], segment.serial[out] = flows[row, COUNT], flows[row, SERIAL]
        cursor[out] = filled
        filled += min(flows[row, COUNT], MAX_PACKETS)
        segment.offsets[out + 1] = filled
    kept = np.int64(0)
    for i in range(state[N_LOG]):
        to = np.int64(place[log.flow[i]])
        if to >= 0:
            log.flow[kept], log.size[kept], log.iat[kept], log.win[kept], log.bits[kept] = to, log.size[i], log.iat[i], log.win[i], log.bits[i]
            kept += 1
        else:
            at = cursor[-1 - to]
            cursor[-1 - to] = at + 1
            segment.size[at], segment.iat[at], segment.win[at], segment.bits[at] = log.size[i], log.iat[i], log.win[i], log.bits[i]
    state[N_FLOWS], state[N_LOG] = n_flows - len(segment.first), kept


class _Segment(NamedTuple):
    """The fields of FileFlows, for the kernel."""

    keys: NDArray[np.uint64]
    swapped: NDArray[np.bool_]
    first: NDArray[np.int64]
    last: NDArray[np.int64]
    n_packets: NDArray[np.int64]
    serial: NDArray[np.int64]
    offsets: NDArray[np.int64]
    size: NDArray[np.uint16]
    iat: NDArray[np.float32]
    win: NDArray[np.uint16]
    bits: NDArray[np.uint8]


class FlowTable:
    """Flows being assembled; finished ones go to ``sink``."""

    def __init__(self, rules: CompiledRules, sink: Sink, capacity: int) -> None:
        self.rules, self.sink = rules, sink
        self.flows = np.empty((capacity, 8), np.int64)
        self.log = _new_log(2 * capacity)
        self.state = np.zeros(3, np.int64)

    def add(self, packets: Any, at: int, end: int, newest: NDArray[np.int32], keys: NDArray[np.uint64]) -> None:
        """Packets ``at`` to ``end`` of ``kernels.Packets``, none before any added earlier.

        ``newest`` (sessions,) int32 and ``keys`` (sessions, 5) belong to the sessions that the packets name; ``newest`` starts as -1.
        """
        while True:
            at = _assemble(packets, at, end, newest, self.rules, self.flows, self.log, self.state)
            if at == end:
                return
            self.release(int(packets.ts[at]), newest, keys)
            if self.state[N_LOG] > len(self.log.flow) // 2:
                self.log = _Log(*(np.concatenate([column, np.empty_like(column)]) for column in self.log))
            if self.state[N_FLOWS] > len(self.flows) // 2:
                self.flows = np.concatenate([self.flows, np.empty_like(self.flows)])

    def release(self, now: int, newest: NDArray[np.int32], keys: NDArray[np.uint64]) -> None:
        """Give the flows that no packet at ``now`` (ns) or later can belong to to the sink."""
        n_flows = int(self.state[N_FLOWS])
        place = np.empty(n_flows, np.int64)
        done, stored = _finished(now, newest, self.rules, self.flows, n_flows, place)
        columns: list[Any] = [np.empty((done, 5), np.uint64), np.empty(done, np.bool_), *(np.empty(done, np.int64) for _ in range(4))]
        columns += [np.empty(done + 1, np.int64), *(np.empty(stored, dtype) for dtype in (np.uint16, np.float32, np.uint16, np.uint8))]
        segment = _Segment(*columns)
        _leave(place, newest, keys, self.flows, self.log, self.state, segment)
        if done:
            self.sink.append(FileFlows(*segment))

    def finish(self, newest: NDArray[np.int32], keys: NDArray[np.uint64]) -> None:
        """Give everything that is left to the sink, at least an empty segment."""
        if not self.state[BEGUN]:
            self.sink.append(_no_flows())
        elif self.state[N_FLOWS]:
            self.release(NEVER, newest, keys)


def _no_flows() -> FileFlows:
    empty = np.empty(0, np.int64)
    return FileFlows(
        np.empty((0, 5), np.uint64),
        empty.astype(np.bool_),
        empty,
        empty,
        empty,
        empty,
        np.zeros(1, np.int64),
        empty.astype(np.uint16),
        empty.astype(np.float32),
        empty.astype(np.uint16),
        empty.astype(np.uint8),
    )
