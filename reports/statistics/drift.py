"""How a detector that was calibrated on one day does on the days after it, from stored scores and times."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np
from numpy.typing import NDArray

from janus_bench.errors import DataError
from protocols.aggregators import fit_aggregator
from protocols.metrics import auroc
from protocols.operations import rates_by_chance
from protocols.splits import DAY
from reports.results.evidence import NO_TIMELINE, score_columns
from reports.results.model import Run
from reports.tables.evidence import DayEvidence
from reports.tables.fields import mean_of_all

# Name of a threshold → 1 / (the share of calibration flows above it).
PERCENTILES = {"P95": 20, "P99": 100}

Cell = tuple[str, str, str]  # (row's label, source or ``CONTROL``, target).
Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class _Day:
    """One day of one seed: benign and attack scores, as calibrated and as recalibrated on the day before; calibration
    scores that thresholds come from, likewise (None: there is no such day)."""

    fixed: tuple[Floats, Floats]
    fixed_cal: Floats
    recalibrated: tuple[Floats, Floats] | None
    recalibrated_cal: Floats


def days_of(cell: Cell, runs: Sequence[Run]) -> list[DayEvidence]:
    """Every tested day of a cell at every threshold; ``runs``: its seeds that are ok and have a score of their own.  A
    day is of the seeds that test it, which outside the protocol ``drift`` need not be all.

    DataError where its times were not stored.
    """
    seeds = [_days(run) for run in runs]
    found = []
    for name, one_in in PERCENTILES.items():
        for day in sorted({day for seed in seeds for day in seed}):
            found.append(_evidence(cell, name, one_in, day, [seed[day] for seed in seeds if day in seed]))
    return found


def _days(run: Run) -> Mapping[int, _Day]:
    """Days since the epoch → the day."""
    import polars as pl

    spec = run.done().spec
    timeline = run.results.timeline(spec["target_hash"])
    if timeline is None:
        raise DataError(f"{spec['target']}: {NO_TIMELINE}")
    scored, scores = run.scored(), run.results.scores(run.key)
    columns = score_columns(scores)
    rows = scores.filter(pl.col("role") == "test").sort("flow_id")
    start = rows.select("flow_id").join(timeline, on="flow_id", how="left", maintain_order="left")["start"].to_numpy()
    matrix, attack, own = rows.select(columns).to_numpy(), scored.evidence.attack, scored.evidence
    day = np.floor(start / DAY).astype(np.int64)
    found: dict[int, _Day] = {}
    before: NDArray[np.intp] | None = None
    for number in np.unique(day).tolist():
        benign, hits = (np.flatnonzero((day == number) & (attack == kind)) for kind in (False, True))
        fixed = own.score[benign], own.score[hits]
        if before is None:  # the day before is the one that everything was calibrated on
            found[number] = _Day(fixed, own.cal_b, fixed, own.cal_b)
        elif len(before) < 2:
            found[number] = _Day(fixed, own.cal_b, None, np.empty(0))
        else:
            half = len(before) // 2
            in_time = before[np.argsort(start[before], kind="stable")]
            scalar = fit_aggregator(run.aggregator(), matrix[in_time[:half]], columns)
            again = scalar(matrix[benign]), scalar(matrix[hits])
            found[number] = _Day(fixed, own.cal_b, again, scalar(matrix[in_time[half:]]))
        before = benign
    return found


def _evidence(cell: Cell, name: str, one_in: int, day: int, seeds: Sequence[_Day]) -> DayEvidence:
    n_benign, n_attack = (min(map(len, scores)) for scores in zip(*(seed.fixed for seed in seeds), strict=True))
    rates: list[float | None] = []
    chance = []
    again: list[float | None] = []
    for seed in seeds:
        rates.append(_rate(seed.fixed[0], seed.fixed_cal, one_in))
        again.append(None if seed.recalibrated is None else _rate(seed.recalibrated[0], seed.recalibrated_cal, one_in))
        if rates[-1] is not None and n_benign:  # under another seed the day may have none
            above = int(np.count_nonzero(seed.fixed_cal > _tau(seed.fixed_cal, one_in)))
            chance.append(rates_by_chance(len(seed.fixed_cal), above, n_benign))
    n_cal, n_again = (
        min(len(cal) for cal in each) for each in zip(*((s.fixed_cal, s.recalibrated_cal) for s in seeds), strict=True)
    )
    return DayEvidence(
        *cell,
        len(seeds),
        name,
        datetime.fromtimestamp(day * DAY, UTC).date().isoformat(),
        n_benign,
        n_attack,
        fpr=mean_of_all(rates),
        low=min((low for low, _ in chance), default=None),
        high=max((high for _, high in chance), default=None),
        recalibrated=mean_of_all(again),
        auroc=mean_of_all([_area(*seed.fixed) for seed in seeds]),
        auroc_recalibrated=mean_of_all([None if s.recalibrated is None else _area(*s.recalibrated) for s in seeds]),
        reason=_few(name, one_in, n_cal, "the calibration"),
        recalibrated_reason=_few(name, one_in, n_again, "the day before"),
    )


def _few(name: str, one_in: int, n: int, when: str) -> str:
    return "" if n >= one_in else f"{name} takes {one_in} calibration flows, {when} has {n}"


def _tau(cal: Floats, one_in: int) -> float:
    return float(np.quantile(cal, 1 - 1 / one_in, method="higher"))


def _rate(benign: Floats, cal: Floats, one_in: int) -> float | None:
    return None if len(cal) < one_in or not len(benign) else float(np.mean(benign > _tau(cal, one_in)))


def _area(benign: Floats, hits: Floats) -> float | None:
    return auroc(np.concatenate([benign, hits]), np.repeat([False, True], [len(benign), len(hits)]))
