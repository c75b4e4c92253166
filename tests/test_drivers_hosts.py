"""CSE-CIC-IDS2018's captures of single hosts, on a SYNTHETIC replica by a writer that shares no code with drivers."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from datasets_registry.drivers import load_driver
from datasets_registry.drivers.driver import NO_LABEL, Request
from datasets_registry.store import FlowStore
from harness.cli import prepare as command
from tests.replicas import Truth, write_cicids2018
from tests.replicas.cicids2018 import CONTROL, DOWNLOAD, DUPLICATE, NONE, SCAN
from tests.test_drivers_replicas import Prepared, identity, labelled, prepare
from tests.test_windows import SCHEMA, TCP, UDP, flow


@pytest.fixture(scope="module")
def replica(tmp_path_factory: pytest.TempPathFactory) -> tuple[Truth, Prepared]:
    truth = write_cicids2018(tmp_path_factory.mktemp("cicids2018"), seed=4)
    return truth, prepare(load_driver("cicids2018"), truth, None)


def test_every_flow_has_the_label_of_its_hosts_and_time_and_no_other_has_one(replica: tuple[Truth, Prepared]) -> None:
    truth, made = replica
    given = {flow: label for flow, (label, _, _) in labelled(made).items()}
    assert given == {identity(flow): flow.label for flow in truth.flows if flow.label not in (NONE, DUPLICATE)}
    assert len(set(given.values())) == 16
    counts = Counter(flow.label for flow in truth.flows)
    without = sum(
        found.report[NO_LABEL]["unmatched_flows"] for found in made.found.values() if NO_LABEL in found.report
    )
    assert without == counts[NONE] + counts[DUPLICATE]
    assert counts[DUPLICATE] > 100
    families = set(pl.concat([found.table for found in made.found.values()])["family"])
    assert families == {*["benign", "DoS", "DDoS", "infiltration", "bot"], "brute force", "web attack", "port scan"}


def test_what_stands_in_two_captures_is_used_once_and_said(replica: tuple[Truth, Prepared]) -> None:
    truth, made = replica
    scan = [flow for flow in truth.flows if flow.dst == "172.31.69.10" and flow.src == "172.31.69.24"]
    assert Counter(flow.label for flow in scan) == {"Infiltration - NMAP Portscan": 40, DUPLICATE: 40}
    assert any("28-02: " in line and "flows stand in the captures of both of their hosts" in line for line in made.said)


# Day, first and last second (Unix time, as Liu et al. publish them), label, initiator, responder, its port, protocol.
PUBLISHED = [
    ("14-02", 1518618806, 1518624631, "FTP-BruteForce", "18.221.219.4", "172.31.69.25", 21, TCP),
    ("14-02", 1518631310, 1518636750, "SSH-Bruteforce", "13.58.98.64", "172.31.69.25", 22, TCP),
    ("15-02", 1518701262, 1518703905, "DoS attacks-GoldenEye", "18.219.211.138", "172.31.69.25", 80, TCP),
    ("15-02", 1518706812, 1518709321, "DoS attacks-Slowloris", "18.217.165.70", "172.31.69.25", 80, TCP),
    ("16-02", 1518790334, 1518793513, "FTP-BruteForce", "13.59.126.31", "172.31.69.25", 21, TCP),
    ("16-02", 1518803127, 1518803903, "DoS attacks-Hulk", "18.219.193.20", "172.31.69.25", 80, TCP),
    ("20-02", 1519136034, 1519139808, "DDoS attacks-LOIC-HTTP", "52.14.136.135", "172.31.69.25", 80, TCP),
    ("20-02", 1519146857, 1519147756, "DDoS attacks-LOIC-UDP", "18.216.24.42", "172.31.69.25", 80, UDP),
    ("21-02", 1519222131, 1519224219, "DDoS attacks-LOIC-UDP", "18.218.11.51", "172.31.69.28", 80, UDP),
    ("21-02", 1519236668, 1519239954, "DDoS attacks-HOIC", "18.219.32.43", "172.31.69.28", 80, TCP),
    ("22-02", 1519309071, 1519313039, "Brute Force -Web", "18.218.115.60", "172.31.69.28", 80, TCP),
    ("22-02", 1519321899, 1519324181, "Brute Force -XSS", "18.218.115.60", "172.31.69.28", 80, TCP),
    ("22-02", 1519330590, 1519331276, "SQL Injection", "18.218.115.60", "172.31.69.28", 80, TCP),
    ("23-02", 1519394670, 1519398186, "Brute Force -Web", "18.218.115.60", "172.31.69.28", 80, TCP),
    ("23-02", 1519405264, 1519409428, "Brute Force -XSS", "18.218.115.60", "172.31.69.28", 80, TCP),
    ("23-02", 1519412792, 1519413444, "SQL Injection", "18.218.115.60", "172.31.69.28", 80, TCP),
    ("28-02", 1519829140, 1519834135, CONTROL, "172.31.69.24", "13.58.225.34", 31337, TCP),
    ("28-02", 1519839771, 1519839824, DOWNLOAD, "172.31.69.24", "162.125.3.1", 443, TCP),
    ("28-02", 1519829182, 1519843140, SCAN, "172.31.69.24", "172.31.69.4", 445, TCP),
    ("01-03", 1519913075, 1519928245, CONTROL, "172.31.69.13", "13.58.225.34", 31337, TCP),
    ("01-03", 1519913032, 1519918454, DOWNLOAD, "172.31.69.13", "162.125.248.1", 443, TCP),
    ("01-03", 1519913388, 1519933092, SCAN, "172.31.69.13", "172.31.69.24", 22, TCP),
    ("02-03", 1520000008, 1520020492, "Bot", "172.31.69.30", "18.219.211.138", 8080, TCP),
]  # fmt: skip


@pytest.mark.parametrize("row", PUBLISHED, ids=lambda row: f"{row[0]} {row[3]}")
def test_a_window_holds_from_its_first_second_to_its_last(row: tuple[str, int, int, str, str, str, int, int]) -> None:
    day, begin, end, label, source, destination, port, proto = row
    second = 10**9
    at = [begin * second - 1000, begin * second, end * second + second - 1000, (end + 1) * second]
    flows = [flow(first, source, destination, port, proto, 50_000 + number) for number, first in enumerate(at)]
    made = load_driver("cicids2018").labeller(Request(groups=frozenset({day})))(
        day, pl.DataFrame(flows, schema_overrides=SCHEMA)
    )
    given = dict(zip(made.flow.tolist(), made.table["label"], strict=True))
    assert (given.get(1), given.get(2)) == (label, label)
    assert label not in (given.get(0), given.get(3))


def test_either_clock_may_be_ahead_and_a_later_flow_of_the_same_ports_is_another_one() -> None:
    second = 10**9
    day = 1_518_566_400 * second  # 14 February 2018
    begun = [15 * 3600, 15 * 3600 + 1, 15 * 3600 + 600, 15 * 3600 + 599, 15 * 3600 + 900, 15 * 3600 + 950]
    flows = pl.DataFrame(
        {
            **dict.fromkeys(("a_high", "b_high"), [0] * 6),
            "a_low": [1] * 6,
            "b_low": [2] * 6,
            "rest": [4 * 2**40 + 6 * 2**32] * 6,
            "swapped": [False] * 6,
            "first": [day + at * second for at in begun],
            "file": ["x", "y", "x", "y", "x", "y"],
        },
        schema_overrides=dict.fromkeys(("a_high", "b_high", "a_low", "b_low", "rest"), pl.UInt64),
    )
    made = load_driver("cicids2018").labeller(Request(groups=frozenset({"14-02"})))("14-02", flows)
    assert np.array_equal(made.flow, [0, 2, 4, 5])


def test_it_is_prepared_from_its_captures_as_from_its_tables(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("JANUS_BENCH_HOME", str(tmp_path / "home"))
    truth = write_cicids2018(tmp_path, seed=5)
    command.prepare("cicids2018", truth.captures)
    store = FlowStore.open(tmp_path / "home" / "datasets" / "cicids2018")
    counts = Counter(flow.label for flow in truth.flows)
    assert Counter(store.labels()["label"]) == {k: n for k, n in counts.items() if k not in (NONE, DUPLICATE)}
    said = capsys.readouterr().err
    assert "Copy.24" in said  # it may be a capture, and is not read
    assert "used once" in said
