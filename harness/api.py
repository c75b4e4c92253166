"""The commands as functions, for a notebook or a script: ``from janus_bench import run, open_results``.

Each does what the command of its name does, takes the same words, prints the same lines on standard error, and raises
the error that the command would print (``UsageError``, ``DataError``, ``PluginError``).
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from janus_bench.errors import DataError, UsageError
from janus_bench.params import split_requests

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
    raise UsageError(f"seeds={seeds!r}: give whole numbers in a sequence, as in seeds=[42, 43]")


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
    params: str | Path | None = None,
    executor: str = "local",
) -> OpenResults:
    """Fit every detector on every source and score every target; what is there already is not run again.

    A run that failed is a row of the result, with a line that says where its log is.  An interrupt keeps what was
    finished and is raised again.
    """
    from harness.cli import console
    from harness.cli.options import chosen_device
    from harness.cli.progress import PreparationProgress
    from harness.request import IN_PROCESS, SAID, RunRequest, checked, failures, handed_out, machine_for
    from harness.runner import final_runs, run_plan
    from reports.notebook import open_results
    from reports.results.folder import RunStore

    request = RunRequest(
        protocol=protocol,
        detectors=_names(detectors),
        datasets=_names(datasets),
        seeds=_whole(seeds),
        profile=profile,
        split=split,
        overlay=overlay,
        device=chosen_device(device, executor),
        params=None if params is None else Path(params),
        executor=executor,
    )
    machine = machine_for(request.device, jobs, timeout, max_memory, executor)
    ready = checked(request, console.say)
    store = RunStore.create(Path(runs))
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
    for line in failures(list(store.records_of(wanted).values()), Path(runs)):
        console.say(line)
    return open_results(runs)


def fit(detector: str, captures: Names | Path, output: str | Path, **options: Any) -> SavedModel:
    """Fit a detector on captures of a network, without labels; ``options`` are those of ``janus-bench fit``
    (``profile``, ``seed``, ``device``, ``idle_timeout``, …).  The model, whose folder is ``output``."""
    from harness.cli import operate
    from janus_bench.models import open_model

    operate.fit(detector, _paths(captures), Path(output), **options)
    return open_model(Path(output))


def score(
    model: str | Path | SavedModel, captures: Names | Path, *, threshold: str = "p99", everything: bool = False
) -> pl.DataFrame:
    """The alerts of captures, or all their flows with ``everything``, a line each, as ``janus-bench score`` prints
    them."""
    import typer

    from harness.cli import operate

    folder = Path(model) if isinstance(model, str | Path) else model.folder
    with tempfile.TemporaryDirectory(prefix="janus-bench-scores-") as place:
        file = Path(place) / "flows.jsonl"
        try:
            operate.score(folder, _paths(captures), threshold, "jsonl", file, everything)
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


def _names(given: Names) -> Sequence[str]:
    names = split_requests(given) if isinstance(given, str) else list(given)
    if given and not names:
        raise UsageError(f"{given!r} names nothing: leave it out, or name at least one")
    return names


def _paths(captures: Names | Path) -> list[Path]:
    return [Path(captures)] if isinstance(captures, str | Path) else [Path(capture) for capture in captures]


def _flows(file: Path) -> pl.DataFrame:
    """A table of what ``score --format jsonl`` wrote; bytes and packets of both ways are columns of their own."""
    import polars as pl

    from harness.operate.alerts import FlowRecord

    lines = []
    for text in file.read_text(encoding="utf-8").splitlines():
        line = json.loads(text)
        for both in ("packets", "bytes"):
            line |= {f"{both}_{way}": number for way, number in line.pop(both).items()}
        lines.append(line)
    if not lines:
        return pl.DataFrame(schema=list(FlowRecord.__annotations__))
    table = pl.DataFrame(lines, infer_schema_length=None)
    return table.with_columns(pl.col("first", "last").str.to_datetime("%Y-%m-%dT%H:%M:%S%.fZ", time_zone="UTC"))


def _watching(fits: int) -> AbstractContextManager[Any]:
    """A bar below the cell in a notebook, and what a command shows anywhere else."""
    from harness.cli.progress import NotebookProgress, RunProgress, in_notebook

    return NotebookProgress(fits) if in_notebook() else RunProgress(fits)
