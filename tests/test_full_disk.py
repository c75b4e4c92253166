"""A disk that is full where a file is written: the old file stays, nothing is left beside it, and the cause is
named."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from harness.cli import console
from harness.cli.main import main
from janus_bench.errors import UsageError
from janus_bench.files import why, write_array, write_atomically
from reports.results.folder import RunStore
from tests.conftest import ROOT
from tests.faults.damage import outcome_of
from tests.test_compare import write_folder

OLD = b"the page of last week"


@pytest.fixture
def full_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system with 16 KiB left; skipped where this user may not mount one."""
    folder = tmp_path / "disk"
    folder.mkdir()
    if (
        subprocess.run(
            ["mount", "-t", "tmpfs", "-o", "size=128k", "tmpfs", folder], capture_output=True, check=False
        ).returncode
        != 0
    ):
        pytest.skip("mounting a tmpfs needs root")
    (folder / "filler").write_bytes(bytes(112 << 10))
    yield folder
    subprocess.run(["umount", "-l", folder], check=True)


@pytest.mark.parametrize(
    ("name", "command"),
    [
        ("page.html", ("report",)),
        ("table.json", ("leaderboard", "--no-intervals", "--format", "json")),
        ("runs.tar.gz", ("export",)),
        ("runs.tar.zst", ("export",)),
        ("figure.png", ("figure", "density", "--detector", "good")),
    ],
)
def test_a_file_asked_for_with_o_is_the_old_one_where_the_disk_is_full(
    full_disk: Path, name: str, command: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("JANUS_BENCH_HOME", str(tmp_path / "home"))
    runs = write_folder(tmp_path / "runs", ("good", "poor", "fair"))
    (full_disk / name).write_bytes(OLD)
    found = outcome_of(*command, "--runs", runs, "-o", full_disk / name)
    assert found.code == 2
    (line,) = [line for line in found.err.splitlines() if line.startswith("janus-bench: ")]
    assert (
        line == f"janus-bench: cannot write {full_disk / name} (No space left on device): choose another file with -o"
    )
    assert (full_disk / name).read_bytes() == OLD
    assert sorted(path.name for path in full_disk.iterdir()) == sorted([name, "filler"])


def test_a_run_whose_stage_finds_the_disk_full_says_so_in_its_rows(
    full_disk: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Arrays that numpy would write itself end in an error without a number; a map that is written to would kill the
    process."""
    with tarfile.open(ROOT / "tests" / "pinned" / "pinned.tar.gz") as archive:
        archive.extractall(tmp_path, [member for member in archive if member.name.startswith("home")], filter="data")
    monkeypatch.setenv("JANUS_BENCH_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(tempfile, "tempdir", str(full_disk))
    for detector in ("janus", "iforest"):  # packets, and a matrix of features
        found = outcome_of(
            "run",
            "--protocol",
            "within",
            "--datasets",
            "north",
            "--detectors",
            detector,
            "--seeds",
            "1",
            "--runs",
            tmp_path / detector,
        )
        assert found.code == 1, found.err
        records = RunStore.open(tmp_path / detector).records().values()
        assert {record.status for record in records} == {"error"}
        assert all("No space left on device" in record.reason and "None" not in record.reason for record in records)


def test_an_array_on_a_full_disk_is_an_error_with_its_number(full_disk: Path) -> None:
    with pytest.raises(OSError, match="No space left on device"):
        write_array(full_disk / "a.npy", np.zeros(1 << 16))


def test_a_cause_without_a_number_is_still_told() -> None:
    assert why(OSError("12 requested and 3 written")) == "12 requested and 3 written"
    assert why(OSError(28, None)) == "No space left on device"
    assert why(OSError()) == "OSError"


def test_what_is_written_with_o_keeps_links_and_permissions_and_never_replaces_a_device(tmp_path: Path) -> None:
    (tmp_path / "real").write_bytes(OLD)
    (tmp_path / "real").chmod(0o640)
    (tmp_path / "link").symlink_to("real")
    console.save(tmp_path / "link", b"new")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "real").read_bytes() == b"new"
    assert (tmp_path / "real").stat().st_mode & 0o777 == 0o640
    with pytest.raises(UsageError, match="No space left on device"):
        console.save(Path("/dev/full"), b"new")
    assert Path("/dev/full").is_char_device()
    with pytest.raises(UsageError, match="it is a folder"):
        console.save(tmp_path, b"new")
    console.save(tmp_path / "new", b"new")
    assert not write_atomically(tmp_path / "new", b"newer", exclusive=True)
    assert (tmp_path / "new").read_bytes() == b"new"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["link", "new", "real"]


def test_a_command_that_runs_out_of_memory_is_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def exhausted(*_: object) -> None:
        raise MemoryError

    monkeypatch.setattr("harness.cli.main.app", exhausted)
    monkeypatch.setattr("sys.argv", ["janus-bench", "report"])
    with pytest.raises(SystemExit) as end:
        main()
    assert end.value.code == 1
    assert (
        capsys.readouterr().err
        == "janus-bench: not enough memory for this; run it again where there is more: janus-bench report\n"
    )


def test_a_dataset_is_not_replaced_by_half_of_one(full_disk: Path, tmp_path: Path) -> None:
    runs = write_folder(tmp_path / "runs")
    shutil.copytree(runs, tmp_path / "again")
    found = outcome_of("merge", runs, tmp_path / "again", "-o", full_disk / "merged")
    assert found.code == 1
    assert "No space left on device" in found.err
    assert [path.name for path in full_disk.iterdir()] == ["filler"]


def test_what_is_written_as_it_comes_and_what_is_replaced_when_it_is_whole(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "file").touch()
    streams = ("/dev/null", "/dev/stdout", "/dev/fd/1", "/proc/self/fd/1", tmp_path / "fifo")
    assert all(console._is_stream(Path(each)) for each in streams)
    assert not any(
        console._is_stream(Path(each)) for each in ("/dev/shm/table.json", tmp_path / "file", tmp_path / "x")
    )


def test_standard_output_under_another_name_keeps_what_is_in_it(tmp_path: Path) -> None:
    code = (
        "from pathlib import Path; from harness.cli import console; console.save(Path('/dev/stdout'), ['b\\n', 'c\\n'])"
    )
    subprocess.run(
        ["/bin/sh", "-c", f'echo a > out; "{sys.executable}" -c "$0" >> out', code], cwd=tmp_path, check=True
    )
    assert (tmp_path / "out").read_text() == "a\nb\nc\n"


def test_a_link_is_replaced_and_what_it_leads_to_left_alone(tmp_path: Path) -> None:
    """But for a file that somebody named with ``-o``."""
    (tmp_path / "precious").write_text("mine")
    (tmp_path / "link").symlink_to("precious")
    write_atomically(tmp_path / "link", "new")
    assert ((tmp_path / "precious").read_text(), (tmp_path / "link").read_text()) == ("mine", "new")
    assert not (tmp_path / "link").is_symlink()
    (tmp_path / "link").unlink()
    (tmp_path / "link").symlink_to("precious")
    console.save(tmp_path / "link", ["new"])
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "precious").read_text() == "new"
