"""Facts of a whole results folder, read from plans, rows and truths: what a checklist is judged by."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from janus_bench.errors import DataError
from reports.tables.evidence import FolderFacts

if TYPE_CHECKING:
    from janus_bench.contract import Capabilities
    from reports.results.model import Results, ResultTable

SIMPLE = "classical"  # The group of detectors that every other one should be held against.


def folder_facts(table: ResultTable, declared: Mapping[str, Capabilities]) -> FolderFacts:
    """``declared``: registered name → what the detector says of itself, of those that are installed."""
    ok = {run.key: run.ok for run in table.runs if run.ok is not None}.values()
    attacked = [record for record in ok if record.spec["target"] not in table.plan.outside_means]
    cal_b = [count for record in ok if (count := record.counts.get("n_cal_b")) is not None]
    names = {row.label: row.declared.name for row in table.rows}
    specs = [record.spec for record in ok]
    return FolderFacts(
        protocols=tuple(dict.fromkeys(each.plan.protocol for each in table.results.tables())),
        simple=tuple(label for label, name in names.items() if name in declared and SIMPLE in declared[name].groups),
        unknown=tuple(label for label, name in names.items() if name not in declared),
        low_fpr=(sum(record.metrics.get("tpr_at_fpr_1pct") is not None for record in attacked), len(attacked)),
        fewest_cal_b=min(cal_b, default=None),
        with_hardware=(
            sum("processor" in record.environment and record.cost.get("score_s") is not None for record in ok),
            len(ok),
        ),
        captures={
            name: found
            for name, entry in table.datasets.items()
            if (found := _captures(table.results, entry.hash)) is not None
        },
        contaminations=tuple(sorted({share for spec in specs if (share := spec.get("contamination"))})),
        train_sizes=len({spec.get("train_size") for spec in specs}),
    )


def _captures(results: Results, data_hash: str) -> tuple[int, int, int] | None:
    """With benign flows, with attacks, and in all (one may hold both), a class that there is none of left at 0; None
    where nothing is known."""
    try:
        truth = results.truth(data_hash)
    except DataError:
        return None
    if "source" not in truth.columns:
        return None
    benign, attack = (truth.filter(truth["attack"] == kind)["source"].n_unique() for kind in (False, True))
    return benign, attack, truth["source"].n_unique()
