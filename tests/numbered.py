"""Captures of a SYNTHETIC network in which every flow carries a number in its packet sizes, so that whoever sees a flow
can say which one it is."""

from __future__ import annotations

import csv
import socket
import struct
from pathlib import Path

START = 1_700_000_000.0
CAPTURES, BENIGN, ATTACKS = 12, 60, 60


def write_numbered(folder: Path, first: int) -> Path:
    """Twelve captures of 60 benign flows, the last two with 60 attack flows each, numbered from ``first`` on (below 10
    000).

    Flow k is a UDP packet of 100 + k // 100 bytes and an answer of 100 + k % 100.  Two flows each share a 5-tuple, 200
    s apart: one session.
    """
    folder.mkdir(parents=True)
    number = first
    with (folder / "labels.csv").open("w", newline="") as file:
        labels = csv.writer(file)
        labels.writerow(["file", "ts_start", "src_ip", "src_port", "dst_ip", "dst_port", "proto", "label", "family"])
        for capture in range(CAPTURES):
            packets = []
            for place in range(BENIGN + (ATTACKS if capture >= CAPTURES - 2 else 0)):
                attack = place >= BENIGN
                when = START + 3600 * capture + 3 * (place // 2) + 200 * (place % 2) + (0.001 * number % 1)
                ends = (
                    f"10.{first // 1000}.{capture}.{place % 40 // 2 + 1}",
                    20000 + place // 2,
                    "10.200.0.9" if attack else "10.200.0.1",
                    53,
                )
                packets += [
                    (when, _udp(*ends, 100 + number // 100)),
                    (when + 0.01, _udp(*ends[2:], *ends[:2], 100 + number % 100)),
                ]
                labels.writerow(
                    [
                        f"{capture:02d}.pcap",
                        f"{when:.6f}",
                        *ends,
                        17,
                        "attack" if attack else "benign",
                        "knocking" if attack else "asking",
                    ]
                )
                number += 1
            _write_pcap(folder / f"{capture:02d}.pcap", sorted(packets))
    return folder


def number_of(sizes: tuple[int, int]) -> int:
    """Of the IP lengths of a flow's two packets."""
    return (sizes[0] - 100) * 100 + sizes[1] - 100


def _udp(source: str, sport: int, destination: str, dport: int, length: int) -> bytes:
    udp = struct.pack("!HHHH", sport, dport, length - 20, 0) + bytes(length - 28)
    ip = struct.pack(
        "!BBHHHBBH4s4s", 0x45, 0, length, 0, 0, 64, 17, 0, socket.inet_aton(source), socket.inet_aton(destination)
    )
    return bytes(12) + b"\x08\x00" + ip + udp


def _write_pcap(path: Path, packets: list[tuple[float, bytes]]) -> None:
    with path.open("wb") as file:
        file.write(struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 65535, 1))
        for when, data in packets:
            microseconds = round(when * 1e6)
            file.write(struct.pack("<IIII", microseconds // 10**6, microseconds % 10**6, len(data), len(data)) + data)
