"""``run --in-process``: the numbers of a child, a debugger's frame, tracebacks, and interrupts."""

from __future__ import annotations

import pdb
import sys
from pathlib import Path
from typing import Any

import pytest
from polars.testing import assert_frame_equal
from typer.testing import CliRunner

import janus_bench
from harness.cli.main import app
from harness.request import machine_for
from janus_bench.errors import UsageError
from reports.results.folder import RunStore

ASKED: dict[str, Any] = {"datasets": "alpha", "protocol": "within", "seeds": [42]}
RUN = ("run", "--in-process")
MINE = """
import os
import numpy as np
from janus_bench import Capabilities

class Mine:
    capabilities = Capabilities(inputs={"features"}, version="PID")

    def fit(self, benign, ctx):
        print("fitted in", os.getpid())
        BODY

    def score(self, flows):
        return flows.feature_matrix()[:, 0]
"""


@pytest.fixture
def here(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("JANUS_BENCH_HOME", str(home))
    return tmp_path


def test_in_process_has_the_scores_of_a_child_and_says_that_nothing_isolates_it(
    here: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    janus_bench.run("mahalanobis", **ASKED, runs="child")
    janus_bench.run("mahalanobis", **ASKED, runs="here", executor="in-process")
    assert "in-process: isolation is off" in capfd.readouterr().err
    child, ours = RunStore.open(here / "child"), RunStore.open(here / "here")
    assert child.records().keys() == ours.records().keys()
    for key in child.records():
        # but for rounding: libraries that are loaded already have made up their minds about processors and threads
        assert_frame_equal(child.scores(key), ours.scores(key), rel_tol=1e-9)


def test_a_breakpoint_in_a_fit_stops_in_this_process_and_thread(
    here: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    stopped: list[Any] = []
    monkeypatch.setattr(pdb, "set_trace", lambda **_: stopped.append(sys._getframe(1).f_locals["benign"]))
    (here / "mine.py").write_text(MINE.replace("BODY", "import pdb; pdb.set_trace()"))
    result = CliRunner().invoke(
        app,
        [
            "run",
            "--in-process",
            "--detectors",
            "./mine.py",
            "--datasets",
            "alpha",
            "--protocol",
            "within",
            "--seeds",
            "42",
        ],
    )
    assert result.exit_code == 0, result.output
    assert [len(flows) > 10 for flows in stopped] == [True, True]  # transfer and control
    assert "fitted in" not in result.stdout


def test_a_failing_fit_shows_its_traceback_at_once_and_keeps_it(here: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (here / "mine.py").write_text(MINE.replace("BODY", "raise ValueError('no such thing')"))
    results = janus_bench.run("./mine.py", **ASKED, executor="in-process")
    assert set(results.runs["status"]) == {"error"}
    assert set(results.runs["reason"]) == {"ValueError: no such thing"}
    said = capfd.readouterr().err
    assert 'mine.py", line 11, in fit' in said
    assert 'mine.py", line 11, in fit' in RunStore.open(here / "runs").log(results.runs["fit"][0])


def test_an_interrupt_ends_the_run_with_a_row_for_each(here: Path) -> None:
    (here / "mine.py").write_text(MINE.replace("BODY", "raise KeyboardInterrupt"))
    with pytest.raises(KeyboardInterrupt):
        janus_bench.run("./mine.py", **ASKED, executor="in-process")
    statuses = janus_bench.open_results("runs").runs["status"].to_list()
    assert statuses == ["interrupted", "interrupted"]


def test_a_process_is_in_one_fit_at_a_time_with_the_threads_of_a_child() -> None:
    child, ours = (machine_for("cpu", 3, "2h", "", executor) for executor in ("local", "in-process"))
    assert (child.jobs, ours.jobs) == (3, 1)
    assert child.threads == ours.threads


def test_two_places_are_one_too_many(here: Path) -> None:
    error = CliRunner().invoke(app, [*RUN, "--executor", "folder:x", "--detectors", "length"]).exception
    assert isinstance(error, UsageError)
    assert "--in-process and --executor folder:x are two places" in str(error)
