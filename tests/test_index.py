"""The index beside the rows: it says what they say, covers files that are still what they were, and may be lost."""

from __future__ import annotations

import json
import os
import pickle
from collections.abc import Mapping
from dataclasses import fields, replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from janus_bench.errors import DataError
from janus_bench.records import Recorded, RunRecord
from reports.results import folder as results_folder
from reports.results import index
from reports.results.folder import RunStore
from reports.results.index import RowIndex, row_files
from tests.test_run_store import RECORD, SPEC

NUMBERS = ({"auroc": 0.5, "auroc@2+": None}, {"auroc": 1, "auroc@site=lab": 0.1 + 0.2}, {})


@pytest.fixture
def runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RunStore:
    """A folder of six rows of many kinds, which every reader indexes at once."""
    monkeypatch.setattr(index, "FEWEST", 1)
    monkeypatch.setattr(index, "YOUNG_NS", -(10**12))
    store = RunStore.create(tmp_path / "runs")
    for seed in range(6):
        spec = replace(SPEC, seed=seed, params={"k": [seed, None, True, 1]}, overlay=seed == 3)
        others = {"reason": "größer", "status": "error"} if seed == 2 else {"cost": {"fit_s": 1.5, "score_s": None}}
        row = replace(RECORD, key=spec.key, spec=spec.declared, metrics=NUMBERS[seed % 3], **others)
        store.append(replace(row, partition={"kind": "grouped", "sizes": {"train": 1}}, environment={"python": "3"}))
    return store


def rows_of(store: RunStore) -> dict[str, object]:
    return {key: plain(record) for key, record in RunStore.open(store.folder).records().items()}


def plain(record: Recorded) -> dict[str, object]:
    """Every field, made of plain objects."""
    found = {each.name: getattr(record, each.name) for each in fields(RunRecord)}
    return {name: dict(value) if isinstance(value, Mapping) else value for name, value in found.items()}


def reads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the rows that are read from their files from now on."""
    names: list[str] = []
    record = results_folder.read_record
    monkeypatch.setattr(results_folder, "read_record", lambda path: names.append(path.name) or record(path))
    return names


def test_rows_from_the_index_are_the_rows(runs, monkeypatch):
    stored = {path.name.partition(".")[0]: json.loads(path.read_text()) for path in (runs.folder / "results").iterdir()}
    assert rows_of(runs) == stored
    read = reads(monkeypatch)
    assert rows_of(runs) == stored
    assert read == []
    assert json.loads(json.dumps(rows_of(runs))) == stored  # plain objects, whose numbers and truth values are those
    record = RunStore.open(runs.folder).records()[min(stored)]
    assert dict(record.spec) == stored[record.key]["spec"]
    assert "overlay" not in record.spec or record.spec["overlay"] is True
    assert record.metrics.get("nothing") is None
    assert "nothing" not in record.metrics


def test_a_row_that_was_written_or_changed_since_is_read_from_its_file(runs, monkeypatch):
    first, second = sorted(rows_of(runs))[:2]
    path = runs.folder / "results" / f"{first}.1.json"
    status = path.stat()
    path.write_text(path.read_text().replace('"faithful"', '"modified"'))
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert path.stat().st_size == status.st_size
    runs.append(replace(RunRecord(**plain(runs.records()[second])), status="timeout", reason="slow"))
    read = reads(monkeypatch)
    found = RunStore.open(runs.folder).records()
    assert (found[first].provenance, found[second].status, found[second].attempt) == ("modified", "timeout", 2)
    assert set(read) <= {f"{first}.1.json", f"{second}.2.json"}


def test_a_row_that_is_damaged_after_it_was_indexed_is_named(runs):
    path = runs.folder / "results" / f"{min(rows_of(runs))}.1.json"
    path.write_text(path.read_text().replace("{", "[", 1))
    with pytest.raises(DataError, match=path.name):
        RunStore.open(runs.folder).records()


def _cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])


def _flipped(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def _codes_of_nothing(path: Path) -> None:
    with np.load(path) as file:
        parts = dict(file)
    np.savez(path, **{**parts, "codes.3": parts["codes.3"] + 1000})


def _of_another_version(path: Path) -> None:
    with np.load(path) as file:
        parts = dict(file)
    about = json.loads(parts["about"].tobytes()) | {"version": 0}
    np.savez(path, **{**parts, "about": np.frombuffer(json.dumps(about).encode(), np.uint8)})


def _pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


@pytest.mark.parametrize(
    "damage",
    [_cut, _flipped, _codes_of_nothing, _of_another_version, Path.unlink, _pipe, lambda path: path.write_text("x")],
)
def test_an_index_that_is_damaged_or_gone_is_made_anew(runs, damage, monkeypatch):
    whole, path = rows_of(runs), runs.folder / index.FILE
    damage(path)
    read = reads(monkeypatch)
    assert rows_of(runs) == whole
    assert len(read) == 6
    assert rows_of(runs) == whole
    assert len(read) == 6


def test_a_row_that_changed_a_moment_ago_is_left_out(runs, monkeypatch):
    monkeypatch.setattr(index, "YOUNG_NS", 10**12)
    rows_of(runs)
    read = reads(monkeypatch)
    rows_of(runs)
    assert len(read) == 6


def test_a_folder_that_cannot_be_written_is_read_all_the_same(runs, monkeypatch):
    def refuse(*_: object) -> None:
        raise OSError

    monkeypatch.setattr(index, "written_aside", refuse)
    assert len(rows_of(runs)) == 6
    assert not (runs.folder / index.FILE).exists()


def test_few_rows_are_not_worth_an_index(tmp_path):
    store = RunStore.create(tmp_path)
    store.append(RECORD)
    assert len(store.records()) == 1
    assert not (tmp_path / index.FILE).exists()
    assert not index.is_due(255, 255)
    assert index.is_due(256, 256)
    assert not index.is_due(300, 10_000)


def test_runs_that_others_have_written_since_are_found_one_by_one(runs):
    key = min(rows_of(runs))
    other = RunStore.open(runs.folder)
    assert other.records_of([key, "0" * 16]).keys() == {key}
    again = runs.append(RunRecord(**plain(runs.records()[key])))
    assert other.records_of([key])[key].attempt == again.attempt == 2
    assert other.append(again).attempt == 3


def test_a_file_that_is_gone_or_has_another_name_has_no_row(runs):
    keys = sorted(rows_of(runs))
    found = RowIndex.read(runs.folder)
    files = row_files(os.scandir(runs.folder / "results"))
    assert found.rows(files).tolist() == list(range(len(keys)))
    files.stamps[2] = index.UNKNOWN
    found._stamps[2] = index.UNKNOWN
    assert found.rows(files).tolist() == [0, 1, -1, 3, 4, 5]
    files.names[4] = f"{keys[4]}.0.json".encode()
    assert found.rows(files).tolist() == [0, 1, -1, 3, -1, 5]


def test_of_a_run_s_attempts_the_last_counts_as_a_number(runs):
    key = min(rows_of(runs))
    for attempt in (2, 9, 10):
        (runs.folder / "results" / f"{key}.{attempt}.json").touch()
    files = row_files(os.scandir(runs.folder / "results"))
    assert files.keys == sorted(files.keys)
    assert files.names[files.keys.index(key)] == f"{key}.10.json".encode()


def _linked(path: Path) -> None:
    (path.parent.parent / "precious").write_text("mine")
    path.unlink()
    path.symlink_to(path.parent.parent / "precious")


def test_what_a_link_in_the_place_of_the_index_leads_to_is_left_alone(runs):
    whole, path = rows_of(runs), runs.folder / index.FILE
    _linked(path)
    assert rows_of(runs) == whole
    assert (runs.folder.parent / "precious").read_text() == "mine"
    assert not path.is_symlink()


def _parts(path: Path) -> dict[str, np.ndarray]:
    with np.load(path) as file:
        return dict(file)


def _directory_bit(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[data.find(b"PK\x01\x02") + 8] ^= 1
    path.write_bytes(data)


def _an_array(path: Path) -> None:
    with path.open("wb") as file:
        np.save(file, np.arange(5))


def _nested(path: Path) -> None:
    np.savez(path, **{**_parts(path), "about": np.frombuffer(b"[" * 200_000, np.uint8)})


def _endless(path: Path) -> None:
    parts = _parts(path)
    about = parts["about"].tobytes().replace(b'"rows": 6', b'"rows": 1e999')
    np.savez(path, **{**parts, "about": np.frombuffer(about, np.uint8)})


def _compressed(path: Path) -> None:
    np.savez_compressed(path, **_parts(path))
    data = bytearray(path.read_bytes())
    data[200:260] = bytes(60)
    path.write_bytes(data)


def _records(path: Path) -> None:
    np.savez(path, **{**_parts(path), "stamps": np.zeros((6, 3), "V8")})


def _of_other_types(path: Path) -> None:
    """Every value of a field that is a text a number."""
    parts = _parts(path)
    about = json.loads(parts["about"].tobytes())
    place = about["fields"].index(["", "status"])
    values = np.frombuffer(json.dumps([5] * len(json.loads(parts[f"values.{place}"].tobytes()))).encode(), np.uint8)
    np.savez(path, **{**parts, f"values.{place}": values})


def _without_targets(path: Path) -> None:
    parts = _parts(path)
    place = json.loads(parts["about"].tobytes())["fields"].index(["spec", "target"])
    np.savez(path, **{**parts, f"codes.{place}": np.full(6, -1, np.int32)})


@pytest.mark.parametrize(
    "damage",
    [_directory_bit, _an_array, _nested, _endless, _compressed, _records, _of_other_types, _without_targets],
)
def test_no_damage_of_an_index_is_more_than_lost_time(runs, damage, monkeypatch):
    whole = rows_of(runs)
    damage(runs.folder / index.FILE)
    read = reads(monkeypatch)
    assert rows_of(runs) == whole
    assert len(read) == 6


def test_an_index_that_is_written_over_while_it_is_open_is_a_line(runs):
    rows_of(runs)
    (record, *_) = RunStore.open(runs.folder).records().values()
    path = runs.folder / index.FILE
    with path.open("r+b") as file:
        file.truncate(100)
    with pytest.raises(DataError, match="changed while it was read"):
        str(record.status)


def test_names_that_no_row_has_are_no_rows(runs):
    whole = rows_of(runs)
    key = min(whole)
    for name in ("notes.²", f"{key}.②", f"{key}.01", f"{key}.0", f"{key}.", "x"):
        (runs.folder / "results" / f"{name}.json").touch()
    assert rows_of(runs) == whole


def test_numbers_of_files_may_be_of_64_bits():
    """As some file systems give them."""
    entries = [
        SimpleNamespace(
            name=f"{number}.1.json",
            stat=lambda number=number: SimpleNamespace(st_ino=2**64 - number, st_size=5, st_ctime_ns=number),
        )
        for number in (1, 2)
    ]
    assert row_files(entries).stamps.tolist() == [[2**63 - number, 5, number] for number in (1, 2)]


def test_a_kept_row_can_be_copied_and_sent(runs):
    rows_of(runs)
    found = RunStore.open(runs.folder).records()
    for record in found.values():
        copied = pickle.loads(pickle.dumps(record))
        assert isinstance(copied, RunRecord)
        assert copied == record
