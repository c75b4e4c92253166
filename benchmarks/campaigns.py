"""Campaigns of ordinary flows, planted into a network's benign traffic: what only context can tell.

A campaign takes a benign test flow of the network as it is, or cut to its first packets, and repeats it as a scan, a
flood, guessing, a beacon or lateral movement would: at other times, between other hosts and ports.  Planted flows are
synthetic; nothing of an attack flow is read.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from datasets_registry.context import context_features, first_answers
from datasets_registry.registry import OpenDataset
from janus_bench.columns import CONTEXT_FEATURES

Ids = NDArray[np.int64]
COLUMNS = ("src", "dst", "dport", "proto", "start", "answered", "file")
ANSWER = 0.05  # Seconds after its start in which a planted flow is answered, where it is.
KNOWN_SHARE = 0.5  # Of campaigns that come from a host which also has benign traffic; the others come from a new one.


@dataclass(frozen=True)
class Pattern:
    """How a campaign's flows lie.

    flows       least and most of them
    gap         mean seconds between two, drawn between 10^a and 10^b
    to          one host, several that are there, or one that nobody knows
    ports       those of the repeated flow, one of a few, or a new one each time
    content     the whole flow, its first three packets, or its first alone
    unanswered  share of flows whose responder never sends
    crowd       from many new hosts
    inside      from a host that is there, always
    regular     as often as fits into the capture, at a steady pace
    """

    flows: tuple[int, int]
    gap: tuple[float, float] = (0.0, 0.0)
    to: Literal["one", "several", "outside"] = "one"
    ports: Literal["same", "one", "new"] = "same"
    content: Literal["whole", "three", "first"] = "whole"
    unanswered: float = 0.0
    crowd: bool = False
    inside: bool = False
    regular: bool = False


PATTERNS = {
    "scan of hosts": Pattern((15, 60), (-3, 0.5), to="several", ports="one", content="first", unanswered=0.7),
    "scan of ports": Pattern((15, 80), (-3, 0.5), ports="new", content="first", unanswered=0.5),
    "guessing": Pattern((15, 60), (-1.5, 1)),
    "flood": Pattern((30, 120), (-3.5, -1.5), content="three"),
    "distributed flood": Pattern((30, 120), (-3, -1), content="three", crowd=True),
    "beacon": Pattern((8, 20), to="outside", ports="one", inside=True, regular=True),
    "lateral movement": Pattern((5, 15), (0, 1.5), to="several", ports="one", inside=True),
}
PORTS = (22, 80, 443, 445, 3389)


@dataclass(frozen=True)
class Traffic:
    """Flows of a dataset, (n,) each: hosts by number, the responder's port, the protocol, times in s, the capture by
    number."""

    src: Ids
    dst: Ids
    dport: Ids
    proto: Ids
    start: NDArray[np.float64]
    answered: NDArray[np.float64]
    file: Ids

    @classmethod
    def of(cls, dataset: OpenDataset) -> Traffic:
        table = dataset.store.flows(["src_ip", "dst_ip", "dst_port", "proto", "ts_start"])
        hosts = np.unique(np.concatenate([table["src_ip"], table["dst_ip"]]), return_inverse=True)[1]
        src, dst = np.split(hosts, 2)
        start = table["ts_start"].to_numpy()
        dport, proto = (table[name].to_numpy().astype(np.int64) for name in ("dst_port", "proto"))
        file = np.unique(dataset.store.labels(["file"])["file"].to_numpy(), return_inverse=True)[1]
        return cls(src, dst, dport, proto, start, first_answers(dataset.store, start), file)

    def take(self, rows: Ids) -> Traffic:
        return Traffic(*(getattr(self, name)[rows] for name in COLUMNS))

    def beside(self, other: Traffic) -> Traffic:
        """These flows and then the others."""
        return Traffic(*(np.concatenate([getattr(self, name), getattr(other, name)]) for name in COLUMNS))

    def context(self) -> NDArray[np.float32]:
        """What context each flow has among these, (n, features)."""
        found = np.empty((len(self.start), len(CONTEXT_FEATURES)), np.float32)
        order = np.lexsort((self.start, self.file))
        for rows in np.split(order, np.flatnonzero(np.diff(self.file[order])) + 1):
            one = self.take(rows)
            found[rows] = context_features((one.src, one.dst), one.dport, one.proto, one.start, one.answered)
        return found


def campaigns(
    pattern: Pattern, there: Traffic, donors: Ids, least: int, rng: np.random.Generator
) -> tuple[Traffic, Ids]:
    """At least ``least`` flows in campaigns of a pattern, each in the capture of the flow that it repeats, and of every
    flow the row of ``there`` that it repeats, one of ``donors``."""
    made = list(_drawn(pattern, there, donors, least, rng))
    together = made[0][0]
    for flows, _ in made[1:]:
        together = together.beside(flows)
    return together, np.concatenate([donor for _, donor in made])


def _drawn(
    pattern: Pattern, there: Traffic, donors: Ids, least: int, rng: np.random.Generator
) -> Iterator[tuple[Traffic, Ids]]:
    unknown = int(max(there.src.max(), there.dst.max())) + 1
    total = 0
    while total < least:
        donor = int(rng.choice(donors))
        capture = there.take(np.flatnonzero(there.file == there.file[donor]))
        inside = np.unique(capture.src)
        begin, end = capture.start.min(), max(capture.start.max(), capture.start.min() + 60.0)
        n = int(rng.integers(*pattern.flows, endpoint=True))
        known = pattern.inside or rng.random() < KNOWN_SHARE
        src = np.full(n, rng.choice(inside) if known else unknown + rng.integers(1000))
        if pattern.crowd:
            src = unknown + 1000 + rng.integers(0, rng.integers(5, 60), n)
        everyone = np.unique(np.concatenate([capture.src, capture.dst]))
        dst = {
            "one": np.full(n, rng.choice(capture.dst)),
            "several": rng.choice(everyone, n),
            "outside": np.full(n, unknown + 2000 + rng.integers(1000)),
        }[pattern.to]
        port, proto = {
            "same": (np.full(n, there.dport[donor]), there.proto[donor]),
            "one": (np.full(n, rng.choice(PORTS)), 6),
            "new": (rng.choice(10_000, n, replace=False), 6),
        }[pattern.ports]
        if pattern.regular:
            gap = (end - begin) / n / rng.uniform(1, 5)
            start = begin + gap * (rng.random() + np.arange(n)) + rng.normal(0, 0.02 * gap, n)
        else:
            gap = 10 ** rng.uniform(*pattern.gap)
            start = begin + rng.random() * 0.9 * (end - begin) + np.cumsum(rng.exponential(gap, n))
        answered = np.where(rng.random(n) < pattern.unanswered, np.inf, start + ANSWER)
        yield (
            Traffic(src, dst, port, np.full(n, proto), start, answered, np.full(n, there.file[donor])),
            np.full(n, donor),
        )
        total += n
