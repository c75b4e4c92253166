"""A record of a capture as a row: time, length, and keyed hashes of who sent it to whom, named as Kitsune names them (Kitsune-py, FeatureExtractor).

The names are texts: MAC ``00:11:22:33:44:55``, address ``10.0.0.1`` or ``fe80::1``, port ``443``.  The addresses are those of the outermost IP
header, of the ARP message, or else the two MACs; the ports those of TCP and UDP, ``arp`` or ``icmp`` (of IPv4), or else nothing.  The keys are what
Kitsune concatenates of them, without delimiters, so that 10.0.0.1 port 180 and 10.0.0.11 port 80 are one socket here as they are there.  MACs are
read from Ethernet only; elsewhere their text is empty.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

__all__ = ["KEYS", "Flows", "Rows", "add_row", "file_flows", "siphash"]

KEYS = ("sender", "source", "destination", "channel", "source_socket", "destination_socket")
"""Columns of ``Rows.keys``: MAC and address of the sender, both addresses, the two after each other, and each with its port (ARP: the MACs)."""

_ETHERNET = 1


class Rows(NamedTuple):
    """Room for N records: time (N,) float64 s, size (N,) uint32 bytes on the wire, keys (N, 6) uint64, flow (N,) int64."""

    time: NDArray[np.float64]
    size: NDArray[np.uint32]
    keys: NDArray[np.uint64]
    flow: NDArray[np.int64]


class Flows(NamedTuple):
    """The F flows of a capture in the order of their keys, those of one key by their begin, and where to find a key.

    keys   (F, 5) uint64, as ``labelling.labels_csv.KEY_COLUMNS``; first, last (F,) int64 ns; id (F,) int64
    table  (a power of two,) int64: first flow of a key in the slot of its hash or one after it; -1: free
    """

    keys: NDArray[np.uint64]
    first: NDArray[np.int64]
    last: NDArray[np.int64]
    id: NDArray[np.int64]
    table: NDArray[np.int64]


@njit(cache=True, nogil=True)
def _rotated(x: Any, bits: Any) -> Any:
    return (x << np.uint64(bits)) | (x >> np.uint64(64 - bits))


@njit(cache=True, nogil=True)
def _rounds(a: Any, b: Any, c: Any, d: Any, n: Any) -> Any:
    for _ in range(n):
        a += b
        b = _rotated(b, 13) ^ a
        a = _rotated(a, 32)
        c += d
        d = _rotated(d, 16) ^ c
        a += d
        d = _rotated(d, 21) ^ a
        c += b
        b = _rotated(b, 17) ^ c
        c = _rotated(c, 32)
    return a, b, c, d


@njit(cache=True, nogil=True)
def siphash(key: Any, text: Any, start: Any, stop: Any) -> Any:
    """SipHash-2-4 (Aumasson, Bernstein, 2012) of ``text[start:stop]`` under ``key`` (2,) uint64, a uint64."""
    a, b = key[0] ^ np.uint64(0x736F6D6570736575), key[1] ^ np.uint64(0x646F72616E646F6D)
    c, d = key[0] ^ np.uint64(0x6C7967656E657261), key[1] ^ np.uint64(0x7465646279746573)
    n = stop - start
    for word_start in range(start, start + n + 1 - n % 8, 8):
        word = np.uint64(0)
        tail = stop - word_start < 8
        for i in range(min(8, stop - word_start)):
            word |= np.uint64(text[word_start + i]) << np.uint64(8 * i)
        if tail:
            word |= np.uint64(n & 255) << np.uint64(56)
        d ^= word
        a, b, c, d = _rounds(a, b, c, d, 2)
        a ^= word
    a, b, c, d = _rounds(a, b, c ^ np.uint64(255), d, 4)
    return a ^ b ^ c ^ d


@njit(cache=True, nogil=True)
def _be16(buf: Any, at: Any) -> Any:
    return np.int64(buf[at]) << 8 | np.int64(buf[at + 1])


@njit(cache=True, nogil=True)
def _number(buf: Any, at: Any, size: Any) -> Any:
    """``size`` big-endian bytes, a uint64."""
    value = np.uint64(0)
    for i in range(size):
        value = value << np.uint64(8) | np.uint64(buf[at + i])
    return value


@njit(cache=True, nogil=True)
def _digits(text: Any, n: Any, value: Any, base: Any) -> Any:
    """Append ``value`` in base 10 or 16 without leading zeros."""
    unit = np.int64(1)
    while unit * base <= value:
        unit *= base
    while unit > 0:
        digit = value // unit % base
        text[n] = 48 + digit if digit < 10 else 87 + digit
        n += 1
        unit //= base
    return n


@njit(cache=True, nogil=True)
def _mac(text: Any, n: Any, buf: Any, at: Any) -> Any:
    for i in range(6):
        if i:
            text[n] = 58
            n += 1
        if buf[at + i] < 16:
            text[n] = 48
            n += 1
        n = _digits(text, n, np.int64(buf[at + i]), 16)
    return n


@njit(cache=True, nogil=True)
def _ipv4(text: Any, n: Any, buf: Any, at: Any) -> Any:
    for i in range(4):
        if i:
            text[n] = 46
            n += 1
        n = _digits(text, n, np.int64(buf[at + i]), 10)
    return n


@njit(cache=True, nogil=True)
def _ipv6(text: Any, n: Any, buf: Any, at: Any) -> Any:
    """As RFC 5952 writes it: the longest run of zero groups, if of two or more, is ``::``."""
    best, longest, run = -1, 1, 0
    for i in range(8):
        run = run + 1 if _be16(buf, at + 2 * i) == 0 else 0
        if run > longest:
            best, longest = i - run + 1, run
    i = 0
    while i < 8:
        if i == best:
            text[n], text[n + 1] = 58, 58
            n += 2
            i += longest
            continue
        if i and (best < 0 or i != best + longest):
            text[n] = 58
            n += 1
        n = _digits(text, n, _be16(buf, at + 2 * i), 16)
        i += 1
    return n


@njit(cache=True, nogil=True)
def _network_layer(buf: Any, at: Any, end: Any, link: Any) -> Any:
    """(Ethernet type of what the frame carries, 0 if it cannot be told, and where that begins)."""
    if link == _ETHERNET:
        kind, at = (_be16(buf, at + 12), at + 14) if at + 14 <= end else (0, end)
    elif link == 113:  # Linux cooked
        kind, at = (_be16(buf, at + 14), at + 16) if at + 16 <= end else (0, end)
    elif link == 276:  # Linux cooked, version 2
        kind, at = (_be16(buf, at), at + 20) if at + 20 <= end else (0, end)
    elif link == 101 or link == 12 or link == 14 or link == 228 or link == 229 or link == 0 or link == 108:
        at += 4 if link == 0 or link == 108 else 0  # raw IP, behind a BSD loopback header or not
        version = buf[at] >> 4 if at < end else 0
        kind = 0x0800 if version == 4 else 0x86DD if version == 6 else 0
    else:
        kind = 0
    while (kind == 0x8100 or kind == 0x88A8 or kind == 0x9100 or kind == 0x9200) and at + 4 <= end:
        kind, at = _be16(buf, at + 2), at + 4
    if kind == 0x8864 and at + 8 <= end:  # PPPoE session
        protocol, at = _be16(buf, at + 6), at + 8
        kind = 0x0800 if protocol == 0x21 else 0x86DD if protocol == 0x57 else 0
    return kind, at


@njit(cache=True, nogil=True)
def _transport(buf: Any, at: Any, end: Any, version: Any) -> Any:
    """(protocol, where its header begins, a fragment after the first) of an IP packet; IPv6: behind the extension headers."""
    if version == 4:
        return np.int64(buf[at + 9]), at + (np.int64(buf[at]) & 15) * 4, _be16(buf, at + 6) & 0x1FFF != 0
    protocol, at = np.int64(buf[at + 6]), at + 40
    # hop-by-hop, routing, fragment, authentication, destination options, mobility, HIP, shim6
    while at + 8 <= end and (
        protocol == 0 or protocol == 43 or protocol == 44 or protocol == 51 or protocol == 60 or protocol == 135 or protocol == 139 or protocol == 140
    ):
        following = np.int64(buf[at])
        if protocol == 44:
            if _be16(buf, at + 2) & 0xFFF8 != 0:
                return following, at + 8, True
            at += 8
        elif protocol == 51:
            at += (np.int64(buf[at + 1]) + 2) * 4
        else:
            at += (np.int64(buf[at + 1]) + 1) * 8
        protocol = following
    return protocol, at, False


@njit(cache=True, nogil=True)
def _slot(flows: Any, a: Any, b: Any, c: Any, d: Any, e: Any) -> Any:
    """The slot of a key: its own, or the free one where it belongs."""
    mixed = np.uint64(0)
    for word in (a, b, c, d, e):
        mixed = (mixed ^ word) * np.uint64(0x9E3779B97F4A7C15)
        mixed ^= mixed >> np.uint64(32)
    slot = np.int64(mixed & np.uint64(len(flows.table) - 1))
    while True:
        at = flows.table[slot]
        if at < 0:
            return slot
        key = flows.keys[at]
        if key[0] == a and key[1] == b and key[2] == c and key[3] == d and key[4] == e:
            return slot
        slot = (slot + 1) & (len(flows.table) - 1)


@njit(cache=True, nogil=True)
def file_flows(flows: Any) -> Any:
    """Enter the first flow of every key into the table, which is empty."""
    for i in range(len(flows.keys)):
        key = flows.keys[i]
        slot = _slot(flows, key[0], key[1], key[2], key[3], key[4])
        if flows.table[slot] < 0:
            flows.table[slot] = i


@njit(cache=True, nogil=True)
def _flow_of(flows: Any, source: Any, destination: Any, ports: Any, rest: Any, ns: Any) -> Any:
    """Id of the flow with the packet's 5-tuple within whose times ``ns`` is, or -1."""
    if (destination[0], destination[1], ports[1]) < (source[0], source[1], ports[0]):
        source, destination, ports = destination, source, (ports[1], ports[0])
    last = np.uint64(rest << 32 | ports[0] << 16 | ports[1])
    begin = flows.table[_slot(flows, source[0], source[1], destination[0], destination[1], last)]
    if begin < 0:
        return np.int64(-1)
    key, low, high = flows.keys[begin], begin, len(flows.keys)
    while high - low > 1:  # the last flow of this key that begins by ``ns``
        middle = (low + high) // 2
        other = flows.keys[middle]
        same = key[0] == other[0] and key[1] == other[1] and key[2] == other[2] and key[3] == other[3] and key[4] == other[4]
        if same and flows.first[middle] <= ns:
            low = middle
        else:
            high = middle
    return flows.id[low] if flows.first[low] <= ns <= flows.last[low] else np.int64(-1)


@njit(cache=True, nogil=True)
def add_row(buf: Any, at: Any, end: Any, wire: Any, link: Any, seconds: Any, ns: Any, secret: Any, flows: Any, text: Any, rows: Any, n: Any) -> Any:
    """Record ``buf[at:end]`` as row ``n``; its time is ``seconds`` and ``ns`` since the epoch; ``text``: 512 bytes of scratch."""
    frame = at
    kind, at = _network_layer(buf, at, end, link)
    # The text is MAC, address, address, port | MAC or address, port: every key but the two sockets is one stretch of it.
    has_mac = link == _ETHERNET and frame + 14 <= end
    mac = _mac(text, 0, buf, frame + 6) if has_mac else 0
    source_end = destination_end = mac
    rows.flow[n] = -1
    named_by_port, icmp, arp = False, False, False
    ports = (np.int64(0), np.int64(0))
    zero = np.uint64(0)
    if (kind == 0x0800 and at + 20 <= end) or (kind == 0x86DD and at + 40 <= end):
        version = 4 if kind == 0x0800 else 6
        protocol, transport, later = _transport(buf, at, end, version)
        with_ports = protocol == 6 or protocol == 17 or protocol == 33 or protocol == 132 or protocol == 136
        if with_ports and not later and transport + 4 <= end:
            ports = (_be16(buf, transport), _be16(buf, transport + 2))
            named_by_port = protocol == 6 or protocol == 17
        if version == 4:
            source_end = _ipv4(text, mac, buf, at + 12)
            destination_end = _ipv4(text, source_end, buf, at + 16)
            source, destination = (zero, _number(buf, at + 12, 4)), (zero, _number(buf, at + 16, 4))
        else:
            source_end = _ipv6(text, mac, buf, at + 8)
            destination_end = _ipv6(text, source_end, buf, at + 24)
            source, destination = (_number(buf, at + 8, 8), _number(buf, at + 16, 8)), (_number(buf, at + 24, 8), _number(buf, at + 32, 8))
        rows.flow[n] = _flow_of(flows, source, destination, ports, version << 8 | protocol, seconds * 1_000_000_000 + ns)
        icmp = version == 4 and protocol == 1
    elif kind == 0x0806 and at + 28 <= end and _be16(buf, at + 2) == 0x0800:
        source_end = _ipv4(text, mac, buf, at + 14)
        destination_end = _ipv4(text, source_end, buf, at + 24)
        arp = True
    elif has_mac:
        source_end = _mac(text, mac, buf, frame + 6)
        destination_end = _mac(text, source_end, buf, frame)

    rows.time[n] = seconds + ns / 1e9
    rows.size[n] = wire
    keys = rows.keys[n]
    keys[0] = siphash(secret, text, 0, source_end)
    keys[1] = siphash(secret, text, mac, source_end)
    keys[2] = siphash(secret, text, source_end, destination_end)
    keys[3] = siphash(secret, text, mac, destination_end)
    for side in range(2):
        start = 256
        stop = start
        if arp:
            if has_mac:
                stop = _mac(text, start, buf, frame + 6 - 6 * side)
        else:
            first, until = (mac, source_end) if side == 0 else (source_end, destination_end)
            for i in range(first, until):
                text[stop] = text[i]
                stop += 1
            if named_by_port:
                stop = _digits(text, stop, ports[side], 10)
            elif icmp:
                for letter in (105, 99, 109, 112):  # icmp
                    text[stop] = letter
                    stop += 1
        keys[4 + side] = siphash(secret, text, start, stop)
