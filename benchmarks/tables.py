"""Tables of ten million SYNTHETIC rows, added as datasets, beside polars' own streaming read of the same columns.

    python -m benchmarks.tables FOLDER [--rows 10000000] [--layouts netflow_v2,cicflowmeter,parquet]

FOLDER needs 14 GB; files and datasets are deleted as they have been measured.  Rows come in five files: a million are
drawn, and written over and over.  Every measurement is a process of its own; both read what was just written.
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

from janus_bench.columns import CIC_FEATURES, NETFLOW_V2_FEATURES

FILES = 5
AT_A_TIME = 100_000
STEP = """
import os, sys, time
from pathlib import Path
import polars as pl
from harness.environment import peak_resident
what, layout, store, *paths = sys.argv[1:]
started = time.perf_counter()
if what == "add":
    from datasets_registry.tables.ingest import ingest_tables
    from datasets_registry.tables.layouts import layout_of
    tables = {Path(path).name: Path(path) for path in paths}
    used = ingest_tables(tables, Path(store), layout_of(layout), name="x", about={})["n_flows"]
else:
    scan = pl.scan_parquet if paths[0].endswith(".parquet") else pl.scan_csv
    used = 0
    for path in paths:
        table = scan(path).select(pl.len(), pl.all().is_null().sum().name.suffix("_null")).collect(engine="streaming")
        used += table.item(0, 0)
seconds = time.perf_counter() - started
peak = peak_resident(os.getpid()) / 2**20  # ru_maxrss begins with what the process had that this one was forked from
print(f"{what} {layout}: {used} rows in {seconds:.1f} s, {used / seconds:.0f} rows/s, peak {peak:.0f} MB", flush=True)
"""


def columns(layout: str, n: int) -> pl.DataFrame:
    """SYNTHETIC rows."""
    rng = np.random.default_rng(7)
    attack = rng.random(n) < 0.2
    ends = pl.Series([f"10.0.{i // 250}.{i % 250}" for i in range(10_000)])
    source, destination = (ends.gather(rng.integers(0, 10_000, n)) for _ in range(2))
    ports = (rng.integers(1024, 65536, n), rng.choice([53, 80, 443], n))
    names = CIC_FEATURES if layout == "cicflowmeter" else NETFLOW_V2_FEATURES
    numbers = {name: rng.integers(0, 10 ** rng.integers(1, 8), n) for name in names}
    numbers["Protocol" if layout == "cicflowmeter" else "PROTOCOL"] = rng.choice([6, 17], n)
    if layout == "cicflowmeter":
        time_of = pl.from_epoch(pl.Series(1_500_000_000 + np.arange(n)), time_unit="s").dt.strftime("%d/%m/%Y %H:%M:%S")
        who = {
            "Source IP": source,
            "Source Port": ports[0],
            "Destination IP": destination,
            "Destination Port": ports[1],
        }
        return pl.DataFrame({**who, "Timestamp": time_of, **numbers, "Label": np.where(attack, "DoS", "BENIGN")})
    who = {"IPV4_SRC_ADDR": source, "L4_SRC_PORT": ports[0], "IPV4_DST_ADDR": destination, "L4_DST_PORT": ports[1]}
    return pl.DataFrame({**who, **numbers, "Label": attack.astype(int), "Attack": np.where(attack, "DoS", "Benign")})


def write(folder: Path, layout: str, rows: int) -> list[Path]:
    kind = "netflow_v2" if layout == "parquet" else layout
    table = columns(kind, min(rows // FILES, 10 * AT_A_TIME))
    paths = []
    for number in range(FILES):
        path = folder / f"{number}.{'parquet' if layout == 'parquet' else 'csv'}"
        pieces = -(-(rows // FILES) // table.height)
        if layout == "parquet":
            pl.concat([table] * pieces)[: rows // FILES].write_parquet(path)
        else:
            with path.open("wb") as file:
                for piece in range(pieces):
                    left = rows // FILES - piece * table.height
                    table[:left].write_csv(file, include_header=not piece)
        paths.append(path)
    return paths


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--rows", type=int, default=10_000_000)
    parser.add_argument("--layouts", default="netflow_v2,cicflowmeter,parquet")
    given = parser.parse_args()
    given.folder.mkdir(parents=True, exist_ok=True)
    for layout in given.layouts.split(","):
        paths = write(given.folder, layout, given.rows)
        print(f"{layout}: {sum(path.stat().st_size for path in paths) / 1e9:.2f} GB", flush=True)
        kind = "netflow_v2" if layout == "parquet" else layout
        for what in ("read", "add", "read", "add"):
            step = [sys.executable, "-c", STEP, what, kind, given.folder / "store", *paths]
            subprocess.run(step, check=True)
            time.sleep(1)
        shutil.rmtree(given.folder / "store")
        for path in paths:
            path.unlink()


if __name__ == "__main__":
    main()
