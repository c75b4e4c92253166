"""Is a dataset on disk what was written, and is what was written a dataset?  Checksums first, then types, values,
labels and the content hash.

Shards are looked at one after the other and block by block, so the size of a dataset does not decide about memory.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from datasets_registry.block import FLOW_FIELDS, LABEL_FIELDS, Block, ContentHash, Counts, TableHash
from datasets_registry.manifest import is_table
from datasets_registry.store import (
    CHECKSUMS,
    CIC_FILE,
    MANIFEST,
    TABLES,
    FlowStore,
    Shard,
    damaged,
    shard_folders,
)
from datasets_registry.stream import open_stream
from janus_bench.columns import BIT_OF, CIC_FEATURES, FLOW_FEATURES, MAX_PACKETS, PACKET_ARRAYS
from janus_bench.errors import DataError
from janus_bench.files import checksum
from janus_bench.quiet import ignore

if TYPE_CHECKING:
    import polars as pl

ARRAYS = tuple(f"packets/{name}.npy" for name in ("offsets", *PACKET_ARRAYS))
TYPES = {
    "flows.parquet": ("Int64", "String", "UInt16", "String", "UInt16", "UInt8", "Float64", "Float64", "Int64"),
    "labels.parquet": ("Int64", "Boolean", "String", "String", "String", "String", "Int64", "String"),
    "flow_features.parquet": ("Int64", *["Float64"] * len(FLOW_FEATURES)),
}
CLOSE = 1e-9
"""Relative and absolute difference of a feature from the one computed anew: the last bits of a logarithm are the
platform's."""


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


def store_files(manifest: Mapping[str, Any]) -> list[str]:
    """Every file of a store with this manifest besides the list of checksums, relative to its folder."""
    names: Sequence[str] = (*ARRAYS, *TABLES, *((CIC_FILE,) if manifest["cic_features"] else ()))
    if is_table(manifest):
        names = ("flows.parquet", "labels.parquet", *(f"{name}.npy" for name in manifest["feature_sets"]))
    return [MANIFEST, *(prefix + name for prefix in shard_folders(len(manifest["shards"])) for name in names)]


def verify_store(folder: Path, tell: Callable[[str, float], None] = ignore) -> Verification:
    """Check the dataset in ``folder``; DataError names the first damaged file and what is wrong with it.

    The checks, in order: every file there matches its checksum; the manifest is of this version; every file that it
    asks for is there, with a checksum; array and table types, row alignment, ``flow_id = arange(N)``; values in range;
    features as computed from the packets; labels and counts as in the manifest; the content hash.
    """
    expected = _verify_checksums(folder, tell)
    store = FlowStore.open(folder)  # manifest, headers
    files = store_files(store.manifest)
    if absent := [name for name in files if not (folder / name).is_file()]:
        raise damaged(folder, f"{', '.join(absent)}: missing")
    if expected and (unsigned := [name for name in files if name not in expected]):
        raise damaged(folder, f"{CHECKSUMS}: no line for {', '.join(unsigned)}")
    checks = [Check(name, "checksum", f"{(folder / name).stat().st_size} bytes") for name in expected]
    versions = f"schema version {store.manifest['schema_version']}, store version {store.manifest['store_version']}"
    checks.append(Check(MANIFEST, "versions and keys", versions))
    content: ContentHash | TableHash = ContentHash()
    counts = Counts()
    if (sets := store.manifest.get("feature_sets")) is not None:
        content = TableHash(sets)
    for number, shard in enumerate(store.shards):
        tell(f"flows from {shard.begin} on", 0.5 + 0.5 * number / len(store.shards))
        if isinstance(content, TableHash):
            checks += _verify_sets(shard, content, counts)
        else:
            checks += _verify_shard(shard, content, counts)
    _verify_counts(folder, store, counts)
    if content.hexdigest() != store.hash:
        raise damaged(
            folder, f"packets, flows.parquet or labels.parquet: the content is not that of the hash in {MANIFEST}"
        )
    checks.append(Check("packets, flows, labels", "content hash", store.hash[:16]))
    if "packets_not_in_stream" in store.manifest:  # earlier streams lack packets, and do not say how many
        checks.append(_verify_stream(folder, store))
    notes = [] if expected else [f"no checksums: there is no {CHECKSUMS}; add the dataset again to have them"]
    return Verification(checks, notes)


def _verify_checksums(folder: Path, tell: Callable[[str, float], None]) -> dict[str, str]:
    """File → its checksum; nothing where there is no list of them."""
    if not (folder / MANIFEST).is_file():
        raise damaged(folder, f"{MANIFEST}: missing")
    if not (folder / CHECKSUMS).is_file():
        return {}
    expected = _read_checksums(folder)
    if absent := [name for name in expected if not (folder / name).is_file()]:
        raise damaged(folder, f"{', '.join(absent)}: missing")
    different = []
    for number, (name, digest) in enumerate(expected.items()):
        tell(f"checksum of {name}", 0.5 * number / len(expected))
        if checksum(folder / name) != digest:
            different.append(name)
    if different:
        raise damaged(folder, f"{', '.join(different)}: not the bytes that were written, by {CHECKSUMS}")
    return expected


def _read_checksums(folder: Path) -> dict[str, str]:
    try:
        lines = (folder / CHECKSUMS).read_text(encoding="utf-8").splitlines()
    except (UnicodeDecodeError, OSError) as error:
        raise damaged(folder, f"{CHECKSUMS}: {error}") from None
    expected = {}
    for number, line in enumerate(lines, 1):
        match = re.fullmatch(r"([0-9a-f]{64})  ([A-Za-z0-9_./-]+)", line)
        if not match or ".." in match[2] or match[2].startswith("/"):
            raise damaged(folder, f"{CHECKSUMS}: line {number} is no checksum and file name")
        expected[match[2]] = match[1]
    return expected


def _verify_shard(shard: Shard, content: ContentHash, counts: Counts) -> list[Check]:
    """Everything about one shard; its flows are added to ``content`` and ``counts``."""
    lengths = np.diff(shard.arrays()[0])
    if (lengths < 1).any():
        raise _bad(shard, "packets/offsets.npy: a flow without packets")
    if lengths.max() > MAX_PACKETS:
        raise _bad(
            shard, f"packets/offsets.npy: a flow of {lengths.max()} stored packets, at most {MAX_PACKETS} are kept"
        )
    for name in ("flows.parquet", "labels.parquet"):
        _verify_table(shard, name, shard.table(name))
    features = shard.table("flow_features.parquet")
    _verify_table(shard, "flow_features.parquet", features)
    begin = 0
    for block in shard.blocks():
        _verify_packets(shard, block)
        _verify_flows(shard, block)
        _verify_features(shard, block, features[begin : begin + len(block)])
        content.update(block)
        counts.update(block)
        begin += len(block)
    checks = [Check(shard.prefix + name, "type, offsets, range", f"{lengths.sum()} packets") for name in ARRAYS]
    checks += [Check(shard.prefix + name, "types, flow_id, range, counts", f"{shard.n_flows} rows") for name in TABLES]
    if shard.has_cic:
        checks.append(Check(shard.prefix + CIC_FILE, "type, shape, range, protocol", f"{shard.n_flows} rows"))
    return checks


def _verify_sets(shard: Shard, content: TableHash, counts: Counts) -> list[Check]:
    """Of a dataset without packets."""
    flows, labels = shard.table("flows.parquet"), shard.table("labels.parquet")
    for name, table in (("flows.parquet", flows), ("labels.parquet", labels)):
        _verify_table(shard, name, table)
    sets = {name: shard.matrix(name) for name in shard.sets or ()}
    for name, matrix in sets.items():
        if not np.isfinite(matrix).all():
            raise _bad(shard, f"{name}.npy: values that are not finite")
    content.update(sets, flows.select(FLOW_FIELDS), labels.select(LABEL_FIELDS))
    counts.count(flows, labels)
    checks = [Check(f"{shard.prefix}{name}.npy", "type, shape, range", f"{shard.n_flows} rows") for name in sets]
    return checks + [
        Check(shard.prefix + name, "types, flow_id, range, counts", f"{shard.n_flows} rows")
        for name in ("flows.parquet", "labels.parquet")
    ]


def _bad(shard: Shard, what: str) -> DataError:
    return damaged(shard.store, shard.prefix + what)


def _verify_table(shard: Shard, name: str, table: pl.DataFrame) -> None:
    """The right types, no nulls, and ``flow_id = arange(N)``; ``Shard.table`` has checked columns and rows."""
    for column, wanted in zip(TABLES[name], TYPES[name], strict=True):
        if str(table[column].dtype) != wanted:
            raise _bad(shard, f"{name}: column {column} holds {table[column].dtype}, expected {wanted}")
        if table[column].null_count():
            raise _bad(shard, f"{name}: column {column} has {table[column].null_count()} missing values")
    first, last = shard.begin, shard.begin + shard.n_flows
    if not np.array_equal(table["flow_id"].to_numpy(), np.arange(first, last)):
        raise _bad(shard, f"{name}: flow_id is not {first} … {last - 1} in order")


def _verify_packets(shard: Shard, block: Block) -> None:
    iat, bits = block.packets["iat"], block.packets["bits"]
    if not np.isfinite(iat).all() or (iat < 0).any():
        raise _bad(shard, "packets/iat.npy: values that are negative or not finite")
    if iat[block.offsets[:-1]].any():
        raise _bad(shard, "packets/iat.npy: a flow's first packet has a time gap")
    if (bits >> len(BIT_OF)).any():
        raise _bad(shard, f"packets/bits.npy: bits above the {len(BIT_OF)} that mean something")


def _verify_flows(shard: Shard, block: Block) -> None:
    start, end, n_packets = (block.flows[name].to_numpy() for name in ("ts_start", "ts_end", "n_packets"))
    if not (np.isfinite(start).all() and np.isfinite(end).all()) or (end < start).any():
        raise _bad(shard, "flows.parquet: times that are not finite, or an end before its start")
    if not np.array_equal(np.minimum(n_packets, MAX_PACKETS), np.diff(block.offsets)):
        raise _bad(shard, "flows.parquet: n_packets disagrees with packets/offsets.npy")


def _verify_features(shard: Shard, block: Block, table: pl.DataFrame) -> None:
    from datasets_registry.capture.features import flow_features

    anew = flow_features(block.offsets, *(block.packets[name] for name in ("size", "iat", "bits")))
    for column, name in enumerate(FLOW_FEATURES):
        if not np.allclose(table[name].to_numpy(), anew[:, column], rtol=CLOSE, atol=CLOSE):
            raise _bad(shard, f"flow_features.parquet: {name} is not what the packets give")
    if block.cic is None:
        return
    if not np.isfinite(block.cic).all():
        raise _bad(shard, f"{CIC_FILE}: values that are not finite")
    if not np.array_equal(block.cic[:, CIC_FEATURES.index("Protocol")], block.flows["proto"].to_numpy()):
        raise _bad(shard, f"{CIC_FILE}: Protocol is not that of flows.parquet")
    packets = (
        block.cic[:, [CIC_FEATURES.index("Total Fwd Packets"), CIC_FEATURES.index("Total Backward Packets")]]
        .astype(np.float64)
        .sum(1)
    )
    if not np.allclose(packets, block.flows["n_packets"].to_numpy(), rtol=1e-6):
        raise _bad(shard, f"{CIC_FILE}: its packets are not those of flows.parquet")


def _verify_counts(folder: Path, store: FlowStore, counts: Counts) -> None:
    """One class per label, and the counts that the manifest states."""
    if len({label for label, _ in counts.labels}) != len(counts.labels):
        raise damaged(folder, "labels.parquet: one label is called both attack and benign")
    for name, found in counts.described().items():
        if store.manifest.get(name) != found:
            raise damaged(folder, f"{MANIFEST}: {name} differs from what the tables hold")
    stated = {label: row.get("flows") for label, row in store.manifest.get("labels", {}).items() if row.get("flows")}
    if stated != counts.by_label():
        raise damaged(folder, f"{MANIFEST}: flows per label differ from labels.parquet")


def _verify_stream(folder: Path, store: FlowStore) -> Check:
    """As many entries in every column as the captures have packets, and each flow's packets, but for those that the
    manifest says are absent."""
    stream, captures = open_stream(folder / "stream")
    end = 0
    of_flow = np.zeros(store.n_flows, np.int64)
    for packets in sorted(captures.values(), key=lambda packets: (packets.start, packets.stop)):
        if packets.start != end:
            raise damaged(folder, "stream/captures.json: captures that are not one after the other")
        end = packets.stop
        flow = np.asarray(stream["flow"][packets.start : packets.stop])
        if len(flow) and not -1 <= flow.min() <= flow.max() < store.n_flows:
            raise damaged(folder, "stream/flow.npy: numbers of flows that there are not")
        of_flow += np.bincount(flow[flow >= 0], minlength=store.n_flows)
    if any(len(column) != end for column in stream.values()):
        raise damaged(folder, "stream: its columns are not as long as its captures")
    absent = (
        np.concatenate([shard.table("flows.parquet", ["n_packets"])["n_packets"].to_numpy() for shard in store.shards])
        - of_flow
    )
    if (absent < 0).any() or absent.sum() != store.manifest["packets_not_in_stream"]:
        raise damaged(folder, "stream/flow.npy: its flows have other packets than those of flows.parquet")
    return Check("stream", "packets of every flow", f"{end} packets")
