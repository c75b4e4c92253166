"""SYNTHETIC UNSW-NB15 and CTU-13: captures, and the lists of flows that Argus printed, in the published layouts.

Sources.  UNSW-NB15: NUSW-NB15_features.csv (49 columns, whose names are in no list), rows of UNSW-NB15_4.csv that
github.com/fkie-cad/COMIDDS prints, and users of the lists: seconds since the epoch, a byte-order mark before the first
record, categories with spaces around them and in singular and plural, ports such as ``-`` and ``0x000b``, the four
lists divided by number and not by day.  Captures are Linux cooked (``tcpdump -i any``).  CTU-13: the README of scenario
1 and rows of its list: local time of Prague in August (CEST), ports of ICMP in hexadecimal, none of ARP, ``rtp`` in the
place of the protocol, labels that begin with ``flow=``.
"""

from __future__ import annotations

import struct
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np

from tests.replicas.packets import ICMP, TCP, UDP, US, Ends, Packet, arp, conversation, in_order, write_pcap
from tests.replicas.truth import TrueFlow, TrueRow, Truth

__all__ = ["write_ctu13", "write_unsw_nb15"]

N_FLOWS = 120
Line = tuple[str, str, str, "int | None"]  # The row, its label, what it is (``TrueRow.kind``), the flow.

UNSW_DAYS = {
    "22-1-2015": datetime(2015, 1, 22, 11, 50, tzinfo=UTC),
    "17-2-2015": datetime(2015, 2, 18, 0, 5, tzinfo=UTC),
}
UNSW_CATEGORIES = (
    "",
    "",
    "",
    " Fuzzers ",
    "Backdoor",
    "Backdoors",
    "Exploits",
    " Reconnaissance ",
    " Shellcode",
    "DoS",
)
CTU_CAPTURES = {
    "CTU-Malware-Capture-Botnet-42/capture20110810": (42, datetime(2011, 8, 10, 8, 0, tzinfo=UTC)),
    "CTU-Malware-Capture-Botnet-52/capture20110818-2": (52, datetime(2011, 8, 18, 11, 0, tzinfo=UTC)),
}


def _cooked(frame: bytes) -> bytes:
    """The frame as ``tcpdump -i any`` writes it: 16 bytes in the place of Ethernet's 14."""
    return struct.pack(">HHH", 0, 1, 6) + frame[6:12] + b"\0\0" + frame[12:14] + frame[14:]


def _write_cooked(path: Path, packets: list[Packet]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        file.write(struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 65535, 113))
        for packet in in_order(packets):
            frame = _cooked(packet.frame())
            for ts in (packet.ts, packet.ts + 2 * US):  # the majority of packets stand in the captures twice
                file.write(struct.pack("<IIII", ts // 10**9, ts % 10**9 // US, len(frame), len(frame)) + frame)


def _ends(i: int, inside: str, outside: str) -> Ends:
    proto = (TCP, TCP, UDP, ICMP)[i % 4]
    ports = (0, 0) if proto == ICMP else (30_000 + i, (80, 53, 445)[i % 3])
    return Ends(f"{inside}.{i % 5 + 1}", ports[0], f"{outside}.{i + 1}", ports[1], proto)


def _kind(i: int) -> str:
    """Every ninth flow has no row, every eleventh two that contradict each other."""
    return "none" if i % 9 == 8 else "ambiguous" if i % 11 == 10 else "plain"


def _unsw_row(ends: Ends, start: int, span: int, category: str, flag: str = "") -> str:
    ports = ("-", "0x000b") if ends.proto == ICMP else (str(ends.sport), str(ends.dport))
    name = {TCP: "tcp", UDP: "udp", ICMP: "icmp"}.get(ends.proto, "unas")
    seconds, last = start // 10**9, (start + span) // 10**9
    fields = [ends.src, ports[0], ends.dst, ports[1], name, "CON", f"{span / 1e9:.6f}", *["1"] * 21]
    fields += [str(seconds), str(last), *["0"] * 9, " ", *["2"] * 7, category, flag or str(int(bool(category.strip())))]
    return ",".join(fields)


def write_unsw_nb15(folder: Path, seed: int = 0) -> Truth:
    """``captures/pcaps DAY/1.pcap`` and ``labels/UNSW-NB15_1.csv`` … ``_4.csv``, over which the rows of both days are
    spread; beside them lists that have no addresses."""
    rng = np.random.default_rng([15, seed])
    flows: list[TrueFlow] = []
    written: list[Line] = []
    for day, begin in UNSW_DAYS.items():
        packets, capture = [], f"pcaps {day}/1.pcap"
        for i in range(N_FLOWS):
            ends = _ends(i, "59.166.0", "149.171.126")
            start = int(begin.timestamp()) * 10**9 + int(rng.integers(0, 3_000_000)) * 1000 * US
            made = conversation(
                rng, ends, start, n=int(rng.integers(2, 9)), span_us=int(rng.integers(100, 3000)) * 1000
            )
            packets += made
            category, span, kind = UNSW_CATEGORIES[i % len(UNSW_CATEGORIES)], made[-1].ts - made[0].ts, _kind(i)
            label = _unsw_label(category)
            row = _unsw_row(ends, start, span, category)
            if kind != "none":
                written.append((row, label, "row" if kind == "plain" else "ambiguous", len(flows)))
            if kind == "plain" and i % 10 == 1:
                written.append((row, label, "duplicate", len(flows)))
            if kind == "plain" and i % 10 == 7:  # Argus reports a long flow again, from the other side
                later = _unsw_row(ends.reversed(), start + span // 2, span // 2, category)
                written.append((later, label, "part", len(flows)))
            if kind == "ambiguous":
                other = "Generic" if category != "Generic" else "Worms"
                written.append((_unsw_row(ends, start, span, other), other, "ambiguous", len(flows)))
            flows.append(
                TrueFlow(
                    capture, ends.src, ends.sport, ends.dst, ends.dport, ends.proto, start, made[-1].ts, len(made),
                    label, label, kind,
                )
            )  # fmt: skip
        silent, stranger, start = packets[0].ends, Ends("10.9.9.9", 1, "10.9.9.8", 2, TCP), packets[0].ts
        hour = int(begin.timestamp() + 3600 * 5) * 10**9
        written += [
            (_unsw_row(stranger, start, 0, ""), "Normal", "orphan", None),
            (_unsw_row(silent, hour, 0, "Worms"), "Worms", "orphan", None),
            (_unsw_row(silent, start, 0, "Generic", "0"), "", "unknown", None),
            (_unsw_row(silent, start, 0, " ", "1"), "", "unknown", None),
            (_unsw_row(Ends("175.45.176.1", 0, "149.171.126.1", 0, 254), start, 0, "DoS"), "DoS", "other", None),
        ]
        _write_cooked(folder / "captures" / capture, packets)
    broken = _unsw_row(stranger, start, 0, "").replace(f",{start // 10**9},", ",yesterday,", 1)
    written.append((broken, "Normal", "broken", None))
    labels = folder / "labels"
    labels.mkdir()
    rows: list[TrueRow] = []
    # A row that is there twice is the second one where it comes later, in whichever order they were written.
    for number, order in enumerate(np.array_split(rng.permutation(len(written)), 4), 1):
        chosen = [at for at in order.tolist() if written[at][2] != "duplicate"]
        rows += _list(
            labels, f"UNSW-NB15_{number}.csv", [written[at] for at in chosen], "\ufeff" if number == 1 else ""
        )
    for at, line in enumerate(written):
        if line[2] == "duplicate":  # behind its first row, in its file
            own = next(row for row in rows if row.flow == line[3] and row.kind == "row")
            count = sum(row.file == own.file for row in rows)
            with (labels / own.file).open("a", newline="") as file:
                file.write(written[at][0] + "\n")
            rows.append(TrueRow(own.file, count, *line[1:]))
    (labels / "UNSW_NB15_training-set.csv").write_text("id,dur,proto,attack_cat,label\n1,0.1,udp,Normal,0\n")
    return Truth(folder / "captures", labels, tuple(flows), tuple(sorted(rows, key=lambda row: (row.file, row.line))))


def _unsw_label(category: str) -> str:
    return category.strip().replace("Backdoors", "Backdoor") or "Normal"


def _list(folder: Path, name: str, lines: list[Line], before: str) -> list[TrueRow]:
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text(before + "".join(line[0] + "\n" for line in lines), newline="", encoding="utf-8")
    return [TrueRow(name, number, *line[1:]) for number, line in enumerate(lines)]


CTU_HEADER = "StartTime,Dur,Proto,SrcAddr,Sport,Dir,DstAddr,Dport,State,sTos,dTos,TotPkts,TotBytes,SrcBytes,Label"
CTU_LABELS = (
    "flow=From-Botnet-V{}-UDP-DNS", "flow=From-Normal-V{}-Grill", "flow=Background-UDP-Established",
    "flow=From-Botnet-V{}-TCP-Attempt-SPAM", "flow=From-Normal-V{}-CVUT-WebServer", "flow=To-Normal-V{}-UDP-NTP-server",
    "flow=To-Botnet-V{}-ICMP", "flow=Background", "flow=Normal-V{}-HTTP-windowsupdate", "flow=To-Background-CVUT-Proxy",
)  # fmt: skip


def _ctu_row(ends: Ends, start: int, span: int, label: str, proto: str = "") -> str:
    local = datetime.fromtimestamp(start // 10**9, UTC) + timedelta(hours=2, microseconds=start % 10**9 // US)
    ports = ("0x0303", "0x7a30") if ends.proto == ICMP else (str(ends.sport), str(ends.dport))
    if proto == "arp":
        ports = ("", "")
    name = proto or {TCP: "tcp", UDP: "udp", ICMP: "icmp"}[ends.proto]
    when = local.strftime("%Y/%m/%d %H:%M:%S.%f")
    fields = [when, f"{span / 1e9:.6f}", name, ends.src, ports[0], "  <->", ends.dst, ports[1], "CON", "0", "0"]
    return ",".join([*fields, "4", "300", "120", label])


def write_ctu13(folder: Path, seed: int = 0) -> Truth:
    """``captures/CTU-Malware-Capture-Botnet-NN/captureDATE.truncated.pcap``, the bot's packets alone beside it, and
    ``labels/…/detailed-bidirectional-flow-labels/captureDATE.binetflow``."""
    rng = np.random.default_rng([13, seed])
    flows: list[TrueFlow] = []
    rows: list[TrueRow] = []
    for name, (number, begin) in CTU_CAPTURES.items():
        packets, written = [], []
        for i in range(N_FLOWS):
            ends = _ends(i, "147.32.84", f"212.{number}.7")
            start = int(begin.timestamp()) * 10**9 + int(rng.integers(0, 3_000_000)) * 1000 * US + 7 * US
            made = conversation(
                rng, ends, start, n=int(rng.integers(2, 9)), span_us=int(rng.integers(100, 3000)) * 1000
            )
            packets += made
            label, span, kind = CTU_LABELS[i % len(CTU_LABELS)].format(number), made[-1].ts - made[0].ts, _kind(i)
            row = _ctu_row(ends, start, span, label, "rtp" if ends.proto == UDP and i % 3 == 0 else "")
            if kind != "none":
                written.append((row, label, "row" if kind == "plain" else "ambiguous", len(flows)))
            if kind == "plain" and i % 10 in (0, 7):
                later = _ctu_row(ends.reversed(), start + span // 2, span // 2, label)
                written.append((later, label, "part", len(flows)))
            if kind == "ambiguous":
                other = (
                    "flow=Background-TCP-Attempt" if "Background" not in label else f"flow=From-Normal-V{number}-Jist"
                )
                written.append((_ctu_row(ends, start + US, span, other), other, "ambiguous", len(flows)))
            capture = f"{name}.truncated.pcap"
            flows.append(
                TrueFlow(
                    capture, ends.src, ends.sport, ends.dst, ends.dport, ends.proto, start, made[-1].ts, len(made),
                    label, label, kind,
                )
            )  # fmt: skip
        silent, stranger, start = packets[0].ends, Ends("10.9.9.9", 1, "10.9.9.8", 2, TCP), packets[0].ts
        bot = f"flow=From-Botnet-V{number}-UDP-DNS"
        written += [
            (_ctu_row(stranger, start, 0, bot), bot, "orphan", None),
            (_ctu_row(silent, start + 5 * 3600 * 10**9, 0, bot), bot, "orphan", None),
            (_ctu_row(silent, start, 0, "flow=Unheard-Of"), "", "unknown", None),
            (_ctu_row(silent, start, 0, f"flow=From-Botnet-V{number + 50}-UDP-DNS"), "", "unknown", None),
            (_ctu_row(stranger, start, 0, "flow=Background", "arp"), "flow=Background", "other", None),
            (_ctu_row(silent, start, 0, bot).replace("/08/", "/48/", 1), bot, "broken", None),
        ]
        others = [(start + US, arp("02:00:00:00:00:09", "147.32.84.1", "147.32.84.2"))]
        write_pcap(folder / "captures" / f"{name}.truncated.pcap", packets, others)
        place, date = name.split("/")
        write_pcap(folder / "captures" / place / f"botnet-{date.replace('capture', 'capture-')}-bot.pcap", packets[:8])
        listed = f"{place}/detailed-bidirectional-flow-labels/{date}.binetflow"
        order = [written[at] for at in rng.permutation(len(written)).tolist()]
        rows += _list(folder / "labels", listed, order, CTU_HEADER + "\n")
    return Truth(folder / "captures", folder / "labels", tuple(flows), tuple(rows))
