"""Autoencoders without and with a memory: ``ae``, ``memae`` (Gong et al., ICCV 2019), ``sparse-memae``."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

from detectors.shared.inputs import Input
from detectors.shared.tabular import NetworkDetector, features_only
from janus_bench.params import CheckedParams, Count, Limit, NonNegative, Positive


@dataclass(frozen=True)
class AEParams(CheckedParams):
    """Parameters of ``ae``, and those that all three share.

    input      ``features`` of the flow, ``context`` (its neighbours) or ``features+context``; ``packets``: the 64 × 9
               packet channels
    hidden     widest hidden layer; the next is half of it
    code       width of the code
    epochs, batch, lr   of Adam
    patience   epochs without a better error on the benign validation flows after which training stops
    """

    name: ClassVar[str] = "ae"

    input: Input = "features"
    hidden: Annotated[int, Limit("≥", 2)] = 128
    code: Count = 8
    epochs: Count = 100
    batch: Count = 128
    lr: Positive = 1e-3
    patience: Count = 10


@dataclass(frozen=True)
class MemAEParams(AEParams):
    """Parameters of ``memae``: those of ``ae`` and

    items    N, codes in the memory
    shrink   λ·N of the hard shrinkage, from 1 to 3 (the paper's λ between 1/N and 3/N), with λ below the largest weight
             that a softmax of N cosines can have, e² / (e² + N − 1): beyond it no item could ever be addressed
    entropy  weight of the address's entropy in the loss; the paper's 0.0002
    """

    name: ClassVar[str] = "memae"

    items: Annotated[int, Limit("≥", 2)] = 100
    shrink: Annotated[float, Limit("≥", 1), Limit("≤", 3)] = 1.0
    entropy: NonNegative = 2e-4

    def __post_init__(self) -> None:
        super().__post_init__()
        largest = self.items * math.e**2 / (math.e**2 + self.items - 1)
        self.require(self.shrink < largest, "shrink", f"below {largest:.3g} for items={self.items}")


@dataclass(frozen=True)
class SparseMemAEParams(AEParams):
    """Parameters of ``sparse-memae``: those of ``ae`` and

    items  N, codes in the memory
    k      items that an address may hold
    """

    name: ClassVar[str] = "sparse-memae"

    items: Count = 100
    k: Count = 3

    def __post_init__(self) -> None:
        super().__post_init__()
        self.require(self.k <= self.items, "k", f"at most items={self.items}")


class AE(NetworkDetector):
    """Score = reconstruction error of a fully connected autoencoder, (n,) float64 ≥ 0 (``network.ERRORS``).

    Inputs are standardised on the benign training flows and clipped to ±10.  The weights of the epoch with the lowest
    error on the benign validation flows are kept (those of the last epoch where there are none).
    """

    Params = AEParams
    capabilities = features_only(
        "fully connected autoencoder, the baseline of Gong et al., ICCV 2019", "our reading", groups={"reconstruction"}
    )
    profiles: ClassVar[Mapping[str, Mapping[str, object]]] = {"quick": {"epochs": 50}, "check": {"epochs": 5}}
    presets: ClassVar[Mapping[str, Mapping[str, object]]] = {"ae-packets": {"input": "packets"}}
    prefix = "network."

    def _build(self) -> Any:
        from detectors.autoencoders.network import Autoencoder

        return Autoencoder(self.params.input, self.params.hidden, self.params.code, self._memory())

    def _memory(self) -> tuple[int, Callable[[Any], Any]] | None:
        """Items and addressing (similarities (B, N) → addresses (B, N)) of the memory; None without."""
        return None

    def _loss(self, rows: Any, generator: Any) -> Any:
        return self._evaluate(rows).mean()

    def _evaluate(self, rows: Any) -> Any:
        from detectors.autoencoders.network import ERRORS

        return ERRORS[self.params.input](rows, self._model(rows)[0])


class MemAE(AE):
    """Score = reconstruction error of an autoencoder whose decoder sees only combinations of learned prototypes, (n,)
    float64 ≥ 0.

    Gong et al., ICCV 2019: address = softmax of the cosine similarities between code and items, hard shrinkage, L1
    renormalisation; loss = error + 0.0002 · entropy of the address.  ``adapted``: a network for flows instead of the
    paper's for images and KDD'99.
    """

    Params = MemAEParams
    capabilities = features_only("Gong et al., ICCV 2019 (MemAE)", "adapted", groups={"reconstruction"})
    presets: ClassVar[Mapping[str, Mapping[str, object]]] = {"memae-packets": {"input": "packets"}}

    def _memory(self) -> tuple[int, Callable[[Any], Any]]:
        from detectors.autoencoders.network import shrink

        return self.params.items, lambda similarity: shrink(similarity, self.params.shrink / self.params.items)

    def _loss(self, rows: Any, generator: Any) -> Any:
        from detectors.autoencoders.network import ERRORS, address_entropy

        output, weights = self._model(rows)
        return ERRORS[self.params.input](rows, output).mean() + self.params.entropy * address_entropy(weights)


class SparseMemAE(AE):
    """As ``memae``, but the address is a softmax over the ``k`` most similar items and the loss has no entropy term;
    (n,) float64 ≥ 0.

    There is no public code: ``our reading``.
    """

    Params = SparseMemAEParams
    capabilities = features_only(
        "MemAE (Gong et al., ICCV 2019) with top-k addressing", "our reading", groups={"reconstruction"}
    )
    presets: ClassVar[Mapping[str, Mapping[str, object]]] = {"sparse-memae-packets": {"input": "packets"}}

    def _memory(self) -> tuple[int, Callable[[Any], Any]]:
        from detectors.autoencoders.network import sparsest

        return self.params.items, lambda similarity: sparsest(similarity, self.params.k)
