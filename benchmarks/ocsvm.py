"""One-class SVM scoring: ours against scikit-learn's, the same machine on the same rows in the same run; the ratio is
what counts.

    python -m benchmarks.ocsvm [--train 10000] [--test 20000]

SYNTHETIC rows: 20 correlated log-normal columns.  Medians of five interleaved repeats, one thread each.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import OneClassSVM as Reference
from threadpoolctl import threadpool_limits

from detectors.classical import NystroemSVM, OneClassSVM
from janus_bench.columns import FLOW_FEATURES
from janus_bench.contract import FitContext, FlowBatch

REPEATS = 5


def rows(rng: np.random.Generator, n: int, mixture: np.ndarray) -> FlowBatch:
    matrix = np.exp(rng.normal(size=(n, 20)) @ mixture)
    return FlowBatch(
        np.arange(n, dtype=np.uint64),
        features={name: matrix[:, column].copy() for column, name in enumerate(FLOW_FEATURES)},
    )


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--train", type=int, default=10_000)
    parser.add_argument("--test", type=int, default=20_000)
    arguments = parser.parse_args()
    rng = np.random.default_rng(0)
    mixture = rng.normal(size=(20, 20)) * 0.2
    train, test = rows(rng, arguments.train, mixture), rows(rng, arguments.test, mixture)
    context = FitContext(test.take(slice(0, 0)), seed=0, rng=rng, device="cpu", scratch=Path(tempfile.mkdtemp()))
    exact, fast = OneClassSVM(), NystroemSVM()
    reference = make_pipeline(StandardScaler(), Reference()).fit(train.feature_matrix())
    exact.fit(train, context)
    fast.fit(train, context)
    ways = {
        "scikit-learn": lambda: -reference.score_samples(test.feature_matrix()),
        "ocsvm": lambda: exact.score(test),
        "ocsvm-nystroem": lambda: fast.score(test),
    }
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    scores = {}
    with threadpool_limits(1):
        for _ in range(REPEATS):
            for name, way in ways.items():
                started = time.perf_counter()
                scores[name] = way()
                seconds[name].append(time.perf_counter() - started)
    worst = np.abs(scores["ocsvm"] - scores["scikit-learn"]).max() / np.abs(scores["scikit-learn"]).max()
    print(
        f"{arguments.train:,} training and {arguments.test:,} test rows of 20 columns (SYNTHETIC), nu 0.5, one thread"
    )
    for name, taken in seconds.items():
        ratio = statistics.median(a / b for a, b in zip(seconds["scikit-learn"], taken, strict=True))
        print(f"{name:15} {arguments.test / statistics.median(taken):10,.0f} rows/s   {ratio:6.1f} times scikit-learn")
    print(f"largest difference between ocsvm and scikit-learn: {worst:.1e} of the largest score")
    return 0 if worst <= 1e-10 else 1


if __name__ == "__main__":
    sys.exit(main())
