"""Packets of one capture → bidirectional flows with ragged packet sequences.

A flow is the packets of one 5-tuple without a gap longer than the idle timeout; its initiator is the sender of its first packet.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

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


@njit(cache=True, nogil=True)
def _split(ts: Any, session: Any, n_sessions: Any, timeout: Any) -> Any:
    """Flow of each packet (packets in time order), and session of each flow."""
    flow_of = np.empty(len(ts), np.int32)
    session_of = np.empty(len(ts), np.int32)
    current = np.full(n_sessions, -1, np.int32)
    last = np.zeros(n_sessions, np.int64)
    n_flows = 0
    for i in range(len(ts)):
        s = session[i]
        if current[s] < 0 or ts[i] - last[s] > timeout:
            current[s] = n_flows
            session_of[n_flows] = s
            n_flows += 1
        flow_of[i] = current[s]
        last[s] = ts[i]
    return flow_of, session_of[:n_flows].copy()


@njit(cache=True, nogil=True)
def _scatter(flow_of: Any, n_flows: Any, keep: Any, ts: Any, size: Any, win: Any, bits: Any) -> Any:
    """Counting sort of the packets by flow, the first ``keep`` of each; order within a flow is kept."""
    total = np.zeros(n_flows, np.int64)
    for flow in flow_of:
        total[flow] += 1
    offsets = np.zeros(n_flows + 1, np.int64)
    for flow in range(n_flows):
        offsets[flow + 1] = offsets[flow] + min(total[flow], keep)
    stored = offsets[n_flows]
    out_size, out_win = np.empty(stored, np.uint16), np.empty(stored, np.uint16)
    out_iat, out_bits = np.empty(stored, np.float32), np.empty(stored, np.uint8)
    swapped = np.zeros(n_flows, np.bool_)
    first, last = np.zeros(n_flows, np.int64), np.zeros(n_flows, np.int64)
    seen = np.zeros(n_flows, np.int64)
    for i in range(len(flow_of)):
        flow = flow_of[i]
        position = seen[flow]
        if position == 0:
            first[flow] = last[flow] = ts[i]
            swapped[flow] = bits[i] & 1 == 1
        if position < keep:
            at = offsets[flow] + position
            out_size[at] = size[i]
            out_win[at] = win[i]
            out_iat[at] = (ts[i] - last[flow]) / 1000.0
            out_bits[at] = bits[i] ^ np.uint8(swapped[flow])
        seen[flow] = position + 1
        last[flow] = ts[i]
    return total, offsets, out_size, out_iat, out_win, out_bits, swapped, first, last


def assemble_flows(capture: Capture, idle_timeout_s: float) -> FileFlows:
    """Flows of a capture; a gap of more than ``idle_timeout_s`` seconds within a 5-tuple starts a new one.

    Packets are taken in the order of their timestamps (a stable sort, only where a capture is not in order already).
    """
    ts, session, size, win, bits = capture.ts, capture.session, capture.size, capture.win, capture.bits
    late = int(np.count_nonzero(ts < np.maximum.accumulate(ts))) if len(ts) else 0
    if late:
        order = np.argsort(ts, kind="stable")
        ts, session, size, win, bits = ts[order], session[order], size[order], win[order], bits[order]
    flow_of, session_of = _split(ts, session, len(capture.keys), int(idle_timeout_s * 1_000_000_000))
    n_packets, offsets, size, iat, win, bits, swapped, first, last = _scatter(flow_of, len(session_of), MAX_PACKETS, ts, size, win, bits)
    return FileFlows(capture.keys[session_of], swapped, first, last, n_packets, offsets, size, iat, win, bits, late)
