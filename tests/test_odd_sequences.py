"""Dense packet sequences that went wrong: what is in them is a number that can be, or one line says which is not."""

from __future__ import annotations

import json
import random
import tracemalloc
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from datasets_registry.sequences import UNKNOWN, ingest_sequences
from datasets_registry.store import FlowStore
from janus_bench.columns import CIC_FEATURES
from janus_bench.errors import DataError, JanusBenchError

N, T = 6, 3


def flows(**columns: object) -> pl.DataFrame:
    table = {
        "src_ip": ["10.0.0.1"] * N,
        "src_port": list(range(N)),
        "dst_ip": ["10.0.0.2"] * N,
        "dst_port": [80] * N,
        "proto": [6] * N,
        "ts_start": [float(i) for i in range(N)],
        "label": ["benign", "benign", "scan"] * 2,
    }
    return pl.DataFrame(table | columns)


def dense(dtype: str = "float32", packets: int = T) -> np.ndarray:
    values = np.zeros((N, packets, 9))
    values[:, :, 0] = 100
    return values.astype(dtype)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "dense"
    made.mkdir()
    flows().write_parquet(made / "flows.parquet")
    np.savez_compressed(made / "packets.npz", packets=dense())
    return made


def refused(folder: Path) -> str:
    with pytest.raises(DataError) as error:
        ingest_sequences(folder, folder.parent / "store", name="x")
    assert "\n" not in str(error.value)
    assert not (folder.parent / "store").exists()
    return str(error.value)


@pytest.mark.parametrize(
    ("columns", "said"),
    [
        (
            {"ts_start": [0.0, 1.0, float("nan"), 3.0, 4.0, 5.0]},
            "row 2: ts_start is nan; expected seconds since the epoch",
        ),
        ({"ts_start": [0.0, float("inf"), 2.0, 3.0, 4.0, 5.0]}, "row 1: ts_start is inf"),
        ({"ts_start": [0.0, 1.0, 2.0, 3.0, 4.0, 1e17]}, "row 5: ts_start is 1e+17"),
        ({"ts_start": [-1.0, 1.0, 2.0, 3.0, 4.0, 5.0]}, "row 0: ts_start is -1.0"),
        (
            {"ts_end": [0.0, 1.0, 1.5, 3.0, 4.0, 5.0]},
            "row 2: ts_end is 1.5; expected seconds since the epoch, not before ts_start",
        ),
        ({"n_packets": [3, 3, 3, -4, 3, 3]}, "row 3: n_packets is -4; expected a count from 1"),
        ({"n_packets": [3, 3, 3, 0, 3, 3]}, "row 3: n_packets is 0; expected a count from 1"),
        ({"label": ["benign", " ", "scan", "x", "y", "z"]}, "row 1: label is ' '; expected a text"),
        ({"flow_id": list("abcdef")}, "flow_id holds String, expected a number"),
        ({"src_ip": [[1]] * N}, "column src_ip"),
    ],
)
def test_times_counts_and_labels_that_cannot_be(folder, columns, said):
    flows(**columns).write_parquet(folder / "flows.parquet")
    assert said in refused(folder)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_features_that_are_not_finite(folder, value):
    table = {name: [0.0] * N for name in CIC_FEATURES}
    table[CIC_FEATURES[7]][4] = value
    pl.DataFrame(table).write_parquet(folder / "cic_features.parquet")
    assert f"row 4: {CIC_FEATURES[7]} is {value}; expected a finite number" in refused(folder)


@pytest.mark.parametrize(
    "values",
    [
        dense(packets=0),
        dense("bool"),
        dense("complex64"),
        dense("U8"),
        dense("S4"),
        dense("f8").view("M8[s]"),
        dense("f8").view("m8[s]"),
    ],
    ids=["no packets", "bool", "complex", "text", "bytes", "times", "durations"],
)
def test_arrays_that_are_no_packets(folder, values):
    np.savez_compressed(folder / "packets.npz", packets=values)
    assert "expected numbers of one packet a flow or more" in refused(folder)


def test_a_small_file_of_very_long_flows_takes_little_memory(folder):
    many = 400
    pl.concat([flows()] * (many // N + 1))[:many].with_columns(ts_start=pl.lit(1.0)).write_parquet(
        folder / "flows.parquet"
    )
    long = np.zeros((many, 5000, 9), np.float64)  # 144 MB of zeros, some 150 KB packed
    long[:, 0, 0] = 100
    np.savez_compressed(folder / "packets.npz", packets=long)
    del long
    tracemalloc.start()
    manifest = ingest_sequences(folder, folder.parent / "store", name="x")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert manifest["n_flows"] == many
    assert peak < 60 << 20  # of 144 that numpy itself would take


@pytest.mark.parametrize("key", UNKNOWN)
def test_a_description_with_null_in_place_of_what_there_should_be(folder, key):
    (folder / "dataset.json").write_text(json.dumps({key: None}))
    if UNKNOWN[key] is None:
        assert ingest_sequences(folder, folder.parent / "store", name="x")["n_flows"] == N
    else:
        said = refused(folder)
        assert "not the description of a dataset" in said
        assert key in said


def test_labels_that_look_benign_are_warned_of_once_however_often_it_is_added(folder):
    flows(label=["Normal", "benign", "scan"] * 2).write_parquet(folder / "flows.parquet")
    warnings = ingest_sequences(folder, folder.parent / "store", name="x")["warnings"]
    assert [line[:24] for line in warnings] == ["labels that look benign "]
    (folder / "dataset.json").write_text(json.dumps({"warnings": warnings}))
    assert ingest_sequences(folder, folder.parent / "store", name="x")["warnings"] == warnings


def test_damaged_sequences_are_read_or_refused_in_one_line(folder):
    noise, read = random.Random(6), 0
    whole = {name: (folder / name).read_bytes() for name in ("flows.parquet", "packets.npz")}
    for case in range(240):
        name = ("flows.parquet", "packets.npz")[case % 2]
        data = bytearray(whole[name])
        for _ in range(noise.randint(1, 4)):
            at, kind = noise.randrange(max(len(data), 1)), noise.randrange(3)
            if kind == 0:
                data[at : at + 1] = bytes([noise.randrange(256)])
            elif kind == 1:
                del data[at : at + noise.randint(1, 30)]
            else:
                data[at : at + 8] = bytes(len(data[at : at + 8]))
        (folder / name).write_bytes(data)
        try:
            ingest_sequences(folder, folder.parent / "store", name="x")
            FlowStore.open(folder.parent / "store").flows()
            read += 1
        except JanusBenchError as error:
            assert "\n" not in str(error)  # noqa: PT017
        (folder / name).write_bytes(whole[name])
    assert read >= 5
