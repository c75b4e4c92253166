"""Seeded damage to captures and label files: an account or one line comes of it, never a traceback, and finite
numbers."""

from __future__ import annotations

import gzip
import random
import struct
from collections.abc import Callable

import numpy as np
import pyarrow
import pytest

from datasets_registry.capture.rules import FlowRules
from datasets_registry.drivers import cicddos2019, cicids2017
from datasets_registry.drivers.csv_rows import read_rows
from datasets_registry.extraction import CaptureFile, extract_all
from datasets_registry.ingest import ingest_folder
from datasets_registry.labelling.labels_csv import read_labels
from janus_bench.errors import JanusBenchError
from tests import pcap_builders as build
from tests.test_capture import TUNNELLED
from tests.test_drivers_csv import HEADER as CIC_HEADER
from tests.test_drivers_csv import ROW as CIC_ROW

S = 10**9
FRAMES = [(S + i * 10_000, frame) for i, (link, frame, _) in enumerate(TUNNELLED) if link == 1]
FRAMES += [
    (2 * S + i, build.ethernet(build.ipv4("10.0.0.1", "10.0.0.2", 6, build.tcp(1000 + i, 80, i)))) for i in range(20)
]
PCAPNG = build.section() + build.interface(resolution=9) + b"".join(build.enhanced(ts, frame) for ts, frame in FRAMES)
CAPTURES = [
    build.pcap(FRAMES),
    build.pcap(FRAMES, order=">", ns=True),
    PCAPNG,
    gzip.compress(build.pcap(FRAMES)),
    pyarrow.compress(PCAPNG, codec="zstd", asbytes=True),
    struct.pack("<II", 0x184D2A50, 4) + bytes(4) + pyarrow.compress(build.pcap(FRAMES), codec="zstd", asbytes=True),
]
LABELS = ["file,ts_start,src_ip,src_port,dst_ip,dst_port,proto,label,ts_end,site"]
LABELS += [
    f"a.pcap,2.{i:09},10.0.0.1,{1000 + i},10.0.0.2,80,tcp,{'benign' if i % 2 else 'scän'},{'' if i % 3 else '3.5'},lab"
    for i in range(20)
]
CIC = [CIC_HEADER, *[CIC_ROW.replace("1000", str(1000 + i)).replace("9:15", f"9:{15 + i}") for i in range(20)]]


def damaged(data: bytes, noise: random.Random, begin: int = 0) -> bytes:
    """Bytes flipped, cut off, emptied, swapped, doubled, set to zero or to what means something to a parser."""
    out = bytearray(data)
    for _ in range(noise.randint(1, 5)):
        at, size = noise.randrange(begin, max(len(out), begin + 1)), noise.randint(1, 40)
        kind = noise.randrange(8)
        if kind == 0:
            out[at : at + 1] = bytes([noise.randrange(256)])
        elif kind == 1:
            del out[at:]
        elif kind == 2:
            del out[at : at + size]
        elif kind == 3:
            out[at : at + size] = out[at : at + size][::-1]
        elif kind == 4:
            out[at:at] = out[at : at + size]
        elif kind == 5:
            out[at : at + size] = bytes(len(out[at : at + size]))
        elif kind == 6:
            out[at : at + 4] = noise.choice(
                [b"\xff\xff\xff\xff", b"\x7f\xff\xff\xff", b"\0\0\0\x80", b"\xff\xff\xff\x7f"]
            )
        else:
            numbers = [b"nan", b"-1", b"1e999", b"inf", b"99999999999999999999", b"2017-02-30 25:61"]
            tokens = [b"\r", b"\n", b'"', b",", b"\0", b"\xff\xfe", b"\xef\xbb\xbf", *numbers]
            out[at:at] = noise.choice(tokens)
    return bytes(out)


def account_or_one_line(read: Callable[[], object], data: bytes) -> bool:
    """Whether it was read; an error is one line, and one that a user can act on."""
    try:
        read()
    except JanusBenchError as error:
        assert "\n" not in str(error), data  # noqa: PT017
        return False
    return True


@pytest.mark.parametrize("which", range(len(CAPTURES)))
def test_damaged_captures_are_accounted_for_or_refused_in_one_line(tmp_path, which):
    noise, path, cache = random.Random(which), tmp_path / "x.pcap", tmp_path / "cache"
    cache.mkdir()

    def extract() -> None:
        shard = extract_all({"x.pcap": CaptureFile(path, "")}, FlowRules(), cache, 1, lambda *_: None)["x.pcap"]
        assert shard.report["packets"] >= shard.report["used"]
        for name in ("first", "last", "cic"):
            assert np.isfinite(shard.column(name)).all()
        packets = shard.reader()(np.arange(shard.n_flows)).packets
        assert (np.isfinite(packets["iat"]) & (packets["iat"] >= 0)).all()

    read = 0
    for _ in range(60):
        data = damaged(CAPTURES[which], noise, begin=noise.choice([0, 4, 4, 24]))
        path.write_bytes(data)
        read += account_or_one_line(extract, data)
    assert read >= 20


def test_damaged_labels_are_read_or_refused_in_one_line(tmp_path):
    noise = random.Random(3)
    (tmp_path / "a.pcap").write_bytes(build.pcap(FRAMES))
    whole, read = ("\n".join(LABELS) + "\n").encode(), 0
    for _ in range(400):
        data = damaged(whole, noise, begin=noise.choice([0, len(LABELS[0])]))
        (tmp_path / "labels.csv").write_bytes(data)
        read += account_or_one_line(lambda: read_labels(tmp_path), data)
    assert read >= 5  # any value that is none refuses the whole file


def test_datasets_of_damaged_labels_and_captures_are_whole_or_absent(tmp_path):
    noise, folder, store = random.Random(4), tmp_path / "captures", tmp_path / "store"
    folder.mkdir()
    added = 0
    for case in range(60):
        capture, labels = build.pcap(FRAMES), ("\n".join(LABELS) + "\n").encode()
        (folder / "a.pcap").write_bytes(damaged(capture, noise, 24) if case % 3 else capture)
        (folder / "labels.csv").write_bytes(labels if case % 3 == 1 else damaged(labels, noise, len(LABELS[0])))
        added += account_or_one_line(lambda: ingest_folder(folder, store, name="x", stream=True), labels)
    assert added >= 10
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


@pytest.mark.parametrize("driver", [cicids2017, cicddos2019])
def test_damaged_csvs_of_drivers_are_accounted_for_or_refused_in_one_line(tmp_path, driver):
    noise, path, whole = random.Random(5), tmp_path / "x.csv", ("\r\n".join(CIC) + "\r\n").encode()
    read = 0

    def rows() -> None:
        found = read_rows(path, driver.CSVS.form, driver.LABELS)
        assert found.rows.height + sum(found.left_out.values()) == found.lines
        assert sum(count for count, _ in found.faults.values()) == found.left_out["bad_rows"]

    for _ in range(200):
        data = damaged(whole, noise, begin=noise.choice([0, len(CIC_HEADER)]))
        path.write_bytes(data)
        read += account_or_one_line(rows, data)
    assert read >= 100
