"""The short form of the campaign of faults (``make faults``, docs/faults.md), and that it sees what goes wrong.

Its damaged files and inputs are those of test_damaged_files.py and test_damaged_inputs.py.
"""

from __future__ import annotations

import shutil
import tarfile
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.faults import detectors, kills
from tests.faults.campaign import Tally, in_children
from tests.faults.places import Place
from tests.faults.scenes import SCENES, Scene

WANTED = (
    ("fit", "fifo-for-the-log"),
    ("score", "event-of-a-model-that-is-not-there"),
    ("calibrate", "half-a-surrogate"),
    ("init", "junk-1"),
    ("fit", "junk-5"),
    ("model", "link-for-a-folder"),
)
"""Each ended a run, or made a folder that nobody could read any more, before it was thought of."""


def silent(_line: str) -> None:
    """Nobody is told."""


def test_kills_of_a_report_that_is_being_written_leave_the_old_one_or_the_new_one(tmp_path: Path) -> None:
    tally = Tally("kills")
    scene = next(scene for scene in SCENES if scene.name == "report -o")
    kills.campaign(tally, seed=14, count=1, jobs=1, folder=tmp_path, say=silent, scenes=[scene])
    assert tally.failures == {}
    assert tally.number >= 1  # on a busy machine the second report is done before its kill comes


def test_detectors_that_misbehave_cost_their_rows_alone(tmp_path: Path, plugin_python: Path) -> None:
    with tarfile.open(ROOT / "tests" / "pinned" / "pinned.tar.gz") as archive:
        archive.extractall(tmp_path, [member for member in archive if member.name.startswith("home")], filter="data")
    known = detectors.all_misdeeds()
    chosen = {place: each for place, each in enumerate(known) if (each.hook, each.deed) in WANTED}
    assert len(chosen) == len(WANTED)
    place, tally = Place(tmp_path, str(plugin_python)), Tally("detectors")
    place.temp.mkdir()
    detectors.together(tally, place, chosen, "", 2, silent)
    assert tally.failures == {}
    assert tally.cases == {"ok": 5, "error": 1}


def test_a_case_that_crashes_fails_or_prints_a_panic_is_told_with_its_seed_and_the_others_go_on(tmp_path: Path) -> None:
    tally, told = Tally("broken"), list[str]()
    in_children(tally, 0, 5, 1, tmp_path, told.append)
    assert tally.cases == {"exit code 3": 4, "none": 1}
    assert {seed: wrong[0].partition(":")[0] for seed, wrong in tally.failures.items()} == {
        1: "nothing",
        2: "the process ended with code -6",
        3: "nothing",
    }
    assert "again: python -m tests.faults --kind broken --seed 2 --count 1" in "\n".join(told)


def test_work_that_is_lost_torn_or_left_behind_is_seen(tmp_path: Path) -> None:
    """A program that forgets what it had done, and leaves half of a file."""
    for name, finished, wrong in (
        ("forgets", iter([{"a": 1}, {}]).__next__, "finished before, and lost or changed: ['a']"),
        ("changes", iter([{"a": 1}, {"a": 2}]).__next__, "finished before, and lost or changed: ['a']"),
        ("tears", iter([{}]).__next__, "torn: StopIteration"),
    ):
        scene = Scene(name, ("data", "list"), Path.mkdir, lambda _, f=finished: f(), lambda _: {})
        place = Place(tmp_path / name)
        scene.prepare(place.folder)
        before = scene.finished(place.folder)
        round_ = kills.Round(Tally("kills"), 0, scene, place, 0.0, silent)
        assert round_.lost(before).startswith(wrong)
    (place.folder / "x.part").mkdir()
    (place.folder / "runs" / "locks" / "k").mkdir(parents=True)
    assert place.garbage() == "left: ['x.part', 'runs/locks/k']"
    sleeper = place.start("--help")
    sleeper.wait()
    assert place.orphans() == ""


@pytest.fixture(autouse=True)
def tidy(tmp_path: Path):
    yield
    shutil.rmtree(tmp_path, ignore_errors=True)
