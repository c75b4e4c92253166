"""Extracted shards: what they hold, when they are kept and when they are made again, and a killed extraction that goes
on."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from datasets_registry import extraction
from datasets_registry.capture import addresses, extract
from datasets_registry.capture.cicflowmeter import cic_features
from datasets_registry.capture.rules import FlowRules
from datasets_registry.extraction import Extracted, extract_all
from datasets_registry.ingest import CaptureFile, address_column, ingest_captures, ingest_folder
from datasets_registry.labelling.assignment import Assignment
from datasets_registry.labelling.keys import KEY_COLUMNS
from datasets_registry.store import FlowStore
from datasets_registry.verify import verify_store
from datasets_registry.writing import StoreWriter
from janus_bench.columns import PACKET_ARRAYS
from janus_bench.errors import DataError
from tests import pcap_builders as build
from tests.memory_flows import read_flows, taken

S = 10**9
ROOT = Path(__file__).resolve().parents[1]


def capture(path: Path, n_flows: int, seed: int, *, late: bool = False) -> None:
    """SYNTHETIC: flows that begin one after the other and last for different times; ``late``: the second half is
    written first."""
    rng = np.random.default_rng(seed)
    packets = []
    for flow in range(n_flows):
        begin, n = S + flow * S // 50, int(rng.integers(1, 9))
        gap = int(rng.integers(1, 20)) * S // 10
        for number in range(n):
            ends = ("10.0.0.1", f"10.0.{flow // 200}.{flow % 200 + 2}")
            src, dst = ends if number % 2 == flow % 2 else ends[::-1]
            segment = (
                build.tcp(1000 + flow % 7, 80, build.ACK, number)
                if src == ends[0]
                else build.tcp(80, 1000 + flow % 7, build.ACK, number)
            )
            packets.append((begin + number * gap, build.ethernet(build.ipv4(src, dst, 6, segment))))
    packets.sort(key=lambda packet: packet[0])
    if late:
        packets = packets[len(packets) // 2 :] + packets[: len(packets) // 2]
    path.write_bytes(build.pcap(packets))


@pytest.fixture
def captures(tmp_path) -> dict[str, CaptureFile]:
    folder = tmp_path / "captures"
    folder.mkdir()
    for number, name in enumerate(("b", "a", "c")):
        capture(folder / name, 100 - 30 * number, number)
    return {name: CaptureFile(folder / name, "monday" if name < "c" else "friday") for name in ("b", "c", "a")}


def silent(_text: str, _fraction: float) -> None:
    """Progress that nobody asked to see."""


def extract_here(captures: dict[str, CaptureFile], cache: Path, rules: FlowRules = FlowRules()) -> dict[str, Extracted]:  # noqa: B008 — frozen
    cache.mkdir(exist_ok=True)
    return extract_all(captures, rules, cache, 2, silent)


def traces(cache: Path) -> dict[str, tuple[int, int]]:
    """Inode and time of every file."""
    return {
        path.relative_to(cache).as_posix(): (path.stat().st_ino, path.stat().st_mtime_ns) for path in cache.rglob("*")
    }


def all_attack(_group: str, flows: pl.DataFrame) -> Assignment:
    """Every flow with an even number of packets is an attack, odd ones beyond 5 have no label."""
    even = pl.col("n_packets") % 2 == 0
    table = flows.with_row_index("flow").filter(even | (pl.col("n_packets") <= 5))
    text = pl.when(even).then(pl.lit("flood")).otherwise(pl.lit("benign"))
    labels = table.select(attack=even, label=text, family=text, source="file", file="file", row=pl.lit(-1, pl.Int64))
    return Assignment(
        table["flow"].cast(pl.Int64).to_numpy(), labels, {"flood": {"matched": 1, "unmatched_rows": 0, "ambiguous": 2}}
    )


ABOUT: dict[str, Any] = {"name": "s", "synthetic": True, "summary": "", "licence": "none"}


def ingest(
    captures: dict[str, CaptureFile], destination: Path, cache: Path | None = None, **more: Any
) -> dict[str, Any]:
    return ingest_captures(
        captures, all_attack, destination, about=ABOUT, rules=more.pop("rules", FlowRules()), cache=cache, **more
    )


def contents(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()
    }


@pytest.mark.parametrize("late", [False, True])
@pytest.mark.parametrize(("room", "window"), [(1 << 16, 1 << 15), (64, 128)])
def test_a_shard_holds_the_flows_in_the_order_of_their_first_packets(tmp_path, monkeypatch, late, room, window):
    """Also when they left the extractor in many segments, and when the capture had to be read twice."""
    monkeypatch.setattr(extract, "FLOWS", room)
    monkeypatch.setattr(extract, "WINDOW", window)
    monkeypatch.setattr(extract, "HOLD", window // 8)
    capture(tmp_path / "x", 700, 5, late=late)
    rules = FlowRules(idle_timeout_s=1.0)
    _, expected = read_flows(tmp_path / "x", rules, whole=True)
    assert expected.whole is not None
    shard = extract_here({"x": CaptureFile(tmp_path / "x", "")}, tmp_path / "cache", rules)["x"]
    columns = {name: shard.column(name) for name in ("keys", "swapped", "first", "last", "n_packets", "macs", "cic")}
    cic = cic_features(expected.whole, np.full(len(expected), 6)).astype(np.float32)
    assert np.array_equal(columns.pop("cic"), cic)
    assert np.array_equal(shard.column("keys", 3), expected.keys[:, 3])
    assert shard.n_flows == len(expected) > 700
    for name, values in columns.items():
        assert np.array_equal(values, getattr(expected, name)), name
    chosen = np.array([3, 700, 4, 4, 0])
    found, there = shard.reader()(chosen), taken(expected, chosen)
    assert found.offsets.tolist() == there.offsets.tolist()
    for name in PACKET_ARRAYS:
        assert np.array_equal(found.packets[name], getattr(there, name)), name
    assert np.array_equal(found.columns["keys"], there.keys)
    assert np.array_equal(found.columns["cic"], cic[chosen])


def test_shards_that_are_there_are_not_made_again(captures, tmp_path, monkeypatch):
    first = extract_here(captures, tmp_path / "cache")
    before = traces(tmp_path / "cache")
    monkeypatch.setattr(extraction, "extract_flows", lambda *_, **__: 1 / 0)
    again = extract_here(captures, tmp_path / "cache")
    assert traces(tmp_path / "cache") == before
    assert list(first) == list(again) == ["a", "b", "c"]
    assert [shard.report for shard in first.values()] == [shard.report for shard in again.values()]


def damage(shard: Path) -> None:
    content = bytearray((shard / "win").read_bytes())
    content[7] ^= 4
    (shard / "win").write_bytes(bytes(content))


def pipe(shard: Path) -> None:
    (shard / "keys").unlink()
    os.mkfifo(shard / "keys")


@pytest.mark.parametrize(
    "spoil",
    [
        damage,
        pipe,
        lambda shard: (shard / "keys").unlink(),
        lambda shard: (shard / "first").write_bytes((shard / "first").read_bytes()[:-8]),
        lambda shard: (shard / "shard.json").write_text("{"),
        lambda shard: (shard / "shard.json").write_text("[]"),
        lambda shard: (shard / "shard.json").write_text((shard / "shard.json").read_text().replace('"keys"', '"cays"')),
    ],
)
def test_a_damaged_shard_is_made_again_and_only_that_one(captures, tmp_path, spoil):
    cache = tmp_path / "cache"
    shards = extract_here(captures, cache)
    good, before = contents(cache), traces(cache)
    spoil(shards["b"].folder)
    extract_here(captures, cache)
    assert contents(cache) == good
    kept = {name for name, trace in traces(cache).items() if before[name] == trace}
    assert {name.split("/")[0] for name in kept} == {shards["a"].folder.name, shards["c"].folder.name}


def test_a_shard_of_another_time_rule_or_version_is_made_again(captures, tmp_path, monkeypatch):
    cache = tmp_path / "cache"
    shards = extract_here(captures, cache)

    def remade(rules: FlowRules = FlowRules()) -> set[str]:  # noqa: B008 — frozen
        before = traces(cache)
        extract_here(captures, cache, rules)
        after = traces(cache)
        return {
            name
            for name, shard in shards.items()
            if any(
                before[f"{shard.folder.name}/{file}"] != after[f"{shard.folder.name}/{file}"]
                for file in ("keys", "shard.json")
            )
        }

    assert remade() == set()
    os.utime(captures["c"].path, ns=(5, 5))
    assert remade() == {"c"}
    assert remade(FlowRules(idle_timeout_s=3.0)) == {"a", "b", "c"}
    monkeypatch.setattr(extraction, "EXTRACTION_VERSION", 99)
    assert remade(FlowRules(idle_timeout_s=3.0)) == {"a", "b", "c"}


def test_every_group_is_labelled_once_with_all_its_flows(captures, tmp_path):
    seen: list[tuple[str, pl.DataFrame]] = []

    def label(group: str, flows: pl.DataFrame) -> Assignment:
        seen.append((group, flows))
        return all_attack(group, flows)

    manifest = ingest_captures(captures, label, tmp_path / "s", about=ABOUT, rules=FlowRules(), cache=None)
    assert [group for group, _ in seen] == ["friday", "monday"]
    monday = seen[1][1]
    assert monday["file"].unique(maintain_order=True).to_list() == ["a", "b"]
    types = {"file": pl.String, **dict.fromkeys(KEY_COLUMNS, pl.UInt64), "swapped": pl.Boolean}
    types |= {"first": pl.Int64, "last": pl.Int64, "n_packets": pl.Int64, "src_mac": pl.UInt64, "dst_mac": pl.UInt64}
    assert monday.schema == types
    for name, table in monday.group_by("file"):
        assert table["first"].is_sorted(), name
    flows = pl.concat([monday, seen[0][1]])  # in a store captures are in the order of their names: a and b, then c
    kept = flows.filter((pl.col("n_packets") % 2 == 0) | (pl.col("n_packets") <= 5))
    store = FlowStore.open(tmp_path / "s")
    assert store.n_flows == kept.height < flows.height
    assert store.labels()["file"].equals(kept["file"])
    assert store.flows()["n_packets"].equals(kept["n_packets"])
    assert store.labels()["attack"].to_list() == [n % 2 == 0 for n in kept["n_packets"]]
    assert store.flows()["ts_start"].to_list() == [first / 1e9 for first in kept["first"]]
    swapped = {True: ("10.0.0.1", "dst_ip"), False: ("10.0.0.1", "src_ip")}  # 10.0.0.1 is the lower end, so endpoint a
    for flow, is_swapped in zip(store.flows().iter_rows(named=True), kept["swapped"], strict=True):
        address, side = swapped[is_swapped]
        assert flow[side] == address
    assert manifest["unmatched_flows"] == flows.height - kept.height
    floods = sum(n % 2 == 0 for n in kept["n_packets"])
    assert manifest["labels"] == {
        "benign": {"matched": 0, "unmatched_rows": 0, "ambiguous": 0, "flows": kept.height - floods},
        "flood": {"matched": 2, "unmatched_rows": 0, "ambiguous": 4, "flows": floods},
    }
    assert verify_store(tmp_path / "s").notes == []


def test_jobs_blocks_and_a_warm_cache_do_not_change_a_byte(captures, tmp_path, monkeypatch):
    monkeypatch.setattr(StoreWriter, "shard_flows", 50)
    ingest(captures, tmp_path / "one", jobs=1)
    reversed_ = dict(reversed(captures.items()))
    for _ in range(2):
        ingest(reversed_, tmp_path / "two", tmp_path / "cache", jobs=3)
    monkeypatch.setattr("datasets_registry.ingest.BLOCK_FLOWS", 11)
    ingest(captures, tmp_path / "three", tmp_path / "cache")
    assert len(FlowStore.open(tmp_path / "one").shards) > 3
    assert contents(tmp_path / "one") == contents(tmp_path / "two") == contents(tmp_path / "three")


def test_labels_that_nobody_gave_and_promises_that_were_not_kept(captures, tmp_path):
    def nothing(_group: str, flows: pl.DataFrame) -> Assignment:
        return Assignment(np.empty(0, np.int64), all_attack("", flows).table[:0], {})

    def twice(_group: str, flows: pl.DataFrame) -> Assignment:
        whole = all_attack("", flows)
        return Assignment(np.repeat(whole.flow[:1], len(whole.flow)), whole.table, {})

    with pytest.raises(DataError, match=rf"{captures['a'].path.parent}: none of its 210 flows has a label"):
        ingest_captures(captures, nothing, tmp_path / "s", about=ABOUT, rules=FlowRules(), cache=None)
    with pytest.raises(ValueError, match="labeller of group 'friday'"):
        ingest_captures(captures, twice, tmp_path / "s", about=ABOUT, rules=FlowRules(), cache=None)
    with pytest.raises(DataError, match="no captures"):
        ingest({}, tmp_path / "s")
    assert not (tmp_path / "s").exists()


KILLED = """
import sys, time
from pathlib import Path
from datasets_registry.ingest import ingest_folder

def progress(text, fraction):
    if text == "reading small.pcap":
        print("in small.pcap", flush=True)
        time.sleep(600)

home = Path(sys.argv[2])
ingest_folder(Path(sys.argv[1]), home / "s", name="s", cache=home / ".extracted" / "s", jobs=1, progress=progress)
"""


def test_a_killed_extraction_goes_on_where_it_was(tmp_path):
    folder, home = tmp_path / "captures", tmp_path / "home"
    folder.mkdir()
    capture(folder / "large.pcap", 300, 1)
    capture(folder / "small.pcap", 100, 2)
    rows = []
    for name in ("large.pcap", "small.pcap"):
        _, flows = read_flows(folder / name, FlowRules())
        for key, first in zip(flows.keys.tolist(), flows.first.tolist(), strict=True):
            ends = [".".join(str(byte) for byte in key[word].to_bytes(4, "big")) for word in (1, 3)]
            rows.append(
                f"{name},{first / S:.9f},{ends[0]},{key[4] >> 16 & 0xFFFF},{ends[1]},{key[4] & 0xFFFF},6,benign"
            )
    (folder / "labels.csv").write_text(
        "\n".join(["file,ts_start,src_ip,src_port,dst_ip,dst_port,proto,label", *rows]) + "\n"
    )

    process = subprocess.Popen(
        [sys.executable, "-c", KILLED, folder, home], cwd=ROOT, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "in small.pcap\n"
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdout.close()
    cache = home / ".extracted" / "s"
    assert not (home / "s").exists()
    done = [path for path in cache.iterdir() if not path.name.startswith(".")]
    left = [path for path in cache.iterdir() if path.name.startswith(".")]
    assert (len(done), len(left)) == (1, 1)  # large.pcap's shard, and what there was of small.pcap's
    before = traces(done[0])

    ingest_folder(folder, home / "s", name="s", cache=cache)
    assert traces(done[0]) == before
    assert len(list(cache.iterdir())) == 2
    ingest_folder(folder, tmp_path / "undisturbed", name="s")
    assert contents(home / "s") == contents(tmp_path / "undisturbed")


def test_a_full_disk_is_one_line_and_leaves_nothing_behind_but_whole_shards(tmp_path):
    folder, home = tmp_path / "captures", tmp_path / "home"
    folder.mkdir()
    capture(folder / "a.pcap", 400, 1)
    (folder / "labels.csv").write_text(
        "file,ts_start,src_ip,src_port,dst_ip,dst_port,proto,label\na.pcap,1,10.0.0.1,1000,10.0.0.2,80,6,benign\n"
    )
    command = f"ulimit -f 20; exec {sys.executable} -c 'from harness.cli.main import main; main()' data add s {folder}"
    environment = {**os.environ, "JANUS_BENCH_HOME": str(home)}
    done = subprocess.run(
        ["/bin/sh", "-c", command], capture_output=True, text=True, cwd=ROOT, env=environment, check=False
    )
    assert done.returncode == 2
    assert sum("%" not in line for line in done.stderr.splitlines()) == 1  # but for progress, where the machine is busy
    assert "File too large; JANUS_BENCH_HOME names the folder that datasets are written to" in done.stderr
    assert [path.name for path in (home / "datasets").rglob("*") if path.is_file()] == []


@settings(max_examples=50, deadline=None)
@given(rows=st.lists(st.tuples(st.booleans(), st.integers(0, 2**64 - 1), st.integers(0, 2**64 - 1)), max_size=20))
def test_addresses_of_a_table_are_those_of_the_plain_function(rows):
    version = np.array([6 if is_v6 else 4 for is_v6, _, _ in rows], np.int64)
    words = np.array([(high, low) if is_v6 else (0, low % 2**32) for is_v6, high, low in rows], np.uint64).reshape(
        -1, 2
    )
    assert address_column(version, words).to_list() == addresses.texts(version, words)
