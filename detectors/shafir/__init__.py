"""Shafir NF: the negative log density of a neural spline flow on flow features (Shafir, Giryes, Wool, IEEE ToN 34, 2026).

Settings are those of the authors' released script, which uses pzflow's defaults; ``flow.py`` has the density model, ``features.py`` the feature sets.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from detectors.shafir.config import HINTS, ShafirParams
from detectors.shafir.features import FEATURE_SETS, inputs_of
from detectors.shared.saving import load_arrays, save_arrays
from janus_bench.contract import Capabilities, FitContext, FlowBatch
from janus_bench.errors import PluginError

__all__ = ["ShafirNF", "ShafirParams"]

_SCALED_BOUND = 4.0  # training data fill [-4, 4]; the splines end at 5
_SCALED_LIMIT = 1e6  # squares of anything larger lose themselves in float32; reached at 250 000 half-ranges from the training data
_SCORE_BLOCK = 8192
_EXPLAINED = 200
_PERMUTATIONS = 8


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


@dataclass(frozen=True)
class _Density:
    """A fitted flow with the features that it reads, in their order."""

    names: tuple[str, ...]
    scaling: _Scaling
    flow: Any

    @classmethod
    def fitted(cls, benign: FlowBatch, names: Sequence[str], params: ShafirParams, ctx: FitContext) -> _Density:
        from detectors.shafir.flow import build_flow, train

        columns = benign.feature_matrix(names)  # (n, D)
        scaling = _Scaling.of(columns)
        flow = build_flow(len(names), params.bins, ctx.seed, params.latent).to(ctx.device)
        train(flow, scaling(columns), params, ctx)
        return cls(tuple(names), scaling, flow)

    def surprise(self, columns: NDArray[np.float64]) -> NDArray[np.float64]:
        """−log p in nats of raw rows (n, D), (n,)."""
        from detectors.shafir.flow import log_density

        scores = np.empty(len(columns))
        for start in range(0, len(columns), _SCORE_BLOCK):
            scores[start : start + _SCORE_BLOCK] = -log_density(self.flow, self.scaling(columns[start : start + _SCORE_BLOCK]))
        return scores


class ShafirNF:
    """Score = −log p(x) in nats, x the features scaled to [−4, 4] on the training flows; (n,) float64, always finite.

    A rational-quadratic neural spline coupling flow.  The released script's latent is bounded, so that every point outside has density 0; a normal
    latent and linear tails order those points by their distance instead, and so does the tangent that ``latent=beta`` goes on along
    (``latent.py``).  The context's validation flows serve a benign selection only: the released training runs a fixed number of epochs.

    With ``second`` there are two columns, one per flow, and the smaller of the calibrated scores decides: flagged is what both flag.
    """

    Params = ShafirParams
    capabilities: ClassVar[Capabilities] = Capabilities(
        inputs=inputs_of("released"),
        provenance="adapted",
        source="Shafir, Giryes, Wool, IEEE ToN 34, 2026; released script with pzflow's defaults",
        version="2",
    )
    profiles: ClassVar[Mapping[str, Mapping[str, object]]] = {"quick": {}, "paper": {}, "check": {"epochs": 3, "bins": 4}}

    presets: ClassVar[Mapping[str, Mapping[str, object]]] = {
        "shafir-beta": {"latent": "beta"},
        "shafir-adam": {"optimiser": "adam"},
        "shafir-flow": {"features": "flow"},
        "shafir-ensemble": {"second": "published"},
        "shafir-selected": {"features": "flow", "select": "benign"},
        "shafir-few-shot": {"features": "flow", "select": "few_shot"},
        "shafir-transductive": {"features": "flow", "select": "transductive"},
    }

    @classmethod
    def declare(cls, params: ShafirParams) -> Capabilities:
        """Inputs by the feature sets, two columns for two flows, a dagger for a selection that sees attacks or test flows."""
        own = replace(cls.capabilities, inputs=inputs_of(params.features, params.second or params.features), hints=HINTS[params.select])
        if params.second:
            own = replace(own, scores=(f"nll_{params.features}", f"nll_{params.second}"), aggregator="min_quantile")
        as_released = params.optimiser == "sgd" and params.latent == "beta" and "flow" not in (params.features, params.second)
        return replace(own, provenance="faithful" if as_released and params.select != "benign" else "adapted")

    def __init__(self, params: ShafirParams | None = None) -> None:
        self.params = params or ShafirParams()
        self._columns = self.declare(self.params).scores
        self._densities: tuple[_Density, ...] = ()

    def fit(self, benign: FlowBatch, ctx: FitContext) -> None:
        """Maximum likelihood on the benign training flows; the run's seed decides initialisation and batches."""
        import torch

        torch.set_num_threads(ctx.threads)
        params = self.params
        sets = [FEATURE_SETS[name] for name in (params.features, params.second) if name]
        if params.select != "none":
            sets = [self._selected(sets[0], benign, ctx)]
        self._densities = tuple(_Density.fitted(benign, names, params, ctx) for names in sets)

    def _selected(self, names: tuple[str, ...], benign: FlowBatch, ctx: FitContext) -> tuple[str, ...]:
        """The features with the largest Shapley values of −log p of a flow over all of them."""
        from detectors.shafir.shapley import shapley_values, top_features

        explained = ctx.validation if self.params.select == "benign" else ctx.hints
        if explained is None or not len(explained):
            raise PluginError(f"shafir: select={self.params.select} has no flows to explain")
        rng = np.random.default_rng(ctx.seed)
        rows = explained.feature_matrix(names)  # (m, D)
        rows = rows[rng.permutation(len(rows))[:_EXPLAINED]]
        density = _Density.fitted(benign, names, self.params, ctx)
        phi = shapley_values(density.surprise, rows, benign.feature_matrix(names), _PERMUTATIONS, rng)
        return tuple(names[feature] for feature in top_features(phi, min(self.params.keep, len(names))))

    def score(self, flows: FlowBatch) -> NDArray[np.float64] | dict[str, NDArray[np.float64]]:
        """−log p of each flow, (n,); for two flows a column each."""
        if not self._densities:
            raise PluginError("shafir: score() before fit()")
        columns = [density.surprise(flows.feature_matrix(density.names)) for density in self._densities]
        return columns[0] if len(columns) == 1 else dict(zip(self._columns, columns, strict=True))

    def save(self, folder: Path) -> None:
        """``shafir.safetensors`` (scaling and weights), ``shafir.json`` (parameters) and ``features.json`` in ``folder``."""
        if not self._densities:
            raise PluginError("shafir: save() before fit()")
        save_arrays(folder, "shafir", self.params, dict(self._arrays()))
        (folder / "features.json").write_text(json.dumps([density.names for density in self._densities]))

    def _arrays(self) -> Iterator[tuple[str, NDArray[Any]]]:
        for number, density in enumerate(self._densities):
            for name, value in asdict(density.scaling).items():
                yield f"{number}.scaling.{name}", value
            for name, tensor in density.flow.state_dict().items():
                yield f"{number}.flow.{name}", tensor.cpu().numpy()

    @classmethod
    def load(cls, folder: Path, params: ShafirParams | None = None) -> ShafirNF:
        """The detector that ``save`` wrote; DataError if the folder holds another parameter set."""
        import torch

        from detectors.shafir.flow import build_flow

        detector = cls(params)
        arrays = load_arrays(folder, "shafir", detector.params)
        densities = []
        for number, names in enumerate(json.loads((folder / "features.json").read_text())):
            own = {name.removeprefix(f"{number}."): value for name, value in arrays.items() if name.startswith(f"{number}.")}
            flow = build_flow(len(names), detector.params.bins, 0, detector.params.latent)
            flow.load_state_dict({name.removeprefix("flow."): torch.from_numpy(value) for name, value in own.items() if name.startswith("flow.")})
            flow.eval()
            densities.append(_Density(tuple(names), _Scaling(own["scaling.middle"], own["scaling.half_range"]), flow))
        detector._densities = tuple(densities)
        return detector
