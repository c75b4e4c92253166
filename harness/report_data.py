"""What the HTML report needs beyond the leaderboard document: curves, families, thresholds, environments.  Derived from stored scores."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from statistics import fmean
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from harness import plugins
from harness.evaluate import VIEWS, cell_scores, metric_of
from harness.extensions import TestScores
from harness.schema import PlanRecord, RunRecord
from reports.html.evidence import CONTROL, CellEvidence, Environment, FamilyArea, FamilySize, ReportData, RunRow, ThresholdEvidence

if TYPE_CHECKING:
    from harness.store import RunStore

__all__ = ["MAX_POINTS", "PERCENTILES", "at_threshold", "collect", "roc_grid", "tpr_at"]

FIRST_METRIC = "auroc"
MAX_POINTS = 100
"""Points of a thinned curve."""
EXACT_POINTS = 50
"""So many of them are the smallest false-positive rates that the test flows can tell apart, all of them."""
LANDMARKS = (0.001, 0.01, 0.05)
"""False-positive rates that every curve has a point at."""
PERCENTILES = {"P95": 20, "P99": 100}
"""Name of a threshold → 1 / (the share of calibration flows above it)."""

Cell = tuple[str, str, str]
"""(detector label, source or ``CONTROL``, target)."""
Scores = NDArray[np.float64]


def collect(
    store: RunStore,
    plans: Sequence[PlanRecord],
    audits: Mapping[str, Mapping[str, Any]] | None = None,
    say: Callable[[str], None] = lambda line: None,
    progress: Callable[[str, float], None] = lambda text, fraction: None,
) -> ReportData:
    """Everything on the page, for plans of one table (``harness.cli.leaderboard.select_plans``).  DataError if a stored file is missing or damaged.

    audits    dataset → audit (``reports.html.evidence.Audit``); a dataset without one is shown as such
    say       gets a line per problem;  progress  gets (text, fraction done)
    """
    records = store.records()
    documents = _documents(store, plans, records, say)
    datasets = plans[-1].datasets
    return ReportData(
        documents=documents,
        summaries={name: metric.summary for name, metric in plugins.metrics().items()},
        cells=_cells(store, plans, records, progress),
        families={name: _family_sizes(store, info["hash"], records) for name, info in datasets.items()},
        hashes={name: info["hash"] for name, info in datasets.items()},
        plans=tuple(plan.key for plan in plans),
        runs=_runs(plans, records),
        environments=_environments(plans, records),
        audits={name: audit for name, audit in (audits or {}).items() if name in datasets},
    )


def _documents(
    store: RunStore, plans: Sequence[PlanRecord], records: Mapping[str, RunRecord], say: Callable[[str], None]
) -> dict[str, Mapping[str, Any]]:
    """A leaderboard document per installed metric and view; a metric that has no number anywhere is left out, except the first."""
    from reports.leaderboard import build_leaderboard

    known = plugins.metrics()
    names = sorted(known, key=lambda name: name != FIRST_METRIC)  # a stable sort: the others stay in their order
    keys = {cell.run_key for plan in plans for cell in plan.cells} & set(records)
    documents = {}
    for suffix in VIEWS:
        for name in names:
            values = {key: metric_of(store, records[key], known[name], suffix, None, say) for key in sorted(keys)}
            if not documents or any(value is not None for value in values.values()):
                full = f"{name}{suffix}"
                documents[full] = build_leaderboard(plans, records, values, full, higher_is_better=known[name].higher_is_better)
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


def _cells(
    store: RunStore, plans: Sequence[PlanRecord], records: Mapping[str, RunRecord], progress: Callable[[str, float], None]
) -> tuple[CellEvidence, ...]:
    wanted = _run_keys(plans)
    cells = []
    for number, (cell, keys) in enumerate(wanted.items()):
        progress("reading scores", number / len(wanted))
        ok = [records[key] for _, key in sorted(keys.items()) if key in records and records[key].status == "ok"]
        seeds = [cell_scores(store.scores(row.key), store.truth(row.spec["target_hash"]), row.spec, row.aggregator)[""] for row in ok]
        if seeds:
            cells.append(_evidence(cell, seeds))
    return tuple(cells)


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
    if len(steps) <= points and max(n_benign) < points:
        return np.array(steps)
    exact = steps[: EXACT_POINTS - len(LANDMARKS)]
    rest = np.geomspace(exact[-1], 1.0, points - EXACT_POINTS + 1)[1:]
    return np.array(sorted({*exact, *LANDMARKS, *rest.tolist()}))


def tpr_at(benign: Scores, hits: Scores, fpr: Scores) -> Scores:
    """The largest TPR of a rule ``score > τ`` with a false-positive rate of at most ``fpr`` (p,); no interpolation (Fawcett 2006, vertical averaging).

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


def at_threshold(cell: TestScores, one_in: int) -> dict[str, float | None] | None:
    """fpr, recall, precision and f1 of the rule ``score > τ``, τ the 1 − 1/one_in quantile of calibration flows B (``method="higher"``).

    None without benign test flows, or when fewer than one calibration flow would lie above τ; precision is None without an alert.
    """
    n_benign, n_attack = int((~cell.attack).sum()), int(cell.attack.sum())
    if not n_benign or len(cell.cal_b) < one_in:
        return None
    alert = cell.score > np.quantile(cell.cal_b, 1 - 1 / one_in, method="higher")
    false, true = int((alert & ~cell.attack).sum()), int((alert & cell.attack).sum())
    return {
        "fpr": false / n_benign,
        "recall": true / n_attack if n_attack else None,
        "precision": true / (true + false) if true + false else None,
        "f1": 2 * true / (n_attack + true + false) if n_attack else None,
    }


def _threshold(seeds: Sequence[TestScores], one_in: int) -> ThresholdEvidence | None:
    found = [numbers for seed in seeds if (numbers := at_threshold(seed, one_in)) is not None]
    fpr = _mean(found, "fpr")
    if fpr is None:
        return None
    n_benign = min(int((~seed.attack).sum()) for seed in seeds)
    low, high = _clopper_pearson(fpr * n_benign, n_benign)
    return ThresholdEvidence(
        fpr=fpr,
        fpr_low=low,
        fpr_high=high,
        recall=_mean(found, "recall"),
        precision=_mean(found, "precision"),
        f1=_mean(found, "f1"),
        n_benign=n_benign,
        n_attack=min(int(seed.attack.sum()) for seed in seeds),
        n_cal=min(len(seed.cal_b) for seed in seeds),
    )


def _mean(found: Sequence[Mapping[str, float | None]], name: str) -> float | None:
    numbers = [value for numbers in found if (value := numbers[name]) is not None]
    return fmean(numbers) if numbers else None


def _clopper_pearson(k: float, n: int) -> tuple[float, float]:
    """95 % interval of a share (Clopper & Pearson 1934); ``k`` of ``n``, k need not be whole (a mean over seeds).

    The mean over seeds gets the interval of one seed: test parts of different seeds overlap, so their sizes must not be added.
    """
    from scipy.stats import beta

    low = float(beta.ppf(0.025, k, n - k + 1)) if k > 0 else 0.0
    high = float(beta.ppf(0.975, k + 1, n - k)) if k < n else 1.0
    return low, high


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
