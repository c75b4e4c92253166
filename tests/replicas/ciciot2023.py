"""A SYNTHETIC CICIoT2023: a folder of captures per attack, in both published spellings, and CSVs that say nothing about
flows.

Source: the dataset's page (https://www.unb.ca/cic/datasets/iotdataset-2023.html) and Neto et al. 2023
(10.3390/s23135941): classes, and Table 1 for the attackers' machines.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from tests.replicas.cic_rows import columns
from tests.replicas.packets import ICMP, TCP, UDP, Ends, Packet, arp, conversation, write_pcap
from tests.replicas.truth import TrueFlow, Truth

__all__ = ["ATTACKERS", "ATTACKS", "MERGED_HEADER", "PART_HEADER", "write_ciciot2023"]

MERGED_HEADER = columns(
    "Header_Length,Protocol Type,Time_To_Live,Rate,fin_flag_number,syn_flag_number,rst_flag_number,psh_flag_number,"
    "ack_flag_number,ece_flag_number,cwr_flag_number,ack_count,syn_count,fin_count,rst_count,HTTP,HTTPS,DNS,Telnet,"
    "SMTP,SSH,IRC,TCP,UDP,DHCP,ARP,ICMP,IGMP,IPv,LLC,Tot sum,Min,Max,AVG,Std,Tot size,IAT,Number,Variance,Label"
)
PART_HEADER = columns(
    "flow_duration,Header_Length,Protocol Type,Duration,Rate,Srate,Drate,fin_flag_number,syn_flag_number,"
    "rst_flag_number,psh_flag_number,ack_flag_number,ece_flag_number,cwr_flag_number,ack_count,syn_count,fin_count,"
    "urg_count,rst_count,HTTP,HTTPS,DNS,Telnet,SMTP,SSH,IRC,TCP,UDP,DHCP,ARP,ICMP,IPv,LLC,Tot sum,Min,Max,AVG,Std,"
    "Tot size,IAT,Number,Magnitue,Radius,Covariance,Variance,Weight,label"
)
ATTACKERS = (
    "DC:A6:32:DC:27:D5",
    "E4:5F:01:55:90:C4",
    "DC:A6:32:C9:E4:D5",
    "DC:A6:32:C9:E5:EF",
    "DC:A6:32:C9:E4:AB",
    "DC:A6:32:C9:E4:90",
    "DC:A6:32:C9:E5:A4",
)
HOMES = ("1C:FE:2B:98:16:DD", "3C:18:A0:41:C3:A0", "28:6D:97:7A:2B:2D", "70:EE:50:68:0E:32", "9C:8E:CD:1D:AB:9F")
BENIGN = "BenignTraffic"


@dataclass(frozen=True)
class Attack:
    """A class: its family; flood (one or two packets from spoofed ports), protocol and port; share of its flows that an
    attacker takes part in."""

    label: str
    family: str
    flood: bool = False
    proto: int = TCP
    port: int = 80
    share: float = 0.3


ATTACKS = (
    *(Attack(f"DDoS-{name}", "DDoS", True, UDP, 0, 1.0) for name in ("UDP_Flood", "UDP_Fragmentation")),
    *(Attack(f"DDoS-{name}", "DDoS", True, ICMP, 0, 1.0) for name in ("ICMP_Flood", "ICMP_Fragmentation")),
    *(
        Attack(f"DDoS-{name}", "DDoS", True, TCP, 0, 1.0)
        for name in ("ACK_Fragmentation", "RSTFINFlood", "PSHACK_Flood", "TCP_Flood", "SYN_Flood", "SynonymousIP_Flood")
    ),
    Attack("DDoS-SlowLoris", "DDoS", share=0.6),
    Attack("DDoS-HTTP_Flood", "DDoS", share=0.9),
    Attack("DoS-UDP_Flood", "DoS", True, UDP, 0, 1.0),
    *(Attack(f"DoS-{name}", "DoS", True, TCP, 0, 1.0) for name in ("SYN_Flood", "TCP_Flood")),
    Attack("DoS-HTTP_Flood", "DoS", share=0.9),
    *(Attack(f"Mirai-{name}", "Mirai", True, UDP, 0, 1.0) for name in ("greeth_flood", "greip_flood", "udpplain")),
    Attack("Recon-PingSweep", "Recon", False, ICMP, 0, 0.13),
    *(Attack(f"Recon-{name}", "Recon", False, TCP, 0) for name in ("OSScan", "PortScan", "HostDiscovery")),
    Attack("VulnerabilityScan", "Recon"),
    Attack("DNS_Spoofing", "Spoofing", False, UDP, 53),
    Attack("MITM-ArpSpoofing", "Spoofing", share=0.13),
    *(
        Attack(name, "Web", share=0.25)
        for name in (
            "BrowserHijacking",
            "Backdoor_Malware",
            "XSS",
            "Uploading_Attack",
            "SqlInjection",
            "CommandInjection",
        )
    ),
    Attack("DictionaryBruteForce", "BruteForce", False, TCP, 22, 0.5),
)
N_FLOOD, N_OTHER, N_BENIGN = 150, 30, 80


def _paths() -> dict[str, list[str]]:
    """Label → its captures: folder and file in mixed or in upper case; big ones are in parts; one folder has another
    dash than its file."""
    paths = {}
    for i, attack in enumerate(ATTACKS):
        folder = file = attack.label
        if i % 3 == 1:
            folder, file = folder.upper(), file.upper()
        elif i % 3 == 2:
            folder = folder.upper()
        parts = ["", "1", "12"] if attack.flood and i % 2 == 0 else [""]
        paths[attack.label] = [f"{folder}/{file}{part}.pcap" for part in parts]
    paths["DDoS-HTTP_Flood"] = ["DDOS/DDOS_HTTP_Flood/DDoS-HTTP_Flood-.pcap"]
    paths["Mirai-greip_flood"] = ["Mirai-greip_flood/Mirai-greip_flood21.pcap"]
    paths[BENIGN] = ["Benign_Final/BenignTraffic.pcap", "Benign_Final/BenignTraffic1.pcap", "BENIGN/BENIGN3.pcap"]
    return paths


def _household(rng: np.random.Generator, i: int, start: int) -> list[Packet]:
    """A device of the house and its cloud."""
    name, mac = f"192.168.137.{20 + i % 30}", HOMES[i % len(HOMES)]
    ends = Ends(
        name,
        20000 + i,
        f"52.{rng.integers(1, 250)}.{rng.integers(1, 250)}.9",
        443,
        TCP,
        mac,
        HOMES[1 if i % len(HOMES) != 1 else 0],
    )
    if i % 4 == 0:
        ends = replace(ends, dst="192.168.137.1", dport=53, proto=UDP)
    return conversation(rng, ends, start, n=int(rng.integers(2, 15)), span_us=int(rng.integers(100, 2_000_000)) * 10)


def _attack(rng: np.random.Generator, attack: Attack, i: int, start: int) -> list[Packet]:
    """The attacker is the flow's sender, but for every fourth flow of a slow attack: there the victim begins."""
    mac, victim = ATTACKERS[i % len(ATTACKERS)], f"192.168.137.{60 + i % 5}"
    src = (
        f"192.168.137.{200 + i % 7}"
        if not attack.flood
        else f"10.{rng.integers(1, 250)}.{rng.integers(1, 250)}.{rng.integers(1, 250)}"
    )
    ends = Ends(src, 1024 + i, victim, attack.port or 1 + i, attack.proto, mac, HOMES[0])
    if attack.proto == ICMP:
        ends = replace(ends, sport=0, dport=0, src=f"10.7.{i // 250}.{1 + i % 250}")
    if attack.flood:
        return conversation(rng, ends, start, n=int(rng.integers(1, 3)), span_us=500, one_way=True)
    ends = ends if i % 4 else ends.reversed()
    return conversation(rng, ends, start, n=int(rng.integers(2, 12)), span_us=int(rng.integers(100, 2_000_000)) * 10)


def _true(path: str, label: str, packets: list[Packet], attacker: bool) -> TrueFlow:
    ends = packets[0].ends
    times = packets[0].ts, packets[-1].ts
    return TrueFlow(
        path, ends.src, ends.sport, ends.dst, ends.dport, ends.proto, *times, len(packets), label, label, "", attacker
    )


def _flows_of(rng: np.random.Generator, label: str, start: int) -> list[tuple[list[Packet], bool]]:
    """(packets, whether an attacker takes part) of one capture.  In benign captures an attacker's machine is up as
    well, and says little."""
    attack = next((attack for attack in ATTACKS if attack.label == label), None)
    n = N_BENIGN if attack is None else N_FLOOD if attack.flood else N_OTHER
    flows = []
    for i in range(n):
        at = start + int(rng.integers(0, 3_000_000_000)) * 1000
        hostile = attack is not None and i < round(attack.share * n)
        packets = _attack(rng, attack, i, at) if attack and hostile else _household(rng, i, at)
        if attack is None and i % 20 == 7:
            ends = replace(packets[0].ends, src="192.168.137.200", src_mac=ATTACKERS[0])
            packets, hostile = conversation(rng, ends, at, n=4, span_us=90_000), True
        flows.append((packets, hostile))
    return sorted(flows, key=lambda flow: flow[0][0].ts)


def _write_csvs(folder: Path, rng: np.random.Generator) -> None:
    """Both published forms: windows of packets without addresses, ports or times, which no flow can be found by."""
    for path, header, upper in (
        ("MERGED_CSV/Merged01.csv", MERGED_HEADER, True),
        ("part-00000.csv", PART_HEADER, False),
    ):
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        with (folder / path).open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            writer.writerow(header)
            for label in [*(attack.label for attack in ATTACKS), "BENIGN" if upper else BENIGN]:
                writer.writerow(
                    [
                        *(round(float(value), 4) for value in rng.random(len(header) - 1)),
                        label.upper() if upper else label,
                    ]
                )


def write_ciciot2023(folder: Path, seed: int = 0) -> Truth:
    """``captures/<class>/<class>[number].pcap`` for 33 attacks, three benign captures, and ``labels/`` with CSVs of
    both published forms.

    ``TrueFlow.label`` is the class as in ``ATTACKS`` or ``BenignTraffic``; ``attacker_mac`` says whether one of
    ``ATTACKERS`` takes part, which ``write_ciciot2023`` also lets happen in benign captures, as in the real ones.  The
    MITM capture holds ARP frames.
    """
    rng = np.random.default_rng([2023, seed])
    flows, day = [], int(datetime(2022, 9, 13, 12, tzinfo=UTC).timestamp()) * 10**9
    for label, paths in _paths().items():
        for path in paths:
            made = _flows_of(rng, label, day)
            spoofed = (
                [(day + i * 10**9, arp(ATTACKERS[0], "192.168.137.1", f"192.168.137.{i}")) for i in range(20)]
                if label.startswith("MITM")
                else []
            )
            write_pcap(folder / "captures" / path, [packet for packets, _ in made for packet in packets], spoofed)
            flows += [_true(path, label, packets, attacker) for packets, attacker in made]
    _write_csvs(folder / "labels", rng)
    return Truth(
        folder / "captures", folder / "labels", tuple(sorted(flows, key=lambda flow: (flow.capture, flow.first))), ()
    )
