"""What cannot be read is never passed over in silence, and what a message advises leads to the same numbers."""

from __future__ import annotations

import json
import os
import re
import shutil
import tarfile
import tempfile
import tracemalloc
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from datasets_registry.sequences import ingest_sequences
from janus_bench.errors import DataError
from janus_bench.stored import read_table, table_bytes
from reports.results.folder import RunStore
from tests.conftest import ROOT
from tests.faults.damage import outcome_of
from tests.test_compare import run_spec, scores, write_folder


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with ``home`` (datasets north and south), where commands run."""
    with tarfile.open(ROOT / "tests" / "pinned" / "pinned.tar.gz") as archive:
        archive.extractall(tmp_path, [member for member in archive if member.name.startswith("home")], filter="data")
    monkeypatch.setenv("JANUS_BENCH_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    return tmp_path


@contextmanager
def without_permission(path: Path) -> Iterator[None]:
    """As someone who may not look into ``path``; a root that runs the tests is nobody for so long."""
    path.chmod(0)
    if os.getuid() == 0:
        os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(os.getuid())
        path.chmod(0o755)


# -- results -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "damage",
    [
        lambda path: path.write_bytes(table_bytes(read_table(path).head(0))),
        lambda path: path.write_bytes(table_bytes(read_table(path).head(100))),
        lambda path: path.write_bytes(path.read_bytes()[:-1]),
        lambda path: path.write_bytes(b""),
        lambda path: path.write_bytes(table_bytes(read_table(path).with_columns(score=pl.lit(float("nan"))))),
        lambda path: path.write_bytes(table_bytes(read_table(path).with_columns(flow_id=pl.col("flow_id") + 10**6))),
        lambda path: path.write_bytes(table_bytes(read_table(path).drop("role"))),
    ],
)
def test_scores_that_are_empty_or_damaged_are_not_archived(tmp_path: Path, damage) -> None:
    runs = write_folder(tmp_path / "runs", ("good",))
    for path in (runs / "results").iterdir():
        path.write_text(
            json.dumps(
                json.loads(path.read_text())
                | {"counts": {"n_cal": 10, "n_cal_b": 10, "n_test_benign": 70, "n_test_attack": 60}}
            )
        )
    assert outcome_of("export", "--runs", runs, "-o", tmp_path / "whole.tar.gz").code == 0
    key = run_spec("good", "alpha", "beta", 1).key
    damage(runs / "scores" / f"{key}.parquet")
    found = outcome_of("export", "--runs", runs, "-o", tmp_path / "x.tar.gz")
    assert found.code == 3
    assert f"{key}.parquet" in found.err
    assert not (tmp_path / "x.tar.gz").exists()


def test_a_flipped_bit_in_stored_scores_is_never_another_number(tmp_path: Path) -> None:
    store = RunStore.create(tmp_path / "runs")
    table = scores("good", "alpha", "beta", 1)
    store.write_scores("k", table)
    path = tmp_path / "runs" / "scores" / "k.parquet"
    whole = path.read_bytes()
    noticed = 0
    for place in range(0, len(whole), 7):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 1 << place % 8]) + whole[place + 1 :])
        try:
            assert store.scores("k").rows() == table.rows()
        except DataError:
            noticed += 1
    assert noticed > len(whole) / 7 / 2


@pytest.mark.parametrize("folder", ["results", "plans"])
def test_a_results_folder_that_may_not_be_read_is_an_error(folder: str) -> None:
    with tempfile.TemporaryDirectory() as open_to_all:
        Path(open_to_all).chmod(0o755)
        runs = write_folder(Path(open_to_all) / "runs", ("good",))
        assert outcome_of("leaderboard", "--runs", runs, "--no-intervals").code == 0
        with without_permission(runs / folder):
            found = outcome_of("leaderboard", "--runs", runs, "--no-intervals")
        assert found.code == 3
        assert f"{runs / folder} cannot be read (Permission denied)" in found.err


# -- datasets ----------------------------------------------------------------------------------------------------------


def test_a_dataset_that_cannot_be_opened_is_listed_with_the_reason_and_left_out_aloud(place: Path) -> None:
    datasets = place / "home" / "datasets"
    for name in ("cut", "gone", "nonsense"):
        shutil.copytree(datasets / "north", datasets / name)
    (datasets / "cut" / "packets" / "size.npy").write_bytes(b"\x93NUMPY")
    (datasets / "gone" / "manifest.json").unlink()
    (datasets / "nonsense" / "manifest.json").write_text('{"store_version": 3, "families": null}')
    rows = {row["dataset"]: row for row in json.loads(outcome_of("data", "list", "--format", "json").out)}
    assert {name for name in ("north", "south", "cut", "gone", "nonsense") if name in rows} == {
        "north",
        "south",
        "cut",
        "gone",
        "nonsense",
    }
    assert {rows[name]["kind"] for name in ("cut", "gone", "nonsense")} == {"unreadable"}
    assert "packets/size.npy" in rows["cut"]["summary"]
    assert "no manifest.json" in rows["gone"]["summary"]
    assert "is missing" in rows["nonsense"]["summary"]
    assert rows["north"]["kind"] != "unreadable"
    found = outcome_of("run", "--detectors", "length", "--seeds", "1", "--dry-run")
    assert found.code == 0, found.err
    assert {line.split(" ")[2] for line in found.err.splitlines() if "is left out" in line} == {
        "cut",
        "gone",
        "nonsense",
    }


def sequences(folder: Path, packets: np.ndarray) -> Path:
    """Dense packet sequences of so many flows."""
    folder.mkdir()
    np.savez_compressed(folder / "packets.npz", packets=packets)
    write_flows(folder, len(packets))
    return folder


def write_flows(folder: Path, n: int) -> None:
    ends = {
        "src_ip": ["1.2.3.4"] * n,
        "src_port": [1] * n,
        "dst_ip": ["1.2.3.5"] * n,
        "dst_port": [2] * n,
        "proto": [6] * n,
    }
    pl.DataFrame({**ends, "ts_start": [float(i) for i in range(n)], "label": ["benign"] * n}).write_parquet(
        folder / "flows.parquet"
    )


@pytest.mark.parametrize(
    "dtype", ["U3", "S3", "O", "complex128", "datetime64[s]", "timedelta64[s]", [("a", "f4")], "V8"]
)
def test_sequences_of_another_type_are_one_line(tmp_path: Path, dtype) -> None:
    folder = sequences(tmp_path / "s", np.zeros((4, 3, 9), np.dtype(dtype)))
    with pytest.raises(DataError, match=r"packets\.npz"):
        ingest_sequences(folder, tmp_path / "store", name="s")


@pytest.mark.parametrize("dtype", ["u1", "i2", ">i4", "f2", "f4", ">f8", "longdouble"])
def test_sequences_of_any_number_are_read(tmp_path: Path, dtype: str) -> None:
    folder = sequences(tmp_path / "s", np.ones((4, 3, 9), np.dtype(dtype)))
    assert ingest_sequences(folder, tmp_path / "store", name="s")["n_packets"] == 12


@pytest.mark.parametrize("shape", [(4, 0, 9), (0, 3, 9), (4, 3, 0), (4, 9), ()])
def test_sequences_of_another_shape_are_one_line(tmp_path: Path, shape: tuple[int, ...]) -> None:
    folder = (
        sequences(tmp_path / "s", np.zeros(shape))
        if shape
        else sequences(tmp_path / "s", np.zeros((1, 1, 9), "f4")[:0])
    )
    with pytest.raises(DataError):
        ingest_sequences(folder, tmp_path / "store", name="s")


def peak_of_adding(folder: Path, home: Path) -> float:
    """MB at most while the folder is added, or is refused."""
    tracemalloc.start()
    try:
        ingest_sequences(folder, home, name="s")
    except DataError:
        pass
    finally:
        peak = tracemalloc.get_traced_memory()[1] / 1e6
        tracemalloc.stop()
    return peak


def test_a_small_file_of_long_sequences_takes_little_memory(tmp_path: Path) -> None:
    """144 MB of zeros in 140 kB: only the first 64 packets of a flow are kept, and only they are ever held."""
    folder = tmp_path / "s"
    folder.mkdir()
    with (
        zipfile.ZipFile(folder / "packets.npz", "w", zipfile.ZIP_DEFLATED) as archive,
        archive.open("packets.npy", "w") as member,
    ):
        np.lib.format.write_array_header_1_0(
            member, {"descr": "<f8", "fortran_order": False, "shape": (20, 100_000, 9)}
        )
        for _ in range(20):
            member.write(bytes(100_000 * 9 * 8))
    write_flows(folder, 20)
    assert (folder / "packets.npz").stat().st_size < 200_000
    assert peak_of_adding(folder, tmp_path / "store") < 30
    assert json.loads((tmp_path / "store" / "manifest.json").read_text())["n_packets"] == 20


def test_a_header_that_claims_to_be_endless_is_not_read(tmp_path: Path) -> None:
    folder = tmp_path / "s"
    folder.mkdir()
    with (
        zipfile.ZipFile(folder / "packets.npz", "w", zipfile.ZIP_DEFLATED) as archive,
        archive.open("packets.npy", "w") as member,
    ):
        member.write(b"\x93NUMPY\x02\x00\xf0\xff\xff\xff" + bytes(100_000_000))
    write_flows(folder, 20)
    assert peak_of_adding(folder, tmp_path / "store") < 30


# -- what messages advise ----------------------------------------------------------------------------------------------


def test_following_every_advice_leads_to_the_same_numbers_and_honest_folders_merge(place: Path) -> None:
    """One folder is run in one go; of another each kind of file is damaged, what is said is done, and it is run again
    with other jobs."""
    request = ("run", "--protocol", "within", "--detectors", "iforest", "--datasets", "north", "--seeds", "1")
    assert outcome_of(*request, "--runs", "one", "--jobs", "1").code == 0
    shutil.copytree(place / "one", place / "two")
    for kind in ("scores", "truth", "plans", "results"):
        path = sorted((place / "two" / kind).iterdir())[0]
        path.write_bytes(path.read_bytes()[:-20])
        found = outcome_of("export", "--runs", "two", "-o", "x.tar.gz")
        assert found.code == 3, kind
        assert f"two/{kind}/{path.name} is damaged" in found.err
        assert "delete it" in found.err
        path.unlink()
        if also := re.search(r"and results/(\S+)\.\*\.json", found.err):
            for row in (place / "two" / "results").glob(f"{also[1]}.*.json"):
                row.unlink()
        again = outcome_of(*request, "--runs", "two", "--jobs", "2")
        assert again.code == 0, again.err
    first, second = RunStore.open(place / "one"), RunStore.open(place / "two")
    assert first.records().keys() == second.records().keys()
    assert all(first.scores(key).equals(second.scores(key)) for key in first.records())
    assert all(first.records()[key].metrics == second.records()[key].metrics for key in first.records())
    merged = outcome_of("merge", "one", "two", "-o", "both")
    assert merged.code == 0, merged.err
    assert "2 runs (2 of them in several folders, alike), 1 plan\n" in merged.err
    tables = {
        name: outcome_of("leaderboard", "--runs", name, "--no-intervals", "--format", "csv").out
        for name in ("one", "two", "both")
    }
    assert tables["one"] == tables["two"] == tables["both"]
