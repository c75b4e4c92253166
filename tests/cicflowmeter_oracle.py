"""CICFlowMeter's features of one flow in plain Python, from the definitions in docs/features.md and not from the code
under test.

Whole lists of packets, integers and exact fractions, no streaming: slow, and nothing in it can cancel or drift.
"""

from __future__ import annotations

import math
from fractions import Fraction
from itertools import pairwise
from typing import NamedTuple

SECOND = 10**9


class Packet(NamedTuple):
    """ts in ns since the epoch, payload and header in bytes, the TCP header's byte of flags and window, whether it goes
    to the initiator."""

    ts: int
    payload: int
    header: int
    flags: int
    win: int
    backward: int


def spread(values: list[int], unit: int = 1) -> dict[str, float]:
    """Mean, Std (n − 1), Max, Min in the given unit; zeros of nothing."""
    if not values:
        return {"Mean": 0.0, "Std": 0.0, "Max": 0.0, "Min": 0.0}
    n, total, squares = len(values), sum(values), sum(value * value for value in values)
    variance = Fraction(n * squares - total * total, n * (n - 1)) if n > 1 else Fraction(0)
    root = math.sqrt(variance)
    return {
        "Mean": float(Fraction(total, n * unit)),
        "Std": root / unit,
        "Max": max(values) / unit,
        "Min": min(values) / unit,
    }


def split(packets: list[Packet], gap: int) -> list[list[Packet]]:
    """Cut where more than ``gap`` ns pass between one packet and the next."""
    pieces = [[packets[0]]]
    for before, packet in pairwise(packets):
        if packet.ts - before.ts > gap:
            pieces.append([])
        pieces[-1].append(packet)
    return pieces


def bulks(packets: list[Packet], backward: int) -> list[list[Packet]]:
    """Four or more packets with payload of one direction, none of the other with payload between them, at most a second
    apart."""
    with_payload = [packet for packet in packets if packet.payload]
    runs: list[list[Packet]] = []
    for packet in with_payload:
        if not runs or runs[-1][-1].backward != packet.backward:
            runs.append([])
        runs[-1].append(packet)
    pieces = [piece for run in runs for piece in split(run, SECOND)]
    return [piece for piece in pieces if len(piece) >= 4 and piece[0].backward == backward]


def gaps(packets: list[Packet]) -> list[int]:
    return [after.ts - before.ts for before, after in pairwise(packets)]


def per_second(amount: int, nanoseconds: int) -> float:
    return float(Fraction(amount * SECOND, nanoseconds)) if nanoseconds else 0.0


def one_side(packets: list[Packet], side: str, protocol: int) -> dict[str, float]:
    """The columns of one direction; ``side`` is Fwd or Bwd."""
    backward = int(side == "Bwd")
    mine = [packet for packet in packets if packet.backward == backward]
    duration, subflows = packets[-1].ts - packets[0].ts, len(split(packets, SECOND))
    lengths, total = [packet.payload for packet in mine], sum(packet.payload for packet in mine)
    found = bulks(packets, backward)
    bulk_bytes, bulk_time = (
        sum(packet.payload for bulk in found for packet in bulk),
        sum(bulk[-1].ts - bulk[0].ts for bulk in found),
    )
    return {
        "Total Backward Packets" if backward else "Total Fwd Packets": len(mine),
        f"Total Length of {side} Packets": total,
        **{f"{side} Packet Length {name}": value for name, value in spread(lengths).items()},
        **{f"{side} IAT {name}": value for name, value in spread(gaps(mine), 1000).items()},
        f"{side} IAT Total": sum(gaps(mine)) / 1000,
        f"{side} PSH Flags": sum(bool(packet.flags & 0x08) for packet in mine),
        f"{side} URG Flags": sum(bool(packet.flags & 0x20) for packet in mine),
        f"{side} Header Length": sum(packet.header for packet in mine),
        f"{side} Packets/s": per_second(len(mine), duration),
        f"Avg {side} Segment Size": spread(lengths)["Mean"],
        f"{side} Avg Bytes/Bulk": bulk_bytes / max(len(found), 1),
        f"{side} Avg Packets/Bulk": sum(len(bulk) for bulk in found) / max(len(found), 1),
        f"{side} Avg Bulk Rate": per_second(bulk_bytes, bulk_time),
        f"Subflow {side} Packets": len(mine) / subflows,
        f"Subflow {side} Bytes": total / subflows,
        f"Init_Win_bytes_{'backward' if backward else 'forward'}": mine[0].win if mine and protocol == 6 else -1,
    }


def features(packets: list[Packet], protocol: int) -> dict[str, float]:
    """All 77 by name."""
    duration, lengths = packets[-1].ts - packets[0].ts, [packet.payload for packet in packets]
    forward = [packet for packet in packets if not packet.backward]
    length = spread(lengths)
    periods = split(packets, 5 * SECOND)
    active = [period[-1].ts - period[0].ts for period in periods[:-1] if period[-1].ts > period[0].ts]
    idle = [after[0].ts - before[-1].ts for before, after in pairwise(periods)]
    flags = {"FIN": 0, "SYN": 1, "RST": 2, "PSH": 3, "ACK": 4, "URG": 5, "ECE": 6, "CWE": 7}
    return {
        "Protocol": protocol,
        "Flow Duration": duration / 1000,
        **one_side(packets, "Fwd", protocol),
        **one_side(packets, "Bwd", protocol),
        "Flow Bytes/s": per_second(sum(lengths), duration),
        "Flow Packets/s": per_second(len(packets), duration),
        **{f"Flow IAT {name}": value for name, value in spread(gaps(packets), 1000).items()},
        "Min Packet Length": length["Min"],
        "Max Packet Length": length["Max"],
        "Packet Length Mean": length["Mean"],
        "Packet Length Std": length["Std"],
        "Packet Length Variance": length["Std"] ** 2,
        **{f"{name} Flag Count": sum(packet.flags >> bit & 1 for packet in packets) for name, bit in flags.items()},
        "Down/Up Ratio": (len(packets) - len(forward)) / len(forward),
        "Average Packet Size": length["Mean"],
        "act_data_pkt_fwd": sum(packet.payload > 0 for packet in forward),
        "min_seg_size_forward": min(packet.header for packet in forward),
        **{f"Active {name}": value for name, value in spread(active, 1000).items()},
        **{f"Idle {name}": value for name, value in spread(idle, 1000).items()},
    }
