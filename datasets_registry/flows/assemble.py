"""Packets of one capture → bidirectional flows with ragged packet sequences.

A flow is the packets of one 5-tuple without a gap longer than the idle timeout; its initiator is the sender of its first packet.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from datasets_registry.capture.reader import Capture
from harness.contract import MAX_PACKETS

__all__ = ["FileFlows", "assemble_flows"]


@dataclass(frozen=True, eq=False)
class FileFlows:
    """The F flows of one capture, in the order of their first packets.

    keys       (F, 5) uint64, 5-tuple as in ``kernels.Sessions``
    swapped    (F,) bool: the initiator is the key's second endpoint
    first      (F,) int64, ns since the epoch, of the first packet; last: of the last one
    n_packets  (F,) int64, before the cut to the first 64
    offsets    (F + 1,) int64 into the packet columns
    size, iat, win, bits  (stored packets,), see ``schema.PACKET_ARRAYS``
    out_of_order  packets whose timestamp is before an earlier packet's of the file; they were sorted by time
    """

    keys: NDArray[np.uint64]
    swapped: NDArray[np.bool_]
    first: NDArray[np.int64]
    last: NDArray[np.int64]
    n_packets: NDArray[np.int64]
    offsets: NDArray[np.int64]
    size: NDArray[np.uint16]
    iat: NDArray[np.float32]
    win: NDArray[np.uint16]
    bits: NDArray[np.uint8]
    out_of_order: int

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
            offsets,
            self.size[gather],
            self.iat[gather],
            self.win[gather],
            self.bits[gather],
            self.out_of_order,
        )


class _Scattered(NamedTuple):
    """What ``_scatter`` fills: see ``FileFlows``; ``seen`` (F,) counts the packets so far, zero on entry."""

    offsets: NDArray[np.int64]
    seen: NDArray[np.int64]
    swapped: NDArray[np.uint8]
    first: NDArray[np.int64]
    last: NDArray[np.int64]
    size: NDArray[np.uint16]
    iat: NDArray[np.float32]
    win: NDArray[np.uint16]
    bits: NDArray[np.uint8]


@njit(cache=True, nogil=True)
def _split(ts: Any, session: Any, timeout: Any, current: Any, last: Any, flow_of: Any, session_of: Any, total: Any) -> Any:
    """Flow of each packet (in time order), session and number of packets of each flow; returns the number of flows.

    ``current`` and ``last`` (sessions,): the session's newest flow, -1 on entry, and when it was last seen; ``total`` is zero on entry.
    """
    n_flows = 0
    for i in range(len(ts)):
        s = session[i]
        if current[s] < 0 or ts[i] - last[s] > timeout:
            current[s] = n_flows
            session_of[n_flows] = s
            n_flows += 1
        flow_of[i] = current[s]
        total[current[s]] += 1
        last[s] = ts[i]
    return n_flows


@njit(cache=True, nogil=True)
def _scatter(flow_of: Any, ts: Any, size: Any, win: Any, bits: Any, flows: Any) -> None:
    """Counting sort of the packets into the ragged arrays of ``flows``, as many of each flow as its offsets leave room for."""
    offsets, seen = flows.offsets, flows.seen
    for i in range(len(flow_of)):
        flow = flow_of[i]
        position = seen[flow]
        if position == 0:
            flows.first[flow] = flows.last[flow] = ts[i]
            flows.swapped[flow] = bits[i] & 1
        at = offsets[flow] + position
        if at < offsets[flow + 1]:
            flows.size[at] = size[i]
            flows.win[at] = win[i]
            flows.iat[at] = (ts[i] - flows.last[flow]) / 1000.0
            flows.bits[at] = bits[i] ^ flows.swapped[flow]
        seen[flow] = position + 1
        flows.last[flow] = ts[i]


def assemble_flows(capture: Capture, idle_timeout_s: float) -> FileFlows:
    """Flows of a capture; a gap of more than ``idle_timeout_s`` seconds within a 5-tuple starts a new one.

    Packets are taken in the order of their timestamps (a stable sort, only where a capture is not in order already).
    """
    ts, session, size, win, bits = capture.ts, capture.session, capture.size, capture.win, capture.bits
    late = int(np.count_nonzero(ts < np.maximum.accumulate(ts))) if len(ts) else 0
    if late:
        order = np.argsort(ts, kind="stable")
        ts, session, size, win, bits = ts[order], session[order], size[order], win[order], bits[order]
    n, n_sessions = len(ts), len(capture.keys)
    flow_of, session_of, total = np.empty(n, np.int32), np.empty(n, np.int32), np.zeros(n, np.int64)
    current, seen_last = np.full(n_sessions, -1, np.int32), np.zeros(n_sessions, np.int64)
    n_flows = _split(ts, session, int(idle_timeout_s * 1_000_000_000), current, seen_last, flow_of, session_of, total)
    n_packets = total[:n_flows].copy()
    offsets = np.concatenate([[0], np.cumsum(np.minimum(n_packets, MAX_PACKETS))]).astype(np.int64)
    stored = int(offsets[-1])
    out = _Scattered(
        offsets,
        np.zeros(n_flows, np.int64),
        np.zeros(n_flows, np.uint8),
        np.zeros(n_flows, np.int64),
        np.zeros(n_flows, np.int64),
        np.empty(stored, np.uint16),
        np.empty(stored, np.float32),
        np.empty(stored, np.uint16),
        np.empty(stored, np.uint8),
    )
    _scatter(flow_of, ts, size, win, bits, out)
    keys = capture.keys[session_of[:n_flows]]
    return FileFlows(keys, out.swapped.astype(np.bool_), out.first, out.last, n_packets, offsets, out.size, out.iat, out.win, out.bits, late)
