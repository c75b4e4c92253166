"""Extraction of a large capture against reading it, argus, nfstream and a plain dpkt loop, in one run.

    python -m benchmarks.extraction CAPTURES [--nfstream PYTHON] [--work FOLDER] [--megabytes 600] [--repeats 5]
    [--dpkt] [--against TREE]

``CAPTURES`` is a folder of classic Ethernet pcaps (searched with its subfolders), such as the real ones of
``shared/data/domains``.  From them the benchmark builds two captures of the given size in ``FOLDER`` (default: a
temporary one): copies of all of them, hosts remapped and times moved, three copies interleaved at a time.  Every
measurement is a process of its own, on warm page cache; they take turns, and medians are compared; on a machine with
other work the processors' time says more than the clock's.

Ours makes sequences (first 64 packets) and the 20 features, segment by segment; nfstream statistics and sequences of
64; argus flow records; dpkt, on the first part of the capture only, sequences in the loop that one writes first.  A raw
read is 1 MiB at a time into one buffer; beside it stands reading the file into memory, as ``Path.read_bytes`` does.  Of
a tool that is not there, the line that installs it is printed.

``--against TREE`` measures another tree of this project (an earlier commit, say) instead of the other tools, in turns
with this one.
"""

from __future__ import annotations

import argparse
import shutil
import statistics
import struct
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

# A machine may take idle pages of the page cache back within seconds, so every measurement reads its file just before
# the clock starts.
SETTLE = """
import re, resource, sys, time
from pathlib import Path
buffer = bytearray(1 << 20)
def settle():
    with open(sys.argv[1], "rb", buffering=0) as stream:
        while stream.readinto(buffer):
            pass
settle()
"""
DONE = """
own, children = resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN)
work = own.ru_utime + own.ru_stime + children.ru_utime + children.ru_stime - before
# not ru_maxrss, which a child has from the process that started it
peak = int(re.search("VmHWM:\\s+([0-9]+)", Path("/proc/self/status").read_text())[1]) / 1024
print(seconds, work, peak, *more)
"""
RAW = f"""{SETTLE}
more = []
started, before = time.perf_counter(), time.process_time()
with open(sys.argv[1], "rb", buffering=0) as stream:
    while stream.readinto(buffer):
        pass
seconds = time.perf_counter() - started
{DONE}"""
WHOLE = f"""{SETTLE}
started, before, more = time.perf_counter(), time.process_time(), []
data = Path(sys.argv[1]).read_bytes()
seconds = time.perf_counter() - started
{DONE}"""
OURS = f"""{SETTLE}
from datasets_registry.capture.extract import extract_flows
from datasets_registry.capture.features import flow_features
from datasets_registry.capture.rules import FlowRules

class Sink:
    flows = 0
    def append(self, segment):
        flow_features(segment.offsets, segment.size, segment.iat, segment.bits)
        self.flows += len(segment)
    def clear(self):
        self.flows = 0

extract_flows(Path(sys.argv[2]), FlowRules(), Sink())  # kernels loaded
settle()
print("ready", flush=True)
sys.stdin.readline()
sink, started, before = Sink(), time.perf_counter(), time.process_time()
scan = extract_flows(Path(sys.argv[1]), FlowRules(), sink)
seconds, more = time.perf_counter() - started, [scan.records, sink.flows]
{DONE}"""
NFSTREAM = f"""{SETTLE}
from nfstream import NFStreamer
started, before = time.perf_counter(), time.process_time()
streamer = NFStreamer(source=sys.argv[1], splt_analysis=64, statistical_analysis=True, n_dissections=0)
more = [sum(1 for _ in streamer)]
seconds = time.perf_counter() - started
{DONE}"""
ARGUS = f"""{SETTLE}
import subprocess
started, before, more = time.perf_counter(), time.process_time(), []
subprocess.run(["argus", "-r", sys.argv[1], "-w", "/dev/null"], check=True, capture_output=True)
seconds = time.perf_counter() - started
{DONE}"""
DPKT = f"""{SETTLE}
import dpkt
started, before, packets, flows, newest = time.perf_counter(), time.process_time(), 0, [], {{}}
with open(sys.argv[1], "rb") as stream:
    for ts, frame in dpkt.pcap.Reader(stream):
        packets += 1
        ip = dpkt.ethernet.Ethernet(frame).data
        if not isinstance(ip, (dpkt.ip.IP, dpkt.ip6.IP6)):
            continue
        size = ip.len if isinstance(ip, dpkt.ip.IP) else ip.plen + 40
        segment, sport, dport, flags, win = ip.data, 0, 0, 0, 0
        if isinstance(segment, dpkt.tcp.TCP):
            sport, dport, flags, win = segment.sport, segment.dport, segment.flags, segment.win
        elif isinstance(segment, dpkt.udp.UDP):
            sport, dport = segment.sport, segment.dport
        src, dst = (ip.src, sport), (ip.dst, dport)
        key = (*sorted([src, dst]), ip.p)
        flow = newest.get(key)
        if flow is None or float(ts) - flow["last"] > 120:
            flow = newest[key] = {{"src": src, "last": float(ts), "packets": []}}
            flows.append(flow)
        if len(flow["packets"]) < 64:
            flow["packets"].append((size, float(ts) - flow["last"], src != flow["src"], flags, win))
        flow["last"] = float(ts)
seconds, more = time.perf_counter() - started, [packets, len(flows)]
{DONE}"""


@dataclass(frozen=True)
class Trace:
    """n records of all captures: data (bytes,), begin and end (n,) of each record in it, ts (n,) in µs, hosts: offsets
    of bytes of addresses."""

    data: NDArray[np.uint8]
    begin: NDArray[np.int64]
    end: NDArray[np.int64]
    ts: NDArray[np.int64]
    hosts: NDArray[np.int64]


def read_trace(folder: Path) -> Trace:
    """The captures one after the other, their pauses cut to 5 minutes; a record keeps its frame as it was captured."""
    parts, begins, ends, times, hosts = [], [], [], [], []
    base = shift = 0
    for path in sorted(folder.rglob("*.pcap")):
        data = path.read_bytes()
        if data[:4] != b"\xd4\xc3\xb2\xa1" or data[20:24] != b"\1\0\0\0":
            continue
        at, own = 24, []
        while at + 16 <= len(data):
            seconds, micros, captured, _ = struct.unpack_from("<4I", data, at)
            kind, ip = int.from_bytes(data[at + 28 : at + 30], "big"), at + 30
            while kind in (0x8100, 0x88A8):
                kind, ip = int.from_bytes(data[ip + 2 : ip + 4], "big"), ip + 4
            if kind == 0x0800:
                hosts += [base + ip + 13, base + ip + 17]
            elif kind == 0x86DD:
                hosts += [base + ip + 13, base + ip + 29]
            own.append(seconds * 10**6 + micros)
            begins.append(base + at)
            at += 16 + captured
            ends.append(base + at)
        order = np.argsort(own, kind="stable")
        gaps = np.minimum(np.diff(np.array(own)[order], prepend=own[order[0]]), 300 * 10**6)
        moved = np.empty(len(own), np.int64)
        moved[order] = np.cumsum(gaps) + shift
        times.append(moved)
        shift = int(moved.max()) + 10**6
        parts.append(data)
        base += len(data)
    if not parts:
        raise SystemExit(f"{folder}: no classic Ethernet pcap in it")
    padded = np.frombuffer(b"".join(parts) + bytes(64), np.uint8).copy()
    return Trace(padded, np.array(begins), np.array(ends), np.concatenate(times), np.array(hosts))


def build(trace: Trace, path: Path, n_bytes: int, salt: int) -> None:
    """Three copies of the trace in each other's pauses, then three more after them, until the file has ``n_bytes``;
    each with other hosts."""
    span = int(trace.ts.max()) + 300 * 10**6
    lengths = np.tile(trace.end - trace.begin, 3)
    with path.open("wb") as out:
        out.write(struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 262144, 1))
        for turn in range(1000):
            copies = []
            for part in range(3):
                copy = trace.data.copy()
                copy[trace.hosts] ^= np.uint8((turn * 3 + part) * 7 + salt & 255)
                copies.append(copy)
            ts = (
                np.concatenate([trace.ts + part * 1_000_003 for part in range(3)]) + 1_500_000_000 * 10**6 + turn * span
            )
            begin = np.concatenate([trace.begin + part * len(trace.data) for part in range(3)])
            data, order = np.concatenate(copies), np.argsort(ts, kind="stable")
            for column, value in ((0, ts // 10**6), (4, ts % 10**6)):
                for i in range(4):
                    data[begin + column + i] = value >> 8 * i & 255
            starts = np.concatenate([[0], np.cumsum(lengths[order])])
            gather = np.repeat(begin[order] - starts[:-1], lengths[order]) + np.arange(starts[-1])
            whole = starts[np.searchsorted(starts, n_bytes - out.tell(), side="right") - 1]  # no record is cut
            out.write(data[gather[:whole]].data)
            if whole < starts[-1]:
                return


class Child:
    """A measurement in a process of its own: [seconds, seconds of processors, peak MiB, ...] as it prints them."""

    def __init__(
        self, code: str, *arguments: str | Path, python: str = sys.executable, tree: Path | None = None
    ) -> None:
        """``tree``: where the project is imported from, if not from here."""
        command = [python, "-c", code, *(str(Path(argument).absolute()) for argument in arguments)]
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=tree
        )

    def wait_until_ready(self) -> None:
        assert self.process.stdout is not None
        self.process.stdout.readline()

    def result(self) -> list[float]:
        out, errors = self.process.communicate("\n")
        if self.process.returncode:
            raise SystemExit(errors)
        return [float(number) for number in out.splitlines()[-1].split()]


def ours(warm_up: Path, *paths: Path, tree: Path | None = None) -> list[list[float]]:
    """Of each path; all begin at the same moment."""
    children = [Child(OURS, path, warm_up, tree=tree) for path in paths]
    for child in children:
        child.wait_until_ready()
    for child in children:
        assert child.process.stdin is not None
        child.process.stdin.write("\n")
        child.process.stdin.flush()
    return [child.result() for child in children]


def measure(one: Path, two: Path, small: Path, repeats: int, nfstream: str | None) -> dict[str, list[list[float]]]:
    """Results of each measurement, one a repeat; the slow tools twice."""
    results: dict[str, list[list[float]]] = {}
    for repeat in range(repeats):
        runs = {
            "raw": lambda: Child(RAW, one).result(),
            "whole": lambda: Child(WHOLE, one).result(),
            "ours": lambda: ours(small, one)[0],
        }
        runs["two"] = lambda: max(ours(small, one, two))
        if shutil.which("argus"):
            runs["argus"] = lambda: Child(ARGUS, one).result()
        if nfstream and repeat < 2:
            runs["nfstream"] = lambda: Child(NFSTREAM, one, python=nfstream).result()
        for name, run in runs.items():
            results.setdefault(name, []).append(run())
            print(f"  {name} {results[name][-1][0]:.3f} s", file=sys.stderr)
    return results


def compare(one: Path, small: Path, repeats: int, tree: Path) -> None:
    """This tree against another, in turns; the ratios are of medians."""
    results: dict[str, list[list[float]]] = {"other": [], "this": []}
    for _ in range(repeats):
        results["other"] += ours(small, one, tree=tree)
        results["this"] += ours(small, one)
    medians = {
        name: [statistics.median(column) for column in zip(*runs, strict=True)] for name, runs in results.items()
    }
    for name, (seconds, work, peak, packets, flows) in medians.items():
        print(
            f"{name} tree: {seconds:.3f} s, {work:.3f} s of processors, peak memory {peak:.0f} MiB; "
            f"{packets:,.0f} packets, {flows:,.0f} flows"
        )
    speed, by_work = (medians["other"][column] / medians["this"][column] for column in (0, 1))
    print(f"this tree has {speed:.3f} times the speed of the other ({by_work:.3f} by processor time)")


def report(one: Path, results: dict[str, list[list[float]]], dpkt_rate: float | None) -> None:
    seconds = {name: statistics.median(run[0] for run in runs) for name, runs in results.items()}
    work = {name: statistics.median(run[1] for run in runs) for name, runs in results.items()}
    _, _, peak, packets, flows = max(results["ours"], key=lambda run: run[2])
    alone, megabytes = seconds["ours"], one.stat().st_size / 1e6

    def speed(name: str) -> str:
        return (
            f"ours has {seconds[name] / alone:.3g} times its speed ({work[name] / work['ours']:.3g} by processor time)"
        )

    print(
        f"capture: {megabytes:.0f} MB, {packets:,.0f} packets ({megabytes * 1e6 / packets:.0f} bytes each), "
        f"{flows:,.0f} flows"
    )
    print(
        f"ours: {alone:.3f} s, {packets / alone / 1e6:.1f} M packets/s, {megabytes / alone:,.0f} MB/s, peak "
        f"memory {peak:.0f} MiB"
    )
    for name, label in (("raw", "raw read into one buffer"), ("whole", "reading the file into memory")):
        print(f"{label}: {seconds[name]:.3f} s; {speed(name)}")
    print(f"two files on two cores: {seconds['two']:.3f} s, {2 * alone / seconds['two']:.2f} times one after the other")
    for name, install in (
        ("argus", "apt-get install argus-server"),
        ("nfstream", "python -m venv NFS; NFS/bin/pip install nfstream; --nfstream NFS/bin/python"),
    ):
        if name in seconds:
            print(f"{name}: {seconds[name]:.2f} s, {packets / seconds[name] / 1e6:.2f} M packets/s; {speed(name)}")
        else:
            print(f"{name}: missing ({install})")
    if dpkt_rate is not None:
        print(f"dpkt: {dpkt_rate / 1e6:.3f} M packets/s; ours is {packets / alone / dpkt_rate:.0f} times as fast")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("captures", type=Path)
    parser.add_argument("--nfstream", metavar="PYTHON", help="an interpreter that has nfstream")
    parser.add_argument(
        "--work", type=Path, help="folder for the captures that are built; those that are there are used again"
    )
    parser.add_argument("--megabytes", type=int, default=600)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--dpkt", action="store_true", help="also the plain dpkt loop, on 20 MB")
    parser.add_argument(
        "--against", type=Path, metavar="TREE", help="another tree of this project, in place of the tools"
    )
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        work = arguments.work or Path(temporary)
        work.mkdir(parents=True, exist_ok=True)
        one, two, small = (work / f"{name}_{arguments.megabytes}.pcap" for name in ("one", "two", "small"))
        if not all(path.is_file() for path in (one, two, small)):
            trace = read_trace(arguments.captures)
            for path, size, salt in ((one, arguments.megabytes, 1), (two, arguments.megabytes, 2), (small, 20, 3)):
                build(trace, path, size * 10**6, salt)
        for path in (one, two):
            Child(RAW, path).result()  # into the page cache
        if arguments.against:
            compare(one, small, arguments.repeats, arguments.against)
            return 0
        results = measure(one, two, small, arguments.repeats, arguments.nfstream)
        rate = None
        if arguments.dpkt:
            elapsed, _, _, packets, _ = Child(DPKT, small).result()
            rate = packets / elapsed
        report(one, results, rate)
    return 0


if __name__ == "__main__":
    sys.exit(main())
