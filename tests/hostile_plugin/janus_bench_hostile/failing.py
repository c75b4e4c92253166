"""Detectors that fail in every way there is."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from janus_bench import Capabilities, FitContext, FlowBatch

FEATURES = Capabilities(inputs=frozenset({"features"}))


class _Honest:
    capabilities = FEATURES

    def fit(self, benign: FlowBatch, ctx: FitContext) -> None:
        self._mean = benign.feature_matrix().mean(axis=0)

    def score(self, flows: FlowBatch) -> np.ndarray:
        return np.abs(flows.feature_matrix() - self._mean).sum(axis=1)


class ReturnsNan(_Honest):
    def score(self, flows: FlowBatch) -> np.ndarray:
        scores = super().score(flows)
        scores[0] = np.nan
        return scores


class ReturnsTooFew(_Honest):
    def score(self, flows: FlowBatch) -> np.ndarray:
        return super().score(flows)[:-1]


class Raises(_Honest):
    def fit(self, benign: FlowBatch, ctx: FitContext) -> None:
        raise ValueError("the fit went wrong\nwith details on a second line")


class Sleeps(_Honest):
    def fit(self, benign: FlowBatch, ctx: FitContext) -> None:
        time.sleep(600)


class Hog(_Honest):
    def fit(self, benign: FlowBatch, ctx: FitContext) -> None:
        kept = []
        for _ in range(600):
            kept.append(np.ones(2**21))  # 16 MiB, touched
            time.sleep(0.01)


class Exits(_Honest):
    def fit(self, benign: FlowBatch, ctx: FitContext) -> None:
        os._exit(7)


class SlowScore(_Honest):
    """Scores one target and the validation flows (four batches) at once; then, while the marker file exists, each batch
    takes a minute."""

    @dataclass(frozen=True)
    class Params:
        marker: str = "/nonexistent"

    def __init__(self, params: Params) -> None:
        self._marker = Path(params.marker)
        self._batches = 0

    def score(self, flows: FlowBatch) -> np.ndarray:
        self._batches += 1
        if self._batches > 4 and self._marker.exists():
            time.sleep(60)
        return super().score(flows)
