"""Packets of one capture → bidirectional flows with ragged packet sequences, in memory that the length of the capture
does not decide.

Open flows and their stored packets are kept in the tables of ``capture.kernels``, which see packets in time order; when
one is full, the flows that no later packet can belong to leave as a segment of ``FileFlows``.
"""

from dataclasses import dataclass, replace
from typing import Any, Protocol, Self

import numpy as np
from numpy.typing import NDArray

from datasets_registry.capture import kernels as k
from datasets_registry.capture.memory import address
from datasets_registry.capture.reader import Columns, doubled
from datasets_registry.capture.rules import NEVER
from datasets_registry.capture.sessions import spell_key
from janus_bench.columns import MAX_PACKETS, PACKET_ARRAYS
from janus_bench.compiled import njit
from janus_bench.errors import DataError
from janus_bench.ragged import positions, starts_of

ROW_MASK, PACKET_MASK = (1 << 26) - 1, (1 << 38) - 1  # of ``kernels.FlowColumns.heads``


@dataclass(frozen=True, eq=False)
class FileFlows:
    """F flows of one capture, in the order of their first packets.

    keys       (F, 5) uint64, 5-tuple as in ``sessions.Sessions``
    swapped    (F,) bool: the initiator is the key's second endpoint
    first      (F,) int64, ns since the epoch, of the first packet; last: of the last one
    n_packets  (F,) int64, before the cut to the first 64
    serial     (F,) int64, position among all flows of the capture
    macs       (F, 2) uint64, MAC addresses of the first packet's sender and receiver, 0 where the link layer is not
               Ethernet
    icmp       (F,) uint16, type << 8 | code of the first packet where that is ICMP, else 0
    offsets    (F + 1,) int64 into the packet columns
    size, iat, win, bits  (stored packets,), see ``columns.PACKET_ARRAYS``
    whole      (F, N_ACCUMULATORS) float64 of ``cicflowmeter``, over all packets of a flow; None if they were not asked
               for
    """

    keys: NDArray[np.uint64]
    swapped: NDArray[np.bool_]
    first: NDArray[np.int64]
    last: NDArray[np.int64]
    n_packets: NDArray[np.int64]
    serial: NDArray[np.int64]
    macs: NDArray[np.uint64]
    icmp: NDArray[np.uint16]
    offsets: NDArray[np.int64]
    size: NDArray[np.uint16]
    iat: NDArray[np.float32]
    win: NDArray[np.uint16]
    bits: NDArray[np.uint8]
    whole: NDArray[np.float64] | None = None

    def __len__(self) -> int:
        return len(self.first)

    def take(self, chosen: NDArray[np.int64]) -> Self:
        """The flows at these positions, in that order."""
        lengths = np.diff(self.offsets)[chosen]
        source = positions(self.offsets[:-1][chosen], lengths)
        of_packets = {name: getattr(self, name)[source] for name in PACKET_ARRAYS}
        of_flows = {
            name: getattr(self, name)[chosen]
            for name in ("keys", "swapped", "first", "last", "n_packets", "serial", "macs", "icmp")
        }
        whole = None if self.whole is None else self.whole[chosen]
        return replace(self, offsets=starts_of(lengths), whole=whole, **of_flows, **of_packets)


class Sink(Protocol):
    """Where segments of flows go; a list is one."""

    def append(self, flows: FileFlows, /) -> None:
        """Take a segment."""

    def clear(self) -> None:
        """Forget all segments: the capture is read again in another way."""


@njit(nogil=True)
def _finished(now: Any, rows: Any, rules: Any, flows: Any, n_flows: Any, place: Any) -> Any:
    """Which flows can get no packet at ``now`` or later: (their number, their stored packets).

    ``place`` (n_flows,) becomes the row in the table after these have left, or -1 - position in the segment that they
    leave as.
    """
    done, stored = 0, 0
    for row in range(n_flows):
        session = flows[row, k.SESSION]
        if rows[session, k.FLOW] == row:
            last, meta = rows[session, k.LAST], rows[session, k.META]
            if meta & k.CLOSED == 0 and now - last <= rules.idle and now - flows[row, k.FLOW_FIRST] <= rules.active:
                place[row] = row - done
                rows[session, k.FLOW] = row - done
                continue
            flows[row, k.FLOW_LAST], flows[row, k.FLOW_META] = last, meta
            rows[session, k.FLOW] = -1
        done += 1
        place[row] = -done
        stored += min(flows[row, k.FLOW_META] >> 2, MAX_PACKETS)
    return done, stored


@njit(nogil=True)
def _leave(place: Any, sessions: Any, flows: Any, whole: Any, state: Any, segment: Any, segment_whole: Any) -> None:
    """Move finished flows into ``segment`` (a FileFlows' arrays) and close the gaps that they leave."""
    rows, heads, gaps = flows
    session_rows, session_keys, keys = address(sessions.rows), address(sessions.keys), address(segment[0])
    swapped, first, last, n_packets, serial, macs, icmp, offsets = segment[1:9]
    size, iat, win, bits = segment[9:]
    cursor = np.empty(len(first), np.int64)
    filled = np.int64(0)
    offsets[0] = 0
    for row in range(state[k.N_FLOWS]):
        session, to = rows[row, k.SESSION], place[row]
        if to >= 0:
            if to != row:
                for i in range(k.FLOW_WORDS):
                    rows[to, i] = rows[row, i]
                if whole is not None:
                    whole[to] = whole[row]
            continue
        out = -1 - to
        spell_key(session_rows, session_keys, session, keys + 8 * k.KEY_WORDS * out)
        meta = rows[row, k.FLOW_META]
        swapped[out] = meta & 1 != 0
        first[out], last[out] = rows[row, k.FLOW_FIRST], rows[row, k.FLOW_LAST]
        n_packets[out], serial[out] = meta >> 2, rows[row, k.SERIAL]
        macs[out, 0], macs[out, 1] = rows[row, k.SRC_MAC] & k.MAC, rows[row, k.DST_MAC]
        icmp[out] = rows[row, k.SRC_MAC] >> 48 & 0xFFFF
        if whole is not None:
            segment_whole[out] = whole[row]
        cursor[out] = filled
        filled += min(meta >> 2, MAX_PACKETS)
        offsets[out + 1] = filled
    kept = np.int64(0)
    for i in range(state[k.N_LOG]):
        head, gap = heads[i], gaps[i]
        to = place[head >> 38 & ROW_MASK]
        if to >= 0:
            heads[kept], gaps[kept] = head & PACKET_MASK | to << 38, gap
            kept += 1
        else:
            at = cursor[-1 - to]
            cursor[-1 - to] = at + 1
            size[at], iat[at], win[at], bits[at] = head & 0xFFFF, gap, head >> 16 & 0xFFFF, head >> 32 & 63
    state[k.N_FLOWS], state[k.N_LOG] = state[k.N_FLOWS] - len(first), kept


def _new_segment(columns: Columns, flows: int, packets: int) -> list[Any]:
    """The fields of FileFlows, to be filled."""
    segment: list[Any] = [
        np.empty((flows, k.KEY_WORDS), np.uint64),
        np.empty(flows, np.bool_),
        *(np.empty(flows, np.int64) for _ in range(4)),
    ]
    segment += [np.empty((flows, 2), np.uint64), np.empty(flows, np.uint16), np.zeros(flows + 1, np.int64)]
    segment += [np.empty(packets, dtype) for dtype in (np.uint16, np.float32, np.uint16, np.uint8)]
    return [*segment, None if columns.whole is None else np.empty((flows, columns.whole.shape[1]))]


def release(now: int, columns: Columns, sink: Sink) -> None:
    """Give the flows of ``columns`` that no packet at ``now`` (ns) or later can belong to to the sink."""
    n_flows = int(columns.state[k.N_FLOWS])
    place = np.empty(n_flows, np.int64)
    done, stored = _finished(now, columns.sessions.rows, columns.rules, columns.flows.rows, n_flows, place)
    if not done:
        return
    segment = _new_segment(columns, done, stored)
    _leave(place, columns.sessions, columns.flows, columns.whole, columns.state, tuple(segment[:-1]), segment[-1])
    sink.append(FileFlows(*segment))


def finish(columns: Columns, sink: Sink) -> None:
    """Give everything that is left to the sink, at least an empty segment."""
    if columns.state[k.BEGUN]:
        release(NEVER, columns, sink)
    else:
        sink.append(FileFlows(*_new_segment(columns, 0, 0)))


def widen(columns: Columns) -> None:
    """More room for flows and their packets, where what cannot leave yet fills more than half of it."""
    rows, heads, gaps = columns.flows
    if columns.state[k.N_FLOWS] > len(rows) // 2:
        if len(rows) > ROW_MASK // 2:
            raise DataError(f"more than {ROW_MASK // 2:,} flows are open at the same time; shorten the idle timeout")
        rows = doubled(rows)
        columns.whole = None if columns.whole is None else doubled(columns.whole)
    if columns.state[k.N_LOG] > len(heads) // 2:
        heads, gaps = doubled(heads), doubled(gaps)
    columns.flows = k.FlowColumns(rows, heads, gaps)
