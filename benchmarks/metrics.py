"""AUROC on five million scores against scikit-learn, in the same process: ``python benchmarks/metrics.py``."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial

import numpy as np
from sklearn.metrics import roc_auc_score

from protocols.metrics import auroc

FLOWS = 5_000_000
REPEATS = 3


def best_time(call: Callable[[], object]) -> float:
    """Seconds of the fastest of ``REPEATS`` calls."""
    seconds = []
    for _ in range(REPEATS):
        start = time.perf_counter()
        call()
        seconds.append(time.perf_counter() - start)
    return min(seconds)


def main() -> None:
    rng = np.random.default_rng(0)
    attack = rng.random(FLOWS) < 0.3
    continuous = rng.normal(size=FLOWS) + attack
    for name, scores in (("distinct scores", continuous), ("scores with two decimals", np.round(continuous, 2))):
        ours, theirs = auroc(scores, attack), roc_auc_score(attack, scores)
        fast, slow = best_time(partial(auroc, scores, attack)), best_time(partial(roc_auc_score, attack, scores))
        print(
            f"{FLOWS:,} {name}: {fast:.2f} s, scikit-learn {slow:.2f} s, ratio {slow / fast:.1f}, difference "
            f"{abs(ours - theirs):.1e}"
        )


if __name__ == "__main__":
    main()
