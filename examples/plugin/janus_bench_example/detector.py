"""A detector in one page: how far, on average, a flow's features lie from the benign mean."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from janus_bench import Capabilities, FitContext, FlowBatch


class ZScore:
    """Mean absolute z-score of the 20 flow features, each clipped at ``clip`` standard deviations."""

    @dataclass(frozen=True)
    class Params:
        clip: float = 20.0

        def __post_init__(self) -> None:
            if not self.clip > 0:
                raise ValueError(f"clip={self.clip} must be positive")

    capabilities = Capabilities(inputs=frozenset({"features"}), provenance="our reading", source="textbook z-score")

    presets: ClassVar = {"example-zscore-tight": {"clip": 3.0}}

    def __init__(self, params: Params) -> None:
        self._params = params

    def fit(self, benign: FlowBatch, ctx: FitContext) -> None:
        features = benign.feature_matrix()  # (n, 20)
        self._mean = features.mean(axis=0)
        self._std = np.maximum(features.std(axis=0), 1e-3)

    def score(self, flows: FlowBatch) -> np.ndarray:
        z = np.abs(flows.feature_matrix() - self._mean) / self._std  # (n, 20)
        return np.minimum(z, self._params.clip).mean(axis=1)
