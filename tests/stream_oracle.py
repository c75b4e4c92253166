"""The packet stream of a capture in plain Python: Kitsune's names written out, SipHash from its paper, flows of the
flow oracle."""

from __future__ import annotations

import ipaddress
import struct
from dataclasses import dataclass
from functools import cache

from datasets_registry.capture.rules import FlowRules
from tests import flow_oracle as oracle
from tests.link_oracle import Unusable, network

MASK = (1 << 64) - 1
ETHERNET = 1


@dataclass(frozen=True)
class Row:
    """``flow``: position in ``assemble``, or -1."""

    record: oracle.Record
    flow: int

    @property
    def time(self) -> float:
        return self.record.ts // 10**9 + self.record.ts % 10**9 / 1e9


def rows(records: list[oracle.Record], rules: FlowRules) -> list[Row]:
    """The rows of a capture's records, mirrored copies only where flows keep them."""
    kept = [record for record in records if not (rules.remove_mirrored and record.packet and record.packet.mirrored)]
    flows = oracle.assemble([record.packet for record in kept if record.packet], rules)
    flow_of = {id(packet): number for number, flow in enumerate(flows) for packet in flow.packets}
    return [Row(record, flow_of.get(id(record.packet), -1)) for record in kept]


def names(record: oracle.Record) -> tuple[str, ...]:
    """Texts of sender, source, destination, channel, source socket and destination socket."""
    frame = record.frame
    macs = (frame[6:12].hex(":"), frame[:6].hex(":")) if record.link == ETHERNET and len(frame) >= 14 else ("", "")
    source, destination = macs
    sockets = None
    try:
        version, data = network(record.link, frame, record.order)
        if len(data) >= (20 if version == 4 else 40):
            at, size = (12, 4) if version == 4 else (8, 16)
            source, destination = (str(ipaddress.ip_address(data[i : i + size])) for i in (at, at + size))
            ends = ports(version, data, record.original - len(frame) + len(data))
            sockets = source + ends[0], destination + ends[1]
    except Unusable as reason:
        if len(reason.arp) >= 28 and reason.arp[2:4] == b"\x08\0":
            source, destination = (str(ipaddress.IPv4Address(reason.arp[i : i + 4])) for i in (14, 24))
            sockets = macs if macs[0] else (source, destination)
    return (macs[0] + source, source, destination, source + destination, *(sockets or (source, destination)))


def ports(version: int, data: bytes, wire: int) -> tuple[str, str]:
    """What a name of a socket has after the address; of an IPv6 header that says that it is none nothing is read."""
    if version == 4:
        protocol, rest = data[9], b"" if int.from_bytes(data[6:8], "big") & 0x1FFF else data[(data[0] & 15) * 4 :]
        if protocol == 1:
            return "icmp", "icmp"
    else:
        protocol, rest = upper(data, wire)
    return tuple(map(str, struct.unpack(">HH", rest[:4]))) if protocol in (6, 17) and len(rest) >= 4 else ("", "")


def upper(data: bytes, wire: int) -> tuple[int, bytes]:
    """Protocol and bytes behind the extension headers; no bytes where they do not get there, or where a later fragment
    has none."""
    _, payload, following = struct.unpack(">IHB", data[:7])
    if data[0] >> 4 != 6:
        return 0, b""
    length, at = payload + 40 if payload or following == 59 else wire, 40
    while following in oracle.IPV6_EXTENSIONS | {44}:
        if at + 8 > min(length, len(data)):
            return following, b""
        kind, size, rest = struct.unpack(">BBH", data[at : at + 4])
        if following == 44 and rest >> 3:
            return kind, b""
        at += 8 if following == 44 else (size + 2) * 4 if following == 51 else (size + 1) * 8
        following = kind
    return following, data[at:]


def rounds(v: list[int], n: int) -> None:
    def rotate(x: int, bits: int) -> int:
        return (x << bits | x >> 64 - bits) & MASK

    for _ in range(n):
        for a, b, c, d, first, second in ((0, 1, 2, 3, 13, 16), (2, 1, 0, 3, 17, 21)):
            v[a] = (v[a] + v[b]) & MASK
            v[c] = (v[c] + v[d]) & MASK
            v[b] = rotate(v[b], first) ^ v[a]
            v[d] = rotate(v[d], second) ^ v[c]
            v[a] = rotate(v[a], 32)


@cache
def siphash(key: bytes, text: bytes) -> int:
    """SipHash-2-4."""
    low, high = struct.unpack("<QQ", key)
    v = [low ^ 0x736F6D6570736575, high ^ 0x646F72616E646F6D, low ^ 0x6C7967656E657261, high ^ 0x7465646279746573]
    whole = len(text) // 8 * 8
    for (word,) in struct.iter_unpack("<Q", text[:whole] + text[whole:].ljust(7, b"\0") + bytes([len(text) & 255])):
        v[3] ^= word
        rounds(v, 2)
        v[0] ^= word
    v[2] ^= 255
    rounds(v, 4)
    return v[0] ^ v[1] ^ v[2] ^ v[3]
