"""``janus-bench run``: read the request, plan, run, print the leaderboard."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from harness.cli import completing, console
from harness.cli.options import DEFAULT_RUNS, Device, Runs, chosen_device
from harness.request import IN_PROCESS, SAID, RunRequest, checked, failures, handed_out, machine_for, seeds_of
from janus_bench.errors import UsageError
from janus_bench.params import split_requests
from janus_bench.words import counted

if TYPE_CHECKING:
    from datasets_registry.registry import OpenDataset
    from harness.plan import Plan
    from harness.runner import Result
    from janus_bench.records import Recorded


def run(
    protocol: Annotated[
        str,
        typer.Option(
            envvar="JANUS_BENCH_PROTOCOL", autocompletion=completing.protocol, help="See `janus-bench protocol list`."
        ),
    ] = "cross",
    detectors: Annotated[
        str | None,
        typer.Option(
            envvar="JANUS_BENCH_DETECTORS",
            autocompletion=completing.detectors,
            help=(
                "Comma-separated; name or name[parameter=value,…]; a file of your own, ./mine.py; one of a family, "
                "exec:./program.toml, pyod:ECOD or sklearn:module.Class; a group of `janus-bench detector list`, such "
                "as classical; `all` for every one installed.  Default: the protocol's own, or all."
            ),
        ),
    ] = None,
    datasets: Annotated[
        str | None,
        typer.Option(
            envvar="JANUS_BENCH_DATASETS",
            autocompletion=completing.datasets,
            help="Comma-separated; default: all added, or the synthetic suite if there are none.",
        ),
    ] = None,
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
    max_failures: Annotated[
        int | None,
        typer.Option(envvar="JANUS_BENCH_MAX_FAILURES", min=1, help="Leave the rest when so many runs have failed."),
    ] = None,
    executor: Annotated[
        str,
        typer.Option(
            envvar="JANUS_BENCH_EXECUTOR",
            autocompletion=completing.executor,
            help=(
                "local; in-process; folder:DIR hands fits out there, for `janus-bench work DIR`, and collects them; "
                "ray or ray:ADDRESS: on a Ray cluster; slurm:DIR: as jobs of Slurm, by a folder that all nodes share."
            ),
        ),
    ] = "local",
    in_process: Annotated[
        bool,
        typer.Option("--in-process", help="The same as --executor in-process: breakpoints work, isolation is off."),
    ] = False,
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
        str,
        typer.Option(
            "--format",
            autocompletion=completing.renderer,
            help="How to print the leaderboard: see `janus-bench renderer list`.",
        ),
    ] = "table",
) -> None:
    """Fit every detector on every source, score every target, and print the leaderboard.

    Runs that are already there with status ok are not run again.

    Exit code: 0 all ok, 1 some runs failed, 2 usage, 3 data, 4 plugin, 130 interrupted.
    """
    from harness.cli.estimate import estimate
    from harness.cli.leaderboard import find_renderer, show
    from harness.cli.progress import PreparationProgress, RunProgress
    from harness.runner import final_runs, run_plan
    from reports.results.folder import RunStore, WriteFailed
    from reports.results.model import Results

    # Everything that can be refused is refused before anything runs.
    renderer = find_renderer(output)
    for option, given, listed in (("--detectors", detectors, "detector"), ("--datasets", datasets, "data")):
        if given is not None and not split_requests(given):  # as of a variable that is not set, which does not mean all
            raise UsageError(f"{option} is empty: name at least one, see `janus-bench {listed} list`, or leave it out")
    request = RunRequest(
        protocol=protocol,
        detectors=split_requests(detectors or ""),
        datasets=split_requests(datasets or ""),
        seeds=seeds_of(seeds),
        profile=profile,
        split=split,
        overlay=overlay,
        device=chosen_device(device, executor),
        params=params,
        executor=executor,
    )
    if in_process:
        if executor not in ("local", IN_PROCESS):
            raise UsageError(f"--in-process and --executor {executor} are two places: leave one of them out")
        executor = IN_PROCESS
    machine = replace(machine_for(request.device, jobs, timeout, max_memory, executor), max_failures=max_failures)
    ready = checked(request, console.say)
    store = None if dry_run else RunStore.create(runs)
    with PreparationProgress() as progress:
        plan, opened = ready.plan(progress)
    if executor == IN_PROCESS:
        console.say(SAID)
    for line in (*_too_small(plan, opened), *_overlaid(plan, opened)):
        console.say(line)
    if store is None:
        from harness.cli.dry_run import print_dry_run

        print_dry_run(plan, opened, output)
        return

    fits = plan.only({cell.run_key for cell in plan.record.cells} - final_runs(plan.fits, opened, store.records()))
    for line in _changed(plan, store.records()):
        console.say(line)
    for line in estimate(fits, store.records().values(), machine.jobs, runs):
        console.say(line)
    with RunProgress(len(fits)) as watch:
        try:
            result = run_plan(plan, opened, store, machine, watch)
        except WriteFailed as error:
            raise WriteFailed(f"{error}: {console.retry_command()}") from None
    if result.handed_out:
        console.say(handed_out(result.handed_out, executor))
    elif not result.records:
        console.say(f"nothing to do: all {result.reused} runs are already in {runs}")
    results = Results(store, console.say)
    console.out(show(results.table([plan.record]), renderer), as_json=output == "json")
    keys = {cell.run_key for cell in plan.record.cells} & set(results.records)
    labels = {cell.run_key: cell.label for cell in plan.record.cells}
    raise typer.Exit(_conclude(result, [results.records[key] for key in keys], runs, labels, console.retry_command()))


def _too_small(plan: Plan, datasets: Mapping[str, OpenDataset]) -> list[str]:
    """Datasets of which a part is too small for its numbers, under the first seed."""
    from datasets_registry.registry import draw_of
    from protocols.splits import small_parts

    first = {run.target: draw_of(run) for fit in reversed(plan.fits) for run in fit.runs}
    said = {name: small_parts(datasets[name].partition(draw).parts) for name, draw in first.items()}
    return [f"{name}: {text}" for name in datasets for text in said.get(name, {}).values()]


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


def _changed(plan: Plan, records: Mapping[str, Recorded]) -> list[str]:
    """Detectors whose package was edited since it made runs that are reused."""
    from harness.environment import is_other_code

    runs = [(fit.loaded, records[run.key]) for fit in plan.fits for run in fit.runs if run.key in records]
    changed = Counter(
        (loaded.name, str(record.spec["version"]))
        for loaded, record in runs
        if record.status == "ok" and is_other_code(loaded.factory.__module__, record.environment)
    )
    return [
        f"{name}: its code has changed since it made {counted(number, 'run')} that are there; they are reused, for its "
        f"version is still {version}: raise `version` in its Capabilities, and they are run anew"
        for (name, version), number in changed.items()
    ]


def _conclude(result: Result, records: Sequence[Recorded], runs: Path, labels: Mapping[str, str], retry: str) -> int:
    """Say how every run of the plan stands, what to do about those that failed, and give the exit code."""
    failed = [record for record in records if record.status != "ok"]
    if result.records:
        ok = sum(record.status == "ok" for record in result.records)
        console.say(f"{counted(ok, 'run')} ok, {len(result.records) - ok} not, {result.reused} reused")
    if result.interrupted:
        console.say(f"interrupted; what was finished is kept. Go on with: {retry}")
        return 130
    for line in failures(failed, runs, labels):
        console.say(line)
    if result.gave_up:
        console.say("so many failed that the rest was left (--max-failures)")
    if any(record.status != "skipped" for record in failed):
        left = " or was left" if result.gave_up else ""
        console.say(f"run only what failed{left} again with: {retry}")
    if any(record.status == "timeout" for record in failed):
        console.say("what took too long takes as long again: give it a longer --timeout")
    return 1 if failed else 0
