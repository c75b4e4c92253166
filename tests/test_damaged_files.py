"""Every file that the program reads, damaged as disks, crashes and editors damage files: one clear line and an exit
code, never a traceback.  ``make faults`` does more of the same (docs/faults.md)."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.faults import files
from tests.faults.damage import Case, outcome_of, try_damages

CASES = 40
"""Of each group."""


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return files.write_place(tmp_path_factory.mktemp("damaged"))


@pytest.fixture
def home(place: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.setenv("JANUS_BENCH_HOME", str(place / "home"))
    monkeypatch.chdir(tmp_path)
    return place


@pytest.mark.parametrize("runs", ["old", "runs"])
def test_damaged_results_are_one_line(home: Path, tmp_path: Path, runs: str, capfd: pytest.CaptureFixture[str]) -> None:
    other = shutil.copytree(home / runs, tmp_path / "other")
    failures, codes = try_damages(files.of_results(home / runs, other, tmp_path), CASES, seed=1)
    assert failures == []
    assert codes["3"] > CASES / 3  # most damage is noticed; the rest is of what that command does not read
    assert "panicked" not in capfd.readouterr().err


def test_damaged_intervals_are_computed_again(home: Path) -> None:
    request = ("leaderboard", "--runs", home / "old")
    whole = outcome_of(*request)
    assert whole.code == 0
    failures, codes = try_damages(files.of_intervals(home / "old"), 30, seed=2)
    assert failures == []
    assert set(codes) == {"0"}
    assert outcome_of(*request) == whole


def test_a_damaged_dataset_is_one_line(home: Path, tmp_path: Path) -> None:
    cases = files.of_a_dataset(home / "home" / "datasets" / "north", tmp_path)
    assert {case.file.suffix for case in cases} == {".json", ".npy", ".parquet", ""}
    failures, codes = try_damages(cases, CASES, seed=3)
    assert failures == []
    assert codes["3"] > CASES / 6


def test_damaged_sequences_are_one_line(home: Path, tmp_path: Path) -> None:
    done = outcome_of("data", "export", "north", "-o", tmp_path / "dense")
    assert done.code == 0, done.err
    failures, codes = try_damages(files.of_sequences(tmp_path / "dense"), CASES, seed=4)
    assert failures == []
    assert codes["3"] > CASES / 3


def test_damaged_labels_and_extracted_captures_are_one_line_or_read_again(home: Path, tmp_path: Path) -> None:
    captures = shutil.copytree(home / "captures", tmp_path / "captures")
    add = ("data", "add", "small", captures, "--no-stream", "--replace")
    failures, codes = try_damages([Case(captures / "labels.csv", (add,))], CASES, seed=5)
    assert failures == []
    assert codes["3"] > CASES / 3
    cache = home / "home" / "datasets" / ".extracted" / "small"
    for number, file in enumerate(files.extracted(captures, cache)):
        files.extracted(captures, cache)
        failures, codes = try_damages([Case(file, (add,))], 1, seed=60 + number)
        assert (failures, set(codes)) == ([], {"0"})


def test_a_damaged_file_of_parameters_is_one_line(home: Path, tmp_path: Path) -> None:
    failures, codes = try_damages(files.of_parameters(tmp_path / "params.toml", tmp_path), CASES // 2, seed=7)
    assert failures == []
    assert set(codes) <= {"0", "2"}
