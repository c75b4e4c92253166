"""Extraction speed: our extractor against a plain dpkt loop, on the same captures in the same run; the ratio is what counts.

    python -m benchmarks.extraction FOLDER [FOLDER ...]

Both make flows (initiator, idle timeout, first 64 packets) with their sequences; ours also computes the 20 features.  The kernels are compiled (or
loaded from the cache) before the clock starts, and that time is printed apart.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

import dpkt

from datasets_registry.flows.extract import read_flows
from datasets_registry.flows.features import flow_features
from datasets_registry.flows.rules import FlowRules
from harness.contract import MAX_PACKETS

IDLE_TIMEOUT_S = 120.0


def ours(path: Path) -> tuple[int, int]:
    """(packets, flows) of a capture."""
    scan, flows = read_flows(path, FlowRules(idle_timeout_s=IDLE_TIMEOUT_S))
    flow_features(flows.offsets, flows.size, flows.iat, flows.bits)
    return scan.records, len(flows)


def plain_dpkt(path: Path) -> tuple[int, int]:
    """The loop that one writes first."""
    packets, flows, newest = 0, [], {}
    with path.open("rb") as stream:
        for ts, frame in dpkt.pcap.Reader(stream):
            packets += 1
            ip = dpkt.ethernet.Ethernet(frame).data
            if not isinstance(ip, dpkt.ip.IP | dpkt.ip6.IP6):
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
            if flow is None or float(ts) - flow["last"] > IDLE_TIMEOUT_S:
                flow = newest[key] = {"src": src, "last": float(ts), "packets": []}
                flows.append(flow)
            if len(flow["packets"]) < MAX_PACKETS:
                flow["packets"].append((size, float(ts) - flow["last"], src != flow["src"], flags, win))
            flow["last"] = float(ts)
    return packets, len(flows)


def main(folders: list[str]) -> int:
    paths = sorted(path for folder in folders for path in Path(folder).glob("*.pcap"))
    if not paths:
        print("usage: python -m benchmarks.extraction FOLDER_OF_PCAPS [...]", file=sys.stderr)
        return 2
    started = time.perf_counter()
    ours(paths[0])
    print(f"first call, kernels compiled or loaded: {time.perf_counter() - started:.2f} s")
    results = {}
    for name, extract in (("ours", ours), ("dpkt", plain_dpkt)):
        started = time.perf_counter()
        counts = [extract(path) for path in paths]
        seconds = time.perf_counter() - started
        packets, flows = sum(p for p, _ in counts), sum(f for _, f in counts)
        megabytes = sum(path.stat().st_size for path in paths) / 1e6
        results[name] = (seconds, packets, flows)
        rates = f"{packets / seconds / 1e6:.2f} M packets/s, {megabytes / seconds:.0f} MB/s"
        print(f"{name}: {packets:,} packets, {flows:,} flows, {seconds:.2f} s, {rates}")
    if results["ours"][1:] != results["dpkt"][1:]:
        print("the two disagree in packets or flows", file=sys.stderr)
        return 1
    print(f"ratio: {results['dpkt'][0] / results['ours'][0]:.0f} times dpkt (one thread each, {len(paths)} captures)")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
