"""Read one capture file: classic pcap (µs, ns, either byte order, modified) or pcapng, plain or compressed with gzip or
zstd, into packet columns.

A damaged file yields what precedes the damage, an empty one nothing, and the damage is counted; only a file that is no
capture at all raises.
"""

from __future__ import annotations

import gzip
import io
import struct
import zlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from datasets_registry.capture import kernels as k
from datasets_registry.capture.cicflowmeter import N_ACCUMULATORS
from datasets_registry.capture.links import (
    CORRUPT_COMPRESSION,
    CORRUPT_RECORD,
    CUT_BY_END_OF_FILE,
    NOTE_NANOSECONDS,
    REASONS,
    USED,
)
from datasets_registry.capture.magic import CLASSIC, GZIP, PCAPNG, are_nanoseconds, first_times, is_zstd, known_as
from datasets_registry.capture.names import RowSink, new_rows
from datasets_registry.capture.rules import FlowRules
from datasets_registry.capture.sessions import forget, new_sessions, spell_keys
from janus_bench.errors import DataError
from janus_bench.quiet import ignore

CHUNK = 1 << 20
LOG = 4  # stored packets of a flow that there is room for; more are made
HISTORY = 1 << 16  # bytes before the next record that stay in the buffer, for comparison with a mirrored copy


@dataclass(frozen=True, eq=False)
class Scan:
    """What became of the packets of one capture.

    records       packets in the file, used or not; used: those that an IP 5-tuple could be read from
    dropped       reason → packets that were not used; noted: remark → packets that were
    mirrored      second copies of a packet (see ``kernels.MIRROR_WINDOW``), among those used or dropped as such
    identified    of them, those with an IPv4 identification: the others may as well be a sender that repeats itself
    out_of_order  packets whose timestamp is before an earlier packet's of the file
    """

    format: str
    link_types: tuple[int, ...]
    records: int
    used: int
    dropped: dict[str, int]
    noted: dict[str, int]
    mirrored: int
    identified: int
    out_of_order: int

    def without_mirrored(self) -> Scan:
        """The same, mirrored copies counted as dropped."""
        noted = {remark: count for remark, count in self.noted.items() if not remark.startswith("mirrored")}
        dropped = self.dropped | ({"mirrored": self.mirrored} if self.mirrored else {})
        return replace(self, used=self.used - self.mirrored, dropped=dropped, noted=noted)

    def without_packets(self) -> Scan:
        return Scan(*(getattr(self, field.name) for field in fields(Scan)))


@dataclass(frozen=True, eq=False)
class Capture(Scan):
    """The packets of one capture that an IP 5-tuple could be read from, in the order of the file, and what became of
    the others.

    packets  P of them; their ``session`` is a row of ``keys``
    keys     (S, 5) uint64, interned 5-tuples, see ``sessions.Sessions``
    row      (P,) int64, the packet's row of the stream that was written; (0,) if none was
    """

    packets: k.Packets
    keys: NDArray[np.uint64]
    row: NDArray[np.int64]


class Unordered(Exception):
    """A packet is later than what it is read into allows."""


class _Damaged(Exception):
    """The rest of the file cannot be read."""


class _DamagedZstd(Exception):
    """The rest of the file cannot be decompressed."""


class _Stream(Protocol):
    """What ``_fill`` needs of a file."""

    def readinto1(self, buffer: memoryview, /) -> int:
        """At most one read of what is under it; 0 at the end."""


class _Zstd:
    """The decompressed bytes of a zstd file, of one frame or several."""

    STEP = 1 << 13  # an error loses what its read had decompressed: read little at a time

    def __init__(self, plain: io.BufferedIOBase) -> None:
        import pyarrow

        self.stream = pyarrow.CompressedInputStream(pyarrow.PythonFile(plain, mode="r"), "zstd")

    def readinto1(self, buffer: memoryview, /) -> int:
        try:
            return int(self.stream.readinto(buffer[: self.STEP]))
        except OSError as error:
            if error.errno is not None:  # of the file; the decompressor's own have no number
                raise
            raise (EOFError if "Truncated" in str(error) else _DamagedZstd) from None


class Columns(ABC):
    """What the kernels write into; ``make_room`` is called when something is full.

    ``at_once``: packets go to ``flows`` as they are read, else to ``packets``.
    """

    def __init__(
        self,
        packets: int,
        sessions: int,
        flows: int,
        rules: FlowRules,
        whole: bool,
        at_once: bool,
        row_sink: RowSink | None,
    ) -> None:
        columns: list[Any] = [
            np.empty(packets, dtype) for dtype in (np.int64, np.int32, np.uint16, np.uint16, np.uint8)
        ]
        columns += [
            np.empty((packets, 2), np.int64),
            *(np.empty(packets, dtype) for dtype in (np.uint16, np.uint8, np.uint8)),
        ]
        self.packets = k.Packets(*columns)
        self.sessions = new_sessions(sessions)
        self.flows = k.FlowColumns(
            np.empty((flows, k.FLOW_WORDS), np.int64),
            np.empty(LOG * flows, np.int64),
            np.empty(LOG * flows, np.float32),
        )
        self.whole = np.empty((flows, N_ACCUMULATORS)) if whole else None
        self.rules = rules.compiled()
        self.counts = np.zeros(len(REASONS), np.int64)
        self.state = np.zeros(k.STATE_WORDS, np.int64)
        self.state[k.AT_ONCE] = at_once
        self.row_sink = row_sink
        self.stream = new_rows(row_sink.secret, packets) if row_sink else None

    @abstractmethod
    def make_room(self) -> None:
        """Room for one more packet at least, whatever it needs."""

    def pass_rows(self) -> bool:
        """Give the rows of the stream that are there to their sink; whether there was no room for more."""
        if self.stream is None or self.row_sink is None:
            return False
        rows, n = self.stream, int(self.state[k.N_ROWS])
        if n:
            self.row_sink.append(
                rows._replace(time=rows.time[:n], size=rows.size[:n], flow=rows.flow[:n], keys=rows.keys[:n])
            )
            self.state[k.ROWS_BEFORE] += n
            self.state[k.N_ROWS] = 0
        return n == len(rows.time)


class _Growing(Columns):
    """Keeps every packet."""

    def __init__(self, packets: int, rules: FlowRules, row_sink: RowSink | None) -> None:
        super().__init__(packets, 256, 0, rules, whole=False, at_once=False, row_sink=row_sink)

    def make_room(self) -> None:
        if self.pass_rows():
            return
        if self.state[k.N_PACKETS] == len(self.packets.ts):
            self.packets = k.Packets(*(doubled(column) for column in self.packets))
            if self.stream is not None:
                self.stream = self.stream._replace(of_packet=doubled(self.stream.of_packet))
        n = int(self.state[k.N_SESSIONS])
        if n == len(self.sessions.rows):
            old, self.sessions = self.sessions, new_sessions(4 * n)
            pending, no_flows = np.arange(n, dtype=np.int32), self.flows.rows
            forget(0, pending, no_flows, old, n, self.sessions)


def doubled(column: NDArray[Any]) -> NDArray[Any]:
    """Room for as many rows again."""
    return np.concatenate([column, np.empty_like(column)])


def _set_link(interface: NDArray[np.int64], link: int) -> None:
    interface[k.LINK] = link
    interface[k.TYPE_AT], interface[k.IP_AT] = k.FIXED_HEADERS.get(link, (-1, 0))


def _scan(
    buf: NDArray[np.uint8],
    at: int,
    end: int,
    classic: int,
    big: bool,
    interfaces: NDArray[np.int64],
    n_interfaces: int,
    to: Columns,
) -> tuple[int, int]:
    at, status = k.scan(
        buf,
        at,
        end,
        classic,
        big,
        interfaces,
        n_interfaces,
        to.packets,
        to.sessions,
        to.flows,
        to.whole,
        to.rules,
        to.counts,
        to.state,
        to.stream,
    )
    if status == k.UNORDERED:
        raise Unordered
    if status == k.CORRUPT:
        raise _Damaged
    return at, status


class _Pcap:
    """Classic pcap: a header of 24 bytes, then records of 16 bytes and the packet."""

    def __init__(self, magic: bytes) -> None:
        self.big, tick, self.header, self.name = CLASSIC[magic]
        self.interface = np.zeros((1, k.INTERFACE_WORDS), np.int64)
        self.interface[0, k.MULTIPLY] = tick
        self.header_read = self.in_fact_ns = False

    def scan(self, buf: NDArray[np.uint8], at: int, end: int, columns: Columns) -> tuple[int, int]:
        if not self.header_read:
            if end - at < 24:
                return at, k.NEED_DATA
            (network,) = struct.unpack_from(">I" if self.big else "<I", buf.data, at + 20)
            # the upper bits tell the length of a frame check sequence
            _set_link(self.interface[0], network & 0x03FF_FFFF)
            self.header_read, at = True, at + 24
            if self.interface[0, k.MULTIPLY] == 1000 and are_nanoseconds(
                *first_times(buf, at, end, self.big, self.header)
            ):
                self.interface[0, k.MULTIPLY], self.in_fact_ns = 1, True
        return _scan(buf, at, end, self.header, self.big, self.interface, 1, columns)

    def link_types(self) -> Iterable[int]:
        return (int(self.interface[0, k.LINK]),) if self.header_read else ()


class _Nothing:
    """A file that ends before it says what it is, or zeros that a writer had reserved before it died."""

    name = "nothing"

    def scan(self, buf: NDArray[np.uint8], at: int, end: int, columns: Columns) -> tuple[int, int]:
        return (end if end - at > 4 else at), k.NEED_DATA

    def link_types(self) -> Iterable[int]:
        return ()


class _PcapNg:
    """pcapng: sections of blocks, each section with its own byte order and interfaces."""

    name = "pcapng"

    def __init__(self) -> None:
        self.big = False
        self.interfaces = np.zeros((16, k.INTERFACE_WORDS), np.int64)
        self.n_interfaces = 0
        self.links: set[int] = set()

    def scan(self, buf: NDArray[np.uint8], at: int, end: int, columns: Columns) -> tuple[int, int]:
        while True:
            at, status = _scan(buf, at, end, 0, self.big, self.interfaces, self.n_interfaces, columns)
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
        row = np.zeros(k.INTERFACE_WORDS, np.int64)
        _set_link(row, link)
        row[k.SHIFT] = -1
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
            self.interfaces = doubled(self.interfaces)
        self.interfaces[self.n_interfaces] = row
        self.n_interfaces += 1
        self.links.add(link)


_Format = _Pcap | _PcapNg | _Nothing
"""Fed with consecutive bytes.  ``scan`` consumes what is complete in ``buf[at:end]`` and returns (first byte not
consumed, NEED_DATA or NEED_ROOM); _Damaged ends the file.  ``link_types``: those met so far."""


def read_capture(
    path: Path, advance: Callable[[int], None] = ignore, rules: FlowRules | None = None, row_sink: RowSink | None = None
) -> Capture:
    """All packets of one capture, in memory; errors and ``advance`` as in ``scan_file``, ``rules`` and ``row_sink`` for
    the rows of its stream."""
    size = path.stat().st_size if path.is_file() else 0
    columns = _Growing(min(max(size // 96, 256), 1 << 22), rules or FlowRules(), row_sink)
    scan = scan_file(path, columns, advance)
    columns.pass_rows()
    used: list[Any] = [column[: scan.used] for column in columns.packets]
    keys = np.empty((int(columns.state[k.N_SESSIONS]), k.KEY_WORDS), np.uint64)
    spell_keys(columns.sessions, keys)
    row = np.empty(0, np.int64) if columns.stream is None else columns.stream.of_packet[: scan.used]
    return Capture(**vars(scan), packets=k.Packets(*used), keys=keys, row=row)


def scan_file(path: Path, columns: Columns, advance: Callable[[int], None] = ignore) -> Scan:
    """Decode one capture into ``columns``; DataError if the file cannot be opened or is not a capture.

    ``advance(n)`` is called after each chunk with the bytes of the file that were read since the last call.
    """
    try:
        with path.open("rb") as plain:
            magic = plain.read(4)
            plain.seek(0)
            if magic[:2] == GZIP:
                with gzip.open(plain) as stream:
                    return scan_stream(path, _filling(stream, columns), columns, advance, plain.tell, "gzip")
            if is_zstd(magic):
                return scan_stream(path, _filling(_Zstd(plain), columns), columns, advance, plain.tell, "zstd")
            return scan_stream(path, _filling(plain, columns), columns, advance, plain.tell)
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror or error})") from None


def scan_stream(
    name: Path | str,
    fill: Fill,
    columns: Columns,
    advance: Callable[[int], None],
    tell: Callable[[], int] | None = None,
    packing: str = "",
) -> Scan:
    """Decode the bytes of one capture, as ``fill`` brings them, into ``columns``; DataError if it is not a capture.

    ``advance(n)`` is called whenever ``fill`` has returned, with nothing or more: n bytes were read, of the file that
    ``tell`` says the place in.  ``packing``: what the bytes were unpacked from.
    """
    fmt = _read(name, fill, columns, advance, tell, packing)
    columns.counts[NOTE_NANOSECONDS] = columns.counts[USED] if isinstance(fmt, _Pcap) and fmt.in_fact_ns else 0
    counted = {name: int(count) for name, count in zip(REASONS, columns.counts, strict=True) if count}
    used = counted.pop("used", 0)
    return Scan(
        format=fmt.name,
        link_types=tuple(fmt.link_types()),
        records=int(columns.state[k.N_RECORDS]),
        used=used,
        dropped={name: count for name, count in counted.items() if not name.startswith("note_")},
        noted={name.removeprefix("note_"): count for name, count in counted.items() if name.startswith("note_")},
        mirrored=counted.get("note_mirrored", 0),
        identified=counted.get("note_mirrored", 0) - counted.get("note_mirrored_without_id", 0),
        out_of_order=int(columns.state[k.LATE]),
    )


def _filling(stream: _Stream, columns: Columns) -> Fill:
    return lambda room: _fill(stream, room, columns.counts)


def _read(
    path: Path | str,
    fill: Fill,
    columns: Columns,
    advance: Callable[[int], None],
    tell: Callable[[], int] | None,
    packing: str,
) -> _Format:
    buf = np.empty(CHUNK + k.PADDING, np.uint8)
    fmt: _Format | None = None
    at = end = position = 0
    while True:
        begin = max(at - HISTORY, 0)
        buf[: end - begin] = buf[begin:end].copy()  # ends with the start of a record that continues in the next chunk
        at, end = at - begin, end - begin
        columns.state[k.BASE] += begin
        got, ended = fill(buf.data[end:CHUNK])
        end += got
        read = position + got if tell is None else tell()
        advance(read - position)
        position = read
        if fmt is None:
            if end < 8 and ended == GOES_ON:
                continue
            fmt = _detect(path, bytes(buf[: min(end, 8)]), packing if ended == _DAMAGE else "")
        skip = min(int(columns.state[k.SKIP]), end - at)
        columns.state[k.SKIP] -= skip
        try:
            at, status = fmt.scan(buf, at + skip, end, columns)
            while status == k.NEED_ROOM:
                columns.make_room()
                at, status = fmt.scan(buf, at, end, columns)
        except _Damaged:
            columns.counts[CORRUPT_RECORD] += 1
            return fmt
        if ended != GOES_ON:
            columns.counts[CUT_BY_END_OF_FILE] += at < end or columns.state[k.SKIP] > 0
            return fmt


GOES_ON, END, _DAMAGE = range(3)
Fill = Callable[[memoryview], tuple[int, int]]
"""Puts bytes into the room that it is given: (how many, whether and how they have ended); none, and ``GOES_ON``, where
there are none yet."""


def _fill(stream: _Stream, room: memoryview, counts: NDArray[np.int64]) -> tuple[int, int]:
    """Read until ``room`` is full: (bytes, whether and how the stream has ended).  Damaged or cut compression is
    counted."""
    filled = 0
    try:
        while filled < len(room):
            # one read at a time: an error then loses nothing that was decompressed before it
            got = stream.readinto1(room[filled:])
            if not got:
                return filled, END
            filled += got
    except (EOFError, zlib.error, gzip.BadGzipFile, _DamagedZstd) as error:
        counts[CORRUPT_COMPRESSION] += 1
        return filled, END if isinstance(error, EOFError) else _DAMAGE
    return filled, GOES_ON


def _detect(path: Path | str, head: bytes, damaged: str) -> _Format:
    if head[:4] in CLASSIC:
        return _Pcap(head[:4])
    if head[:4] == PCAPNG:
        return _PcapNg()
    if not damaged and (not head.strip(b"\0") or any(magic.startswith(head) for magic in (*CLASSIC, PCAPNG))):
        return _Nothing()
    found = known_as(head) or (f"starts with {head.hex(' ')} ({head!r})" if head else f"is damaged {damaged}")
    raise DataError(
        f"{path}: not a capture: it {found}; expected pcap, pcapng, or either of them compressed with gzip or zstd"
    )
