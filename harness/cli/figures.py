"""``janus-bench figure``: from a results folder to a figure in SVG, PDF or PNG.  Nothing is run; every number comes
from stored scores."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from harness.cli import completing, console
from harness.cli.leaderboard import document, read
from harness.cli.options import DEFAULT_RUNS, MetricName, ProtocolName, Runs
from harness.cli.progress import PreparationProgress
from janus_bench.errors import DataError, UsageError, unknown
from janus_bench.params import split_requests
from janus_bench.words import counted

if TYPE_CHECKING:
    from reports.figures import Format
    from reports.results.model import ResultTable, Run
    from reports.tables.document import Board, BoardRow

PUBLISHED = "published"


File = Annotated[Path, typer.Option("-o", "--output", help="File; its suffix is the format: .svg, .pdf or .png.")]
Seed = Annotated[int | None, typer.Option("--seed", help="Default: the first seed of the results.")]
Scalar = Annotated[
    str,
    typer.Option(
        "--aggregator", autocompletion=completing.aggregator, help="Make the scalar another way: oas, column:NAME."
    ),
]
DetectorName = Annotated[
    str, typer.Option("--detector", autocompletion=completing.detector, help="As the leaderboard names it.")
]

Detectors = Annotated[
    str,
    typer.Option(
        "--detectors", autocompletion=completing.detectors, help="Comma-separated, as the leaderboard names them."
    ),
]
Source = Annotated[str, typer.Option("--source", autocompletion=completing.dataset, help="Dataset that was fitted on.")]
Target = Annotated[str, typer.Option("--target", autocompletion=completing.dataset, help="Dataset that was scored.")]


def heatmap(
    file: File,
    detector: DetectorName,
    first: Annotated[
        str, typer.Option(help="Aggregator of a left matrix, such as column:NAME; default: one matrix alone.")
    ] = "",
    second: Annotated[str, typer.Option(help="Aggregator of the right matrix; default: the detector's own.")] = "",
    metric: MetricName = "auroc",
    protocol: ProtocolName = "",
    runs: Runs = DEFAULT_RUNS,
) -> None:
    """The source × target matrix of a detector; with --first, of two score choices and their difference in colour."""
    import numpy as np

    from reports.figures import Matrices, cross_heat_map, cross_heat_maps
    from reports.tables.fields import metric_name

    form = _format(file)
    table = read(runs, protocol)
    matrices, names = [], []
    if first and first == second:
        raise UsageError(f"--first and --second are both {first}: choose two scores that differ")
    for aggregator in (first, second) if first else (second,):
        _check_score(table, detector, metric, aggregator)
        board = document(table, metric, aggregator or None)
        row = _row(board, detector)
        sources, targets = (list(dict.fromkeys(cell[end] for cell in row["cells"])) for end in ("source", "target"))
        if all(cell["mean"] is None for cell in row["cells"]):
            raise UsageError(f"{detector} has no number of {metric} ({_statuses(row)}): there is no matrix to draw")
        means = {(cell["source"], cell["target"]): cell["mean"] for cell in row["cells"]}
        matrices.append(
            np.array([[means.get((source, target)) for target in targets] for source in sources], dtype=np.float64)
        )
        names.append(_score_name(aggregator, row))
    if not board["higher_is_better"] or any(np.nanmax(matrix, initial=0.0) > 1 for matrix in matrices):
        raise UsageError(
            f"a heat map shows a metric between 0 and 1 where higher is better, such as auroc; {metric} is not one"
        )
    if len(names) > 1 and names[0] == names[1]:
        raise UsageError(f"{names[0]} is how {detector} is scored anyway: choose another score with --second")
    chosen = bool(first or second)
    shown = Matrices(
        matrices[0],
        matrices[-1],
        console.cleaned((names[0], names[-1]) if chosen else ("", "")),
        console.cleaned(sources),
        console.cleaned(targets),
        metric_name(board["metric"]),
        area="auroc" in board["metric"],
        heading=console.visible(detector),
    )
    figure = (cross_heat_map if len(matrices) == 1 else cross_heat_maps)(shown, form, _warning(board))
    console.save(file, figure, f": {detector}, {' and '.join(names)}, seeds {', '.join(map(str, board['seeds']))}")


def _check_score(table: ResultTable, detector: str, metric: str, aggregator: str) -> None:
    """UsageError where a detector lacks the score, or has a single one, which no aggregator changes: its matrix would
    be drawn twice under two titles."""
    from reports.results.measures import measure_of

    runs = [run for run in table.row(detector).runs if run.ok is not None]
    if not aggregator or not runs:
        return
    if all(run.single_score for run in runs):
        raise UsageError(
            f"{detector} has one score, of which {aggregator} makes nothing else: leave out --first and --second"
        )
    reasons = [run.found(measure_of(metric, aggregator)).reason for run in runs]
    if all(reasons):
        raise UsageError(f"{detector}: {reasons[0]}")


def _check_aggregator(run: Run, name: str) -> None:
    """UsageError where there is no such aggregator, or a run has no such column; a single score is drawn as it is."""
    from protocols.aggregators import COLUMN, check_aggregator
    from reports.results.evidence import score_columns

    if not name:
        return
    check_aggregator(name)
    columns = score_columns(run.results.scores(run.key))
    if name.startswith(COLUMN) and name.removeprefix(COLUMN) not in columns:
        raise UsageError(f"{run.label} has no score {name.removeprefix(COLUMN)!r}; it has {', '.join(columns)}")


def forest(file: File, metric: MetricName = "auroc", protocol: ProtocolName = "", runs: Runs = DEFAULT_RUNS) -> None:
    """Every row's mean with both 95 % intervals, and its gain over the target-only control as a bar from zero."""
    from harness.cli.leaderboard import with_intervals
    from reports.figures import forest_plot
    from reports.results.measures import measure_of
    from reports.tables.fields import metric_name
    from reports.tables.forest import forest_rows
    from reports.tables.intervals import ranking_summary

    form = _format(file)
    board = console.cleaned(with_intervals(read(runs, protocol), measure_of(metric), True, "leaderboard"))
    rows = forest_rows(board)
    if not rows:
        raise DataError(f"{runs} has no row with every cell: there is no mean to draw")
    axis = f"{ranking_summary(board).replace('_', ' ')} of {metric_name(board['metric'])}"
    console.save(file, forest_plot(rows, axis, form, _warning(board)), f": {counted(len(rows), 'row')}")


def roc(
    file: File,
    detectors: Detectors,
    source: Source,
    target: Target,
    aggregator: Scalar = "",
    seed: Seed = None,
    protocol: ProtocolName = "",
    runs: Runs = DEFAULT_RUNS,
) -> None:
    """ROC curves of one cell, with the low-FPR region enlarged."""
    from reports.figures import roc_curves

    form = _format(file)
    table = read(runs, protocol)
    seed = _seed(table, seed)
    curves, of = {}, f"{source} → {target}, seed {seed}"
    for label in split_requests(detectors):
        (run,) = _runs(table, label, seed, source, target)
        _check_aggregator(run, aggregator)
        evidence = run.scored(aggregator).evidence
        curves[console.visible(label)] = (evidence.score, evidence.attack)
    try:
        figure = roc_curves(curves, form, _warning(document(table, "auroc")), console.visible(of))
    except ValueError as error:
        raise UsageError(str(error)) from None
    console.save(file, figure, f": {of}")


def density(
    file: File,
    detector: DetectorName,
    aggregator: Scalar = "",
    seed: Seed = None,
    protocol: ProtocolName = "",
    runs: Runs = DEFAULT_RUNS,
) -> None:
    """Densities of the scores of benign and attack flows, per source and target."""
    import numpy as np

    from reports.figures import ScorePanel, score_densities

    form = _format(file)
    table = read(runs, protocol)
    seed = _seed(table, seed)
    panels, name = [], aggregator
    for run in _runs(table, detector, seed):
        _check_aggregator(run, aggregator)
        evidence, name = run.scored(aggregator).evidence, run.aggregator(aggregator)
        groups = {"benign": evidence.score[~evidence.attack], "attack": evidence.score[evidence.attack]}
        source, target = map(console.visible, run.pair)
        panels.append(ScorePanel(source, target, groups, float(np.quantile(evidence.cal_b, 0.99, method="higher"))))
    warning = _warning(document(table, "auroc"))
    score = console.visible(f"{detector}, {name.removeprefix('column:')}")
    figure = score_densities(panels, score, "τ = P99 of calibration flows B", form, warning, f"seed {seed}")
    console.save(file, figure, f": {score}, seed {seed}")


def ablation(
    file: File,
    reference: Annotated[
        str,
        typer.Option(
            help=(
                "Row that the others are compared with, default: the protocol's; or `published` for the "
                "literature's deltas."
            )
        ),
    ] = "",
    detectors: Annotated[
        str, typer.Option(autocompletion=completing.detectors, help="Comma-separated; default: all others.")
    ] = "",
    protocol: ProtocolName = "",
    runs: Runs = DEFAULT_RUNS,
) -> None:
    """Bars of the differences from a reference: within, cross mean, cross worst."""
    from reports.figures import ablation_bars
    from reports.tables.ablation import ablation_deltas, reference_label

    names, form = split_requests(detectors), _format(file)
    if reference == PUBLISHED:
        from reports.published.table import load_published

        published: dict[str, dict[str, float | None]] = {}
        for number in load_published():
            if number["kind"] == "ablation":
                published.setdefault(number["variant"], {})[number["target"]] = 100 * number["value"]
        console.save(file, ablation_bars(published, "full JANUS (published)", form=form), ": published differences")
        return
    table = read(runs, protocol)
    board = document(table, "auroc")
    variants = {row.label: row.declared.variant for row in table.rows}
    reference = reference or reference_label(board, variants) or ""
    if not reference:
        raise UsageError(f"protocol {board['protocol']} names no row to compare with: give one with --reference")
    for label in (reference, *names):
        _row(board, label)
    deltas = ablation_deltas(board, reference, names, variants)
    if not deltas:
        raise DataError(f"{runs} has no detector besides {reference}")
    figure = ablation_bars(console.cleaned(deltas), console.visible(reference), form=form, note=_warning(board))
    console.save(file, figure, f": differences to {reference}")


def incidents(
    file: File,
    detectors: Detectors,
    source: Source,
    target: Target,
    protocol: ProtocolName = "",
    runs: Runs = DEFAULT_RUNS,
) -> None:
    """Campaigns found against false incidents a day, at every threshold."""
    from harness.cli.choosing import narrowed
    from protocols.incidents import INCIDENTS_PER_DAY, WINDOW_S
    from reports.figures import IncidentPoint, incident_plot
    from reports.render.html.collect import incident_evidence
    from reports.statistics.incidents import IncidentRules
    from reports.tables.forest import range_of
    from reports.tables.incidents import incident_records

    form = _format(file)
    table = narrowed(read(runs, protocol), f"{source},{target}", detectors)
    board, rules = document(table, "auroc"), IncidentRules(WINDOW_S, INCIDENTS_PER_DAY)
    with PreparationProgress() as progress:
        records = incident_records(board, incident_evidence(table, rules, progress), rules.window_s)
    points: dict[str, list[IncidentPoint]] = {}
    reasons = [f"nothing was run on {source} and tested on {target}"]
    for at in records:
        share, false = at["found_share"], at["false_per_day"]
        if (at["source"], at["target"]) != (source, target):
            continue
        if share is None or false is None:
            reasons.append(at["reason"] or at["day_reason"] or "there are no attacks")
            continue
        of = range_of(at["found_share_low"], at["found_share_high"])
        beside = range_of(at["false_per_day_low"], at["false_per_day_high"])
        points.setdefault(console.visible(at["detector"]), []).append(
            IncidentPoint(at["threshold"], share, false, of, beside)
        )
    if not points:
        raise DataError(f"no incidents of {source} → {target} can be drawn: {reasons[-1]}")
    seeds = f"seed{'s' if len(board['seeds']) > 1 else ''} {', '.join(map(str, board['seeds']))}"
    of_cell = f"{source} → {target}, {seeds}"
    try:
        figure = incident_plot(points, form, _warning(board), console.visible(of_cell))
    except ValueError as error:
        raise UsageError(str(error)) from None
    console.save(file, figure, f": {of_cell}")


def drift(
    file: File,
    detectors: Annotated[str, typer.Option(help="Comma-separated, as the leaderboard names them; default: all.")] = "",
    threshold: Annotated[Literal["P95", "P99"], typer.Option(help="Percentile of the calibration scores.")] = "P99",
    protocol: ProtocolName = "drift",
    runs: Runs = DEFAULT_RUNS,
) -> None:
    """False-positive rates day by day, calibrated once and recalibrated every day."""
    from reports.figures import DayCurve, day_curves
    from reports.figures.drift import MOST_LINES
    from reports.render.html.collect import day_evidence
    from reports.statistics.drift import PERCENTILES
    from reports.tables.drift import cell_of
    from reports.tables.fields import grouped

    form = _format(file)
    table = read(runs, protocol)
    board = document(table, "auroc")
    names = split_requests(detectors) or [row["detector"] for row in board["rows"]]
    for label in names:
        _row(board, label)
    if len(names) > MOST_LINES:  # before days are read, which takes a while
        raise UsageError(
            f"a figure of days shows 1 to {MOST_LINES} detectors, not {len(names)}: name them with --detectors"
        )
    days = [day for day in day_evidence(table) if day.threshold == threshold and day.detector in names]
    panels = {}
    for where, own in grouped((cell_of(day.source, day.target), day) for day in days).items():
        dates = sorted({day.day for day in own})
        curves = {}
        for label, of in grouped((day.detector, day) for day in own).items():
            at = {day.day: day for day in of}
            rates = [at[date].fpr for date in dates], [at[date].recalibrated for date in dates]
            curves[console.visible(label)] = DayCurve(*rates)
        panels[console.visible(where)] = dates, curves
    if all(day.fpr is None for day in days):
        raise DataError(
            f"{runs} has no day with a rate at {threshold}: {days[0].reason if days else 'nothing was run'}"
        )
    try:
        figure = day_curves(panels, 1 / PERCENTILES[threshold], form, _warning(board))
    except ValueError as error:
        raise UsageError(str(error)) from None
    console.save(file, figure, f": false-positive rates by day, {threshold}")


def _format(file: Path) -> Format:
    from reports.figures import FORMATS

    found = next((form for form in FORMATS if file.suffix == f".{form}"), None)
    if found is None:
        raise UsageError(
            f"cannot tell the format of {file}: end its name with {', '.join(f'.{form}' for form in FORMATS)}"
        )
    return found


def _row(document: Board, label: str) -> BoardRow:
    rows = {row["detector"]: row for row in document["rows"]}
    if label not in rows:
        raise unknown("detector", label, rows)
    return rows[label]


def _warning(document: Board) -> str:
    """What also stands in the title of every table."""
    from reports.tables.fields import flags

    return flags(document).removeprefix(" · ")


def _statuses(row: BoardRow) -> str:
    """How its cells ended, each way once."""
    ended = dict.fromkeys((cell["status"], cell["reason"]) for cell in row["cells"])
    return "; ".join(f"{status}: {reason}" if reason else status for status, reason in ended)


def _score_name(aggregator: str, row: BoardRow) -> str:
    own = next((cell["aggregator"] for cell in row["cells"] if cell["aggregator"] is not None), "score")
    return (aggregator or own).removeprefix("column:")


def _seed(table: ResultTable, seed: int | None) -> int:
    """The first seed of the plans unless another is asked for."""
    if seed is not None and seed not in table.seeds:
        raise unknown("seed", str(seed), map(str, table.seeds))
    return table.seeds[0] if seed is None else seed


def _runs(table: ResultTable, label: str, seed: int, source: str = "", target: str = "") -> list[Run]:
    """A detector's runs with one seed, by cell in the plan's order; of ``source`` and ``target`` alone, where they are
    named."""
    row = table.row(label)
    found = [run for pair in row.cells if (run := row.run(pair, seed)) is not None]
    for name, position in ((source, 0), (target, 1)):
        known = {run.pair[position] for run in found}
        if name and name not in known:
            raise unknown("dataset", name, known)
    chosen = [run for run in found if run.pair == (source or run.pair[0], target or run.pair[1])]
    if not chosen:
        raise DataError(
            f"no cell {source or '*'} → {target or '*'} of {label} with seed {seed} was asked for: choose a "
            "protocol that has it"
        )
    return chosen
