"""One process makes a dataset at a time; what killed ones left behind goes, what living or stopped ones need stays."""

from __future__ import annotations

import errno
import fcntl
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from datasets_registry import extraction
from datasets_registry.making import EXTRACTED, KEPT, making
from datasets_registry.registry import make_dataset
from datasets_registry.store import FlowStore
from datasets_registry.writing import replacing
from harness.cli import data
from janus_bench import plugins
from janus_bench.errors import DataError, UsageError
from janus_bench.held import beside, hold
from tests.conftest import ROOT, Cli, write_example_captures


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("JANUS_BENCH_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


STOPS_AT = """
import sys, time
from pathlib import Path
from datasets_registry.making import making
from datasets_registry.writing import replacing

datasets, name = Path(sys.argv[1]), sys.argv[2]
with making(datasets, name) as folder:
    (folder / "shard").mkdir()
    with replacing(folder / "other"), replacing(datasets / name):
        print("at work", flush=True)
        time.sleep(600)
"""


def maker(datasets: Path, name: str) -> subprocess.Popen[str]:
    """A process that is making a dataset, with a finished shard, one that is being written, and a store that is."""
    process = subprocess.Popen(
        [sys.executable, "-c", STOPS_AT, str(datasets), name], cwd=ROOT, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "at work\n"
    return process


def kill(process: subprocess.Popen[str]) -> None:
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert process.stdout is not None
    process.stdout.close()


def below(folder: Path) -> set[str]:
    """Names, what is drawn of them aside."""
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*")}


def test_a_second_process_is_told_in_one_line_and_changes_nothing(home, tmp_path):
    captures = write_example_captures(tmp_path / "captures")
    data.add("lan", [captures], 120.0, stream=False)
    before = FlowStore.open(home / "datasets" / "lan").manifest
    process = maker(home / "datasets", "lan")
    cli = Cli(sys.executable, home, tmp_path)
    files = below(home)
    done = cli("data", "add", "lan", captures, "--replace")
    assert done.returncode == 2
    assert done.stderr == (
        "janus-bench: another process is making lan at this moment: wait for it, or choose another name; "
        "nothing was changed\n"
    )
    assert below(home) == files
    assert FlowStore.open(home / "datasets" / "lan").manifest == before
    # another name is nobody's business, and what the living one has written stays
    data.add("wan", [captures], 120.0, stream=False)
    assert files <= below(home)
    kill(process)
    data.add("lan", [captures], 120.0, stream=False, replace=True)
    assert {path.name for path in (home / "datasets").iterdir()} == {EXTRACTED, "lan", "wan"}
    assert below(home / "datasets" / EXTRACTED) == set()


def test_what_a_killed_process_left_goes_with_the_next_dataset_whatever_its_name(tmp_path):
    kill(maker(tmp_path, "lan"))
    assert {path.suffix for path in tmp_path.iterdir()} == {".part", ""}
    assert (tmp_path / EXTRACTED / "lan" / "shard").is_dir()
    with making(tmp_path, "wan"):
        assert below(tmp_path) == {EXTRACTED, f"{EXTRACTED}/wan"}
    assert below(tmp_path) == {EXTRACTED}


def test_the_same_dataset_goes_on_with_what_a_killed_process_has_finished(tmp_path):
    kill(maker(tmp_path, "lan"))
    with making(tmp_path, "lan") as folder:
        assert below(tmp_path) == {EXTRACTED, f"{EXTRACTED}/lan", f"{EXTRACTED}/lan/shard"}
        assert folder == tmp_path / EXTRACTED / "lan"


def test_what_a_process_that_stopped_in_good_order_has_extracted_stays_for_the_next_try(tmp_path):
    def stops(name: str) -> None:
        with making(tmp_path, name) as folder:
            assert not (folder / KEPT).exists()
            if name == "lan":
                (folder / "shard").mkdir(exist_ok=True)
            raise DataError("the clocks disagree")

    for name in ("lan", "wan", "lan"):
        with pytest.raises(DataError, match="clocks"):
            stops(name)
    assert below(tmp_path) == {EXTRACTED, f"{EXTRACTED}/lan", f"{EXTRACTED}/lan/shard", f"{EXTRACTED}/lan/{KEPT}"}
    with making(tmp_path, "lan") as folder:
        assert below(folder) == {"shard"}
    assert below(tmp_path) == {EXTRACTED}


def test_a_folder_of_an_older_version_with_a_host_and_a_number_in_its_name_goes_too(tmp_path):
    (tmp_path / ".lan.some-host.example-4711-abcdefgh.part" / "packets").mkdir(parents=True)
    (tmp_path / ".lan.notes").mkdir()
    with making(tmp_path, "wan"):
        assert {path.name for path in tmp_path.iterdir()} == {EXTRACTED, ".lan.notes"}


def test_two_threads_or_processes_write_beside_each_other(tmp_path):
    with replacing(tmp_path / "s") as one, replacing(tmp_path / "s") as other:
        assert one != other
        (one / "a").touch()
        (other / "b").touch()
    assert below(tmp_path) == {"s", "s/a"}  # the last one to end has replaced the other's


def test_a_file_system_without_locks_takes_nothing_for_left_behind(tmp_path, monkeypatch):
    def none(_handle: int, _how: int) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", none)
    (tmp_path / ".lan.abcdefgh.part").mkdir()
    with making(tmp_path, "wan") as folder, beside(tmp_path / "wan", ".part") as staged:
        assert hold(folder) is None
        assert staged.is_dir()
    assert {path.name for path in tmp_path.iterdir()} == {EXTRACTED, ".lan.abcdefgh.part"}


def test_two_processes_that_need_the_same_synthetic_dataset_make_it_once(home):
    dataset = next(iter(plugins.datasets().values()))
    process = maker(home / "datasets", dataset.name)
    told: list[str] = []

    def report(text: str, _fraction: float) -> None:
        told.append(text)
        if process.poll() is None:
            os.kill(process.pid, signal.SIGKILL)  # the first one ends; the second has waited for it

    store = make_dataset(dataset, report)
    kill(process)
    assert store.name == dataset.name
    assert make_dataset(dataset, report).hash == store.hash
    assert told.count(f"{dataset.name}: done") == 1
    assert {path.name for path in (home / "datasets").iterdir()} == {EXTRACTED, dataset.name}
    assert below(home / "datasets" / EXTRACTED) == set()


def test_a_decoder_that_is_being_compiled_says_so_after_a_while_and_only_then(tmp_path, monkeypatch):
    captures = write_example_captures(tmp_path / "captures")
    path = min(captures.glob("*.pcap"))
    monkeypatch.setattr(extraction, "PATIENCE_S", 0.05)

    class Kernel:
        signatures: tuple[str, ...] = ()

    told: list[str] = []
    whole = extraction.extract_flows

    def slow(*arguments, **more):
        time.sleep(0.3)
        return whole(*arguments, **more)

    monkeypatch.setattr(extraction, "extract_flows", slow)
    for signatures, said in (((), 1), (("compiled",), 0)):
        Kernel.signatures = signatures
        monkeypatch.setattr(extraction.kernels, "scan", kernel_like(Kernel, extraction.kernels.scan))
        told.clear()
        (tmp_path / f"cache{said}").mkdir()
        extraction.extract_all(
            {"x": extraction.CaptureFile(path, "")},
            extraction.FlowRules(),
            tmp_path / f"cache{said}",
            1,
            lambda text, _: told.append(text),
        )
        assert sum("loading the packet decoder" in text for text in told) == said


def kernel_like(kind: type, kernel):
    """The kernel with other ``signatures``."""

    class Like(kind):  # type: ignore[misc]
        def __call__(self, *arguments):
            return kernel(*arguments)

    return Like()


def test_usage_is_an_error_of_usage(tmp_path):
    with (
        making(tmp_path, "lan"),
        pytest.raises(UsageError, match="another process is making lan"),
        making(tmp_path, "lan"),
    ):
        pass
