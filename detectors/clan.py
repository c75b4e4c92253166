"""CLAN: contrastive learning for anomaly-based detection in networks (IEEE CSR 2025, arXiv 2509.06550)."""

import math
from dataclasses import dataclass, replace
from typing import Annotated, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from detectors.shared.inputs import TableInput
from detectors.shared.tabular import Arrays, NetworkDetector, features_only
from janus_bench.contract import FitContext
from janus_bench.params import CheckedParams, Count, Limit, NonNegative, Positive, Share

WIDEST = 1.7  # standard deviations between which a replaced feature is drawn
LOWEST = 0.01  # of lr: where warm-up begins and the cosine ends
WARM_UP = 0.1  # of the epochs


@dataclass(frozen=True)
class CLANParams(CheckedParams):
    """Parameters of ``clan``; defaults are those of the public code.

    input     ``features`` of the flow, ``context`` (its neighbours) or ``features+context``
    width, depth   of the residual layers
    code      width of the embedding
    replaced  chance that a feature of a negative is replaced
    margin    distance, (1 − cos) / 2, beyond which a negative is far enough
    epochs, batch, lr   of AdamW, batches of half the training flows at most; no early stopping
    """

    name: ClassVar[str] = "clan"

    input: TableInput = "features"
    width: Count = 1024
    depth: Count = 4
    code: Annotated[int, Limit("≥", 2)] = 64
    replaced: Share = 0.1
    margin: NonNegative = 0.5
    epochs: Count = 200
    batch: Count = 8192
    lr: Positive = 1e-4


def lr_factor(epochs: int) -> Any:
    """Epoch → what ``lr`` is multiplied by: from .01 up to 1 in the first tenth, then along a cosine down to .01."""
    rising = max(round(WARM_UP * epochs), 1)

    def factor(epoch: int) -> float:
        if epoch < rising:
            return LOWEST + (1 - LOWEST) * epoch / rising
        falling = (epoch - rising) / max(epochs - rising, 1)
        return LOWEST + (1 - LOWEST) * (1 + math.cos(math.pi * falling)) / 2

    return factor


def contrast(codes: Any, negatives: Any, margin: float) -> Any:
    """½ · mean distance of the pairs among ``codes`` (B, C) + ½ · mean of what the active pairs of a code and one of
    ``negatives`` (B, C) lack to the margin, (); distance = (1 − cos) / 2, active = lacking something."""
    from torch.nn import functional

    codes, negatives = functional.normalize(codes, dim=1), functional.normalize(negatives, dim=1)
    pairs = max(len(codes) * (len(codes) - 1), 1)
    # Σ_{i ≠ j} cos(i, j) = |Σ_i u_i|² − B: no matrix of pairs is needed
    attraction = (pairs - (codes.sum(dim=0).square().sum() - codes.square().sum())) / (2 * pairs)
    lacking = (margin - (1 - codes @ negatives.T) / 2).relu()  # (B, B)
    return (attraction + lacking.sum() / (lacking > 0).sum().clamp_min(1)) / 2


class CLAN(NetworkDetector):
    """Score = −cos(z, c), (n,) float64 in [−1, 1]: z embeds the standardised features, c is the mean z of the training
    flows.

    Benign flows attract each other; negatives are benign flows whose features are replaced, each with chance .1, by
    U(−1.7, 1.7).  The validation flows are unused, as in the public code.  ``adapted``: 20 features instead of 72.
    """

    Params = CLANParams
    capabilities = features_only(
        "CLAN: IEEE CSR 2025, arXiv 2509.06550; its public code",
        "adapted",
        doubtful="with 20 features one negative in eight is unchanged and repels itself; reported figures replace the "
        "AUROC a of a class by max(a, 1 − a)",
        groups={"contrast"},
    )
    profiles: ClassVar[dict[str, dict[str, object]]] = {
        "quick": {"width": 256, "depth": 3, "epochs": 50, "batch": 1024, "lr": 1e-3},
        "paper": {},
        "check": {"width": 64, "depth": 2, "epochs": 10, "batch": 64, "lr": 1e-3},
    }

    def _build(self) -> Any:
        from detectors.shared.residual import ResidualMLP

        return ResidualMLP(self._reading.width, self.params.width, self.params.depth, self.params.code)

    def _schedule(self) -> Any:
        factor = lr_factor(self.params.epochs)
        return replace(super()._schedule(), batch=self._batch, optimiser="adamw", weight_decay=0.0, lr_factor=factor)

    def _learn(self, rows: NDArray[np.float32], ctx: FitContext) -> Any:
        import torch

        self._batch = min(self.params.batch, max(len(rows) // 2, 1))
        network = super()._learn(rows, ctx)
        with torch.inference_mode():
            codes = [network(part.to(ctx.device)) for part in torch.from_numpy(rows).split(self.block)]
            self._centre = torch.cat(codes).mean(dim=0)  # (C,)
        return network

    def _loss(self, rows: Any, generator: Any) -> Any:
        import torch

        replaced = torch.rand(rows.shape, generator=generator) < self.params.replaced  # (B, D)
        drawn = (2 * torch.rand(rows.shape, generator=generator) - 1) * WIDEST
        negatives = torch.where(replaced.to(rows.device), drawn.to(rows.device), rows)
        return contrast(self._model(rows), self._model(negatives), self.params.margin)

    def _evaluate(self, rows: Any) -> Any:
        from torch.nn import functional

        return -functional.cosine_similarity(self._model(rows), self._centre[None], dim=1)

    def _arrays(self) -> Arrays:
        return {**super()._arrays(), "centre": self._centre.cpu().numpy()}

    def _restore(self, arrays: Arrays) -> None:
        import torch

        self._centre = torch.from_numpy(arrays.pop("centre"))
        super()._restore(arrays)
