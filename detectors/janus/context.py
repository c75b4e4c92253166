"""``janus-context``: JANUS's network over context, flow and packets, and how far a flow lies from the benign flows of
the target, by its packets and as a whole (``docs/janus-context.md``)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from detectors.janus.detector import Janus
from detectors.janus.plus import BLOCK, JanusPlus, JanusPlusParams
from detectors.janus.surprise import Surprise, either
from detectors.shared.inputs import ZScores
from detectors.shared.saving import load_arrays, save_arrays
from janus_bench.columns import CONTEXT_FEATURES, FLOW_FEATURES
from janus_bench.contract import Capabilities, FitContext, FlowBatch
from janus_bench.errors import UsageError

if TYPE_CHECKING:
    from detectors.janus.patches import PointMetric

SAVED = "janus_context"
LIMIT = 10.0  # z-scores of features and context are clipped to ±LIMIT, as the network's are.
PARTS = (FLOW_FEATURES, CONTEXT_FEATURES)

Rows = NDArray[np.float32]


@dataclass(frozen=True)
class JanusContextParams(JanusPlusParams):
    """JANUS-plus's parameters; the FLOW token is there, and holds the context beside the features.

    bank  benign packets, and benign flows, that are remembered at most, drawn at random where there are more
    """

    name: ClassVar[str] = "janus-context"
    flow_columns: ClassVar[tuple[str, ...]] = (*FLOW_FEATURES, *CONTEXT_FEATURES)

    def __post_init__(self) -> None:
        super().__post_init__()
        self.require(self.use_flow_token, "use_flow_token", "true in janus-context: the FLOW token carries the context")


@dataclass(frozen=True)
class _Learnt:
    """From the source: the metric of packets, and what features and context are standardised by."""

    metric: PointMetric
    parts: tuple[ZScores, ...]
    seed: int


@dataclass(frozen=True)
class _Known:
    """Benign flows that are remembered: mapped packets (M, E), and flows as points (m, E + 61) with what their first E
    entries are standardised by; and how far such flows lie from others."""

    packets: Rows
    flows: Rows
    state: ZScores
    by_packets: Surprise
    as_whole: Surprise


class JanusContext:
    """Score = log(1/p + 1/q), (n,) float64: p and q are conformal p-values of a flow's distances from the benign flows
    of the target, by its packets and as a whole.

    The network is JANUS's; its FLOW token holds the 41 features of the context beside the 20 of the flow, so what
    packets a flow has is learnt given what its neighbours were doing.

    * By its packets: as in ``janus-plus``, the mean over packets of the distance to the nearest packet remembered.
    * As a whole: the distance to the nearest flow remembered, between points of three parts that weigh the same: the
      mean of its packets' mapped states, its features, its context.

    Both distances of half of the calibration flows from the other half say what distances benign flows have.
    """

    Params: ClassVar[type[JanusContextParams]] = JanusContextParams
    capabilities: ClassVar[Capabilities] = Capabilities(
        inputs=frozenset({"packets", "features", "context"}),
        calibrates=True,
        provenance="our reading",
        source="janus-plus with the input context; harmonic mean p-values (Wilson, PNAS 2019); docs/janus-context.md",
    )
    profiles: ClassVar[Mapping[str, Mapping[str, Any]]] = Janus.profiles

    def __init__(self, params: JanusContextParams | None = None) -> None:
        self.params = params if params is not None else JanusContextParams()
        self._plus = JanusPlus(self.params)
        self._learnt: _Learnt | None = None
        self._known: _Known | None = None

    def fit(self, benign: FlowBatch, ctx: FitContext) -> None:
        """Train the network on ``benign``, learn the metric, and remember training flows until ``calibrate`` brings the
        target's."""
        self._plus.fit(benign, ctx)
        parts = tuple(ZScores.fitted(benign.feature_matrix(columns)) for columns in PARTS)
        self._learnt = _Learnt(self._plus.metric, parts, ctx.seed)
        self._known = self._remembered(benign)

    def calibrate(self, benign: FlowBatch) -> None:
        """Remember the target's benign calibration flows in place of any others; without any flow, what was known
        stays."""
        if len(benign):
            self._known = self._remembered(benign)

    def score(self, flows: FlowBatch) -> NDArray[np.float64]:
        """log(1/p + 1/q), (n,); a flow's score depends on that flow alone, up to rounding."""
        known = self._need_fit()[1]
        d = self.distances(flows, known)
        return either(*(surprise(d) for surprise, d in zip((known.by_packets, known.as_whole), d, strict=True)))

    def distances(self, flows, known):
        by_packets, whole = self._distances(flows, known.packets)
        return by_packets, self._nearest(self._whole(whole, known.state), known.flows)

    def _nearest(self, points, bank):
        from detectors.janus.patches import nearest_distance
        return nearest_distance(points, bank, self._plus.device)
    def _whole(self, parts: tuple, state: ZScores) -> Rows:
        s, rest = parts
        return np.concatenate([state(s, LIMIT) / np.sqrt(s.shape[1]), rest], axis=1).astype(np.float32)

    def _distances(self, flows: FlowBatch, bank: Rows):
        learnt = self._need_learnt()
        d = np.empty(len(flows)); states = []
        start = 0
        for mapped, lengths in self._plus.mapped(flows):
            block = slice(start, start + len(lengths)); start += len(lengths)
            of = np.repeat(np.arange(len(lengths)), lengths)
            each = self._nearest(mapped, bank) if len(bank) else np.zeros(len(mapped))
            d[block] = np.bincount(of, weights=each, minlength=len(lengths)) / np.maximum(lengths, 1)
            sums = np.zeros((len(lengths), mapped.shape[1])); np.add.at(sums, of, mapped)
            states.append(sums / np.maximum(lengths, 1)[:, None] * np.sqrt(mapped.shape[1]))
        rest = np.concatenate([z(flows.feature_matrix(c), LIMIT) / np.sqrt(len(c)) for z, c in zip(learnt.parts, PARTS, strict=True)], axis=1)
        return d, (np.concatenate(states), rest)

    def _remembered(self, benign: FlowBatch) -> _Known:
        learnt = self._need_learnt()
        if len(benign) > self.params.bank:
            benign = benign.take(np.sort(np.random.default_rng(learnt.seed).choice(len(benign), self.params.bank, replace=False)))
        half = np.random.default_rng(learnt.seed).permutation(len(benign)) % 2 == 0
        if len(benign) == 1: half = np.array([True])
        halves = [benign.take(half), benign.take(~half)]
        banks = [learnt.metric(self._plus._points(h, learnt.seed, self.params.bank // 2)) if len(h) else np.empty((0, 1), np.float32) for h in halves]
        got = [self._distances(h, b) for h, b in zip(halves, banks[::-1], strict=True) if len(h)]
        state = ZScores.fitted(np.concatenate([g[1][0] for g in got]))
        whole = [self._whole(g[1], state) for g in got]
        ref_p = np.concatenate([g[0] for g in got])
        ref_w = np.concatenate([self._nearest(whole[0], whole[1]), self._nearest(whole[1], whole[0])])
        return _Known(np.concatenate(banks), np.concatenate(whole), state, Surprise.fitted(ref_p), Surprise.fitted(ref_w))

    def _need_learnt(self):
        if self._learnt is None:
            raise UsageError("janus-context is not fitted: call fit or load first")
        return self._learnt

    def _need_fit(self):
        return self._need_learnt(), self._known
