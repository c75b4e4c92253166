"""Folders that people really have: links, sidecars, packings and misspelt classes.  Every file is taken or named."""

from __future__ import annotations

import errno
import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from datasets_registry.folders import (
    DANGLING,
    HIDDEN,
    POINTER,
    SAME,
    SPECIAL,
    files_below,
    looks_like_capture,
    say_left,
)
from datasets_registry.ingest import ingest_folder
from datasets_registry.store import FlowStore
from harness.cli import data, prepare
from janus_bench.errors import DataError, UsageError
from tests import pcap_builders as build
from tests.conftest import SHARED_DATA, Cli, needs_shared_data, write_example_captures
from tests.replicas import write_cicddos2019

CASES = SHARED_DATA / "cases"
S = 10**9


def capture(path: Path, number: int = 0) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    segment = build.tcp(1000 + number, 80, build.SYN)
    path.write_bytes(build.pcap([(S, build.ethernet(build.ipv4("10.0.0.1", "10.0.0.2", build.TCP, segment)))]))
    return path


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("JANUS_BENCH_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


# --- the walk


def test_links_are_followed_and_every_file_is_there_once_or_has_a_reason(tmp_path):
    folder, elsewhere = tmp_path / "f", tmp_path / "elsewhere"
    capture(folder / "a" / "1.pcap")
    capture(elsewhere / "deep" / "2.pcap", 2)
    capture(tmp_path / "3.pcap", 3)
    (folder / "linked").symlink_to(elsewhere)
    (folder / "3.pcap").symlink_to(tmp_path / "3.pcap")
    (folder / "0_again").symlink_to(folder / "a")
    (folder / "0_same.pcap").symlink_to(folder / "a" / "1.pcap")
    (folder / "a" / "up").symlink_to(folder)
    (folder / "lost.pcap").symlink_to(tmp_path / "nowhere")
    (folder / "self").symlink_to(folder / "self")
    (folder / "lfs.pcap").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 5\n")
    (folder / "annex.pcap").write_text("/annex/objects/SHA256E-s5--00.pcap\n")
    os.mkfifo(folder / "pipe.pcap")
    (folder / "._1.pcap").write_bytes(b"\0\5\x16\7")
    (folder / "__MACOSX" / "a").mkdir(parents=True)
    (folder / "__MACOSX" / "a" / "1.pcap").touch()
    (folder / ".git").mkdir()
    below = files_below(folder)
    assert list(below.files) == ["3.pcap", "a/1.pcap", "linked/deep/2.pcap"]
    assert below.left == {
        "._1.pcap": HIDDEN,
        ".git": HIDDEN,
        "0_again": SAME,
        "0_same.pcap": SAME,
        "__MACOSX": HIDDEN,
        "a/up": SAME,
        "annex.pcap": POINTER,
        "lfs.pcap": POINTER,
        "lost.pcap": DANGLING,
        "pipe.pcap": SPECIAL,
        "self": DANGLING,
    }


def test_a_folder_that_cannot_be_read_is_named(tmp_path, monkeypatch):
    (tmp_path / "closed").mkdir()
    capture(tmp_path / "open.pcap")
    whole = Path.iterdir

    def closed(path: Path) -> Iterator[Path]:
        if path.name == "closed":
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
        return whole(path)

    monkeypatch.setattr(Path, "iterdir", closed)
    below = files_below(tmp_path)
    assert (list(below.files), below.left) == (["open.pcap"], {"closed": "cannot be read (Permission denied)"})


@pytest.mark.parametrize(
    ("name", "taken"),
    [
        (name, True)
        for name in (
            "x.pcap",
            "d/x.PCAP.xz",
            "x.pcap1",
            "x.pcapng.bz2",
            "x.cap.zip",
            "x.pcap.gz.part",
            "x.dmp",
            "x.pcap.1",
        )
    ]
    + [(name, False) for name in ("x.pcap_ISCX.csv", "README.md", "pcap", "x.pcap.md5", "pcap.txt")],
)
def test_what_somebody_took_for_a_capture(name, taken):
    assert looks_like_capture(name) == taken


def test_long_lists_are_cut_and_counted():
    (line,) = say_left({f"{number:02}.txt": "no reason" for number in range(25)}, "a capture")
    assert line.startswith("not taken for a capture, no reason: 00.txt, 01.txt")
    assert line.endswith("09.txt and 15 more")


# --- data prepare


def iot(tmp_path: Path) -> Path:
    folder = tmp_path / "iot"
    capture(folder / "Benign_Final" / "BenignTraffic.pcap")
    capture(tmp_path / "disk" / "DDoS-ICMP_Flood" / "DDoS-ICMP_Flood.pcap", 1)
    (folder / "DDoS-ICMP_Flood").symlink_to(tmp_path / "disk" / "DDoS-ICMP_Flood")
    capture(folder / "DoS-UDP_Flood" / "DoS-UDP_Flood.pcap", 2)
    (folder / "DoS-UDP_Flood" / "DoS-UDP_Flood1.pcap").symlink_to("../.git/annex/objects/x.pcap")
    capture(folder / "DoS-UDP_Flood" / "DoS-UDP_Flood2.pcap.xz", 3)
    capture(folder / "DoS-UDP_Flod" / "DoS-UDP_Flod.pcap", 4)
    capture(folder / "DoS-UDP_Flood" / "DoS-UDP_Flood.pcap1", 5)
    (folder / "DoS-UDP_Flood" / "._DoS-UDP_Flood.pcap").write_bytes(b"\0\5\x16\7" + bytes(60))
    (folder / "DoS-UDP_Flood" / "DoS-UDP_Flood3.pcap").touch()
    (folder / "README.txt").touch()
    return folder


def test_prepare_takes_every_file_below_its_folder_or_names_it_with_the_reason(home, tmp_path, capsys):
    prepare.prepare("ciciot2023[label_scope=file]", iot(tmp_path), name="x")
    manifest = FlowStore.open(home / "datasets" / "x").manifest
    assert list(manifest["files"]) == [
        "Benign_Final/BenignTraffic.pcap",
        "DDoS-ICMP_Flood/DDoS-ICMP_Flood.pcap",
        "DoS-UDP_Flood/DoS-UDP_Flood.pcap",
        "DoS-UDP_Flood/DoS-UDP_Flood3.pcap",
    ]
    warned = "\n".join(manifest["warnings"])
    for name, why in (
        ("DoS-UDP_Flood/DoS-UDP_Flood1.pcap", DANGLING),
        ("DoS-UDP_Flood/DoS-UDP_Flood2.pcap.xz", "packed or named in a way that is not read"),
        ("DoS-UDP_Flod/DoS-UDP_Flod.pcap", "not named as ciciot2023 names them"),
        ("DoS-UDP_Flood/DoS-UDP_Flood.pcap1", "not named as ciciot2023 names them"),
    ):
        (line,) = [line for line in manifest["warnings"] if name in line.split(": ")[-1].split(", ")]
        assert why in line
    assert "DoS-UDP_Flood/DoS-UDP_Flood3.pcap: empty, or cut off before its first packet" in manifest["warnings"]
    said = capsys.readouterr().err
    assert "a name that begins with a dot, or __MACOSX: DoS-UDP_Flood/._DoS-UDP_Flood.pcap" in said
    assert "not named as ciciot2023 names them: README.txt" in said
    assert said.count(f"warning: {warned.splitlines()[0]}") == 1


def test_a_folder_without_captures_says_in_one_line_what_there_is(home, tmp_path):
    capture(tmp_path / "iot" / "DoS-UDP_Flod.pcap")
    (tmp_path / "iot" / "Benign_Final.pcap").symlink_to("nowhere")
    (tmp_path / "iot" / "._x.pcap").touch()
    with pytest.raises(DataError) as error:
        prepare.prepare("ciciot2023", tmp_path / "iot", name="x")
    assert "none of its 1 files is a capture of ciciot2023; expected a folder per attack" in str(error.value)
    assert str(error.value).endswith(
        f"; there are DoS-UDP_Flod.pcap; not taken for a capture, {DANGLING}: Benign_Final.pcap"
    )


def test_linked_folders_and_sidecars_of_label_files(home, tmp_path, capsys):
    truth = write_cicddos2019(tmp_path, seed=5)
    moved = tmp_path / "disk"
    (truth.labels / "03-11").rename(moved)
    (truth.labels / "03-11").symlink_to(moved)
    (truth.labels / "01-12" / "._Syn.csv").write_bytes(b"\0\5\x16\7" + bytes(60))
    (truth.labels / "01-12" / "lost.csv").symlink_to("nowhere")
    (truth.labels / "other.csv").touch()
    prepare.prepare("cicddos2019", truth.captures, truth.labels, name="x")
    assert FlowStore.open(home / "datasets" / "x").n_flows == len(truth.matched())
    said = capsys.readouterr().err
    for line in (
        f"{HIDDEN}: 01-12/._Syn.csv",
        f"{DANGLING}: 01-12/lost.csv",
        "not named as this dataset names them: other.csv",
    ):
        assert f"not taken for a label file, {line}" in said


def test_label_files_of_days_without_captures_are_named(home, tmp_path, capsys):
    truth = write_cicddos2019(tmp_path, seed=5)
    for path in truth.captures.rglob("SAT-03-11*"):
        path.unlink()
    prepare.prepare("cicddos2019", truth.captures, truth.labels, name="x")
    assert (
        "not taken for a label file, it is of 03-11, of which there are no captures: 03-11/" in capsys.readouterr().err
    )


@pytest.mark.parametrize("which", ["captures", "labels"])
def test_a_file_in_place_of_a_folder_says_what_to_do(home, tmp_path, which):
    truth = write_cicddos2019(tmp_path, seed=5)
    folders = {"captures": truth.captures, "labels": truth.labels}
    file = next(path for path in sorted(folders[which].rglob("*")) if path.is_file())
    with pytest.raises(DataError, match=f"is a file: name the folder that it is in with --{which} {file.parent}"):
        prepare.prepare("cicddos2019", **(folders | {which: file}), name="x")
    assert not home.exists()


# --- data add


def test_add_of_a_file_says_what_to_do_instead(home, tmp_path):
    file = capture(tmp_path / "c" / "x.pcap")
    with pytest.raises(
        UsageError, match=r"x\.pcap: is a file; what is added is a folder.*put them into a folder of their own"
    ):
        data.add("x", [file], 120.0, stream=False)
    (tmp_path / "c" / "labels.csv").touch()
    with pytest.raises(UsageError, match=f"its folder has one: janus-bench data add x {tmp_path / 'c'}"):
        data.add("x", [file], 120.0, stream=False)
    assert not home.exists()


def test_add_names_what_looks_like_a_capture_and_is_not_taken(tmp_path):
    folder = write_example_captures(tmp_path / "captures")
    (folder / "lost.pcap").symlink_to("nowhere")
    capture(folder / "more.pcap.xz")
    capture(folder / ".git" / "annex" / "x.pcap")
    capture(tmp_path / "disk" / "y.pcap", 7)
    (folder / "disk").symlink_to(tmp_path / "disk")
    manifest = ingest_folder(folder, tmp_path / "store", name="x")
    assert [line.rpartition(": ")[2] for line in manifest["warnings"]] == ["lost.pcap", "more.pcap.xz"]
    assert "disk/y.pcap" in manifest["files"]
    assert manifest["n_flows"] == 840


# --- the cases that were handed in


@needs_shared_data
@pytest.mark.parametrize("links", [True, False])
def test_the_case_of_links(tmp_path, links):
    """Where the case was copied without its links, they are texts; ``links``: made links again."""
    shutil.copytree(CASES / "prepare_links", tmp_path / "case", symlinks=True, dirs_exist_ok=True)
    iot = tmp_path / "case" / "iot"
    for path, target in (
        (iot / "DDoS-ICMP_Flood", "../store/DDoS-ICMP_Flood"),
        (iot / "DoS-UDP_Flood" / "DoS-UDP_Flood1.pcap", "../.git/annex/objects/x"),
    ):
        path.unlink()
        if links:
            path.symlink_to(target)
        else:
            path.write_text(target)
    done = Cli(sys.executable, tmp_path / "home", tmp_path / "case")(
        "data", "prepare", "ciciot2023[label_scope=file]", "--captures", "iot", "--as", "x"
    )
    assert done.returncode == 0, done.stderr
    assert ("DDoS-ICMP_Flood" in done.stdout) == links
    assert links or "not named as ciciot2023 names them: DDoS-ICMP_Flood" in done.stderr
    assert (
        f"warning: not taken for a capture, {DANGLING if links else POINTER}: DoS-UDP_Flood/DoS-UDP_Flood1.pcap"
        in done.stderr
    )


@needs_shared_data
@pytest.mark.parametrize(
    ("driver", "folder", "sidecar"),
    [("ciciot2023[label_scope=file]", "iot", "._DDoS-ICMP_Flood.pcap"), ("iscxtor2016", "tor", "__MACOSX")],
)
def test_the_case_of_sidecars(home, driver, folder, sidecar, capsys):
    prepare.prepare(driver, CASES / "prepare_appledouble" / folder, name="x")
    assert len(FlowStore.open(home / "datasets" / "x").manifest["files"]) == 2
    assert sidecar in capsys.readouterr().err
