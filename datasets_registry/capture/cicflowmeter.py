"""CICFlowMeter's features of a flow, from all of its packets: accumulators fed packet by packet, and the columns of
``columns.CIC_FEATURES``.

Definitions, and where they differ from the published CSVs on purpose, are in ``docs/features.md``.  Times are kept as
whole nanoseconds since the flow's first packet, which float64 holds exactly for 104 days.  Sums of lengths and of their
squares are exact integers too.  Squares of gaps are summed around the first gap (a member of the sample, so that what
cancels is at most 1 + n times what remains) with Kahan's correction: the standard deviation of a beacon with gaps of a
minute and a jitter of a microsecond keeps its digits, and no packet costs a division.
"""

import math
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from janus_bench.columns import CIC_FEATURES
from janus_bench.compiled import njit

SECOND = 1_000_000_000  # ns
SUBFLOW_GAP = BULK_GAP = 1 * SECOND
IDLE_GAP = 5 * SECOND
BULK_PACKETS = 4
RARE_FLAGS = 0xE7  # FIN, SYN, RST, URG, ECE, CWR; the others, PSH and ACK, are in most segments

# A spread of times, from its position on: the first value, the squares of the distances from it, their sum's
# correction, minimum, maximum.
ORIGIN, SQUARES, CORRECTION, LOWEST, HIGHEST = range(5)
SPREAD = 5

# The flow: its first packet's time in two halves, the last one's, the gaps; counts of flags; gaps between subflows; the
# run of payload packets in one direction (their number, negative if backward, bytes of its first four, times of first
# and last); active periods and idle gaps.
FIRST_HIGH, FIRST_LOW, LAST, GAPS = range(4)
FIN, SYN, RST, ACK, ECE, CWR = range(GAPS + SPREAD, GAPS + SPREAD + 6)
PAUSES, RUN, RUN_BYTES, RUN_FIRST, RUN_LAST = range(CWR + 1, CWR + 6)
N_IDLE, IDLE_TOTAL, N_ACTIVE, ACTIVE_FIRST, IDLE = range(RUN_LAST + 1, RUN_LAST + 6)
ACTIVE = IDLE + SPREAD

# One direction, from its position on.
N, BYTES, BYTES_SQUARED, SHORTEST, LONGEST, HEADERS, SHORTEST_HEADER, WITH_PAYLOAD, PSH, URG = range(10)
SIDE_FIRST, SIDE_LAST, WINDOW, BULKS, BULK_TOTAL_PACKETS, BULK_BYTES, BULK_TIME, SIDE_GAPS = range(10, 18)
SIDE = SIDE_GAPS + SPREAD
FORWARD = ACTIVE + SPREAD
BACKWARD = FORWARD + SIDE

N_ACCUMULATORS = BACKWARD + SIDE
"""float64 accumulators of one flow: the columns of the array that ``begin``, ``update`` and ``finish`` work on."""

MINIMA = tuple(at + LOWEST for at in (GAPS, IDLE, ACTIVE, FORWARD + SIDE_GAPS, BACKWARD + SIDE_GAPS)) + tuple(
    side + at for side in (FORWARD, BACKWARD) for at in (SHORTEST, SHORTEST_HEADER)
)


@njit(nogil=True)
def begin(row: Any) -> None:
    """Make ``row`` (N_ACCUMULATORS,) float64 the accumulators of a flow without packets."""
    row[:] = 0.0
    for at in MINIMA:
        row[at] = np.inf


@njit(nogil=True)
def _add(row: Any, at: Any, value: Any, is_first: Any) -> None:
    """Enter one time (ns) into the spread at ``at``."""
    if is_first:
        row[at + ORIGIN] = value
    distance = value - row[at + ORIGIN]
    term = distance * distance - row[at + CORRECTION]
    total = row[at + SQUARES] + term
    row[at + CORRECTION] = (total - row[at + SQUARES]) - term
    row[at + SQUARES] = total
    row[at + LOWEST] = min(row[at + LOWEST], value)
    row[at + HIGHEST] = max(row[at + HIGHEST], value)


@njit(nogil=True)
def update(row: Any, ts: Any, payload: Any, header: Any, flags: Any, win: Any, backward: Any) -> None:
    """Enter a packet into the accumulators ``row`` of its flow; packets come in time order, the first one has
    ``backward`` 0.

    ts int64, ns since the epoch; payload: bytes of transport payload by the packet's own lengths; header: bytes of the
    transport header (0 for other protocols than TCP and UDP); flags: the TCP header's byte of flags, win: its window (0
    and 0 if not TCP); backward: 0 or 1.
    """
    side = BACKWARD if backward else FORWARD
    packets = row[FORWARD + N] + row[BACKWARD + N]
    if packets == 0:
        row[FIRST_HIGH], row[FIRST_LOW] = ts >> 32, ts & 0xFFFFFFFF
    now = float(ts - (np.int64(row[FIRST_HIGH]) << 32 | np.int64(row[FIRST_LOW])))
    gap = now - row[LAST]
    if packets > 0:
        _add(row, GAPS, gap, packets == 1)
        if gap > SUBFLOW_GAP:
            _pause(row, now, gap)
    row[LAST] = now

    if row[side + N] == 0:
        row[side + SIDE_FIRST], row[side + WINDOW] = now, win
    else:
        _add(row, side + SIDE_GAPS, now - row[side + SIDE_LAST], row[side + N] == 1)
    row[side + SIDE_LAST] = now
    row[side + N] += 1
    length = float(payload)
    row[side + BYTES] += length
    row[side + BYTES_SQUARED] += length * length
    row[side + SHORTEST] = min(row[side + SHORTEST], length)
    row[side + LONGEST] = max(row[side + LONGEST], length)
    row[side + HEADERS] += header
    row[side + SHORTEST_HEADER] = min(row[side + SHORTEST_HEADER], float(header))
    row[ACK] += flags >> 4 & 1
    row[side + PSH] += flags >> 3 & 1
    if flags & RARE_FLAGS:
        row[FIN] += flags & 1
        row[SYN] += flags >> 1 & 1
        row[RST] += flags >> 2 & 1
        row[side + URG] += flags >> 5 & 1
        row[ECE] += flags >> 6 & 1
        row[CWR] += flags >> 7 & 1
    if payload > 0:
        row[side + WITH_PAYLOAD] += 1
        _bulk(row, now, length, side, -1.0 if backward else 1.0)


@njit(nogil=True)
def _pause(row: Any, now: Any, gap: Any) -> None:
    """A gap between subflows ends; if it is an idle one, so did the active period before it, unless that was a single
    moment."""
    row[PAUSES] += 1
    if gap > IDLE_GAP:
        active = row[LAST] - row[ACTIVE_FIRST]
        if active > 0:
            row[N_ACTIVE] += 1
            _add(row, ACTIVE, active, row[N_ACTIVE] == 1)
        row[N_IDLE] += 1
        row[IDLE_TOTAL] += gap
        _add(row, IDLE, gap, row[N_IDLE] == 1)
        row[ACTIVE_FIRST] = now


@njit(nogil=True)
def _bulk(row: Any, now: Any, length: Any, side: Any, sign: Any) -> None:
    """A packet with payload: it continues the run of such packets of its direction, or ends the run before it."""
    if row[RUN] * sign <= 0 or now - row[RUN_LAST] > BULK_GAP:
        row[RUN], row[RUN_BYTES], row[RUN_FIRST] = sign, length, now
    else:
        row[RUN] += sign
        in_run = row[RUN] * sign
        if in_run < BULK_PACKETS:
            row[RUN_BYTES] += length
        elif in_run == BULK_PACKETS:
            row[side + BULKS] += 1
            row[side + BULK_TOTAL_PACKETS] += BULK_PACKETS
            row[side + BULK_BYTES] += row[RUN_BYTES] + length
            row[side + BULK_TIME] += now - row[RUN_FIRST]
        else:
            row[side + BULK_TOTAL_PACKETS] += 1
            row[side + BULK_BYTES] += length
            row[side + BULK_TIME] += now - row[RUN_LAST]
    row[RUN_LAST] = now


@njit(nogil=True)
def _times(row: Any, at: Any, n: Any, total: Any) -> Any:
    """(mean, standard deviation, maximum, minimum) in µs of the n times that are in the spread at ``at`` and sum to
    ``total`` ns."""
    if n == 0:
        return 0.0, 0.0, 0.0, 0.0
    deviation = 0.0
    if n > 1:
        excess = total - n * row[at + ORIGIN]
        squares = row[at + SQUARES] - row[at + CORRECTION] - excess * excess / n
        deviation = math.sqrt(max(squares, 0.0) / (n - 1))
    return total / n / 1e3, deviation / 1e3, row[at + HIGHEST] / 1e3, row[at + LOWEST] / 1e3


@njit(nogil=True)
def _variance(n: Any, total: Any, squares: Any) -> Any:
    """Variance (n − 1) of n whole numbers from their sum and sum of squares: moved to the nearest whole number to the
    mean, half cancels at most."""
    if n < 2:
        return 0.0
    centre = np.int64(np.rint(total / n))
    distance = np.int64(total) - np.int64(n) * centre
    around = np.int64(squares) - centre * (2 * np.int64(total) - np.int64(n) * centre)
    return max(around - float(distance) * float(distance) / n, 0.0) / (n - 1)


@njit(nogil=True)
def _ratio(over: Any, under: Any) -> Any:
    return over / under if under > 0 else 0.0


# Where runs of columns start
(PROTOCOL, DURATION, RATES, FLOW_IAT, LENGTHS, FLAG_COUNTS, RATIO, DATA_PACKETS, ACTIVE_COLUMNS, IDLE_COLUMNS) = (
    CIC_FEATURES.index(name)
    for name in (
        *(
            "Protocol",
            "Flow Duration",
            "Flow Bytes/s",
            "Flow IAT Mean",
            "Min Packet Length",
            "FIN Flag Count",
            "Down/Up Ratio",
        ),
        *("act_data_pkt_fwd", "Active Mean", "Idle Mean"),
    )
)


class _Columns(NamedTuple):
    """Columns of one direction; of lengths, iat and bulk the first one."""

    packets: int
    total: int
    lengths: int
    iat: int
    psh: int
    urg: int
    headers: int
    rate: int
    segment: int
    bulk: int
    subflow_packets: int
    subflow_bytes: int
    window: int


def _columns(side: str, packets: str, window: str) -> _Columns:
    names = [
        packets,
        f"Total Length of {side} Packets",
        f"{side} Packet Length Max",
        f"{side} IAT Total",
        f"{side} PSH Flags",
        f"{side} URG Flags",
    ]
    names += [f"{side} Header Length", f"{side} Packets/s", f"Avg {side} Segment Size", f"{side} Avg Bytes/Bulk"]
    names += [f"Subflow {side} Packets", f"Subflow {side} Bytes", window]
    return _Columns(*(CIC_FEATURES.index(name) for name in names))


FORWARD_COLUMNS = _columns("Fwd", "Total Fwd Packets", "Init_Win_bytes_forward")
BACKWARD_COLUMNS = _columns("Bwd", "Total Backward Packets", "Init_Win_bytes_backward")


@njit(nogil=True)
def _finish_side(row: Any, side: Any, is_tcp: Any, at: Any, out: Any) -> None:
    """The columns ``at`` of one direction of a flow, whose ``out`` is (77,)."""
    packets, total, duration, subflows = row[side + N], row[side + BYTES], row[LAST], row[PAUSES] + 1
    elapsed = row[side + SIDE_LAST] - row[side + SIDE_FIRST]
    mean = _ratio(total, packets)
    out[at.packets], out[at.total], out[at.segment] = packets, total, mean
    out[at.lengths], out[at.lengths + 1] = row[side + LONGEST], row[side + SHORTEST] if packets else 0.0
    out[at.lengths + 2], out[at.lengths + 3] = mean, math.sqrt(_variance(packets, total, row[side + BYTES_SQUARED]))
    out[at.iat] = elapsed / 1e3
    out[at.iat + 1], out[at.iat + 2], out[at.iat + 3], out[at.iat + 4] = _times(
        row, side + SIDE_GAPS, max(packets - 1, 0), elapsed
    )
    out[at.psh], out[at.urg], out[at.headers] = row[side + PSH], row[side + URG], row[side + HEADERS]
    out[at.rate] = _ratio(packets * 1e9, duration)
    bulks, bulk_bytes = row[side + BULKS], row[side + BULK_BYTES]
    out[at.bulk], out[at.bulk + 1] = _ratio(bulk_bytes, bulks), _ratio(row[side + BULK_TOTAL_PACKETS], bulks)
    out[at.bulk + 2] = _ratio(bulk_bytes * 1e9, row[side + BULK_TIME])
    out[at.subflow_packets], out[at.subflow_bytes] = packets / subflows, total / subflows
    out[at.window] = row[side + WINDOW] if is_tcp and packets else -1.0


@njit(nogil=True)
def finish(accumulators: Any, protocol: Any, out: Any) -> None:
    """Fill ``out`` (F, 77) float64, columns in the order of ``CIC_FEATURES``, all finite.

    accumulators (F, N_ACCUMULATORS) of flows of at least one packet; protocol (F,), IP protocol numbers.
    """
    for flow in range(len(accumulators)):
        row, to = accumulators[flow], out[flow]
        is_tcp = protocol[flow] == 6
        _finish_side(row, FORWARD, is_tcp, FORWARD_COLUMNS, to)
        _finish_side(row, BACKWARD, is_tcp, BACKWARD_COLUMNS, to)
        forward, backward, duration = row[FORWARD + N], row[BACKWARD + N], row[LAST]
        packets, total = forward + backward, row[FORWARD + BYTES] + row[BACKWARD + BYTES]
        to[PROTOCOL], to[DURATION] = protocol[flow], duration / 1e3
        to[RATES], to[RATES + 1] = _ratio(total * 1e9, duration), _ratio(packets * 1e9, duration)
        to[FLOW_IAT], to[FLOW_IAT + 1], to[FLOW_IAT + 2], to[FLOW_IAT + 3] = _times(row, GAPS, packets - 1, duration)

        variance = _variance(packets, total, row[FORWARD + BYTES_SQUARED] + row[BACKWARD + BYTES_SQUARED])
        to[LENGTHS], to[LENGTHS + 1] = (
            min(row[FORWARD + SHORTEST], row[BACKWARD + SHORTEST]),
            max(row[FORWARD + LONGEST], row[BACKWARD + LONGEST]),
        )
        to[LENGTHS + 2], to[LENGTHS + 3], to[LENGTHS + 4] = total / packets, math.sqrt(variance), variance

        to[FLAG_COUNTS], to[FLAG_COUNTS + 1], to[FLAG_COUNTS + 2] = row[FIN], row[SYN], row[RST]
        to[FLAG_COUNTS + 3], to[FLAG_COUNTS + 4] = row[FORWARD + PSH] + row[BACKWARD + PSH], row[ACK]
        to[FLAG_COUNTS + 5], to[FLAG_COUNTS + 6], to[FLAG_COUNTS + 7] = (
            row[FORWARD + URG] + row[BACKWARD + URG],
            row[CWR],
            row[ECE],
        )
        to[RATIO], to[RATIO + 1] = backward / forward, total / packets

        to[DATA_PACKETS], to[DATA_PACKETS + 1] = row[FORWARD + WITH_PAYLOAD], row[FORWARD + SHORTEST_HEADER]
        # Active periods and idle gaps take turns: together they last until the period begins that no idle gap has
        # ended.
        active, at = row[ACTIVE_FIRST] - row[IDLE_TOTAL], ACTIVE_COLUMNS
        to[at], to[at + 1], to[at + 2], to[at + 3] = _times(row, ACTIVE, row[N_ACTIVE], active)
        at = IDLE_COLUMNS
        to[at], to[at + 1], to[at + 2], to[at + 3] = _times(row, IDLE, row[N_IDLE], row[IDLE_TOTAL])


def cic_features(accumulators: NDArray[np.float64], protocol: NDArray[Any]) -> NDArray[np.float64]:
    """The features of F flows: (F, 77) float64, columns in the order of ``CIC_FEATURES``; arguments as of
    ``finish``."""
    out = np.empty((len(accumulators), len(CIC_FEATURES)))
    finish(accumulators, protocol, out)
    return out
