"""A capture that is read once, as it arrives: its flows leave when they end, by the time of the packets or by the clock
on the wall, and their neighbours can be looked at while they are open.

Packets, flows and timeouts are those of every other capture (``kernels``, ``extract``).  What is read once cannot be
read again in better order: a packet that comes later than the window holds (4 096 packets) is taken for as late as the
last one that was passed on, and counted.  Where time goes back by more than ends a flow, the clock was set, or another
capture was appended: all flows end, and it begins anew.
"""

from __future__ import annotations

import os
import select
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from datasets_registry.capture import kernels as k
from datasets_registry.capture.assemble import FileFlows, Sink, release
from datasets_registry.capture.extract import WINDOW, Assembly
from datasets_registry.capture.memory import address
from datasets_registry.capture.reader import END, GOES_ON, Fill
from datasets_registry.capture.rules import NEVER, FlowRules
from datasets_registry.capture.sessions import spell_key
from janus_bench.columns import MAX_PACKETS, PACKET_ARRAYS
from janus_bench.compiled import njit
from janus_bench.quiet import ignore

ROOM = 1 << 24  # Bytes that a capture of unknown size is taken for: room for flows is made at once.


class OpenFlows(NamedTuple):
    """F flows that have begun and not left, in the order of the table.

    row       (F,) of the table; keys (F, 5) and swapped (F,) as in ``FileFlows``
    serial    (F,); first (F,) ns; n_packets (F,), so far
    answered  (F,) s, when the responder sent its first packet, of those stored; inf where it has sent none
    """

    row: NDArray[np.int64]
    keys: NDArray[np.uint64]
    swapped: NDArray[np.bool_]
    serial: NDArray[np.int64]
    first: NDArray[np.int64]
    n_packets: NDArray[np.int64]
    answered: NDArray[np.float64]


@njit(nogil=True)
def _look(sessions: Any, flows: Any, state: Any, found: Any) -> None:
    """Fill ``found`` (an OpenFlows' arrays) with the flows of the table."""
    rows, heads, gaps = flows
    row, keys, swapped, serial, first, n_packets, answered = found
    session_rows, session_keys, to = address(sessions.rows), address(sessions.keys), address(keys)
    time = np.empty(len(row))
    for i in range(len(row)):
        session = rows[i, k.SESSION]
        spell_key(session_rows, session_keys, session, to + 8 * k.KEY_WORDS * i)
        meta = sessions.rows[session, k.META] if sessions.rows[session, k.FLOW] == i else rows[i, k.FLOW_META]
        row[i], swapped[i], serial[i] = i, meta & 1 != 0, rows[i, k.SERIAL]
        first[i], n_packets[i], answered[i] = rows[i, k.FLOW_FIRST], meta >> 2, np.inf
        time[i] = first[i] / 1e9
    for i in range(state[k.N_LOG]):
        flow = heads[i] >> 38
        time[flow] += 1e-6 * gaps[i]
        if heads[i] >> 32 & 1 and answered[flow] == np.inf:
            answered[flow] = time[flow]


@njit(nogil=True)
def _copy(place: Any, flows: Any, state: Any, last: Any, segment: Any) -> None:
    """Packets and MACs of some flows of the table, which stay there; ``place`` (n_flows,): position in the segment or
    −1; each has all the packets that are kept."""
    rows, heads, gaps = flows
    macs, icmp, size, iat, win, bits = segment
    filled = np.zeros(len(last), np.int64)
    for row in range(state[k.N_FLOWS]):
        if place[row] >= 0:
            macs[place[row], 0], macs[place[row], 1] = rows[row, k.SRC_MAC] & k.MAC, rows[row, k.DST_MAC]
            icmp[place[row]] = rows[row, k.SRC_MAC] >> 48 & 0xFFFF
            last[place[row]] = rows[row, k.FLOW_FIRST]
    for i in range(state[k.N_LOG]):
        to = place[heads[i] >> 38]
        if to >= 0:
            at = MAX_PACKETS * to + filled[to]
            filled[to] += 1
            last[to] += np.int64(np.round(1000.0 * gaps[i]))
            size[at], iat[at], win[at], bits[at] = (
                heads[i] & 0xFFFF,
                gaps[i],
                heads[i] >> 16 & 0xFFFF,
                heads[i] >> 32 & 63,
            )


class StreamedFlows(Assembly):
    """Flows of a capture that is read once.

    ``early``: a flow also leaves, as a copy, when its last packet that is kept is there; it then leaves but once.
    ``restarted`` is called when the time went back, and all flows have left.
    """

    def __init__(
        self,
        rules: FlowRules,
        sink: Sink,
        *,
        whole: bool = False,
        early: bool = False,
        restarted: Callable[[], None] = ignore,
    ) -> None:
        super().__init__(rules, _Once(sink), ROOM, whole, WINDOW)
        self.belated = 0
        self._early, self._restarted = early, restarted

    def too_late(self, filled: int) -> int:
        ts = self.packets.ts[:filled]
        if self.passed - ts[0] <= self.rules.idle:
            late = ts < self.passed
            self.belated += int(late.sum())
            ts[late] = self.passed
            return filled
        # What is not early is left of the time before: it goes first, and with it everything that is open.
        early = int(np.searchsorted(ts, self.passed))
        for column in self._window():
            column[:filled] = np.concatenate([column[early:filled], column[:early]])
        self.assemble(filled - early)
        release(NEVER, self, self.sink)
        self.leave_window(filled - early, filled)
        self.state[k.LATEST] = self.packets.ts[early - 1]
        self._restarted()
        return early

    @property
    def begun(self) -> int:
        """Flows so far."""
        return int(self.state[k.BEGUN])

    def open_flows(self) -> OpenFlows:
        """Those that are in the table at this moment."""
        n = int(self.state[k.N_FLOWS])
        columns: list[Any] = [np.empty(n, np.int64), np.empty((n, k.KEY_WORDS), np.uint64), np.empty(n, np.bool_)]
        columns += [np.empty(n, np.int64), np.empty(n, np.int64), np.empty(n, np.int64), np.empty(n)]
        found = OpenFlows(*columns)
        _look(self.sessions, self.flows, self.state, found)
        return found

    def tick(self, idle_ns: int = 0) -> None:
        """Pass on what has been read, and let go what has ended: by now, ``idle_ns`` after the latest packet."""
        self.pass_on(int(self.state[k.N_PACKETS]))
        if self.state[k.N_FLOWS]:
            self.release(int(self.passed) + idle_ns)
            if self._early:
                self._release_early()

    def _release_early(self) -> None:
        there = self.open_flows()
        assert isinstance(self.sink, _Once)
        ripe = np.flatnonzero((there.n_packets >= MAX_PACKETS) & ~np.isin(there.serial, self.sink.gone))
        if not len(ripe):
            return
        n = len(ripe)
        place = np.full(len(there.row), -1)
        place[ripe] = np.arange(n)
        last, macs, icmp = np.empty(n, np.int64), np.empty((n, 2), np.uint64), np.empty(n, np.uint16)
        packets: list[Any] = [np.empty(n * MAX_PACKETS, kind) for kind in PACKET_ARRAYS.values()]
        _copy(place, self.flows, self.state, last, (macs, icmp, *packets))
        keys, swapped, serial, first = (part[ripe] for part in there[1:5])
        offsets = np.arange(n + 1) * MAX_PACKETS
        count = there.n_packets[ripe]
        self.sink.append_early(
            FileFlows(keys, swapped, first, last, count, serial, macs, icmp, offsets, *packets)  # type: ignore[arg-type]
        )


class _Once:
    """Passes flows on, but none that has gone before it ended.  ``gone``: serial numbers of those that are still
    open."""

    def __init__(self, sink: Sink) -> None:
        self._sink = sink
        self.gone = np.empty(0, np.int64)

    def append_early(self, flows: FileFlows) -> None:
        self.gone = np.concatenate([self.gone, flows.serial])
        self._sink.append(flows)

    def append(self, flows: FileFlows, /) -> None:
        if len(self.gone):
            again = np.isin(flows.serial, self.gone)
            self.gone = self.gone[~np.isin(self.gone, flows.serial)]
            if again.any():
                flows = flows.take(np.flatnonzero(~again))
        self._sink.append(flows)

    def clear(self) -> None:
        raise AssertionError("a capture that is read once is never read again")


def arriving(handle: int, patience_s: float, stopped: Callable[[], bool]) -> Fill:
    """Bytes from a pipe or a file as they come: never waits for longer than ``patience_s``; ends when ``stopped``."""

    def fill(room: memoryview) -> tuple[int, int]:
        if stopped():
            return 0, END
        ready, _, _ = select.select([handle], [], [], patience_s)
        if not ready:
            return 0, GOES_ON
        got = os.readv(handle, [room])
        return got, GOES_ON if got else END

    return fill
