"""The packet stream: decoding against names written out by hand, keyed hashes against published vectors, flows against a plain search, the folder."""

from __future__ import annotations

import contextlib
import gzip
import ipaddress
import socket
import struct

import numpy as np
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from datasets_registry.capture.frames import KEYS, siphash
from datasets_registry.labelling.labels_csv import KEY_COLUMNS
from datasets_registry.stream import (
    COLUMNS,
    StreamWriter,
    build_stream,
    open_stream,
)
from janus_bench.errors import DataError
from tests import pcap_builders as make

KEY = bytes(range(16))
SECRET = np.frombuffer(KEY, "<u8").astype(np.uint64)
SENDER, RECEIVER = bytes.fromhex("0a0b0c000e0f"), bytes.fromhex("ffffffffffff")
FROM, TO = "0a:0b:0c:00:0e:0f", "ff:ff:ff:ff:ff:ff"
SECOND = 10**9
NO_FLOWS = pl.DataFrame(schema={**dict.fromkeys(KEY_COLUMNS, pl.UInt64), "first": pl.Int64, "last": pl.Int64, "flow_id": pl.Int64})


def hashed(text):
    data = np.frombuffer(text.encode(), np.uint8)
    return int(siphash(SECRET, data, 0, len(data)))


def ethernet(payload, kind=0x0800):
    return RECEIVER + SENDER + struct.pack(">H", kind) + payload


def arp(sender, target):
    addresses = SENDER + socket.inet_aton(sender) + bytes(6) + socket.inet_aton(target)
    return ethernet(struct.pack(">HHBBH", 1, 0x0800, 6, 4, 1) + addresses, 0x0806)


def names(source, target, source_port="", target_port="", mac=FROM):
    """The texts of a record's six keys."""
    return (mac + source, source, target, source + target, source + source_port, target + target_port)


def written(tmp_path, data, name="a.pcap"):
    path = tmp_path / name
    path.write_bytes(data)
    return path


def streamed(tmp_path, frames, flows=NO_FLOWS, **options):
    return build_stream(written(tmp_path, make.pcap([(i * SECOND, frame) for i, frame in enumerate(frames)], **options)), flows, KEY)


RECORDS = {
    "tcp": (ethernet(make.ipv4("10.0.0.1", "192.168.255.20", 6, make.tcp(180, 65535))), names("10.0.0.1", "192.168.255.20", "180", "65535")),
    "udp": (ethernet(make.ipv4("10.0.0.1", "10.0.0.2", 17, make.udp(53, 7))), names("10.0.0.1", "10.0.0.2", "53", "7")),
    "options": (
        ethernet(make.ipv4("1.2.3.4", "5.6.7.8", 6, make.tcp(1, 2), options=b"\1" * 8)),
        names("1.2.3.4", "5.6.7.8", "1", "2"),
    ),
    "icmp": (ethernet(make.ipv4("10.0.0.1", "10.0.0.2", 1, b"\x08\0\0\0" * 4)), names("10.0.0.1", "10.0.0.2", "icmp", "icmp")),
    "igmp": (ethernet(make.ipv4("10.0.0.1", "224.0.0.1", 2, bytes(8))), names("10.0.0.1", "224.0.0.1")),
    "sctp": (ethernet(make.ipv4("10.0.0.1", "10.0.0.2", 132, bytes(range(12)))), names("10.0.0.1", "10.0.0.2")),
    "later fragment": (ethernet(make.ipv4("10.0.0.1", "10.0.0.2", 17, make.udp(53, 7), fragment=5)), names("10.0.0.1", "10.0.0.2")),
    "tcp on ipv6": (
        ethernet(make.ipv6("fe80::1", "2001:db8::ff:0:1", 6, make.tcp(22, 23)), 0x86DD),
        names("fe80::1", "2001:db8::ff:0:1", "22", "23"),
    ),
    "behind extensions": (
        ethernet(make.ipv6("::1", "ff02::2", 0, bytes([17, 0, 1, 4, 0, 0, 0, 0]) + make.udp(9, 8)), 0x86DD),
        names("::1", "ff02::2", "9", "8"),
    ),
    "icmpv6": (ethernet(make.ipv6("fe80::1", "ff02::1", 58, bytes(8)), 0x86DD), names("fe80::1", "ff02::1")),
    "vlan": (
        ethernet(struct.pack(">HH", 5, 0x0800) + make.ipv4("10.0.0.1", "10.0.0.2", 17, make.udp(53, 7)), 0x8100),
        names("10.0.0.1", "10.0.0.2", "53", "7"),
    ),
    "arp": (arp("10.0.0.1", "10.0.0.2"), (FROM + "10.0.0.1", "10.0.0.1", "10.0.0.2", "10.0.0.110.0.0.2", FROM, TO)),
    "lldp": (ethernet(bytes(40), 0x88CC), names(FROM, TO)),
    "cut after ethernet": (ethernet(b""), names(FROM, TO)),
    "cut before": (b"\1\2\3", names("", "", mac="")),
}


@pytest.mark.parametrize("record", RECORDS)
def test_a_record_gets_the_hashes_of_its_names(tmp_path, record):
    frame, texts = RECORDS[record]
    stream = streamed(tmp_path, [frame])
    assert [int(getattr(stream, name)[0]) for name in KEYS] == [hashed(text) for text in texts]
    assert (stream.size[0], stream.flow[0]) == (len(frame), -1)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.sampled_from([0, 0, 0, 1, 0x10, 0xABCD]), min_size=8, max_size=8), st.integers(0, 2**32 - 1))
def test_addresses_are_written_as_the_standard_library_writes_them(tmp_path_factory, groups, v4):
    packed = struct.pack(">8H", *groups)
    source, target = ipaddress.IPv6Address(packed), ipaddress.IPv4Address(v4)
    folder = tmp_path_factory.mktemp("addresses")
    frames = [ethernet(make.ipv6(str(source), "::1", 59, b""), 0x86DD), ethernet(make.ipv4(str(target), "1.1.1.1", 2, b""))]
    stream = streamed(folder, frames)
    assert stream.source[0] == hashed(str(source))
    assert stream.source[1] == hashed(str(target))


def test_siphash_gives_the_published_vectors():
    message = np.arange(64, dtype=np.uint8)
    for length, expected in ((0, 0x726FDB47DD0E0E31), (7, 0xAB0200F58B01D137), (8, 0x93F5F5799A932462), (15, 0xA129CA6149BE45E5)):
        assert siphash(SECRET, message, 0, length) == expected


def test_undelimited_names_collide_as_in_the_original(tmp_path):
    frames = [ethernet(make.ipv4(source, "9.9.9.9", 6, make.tcp(port, 80))) for source, port in (("10.0.0.1", 180), ("10.0.0.11", 80))]
    stream = streamed(tmp_path, frames)
    assert stream.source_socket[0] == stream.source_socket[1]
    assert stream.source[0] != stream.source[1]


def test_another_key_gives_other_identities_with_the_same_structure(tmp_path):
    frames = [frame for frame, _ in RECORDS.values()]
    path = written(tmp_path, make.pcap(enumerate(frames)))
    one, two = build_stream(path, NO_FLOWS, KEY), build_stream(path, NO_FLOWS, bytes(16))
    for name in KEYS:
        a, b = getattr(one, name), getattr(two, name)
        assert (a != b).all()
        np.testing.assert_array_equal(a[:, None] == a, b[:, None] == b)


NS = 1_700_000_000_123_456_789
FRAME = RECORDS["tcp"][0]
CONTAINERS = {
    "little-endian": (make.pcap([(NS, FRAME)]), NS // 1000 * 1000),
    "big-endian": (make.pcap([(NS, FRAME)], order=">"), NS // 1000 * 1000),
    "nanoseconds": (make.pcap([(NS, FRAME)], ns=True), NS),
    "pcapng": (make.section() + make.interface() + make.enhanced(NS // 1000, FRAME), NS // 1000 * 1000),
    "big-endian pcapng": (make.section(">") + make.interface(order=">", resolution=9) + make.enhanced(NS, FRAME, ">"), NS),
    "binary ticks": (
        make.section() + make.interface(resolution=0x80 | 10) + make.enhanced(1_700_000_000 * 1024 + 512, FRAME),
        17 * 10**17 + 5 * 10**8,
    ),
    "shifted pcapng": (make.section() + make.interface(offset=-3600) + make.enhanced(NS // 1000, FRAME), NS // 1000 * 1000 - 3600 * SECOND),
    "unknown block": (make.section() + make.interface() + make.block(0xBAD, bytes(50)) + make.enhanced(NS // 1000, FRAME), NS // 1000 * 1000),
}


@pytest.mark.parametrize("container", CONTAINERS)
@pytest.mark.parametrize("pack", [bytes, gzip.compress, lambda data: pa.Codec("zstd").compress(data, asbytes=True)], ids=["plain", "gzip", "zstd"])
def test_every_container_gives_the_same_record(tmp_path, container, pack):
    data, ns = CONTAINERS[container]
    stream = build_stream(written(tmp_path, pack(data)), NO_FLOWS, KEY)
    assert len(stream) == 1
    assert stream.time[0] == float(f"{ns // SECOND}.{ns % SECOND:09d}")  # as the original reads it from text
    assert stream.source_socket[0] == hashed("10.0.0.1180")


def test_size_is_that_on_the_wire_and_short_records_are_read(tmp_path):
    frame = ethernet(make.ipv4("10.0.0.1", "10.0.0.2", 6, make.tcp(1, 2, payload=bytes(1000))))
    stream = streamed(tmp_path, [frame], snaplen=60)
    assert stream.size[0] == len(frame)
    assert stream.destination_socket[0] == hashed("10.0.0.22")


@pytest.mark.parametrize(("link", "head"), [(101, b""), (113, bytes(14) + b"\x08\0"), (276, b"\x08\0" + bytes(18)), (0, bytes(4))])
def test_other_link_types_have_addresses_and_no_mac(tmp_path, link, head):
    stream = streamed(tmp_path, [head + make.ipv4("10.0.0.1", "10.0.0.2", 17, make.udp(5, 6))], link=link)
    assert stream.sender[0] == hashed("10.0.0.1")
    assert stream.source_socket[0] == hashed("10.0.0.15")


def test_more_records_than_one_buffer_keep_their_order(tmp_path, monkeypatch):
    monkeypatch.setattr("datasets_registry.capture.records.CHUNK", 1000)
    monkeypatch.setattr("datasets_registry.capture.records._ROWS", 7)
    frames = [ethernet(make.ipv4("10.0.0.1", "10.0.0.2", 17, make.udp(i + 1, 2, bytes(i % 300)))) for i in range(500)]
    for data in (
        make.pcap([(i * SECOND, frame) for i, frame in enumerate(frames)]),
        make.section() + make.interface() + b"".join(make.enhanced(i * 10**6, frame) for i, frame in enumerate(frames)),
    ):
        stream = build_stream(written(tmp_path, data), NO_FLOWS, KEY)
        np.testing.assert_array_equal(stream.time, np.arange(500))
        assert [int(key) for key in stream.source_socket] == [hashed(f"10.0.0.1{i + 1}") for i in range(500)]


@pytest.mark.parametrize("pack", [bytes, gzip.compress])
def test_a_damaged_capture_gives_what_precedes_the_damage(tmp_path, pack):
    data = make.pcap([(i * SECOND, FRAME) for i in range(10)])
    for cut in (len(data) - 5, 24 + 3 * (16 + len(FRAME)) + 2):
        expected = (cut - 24) // (16 + len(FRAME))
        assert len(build_stream(written(tmp_path, pack(data[:cut])), NO_FLOWS, KEY)) == expected
    broken = data[: 24 + 16 + len(FRAME)] + b"\xff" * 200
    assert len(build_stream(written(tmp_path, pack(broken)), NO_FLOWS, KEY)) == 1


@pytest.mark.parametrize("content", [b"", b"hello, world", b"\x1f\x8bnonsense"])
def test_what_is_no_capture_is_named(tmp_path, content):
    with pytest.raises(DataError, match=r"a\.pcap: not a capture"):
        build_stream(written(tmp_path, content), NO_FLOWS, KEY)
    with pytest.raises(DataError, match="cannot be read"):
        build_stream(tmp_path / "missing.pcap", NO_FLOWS, KEY)


def key_of(source, sport, target, dport, protocol):
    """A 5-tuple as ``KEY_COLUMNS``, from Python's integers."""
    a, b = ((int(ipaddress.ip_address(address)), port) for address, port in ((source, sport), (target, dport)))
    (low, low_port), (high, high_port) = sorted([a, b])
    version = ipaddress.ip_address(source).version
    rest = (version << 8 | protocol) << 32 | low_port << 16 | high_port
    return (low >> 64, low & (1 << 64) - 1, high >> 64, high & (1 << 64) - 1, rest)


def flow_table(flows):
    """``flows``: (key, first, last)."""
    columns = {name: [key[i] for key, _, _ in flows] for i, name in enumerate(KEY_COLUMNS)}
    times = {"first": [first for _, first, _ in flows], "last": [last for _, _, last in flows]}
    return pl.DataFrame({**columns, **times, "flow_id": range(len(flows))}, schema=NO_FLOWS.schema)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10**6))
def test_packets_belong_to_the_flow_of_their_tuple_at_their_time(tmp_path_factory, seed):
    rng = np.random.default_rng(seed)
    hosts = ["10.0.0.1", "10.0.0.2", "fe80::1", "fe80::2"]
    packets = []
    for second in range(120):
        pair = rng.permutation(2) + 2 * rng.integers(0, 2)
        source, target = hosts[pair[0]], hosts[pair[1]]
        sport, dport = (int(port) for port in rng.integers(1, 3, 2))
        ip, kind = (make.ipv4, 0x0800) if pair[0] < 2 else (make.ipv6, 0x86DD)
        packets.append((second * SECOND, ethernet(ip(source, target, 17, make.udp(sport, dport)), kind), key_of(source, sport, target, dport, 17)))
    flows, expected = [], np.full(len(packets), -1)
    for key in sorted({key for _, _, key in packets}):
        cuts = np.sort(rng.choice(121, size=4, replace=False))
        for first, last in ((cuts[0], cuts[1] - 1), (cuts[1], cuts[2] - 1)):  # one after the other, and nothing before and after
            inside = [i for i, packet in enumerate(packets) if packet[2] == key and first <= i <= last]
            expected[inside] = len(flows)
            flows.append((key, int(first) * SECOND, int(last) * SECOND))
    order = rng.permutation(len(flows))  # the table's order means nothing
    path = written(tmp_path_factory.mktemp("flows"), make.pcap([packet[:2] for packet in packets]))
    stream = build_stream(path, flow_table(flows)[order], KEY)
    np.testing.assert_array_equal(stream.flow, expected)


def test_portless_protocols_and_fragments_belong_to_the_flow_without_ports(tmp_path):
    frames = [RECORDS[name][0] for name in ("icmp", "later fragment", "igmp")]
    flows = [(key_of("10.0.0.2", 0, "10.0.0.1", 0, protocol), 0, 10 * SECOND) for protocol in (1, 17)]
    np.testing.assert_array_equal(streamed(tmp_path, frames, flow_table(flows)).flow, [0, 1, -1])


def test_a_written_stream_is_read_back_capture_by_capture(tmp_path):
    streams = [streamed(tmp_path, [frame for frame, _ in list(RECORDS.values())[:n]]) for n in (3, 0, 7)]
    with StreamWriter(tmp_path / "stream") as writer:
        for name, stream in zip(("a", "b", "c"), streams, strict=True):
            writer.add(name, stream)
    read, captures = open_stream(tmp_path / "stream")
    assert captures == {"a": range(3), "b": range(3, 3), "c": range(3, 10)}
    for column, dtype in COLUMNS.items():
        values = getattr(read, column)
        assert isinstance(values, np.memmap)
        assert values.dtype == dtype
        np.testing.assert_array_equal(values, np.concatenate([getattr(stream, column) for stream in streams]))


def test_a_stream_of_no_packets_can_be_written_and_read(tmp_path):
    with StreamWriter(tmp_path / "stream"):
        pass
    read, captures = open_stream(tmp_path / "stream")
    assert (len(read), captures) == (0, {})


def test_an_unfinished_stream_is_refused(tmp_path):
    writer = StreamWriter(tmp_path / "stream")
    with contextlib.suppress(RuntimeError), writer:
        writer.add("a", streamed(tmp_path, [FRAME]))
        raise RuntimeError("killed")
    with pytest.raises(DataError, match="no complete packet stream"):
        open_stream(tmp_path / "stream")
