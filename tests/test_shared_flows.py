"""Flows that two networks share: counted whichever way they are written, and no accident is taken for one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import polars as pl
import pytest
import typer

from datasets_registry.audits.shared import shared_flows
from datasets_registry.store import FlowStore
from harness.cli import audit as command

Flow = tuple[str, int, str, int, float]


class Network:
    """What is asked of a store."""

    def __init__(self, flows: Sequence[Flow], files: Sequence[str] = ()) -> None:
        columns = ["src_ip", "src_port", "dst_ip", "dst_port", "ts_start"]
        self._flows = pl.DataFrame(flows, schema=columns, orient="row").with_columns(proto=pl.lit(6, pl.UInt8))
        self._files = files or ["a.pcap"] * len(flows)

    def flows(self, columns: list[str]) -> pl.DataFrame:
        return self._flows.select(columns)

    def labels(self, columns: list[str]) -> pl.DataFrame:
        return pl.DataFrame({"file": self._files}).select(columns)


def flow(number: int, begin: float = 0.0) -> Flow:
    return "10.0.0.1", 40_000 + number, "10.0.0.2", 443, 1_700_000_000.0 + 100 * number + begin


def found(**networks: Any) -> list[dict[str, Any]]:
    return list(map(dict, shared_flows(networks)))


def test_a_flow_is_in_both_networks_whoever_was_seen_first_and_within_a_second():
    one = Network([flow(number) for number in range(6)])
    reverse = [(to, there, of, here, begin + 0.5) for of, here, to, there, begin in (flow(0), flow(1))]
    other = Network([*reverse, flow(2), flow(3, 1.5), flow(4, -2.0), flow(50), flow(51), flow(52)])
    assert found(one=one, other=other) == [{"one": "one", "other": "other", "flows": 3, "share": 0.5}]
    assert found(other=other, one=one) == [{"one": "other", "other": "one", "flows": 3, "share": 0.5}]


def test_two_flows_alike_are_an_accident_and_copies_inside_a_network_are_its_own():
    one = Network([flow(0), flow(0, 0.1), flow(1), flow(1, 0.1)], ["a", "b", "a", "b"])
    assert found(one=one, other=Network([flow(0, 0.2), flow(1, 0.2), flow(9)])) == []


def test_of_flows_without_addresses_or_times_nobody_knows():
    nameless = [("", 0, "", 0, 1_700_000_000.0 + number) for number in range(9)]
    untimed = [(*flow(number)[:4], 0.0) for number in range(9)]
    for flows in (nameless, untimed):
        assert found(one=Network(flows), other=Network(flows)) == []


def test_a_copy_under_another_name_is_a_warning(home, monkeypatch, capsys):
    """Both datasets of these tests hold the same captures."""
    monkeypatch.setenv("JANUS_BENCH_HOME", str(home))
    flows = FlowStore.open(home / "datasets" / "alpha").n_flows
    command.audit(["alpha", "beta"])
    printed = " ".join(capsys.readouterr().out.split())
    assert f"warning: {flows:,} flows (100.0% of the smaller) stand in alpha and in beta" in printed
    with pytest.raises(typer.Exit):
        command.audit(["alpha", "beta"], fail_on="warning")
    assert f"janus-bench: {flows:,} flows (100.0% of the smaller) stand in" in capsys.readouterr().err
