"""The inner loop of the bootstrap, compiled."""

import numpy as np
from numpy.typing import NDArray

from janus_bench.compiled import njit

Floats = NDArray[np.float64]


@njit(error_model="numpy")
def weighted_pairs(
    order: NDArray[np.intp], attack: NDArray[np.bool_], last: NDArray[np.bool_], weights: Floats
) -> tuple[Floats, Floats, Floats]:
    """Of every column of ``weights`` (n, r), flows being repeated so often: twice the pairs of a benign flow and an
    attack in which the attack has the higher score, ties counted once; the benign flows; the attacks (r,).

    order (n,)   rows of ``weights``, ascending by score;  attack, last (n,) in that order: whether it is an attack, and
                 whether the next score is higher.

    One pass over the flows for all columns.  Sums of whole numbers are exact, so their order changes nothing.
    """
    r = weights.shape[1]
    below, tied, hits, attacks, won = np.zeros(r), np.zeros(r), np.zeros(r), np.zeros(r), np.zeros(r)
    for place in range(len(order)):
        row = weights[order[place]]
        if attack[place]:
            for column in range(r):
                hits[column] += row[column]
        else:
            for column in range(r):
                tied[column] += row[column]
        if last[place]:
            for column in range(r):
                won[column] += hits[column] * (2 * below[column] + tied[column])
                below[column] += tied[column]
                attacks[column] += hits[column]
                tied[column] = 0.0
                hits[column] = 0.0
    return won, below, attacks
