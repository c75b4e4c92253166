"""The packets of one capture as the simulator leaves them, and the flows that a reader of the capture will find."""

import socket
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

FIN, SYN, RST, PSH, ACK = 1, 2, 4, 8, 16
ICMP, TCP, UDP, ICMPV6 = 1, 6, 17, 58
CLIENT, SERVER_SIDE = 0, 1
NO_OPTIONS, TIMESTAMPS, SYN_OPTIONS = 0, 1, 2

IDLE_TIMEOUT = 120.0  # Seconds of silence after which the same 5-tuple is a new flow.

PACKET = np.dtype(
    [
        ("time", "f8"),  # seconds after the capture's start
        ("flow", "i4"),  # index of its FlowEntry
        ("side", "u1"),  # 0: from the entry's first endpoint
        ("flags", "u1"),  # TCP flags; ICMP type
        ("payload", "u2"),  # bytes after the TCP/UDP/ICMP header
        ("seq", "i8"),  # TCP sequence number, not yet modulo 2^32; ICMP sequence
        ("ack", "i8"),
        ("window", "u2"),  # raw field
        ("options", "u1"),
    ]
)


@dataclass(frozen=True)
class FlowEntry:
    """What all packets of one exchange share; index 0 is the endpoint that the application calls client.

    addresses, macs, ports, ttls  one per side; addresses have 4 or 16 bytes
    syn_options                   one per side, a multiple of four bytes, at most 20
    """

    proto: int
    addresses: tuple[bytes, bytes]
    ports: tuple[int, int]
    macs: tuple[bytes, bytes]
    ttls: tuple[int, int]
    syn_options: tuple[bytes, bytes]
    attack: bool
    family: str

    @property
    def key(self) -> tuple[Any, ...]:
        """The same for both directions."""
        ends = sorted(zip(self.addresses, self.ports, strict=True))
        return (self.proto, *ends)


@dataclass(frozen=True)
class FlowRow:
    """One row of labels.csv; times in ticks of the capture's clock after its start."""

    first: int
    last: int
    entry: FlowEntry
    initiator: int
    packets: int

    @property
    def endpoints(self) -> tuple[str, int, str, int]:
        """Source address and port (the sender of the first packet), destination address and port."""
        source, target = self.initiator, 1 - self.initiator
        return (
            _text(self.entry.addresses[source]),
            self.entry.ports[source],
            _text(self.entry.addresses[target]),
            self.entry.ports[target],
        )


def _text(address: bytes) -> str:
    return socket.inet_ntop(socket.AF_INET if len(address) == 4 else socket.AF_INET6, address)


class Trace:
    """Collects packets in any order; ``sorted_packets`` are what the capture holds."""

    def __init__(self) -> None:
        self.entries: list[FlowEntry] = []
        self.packets: list[tuple[float, int, int, int, int, int, int, int, int]] = []

    def add(self, entry: FlowEntry) -> int:
        """Register an exchange; returns the index that its packets carry."""
        self.entries.append(entry)
        return len(self.entries) - 1

    def sorted_packets(self, duration: float, ticks: int) -> tuple[NDArray[np.void], NDArray[np.int64]]:
        """Packets with 0 ≤ time < duration in order of time, and their times in whole ticks (``ticks`` per second)
        after the start.

        A capture is a window: connections that were open before it, or still are after it, lose their beginning or
        their end.
        """
        packets = np.array(self.packets, dtype=PACKET)
        packets = packets[(packets["time"] >= 0) & (packets["time"] < duration)]
        clock = np.rint(packets["time"] * ticks).astype(np.int64)
        order = np.argsort(clock, kind="stable")
        return packets[order], clock[order]

    def flow_rows(self, packets: NDArray[np.void], clock: NDArray[np.int64], ticks: int) -> Iterator[FlowRow]:
        """The flows of sorted packets: bidirectional 5-tuples, split after 120 s of silence, in order of their first
        packet."""
        if not len(packets):
            return
        numbers: dict[tuple[Any, ...], int] = {}
        key_of_entry = np.array([numbers.setdefault(entry.key, len(numbers)) for entry in self.entries])
        key = key_of_entry[packets["flow"]]  # (P,)
        order = np.lexsort((np.arange(len(key)), key))
        key, times, flow = key[order], clock[order], packets["flow"][order]
        starts = np.flatnonzero(np.r_[True, (np.diff(key) != 0) | (np.diff(times) > IDLE_TIMEOUT * ticks)])
        ends = np.r_[starts[1:], len(key)]
        self._refuse_mixed_labels(flow, starts)
        for position in np.argsort(order[starts], kind="stable").tolist():
            begin, end = int(starts[position]), int(ends[position])
            entry = self.entries[int(flow[begin])]
            initiator = int(packets["side"][order[begin]])
            yield FlowRow(int(times[begin]), int(times[end - 1]), entry, initiator, end - begin)

    def _refuse_mixed_labels(self, flow: NDArray[np.int32], starts: NDArray[np.int64]) -> None:
        families = {
            name: number
            for number, name in enumerate(sorted({f"{entry.attack}/{entry.family}" for entry in self.entries}))
        }
        of_entry = np.array([families[f"{entry.attack}/{entry.family}"] for entry in self.entries])
        labels = of_entry[flow]
        if np.any(np.minimum.reduceat(labels, starts) != np.maximum.reduceat(labels, starts)):
            raise AssertionError("two applications of the simulator share a 5-tuple: their flow would have two labels")
