"""What the HTML report needs beyond the leaderboard document: curves, families, thresholds, environments.  Derived from stored scores."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from janus_bench import plugins
from janus_bench.errors import UsageError
from janus_bench.extensions import BEST_FIXED, Metric, TestScores
from janus_bench.records import PlanRecord, RunRecord
from reports.render.html.evidence import Environment, FamilySize, ReportData, RunRow
from reports.results.evidence import (
    VIEWS,
    cell_scores,
    compute_metrics,
    likeness_of,
    metric_of,
)
from reports.statistics.intervals import kept_statistics
from reports.statistics.sides import AUROC, Measure
from reports.tables.ablation import CellLikeness
from reports.tables.document import Board, TableStatistics
from reports.tables.evidence import CONTROL, CellEvidence, FamilyArea, ThresholdEvidence

if TYPE_CHECKING:
    import polars as pl

    from protocols.operations import SourceLikeness
    from reports.results.folder import RunStore

__all__ = ["MAX_POINTS", "PERCENTILES", "a_day", "cell_evidence", "cell_likeness", "collect", "roc_grid", "tpr_at"]

HEADLINES = ("auroc", "macro_auroc")
"""Shown first, and also on flows of two or more packets."""
IN_ALERTS = ("base_rate", *(f"{name}_{percentile}" for percentile in ("p95", "p99", "p999") for name in ("f1", "precision", "recall")))
"""Metrics without a leaderboard of their own on the page: the section on alerts shows them with their intervals."""
MAX_POINTS = 100
"""Points of a thinned curve."""
EXACT_POINTS = 50
"""So many of them are the smallest false-positive rates that the test flows can tell apart, all of them."""
LANDMARKS = (0.001, 0.01, 0.05)
"""False-positive rates that every curve has a point at."""
PERCENTILES = {"P95": 20, "P99": 100, "P99.9": 1000}
"""Name of a threshold → 1 / (the share of calibration flows above it)."""

Cell = tuple[str, str, str]
"""(detector label, source or ``CONTROL``, target)."""
Numbers = Mapping[str, float | None]
"""Metric → number of one run under a row's aggregator; runs are named by ``reports.tables.leaderboard.value_key``."""
Scores = NDArray[np.float64]


def _ignore(*_: object) -> None:
    """Nobody listens."""


def collect(
    store: RunStore,
    plans: Sequence[PlanRecord],
    audits: Mapping[str, Mapping[str, Any]] | None = None,
    say: Callable[[str], None] = _ignore,
    progress: Callable[[str, float], None] = _ignore,
) -> ReportData:
    """Everything on the page, for plans of one table (``harness.cli.leaderboard.select_plans``).  DataError if a stored file is missing or damaged.

    audits    dataset → audit (``reports.render.html.evidence.Audit``); a dataset without one is shown as such
    say       gets a line per problem;  progress  gets (text, fraction done)
    """
    from reports.published.table import published_table

    records = store.records()
    metrics = _metrics()
    cells, numbers = _cells(_Reader(store, records, metrics, say), plans, progress)
    measure = Measure(metrics[AUROC])
    statistics = {AUROC: kept_statistics(store, plans, measure, say, progress)}
    documents = _documents(plans, records, metrics, numbers, statistics)
    datasets = plans[-1].datasets
    return ReportData(
        documents=documents,
        summaries={name: metric.summary for name, metric in plugins.metrics().items()},
        cells=cells,
        families={name: _family_sizes(store, info["hash"], records) for name, info in datasets.items()},
        hashes={name: info["hash"] for name, info in datasets.items()},
        plans=tuple(plan.key for plan in plans),
        runs=_runs(plans, records),
        environments=_environments(plans, records),
        audits={name: audit for name, audit in (audits or {}).items() if name in datasets},
        published=published_table(next(iter(documents.values())), list(plugins.detector_entries())),
    )


def cell_evidence(
    store: RunStore, plans: Sequence[PlanRecord], say: Callable[[str], None] = _ignore, progress: Callable[[str, float], None] = _ignore
) -> tuple[CellEvidence, ...]:
    """Curves, families and thresholds of every cell and control with an ok run; a row that chooses its score with labels has none."""
    return _cells(_Reader(store, store.records(), {}, say), plans, progress)[0]


def cell_likeness(
    store: RunStore, plans: Sequence[PlanRecord], aggregator: str | None = None, progress: Callable[[str, float], None] = _ignore
) -> tuple[CellLikeness, ...]:
    """Source-likeness of every row in every cell that it is planned for, rows in the order of the plans.

    ``aggregator``: in place of every row's own.
    """
    records = store.records()
    cells = {cell: tuple(keys.values()) for cell, keys in _run_keys(plans).items() if cell[1] != CONTROL}
    chosen = {label: aggregator or declared["aggregator"] for plan in plans for label, declared in plan.detectors.items()}
    wanted: dict[str, set[str]] = {}
    for (label, _, _), keys in cells.items():
        for key in keys:
            wanted.setdefault(key, set()).add(chosen[label])
    found: dict[tuple[str, str], SourceLikeness | None] = {}
    for place, (key, aggregators) in enumerate(wanted.items()):
        progress("reading scores", place / len(wanted))
        if key in records and records[key].status == "ok":
            found |= {(key, name): likeness for name, likeness in _likeness(store.scores(key), records[key], aggregators).items()}
    rows = []
    for cell, keys in cells.items():
        seeds = [likeness for key in keys if (likeness := found.get((key, chosen[cell[0]]))) is not None]
        if len(seeds) < len(keys):
            rows.append(CellLikeness(*cell, None, None))
        else:
            areas = [0.5 + seed.sign * (seed.index - 0.5) for seed in seeds]
            rows.append(CellLikeness(*cell, fmean(seed.index for seed in seeds), fmean(areas)))
    return tuple(rows)


def _likeness(scores: pl.DataFrame, record: RunRecord, aggregators: Collection[str]) -> dict[str, SourceLikeness | None]:
    """Row's aggregator → likeness; None for one that the run's columns do not allow, of which the leaderboard document has the reason."""
    found: dict[str, SourceLikeness | None] = {}
    for name in aggregators:
        try:
            found[name] = likeness_of(scores, record.spec, "identity" if record.aggregator == "identity" else name)
        except UsageError:
            found[name] = None
    return found


def _metrics() -> dict[str, Metric]:
    """``auroc``, ``auroc@2+``, … → metric, in the order of the page: headlines, their views, then whatever is installed."""
    known = plugins.metrics()
    found = {f"{name}{suffix}": known[name] for suffix in VIEWS for name in HEADLINES}
    return found | {name: metric for name, metric in known.items() if name not in (*found, *IN_ALERTS)}


def _documents(
    plans: Sequence[PlanRecord],
    records: Mapping[str, RunRecord],
    metrics: Mapping[str, Metric],
    numbers: Mapping[str, Numbers],
    statistics: Mapping[str, TableStatistics],
) -> dict[str, Board]:
    """A leaderboard document per metric; one that has no number anywhere is left out, except the first."""
    from reports.tables.leaderboard import build_leaderboard

    documents: dict[str, Board] = {}
    for name, metric in metrics.items():
        values = {key: found[name] for key, found in numbers.items()}
        if not documents or any(value is not None for value in values.values()):
            better = metric.higher_is_better
            documents[name] = build_leaderboard(plans, records, values, name, higher_is_better=better, statistics=statistics.get(name))
    return documents


# -- evidence of cells -------------------------------------------------------------------------------------------------------------


def _run_keys(plans: Sequence[PlanRecord]) -> dict[Cell, dict[int, str]]:
    """Cell → seed → run; of two plans the later one counts.  A control has one cell per target: the one that stands beside cross cells, if any."""
    planned = {(cell.label, cell.regime, cell.source, cell.target, cell.seed): cell.run_key for plan in plans for cell in plan.cells}
    found: dict[Cell, dict[int, str]] = {}
    for (label, regime, source, target, seed), key in sorted(planned.items(), key=lambda item: item[0][2] == item[0][3]):
        if regime == "control":
            found.setdefault((label, CONTROL, target), {}).setdefault(seed, key)
        else:
            found.setdefault((label, source, target), {})[seed] = key
    return found


@dataclass(frozen=True)
class _Reader:
    """Opens the scores of each run once."""

    store: RunStore
    records: Mapping[str, RunRecord]
    metrics: Mapping[str, Metric]
    say: Callable[[str], None]

    def read(self, key: str, aggregator: str) -> tuple[TestScores | None, Numbers] | None:
        """The test flows of a run, and its numbers as stored or, for a metric that is new, computed; None unless it is ok.

        ``aggregator`` is the row's; without test flows where it is ``BEST_FIXED``, which has no scalar of its own.
        """
        row = self.records.get(key)
        if row is None or row.status != "ok":
            return None
        chosen = row.aggregator if row.aggregator == "identity" else aggregator
        if chosen == BEST_FIXED:
            known = {name: name.partition("@") for name in self.metrics}
            return None, {
                name: metric_of(self.store, row, self.metrics[name], f"{at}{view}", chosen, self.say) for name, (_, at, view) in known.items()
            }
        try:
            views = cell_scores(self.store.scores(key), self.store.truth(row.spec["target_hash"]), row.spec, chosen)
        except UsageError as error:  # a detector without that score column
            self.say(str(error))
            return None
        numbers = {name: row.metrics[name] for name in self.metrics if name in row.metrics and chosen == row.aggregator}
        for suffix, view in views.items():
            new = {metric.name: metric for name, metric in self.metrics.items() if name not in numbers and name == f"{metric.name}{suffix}"}
            numbers |= compute_metrics({suffix: view}, new, self.say)
        return views[""], numbers


def _cells(
    reader: _Reader, plans: Sequence[PlanRecord], progress: Callable[[str, float], None]
) -> tuple[tuple[CellEvidence, ...], dict[str, Numbers]]:
    """The evidence of every cell with an ok run; and run → its numbers."""
    from reports.tables.leaderboard import value_key

    wanted = _run_keys(plans)
    aggregators = {label: declared["aggregator"] for plan in plans for label, declared in plan.detectors.items()}
    numbers: dict[str, Numbers] = {}

    def read(key: str, label: str) -> TestScores | None:
        found = reader.read(key, aggregators[label])
        if found is not None:
            numbers[value_key(key, aggregators[label], reader.records[key])] = found[1]
        return None if found is None else found[0]

    cells = []
    for place, (cell, keys) in enumerate(wanted.items()):
        progress("reading scores", place / len(wanted))
        seeds = [scores for _, key in sorted(keys.items()) if (scores := read(key, cell[0])) is not None]
        if seeds:
            cells.append(_evidence(cell, seeds))
    if reader.metrics:  # for tables alone: controls with parameters of their own within a network
        for planned in (cell for plan in plans for cell in plan.cells):
            if value_key(planned.run_key, aggregators[planned.label], reader.records.get(planned.run_key)) not in numbers:
                read(planned.run_key, planned.label)
    return tuple(cells), numbers


def _evidence(cell: Cell, seeds: Sequence[TestScores]) -> CellEvidence:
    benign = [np.sort(seed.score[~seed.attack]) for seed in seeds]
    hits = [np.sort(seed.score[seed.attack]) for seed in seeds]
    both = [(b, h) for b, h in zip(benign, hits, strict=True) if len(b) and len(h)]
    grid = roc_grid([len(b) for b, _ in both])
    curves = np.array([tpr_at(b, h, grid) for b, h in both])  # (seeds, points)
    return CellEvidence(
        detector=cell[0],
        source=cell[1],
        target=cell[2],
        n_seeds=len(seeds),
        n_benign=min(len(b) for b in benign),
        fpr=tuple(grid.tolist()),
        tpr=tuple(curves.mean(axis=0).tolist()) if both else (),
        families=_families(seeds),
        thresholds={name: found for name, one_in in PERCENTILES.items() if (found := _threshold(seeds, one_in)) is not None},
    )


def roc_grid(n_benign: Sequence[int], points: int = MAX_POINTS) -> Scores:
    """False-positive rates, rising from 0 to 1, at most ``points``: every k / n for the smallest rates, landmarks, then evenly in the logarithm.

    n_benign  benign test flows of each seed; the steps of all seeds are kept, so that the mean of their curves is exact there.
    """
    if not n_benign:
        return np.empty(0)
    steps = sorted({k / n for n in n_benign for k in range(min(n, points) + 1)})
    if len(steps) <= points:
        return np.array(steps)
    exact = steps[: EXACT_POINTS - len(LANDMARKS)]
    rest = np.geomspace(exact[-1], 1.0, points - EXACT_POINTS + 1)[1:]
    return np.array(sorted({*exact, *LANDMARKS, *rest.tolist()}))


def tpr_at(benign: Scores, hits: Scores, fpr: Scores) -> Scores:
    """The largest TPR of a rule ``score > τ`` with a false-positive rate of at most ``fpr`` (p,); no interpolation.

    benign (n,), hits (m,), both sorted and not empty.
    """
    n = len(benign)
    allowed = np.floor(fpr * n + 1e-9).astype(int)  # k / n · n may fall short of k by a rounding error
    threshold = np.concatenate([[-np.inf], benign])[n - np.minimum(allowed, n)]  # (p,): the (allowed + 1)-th largest benign score
    return 1.0 - np.searchsorted(hits, threshold, "right") / len(hits)


def _families(seeds: Sequence[TestScores]) -> dict[str, FamilyArea]:
    from protocols.metrics import auroc

    areas: dict[str, list[float]] = {}
    sizes: dict[str, list[int]] = {}
    for seed in seeds:
        for family in np.unique(seed.family[seed.attack]).tolist():
            members = seed.attack & (seed.family == family)
            area = auroc(seed.score[members | ~seed.attack], seed.attack[members | ~seed.attack])
            areas.setdefault(family, []).extend([] if area is None else [area])
            sizes.setdefault(family, []).append(int(members.sum()))
    return {family: FamilyArea(fmean(found) if found else None, min(sizes[family])) for family, found in areas.items()}


def _threshold(seeds: Sequence[TestScores], one_in: int) -> ThresholdEvidence | None:
    from protocols.metrics import alerts_at_quantile
    from protocols.operations import FALSE_ALERTS, clopper_pearson

    found = [alerts for seed in seeds if (alerts := alerts_at_quantile(seed.score, seed.attack, seed.cal_b, one_in)) is not None]
    fpr = _mean([alerts.fpr for alerts in found])
    if fpr is None:
        return None
    n_benign = min(alerts.n_benign for alerts in found)
    false = round(fpr * n_benign)  # of one seed: the test parts of different seeds overlap, so their sizes must not be added
    low, high = clopper_pearson(false, n_benign)
    return ThresholdEvidence(
        fpr=fpr,
        fpr_low=low,
        fpr_high=high,
        measured=false >= FALSE_ALERTS,
        recall=_mean([alerts.recall for alerts in found]),
        precision=_mean([alerts.precision for alerts in found]),
        f1=_mean([alerts.f1 for alerts in found]),
        n_benign=n_benign,
        n_attack=min(alerts.n_attack for alerts in found),
        n_cal=min(len(seed.cal_b) for seed in seeds),
    )


def a_day(tpr: float, fpr: float, bounds: tuple[float, float], flows_per_day: int, base_rate: float) -> dict[str, float | None]:
    """``protocols.operations.operation`` as ``reports.tables.details`` lists it; ``fpr`` > 0."""
    from protocols.operations import operation

    found = operation(tpr, fpr, bounds, flows_per_day, base_rate)
    numbers: dict[str, float | None] = {name: getattr(found, name) for name in ("false_alerts", "true_alerts", "ppv")}
    for name, interval in (("false_alerts", found.false_alerts_interval), ("ppv", found.ppv_interval)):
        numbers[f"{name}_low"], numbers[f"{name}_high"] = interval or (None, None)
    return numbers


def _mean(values: Sequence[float | None]) -> float | None:
    numbers = [value for value in values if value is not None]
    return fmean(numbers) if numbers else None


# -- provenance --------------------------------------------------------------------------------------------------------------------


def _family_sizes(store: RunStore, data_hash: str, records: Mapping[str, RunRecord]) -> dict[str, FamilySize]:
    """Attack families of a dataset, largest first; empty if no run was ever scored on it."""
    import polars as pl

    if not any(record.status == "ok" and record.spec["target_hash"] == data_hash for record in records.values()):
        return {}
    attacks = store.truth(data_hash).filter("attack")
    sizes = attacks.group_by("family").agg(pl.len().alias("flows"), pl.col("source").n_unique().alias("captures"))
    ordered = sizes.sort(["flows", "family"], descending=[True, False]).iter_rows(named=True)
    return {row["family"]: FamilySize(row["flows"], row["captures"]) for row in ordered}


def _runs(plans: Sequence[PlanRecord], records: Mapping[str, RunRecord]) -> tuple[RunRow, ...]:
    """Every expected run once, in the order of the plans."""
    rows: dict[str, RunRow] = {}
    for cell in (cell for plan in plans for cell in plan.cells):
        source = cell.source if cell.regime == "transfer" else CONTROL
        record = records.get(cell.run_key)
        place = (cell.run_key, cell.label, "" if record is None else record.spec["version"], cell.regime, source, cell.target, cell.seed)
        if record is None:
            rows[cell.run_key] = RunRow(*place, "missing", "not run yet", None, "", "", "", {})
        else:
            rows[cell.run_key] = RunRow(
                *place,
                *(record.status, record.reason, record.attempt, record.finished),
                *(record.spec["device"], record.aggregator, record.cost),
            )
    return tuple(rows.values())


def _environments(plans: Sequence[PlanRecord], records: Mapping[str, RunRecord]) -> tuple[Environment, ...]:
    keys = {cell.run_key for plan in plans for cell in plan.cells} & set(records)
    counts = Counter(tuple(sorted(records[key].environment.items())) for key in keys)
    return tuple(Environment(dict(values), runs) for values, runs in sorted(counts.items(), key=lambda item: (-item[1], item[0])))
