"""``janus-bench run`` end to end: real processes, real captures, resumed, killed, limited, interrupted."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import polars as pl
import psutil
import pytest

from reports.results.folder import RunStore
from tests.conftest import Cli, shared_once

TWO = ("--datasets", "alpha,beta", "--seeds", "42")


def records_by_status(runs: Path) -> dict[str, int]:
    counts: dict[str, int] = {}
    for record in RunStore.open(runs).records().values():
        counts[record.status] = counts.get(record.status, 0) + 1
    return counts


@pytest.fixture(scope="session")
def finished_runs(home, tmp_path_factory):
    """A small cross run of two detectors, made once."""

    def make(folder: Path) -> None:
        done = Cli(sys.executable, home, folder)("run", "--protocol", "cross", "--detectors", "iforest,length", *TWO)
        assert done.returncode == 0, done.stderr

    return shared_once(tmp_path_factory, "finished", make) / "runs"


@pytest.fixture
def finished(cli, finished_runs):
    """A copy of that run."""
    shutil.copytree(finished_runs, cli.folder / "runs", copy_function=shutil.copy2)
    return cli


def test_cross_run_fills_the_table_and_stores_scores(finished):
    store = RunStore.open(finished.folder / "runs")
    records = store.records()
    assert len(records) == 4 + 2 + 4  # iforest: 4 cells and 2 controls; length learns nothing, so it has no control
    assert {record.status for record in records.values()} == {"ok"}
    document = json.loads(finished("leaderboard", "--format", "json").stdout)
    assert document["n_expected_cells"] == 4
    rows = {row["detector"]: row for row in document["rows"]}
    assert all(cell["mean"] is not None and cell["control"] is not None for cell in rows["iforest"]["cells"])
    assert all(cell["control"] is None for cell in rows["length"]["cells"])
    for record in records.values():
        scores = store.scores(record.key)
        assert scores["role"].unique(maintain_order=True).to_list() == ["source_val", "cal_a", "cal_b", "test"]
        assert scores.schema["score"] == pl.Float64
        counts = dict(scores.group_by("role").len().iter_rows())
        assert counts["test"] == record.counts["n_test_benign"] + record.counts["n_test_attack"]
        assert counts["cal_b"] == record.counts["n_cal_b"]


def test_stored_scores_give_the_leaderboards_numbers_by_an_independent_way(finished):
    from sklearn.metrics import roc_auc_score

    store = RunStore.open(finished.folder / "runs")
    for record in store.records().values():
        scores = (
            store.scores(record.key)
            .filter(pl.col("role") == "test")
            .join(store.truth(record.spec["target_hash"]), on="flow_id")
        )
        assert record.metrics["auroc"] == pytest.approx(roc_auc_score(scores["attack"], scores["score"]), abs=1e-12)


def test_roles_are_the_partitions_parts(finished):
    store = RunStore.open(finished.folder / "runs")
    for record in store.records().values():
        scores = store.scores(record.key)
        truth = store.truth(record.spec["target_hash"]).select("flow_id", "attack")
        by_role = {role[0]: part for role, part in scores.group_by("role")}
        for role, part in by_role.items():
            if role != "source_val":
                assert part.join(truth, on="flow_id", how="left")["attack"].any() == (role == "test")
        used = [set(part["flow_id"]) for role, part in by_role.items() if role != "source_val"]
        assert sum(map(len, used)) == len(set().union(*used))  # no flow in two roles


def test_the_same_command_again_does_nothing_and_says_so(finished):
    before = {path: path.stat().st_mtime_ns for path in (finished.folder / "runs" / "results").iterdir()}
    again = finished("run", "--protocol", "cross", "--detectors", "iforest,length", *TWO)
    assert again.returncode == 0
    assert "nothing to do: all 10 runs" in again.stderr
    assert {path: path.stat().st_mtime_ns for path in (finished.folder / "runs" / "results").iterdir()} == before


def test_within_shares_the_diagonal_of_cross(finished):
    within = finished("run", "--protocol", "within", "--detectors", "iforest", *TWO)
    assert within.returncode == 0
    assert "nothing to do" in within.stderr
    assert "also holds cross" in finished("leaderboard", "--protocol", "within").stderr + finished("leaderboard").stderr


def test_two_runs_in_two_folders_give_the_same_scores(finished):
    again = finished("run", "--protocol", "cross", "--detectors", "iforest,length", *TWO, "--runs", "elsewhere")
    assert again.returncode == 0
    one, two = RunStore.open(finished.folder / "runs"), RunStore.open(finished.folder / "elsewhere")
    assert set(one.records()) == set(two.records())
    for key in one.records():
        assert one.scores(key).equals(two.scores(key))


def scores_of(runs: Path) -> dict[str, pl.DataFrame]:
    store = RunStore.open(runs)
    return {key: store.scores(key) for key, record in store.records().items() if record.status == "ok"}


def test_a_deleted_row_that_is_run_again_has_the_scores_that_it_had(finished):
    runs = finished.folder / "runs"
    before = scores_of(runs)
    gone = sorted(before)[::2]
    for key in gone:
        for path in [*(runs / "results").glob(f"{key}.*"), runs / "scores" / f"{key}.parquet"]:
            path.unlink()
    again = finished("run", "--protocol", "cross", "--detectors", "iforest,length", *TWO)
    assert again.returncode == 0, again.stderr
    assert f"{len(gone)} runs ok" in again.stderr
    after = scores_of(runs)
    assert set(after) == set(before)
    assert all(after[key].equals(before[key]) for key in before)


def test_dry_run_prints_the_plan_with_its_parts_and_writes_nothing(cli):
    done = cli("run", "--detectors", "iforest", *TWO, "--dry-run")
    assert done.returncode == 0
    assert "test benign" in done.stdout
    assert "time blocks" in done.stdout
    assert "4 fits, 6 runs" in done.stderr
    assert not (cli.folder / "runs").exists()


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (
            (),
            {
                "h-nan": ("invalid_output", "NaN or infinite"),
                "h-short": ("invalid_output", "expected ("),
                "h-raises": ("error", "ValueError: the fit went wrong"),
                "h-exits": ("error", "exited with code 7"),
            },
        ),
        (("--timeout", "3s"), {"h-sleeps": ("timeout", "still running after 3 s")}),
        (("--max-memory", "400M"), {"h-hog": ("oom", "--max-memory")}),
    ],
)
def test_a_failing_detector_costs_its_rows_and_nothing_else(plugin_cli, options, expected):
    started = time.monotonic()
    chosen = ",".join((*expected, "length"))
    done = plugin_cli(
        "run", "--protocol", "within", "--detectors", chosen, "--datasets", "alpha", "--seeds", "42", *options
    )
    assert time.monotonic() - started < 60
    assert done.returncode == 1
    assert "Traceback" not in done.stderr + done.stdout
    assert "run only what failed again with: janus-bench run" in done.stderr
    statuses = Counter(status for status, _ in expected.values())
    assert records_by_status(plugin_cli.folder / "runs") == {
        **{status: 2 * number for status, number in statuses.items()},
        "ok": 1,
    }
    document = json.loads(plugin_cli("leaderboard", "--format", "json").stdout)
    for detector, (status, words) in expected.items():
        assert words in done.stderr
        row = next(row for row in document["rows"] if row["detector"] == detector)
        assert row["status_counts"] == {"ok": 0, status: 1}
        assert row["cells"][0]["status"] == status
        assert row["cells"][0]["mean"] is None
    assert not workers_below(psutil.Process())


def workers_below(process: psutil.Process) -> list[psutil.Process]:
    """The processes of fits: what a server that descends from a process has forked."""
    found = []
    for child in process.children(recursive=True):
        try:
            words = child.cmdline()
            if "harness.executors.server" in words and (above := child.parent()) and above.cmdline() == words:
                found.append(child)
        except psutil.Error:
            continue
    return found


def wait_for(condition, seconds: float = 60.0):
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        value = condition()
        if value:
            return value
        time.sleep(0.05)
    raise AssertionError("it did not happen in time")


@pytest.fixture
def half_done(plugin_cli):
    """A run whose only worker has scored its first target and then hangs."""
    marker = plugin_cli.folder / "hang"
    marker.touch()
    command = ("run", "--protocol", "cross", "--detectors", f"h-slow-score[marker={marker}]", *TWO, "--jobs", "1")
    process = plugin_cli.start(*command)
    try:
        wait_for(lambda: list((plugin_cli.folder / "runs" / "results").glob("*.json")))
        yield plugin_cli, command, marker, process
    finally:
        process.kill()
        process.wait()


def test_kill_9_of_a_worker_marks_what_was_not_finished_and_resume_completes_it(half_done):
    cli, command, marker, process = half_done
    marker.unlink()  # from now on, workers do not hang
    worker = wait_for(lambda: workers_below(psutil.Process(process.pid)))[0]
    worker.send_signal(signal.SIGKILL)
    _, stderr = process.communicate(timeout=120)
    assert process.returncode == 1, stderr
    assert "signal 9" in stderr
    runs = cli.folder / "runs"
    # two sources × two targets and two controls: of the killed fit one cell was done, the other says killed
    assert records_by_status(runs) == {"ok": 5, "killed": 1}
    kept = {path: path.stat().st_mtime_ns for path in (runs / "results").glob("*.1.json")}

    again = cli(*command)
    assert again.returncode == 0, again.stderr
    assert "1 run ok, 0 not, 5 reused" in again.stderr
    assert records_by_status(runs) == {"ok": 6}
    # append-only: the killed attempt is still there
    assert {path: path.stat().st_mtime_ns for path in (runs / "results").glob("*.1.json")} == kept

    undisturbed = cli(*command, "--runs", "undisturbed")
    assert undisturbed.returncode == 0, undisturbed.stderr
    whole, resumed = scores_of(cli.folder / "undisturbed"), scores_of(runs)
    assert set(whole) == set(resumed)
    assert all(whole[key].equals(resumed[key]) for key in whole)


def test_a_new_parameter_with_its_default_changes_no_score(plugin_cli):
    done = plugin_cli("run", "--protocol", "cross", "--detectors", "t-one-parameter,t-two-parameters", *TWO)
    assert done.returncode == 0, done.stderr
    store = RunStore.open(plugin_cli.folder / "runs")
    found: dict[str, dict[tuple[str, ...], pl.DataFrame]] = {}
    for key, record in store.records().items():
        place = tuple(str(record.spec[name]) for name in ("regime", "source", "target"))
        found.setdefault(record.spec["detector"], {})[place] = store.scores(key)
    one, two = found["t-one-parameter"], found["t-two-parameters"]
    assert len(one) == 6
    assert all(two[place].equals(one[place]) for place in one)


def test_interrupt_keeps_what_is_finished_and_leaves_no_process(half_done):
    cli, command, marker, process = half_done
    workers = wait_for(lambda: workers_below(psutil.Process(process.pid)))
    process.send_signal(signal.SIGINT)
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == 130, stderr
    assert "Go on with: janus-bench run" in stderr
    assert not any(worker.is_running() and worker.status() != psutil.STATUS_ZOMBIE for worker in workers)
    assert records_by_status(cli.folder / "runs") == {"ok": 1, "interrupted": 5}
    marker.unlink()
    assert cli(*command).returncode == 0


def test_a_worker_dies_with_its_parent(half_done):
    *_, process = half_done
    workers = wait_for(lambda: workers_below(psutil.Process(process.pid)))
    process.kill()
    process.wait()
    assert wait_for(
        lambda: not any(worker.is_running() and worker.status() != psutil.STATUS_ZOMBIE for worker in workers), 10
    )


def test_a_results_folder_that_cannot_be_written_is_usage(cli):
    (cli.folder / "blocked").write_text("a file where a folder should be")
    done = cli("run", "--detectors", "length", *TWO, "--runs", "blocked/runs")
    assert done.returncode == 2
    assert done.stderr.strip().splitlines()[-1].startswith("janus-bench: results folder")
    assert "Traceback" not in done.stderr


@pytest.fixture
def tiny_disk(tmp_path: Path):
    """A file system of 256 KiB; skipped where this user may not mount one."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", folder], capture_output=True, check=False
    )
    if mounted.returncode != 0:
        pytest.skip("mounting a tmpfs needs root")
    yield folder
    subprocess.run(["umount", "-l", folder], check=True)


def test_a_full_disk_is_one_line_and_loses_nothing(cli, tiny_disk):
    done = cli("run", "--detectors", "length,iforest,ocsvm", *TWO, "--runs", tiny_disk / "runs")
    assert done.returncode == 1
    assert "No space left on device" in done.stderr
    assert "Traceback" not in done.stderr
    assert (
        f"janus-bench run --detectors length,iforest,ocsvm --datasets alpha,beta --seeds 42 --runs {tiny_disk / 'runs'}"
        in done.stderr
    )
    # every row that is there is whole, and so are its scores
    for record in RunStore.open(tiny_disk / "runs").records().values():
        if record.status == "ok":
            assert len(RunStore.open(tiny_disk / "runs").scores(record.key)) > 0


def test_a_read_only_file_system_is_usage(cli, tiny_disk):
    subprocess.run(["mount", "-o", "remount,ro", tiny_disk], check=True)
    done = cli("run", "--detectors", "length", *TWO, "--runs", tiny_disk / "runs")
    assert done.returncode == 2
    assert "cannot be written (Read-only file system)" in done.stderr


@pytest.mark.parametrize(
    ("protocol", "rows", "runs"), [("pooled", 2, 4 + 4 + 2), ("train-size", 5, 5 * 2), ("contamination", 5, 5 * 2)]
)
def test_protocols_with_rows_of_their_own_run_end_to_end(cli, protocol, rows, runs):
    done = cli("run", "--protocol", protocol, "--detectors", "knn", *TWO)
    assert done.returncode == 0, done.stderr
    assert f"{runs} runs ok, 0 not" in done.stderr
    document = json.loads(cli("leaderboard", "--format", "json").stdout)
    assert len(document["rows"]) == rows
    assert all(cell["mean"] is not None for row in document["rows"] for cell in row["cells"])
    records = RunStore.open(cli.folder / "runs").records().values()
    if protocol == "pooled":
        sizes = {
            record.spec["regime"]: record.counts["n_train"] for record in records if record.spec["target"] == "alpha"
        }
        assert sizes["pooled"] > sizes["transfer"] > sizes["control"]
    if protocol == "train-size":
        assert {min(record.spec["train_size"] or 10**9, 400) >= record.counts["n_train"] for record in records} == {
            True
        }
    if protocol == "contamination":
        assert {record.partition["attacks_in_train"] for record in records} > {0}
        assert len({record.counts["n_test_attack"] for record in records}) == 1


def test_a_detector_of_streams_is_skipped_where_packets_of_flows_are_missing_from_the_stream(home, tmp_path):
    shutil.copytree(home / "datasets", tmp_path / "home" / "datasets")
    path = tmp_path / "home" / "datasets" / "alpha" / "manifest.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "packets_not_in_stream": 3}))
    cli = Cli(sys.executable, tmp_path / "home", tmp_path)
    done = cli("run", "--protocol", "within", "--detectors", "kitsune,length", *TWO)
    assert done.returncode == 1, done.stderr
    records = [
        record for record in RunStore.open(tmp_path / "runs").records().values() if record.spec["source"] is not None
    ]
    status = {(record.spec["detector"], record.spec["target"]): (record.status, record.reason) for record in records}
    assert status["kitsune", "alpha"] == ("skipped", "alpha: 3 packets of its flows are not in the packet stream")
    assert {status[pair][0] for pair in (("kitsune", "beta"), ("length", "alpha"), ("length", "beta"))} == {"ok"}
