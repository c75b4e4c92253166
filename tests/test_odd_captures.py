"""Captures that went wrong before: times, lengths, tags, tunnels, packings, ends.  Each is read, or counted by its
name."""

from __future__ import annotations

import gzip
import struct
from pathlib import Path

import numpy as np
import pyarrow
import pytest

from datasets_registry.capture.reader import read_capture
from datasets_registry.capture.rules import FlowRules
from datasets_registry.extraction import CaptureFile, extract_all
from datasets_registry.ingest import ingest_folder
from janus_bench.errors import DataError
from tests import flow_oracle as oracle
from tests import pcap_builders as build
from tests.conftest import SHARED_DATA, needs_shared_data
from tests.test_capture import packets

S = 10**9
A, B = "10.0.0.1", "10.0.0.2"
PACKET = build.ipv4(A, B, build.TCP, build.tcp(40000, 443, build.SYN, 512))
FRAME = build.ethernet(PACKET)
CASES = SHARED_DATA / "cases"


def records(times: list[tuple[int, int]], order: str = "<", magic: int = 0xA1B2C3D4, extra: bytes = b"") -> bytes:
    """A capture with these seconds and fractions as they are; ``extra``: behind the lengths of every record."""
    out = struct.pack(order + "IHHiIII", magic, 2, 4, 0, 0, 65535, 1)
    return out + b"".join(struct.pack(order + "IIII", *time, len(FRAME), len(FRAME)) + extra + FRAME for time in times)


def capture(tmp_path: Path, data: bytes, name: str = "x.pcap"):
    (tmp_path / name).write_bytes(data)
    return read_capture(tmp_path / name)


def report(path: Path) -> dict:
    """What a manifest says of a capture."""
    cache = path.with_name(f"{path.name}.cache")
    cache.mkdir()
    return dict(
        extract_all({path.name: CaptureFile(path, "")}, FlowRules(), cache, 1, lambda *_: None)[path.name].report
    )


# --- times


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("magic", [0xA1B2C3D4, 0xA1B2CD34])
def test_nanoseconds_under_the_magic_number_of_microseconds_are_read_as_such_and_said(tmp_path, order, magic):
    extra = bytes(8) if magic == 0xA1B2CD34 else b""
    # every sixth could be microseconds by itself
    times = [(1_700_000_000 + i // 6, 123 + i % 6 * 1_000_000) for i in range(36)]
    found = capture(tmp_path, records(times, order, magic, extra))
    assert found.packets.ts.tolist() == [seconds * S + fraction for seconds, fraction in times]
    assert (found.dropped, found.noted["nanoseconds_in_a_file_of_microseconds"]) == ({}, 36)
    assert any("read as nanoseconds" in line for line in report(tmp_path / "x.pcap")["warnings"])


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize(
    ("magic", "fractions", "wrong"),
    [
        (0xA1B2C3D4, [0, 999_999, 1_000_000, 5_000_000, 7], 2),  # most are microseconds
        # microseconds that lie before what precedes them
        (0xA1B2C3D4, [*range(1_000_000, 40_000_000, 2_000_000), 500_000, 400_000], 20),
        (0xA1B2C3D4, [2_000_000, 3_000_000, 1_000_000_000], 3),
        (0xA1B2C3D4, [4_294_967_295], 1),
        (0xA1B23C4D, [0, 999_999_999, 1_000_000_000, 4_294_967_295], 2),
    ],
)
def test_fractions_that_cannot_be_are_counted_and_never_believed(tmp_path, order, magic, fractions, wrong):
    unit = 1 if magic == 0xA1B23C4D else 1000
    found = capture(tmp_path, records([(5, fraction) for fraction in fractions], order, magic))
    assert found.dropped == {"bad_timestamp": wrong}
    assert found.packets.ts.tolist() == [5 * S + fraction * unit for fraction in fractions if fraction * unit < S]
    assert (
        f"x.pcap: {wrong} of its {len(fractions)} packets have a time that cannot be, and were left out"
        in report(tmp_path / "x.pcap")["warnings"]
    )


# --- formats and packings


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize(
    "pack", [bytes, gzip.compress, lambda data: pyarrow.compress(data, codec="zstd", asbytes=True)]
)
def test_modified_pcap_in_both_byte_orders_packed_or_not(tmp_path, order, pack):
    times = [(5, 250_000), (6, 7)]
    data = records(times, order, 0xA1B2CD34, struct.pack(order + "IHBB", 2, 0x0800, 4, 0))
    found = capture(tmp_path, pack(data))
    assert packets(found) == oracle.read(tmp_path / "x.pcap")[0]
    assert [(p.ts, p.src, p.dport, p.win) for p in packets(found)] == [
        (5_250_000_000, A, 443, 512),
        (6_000_007_000, A, 443, 512),
    ]
    assert found.format == "pcap (modified)"
    cut = capture(tmp_path, data[:-3], "cut.pcap")
    assert (len(cut.packets.ts), cut.dropped) == (1, {"cut_by_end_of_file": 1})


@pytest.mark.parametrize("number", range(16))
def test_zstd_that_begins_with_a_skippable_frame_is_read(tmp_path, number):
    data = build.pcap([(S, FRAME), (2 * S, FRAME)])
    skipped = struct.pack("<II", 0x184D2A50 + number, 4) + b"\4\0\0\0"
    # as pzstd writes them
    halves = [skipped + pyarrow.compress(half, codec="zstd", asbytes=True) for half in (data[:60], data[60:])]
    for packed in (b"".join(halves), skipped + b"".join(halves) + skipped):
        assert capture(tmp_path, packed).packets.ts.tolist() == [S, 2 * S]


def beginnings() -> list[bytes]:
    whole = [records([(5, 6)], order, magic) for order in "<>" for magic in (0xA1B2C3D4, 0xA1B23C4D, 0xA1B2CD34)]
    whole += [build.section(order) + build.interface(order=order) for order in "<>"]
    return sorted({data[:size] for data in whole for size in (0, 1, 2, 3, 4, 10, 23, 27)})


def test_a_capture_that_ends_before_its_first_packet_is_a_warning_that_names_it(tmp_path):
    (tmp_path / "good.pcap").write_bytes(build.pcap([(S, FRAME)]))
    (tmp_path / "labels.csv").write_text(
        f"file,ts_start,src_ip,src_port,dst_ip,dst_port,proto,label\ngood.pcap,1,{A},40000,{B},443,6,benign\n"
    )
    data = [*beginnings(), gzip.compress(b""), *(gzip.compress(bytes(100))[:size] for size in (2, 9, 11))]
    zstd = pyarrow.compress(build.pcap([(S, FRAME)]), codec="zstd", asbytes=True)
    data += [zstd[:5], zstd[:12], bytes(5), bytes(4096), bytes(3 << 20), gzip.compress(bytes(2 << 20))]
    for number, content in enumerate(data):
        (tmp_path / f"{number}.pcap").write_bytes(content)
    manifest = ingest_folder(tmp_path, tmp_path / "store", name="x")
    assert manifest["n_flows"] == 1
    for number in range(len(data)):
        assert any(line.startswith(f"{number}.pcap: ") for line in manifest["warnings"]), data[number]
    assert not any("good.pcap" in line for line in manifest["warnings"])


# --- lengths


def test_an_ip_length_beyond_the_record_is_noted_and_said(tmp_path):
    lying = [
        build.ethernet(build.ipv4(A, B, protocol, build.udp(5, 6) + bytes(8), total=60_000))
        for protocol in (build.UDP, build.TCP, 47)
    ]
    lying.append(build.ethernet(build.ipv6("::1", "::2", build.UDP, build.udp(5, 6), length=50_000), 0x86DD))
    cut = build.ethernet(build.ipv4(A, B, build.UDP, build.udp(5, 6, bytes(900))))
    found = capture(tmp_path, build.pcap([(S, frame) for frame in [*lying, cut, FRAME]], snaplen=64))
    assert (found.used, found.noted["length_beyond_record"]) == (6, 4)
    assert found.packets.size.tolist() == [60_000, 60_000, 60_000, 50_040, 928, 40]
    assert any(
        "4 of its 6 packets are longer by their IP header" in line for line in report(tmp_path / "x.pcap")["warnings"]
    )


@pytest.mark.parametrize("original", [0, 1, len(FRAME) - 1, 262_145, 0xFFFF_FFFF])
def test_an_original_length_that_cannot_be_is_counted_and_the_captured_one_taken(tmp_path, original):
    no_length = build.ethernet(build.ipv4(A, B, build.TCP, build.tcp(1, 2), total=0))
    classic = build.pcap([])
    for frame in (FRAME, no_length):
        classic += struct.pack("<IIII", 5, 6, len(frame), original) + frame
    blocks = [build.enhanced(5 * 10**6, frame, original=original) for frame in (FRAME, no_length)]
    for data in (classic, build.section() + build.interface() + b"".join(blocks)):
        found = capture(tmp_path, data)
        assert found.noted["odd_original_length"] == 2
        assert found.packets.size.tolist() == [40, 40]
    assert any(
        "2 of its 2 packets have a length on the wire that cannot be" in line
        for line in report(tmp_path / "x.pcap")["warnings"]
    )


def test_what_is_extracted_of_any_decoder_is_finite(tmp_path):
    """Times, lengths and counts at the ends of what the formats can say."""
    frames = [
        FRAME,
        build.ethernet(build.ipv4(A, B, build.TCP, build.tcp(1, 2), total=0)),
        build.ethernet(build.ipv4(A, B, 47, b"", total=65_535)),
    ]
    data = build.pcap([])
    for seconds, fraction in ((0, 0), (0xFFFF_FFFF, 999_999), (0xFFFF_FFFF, 0xFFFF_FFFF), (0, 0)):
        for frame in frames:
            data += struct.pack("<IIII", seconds, fraction, len(frame), 0xFFFF_FFFF) + frame
    for resolution, ticks in ((0, 2**64 - 1), (6, 2**64 - 1), (9, 2**63), (0x80 | 63, 2**64 - 1), (127, 5), (27, 7)):
        blocks = (
            build.section()
            + build.interface(resolution=resolution)
            + b"".join(build.enhanced(ticks, frame) for frame in frames)
        )
        check_finite(tmp_path, blocks)
    check_finite(tmp_path, data)


def check_finite(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "x.pcap"
    path.write_bytes(data)
    cache = tmp_path / "cache"
    cache.mkdir(exist_ok=True)
    shard = extract_all({"x": CaptureFile(path, "")}, FlowRules(), cache, 1, lambda *_: None)["x"]
    for name in ("first", "last", "n_packets", "cic"):
        values = shard.column(name)
        assert np.isfinite(values).all(), name
        assert name == "cic" or (values >= 0).all()
    taken = shard.reader()(np.arange(shard.n_flows))
    assert np.isfinite(taken.packets["iat"]).all()
    assert (taken.packets["iat"] >= 0).all()
    counted = shard.report["dropped"].get("bad_timestamp", 0) + shard.report["noted"].get("odd_original_length", 0)
    assert shard.report["packets"] == shard.report["used"] + sum(shard.report["dropped"].values())
    assert counted > 0 or shard.report["used"] > 0


# --- tags and tunnels


MACS = b"\2" * 12
TAGGED = [
    (0x8909, b"\1\1\0\1\0\5", "cisco_metadata"),
    (0x893F, bytes(6), "e_tag"),
    (0x88E7, bytes(4) + MACS, "provider_backbone"),
    (0x892F, bytes(4), "redundancy_tag"),
    (0xF1C1, bytes(4), "redundancy_tag"),
    (0x6558, MACS, "bridged_ethernet"),
    (0x8926, bytes(4), "vn_tag"),
]


@pytest.mark.parametrize(("kind", "tag", "name"), TAGGED, ids=[f"{kind:#x}" for kind, _, _ in TAGGED])
def test_tags_that_carry_ip_are_read_and_counted_by_name(tmp_path, kind, tag, name):
    vlan = b"\x81\0\0\5"
    v6 = build.ipv6("::1", "::2", build.UDP, build.udp(5, 6))
    frames = [
        MACS + struct.pack(">H", kind) + tag + b"\x08\0" + PACKET,
        MACS + vlan + struct.pack(">H", kind) + tag + b"\x08\0" + PACKET,
        MACS + struct.pack(">H", kind) + tag + vlan + b"\x86\xdd" + v6,
    ]
    found = capture(tmp_path, build.pcap([(S * i, frame) for i, frame in enumerate(frames)]))
    assert [(p.src, p.dst, p.dport) for p in packets(found)] == [(A, B, 443), (A, B, 443), ("::1", "::2", 6)]
    assert (found.dropped, found.noted) == ({}, {name: 3})
    cooked = bytes(14) + struct.pack(">H", kind) + tag + b"\x08\0" + PACKET
    assert capture(tmp_path, build.pcap([(S, cooked)], link=113)).noted == {name: 1}
    short = MACS + struct.pack(">H", kind) + tag
    assert capture(tmp_path, build.pcap([(S, short)])).dropped == {"truncated": 1}


@pytest.mark.parametrize(
    "kind", [0x894F, 0x22F3, 0x8903, 0x22F1, 0xA0ED, 0x876B, 0x880B, 0x4305, 0x88B7, 0x8947, 0xDADA]
)
def test_what_carries_ip_in_ways_that_are_not_read_is_not_called_non_ip(tmp_path, kind):
    assert capture(tmp_path, build.pcap([(S, build.ethernet(PACKET, kind))])).dropped == {
        "unsupported_encapsulation": 1
    }


@pytest.mark.parametrize(
    ("control", "reason"),
    [(0x0C, "encrypted"), (0x2C, "encrypted"), (0x08, "encrypted"), (0x20, "unsupported_encapsulation")],
)
def test_macsec_is_encrypted_unless_it_only_signs(tmp_path, control, reason):
    frame = build.ethernet(bytes([control, 0, 0, 0, 0, 1]) + b"z" * 60, 0x88E5)
    assert capture(tmp_path, build.pcap([(S, frame)])).dropped == {reason: 1}


@pytest.mark.parametrize("kind", [0x0806, 0x88CC, 0x8863, 0x888E, 0x9000, 0x0842])
def test_what_carries_no_ip_is_still_called_so(tmp_path, kind):
    assert capture(tmp_path, build.pcap([(S, build.ethernet(bytes(40), kind))])).dropped == {"non_ip": 1}


PORTS = {
    4789: "vxlan",
    8472: "vxlan",
    2152: "gtp_u",
    6081: "geneve",
    3544: "teredo",
    1701: "l2tp",
    4790: "vxlan_gpe",
    37008: "tzsp",
}


@pytest.mark.parametrize(("port", "name"), PORTS.items())
def test_udp_tunnels_are_noted_by_name(tmp_path, port, name):
    inner = b"\x08" + bytes(7) + FRAME
    frames = [build.ipv4(A, B, build.UDP, build.udp(source, port, inner)) for source in (50_000, 50_001, port)]
    frames += [
        build.ipv4(B, A, build.UDP, build.udp(port, 50_000, inner)),
        build.ipv6("::1", "::2", build.UDP, build.udp(7, port, inner)),
    ]
    frames += [build.ipv4(A, B, build.TCP, build.tcp(50_000, port)), build.ipv4(A, B, build.UDP, build.udp(50_000, 53))]
    (tmp_path / "x.pcap").write_bytes(build.pcap([(S + i, frame) for i, frame in enumerate(frames)], link=101))
    assert report(tmp_path / "x.pcap")["noted"] == {f"tunnel_{name}": 5}


# --- the cases that were handed in


def added(case: str, tmp_path: Path) -> dict:
    return ingest_folder(CASES / case, tmp_path / "store", name="x", stream=True)


@needs_shared_data
@pytest.mark.parametrize(
    ("case", "noted"),
    [
        ("cisco_metadata", {"cisco_metadata": 36}),
        ("e_tag", {"e_tag": 36}),
        ("provider_backbone", {"provider_backbone": 36}),
    ],
)
def test_the_cases_of_ethertypes(tmp_path, case, noted):
    manifest = added(f"ethertypes_called_non_ip/{case}", tmp_path)
    assert (manifest["n_flows"], manifest["packets"]["noted"], manifest["packets"]["dropped"]) == (6, noted, {})
    assert manifest["packets_not_in_stream"] == 0


@needs_shared_data
def test_the_case_of_macsec(tmp_path):
    with pytest.raises(DataError, match=r"no flow in its 1 capture.*encrypted 36"):
        added("ethertypes_called_non_ip/macsec", tmp_path)


@needs_shared_data
@pytest.mark.parametrize(("case", "name"), [("vxlan", "tunnel_vxlan"), ("gtpu", "tunnel_gtp_u")])
def test_the_cases_of_udp_tunnels(tmp_path, case, name):
    manifest = added(f"udp_tunnels/{case}", tmp_path)
    assert (manifest["n_flows"], manifest["packets"]["noted"]) == (1, {name: 36})


@needs_shared_data
def test_the_case_of_fractions_of_nanoseconds(tmp_path):
    manifest = added("classic_fraction_overflow", tmp_path)
    assert manifest["packets"]["noted"] == {"nanoseconds_in_a_file_of_microseconds": manifest["packets"]["used"]}
    assert sum("read as nanoseconds" in line for line in manifest["warnings"]) == 3


@needs_shared_data
def test_the_case_of_an_empty_capture(tmp_path):
    manifest = added("empty_capture", tmp_path)
    assert (manifest["n_flows"], manifest["warnings"]) == (6, ["b.pcap: empty, or cut off before its first packet"])


@needs_shared_data
@pytest.mark.parametrize(("case", "flows", "rows"), [("10ps", 6, 36), ("1ps", 6, 36), ("2pow48", 6, 36)])
def test_the_cases_of_fine_resolutions(tmp_path, case, flows, rows):
    manifest = added(f"stream_fine_resolution/{case}", tmp_path)
    time = np.load(tmp_path / "store" / "stream" / "time.npy")
    assert (manifest["n_flows"], len(time)) == (flows, rows)
