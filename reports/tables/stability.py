"""The table of what another seed changes: spread of means and cells over seeds.  Standard library only."""

from collections.abc import Sequence
from typing import Any, cast

from reports.tables.ablation import SEPARATOR
from reports.tables.document import SUMMARIES, Board, StabilityRecord
from reports.tables.fields import NONE, flags, metric_name, name_of, number, spread
from reports.tables.model import Table, text_table

TINY = 1e-9  # A standard deviation below this is rounding: there is no ratio to it.


def stability_records(document: Board) -> list[StabilityRecord]:
    """Of every mean and cell of a row: its spread, and half the width of its interval over seeds."""
    from reports.statistics.tests import seed_multiplier

    records: list[StabilityRecord] = []
    for row in document["rows"]:
        n = min((cell["n_seeds"] for cell in row["cells"]), default=0)
        found: list[dict[str, Any]] = [
            {
                "what": name,
                "source": None,
                "target": None,
                "mean": row["summary"][name],
                "std": row["summary_std"][name],
                "n_seeds": n,
            }
            for name in SUMMARIES
        ]
        found += [
            {"what": "cell", **{name: cell[name] for name in ("source", "target", "mean", "std", "n_seeds")}}
            for cell in row["cells"]
        ]
        for of in found:
            factor = seed_multiplier(of["n_seeds"])
            half = None if of["std"] is None or factor is None else factor * of["std"] / of["n_seeds"] ** 0.5
            records.append(cast("StabilityRecord", {"detector": row["detector"], **of, "half_width": half}))
    return records


def _place(record: StabilityRecord) -> str:
    return f"{record['source']} → {record['target']}" if record["what"] == "cell" else record["what"].replace("_", " ")


def _spread_beside(document: Board, records: Sequence[StabilityRecord]) -> list[Table]:
    """Per detector with variants: their standard deviations in points beside each other and, of two, the second's over
    the first's."""
    found: dict[str, dict[str, dict[str, float]]] = {}
    for record in records:
        detector, dot, variant = record["detector"].partition(SEPARATOR)
        if dot and record["std"] is not None:
            found.setdefault(detector, {}).setdefault(_place(record), {})[variant] = 100 * record["std"]
    tables = []
    for detector, by_place in found.items():
        variants = sorted({variant for stds in by_place.values() for variant in stds})
        if len(variants) > 1:
            ratio = [" / ".join(reversed(variants))] if len(variants) == 2 else []
            rows = []
            for where, stds in by_place.items():
                first, second = (stds.get(variant) for variant in variants[:2])
                share_of = (
                    [NONE if first is None or second is None or first < TINY else f"{second / first:.2f}"]
                    if ratio
                    else []
                )
                rows.append(
                    (where, *(f"{stds[variant]:.2f}" if variant in stds else NONE for variant in variants), *share_of)
                )
            title = (
                f"{detector}: standard deviation of {metric_name(document['metric'])} over seeds in "
                f"points{flags(document)}"
            )
            tables.append(text_table(title, ("where", *variants, *ratio), rows))
    return tables


def stability_tables(document: Board, records: Sequence[StabilityRecord]) -> list[Table]:
    names = {row["detector"]: name_of(row) for row in document["rows"]}
    means, cells = [], []
    for record in records:
        half = NONE if record["half_width"] is None else f"±{number(record['half_width'])}"
        row = (
            names[record["detector"]],
            _place(record),
            spread(record["mean"], record["std"]),
            half,
            str(record["n_seeds"]),
        )
        if record["what"] == "cell":
            cells.append(row)
        elif record["mean"] is not None:
            means.append(row)
    title, header = f"{metric_name(document['metric'])} over seeds{flags(document)}", ("mean±std", "95 %", "seeds")
    of_means = [text_table(f"{title}: means", ("detector", "mean", *header), means, left=2)] if means else []
    return [
        *_spread_beside(document, records),
        *of_means,
        text_table(f"{title}: cells", ("detector", "source → target", *header), cells, left=2),
    ]
