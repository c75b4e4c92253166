"""``janus-bench report``: from a results folder to one HTML page."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from datasets_registry.registry import added, dataset_folder
from harness.cli import console
from harness.cli.leaderboard import select_plans
from harness.cli.progress import PreparationProgress
from janus_bench.errors import UsageError
from janus_bench.records import PlanRecord
from reports.results.folder import RunStore


def execute(runs: Path, protocol: str, file: Path) -> None:
    """Write the page."""
    from reports.render.html import render_page
    from reports.render.html.collect import collect

    store = RunStore.open(runs)
    plans = select_plans(store, protocol)
    if file.is_dir() or not file.parent.is_dir():  # before the scores are read, which may take a while
        raise UsageError(f"cannot write {file} ({'it is a folder' if file.is_dir() else 'no such folder'}): choose another file with -o")
    with PreparationProgress() as progress:
        page = render_page(collect(store, plans, _audits(plans, progress), console.say, progress))
    try:
        file.write_text(page, encoding="utf-8")
    except OSError as error:
        raise UsageError(f"cannot write {file} ({error.strerror}): choose another file with -o") from None
    console.say(f"wrote {file} ({len(page.encode()) / 1e6:.1f} MB, opens in any browser, nothing is loaded from a network)")


def _audits(plans: Sequence[PlanRecord], progress: Callable[[str, float], None]) -> dict[str, dict[str, Any]]:
    """Audits of the datasets that are still here exactly as they were run; the page says of the others that there is none."""
    from datasets_registry.store import FlowStore, is_current
    from harness.cli.audit import document

    found = {}
    for name, dataset in plans[-1].datasets.items():
        if name in added() and is_current(dataset_folder(name)):
            store = FlowStore.open(dataset_folder(name))
            if store.hash == dataset["hash"]:
                found[name] = document(store, progress)
    return found
