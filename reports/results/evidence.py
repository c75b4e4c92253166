"""From stored scores to numbers: aggregate on benign calibration scores, join the labels, compute the metrics.  Nothing
is re-trained."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from janus_bench.errors import DataError
from janus_bench.extensions import BEST_FIXED, Metric, TestScores
from janus_bench.plugins import one_line
from reports.results.sites import TargetSites, view_of

if TYPE_CHECKING:
    import polars as pl

    from protocols.operations import SourceLikeness

VIEWS = {"": 1, "@2+": 2}
"""Suffix of a metric's name → the fewest packets a test flow must have: every number also exists without the
single-packet flows."""

KEYS = ("flow_id", "target", "role")

NO_TIMELINE = (
    "when its flows were there was not stored: of captures the same `run` again adds it, and fits nothing; of a "
    "table it is not known"
)


@dataclass(frozen=True, eq=False)
class ScoredFlows:
    """The test flows of one run under one aggregator, ascending by ``flow`` (n,), with the packets (n,), the captures
    (n,) and the sites (n,) of each.

    capture  the group of captures that hold the same flows, named by the first; in truths of schema version 1 the
             original capture alone
    site     empty where none is named, as in truths of schema version 1
    """

    flow: NDArray[np.int64]
    packets: NDArray[np.int64]
    capture: pl.Series
    site: pl.Series
    evidence: TestScores

    def view(self, suffix: str) -> ScoredFlows:
        """Only the flows of a view (``VIEWS``, or one site's); thresholds are set by all calibration flows."""
        return self.views((suffix,))

    def views(self, suffixes: Sequence[str]) -> ScoredFlows:
        """The flows of several views."""
        kept = np.any([self._members(suffix) for suffix in suffixes], axis=0)
        return ScoredFlows(
            self.flow[kept],
            self.packets[kept],
            self.capture.filter(kept),
            self.site.filter(kept),
            only(self.evidence, kept),
        )

    def _members(self, suffix: str) -> NDArray[np.bool_]:
        of_site = suffix.startswith(view_of(""))
        return (self.site == suffix.removeprefix(view_of(""))).to_numpy() if of_site else self.packets >= VIEWS[suffix]

    def sizes(self) -> dict[str, dict[str, int]]:
        """Benign and attack flows of every site (``reports.results.sites.Sizes``)."""
        attack = self.evidence.attack
        members = {name: (self.site == name).to_numpy() for name in sorted(self.site.unique())}
        return {
            name: {"benign": int(np.count_nonzero(own & ~attack)), "attack": int(np.count_nonzero(own & attack))}
            for name, own in members.items()
        }


def only(evidence: TestScores, kept: NDArray[Any]) -> TestScores:
    """The test flows at ``kept`` (a mask, or places), with all calibration flows."""
    return TestScores(evidence.score[kept], evidence.attack[kept], evidence.family[kept], evidence.cal_b)


def score_columns(scores: pl.DataFrame) -> tuple[str, ...]:
    return tuple(column for column in scores.columns if column not in KEYS)


def scored_flows(scores: pl.DataFrame, truth: pl.DataFrame, spec: Mapping[str, Any], aggregator: str) -> ScoredFlows:
    """Every test flow with the scalar that ``aggregator`` makes of its scores, and its truth.

    spec: of the run (``janus_bench.records.RunSpec``).  UsageError if the columns do not allow the aggregator,
    DataError if the truth lacks a flow.
    """
    from protocols.aggregators import fit_aggregator
    from protocols.roles import aggregator_role

    columns = score_columns(scores)
    roles = {str(role[0]): part for role, part in scores.group_by("role", maintain_order=True)}
    calibration = roles[aggregator_role(spec["regime"], spec["calibration"], spec.get("schema_version", 1))]
    scalar = fit_aggregator(aggregator, calibration.select(columns).to_numpy(), columns)
    test = roles["test"].sort("flow_id").join(truth, on="flow_id", how="left", maintain_order="left")
    if test["attack"].null_count():
        raise DataError(
            f"scores of {spec['target']} name flows that its truth file does not have: they come from another "
            "version of the dataset"
        )
    captures = test["group" if "group" in test.columns else "source"]
    value, cal_b = (scalar(part.select(columns).to_numpy()) for part in (test, roles["cal_b"]))
    evidence = TestScores(value, test["attack"].to_numpy(), test["family"].to_numpy().astype(np.str_), cal_b)
    sites = test["site"] if "site" in test.columns else captures.clear().extend_constant("", len(test))
    return ScoredFlows(test["flow_id"].to_numpy(), test["n_packets"].to_numpy(), captures, sites, evidence)


def cell_scores(
    scores: pl.DataFrame, truth: pl.DataFrame, spec: Mapping[str, Any], aggregator: str
) -> dict[str, TestScores]:
    """One TestScores per view (``VIEWS``, and every site that may count): the scalar of every test flow with its label,
    and of the calibration flows B."""
    flows = scored_flows(scores, truth, spec, aggregator)
    sites = map(view_of, TargetSites([flows.sizes()]).enough(Metric.benign_in_site))
    return {suffix: flows.view(suffix).evidence for suffix in (*VIEWS, *sites)}


def likeness_of(scores: pl.DataFrame, spec: Mapping[str, Any], aggregator: str) -> SourceLikeness | None:
    """How much a row's scalar tells benign flows of the source from those of the target; ``aggregator`` is the row's.

    None where there are not both, where the scalar is fitted on one of them, and for ``BEST_FIXED``, which has no
    scalar.  UsageError if the columns do not allow the aggregator.
    """
    from protocols.roles import aggregator_role
    from protocols.studies import scalar_likeness

    fitted_on = aggregator_role(spec["regime"], spec["calibration"], spec.get("schema_version", 1))
    if aggregator == BEST_FIXED or fitted_on != "cal_a":
        return None
    columns = score_columns(scores)
    parts = {
        role: scores.filter(scores["role"] == role).select(columns).to_numpy()
        for role in ("cal_a", "source_val", "cal_b")
    }
    return scalar_likeness(aggregator, columns, parts["cal_a"], parts["source_val"], parts["cal_b"])


def compute_metrics(
    views: Mapping[str, TestScores], metrics: Mapping[str, Metric], report: Callable[[str], None]
) -> dict[str, float | None]:
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
