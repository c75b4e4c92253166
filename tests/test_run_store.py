"""The results folder: append-only, whole at every moment, and clear about damage."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, replace

import polars as pl
import pytest

from janus_bench.errors import DataError, UsageError
from janus_bench.records import DatasetEntry, DetectorRow, ExpectedCell, PlanRecord, RunRecord, RunSpec
from reports.results.folder import RunStore

SPEC = RunSpec("d", "1", {}, "transfer", "t", "h", "t", "h", 1, "grouped", "quick", "quick", "target_benign", "cpu")
KEY = SPEC.key
RECORD = RunRecord(KEY, "f1", asdict(SPEC), "ok", "", 0, "now", "faithful", False, "identity", metrics={"auroc": 0.5})
CELLS = (ExpectedCell("d", "transfer", "t", "t", 1, KEY),)
PLAN = PlanRecord(
    "cross",
    "quick",
    "grouped",
    "target_benign",
    (1,),
    {"t": DatasetEntry("h")},
    {"d": DetectorRow("d", detector="d")},
    CELLS,
)


@pytest.fixture
def store(tmp_path):
    return RunStore.create(tmp_path / "runs")


def test_the_latest_attempt_counts_and_the_earlier_ones_stay(store):
    store.append(replace(RECORD, status="killed", metrics={}))
    assert store.append(RECORD).attempt == 2
    assert store.records() == {KEY: replace(RECORD, attempt=2)}
    assert sorted(path.name for path in (store.folder / "results").iterdir()) == [f"{KEY}.1.json", f"{KEY}.2.json"]


def test_concurrent_writers_never_overwrite_each_other(store):
    with ThreadPoolExecutor(8) as pool:
        attempts = sorted(record.attempt for record in pool.map(store.append, [RECORD] * 40))
    assert attempts == list(range(1, 41))


def test_plans_come_back_as_they_were(store):
    written = store.write_plan(PLAN)
    assert store.plans() == [written]
    assert replace(written, made="") == PLAN
    assert (store.folder / "plans" / f"{PLAN.key}.json").exists()  # when it was made is no part of its key


def test_scores_and_truth_round_trip(store):
    table = pl.DataFrame({"flow_id": [1, 2], "target": ["t", "t"], "role": ["test", "cal_b"], "score": [0.25, 1e300]})
    store.write_scores("k1", table)
    assert store.scores("k1").equals(table)
    named = {"family": ["scan", "benign"], "source": ["a.pcap", "é.pcap"], "n_packets": [3, 1]}
    truth = pl.DataFrame({"flow_id": [1, 2], "attack": [True, False], **named})
    store.write_truth("h", truth)
    store.write_truth("h", truth.head(1))  # written once: the hash names the content
    assert store.truth("h").equals(truth)


def test_an_unfinished_temporary_file_is_not_a_result(store):
    store.append(RECORD)
    (store.folder / "results" / ".abc.part").write_text('{"half": ')
    assert set(store.records()) == {KEY}


@pytest.mark.parametrize("damage", ["{", "[]", json.dumps({"schema_version": 999})])
def test_a_damaged_or_foreign_row_is_named_with_the_remedy(store, damage):
    (store.folder / "results" / "k2.1.json").write_text(damage)
    with pytest.raises(DataError, match=r"k2\.1\.json.*(run again|another folder)"):
        store.records()


def test_missing_and_damaged_scores_are_named(store):
    with pytest.raises(DataError, match=r"k9\.parquet is missing"):
        store.scores("k9")
    (store.folder / "scores" / "k9.parquet").write_bytes(b"PAR1 not really")
    with pytest.raises(DataError, match=r"k9\.parquet is damaged"):
        store.scores("k9")


def test_a_folder_that_is_a_file(tmp_path):
    (tmp_path / "runs").write_text("")
    with pytest.raises(UsageError, match="cannot be written"):
        RunStore.create(tmp_path / "runs")
    with pytest.raises(DataError, match="no results"):
        RunStore.open(tmp_path / "elsewhere")
