"""Numba kernels: the bytes of a capture → interned 5-tuples, flows (or packet columns) and, where it is asked for, the
packet stream, in one pass.

The loop reads up to ``PADDING`` bytes beyond what was captured before it has compared lengths; buffers end in so many
spare bytes.  All arithmetic is int64 (mixed with uint64 it gives floats).
"""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from datasets_registry.capture import frames
from datasets_registry.capture import links as net
from datasets_registry.capture.cicflowmeter import begin, update
from datasets_registry.capture.frames import count, decode
from datasets_registry.capture.links import u32
from datasets_registry.capture.memory import address, be16, be32, be64, byte, le64, put, put_float, word
from datasets_registry.capture.names import add_row
from datasets_registry.capture.sessions import (
    CLOSED,
    FIRST,
    FLOW,
    KEY_WORDS,
    LAST,
    META,
    MIRROR_WINDOW,
    RECENT_AT,
    RECENT_TS,
    find_session,
    short_key,
)
from janus_bench.columns import MAX_PACKETS
from janus_bench.compiled import njit

# What a scan stopped for.
NEED_DATA, NEED_ROOM, CORRUPT, BLOCK_FOR_CALLER, UNORDERED, PACKET, SKIPPED = range(7)

# ``state``: packets in the window, sessions known, records seen, bytes to skip beyond the buffer, offset in the file of
# the buffer's first byte, latest timestamp so far, packets before the latest one of their time, flows in the table,
# packets in their log, flows begun so far, whether packets go to their flows at once (1) or to the window (0), rows of
# the stream that are filled, rows of the capture before these.
STATE_WORDS = 13
N_PACKETS, N_SESSIONS, N_RECORDS, SKIP, BASE, LATEST, LATE, N_FLOWS, N_LOG, BEGUN, AT_ONCE, N_ROWS, ROWS_BEFORE = range(
    STATE_WORDS
)

# Columns of the interface table (pcapng; classic pcap has one row): link type, ticks → ns as multiply, divide or binary
# shift, offset in ns, and where in a frame of this link type the EtherType and an IP header behind it are (EtherType
# -1: nowhere fixed).
INTERFACE_WORDS = 7
LINK, MULTIPLY, DIVIDE, SHIFT, OFFSET, TYPE_AT, IP_AT = range(INTERFACE_WORDS)
FIXED_HEADERS = {1: (12, 14), 113: (14, 16), 276: (0, 20)}

# Columns of the table of flows: those of the session are written when the flow ends.
# The upper 16 bits of SRC_MAC are the first packet's ICMP type and code.
SESSION, FLOW_FIRST, FLOW_LAST, FLOW_META, SERIAL, SRC_MAC, DST_MAC = range(7)
FLOW_WORDS = 7

MAC = 0xFFFF_FFFF_FFFF  # The bits of an address.
PADDING = 64
_LOW_20 = (1 << 20) - 1
MIRRORED = 1 << 6  # bit of a packet's ``bits``: a second copy of the session's packet before it
MAX_RECORD = 262_144  # the largest captured length that libpcap accepts
MAX_BLOCK = MAX_RECORD + 65_536  # a packet block and its options
MAX_SECONDS = 9_000_000_000  # int64 nanoseconds end in the year 2262


class Packets(NamedTuple):
    """Packet columns; the first ``state[N_PACKETS]`` entries are filled.

    ts int64, ns since the epoch; session int32; size uint16, IP length; win uint16; bits uint8: TCP flags as in
    ``columns.BIT_OF``, ``MIRRORED``, and in place of the direction whether the sender is the session's second endpoint;
    macs (capacity, 2) int64 of sender (above it, ICMP type and code) and receiver; payload uint16 and header uint8,
    bytes behind the IP header; flags uint8, as TCP has them.
    """

    ts: NDArray[np.int64]
    session: NDArray[np.int32]
    size: NDArray[np.uint16]
    win: NDArray[np.uint16]
    bits: NDArray[np.uint8]
    macs: NDArray[np.int64]
    payload: NDArray[np.uint16]
    header: NDArray[np.uint8]
    flags: NDArray[np.uint8]


class FlowColumns(NamedTuple):
    """Flows that have not left yet: ``rows`` (capacity, FLOW_WORDS) int64, and their stored packets in time order.

    heads int64: row << 38 | bits << 32 | window << 16 | size; gaps float32, µs.
    """

    rows: NDArray[np.int64]
    heads: NDArray[np.int64]
    gaps: NDArray[np.float32]


@njit(nogil=True)
def _same_bytes(buf: Any, one: Any, other: Any, size: Any) -> Any:
    i = 0
    while i + 8 <= size:
        if le64(buf, one + i) != le64(buf, other + i):
            return False
        i += 8
    while i < size:
        if byte(buf, one + i) != byte(buf, other + i):
            return False
        i += 1
    return True


@njit(nogil=True, forceinline=True)
def _mirrored(buf: Any, at: Any, size: Any, ts: Any, session: Any, base: Any) -> Any:
    """Whether the ``size`` bytes at ``at``, an IP packet as captured, repeat its session's packet before it;
    ``session``: its row's address.

    A packet is the copy of one other at most: of three equal ones the second is a copy, and the third is not.
    """
    recent = word(session, RECENT_AT)
    same = (recent & _LOW_20 == size) & (abs(ts - word(session, RECENT_TS)) <= MIRROR_WINDOW)
    if same:
        before = (recent >> 20) - base
        same = before >= 0 and _same_bytes(buf, before, at, size)
    put(session, RECENT_TS, ts)
    put(session, RECENT_AT, -1 if same else (base + at) << 20 | size)
    return same


@njit(nogil=True, forceinline=True)
def _enter(
    ts: Any,
    size: Any,
    win: Any,
    bits: Any,
    session: Any,
    row: Any,
    table: Any,
    heads: Any,
    gaps: Any,
    state: Any,
    rules: Any,
) -> Any:
    """Enter a packet, none before it later than it, into its flow: (row of the flow, whether it begins with this
    packet).

    ``session`` is the number of its session, ``row`` the address of that one's row; ``table``, ``heads`` and ``gaps``
    those of ``FlowColumns``.
    """
    flow, last, meta = word(row, FLOW), word(row, LAST), word(row, META)
    if flow >= 0 and ((meta & CLOSED != 0) | (ts - last > rules.idle) | (ts - word(row, FIRST) > rules.active)):
        put(table, FLOW_WORDS * flow + FLOW_LAST, last)
        put(table, FLOW_WORDS * flow + FLOW_META, meta)
        flow = np.int64(-1)
    begins = flow < 0
    if begins:
        flow, last, meta = word(state, N_FLOWS), ts, bits & 1
        put(state, N_FLOWS, flow + 1)
        put(row, FIRST, ts)
        put(row, FLOW, flow)
        put(table, FLOW_WORDS * flow + SESSION, session)
        put(table, FLOW_WORDS * flow + FLOW_FIRST, ts)
        begun = word(state, BEGUN)
        put(table, FLOW_WORDS * flow + SERIAL, begun)
        put(state, BEGUN, begun + 1)
    if meta >> 2 < MAX_PACKETS:
        at = word(state, N_LOG)
        put(heads, at, flow << 38 | ((bits & 63) ^ (meta & 1)) << 32 | win << 16 | size)
        put_float(gaps, at, (ts - last) / 1000.0)
        put(state, N_LOG, at + 1)
    if rules.close_on_fin and bits & 4 and meta >> 2 > 0:
        meta |= CLOSED
    put(row, META, meta + 4)
    put(row, LAST, ts)
    return flow, begins


@njit(nogil=True)
def assemble(
    packets: Any, at: Any, end: Any, sessions: Any, flows: Any, state: Any, rules: Any, whole: Any, serials: Any
) -> Any:
    """Enter packets ``at`` to ``end`` of the window, in time order, into flows; returns the first that there was no
    room for.

    ``serials`` (window,), if it is not None, becomes the serial numbers of their flows, -1 for a packet that was left
    out.
    """
    rows, table, heads, gaps, numbers = (
        address(sessions.rows),
        address(flows.rows),
        address(flows.heads),
        address(flows.gaps),
        address(state),
    )
    while at < end and state[N_LOG] < len(flows.heads) and state[N_FLOWS] < len(flows.rows):
        bits = np.int64(packets.bits[at])
        if serials is not None:
            serials[at] = -1
        if not (bits & MIRRORED and rules.remove_mirrored):
            session, ts, win = np.int64(packets.session[at]), packets.ts[at], np.int64(packets.win[at])
            row = rows + 64 * session
            flow, begins = _enter(
                ts, np.int64(packets.size[at]), win, bits, session, row, table, heads, gaps, numbers, rules
            )
            if begins:
                flows.rows[flow, SRC_MAC], flows.rows[flow, DST_MAC] = packets.macs[at, 0], packets.macs[at, 1]
            if serials is not None:
                serials[at] = flows.rows[flow, SERIAL]
            if whole is not None:
                if begins:
                    begin(whole[flow])
                backward = (bits ^ word(row, META)) & 1
                update(
                    whole[flow],
                    ts,
                    np.int64(packets.payload[at]),
                    np.int64(packets.header[at]),
                    np.int64(packets.flags[at]),
                    win,
                    backward,
                )
        at += 1
    return at


@njit(nogil=True)
def _nanoseconds(high: Any, low: Any, row: Any) -> Any:
    """A pcapng timestamp in ns since the epoch, or -1 where int64 cannot hold it or the interface's resolution is
    nonsense."""
    ticks = np.uint64(high << 32 | low)
    if word(row, SHIFT) >= 0:
        shift = word(row, SHIFT)
        seconds = np.int64(ticks >> np.uint64(shift))
        if seconds < 0 or seconds > MAX_SECONDS:
            return np.int64(-1)
        kept = min(shift, 30)
        fraction = np.int64((ticks >> np.uint64(shift - kept)) & np.uint64((1 << kept) - 1))
        ns = seconds * 1_000_000_000 + ((fraction * 1_000_000_000) >> kept)
    else:
        if word(row, MULTIPLY) <= 0:
            return np.int64(-1)
        units = ticks // np.uint64(word(row, DIVIDE))
        if units > np.uint64(MAX_SECONDS * 1_000_000_000 // word(row, MULTIPLY)):
            return np.int64(-1)
        ns = np.int64(units) * word(row, MULTIPLY)
    ns += word(row, OFFSET)
    return ns if 0 <= ns <= MAX_SECONDS * 1_000_000_000 else np.int64(-1)


@njit(nogil=True)
def _block(buf: Any, at: Any, end: Any, big: Any, interfaces: Any, n_interfaces: Any, counts: Any, state: Any) -> Any:
    """A pcapng block: (status, first byte after it, packet's first byte, captured length, original length, ts,
    interface).

    Section headers and interface descriptions are left to the caller (``BLOCK_FOR_CALLER``); unknown blocks are
    skipped.
    """
    if at + 12 > end:
        return NEED_DATA, at, 0, 0, 0, 0, 0
    kind = u32(buf, at, big)
    if kind == 0x0A0D0D0A:
        return BLOCK_FOR_CALLER, at, 0, 0, 0, 0, 0
    size = u32(buf, at + 4, big)
    if size < 12 or size % 4 != 0:
        return CORRUPT, at, 0, 0, 0, 0, 0
    if kind != 1 and kind != 2 and kind != 3 and kind != 6:
        if at + size > end:
            put(state, SKIP, at + size - end)
            return NEED_DATA, end, 0, 0, 0, 0, 0
        return SKIPPED, at + size, 0, 0, 0, 0, 0
    if size > MAX_BLOCK:
        return CORRUPT, at, 0, 0, 0, 0, 0
    if at + size > end:
        return NEED_DATA, at, 0, 0, 0, 0, 0
    if u32(buf, at + size - 4, big) != size:
        return CORRUPT, at, 0, 0, 0, 0, 0
    if kind == 1:
        return BLOCK_FOR_CALLER, at, 0, 0, 0, 0, 0
    reason = net.USED
    interface, captured, ts = 0, 0, 0
    if kind == 3:  # simple packet block
        reason = net.NO_TIMESTAMP
    else:
        if size < 32:
            return CORRUPT, at, 0, 0, 0, 0, 0
        captured = u32(buf, at + 20, big)
        if captured > size - 32:
            return CORRUPT, at, 0, 0, 0, 0, 0
        interface = u32(buf, at + 8, big)
        if kind == 2:  # the obsolete packet block: 16 bits of it, then a count of drops
            interface = interface >> 16 if big else interface & 0xFFFF
        if interface >= n_interfaces:
            reason = net.UNKNOWN_INTERFACE
        else:
            ts = _nanoseconds(
                u32(buf, at + 12, big), u32(buf, at + 16, big), interfaces + 8 * INTERFACE_WORDS * interface
            )
            if ts < 0:
                reason = net.BAD_TIMESTAMP
    if reason != net.USED:
        count(state, N_RECORDS, 1)
        count(counts, reason, 1)
        return SKIPPED, at + size, 0, 0, 0, 0, 0
    return PACKET, at + size, at + 28, captured, u32(buf, at + 24, big), ts, interface


@njit(nogil=True)
def _room(packets: Any, sessions: Any, flows: Any, state: Any, stream: Any) -> Any:
    """Packets that there is room for whatever they are."""
    room = len(sessions.rows) - state[N_SESSIONS]
    if stream is not None:
        room = min(room, len(stream.time) - state[N_ROWS])
    if state[AT_ONCE]:
        return min(room, len(flows.rows) - state[N_FLOWS], len(flows.heads) - state[N_LOG])
    return min(room, len(packets.ts) - state[N_PACKETS])


@njit(nogil=True)
def scan(
    buffer: Any,
    at: Any,
    end: Any,
    classic: Any,
    big: Any,
    interfaces: Any,
    n_interfaces: Any,
    packets: Any,
    sessions: Any,
    flows: Any,
    whole: Any,
    rules: Any,
    counts: Any,
    state: Any,
    stream: Any,
) -> Any:
    """Records of a capture in ``buffer[at:end]``: (first byte not consumed, what it stopped for).

    ``classic``: bytes before each packet in a classic pcap, whose only interface's ``MULTIPLY`` is the nanoseconds of
    one unit of a record's fraction of a second; 0: pcapng.
    ``AT_ONCE``: packets go to ``flows``, and to the accumulators ``whole`` (flows' capacity, K) if that is not None;
    else to ``packets``. ``stream``: ``names.Rows``, which every frame goes to, or None.
    """
    buf, numbers, tallies, lines = address(buffer), address(state), address(counts), address(interfaces)
    rows, keys, table, mask = (
        address(sessions.rows),
        address(sessions.keys),
        address(sessions.table),
        len(sessions.table) - 1,
    )
    flow_rows, heads, gaps = address(flows.rows), address(flows.heads), address(flows.gaps)
    scratch, scratch_key = np.empty(frames.N_FIELDS, np.int64), np.empty(KEY_WORDS, np.int64)
    fields, key = address(scratch), address(scratch_key)
    at_once, base, latest = state[AT_ONCE] != 0, state[BASE], state[LATEST]
    link, unit, type_at, ip_at = (
        interfaces[0, LINK],
        interfaces[0, MULTIPLY],
        interfaces[0, TYPE_AT],
        interfaces[0, IP_AT],
    )
    room = used = np.int64(0)
    while True:
        if room == 0:
            room = _room(packets, sessions, flows, state, stream)
            if room == 0:
                status = NEED_ROOM
                break
        if classic:
            if at + classic > end:
                status = NEED_DATA
                break
            captured, wire = u32(buf, at + 8, big), u32(buf, at + 12, big)
            fraction = u32(buf, at + 4, big) * unit
            ts = u32(buf, at, big) * 1_000_000_000 + fraction
            body = at + classic
            following = body + captured
            if captured > MAX_RECORD:
                status = CORRUPT
                break
            if following > end:
                status = NEED_DATA
                break
            if fraction >= 1_000_000_000:
                counts[net.BAD_TIMESTAMP] += 1
                state[N_RECORDS] += 1
                at = following
                continue
        else:
            status, following, body, captured, wire, ts, interface = _block(
                buf, at, end, big, lines, n_interfaces, tallies, numbers
            )
            if status == SKIPPED:
                at = following
                continue
            if status != PACKET:
                at = following
                break
            line = lines + 8 * INTERFACE_WORDS * interface
            link, type_at, ip_at = word(line, LINK), word(line, TYPE_AT), word(line, IP_AT)
        late = ts < latest

        # Nearly all packets: IPv4 without options, not a fragment, TCP or UDP, headers captured.  The rest, and the odd
        # ones, take the long way.
        ip = body + ip_at
        protocol, length = byte(buf, ip + 9), be16(buf, ip + 2)
        is_tcp = protocol == 6
        need = 36 if is_tcp else 24
        plain = (
            (type_at >= 0)
            & (be16(buf, body + type_at) == 0x0800)
            & (byte(buf, ip) == 0x45)
            & (be16(buf, ip + 6) & 0x3FFF == 0)
        )
        plain &= (length <= wire - ip_at) & (captured <= wire) & (wire <= MAX_RECORD)
        if plain & (is_tcp | (protocol == 17)) & (length >= need) & (captured >= ip_at + need):
            a, b, second = short_key(be64(buf, ip + 12), protocol, be32(buf, ip + 20))
            tcp = be32(buf, ip + 32) if is_tcp else 0
            flags, win = tcp >> 16 & 0xFF, tcp & 0xFFFF
            header = min(tcp >> 26 & 60, length - 20) if is_tcp else 8
            payload = length - 20 - header
            kind, ports, icmp = np.int64(4), ip + 20, np.int64(0)
        else:
            # no packet was ever like that: what was captured is all that is known
            if wire < captured or wire > MAX_RECORD:
                wire = captured
                counts[net.NOTE_ODD_ORIGINAL_LENGTH] += 1
            reason = decode(buf, body, body + captured, wire, link, big, fields, key, tallies)
            kind, ip, protocol, ports = (
                word(fields, frames.KIND),
                word(fields, frames.IP),
                word(fields, frames.PROTOCOL),
                word(fields, frames.PORTS),
            )
            if reason != net.USED:
                counts[reason] += 1
                state[N_RECORDS] += 1
                at = following
                if stream is not None:
                    add_row(
                        stream,
                        state[N_ROWS],
                        buf,
                        body,
                        body + captured,
                        wire,
                        ts,
                        link == 1,
                        kind,
                        ip,
                        protocol,
                        ports,
                    )
                    state[N_ROWS] += 1
                    room -= 1
                continue
            length, win, flags = word(fields, frames.LENGTH), word(fields, frames.WIN), word(fields, frames.FLAGS)
            a, b, second = word(fields, frames.A), word(fields, frames.B), word(fields, frames.SECOND) != 0
            payload, header = word(fields, frames.PAYLOAD), word(fields, frames.HEADER)
            icmp = word(fields, frames.ICMP) << 48

        if late and at_once:
            status = UNORDERED
            break
        session = find_session(rows, keys, table, mask, numbers, a, b, key)
        row = rows + 64 * session
        bits = flags & 2 | (flags & 1) << 2 | (flags & 28) << 1 | np.int64(second)  # SYN, FIN, RST PSH ACK
        size = min(length, 65535)
        if _mirrored(buf, ip, min(body + captured, ip + length) - ip, ts, row, base):
            counts[net.NOTE_MIRRORED] += 1
            counts[net.NOTE_MIRRORED_WITHOUT_ID] += a < 0 or be16(buf, ip + 4) == 0
            bits |= MIRRORED
        latest = max(ts, latest)
        used += 1
        room -= 1
        at = following
        removed = bits & MIRRORED != 0 and rules.remove_mirrored
        if stream is not None and not removed:
            add_row(stream, state[N_ROWS], buf, body, body + captured, wire, ts, link == 1, kind, ip, protocol, ports)
            state[N_ROWS] += 1
        if at_once:
            if removed:
                continue
            flow, begins = _enter(ts, size, win, bits, session, row, flow_rows, heads, gaps, numbers, rules)
            if begins:
                is_ethernet = link == 1
                put(flow_rows, FLOW_WORDS * flow + SRC_MAC, icmp | (be64(buf, body + 4) & MAC if is_ethernet else 0))
                put(flow_rows, FLOW_WORDS * flow + DST_MAC, be64(buf, body) >> 16 & MAC if is_ethernet else 0)
            if whole is not None:
                if begins:
                    begin(whole[flow])
                update(whole[flow], ts, payload, header, flags, win, (bits ^ word(row, META)) & 1)
            if stream is not None:
                stream.flow[state[N_ROWS] - 1] = word(flow_rows, FLOW_WORDS * flow + SERIAL)
        else:
            n = state[N_PACKETS]
            packets.ts[n], packets.session[n], packets.size[n], packets.win[n], packets.bits[n] = (
                ts,
                session,
                size,
                win,
                bits,
            )
            packets.macs[n, 0] = icmp | (be64(buf, body + 4) & MAC if link == 1 else 0)
            packets.macs[n, 1] = be64(buf, body) >> 16 & MAC if link == 1 else 0
            packets.payload[n], packets.header[n], packets.flags[n] = payload, header, flags
            if stream is not None:
                stream.of_packet[n] = state[ROWS_BEFORE] + state[N_ROWS] - 1
            state[N_PACKETS] = n + 1
            state[LATE] += late
    state[LATEST] = latest
    state[N_RECORDS] += used
    counts[net.USED] += used
    return at, status
