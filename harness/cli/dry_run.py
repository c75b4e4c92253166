"""What ``run --dry-run`` prints: which fits there would be, and how many flows each part has."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from harness.cli import console
from janus_bench.words import counted
from reports.tables.fields import grouped, in_order

if TYPE_CHECKING:
    from datasets_registry.registry import OpenDataset
    from harness.plan import Plan

Listed = tuple[Sequence[str], Sequence[Sequence[str]]]  # headings and rows


def print_dry_run(plan: Plan, datasets: Mapping[str, OpenDataset], output: str) -> None:
    """The fits, how many flows every part of every dataset would have, and how much is to be run."""
    console.table(*(_fit_by_fit(plan) if output == "json" else _fits(plan)), output)
    if output != "json":
        console.out("")
        console.table(
            ("dataset", "seed", "split", "train", "val", "cal A", "cal B", "test benign", "test attack", "why"),
            _sizes(plan, datasets),
            output,
        )
    console.say(
        f"{counted(len(plan.fits), 'fit')}, {counted(len({cell.run_key for cell in plan.record.cells}), 'run')}; "
        "nothing was run (--dry-run)"
    )


def _fit_by_fit(plan: Plan) -> Listed:
    """Headings, and a row per fit."""
    rows = []
    for fit in plan.fits:
        run, targets = fit.first, ", ".join(other.target for other in fit.runs)
        rows.append((fit.label, run.regime, run.source or "–", targets, str(run.seed), _assignments(run.params)))
    return ("detector", "regime", "source", "targets", "seed", "parameters"), rows


def _fits(plan: Plan) -> Listed:
    """Headings, and a row for all fits of a detector in one regime with the same parameters."""
    alike = grouped(((fit.label, fit.first.regime, _assignments(fit.first.params)), fit) for fit in plan.fits)
    rows = []
    for (label, regime, parameters), fits in alike.items():
        sources = in_order(fit.first.source or "–" for fit in fits)
        targets = in_order(run.target for fit in fits for run in fit.runs)
        seeds = in_order(str(fit.first.seed) for fit in fits)
        counts = str(len(fits)), str(sum(len(fit.runs) for fit in fits))
        rows.append((label, regime, *(", ".join(part) for part in (sources, targets, seeds)), *counts, parameters))
    return ("detector", "regime", "sources", "targets", "seeds", "fits", "runs", "parameters"), rows


def _sizes(plan: Plan, datasets: Mapping[str, OpenDataset]) -> Sequence[Sequence[str]]:
    """A line per dataset and draw of its partition."""
    from datasets_registry.registry import draw_of

    draws = dict.fromkeys(draw_of(fit.first) for fit in plan.fits)
    rows = []
    for name, dataset in datasets.items():
        for draw in draws:
            partition = dataset.partition(draw)
            rows.append(
                (
                    name,
                    str(draw.seed),
                    partition.kind,
                    *(str(len(flow_ids)) for flow_ids in partition.parts.values()),
                    partition.reason,
                )
            )
    return list(dict.fromkeys(rows))


def _assignments(params: Mapping[str, Any]) -> str:
    return ", ".join(f"{key}={value}" for key, value in params.items())
