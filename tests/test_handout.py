"""Fits that are handed out: somebody without results and data gets the same bits, learns no label and no name, and what
was altered is refused."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import polars as pl
import pytest

import janus_bench
from harness.executors.choice import chosen_executor
from harness.executors.handed_out import FolderExecutor
from janus_bench.errors import UsageError
from janus_bench.held import hold
from reports.results.folder import RunStore
from tests.conftest import ROOT, Cli

pytestmark = pytest.mark.xdist_group("handout")  # one process makes the folder that all look at

MINE = """
import numpy as np
from janus_bench import Capabilities

class Mine:
    capabilities = Capabilities(
        inputs={"features", "packets"}, scores=("near", "far"), aggregator="oas", calibrates=True
    )

    def fit(self, benign, ctx):
        x = benign.feature_matrix()
        self.mean, self.std = x.mean(0), x.std(0).clip(1e-3)

    def calibrate(self, benign):
        self.length = benign.lengths.mean()

    def score(self, flows):
        far = np.abs((flows.feature_matrix() - self.mean) / self.std).mean(1)
        return {"near": np.abs(flows.lengths - self.length), "far": far}
"""
ASKED: dict[str, Any] = {"datasets": "alpha", "protocol": "within", "seeds": [42]}


@pytest.fixture(scope="module")
def place(home: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """``local``: rows of two detectors; ``tasks``: the same fits handed out and done by a process that has neither."""
    folder = tmp_path_factory.mktemp("handout")
    (folder / "mine.py").write_text(MINE)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("JANUS_BENCH_HOME", str(home))
        asked = {**ASKED, "detectors": ["./mine.py", "knn"]}
        janus_bench.run(**asked, runs="local")
        results = janus_bench.run(**asked, runs="blind", executor="folder:tasks")
        assert results.runs["status"].to_list() == ["missing"] * 4
        away = folder / "away"
        away.mkdir()
        (folder / "tasks").rename(away / "copied")
        elsewhere = Cli(sys.executable, away / "no home", away)
        done = elsewhere("work", "copied", "--jobs", "2")
        assert done.returncode == 0, done.stderr
        assert "4 done, 0 not" in done.stderr
        again = elsewhere("work", "copied")
        assert "0 fits to do, 4 done already" in again.stderr
        (away / "copied").rename(folder / "tasks")
        collected = janus_bench.run(**asked, runs="blind", executor="folder:tasks")
        assert collected.runs["status"].to_list() == ["ok"] * 4
    return folder


def test_what_comes_back_is_what_a_local_run_stores_bit_for_bit(place: Path) -> None:
    local, blind = (RunStore.open(place / name) for name in ("local", "blind"))
    ours, theirs = local.records(), blind.records()
    assert set(ours) == set(theirs)
    for key, record in ours.items():
        assert (record.spec, record.metrics, record.counts) == (
            theirs[key].spec,
            theirs[key].metrics,
            theirs[key].counts,
        )
        assert local.scores(key).equals(blind.scores(key))
        assert theirs[key].cost["fit_s"] is not None


def test_nothing_that_is_handed_out_names_a_dataset_or_a_place_or_tells_a_label(place: Path, home: Path) -> None:
    truth = pl.concat(map(pl.read_parquet, (place / "local" / "truth").glob("*.parquet")))
    names = {"alpha", str(home), str(place), "/tmp", *truth["source"], *truth["family"]} - {""}
    files = [path for path in (place / "tasks").rglob("*") if path.is_file()]
    assert len(files) > 40
    for file in files:
        content = file.read_bytes()
        assert [name for name in names if name.encode() in content] == [], file
        assert not [name for name in names if name in str(file.relative_to(place))]
    # what a table of labels would be: nothing beside inputs that the detectors declared
    inputs = {path.parent.name for path in files if "in" in path.relative_to(place).parts}
    assert inputs == {"ids", "features", "packets"}
    attack = dict(truth.select("flow_id", "attack").iter_rows())
    for ids in (place / "tasks").glob("*/in/t0_test/ids/ids.npy"):
        assert not set(np.load(ids).tolist()) & set(attack)


def altered(folder: Path, how: str) -> None:
    """Every answer, changed in one way."""
    for out in folder.glob("*/out"):
        scores, ids = out / "t0" / "test.npy", out / "t0" / "test.ids.npy"
        values = np.load(scores)
        if how == "ids":
            np.save(ids, np.load(ids)[::-1])
        elif how == "no ids":
            ids.unlink()
        elif how == "missing":
            scores.unlink()
        elif how == "nan":
            values[3] = np.nan
            np.save(scores, values)
        elif how == "fewer":
            np.save(scores, values[1:])
        elif how == "objects":
            np.save(scores, values.astype(object))
        elif how == "link":
            shutil.move(scores, out / "elsewhere.npy")
            scores.symlink_to(out / "elsewhere.npy")
        else:
            answer = json.loads((out / "answer.json").read_text())
            changed = {"foreign": {"fingerprint": "0" * 64}, "junk": {"targets": {"t0": {"score_s": "fast"}}}}[how]
            (out / "answer.json").write_text(json.dumps(answer | changed))


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ("ids", "t0/test.ids.npy does not hold the ids that were handed out, in their order"),
        ("no ids", "t0/test.ids.npy cannot be read: No such file or directory"),
        ("missing", "t0/test.npy cannot be read: No such file or directory"),
        ("nan", "t0/test.npy holds scores that are not finite, of 1 flow"),
        ("objects", "t0/test.npy cannot be read: it holds Python objects"),
        ("fewer", "t0/test.npy holds "),
        ("link", "t0/test.npy is not a regular file"),
        ("foreign", "answer.json answers another task (fingerprint 0000000000000000, asked for "),
        ("junk", 'answer.json is no answer: targets.t0.score_s is "fast"'),
    ],
)
def test_what_was_altered_is_a_row_whose_reason_names_the_task_and_what_to_do(
    place: Path, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: str, said: str
) -> None:
    shutil.copytree(place / "tasks", tmp_path / "tasks")
    altered(tmp_path / "tasks", how)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("JANUS_BENCH_HOME", str(home))
    refused = janus_bench.run("knn", **ASKED, executor="folder:tasks").runs
    assert refused["status"].to_list() == ["invalid_output"] * 2
    assert {reason.split("/")[1] for reason in refused["reason"]} < {path.name for path in Path("tasks").iterdir()}
    for reason in refused["reason"]:
        assert re.fullmatch(
            rf"tasks/\w+/out/{re.escape(said)}[^\n]*; mend it, or `janus-bench work tasks` does it again", reason
        )


def test_a_bad_task_costs_itself_alone_and_what_run_would_refuse_is_done_again(place: Path, tmp_path: Path) -> None:
    shutil.copytree(place / "tasks", tmp_path / "tasks")
    work = Cli(sys.executable, tmp_path / "no home", tmp_path)
    damaged, *whole = sorted((tmp_path / "tasks").iterdir())
    emptied, tampered, refused = whole
    before = {path: path.read_bytes() for task in whole for path in task.glob("out/t0/*.npy")}
    (damaged / "job.json").write_text("{")
    shutil.rmtree(emptied / "out")  # the obvious way to have it done again
    shutil.rmtree(tampered / "out")
    flows = tampered / "in" / "t0_test" / "features" / "features.npy"
    content = flows.read_bytes()
    flows.chmod(0o644)
    flows.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    np.save(refused / "out" / "t0" / "test.npy", np.zeros((3, 1)))
    (refused / "in" / ".DS_Store").touch()  # a file manager's

    done = work("work", "tasks")
    assert done.returncode == 1
    assert "3 fits to do, 0 done already" in done.stderr
    assert "2 done, 2 not" in done.stderr
    said = done.stderr.splitlines()
    for task, words in (
        (damaged, f"tasks/{damaged.name}/job.json is damaged (it is not JSON"),
        (damaged, f"remove tasks/{damaged.name} and have it handed out again"),
        (emptied, ": ok in "),
        (tampered, "the inputs do not match what was handed out"),
        (refused, f"refused, so done again: tasks/{refused.name}/out/t0/test.npy holds 3 × 1 float64 and not "),
        (refused, ": ok in "),
    ):
        assert [line for line in said if task.name in line and words in line], words
    assert not (tampered / "out").exists()

    flows.write_bytes(content)
    told = json.loads((emptied / "job.json").read_text())
    (emptied / "job.json").write_text(json.dumps(told | {"seed": 43}))
    assert "1 fit to do, 2 done already" in work("work", "tasks").stderr
    assert {path: path.read_bytes() for path in before} == before
    shutil.rmtree(emptied / "out")
    assert "the inputs do not match what was handed out" in work("work", "tasks").stderr


def test_what_another_worker_holds_is_waited_for_and_done_where_that_one_died(place: Path, tmp_path: Path) -> None:
    """One lets go with an answer, one without."""
    shutil.copytree(place / "tasks", tmp_path / "tasks")
    died, finished, *_ = sorted((tmp_path / "tasks").iterdir())
    shutil.move(finished / "out" / "answer.json", tmp_path / "answer.json")
    shutil.rmtree(died / "out")
    before = {path: path.stat().st_mtime_ns for path in finished.glob("out/t0/*.npy")}
    handles = {task: hold(task) for task in (died, finished)}
    command = [*Cli(sys.executable, tmp_path / "no home", tmp_path).command, "work", "tasks"]
    worker = subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE, text=True)
    assert worker.stderr is not None
    said = []
    while not said or "waiting for 2 fits of other workers" not in said[-1]:
        said.append(worker.stderr.readline())
        assert said[-1], said
    shutil.move(tmp_path / "answer.json", finished / "out" / "answer.json")
    for handle in handles.values():
        assert handle is not None
        os.close(handle)
    rest = worker.stderr.read()
    assert worker.wait() == 0
    assert f"{finished.name}: done by another worker" in rest
    assert f"{died.name}: ok in " in rest
    assert "2 done, 0 not" in rest
    assert {path: path.stat().st_mtime_ns for path in before} == before


def test_a_task_of_other_data_is_another_task_and_an_own_program_needs_little(
    place: Path, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """Another seed is handed out anew beside what is there; scores by a program of one's own that knows only the
    folder are taken."""
    shutil.copytree(place / "tasks", tmp_path / "tasks")
    before = set((tmp_path / "tasks").iterdir())
    monkeypatch.chdir(tmp_path)
    capfd.readouterr()
    monkeypatch.setenv("JANUS_BENCH_HOME", str(home))
    asked = {**ASKED, "seeds": [43], "executor": "folder:tasks"}
    janus_bench.run("knn", **asked)
    new = set((tmp_path / "tasks").iterdir()) - before
    assert len(new) == 2
    counted = [line for line in capfd.readouterr().err.splitlines() if line.startswith("[")]
    assert {line.partition(": handed out in ")[2] for line in counted} == {f"tasks/{task.name}" for task in new}
    for task in new:
        told = json.loads((task / "job.json").read_text())
        assert told["scores"] == ["score"]
        for target in told["targets"]:
            (task / "out" / target["name"]).mkdir()
            for role, batch in target["score"].items():
                ids = np.load(task / "in" / batch / "ids" / "ids.npy")
                np.save(task / "out" / target["name"] / f"{role}.ids.npy", ids)
                np.save(task / "out" / target["name"] / f"{role}.npy", np.arange(len(ids), dtype=float)[:, None])
        (task / "out" / "answer.json").write_text(json.dumps({"fingerprint": told["fingerprint"]}))
    assert janus_bench.run("knn", **asked).runs["status"].to_list() == ["ok"] * 2
    for record in RunStore.open(tmp_path / "runs").records().values():
        assert set(record.cost.values()) == {None}


@pytest.mark.parametrize(
    ("detector", "said"),
    [
        ("./told.py", "'told': it is told which flows are attacks, which is never handed out"),
        ("shafir[select=few_shot]", "'shafir': it is told which flows are attacks, which is never handed out"),
        (f"exec:{ROOT}/examples/programs/zscore.toml", "'zscore': it is a program of this machine, which is not"),
    ],
)
def test_what_is_never_handed_out_is_refused_before_anything_starts(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, detector: str, said: str
) -> None:
    (tmp_path / "told.py").write_text(MINE.replace("calibrates=True", "calibrates=True, hints='few_shot'"))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("JANUS_BENCH_HOME", str(home))
    with pytest.raises(UsageError, match=re.escape(said)):
        janus_bench.run(["knn", detector], **ASKED, executor="folder:tasks")
    assert not (tmp_path / "tasks").exists()
    assert not (tmp_path / "runs").exists()


def test_a_job_with_hints_is_not_handed_out_whoever_asks(tmp_path: Path) -> None:
    job: Any = SimpleNamespace(detector="told", hints="hints", folder=str(tmp_path))
    outcome = FolderExecutor(tmp_path / "tasks").run(job, threading.Event(), print)
    assert (outcome.status, outcome.handed_out) == ("error", False)
    assert not (tmp_path / "tasks").exists()


def test_a_folder_that_cannot_be_is_one_line_and_one_that_can_is_not_made(place: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for wrong in ("/proc/xx", "file", "file/below"):
        with pytest.raises(
            UsageError, match=rf"^--executor folder:\S*{wrong}: \S+ cannot be written \(.+\): choose another"
        ):
            chosen_executor(f"folder:{tmp_path / wrong}")
    chosen_executor(f"folder:{tmp_path}/new/tasks")
    assert sorted(tmp_path.iterdir()) == [tmp_path / "file"]
    chosen_executor(f"folder:{place}/tasks")


def test_an_executor_that_there_is_not_is_one_line() -> None:
    for text, said in (
        ("locl", "Did you mean 'local'"),
        ("local:x", "local takes nothing behind it"),
        ("folder:", "name the folder that fits are handed out in"),
    ):
        with pytest.raises(UsageError, match=said):
            chosen_executor(text)
