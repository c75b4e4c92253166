"""Names behind the tabulator key, asked for as bash, zsh and fish ask."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import typer

from harness.cli import completing
from janus_bench import plugins


def asked(shell: str, line: str, home: Path) -> str:
    """What the shell is told of an unfinished command line."""
    words = line.split(" ")
    how = {
        "bash": {"COMP_WORDS": line, "COMP_CWORD": str(len(words) - 1)},
        "zsh": {"_TYPER_COMPLETE_ARGS": line},
        "fish": {"_TYPER_COMPLETE_ARGS": line, "_TYPER_COMPLETE_FISH_ACTION": "get-args"},
    }[shell]
    done = subprocess.run(
        [sys.executable, "-c", "import sys; sys.argv[0] = 'janus-bench'; from harness.cli.main import main; main()"],
        env={**os.environ, **how, "_JANUS_BENCH_COMPLETE": f"complete_{shell}", "JANUS_BENCH_HOME": str(home)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stderr == ""
    return done.stdout


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_each_shell_is_told_names(shell: str, home: Path) -> None:
    said = asked(shell, "janus-bench run --detectors janus,if", home)
    assert "janus,iforest" in said
    assert "knn" not in said


def test_names_of_every_kind_are_known(home: Path) -> None:
    assert asked("bash", "janus-bench run --datasets alpha,b", home).split() == ["alpha,beta"]
    assert asked("bash", "janus-bench leaderboard --metric auroc@", home).split() == ["auroc@2+", "auroc@site"]
    assert asked("bash", "janus-bench run --executor in", home).split() == ["in-process"]
    assert asked("bash", "janus-bench runs list --status inval", home).split() == ["invalid_output"]
    assert asked("bash", "janus-bench data prepare cicids", home).split() == ["cicids2017", "cicids2018"]


def test_what_begins_alike_is_offered_once() -> None:
    assert completing.detectors("janus,janus") == ["janus,janus-context", "janus,janus-plus"]
    assert set(completing.detector("")) == {*plugins.detector_entries(), "exec:", "pyod:", "sklearn:"}
    assert completing.detectors("janus[sig") == []
    assert set(completing.protocol("")) == set(plugins.protocols())
    assert "auroc@site" in completing.metric("auroc")
    assert "markdown" in completing.renderer("m")
    assert completing.executor("") == ["folder:", "in-process", "local", "ray", "slurm:"]
    assert completing.aggregator("ma") == ["mahalanobis", "max_z"]
    assert completing.aggregator("col") == ["column:"]
    assert completing.table("in") == ["incidents"]
    assert completing.status("mi") == ["missing"]


def test_keys_of_runs_are_those_of_the_folder_that_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for folder, key in (("runs", "3fa0"), ("old", "3fb1"), ("old", "77cc")):
        (tmp_path / folder / "results").mkdir(parents=True, exist_ok=True)
        (tmp_path / folder / "results" / f"{key}.json").write_text("not read")
    monkeypatch.chdir(tmp_path)
    command = typer.Context(typer.core.TyperCommand("log"))
    assert completing.run_key(command, "3") == ["3fa0"]
    command.params = {"runs": "old"}
    assert completing.run_key(command, "") == ["3fb1", "77cc"]
    command.params = {"runs": "nowhere"}
    assert completing.run_key(command, "") == []


def test_what_cannot_be_known_is_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken() -> list[str]:
        raise OSError("no such disk")

    assert completing._beginning(broken)("a") == []
