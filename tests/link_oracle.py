"""A slow, plain-Python way from a captured frame to its IP header, written from the link types' documents and not from
the code under test.

Each reader takes the bytes from its own header on, and returns (IP version, bytes from the IP header on).
"""

from __future__ import annotations

import struct
from collections.abc import Callable


class Unusable(Exception):
    """The frame holds no packet; the message is the reason.  ``arp``: the ARP message that it holds."""

    arp = b""


Found = tuple[int, bytes]
TAGS = {
    0x8100: 4,
    0x88A8: 4,
    0x9100: 4,
    0x9200: 4,
    0x8926: 6,
    0x892F: 6,
    0xF1C1: 6,
    0x8909: 8,
    0x893F: 8,
    0x6558: 14,
    0x88E7: 18,
}
"""EtherType → bytes of the tag behind it, the last two of which are the next EtherType."""
CARRIERS = {0x894F, 0x22F3, 0x8903, 0x22F1, 0xA0ED, 0x876B, 0x880B, 0x4305, 0x88B7, 0x8947, 0xDADA}
"""EtherTypes of what carries packets in ways that are not read."""


def take(data: bytes, size: int) -> tuple[bytes, bytes]:
    if len(data) < size:
        raise Unusable("truncated")
    return data[:size], data[size:]


def number(data: bytes, size: int) -> tuple[int, bytes]:
    head, rest = take(data, size)
    return int.from_bytes(head, "big"), rest


def network(link: int, data: bytes, order: str) -> Found:
    """``order``: ``<`` or ``>``, the byte order of the capture."""
    if link == 239:
        return nflog(data, order)
    if link not in LINKS:
        raise Unusable("unsupported_link_type")
    return LINKS[link](data)


def raw(data: bytes) -> Found:
    version = take(data, 1)[0][0] >> 4
    if version not in (4, 6):
        raise Unusable("bad_header")
    return version, data


def ethertype(kind: int, data: bytes) -> Found:
    if kind in TAGS:
        head, rest = take(data, TAGS[kind])
        return type_or_length(int.from_bytes(head[-2:], "big"), rest)
    if kind in (0x8847, 0x8848):
        return mpls(data)
    if kind == 0x8864:
        return pppoe(data)
    if kind not in (0x0800, 0x86DD):
        unusable = Unusable(behind(kind, data))
        unusable.arp = data if kind == 0x0806 else b""
        raise unusable
    return (4 if kind == 0x0800 else 6), data


def behind(kind: int, data: bytes) -> str:
    """Why there is no packet behind an EtherType."""
    if kind == 0x88E5:  # 802.1AE: the bits E and C of the tag control information
        return "encrypted" if not data or data[0] & 0b1100 else "unsupported_encapsulation"
    return "unsupported_encapsulation" if kind in CARRIERS else "non_ip"


def type_or_length(kind: int, data: bytes) -> Found:
    return llc(data) if kind <= 1500 else ethertype(kind, data)


def ethernet(data: bytes) -> Found:
    head, rest = take(data, 14)
    return type_or_length(int.from_bytes(head[12:], "big"), rest)


def cooked(at: int, size: int) -> Callable[[bytes], Found]:
    def read(data: bytes) -> Found:
        head, rest = take(data, size)
        kind = int.from_bytes(head[at : at + 2], "big")
        return llc(rest) if kind == 4 else ethertype(kind, rest)

    return read


def llc(data: bytes) -> Found:
    head, rest = take(data, 3)
    if head == b"\xaa\xaa\x03":
        return snap(rest)
    if head == b"\x06\x06\x03":
        return 4, rest
    raise Unusable("non_ip")


def snap(data: bytes) -> Found:
    head, rest = take(data, 5)
    if head[:3] in (b"\0\0\0", b"\0\0\xf8"):
        return ethertype(int.from_bytes(head[3:], "big"), rest)
    raise Unusable("unsupported_encapsulation" if head[:3] == b"\x00\x80\xc2" else "non_ip")


def mpls(data: bytes) -> Found:
    entry, data = number(data, 4)
    while not entry & 0x100:
        entry, data = number(data, 4)
    version = take(data, 1)[0][0] >> 4
    if version not in (4, 6):
        raise Unusable("unsupported_encapsulation")
    return version, data


def pppoe(data: bytes) -> Found:
    head, rest = take(data, 6)
    if head[1]:
        raise Unusable("non_ip")
    return ppp(rest)


def ppp(data: bytes) -> Found:
    kind, rest = number(data, 1)
    if not kind & 1:
        kind, rest = number(data, 2)
    reasons = {0x53: "encrypted"} | dict.fromkeys((0x31, 0x2D, 0x2F, 0x3D, 0xFD), "unsupported_encapsulation")
    if kind in (0x21, 0x57):
        return (4 if kind == 0x21 else 6), rest
    if kind in (0x281, 0x283):
        return mpls(rest)
    raise Unusable(reasons.get(kind, "non_ip"))


def framed_ppp(data: bytes) -> Found:
    head, rest = take(data, 2)
    return ppp(rest if head == b"\xff\x03" else data)


def serial_ppp(data: bytes) -> Found:
    return cisco_hdlc(data) if take(data, 2)[0] in (b"\x0f\0", b"\x8f\0") else framed_ppp(data)


def cisco_hdlc(data: bytes) -> Found:
    head, rest = take(data, 4)
    return ethertype(int.from_bytes(head[2:], "big"), rest)


def frame_relay(data: bytes) -> Found:
    for size in range(1, 5):
        if take(data, size)[0][-1] & 1:
            break
    else:
        raise Unusable("bad_header")
    data = data[size:]
    head, rest = take(data, 2)
    if head[0] != 3:
        return ethertype(int.from_bytes(head, "big"), rest)
    kind, rest = number(data[2:] if head[1] == 0 else data[1:], 1)
    if kind in (0xCC, 0x8E):
        return (4 if kind == 0xCC else 6), rest
    if kind == 0xCF:
        return ppp(rest)
    if kind == 0x80:
        return snap(rest)
    raise Unusable("non_ip")


def wlan(data: bytes, padded: bool = False) -> Found:
    control, flags = take(data, 2)[0]
    if control & 3:
        raise Unusable("bad_header")
    kind, subtype = control >> 2 & 3, control >> 4
    if kind != 2 or subtype & 4:
        raise Unusable("non_ip")
    if flags & 0x40:
        raise Unusable("encrypted")
    head, rest = take(data, 24)
    if flags & 3 == 3:
        head, rest = take(data, 30)
    aggregate = 0
    if subtype & 8:
        quality, rest = take(rest, 6 if flags & 0x80 else 2)
        aggregate = quality[0] & 0x80
    if head[22] & 15 or aggregate:
        raise Unusable("unsupported_encapsulation")
    used = len(data) - len(rest)
    return llc(rest[-used % 4 :] if padded else rest)


def radiotap(data: bytes) -> Found:
    version, _, size, present = struct.unpack("<BBHI", take(data, 8)[0])
    if version or size < 8:
        raise Unusable("bad_header")
    head, frame = take(data, size)
    at, word, flags = 8, present, 0
    try:
        while word & 0x8000_0000:
            (word,) = struct.unpack("<I", head[at : at + 4])
            at += 4
        if present & 1:
            at += -at % 8 + 8
        if present & 2:
            flags = head[at]
    except (struct.error, IndexError):
        raise Unusable("bad_header") from None
    return wlan(frame, bool(flags & 0x20))


def ppi(data: bytes) -> Found:
    version, _, size, link = struct.unpack("<BBHI", take(data, 8)[0])
    if version or size < 8:
        raise Unusable("bad_header")
    return network(link, data[size:], "<")


def nflog(data: bytes, order: str) -> Found:
    (family, version, _, _), rest = take(data, 4)
    if version:
        raise Unusable("bad_header")
    while rest:
        size, kind = struct.unpack(order + "HH", take(rest, 4)[0])
        if size < 4:
            raise Unusable("bad_header")
        if kind & 0x7FFF == 9:
            if family not in (2, 10):
                raise Unusable("non_ip")
            return (4 if family == 2 else 6), rest[4:]
        rest = take(rest, size + -size % 4)[1]
    raise Unusable("non_ip")


def loopback(data: bytes) -> Found:
    head, rest = take(data, 4)
    families = {int.from_bytes(head, "little"), int.from_bytes(head, "big")}
    if 2 in families:
        return 4, rest
    if families & {10, 23, 24, 28, 30}:
        return 6, rest
    raise Unusable("non_ip")


LINKS: dict[int, Callable[[bytes], Found]] = {
    **dict.fromkeys((12, 14, 101), raw),
    **dict.fromkeys((0, 108), loopback),
    1: ethernet,
    9: framed_ppp,
    50: serial_ppp,
    51: pppoe,
    104: cisco_hdlc,
    105: wlan,
    107: frame_relay,
    113: cooked(14, 16),
    127: radiotap,
    192: ppi,
    204: lambda data: framed_ppp(take(data, 1)[1]),
    228: lambda data: (4, data),
    229: lambda data: (6, data),
    276: cooked(0, 20),
}
