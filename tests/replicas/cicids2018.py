"""A SYNTHETIC CSE-CIC-IDS2018: captures of single hosts, a folder per day, as unpacked from the published ``pcap.zip``.

Sources: the names of captures as users list them; hosts and times (UTC) of the corrected labels, Liu et al. 2022
(10.1109/CNS56114.2022.9947235).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime
from itertools import count
from pathlib import Path

import numpy as np

from tests.replicas.packets import ICMP, TCP, UDP, Ends, Packet, conversation, write_pcapng
from tests.replicas.truth import TrueFlow, Truth

__all__ = ["DUPLICATE", "NONE", "write_cicids2018"]

NONE = "(no label)"
DUPLICATE = "(seen from the other end)"
"""``label`` of a flow that stands in the capture of the first of its two hosts already."""

WEB, SHOP = "172.31.69.25", "172.31.69.28"
CAPTURES = {
    WEB: "UCAP172.31.69.25-part1",
    SHOP: "UCAP172.31.69.28",
    "172.31.69.24": "capEC2AMAZ-O4EL3NG-172.31.69.24",
    "172.31.69.13": "capEC2AMAZ-O4EL3NG-172.31.69.13",
    "172.31.69.10": "UCAP172.31.69.10",
    "172.31.64.111": "capDESKTOP-AN3U28N-172.31.64.111",
}
FLOOD = ["18.219.9.1", "18.219.32.43", "18.218.55.126", "52.14.136.135", "18.219.5.43", "18.218.115.60"]

DOWNLOAD, CONTROL = "Infiltration - Dropbox Download", "Infiltration - Communication Victim Attacker"
SCAN = "Infiltration - NMAP Portscan"


@dataclass(frozen=True)
class Act:
    """``n`` flows of a day; ``port``: of the destination, 0 for another one every time."""

    day: str
    begin: str
    end: str
    src: tuple[str, ...]
    dst: str
    port: int
    label: str
    proto: int = TCP
    n: int = 12


ACTS = (
    Act("Wednesday-14-02-2018", "14:40:00", "16:05:00", ("18.221.219.4",), WEB, 21, "FTP-BruteForce"),
    Act("Wednesday-14-02-2018", "18:01:21", "18:01:21", ("13.58.98.64",), WEB, 21, "FTP-BruteForce", n=2),
    Act("Wednesday-14-02-2018", "18:02:00", "19:30:00", ("13.58.98.64",), WEB, 22, "SSH-Bruteforce"),
    Act("Wednesday-14-02-2018", "13:00:00", "14:33:00", ("18.221.219.4",), WEB, 80, NONE, n=3),
    Act("Wednesday-14-02-2018", "18:10:00", "19:00:00", ("13.58.98.64",), WEB, 23, NONE, n=3),
    Act("Thursday-15-02-2018", "13:28:00", "14:11:00", ("18.219.211.138",), WEB, 80, "DoS attacks-GoldenEye"),
    Act("Thursday-15-02-2018", "15:01:00", "15:42:00", ("18.217.165.70",), WEB, 80, "DoS attacks-Slowloris"),
    Act("Friday-16-02-2018", "14:13:00", "15:04:00", ("13.59.126.31",), WEB, 21, "FTP-BruteForce"),
    Act("Friday-16-02-2018", "17:46:00", "17:57:00", ("18.219.193.20",), WEB, 80, "DoS attacks-Hulk", n=40),
    Act("Tuesday-20-02-2018", "14:14:00", "15:16:00", tuple(FLOOD), WEB, 80, "DDoS attacks-LOIC-HTTP", n=40),
    Act("Tuesday-20-02-2018", "17:15:00", "17:29:00", tuple(FLOOD), WEB, 80, "DDoS attacks-LOIC-UDP", UDP),
    Act("Tuesday-20-02-2018", "17:15:00", "17:29:00", tuple(FLOOD), WEB, 0, NONE, ICMP, 3),
    Act("Wednesday-21-02-2018", "14:09:00", "14:43:00", tuple(FLOOD), SHOP, 80, "DDoS attacks-LOIC-UDP", UDP),
    Act("Wednesday-21-02-2018", "18:12:00", "19:05:00", tuple(FLOOD), SHOP, 80, "DDoS attacks-HOIC", n=40),
    Act("Thursday-22-02-2018", "14:14:00", "14:15:30", ("18.218.115.60",), SHOP, 80, "Brute Force -Web", n=3),
    Act("Thursday-22-02-2018", "14:18:00", "15:23:00", ("18.218.115.60",), SHOP, 80, "Brute Force -Web"),
    Act("Thursday-22-02-2018", "17:52:00", "18:29:00", ("18.218.115.60",), SHOP, 80, "Brute Force -XSS"),
    Act("Thursday-22-02-2018", "20:17:00", "20:27:00", ("18.218.115.60",), SHOP, 80, "SQL Injection", n=6),
    Act("Friday-23-02-2018", "14:05:00", "15:02:00", ("18.218.115.60",), SHOP, 80, "Brute Force -Web"),
    Act("Friday-23-02-2018", "17:02:00", "18:10:00", ("18.218.115.60",), SHOP, 80, "Brute Force -XSS"),
    Act("Friday-23-02-2018", "19:07:00", "19:17:00", ("18.218.115.60",), SHOP, 80, "SQL Injection", n=6),
    Act("Wednesday-28-02-2018", "14:34:00", "14:45:00", ("172.31.69.24",), "162.125.3.6", 443, DOWNLOAD, n=5),
    Act("Wednesday-28-02-2018", "14:50:00", "16:08:00", ("172.31.69.24",), "13.58.225.34", 31337, CONTROL, n=6),
    Act("Wednesday-28-02-2018", "14:50:00", "16:00:00", ("172.31.69.24",), "172.31.69.10", 0, SCAN, n=40),
    Act("Wednesday-28-02-2018", "14:50:00", "18:00:00", ("172.31.69.24",), "172.31.69.1", 67, "benign", UDP, 2),
    Act("Wednesday-28-02-2018", "14:50:00", "18:00:00", ("172.31.69.24",), "172.31.69.255", 137, NONE, UDP, 3),
    Act("Wednesday-28-02-2018", "14:50:00", "18:00:00", ("172.31.69.24",), "93.184.216.34", 443, NONE, n=5),
    Act("Wednesday-28-02-2018", "12:40:00", "14:30:00", ("172.31.69.24",), "93.184.216.34", 443, "benign", n=5),
    Act("Thursday-01-03-2018", "13:54:00", "13:59:00", ("172.31.69.13",), "162.125.18.133", 443, DOWNLOAD, n=5),
    Act("Thursday-01-03-2018", "18:20:00", "19:36:00", ("172.31.69.13",), "13.58.225.34", 31337, CONTROL, n=6),
    Act("Thursday-01-03-2018", "14:12:00", "19:00:00", ("172.31.69.13",), "172.31.69.10", 0, SCAN, n=40),
    Act("Friday-02-03-2018", "14:14:00", "19:54:00", ("172.31.69.10",), "18.219.211.138", 8080, "Bot", n=20),
)  # fmt: skip
N_BENIGN = 60
HALF_A_SECOND = 500_000_000


def _at(day: str, clock: str) -> int:
    _, date, month, year = day.split("-")
    hour, minute, second = map(int, clock.split(":"))
    return int(datetime(int(year), int(month), int(date), hour, minute, second, tzinfo=UTC).timestamp()) * 10**9


def _talks(day: str, rng: np.random.Generator) -> list[tuple[list[Packet], str]]:
    """The day's conversations and their labels."""
    found, port = [], count(20000)
    for act in (act for act in ACTS if act.day == day):
        begin, end = _at(day, act.begin), _at(day, act.end)
        for number in range(act.n):
            at = begin + (end - begin) * number // act.n // 1000 * 1000 + 1000 * int(rng.integers(0, 400_000))
            source = 68 if act.port == 67 else 0 if act.proto == ICMP else next(port)
            asked = 0 if act.proto == ICMP else act.port or 1 + 7 * number
            ends = Ends(act.src[number % len(act.src)], source, act.dst, asked, act.proto)
            packets = conversation(rng, ends, at, n=int(rng.integers(2, 12)), span_us=200_000, one_way=act.proto == UDP)
            found.append((packets, act.label))
    for number in range(N_BENIGN):
        host = list(CAPTURES)[number % len(CAPTURES)]
        # what an infiltrated host does meanwhile has no label: it is silent here, but for the acts above
        if host in ("172.31.69.24", "172.31.69.13"):
            host = WEB
        other = "172.31.0.2" if number % 3 else "172.31.69.28" if host != SHOP else WEB  # a name server, or a neighbour
        at = _at(day, "13:10:00") + int(rng.integers(0, 6 * 3600 * 10**6)) * 1000
        ends = Ends(host, 40000 + number, other, 53 if number % 3 else 445, UDP if number % 3 else TCP)
        found.append((conversation(rng, ends, at, n=4, span_us=90_000), "benign"))
    return found


def write_cicids2018(folder: Path, seed: int = 0) -> Truth:
    """``captures/<Day>-<date>/pcap/UCAP172.31.69.25-part1`` and its like, pcapng without an extension.

    A conversation between two hosts that were captured stands in both captures, half a second apart: in the second one
    (by name) its label is ``DUPLICATE``.  ``corrected`` equals ``label``.  Beside them lie a file that was copied (its
    name says so) and an archive of logs.
    """
    rng = np.random.default_rng([2018, seed])
    flows = []
    for day in dict.fromkeys(act.day for act in ACTS):
        captures: dict[str, list[Packet]] = {}
        for packets, label in _talks(day, rng):
            ends = packets[0].ends
            there = sorted(f"{day}/pcap/{CAPTURES[host]}" for host in (ends.src, ends.dst) if host in CAPTURES)
            for place, name in enumerate(there):
                own = [replace(packet, ts=packet.ts + place * HALF_A_SECOND) for packet in packets]
                captures.setdefault(name, []).extend(own)
                what = DUPLICATE if place else label
                five = (ends.src, ends.sport, ends.dst, ends.dport, ends.proto)
                flows.append(TrueFlow(name, *five, own[0].ts, own[-1].ts, len(own), what, what))
        for name, packets in captures.items():
            write_pcapng(folder / "captures" / name, packets)
        beside = folder / "captures" / day / "pcap"
        (beside / "capEC2AMAZ-O4EL3NG-172.31.69 - Copy.24").write_bytes((folder / "captures" / name).read_bytes())
        (beside.parent / "logs.zip").write_bytes(b"PK")
    return Truth(folder / "captures", folder / "labels", tuple(flows), ())
