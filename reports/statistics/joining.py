"""Rows on the flows that they share: scores and truth of a cell, joined into what the statistics need."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby

import numpy as np
from numpy.typing import NDArray

from janus_bench.errors import UsageError
from janus_bench.extensions import Metric, TestScores
from janus_bench.quiet import ignore
from reports.results.evidence import ScoredFlows, only
from reports.results.measures import Measure
from reports.results.model import MISSING, Pair, Row
from reports.statistics.bootstrap import CellScores, Resampled, resample
from reports.tables.document import SummaryName
from reports.tables.fields import mean_of_all

SUMMARIES: Mapping[SummaryName, Callable[[Pair], bool]] = {
    "cross_mean": lambda pair: pair[0] != pair[1],
    "within_mean": lambda pair: pair[0] == pair[1],
}

RESAMPLES, RESAMPLES_REPEATED = 1000, 200
"""Of AUROC, which resamples by weights alone; and of any other metric, which is computed anew on the repeated flows of
each."""


def resamples_of(measure: Measure) -> int:
    return RESAMPLES if measure.is_auroc else RESAMPLES_REPEATED


@dataclass(frozen=True, eq=False)
class Joined:
    """One cell under one seed: all rows on the same test flows, ascending by flow id, and what the metric is there
    (None: no such number)."""

    cell: CellScores
    evidence: tuple[TestScores, ...]
    values: tuple[float | None, ...]


def joined_cells(
    rows: Sequence[Row],
    pairs: Sequence[Pair],
    seeds: Sequence[int],
    measure: Measure,
    progress: Callable[[float], None] = ignore,
) -> list[Joined]:
    """Every cell under every seed; ``progress`` gets the fraction read.  UsageError if the rows were tested on
    different flows.

    Read target by target, so that each truth is read once, and there seed by seed, so that the scores of a control are,
    which stands beside the cells of every source.
    """

    def target_and_seed(where: tuple[Pair, int]) -> tuple[str, int]:
        return where[0][1], where[1]

    wanted = [(pair, seed) for pair in pairs for seed in seeds]
    found: dict[tuple[Pair, int], Joined] = {}
    for _, group in groupby(sorted(wanted, key=target_and_seed), target_and_seed):
        controls: dict[tuple[str, str], ScoredFlows] = {}
        for pair, seed in group:
            progress(len(found) / len(wanted))
            found[pair, seed] = _joined(rows, pair, seed, measure, controls)
    return [found[where] for where in wanted]


def _joined(
    rows: Sequence[Row], pair: Pair, seed: int, measure: Measure, controls: dict[tuple[str, str], ScoredFlows]
) -> Joined:
    """``controls``: the flows of those that were read for another source, by run and aggregator."""
    scored = []
    views = rows[0].asked(pair, seed).table.views(measure, pair[1])
    for row in rows:
        run = row.asked(pair, seed)
        which = run.key, run.aggregator(measure.aggregator)
        flows = controls.get(which) or run.scored(measure.aggregator).views(views)
        if run.regime == "control":
            controls[which] = flows
        scored.append(flows)
        if not np.array_equal(scored[0].flow, scored[-1].flow):
            raise UsageError(
                f"{rows[0].name} and {row.name} were tested on different flows of {pair[1]} (seed {seed}): run "
                "both with one version of janus-bench"
            )
    first, evidence = scored[0], tuple(flows.evidence for flows in scored)
    scores = np.stack([found.score for found in evidence])
    capture, part = first.capture.to_numpy().astype(np.str_), None
    if measure.by_site:
        _, part = np.unique(first.site.to_numpy().astype(np.str_), return_inverse=True)
        capture = np.array([f"{number} {name}" for number, name in zip(part, capture, strict=True)], np.str_)
    cell = CellScores(*pair, seed, first.flow, capture, first.evidence.attack, scores, part)
    return Joined(cell, evidence, tuple(_number(measure.metric, found, cell.parts) for found in evidence))


def _number(metric: Metric, evidence: TestScores, parts: Sequence[NDArray[np.intp]]) -> float | None:
    """The mean over parts of the metric; None where one of them has no number."""
    return mean_of_all([metric.compute(only(evidence, part)) for part in parts])


def resample_cells(
    cells: Sequence[Joined], measure: Measure, resamples: int, progress: Callable[[float], None] = ignore
) -> Resampled:
    """Resamples of captures, seeds and flows.  AUROC is had from weights; any other metric is computed on the flows
    repeated as often as drawn."""
    if measure.is_auroc:
        return resample([each.cell for each in cells], resamples, progress=progress)
    evidence = {(each.cell.pair, each.cell.seed): each.evidence for each in cells}

    def statistic(cell: CellScores, detector: int) -> Callable[[NDArray[np.float64]], NDArray[np.float64]]:
        own, parts = evidence[cell.pair, cell.seed][detector], cell.parts

        def value(times: NDArray[np.float64]) -> float:
            drawn = [np.repeat(part, times[part].astype(np.int64)) for part in parts]
            found = _number(measure.metric, own, drawn)
            return np.nan if found is None else found

        return lambda weights: np.array([value(times) for times in weights.T])

    return resample([each.cell for each in cells], resamples, statistic=statistic, progress=progress)


def why_missing(rows: Sequence[Row], pair: Pair, seeds: Sequence[int]) -> str:
    """Why a cell cannot be compared, or an empty string."""
    for row in rows:
        for seed in seeds:
            run = row.run(pair, seed)
            if run is None or run.ok is None:
                return f"{row.name}, seed {seed}: {MISSING if run is None else run.status}"
    return ""
