"""A run on a dataset of five million SYNTHETIC flows with all its flows in test (profile ``paper``): time, and the
parent's peak memory and disk.

    python -m benchmarks.large_run FOLDER [--flows 5000000] [--detector length]

FOLDER needs 10 GB; everything in it is deleted at the end.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

from benchmarks.store import AT_A_TIME, block
from datasets_registry.writing import StoreWriter, replacing
from harness.environment import peak_resident

ABOUT = {
    "name": "big",
    "synthetic": True,
    "summary": "random flows",
    "licence": "none",
    "warnings": [],
    "files": {},
    "labels": {},
    "packets": {"read": 0, "used": 0, "dropped": {}, "noted": {}},
    "unmatched_flows": 0,
    "stream": False,
}


def write(folder: Path, flows: int, seed: int = 0) -> None:
    """A dataset of random flows; another seed makes another one."""
    rng = np.random.default_rng(seed)
    with replacing(folder) as staged:
        writer = StoreWriter(staged)
        for begin in range(0, flows, AT_A_TIME):
            writer.add(block(rng, min(AT_A_TIME, flows - begin)))
        writer.finish(ABOUT)


def size_of(folder: Path) -> int:
    """Bytes on disk, a file with several names counted once."""
    found = {}
    for place, _, names in os.walk(folder):  # which a folder that goes while we look does not end
        for name in names:
            try:
                status = (Path(place) / name).lstat()
            except OSError:
                continue
            found[status.st_ino] = status.st_blocks * 512
    return sum(found.values())


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--flows", type=int, default=5_000_000)
    parser.add_argument("--detector", default="length")
    arguments = parser.parse_args()
    folder = arguments.folder.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    home, stages = folder / "home", folder / "tmp"
    stages.mkdir()
    started = time.perf_counter()
    write(home / "datasets" / "big", arguments.flows)
    print(f"SYNTHETIC: {arguments.flows} flows written in {time.perf_counter() - started:.0f} s")
    options = [
        "--protocol",
        "within",
        "--datasets",
        "big",
        "--seeds",
        "42",
        "--profile",
        "paper",
        "--detectors",
        arguments.detector,
    ]
    command = [
        sys.executable,
        "-c",
        "from harness.cli.main import main; main()",
        "run",
        *options,
        "--runs",
        str(folder / "runs"),
    ]
    environment = {**os.environ, "JANUS_BENCH_HOME": str(home), "TMPDIR": str(stages)}
    started, peak, disk = time.perf_counter(), 0, 0
    parent = subprocess.Popen(
        ["/bin/sh", "-c", '"$0" "$@" & echo $!; wait $!', *command], env=environment, stdout=subprocess.PIPE, text=True
    )
    assert parent.stdout is not None
    # by way of a shell: a child starts with the peak memory of the process that forks it
    pid = int(parent.stdout.readline())
    while parent.poll() is None:
        peak, disk = max(peak, peak_resident(pid)), max(disk, size_of(stages))
        time.sleep(0.5)
    seconds = time.perf_counter() - started
    print(
        f"{arguments.detector}: {seconds:.0f} s, parent's peak memory {peak / 2**20:.0f} MiB, staged at most "
        f"{disk / 2**30:.2f} GiB"
    )
    shutil.rmtree(folder)
    return parent.returncode


if __name__ == "__main__":
    sys.exit(main())
