"""Captures of several gigabytes through ``data add``, ``data audit`` and a run of ``iforest`` and ``kitsune`` on all
their flows (profile ``paper``): time, memory and disk at once, twice and four times the size.

    python -m benchmarks.large_captures CAPTURES FOLDER [--gigabytes 5] [--detectors iforest,kitsune]

CAPTURES: classic captures and their ``labels.csv``.  They are REPLICATED, each copy a day later and in files of its
own, every packet filled with zeros to the length that it had on the wire, until the largest set has ``gigabytes``.
FOLDER is new, needs some three times as much, and is deleted at the end.  Memory is the largest sum of what the
processes of a command have for themselves (PSS), looked at twice a second.
"""

from __future__ import annotations

import argparse
import math
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import polars as pl
import psutil

from benchmarks.large_run import size_of

DAY = 86_400
LONGEST = 65_535
SIZES = (1, 2, 4)
MAIN = [sys.executable, "-c", "from harness.cli.main import main; main()"]


def filled(capture: Path) -> tuple[np.ndarray, np.ndarray]:
    """A little-endian classic capture whose packets are whole again, as bytes, and where each record begins."""
    raw = capture.read_bytes()
    if raw[:4] not in (b"\xd4\xc3\xb2\xa1", b"\x4d\x3c\xb2\xa1"):
        raise SystemExit(f"{capture}: no classic capture of this byte order")
    pieces, begins, at, length = [raw[:16], LONGEST.to_bytes(4, "little"), raw[20:24]], [], 24, 24
    while at + 16 <= len(raw):
        kept, whole = (int.from_bytes(raw[at + place : at + place + 4], "little") for place in (8, 12))
        whole = max(kept, min(whole, LONGEST))
        begins.append(length)
        pieces += [
            raw[at : at + 8],
            whole.to_bytes(4, "little") * 2,
            raw[at + 16 : at + 16 + kept],
            bytes(whole - kept),
        ]
        at, length = at + 16 + kept, length + 16 + whole
    return np.frombuffer(b"".join(pieces), np.uint8), np.array(begins, np.int64)


def replicate(source: Path, folder: Path, copies: range) -> Iterator[int]:
    """Write copies of all captures, and give the bytes of each copy; ``labels.csv`` is written anew for all in
    ``range(copies.stop)``."""
    labels = pl.read_csv(source / "labels.csv", infer_schema=False)
    captures = {name: filled(source / name) for name in labels["file"].unique().sort()}
    for copy in copies:
        size = 0
        for name, (whole, begins) in captures.items():
            places = begins[:, None] + np.arange(4)
            later = whole.copy()
            seconds = whole[places].copy().view("<u4") + np.uint32(copy * DAY)
            later[places] = seconds.view(np.uint8)
            (folder / f"{copy:04}_{name}").write_bytes(later.tobytes())
            size += later.size
        yield size
    moved = [
        labels.with_columns(
            file=pl.lit(f"{copy:04}_") + pl.col("file"),
            **{name: (pl.col(name).cast(pl.Float64) + copy * DAY).round(6) for name in ("ts_start", "ts_end")},
        )
        for copy in range(copies.stop)
    ]
    pl.concat(moved).write_csv(folder / "labels.csv", float_precision=6)


def private(process: psutil.Process) -> int:
    try:
        return sum(each.memory_full_info().pss for each in (process, *process.children(recursive=True)))
    except (psutil.Error, OSError):
        return 0


def measured(arguments: list[str], environment: dict[str, str], stages: Path) -> tuple[float, float, float]:
    """Seconds, the most memory in MiB, the most in the temporary folder in GiB."""
    started, memory, staged = time.perf_counter(), 0, 0
    said = stages.parent / "said"
    with (
        said.open("w") as stderr,
        subprocess.Popen([*MAIN, *arguments], env=environment, stdout=subprocess.DEVNULL, stderr=stderr) as running,
    ):
        process = psutil.Process(running.pid)
        while running.poll() is None:
            memory, staged = max(memory, private(process)), max(staged, size_of(stages))
            time.sleep(0.5)
    if running.returncode:
        raise SystemExit(f"{' '.join(arguments)} ended with {running.returncode}:\n{said.read_text()[-2000:]}")
    return time.perf_counter() - started, memory / 2**20, staged / 2**30


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("captures", type=Path)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--gigabytes", type=float, default=5.0)
    parser.add_argument("--detectors", default="iforest,kitsune")
    arguments = parser.parse_args()
    folder = arguments.folder.resolve()
    captures, home, stages = folder / "captures", folder / "home", folder / "tmp"
    for each in (captures, stages):
        each.mkdir(parents=True)
    environment = {**os.environ, "JANUS_BENCH_HOME": str(home), "TMPDIR": str(stages)}
    (one,) = replicate(arguments.captures, captures, range(1))
    most = SIZES[-1] * math.ceil(arguments.gigabytes * 1e9 / one / SIZES[-1])
    have = 1
    for times in SIZES:
        copies = most * times // SIZES[-1]
        for _ in replicate(arguments.captures, captures, range(have, copies)):
            pass
        have = copies
        name, runs = f"times{times}", str(folder / f"runs{times}")
        options = ["--protocol", "within", "--datasets", name, "--seeds", "42", "--profile", "paper", "--runs", runs]
        print(f"{times}x: {copies} copies, {size_of(captures) / 1e9:.2f} GB", flush=True)
        for what, command in {
            "data add": ["data", "add", name, str(captures), "--stream"],
            "data audit": ["data", "audit", name],
            **{
                f"run {detector}": ["run", *options, "--detectors", detector]
                for detector in arguments.detectors.split(",")
            },
        }.items():
            seconds, memory, staged = measured(command, environment, stages)
            print(f"  {what:14} {seconds:7.1f} s  {memory:7.0f} MiB  staged {staged:6.2f} GiB", flush=True)
        print(f"  store {size_of(home / 'datasets' / name) / 1e9:.2f} GB, runs {size_of(Path(runs)) / 1e9:.2f} GB")
    shutil.rmtree(folder)
    return 0


if __name__ == "__main__":
    sys.exit(main())
