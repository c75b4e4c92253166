"""Every file that the program reads, damaged as disks, crashes and editors damage files: one clear line and an exit
code, never a traceback."""

from __future__ import annotations

import shutil
import tarfile
from functools import partial
from pathlib import Path

import pytest

from datasets_registry.capture.rules import FlowRules
from datasets_registry.extraction import CaptureFile, extract_all
from tests.conftest import ROOT
from tests.damage import Case, Outcome, outcome_of, try_damages
from tests.pcap_builders import ACK, TCP, ethernet, ipv4, pcap, tcp
from tests.test_compare import write_folder

CASES = 80
"""Of each group; a longer campaign has the same code and other seeds."""


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """``home`` with two datasets and ``old`` results of schema version 1, both as real runs left them, and ``runs`` of
    version 2."""
    folder = tmp_path_factory.mktemp("damaged")
    with tarfile.open(ROOT / "tests" / "pinned" / "pinned.tar.gz") as archive:
        archive.extractall(folder, filter="data")
    (folder / "runs").rename(folder / "old")
    write_folder(folder / "runs", ("good", "poor"), controlled=("good",))
    write_captures(folder / "captures")
    return folder


@pytest.fixture
def home(place: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.setenv("JANUS_BENCH_HOME", str(place / "home"))
    monkeypatch.chdir(tmp_path)
    return place


def write_captures(folder: Path) -> None:
    """Eight flows of one capture, with their labels."""
    folder.mkdir()
    packets, rows = [], ["file,ts_start,src_ip,src_port,dst_ip,dst_port,proto,label,family"]
    for number in range(8):
        source, start = f"10.0.0.{number}", 1_600_000_000 + number
        packets += [
            (start * 10**9 + 1000 * i, ethernet(ipv4(source, "10.1.0.1", TCP, tcp(1000 + number, 80, ACK))))
            for i in range(3)
        ]
        rows.append(
            f"a.pcap,{start},{source},{1000 + number},10.1.0.1,80,tcp,{'benign' if number % 2 else 'attack'},f{number}"
        )
    (folder / "a.pcap").write_bytes(pcap(packets))
    (folder / "labels.csv").write_text("\n".join(rows) + "\n")


def fresh(*arguments: str | Path, output: Path) -> Outcome:
    """A command that wants a place that is not there yet."""
    shutil.rmtree(output, ignore_errors=True)
    output.unlink(missing_ok=True)
    return outcome_of(*arguments)


def of_results(runs: Path, other: Path, tmp_path: Path) -> list[Case]:
    read = (
        partial(outcome_of, "leaderboard", "--runs", runs, "--no-intervals"),
        partial(outcome_of, "leaderboard", "--runs", runs, "--metric", "tpr_at_fpr_5pct@2+", "--format", "csv"),
        partial(outcome_of, "compare", runs, "--control"),
        partial(outcome_of, "published", "--runs", runs),
        partial(fresh, "export", "--runs", runs, "-o", tmp_path / "x.tar.gz", output=tmp_path / "x.tar.gz"),
        partial(fresh, "merge", runs, other, "-o", tmp_path / "merged", output=tmp_path / "merged"),
    )
    return [
        Case(path, read)
        for kind in ("plans", "results", "scores", "truth")
        for path in sorted((runs / kind).iterdir())[:4]
    ]


@pytest.mark.parametrize("runs", ["old", "runs"])
def test_damaged_results_are_one_line(home: Path, tmp_path: Path, runs: str, capfd: pytest.CaptureFixture[str]) -> None:
    other = shutil.copytree(home / runs, tmp_path / "other")
    failures, codes = try_damages(of_results(home / runs, other, tmp_path), CASES, seed=1)
    assert failures == []
    assert codes["3"] > CASES / 3  # most damage is noticed; the rest is of what that command does not read
    assert "panicked" not in capfd.readouterr().err


def test_damaged_intervals_are_computed_again(home: Path) -> None:
    command = partial(outcome_of, "leaderboard", "--runs", home / "old")
    whole = command()
    assert whole.code == 0
    kept = sorted((home / "old" / "statistics").iterdir())
    failures, codes = try_damages([Case(path, (command,)) for path in kept], 30, seed=2)
    assert failures == []
    assert set(codes) == {"0"}
    assert command() == whole


def of_a_dataset(store: Path, tmp_path: Path) -> list[Case]:
    read = (
        partial(outcome_of, "data", "list"),
        partial(outcome_of, "data", "info", "north"),
        partial(outcome_of, "data", "verify", "north"),
        partial(outcome_of, "data", "audit", "north"),
        partial(fresh, "data", "export", "north", "-o", tmp_path / "out", output=tmp_path / "out"),
        partial(
            outcome_of,
            "run",
            "--datasets",
            "north,south",
            "--detectors",
            "length",
            "--seeds",
            "1",
            "--dry-run",
            "--runs",
            tmp_path / "r",
        ),
    )
    return [Case(path, read) for path in sorted(store.rglob("*")) if path.is_file()]


def test_a_damaged_dataset_is_one_line(home: Path, tmp_path: Path) -> None:
    cases = of_a_dataset(home / "home" / "datasets" / "north", tmp_path)
    assert {case.file.suffix for case in cases} == {".json", ".npy", ".parquet", ""}
    failures, codes = try_damages(cases, CASES, seed=3)
    assert failures == []
    assert codes["3"] > CASES / 6


def test_damaged_sequences_are_one_line(home: Path, tmp_path: Path) -> None:
    done = outcome_of("data", "export", "north", "-o", tmp_path / "dense")
    assert done.code == 0, done.err
    add = partial(outcome_of, "data", "add", "again", tmp_path / "dense", "--no-stream")
    names = ("packets.npz", "flows.parquet", "cic_features.parquet", "dataset.json")
    failures, codes = try_damages([Case(tmp_path / "dense" / name, (add,)) for name in names], CASES, seed=4)
    assert failures == []
    assert codes["3"] > CASES / 3


def test_damaged_labels_and_extracted_captures_are_one_line_or_read_again(home: Path, tmp_path: Path) -> None:
    captures = shutil.copytree(home / "captures", tmp_path / "captures")
    add = partial(outcome_of, "data", "add", "small", captures, "--no-stream")
    failures, codes = try_damages([Case(captures / "labels.csv", (add,))], CASES, seed=5)
    assert failures == []
    assert codes["3"] > CASES / 3
    cache = home / "home" / "datasets" / ".extracted" / "small"

    def extracted() -> None:
        cache.mkdir(parents=True, exist_ok=True)
        extract_all({"a.pcap": CaptureFile(captures / "a.pcap", "")}, FlowRules(), cache, 1, lambda *_: None)

    extracted()
    (shard,) = cache.iterdir()
    files = sorted(path.name for path in shard.iterdir())
    for number, name in enumerate(files):
        extracted()
        failures, codes = try_damages([Case(shard / name, (add,))], 1, seed=60 + number)
        assert (failures, set(codes)) == ([], {"0"})


def test_a_damaged_file_of_parameters_is_one_line(home: Path, tmp_path: Path) -> None:
    file = tmp_path / "params.toml"
    file.write_text('[ocsvm]\nnu = 0.1\nkernel = "rbf"\n\n[iforest]\nn_estimators = 50\n')
    request = (
        "--datasets",
        "north,south",
        "--detectors",
        "ocsvm,iforest",
        "--seeds",
        "1",
        "--dry-run",
        "--runs",
        tmp_path / "r",
    )
    failures, codes = try_damages(
        [Case(file, (partial(outcome_of, "run", *request, "--params", file),))], CASES // 2, seed=7
    )
    assert failures == []
    assert set(codes) <= {"0", "2"}
