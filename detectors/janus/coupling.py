"""Pairing noise with data inside one optimiser batch (OT-CFM: Tong et al., TMLR 2024)."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment
from torch import Tensor

__all__ = ["assign", "sinkhorn_log_plan", "transport_cost"]

REGULARISATION = 0.05  # of the median cost: squared distances over 23 … 212 dimensions are in the hundreds, where a fixed 0.05 underflows
TOLERANCE = 1e-3  # relative error of the plan's row sums
MAX_ROUNDS = 50
SCALINGS_PER_ROUND = 10


Cost = NDArray[np.float64]


def transport_cost(data: Tensor, valid: Tensor, noise: Tensor) -> Tensor:
    """cost_ij = ‖m_i ⊙ (noise_j − data_i)‖², (B, B): only the entries that flow i has count.

    ``data`` (B, E), ``valid`` (B, E) its mask m, ``noise`` (B, E).
    """
    weight = valid.to(data.dtype)
    data = data * weight
    cost = weight @ noise.square().T - 2.0 * data @ noise.T + data.square().sum(1, keepdim=True)
    return cost.clamp_min(0.0)


def assign(method: str, cost: Tensor, lengths: NDArray[np.int64], generator: torch.Generator) -> NDArray[np.int64]:
    """The noise row of each data row under ``cost`` (B, B): a permutation (B,), data rows kept in order; ``lengths`` (B,) of the flows."""
    return _METHODS[method](cost.double().cpu().numpy(), lengths, generator)


# ruff: noqa: ARG001 — one signature for all methods


def _exact(cost: Cost, lengths: NDArray[np.int64], generator: torch.Generator) -> NDArray[np.int64]:
    return linear_sum_assignment(cost)[1]


def _none(cost: Cost, lengths: NDArray[np.int64], generator: torch.Generator) -> NDArray[np.int64]:
    return np.arange(len(cost))


def _stratified(cost: Cost, lengths: NDArray[np.int64], generator: torch.Generator) -> NDArray[np.int64]:
    """Sinkhorn among flows of equal length.

    A pairing over all lengths lets the cost, which grows with the length, choose which noise goes to long flows, so p(c0 | length) is not N(0, I)
    any more and terminal scores can depend on length; here it is.
    """
    chosen = np.empty(len(cost), dtype=np.int64)
    for length in np.unique(lengths):
        rows = np.flatnonzero(lengths == length)
        chosen[rows] = rows[_sinkhorn(cost[np.ix_(rows, rows)], lengths[rows], generator)]
    return chosen


def _sinkhorn(cost: Cost, lengths: NDArray[np.int64], generator: torch.Generator) -> NDArray[np.int64]:
    """A permutation drawn from the entropic plan: row after row, each from its row of the plan over the noise that is still free.

    Free noise only, so that every draw of c0 is used once and the batch's noise stays N(0, I); sampling with replacement would not.  Training
    shuffles the rows of its batches, so no flow is favoured.  Drawn by the Gumbel-max trick.
    """
    uniform = torch.rand(cost.shape, generator=generator).clamp_min(torch.finfo(torch.float32).tiny)
    gumbel = -(-uniform.log()).log().numpy()
    keys = sinkhorn_log_plan(cost) + gumbel  # (B, B)
    chosen = np.empty(len(cost), dtype=np.int64)
    taken = np.zeros(len(cost))  # 0, or −∞ once a noise row is used
    for row in range(len(cost)):
        chosen[row] = best = (keys[row] + taken).argmax()
        taken[best] = -np.inf
    return chosen


_METHODS: dict[str, Callable[[Cost, NDArray[np.int64], torch.Generator], NDArray[np.int64]]] = {
    "sinkhorn": _sinkhorn,
    "exact": _exact,
    "none": _none,
    "stratified": _stratified,
}


def sinkhorn_log_plan(cost: NDArray[np.float64]) -> NDArray[np.float64]:
    """Log of the entropic transport plan between uniform marginals, (B, B), each row and column summing to 1 / B.

    Sinkhorn in the log domain with ε = 0.05 × the median cost: the potentials live in the log domain, and each round scales the kernel that
    they stabilise by a few matrix–vector products, then absorbs the scalings (Schmitzer 2019): as safe as log-sum-exp, and much faster.
    """
    size = len(cost)
    scaled = -cost / (REGULARISATION * max(float(np.median(cost)), 1e-12))
    # Both potentials start so that the largest entry of every row and of every column of the kernel is 1: no sum can vanish.
    f = -scaled.max(axis=1)
    g = -(scaled + f[:, None]).max(axis=0)
    for _ in range(MAX_ROUNDS):
        kernel = np.exp(scaled + f[:, None] + g)
        v = np.ones(size)
        for _ in range(SCALINGS_PER_ROUND):
            u = 1.0 / (kernel @ v)
            v = 1.0 / (u @ kernel)
        f, g = f + np.log(u), g + np.log(v)
        if np.abs(u * (kernel @ v) - 1.0).max() < TOLERANCE:  # rows; columns are exact
            break
    return scaled + f[:, None] + g - np.log(size)
