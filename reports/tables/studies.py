"""The tables of a study, from ``reports.tables.ablation.ablation_records``.

The form is that of the JANUS project's tables: within, cross mean, cross worst, and what a change to the reference row
costs or gains; scores × backbones; one source × target matrix beside another.  Standard library only.
"""

from collections.abc import Callable, Mapping, Sequence

from reports.tables.ablation import HEADERS, points, study_of, without_variant
from reports.tables.document import SUMMARIES, AblationRecord, Board
from reports.tables.fields import NONE, UPPER_BOUND, flags, in_order, metric_name
from reports.tables.model import Table, text_table

Summaries = Mapping[str, AblationRecord]  # Summary → record of one row.


def ablation_tables(document: Board, records: Sequence[AblationRecord]) -> list[Table]:
    """One table per detector and group, and the matrices of two of its rows beside each other."""
    return [*_sections(document, records), *_beside(document, records)]


def mechanism_tables(document: Board, records: Sequence[AblationRecord]) -> list[Table]:
    """Scores × backbones, then as ``ablation_tables``."""
    return [*_grids(document, records), *_sections(document, records), *_beside(document, records)]


def _detector(record: AblationRecord) -> str:
    """The row's name without its variant's: what the variants of one detector share."""
    return without_variant(record["detector"], record["variant"])


def _by_row(records: Sequence[AblationRecord]) -> dict[str, dict[str, AblationRecord]]:
    """Label → summary → record."""
    found: dict[str, dict[str, AblationRecord]] = {}
    for record in records:
        if record["what"] != "cell":
            found.setdefault(record["detector"], {})[record["what"]] = record
    return found


def _sections(document: Board, records: Sequence[AblationRecord]) -> list[Table]:
    """Summaries in percent, differences in points, likeness index, notes; a column without any number is left out."""
    sections: dict[tuple[str, str], list[tuple[str, ...]]] = {}
    for label, summaries in _by_row(records).items():
        first = summaries["within_mean"]
        means = [_percent(summaries[key]["mean"], summaries[key]["std"]) for key in SUMMARIES]
        deltas = [_signed(points(summaries[key]["delta"])) for key in SUMMARIES]
        line = (_name(first), *means, *deltas, _likeness(label, summaries, records), _note(first, summaries))
        sections.setdefault((_detector(first), first["group"]), []).append(line)
    header = ("variant", *HEADERS.values(), *(f"Δ {name}" for name in HEADERS.values()), "source-likeness", "note")
    tables = []
    for who, lines in sections.items():
        title = f"{', '.join(filter(None, who))}: {metric_name(document['metric'])} in %{flags(document)}"
        tables.append(text_table(title, header, lines, notes=1).without_empty((0, len(header) - 1)))
    return tables


def _name(record: AblationRecord) -> str:
    name = (record["variant"] or record["detector"]).removeprefix(f"{record['group']}: ")
    return f"{name} {UPPER_BOUND}" if record["upper_bound"] else name


def _note(first: AblationRecord, summaries: Summaries) -> str:
    if first["upper_bound"]:
        return "upper bound of single scores, chosen with the labels of the test"
    if first["reference"]:
        return "reference of Δ"
    absent = next((record for record in summaries.values() if record["mean"] is None and record["reason"]), None)
    if absent is None:
        return ""
    if absent["status"] != "ok":
        return f"{absent['status']}: {absent['reason']}"
    column = first["aggregator"].removeprefix("column:")
    return f"no score column {column}" if column != first["aggregator"] else absent["reason"]


def _likeness(label: str, summaries: Summaries, records: Sequence[AblationRecord]) -> str:
    """``0.871 (+9 −3)``: the mean, and in how many cells the target's or the source's flows look the more anomalous."""
    index = summaries["cross_mean"]["likeness"]
    if index is None:
        return NONE
    own = [
        record for record in records if (record["detector"], record["what"]) == (label, "cell") and record["in_means"]
    ]
    areas = [record["likeness_auroc"] for record in own if record["source"] != record["target"]]
    target, source = (sum(area is not None and sign * (area - 0.5) > 0 for area in areas) for sign in (1, -1))
    return f"{index:.3f} (+{target} −{source})"


def _grids(document: Board, records: Sequence[AblationRecord]) -> list[Table]:
    """Per detector: scores in rows, backbones in columns; only rows whose variant is named ``group: score``."""
    found: dict[str, dict[tuple[str, str], str]] = {}
    for summaries in _by_row(records).values():
        cross = summaries["cross_mean"]
        group, colon, score = cross["variant"].partition(": ")
        if colon and group == cross["group"]:
            text = f"{_percent(cross['mean'])} | {_index(cross['likeness'])}"
            found.setdefault(_detector(cross), {})[score, group] = text if cross["mean"] is not None else NONE
    tables = []
    for detector, cells in found.items():
        scores, groups = in_order(score for score, _ in cells), in_order(group for _, group in cells)
        rows = [(score, *(cells.get((score, group), NONE) for group in groups)) for score in scores]
        title = (
            f"{detector}, scores × backbones: cross mean of {metric_name(document['metric'])} in % | "
            f"source-likeness{flags(document)}"
        )
        tables.append(text_table(title, ("score", *groups), rows))
    return tables


def _beside(document: Board, records: Sequence[AblationRecord]) -> list[Table]:
    """Per detector: the metric, then the likeness index, of the protocol's two rows beside each other; nothing where it
    has not both."""
    second, first = study_of(document)
    there = {(_detector(record), record["variant"]): record["detector"] for record in records}
    cells = {
        (record["detector"], record["source"], record["target"]): record
        for record in records
        if record["what"] == "cell"
    }
    names, tables = document["datasets"], []
    for detector in in_order(detector for detector, _ in there):
        labels = [there[detector, variant] for variant in (first, second) if (detector, variant) in there]
        if len(labels) < 2:
            continue

        def matrix(
            what: str,
            text: Callable[[AblationRecord | None], str],
            labels: Sequence[str] = labels,
            detector: str = detector,
        ) -> Table:
            """One source × target matrix, ``first | second`` in each cell."""
            rows = [
                (
                    source,
                    *(" | ".join(text(cells.get((label, source, target))) for label in labels) for target in names),
                )
                for source in names
            ]
            return text_table(
                f"{detector}: {first} | {second}, {what}{flags(document)}", ("source ↓ target →", *names), rows
            )

        tables.append(
            matrix(f"{metric_name(document['metric'])} in %", lambda record: _percent(record and record["mean"]))
        )
        if any(record["likeness"] is not None for record in records if record["detector"] in labels):
            tables.append(matrix("source-likeness", lambda record: _index(record and record["likeness"])))
    return tables


def _percent(value: float | None, std: float | None = None) -> str:
    return NONE if value is None else f"{100 * value:.2f}" if std is None else f"{100 * value:.2f} ± {100 * std:.2f}"


def _signed(difference: float | None) -> str:
    return NONE if difference is None else f"{difference:+.2f}".replace("-", "−").replace("−0.00", "+0.00")


def _index(value: float | None) -> str:
    return NONE if value is None else f"{value:.3f}"
