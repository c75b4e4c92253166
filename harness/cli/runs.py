"""``janus-bench runs``: the rows of a results folder one by one, what a fit said, and why a run would be run again."""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterator, Mapping
from dataclasses import MISSING, asdict, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_args

import typer

from harness.cli import completing, console
from harness.cli.options import DEFAULT_RUNS, ListFormat, Runs, shown_bytes
from janus_bench import plugins
from janus_bench.errors import DataError, UsageError, unknown
from janus_bench.params import parse_request
from janus_bench.records import ExpectedCell, PlanRecord, Recorded, RunSpec, Status, canonical_json
from janus_bench.words import counted

if TYPE_CHECKING:
    from reports.results.model import Results, Run

RunKey = Annotated[
    str,
    typer.Argument(autocompletion=completing.run_key, help="Of a run or its fit, or how it begins: see `runs list`."),
]


def show_list(
    runs: Runs = DEFAULT_RUNS,
    status: Annotated[
        str, typer.Option(autocompletion=completing.status, help="Only those, such as error, timeout or missing.")
    ] = "",
    output: ListFormat = "table",
) -> None:
    """Every run that was asked for: its key, what it is, and how it ended."""
    from reports.results.model import MISSING, Results

    if status and status not in (known := (*get_args(Status), MISSING)):
        raise unknown("status", status, known)
    results = Results.open(runs, console.say)
    # plan by plan: what a later plan has in its place, as of another version of a detector, was asked for as well
    asked = {run.key: run for plan in results.plans for run in results.table([plan]).runs}
    chosen = [run for run in asked.values() if status in ("", run.status)]
    if chosen or output == "json":
        rows = (
            (run.key, run.label, run.regime, _cell(run), str(run.seed), run.status, "" if run.ok else run.reason)
            for run in chosen
        )
        console.table(("key", "detector", "regime", "cell", "seed", "status", "reason"), rows, output)
    else:
        console.say(f"no run in {runs} is {status}" if status else f"no run in {runs}")


def _cell(run: Run) -> str:
    """A control stands beside cells of every source and has none."""
    return f"{'–' if run.regime == 'control' else run.pair[0]} → {run.pair[1]}"


def log(key: RunKey, runs: Runs = DEFAULT_RUNS) -> None:
    """What a run's fit wrote: whatever the detector printed, warnings, the traceback of a failure."""
    from reports.results.folder import RunStore

    store = RunStore.open(runs)
    record = _record(key, runs, store.records())
    console.say(f"{record.key}: {record.status}{f': {record.reason}' if record.reason else ''}")
    text = store.log(record.fit_key)
    console.out(text) if text else console.say("it wrote nothing")


def why(
    key: RunKey,
    runs: Runs = DEFAULT_RUNS,
    detector: Annotated[str, typer.Option(help="Where the detector is, if a file of your own: ./mine.py.")] = "",
    output: ListFormat = "table",
) -> None:
    """What differs between a stored run's declaration and what the same request would run now."""
    from harness.environment import is_other_code
    from reports.results.model import Results

    results = Results.open(runs, console.say)
    record = _record(key, runs, results.records)
    spec, loaded = _now(record, results, detector)
    # what has its default is not in a stored declaration, so that a field that is new makes no run old
    defaults = {field.name: field.default for field in fields(RunSpec) if field.default is not MISSING}
    stored, now = (_flat(json.loads(canonical_json(each))) for each in ({**defaults, **record.spec}, asdict(spec)))
    changed = [name for name in dict.fromkeys((*stored, *now)) if stored.get(name, "–") != now.get(name, "–")]
    if changed or output == "json":
        rows = [(name, stored.get(name, "–"), now.get(name, "–")) for name in changed]
        console.table(("declared", "stored", "now"), rows, output)
    if changed:
        console.say(f"{record.key} would be {spec.key} now: it is run anew, and what is stored stays")
    else:
        again = "is reused" if record.status == "ok" else f"ended with {record.status} and is run again"
        console.say(f"{record.key}: nothing differs; asked for again, it {again}")
        if is_other_code(loaded.factory.__module__, record.environment):
            console.say(
                f"the code of {loaded.name} has changed since, though its version has not: raise `version` in its "
                "Capabilities, and it is run anew"
            )


def verify(
    runs: Runs = DEFAULT_RUNS,
    set_aside: Annotated[
        bool,
        typer.Option("--set-aside", help="Move what is damaged to the folder `damaged`: the next run makes it anew."),
    ] = False,
) -> None:
    """Read every row, plan, score, truth, timeline and model as a whole, and name what is damaged.

    Exit code: 0 all whole, 3 something is damaged.
    """
    from harness.cli.progress import PreparationProgress
    from reports.results.verify import damage_of, put_aside

    with PreparationProgress() as progress:
        found = list(damage_of(runs, progress))
    for damage in found:
        console.out(damage.what)
        if set_aside:
            put_aside(runs, damage)
    if not found:
        console.say(f"{runs}: everything is whole")
        return
    done = "set aside: run again" if set_aside else "damaged: --set-aside moves it away, to be run again"
    console.say(f"{counted(len(found), 'file')} in {runs} {'is' if len(found) == 1 else 'are'} {done}")
    raise typer.Exit(DataError.exit_code)


def gc(
    runs: Runs = DEFAULT_RUNS,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be removed, and remove nothing.")] = False,
) -> None:
    """Remove what no plan of a results folder asks for any more, and what killed runs left behind.

    Also what was set aside as damaged; a killed run leaves its stage in the temporary folder.
    A plan is a file in `plans`: delete it, and what it alone asked for goes.  What and how much is said first.
    """
    from harness.staging import stale_stages
    from reports.results.garbage import Garbage, garbage_of, remove

    found = garbage_of(runs)
    if stages := stale_stages():
        found.append(Garbage("stages of killed runs", stages))
    if not found:
        console.say(f"{runs}: every file is needed")
        return
    rows = [(each.what, str(len(each.paths)), shown_bytes(each.size)) for each in found]
    console.table(("what no plan needs", "number", "size"), rows, "table")
    if dry_run:
        console.say("nothing was removed (--dry-run)")
        return
    remove(found)
    console.say(f"removed from {runs}: {sum(len(each.paths) for each in found)} files and folders")


def _record(asked: str, folder: Path, records: Mapping[str, Recorded]) -> Recorded:
    """The run whose key, or whose fit's key, begins like that; UsageError unless it is one run or one fit."""
    named = [record for record in records.values() if record.key.startswith(asked)]
    named = named or [record for record in records.values() if record.fit_key.startswith(asked)]
    if len({record.fit_key for record in named}) == 1:
        return named[0]
    if named:
        listed = ", ".join(record.key for record in named[:5])
        raise UsageError(
            f"{asked!r} begins {counted(len(named), 'run')} in {folder} ({listed}, …): give more of the key"
        )
    near = difflib.get_close_matches(asked, records, n=1, cutoff=0.3)
    suggestion = f" Did you mean {near[0]}?" if near else ""
    raise UsageError(f"no run {asked!r} in {folder}.{suggestion} See: janus-bench runs list --runs {folder}")


def _now(record: Recorded, results: Results, file: str) -> tuple[RunSpec, plugins.LoadedDetector]:
    """What the plan that asked for it would make of its cell with what is installed and added now, and by what."""
    from harness.plan import DetectorChoice, Settings, make_plan

    plan, cell = _asked_for(record.key, results)
    row = plan.detectors[cell.label]
    if (protocol := plugins.protocols().get(plan.protocol)) is None:
        raise unknown("protocol", plan.protocol, plugins.protocols())
    name = parse_request(row.detector)[0]
    if not file and ", file " in str(record.spec["version"]):
        raise UsageError(f"{name} came from a file of its own: say where it is with --detector ./{name}.py")
    choice = DetectorChoice(row.detector, plugins.load_detector(file or name), row.params)
    settings = Settings(plan.profile, plan.split, (cell.seed,), str(record.spec["device"]))
    remade = make_plan(protocol, dict(_datasets(plan)), [choice], settings)
    keys = {each.run_key for each in remade.record.cells if replace(each, run_key=cell.run_key) == cell}
    for spec in (run for fit in remade.fits for run in fit.runs if run.key in keys):
        return spec, choice.loaded
    raise DataError(f"protocol {plan.protocol} does not ask for this run any more: {cell.label}, seed {cell.seed}")


def _asked_for(key: str, results: Results) -> tuple[PlanRecord, ExpectedCell]:
    """The latest plan with this run, and one of its cells."""
    for plan in reversed(results.plans):
        for cell in plan.cells:
            if cell.run_key == key:
                return plan, cell
    raise DataError(f"no plan in {results.folder} asks for run {key}: what it was part of is not known")


def _datasets(plan: PlanRecord) -> Iterator[tuple[str, dict[str, Any]]]:
    """The plan's datasets with the hashes that they have now; one that is not there keeps the stored one."""
    from datasets_registry.registry import dataset_folder
    from datasets_registry.store import FlowStore

    for name, entry in plan.datasets.items():
        stored = asdict(entry)
        try:
            yield name, stored | {"hash": FlowStore.open(dataset_folder(name)).hash}
        except (DataError, OSError):
            console.say(f"note: dataset {name} is not here, or damaged; what is stored of it is taken for what it is")
            yield name, stored


def _flat(spec: Mapping[str, Any]) -> dict[str, str]:
    """Field → value as text; of a parameter, ``params.NAME``."""
    parts = {f"params.{name}": value for name, value in spec["params"].items()}
    return {name: str(value) for name, value in {**spec, **parts}.items() if name != "params"}
