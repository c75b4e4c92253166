"""Is a dataset on disk what was written, and is what was written a dataset?  Checksums first, then types, values, labels and the content hash."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from datasets_registry.store import CHECKSUMS, MANIFEST, FlowStore, StoreContents, checksum, content_hash
from harness.contract import FLOW_FEATURES, MAX_PACKETS, DataError
from harness.schema import BIT_OF, PACKET_ARRAYS

if TYPE_CHECKING:
    import polars as pl

__all__ = ["Check", "Verification", "verify_store"]

TABLES = ("flows.parquet", "labels.parquet", "flow_features.parquet")
FILES = (MANIFEST, *(f"packets/{name}.npy" for name in ("offsets", *PACKET_ARRAYS)), *TABLES)
TYPES = {
    "flows.parquet": ("Int64", "String", "UInt16", "String", "UInt16", "UInt8", "Float64", "Float64", "Int64"),
    "labels.parquet": ("Int64", "Boolean", "String", "String", "String", "String", "Int64"),
    "flow_features.parquet": ("Int64", *["Float64"] * len(FLOW_FEATURES)),
}
COUNTS = ("n_flows", "n_flows_2_packets", "n_packets", "benign", "attack", "families")
CLOSE = 1e-9
"""Relative and absolute difference of a feature from the one computed anew: the last bits of a logarithm are the platform's."""


@dataclass(frozen=True)
class Check:
    """One thing that was found right: the file, what was checked, and over how much."""

    file: str
    what: str
    extent: str

    def as_row(self) -> dict[str, str]:
        return asdict(self)


@dataclass(frozen=True)
class Verification:
    """A dataset that passed: what was checked, and what could not be."""

    checks: Sequence[Check]
    notes: Sequence[str]


def verify_store(folder: Path, progress: Callable[[str, float], None] | None = None) -> Verification:
    """Check the dataset in ``folder``; DataError names the first damaged file and what is wrong with it.

    The checks, in order: every file is there and matches its checksum; the manifest is of this schema version; array and table types, row alignment,
    ``flow_id = arange(N)``; values in range; labels and counts as in the manifest; the content hash; features as computed from the packets.
    """
    tell = progress or _say_nothing
    checks, notes = _verify_checksums(folder, tell)
    store = FlowStore.open(folder)  # manifest, dtypes, monotone offsets, aligned packet arrays
    checks.append(Check(MANIFEST, "schema version and keys", f"schema version {store.manifest['schema_version']}"))
    tell("values", 0.5)
    tables = {name: _table(folder, name, store.n_flows) for name in TABLES}
    _verify_packets(folder, store)
    checks += [Check(f"packets/{name}.npy", "type, offsets, range", f"{store.offsets[-1]} packets") for name in ("offsets", *PACKET_ARRAYS)]
    _verify_flows(folder, store, tables["flows.parquet"])
    _verify_labels(folder, store, tables["flows.parquet"], tables["labels.parquet"])
    tell("features", 0.7)
    _verify_features(folder, store, tables["flow_features.parquet"])
    checks += [Check(name, "types, flow_id, range, counts", f"{store.n_flows} rows") for name in TABLES]
    tell("content hash", 0.8)
    _verify_hash(folder, store, tables)
    checks.append(Check("packets, flows, labels", "content hash", store.hash[:16]))
    return Verification(checks, notes)


def _say_nothing(_text: str, _fraction: float) -> None:
    """Progress that nobody asked to see."""


def _damaged(folder: Path, what: str) -> DataError:
    return DataError(f"{folder}: the dataset is damaged ({what}); add it again")


def _verify_checksums(folder: Path, tell: Callable[[str, float], None]) -> tuple[list[Check], list[str]]:
    missing = [name for name in FILES if not (folder / name).is_file()]
    if missing:
        raise _damaged(folder, f"{', '.join(missing)}: missing")
    if not (folder / CHECKSUMS).is_file():
        return [], [f"no checksums: the dataset was added before {CHECKSUMS} was written; add it again to have them"]
    expected = _read_checksums(folder)
    if absent := [name for name in FILES if name not in expected]:
        raise _damaged(folder, f"{CHECKSUMS}: no line for {', '.join(absent)}")
    checks, different = [], []
    for number, (name, digest) in enumerate(expected.items()):
        tell(f"checksum of {name}", 0.5 * number / len(expected))
        if not (folder / name).is_file():
            raise _damaged(folder, f"{name}: missing")
        if checksum(folder / name) != digest:
            different.append(name)
        checks.append(Check(name, "checksum", f"{(folder / name).stat().st_size} bytes"))
    if different:
        raise _damaged(folder, f"{', '.join(different)}: not the bytes that were written, by {CHECKSUMS}")
    return checks, []


def _read_checksums(folder: Path) -> dict[str, str]:
    try:
        lines = (folder / CHECKSUMS).read_text(encoding="utf-8").splitlines()
    except (UnicodeDecodeError, OSError) as error:
        raise _damaged(folder, f"{CHECKSUMS}: {error}") from None
    expected = {}
    for number, line in enumerate(lines, 1):
        match = re.fullmatch(r"([0-9a-f]{64})  ([A-Za-z0-9_./-]+)", line)
        if not match or ".." in match[2] or match[2].startswith("/"):
            raise _damaged(folder, f"{CHECKSUMS}: line {number} is no checksum and file name")
        expected[match[2]] = match[1]
    return expected


def _table(folder: Path, name: str, n_flows: int) -> pl.DataFrame:
    """A table with the right columns, types and rows, no nulls, and ``flow_id = arange(N)``."""
    import polars as pl

    from harness.schema import FLOW_COLUMNS, LABEL_COLUMNS

    columns = {"flows.parquet": FLOW_COLUMNS, "labels.parquet": LABEL_COLUMNS, "flow_features.parquet": ("flow_id", *FLOW_FEATURES)}[name]
    try:
        table = pl.read_parquet(folder / name)
    except (pl.exceptions.PolarsError, OSError) as error:
        raise _damaged(folder, f"{name}: {str(error).splitlines()[0]}") from None
    if tuple(table.columns) != columns:
        raise _damaged(folder, f"{name}: columns {', '.join(table.columns)}, expected {', '.join(columns)}")
    for column, wanted in zip(columns, TYPES[name], strict=True):
        if str(table[column].dtype) != wanted:
            raise _damaged(folder, f"{name}: column {column} holds {table[column].dtype}, expected {wanted}")
        if table[column].null_count():
            raise _damaged(folder, f"{name}: column {column} has {table[column].null_count()} missing values")
    if table.height != n_flows:
        raise _damaged(folder, f"{name}: {table.height} rows for {n_flows} flows")
    if not np.array_equal(table["flow_id"].to_numpy(), np.arange(n_flows)):
        raise _damaged(folder, f"{name}: flow_id is not 0 … {n_flows - 1} in order")
    return table


def _verify_packets(folder: Path, store: FlowStore) -> None:
    lengths = store.packet_counts()
    if lengths.max(initial=0) > MAX_PACKETS:
        raise _damaged(folder, f"packets/offsets.npy: a flow of {lengths.max()} stored packets, at most {MAX_PACKETS} are kept")
    iat, bits = np.asarray(store.packets["iat"]), np.asarray(store.packets["bits"])
    if not np.isfinite(iat).all() or (iat < 0).any():
        raise _damaged(folder, "packets/iat.npy: values that are negative or not finite")
    if iat[store.offsets[:-1]].any():
        raise _damaged(folder, "packets/iat.npy: a flow's first packet has a time gap")
    if (bits >> len(BIT_OF)).any():
        raise _damaged(folder, f"packets/bits.npy: bits above the {len(BIT_OF)} that mean something")


def _verify_flows(folder: Path, store: FlowStore, flows: pl.DataFrame) -> None:
    start, end, n_packets = (flows[name].to_numpy() for name in ("ts_start", "ts_end", "n_packets"))
    if not (np.isfinite(start).all() and np.isfinite(end).all()) or (end < start).any():
        raise _damaged(folder, "flows.parquet: times that are not finite, or an end before its start")
    if not np.array_equal(np.minimum(n_packets, MAX_PACKETS), store.packet_counts()):
        raise _damaged(folder, "flows.parquet: n_packets disagrees with packets/offsets.npy")


def _verify_labels(folder: Path, store: FlowStore, flows: pl.DataFrame, labels: pl.DataFrame) -> None:
    """One class per label, and the counts that the manifest states."""
    import polars as pl

    if labels.group_by("label").agg(pl.col("attack").n_unique())["attack"].max() != 1:
        raise _damaged(folder, "labels.parquet: one label is called both attack and benign")
    families: dict[str, list[int]] = {}
    for attack, family, n_packets in zip(labels["attack"], labels["family"], flows["n_packets"], strict=True):
        counts = families.setdefault(f"{'attack' if attack else 'benign'}/{family}", [0, 0])
        counts[0] += 1
        counts[1] += n_packets >= 2
    attacks = int(labels["attack"].sum())
    found: dict[str, Any] = {
        "n_flows": store.n_flows,
        "n_flows_2_packets": int((flows["n_packets"] >= 2).sum()),
        "n_packets": int(store.offsets[-1]),
        "benign": store.n_flows - attacks,
        "attack": attacks,
        "families": families,
    }
    for name in COUNTS:
        if store.manifest.get(name) != found[name]:
            raise _damaged(folder, f"{MANIFEST}: {name} differs from what the tables hold")
    by_label = {str(label): int(count) for label, count in labels["label"].value_counts().iter_rows()}
    stated = {label: row.get("matched") for label, row in store.manifest.get("labels", {}).items() if row.get("matched")}
    if stated != by_label:
        raise _damaged(folder, f"{MANIFEST}: matched rows per label differ from labels.parquet")


def _verify_features(folder: Path, store: FlowStore, table: pl.DataFrame) -> None:
    from datasets_registry.flows.features import flow_features

    anew = flow_features(np.asarray(store.offsets), *(np.asarray(store.packets[name]) for name in ("size", "iat", "bits")))
    for column, name in enumerate(FLOW_FEATURES):
        if not np.allclose(table[name].to_numpy(), anew[:, column], rtol=CLOSE, atol=CLOSE):
            raise _damaged(folder, f"flow_features.parquet: {name} is not what the packets give")


def _verify_hash(folder: Path, store: FlowStore, tables: dict[str, pl.DataFrame]) -> None:
    packets = {name: np.asarray(store.packets[name]) for name in PACKET_ARRAYS}
    features = np.empty((0, len(FLOW_FEATURES)))  # not part of the hash
    contents = StoreContents(np.asarray(store.offsets), packets, tables["flows.parquet"], tables["labels.parquet"], features)
    if content_hash(contents) != store.hash:
        raise _damaged(folder, f"packets, flows.parquet or labels.parquet: the content is not that of the hash in {MANIFEST}")
