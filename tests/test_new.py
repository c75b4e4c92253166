"""``detector new``: what it writes installs, keeps the contract, runs and is typed; a name that cannot be is a line."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT, Cli, install

SKIPPED = """
[mypy]
[mypy-numpy.*,pytest.*,pluggy.*,polars.*,torch.*]
follow_imports = skip
ignore_missing_imports = true
"""
"""Other libraries' types are not what is tested, and reading them takes longer than everything else."""


def test_a_written_package_installs_passes_the_check_runs_and_is_typed(cli: Cli, home: Path, tmp_path: Path):
    written = cli("detector", "new", "my-own")
    assert written.returncode == 0, written.stderr
    commands = written.stdout.splitlines()
    assert commands[1] == "janus-bench detector check my-own"
    assert sorted(str(path.relative_to(tmp_path)) for path in (tmp_path / "my-own").rglob("*") if path.is_file()) == [
        "my-own/README.md",
        "my-own/my_own/__init__.py",
        "my-own/my_own/py.typed",
        "my-own/pyproject.toml",
        "my-own/tests/test_my_own.py",
    ]
    install(tmp_path, tmp_path / "my-own")
    python = tmp_path / "venv" / "bin" / "python"
    author = Cli(python, home, tmp_path)
    checked = author("detector", "check", "my-own")
    assert checked.returncode == 0, checked.stdout + checked.stderr
    run = author("run", "--protocol", "within", "--detectors", "my-own", "--datasets", "alpha,beta", "--seeds", "42")
    assert run.returncode == 0, run.stderr
    assert "my-own" in run.stdout

    # as a type checker sees an installed janus-bench: types count only where py.typed says so
    (site,) = (tmp_path / "venv").glob("lib/python*/site-packages")
    (site / "janus.pth").write_text(f"{ROOT}\n")
    (tmp_path / "mypy.ini").write_text(SKIPPED)
    mypy = [sys.executable, "-m", "mypy", "--strict", "--config-file", "mypy.ini", "--python-executable", python]
    typed = subprocess.run([*mypy, "my-own"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert typed.returncode == 0, typed.stdout
    assert "2 source files" in typed.stdout


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("My Detector",), "'My Detector' is no name for a detector: use small letters, digits and single hyphens"),
        (("my_detector",), "'my_detector' is no name for a detector"),
        (("a" * 300,), "a letter first, 60 at most"),
        *(
            ((name,), f"{name!r} is the name of a detector, of a group")
            for name in ("janus", "json", "all", "classical")
        ),
        (("my-own", "-o", "."), ". is there already: choose another folder with -o"),
    ],
)
def test_a_name_or_folder_that_cannot_be_is_one_line(arguments, said, tmp_path, monkeypatch):
    from typer.testing import CliRunner

    from harness.cli.main import app
    from janus_bench.errors import UsageError

    monkeypatch.chdir(tmp_path)
    error = CliRunner().invoke(app, ["detector", "new", *arguments]).exception
    assert isinstance(error, UsageError)
    assert said in str(error)
    assert list(tmp_path.iterdir()) == []
