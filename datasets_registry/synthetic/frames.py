"""Packets → Ethernet frames, with correct lengths and checksums, for a whole capture at once.

Payloads are zero bytes (the simulator has sizes, not contents), so a checksum over the headers is the checksum over the
packet.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from datasets_registry.synthetic.trace import ICMP, ICMPV6, SYN_OPTIONS, TCP, TIMESTAMPS, UDP, FlowEntry

SNAPLEN = 96  # Bytes kept of a frame; the longest headers written (IPv6, SYN with options) need 94.

L4_ROOM = 40
ETHERNET_MINIMUM = 60
Bytes = NDArray[np.uint8]


@dataclass(frozen=True)
class Frames:
    """data (P, SNAPLEN) uint8, zero beyond ``captured``; captured, length (P,) int64: bytes kept and bytes on the
    wire."""

    data: Bytes
    captured: NDArray[np.int64]
    length: NDArray[np.int64]


def build_frames(packets: NDArray[np.void], entries: list[FlowEntry], vlan: int | None, padded: bool) -> Frames:
    """Frames of sorted packets (P,).  ``vlan``: 802.1Q tag; ``padded``: short frames are filled to 60 bytes, as a tap
    on the wire sees them."""
    total = len(packets)
    table = _FlowTable(entries)
    flow, side = packets["flow"].astype(np.int64), packets["side"].astype(np.int64)
    data = np.zeros((total, SNAPLEN), dtype=np.uint8)
    length = np.zeros(total, dtype=np.int64)
    data[:, 0:6] = table.mac[flow, 1 - side]
    data[:, 6:12] = table.mac[flow, side]
    at = 12
    if vlan is not None:
        data[:, 12:16] = np.frombuffer(b"\x81\x00" + vlan.to_bytes(2, "big"), dtype=np.uint8)
        at = 16
    for version, header in ((4, 20), (6, 40)):
        rows = np.flatnonzero(table.version[flow] == version)
        if not len(rows):
            continue
        chosen, f, s = packets[rows], flow[rows], side[rows]
        source, target = table.address[f, s], table.address[f, 1 - s]  # (R, 16)
        proto = table.proto[f]
        l4, l4_length = _transport(chosen, table, f, s)
        _put(
            l4,
            np.where(proto == TCP, 16, np.where(proto == UDP, 6, 2)),
            _ones_complement(source, target, _pseudo(proto, l4_length, version), l4),
            proto,
        )
        build = _ipv4 if version == 4 else _ipv6
        ip = build(proto, table.ttl[f, s], l4_length, source, target)
        data[rows, at : at + 2] = np.frombuffer(b"\x08\x00" if version == 4 else b"\x86\xdd", dtype=np.uint8)
        data[rows, at + 2 : at + 2 + header] = ip
        begin = at + 2 + header
        room = min(L4_ROOM, SNAPLEN - begin)
        data[rows, begin : begin + room] = l4[:, :room]
        length[rows] = begin + l4_length
    if padded:
        length = np.maximum(length, ETHERNET_MINIMUM)
    return Frames(data, np.minimum(length, SNAPLEN), length)


class _FlowTable:
    """The flow entries as arrays, so that packets can gather from them."""

    def __init__(self, entries: list[FlowEntry]) -> None:
        self.proto = np.array([entry.proto for entry in entries], dtype=np.int64)  # (F,)
        self.version = np.array([4 if len(entry.addresses[0]) == 4 else 6 for entry in entries])
        self.port = np.array([entry.ports for entry in entries], dtype=np.int64).reshape(-1, 2)  # (F, 2)
        self.ttl = np.array([entry.ttls for entry in entries], dtype=np.int64).reshape(-1, 2)
        self.address = _rows([a.ljust(16, b"\0") for entry in entries for a in entry.addresses], 16)  # (F, 2, 16)
        self.mac = _rows([mac for entry in entries for mac in entry.macs], 6)
        self.options = _rows([o.ljust(20, b"\0") for entry in entries for o in entry.syn_options], 20)
        self.options_length = np.array(
            [[len(o) for o in entry.syn_options] for entry in entries], dtype=np.int64
        ).reshape(-1, 2)


def _rows(texts: list[bytes], width: int) -> Bytes:
    return np.frombuffer(b"".join(texts), dtype=np.uint8).reshape(-1, 2, width)


def _big_endian(values: NDArray[np.int64], size: int) -> Bytes:
    """(R,) integers modulo 2^(8 size) → (R, size) bytes."""
    return (values[:, None] >> np.arange(8 * (size - 1), -1, -8)).astype(np.uint8)


def _transport(
    packets: NDArray[np.void], table: _FlowTable, flow: NDArray[np.int64], side: NDArray[np.int64]
) -> tuple[Bytes, NDArray[np.int64]]:
    """TCP, UDP or ICMP headers without checksum, (R, 40), and header plus payload bytes, (R,)."""
    header = np.zeros((len(packets), L4_ROOM), dtype=np.uint8)
    proto, payload = table.proto[flow], packets["payload"].astype(np.int64)
    ports = (proto == TCP) | (proto == UDP)
    header[ports, 0:2] = _big_endian(table.port[flow, side][ports], 2)
    header[ports, 2:4] = _big_endian(table.port[flow, 1 - side][ports], 2)

    tcp = proto == TCP
    options_length = np.zeros(len(packets), dtype=np.int64)
    syn, stamped = tcp & (packets["options"] == SYN_OPTIONS), tcp & (packets["options"] == TIMESTAMPS)
    options_length[syn] = table.options_length[flow, side][syn]
    options_length[stamped] = 12
    header[tcp, 4:8] = _big_endian(packets["seq"][tcp], 4)
    header[tcp, 8:12] = _big_endian(packets["ack"][tcp], 4)
    header[tcp, 12] = ((20 + options_length[tcp]) // 4) << 4
    header[tcp, 13] = packets["flags"][tcp]
    header[tcp, 14:16] = _big_endian(packets["window"][tcp].astype(np.int64), 2)
    header[syn, 20:40] = table.options[flow, side][syn]
    header[stamped, 20:24] = np.frombuffer(b"\x01\x01\x08\x0a", dtype=np.uint8)
    _stamp(header, packets, flow, side, stamped, 24)
    long_syn = syn & (options_length == 20)  # MSS, SACK permitted, then the timestamps
    _stamp(header, packets, flow, side, long_syn, 28)

    udp = proto == UDP
    header[udp, 4:6] = _big_endian(8 + payload[udp], 2)
    icmp = (proto == ICMP) | (proto == ICMPV6)
    header[icmp, 0] = packets["flags"][icmp]
    header[icmp & (packets["flags"] == 3), 1] = 3  # port unreachable
    header[icmp, 4:6] = _big_endian(flow[icmp], 2)
    header[icmp, 6:8] = _big_endian(packets["seq"][icmp], 2)
    return header, np.where(tcp, 20 + options_length, 8) + payload


def _stamp(
    header: Bytes,
    packets: NDArray[np.void],
    flow: NDArray[np.int64],
    side: NDArray[np.int64],
    rows: NDArray[np.bool_],
    at: int,
) -> None:
    """Timestamps: each side's millisecond clock.  The echo is the other clock now, not of the packet echoed; a SYN
    echoes nothing."""
    now = (packets["time"][rows] * 1000).astype(np.int64)
    # (S, 2), spread over 32 bits
    base = (flow[rows, None] * 2 + np.stack([side[rows], 1 - side[rows]], axis=1)) * 2_654_435_761
    header[rows, at : at + 4] = _big_endian(base[:, 0] + now, 4)
    echo = _big_endian(base[:, 1] + now, 4)
    echo[(packets["flags"][rows] & 0x12) == 0x02] = 0
    header[rows, at + 4 : at + 8] = echo


def _put(l4: Bytes, column: NDArray[np.int64], checksum: NDArray[np.int64], proto: NDArray[np.int64]) -> None:
    checksum = np.where((proto == UDP) & (checksum == 0), 0xFFFF, checksum)  # RFC 768: zero means no checksum
    rows = np.arange(len(l4))
    l4[rows, column], l4[rows, column + 1] = (checksum >> 8).astype(np.uint8), (checksum & 0xFF).astype(np.uint8)


def _pseudo(proto: NDArray[np.int64], length: NDArray[np.int64], version: int) -> Bytes:
    """Length and protocol of the pseudo-header (RFC 9293, 3.1; RFC 8200, 8.1); ICMP over IPv4 has none, marked by zeros
    later."""
    pseudo = np.concatenate([_big_endian(length, 4), _big_endian(proto, 4)], axis=1)
    if version == 4:
        pseudo[proto == ICMP] = 0
    return pseudo


def _ones_complement(source: Bytes, target: Bytes, pseudo: Bytes, l4: Bytes) -> NDArray[np.int64]:
    """The Internet checksum (RFC 1071) over pseudo-header and header, (R,)."""
    addressed = pseudo.any(axis=1)
    words = _sum_words(source) + _sum_words(target)
    return _fold(np.where(addressed, words, 0) + _sum_words(pseudo) + _sum_words(l4))


def _sum_words(block: Bytes) -> NDArray[np.int64]:
    return np.ascontiguousarray(block).view(">u2").sum(axis=1, dtype=np.int64)


def _fold(total: NDArray[np.int64]) -> NDArray[np.int64]:
    for _ in range(2):
        total = (total >> 16) + (total & 0xFFFF)
    return ~total & 0xFFFF


def _ipv4(
    proto: NDArray[np.int64], ttl: NDArray[np.int64], l4_length: NDArray[np.int64], source: Bytes, target: Bytes
) -> Bytes:
    header = np.zeros((len(proto), 20), dtype=np.uint8)
    header[:, 0] = 0x45
    header[:, 2:4] = _big_endian(20 + l4_length, 2)
    # identification: any value does, DF is set (RFC 6864)
    header[:, 4:6] = _big_endian(np.arange(len(proto)) * 40_503, 2)
    header[:, 6] = 0x40
    header[:, 8], header[:, 9] = ttl, proto
    header[:, 12:16], header[:, 16:20] = source[:, :4], target[:, :4]
    header[:, 10:12] = _big_endian(_fold(_sum_words(header)), 2)
    return header


def _ipv6(
    proto: NDArray[np.int64], ttl: NDArray[np.int64], l4_length: NDArray[np.int64], source: Bytes, target: Bytes
) -> Bytes:
    header = np.zeros((len(proto), 40), dtype=np.uint8)
    header[:, 0] = 0x60
    header[:, 4:6] = _big_endian(l4_length, 2)
    header[:, 6], header[:, 7] = proto, ttl
    header[:, 8:24], header[:, 24:40] = source, target
    return header
