"""Slurm's commands as small scripts that run jobs on this machine, or none, and say of them what a test wants.

In the folder: ``cores`` what sinfo answers, ``refusal`` why sbatch takes nothing (if there), ``states`` the state in
which the first, the second, … job ends without having run (a job beyond its lines runs), ``word`` the file that such a
job puts down as its first word (if there), ``scripts/`` and ``cancelled/`` what was submitted and cancelled, by number.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import pytest

COMMANDS = {
    "srun": "",
    "sinfo": 'cat "$FAKE/cores"',
    "scancel": 'echo CANCELLED > "$FAKE/jobs/$1"; touch "$FAKE/cancelled/$1"',
    "squeue": 'for job in "$FAKE"/jobs/*; do [ -e "$job" ] && echo "${job##*/} $(cat "$job")"; done; true',
    "sbatch": """
if [ -e "$FAKE/refusal" ]; then cat "$FAKE/refusal" >&2; exit 1; fi
if [ "$1" = --test-only ]; then exit 0; fi
number=$(($(ls "$FAKE/scripts" | wc -l) + 1))
cp "$1" "$FAKE/scripts/$number"
state=$(sed -n "${number}p" "$FAKE/states")
if [ -n "$state" ]; then
    if [ -e "$FAKE/word" ]; then cp "$FAKE/word" "$(dirname "$1")/said/0"; fi
    echo "$state" > "$FAKE/jobs/$number"
else
    echo RUNNING > "$FAKE/jobs/$number"
    (SLURM_JOB_ID=$number sh "$FAKE/scripts/$number" > "$FAKE/log.$number" 2>&1
     echo COMPLETED > "$FAKE/jobs/$number") > /dev/null 2>&1 &
fi
echo "Submitted batch job $number"
""",
}


class FakeSlurm:
    """First on the path, as long as ``monkeypatch`` lasts."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch, states: Sequence[str] = ()) -> None:
        self.folder = folder
        for name in ("bin", "scripts", "jobs", "cancelled"):
            (folder / name).mkdir(parents=True)
        for name, script in COMMANDS.items():
            path = folder / "bin" / name
            path.write_text(f"#!/bin/sh\n{script}\n")
            path.chmod(0o755)
        (folder / "cores").write_text("3/5/64/72\n")
        (folder / "states").write_text("".join(f"{state}\n" for state in states))
        monkeypatch.setenv("FAKE", str(folder))
        monkeypatch.setenv("PATH", f"{folder / 'bin'}:{os.environ['PATH']}")

    def submitted(self) -> list[str]:
        """The scripts, in order."""
        return [path.read_text() for path in sorted((self.folder / "scripts").iterdir())]

    def cancelled(self) -> list[str]:
        return sorted(path.name for path in (self.folder / "cancelled").iterdir())
