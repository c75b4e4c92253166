"""``janus-plus``: JANUS's network, and how far a flow's packets lie from the nearest benign packets of the target
(``docs/janus-plus.md``)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from detectors.janus.config import JanusParams
from detectors.janus.detector import Janus
from detectors.janus.space import PacketSpace, flow_means
from detectors.shared.saving import load_arrays, save_arrays
from janus_bench.contract import Capabilities, FitContext, FlowBatch
from janus_bench.errors import UsageError
from janus_bench.params import Count

SAVED = "janus_plus"


@dataclass(frozen=True)
class JanusPlusParams(JanusParams):
    """JANUS's parameters, of which those of its scores (``k_steps``, ``bits``, ``reduction``) are not used, and

    bank  benign packets that are remembered at most, drawn at random where there are more
    """

    name: ClassVar[str] = "janus-plus"

    bank: Count = 20_000

    def __post_init__(self) -> None:
        super().__post_init__()
        wanted = (
            ("T", self.T > 0, "at least 1"),
            ("cont_as_disc", not self.cont_as_disc, "false"),
            ("joint", self.joint, "true"),
        )
        for field, holds, expected in wanted:
            self.require(holds, field, f"{expected} in {self.name}, which reads packets with one continuous network")


@dataclass(frozen=True)
class _Known:
    """``space`` of the source, and mapped benign packets (M, E): of the target once calibrated, of the source
    before."""

    space: PacketSpace
    bank: NDArray[np.float32]
    seed: int


class JanusPlus:
    """Score = mean over a flow's packets of the distance to the nearest benign packet of the calibration flows, (n,)
    float64 ≥ 0.

    A packet is a point: its state in JANUS's network, which has seen the flow so far, beside its nine channels.  The
    metric is learnt from how packets of benign validation flows, which training has not seen, differ from their nearest
    training packets: what varies among benign flows anyway counts less.  Nothing is learnt from attacks.  One pass of
    the network scores a flow, where ``janus`` takes K + 3.
    """

    Params: ClassVar[type[JanusPlusParams]] = JanusPlusParams
    capabilities: ClassVar[Capabilities] = Capabilities(
        inputs=frozenset({"packets", "features"}),
        calibrates=True,
        remembers=True,
        provenance="our reading",
        groups=frozenset({"flow-matching", "neighbours"}),
        source=(
            "JANUS with a memory bank (PatchCore, CVPR 2022) under within-class whitening (Hatch et al., "
            "Interspeech 2006); docs/janus-plus.md"
        ),
    )
    profiles: ClassVar[Mapping[str, Mapping[str, Any]]] = Janus.profiles

    def __init__(self, params: JanusPlusParams | None = None) -> None:
        self.params = params if params is not None else JanusPlusParams()
        self._known: _Known | None = None

    @classmethod
    def declare(cls, params: JanusPlusParams) -> Capabilities:
        return replace(cls.capabilities, inputs=Janus.declare(params).inputs)

    def fit(self, benign: FlowBatch, ctx: FitContext) -> None:
        """Train JANUS's network on ``benign``, learn the metric, and remember training packets until ``calibrate``
        brings the target's."""
        space = PacketSpace.fitted(benign, ctx, self.params, self.params.bank)
        self._known = _Known(space, space.some(benign, ctx.seed, self.params.bank), ctx.seed)

    def calibrate(self, benign: FlowBatch) -> None:
        """Remember the packets of the target's benign calibration flows in place of any others; without any flow, what
        was known stays."""
        known = self._need_fit()
        if len(benign):
            bank = known.space.some(benign, known.seed, self.params.bank)
            self._known = replace(known, bank=bank)

    def score(self, flows: FlowBatch) -> NDArray[np.float64]:
        """Mean distance of a flow's packets, (n,); a flow's score depends on that flow alone, up to rounding."""
        known = self._need_fit()
        scores = [
            flow_means(known.space.nearest(points, known.bank), lengths) for points, lengths in known.space.each(flows)
        ]
        return np.concatenate([np.empty(0), *scores])

    def explain(self, flows: FlowBatch) -> list[str]:
        """The packet of each flow that is furthest from every remembered one, in words."""
        known = self._need_fit()
        return known.space.explain(flows, known.bank)

    def save(self, folder: Path) -> None:
        """JANUS's own files, and the metric and the bank as they are, with the parameters, in ``folder``."""
        known = self._need_fit()
        known.space.janus.save(folder)
        arrays = {**vars(known.space.metric), "bank": known.bank, "seed": np.array([known.seed])}
        save_arrays(folder, SAVED, self.params, arrays)

    @classmethod
    def load(cls, folder: Path, params: JanusPlusParams) -> JanusPlus:
        """A detector ready to score, on the CPU; DataError when ``folder`` holds no model, or one of other
        parameters."""
        from detectors.janus.patches import PointMetric

        detector = cls(params)
        janus = Janus.load(folder, params)
        arrays = load_arrays(folder, SAVED, params)
        bank, seed = arrays.pop("bank"), int(arrays.pop("seed")[0])
        detector._known = _Known(PacketSpace(janus, PointMetric(**arrays)), bank, seed)
        return detector

    def _need_fit(self) -> _Known:
        if self._known is None:
            raise UsageError("janus-plus is not fitted: call fit or load first")
        return self._known
