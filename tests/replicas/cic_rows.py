"""Rows of CICFlowMeter's CSVs, as CIC-IDS2017 and CIC-DDoS2019 were published with them, and the traps that are set in
them."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from tests.replicas.packets import ACK, FIN, PSH, SYN, TCP, US, Ends, Packet, write_pcap
from tests.replicas.truth import Traps, TrueFlow, TrueRow, Truth

__all__ = [
    "FEATURES_AFTER",
    "FEATURES_BEFORE",
    "IDENTITY",
    "CsvStyle",
    "Session",
    "columns",
    "finish_replica",
    "with_tails",
]

# As printed in the published files, the leading spaces included.
IDENTITY = "Flow ID, Source IP, Source Port, Destination IP, Destination Port, Protocol, Timestamp"
FEATURES_BEFORE = (
    " Flow Duration, Total Fwd Packets, Total Backward Packets,Total Length of Fwd Packets, Total Length of "
    "Bwd Packets, Fwd Packet Length Max,"
    " Fwd Packet Length Min, Fwd Packet Length Mean, Fwd Packet Length Std,Bwd Packet Length Max, Bwd Packet "
    "Length Min, Bwd Packet Length Mean,"
    " Bwd Packet Length Std,Flow Bytes/s, Flow Packets/s, Flow IAT Mean, Flow IAT Std, Flow IAT Max, Flow IAT "
    "Min,Fwd IAT Total, Fwd IAT Mean,"
    " Fwd IAT Std, Fwd IAT Max, Fwd IAT Min,Bwd IAT Total, Bwd IAT Mean, Bwd IAT Std, Bwd IAT Max, Bwd IAT "
    "Min,Fwd PSH Flags, Bwd PSH Flags,"
    " Fwd URG Flags, Bwd URG Flags, Fwd Header Length, Bwd Header Length,Fwd Packets/s, Bwd Packets/s, Min "
    "Packet Length, Max Packet Length,"
    " Packet Length Mean, Packet Length Std, Packet Length Variance,FIN Flag Count, SYN Flag Count, RST Flag "
    "Count, PSH Flag Count, ACK Flag Count,"
    " URG Flag Count, CWE Flag Count, ECE Flag Count, Down/Up Ratio, Average Packet Size, Avg Fwd Segment "
    "Size, Avg Bwd Segment Size"
)
FEATURES_AFTER = (
    "Fwd Avg Bytes/Bulk, Fwd Avg Packets/Bulk, Fwd Avg Bulk Rate, Bwd Avg Bytes/Bulk, Bwd Avg Packets/Bulk,Bwd "
    "Avg Bulk Rate,Subflow Fwd Packets,"
    " Subflow Fwd Bytes, Subflow Bwd Packets, Subflow Bwd Bytes,Init_Win_bytes_forward, "
    "Init_Win_bytes_backward, act_data_pkt_fwd,"
    " min_seg_size_forward,Active Mean, Active Std, Active Max, Active Min,Idle Mean, Idle Std, Idle Max, Idle Min"
)


def columns(*parts: str) -> list[str]:
    return ",".join(parts).split(",")


@dataclass
class Session:
    """A flow while a replica is made: its packets (mirror copies included, where the dataset has them) and where its
    row goes.

    day: the group of captures with one clock; file: the CSV, below ``labels/``, "" for none.  last, n_packets: without
    copies, where there are any. cut: CICFlowMeter has it in several rows.
    """

    capture: str
    day: str
    file: str
    packets: list[Packet]
    label: str
    corrected: str = ""
    last: int = 0
    n_packets: int = 0
    cut: bool = False

    def parts(self) -> list[Session]:
        """What CICFlowMeter makes of it: after 120 s, or after a FIN that is not its first packet, another flow
        begins."""
        pieces: list[list[Packet]] = []
        for packet in self.packets:
            if (
                not pieces
                or packet.ts - pieces[-1][0].ts > 120 * 10**9
                or (len(pieces[-1]) > 1 and pieces[-1][-1].flags & FIN)
            ):
                pieces.append([])
            pieces[-1].append(packet)
        return [replace(self, packets=piece) for piece in pieces]

    @property
    def ends(self) -> Ends:
        return self.packets[0].ends

    @property
    def sender(self) -> Ends:
        """The ends as the first packet has them."""
        return self.ends if self.packets[0].forward else self.ends.reversed()

    @property
    def first(self) -> int:
        return self.packets[0].ts


@dataclass(frozen=True)
class CsvStyle:
    """How a dataset writes its CSVs.

    header     all column names
    time       (ns UTC, day, hours that its clock is ahead of the published one) → text
    other      another label of the same file, for rows that contradict each other
    encoding   of the text; blank: file → empty rows at its end
    extra      (rng) → the columns that are not CICFlowMeter's
    """

    header: list[str]
    time: Callable[[int, str, int], str]
    other: Callable[[Session], str]
    encoding: str = "utf-8"
    blank: Mapping[str, int] = field(default_factory=dict)
    extra: Callable[[np.random.Generator], dict[str, object]] = lambda _rng: {}


@dataclass
class _Row:
    file: str
    label: str
    kind: str
    flow: int | None
    session: Session
    ends: Ends
    time: str
    bad: bool = False


def _stats(values: Sequence[float]) -> tuple[float, float, float, float, float]:
    """Sum, mean, std, max, min; zeros of nothing."""
    if not len(values):
        return (0, 0, 0, 0, 0)
    array = np.asarray(values, float)
    return array.sum(), array.mean(), array.std(ddof=1) if len(array) > 1 else 0, array.max(), array.min()


def _features(session: Session, rng: np.random.Generator) -> dict[str, object]:
    """Plausible features: the ones that a row is recognised by are exact, others are rough, some are Infinity or
    NaN."""
    packets = session.packets
    duration = (packets[-1].ts - packets[0].ts) // US
    seconds = duration / 1e6
    values: dict[str, object] = {"Flow Duration": duration}
    forward, backward = ([packet for packet in packets if packet.forward == way] for way in (True, False))
    values |= {"Total Fwd Packets": len(forward), "Total Backward Packets": len(backward)}
    for way, side in (("Fwd", forward), ("Bwd", backward)):
        total, mean, std, high, low = _stats([packet.payload for packet in side])
        gaps = np.diff([packet.ts // US for packet in side]).tolist()
        names = ("Total", "Mean", "Std", "Max", "Min")
        values |= {f"{way} IAT {name}": value for name, value in zip(names, _stats(gaps), strict=True)}
        values |= {
            f"Total Length of {way} Packets": total,
            f"{way} Packet Length Mean": mean,
            f"{way} Packet Length Std": std,
        }
        values |= {f"{way} Packet Length Max": high, f"{way} Packet Length Min": low, f"Avg {way} Segment Size": mean}
        values |= {
            f"{way} Header Length": sum(packet.header for packet in side),
            f"{way} Packets/s": len(side) / seconds if seconds else 0.0,
        }
        values |= {f"Subflow {way} Packets": len(side), f"Subflow {way} Bytes": total}
    gaps = np.diff([packet.ts // US for packet in packets]).tolist()
    values |= {
        f"Flow IAT {name}": value for name, value in zip(("Mean", "Std", "Max", "Min"), _stats(gaps)[1:], strict=True)
    }
    total, mean, std, high, low = _stats([packet.payload for packet in packets])
    values |= {
        "Min Packet Length": low,
        "Max Packet Length": high,
        "Packet Length Mean": mean,
        "Packet Length Std": std,
    }
    values |= {"Packet Length Variance": float(std) ** 2, "Average Packet Size": mean, "Init_Win_bytes_forward": 8192}
    values |= {
        "SYN Flag Count": int(any(p.flags & SYN for p in packets)),
        "PSH Flag Count": int(any(p.flags & PSH for p in packets)),
    }
    values |= {
        "Init_Win_bytes_backward": 8192 if backward and packets[0].ends.proto == TCP else -1,
        "min_seg_size_forward": 20,
    }
    odd = rng.random() < 0.03
    rate: object = total / seconds if seconds and not odd else ("Infinity" if total else "NaN")
    values |= {"Flow Bytes/s": rate, "Flow Packets/s": len(packets) / seconds if seconds and not odd else "Infinity"}
    return values


def _write(path: Path, style: CsvStyle, rows: list[_Row], n_blank: int, rng: np.random.Generator) -> None:
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    writer.writerow(style.header)
    names = [name.strip() for name in style.header]
    marks = []
    for row in rows:
        if row.kind == "header":
            writer.writerow(style.header)
            continue
        ends = row.ends
        mark = f"<bad{len(marks)}>" if row.bad else ""
        marks += [mark] if row.bad else []
        values = _features(row.session, rng) | style.extra(rng)
        values |= {
            "Flow ID": f"{ends.src}-{ends.dst}-{ends.sport}-{ends.dport}-{ends.proto}{mark}",
            "Timestamp": row.time,
            "Label": row.label,
        }
        values |= {
            "Source IP": ends.src,
            "Source Port": ends.sport,
            "Destination IP": ends.dst,
            "Destination Port": ends.dport,
        }
        values |= {"Protocol": ends.proto, "Fwd Header Length.1": values["Fwd Header Length"]}
        writer.writerow([values.get(name, 0) for name in names])
    data = text.getvalue().encode(style.encoding)
    data += (b"," * (len(names) - 1) + b"\r\n") * n_blank
    for mark in marks:
        # 0x81 and 0x9d mean nothing in cp1252, 0xff nothing in UTF-8
        data = data.replace(mark.encode(), b"\xff\x81\x9d")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)


def _share(positions: list[int], share: float, rng: np.random.Generator) -> set[int]:
    return set(rng.permutation(positions)[: int(share * len(positions))].tolist())


def _rows(
    sessions: list[Session], style: CsvStyle, traps: Traps, rng: np.random.Generator
) -> tuple[list[str], list[_Row]]:
    """What becomes of each flow, and all rows."""
    groups: dict[tuple[str, str], list[int]] = {}
    for i, session in enumerate(sessions):
        if session.file and not session.cut:
            groups.setdefault((session.file, session.label), []).append(i)
    unlisted = {i for i, session in enumerate(sessions) if not session.file}
    missing, doubled, swapped = (
        {i for key in groups for i in _share(groups[key], share, rng)}
        for share in (traps.missing, traps.duplicated, traps.swapped)
    )
    missing |= unlisted
    ambiguous: set[int] = set()
    for day in dict.fromkeys(session.day for session in sessions):
        free = [
            i
            for i, session in enumerate(sessions)
            if session.day == day and not session.cut and i not in missing | doubled and style.other(session)
        ]
        ambiguous |= set(rng.permutation(free)[: traps.ambiguous].tolist())
    fate, rows = [], []
    for i, session in enumerate(sessions):
        ahead = traps.wrong_zone_hours if session.day == traps.wrong_zone_day else 0
        time = style.time(session.first, session.day, ahead)
        ends = session.ends.reversed() if i in swapped else session.ends
        if i in missing:
            fate.append("none")
            continue
        fate.append("ambiguous" if i in ambiguous else "swapped" if i in swapped else "plain")
        if session.cut:
            times = [style.time(part.first, session.day, ahead) for part in session.parts()]
            parts = zip(("row", *["part"] * len(times)), session.parts(), times, strict=False)
            rows += [_Row(session.file, session.label, kind, i, part, part.sender, at) for kind, part, at in parts]
            continue
        kind = "ambiguous" if i in ambiguous else "row"
        rows.append(_Row(session.file, session.label, kind, i, session, ends, time))
        if i in doubled:
            rows.append(replace(rows[-1], kind="duplicate"))
        if i in ambiguous:
            rows.append(replace(rows[-1], label=style.other(session)))
    rows += _orphans(sessions, style, traps, groups, rng)
    for name in sorted({row.file for row in rows}):
        mine = [row for row in rows if row.file == name]
        rows += [replace(mine[0], kind="header", flow=None, label="")] * traps.repeated_headers
        for n, at in enumerate(rng.permutation(len(mine))[: traps.bad_bytes + traps.broken].tolist()):
            if n < traps.bad_bytes:
                mine[at].bad = True
            else:
                rows.append(replace(mine[at], kind="broken", flow=None, time=f"{mine[at].time.split()[0]} at noon"))
    return fate, rows


def _orphans(
    sessions: list[Session],
    style: CsvStyle,
    traps: Traps,
    groups: dict[tuple[str, str], list[int]],
    rng: np.random.Generator,
) -> list[_Row]:
    """Rows without a flow: every other one of a 5-tuple that does occur, half an hour before the flow."""
    rows = []
    for (name, label), members in groups.items():
        for n, i in enumerate(sorted(_share(members, traps.orphans, rng))):
            session = sessions[i]
            ahead = traps.wrong_zone_hours if session.day == traps.wrong_zone_day else 0
            known = n % 2 == 1
            ends = session.ends if known else replace(session.ends, src="198.51.100.7", sport=session.ends.sport ^ 1)
            time = style.time(session.first - known * 1803 * 10**9, session.day, ahead)
            rows.append(_Row(name, label, "orphan", None, session, ends, time))
    return rows


def with_tails(sessions: list[Session], share: float, rng: np.random.Generator) -> list[Session]:
    """Some of those that end in a FIN go on: the other side's FIN, and the last ACK."""
    candidates = [i for i, session in enumerate(sessions) if session.file and session.packets[-1].flags & FIN]
    chosen = _share(candidates, share, rng)
    return [_with_tail(session) if i in chosen else session for i, session in enumerate(sessions)]


def _with_tail(session: Session) -> Session:
    last = session.packets[-1]
    tail = [
        replace(
            last,
            ts=last.ts + (i + 1) * 1_500 * US,
            forward=last.forward == bool(i),
            flags=flags,
            payload=0,
            number=last.number + 1 + i,
        )
        for i, flags in enumerate((FIN | ACK, ACK))
    ]
    return replace(session, packets=session.packets + tail, cut=True)


def finish_replica(
    folder: Path,
    sessions: list[Session],
    style: CsvStyle,
    traps: Traps,
    rng: np.random.Generator,
    write_capture: Callable[..., None] = write_pcap,
    others: Mapping[str, list[tuple[int, bytes]]] | None = None,
) -> Truth:
    """Write the captures and CSVs of ``sessions`` below ``folder``; what is in them."""
    sessions = sorted(sessions, key=lambda session: (session.capture, session.first))
    for name in dict.fromkeys(session.capture for session in sessions):
        packets = [packet for session in sessions if session.capture == name for packet in session.packets]
        write_capture(folder / "captures" / name, packets, (others or {}).get(name, ()))
    fate, rows = _rows(sessions, style, traps, rng)
    truth: list[TrueRow] = []
    for name in sorted({session.file for session in sessions} - {""}):
        mine = [row for row in rows if row.file == name]
        mine = [mine[at] for at in rng.permutation(len(mine))]  # the published files are not in the order of time
        n_blank = style.blank.get(name, 0)
        _write(folder / "labels" / name, style, mine, n_blank, rng)
        truth += [TrueRow(name, line, row.label, row.kind, row.flow) for line, row in enumerate(mine)]
        truth += [TrueRow(name, len(mine) + i, "", "blank", None) for i in range(n_blank)]
    flows = tuple(_true(session, row) for session, row in zip(sessions, fate, strict=True))
    return Truth(folder / "captures", folder / "labels", flows, tuple(truth))


def _true(session: Session, row: str) -> TrueFlow:
    ends = session.ends
    last, n_packets = session.last or session.packets[-1].ts, session.n_packets or len(session.packets)
    corrected = session.corrected or session.label
    tuple5 = (ends.src, ends.sport, ends.dst, ends.dport, ends.proto)
    return TrueFlow(session.capture, *tuple5, session.first, last, n_packets, session.label, corrected, row)
