"""From several score columns to one scalar, fitted on benign calibration scores only; attacks are never seen here.

An aggregator is an entry of ``AGGREGATORS``; adding one is adding an entry.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from harness.contract import UsageError
from harness.suggest import unknown

__all__ = ["AGGREGATORS", "Aggregator", "Scalar", "fit_aggregator"]

Matrix = NDArray[np.float64]
Scalar = Callable[[Matrix], NDArray[np.float64]]
"""A fitted aggregator: scores (m, k) → scalar (m,), higher = more anomalous."""


@dataclass(frozen=True)
class Aggregator:
    """One way to make a scalar of ``k`` columns.

    fit       (benign scores (n, k), column names, text after the colon of its name) → the fitted scalar
    argument  what stands after the colon, for messages; empty if it takes nothing
    """

    summary: str
    fit: Callable[[Matrix, tuple[str, ...], str], Scalar]
    argument: str = ""


def fit_aggregator(name: str, scores: Matrix, columns: tuple[str, ...]) -> Scalar:
    """Fit the aggregator ``name`` (``oas``, ``identity``, ``column:NAME``) on the benign calibration scores of the target.

    scores (n, k) float64, finite; columns: their k names.  UsageError for an unknown aggregator or column, or one that cannot be used here.
    """
    if scores.ndim != 2 or scores.shape[1] != len(columns):
        raise ValueError(f"scores of shape {scores.shape} do not fit {len(columns)} columns")
    kind, colon, argument = name.partition(":")
    if kind not in AGGREGATORS:
        raise unknown("aggregator", kind, (_spelling(known) for known in AGGREGATORS))
    if bool(colon) != bool(AGGREGATORS[kind].argument):
        raise UsageError(f"aggregator {name!r}: write {_spelling(kind)}")
    return AGGREGATORS[kind].fit(scores, columns, argument)


def _spelling(kind: str) -> str:
    argument = AGGREGATORS[kind].argument
    return f"{kind}:{argument}" if argument else kind


def _fit_identity(scores: Matrix, columns: tuple[str, ...], argument: str) -> Scalar:  # noqa: ARG001
    if len(columns) != 1:
        raise UsageError(f"aggregator 'identity' needs a single score column, there are {len(columns)}: use oas or column:{columns[0]}")
    return lambda values: values[:, 0]


def _fit_column(scores: Matrix, columns: tuple[str, ...], argument: str) -> Scalar:  # noqa: ARG001
    if argument not in columns:
        raise unknown("score column", argument, columns)
    place = columns.index(argument)
    return lambda values: values[:, place]


def _fit_oas(scores: Matrix, columns: tuple[str, ...], argument: str) -> Scalar:  # noqa: ARG001
    """Squared Mahalanobis distance (s − µ)ᵀ Σ⁻¹ (s − µ) with the oracle approximating shrinkage estimate Σ (Chen et al., IEEE TSP 2010).

    Columns are not standardised.  Shrinkage keeps Σ invertible when a column is a combination of others.  Where there is no spread to estimate (one
    calibration flow, or all alike) Σ is the identity: the squared Euclidean distance from that point.  The result is finite for finite scores.
    """
    if len(scores) == 0:
        raise UsageError("aggregator 'oas' needs benign calibration scores, there are none")
    # a common factor changes nothing in the distance, but keeps squares of very large or very small scores representable
    mean = scores.mean(axis=0)
    constant = not np.ptp(scores, axis=0).any()
    scale = 1.0 if constant else float(np.abs(scores - mean).max())
    whiten = np.eye(len(columns)) if constant else _oas_whitening((scores - mean) / scale)

    def distance(values: Matrix) -> NDArray[np.float64]:
        with np.errstate(over="ignore"):  # an overflow is clipped in the same line
            deviation = np.clip((values - mean) / scale, -1e100, 1e100)  # (m, k)
        whitened = deviation @ whiten.T  # (m, k)
        return np.einsum("mk,mk->m", whitened, whitened)

    return distance


def _oas_whitening(centred: Matrix) -> Matrix:
    """L⁻¹ (k, k) with Σ = L Lᵀ, so that ‖L⁻¹ x‖² = xᵀ Σ⁻¹ x and no rounding makes it negative."""
    from scipy.linalg import solve_triangular
    from sklearn.covariance import OAS

    covariance = OAS(assume_centered=True, store_precision=False).fit(centred).covariance_
    inverse: Matrix = solve_triangular(np.linalg.cholesky(covariance), np.eye(len(covariance)), lower=True)
    return inverse


AGGREGATORS: dict[str, Aggregator] = {
    "column": Aggregator("One score column alone.", _fit_column, argument="NAME"),
    "identity": Aggregator("The score itself, of a detector with a single column.", _fit_identity),
    "oas": Aggregator("Squared Mahalanobis distance with OAS shrinkage, columns as they are (A5).", _fit_oas),
}
