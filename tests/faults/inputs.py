"""Captures and label files that are not what they were, beside the commands and functions that read them."""

from __future__ import annotations

import gzip
import os
import random
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow

from datasets_registry.capture.rules import FlowRules
from datasets_registry.extraction import CaptureFile, extract_all
from datasets_registry.store import FlowStore
from datasets_registry.verify import verify_store
from janus_bench.errors import JanusBenchError
from tests import pcap_builders as build
from tests.conftest import SHARED_DATA
from tests.faults.damage import Outcome, outcome_of, outcome_of_process, wrong_with
from tests.replicas import write_cicddos2019, write_cicids2017
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


def mutated(data: bytes, noise: random.Random, begin: int = 0) -> bytes:
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


def account(path: Path, cache: Path) -> None:
    """Extract a capture; AssertionError where packets are lost without a reason, or a number is not finite."""
    cache.mkdir(exist_ok=True)
    shard = extract_all({"x": CaptureFile(path, "")}, FlowRules(), cache, 1, lambda *_: None)["x"]
    used, dropped = shard.report["used"], sum(shard.report["dropped"].values())
    assert used <= shard.report["packets"] <= used + dropped  # the end of a file that is cut is no packet
    for name in ("first", "last", "cic"):
        assert np.isfinite(shard.column(name)).all()
    packets = shard.reader()(np.arange(shard.n_flows)).packets
    assert (np.isfinite(packets["iat"]) & (packets["iat"] >= 0)).all()


LARGEST = 200_000
PROCESSES = 40
"""One command of so many is a process of its own."""


def shared_captures() -> list[bytes]:
    """Odd captures of other projects, where they are there."""
    paths = sorted(path for path in SHARED_DATA.glob("*/**/*.pcap*") if path.stat().st_size < LARGEST)
    return [path.read_bytes() for path in paths if "odd_pcaps" in path.parts or "cases" in path.parts]


class Bench:
    """Everything is read with two good datasets of other names in place, which stay as they are."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.home = folder, folder / "home"
        os.environ["JANUS_BENCH_HOME"] = str(self.home)
        self.captures = CAPTURES + shared_captures()
        self.small = folder / "small"
        self.small.mkdir()
        (self.small / "a.pcap").write_bytes(CAPTURES[0])
        (self.small / "labels.csv").write_text("\n".join(LABELS) + "\n")
        done = outcome_of("data", "add", "good", self.small)
        assert done.code == 0, done.err
        self.published = {}
        for name, write in (("cicids2017", write_cicids2017), ("cicddos2019", write_cicddos2019)):
            write(folder / name, seed=1)
            self.published[name] = sorted(path for path in (folder / name).rglob("*") if path.is_file())

    def __call__(self, seed: int) -> tuple[str, str, int]:
        """One mutation and one reader: half of the cases are captures by themselves."""
        rng = random.Random(seed)
        if seed % 2:
            return self._capture(rng)
        run: Callable[..., Outcome] = outcome_of_process if seed % PROCESSES == 0 else outcome_of
        if seed % 32 == 0:  # they take seconds
            name = rng.choice(sorted(self.published))
            file, where = rng.choice(self.published[name]), self.folder / name
            # one CSV of many rows, or of the captures: mutations near the beginning reach headers
            labels = where / "labels" / ("TrafficLabelling" if name == "cicids2017" else "")
            request = (
                "data",
                "prepare",
                name,
                "--captures",
                where / "captures",
                "--labels",
                labels,
                "--as",
                "x",
                "--replace",
            )
        else:
            file = self.small / ("a.pcap" if rng.random() < 0.4 else "labels.csv")
            request = ("data", "add", "x", self.small, "--replace")
        whole = file.read_bytes()
        file.write_bytes(mutated(whole, rng, begin=rng.choice([0, 0, 24, len(whole) // 2])))
        try:
            outcome = run(*request)
        finally:
            file.write_bytes(whole)
        return f"{file.name}, {' '.join(map(str, request[:3]))}", self._wrong_with(outcome), outcome.code

    def _capture(self, rng: random.Random) -> tuple[str, str, int]:
        place = rng.randrange(len(self.captures))
        path = self.folder / "x.pcap"
        path.write_bytes(mutated(self.captures[place], rng, begin=rng.choice([0, 4, 4, 24])))
        try:
            account(path, self.folder / "cache")
        except JanusBenchError as error:
            return f"capture {place}", "many lines" if "\n" in str(error) else "", error.exit_code
        except Exception as error:
            return f"capture {place}", f"{type(error).__name__}: {error}", 99
        return f"capture {place}", "", 0

    def _wrong_with(self, outcome: Outcome) -> str:
        datasets = self.home / "datasets"
        if wrong := wrong_with(outcome):
            return wrong
        if left := [path.name for path in datasets.iterdir() if path.name.endswith((".part", ".old"))]:
            return f"{left} is left"
        if outcome.code == 0:
            verify_store(datasets / "x")
            FlowStore.open(datasets / "x")
        return ""


def bench(folder: Path) -> Callable[[int], tuple[str, str, int]]:
    """The whole campaign of captures and label files in a new folder: one case a seed."""
    return Bench(folder)
