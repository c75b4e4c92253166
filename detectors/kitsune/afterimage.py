"""AfterImage: Kitsune's damped incremental statistics of packet streams (Mirsky et al., NDSS 2018, section V;
Kitsune-py), a vector per packet.

Of every stream (an address, a socket, …) and every decay λ it keeps a weight w, a linear sum LS and a sum of squares
SS, all multiplied by 2^(−λΔt) when the next packet comes; of every pair of streams a damped sum of products of
residuals.  The recursions (``pairs``) are those of the public code, in its order of operations.  What the code does and
the paper does not say:

- A host has one statistic for both of its roles, and one of a pair of hosts for both directions.
- A packet updates the residual sums of all the pairs of its source, and that of its own pair a second time.
- Mean and variance are those of the statistic's last packet: decay alone does not touch them.
- A packet from a host to itself takes the pair that its host got first; if there is none yet, the pair of the host with
  itself, which counts twice.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from detectors.kitsune.pairs import Pairs, insert, insert_pair, no_pairs, no_streams, scratch
from janus_bench.compiled import njit

FEATURES = 100
"""3 × 5 of the sender (MAC with IP), 7 × 5 of the hosts, 3 × 5 of the gaps between the packets of a channel, 7 × 5 of
the sockets; five λ each. Three: weight, mean, variance; seven: those, and radius, magnitude, covariance, correlation of
the pair."""

_MIX = np.uint64(0x9E3779B97F4A7C15)
_HALF = np.uint64(32)


class PacketKeys(NamedTuple):
    """Who sent a packet to whom, (P,) uint64 each: any numbers that are equal where the original's key strings are."""

    sender: NDArray[np.uint64]
    source: NDArray[np.uint64]
    destination: NDArray[np.uint64]
    channel: NDArray[np.uint64]
    source_socket: NDArray[np.uint64]
    destination_socket: NDArray[np.uint64]


@njit(nogil=True)
def _intern(first: Any, second: Any, numbers: Any) -> Any:
    """Number the distinct pairs ``(first[i], second[i])`` in the order of their first appearance: ``numbers[i]``;
    returns how many."""
    slots = 16
    while slots < 2 * len(first):
        slots *= 2
    table = np.full(slots, -1, np.int64)
    n = 0
    for i in range(len(first)):
        a, b = np.uint64(first[i]), np.uint64(second[i])
        hashed = (a ^ (a >> _HALF)) * _MIX + b
        hashed = (hashed ^ (hashed >> _HALF)) * _MIX
        slot = np.int64(hashed >> np.uint64(1)) & (slots - 1)
        while table[slot] >= 0 and not (first[table[slot]] == a and second[table[slot]] == b):
            slot = (slot + 1) & (slots - 1)
        if table[slot] < 0:
            table[slot] = i
            numbers[i] = n
            n += 1
        else:
            numbers[i] = numbers[table[slot]]
    return n


@njit(nogil=True)
def _replay(
    time: Any,
    size: Any,
    ids: Any,
    senders: Any,
    hosts: Any,
    channels: Any,
    sockets: Any,
    now: Any,
    factors: Any,
    out: Any,
) -> Any:
    """Features of consecutive packets into ``out`` (B, 100); ``ids`` (8, B) int64, the rows as ``_Capture`` has them.

    ``now``: the latest time before them; returns that after them.
    """
    for i in range(len(time)):
        t, v, row = time[i], np.float64(size[i]), out[i]
        late = t < now
        insert(senders, ids[0, i], t, v, factors, row, 0, 3)
        insert_pair(*hosts, ids[3, i], ids[1, i], ids[2, i], t, v, late, factors, row, 15)  # type: ignore[call-arg]
        gap = t - channels[ids[4, i], 0, 0]  # NaN for the first packet
        insert(channels, ids[4, i], t, gap if gap > 0 else 0.0, factors, row, 50, 3)
        insert_pair(*sockets, ids[7, i], ids[5, i], ids[6, i], t, v, late, factors, row, 65)  # type: ignore[call-arg]
        now = max(now, t)
    return now


def _numbered(first: NDArray[np.uint64], second: NDArray[np.uint64] | None = None) -> tuple[NDArray[np.int64], int]:
    numbers = np.empty(len(first), np.int64)
    return numbers, int(_intern(first, np.zeros_like(first) if second is None else second, numbers))


def _members(a: NDArray[np.uint64], b: NDArray[np.uint64]) -> tuple[list[NDArray[np.int64]], int, int]:
    """Numbers of both ends and of the unordered pair of each packet, and how many members and pairs there are."""
    numbers, n = _numbered(np.concatenate([a, b]))
    ends = numbers.reshape(2, -1)  # (2, P)
    pairs, n_pairs = _numbered(ends.min(axis=0).astype(np.uint64), ends.max(axis=0).astype(np.uint64))
    return [ends[0], ends[1], pairs], n, n_pairs


@dataclass(frozen=True, eq=False)
class _Capture:
    """Packets of one capture with dense numbers for their keys, and room for exactly their statistics."""

    ids: NDArray[np.int64]
    senders: NDArray[np.float64]
    hosts: Pairs
    channels: NDArray[np.float64]
    sockets: Pairs

    @classmethod
    def of(cls, keys: PacketKeys) -> _Capture:
        senders, n_senders = _numbered(keys.sender)
        hosts, n_hosts, n_host_pairs = _members(keys.source, keys.destination)
        channels, n_channels = _numbered(keys.channel)
        sockets, n_sockets, n_socket_pairs = _members(keys.source_socket, keys.destination_socket)
        return cls(
            np.stack([senders, *hosts, channels, *sockets]),  # (8, P)
            no_streams(n_senders),
            no_pairs(n_hosts, n_host_pairs),
            no_streams(n_channels),
            no_pairs(n_sockets, n_socket_pairs),
        )


class AfterImage:
    """The features of one capture's packets, in blocks, in the order of the capture.

    time  (P,) float64 seconds; size (P,) bytes on the wire; keys: who sent them to whom
    """

    def __init__(self, time: NDArray[np.float64], size: NDArray[Any], keys: PacketKeys) -> None:
        self._time, self._size = np.asarray(time, np.float64), np.asarray(size, np.int64)
        self._capture = _Capture.of(PacketKeys(*(np.ascontiguousarray(key, np.uint64) for key in keys)))
        self._done, self._now = 0, -np.inf

    def __len__(self) -> int:
        return len(self._time)

    def next(self, packets: int) -> NDArray[np.float64]:
        """Features of the next ``packets`` packets (fewer at the end), (B, 100) float64."""
        block = slice(self._done, min(self._done + packets, len(self)))
        out = np.empty((block.stop - block.start, FEATURES))
        c = self._capture
        ids = np.ascontiguousarray(c.ids[:, block])
        time, size = self._time[block], self._size[block]
        self._now = _replay(
            time, size, ids, c.senders, tuple(c.hosts), c.channels, tuple(c.sockets), self._now, scratch(), out
        )
        self._done = block.stop
        return out
