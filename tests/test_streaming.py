"""Flows as they leave a capture that is read once: the flows, packets, features and context that a store has."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from datasets_registry.capture.rules import FlowRules
from datasets_registry.context import part_context
from datasets_registry.extraction import CaptureFile
from datasets_registry.ingest import flow_columns, ingest_captures
from datasets_registry.labelling.assignment import Assignment
from datasets_registry.store import FlowStore
from datasets_registry.streaming import EndedFlows, read_arriving, read_ended
from janus_bench.columns import CONTEXT_FEATURES
from janus_bench.contract import FlowBatch, concatenated
from tests import pcap_builders as build

INPUTS = frozenset({"packets", "features", "cic_features", "context"})


def as_store(path: Path, folder: Path, rules: FlowRules) -> FlowStore:
    """Every flow of a capture, as any dataset is stored."""

    def benign(_group: str, flows: pl.DataFrame) -> Assignment:
        text = {name: pl.lit("x") for name in ("label", "family", "source", "site")}
        table = flows.select("file", attack=pl.lit(False), row=pl.lit(-1, pl.Int64), **text)
        return Assignment(np.arange(flows.height), table, {})

    about = {"name": "x", "synthetic": False, "summary": "", "licence": ""}
    ingest_captures({"x": CaptureFile(path, "")}, benign, folder, about=about, rules=rules, cache=None)
    return FlowStore.open(folder)


def joined(found: list[EndedFlows], inputs: frozenset[str]) -> tuple[pl.DataFrame, FlowBatch]:
    """Who and when, and what a detector would be given, of all flows in the order in which they began."""
    names = ("keys", "swapped", "first", "last", "n_packets")
    tables = [pl.DataFrame(flow_columns({name: getattr(one.flows, name) for name in names})) for one in found]
    serial = np.concatenate([one.flows.serial for one in found])
    order = np.argsort(serial)
    assert (serial[order] == np.arange(len(serial))).all()  # each flow once
    return pl.concat(tables)[order], concatenated([one.batch(inputs) for one in found]).take(order)


def check_equal(found: list[EndedFlows], store: FlowStore, *, early: bool = False) -> None:
    inputs = INPUTS - ({"cic_features"} if early else set())
    table, batch = joined(found, inputs)
    expected = store.flows().drop("flow_id")
    wanted = store.take(np.arange(store.n_flows), np.zeros(store.n_flows, np.uint64), inputs - {"context"})
    compared = ["src_ip", "src_port", "dst_ip", "dst_port", "proto", "ts_start"]
    assert table.select(compared).equals(expected.select(compared))
    if not early:
        assert table.equals(expected)
    assert np.array_equal(batch.offsets, wanted.offsets)
    for name, column in wanted.packets.items():
        assert np.array_equal(batch.packets[name], column), name
    for name, column in wanted.features.items():
        assert np.array_equal(batch.features[name], column), name
    rows = np.arange(store.n_flows)
    context = part_context(store, rows, np.ones(store.n_flows, np.bool_))
    streamed = np.column_stack([batch.features[name] for name in batch.features if name not in wanted.features])
    np.testing.assert_allclose(streamed, context, rtol=1e-6, atol=1e-6)


def streamed(path: Path, rules: FlowRules) -> list[EndedFlows]:
    found: list[EndedFlows] = []
    read_ended(path, rules, INPUTS, found.append, lambda n: None, lambda: False)
    return found


def a_network(path: Path, seed: int, begin: float = 1.7e9, packets: int = 4000) -> Path:
    """Packets in the order of time between ten hosts of both versions: TCP, UDP and ICMP, many flows of a packet or
    two, some of hundreds, some never answered, pauses of seconds."""
    rng, records, at = np.random.default_rng(seed), [], begin
    v4, v6 = [f"192.0.2.{i}" for i in range(6)], [f"2001:db8::{i}" for i in range(1, 5)]
    for _ in range(packets):
        at += float(rng.choice([0.0, 1e-4, 0.003, 0.4, 7.0], p=[0.1, 0.4, 0.4, 0.09, 0.01]))
        hosts = v6 if rng.random() < 0.2 else v4
        one, other = rng.choice(len(hosts), 2, replace=False)
        busy = rng.random() < 0.2
        ports = (5000, 443) if busy else (int(rng.integers(1024, 1200)), int(rng.choice([53, 80, 445])))
        one, other = (0, 1) if busy else (int(one), int(other))
        if rng.random() < 0.5 and (one + other) % 5 != 0:  # pairs that never answer
            one, other, ports = other, one, ports[::-1]
        kind, data = (
            (build.ICMP, bytes([8, 0, 0, 0, 0, 1, 0, 1]))
            if not busy and rng.random() < 0.05 and hosts is v4
            else (
                build.TCP,
                build.tcp(*ports, flags=int(rng.choice([2, 16, 17, 24])), payload=bytes(rng.integers(0, 900))),
            )
            if busy or rng.random() < 0.6
            else (build.UDP, build.udp(*ports, bytes(rng.integers(0, 300))))
        )
        make = build.ipv6 if hosts is v6 else build.ipv4
        records.append(
            (
                round(at * 1e6) * 1000,
                build.ethernet(make(hosts[one], hosts[other], kind, data), 0x86DD if hosts is v6 else 0x0800),
            )
        )
    path.write_bytes(build.pcap(records))
    return path


@pytest.mark.parametrize("seed", range(2))
def test_a_stream_has_the_flows_of_the_store_and_their_context(seed, tmp_path, monkeypatch):
    """Whether flows leave at the end of the capture or while others are open."""
    path, rules = a_network(tmp_path / "it.pcap", seed), FlowRules(idle_timeout_s=2.0)
    store = as_store(path, tmp_path / "store", rules)
    assert store.n_flows > 500
    whole: list[EndedFlows] = []
    read_ended(path, rules, INPUTS, whole.append, lambda n: None, lambda: False)
    check_equal(whole, store)
    ticks: list[EndedFlows] = []
    monkeypatch.setattr("datasets_registry.capture.reader.CHUNK", 1 << 16)
    monkeypatch.setattr("datasets_registry.capture.reader.HISTORY", 1 << 14)
    with path.open("rb") as file:
        read_arriving(file.fileno(), "it", rules, INPUTS, ticks.append, lambda n: None, lambda: False)
    assert len(ticks) > 5
    check_equal(ticks, store)


def test_a_flow_leaves_with_its_64th_packet_where_nothing_beyond_is_read_and_only_once(tmp_path, monkeypatch):
    path, rules = a_network(tmp_path / "it.pcap", 3), FlowRules(idle_timeout_s=30.0)
    store = as_store(path, tmp_path / "store", rules)
    long = store.flows()["n_packets"].to_numpy() > 64
    assert 0 < long.sum() < len(long) / 2
    found: list[EndedFlows] = []
    monkeypatch.setattr("datasets_registry.capture.reader.CHUNK", 1 << 15)
    monkeypatch.setattr("datasets_registry.capture.reader.HISTORY", 1 << 13)
    inputs = INPUTS - {"cic_features"}
    with path.open("rb") as file:
        read_arriving(file.fileno(), "it", rules, inputs, found.append, lambda n: None, lambda: False)
    check_equal(found, store, early=True)
    packets = joined(found, inputs)[0]["n_packets"].to_numpy()
    assert (packets[long] < store.flows()["n_packets"].to_numpy()[long]).any()
    assert (packets[long] >= 64).all()
    assert np.array_equal(packets[~long], store.flows()["n_packets"].to_numpy()[~long])


def whole_file(path: Path, rules: FlowRules) -> tuple[list[EndedFlows], int]:
    found: list[EndedFlows] = []
    _, belated = read_ended(path, rules, INPUTS, found.append, lambda n: None, lambda: False)
    return found, belated


def test_a_clock_that_was_set_back_begins_anew_and_late_packets_are_counted(tmp_path, monkeypatch):
    """Two captures appended, the later one first: the flows and contexts of both; a packet that is too late for the
    window is as late as the one before it."""
    monkeypatch.setattr("datasets_registry.capture.live.WINDOW", 256)
    rules = FlowRules(idle_timeout_s=2.0)
    paths = [a_network(tmp_path / f"{n}.pcap", n, begin, 1500) for n, begin in ((5, 1.7e9), (6, 1.6e9))]
    both = tmp_path / "both.pcap"
    both.write_bytes(paths[0].read_bytes() + paths[1].read_bytes()[24:])
    found, belated = whole_file(both, rules)
    assert belated == 0
    flows, batch = joined(found, INPUTS)
    apart = [joined(whole_file(path, rules)[0], INPUTS) for path in paths]
    assert flows.equals(pl.concat([table for table, _ in apart]))
    context, expected = (
        np.column_stack([one.features[name] for name in CONTEXT_FEATURES])
        for one in (batch, concatenated([each for _, each in apart]))
    )
    np.testing.assert_allclose(context, expected, rtol=1e-5)
    records = [
        (10**18 + n * 10**6, build.ethernet(build.ipv4("192.0.2.1", "192.0.2.2", 17, build.udp(1, n))))
        for n in range(1, 600)
    ]
    late = [*records[:500], (10**18, records[0][1]), *records[500:]]
    (tmp_path / "late.pcap").write_bytes(build.pcap(late))
    found, belated = whole_file(tmp_path / "late.pcap", rules)
    assert belated == 1
    assert sum(int(one.flows.n_packets.sum()) for one in found) == 600
