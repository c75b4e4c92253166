"""Two runs of one plan into one results folder: each fit is done once, and a dead run is no obstacle."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import pytest

from datasets_registry.registry import OpenDataset, describe
from datasets_registry.store import FlowStore
from harness.jobs import Job
from harness.models import about_model
from harness.plan import DetectorChoice, Settings, make_plan
from harness.runner import Machine, Result, run_plan
from janus_bench.extensions import ProtocolSpec
from janus_bench.plugins import LoadedDetector
from reports.results.folder import RunStore
from tests.test_fits import CAPABILITIES, Params, Pretends
from tests.test_run import TWO, half_done, records_by_status  # noqa: F401  a fixture
from tests.test_same_bits import Quiet
from tests.test_who_is_given_what import numbered_home  # noqa: F401  a fixture


def counted(stderr: str) -> tuple[int, int, int]:
    """Runs that were ok, that were not, and that were reused."""
    if nothing := re.search(r"nothing to do: all (\d+) runs", stderr):
        return 0, 0, int(nothing[1])
    found = re.search(r"(\d+) runs? ok, (\d+) not, (\d+) reused", stderr)
    assert found, stderr
    return int(found[1]), int(found[2]), int(found[3])


def test_two_runs_at_once_share_the_work_and_each_fit_is_done_and_saved_once(cli):
    command = ("run", "--protocol", "cross", "--detectors", "mahalanobis,length", *TWO, "--jobs", "1")
    both = [cli.start(*command), cli.start(*command)]
    told = [process.communicate(timeout=240)[1] for process in both]
    assert [process.returncode for process in both] == [0, 0], told
    counts = [counted(stderr) for stderr in told]
    assert sum(ok for ok, _, _ in counts) == 10
    assert all(ok + reused == 10 and failed == 0 for ok, failed, reused in counts)
    runs = cli.folder / "runs"
    rows = Counter(path.name.partition(".")[0] for path in (runs / "results").glob("*.json"))
    assert len(rows) == 10
    assert set(rows.values()) == {1}
    saved = {
        record.fit_key for record in RunStore.open(runs).records().values() if record.spec["detector"] == "mahalanobis"
    }
    assert saved <= {path.name for path in (runs / "models").iterdir()}
    assert not any(path.name.startswith(".") for path in (runs / "models").iterdir())
    assert not any((runs / "locks").iterdir())


def test_who_waits_for_a_run_that_is_killed_does_what_that_one_did_not(half_done):  # noqa: F811
    cli, command, marker, first = half_done
    second = cli.start(*command)
    assert second.stderr is not None
    try:
        assert any("waiting for that one" in line for line in iter(second.stderr.readline, ""))
        marker.unlink()
        first.kill()
        first.wait()
        _, stderr = second.communicate(timeout=120)
    finally:
        second.kill()
        second.wait()
    assert second.returncode == 0, stderr
    assert counted(stderr) == (5, 0, 1)
    runs = cli.folder / "runs"
    assert records_by_status(runs) == {"ok": 6}
    assert len(list((runs / "results").glob("*.json"))) == 6  # the first one's row is not written again


def test_an_interrupt_does_not_wait_for_the_other_run_and_writes_no_row_for_it(half_done):  # noqa: F811
    cli, command, *_ = half_done
    second = cli.start(*command)
    assert second.stderr is not None
    try:
        assert any("waiting for that one" in line for line in iter(second.stderr.readline, ""))
        second.terminate()
        _, stderr = second.communicate(timeout=30)
    finally:
        second.kill()
        second.wait()
    assert second.returncode == 130, stderr
    # of the other three fits, which nobody was at, each run is interrupted; of the first one there is the finished run
    assert records_by_status(cli.folder / "runs") == {"ok": 1, "interrupted": 4}


def test_a_model_that_is_there_stays_also_one_that_came_in_between(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    store, about = RunStore.create(tmp_path / "runs"), about_model(CAPABILITIES, "d", "1", {}, 7, {}, [])
    for name in ("mine", "theirs"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "weights").write_text(name)
    rename = Path.rename

    def overtaken(path: Path, place: Path) -> Path:
        monkeypatch.setattr(Path, "rename", rename)
        store.write_model("fit", tmp_path / "theirs", about)
        return rename(path, place)

    monkeypatch.setattr(Path, "rename", overtaken)
    store.write_model("fit", tmp_path / "mine", about)
    store.write_model("fit", tmp_path / "mine", about)
    assert [path.name for path in (tmp_path / "runs" / "models").iterdir()] == ["fit"]
    assert (store.model_folder("fit") / "detector" / "weights").read_text() == "theirs"


def test_a_target_that_another_run_finishes_in_between_is_not_scored_again(
    numbered_home: Path,  # noqa: F811
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
):
    datasets = {name: OpenDataset(FlowStore.open(numbered_home / "datasets" / name)) for name in ("north", "south")}
    pairs = [("north", "north"), ("north", "south")]
    protocol = ProtocolSpec("cells", "", lambda _: pairs, regimes=("transfer",))
    choice = DetectorChoice("d", LoadedDetector("d", object, CAPABILITIES, Params, {}), {})
    plan = make_plan(protocol, describe(datasets), [choice], Settings("quick", "grouped", (7,), "cpu"))

    def run(folder: Path) -> tuple[Result, list[Job]]:
        executor = Pretends(2)
        return run_plan(
            plan, datasets, RunStore.create(folder), Machine(1, 1, None, None, executor), Quiet()
        ), executor.jobs

    done = run(tmp_path / "one")[0].records[0]
    write = RunStore.write_plan
    monkeypatch.setattr(RunStore, "write_plan", lambda store, plan: store.append(done) and write(store, plan))
    result, jobs = run(tmp_path / "two")
    assert [len(job.targets) for job in jobs] == [1]
    assert (len(result.records), result.reused) == (1, 1)
    assert done.key not in {record.key for record in result.records}
