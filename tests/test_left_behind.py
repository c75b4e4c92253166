"""What a process leaves that was killed while it wrote, and what one does that is asked to end."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

from datasets_registry import extraction
from datasets_registry.capture.rules import FlowRules
from datasets_registry.extraction import CaptureFile, extract_all
from harness import handing
from harness.cli import console
from harness.models import about_model
from harness.operate.captures import benign_dataset
from janus_bench.errors import DataError, JanusBenchError
from janus_bench.files import written_aside
from reports.results import index
from reports.results.columns import RowsMaker
from reports.results.folder import RunStore
from reports.results.index import row_files, write_index
from reports.results.model import Results
from reports.statistics.intervals import kept_statistics
from tests import pcap_builders as build
from tests.conftest import ROOT
from tests.test_compare import AUROC, write_folder
from tests.test_fits import CAPABILITIES

WRITES = """
import sys, time
from pathlib import Path
from janus_bench.files import written_aside
with written_aside(Path(sys.argv[1])) as file:
    file.write(b"half of it")
    print("at work", flush=True)
    time.sleep(600)
"""
WORKS = """
import time
from harness.cli import main
def app():
    print("at work", flush=True)
    time.sleep(600)
main.app = app
main.main()
"""


REMOVES = """
import os, signal, time
from harness.cli import main
class Removed:
    def __del__(self):
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(0.01)
def app():
    print("at work", flush=True)
    Removed()
    time.sleep(600)
main.app = app
main.main()
"""


def started(code: str, *arguments: Path) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-c", code, *map(str, arguments)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "at work\n"
    return process


def killed(process: subprocess.Popen[str]) -> None:
    process.kill()
    process.communicate()


def hidden(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.rglob(".*"))


def test_what_a_killed_run_was_writing_goes_with_the_next_one_and_what_a_living_one_writes_stays(tmp_path):
    runs = tmp_path / "runs"
    RunStore.create(runs)
    killed(started(WRITES, runs / "results" / "k.1.json"))
    killed(started(WRITES, runs / "scores" / "k.parquet"))
    (runs / "models" / ".fit.abcd.part" / "weights").mkdir(parents=True)
    (runs / "locks" / "fit").mkdir(parents=True)
    assert len(hidden(runs)) == 3
    living = started(WRITES, runs / "results" / "l.1.json")
    try:
        RunStore.create(runs)
        (left,) = hidden(runs)
        assert left.startswith(".l.1.json.")
        assert list((runs / "locks").iterdir()) == []
    finally:
        killed(living)
    RunStore.create(runs)
    assert hidden(runs) == []


def test_what_was_left_of_a_file_goes_when_it_is_written_again_and_no_other(tmp_path):
    for name in ("page.html", "other.html"):
        killed(started(WRITES, tmp_path / name))
    (tmp_path / ".page.html.notes").touch()
    console.save(tmp_path / "page.html", b"whole")
    assert [name.split(".")[1] for name in hidden(tmp_path)] == ["other", "page"]
    assert (tmp_path / ".page.html.notes").exists()
    assert (tmp_path / "page.html").read_bytes() == b"whole"


def test_a_name_as_long_as_a_file_system_bears_is_written(tmp_path):
    path = tmp_path / ("é" * 120 + ".html")
    with written_aside(path) as file:
        file.write(b"whole")
    assert [each.name for each in tmp_path.iterdir()] == [path.name]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_whoever_is_asked_to_end_says_so_in_one_line(number):
    process = started(WORKS)
    process.send_signal(number)
    _, err = process.communicate(timeout=30)
    assert (process.returncode, err) == (130, "janus-bench: interrupted\n")


def test_an_interrupt_that_python_cannot_raise_comes_again():
    """The destructor is where Python prints it and goes on."""
    process = started(REMOVES)
    _, err = process.communicate(timeout=30)
    assert (process.returncode, err) == (130, "janus-bench: interrupted\n")


def test_captures_are_not_read_to_their_ends_where_one_of_them_is_none(tmp_path, monkeypatch):
    for name, size in (("long", 10), ("broken", 1)):
        (tmp_path / name).write_bytes(bytes(size))
    ended: list[str] = []

    def reads(path, rules, writer, advance, **_):
        if path.name == "broken":
            raise DataError("broken: no capture")
        try:
            for _ in range(400):
                time.sleep(0.05)
                advance(0)
        finally:
            ended.append(path.name)

    monkeypatch.setattr(extraction, "extract_flows", reads)
    captures = {name: CaptureFile(tmp_path / name, "") for name in ("long", "broken")}
    (tmp_path / "cache").mkdir()
    begun = time.monotonic()
    with pytest.raises(DataError, match="no capture"):
        extract_all(captures, FlowRules(), tmp_path / "cache", 2, lambda *_: None)
    assert ended == ["long"]
    assert time.monotonic() - begun < 10


def test_a_model_that_cannot_be_read_costs_itself_alone_and_is_never_read_through_a_link(tmp_path):
    store, about = RunStore.create(tmp_path / "runs"), about_model(CAPABILITIES, "d", "1", {}, 7, {}, [])
    saved, secret = tmp_path / "saved", tmp_path / "secret"
    secret.mkdir()
    (secret / "file").touch()
    for make in (
        lambda: None,
        lambda: saved.symlink_to(secret),
        lambda: saved.touch(),
        lambda: os.mkfifo(saved),
        lambda: (saved.mkdir(), (saved / "link").symlink_to(secret / "file")),
        lambda: (saved.mkdir(), (saved / "folder").symlink_to(secret)),
        lambda: (saved.mkdir(), os.mkfifo(saved / "fifo")),
    ):
        make()
        with pytest.raises(DataError):
            store.write_model("fit", saved, about)
        subprocess.run(["rm", "-rf", saved], check=True)
    assert list((tmp_path / "runs" / "models").iterdir()) == []
    (saved / "inner").mkdir(parents=True)
    (saved / "inner" / "weights").write_bytes(b"1234")
    store.write_model("fit", saved, about)
    assert (store.model_folder("fit") / "detector" / "inner" / "weights").read_bytes() == b"1234"
    assert [path.name for path in (tmp_path / "runs" / "models").iterdir()] == ["fit"]


def test_what_a_killed_reader_was_keeping_goes_when_the_next_one_keeps_it(tmp_path):
    runs = write_folder(tmp_path / "runs", ("good",))
    (runs / "statistics").mkdir()
    killed(started(WRITES, runs / "statistics" / "0123456789abcdef.json"))
    killed(started(WRITES, runs / index.FILE))
    living = started(WRITES, runs / "statistics" / "fedcba9876543210.json")
    try:
        assert len(hidden(runs)) == 3
        (table,) = Results.open(runs).tables()
        kept_statistics(table, AUROC)
        write_index(runs, RowsMaker().columns(), row_files([]))
        (left,) = hidden(runs)
        assert left.startswith(".fedcba")
    finally:
        killed(living)


FITS = """
import sys, time
from pathlib import Path
from datasets_registry import ingest
from datasets_registry.capture.rules import FlowRules
from harness.operate.captures import benign_dataset
def label(*_):
    print("at work", flush=True)
    time.sleep(600)
ingest._label = label
with benign_dataset({"x": Path(sys.argv[1])}, FlowRules(), 1, lambda *_: None):
    pass
"""


def test_captures_that_a_killed_fit_had_read_go_with_the_next_one_and_are_nobody_else_s(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    flow = build.ethernet(build.ipv4("10.0.0.1", "10.0.0.2", build.TCP, build.tcp(40000, 443, build.SYN, 512)))
    capture, temp = tmp_path / "x.pcap", tmp_path / "temp"
    capture.write_bytes(build.pcap([(10**18, flow), (2 * 10**18, flow)]))
    temp.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(temp))
    command = [sys.executable, "-c", FITS, capture]
    with subprocess.Popen(command, env={**os.environ, "TMPDIR": str(temp)}, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"at work\n"
        held = set(temp.iterdir())
        assert {path.stat().st_mode & 0o777 for path in held} == {0o700}
        with benign_dataset({"x": capture}, FlowRules(), 1, lambda *_: None):
            assert held < set(temp.iterdir())  # what a living one reads stays
        assert set(temp.iterdir()) == held
        process.kill()
    with benign_dataset({"x": capture}, FlowRules(), 1, lambda *_: None):
        pass
    assert (len(held), list(temp.iterdir())) == (2, [])


ANSWERS = """
import sys, time
from pathlib import Path
from harness import handing
def at_work(*_):
    print("at work", flush=True)
    time.sleep(600)
handing._detector, handing.check_inputs = at_work, lambda *_: None
handing.answered(None, Path(sys.argv[1]), None, None)
"""


def test_the_stage_of_a_task_whose_worker_was_killed_goes_with_the_next_task(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place, temp = tmp_path / "task", tmp_path / "temp"
    (place / "in").mkdir(parents=True)
    temp.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(temp))
    seen = []

    def fails(*_: object) -> None:
        seen.append(len(list(temp.iterdir())))
        raise OSError("no such detector")

    monkeypatch.setattr(handing, "_detector", fails)
    monkeypatch.setattr(handing, "check_inputs", lambda *_: None)

    def do_another() -> None:
        with pytest.raises(JanusBenchError, match="no such detector"):
            handing.answered(None, place, None, None)  # type: ignore[arg-type]

    command = [sys.executable, "-c", ANSWERS, place]
    with subprocess.Popen(command, env={**os.environ, "TMPDIR": str(temp)}, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"at work\n"
        do_another()
        process.kill()
    do_another()
    assert (seen, list(temp.iterdir())) == ([2, 1], [])
