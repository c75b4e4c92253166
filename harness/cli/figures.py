"""``janus-bench figure``: from a results folder to a figure in SVG, PDF or PNG.  Nothing is run; every number comes from stored scores."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from harness.cli import console, leaderboard
from janus_bench.errors import DataError, UsageError, unknown
from reports.results.model import Results, ResultTable, Run

if TYPE_CHECKING:
    from reports.figures import Format
    from reports.tables.document import Board, BoardRow

PUBLISHED = "published"


@dataclass(frozen=True)
class Request:
    """What every figure needs: the results folder, the protocol (empty: the last one) and the file, whose suffix is the format."""

    runs: Path
    protocol: str
    file: Path

    def table(self) -> ResultTable:
        return Results.open(self.runs, console.say).select(self.protocol)

    @property
    def form(self) -> Format:
        from reports.figures import FORMATS

        found = next((form for form in FORMATS if self.file.suffix == f".{form}"), None)
        if found is None:
            raise UsageError(f"cannot tell the format of {self.file}: end its name with {', '.join(f'.{form}' for form in FORMATS)}")
        return found

    def write(self, figure: bytes, what: str) -> None:
        try:
            self.file.write_bytes(figure)
        except OSError as error:
            raise UsageError(f"cannot write {self.file} ({error.strerror}): choose another file with -o") from None
        console.say(f"wrote {self.file}: {what}")


def heatmap(request: Request, detector: str, first: str, second: str, metric: str) -> None:
    """The cross matrices of one detector under two aggregators, and their difference; cells are means over seeds."""
    import numpy as np

    from reports.figures import Matrices, cross_heat_maps
    from reports.tables.fields import metric_name

    form = request.form
    table = request.table()
    matrices = []
    for aggregator in (first, second):
        document = leaderboard.document(table, metric, aggregator or None)
        row = _row(document, detector)
        sources, targets = (list(dict.fromkeys(cell[end] for cell in row["cells"])) for end in ("source", "target"))
        matrix = np.full((len(sources), len(targets)), np.nan)
        for cell in row["cells"]:
            if cell["mean"] is not None:
                matrix[sources.index(cell["source"]), targets.index(cell["target"])] = cell["mean"]
        matrices.append(matrix)
    names = tuple(_score_name(aggregator, row) for aggregator in (first, second))
    if not document["higher_is_better"] or any(np.nanmax(matrix, initial=0.0) > 1 for matrix in matrices):
        raise UsageError(f"a heat map shows a metric between 0 and 1 where higher is better, such as auroc; {metric} is not one")
    figure = cross_heat_maps(
        Matrices(matrices[0], matrices[1], (names[0], names[1]), sources, targets, metric_name(document["metric"])), form, _warning(document)
    )
    request.write(figure, f"{detector}, {names[0]} and {names[1]}, seeds {', '.join(map(str, document['seeds']))}")


def roc(request: Request, detectors: Sequence[str], source: str, target: str, aggregator: str, seed: int | None) -> None:
    """ROC curves of several detectors on one source and target, one seed."""
    from reports.figures import roc_curves

    form = request.form
    table = request.table()
    seed = _seed(table, seed)
    curves = {}
    for label in detectors:
        (run,) = _runs(table, label, seed, source, target)
        evidence = run.scored(aggregator).evidence
        curves[label] = (evidence.score, evidence.attack)
    try:
        figure = roc_curves(curves, form, _warning(leaderboard.document(table, "auroc")))
    except ValueError as error:
        raise UsageError(str(error)) from None
    request.write(figure, f"{source} → {target}, seed {seed}")


def density(request: Request, detector: str, aggregator: str, seed: int | None) -> None:
    """Scores of benign and attack flows in every cell of one detector, with the threshold at P99 of calibration flows B; one seed."""
    import numpy as np

    from reports.figures import ScorePanel, score_densities

    form = request.form
    table = request.table()
    seed = _seed(table, seed)
    panels, name = [], aggregator
    for run in _runs(table, detector, seed):
        evidence, name = run.scored(aggregator).evidence, run.aggregator(aggregator)
        groups = {"benign": evidence.score[~evidence.attack], "attack": evidence.score[evidence.attack]}
        panels.append(ScorePanel(*run.pair, groups, float(np.quantile(evidence.cal_b, 0.99, method="higher"))))
    warning = _warning(leaderboard.document(table, "auroc"))
    score = f"{detector}, {name.removeprefix('column:')}"
    request.write(score_densities(panels, score, "τ = P99 of calibration flows B", form, warning), f"{score}, seed {seed}")


def ablation(request: Request, reference: str, detectors: Sequence[str]) -> None:
    """Differences of the summaries to those of ``reference`` (empty: the row that the protocol compares with) in AUROC points, for ``detectors``;
    by default for the other variants of a variant, or all other detectors of the results folder.

    ``published``: the differences printed in the JANUS README, without a results folder.
    """
    from reports.figures import ablation_bars
    from reports.tables.ablation import ablation_deltas, reference_label

    form = request.form
    if reference == PUBLISHED:
        from reports.published.table import load_published

        published: dict[str, dict[str, float | None]] = {}
        for number in load_published():
            if number["kind"] == "ablation":
                published.setdefault(number["variant"], {})[number["target"]] = 100 * number["value"]
        request.write(ablation_bars(published, "full JANUS (published)", form=form), "published differences")
        return
    table = request.table()
    document = leaderboard.document(table, "auroc")
    variants = {row.label: row.declared.variant for row in table.rows}
    reference = reference or reference_label(document, variants) or ""
    if not reference:
        raise UsageError(f"protocol {document['protocol']} names no row to compare with: give one with --reference")
    for label in (reference, *detectors):
        _row(document, label)
    deltas = ablation_deltas(document, reference, detectors, variants)
    if not deltas:
        raise DataError(f"{request.runs} has no detector besides {reference}")
    request.write(ablation_bars(deltas, reference, form=form, note=_warning(document)), f"differences to {reference}")


# -- reading -----------------------------------------------------------------------------------------------------------------------


def _row(document: Board, label: str) -> BoardRow:
    rows = {row["detector"]: row for row in document["rows"]}
    if label not in rows:
        raise unknown("detector", label, rows)
    return rows[label]


def _warning(document: Board) -> str:
    """What also stands in the title of every table."""
    from reports.tables.fields import flags

    return flags(document).removeprefix(" · ")


def _score_name(aggregator: str, row: BoardRow) -> str:
    own = next((cell["aggregator"] for cell in row["cells"] if cell["aggregator"] is not None), "score")
    return (aggregator or own).removeprefix("column:")


def _seed(table: ResultTable, seed: int | None) -> int:
    """The first seed of the plans unless another is asked for."""
    if seed is not None and seed not in table.seeds:
        raise unknown("seed", str(seed), map(str, table.seeds))
    return table.seeds[0] if seed is None else seed


def _runs(table: ResultTable, label: str, seed: int, source: str = "", target: str = "") -> list[Run]:
    """A detector's runs with one seed, by cell in the plan's order; of ``source`` and ``target`` alone, where they are named."""
    row = table.row(label)
    found = [run for pair in row.cells if (run := row.run(pair, seed)) is not None]
    for name, position in ((source, 0), (target, 1)):
        known = {run.pair[position] for run in found}
        if name and name not in known:
            raise unknown("dataset", name, known)
    chosen = [run for run in found if run.pair == (source or run.pair[0], target or run.pair[1])]
    if not chosen:
        raise DataError(f"no cell {source or '*'} → {target or '*'} of {label} with seed {seed} was asked for: choose a protocol that has it")
    return chosen
