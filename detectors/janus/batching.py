"""Where the tokens of ragged flows sit, so that next to nothing is computed on padding.  numpy only.

Real flows have some 3 to 15 packets of the 64 that a padded batch would hold.  Everything but attention works token by token, so all tokens of
a micro-batch lie in one long row; attention alone needs rectangles, and gets one for each group of flows of equal length.  Rare lengths join the
next longer ones, where their padding is cheaper than a rectangle of their own.  Masks hide padding, so every grouping gives the same result up to
rounding; only the time differs.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["Group", "Layout", "group_by_length", "micro_batches"]

MAX_TOKENS = 4096
"""Tokens of one micro-batch: enough to amortise the dispatch of some hundred operations, few enough for the processor's cache."""

OVERHEAD_TOKENS = 40
"""What one more rectangle costs, in tokens of computation."""


@dataclass(frozen=True)
class Group:
    """Flows that share a rectangle: ``rows`` (m,) int64 among the flows that were grouped, ``width`` packets, those of the longest."""

    rows: NDArray[np.int64]
    width: int

    @property
    def tokens(self) -> int:
        """Tokens of the rectangle: FLOW, packets and padding."""
        return len(self.rows) * (self.width + 1)


@dataclass(frozen=True)
class Layout:
    """The tokens of one micro-batch: B flows and their P packets, flow by flow, placed in the N slots of consecutive rectangles.

    rows       (B,) int64, the flows, in the order in which a batch holds them
    lengths    (B,) int64, packets of each
    flow_of    (P,) int64, flow of each packet, 0 … B − 1
    position   (P,) int64, place of each packet in its flow, 0 … T − 1
    content    (N,) int64, what a slot holds: b < B a FLOW token, B + p a packet; padding repeats its FLOW token
    slot_flow  (N,) int64, flow of each slot
    flow_slot, packet_slot  (B,) and (P,) int64, where each token went
    shapes     per rectangle (m, S = width + 1)
    padded     per rectangle the number of real tokens of each row (m,), or None when no row has padding
    """

    rows: NDArray[np.int64]
    lengths: NDArray[np.int64]
    flow_of: NDArray[np.int64]
    position: NDArray[np.int64]
    content: NDArray[np.int64]
    slot_flow: NDArray[np.int64]
    flow_slot: NDArray[np.int64]
    packet_slot: NDArray[np.int64]
    shapes: tuple[tuple[int, int], ...]
    padded: tuple[NDArray[np.int64] | None, ...]

    @classmethod
    def of(cls, groups: list[Group], lengths: NDArray[np.int64]) -> Layout:
        """The layout of ``groups`` of flows with ``lengths``; the batch holds the flows group after group."""
        rows = np.concatenate([group.rows for group in groups])
        lengths = lengths[rows]
        tokens = np.repeat([group.width + 1 for group in groups], [len(group.rows) for group in groups])  # (B,) slots of each flow
        flow_slot = np.cumsum(tokens) - tokens
        starts = np.cumsum(lengths) - lengths
        flow_of = np.repeat(np.arange(len(rows)), lengths)
        position = np.arange(len(flow_of)) - starts[flow_of]
        packet_slot = flow_slot[flow_of] + 1 + position
        slot_flow = np.repeat(np.arange(len(rows)), tokens)
        content = slot_flow.copy()
        content[packet_slot] = len(rows) + np.arange(len(packet_slot))
        shapes, padded, done = [], [], 0
        for group in groups:
            real = lengths[done : done + len(group.rows)] + 1
            shapes.append((len(group.rows), group.width + 1))
            padded.append(None if (real == group.width + 1).all() else real)
            done += len(group.rows)
        return cls(rows, lengths, flow_of, position, content, slot_flow, flow_slot, packet_slot, tuple(shapes), tuple(padded))


def group_by_length(lengths: NDArray[np.int64], max_tokens: int = MAX_TOKENS) -> list[Group]:
    """A partition of flows with ``lengths`` (n,) packets into rectangles of at most ``max_tokens`` tokens (or one flow), shortest first.

    Consecutive lengths are merged where that is cheaper, by dynamic programming over the distinct lengths: a merged class costs its tokens,
    FLOW tokens and padding included, plus ``OVERHEAD_TOKENS`` for each rectangle that it makes.
    """
    distinct, counts = np.unique(lengths, return_counts=True)
    before = np.concatenate([[0], np.cumsum(counts)])  # before[j]: flows among the j shortest distinct lengths
    best = np.zeros(len(distinct) + 1)  # best[j]: the least cost of those flows
    first = np.zeros(len(distinct) + 1, dtype=np.int64)  # first[j]: where the last class of that optimum begins
    for j, length in enumerate(distinct, start=1):
        tokens = (before[j] - before[:j]) * (length + 1)  # (j,) of a class from each i < j up to here
        costs = best[:j] + tokens + OVERHEAD_TOKENS * np.ceil(tokens / max_tokens)
        first[j] = np.argmin(costs)
        best[j] = costs[first[j]]
    order = np.argsort(lengths, kind="stable")
    groups: list[Group] = []
    j = len(distinct)
    while j > 0:
        i, width = int(first[j]), int(distinct[j - 1])
        rows = order[before[i] : before[j]]
        per_part = max(max_tokens // (width + 1), 1)
        groups += [Group(part, width) for part in np.split(rows, range(per_part, len(rows), per_part))][::-1]
        j = i
    return groups[::-1]


def micro_batches(groups: list[Group], max_tokens: int = MAX_TOKENS) -> list[list[Group]]:
    """Consecutive groups put together as long as they have at most ``max_tokens`` tokens."""
    batches: list[list[Group]] = []
    room = 0
    for group in groups:
        if not batches or group.tokens > room:
            batches.append([])
            room = max_tokens
        batches[-1].append(group)
        room -= group.tokens
    return batches
