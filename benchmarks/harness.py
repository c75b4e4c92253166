"""What the harness itself costs on folders of SYNTHETIC rows and random scores: reading, merging, planning, intervals,
the report, fits.

    python -m benchmarks.harness FOLDER [board large merge intervals report plan fits]

Every measurement is a ``janus-bench`` process of its own: seconds from its start to its end, seconds of the processor
(the smaller of the two counts: on a machine with other work the first says little), and its peak memory.  The folders
are made in FOLDER and deleted at the end.  Numbers in them mean nothing.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from statistics import median

import numpy as np
import polars as pl

from benchmarks.large_run import write
from benchmarks.start_up import processor_seconds
from harness.environment import environment
from harness.plan import DetectorChoice, Plan, Settings, make_plan
from janus_bench import plugins
from janus_bench.records import RunRecord, RunSpec
from janus_bench.stored import table_bytes
from reports.results.evidence import VIEWS
from reports.results.folder import RunStore
from reports.results.index import YOUNG_NS

CALIBRATION, TEST, CAPTURES = 200, 2500, 40  # Flows a role, and captures, of a run that has scores.


def choices(detectors: int) -> list[DetectorChoice]:
    """So many rows of one real detector, which no run here ever fits."""
    found = plugins.load_detector("iforest")
    return [
        DetectorChoice(f"iforest[n_estimators={count}]", found, {"n_estimators": str(count)})
        for count in range(1, detectors + 1)
    ]


def planned(detectors: int, datasets: int, seeds: int, first: int = 0) -> Plan:
    """A ``cross`` plan over datasets that nobody has; ``first``: number of its first seed."""
    about = {f"net{number}": {"hash": f"{number:064x}", "synthetic": True} for number in range(datasets)}
    settings = Settings("quick", "grouped", tuple(range(first, first + seeds)), "cpu")
    return make_plan(plugins.protocols()["cross"], about, choices(detectors), settings)


def write_results(folder: Path, plan: Plan, scores: bool) -> int:
    """A results folder in which every run of ``plan`` is ok; with ``scores``, which are random, where they are read."""
    store, rng = RunStore.create(folder), np.random.default_rng(0)
    store.write_plan(plan.record)
    runs = [(fit.key, run) for fit in plan.fits for run in fit.runs]
    truth = _truth(rng)
    for entry in plan.record.datasets.values():
        store.write_truth(entry.hash, truth)
    for number, (fit_key, run) in enumerate(runs):  # not by the store: it waits for the disk after every row
        record = _row(run, fit_key, rng, number)
        (folder / "results" / f"{run.key}.1.json").write_text(json.dumps(asdict(record), indent=1))
        (folder / "logs" / f"{fit_key}.log").touch()
        if scores:
            (folder / "scores" / f"{run.key}.parquet").write_bytes(table_bytes(_scores(run.target, rng)))
    return len(runs)


def _row(run: RunSpec, fit_key: str, rng: np.random.Generator, number: int) -> RunRecord:
    names = [f"{name}{view}" for view in VIEWS for name in plugins.metrics()]
    sizes = {"train": 2000, "val": 200, "cal_a": CALIBRATION, "cal_b": CALIBRATION, "test_benign": TEST // 2}
    return RunRecord(
        key=run.key,
        fit_key=fit_key,
        spec=run.declared,
        status="ok",
        reason="",
        attempt=1,
        finished=f"2026-01-01T{number // 3600 % 24:02}:{number // 60 % 60:02}:{number % 60:02}+00:00",
        provenance="faithful",
        uses_labels=False,
        aggregator="identity",
        counts={"n_cal": CALIBRATION, "n_cal_b": CALIBRATION, "n_test_benign": TEST // 2, "n_test_attack": TEST // 2},
        cost=dict(zip(("fit_s", "calibrate_s", "score_s", "flows_per_s", "peak_rss_mb"), rng.random(5), strict=True)),
        metrics=dict(zip(names, rng.random(len(names)).tolist(), strict=True)),
        partition={"kind": "grouped", "reason": "", "sizes": sizes, "sites": {"": {"benign": TEST, "attack": TEST}}},
        environment=environment(),
    )


def _truth(rng: np.random.Generator) -> pl.DataFrame:
    """Half of the captures have attacks in them."""
    capture = rng.integers(0, CAPTURES, TEST + 2 * CALIBRATION)
    attack = (capture % 2 == 0) & (rng.random(len(capture)) < 0.9)
    attack[TEST:] = False
    name = pl.Series([f"capture{number}" for number in capture])
    columns = {
        "flow_id": np.arange(len(capture)),
        "attack": attack,
        "family": np.where(attack, "flood", "benign"),
        "source": name,
        "site": [""] * len(capture),
        "group": name,
        "n_packets": rng.integers(1, 20, len(capture)),
    }
    return pl.DataFrame(columns)


def _scores(target: str, rng: np.random.Generator) -> pl.DataFrame:
    sizes = {"source_val": CALIBRATION, "cal_a": CALIBRATION, "cal_b": CALIBRATION, "test": TEST}
    first = {"cal_a": TEST, "cal_b": TEST + CALIBRATION}
    ids = np.concatenate([np.arange(size) + first.get(role, 0) for role, size in sizes.items()])
    columns = {
        "flow_id": ids,
        "target": [target] * len(ids),
        "role": np.repeat(list(sizes), list(sizes.values())),
        "score": rng.random(len(ids)),
    }
    return pl.DataFrame(columns)


MAIN = """
import atexit, os, sys
from harness.environment import peak_resident
atexit.register(lambda: print(peak_resident(os.getpid()), file=sys.stderr))  # ru_maxrss begins with the parent's
from harness.cli.main import main
main()
"""


def timed(what: str, *arguments: str | Path, home: Path | None = None) -> float:
    """Seconds of one ``janus-bench`` process, with its start, which are printed with its peak memory.  SystemExit where
    it fails."""
    variables = {} if home is None else {"JANUS_BENCH_HOME": str(home)}
    command = [sys.executable, "-c", MAIN, *map(str, arguments)]
    started = time.perf_counter()
    child = subprocess.Popen(
        command, env={**os.environ, **variables}, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )
    assert child.stderr is not None
    said = child.stderr.read().splitlines()
    _, status, used = os.wait4(child.pid, 0)
    seconds = time.perf_counter() - started
    if os.waitstatus_to_exitcode(status):
        raise SystemExit("\n".join([f"{what} failed:", *said]))
    processor = used.ru_utime + used.ru_stime
    print(f"{what:<64} {seconds:7.2f} s, {processor:7.2f} s CPU, {int(said[-1]) / 2**20:5.0f} MiB", flush=True)
    return min(seconds, processor)


def _fresh(folder: Path) -> Path:
    shutil.rmtree(folder, ignore_errors=True)
    return folder


def measure_board(folder: Path, datasets: int = 16) -> float:
    """39 rows on ``datasets`` × ``datasets`` cells: the first time, and again."""
    runs = _fresh(folder / "board")
    number = write_results(runs, planned(39, datasets, 1), scores=False)
    time.sleep(YOUNG_NS / 1e9)  # the index takes no younger row
    show = ("leaderboard", "--runs", runs, "--no-intervals", "--format", "json")
    timed(f"leaderboard of {number} runs, the first time", *show)
    again = timed(f"leaderboard of {number} runs, again", *show)
    timed(f"the same as a table, of {number} runs", *show[:-1], "table")
    timed(f"runs list of {number} runs", "runs", "list", "--runs", runs, "--format", "json")
    shutil.rmtree(runs)
    return again


def measure_large(folder: Path) -> float:
    return measure_board(folder, 50)


def measure_merge(folder: Path) -> float:
    """Two folders, a tenth of whose runs both have, alike."""
    parts = [_fresh(folder / f"part{number}") for number in (0, 1)]
    numbers = [write_results(part, planned(39, 16, 1, place), scores=True) for place, part in enumerate(parts)]
    own = sorted((parts[0] / "results").iterdir())[: numbers[0] // 10]
    for row in own:
        key = row.name.partition(".")[0]
        shutil.copy2(row, parts[1] / "results")
        shutil.copy2(parts[0] / "scores" / f"{key}.parquet", parts[1] / "scores")
    merged = _fresh(folder / "merged")
    what = f"merge of folders of {numbers[0]} and {numbers[1] + len(own)} runs"
    seconds = timed(what, "merge", *parts, "-o", merged)
    for each in (*parts, merged):
        shutil.rmtree(each)
    return seconds


def measure_intervals(folder: Path) -> float:
    """20 rows, 4 × 4 cells, 3 seeds; the random scores cost what any scores cost."""
    runs = _fresh(folder / "intervals")
    number = write_results(runs, planned(20, 4, 3), scores=True)
    show = ("leaderboard", "--runs", runs, "--format", "json")
    plain = timed(f"leaderboard of {number} runs without intervals", *show, "--no-intervals")
    seconds = timed(f"leaderboard of {number} runs with intervals, the first time", *show)
    timed(f"leaderboard of {number} runs with intervals, again", *show)
    print(f"  intervals alone: {seconds - plain:.2f} s")
    shutil.rmtree(runs)
    return seconds - plain


def measure_report(folder: Path) -> float:
    """25 rows, 8 × 8 cells, 3 seeds; intervals are kept already."""
    runs = _fresh(folder / "report")
    number = write_results(runs, planned(25, 8, 3), scores=True)
    timed(f"leaderboard of {number} runs with intervals, the first time", "leaderboard", "--runs", runs)
    seconds = timed(f"report of {number} runs", "report", "--runs", runs, "-o", folder / "report.html")
    (folder / "report.html").unlink()
    shutil.rmtree(runs)
    return seconds


def measure_plan(folder: Path) -> float:
    """40 rows, 27 × 27 cells, 3 seeds and their baselines: some 90 000 runs."""
    home = folder / "home"
    names = [f"net{number}" for number in range(27)]
    for seed, name in enumerate(names):
        if not (home / "datasets" / name).exists():
            write(home / "datasets" / name, 2000, seed)
    request = ["--detectors", ",".join(choice.label for choice in choices(40)), "--datasets", ",".join(names)]
    shown = ("--dry-run", "--split", "random")
    return timed("dry run of 90 000 runs", "run", *request, "--seeds", "42,43,44", *shown, home=home)


def measure_fits(folder: Path) -> float:
    """200 fits of detectors that compute next to nothing, as a ratio to as many starts of a process for a fit."""
    home, runs = folder / "home", _fresh(folder / "fits")
    names = [f"net{number}" for number in range(4)]
    for seed, name in enumerate(names):
        if not (home / "datasets" / name).exists():
            write(home / "datasets" / name, 2000, seed)
    chosen = ("--protocol", "within", "--detectors", "length,random", "--datasets", ",".join(names))
    where = ("--seeds", ",".join(map(str, range(25))), "--split", "random", "--jobs", "1", "--runs", runs)
    seconds = timed("run of 200 trivial fits", "run", *chosen, *where, home=home)
    child = "-P", "-c", "import harness.worker"
    start = median([processor_seconds(child, folder, dict(os.environ)) for _ in range(5)])
    print(f"  a process that imports what any fit does: {start:.2f} s CPU")
    shutil.rmtree(runs)
    return seconds / (200 * start)


MEASUREMENTS: Mapping[str, Callable[[Path], float]] = {
    "board": measure_board,
    "large": measure_large,
    "merge": measure_merge,
    "intervals": measure_intervals,
    "report": measure_report,
    "plan": measure_plan,
    "fits": measure_fits,
}
LIMITS = {"board": 2.0, "large": 15.0, "merge": 10.0, "intervals": 10.0, "report": 20.0, "plan": 3.0, "fits": 1.05}
"""Seconds that each may take (the last of what it prints); of fits, a ratio."""


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("folder", type=Path)
    parser.add_argument("what", nargs="*", choices=[[], *MEASUREMENTS], default=[])
    asked = parser.parse_args(arguments)
    asked.folder.mkdir(parents=True, exist_ok=True)
    worst = 0.0
    for name in asked.what or MEASUREMENTS:
        seconds = MEASUREMENTS[name](asked.folder)
        ratio = seconds / LIMITS[name]
        worst = max(worst, ratio)
        print(f"  {name}: {ratio:.2f} of the {LIMITS[name]:g} that it may take", flush=True)
    return math.ceil(worst) > 1


if __name__ == "__main__":
    sys.exit(main())
