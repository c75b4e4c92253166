"""Which number of a run a table shows: a metric, on a view of the test flows, under an aggregator."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from janus_bench import plugins
from janus_bench.errors import unknown
from janus_bench.extensions import BEST_FIXED, Metric
from protocols.aggregators import check_aggregator
from reports.results.evidence import VIEWS
from reports.results.sites import SITE

AUROC = "auroc"


@dataclass(frozen=True)
class Measure:
    """Which number of a run: a metric, on a view of the test flows (a suffix of ``reports.results.evidence.VIEWS``, or
    ``SITE``: the mean over sites), under an aggregator.

    aggregator  None: each row's own
    """

    metric: Metric
    view: str = ""
    aggregator: str | None = None

    @cached_property
    def name(self) -> str:
        return f"{self.metric.name}{self.view}"

    @property
    def is_auroc(self) -> bool:
        return self.metric.name == AUROC

    @property
    def by_site(self) -> bool:
        return self.view == SITE


def measure_of(name: str, aggregator: str | None = None) -> Measure:
    """``auroc``, ``auroc@2+``, ``auroc@site``, …  UsageError for a metric that is not installed, or an aggregator that
    there is not."""
    if aggregator and aggregator != BEST_FIXED:
        check_aggregator(aggregator)
    found = plugins.metrics()
    for suffix in sorted((*VIEWS, SITE), key=len, reverse=True):
        base = name.removesuffix(suffix)
        if base in found and (base != name or not suffix):
            return Measure(found[base], suffix, aggregator)
    raise unknown(
        "metric", name, found, "Add @2+ for flows of two or more packets, @site for the mean inside each site."
    )
