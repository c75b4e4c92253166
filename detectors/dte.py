"""DTE: diffusion time estimation (Livernoche, Jain, Hezaveh, Ravanbakhsh, ICLR 2024, arXiv 2305.18593), by
classification."""

from dataclasses import dataclass, replace
from typing import Annotated, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from detectors.shared.inputs import Input
from detectors.shared.tabular import NetworkDetector, features_only
from janus_bench.params import CheckedParams, Count, Limit, NonNegative, Positive

HIDDEN = (256, 512, 256)
FIRST_BETA, LAST_BETA = 1e-4, 1e-2
DROPOUT = 0.5


@dataclass(frozen=True)
class DTEParams(CheckedParams):
    """Parameters of ``dte``; defaults are those of the public code, but for ``as_released``.

    input        ``features`` of the flow, ``context`` (its neighbours) or ``features+context``; ``packets``: the 64
                 packets as 640 columns
    times        T, steps of the diffusion
    bins         of the times, which the network tells apart
    as_released  a softmax before that of the cross-entropy, as in the public code
    epochs, batch, lr, weight_decay   of Adam; no early stopping
    """

    name: ClassVar[str] = "dte"

    input: Input = "features"
    times: Annotated[int, Limit("≥", 2)] = 400
    bins: Annotated[int, Limit("≥", 2)] = 7
    as_released: bool = False
    epochs: Count = 400
    batch: Count = 64
    lr: Positive = 1e-4
    weight_decay: NonNegative = 5e-4

    def __post_init__(self) -> None:
        super().__post_init__()
        self.require(self.bins <= self.times, "bins", f"at most times={self.times}")


def noise_levels(times: int) -> NDArray[np.float64]:
    """σ_t of t = 1 … T, (T,) ascending: σ_t² = 1 − Π_{s ≤ t} (1 − β_s), β linear from 10⁻⁴ to 10⁻²."""
    return np.sqrt(1 - np.cumprod(1 - np.linspace(FIRST_BETA, LAST_BETA, times)))


class DTE(NetworkDetector):
    """Score = Σ_b b · p_b, the expected bin of the diffusion time that the row itself seems to have, (n,) float64 in
    [0, bins − 1].

    A row x becomes x + σ_t ε (it is not shrunk), t uniform in 1 … T, and a network classifies the bin of t.  Rows are
    standardised on the training flows and clipped to ±10.  ``adapted``: flows instead of the paper's tables.  Beyond
    σ_T · √D from the benign flows all rows look alike, and the score saturates.
    """

    Params = DTEParams
    capabilities = features_only(
        "DTE-C: Livernoche et al., ICLR 2024, arXiv 2305.18593; vicliv/DTE",
        "adapted",
        doubtful="the public code applies softmax twice (as_released); rows farther than the largest noise score alike",
        groups={"diffusion"},
    )
    profiles: ClassVar[dict[str, dict[str, object]]] = {"quick": {"epochs": 100}, "paper": {}, "check": {"epochs": 5}}
    presets: ClassVar[dict[str, dict[str, object]]] = {"dte-packets": {"input": "packets"}}

    def _build(self) -> Any:
        from torch import nn

        layers: list[Any] = []
        width = self._reading.width
        for hidden in HIDDEN:
            layers += [nn.Linear(width, hidden), nn.ReLU(), nn.Dropout(DROPOUT)]
            width = hidden
        del layers[2]  # dropout is between the hidden layers and before the last
        return nn.Sequential(*layers, nn.Linear(width, self.params.bins))

    def _schedule(self) -> Any:
        return replace(super()._schedule(), weight_decay=self.params.weight_decay)

    def _loss(self, rows: Any, generator: Any) -> Any:
        import torch
        from torch.nn import functional

        sigma = torch.from_numpy(noise_levels(self.params.times)).float()
        times = torch.randint(self.params.times, (len(rows),), generator=generator)  # (B,) t − 1
        noise = torch.randn(rows.shape, generator=generator) * sigma[times, None]  # (B, D)
        logits = self._model(rows + noise.to(rows.device))  # (B, bins)
        if self.params.as_released:
            logits = logits.softmax(dim=1)
        return functional.cross_entropy(logits, (times * self.params.bins // self.params.times).to(rows.device))

    def _evaluate(self, rows: Any) -> Any:
        import torch

        chances = self._model(rows).softmax(dim=1)  # (b, bins)
        return chances @ torch.arange(self.params.bins, dtype=chances.dtype, device=rows.device)
