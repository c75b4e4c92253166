"""Writes one small SYNTHETIC network as real captures with labels: DNS and short TCP sessions, and a port scan."""

from __future__ import annotations

import csv
import socket
import struct
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np

START = 1_700_000_000.0
SYN, ACK, PSH_ACK, FIN_ACK, SYN_ACK, RST_ACK = 0x02, 0x10, 0x18, 0x11, 0x12, 0x14


def write(folder: Path) -> None:
    """Twelve captures of 60 benign flows, the last two with 60 scan probes each, and labels.csv."""
    rng = np.random.default_rng(1)
    with (folder / "labels.csv").open("w", newline="") as file:
        labels = csv.writer(file)
        labels.writerow(["file", "ts_start", "src_ip", "src_port", "dst_ip", "dst_port", "proto", "label", "family"])
        for capture in range(12):
            name, start = f"segment_{capture:02d}.pcap", START + 3600 * capture
            packets: list[tuple[float, bytes]] = []
            for number in range(60):
                host, port, when = f"10.9.{capture}.{number % 20 + 1}", 20000 + number, start + 5.0 * number
                dns = rng.random() < 0.5
                flow = _dns(rng, host, port) if dns else _web(rng, host, port)
                packets += [(when + after, packet) for after, packet in flow]
                server = ("10.9.0.53", 53, 17) if dns else ("198.51.100.7", 443, 6)
                labels.writerow([name, f"{when:.6f}", host, port, *server, "benign", "dns" if dns else "web"])
            for number in range(60 if capture >= 10 else 0):
                port, when = 1000 + number, start + 400 + 0.01 * number
                packets += [
                    (when, _tcp("10.9.0.66", 55555, "10.9.0.10", port, SYN, 0)),
                    (when + 0.0004, _tcp("10.9.0.10", port, "10.9.0.66", 55555, RST_ACK, 0)),
                ]
                labels.writerow([name, f"{when:.6f}", "10.9.0.66", 55555, "10.9.0.10", port, 6, "attack", "port_scan"])
            _pcap(folder / name, sorted(packets, key=lambda packet: packet[0]))


def _dns(rng: np.random.Generator, host: str, port: int) -> Iterator[tuple[float, bytes]]:
    query, answer = int(rng.integers(28, 60)), int(rng.integers(60, 300))
    yield 0.0, _udp(host, port, "10.9.0.53", 53, query)
    yield float(rng.lognormal(-5, 0.6)), _udp("10.9.0.53", 53, host, port, answer)


def _web(rng: np.random.Generator, host: str, port: int) -> Iterator[tuple[float, bytes]]:
    server, when = ("198.51.100.7", 443), 0.0
    out, back = (host, port, *server), (*server, host, port)
    sizes = [1400] * int(rng.pareto(1.3) + 1)
    script = [(out, SYN, 0), (back, SYN_ACK, 0), (out, ACK, 0), (out, PSH_ACK, int(rng.integers(200, 900)))]
    script += [(back, PSH_ACK, size) for size in sizes[:40]] + [
        (out, ACK, 0),
        (out, FIN_ACK, 0),
        (back, FIN_ACK, 0),
        (out, ACK, 0),
    ]
    for ends, flags, size in script:
        yield when, _tcp(*ends, flags, size)
        when += float(rng.lognormal(-4.5, 0.5))


def _tcp(src: str, sport: int, dst: str, dport: int, flags: int, size: int) -> bytes:
    return _ip(src, dst, 6, struct.pack("!HHIIBBHHH", sport, dport, 0, 0, 5 << 4, flags, 64240, 0, 0) + bytes(size))


def _udp(src: str, sport: int, dst: str, dport: int, size: int) -> bytes:
    return _ip(src, dst, 17, struct.pack("!HHHH", sport, dport, 8 + size, 0) + bytes(size))


def _ip(src: str, dst: str, proto: int, payload: bytes) -> bytes:
    header = struct.pack(
        "!BBHHHBBH4s4s", 0x45, 0, 20 + len(payload), 0, 0, 64, proto, 0, socket.inet_aton(src), socket.inet_aton(dst)
    )
    return bytes(12) + b"\x08\x00" + header + payload


def _pcap(path: Path, packets: list[tuple[float, bytes]]) -> None:
    with path.open("wb") as file:
        file.write(struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 65535, 1))
        for when, data in packets:
            microseconds = round(when * 1e6)
            file.write(struct.pack("<IIII", microseconds // 10**6, microseconds % 10**6, len(data), len(data)) + data)


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    write(folder)
