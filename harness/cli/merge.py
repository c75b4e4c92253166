"""``janus-bench merge``: several results folders made into one."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from harness.cli import console


def execute(folders: Sequence[Path], destination: Path) -> None:
    from reports.results.merge import merge

    done = merge(folders, destination)
    console.say(f"wrote {destination}: {done.runs} runs ({done.shared} of them in several folders, alike), {done.plans} plans")
    for note in done.notes:
        console.say(f"note: {note}")
