"""What a detector sees and promises.  A leaf module: numpy and the errors only.

A detector is a class with a ``capabilities`` attribute, constructed as ``Cls(params)`` from its own frozen ``Params``
dataclass (or ``Cls()`` when it has none), then ``fit`` on benign flows, optionally ``calibrate``, then ``score``.
There is no label anywhere in this file, and that is the point.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from janus_bench.columns import INPUTS, MAX_PACKETS, PACKET_CHANNELS
from janus_bench.errors import InvalidScores, UndeclaredInput
from janus_bench.quiet import ignore
from janus_bench.ragged import positions, starts_of


def _frozen(array: NDArray[Any]) -> NDArray[Any]:
    view = array.view()
    view.flags.writeable = False
    return view


@dataclass(frozen=True, eq=False)
class PacketStream:
    """P packets of whole captures, capture by capture, each in the order of its file; identities are keyed hashes,
    equal within a dataset only.

    time     (P,) float64, seconds since the capture's first packet, not decreasing but for packets out of order
    size     (P,) uint32, frame length on the wire in bytes
    sender   (P,) uint64: the sender's MAC address with its IP address
    source, destination  (P,) uint64: the two IP addresses (the MAC addresses where there is neither IP nor ARP)
    channel  (P,) uint64: both of them, directed
    source_socket, destination_socket  (P,) uint64: IP address with port (ARP: with MAC address)
    capture  (P,) int32, not decreasing: opaque number of the capture
    flow     (P,) int64: row of the batch that the packet belongs to, −1 for none of them
    """

    time: NDArray[np.float64]
    size: NDArray[np.uint32]
    sender: NDArray[np.uint64]
    source: NDArray[np.uint64]
    destination: NDArray[np.uint64]
    channel: NDArray[np.uint64]
    source_socket: NDArray[np.uint64]
    destination_socket: NDArray[np.uint64]
    capture: NDArray[np.int32]
    flow: NDArray[np.int64]

    def __post_init__(self) -> None:
        for name in self.__dataclass_fields__:
            column = getattr(self, name)
            if column.shape != (len(self),):
                raise ValueError(f"stream column {name!r} must have shape ({len(self)},), not {column.shape}")
            object.__setattr__(self, name, _frozen(column))

    def __len__(self) -> int:
        return len(self.time)


@dataclass(frozen=True, eq=False)
class FlowBatch:
    """``n`` flows, read-only: opaque ids, ragged packets and named flow features; only what the detector declared is
    there.

    ids       (n,) uint64, opaque: neither value nor order means anything
    offsets   (n + 1,) int64: packets of flow i are ``packets[name][offsets[i]:offsets[i + 1]]``; None without packets
    packets   channel name → (offsets[-1],); names and units in ``PACKET_CHANNELS``
    features  feature name → (n,) float64; names and units in ``FLOW_FEATURES`` and ``CIC_FEATURES``
    stream    the captures that these flows are part of, packet by packet; None without it
    """

    ids: NDArray[np.uint64]
    offsets: NDArray[np.int64] | None = None
    packets: Mapping[str, NDArray[Any]] = field(default_factory=dict)
    features: Mapping[str, NDArray[np.float64]] = field(default_factory=dict)
    stream: PacketStream | None = None

    def __post_init__(self) -> None:
        n = len(self.ids)
        object.__setattr__(self, "ids", _frozen(np.asarray(self.ids, dtype=np.uint64)))
        if self.offsets is not None:
            if self.offsets.shape != (n + 1,):
                raise ValueError(f"offsets must have shape ({n + 1},), not {self.offsets.shape}")
            object.__setattr__(self, "offsets", _frozen(self.offsets))
        for name, column in self.packets.items():
            if self.offsets is None or column.shape != (int(self.offsets[-1]),):
                raise ValueError(f"packet column {name!r} does not fit the offsets")
        for name, column in self.features.items():
            if column.shape != (n,):
                raise ValueError(f"feature {name!r} must have shape ({n},), not {column.shape}")
        object.__setattr__(self, "packets", MappingProxyType({k: _frozen(v) for k, v in self.packets.items()}))
        object.__setattr__(self, "features", MappingProxyType({k: _frozen(v) for k, v in self.features.items()}))

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def lengths(self) -> NDArray[np.int64]:
        """Stored packets of each flow, (n,) int64."""
        return np.diff(self._offsets())

    def packet(self, name: str) -> NDArray[Any]:
        """One packet channel, flat over all flows, (total packets,)."""
        self._offsets()
        try:
            return self.packets[name]
        except KeyError:
            raise UndeclaredInput(f"no packet channel {name!r}; there are {', '.join(self.packets)}") from None

    def feature_matrix(self, names: Iterable[str] | None = None) -> NDArray[np.float64]:
        """Named features (all of them by default) as columns, (n, len(names)) float64."""
        if not self.features:
            raise UndeclaredInput("this batch has no flow features: declare inputs={'features'} in Capabilities")
        wanted = tuple(self.features) if names is None else tuple(names)
        missing = [name for name in wanted if name not in self.features]
        if missing:
            raise UndeclaredInput(f"no flow feature {', '.join(missing)}; there are {', '.join(self.features)}")
        return np.column_stack([self.features[name] for name in wanted]).astype(np.float64, copy=False)

    def padded(self, length: int = MAX_PACKETS) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        """Packets as a dense tensor (n, length, 9) float32 in ``PACKET_CHANNELS`` order, zero-padded, and its mask (n,
        length)."""
        offsets = self._offsets()
        kept = np.minimum(np.diff(offsets), length)
        mask = np.arange(length)[None, :] < kept[:, None]  # (n, length)
        rows, positions = np.nonzero(mask)
        source = offsets[:-1][rows] + positions
        dense = np.zeros((len(self), length, len(PACKET_CHANNELS)), dtype=np.float32)
        for channel, name in enumerate(PACKET_CHANNELS):
            dense[rows, positions, channel] = self.packet(name)[source]
        return dense, mask

    def take(self, index: NDArray[Any] | slice) -> FlowBatch:
        """The flows at ``index`` (integers, a boolean mask or a slice), in that order; a stream keeps all its
        packets."""
        chosen = np.arange(len(self))[index]
        if self.offsets is None:
            offsets, packets = None, {}
        else:
            lengths = np.diff(self.offsets)[chosen]
            offsets, gather = starts_of(lengths), positions(self.offsets[:-1][chosen], lengths)
            packets = {name: column[gather] for name, column in self.packets.items()}
        features = {name: column[chosen] for name, column in self.features.items()}
        stream = self.stream
        if stream is not None:
            row = np.full(len(self) + 1, -1)  # the last one for the packets of no flow
            row[chosen] = np.arange(len(chosen))
            stream = replace(stream, flow=row[stream.flow])
        return FlowBatch(self.ids[chosen], offsets, packets, features, stream)

    def packet_stream(self) -> PacketStream:
        """The packets of whole captures."""
        if self.stream is None:
            raise UndeclaredInput("this batch has no packet stream: declare inputs={'stream'} in Capabilities")
        return self.stream

    def _offsets(self) -> NDArray[np.int64]:
        if self.offsets is None:
            raise UndeclaredInput("this batch has no packets: declare inputs={'packets'} in Capabilities")
        return self.offsets


def concatenated(batches: Sequence[FlowBatch]) -> FlowBatch:
    """Batches with the same inputs, one after the other; captures and flows of their streams are numbered on from the
    one before."""
    if len(batches) == 1:
        return batches[0]
    first = batches[0]
    offsets = None if first.offsets is None else starts_of(np.concatenate([batch.lengths for batch in batches]))
    packets = {name: np.concatenate([batch.packets[name] for batch in batches]) for name in first.packets}
    features = {name: np.concatenate([batch.features[name] for batch in batches]) for name in first.features}
    streams, rows, captures = [], 0, 0
    for batch in batches:
        if batch.stream is not None:
            stream = batch.stream
            flow = np.where(stream.flow < 0, -1, stream.flow + rows)
            streams.append(replace(stream, capture=(stream.capture + captures).astype(np.int32), flow=flow))
            captures += int(stream.capture[-1]) + 1 if len(stream) else 0
        rows += len(batch)
    joined = (
        {
            name: np.concatenate([getattr(stream, name) for stream in streams])
            for name in PacketStream.__dataclass_fields__
        }
        if streams
        else {}
    )
    return FlowBatch(
        np.concatenate([batch.ids for batch in batches]),
        offsets,
        packets,
        features,
        PacketStream(**joined) if streams else None,
    )


@dataclass(frozen=True)
class Capabilities:
    """What a detector declares about itself; the harness holds it to every word.

    inputs         which of ``INPUTS`` it reads; nothing else reaches it
    scores         names of the score columns that ``score`` returns
    aggregator     for several columns: the harness aggregator that makes the scalar (fitted on benign calibration
                   scores only)
    calibrates     it has ``calibrate(benign)``; a second call replaces the first
    remembers      ``calibrate`` keeps the flows themselves: scores look at them as at a memory bank
    learns         False: nothing is fitted, so it has no target-only control
    deterministic  the same seed gives the same scores
    provenance     ``faithful`` to a paper or its code, ``adapted`` (representation changed), ``our reading`` (no public
                   code), ``control``
    uses_labels    it knows more than benign flows and the flow at hand (attack labels, unlabelled test flows): a dagger
                   wherever it appears
    hints          what it is given of that: ``few_shot``, 20 attack flows of the source's test part, known to be
                   attacks; ``transductive``, 100 benign and 100 attack flows of that part, unlabelled
    source         paper or code, one line
    doubtful       what in it is a guess, or is known to differ from what was published, for a reader of its numbers
    groups         names under which it is chosen together with its kin: ``run --detectors reconstruction``
    version        change it when scores change: stored results of the old version are then not reused
    exemptions     conformance check → reason why it cannot hold
    """

    inputs: frozenset[str]
    scores: tuple[str, ...] = ("score",)
    aggregator: str | None = None
    calibrates: bool = False
    remembers: bool = False
    learns: bool = True
    deterministic: bool = True
    provenance: Literal["faithful", "adapted", "our reading", "control"] = "our reading"
    uses_labels: bool = False
    hints: Literal["none", "few_shot", "transductive"] = "none"
    source: str = ""
    doubtful: str = ""
    groups: frozenset[str] = frozenset()
    version: str = "1"
    exemptions: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        object.__setattr__(self, "inputs", frozenset(self.inputs))
        object.__setattr__(self, "groups", frozenset(self.groups))
        object.__setattr__(self, "uses_labels", self.uses_labels or self.hints != "none")
        unknown = self.inputs - set(INPUTS)
        if unknown:
            raise ValueError(f"unknown input {sorted(unknown)}; choose from {', '.join(INPUTS)}")
        if not self.scores or len(set(self.scores)) != len(self.scores):
            raise ValueError("scores must name at least one column, each once")
        if taken := {"flow_id", "target", "role"} & set(self.scores):
            raise ValueError(
                f"scores must not be named {', '.join(sorted(taken))}: stored scores have columns of these names"
            )
        if len(self.scores) > 1 and self.aggregator is None:
            raise ValueError(
                'several score columns need a default aggregator: aggregator="oas" (a Mahalanobis distance) or '
                '"column:NAME", say'
            )
        if self.remembers and not self.calibrates:
            raise ValueError("remembers says what calibrate does: it needs calibrates=True")

    @property
    def target_use(self) -> str:
        """What ``calibrate`` does with benign flows of the target: ``memory bank``, ``calibration``, or nothing
        (empty)."""
        return "memory bank" if self.remembers else "calibration" if self.calibrates else ""


@dataclass(frozen=True)
class FitContext:
    """Everything besides the training flows that ``fit`` may use.

    validation  benign flows of the source for early stopping; never carve your own
    hints       the flows that ``Capabilities.hints`` names; None for a detector that keeps to benign flows
    seed, rng   the run's seed, and a generator made from it; use no global random state
    device      ``cpu`` or ``cuda``
    threads     processor threads that this fit may use
    scratch     an empty folder of its own
    deadline    ``time.monotonic()`` value after which the process is killed, or None
    progress    call ``progress(fraction, text)`` now and then; fraction in [0, 1]
    """

    validation: FlowBatch
    seed: int
    rng: np.random.Generator
    device: str
    scratch: Path
    threads: int = 1
    deadline: float | None = None
    hints: FlowBatch | None = None
    progress: Callable[[float, str], None] = ignore


@runtime_checkable
class Detector(Protocol):
    """One method under comparison.

    Optional members: ``Params`` (a frozen dataclass; its instance is the constructor's only argument), ``profiles``
    (profile name → parameter overrides; ``paper/cross`` refines ``paper`` off the diagonal), ``presets`` (name →
    parameters: the detector under another name), ``calibrate(benign)``, ``save(folder)`` and ``load(folder, params)``,
    ``explain(flows)`` → for each flow what in it was least expected, in a few words, which ``janus-bench score`` shows
    with an alert; and the class method ``declare(params)`` → Capabilities where parameters decide inputs or score
    columns, ``capabilities`` then being those of the default parameters.
    """

    @property
    def capabilities(self) -> Capabilities:
        """What it reads and gives; of a class an attribute, whether it is annotated with ``ClassVar`` or not."""

    def fit(self, benign: FlowBatch, ctx: FitContext) -> None:
        """Learn from benign flows of the source."""

    def score(self, flows: FlowBatch) -> NDArray[np.float64] | Mapping[str, NDArray[np.float64]]:
        """Scores (n,), or one (n,) array per declared column; higher = more anomalous.  A flow's score may depend on
        nothing but that flow."""


def validate_scores(raw: Any, n: int, names: tuple[str, ...]) -> dict[str, NDArray[np.float64]]:
    """What ``score`` returned, as one finite float64 array of shape (n,) per declared column; InvalidScores says what
    is wrong with it.

    Floating and integer numbers are taken; complex ones, masked arrays, booleans, dates, text and arrays of objects are
    not.
    """
    if not isinstance(raw, Mapping):
        if len(names) != 1:
            raise InvalidScores(
                f"score() must return a mapping with the declared columns {', '.join(names)}, not {type(raw).__name__}"
            )
        raw = {names[0]: raw}
    if set(raw) != set(names):
        raise InvalidScores(f"score() returned columns {', '.join(map(str, raw))}; declared are {', '.join(names)}")
    checked = {}
    for name in names:
        if isinstance(raw[name], np.ma.MaskedArray):
            raise InvalidScores(f"score column {name!r} is a masked array: fill it, for every flow needs a score")
        try:
            column = np.asarray(raw[name])
        except Exception as error:  # noqa: BLE001  whatever stands there may raise anything when it is read as an array
            raise InvalidScores(f"score column {name!r} is not numeric: {type(error).__name__}") from None
        # NumPy would drop an imaginary part, count True as 1 and read text and dates as numbers
        if column.dtype.kind not in "fiu":
            raise InvalidScores(f"score column {name!r} is not numeric: its type is {column.dtype}; return float64")
        column = column.astype(np.float64, copy=False)
        if column.shape != (n,):
            raise InvalidScores(f"score column {name!r} has shape {column.shape}, expected ({n},)")
        bad = int(np.count_nonzero(~np.isfinite(column)))
        if bad:
            raise InvalidScores(f"score column {name!r} has {bad} of {n} values that are NaN or infinite")
        checked[name] = column
    return checked
