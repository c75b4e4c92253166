"""A Slurm of two nodes on this machine, whose jobs are killed and whose nodes go down: every cell is ``ok`` once, and
equals the local executor's.  Minutes; ``make slurm`` runs it, no test of the suite does."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from harness.executors.slurm_cluster import BEAT_S, PATIENCE_S, SlurmExecutor
from reports.results.folder import RunStore
from tests.cluster.same_cells import InBackground, locally, planned, the_same, two_at_once, until  # noqa: F401
from tests.cluster.slurm_here import SlurmHere, lacking, limits_memory
from tests.conftest import home  # noqa: F401  a fixture

pytestmark = pytest.mark.skipif(bool(lacking()), reason=lacking())
submitit = pytest.importorskip(
    "submitit", reason="submitit is not installed: pip install -c constraints.txt 'janus-bench[slurm]'"
)

LASTING = """
import time

from janus_bench import Capabilities


class Lasting:
    capabilities = Capabilities(inputs=frozenset({"features"}), provenance="our reading")

    def fit(self, benign, ctx):
        self.kept = bytearray(b"x") * SIZE
        time.sleep(SECONDS)

    def score(self, flows):
        return flows.feature_matrix()[:, 0]
"""


@pytest.fixture(scope="module")
def slurm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SlurmHere]:
    made = SlurmHere(tmp_path_factory.mktemp("slurm"))
    try:
        yield made
    finally:
        made.stop()


def test_a_job_is_killed_and_a_node_goes_down_in_mid_run(
    slurm: SlurmHere,
    planned: Any,  # noqa: F811
    locally: RunStore,  # noqa: F811
    tmp_path: Path,
) -> None:
    executor = SlurmExecutor(tmp_path / "shared")
    assert executor.fits_at_once(1) == 3
    running = InBackground(executor, planned, tmp_path / "runs")
    running.until_rows(4)
    until(_supervisors)[0].send_signal(signal.SIGKILL)
    running.until_rows(8)
    until(lambda: slurm.nodes()["n2"] in ("mix", "alloc"))
    slurm.set_down("n2")
    the_same(running.result(), locally)
    assert slurm.jobs("NODE_FAIL")
    assert slurm.jobs("FAILED")
    slurm.resume("n2")
    assert list(executor.stages_in.iterdir()) == []


def test_two_runs_at_once_into_one_folder(
    slurm: SlurmHere,
    planned: Any,  # noqa: F811
    locally: RunStore,  # noqa: F811
    tmp_path: Path,
) -> None:
    two_at_once(SlurmExecutor(tmp_path / "shared"), planned, tmp_path / "runs")
    the_same(RunStore.open(tmp_path / "runs"), locally)


STARTED: list[subprocess.Popen[bytes]] = []


@pytest.fixture(autouse=True)
def _no_run_outlives_its_test() -> Iterator[None]:
    yield
    for process in STARTED:
        process.kill()
    STARTED.clear()


class Lasts:
    """``janus-bench run`` of a detector that lasts, as a process of its own."""

    def __init__(self, folder: Path, home: Path, seconds: float = 600, size: int = 1, **variables: str) -> None:  # noqa: F811
        self.folder = folder
        (folder / "lasting.py").write_text(LASTING.replace("SIZE", str(size)).replace("SECONDS", str(seconds)))
        command = (
            f"run --protocol within --detectors {folder}/lasting.py --datasets alpha --seeds 42 --runs "
            f"{folder}/runs --executor slurm:{folder}/shared --jobs 1"
        )
        self.process = subprocess.Popen(
            [Path(sys.executable).with_name("janus-bench"), *command.split()],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env={**os.environ, "JANUS_BENCH_HOME": str(home), **variables},
        )
        STARTED.append(self.process)

    def at_work(self, slurm: SlurmHere) -> str:
        """The job, once its child is at the fit."""
        until(lambda: slurm.jobs("RUNNING") and _children())
        return slurm.jobs("RUNNING")[0]

    def statuses(self) -> dict[str, str]:
        """Status → reason, of the rows."""
        rows = [json.loads(path.read_text()) for path in (self.folder / "runs" / "results").iterdir()]
        return {row["status"]: row["reason"] for row in rows}


def test_a_job_that_is_cancelled_is_killed_and_not_begun_again(slurm: SlurmHere, home: Path, tmp_path: Path) -> None:  # noqa: F811
    run = Lasts(tmp_path, home)
    first = run.at_work(slurm)
    subprocess.run(["scancel", first], check=True)
    until(lambda: set(slurm.jobs("RUNNING")) - {first})
    subprocess.run(["scancel", *slurm.jobs("RUNNING", "PENDING")], check=True)  # that of the baseline
    assert run.process.wait(120) == 1
    assert list(run.statuses()) == ["killed"]
    assert "was cancelled (scancel)" in run.statuses()["killed"]


@pytest.mark.skipif(not limits_memory(), reason="no memory cgroup of version 1 that can be written")
def test_a_job_beyond_the_memory_that_slurm_gave_it_is_out_of_memory(
    slurm: SlurmHere,
    home: Path,  # noqa: F811
    tmp_path: Path,
) -> None:
    run = Lasts(tmp_path, home, size=3 << 30)
    assert run.process.wait(200) == 1
    assert list(run.statuses()) == ["oom"]


def test_a_job_beyond_slurms_time_limit_is_a_timeout(slurm: SlurmHere, home: Path, tmp_path: Path) -> None:  # noqa: F811
    run = Lasts(tmp_path, home, SBATCH_TIMELIMIT="1")
    assert run.process.wait(400) == 1
    assert list(run.statuses()) == ["timeout"]


def test_an_interrupt_cancels_jobs_and_leaves_nothing(slurm: SlurmHere, home: Path, tmp_path: Path) -> None:  # noqa: F811
    run = Lasts(tmp_path, home)
    job = run.at_work(slurm)
    run.process.send_signal(signal.SIGINT)
    assert run.process.wait(60) == 130
    until(lambda: job in slurm.jobs("CANCELLED"))
    until(lambda: not _supervisors() and not _children(), 60)
    assert list(run.statuses()) == ["interrupted"]
    assert [path for path in (tmp_path / "shared").rglob("*") if path.is_file()] == []


def test_a_job_whose_run_was_killed_ends_by_itself(slurm: SlurmHere, home: Path, tmp_path: Path) -> None:  # noqa: F811
    run = Lasts(tmp_path, home)
    run.at_work(slurm)
    run.process.kill()
    until(lambda: not slurm.jobs("RUNNING", "PENDING"), PATIENCE_S + 3 * BEAT_S)
    assert not _supervisors()
    assert not _children()


def _supervisors() -> list[psutil.Process]:
    """Processes of submitit that watch a fit."""
    return [each for each in psutil.process_iter() if "submitit.core._submit" in _command(each)]


def _children() -> list[psutil.Process]:
    """Fits at work in jobs."""
    found: list[psutil.Process] = []
    for watcher in _supervisors():
        with contextlib.suppress(psutil.Error):  # it has ended meanwhile
            found += watcher.children()
    return found


def _command(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except psutil.Error:
        return []
