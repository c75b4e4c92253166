"""Grouping flows by length, so that almost nothing is computed on padding.  numpy only.

Real flows have some 3 to 15 packets of the 64 that a padded batch would hold.  Attention masks make padding invisible, so any grouping gives
the same result up to rounding; only the time differs.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["Group", "group_by_length"]

MAX_TOKENS = 4096
"""Tokens of one micro-batch: large enough to amortise the dispatch of some hundred small operations, small enough for the cache."""

OVERHEAD_TOKENS = 100
"""What starting one more micro-batch costs, in tokens of computation; a rare length joins the next longer one when its padding is cheaper."""


@dataclass(frozen=True)
class Group:
    """Flows that are computed together.

    rows   (m,) int64, indices into the flows that were grouped
    width  packets per row: the longest flow's
    exact  every flow has ``width`` packets, so there is no padding to mask
    """

    rows: NDArray[np.int64]
    width: int
    exact: bool


def group_by_length(lengths: NDArray[np.int64], max_tokens: int = MAX_TOKENS, overhead: int = OVERHEAD_TOKENS) -> list[Group]:
    """A partition of flows with ``lengths`` (n,) packets into micro-batches of at most ``max_tokens`` tokens (or one flow).

    Consecutive lengths are merged where that is cheaper, by dynamic programming over the distinct lengths: a merged class costs its tokens,
    padding and FLOW tokens included, plus ``overhead`` for each micro-batch it makes.
    """
    distinct, counts = np.unique(lengths, return_counts=True)
    ends = np.cumsum(counts)
    best = np.zeros(len(distinct) + 1)  # best[j]: cheapest cost of the j shortest distinct lengths
    first = np.zeros(len(distinct) + 1, dtype=np.int64)  # first[j]: where the last class of that optimum begins
    before = np.concatenate([[0], ends])
    for j, length in enumerate(distinct, start=1):
        flows = ends[j - 1] - before[:j]  # (j,) flows in a class that begins at each i < j and ends here
        tokens = flows * (length + 1)
        costs = best[:j] + tokens + overhead * np.ceil(tokens / max_tokens)
        first[j] = np.argmin(costs)
        best[j] = costs[first[j]]
    order = np.argsort(lengths, kind="stable")
    groups = []
    j = len(distinct)
    while j > 0:
        i = int(first[j])
        width = int(distinct[j - 1])
        rows = order[before[i] : before[j]]
        parts = -(-len(rows) * (width + 1) // max_tokens)
        parts = min(parts, len(rows))
        for part in np.array_split(rows, parts):
            groups.append(Group(part, width, bool(lengths[part[0]] == width)))
        j = i
    return groups
