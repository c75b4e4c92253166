"""A flow store → the dense layout that packet-sequence models are published with.

``original``: ``packets.npz`` with the array ``packets`` [N, 64, 9] float32 (channels of ``contract.PACKET_CHANNELS``,
zeros after a flow's last packet), ``flows.parquet``, there with the labels, ``flow_features.parquet`` and, where the
store has them, ``cic_features.parquet``. ``full_store``: the same four files for each shard, numbered, in a folder
``full_store``.  ``dataset.json`` beside either is the store's manifest, ``PROVENANCE.md`` its own.
``datasets_registry.sequences`` reads both back.
"""

import json
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import polars as pl

from datasets_registry.folders import take_provenance
from datasets_registry.manifest import is_table
from datasets_registry.store import FULL_STORE, FlowStore, Shard
from datasets_registry.writing import replacing, write_npy_header
from janus_bench.columns import CIC_FEATURES, MAX_PACKETS, PACKET_CHANNELS
from janus_bench.errors import UsageError
from janus_bench.quiet import ignore

LAYOUTS = ("original", "full_store")
DENSE_FLOWS = 1 << 13  # Flows that are padded at a time: 19 MB.


def export_store(store: FlowStore, folder: Path, layout: str, tell: Callable[[str, float], None] = ignore) -> None:
    """Write ``store`` in the layout ``layout`` (one of ``LAYOUTS``) to ``folder``, a new or an empty one; UsageError
    where it is not.

    A padded flow is 2304 bytes before compression.  ``full_store`` takes constant memory; ``original`` holds the tables
    of all flows.
    """
    if is_table(store.manifest):
        raise UsageError(f"{store.name}: a table without packets: the dense layouts are of packets")
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UsageError(f"{folder}: is there already; name a new folder")
    with replacing(folder) as staged:
        if layout == "original":
            _write_part(store, store.shards, staged, "", tell)
        else:
            (staged / FULL_STORE).mkdir()
            for number, shard in enumerate(store.shards):
                _write_part(store, [shard], staged / FULL_STORE, f"-{number:05}", tell)
        take_provenance(store.folder, staged)
        (staged / "dataset.json").write_text(
            json.dumps(store.manifest, indent=1, ensure_ascii=False) + "\n", encoding="utf-8"
        )
    tell("done", 1.0)


def _write_part(
    store: FlowStore, shards: Sequence[Shard], folder: Path, suffix: str, tell: Callable[[str, float], None]
) -> None:
    begin, end = shards[0].begin, shards[-1].begin + shards[-1].n_flows
    archive = zipfile.ZipFile(folder / f"packets{suffix}.npz", "w", zipfile.ZIP_DEFLATED, compresslevel=1)
    with archive, archive.open("packets.npy", "w", force_zip64=True) as member:
        write_npy_header(member, np.dtype("<f4"), (end - begin, MAX_PACKETS, len(PACKET_CHANNELS)))
        for batch in store.blocks(np.arange(begin, end), frozenset({"packets"}), DENSE_FLOWS):
            dense, _ = batch.padded()
            member.write(np.ascontiguousarray(dense, "<f4").reshape(-1).data)
            tell(f"writing packets{suffix}.npz", int(batch.ids[-1]) / store.n_flows)
    tables = [shard.table("flows.parquet").hstack(shard.table("labels.parquet").drop("flow_id")) for shard in shards]
    pl.concat(tables).write_parquet(folder / f"flows{suffix}.parquet")
    features = pl.concat([shard.table("flow_features.parquet") for shard in shards])
    features.write_parquet(folder / f"flow_features{suffix}.parquet")
    if shards[0].has_cic:
        columns = np.concatenate([shard.cic() for shard in shards]).T
        named = dict(zip(CIC_FEATURES, columns, strict=True))
        pl.DataFrame({"flow_id": features["flow_id"], **named}).write_parquet(folder / f"cic_features{suffix}.parquet")
