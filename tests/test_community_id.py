"""Community IDs equal those of the ``communityid`` package, on every flow of every shared capture."""

from __future__ import annotations

from contextlib import suppress

import numpy as np
import pytest

from datasets_registry.capture.extract import extract_flows
from datasets_registry.capture.rules import FlowRules
from datasets_registry.ingest import flow_columns
from harness.operate.community_id import community_id
from janus_bench.errors import DataError
from tests import pcap_builders as build
from tests.conftest import SHARED_DATA, needs_shared_data

package = pytest.importorskip("communityid", reason="communityid is not installed")

CAPTURES = sorted(SHARED_DATA.rglob("*.pcap*")) if SHARED_DATA.is_dir() else []
REFERENCE = package.CommunityID()
MOST = 300
"""Different flows that are compared of one segment of a capture, for the package takes its time; 10⁹ compares all."""


def expected(src: str, dst: str, proto: int, sport: int, dport: int, icmp: int) -> str:
    """What the package makes of a flow; an ICMP message has its type and code in place of ports."""
    if proto in (1, 58):
        made = package.FlowTuple(proto, src, dst, icmp >> 8, icmp & 0xFF)
    elif proto in (6, 17, 132):
        made = package.FlowTuple(proto, src, dst, sport, dport)
    else:
        made = package.FlowTuple(proto, src, dst)
    return REFERENCE.calc(made)


def compared(path) -> set[tuple[int, bool]]:
    """The protocols whose flows were compared, and whether over IPv6."""
    segments, seen = [], set()
    with suppress(DataError):  # some are no captures
        extract_flows(path, FlowRules(), segments)
    for flows in segments:
        names = ("keys", "swapped", "first", "last", "n_packets")
        table = flow_columns({name: getattr(flows, name) for name in names})
        src, dst = table["src_ip"].to_list(), table["dst_ip"].to_list()
        proto, sport, dport = (np.asarray(table[name]).tolist() for name in ("proto", "src_port", "dst_port"))
        known: dict[tuple, str] = {}
        for flow in zip(src, dst, proto, sport, dport, flows.icmp.tolist(), strict=True):
            if flow not in known and len(known) < MOST:
                known[flow] = community_id(*flow)
                assert known[flow] == expected(*flow), flow
                seen.add((flow[2], ":" in flow[0]))
    return seen


@needs_shared_data
def test_every_flow_of_every_shared_capture_has_the_packages_id():
    seen = set()
    for path in CAPTURES:
        seen |= compared(path)
    assert {(6, False), (17, False), (1, False), (6, True), (17, True), (58, True)} <= seen


ICMP_TYPES = [*range(20), *range(128, 146), 200, 255]


@pytest.mark.parametrize(("version", "proto"), [(4, 1), (6, 58)])
def test_icmp_of_every_type_in_both_directions(version, proto, tmp_path):
    one, other = ("192.0.2.1", "192.0.2.77") if version == 4 else ("2001:db8::1", "fe80::9")
    make, ether = (build.ipv4, 0x0800) if version == 4 else (build.ipv6, 0x86DD)
    packets = []
    for place, kind in enumerate(ICMP_TYPES):
        for turn, ends in enumerate(((one, other), (other, one))):
            data = bytes([kind, 3, 0, 0, 0, 0, 0, 0])
            frame = build.ethernet(make(*ends, proto, data), ether)
            packets.append(((2 * place + turn) * 200 * 10**9, frame))  # further apart than a flow lasts
    (tmp_path / "it.pcap").write_bytes(build.pcap(packets))
    segments: list = []
    extract_flows(tmp_path / "it.pcap", FlowRules(), segments)
    icmp = np.concatenate([flows.icmp for flows in segments])
    assert icmp.tolist() == [kind << 8 | 3 for kind in ICMP_TYPES for _ in range(2)]
    assert compared(tmp_path / "it.pcap") == {(proto, version == 6)}


def test_the_example_of_the_specification():
    assert community_id("66.35.250.204", "128.232.110.120", 6, 80, 34855, 0) == "1:LQU9qZlK+B5F3KDmev6m5PMibrg="
