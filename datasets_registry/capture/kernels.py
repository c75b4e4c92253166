"""Numba kernels: the bytes of a capture → packet columns and interned 5-tuples, in one pass.

All of them in one file on purpose: numba's on-disk cache notices a change in the file of the function that it compiled, not in the files of the
functions which that one calls.  Bounds are not checked by numba: every read below is preceded by a comparison with ``end``, the first byte that
was not captured.  Arithmetic on offsets and lengths is int64 throughout; uint64 is used for addresses and hashes only (mixing them gives floats).
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

__all__ = ["KEY_WORDS", "REASONS", "Packets", "Sessions", "rehash", "scan_pcap", "scan_pcapng"]

# Why a packet was not used; the position is the code that the kernels count under.
REASONS = (
    "used",
    "non_ip",
    "unsupported_link_type",
    "unsupported_encapsulation",
    "truncated",
    "bad_header",
    "bad_timestamp",
    "no_timestamp",
    "unknown_interface",
    "corrupt_record",
    "cut_by_end_of_file",
    "corrupt_compression",
    # Packets that were used, and something about them is worth a count.
    "note_tunnel",
    "note_later_fragment",
    "note_tcp_header_cut",
    "note_length_from_record",
)
(
    USED,
    NON_IP,
    UNSUPPORTED_LINK_TYPE,
    UNSUPPORTED_ENCAPSULATION,
    TRUNCATED,
    BAD_HEADER,
    BAD_TIMESTAMP,
    NO_TIMESTAMP,
    UNKNOWN_INTERFACE,
    CORRUPT_RECORD,
    CUT_BY_END_OF_FILE,
    CORRUPT_COMPRESSION,
    NOTE_TUNNEL,
    NOTE_LATER_FRAGMENT,
    NOTE_TCP_HEADER_CUT,
    NOTE_LENGTH_FROM_RECORD,
) = range(len(REASONS))

# What a scan stopped for.
NEED_DATA, NEED_ROOM, CORRUPT, BLOCK_FOR_CALLER = range(4)

# ``state``: packets stored, sessions known, records seen, bytes to skip beyond the buffer.
N_PACKETS, N_SESSIONS, N_RECORDS, SKIP = range(4)

# Columns of the interface table (pcapng; classic pcap has one row): link type, ticks → ns as multiply, divide or binary shift, offset in ns.
LINK, MULTIPLY, DIVIDE, SHIFT, OFFSET = range(5)

KEY_WORDS = 5
MAX_RECORD = 262_144  # the largest captured length that libpcap accepts
MAX_BLOCK = MAX_RECORD + 65_536  # a packet block and its options
MAX_SECONDS = 9_000_000_000  # int64 nanoseconds end in the year 2262

_MIX = np.uint64(0x9E3779B97F4A7C15)
_HALF = np.uint64(32)


class Packets(NamedTuple):
    """Growable packet columns; the first ``state[N_PACKETS]`` entries are filled.

    ts int64, ns since the epoch; session int32; size uint16, IP length; win uint16; bits uint8: TCP flags as in ``schema.BIT_OF``, and in place of
    the direction whether the sender is the session's second endpoint.
    """

    ts: NDArray[np.int64]
    session: NDArray[np.int32]
    size: NDArray[np.uint16]
    win: NDArray[np.uint16]
    bits: NDArray[np.uint8]


class Sessions(NamedTuple):
    """Interned 5-tuples: ``keys`` (capacity, 5) uint64 and an open-addressing ``table`` (power of two) int32 into them, -1 = free.

    A key is the lower endpoint's address (two words), the upper one's, and IP version << 40 | protocol << 32 | lower port << 16 | upper port.
    """

    keys: NDArray[np.uint64]
    table: NDArray[np.int32]


@njit(cache=True, nogil=True)
def _be16(buf: Any, at: Any) -> Any:
    return np.int64(buf[at]) << 8 | np.int64(buf[at + 1])


@njit(cache=True, nogil=True)
def _be32(buf: Any, at: Any) -> Any:
    return _be16(buf, at) << 16 | _be16(buf, at + 2)


@njit(cache=True, nogil=True)
def _be64(buf: Any, at: Any) -> Any:
    return np.uint64(_be32(buf, at)) << _HALF | np.uint64(_be32(buf, at + 4))


@njit(cache=True, nogil=True)
def _u32(buf: Any, at: Any, big: Any) -> Any:
    value = _be32(buf, at)
    return value if big else (value & 0xFF) << 24 | (value & 0xFF00) << 8 | (value >> 8) & 0xFF00 | value >> 24


@njit(cache=True, nogil=True)
def _after_ethertype(buf: Any, ethertype: Any, at: Any, end: Any) -> Any:
    """Past any VLAN tags (802.1Q, 802.1ad, the older QinQ values): (reason, IP version, offset)."""
    while ethertype == 0x8100 or ethertype == 0x88A8 or ethertype == 0x9100 or ethertype == 0x9200:
        if at + 4 > end:
            return TRUNCATED, 0, at
        ethertype = _be16(buf, at + 2)
        at += 4
    if ethertype == 0x0800:
        return USED, 4, at
    if ethertype == 0x86DD:
        return USED, 6, at
    if ethertype == 0x8847 or ethertype == 0x8848 or ethertype == 0x8864:  # MPLS, PPPoE session
        return UNSUPPORTED_ENCAPSULATION, 0, at
    return NON_IP, 0, at


@njit(cache=True, nogil=True)
def _network_layer(buf: Any, at: Any, end: Any, link: Any) -> Any:
    """Where the IP header of a frame starts: (reason, IP version, offset).  A new link type is one more branch here."""
    if link == 1:  # Ethernet
        if at + 14 > end:
            return TRUNCATED, 0, at
        return _after_ethertype(buf, _be16(buf, at + 12), at + 14, end)
    if link == 113:  # Linux cooked v1
        if at + 16 > end:
            return TRUNCATED, 0, at
        return _after_ethertype(buf, _be16(buf, at + 14), at + 16, end)
    if link == 276:  # Linux cooked v2
        if at + 20 > end:
            return TRUNCATED, 0, at
        return _after_ethertype(buf, _be16(buf, at), at + 20, end)
    if link == 101 or link == 12 or link == 14:  # raw IP: LINKTYPE_RAW, and DLT_RAW of two systems
        if at >= end:
            return TRUNCATED, 0, at
        version = np.int64(buf[at]) >> 4
        return (USED, version, at) if version == 4 or version == 6 else (BAD_HEADER, 0, at)
    if link == 228:
        return USED, 4, at
    if link == 229:
        return USED, 6, at
    if link == 0 or link == 108:  # BSD loopback: the address family in the capturing host's byte order, or big-endian
        if at + 4 > end:
            return TRUNCATED, 0, at
        family = min(_be32(buf, at), _u32(buf, at, False))
        if family == 2:
            return USED, 4, at + 4
        # AF_INET6 of Linux, Windows, NetBSD and OpenBSD, FreeBSD, Darwin
        if family == 10 or family == 23 or family == 24 or family == 28 or family == 30:
            return USED, 6, at + 4
        return NON_IP, 0, at
    return UNSUPPORTED_LINK_TYPE, 0, at


@njit(cache=True, nogil=True)
def _ipv4(buf: Any, at: Any, end: Any, wire: Any) -> Any:
    """(reason, protocol, transport offset, IP length, is a later fragment, length came from the record); ``wire``: bytes from ``at`` on the wire."""
    if at + 20 > end:
        return TRUNCATED, 0, at, 0, False, False
    header = (np.int64(buf[at]) & 15) * 4
    if buf[at] >> 4 != 4 or header < 20:
        return BAD_HEADER, 0, at, 0, False, False
    if at + header > end:
        return TRUNCATED, 0, at, 0, False, False
    length = _be16(buf, at + 2)
    from_record = length < header  # 0 under segmentation offload
    if from_record:
        length = wire
        if length < header:
            return BAD_HEADER, 0, at, 0, False, False
    later = _be16(buf, at + 6) & 0x1FFF != 0
    return USED, np.int64(buf[at + 9]), at + header, length, later, from_record


@njit(cache=True, nogil=True)
def _ipv6(buf: Any, at: Any, end: Any, wire: Any) -> Any:
    """As ``_ipv4``; the protocol is the one after the extension headers (RFC 8200)."""
    if at + 40 > end:
        return TRUNCATED, 0, at, 0, False, False
    if buf[at] >> 4 != 6:
        return BAD_HEADER, 0, at, 0, False, False
    length = _be16(buf, at + 4) + 40
    from_record = length == 40 and buf[at + 6] != 59  # jumbogram or segmentation offload, not "no next header"
    if from_record:
        length = wire
    protocol = np.int64(buf[at + 6])
    limit = at + length
    at += 40
    # hop-by-hop, routing, fragment, authentication, destination options, mobility, HIP, shim6
    while (
        protocol == 0 or protocol == 43 or protocol == 44 or protocol == 51 or protocol == 60 or protocol == 135 or protocol == 139 or protocol == 140
    ):
        if at + 8 > limit:
            return BAD_HEADER, 0, at, 0, False, False
        if at + 8 > end:
            return TRUNCATED, 0, at, 0, False, False
        following = np.int64(buf[at])
        if protocol == 44:
            if _be16(buf, at + 2) & 0xFFF8 != 0:
                return USED, following, at + 8, length, True, from_record
            at += 8
        elif protocol == 51:
            at += (np.int64(buf[at + 1]) + 2) * 4
        else:
            at += (np.int64(buf[at + 1]) + 1) * 8
        protocol = following
    if at > limit:
        return BAD_HEADER, 0, at, 0, False, False
    return USED, protocol, at, length, False, from_record


@njit(cache=True, nogil=True)
def _slot(table: Any, keys: Any, a: Any, b: Any, c: Any, d: Any, e: Any) -> Any:
    """The slot of a key in the table: its own, or the free one where it belongs."""
    mask = np.uint64(len(table) - 1)
    hashed = _MIX
    for word in (a, b, c, d, e):
        hashed = (hashed ^ word) * _MIX
        hashed ^= hashed >> _HALF
    slot = np.int64(hashed & mask)
    while True:
        at = table[slot]
        if at < 0 or (keys[at, 0] == a and keys[at, 1] == b and keys[at, 2] == c and keys[at, 3] == d and keys[at, 4] == e):
            return slot
        slot = (slot + 1) & np.int64(mask)


@njit(cache=True, nogil=True)
def rehash(keys: Any, n: Any, table: Any) -> None:
    """Enter the first ``n`` keys into an empty table."""
    for i in range(n):
        table[_slot(table, keys, keys[i, 0], keys[i, 1], keys[i, 2], keys[i, 3], keys[i, 4])] = i


@njit(cache=True, nogil=True)
def _session(sessions: Any, state: Any, src: Any, dst: Any, ports: Any, rest: Any) -> Any:
    """(session, sender is the second endpoint) of a packet, interning its 5-tuple."""
    swap = (dst[0], dst[1], ports[1]) < (src[0], src[1], ports[0])
    if swap:
        src, dst, ports = dst, src, (ports[1], ports[0])
    last = np.uint64(rest << 32 | ports[0] << 16 | ports[1])
    slot = _slot(sessions.table, sessions.keys, src[0], src[1], dst[0], dst[1], last)
    found = np.int64(sessions.table[slot])
    if found < 0:
        found = state[N_SESSIONS]
        key = sessions.keys[found]
        key[0], key[1], key[2], key[3], key[4] = src[0], src[1], dst[0], dst[1], last
        sessions.table[slot] = found
        state[N_SESSIONS] = found + 1
    return found, swap


@njit(cache=True, nogil=True)
def _frame(buf: Any, at: Any, end: Any, wire: Any, link: Any, ts: Any, packets: Any, sessions: Any, counts: Any, state: Any) -> Any:
    """Decode one captured frame and store it; the reason is ``USED`` or why it was not."""
    start = at
    reason, version, at = _network_layer(buf, at, end, link)
    if reason != USED:
        return reason
    wire -= at - start
    if version == 4:
        reason, protocol, transport, length, later, from_record = _ipv4(buf, at, end, wire)
    else:
        reason, protocol, transport, length, later, from_record = _ipv6(buf, at, end, wire)
    if reason != USED:
        return reason

    ports, win, bits = (np.int64(0), np.int64(0)), np.int64(0), np.int64(0)
    # TCP, UDP, DCCP, SCTP, UDP-Lite
    if (protocol == 6 or protocol == 17 or protocol == 33 or protocol == 132 or protocol == 136) and not later:
        if transport + 4 > at + length:
            return BAD_HEADER
        if transport + 4 > end:
            return TRUNCATED
        ports = (_be16(buf, transport), _be16(buf, transport + 2))
        if protocol == 6:
            if transport + 16 > min(end, at + length):
                counts[NOTE_TCP_HEADER_CUT] += 1
            else:
                flags = np.int64(buf[transport + 13])
                bits = flags & 2 | (flags & 1) << 2 | (flags & 28) << 1  # SYN, FIN, RST PSH ACK
                win = _be16(buf, transport + 14)

    zero = np.uint64(0)
    if version == 4:
        src, dst = (zero, np.uint64(_be32(buf, at + 12))), (zero, np.uint64(_be32(buf, at + 16)))
    else:
        src, dst = (_be64(buf, at + 8), _be64(buf, at + 16)), (_be64(buf, at + 24), _be64(buf, at + 32))
    session, second = _session(sessions, state, src, dst, ports, version << 8 | protocol)

    # IP in IP, IPv6 in IP, GRE, EtherIP, L2TPv3, MPLS in IP
    if protocol == 4 or protocol == 41 or protocol == 47 or protocol == 97 or protocol == 115 or protocol == 137:
        counts[NOTE_TUNNEL] += 1
    counts[NOTE_LATER_FRAGMENT] += later
    counts[NOTE_LENGTH_FROM_RECORD] += from_record
    n = state[N_PACKETS]
    packets.ts[n] = ts
    packets.session[n] = session
    packets.size[n] = min(max(length, 0), 65535)
    packets.win[n] = win
    packets.bits[n] = bits | np.int64(second)
    state[N_PACKETS] = n + 1
    return USED


@njit(cache=True, nogil=True)
def _full(packets: Any, sessions: Any, state: Any) -> Any:
    return state[N_PACKETS] >= len(packets.ts) or state[N_SESSIONS] >= len(sessions.keys)


@njit(cache=True, nogil=True)
def scan_pcap(buf: Any, at: Any, end: Any, big: Any, interface: Any, packets: Any, sessions: Any, counts: Any, state: Any) -> Any:
    """Records of a classic pcap in ``buf[at:end]``: (first byte not consumed, what it stopped for).

    ``interface`` (1, 5): its ``MULTIPLY`` is the nanoseconds of one unit of a record's fraction of a second.
    """
    while True:
        if at + 16 > end:
            return at, NEED_DATA
        captured = _u32(buf, at + 8, big)
        if captured > MAX_RECORD:
            return at, CORRUPT
        if at + 16 + captured > end:
            return at, NEED_DATA
        if _full(packets, sessions, state):
            return at, NEED_ROOM
        ts = _u32(buf, at, big) * 1_000_000_000 + _u32(buf, at + 4, big) * interface[0, MULTIPLY]
        state[N_RECORDS] += 1
        body = at + 16
        counts[_frame(buf, body, body + captured, _u32(buf, at + 12, big), interface[0, LINK], ts, packets, sessions, counts, state)] += 1
        at = body + captured


@njit(cache=True, nogil=True)
def _nanoseconds(high: Any, low: Any, row: Any) -> Any:
    """A pcapng timestamp in ns since the epoch, or -1 where int64 cannot hold it or the interface's resolution is nonsense."""
    ticks = np.uint64(high) << _HALF | np.uint64(low)
    if row[SHIFT] >= 0:
        shift = row[SHIFT]
        seconds = np.int64(ticks >> np.uint64(shift))
        if seconds < 0 or seconds > MAX_SECONDS:
            return np.int64(-1)
        kept = min(shift, 30)
        fraction = np.int64((ticks >> np.uint64(shift - kept)) & np.uint64((1 << kept) - 1))
        ns = seconds * 1_000_000_000 + ((fraction * 1_000_000_000) >> kept)
    else:
        if row[MULTIPLY] <= 0:
            return np.int64(-1)
        units = ticks // np.uint64(row[DIVIDE])
        if units > np.uint64(MAX_SECONDS * 1_000_000_000 // row[MULTIPLY]):
            return np.int64(-1)
        ns = np.int64(units) * row[MULTIPLY]
    ns += row[OFFSET]
    return ns if 0 <= ns <= MAX_SECONDS * 1_000_000_000 else np.int64(-1)


@njit(cache=True, nogil=True)
def scan_pcapng(
    buf: Any, at: Any, end: Any, big: Any, interfaces: Any, n_interfaces: Any, packets: Any, sessions: Any, counts: Any, state: Any
) -> Any:
    """Blocks of a pcapng in ``buf[at:end]``: (first byte not consumed, what it stopped for).

    Section headers and interface descriptions are left to the caller (``BLOCK_FOR_CALLER``); unknown blocks are skipped.
    """
    while True:
        if at + 12 > end:
            return at, NEED_DATA
        kind = _u32(buf, at, big)
        if kind == 0x0A0D0D0A:
            return at, BLOCK_FOR_CALLER
        size = _u32(buf, at + 4, big)
        if size < 12 or size % 4 != 0:
            return at, CORRUPT
        if kind != 1 and kind != 2 and kind != 3 and kind != 6:
            if at + size > end:
                state[SKIP] = at + size - end
                return end, NEED_DATA
            at += size
            continue
        if size > MAX_BLOCK:
            return at, CORRUPT
        if at + size > end:
            return at, NEED_DATA
        if _u32(buf, at + size - 4, big) != size:
            return at, CORRUPT
        if kind == 1:
            return at, BLOCK_FOR_CALLER
        if kind == 3:  # simple packet block
            state[N_RECORDS] += 1
            counts[NO_TIMESTAMP] += 1
            at += size
            continue
        if _full(packets, sessions, state):
            return at, NEED_ROOM
        if size < 32:
            return at, CORRUPT
        captured = _u32(buf, at + 20, big)
        if captured > size - 32:
            return at, CORRUPT
        interface = _u32(buf, at + 8, big)
        if kind == 2:  # the obsolete packet block: 16 bits of it, then a count of drops
            interface = interface >> 16 if big else interface & 0xFFFF
        state[N_RECORDS] += 1
        if interface >= n_interfaces:
            counts[UNKNOWN_INTERFACE] += 1
        else:
            row = interfaces[interface]
            ts = _nanoseconds(_u32(buf, at + 12, big), _u32(buf, at + 16, big), row)
            if ts < 0:
                counts[BAD_TIMESTAMP] += 1
            else:
                body = at + 28
                counts[_frame(buf, body, body + captured, _u32(buf, at + 24, big), row[LINK], ts, packets, sessions, counts, state)] += 1
        at += size
