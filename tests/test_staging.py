"""A part is staged once for all detectors, each is given the inputs that it declared, and nothing stays."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from datasets_registry.registry import OpenDataset
from datasets_registry.store import FlowStore
from harness import runner
from harness.staging import Batch, Input, Part, Stages, remove_stale
from protocols.splits import Draw
from tests.test_same_bits import run
from tests.test_who_is_given_what import numbered_home  # noqa: F401  a fixture

DETECTORS = ("length", "iforest", "knn", "kitsune")
PAIRS = [(source, target) for source in ("north", "south") for target in ("north", "south")]


def test_every_input_of_every_part_is_written_once_for_all_detectors(
    numbered_home: Path,  # noqa: F811
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made: list[Stages] = []
    monkeypatch.setattr(runner, "Stages", lambda *arguments: made.append(Stages(*arguments)) or made[-1])
    run(numbered_home, tmp_path / "runs", ("north", "south"), PAIRS, DETECTORS)
    (stages,) = made
    assert set(stages.written.values()) == {1}
    inputs = {
        part.name: sorted(each.folder for other, each in stages.written if other.name == part.name)
        for part, _ in stages.written
    }
    everything = sorted(2 * ["features", "ids", "packets", "stream"])  # of two datasets
    assert {part: inputs[part] for part in ("cal_a", "cal_b", "test")} == {
        "cal_a": everything,
        "cal_b": everything,
        "test": everything,
    }
    assert inputs["train"] == sorted(2 * ["features", "ids", "packets", "stream-own=True"])
    assert not stages.folder.exists()


@pytest.fixture
def dataset(numbered_home: Path) -> OpenDataset:  # noqa: F811
    return OpenDataset(FlowStore.open(numbered_home / "datasets" / "north"))


def test_inputs_go_when_nobody_waits_for_them_and_links_outlive_them(dataset: OpenDataset) -> None:
    part = Part(dataset.store.hash, Draw(1, "grouped", "quick"), "cal_a")
    first, second = (Batch.of(part, frozenset({name}), scored=True) for name in ("features", "packets"))
    stages = Stages([dataset], [first, second, first])
    try:
        folder = stages.open({"a": first})
        assert Counter(path.parent.name for path in (folder / "in" / "a").rglob("*.npy")) == {"ids": 1, "features": 1}
        matrix = np.load(folder / "in" / "a" / "features" / "features.npy", mmap_mode="r")
        other = stages.open({"a": first, "b": second})
        assert len(list((other / "in" / "b" / "packets").iterdir())) == 10  # nine channels and their offsets
        stages.release(folder, [first])
        assert not folder.exists()
        place = stages.folder / "parts" / part.key
        assert (place / "features").is_dir()
        stages.release(other, [first, second])
        assert not any(place.iterdir())
        assert np.isfinite(matrix).all()
    finally:
        stages.close()
    assert not list(Path(tempfile.gettempdir()).glob(f"{stages.folder.name}*"))


def test_order_and_ids_depend_on_data_draw_and_part_alone(dataset: OpenDataset) -> None:
    draw = Draw(1, "grouped", "quick")
    orders = {}
    for name, each in {"cal_a": draw, "cal_b": draw, "again": draw, "seed": Draw(2, "grouped", "quick")}.items():
        part = Part(dataset.store.hash, each, {"again": "cal_a", "seed": "cal_a"}.get(name, name))
        stages = Stages([dataset], [Batch.of(part, frozenset(), scored=True)])
        folder = stages.open({"x": Batch.of(part, frozenset(), scored=True)})
        orders[name] = stages.flow_ids(part).tolist(), np.load(folder / "in" / "x" / "ids" / "ids.npy").tolist()
        stages.close()
    assert orders["cal_a"] == orders["again"]
    assert sorted(orders["cal_a"][0]) != orders["cal_a"][0]
    assert orders["cal_a"][0] != orders["seed"][0]
    assert not set(orders["cal_a"][1]) & set(orders["cal_b"][1])
    assert Input("stream") in Batch.of(Part("x", draw, "test"), frozenset({"stream"}), scored=True).inputs


def test_a_part_s_key_follows_from_data_draw_and_name_and_each_purpose_has_numbers_of_its_own() -> None:
    draw = Draw(1, "grouped", "quick")
    part = Part("hash", draw, "test")
    draws = [
        replace(draw, **changes)
        for changes in ({"seed": 2}, {"split": "random"}, {"caps": "paper"}, {"train_size": 9}, {"contamination": 0.1})
    ]
    others = [Part("hash", each, "test") for each in draws] + [Part("other", draw, "test"), Part("hash", draw, "train")]
    assert part.key == Part("hash", Draw(1, "grouped", "quick"), "test").key
    assert len({part.key, *(other.key for other in others)}) == 1 + len(others)
    numbers = {each.generator(purpose).integers(2**62) for each in (part, *others) for purpose in (0, 1, 2)}
    assert len(numbers) == 3 * (1 + len(others))
    assert part.generator(1).integers(2**62) == part.generator(1).integers(2**62)


def test_packets_are_staged_under_the_flows_that_they_are_of_and_cannot_be_changed(home: Path) -> None:
    dataset = OpenDataset(FlowStore.open(home / "datasets" / "alpha"))
    part = Part(dataset.store.hash, Draw(1, "grouped", "quick"), "test")
    batch = Batch.of(part, frozenset({"packets", "features"}), scored=True)
    stages = Stages([dataset], [batch])
    try:
        folder = stages.open({"x": batch}) / "in" / "x"
        assert not any(path.stat().st_mode & 0o222 for path in folder.rglob("*.npy"))
        offsets, size = np.load(folder / "packets" / "offsets.npy"), np.load(folder / "packets" / "size.npy")
        begins, stored = dataset.store.shards[0].arrays()
        rows = stages.flow_ids(part)
        assert len(np.unique(np.diff(offsets))) > 5
        for row, flow in enumerate(rows):
            assert (
                size[offsets[row] : offsets[row + 1]].tolist()
                == stored["size"][begins[flow] : begins[flow + 1]].tolist()
            )
    finally:
        stages.close()


def test_rows_ids_and_captures_have_a_generator_each(dataset: OpenDataset, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []
    drawn = Part.generator
    monkeypatch.setattr(Part, "generator", lambda self, purpose: asked.append(purpose) or drawn(self, purpose))
    part = Part(dataset.store.hash, Draw(1, "grouped", "quick"), "cal_a")
    batch = Batch.of(part, frozenset({"stream"}), scored=True)
    stages = Stages([dataset], [batch])
    stages.open({"x": batch})
    stages.close()
    assert sorted(asked) == [0, 1, 2]


ELSEWHERE = (
    "import os, sys, time; os.getpid = lambda: int(sys.argv[1])\n"  # as in another pid namespace
    "from harness.staging import Stages\n"
    "print(Stages([], []).folder, flush=True); time.sleep(60)"
)


@pytest.mark.parametrize("pid", [2**22 + 1, 1])  # one that no process here can have, and one that there always is
def test_stages_stay_while_their_process_lives_and_go_when_it_is_dead_whatever_its_number(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pid: int
) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    (other := tmp_path / "janus-bench-check-1").mkdir()
    with subprocess.Popen([sys.executable, "-c", ELSEWHERE, str(pid)], stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            folder = Path(process.stdout.readline().strip())
            assert folder.parent == tmp_path
            remove_stale()
            assert folder.is_dir()
        finally:
            process.kill()
    remove_stale()
    assert list(tmp_path.iterdir()) == [other]
