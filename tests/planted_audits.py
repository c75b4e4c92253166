"""SYNTHETIC datasets with one defect each, and one without any: what the audit has to find in each of them, and nothing
else.  ``python -m tests.planted_audits`` prints the table of ``docs/audits.md``.

Flows are drawn as arrays, not as captures: what is planted is in the flows, and ten thousand are drawn in a moment.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from datasets_registry.block import Block
from datasets_registry.store import FlowStore
from datasets_registry.writing import StoreWriter
from harness.cli import audit as command

BENIGN, ATTACK, CAPTURES, HOUR = 10_400, 2_400, 20, 3600.0
SYN, FIN, RST, PSH, ACK = (1 << bit for bit in range(1, 6))
HOSTS, SERVERS, PORTS = 4, 3, 12
LONGEST = 60


@dataclass
class Planted:
    """Flows as they are drawn, (n,) each; what a defect changes."""

    rng: np.random.Generator
    attack: NDArray[np.bool_]
    capture: NDArray[Any]
    family: NDArray[Any]
    src: NDArray[Any]
    dst: NDArray[Any]
    sport: NDArray[Any]
    dport: NDArray[Any]
    start: NDArray[np.float64]
    packets: list[NDArray[Any]]
    """A flow's packets, (k, 4): bits, size, window, gap in µs."""
    n_packets: NDArray[Any]
    manifest: dict[str, Any] = field(default_factory=dict)

    def take(self, kept: NDArray[Any]) -> None:
        for name in ("attack", "capture", "family", "src", "dst", "sport", "dport", "start", "n_packets"):
            setattr(self, name, getattr(self, name)[kept])
        self.packets = [self.packets[at] for at in np.arange(len(self.packets))[kept]]

    def some(self, share: float, *, attack: bool) -> NDArray[Any]:
        """Places of so many flows of a class, drawn."""
        return np.flatnonzero((self.attack == attack) & (self.rng.random(len(self.attack)) < share))


def draw(seed: int, benign: int = BENIGN, attack: int = ATTACK) -> Planted:
    """Nothing is wrong: attacks are among the benign flows of every capture, between the same hosts and ports, as long
    and as frequent; only their sizes tend to be a little smaller."""
    rng, n = np.random.default_rng([61, seed]), benign + attack
    is_attack = np.arange(n) >= benign
    lengths = np.minimum(1 + rng.geometric(0.11, n), LONGEST + rng.integers(0, 40, n))
    lengths[rng.random(n) < 0.3] = 1
    packets = []
    for length, hostile in zip(lengths.tolist(), is_attack.tolist(), strict=True):
        size = rng.integers(40, 1100 if hostile else 1400, length)
        flags = np.where(rng.random(length) < 0.5, ACK, PSH) | (rng.random(length) < 0.5)
        gap = rng.exponential(50_000, length) * (np.arange(length) > 0) + 20 * (np.arange(length) > 0)
        packets.append(np.column_stack([flags, size, rng.integers(0, 65536, length), gap]))
    capture = rng.integers(0, CAPTURES, n)
    return Planted(
        rng,
        is_attack,
        capture,
        np.where(
            is_attack, rng.choice(["flood", "guess", "scan"], n, p=[0.5, 0.3, 0.2]), rng.choice(["web", "mail"], n)
        ),
        rng.integers(0, HOSTS, n),
        rng.integers(0, SERVERS, n),
        rng.integers(1024, 65000, n),
        rng.integers(0, PORTS, n) + 400,
        1.6e9 + capture * 24 * HOUR + rng.uniform(0, HOUR, n),
        packets,
        lengths,
        {
            "matched": [benign, attack],
            "unmatched_rows": 0,
            "ambiguous": 0,
            "unmatched_flows": 0,
            "mirrored": 0,
            "removed": False,
        },
    )


def write(planted: Planted, folder: Path, name: str) -> FlowStore:
    order = np.lexsort((planted.start, planted.capture))
    planted.take(order)
    kept = [packets[:64] for packets in planted.packets]
    rows = np.concatenate(kept)
    files = pl.Series([f"{number:02}.pcap" for number in planted.capture])
    flows = pl.DataFrame(
        {
            "src_ip": [f"10.0.{host // 200}.{host % 200 + 1}" for host in planted.src.tolist()],
            "src_port": planted.sport.astype(np.uint16),
            "dst_ip": [f"198.51.100.{host + 1}" for host in planted.dst.tolist()],
            "dst_port": planted.dport.astype(np.uint16),
            "proto": np.full(len(order), 6, np.uint8),
            "ts_start": planted.start,
            "ts_end": planted.start + [float(packets[:, 3].sum()) / 1e6 for packets in planted.packets],
            "n_packets": planted.n_packets.astype(np.uint32),
        }
    )
    labels = pl.DataFrame(
        {
            "attack": planted.attack,
            "label": np.where(planted.attack, planted.family, "benign").astype(str),
            "family": planted.family.astype(str),
            "source": files,
            "file": files,
            "row": np.arange(len(order), dtype=np.int64),
            "site": [""] * len(order),
        }
    )
    folder.mkdir(parents=True)
    writer = StoreWriter(folder)
    writer.add(
        Block(
            np.concatenate([[0], np.cumsum([len(packets) for packets in kept])]).astype(np.int64),
            {
                "bits": rows[:, 0].astype(np.uint8),
                "size": rows[:, 1].astype(np.uint16),
                "win": rows[:, 2].astype(np.uint16),
                "iat": rows[:, 3].astype(np.float32),
            },
            flows,
            labels,
            None,
        )
    )
    told = planted.manifest
    counted = {name: told[name] for name in ("unmatched_rows", "ambiguous")}
    writer.finish(
        {
            "name": name,
            "summary": "SYNTHETIC flows",
            "synthetic": True,
            "licence": "none",
            "files": {},
            "warnings": [],
            "labels": {"all": {"matched": len(order), "flows": len(order), **counted}},
            "unmatched_flows": told["unmatched_flows"],
            "packets": {"read": len(rows), "used": len(rows), "dropped": {}, "noted": {"mirrored": told["mirrored"]}},
            "remove_mirrored": told["removed"],
        }
    )
    return FlowStore.open(folder)


# defects: each changes the flows of ``draw`` in place


def everything_twice(p: Planted) -> None:
    for at, packets in enumerate(p.packets):
        twice = np.repeat(packets, 2, axis=0)
        twice[1::2, 3] = 2.0
        p.packets[at] = twice
    p.n_packets = 2 * p.n_packets


def sender_repeats(p: Planted) -> None:
    for at in p.some(1, attack=True):
        copies = 1 + (p.packets[at][:, 0] % 2 == 0)
        twice = np.repeat(p.packets[at], copies, axis=0)
        again = np.concatenate([[False], np.diff(np.repeat(np.arange(len(copies)), copies)) == 0])
        twice[again, 3] = 2.0
        p.packets[at] = twice
    p.n_packets = np.array([len(packets) for packets in p.packets])


def removed_copies(p: Planted) -> None:
    p.manifest |= {"mirrored": 40_000, "removed": True}


def _cut(p: Planted, *, attack: bool) -> None:
    for at in p.some(1, attack=attack):
        p.packets[at] = p.packets[at][:24]
    p.n_packets = np.array([len(packets) for packets in p.packets])


def one_packet_scans(p: Planted) -> None:
    scans = p.some(0.55, attack=True)
    p.family[scans] = "scan"
    for at in scans:
        p.packets[at] = p.packets[at][:1]
        p.packets[at][:, 1] = p.rng.integers(40, 1400)
    p.take(np.flatnonzero((p.family != "scan") | np.isin(np.arange(len(p.family)), scans)))
    p.n_packets = np.array([len(packets) for packets in p.packets])


def attacks_elsewhere(p: Planted) -> None:
    away = p.some(0.9, attack=True)
    p.capture[away] = CAPTURES + p.rng.integers(0, 4, len(away))
    p.src[away] += 100
    p.dst[away] += 100
    p.start[away] = 1.6e9 + p.capture[away] * 24 * HOUR + p.rng.uniform(0, HOUR, len(away))


def labels_by_file(p: Planted) -> None:
    p.capture[p.attack] = CAPTURES + p.rng.integers(0, 4, p.attack.sum())
    p.start = 1.6e9 + p.capture * 24 * HOUR + p.rng.uniform(0, HOUR, len(p.start))


def one_recorder(p: Planted) -> None:
    labels_by_file(p)
    for at in p.some(1, attack=True):
        p.packets[at][:, 1] = p.rng.integers(40, 60, len(p.packets[at]))
        p.family[at] = ("flood", "guess", "scan")[p.capture[at] % 3]


def published_twice(p: Planted) -> None:
    again = np.flatnonzero(p.capture == 3)
    n = len(p.capture)
    p.take(np.concatenate([np.arange(n), again]))
    p.capture[n:] = CAPTURES


def unmatched_rows(p: Planted) -> None:
    p.manifest["unmatched_rows"] = 400


def contradicting_rows(p: Planted) -> None:
    p.manifest["ambiguous"] = 400


def unmatched_flows(p: Planted) -> None:
    p.manifest["unmatched_flows"] = 400


def few_benign(p: Planted) -> None:
    p.take(np.concatenate([np.flatnonzero(~p.attack)[:900], np.flatnonzero(p.attack)[:300]]))


def tiny_family(p: Planted) -> None:
    p.family[np.flatnonzero(p.attack)[:7]] = "rare"


def windows_of_a_tool(p: Planted) -> None:
    for at in p.some(1, attack=True):
        p.packets[at][:, 2] = 64_000 + p.rng.integers(0, 1500, len(p.packets[at]))


def ports_of_a_tool(p: Planted) -> None:
    away = p.some(1, attack=True)
    p.dport[away] = 900 + p.rng.integers(0, 3, len(away))


def flags_of_a_tool(p: Planted) -> None:
    for at in p.some(1, attack=True):
        bits, both = p.packets[at][:, 0], p.rng.random(len(p.packets[at])) < 0.5
        p.packets[at][:, 0] = bits % 2 + np.where(both, ACK | PSH, 0)


def sizes_of_a_tool(p: Planted) -> None:
    for at in p.some(1, attack=True):
        p.packets[at][:, 1] = p.rng.integers(40, 600, len(p.packets[at]))


def long_attacks(p: Planted) -> None:
    attacks = np.flatnonzero(p.attack)
    for at in attacks:
        longer = np.concatenate([p.packets[other] for other in [at, *p.rng.choice(attacks, 3)]])
        longer[:, 2] = p.rng.choice(p.packets[at][:, 2], len(longer))  # no larger windows because there are more
        p.packets[at] = longer
    p.n_packets = np.array([len(packets) for packets in p.packets])


def captures_differ(p: Planted) -> None:
    for at, packets in enumerate(p.packets):
        packets[:, 1] = p.rng.integers(40 + 120 * (p.capture[at] % 10), 400 + 120 * (p.capture[at] % 10), len(packets))


def attacks_like_training(p: Planted) -> None:
    longer = np.flatnonzero(~p.attack & (p.n_packets > 2))
    for at in p.some(0.4, attack=True):
        p.packets[at] = p.packets[p.rng.choice(longer)].copy()
    p.n_packets = np.array([len(packets) for packets in p.packets])


def one_pattern(p: Planted) -> None:
    pattern = next(packets for packets in p.packets if len(packets) == 7).copy()
    pattern[:, 2] = p.rng.integers(0, 65536, 7)
    for at in p.some(0.6, attack=True):
        p.packets[at] = pattern
    p.n_packets = np.array([len(packets) for packets in p.packets])


def _patterns(p: Planted, groups: NDArray[Any], each: int) -> None:
    """Most benign flows repeat the sizes and flags of one of so many flows of their group."""
    for group in np.unique(groups):
        own = np.flatnonzero(~p.attack & (groups == group))
        models = own[:each]
        for at in own[p.rng.random(len(own)) < 0.6]:
            model = p.packets[p.rng.choice(models)]
            again = model.copy()
            again[:, 2] = p.rng.integers(0, 65536, len(model))
            p.packets[at] = again
    p.n_packets = np.array([len(packets) for packets in p.packets])


def repeated_everywhere(p: Planted) -> None:
    _patterns(p, np.zeros(len(p.attack), int), 300)


def repeated_in_captures(p: Planted) -> None:
    _patterns(p, p.capture, 150)


def connections_go_on(p: Planted) -> None:
    for column in (p.src, p.dst, p.sport, p.dport):
        own = np.flatnonzero(~p.attack)
        column[own] = column[own[np.arange(len(own)) % 4000]]


def attacks_on_benign_tuples(p: Planted) -> None:
    hostile = p.some(0.1, attack=True)
    benign = p.rng.choice(np.flatnonzero(~p.attack), len(hostile))
    for column in (p.src, p.dst, p.sport, p.dport):
        column[hostile] = column[benign]


def one_pair(p: Planted) -> None:
    for place, name in enumerate(("flood", "guess", "scan")):
        own = p.attack & (p.family == name)
        p.src[own], p.dst[own] = place, place


def one_minute(p: Planted) -> None:
    for place, name in enumerate(("flood", "guess", "scan")):
        own = p.attack & (p.family == name)
        p.capture[own] = place
        p.start[own] = 1.6e9 + place * 24 * HOUR + 900 + p.rng.uniform(0, 59, own.sum())


def rates_differ(p: Planted) -> None:
    p.start = 1.6e9 + p.capture * 24 * HOUR + (p.start - p.start.min()) % HOUR / 4.0 ** (p.capture % 5)


def capped_by_label(p: Planted) -> None:
    p.family[p.family == "guess"] = "flood"
    kept = [
        np.flatnonzero((p.capture == capture) & p.attack & (p.family == "flood"))[:60] for capture in range(CAPTURES)
    ]
    p.take(np.sort(np.concatenate([*kept, np.flatnonzero(p.family != "flood")])))


DEFECTS: dict[str, tuple[Callable[[Planted], None], set[str]]] = {
    "none": (lambda _: None, set()),
    "every packet recorded twice": (everything_twice, {"mirrored.captures"}),
    "the attacker sends everything twice": (sender_repeats, {"mirrored.packets"}),
    "copies that the extractor removed": (removed_copies, {"mirrored.extraction"}),
    "benign flows cut at 24 packets": (partial(_cut, attack=False), {"caps.benign"}),
    "attack flows cut at 24 packets": (partial(_cut, attack=True), {"caps.attack"}),
    "half of the attacks are a one-packet scan": (one_packet_scans, {"one_packet.attack", "one_packet.family"}),
    "nine attacks in ten from other networks": (attacks_elsewhere, {"origins.apart"}),
    "a file is benign or attack as a whole": (labels_by_file, {"origins.apart", "origins.captures"}),
    "the same, and attacks were cut by their recorder": (
        one_recorder,
        {"origins.apart", "origins.captures", "separability.best_feature", "separability.unseen"},
    ),
    "a capture is there under two names": (published_twice, {"captures.repeated"}),
    "rows of labels without a flow": (unmatched_rows, {"coverage.unmatched_rows"}),
    "rows of labels that contradict each other": (contradicting_rows, {"coverage.ambiguous"}),
    "flows without a label": (unmatched_flows, {"coverage.unmatched_flows"}),
    "900 benign flows": (few_benign, {"parts.thresholds", "parts.test_benign"}),
    "a family of seven flows": (tiny_family, {"parts.families"}),
    "attacks have the window of one tool": (windows_of_a_tool, {"separability.channel_window"}),
    "attacks go to ports of their own": (ports_of_a_tool, {"separability.ports"}),
    "attacks have flags of their own": (flags_of_a_tool, {"separability.flags"}),
    "attacks are small": (sizes_of_a_tool, {"separability.best_feature"}),
    "attacks are long": (long_attacks, {"separability.length_stored", "separability.best_feature"}),
    "benign captures differ in sizes": (captures_differ, {"captures.separability"}),
    "attacks repeat benign training flows": (attacks_like_training, {"duplicates.exact_attack_in_train_grouped"}),
    "one pattern is most of the attacks": (one_pattern, {"duplicates.exact_attack"}),
    "benign flows repeat each other": (repeated_everywhere, {"duplicates.near_benign_in_train_grouped"}),
    "benign flows repeat their capture's": (
        repeated_in_captures,
        {"captures.separability", "duplicates.near_benign_in_train_random"},
    ),
    "connections go on in the next file": (connections_go_on, {"tuples.benign_in_train_grouped"}),
    "attacks on benign 5-tuples": (attacks_on_benign_tuples, {"tuples.attack_in_train_grouped"}),
    "each family between one pair of hosts": (one_pair, {"families.one_pair"}),
    "a family is a minute": (one_minute, {"families.one_minute", "context.alone"}),
    "benign captures differ in their rates": (rates_differ, {"context.captures"}),
    "flows capped by label": (capped_by_label, {"context.capped"}),
}
"""What is planted → how, and the keys of all findings that have to come of it."""


def found(name: str, folder: Path, planted: Planted) -> set[str]:
    """Keys of the findings of the dataset with this defect; ``planted``: what ``draw`` gave, which is changed."""
    DEFECTS[name][0](planted)
    return {finding["key"] for finding in command.document(write(planted, folder, "planted"))["findings"]}


HEAD = ["| planted | found | missed, or found beside it |", "|---|---|---|"]


def row(name: str, keys: set[str]) -> str:
    """A line of the table of ``docs/audits.md``."""
    expected = DEFECTS[name][1]
    cells = [", ".join(f"`{key}`" for key in sorted(of)) or "–" for of in (keys & expected, keys ^ expected)]
    return f"| {name} | {cells[0]} | {cells[1]} |"


if __name__ == "__main__":
    print(*HEAD, sep="\n", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        for number, name in enumerate(sys.argv[1:] or DEFECTS):
            print(row(name, found(name, Path(folder) / str(number), draw(0))), flush=True)
