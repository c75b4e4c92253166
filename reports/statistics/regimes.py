"""A detector against every rival in the regime that serves the rival best.  Nothing is run.

Detectors differ in what they do with the target's benign calibration flows, so a detector that is first in one regime
may owe it to the others not having had the same.  Here a rival has one regime for the whole table (transfer, pooled, or
its target-only baseline): the one with the best mean of the shown metric, never one per cell.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import cast

from janus_bench.errors import UsageError
from janus_bench.quiet import ignore
from janus_bench.words import counted
from reports.results.measures import Measure
from reports.results.model import Pair, Progress, ResultTable, Row
from reports.statistics.compare import ComparedRows, Comparison, Paired, compare, named_rows
from reports.statistics.joining import SUMMARIES
from reports.tables.document import SummaryName
from reports.tables.fields import in_order, mean_of_all

REGIMES = ("transfer", "pooled", "control")  # Of equal means the first counts.

FEWEST_NETWORKS = 4
"""With fewer, the interval for other datasets is not shown: a rival's regime was chosen on these very ones."""

Identity = tuple[str, str, str]  # Of a rival: detector, parameters and aggregator, whatever it was fitted on.


@dataclass(frozen=True)
class _Rival:
    """``means``: regime → the mean that it is chosen by, None where the row is incomplete."""

    name: str
    rows: Mapping[str, Row]
    means: Mapping[str, float | None]
    regime: str

    @property
    def row(self) -> Row:
        return self.rows[self.regime]


def compare_in_best_regime(
    table: ResultTable,
    labels: Sequence[str],
    measure: Measure,
    resamples: int | None = None,
    progress: Progress = ignore,
) -> Comparison:
    """The first of ``labels`` against the others (by default: every other detector), as ``compare`` does it.

    Rows that the folder holds under another protocol with the same settings and data (``pooled`` beside ``cross``)
    count, too.  UsageError without a label, for an unknown one or one chosen with labels, and where nobody else is
    there.
    """
    if not labels:
        raise UsageError("--best-regime compares one detector with all others: name it with --detectors")
    first, *others = named_rows(table, labels)
    rows = _by_identity(table)
    wanted = dict.fromkeys([_identity(row) for row in others] or rows)
    own = _identity(first)
    rivals = [_rival(first, each[0], rows[each], table, measure) for each in wanted if each != own]
    if not rivals:
        raise UsageError(f"{first.label} has no rival in {table.results.folder}: run other detectors beside it")
    document = compare([(first, rival.row) for rival in rivals], table, measure, resamples, progress)
    pairs = [_told(pair, first, rival, table, measure) for pair, rival in zip(document["pairs"], rivals, strict=True)]
    summary = _deciding(first, table, measure)[0].replace("_", " ")
    notes = [
        f"each rival is in one regime for the whole table, the one with the best {summary}: chosen with the numbers of "
        "the test, in the rival's favour"
    ]
    reasons = dict.fromkeys(_few(_cells(first, mean["summary"], table, measure)) for mean in pairs[0]["means"])
    notes += filter(None, reasons)
    return {
        **document,
        "regime": f"{first.fitted} against best regime",
        "pairs": pairs,
        "notes": [*notes, *document["notes"]],
    }


def _identity(row: Row) -> Identity:
    declared = row.declared
    return declared.detector or row.label, repr(sorted(declared.params.items())), declared.aggregator


def _by_identity(table: ResultTable) -> dict[Identity, dict[str, Row]]:
    """Every detector's rows by regime; those of the table itself before those of its siblings.  UsageError where a
    table has several of one regime."""
    found: dict[Identity, dict[str, Row]] = {}
    for own in (table, *_siblings(table)):
        seen: dict[tuple[Identity, str], str] = {}
        for row in _regimes_of(own):
            identity = _identity(row)
            before = seen.setdefault((identity, row.fitted), row.label)
            if before != row.label and own is table and row.fitted != "control":
                raise UsageError(
                    f"{before} and {row.label} are variants of one detector in one regime: --best-regime needs a "
                    "protocol without variants, such as cross or pooled"
                )
            found.setdefault(identity, {}).setdefault(row.fitted, row if own is table else _moved(row, table))
    return found


def _regimes_of(table: ResultTable) -> Iterator[Row]:
    for row in table.comparable:
        yield row
        if row.baseline is not None:
            yield row.baseline


def _siblings(table: ResultTable) -> list[ResultTable]:
    """Tables of the folder that differ in their protocol alone."""
    plan = table.plan
    hashes = {name: entry.hash for name, entry in plan.datasets.items()}
    return [
        other
        for other in table.results.tables()
        if other.plan.protocol != plan.protocol
        and hashes == {name: entry.hash for name, entry in other.datasets.items()}
        and all(
            getattr(other.plan, name) == getattr(plan, name)
            for name in ("schema_version", "profile", "split", "calibration")
        )
    ]


def _moved(row: Row, table: ResultTable) -> Row:
    """A sibling's row in this table: the sites that count, and so its numbers, are this one's."""
    cells = {pair: [replace(run, table=table) for run in runs] for pair, runs in row.cells.items()}
    return replace(row, cells=cells, baseline=None)


def _cells(first: Row, summary: str, table: ResultTable, measure: Measure) -> list[Pair]:
    """Those that a mean is over."""
    belongs = SUMMARIES[cast("SummaryName", summary)]
    return [pair for pair in first.cells if belongs(pair) and table.in_means(pair, measure)]


def _deciding(first: Row, table: ResultTable, measure: Measure) -> tuple[str, list[Pair]]:
    """The mean that rows are ranked by, and its cells: cross cells where there are any."""
    for summary in SUMMARIES:
        if pairs := _cells(first, summary, table, measure):
            return summary, pairs
    raise UsageError(f"{measure.name} exists in no cell of {first.label}: see the notes of the leaderboard")


def _rival(first: Row, name: str, rows: Mapping[str, Row], table: ResultTable, measure: Measure) -> _Rival:
    _, pairs = _deciding(first, table, measure)
    means = {regime: _mean(rows[regime], pairs, first.seeds, measure) for regime in REGIMES if regime in rows}
    sign = 1 if measure.metric.higher_is_better else -1
    known = {regime: sign * mean for regime, mean in means.items() if mean is not None}
    return _Rival(name, rows, means, max(known or means, key=lambda regime: known.get(regime, 0.0)))


def _mean(row: Row, pairs: Sequence[Pair], seeds: set[int], measure: Measure) -> float | None:
    """Over the cells, under the seeds that both have; None unless each is there."""
    shared = sorted(seeds & row.seeds)
    return mean_of_all([_number(row, pair, seed, measure) for pair in pairs for seed in shared])


def _number(row: Row, pair: Pair, seed: int, measure: Measure) -> float | None:
    run = row.run(pair, seed)
    return None if run is None else run.number(measure)


def _told(pair: ComparedRows, first: Row, rival: _Rival, table: ResultTable, measure: Measure) -> ComparedRows:
    """With the regime, what the others would have been, and the differences by target and seed; on few networks without
    the interval for others."""
    for mean in pair["means"]:
        if few := _few(_cells(first, mean["summary"], table, measure)):
            mean.update({"low": None, "high": None, "p": None, "p_holm": None, "reason": mean["reason_these"] or few})
    paired = list(_paired(first, rival.row, pair["seeds"], table, measure))
    return {**pair, "rival": rival.name, "regime": rival.regime, "regimes": rival.means, "paired": paired}


def _paired(first: Row, second: Row, seeds: Sequence[int], table: ResultTable, measure: Measure) -> Iterator[Paired]:
    """Of the deciding mean: means over sources, where both rows have every number."""
    _, pairs = _deciding(first, table, measure)
    for target in in_order(target for _, target in pairs):
        own = [pair for pair in pairs if pair[1] == target]
        for seed in seeds:
            ours, theirs = ([_number(row, pair, seed, measure) for pair in own] for row in (first, second))
            one, other = mean_of_all(ours), mean_of_all(theirs)
            if one is not None and other is not None:
                yield {"target": target, "seed": seed, "first": one, "second": other, "difference": one - other}


def _few(cells: Sequence[Pair]) -> str:
    """Why a mean over these cells has no interval for other datasets; empty if it may have one."""
    networks = len({target for _, target in cells})
    if networks >= FEWEST_NETWORKS:
        return ""
    return (
        f"{counted(networks, 'network')}: the interval is for these datasets alone; one for other datasets needs "
        f"{FEWEST_NETWORKS} where regimes are chosen"
    )
