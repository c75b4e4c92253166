"""``data verify``: a whole dataset passes, and any damage is one line that names the file."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from datasets_registry.store import CHECKSUMS, MANIFEST, FlowStore
from datasets_registry.verify import store_files, verify_store
from harness.cli import audit as command
from janus_bench.errors import DataError, UsageError
from janus_bench.files import checksum

FILES = store_files({"shards": [840], "cic_features": True})


@pytest.fixture
def whole(home, tmp_path) -> Path:
    """A copy of a small dataset, to be damaged."""
    return Path(shutil.copytree(home / "datasets" / "alpha", tmp_path / "datasets" / "alpha"))


def resign(folder: Path) -> None:
    """Checksums of what is there now: whoever wrote it wrote it wrong."""
    files = sorted(path for path in folder.rglob("*") if path.is_file() and path.name != CHECKSUMS)
    (folder / CHECKSUMS).write_text(
        "".join(f"{checksum(path)}  {path.relative_to(folder).as_posix()}\n" for path in files)
    )


def fails(folder: Path, match: str) -> None:
    with pytest.raises(DataError, match=match) as error:
        verify_store(folder)
    assert "\n" not in str(error.value)
    assert error.value.exit_code == 3


def flip(path: Path, place: int) -> None:
    content = bytearray(path.read_bytes())
    content[place] ^= 0x01
    path.write_bytes(bytes(content))


def test_a_whole_dataset_passes_and_its_checksums_are_those_of_sha256sum(whole):
    report = verify_store(whole)
    assert report.notes == []
    there = {path.relative_to(whole).as_posix() for path in whole.rglob("*") if path.is_file()}
    assert {check.file for check in report.checks if check.what == "checksum"} == there - {CHECKSUMS}
    assert there >= set(FILES)
    assert {check.file for check in report.checks if check.what != "checksum"} >= set(FILES)
    done = subprocess.run(
        ["sha256sum", "--strict", "-c", CHECKSUMS], cwd=whole, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_a_stream_that_does_not_fit_its_flows_is_found(whole):
    flow = np.load(whole / "stream" / "flow.npy")
    packet = int(np.flatnonzero(flow >= 0)[0])
    for value, found in (
        (840, "numbers of flows that there are not"),
        (-1, "its flows have other packets than those of flows.parquet"),
    ):
        np.save(whole / "stream" / "flow.npy", np.where(np.arange(len(flow)) == packet, value, flow))
        resign(whole)
        fails(whole, f"stream/flow.npy: {found}")
    manifest = json.loads((whole / MANIFEST).read_text())
    (whole / MANIFEST).write_text(
        json.dumps({**manifest, "packets_not_in_stream": manifest["packets_not_in_stream"] + 1})
    )
    resign(whole)
    assert "stream" in {check.file for check in verify_store(whole).checks}
    np.save(whole / "stream" / "flow.npy", flow[:-1])
    resign(whole)
    fails(whole, "its columns are not as long as its captures")


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("place", [0.0, 0.3, 0.6, 1.0])
def test_one_flipped_bit_in_any_file_is_found_and_the_file_named(whole, name, place):
    path = whole / name
    flip(path, round(place * (path.stat().st_size - 1)))
    fails(whole, rf"damaged \({name}: not the bytes that were written")


@pytest.mark.parametrize("name", FILES)
def test_a_missing_or_cut_file_is_named(whole, name):
    path = whole / name
    path.write_bytes(path.read_bytes()[:-1])
    fails(whole, rf"damaged \({name}: not the bytes")
    path.unlink()
    fails(whole, rf"damaged \({name}: missing")


def test_several_damaged_files_are_all_named(whole):
    for name in ("flows.parquet", "packets/win.npy"):
        flip(whole / name, 200)
    fails(whole, r"damaged \(flows\.parquet, packets/win\.npy: not the bytes")


def test_a_damaged_list_of_checksums_is_found(whole):
    path = whole / CHECKSUMS
    good = path.read_bytes()
    path.write_bytes(b"\xff" + good[1:])
    fails(whole, CHECKSUMS)
    path.write_text("0" * 64 + "  ../../outside\n")
    fails(whole, rf"{CHECKSUMS}: line 1 is no checksum")
    path.write_bytes(b"".join(good.splitlines(keepends=True)[1:]))
    fails(whole, rf"{CHECKSUMS}: no line for cic_features\.npy")
    path.write_bytes(b"0" * 64 + good[64:])
    fails(whole, r"cic_features\.npy: not the bytes")


def test_an_older_dataset_without_checksums_says_so_and_is_checked_by_its_content(whole):
    (whole / CHECKSUMS).unlink()
    report = verify_store(whole)
    (note,) = report.notes
    assert note.startswith("no checksums")
    assert {check.what for check in report.checks} >= {"content hash", "types, flow_id, range, counts"}


@pytest.mark.parametrize("name", ["offsets", "size", "iat", "win", "bits"])
def test_without_checksums_a_flipped_bit_in_the_packets_is_found_all_the_same(whole, name):
    (whole / CHECKSUMS).unlink()
    flip(whole / "packets" / f"{name}.npy", -1)
    fails(whole, "damaged")


def rewrite_array(folder: Path, name: str, change: Callable[[np.ndarray], np.ndarray]) -> None:
    path = folder / "packets" / f"{name}.npy"
    np.save(path, change(np.load(path)))
    resign(folder)


def put(values: np.ndarray, place: int, value: Any) -> np.ndarray:
    values[place] = value
    return values


@pytest.mark.parametrize(
    ("name", "change", "match"),
    [
        ("iat", lambda v: v.astype(np.float64), r"packets/iat\.npy holds float64"),
        ("iat", lambda v: put(v, 0, 5.0), r"packets/iat\.npy: a flow's first packet has a time gap"),
        ("iat", lambda v: put(v, 1, -1.0), r"packets/iat\.npy: values that are negative"),
        ("iat", lambda v: put(v, 1, np.nan), r"packets/iat\.npy: values that are negative or not finite"),
        ("bits", lambda v: put(v, 0, 255), r"packets/bits\.npy: bits above"),
        ("size", lambda v: v[:-1], r"packets/size\.npy holds uint16 \(4856,\), expected uint16 \(4857,\)"),
        ("offsets", lambda v: put(v, 1, v[2]), r"packets/offsets\.npy: a flow without packets"),
        ("offsets", lambda v: v[:-1], r"packets/offsets\.npy holds int64 \(840,\), expected int64 \(841,\)"),
        ("size", lambda v: put(v, 0, v[0] + 1), r"flow_features\.parquet: bytes_fwd is not what the packets give"),
        ("win", lambda v: put(v, 0, v[0] + 1), "the content is not that of the hash"),
    ],
)
def test_arrays_that_were_written_wrong_are_found(whole, name, change, match):
    rewrite_array(whole, name, change)
    fails(whole, match)


def first_row(column: str, value: Any) -> Callable[[pl.DataFrame], pl.DataFrame]:
    """Replace a column's value in the first row."""
    return lambda table: table.with_columns(
        pl.when(pl.int_range(pl.len()) == 0)
        .then(pl.lit(value))
        .otherwise(pl.col(column))
        .cast(table[column].dtype)
        .alias(column)
    )


@pytest.mark.parametrize(
    ("name", "change", "match"),
    [
        ("flows", lambda t: t.drop("proto"), r"flows\.parquet: columns"),
        (
            "flows",
            lambda t: t.with_columns(pl.col("proto").cast(pl.Int64)),
            r"flows\.parquet: column proto holds Int64, expected UInt8",
        ),
        ("flows", lambda t: t[:-1], r"flows\.parquet: 839 rows for 840 flows"),
        (
            "flows",
            lambda t: t.with_columns(flow_id=pl.col("flow_id").reverse()),
            r"flows\.parquet: flow_id is not 0 … 839",
        ),
        ("flows", first_row("ts_end", 0.0), r"flows\.parquet: times"),
        ("flows", first_row("n_packets", 1000), r"flows\.parquet: n_packets disagrees"),
        ("flows", first_row("src_ip", "1.2.3.4"), "the content is not that of the hash"),
        ("labels", first_row("label", None), r"labels\.parquet: column label has 1 missing"),
        (
            "labels",
            lambda t: t.with_columns(attack=~pl.col("attack")),
            r"manifest\.json: benign differs|manifest\.json: attack differs",
        ),
        (
            "labels",
            lambda t: t.with_columns(label=pl.lit("traffic")),
            r"labels\.parquet: one label is called both attack and benign",
        ),
        ("labels", first_row("family", "other"), r"manifest\.json: families differs"),
        ("labels", first_row("source", "other"), "the content is not that of the hash"),
        ("flow_features", first_row("size_std", np.nan), r"flow_features\.parquet: size_std is not"),
    ],
)
def test_tables_that_were_written_wrong_are_found(whole, name, change, match):
    path = whole / f"{name}.parquet"
    change(pl.read_parquet(path)).write_parquet(path)
    resign(whole)
    fails(whole, match)


@pytest.mark.parametrize(
    ("key", "value", "match"),
    [
        ("store_version", 99, "a store of version 99"),
        ("n_packets", 1, "manifest.json: n_packets differs"),
        ("labels", {}, "manifest.json: flows per label differ"),
        ("hash", "0" * 64, "the content is not that of the hash"),
    ],
)
def test_a_manifest_that_says_something_else_is_found(whole, key, value, match):
    path = whole / MANIFEST
    path.write_text(json.dumps(json.loads(path.read_text()) | {key: value}))
    resign(whole)
    fails(whole, match)


def test_opening_a_dataset_does_not_read_its_checksums(whole):
    (whole / CHECKSUMS).write_text("nonsense")
    assert FlowStore.open(whole).n_flows == 840


def test_the_command_prints_what_was_checked_and_raises_on_damage(whole, monkeypatch, capsys):
    monkeypatch.setenv("JANUS_BENCH_HOME", str(whole.parents[1]))
    command.verify("alpha", "table")
    printed = capsys.readouterr().out
    assert "alpha: whole" in printed
    assert all(name in printed for name in FILES)
    command.verify("alpha", "json")
    document = json.loads(capsys.readouterr().out)
    assert document["dataset"] == "alpha"
    packets = FlowStore.open(whole).packet_counts().sum()
    assert {"file": "packets/iat.npy", "what": "type, offsets, range", "extent": f"{packets} packets"} in document[
        "checks"
    ]
    (whole / MANIFEST).unlink()
    with pytest.raises(DataError, match=r"manifest\.json: missing"):
        command.verify("alpha", "table")
    with pytest.raises(UsageError, match="unknown dataset 'alphq'"):
        command.verify("alphq", "table")
