"""Results that an earlier version stored stay readable, and every output made of them stays the same to the byte, dates
and versions aside.

The archive was written by ``tests/pinned/make.py`` at the commit that it names.
"""

from __future__ import annotations

import importlib.util
import json
import re
import tarfile
from pathlib import Path
from types import ModuleType

import polars as pl
import pytest
from typer.testing import CliRunner

from harness.cli.main import app
from janus_bench.records import canonical_json, key_of
from reports.results.folder import RunStore
from tests.conftest import shared_once

PINNED = Path(__file__).resolve().parent / "pinned"


def _make() -> ModuleType:
    spec = importlib.util.spec_from_file_location("pinned_make", PINNED / "make.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


MAKE = _make()


@pytest.fixture(scope="session")
def pinned(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder with ``home``, ``runs`` and ``expected``; kept intervals are not in it, so that they are computed
    here."""

    def unpack(folder: Path) -> None:
        with tarfile.open(PINNED / "pinned.tar.gz") as archive:
            archive.extractall(folder, filter="data")

    return shared_once(tmp_path_factory, "pinned", unpack)


def neutral(text: str) -> str:
    """Without what may change: dates, the versions of janus-bench and of matplotlib, and whatever figures draw from
    them."""
    text = re.sub(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d(:\d\d(\.\d+)?)?(\+00:00|Z)?( UTC)?", "DATE", text)
    text = re.sub(r"janus-bench \d+(\.\d+)+\S*", "janus-bench VERSION", text)
    return re.sub(r"Matplotlib v[\d.]+", "Matplotlib VERSION", text)


@pytest.mark.xdist_group("pinned")
@pytest.mark.parametrize("name", list(MAKE.commands()))
def test_outputs_of_the_pinned_folder_are_the_same(
    pinned: Path, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In this process, with the paths and the environment of the one that wrote them."""
    (tmp_path / "home").mkdir()  # of its own: tables carry the audits that other outputs leave in a home
    for part in ("home/datasets", "runs"):
        (tmp_path / part).symlink_to(pinned / part)
    monkeypatch.chdir(tmp_path)
    for variable, value in {"JANUS_BENCH_HOME": "home", "NO_COLOR": "1", "COLUMNS": "160"}.items():
        monkeypatch.setenv(variable, value)
    arguments = [name if each == "{file}" else each for each in MAKE.commands()[name]]
    result = CliRunner().invoke(app, arguments, catch_exceptions=False)
    assert result.exit_code == 0
    text = (tmp_path / name).read_text() if name in arguments else result.stdout
    assert neutral(text) == neutral((pinned / "expected" / name).read_text())


def test_keys_and_hashes_of_version_1_are_those_of_their_declarations(pinned: Path) -> None:
    """A run's key is the hash of what it declares; its rows, plans and scores are found under the names that version 1
    gave them."""
    for path in (pinned / "runs" / "results").glob("*.json"):
        row = json.loads(path.read_text())
        assert key_of(row["spec"]) == row["key"] == path.name.partition(".")[0]
        declared = dict(row["spec"])
        if declared["regime"] == "transfer":
            del declared["target"], declared["target_hash"]
        assert key_of(declared) == row["fit_key"]
    for path in (pinned / "runs" / "plans").glob("*.json"):
        assert key_of(json.loads(path.read_text())) == path.stem
    assert canonical_json({"b": 1.5, "a": [None, "é"]}) == '{"a":[null,"\\u00e9"],"b":1.5}'


def test_rows_plans_scores_and_truths_of_version_1_are_read(pinned: Path) -> None:
    store = RunStore.open(pinned / "runs")
    records, plans = store.records(), store.plans()
    assert len(records) == 102
    assert {plan.protocol for plan in plans} == {"cross", "ablation", "pooled", "thresholded", "contamination"}
    statuses = {record.status for record in records.values()}
    assert statuses == {"ok", "timeout"}
    for record in records.values():
        if record.status == "ok":
            scores, truth = store.scores(record.key), store.truth(record.spec["target_hash"])
            assert set(scores["role"].unique()) <= {"source_val", "cal_a", "cal_b", "test"}
            tested = scores.filter(pl.col("role") == "test").join(truth, on="flow_id")
            assert len(tested) == record.counts["n_test_benign"] + record.counts["n_test_attack"]


def test_one_run_of_version_1_has_the_key_and_the_number_that_it_had(pinned: Path) -> None:
    record = RunStore.open(pinned / "runs").records()["26bf6df13a955f19"]
    assert (record.spec["detector"], record.spec["source"], record.spec["target"], record.spec["seed"]) == (
        "janus",
        "north",
        "south",
        42,
    )
    assert record.fit_key == "2f23b096cbaae6cd"
    assert record.metrics["auroc"] == 1.0
