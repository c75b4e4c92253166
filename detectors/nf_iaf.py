"""NF-IAF: the density of a masked autoregressive flow on flow features (Papamakarios, Pavlakou, Murray, NeurIPS
2017)."""

from copy import deepcopy
from dataclasses import dataclass
from typing import Any, ClassVar

from detectors.shared.inputs import TableInput
from detectors.shared.tabular import NetworkDetector, features_only
from janus_bench.params import CheckedParams, Count, Positive


@dataclass(frozen=True)
class NFIAFParams(CheckedParams):
    """Parameters of ``nf-iaf``.

    input     ``features`` of the flow, ``context`` (its neighbours) or ``features+context``
    blocks    autoregressive networks; the order of the columns is reversed between them
    hidden    width of the two hidden layers of each
    epochs, batch, lr   of Adam
    patience  epochs without a better mean −log p of the benign validation flows after which training stops
    """

    name: ClassVar[str] = "nf-iaf"

    input: TableInput = "features"
    blocks: Count = 5
    hidden: Count = 128
    epochs: Count = 100
    batch: Count = 128
    lr: Positive = 1e-3
    patience: Count = 10


def build_flow(dimensions: int, blocks: int, hidden: int) -> Any:
    """An untrained flow with ``log_prob((B, D)) → (B,)`` in nats: in each block column i is scaled and shifted by what
    a masked network makes of columns 1 … i − 1."""
    from nflows.distributions.normal import StandardNormal
    from nflows.flows.base import Flow
    from nflows.transforms.autoregressive import MaskedAffineAutoregressiveTransform
    from nflows.transforms.base import CompositeTransform
    from nflows.transforms.permutations import ReversePermutation

    layers: list[Any] = []
    for block in range(blocks):
        layers += [ReversePermutation(dimensions)] if block else []
        # one feedforward block after the first layer: two hidden layers
        layers.append(MaskedAffineAutoregressiveTransform(dimensions, hidden, num_blocks=1, use_residual_blocks=False))
    return Flow(CompositeTransform(layers), StandardNormal([dimensions]))


class NFIAF(NetworkDetector):
    """Score = −log p(x) in nats of the standardised features, clipped to ±10, (n,) float64.

    The weights of the epoch with the lowest −log p of the benign validation flows are kept (those of the last epoch
    where there are none).
    """

    Params = NFIAFParams
    capabilities = features_only(
        "no paper of the printed NF-NIDS was found; masked autoregressive flow, Papamakarios et al., NeurIPS 2017",
        "our reading",
        doubtful="all of it: nothing published stands behind the name; an inverse autoregressive flow would need a "
        "pass per column for the density of a given row, so the masked direction, one pass, is used",
        groups={"density"},
        version="2",
    )
    profiles: ClassVar[dict[str, dict[str, object]]] = {
        "quick": {"epochs": 50},
        "paper": {},
        "check": {"epochs": 3, "blocks": 2, "hidden": 32},
    }

    def _build(self) -> Any:
        return build_flow(self._reading.width, self.params.blocks, self.params.hidden)

    def _loss(self, rows: Any, generator: Any) -> Any:
        return -self._model.log_prob(rows).mean()

    def _evaluate(self, rows: Any) -> Any:
        """In double precision: each block multiplies what is far away, which is beyond a float32 after some of them."""
        return -deepcopy(self._model).double().log_prob(rows.double())
