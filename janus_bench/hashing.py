"""A fixed pseudo-random function of integers: the same on every machine, in every version of numpy and in every order
of the values."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

GOLDEN = 0x9E3779B97F4A7C15  # The step of splitmix64's counter: 2⁶⁴ divided by the golden ratio, odd.


def splitmix64(values: NDArray[Any], salt: int = GOLDEN) -> NDArray[np.uint64]:
    """The finaliser of splitmix64 (Steele, Lea & Flood, OOPSLA 2014) of ``values + salt`` modulo 2⁶⁴, a bijection of
    64-bit words.

    values (n,) of any integer type.  With the salt by default it is one step of the generator from each value as its
    state; the places 0, 1, 2, … of the generator's sequence from ``salt`` are ``splitmix64(np.arange(n,
    dtype=np.uint64) * np.uint64(GOLDEN), salt)``.
    """
    with np.errstate(over="ignore"):
        mixed = values.astype(np.uint64) + np.uint64(salt)
        mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return mixed ^ (mixed >> np.uint64(31))
