"""Shapley values of a scalar function of D features by sampled permutations (Castro, Gómez, Tejada, Computers & OR 36,
2009)."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

Matrix = NDArray[np.float64]


def shapley_values(
    value: Callable[[Matrix], Matrix], rows: Matrix, background: Matrix, permutations: int, rng: np.random.Generator
) -> Matrix:
    """φ (n, D) of ``value`` ((m, D) → (m,)) at ``rows`` (n, D); a feature outside a coalition takes its value from a
    row of ``background`` (b, D).

    Each sampled permutation is used forwards and backwards with the same background row, which cancels half of the
    noise.  Σ_d φ = value(row) − the mean value of the background rows drawn, exactly.
    """
    n, dimensions = rows.shape
    phi = np.zeros((n, dimensions))
    for _ in range(permutations):
        order = rng.permutation(dimensions)
        absent = background[rng.integers(len(background), size=n)]  # (n, D)
        for direction in (order, order[::-1]):
            # (D + 1, n, D): the features of the permutation enter one by one
            steps = np.repeat(absent[None], dimensions + 1, axis=0)
            for step, feature in enumerate(direction):
                steps[step + 1 :, :, feature] = rows[:, feature]
            values = value(steps.reshape(-1, dimensions)).reshape(dimensions + 1, n)
            phi[:, direction] += np.diff(values, axis=0).T
    return phi / (2 * permutations)


def top_features(phi: Matrix, keep: int, quantile: float = 0.9) -> NDArray[np.int64]:
    """The ``keep`` features with the largest ``quantile`` of |φ| over the rows, in the order of the features; ties go
    to the earlier one."""
    strength = np.quantile(np.abs(phi), quantile, axis=0)  # (D,)
    return np.sort(np.argsort(-strength, kind="stable")[:keep])
