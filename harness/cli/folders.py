"""``janus-bench merge`` and ``janus-bench export``: results folders made into one, and one made into a file with
checksums."""

from pathlib import Path
from typing import Annotated

import typer

from harness.cli import console
from harness.cli.options import DEFAULT_RUNS, Runs
from harness.cli.progress import PreparationProgress
from janus_bench.words import counted


def merge(
    folders: Annotated[list[Path], typer.Argument(help="Two or more folders of results.")],
    destination: Annotated[Path, typer.Option("-o", "--output", help="A new folder.")],
) -> None:
    """Make one folder of results out of several; what they disagree on is refused."""
    from reports.results import merge as folders_of_results

    done = folders_of_results.merge(folders, destination)
    console.say(
        f"wrote {destination}: {counted(done.runs, 'run')} ({done.shared} of them in several folders, alike), "
        f"{counted(done.plans, 'plan')}"
    )
    for note in done.notes:
        console.say(f"note: {note}")


def export(
    file: Annotated[Path, typer.Option("-o", "--output", help="Archive to write: .tar.zst or .tar.gz.")],
    runs: Runs = DEFAULT_RUNS,
) -> None:
    """Write results as one archive with checksums; the same results under the same name give the same bytes."""
    from reports.results import archive

    with PreparationProgress() as progress:
        digest = archive.export(runs, file, progress)
    console.out(f"{digest}  {console.visible(str(file))}")  # as ``sha256sum`` prints it
    console.say(
        f"wrote {file} ({file.stat().st_size / 1e6:.1f} MB); unpacked, `sha256sum -c SHA256SUMS` in its folder "
        "checks every file"
    )
