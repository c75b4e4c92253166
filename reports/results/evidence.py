"""From stored scores to numbers: aggregate on benign calibration scores, join the labels, compute the metrics.  Nothing is re-trained."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from janus_bench.errors import DataError
from janus_bench.extensions import BEST_FIXED, Metric, TestScores
from janus_bench.plugins import one_line
from janus_bench.records import RunRecord

if TYPE_CHECKING:
    import polars as pl

    from protocols.operations import SourceLikeness
    from reports.results.folder import RunStore

VIEWS = {"": 1, "@2+": 2}
"""Suffix of a metric's name → the fewest packets a test flow must have: every number also exists without the single-packet flows."""

KEYS = ("flow_id", "target", "role")


def cell_scores(scores: pl.DataFrame, truth: pl.DataFrame, spec: Mapping[str, Any], aggregator: str) -> dict[str, TestScores]:
    """One TestScores per view (see ``VIEWS``): the scalar of every test flow with its label, and of the calibration flows B."""
    import polars as pl

    from protocols.aggregators import fit_aggregator
    from protocols.roles import aggregator_role

    columns = tuple(column for column in scores.columns if column not in KEYS)
    roles = {str(role[0]): part for role, part in scores.group_by("role", maintain_order=True)}
    role = aggregator_role(spec["regime"], spec["calibration"], spec["schema_version"])
    scalar = fit_aggregator(aggregator, roles[role].select(columns).to_numpy(), columns)
    test = roles["test"].join(truth, on="flow_id", how="left", maintain_order="left")
    if test["attack"].null_count():
        raise DataError(f"scores of {spec['target']} name flows that its truth file does not have: they come from another version of the dataset")
    value = scalar(test.select(columns).to_numpy())
    cal_b = scalar(roles["cal_b"].select(columns).to_numpy())
    views = {}
    for suffix, packets in VIEWS.items():
        kept = (test.select(pl.col("n_packets") >= packets)).to_series().to_numpy()
        views[suffix] = TestScores(value[kept], test["attack"].to_numpy()[kept], test["family"].to_numpy().astype(np.str_)[kept], cal_b)
    return views


def likeness_of(scores: pl.DataFrame, spec: Mapping[str, Any], aggregator: str) -> SourceLikeness | None:
    """How much a row's scalar tells benign flows of the source from those of the target; ``aggregator`` is the row's.

    None where there are not both, where the scalar is fitted on one of them, and for ``BEST_FIXED``, which has no scalar.  UsageError if the
    columns do not allow the aggregator.
    """
    from protocols.roles import aggregator_role
    from protocols.studies import scalar_likeness

    fitted_on = aggregator_role(spec["regime"], spec["calibration"], spec["schema_version"])
    if aggregator == BEST_FIXED or fitted_on != "cal_a":
        return None
    columns = tuple(column for column in scores.columns if column not in KEYS)
    parts = {role: scores.filter(scores["role"] == role).select(columns).to_numpy() for role in ("cal_a", "source_val", "cal_b")}
    return scalar_likeness(aggregator, columns, parts["cal_a"], parts["source_val"], parts["cal_b"])


def compute_metrics(views: Mapping[str, TestScores], metrics: Mapping[str, Metric], report: Callable[[str], None]) -> dict[str, float | None]:
    """``auroc``, ``auroc@2+``, …; what is not a finite number, or raises (a line to ``report``), is None."""
    values: dict[str, float | None] = {}
    for suffix, evidence in views.items():
        for name, metric in metrics.items():
            try:
                value = metric.compute(evidence)
                values[f"{name}{suffix}"] = float(value) if value is not None and np.isfinite(value) else None
            except Exception as error:  # noqa: BLE001  a plugin's metric must not cost the run its scores
                report(f"metric {name} raised {one_line(error)}; it is left out")
                values[f"{name}{suffix}"] = None
    return values


def metric_of(store: RunStore, record: RunRecord, metric: Metric, suffix: str, aggregator: str, report: Callable[[str], None]) -> float | None:
    """One number of one row: as stored for the run's own aggregator, derived from the scores for any other or for a metric that is new.

    A detector with a single score column has nothing to aggregate and keeps its own.  UsageError if the row's columns do not allow the aggregator.
    """
    name = f"{metric.name}{suffix}"
    if record.status != "ok":
        return None
    chosen = record.aggregator if record.aggregator == "identity" else aggregator
    if chosen == record.aggregator and name in record.metrics:
        return record.metrics[name]
    scores, truth = store.scores(record.key), store.truth(record.spec["target_hash"])

    def value(aggregator: str) -> float | None:
        views = cell_scores(scores, truth, record.spec, aggregator)
        return compute_metrics({suffix: views[suffix]}, {metric.name: metric}, report)[name]

    if chosen != BEST_FIXED:
        return value(chosen)
    # With the labels of the test: an upper bound for any single column, and marked as one wherever it is shown.
    columns = [found for column in scores.columns if column not in KEYS and (found := value(f"column:{column}")) is not None]
    return (max if metric.higher_is_better else min)(columns, default=None)
