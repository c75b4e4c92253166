"""Rows by columns say what the rows say, whatever is in them, and take little memory."""

from __future__ import annotations

import json
import math
import tracemalloc
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from janus_bench.records import RunRecord
from reports.results import index
from reports.results.columns import RowColumns, RowsMaker
from reports.results.folder import RunStore
from tests.test_index import plain
from tests.test_run_store import RECORD, SPEC

texts = st.text(st.characters(codec="utf-8"), max_size=8)
numbers = st.one_of(st.none(), st.floats(allow_nan=False, allow_infinity=False))
values = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(-(2**53), 2**53), st.floats(-1e9, 1e9), texts),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(texts, inner, max_size=3)),
    max_leaves=6,
)
records = st.builds(
    RunRecord,
    key=texts,
    fit_key=texts,
    spec=st.dictionaries(texts, values, max_size=4),
    status=st.sampled_from(["ok", "error", "skipped"]),
    reason=texts,
    attempt=st.integers(1, 2**40),
    finished=texts,
    provenance=texts,
    uses_labels=st.booleans(),
    aggregator=texts,
    counts=st.dictionaries(texts, st.one_of(st.none(), st.integers(0, 2**40)), max_size=3),
    cost=st.dictionaries(texts, numbers, max_size=3),
    metrics=st.dictionaries(texts, numbers, max_size=4),
    partition=st.dictionaries(texts, values, max_size=3),
    environment=st.dictionaries(texts, texts, max_size=3),
    schema_version=st.integers(1, 2),
)


@settings(max_examples=200, deadline=None)
@given(st.lists(records, max_size=6))
def test_rows_by_columns_are_the_rows(rows: list[RunRecord]) -> None:
    maker = RowsMaker()
    for row in rows:
        maker.add(row)
    columns = maker.columns()
    assert len(columns) == len(rows)
    for place, row in enumerate(rows):
        found, expected = plain(columns.record(row.key, place)), plain(row)
        assert found == expected
        assert columns.record(row.key, place) == row
        assert columns.record(row.key, place) != replace(row, attempt=row.attempt + 1)
        assert json.dumps(found, sort_keys=True) == json.dumps(expected, sort_keys=True)  # where true is not 1


def test_what_looks_alike_stays_what_it_was() -> None:
    alike = [True, "true", 1, "1", 1.0, None, "null", [], "[]", {"a": 1}, '{"a": 1}']
    maker = RowsMaker()
    for value in alike:
        maker.add(replace(RECORD, spec={"value": value}))
    found = [maker.columns().record("", place).spec["value"] for place in range(len(alike))]
    assert list(map(repr, found)) == list(map(repr, alike))


def made() -> RowColumns:
    maker = RowsMaker()
    for seed in range(3):
        maker.add(replace(RECORD, spec=replace(SPEC, seed=seed).declared, metrics={"auroc": seed / 2}))
    return maker.columns()


@pytest.mark.parametrize(
    ("part", "change"),
    [
        ("codes.0", lambda codes: codes[:-1]),
        ("codes.0", lambda codes: codes + 1),
        ("codes.0", lambda codes: codes - 1),
        ("codes.0", lambda codes: codes.astype(np.int64)),
        ("codes.0", lambda codes: codes[:, None]),
        ("values.0", lambda _: np.frombuffer(b"{}", np.uint8)),
        ("values.0", lambda _: np.frombuffer(b"[", np.uint8)),
        ("numbers.0", lambda numbers: numbers[1:]),
        ("numbers.0", lambda numbers: numbers.astype(np.float32)),
    ],
)
def test_columns_that_are_not_whole_are_found(part: str, change: Any) -> None:
    whole = made().parts
    RowColumns(whole).check()
    with pytest.raises(ValueError):
        RowColumns({**whole, part: change(whole[part])}).check()


def test_what_nobody_asks_for_is_not_read() -> None:
    asked: list[str] = []

    class Parts(dict[str, Any]):
        def __getitem__(self, name: str) -> Any:
            asked.append(name)
            return super().__getitem__(name)

    columns = RowColumns(Parts(made().parts))
    record = columns.record("k", 2)
    assert asked == ["about"]
    assert [record.metrics["auroc"] for _ in range(3)] == [1.0] * 3
    assert asked == ["about", "numbers.0"]
    assert record.spec["seed"] == 2
    assert len(asked) == 4
    assert math.isclose(columns.record("k", 1).metrics["auroc"] or 0, 0.5)
    assert len(asked) == 4


def test_a_row_takes_little_memory_when_a_folder_is_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Hardly more than its key and its place; as an object of its own it took 2.5 KB."""
    monkeypatch.setattr(index, "YOUNG_NS", -(10**12))
    store, count = RunStore.create(tmp_path / "runs"), 2000
    for seed in range(count):
        spec = replace(SPEC, seed=seed)
        metrics = {f"metric{number}": (seed + number) / 7 for number in range(60)}
        row = replace(RECORD, key=spec.key, spec=spec.declared, attempt=1, metrics=metrics)
        (store.folder / "results" / f"{row.key}.1.json").write_text(json.dumps(asdict(row)))
    store.records()
    tracemalloc.start()
    try:
        found = RunStore.open(store.folder).records()
        taken = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
    assert {record.spec["seed"] for record in found.values()} == set(range(count))
    assert taken / count < 400
