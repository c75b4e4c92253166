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
from tests.replicas.cicids2018 import DUPLICATE, NONE
from tests.test_drivers_replicas import Prepared, identity, labelled, prepare


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
