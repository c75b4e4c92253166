"""The context of flows: how many a second on one core, against the same definitions in plain Python.

    python -m benchmarks.context [--flows 1000000] [--repeats 5]

Flows are SYNTHETIC: hosts and services by Zipf's law, an hour long, a third never answered.  The plain version looks at
every earlier flow, so it gets a thousand of them; medians, processor time.
"""

import argparse
import statistics
import time
from collections.abc import Callable

import numpy as np

from datasets_registry.context import context_features
from tests.context_oracle import Flow, context


def flows(n: int, rng: np.random.Generator) -> tuple:
    """Arguments of ``context_features``."""
    hosts = (rng.zipf(1.3, n) % 5000, rng.zipf(1.3, n) % 20000)
    start = np.sort(rng.uniform(0, 3600, n))
    answered = np.where(rng.random(n) < 1 / 3, np.inf, start + rng.exponential(0.05, n))
    return hosts, rng.zipf(1.5, n) % 65536, rng.choice([6, 17], n), start, answered


def plain(arguments: tuple) -> list[Flow]:
    (src, dst), dport, proto, start, answered = arguments
    answers = [None if np.isinf(at) else float(at) for at in answered]
    columns = (src.tolist(), dst.tolist(), dport.tolist(), proto.tolist(), start.tolist(), answers)
    return [Flow(str(source), str(to), *rest) for source, to, *rest in zip(*columns, strict=True)]


def seconds(work: Callable[[], object], repeats: int) -> float:
    found = []
    for _ in range(repeats):
        started = time.process_time()
        work()
        found.append(time.process_time() - started)
    return statistics.median(found)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--flows", type=int, default=1_000_000)
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    rng = np.random.default_rng(0)
    few, many = flows(1000, rng), flows(options.flows, rng)
    context_features(*few)  # compiles
    ours = options.flows / seconds(lambda: context_features(*many), options.repeats)
    few_plain = plain(few)
    theirs = len(few_plain) / seconds(lambda: context(few_plain), 1)
    print(f"context: {ours / 1e6:.2f} M flows/s of one core; in plain Python {theirs:.0f} flows/s (of 1000 flows)")


if __name__ == "__main__":
    main()
