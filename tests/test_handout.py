"""Fits that are handed out: somebody without results and data gets the same bits, learns no label and no name, and what
was altered is refused."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

import janus_bench
from harness.executors.choice import chosen_executor
from janus_bench.errors import UsageError
from reports.results.folder import RunStore
from tests.conftest import Cli

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
        ("ids", "test.ids.npy does not hold the ids that were handed out, in their order"),
        ("no ids", "test.ids.npy cannot be read: No such file or directory"),
        ("missing", "test.npy is missing"),
        ("nan", "test.npy holds scores of 1 flows that are no finite numbers"),
        ("fewer", "test.npy holds "),
        ("link", "test.npy is not a regular file"),
        ("foreign", "answers another task (fingerprint 0000000000000000, asked for "),
        ("junk", 'is no answer: targets.t0.score_s is "fast"'),
    ],
)
def test_what_was_altered_is_a_row_with_its_reason(
    place: Path, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: str, said: str
) -> None:
    shutil.copytree(place / "tasks", tmp_path / "tasks")
    altered(tmp_path / "tasks", how)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("JANUS_BENCH_HOME", str(home))
    refused = janus_bench.run("knn", **ASKED, executor="folder:tasks").runs
    assert refused["status"].to_list() == ["invalid_output"] * 2
    assert all(said in reason and "\n" not in reason for reason in refused["reason"])


def test_a_task_of_other_data_is_another_task_and_an_own_program_needs_little(
    place: Path, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another seed is handed out anew beside what is there; scores by a program of one's own that knows only the
    folder are taken."""
    shutil.copytree(place / "tasks", tmp_path / "tasks")
    before = set((tmp_path / "tasks").iterdir())
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("JANUS_BENCH_HOME", str(home))
    asked = {**ASKED, "seeds": [43], "executor": "folder:tasks"}
    janus_bench.run("knn", **asked)
    new = set((tmp_path / "tasks").iterdir()) - before
    assert len(new) == 2
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


def test_who_is_told_of_attacks_is_handed_nothing(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hinted = MINE.replace("calibrates=True", "calibrates=True, hints='few_shot'")
    (tmp_path / "told.py").write_text(hinted)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("JANUS_BENCH_HOME", str(home))
    refused = janus_bench.run("./told.py", **ASKED, executor="folder:tasks").runs
    assert all("told which flows are attacks, which is never handed out" in reason for reason in refused["reason"])
    assert not (tmp_path / "tasks").exists()


def test_an_executor_that_there_is_not_is_one_line() -> None:
    for text, said in (
        ("locl", "Did you mean 'local'"),
        ("local:x", "local takes nothing behind it"),
        ("folder:", "name the folder that fits are handed out in"),
    ):
        with pytest.raises(UsageError, match=said):
            chosen_executor(text)
