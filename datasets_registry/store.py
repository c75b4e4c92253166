"""The flow store on disk: ragged packets, flows, features, and labels apart from them.

Layout (names and types in ``harness.schema``)::

    manifest.json         what it is, counts, what was dropped and why, content hash
    packets/<name>.npy    offsets, size, iat, win, bits: memory-mapped
    flows.parquet         5-tuples and times       flow_features.parquet   flow_id and the 20 features
    labels.parquet        labels, apart: nothing here hands them out together with flow data
    SHA256SUMS            checksum of every other file, as ``sha256sum -c`` reads it
"""

from __future__ import annotations

import ctypes
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from harness.contract import FLOW_FEATURES, PACKET_CHANNELS, DataError, FlowBatch
from harness.schema import BIT_OF, FLOW_COLUMNS, LABEL_COLUMNS, PACKET_ARRAYS, SCHEMA_VERSION

if TYPE_CHECKING:
    import polars as pl

__all__ = ["CHECKSUMS", "MANIFEST", "FlowStore", "StoreContents", "checksum", "content_hash", "write_store"]

MANIFEST = "manifest.json"
CHECKSUMS = "SHA256SUMS"


@dataclass(frozen=True, eq=False)
class StoreContents:
    """Everything that a store holds besides its manifest: N flows, row-aligned by ``flow_id = arange(N)``.

    offsets (N + 1,) int64; packets: the arrays of ``schema.PACKET_ARRAYS``, (offsets[-1],) each; flows and labels with the columns of ``schema``;
    features (N, 20) float64 in the order of ``contract.FLOW_FEATURES``.
    """

    offsets: NDArray[np.int64]
    packets: Mapping[str, NDArray[Any]]
    flows: pl.DataFrame
    labels: pl.DataFrame
    features: NDArray[np.float64]


def content_hash(contents: StoreContents) -> str:
    """SHA-256 over packets, flows and labels, the same on every machine.

    Features are left out: they follow from the packets, and the last bit of a logarithm is the platform's.
    """
    import polars as pl

    digest = hashlib.sha256()

    def add(name: str, values: NDArray[Any]) -> None:
        digest.update(f"{name} {values.dtype.kind}{values.dtype.itemsize} {len(values)}\n".encode())
        digest.update(np.ascontiguousarray(values.astype(values.dtype.newbyteorder("<"), copy=False)).tobytes())

    add("offsets", contents.offsets)
    for name in PACKET_ARRAYS:
        add(name, contents.packets[name])
    for frame, columns in ((contents.flows, FLOW_COLUMNS), (contents.labels, LABEL_COLUMNS)):
        for name in columns:
            if frame[name].dtype == pl.String:
                encoded = [text.encode() for text in frame[name]]
                add(name, np.array([len(text) for text in encoded], np.int64))
                digest.update(b"".join(encoded))
            else:
                add(name, frame[name].to_numpy())
    return digest.hexdigest()


def write_store(destination: Path, contents: StoreContents, manifest: Mapping[str, Any]) -> None:
    """Write a store beside its destination and move it there in one step; a store that is there already is replaced."""
    import polars as pl

    with _replacing(destination) as folder:
        (folder / "packets").mkdir()
        np.save(folder / "packets" / "offsets.npy", contents.offsets)
        for name, dtype in PACKET_ARRAYS.items():
            np.save(folder / "packets" / f"{name}.npy", contents.packets[name].astype(dtype, copy=False))
        contents.flows.select(FLOW_COLUMNS).write_parquet(folder / "flows.parquet")
        contents.labels.select(LABEL_COLUMNS).write_parquet(folder / "labels.parquet")
        columns = {name: contents.features[:, column] for column, name in enumerate(FLOW_FEATURES)}
        pl.DataFrame({"flow_id": contents.flows["flow_id"], **columns}).write_parquet(folder / "flow_features.parquet")
        (folder / MANIFEST).write_text(json.dumps(manifest, indent=1, ensure_ascii=False, allow_nan=False) + "\n", encoding="utf-8")
        written = sorted(path for path in folder.rglob("*") if path.is_file())
        lines = [f"{checksum(path)}  {path.relative_to(folder).as_posix()}\n" for path in written]
        (folder / CHECKSUMS).write_text("".join(lines), encoding="utf-8")


def checksum(path: Path) -> str:
    """SHA-256 of a file, 64 hex digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextmanager
def _replacing(destination: Path) -> Iterator[Path]:
    """An empty folder that becomes ``destination`` when the block ends well, and vanishes when it does not."""
    destination.parent.mkdir(parents=True, exist_ok=True)
    # A leading dot: whoever lists the datasets in the parent folder passes over it.
    staged = Path(tempfile.mkdtemp(prefix=f".{destination.name}.", suffix=".part", dir=destination.parent))
    try:
        staged.chmod(0o755)
        yield staged
        if not destination.exists():
            staged.replace(destination)
        elif not _exchange(staged, destination):
            # The old one steps aside first, and comes back if the new one cannot take its place.
            aside = Path(tempfile.mkdtemp(prefix=f".{destination.name}.", suffix=".old", dir=destination.parent))
            destination.replace(aside)
            try:
                staged.replace(destination)
            except OSError:
                aside.replace(destination)
                raise
            shutil.rmtree(aside)
    finally:
        shutil.rmtree(staged, ignore_errors=True)


def _exchange(one: Path, other: Path) -> bool:
    """Swap two folders in a single step; False where the system has no such call (rename() cannot put a folder onto a full one)."""
    try:
        renameat2 = ctypes.CDLL(None, use_errno=True).renameat2
    except (OSError, AttributeError):
        return False
    at_cwd, exchange = -100, 2
    return bool(renameat2(at_cwd, os.fsencode(one), at_cwd, os.fsencode(other), exchange) == 0)


@dataclass(frozen=True, eq=False)
class FlowStore:
    """One dataset, read-only; arrays are memory-mapped, tables are read when they are first asked for."""

    folder: Path
    manifest: Mapping[str, Any]
    offsets: NDArray[np.int64]
    packets: Mapping[str, NDArray[Any]]

    @classmethod
    def open(cls, folder: Path) -> FlowStore:
        """DataError if there is no store, if it is damaged, or of another schema version."""
        path = folder / MANIFEST
        if not path.is_file():
            raise DataError(f"{folder}: not a dataset (no {MANIFEST}); add one with `janus-bench data add NAME FOLDER`")
        try:
            manifest = json.loads(path.read_text(encoding="utf-8"))
            version = manifest["schema_version"]
        except (ValueError, KeyError, TypeError, OSError) as error:
            raise _damaged(folder, f"{MANIFEST}: {error}") from None
        if version != SCHEMA_VERSION:
            raise DataError(f"{folder}: written with schema version {version}, this program reads {SCHEMA_VERSION}; add the dataset again")
        arrays = {}
        for name, dtype in {"offsets": "int64", **PACKET_ARRAYS}.items():
            try:
                arrays[name] = np.load(folder / "packets" / f"{name}.npy", mmap_mode="r", allow_pickle=False)
            except (OSError, ValueError, EOFError) as error:
                raise _damaged(folder, f"packets/{name}.npy: {error}") from None
            if arrays[name].dtype != dtype or arrays[name].ndim != 1:
                raise _damaged(folder, f"packets/{name}.npy holds {arrays[name].dtype} {arrays[name].shape}, expected one row of {dtype}")
        offsets = arrays.pop("offsets")
        if not {"name", "hash", "n_flows"} <= manifest.keys() or len(offsets) != manifest["n_flows"] + 1:
            raise _damaged(folder, f"{MANIFEST} and packets/offsets.npy disagree")
        if offsets[0] != 0 or (np.diff(offsets) < 1).any() or any(len(values) != offsets[-1] for values in arrays.values()):
            raise _damaged(folder, "packets/*.npy disagree with packets/offsets.npy")
        return cls(folder, manifest, offsets, arrays)

    @property
    def name(self) -> str:
        return str(self.manifest["name"])

    @property
    def hash(self) -> str:
        return str(self.manifest["hash"])

    @property
    def n_flows(self) -> int:
        return len(self.offsets) - 1

    def packet_counts(self) -> NDArray[np.int64]:
        """Stored packets of each flow (at most ``MAX_PACKETS``), (N,)."""
        return np.diff(self.offsets)

    def flows(self) -> pl.DataFrame:
        """5-tuples, times and packet counts; columns of ``schema.FLOW_COLUMNS``."""
        return self._table("flows.parquet", FLOW_COLUMNS)

    def labels(self) -> pl.DataFrame:
        """Labels; columns of ``schema.LABEL_COLUMNS``.  For the harness only, never for a detector."""
        return self._table("labels.parquet", LABEL_COLUMNS)

    def take(self, flow_ids: NDArray[np.int64], ids: NDArray[np.uint64], inputs: frozenset[str]) -> FlowBatch:
        """The flows ``flow_ids`` (n,), in that order, under the opaque names ``ids`` (n,), with what ``inputs`` names (packets, features)."""
        flow_ids = np.asarray(flow_ids, dtype=np.int64)
        if len(flow_ids) and (flow_ids.min() < 0 or flow_ids.max() >= self.n_flows):
            raise ValueError(f"flow ids must be in [0, {self.n_flows})")
        offsets, packets, features = None, {}, {}
        if "packets" in inputs:
            lengths = self.offsets[flow_ids + 1] - self.offsets[flow_ids]
            offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
            gather = np.repeat(self.offsets[flow_ids] - offsets[:-1], lengths) + np.arange(offsets[-1])
            columns = {name: values[gather] for name, values in self.packets.items()}
            bits = columns.pop("bits")
            columns |= {name: (bits >> bit) & np.uint8(1) for name, bit in BIT_OF.items()}
            packets = {name: columns[name] for name in PACKET_CHANNELS}
        if "features" in inputs:
            features = {name: column[flow_ids] for name, column in self._features.items()}
        return FlowBatch(ids, offsets, packets, features)

    @cached_property
    def _features(self) -> dict[str, NDArray[np.float64]]:
        table = self._table("flow_features.parquet", ("flow_id", *FLOW_FEATURES))
        return {name: table[name].to_numpy() for name in FLOW_FEATURES}

    def _table(self, name: str, columns: tuple[str, ...]) -> pl.DataFrame:
        import polars as pl

        try:
            table = pl.read_parquet(self.folder / name)
        except (pl.exceptions.PolarsError, OSError) as error:
            raise _damaged(self.folder, f"{name}: {str(error).splitlines()[0]}") from None
        if tuple(table.columns) != columns or table.height != self.n_flows:
            raise _damaged(self.folder, f"{name} has {table.height} rows and columns {', '.join(table.columns)}")
        return table


def _damaged(folder: Path, what: str) -> DataError:
    return DataError(f"{folder}: the dataset is damaged ({what}); add it again")
