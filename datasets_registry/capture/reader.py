"""Read one capture file: classic pcap (µs, ns, either byte order) or pcapng, plain or gzip-compressed, into packet columns.

A damaged file yields what precedes the damage, and the damage is counted; only a file that is no capture at all raises.
"""

from __future__ import annotations

import gzip
import io
import struct
import zlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from datasets_registry.capture import kernels as k
from harness.contract import DataError

__all__ = ["Capture", "read_capture"]

CHUNK = 1 << 20

# Magic number → (big-endian, nanoseconds of a unit of the fraction, format)
CLASSIC = {
    b"\xd4\xc3\xb2\xa1": (False, 1000, "pcap"),
    b"\xa1\xb2\xc3\xd4": (True, 1000, "pcap"),
    b"\x4d\x3c\xb2\xa1": (False, 1, "pcap (ns)"),
    b"\xa1\xb2\x3c\x4d": (True, 1, "pcap (ns)"),
}
PCAPNG = b"\x0a\x0d\x0d\x0a"
GZIP = b"\x1f\x8b"


@dataclass(frozen=True, eq=False)
class Capture:
    """The packets of one capture that an IP 5-tuple could be read from, in the order of the file, and what became of the others.

    ts       (P,) int64, ns since the epoch
    session  (P,) int32, row of ``keys``
    size     (P,) uint16, IP length in bytes; win (P,) uint16, TCP window
    bits     (P,) uint8: TCP flags as in ``schema.BIT_OF``; bit 0: the sender is the session's second endpoint
    keys     (S, 5) uint64, interned 5-tuples, see ``kernels.Sessions``
    records  packets in the file, used or not
    dropped  reason → packets that were not used; noted: remark → packets that were
    """

    ts: NDArray[np.int64]
    session: NDArray[np.int32]
    size: NDArray[np.uint16]
    win: NDArray[np.uint16]
    bits: NDArray[np.uint8]
    keys: NDArray[np.uint64]
    format: str
    link_types: tuple[int, ...]
    records: int
    dropped: dict[str, int]
    noted: dict[str, int]


class _Damaged(Exception):
    """The rest of the file cannot be read."""


@dataclass(eq=False)
class _Columns:
    """What the kernels write into, and grow when they ask for room."""

    packets: k.Packets
    sessions: k.Sessions
    counts: NDArray[np.int64] = field(default_factory=lambda: np.zeros(len(k.REASONS), np.int64))
    state: NDArray[np.int64] = field(default_factory=lambda: np.zeros(4, np.int64))

    @classmethod
    def for_file(cls, size: int) -> _Columns:
        n = min(max(size // 96, 256), 1 << 22)
        packets = k.Packets(np.empty(n, np.int64), np.empty(n, np.int32), np.empty(n, np.uint16), np.empty(n, np.uint16), np.empty(n, np.uint8))
        return cls(packets, cls._new_sessions(256))

    @staticmethod
    def _new_sessions(capacity: int) -> k.Sessions:
        """Twice as many slots as keys: a search in the table always ends at a free one."""
        return k.Sessions(np.empty((capacity, k.KEY_WORDS), np.uint64), np.full(2 * capacity, -1, np.int32))

    def grow(self) -> None:
        n, sessions = int(self.state[k.N_PACKETS]), int(self.state[k.N_SESSIONS])
        if n == len(self.packets.ts):
            self.packets = k.Packets(*(_doubled(column) for column in self.packets))
        if sessions == len(self.sessions.keys):
            grown = self._new_sessions(4 * sessions)
            grown.keys[:sessions] = self.sessions.keys
            k.rehash(grown.keys, sessions, grown.table)
            self.sessions = grown


def _doubled(column: NDArray[Any]) -> NDArray[Any]:
    return np.concatenate([column, np.empty_like(column)])


class _Format(Protocol):
    """A capture format, fed with consecutive bytes."""

    name: str

    def scan(self, buf: NDArray[np.uint8], at: int, end: int, columns: _Columns) -> tuple[int, int]:
        """Consume what is complete in ``buf[at:end]``: (first byte not consumed, NEED_DATA or NEED_ROOM); _Damaged ends the file."""

    def link_types(self) -> Iterable[int]:
        """Link types met so far."""


class _Pcap:
    """Classic pcap: a header of 24 bytes, then records of 16 bytes and the packet."""

    def __init__(self, magic: bytes) -> None:
        self.big, tick, self.name = CLASSIC[magic]
        self.interface = np.zeros((1, 5), np.int64)
        self.interface[0, k.MULTIPLY] = tick
        self.header_read = False

    def scan(self, buf: NDArray[np.uint8], at: int, end: int, columns: _Columns) -> tuple[int, int]:
        if not self.header_read:
            if end - at < 24:
                return at, k.NEED_DATA
            (network,) = struct.unpack_from(">I" if self.big else "<I", buf.data, at + 20)
            self.interface[0, k.LINK] = network & 0x03FF_FFFF  # the upper bits tell the length of a frame check sequence
            self.header_read, at = True, at + 24
        at, status = k.scan_pcap(buf, at, end, self.big, self.interface, columns.packets, columns.sessions, columns.counts, columns.state)
        if status == k.CORRUPT:
            raise _Damaged
        return at, status

    def link_types(self) -> Iterable[int]:
        return (int(self.interface[0, k.LINK]),) if self.header_read else ()


class _PcapNg:
    """pcapng: sections of blocks, each section with its own byte order and interfaces."""

    name = "pcapng"

    def __init__(self) -> None:
        self.big = False
        self.interfaces = np.zeros((16, 5), np.int64)
        self.n_interfaces = 0
        self.links: set[int] = set()

    def scan(self, buf: NDArray[np.uint8], at: int, end: int, columns: _Columns) -> tuple[int, int]:
        while True:
            at, status = k.scan_pcapng(
                buf, at, end, self.big, self.interfaces, self.n_interfaces, columns.packets, columns.sessions, columns.counts, columns.state
            )
            if status == k.CORRUPT:
                raise _Damaged
            if status != k.BLOCK_FOR_CALLER:
                return at, status
            size = self._block(buf.data[at:end])
            if size == 0:
                return at, k.NEED_DATA
            at += size

    def link_types(self) -> Iterable[int]:
        return sorted(self.links)

    def _block(self, data: memoryview) -> int:
        """Read a section header or an interface description; its length, or 0 if it is not complete yet."""
        section = bytes(data[:4]) == PCAPNG
        if section:
            if bytes(data[8:12]) not in (b"\x1a\x2b\x3c\x4d", b"\x4d\x3c\x2b\x1a"):
                raise _Damaged
            self.big = bytes(data[8:12]) == b"\x1a\x2b\x3c\x4d"
        order = ">" if self.big else "<"
        (size,) = struct.unpack_from(order + "I", data, 4)
        if size < (28 if section else 20) or size % 4 or size > k.MAX_BLOCK:
            raise _Damaged
        if size > len(data):
            return 0
        if struct.unpack_from(order + "I", data, size - 4)[0] != size:
            raise _Damaged
        if section:
            self.n_interfaces = 0
        else:
            self._interface(order, data[8 : size - 4])
        return size

    def _interface(self, order: str, body: memoryview) -> None:
        (link,) = struct.unpack_from(order + "H", body)
        resolution, offset = 6, 0
        at = 8
        while at + 4 <= len(body):
            code, length = struct.unpack_from(order + "HH", body, at)
            value = body[at + 4 : at + 4 + length]
            if code == 0 or len(value) < length:
                break
            if code == 9 and length == 1:
                resolution = value[0]
            elif code == 14 and length == 8:
                (offset,) = struct.unpack(order + "q", value)
            at += 4 + (length + 3) // 4 * 4
        row = np.zeros(5, np.int64)
        row[k.LINK], row[k.SHIFT] = link, -1
        usable = abs(offset) <= k.MAX_SECONDS
        row[k.OFFSET] = offset * 1_000_000_000 if usable else 0
        exponent = resolution & 0x7F
        if resolution & 0x80 and exponent <= 63:
            row[k.SHIFT] = exponent
        elif not resolution & 0x80 and exponent <= 27:
            row[k.MULTIPLY], row[k.DIVIDE] = 10 ** max(9 - exponent, 0), 10 ** max(exponent - 9, 0)
        else:
            usable = False
        if not usable:  # MULTIPLY 0: every timestamp of this interface is counted as bad
            row[k.SHIFT], row[k.MULTIPLY], row[k.DIVIDE] = -1, 0, 1
        if self.n_interfaces == len(self.interfaces):
            self.interfaces = np.concatenate([self.interfaces, np.zeros_like(self.interfaces)])
        self.interfaces[self.n_interfaces] = row
        self.n_interfaces += 1
        self.links.add(link)


def read_capture(path: Path, advance: Callable[[int], None] = lambda _: None) -> Capture:
    """All packets of one capture; DataError if the file cannot be opened or is not a capture.

    ``advance(n)`` is called after each chunk with the bytes of the file that were read since the last call.
    """
    try:
        size = path.stat().st_size
        with path.open("rb") as plain:
            if plain.read(2) == GZIP:
                plain.seek(0)
                with gzip.open(plain) as stream:
                    return _read(path, stream, plain, 4 * size, advance)
            plain.seek(0)
            return _read(path, plain, plain, size, advance)
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror or error})") from None


def _read(path: Path, stream: io.BufferedIOBase, plain: io.BufferedIOBase, size: int, advance: Callable[[int], None]) -> Capture:
    """``stream`` is the capture's bytes, ``plain`` the file that they come from (the same unless it is compressed)."""
    buf = np.empty(CHUNK, np.uint8)
    columns = _Columns.for_file(size)
    fmt: _Format | None = None
    at = end = position = 0
    while True:
        buf[: end - at] = buf[at:end].copy()  # the start of a record that continues in the next chunk
        at, end = 0, end - at
        got, ended = _fill(stream, buf.data[end:], columns.counts)
        end += got
        advance(plain.tell() - position)
        position = plain.tell()
        if fmt is None:
            fmt = _detect(path, bytes(buf[: min(end, 8)]), bool(columns.counts[k.CORRUPT_COMPRESSION]))
        skip = min(int(columns.state[k.SKIP]), end - at)
        columns.state[k.SKIP] -= skip
        try:
            at, status = fmt.scan(buf, at + skip, end, columns)
            while status == k.NEED_ROOM:
                columns.grow()
                at, status = fmt.scan(buf, at, end, columns)
        except _Damaged:
            columns.counts[k.CORRUPT_RECORD] += 1
            break
        if ended:
            columns.counts[k.CUT_BY_END_OF_FILE] += at < end or columns.state[k.SKIP] > 0
            break
    return _result(fmt, columns)


def _fill(stream: io.BufferedIOBase, room: memoryview, counts: NDArray[np.int64]) -> tuple[int, bool]:
    """Read until ``room`` is full: (bytes, the stream has ended).  Damaged compression is counted and ends the stream."""
    filled = 0
    try:
        while filled < len(room):
            got = stream.readinto1(room[filled:])  # one read at a time: an error then loses nothing that was decompressed before it
            if not got:
                return filled, True
            filled += got
    except (EOFError, zlib.error, gzip.BadGzipFile):
        counts[k.CORRUPT_COMPRESSION] += 1
        return filled, True
    return filled, False


def _detect(path: Path, head: bytes, bad_gzip: bool) -> _Format:
    if head[:4] in CLASSIC:
        return _Pcap(head[:4])
    if head[:4] == PCAPNG:
        return _PcapNg()
    found = f"starts with {head.hex(' ')} ({head!r})" if head else "is damaged gzip" if bad_gzip else "is empty"
    raise DataError(f"{path}: not a capture: it {found}; expected pcap, pcapng, or either of them gzip-compressed")


def _result(fmt: _Format, columns: _Columns) -> Capture:
    n, sessions = int(columns.state[k.N_PACKETS]), int(columns.state[k.N_SESSIONS])
    counted = {name: int(count) for name, count in zip(k.REASONS, columns.counts, strict=True) if count and name != "used"}
    return Capture(
        **{name: column[:n] for name, column in columns.packets._asdict().items()},
        keys=columns.sessions.keys[:sessions],
        format=fmt.name,
        link_types=tuple(fmt.link_types()),
        records=int(columns.state[k.N_RECORDS]),
        dropped={name: count for name, count in counted.items() if not name.startswith("note_")},
        noted={name.removeprefix("note_"): count for name, count in counted.items() if name.startswith("note_")},
    )
