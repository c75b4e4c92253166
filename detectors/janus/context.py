"""``janus-context``: ``janus-plus`` whose network also reads what a flow's neighbours were doing
(``docs/janus-context.md``)."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

from detectors.janus.plus import JanusPlus, JanusPlusParams
from janus_bench.columns import CONTEXT_FEATURES, FLOW_FEATURES
from janus_bench.contract import Capabilities


@dataclass(frozen=True)
class JanusContextParams(JanusPlusParams):
    """JANUS-plus's parameters; the FLOW token is there, and holds the context beside the features."""

    name: ClassVar[str] = "janus-context"
    flow_columns: ClassVar[tuple[str, ...]] = (*FLOW_FEATURES, *CONTEXT_FEATURES)

    def __post_init__(self) -> None:
        super().__post_init__()
        self.require(self.use_flow_token, "use_flow_token", "true in janus-context: the FLOW token carries the context")


class JanusContext(JanusPlus):
    """One flow-matching network over context, flow and packets; score = mean over a flow's packets of the distance to
    the nearest benign packet of the calibration flows, (n,) float64 ≥ 0.

    The context is 41 more entries of the FLOW token, which every packet sees: the network learns what packets a flow
    has in such surroundings, so a packet's state differs where an ordinary flow has neighbours that it never had.
    """

    Params: ClassVar[type[JanusContextParams]] = JanusContextParams
    capabilities: ClassVar[Capabilities] = replace(
        JanusPlus.capabilities,
        inputs=JanusPlus.capabilities.inputs | {"context"},
        source=JanusPlus.capabilities.source.replace("janus-plus", "janus-context"),
    )

    def __init__(self, params: JanusContextParams | None = None) -> None:
        super().__init__(params if params is not None else JanusContextParams())
