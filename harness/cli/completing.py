"""Names behind the tabulator key.  Nothing here may be slow or fail: a completion that cannot be made is none."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import get_args

import typer

from janus_bench import plugins


def _beginning(names: Callable[[], Iterable[str]], *, listed: bool = False) -> Callable[[str], list[str]]:
    """Those that begin like what was typed; ``listed``: of a comma-separated list the last one, and none twice."""

    def complete(incomplete: str) -> list[str]:
        head, comma, last = incomplete.rpartition(",") if listed else ("", "", incomplete)
        if "[" in last:  # parameters are not completed
            return []
        try:
            found = sorted(set(names()) - set(head.split(",")))
        except Exception:  # noqa: BLE001  there is nobody to tell, and the line that is being typed must not be hurt
            return []
        return [f"{head}{comma}{name}" for name in found if name.startswith(last)]

    return complete


def _detectors() -> Iterable[str]:
    """Registered ones, and families with their colon.  Presets are left out: to know them, every detector has to be
    imported."""
    return [*plugins.detector_entries(), *(f"{family}:" for family in plugins.detector_families())]


def _datasets() -> Iterable[str]:
    from datasets_registry.registry import added

    return [*added(), *plugins.datasets()]


def _drivers() -> Iterable[str]:
    from datasets_registry.drivers import driver_names

    return driver_names()


def _metrics() -> Iterable[str]:
    names = plugins.metrics()
    return [f"{name}{view}" for name in names for view in ("", "@2+", "@site")]


def _executors() -> Iterable[str]:
    """Those that need an address or a folder come with their colon."""
    from harness.executors.choice import EXECUTORS, NEEDS_A_PLACE

    return [f"{name}:" if name in NEEDS_A_PLACE else name for name in EXECUTORS]


def _aggregators() -> Iterable[str]:
    from protocols.aggregators import AGGREGATORS, COLUMN

    return [*AGGREGATORS, COLUMN]


def _tables() -> Iterable[str]:
    from reports.tables.details import LEADERBOARD, TABLES

    return [LEADERBOARD, *TABLES]


def _statuses() -> Iterable[str]:
    from janus_bench.records import Status
    from reports.results.model import MISSING

    return [*get_args(Status), MISSING]


detector = _beginning(_detectors)
detectors = _beginning(_detectors, listed=True)
dataset = _beginning(_datasets)
datasets = _beginning(_datasets, listed=True)
driver = _beginning(_drivers)
protocol = _beginning(plugins.protocols)
metric = _beginning(_metrics)
renderer = _beginning(plugins.renderers)
executor = _beginning(_executors)
aggregator = _beginning(_aggregators)
table = _beginning(_tables)
status = _beginning(_statuses)


def run_key(ctx: typer.Context, incomplete: str) -> list[str]:
    """Keys of the runs in the folder of ``--runs``, where that stands before, or else in ``runs``: names of files, none
    of which is read."""
    folder = Path(ctx.params.get("runs") or "runs") / "results"
    return _beginning(lambda: (path.stem for path in folder.glob("*.json")))(incomplete)
