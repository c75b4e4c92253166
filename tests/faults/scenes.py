"""Work that is killed: what it begins with, the command, what of it must stay in any case, and what comes of it."""

from __future__ import annotations

import shutil
import tarfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from datasets_registry.store import FlowStore
from tests.conftest import ROOT, write_example_captures
from tests.faults.places import digests, finished_rows
from tests.replicas import write_cicddos2019
from tests.test_compare import write_folder

Finished = Mapping[str, Any]


class Torn(ValueError):
    """Something is neither what it was nor what it should become."""


@dataclass(frozen=True)
class Scene:
    """One kind of work in a folder.

    prepare   writes what it begins with
    finished  what is done by now and must never be lost or changed; Torn where something is half of itself
    result    what is there in the end, the same however often it was begun
    workers   it has child processes
    """

    name: str
    command: tuple[str, ...]
    prepare: Callable[[Path], None]
    finished: Callable[[Path], Finished]
    result: Callable[[Path], Finished]
    workers: bool = False


def _home(folder: Path) -> None:
    with tarfile.open(ROOT / "tests" / "pinned" / "pinned.tar.gz") as archive:
        archive.extractall(folder, [member for member in archive if member.name.startswith("home")], filter="data")


def _scores(folder: Path) -> Finished:
    return {key: digest for key, (_, digest) in finished_rows(folder / "runs").items()}


def _captures(folder: Path) -> None:
    """Twelve captures three times, and two datasets that have nothing to do with them."""
    _home(folder)
    captures = write_example_captures(folder / "captures")
    text = (captures / "labels.csv").read_text().splitlines()
    lines = text[:1]
    for copy in range(3):
        for path in sorted(captures.glob("*.pcap")):
            if not path.name.startswith("copy"):
                shutil.copyfile(path, captures / f"copy{copy}-{path.name}")
        lines += [f"copy{copy}-{line}" for line in text[1:]]
    for path in captures.glob("*.pcap"):
        if not path.name.startswith("copy"):
            path.unlink()
    (captures / "labels.csv").write_text("\n".join(lines) + "\n")


def _others(folder: Path) -> Finished:
    """The datasets that are not being made, and the new one if it is there, which can be opened then."""
    datasets = folder / "home" / "datasets"
    if (datasets / "lan").exists():
        FlowStore.open(datasets / "lan")
    return {name: digests(datasets / name) for name in ("north", "south", "lan") if (datasets / name).exists()}


def _replaced(folder: Path) -> None:
    _captures(folder)
    datasets = folder / "home" / "datasets"
    shutil.copytree(datasets / "north", datasets / "lan")


def _old_or_new(folder: Path) -> Finished:
    datasets = folder / "home" / "datasets"
    found = FlowStore.open(datasets / "lan").manifest["name"]
    if found == "north" and digests(datasets / "lan") != digests(datasets / "north"):
        raise Torn("the old dataset is not whole")
    return {name: digests(datasets / name) for name in ("north", "south")}


def _published(folder: Path) -> None:
    _home(folder)
    write_cicddos2019(folder / "published", seed=1)


def _two_folders(folder: Path) -> None:
    write_folder(folder / "a", ("good", "poor", "fair"), controlled=("good",))
    write_folder(folder / "b", ("good", "fair"))


def _with_old(name: str) -> Callable[[Path], None]:
    def prepare(folder: Path) -> None:
        write_folder(folder / "runs", ("good", "poor", "fair"), controlled=("good", "poor"))
        (folder / name).write_bytes(OLD)

    return prepare


OLD = b"what was there before"


def _output(name: str) -> tuple[Callable[[Path], Finished], Callable[[Path], Finished]]:
    """The file that is written, and the rows that it is made of."""

    def finished(folder: Path) -> Finished:
        data = (folder / name).read_bytes()
        if data != OLD and len(data) < 2 * len(OLD):
            raise Torn(f"{name} is neither the old nor the new one")
        return digests(folder / "runs", "[!s]*/**/*") | digests(folder / "runs", "scores/*")

    return finished, lambda folder: digests(folder, name)


def _written(name: str, *command: str) -> Scene:
    finished, result = _output(name)
    return Scene(f"{command[0]} -o", (*command, "--runs", "runs", "-o", name), _with_old(name), finished, result)


SCENES = (
    Scene(
        "run",
        ("run", "--protocol", "cross", "--datasets", "north,south", "--seeds", "1", "--jobs", "2",
         "--detectors", "length,mahalanobis,iforest", "--runs", "runs"),
        _home,
        lambda folder: finished_rows(folder / "runs"),
        _scores,
        workers=True,
    ),
    Scene(
        "data add",
        ("data", "add", "lan", "captures", "--replace"),
        _captures,
        _others,
        lambda folder: digests(folder / "home" / "datasets" / "lan"),
    ),
    Scene(
        "data add over",
        ("data", "add", "lan", "captures", "--replace"),
        _replaced,
        _old_or_new,
        lambda folder: digests(folder / "home" / "datasets" / "lan"),
    ),
    Scene(
        "data prepare",
        ("data", "prepare", "cicddos2019", "--captures", "published/captures", "--labels", "published/labels",
         "--as", "lan", "--stream", "--replace"),
        _published,
        _others,
        lambda folder: digests(folder / "home" / "datasets" / "lan"),
    ),
    Scene(
        "merge",
        ("merge", "a", "b", "-o", "merged"),
        _two_folders,
        lambda folder: digests(folder, "[ab]/**/*") | digests(folder, "merged/**/*"),
        lambda folder: digests(folder / "merged"),
    ),
    _written("page.html", "report"),
    _written("table.csv", "leaderboard", "--format", "csv"),
    _written("runs.tar.gz", "export"),
)  # fmt: skip
