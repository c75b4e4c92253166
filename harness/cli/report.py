"""``janus-bench report``: from a results folder to one HTML page."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from harness.cli import console, leaderboard
from harness.cli.options import DEFAULT_RUNS, ProtocolName, Runs
from harness.cli.progress import PreparationProgress
from janus_bench.errors import DataError

if TYPE_CHECKING:
    from reports.results.model import ResultTable


def report(
    runs: Runs = DEFAULT_RUNS,
    protocol: ProtocolName = "",
    file: Annotated[Path, typer.Option("-o", "--output", help="The page to write.")] = Path("report.html"),
) -> None:
    """Write one self-contained HTML page: leaderboard, matrices, curves, families, alerts a day, audits, costs,
    provenance."""
    from reports.render.html.collect import collect
    from reports.render.html.page import render_page

    table = leaderboard.read(runs, protocol)
    console.check_place(file)  # before the scores are read, which may take a while
    with PreparationProgress() as progress:
        audits, distances = _audits(table, progress)
        page = render_page(collect(table, audits, progress, distances)).encode(errors="replace")
    console.save(file, page, f" ({len(page) / 1e6:.1f} MB, opens in any browser, nothing is loaded from a network)")


def _audits(
    table: ResultTable, progress: Callable[[str, float], None]
) -> tuple[dict[str, dict[str, Any]], dict[str, Any] | None]:
    """Audits of the datasets that are still here exactly as they were run, and how far they lie from each other; the
    page says of the others that there is none."""
    from datasets_registry.registry import added, dataset_folder
    from datasets_registry.store import FlowStore, is_current
    from harness.cli.audit import distances, document

    found, stores = {}, []
    for name, entry in table.datasets.items():
        if name in added() and is_current(dataset_folder(name)):
            try:
                store = FlowStore.open(dataset_folder(name))
                if store.hash == entry.hash:
                    found[name] = document(store, progress)
                    stores.append(store)
            except DataError as error:
                console.say(f"note: the page has no audit of {name}: {error}")
    return found, distances(stores, progress) if len(stores) > 1 else None
