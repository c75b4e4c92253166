"""``janus-bench leaderboard``: from a results folder to a table."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from harness import plugins
from harness.cli import console
from harness.errors import DataError, UsageError
from harness.evaluate import VIEWS, metric_of
from harness.extensions import Metric, Renderer
from harness.schema import PlanRecord, canonical_json
from harness.store import RunStore
from harness.suggest import unknown


def execute(runs: Path, protocol: str, metric: str, aggregator: str | None, output: str, file: Path | None) -> None:
    renderer = find_renderer(output)
    store = RunStore.open(runs)
    plans = select_plans(store, protocol)
    text = renderer.render(document(store, plans, metric, aggregator), console.width(), console.color() and file is None)
    if file is None:
        console.out(text)
        return
    try:
        file.write_text(text if text.endswith("\n") else f"{text}\n")
    except OSError as error:
        raise UsageError(f"cannot write {file} ({error.strerror}): choose another file with -o") from None
    console.say(f"wrote {file}")


def find_renderer(name: str) -> Renderer:
    found = plugins.renderers()
    if name not in found:
        raise unknown("format", name, found)
    return found[name]


def select_plans(store: RunStore, protocol: str) -> list[PlanRecord]:
    """The plans of one table: those that agree with the latest one (of the protocol asked for) in everything but detectors and seeds."""
    plans = store.plans()
    if protocol:
        names = {plan.protocol for plan in plans}
        if protocol not in names:
            known = plugins.protocols()
            if protocol not in known:
                raise unknown("protocol", protocol, known)
            raise DataError(f"{store.folder} has no results of protocol {protocol!r}, only of {', '.join(sorted(names)) or 'none'}")
        plans = [plan for plan in plans if plan.protocol == protocol]
    if not plans:
        raise DataError(f"no results in {store.folder}: start with `janus-bench run --runs {store.folder}`")
    tables: dict[str, list[PlanRecord]] = {}
    for plan in plans:
        tables.setdefault(_table_of(plan), []).append(plan)
    chosen = tables.pop(_table_of(plans[-1]))
    for others in tables.values():
        plan = others[-1]
        console.say(
            f"note: {store.folder} also holds {plan.protocol} ({plan.profile}, {plan.split} split) on {', '.join(plan.datasets)}: "
            "tables are not mixed; the one shown was asked for last"
        )
    return chosen


def _table_of(plan: PlanRecord) -> str:
    hashes = {name: dataset["hash"] for name, dataset in plan.datasets.items()}
    return canonical_json(
        {"protocol": plan.protocol, "profile": plan.profile, "split": plan.split, "calibration": plan.calibration, "datasets": hashes}
    )


def document(store: RunStore, plans: Sequence[PlanRecord], metric: str, aggregator: str | None = None) -> dict[str, Any]:
    """The leaderboard as a JSON document (``architecture.md``)."""
    from reports.leaderboard import build_leaderboard

    known, suffix = _metric(metric)
    records = store.records()
    keys = {cell.run_key for plan in plans for cell in plan.cells}
    values: dict[str, float | None] = {}
    refusals = []
    for key in keys & set(records):
        try:
            values[key] = metric_of(store, records[key], known, suffix, aggregator, console.say)
        except UsageError as error:  # a detector without that score column has no such number
            refusals.append(error)
    usable = {records[key].aggregator for key in values} - {"identity"}
    if refusals and not usable:
        raise refusals[0]
    return build_leaderboard(plans, records, values, metric, aggregator, higher_is_better=known.higher_is_better)


def _metric(name: str) -> tuple[Metric, str]:
    found = plugins.metrics()
    for suffix in sorted(VIEWS, key=len, reverse=True):
        base = name.removesuffix(suffix) if suffix else name
        if base in found and (base != name or not suffix):
            return found[base], suffix
    raise unknown("metric", name, found, "Add @2+ for flows of two or more packets.")
