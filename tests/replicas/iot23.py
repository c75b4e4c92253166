"""A SYNTHETIC IoT-23: a folder per capture, each with Zeek's ``bro/conn.log.labeled``.

Source: the dataset's page (https://www.stratosphereips.org/datasets-iot23), and the published logs: fields divided by
tabs, but ``tunnel_parents``, ``label`` and ``detailed-label`` by three spaces; lines of some end in CR LF; an unset
value is ``-``; ports of ICMP are its type and code.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from tests.replicas.packets import ICMP, TCP, UDP, US, Ends, conversation, write_pcap
from tests.replicas.truth import TrueFlow, TrueRow, Truth

FIELDS = (
    *("ts", "uid", "id.orig_h", "id.orig_p", "id.resp_h", "id.resp_p", "proto", "service", "duration", "orig_bytes"),
    *("resp_bytes", "conn_state", "local_orig", "local_resp", "missed_bytes", "history", "orig_pkts", "orig_ip_bytes"),
    *("resp_pkts", "resp_ip_bytes"),
)
CAPTURES = {
    "CTU-IoT-Malware-Capture-1-1": ("   ", "\r\n", ("Benign", "Malicious C&C", "Malicious PartOfAHorizontalPortScan")),
    "CTU-IoT-Malware-Capture-34-1": ("\t", "\n", ("benign", "Malicious DDoS", "Malicious C&C-HeartBeat-FileDownload")),
    "CTU-Honeypot-Capture-4-1": ("   ", "\n", ("Benign",)),
}
UNLOGGED = "CTU-Honeypot-Capture-Philips-Hue-2018-09-14"
N_FLOWS = 90


def _seconds(ns: int) -> str:
    return f"{ns // 10**9}.{ns % 10**9 // US:06}"


def _line(ends: Ends, start: str, duration: str, label: str, between: str) -> str:
    icmp = ends.proto == ICMP
    name = {TCP: "tcp", UDP: "udp", ICMP: "icmp"}[ends.proto]
    ports = (8, 0) if icmp else (ends.sport, ends.dport)
    fields = [start, "CAbc123", ends.src, str(ports[0]), ends.dst, str(ports[1]), name, "-", duration]
    word, _, detail = label.partition(" ")
    return "\t".join([*fields, *["-"] * (len(FIELDS) - len(fields)), between.join(["-", word, detail or "-"])])


def write_iot23(folder: Path, seed: int = 0) -> Truth:
    """``captures/NAME/*.pcap`` and ``captures/NAME/bro/conn.log.labeled``; labels lie among the captures.

    Of the flows of a capture every ninth has no row, every tenth has two rows that agree, every eleventh two that do
    not; there are rows of other 5-tuples, at other times, of a label that nobody knows, and of a broken time.
    """
    rng = np.random.default_rng([23, seed])
    flows: list[TrueFlow] = []
    rows: list[TrueRow] = []
    for number, (name, (between, end, labels)) in enumerate(CAPTURES.items()):
        day = 1_545_000_000 * 10**9 + number * 86_400 * 10**9
        packets, written = [], []
        for i in range(N_FLOWS):
            proto = (TCP, TCP, UDP, ICMP)[i % 4]
            ports = (0, 0) if proto == ICMP else (30_000 + i, 23 if i % 2 else 6667)
            ends = Ends("192.168.1.195", ports[0], f"185.244.{number}.{i + 1}", ports[1], proto)
            start = day + int(rng.integers(0, 3_000_000)) * 1000 * US
            made = conversation(
                rng, ends, start, n=int(rng.integers(2, 9)), span_us=int(rng.integers(100, 3000)) * 1000
            )
            packets += made
            label, span = labels[i % len(labels)], made[-1].ts - made[0].ts
            kind = "none" if i % 9 == 8 else "ambiguous" if i % 11 == 10 and len(labels) > 1 else "plain"
            row_kind = {"plain": "row", "ambiguous": "ambiguous"}.get(kind, "")
            if kind != "none":
                written.append(
                    (_line(ends, _seconds(start), _seconds(span), label, between), label, row_kind, len(flows))
                )
            if kind == "plain" and i % 10 == 9:
                later = _line(ends.reversed(), _seconds(start + span // 2), "-", label, between)
                written.append((later, label, "part", len(flows)))
            if kind == "ambiguous":
                other = labels[(i + 1) % len(labels)]
                written.append((_line(ends, _seconds(start + US), "-", other, between), other, "ambiguous", len(flows)))
            capture = f"{name}/2018-12-21-15-50-14-192.168.1.195.pcap"
            flows.append(
                TrueFlow(
                    capture, ends.src, ends.sport, ends.dst, ends.dport, proto, start, made[-1].ts, len(made), label,
                    label, kind,
                )
            )  # fmt: skip
        stranger, silent = Ends("10.9.9.9", 1, "10.9.9.8", 2, TCP), packets[0].ends
        for ends, start, label, kind in (
            (stranger, _seconds(day), labels[0], "orphan"),
            (silent, _seconds(day + 80_000 * 10**9), labels[0], "orphan"),
            (silent, _seconds(packets[0].ts), "Malicious Nonsense", "unknown"),
            (silent, "yesterday", labels[0], "broken"),
        ):
            written.append((_line(ends, start, "-", label, between), label, kind, None))
        place = folder / "captures" / name
        write_pcap(place / "2018-12-21-15-50-14-192.168.1.195.pcap", packets)
        (place / "bro").mkdir()
        order = rng.permutation(len(written)).tolist()
        head = ["#separator \\x09", "#set_separator\t,", "#unset_field\t-", "#path\tconn"]
        head.append("\t".join(["#fields", *FIELDS, between.join(["tunnel_parents", "label", "detailed-label"])]))
        lines = [*head, *(written[at][0] for at in order), "#close\t2019-03-15"]
        (place / "bro" / "conn.log.labeled").write_text(end.join(lines) + end, newline="")
        for line, at in enumerate(order):
            rows.append(TrueRow(f"{name}/bro/conn.log.labeled", line, *written[at][1:]))
    ends = Ends("192.168.1.50", 5353, "224.0.0.251", 5353, UDP)
    made = conversation(rng, ends, 1_537_000_000 * 10**9, n=4, span_us=100_000, one_way=True)
    write_pcap(folder / "captures" / f"{UNLOGGED}.pcap", made)
    flows.append(
        TrueFlow(
            f"{UNLOGGED}.pcap", ends.src, 5353, ends.dst, 5353, UDP, made[0].ts, made[-1].ts, 4, "Benign", "Benign",
            "plain",
        )
    )  # fmt: skip
    return Truth(folder / "captures", folder / "captures", tuple(flows), tuple(rows))
