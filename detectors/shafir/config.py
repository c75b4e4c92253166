"""What can be set on Shafir's flow, validated."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from detectors.shafir.features import FEATURE_SETS
from detectors.shared.checking import require, require_choice, require_integer, require_positive
from janus_bench.errors import UsageError

__all__ = ["HINTS", "LATENTS", "OPTIMISERS", "ShafirParams"]

Hints = Literal["none", "few_shot", "transductive"]

OPTIMISERS = ("sgd", "adam")
LATENTS = ("normal", "beta")
HINTS: Mapping[str, Hints] = {"none": "none", "benign": "none", "few_shot": "few_shot", "transductive": "transductive"}
"""What a selection is given that a detector of benign flows is not."""


@dataclass(frozen=True)
class ShafirParams:
    """Parameters of ``shafir``.

    features   a set of ``features.FEATURE_SETS``
    second     another set: a flow of its own is fitted on it, and the smaller of the two calibrated scores decides (the paper's 2-NF ensemble);
               empty: one flow
    latent     ``normal``, or ``beta`` as released
    optimiser  ``sgd`` as released, or ``adam``
    select     how the ``keep`` features with the largest Shapley values are chosen from the set: ``none``: all of them; ``benign``: explaining
               −log p of benign validation flows; ``few_shot``: of 20 labelled attacks; ``transductive``: of 200 unlabelled test flows
    keep       features that a selection keeps
    epochs, lr, batch   of the training; no early stopping, as released
    bins       of each rational-quadratic spline
    """

    features: str = "released"
    second: str = ""
    latent: str = "normal"
    optimiser: str = "sgd"
    select: str = "none"
    keep: int = 5
    epochs: int = 100
    lr: float = 1e-3
    batch: int = 1024
    bins: int = 16

    def __post_init__(self) -> None:
        require_choice("shafir", "features", self.features, FEATURE_SETS)
        require_choice("shafir", "second", self.second, ("", *FEATURE_SETS))
        require_choice("shafir", "latent", self.latent, LATENTS)
        require_choice("shafir", "optimiser", self.optimiser, OPTIMISERS)
        require_choice("shafir", "select", self.select, HINTS)
        for name in ("keep", "epochs", "batch"):
            require_integer("shafir", name, getattr(self, name))
        require_positive("shafir", "lr", self.lr)
        require_integer("shafir", "bins", self.bins, least=2)
        require(self.bins <= 128, "shafir", "bins", "an integer from 2 to 128", self.bins)
        if self.second and (self.second == self.features or self.select != "none"):
            raise UsageError("shafir: second must be another set than features, and goes with select=none")
