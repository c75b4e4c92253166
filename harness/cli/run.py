"""``janus-bench run``: read the request, plan, run, print the leaderboard."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from harness.cli import console
from harness.cli.options import DEFAULT_RUNS, Device, Runs, chosen_device
from janus_bench import plugins
from janus_bench.errors import UsageError, unknown
from janus_bench.files import why
from janus_bench.params import parse_request, split_requests

if TYPE_CHECKING:
    from datasets_registry.registry import OpenDataset
    from harness.plan import DetectorChoice, Plan
    from harness.runner import Result
    from janus_bench.records import RunRecord

DEFAULT_JOBS = 4


def run(
    protocol: Annotated[
        str, typer.Option(envvar="JANUS_BENCH_PROTOCOL", help="See `janus-bench protocol list`.")
    ] = "cross",
    detectors: Annotated[
        str,
        typer.Option(
            envvar="JANUS_BENCH_DETECTORS",
            help=(
                "Comma-separated; name or name[parameter=value,…]; a file of your own, ./mine.py; `all` for every one "
                "installed.  Default: the protocol's own, or all."
            ),
        ),
    ] = "",
    datasets: Annotated[
        str,
        typer.Option(
            envvar="JANUS_BENCH_DATASETS",
            help="Comma-separated; default: all added, or the synthetic suite if there are none.",
        ),
    ] = "",
    seeds: Annotated[str, typer.Option(envvar="JANUS_BENCH_SEEDS", help="Comma-separated whole numbers.")] = "42,43,44",
    profile: Annotated[
        Literal["quick", "paper"],
        typer.Option(envvar="JANUS_BENCH_PROFILE", help="quick: capped parts, small models; paper: full size."),
    ] = "quick",
    split: Annotated[
        Literal["grouped", "random"],
        typer.Option(envvar="JANUS_BENCH_SPLIT", help="random only to compare with the literature: it rewards memory."),
    ] = "grouped",
    overlay: Annotated[
        bool,
        typer.Option(
            "--overlay",
            help="Lay the test captures of each site over each other in time, at drawn moments: another table.",
        ),
    ] = False,
    runs: Runs = DEFAULT_RUNS,
    jobs: Annotated[
        int | None,
        typer.Option(envvar="JANUS_BENCH_JOBS", min=1, help="Fits at a time; default: one per core, at most 4."),
    ] = None,
    timeout: Annotated[
        str,
        typer.Option(
            envvar="JANUS_BENCH_TIMEOUT", help="Longest time for one fit with its scoring, with unit: 90s, 2h."
        ),
    ] = "2h",
    max_memory: Annotated[
        str,
        typer.Option(envvar="JANUS_BENCH_MAX_MEMORY", help="Most resident memory for one fit, with unit: 500M, 8G."),
    ] = "",
    device: Device = "auto",
    params: Annotated[
        Path | None,
        typer.Option(
            envvar="JANUS_BENCH_PARAMS",
            help="TOML file with a table of parameters per detector; brackets on the command line win.",
        ),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print what would run, and the size of every part, and stop.")
    ] = False,
    output: Annotated[
        str, typer.Option("--format", help="How to print the leaderboard: see `janus-bench renderer list`.")
    ] = "table",
) -> None:
    """Fit every detector on every source, score every target, and print the leaderboard.

    Runs that are already there with status ok are not run again.

    Exit code: 0 all ok, 1 some runs failed, 2 usage, 3 data, 4 plugin, 130 interrupted.
    """
    from datasets_registry.registry import describe, draw_of, load_datasets
    from harness.cli.estimate import estimate
    from harness.cli.leaderboard import find_renderer, show
    from harness.cli.progress import PreparationProgress, RunProgress
    from harness.executors.local import LocalExecutor
    from harness.plan import Settings, make_plan
    from harness.runner import Machine, final_runs, run_plan
    from reports.results.folder import RunStore, WriteFailed
    from reports.results.model import Results

    # Everything that can be refused is refused before anything runs.
    renderer = find_renderer(output)
    known = plugins.protocols()
    if protocol not in known:
        raise unknown("protocol", protocol, known)
    spec = known[protocol]
    numbers, timeout_s, most_bytes = _seeds(seeds), _seconds(timeout), _bytes(max_memory)
    choices = _detectors(detectors or ",".join(spec.detectors) or "all", params)
    for choice in choices:
        for variant in spec.variants:
            for diagonal in (True, False):
                choice.params(profile, diagonal=diagonal, overrides=variant.params)
    settings = Settings(profile, spec.split or split, numbers, chosen_device(device), overlay)
    names = _dataset_names(datasets)
    store = None if dry_run else RunStore.create(runs)
    with PreparationProgress() as progress:
        opened = load_datasets(names, progress)
    plan = make_plan(spec, describe(opened), choices, settings)
    # refused now where a split is impossible, and not drawn again later
    for each in (each for fit in plan.fits for each in fit.runs):
        for name in {each.source or each.target, each.target}:
            opened[name].partition(draw_of(each))
    for line in _overlaid(plan, opened):
        console.say(line)
    if store is None:
        from harness.cli.dry_run import print_dry_run

        print_dry_run(plan, opened, output)
        return

    missing = {cell.run_key for cell in plan.record.cells} - final_runs(plan.fits, opened, store.records())
    cores = len(os.sched_getaffinity(0))
    jobs = jobs or (1 if settings.device == "cuda" else min(DEFAULT_JOBS, cores))
    machine = Machine(jobs, max(1, cores // jobs), timeout_s, most_bytes, LocalExecutor())
    fits = plan.only(missing)
    for line in estimate(fits, store.records().values(), jobs, runs):
        console.say(line)
    with RunProgress(len(fits)) as watch:
        try:
            result = run_plan(plan, opened, store, machine, watch)
        except WriteFailed as error:
            raise WriteFailed(f"{error}: {console.retry_command()}") from None
    if not result.records:
        console.say(f"nothing to do: all {result.reused} runs are already in {runs}")
    results = Results(store, console.say)
    console.out(show(results.table([plan.record]), renderer), as_json=output == "json")
    keys = {cell.run_key for cell in plan.record.cells} & set(results.records)
    raise typer.Exit(_conclude(result, [results.records[key] for key in keys], runs, console.retry_command()))


def _overlaid(plan: Plan, datasets: Mapping[str, OpenDataset]) -> list[str]:
    """How much of each test an overlay reaches."""
    from datasets_registry.registry import draw_of

    runs = [run for fit in plan.fits for run in fit.runs]
    if plan.record.overlay and not any(run.overlay for run in runs):
        return ["--overlay changes nothing: no detector that was asked for reads context or the packet stream"]
    tests = dict.fromkeys((run.target, draw_of(run)) for run in runs if run.overlay)
    return [
        f"--overlay changes the context of {datasets[name].context_changed(draw):.1%} of the test flows of {name} "
        f"(seed {draw.seed})"
        for name, draw in tests
    ]


def _conclude(result: Result, records: Sequence[RunRecord], runs: Path, retry: str) -> int:
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
        console.say(f"{len(members)} × {status}: {members[0].reason} (log: {runs / 'logs' / members[0].fit_key}.log)")
    if any(record.status != "skipped" for record in failed):
        console.say(f"run only what is missing with: {retry}")
    return 1 if failed else 0


def _detectors(text: str, file: Path | None) -> list[DetectorChoice]:
    from harness.plan import DetectorChoice

    tables = _parameter_tables(file)
    requests = split_requests(text)
    if requests == ["all"]:
        loaded, left_out = plugins.load_detectors()
        for broken in left_out:
            console.say(f"janus-bench: detector {broken.name} ({broken.origin}) is left out: {broken.error}")
        requests = [detector.name for detector in loaded]
    if not requests:
        raise UsageError("--detectors is empty: name at least one, see `janus-bench detector list`")
    choices = []
    for request in requests:
        name, given = parse_request(request)
        found = plugins.load_detector(name)
        # rows of a single file bear its name, without the folder that it happens to lie in
        called = found.name if found.file else name
        label = called + request.removeprefix(name)
        choices.append(DetectorChoice(label, found, {**tables.pop(called, {}), **given}))
    if tables:
        raise UsageError(f"{file}: parameters for {', '.join(tables)}, not among the detectors asked for")
    return choices


def _parameter_tables(file: Path | None) -> dict[str, Mapping[str, Any]]:
    if file is None:
        return {}
    import tomllib

    try:
        tables = tomllib.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(f"--params {file}: {why(error)}") from None
    except (ValueError, RecursionError) as error:  # also of bytes that are no UTF-8
        raise UsageError(f"--params {file}: not valid TOML: {error}") from None
    for name, table in tables.items():
        if not isinstance(table, dict):
            raise UsageError(f"--params {file}: {name!r} must be a table of parameters: [{name}]")
    return tables


def _dataset_names(text: str) -> list[str]:
    from datasets_registry.registry import added, synthetic_suite, unreadable

    suite = synthetic_suite()
    names = split_requests(text)
    if not names:
        damaged = unreadable()
        names = [name for name in added() if name not in (*suite, *damaged)]
        for name in damaged.keys() - plugins.datasets().keys():
            console.say(f"janus-bench: dataset {name} is left out: {damaged[name]}")
    if not names:
        console.say(
            "no datasets added: using the built-in SYNTHETIC suite (add your own with `janus-bench data add "
            "NAME FOLDER`)"
        )
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
    return _amount("--timeout", text, {"s": 1, "m": 60, "h": 3600}, "90s, 30m or 2h")


def _bytes(text: str) -> int | None:
    if not text:
        return None
    return int(_amount("--max-memory", text, {"k": 2**10, "m": 2**20, "g": 2**30}, "500M or 8G", "(?:i?B)?"))


def _amount(option: str, text: str, units: Mapping[str, int], examples: str, ending: str = "") -> float:
    """A number with one of the units behind it; without one nobody knows whether 8 is 8 s, 8 min, 8 MB or 8 GB."""
    match = re.fullmatch(rf"([0-9]+(?:\.[0-9]+)?)({'|'.join(units)}){ending}", text.strip(), re.IGNORECASE)
    if not match or not 0 < float(match[1]) < 2**40:
        raise UsageError(
            f"{option} {text!r}: give a number above 0 with its unit ({', '.join(units)}), such as {examples}"
        )
    return float(match[1]) * units[match[2].lower()]
