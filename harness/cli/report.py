"""``janus-bench report``: from a results folder to one HTML page."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from datasets_registry.registry import added, dataset_folder
from harness.cli import console
from harness.cli.progress import PreparationProgress
from janus_bench.errors import UsageError
from reports.results.model import Results, ResultTable


def execute(runs: Path, protocol: str, file: Path) -> None:
    """Write the page."""
    from reports.render.html import render_page
    from reports.render.html.collect import collect

    table = Results.open(runs, console.say).select(protocol)
    if file.is_dir() or not file.parent.is_dir():  # before the scores are read, which may take a while
        raise UsageError(f"cannot write {file} ({'it is a folder' if file.is_dir() else 'no such folder'}): choose another file with -o")
    with PreparationProgress() as progress:
        page = render_page(collect(table, _audits(table, progress), progress))
    try:
        file.write_text(page, encoding="utf-8")
    except OSError as error:
        raise UsageError(f"cannot write {file} ({error.strerror}): choose another file with -o") from None
    console.say(f"wrote {file} ({len(page.encode()) / 1e6:.1f} MB, opens in any browser, nothing is loaded from a network)")


def _audits(table: ResultTable, progress: Callable[[str, float], None]) -> dict[str, dict[str, Any]]:
    """Audits of the datasets that are still here exactly as they were run; the page says of the others that there is none."""
    from datasets_registry.store import FlowStore, is_current
    from harness.cli.audit import document

    found = {}
    for name, entry in table.datasets.items():
        if name in added() and is_current(dataset_folder(name)):
            store = FlowStore.open(dataset_folder(name))
            if store.hash == entry.hash:
                found[name] = document(store, progress)
    return found
