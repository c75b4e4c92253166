"""Speed: where the tokens of ragged flows sit, so that next to nothing is computed on padding, and batches drawn ahead.
No result depends on it.

Real flows have some 3 to 15 packets of the 64 that a padded batch would hold.  Everything but attention works token by
token, so all tokens of a micro-batch lie in one long row; attention alone needs rectangles, and gets one for each group
of flows of equal length.  Rare lengths join the next longer ones, where their padding is cheaper than a rectangle of
their own.  Masks hide padding, so every grouping gives the same result up to rounding; only the time differs.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Protocol, Self, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

MAX_TOKENS = 4096
"""Tokens of one micro-batch: enough to amortise the dispatch of some hundred operations, few enough for the processor's
cache."""

OVERHEAD_TOKENS = 40  # What one more rectangle costs, in tokens of computation.

SIDE_BY_SIDE = 34
"""Slots of a row of attention that short flows share on the CPU; beyond it, hidden pairs cost more than the calls
saved."""

T = TypeVar("T")


class Movable(Protocol):
    """A batch of tensors."""

    def each(self, change: Callable[[Tensor], Tensor]) -> Self:
        """The same batch with every tensor changed."""


Batch = TypeVar("Batch", bound=Movable)


@dataclass(frozen=True)
class Group:
    """Flows that share a rectangle: ``rows`` (m,) int64 among the flows that were grouped, ``width`` packets, those of
    the longest."""

    rows: NDArray[np.int64]
    width: int

    @property
    def tokens(self) -> int:
        """Tokens of the rectangle: FLOW, packets and padding."""
        return len(self.rows) * (self.width + 1)


@dataclass(frozen=True)
class Layout:
    """The tokens of one micro-batch: B flows and their P packets, flow by flow, placed in the N slots of consecutive
    rectangles.

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
        # (B,) slots of each flow
        tokens = np.repeat([group.width + 1 for group in groups], [len(group.rows) for group in groups])
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
        return cls(
            rows, lengths, flow_of, position, content, slot_flow, flow_slot, packet_slot, tuple(shapes), tuple(padded)
        )

    def packet_rows(self, starts: NDArray[np.int64]) -> NDArray[np.int64]:
        """Where the P packets stand in ragged data whose flows begin at ``starts`` (n,), (P,)."""
        return starts[self.rows][self.flow_of] + self.position


def group_by_length(lengths: NDArray[np.int64], max_tokens: int = MAX_TOKENS) -> list[Group]:
    """A partition of flows with ``lengths`` (n,) packets into rectangles of at most ``max_tokens`` tokens (or one
    flow), shortest first.

    Consecutive lengths are merged where that is cheaper, by dynamic programming over the distinct lengths: a merged
    class costs its tokens, FLOW tokens and padding included, plus ``OVERHEAD_TOKENS`` for each rectangle that it makes.
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


def packed(lengths: NDArray[np.int64], groups: list[Group] | None = None) -> Iterator[Layout]:
    """Flows with ``lengths`` (n,) packets as micro-batches; ``groups`` is any partition of the flows, by default the
    fast one."""
    return (
        Layout.of(batch, lengths) for batch in micro_batches(group_by_length(lengths) if groups is None else groups)
    )


@dataclass(frozen=True)
class Placement:
    """A ``Layout`` as tensors on one device, with the attention mask of each rectangle: (S, S), (m, 1, S, S), or None
    (all visible).

    On the CPU short flows share a rectangle, side by side, and do not see each other.
    """

    position: Tensor
    content: Tensor
    slot_flow: Tensor
    flow_slot: Tensor
    packet_slot: Tensor
    shapes: tuple[tuple[int, int], ...]
    masks: tuple[Tensor | None, ...]

    @classmethod
    def of(cls, layout: Layout, masks: Sequence[Tensor | None], device: torch.device) -> Placement:
        """``layout`` on ``device``, with one of ``masks`` for each of its rectangles."""
        parts = list(zip(layout.shapes, masks, strict=True))
        if device.type == "cpu":
            parts = [part for shape, mask in parts for part in _side_by_side(*shape, mask)]
        indices = layout.position, layout.content, layout.slot_flow, layout.flow_slot, layout.packet_slot
        position, content, slot_flow, flow_slot, packet_slot = (torch.from_numpy(index).to(device) for index in indices)
        placed = tuple(None if mask is None else mask.to(device) for _, mask in parts)
        return cls(position, content, slot_flow, flow_slot, packet_slot, tuple(shape for shape, _ in parts), placed)


def _side_by_side(rows: int, size: int, mask: Tensor | None) -> Iterator[tuple[tuple[int, int], Tensor | None]]:
    """Rectangles with masks in place of one: as many flows to a row as fit into ``SIDE_BY_SIDE`` slots, then the flows
    that remain.

    A head of a row is one call of the processor's attention kernel, which takes about as long for 11 slots as for 33.
    """
    beside = min(SIDE_BY_SIDE // size, rows)
    if beside < 2:
        yield (rows, size), mask
        return
    full = rows // beside
    mask = torch.zeros(size, size) if mask is None else mask
    each = mask.dim() == 4  # a mask for every flow
    blocks = mask[: full * beside].view(full, beside, size, size) if each else mask.expand(1, beside, size, size)
    wide = torch.full((len(blocks), 1, beside, size, beside, size), -math.inf)
    for place in range(beside):
        wide[:, 0, place, :, place] = blocks[:, place]
    wide = wide.view(len(blocks), 1, beside * size, beside * size)
    yield (full, beside * size), wide if each else wide[0, 0]
    if rest := rows - full * beside:
        yield (rest, size), mask[full * beside :] if each else mask


def prefetched(batches: Iterator[T]) -> Iterator[T]:
    """The same batches in the same order, each drawn by one other thread while its predecessor is in use."""
    with ThreadPoolExecutor(max_workers=1) as thread:
        upcoming = thread.submit(next, batches, None)
        while (batch := upcoming.result()) is not None:
            upcoming = thread.submit(next, batches, None)
            yield batch


def on_device(batches: Iterator[Batch], device: torch.device) -> Iterator[Batch]:
    """``batches`` where the network is.  For a GPU a thread draws the next one, into pinned memory, while the last is
    learnt from."""
    if device.type == "cpu":
        return batches
    pinned = prefetched(batch.each(Tensor.pin_memory) for batch in batches)
    return (batch.each(lambda tensor: tensor.to(device, non_blocking=True)) for batch in pinned)
