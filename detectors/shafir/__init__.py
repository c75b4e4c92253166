"""Shafir NF: the negative log density of a neural spline flow on flow features (Shafir, Giryes, Wool, IEEE ToN 34, 2026).

Settings are those of the authors' released script, which uses pzflow's defaults; ``flow.py`` has the density model.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from harness.contract import FLOW_FEATURES, Capabilities, DataError, FitContext, FlowBatch, PluginError, UsageError

__all__ = ["SIX_FEATURES", "ShafirNF", "ShafirParams"]

SIX_FEATURES = {
    "size_mean": "Packet Length Mean",
    "iat_max": "Flow IAT Max",
    "count_psh": "PSH Flag Count",
    "count_ack": "ACK Flag Count",
    "log_duration": "Fwd IAT Max",
    "n_fwd": "Fwd Packets/s",
}
"""Our feature → the CICFlowMeter feature of the released script that it stands for.

The first four are the same quantity (ours log1p, over the first 64 packets).  The last two have no counterpart among our twenty: the duration
bounds the forward IAT, and ``n_fwd`` together with ``log_duration`` determines the forward packet rate.  Hence ``adapted``, not ``faithful``."""

_FEATURE_SETS = {"six": tuple(SIX_FEATURES), "all": FLOW_FEATURES}
_OPTIMISERS = ("sgd", "adam")
_SCALED_BOUND = 4.0  # training data fill [-4, 4]; the splines end at 5
_SCALED_LIMIT = 1e6  # squares of anything larger lose themselves in float32; reached at 250 000 half-ranges from the training data
_SCORE_BLOCK = 8192


@dataclass(frozen=True)
class ShafirParams:
    """Parameters of ``shafir``.

    features   ``six``: counterparts of the released script's six features (``SIX_FEATURES``); ``all``: the 20 flow features
    optimiser  ``sgd`` as released, or ``adam``
    epochs, lr, batch   of the training; no early stopping, as released
    bins       of each rational-quadratic spline
    """

    features: str = "six"
    optimiser: str = "sgd"
    epochs: int = 100
    lr: float = 1e-3
    batch: int = 1024
    bins: int = 16

    def __post_init__(self) -> None:
        _require(self.features in _FEATURE_SETS, "features", "six or all", self.features)
        _require(self.optimiser in _OPTIMISERS, "optimiser", "sgd or adam", self.optimiser)
        _require(isinstance(self.epochs, int) and self.epochs >= 1, "epochs", "an integer ≥ 1", self.epochs)
        _require(isinstance(self.lr, (int, float)) and math.isfinite(self.lr) and self.lr > 0, "lr", "a positive number", self.lr)
        _require(isinstance(self.batch, int) and self.batch >= 1, "batch", "an integer ≥ 1", self.batch)
        _require(isinstance(self.bins, int) and 2 <= self.bins <= 128, "bins", "an integer from 2 to 128", self.bins)


def _require(holds: bool, name: str, expected: str, value: object) -> None:
    if not holds:
        raise UsageError(f"shafir: {name} must be {expected}, not {value!r}")


@dataclass(frozen=True)
class _Scaling:
    """Affine map of each training column onto [−4, 4].

    The released script standardises and then shifts to [−4, 4]; the composition of the two affine maps is this one, whatever the standardisation.
    """

    middle: NDArray[np.float64]  # (D,)
    half_range: NDArray[np.float64]  # (D,)

    @classmethod
    def of(cls, columns: NDArray[np.float64]) -> _Scaling:
        low, high = columns.min(axis=0), columns.max(axis=0)  # (D,)
        half_range = (high - low) / 2
        constant = half_range <= 1e-12 * np.maximum(np.abs(low), np.abs(high))  # no wider than rounding: keep the unit of the feature
        return cls((low + high) / 2, np.where(constant, 1.0, half_range))

    def __call__(self, columns: NDArray[np.float64]) -> NDArray[np.float32]:
        with np.errstate(over="ignore"):  # an overflow is clipped like any other great distance
            scaled = _SCALED_BOUND * (columns - self.middle) / self.half_range  # (n, D)
        return np.clip(scaled, -_SCALED_LIMIT, _SCALED_LIMIT).astype(np.float32)


class ShafirNF:
    """Score = −log p(x) in nats, x the features scaled to [−4, 4] on the training flows; (n,) float64, always finite.

    A rational-quadratic neural spline coupling flow with a standard normal latent.  The released script's latent is bounded, so that every point
    outside has density 0; linear tails and a normal latent order those points by their distance instead.  The context's validation flows are
    unused: the released training runs a fixed number of epochs.
    """

    Params = ShafirParams
    capabilities: ClassVar[Capabilities] = Capabilities(
        inputs=frozenset({"features"}),
        provenance="adapted",
        source="Shafir, Giryes, Wool, IEEE ToN 34, 2026; released script with pzflow's defaults",
    )
    profiles: ClassVar[Mapping[str, Mapping[str, object]]] = {"quick": {}, "paper": {}, "check": {"epochs": 10}}

    def __init__(self, params: ShafirParams | None = None) -> None:
        self.params = params or ShafirParams()
        self._names = _FEATURE_SETS[self.params.features]
        self._scaling: _Scaling | None = None
        self._flow: Any = None

    def fit(self, benign: FlowBatch, ctx: FitContext) -> None:
        """Maximum likelihood on the benign training flows; the run's seed decides initialisation and batches."""
        import torch

        from detectors.shafir.flow import build_flow, train

        torch.set_num_threads(ctx.threads)
        columns = benign.feature_matrix(self._names)  # (n, D)
        self._scaling = _Scaling.of(columns)
        self._flow = build_flow(len(self._names), self.params.bins, ctx.seed).to(ctx.device)
        train(self._flow, self._scaling(columns), self.params, ctx)

    def score(self, flows: FlowBatch) -> NDArray[np.float64]:
        """−log p of each flow, (n,)."""
        from detectors.shafir.flow import log_density

        if self._scaling is None:
            raise PluginError("shafir: score() before fit()")
        scaled = self._scaling(flows.feature_matrix(self._names))  # (n, D)
        scores = np.empty(len(flows))
        for start in range(0, len(flows), _SCORE_BLOCK):
            scores[start : start + _SCORE_BLOCK] = -log_density(self._flow, scaled[start : start + _SCORE_BLOCK])
        return scores

    def save(self, folder: Path) -> None:
        """``shafir.safetensors`` (scaling and weights) and ``shafir.json`` (parameters) in ``folder``."""
        from safetensors.numpy import save_file

        if self._scaling is None:
            raise PluginError("shafir: save() before fit()")
        tensors = {f"flow.{name}": value.cpu().numpy() for name, value in self._flow.state_dict().items()}
        tensors |= {"scaling.middle": self._scaling.middle, "scaling.half_range": self._scaling.half_range}
        save_file({name: np.ascontiguousarray(value) for name, value in tensors.items()}, folder / "shafir.safetensors")
        (folder / "shafir.json").write_text(json.dumps(asdict(self.params), indent=1))

    @classmethod
    def load(cls, folder: Path, params: ShafirParams | None = None) -> ShafirNF:
        """The detector that ``save`` wrote; DataError if the folder holds another parameter set."""
        import torch
        from safetensors.numpy import load_file

        from detectors.shafir.flow import build_flow

        detector = cls(params)
        saved = json.loads((folder / "shafir.json").read_text())
        if saved != asdict(detector.params):
            raise DataError(f"{folder / 'shafir.json'}: saved with {saved}, asked for {asdict(detector.params)}; load it with its own parameters")
        tensors = load_file(folder / "shafir.safetensors")
        detector._scaling = _Scaling(tensors["scaling.middle"], tensors["scaling.half_range"])
        detector._flow = build_flow(len(detector._names), detector.params.bins, seed=0)
        weights = {name.removeprefix("flow."): torch.from_numpy(value) for name, value in tensors.items() if name.startswith("flow.")}
        detector._flow.load_state_dict(weights)
        return detector
