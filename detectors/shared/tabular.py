"""What the detectors on plain matrices have in common: flows → rows → what is learned → scores, and the folder that a
fit is saved in.

``Tabular`` reads rows as they are and ``Standardised`` as z-scores of the training flows; ``SavedLearner`` adds
``save`` and ``load``; ``NetworkDetector`` is a torch network on standardised rows.  What can be read is said once, in
``inputs.INPUTS``.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import DTypeLike, NDArray

from detectors.shared.inputs import INPUTS, Input, Reading, ZScores
from detectors.shared.saving import load_arrays, load_weights, save_arrays, weights_of
from janus_bench.contract import Capabilities, FitContext, FlowBatch
from janus_bench.errors import PluginError

Arrays = dict[str, NDArray[Any]]


def features_only(source: str, provenance: Any = "faithful", **others: Any) -> Capabilities:
    """Of a detector that reads the flow features, by default at least."""
    return Capabilities(inputs=frozenset({"features"}), provenance=provenance, source=source, **others)


class Learner:
    """Parameters, and what was learned under them."""

    Params: ClassVar[Any]

    def __init__(self, params: Any = None) -> None:
        self.params: Any = params or self.Params()
        self._model: Any = None

    def _learned(self, asking: str) -> Any:
        """What ``fit`` learned; PluginError if it was not called."""
        if self._model is None:
            raise PluginError(f"{self.params.name}: {asking}() before fit()")
        return self._model


class SavedLearner(Learner):
    """``save`` and ``load`` as ``detectors.shared.saving`` has them; by default what was learned is a mapping of
    arrays."""

    def save(self, folder: Path) -> None:
        """``NAME.safetensors`` (what was learned) and ``NAME.json`` (parameters) in ``folder``."""
        self._learned("save")
        save_arrays(folder, self.params.name, self.params, self._arrays())

    @classmethod
    def load(cls, folder: Path, params: Any = None) -> Self:
        """The detector that ``save`` wrote; DataError if the folder holds another parameter set."""
        detector = cls(params)
        detector._restore(load_arrays(folder, detector.params.name, detector.params))
        return detector

    def _arrays(self) -> Mapping[str, NDArray[Any]]:
        return self._model

    def _restore(self, arrays: Arrays) -> None:
        self._model = arrays


class Tabular(Learner, ABC):
    """Learns from the rows of the benign training flows and scores rows, ``block`` at a time (0: all at once)."""

    capabilities: ClassVar[Capabilities]
    block: ClassVar[int] = 4096

    @classmethod
    def declare(cls, params: Any) -> Capabilities:
        """The input that the parameters choose."""
        return replace(cls.capabilities, inputs=frozenset(_input_of(params).split("+")))

    @property
    def _reading(self) -> Reading:
        return INPUTS[_input_of(self.params)]

    @abstractmethod
    def _learn(self, rows: NDArray[Any], ctx: FitContext) -> Any:
        """What is learned from training rows (n, D)."""

    @abstractmethod
    def _score(self, rows: NDArray[Any]) -> NDArray[np.float64]:
        """Scores (b,) of rows (b, D)."""

    def fit(self, benign: FlowBatch, ctx: FitContext) -> None:
        """Learn from the benign training flows; the run's seed decides whatever is drawn."""
        self._model = self._learn(self._rows(benign), ctx)

    def score(self, flows: FlowBatch) -> NDArray[np.float64]:
        """Anomaly score of each flow, (n,)."""
        self._learned("score")
        return self._in_blocks(flows, self._score)

    def _in_blocks(self, flows: FlowBatch, score: Callable[[NDArray[Any]], NDArray[np.float64]]) -> NDArray[np.float64]:
        scores, block = np.empty(len(flows)), self.block or max(len(flows), 1)
        for start in range(0, len(flows), block):
            part = slice(start, start + block)
            scores[part] = score(self._rows(flows if block >= len(flows) else flows.take(part)))
        return scores

    def _rows(self, flows: FlowBatch) -> NDArray[Any]:
        return self._reading.raw(flows)


class Standardised(Tabular):
    """Rows are z-scores under the training flows' moments, clipped to ±``limit``."""

    limit: ClassVar[float] = 10.0
    dtype: ClassVar[DTypeLike] = np.float32

    def __init__(self, params: Any = None) -> None:
        super().__init__(params)
        self._standardiser: ZScores | None = None

    def fit(self, benign: FlowBatch, ctx: FitContext) -> None:
        """Learn from the standardised benign training flows; the run's seed decides whatever is drawn."""
        self._standardiser = ZScores.fitted(self._reading.columns(benign))
        super().fit(benign, ctx)

    def _rows(self, flows: FlowBatch) -> NDArray[Any]:
        assert self._standardiser is not None
        return self._reading.rows(flows, self._standardiser, self.limit, self.dtype)


class NetworkDetector(Standardised, SavedLearner):
    """A torch network trained by Adam; ``Params`` has ``epochs``, ``batch``, ``lr`` and, where it stops early on
    validation flows, ``patience``."""

    prefix: ClassVar[str] = ""
    """Of the weights' names in a saved folder."""

    @abstractmethod
    def _build(self) -> Any:
        """An untrained network, initialised from torch's global generator."""

    def _loss(self, rows: Any, generator: Any) -> Any:
        """Loss () of a batch (B, D), unless ``_phases`` has others; ``generator`` (on the CPU) for whatever it
        draws."""
        raise NotImplementedError

    @abstractmethod
    def _evaluate(self, rows: Any) -> Any:
        """Score of each row (b, D), (b,) tensor; or (b, …) of what ``_score`` then makes it."""

    def _judge(self, rows: Any) -> Any:
        """Validation loss of each row (b, D), (b,): its score, unless there is a better one."""
        return self._evaluate(rows)

    def _phases(self) -> Any:
        """What takes turns in a batch (``training.Phase``): by default one optimiser of the whole network."""
        from detectors.shared.training import Phase

        return [Phase(self._model.parameters(), lambda rows, _, generator: self._loss(rows, generator))]

    def _schedule(self) -> Any:
        from detectors.shared.training import Schedule

        params = self.params
        return Schedule(params.epochs, params.batch, params.lr, getattr(params, "patience", 0))

    def _prepare(self, rows: NDArray[np.float32], ctx: FitContext) -> FitContext:
        """What comes before training on ``rows`` (n, D); the context of the training."""
        return ctx

    def _learn(self, rows: NDArray[np.float32], ctx: FitContext) -> Any:
        import torch

        from detectors.shared.training import seeded_initialisation

        torch.set_num_threads(ctx.threads)
        with seeded_initialisation(ctx.seed):
            self._model = self._build().to(ctx.device)
        self._train(rows, self._prepare(rows, ctx))
        return self._model

    def _train(self, rows: NDArray[np.float32], ctx: FitContext) -> None:
        """Train the network on rows (n, D)."""
        from detectors.shared.training import train_phases

        schedule = self._schedule()

        def validate() -> float:
            return float(self._in_blocks(ctx.validation, self._judged).mean())

        chosen = validate if schedule.patience and len(ctx.validation) else None
        train_phases([self._model], rows, self._phases(), schedule, ctx, chosen)

    def _score(self, rows: NDArray[np.float32]) -> NDArray[np.float64]:
        return self._applied(self._evaluate, rows)

    def _judged(self, rows: NDArray[np.float32]) -> NDArray[np.float64]:
        return self._applied(self._judge, rows)

    def _applied(self, network: Callable[[Any], Any], rows: NDArray[np.float32]) -> NDArray[np.float64]:
        """A function of tensors on rows (b, D), without gradients."""
        import torch

        device = next(self._model.parameters()).device
        with torch.inference_mode():
            return network(torch.from_numpy(rows).to(device)).double().cpu().numpy()

    def _arrays(self) -> Arrays:
        return {**vars(self._standardiser), **weights_of(self._model, self.prefix)}

    def _restore(self, arrays: Arrays) -> None:
        from detectors.shared.training import seeded_initialisation

        self._standardiser = ZScores(arrays.pop("mean"), arrays.pop("std"))
        with seeded_initialisation(0):
            self._model = self._build()
        load_weights(self._model, arrays, self.prefix)
        self._model.eval()  # a network is made in training, where dropout draws


def _input_of(params: Any) -> Input:
    """The input that the parameters choose; the flow features where there is nothing to choose."""
    return getattr(params, "input", "features")
