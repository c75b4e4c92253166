"""``janus-context``: JANUS's network over context, flow and packets, and how far a flow lies from the benign flows of
the target, by its packets and as a whole (``docs/janus-context.md``)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from detectors.janus.detector import Janus
from detectors.janus.plus import JanusPlusParams
from detectors.janus.space import PacketSpace, flow_means
from detectors.janus.surprise import Surprise
from detectors.shared.inputs import ZScores
from detectors.shared.saving import load_arrays, save_arrays
from janus_bench.columns import CONTEXT_FEATURES, FLOW_FEATURES
from janus_bench.contract import Capabilities, FitContext, FlowBatch
from janus_bench.errors import UsageError

if TYPE_CHECKING:
    from detectors.janus.patches import Points

SAVED = "janus_context"
LIMIT = 10.0  # Entries of a flow's point are clipped to ±LIMIT standard deviations, as the network's input is.
TABLES = (FLOW_FEATURES, CONTEXT_FEATURES)

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class JanusContextParams(JanusPlusParams):
    """Those of ``janus-plus``; the FLOW token is there, and holds the context beside the features.

    bank  benign packets, and benign flows, that are remembered at most, drawn at random where there are more
    """

    name: ClassVar[str] = "janus-context"
    flow_columns: ClassVar[tuple[str, ...]] = (*FLOW_FEATURES, *CONTEXT_FEATURES)

    def __post_init__(self) -> None:
        super().__post_init__()
        self.require(self.use_flow_token, "use_flow_token", "true in janus-context: the FLOW token carries the context")


@dataclass(frozen=True)
class _Learnt:
    """From the source: the space of packets, what features and context are standardised by, and its training flows,
    which stay remembered beside the target's: packets (M, E) mapped, and the flows as they are seen."""

    space: PacketSpace
    standardise: tuple[ZScores, ...]
    packets: Points
    flows: _Seen
    seed: int


@dataclass(frozen=True)
class _Seen:
    """Flows without their packets: the mean of these as mapped points (n, E), and standardised features and context
    (n, 61)."""

    state: Floats
    tables: Floats

    def points(self, state: ZScores) -> Points:
        """As points (n, E + 61), each of the three parts divided by the root of its width."""
        standardised = state(self.state, LIMIT) / np.sqrt(self.state.shape[1])
        return np.concatenate([standardised, self.tables], axis=1).astype(np.float32)


@dataclass(frozen=True)
class _Known:
    """Benign flows that are remembered, of the target and of the source.

    packets     (M, E) mapped
    flows       (m, E + 61) as points
    state       what their first E entries are standardised by: the target's
    by_packets  how far the packets of such flows lie from those of others
    as_whole    how far such flows lie from others
    """

    packets: Points
    flows: Points
    state: ZScores
    by_packets: Surprise
    as_whole: Surprise


class JanusContext:
    """Score = −log p − log q, (n,) float64 ≥ 0: p and q are conformal p-values of a flow's distances from benign flows
    of the target and the source, by its packets and as a whole.

    The network is JANUS's; its FLOW token holds the 41 features of the context beside the 20 of the flow, so it learns
    which packets a flow has among such neighbours.

    * By its packets: the mean over packets of the distance to the nearest packet remembered, as in ``janus-plus``.
    * As a whole: the distance to the nearest flow remembered, between points of three parts that weigh the same: the
      mean of its packets' mapped points, its features, its context.

    How far half of the target's flows lie from the other half and the source says what distances benign flows have.
    """

    Params: ClassVar[type[JanusContextParams]] = JanusContextParams
    capabilities: ClassVar[Capabilities] = Capabilities(
        inputs=frozenset({"packets", "features", "context"}),
        version="2",
        calibrates=True,
        remembers=True,
        provenance="our reading",
        groups=frozenset({"flow-matching", "neighbours"}),
        source=(
            "JANUS with the input context and memory banks (PatchCore, CVPR 2022); conformal p-values (Vovk, Gammerman "
            "and Shafer, 2005), combined by Fisher's method (1925); docs/janus-context.md"
        ),
    )
    profiles: ClassVar[Mapping[str, Mapping[str, Any]]] = Janus.profiles

    def __init__(self, params: JanusContextParams | None = None) -> None:
        self.params = params if params is not None else JanusContextParams()
        self._learnt: _Learnt | None = None
        self._known: _Known | None = None

    def fit(self, benign: FlowBatch, ctx: FitContext) -> None:
        """Train the network on ``benign``, learn the metric, and remember training flows; until ``calibrate`` brings
        the target's, they stand for these too."""
        space = PacketSpace.fitted(benign, ctx, self.params, self.params.bank)
        standardise = tuple(ZScores.fitted(benign.feature_matrix(columns)) for columns in TABLES)
        kept = self._some(benign, ctx.seed)
        none = np.empty((0, len(space.metric.mean)), np.float32)
        _, flows = _see(kept, space, standardise, none)
        self._learnt = _Learnt(space, standardise, space.some(kept, ctx.seed, self.params.bank), flows, ctx.seed)
        self._known = self._remembered(kept, self._learnt, beside_source=False)

    def calibrate(self, benign: FlowBatch) -> None:
        """Remember the target's benign calibration flows in place of any others, beside the source's; without any flow,
        what was known stays."""
        learnt, _ = self._need_fit()
        if len(benign):
            self._known = self._remembered(self._some(benign, learnt.seed), learnt, beside_source=True)

    def score(self, flows: FlowBatch) -> Floats:
        """−log p − log q, (n,); a flow's score depends on that flow alone, up to rounding."""
        by_packets, as_whole = self.surprises(flows)
        return by_packets + as_whole

    def surprises(self, flows: FlowBatch) -> tuple[Floats, Floats]:
        """−log p of each flow by its packets, and −log q of it as a whole, (n,) each."""
        learnt, known = self._need_fit()
        by_packets, seen = _see(flows, learnt.space, learnt.standardise, known.packets)
        as_whole = learnt.space.nearest(seen.points(known.state), known.flows)
        return known.by_packets(by_packets), known.as_whole(as_whole)

    def explain(self, flows: FlowBatch) -> list[str]:
        """Both p-values of each flow, and its packet that is furthest from every remembered one, in words."""
        learnt, known = self._need_fit()
        surprises = zip(*self.surprises(flows), learnt.space.explain(flows, known.packets), strict=True)
        return [
            f"p = {np.exp(-by_packets):.2g} by its packets, {np.exp(-as_whole):.2g} as a whole among its neighbours; "
            + packet
            for by_packets, as_whole, packet in surprises
        ]

    def save(self, folder: Path) -> None:
        """JANUS's own files, and the metric, what is remembered and how far it lies apart, in ``folder``."""
        learnt, known = self._need_fit()
        learnt.space.janus.save(folder)
        named: dict[str, Mapping[str, Any]] = {
            "metric": vars(learnt.space.metric),
            "features": vars(learnt.standardise[0]),
            "context": vars(learnt.standardise[1]),
            "source": vars(learnt.flows),
            "state": vars(known.state),
            "by_packets": vars(known.by_packets),
            "as_whole": vars(known.as_whole),
        }
        arrays = {f"{part}.{name}": value for part, values in named.items() for name, value in values.items()}
        arrays |= {
            "source_packets": learnt.packets,
            "packets": known.packets,
            "flows": known.flows,
            "seed": np.array([learnt.seed]),
        }
        save_arrays(folder, SAVED, self.params, arrays)

    @classmethod
    def load(cls, folder: Path, params: JanusContextParams) -> JanusContext:
        """A detector ready to score, on the CPU; DataError when ``folder`` holds no model, or one of other
        parameters."""
        from detectors.janus.patches import PointMetric

        detector = cls(params)
        janus = Janus.load(folder, params)
        arrays = load_arrays(folder, SAVED, params)

        def of(part: str) -> dict[str, NDArray[Any]]:
            return {
                name.removeprefix(f"{part}."): value for name, value in arrays.items() if name.startswith(f"{part}.")
            }

        space = PacketSpace(janus, PointMetric(**of("metric")))
        standardise = (ZScores(**of("features")), ZScores(**of("context")))
        seed = int(arrays["seed"][0])
        detector._learnt = _Learnt(space, standardise, arrays["source_packets"], _Seen(**of("source")), seed)
        detector._known = _Known(
            arrays["packets"],
            arrays["flows"],
            ZScores(**of("state")),
            Surprise(**of("by_packets")),
            Surprise(**of("as_whole")),
        )
        return detector

    def _some(self, benign: FlowBatch, seed: int) -> FlowBatch:
        """At most ``bank`` of ``benign`` flows, drawn at random."""
        most = self.params.bank
        if len(benign) <= most:
            return benign
        return benign.take(np.sort(np.random.default_rng(seed).choice(len(benign), most, replace=False)))

    def _remembered(self, benign: FlowBatch, learnt: _Learnt, *, beside_source: bool) -> _Known:
        """``benign`` flows, n ≥ 1, and at most ``bank`` of their packets; a single flow is compared with itself."""
        space, others = learnt.space, learnt.packets[: len(learnt.packets) if beside_source else 0]
        order = np.random.default_rng(learnt.seed).permutation(len(benign))
        halves = [benign.take(np.sort(half)) for half in np.array_split(order, 2) if len(half)]
        banks = [space.some(half, learnt.seed, max(self.params.bank // 2, 1)) for half in halves]
        seen = [
            _see(half, space, learnt.standardise, np.concatenate([bank, others]))
            for half, bank in zip(halves, banks[::-1], strict=True)
        ]
        state = ZScores.fitted(np.concatenate([flows.state for _, flows in seen]))
        source = learnt.flows.points(state)[: len(learnt.flows.state) if beside_source else 0]
        points = [flows.points(state) for _, flows in seen]
        apart = [
            space.nearest(half, np.concatenate([other, source]))
            for half, other in zip(points, points[::-1], strict=True)
        ]
        return _Known(
            np.concatenate([*banks, others]),
            np.concatenate([*points, source]),
            state,
            Surprise.fitted(np.concatenate([distances for distances, _ in seen])),
            Surprise.fitted(np.concatenate(apart)),
        )

    def _need_fit(self) -> tuple[_Learnt, _Known]:
        if self._learnt is None or self._known is None:
            raise UsageError("janus-context is not fitted: call fit or load first")
        return self._learnt, self._known


def _see(flows: FlowBatch, space: PacketSpace, standardise: tuple[ZScores, ...], bank: Points) -> tuple[Floats, _Seen]:
    """The mean distance of each flow's packets from those of ``bank`` (n,), 0 where it is empty; and the flows
    themselves."""
    width = len(space.metric.mean)
    by_packets, state = [np.empty(0)], [np.empty((0, width))]
    for points, lengths in space.each(flows):
        distances = space.nearest(points, bank) if len(bank) else np.zeros(len(points))
        by_packets.append(flow_means(distances, lengths))
        state.append(np.column_stack([flow_means(entry, lengths) for entry in points.T.astype(np.float64)]))
    tables = [
        z_scores(flows.feature_matrix(columns), LIMIT) / np.sqrt(len(columns))
        for z_scores, columns in zip(standardise, TABLES, strict=True)
    ]
    return np.concatenate(by_packets), _Seen(np.concatenate(state) * np.sqrt(width), np.concatenate(tables, axis=1))
