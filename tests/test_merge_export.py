"""Results folders made into one, and into one file."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tarfile
from pathlib import Path

import polars as pl
import pytest

from harness.cli import console, leaderboard
from harness.cli import folders as command
from janus_bench.errors import DataError, UsageError
from reports.results.archive import export
from reports.results.folder import RunStore
from reports.results.merge import merge
from reports.results.model import Results
from tests.test_compare import hash_of, run_spec, scores, write_folder


def silent(text: str, fraction: float) -> None:
    """Nobody watches."""


def test_two_folders_become_one_with_shared_runs_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first = write_folder(tmp_path / "a", ("good", "poor"), failed=[("poor", "alpha", "beta", 2)])
    second = write_folder(tmp_path / "b", ("poor", "fair"))
    command.merge([first, second], tmp_path / "c")
    # 2 + 2 detectors of 9 cells and 2 seeds; poor's 18 are in both, one of them failed in the first and counts from the
    # second
    assert "54 runs (18 of them in several folders, alike), 2 plans" in capsys.readouterr().err
    merged = RunStore.open(tmp_path / "c")
    records = merged.records()
    assert {record.status for record in records.values()} == {"ok"}
    table = leaderboard.document(Results(merged, console.say).select(), "auroc")
    assert {row["detector"]: row["status_counts"] for row in table["rows"]} == {
        name: {"ok": 18} for name in ("good", "poor", "fair")
    }
    for store in map(RunStore.open, (first, second)):
        for key, record in store.records().items():
            if record.status == "ok":
                assert merged.scores(key).equals(store.scores(key))


def test_a_run_with_different_scores_is_refused_by_name_and_nothing_is_written(tmp_path: Path) -> None:
    first, second = write_folder(tmp_path / "a"), write_folder(tmp_path / "b")
    key = run_spec("good", "alpha", "beta", 1).key
    RunStore.open(second).write_scores(key, scores("good", "alpha", "beta", 1).with_columns(pl.col("score") * 1.01))
    with pytest.raises(DataError, match=rf"run {key} \(good on beta, seed 1\) has different scores"):
        merge([first, second], tmp_path / "c")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "b"]


def test_scores_that_other_threads_make_are_those_of_the_first_folder_and_it_is_said(tmp_path: Path) -> None:
    first, second = write_folder(tmp_path / "a"), write_folder(tmp_path / "b")
    key = run_spec("good", "alpha", "beta", 1).key
    own = scores("good", "alpha", "beta", 1)
    RunStore.open(second).write_scores(key, own.with_columns(pl.col("score") * (1 + 7e-5)))
    merged = merge([first, second], tmp_path / "c")
    assert any("good on beta, seed 1: scores that differ in rounding" in note for note in merged.notes)
    assert RunStore.open(tmp_path / "c").scores(key).sort("role", "flow_id").equals(own.sort("role", "flow_id"))


def test_other_data_under_one_hash_are_refused(tmp_path: Path) -> None:
    first, second = write_folder(tmp_path / "a"), write_folder(tmp_path / "b")
    path = second / "truth" / f"{hash_of('beta')}.parquet"
    pl.read_parquet(path).with_columns(attack=~pl.col("attack")).write_parquet(path)
    with pytest.raises(DataError, match="different flows under the data hash hash-of-beta"):
        merge([first, second], tmp_path / "c")


def test_another_schema_version_is_refused(tmp_path: Path) -> None:
    first, second = write_folder(tmp_path / "a", schema_version=1), write_folder(tmp_path / "b", schema_version=2)
    with pytest.raises(
        UsageError, match=r"cannot merge results of different schema versions: 1 \(as in .*a\), 2 \(as in .*b\)"
    ):
        merge([first, second], tmp_path / "c")
    assert not (tmp_path / "c").exists()


def test_folders_and_destination_are_checked_first(tmp_path: Path) -> None:
    first = write_folder(tmp_path / "a")
    second = write_folder(tmp_path / "b")
    for folders, destination, said in (
        ([first], tmp_path / "c", "two or more different"),
        ([first, first], tmp_path / "c", "two or more different"),
        ([first, second], second, "not an empty folder"),
    ):
        with pytest.raises(UsageError, match=said):
            merge(folders, destination)
    with pytest.raises(DataError, match="no results in"):
        merge([first, tmp_path / "none"], tmp_path / "c")
    assert not (tmp_path / "c").exists()


def test_data_of_two_versions_stand_in_tables_of_their_own(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first = write_folder(tmp_path / "a", ("good",))
    second = write_folder(tmp_path / "b", ("poor",), profile="paper")
    merge([first, second], tmp_path / "c")
    merged = RunStore.open(tmp_path / "c")
    shown = leaderboard.document(Results(merged, console.say).select(), "auroc")
    assert [row["detector"] for row in shown["rows"]] == ["poor"]
    assert "tables are not mixed" in capsys.readouterr().err


def test_rows_of_two_versions_are_marked(tmp_path: Path) -> None:
    first, second = write_folder(tmp_path / "a", ("good",)), write_folder(tmp_path / "b", ("poor",))
    for folder, version in ((first, "0.1.0"), (second, "0.2.0")):
        for path in (folder / "results").iterdir():
            path.write_text(json.dumps(json.loads(path.read_text()) | {"environment": {"janus-bench": version}}))
    done = merge([first, second], tmp_path / "c")
    assert done.notes == ("rows were made by 2 versions or machines (0.1.0; 0.2.0): tables say so",)
    merged = RunStore.open(tmp_path / "c")
    notes = leaderboard.document(Results(merged).table(merged.plans()), "auroc")["notes"]
    assert "MIXED VERSIONS: rows were made by janus-bench 0.1.0, 0.2.0" in notes


@pytest.mark.parametrize("suffix", [".tar.gz", ".tar.zst"])
def test_an_archive_unpacks_into_a_folder_that_checks_and_shows_the_same(
    tmp_path: Path, suffix: str, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = write_folder(tmp_path / "runs")
    archive = tmp_path / f"results{suffix}"
    command.export(archive, folder)
    printed = capsys.readouterr().out
    assert (
        subprocess.run(["sha256sum", "-c", "-"], input=printed, text=True, capture_output=True, check=True).stdout
        == f"{archive}: OK\n"
    )
    unpacked = tmp_path / "results"
    if suffix == ".tar.gz":
        with tarfile.open(archive) as tar:
            tar.extractall(tmp_path, filter="data")
    elif shutil.which("zstd") is None:
        pytest.skip("no zstd on this machine: the archive was written but not unpacked")
    else:
        subprocess.run(["tar", "--zstd", "-xf", archive, "-C", tmp_path], check=True)
    checked = subprocess.run(
        ["sha256sum", "-c", "SHA256SUMS"], cwd=unpacked, text=True, capture_output=True, check=True
    ).stdout.splitlines()
    assert len(checked) == sum(path.is_file() for path in folder.rglob("*"))
    there, here = Results.open(folder).select(), Results.open(unpacked).select()
    assert leaderboard.document(here, "auroc") == leaderboard.document(there, "auroc")


def test_the_same_results_give_the_same_bytes(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "runs")
    write_folder(tmp_path / "runs", ("fair",))
    shutil.copytree(folder, tmp_path / "copy")  # copies times, too
    for path in (tmp_path / "copy" / "scores").iterdir():
        os.utime(path, (1, 1))
    (tmp_path / "copy" / "results" / ".leftover.part").write_text("of a run that was killed")
    digests = {export(source, tmp_path / "x.tar.gz", silent) for source in (folder, tmp_path / "copy")}
    assert len(digests) == 1


def test_what_cannot_be_archived_is_one_line(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "runs")
    with pytest.raises(UsageError, match=r"end its name with \.tar\.zst or \.tar\.gz"):
        export(folder, tmp_path / "x.zip", silent)
    with pytest.raises(UsageError, match="choose another file"):
        export(folder, tmp_path / "none" / "x.tar.gz", silent)
    key = run_spec("good", "alpha", "beta", 1).key
    (folder / "scores" / f"{key}.parquet").unlink()
    with pytest.raises(DataError, match=f"{key}.parquet is missing"):
        export(folder, tmp_path / "x.tar.gz", silent)
    assert not [path for path in tmp_path.iterdir() if "tar" in path.name]
