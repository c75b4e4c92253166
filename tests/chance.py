"""What chance allows of a false-positive rate whose threshold was set by other benign flows.

Flows of one capture are alike, so that neither those that set a threshold nor those that are tested are independent
draws: a binomial bound would be far too narrow. What was drawn is which captures, or which blocks of time of a
capture, went to which part. A unit is therefore a capture's flows in one part, and if a threshold knows nothing of
what it is tested on, exchanging units between the two parts gives rates like the one that was found (a permutation
test). Units are exchanged within their site, since every site gives its share to either part. The largest captures
rather go to the test (``docs/partitions.md``), so this is an approximation, and a wide one where a site has few
captures: what it has to tell is a threshold from flows that the detector was fitted on, which is wrong by a factor of
ten.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl

PERCENTILE = 0.95
REDRAWS = 2000


@dataclass(frozen=True)
class Rate:
    """A realised false-positive rate, and the lowest and highest of as many exchanges of units as were made."""

    found: float
    low: float
    high: float
    units: int

    @property
    def allowed(self) -> bool:
        return self.low <= self.found <= self.high


def realised(scores: pl.DataFrame, truth: pl.DataFrame, redraws: int = REDRAWS) -> Rate:
    """Of one run's stored scores, with one score column, and the truth of its target."""
    (column,) = set(scores.columns) - {"flow_id", "target", "role"}
    flows = scores.filter(pl.col("role").is_in(["cal_b", "test"])).join(truth, on="flow_id").filter(~pl.col("attack"))
    units = flows.select("site", "group", "role").unique(maintain_order=True).with_row_index("unit")
    unit = flows.join(units, on=["site", "group", "role"], maintain_order="left")["unit"].to_numpy()
    score, sets = flows[column].to_numpy(), (units["role"] == "cal_b").to_numpy()
    rng, site = np.random.default_rng(0), units["site"].rank("dense").to_numpy()

    def rate(sets: np.ndarray) -> float:
        calibrates = sets[unit]
        threshold = np.quantile(score[calibrates], PERCENTILE, method="higher")
        return float((score[~calibrates] > threshold).mean())

    redrawn = []
    for _ in range(redraws):
        # a stable sort by site of a random order brings each site's parts to its own units, shuffled
        order = rng.permutation(len(sets))
        order = order[np.argsort(site[order], kind="stable")]
        mixed = np.empty_like(sets)
        mixed[np.argsort(site, kind="stable")] = sets[order]
        redrawn.append(rate(mixed))
    return Rate(rate(sets), min(redrawn), max(redrawn), len(sets))
