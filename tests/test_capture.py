"""Captures of every supported form, hand-made ones with known contents and real ones against independent readers."""

from __future__ import annotations

import gzip
import random
import socket
import struct
from collections import Counter
from itertools import product
from pathlib import Path

import dpkt
import numpy as np
import pyarrow
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from datasets_registry.capture import reader
from datasets_registry.capture.addresses import parse_address, texts
from datasets_registry.capture.kernels import MIRRORED
from datasets_registry.capture.links import ETHERTYPE
from datasets_registry.capture.reader import Capture, read_capture
from janus_bench.columns import BIT_OF
from janus_bench.errors import DataError
from tests import flow_oracle as oracle
from tests import pcap_builders as build
from tests.link_oracle import LINKS

DATA = Path(__file__).resolve().parents[1].parent / "shared" / "data"
needs_data = pytest.mark.skipif(not DATA.is_dir(), reason=f"no real captures at {DATA}")

T0 = 1_600_000_000 * 10**9 + 123_456_000
A, B, A6, B6 = "10.0.0.1", "192.168.1.9", "2001:db8::1", "fe80::2"
FRAME = build.ethernet(build.ipv4(A, B, build.TCP, build.tcp(40000, 443, build.SYN, 512)))


def captured(tmp_path: Path, data: bytes, name: str = "x.pcap") -> Capture:
    path = tmp_path / name
    path.write_bytes(data)
    return read_capture(path)


def packets(capture: Capture) -> list[oracle.Packet]:
    """The columns of a capture, spelled out as the oracle spells them."""
    rest = capture.keys[:, 4].astype(np.int64)
    lower, upper = texts(rest >> 40, capture.keys[:, :2]), texts(rest >> 40, capture.keys[:, 2:4])
    result = []
    for ts, session, size, win, bits in zip(*capture.packets[:5], strict=True):
        ports = int(rest[session] >> 16 & 0xFFFF), int(rest[session] & 0xFFFF)
        ends = [(lower[session], ports[0]), (upper[session], ports[1])]
        src, dst = ends[::-1] if bits & 1 else ends
        flags = frozenset(name for name, bit in BIT_OF.items() if name != "direction" and bits >> bit & 1)
        result.append(
            oracle.Packet(
                int(ts), *src, *dst, int(rest[session] >> 32 & 0xFF), int(size), int(win), flags, bool(bits & MIRRORED)
            )
        )
    return result


def only(capture: Capture) -> oracle.Packet:
    (packet,) = packets(capture)
    return packet


# --- classic pcap


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("ns", [False, True])
def test_classic_pcap_in_both_resolutions_and_byte_orders(tmp_path, order, ns):
    ts = T0 + (789 if ns else 0)
    back = build.ethernet(build.ipv4(B, A, build.TCP, build.tcp(443, 40000, build.SYN | build.ACK, 64)))
    capture = captured(tmp_path, build.pcap([(ts, FRAME), (ts + 5000, back)], order=order, ns=ns))
    assert packets(capture) == [
        oracle.Packet(ts, A, 40000, B, 443, 6, 40, 512, frozenset({"syn"})),
        oracle.Packet(ts + 5000, B, 443, A, 40000, 6, 40, 64, frozenset({"syn", "ack"})),
    ]
    assert len(capture.keys) == 1
    assert capture.dropped == {}
    assert capture.link_types == (1,)


def test_gzip_is_read_as_what_it_holds(tmp_path):
    data = build.pcap([(T0, FRAME)])
    assert packets(captured(tmp_path, gzip.compress(data), "x.pcap.gz")) == packets(captured(tmp_path, data))


def test_damaged_gzip_yields_what_precedes_the_damage(tmp_path):
    noise = random.Random(1)
    frames = [
        (T0 + i, build.ethernet(build.ipv4(A, B, build.UDP, build.udp(i, 53, noise.randbytes(200)))))
        for i in range(3000)
    ]
    whole = gzip.compress(build.pcap(frames))
    capture = captured(tmp_path, whole[: len(whole) // 2], "x.pcap.gz")
    assert 1000 < len(capture.packets.ts) < 2000
    assert capture.dropped == {"corrupt_compression": 1, "cut_by_end_of_file": 1}
    with pytest.raises(DataError, match="damaged gzip"):
        captured(tmp_path, b"\x1f\x8b garbage", "y.pcap.gz")


def test_zstd_is_read_as_what_it_holds_in_one_frame_or_several(tmp_path):
    data = build.pcap([(T0, FRAME), (T0 + 1000, FRAME)])
    whole = pyarrow.compress(data, codec="zstd", asbytes=True)
    halves = b"".join(pyarrow.compress(half, codec="zstd", asbytes=True) for half in (data[:50], data[50:]))
    for packed in (whole, halves):
        assert packets(captured(tmp_path, packed, "x.pcap.zst")) == packets(captured(tmp_path, data))


def test_damaged_zstd_yields_what_precedes_the_damage(tmp_path):
    noise = random.Random(1)
    frames = [
        (T0 + i, build.ethernet(build.ipv4(A, B, build.UDP, build.udp(i, 53, noise.randbytes(200)))))
        for i in range(3000)
    ]
    whole = pyarrow.compress(build.pcap(frames), codec="zstd", asbytes=True)
    capture = captured(tmp_path, whole[: len(whole) // 2], "x.pcap.zst")
    assert 900 < len(capture.packets.ts) < 2000
    assert capture.dropped == {"corrupt_compression": 1, "cut_by_end_of_file": 1}
    with pytest.raises(DataError, match="damaged zstd"):
        captured(tmp_path, b"\x28\xb5\x2f\xfd garbage", "y.pcap.zst")


def test_file_cut_in_mid_packet_yields_the_packets_before(tmp_path):
    data = build.pcap([(T0, FRAME), (T0 + 1000, FRAME)])
    for cut in range(24 + 16 + len(FRAME) + 1, len(data)):
        capture = captured(tmp_path, data[:cut])
        assert len(capture.packets.ts) == 1
        assert capture.dropped == {"cut_by_end_of_file": 1}


def test_absurd_record_length_ends_the_file(tmp_path):
    good = build.pcap([(T0, FRAME)])
    capture = captured(tmp_path, good + struct.pack("<IIII", 1, 0, 262145, 60) + FRAME)
    assert len(capture.packets.ts) == 1
    assert capture.dropped == {"corrupt_record": 1}


def test_captures_longer_than_the_read_buffer_and_its_first_columns(tmp_path, monkeypatch):
    monkeypatch.setattr(reader, "CHUNK", 1 << 19)
    frames = [
        (T0 + i * 1000, build.ethernet(build.ipv4(A, B, build.UDP, build.udp(i % 5000, 53, bytes(i % 1400)))))
        for i in range(6000)
    ]
    path = tmp_path / "x.pcap"
    path.write_bytes(build.pcap(frames))
    steps: list[int] = []
    capture = read_capture(path, steps.append)
    assert packets(capture) == oracle.read(path)[0]
    assert len(capture.keys) == 5000
    assert sum(steps) == path.stat().st_size > 4 * 2**19


def test_empty_capture_has_no_packets_and_is_no_error(tmp_path):
    for data in (build.pcap([]), build.section() + build.interface()):
        capture = captured(tmp_path, data)
        assert capture.records == len(capture.packets.ts) == 0
        assert capture.dropped == {}


@pytest.mark.parametrize("data", [b"\xd4\xc4", b"\xd4\xc3\xb2\xa2", b"time,src,dst\n1,2,3\n", b"PC\x03\x04\x00\x00"])
def test_what_is_no_capture_is_one_line_with_the_file_and_its_first_bytes(tmp_path, data):
    with pytest.raises(DataError) as error:
        captured(tmp_path, data, "notes.pcap")
    message = str(error.value)
    assert "notes.pcap" in message
    assert "\n" not in message
    assert data[:8].hex(" ") in message


@pytest.mark.parametrize(
    ("data", "what"),
    [
        (b"\xfd7zXZ\0", "compressed with xz"),
        (b"BZh91AY", "compressed with bzip2"),
        (b"PK\3\4", "packed with zip"),
        (b"\0\5\x16\7", "macOS"),
    ],
)
def test_what_is_taken_for_a_capture_is_named(tmp_path, data, what):
    with pytest.raises(DataError, match=rf"x\.pcap: not a capture: it is .*{what}.*; expected pcap"):
        captured(tmp_path, data + bytes(40))


def test_a_missing_file_is_a_data_error(tmp_path):
    with pytest.raises(DataError, match=r"absent\.pcap: cannot be read"):
        read_capture(tmp_path / "absent.pcap")


# --- pcapng


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize(
    ("resolution", "ticks"),
    [(None, 10**6), (6, 10**6), (9, 10**9), (3, 10**3), (10, 10**10), (0x80 | 20, 2**20), (0x80 | 33, 2**33)],
)
def test_pcapng_in_both_byte_orders_and_any_resolution(tmp_path, order, resolution, ticks):
    data = build.section(order) + build.interface(order=order, resolution=resolution)
    data += build.block(0x0BAD, b"unknown blocks are skipped", order) + build.enhanced(
        1_600_000_000 * ticks + ticks // 4, FRAME, order
    )
    packet = only(captured(tmp_path, data))
    assert packet == oracle.Packet(1_600_000_000_250_000_000, A, 40000, B, 443, 6, 40, 512, frozenset({"syn"}))


def test_pcapng_interfaces_sections_and_offsets(tmp_path):
    raw = build.ipv4(A, B, build.UDP, build.udp(5, 53))
    data = build.section() + build.interface() + build.interface(101, resolution=9, offset=3600)
    data += build.enhanced(5 * 10**9, raw, number=1) + build.enhanced(
        7 * 10**6, FRAME, number=0, options=struct.pack("<HHI", 2, 4, 0)
    )
    data += build.enhanced(1, FRAME, number=2)  # there is no such interface
    data += (
        build.section(">") + build.interface(113, ">") + build.enhanced(9 * 10**6, b"\0" * 14 + b"\x08\x00" + raw, ">")
    )
    obsolete = (
        struct.pack(">HHIIII", 0, 77, 0, 10 * 10**6, len(raw) + 16, len(raw) + 16) + b"\0" * 14 + b"\x08\x00" + raw
    )
    data += build.block(2, obsolete, ">") + build.block(3, struct.pack(">I", 20) + b"\0" * 20, ">")
    capture = captured(tmp_path, data, "x.pcapng")
    assert [(p.ts, p.src, p.dport) for p in packets(capture)] == [
        (3605 * 10**9, A, 53),
        (7 * 10**9, A, 443),
        (9 * 10**9, A, 53),
        (10 * 10**9, A, 53),
    ]
    assert capture.dropped == {"no_timestamp": 1, "unknown_interface": 1}
    assert capture.link_types == (1, 101, 113)


def test_pcapng_timestamps_that_do_not_fit_are_dropped(tmp_path):
    data = (
        build.section()
        + build.interface(resolution=0)
        + build.enhanced(2**64 - 1, FRAME)
        + build.enhanced(10**10, FRAME)
    )
    data += (
        build.interface(resolution=80)
        + build.enhanced(1, FRAME, number=1)
        + build.interface(offset=-5)
        + build.enhanced(1, FRAME, number=2)
    )
    capture = captured(tmp_path, data)
    assert capture.dropped == {"bad_timestamp": 4}


def test_pcapng_block_larger_than_the_read_buffer_is_skipped(tmp_path):
    data = build.section() + build.interface() + build.block(0x0BAD, bytes(3 << 20)) + build.enhanced(10**6, FRAME)
    assert only(captured(tmp_path, data)).ts == 10**9
    assert captured(tmp_path, data[: 2 << 20]).dropped == {"cut_by_end_of_file": 1}


@pytest.mark.parametrize(
    "damage", [struct.pack("<II", 6, 11), struct.pack("<II", 6, 33), struct.pack("<III", 6, 32, 0) + bytes(20)]
)
def test_pcapng_damage_ends_the_file(tmp_path, damage):
    data = build.section() + build.interface() + build.enhanced(10**6, FRAME)
    capture = captured(tmp_path, data + damage + bytes(64))
    assert len(capture.packets.ts) == 1
    assert capture.dropped == {"corrupt_record": 1}


# --- link layers


UDP4 = build.ipv4(A, B, build.UDP, build.udp(1234, 53, b"hello"))
UDP6 = build.ipv6(A6, B6, build.UDP, build.udp(1234, 53, b"hello"))
VLAN, QINQ = (0x8100, 5), (0x88A8, 9)
SNAP = b"\xaa\xaa\x03\0\0\0"
LABELS = struct.pack(">II", 77 << 12 | 64, 78 << 12 | 0x100 | 64)
PPPOE = struct.pack(">BBHH", 0x11, 0, 9, 100)
DATA_FRAME = b"\x08\x01" + bytes(22)
TUNNELLED = [
    (1, build.ethernet(LABELS + UDP4, 0x8847), 4),
    (1, build.ethernet(LABELS[4:] + UDP6, 0x8848, tags=[VLAN]), 6),
    (1, build.ethernet(PPPOE + b"\0\x21" + UDP4, 0x8864), 4),
    (1, build.ethernet(PPPOE + b"\x57" + UDP6, 0x8864, tags=[VLAN]), 6),
    (1, build.ethernet(PPPOE + b"\x02\x81" + LABELS + UDP6, 0x8864), 6),
    (1, build.ethernet(SNAP + b"\x08\0" + UDP4, len(UDP4) + 8), 4),
    (1, build.ethernet(SNAP[:5] + b"\xf8\x86\xdd" + UDP6, len(UDP6) + 8, tags=[VLAN]), 6),
    (1, build.ethernet(b"\x06\x06\x03" + UDP4, len(UDP4) + 3), 4),
    (1, build.ethernet(UDP4, tags=[(0x8926, 0x8000)], wide={0x8926}), 4),
    (9, b"\xff\x03\0\x21" + UDP4, 4),
    (9, b"\x21" + UDP4, 4),
    (50, b"\xff\x03\0\x57" + UDP6, 6),
    (50, b"\x0f\0\x08\0" + UDP4, 4),
    (51, PPPOE + b"\0\x21" + UDP4, 4),
    (204, b"\x01\xff\x03\0\x21" + UDP4, 4),
    (104, b"\x8f\0\x86\xdd" + UDP6, 6),
    (104, b"\x0f\0\x88\x47" + LABELS + UDP4, 4),
    (107, b"\x18\x61\x08\0" + UDP4, 4),
    (107, b"\x18\x61\x03\xcc" + UDP4, 4),
    (107, b"\x18\x60\0\x01\x03\0\x8e" + UDP6, 6),
    (107, b"\x18\x61\x03\0\x80\0\0\0\x08\0" + UDP4, 4),
    (107, b"\x18\x61\x03\xcf\x21" + UDP4, 4),
    (105, DATA_FRAME + SNAP + b"\x08\0" + UDP4, 4),
    (105, b"\x88\x03" + bytes(30) + SNAP + b"\x86\xdd" + UDP6, 6),  # four addresses, quality of service
    (105, b"\x88\x81" + bytes(28) + SNAP + b"\x08\0" + UDP4, 4),  # quality of service, HT control
    (127, struct.pack("<BBHI", 0, 0, 8, 0) + DATA_FRAME + SNAP + b"\x08\0" + UDP4, 4),
    # two words of presence bits, then an aligned timestamp, then the flag that says: padded to 4 bytes
    (
        127,
        struct.pack("<BBHIIIQB", 0, 0, 25, 1 << 31 | 3, 0, 0, 5, 0x20)
        + b"\x88\x01"
        + bytes(26)
        + SNAP
        + b"\x08\0"
        + UDP4,
        4,
    ),
    (192, struct.pack("<BBHI", 0, 0, 12, 1) + b"abcd" + build.ethernet(UDP4), 4),
    (192, struct.pack("<BBHI", 0, 0, 8, 105) + DATA_FRAME + SNAP + b"\x08\0" + UDP4, 4),
    (239, b"\x02\0\0\0" + struct.pack("<HH", 5, 10) + b"p\0\0\0" + struct.pack("<HH", 4 + len(UDP4), 9) + UDP4, 4),
    (239, b"\x0a\0\0\0" + struct.pack("<HH", 4 + len(UDP6), 9) + UDP6, 6),
    (113, b"\0" * 14 + b"\0\x04" + SNAP + b"\x08\0" + UDP4, 4),
]


@pytest.mark.parametrize(
    ("link", "frame", "version"),
    [
        (1, build.ethernet(UDP4), 4),
        (1, build.ethernet(UDP6, 0x86DD), 6),
        (1, build.ethernet(UDP4, tags=[VLAN]), 4),
        (1, build.ethernet(UDP6, 0x86DD, tags=[QINQ, VLAN]), 6),
        (1, build.ethernet(UDP4, tags=[(0x9100, 1), VLAN, VLAN]), 4),
        (101, UDP4, 4),
        (101, UDP6, 6),
        (12, UDP4, 4),
        (228, UDP4, 4),
        (229, UDP6, 6),
        (113, b"\0" * 14 + b"\x08\x00" + UDP4, 4),
        (113, b"\0" * 14 + b"\x81\x00\x00\x05\x86\xdd" + UDP6, 6),
        (276, b"\x08\x00" + b"\0" * 18 + UDP4, 4),
        (276, b"\x86\xdd" + b"\0" * 18 + UDP6, 6),
        (0, struct.pack("<I", 2) + UDP4, 4),
        (0, struct.pack(">I", 30) + UDP6, 6),
        (108, struct.pack(">I", 24) + UDP6, 6),
        *TUNNELLED,
    ],
)
def test_link_layers(tmp_path, link, frame, version):
    src, dst, size = (A, B, 33) if version == 4 else (A6, B6, 53)
    assert only(captured(tmp_path, build.pcap([(T0, frame)], link=link))) == oracle.Packet(
        T0, src, 1234, dst, 53, 17, size, 0, frozenset()
    )


@pytest.mark.parametrize(
    ("link", "frame", "reason"),
    [
        (1, build.ethernet(b"\0" * 28, 0x0806), "non_ip"),
        (0, struct.pack("<I", 7) + UDP4, "non_ip"),
        (1, build.ethernet(LABELS + bytes(20), 0x8847), "unsupported_encapsulation"),
        (1, build.ethernet(LABELS, 0x8847), "truncated"),
        (1, build.ethernet(PPPOE + b"\xc0\x21" + bytes(8), 0x8864), "non_ip"),
        (1, build.ethernet(b"\x11\x09" + bytes(20), 0x8864), "non_ip"),
        (1, build.ethernet(PPPOE + b"\0\x2d" + bytes(8), 0x8864), "unsupported_encapsulation"),
        (1, build.ethernet(PPPOE + b"\0", 0x8864), "truncated"),
        (1, build.ethernet(b"\x42\x42\x03" + bytes(35), 38), "non_ip"),
        (1, build.ethernet(SNAP[:3] + b"\0\x80\xc2\0\x07", 8), "unsupported_encapsulation"),
        (1, build.ethernet(SNAP[:3] + b"\0\0\x0c\x20\0", 8), "non_ip"),
        (9, b"\0\x53" + UDP4, "encrypted"),
        (9, b"\x21", "truncated"),
        (107, b"\0\0\0\0\0", "bad_header"),
        (107, b"\x18\x61\x03\x08" + bytes(9), "non_ip"),
        (105, b"\x08\x41" + bytes(40), "encrypted"),
        (105, b"\x80\0" + bytes(40), "non_ip"),
        (105, b"\x48\x01" + bytes(40), "non_ip"),
        (105, b"\x08\x01" + bytes(20) + b"\x13\0" + SNAP + b"\x08\0" + UDP4, "unsupported_encapsulation"),
        (105, b"\x88\x01" + bytes(22) + b"\x80\0" + bytes(40), "unsupported_encapsulation"),
        (105, b"\x09\x01" + bytes(40), "bad_header"),
        (127, struct.pack("<BBHI", 0, 0, 7, 0) + DATA_FRAME, "bad_header"),
        (127, struct.pack("<BBHI", 0, 0, 9, 1 << 31) + DATA_FRAME, "bad_header"),
        (127, struct.pack("<BBHI", 0, 0, 90, 0) + DATA_FRAME, "truncated"),
        (192, struct.pack("<BBHI", 0, 0, 8, 147) + UDP4, "unsupported_link_type"),
        (192, struct.pack("<BBHI", 0, 0, 8, 1 << 16) + UDP4, "unsupported_link_type"),
        (239, b"\x02\0\0\0" + struct.pack("<HH", 3, 9) + UDP4, "bad_header"),
        (239, b"\x07\0\0\0" + struct.pack("<HH", 50, 9) + UDP4, "non_ip"),
        (239, b"\x02\0\0\0" + struct.pack("<HH", 4, 1), "non_ip"),
        (239, b"\x02\0\0\0" + struct.pack("<HH", 40, 1), "truncated"),
        (147, build.ethernet(UDP4), "unsupported_link_type"),
        (ETHERTYPE + 0x0800, UDP4, "unsupported_link_type"),
        (1, build.ethernet(UDP6), "bad_header"),
        (1, build.ethernet(b"\x44" + UDP4[1:]), "bad_header"),
        (1, build.ethernet(build.ipv4(A, B, build.UDP, b"\0\1")), "bad_header"),
        (1, build.ethernet(build.ipv6(A6, B6, 60, b"\x11\x00abc", length=5), 0x86DD) + bytes(40), "bad_header"),
        (101, b"\x10" + bytes(40), "bad_header"),
        (1, build.ethernet(build.ipv4(A, B, build.UDP, b"\0\1", total=60)), "truncated"),
        (1, build.ethernet(UDP4[:19]), "truncated"),
        (1, build.ethernet(build.ipv4(A, B, 6, b"", options=bytes(20), total=80)[:30]), "truncated"),
        (1, build.ethernet(b"\0", 0x8100), "truncated"),
        (1, build.ethernet(build.ipv6(A6, B6, 0, b"\x06\x00", length=80), 0x86DD), "truncated"),
        (276, b"\x08\x00", "truncated"),
        (101, b"", "truncated"),
    ],
)
def test_packets_that_are_not_used_are_counted_by_reason(tmp_path, link, frame, reason):
    capture = captured(tmp_path, build.pcap([(T0, frame)], link=link))
    assert len(capture.packets.ts) == 0
    assert capture.records == 1
    assert capture.dropped == {reason: 1}


# --- network layer


def test_size_is_the_ip_length_whatever_the_link_layer_padding_and_snaplen(tmp_path):
    long = build.ipv4(A, B, build.UDP, build.udp(1, 2, bytes(1000)))
    padded = build.ethernet(build.ipv4(A, B, build.UDP, build.udp(1, 2))) + bytes(18)
    tagged = build.ethernet(long, tags=[VLAN])
    capture = captured(tmp_path, build.pcap([(T0, build.ethernet(long)), (T0, padded), (T0, tagged)], snaplen=64))
    assert capture.packets.size.tolist() == [1028, 28, 1028]


def test_length_zero_under_segmentation_offload_falls_back_to_the_record(tmp_path):
    body = build.tcp(1, 2, payload=bytes(3000))
    frames = [
        build.ethernet(build.ipv4(A, B, 6, body, total=0)),
        build.ethernet(build.ipv6(A6, B6, 6, body, length=0), 0x86DD, tags=[VLAN]),
    ]
    capture = captured(tmp_path, build.pcap([(T0, frame) for frame in frames], snaplen=100))
    assert capture.packets.size.tolist() == [3040, 3060]
    assert capture.noted == {"length_from_record": 2}
    none = build.ethernet(build.ipv6(A6, B6, 59, b""), 0x86DD) + bytes(20)
    assert captured(tmp_path, build.pcap([(T0, none)])).packets.size.tolist() == [40]


def test_ports_are_zero_without_a_transport_header(tmp_path):
    payload = build.udp(1234, 53, bytes(16))
    frames = [
        build.ipv4(A, B, build.ICMP, b"\x08\0\0\0\0\1\0\2"),
        build.ipv4(A, B, build.UDP, payload, fragment=0x2000),  # first fragment: has its ports
        build.ipv4(A, B, build.UDP, payload, fragment=0x0003),  # last fragment
        build.ipv4(A, B, 47, bytes(24)),
    ]
    capture = captured(tmp_path, build.pcap([(T0, frame) for frame in frames], link=101))
    assert [(p.sport, p.dport, p.proto) for p in packets(capture)] == [
        (0, 0, 1),
        (1234, 53, 17),
        (0, 0, 17),
        (0, 0, 47),
    ]
    assert capture.noted == {"tunnel": 1, "later_fragment": 1}


def test_ipv6_extension_headers_lead_to_the_upper_protocol(tmp_path):
    segment = build.tcp(7, 8, build.SYN, 99)
    hop, routing, options = b"\x3c\0" + bytes(6), b"\x2c\1" + bytes(14), b"\x2b\0" + bytes(6)
    authentication = b"\x06\1" + bytes(10)
    first, later = b"\x06\0" + struct.pack(">HI", 1, 5), b"\x06\0" + struct.pack(">HI", 8 << 3, 5)
    frames = [
        build.ipv6(A6, B6, 0, hop + options + routing + first + segment),
        build.ipv6(A6, B6, 44, later + segment),
        build.ipv6(A6, B6, 51, authentication + segment),
        build.ipv6(A6, B6, 58, b"\x80\0\0\0"),
        build.ipv6(A6, B6, 50, bytes(16)),
    ]
    capture = captured(tmp_path, build.pcap([(T0, frame) for frame in frames], link=229))
    assert [(p.proto, p.sport, p.dport, p.win, sorted(p.flags)) for p in packets(capture)] == [
        (6, 7, 8, 99, ["syn"]),
        (6, 0, 0, 0, []),
        (6, 7, 8, 99, ["syn"]),
        (58, 0, 0, 0, []),
        (50, 0, 0, 0, []),
    ]
    assert capture.noted == {"later_fragment": 1}


def test_every_combination_of_tcp_flags(tmp_path):
    frames = [(T0 + i, build.ipv4(A, B, 6, build.tcp(1, 2, flags=i, window=i * 257))) for i in range(256)]
    got = packets(captured(tmp_path, build.pcap(frames, link=228)))
    bits = {"fin": build.FIN, "syn": build.SYN, "rst": build.RST, "psh": build.PSH, "ack": build.ACK}
    assert [(p.win, p.flags) for p in got] == [
        (i * 257, frozenset(name for name, bit in bits.items() if i & bit)) for i in range(256)
    ]


def test_a_tcp_header_cut_before_its_flags_keeps_its_packet(tmp_path):
    capture = captured(
        tmp_path, build.pcap([(T0, build.ipv4(A, B, 6, build.tcp(1, 2, build.SYN, 7)))], link=101, snaplen=30)
    )
    assert only(capture) == oracle.Packet(T0, A, 1, B, 2, 6, 40, 0, frozenset())
    assert capture.noted == {"tcp_header_cut": 1}


def test_sessions_are_told_apart_by_every_part_of_the_5_tuple(tmp_path):
    frames = [
        build.ipv4(src, dst, proto, struct.pack(">HHI", sport, dport, 0) + bytes(12))
        for src, dst, sport, dport, proto in product((A, B), ("1.1.1.1", "1.1.1.2"), (1, 2), (3, 4), (6, 17))
    ]
    frames += [build.ipv6(f"::{A}", "::1.1.1.1", 17, build.udp(1, 3))]
    capture = captured(tmp_path, build.pcap([(T0, frame) for frame in frames * 2], link=101))
    assert capture.packets.session.tolist() == list(range(33)) * 2


@settings(deadline=None)
@given(st.ip_addresses())
def test_addresses_survive_a_round_trip(address):
    version, high, low = parse_address(str(address))
    assert version == address.version
    (text,) = texts(np.array([version]), np.array([[high, low]], np.uint64))
    family = socket.AF_INET if version == 4 else socket.AF_INET6
    assert socket.inet_pton(family, text) == address.packed


# --- real captures


REAL = [
    "iot_home/benign_Aria.pcap",
    "ics_scada/qut_s7_control.pcap",
    "mobile_voice/attack_ddos_amp_dns_RRSIG_fragmented.pcap",
    "mobile_voice/attack_mal_mswab-yayih.pcap",
    "enterprise_windows/lab_scan_misc.pcap",
    "cicddos2019_slice/benign_syn_20181103.pcap",
]


@needs_data
@pytest.mark.parametrize("name", REAL)
def test_real_captures_agree_with_the_struct_oracle(name):
    path = DATA / "domains" / name
    expected, dropped = oracle.read(path)
    capture = read_capture(path)
    assert packets(capture) == expected
    assert capture.dropped == dropped
    assert len(expected) > 50


@needs_data
@pytest.mark.parametrize("name", REAL)
def test_real_captures_agree_with_dpkt(name):
    path = DATA / "domains" / name
    expected = []
    with path.open("rb") as stream:
        for ts, frame in dpkt.pcap.Reader(stream):
            ip = dpkt.ethernet.Ethernet(frame).data
            version = 4 if isinstance(ip, dpkt.ip.IP) else 6
            size = ip.len if version == 4 else ip.plen + 40
            segment = ip.data if not isinstance(ip.data, bytes) else None
            ports = (segment.sport, segment.dport) if isinstance(segment, dpkt.tcp.TCP | dpkt.udp.UDP) else (0, 0)
            flags, win = (segment.flags & 31, segment.win) if isinstance(segment, dpkt.tcp.TCP) else (0, 0)
            expected.append((round(float(ts) * 1e6), ip.src, ip.dst, *ports, ip.p, size, win, flags))
    got = []
    weights = {"fin": 1, "syn": 2, "rst": 4, "psh": 8, "ack": 16}
    for p in packets(read_capture(path)):
        src, dst = (socket.inet_pton(socket.AF_INET6 if ":" in a else socket.AF_INET, a) for a in (p.src, p.dst))
        got.append((p.ts // 1000, src, dst, p.sport, p.dport, p.proto, p.size, p.win, sum(weights[f] for f in p.flags)))
    for ours, theirs in zip(got, expected, strict=True):
        if theirs[6] == 0:  # dpkt leaves a length of 0 as it is
            ours = (*ours[:6], 0, *ours[7:])
        assert ours == theirs


def odd_captures() -> list[Path]:
    return sorted(path for path in (DATA / "odd_pcaps").glob("*.pcap*"))


@needs_data
def test_all_odd_captures_are_there():
    assert len(odd_captures()) == 48


@needs_data
@pytest.mark.parametrize("path", odd_captures(), ids=lambda path: path.name)
def test_odd_captures_agree_with_the_oracle_or_count_a_reason(path):
    expected, dropped = oracle.read(path)
    capture = read_capture(path)
    assert packets(capture) == expected
    damage = {"corrupt_record", "cut_by_end_of_file"}
    assert {reason: count for reason, count in capture.dropped.items() if reason not in damage} == dropped
    assert capture.records == len(expected) + sum(dropped.values())
    assert len(expected) or capture.dropped or path.name.startswith("zero__")


@needs_data
def test_odd_captures_agree_with_the_counts_of_the_reference_reader_in_their_list():
    """Exceptions: headers of a wrong version or length, which that reader took for IP; a record cut short by the end of
    its file, which it took for a packet; link types and encapsulations that it did not read."""
    lower = {
        "ns_other__pcap_fuzz": 1,
        "fuzz__pcap_fuzz-2020": 9,
        "fuzz__pcap_fuzz-2006-09": 1,
        "fuzz__pcap_fuzz-2006-06": 5,
    }
    lower |= {"ns__Traces_vntag": -3, "ns_other__pcap_someip": -6, "ppp__": -3, "cisco_hdlc__": -2, "frelay__": -10}
    listed = Counter()
    for line in (DATA / "odd_pcaps" / "LIST.md").read_text(encoding="utf-8").splitlines():
        cells = [cell.strip() for cell in line.split("|")]
        path = DATA / "odd_pcaps" / cells[1] if len(cells) > 6 else DATA
        if path.is_file():
            missing = next((count for start, count in lower.items() if path.name.startswith(start)), 0)
            listed[path.name] += 1
            assert len(read_capture(path).packets.ts) == int(cells[6]) - missing, path.name
    assert len(listed) == 48


# --- mutations


SEEDS = [
    build.pcap(
        [(T0, FRAME), (T0 + 10**6, build.ethernet(UDP6, 0x86DD, tags=[VLAN, VLAN])), (T0, build.ethernet(UDP4))]
    ),
    build.pcap(
        [(T0, build.ipv6(A6, B6, 0, b"\x2c\0" + bytes(6) + b"\x06\0\0\1\0\0\0\1" + build.tcp(1, 2)))],
        order=">",
        ns=True,
        link=101,
    ),
    build.section()
    + build.interface(resolution=9)
    + build.enhanced(T0, FRAME)
    + build.block(3, bytes(8))
    + build.enhanced(T0, UDP4),
    build.section(">")
    + build.interface(276, ">", 0x80 | 10, 5)
    + build.enhanced(T0, b"\x08\0" + bytes(18) + UDP4, ">"),
    build.pcap([(T0, struct.pack("<I", 2) + UDP4), (T0, struct.pack("<I", 30) + UDP6)], link=0),
    *(build.pcap([(T0, frame), (T0 + 9000, frame)], link=link) for link, frame, _ in TUNNELLED),
]


def mutate(data: bytes, noise: random.Random) -> bytes:
    changed = bytearray(data)
    for _ in range(noise.randint(1, 6)):
        at = noise.randrange(4, len(changed))  # the magic number stays: the rest is to be reached
        kind = noise.randrange(5)
        if kind == 0:
            changed[at] = noise.randrange(256)
        elif kind == 1:
            changed[at] ^= 1 << noise.randrange(8)
        elif kind == 2:
            changed[at : at + 4] = noise.choice(
                [b"\0\0\0\0", b"\xff\xff\xff\xff", b"\x00\x00\x04\x00", b"\x7f\xff\xff\xff"]
            )[: len(changed) - at]
        elif kind == 3:
            del changed[at : at + noise.randint(1, 12)]
        else:
            changed[at:at] = noise.randbytes(noise.randint(1, 12))
        if len(changed) < 40:
            return bytes(changed)
    return bytes(changed)


@pytest.mark.parametrize("which", range(len(SEEDS)))
def test_mutated_captures_never_crash_and_agree_with_the_oracle(tmp_path, which):
    noise = random.Random(which)
    path = tmp_path / "x.pcap"
    for _ in range(150):
        path.write_bytes(mutate(SEEDS[which], noise))
        check_against_oracle(path)


@needs_data
def test_mutated_real_captures_never_crash_and_agree_with_the_oracle(tmp_path):
    noise = random.Random(7)
    path = tmp_path / "x.pcap"
    small = [p for p in odd_captures() if p.stat().st_size < 3000 and p.suffix != ".gz" and "zero" not in p.name]
    for case in range(600):
        path.write_bytes(mutate(small[case % len(small)].read_bytes(), noise))
        check_against_oracle(path)


def check_against_oracle(path: Path) -> None:
    capture = read_capture(path)
    expected, dropped = oracle.read(path)
    assert packets(capture) == expected
    # records that the oracle passes over
    unread = {"no_timestamp", "bad_timestamp", "unknown_interface", "corrupt_record", "cut_by_end_of_file"}
    assert {reason: count for reason, count in capture.dropped.items() if reason not in unread} == dropped


@settings(max_examples=400, deadline=None)
@given(st.binary(max_size=200), st.sampled_from([*LINKS, 239, 147]), st.integers(0, 70000))
def test_any_bytes_in_a_frame_agree_with_the_oracle(tmp_path_factory, frame, link, original):
    path = tmp_path_factory.getbasetemp() / "frame.pcap"
    head = build.pcap([], link=link)
    path.write_bytes(head + struct.pack("<IIII", 1, 2, len(frame), original) + frame)
    check_against_oracle(path)
