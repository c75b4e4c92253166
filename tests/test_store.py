"""The flow store: shards, what taking and walking touch, and the dense layout written and read back."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from datasets_registry.block import FLOW_FIELDS, LABEL_FIELDS, Block, ContentHash, Counts
from datasets_registry.export import export_store
from datasets_registry.sequences import holds_sequences, ingest_sequences
from datasets_registry.store import FlowStore, is_current
from datasets_registry.verify import verify_store
from datasets_registry.writing import StoreWriter, replacing
from janus_bench.columns import (
    CIC_FEATURES,
    FLOW_COLUMNS,
    FLOW_FEATURES,
    LABEL_COLUMNS,
    MAX_PACKETS,
    PACKET_ARRAYS,
    PACKET_CHANNELS,
)
from janus_bench.errors import DataError, UsageError
from janus_bench.ragged import positions, starts_of

PROTOCOL, FORWARD, BACKWARD = (
    CIC_FEATURES.index(name) for name in ("Protocol", "Total Fwd Packets", "Total Backward Packets")
)
ABOUT = {
    "name": "made",
    "summary": "SYNTHETIC random flows",
    "synthetic": True,
    "licence": "none",
    "labels": {},
    "unmatched_flows": 0,
    "packets": {"read": 0, "used": 0, "dropped": {}, "noted": {}},
    "warnings": [],
    "files": {},
}


def random_block(n: int, seed: int = 0, *, cic: bool = True) -> Block:
    """SYNTHETIC flows: random packets under random labels."""
    rng = np.random.default_rng(seed)
    n_packets = rng.geometric(0.1, n)
    lengths = np.minimum(n_packets, MAX_PACKETS)
    offsets = starts_of(lengths)
    iat = rng.exponential(1e4, offsets[-1]).astype(np.float32)
    iat[offsets[:-1]] = 0
    packets = {
        "size": rng.integers(28, 1500, offsets[-1]).astype(np.uint16),
        "iat": iat,
        "win": rng.integers(0, 65536, offsets[-1]).astype(np.uint16),
        "bits": rng.integers(0, 64, offsets[-1]).astype(np.uint8),
    }
    attack = rng.random(n) < 0.3
    start = rng.random(n) * 1e9
    flows = {
        "src_ip": [f"10.0.0.{number}" for number in rng.integers(0, 256, n)],
        "src_port": rng.integers(0, 65536, n).astype(np.uint16),
        "dst_ip": [f"fe80::{number:x}" for number in rng.integers(1, 9, n)],
        "dst_port": rng.integers(0, 65536, n).astype(np.uint16),
        "proto": rng.choice(np.array([6, 17], np.uint8), n),
        "ts_start": start,
        "ts_end": start + rng.random(n),
        "n_packets": n_packets.astype(np.int64),
    }
    labels = {
        "attack": attack,
        "label": np.where(attack, "attack", "benign"),
        "family": [
            ("flöod" if number else "scan") if is_attack else "benign"
            for is_attack, number in zip(attack, rng.integers(0, 2, n), strict=True)
        ],
        "source": [f"day {number}" for number in rng.integers(0, 3, n)],
        "file": ["a.pcap"] * n,
        "row": np.arange(n),
        "site": [("", "öst", "west")[number] for number in rng.integers(0, 3, n)],
    }
    features = rng.random((n, len(CIC_FEATURES))).astype(np.float32)
    features[:, PROTOCOL], features[:, FORWARD], features[:, BACKWARD] = (
        flows["proto"],
        n_packets - n_packets // 2,
        n_packets // 2,
    )
    frames = pl.DataFrame(flows).select(FLOW_FIELDS), pl.DataFrame(labels).select(LABEL_FIELDS)
    return Block(offsets, packets, *frames, features if cic else None)


def write(
    folder: Path,
    block: Block,
    cuts: list[int],
    monkeypatch: pytest.MonkeyPatch | None = None,
    shard_flows: int | None = None,
) -> FlowStore:
    """The block as a store, added in pieces that end at ``cuts``."""
    if monkeypatch is not None:
        monkeypatch.setattr(StoreWriter, "shard_flows", shard_flows)
    with replacing(folder) as staged:
        writer = StoreWriter(staged)
        ends = sorted({*cuts, len(block)})
        for begin, end in zip([0, *ends[:-1]], ends, strict=True):
            writer.add(block.slice(begin, end))
        labels = {
            label: {"matched": flows, "unmatched_rows": 0, "ambiguous": 0, "flows": flows}
            for label, flows in writer.counts.by_label().items()
        }
        writer.finish(ABOUT | {"labels": labels})
    return FlowStore.open(folder)


def contents(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()
    }


@pytest.fixture(scope="module")
def block() -> Block:
    return random_block(500)


@pytest.fixture
def pair(block, tmp_path, monkeypatch) -> tuple[FlowStore, FlowStore]:
    """The same flows in one shard and in five."""
    whole = write(tmp_path / "whole", block, [])
    return whole, write(tmp_path / "sharded", block, [7, 300], monkeypatch, 110)


def test_neither_blocks_nor_shards_show_in_what_a_store_gives(pair, block):
    whole, sharded = pair
    assert [shard.n_flows for shard in sharded.shards] == [110, 110, 110, 110, 60]
    assert not (whole.folder / "full_store").exists()
    assert sorted(path.name for path in (sharded.folder / "full_store").iterdir()) == [
        "00000",
        "00001",
        "00002",
        "00003",
        "00004",
    ]
    assert whole.hash == sharded.hash
    for store in pair:
        assert store.packet_counts().tolist() == np.diff(block.offsets).tolist()
        assert store.flows().drop("flow_id").equals(block.flows)
        assert store.labels().drop("flow_id").equals(block.labels)
        assert store.flows()["flow_id"].to_list() == list(range(500))
        assert all(np.array_equal(store.packets()[name], block.packets[name]) for name in PACKET_ARRAYS)
        assert store.flows(["proto", "src_ip"]).equals(block.flows.select("proto", "src_ip"))
        assert verify_store(store.folder).notes == []
    different = {key for key in whole.manifest if whole.manifest[key] != sharded.manifest[key]}
    assert different == {"shards"}


def test_the_bytes_of_a_store_do_not_depend_on_the_blocks_that_it_came_in(block, tmp_path, monkeypatch):
    one = write(tmp_path / "one", block, [], monkeypatch, 110)
    other = write(tmp_path / "other", block, [1, 2, 109, 110, 111, 400], monkeypatch, 110)
    assert contents(one.folder) == contents(other.folder)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    chosen=st.lists(st.integers(0, 499), max_size=60),
    inputs=st.sets(st.sampled_from(["packets", "features", "cic_features"])),
)
def test_taking_from_shards_is_taking_from_the_whole(pair, block, chosen, inputs):
    ids = np.arange(len(chosen), dtype=np.uint64)[::-1]
    taken = [store.take(np.array(chosen, np.int64), ids, frozenset(inputs)) for store in pair]
    for batch in taken:
        assert batch.ids.tolist() == ids.tolist()
        names = [*(FLOW_FEATURES if "features" in inputs else ()), *(CIC_FEATURES if "cic_features" in inputs else ())]
        assert list(batch.features) == names
        assert list(batch.packets) == (list(PACKET_CHANNELS) if "packets" in inputs else [])
        assert (batch.offsets is None) == ("packets" not in inputs)
    for name in taken[0].features:
        assert np.array_equal(taken[0].features[name], taken[1].features[name])
    if "cic_features" in inputs and chosen and block.cic is not None:
        assert np.array_equal(taken[1].features["Idle Min"], block.cic[chosen, CIC_FEATURES.index("Idle Min")])
    if "packets" in inputs:
        for batch in taken:
            for row, flow in enumerate(chosen):  # flow by flow, in plain Python
                first, last = block.offsets[flow], block.offsets[flow + 1]
                place = slice(int(batch.offsets[row]), int(batch.offsets[row + 1]))
                assert batch.packet("win")[place].tolist() == block.packets["win"][first:last].tolist()
                assert batch.packet("ack")[place].tolist() == [
                    int(bits) >> 5 & 1 for bits in block.packets["bits"][first:last]
                ]


def test_walking_in_blocks_is_taking_at_once(pair):
    flow_ids = np.random.default_rng(1).permutation(500)
    inputs = frozenset({"packets", "features", "cic_features"})
    for store in pair:
        once = store.take(flow_ids, flow_ids.astype(np.uint64), inputs)
        blocks = list(store.blocks(flow_ids, inputs, 64))
        assert [len(batch) for batch in blocks] == [64] * 7 + [52]
        assert np.concatenate([batch.ids for batch in blocks]).tolist() == flow_ids.tolist()
        for name in once.packets:
            assert np.array_equal(np.concatenate([batch.packet(name) for batch in blocks]), once.packet(name))
        assert np.array_equal(np.concatenate([batch.feature_matrix() for batch in blocks]), once.feature_matrix())


def test_a_store_without_cic_features_says_so_when_asked_for_them(tmp_path):
    store = write(tmp_path / "s", random_block(9, cic=False), [])
    with pytest.raises(DataError, match="has no cic_features"):
        store.take(np.arange(3), np.arange(3, dtype=np.uint64), frozenset({"cic_features"}))
    with pytest.raises(ValueError, match="all blocks"):
        write_mixed(tmp_path / "mixed")


def write_mixed(folder: Path) -> None:
    folder.mkdir()
    writer = StoreWriter(folder)
    writer.add(random_block(2))
    writer.add(random_block(2, cic=False))


def test_taking_opens_only_the_shards_that_it_needs(pair):
    _, sharded = pair
    for number in (0, 1, 2, 4):
        shutil.rmtree(sharded.folder / "full_store" / f"{number:05}")
    inputs = frozenset({"packets", "features", "cic_features"})
    assert len(sharded.take(np.arange(330, 440), np.arange(110, dtype=np.uint64), inputs)) == 110
    with pytest.raises(DataError, match=r"full_store/00000/packets/offsets\.npy"):
        sharded.take(np.array([400, 5]), np.arange(2, dtype=np.uint64), inputs)


@pytest.mark.parametrize(
    ("change", "what"),
    [
        (lambda b: b.packets["size"].__setitem__(3, b.packets["size"][3] ^ 1), "a packet"),
        (lambda b: b.packets["iat"].__setitem__(1, 0.5), "a gap"),
    ],
)
def test_the_hash_sees_every_packet(change, what, block):
    def digest(of: Block) -> str:
        content = ContentHash()
        content.update(of)
        return content.hexdigest()

    copied = Block(
        block.offsets,
        {name: values.copy() for name, values in block.packets.items()},
        block.flows,
        block.labels,
        block.cic,
    )
    assert digest(copied) == digest(block)
    change(copied)
    assert digest(copied) != digest(block), what


def test_the_hash_sees_where_a_text_and_a_flow_end(block):
    def digest(lengths: list[int], labels: list[str]) -> str:
        n = len(lengths)
        offsets = starts_of(np.array(lengths))
        frame = block.labels[:n].with_columns(family=pl.Series(labels))
        content = ContentHash()
        content.update(
            Block(
                offsets,
                {name: values[: offsets[-1]] for name, values in block.packets.items()},
                block.flows[:n],
                frame,
                None,
            )
        )
        return content.hexdigest()

    assert len({digest([2, 3], ["ab", "c"]), digest([2, 3], ["a", "bc"]), digest([3, 2], ["ab", "c"])}) == 3


def test_counts_agree_with_a_plain_count(block):
    counts = Counts()
    for begin in range(0, 500, 90):
        counts.update(block.slice(begin, min(begin + 90, 500)))
    rows = list(zip(block.labels.iter_rows(named=True), block.flows["n_packets"], strict=True))
    found = counts.described()
    assert (found["n_flows"], found["attack"]) == (500, sum(row["attack"] for row, _ in rows))
    assert found["n_packets"] == block.offsets[-1]
    for key, (flows, longer) in found["families"].items():
        mine = [n for row, n in rows if f"{'attack' if row['attack'] else 'benign'}/{row['family']}" == key]
        assert (flows, longer) == (len(mine), sum(n >= 2 for n in mine))
    assert sum(flows for flows, _ in found["families"].values()) == 500
    sites = {
        site: [sum((row["site"], row["attack"]) == (site, attack) for row, _ in rows) for attack in (False, True)]
        for site in ("", "west", "öst")
    }
    assert found["sites"] == sites
    assert counts.by_label() == {label: sum(row["label"] == label for row, _ in rows) for label in ("attack", "benign")}


def test_ragged_runs_are_those_of_a_loop():
    begins, lengths = np.array([5, 0, 9, 2]), np.array([2, 0, 3, 1])
    assert positions(begins, lengths).tolist() == [5, 6, 9, 10, 11, 2]


def test_a_store_written_before_there_were_sites_is_one_site(tmp_path):
    with tarfile.open(Path(__file__).resolve().parent / "pinned" / "pinned.tar.gz") as archive:
        members = [member for member in archive if member.name.startswith("home/datasets/north/")]
        archive.extractall(tmp_path, members, filter="data")
    folder = tmp_path / "home" / "datasets" / "north"
    assert json.loads((folder / "manifest.json").read_text())["store_version"] == 2
    assert "site" not in pl.read_parquet_schema(folder / "labels.parquet")
    store = FlowStore.open(folder)
    assert is_current(folder)
    labels = store.labels()
    assert tuple(labels.columns) == LABEL_COLUMNS
    assert store.labels(["site"])["site"].to_list() == [""] * store.n_flows
    assert store.labels(["family", "flow_id"]).equals(labels.select("family", "flow_id"))
    assert verify_store(folder).notes == []  # the same content hash
    export_store(store, tmp_path / "dense", "full_store")
    assert ingest_sequences(tmp_path / "dense", tmp_path / "again", name="north")["hash"] == store.hash


def test_a_damaged_shard_is_named(pair):
    _, sharded = pair
    path = sharded.folder / "full_store" / "00002" / "cic_features.npy"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(bytes(content))
    with pytest.raises(DataError, match=r"full_store/00002/cic_features\.npy: not the bytes"):
        verify_store(sharded.folder)
    path.unlink()
    with pytest.raises(DataError, match=r"damaged \(full_store/00002/cic_features\.npy: missing"):
        verify_store(sharded.folder)
    with pytest.raises(DataError, match=r"damaged \(full_store/00002/cic_features\.npy"):
        FlowStore.open(sharded.folder)
    assert is_current(sharded.folder)
    (sharded.folder / "manifest.json").write_text("{}")
    assert not is_current(sharded.folder)


@pytest.mark.parametrize(
    ("column", "value", "match"),
    [
        (5, np.nan, "not finite"),
        (PROTOCOL, 1, "Protocol is not that of"),
        (FORWARD, 900, "its packets are not those of"),
    ],
)
def test_cic_features_that_were_written_wrong_are_found(tmp_path, column, value, match):
    block = random_block(20)
    assert block.cic is not None
    block.cic[4, column] = value
    write(tmp_path / "s", block, [])
    with pytest.raises(DataError, match=match):
        verify_store(tmp_path / "s")


# The dense layout


@pytest.mark.parametrize("layout", ["original", "full_store"])
@pytest.mark.parametrize("which", [0, 1])
def test_what_is_exported_can_be_added_again_and_is_the_same(pair, tmp_path, layout, which, monkeypatch):
    store = pair[which]
    monkeypatch.setattr(StoreWriter, "shard_flows", [500, 110][which])
    export_store(store, tmp_path / "dense", layout)
    assert holds_sequences(tmp_path / "dense")
    manifest = ingest_sequences(tmp_path / "dense", tmp_path / "again", name="made", summary=store.manifest["summary"])
    assert verify_store(tmp_path / "again").notes == []
    assert {key: manifest[key] for key in store.manifest} == store.manifest
    written, read = (
        {name: data for name, data in contents(folder).items() if "/" in name or "." in name}
        for folder in (store.folder, tmp_path / "again")
    )
    del written["manifest.json"], read["manifest.json"]
    assert written == read


def test_the_dense_layout_is_what_the_original_has(pair, block, tmp_path):
    whole, sharded = pair
    export_store(whole, tmp_path / "dense", "original")
    assert sorted(path.name for path in (tmp_path / "dense").iterdir()) == [
        "cic_features.parquet",
        "dataset.json",
        "flow_features.parquet",
        "flows.parquet",
        "packets.npz",
    ]
    with np.load(tmp_path / "dense" / "packets.npz") as archive:
        packets = archive["packets"]
    assert (packets.shape, packets.dtype) == ((500, 64, 9), np.float32)
    for flow in (0, 250, 499):
        first, last = block.offsets[flow], block.offsets[flow + 1]
        n = int(last - first)
        expected = np.zeros((64, 9), np.float32)
        for place, name in ((0, "size"), (1, "iat"), (8, "win")):
            expected[:n, place] = block.packets[name][first:last]
        for bit in range(6):
            expected[:n, 2 + bit] = block.packets["bits"][first:last] >> bit & 1
        assert np.array_equal(packets[flow], expected)
    flows = pl.read_parquet(tmp_path / "dense" / "flows.parquet")
    assert flows.columns == [*FLOW_COLUMNS, *LABEL_COLUMNS[1:]]
    assert flows["family"].equals(block.labels["family"])
    assert pl.read_parquet(tmp_path / "dense" / "flow_features.parquet").columns == ["flow_id", *FLOW_FEATURES]
    export_store(sharded, tmp_path / "full", "full_store")
    names = {path.name for path in (tmp_path / "full" / "full_store").iterdir()}
    assert len(names) == 5 * 4
    assert {
        "packets-00004.npz",
        "flows-00000.parquet",
        "flow_features-00002.parquet",
        "cic_features-00001.parquet",
    } <= names
    with pytest.raises(UsageError, match="there already"):
        export_store(whole, tmp_path / "full", "original")


def test_exporting_twice_gives_the_same_bytes(pair, tmp_path):
    for name in ("one", "two"):
        export_store(pair[1], tmp_path / name, "full_store")
    assert contents(tmp_path / "one") == contents(tmp_path / "two")


@pytest.fixture
def bare(block, tmp_path) -> Path:
    """What somebody else might have: another name and type of the array, and only the columns that are needed."""
    folder = tmp_path / "bare"
    folder.mkdir()
    dense = np.zeros((3, 5, 9))
    dense[0, :2] = [[60, 0, 0, 1, 0, 0, 0, 0, 7], [60, 25, 1, 1, 0, 0, 0, 1, 9]]
    dense[1, :1] = [[1500, 3, 0, 0, 0, 0, 1, 1, 65535]]
    dense[2, :5] = [[40, 10, 0, 0, 0, 0, 0, 0, 0]] * 5
    np.savez_compressed(folder / "packets.npz", X=dense, other=np.arange(3))
    rows = {
        "src_ip": ["1.1.1.1"] * 3,
        "src_port": [1, 2, 3],
        "dst_ip": ["2.2.2.2"] * 3,
        "dst_port": [80] * 3,
        "proto": [6, 6, 17],
    }
    pl.DataFrame({**rows, "ts_start": [1.0, 2.0, 3.0], "label": ["Benign", "flood", "BENIGN"]}).write_parquet(
        folder / "flows.parquet"
    )
    return folder


def test_sequences_of_others_become_a_dataset(bare, tmp_path):
    manifest = ingest_sequences(bare, tmp_path / "s", name="s")
    assert (manifest["benign"], manifest["attack"], manifest["cic_features"]) == (2, 1, False)
    assert manifest["families"] == {"attack/flood": [1, 0], "benign/BENIGN": [1, 1], "benign/Benign": [1, 1]}
    store = FlowStore.open(tmp_path / "s")
    assert store.flows().rows() == [
        (0, "1.1.1.1", 1, "2.2.2.2", 80, 6, 1.0, 1.000025, 2),
        (1, "1.1.1.1", 2, "2.2.2.2", 80, 6, 2.0, 2.0, 1),
        (2, "1.1.1.1", 3, "2.2.2.2", 80, 17, 3.0, 3.00004, 5),
    ]
    assert store.labels().rows()[1] == (1, True, "flood", "flood", "flows.parquet", "flows.parquet", 1, "")
    batch = store.take(np.arange(3), np.arange(3, dtype=np.uint64), frozenset({"packets", "features"}))
    assert batch.packet("iat").tolist() == [0, 25, 0, 0, 10, 10, 10, 10]
    assert batch.packet("psh").tolist() == [0, 0, 1, 0, 0, 0, 0, 0]
    assert batch.features["size_max"].tolist() == pytest.approx(np.log1p([60, 1500, 40]))
    verify_store(tmp_path / "s")


def rewrite(folder: Path, **columns: object) -> None:
    path = folder / "flows.parquet"
    pl.read_parquet(path).with_columns(**columns).write_parquet(path)


def test_sequences_that_are_wrong_are_one_line(bare, tmp_path):
    def fails(match: str) -> None:
        with pytest.raises(DataError, match=match) as error:
            ingest_sequences(bare, tmp_path / "s", name="s")
        assert "\n" not in str(error.value)
        assert not (tmp_path / "s").exists()

    flows = (bare / "flows.parquet").read_bytes()
    rewrite(bare, n_packets=pl.Series([1, 1, 5]))
    fails(r"packets\.npz: flow 0 has packets beyond the n_packets of flows\.parquet")
    rewrite(bare, n_packets=pl.Series(["two", "1", "5"]))
    fails(r"flows\.parquet: column n_packets has 0 missing values and holds String, expected Int64")
    (bare / "flows.parquet").write_bytes(flows)
    rewrite(bare, src_port=pl.Series([1, 2, 70000]))
    fails(r"flows\.parquet: column src_port: conversion from `i64` to `u16` failed")
    pl.read_parquet(bare / "flows.parquet").drop("label", "proto").write_parquet(bare / "flows.parquet")
    fails(r"flows\.parquet: missing column proto, label")
    (bare / "flows.parquet").write_bytes(flows)
    pl.read_parquet(bare / "flows.parquet")[:2].write_parquet(bare / "flows.parquet")
    fails(r"expected one array \[2, T, 9\], one row a flow of flows\.parquet; found X \(3, 5, 9\), other \(3,\)")
    (bare / "flows.parquet").write_bytes(flows)
    with np.load(bare / "packets.npz") as archive:
        dense = archive["X"]
    for place, value, what in (
        (3, 2.0, "syn 2; expected a whole number from 0 to 1"),
        (1, -1.0, "iat -1"),
        (8, 0.5, "win 0.5"),
    ):
        changed = dense.copy()
        changed[2, 4, place] = value
        np.savez(bare / "packets.npz", changed)
        fails(rf"packets\.npz: flow 2 has {what}")
    (bare / "packets.npz").write_bytes((bare / "packets.npz").read_bytes()[:-40])
    fails(r"packets\.npz: not a readable \.npz")
    with zipfile.ZipFile(bare / "packets.npz", "w") as archive:
        archive.writestr("packets.npy", b"nonsense")
    fails(r"packets\.npz: not a readable \.npz")


def test_walking_a_large_store_takes_the_memory_of_a_block(tmp_path):
    """SYNTHETIC: 300 000 flows of 64 packets, 173 MB of packets, of which a process that may not hold half reads every
    one."""
    block = random_block(2000, 3)
    full = starts_of(np.full(2000, 64))
    packets = {name: np.resize(values, full[-1]) for name, values in block.packets.items()}
    packets["iat"][full[:-1]] = 0
    flows = block.flows.with_columns(n_packets=pl.lit(64, pl.Int64))
    folder = tmp_path / "large"
    with replacing(folder) as staged:
        writer = StoreWriter(staged)
        for _ in range(150):
            writer.add(Block(full, packets, flows, block.labels, None))
        writer.finish(ABOUT)
    assert sum(path.stat().st_size for path in folder.rglob("*.npy")) > 173_000_000
    code = f"""
import os
from pathlib import Path
import numpy as np
import polars
from datasets_registry.store import FlowStore
from harness.environment import peak_resident
store = FlowStore.open(Path({str(folder)!r}))
list(store.blocks(np.arange(100), frozenset({{"packets"}})))
before = peak_resident(os.getpid())
blocks = store.blocks(np.arange(store.n_flows), frozenset({{"packets"}}), 4096)
total = sum(int(batch.packet("size").astype(np.int64).sum()) for batch in blocks)
print(total, peak_resident(os.getpid()) - before)
"""
    root = Path(__file__).resolve().parents[1]
    done = subprocess.run([sys.executable, "-"], input=code, capture_output=True, text=True, cwd=root, check=True)
    total, grown = map(int, done.stdout.split())
    assert total == 150 * int(packets["size"].astype(np.int64).sum())
    assert 0 < grown < 80_000_000


def test_the_manifest_says_what_the_store_is(pair):
    manifest = json.loads((pair[0].folder / "manifest.json").read_text())
    assert {key: manifest[key] for key in ("schema_version", "store_version", "shards", "cic_features")} == {
        "schema_version": 1,
        "store_version": 3,
        "shards": [500],
        "cic_features": True,
    }
