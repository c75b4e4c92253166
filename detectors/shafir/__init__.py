"""Shafir NF: the negative log density of a neural spline flow on flow features (Shafir, Giryes, Wool, IEEE ToN 34,
2026).

Settings are those of the authors' released script, which uses pzflow's defaults; ``flow.py`` has the density model,
``features.py`` the feature sets.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from detectors.shafir.config import HINTS, ShafirParams
from detectors.shafir.features import FEATURE_SETS, inputs_of
from detectors.shared.saving import load_weights, weights_of
from detectors.shared.tabular import Arrays, SavedLearner
from janus_bench.contract import Capabilities, FitContext, FlowBatch
from janus_bench.errors import PluginError

__all__ = ["ShafirNF", "ShafirParams"]

_SCALED_BOUND = 4.0  # training data fill [-4, 4]; the splines end at 5
# squares of anything larger lose themselves in float32; reached at 250 000 half-ranges from the training data
_SCALED_LIMIT = 1e6
_SCORE_BLOCK = 8192
_EXPLAINED = 200
_PERMUTATIONS = 8


@dataclass(frozen=True)
class _Scaling:
    """Affine map of each training column onto [−4, 4].

    The released script standardises and then shifts to [−4, 4]; the composition of the two affine maps is this one,
    whatever the standardisation.
    """

    middle: NDArray[np.float64]  # (D,)
    half_range: NDArray[np.float64]  # (D,)

    @classmethod
    def of(cls, columns: NDArray[np.float64]) -> _Scaling:
        low, high = columns.min(axis=0), columns.max(axis=0)  # (D,)
        half_range = (high - low) / 2
        # no wider than rounding: keep the unit of the feature
        constant = half_range <= 1e-12 * np.maximum(np.abs(low), np.abs(high))
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

    def arrays(self, prefix: str) -> Arrays:
        """Scaling and weights, for ``restored``."""
        return {
            **{f"{prefix}scaling.{name}": value for name, value in vars(self.scaling).items()},
            **weights_of(self.flow, f"{prefix}flow."),
        }

    @classmethod
    def restored(cls, prefix: str, names: Sequence[str], params: ShafirParams, arrays: Arrays) -> _Density:
        """What gave ``arrays`` under ``prefix``."""
        from detectors.shafir.flow import build_flow

        flow = build_flow(len(names), params.bins, 0, params.latent)
        load_weights(flow, arrays, f"{prefix}flow.")
        return cls(
            tuple(names),
            _Scaling(arrays[f"{prefix}scaling.middle"], arrays[f"{prefix}scaling.half_range"]),
            flow.eval(),
        )

    def surprise(self, columns: NDArray[np.float64]) -> NDArray[np.float64]:
        """−log p in nats of raw rows (n, D), (n,)."""
        from detectors.shafir.flow import log_density

        scores = np.empty(len(columns))
        for start in range(0, len(columns), _SCORE_BLOCK):
            scores[start : start + _SCORE_BLOCK] = -log_density(
                self.flow, self.scaling(columns[start : start + _SCORE_BLOCK])
            )
        return scores


class ShafirNF(SavedLearner):
    """Score = −log p(x) in nats, x the features scaled to [−4, 4] on the training flows; (n,) float64, always finite.

    A rational-quadratic neural spline coupling flow.  The released script's latent is bounded, so that every point
    outside has density 0; a normal latent and linear tails order those points by their distance instead, and so does
    the tangent that ``latent=beta`` goes on along (``latent.py``).  The context's validation flows serve a benign
    selection only: the released training runs a fixed number of epochs.

    With ``second`` there are two columns, one per flow, and the smaller of the calibrated scores decides: flagged is
    what both flag.
    """

    Params = ShafirParams
    capabilities: ClassVar[Capabilities] = Capabilities(
        inputs=inputs_of("released"),
        provenance="adapted",
        source="Shafir, Giryes, Wool, IEEE ToN 34, 2026; released script with pzflow's defaults",
        groups=frozenset({"density"}),
        version="2",
    )
    profiles: ClassVar[Mapping[str, Mapping[str, object]]] = {
        "quick": {},
        "paper": {},
        "check": {"epochs": 3, "bins": 4},
    }

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
        """Inputs by the feature sets, two columns for two flows, a dagger for a selection that sees attacks or test
        flows."""
        own = replace(
            cls.capabilities,
            inputs=inputs_of(params.features, params.second or params.features),
            hints=HINTS[params.select],
        )
        if params.second:
            own = replace(own, scores=(f"nll_{params.features}", f"nll_{params.second}"), aggregator="min_quantile")
        as_released = (
            params.optimiser == "sgd" and params.latent == "beta" and "flow" not in (params.features, params.second)
        )
        return replace(own, provenance="faithful" if as_released and params.select != "benign" else "adapted")

    def fit(self, benign: FlowBatch, ctx: FitContext) -> None:
        """Maximum likelihood on the benign training flows; the run's seed decides initialisation and batches."""
        import torch

        torch.set_num_threads(ctx.threads)
        params = self.params
        sets = [FEATURE_SETS[name] for name in (params.features, params.second) if name]
        if params.select != "none":
            sets = [self._selected(sets[0], benign, ctx)]
        self._model = tuple(_Density.fitted(benign, names, params, ctx) for names in sets)

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
        columns = [density.surprise(flows.feature_matrix(density.names)) for density in self._learned("score")]
        return columns[0] if len(columns) == 1 else dict(zip(self.declare(self.params).scores, columns, strict=True))

    def save(self, folder: Path) -> None:
        """``shafir.safetensors`` (scaling and weights), ``shafir.json`` (parameters) and ``features.json`` in
        ``folder``."""
        super().save(folder)
        (folder / "features.json").write_text(json.dumps([density.names for density in self._model]))

    @classmethod
    def load(cls, folder: Path, params: ShafirParams | None = None) -> Self:
        """The detector that ``save`` wrote; DataError if the folder holds another parameter set."""
        detector = super().load(folder, params)
        detector._model = tuple(
            _Density.restored(f"{number}.", names, detector.params, detector._model)
            for number, names in enumerate(json.loads((folder / "features.json").read_text()))
        )
        return detector

    def _arrays(self) -> Arrays:
        return {
            name: array
            for number, density in enumerate(self._model)
            for name, array in density.arrays(f"{number}.").items()
        }
