"""What ``run`` is asked for → a plan and the datasets that it runs on.  The command and the function of that name both
come through here, so that they do the same."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from janus_bench import plugins
from janus_bench.errors import UsageError, unknown
from janus_bench.one_file import is_file
from janus_bench.params import parse_request, split_requests
from janus_bench.records import LARGEST_SEED
from janus_bench.stored import Unreadable, read_toml
from janus_bench.words import counted

if TYPE_CHECKING:
    from datasets_registry.registry import OpenDataset
    from harness.plan import DetectorChoice, Plan, Settings
    from harness.runner import Machine
    from janus_bench.extensions import ProtocolSpec
    from janus_bench.plugins import LoadedDetector
    from janus_bench.records import Recorded

REASONS = 10
"""Lines about failures at the end of a run."""
DEFAULT_JOBS = 4
IN_PROCESS = "in-process"
SAID = (
    "in-process: isolation is off: a fit sees this process, has no time and no memory limit, and a crash ends the run; "
    "use it to look for mistakes, not for results"
)

Say = Callable[[str], None]


@dataclass(frozen=True)
class RunRequest:
    """``detectors`` empty: the protocol's own, or all; ``datasets`` empty: those that were added; ``device``: one that
    is there."""

    protocol: str
    detectors: Sequence[str]
    datasets: Sequence[str]
    seeds: tuple[int, ...]
    profile: str
    split: str
    overlay: bool
    device: str
    params: Path | Mapping[str, Any] | None = None
    executor: str = "local"


@dataclass(frozen=True)
class CheckedRequest:
    """A request in which nothing is wrong that can be told before datasets are opened, which may take minutes."""

    protocol: ProtocolSpec
    choices: Sequence[DetectorChoice]
    datasets: Sequence[str]
    settings: Settings

    def plan(self, report: Callable[[str, float], None]) -> tuple[Plan, Mapping[str, OpenDataset]]:
        """The plan and its datasets; a split that is impossible is refused."""
        from datasets_registry.registry import describe, draw_of, load_datasets, shared_input
        from harness.plan import make_plan

        opened = load_datasets(self.datasets, report)
        choices = [replace(choice, shared_input=shared_input(opened)) for choice in self.choices]
        plan = make_plan(self.protocol, describe(opened), choices, self.settings)
        # refused now where a split is impossible, and not drawn again later; runs of a fit differ in their target alone
        for name, draw in {(name, draw_of(fit.first)): None for fit in plan.fits for name in fit.datasets}:
            opened[name].partition(draw)
        return plan, opened


def checked(request: RunRequest, say: Say) -> CheckedRequest:
    """UsageError, PluginError: what is wrong with it, in a line."""
    from harness.plan import Settings

    known = plugins.protocols()
    if request.protocol not in known:
        raise unknown("protocol", request.protocol, known)
    spec, seeds = known[request.protocol], request.seeds
    if not seeds or min(seeds) < 0 or max(seeds) > LARGEST_SEED or len(set(seeds)) < len(seeds):
        given = ",".join(map(str, seeds))
        raise UsageError(f"--seeds {given!r}: give at least one seed, from 0 to {LARGEST_SEED}, none twice")
    choices = _detectors(request.detectors or spec.detectors or ["all"], request.params, say)
    for choice in choices:
        for variant in spec.variants:
            for diagonal in (True, False):
                try:
                    params = choice.params(request.profile, diagonal=diagonal, overrides=variant.params)
                except UsageError as error:
                    sets = ", ".join(variant.params)
                    raise UsageError(f"{error} (protocol {spec.name} sets {sets})" if sets else str(error)) from None
                if request.executor.startswith("folder:"):
                    _check_can_be_handed_out(choice.loaded.declaring(params))
    settings = Settings(request.profile, spec.split or request.split, seeds, request.device, request.overlay)
    return CheckedRequest(spec, choices, _dataset_names(request.datasets, say), settings)


def machine_for(device: str, jobs: int | None, timeout: str, max_memory: str, executor: str) -> Machine:
    """By default as many fits at a time as there are cores, at most four, and one where they share a GPU."""
    from harness.environment import usable_cores
    from harness.executors import Spread
    from harness.executors.choice import chosen_executor
    from harness.runner import Machine

    limits = _seconds(timeout), _bytes(max_memory)
    cores, chosen = usable_cores(), chosen_executor(executor)
    here = jobs or (1 if device == "cuda" else min(DEFAULT_JOBS, cores))
    threads = max(1, cores // here)  # which scores may depend on, so they are the same wherever fits run
    if executor == IN_PROCESS:
        here = 1  # whatever was asked for: a process is in one fit at a time
    at_once = (jobs or chosen.fits_at_once(threads)) if isinstance(chosen, Spread) else here
    return Machine(at_once, threads, *limits, chosen)


def handed_out(fits: int, executor: str) -> str:
    """What to do about fits that somebody else does."""
    folder = executor.partition(":")[2]
    return (
        f"{counted(fits, 'fit')} handed out in {folder}: `janus-bench work {folder}` does what waits there; then run "
        "the same again"
    )


def failures(records: Sequence[Recorded], runs: Path, labels: Mapping[str, str]) -> list[str]:
    """A line for each status but ok and each reason, with the rows that it befell (``labels``: by run key) and the log
    of the first, the most frequent first; of more than ``REASONS`` the rest is counted."""
    failed: dict[tuple[str, str], list[Recorded]] = {}
    for record in records:
        if record.status != "ok":
            failed.setdefault((record.status, record.reason), []).append(record)
    lines = []
    for (status, reason), members in sorted(failed.items(), key=lambda item: -len(item[1])):
        names = ", ".join(dict.fromkeys(labels[record.key] for record in members))
        log = runs / "logs" / f"{members[0].fit_key}.log"
        lines.append(f"{len(members)} × {status} ({names}): {reason}" + (f" (log: {log})" if log.exists() else ""))
    if len(lines) > REASONS:
        lines[REASONS:] = [f"and {len(lines) - REASONS} other reasons: `janus-bench runs list --runs {runs}`"]
    return lines


def seeds_of(text: str) -> tuple[int, ...]:
    """UsageError unless they are whole numbers."""
    try:
        return tuple(int(part) for part in split_requests(text))
    except ValueError:
        raise UsageError(f"--seeds {text!r}: give whole numbers separated by commas, as in 42,43,44") from None


def _check_can_be_handed_out(loaded: LoadedDetector) -> None:
    from harness.executors.handed_out import why_not_handed_out

    if reason := why_not_handed_out(loaded.file or loaded.name, loaded.capabilities.hints != "none"):
        raise UsageError(f"detector {loaded.name!r}: {reason}")


def _detectors(requests: Sequence[str], given: Path | Mapping[str, Any] | None, say: Say) -> list[DetectorChoice]:
    from harness.plan import DetectorChoice

    tables = _parameter_tables(given)
    choices = []
    for request in _without_groups(requests, say):
        name, bracketed = parse_request(request)
        found = plugins.load_detector(name)
        # rows of a single file bear its name, without the folder that it happens to lie in
        called = found.name if found.file else name
        label = called + request.removeprefix(name)
        choices.append(DetectorChoice(label, found, {**tables.pop(called, {}), **bracketed}))
    if tables:
        where = given if isinstance(given, Path) else "params"
        raise UsageError(f"{where}: parameters for {', '.join(tables)}, not among the detectors asked for")
    return choices


def _without_groups(requests: Sequence[str], say: Say) -> Sequence[str]:
    """The requests with the detectors of a group in its place, each once, and where it is not asked for by itself."""
    names = [parse_request(request)[0] for request in requests]
    single = {*plugins.detector_entries(), *plugins.presets(), *(each.name for each in plugins.colliding_detectors())}
    others = [name for name in names if name not in single and ":" not in name and not is_file(name)]
    if not others:
        return requests
    groups = plugins.detector_groups()
    for name in others:
        if name not in groups:
            raise unknown("detector", name, {*single, *groups}, plugins.hint_of(name))
        if name not in requests:
            raise UsageError(f"{name!r} is a group of detectors and has no parameters: name the detector that has them")
    for broken in plugins.load_detectors()[1]:
        say(f"janus-bench: detector {broken.name} ({broken.origin}) is left out: {broken.error}")
    expanded: list[str] = []
    for request in requests:
        members = [name for name in groups.get(request, ()) if name not in (*names, *expanded)]
        expanded += members if request in groups else [request]
    return expanded


def _parameter_tables(file: Path | Mapping[str, Any] | None) -> dict[str, Mapping[str, Any]]:
    """Detector → its parameters, of a file or as Python gives them, whose types ``harness.api`` has looked at."""
    if not isinstance(file, Path):
        return dict(file or {})
    try:
        tables, _ = read_toml(file)
    except Unreadable as error:
        raise UsageError(f"--params {file}: {error}") from None
    for name, table in tables.items():
        if not isinstance(table, dict):
            raise UsageError(f"--params {file}: {name!r} must be a table of parameters: [{name}]")
    return tables


def _dataset_names(asked: Sequence[str], say: Say) -> list[str]:
    from datasets_registry.registry import added, synthetic_suite, unreadable

    suite = synthetic_suite()
    names = list(asked)
    if not names:
        damaged = unreadable()
        names = [name for name in added() if name not in (*suite, *damaged)]
        for name in damaged.keys() - plugins.datasets().keys():
            say(f"janus-bench: dataset {name} is left out: {damaged[name]}")
    if not names:
        say(
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
