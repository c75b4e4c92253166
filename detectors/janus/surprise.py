"""How surprising a distance is, as a conformal p-value that goes on beyond the largest distance known."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

TAIL = 0.1
"""Share of the known distances that the tail is fitted to."""
THINNEST = 0.05
"""The tail's exponent 1/α is at least this: a few equal distances must not make the next larger one impossible."""
ROUNDING = 1e-5
"""Distances computed in float32, a flow at a time and many at once, differ by up to 1e-6 or so of 1 + distance; what
lies closer together than ten times that is taken for equal."""
SHORTEST = 10.0 * ROUNDING
"""Shorter distances count as this one: what is left of them is rounding, and no tail may begin there."""


@dataclass(frozen=True)
class Surprise:
    """−log p of a distance among those of benign flows.

    reference  (n,) ascending: distances of benign flows from others
    start      where the tail begins, the (1 − ``TAIL``) quantile of ``reference``
    exponent   1/α of a Pareto tail above it (Hill, Annals of Statistics 3, 1975)
    """

    reference: Floats
    start: Floats
    exponent: Floats

    @classmethod
    def fitted(cls, distances: Floats) -> Surprise:
        """From distances (n,), n ≥ 1."""
        reference = np.sort(np.maximum(distances, SHORTEST))
        start = float(np.quantile(reference, 1.0 - TAIL))
        beyond = reference[reference > start]
        exponent = float(np.log(beyond / start).mean()) if len(beyond) else 0.0
        return cls(reference, np.array(start), np.array(max(exponent, THINNEST)))

    def __call__(self, distances: Floats) -> Floats:
        """−log p (n,) ≥ 0 of ``distances`` (n,): up to ``start`` p = (1 + those as large) / (1 + all) (Vovk, Gammerman,
        Shafer 2005, section 2.3), above it the tail.

        Equal ones are as large: benign flows repeat each other, and rounding must not decide how many of them count.
        """
        within_rounding = distances - ROUNDING * (1.0 + distances)
        as_large = len(self.reference) - np.searchsorted(self.reference, within_rounding, side="left")
        ranked: Floats = -np.log((1.0 + as_large) / (1.0 + len(self.reference)))
        tail: Floats = np.log(np.maximum(distances / self.start, 1.0)) / self.exponent - np.log(TAIL)
        return np.where(distances > self.start, tail, np.minimum(ranked, -np.log(TAIL)))
