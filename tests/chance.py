"""What chance allows of a false-positive rate whose threshold was set by other benign flows.

Flows of one capture are alike, so neither those that set a threshold nor those that are tested are independent
draws: a binomial bound would be far too narrow. What was drawn is which captures, or which blocks of time of a
capture, set the threshold and which were tested. If the detector knows nothing of the flows that set its threshold,
another such draw gives a rate like the one that was found (a permutation test), so both parts are put together and
drawn anew: a capture that lies in one part goes to either as ``docs/partitions.md`` has it, the largest first, in
proportion to the room that is left there in its site; the two blocks of a capture that gave one to each change
places or not. Where captures are few there are few such draws, and chance allows nearly everything: rates of several
seeds are therefore averaged, and so are their redraws.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl

PERCENTILE = 0.95
REDRAWS = 1000


@dataclass(frozen=True)
class Rate:
    """A realised false-positive rate, and the lowest and the highest of as many redraws as were made."""

    found: float
    low: float
    high: float

    @property
    def allowed(self) -> bool:
        return self.low <= self.found <= self.high


@dataclass(frozen=True)
class Benign:
    """Flows of one run: score (n,), unit (n,), and of the units (u,) whether they set the threshold, their site, their
    number of flows, and the other block of their capture (-1: none)."""

    score: np.ndarray
    unit: np.ndarray
    sets: np.ndarray
    site: np.ndarray
    size: np.ndarray
    other: np.ndarray

    @classmethod
    def of(cls, scores: pl.DataFrame, truth: pl.DataFrame) -> Benign:
        """One run's stored scores, with one score column, and the truth of its target."""
        (column,) = set(scores.columns) - {"flow_id", "target", "role"}
        flows = scores.filter(pl.col("role").is_in(["cal_b", "test"])).join(truth, on="flow_id")
        flows = flows.filter(~pl.col("attack")).with_columns(cal_b=pl.col("role") == "cal_b")
        units = flows.group_by("site", "group", "cal_b").agg(size=pl.len()).sort("site", "group", "cal_b")
        units = units.with_row_index("unit")
        unit = flows.join(units, on=["site", "group", "cal_b"], maintain_order="left")["unit"].to_numpy()
        site, group, sets = units["site"].rank("dense").to_numpy(), units["group"].to_list(), units["cal_b"].to_numpy()
        place = {(group[i], bool(sets[i])): i for i in range(len(group))}
        other = np.array([place.get((group[i], not sets[i]), -1) for i in range(len(group))])
        return cls(flows[column].to_numpy(), unit, sets, site, units["size"].to_numpy(), other)

    def rate(self, sets: np.ndarray) -> float:
        calibrates = sets[self.unit]
        threshold = np.quantile(self.score[calibrates], PERCENTILE, method="higher")
        return float((self.score[~calibrates] > threshold).mean())

    def redrawn(self, rng: np.random.Generator) -> np.ndarray:
        sets = self.sets.copy()
        blocks = np.flatnonzero((self.other >= 0) & self.sets)
        swapped = blocks[rng.random(len(blocks)) < 0.5]
        sets[swapped], sets[self.other[swapped]] = False, True
        for site in np.unique(self.site):
            alone = np.flatnonzero((self.site == site) & (self.other < 0))
            room = {kind: int(self.size[alone][self.sets[alone] == kind].sum()) for kind in (True, False)}
            for unit in alone[np.lexsort((rng.random(len(alone)), -self.size[alone]))]:
                fits = [room[kind] if room[kind] >= self.size[unit] else 0 for kind in (True, False)]
                chosen = rng.random() * sum(fits) < fits[0] if sum(fits) else room[True] >= room[False]
                sets[unit] = chosen
                room[bool(chosen)] -= int(self.size[unit])
        return sets if sets.any() and not sets.all() else self.sets


def realised(runs: Sequence[tuple[pl.DataFrame, pl.DataFrame]], redraws: int = REDRAWS) -> Rate:
    """The mean rate of some runs (scores, truth), each redrawn for itself."""
    rng, flows = np.random.default_rng(0), [Benign.of(*run) for run in runs]
    drawn = [np.mean([each.rate(each.redrawn(rng)) for each in flows]) for _ in range(redraws)]
    return Rate(float(np.mean([each.rate(each.sets) for each in flows])), float(min(drawn)), float(max(drawn)))
