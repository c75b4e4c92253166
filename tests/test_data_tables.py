"""Datasets without packets: what becomes of every row of a table, whatever is in it, and what is run on them.  The
tables are SYNTHETIC and written here, without the code that reads them."""

from __future__ import annotations

import csv
import json
import random
import sys
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from datasets_registry.registry import OpenDataset, shared_input
from datasets_registry.store import FlowStore
from datasets_registry.tables import csv_file, ingest, parquet_file
from datasets_registry.tables.layouts import LAYOUTS, layout_of, meter_words, places_in
from datasets_registry.verify import verify_store
from detectors.shared.inputs import INPUTS
from harness.cli import data as command
from janus_bench.columns import CIC_FEATURES, NETFLOW_V2_FEATURES
from janus_bench.conformance import check_detector
from janus_bench.errors import DataError, UsageError
from janus_bench.params import build_params
from janus_bench.plugins import load_detector
from tests.conftest import SHARED_DATA, Cli, needs_shared_data, write_example_captures

ADDRESSES = ["IPV4_SRC_ADDR", "L4_SRC_PORT", "IPV4_DST_ADDR", "L4_DST_PORT"]
HEADER = [*ADDRESSES, *NETFLOW_V2_FEATURES, "Label", "Attack"]
METER = ["Flow ID", " Source IP", " Source Port", " Destination IP", " Destination Port", " Protocol", " Timestamp"]
METER += [f" {name}" for name in CIC_FEATURES if name != "Protocol"] + [" Label"]
METER.insert(METER.index(" Bwd Header Length") + 8, " Fwd Header Length")  # as the published CSVs have it, twice
SHORT_TEXT = """
Dst Port,Protocol,Timestamp,Flow Duration,Tot Fwd Pkts,Tot Bwd Pkts,TotLen Fwd Pkts,TotLen Bwd Pkts,
Fwd Pkt Len Max,Fwd Pkt Len Min,Fwd Pkt Len Mean,Fwd Pkt Len Std,Bwd Pkt Len Max,Bwd Pkt Len Min,
Bwd Pkt Len Mean,Bwd Pkt Len Std,Flow Byts/s,Flow Pkts/s,Flow IAT Mean,Flow IAT Std,Flow IAT Max,Flow IAT Min,
Fwd IAT Tot,Fwd IAT Mean,Fwd IAT Std,Fwd IAT Max,Fwd IAT Min,Bwd IAT Tot,Bwd IAT Mean,Bwd IAT Std,Bwd IAT Max,
Bwd IAT Min,Fwd PSH Flags,Bwd PSH Flags,Fwd URG Flags,Bwd URG Flags,Fwd Header Len,Bwd Header Len,Fwd Pkts/s,
Bwd Pkts/s,Pkt Len Min,Pkt Len Max,Pkt Len Mean,Pkt Len Std,Pkt Len Var,FIN Flag Cnt,SYN Flag Cnt,RST Flag Cnt,
PSH Flag Cnt,ACK Flag Cnt,URG Flag Cnt,CWE Flag Count,ECE Flag Cnt,Down/Up Ratio,Pkt Size Avg,Fwd Seg Size Avg,
Bwd Seg Size Avg,Fwd Byts/b Avg,Fwd Pkts/b Avg,Fwd Blk Rate Avg,Bwd Byts/b Avg,Bwd Pkts/b Avg,Bwd Blk Rate Avg,
Subflow Fwd Pkts,Subflow Fwd Byts,Subflow Bwd Pkts,Subflow Bwd Byts,Init Fwd Win Byts,Init Bwd Win Byts,
Fwd Act Data Pkts,Fwd Seg Size Min,Active Mean,Active Std,Active Max,Active Min,Idle Mean,Idle Std,Idle Max,
Idle Min,Label"""
SHORT = [name for line in SHORT_TEXT.split("\n") for name in line.split(",") if name]


def netflow(n: int, seed: int, attacks: float = 0.3) -> list[list[str]]:
    """Rows of numbers that are their own truth: flow i has IN_BYTES i."""
    rng, rows = random.Random(seed), []
    for i in range(n):
        attack = rng.random() < attacks
        numbers = {name: round(rng.lognormvariate(3, 1) * (3 if attack else 1), 3) for name in NETFLOW_V2_FEATURES}
        numbers |= {"PROTOCOL": rng.choice((6, 17)), "IN_BYTES": i, "IN_PKTS": 2, "OUT_PKTS": 1}
        ends = [f"10.0.{seed}.{i % 250}", rng.randrange(1024, 65536), "10.1.0.1", rng.choice((53, 443))]
        rows.append([*map(str, ends), *map(str, numbers.values()), str(int(attack)), "DoS" if attack else "Benign"])
    return rows


def write(path: Path, header: list[str], rows: list[list[str]]) -> Path:
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([header, *rows])
    return path


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("JANUS_BENCH_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


def add(home: Path, paths: list[Path], layout: str = "netflow_v2", **more: Any) -> FlowStore:
    command.add("t", paths, layout=layout, replace=True, **more)
    verify_store(home / "datasets" / "t")
    return FlowStore.open(home / "datasets" / "t")


def test_every_row_is_used_or_counted_with_the_column_the_kind_and_an_example(home, tmp_path, monkeypatch, capsys):
    rows = netflow(400, 1)
    at = {name: HEADER.index(name) for name in HEADER}
    traps = {
        7: ("IN_BYTES", "", "IN_BYTES: 1 row empty, such as None (row 8)"),
        11: ("OUT_BYTES", "NaN", "OUT_BYTES: 2 rows NaN, such as 'NaN' (row 12)"),
        12: ("OUT_BYTES", " nan ", ""),
        30: ("DURATION_IN", "-Infinity", "DURATION_IN: 1 row infinite, such as '-Infinity' (row 31)"),
        31: ("OUT_BYTES", "1,234,567", "OUT_BYTES: 1 row with thousands separators, such as '1,234,567' (row 32)"),
        40: ("MIN_TTL", "many", "MIN_TTL: 1 row unreadable, such as 'many' (row 41)"),
        55: ("Attack", "  ", "Attack: 1 row empty, such as '' (row 56)"),
        60: ("L4_SRC_PORT", "70000", "L4_SRC_PORT: 1 row unreadable, such as '70000' (row 61)"),
        61: ("IPV4_DST_ADDR", "", "IPV4_DST_ADDR: 1 row empty, such as None (row 62)"),
    }
    kept = {
        80: ("SRC_TO_DST_SECOND_BYTES", "9.99e300", "SRC_TO_DST_SECOND_BYTES: 1 row beyond 1e38, stored as that"),
        81: ("OUT_BYTES", "  5 ", ""),
        82: ("L4_DST_PORT", "-", ""),
    }
    for row, (column, text, _) in {**traps, **kept}.items():
        rows[row][at[column]] = text
    flagged = next(i for i in range(100, 400) if rows[i][at["Attack"]] == "DoS")
    rows[flagged][at["Label"]] = "0"
    rows.insert(200, HEADER)
    path = write(tmp_path / "nf.csv", HEADER, rows)
    for size in (1 << 25, 3000):
        monkeypatch.setattr(csv_file, "BLOCK", size)
        store = add(home, [path])
        assert store.manifest["tables"]["nf.csv"] == {
            "rows": 401,
            "used": 400 - len(traps),
            "left_out": {"repeated_headers": 1, "bad_rows": len(traps)},
            "noted": {"numbers_beyond_1e38": 1, "flags_against_labels": 1},
        }
        said = "\n".join(store.manifest["warnings"])
        for _, _, line in (*traps.values(), *kept.values()):
            assert line in said
        assert f"Label: 1 row against Attack, such as '0' beside 'DoS' (row {flagged + 1 + (flagged >= 200)})" in said
        assert said in capsys.readouterr().err.replace("warning: ", "")
        # row by row what was written
        stored = store.take(
            np.arange(store.n_flows), np.arange(store.n_flows, dtype=np.uint64), frozenset({"netflow_v2"})
        )
        good = [row for i, row in enumerate(rows) if i not in traps and row is not HEADER]
        for name in NETFLOW_V2_FEATURES:
            truth = np.array([min(float(row[at[name]]), 1e38) for row in good])
            assert np.array_equal(stored.features[name], truth.astype(np.float32).astype(np.float64)), name
        assert store.labels()["attack"].to_list() == [row[-1] != "Benign" for row in good]
        assert store.labels()["label"].unique().sort().to_list() == ["DoS", "benign"]
        flows = store.flows()
        assert flows["src_ip"].to_list() == [row[0] for row in good]
        assert flows["dst_port"].to_list() == [0 if row[3] == "-" else int(row[3]) for row in good]
        assert set(flows["n_packets"]) == {3}


def test_csv_and_parquet_and_any_block_give_the_same_dataset(home, tmp_path, monkeypatch):
    rows = netflow(3000, 2)
    path = write(tmp_path / "nf.csv", HEADER, rows)
    hashes = [add(home, [path]).hash]
    monkeypatch.setattr(csv_file, "BLOCK", 50_000)
    monkeypatch.setattr(parquet_file, "BATCH", 700)
    monkeypatch.setattr(ingest, "SHARD_FLOWS", 1024)
    store = add(home, [path])
    assert [shard.n_flows for shard in store.shards] == [1024, 1024, 952]
    (tmp_path / "p").mkdir()
    pl.read_csv(path).write_parquet(tmp_path / "p" / "nf.parquet")
    (tmp_path / "q").mkdir()
    path.rename(tmp_path / "q" / "nf.parquet.csv")
    parquet = add(home, [tmp_path / "p"])
    assert parquet.labels().drop("file", "source").equals(store.labels().drop("file", "source"))
    assert parquet.flows().equals(store.flows())
    hashes.append(store.hash)
    assert len(set(hashes)) == 1
    ids = np.array([2999, 5, 1024, 1023])
    taken = [each.take(ids, ids.astype(np.uint64), frozenset({"netflow_v2"})) for each in (store, parquet)]
    assert taken[0].features["IN_BYTES"].tolist() == ids.tolist()
    assert all(np.array_equal(taken[0].features[name], taken[1].features[name]) for name in NETFLOW_V2_FEATURES)


def test_a_column_whose_fractions_come_late_holds_what_was_written_in_any_block(home, tmp_path, monkeypatch):
    rows, at = netflow(900, 8), {name: HEADER.index(name) for name in HEADER}
    late = {
        "IN_BYTES": "0.5",
        "OUT_BYTES": "99999999999999999999",
        "MIN_TTL": "-0.0",
        "DURATION_IN": "+7",
        "L4_SRC_PORT": "80.0",
    }
    for i, row in enumerate(rows):
        for name, text in late.items():
            # whole numbers, some of which a fraction of 64 bits cannot hold, and at the end one that is none
            row[at[name]] = str(i) if name == "L4_SRC_PORT" else ("-0" if i % 3 else str(2**53 + 1 + i))
            if i == 800:
                row[at[name]] = text
    path, hashes = write(tmp_path / "late.csv", HEADER, rows), set()
    for size in (1 << 24, 20_000):
        monkeypatch.setattr(csv_file, "BLOCK", size)
        store = add(home, [path])
        hashes.add(store.hash)
        ids = np.arange(store.n_flows)
        taken = store.take(ids, ids.astype(np.uint64), frozenset({"netflow_v2"}))
        assert store.n_flows == 900
        for name in NETFLOW_V2_FEATURES:
            truth = np.array([float(row[at[name]]) for row in rows]).astype(np.float32)
            assert np.array_equal(taken.features[name], truth), name
        assert store.flows()["src_port"].to_list() == [int(float(row[1])) for row in rows]
    assert len(hashes) == 1


def test_a_line_that_ends_early_is_left_out_wherever_a_block_begins(home, tmp_path, monkeypatch):
    rows = netflow(60, 9)
    for i in (0, 17, 30):
        rows[i] = rows[i][:3]
    path = write(tmp_path / "short.csv", HEADER, rows)
    for size in (1 << 24, 1):  # every line is a block of its own
        monkeypatch.setattr(csv_file, "BLOCK", size)
        store = add(home, [path])
        assert store.manifest["tables"]["short.csv"] == {
            "rows": 60,
            "used": 57,
            "left_out": {"bad_rows": 3},
            "noted": {},
        }
    assert store.labels()["row"].to_list() == [i for i in range(60) if i not in (0, 17, 30)]


def test_a_line_with_more_cells_than_the_header_is_left_out_and_empty_ones_at_its_end_are_no_cells(
    home, tmp_path, monkeypatch
):
    rows = netflow(60, 10)
    at = HEADER.index("IN_BYTES")
    for i in (0, 20):
        rows[i] = [*rows[i][:at], "1", "234", *rows[i][at + 1 :]]  # 1,234 without quotation marks
    for i in (3, 59):
        rows[i] = [*rows[i], "", ""]
    for size in (1 << 24, 1):
        monkeypatch.setattr(csv_file, "BLOCK", size)
        store = add(home, [write(tmp_path / "long.csv", HEADER, rows)])
        assert store.labels()["row"].to_list() == [i for i in range(60) if i not in (0, 20)]
        assert set(store.manifest["labels_read"]) == {"Benign", "DoS"}
        warned = "\n".join(store.manifest["warnings"])
        assert "long.csv: its lines: 2 rows with more cells than the header, such as row 1" in warned
    commas = [[*row, ""] for row in netflow(60, 10)]  # a comma at the end of every line
    assert add(home, [write(tmp_path / "commas.csv", HEADER, commas)]).n_flows == 60


def test_lines_that_are_blank_or_end_early_are_one_warning(home, tmp_path):
    rows = netflow(40, 11)
    rows[4], rows[9] = [], rows[9][:20]
    store = add(home, [write(tmp_path / "blank.csv", HEADER, rows)])
    assert store.manifest["warnings"] == [
        "blank.csv: of 40 rows, 2 bad rows",
        "blank.csv: its lines: 2 rows that end early or are blank, such as row 5",
    ]


def test_quotation_marks_that_do_not_match_cost_no_row_and_texts_may_have_line_breaks(
    home, tmp_path, monkeypatch, recwarn
):
    rows = netflow(200, 12, attacks=0)
    for i in (7, 50, 199):
        rows[i][-1] = ('"DoS', '"Web" Attack', 'Do"S')[(i > 7) + (i > 50)]
    path = tmp_path / "quotes.csv"
    path.write_text("\n".join(map(",".join, [HEADER, *rows])) + "\n")
    store = add(home, [path])
    assert store.n_flows == 200
    assert store.manifest["labels_read"].keys() == {"Benign", '"DoS', '"Web" Attack', 'Do"S'}
    assert store.labels()["row"].to_list() == list(range(200))
    for i, row in enumerate(rows):  # a text of a hundred lines, if one believed it
        row[-1] = '"' if i in (7, 150) else "Benign"
    path.write_text("\n".join(map(",".join, [HEADER, *rows])) + "\n")
    store = add(home, [path])
    assert store.manifest["labels_read"].keys() == {"Benign", '"'}
    assert store.n_flows == 200
    for row in rows:
        row[-1] = "Do\nS"
    monkeypatch.setattr(csv_file, "BLOCK", 1000)  # which ends inside of texts
    store = add(home, [write(tmp_path / "breaks.csv", HEADER, rows)])
    assert store.manifest["labels_read"].keys() == {"Do\nS"}
    assert store.n_flows == 200
    rows[0][-1] = 'Do"S'  # an odd number of marks in every block that has it
    rows[1][-1] = "x" + "\n" * 60 + "x"
    path.write_text(
        "\n".join(",".join(f'"{cell}"' if "\n" in cell else cell for cell in row) for row in [HEADER, *rows])
    )
    for size in (400, 1000, 1 << 24):
        monkeypatch.setattr(csv_file, "BLOCK", size)
        store = add(home, [path])
        assert store.manifest["tables"]["quotes.csv"]["used"] == 200
        assert store.manifest["labels_read"].keys() == {'Do"S', rows[1][-1], "Do\nS"}
    assert not [warning for warning in recwarn if "malformed" in str(warning.message)]


def test_every_row_that_is_left_out_has_its_reason_and_no_port_is_rounded(home, tmp_path):
    rows, at = netflow(30, 13), {name: HEADER.index(name) for name in HEADER}
    rows[2][at["PROTOCOL"]] = "300"  # a feature, and the protocol
    rows[5][at["L4_SRC_PORT"]] = "80.5"
    rows[6][at["L4_DST_PORT"]] = "0.1"
    rows[7][at["L4_DST_PORT"]] = "443.0"
    warned = "\n".join(add(home, [write(tmp_path / "r.csv", HEADER, rows)]).manifest["warnings"])
    assert "of 30 rows, 3 bad rows" in warned
    assert "PROTOCOL: 1 row unreadable, such as '300' (row 3)" in warned
    assert "L4_SRC_PORT: 1 row unreadable, such as '80.5' (row 6)" in warned
    assert "L4_DST_PORT: 1 row unreadable, such as '0.1' (row 7)" in warned


def test_what_parquet_holds_is_read_as_numbers_and_texts_or_named(home, tmp_path):
    rows = netflow(300, 14)
    table = pl.DataFrame(rows, schema=HEADER, orient="row")
    plain = table.with_columns(pl.col(*HEADER[1:2], *HEADER[3:-2]).cast(pl.Float64))
    expected = add(home, [write(tmp_path / "t.csv", HEADER, rows)])
    everyday = {
        "categories": table.with_columns(pl.col("Attack", "IN_BYTES", "L4_SRC_PORT", "PROTOCOL").cast(pl.Categorical)),
        "flags": plain.with_columns(Label=pl.col("Label") == "1"),
        "texts": table,
    }
    for name, kind in everyday.items():
        path = tmp_path / f"{name}.parquet"
        kind.write_parquet(path)
        store = add(home, [path])
        assert store.flows().equals(expected.flows()), name
        assert store.labels().drop("file", "source").equals(expected.labels().drop("file", "source")), name
        assert not store.manifest["warnings"], name
    odd = {
        "list": plain.with_columns(IN_BYTES=pl.concat_list("IN_BYTES")),
        "struct": plain.with_columns(Attack=pl.struct("Attack")),
        "bytes": plain.with_columns(pl.col("IN_BYTES").cast(pl.String).cast(pl.Binary)),
        "date": plain.with_columns(Attack=pl.from_epoch(pl.Series([17000] * 300), time_unit="d")),
        "time": plain.with_columns(IN_BYTES=pl.from_epoch("IN_BYTES", time_unit="s")),
    }
    for name, kind in odd.items():
        path = tmp_path / f"{name}.parquet"
        kind.write_parquet(path)
        with pytest.raises(
            DataError, match=rf"{name}\.parquet: column '(IN_BYTES|Attack)' holds .*: make numbers or texts"
        ):
            add(home, [path])
    import pyarrow as pa
    import pyarrow.parquet as pq

    plain.with_columns(pl.col("IN_BYTES").cast(pl.Int128)).write_parquet(tmp_path / "wide.parquet")
    with pytest.raises(DataError, match=r"wide\.parquet: not a readable Parquet file \(Integers with more than 64"):
        add(home, [tmp_path / "wide.parquet"])
    arrow = plain.to_arrow()
    latin = pa.Array.from_buffers(
        pa.string(), 300, [None, pa.py_buffer(np.arange(0, 904, 3, np.int32)), pa.py_buffer(b"D\xf6S" * 300)]
    )
    place = arrow.schema.get_field_index("Attack")
    pq.write_table(arrow.set_column(place, "Attack", latin), tmp_path / "latin.parquet")
    with pytest.raises(DataError, match=r"latin\.parquet: not a readable Parquet file \(Invalid UTF8"):
        add(home, [tmp_path / "latin.parquet"])
    pq.write_table(arrow.append_column("IN_BYTES", pa.array([0.0] * 300)), tmp_path / "twice.parquet")
    store = add(home, [tmp_path / "twice.parquet"])
    assert store.flows().equals(expected.flows())
    taken = store.take(np.arange(300), np.arange(300, dtype=np.uint64), frozenset({"netflow_v2"}))
    assert taken.features["IN_BYTES"].tolist() == list(range(300))  # of two columns with one name the first


def test_times_of_parquet_are_utc_whatever_their_type(home, tmp_path):
    numbers = {name.strip(): [1.0] * 3 for name in METER[7:-1] if name.strip() != "Fwd Header Length"}
    numbers["Fwd Header Length"] = [1.0] * 3
    ends = {"Source IP": ["10.0.0.1"] * 3, "Source Port": [80] * 3, "Destination IP": ["10.0.0.2"] * 3}
    whole = {**ends, "Destination Port": [443] * 3, "Protocol": [6] * 3, **numbers, "Label": ["BENIGN"] * 3}
    seconds = [1499072462, 1499072463, 1499158863]
    at = pl.from_epoch(pl.Series(seconds), time_unit="s")
    kinds = {"us": at.cast(pl.Datetime("us")), "zone": at.cast(pl.Datetime("ns")).dt.replace_time_zone("UTC")}
    for name, column in kinds.items():
        path = tmp_path / f"{name}.parquet"
        pl.DataFrame(whole).with_columns(Timestamp=column).write_parquet(path)
        assert add(home, [path], "cicflowmeter").flows()["ts_start"].to_list() == seconds, name
    import pyarrow as pa
    import pyarrow.parquet as pq

    for zone in ("+05:30", "-03:30"):
        column = pa.array([1000 * at for at in seconds], pa.timestamp("ms", zone))
        pq.write_table(pl.DataFrame(whole).to_arrow().append_column("Timestamp", column), tmp_path / "half.parquet")
        assert add(home, [tmp_path / "half.parquet"], "cicflowmeter").flows()["ts_start"].to_list() == seconds, zone
    far = pl.Series([at[0], None, at[0]]).fill_null(pl.datetime(9999, 12, 31))
    pl.DataFrame(whole).with_columns(Timestamp=far).write_parquet(tmp_path / "far.parquet")
    store = add(home, [tmp_path / "far.parquet"], "cicflowmeter")
    assert store.flows()["ts_start"].to_list() == [seconds[0]] * 2  # a placeholder is no time


def test_a_file_without_times_beside_one_with_them_says_what_stands_for_its_captures(home, tmp_path):
    numbers = ["1" for _ in METER[7:-1]]
    rows = [
        ["f", "10.0.0.1", str(1024 + i), "10.0.0.2", "80", "6", "3/7/2017 9:00", *numbers, "BENIGN"] for i in range(9)
    ]
    timed = write(tmp_path / "timed.csv", METER, rows)
    without = [*METER[:6], *METER[7:]]
    untimed = write(tmp_path / "untimed.csv", without, [[*row[:6], *row[7:]] for row in rows])
    store = add(home, [timed, untimed], "cicflowmeter")
    assert store.manifest["grouping"] == (
        "each file stands for a capture; in 1 file without times, such as untimed.csv, contiguous blocks of 1,000 rows "
        "stand for captures"
    )
    assert set(store.labels()["source"]) == {"timed.csv", "untimed.csv rows 1–1000"}


def test_rows_without_times_are_in_blocks_of_a_thousand_and_no_block_is_divided(home, tmp_path):
    dataset = OpenDataset(
        add(home, [write(tmp_path / "nf.csv", [*HEADER[4:]], [row[4:] for row in netflow(25_000, 3)])])
    )
    sources = dataset.truth["source"]
    assert sources[0] == "nf.csv rows 1–1000"
    assert sources.n_unique() == 25
    assert "contiguous blocks of 1,000 rows stand for captures" in dataset.store.manifest["grouping"]
    from protocols.splits import Draw

    partition = dataset.partition(Draw(42, "grouped", "quick"))
    assert partition.kind == "grouped"
    blocks = {name: set((ids // 1000).tolist()) for name, ids in partition.parts.items() if name != "test_attack"}
    assert all(blocks[a].isdisjoint(blocks[b]) for a in blocks for b in blocks if a < b)


def test_times_make_days_of_one_file_and_captures_of_several(home, tmp_path):
    def rows(day: int, n: int) -> list[list[str]]:
        numbers = ["1000000" if "Flow Duration" in name else "1" for name in METER[7:-1]]
        ends = [["f", "10.0.0.1", str(1024 + i), "10.0.0.2", "80", "6"] for i in range(n)]
        return [[*end, f"{day}/7/2017 9:{i % 60:02}", *numbers, "BENIGN"] for i, end in enumerate(ends)]

    one = write(tmp_path / "a.csv", METER, rows(3, 5) + rows(4, 5))
    store = add(home, [one], "cicflowmeter")
    assert store.labels()["source"].unique().sort().to_list() == ["a.csv 2017-07-03", "a.csv 2017-07-04"]
    assert store.flows()["ts_start"][1] == 1499072460.0  # 2017-07-03 09:01 UTC
    assert store.flows()["ts_end"][1] == 1499072461.0
    assert "column 'Fwd Header Length' is there more than once: the first counts" in "\n".join(
        store.manifest["warnings"]
    )
    two = write(tmp_path / "b.csv", METER, rows(5, 5))
    assert set(add(home, [one, two], "cicflowmeter").labels()["source"]) == {"a.csv", "b.csv"}


def test_a_time_in_milliseconds_is_the_same_whatever_its_neighbours(home, tmp_path):
    header = [*HEADER[:-2], "FLOW_START_MILLISECONDS", *HEADER[-2:]]
    rows = [[*row[:-2], str(1499418000123 + i), *row[-2:]] for i, row in enumerate(netflow(300, 15))]
    rows[8][1] = ""  # a row that is looked at again
    times = add(home, [write(tmp_path / "ms.csv", header, rows)]).flows()["ts_start"].to_list()
    assert times == [(1499418000123 + i) / 1000 for i in range(300)]


def test_every_form_of_a_time_is_read_and_one_of_no_year_is_none(home, tmp_path):
    numbers = ["1" for _ in METER[7:-1]]
    written = {
        "2017-07-03 09:01:02.5": 1499072462.5,
        "2017-07-03T09:01:02": 1499072462.0,
        "2017-07-03 09:01": 1499072460.0,
        "3/7/2017 09:01:02": 1499072462.0,
        "03/07/2017 9:01": 1499072460.0,
        " 1499072462 ": 1499072462.0,
        "1499072462250": 1499072462.25,
        "2017-07-03T09:01:02Z": 1499072462.0,
        "2017-07-03 11:01:02.5+02:00": 1499072462.5,
        "3/7/2017 09:01 UTC": 1499072460.0,
    }
    bad = ["1e300", "-1e300", "inf", "3/13/2017 09:01", "yesterday", "3/7/17 9:01", "-5"]
    rows = [["f", "10.0.0.1", "80", "10.0.0.2", "80", "6", text, *numbers, "BENIGN"] for text in (*written, *bad)]
    for order in (rows, rows[::-1]):
        store = add(home, [write(tmp_path / "a.csv", METER, order)], "cicflowmeter")
        expected = list(written.values())
        assert store.flows()["ts_start"].to_list() == (expected if order is rows else expected[::-1])
        assert set(store.labels()["source"]) == {"a.csv 2017-07-03"}
        assert "Timestamp: 6 rows no time as docs/tables.md lists them" in "\n".join(store.manifest["warnings"])


@pytest.mark.parametrize("header", [METER, SHORT], ids=["2017", "2018"])
def test_both_ways_of_naming_columns_are_read_as_the_same_features(header):
    places = places_in(Path("x.csv"), header, LAYOUTS["cicflowmeter"])
    assert len(set(places.features)) == 77
    assert meter_words(header[places.features[CIC_FEATURES.index("Bwd Packet Length Std")]]) == "bwd length packet std"
    found = {name: header[place].strip() for name, place in zip(CIC_FEATURES, places.features, strict=True)}
    assert found["Init_Win_bytes_forward"] in ("Init_Win_bytes_forward", "Init Fwd Win Byts")
    assert found["Min Packet Length"] in ("Min Packet Length", "Pkt Len Min")
    assert found["Fwd Header Length"] in ("Fwd Header Length", "Fwd Header Len")


@needs_shared_data
def test_the_real_header_of_2018_is_read(home):
    store = add(home, [SHARED_DATA / "csv_samples" / "cse_cic_ids2018.csv"], "cicflowmeter")
    assert store.n_flows == store.manifest["tables"]["cse_cic_ids2018.csv"]["used"] > 0


def test_a_layout_of_ones_own_and_a_label_column_of_another_name(home, tmp_path):
    rows = netflow(50, 4)
    header = [{"IN_BYTES": "sent", "Attack": "kind", "Label": "y"}.get(name, name) for name in HEADER]
    path = write(tmp_path / "own.csv", header, rows)
    layout = tmp_path / "mine.toml"
    layout.write_text(
        'features = "netflow_v2"\nlabel = "kind"\nsrc_ip = "IPV4_SRC_ADDR"\n[columns]\nIN_BYTES = "sent"\n'
    )
    store = add(home, [path], str(layout))
    assert store.manifest["attack"] == sum(row[-1] == "DoS" for row in rows)
    assert set(store.flows()["dst_ip"]) == {""}
    with pytest.raises(DataError, match=r"no column for 1 of the 39 features of netflow_v2: 'IN_BYTES'"):
        add(home, [path])
    renamed = write(tmp_path / "class.csv", [*HEADER[:-2], "class", "Category"], rows)
    with pytest.raises(
        DataError, match=r"no column 'Attack' with the labels; its header has class, Category: name one"
    ):
        add(home, [renamed])
    store = add(home, [renamed], label_column="class", benign="0")
    assert store.manifest["benign"] == sum(row[-2] == "0" for row in rows)
    assert "column 'Category' looks like labels and is not read" in "\n".join(store.manifest["warnings"])
    assert set(store.manifest["labels_read"]) == {"0", "1"}
    with pytest.raises(UsageError, match="unknown label 'nul'"):
        add(home, [renamed], label_column="class", benign="nul")
    for text, message in (
        ("x = 1", "unknown entry of mine.toml 'x'"),
        ('label = "a"', "unknown set of features in mine.toml ''"),
        ('features = "netflow_v2"', "no entry label"),
        ('features = "netflow_v2"\nlabel = 3', "label must be the name of a column"),
        ('features = "netflow_v2"\nlabel = "a"\n[columns]\nIN_BITES = "b"', "Did you mean 'IN_BYTES'"),
        ("[", "not valid TOML"),
    ):
        layout.write_text(text)
        with pytest.raises((DataError, UsageError), match=message):
            layout_of(str(layout))


def test_what_cannot_be_added_is_one_line_and_leaves_what_was_there(home, tmp_path):
    good = write(tmp_path / "nf.csv", HEADER, netflow(20, 5))
    before = add(home, [good]).hash
    (tmp_path / "none").mkdir()
    (tmp_path / "text.parquet").write_text("no table")
    bad = write(tmp_path / "bad.csv", HEADER, [[*row[:6], "inf", *row[7:]] for row in netflow(20, 6)])
    cases: tuple[tuple[list[Path], dict[str, Any], str], ...] = (
        (
            [bad],
            {},
            "no row of 1 file can be used: bad.csv: of 20 rows, 20 bad rows; bad.csv: IN_BYTES: 20 rows inf",
        ),
        ([tmp_path / "none"], {}, "no table \\(.csv, .parquet\\) below it"),
        ([tmp_path / "text.parquet"], {}, "not a readable Parquet file"),
        ([tmp_path / "nf.txt"], {}, "no such file"),
        ([good, good], {}, "two of the files have that name"),
        ([good], {"layout": "netflow"}, "unknown layout 'netflow'.*Did you mean 'netflow_v2'"),
        ([good], {"layout": ""}, "a table; say what its columns are with --layout"),
        ([tmp_path], {"layout": "", "label_column": "x"}, "--label-column is of tables"),
        ([tmp_path, tmp_path / "none"], {"layout": ""}, "captures are added as one folder"),
    )
    for paths, more, message in cases:
        with pytest.raises((DataError, UsageError), match=message):
            add(home, paths, **more)
    assert FlowStore.open(home / "datasets" / "t").hash == before
    done = Cli(sys.executable, home, tmp_path)("data", "add", "u", bad, "--layout", "netflow_v2")
    assert (done.returncode, done.stderr.count("\n")) == (3, 1)
    done = Cli(sys.executable, home, tmp_path)("data", "audit", "t")
    assert (done.returncode, done.stderr.count("\n")) == (3, 1)
    assert "a table without" in done.stderr


def test_names_of_sets_have_one_spelling_that_counts():
    loaded = load_detector("knn")
    for given, meant in (
        ("flow", "features"),
        ("cicflowmeter", "cic_features"),
        ("context+flow", "features+context"),
        ("netflow_v2 + cicflowmeter", "cic_features+netflow_v2"),
    ):
        assert build_params("knn", loaded.params_type, {"input": given}).input == meant
    with pytest.raises(UsageError, match="input='netflow' must be one or more of features, cic_features"):
        build_params("knn", loaded.params_type, {"input": "netflow"})
    with pytest.raises(UsageError, match="must be one or more of"):
        build_params("knn", loaded.params_type, {"input": "packets"})
    assert build_params("iforest", load_detector("iforest").params_type, {"input": "packets"}).input == "packets"
    assert INPUTS["cic_features+netflow_v2"].width == 77 + 39


def test_raw_sets_are_read_as_signed_logarithms():
    from janus_bench.contract import FlowBatch

    features = {name: np.array([-3.0, 0.0, 1e6]) for name in NETFLOW_V2_FEATURES}
    batch = FlowBatch(np.arange(3, dtype=np.uint64), features=features)
    assert np.allclose(INPUTS["netflow_v2"].raw(batch)[:, 0], [-np.log(4.0), 0.0, np.log(1e6 + 1)])


def test_a_detector_keeps_the_contract_on_tables():
    loaded = load_detector("mahalanobis")
    given = {"input": "cic_features+netflow_v2"}
    params = build_params(loaded.name, loaded.params_type, loaded.profiles.get("check", {}), given)
    assert [check for check in check_detector(loaded.factory, params) if check.status == "failed"] == []


def test_a_run_on_captures_and_tables_ends_with_every_row_ok_or_skipped_with_its_reason(home, tmp_path):
    numbers = np.random.default_rng(3).lognormal(2, 1, (2000, len(METER) - 8)).round(2)
    rows = []
    for i, row in enumerate(numbers):
        ends = ["f", "10.0.0.1", str(1024 + i), "10.0.0.2", "80", "6", f"{1 + i // 200}/7/2017 9:{i % 60:02}"]
        rows.append([*ends, *map(str, row if i % 5 else 9 * row), "BENIGN" if i % 5 else "DDoS"])
    command.add("one", [write(tmp_path / "one.csv", METER, rows)], layout="cicflowmeter")
    command.add("nf", [write(tmp_path / "nf.csv", HEADER, netflow(50, 7))], layout="netflow_v2")
    command.add("lan", [write_example_captures(tmp_path / "captures")], 120.0, stream=False)
    request = ("--detectors", "mahalanobis,length", "--seeds", "1", "--profile", "quick", "--runs", "runs")
    cli = Cli(sys.executable, home, tmp_path)
    done = cli("run", *request, "--datasets", "lan,one", "--protocol", "cross", "--format", "json")
    assert done.returncode == 1, done.stderr  # some are skipped
    board = json.loads(done.stdout)
    found = {row["detector"]: row for row in board["rows"]}
    assert {cell["status"] for cell in found["mahalanobis"]["cells"]} == {"ok"}
    assert {(cell["source"], cell["target"]): cell["status"] for cell in found["length"]["cells"]} == {
        (a, b): "ok" if a == b == "lan" else "skipped" for a in ("lan", "one") for b in ("lan", "one")
    }
    said = "detectors on tables read cic_features where nothing else is asked for"
    assert any(said in note for note in board["notes"])
    assert "one is a table without packets: it has cic_features, not packets" in done.stderr
    opened = {name: OpenDataset(FlowStore.open(home / "datasets" / name)) for name in ("lan", "one", "nf")}
    assert shared_input(opened) == "features"  # nothing is shared
    assert shared_input({"nf": opened["nf"]}) == "netflow_v2"
    assert shared_input({name: opened[name] for name in ("one", "lan")}) == "cic_features"
    request = ("--detectors", "length", "--seeds", "1", "--runs", "runs", "--datasets", "nf", "--protocol", "within")
    done = cli("run", *request)
    assert "nf is a table without packets: it has netflow_v2, not packets" in done.stdout
