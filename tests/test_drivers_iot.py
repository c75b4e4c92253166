"""The driver of CICIoT2023 on its synthetic replica: labels by file or by attacker, and the draw from floods."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import polars as pl
import pytest

from datasets_registry.drivers import BUILT_IN, load_driver
from datasets_registry.drivers.ciciot2023 import DRIVER, FLOODS, CicIoTOptions
from datasets_registry.drivers.driver import Request, find_captures
from datasets_registry.ingest import CaptureFile, ingest_captures
from datasets_registry.registry import describe
from datasets_registry.store import FlowStore
from harness.cli.prepare import _about
from janus_bench.errors import DataError, UsageError
from tests.replicas import TrueFlow, Truth, write_ciciot2023
from tests.replicas.ciciot2023 import ATTACKERS, ATTACKS

FLOODED = {attack.label for attack in ATTACKS if attack.family in FLOODS}


@dataclass(frozen=True)
class Prepared:
    """manifest; labels: (capture, 5-tuple, first in µs) → (label, attack, family, source) of every stored flow; what
    was said."""

    manifest: dict[str, Any]
    labels: dict[tuple, tuple]
    said: tuple[str, ...]


@pytest.fixture(scope="module")
def truth(tmp_path_factory: pytest.TempPathFactory) -> Truth:
    return write_ciciot2023(tmp_path_factory.mktemp("iot"), 5)


@pytest.fixture(scope="module")
def prepare(truth: Truth, tmp_path_factory: pytest.TempPathFactory) -> Callable[[CicIoTOptions], Prepared]:
    """CicIoTOptions → the prepared replica; its captures are extracted once."""
    folder = tmp_path_factory.mktemp("prepared")

    @cache
    def make(options: CicIoTOptions) -> Prepared:
        said: list[str] = []
        label = DRIVER.labeller(Request(options=options, tell=said.append))
        captures = {
            name: CaptureFile(path, group) for name, (path, group) in find_captures(DRIVER, truth.captures).items()
        }
        destination = folder / f"store{len(list(folder.iterdir()))}"
        about = {"name": "iot", "synthetic": True, "summary": "", "licence": ""}
        manifest = ingest_captures(
            captures, label, destination, about=about, rules=DRIVER.rules, cache=folder / "cache", jobs=1
        )
        store = FlowStore.open(destination)
        flows, labels = store.flows(), store.labels()
        keys = zip(
            *(labels["file"], *(flows[name] for name in ("src_ip", "src_port", "dst_ip", "dst_port", "proto"))),
            strict=True,
        )
        at = ((flows["ts_start"] * 1e6).round().cast(pl.Int64)).to_list()
        values = labels.select("label", "attack", "family", "source").rows()
        return Prepared(
            manifest, {(*key, us): value for key, us, value in zip(keys, at, values, strict=True)}, tuple(said)
        )

    return make


def key(flow: TrueFlow) -> tuple:
    return (flow.capture, flow.src, flow.sport, flow.dst, flow.dport, flow.proto, flow.first // 1000)


def expected(flows: Iterable[TrueFlow]) -> dict[tuple, tuple]:
    families = {"Recon": "recon", "Spoofing": "spoofing", "Web": "web", "BruteForce": "brute force"}
    family = {attack.label: families.get(attack.family, attack.family) for attack in ATTACKS}
    return {
        key(flow): (flow.label, True, family[flow.label], flow.capture)
        if flow.label in family
        else ("benign", False, "benign", flow.capture)
        for flow in flows
    }


def test_it_is_a_driver_by_name():
    assert load_driver("ciciot2023") is DRIVER


def test_every_capture_of_both_spellings_has_its_class(truth):
    captures = find_captures(DRIVER, truth.captures)
    told = {flow.capture: "benign" if flow.label == "BenignTraffic" else flow.label for flow in truth.flows}
    assert {name: group for name, (_, group) in captures.items()} == told
    assert len(set(told.values())) == 34


@pytest.mark.parametrize(
    ("path", "group"),
    [
        ("DDOS/DDOS_HTTP_Flood/DDoS-HTTP_Flood-.pcap", "DDoS-HTTP_Flood"),
        ("DDoS-SYN_Flood/split_00012.pcap", "DDoS-SYN_Flood"),
        ("DOS-SYN_FLOOD.PCAP.GZ", "DoS-SYN_Flood"),
        ("MIRAI-UDPPLAIN7.pcapng", "Mirai-udpplain"),
        ("Benign_Final/BenignTraffic3.pcap", "benign"),
        ("Benign_Final/BenignTraffic3.pcap.csv", None),
        ("Benign_Final/readme.txt", None),
        ("elsewhere/traffic.pcap", None),
    ],
)
def test_names_of_captures(path, group):
    assert DRIVER.group_of(path) == group


def test_by_file_every_flow_has_the_label_of_its_capture(prepare, truth):
    made = prepare(CicIoTOptions(label_scope="file", flood_flows=0))
    assert made.labels == expected(truth.flows)
    counts = Counter(value[0] for value in made.labels.values())
    assert {label: account["flows"] for label, account in made.manifest["labels"].items()} == counts
    assert made.manifest["unmatched_flows"] == 0
    assert not made.said


def test_by_attacker_only_flows_that_one_takes_part_in_are_attacks_and_the_rest_is_left_out(prepare, truth):
    made = prepare(CicIoTOptions(label_scope="attacker_mac", flood_flows=0))
    known = [flow for flow in truth.flows if flow.attacker_mac or flow.label == "BenignTraffic"]
    assert made.labels == expected(known)
    left = Counter(flow.label for flow in truth.flows) - Counter(flow.label for flow in known)
    assert {
        label: account["unmatched_flows"]
        for label, account in made.manifest["labels"].items()
        if account["unmatched_flows"]
    } == left
    assert made.manifest["unmatched_flows"] == sum(left.values()) > 0


def test_the_scope_by_default_is_that_of_attackers_and_the_counts_that_decided_it_are_in_the_dataset_and_its_tables():
    assert CicIoTOptions().label_scope == "attacker_mac"
    about = _about(DRIVER, "iot", CicIoTOptions())
    assert about["options"]["label_scope"] == "attacker_mac"
    assert any("87 % in MITM-ArpSpoofing" in defect for defect in about["known_defects"])
    counts = {"n_flows": 2, "benign": 1, "attack": 1, "hash": "0", "cic_features": False}
    dataset: Any = SimpleNamespace(store=SimpleNamespace(manifest=about | counts))
    assert describe({"iot": dataset})["iot"]["notes"] == about["known_defects"]


@pytest.mark.parametrize("name", BUILT_IN)
def test_every_driver_says_what_is_known_to_be_wrong_with_its_dataset(name):
    assert all(len(defect) > 40 for defect in load_driver(name).defects)
    assert load_driver(name).defects


def test_floods_are_drawn_up_to_the_cap_and_the_draw_is_counted(prepare, truth):
    cap = 100
    made = prepare(CicIoTOptions(label_scope="file", flood_flows=cap))
    there, kept = Counter(flow.label for flow in truth.flows), Counter(value[0] for value in made.labels.values())
    assert made.labels.items() <= expected(truth.flows).items()
    assert {label: kept[label] for label in FLOODED} == {label: min(cap, there[label]) for label in FLOODED}
    assert {label: kept[label] for label in there.keys() - FLOODED - {"BenignTraffic"}} == {
        label: there[label] for label in there.keys() - FLOODED - {"BenignTraffic"}
    }
    out = {label: account["sampled_out"] for label, account in made.manifest["labels"].items()}
    assert {label: out[label] for label in FLOODED} == {label: there[label] - kept[label] for label in FLOODED}
    assert not any(account["unmatched_flows"] for account in made.manifest["labels"].values())


def test_a_draw_is_the_same_every_time_another_with_another_seed_and_part_of_a_larger_one(prepare):
    first, second = (
        prepare(CicIoTOptions(label_scope="file", flood_flows=100, seed=seed)).labels.keys() for seed in (0, 1)
    )
    larger = prepare(CicIoTOptions(label_scope="file", flood_flows=140)).labels.keys()
    assert first < larger
    assert 0 < len(first - second) < len(first)


def test_a_draw_takes_from_all_captures_of_an_attack(prepare, truth):
    """Binomially: 100 of 450 from three captures of 150 each; five standard deviations are 19."""
    labels = prepare(CicIoTOptions(label_scope="file", flood_flows=100)).labels
    in_parts = Counter(flow.capture for flow in truth.flows if flow.label == "DDoS-UDP_Flood")
    assert len(in_parts) == 3
    drawn = Counter(capture for capture, *_ in labels if capture in in_parts)
    assert all(abs(drawn[capture] - 100 / 3) < 24 for capture in in_parts)


def flow_table(n: int, **changed: Any) -> pl.DataFrame:
    """``n`` flows of one flood."""
    keys = {name: pl.Series(np.arange(n), dtype=pl.UInt64) for name in ("a_high", "a_low", "b_high", "b_low", "rest")}
    mac = int(ATTACKERS[0].replace(":", ""), 16)
    columns = {
        "file": pl.lit("DoS-UDP_Flood/a.pcap"),
        "swapped": pl.lit(False),
        "first": pl.Series(np.arange(n) * 10**6),
        "last": pl.lit(0),
        "n_packets": pl.lit(1),
    }
    return (
        pl.DataFrame(keys)
        .with_columns(**columns, src_mac=pl.lit(mac, pl.UInt64), dst_mac=pl.lit(0, pl.UInt64))
        .with_columns(**changed)
    )


def test_a_draw_does_not_depend_on_the_order_of_the_flows():
    label = DRIVER.labeller(Request(options=CicIoTOptions(label_scope="file", flood_flows=50)))
    flows = flow_table(1000)
    turned = flows.reverse()
    forward, backward = (label("DoS-UDP_Flood", table).flow for table in (flows, turned))
    assert sorted(999 - backward) == forward.tolist()


def test_the_draw_is_uniform():
    """Each of 200 flows in about a tenth of 400 draws of 20: a χ² with 199 degrees of freedom stays below its 99.99 %
    quantile, 283."""
    flows, drawn = flow_table(200), np.zeros(200)
    for seed in range(400):
        drawn[
            DRIVER.labeller(Request(options=CicIoTOptions(label_scope="file", flood_flows=20, seed=seed)))(
                "DoS-UDP_Flood", flows
            ).flow
        ] += 1
    assert ((drawn - 40) ** 2 / (40 * 0.9)).sum() < 283


def test_attackers_of_a_file_replace_those_of_the_paper(tmp_path):
    listed = tmp_path / "attackers.txt"
    listed.write_text("# ours\n02-00-00-00-00-0a\n\n02:00:00:00:00:0B  # another\n")
    options = CicIoTOptions(label_scope="attacker_mac", attackers=str(listed))
    label = DRIVER.labeller(Request(options=options))
    flows = flow_table(
        4,
        src_mac=pl.Series([0x02000000000A, 1, 1, 0], dtype=pl.UInt64),
        dst_mac=pl.Series([1, 0x02000000000B, 1, 0], dtype=pl.UInt64),
    )
    assert label("DoS-UDP_Flood", flows).flow.tolist() == [0, 1]


def test_a_capture_without_an_attacker_is_said(tmp_path):
    said: list[str] = []
    label = DRIVER.labeller(Request(options=CicIoTOptions(label_scope="attacker_mac"), tell=said.append))
    made = label("DoS-UDP_Flood", flow_table(3, src_mac=pl.lit(0, pl.UInt64)))
    assert len(made.flow) == 0
    assert made.report["DoS-UDP_Flood"]["unmatched_flows"] == 3
    assert said == [
        (
            "DoS-UDP_Flood: no flow has an attacker's MAC address, all 3 are left out; are these the attackers of "
            "this capture?"
        )
    ]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "no MAC addresses"),
        ("# nobody\n", "no MAC addresses"),
        ("02:00:00:00:00:01\n02:00\n", r"line 2: '02:00' is no MAC address"),
    ],
)
def test_mistakes_in_the_attackers_file(tmp_path, content, message):
    listed = tmp_path / "attackers.txt"
    listed.write_text(content)
    with pytest.raises(DataError, match=message):
        DRIVER.labeller(Request(options=CicIoTOptions(label_scope="attacker_mac", attackers=str(listed))))


def test_mistakes_in_options(tmp_path):
    with pytest.raises(UsageError, match="cannot be read"):
        DRIVER.labeller(Request(options=CicIoTOptions(label_scope="attacker_mac", attackers=str(tmp_path / "none"))))
    with pytest.raises(UsageError, match="flood_flows=-1"):
        CicIoTOptions(label_scope="file", flood_flows=-1)
    with pytest.raises(UsageError, match="attacker_mac"):
        replace(CicIoTOptions(), label_scope="file", attackers="x")


def test_a_folder_without_its_captures(tmp_path):
    Path(tmp_path, "other.pcap").touch()
    with pytest.raises(DataError, match=r"none of its 1 files is a capture of ciciot2023"):
        find_captures(DRIVER, tmp_path)
