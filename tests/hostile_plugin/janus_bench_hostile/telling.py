"""Detectors whose scores tell what they were given."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from janus_bench import Capabilities, FitContext, FlowBatch


class _Hinted:
    def fit(self, benign: FlowBatch, ctx: FitContext) -> None:
        self._hints = 0 if ctx.hints is None else len(ctx.hints)

    def score(self, flows: FlowBatch) -> np.ndarray:
        return np.full(len(flows), float(self._hints))


class FewShot(_Hinted):
    """Its score is the number of flows that it was shown."""

    capabilities = Capabilities(inputs=frozenset({"features"}), hints="few_shot")


class Transductive(_Hinted):
    """The same."""

    capabilities = Capabilities(inputs=frozenset({"features"}), hints="transductive")


class BenignOnly(_Hinted):
    """The same."""

    capabilities = Capabilities(inputs=frozenset({"features"}))


class Replay:
    """Its columns: packets of the flow in the stream, packets of any flow, and of no flow, in the streams of scoring
    and of training."""

    capabilities = Capabilities(
        inputs=frozenset({"stream"}),
        scores=(
            "of_flow",
            "of_flows",
            "of_none",
            "trained_of_flows",
            "trained_of_none",
            "validated_of_none",
            "captures",
        ),
        aggregator="column:of_flow",
    )

    def fit(self, benign: FlowBatch, ctx: FitContext) -> None:
        stream = benign.packet_stream()
        self._trained = [
            int((stream.flow >= 0).sum()),
            int((stream.flow < 0).sum()),
            int((ctx.validation.packet_stream().flow < 0).sum()),
        ]

    def score(self, flows: FlowBatch) -> dict[str, np.ndarray]:
        stream = flows.packet_stream()
        mine = stream.flow >= 0
        one = np.ones(len(flows))
        return {
            "of_flow": np.bincount(stream.flow[mine], minlength=len(flows)).astype(float),
            "of_flows": one * mine.sum(),
            "of_none": one * (~mine).sum(),
            "trained_of_flows": one * self._trained[0],
            "trained_of_none": one * self._trained[1],
            "validated_of_none": one * self._trained[2],
            "captures": one * len(np.unique(stream.capture)),
        }


class OneParameter:
    """Random directions, drawn with the run's generator: whatever reaches it otherwise than before shows in its
    scores."""

    capabilities = Capabilities(inputs=frozenset({"features"}))

    @dataclass(frozen=True)
    class Params:
        directions: int = 4

    def __init__(self, params: Params) -> None:
        self._params = params

    def fit(self, benign: FlowBatch, ctx: FitContext) -> None:
        rows = benign.feature_matrix()
        chosen = ctx.rng.choice(len(rows), size=self._params.directions)
        self._points = rows[chosen] + rows[:1] * 1e-3

    def score(self, flows: FlowBatch) -> np.ndarray:
        return np.abs(flows.feature_matrix()[:, None] - self._points).sum(axis=2).min(axis=1)


class TwoParameters(OneParameter):
    """The same, after somebody has added a parameter."""

    @dataclass(frozen=True)
    class Params(OneParameter.Params):
        added: float = 0.5
