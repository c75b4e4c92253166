"""Conversations as packets, and the two capture formats, written with ``struct``."""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

__all__ = [
    "ACK",
    "FIN",
    "ICMP",
    "PSH",
    "RST",
    "SYN",
    "TCP",
    "UDP",
    "US",
    "Ends",
    "Packet",
    "arp",
    "conversation",
    "doubled",
    "long_conversation",
    "write_pcap",
    "write_pcapng",
]

ICMP, TCP, UDP = 1, 6, 17
FIN, SYN, RST, PSH, ACK = 1, 2, 4, 8, 16
US = 1000
GRAIN_US = 10  # between packets of a conversation: room for a mirror port's copies


@dataclass(frozen=True)
class Ends:
    """A 5-tuple and the link's two addresses; ``src`` begins."""

    src: str
    sport: int
    dst: str
    dport: int
    proto: int
    src_mac: str = "02:00:00:00:00:01"
    dst_mac: str = "02:00:00:00:00:02"

    def reversed(self) -> Ends:
        return Ends(self.dst, self.dport, self.src, self.sport, self.proto, self.dst_mac, self.src_mac)


@dataclass(frozen=True)
class Packet:
    """ts: ns since the epoch; forward: sent by ``ends.src``; payload: bytes after the transport header; number: the IP
    identification."""

    ts: int
    ends: Ends
    forward: bool
    flags: int
    payload: int
    number: int

    @property
    def header(self) -> int:
        """Bytes of the transport header."""
        return 20 if self.ends.proto == TCP else 8

    def frame(self) -> bytes:
        way = self.ends if self.forward else self.ends.reversed()
        data = bytes(self.payload)
        if way.proto == TCP:
            segment = struct.pack(
                ">HHIIBBHHH", way.sport, way.dport, self.number, 1, 5 << 4, self.flags, 8192 + self.number % 1000, 0, 0
            )
        elif way.proto == UDP:
            segment = struct.pack(">HHHH", way.sport, way.dport, 8 + len(data), 0)
        else:
            segment = struct.pack(">BBHHH", 8 if self.forward else 0, 0, 0, 1, self.number)
        length = 20 + len(segment) + len(data)
        ip = (
            struct.pack(">BBHHHBBH", 0x45, 0, length, self.number, 0x4000, 64, way.proto, 0)
            + socket.inet_aton(way.src)
            + socket.inet_aton(way.dst)
        )
        link = bytes.fromhex(way.dst_mac.replace(":", "")) + bytes.fromhex(way.src_mac.replace(":", "")) + b"\x08\x00"
        return link + ip + segment + data


def conversation(
    rng: np.random.Generator,
    ends: Ends,
    start: int,
    *,
    n: int,
    span_us: int,
    payload: int = 300,
    one_way: bool = False,
    fin: bool = True,
) -> list[Packet]:
    """``n`` packets from ``start`` (ns, a multiple of 1 µs) to ``start`` + ``span_us``; a FIN, where TCP says goodbye,
    is the last packet."""
    room = span_us // GRAIN_US - 1
    inner: set[int] = set()  # no two packets at one time, as long as the span allows it
    while len(inner) < min(n - 2, room):
        inner.add(int(rng.integers(1, room + 1)) * GRAIN_US)
    offsets = [0, *sorted(inner), *[span_us] * n][:n]
    packets = []
    for i, offset in enumerate(offsets):
        forward = one_way or (i % 2 == 0 if i < 3 else bool(rng.random() < 0.5))
        flags, size = 0, int(rng.integers(1, payload + 1)) if payload else 0
        if ends.proto == TCP:
            flags = {0: SYN, 1: ACK if one_way else SYN | ACK}.get(i, PSH | ACK)
            size = 0 if i < 2 and not one_way else size
            if i == n - 1 and n > 3 and fin:
                flags = FIN | ACK
            elif i == 1 and n == 2:
                flags = RST | ACK
        packets.append(Packet(start + offset * US, ends, forward, flags, size, i + 1))
    return packets


def long_conversation(
    rng: np.random.Generator, ends: Ends, start: int, *, n: int = 40, gap_us: int = 8_000_000
) -> list[Packet]:
    """``n`` packets about ``gap_us`` apart."""
    times = [
        start + (i * gap_us + int(rng.integers(0, gap_us // (2 * GRAIN_US))) * GRAIN_US * (i > 0)) * US
        for i in range(n)
    ]
    return [Packet(ts, ends, i % 2 == 0, PSH | ACK, int(rng.integers(1, 500)), i + 1) for i, ts in enumerate(times)]


def doubled(rng: np.random.Generator, packets: Iterable[Packet]) -> list[Packet]:
    """Every packet twice, the copy 1–3 µs later."""
    return [
        copy for packet in packets for copy in (packet, replace(packet, ts=packet.ts + int(rng.integers(1, 4)) * US))
    ]


def in_order(packets: Iterable[Packet]) -> list[Packet]:
    return sorted(packets, key=lambda packet: packet.ts)


def write_pcap(path: Path, packets: Iterable[Packet], others: Iterable[tuple[int, bytes]] = ()) -> None:
    """Classic pcap, µs, Ethernet.  ``others``: (ts, frame) of what is no IP."""
    path.parent.mkdir(parents=True, exist_ok=True)
    records = sorted(
        [*((packet.ts, packet.frame()) for packet in in_order(packets)), *others], key=lambda record: record[0]
    )
    with path.open("wb") as file:
        file.write(struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 65535, 1))
        for ts, frame in records:
            file.write(struct.pack("<IIII", ts // 10**9, ts % 10**9 // US, len(frame), len(frame)) + frame)


def _block(kind: int, body: bytes) -> bytes:
    body += bytes(-len(body) % 4)
    size = struct.pack("<I", 12 + len(body))
    return struct.pack("<I", kind) + size + body + size


def write_pcapng(path: Path, packets: Iterable[Packet], others: Iterable[tuple[int, bytes]] = ()) -> None:
    """pcapng: one section, one Ethernet interface, the default resolution (µs)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    records = sorted(
        [*((packet.ts, packet.frame()) for packet in in_order(packets)), *others], key=lambda record: record[0]
    )
    with path.open("wb") as file:
        file.write(_block(0x0A0D0D0A, struct.pack("<IHHq", 0x1A2B3C4D, 1, 0, -1)))
        file.write(_block(1, struct.pack("<HHI", 1, 0, 65535)))
        for ts, frame in records:
            ticks = ts // US
            head = struct.pack("<IIIII", 0, ticks >> 32, ticks & 0xFFFF_FFFF, len(frame), len(frame))
            file.write(_block(6, head + frame))


def arp(src_mac: str, src: str, dst: str) -> bytes:
    """An ARP request."""
    mac = bytes.fromhex(src_mac.replace(":", ""))
    return (
        b"\xff" * 6
        + mac
        + b"\x08\x06"
        + struct.pack(">HHBBH", 1, 0x0800, 6, 4, 1)
        + mac
        + socket.inet_aton(src)
        + bytes(6)
        + socket.inet_aton(dst)
    )
