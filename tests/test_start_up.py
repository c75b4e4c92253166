"""What a command loads before it does anything: seconds depend on the machine (``benchmarks/start_up.py``), modules do
not."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.start_up import UNFINISHED
from harness.cli.main import COMMANDS
from tests.test_compare import write_folder

CODE = """
import atexit, os, sys
sys.argv[0] = "janus-bench"
atexit.register(lambda: os.write(2, ("\\n" + " ".join(sys.modules)).encode()))
from harness.cli.main import main
main()
"""
COMPILERS = {"numba", "llvmlite", "torch", "sklearn", "scipy", "matplotlib"}


@pytest.mark.parametrize(
    ("arguments", "environment", "absent", "called"),
    [
        (("--help",), {}, COMPILERS | {"numpy", "polars", "pyarrow", "rich", "importlib.metadata"}, ()),
        (("detector", "list"), {}, COMPILERS | {"polars", "pyarrow"}, ("detector list",)),
        (("leaderboard", "--no-intervals"), {}, COMPILERS - {"scipy"}, ("leaderboard", "data audit")),
        ((), UNFINISHED, COMPILERS | {"numpy", "polars", "pyarrow"}, ("run",)),
    ],
    ids=("help", "detectors", "leaderboard", "completion"),
)
def test_a_command_loads_nothing_that_it_has_no_use_for(
    tmp_path: Path, arguments: tuple[str, ...], environment: dict[str, str], absent: set[str], called: tuple[str, ...]
) -> None:
    if "leaderboard" in arguments:
        write_folder(tmp_path / "runs")
    done = subprocess.run(
        [sys.executable, "-c", CODE, *arguments],
        env={**os.environ, **environment},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    loaded = set(done.stderr.splitlines()[-1].split())
    assert "harness.cli.main" in loaded, done.stderr
    assert loaded & absent == set()
    commands = {COMMANDS[words].where.partition(":")[0] for words in COMMANDS}
    assert loaded & commands == {COMMANDS[words].where.partition(":")[0] for words in called}
