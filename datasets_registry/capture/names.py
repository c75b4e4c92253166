"""A decoded frame as a row of the packet stream: time, length, flow, and keyed hashes of who sent it to whom, named as
Kitsune names them.

The names are texts (Kitsune-py, FeatureExtractor): MAC ``00:11:22:33:44:55``, address ``10.0.0.1`` or ``fe80::1``, port
``443``.  The addresses are those of the outermost IP header, of the ARP message, or else the two MACs; the ports those
of TCP and UDP, ``icmp`` (of IPv4), or else nothing; the sockets of an ARP message are the two MACs.  The keys are what
Kitsune concatenates of them, without delimiters, so that 10.0.0.1 port 180 and 10.0.0.11 port 80 are one socket here as
they are there.

MACs are those of captures of Ethernet, as in the flows.  Elsewhere their text is empty: a sender is its address alone,
the sockets of an ARP message are its addresses, and frames of which nothing else is known have the empty name.
"""

from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from datasets_registry.capture.links import ARP
from datasets_registry.capture.memory import address, be16, byte, le64
from janus_bench.compiled import njit

ROWS = 1 << 14  # that there is room for: 1 MB
TEXT = 512  # bytes of scratch: the names of a row take less than half of it, and a read beyond one stays inside


class Rows(NamedTuple):
    """Room for N rows of the stream.

    time  (N,) float64, s since the epoch; size (N,) uint32, bytes on the wire; flow (N,) int64, serial number of the
          packet's flow, -1: of none (yet)
    keys  (N, 6) uint64: SipHash-2-4 of the names: MAC and address of the sender, both addresses, the two after each
          other, the two sockets
    of_packet  (packets of the window,) int64: the row, counted from the capture's first, of a packet that is not in its
               flow yet
    secret  (2,) uint64, the key of the hashes; text (TEXT,) uint8
    """

    time: NDArray[np.float64]
    size: NDArray[np.uint32]
    flow: NDArray[np.int64]
    keys: NDArray[np.uint64]
    of_packet: NDArray[np.int64]
    secret: NDArray[np.uint64]
    text: NDArray[np.uint8]


class RowSink(Protocol):
    """Where the rows of a capture's packet stream go; ``secret`` (2,) uint64: the key of their hashes."""

    secret: NDArray[np.uint64]

    def append(self, rows: Rows, /) -> None:
        """Take the next rows, valid until this returns; ``flow`` is a serial number, or -1."""

    def attach(self, rows: NDArray[np.int64], serials: NDArray[np.int64], /) -> None:
        """The flows of rows that were given before, counted from the capture's first; n of each."""

    def clear(self) -> None:
        """Forget all rows: the capture is read again in another way."""


def new_rows(secret: NDArray[np.uint64], packets: int) -> Rows:
    """Room for ``ROWS`` rows, and for the row numbers of ``packets`` packets."""
    columns = np.empty(ROWS), np.empty(ROWS, np.uint32), np.empty(ROWS, np.int64), np.empty((ROWS, 6), np.uint64)
    return Rows(*columns, np.empty(packets, np.int64), secret, np.zeros(TEXT, np.uint8))


@njit(nogil=True, forceinline=True)
def _rotated(x: Any, bits: Any) -> Any:
    return (x << np.uint64(bits)) | (x >> np.uint64(64 - bits))


@njit(nogil=True)
def _rounds(a: Any, b: Any, c: Any, d: Any, n: Any) -> Any:
    for _ in range(n):
        a += b
        b = _rotated(b, 13) ^ a
        a = _rotated(a, 32)
        c += d
        d = _rotated(d, 16) ^ c
        a += d
        d = _rotated(d, 21) ^ a
        c += b
        b = _rotated(b, 17) ^ c
        c = _rotated(c, 32)
    return a, b, c, d


@njit(nogil=True)
def _siphash(secret: Any, text: Any, start: Any, stop: Any) -> Any:
    """SipHash-2-4 (Aumasson, Bernstein, 2012) of ``text[start:stop]`` under ``secret`` (2,) uint64, a uint64."""
    low, high = secret[0], secret[1]
    a, b = low ^ np.uint64(0x736F6D6570736575), high ^ np.uint64(0x646F72616E646F6D)
    c, d = low ^ np.uint64(0x6C7967656E657261), high ^ np.uint64(0x7465646279746573)
    n, letters = stop - start, address(text)
    for at in range(start, stop + 1 - n % 8, 8):
        word = np.uint64(le64(letters, at))
        if stop - at < 8:
            word = word & ((np.uint64(1) << np.uint64(8 * (n % 8))) - np.uint64(1)) | np.uint64(n & 255) << np.uint64(
                56
            )
        d ^= word
        a, b, c, d = _rounds(a, b, c, d, 2)
        a ^= word
    a, b, c, d = _rounds(a, b, c ^ np.uint64(255), d, 4)
    return a ^ b ^ c ^ d


@njit(nogil=True)
def _digits(text: Any, n: Any, value: Any, base: Any) -> Any:
    """Append ``value`` in base 10 or 16 without leading zeros."""
    unit = np.int64(1)
    while unit * base <= value:
        unit *= base
    while unit > 0:
        digit = value // unit % base
        text[n] = 48 + digit if digit < 10 else 87 + digit
        n += 1
        unit //= base
    return n


@njit(nogil=True)
def _octets(text: Any, n: Any, buf: Any, at: Any, count: Any) -> Any:
    """Append an IPv4 address (four octets, decimal, with dots) or a MAC (six, of two hexadecimal digits, with
    colons)."""
    base, between = (16, 58) if count == 6 else (10, 46)
    for i in range(count):
        if i:
            text[n] = between
            n += 1
        if base == 16 and byte(buf, at + i) < 16:
            text[n] = 48
            n += 1
        n = _digits(text, n, byte(buf, at + i), base)
    return n


@njit(nogil=True)
def _ipv6(text: Any, n: Any, buf: Any, at: Any) -> Any:
    """As RFC 5952 writes it: the longest run of zero groups, if of two or more, is ``::``."""
    best, longest, run = -1, 1, 0
    for i in range(8):
        run = run + 1 if be16(buf, at + 2 * i) == 0 else 0
        if run > longest:
            best, longest = i - run + 1, run
    i = 0
    while i < 8:
        if i == best:
            text[n], text[n + 1] = 58, 58
            n += 2
            i += longest
            continue
        if i and (best < 0 or i != best + longest):
            text[n] = 58
            n += 1
        n = _digits(text, n, be16(buf, at + 2 * i), 16)
        i += 1
    return n


@njit(nogil=True)
def add_row(
    rows: Any,
    n: Any,
    buf: Any,
    begin: Any,
    end: Any,
    wire: Any,
    ts: Any,
    has_mac: Any,
    kind: Any,
    ip: Any,
    protocol: Any,
    ports: Any,
) -> None:
    """The frame at ``buf`` from ``begin`` to ``end`` as row ``n``, of no flow; ``kind``, ``ip``, ``protocol`` and
    ``ports`` as in ``frames``.

    ``wire``: bytes on the wire; ``ts``: ns since the epoch; ``has_mac``: the frame is of Ethernet.
    """
    seconds = ts // 1_000_000_000
    rows.time[n] = seconds + (ts - seconds * 1_000_000_000) / 1e9
    rows.size[n], rows.flow[n] = wire, -1
    # The text is MAC, address, address: every name but those of the sockets is one stretch of it.
    text, secret = rows.text, rows.secret
    has_mac = has_mac and begin + 14 <= end
    mac = _octets(text, 0, buf, begin + 6, 6) if has_mac else 0
    source = destination = mac
    is_arp = kind == ARP and ip + 28 <= end and be16(buf, ip + 2) == 0x0800
    if kind == 4 and ip + 20 <= end:
        source = _octets(text, mac, buf, ip + 12, 4)
        destination = _octets(text, source, buf, ip + 16, 4)
    elif kind == 6 and ip + 40 <= end:
        source = _ipv6(text, mac, buf, ip + 8)
        destination = _ipv6(text, source, buf, ip + 24)
    elif is_arp:
        source = _octets(text, mac, buf, ip + 14, 4)
        destination = _octets(text, source, buf, ip + 24, 4)
    elif has_mac:
        source = _octets(text, mac, buf, begin + 6, 6)
        destination = _octets(text, source, buf, begin, 6)
    keys = rows.keys[n]
    keys[0], keys[1] = _siphash(secret, text, 0, source), _siphash(secret, text, mac, source)
    keys[2], keys[3] = _siphash(secret, text, source, destination), _siphash(secret, text, mac, destination)
    for side in range(2):
        start = stop = TEXT // 2
        if is_arp and has_mac:
            stop = _octets(text, start, buf, begin + 6 - 6 * side, 6)
        else:
            first, last = (mac, source) if side == 0 else (source, destination)
            for i in range(first, last):
                text[stop] = text[i]
                stop += 1
            if ports:
                stop = _digits(text, stop, be16(buf, ports + 2 * side), 10)
            elif kind == 4 and protocol == 1:
                for letter in (105, 99, 109, 112):  # icmp
                    text[stop] = letter
                    stop += 1
        keys[4 + side] = _siphash(secret, text, start, stop)
