"""``runs gc``: what no plan names goes, whatever a plan needs stays, and nothing goes where that cannot be told."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from benchmarks.harness import planned, write_results
from harness.cli.runs import gc
from janus_bench.errors import DataError
from janus_bench.held import hold
from reports.results.folder import RunStore
from reports.results.garbage import garbage_of
from reports.results.verify import ASIDE, damage_of, put_aside


@pytest.fixture
def runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two plans of one folder, the second over another seed; every fit has a log and a model."""
    monkeypatch.setenv("TMPDIR", str(tmp_path / "temporary"))
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr("tempfile.tempdir", None)
    folder = tmp_path / "runs"
    for seed in (0, 1):
        write_results(folder, planned(1, 2, 1, first=seed), scores=True)
    for record in RunStore.open(folder).records().values():
        (folder / "logs" / f"{record.fit_key}.log").write_text("said\n")
        (folder / "models" / record.fit_key).mkdir(exist_ok=True)
        (folder / "models" / record.fit_key / "weights").write_bytes(bytes(1000))
    return folder


def everything(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def plan_of_seed(folder: Path, seed: int) -> Path:
    (key,) = [plan.key for plan in RunStore.open(folder).plans() if plan.seeds == (seed,)]
    return folder / "plans" / f"{key}.json"


def test_where_every_plan_is_there_nothing_goes(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = everything(runs)
    gc(runs)
    assert "every file is needed" in capsys.readouterr().err
    assert everything(runs) == before


def test_what_a_deleted_plan_alone_asked_for_goes_and_the_rest_stays_as_it_was(
    runs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    gone, kept = plan_of_seed(runs, 1), plan_of_seed(runs, 0)
    records = RunStore.open(runs).records()
    needed = {cell.run_key for plan in RunStore.open(runs).plans() if plan.seeds == (0,) for cell in plan.cells}
    fits = {records[key].fit_key for key in needed}
    gone.unlink()
    before = everything(runs)
    expected = {
        name: data
        for name, data in before.items()
        if name.split("/")[0] in ("plans", "truth", "index.npz")
        or Path(name).name.partition(".")[0] in needed | fits
        or Path(name).parent.name in fits
    }
    assert kept.relative_to(runs).as_posix() in expected
    assert len(expected) < len(before)
    gc(runs, dry_run=True)
    said = capsys.readouterr()
    assert everything(runs) == before
    assert "nothing was removed" in said.err
    others = {record.fit_key for record in records.values()} - fits
    for what, count in {"rows": len(records) - len(needed), "models": len(others)}.items():
        (line,) = [line for line in said.out.splitlines() if line.startswith(what)]
        assert line.split()[1] == str(count)
    gc(runs)
    assert everything(runs) == expected
    assert {damage.path.parent.name for damage in damage_of(runs)} == {"models"}  # none of these is one
    assert RunStore.open(runs).records().keys() == needed


def test_what_was_set_aside_and_what_killed_runs_left_goes(runs: Path) -> None:
    row = sorted((runs / "results").iterdir())[0]
    row.write_text(row.read_text()[:-9])
    put_aside(runs, next(damage_of(runs)))
    left, at_work = runs.parent / "temporary" / "janus-bench-12-x", runs.parent / "temporary" / "janus-bench-13-y"
    for stage in (left, at_work):
        stage.mkdir()
        (stage / "input").write_bytes(bytes(10))
    held = hold(at_work)
    assert held is not None
    gc(runs)
    os.close(held)
    assert not (runs / ASIDE).exists()
    assert not left.exists()
    assert (at_work / "input").exists()


def test_of_a_fit_without_rows_nobody_knows_whether_a_plan_needs_it(runs: Path) -> None:
    """A run that is missing may be of any fit, so its log and model stay until it is there."""
    stranger = runs / "models" / "0123456789abcdef"
    stranger.mkdir()
    row = sorted((runs / "results").iterdir())[0]
    kept = row.read_bytes()
    row.unlink()
    assert not any(stranger in each.paths for each in garbage_of(runs))
    row.write_bytes(kept)
    assert any(stranger in each.paths for each in garbage_of(runs))


def damaged_plan_set_aside(runs: Path) -> None:
    plan_of_seed(runs, 1).write_text("{}")
    put_aside(runs, next(damage_of(runs)))


def no_plan(runs: Path) -> None:
    for plan in (runs / "plans").iterdir():
        plan.unlink()


def damaged_row(runs: Path) -> None:
    row = sorted((runs / "results").iterdir())[0]
    row.write_text(row.read_text()[:-9])


@pytest.mark.parametrize(
    ("done", "told"),
    [
        (damaged_plan_set_aside, "was set aside, so nobody can tell what is needed: run its command again"),
        (no_plan, "has no plan, so nobody can tell what is needed"),
        (damaged_row, "is damaged"),
    ],
)
def test_where_it_cannot_be_told_what_is_needed_nothing_goes(
    runs: Path, done: Callable[[Path], None], told: str
) -> None:
    done(runs)
    before = everything(runs)
    with pytest.raises(DataError, match=told):
        gc(runs)
    assert everything(runs) == before


def test_nothing_goes_while_a_run_is_at_work(runs: Path) -> None:
    plan_of_seed(runs, 1).unlink()
    lock = runs / "locks" / "0123"
    lock.mkdir(parents=True)
    held = hold(lock)
    assert held is not None
    before = everything(runs)
    with pytest.raises(DataError, match="a run is at work in"):
        gc(runs)
    assert everything(runs) == before
    os.close(held)
    gc(runs)  # whose lock was left by a process that has died
    assert everything(runs) != before
