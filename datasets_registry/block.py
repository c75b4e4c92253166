"""Flows on their way into a store or out of one, and what is summed over them: content hash and counts.

A store is written and checked block by block, so that its size decides nothing about memory; neither sum depends on
where one block ends.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from janus_bench.columns import FLOW_COLUMNS, LABEL_COLUMNS, PACKET_ARRAYS

if TYPE_CHECKING:
    import polars as pl

FLOW_FIELDS = tuple(name for name in FLOW_COLUMNS if name != "flow_id")
LABEL_FIELDS = tuple(name for name in LABEL_COLUMNS if name != "flow_id")


@dataclass(frozen=True, eq=False)
class Block:
    """n flows with everything that a store keeps of them, except their numbers and what follows from their packets.

    offsets (n + 1,) int64; packets: ``columns.PACKET_ARRAYS``, (offsets[-1],) each; flows and labels: those of
    ``columns`` without ``flow_id``; cic (n, 77) float32 in the order of ``columns.CIC_FEATURES``, None where they are
    not known.
    """

    offsets: NDArray[np.int64]
    packets: Mapping[str, NDArray[Any]]
    flows: pl.DataFrame
    labels: pl.DataFrame
    cic: NDArray[np.float32] | None

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def slice(self, begin: int, end: int) -> Block:
        first, last = self.offsets[begin], self.offsets[end]
        return Block(
            self.offsets[begin : end + 1] - first,
            {name: values[first:last] for name, values in self.packets.items()},
            self.flows[begin:end],
            self.labels[begin:end],
            None if self.cic is None else self.cic[begin:end],
        )


class _Digests:
    """SHA-256 over columns by name, the same for every division into blocks."""

    def __init__(self, names: Sequence[str]) -> None:
        # values, and the lengths of texts
        self._digests = {name: (hashlib.sha256(), hashlib.sha256()) for name in names}
        self._n_flows = 0

    def _add_frame(self, frame: pl.DataFrame, names: Sequence[str]) -> None:
        import polars as pl

        for name in names:
            if frame[name].dtype == pl.String:
                values, lengths = self._digests[name]
                lengths.update(_little_endian(frame[name].str.len_bytes().to_numpy()))
                values.update((frame[name].str.join("").item() or "").encode())
            else:
                self._add(name, frame[name].to_numpy())

    def _add(self, name: str, values: NDArray[Any]) -> None:
        self._digests[name][0].update(_little_endian(values))

    def hexdigest(self) -> str:
        nothing = hashlib.sha256().digest()
        lines = (
            f"{name} {values.hexdigest()} {lengths.hexdigest()}\n"
            for name, (values, lengths) in self._digests.items()
            if name != "site" or values.digest() != nothing
        )
        return hashlib.sha256(f"{self._n_flows}\n{''.join(lines)}".encode()).hexdigest()


class TableHash(_Digests):
    """SHA-256 over the sets of features, flows and labels of a dataset without packets."""

    def __init__(self, sets: Sequence[str]) -> None:
        super().__init__((*sets, *FLOW_FIELDS, *LABEL_FIELDS))

    def update(self, sets: Mapping[str, NDArray[np.float32]], flows: pl.DataFrame, labels: pl.DataFrame) -> None:
        """Add flows after those of the ones before."""
        self._n_flows += flows.height
        for name, matrix in sets.items():
            self._add(name, matrix)
        self._add_frame(flows, FLOW_FIELDS)
        self._add_frame(labels, LABEL_FIELDS)


class ContentHash(_Digests):
    """SHA-256 over packets, flows and labels, the same on every machine and for every division into blocks and shards.

    Features are left out: the 20 follow from the packets, and the last bit of a logarithm or of a root is the
    platform's.  Sites are left out where no flow has one, so that a dataset without them keeps the hash that it had
    before there were sites.
    """

    def __init__(self) -> None:
        super().__init__(("length", *PACKET_ARRAYS, *FLOW_FIELDS, *LABEL_FIELDS))

    def update(self, block: Block) -> None:
        """Add the flows of a block after those of the ones before."""
        self._n_flows += len(block)
        self._add("length", np.diff(block.offsets))
        for name, dtype in PACKET_ARRAYS.items():
            self._add(name, block.packets[name].astype(dtype, copy=False))
        self._add_frame(block.flows, FLOW_FIELDS)
        self._add_frame(block.labels, LABEL_FIELDS)


def _little_endian(values: NDArray[Any]) -> memoryview:
    return np.ascontiguousarray(values.astype(values.dtype.newbyteorder("<"), copy=False)).data


@dataclass
class Counts:
    """What a manifest counts: flows in all and of two or more packets, stored packets; flows per class and family, per
    label, per site and class."""

    n_flows: int = 0
    longer: int = 0
    n_packets: int = 0
    families: Counter[tuple[bool, str]] = field(default_factory=Counter)
    longer_families: Counter[tuple[bool, str]] = field(default_factory=Counter)
    labels: Counter[tuple[str, bool]] = field(default_factory=Counter)
    sites: Counter[tuple[str, bool]] = field(default_factory=Counter)

    def update(self, block: Block) -> None:
        self.count(block.flows, block.labels)
        self.n_packets += int(block.offsets[-1])

    def count(self, flows: pl.DataFrame, labels: pl.DataFrame) -> None:
        """Count flows of which no packets are stored."""
        import polars as pl

        table = labels.select("attack", "label", "family", "site", longer=flows["n_packets"] >= 2)
        self.n_flows += flows.height
        self.longer += int(table["longer"].sum())
        kinds = table.group_by("attack", "label", "family", "site").agg(pl.len(), pl.col("longer").sum())
        for attack, label, family, site, number, longer in kinds.iter_rows():
            self.families[attack, family] += number
            self.longer_families[attack, family] += longer
            self.labels[label, attack] += number
            self.sites[site, attack] += number

    def described(self) -> dict[str, Any]:
        """The counts as a manifest records them; ``sites`` (name → benign and attack flows) only where there is a
        name."""
        attacks = sum(flows for (attack, _), flows in self.families.items() if attack)
        families = {
            f"{'attack' if attack else 'benign'}/{family}": [flows, self.longer_families[attack, family]]
            for (attack, family), flows in self.families.items()
        }
        sites = {
            site: [self.sites[site, False], self.sites[site, True]] for site in sorted({site for site, _ in self.sites})
        }
        return {
            "n_flows": self.n_flows,
            "n_flows_2_packets": self.longer,
            "n_packets": self.n_packets,
            "benign": self.n_flows - attacks,
            "attack": attacks,
            "families": dict(sorted(families.items())),
            **({"sites": sites} if any(sites) else {}),
        }

    def by_label(self) -> dict[str, int]:
        return {label: flows for (label, _), flows in sorted(self.labels.items())}

    def by_class(self) -> dict[str, tuple[int, bool]]:
        """Label → flows, and whether they are attacks."""
        return {label: (flows, attack) for (label, attack), flows in sorted(self.labels.items())}
