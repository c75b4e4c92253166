"""A slow, plain-Python reading of captures, flows and features, written from the formats' documents and not from the
code under test.

No numpy, no numba: byte slices, ``struct``, dictionaries.  A packet is (ts in ns, src, sport, dst, dport, protocol,
size, window, flags).
"""

from __future__ import annotations

import gzip
import ipaddress
import math
import struct
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import pyarrow

from datasets_registry.capture.rules import FlowRules
from tests.link_oracle import Unusable, network

WITH_PORTS = {6, 17, 33, 132, 136}
IPV6_EXTENSIONS = {0, 43, 51, 60, 135, 139, 140}


@dataclass(frozen=True)
class Packet:
    ts: int
    src: str
    sport: int
    dst: str
    dport: int
    proto: int
    size: int
    win: int
    flags: frozenset[str]
    mirrored: bool = False

    @property
    def tuple5(self) -> tuple[str, int, str, int, int]:
        return self.src, self.sport, self.dst, self.dport, self.proto


@dataclass
class Flow:
    packets: list[Packet] = field(default_factory=list)

    def stored(self, keep: int = 64) -> list[dict[str, float]]:
        rows = []
        head = self.packets[0]
        for before, packet in zip([head, *self.packets], self.packets[:keep], strict=False):
            same = (packet.src, packet.sport) == (head.src, head.sport)
            flags = {name: int(name in packet.flags) for name in ("syn", "fin", "rst", "psh", "ack")}
            rows.append(
                {
                    "size": packet.size,
                    "iat": (packet.ts - before.ts) / 1000,
                    "direction": int(not same),
                    "win": packet.win,
                    **flags,
                }
            )
        return rows


def frames(data: bytes) -> Iterator[tuple[int, int, int, bytes, str]]:
    """(ts, link type, original length, captured bytes, byte order of the file) up to the end or the first damage.

    An original length below what was captured or beyond 256 KiB is none.
    """
    for ts, link, original, frame, order in _frames(data):
        yield ts, link, original if len(frame) <= original <= 262144 else len(frame), frame, order


def _frames(data: bytes) -> Iterator[tuple[int, int, int, bytes, str]]:
    if data[:2] == b"\x1f\x8b":
        data = gzip.decompress(data)
    if data[:4] == b"\x28\xb5\x2f\xfd":
        data = pyarrow.CompressedInputStream(pyarrow.BufferReader(data), "zstd").read()
    yield from _pcapng(data) if data[:4] == b"\n\r\r\n" else _pcap(data)


def _pcap(data: bytes) -> Iterator[tuple[int, int, int, bytes, str]]:
    order = "<" if data[3:4] == b"\xa1" else ">"
    magic = struct.unpack(order + "I", data[:4])[0]
    head, unit = 24 if magic == 0xA1B2CD34 else 16, 1 if magic == 0xA1B23C4D else 1000
    link = struct.unpack(order + "I", data[20:24])[0] & 0x03FFFFFF
    data, found = data[24:], []
    while len(data) >= head:
        seconds, fraction, captured, original = struct.unpack(order + "4I", data[:16])
        if captured > 262144 or len(data) < head + captured:
            break
        found.append((seconds, fraction, original, data[head : head + captured]))
        data = data[head + captured :]
    if unit == 1000 and in_fact_ns(found[:4096]):
        unit = 1
    for seconds, fraction, original, frame in found:
        if fraction * unit < 10**9:
            yield seconds * 10**9 + fraction * unit, link, original, frame, order


def in_fact_ns(records: list[tuple[int, int, int, bytes]]) -> bool:
    """More than half of the fractions are beyond a million, none beyond 10⁹, and at most 1 % of the others are out of
    order as nanoseconds."""
    latest = early = beyond = 0
    for seconds, fraction, *_ in records:
        time = seconds * 10**9 + fraction
        early += fraction < 10**6 and time < latest
        beyond += fraction >= 10**6
        latest = max(latest, time)
    return 2 * beyond > len(records) and all(record[1] < 10**9 for record in records) and early <= len(records) // 100


def _pcapng(data: bytes) -> Iterator[tuple[int, int, int, bytes, str]]:
    order, interfaces = "<", []
    while len(data) >= 12:
        section = data[:4] == b"\n\r\r\n"
        if section:
            if data[8:12] not in (b"\x4d\x3c\x2b\x1a", b"\x1a\x2b\x3c\x4d"):
                return
            order, interfaces = "<" if data[8:12] == b"\x4d\x3c\x2b\x1a" else ">", []
        kind, size = struct.unpack(order + "II", data[:8])
        if size % 4 or size < (28 if section else {1: 20, 2: 32, 6: 32}.get(kind, 12)) or size > len(data):
            return
        if (section or kind in (1, 2, 3, 6)) and data[size - 4 : size] != data[4:8]:
            return
        body, data = data[8 : size - 4], data[size:]
        if kind == 1:
            interfaces.append(_interface(order, body))
        elif kind in (2, 6):
            number = struct.unpack(order + ("H" if kind == 2 else "I"), body[: 2 if kind == 2 else 4])[0]
            high, low, captured, original = struct.unpack(order + "4I", body[4:20])
            if captured > len(body) - 20:
                return
            if number < len(interfaces):
                link, ticks_per_second, offset = interfaces[number]
                ts = ((high << 32) + low) * 10**9 // ticks_per_second
                if 0 <= ts + offset * 10**9 <= 9 * 10**18 and ts <= 9 * 10**18 + 10**9 - 1:
                    yield ts + offset * 10**9, link, original, body[20 : 20 + captured], order


def _interface(order: str, body: bytes) -> tuple[int, int, int]:
    """(link type, ticks per second, offset in s); the first end-of-options or cut option ends the list."""
    link = struct.unpack(order + "H", body[:2])[0]
    resolution, offset, options = 6, 0, body[8:]
    while len(options) >= 4:
        code, length = struct.unpack(order + "HH", options[:4])
        value = options[4 : 4 + length]
        if code == 0 or len(value) < length:
            break
        if (code, length) == (9, 1):
            resolution = value[0]
        elif (code, length) == (14, 8):
            offset = struct.unpack(order + "q", value)[0]
        options = options[4 + (length + 3) // 4 * 4 :]
    if resolution & 127 > (63 if resolution & 128 else 27) or abs(offset) > 9 * 10**9:
        offset = -(10**30)  # no clock runs like that: none of its times is accepted
    return link, (2 if resolution & 128 else 10) ** (resolution & 127), offset


def decode(ts: int, link: int, original: int, frame: bytes, order: str) -> Packet:
    """The packet of a frame; Unusable says why there is none."""
    version, data = network(link, frame, order)
    try:
        return (_ipv4 if version == 4 else _ipv6)(ts, data, original - len(frame) + len(data))
    except (struct.error, IndexError):
        raise Unusable("truncated") from None


def _ipv4(ts: int, data: bytes, wire: int) -> Packet:
    first, _, length, _, fragment, _, protocol, _, src, dst = struct.unpack(">BBHHHBBHII", data[:20])
    header = (first & 15) * 4
    if first >> 4 != 4 or header < 20:
        raise Unusable("bad_header")
    if len(data) < header:
        raise Unusable("truncated")
    if length < header:
        length = wire
    if length < header:
        raise Unusable("bad_header")
    addresses = str(ipaddress.IPv4Address(src)), str(ipaddress.IPv4Address(dst))
    return _transport(ts, addresses, protocol, length, data[header:], length - header, bool(fragment & 0x1FFF))


def _ipv6(ts: int, data: bytes, wire: int) -> Packet:
    first, payload, following = struct.unpack(">IHB", data[:7])
    if len(data) < 40:
        raise Unusable("truncated")
    if first >> 28 != 6:
        raise Unusable("bad_header")
    length = payload + 40 if payload or following == 59 else wire
    addresses = str(ipaddress.IPv6Address(data[8:24])), str(ipaddress.IPv6Address(data[24:40]))
    at = 40
    while following in IPV6_EXTENSIONS | {44}:
        if at + 8 > length:
            raise Unusable("bad_header")
        kind, size, rest, _ = struct.unpack(">BBHI", data[at : at + 8])
        later = following == 44 and rest >> 3 != 0
        at += 8 if following == 44 else (size + 2) * 4 if following == 51 else (size + 1) * 8
        following = kind
        if later:
            return _transport(ts, addresses, following, length, b"", 0, True)
    if at > length:
        raise Unusable("bad_header")
    return _transport(ts, addresses, following, length, data[at:], length - at, False)


def _transport(
    ts: int, addresses: tuple[str, str], protocol: int, size: int, data: bytes, left: int, later: bool
) -> Packet:
    """``data``: captured bytes after the IP header; ``left``: bytes of the packet there by its own length."""
    sport = dport = win = 0
    names: set[str] = set()
    if protocol in WITH_PORTS and not later:
        if left < 4:
            raise Unusable("bad_header")
        sport, dport = struct.unpack(">HH", data[:4])
        if protocol == 6 and min(left, len(data)) >= 16:
            flags, win = struct.unpack(">BH", data[13:16])
            names = {name for bit, name in enumerate(("fin", "syn", "rst", "psh", "ack")) if flags >> bit & 1}
    return Packet(ts, addresses[0], sport, addresses[1], dport, protocol, min(size, 65535), win, frozenset(names))


@dataclass(frozen=True)
class Record:
    """A record with a time, and its packet or why there is none."""

    ts: int
    link: int
    original: int
    frame: bytes
    order: str
    packet: Packet | None
    reason: str = ""


def records(path: Path) -> list[Record]:
    """In the order of the file.

    A packet is mirrored if its 5-tuple's packet before it has the same IP bytes, is at most 100 µs away and not
    mirrored itself.
    """
    found = []
    before: dict[tuple[frozenset[tuple[str, int]], int], tuple[int, bytes | None]] = {}
    for record in frames(path.read_bytes()):
        ts, link, _, frame, order = record
        try:
            packet = decode(*record)
        except Unusable as reason:
            found.append(Record(*record, None, str(reason)))
            continue
        data = network(link, frame, order)[1][: packet.size]
        key = (frozenset([(packet.src, packet.sport), (packet.dst, packet.dport)]), packet.proto)
        then, same = before.get(key, (0, None))
        packet = replace(packet, mirrored=same == data and abs(ts - then) <= 100_000)
        before[key] = ts, None if packet.mirrored else data
        found.append(Record(*record, packet))
    return found


def packets_of(found: list[Record]) -> tuple[list[Packet], dict[str, int]]:
    """Packets in the order of the file, and reason → frames that are none."""
    return [record.packet for record in found if record.packet], dict(
        Counter(record.reason for record in found if not record.packet)
    )


def read(path: Path) -> tuple[list[Packet], dict[str, int]]:
    return packets_of(records(path))


def assemble(packets: list[Packet], rules: FlowRules) -> list[Flow]:
    """Flows in the order of their first packets."""
    if rules.remove_mirrored:
        packets = [packet for packet in packets if not packet.mirrored]
    flows: list[Flow] = []
    newest: dict[tuple[frozenset[tuple[str, int]], int], Flow] = {}
    for packet in sorted(packets, key=lambda p: p.ts):
        key = (frozenset([(packet.src, packet.sport), (packet.dst, packet.dport)]), packet.proto)
        flow = newest.get(key)
        if flow is not None:
            gap, age = packet.ts - flow.packets[-1].ts, packet.ts - flow.packets[0].ts
            over = gap > rules.idle_timeout_s * 10**9 or (
                rules.active_timeout_s and age > rules.active_timeout_s * 10**9
            )
            closed = rules.tcp_close == "cicflowmeter" and any("fin" in before.flags for before in flow.packets[1:])
            if over or closed:
                flow = None
        if flow is None:
            flow = newest[key] = Flow()
            flows.append(flow)
        flow.packets.append(packet)
    return flows


def features(rows: list[dict[str, float]]) -> dict[str, float]:
    """The 20 features of a flow's stored packets, by the definitions in the contract."""
    sizes, gaps = [row["size"] for row in rows], [row["iat"] for row in rows[1:]]
    forward = [row["size"] for row in rows if row["direction"] == 0]
    backward = [row["size"] for row in rows if row["direction"] == 1]

    def moments(values: list[float]) -> tuple[float, float, float, float]:
        if not values:
            return 0, 0, 0, 0
        mean = math.fsum(values) / len(values)
        return mean, math.sqrt(math.fsum((v - mean) ** 2 for v in values) / len(values)), min(values), max(values)

    raw = {"log_duration": math.fsum(gaps), "n_packets": len(rows), "n_fwd": len(forward), "n_bwd": len(backward)}
    raw |= {"bytes_fwd": sum(forward), "bytes_bwd": sum(backward)}
    raw |= dict(zip(("size_mean", "size_std", "size_min", "size_max"), moments(sizes), strict=True))
    raw |= dict(zip(("iat_mean", "iat_std", "iat_min", "iat_max"), moments(gaps), strict=True))
    raw |= {f"count_{flag}": sum(row[flag] for row in rows) for flag in ("syn", "fin", "rst", "psh", "ack")}
    return {name: math.log1p(value) for name, value in raw.items()} | {
        "down_up_ratio": len(backward) / max(len(forward), 1)
    }
