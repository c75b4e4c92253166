"""Captures made byte by byte with ``struct``, for tests that know what is in them."""

from __future__ import annotations

import socket
import struct
from collections.abc import Container, Iterable

TCP, UDP, ICMP = 6, 17, 1
FIN, SYN, RST, PSH, ACK, URG = 1, 2, 4, 8, 16, 32


def tcp(sport: int, dport: int, flags: int = ACK, window: int = 1000, payload: bytes = b"") -> bytes:
    return struct.pack(">HHIIBBHHH", sport, dport, 1, 2, 5 << 4, flags, window, 0, 0) + payload


def udp(sport: int, dport: int, payload: bytes = b"") -> bytes:
    return struct.pack(">HHHH", sport, dport, 8 + len(payload), 0) + payload


def ipv4(
    src: str,
    dst: str,
    protocol: int,
    payload: bytes,
    *,
    total: int | None = None,
    fragment: int = 0,
    options: bytes = b"",
) -> bytes:
    """``fragment``: the 16 bits of flags and offset."""
    length = 20 + len(options) + len(payload) if total is None else total
    head = struct.pack(">BBHHHBBH", 0x45 + len(options) // 4, 0, length, 7, fragment, 64, protocol, 0)
    return head + socket.inet_aton(src) + socket.inet_aton(dst) + options + payload


def ipv6(src: str, dst: str, following: int, payload: bytes, *, length: int | None = None) -> bytes:
    head = struct.pack(">IHBB", 6 << 28, len(payload) if length is None else length, following, 64)
    return head + socket.inet_pton(socket.AF_INET6, src) + socket.inet_pton(socket.AF_INET6, dst) + payload


def ethernet(
    payload: bytes, ethertype: int = 0x0800, tags: Iterable[tuple[int, int]] = (), wide: Container[int] = ()
) -> bytes:
    """``tags``: (tag protocol, tag) of VLANs, outermost first; tags of a protocol in ``wide`` take 4 bytes, not 2."""
    types = [*(kind for kind, _ in tags), ethertype]
    head = b"\x02" * 12 + struct.pack(">H", types[0])
    for (kind, tag), following in zip(tags, types[1:], strict=True):
        head += struct.pack(">IH" if kind in wide else ">HH", tag, following)
    return head + payload


def pcap(
    packets: Iterable[tuple[int, bytes]], *, order: str = "<", ns: bool = False, link: int = 1, snaplen: int = 65535
) -> bytes:
    """``packets``: (ns since the epoch, frame); frames are cut to ``snaplen``, the record keeps their length."""
    out = struct.pack(order + "IHHiIII", 0xA1B23C4D if ns else 0xA1B2C3D4, 2, 4, 0, 0, snaplen, link)
    for ts, frame in packets:
        fraction = ts % 10**9 // (1 if ns else 1000)
        out += (
            struct.pack(order + "IIII", ts // 10**9, fraction, min(len(frame), snaplen), len(frame)) + frame[:snaplen]
        )
    return out


def block(kind: int, body: bytes, order: str = "<") -> bytes:
    body += b"\0" * (-len(body) % 4)
    size = struct.pack(order + "I", 12 + len(body))
    return struct.pack(order + "I", kind) + size + body + size


def section(order: str = "<") -> bytes:
    return block(0x0A0D0D0A, struct.pack(order + "IHHq", 0x1A2B3C4D, 1, 0, -1), order)


def interface(link: int = 1, order: str = "<", resolution: int | None = None, offset: int | None = None) -> bytes:
    options = b""
    if resolution is not None:
        options += struct.pack(order + "HH", 9, 1) + bytes([resolution, 0, 0, 0])
    if offset is not None:
        options += struct.pack(order + "HHq", 14, 8, offset)
    if options:
        options += struct.pack(order + "HH", 0, 0)
    return block(1, struct.pack(order + "HHI", link, 0, 65535) + options, order)


def enhanced(
    ticks: int, frame: bytes, order: str = "<", number: int = 0, options: bytes = b"", original: int | None = None
) -> bytes:
    head = struct.pack(
        order + "IIIII",
        number,
        ticks >> 32,
        ticks & 0xFFFF_FFFF,
        len(frame),
        len(frame) if original is None else original,
    )
    return block(6, head + frame + b"\0" * (-len(frame) % 4) + options, order)
