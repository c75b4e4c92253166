"""The flow store on disk, read: ragged packets, flows, features, and labels apart from them.

Layout (names and types in ``janus_bench.columns``)::

    manifest.json         what it is, counts, what was dropped and why, content hash, flows per shard
    packets/<name>.npy    offsets, size, iat, win, bits: memory-mapped
    flows.parquet         5-tuples and times       flow_features.parquet   flow_id and the 20 features
    labels.parquet        labels, apart: nothing here hands them out together with flow data
    cic_features.npy      (flows, 77) float32 in the order of ``columns.CIC_FEATURES``; absent where only sequences were
                          at hand
    <set>.npy             of a dataset without packets, in place of packets and features: (flows, columns) float32 of
                          each set of features that it has (``columns.FEATURE_INPUTS``)
    SHA256SUMS            checksum of every other file, as ``sha256sum -c`` reads it

A store of more flows than one shard holds has these arrays and tables (not the manifest and the checksums) in
``full_store/00000``, ``full_store/00001`` and so on, with rising flow ids.  Opening looks at headers only; checks of
values are ``verify``'s.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from datasets_registry.block import FLOW_FIELDS, LABEL_FIELDS, Block
from datasets_registry.manifest import is_table, read_manifest
from janus_bench.columns import (
    BIT_OF,
    CIC_FEATURES,
    FEATURE_INPUTS,
    FLOW_COLUMNS,
    FLOW_FEATURES,
    LABEL_COLUMNS,
    PACKET_ARRAYS,
    PACKET_CHANNELS,
)
from janus_bench.contract import FlowBatch
from janus_bench.errors import DataError
from janus_bench.ragged import positions, starts_of
from janus_bench.stored import Unreadable, read_array, read_table, table_columns

if TYPE_CHECKING:
    import polars as pl

SCHEMA_VERSION = 1  # Of the manifest; stored results have one of their own.

STORE_VERSION = 3
"""Changes when the layout does.  The schema version, that of runs, is noted in the manifest and read by nobody."""
READABLE = (2, 3)
"""Versions that are read; another has to be added again.  In version 2 ``labels.parquet`` had no column ``site``: all
is one site, ``""``."""

MANIFEST = "manifest.json"
CHECKSUMS = "SHA256SUMS"
CIC_FILE = "cic_features.npy"
FULL_STORE = "full_store"
TABLES = {
    "flows.parquet": FLOW_COLUMNS,
    "labels.parquet": LABEL_COLUMNS,
    "flow_features.parquet": ("flow_id", *FLOW_FEATURES),
}
TABLES_2 = {"labels.parquet": LABEL_COLUMNS[:-1]}  # Tables of version 2 that were others.
LARGEST_NUMBER = 1e38  # Nothing that is stored comes near it, and detectors calculate with 32 bits.
BLOCK_FLOWS = 1 << 14  # Flows that are handled at a time: 16 384 flows of 64 packets are 9 MB.


def shard_folders(n_shards: int) -> list[str]:
    """Folders of the shards below the store's: itself if there is but one."""
    return [""] if n_shards == 1 else [f"{FULL_STORE}/{number:05}/" for number in range(n_shards)]


def is_current(folder: Path) -> bool:
    """Is there a store in ``folder`` that this program reads?  False for one of another version."""
    try:
        return not isinstance(read_manifest(folder / MANIFEST, READABLE), int)
    except Unreadable:
        return False


@dataclass(frozen=True, eq=False)
class Shard:
    """Some consecutive flows of a store: ``begin`` to ``begin + n_flows``.

    Nothing is kept open: arrays are mapped for one use, so that what has been read does not count as this process's
    memory for ever.
    """

    store: Path
    prefix: str
    begin: int
    n_flows: int
    has_cic: bool
    sets: tuple[str, ...] | None = None
    """The sets of features of a dataset without packets; None where there are packets."""

    def check(self) -> None:
        """DataError if the headers of its arrays are not as they should be."""
        if self.sets is None:
            self.arrays()
        for name in self.sets or (("cic_features",) if self.has_cic else ()):
            self.matrix(name)

    def matrix(self, name: str) -> NDArray[np.float32]:
        """A set of features, (n_flows, columns), memory-mapped; of a dataset with packets only ``cic_features``."""
        if self.sets is None and name != "cic_features":
            raise DataError(f"{self.store}: the dataset was made of captures, it has no {name}")
        if self.sets is None:
            return self.cic()
        if name not in self.sets:
            raise DataError(f"{self.store}: the dataset has {' and '.join(self.sets)}, not {name}")
        return self._mapped(f"{name}.npy", "float32", (self.n_flows, len(FEATURE_INPUTS[name])))

    def arrays(self) -> tuple[NDArray[np.int64], dict[str, NDArray[Any]]]:
        """Offsets (n_flows + 1,) into, and the memory-mapped arrays of ``columns.PACKET_ARRAYS``; DataError if headers
        do not agree."""
        if self.sets is not None:
            raise DataError(f"{self.store}: a table without packets: it has {' and '.join(self.sets)}")
        offsets = self._mapped("packets/offsets.npy", "int64", (self.n_flows + 1,))
        if offsets[0] != 0 or offsets[-1] < self.n_flows or (offsets[1:] < offsets[:-1]).any():
            raise damaged(self.store, f"{self.prefix}packets/offsets.npy does not rise from 0")
        packets = {
            name: self._mapped(f"packets/{name}.npy", dtype, (int(offsets[-1]),))
            for name, dtype in PACKET_ARRAYS.items()
        }
        return offsets, packets

    def cic(self) -> NDArray[np.float32]:
        """CICFlowMeter's features, (n_flows, 77), memory-mapped; DataError if the store has none."""
        if not self.has_cic:
            raise DataError(
                f"{self.store}: the dataset has no cic_features (it was added from sequences, not from captures)"
            )
        return self._mapped(CIC_FILE, "float32", (self.n_flows, len(CIC_FEATURES)))

    def table(self, name: str, columns: Sequence[str] | None = None) -> pl.DataFrame:
        """One of ``TABLES``, or some of its columns; DataError if it cannot be read or is another."""
        import polars as pl

        path = self.store / self.prefix / name
        try:
            there = table_columns(path)
            if there not in (TABLES[name], TABLES_2.get(name)):
                raise Unreadable(f"columns {', '.join(there)}, expected {', '.join(TABLES[name])}")
            wanted = columns or TABLES[name]
            table = read_table(path, [column for column in wanted if column in there])
            if set(wanted) - set(there):
                table = table.with_columns(site=pl.lit("")).select(wanted)
        except Unreadable as error:
            raise damaged(self.store, f"{self.prefix}{name}: {error}") from None
        if table.height != self.n_flows:
            raise damaged(self.store, f"{self.prefix}{name}: {table.height} rows for {self.n_flows} flows")
        for column in table:
            if column.null_count():
                raise damaged(
                    self.store, f"{self.prefix}{name}: column {column.name} has {column.null_count()} missing values"
                )
            if column.dtype.is_float() and not (column.abs() < LARGEST_NUMBER).all():
                raise damaged(self.store, f"{self.prefix}{name}: {column.name} is not finite, or endless")
        return table

    def blocks(self, size: int = BLOCK_FLOWS) -> Iterator[Block]:
        """Everything in it, ``size`` flows at a time."""
        flows, labels = self.table("flows.parquet", FLOW_FIELDS), self.table("labels.parquet", LABEL_FIELDS)
        for begin in range(0, self.n_flows, size):
            end = min(begin + size, self.n_flows)
            offsets, packets = self.arrays()
            first, last = offsets[begin], offsets[end]
            yield Block(
                offsets[begin : end + 1] - first,
                {name: np.array(values[first:last]) for name, values in packets.items()},
                flows[begin:end],
                labels[begin:end],
                np.array(self.cic()[begin:end]) if self.has_cic else None,
            )

    def _mapped(self, name: str, dtype: str, shape: tuple[int, ...]) -> NDArray[Any]:
        try:
            values = read_array(self.store / self.prefix / name)
        except Unreadable as error:
            raise damaged(self.store, f"{self.prefix}{name}: {error}") from None
        if values.dtype != dtype or values.shape != shape:
            raise damaged(
                self.store, f"{self.prefix}{name} holds {values.dtype} {values.shape}, expected {dtype} {shape}"
            )
        return values


@dataclass(frozen=True, eq=False)
class FlowStore:
    """One dataset, read-only.  Only what is asked for is read, and of a large store only the shards that hold it."""

    folder: Path
    manifest: Mapping[str, Any]
    shards: Sequence[Shard]
    begins: NDArray[np.int64]
    _recent: dict[int, NDArray[np.float64]] = field(default_factory=dict, repr=False)

    @classmethod
    def open(cls, folder: Path) -> FlowStore:
        """DataError if there is no store, if it is damaged, or of another version."""
        path = folder / MANIFEST
        if not path.is_file():
            raise DataError(f"{folder}: not a dataset (no {MANIFEST}); add one with `janus-bench data add NAME FOLDER`")
        try:
            manifest = read_manifest(path, READABLE)
        except Unreadable as error:
            raise damaged(folder, f"{MANIFEST}: {error}") from None
        if isinstance(manifest, int):
            raise DataError(
                f"{folder}: a store of version {manifest}, this program reads "
                f"{' and '.join(map(str, READABLE))}; add the dataset again"
            )
        sizes = manifest["shards"]
        begins = starts_of(np.array(sizes))[:-1]
        sets = tuple(manifest["feature_sets"]) if is_table(manifest) else None
        if unknown := set(sets or ()) - set(FEATURE_INPUTS):
            raise damaged(folder, f"{MANIFEST}: feature_sets names {', '.join(sorted(unknown))}")
        shards = [
            Shard(folder, prefix, int(begin), size, bool(manifest["cic_features"]), sets)
            for prefix, begin, size in zip(shard_folders(len(sizes)), begins, sizes, strict=True)
        ]
        for shard in shards:
            shard.check()
        return cls(folder, manifest, shards, begins)

    @property
    def name(self) -> str:
        return str(self.manifest["name"])

    @property
    def hash(self) -> str:
        return str(self.manifest["hash"])

    @property
    def n_flows(self) -> int:
        return int(self.manifest["n_flows"])

    def packet_counts(self) -> NDArray[np.int64]:
        """Stored packets of each flow (at most ``MAX_PACKETS``), (N,)."""
        return np.concatenate([np.diff(shard.arrays()[0]) for shard in self.shards])

    def packets(self) -> dict[str, NDArray[Any]]:
        """The arrays of ``columns.PACKET_ARRAYS`` of all flows, in memory: 9 bytes a packet."""
        mapped = [shard.arrays()[1] for shard in self.shards]
        return {name: np.concatenate([arrays[name] for arrays in mapped]) for name in PACKET_ARRAYS}

    def flows(self, columns: Sequence[str] | None = None) -> pl.DataFrame:
        """5-tuples, times and packet counts; columns of ``columns.FLOW_COLUMNS``, or those named."""
        return self._table("flows.parquet", columns)

    def labels(self, columns: Sequence[str] | None = None) -> pl.DataFrame:
        """Labels; columns of ``columns.LABEL_COLUMNS``, or those named.  For the harness only, never for a detector."""
        return self._table("labels.parquet", columns)

    def _table(self, name: str, columns: Sequence[str] | None) -> pl.DataFrame:
        import polars as pl

        return pl.concat([shard.table(name, columns) for shard in self.shards])

    def take(self, flow_ids: NDArray[np.int64], ids: NDArray[np.uint64], inputs: frozenset[str]) -> FlowBatch:
        """The flows ``flow_ids`` (n,), in that order, under the opaque names ``ids`` (n,), with what ``inputs`` names
        (``columns.INPUTS``)."""
        flow_ids = np.asarray(flow_ids, dtype=np.int64)
        if len(flow_ids) and (flow_ids.min() < 0 or flow_ids.max() >= self.n_flows):
            raise ValueError(f"flow ids must be in [0, {self.n_flows})")
        number = np.searchsorted(self.begins, flow_ids, side="right") - 1
        parts = [(int(shard), np.flatnonzero(number == shard)) for shard in np.unique(number)]
        offsets, packets = self._take_packets(flow_ids, parts) if "packets" in inputs else (None, {})
        features: dict[str, NDArray[np.float64]] = {}
        for name in ("features", "cic_features", "netflow_v2"):
            if name in inputs:
                # a row a feature: each is handed out as an array of its own
                matrix = np.empty((len(FEATURE_INPUTS[name]), len(flow_ids)))
                for shard, rows in parts:
                    matrix[:, rows] = self._matrix(name, shard)[flow_ids[rows] - self.begins[shard]].T
                features |= dict(zip(FEATURE_INPUTS[name], matrix, strict=True))
        return FlowBatch(ids, offsets, packets, features)

    def blocks(
        self, flow_ids: NDArray[np.int64], inputs: frozenset[str], size: int = BLOCK_FLOWS
    ) -> Iterator[FlowBatch]:
        """``take`` in pieces of at most ``size`` flows, under their flow ids; memory depends on ``size`` alone."""
        for begin in range(0, len(flow_ids), size):
            chosen = flow_ids[begin : begin + size]
            yield self.take(chosen, chosen.astype(np.uint64), inputs)

    def _take_packets(
        self, flow_ids: NDArray[np.int64], parts: Sequence[tuple[int, NDArray[np.int64]]]
    ) -> tuple[NDArray[np.int64], dict[str, Any]]:
        found = []
        lengths = np.empty(len(flow_ids), np.int64)
        for number, rows in parts:
            shard_offsets, arrays = self.shards[number].arrays()
            local = flow_ids[rows] - self.begins[number]
            begins = np.asarray(shard_offsets[local])
            lengths[rows] = shard_offsets[local + 1] - begins
            source = positions(begins, lengths[rows])
            found.append({name: np.asarray(values[source]) for name, values in arrays.items()})
        offsets = starts_of(lengths)
        columns = {name: np.empty(offsets[-1], dtype) for name, dtype in PACKET_ARRAYS.items()}
        for (_, rows), values in zip(parts, found, strict=True):
            to = positions(offsets[:-1][rows], lengths[rows])
            for name in columns:
                columns[name][to] = values[name]
        return offsets, channels_of(columns)

    def _matrix(self, name: str, number: int) -> NDArray[Any]:
        """A set of features of a shard, (flows, columns)."""
        shard = self.shards[number]
        return self._features(number) if name == "features" and shard.sets is None else shard.matrix(name)

    def _features(self, number: int) -> NDArray[np.float64]:
        """The 20 features of a shard, (flows, 20); those of the shard asked for last are kept, for they have to be
        decoded as a whole."""
        recent = self._recent.get(number)
        if recent is None:
            recent = self.shards[number].table("flow_features.parquet", FLOW_FEATURES).to_numpy()
            self._recent.clear()
            self._recent[number] = recent
        return recent


def channels_of(packets: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """The channels ``columns.PACKET_CHANNELS`` of packets as they are stored (``columns.PACKET_ARRAYS``), (packets,)
    each."""
    found = dict(packets) | {name: (packets["bits"] >> bit) & np.uint8(1) for name, bit in BIT_OF.items()}
    return {name: found[name] for name in PACKET_CHANNELS}


def damaged(folder: Path, what: str) -> DataError:
    """What is said of a store that is not as it was written."""
    return DataError(f"{folder}: the dataset is damaged ({what}); add it again")
