"""Particle swarm optimisation with the inertia and the restarts of TIPSO-GAN, and as many particles throughout, where
its paper has fewer with time.  numpy only."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

LARGEST_INERTIA, SMALLEST_INERTIA = 0.9, 0.4
PULL = 2.05  # of a particle's best place, and of the swarm's
STAGNANT = 25  # iterations without a better place after which a particle is drawn anew
STEEP = 10.0  # of the inertia's sigmoid
FASTEST = 0.2  # step of a particle as a share of the range


@dataclass
class Swarm:
    """The state after an iteration: places (n, D), their best ones so far (n, D) with losses (n,), iterations since
    each got better (n,), which were drawn anew (n,)."""

    places: NDArray[np.float64]
    best: NDArray[np.float64]
    losses: NDArray[np.float64]
    stagnant: NDArray[np.int64]
    redrawn: NDArray[np.bool_]

    @property
    def leader(self) -> NDArray[np.float64]:
        """The best place of all, (D,)."""
        return self.best[np.argmin(self.losses)]


def inertia(progress: float) -> float:
    """Weight of a particle's last step: a sigmoid of the progress in [0, 1], from .9 down to .4."""
    falling = 1 / (1 + math.exp(STEEP * (progress - 0.5)))
    return SMALLEST_INERTIA + (LARGEST_INERTIA - SMALLEST_INERTIA) * falling


def search(
    loss: Callable[[NDArray[np.float64]], float],
    low: NDArray[np.float64],
    high: NDArray[np.float64],
    size: int,
    iterations: int,
    rng: np.random.Generator,
) -> Iterator[Swarm]:
    """The swarm after each iteration of minimising ``loss`` (D,) → number between ``low`` and ``high`` (D,).

    A stagnant particle is drawn anew with its memory; the swarm's best place is kept by whoever found it.
    """
    span, shape = high - low, (size, len(low))
    places, steps = rng.uniform(low, high, shape), np.zeros(shape)
    swarm = Swarm(places, places.copy(), np.full(size, np.inf), np.zeros(size, dtype=np.int64), np.zeros(size, bool))
    for iteration in range(iterations):
        found = np.array([loss(place) for place in swarm.places])
        better = found < swarm.losses
        swarm.best[better], swarm.losses[better] = swarm.places[better], found[better]
        swarm.stagnant = np.where(better, 0, swarm.stagnant + 1)
        swarm.redrawn = (swarm.stagnant >= STAGNANT) & (np.arange(size) != np.argmin(swarm.losses))
        own, common = rng.random(shape), rng.random(shape)
        pulled = PULL * (own * (swarm.best - swarm.places) + common * (swarm.leader - swarm.places))
        steps = inertia(iteration / iterations) * steps + pulled
        steps = np.clip(steps, -FASTEST * span, FASTEST * span)
        moved = np.clip(swarm.places + steps, low, high)
        fresh = rng.uniform(low, high, shape)
        swarm.places = np.where(swarm.redrawn[:, None], fresh, moved)
        steps[swarm.redrawn], swarm.losses[swarm.redrawn], swarm.stagnant[swarm.redrawn] = 0, np.inf, 0
        yield swarm
