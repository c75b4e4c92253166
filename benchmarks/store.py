"""A flow store of ten million SYNTHETIC flows: opening, taking a sample, walking it, and the memory of each step.

    python -m benchmarks.store FOLDER [--flows 10000000]

FOLDER needs 7 GB; it is made by the ordinary writer from random flows and deleted at the end.  Every measurement is a
process of its own; the first walk reads from wherever the system keeps what was just written.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import polars as pl

from datasets_registry.block import Block
from datasets_registry.writing import StoreWriter, replacing
from janus_bench.columns import CIC_FEATURES
from janus_bench.ragged import starts_of

AT_A_TIME = 1 << 14
STEP = """
import os, sys, time
from pathlib import Path
import numpy as np, polars
from datasets_registry.store import FlowStore
from harness.environment import peak_resident
from janus_bench.ragged import starts_of
started = time.perf_counter()
store = FlowStore.open(Path(sys.argv[1]))
opened = time.perf_counter() - started
before = peak_resident(os.getpid())
inputs = frozenset(sys.argv[3].split("+"))
ids = np.arange(store.n_flows)
if sys.argv[2] == "sample":
    ids = np.random.default_rng(0).choice(store.n_flows, 10_000, replace=False)
started = time.perf_counter()
n = sum(len(batch) for batch in store.blocks(ids, inputs)) if sys.argv[2] != "open" else 0
seconds = time.perf_counter() - started
grown = (peak_resident(os.getpid()) - before) / 2**20
print(f"open {opened:.3f} s; {sys.argv[2]} {'+'.join(sorted(inputs))}: {n} flows in {seconds:.2f} s,", end=" ")
print(f"memory grew by {grown:.0f} MB")
"""


def block(rng: np.random.Generator, n: int) -> Block:
    """SYNTHETIC flows of 1 to 20 packets."""
    lengths = rng.integers(1, 21, n)
    offsets = starts_of(lengths)
    iat = rng.exponential(1e4, offsets[-1]).astype(np.float32)
    iat[offsets[:-1]] = 0
    packets = {
        "size": rng.integers(28, 1500, offsets[-1]),
        "iat": iat,
        "win": rng.integers(0, 65536, offsets[-1]),
        "bits": rng.integers(0, 64, offsets[-1]),
    }
    packets = {
        name: values.astype({"size": "u2", "iat": "f4", "win": "u2", "bits": "u1"}[name])
        for name, values in packets.items()
    }
    ends = {f"{side}_ip": pl.Series(rng.integers(0, 5000, n)).cast(pl.String) for side in ("src", "dst")}
    ports = {f"{side}_port": rng.integers(0, 65536, n).astype(np.uint16) for side in ("src", "dst")}
    start = rng.random(n)
    times = {"proto": np.full(n, 6, np.uint8), "ts_start": start, "ts_end": start + 1, "n_packets": lengths}
    attack = rng.random(n) < 0.2
    labels = {"attack": attack, **dict.fromkeys(("label", "family"), np.where(attack, "flood", "benign"))}
    labels |= {"source": np.full(n, "day"), "file": np.full(n, "a.pcap"), "row": np.arange(n), "site": np.full(n, "")}
    return Block(
        offsets,
        packets,
        pl.DataFrame({**ends, **ports, **times}),
        pl.DataFrame(labels),
        rng.random((n, len(CIC_FEATURES)), np.float32),
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--flows", type=int, default=10_000_000)
    arguments = parser.parse_args()
    rng, folder = np.random.default_rng(0), arguments.folder / "store"
    started = time.perf_counter()
    with replacing(folder) as staged:
        writer = StoreWriter(staged)
        for begin in range(0, arguments.flows, AT_A_TIME):
            writer.add(block(rng, min(AT_A_TIME, arguments.flows - begin)))
        shards = writer.finish({"name": "random"})["shards"]
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) / 1e9
    print(
        f"SYNTHETIC: {arguments.flows} flows in {len(shards)} shards, {size:.2f} GB, made in "
        f"{time.perf_counter() - started:.0f} s"
    )
    for step, inputs in (
        ("open", "packets"),
        ("sample", "packets+features+cic_features"),
        ("walk", "packets"),
        ("walk", "features"),
        ("walk", "cic_features"),
    ):
        # By way of a shell: a child starts with the peak memory of the process that forks it.
        command = ["/bin/sh", "-c", '"$0" "$@"; exit $?', sys.executable, "-c", STEP, str(folder), step, inputs]
        subprocess.run(command, check=True)
    shutil.rmtree(folder)
    return 0


if __name__ == "__main__":
    sys.exit(main())
