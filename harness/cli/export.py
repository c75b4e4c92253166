"""``janus-bench export``: a results folder as one file with checksums."""

from __future__ import annotations

from pathlib import Path

from harness.cli import console
from harness.cli.progress import PreparationProgress


def execute(runs: Path, archive: Path) -> None:
    """Prints the archive's checksum as ``sha256sum`` does."""
    from reports.results.archive import export

    with PreparationProgress() as progress:
        digest = export(runs, archive, progress)
    console.out(f"{digest}  {archive}")
    console.say(f"wrote {archive} ({archive.stat().st_size / 1e6:.1f} MB); unpacked, `sha256sum -c SHA256SUMS` in its folder checks every file")
