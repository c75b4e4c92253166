"""Results that are written down in memory: what a reader of them is given in place of a folder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import polars as pl

from janus_bench.extensions import Metric, TestScores
from janus_bench.records import PlanRecord, RunRecord
from reports.results.measures import Measure
from reports.results.model import Results
from reports.tables.document import Board
from reports.tables.leaderboard import build_leaderboard


@dataclass(frozen=True)
class InMemory:
    """Plans and rows without scores: every number is a stored one."""

    planned: Sequence[PlanRecord]
    rows: Mapping[str, RunRecord]
    folder: Path = Path("in memory")

    def plans(self) -> Sequence[PlanRecord]:
        return self.planned

    def records(self) -> Mapping[str, RunRecord]:
        return self.rows

    def scores(self, run_key: str) -> pl.DataFrame:
        raise AssertionError(f"the scores of {run_key} are asked for, though its number is stored")

    def truth(self, data_hash: str) -> pl.DataFrame:
        return pl.DataFrame()  # it names no site

    def timeline(self, data_hash: str) -> None:
        return None


def document(
    plans: Sequence[PlanRecord],
    records: Mapping[str, RunRecord],
    values: Mapping[str, float | None],
    metric: str,
    aggregator: str | None = None,
    *,
    higher_is_better: bool = True,
) -> Board:
    """The leaderboard document of these plans, where ``values`` are the numbers of the runs."""

    def never(_: TestScores) -> float:
        raise AssertionError("every number is stored")

    name, at, view = metric.partition("@")
    measure = Measure(Metric(name, "", never, higher_is_better=higher_is_better), f"{at}{view}", aggregator)
    rows = {
        key: replace(
            record,
            spec={"target_hash": "", **record.spec},
            metrics={metric: values.get(key)},
            aggregator=aggregator or record.aggregator,
        )
        for key, record in records.items()
    }
    return build_leaderboard(Results(InMemory(plans, rows)).table(plans), measure)
