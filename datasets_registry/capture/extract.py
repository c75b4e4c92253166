"""A capture file → its flows.

Packets go to their flows as they are decoded.  Where one is late, the capture is read again through a window, in which
packets are sorted by time; the end of each window waits for the next, so that a packet may be late by that much.  A
capture in worse order (two of them appended, say) is read a last time and sorted as a whole: the only case in which
memory grows with it.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from datasets_registry.capture import kernels as k
from datasets_registry.capture.assemble import FileFlows, Sink, finish, release, widen
from datasets_registry.capture.names import RowSink
from datasets_registry.capture.reader import Capture, Columns, Scan, Unordered, read_capture, scan_file
from datasets_registry.capture.rules import FlowRules
from datasets_registry.capture.sessions import Sessions, forget, new_sessions
from janus_bench.quiet import ignore

WINDOW = 1 << 15  # packets
HOLD = 1 << 12  # of them wait for later ones
SESSIONS = 1 << 14  # room for so many at first
FLOWS = 1 << 15


class Assembly(Columns):
    """Packets on their way into flows: at once, or through a window of ``window`` packets."""

    def __init__(
        self, rules: FlowRules, sink: Sink, n_bytes: int, whole: bool, window: int = 0, row_sink: RowSink | None = None
    ) -> None:
        """Room for few flows if the capture is small: fresh memory is dear."""
        small = max(n_bytes // 64, 64)
        sessions = min(SESSIONS, 1 << small.bit_length())
        super().__init__(min(window, small), sessions, min(FLOWS, small), rules, whole, not window, row_sink)
        self.sink = sink
        self.passed = 0  # time of the last packet of the window that was passed on
        self.late = 0  # late packets when the window was last sorted

    def make_room(self) -> None:
        if self.pass_rows():
            return
        n = int(self.state[k.N_PACKETS])
        if not self.state[k.AT_ONCE] and n == len(self.packets.ts):
            self.pass_on(n - min(HOLD, n // 2))
            if self.state[k.N_SESSIONS] < len(self.sessions.rows):
                return
        self.release()

    def finish(self) -> None:
        self.pass_on(int(self.state[k.N_PACKETS]))
        self.pass_rows()
        finish(self, self.sink)

    def release(self, now: int | None = None) -> None:
        """Let go what is finished: flows, and sessions without flows; ``now`` in ns, by default that of the packets."""
        if now is None:
            now = int(self.state[k.LATEST]) if self.state[k.AT_ONCE] else self.passed
        release(now, self, self.sink)
        widen(self)
        n_sessions, capacity = int(self.state[k.N_SESSIONS]), len(self.sessions.rows)
        if n_sessions > capacity // 2:
            pending = self.packets.session[: int(self.state[k.N_PACKETS])]
            kept = forget(now, pending, self.flows.rows, self.sessions, n_sessions, self.sessions)
            if kept > capacity // 2:
                old, self.sessions = self.sessions, new_sessions(2 * capacity)
                forget(now, pending, self.flows.rows, old, kept, self.sessions)
            self.state[k.N_SESSIONS] = kept

    def pass_on(self, n: int) -> None:
        """The first ``n`` packets of the window."""
        filled = int(self.state[k.N_PACKETS])
        if self.state[k.LATE] > self.late:
            self.late = int(self.state[k.LATE])
            order = np.argsort(self.packets.ts[:filled], kind="stable")
            for column in self._window():
                column[:filled] = column[order]
        if not n:
            return
        if self.packets.ts[0] < self.passed:
            filled = self.too_late(filled)
            n = min(n, filled)
        self.assemble(n)
        self.passed = int(self.packets.ts[n - 1])
        self.leave_window(n, filled)

    def too_late(self, filled: int) -> int:
        """The first of the ``filled`` packets of the window, in time order, is earlier than one that was passed on: how
        many are in it now."""
        raise Unordered

    def leave_window(self, n: int, filled: int) -> None:
        """The first ``n`` of the ``filled`` packets are in their flows."""
        for column in self._window():
            column[: filled - n] = column[n:filled].copy()
        self.state[k.N_PACKETS] = filled - n

    def _window(self) -> list[NDArray[Any]]:
        """Everything that is kept of a packet until it is in its flow."""
        return [*self.packets, *([] if self.stream is None else [self.stream.of_packet])]

    def assemble(self, n: int) -> None:
        """The first ``n`` packets of the window, into flows."""
        at = 0
        serials = None if self.stream is None else np.empty(n, np.int64)
        while True:
            at = k.assemble(self.packets, at, n, self.sessions, self.flows, self.state, self.rules, self.whole, serials)
            if at == n:
                break
            release(int(self.packets.ts[at]), self, self.sink)
            widen(self)
        if serials is not None and self.stream is not None and self.row_sink is not None:
            self.pass_rows()
            entered = serials >= 0
            self.row_sink.attach(self.stream.of_packet[:n][entered], serials[entered])


def extract_flows(
    path: Path,
    rules: FlowRules,
    sink: Sink,
    advance: Callable[[int], None] = ignore,
    *,
    whole: bool = False,
    row_sink: RowSink | None = None,
) -> Scan:
    """Give the flows of one capture to ``sink``, segment by segment; what became of its packets.

    ``whole``: with the accumulators of ``cicflowmeter``; ``row_sink``: every frame that has a time, mirrored copies
    only as far as flows have them, goes there too, in the order of the file.  DataError if the file cannot be opened or
    is not a capture.  ``advance(n)`` is called as ``n`` more bytes of the file have been read (more than once where
    packets are late).
    """
    n_bytes = path.stat().st_size if path.is_file() else 0
    scan: Scan
    for window in (0, WINDOW):
        columns = Assembly(rules, sink, n_bytes, whole, window, row_sink)
        try:
            scan = scan_file(path, columns, advance)
            columns.finish()
            break
        except Unordered:
            sink.clear()
            if row_sink is not None:
                row_sink.clear()
    else:
        capture = read_capture(path, advance, rules, row_sink)
        _assemble_all(capture, rules, sink, whole, row_sink)
        scan = capture.without_packets()
    return scan.without_mirrored() if rules.remove_mirrored else scan


class _Counted:
    """A sink that keeps the number of flows alone."""

    n_flows = 0

    def append(self, flows: FileFlows, /) -> None:
        self.n_flows += len(flows)

    def clear(self) -> None:
        self.n_flows = 0


def stream_rows(path: Path, rules: FlowRules, row_sink: RowSink) -> int:
    """Give the packet stream of one capture to ``row_sink``, as ``extract_flows`` does; the number of flows that
    ``flow`` counts."""
    flows = _Counted()
    extract_flows(path, rules, flows, row_sink=row_sink)
    return flows.n_flows


def _assemble_all(capture: Capture, rules: FlowRules, sink: Sink, whole: bool, row_sink: RowSink | None) -> None:
    n = len(capture.packets.ts)
    columns = Assembly(rules, sink, 64 * n, whole, 1, row_sink)
    columns.packets, row = capture.packets, capture.row
    if capture.out_of_order:
        order = np.argsort(capture.packets.ts, kind="stable")
        in_order: list[Any] = [column[order] for column in columns.packets]
        columns.packets = k.Packets(*in_order)
        row = row[order] if len(row) else row
    if columns.stream is not None:
        columns.stream = columns.stream._replace(of_packet=row)
    rows: NDArray[np.int64] = np.full((len(capture.keys), 8), -1, np.int64)  # without a flow, and its key in ``keys``
    columns.sessions = Sessions(rows, capture.keys, columns.sessions.table)
    columns.assemble(n)
    finish(columns, sink)
