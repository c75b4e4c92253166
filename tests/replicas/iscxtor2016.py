"""A SYNTHETIC ISCXTor2016: the folders ``Tor`` and ``NonTor``, and the CSV that cannot be matched by time.

Source: the dataset's page (https://www.unb.ca/cic/datasets/tor.html) and Lashkari et al. 2017
(10.5220/0006105602530262).
"""

from __future__ import annotations

import csv
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from tests.replicas.cic_rows import columns
from tests.replicas.packets import TCP, UDP, Ends, Packet, conversation, write_pcap, write_pcapng
from tests.replicas.truth import TrueFlow, Truth

__all__ = ["CAPTURES", "HEADER", "write_iscxtor2016"]

HEADER = columns(
    "Source IP, Source Port, Destination IP, Destination Port, Protocol, Flow Duration, Flow Bytes/s, Flow "
    "Packets/s, Flow IAT Mean, Flow IAT Std,"
    " Flow IAT Max, Flow IAT Min,Fwd IAT Mean, Fwd IAT Std, Fwd IAT Max, Fwd IAT Min,Bwd IAT Mean, Bwd IAT "
    "Std, Bwd IAT Max, Bwd IAT Min,Active Mean,"
    " Active Std, Active Max, Active Min,Idle Mean, Idle Std, Idle Max, Idle Min,label"
)
# Gateway captures of the Tor side and workstation captures of the other, named after the application.
CAPTURES = {
    "TOR": (
        "AUDIO_spotifygateway",
        "BROWSING_gate_SSL_Browsing",
        "CHAT_gate_facebook_chat",
        "FILE-TRANSFER_gate_SFTP_filetransfer",
        "MAIL_gate_POP_filetransfer",
        "P2P_tor_p2p_vuze",
        "VIDEO_Youtube_Flash_Gateway",
        "VOIP_gate_facebook_Voice",
    ),
    "nonTOR": (
        "browsing",
        "email_IMAP_filetransfer",
        "facebook_chat",
        "Facebook_Voice_Workstation",
        "p2p_vuze",
        "SFTP_filetransfer",
        "spotify",
        "Vimeo_Workstation",
    ),
}
SEGMENT_S = 10.5  # a long session's packets come in bursts that begin this far apart and last up to BURST_US
BURST_US = 9_900_000
N_FLOWS = 30


def _sessions(rng: np.random.Generator, tor: bool, start: int) -> list[list[list[Packet]]]:
    """Sessions as lists of flows of a 10 s active timeout, each a list of packets: every third lasts longer than
    that."""
    sessions = []
    for i in range(N_FLOWS):
        # few connections from few ports: the guard's
        relay = Ends("10.0.2.15", 50000 + i % 2, f"171.25.193.{9 + i}", 9001, TCP)
        other = Ends(
            "10.0.2.15", 50000 + i, f"216.58.{rng.integers(1, 250)}.46", 443 if i % 4 else 53, TCP if i % 4 else UDP
        )
        at = start + int(rng.integers(0, 600_000_000)) * 1000
        parts = int(rng.integers(2, 5)) if i % 3 == 0 else 1
        flows = []
        for part in range(parts):
            n, span = int(rng.integers(2, 15)), int(rng.integers(1, BURST_US // 10 + 1)) * 10
            begin = at + round(part * SEGMENT_S * 10**9)
            flows.append(conversation(rng, relay if tor else other, begin, n=n, span_us=span, fin=False))
        sessions.append(flows)
    return sessions


def _write_csv(path: Path, flows: list[TrueFlow], rng: np.random.Generator) -> None:
    """One row a flow, in no order, without a time; some values are NaN or Infinity."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(HEADER)
        for at in rng.permutation(len(flows)).tolist():
            flow = flows[at]
            duration = (flow.last - flow.first) // 1000
            rates = ["NaN", "Infinity"] if rng.random() < 0.02 else [0.0, flow.n_packets / max(duration, 1) * 1e6]
            rest = [round(float(value), 3) for value in rng.random(len(HEADER) - 9)]
            writer.writerow(
                [flow.src, flow.sport, flow.dst, flow.dport, flow.proto, duration, *rates, *rest, flow.label]
            )


def write_iscxtor2016(folder: Path, seed: int = 0) -> Truth:
    """``captures/Tor/*.pcap``, ``captures/NonTor/*.pcap`` (some in pcapng) and
    ``labels/SelectedFeatures-10s-TOR-NonTOR.csv``.

    The truth's flows are those of an active timeout of 10 s; labels are TOR and nonTOR, as in the CSV.
    """
    rng = np.random.default_rng([2016, seed])
    flows, day = [], int(datetime(2015, 8, 20, 12, tzinfo=UTC).timestamp()) * 10**9
    for label, names in CAPTURES.items():
        for number, name in enumerate(names):
            capture = f"{'Tor' if label == 'TOR' else 'NonTor'}/{name}.pcap"
            made = [flow for session in _sessions(rng, label == "TOR", day + number * 3600 * 10**9) for flow in session]
            write = write_pcapng if number % 3 == 2 else write_pcap
            write(folder / "captures" / capture, [packet for packets in made for packet in packets])
            for packets in made:
                ends, times = packets[0].ends, (packets[0].ts, packets[-1].ts)
                flows.append(
                    TrueFlow(
                        capture,
                        ends.src,
                        ends.sport,
                        ends.dst,
                        ends.dport,
                        ends.proto,
                        *times,
                        len(packets),
                        label,
                        label,
                    )
                )
    _write_csv(folder / "labels" / "SelectedFeatures-10s-TOR-NonTOR.csv", flows, rng)
    return Truth(
        folder / "captures", folder / "labels", tuple(sorted(flows, key=lambda flow: (flow.capture, flow.first))), ()
    )
