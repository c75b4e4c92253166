"""Runs of different lengths in one flat array, such as the packets of flows: where each begins, and how to gather some
of them."""

from typing import Any

import numpy as np
from numpy.typing import NDArray


def starts_of(lengths: NDArray[Any]) -> NDArray[np.int64]:
    """Offsets (n + 1,) of n runs with these lengths, one after the other: run i is ``starts[i]:starts[i + 1]``."""
    starts = np.zeros(len(lengths) + 1, np.int64)
    np.cumsum(lengths, out=starts[1:])
    return starts


def positions(begins: NDArray[np.int64], lengths: NDArray[np.int64]) -> NDArray[np.int64]:
    """Flat positions of n runs, run by run, (sum of lengths,): run i is ``begins[i] … begins[i] + lengths[i] - 1``.

    Runs may overlap, come in any order and be empty; ``column[positions(begins, lengths)]`` has them one after the
    other.
    """
    starts = starts_of(lengths)
    return np.repeat(begins - starts[:-1], lengths) + np.arange(starts[-1])
