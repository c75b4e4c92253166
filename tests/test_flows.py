"""Flow assembly and features against slow plain-Python versions of their definitions."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from datasets_registry.capture import extract, reader
from datasets_registry.capture.addresses import texts
from datasets_registry.capture.assemble import FileFlows
from datasets_registry.capture.cicflowmeter import N_ACCUMULATORS, begin, update
from datasets_registry.capture.features import flow_features
from datasets_registry.capture.reader import read_capture
from datasets_registry.capture.rules import TCP_CLOSE, FlowRules
from janus_bench.columns import BIT_OF, FLOW_FEATURES, MAX_PACKETS
from janus_bench.errors import UsageError
from tests import flow_oracle as oracle
from tests import pcap_builders as build
from tests.memory_flows import read_flows, taken

DATA = Path(__file__).resolve().parents[1].parent / "shared" / "data"
needs_data = pytest.mark.skipif(not DATA.is_dir(), reason=f"no real captures at {DATA}")
S = 10**9
RULES = FlowRules()


def flows_of(tmp_path: Path, packets: list[tuple[int, bytes]], rules: FlowRules = RULES) -> FileFlows:
    path = tmp_path / "x.pcap"
    path.write_bytes(build.pcap(packets, link=228, ns=True))
    return read_flows(path, rules)[1]


def udp(src: int, dst: int, sport: int = 1, dport: int = 2, length: int = 0) -> bytes:
    return build.ipv4(f"10.0.0.{src}", f"10.0.0.{dst}", build.UDP, build.udp(sport, dport, bytes(length)))


def check_against_oracle(flows: FileFlows, expected: list[oracle.Flow]) -> None:
    """Every flow and every stored packet."""
    assert len(flows) == len(expected)
    rest = flows.keys[:, 4].astype(np.int64)
    lower, upper = texts(rest >> 40, flows.keys[:, :2]), texts(rest >> 40, flows.keys[:, 2:4])
    for i, flow in enumerate(expected):
        head, rows = flow.packets[0], flow.stored()
        ends = [(lower[i], int(rest[i] >> 16 & 0xFFFF)), (upper[i], int(rest[i] & 0xFFFF))]
        src, dst = ends[::-1] if flows.swapped[i] else ends
        assert (*src, *dst, int(rest[i] >> 32 & 0xFF)) == head.tuple5
        assert (flows.first[i], flows.last[i], flows.n_packets[i]) == (head.ts, flow.packets[-1].ts, len(flow.packets))
        stored = slice(int(flows.offsets[i]), int(flows.offsets[i + 1]))
        assert flows.size[stored].tolist() == [row["size"] for row in rows]
        assert flows.win[stored].tolist() == [row["win"] for row in rows]
        assert flows.iat[stored].tolist() == [np.float32(row["iat"]) for row in rows]
        assert flows.bits[stored].tolist() == [
            sum(int(row[name]) << bit for name, bit in BIT_OF.items()) for row in rows
        ]


def test_idle_timeout_splits_after_more_than_the_timeout(tmp_path):
    times = [0, 120 * S, 240 * S + 1, 241 * S]
    flows = flows_of(tmp_path, [(t, udp(1, 2)) for t in times])
    assert flows.first.tolist() == [0, 240 * S + 1]
    assert flows.n_packets.tolist() == [2, 2]
    assert len(flows_of(tmp_path, [(t, udp(1, 2)) for t in times], FlowRules(idle_timeout_s=0.5))) == 4


def test_active_timeout_starts_a_new_flow_after_more_than_the_timeout(tmp_path):
    flows = flows_of(tmp_path, [(i * 5 * S, udp(1, 2)) for i in range(6)], FlowRules(active_timeout_s=10.0))
    assert flows.first.tolist() == [0, 15 * S]
    assert flows.n_packets.tolist() == [3, 3]


def test_cicflowmeter_ends_a_flow_at_a_fin_that_is_not_its_first_packet(tmp_path):
    a, b = "10.0.0.1", "10.0.0.2"

    def packet(flags: int, back: bool = False) -> bytes:
        return build.ipv4(b, a, 6, build.tcp(80, 5, flags)) if back else build.ipv4(a, b, 6, build.tcp(5, 80, flags))

    sent = [
        packet(build.SYN),
        packet(build.RST),
        packet(build.FIN),
        packet(build.FIN, back=True),
        packet(build.ACK),
        packet(build.FIN | build.ACK),
    ]
    frames = [(i * 1000_000, data) for i, data in enumerate(sent)] + [(S, packet(build.SYN))]
    flows = flows_of(tmp_path, frames, FlowRules(tcp_close="cicflowmeter"))
    assert flows.n_packets.tolist() == [3, 3, 1]
    assert flows.swapped.tolist() == [False, True, False]
    assert flows_of(tmp_path, frames).n_packets.tolist() == [7]


@pytest.mark.parametrize(
    ("gaps", "copies"),
    [([0], 1), ([3], 1), ([100], 1), ([101], 0), ([3, 3], 1), ([3, 3, 3], 2), ([-3], 1)],
)
def test_a_mirrored_packet_is_one_that_follows_its_equal_within_the_window(tmp_path, gaps, copies):
    times = np.cumsum([S, *(gap * 1000 for gap in gaps)]).tolist()
    path = tmp_path / "x.pcap"
    path.write_bytes(build.pcap([(t, udp(1, 2)) for t in times], link=228, ns=True))
    scan, flows = read_flows(path, RULES)
    assert (scan.mirrored, scan.used, scan.noted.get("mirrored", 0), flows.n_packets.tolist()) == (
        copies,
        len(times),
        copies,
        [len(times)],
    )
    scan, flows = read_flows(path, FlowRules(remove_mirrored=True))
    assert (scan.mirrored, scan.used, scan.dropped.get("mirrored", 0)) == (copies, len(times) - copies, copies)
    assert flows.n_packets.tolist() == [len(times) - copies]


def test_only_copies_with_an_identification_tell_a_copy_from_a_sender_that_repeats_itself(tmp_path):
    numbered = udp(1, 2)
    frames = [numbered, numbered[:4] + bytes(2) + numbered[6:], build.ipv6("::1", "::2", 17, build.udp(1, 2))]
    path = tmp_path / "x.pcap"
    path.write_bytes(build.pcap([(i * S, frame) for i, frame in enumerate(frames) for _ in range(2)], link=101))
    scan = read_flows(path, RULES)[0]
    assert (scan.mirrored, scan.identified, scan.noted) == (3, 1, {"mirrored": 3, "mirrored_without_id": 2})
    assert read_flows(path, FlowRules(remove_mirrored=True))[0].noted == {}


def test_packets_that_differ_in_any_captured_ip_byte_are_not_mirrored_and_the_link_layer_does_not_matter(tmp_path):
    packet = udp(1, 2, length=30)
    path = tmp_path / "x.pcap"
    for changed in range(len(packet)):
        other = packet[:changed] + bytes([packet[changed] ^ 1]) + packet[changed + 1 :]
        path.write_bytes(build.pcap([(0, packet), (1000, other)], link=228, ns=True))
        assert read_capture(path).mirrored == 0
    frames = [build.ethernet(packet), build.ethernet(packet, tags=[(0x8100, 7)]) + bytes(9)]
    path.write_bytes(build.pcap([(0, frames[0]), (1000, frames[1])], ns=True))
    assert read_capture(path).mirrored == 1


def test_mirrored_packets_in_two_chunks_of_the_file_are_found(tmp_path, monkeypatch):
    monkeypatch.setattr(reader, "CHUNK", 1 << 19)
    path = tmp_path / "x.pcap"
    path.write_bytes(
        build.pcap([(S * (i // 2), udp(1, 2, sport=i // 2, length=1300)) for i in range(3000)], link=228, ns=True)
    )
    scan, flows = read_flows(path, FlowRules(remove_mirrored=True))
    assert scan.mirrored == scan.used == len(flows) == 1500


@pytest.mark.parametrize(
    "wrong",
    [
        {"idle_timeout_s": 0},
        {"idle_timeout_s": float("nan")},
        {"active_timeout_s": -1.0},
        {"tcp_close": "fin"},
        {"idle_timeout_s": 1e12},
    ],
)
def test_rules_that_make_no_sense_are_one_line(wrong):
    with pytest.raises(UsageError, match=r"must be a number|choose one of idle, cicflowmeter"):
        FlowRules(**wrong)


def test_a_capture_longer_than_the_window_in_any_order(tmp_path, monkeypatch):
    """Late by less than the window, and two captures appended: the second is read again and sorted as a whole."""
    for name, value in (("WINDOW", 256), ("HOLD", 64), ("SESSIONS", 16), ("FLOWS", 64)):
        monkeypatch.setattr(extract, name, value)
    frames = [(S * (i + (i * 7) % 20), udp(1 + i % 5, 200, sport=1 + i // 97, length=i % 50)) for i in range(4000)]
    for packets in (frames, frames[2000:] + frames[:2000]):
        flows = flows_of(tmp_path, packets)
        check_against_oracle(flows, oracle.assemble(oracle.read(tmp_path / "x.pcap")[0], RULES))
    assert len(flows) > 100


def test_memory_does_not_grow_with_a_capture_whose_flows_end(tmp_path, monkeypatch):
    """Four times the packets: the tables stay as they are."""
    monkeypatch.setattr(extract, "HOLD", 128)
    sizes = []
    for n in (10_000, 40_000):
        path = tmp_path / "x.pcap"
        packets = [udp(1, 2, sport=flow) for flow in range(n // 4)]
        path.write_bytes(build.pcap([(i * S // 100, packets[i // 4]) for i in range(n)], link=228))
        for window in (0, 1024):
            tables = extract.Assembly(RULES, [], 1 << 24, whole=True, window=window)
            reader.scan_file(path, tables)
            tables.finish()
            sizes.append(
                (
                    len(tables.flows.rows),
                    len(tables.flows.heads),
                    len(tables.packets.ts),
                    len(tables.sessions.rows),
                    tables.whole.shape,
                )
            )
    assert sizes[:2] == sizes[2:]


def test_initiator_is_the_sender_of_the_first_packet(tmp_path):
    flows = flows_of(tmp_path, [(0, udp(9, 1)), (1, udp(1, 9, 2, 1)), (200 * S, udp(1, 9, 2, 1)), (200 * S, udp(9, 1))])
    assert flows.swapped.tolist() == [True, False]
    assert (flows.bits & 1).tolist() == [0, 1, 0, 1]


def test_first_64_packets_are_kept_and_all_are_counted(tmp_path):
    flows = flows_of(tmp_path, [(i * 2000 + i, udp(1, 2, length=i)) for i in range(100)] + [(S, udp(3, 4))])
    assert flows.n_packets.tolist() == [100, 1]
    assert np.diff(flows.offsets).tolist() == [MAX_PACKETS, 1]
    assert flows.size.tolist() == [28 + i for i in range(64)] + [28]
    assert flows.iat.tolist() == [0.0] + [np.float32(2.001)] * 63 + [0.0]
    assert flows.last[0] == 99 * 2001


def test_packets_out_of_order_are_taken_in_time_order_and_counted(tmp_path):
    shuffled = [
        (3000, udp(1, 2, length=3)),
        (1000, udp(2, 1, 2, 1, length=1)),
        (3000, udp(1, 2, length=4)),
        (2000, udp(1, 2, length=2)),
    ]
    flows = flows_of(tmp_path, shuffled)
    assert read_capture(tmp_path / "x.pcap").out_of_order == 2
    assert flows.size.tolist() == [29, 30, 31, 32]
    assert flows.iat.tolist() == [0, 1, 1, 0]
    assert (flows.bits & 1).tolist() == [0, 1, 1, 1]


def test_no_packets_no_flows(tmp_path):
    flows = flows_of(tmp_path, [])
    assert len(flows) == 0
    assert flows.offsets.tolist() == [0]
    assert flow_features(flows.offsets, flows.size, flows.iat, flows.bits).shape == (0, 20)


def test_take_keeps_the_packets_of_each_flow(tmp_path):
    flows = flows_of(tmp_path, [(i * 1000, udp(1, 2 + i % 5, length=i)) for i in range(400)])
    index = np.array([3, 0, 3])
    some = taken(flows, index)
    for new, old in enumerate(index):
        assert (
            some.size[some.offsets[new] : some.offsets[new + 1]].tolist()
            == flows.size[flows.offsets[old] : flows.offsets[old + 1]].tolist()
        )
    assert some.n_packets.tolist() == [80, 80, 80]
    assert some.first.tolist() == [3000, 0, 3000]


packet = st.tuples(
    st.integers(0, 400 * S),
    st.integers(1, 3),
    st.integers(1, 3),
    st.integers(1, 2),
    st.integers(1, 2),
    st.sampled_from([1, 6, 17]),
    st.integers(0, 255),
)


rules = st.builds(
    FlowRules,
    idle_timeout_s=st.sampled_from([120.0, 3.0]),
    active_timeout_s=st.sampled_from([None, 10.0, 150.0]),
    tcp_close=st.sampled_from(TCP_CLOSE),
    remove_mirrored=st.booleans(),
)


@settings(max_examples=300, deadline=None)
@given(st.lists(packet, max_size=80), st.integers(0, 3), rules, st.booleans())
def test_any_mixture_of_packets_agrees_with_the_oracle(tmp_path_factory, drawn, disorder, rules, tight):
    """``disorder``: packets are late by up to so many places, 3: anywhere; ``tight``: tables so small that they are
    emptied all the time."""
    if disorder < 3:
        drawn = [
            drawn
            for _, drawn in sorted(
                enumerate(sorted(drawn)), key=lambda numbered: numbered[0] + numbered[1][0] % (disorder + 1)
            )
        ]
    frames = []
    for ts, src, dst, sport, dport, protocol, flags in drawn:
        frames.append(
            (ts, build.ipv4(f"10.0.0.{src}", f"10.0.0.{dst}", protocol, build.tcp(sport, dport, flags, flags * 200)))
        )
    path = tmp_path_factory.getbasetemp() / "mixture.pcap"
    path.write_bytes(build.pcap(frames, link=228, ns=True))
    expected = oracle.assemble(oracle.read(path)[0], rules)
    with pytest.MonkeyPatch.context() as patch:
        for name, value in (("WINDOW", 16), ("HOLD", 5), ("SESSIONS", 4), ("FLOWS", 3)) if tight else ():
            patch.setattr(extract, name, value)
        check_against_oracle(read_flows(path, rules)[1], expected)


def feature_table(flows: FileFlows) -> np.ndarray:
    return flow_features(flows.offsets, flows.size, flows.iat, flows.bits)


def rows_of(flows: FileFlows, i: int) -> list[dict[str, float]]:
    rows = []
    for at in range(int(flows.offsets[i]), int(flows.offsets[i + 1])):
        rows.append(
            {
                "size": int(flows.size[at]),
                "iat": float(flows.iat[at]),
                **{name: int(flows.bits[at]) >> bit & 1 for name, bit in BIT_OF.items()},
            }
        )
    return rows


@settings(max_examples=100, deadline=None)
@given(
    st.lists(
        st.lists(
            st.tuples(st.integers(20, 65535), st.floats(0, 1.2e8, width=32), st.integers(0, 63)),
            min_size=1,
            max_size=64,
        ),
        max_size=8,
    )
)
def test_features_agree_with_their_definitions(drawn):
    offsets = np.cumsum([0, *(len(flow) for flow in drawn)])
    size, iat, bits = (
        np.array([packet[k] for flow in drawn for packet in flow], dtype)
        for k, dtype in enumerate((np.uint16, np.float32, np.uint8))
    )
    got = flow_features(offsets, size, iat, bits)
    for i, flow in enumerate(drawn):
        rows = [
            {"size": s, "iat": float(np.float32(t)), **{name: b >> bit & 1 for name, bit in BIT_OF.items()}}
            for s, t, b in flow
        ]
        want = oracle.features(rows)
        for name, value in zip(FLOW_FEATURES, got[i], strict=True):
            # Absolute: a standard deviation that is 0 in theory keeps the rounding error of the mean, about 1e-8 of a
            # gap of 1e8 µs.
            assert value == pytest.approx(want[name], rel=1e-9, abs=1e-7), name


def test_features_of_a_hand_computed_flow(tmp_path):
    a, b = "10.0.0.1", "10.0.0.2"
    frames = [
        (0, build.ipv4(a, b, 6, build.tcp(5, 80, build.SYN))),
        (3000, build.ipv4(b, a, 6, build.tcp(80, 5, build.SYN | build.ACK))),
        (4000, build.ipv4(a, b, 6, build.tcp(5, 80, build.PSH | build.ACK, payload=bytes(60)))),
        (9000, build.ipv4(b, a, 6, build.tcp(80, 5, build.FIN | build.RST))),
    ]
    features = dict(zip(FLOW_FEATURES, feature_table(flows_of(tmp_path, frames))[0], strict=True))
    raw = {
        "log_duration": 9,
        "n_packets": 4,
        "n_fwd": 2,
        "n_bwd": 2,
        "bytes_fwd": 140,
        "bytes_bwd": 80,
        "size_mean": 55,
    }
    raw |= {"size_std": math.sqrt(3 * 15**2 + 45**2) / 2, "size_min": 40, "size_max": 100}
    raw |= {"iat_mean": 3, "iat_std": math.sqrt((0 + 4 + 4) / 3), "iat_min": 1, "iat_max": 5}
    raw |= {"count_syn": 2, "count_fin": 1, "count_rst": 1, "count_psh": 1, "count_ack": 2}
    assert features == pytest.approx({name: math.log1p(value) for name, value in raw.items()} | {"down_up_ratio": 1.0})


@needs_data
@pytest.mark.parametrize(
    "name",
    [
        "domains/iot_home/benign_Aria.pcap",
        "domains/mobile_voice/attack_mal_mswab-yayih.pcap",
        "domains/mobile_voice/attack_ddos_amp_dns_RRSIG_fragmented.pcap",
        "domains/ics_scada/qut_s7_control.pcap",
        "domains/enterprise_windows/lab_scan_misc.pcap",
        "odd_pcaps/fuzz__pcap_fuzz-2006-06-26-2594.pcap",
        "odd_pcaps/fuzz__pcap_fuzz-2020-02-16-11740.pcap",
        "odd_pcaps/sliced__communityid_tcp.pcap",
    ],
)
def test_flows_and_features_of_real_captures_agree_with_the_oracle(name):
    flows = read_flows(DATA / name, RULES)[1]
    expected = oracle.assemble(oracle.read(DATA / name)[0], RULES)
    check_against_oracle(flows, expected)
    table = feature_table(flows)
    for i in range(len(flows)):
        want = oracle.features(rows_of(flows, i))
        assert table[i].tolist() == pytest.approx([want[feature] for feature in FLOW_FEATURES], rel=1e-9, abs=1e-7)


HEADERS = {6: 20, 17: 8, 1: 0}


def frames_of_hosts(seed: int) -> list[tuple[int, int, list[int], bytes]]:
    """(ts, sender, [payload, transport header, TCP flags, window], Ethernet frame) of four hosts, by every way through
    the decoder."""
    noise, frames = np.random.default_rng(seed), []
    for i in range(400):
        src, dst = (int(host) for host in noise.permutation(4)[:2] + 1)
        kind, flags, payload = int(noise.integers(5)), int(noise.integers(256)), bytes(int(noise.integers(40)))
        protocol = 17 if kind == 0 else 1 if kind == 1 else 6
        segment = (
            build.udp(src, dst, payload)
            if kind == 0
            else payload
            if kind == 1
            else build.tcp(src, dst, flags, 500, payload)
        )
        if kind == 2:
            packet = build.ipv6(f"::{src}", f"::{dst}", protocol, segment)
        else:
            packet = build.ipv4(
                f"10.0.0.{src}", f"10.0.0.{dst}", protocol, segment, options=bytes(8 if kind == 3 else 0)
            )
        macs = bytes([2, 0, 0, 0, 0, dst, 2, 0, 0, 0, 0, src])
        whole = [len(payload), HEADERS[protocol], *((flags, 500) if protocol == 6 else (0, 0))]
        frames.append((i * S // 10, src, whole, macs + (b"\x86\xdd" if kind == 2 else b"\x08\0") + packet))
    return frames


def any_order(tmp_path: Path, order: str) -> FileFlows:
    """The flows of ``frames_of_hosts``; appended: the captures' second half comes first."""
    frames = [(ts, frame) for ts, _, _, frame in frames_of_hosts(1)]
    if order != "in order":
        frames = [*frames[1:], frames[0]] if order == "late" else frames[200:] + frames[:200]
    path = tmp_path / "x.pcap"
    path.write_bytes(build.pcap(frames, ns=True))
    with pytest.MonkeyPatch.context() as patch:
        for name, value in (("WINDOW", 32), ("HOLD", 8)) if order == "appended" else ():
            patch.setattr(extract, name, value)
        return read_flows(path, FlowRules(active_timeout_s=9.0), whole=True)[1]


@pytest.mark.parametrize("order", ["in order", "late", "appended"])
def test_macs_are_those_of_a_flows_first_sender_and_receiver(tmp_path, order):
    flows = any_order(tmp_path, order)
    host = np.where(flows.swapped[:, None], flows.keys[:, [3, 1]], flows.keys[:, [1, 3]]) & np.uint64(0xFF)
    assert len(flows) > 20
    assert flows.macs.tolist() == (host | np.uint64(2 << 40)).tolist()
    assert not flows_of(tmp_path, [(0, udp(1, 2))]).macs.any()


@pytest.mark.parametrize("order", ["in order", "late", "appended"])
def test_accumulators_of_whole_flows_see_every_packet(tmp_path, order):
    """Fed with each flow's packets by hand they are the same, bit by bit."""
    flows = any_order(tmp_path, order)
    packets = [
        (ts, src, whole, oracle.decode(ts, 1, len(frame), frame, "<")) for ts, src, whole, frame in frames_of_hosts(1)
    ]
    rest = flows.keys[:, 4].astype(np.int64)
    assert flows.n_packets.max() > 10
    for i in range(len(flows)):
        row = np.empty(N_ACCUMULATORS)
        begin(row)
        ends = [
            (texts(rest[i : i + 1] >> 40, flows.keys[i : i + 1, at : at + 2])[0], int(rest[i] >> shift & 0xFFFF))
            for at, shift in ((0, 16), (2, 0))
        ]
        initiator = ends[int(flows.swapped[i])]
        for ts, _, (payload, header, flags, win), packet in packets:
            of_flow = flows.first[i] <= ts <= flows.last[i] and packet.proto == rest[i] >> 32 & 0xFF
            if of_flow and {(packet.src, packet.sport), (packet.dst, packet.dport)} == set(ends):
                update(row, ts, payload, header, flags, win, int((packet.src, packet.sport) != initiator))
        np.testing.assert_array_equal(flows.whole[i], row)
    assert taken(flows, np.array([1, 0])).whole.tolist() == flows.whole[[1, 0]].tolist()
