"""Do the intervals and tests of ``reports.statistics`` keep what they promise?  The simulations of
``docs/statistics.md``, as its tables.

    python -m benchmarks.coverage [--trials 1000] [--resamples 400]        (or ``make coverage``)

Every trial draws new SYNTHETIC scores of two detectors that are equally good, so that each significant difference is a
false alarm, whose share should be 5 %.  A score is N(0, 1), plus a shift for attacks, plus what its capture adds: N(0,
1) for both detectors alike and N(0, ½²) for each.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from reports.statistics.bootstrap import CellScores, Pair, Resampled, interval_of, resample
from reports.statistics.tests import delong_over_seeds

SHIFT, SHARED, OWN = 1.5, 1.0, 0.5
TRUTH = float(stats.norm.cdf(SHIFT / (2 * (1 + SHARED**2 + OWN**2)) ** 0.5))
"""AUROC of either detector over all captures that could be drawn."""


@dataclass(frozen=True)
class Spread:
    """Standard deviations, in units of a score, of how much a detector's shift varies: from target to target, from
    source to source, by cell."""

    name: str
    target: float
    source: float
    cell: float


SPREADS = (
    Spread("none", 0, 0, 0),
    Spread("large: targets", 1, 0, 0),
    Spread("large: targets, sources, cells", 1, 0.5, 0.5),
)


def noise(rng: np.random.Generator, captures: int, flows: int) -> tuple[NDArray[np.float64], NDArray[np.intp]]:
    """Scores (2, n) without any shift, and the capture (n,) of each flow; the first half of the captures are benign,
    the others attacks."""
    capture = np.repeat(np.arange(2 * captures), flows)
    common = rng.normal(0, SHARED, 2 * captures)
    own = rng.normal(0, OWN, (2, 2 * captures))
    return (common + own)[:, capture] + rng.normal(size=(2, len(capture))), capture


def matrix(
    rng: np.random.Generator, datasets: int, spread: Spread, captures: int = 6, flows: int = 6
) -> list[CellScores]:
    """Every ordered pair of datasets, the diagonal included."""
    of_target, of_source = (rng.normal(0, scale, (datasets, 2)) for scale in (spread.target, spread.source))
    cells = []
    for target in range(datasets):
        scores, capture = noise(rng, captures, flows)
        attack = capture >= captures
        for source in range(datasets):
            shift = SHIFT + of_target[target] + of_source[source] + rng.normal(0, spread.cell, 2)
            shifted = scores + attack * shift[:, None]
            cells.append(
                CellScores(str(source), str(target), 0, np.arange(len(attack)), capture.astype(str), attack, shifted)
            )
    return cells


def all_drawn_at_once(resampled: Resampled, cells: Sequence[Pair], datasets: int) -> tuple[bool, bool]:
    """Whether a difference is found by the percentiles of resamples that draw datasets too, and by t · √(N / (N − 1))
    times their spread."""
    # (R, cells)
    weights = np.stack(
        [resampled.datasets[to] * (1 if of == to else resampled.datasets[of or ""]) for of, to in cells], axis=1
    )
    differences = np.stack([resampled.draws[pair] @ (1, -1) for pair in cells], axis=1)
    total = weights.sum(axis=1)
    drawn = (weights * differences).sum(axis=1)[total > 0] / total[total > 0]
    low, high = np.quantile(drawn, (0.025, 0.975))
    estimate = np.mean([resampled.estimate[pair] @ (1, -1) for pair in cells])
    half = stats.t.ppf(0.975, datasets - 1) * drawn.std(ddof=1) * (datasets / (datasets - 1)) ** 0.5
    return not low <= 0 <= high, abs(estimate) > half


def false_alarms(
    rng: np.random.Generator, datasets: int, spread: Spread, trials: int, resamples: int
) -> NDArray[np.float64]:
    """(4, 2): the share of trials with a false alarm; both of ``all_drawn_at_once``, other datasets, these datasets;
    within cells, cross cells."""
    found = np.zeros((4, 2))
    for trial in range(trials):
        resampled = resample(matrix(rng, datasets, spread), resamples, seed=trial)
        for column, within in enumerate((True, False)):
            cells = [pair for pair in resampled.estimate if (pair[0] == pair[1]) == within]
            ours = [interval_of(resampled, cells, (1, -1), datasets=others).p for others in (True, False)]
            found[:, column] += [
                *all_drawn_at_once(resampled, cells, datasets),
                *(p is not None and p < 0.05 for p in ours),
            ]
    return found / trials


def noise_free(rng: np.random.Generator, datasets: int, trials: int, resamples: int) -> float:
    """The share of false alarms where cross cells have no noise at all and differ by their target only."""
    names = [str(number) for number in range(datasets)]
    cells: list[tuple[str | None, str]] = [(source, target) for source in names for target in names if source != target]
    alarms = 0
    for _ in range(trials):
        of_target = {name: rng.normal(0, 0.05, 2) + 0.8 for name in names}
        counts = rng.multinomial(datasets, np.full(datasets, 1 / datasets), size=resamples)
        estimate: dict[tuple[str | None, str], Any] = {pair: of_target[pair[1]] for pair in cells}
        draws = {pair: np.tile(numbers, (resamples, 1)) for pair, numbers in estimate.items()}
        resampled = Resampled(estimate, draws, dict(zip(names, counts.T, strict=True)), {}, bounded=False)
        interval = interval_of(resampled, cells, (1, -1), datasets=True)
        alarms += interval.low is not None and interval.high is not None and not interval.low <= 0 <= interval.high
    return alarms / trials


def coverage(rng: np.random.Generator, captures: int, trials: int, resamples: int) -> NDArray[np.float64]:
    """(3,): how often the interval of one detector covers the truth, and the false alarms of the paired test and of
    DeLong's; two datasets."""
    found = np.zeros(3)
    for trial in range(trials):
        cells = []
        for name in "ab":
            scores, capture = noise(rng, captures, flows=10)
            attack = capture >= captures
            cells.append(
                CellScores(name, name, 0, np.arange(len(attack)), capture.astype(str), attack, scores + SHIFT * attack)
            )
        resampled = resample(cells, resamples, seed=trial)
        pairs = list(resampled.estimate)
        one, difference = (interval_of(resampled, pairs, contrast, datasets=False) for contrast in ((1, 0), (1, -1)))
        covers = one.low is not None and one.high is not None and one.low <= TRUTH <= one.high
        tests = (difference.p, delong_over_seeds([(*cells[0].scores, cells[0].attack)]).p)
        found += [covers, *(p is not None and p < 0.05 for p in tests)]
    return found / trials


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=1000)
    parser.add_argument("--resamples", type=int, default=400)
    options = parser.parse_args()
    trials, resamples = options.trials, options.resamples
    error = (0.05 * 0.95 / trials) ** 0.5
    print(f"{trials} trials of {resamples} resamples: a share of 5 % has a standard error of {error:.1%}\n")
    columns = ("all drawn at once, percentiles", "all drawn at once, t · √(N / (N − 1))", "ours", "these datasets")
    print(f"| datasets | difference between datasets | {' | '.join(columns)} |")
    print("|---|---|---|---|---|---|")
    for datasets in (3, 4, 6):
        for spread in SPREADS:
            shares = false_alarms(np.random.default_rng(datasets), datasets, spread, trials, resamples)
            print(
                f"| {datasets} | {spread.name} | "
                + " | ".join(f"{100 * one:.0f} / {100 * two:.0f} %" for one, two in shares)
                + " |",
                flush=True,
            )
    worst = ", ".join(
        f"{noise_free(np.random.default_rng(n), n, trials, resamples):.0%} with {n} datasets" for n in (3, 4, 6)
    )
    print(f"\ncross cells without noise that differ by target only: {worst}\n")
    print(
        "| captures per class and dataset | 95 % interval of one detector covers | false alarms of the paired "
        "test | DeLong's false alarms |"
    )
    print("|---|---|---|---|")
    for captures in (3, 6, 12, 25):
        covers, paired, delong = coverage(np.random.default_rng(captures), captures, trials, resamples)
        print(f"| {captures} | {100 * covers:.1f} % | {100 * paired:.1f} % | {100 * delong:.0f} % |", flush=True)


if __name__ == "__main__":
    main()
