"""Every file that the program reads, beside the commands that read it."""

from __future__ import annotations

import os
import shutil
import tarfile
from collections.abc import Callable
from pathlib import Path

from datasets_registry.capture.rules import FlowRules
from datasets_registry.extraction import CaptureFile, extract_all
from tests.conftest import ROOT
from tests.faults.damage import Case, Outcome, damage_once, outcome_of, outcome_of_process
from tests.pcap_builders import ACK, TCP, ethernet, ipv4, pcap, tcp
from tests.test_compare import write_folder

PROCESSES = 40
"""One case of so many is a process of its own."""


def write_place(folder: Path) -> Path:
    """``home`` with two datasets and ``old`` results of schema version 1, both as real runs left them, ``runs`` of
    version 2 with models, and ``captures``."""
    with tarfile.open(ROOT / "tests" / "pinned" / "pinned.tar.gz") as archive:
        archive.extractall(folder, filter="data")
    (folder / "runs").rename(folder / "old")
    write_folder(folder / "runs", ("good", "poor"), controlled=("good",))
    write_captures(folder / "captures")
    return folder


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


def of_results(runs: Path, other: Path, out: Path, number: int = 4) -> list[Case]:
    """Of each kind of file so many."""
    read: tuple[tuple[str | Path, ...], ...] = (
        ("leaderboard", "--runs", runs, "--no-intervals"),
        ("leaderboard", "--runs", runs, "--metric", "tpr_at_fpr_5pct@2+", "--format", "csv"),
        ("compare", runs, "--control"),
        ("published", "--runs", runs),
        ("export", "--runs", runs, "-o", out / "x.tar.gz"),
        ("merge", runs, other, "-o", out / "merged"),
    )
    return [
        Case(path, read)
        for kind in ("plans", "results", "scores", "truth")
        for path in sorted((runs / kind).iterdir())[:number]
    ]


def of_intervals(runs: Path) -> list[Case]:
    """What ``leaderboard`` has kept of them."""
    return [Case(path, (("leaderboard", "--runs", runs),)) for path in sorted((runs / "statistics").iterdir())]


def of_a_dataset(store: Path, out: Path) -> list[Case]:
    request = ("--datasets", "north,south", "--detectors", "length", "--seeds", "1", "--dry-run", "--runs", out / "r")
    read: tuple[tuple[str | Path, ...], ...] = (
        ("data", "list"),
        ("data", "info", "north"),
        ("data", "verify", "north"),
        ("data", "audit", "north"),
        ("data", "export", "north", "-o", out / "out"),
        ("run", *request),
    )
    return [Case(path, read) for path in sorted(store.rglob("*")) if path.is_file()]


def of_sequences(folder: Path) -> list[Case]:
    """``folder``: an exported dataset."""
    names = ("packets.npz", "flows.parquet", "cic_features.parquet", "dataset.json")
    return [Case(folder / name, (("data", "add", "again", folder, "--no-stream", "--replace"),)) for name in names]


def of_captures(captures: Path) -> list[Case]:
    add = ("data", "add", "small", captures, "--replace")
    return [Case(captures / name, (add, (*add, "--no-stream"))) for name in ("labels.csv", "a.pcap")]


def of_parameters(file: Path, out: Path) -> list[Case]:
    file.write_text('[ocsvm]\nnu = 0.1\nkernel = "rbf"\n\n[iforest]\nn_estimators = 50\n')
    request = ("--datasets", "north,south", "--detectors", "ocsvm,iforest", "--seeds", "1", "--dry-run")
    return [Case(file, (("run", *request, "--runs", out / "r", "--params", file),))]


def extracted(captures: Path, cache: Path) -> list[Path]:
    """The files of the shard that an addition that was killed has left of ``a.pcap``."""
    cache.mkdir(parents=True, exist_ok=True)
    extract_all({"a.pcap": CaptureFile(captures / "a.pcap", "")}, FlowRules(), cache, 1, lambda *_: None)
    return sorted(path for path in cache.rglob("*") if path.is_file())


def bench(folder: Path) -> Callable[[int], tuple[str, str, int]]:
    """The whole campaign of damaged files in a new folder: one case a seed."""
    place, out = write_place(folder / "place"), folder / "out"
    out.mkdir()
    os.environ["JANUS_BENCH_HOME"] = str(place / "home")
    for arguments in (
        ("leaderboard", "--runs", place / "old"),
        ("data", "export", "north", "-o", place / "dense"),
        ("run", "--protocol", "within", "--datasets", "north", "--detectors", "mahalanobis,knn", "--seeds", "1",
         "--runs", place / "fresh"),
    ):  # fmt: skip
        done = outcome_of(*arguments)
        assert done.code == 0, done.err
    cases = [
        case
        for name in ("old", "runs", "fresh")
        for case in of_results(place / name, shutil.copytree(place / name, place / f"other-{name}"), out)
    ]
    cases += of_intervals(place / "old")
    cases += of_a_dataset(place / "home" / "datasets" / "north", out)
    cases += of_sequences(place / "dense") + of_captures(place / "captures") + of_parameters(place / "p.toml", out)
    cache = place / "home" / "datasets" / ".extracted" / "small"
    shards = [path.relative_to(cache) for path in extracted(place / "captures", cache)]

    def one(seed: int) -> tuple[str, str, int]:
        run: Callable[..., Outcome] = outcome_of_process if seed % PROCESSES == 0 else outcome_of
        number = seed % (len(cases) + len(shards))
        if number < len(cases):
            return damage_once(cases[number : number + 1], seed, run, odd=True)
        extracted(place / "captures", cache)
        add = ("data", "add", "small", place / "captures", "--no-stream", "--replace")
        what, wrong, code = damage_once([Case(cache / shards[number - len(cases)], (add,))], seed, run, odd=True)
        return what, wrong or ("" if code == 0 else f"exit code {code}: it is not read again"), code

    return one
