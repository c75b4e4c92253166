"""Results for a notebook: ``janus_bench.open_results("runs")``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from reports.results.model import Results, measure_of
from reports.tables.document import Board
from reports.tables.leaderboard import build_leaderboard

if TYPE_CHECKING:
    import polars as pl


class OpenResults(Results):
    """A results folder.  ``select(protocol)`` gives a table: its ``rows``, their ``cells``, and of each run ``number``,
    ``scored`` and ``record``."""

    def leaderboard(self, metric: str = "auroc", aggregator: str | None = None, protocol: str = "") -> Board:
        """The document that ``leaderboard --format json`` prints, without intervals; by default of the protocol that
        was asked for last."""
        return build_leaderboard(self.select(protocol), measure_of(metric, aggregator))

    def scores_of(self, detector: str, source: str, target: str, seed: int, protocol: str = "") -> pl.DataFrame:
        """The stored scores of one run on flows of its target: flow_id, target, role, a column per score, attack,
        family, source (the flow's original capture), n_packets.  Validation flows of the source are left out: their ids
        are another dataset's.

        UsageError for an unknown detector or a cell that was not asked for; DataError unless the run is ok.
        """
        run = self.select(protocol).row(detector).asked((source, target), seed)
        record = run.done()
        scores, truth = self.scores(record.key), self.truth(record.spec["target_hash"])
        return scores.filter(scores["role"] != "source_val").join(
            truth, on="flow_id", how="left", maintain_order="left"
        )


def open_results(folder: str | Path) -> OpenResults:
    """DataError if there are no results."""
    return OpenResults.open(folder)
