"""A folder of captures and its labels → a flow store, and the store read back."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from datasets_registry import writing
from datasets_registry.capture.rules import FlowRules
from datasets_registry.ingest import ingest_folder
from datasets_registry.store import FlowStore
from datasets_registry.verify import verify_store
from janus_bench.columns import FLOW_COLUMNS, FLOW_FEATURES, LABEL_COLUMNS, PACKET_ARRAYS, PACKET_CHANNELS
from janus_bench.errors import DataError, UndeclaredInput
from tests import pcap_builders as build

DATA = Path(__file__).resolve().parents[1].parent / "shared" / "data" / "domains"
needs_data = pytest.mark.skipif(not DATA.is_dir(), reason=f"no real captures at {DATA}")
DOMAINS = ["iot_home", "mobile_voice", "enterprise_windows", "ics_scada", "cicddos2019_slice"]

HEADER = "file,ts_start,src_ip,src_port,dst_ip,dst_port,proto,label,family"
S = 10**9
A, B, C = "10.0.0.1", "10.0.0.2", "10.0.0.3"


def tcp(src: str, dst: str, sport: int, dport: int, flags: int, window: int = 7) -> bytes:
    return build.ethernet(build.ipv4(src, dst, 6, build.tcp(sport, dport, flags, window)))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two captures: three labelled flows, one that no row knows, an ARP frame."""
    made = tmp_path / "captures"
    made.mkdir()
    one = [
        (S, tcp(B, A, 5, 80, build.SYN)),
        (S + 2000, tcp(A, B, 80, 5, build.SYN | build.ACK, 9)),
        (2 * S, build.ethernet(bytes(28), 0x0806)),
        (3 * S, tcp(C, A, 6, 80, build.SYN)),
    ]
    two = [
        (S, tcp(A, C, 5, 22, build.PSH | build.ACK)),
        (S, build.ethernet(build.ipv6("fe80::1", "ff02::1", 58, bytes(8)), 0x86DD)),
    ]
    (made / "one.pcap").write_bytes(build.pcap(one))
    (made / "two.pcap").write_bytes(build.pcap(two))
    rows = [
        f"two.pcap,1.000000,{A},5,{C},22,6,attack,ssh",
        f"one.pcap,1.000000,{A},80,{B},5,tcp,Benign,",
        "two.pcap,1.000000,fe80::1,0,ff02::1,0,58,benign,nd",
    ]
    (made / "labels.csv").write_text("\n".join([HEADER, *rows, f"one.pcap,9.000000,{A},80,{B},5,6,attack,ssh"]) + "\n")
    return made


def test_a_small_folder_becomes_the_store_that_it_describes(folder, tmp_path):
    destination = tmp_path / "home" / "small"
    manifest = ingest_folder(folder, destination, name="small", summary="two captures", licence="none")
    assert (manifest["n_flows"], manifest["benign"], manifest["attack"]) == (3, 2, 1)
    assert manifest["families"] == {"attack/ssh": [1, 0], "benign/benign": [1, 1], "benign/nd": [1, 0]}
    assert manifest["labels"] == {
        "attack": {"matched": 1, "unmatched_rows": 1, "ambiguous": 0, "flows": 1},
        "benign": {"matched": 2, "unmatched_rows": 0, "ambiguous": 0, "flows": 2},
    }
    assert manifest["unmatched_flows"] == 1
    assert manifest["packets"] == {"read": 6, "used": 5, "dropped": {"non_ip": 1}, "noted": {}}
    assert manifest["files"]["one.pcap"]["matched"] == 1
    assert manifest["warnings"] == []
    opened = FlowStore.open(destination)
    assert json.loads(json.dumps(manifest)) == opened.manifest
    assert (opened.name, opened.n_flows, opened.hash) == ("small", 3, manifest["hash"])
    flows, labels = opened.flows(), opened.labels()
    assert flows.rows() == [
        (0, B, 5, A, 80, 6, 1.0, 1.000002, 2),
        (1, A, 5, C, 22, 6, 1.0, 1.0, 1),
        (2, "fe80::1", 0, "ff02::1", 0, 58, 1.0, 1.0, 1),
    ]
    assert labels.rows() == [
        (0, False, "benign", "benign", "one.pcap", "one.pcap", 1, ""),
        (1, True, "attack", "ssh", "two.pcap", "two.pcap", 0, ""),
        (2, False, "benign", "nd", "two.pcap", "two.pcap", 2, ""),
    ]
    assert (tuple(flows.columns), tuple(labels.columns)) == (FLOW_COLUMNS, LABEL_COLUMNS)
    assert opened.packet_counts().tolist() == [2, 1, 1]


def test_sites_are_kept_counted_and_part_of_the_content(folder, tmp_path):
    one_site = ingest_folder(folder, tmp_path / "one", name="small")
    lines = (folder / "labels.csv").read_text().splitlines()
    for sites, expected in (
        (["", " ", "", ""], None),
        ([" plant ", "office", "", ""], {"": [1, 0], "office": [1, 0], "plant": [0, 1]}),
    ):
        rows = [f"{line},{site}" for line, site in zip(lines, ["site", *sites], strict=True)]
        (folder / "labels.csv").write_text("\n".join(rows) + "\n")
        manifest = ingest_folder(folder, tmp_path / "more", name="small")
        assert manifest.get("sites") == expected
        assert (manifest["hash"] == one_site["hash"]) == (expected is None)
        assert verify_store(tmp_path / "more").notes == []
    assert FlowStore.open(tmp_path / "more").labels(["flow_id", "site"]).rows() == [
        (0, "office"),
        (1, "plant"),
        (2, ""),
    ]


def test_taking_flows_gives_only_what_was_asked_in_the_order_asked(folder, tmp_path):
    ingest_folder(folder, tmp_path / "small", name="small")
    opened = FlowStore.open(tmp_path / "small")
    ids = np.array([70, 80, 90], np.uint64)
    batch = opened.take(np.array([1, 0, 1]), ids, frozenset({"packets"}))
    assert batch.ids.tolist() == [70, 80, 90]
    assert batch.offsets is not None
    assert batch.offsets.tolist() == [0, 1, 3, 4]
    assert tuple(batch.packets) == PACKET_CHANNELS
    assert {name: batch.packet(name).tolist() for name in PACKET_CHANNELS} == {
        "size": [40, 40, 40, 40],
        "iat": [0, 0, 2, 0],
        "direction": [0, 0, 1, 0],
        "syn": [0, 1, 1, 0],
        "fin": [0, 0, 0, 0],
        "rst": [0, 0, 0, 0],
        "psh": [1, 0, 0, 1],
        "ack": [1, 0, 1, 1],
        "win": [7, 7, 9, 7],
    }
    with pytest.raises(UndeclaredInput):
        batch.feature_matrix()
    batch = opened.take(np.array([1, 0]), ids[:2], frozenset({"features"}))
    assert tuple(batch.features) == FLOW_FEATURES
    assert batch.features["n_packets"].tolist() == pytest.approx([np.log1p(1), np.log1p(2)], rel=1e-14)
    with pytest.raises(UndeclaredInput):
        batch.packet("size")
    assert len(opened.take(np.array([], np.int64), ids[:0], frozenset({"packets", "features"}))) == 0
    with pytest.raises(ValueError, match="flow ids"):
        opened.take(np.array([3]), ids[:1], frozenset({"packets"}))


def array_bytes(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.suffix in {".npy", ".parquet"}
    }


def test_the_same_input_gives_the_same_bytes_whatever_the_number_of_jobs(folder, tmp_path):
    manifests = [ingest_folder(folder, tmp_path / f"s{jobs}", name=f"s{jobs}", jobs=jobs) for jobs in (1, 3)]
    assert manifests[0]["hash"] == manifests[1]["hash"]
    assert array_bytes(tmp_path / "s1") == array_bytes(tmp_path / "s3")
    assert len(array_bytes(tmp_path / "s1")) == 3 + 1 + len(PACKET_ARRAYS) + 1  # tables, offsets, packets, cic features


def test_the_hash_follows_packets_and_labels(folder, tmp_path):
    before = ingest_folder(folder, tmp_path / "s", name="s")["hash"]
    assert len(before) == 64
    text = (folder / "labels.csv").read_text()
    (folder / "labels.csv").write_text(text.replace(",nd", ",ne"))
    relabelled = ingest_folder(folder, tmp_path / "s", name="s")["hash"]
    (folder / "labels.csv").write_text(text)
    data = (folder / "one.pcap").read_bytes()
    (folder / "one.pcap").write_bytes(
        data.replace(tcp(A, B, 80, 5, build.SYN | build.ACK, 9), tcp(A, B, 80, 5, build.SYN | build.ACK, 8))
    )
    changed = ingest_folder(folder, tmp_path / "s", name="s")["hash"]
    assert len({before, relabelled, changed}) == 3


@pytest.mark.parametrize("can_exchange", [True, False])
def test_a_dataset_of_the_same_name_is_replaced_and_nothing_is_left_beside_it(
    folder, tmp_path, monkeypatch, can_exchange
):
    if not can_exchange:
        monkeypatch.setattr(writing, "_exchange", lambda one, other: False)
    home = tmp_path / "home"
    ingest_folder(folder, home / "s", name="s", summary="old")
    (home / "s" / "stray").touch()
    ingest_folder(folder, home / "s", name="s", summary="new")
    assert FlowStore.open(home / "s").manifest["summary"] == "new"
    assert [path.name for path in home.iterdir()] == ["s"]
    assert not (home / "s" / "stray").exists()


def test_a_failed_write_leaves_the_old_dataset(folder, tmp_path, monkeypatch):
    home = tmp_path / "home"
    old = ingest_folder(folder, home / "s", name="s")
    monkeypatch.setattr(writing.json, "dumps", lambda *args, **kwargs: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        ingest_folder(folder, home / "s", name="s", summary="new")
    assert FlowStore.open(home / "s").manifest == old
    assert [path.name for path in home.iterdir()] == ["s"]


def test_progress_rises_to_one_and_names_the_captures(folder, tmp_path):
    told: list[tuple[str, float]] = []
    ingest_folder(
        folder, tmp_path / "s", name="s", jobs=2, progress=lambda text, fraction: told.append((text, fraction))
    )
    fractions = [fraction for _, fraction in told]
    assert fractions == sorted(fractions)
    assert (fractions[0], fractions[-1]) == (0.0, 1.0)
    assert {"reading one.pcap", "reading two.pcap"} <= {text for text, _ in told}


def test_captures_that_no_row_names_and_subfolders(folder, tmp_path):
    (folder / "sub").mkdir()
    shutil.move(folder / "two.pcap", folder / "sub" / "SAT-01_0")  # without a suffix: read because labels.csv names it
    (folder / "labels.csv").write_text((folder / "labels.csv").read_text().replace("two.pcap", "sub/SAT-01_0"))
    (folder / "sub" / "other.PCAP").write_bytes(build.pcap([(S, tcp(A, C, 5, 22, build.SYN))]))
    (folder / "README.md").write_text("not a capture")
    (folder / "._one.pcap").write_text("what some file managers leave beside a file")
    manifest = ingest_folder(folder, tmp_path / "s", name="s")
    assert sorted(manifest["files"]) == ["one.pcap", "sub/SAT-01_0", "sub/other.PCAP"]
    assert (manifest["n_flows"], manifest["unmatched_flows"]) == (3, 2)


def test_flow_rules_reach_the_captures_and_the_manifest(folder, tmp_path):
    manifest = ingest_folder(folder, tmp_path / "s", name="s", rules=FlowRules(1.0, 5.0, "cicflowmeter"))
    assert {key: manifest[key] for key in ("idle_timeout_s", "active_timeout_s", "tcp_close", "remove_mirrored")} == {
        "idle_timeout_s": 1.0,
        "active_timeout_s": 5.0,
        "tcp_close": "cicflowmeter",
        "remove_mirrored": False,
    }
    frames = [(S + i * S // 2, tcp(B, A, 5, 80, build.FIN if i == 3 else build.ACK)) for i in range(6)]
    (folder / "one.pcap").write_bytes(build.pcap(frames))
    flows = {
        rules: ingest_folder(folder, tmp_path / "s", name="s", rules=rules)["files"]["one.pcap"]["flows"]
        for rules in RULES_AND_FLOWS
    }
    assert flows == RULES_AND_FLOWS


RULES_AND_FLOWS = {
    FlowRules(): 1,
    FlowRules(idle_timeout_s=0.4): 6,
    FlowRules(active_timeout_s=1.0): 2,
    FlowRules(tcp_close="cicflowmeter"): 2,
}


def test_damaged_and_empty_captures_are_warnings(folder, tmp_path):
    (folder / "empty.pcap").write_bytes(build.pcap([]))
    (folder / "wifi.pcap").write_bytes(build.pcap([(S, bytes(40))], link=147))
    (folder / "cut.pcap").write_bytes((folder / "one.pcap").read_bytes()[:-5])
    manifest = ingest_folder(folder, tmp_path / "s", name="s")
    assert manifest["warnings"] == [
        "cut.pcap: ends inside a packet record",
        "empty.pcap: no packets",
        "wifi.pcap: none of its 1 packets can be used (unsupported_link_type 1)",
    ]
    assert manifest["packets"]["dropped"] == {"cut_by_end_of_file": 1, "non_ip": 2, "unsupported_link_type": 1}


def test_a_folder_that_cannot_become_a_dataset_is_one_line_and_leaves_nothing(folder, tmp_path):
    home = tmp_path / "home"

    def fails(match: str) -> None:
        with pytest.raises(DataError, match=match) as error:
            ingest_folder(folder, home / "s", name="s")
        assert "\n" not in str(error.value)
        assert not home.exists()

    (folder / "notes.pcap").write_text("a text file\n")
    fails(r"notes\.pcap: not a capture: it starts with 61 20 74")
    (folder / "notes.pcap").unlink()
    for name in ("one.pcap", "two.pcap"):
        (folder / name).write_bytes(build.pcap([(S, build.ethernet(bytes(28), 0x0806))]))
    fails("no flow in its 2 capture.*non_ip 2")
    (folder / "two.pcap").unlink()
    fails(r"not in the folder: two\.pcap")
    shutil.rmtree(folder)
    fails("no such folder")


def test_opening_what_is_missing_damaged_or_of_another_version_is_a_data_error(folder, tmp_path):
    home = tmp_path / "home"

    def fails(match: str) -> None:
        with pytest.raises(DataError, match=match):
            FlowStore.open(home / "s").flows()

    fails("not a dataset")

    def fresh() -> Path:
        ingest_folder(folder, home / "s", name="s")
        return home / "s"

    sizes = fresh() / "packets" / "size.npy"
    sizes.write_bytes(sizes.read_bytes()[:-1])
    fails(r"damaged \(packets/size\.npy")
    np.save(fresh() / "packets" / "iat.npy", np.zeros(2, np.float32))
    fails(r"damaged \(packets/iat\.npy holds float32 \(2,\), expected float32 \(4,\)")
    np.save(fresh() / "packets" / "iat.npy", np.zeros(4))
    fails("damaged .*float64")
    (fresh() / "flows.parquet").write_bytes(b"PAR1")
    fails(r"damaged \(flows\.parquet")
    pl.DataFrame({"flow_id": [1]}).write_parquet(fresh() / "flows.parquet")
    fails(r"damaged \(flows\.parquet: columns flow_id, expected flow_id, src_ip")
    (fresh() / "packets" / "bits.npy").unlink()
    fails(r"damaged \(packets/bits\.npy")
    path = fresh() / "manifest.json"
    path.write_text("{")
    fails(r"damaged \(manifest\.json")
    path.write_text(json.dumps({"store_version": 99}))
    fails("a store of version 99, this program reads 2 and 3; add the dataset again")
    manifest = json.loads((fresh() / "manifest.json").read_text())
    path.write_text(json.dumps({key: value for key, value in manifest.items() if key != "store_version"}))
    fails(r"a store of version 1, this program reads 2 and 3; add the dataset again")
    path.write_text(json.dumps(manifest | {"shards": [2]}))
    fails(r"damaged \(manifest\.json: entries are missing, or n_flows and shards disagree")


@pytest.fixture(scope="module")
def real_home(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("real")


@needs_data
@pytest.mark.parametrize("domain", DOMAINS)
def test_real_folders_agree_with_their_summary_and_labels(domain, real_home):
    manifest = ingest_folder(DATA / domain, real_home / domain, name=domain)
    summary = json.loads((DATA / domain / "summary.json").read_text())
    assert manifest["n_flows"] == summary["flows"]
    assert manifest["n_flows_2_packets"] == summary["flows_ge2"]
    assert (manifest["benign"], manifest["attack"]) == (summary["benign"], summary["attack"])
    assert manifest["families"] == summary["families"]
    assert manifest["packets"]["read"] == manifest["packets"]["used"] == summary["packets"]
    assert manifest["unmatched_flows"] == 0
    assert {label: (row["unmatched_rows"], row["ambiguous"]) for label, row in manifest["labels"].items()} == {
        "attack": (0, 0),
        "benign": (0, 0),
    }

    opened = FlowStore.open(real_home / domain)
    rows = list(csv.DictReader((DATA / domain / "labels.csv").open(newline="")))
    flows, labels = opened.flows().rows(named=True), opened.labels().rows(named=True)
    assert sorted(label["row"] for label in labels) == list(range(len(rows)))
    for flow, label in zip(flows, labels, strict=True):
        row = rows[label["row"]]
        for column in ("src_ip", "src_port", "dst_ip", "dst_port", "proto", "n_packets"):
            assert str(flow[column]) == row[column]
        assert flow["ts_start"] == pytest.approx(float(row["ts_start"]), abs=1e-6)
        assert flow["ts_end"] == pytest.approx(float(row["ts_end"]), abs=1e-6)
        assert (label["label"], label["family"], label["source"], label["file"]) == (
            row["label"],
            row["family"],
            row["source"],
            row["file"],
        )
        assert label["attack"] == (row["label"] == "attack")


@needs_data
def test_mirrored_packets_of_a_real_dataset_are_found_reported_and_removed_on_request(tmp_path):
    path = DATA / "cicddos2019_slice"
    kept = ingest_folder(path, tmp_path / "kept", name="kept")
    removed = ingest_folder(path, tmp_path / "removed", name="removed", rules=FlowRules(remove_mirrored=True))
    copies = kept["packets"]["noted"]["mirrored"]
    assert kept["packets"]["used"] - removed["packets"]["used"] == removed["packets"]["dropped"]["mirrored"] == copies
    assert "mirrored" not in removed["packets"]["noted"]
    assert (kept["remove_mirrored"], removed["remove_mirrored"]) == (False, True)
    for name, file in kept["files"].items():
        assert 0.49 < file["mirrored_share"] == removed["files"][name]["mirrored_share"] <= 0.5
    assert [warning.split(":")[0] for warning in kept["warnings"]] == sorted(kept["files"])
    assert removed["warnings"] == []
    assert (removed["n_flows"], removed["attack"]) == (kept["n_flows"], kept["attack"])  # every flow has an original
    both = [FlowStore.open(tmp_path / name) for name in ("kept", "removed")]
    before, after = (store.flows()["n_packets"].to_numpy() for store in both)
    assert before.sum() - after.sum() == copies
    assert (after <= before).all()
    assert np.median(before) == 2 * np.median(after)


@needs_data
def test_a_clock_that_is_an_hour_off_is_told(tmp_path):
    shutil.copytree(DATA / "ics_scada", tmp_path / "late")
    path = tmp_path / "late" / "labels.csv"
    path.chmod(0o644)
    table = pl.read_csv(path, infer_schema=False)
    later = [
        ((pl.col(name).cast(pl.Decimal(20, 6)) + 3600).cast(pl.String)).alias(name) for name in ("ts_start", "ts_end")
    ]
    table.with_columns(later).write_csv(path)
    with pytest.raises(DataError, match=r"ts_start is \+3600 s off"):
        ingest_folder(tmp_path / "late", tmp_path / "s", name="s")
