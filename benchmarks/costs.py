"""What the published datasets × every detector × three seeds would cost: core hours, GPU hours, disk.

    python -m benchmarks.costs                          # every detector with its parameters of `quick`
    python -m benchmarks.costs --detectors knn,iforest --gpu FILE

measured  on this machine, on one synthetic site (SYNTHETIC: speed depends on how long flows are, here as printed):
          seconds of the processor for a fit on two numbers of flows, and for the scores of its test flows; bytes a flow
          of a store, of a staged part and of stored scores.  A fit that takes longer than ``--timeout`` is left out,
          and said
computed  the fits and scores of a ``cross`` plan of the published datasets, whose numbers of rows are those of their
          tables: a fit is taken to cost a + b × flows, a score c × flows
GPU       of what ``benchmarks.gpu`` printed on one (``--gpu FILE``), for the detector that it measures
"""

from __future__ import annotations

import argparse
import re
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import polars as pl

from benchmarks.gpu import PUBLISHED
from datasets_registry.registry import OpenDataset, bytes_on_disk, dataset_folder, load_datasets, synthetic_suite
from harness.environment import environment
from harness.executors.local import LocalExecutor
from harness.jobs import Event, Failed, FitDone, Job, JobTarget, Scored, own_code
from harness.plan import DetectorChoice, Settings, make_plan
from harness.staging import Batch, Part, Stages
from janus_bench import plugins
from janus_bench.plugins import LoadedDetector
from janus_bench.quiet import ignore
from janus_bench.records import RunSpec
from janus_bench.stored import table_bytes
from protocols.splits import CAPS, SHARES, Draw

SIZES = (250, 500)  # Flows that are fitted on.
SEEDS = (42, 43, 44)
SITE = synthetic_suite()[0]


@dataclass(frozen=True)
class Speed:
    """Seconds of one core: a fit on n flows takes ``fixed`` + ``a_flow`` × n, a score of n flows ``scored`` × n."""

    columns: int
    fixed: float
    a_flow: float
    scored: float


def measured(loaded: LoadedDetector, dataset: OpenDataset, timeout_s: float) -> Speed | str:
    """Fit in children, as a run does, and score; or why it could not be."""
    fits, scored = [], 0.0
    for size in SIZES:
        told: list[Event] = []
        failed, trained, flows = _fitted(loaded, dataset, size, timeout_s, told.append)
        if failed:
            return failed
        fits.append((trained, next(event.cpu_s or 0.0 for event in told if isinstance(event, FitDone))))
        scored = sum(event.cpu_s or 0.0 for event in told if isinstance(event, Scored)) / flows
    (few, short), (many, long) = fits
    a_flow = max(0.0, (long - short) / (many - few))
    return Speed(len(loaded.capabilities.scores), max(0.0, short - a_flow * few), a_flow, scored)


def _fitted(
    loaded: LoadedDetector, dataset: OpenDataset, size: int, timeout_s: float, hear: Callable[[Event], None]
) -> tuple[str, int, int]:
    """Why it failed (or nothing), the flows that it was fitted on, and those that were scored, after the last size
    alone."""
    draw = Draw(SEEDS[0], "grouped", "quick", train_size=size)

    def batch(part: str, scored: bool = False) -> Batch:
        return Batch.of(Part(dataset.store.hash, draw, part), loaded.capabilities.inputs, scored=scored)

    batches = {"train": batch("train"), "validate": batch("val"), "val": batch("val", True)}
    batches |= {"cal_a": batch("cal_a"), "test": batch("test", True)}
    hints = None if loaded.capabilities.hints == "none" else "hints"
    if hints:
        batches[hints] = batch(f"hints_{loaded.capabilities.hints}", True)
    calibrate = "cal_a" if loaded.capabilities.calibrates else None
    target = JobTarget("t0", calibrate, {"source_val": "val", "test": "test"})
    failures: list[str] = []

    def heard(event: Event) -> None:
        failures.extend([event.reason] if isinstance(event, Failed) else [])
        hear(event)

    stages = Stages([dataset], batches.values())
    try:
        job = Job(
            folder=str(stages.open(batches)),
            code=own_code(),
            detector=loaded.name,
            params=DetectorChoice(loaded.name, loaded, {}).params("quick", diagonal=True),
            seed=SEEDS[0],
            device="cpu",
            threads=1,
            timeout_s=timeout_s,
            max_memory=None,
            train=("train",),
            validate="validate",
            hints=hints,
            targets=(target,) if size == SIZES[-1] else (),
        )
        outcome = LocalExecutor().run(job, threading.Event(), heard)
        trained, scored = (len(stages.flow_ids(batches[name].part)) for name in ("train", "test"))
    finally:
        stages.close()
    return (failures[0] if failures else outcome.reason if outcome.status != "ok" else ""), trained, scored


def fits_of(loaded: LoadedDetector, profile: str) -> Iterator[tuple[int, list[int]]]:
    """Of every fit of a ``cross`` plan: the flows that it learns from, and those that it scores of each target."""
    about = {name: {"hash": f"{number:064x}"} for number, name in enumerate(PUBLISHED)}
    settings = Settings(profile, "grouped", SEEDS, "cpu")
    plan = make_plan(plugins.protocols()["cross"], about, [DetectorChoice(loaded.name, loaded, {})], settings)
    for fit in plan.fits:
        yield _learned(fit.first, profile), [_scored(PUBLISHED[run.target], profile) for run in fit.runs]


def _learned(run: RunSpec, profile: str) -> int:
    """At most, of a network that is benign throughout: how much of one is, its table does not say."""
    cap, part = (CAPS[profile].train, "train") if run.source is not None else (CAPS[profile].cal_a, "cal_a")
    everything = int(SHARES[part] * PUBLISHED[run.source or run.target])
    return everything if cap is None else min(cap, everything)


def _scored(rows: int, profile: str) -> int:
    """At most: all rows, where something is not capped."""
    caps = CAPS[profile]
    parts = (caps.cal_a, caps.cal_b, caps.test_benign, caps.test_attack)
    return min(rows, sum(rows if cap is None else cap for cap in parts))


@cache
def bytes_a_score(columns: int, rows: int = 1_000_000) -> float:
    """Of a stored flow with so many random scores."""
    rng = np.random.default_rng(0)
    keys = {"flow_id": np.arange(rows), "target": ["network"] * rows, "role": ["test"] * rows}
    table = pl.DataFrame(keys | {f"score{number}": rng.normal(size=rows) for number in range(columns)})
    return len(table_bytes(table)) / rows


def bytes_staged(dataset: OpenDataset) -> float:
    """Of a staged flow with packets and features."""
    part = Part(dataset.store.hash, Draw(SEEDS[0], "grouped", "quick"), "train")
    batch = Batch.of(part, frozenset({"packets", "features"}), scored=False)
    stages = Stages([dataset], [batch])
    try:
        return bytes_on_disk(stages.open({"train": batch}) / "in") / len(stages.flow_ids(part))
    finally:
        stages.close()


def gpu_speeds(printed: str) -> dict[str, float]:
    """Precision → flows a second that ``paper`` scores, of what ``benchmarks.gpu`` printed."""
    lines = re.findall(r"^paper\s+(\w+): scoring ([\d,]+) flows/s", printed, re.MULTILINE)
    return {precision: float(flows.replace(",", "")) for precision, flows in lines}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--detectors", default="", help="comma-separated; default: all that are installed")
    parser.add_argument("--timeout", type=float, default=60.0, help="seconds for one fit with its scores")
    parser.add_argument("--gpu", type=Path, help="what benchmarks.gpu printed on a GPU")
    asked = parser.parse_args()
    here = environment()
    dataset = load_datasets([SITE], ignore)[SITE]
    counts = dataset.store.packet_counts()
    print(f"{here['processor']}, one core; {SITE}: {len(counts)} flows of {counts.mean():.1f} packets")
    names = asked.detectors.split(",") if asked.detectors else sorted(plugins.detector_entries())
    loaded = {name: plugins.load_detector(name) for name in names}
    speeds: dict[str, Speed] = {}
    print(f"{'detector':24} {'fit s, of 0':>12} {'ms a flow':>10} {'scores/s':>10}")
    for name, detector in loaded.items():
        found = measured(detector, dataset, asked.timeout)
        if isinstance(found, str):
            print(f"{name:24} left out: {found}", flush=True)
            continue
        speeds[name] = found
        print(f"{name:24} {found.fixed:12.2f} {1e3 * found.a_flow:10.3f} {1 / found.scored:10,.0f}", flush=True)
    print(f"\n{len(PUBLISHED)} published datasets, {sum(PUBLISHED.values()):,} flows; seeds {SEEDS}; cross")
    for profile in ("quick", "paper"):
        computed(profile, speeds, loaded)
    a_flow = bytes_on_disk(dataset_folder(SITE)) / len(counts)
    print(f"\nstores: {a_flow * sum(PUBLISHED.values()) / 1e9:,.0f} GB ({a_flow:.0f} B a flow, captures apart)")
    largest = max(PUBLISHED.values())
    print(
        f"largest staged part: {bytes_staged(dataset) * largest / 1e9:,.0f} GB ({bytes_staged(dataset):.0f} B a flow)"
    )
    gpu = gpu_speeds(asked.gpu.read_text()) if asked.gpu else {}
    scored = sum(sum(flows) for _, flows in fits_of(plugins.load_detector("janus"), "paper"))
    said = ", ".join(f"{precision} {scored / speed / 3600:,.1f}" for precision, speed in gpu.items())
    print(f"GPU hours of janus at `paper` ({scored:,} scores): {said or 'not measured (--gpu)'}")


def computed(profile: str, speeds: Mapping[str, Speed], loaded: Mapping[str, LoadedDetector]) -> None:
    """Print what the sizes of a profile come to, with the parameters that were measured."""
    hours, room, fits = dict.fromkeys(speeds, 0.0), 0.0, 0
    for name, speed in speeds.items():
        a_score = bytes_a_score(speed.columns)
        for learned, scored in fits_of(loaded[name], profile):
            fits += 1
            hours[name] += (speed.fixed + speed.a_flow * learned + speed.scored * sum(scored)) / 3600
            room += a_score * sum(scored)
    most = sorted(hours, key=hours.__getitem__, reverse=True)
    columns = max(speed.columns for speed in speeds.values())
    largest = max(_scored(rows, profile) for rows in PUBLISHED.values())
    total, memory = sum(hours.values()), 8e-9 * columns * largest
    print(f"\nsizes of `{profile}`: {len(speeds)} detectors, {fits:,} fits, {total:,.1f} core hours")
    print(f"scores: {room / 1e9:,.1f} GB; the largest table {largest:,} flows, {memory:,.1f} GB in memory")
    print("most: " + ", ".join(f"{name} {hours[name]:,.1f} h" for name in most[:8]))
    print(f"half of the detectors: {sum(hours[name] for name in most[len(most) // 2 :]):,.1f} h together")


if __name__ == "__main__":
    main()
