"""Conversations of a packet stream as edges between hosts, and what a host receives.  numpy only."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from janus_bench.contract import PacketStream

IDLE = 120.0  # seconds of silence after which a conversation ends
EDGE_FEATURES = (
    *("duration", "packets_out", "packets_back", "bytes_out", "bytes_back"),
    *("size_mean", "size_std", "size_min", "size_max", "gap_mean", "gap_std", "gap_max"),
)
"""Of a conversation, each as log(1 + value): µs, packets, bytes; out is what its initiator sends."""


@dataclass(frozen=True)
class Conversations:
    """E conversations, capture by capture in the order of their beginnings.

    capture             (E,) int64, not decreasing
    source, destination (E,) uint64: the host that sent the first packet, and the other
    features            (E, 12), ``EDGE_FEATURES``
    of_packet           (P,) int64: the conversation of each packet of the stream
    """

    capture: NDArray[np.int64]
    source: NDArray[np.uint64]
    destination: NDArray[np.uint64]
    features: NDArray[np.float64]
    of_packet: NDArray[np.int64]


def conversations(stream: PacketStream) -> Conversations:
    """All packets between two sockets in a capture without a pause of more than ``IDLE``, whatever flow they are of."""
    low = np.minimum(stream.source_socket, stream.destination_socket)
    high = np.maximum(stream.source_socket, stream.destination_socket)
    order = np.lexsort((high, low, stream.capture))  # stable: packets stay in their order
    time, size = stream.time[order], stream.size[order].astype(np.float64)
    gap = np.diff(time, prepend=0.0)
    new = np.ones(len(order), dtype=bool)
    same = [np.diff(column[order]) == 0 for column in (stream.capture, low, high)]
    new[1:] = ~np.logical_and.reduce(same) | (gap[1:] > IDLE)
    first = np.flatnonzero(new)  # (E,)
    number = np.cumsum(new) - 1  # (P,) in sorted order
    out = stream.source_socket[order] == stream.source_socket[order][first][number]
    gap = np.where(new, 0.0, np.maximum(gap, 0.0)) * 1e6  # µs
    features = np.column_stack(_features(number, first, out, size, gap))
    begun = np.lexsort((order[first], stream.capture[order][first]))  # the stream is in the order of time
    place = np.empty(len(first), dtype=np.int64)
    place[begun] = np.arange(len(first))
    of_packet = np.empty(len(order), dtype=np.int64)
    of_packet[order] = place[number]
    packet = order[first][begun]
    return Conversations(
        stream.capture[packet].astype(np.int64),
        stream.source[packet],
        stream.destination[packet],
        np.log1p(features[begun]),
        of_packet,
    )


def _features(
    number: NDArray[np.int64],
    first: NDArray[np.int64],
    out: NDArray[np.bool_],
    size: NDArray[np.float64],
    gap: NDArray[np.float64],
) -> list[NDArray[np.float64]]:
    """Columns of ``EDGE_FEATURES`` before the logarithm, of conversations that begin at packets ``first``."""
    if not len(first):
        return [np.empty(0)] * len(EDGE_FEATURES)

    def total(values: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.add.reduceat(values, first)

    def moments(values: NDArray[np.float64], n: NDArray[np.float64]) -> list[NDArray[np.float64]]:
        mean = total(values) / n
        return [mean, np.sqrt(total(np.square(values - mean[number])) / n)]

    packets = total(np.ones_like(size))
    gaps = np.maximum(packets - 1, 1)  # the first packet of a conversation has none
    mean_gap = total(gap) / gaps
    around = np.where(np.isin(np.arange(len(gap)), first), 0.0, gap - mean_gap[number])
    return [
        total(gap),
        *(total(side.astype(np.float64)) for side in (out, ~out)),
        *(total(size * side) for side in (out, ~out)),
        *moments(size, packets),
        *(extreme.reduceat(size, first) for extreme in (np.minimum, np.maximum)),
        *(mean_gap, np.sqrt(total(np.square(around)) / gaps), np.maximum.reduceat(gap, first)),
    ]


def received(graph: Conversations, features: NDArray[np.float64]) -> NDArray[np.float64]:
    """Mean of ``features`` (E, D) over the edges into the source and into the destination of each edge, in its capture,
    (E, 2 D); 0 of a host without any."""
    ends = np.concatenate([graph.source, graph.destination])
    keys = np.stack([np.tile(graph.capture, 2).astype(np.uint64), ends], axis=1)
    host = np.unique(keys, axis=0, return_inverse=True)[1].reshape(2, -1)  # (2, E)
    n = int(host.max(initial=-1)) + 1
    sums = np.zeros((n, features.shape[1]))
    np.add.at(sums, host[1], features)
    means = sums / np.maximum(np.bincount(host[1], minlength=n), 1)[:, None]
    return means[host].transpose(1, 0, 2).reshape(len(features), -1)


def windows(capture: NDArray[np.int64], size: int) -> NDArray[np.int64]:
    """Edges (E,) of captures → numbers of edges (N, size) of consecutive windows; the last of a capture reaches back,
    so that it is full, and −1 stands where the whole capture has fewer."""
    rows = []
    bounds = np.concatenate([[0], np.flatnonzero(np.diff(capture)) + 1, [len(capture)]])
    for begin, end in pairwise(bounds.tolist()):
        for start in range(begin, end, size):
            left = max(min(start, end - size), begin)
            row = np.full(size, -1)
            row[: min(size, end - left)] = np.arange(left, min(left + size, end))
            rows.append(row)
    return np.array(rows, dtype=np.int64).reshape(-1, size)
