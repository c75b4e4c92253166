"""Controls: detectors that every table carries so that the others can be read against them."""

import json
from pathlib import Path
from typing import ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from janus_bench.contract import Capabilities, FitContext, FlowBatch
from janus_bench.errors import PluginError


class Length:
    """Score = number of stored packets (at most ``MAX_PACKETS``), (n,) float64: how far length alone separates."""

    capabilities: ClassVar[Capabilities] = Capabilities(
        inputs=frozenset({"packets"}),
        learns=False,
        provenance="control",
        source="control: number of packets",
        groups=frozenset({"control"}),
    )

    def fit(self, benign: FlowBatch, ctx: FitContext) -> None:
        """Learns nothing."""

    def score(self, flows: FlowBatch) -> NDArray[np.float64]:
        """Packets of each flow, (n,)."""
        return flows.lengths.astype(np.float64)

    def save(self, folder: Path) -> None:
        """Nothing: there is nothing to keep."""

    @classmethod
    def load(cls, _folder: Path, _params: None = None) -> Self:
        return cls()


class Random:
    """Score = U(0, 1) from the run's seed, (n,) float64: the noise floor of a cell, AUROC ½ but for sampling.

    The draws are by row, so a flow's score changes with its place in the batch; the exemptions say so.  Hashing the
    content of a flow would avoid that, but identical flows would then share one draw, and where one scan is most of the
    attacks (thousands of equal one-packet probes) the AUROC would be a single uniform number instead of ½.
    """

    capabilities: ClassVar[Capabilities] = Capabilities(
        inputs=frozenset(),
        learns=False,
        provenance="control",
        source="control: uniform noise",
        groups=frozenset({"control"}),
        exemptions=dict.fromkeys(("order_invariance", "batch_invariance"), "scores are noise by row")
        | {"orientation": "scores are noise and rank nothing"},
    )

    def __init__(self) -> None:
        self._seed: int | None = None

    def fit(self, benign: FlowBatch, ctx: FitContext) -> None:
        """Keeps the run's seed."""
        self._seed = ctx.seed

    def score(self, flows: FlowBatch) -> NDArray[np.float64]:
        """The same draws for every batch of the same size, (n,) in [0, 1)."""
        if self._seed is None:
            raise PluginError("random: score() before fit()")
        return np.random.default_rng([self._seed, len(flows)]).random(len(flows))

    def save(self, folder: Path) -> None:
        """The seed."""
        (folder / "random.json").write_text(json.dumps({"seed": self._seed}))

    @classmethod
    def load(cls, folder: Path, _params: None = None) -> Self:
        detector = cls()
        detector._seed = int(json.loads((folder / "random.json").read_text())["seed"])
        return detector
