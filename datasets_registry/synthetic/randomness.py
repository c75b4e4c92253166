"""Seeded scalar draws.

A simulator draws millions of single numbers; numpy's generator is fast only in blocks, so ``Dice`` draws blocks and
hands them out one by one.
"""

import hashlib
import math
from bisect import bisect_right
from collections.abc import Sequence
from itertools import accumulate
from typing import TypeVar

import numpy as np

Item = TypeVar("Item")
BLOCK = 2048


class Dice:
    """Random draws for one subject; the same subject gives the same draws in any process and any order.

    ``Dice(seed, "office", "capture", 3)`` seeds ``numpy.random.default_rng`` with the SHA-256 of its arguments.
    """

    __slots__ = ("_generator", "_normals", "_uniforms")

    def __init__(self, *subject: object) -> None:
        digest = hashlib.sha256("/".join(map(str, subject)).encode()).digest()
        self._generator = np.random.default_rng(int.from_bytes(digest[:16], "big"))
        self._uniforms: list[float] = []
        self._normals: list[float] = []

    def random(self) -> float:
        """Uniform in [0, 1)."""
        if not self._uniforms:
            self._uniforms = self._generator.random(BLOCK).tolist()
        return self._uniforms.pop()

    def normal(self) -> float:
        """Standard normal."""
        if not self._normals:
            self._normals = self._generator.standard_normal(BLOCK).tolist()
        return self._normals.pop()

    def uniform(self, low: float, high: float) -> float:
        """Uniform in [low, high)."""
        return low + (high - low) * self.random()

    def integer(self, low: int, high: int) -> int:
        """Uniform integer in [low, high]."""
        return low + int((high - low + 1) * self.random())

    def chance(self, probability: float) -> bool:
        """True with the given probability."""
        return self.random() < probability

    def exponential(self, mean: float) -> float:
        return -mean * math.log1p(-self.random())

    def lognormal(self, median: float, sigma: float) -> float:
        """Log-normal: exp(N(log median, sigma²))."""
        return median * math.exp(sigma * self.normal())

    def pareto(self, minimum: float, shape: float) -> float:
        """Pareto: P(X > x) = (minimum / x)^shape."""
        return minimum * (1.0 - self.random()) ** (-1.0 / shape)

    def size(self, median: float, sigma: float, most: float = math.inf) -> int:
        """A log-normal number of bytes, at least 1 and at most ``most``."""
        return max(1, int(min(most, median * math.exp(sigma * self.normal()))))

    def count(self, mean: float) -> int:
        """1 + a geometric number, with the given mean (≥ 1)."""
        if mean <= 1.0:
            return 1
        return 1 + int(math.log1p(-self.random()) / math.log1p(-1.0 / mean))

    def pick(self, items: Sequence[Item]) -> Item:
        """One of the items, each as likely."""
        return items[int(len(items) * self.random())]

    def weighted(self, items: Sequence[Item], cumulative: Sequence[float]) -> Item:
        """One of the items; ``cumulative`` are running sums of their weights."""
        return items[bisect_right(cumulative, self.random() * cumulative[-1])]

    def sample(self, items: Sequence[Item], count: int) -> list[Item]:
        """``count`` different items (all of them if there are fewer), in drawn order."""
        left = list(items)
        return [left.pop(int(len(left) * self.random())) for _ in range(min(count, len(left)))]


def zipf_weights(count: int, exponent: float = 0.9) -> list[float]:
    """Running sums of 1 / rank^exponent: the popularity of servers."""
    return list(accumulate(1.0 / (rank + 1) ** exponent for rank in range(count)))
