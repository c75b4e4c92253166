"""Write a flow store (layout in ``datasets_registry.store``), block by block, and put it in place in one step."""

import ctypes
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from datasets_registry.block import Block, ContentHash, Counts
from datasets_registry.capture.features import flow_features
from datasets_registry.store import CHECKSUMS, CIC_FILE, FULL_STORE, MANIFEST, SCHEMA_VERSION, STORE_VERSION
from janus_bench.columns import FLOW_COLUMNS, FLOW_FEATURES, LABEL_COLUMNS, PACKET_ARRAYS
from janus_bench.files import checksum
from janus_bench.held import beside

SHARD_FLOWS = 1 << 17  # Most flows of a shard.


class StoreWriter:
    """Takes blocks of flows in the order of their ids and writes them as shards into ``folder``, an empty one."""

    shard_flows = SHARD_FLOWS

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.hash, self.counts = ContentHash(), Counts()
        self.has_cic: bool | None = None
        self._shards: list[int] = []
        self._open: _ShardFiles | None = None

    def add(self, block: Block) -> None:
        """Flows that follow the ones before.  ValueError if only some blocks have CICFlowMeter's features."""
        if self.has_cic is not None and self.has_cic != (block.cic is not None):
            raise ValueError("either all blocks of a store have cic features, or none")
        self.has_cic = block.cic is not None
        self.hash.update(block)
        self.counts.update(block)
        begin = 0
        while begin < len(block):
            if self._open is None:
                self._open = _ShardFiles(
                    self.folder / FULL_STORE / f"{len(self._shards):05}", sum(self._shards), self.has_cic
                )
            end = min(len(block), begin + self.shard_flows - self._open.n_flows)
            self._open.add(block.slice(begin, end))
            begin = end
            if self._open.n_flows == self.shard_flows:
                self._close_shard()

    def finish(self, manifest: Mapping[str, Any]) -> dict[str, Any]:
        """Close the last shard, and write the manifest (``manifest`` and what is known here) and the checksums; the
        manifest as written."""
        self._close_shard()
        described = {
            **self.counts.described(),
            "shards": self._shards,
            "cic_features": bool(self.has_cic),
        }
        return write_manifest(self.folder, manifest, self.hash.hexdigest(), described)

    def _close_shard(self) -> None:
        if self._open is not None:
            self._open.close()
            self._shards.append(self._open.n_flows)
            self._open = None


def write_manifest(
    folder: Path, manifest: Mapping[str, Any], content_hash: str, described: Mapping[str, Any]
) -> dict[str, Any]:
    """Bring the only shard of a finished store up into its folder, and write the manifest and the checksums; the
    manifest as written.  ``described``: counts, shards and what the store has."""
    if len(described["shards"]) == 1:
        for path in sorted((folder / FULL_STORE / "00000").iterdir()):
            path.replace(folder / path.name)
        shutil.rmtree(folder / FULL_STORE)
    whole = {
        "schema_version": SCHEMA_VERSION,
        "store_version": STORE_VERSION,
        **manifest,
        "hash": content_hash,
        **described,
    }
    text = json.dumps(whole, indent=1, ensure_ascii=False, allow_nan=False) + "\n"
    (folder / MANIFEST).write_text(text, encoding="utf-8")
    written = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    (folder / CHECKSUMS).write_text(
        "".join(f"{checksum(folder / name)}  {name}\n" for name in written), encoding="utf-8"
    )
    return whole


class _ShardFiles:
    """The files of one shard.  Arrays are appended to; tables, a hundred bytes a flow, are kept until the shard is
    closed."""

    def __init__(self, folder: Path, begin: int, has_cic: bool) -> None:
        (folder / "packets").mkdir(parents=True)
        self.folder, self.begin, self.n_flows, self.n_packets = folder, begin, 0, 0
        self._arrays = {
            name: NpyFile(folder / "packets" / f"{name}.npy", dtype)
            for name, dtype in {"offsets": "int64", **PACKET_ARRAYS}.items()
        }
        self._cic = NpyFile(folder / CIC_FILE, "float32") if has_cic else None
        self._arrays["offsets"].append(np.zeros(1, np.int64))
        self._tables: dict[str, list[pl.DataFrame]] = {"flows": [], "labels": [], "flow_features": []}

    def add(self, block: Block) -> None:
        self._arrays["offsets"].append(block.offsets[1:] + self.n_packets)
        for name, dtype in PACKET_ARRAYS.items():
            self._arrays[name].append(block.packets[name].astype(dtype, copy=False))
        if self._cic is not None and block.cic is not None:
            self._cic.append(block.cic)
        features = flow_features(block.offsets, *(block.packets[name] for name in ("size", "iat", "bits")))
        first = self.begin + self.n_flows
        flow_id = pl.int_range(first, first + len(block), dtype=pl.Int64, eager=True).alias("flow_id")
        self._tables["flows"].append(block.flows.with_columns(flow_id).select(FLOW_COLUMNS))
        self._tables["labels"].append(block.labels.with_columns(flow_id).select(LABEL_COLUMNS))
        self._tables["flow_features"].append(
            pl.DataFrame({"flow_id": flow_id, **dict(zip(FLOW_FEATURES, features.T, strict=True))})
        )
        self.n_flows += len(block)
        self.n_packets += int(block.offsets[-1])

    def close(self) -> None:
        for file in (*self._arrays.values(), *([self._cic] if self._cic else [])):
            file.close()
        for name in list(self._tables):
            # Row groups are cut anew, so that the bytes do not depend on the blocks.
            pl.concat(self._tables.pop(name)).rechunk().write_parquet(self.folder / f"{name}.parquet")


class NpyFile:
    """A ``.npy`` file that rows are appended to; the header has room for the number of rows that there will be."""

    def __init__(self, path: Path, dtype: str) -> None:
        self._file = path.open("wb")
        self._dtype, self._shape = np.dtype(dtype).newbyteorder("<"), (0,)
        write_npy_header(self._file, self._dtype, self._shape)

    def append(self, values: NDArray[Any]) -> None:
        self._file.write(np.ascontiguousarray(values, self._dtype).data)
        self._shape = (self._shape[0] + len(values), *values.shape[1:])

    def close(self) -> None:
        self._file.seek(0)
        write_npy_header(self._file, self._dtype, self._shape)
        self._file.close()


def write_npy_header(file: IO[bytes], dtype: np.dtype[Any], shape: tuple[int, ...]) -> None:
    """The header of a ``.npy`` file in 256 bytes, whatever the shape (numpy's own grows with the number of columns)."""
    described = f"{{'descr': {np.lib.format.dtype_to_descr(dtype)!r}, 'fortran_order': False, 'shape': {shape!r}, }}"
    file.write(np.lib.format.magic(1, 0) + (246).to_bytes(2, "little") + described.ljust(245).encode() + b"\n")


@contextmanager
def replacing(destination: Path) -> Iterator[Path]:
    """An empty folder that becomes ``destination`` when the block ends well, and vanishes when it does not."""
    with beside(destination, ".part") as staged:
        yield staged
        if not destination.exists():
            staged.replace(destination)
        elif not _exchange(staged, destination):
            # The old one steps aside first, and comes back if the new one cannot take its place.
            with beside(destination, ".old") as old:
                destination.replace(old)
                try:
                    staged.replace(destination)
                except OSError:
                    old.replace(destination)
                    raise


def _exchange(one: Path, other: Path) -> bool:
    """Swap two folders in a single step; False where the system has no such call (rename() cannot put a folder onto a
    full one)."""
    try:
        renameat2 = ctypes.CDLL(None, use_errno=True).renameat2
    except (OSError, AttributeError):
        return False
    at_cwd, exchange = -100, 2
    return bool(renameat2(at_cwd, os.fsencode(one), at_cwd, os.fsencode(other), exchange) == 0)
