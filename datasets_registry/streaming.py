"""A capture → its flows as they end, each with its context, in memory that the length of the capture does not decide.

What a flow is, its packets, features and context are those of a store: the same extractor, the same kernels, the same
definition.  Only the order differs, and that nothing is kept.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from datasets_registry.capture.assemble import FileFlows
from datasets_registry.capture.cicflowmeter import cic_features
from datasets_registry.capture.features import flow_features
from datasets_registry.capture.live import StreamedFlows, arriving
from datasets_registry.capture.reader import Scan, scan_file, scan_stream
from datasets_registry.capture.rules import FlowRules
from datasets_registry.context import ContextState, flow_answers
from datasets_registry.store import channels_of
from janus_bench.columns import CIC_FEATURES, CONTEXT_FEATURES, FLOW_FEATURES, PACKET_ARRAYS
from janus_bench.contract import FlowBatch
from janus_bench.hashing import splitmix64

PATIENCE_S = 0.1
"""So long bytes are waited for before what has ended by the clock on the wall is looked for."""


@dataclass(frozen=True, eq=False)
class EndedFlows:
    """Some flows that have ended; ``context`` (F, features), None unless it was asked for."""

    flows: FileFlows
    context: NDArray[np.float32] | None

    def __len__(self) -> int:
        return len(self.flows)

    def take(self, chosen: NDArray[np.int64]) -> EndedFlows:
        """The flows at these positions, in that order."""
        return EndedFlows(self.flows.take(chosen), None if self.context is None else self.context[chosen])

    def batch(self, inputs: Iterable[str]) -> FlowBatch:
        """As a detector that reads ``inputs`` is given them, under ids that mean nothing."""
        flows, features = self.flows, dict[str, NDArray[np.float64]]()
        if "features" in inputs:
            features |= _columns(FLOW_FEATURES, self.features())
        if "cic_features" in inputs:
            assert flows.whole is not None
            protocol = (flows.keys[:, 4] >> np.uint64(32)).astype(np.int64) & 0xFF
            # a store keeps them as float32
            features |= _columns(CIC_FEATURES, cic_features(flows.whole, protocol).astype(np.float32))
        if self.context is not None:
            features |= _columns(CONTEXT_FEATURES, self.context)
        ids = splitmix64(np.arange(len(flows)), int(flows.serial[0]) if len(flows) else 0)
        packets = channels_of({name: getattr(flows, name) for name in PACKET_ARRAYS}) if "packets" in inputs else {}
        return FlowBatch(ids, flows.offsets if packets else None, packets, features)

    def features(self) -> NDArray[np.float64]:
        """``columns.FLOW_FEATURES``, (F, 20)."""
        return flow_features(self.flows.offsets, self.flows.size, self.flows.iat, self.flows.bits)


def _columns(names: tuple[str, ...], matrix: NDArray[Any]) -> dict[str, NDArray[np.float64]]:
    return {name: matrix[:, place].astype(np.float64) for place, name in enumerate(names)}


def read_ended(
    path: Path,
    rules: FlowRules,
    inputs: Iterable[str],
    take: Callable[[EndedFlows], None],
    advance: Callable[[int], None],
    stopped: Callable[[], bool],
) -> tuple[Scan, int]:
    """Give the flows of a file to ``take`` as they end: what became of its packets, and how many came too late for the
    window."""
    reader = _Reader(rules, inputs, take, early=False)

    def step(n_bytes: int) -> None:
        advance(n_bytes)
        if stopped():
            raise _Stopped

    try:
        scan = scan_file(path, reader.columns, step)
    except _Stopped:
        scan = None
    reader.columns.finish()
    return scan or _nothing(), reader.columns.belated


def read_arriving(
    handle: int,
    name: str,
    rules: FlowRules,
    inputs: Iterable[str],
    take: Callable[[EndedFlows], None],
    advance: Callable[[int], None],
    stopped: Callable[[], bool],
) -> tuple[Scan, int]:
    """As ``read_ended``, of a capture that is being written to a pipe.

    A flow also ends when the wall clock says so, and one whose detector reads nothing beyond its stored packets leaves
    when the last of those is there.  ``advance`` is called ten times a second at least.
    """
    reader = _Reader(rules, inputs, take, early="cic_features" not in inputs)
    heard = time.monotonic()

    def step(n_bytes: int) -> None:
        nonlocal heard
        now = time.monotonic()
        if n_bytes:
            heard = now
        reader.columns.tick(round(1e9 * (now - heard)))
        advance(n_bytes)

    scan = scan_stream(name, arriving(handle, PATIENCE_S, stopped), reader.columns, step)
    reader.columns.finish()
    return scan, reader.columns.belated


class _Stopped(Exception):
    """Whoever asked for the flows wants no more packets."""


def _nothing() -> Scan:
    return Scan("stopped", (), 0, 0, {}, {}, 0, 0, 0)


class _Reader:
    """Takes segments of flows, and gives them on with their context."""

    def __init__(
        self, rules: FlowRules, inputs: Iterable[str], take: Callable[[EndedFlows], None], *, early: bool
    ) -> None:
        self.columns = StreamedFlows(
            rules, self, whole="cic_features" in inputs, early=early, restarted=self._restarted
        )
        self._context = _OpenContext() if "context" in inputs else None
        self._take = take

    def _restarted(self) -> None:
        self._context = None if self._context is None else _OpenContext(self.columns.begun)

    def append(self, flows: FileFlows, /) -> None:
        context = None if self._context is None else self._context.of(flows, self.columns)
        if len(flows):
            self._take(EndedFlows(flows, context))

    def clear(self) -> None:
        raise AssertionError("a capture that is read once is never read again")


class _OpenContext:
    """The context of the flows that have begun and not left."""

    def __init__(self, begun: int = 0) -> None:
        self._state, self._latest = ContextState(), -np.inf
        self._serial = np.empty(0, np.int64)
        self._rows = np.empty((0, len(CONTEXT_FEATURES)), np.float32)
        self._begun = begun  # flows whose context is known
        none = np.empty(0)
        self._waiting = _Waiting(np.empty(0, np.int64), np.empty((6, 0), np.int64), none, none)

    def of(self, flows: FileFlows, columns: StreamedFlows) -> NDArray[np.float32]:
        """The context of flows that leave, (F, features), once that of every flow which began before is known."""
        there, start = columns.open_flows(), flows.first / 1e9
        answers = flow_answers(flows.offsets, flows.bits, flows.iat, start)
        # a flow that leaves early is in the table too
        serial, place = np.unique(np.concatenate([flows.serial, there.serial]), return_index=True)
        known = _Waiting(
            serial,
            self._keys(
                np.concatenate([flows.keys, there.keys])[place], np.concatenate([flows.swapped, there.swapped])[place]
            ),
            np.concatenate([start, there.first / 1e9])[place],
            np.concatenate([answers, there.answered])[place],
        )
        self._begin(known, there.serial)
        context = self._rows[np.searchsorted(self._serial, flows.serial)]
        still = np.isin(self._serial, there.serial)
        self._serial, self._rows = self._serial[still], self._rows[still]
        return context

    def _begin(self, known: _Waiting, there: NDArray[np.int64]) -> None:
        """Of all flows that are known, those that began since the last call; ``there``: those that have not left."""
        waiting = self._waiting
        seen = np.isin(waiting.serial, known.serial)
        waiting.answered[seen] = known.answered[np.searchsorted(known.serial, waiting.serial[seen])]
        new = known.serial >= self._begun
        every = _Waiting(
            *(np.concatenate([old, more[..., new]], axis=-1) for old, more in zip(waiting, known, strict=True))
        )
        if new.any():
            rows = self._state.next(every.keys, every.start, every.answered, len(waiting.serial))
            self._state.forget(every.start[-1])
            self._serial = np.concatenate([self._serial, known.serial[new]])
            self._rows = np.concatenate([self._rows, rows])
            self._begun = int(known.serial[-1]) + 1
            self._latest = float(every.start[-1])
        # what was answered after the latest start counts for the next one, and what has left unanswered never will be
        kept = (every.answered > self._latest) & (np.isfinite(every.answered) | np.isin(every.serial, there))
        self._waiting = _Waiting(*(part[..., kept] for part in every))  # type: ignore[arg-type]

    def _keys(self, keys: NDArray[np.uint64], swapped: NDArray[np.bool_]) -> NDArray[np.int64]:
        return self._state.keys(*_ends(keys, swapped))


class _Waiting(NamedTuple):
    """Flows by their serial numbers, rising: keys (6, n) of ``ContextState``, start and first answer (n,) s."""

    serial: NDArray[np.int64]
    keys: NDArray[np.int64]
    start: NDArray[np.float64]
    answered: NDArray[np.float64]


def _ends(
    keys: NDArray[np.uint64], swapped: NDArray[np.bool_]
) -> tuple[tuple[NDArray[np.int64], NDArray[np.int64]], NDArray[np.int64], NDArray[np.int64]]:
    """Numbers of the initiators and the responders, equal for equal addresses; the responders' ports; protocols."""
    rest = keys[:, 4].astype(np.int64)
    lower, upper = (_host(keys[:, words], rest >> 40) for words in (slice(0, 2), slice(2, 4)))
    ports = np.where(swapped, rest >> 16 & 0xFFFF, rest & 0xFFFF)
    return (np.where(swapped, upper, lower), np.where(swapped, lower, upper)), ports, rest >> 32 & 0xFF


def _host(words: NDArray[np.uint64], version: NDArray[np.int64]) -> NDArray[np.int64]:
    """An IPv4 address is its own number, one of IPv6 a hash beyond those."""
    hashed = splitmix64(splitmix64(words[:, 0]) ^ words[:, 1]) >> np.uint64(2) | np.uint64(1 << 62)
    return np.where(version == 4, words[:, 1], hashed).astype(np.int64)
