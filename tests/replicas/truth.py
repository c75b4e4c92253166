"""What is in a replica: every flow of its captures and every row of its CSVs, and which belong together."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Traps", "TrueFlow", "TrueRow", "Truth"]


@dataclass(frozen=True)
class Traps:
    """What to do to the CSVs; shares are of the flows of each label in each file, rounded down.

    duplicated        share of flows whose row is written twice
    missing           share of flows without a row
    orphans           rows without a flow, as a share of the flows: half of another 5-tuple, half at a time when their
                      5-tuple was silent
    swapped           share of flows whose row has source and destination exchanged
    ambiguous         flows per day with a second row of the same time and 5-tuple, but another label
    bad_bytes         rows per file with bytes in ``Flow ID`` that are no UTF-8, and none that cp1252 knows
    broken            rows per file whose time cannot be read
    repeated_headers  lines per file that are its header again, as where several files were put together
    long              benign flows per day of some five minutes, in three rows: CICFlowMeter cuts after 120 s
    tails             share of the TCP flows with a FIN that go on after it, in two rows: CICFlowMeter begins a flow
                      from the other side (cicids2017)

    No other trap is set for a flow that is ``long`` or has a tail.
    wrong_zone_day    the day (group) whose CSV clock is ``wrong_zone_hours`` ahead of the published one
    """

    duplicated: float = 0.0
    missing: float = 0.0
    orphans: float = 0.0
    swapped: float = 0.0
    ambiguous: int = 0
    bad_bytes: int = 0
    broken: int = 0
    repeated_headers: int = 0
    long: int = 0
    tails: float = 0.0
    wrong_zone_day: str = ""
    wrong_zone_hours: int = 0


@dataclass(frozen=True)
class TrueFlow:
    """A flow: its initiator is ``src``.

    capture        path below ``captures/``
    first, last    ns since the epoch (UTC), of its packets; copies that a mirror port made are neither here nor in
                   ``n_packets``
    label          as published: the CSV's label, or the name of the capture's class
    corrected      label by hosts and times of day, where the dataset has corrected labels; otherwise ``label``
    row            how the CSVs have it: "plain", "swapped", "none" (no row), "ambiguous" (two rows that contradict each
                   other), or "" without CSV
    attacker_mac   whether the attacker's machine sent or received it (ciciot2023)
    """

    capture: str
    src: str
    sport: int
    dst: str
    dport: int
    proto: int
    first: int
    last: int
    n_packets: int
    label: str
    corrected: str
    row: str = ""
    attacker_mac: bool = False


@dataclass(frozen=True)
class TrueRow:
    """A row of a CSV: ``line`` counts the file's rows from 0, the header and nothing else left out.

    kind   "row" (a flow's first), "part" (other rows of a flow that was cut), "duplicate", "orphan" (no flow),
           "ambiguous" (see TrueFlow), "broken" (its time cannot be read; no flow), "header", "blank"
    flow   position in ``Truth.flows``; None without one
    """

    file: str
    line: int
    label: str
    kind: str
    flow: int | None


@dataclass(frozen=True)
class Truth:
    """flows by capture and time of their first packets; rows by file and line."""

    captures: Path
    labels: Path
    flows: tuple[TrueFlow, ...]
    rows: tuple[TrueRow, ...]

    def row_counts(self) -> dict[str, Counter[str]]:
        """Label → kind of row → rows."""
        counts: dict[str, Counter[str]] = {}
        for row in self.rows:
            counts.setdefault(row.label, Counter())[row.kind] += 1
        return counts

    def flow_counts(self) -> dict[str, Counter[str]]:
        """Label → what the CSVs have of its flows (``TrueFlow.row``) → flows."""
        counts: dict[str, Counter[str]] = {}
        for flow in self.flows:
            counts.setdefault(flow.label, Counter())[flow.row] += 1
        return counts

    def matched(self) -> tuple[TrueFlow, ...]:
        """The flows that have one row, or several that agree."""
        return tuple(flow for flow in self.flows if flow.row in ("plain", "swapped"))
