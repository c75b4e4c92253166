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
from detectors.janus.surprise import Surprise, either
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
    """From the source: the space of packets, and what features and context are standardised by."""

    space: PacketSpace
    tables: tuple[ZScores, ...]
    seed: int


@dataclass(frozen=True)
class _Seen:
    """Flows, before anything is known of the target: their distance by packets (n,) from some bank, the mean of their
    packets' mapped points (n, E), and their standardised features and context (n, 61)."""

    by_packets: Floats
    state: Floats
    tables: Floats


@dataclass(frozen=True)
class _Known:
    """Benign flows that are remembered.

    packets     (M, E) mapped
    flows       (m, E + 61) as points
    state       what their first E entries are standardised by
    by_packets  how far the packets of such flows lie from those of others
    as_whole    how far such flows lie from others
    """

    packets: Points
    flows: Points
    state: ZScores
    by_packets: Surprise
    as_whole: Surprise


class JanusContext:
    """Score = log(1/p + 1/q), (n,) float64: p and q are conformal p-values of a flow's distances from benign flows of
    the target, by its packets and as a whole.

    The network is JANUS's; its FLOW token holds the 41 features of the context beside the 20 of the flow, so it learns
    which packets a flow has among such neighbours.

    * By its packets: the mean over packets of the distance to the nearest packet remembered, as in ``janus-plus``.
    * As a whole: the distance to the nearest flow remembered, between points of three parts that weigh the same: the
      mean of its packets' mapped points, its features, its context.

    How far half of the remembered flows lie from the other half says what distances benign flows have.
    """

    Params: ClassVar[type[JanusContextParams]] = JanusContextParams
    capabilities: ClassVar[Capabilities] = Capabilities(
        inputs=frozenset({"packets", "features", "context"}),
        calibrates=True,
        provenance="our reading",
        source=(
            "JANUS with the input context and memory banks (PatchCore, CVPR 2022); conformal p-values (Vovk, Gammerman "
            "and Shafer, 2005) and their harmonic mean (Wilson, PNAS 2019); docs/janus-context.md"
        ),
    )
    profiles: ClassVar[Mapping[str, Mapping[str, Any]]] = Janus.profiles

    def __init__(self, params: JanusContextParams | None = None) -> None:
        self.params = params if params is not None else JanusContextParams()
        self._learnt: _Learnt | None = None
        self._known: _Known | None = None

    def fit(self, benign: FlowBatch, ctx: FitContext) -> None:
        """Train the network on ``benign``, learn the metric, and remember training flows until ``calibrate`` brings the
        target's."""
        space = PacketSpace.fitted(benign, ctx, self.params, self.params.bank)
        tables = tuple(ZScores.fitted(benign.feature_matrix(columns)) for columns in TABLES)
        self._learnt = _Learnt(space, tables, ctx.seed)
        self._known = self._remembered(benign, self._learnt)

    def calibrate(self, benign: FlowBatch) -> None:
        """Remember the target's benign calibration flows in place of any others; without any flow, what was known
        stays."""
        learnt, _ = self._need_fit()
        if len(benign):
            self._known = self._remembered(benign, learnt)

    def score(self, flows: FlowBatch) -> Floats:
        """log(1/p + 1/q), (n,); a flow's score depends on that flow alone, up to rounding."""
        return either(*self.surprises(flows))

    def surprises(self, flows: FlowBatch) -> tuple[Floats, Floats]:
        """−log p of each flow by its packets, and −log q of it as a whole, (n,) each."""
        learnt, known = self._need_fit()
        seen = _see(flows, learnt, known.packets)
        as_whole = learnt.space.nearest(_points(seen, known.state), known.flows)
        return known.by_packets(seen.by_packets), known.as_whole(as_whole)

    def save(self, folder: Path) -> None:
        """JANUS's own files, and the metric, what is remembered and how far it lies apart, in ``folder``."""
        learnt, known = self._need_fit()
        learnt.space.janus.save(folder)
        named: dict[str, Mapping[str, Any]] = {
            "metric": vars(learnt.space.metric),
            "features": vars(learnt.tables[0]),
            "context": vars(learnt.tables[1]),
            "state": vars(known.state),
            "by_packets": vars(known.by_packets),
            "as_whole": vars(known.as_whole),
        }
        arrays = {f"{part}.{name}": value for part, values in named.items() for name, value in values.items()}
        arrays |= {"packets": known.packets, "flows": known.flows, "seed": np.array([learnt.seed])}
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
        tables = (ZScores(**of("features")), ZScores(**of("context")))
        detector._learnt = _Learnt(space, tables, int(arrays["seed"][0]))
        detector._known = _Known(
            arrays["packets"],
            arrays["flows"],
            ZScores(**of("state")),
            Surprise(**of("by_packets")),
            Surprise(**of("as_whole")),
        )
        return detector

    def _remembered(self, benign: FlowBatch, learnt: _Learnt) -> _Known:
        """At most ``bank`` of ``benign`` flows and of their packets, n ≥ 1; a single flow is compared with itself."""
        rng, most = np.random.default_rng(learnt.seed), self.params.bank
        if len(benign) > most:
            benign = benign.take(np.sort(rng.choice(len(benign), most, replace=False)))
        order = rng.permutation(len(benign))
        halves = [benign.take(np.sort(half)) for half in np.array_split(order, 2) if len(half)]
        banks = [learnt.space.some(half, learnt.seed, max(most // 2, 1)) for half in halves]
        seen = [_see(half, learnt, bank) for half, bank in zip(halves, banks[::-1], strict=True)]
        state = ZScores.fitted(np.concatenate([half.state for half in seen]))
        flows = [_points(half, state) for half in seen]
        apart = [learnt.space.nearest(half, other) for half, other in zip(flows, flows[::-1], strict=True)]
        return _Known(
            np.concatenate(banks),
            np.concatenate(flows),
            state,
            Surprise.fitted(np.concatenate([half.by_packets for half in seen])),
            Surprise.fitted(np.concatenate(apart)),
        )

    def _need_fit(self) -> tuple[_Learnt, _Known]:
        if self._learnt is None or self._known is None:
            raise UsageError("janus-context is not fitted: call fit or load first")
        return self._learnt, self._known


def _see(flows: FlowBatch, learnt: _Learnt, bank: Points) -> _Seen:
    by_packets, state = [np.empty(0)], []
    for points, lengths in learnt.space.each(flows):
        by_packets.append(flow_means(learnt.space.nearest(points, bank), lengths))
        state.append(np.column_stack([flow_means(entry, lengths) for entry in points.T.astype(np.float64)]))
    width = len(learnt.space.metric.mean)
    tables = [
        standardise(flows.feature_matrix(columns), LIMIT) / np.sqrt(len(columns))
        for standardise, columns in zip(learnt.tables, TABLES, strict=True)
    ]
    return _Seen(
        np.concatenate(by_packets),
        np.concatenate([np.empty((0, width)), *state]) * np.sqrt(width),
        np.concatenate(tables, axis=1),
    )


def _points(seen: _Seen, state: ZScores) -> Points:
    """Flows as points (n, E + 61), each of the three parts divided by the root of its width."""
    standardised = state(seen.state, LIMIT) / np.sqrt(seen.state.shape[1])
    return np.concatenate([standardised, seen.tables], axis=1).astype(np.float32)
