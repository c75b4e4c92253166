"""``janus-bench merge``: several results folders made into one."""

from pathlib import Path
from typing import Annotated

import typer

from harness.cli import console


def merge(
    folders: Annotated[list[Path], typer.Argument(help="Two or more folders of results.")],
    destination: Annotated[Path, typer.Option("-o", "--output", help="A new folder.")],
) -> None:
    """Make one folder of results out of several; what they disagree on is refused."""
    from reports.results import merge as folders_of_results

    done = folders_of_results.merge(folders, destination)
    console.say(f"wrote {destination}: {done.runs} runs ({done.shared} of them in several folders, alike), {done.plans} plans")
    for note in done.notes:
        console.say(f"note: {note}")
