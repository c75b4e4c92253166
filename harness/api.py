"""The commands as functions, for a notebook or a script: ``from janus_bench import run, open_results``.

Each does what the command of its name does, takes the same words, prints the same lines on standard error, and raises
the error that the command would print (``UsageError``, ``DataError``, ``PluginError``).
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_type_hints

from harness.jobs import short
from janus_bench.errors import DataError, UsageError, unknown
from janus_bench.params import split_requests
from janus_bench.stored import mismatch

if TYPE_CHECKING:
    import polars as pl

    from janus_bench.models import SavedModel
    from reports.notebook import OpenResults

Names = str | Sequence[str]
"""``"a,b[x=1]"`` as on the command line, or ``["a", "b[x=1]"]``."""


def _whole(seeds: Iterable[int]) -> tuple[int, ...]:
    if isinstance(seeds, Iterable):
        found = tuple(seeds)
        if all(isinstance(seed, int) for seed in found):
            return found
    raise _refused("seeds", seeds, "whole numbers in a sequence, as in seeds=[42, 43]")


def run(
    detectors: Names = (),
    *,
    datasets: Names = (),
    protocol: str = "cross",
    seeds: Iterable[int] = (42, 43, 44),
    profile: Literal["quick", "paper"] = "quick",
    split: Literal["grouped", "random"] = "grouped",
    overlay: bool = False,
    runs: str | Path = "runs",
    jobs: int | None = None,
    timeout: str = "2h",
    max_memory: str = "",
    device: Literal["auto", "cpu", "cuda"] = "auto",
    params: str | Path | Mapping[str, Mapping[str, Any]] | None = None,
    executor: str = "local",
) -> OpenResults:
    """Fit every detector on every source and score every target; what is there already is not run again.

    ``params``: detector → its parameters, or a TOML file with a table of each.

    The result is all of the table that was run, as ``open_results(runs)`` reads it: detectors that were asked for in
    an earlier call are rows of it, too.  A run that failed is one, with a line that says where its log is.  An
    interrupt keeps what was finished and is raised again.
    """
    import harness.cli.run as command
    from harness.cli import console
    from harness.cli.options import chosen_device
    from harness.cli.progress import PreparationProgress
    from harness.request import IN_PROCESS, SAID, RunRequest, checked, failures, handed_out, machine_for
    from harness.runner import final_runs, run_plan
    from reports.notebook import open_results
    from reports.results.folder import RunStore

    _as_the_command_takes(
        command.run,
        protocol=protocol,
        profile=profile,
        split=split,
        overlay=overlay,
        jobs=jobs,
        timeout=timeout,
        max_memory=max_memory,
        device=device,
        executor=executor,
    )
    request = RunRequest(
        protocol=protocol,
        detectors=_names("detectors", detectors, '"knn,./mine.py" or ["knn", "./mine.py:MyClass"]'),
        datasets=_names("datasets", datasets, '"office,plant" or ["office", "plant"]'),
        seeds=_whole(seeds),
        profile=profile,
        split=split,
        overlay=overlay,
        device=chosen_device(device, executor),
        params=_params(params),
        executor=executor,
    )
    folder = _path("runs", runs)
    machine = machine_for(request.device, jobs, timeout, max_memory, executor)
    ready = checked(request, console.say)
    store = RunStore.create(folder)
    with PreparationProgress() as progress:
        plan, opened = ready.plan(progress)
    if executor == IN_PROCESS:
        console.say(SAID)
    wanted = {cell.run_key for cell in plan.record.cells}
    fits = plan.only(wanted - final_runs(plan.fits, opened, store.records()))
    with _watching(len(fits)) as watch:
        result = run_plan(plan, opened, store, machine, watch)
    if result.interrupted:
        raise KeyboardInterrupt
    if result.handed_out:
        console.say(handed_out(result.handed_out, executor))
    labels = {cell.run_key: cell.label for cell in plan.record.cells}
    for line in failures(list(store.records_of(wanted).values()), folder, labels):
        console.say(line)
    return open_results(folder)


def fit(detector: str, captures: Names | Path, output: str | Path, **options: Any) -> SavedModel:
    """Fit a detector on captures of a network, without labels; ``options`` are those of ``janus-bench fit``
    (``profile``, ``seed``, ``device``, ``idle_timeout``, …).  The model, whose folder is ``output``."""
    from harness.cli import operate
    from janus_bench.models import open_model

    _as_the_command_takes(operate.fit, detector=detector, **options)
    folder = _path("output", output)
    operate.fit(detector, _paths(captures), folder, **options)
    return open_model(folder)


def score(
    model: str | Path | SavedModel, captures: Names | Path, *, threshold: str = "p99", everything: bool = False
) -> pl.DataFrame:
    """The alerts of captures, or all their flows with ``everything``, a line each, as ``janus-bench score`` prints
    them."""
    import typer

    from harness.cli import score as command
    from janus_bench.models import SavedModel

    _as_the_command_takes(command.score, threshold=threshold, everything=everything)
    folder = model.folder if isinstance(model, SavedModel) else _path("model", model)
    with tempfile.TemporaryDirectory(prefix="janus-bench-scores-") as place:
        file = Path(place) / "flows.jsonl"
        try:
            command.score(folder, _paths(captures), threshold, "jsonl", file, everything)
        except typer.Exit as end:
            if end.exit_code == DataError.exit_code:
                raise DataError("some captures could not be read; see above") from None
            raise KeyboardInterrupt from None
        return _flows(file)


def datasets() -> pl.DataFrame:
    """Datasets that are there, and those that a plugin can make: dataset, kind, flows, benign, attack, families,
    bytes on the disk, licence, summary."""
    import polars as pl

    from datasets_registry.registry import overview

    numbers = ("flows", "benign", "attack", "families", "bytes")
    texts = ("licence", "summary")
    schema = {
        "dataset": pl.String,
        "kind": pl.String,
        **dict.fromkeys(numbers, pl.Int64),
        **dict.fromkeys(texts, pl.String),
    }
    return pl.DataFrame(overview(), schema, orient="row")


def _as_the_command_takes(command: Callable[..., None], **given: object) -> None:
    """UsageError for a value that the option of that name does not take, with what the option is for."""
    options = get_type_hints(command, include_extras=True)
    del options["return"]
    for name, value in given.items():
        if name not in options:
            raise unknown("option", name, options)
        kind, option = options[name].__origin__, options[name].__metadata__[0]
        wrong = mismatch(value, kind, name)
        least = getattr(option, "min", None)
        if not wrong and least is not None and value is not None and value < least:  # type: ignore[operator]
            wrong = f"{name} is {value}, expected at least {least}"
        if wrong:
            raise UsageError(f"{wrong} ({option.help.rstrip('.')})")


def _refused(name: str, given: object, wanted: str) -> UsageError:
    """To be raised by the caller; in one line, whatever was given (a frame has many)."""
    return UsageError(f"{name}={short(repr(given))}: give {wanted}")


def _names(name: str, given: Names, example: str) -> Sequence[str]:
    if isinstance(given, str):
        if given and not split_requests(given):
            raise UsageError(f"{given!r} names nothing: leave it out, or name at least one")
        return split_requests(given)
    names = list(given) if isinstance(given, Iterable) else [given]
    if not all(isinstance(each, str) for each in names):
        raise _refused(name, given, f"text as on the command line, or a sequence of texts, as in {example}")
    return names


def _params(given: object) -> Path | Mapping[str, Any] | None:
    if not isinstance(given, Mapping):
        return None if given is None else _path("params", given)
    if not all(isinstance(each, Mapping) for each in given.values()):
        raise _refused("params", given, "a mapping for each detector, as in params={'knn': {'k': 3}}")
    return given


def _path(name: str, given: object) -> Path:
    if not isinstance(given, str | Path):
        raise _refused(name, given, "a path, as text or pathlib.Path")
    return Path(given)


def _paths(captures: Names | Path) -> list[Path]:
    several = captures if isinstance(captures, Iterable) and not isinstance(captures, str) else [captures]
    return [_path("captures", capture) for capture in several]


def _flows(file: Path) -> pl.DataFrame:
    """A table of what ``score --format jsonl`` wrote; bytes and packets of both ways are columns of their own."""
    import polars as pl

    from harness.operate.alerts import EPOCH, FlowRecord
    from harness.operate.formats import FORMATS

    # a made-up flow, so that a table without any has the same columns
    one = FlowRecord(
        True, 0.0, 0.0, 0.0, EPOCH, EPOCH, "", 0, "", 0, 0, (0, 0), (0, 0), (0, 0), "", ("",), detector="", capture=""
    )
    lines = []
    for text in [FORMATS["jsonl"].line(one), *file.read_text(encoding="utf-8").splitlines()]:
        line = json.loads(text)
        for both in ("packets", "bytes"):
            line |= {f"{both}_{way}": number for way, number in line.pop(both).items()}
        lines.append(line)
    table = pl.DataFrame(lines, infer_schema_length=None).slice(1)
    return table.with_columns(pl.col("first", "last").str.to_datetime("%Y-%m-%dT%H:%M:%S%.fZ", time_zone="UTC"))


def _watching(fits: int) -> AbstractContextManager[Any]:
    """A bar below the cell in a notebook, and what a command shows anywhere else."""
    from harness.cli.progress import NotebookProgress, RunProgress, in_notebook

    return NotebookProgress(fits) if in_notebook() else RunProgress(fits)
