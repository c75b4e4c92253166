"""The input ``context``: what a flow's neighbours were doing when it started, as numbers.

A brute-force attempt, a probe of a scan or a beacon is an ordinary flow; that the same host made three hundred like it
within a minute is not.  For each flow, of the flows of its capture that started no later: how many there were of the
same hosts, how long ago the last one was, how many different hosts and services they reached, how many had gone
unanswered so far, and how regularly they came.  Addresses serve as keys and reach nobody; nor does the time of day.
Definitions and their sources are in ``docs/context.md``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from datasets_registry.overlay import Overlay, laid_over
from janus_bench.columns import CONTEXT_FEATURES
from janus_bench.compiled import njit
from janus_bench.hashing import splitmix64

if TYPE_CHECKING:
    import polars as pl

    from datasets_registry.store import FlowStore

SLOWEST, LIVES = 1000.0, 4
"""Seconds after which a flow counts half in the longest of so many half-lives; each other is a tenth of the next."""
SLOWEST_ANSWER = 100.0  # Of unanswered flows, which have two.
WINDOWS = (10.0, 300.0)
"""Seconds, inclusive, in which different values are counted."""
LOOK_BACK = 256
"""Earlier flows of one key among which they are counted at most."""
LONGEST_GAP = 3600.0
"""Seconds: the time since a key's last flow where it was longer ago, or where there was none, so that the start of a
capture tells little."""
FORGOTTEN = 10_800.0
"""Seconds without a flow after which a key is as if it had never been: what a stream remembers is bounded."""
MEMORY = 0.2
"""Weight of the newest gap in the running mean and deviation of a key's gaps."""

HOST_KEYS = 5  # Source, destination, pair, source and service, destination and service.
GAPS = HOST_KEYS * LIVES  # The first of the gaps among the columns, and of the different values.
DISTINCT = GAPS + HOST_KEYS

Floats = NDArray[np.float64]
Ids = NDArray[np.int64]


@njit()
def _place(table: Any, key: Any) -> Any:
    """Where ``key`` is in an open-addressed table, or where it belongs; 0 marks an empty place, so a key is never 0."""
    mask = len(table) - 1
    x = np.uint64(key)
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    at = np.int64(x >> np.uint64(32)) & mask
    while table[at] != 0 and table[at] != key:
        at = (at + 1) & mask
    return at


@njit()
def _number(keys: Any, out: Any, table: Any, number: Any, n: int) -> Any:
    """``out`` (m,): each of ``keys`` (m,), non-negative, by the place of its first occurrence among the different ones,
    of which n are in the table already: (table, its numbers, how many there are now)."""
    for i in range(len(keys)):
        key = keys[i] + 1
        at = _place(table, key)
        if table[at] == 0:
            table[at], number[at] = key, n
            n += 1
            out[i] = n - 1
            if 2 * n > len(table):
                old, old_number = table, number
                table, number = np.zeros(4 * len(old), np.int64), np.empty(4 * len(old), np.int32)
                for j in range(len(old)):
                    if old[j] != 0:
                        to = _place(table, old[j])
                        table[to], number[to] = old[j], old_number[j]
        else:
            out[i] = number[at]
    return table, number, n


@njit()
def _tenth(x: float) -> float:
    """x¹⁰: what is left after a tenth of the half-life, where ``x`` is left."""
    square = x * x
    eighth = square * square * square * square
    return eighth * square


@njit()
def _damp(start: Any, ids: Any, weight: Any, last: Any, slowest: float, longest: float, out: Any, gap: Any) -> None:
    """``out`` (n, 4): 1 + a key's damped count, this flow included, by half-lives of ``slowest`` · (.001, .01, .1, 1)
    seconds; ``gap`` (n,): 1 + ms since its last flow; ``weight`` (keys, 4) and ``last`` (keys,) go on."""
    for i in range(len(start)):
        key = ids[i]
        since = start[i] - last[key]
        left = 2.0 ** (-since / slowest) if since <= FORGOTTEN else 0.0
        for j in range(3, -1, -1):
            weight[key, j] = weight[key, j] * left + 1.0
            out[i, j] = 1.0 + weight[key, j]
            left = _tenth(left)
        last[key] = start[i]
        gap[i] = 1.0 + 1000.0 * min(since, longest)


@njit()
def _distinct(
    start: Any, keys: Any, n_keys: int, both: Any, n_both: int, window: float, look_back: int, out: Any
) -> None:
    """``out`` (n,): 1 + how many different values a key had within ``window``; ``both``: numbers of (key, value)."""
    n = len(start)
    following = np.full(n, -1, np.int64)
    newest, oldest = np.full(n_keys, -1, np.int64), np.full(n_keys, -1, np.int64)
    size, different = np.zeros(n_keys, np.int64), np.zeros(n_keys, np.int64)
    seen = np.full(n_both, -1, np.int64)
    latest = np.zeros(n, np.bool_)
    for i in range(n):
        key = keys[i]
        if newest[key] >= 0:
            following[newest[key]] = i
        if size[key] == 0:
            oldest[key] = i
        newest[key] = i
        size[key] += 1
        before = seen[both[i]]
        if before >= 0 and latest[before]:
            latest[before] = False  # a value counts where it was seen last
        else:
            different[key] += 1
        latest[i] = True
        seen[both[i]] = i
        while start[i] - start[oldest[key]] > window or size[key] > look_back + 1:
            gone = oldest[key]
            if latest[gone]:
                different[key] -= 1
                latest[gone] = False
            oldest[key] = following[gone]
            size[key] -= 1
        out[i] = 1 + different[key]


@njit()
def _unanswered(
    start: Any,
    ids: Any,
    begin: int,
    answered: Any,
    by_answer: Any,
    waiting: Any,
    there: Any,
    at: Any,
    slowest: float,
    out: Any,
) -> None:
    """``out`` (n, 2): share of a key's damped earlier flows that nobody had answered by the start of this one, among
    those and one more; by half-lives of ``slowest`` · (.1, 1) seconds.  The flows before ``begin`` have been counted
    and wait for their answer; ``waiting`` and ``there`` (keys, 2) and ``at`` (keys,) go on."""
    answer = 0
    for i in range(begin, len(start)):
        now = start[i]
        while answer < len(by_answer) and answered[by_answer[answer]] <= now:
            flow = by_answer[answer]
            answer += 1
            if flow < i:  # one that is answered when it starts is never waiting
                key = ids[flow]
                # Both sums are kept as they were when the key's last flow started, and so is what an answered flow had
                # left then.
                left = 2.0 ** (-(at[key] - start[flow]) / slowest)
                waiting[key, 1] = max(waiting[key, 1] - left, 0.0)
                waiting[key, 0] = max(waiting[key, 0] - _tenth(left), 0.0)
        key = ids[i]
        left = 2.0 ** (-(now - at[key]) / slowest) if now - at[key] <= FORGOTTEN else 0.0
        for j in range(1, -1, -1):
            waiting[key, j] *= left
            there[key, j] *= left
            out[i - begin, j] = waiting[key, j] / (there[key, j] + 1.0)
            there[key, j] += 1.0
            if answered[i] > now:
                waiting[key, j] += 1.0
            left = _tenth(left)
        at[key] = now


@njit()
def _regularity(
    start: Any, ids: Any, last: Any, mean: Any, deviation: Any, longest: float, memory: float, out: Any
) -> None:
    """``out`` (n, 2): running mean and mean deviation of the log1p of a key's gaps in ms; both of the longest gap where
    there was none; ``last``, ``mean`` (−1: no gap yet) and ``deviation`` (keys,) go on."""
    none = np.log1p(1000.0 * longest)
    for i in range(len(start)):
        key = ids[i]
        since = start[i] - last[key]
        if since > FORGOTTEN:
            mean[key], deviation[key] = -1.0, none
        else:
            gap = np.log1p(1000.0 * min(since, longest))
            if mean[key] < 0:
                mean[key] = gap
            else:
                deviation[key] += memory * (abs(gap - mean[key]) - deviation[key])
                mean[key] += memory * (gap - mean[key])
        last[key] = start[i]
        out[i, 0] = mean[key] if mean[key] >= 0 else none
        out[i, 1] = deviation[key]


class _Known:
    """What is remembered of each key of one kind: ``last`` (n,), the start of its last flow, and ``columns``."""

    def __init__(self, **columns: Any) -> None:
        """Initial values: a number, or so many as a column is wide."""
        self._initial = {"last": -np.inf, **columns}
        self._clear(np.empty(0, np.int64))
        self._most = 1 << 16  # keys at which it is time to look for those that are forgotten

    def _clear(self, keys: Ids) -> None:
        size = max(1 << 10, 1 << (4 * len(keys)).bit_length())
        self._table, self._number = np.zeros(size, np.int64), np.empty(size, np.int32)
        self._n, self._room = 0, 0
        self.columns: dict[str, Floats] = {
            name: np.empty((0, *np.shape(value))) for name, value in self._initial.items()
        }

    @property
    def n(self) -> int:
        """How many are remembered."""
        return self._n

    def number(self, keys: Ids) -> Ids:
        """(n,) place of each of ``keys`` (n,), new ones with initial values."""
        out, before = np.empty(len(keys), np.int64), self._n
        self._table, self._number, self._n = _number(keys, out, self._table, self._number, before)
        if self._n > self._room:
            self._room = max(2 * self._room, self._n)
            for name, value in self._initial.items():
                grown = np.empty((self._room, *np.shape(value)))
                grown[:before], grown[before:] = self.columns[name][:before], value
                self.columns[name] = grown
        return out

    def forget(self, now: float) -> None:
        """Leave out those whose last flow is so long ago that it counts for nothing, when there are many."""
        if self._n < self._most:
            return
        there = np.flatnonzero(self._table)
        place = self._number[there].astype(np.int64)
        lives = now - self.columns["last"][place] <= FORGOTTEN
        keys, kept = self._table[there[lives]] - 1, place[lives]
        columns = {name: column[kept] for name, column in self.columns.items()}
        self._clear(keys)
        self.number(keys)
        for name, column in columns.items():
            self.columns[name][: len(kept)] = column
        self._most = max(1 << 16, 2 * len(kept))


def _local(keys: Ids) -> tuple[Ids, int]:
    """Numbers of ``keys`` (n,) among themselves, and how many there are."""
    out = np.empty(len(keys), np.int64)
    return out, _number(keys, out, np.zeros(1024, np.int64), np.empty(1024, np.int32), 0)[2]


def _mixed(one: Ids, other: Ids) -> Ids:
    """A key of two, 63 bits: that any two of ten million are confused has a chance of one in a hundred thousand."""
    return (splitmix64(splitmix64(one) ^ other.astype(np.uint64)) >> np.uint64(1)).astype(np.int64)


class ContextState:
    """The context of a capture's flows as they start; what it remembers of a host that has been silent for
    ``FORGOTTEN`` counts for nothing, and goes."""

    def __init__(self) -> None:
        none = np.log1p(1000.0 * LONGEST_GAP)
        counts, shares = {"weight": np.zeros(LIVES)}, {"waiting": np.zeros(2), "there": np.zeros(2), "at": -np.inf}
        self._known = [_Known(**counts, **(shares if key < 3 else {})) for key in range(HOST_KEYS)]
        self._known.append(_Known(mean=-1.0, deviation=none))
        self._recent = np.empty(0), np.empty((HOST_KEYS + 1, 0), np.int64)

    def keys(self, hosts: tuple[Ids, Ids], dport: Ids, proto: Ids) -> Ids:
        """(6, n): source, destination, pair, source and service, destination and service, pair and service."""
        service, keys = dport << 8 | proto, np.empty((HOST_KEYS + 1, len(proto)), np.int64)
        keys[0], keys[1], keys[2] = *hosts, _mixed(*hosts)
        keys[3], keys[4], keys[5] = _mixed(keys[0], service), _mixed(keys[1], service), _mixed(keys[2], service)
        return keys

    def next(self, keys: Ids, start: Floats, answered: Floats, begin: int = 0) -> NDArray[np.float32]:
        """The features ``columns.CONTEXT_FEATURES`` of the flows that start next, (n − begin, features).

        keys      (6, n), as ``keys`` gives them
        start     (n,) s, ascending, none before the flows of the call before
        answered  (n,) s, when the responder's first packet came; inf where none did by the start of the last flow
        begin     flows in front that were here before and waited for their answer: what is known of it now counts
        """
        new, n = slice(begin, None), len(start) - begin
        out = np.empty((n, len(CONTEXT_FEATURES)), np.float32)
        if not n:
            return out
        by_answer = np.argsort(answered, kind="stable")
        of = DISTINCT + 2 * 4
        numbers: dict[int, tuple[Ids, int]] = {}
        for key, known in enumerate(self._known):
            waits = key < 3
            ids = known.number(keys[key] if waits else keys[key, new])
            numbers[key] = (ids[new] if waits else ids), known.n
            state = known.columns
            if key == HOST_KEYS:
                _regularity(
                    start[new], ids, state["last"], state["mean"], state["deviation"], LONGEST_GAP, MEMORY, out[:, of:]
                )
                continue
            counts, gap = out[:, key * LIVES : (key + 1) * LIVES], out[:, GAPS + key]
            _damp(
                start[new],
                ids[new] if waits else ids,
                state["weight"],
                state["last"],
                SLOWEST,
                LONGEST_GAP,
                counts,
                gap,
            )
            if waits:
                waiting, there, at = (state[name] for name in ("waiting", "there", "at"))
                share = out[:, of : of + 2]
                _unanswered(start, ids, begin, answered, by_answer, waiting, there, at, SLOWEST_ANSWER, share)
                of += 2
        self._count_distinct(keys[:, new], start[new], numbers, out[:, DISTINCT:])
        np.log(out[:, : DISTINCT + 2 * 4], out=out[:, : DISTINCT + 2 * 4])
        return out

    def forget(self, now: float) -> None:
        """Leave out hosts that have been silent for so long that they count for nothing."""
        for known in self._known:
            known.forget(now)

    def _count_distinct(
        self, keys: Ids, start: Floats, numbers: Mapping[int, tuple[Ids, int]], out: NDArray[np.float32]
    ) -> None:
        """Among the flows within the longest window, which are kept until they are out of it; ``numbers`` of the keys
        do where there are none yet."""
        before, h = self._recent, len(self._recent[0])
        counted, of = out, 0
        if h:
            keys, start = np.concatenate([before[1], keys], axis=1), np.concatenate([before[0], start])
            numbers = {key: _local(keys[key]) for key in (0, 1, 2, 3, 5)}
            counted = np.empty((len(start), 2 * 4), np.float32)
        for key, both in ((0, 2), (0, 3), (1, 2), (2, 5)):
            for window in WINDOWS:
                _distinct(start, *numbers[key], *numbers[both], window, LOOK_BACK, counted[:, of])
                of += 1
        if h:
            out[:, :of] = counted[h:]
        kept = int(np.searchsorted(start, start[-1] - max(WINDOWS)))
        self._recent = start[kept:], keys[:, kept:]


def context_features(
    hosts: tuple[Ids, Ids], dport: Ids, proto: Ids, start: Floats, answered: Floats
) -> NDArray[np.float32]:
    """The features ``columns.CONTEXT_FEATURES`` of a capture's flows, (n, features).

    hosts         of the initiators and of the responders, (n,) each, non-negative numbers
    dport         (n,) the responders' ports, in [0, 2¹⁶); proto (n,) in [0, 2⁸)
    start         (n,) s, ascending
    answered      (n,) s, when the responder's first packet came; inf where none did
    """
    state = ContextState()
    return state.next(state.keys(hosts, dport, proto), start, answered)


@njit()
def _first_answers(offsets: Any, bits: Any, iat: Any, start: Any, out: Any) -> None:
    for flow in range(len(start)):
        time, out[flow] = start[flow], np.inf
        for packet in range(offsets[flow], offsets[flow + 1]):
            time += 1e-6 * iat[packet]
            if bits[packet] & 1:
                out[flow] = time
                break


def flow_answers(offsets: Ids, bits: NDArray[np.uint8], iat: NDArray[np.float32], start: Floats) -> Floats:
    """(n,) s: when each flow's responder sent its first packet, of those stored; inf where it sent none."""
    answered = np.empty(len(start))
    _first_answers(offsets, bits, iat, start, answered)
    return answered


def first_answers(store: FlowStore, start: Floats) -> Floats:
    """(n,) s: when each flow's responder sent its first packet, of those stored; inf where it sent none."""
    answered = np.empty(len(start))
    for shard in store.shards:
        offsets, packets = shard.arrays()
        flows = slice(shard.begin, shard.begin + shard.n_flows)
        _first_answers(offsets, packets["bits"], packets["iat"], start[flows], answered[flows])
    return answered


def part_context(
    store: FlowStore, rows: Ids, world: NDArray[np.bool_], overlay: Overlay | None = None
) -> NDArray[np.float32]:
    """Context of the flows ``rows`` (m,) among those of their captures that are in ``world`` (n,), (m, features); rows
    are in it.

    overlay  captures that lie over others: those of a site are one
    """
    table, files = store.flows(["src_ip", "dst_ip", "dst_port", "proto", "ts_start"]), store.labels(["file"])["file"]
    hosts = _numbers(table["src_ip"].append(table["dst_ip"]))
    dport = table["dst_port"].to_numpy().astype(np.int64)
    proto, start = table["proto"].to_numpy().astype(np.int64), table["ts_start"].to_numpy()
    answered = first_answers(store, start)
    if overlay:
        (start, answered), files = laid_over(files, (start, answered), overlay)
    file = _numbers(files)
    wanted = np.zeros(len(start), np.bool_)
    wanted[rows] = True
    needed = np.bincount(file[rows], minlength=int(file.max()) + 1) > 0
    there = np.flatnonzero(world & needed[file])
    there = there[np.lexsort((start[there], file[there]))]  # stable: equal times stay in the order of the file
    place = np.full(len(start), -1)
    place[rows] = np.arange(len(rows))
    found = np.empty((len(rows), len(CONTEXT_FEATURES)), np.float32)
    for flows in np.split(there, np.flatnonzero(np.diff(file[there])) + 1):
        of_capture = context_features(
            (hosts[flows], hosts[len(start) + flows]), dport[flows], proto[flows], start[flows], answered[flows]
        )
        kept = wanted[flows]
        found[place[flows[kept]]] = of_capture[kept]
    return found


def _numbers(texts: pl.Series) -> Ids:
    """(n,) equal for equal texts; which number a text has means nothing."""
    import polars as pl

    return texts.cast(pl.Categorical).to_physical().cast(pl.Int64).to_numpy()
