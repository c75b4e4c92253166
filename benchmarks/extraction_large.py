"""Extraction of large captures against a raw read, argus and nfstream, in one run; each measurement is a process of its own.

    python -m benchmarks.extraction_large ONE.pcap TWO.pcap [--nfstream PYTHON]

``PYTHON`` is an interpreter that has nfstream.  Ours gives sequences and the 20 features; segments are dropped once their features are computed, so
that peak memory is the extractor's.  A tool that is not there is reported as missing.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import time
from pathlib import Path

RAW = """
import sys, time
buffer = bytearray(1 << 20)
for _ in range(2):
    started = time.perf_counter()
    with open(sys.argv[1], "rb", buffering=0) as stream:
        while stream.readinto(buffer):
            pass
    seconds = time.perf_counter() - started
print(seconds)
"""
OURS = """
import json, resource, sys, time
from pathlib import Path
from datasets_registry.flows.extract import extract_flows
from datasets_registry.flows.features import flow_features
from datasets_registry.flows.rules import FlowRules

class Sink:
    flows = 0
    def append(self, segment):
        flow_features(segment.offsets, segment.size, segment.iat, segment.bits)
        self.flows += len(segment)
    def clear(self):
        self.flows = 0

sink = Sink()
sys.stdin.readline()
started = time.perf_counter()
scan = extract_flows(Path(sys.argv[1]), FlowRules(), sink)
seconds = time.perf_counter() - started
usage = resource.getrusage(resource.RUSAGE_SELF)
print(json.dumps([seconds, scan.records, sink.flows, usage.ru_maxrss / 1024]))
"""
NFSTREAM = """
import sys, time
from nfstream import NFStreamer
started = time.perf_counter()
flows = sum(1 for _ in NFStreamer(source=sys.argv[1], splt_analysis=64, statistical_analysis=True, n_dissections=0, n_meters=1))
print(time.perf_counter() - started)
"""


def ours(*paths: str) -> tuple[float, list[tuple[float, int, int, float]]]:
    """Wall seconds of the slowest, one process each at the same time, and (seconds, packets, flows, peak MiB) of each."""
    command = [sys.executable, "-c", OURS]
    children = [subprocess.Popen([*command, path], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for path in paths]
    time.sleep(6)  # imports
    results = []
    for child in children:
        assert child.stdin is not None
        child.stdin.write("\n")
        child.stdin.flush()
    for child in children:
        results.append(tuple(json.loads(child.communicate()[0])))
    return max(result[0] for result in results), results


def seconds_of(command: list[str]) -> float:
    return float(subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()[-1])


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("one")
    parser.add_argument("two")
    parser.add_argument("--nfstream")
    arguments = parser.parse_args()
    size = Path(arguments.one).stat().st_size
    ours(arguments.one)  # kernels compiled, file in the page cache
    raw = seconds_of([sys.executable, "-c", RAW, arguments.one])
    alone, results = ours(arguments.one)
    _, packets, flows, peak = results[0]
    print(f"{size / 1e6:.0f} MB, {packets:,} packets, {flows:,} flows: {alone:.2f} s, {packets / alone / 1e6:.1f} M packets/s")
    print(f"of a raw read ({raw:.3f} s): {raw / alone:.1%}; peak memory {peak:.0f} MiB")
    both, _ = ours(arguments.one, arguments.two)
    print(f"two files at once: {both:.2f} s, {2 * alone / both:.2f} times one after the other")
    if shutil.which("argus"):
        started = time.perf_counter()
        subprocess.run(["argus", "-r", arguments.one, "-w", "/dev/null"], check=True, capture_output=True)
        print(f"argus: {(time.perf_counter() - started) / alone:.1f} times our time")
    else:
        print("argus: missing")
    if arguments.nfstream:
        print(f"nfstream: {seconds_of([arguments.nfstream, '-c', NFSTREAM, arguments.one]) / alone:.1f} times our time")
    else:
        print("nfstream: missing")
    return 0


if __name__ == "__main__":
    sys.exit(main())
