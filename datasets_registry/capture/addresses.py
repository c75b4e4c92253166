"""IP addresses as two 64-bit words, the form in which captures and labels are compared.  IPv4 is (0, address)."""

import socket
from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray


def parse_address(text: str) -> tuple[int, int, int]:
    """(IP version, high word, low word) of a textual address; ValueError if it is none."""
    family, version = (socket.AF_INET6, 6) if ":" in text else (socket.AF_INET, 4)
    try:
        packed = socket.inet_pton(family, text)
    except OSError:
        raise ValueError(f"{text!r} is not an IP address") from None
    value = int.from_bytes(packed, "big")
    return version, value >> 64, value & (1 << 64) - 1


def texts(versions: NDArray[np.int64], words: NDArray[np.uint64]) -> list[str]:
    """The usual text (RFC 5952 for IPv6) of n addresses: ``versions`` (n,) of 4 and 6, ``words`` (n, 2)."""
    known: dict[tuple[int, int, int], str] = {}
    result = []
    rows: Iterable[tuple[int, list[int]]] = zip(versions.tolist(), words.tolist(), strict=True)
    for version, (high, low) in rows:
        text = known.get((version, high, low))
        if text is None:
            text = (
                ".".join(str(byte) for byte in low.to_bytes(4, "big")) if version == 4 else _ipv6_text(high << 64 | low)
            )
            known[version, high, low] = text
        result.append(text)
    return result


def _ipv6_text(value: int) -> str:
    """RFC 5952 without dotted quads: systems and Python versions disagree on when to write those, and the text is part
    of a store's hash."""
    groups = [f"{value >> shift & 0xFFFF:x}" for shift in range(112, -1, -16)]
    for length in range(8, 1, -1):
        for start in range(9 - length):
            if groups[start : start + length] == ["0"] * length:
                return ":".join(groups[:start]) + "::" + ":".join(groups[start + length :])
    return ":".join(groups)
