"""KitNET's feature mapper: which features share an autoencoder (Mirsky et al., NDSS 2018, section IV-B; KitNET-py)."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from janus_bench.compiled import njit

_NONE = 1e-100  # divides where a feature is constant; its distance is then 1


@njit(nogil=True)
def _residual_sums(rows: Any, sums: Any, products: Any) -> Any:
    """Add to ``products`` (D, D) the products of the residuals of each row against the mean of the rows so far, that
    row included."""
    n, width = rows.shape
    residual = np.empty(width)
    for i in range(n):
        for a in range(width):
            sums[a] += rows[i, a]
            residual[a] = rows[i, a] - sums[a] / (i + 1)
        for a in range(width):
            for b in range(width):
                products[a, b] += residual[a] * residual[b]


def correlation_distances(rows: NDArray[np.float64]) -> NDArray[np.float64]:
    """1 − correlation of the columns of ``rows`` (n, D), (D, D) ≥ 0, with residuals against the running mean, as the
    paper keeps them."""
    width = rows.shape[1]
    products = np.zeros((width, width))
    _residual_sums(np.ascontiguousarray(rows), np.zeros(width), products)
    norms = np.sqrt(np.diag(products))
    scale = np.outer(norms, norms)
    scale[scale == 0] = _NONE
    return np.maximum(1 - products / scale, 0)


def feature_groups(rows: NDArray[np.float64], largest: int) -> list[list[int]]:
    """The columns of ``rows`` (n, D) in groups of at most ``largest``.

    Single-linkage clusters by correlation distance, split from the top until they fit.
    """
    from scipy.cluster.hierarchy import linkage

    width = rows.shape[1]
    if width == 1:
        return [[0]]
    merges = linkage(correlation_distances(rows)[np.triu_indices(width, 1)], method="single")  # (D − 1, 4)

    def leaves(node: int) -> list[int]:
        if node < width:
            return [node]
        left, right = (int(child) for child in merges[node - width, :2])
        return leaves(left) + leaves(right)

    def split(node: int) -> list[list[int]]:
        if node < width or merges[node - width, 3] <= largest:
            return [leaves(node)]
        left, right = (int(child) for child in merges[node - width, :2])
        return split(left) + split(right)

    return split(2 * width - 2)
