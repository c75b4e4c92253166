"""ConMD (IEEE TIFS 2026): the student sees a flow with masked packets, and without."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Annotated, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from detectors.distillation import CHECK, TeacherDetector, TeacherParams
from detectors.shared.inputs import PACKET_COLUMNS
from detectors.shared.sequences import packets_only
from janus_bench.columns import MAX_PACKETS
from janus_bench.contract import FitContext
from janus_bench.params import Count, Limit, Positive

WEAK_BYTES = 240
"""A packet of fewer bytes is weak, as in the paper."""
BETA = -0.3
"""The paper's weight of the masked answer in the score: 1.3 of the unmasked one less 0.3 of it."""


@dataclass(frozen=True)
class ConMDParams(TeacherParams):
    """Parameters of ``conmd``: those of the teacher and

    epochs, batch, lr  of AdamW; the paper's rate of 6e-5 is for a pretrained student
    patience  epochs without a better loss on the benign validation flows after which training stops
    packets   the first packets of a flow that are read
    tokens    width of a token, of four heads;  ``layers``: attention inside packets and across them take turns
    """

    name: ClassVar[str] = "conmd"

    epochs: Count = 50
    batch: Count = 128
    lr: Positive = 1e-3
    patience: Count = 10
    packets: Annotated[int, Limit("≥", 2), Limit("≤", MAX_PACKETS)] = 9
    tokens: Annotated[int, Limit("≥", 4)] = 32
    layers: Count = 4

    def __post_init__(self) -> None:
        super().__post_init__()
        self.require(self.tokens % 4 == 0, "tokens", "a multiple of its four heads")


class ConMD(TeacherDetector):
    """Score = mean over four stored maskings of 1 − cos(z_t, −0.3 z_masked + 1.3 z_unmasked), (n,) float64: teacher's
    and student's features of the first packets, flattened to one vector a flow (Lian et al., IEEE TIFS 21, 2026).

    As many packets are masked as the median training flow has weak ones (below 240 bytes) among its first, and one
    more, but never all of a flow.  ``adapted``: header channels in place of 1600 bytes; which of the teacher's layers,
    the width of tokens and what the cosine runs over are not stated and are choices here.  The published teacher knew
    labels of ISCXTor2016 and its rows are of byte images: no figure of it is comparable.
    """

    Params = ConMDParams
    capabilities = packets_only(
        "Lian et al., IEEE TIFS 21, 2026 (ConMD), from the text",
        doubtful="the teacher's layer, the widths and the cosine's extent are not stated; the masked branch's weight "
        "−0.3 hardly matters here; its teacher knew labels",
        groups={"distillation"},
    )
    profiles: ClassVar[Mapping[str, Mapping[str, object]]] = {
        "quick": {"teacher_epochs": 10, "epochs": 15},
        "paper": {},
        "check": {**CHECK, "packets": 4, "tokens": 4, "layers": 2},
    }
    presets: ClassVar[Mapping[str, Mapping[str, object]]] = {"conmd-random": {"teacher": "random"}}

    def _build(self) -> Any:
        from detectors.distillation.tokens import Masking

        params = self.params
        return Masking(params.width, params.packets, params.tokens, params.layers)

    def _prepare(self, rows: NDArray[np.float32], ctx: FitContext) -> FitContext:
        packets = rows.reshape(len(rows), -1, len(PACKET_COLUMNS))[:, : self.params.packets]
        assert self._standardiser is not None
        bound = (np.log1p(WEAK_BYTES) - self._standardiser.mean[0]) / self._standardiser.std[0]
        weak = ((packets[..., 0] < bound) & (packets[..., -1] > 0)).sum(axis=1)  # (n,)
        self._model.weak.fill_(int(np.median(weak)) + 1)
        return super()._prepare(rows, ctx)

    def _schedule(self) -> Any:
        kind: dict[str, Any] = {"optimiser": "adamw"}
        return replace(super()._schedule(), weight_decay=0.05, **kind)

    def _loss(self, rows: Any, generator: Any) -> Any:
        import torch

        from detectors.distillation.tokens import loss

        packets = self._model.first(rows)
        masked = self._model.mask(packets, torch.rand(packets.shape[:2], generator=generator).to(rows.device))
        return loss(self._model.taught(packets), self._model.learned(packets, masked)).mean()

    def _judge(self, rows: Any) -> Any:
        from detectors.distillation.tokens import loss

        packets = self._model.first(rows)
        taught = self._model.taught(packets)
        losses = [loss(taught, self._model.learned(packets, mask)) for mask in self._model.stored(packets)]
        return sum(losses) / len(losses)

    def _evaluate(self, rows: Any) -> Any:
        from detectors.distillation.tokens import blended

        packets = self._model.first(rows)
        masks, taught = self._model.stored(packets), self._model.taught(packets)
        unmasked = self._model.learned(packets, masks[0] & False)
        scores = [blended(taught, self._model.learned(packets, mask), unmasked, BETA) for mask in masks]
        return sum(scores) / len(scores)
