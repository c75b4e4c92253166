"""The driver of ISCXTor2016 on its synthetic replica."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import polars as pl
import pytest

from datasets_registry.drivers import load_driver
from datasets_registry.drivers.driver import Request, find_captures
from datasets_registry.drivers.iscxtor2016 import DRIVER
from datasets_registry.ingest import CaptureFile, ingest_captures
from datasets_registry.store import FlowStore
from janus_bench.errors import DataError
from tests.replicas import Truth, write_iscxtor2016


@pytest.fixture(scope="module")
def truth(tmp_path_factory: pytest.TempPathFactory) -> Truth:
    return write_iscxtor2016(tmp_path_factory.mktemp("tor"), 5)


def test_it_is_a_driver_by_name():
    assert load_driver("iscxtor2016") is DRIVER


def test_flows_of_ten_seconds_have_the_label_of_their_folder_and_the_capture_as_source(truth, tmp_path):
    captures = {name: CaptureFile(path, group) for name, (path, group) in find_captures(DRIVER, truth.captures).items()}
    about = {"name": "tor", "synthetic": True, "summary": "", "licence": ""}
    manifest = ingest_captures(
        captures, DRIVER.labeller(Request()), tmp_path / "store", about=about, rules=DRIVER.rules, cache=None, jobs=1
    )
    store = FlowStore.open(tmp_path / "store")
    flows, labels = store.flows(), store.labels()
    at = (flows["ts_start"] * 1e6).round().cast(pl.Int64)
    columns = (
        labels["file"],
        *(flows[name] for name in ("src_ip", "src_port", "dst_ip", "dst_port", "proto")),
        at,
        flows["n_packets"],
    )
    found = dict(
        zip(zip(*columns, strict=True), labels.select("label", "family", "attack", "source").rows(), strict=True)
    )
    classes = {"TOR": ("Tor", "class shift", True), "nonTOR": ("benign", "benign", False)}
    assert found == {
        (flow.capture, flow.src, flow.sport, flow.dst, flow.dport, flow.proto, flow.first // 1000, flow.n_packets): (
            *classes[flow.label],
            flow.capture,
        )
        for flow in truth.flows
    }
    counts = Counter(classes[flow.label][0] for flow in truth.flows)
    assert {label: account["flows"] for label, account in manifest["labels"].items()} == counts
    assert (manifest["unmatched_flows"], manifest["active_timeout_s"]) == (0, 10.0)
    assert float((flows["ts_end"] - flows["ts_start"]).max()) <= 10


@pytest.mark.parametrize(
    ("path", "group"),
    [
        ("Tor/CHAT_gate_facebook_chat.pcap", "Tor"),
        ("Pcaps/NonTor/browsing.pcap", "benign"),
        ("tor-nontor-dataset/Non-Tor/a/Vimeo.pcapng.gz", "benign"),
        ("Tor/nonTor/x.pcap", "benign"),
        ("Pcaps/browsing_tor.pcap", None),
        ("Tor/SelectedFeatures-10s-TOR-NonTOR.csv", None),
    ],
)
def test_the_nearest_folder_decides(path, group):
    assert DRIVER.group_of(path) == group


def test_a_folder_without_tor_and_nontor(tmp_path):
    Path(tmp_path, "browsing.pcap").touch()
    with pytest.raises(DataError, match="expected captures in the folders Tor and NonTor"):
        find_captures(DRIVER, tmp_path)
