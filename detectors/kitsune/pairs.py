"""Damped statistics of streams and of pairs of streams: the recursions of AfterImage (Kitsune-py), and how a hub is
spared most of them.

The public code updates, with every packet, the residual sums of all the pairs of its source, which takes a server with
n clients n steps a packet.  Here a member with more than ``HUB`` partners is a hub.  It sums its residuals once, S ← S
· 2^(−λΔt) + residual, and its pair with a smaller partner waits: while that partner is silent, its last residual r is a
factor of all that the pair misses, which is r · (S − S₀ · 2^(−λ(t − t₀))) with S₀ at t₀ as it was when the pair was
last up to date.  The pair catches up when its partner sends, or when its features are asked for.  Pairs of two hubs,
and of none, do not wait.  That holds as long as time does not go back; at a packet that is earlier than one before it
all the pairs of its source catch up, and none waits.  In exact arithmetic the results are the same; in float64 they
differ from those of single steps by rounding, which shows where a variance, covariance or correlation is nearly zero.
"""

import math
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from janus_bench.compiled import njit

DECAYS = (5.0, 3.0, 1.0, 0.1, 0.01)  # λ of 2^(−λΔt), in 1/s, in the order of the features.

HUB = 16  # Partners that a member may have without being a hub.

_N = len(DECAYS)
# smaller sums are as good as none, and subnormal numbers would make the processor a hundred times slower
_GONE = 1e-300
_TINY = 1e-20  # weight of a statistic without packets

# Rows of a stream or member: times; linear sum, sum of squares, weight; mean, variance; of a hub: damped sum of its
# residuals, damped number of its packets, last residual.
_TIMES, _LS, _SS, _W, _MEAN, _VAR, _SUM, _SENT, _RESIDUAL = range(9)
# Of a pair: times; damped sum of products of residuals, its weight; last residual of either member; the hub's sums when
# the pair was up to date.
_CROSS, _COUNT, _FIRST, _SECOND, _SUM_THEN, _SENT_THEN = range(1, 7)
# Columns of ``_TIMES``: last packet; as a hub (of a pair: of its hub, when the pair was up to date).
_LAST, _HUB_LAST = range(2)
# Columns of ``ties``: first and last entry on a member's list of pairs, the same of its pairs with hubs, pairs, packets
# since it is a hub, is it one.
_HEAD, _TAIL, _HUB_HEAD, _HUB_TAIL, _DEGREE, _PACKETS, _IS_HUB = range(7)
# Columns of ``ends``: the two members, the side of the hub that the pair waits for (-1: none), packets of the hub when
# the pair was up to date.
_A, _B, _WAITS, _PACKETS_THEN = range(4)


class Pairs(NamedTuple):
    """Statistics of n hosts or sockets and of L pairs of them.

    members    (n, 9, λ) float64, the times NaN before the first packet; ties (n, 7) int64
    links      (L, 7, λ) float64; ends (L, 4) int64, the members -1 before the pair is made
    following  (2 L, 2) int64: entry 2 l + s stands for pair l on the lists of its member s; the entry after it, of all
               pairs and of those with hubs
    """

    # The kernels take these arrays one by one: of a tuple they would count references at every access, which takes
    # longer than the arithmetic.
    members: NDArray[np.float64]
    ties: NDArray[np.int64]
    links: NDArray[np.float64]
    ends: NDArray[np.int64]
    following: NDArray[np.int64]


def no_streams(n: int, rows: int = 6) -> NDArray[np.float64]:
    """Room for the statistics of ``n`` streams, (n, 6, λ)."""
    streams = np.zeros((n, rows, _N))
    streams[:, _TIMES, _LAST] = np.nan
    return streams


def no_pairs(n: int, pairs: int) -> Pairs:
    """Room for ``n`` members and ``pairs`` pairs."""
    return Pairs(
        members=no_streams(n, 9),
        ties=np.tile(np.array([-1, -1, -1, -1, 0, 0, 0]), (n, 1)),
        links=np.zeros((pairs, 7, _N)),
        ends=np.tile(np.array([-1, -1, -1, 0]), (pairs, 1)),
        following=np.full((2 * pairs, 2), -1, np.int64),
    )


def scratch() -> NDArray[np.float64]:
    """The λs, and two gaps with their factors: (3, λ + 1), the last column the base of the powers and the gaps.

    The base is no literal in the kernels, for of that the compiler would make exp2, whose last bits differ from those
    of pow.
    """
    return np.array([[*DECAYS, 2.0], np.zeros(_N + 1), np.zeros(_N + 1)])


@njit(nogil=True)
def _factors(gap: Any, factors: Any) -> Any:
    """The row of ``factors`` with 2^(−λ · gap).

    Row 1 stays as it is: the pairs of a host that sends have nearly all waited since its last packet, and a power costs
    more than all the rest.
    """
    row = 1 if gap == factors[1, _N] else 2
    if row == 2 and gap != factors[2, _N]:
        for k in range(_N):
            factors[2, k] = math.pow(factors[0, _N], -factors[0, k] * gap)
        factors[2, _N] = gap
    return row


@njit(nogil=True)
def _decay(values: Any, i: Any, rows: Any, t: Any, factors: Any) -> Any:
    """Decay ``rows`` rows of ``i`` to time ``t``; nothing where its last packet is not earlier."""
    gap = t - values[i, _TIMES, _LAST]
    if gap > 0:
        row = _factors(gap, factors)
        for j in range(1, rows + 1):
            for k in range(_N):
                decayed = values[i, j, k] * factors[row, k]
                values[i, j, k] = decayed if abs(decayed) > _GONE else 0.0
        values[i, _TIMES, _LAST] = t


@njit(nogil=True)
def insert(values: Any, i: Any, t: Any, v: Any, factors: Any, out: Any, at: Any, width: Any) -> Any:
    """Add ``v`` at ``t`` to stream ``i``; weight, mean and variance of each λ go to ``out[at]`` and on, ``width``
    columns apart."""
    if math.isnan(values[i, _TIMES, _LAST]):
        values[i, _TIMES, _LAST] = t
        values[i, _W, :] = _TINY
    gap = t - values[i, _TIMES, _LAST]
    if gap > 0 and gap != factors[1, _N]:
        for k in range(_N):
            factors[1, k] = math.pow(factors[0, _N], -factors[0, k] * gap)
        factors[1, _N] = gap
    _decay(values, i, 3, t, factors)
    for k in range(_N):
        values[i, _LS, k] += v
        values[i, _SS, k] += v * v
        values[i, _W, k] += 1
        weight = values[i, _W, k]
        mean = values[i, _LS, k] / weight
        variance = abs(values[i, _SS, k] / weight - mean * mean)
        values[i, _MEAN, k], values[i, _VAR, k] = mean, variance
        out[at + width * k], out[at + width * k + 1], out[at + width * k + 2] = weight, mean, variance


@njit(nogil=True)
def _sum_up(members: Any, ties: Any, hub: Any, t: Any, v: Any, factors: Any) -> Any:
    """A hub has sent ``v`` at ``t``."""
    gap = t - members[hub, _TIMES, _HUB_LAST]
    if gap > 0:
        row = _factors(gap, factors)
        for k in range(_N):
            members[hub, _SUM, k] *= factors[row, k]
            members[hub, _SENT, k] *= factors[row, k]
        members[hub, _TIMES, _HUB_LAST] = t
    for k in range(_N):
        residual = v - members[hub, _MEAN, k]
        members[hub, _SUM, k] += residual
        members[hub, _SENT, k] += 1
        members[hub, _RESIDUAL, k] = residual
    ties[hub, _PACKETS] += 1


@njit(nogil=True)
def _note(members: Any, ties: Any, links: Any, ends: Any, link: Any, hub: Any) -> Any:
    """A pair is up to date with its hub."""
    links[link, _TIMES, _HUB_LAST] = members[hub, _TIMES, _HUB_LAST]
    ends[link, _PACKETS_THEN] = ties[hub, _PACKETS]
    for k in range(_N):
        links[link, _SUM_THEN, k] = members[hub, _SUM, k]
        links[link, _SENT_THEN, k] = members[hub, _SENT, k]


@njit(nogil=True)
def _catch_up(members: Any, ties: Any, links: Any, ends: Any, link: Any, factors: Any) -> Any:
    """Let a pair that waits, and its smaller member, have the packets of its hub that they have missed."""
    side = ends[link, _WAITS]
    hub = ends[link, side]
    missed = ties[hub, _PACKETS] - ends[link, _PACKETS_THEN]
    if missed == 0:
        return
    t = members[hub, _TIMES, _HUB_LAST]
    _decay(members, ends[link, 1 - side], 3, t, factors)
    _decay(links, link, 2, t, factors)
    row = 0 if missed == 1 else _factors(t - links[link, _TIMES, _HUB_LAST], factors)
    for k in range(_N):
        total, sent = members[hub, _RESIDUAL, k], 1.0
        if missed > 1:
            total = members[hub, _SUM, k] - links[link, _SUM_THEN, k] * factors[row, k]
            sent = members[hub, _SENT, k] - links[link, _SENT_THEN, k] * factors[row, k]
        links[link, _CROSS, k] += total * links[link, _SECOND - side, k]
        links[link, _COUNT, k] += sent
        links[link, _FIRST + side, k] = members[hub, _RESIDUAL, k]
    _note(members, ties, links, ends, link, hub)


@njit(nogil=True)
def _update(members: Any, links: Any, ends: Any, link: Any, side: Any, t: Any, v: Any, factors: Any) -> Any:
    """The member ``side`` of a pair that is up to date has sent ``v`` at ``t``."""
    member = ends[link, side]
    _decay(members, ends[link, 1 - side], 3, t, factors)
    _decay(links, link, 2, t, factors)
    for k in range(_N):
        residual = v - members[member, _MEAN, k]
        links[link, _CROSS, k] += residual * links[link, _SECOND - side, k]
        links[link, _COUNT, k] += 1
        links[link, _FIRST + side, k] = residual


@njit(nogil=True)
def _append(ties: Any, following: Any, member: Any, entry: Any, which: Any) -> Any:
    """Put an entry on a list of all pairs (0) or of those with hubs (1)."""
    if ties[member, _HEAD + 2 * which] < 0:
        ties[member, _HEAD + 2 * which] = entry
    else:
        following[ties[member, _TAIL + 2 * which], which] = entry
    ties[member, _TAIL + 2 * which] = entry


@njit(nogil=True)
def _make(members: Any, ties: Any, links: Any, ends: Any, following: Any, link: Any, a: Any, b: Any, t: Any) -> Any:
    """The pair ``link`` of ``a`` and ``b``, at ``t``."""
    if math.isnan(members[b, _TIMES, _LAST]):
        members[b, _TIMES, _LAST] = t
        members[b, _W, :] = _TINY
    ends[link, _A], ends[link, _B] = a, b
    links[link, _TIMES, _LAST] = t
    links[link, _COUNT, :] = _TINY
    a_is_hub, b_is_hub = ties[a, _IS_HUB], ties[b, _IS_HUB]
    for side, member in ((0, a), (1, b)):
        _append(ties, following, member, 2 * link + side, 0)
        ties[member, _DEGREE] += 1
        if a_is_hub and b_is_hub:
            _append(ties, following, member, 2 * link + side, 1)
    if a_is_hub != b_is_hub:
        ends[link, _WAITS] = 0 if a_is_hub else 1
        _note(members, ties, links, ends, link, a if a_is_hub else b)


@njit(nogil=True)
def _become_hub(
    members: Any, ties: Any, links: Any, ends: Any, following: Any, member: Any, t: Any, factors: Any
) -> Any:
    """From now on the pairs of ``member`` wait for it, except those with hubs and with itself, which never wait."""
    ties[member, _IS_HUB], members[member, _TIMES, _HUB_LAST] = 1, t
    entry = ties[member, _HEAD]
    while entry >= 0:
        link = entry >> 1
        if ends[link, _A] == ends[link, _B]:
            _append(ties, following, member, entry, 1)
        elif ends[link, _WAITS] >= 0:
            _catch_up(members, ties, links, ends, link, factors)
            ends[link, _WAITS] = -1
            _append(ties, following, member, entry, 1)
            _append(ties, following, ends[link, 1 - (entry & 1)], entry ^ 1, 1)
        else:
            ends[link, _WAITS] = entry & 1
            _note(members, ties, links, ends, link, member)
        entry = following[entry, 0]


@njit(nogil=True)
def _catch_up_all(members: Any, ties: Any, links: Any, ends: Any, following: Any, a: Any, factors: Any) -> Any:
    entry = ties[a, _HEAD]
    while entry >= 0:
        if ends[entry >> 1, _WAITS] >= 0:
            _catch_up(members, ties, links, ends, entry >> 1, factors)
        entry = following[entry, 0]


@njit(nogil=True)
def _update_all(
    members: Any,
    ties: Any,
    links: Any,
    ends: Any,
    following: Any,
    a: Any,
    t: Any,
    v: Any,
    everything: Any,
    factors: Any,
) -> Any:
    """``a`` has sent ``v`` at ``t``: update its pairs, of a hub only those with hubs unless ``everything``."""
    which = 1 if ties[a, _IS_HUB] and not everything else 0
    entry = ties[a, _HEAD + 2 * which]
    while entry >= 0:
        link = entry >> 1
        # A pair of a host with itself is always updated as its first member's.
        side = 0 if ends[link, _A] == a else 1
        waits = ends[link, _WAITS]
        if waits >= 0 and waits != side:
            _catch_up(members, ties, links, ends, link, factors)
        _update(members, links, ends, link, side, t, v, factors)
        if waits == side:
            _note(members, ties, links, ends, link, a)
        entry = following[entry, which]


@njit(nogil=True)
def insert_pair(
    members: Any,
    ties: Any,
    links: Any,
    ends: Any,
    following: Any,
    link: Any,
    a: Any,
    b: Any,
    t: Any,
    v: Any,
    late: Any,
    factors: Any,
    out: Any,
    at: Any,
) -> Any:
    """``a`` has sent ``v`` to ``b`` at ``t``; ``link``: number of the pair; ``late``: an earlier packet of the capture
    has a later time.

    Seven features of each λ go to ``out[at]`` and on.
    """
    hub = ties[a, _IS_HUB]
    if late:
        _catch_up_all(members, ties, links, ends, following, a, factors)
    insert(members, a, t, v, factors, out, at, 7)
    if hub:
        _sum_up(members, ties, a, t, v, factors)
    _update_all(members, ties, links, ends, following, a, t, v, late, factors)

    if a == b and ties[a, _HEAD] >= 0:
        link = ties[a, _HEAD] >> 1  # the pair that the host got first
    made = ends[link, _A] < 0
    if made:
        _make(members, ties, links, ends, following, link, a, b, t)
    if ends[link, _WAITS] >= 0:
        _catch_up(members, ties, links, ends, link, factors)
    _update(members, links, ends, link, 0 if ends[link, _A] == a else 1, t, v, factors)

    first, second = ends[link, _A], ends[link, _B]
    for k in range(_N):
        mean, other_mean = members[first, _MEAN, k], members[second, _MEAN, k]
        variance, other_variance = members[first, _VAR, k], members[second, _VAR, k]
        covariance = links[link, _CROSS, k] / links[link, _COUNT, k]
        scale = math.sqrt(variance) * math.sqrt(other_variance)
        out[at + 7 * k + 3] = math.sqrt(variance * variance + other_variance * other_variance)
        out[at + 7 * k + 4] = math.sqrt(mean * mean + other_mean * other_mean)
        out[at + 7 * k + 5] = covariance
        out[at + 7 * k + 6] = covariance / scale if scale != 0 else 0.0
    if made:
        for member in (a, b):
            if ties[member, _DEGREE] > HUB and not ties[member, _IS_HUB]:
                _become_hub(members, ties, links, ends, following, member, t, factors)
