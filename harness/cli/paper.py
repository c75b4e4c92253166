"""``janus-bench paper``: from a results folder to what a paper begins with."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from harness.cli import audit, console, leaderboard
from harness.cli.declared import capabilities_of
from harness.cli.options import ProtocolName
from harness.cli.progress import PreparationProgress
from janus_bench.errors import DataError, UsageError
from janus_bench.files import why
from janus_bench.held import folder_written_aside, must_be_new
from janus_bench.words import counted

if TYPE_CHECKING:
    from reports.paper.bibliography import DatasetSource
    from reports.results.model import ResultTable

BESIDE = {"macro_auroc": "Macro AUROC", "tpr_at_fpr_1pct": "TPR at 1 % FPR"}


def paper(
    runs: Annotated[Path, typer.Argument(help="Folder of results.")],
    destination: Annotated[Path, typer.Option("-o", "--output", help="A new folder.")],
    protocol: ProtocolName = "",
) -> None:
    """Write what a paper begins with, in LaTeX: methods, tables, figures, references, dataset cards.  Every
    number is this run's."""
    from reports.paper.folder import PaperData, paper_files
    from reports.results.facts import folder_facts
    from reports.results.measures import measure_of
    from reports.tables.audits import with_audits

    must_be_new(destination)  # before the scores are read, which may take a while
    table = leaderboard.read(runs, protocol)
    board = leaderboard.with_intervals(table, measure_of("auroc"), None, "leaderboard")
    beside = [(heading, leaderboard.document(table, metric)) for metric, heading in BESIDE.items()]
    with PreparationProgress() as progress:
        audits = audit.all_audits(table, progress)
    if not board["rows"]:
        raise DataError(f"{runs} has no row: run a detector first")
    declared = capabilities_of(table)
    data = PaperData(
        table,
        with_audits(board, audits),
        beside,
        folder_facts(table, declared),
        {name: _source(table, name) for name in table.datasets},
        {
            row.declared.name: declared[row.declared.name].source if row.declared.name in declared else ""
            for row in table.rows
        },
    )
    files = paper_files(data)
    with folder_written_aside(destination) as staged:
        try:
            for name, content in files.items():
                (staged / name).parent.mkdir(exist_ok=True)
                (staged / name).write_bytes(content)
        except OSError as error:
            raise UsageError(f"cannot write {destination} ({why(error)}): choose another with -o") from None
    console.say(
        f"wrote {destination}: {counted(len(files), 'file')}; "
        "compile main.tex with pdflatex, bibtex, pdflatex, pdflatex"
    )


def _source(table: ResultTable, name: str) -> DatasetSource:
    """As the plan has it; what was not stated then, as it is stored with the dataset, where that is still here exactly
    as it was run."""
    from janus_bench.records import NOT_STATED
    from reports.paper.bibliography import DatasetSource

    entry = table.datasets[name]
    store = audit.still_here(name, entry.hash)
    now = {"licence": "", "citation": ""} if store is None else {"citation": "", **store.manifest}
    licence = "" if now["licence"] == NOT_STATED else now["licence"]
    return DatasetSource(entry.licence or licence, entry.citation or now["citation"])
