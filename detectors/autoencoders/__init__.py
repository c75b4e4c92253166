"""Autoencoders without and with a memory: ``ae``, ``memae`` (Gong et al., ICCV 2019), ``sparse-memae``."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from detectors.shared.checking import (
    require,
    require_choice,
    require_integer,
    require_positive,
)
from detectors.shared.inputs import INPUTS, Standardiser
from detectors.shared.saving import load_arrays, save_arrays
from janus_bench.contract import Capabilities, FitContext, FlowBatch
from janus_bench.errors import PluginError

__all__ = ["AE", "AEParams", "MemAE", "MemAEParams", "SparseMemAE", "SparseMemAEParams"]

_LIMIT = 10.0  # z-scores beyond are clipped
_SCORE_BLOCK = 4096
_FEATURES = frozenset({"features"})


@dataclass(frozen=True)
class AEParams:
    """Parameters of ``ae``, and those that all three share.

    input      ``features``: the 20 flow features; ``packets``: the 64 × 9 packet channels
    hidden     widest hidden layer; the next is half of it
    code       width of the code
    epochs, batch, lr   of Adam
    patience   epochs without a better error on the benign validation flows after which training stops
    """

    name: ClassVar[str] = "ae"

    input: str = "features"
    hidden: int = 128
    code: int = 8
    epochs: int = 100
    batch: int = 128
    lr: float = 1e-3
    patience: int = 10

    def __post_init__(self) -> None:
        require_choice(self.name, "input", self.input, INPUTS)
        require_integer(self.name, "hidden", self.hidden, least=2)
        for field in ("code", "epochs", "batch", "patience"):
            require_integer(self.name, field, getattr(self, field))
        require_positive(self.name, "lr", self.lr)


@dataclass(frozen=True)
class MemAEParams(AEParams):
    """Parameters of ``memae``: those of ``ae`` and

    items    N, codes in the memory
    shrink   λ·N of the hard shrinkage, from 1 to 3 (the paper's λ between 1/N and 3/N), with λ below the largest weight that a softmax of N
             cosines can have, e² / (e² + N − 1): beyond it no item could ever be addressed
    entropy  weight of the address's entropy in the loss; the paper's 0.0002
    """

    name: ClassVar[str] = "memae"

    items: int = 100
    shrink: float = 1.0
    entropy: float = 2e-4

    def __post_init__(self) -> None:
        super().__post_init__()
        require_integer(self.name, "items", self.items, least=2)
        require(isinstance(self.shrink, int | float) and 1 <= self.shrink <= 3, self.name, "shrink", "a number from 1 to 3", self.shrink)
        largest = self.items * math.e**2 / (math.e**2 + self.items - 1)
        require(self.shrink < largest, self.name, "shrink", f"below {largest:.3g} for items={self.items}", self.shrink)
        require(isinstance(self.entropy, int | float) and 0 <= self.entropy < math.inf, self.name, "entropy", "a number ≥ 0", self.entropy)


@dataclass(frozen=True)
class SparseMemAEParams(AEParams):
    """Parameters of ``sparse-memae``: those of ``ae`` and

    items  N, codes in the memory
    k      items that an address may hold
    """

    name: ClassVar[str] = "sparse-memae"

    items: int = 100
    k: int = 3

    def __post_init__(self) -> None:
        super().__post_init__()
        require_integer(self.name, "items", self.items)
        require_integer(self.name, "k", self.k)
        require(self.k <= self.items, self.name, "k", f"at most items={self.items}", self.k)


class AE:
    """Score = reconstruction error of a fully connected autoencoder, (n,) float64 ≥ 0 (``network.ERRORS``).

    Inputs are standardised on the benign training flows and clipped to ±10.  The weights of the epoch with the lowest error on the benign
    validation flows are kept (those of the last epoch where there are none).
    """

    Params: ClassVar[Any] = AEParams
    capabilities: ClassVar[Capabilities] = Capabilities(
        inputs=_FEATURES, provenance="our reading", source="fully connected autoencoder, the baseline of Gong et al., ICCV 2019"
    )
    profiles: ClassVar[Mapping[str, Mapping[str, object]]] = {"quick": {"epochs": 50}, "check": {"epochs": 5}}
    presets: ClassVar[Mapping[str, Mapping[str, object]]] = {"ae-packets": {"input": "packets"}}

    @classmethod
    def declare(cls, params: AEParams) -> Capabilities:
        return replace(cls.capabilities, inputs=frozenset({params.input}))

    def __init__(self, params: AEParams | None = None) -> None:
        self.params: Any = params or self.Params()
        self._standardiser: Standardiser | None = None
        self._network: Any = None

    def fit(self, benign: FlowBatch, ctx: FitContext) -> None:
        """Minimise the reconstruction error of ``benign``, early stopping on ``ctx.validation``."""
        import torch

        from detectors.shared.training import Schedule, train

        torch.set_num_threads(ctx.threads)
        read = INPUTS[self.params.input]
        self._standardiser = Standardiser.fitted(read.columns(benign))
        self._network = self._build(ctx.seed).to(ctx.device)
        schedule = Schedule(self.params.epochs, self.params.batch, self.params.lr, self.params.patience)
        validate = (lambda: float(self.score(ctx.validation).mean())) if len(ctx.validation) else None
        train(self._network, read.rows(benign, self._standardiser, _LIMIT), lambda rows, _: self._loss(rows), schedule, ctx, validate)

    def score(self, flows: FlowBatch) -> NDArray[np.float64]:
        """Reconstruction error of each flow, (n,)."""
        import torch

        from detectors.autoencoders.network import ERRORS

        if self._standardiser is None:
            raise PluginError(f"{self.params.name}: score() before fit()")
        device = next(self._network.parameters()).device
        scores = np.empty(len(flows))
        with torch.inference_mode():
            for start in range(0, len(flows), _SCORE_BLOCK):
                block = slice(start, start + _SCORE_BLOCK)
                rows = torch.from_numpy(INPUTS[self.params.input].rows(flows.take(block), self._standardiser, _LIMIT)).to(device)
                scores[block] = ERRORS[self.params.input](rows, self._network(rows)[0]).double().cpu().numpy()
        return scores

    def save(self, folder: Path) -> None:
        """Standardisation, weights and parameters in ``folder``, as ``detectors.shared.saving`` writes them."""
        if self._standardiser is None:
            raise PluginError(f"{self.params.name}: save() before fit()")
        weights = {f"network.{name}": weight.cpu().numpy() for name, weight in self._network.state_dict().items()}
        save_arrays(folder, self.params.name, self.params, {**vars(self._standardiser), **weights})

    @classmethod
    def load(cls, folder: Path, params: AEParams | None = None) -> Self:
        """The detector that ``save`` wrote; DataError if the folder holds another parameter set."""
        import torch

        detector = cls(params)
        arrays = load_arrays(folder, detector.params.name, detector.params)
        detector._standardiser = Standardiser(arrays.pop("mean"), arrays.pop("std"))
        detector._network = detector._build(seed=0)
        detector._network.load_state_dict({name.removeprefix("network."): torch.from_numpy(weight) for name, weight in arrays.items()})
        return detector

    def _memory(self) -> tuple[int, Callable[[Any], Any]] | None:
        """Items and addressing (similarities (B, N) → addresses (B, N)) of the memory; None without."""
        return None

    def _build(self, seed: int) -> Any:
        from detectors.autoencoders.network import Autoencoder
        from detectors.shared.training import seeded_initialisation

        with seeded_initialisation(seed):
            return Autoencoder(self.params.input, self.params.hidden, self.params.code, self._memory())

    def _loss(self, rows: Any) -> Any:
        from detectors.autoencoders.network import ERRORS

        return ERRORS[self.params.input](rows, self._network(rows)[0]).mean()


class MemAE(AE):
    """Score = reconstruction error of an autoencoder whose decoder sees only combinations of learned prototypes, (n,) float64 ≥ 0.

    Gong et al., ICCV 2019: address = softmax of the cosine similarities between code and items, hard shrinkage, L1 renormalisation; loss = error
    + 0.0002 · entropy of the address.  ``adapted``: a network for flows instead of the paper's for images and KDD'99.
    """

    Params: ClassVar[Any] = MemAEParams
    capabilities: ClassVar[Capabilities] = Capabilities(inputs=_FEATURES, provenance="adapted", source="Gong et al., ICCV 2019 (MemAE)")
    presets: ClassVar[Mapping[str, Mapping[str, object]]] = {"memae-packets": {"input": "packets"}}

    def _memory(self) -> tuple[int, Callable[[Any], Any]]:
        from detectors.autoencoders.network import shrink

        return self.params.items, lambda similarity: shrink(similarity, self.params.shrink / self.params.items)

    def _loss(self, rows: Any) -> Any:
        from detectors.autoencoders.network import ERRORS, address_entropy

        output, weights = self._network(rows)
        return ERRORS[self.params.input](rows, output).mean() + self.params.entropy * address_entropy(weights)


class SparseMemAE(AE):
    """As ``memae``, but the address is a softmax over the ``k`` most similar items and the loss has no entropy term; (n,) float64 ≥ 0.

    There is no public code: ``our reading``.
    """

    Params: ClassVar[Any] = SparseMemAEParams
    capabilities: ClassVar[Capabilities] = Capabilities(
        inputs=_FEATURES, provenance="our reading", source="MemAE (Gong et al., ICCV 2019) with top-k addressing"
    )
    presets: ClassVar[Mapping[str, Mapping[str, object]]] = {"sparse-memae-packets": {"input": "packets"}}

    def _memory(self) -> tuple[int, Callable[[Any], Any]]:
        from detectors.autoencoders.network import sparsest

        return self.params.items, lambda similarity: sparsest(similarity, self.params.k)
