"""The records of a capture file, one after the other, into rows (``capture.frames``); damage ends the file, as it does for the flows."""

from __future__ import annotations

import contextlib
import gzip
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from datasets_registry.capture.frames import (
    KEYS,
    Flows,
    Rows,
    add_row,
)
from janus_bench.errors import DataError

__all__ = ["read_rows"]

CHUNK = 1 << 22
_ROWS = 1 << 16
_LARGEST_RECORD = 262_144  # bytes that libpcap accepts
_LARGEST = 1 << 24  # bytes of a pcapng block; more is damage
_NEED_DATA, _NEED_ROOM, _DESCRIPTION, _DAMAGED = range(4)

# Magic number → (big-endian, ticks per second)
_CLASSIC = {
    b"\xd4\xc3\xb2\xa1": (False, 1_000_000),
    b"\xa1\xb2\xc3\xd4": (True, 1_000_000),
    b"\x4d\x3c\xb2\xa1": (False, 1_000_000_000),
    b"\xa1\xb2\x3c\x4d": (True, 1_000_000_000),
}
_PCAPNG = b"\x0a\x0d\x0d\x0a"
_SECTION, _INTERFACE = 0x0A0D0D0A, 1


@njit(cache=True, nogil=True)
def _u32(buf: Any, at: Any, big: Any) -> Any:
    a, b, c, d = np.int64(buf[at]), np.int64(buf[at + 1]), np.int64(buf[at + 2]), np.int64(buf[at + 3])
    return a << 24 | b << 16 | c << 8 | d if big else d << 24 | c << 16 | b << 8 | a


@njit(cache=True, nogil=True)
def _scan(buf: Any, at: Any, end: Any, big: Any, blocks: Any, interfaces: Any, secret: Any, flows: Any, text: Any, rows: Any, n: Any) -> Any:
    """Rows from ``n`` on of what is complete in ``buf[at:end]``: (first byte not consumed, rows, what it stopped for).

    ``blocks``: pcapng, else classic pcap.  ``interfaces`` (I, 3) int64: link type, ticks per second, seconds to add; a row of zeros: unusable.
    """
    while True:
        if n == len(rows.time):
            return at, n, _NEED_ROOM
        if at + 16 > end:
            return at, n, _NEED_DATA
        if blocks:
            kind, size = _u32(buf, at, big), _u32(buf, at + 4, big)
            if kind in (_SECTION, _INTERFACE):
                return at, n, _DESCRIPTION
            if size < 12 or size % 4 != 0 or size > _LARGEST:
                return at, n, _DAMAGED
            if at + size > end:
                return at, n, _NEED_DATA
            if (kind != 6 and kind != 2) or size < 32:
                at += size
                continue
            which = _u32(buf, at + 8, big)
            if kind == 2:  # the obsolete packet block: 16 bits of it, then a count of drops
                which = which >> 16 if big else which & 0xFFFF
            body, captured, wire = at + 28, _u32(buf, at + 20, big), _u32(buf, at + 24, big)
            ticks = np.uint64(_u32(buf, at + 12, big)) << np.uint64(32) | np.uint64(_u32(buf, at + 16, big))
            following = at + size
            if captured > size - 32 or which >= len(interfaces):
                return at, n, _DAMAGED
        else:
            body, captured, wire, which = at + 16, _u32(buf, at + 8, big), _u32(buf, at + 12, big), 0
            following = body + captured
            if captured > _LARGEST_RECORD:
                return at, n, _DAMAGED
            if following > end:
                return at, n, _NEED_DATA
            ticks = np.uint64(_u32(buf, at, big)) * np.uint64(interfaces[0, 1]) + np.uint64(_u32(buf, at + 4, big))
        unit = np.uint64(interfaces[which, 1])
        at = following
        if unit > 0:
            seconds, rest = np.int64(ticks // unit) + interfaces[which, 2], ticks % unit
            nanoseconds = np.int64(rest * np.uint64(1_000_000_000) // unit)  # below 2**64: ``unit`` is at most 2**34
            if 0 <= seconds < 1 << 33:
                add_row(buf, body, body + captured, wire, interfaces[which, 0], seconds, nanoseconds, secret, flows, text, rows, n)
                n += 1


def read_rows(path: Path, flows: Flows, secret: NDArray[np.uint64]) -> Rows:
    """Every record of a capture with a time; DataError if the file cannot be opened or is not a capture."""
    try:
        with path.open("rb") as plain, contextlib.closing(_unpacked(plain)) as stream:
            return _rows(path, _chunks(stream), flows, secret)
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror or error})") from None


def _unpacked(plain: IO[bytes]) -> Any:
    magic = plain.read(4)
    plain.seek(0)
    if magic[:2] == b"\x1f\x8b":
        return gzip.open(plain)
    if magic == b"\x28\xb5\x2f\xfd":
        import pyarrow

        return pyarrow.CompressedInputStream(pyarrow.PythonFile(plain, mode="r"), "zstd")
    return plain


def _chunks(stream: Any) -> Iterator[bytes]:
    """The bytes of a stream up to its end or to where it cannot be decompressed."""
    while True:
        try:
            chunk = stream.read(CHUNK)
        except (EOFError, zlib.error, gzip.BadGzipFile):
            return
        except OSError as error:
            if error.errno is not None:  # of the file; a decompressor's own have no number
                raise
            return
        if not chunk:
            return
        yield chunk


def _rows(path: Path, chunks: Iterator[bytes], flows: Flows, secret: NDArray[np.uint64]) -> Rows:
    data = b""
    for chunk in chunks:
        data += chunk
        if len(data) >= 24:
            break
    magic = data[:4]
    if magic not in _CLASSIC and magic != _PCAPNG:
        raise DataError(
            f"{path}: not a capture: it starts with {magic.hex(' ') or 'nothing'}; expected pcap or pcapng, plain or packed with gzip or zstd"
        )
    parts, rows, n, at = [], _room(), 0, 0
    text, interfaces = np.zeros(512, np.uint8), _Interfaces()
    if magic in _CLASSIC:
        interfaces.of_classic(data)
        at = 24
    while True:
        buf = np.frombuffer(data, np.uint8)
        while True:
            at, n, status = _scan(buf, at, len(buf), interfaces.big, magic == _PCAPNG, interfaces.table, secret, flows, text, rows, n)
            if status == _NEED_ROOM:
                parts.append(rows)
                rows, n = _room(), 0
                continue
            size = interfaces.described(data, at) if status == _DESCRIPTION else 0
            if size <= 0:
                break
            at += size
        chunk = next(chunks, b"") if status != _DAMAGED and size == 0 else b""
        if not chunk:
            break
        data, at = data[at:] + chunk, 0
    parts.append(Rows(rows.time[:n], rows.size[:n], rows.keys[:n], rows.flow[:n]))
    joined: Any = (np.concatenate(columns) for columns in zip(*parts, strict=True))
    return Rows(*joined)


def _room() -> Rows:
    return Rows(np.empty(_ROWS), np.empty(_ROWS, np.uint32), np.empty((_ROWS, len(KEYS)), np.uint64), np.empty(_ROWS, np.int64))


class _Interfaces:
    """The byte order and the interfaces of the current section, as ``_scan`` reads them."""

    def __init__(self) -> None:
        self.big = False
        self.table = np.zeros((0, 3), np.int64)

    def of_classic(self, header: bytes) -> None:
        """The one interface of a classic pcap, from its first 24 bytes (fewer: a capture cut in its header has no packets)."""
        self.big, ticks = _CLASSIC[header[:4]]
        link = struct.unpack_from(">I" if self.big else "<I", header.ljust(24, b"\0"), 20)[0] & 0x03FF_FFFF  # above: the frame check sequence
        self.table = np.array([[link, ticks, 0]], np.int64)

    def described(self, data: bytes, at: int) -> int:
        """Read the section header or interface description at ``at``: its length, 0 if it is not complete, -1 if it is damaged."""
        section = data[at : at + 4] == _PCAPNG
        if section:
            order = data[at + 8 : at + 12]
            if order not in (b"\x1a\x2b\x3c\x4d", b"\x4d\x3c\x2b\x1a"):
                return -1
            self.big, self.table = order == b"\x1a\x2b\x3c\x4d", self.table[:0]
        mark = ">" if self.big else "<"
        (size,) = struct.unpack_from(mark + "I", data, at + 4)
        if size < (28 if section else 20) or size % 4 or size > _LARGEST:
            return -1
        if at + size > len(data):
            return 0
        if not section:
            self.table = np.concatenate([self.table, [_interface(mark, data[at + 8 : at + size - 4])]])
        return int(size)


def _interface(mark: str, body: bytes) -> tuple[int, int, int]:
    """(link type, ticks per second, seconds to add); no ticks where the resolution is beyond what a time can hold here."""
    (link,) = struct.unpack_from(mark + "H", body)
    ticks, offset, at = 1_000_000, 0, 8
    while at + 4 <= len(body):
        code, length = struct.unpack_from(mark + "HH", body, at)
        value = body[at + 4 : at + 4 + length]
        if code == 0 or len(value) < length:
            break
        if code == 9 and length == 1:
            ticks = 2 ** (value[0] & 0x7F) if value[0] & 0x80 else 10 ** value[0]
        elif code == 14 and length == 8:
            (offset,) = struct.unpack(mark + "q", value)
        at += 4 + (length + 3) // 4 * 4
    return (link, ticks, offset) if ticks <= 2**34 and abs(offset) < 2**33 else (link, 0, 0)
