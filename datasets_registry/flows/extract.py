"""A capture file → its flows.

Packets pass through a window in which they are sorted by time; the end of each window waits for the next, so that a packet may be late by that
much.  A capture in worse order (two of them appended, say) is read a second time and sorted as a whole: the only case in which memory grows with it.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from datasets_registry.capture import kernels as k
from datasets_registry.capture.reader import Capture, Columns, Scan, read_capture, scan_file
from datasets_registry.flows.assemble import N_FLOWS, SESSION, FileFlows, FlowTable, Sink
from datasets_registry.flows.rules import FlowRules

__all__ = ["assemble_flows", "extract_flows", "read_flows"]

WINDOW = 1 << 15  # packets
HOLD = 1 << 12  # of them wait for later ones
SESSIONS = 1 << 12  # room for so many at first
FLOWS = 1 << 16


class _Unordered(Exception):
    """A packet is later than the window allows."""


@njit(cache=True, nogil=True)
def _forget(now: Any, newest: Any, sessions: Any, n_sessions: Any, pending: Any, flows: Any, n_flows: Any) -> Any:
    """Forget sessions without a flow in the table, a packet in ``pending`` (their sessions) or a recent one; the number of those that stay.

    The others are numbered anew, also in ``pending`` and ``flows``.
    """
    place = np.zeros(n_sessions, np.int32)
    for i in range(len(pending)):
        place[pending[i]] = 1
    kept = 0
    for session in range(n_sessions):
        if newest[session] >= 0 or place[session] or now - sessions.recent[session, 0] <= k.MIRROR_WINDOW:
            place[session] = kept
            newest[kept] = newest[session]
            sessions.keys[kept] = sessions.keys[session]
            sessions.recent[kept] = sessions.recent[session]
            kept += 1
    for i in range(len(pending)):
        pending[i] = place[pending[i]]
    for row in range(n_flows):
        flows[row, SESSION] = place[flows[row, SESSION]]
    newest[kept:] = -1
    return kept


class _Window(Columns):
    """Packets on their way into flows."""

    def __init__(self, rules: FlowRules, sink: Sink, n_bytes: int) -> None:
        super().__init__(min(WINDOW, max(n_bytes // 32, 64)), SESSIONS)
        self.table = FlowTable(rules.compiled(), sink, min(FLOWS, max(n_bytes // 64, 64)))
        self.newest = np.full(SESSIONS, -1, np.int32)
        self.passed = 0  # time of the last packet that was passed on
        self.late = 0  # late packets when the window was last sorted

    def make_room(self) -> None:
        n = int(self.state[k.N_PACKETS])
        if n == len(self.packets.ts):
            self._pass_on(n - min(HOLD, n // 2))
        if self.state[k.N_SESSIONS] == len(self.sessions.keys):
            self._forget_sessions()

    def finish(self) -> None:
        self._pass_on(int(self.state[k.N_PACKETS]))
        self.table.finish(self.newest, self.sessions.keys)

    def _pass_on(self, n: int) -> None:
        """The first ``n`` packets of the window."""
        filled = int(self.state[k.N_PACKETS])
        if self.state[k.LATE] > self.late:
            self.late = int(self.state[k.LATE])
            order = np.argsort(self.packets.ts[:filled], kind="stable")
            for column in self.packets:
                column[:filled] = column[order]
        if not n:
            return
        if self.packets.ts[0] < self.passed:
            raise _Unordered
        self.table.add(self.packets, 0, n, self.newest, self.sessions.keys)
        self.passed = int(self.packets.ts[n - 1])
        for column in self.packets:
            column[: filled - n] = column[n:filled].copy()
        self.state[k.N_PACKETS] = filled - n

    def _forget_sessions(self) -> None:
        self.table.release(self.passed, self.newest, self.sessions.keys)
        n_sessions, pending = int(self.state[k.N_SESSIONS]), self.packets.session[: int(self.state[k.N_PACKETS])]
        n_flows = int(self.table.state[N_FLOWS])
        kept = _forget(self.passed, self.newest, self.sessions, n_sessions, pending, self.table.flows, n_flows)
        self.state[k.N_SESSIONS] = kept
        self.rehash(2 * n_sessions if kept > n_sessions // 2 else n_sessions)
        self.newest = np.concatenate([self.newest, np.full(len(self.sessions.keys) - n_sessions, -1, np.int32)])


def extract_flows(path: Path, rules: FlowRules, sink: Sink, advance: Callable[[int], None] = lambda _: None) -> Scan:
    """Give the flows of one capture to ``sink``, segment by segment; what became of its packets.

    DataError if the file cannot be opened or is not a capture.  ``advance(n)`` is called as ``n`` more bytes of the file have been read.
    """
    window = _Window(rules, sink, path.stat().st_size if path.is_file() else 0)
    try:
        scan = scan_file(path, window, advance)
        window.finish()
    except _Unordered:
        sink.clear()
        capture = read_capture(path, advance)
        _assemble_all(capture, rules, sink)
        scan = capture
    return scan.without_mirrored() if rules.remove_mirrored else scan


def read_flows(path: Path, rules: FlowRules, advance: Callable[[int], None] = lambda _: None) -> tuple[Scan, FileFlows]:
    """As ``extract_flows``, with all flows of the capture in the order of their first packets."""
    segments: list[FileFlows] = []
    scan = extract_flows(path, rules, segments, advance)
    return scan, FileFlows.merged(segments)


def assemble_flows(capture: Capture, rules: FlowRules) -> FileFlows:
    """Flows of the packets of a capture that is in memory; they are taken in the order of their timestamps (a stable sort)."""
    segments: list[FileFlows] = []
    _assemble_all(capture, rules, segments)
    return FileFlows.merged(segments)


def _assemble_all(capture: Capture, rules: FlowRules, sink: Sink) -> None:
    packets = k.Packets(capture.ts, capture.session, capture.size, capture.win, capture.bits)
    if capture.out_of_order:
        order = np.argsort(capture.ts, kind="stable")
        columns: list[Any] = [column[order] for column in packets]
        packets = k.Packets(*columns)
    newest: NDArray[np.int32] = np.full(len(capture.keys), -1, np.int32)
    table = FlowTable(rules.compiled(), sink, min(FLOWS, max(len(capture.ts), 64)))
    table.add(packets, 0, len(capture.ts), newest, capture.keys)
    table.finish(newest, capture.keys)
