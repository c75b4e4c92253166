"""Paired cluster bootstrap: dataset → capture → seed → flow, of AUROC or of any number that can be had from weighted
flows.  numpy and scipy only.

Flows of one capture resemble one another, and so do cells of one network; an interval that takes flows for independent
is too short.  Here captures, seeds, and flows inside a capture are drawn with replacement, as weights of the flows that
there are, and on top of that datasets, as weights of the cells (``interval_of`` says how the two are joined).  All
detectors get the same weights, so differences are paired.

Captures and seeds are crossed, not nested: a capture and its attack flows are scored under every seed, so they keep one
weight under all of them. A dataset's weight counts for its cells as source and as target (Owen, "The pigeonhole
bootstrap", Ann. Appl. Stat. 2007).
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from janus_bench.quiet import ignore
from janus_bench.words import counted
from reports.tables.fields import grouped

# With fewer, datasets cannot be resampled: two leave a single pair of cross cells, one nothing at all.
FEWEST_DATASETS = 3

FEWEST_RESAMPLES = 0.9
"""A resample in which a class vanishes from a cell is dropped; if more than one in ten is, the interval would describe
the rest only."""

NORMAL_95 = 1.959963984540054  # A normal distribution's 97.5th percentile.
CHUNK = 2**19  # Weights (flows × resamples) drawn at a time, 4 MiB.

Pair = tuple[str | None, str]
Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class CellScores:
    """Test flows of one cell under one seed, with the scores of every detector under comparison.

    flow (n,) ids, unique within the target; capture (n,) the original capture of a flow; attack (n,) bool; scores (d,
    n), higher = more anomalous. ``source`` is None where nothing of a source is used.

    part  (n,) number of the site of a flow, where the numbers are means over sites; None: there is one part.  A capture
          is of one part, and parts, which are given, are never drawn: their captures are, inside each.
    """

    source: str | None
    target: str
    seed: int
    flow: NDArray[np.int64]
    capture: NDArray[np.str_]
    attack: NDArray[np.bool_]
    scores: Floats
    part: NDArray[np.intp] | None = None

    @property
    def pair(self) -> Pair:
        return self.source, self.target

    @property
    def parts(self) -> list[NDArray[np.intp]]:
        """Places of the flows of every part."""
        own = np.zeros(len(self.flow), np.intp) if self.part is None else self.part
        return [np.flatnonzero(own == number) for number in np.unique(own)]


Statistic = Callable[[CellScores, int], Callable[[Floats], Floats]]
"""(cell, place of a detector in it) → whole-number weights of its flows (n, r) → that detector's numbers (r,), NaN
where there is none."""


@dataclass(frozen=True, eq=False)
class Resampled:
    """Numbers (AUROC, or another) of d detectors, and what they are in R resamples of captures, seeds and flows.

    estimate  cell → (d,), mean over seeds
    draws     cell → (R, d); NaN where a class has no weight
    datasets  dataset → (R,) whole-number weights
    reasons   target → why its cells have no interval; targets that are not named have one
    bounded   the numbers lie in 0 … 1, and so do their intervals
    """

    estimate: Mapping[Pair, Floats]
    draws: Mapping[Pair, Floats]
    datasets: Mapping[str, NDArray[np.int64]]
    reasons: Mapping[str, str]
    bounded: bool = True


@dataclass(frozen=True)
class Interval:
    """A number with its 95 % interval, and for a difference the two-sided p value of "it is 0"; None where they do not
    exist, with the reason."""

    estimate: float
    low: float | None = None
    high: float | None = None
    p: float | None = None
    reason: str = ""


def _auroc_of(cell: CellScores, detector: int) -> Callable[[Floats], Floats]:
    if cell.part is None:
        return _Ranked.of(cell.scores[detector], cell.attack).auroc
    ranked = [(own, _Ranked.of(cell.scores[detector][own], cell.attack[own])) for own in cell.parts]
    return lambda weights: np.mean([of.auroc(weights[own]) for own, of in ranked], axis=0)


def resample(
    cells: Sequence[CellScores],
    resamples: int = 1000,
    seed: int = 0,
    statistic: Statistic = _auroc_of,
    progress: Callable[[float], None] = ignore,
) -> Resampled:
    """Resample captures, seeds and flows of every cell; datasets' weights are drawn too, and used by ``interval_of``.

    statistic  what is computed, by default AUROC;  progress  gets the fraction done.

    Captures without and with attacks are drawn apart, each as many as there are, so a resample keeps both; where cells
    have parts, those of every part.  A class of a target (or of a part of it) whose flows come from one capture (under
    any seed) has no spread between captures that could be seen: ``reasons`` says so.  ValueError unless all cells have
    the same seeds, each once.  Takes some tens of MiB besides the cells.
    """
    seeds = _common_seeds(cells)
    rng = np.random.default_rng(seed)
    names = sorted({name for cell in cells for name in cell.pair if name is not None})
    counts = rng.multinomial(len(names), np.full(len(names), 1 / len(names)), size=resamples)  # (R, datasets)
    sources = sorted({cell.source or "" for cell in cells})
    seed_weight = {
        source: rng.multinomial(len(seeds), np.full(len(seeds), 1 / len(seeds)), size=resamples) / len(seeds)
        for source in sources
    }
    estimate: dict[Pair, Floats] = {}
    draws: dict[Pair, Floats] = {}
    targets = sorted({cell.target for cell in cells})
    for place, target in enumerate(targets):
        members = [cell for cell in cells if cell.target == target]

        def part(done: float, place: int = place) -> None:
            progress((place + done) / len(targets))

        for cell, point, drawn in zip(
            members, *_resample_target(members, resamples, rng, statistic, part), strict=True
        ):
            weight = seed_weight[cell.source or ""][:, seeds.index(cell.seed)]
            # a seed that was not drawn must not spoil the mean with a NaN of its own
            weighted = np.where(weight[:, None] > 0, weight[:, None] * drawn, 0.0)
            estimate[cell.pair] = estimate.get(cell.pair, 0.0) + point / len(seeds)
            draws[cell.pair] = draws.get(cell.pair, 0.0) + weighted
    datasets = {name: counts[:, place] for place, name in enumerate(names)}
    found = np.concatenate([values.ravel() for values in (*estimate.values(), *draws.values())])
    bounded = not np.any((found < -1e-9) | (found > 1 + 1e-9))
    return Resampled(estimate, draws, datasets, _single_captures(cells), bool(bounded))


def interval_of(resampled: Resampled, cells: Sequence[Pair], contrast: Sequence[float], *, datasets: bool) -> Interval:
    """The contrast (1, −1: a difference; 1, 0: one detector) of the detectors' mean number over ``cells``, with its
    interval.

    datasets=False  for these very datasets, other captures, seeds and flows: the percentiles of the resamples, which
                    know that an AUROC ends at 1, and lie to one side where one capture holds most of a class.  p is
                    from them, too (``_two_piece``), so that both say the same.
    datasets=True   for other datasets like these: estimate ± the larger of t · E and 1.96 · SE.  E is the spread of the
                    observed mean when datasets are resampled, times √(N / (N − 1)); t has N − 1 degrees of freedom; SE
                    is the spread over captures, seeds and flows.  p is the larger of theirs.  Needs
                    ``FEWEST_DATASETS``.

    E already contains the noise inside datasets: percentiles of resamples that draw datasets and all below count it
    twice where datasets are alike (0 % false alarms at the 5 % level in simulations) and are too short where they
    differ (up to 17 %).  This rule keeps to about 5 % in both: docs/statistics.md.
    """
    from scipy.special import ndtr, stdtr, stdtrit

    weights = np.asarray(contrast, dtype=np.float64)
    points = np.array([resampled.estimate[pair] @ weights for pair in cells])  # (cells,)
    estimate, difference = float(points.mean()), bool(weights.min() < 0)
    names = sorted({name for pair in cells for name in pair if name is not None})
    if reasons := dict.fromkeys(resampled.reasons[target] for _, target in cells if target in resampled.reasons):
        return Interval(estimate, reason="; ".join(reasons))
    if datasets and len(names) < FEWEST_DATASETS:
        return Interval(
            estimate,
            reason=f"{counted(len(names), 'dataset')} cannot be resampled: at least {FEWEST_DATASETS} are needed",
        )
    values = np.mean([resampled.draws[pair] @ weights for pair in cells], axis=0)  # (R,)
    whole = np.isfinite(values)
    if whole.mean() < FEWEST_RESAMPLES:
        return Interval(
            estimate, reason="a class rests on so few captures that it vanishes from more than one resample in ten"
        )
    spread = float(values[whole].std(ddof=1))
    p = _p_value(estimate, spread, ndtr) if difference else None
    if not datasets:
        low, middle, high = (float(bound) for bound in np.quantile(values[whole], (0.025, 0.5, 0.975)))
        return Interval(estimate, low, high, _two_piece(low, middle, high, p) if difference else None)
    n = len(names)
    error = _dataset_spread(resampled, cells, points) * (n / (n - 1)) ** 0.5
    half = max(float(stdtrit(n - 1, 0.975)) * error, 1.96 * spread)
    p_datasets = _p_value(estimate, error, lambda z: stdtr(n - 1, z))
    low, high = estimate - half, estimate + half
    if resampled.bounded:
        low, high = max(-1.0 if difference else 0.0, low), min(1.0, high)
    return Interval(estimate, low, high, None if p is None or p_datasets is None else max(p, p_datasets))


@dataclass(frozen=True, eq=False)
class _Ranked:
    """The flows in the order of their scores, found once, for the AUROCs of many weightings: those of flows repeated
    ``weights`` times."""

    order: NDArray[np.intp]  # (n,) rows of the flows, ascending by score
    attack: NDArray[np.bool_]  # (n,) in that order
    last: NDArray[np.bool_]  # (n,) in that order: the next score is a higher one

    @classmethod
    def of(cls, scores: Floats, attack: NDArray[np.bool_]) -> Self:
        order = np.argsort(scores, kind="stable")
        ascending = scores[order]
        return cls(order, attack[order], np.append(ascending[1:] != ascending[:-1], np.ones(min(1, len(order)), bool)))

    def auroc(self, weights: Floats) -> Floats:
        """(n, r) whole numbers ≥ 0 → (r,), ties ½, NaN where a class has no weight."""
        from reports.statistics.kernels import weighted_pairs

        won, benign, attacks = weighted_pairs(self.order, self.attack, self.last, weights)
        pairs = 2 * benign * attacks
        return np.divide(won, pairs, out=np.full(len(pairs), np.nan), where=pairs > 0)


def _resample_target(
    cells: Sequence[CellScores],
    resamples: int,
    rng: np.random.Generator,
    statistic: Statistic,
    progress: Callable[[float], None],
) -> tuple[list[Floats], list[Floats]]:
    """For every cell of one target: its numbers (d,), and (R, d) under weights of captures and flows that all these
    cells share."""
    flow, first, place = np.unique(
        np.concatenate([cell.flow for cell in cells]), return_index=True, return_inverse=True
    )
    attack = np.concatenate([cell.attack for cell in cells])[first]
    captures, capture = np.unique(np.concatenate([cell.capture for cell in cells])[first], return_inverse=True)
    rows = np.split(place, np.cumsum([len(cell.flow) for cell in cells])[:-1])  # of a cell's flows among all
    numbers = [[statistic(cell, detector) for detector in range(len(cell.scores))] for cell in cells]
    points = [
        np.array([number(np.ones((len(cell.flow), 1)))[0] for number in own])
        for cell, own in zip(cells, numbers, strict=True)
    ]
    hostile = np.bincount(capture, weights=attack, minlength=len(captures)) > 0
    parts = np.concatenate([np.zeros(len(cell.flow), np.intp) if cell.part is None else cell.part for cell in cells])
    stratum = np.empty(len(captures), np.intp)  # of a capture: twice its part, and one more without attacks
    stratum[capture] = 2 * parts[first]
    stratum += ~hostile
    drawn = [np.empty((resamples, len(cell.scores))) for cell in cells]
    for start in range(0, resamples, step := max(1, CHUNK // len(flow))):
        size = min(step, resamples - start)
        weights = _draw_flows(capture, draw_captures(stratum, size, rng), rng).astype(np.float64)  # (flows, size)
        for at, of_detector in enumerate(numbers):
            own = weights[rows[at]]
            for detector, number in enumerate(of_detector):
                drawn[at][start : start + size, detector] = number(own)
            progress((start + size * (at + 1) / len(cells)) / resamples)
    return points, drawn


def draw_captures(stratum: NDArray[np.intp], size: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """How often each capture is drawn, (captures, size), those of every stratum (captures,) apart."""
    counts = np.zeros((len(stratum), size), dtype=np.int64)
    for number in np.unique(stratum):
        own = np.flatnonzero(stratum == number)
        counts[own] = rng.multinomial(len(own), np.full(len(own), 1 / len(own)), size=size).T
    return counts


def _draw_flows(capture: NDArray[np.intp], drawn: NDArray[np.int64], rng: np.random.Generator) -> NDArray[np.int64]:
    """How often each flow is drawn, (flows, size), where each capture is drawn ``drawn`` (captures, size) times: every
    time anew, as many flows as the capture has."""
    n, size = len(capture), drawn.shape[1]
    order = np.argsort(capture, kind="stable")
    members = np.bincount(capture, minlength=len(drawn))
    own = members[capture[order]]
    first = (np.cumsum(members) - members)[capture[order]]  # place in ``order`` of the capture's first flow
    times = drawn[capture[order]].ravel()  # (flows · size,): one draw for every flow of every drawn capture
    start = np.repeat((first[:, None] * size + np.arange(size)).ravel(), times)
    within = (rng.random(len(start)) * np.repeat(np.repeat(own, size), times)).astype(np.int64)
    counts = np.empty((n, size), dtype=np.int64)
    counts[order] = np.bincount(start + within * size, minlength=n * size).reshape(n, size)
    return counts


def _dataset_spread(resampled: Resampled, cells: Sequence[Pair], points: Floats) -> float:
    """Standard deviation of the observed mean of ``points`` (cells,) when datasets are resampled.

    A cell weighs as often as it is drawn as target times as source; a diagonal cell is one dataset, not two.
    """
    drawn = resampled.datasets
    weights = [drawn[target] if source in (None, target) else drawn[target] * drawn[source] for source, target in cells]
    share = np.stack(weights, axis=1)  # (R, cells)
    total = share.sum(axis=1)
    possible = total > 0  # one dataset drawn N times leaves no cross cell: such resamples do not count
    return float((share[possible] @ points / total[possible]).std(ddof=1))


def _common_seeds(cells: Sequence[CellScores]) -> list[int]:
    seeds = {tuple(sorted(found)) for found in grouped((cell.pair, cell.seed) for cell in cells).values()}
    if len(seeds) != 1 or any(len(set(found)) < len(found) for found in seeds):
        raise ValueError(f"every cell needs the same seeds, each once; got {sorted(seeds)}")
    return list(seeds.pop())


def _single_captures(cells: Sequence[CellScores]) -> dict[str, str]:
    """Targets with a class (of a part) from a single capture under some seed."""
    reasons: dict[str, str] = {}
    for cell in cells:
        where = cell.target if cell.part is None else f"a site of {cell.target}"
        for own in cell.parts or [np.empty(0, np.intp)]:
            for kind, members in (("attack", cell.attack[own]), ("benign", ~cell.attack[own])):
                found = np.unique(cell.capture[own][members])
                if len(found) < 2:
                    reasons[cell.target] = (
                        f"the {kind} test flows of {where} come from {'one capture' if len(found) else 'no capture'}"
                    )
    return reasons


def _two_piece(low: float, middle: float, high: float, normal: float | None) -> float | None:
    """Two-sided p of "it is 0" under the distribution that is normal to either side of the resamples' median, each side
    as wide as its percentile says: 5 % exactly where the interval ends at 0, and smaller farther off than resamples
    could count.  ``normal``: p from one spread, where the side of 0 has none.
    """
    from scipy.special import ndtr

    beside = middle - low if middle > 0 else high - middle
    return float(2 * ndtr(-abs(middle) / beside * NORMAL_95)) if beside > 0 else normal


def _p_value(estimate: float, error: float, cumulative: Callable[[float], float]) -> float | None:
    """Two-sided; 1 where there is neither difference nor spread, None where only the spread is missing."""
    if error == 0:
        return 1.0 if estimate == 0 else None
    return float(2 * cumulative(-abs(estimate) / error))
