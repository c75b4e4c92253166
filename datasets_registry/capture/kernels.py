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
    "encrypted",
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
    "note_vn_tag",
    "note_mirrored",
)
(
    USED,
    NON_IP,
    UNSUPPORTED_LINK_TYPE,
    UNSUPPORTED_ENCAPSULATION,
    ENCRYPTED,
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
    NOTE_VN_TAG,
    NOTE_MIRRORED,
) = range(len(REASONS))

# What a scan stopped for.
NEED_DATA, NEED_ROOM, CORRUPT, BLOCK_FOR_CALLER = range(4)

# ``state``: packets stored, sessions known, records seen, bytes to skip beyond the buffer, offset in the file of the buffer's first byte, latest
# timestamp so far, packets before the latest one of their time.
STATE_WORDS = 7
N_PACKETS, N_SESSIONS, N_RECORDS, SKIP, BASE, LATEST, LATE = range(STATE_WORDS)

# Columns of the interface table (pcapng; classic pcap has one row): link type, ticks → ns as multiply, divide or binary shift, offset in ns.
LINK, MULTIPLY, DIVIDE, SHIFT, OFFSET = range(5)

# Layers between a link type and IP: below 1 << 16 a link type, then the 2 ** 16 EtherTypes, then what has no EtherType.
ETHERTYPE = 1 << 16
IPV4, IPV6 = ETHERTYPE + 0x0800, ETHERTYPE + 0x86DD
LLC, PPP, MPLS, WLAN, WLAN_PADDED = range(2 * ETHERTYPE, 2 * ETHERTYPE + 5)

KEY_WORDS = 5
MIRRORED = 1 << 6  # bit of a packet's ``bits``: a second copy of the session's packet before it
# Copies of CIC-DDoS2019's mirror port: 88 % within 10 µs, all but three of the others within 100 µs; a retransmission takes longer.
MIRROR_WINDOW = 100_000
MAX_RECORD = 262_144  # the largest captured length that libpcap accepts
MAX_BLOCK = MAX_RECORD + 65_536  # a packet block and its options
MAX_SECONDS = 9_000_000_000  # int64 nanoseconds end in the year 2262

_MIX = np.uint64(0x9E3779B97F4A7C15)
_HALF = np.uint64(32)
_ONE, _TWO, _THREE = np.uint64(1), np.uint64(2), np.uint64(3)


class Packets(NamedTuple):
    """Growable packet columns; the first ``state[N_PACKETS]`` entries are filled.

    ts int64, ns since the epoch; session int32; size uint16, IP length; win uint16; bits uint8: TCP flags as in ``schema.BIT_OF``, ``MIRRORED``, and
    in place of the direction whether the sender is the session's second endpoint.
    """

    ts: NDArray[np.int64]
    session: NDArray[np.int32]
    size: NDArray[np.uint16]
    win: NDArray[np.uint16]
    bits: NDArray[np.uint8]


class Sessions(NamedTuple):
    """Interned 5-tuples: ``keys`` (capacity, 5) uint64 and an open-addressing ``table`` (power of two) int32 into them, -1 = free.

    A key is the lower endpoint's address (two words), the upper one's, and IP version << 40 | protocol << 32 | lower port << 16 | upper port.
    ``recent`` (capacity, 3) int64 is each session's last packet: time, offset in the file, captured IP bytes (-1: nothing equals it).
    """

    keys: NDArray[np.uint64]
    recent: NDArray[np.int64]
    table: NDArray[np.int32]


@njit(cache=True, nogil=True)
def _be16(buf: Any, at: Any) -> Any:
    i = np.uint64(at)  # an unsigned index spares the test for a negative one, and lets the compiler join the loads
    return np.int64(buf[i]) << 8 | np.int64(buf[i + _ONE])


@njit(cache=True, nogil=True)
def _be32(buf: Any, at: Any) -> Any:
    i = np.uint64(at)
    high = np.int64(buf[i]) << 24 | np.int64(buf[i + _ONE]) << 16
    return high | np.int64(buf[i + _TWO]) << 8 | np.int64(buf[i + _THREE])


@njit(cache=True, nogil=True)
def _be64(buf: Any, at: Any) -> Any:
    return np.uint64(_be32(buf, at)) << _HALF | np.uint64(_be32(buf, at + 4))


@njit(cache=True, nogil=True)
def _u32(buf: Any, at: Any, big: Any) -> Any:
    value = _be32(buf, at)
    return value if big else (value & 0xFF) << 24 | (value & 0xFF00) << 8 | (value >> 8) & 0xFF00 | value >> 24


@njit(cache=True, nogil=True)
def _u16(buf: Any, at: Any, big: Any) -> Any:
    value = _be16(buf, at)
    return value if big else (value & 0xFF) << 8 | value >> 8


@njit(cache=True, nogil=True)
def _link_header(buf: Any, at: Any, end: Any, link: Any, big: Any) -> Any:
    """Past the header of a link type other than Ethernet: (reason, layer, offset).  A new link type is one more branch here."""
    if link == 113:  # Linux cooked v1
        if at + 16 > end:
            return TRUNCATED, 0, at
        kind = _be16(buf, at + 14)
        return USED, LLC if kind == 4 else ETHERTYPE + kind, at + 16
    if link == 276:  # Linux cooked v2
        if at + 20 > end:
            return TRUNCATED, 0, at
        kind = _be16(buf, at)
        return USED, LLC if kind == 4 else ETHERTYPE + kind, at + 20
    if link == 101 or link == 12 or link == 14:  # raw IP: LINKTYPE_RAW, and DLT_RAW of two systems
        if at >= end:
            return TRUNCATED, 0, at
        version = np.int64(buf[at]) >> 4
        if version != 4 and version != 6:
            return BAD_HEADER, 0, at
        return USED, IPV4 if version == 4 else IPV6, at
    if link == 228:
        return USED, IPV4, at
    if link == 229:
        return USED, IPV6, at
    if link == 0 or link == 108:  # BSD loopback: the address family in the capturing host's byte order, or big-endian
        if at + 4 > end:
            return TRUNCATED, 0, at
        family = min(_be32(buf, at), _u32(buf, at, False))
        # AF_INET6 of Linux, Windows, NetBSD and OpenBSD, FreeBSD, Darwin
        if family == 10 or family == 23 or family == 24 or family == 28 or family == 30:
            return USED, IPV6, at + 4
        return USED if family == 2 else NON_IP, IPV4, at + 4
    if link == 9 or link == 50 or link == 204:  # PPP, with or without RFC 1662's address and control; 204: after a byte for the direction
        at += link == 204
        if at + 2 > end:
            return TRUNCATED, 0, at
        head = _be16(buf, at)
        if link == 50 and (head == 0x0F00 or head == 0x8F00):
            return USED, 104, at
        return USED, PPP, at + 2 if head == 0xFF03 else at
    if link == 51:  # PPPoE
        return USED, ETHERTYPE + 0x8864, at
    if link == 104:  # Cisco HDLC
        if at + 4 > end:
            return TRUNCATED, 0, at
        return USED, ETHERTYPE + _be16(buf, at + 2), at + 4
    if link == 107:
        return _frame_relay(buf, at, end)
    if link == 105:
        return USED, WLAN, at
    if link == 127:
        return _radiotap(buf, at, end)
    if link == 192:  # per-packet information: little-endian, names the link type of what follows
        if at + 8 > end:
            return TRUNCATED, 0, at
        size, inner = _u16(buf, at + 2, False), _u32(buf, at + 4, False)
        if buf[at] != 0 or size < 8:
            return BAD_HEADER, 0, at
        return (USED if inner < ETHERTYPE else UNSUPPORTED_LINK_TYPE), inner, at + size
    if link == 239:
        return _nflog(buf, at, end, big)
    return UNSUPPORTED_LINK_TYPE, 0, at


@njit(cache=True, nogil=True)
def _frame_relay(buf: Any, at: Any, end: Any) -> Any:
    """An address of up to 4 bytes, then RFC 2427 or Cisco's EtherType."""
    for size in range(1, 5):
        if at + size > end:
            return TRUNCATED, 0, at
        if buf[at + size - 1] & 1:
            break
        if size == 4:
            return BAD_HEADER, 0, at
    at += size
    if at + 2 > end:
        return TRUNCATED, 0, at
    if buf[at] != 3:
        return USED, ETHERTYPE + _be16(buf, at), at + 2
    at += 1 + (buf[at + 1] == 0)  # padding
    if at >= end:
        return TRUNCATED, 0, at
    kind = buf[at]
    if kind == 0xCC:
        return USED, IPV4, at + 1
    if kind == 0x8E:
        return USED, IPV6, at + 1
    if kind == 0xCF:  # RFC 1973
        return USED, PPP, at + 1
    return _snap(buf, at + 1, end) if kind == 0x80 else (NON_IP, 0, at)


@njit(cache=True, nogil=True)
def _snap(buf: Any, at: Any, end: Any) -> Any:
    """An organisation, and what the two bytes after it mean to it: (reason, layer, offset)."""
    if at + 5 > end:
        return TRUNCATED, 0, at
    organisation = _be16(buf, at) << 8 | np.int64(buf[at + 2])
    if organisation == 0 or organisation == 0xF8:  # RFC 1042, 802.1H
        return USED, ETHERTYPE + _be16(buf, at + 3), at + 5
    return UNSUPPORTED_ENCAPSULATION if organisation == 0x80C2 else NON_IP, 0, at  # 802.1: bridged frames


@njit(cache=True, nogil=True)
def _radiotap(buf: Any, at: Any, end: Any) -> Any:
    """The header's length, and from its flags whether the frame's header is padded to 4 bytes."""
    if at + 8 > end:
        return TRUNCATED, 0, at
    after, present = at + _u16(buf, at + 2, False), _u32(buf, at + 4, False)
    if buf[at] != 0 or after < at + 8:
        return BAD_HEADER, 0, at
    if after > end:
        return TRUNCATED, 0, at
    field, word = at + 8, present
    while word >> 31:  # more words of presence bits
        if field + 4 > after:
            return BAD_HEADER, 0, at
        word = _u32(buf, field, False)
        field += 4
    if present & 1:  # the timestamp, aligned to its size
        field = at + ((field - at + 7) // 8 + 1) * 8
    if not present & 2:
        return USED, WLAN, after
    if field >= after:
        return BAD_HEADER, 0, at
    return USED, WLAN_PADDED if buf[field] & 0x20 else WLAN, after


@njit(cache=True, nogil=True)
def _wlan(buf: Any, at: Any, end: Any, padded: Any) -> Any:
    """A data frame of 802.11 that can be read by itself: not encrypted, no aggregate, no later fragment."""
    if at + 2 > end:
        return TRUNCATED, 0, at
    kind, flags = np.int64(buf[at]), np.int64(buf[at + 1])
    if kind & 3:
        return BAD_HEADER, 0, at
    if kind & 0x4C != 8:  # not data, or data without a body
        return NON_IP, 0, at
    if flags & 0x40:
        return ENCRYPTED, 0, at
    size = 30 if flags & 3 == 3 else 24
    quality = at + size
    if kind & 0x80:
        size += 6 if flags & 0x80 else 2
    if at + size > end:
        return TRUNCATED, 0, at
    if buf[at + 22] & 15 or (kind & 0x80 and buf[quality] & 0x80):
        return UNSUPPORTED_ENCAPSULATION, 0, at
    return USED, LLC, at + ((size + 3) // 4 * 4 if padded else size)


@njit(cache=True, nogil=True)
def _nflog(buf: Any, at: Any, end: Any, big: Any) -> Any:
    """Linux netfilter log: an address family, then attributes in the capturing host's byte order; one of them is the packet."""
    if at + 4 > end:
        return TRUNCATED, 0, at
    family = buf[at]
    if buf[at + 1] != 0:
        return BAD_HEADER, 0, at
    at += 4
    while at + 4 <= end:
        size, kind = _u16(buf, at, big), _u16(buf, at + 2, big)
        if size < 4:
            return BAD_HEADER, 0, at
        if kind & 0x7FFF == 9:
            return USED if family == 2 or family == 10 else NON_IP, IPV4 if family == 2 else IPV6, at + 4
        at += (size + 3) // 4 * 4
    return NON_IP if at == end else TRUNCATED, 0, at


@njit(cache=True, nogil=True)
def _inner_layer(buf: Any, at: Any, end: Any, layer: Any) -> Any:
    """Past one header that is neither a link type's nor behind an EtherType: (reason, layer, offset)."""
    if layer == LLC:
        if at + 3 > end:
            return TRUNCATED, 0, at
        head = _be16(buf, at) << 8 | np.int64(buf[at + 2])
        if head == 0x060603:  # RFC 948
            return USED, IPV4, at + 3
        return _snap(buf, at + 3, end) if head == 0xAAAA03 else (NON_IP, 0, at)
    if layer >= WLAN:
        return _wlan(buf, at, end, layer == WLAN_PADDED)
    if layer == MPLS:
        bottom = False
        while not bottom:
            if at + 4 > end:
                return TRUNCATED, 0, at
            bottom = buf[at + 2] & 1 != 0
            at += 4
        if at >= end:
            return TRUNCATED, 0, at
        version = buf[at] >> 4  # anything else is a pseudowire: which one only the routers know
        return (USED if version == 4 or version == 6 else UNSUPPORTED_ENCAPSULATION), IPV4 if version == 4 else IPV6, at
    size = 1 if at < end and buf[at] & 1 else 2  # PPP, its protocol possibly compressed
    if at + size > end:
        return TRUNCATED, 0, at
    kind = np.int64(buf[at]) if size == 1 else _be16(buf, at)
    at += size
    if kind == 0x21:
        return USED, IPV4, at
    if kind == 0x57:
        return USED, IPV6, at
    if kind == 0x281 or kind == 0x283:
        return USED, MPLS, at
    if kind == 0x53:
        return ENCRYPTED, 0, at
    # bridged frames, compressed TCP headers, multilink, compressed datagrams
    unread = kind == 0x31 or kind == 0x2D or kind == 0x2F or kind == 0x3D or kind == 0xFD
    return UNSUPPORTED_ENCAPSULATION if unread else NON_IP, 0, at


@njit(cache=True, nogil=True)
def _network_layer(buf: Any, at: Any, end: Any, link: Any, big: Any) -> Any:
    """Where the IP header of a frame starts: (reason, IP version, offset, behind a VN-tag)."""
    layer: Any = np.int64(link)
    reason, vn_tag = USED if link < ETHERTYPE else UNSUPPORTED_LINK_TYPE, False
    while reason == USED:
        tag = 0  # bytes of a tag in front of an Ethernet type or length field
        if layer == 1:
            tag = 14
        elif layer == IPV4:
            return USED, 4, at, vn_tag
        elif layer == IPV6:
            return USED, 6, at, vn_tag
        elif layer < ETHERTYPE:
            reason, layer, at = _link_header(buf, at, end, layer, big)
        elif layer >= 2 * ETHERTYPE:
            reason, layer, at = _inner_layer(buf, at, end, layer)
        else:
            kind = layer - ETHERTYPE
            if kind == 0x8100 or kind == 0x88A8 or kind == 0x9100 or kind == 0x9200:  # 802.1Q, 802.1ad, the older QinQ values
                tag = 4
            elif kind == 0x8926:
                tag, vn_tag = 6, True
            elif kind == 0x8847 or kind == 0x8848:
                layer = MPLS
            elif kind == 0x8864:  # PPPoE session
                if at + 6 > end:
                    reason = TRUNCATED
                elif buf[at + 1] != 0:
                    reason = NON_IP
                layer, at = PPP, at + 6
            else:
                reason = NON_IP
        if tag:
            if at + tag > end:
                reason = TRUNCATED
            else:
                at += tag
                kind = _be16(buf, at - 2)
                layer = LLC if kind <= 1500 else ETHERTYPE + kind  # 802.3: the length of the frame
    return reason, 0, at, vn_tag


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
        sessions.recent[found, 2] = -1
        state[N_SESSIONS] = found + 1
    return found, swap


@njit(cache=True, nogil=True)
def _mirrored(buf: Any, at: Any, end: Any, ts: Any, recent: Any, base: Any) -> Any:
    """Whether ``buf[at:end]``, an IP packet as captured, repeats its session's packet before it; ``recent`` is the session's row.

    A packet is the copy of one other at most: of three equal ones the second is a copy, and the third is not.
    """
    size = end - at
    before = recent[1] - base
    same = abs(ts - recent[0]) <= MIRROR_WINDOW and recent[2] == size and before >= 0
    if same:
        for i in range(size):
            if buf[before + i] != buf[at + i]:
                same = False
                break
    recent[0], recent[1], recent[2] = ts, base + at, -1 if same else size
    return same


@njit(cache=True, nogil=True)
def _frame(buf: Any, at: Any, end: Any, wire: Any, link: Any, big: Any, ts: Any, packets: Any, sessions: Any, counts: Any, state: Any) -> Any:
    """Decode one captured frame and store it; the reason is ``USED`` or why it was not."""
    start = at
    reason, version, at, vn_tag = _network_layer(buf, at, end, link, big)
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
    counts[NOTE_VN_TAG] += vn_tag
    counts[NOTE_LATER_FRAGMENT] += later
    counts[NOTE_LENGTH_FROM_RECORD] += from_record
    if _mirrored(buf, at, min(end, at + length), ts, sessions.recent[session], state[BASE]):
        counts[NOTE_MIRRORED] += 1
        bits |= MIRRORED
    state[LATE] += ts < state[LATEST]
    state[LATEST] = max(ts, state[LATEST])
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
        counts[_frame(buf, body, body + captured, _u32(buf, at + 12, big), interface[0, LINK], big, ts, packets, sessions, counts, state)] += 1
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
                counts[_frame(buf, body, body + captured, _u32(buf, at + 24, big), row[LINK], big, ts, packets, sessions, counts, state)] += 1
        at += size
