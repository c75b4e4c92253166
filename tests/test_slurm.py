"""Fits as jobs of Slurm, by commands that only look like Slurm's: the same bits, what a job asks for, and how its fit
ends when it does.  ``make slurm`` holds the same against a Slurm."""

from __future__ import annotations

import pickle
import re
import sys
import threading
from pathlib import Path
from types import SimpleNamespace

import pytest

from harness.cli.options import chosen_device
from harness.executors import Outcome, choice, slurm_cluster
from harness.executors.slurm_cluster import SlurmExecutor
from harness.jobs import Event, Job, JobTarget, Progress
from harness.request import machine_for
from janus_bench.errors import UsageError
from tests.fake_slurm import FakeSlurm
from tests.test_same_bits import run
from tests.test_who_is_given_what import numbered_home  # noqa: F401  a fixture

pytest.importorskip("submitit", reason="submitit is not installed: pip install -c constraints.txt 'janus-bench[slurm]'")

CELLS = [("north", "north"), ("north", "south")]


@pytest.fixture
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is waited for."""
    for name, seconds in (("POLL_S", 0.01), ("ASK_S", 0.0), ("SETTLE_S", 0.0)):
        monkeypatch.setattr(slurm_cluster, name, seconds)


def a_job(folder: Path, **changed: object) -> Job:
    (folder / "in").mkdir(parents=True)
    given: dict[str, object] = {"threads": 3, "timeout_s": None, "max_memory": None, "device": "cpu", **changed}
    targets = (JobTarget("t0", None, {}),)
    return Job(str(folder), "", "x", {}, 1, train=(), validate="", hints=None, targets=targets, **given)  # type: ignore[arg-type]


def test_scores_of_a_job_are_the_same_bits(
    numbered_home: Path,  # noqa: F811
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The first job is lost, the second runs as Slurm would run it: its script, in a process of its own."""
    here = run(numbered_home, tmp_path / "here", ("north", "south"), CELLS, ["mahalanobis"])
    slurm = FakeSlurm(tmp_path / "slurm", monkeypatch, ["NODE_FAIL"])
    monkeypatch.setattr(slurm_cluster, "SETTLE_S", 0.0)
    executor = SlurmExecutor(tmp_path / "shared")
    there = run(numbered_home, tmp_path / "there", ("north", "south"), CELLS, ["mahalanobis"], executor)
    assert len(slurm.submitted()) == 2
    assert here.records().keys() == there.records().keys()
    for key, record in there.records().items():
        assert there.scores(key).equals(here.scores(key))
        assert record.metrics == here.records()[key].metrics
        assert record.environment == here.records()[key].environment
    assert list(executor.stages_in.iterdir()) == []


def test_a_job_asks_for_what_its_fit_is_allowed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at_once: None) -> None:
    slurm = FakeSlurm(tmp_path / "slurm", monkeypatch, ["CANCELLED", "CANCELLED"])
    executor = SlurmExecutor(tmp_path / "shared")
    limited = a_job(tmp_path / "limited", timeout_s=7200.0, max_memory=3 << 30, device="cuda")
    for job in (limited, a_job(tmp_path / "free")):
        executor.run(job, threading.Event(), lambda event: None)
    asked = [dict(re.findall(r"#SBATCH --([\w-]+)=?(.*)", script)) for script in slurm.submitted()]
    # ten minutes and a GiB for the process that starts the fit and watches it
    expected = {"cpus-per-task": "3", "time": "130", "mem": "4096M", "gpus-per-node": "1", "no-requeue": ""}
    assert {name: asked[0][name] for name in expected} == expected
    assert asked[1].keys() & expected.keys() == {"cpus-per-task", "no-requeue"}


@pytest.mark.parametrize(
    ("states", "word", "status", "reason"),
    [
        (["TIMEOUT"], None, "timeout", "ran into Slurm's time limit"),
        (["OUT_OF_MEMORY"], None, "oom", "more memory than Slurm gave it"),
        (["NODE_FAIL", "CANCELLED"], None, "killed", "job 2 was cancelled"),
        (["PREEMPTED", "FAILED", "COMPLETED", "NODE_FAIL"], None, "killed", r"\(NODE_FAIL\), 4 times"),
        (["OUT_OF_MEMORY"], "killed", "oom", "more memory than Slurm gave it"),
        (["CANCELLED"], "killed", "killed", "was cancelled"),
        (["COMPLETED"], "killed", "killed", "as it said"),
        (["NODE_FAIL", "CANCELLED"], "killed", "killed", "job 2 was cancelled"),
        (["RUNNING"], "invalid_output", "invalid_output", "as it said"),
    ],
)
def test_how_a_job_ends_is_how_its_fit_ends(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    at_once: None,
    states: list[str],
    word: str | None,
    status: str,
    reason: str,
) -> None:
    """Also of a worker that was killed: by whom is Slurm's to say."""
    slurm = FakeSlurm(tmp_path / "slurm", monkeypatch, states)
    if word is not None:
        (slurm.folder / "word").write_bytes(pickle.dumps(Outcome(word, "as it said", 1.0, None)))  # type: ignore[arg-type]
    heard: list[Event] = []
    outcome = SlurmExecutor(tmp_path / "shared").run(a_job(tmp_path / "job"), threading.Event(), heard.append)
    assert outcome.status == status
    assert re.search(reason, outcome.reason)
    assert len(slurm.submitted()) == len(states)
    said = [event.text for event in heard if isinstance(event, Progress)]
    assert f"Slurm's job {len(states)} is {states[-1].lower()}" in said or word is not None
    again = [text for text in said if text.startswith("begun again")]
    assert len(again) == len(states) - 1
    assert all(state in text for state, text in zip(states[:-1], again, strict=True))


def test_an_interrupt_cancels_the_job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at_once: None) -> None:
    slurm, stop = FakeSlurm(tmp_path / "slurm", monkeypatch, ["RUNNING"]), threading.Event()
    threading.Timer(0.3, stop.set).start()
    outcome = SlurmExecutor(tmp_path / "shared").run(a_job(tmp_path / "job"), stop, lambda event: None)
    assert outcome.status == "interrupted"
    assert slurm.cancelled() == ["1"]


def test_a_job_whose_run_gives_no_sign_of_life_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ended: list[int] = []
    monkeypatch.setattr(slurm_cluster, "BEAT_S", 0.01)
    monkeypatch.setattr(slurm_cluster.signal, "pthread_kill", lambda thread, number: ended.append(number))
    slurm_cluster._end_with_the_run(tmp_path / "alive")  # the folder of a run that is over
    monkeypatch.setattr(slurm_cluster, "PATIENCE_S", 0.2)
    alive, watching = tmp_path / "alive", threading.Event()
    alive.touch()
    watcher = threading.Thread(target=slurm_cluster._end_with_the_run, args=(alive,))
    watcher.start()
    for _ in range(10):
        alive.touch()
        watching.wait(0.05)
    assert len(ended) == 1  # of the first alone: half a second of signs was longer than its patience
    watcher.join(10)
    assert ended == [slurm_cluster.signal.SIGTERM] * 2


def test_as_many_jobs_are_in_the_queue_as_there_are_cores_that_are_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    slurm = FakeSlurm(tmp_path / "slurm", monkeypatch)
    named = f"slurm:{tmp_path / 'shared'}"
    machine = machine_for("cpu", None, "1h", "", named)
    assert machine.jobs == 8 // machine.threads
    (slurm.folder / "cores").write_text("6000/4000/0/10000\n")
    assert machine_for("cpu", None, "1h", "", named).jobs == slurm_cluster.AT_ONCE
    assert machine_for("cpu", 500, "1h", "", named).jobs == 500


def test_a_gpu_may_be_where_the_fits_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch", SimpleNamespace(cuda=SimpleNamespace(is_available=lambda: False)))
    assert chosen_device("cuda", "slurm:/shared") == chosen_device("cuda", "ray") == "cuda"
    for executor in ("local", "folder:tasks"):
        with pytest.raises(UsageError, match="no usable GPU on this machine"):
            chosen_device("cuda", executor)


def test_what_is_missing_for_slurm_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UsageError, match="name a folder that all nodes share"):
        choice.chosen_executor("slurm")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UsageError, match="no sbatch on this machine"):
        choice.chosen_executor(f"slurm:{tmp_path}")
    slurm = FakeSlurm(tmp_path / "slurm", monkeypatch)
    monkeypatch.setenv("PATH", f"{slurm.folder / 'bin'}:/usr/bin:/bin")
    (slurm.folder / "refusal").write_text("sbatch: error: invalid partition specified: nowhere\nsbatch: error: more\n")
    with pytest.raises(UsageError, match=r"invalid partition specified: nowhere$"):
        choice.chosen_executor(f"slurm:{tmp_path}")
    (slurm.folder / "refusal").unlink()
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match=r"cannot be written .*: name one that every node"):
        choice.chosen_executor(f"slurm:{tmp_path / 'file'}")
    monkeypatch.setitem(sys.modules, "submitit", None)
    with pytest.raises(UsageError, match="pip install 'janus-bench\\[slurm\\]'"):
        choice.chosen_executor(f"slurm:{tmp_path}")
