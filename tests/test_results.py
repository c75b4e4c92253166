"""The reading model: which plan counts and is shown, versions side by side, and how often anything is read."""

from __future__ import annotations

import json
import os
import shutil
from collections import Counter
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from harness.cli import runs
from harness.cli.choosing import check_results
from janus_bench.errors import DataError, UsageError
from janus_bench.records import DatasetEntry, DetectorRow, ExpectedCell, PlanRecord, RunRecord, declared, key_of
from protocols.plugin import janus_bench_protocols
from protocols.roles import aggregator_role
from reports.results import model
from reports.results.folder import RunStore
from reports.results.measures import measure_of
from reports.results.model import Results
from reports.tables.leaderboard import build_leaderboard
from tests.test_compare import NAMES, SEEDS, run_spec, write_folder


def scramble(folder: Path) -> None:
    """As after a copy or a clone: times say nothing."""
    for number, path in enumerate(sorted(folder.rglob("*.json"), reverse=True)):
        os.utime(path, (1000 + number, 1000 + number))


def without_made(folder: Path) -> None:
    """Plans as schema version 1 stored them at first."""
    for path in (folder / "plans").iterdir():
        stored = json.loads(path.read_text())
        del stored["made"]
        path.write_text(json.dumps(stored))


def test_the_plan_that_was_asked_for_last_is_shown_whatever_the_times_of_its_file(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "runs", protocol="cross")
    write_folder(folder, protocol="within")
    assert Results.open(folder).select().plan.protocol == "within"
    write_folder(folder, protocol="cross")  # asked for again: the same file
    assert len(list((folder / "plans").iterdir())) == 2
    shutil.copytree(folder, tmp_path / "copy", copy_function=shutil.copy)
    for place in (folder, tmp_path / "copy"):
        scramble(place)
        assert Results.open(place).select().plan.protocol == "cross"


def test_plans_that_do_not_say_when_they_were_made_go_by_their_runs_and_before_those_that_do(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "runs", ("good",), protocol="cross")
    write_folder(folder, ("poor",), protocol="within")
    without_made(folder)
    for path in (folder / "results").iterdir():
        row = json.loads(path.read_text())
        path.write_text(
            json.dumps(row | {"finished": "2026-02-01" if row["spec"]["detector"] == "good" else "2026-01-01"})
        )
    scramble(folder)
    assert Results.open(folder).select().plan.protocol == "cross"
    write_folder(folder, ("fair",), protocol="pooled")
    assert [table.plan.protocol for table in Results.open(folder).tables()] == ["within", "cross", "pooled"]


def test_versions_are_read_side_by_side_and_never_in_one_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(model, "SCHEMA_VERSION", 2)
    said: list[str] = []
    folder = write_folder(tmp_path / "runs", ("good",), schema_version=2)
    write_folder(folder, ("poor",), schema_version=1)
    results = Results.open(folder, said.append)
    assert [(table.schema_version, [row.label for row in table.rows]) for table in results.tables()] == [
        (2, ["good"]),
        (1, ["poor"]),
    ]
    assert build_leaderboard(results.select(), measure_of("auroc"))["schema_version"] == 1
    (line,) = [line for line in said if "older janus-bench" in line]
    assert line.startswith(
        "note: cross (quick, grouped split) on alpha, beta, gamma was made by an older janus-bench (schema version 1)"
    )
    with pytest.raises(ValueError, match="different tables"):
        results.table(results.plans)
    write_folder(folder, ("good",), schema_version=2)
    said.clear()
    assert Results.open(folder, said.append).select().schema_version == 2
    assert not [line for line in said if "older janus-bench" in line]


def test_a_plan_comes_back_as_it_was_stored(tmp_path: Path) -> None:
    """Version 2 stores the parts of a row; version 1 has them in its label alone, and keeps the key that it had without
    them."""
    cells, entry = (ExpectedCell("d[a=1] · v", "transfer", "x", "x", 1, "k"),), DatasetEntry("0")
    row = DetectorRow("d", detector="d[a=1]", variant="v", params={"a": "1"})
    for version in (1, 2):
        store = RunStore.create(tmp_path / str(version))
        plan = PlanRecord(
            "cross", "quick", "grouped", "target_benign", (1,), {"x": entry}, {"d[a=1] · v": row}, cells, version
        )
        store.write_plan(plan)
        (found,) = store.plans()
        assert found.key == plan.key == next((store.folder / "plans").iterdir()).stem
        (read,) = found.detectors.values()
        assert (read.detector, read.variant) == ("d[a=1]", "v")
        assert read.params == ({} if version == 1 else {"a": "1"})


def test_which_role_fits_an_aggregator_in_either_version() -> None:
    assert {version: aggregator_role("control", "target_benign", version) for version in (1, 2)} == {
        1: "cal_b",
        2: "cal_a",
    }
    for version in (1, 2):
        assert aggregator_role("transfer", "target_benign", version) == "cal_a"
        assert aggregator_role("pooled", "target_benign", version) == "cal_a"
        assert aggregator_role("transfer", "source_benign", version) == "source_val"


class Counting(RunStore):
    """Counts what is read."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.read: Counter[str] = Counter()

    def records(self) -> dict[str, RunRecord]:
        self.read["records"] += 1
        return super().records()

    def scores(self, run_key: str) -> pl.DataFrame:
        self.read[f"scores {run_key}"] += 1
        return super().scores(run_key)

    def truth(self, data_hash: str) -> pl.DataFrame:
        self.read[f"truth {data_hash}"] += 1
        return super().truth(data_hash)


def test_nothing_is_read_twice_for_a_board_of_a_new_metric(tmp_path: Path) -> None:
    """Two rows share the runs of one detector; no number is stored."""
    folder = write_folder(tmp_path / "runs", ("good",), controlled=("good",))
    store = Counting(folder)
    (plan,) = store.plans()
    twice = {label: replace(plan.detectors["good"], variant=label) for label in ("one", "two")}
    cells = tuple(replace(cell, label=label) for label in twice for cell in plan.cells)
    table = Results(store).table([replace(plan, detectors=twice, cells=cells)])
    store.read.clear()
    for metric in ("auroc", "auprc"):
        board = build_leaderboard(table, measure_of(metric))
        assert [row["rank"] for row in board["rows"]] == [1, 1]
        if metric == "auroc":
            n_runs = len(NAMES) ** 2 * len(SEEDS) + len(NAMES) * len(SEEDS)
            assert store.read.total() == n_runs + len(NAMES)
            assert set(store.read.values()) == {1}
        store.read.clear()


def test_a_study_names_variants_that_it_has() -> None:
    built_in = list(janus_bench_protocols())
    for protocol in built_in:
        names = {variant.name for variant in protocol.variants}
        assert {protocol.reference, protocol.beside} - {""} <= names
    assert {protocol.name for protocol in built_in if protocol.reference} == {"ablation", "mechanism"}


def test_a_run_knows_its_declaration(tmp_path: Path) -> None:
    table = Results.open(write_folder(tmp_path / "runs", ("good",))).select()
    run = table.row("good").asked(("alpha", "beta"), 1)
    assert run.done().spec == asdict(run_spec("good", "alpha", "beta", 1))
    assert run.pair == ("alpha", "beta")
    assert table.row("good").baseline is None


def test_of_a_cell_that_several_plans_ask_for_the_last_counts_and_seeds_are_in_order(tmp_path: Path) -> None:
    """A later version of a detector makes other runs of the same cells."""
    store = RunStore(write_folder(tmp_path / "runs", ("good",)))
    (plan,) = store.plans()
    pair = plan.cells[0].source, plan.cells[0].target
    (first, *_) = (cell for cell in plan.cells if (cell.source, cell.target) == pair)
    asked = [replace(first, seed=seed, run_key=f"old {seed}") for seed in (9, 3, 7)]
    again = replace(plan, cells=(replace(first, seed=3, run_key="new 3"),))
    (row,) = Results(store).table([replace(plan, cells=tuple(asked)), again]).rows
    assert [(run.seed, run.key) for run in row.cells[pair]] == [(3, "new 3"), (7, "old 7"), (9, "old 9")]


def test_a_plan_s_key_is_the_hash_of_what_is_stored_whatever_its_names_are(tmp_path: Path) -> None:
    named = '"cells":[]'
    cells = tuple(ExpectedCell(named, "transfer", "cells", "é", seed, f"k{seed}") for seed in range(3))
    for some in (cells, ()):
        plan = PlanRecord(named, "quick", "grouped", named, (1,), {"cells": DatasetEntry(named)}, {}, some, made="now")
        stored = plan.to_json()
        del stored["made"]
        assert plan.key == key_of(stored)


def test_what_else_a_folder_holds_comes_with_a_way_to_see_it(tmp_path: Path) -> None:
    """Of another protocol, of other data, or of neither."""
    said: list[str] = []
    folder = write_folder(tmp_path / "runs", ("good",), protocol="cross")
    write_folder(folder, ("good",), protocol="within")
    Results.open(folder, said.append).select()
    assert [line for line in said if "--protocol cross shows the other" in line]
    (within, cross) = sorted(RunStore(folder).plans(), key=lambda plan: plan.protocol, reverse=True)
    name = next(iter(within.datasets))
    datasets = {**within.datasets, name: replace(within.datasets[name], hash="f" * 64)}
    RunStore(folder).write_plan(replace(within, datasets=datasets))
    said.clear()
    Results.open(folder, said.append).select()
    assert [line for line in said if f"the other is of another content of {name}" in line]
    assert [line for line in said if "--protocol cross shows the other" in line]
    RunStore(folder).write_plan(replace(cross, profile="paper"))
    said.clear()
    Results.open(folder, said.append).select()
    assert [line for line in said if "which finds everything done, shows the other" in line]


def test_networks_of_the_same_content_are_called_one(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "runs", ("good",))
    (plan,) = RunStore(folder).plans()
    first, second = list(plan.datasets)[:2]
    datasets = {**plan.datasets, second: replace(plan.datasets[second], hash=plan.datasets[first].hash)}
    board = build_leaderboard(Results.open(folder).table([replace(plan, datasets=datasets)]), measure_of("auroc"))
    assert f"{first}: the same content as {second}, so that both are one network" in board["notes"]


def test_a_row_of_more_training_flows_than_there_are_says_so(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "runs", ("good",))
    for path in (folder / "results").iterdir():
        row = json.loads(path.read_text())
        spec = row["spec"] | {"train_size": 2000}
        row |= {"spec": spec, "key": key_of(declared(spec)), "counts": {"n_train": 1672}, "metrics": {"auroc": 0.5}}
        path.unlink()
        (folder / "results" / f"{row['key']}.1.json").write_text(json.dumps(row))
    (plan,) = RunStore(folder).plans()
    found = {(r.spec["source"], r.spec["target"], r.spec["seed"]): r.key for r in RunStore(folder).records().values()}
    cells = tuple(replace(cell, run_key=found[cell.source, cell.target, cell.seed]) for cell in plan.cells)
    board = build_leaderboard(Results.open(folder).table([replace(plan, cells=cells)]), measure_of("auroc"))
    told = [note for note in board["notes"] if "1,672 training flows, which every row of more was trained on" in note]
    assert len(told) == len(plan.datasets)


def test_the_runs_of_an_earlier_version_are_listed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = write_folder(tmp_path / "runs", ("good",))
    (plan,) = RunStore(folder).plans()
    RunStore(folder).write_plan(replace(plan, cells=(replace(plan.cells[0], run_key="f" * 16),)))
    runs.show_list(folder, output="json")
    keys = {each["key"]: each["status"] for each in json.loads(capsys.readouterr().out)}
    assert keys.keys() == {cell.run_key for cell in plan.cells} | {"f" * 16}
    assert keys["f" * 16] == "missing"


@pytest.mark.parametrize("table", ["drift", "ablation", "mechanism"])
def test_a_table_of_which_these_results_have_nothing_is_refused(tmp_path: Path, table: str) -> None:
    folder = write_folder(tmp_path / "runs", ("good",))
    with pytest.raises(UsageError, match=f"--table {table} .* has none"):
        check_results(Results.open(folder).select(), table)
    check_results(Results.open(folder).select(), "leaderboard")
    check_results(Results.open(folder).select(), "thresholds")


@pytest.mark.parametrize(
    ("cell", "words"),
    [({"label": "nobody"}, "detector 'nobody', which it does"), ({"target": "nowhere"}, "dataset 'nowhere', which it")],
)
def test_a_plan_whose_cells_name_what_it_does_not_declare_is_damaged(tmp_path: Path, cell: Any, words: str) -> None:
    store = RunStore(write_folder(tmp_path / "runs", ("good",)))
    (plan,) = store.plans()
    store.write_plan(replace(plan, cells=(*plan.cells[:-1], replace(plan.cells[-1], **cell))))
    with pytest.raises(DataError, match=words):
        store.plans()


def test_a_plan_that_is_nested_too_deep_is_damaged(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "runs", ("good",))
    (path,) = (folder / "plans").iterdir()
    for depth in (100, 700, 3000):
        stored = json.loads(path.read_text())
        deep = json.dumps(stored).replace('"params": {}', f'"params": {{"a": {"[" * depth}{"]" * depth}}}')
        (folder / "plans" / path.name).write_text(deep)
        with pytest.raises(DataError, match="is damaged"):
            RunStore(folder).plans()
        path.write_text(json.dumps(stored))


def test_a_number_that_no_float_holds_is_damage(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "runs", ("good",))
    path = min((folder / "results").iterdir())
    whole = path.read_text()
    for number in ("1e999", "-1E+400", f"1{'0' * 400}.5"):
        path.write_text(whole.replace('"partition": {}', f'"partition": {{"kind": "x", "foo": {number}}}'))
        with pytest.raises(DataError, match=f"{path.name} is damaged .*is no number"):
            RunStore(folder).records()
    path.write_text(whole.replace('"partition": {}', '"partition": {"kind": "e999 at 1e300", "foo": 1e300}'))
    assert len(RunStore(folder).records()) == len(list((folder / "results").iterdir()))
    path.write_text(whole.replace('"partition": {}', '"partition": {"foo": 1}'))
    with pytest.raises(DataError, match=r"partition.kind is missing"):
        RunStore(folder).records()
