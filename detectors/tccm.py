"""TCCM: time-conditioned contraction matching (NeurIPS 2025), a one-step relative of flow matching."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from detectors.shared.checking import require_choice, require_integer, require_positive
from detectors.shared.inputs import INPUTS, Standardiser, width_of
from detectors.shared.saving import load_arrays, save_arrays
from janus_bench.contract import Capabilities, FitContext, FlowBatch
from janus_bench.errors import PluginError

__all__ = ["TCCM", "TCCMParams"]

_LIMIT = 10.0  # z-scores beyond are clipped
_SCORE_BLOCK = 4096


@dataclass(frozen=True)
class TCCMParams:
    """Parameters of ``tccm``; defaults are the paper's.

    input   ``features``: the 20 flow features; ``packets``: the 64 packets as 640 columns
    epochs, batch, lr   of Adam; no early stopping
    """

    input: str = "features"
    epochs: int = 100
    batch: int = 64
    lr: float = 1e-3

    def __post_init__(self) -> None:
        require_choice("tccm", "input", self.input, INPUTS)
        require_integer("tccm", "epochs", self.epochs)
        require_integer("tccm", "batch", self.batch)
        require_positive("tccm", "lr", self.lr)


class TCCM:
    """Score = ‖f(x, 1) + x‖, (n,) float64 ≥ 0: how far one step of the learned contraction misses the origin.

    f(x, t) is trained towards −x on benign rows x at times t ~ U(0, 1), squared error.  Rows are standardised on the training flows and clipped to
    ±10.  ``adapted``: flows instead of the paper's tables.
    """

    Params: ClassVar[Any] = TCCMParams
    capabilities: ClassVar[Capabilities] = Capabilities(
        inputs=frozenset({"features"}),
        provenance="adapted",
        source="TCCM: time-conditioned contraction matching, NeurIPS 2025",
    )
    profiles: ClassVar[Mapping[str, Mapping[str, object]]] = {"quick": {}, "paper": {}, "check": {"epochs": 5}}
    presets: ClassVar[Mapping[str, Mapping[str, object]]] = {"tccm-packets": {"input": "packets"}}

    @classmethod
    def declare(cls, params: TCCMParams) -> Capabilities:
        return replace(cls.capabilities, inputs=frozenset({params.input}))

    def __init__(self, params: TCCMParams | None = None) -> None:
        self.params = params or TCCMParams()
        self._standardiser: Standardiser | None = None
        self._field: Any = None

    def fit(self, benign: FlowBatch, ctx: FitContext) -> None:
        """Train on the benign training flows; the validation flows are unused, as in the paper."""
        import torch

        from detectors.shared.training import Schedule, seeded_initialisation, train
        from detectors.shared.velocity import TimeField

        torch.set_num_threads(ctx.threads)
        read = INPUTS[self.params.input]
        self._standardiser = Standardiser.fitted(read.columns(benign))
        with seeded_initialisation(ctx.seed):
            self._field = TimeField(width_of(self.params.input)).to(ctx.device)

        def loss(rows: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
            times = torch.rand(len(rows), generator=generator).to(rows.device)  # (B,)
            return (self._field(rows, times) + rows).square().sum(dim=1).mean()

        train(self._field, read.rows(benign, self._standardiser, _LIMIT), loss, Schedule(self.params.epochs, self.params.batch, self.params.lr), ctx)

    def score(self, flows: FlowBatch) -> NDArray[np.float64]:
        """‖f(x, 1) + x‖ of each flow, (n,)."""
        import torch

        if self._standardiser is None:
            raise PluginError("tccm: score() before fit()")
        device = next(self._field.parameters()).device
        scores = np.empty(len(flows))
        with torch.inference_mode():
            for start in range(0, len(flows), _SCORE_BLOCK):
                block = slice(start, start + _SCORE_BLOCK)
                rows = torch.from_numpy(INPUTS[self.params.input].rows(flows.take(block), self._standardiser, _LIMIT)).to(device)  # (b, D)
                missed = self._field(rows, torch.ones(len(rows), device=device)) + rows
                scores[block] = missed.norm(dim=1).double().cpu().numpy()
        return scores

    def save(self, folder: Path) -> None:
        """Standardisation, weights and parameters in ``folder``, as ``detectors.shared.saving`` writes them."""
        if self._standardiser is None:
            raise PluginError("tccm: save() before fit()")
        weights = {name: weight.cpu().numpy() for name, weight in self._field.state_dict().items()}
        save_arrays(folder, "tccm", self.params, {**vars(self._standardiser), **weights})

    @classmethod
    def load(cls, folder: Path, params: TCCMParams | None = None) -> TCCM:
        """The detector that ``save`` wrote; DataError if the folder holds another parameter set."""
        import torch

        from detectors.shared.velocity import TimeField

        detector = cls(params)
        arrays = load_arrays(folder, "tccm", detector.params)
        detector._standardiser = Standardiser(arrays.pop("mean"), arrays.pop("std"))
        detector._field = TimeField(width_of(detector.params.input))
        detector._field.load_state_dict({name: torch.from_numpy(weight) for name, weight in arrays.items()})
        return detector
