"""The packet stream: names written out by hand and by the plain-Python oracle, flows as the flow table counts them, the
folder."""

from __future__ import annotations

import contextlib
import gzip
import ipaddress
import random
import shutil
import socket
import struct

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from datasets_registry.capture import extract, names, reader
from datasets_registry.capture.rules import TCP_CLOSE, FlowRules
from datasets_registry.stream import COLUMNS, StreamWriter, open_stream
from janus_bench.errors import DataError
from tests import flow_oracle
from tests import pcap_builders as make
from tests import stream_oracle as oracle
from tests.conftest import SHARED_DATA, needs_shared_data
from tests.memory_flows import read_flows
from tests.stream_oracle import siphash
from tests.test_capture import SEEDS, TUNNELLED, mutate

KEY = bytes(range(16))
KEYS = ("sender", "source", "destination", "channel", "source_socket", "destination_socket")
SENDER, RECEIVER = bytes.fromhex("0a0b0c000e0f"), bytes.fromhex("ffffffffffff")
FROM, TO = "0a:0b:0c:00:0e:0f", "ff:ff:ff:ff:ff:ff"
SECOND = 10**9
SMALL = (
    (extract, "WINDOW", 16),
    (extract, "HOLD", 5),
    (extract, "SESSIONS", 4),
    (extract, "FLOWS", 3),
    (names, "ROWS", 3),
)
"""Tables so small that they are emptied all the time."""


def hashed(text):
    return siphash(KEY, text.encode())


def ethernet(payload, kind=0x0800):
    return RECEIVER + SENDER + struct.pack(">H", kind) + payload


def message(sender, target):
    """What an ARP frame carries."""
    addresses = SENDER + socket.inet_aton(sender) + bytes(6) + socket.inet_aton(target)
    return struct.pack(">HHBBH", 1, 0x0800, 6, 4, 1) + addresses


def arp(sender, target):
    return ethernet(message(sender, target), 0x0806)


def texts(source, target, source_port="", target_port="", mac=FROM):
    """The texts of a record's six keys."""
    return (mac + source, source, target, source + target, source + source_port, target + target_port)


def written(tmp_path, data, name="a.pcap"):
    path = tmp_path / name
    path.write_bytes(data)
    return path


def read(path, rules=None, key=KEY, flow_of=None):
    """The stream of one capture; its flows are numbered in the order of their first packets."""
    rules = rules or FlowRules()
    folder = path.with_name(f"{path.name}.stream")
    if flow_of is None:
        flow_of = np.arange(len(read_flows(path, rules)[1]))
    shutil.rmtree(folder, ignore_errors=True)
    with StreamWriter(folder, key) as writer:
        attached = writer.add("a", path, rules, flow_of)
    stream, captures = open_stream(folder)
    assert captures == {"a": range(len(stream["time"]))}
    assert attached == np.count_nonzero(stream["flow"] >= 0)
    return stream


def streamed(tmp_path, frames, **options):
    return read(written(tmp_path, make.pcap([(i * SECOND, frame) for i, frame in enumerate(frames)], **options)))


def agrees(path, rules=None, records=None, named=None):
    """Every row against the oracle, the names of the first ``named`` rows; every packet of every flow is there.
    ``records``: those of the oracle."""
    rules = rules or FlowRules()
    stream, expected = read(path, rules), oracle.rows(flow_oracle.records(path) if records is None else records, rules)
    assert stream["flow"].tolist() == [row.flow for row in expected]
    assert stream["time"].tolist() == [row.time for row in expected]
    assert stream["size"].tolist() == [row.record.original for row in expected]
    texts = [oracle.names(row.record) for row in expected[:named]]
    for column, key in enumerate(KEYS):
        assert stream[key][:named].tolist() == [hashed(text[column]) for text in texts]
    flows = read_flows(path, rules)[1]
    np.testing.assert_array_equal(
        np.bincount(stream["flow"][stream["flow"] >= 0], minlength=len(flows)), flows.n_packets
    )
    return stream


RECORDS = {
    "tcp": (
        ethernet(make.ipv4("10.0.0.1", "192.168.255.20", 6, make.tcp(180, 65535))),
        texts("10.0.0.1", "192.168.255.20", "180", "65535"),
    ),
    "udp": (ethernet(make.ipv4("10.0.0.1", "10.0.0.2", 17, make.udp(53, 7))), texts("10.0.0.1", "10.0.0.2", "53", "7")),
    "options": (
        ethernet(make.ipv4("1.2.3.4", "5.6.7.8", 6, make.tcp(1, 2), options=b"\1" * 8)),
        texts("1.2.3.4", "5.6.7.8", "1", "2"),
    ),
    "icmp": (
        ethernet(make.ipv4("10.0.0.1", "10.0.0.2", 1, b"\x08\0\0\0" * 4)),
        texts("10.0.0.1", "10.0.0.2", "icmp", "icmp"),
    ),
    "igmp": (ethernet(make.ipv4("10.0.0.1", "224.0.0.1", 2, bytes(8))), texts("10.0.0.1", "224.0.0.1")),
    "sctp": (ethernet(make.ipv4("10.0.0.1", "10.0.0.2", 132, bytes(range(12)))), texts("10.0.0.1", "10.0.0.2")),
    "later fragment": (
        ethernet(make.ipv4("10.0.0.1", "10.0.0.2", 17, make.udp(53, 7), fragment=5)),
        texts("10.0.0.1", "10.0.0.2"),
    ),
    "tcp on ipv6": (
        ethernet(make.ipv6("fe80::1", "2001:db8::ff:0:1", 6, make.tcp(22, 23)), 0x86DD),
        texts("fe80::1", "2001:db8::ff:0:1", "22", "23"),
    ),
    "behind extensions": (
        ethernet(make.ipv6("::1", "ff02::2", 0, bytes([17, 0, 1, 4, 0, 0, 0, 0]) + make.udp(9, 8)), 0x86DD),
        texts("::1", "ff02::2", "9", "8"),
    ),
    "icmpv6": (ethernet(make.ipv6("fe80::1", "ff02::1", 58, bytes(8)), 0x86DD), texts("fe80::1", "ff02::1")),
    "vlan": (
        ethernet(struct.pack(">HH", 5, 0x0800) + make.ipv4("10.0.0.1", "10.0.0.2", 17, make.udp(53, 7)), 0x8100),
        texts("10.0.0.1", "10.0.0.2", "53", "7"),
    ),
    "arp": (arp("10.0.0.1", "10.0.0.2"), (FROM + "10.0.0.1", "10.0.0.1", "10.0.0.2", "10.0.0.110.0.0.2", FROM, TO)),
    "lldp": (ethernet(bytes(40), 0x88CC), texts(FROM, TO)),
    "cut after ethernet": (ethernet(b""), texts(FROM, TO)),
    "cut before": (b"\1\2\3", texts("", "", mac="")),
}


@pytest.mark.parametrize("record", RECORDS)
def test_a_record_gets_the_hashes_of_its_names(tmp_path, record):
    frame, names = RECORDS[record]
    stream = streamed(tmp_path, [frame])
    assert [int(stream[key][0]) for key in KEYS] == [hashed(text) for text in names]
    assert stream["size"][0] == len(frame)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.sampled_from([0, 0, 0, 1, 0x10, 0xABCD]), min_size=8, max_size=8), st.integers(0, 2**32 - 1))
def test_addresses_are_written_as_the_standard_library_writes_them(tmp_path_factory, groups, v4):
    packed = struct.pack(">8H", *groups)
    source, target = ipaddress.IPv6Address(packed), ipaddress.IPv4Address(v4)
    folder = tmp_path_factory.mktemp("addresses")
    frames = [
        ethernet(make.ipv6(str(source), "::1", 59, b""), 0x86DD),
        ethernet(make.ipv4(str(target), "1.1.1.1", 2, b"")),
    ]
    stream = streamed(folder, frames)
    assert stream["source"][0] == hashed(str(source))
    assert stream["source"][1] == hashed(str(target))


def test_the_oracles_siphash_gives_the_published_vectors():
    for length, expected in (
        (0, 0x726FDB47DD0E0E31),
        (7, 0xAB0200F58B01D137),
        (8, 0x93F5F5799A932462),
        (15, 0xA129CA6149BE45E5),
    ):
        assert siphash(KEY, bytes(range(length))) == expected


def test_undelimited_names_collide_as_in_the_original(tmp_path):
    frames = [
        ethernet(make.ipv4(source, "9.9.9.9", 6, make.tcp(port, 80)))
        for source, port in (("10.0.0.1", 180), ("10.0.0.11", 80))
    ]
    stream = streamed(tmp_path, frames)
    assert stream["source_socket"][0] == stream["source_socket"][1]
    assert stream["source"][0] != stream["source"][1]


def test_another_key_gives_other_identities_with_the_same_structure(tmp_path):
    frames = [frame for frame, _ in RECORDS.values()]
    path = written(tmp_path, make.pcap(enumerate(frames)))
    one = {key: np.array(read(path)[key]) for key in KEYS}
    two = {key: np.array(read(path, key=bytes(16))[key]) for key in KEYS}
    for key in KEYS:
        a, b = one[key], two[key]
        assert (a != b).all()
        np.testing.assert_array_equal(a[:, None] == a, b[:, None] == b)


NS = 1_700_000_000_123_456_789
FRAME = RECORDS["tcp"][0]
CONTAINERS = {
    "little-endian": (make.pcap([(NS, FRAME)]), NS // 1000 * 1000),
    "big-endian": (make.pcap([(NS, FRAME)], order=">"), NS // 1000 * 1000),
    "nanoseconds": (make.pcap([(NS, FRAME)], ns=True), NS),
    "pcapng": (make.section() + make.interface() + make.enhanced(NS // 1000, FRAME), NS // 1000 * 1000),
    "big-endian pcapng": (
        make.section(">") + make.interface(order=">", resolution=9) + make.enhanced(NS, FRAME, ">"),
        NS,
    ),
    "binary ticks": (
        make.section() + make.interface(resolution=0x80 | 10) + make.enhanced(1_700_000_000 * 1024 + 512, FRAME),
        17 * 10**17 + 5 * 10**8,
    ),
    "shifted pcapng": (
        make.section() + make.interface(offset=-3600) + make.enhanced(NS // 1000, FRAME),
        NS // 1000 * 1000 - 3600 * SECOND,
    ),
    "picoseconds": (
        make.section() + make.interface(resolution=12) + make.enhanced(1_700_000 * 10**12 + 5 * 10**11, FRAME),
        1_700_000 * SECOND + SECOND // 2,
    ),
    "2^-48 s": (
        make.section() + make.interface(resolution=0x80 | 48) + make.enhanced(50_000 << 48 | 1 << 47, FRAME),
        50_000 * SECOND + SECOND // 2,
    ),
    "unknown block": (
        make.section() + make.interface() + make.block(0xBAD, bytes(50)) + make.enhanced(NS // 1000, FRAME),
        NS // 1000 * 1000,
    ),
}


@pytest.mark.parametrize("container", CONTAINERS)
@pytest.mark.parametrize(
    "pack",
    [bytes, gzip.compress, lambda data: pa.Codec("zstd").compress(data, asbytes=True)],
    ids=["plain", "gzip", "zstd"],
)
def test_every_container_gives_the_same_record(tmp_path, container, pack):
    data, ns = CONTAINERS[container]
    stream = read(written(tmp_path, pack(data)))
    assert stream["flow"].tolist() == [0]
    assert stream["time"][0] == float(f"{ns // SECOND}.{ns % SECOND:09d}")  # as the original reads it from text
    assert stream["source_socket"][0] == hashed("10.0.0.1180")


def test_records_without_a_usable_time_are_left_out_and_reading_goes_on(tmp_path):
    data = (
        make.section()
        + make.interface()
        + make.enhanced(1, FRAME)
        + make.enhanced(2, FRAME, number=7)
        + make.block(3, struct.pack("<I", len(FRAME)))
    )
    stream = agrees(written(tmp_path, data + make.enhanced(3 * 10**6, FRAME)))
    assert stream["flow"].tolist() == [0, 0]
    assert stream["time"].tolist() == [1e-6, 3.0]


def test_size_is_that_on_the_wire_and_short_records_are_read(tmp_path):
    frame = ethernet(make.ipv4("10.0.0.1", "10.0.0.2", 6, make.tcp(1, 2, payload=bytes(1000))))
    stream = streamed(tmp_path, [frame], snaplen=60)
    assert stream["size"][0] == len(frame)
    assert stream["destination_socket"][0] == hashed("10.0.0.22")


@pytest.mark.parametrize(
    ("link", "head"), [(101, b""), (113, bytes(14) + b"\x08\0"), (276, b"\x08\0" + bytes(18)), (0, bytes([2, 0, 0, 0]))]
)
def test_other_link_types_have_addresses_and_no_mac(tmp_path, link, head):
    stream = streamed(tmp_path, [head + make.ipv4("10.0.0.1", "10.0.0.2", 17, make.udp(5, 6))], link=link)
    assert stream["sender"][0] == hashed("10.0.0.1")
    assert stream["source_socket"][0] == hashed("10.0.0.15")


def test_without_macs_the_sockets_of_an_arp_message_are_its_addresses(tmp_path):
    stream = streamed(tmp_path, [bytes(14) + b"\x08\x06" + message("10.0.0.1", "10.0.0.2")], link=113)
    assert [int(stream[key][0]) for key in KEYS] == [hashed(text) for text in texts("10.0.0.1", "10.0.0.2", mac="")]


def test_more_records_than_one_buffer_keep_their_order(tmp_path, monkeypatch):
    monkeypatch.setattr(reader, "CHUNK", reader.HISTORY + 5000)
    monkeypatch.setattr(names, "ROWS", 7)
    frames = [ethernet(make.ipv4("10.0.0.1", "10.0.0.2", 17, make.udp(i + 1, 2, bytes(i % 300)))) for i in range(500)]
    for data in (
        make.pcap([(i * SECOND, frame) for i, frame in enumerate(frames)]),
        make.section() + make.interface() + b"".join(make.enhanced(i * 10**6, frame) for i, frame in enumerate(frames)),
    ):
        stream = read(written(tmp_path, data))
        np.testing.assert_array_equal(stream["time"], np.arange(500))
        assert [int(key) for key in stream["source_socket"]] == [hashed(f"10.0.0.1{i + 1}") for i in range(500)]


@pytest.mark.parametrize("pack", [bytes, gzip.compress])
def test_a_damaged_capture_gives_what_precedes_the_damage(tmp_path, pack):
    data = make.pcap([(i * SECOND, FRAME) for i in range(10)])
    for cut in (len(data) - 5, 24 + 3 * (16 + len(FRAME)) + 2):
        expected = (cut - 24) // (16 + len(FRAME))
        assert len(read(written(tmp_path, pack(data[:cut])))["time"]) == expected
    broken = data[: 24 + 16 + len(FRAME)] + b"\xff" * 200
    assert len(read(written(tmp_path, pack(broken)))["time"]) == 1


@pytest.mark.parametrize("content", [b"\xd4\xc4", b"hello, world", b"\x1f\x8bnonsense"])
def test_what_is_no_capture_is_named(tmp_path, content):
    with pytest.raises(DataError, match=r"a\.pcap: not a capture"):
        read(written(tmp_path, content), flow_of=np.zeros(0, np.int64))


# --- flows


def layers(noise, kind, packet):
    """(link type, frame) of an IP packet behind a drawn link type, tags and tunnels; ``kind``: its EtherType."""

    def ethertype(kind, data, snap=0.3):
        """Bytes from an Ethernet type or length field on."""
        for _ in range(noise.choice([0, 0, 1, 2])):
            tag = noise.choice([0x8100, 0x88A8, 0x9100, 0x8926])
            kind, data = tag, noise.randbytes(4 if tag == 0x8926 else 2) + struct.pack(">H", kind) + data
        if noise.random() < snap:
            data = b"\xaa\xaa\x03\0\0" + noise.choice([b"\0", b"\xf8"]) + struct.pack(">H", kind) + data
            kind = len(data)
        return struct.pack(">H", kind) + data

    def labelled(kind, data):
        stack = [
            noise.getrandbits(20) << 12 | (0x100 if last else 0) | 64 for last in (*[False] * noise.randrange(3), True)
        ]
        return 0x8847, struct.pack(f">{len(stack)}I", *stack) + data

    def ppp(kind, data):
        protocol = {0x0800: 0x21, 0x86DD: 0x57, 0x8847: 0x281}[kind]
        return (bytes([protocol]) if protocol < 256 and noise.random() < 0.5 else struct.pack(">H", protocol)) + data

    def wlan(kind, data):
        quality, four = noise.random() < 0.5, noise.random() < 0.3
        head = (
            bytes([0x88 if quality else 8, 3 if four else noise.choice([1, 2])])
            + noise.randbytes(20)
            + b"\0\0"
            + noise.randbytes(6 * four)
        )
        return head + bytes(2 * quality) + b"\xaa\xaa\x03\0\0\0" + struct.pack(">H", kind) + data

    if noise.random() < 0.3:
        kind, packet = labelled(kind, packet)
    is_ip, family = kind != 0x8847, 2 if kind == 0x0800 else noise.choice([10, 23, 24, 28, 30])
    version = 228 if kind == 0x0800 else 229
    frames = {
        1: lambda: RECEIVER + SENDER + ethertype(kind, packet),
        9: lambda: noise.choice([b"", b"\xff\x03"]) + ppp(kind, packet),
        50: lambda: noise.choice([b"\xff\x03" + ppp(kind, packet), b"\x0f\0" + struct.pack(">H", kind) + packet]),
        51: lambda: b"\x11\0" + noise.randbytes(4) + ppp(kind, packet),
        104: lambda: b"\x0f\0" + struct.pack(">H", kind) + packet,
        105: lambda: wlan(kind, packet),
        107: lambda: b"\x18\x61" + struct.pack(">H", kind) + packet,
        113: lambda: bytes(14) + ethertype(kind, packet, snap=0),
        127: lambda: struct.pack("<BBHIB", 0, 0, 9, 2, 0) + wlan(kind, packet),
        192: lambda: struct.pack("<BBHI", 0, 0, 8, 1) + RECEIVER + SENDER + ethertype(kind, packet),
        204: lambda: b"\x01\xff\x03" + ppp(kind, packet),
        276: lambda: struct.pack(">H", kind) + bytes(18) + packet,
    }
    raw = {
        0: lambda: struct.pack("<I", family) + packet,
        12: lambda: packet,
        101: lambda: packet,
        108: lambda: struct.pack(">I", family) + packet,
        version: lambda: packet,
        239: lambda: bytes([2 if family == 2 else 10, 0, 0, 0]) + struct.pack("<HH", 4 + len(packet), 9) + packet,
    }
    return frames | (raw if is_ip else {})


def drawn_packet(noise):
    """(EtherType, IP packet) between few hosts and ports: TCP, UDP, fragments, extension headers, tunnels, protocols
    without ports."""
    hosts = noise.sample([1, 2, 3], 2)
    ends = [noise.randint(1, 2), noise.randint(1, 2)]
    payload = noise.randbytes(noise.randrange(30))
    inner = make.ipv4("192.168.0.1", "192.168.0.2", make.UDP, make.udp(7, 8))
    protocol, segment = noise.choice(
        [
            (make.TCP, make.tcp(*ends, noise.randrange(256), 500, payload)),
            (make.UDP, make.udp(*ends, payload)),
            (132, struct.pack(">HHI", *ends, 0)),
            (make.ICMP, b"\x08\0\0\0" + payload),
            (4, inner),
            (47, b"\0\0\x08\0" + inner),
        ]
    )
    if noise.random() < 0.5:
        fragment = noise.choice([0, 0, 0x4000, 0x2000, 5])
        return 0x0800, make.ipv4(
            *(f"10.0.0.{host}" for host in hosts),
            protocol,
            segment,
            fragment=fragment,
            options=bytes(noise.choice([0, 8])),
        )
    following, head = protocol, b""
    for _ in range(noise.choice([0, 0, 1, 2])):
        extension = noise.choice([0, 43, 44, 60])
        rest = struct.pack(">HI", noise.choice([0, 1, 48]), 9) if extension == 44 else bytes(6)
        following, head = extension, bytes([following, 0]) + rest + head
    return 0x86DD, make.ipv6(*(f"fe80::{host}" for host in hosts), following, head + segment)


def drawn_capture(noise):
    """A pcapng with an interface for every link type, packets twice, late ones, frames of no flow, records cut
    short."""
    links, blocks, ts = {}, [], 1_700_000_000 * SECOND
    described = b""
    for _ in range(noise.randrange(60)):
        kind, packet = drawn_packet(noise)
        choices = layers(noise, kind, packet)
        link = noise.choice(list(choices))
        frame = choices[link]()
        if noise.random() < 0.1:
            link, frame = noise.choice(
                [
                    (1, arp("10.0.0.1", "10.0.0.2")),
                    (1, ethernet(bytes(40), 0x88CC)),
                    (113, bytes(14) + b"\x08\x06" + message("10.0.0.3", "10.0.0.1")),
                ]
            )
        if link not in links:
            links[link] = len(links)
            described += make.interface(link, resolution=9)
        ts += noise.choice([0, 10**6, SECOND, 10 * SECOND])
        late = noise.choice([0, 0, 0, 2 * SECOND, 200 * SECOND]) if noise.random() < 0.3 else 0
        captured = frame[: noise.choice([len(frame), len(frame), len(frame), noise.randint(1, len(frame))])]
        for copy in range(noise.choice([1, 1, 1, 2, 3])):
            blocks.append(make.enhanced(ts - late + 1000 * copy, captured, number=links[link], original=len(frame)))
    return make.section() + described + b"".join(blocks)


RULES = st.builds(
    FlowRules,
    idle_timeout_s=st.sampled_from([120.0, 3.0]),
    active_timeout_s=st.sampled_from([None, 10.0]),
    tcp_close=st.sampled_from(TCP_CLOSE),
    remove_mirrored=st.booleans(),
)


@settings(max_examples=150, deadline=None)
@given(st.integers(0, 2**32), RULES, st.booleans())
def test_packets_of_any_encapsulation_are_in_the_stream_as_the_flows_count_them(tmp_path_factory, seed, rules, tight):
    path = tmp_path_factory.getbasetemp() / "drawn.pcapng"
    path.write_bytes(drawn_capture(random.Random(seed)))
    with pytest.MonkeyPatch.context() as patch:
        for module, name, value in SMALL if tight else ():
            patch.setattr(module, name, value)
        agrees(path, rules)


@pytest.mark.parametrize(("link", "frame"), [case[:2] for case in TUNNELLED])
def test_link_layers(tmp_path, link, frame):
    stream = agrees(written(tmp_path, make.pcap([(0, frame), (SECOND, frame)], link=link)))
    assert stream["flow"].tolist() == [0, 0]


@pytest.mark.parametrize("which", range(0, len(SEEDS), 3))
def test_mutated_captures_agree_with_the_oracle(tmp_path, which):
    noise = random.Random(which)
    for _ in range(40):
        agrees(written(tmp_path, mutate(SEEDS[which], noise)), FlowRules(remove_mirrored=noise.random() < 0.5))


@pytest.mark.parametrize("order", ["in order", "late", "appended"])
def test_packets_that_come_late_stay_where_they_were_and_find_their_flows(tmp_path, order, monkeypatch):
    packets = [
        (i * SECOND, ethernet(make.ipv4("10.0.0.1", "10.0.0.2", 17, make.udp(1 + i // 50 % 3, 9)))) for i in range(600)
    ]
    if order == "late":
        packets = [
            packet for i in range(0, 600, 4) for packet in (packets[i + 2], packets[i], packets[i + 3], packets[i + 1])
        ]
    elif order == "appended":
        packets = packets[300:] + packets[:300]
    for module, name, value in SMALL:
        monkeypatch.setattr(module, name, value)
    stream = agrees(written(tmp_path, make.pcap(packets)), FlowRules(idle_timeout_s=60.0))
    assert stream["time"].tolist() == [ns / SECOND for ns, _ in packets]


def test_mirrored_copies_are_in_the_stream_as_far_as_flows_have_them(tmp_path):
    frames = [arp("10.0.0.1", "10.0.0.2"), FRAME, FRAME, ethernet(bytes(40), 0x88CC)]
    path = written(tmp_path, make.pcap([(i * 1000, frame) for i, frame in enumerate(frames)]))
    assert agrees(path)["flow"].tolist() == [-1, 0, 0, -1]
    assert agrees(path, FlowRules(remove_mirrored=True))["flow"].tolist() == [-1, 0, -1]


def test_flows_that_are_not_stored_have_no_packets(tmp_path):
    frames = [RECORDS[name][0] for name in ("icmp", "later fragment", "igmp", "icmp")]
    path = written(tmp_path, make.pcap([(i * SECOND, frame) for i, frame in enumerate(frames)]))
    assert read(path, flow_of=np.array([5, -1, 2]))["flow"].tolist() == [5, -1, 2, 5]


@pytest.mark.parametrize("n_flows", [1, 3])
def test_a_capture_that_has_changed_is_refused(tmp_path, n_flows):
    path = written(tmp_path, make.pcap([(0, RECORDS["icmp"][0]), (1, RECORDS["igmp"][0])]))
    with pytest.raises(DataError, match=r"a\.pcap: its flows are not those"):
        read(path, flow_of=np.arange(n_flows))


CASES = sorted(path for path in (SHARED_DATA / "cases").glob("stream_*/**/*") if ".pcap" in path.name)
ODD = sorted((SHARED_DATA / "odd_pcaps").glob("*.pcap*"))


@needs_shared_data
@pytest.mark.parametrize("path", [*CASES, *ODD], ids=lambda path: f"{path.parent.name}/{path.name}")
@pytest.mark.parametrize("removed", [False, True], ids=["", "remove_mirrored"])
def test_cases_and_odd_captures_agree_with_the_oracle(tmp_path, path, removed):
    copy = tmp_path / path.name
    copy.write_bytes(path.read_bytes())
    stream = agrees(copy, FlowRules(remove_mirrored=removed))
    if path in CASES:
        assert np.count_nonzero(stream["flow"] >= 0) == (35 if path.parent.name == "stream_unknown_interface" else 36)
        assert set(stream["flow"].tolist()) == set(range(6))


# --- the folder


def test_a_written_stream_is_read_back_capture_by_capture(tmp_path):
    paths = [
        written(tmp_path, make.pcap(enumerate(frame for frame, _ in list(RECORDS.values())[:n])), f"{n}.pcap")
        for n in (3, 0, 7)
    ]
    streams = [read(path) for path in paths]
    with StreamWriter(tmp_path / "stream", KEY) as writer:
        for path in paths:
            writer.add(path.stem, path, FlowRules(), np.arange(len(read_flows(path, FlowRules())[1])))
    found, captures = open_stream(tmp_path / "stream")
    assert captures == {"3": range(3), "0": range(3, 3), "7": range(3, 10)}
    for column, dtype in COLUMNS.items():
        values = found[column]
        assert isinstance(values, np.memmap)
        assert values.dtype == dtype
        np.testing.assert_array_equal(values, np.concatenate([stream[column] for stream in streams]))


def test_a_stream_of_no_packets_can_be_written_and_read(tmp_path):
    with StreamWriter(tmp_path / "stream", KEY):
        pass
    found, captures = open_stream(tmp_path / "stream")
    assert (len(found["time"]), captures) == (0, {})


def test_an_unfinished_stream_is_refused(tmp_path):
    path = written(tmp_path, make.pcap([(0, FRAME)]))
    with contextlib.suppress(RuntimeError), StreamWriter(tmp_path / "stream", KEY) as writer:
        writer.add("a", path, FlowRules(), np.arange(1))
        raise RuntimeError("killed")
    with pytest.raises(DataError, match="no complete packet stream"):
        open_stream(tmp_path / "stream")
