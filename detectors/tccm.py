"""TCCM: time-conditioned contraction matching (NeurIPS 2025), a one-step relative of flow matching."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from detectors.shared.inputs import Input
from detectors.shared.tabular import NetworkDetector, features_only
from janus_bench.params import CheckedParams, Count, Positive


@dataclass(frozen=True)
class TCCMParams(CheckedParams):
    """Parameters of ``tccm``; defaults are the paper's.

    input   ``features`` of the flow, ``context`` (its neighbours) or ``features+context``; ``packets``: the 64 packets
            as 640 columns
    epochs, batch, lr   of Adam; no early stopping
    """

    name: ClassVar[str] = "tccm"

    input: Input = "features"
    epochs: Count = 100
    batch: Count = 64
    lr: Positive = 1e-3


class TCCM(NetworkDetector):
    """Score = ‖f(x, 1) + x‖, (n,) float64 ≥ 0: how far one step of the learned contraction misses the origin.

    f(x, t) is trained towards −x on benign rows x at times t ~ U(0, 1), squared error; the validation flows are unused,
    as in the paper.  Rows are standardised on the training flows and clipped to ±10.  ``adapted``: flows instead of the
    paper's tables.
    """

    Params = TCCMParams
    capabilities = features_only(
        "TCCM: time-conditioned contraction matching, NeurIPS 2025", "adapted", groups={"flow-matching"}
    )
    profiles: ClassVar[Mapping[str, Mapping[str, object]]] = {"quick": {}, "paper": {}, "check": {"epochs": 5}}
    presets: ClassVar[Mapping[str, Mapping[str, object]]] = {"tccm-packets": {"input": "packets"}}

    def _build(self) -> Any:
        from detectors.shared.velocity import TimeField

        return TimeField(self._reading.width)

    def _loss(self, rows: Any, generator: Any) -> Any:
        import torch

        times = torch.rand(len(rows), generator=generator).to(rows.device)  # (B,)
        return (self._model(rows, times) + rows).square().sum(dim=1).mean()

    def _evaluate(self, rows: Any) -> Any:
        return (self._model(rows, rows.new_ones(len(rows))) + rows).norm(dim=1)
