"""What can be set on Shafir's flow, validated."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

from detectors.shafir.features import FeatureSet
from janus_bench.params import CheckedParams, Count, Limit, Positive

Hints = Literal["none", "few_shot", "transductive"]
Selection = Literal["none", "benign", "few_shot", "transductive"]
Latent = Literal["normal", "beta"]
Optimiser = Literal["sgd", "adam"]

HINTS: Mapping[Selection, Hints] = {
    "none": "none",
    "benign": "none",
    "few_shot": "few_shot",
    "transductive": "transductive",
}
"""What a selection is given that a detector of benign flows is not."""


@dataclass(frozen=True)
class ShafirParams(CheckedParams):
    """Parameters of ``shafir``.

    features   a set of ``features.FEATURE_SETS``
    second     another set: a flow of its own is fitted on it, and the smaller of the two calibrated scores decides (the
               paper's 2-NF ensemble); empty: one flow
    latent     ``normal``, or ``beta`` as released
    optimiser  ``sgd`` as released, or ``adam``
    select     how the ``keep`` features with the largest Shapley values are chosen from the set: ``none``: all of them;
               ``benign``: explaining −log p of benign validation flows; ``few_shot``: of 20 labelled attacks;
               ``transductive``: of 200 unlabelled test flows
    keep       features that a selection keeps
    epochs, lr, batch   of the training; no early stopping, as released
    bins       of each rational-quadratic spline
    """

    name: ClassVar[str] = "shafir"

    features: FeatureSet = "released"
    second: Literal[FeatureSet, ""] = ""
    latent: Latent = "normal"
    optimiser: Optimiser = "sgd"
    select: Selection = "none"
    keep: Count = 5
    epochs: Count = 100
    lr: Positive = 1e-3
    batch: Count = 1024
    bins: Annotated[int, Limit("≥", 2), Limit("≤", 128)] = 16

    def __post_init__(self) -> None:
        super().__post_init__()
        alone = self.second != self.features and self.select == "none"
        self.require(not self.second or alone, "second", "another set than features, and empty with a selection")
