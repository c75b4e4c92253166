"""Incidents of a cell's runs, from stored scores, truth and timeline, with intervals by the cluster bootstrap."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from janus_bench.errors import DataError, UsageError
from protocols.incidents import (
    DAY_S,
    SOON_S,
    IncidentCounts,
    WatchedFlows,
    count_incidents,
    threshold_for,
    why_not_watched,
)
from reports.results.evidence import NO_TIMELINE
from reports.results.model import Results, Run
from reports.statistics.bootstrap import FEWEST_RESAMPLES, draw_captures
from reports.tables.evidence import Estimate, IncidentEvidence
from reports.tables.fields import mean_of_all

if TYPE_CHECKING:
    import polars as pl

HOUR_S = 3600.0
RESAMPLES = 1000
# Name of a threshold → 1 / (the share of calibration flows above it).
PERCENTILES = {"P99": 100, "P99.9": 1000}

Cell = tuple[str, str, str]  # (row's label, source or ``CONTROL``, target).
Floats = NDArray[np.float64]
Ids = NDArray[np.int64]


@dataclass(frozen=True)
class IncidentRules:
    """Length of a window, and false incidents a day that an operator has time for."""

    window_s: float
    per_day: float

    @property
    def budget(self) -> str:
        """Its name in tables."""
        return f"{self.per_day:g} a day"


class IncidentCounter:
    """Counts what the runs of one results folder give."""

    def __init__(self, results: Results, rules: IncidentRules) -> None:
        self._results, self._rules = results, rules
        self._watch = lru_cache(2)(self._read)

    def cell(self, cell: Cell, runs: Sequence[Run]) -> list[IncidentEvidence]:
        """Every threshold of a cell; ``runs``: its seeds that are ok and have a score of their own."""
        names = [*PERCENTILES, self._rules.budget]
        watch = self._watch(runs[0].done().spec["target_hash"])
        reason = next(filter(None, (self._refused(run, watch) for run in runs)), "")
        if isinstance(watch, str) or reason:
            return [IncidentEvidence(*cell, len(runs), name, reason) for name in names]
        seeds = [_Seed(run, watch, self._rules) for run in runs]
        return [_evidence(cell, name, seeds) for name in names]

    def _read(self, data_hash: str) -> _Watch | str:
        """What is known of a dataset's flows, or why that is not enough."""
        timeline = self._results.timeline(data_hash)
        if timeline is None:
            return NO_TIMELINE
        return _Watch(self._results.truth(data_hash), timeline, self._rules.window_s)

    def _refused(self, run: Run, watch: _Watch | str) -> str:
        """Why nothing can be counted, or an empty string."""
        if isinstance(watch, str):
            return watch
        if run.done().spec.get("contamination") is not None:
            return "half of its attack sessions were kept for training"
        left = _left_out(run, ("test_benign", "test_attack"))
        return watch.reason or (left and f"{left}: --protocol operational tests all")


def _left_out(run: Run, parts: Sequence[str]) -> str:
    """Whether parts were subsampled, in words, or an empty string."""
    partition = run.done().partition
    sizes, uncapped = partition.get("sizes", {}), partition.get("uncapped", {})
    found = [
        f"{uncapped[part] - sizes[part]:,} of {uncapped[part]:,} flows of {part} were left out"
        for part in parts
        if uncapped.get(part, 0) > sizes.get(part, 0)
    ]
    return "; ".join(found)


class _Watch:
    """All flows of a dataset, by their ids.

    groups  (captures,) number of the group of captures that hold the same flows, the unit of the bootstrap
    """

    def __init__(self, truth: pl.DataFrame, timeline: pl.DataFrame, window_s: float) -> None:
        """DataError where the two are not of the same flows."""
        import polars as pl

        if not truth["flow_id"].sort().equals(timeline["flow_id"].sort()):
            raise DataError("truth and timeline of one dataset are not of the same flows: delete both, and run again")
        group = "group" if "group" in truth.columns else "source"
        ranked = [pl.col(name).rank("dense").cast(pl.Int64) - 1 for name in dict.fromkeys(("source", group, "family"))]
        table = truth.with_columns(ranked).join(timeline, on="flow_id").sort("flow_id")
        self._ids = table["flow_id"].to_numpy()
        self._columns = {name: table[name].to_numpy() for name in ("host", "peer", "start", "end", "judged", "attack")}
        self._columns |= {"capture": table["source"].to_numpy(), "family": table["family"].to_numpy()}
        of_capture = table.group_by("source").agg(pl.col(group).first()).sort("source")
        self.groups: Ids = (of_capture[group] if group != "source" else of_capture["source"]).to_numpy()
        self.n_groups = int(self.groups.max(initial=-1)) + 1
        self._window_s = window_s
        own = self._columns
        self.reason = why_not_watched(own["capture"], own["host"], own["peer"], own["attack"])

    def flows(self, ids: Ids, *, at_end: bool) -> WatchedFlows:
        rows = np.searchsorted(self._ids, ids)
        if len(rows) and not np.array_equal(self._ids[np.minimum(rows, len(self._ids) - 1)], ids):
            raise DataError("scores name flows that the stored timeline does not have: run again")
        own = {name: column[rows] for name, column in self._columns.items()}
        if at_end:
            own["judged"] = own["end"]
        return WatchedFlows(**own, window_s=self._window_s)

    def by_group(self, of_captures: NDArray[np.generic]) -> Floats:
        """Sums over the captures of each group, (groups,)."""
        sums = np.bincount(self.groups[: len(of_captures)], of_captures.astype(np.float64), self.n_groups)
        return sums.astype(np.float64)


class _Seed:
    """One run: what was tested and what thresholds come from, as it passed."""

    def __init__(self, run: Run, watch: _Watch, rules: IncidentRules) -> None:
        scored, at_end = run.scored(), bool(run.table.row(run.label).declared.at_end)
        scores = run.results.scores(run.key)
        cal_b = scores.filter(scores["role"] == "cal_b")["flow_id"].to_numpy()
        self._cal = watch.flows(cal_b, at_end=at_end)
        self._cal_scores, self._scores = scored.evidence.cal_b, scored.evidence.score
        self._left_out = _left_out(run, ("cal_b",))
        self._rules = rules
        self.watch, self.test = watch, watch.flows(scored.flow, at_end=at_end)

    def threshold(self, name: str) -> float | str:
        """τ, or why there is none."""
        n = len(self._cal_scores)
        if name in PERCENTILES:
            one_in = PERCENTILES[name]
            if n < one_in:
                return f"{name} takes {one_in:,} calibration flows B, there are {n:,}"
            return float(np.quantile(self._cal_scores, 1 - 1 / one_in, method="higher"))
        if self._left_out:
            return f"{self._left_out}: --protocol operational keeps all"
        observed = float(self._cal.observed_s.sum())
        if observed < HOUR_S:
            return f"calibration flows B were watched for {observed / 60:.0f} minutes, less than an hour"
        if self._rules.per_day * observed / DAY_S < 1:
            return (
                f"calibration flows B were watched for {observed / HOUR_S:.1f} h: one incident in it would be "
                f"{DAY_S / observed:.0f} a day"
            )
        return threshold_for(self._cal, self._cal_scores, self._rules.per_day)

    def count(self, threshold: float) -> _Counted:
        return _Counted.of(self, count_incidents(self.test, self._scores, threshold))

    def captures(self, attack: bool | None) -> Ids:
        """Groups of captures with attack or with benign test flows, or (None) with any."""
        chosen = np.ones(len(self.test.attack), np.bool_) if attack is None else self.test.attack == attack
        return np.unique(self.watch.groups[self.test.capture[chosen]])


@dataclass(frozen=True, eq=False)
class _Counted:
    """Sums of one seed at one threshold by group of captures (groups,), and its campaigns (campaigns,)."""

    sums: Mapping[str, Floats]
    group: Ids
    seconds: Floats
    flows: Floats

    @classmethod
    def of(cls, seed: _Seed, counts: IncidentCounts) -> _Counted:
        watch = seed.watch
        group = watch.groups[seed.test.campaigns[0]]

        def campaigns(chosen: NDArray[np.bool_]) -> Floats:
            return np.bincount(group, chosen, watch.n_groups).astype(np.float64)

        sums = {name: watch.by_group(getattr(counts, name)) for name in ("alerts", "true", "false", "missed")}
        sums |= {"observed": watch.by_group(seed.test.observed_s), "campaigns": campaigns(counts.found | True)}
        sums |= {"found": campaigns(counts.found), "soon": campaigns(counts.seconds <= SOON_S)}
        return cls(sums, group, counts.seconds, counts.flows)

    def total(self, name: str) -> float:
        return float(self.sums[name].sum())

    def ratio(self, above: Sequence[str], below: Sequence[str], weights: Floats) -> Floats:
        """Of weighted sums; weights (groups, r) → (r,), NaN where there is nothing to divide by."""
        one, other = (sum(self.sums[name] for name in names) @ weights for names in (above, below))
        return np.divide(one, other, out=np.full(weights.shape[1], np.nan), where=other > 0)

    def median(self, values: Floats, weights: Floats) -> Floats:
        """Of the campaigns that have a value, each as often as its capture is drawn; (r,), NaN where none is."""
        known = np.flatnonzero(np.isfinite(values))
        known = known[np.argsort(values[known])]
        if not len(known):
            return np.full(weights.shape[1], np.nan)
        upto = np.cumsum(weights[self.group[known]], axis=0)  # (known, r)
        total = upto[-1]
        middle = [
            values[known][np.minimum((upto <= at).sum(axis=0), len(known) - 1)] for at in ((total - 1) // 2, total // 2)
        ]
        return np.where(total > 0, np.mean(middle, axis=0), np.nan)


ESTIMATES: Mapping[str, Callable[[_Counted, Floats], Floats]] = {
    "found_share": lambda of, weights: of.ratio(("found",), ("campaigns",), weights),
    "found_in_60s": lambda of, weights: of.ratio(("soon",), ("campaigns",), weights),
    "seconds_to_alert": lambda of, weights: of.median(of.seconds, weights),
    "false_per_day": lambda of, weights: DAY_S * of.ratio(("false",), ("observed",), weights),
    "alerts_per_incident": lambda of, weights: of.ratio(("alerts",), ("true", "false"), weights),
}
COUNTS: Mapping[str, Callable[[_Counted], float]] = {
    "campaigns": lambda of: of.total("campaigns"),
    "found": lambda of: of.total("found"),
    "flows_to_alert": lambda of: float(of.median(of.flows, np.ones((len(of.sums["found"]), 1)))[0]),
    "missed_windows": lambda of: of.total("missed"),
    "true_incidents": lambda of: of.total("true"),
    "false_incidents": lambda of: of.total("false"),
    "observed_hours": lambda of: of.total("observed") / HOUR_S,
    "alerts": lambda of: of.total("alerts"),
}
BEHIND = {"false_per_day": False, "alerts_per_incident": None}
"""Of an estimate: whether captures with attacks stand behind it (by default), those with benign flows, or all."""


def _evidence(cell: Cell, name: str, seeds: Sequence[_Seed]) -> IncidentEvidence:
    thresholds = [seed.threshold(name) for seed in seeds]
    known = [threshold for threshold in thresholds if not isinstance(threshold, str)]
    if len(known) < len(seeds):
        reason = next(threshold for threshold in thresholds if isinstance(threshold, str))
        return IncidentEvidence(*cell, len(seeds), name, reason)
    counted = [seed.count(threshold) for seed, threshold in zip(seeds, known, strict=True)]
    shortest = min(float(seed.test.observed_s.sum()) for seed in seeds)
    behind = {kind: min(len(seed.captures(kind)) for seed in seeds) for kind in (True, False, None)}
    draws = _draws(seeds, counted, [number for number in ESTIMATES if behind[BEHIND.get(number, True)] > 1])
    ones = np.ones((seeds[0].watch.n_groups, 1))
    estimates = {}
    for number, of in ESTIMATES.items():
        value = mean_of_all([_or_none(float(of(each, ones)[0])) for each in counted])
        low, high = _percentiles(draws[number]) if number in draws and value is not None else (None, None)
        estimates[number] = Estimate(value, low, high)
    day_reason = ""
    if shortest < HOUR_S:
        day_reason = f"watched for {shortest / 60:.0f} minutes, less than an hour"
        estimates["false_per_day"] = Estimate()
    few = [
        f"its {what} test flows come from one capture"
        for what, kind in (("attack", True), ("benign", False))
        if behind[kind] == 1
    ]
    counts = {what: mean_of_all([_or_none(of(each)) for each in counted]) for what, of in COUNTS.items()}
    return IncidentEvidence(*cell, len(seeds), name, "", counts, estimates, day_reason, "; ".join(few))


def _or_none(value: float) -> float | None:
    return value if np.isfinite(value) else None


def _draws(seeds: Sequence[_Seed], counted: Sequence[_Counted], numbers: Sequence[str]) -> dict[str, Floats]:
    """The numbers in (``RESAMPLES``,) resamples of captures, which all seeds share, and of seeds.

    Captures with and without attacks are drawn apart, as in ``reports.statistics.bootstrap``, whose draw this is; flows
    inside a capture are not, since an incident is not made of flows that could have come in any other number.
    """
    rng = np.random.default_rng(0)
    there = np.unique(np.concatenate([seed.captures(None) for seed in seeds]))
    hostile = np.unique(np.concatenate([seed.captures(True) for seed in seeds]))
    weights = np.zeros((seeds[0].watch.n_groups, RESAMPLES))
    weights[there] = draw_captures(np.isin(there, hostile).astype(np.intp), RESAMPLES, rng)
    of_seed = rng.multinomial(len(seeds), np.full(len(seeds), 1 / len(seeds)), size=RESAMPLES).T / len(seeds)
    found = {}
    for number in numbers:
        of = np.stack([ESTIMATES[number](each, weights) for each in counted])  # (seeds, r)
        # a seed that was not drawn must not spoil the mean with a NaN of its own
        found[number] = np.where(of_seed > 0, of_seed * of, 0.0).sum(axis=0)
    return found


def _percentiles(values: Floats) -> tuple[float | None, float | None]:
    whole = np.isfinite(values)
    if whole.mean() < FEWEST_RESAMPLES:
        return None, None
    low, high = np.quantile(values[whole], (0.025, 0.975))
    return float(low), float(high)


def scored_runs(runs: Sequence[Run]) -> list[Run]:
    """Those that are ok and have a score of their own; what stands against another one's is said."""
    found = []
    for run in runs:
        if run.ok is not None and not run.chosen_with_labels:
            try:
                run.scored()
            except UsageError as error:  # a detector without that score column
                run.results.say(str(error))
                continue
            found.append(run)
    return found
