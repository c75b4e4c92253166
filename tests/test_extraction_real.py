"""Every real capture, packet by packet and flow by flow, and thousands of damaged pieces of them, against the
plain-Python oracle."""

from __future__ import annotations

import random
import struct
from pathlib import Path

import pytest

from datasets_registry.capture import extract, reader
from datasets_registry.capture.reader import read_capture
from datasets_registry.capture.rules import TCP_CLOSE, FlowRules
from tests import flow_oracle as oracle
from tests.memory_flows import read_flows
from tests.test_capture import mutate, packets
from tests.test_flows import check_against_oracle
from tests.test_stream import agrees as check_stream

DATA = Path(__file__).resolve().parents[1].parent / "shared" / "data"
CAPTURES = sorted(DATA.glob("domains/*/*.pcap"))
needs_data = pytest.mark.skipif(not DATA.is_dir(), reason=f"no real captures at {DATA}")


@needs_data
def test_all_captures_of_the_domains_are_there():
    assert len(CAPTURES) == 153


@needs_data
@pytest.mark.parametrize("path", CAPTURES, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_every_packet_and_flow_of_a_domain_agrees_with_the_oracle_and_is_in_its_stream(tmp_path, path):
    records = oracle.records(path)
    expected, dropped = oracle.packets_of(records)
    capture = read_capture(path)
    assert packets(capture) == expected
    assert capture.dropped == dropped
    rules = FlowRules(remove_mirrored=path.parent.name == "cicddos2019_slice")
    check_against_oracle(read_flows(path, rules)[1], oracle.assemble(expected, rules))
    beside_its_stream = tmp_path / path.name
    beside_its_stream.symlink_to(path)
    check_stream(beside_its_stream, rules, records, named=300)


def piece(data: bytes, noise: random.Random) -> bytes:
    """Up to 40 records from somewhere in a little-endian pcap."""
    begins, at = [], 24
    while at < min(len(data), 200_000):
        begins.append(at)
        at += 16 + struct.unpack_from("<I", data, at + 8)[0]
    first = noise.randrange(len(begins) - 1)
    last = min(first + noise.randint(1, 40), len(begins) - 1)
    return data[begins[first] : begins[last]]


@needs_data
@pytest.mark.parametrize("seed", range(4))
def test_damaged_pieces_of_real_captures_give_the_oracles_flows_in_tables_no_larger_than_the_file(
    tmp_path, monkeypatch, seed
):
    """500 each; odd seeds: with tables so small that they are emptied all the time."""
    noise = random.Random(seed)
    for name, value in (("WINDOW", 16), ("HOLD", 5), ("SESSIONS", 4), ("FLOWS", 3)) if seed % 2 else ():
        monkeypatch.setattr(extract, name, value)
    tables: list[reader.Columns] = []
    scan_file = extract.scan_file
    monkeypatch.setattr(
        extract,
        "scan_file",
        lambda path, columns, advance: (tables.append(columns), scan_file(path, columns, advance))[1],
    )
    whole = [path.read_bytes() for path in CAPTURES]
    path = tmp_path / "x.pcap"
    for case in range(500):
        data = whole[case % len(whole)]
        path.write_bytes(data[:24] + mutate(piece(data, noise), noise))
        rules = FlowRules(
            noise.choice([120.0, 0.5]), noise.choice([None, 1.0]), noise.choice(TCP_CLOSE), noise.random() < 0.5
        )
        check_against_oracle(read_flows(path, rules)[1], oracle.assemble(oracle.read(path)[0], rules))
        for columns in tables:
            assert (
                max(
                    len(columns.flows.heads),
                    len(columns.flows.rows),
                    len(columns.sessions.rows),
                    len(columns.packets.ts),
                )
                <= 4096
            )
        tables.clear()
