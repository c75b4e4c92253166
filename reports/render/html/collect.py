"""What the HTML report needs beyond the leaderboard document: curves, families, thresholds, environments.  Derived from
stored scores."""

from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Any

import numpy as np
from numpy.typing import NDArray

from janus_bench import plugins
from janus_bench.errors import UsageError
from janus_bench.extensions import TestScores
from janus_bench.quiet import ignore
from protocols.incidents import INCIDENTS_PER_DAY, WINDOW_S
from reports.render.html.evidence import FamilySize, ReportData
from reports.results.evidence import VIEWS
from reports.results.measures import AUROC, Measure
from reports.results.model import Progress, Results, ResultTable, Run
from reports.results.sites import SITE
from reports.statistics.drift import days_of
from reports.statistics.incidents import IncidentCounter, IncidentRules, scored_runs
from reports.statistics.intervals import kept_statistics, read_kept
from reports.tables.ablation import CellLikeness
from reports.tables.audits import with_audits
from reports.tables.document import Board, DetailRecord, TableStatistics
from reports.tables.drift import day_records
from reports.tables.evidence import (
    CONTROL,
    CellEvidence,
    DayEvidence,
    FamilyArea,
    FolderFacts,
    IncidentEvidence,
    ThresholdEvidence,
)
from reports.tables.fields import mean_of_all
from reports.tables.incidents import incident_records
from reports.tables.leaderboard import build_leaderboard
from reports.tables.pitfalls import pitfall_records

HEADLINES = ("auroc", "macro_auroc")  # Shown first, and also on flows of two or more packets.
IN_SITES = (*HEADLINES, "tpr_at_fpr_1pct")  # Also shown as a metric inside sites.
IN_ALERTS = (
    "base_rate",
    *(f"{name}_{percentile}" for percentile in ("p95", "p99", "p999") for name in ("f1", "precision", "recall")),
)
"""Metrics without a leaderboard of their own on the page: the section on alerts shows them with their intervals."""
MAX_POINTS = 100  # Points of a thinned curve.
# So many of them are the smallest false-positive rates that the test flows can tell apart, all of them.
EXACT_POINTS = 50
LANDMARKS = (0.001, 0.01, 0.05)  # False-positive rates that every curve has a point at.
# Name of a threshold → 1 / (the share of calibration flows above it).
PERCENTILES = {"P95": 20, "P99": 100, "P99.9": 1000}

Cell = tuple[str, str, str]  # (row's label, source or ``CONTROL``, target).
Scores = NDArray[np.float64]


def collect(
    table: ResultTable,
    audits: Mapping[str, Mapping[str, Any]] | None = None,
    progress: Progress = ignore,
    facts: FolderFacts | None = None,
    distances: Mapping[str, Any] | None = None,
) -> ReportData:
    """Everything on the page.  DataError if a stored file is missing or damaged.

    audits    dataset → audit (``reports.render.html.evidence.Audit``); a dataset without one is shown as such
    progress  gets (text, fraction done)
    facts     for the checklist of pitfalls, which is left out without them
    distances between the networks' benign traffic (``ReportData.distances``)
    """
    from reports.published.table import published_table

    measures = _measures()
    cells = cell_evidence(table, progress, measures)
    # intervals are quick for AUROC alone; other metrics have those that were asked for once
    inside = [measure for measure in measures if measure.name == f"{AUROC}{SITE}" and table.n_sites(measure.metric)]
    statistics: dict[str, TableStatistics | None]
    statistics = {measure.name: kept_statistics(table, measure, progress) for measure in (measures[0], *inside)}
    statistics |= {measure.name: read_kept(table, measure) for measure in measures if measure.name not in statistics}
    documents: dict[str, Board] = {}
    for measure in measures:  # one that has no number anywhere is left out, except the first
        if not documents or any(run.number(measure) is not None for run in table.runs):
            documents[measure.name] = build_leaderboard(table, measure, statistics.get(measure.name))
    return ReportData(
        table=table,
        documents=documents,
        summaries={name: metric.summary for name, metric in plugins.metrics().items()},
        cells=cells,
        families={name: _family_sizes(table.results, entry.hash) for name, entry in table.datasets.items()},
        audits={name: audit for name, audit in (audits or {}).items() if name in table.datasets},
        published=published_table(documents[AUROC], list(plugins.detector_entries())),
        details={
            **(
                {}
                if facts is None
                else {"pitfalls": pitfall_records(with_audits(documents[AUROC], audits or {}), facts)}
            ),
            **_details(table, documents[AUROC], progress),
        },
        distances=distances or {},
    )


def _details(table: ResultTable, document: Board, progress: Progress) -> dict[str, Sequence[DetailRecord]]:
    """Results from before times were stored have none of these sections, and no section of reasons."""
    if any(table.results.timeline(entry.hash) is None for entry in table.datasets.values()):
        return {}
    incidents = incident_evidence(table, IncidentRules(WINDOW_S, INCIDENTS_PER_DAY), progress)
    found: dict[str, Sequence[DetailRecord]] = {"incidents": incident_records(document, incidents, WINDOW_S)}
    if table.plan.split == "drift":
        found["drift"] = day_records(document, day_evidence(table, progress))
    return found


def cell_likeness(
    table: ResultTable, aggregator: str | None = None, progress: Progress = ignore
) -> tuple[CellLikeness, ...]:
    """Source-likeness of every row in every cell that it is planned for, rows in the order of the plans.

    ``aggregator``: in place of every row's own.
    """
    runs = {(run.key, run.row_aggregator): run for row in table.rows for run in row.runs}
    found = {}
    # rows that differ in their aggregators alone share runs: each is read once
    for place, key in enumerate(sorted(runs)):
        progress("reading scores", place / len(runs))
        found[key] = runs[key].likeness(aggregator)
    cells = []
    for row in table.rows:
        for pair, seeds in row.cells.items():
            own = [found[run.key, run.row_aggregator] for run in seeds]
            index = mean_of_all([likeness.index if likeness else None for likeness in own])
            area = mean_of_all([0.5 + likeness.sign * (likeness.index - 0.5) if likeness else None for likeness in own])
            cells.append(CellLikeness(row.label, row.declared.variant, *pair, index, area))
    return tuple(cells)


def incident_evidence(
    table: ResultTable, rules: IncidentRules, progress: Progress = ignore
) -> tuple[IncidentEvidence, ...]:
    """Of every cell and baseline with an ok run that has a score of its own, read target by target."""
    planned, counter = _planned(table), IncidentCounter(table.results, rules)
    found: dict[Cell, list[IncidentEvidence]] = {}
    for place, cell in enumerate(sorted(planned, key=lambda cell: cell[2])):
        progress("counting incidents", place / len(planned))
        if runs := scored_runs(planned[cell]):
            found[cell] = counter.cell(cell, runs)
    return tuple(each for cell in planned for each in found.get(cell, ()))


def day_evidence(table: ResultTable, progress: Progress = ignore) -> tuple[DayEvidence, ...]:
    """Of every cell and baseline with an ok run that has a score of its own.  DataError where times were not stored."""
    planned = _planned(table)
    found: list[DayEvidence] = []
    for place, (cell, runs) in enumerate(planned.items()):
        progress("reading days", place / len(planned))
        if own := scored_runs(runs):
            found += days_of(cell, own)
    return tuple(found)


def _measures() -> tuple[Measure, ...]:
    """In the order of the page: headlines, their views, then whatever is installed."""
    known = plugins.metrics()
    found = [Measure(known[name], view) for view in VIEWS for name in HEADLINES]
    found += [Measure(known[name], SITE) for name in IN_SITES]
    return (*found, *(Measure(metric) for name, metric in known.items() if name not in (*HEADLINES, *IN_ALERTS)))


def _planned(table: ResultTable) -> dict[Cell, list[Run]]:
    """Cells across networks come first.  A baseline has one cell per target: the one that stands beside a cross cell,
    if any."""
    found: dict[Cell, dict[int, Run]] = {}
    for run in sorted(table.runs, key=lambda run: run.pair[0] == run.pair[1]):
        source, target = run.pair
        found.setdefault((run.label, CONTROL if run.regime == "control" else source, target), {}).setdefault(
            run.seed, run
        )
    return {cell: [seeds[seed] for seed in sorted(seeds)] for cell, seeds in found.items()}


def cell_evidence(
    table: ResultTable, progress: Progress = ignore, measures: Sequence[Measure] = ()
) -> tuple[CellEvidence, ...]:
    """Curves, families and thresholds of every cell and baseline with an ok run; a row that chooses its score with
    labels has none.

    They are read target by target; ``measures`` are made of the same scores while they are there.
    """
    planned = _planned(table)
    found: dict[Cell, CellEvidence] = {}
    for place, cell in enumerate(sorted(planned, key=lambda cell: cell[2])):
        progress("reading scores", place / len(planned))
        seeds = []
        for run in planned[cell]:
            for measure in measures:
                run.number(measure)
            if (scores := _scores(run)) is not None:
                seeds.append(scores)
        if seeds:
            found[cell] = _evidence(cell, seeds)
    return tuple(found[cell] for cell in planned if cell in found)


def _scores(run: Run) -> TestScores | None:
    """None unless the run is ok and has a score of its own."""
    if run.ok is None or run.chosen_with_labels:
        return None
    try:
        return run.scored().evidence
    except UsageError as error:  # a detector without that score column
        run.results.say(str(error))
        return None


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
        thresholds={
            name: found for name, one_in in PERCENTILES.items() if (found := _threshold(seeds, one_in)) is not None
        },
    )


def roc_grid(n_benign: Sequence[int], points: int = MAX_POINTS) -> Scores:
    """False-positive rates, rising from 0 to 1, at most ``points``: every k / n for the smallest rates, landmarks, then
    evenly in the logarithm.

    n_benign  benign test flows of each seed; the steps of all seeds are kept, so that the mean of their curves is exact
              there.
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
    # (p,): the (allowed + 1)-th largest benign score
    threshold = np.concatenate([[-np.inf], benign])[n - np.minimum(allowed, n)]
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

    found = [
        alerts
        for seed in seeds
        if (alerts := alerts_at_quantile(seed.score, seed.attack, seed.cal_b, one_in)) is not None
    ]
    fpr = _mean([alerts.fpr for alerts in found])
    if fpr is None:
        return None
    n_benign = min(alerts.n_benign for alerts in found)
    # of one seed: the test parts of different seeds overlap, so their sizes must not be added
    false = round(fpr * n_benign)
    low, high = clopper_pearson(false, n_benign)
    return ThresholdEvidence(
        fpr=fpr,
        fpr_low=low,
        fpr_high=high,
        measured=false >= FALSE_ALERTS,
        **{name: _mean([getattr(alerts, name) for alerts in found]) for name in ("recall", "precision", "f1")},
        n_benign=n_benign,
        n_attack=min(alerts.n_attack for alerts in found),
        n_cal=min(len(seed.cal_b) for seed in seeds),
    )


def _mean(values: Sequence[float | None]) -> float | None:
    numbers = [value for value in values if value is not None]
    return fmean(numbers) if numbers else None


def _family_sizes(results: Results, data_hash: str) -> dict[str, FamilySize]:
    """Attack families of a dataset, largest first; empty if no run was ever scored on it."""
    import polars as pl

    if not any(
        record.status == "ok" and record.spec["target_hash"] == data_hash for record in results.records.values()
    ):
        return {}
    attacks = results.truth(data_hash).filter("attack")
    sizes = attacks.group_by("family").agg(pl.len().alias("flows"), pl.col("source").n_unique().alias("captures"))
    ordered = sizes.sort(["flows", "family"], descending=[True, False]).iter_rows(named=True)
    return {row["family"]: FamilySize(row["flows"], row["captures"]) for row in ordered}
