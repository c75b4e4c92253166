"""``janus-bench report``: from a results folder to one HTML page."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from harness.cli import audit, console, leaderboard
from harness.cli.declared import capabilities_of
from harness.cli.options import DEFAULT_RUNS, ProtocolName, Runs
from harness.cli.progress import PreparationProgress


def report(
    runs: Runs = DEFAULT_RUNS,
    protocol: ProtocolName = "",
    file: Annotated[Path, typer.Option("-o", "--output", help="The page to write.")] = Path("report.html"),
) -> None:
    """Write one self-contained HTML page: leaderboard, matrices, curves, families, audits, costs, provenance."""
    from reports.render.html.collect import collect
    from reports.render.html.page import render_page
    from reports.results.facts import folder_facts

    table = leaderboard.read(runs, protocol)
    console.check_place(file)  # before the scores are read, which may take a while
    with PreparationProgress() as progress:
        audits, facts = audit.all_audits(table, progress), folder_facts(table, capabilities_of(table))
        distances = audit.all_distances(table, progress)
        page = render_page(collect(table, audits, progress, facts, distances)).encode(errors="replace")
    console.save(file, page, f" ({len(page) / 1e6:.1f} MB, opens in any browser, nothing is loaded from a network)")
