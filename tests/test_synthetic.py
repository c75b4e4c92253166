"""The synthetic suite as files: an independent reader (dpkt) must find in the captures what labels.csv says, and
nothing else."""

from __future__ import annotations

import csv
import hashlib
import os
import re
import socket
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import dpkt
import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from datasets_registry.plugin import janus_bench_datasets
from datasets_registry.synthetic.sites import SITES
from datasets_registry.synthetic.suite import LABEL_COLUMNS, write_site

ROOT = Path(__file__).resolve().parents[1]
NAMES = sorted(SITES)
SCRATCH = TemporaryDirectory(prefix="synthetic-")
IDLE_TIMEOUT = 120.0
HARD = {
    "beacon": "telemetry",
    "dns_exfiltration": "dns",
    "modbus_tampering": "modbus",
    "ssh_slow": "ssh_failed",
    "web_attack": "site_visit",
    "web_exfiltration": "upload",
}
"""Families that are built to pass for everyday traffic, and the benign family that each hides in."""
SCANS = {"port_scan", "host_sweep"}

pytestmark = pytest.mark.xdist_group("synthetic")  # the sites are written and read once


def families_of(name: str) -> set[str]:
    """Attack families that are declared for a network of the suite."""
    return {campaign.attack.family for campaign in SITES[name].campaigns}


@dataclass(slots=True)
class Packet:
    """One IP packet as dpkt reads it."""

    time: float
    source: tuple[str, int]
    target: tuple[str, int]
    proto: int
    size: int
    transport: Any


@dataclass
class Flow:
    """A bidirectional 5-tuple without 120 s of silence."""

    packets: list[Packet] = field(default_factory=list)

    @property
    def identity(self) -> tuple[str, int, str, int, int, int]:
        first = self.packets[0]
        return (*first.source, *first.target, first.proto, len(self.packets))


def read_packets(file: Path) -> Iterator[Packet]:
    with file.open("rb") as stream:
        for time, frame in dpkt.pcap.UniversalReader(stream):
            at = 18 if frame[12:14] == b"\x81\x00" else 14
            old = frame[at] >> 4 == 4
            ip = dpkt.ip.IP(frame[at:]) if old else dpkt.ip6.IP6(frame[at:])
            proto, size = (ip.p, ip.len) if old else (ip.nxt, ip.plen + 40)
            kind = socket.AF_INET if old else socket.AF_INET6
            ports = (ip.data.sport, ip.data.dport) if proto in (6, 17) else (0, 0)
            ends = (socket.inet_ntop(kind, ip.src), ports[0]), (socket.inet_ntop(kind, ip.dst), ports[1])
            yield Packet(float(time), *ends, proto, size, ip.data)


def assemble(file: Path) -> list[Flow]:
    open_flows: dict[Any, Flow] = {}
    flows = []
    for packet in read_packets(file):
        key = (packet.proto, *sorted((packet.source, packet.target)))
        flow = open_flows.get(key)
        if flow is None or packet.time - flow.packets[-1].time > IDLE_TIMEOUT:
            flow = open_flows[key] = Flow()
            flows.append(flow)
        flow.packets.append(packet)
    return flows


@cache
def folder_of(name: str) -> Path:
    folder = Path(SCRATCH.name) / name
    write_site(name, folder)
    return folder


@cache
def rows_of(name: str) -> list[dict[str, str]]:
    with (folder_of(name) / "labels.csv").open(encoding="utf-8") as stream:
        return list(csv.DictReader(stream))


@cache
def flows_of(name: str) -> dict[str, list[Flow]]:
    return {file.name: assemble(file) for file in sorted(folder_of(name).glob("*.pcap*"))}


def digest(folder: Path) -> dict[str, str]:
    return {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in sorted(folder.iterdir())}


# --- what is there ----------------------------------------------------------------------------------------------------


def test_the_plugin_lists_four_synthetic_sites_that_the_simulator_knows() -> None:
    datasets = list(janus_bench_datasets())
    assert sorted(dataset.name for dataset in datasets) == NAMES
    assert all(
        dataset.synthetic and dataset.name.startswith("synthetic_") and "simulated" in dataset.summary
        for dataset in datasets
    )


def test_importing_the_plugin_does_not_import_the_simulator() -> None:
    code = (
        "import datasets_registry.plugin, sys; print([m for m in sys.modules if "
        "m.startswith('datasets_registry.synthetic')])"
    )
    assert (
        subprocess.run(
            [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
        ).stdout.strip()
        == "[]"
    )


def test_the_hook_writes_the_same_files_as_the_simulator(tmp_path: Path) -> None:
    home = next(dataset for dataset in janus_bench_datasets() if dataset.name == "synthetic_home")
    home.write(tmp_path / "again")
    assert digest(tmp_path / "again") == digest(folder_of("synthetic_home"))


@pytest.mark.parametrize("name", NAMES)
def test_a_site_has_enough_captures_flows_and_families(name: str) -> None:
    rows = rows_of(name)
    assert tuple(rows[0]) == LABEL_COLUMNS
    benign = [row for row in rows if row["label"] == "benign"]
    families = Counter(row["family"] for row in rows if row["label"] == "attack")
    assert len(flows_of(name)) >= 40
    assert len(benign) >= 4_200
    assert len(families) >= 6
    assert set(families) == families_of(name)
    assert min(families.values()) >= 60
    assert 1_200 <= families.total() <= 2_500
    captures = {
        family: len({row["source"] for row in rows if row["family"] == family and row["label"] == "attack"})
        for family in families
    }
    assert min(captures.values()) >= 3
    benign_lengths = [int(row["n_packets"]) for row in benign]
    assert 5 < np.mean(benign_lengths) < 20
    assert sum(length == 1 for length in benign_lengths) > 0.01 * len(benign)
    assert sum(length > 64 for length in benign_lengths) > 0.01 * len(benign)


@pytest.mark.parametrize("name", NAMES)
def test_benign_captures_can_be_grouped_into_five_parts(name: str) -> None:
    sizes = Counter(row["source"] for row in rows_of(name) if row["label"] == "benign")
    assert max(sizes.values()) > 200
    shares = {"train": 0.5, "val": 0.05, "cal_a": 0.15, "cal_b": 0.1, "test": 0.2}
    filled = dict.fromkeys(shares, 0)
    for _, size in sizes.most_common():
        part = max(shares, key=lambda p: shares[p] * sizes.total() - filled[p])
        filled[part] += size
    assert min(filled.values()) >= 200


def test_most_attack_captures_carry_benign_traffic() -> None:
    rows = [row for name in NAMES for row in rows_of(name)]
    attacked = {row["source"] for row in rows if row["label"] == "attack"}
    shared = attacked & {row["source"] for row in rows if row["label"] == "benign"}
    assert len(shared) > 0.8 * len(attacked)


def test_the_sites_differ_in_file_format_tags_address_family_and_path() -> None:
    first = {name: next(iter(sorted(folder_of(name).glob("*.pcap*")))).read_bytes()[:4].hex() for name in NAMES}
    assert first == {
        "synthetic_campus": "4d3cb2a1",  # nanoseconds
        "synthetic_factory": "d4c3b2a1",
        "synthetic_home": "d4c3b2a1",
        "synthetic_office": "0a0d0d0a",  # pcapng
    }
    with next(folder_of("synthetic_factory").glob("*.pcap")).open("rb") as stream:
        frames = [frame for _, frame in dpkt.pcap.Reader(stream)]
    assert all(frame[12:14] == b"\x81\x00" and len(frame) >= 60 for frame in frames)
    v6 = {name: any(":" in row["src_ip"] for row in rows_of(name)) for name in NAMES}
    assert v6 == {
        "synthetic_campus": True,
        "synthetic_factory": False,
        "synthetic_home": True,
        "synthetic_office": False,
    }
    delays = {name: np.median(handshake_times(name)) for name in NAMES}
    assert delays["synthetic_office"] < 0.5 * delays["synthetic_home"]


def handshake_times(name: str) -> list[float]:
    """Seconds from SYN to the end of the handshake, where the destination is outside."""
    times = []
    for flow in [flow for flows in flows_of(name).values() for flow in flows]:
        if len(flow.packets) > 3 and flow.packets[0].proto == 6 and flow.packets[0].target[0].startswith("198."):
            flags = [packet.transport.flags for packet in flow.packets[:3]]
            if flags[:2] == [dpkt.tcp.TH_SYN, dpkt.tcp.TH_SYN | dpkt.tcp.TH_ACK]:
                times.append(flow.packets[2].time - flow.packets[0].time)
    return times


# --- captures and labels agree ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_every_row_is_a_flow_of_its_capture_and_every_flow_has_a_row(name: str) -> None:
    found = Counter((file, *flow.identity) for file, flows in flows_of(name).items() for flow in flows)
    told = Counter(
        (
            row["file"],
            row["src_ip"],
            int(row["src_port"]),
            row["dst_ip"],
            int(row["dst_port"]),
            int(row["proto"]),
            int(row["n_packets"]),
        )
        for row in rows_of(name)
    )
    assert found == told


@pytest.mark.parametrize("name", NAMES)
def test_the_times_of_rows_are_those_of_the_packets(name: str) -> None:
    found = sorted(
        (file, *flow.identity, flow.packets[0].time, flow.packets[-1].time)
        for file, flows in flows_of(name).items()
        for flow in flows
    )
    told = sorted(
        (
            *(
                row["file"],
                row["src_ip"],
                int(row["src_port"]),
                row["dst_ip"],
                int(row["dst_port"]),
                int(row["proto"]),
                int(row["n_packets"]),
            ),
            *(float(row["ts_start"]), float(row["ts_end"])),
        )
        for row in rows_of(name)
    )
    assert np.abs(np.array([row[-2:] for row in found]) - np.array([row[-2:] for row in told])).max() < 2e-6
    assert all(re.fullmatch(r"\d{10}\.\d{6}", row["ts_start"]) for row in rows_of(name)[:100])


def test_portless_protocols_have_ports_zero() -> None:
    portless = [row for name in NAMES for row in rows_of(name) if row["proto"] not in ("6", "17")]
    assert {row["proto"] for row in portless} == {"1", "58"}
    assert {(row["src_port"], row["dst_port"]) for row in portless} == {("0", "0")}


def test_packets_of_a_capture_are_in_order_of_time() -> None:
    for name in NAMES:
        times = [packet.time for packet in read_packets(next(iter(sorted(folder_of(name).glob("*.pcap*")))))]
        assert all(np.diff(times) >= 0)


# --- headers ----------------------------------------------------------------------------------------------------------


def internet_checksum(data: bytes) -> int:
    """RFC 1071, word by word; 0 over data that contain their own correct checksum."""
    total = sum(int.from_bytes(data[i : i + 2].ljust(2, b"\0"), "big") for i in range(0, len(data), 2))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


@pytest.mark.parametrize("name", NAMES)
def test_lengths_and_checksums_are_valid(name: str) -> None:
    """Payloads are zeros, also those beyond the snaplen, so that they add nothing to a sum."""
    checked: Counter[int] = Counter()
    file = sorted(folder_of(name).glob("*.pcap*"))[5]
    with file.open("rb") as stream:
        for _, frame in dpkt.pcap.UniversalReader(stream):
            at = 18 if frame[12:14] == b"\x81\x00" else 14
            old = frame[at] >> 4 == 4
            if old:
                assert internet_checksum(frame[at : at + 20]) == 0
                proto, length, ends, begin = (
                    frame[at + 9],
                    int.from_bytes(frame[at + 2 : at + 4], "big") - 20,
                    frame[at + 12 : at + 20],
                    at + 20,
                )
            else:
                proto, length, ends, begin = (
                    frame[at + 6],
                    int.from_bytes(frame[at + 4 : at + 6], "big"),
                    frame[at + 8 : at + 40],
                    at + 40,
                )
            pseudo = b"" if proto == 1 else ends + length.to_bytes(4, "big") + proto.to_bytes(4, "big")
            assert internet_checksum(pseudo + frame[begin : begin + length]) == 0
            assert len(frame) >= min(96, begin + length)
            checked[proto] += 1
    assert checked[6] > 100
    assert checked[17] > 10


def test_a_wrong_byte_is_noticed_by_the_checksum_test() -> None:
    with sorted(folder_of("synthetic_home").glob("*.pcap"))[0].open("rb") as stream:
        frame = next(frame for _, frame in dpkt.pcap.Reader(stream) if frame[12:14] == b"\x08\x00")
    damaged = frame[:22] + bytes([frame[22] ^ 1]) + frame[23:]
    assert internet_checksum(frame[14:34]) == 0
    assert internet_checksum(damaged[14:34]) != 0


@pytest.mark.parametrize("name", NAMES)
def test_handshakes_come_in_order_and_offer_an_mss(name: str) -> None:
    opened = 0
    for flow in [flow for flows in flows_of(name).values() for flow in flows]:
        first = flow.packets[0]
        if first.proto != 6 or first.transport.flags != dpkt.tcp.TH_SYN:
            continue
        answer = next((packet for packet in flow.packets if packet.source == first.target), None)
        if answer is None:
            assert all(packet.transport.flags == dpkt.tcp.TH_SYN for packet in flow.packets)
            continue
        assert answer.transport.flags in (dpkt.tcp.TH_SYN | dpkt.tcp.TH_ACK, dpkt.tcp.TH_RST | dpkt.tcp.TH_ACK)
        assert answer.transport.ack == (first.transport.seq + 1) % 2**32
        data = [packet.time for packet in flow.packets if packet.size > 20 + 20 + (packet.transport.off * 4)]
        if data:
            options = dict(dpkt.tcp.parse_opts(first.transport.opts))
            assert 536 <= int.from_bytes(options[dpkt.tcp.TCP_OPT_MSS], "big") <= 1460
            assert data[0] >= answer.time
            opened += 1
    assert opened > 200


# --- determinism ------------------------------------------------------------------------------------------------------


def test_another_process_in_another_order_writes_the_same_bytes(tmp_path: Path) -> None:
    code = "import sys; from pathlib import Path; from datasets_registry.synthetic.suite import write_site\n"
    code += "for name in sys.argv[2:]: write_site(name, Path(sys.argv[1]) / name)"
    order = ["synthetic_office", "synthetic_campus"]
    environment = {**os.environ, "PYTHONHASHSEED": "77"}
    subprocess.run([sys.executable, "-c", code, str(tmp_path), *order], cwd=ROOT, check=True, env=environment)
    for name in order:
        assert digest(tmp_path / name) == digest(folder_of(name))


def test_another_seed_writes_other_captures(tmp_path: Path) -> None:
    write_site("synthetic_home", tmp_path, seed=1)
    ours, theirs = digest(folder_of("synthetic_home")), digest(tmp_path)
    assert set(ours) == set(theirs)
    assert all(ours[name] != theirs[name] for name in ours)


# --- how hard ---------------------------------------------------------------------------------------------------------


@cache
def simple_features(name: str) -> tuple[dict[str, np.ndarray], np.ndarray, np.ndarray]:
    """Packets, bytes and seconds of each flow; attack; family."""
    flows = {
        (file, flow.packets[0].source, flow.packets[0].target, f"{flow.packets[0].time:.4f}"): flow
        for file, fs in flows_of(name).items()
        for flow in fs
    }
    columns: dict[str, list[float]] = {"packets": [], "bytes": [], "seconds": []}
    attack, family = [], []
    rows = {
        (
            row["file"],
            (row["src_ip"], int(row["src_port"])),
            (row["dst_ip"], int(row["dst_port"])),
            f"{float(row['ts_start']):.4f}",
        ): row
        for row in rows_of(name)
    }
    for key in flows.keys() & rows.keys():
        flow, row = flows[key], rows[key]
        columns["packets"].append(len(flow.packets))
        columns["bytes"].append(sum(packet.size for packet in flow.packets))
        columns["seconds"].append(flow.packets[-1].time - flow.packets[0].time)
        attack.append(row["label"] == "attack")
        family.append(row["family"])
    assert len(attack) > 0.99 * len(rows)  # a time on the edge of a rounding finds no partner
    return {key: np.array(values) for key, values in columns.items()}, np.array(attack), np.array(family)


def best_auroc(features: dict[str, np.ndarray], positive: np.ndarray, negative: np.ndarray) -> float:
    """Of all simple features, in either direction."""
    chosen = positive | negative
    values = [roc_auc_score(positive[chosen], column[chosen]) for column in features.values()]
    return max(max(value, 1 - value) for value in values)


@pytest.mark.parametrize("name", NAMES)
def test_hard_attacks_resemble_the_benign_traffic_that_they_hide_in(name: str) -> None:
    """The look-alike is the same application in innocent use.  Below .85 the two overlap on every simple feature, and
    no threshold divides them.

    A flood of pages and a service scan, which take no care to hide, are above .95 against the visits that they imitate.
    """
    features, attack, family = simple_features(name)
    for hard in HARD.keys() & families_of(name):
        assert best_auroc(features, attack & (family == hard), ~attack & (family == HARD[hard])) < 0.85, hard


@pytest.mark.parametrize("name", NAMES)
def test_no_threshold_on_a_simple_feature_finds_half_of_a_hard_family_at_one_percent_false_alerts(name: str) -> None:
    """An attack that is built to pass for everyday traffic has to pass at the alert budget that an operator can
    afford."""
    features, attack, family = simple_features(name)
    for hard in HARD.keys() & families_of(name):
        for column in features.values():
            low, high = np.quantile(column[~attack], [0.01, 0.99])
            values = column[attack & (family == hard)]
            assert np.mean(values > high) < 0.5, hard
            assert np.mean(values < low) < 0.5, hard


@pytest.mark.parametrize("name", NAMES)
def test_scans_are_far_from_benign_traffic(name: str) -> None:
    features, attack, family = simple_features(name)
    for scan in SCANS & families_of(name):
        assert best_auroc(features, attack & (family == scan), ~attack) > 0.95, scan


# --- documentation ----------------------------------------------------------------------------------------------------


def test_the_documentation_gives_the_numbers_of_every_site_and_family() -> None:
    text = (ROOT / "docs" / "synthetic.md").read_text(encoding="utf-8")
    table = {
        tuple(cells[:2]): int(cells[2])
        for cells in re.findall(r"^\| `(synthetic_\w+)` \| `(\w+)` \| (\d+) \|", text, flags=re.MULTILINE)
    }
    counted = Counter((name, row["family"]) for name in NAMES for row in rows_of(name) if row["label"] == "attack")
    assert table == dict(counted)
    sites = {
        cells[0]: [int(cell) for cell in cells[1:]]
        for cells in re.findall(r"^\| `(synthetic_\w+)`" + r" \| (\d+)" * 4, text, flags=re.MULTILINE)
    }
    assert sites == {
        name: [
            len(flows_of(name)),
            sum(row["label"] == "benign" for row in rows_of(name)),
            sum(row["label"] == "attack" for row in rows_of(name)),
            sum(int(row["n_packets"]) for row in rows_of(name)),
        ]
        for name in NAMES
    }


def test_the_documentation_marks_the_hard_families() -> None:
    text = (ROOT / "docs" / "synthetic.md").read_text(encoding="utf-8")
    assert (
        dict(re.findall(r"^\| `synthetic_\w+` \| `(\w+)` \| \d+ \| hard \| `(\w+)`", text, flags=re.MULTILINE)) == HARD
    )
