"""Results for a notebook: ``janus_bench.open_results("runs")``.  Tables are polars frames, or show themselves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from janus_bench.errors import UsageError
from reports.results.measures import measure_of
from reports.results.model import Results
from reports.statistics.compare import Comparison, compare, rows_with_baselines, rows_within
from reports.tables.boards import leaderboard_table
from reports.tables.document import Board
from reports.tables.fields import subtitle, title
from reports.tables.leaderboard import build_leaderboard

if TYPE_CHECKING:
    import polars as pl

WIDTH = 140  # Columns of a table that is printed.


class Leaderboard:
    """A leaderboard: it shows itself in a notebook and when it is printed.

    document  what ``leaderboard --format json`` prints
    """

    def __init__(self, document: Board) -> None:
        self.document = document

    @property
    def rows(self) -> pl.DataFrame:
        """Best first, a line per detector: its label, rank, settings and means; of a mean with intervals their bounds
        and tie group too."""
        lines = []
        for row in self.document["rows"]:
            line: dict[str, Any] = {
                name: row[name]  # type: ignore[literal-required]
                for name in ("detector", "name", "rank", "provenance", "aggregator", "upper_bound", "uses_labels")
            }
            line |= {str(name): value for name, value in row["summary"].items()}
            line |= {f"control_{name}": value for name, value in row["control_summary"].items()}
            for name, interval in row["intervals"].items():
                line |= {f"{name}_{part}": value for part, value in interval.items() if not part.startswith("reason")}
            lines.append(line | row["cost"])
        return _frame(lines)

    @property
    def cells(self) -> pl.DataFrame:
        """A line per detector, source and target: mean and spread over seeds, the target-only baseline beside it,
        status, and how many flows stand behind it."""
        return _frame(
            [
                {"detector": row["detector"], **{name: value for name, value in cell.items() if name != "params"}}
                for row in self.document["rows"]
                for cell in row["cells"]
            ]
        )

    def _repr_html_(self) -> str:
        from reports.render.notebook import html_table

        return html_table(leaderboard_table(self.document), f"{title(self.document)} · {subtitle(self.document)}")

    def __repr__(self) -> str:
        from reports.render.layout import printed
        from reports.render.listing import fitted_table

        tables = [fitted_table(leaderboard_table(self.document), WIDTH)]
        return f"{title(self.document)}\n{subtitle(self.document)}\n\n{printed(tables, WIDTH, False)}"


class Compared:
    """Rows compared on the flows that they share; it shows its means.

    document  what ``compare --format json`` prints;  notes: how it is to be read
    """

    def __init__(self, document: Comparison) -> None:
        self.document = document
        self.notes = document["notes"]

    @property
    def means(self) -> pl.DataFrame:
        """A line per pair of rows and mean: difference first − second, its intervals and p-values."""
        return self._of("means")

    @property
    def cells(self) -> pl.DataFrame:
        """A line per pair of rows, source and target."""
        return self._of("cells")

    def _of(self, part: str) -> pl.DataFrame:
        lines = []
        for pair in self.document["pairs"]:
            of_pair: Mapping[str, Any] = pair
            lines += [{"A": pair["first"], "B": pair["second"], **line} for line in of_pair[part]]
        return _frame(lines)

    def _repr_html_(self) -> str:
        return self.means._repr_html_()

    def __repr__(self) -> str:
        return "\n".join([repr(self.means), *self.notes])


class OpenResults:
    """A results folder.

    results   the reading model: ``select(protocol)`` gives a table, its ``rows``, their ``cells``, and of each run
              ``number``, ``scored`` and ``record``
    protocol  whose table is read, by default the one that was asked for last
    """

    def __init__(self, results: Results, protocol: str = "") -> None:
        self.results, self.protocol = results, protocol

    @property
    def runs(self) -> pl.DataFrame:
        """A line per run that was asked for: key, detector, regime, source, target, seed, status, reason, fit (the name
        of its log), and every metric that is stored."""
        lines = []
        for run in self.results.select(self.protocol).runs:
            record = run.record
            about = {"key": run.key, "detector": run.label, "regime": run.regime}
            lines.append(
                {
                    **about,
                    "source": run.pair[0],
                    "target": run.pair[1],
                    "seed": run.seed,
                    "status": run.status,
                    "reason": run.reason,
                    "fit": record.fit_key if record else None,
                    **(record.metrics if record else {}),
                }
            )
        return _frame(lines)

    @property
    def rows(self) -> pl.DataFrame:
        """Those of ``leaderboard()``."""
        return self.leaderboard().rows

    @property
    def cells(self) -> pl.DataFrame:
        """Those of ``leaderboard()``."""
        return self.leaderboard().cells

    def leaderboard(self, metric: str = "auroc", aggregator: str | None = None, intervals: bool = False) -> Leaderboard:
        """``intervals`` takes a while for a new table, and is kept in the folder."""
        table, measure = self.results.select(self.protocol), measure_of(metric, aggregator)
        if not intervals:
            return Leaderboard(build_leaderboard(table, measure))
        from reports.statistics.intervals import kept_statistics

        if aggregator:
            raise UsageError("intervals are those of every row's own aggregator: leave one of the two out")
        return Leaderboard(build_leaderboard(table, measure, kept_statistics(table, measure)))

    def compare(self, *detectors: str, metric: str = "auroc", control: bool = False) -> Compared:
        """Every pair of the named rows on the flows that they share; with ``control`` each against its own target-only
        baseline."""
        table = self.results.select(self.protocol)
        pairs = (rows_with_baselines if control else rows_within)(table, detectors)
        return Compared(compare(pairs, table, measure_of(metric)))

    def scores(self, detector: str, source: str, target: str, seed: int) -> pl.DataFrame:
        """The stored scores of one run on flows of its target: flow_id, target, role, a column per score, attack,
        family, source (the flow's original capture), n_packets.  Validation flows of the source are left out: their ids
        are another dataset's.

        UsageError for an unknown detector or a cell that was not asked for; DataError unless the run is ok.
        """
        run = self.results.select(self.protocol).row(detector).asked((source, target), seed)
        record = run.done()
        scores, truth = self.results.scores(record.key), self.results.truth(record.spec["target_hash"])
        return scores.filter(scores["role"] != "source_val").join(
            truth, on="flow_id", how="left", maintain_order="left"
        )

    def __repr__(self) -> str:
        return repr(self.results)


def open_results(folder: str | Path, protocol: str = "") -> OpenResults:
    """DataError if there are no results."""
    return OpenResults(Results.open(folder), protocol)


def _frame(lines: Sequence[Mapping[str, Any]]) -> pl.DataFrame:
    """A column per name that any line has; what a line lacks is null."""
    import polars as pl

    names = dict.fromkeys(name for line in lines for name in line)
    return pl.DataFrame({name: [line.get(name) for line in lines] for name in names}, strict=False)
