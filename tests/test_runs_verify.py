"""``runs verify``: whatever is damaged in a results folder is named, and set aside so that it is run again."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import typer

from benchmarks.harness import planned, write_results
from harness.cli.runs import verify
from reports.results.folder import RunStore
from reports.results.verify import ASIDE, damage_of


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    write_results(tmp_path, planned(1, 2, 1), scores=True)
    return tmp_path


def test_a_whole_folder_is_whole(runs, capsys):
    verify(runs)
    assert "everything is whole" in capsys.readouterr().err


def test_damage_of_every_kind_is_named_and_set_aside(runs, capsys):
    row, scored = sorted((runs / "results").iterdir())[:2]
    key = scored.name.partition(".")[0]
    scores, (plan,) = runs / "scores" / f"{key}.parquet", (runs / "plans").iterdir()
    truth = sorted((runs / "truth").iterdir())[0]
    row.write_text(row.read_text()[:-20])
    for path in (scores, truth):
        data = bytearray(path.read_bytes())
        data[len(data) // 2] ^= 1
        path.write_bytes(data)
    plan.write_text(json.dumps(json.loads(plan.read_text()) | {"split": "random"}))
    timeline = runs / "timelines" / truth.name
    timeline.write_bytes(b"")
    model = runs / "models" / "0123"
    model.mkdir()
    named = {damage.path for damage in damage_of(runs)}
    assert named == {row, scores, truth, timeline, plan, model}
    with pytest.raises(typer.Exit) as left:
        verify(runs)
    assert left.value.exit_code == 3
    told = capsys.readouterr()
    assert all(str(path) in told.out for path in named)
    assert "6 files in" in told.err
    assert "are damaged" in told.err
    assert all(path.exists() for path in named)  # nothing is moved unless that is asked for
    with pytest.raises(typer.Exit):
        verify(runs, set_aside=True)
    gone = {*named, scored}  # a row without its scores would not be run again
    assert not any(path.exists() for path in gone)
    assert all((runs / ASIDE / path.relative_to(runs)).exists() for path in gone)
    assert key not in RunStore.open(runs).records()
    with pytest.raises(typer.Exit):
        verify(runs)
    assert f"1 file in {runs} is damaged" in capsys.readouterr().err
    assert {damage.path for damage in damage_of(runs)} == {truth}  # which the next run writes


def test_scores_of_another_run_are_not_those_of_the_row(runs):
    records = RunStore.open(runs).records()
    one, other = (next(key for key, of in records.items() if of.spec["target"] == f"net{number}") for number in (0, 1))
    place = runs / "scores" / f"{one}.parquet"
    place.write_bytes((runs / "scores" / f"{other}.parquet").read_bytes())
    (found,) = damage_of(runs)
    assert found.path == place
    assert "holds scores of another run (target net1, the row's is net0)" in found.what
