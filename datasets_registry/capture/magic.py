"""What the first bytes of a file say it is, and whether a classic capture's first records agree with that."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from datasets_registry.capture.kernels import MAX_RECORD
from datasets_registry.capture.links import u32
from datasets_registry.capture.memory import address
from janus_bench.compiled import njit

JUDGED = 1 << 12  # first records of a classic capture that tell whether its fractions are what its magic number says

# Magic number → (big-endian, nanoseconds of a unit of the fraction, bytes of a record before its packet, format)
CLASSIC = {
    b"\xd4\xc3\xb2\xa1": (False, 1000, 16, "pcap"),
    b"\xa1\xb2\xc3\xd4": (True, 1000, 16, "pcap"),
    b"\x4d\x3c\xb2\xa1": (False, 1, 16, "pcap (ns)"),
    b"\xa1\xb2\x3c\x4d": (True, 1, 16, "pcap (ns)"),
    # By A. Kuznetzov's patch: interface, protocol and packet type are behind the lengths.
    b"\x34\xcd\xb2\xa1": (False, 1000, 24, "pcap (modified)"),
    b"\xa1\xb2\xcd\x34": (True, 1000, 24, "pcap (modified)"),
}
PCAPNG = b"\x0a\x0d\x0d\x0a"
GZIP = b"\x1f\x8b"
ZSTD = b"\x28\xb5\x2f\xfd"
# Behind a byte from 0x50 to 0x5f: a frame of something else, such as pzstd's sizes, which decompressors pass over.
ZSTD_SKIPPABLE = b"\x2a\x4d\x18"
OTHERS = {
    b"\xfd7zXZ": "compressed with xz",
    b"BZh": "compressed with bzip2",
    b"\x04\x22\x4d\x18": "compressed with lz4",
    b"7z\xbc\xaf": "packed with 7-Zip",
    b"PK": "packed with zip",
    b"Rar!": "packed with rar",
    b"snoop\0": "of Solaris' snoop",
    b"\x00\x05\x16\x07": "what macOS leaves beside a file",
}
"""How files begin that people take for captures → what they are."""


def is_zstd(magic: bytes) -> bool:
    """Whether a file that begins with these four bytes is one of zstd."""
    return magic == ZSTD or (magic[1:] == ZSTD_SKIPPABLE and magic[0] >> 4 == 5)


def known_as(head: bytes) -> str:
    """What a file that is no capture is, if it is one of ``OTHERS`` or a capture that should have been unpacked by
    now."""
    if packing := "gzip" if head.startswith(GZIP) else "zstd" if is_zstd(head[:4]) else "":
        return f"is compressed with {packing}: unpack it first (`{packing} -dc`)"
    return next((f"is {what}" for magic, what in OTHERS.items() if head.startswith(magic)), "")


def first_times(
    buf: NDArray[np.uint8], at: int, end: int, big: bool, header: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Seconds and fractions of the first whole records in ``buf[at:end]``; ``header``: bytes before each packet."""
    seconds, fractions = np.empty((2, JUDGED), np.int64)
    n = _first_times(buf, at, end, big, header, seconds, fractions)
    return seconds[:n], fractions[:n]


@njit()
def _first_times(buf: Any, at: int, end: int, big: bool, header: int, seconds: Any, fractions: Any) -> int:
    data, n = address(buf), 0
    while at + header <= end and n < len(seconds):
        captured = u32(data, at + 8, big)
        if captured > MAX_RECORD or at + header + captured > end:
            break
        seconds[n], fractions[n] = u32(data, at, big), u32(data, at + 4, big)
        at += header + captured
        n += 1
    return n


def are_nanoseconds(seconds: NDArray[np.int64], fractions: NDArray[np.int64]) -> bool:
    """Whether fractions that should be of microseconds are all of nanoseconds.

    Most of them have to be beyond a million, none beyond 10⁹.  Of the others, one that lies before a packet that
    precedes it was meant as microseconds; a few may be packets out of order.
    """
    beyond, times = fractions >= 1_000_000, seconds * 1_000_000_000 + fractions
    early = ~beyond & (times < np.maximum.accumulate(times))
    return (
        2 * int(beyond.sum()) > len(times)
        and bool((fractions < 1_000_000_000).all())
        and int(early.sum()) <= len(times) // 100
    )
