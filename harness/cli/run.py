"""``janus-bench run``: read the request, plan, run, print the leaderboard."""

from __future__ import annotations

import os
import re
import signal
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.cli import console
from janus_bench import plugins
from janus_bench.errors import UsageError, unknown
from janus_bench.params import parse_request, split_requests

if TYPE_CHECKING:
    from datasets_registry.registry import OpenDataset
    from harness.plan import DetectorChoice, Plan
    from harness.runner import Result
    from janus_bench.records import RunRecord

DEFAULT_JOBS = 4


@dataclass(frozen=True)
class Request:
    """The command's options as typed; ``retry`` is the whole command line."""

    protocol: str
    detectors: str
    datasets: str
    seeds: str
    profile: str
    split: str
    runs: Path
    jobs: int | None
    timeout: str
    max_memory: str
    device: str
    params: Path | None
    dry_run: bool
    output: str
    retry: str


def execute(request: Request) -> int:
    """Everything that can be refused is refused before anything runs."""
    from datasets_registry.registry import describe, draw_of, load_datasets
    from harness.cli.leaderboard import find_renderer, show
    from harness.cli.progress import PreparationProgress, RunProgress
    from harness.executors.local import LocalExecutor
    from harness.plan import Settings, make_plan
    from harness.runner import Machine, final_runs, run_plan
    from reports.results.folder import RunStore, WriteFailed
    from reports.results.model import Results

    renderer = find_renderer(request.output)
    known = plugins.protocols()
    if request.protocol not in known:
        raise unknown("protocol", request.protocol, known)
    seeds = _seeds(request.seeds)
    timeout_s, max_memory = _seconds(request.timeout), _bytes(request.max_memory)
    protocol = known[request.protocol]
    detectors = _detectors(request.detectors or ",".join(protocol.detectors) or "all", request.params)
    for choice in detectors:
        for variant in protocol.variants:
            for diagonal in (True, False):
                choice.params(request.profile, diagonal=diagonal, overrides=variant.params)
    device = _device(request.device)
    names = _dataset_names(request.datasets)
    store = None if request.dry_run else RunStore.create(request.runs)
    with PreparationProgress() as progress:
        datasets = load_datasets(names, progress)
    plan = make_plan(protocol, describe(datasets), detectors, Settings(request.profile, protocol.split or request.split, seeds, device))
    for run in (run for fit in plan.fits for run in fit.runs):  # refused now where a split is impossible, and not drawn again later
        for name in {run.source or run.target, run.target}:
            datasets[name].partition(draw_of(run))
    if store is None:
        _print_dry_run(plan, datasets, request.output)
        return 0

    missing = {cell.run_key for cell in plan.record.cells} - final_runs(plan, datasets, store)
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # a polite kill is an interrupt: rows are written, workers ended
    cores = len(os.sched_getaffinity(0))
    jobs = request.jobs or (1 if device == "cuda" else min(DEFAULT_JOBS, cores))
    machine = Machine(jobs, max(1, cores // jobs), timeout_s, max_memory, LocalExecutor())
    with RunProgress(len(plan.only(missing))) as watch:
        try:
            result = run_plan(plan, datasets, store, machine, watch)
        except WriteFailed as error:
            raise WriteFailed(f"{error}: {request.retry}") from None
    if not result.records:
        console.say(f"nothing to do: all {result.reused} runs are already in {request.runs}")
    results = Results(store, console.say)
    console.out(show(results.table([plan.record]), renderer))
    keys = {cell.run_key for cell in plan.record.cells} & set(results.records)
    return _conclude(result, [results.records[key] for key in keys], request.retry)


def _conclude(result: Result, records: Sequence[RunRecord], retry: str) -> int:
    """Say how every run of the plan stands, what to do about those that failed, and give the exit code."""
    failed = [record for record in records if record.status != "ok"]
    if result.records:
        ok = sum(record.status == "ok" for record in result.records)
        console.say(f"{ok} runs ok, {len(result.records) - ok} not, {result.reused} reused")
    if result.interrupted:
        console.say(f"interrupted; what was finished is kept. Go on with: {retry}")
        return 130
    for status in dict.fromkeys(record.status for record in failed):
        members = [record for record in failed if record.status == status]
        console.say(f"{len(members)} × {status}: {members[0].reason} (log: logs/{members[0].fit_key}.log)")
    if any(record.status != "skipped" for record in failed):
        console.say(f"run only what is missing with: {retry}")
    return 1 if failed else 0


def _detectors(text: str, file: Path | None) -> list[DetectorChoice]:
    from harness.plan import DetectorChoice

    tables = _parameter_tables(file)
    requests = split_requests(text)
    if requests == ["all"]:
        requests = list(plugins.detector_entries())
    if not requests:
        raise UsageError("--detectors is empty: name at least one, see `janus-bench detector list`")
    choices = []
    for request in requests:
        name, given = parse_request(request)
        choices.append(DetectorChoice(request, plugins.load_detector(name), {**tables.pop(name, {}), **given}))
    if tables:
        raise UsageError(f"{file}: parameters for {', '.join(tables)}, not among the detectors asked for")
    return choices


def _parameter_tables(file: Path | None) -> dict[str, Mapping[str, Any]]:
    if file is None:
        return {}
    try:
        tables = tomllib.loads(file.read_text())
    except OSError as error:
        raise UsageError(f"--params {file}: {error.strerror}") from None
    except tomllib.TOMLDecodeError as error:
        raise UsageError(f"--params {file}: not valid TOML: {error}") from None
    for name, table in tables.items():
        if not isinstance(table, dict):
            raise UsageError(f"--params {file}: {name!r} must be a table of parameters: [{name}]")
    return tables


def _dataset_names(text: str) -> list[str]:
    from datasets_registry.registry import added, synthetic_suite

    suite = synthetic_suite()
    names = split_requests(text) or [name for name in added() if name not in suite]
    if not names:
        console.say("no datasets added: using the built-in SYNTHETIC suite (add your own with `janus-bench data add NAME FOLDER`)")
        names = suite
    known = {*added(), *plugins.datasets()}
    for name in names:
        if name not in known:
            raise unknown("dataset", name, known, f"Add one with: janus-bench data add {name} FOLDER")
    if len(set(names)) < len(names):
        raise UsageError("a dataset is named twice in --datasets: name each once")
    return names


def _seeds(text: str) -> tuple[int, ...]:
    try:
        seeds = tuple(int(part) for part in split_requests(text))
    except ValueError:
        raise UsageError(f"--seeds {text!r}: give whole numbers separated by commas, as in 42,43,44") from None
    if not seeds or min(seeds) < 0 or len(set(seeds)) < len(seeds):
        raise UsageError(f"--seeds {text!r}: give at least one seed, none negative, none twice")
    return seeds


def _seconds(text: str) -> float:
    match = re.fullmatch(r"(\d+(?:\.\d+)?)(s|m|h)?", text)
    if not match or float(match[1]) == 0:
        raise UsageError(f"--timeout {text!r}: give a time such as 90s, 30m or 2h")
    return float(match[1]) * {"s": 1, "m": 60, "h": 3600}[match[2] or "s"]


def _bytes(text: str) -> int | None:
    if not text:
        return None
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([KMG])(?:i?B)?", text, re.IGNORECASE)
    if not match or float(match[1]) == 0:
        raise UsageError(f"--max-memory {text!r}: give an amount such as 500M or 8G")
    return int(float(match[1]) * {"k": 2**10, "m": 2**20, "g": 2**30}[match[2].lower()])


def _device(asked: str) -> str:
    if asked == "cpu" or (asked == "auto" and not Path("/dev/nvidiactl").exists()):
        return "cpu"
    import torch

    if torch.cuda.is_available():
        return "cuda"
    if asked == "cuda":
        raise UsageError("--device cuda: torch finds no usable GPU on this machine; use --device auto or cpu")
    return "cpu"


def _print_dry_run(plan: Plan, datasets: Mapping[str, OpenDataset], output: str) -> None:
    rows = []
    for fit in plan.fits:
        run = fit.first
        parameters = ", ".join(f"{key}={value}" for key, value in run.params.items())
        rows.append((fit.label, run.regime, run.source or "–", ", ".join(other.target for other in fit.runs), str(run.seed), parameters))
    console.table(("detector", "regime", "source", "targets", "seed", "parameters"), rows, output)
    if output != "json":
        console.table(
            ("dataset", "seed", "split", "train", "val", "cal A", "cal B", "test benign", "test attack", "why"), _sizes(plan, datasets), output
        )
    console.say(f"{len(plan.fits)} fits, {len({cell.run_key for cell in plan.record.cells})} runs; nothing was run (--dry-run)")


def _sizes(plan: Plan, datasets: Mapping[str, OpenDataset]) -> Sequence[Sequence[str]]:
    """A line per dataset and draw of its partition."""
    from datasets_registry.registry import draw_of

    draws = dict.fromkeys(draw_of(run) for fit in plan.fits for run in fit.runs)
    rows = []
    for name, dataset in datasets.items():
        for draw in draws:
            partition = dataset.partition(draw)
            rows.append((name, str(draw.seed), partition.kind, *(str(len(flow_ids)) for flow_ids in partition.parts.values()), partition.reason))
    return list(dict.fromkeys(rows))
