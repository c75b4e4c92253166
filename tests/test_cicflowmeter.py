"""CICFlowMeter's features against a slow plain-Python version of their definitions, and against rows of the published
CSVs."""

from __future__ import annotations

import csv
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dpkt
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numba import njit

from datasets_registry.capture.cicflowmeter import N_ACCUMULATORS, begin, cic_features, update
from janus_bench.columns import CIC_FEATURES
from tests import cicflowmeter_oracle as oracle
from tests.cicflowmeter_oracle import SECOND, Packet
from tests.conftest import ROOT, SHARED_DATA, needs_shared_data

SYN, FIN, PSH, ACK = 0x02, 0x01, 0x08, 0x10
EDGES = [
    0,
    1,
    999,
    1000,
    40_000,
    SECOND - 1,
    SECOND,
    SECOND + 1,
    5 * SECOND,
    5 * SECOND + 1,
    60 * SECOND,
    60 * SECOND + 1000,
    3600 * SECOND,
]


def features(packets: list[Packet], protocol: int = 6) -> dict[str, float]:
    """The code under test, one packet at a time."""
    rows = np.full((1, N_ACCUMULATORS), np.nan)
    begin(rows[0])
    for packet in packets:
        update(rows[0], *packet)
    return dict(zip(CIC_FEATURES, cic_features(rows, np.array([protocol], np.uint8))[0].tolist(), strict=True))


def assert_same(packets: list[Packet], protocol: int = 6) -> None:
    assert_close(features(packets, protocol), oracle.features(packets, protocol))


def assert_close(found: dict[str, float], expected: dict[str, float]) -> None:
    assert set(found) == set(expected)
    wrong = {
        name: (found[name], expected[name])
        for name in found
        if not math.isclose(found[name], expected[name], rel_tol=1e-9)
    }
    assert not wrong


def timed(gaps: list[int], start: int = 1_500_000_000 * SECOND) -> list[Packet]:
    """One direction, the given ns between packets."""
    return [Packet(start + int(ts), 100, 20, ACK, 512, 0) for ts in np.cumsum([0, *gaps])]


steps = st.tuples(
    st.one_of(st.sampled_from(EDGES), st.integers(0, 2000), st.integers(0, 10 * SECOND)),
    st.one_of(st.sampled_from([0, 0, 1, 6, 1447, 1448, 65_535]), st.integers(0, 65_535)),
    st.sampled_from([0, 8, 20, 32, 60]),
    st.one_of(st.sampled_from([ACK, ACK | PSH]), st.integers(0, 255)),
    st.integers(0, 65_535),
)


@st.composite
def flows(draw: st.DrawFn) -> list[Packet]:
    """Up to 50 packets; directions come in trains so that bulks are common."""
    made: list[Packet] = []
    ts = draw(st.integers(0, 8 * 10**18))
    trains = draw(
        st.lists(st.tuples(st.integers(0, 1), st.lists(steps, min_size=1, max_size=8)), min_size=1, max_size=6)
    )
    for backward, train in trains:
        for gap, payload, header, flags, win in train:
            ts += gap
            made.append(Packet(ts, payload, header, flags, win, backward if made else 0))
    return made


@settings(max_examples=300, deadline=None)
@given(flows(), st.sampled_from([1, 6, 17, 58]))
def test_random_flows_have_the_features_of_the_oracle(packets: list[Packet], protocol: int) -> None:
    found = features(packets, protocol)
    assert all(math.isfinite(value) for value in found.values())
    assert_close(found, oracle.features(packets, protocol))


def test_columns_are_named_as_in_the_contract() -> None:
    assert list(features(timed([1000]))) == list(CIC_FEATURES)
    assert len(CIC_FEATURES) == len(set(CIC_FEATURES)) == 77


def test_one_packet_has_no_gaps_rates_or_backward_window() -> None:
    found = features([Packet(7, 300, 20, SYN | PSH, 1024, 0)])
    assert_same([Packet(7, 300, 20, SYN | PSH, 1024, 0)])
    assert all(found[name] == 0 for name in CIC_FEATURES if "IAT" in name or "/s" in name or "Rate" in name)
    assert (found["Init_Win_bytes_forward"], found["Init_Win_bytes_backward"]) == (1024, -1)


def test_a_flow_without_duration_has_rates_of_zero() -> None:
    packets = [Packet(10**18, 100, 8, 0, 0, i % 2) for i in range(6)]
    assert_same(packets, 17)
    assert features(packets, 17)["Flow Bytes/s"] == features(packets, 17)["Bwd Packets/s"] == 0


def test_everything_after_the_first_packet_may_go_backward() -> None:
    assert_same([Packet(i * 1500, 0 if i == 0 else 1448, 32, ACK, 100 + i, int(i > 0)) for i in range(40)])


def test_each_flag_is_counted_under_its_own_name_and_direction() -> None:
    packets = [Packet(bit, 0, 20, 1 << bit, 0, backward) for bit in range(8) for backward in range(min(bit, 1) + 1)]
    found = features(packets)
    assert [found[f"{name} Flag Count"] for name in ("FIN", "SYN", "RST", "PSH", "ACK", "URG", "ECE", "CWE")] == [
        1,
        2,
        2,
        2,
        2,
        2,
        2,
        2,
    ]
    assert [found[f"{side} {name} Flags"] for side in ("Fwd", "Bwd") for name in ("PSH", "URG")] == [1, 1, 1, 1]


def test_windows_are_those_of_the_first_packet_of_either_side_and_none_without_tcp() -> None:
    packets = [Packet(i, 0, 20, ACK, 10 + i, i % 2) for i in range(5)]
    found = features(packets)
    assert (found["Init_Win_bytes_forward"], found["Init_Win_bytes_backward"]) == (10, 11)
    assert features(packets, 17)["Init_Win_bytes_forward"] == features(packets, 17)["Init_Win_bytes_backward"] == -1


def test_bulks_by_hand() -> None:
    """Five forward packets 0.1 s apart; then three, a pause of two seconds, four; then three that a backward one cuts
    off from the fourth."""
    tenth, ts, packets = SECOND // 10, 0, []
    for gap, payload, backward in [
        *[(tenth, 100, 0)] * 5,
        *[(tenth, 1, 1), (tenth, 0, 1)],
        *[(tenth, 10, 0)] * 3,
        *[(2 * SECOND, 10, 0), *[(tenth, 10, 0)] * 3],
        *[(tenth, 1, 1), (tenth, 7, 0), (tenth, 0, 1), (tenth, 7, 0), (tenth, 7, 0), (tenth, 1, 1), (tenth, 7, 0)],
    ]:
        ts += gap
        packets.append(Packet(ts, payload, 20, ACK, 0, backward))
    found = features(packets)
    assert (found["Fwd Avg Bytes/Bulk"], found["Fwd Avg Packets/Bulk"]) == (540 / 2, 9 / 2)
    assert found["Fwd Avg Bulk Rate"] == pytest.approx(540 / 0.7)
    assert found["Bwd Avg Packets/Bulk"] == 0
    assert_same(packets)


def test_subflows_active_and_idle_by_hand() -> None:
    """Active for 3 s, idle for 6 s, a lone packet, idle for 8 s, active for 2 s until the end: only the first period
    counts."""
    packets = timed([1 * SECOND, 2 * SECOND, 6 * SECOND, 8 * SECOND, 2 * SECOND])
    found = features(packets)
    assert (found["Active Mean"], found["Active Std"], found["Active Max"], found["Active Min"]) == (3e6, 0, 3e6, 3e6)
    assert (found["Idle Mean"], found["Idle Max"], found["Idle Min"]) == (7e6, 8e6, 6e6)
    assert found["Idle Std"] == pytest.approx(math.sqrt(2) * 1e6)
    # a gap of exactly a second is inside
    assert (found["Subflow Fwd Packets"], found["Subflow Fwd Bytes"]) == (6 / 5, 600 / 5)


NASTY = {
    "a beacon of a minute with a microsecond's jitter": lambda g: 60 * SECOND + g.integers(-1000, 1000, 9_999),
    "a handshake, then that beacon": lambda g: np.concatenate(
        [[100_000], 60 * SECOND + g.integers(-1000, 1000, 9_998)]
    ),
    "hours, then microseconds": lambda g: np.concatenate([[11 * 3600 * SECOND], g.integers(500, 1500, 9_998)]),
    "microseconds, then hours": lambda g: np.concatenate([g.integers(500, 1500, 9_998), [11 * 3600 * SECOND]]),
    "equal gaps but one": lambda g: np.concatenate([np.full(9_998, 7 * SECOND), [7 * SECOND + 1]]),
    "every magnitude": lambda g: (10 ** g.uniform(0, 12, 9_999)).astype(np.int64),
}


@pytest.mark.parametrize("name", NASTY)
def test_ten_thousand_packets_keep_nine_digits(name: str) -> None:
    g = np.random.default_rng(3)
    length = g.choice([1447, 1448], 10_000, p=[0.001, 0.999])
    packets = [
        packet._replace(payload=int(length[i]) * int(i % 5 != 3), backward=int(i % 50 > 30), flags=int(g.integers(256)))
        for i, packet in enumerate(timed(NASTY[name](g).tolist()))
    ]
    assert_same(packets)


@njit
def _drive(rows: Any, flow: Any, ts: Any, payload: Any, header: Any, flags: Any, win: Any, backward: Any) -> None:
    for i in range(len(rows)):
        begin(rows[i])
    for i in range(len(ts)):
        update(rows[flow[i]], ts[i], payload[i], header[i], flags[i], win[i], backward[i])


def test_small_integer_types_in_a_compiled_loop_over_mixed_flows() -> None:
    """As the extractor calls it: flows take turns, columns have the types of packets."""
    g = np.random.default_rng(5)
    n, n_flows = 2000, 30
    flow = np.concatenate([np.arange(n_flows), g.integers(0, n_flows, n - n_flows)]).astype(np.int32)
    ts = 1_700_000_000 * SECOND + np.cumsum(g.integers(0, 10**8, n))
    payload, header = g.integers(0, 65_536, n).astype(np.uint16), g.choice([0, 8, 20, 60], n).astype(np.uint8)
    flags, win = g.integers(0, 256, n).astype(np.uint8), g.integers(0, 65_536, n).astype(np.uint16)
    backward = (g.random(n) < 0.5) & (np.arange(n) >= n_flows)
    rows = np.empty((n_flows, N_ACCUMULATORS))
    _drive(rows, flow, ts, payload, header, flags, win, backward)
    protocol = g.choice([1, 6, 17], n_flows).astype(np.uint8)
    columns = cic_features(rows, protocol)
    for at in range(n_flows):
        mine = [
            Packet(*(int(column[i]) for column in (ts, payload, header, flags, win, backward)))
            for i in np.flatnonzero(flow == at)
        ]
        assert_close(
            dict(zip(CIC_FEATURES, columns[at].tolist(), strict=True)), oracle.features(mine, int(protocol[at]))
        )


def test_three_hundred_thousand_packets_keep_nine_digits() -> None:
    """The first gap is far from the others, around which squares are summed: without a correction seven digits would be
    left."""
    g = np.random.default_rng(0)
    n = 300_000
    gaps = np.concatenate([[1000], 60_000_000 + g.integers(-50, 50, n - 2)])
    same = np.zeros(n, np.int64)
    rows = np.empty((1, N_ACCUMULATORS))
    _drive(rows, same, 10**18 + np.cumsum(np.concatenate([[0], gaps])), same, same, same, same, same)
    found = dict(zip(CIC_FEATURES, cic_features(rows, np.array([17]))[0].tolist(), strict=True))
    for name, value in oracle.spread(gaps.tolist(), 1000).items():
        assert found[f"Flow IAT {name}"] == pytest.approx(value, rel=1e-9)


def test_lengths_that_hardly_differ_keep_nine_digits() -> None:
    packets = [
        packet._replace(payload=65_000 + (i % 3000 == 7), backward=int(i % 5 > 2))
        for i, packet in enumerate(timed([20_000] * 9_999))
    ]
    assert_same(packets)


def published(header: str, rows: str | None = None) -> list[dict[str, str]]:
    """Rows of a CSV sample; some samples have their header in another file."""
    tables = []
    for name in (header, rows or header):
        with (SHARED_DATA / "csv_samples" / name).open(encoding="latin1", newline="") as file:
            tables.append(list(csv.reader(file)))
    names = [text.strip() for text in tables[0][0]]
    return [dict(zip(names, row, strict=True)) for row in tables[1][rows is None :]]


def differing(found: dict[str, float], row: dict[str, str]) -> dict[str, tuple[float, float]]:
    """Features whose published value (10 digits) is another: name → (ours, published)."""
    pairs = {name: (found[name], float(row[name])) for name in CIC_FEATURES if name in row}
    assert len(pairs) >= 76
    return {name: pair for name, pair in pairs.items() if not math.isclose(*pair, rel_tol=1e-8)}


@needs_shared_data
def test_published_rows_of_cicddos2019_differ_where_the_documentation_says() -> None:
    """Two UDP packets of one direction each: the row says all there is to know of them."""
    rows = published("cic_ddos2019_03-11_Portmap.csv")
    assert len(rows) == 6
    for row in rows:
        duration, length = int(row["Flow Duration"]), int(float(row["Fwd Packet Length Max"]))
        assert (row["Total Fwd Packets"], row["Total Backward Packets"], row["Fwd Packet Length Std"]) == (
            "2",
            "0",
            "0.0",
        )
        found = features([Packet(10**18 + 1000 * ts, length, 8, 0, 0, 0) for ts in (0, duration)], 17)
        expected = {
            "Fwd Header Length": (16, 40),
            "min_seg_size_forward": (8, 20),
            "Average Packet Size": (length, 1.5 * length),
            "act_data_pkt_fwd": (2, 1),
        }
        if duration == 0:
            expected |= {"Flow Bytes/s": (0, math.inf), "Flow Packets/s": (0, math.inf)}
        assert differing(found, row) == expected


@needs_shared_data
def test_published_rows_of_cicids2017_differ_where_the_documentation_says() -> None:
    """Two TCP packets each: two forward ones without payload, and one each way with six bytes (of Ethernet's
    padding)."""
    acknowledgements = published(
        "cic_ids2017_GeneratedLabelledFlows_header_assembled.csv",
        "cic_ids2017_GeneratedLabelledFlows_rows_noheader.csv",
    )[0]
    assert acknowledgements["Total Fwd Packets"] == "2"
    packets = [Packet(0, 0, 32, ACK, 681, 0), Packet(113_000, 0, 32, ACK, 681, 0)]
    assert differing(features(packets), acknowledgements) == {"ACK Flag Count": (2, 1)}

    both_ways = published("cic_ids2017_MachineLearningCVE_wednesday.csv")[0]
    packets = [Packet(0, 6, 20, FIN | ACK, 255, 0), Packet(38_308_000, 6, 20, ACK, 946, 1)]
    assert differing(features(packets), both_ways | {"Protocol": "6"}) == {
        "Average Packet Size": (6, 9),
        "FIN Flag Count": (1, 0),
        "ACK Flag Count": (2, 1),
        "URG Flag Count": (0, 1),
        "act_data_pkt_fwd": (1, 0),
    }


def test_the_documentation_has_a_row_for_each_feature_in_order() -> None:
    lines = (ROOT / "docs" / "features.md").read_text(encoding="utf-8").splitlines()
    rows = [line.split("|")[1].strip().strip("`") for line in lines if line.startswith("| `")]
    assert tuple(rows) == CIC_FEATURES


PCAPS = (
    "iot_home/benign_HueBridge.pcap",
    "iot_home/attack_ssh_bruteforce.pcap",
    "enterprise_windows/lab_lateral.pcap",
    "ics_scada/lemay_send_a_fake_command_modbus_6RTU_with_operate.pcap",
    "cicddos2019_slice/webddos_20181201.pcap",
)


def packets_of(path: Path) -> Iterator[tuple[frozenset[tuple[bytes, int]], tuple[bytes, int], int, Packet]]:
    """(endpoints, sender, protocol, packet) of the unfragmented IPv4 packets of an Ethernet capture; lengths are those
    of the packets' headers."""
    with path.open("rb") as file:
        for seconds, frame in dpkt.pcap.Reader(file):
            ip = dpkt.ethernet.Ethernet(frame).data
            if not isinstance(ip, dpkt.ip.IP) or ip.offset:
                continue
            segment, left = ip.data, ip.len - ip.hl * 4
            ports, header, flags, win = (0, 0), 0, 0, 0
            if isinstance(segment, dpkt.tcp.TCP):
                ports, header, flags, win = (
                    (segment.sport, segment.dport),
                    segment.off * 4,
                    segment.flags & 0xFF,
                    segment.win,
                )
            elif isinstance(segment, dpkt.udp.UDP):
                ports, header = (segment.sport, segment.dport), 8
            packet = Packet(round(float(seconds) * 1e6) * 1000, left - header, header, flags, win, 0)
            yield frozenset([(ip.src, ports[0]), (ip.dst, ports[1])]), (ip.src, ports[0]), ip.p, packet


@needs_shared_data
@pytest.mark.parametrize("name", PCAPS)
def test_flows_of_real_captures_have_the_features_of_the_oracle(name: str) -> None:
    begun: dict[tuple[frozenset[tuple[bytes, int]], int], tuple[tuple[bytes, int], list[Packet]]] = {}
    for endpoints, sender, protocol, packet in packets_of(SHARED_DATA / "domains" / name):
        initiator, flow = begun.setdefault((endpoints, protocol), (sender, []))
        flow.append(packet._replace(backward=int(sender != initiator)))
    assert len(begun) > 10
    for (_, protocol), (_, flow) in begun.items():
        assert_same(sorted(flow, key=lambda packet: packet.ts), protocol)
