"""A model of captures believed benign: fit, calibrate, score the calibration flows, in one child process."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from datasets_registry.registry import OpenDataset
from harness.environment import environment
from harness.executors.local import LocalExecutor
from harness.jobs import Event, Failed, Job, JobTarget, Progress, own_code
from harness.models import about_model
from harness.plan import version_of
from harness.scored import read_scores
from harness.staging import Batch, Part, Stages, remove_stale
from janus_bench.errors import DataError, JanusBenchError, UsageError
from janus_bench.files import checksum, why
from janus_bench.models import ModelAbout, ModelCalibration, ModelCapture, SavedModel, write_model
from janus_bench.plugins import LoadedDetector
from protocols.aggregators import fit_aggregator
from protocols.splits import Draw, timeline_problem

FEWEST = 2  # Flows of a part; fewer can neither train nor calibrate.
TARGET = "t0"


@dataclass(frozen=True)
class Uses:
    """Parts of the captures (``protocols.splits``) by what they are for.

    train, validate  None where a model is only calibrated
    calibrate        the detector's own calibration, and the aggregator
    threshold        what thresholds and p-values come from
    """

    train: str | None
    validate: str
    calibrate: str
    threshold: tuple[str, ...]

    @property
    def named(self) -> dict[str, tuple[str, ...]]:
        found = {"training": (self.train,), "early stopping": (self.validate,)} if self.train else {}
        return {**found, "calibration": (self.calibrate,), "thresholds": self.threshold}  # type: ignore[dict-item]


FITTING = Uses("train", "val", "cal_a", ("cal_b", "test"))
"""There is nothing to test, so the last flows set thresholds too: the more there are, the smaller a p-value can be."""
RECALIBRATING = Uses(None, "val", "train", ("val", "cal_a", "cal_b", "test"))
"""Nothing is trained: the first half of the flows calibrates, the others set thresholds."""


@dataclass(frozen=True)
class Division:
    """How the flows of a dataset are divided: ``part(name)`` of one draw, and a line that says how."""

    dataset: OpenDataset
    draw: Draw
    said: str

    def part(self, name: str) -> Part:
        return Part(self.dataset.store.hash, self.draw, name)

    def flows(self, *names: str) -> NDArray[np.int64]:
        return np.concatenate([self.dataset.part(self.draw, name) for name in names])


def divided(dataset: OpenDataset, seed: int, profile: str, uses: Uses) -> Division:
    """By time where the captures have one clock, else by whole captures, or by blocks of time inside them.

    DataError where a part would have too few flows to be used.
    """
    problem = timeline_problem(dataset.index)
    tried = []
    for split in ("grouped",) if problem else ("time", "grouped"):
        division = Division(dataset, Draw(seed, split, f"fit-{profile}"), "")
        partition = dataset.partition(division.draw)
        short = {what: len(division.flows(*names)) for what, names in uses.named.items()}
        if min(short.values()) >= FEWEST:
            how = {
                "time": "by time, the earliest first",
                "grouped": "by whole captures",
                "time blocks": "by blocks of time inside each capture",
            }.get(partition.kind, partition.kind)
            reason = f" ({problem})" if problem else ""
            return replace(division, said=f"{dataset.store.n_flows:,} flows, divided {how}{reason}")
        tried = [f"{what} {n}" for what, n in short.items()]
    raise DataError(
        f"{dataset.store.n_flows} flows are too few: divided, {', '.join(tried)}; give more captures or longer ones"
    )


def check_can_be_fitted(loaded: LoadedDetector) -> None:
    """UsageError for a detector that cannot be kept, or that needs what an operator does not have."""
    name, capabilities = loaded.name, loaded.capabilities
    if loaded.file:
        raise UsageError(
            f"{name} is a file of its own, and a model names a detector that is installed: make a package of it with "
            "`janus-bench detector new`"
        )
    if not loaded.saves:
        raise UsageError(f"{name} has no save() and load(): what it learns cannot be kept; choose another detector")
    if "stream" in capabilities.inputs:
        raise UsageError(
            f"{name} reads whole captures packet by packet, which cannot be given to it as they arrive; choose another "
            "detector (`janus-bench detector list` says what each reads)"
        )
    if capabilities.hints != "none":
        raise UsageError(f"{name} needs attacks or test flows to be told of ({capabilities.hints}), and there are none")


@dataclass(frozen=True)
class ModelRequest:
    """What is fitted or calibrated, and where: ``params`` are the detector's own; ``model``: it is loaded and only
    calibrated."""

    loaded: LoadedDetector
    params: Mapping[str, Any]
    seed: int
    device: str
    threads: int
    model: SavedModel | None = None


def make_model(
    request: ModelRequest,
    division: Division,
    captures: Mapping[str, Path],
    rules: Mapping[str, Any],
    destination: Path,
    progress: Callable[[str, float], None],
) -> None:
    """Fit (or load), calibrate and score in a child process, and write what comes back as a new model.

    JanusBenchError says why where the detector fails.
    """
    uses = RECALIBRATING if request.model else FITTING
    inputs = request.loaded.capabilities.inputs
    batches = _batches(uses, division, inputs)
    remove_stale()
    stages = Stages([division.dataset], batches.values())
    try:
        folder = stages.open(batches)
        if request.model is not None:
            request.model.copy_detector(folder / "in" / "model")
        _run(request, _job(request, uses, folder), progress)
        out = folder / "out" / TARGET
        rows = {name: stages.flow_ids(division.part(name)) for name in (uses.calibrate, *uses.threshold)}
        k = len(request.loaded.capabilities.scores)
        scores = {name: read_scores(out / f"{name}.npy", (len(rows[name]), k)) for name in rows}
        about, arrays = _calibrated(request, uses, division, captures, rules, rows, scores)
        try:
            if not write_model(destination, out / "model", about, arrays):
                raise UsageError(f"{destination}: is there already: name another one with -o")
        except OSError as error:
            raise UsageError(f"cannot write {destination} ({why(error)}): choose another place with -o") from None
    finally:
        stages.close()


def _batches(uses: Uses, division: Division, inputs: frozenset[str]) -> dict[str, Batch]:
    def batch(name: str, scored: bool = False) -> Batch:
        return Batch.of(division.part(name), inputs, scored=scored)

    found = {"calibrate": batch(uses.calibrate), "validate": batch(uses.validate)}
    if uses.train:
        found["train0"] = batch(uses.train)
    return found | {f"score_{name}": batch(name, scored=True) for name in (uses.calibrate, *uses.threshold)}


def _job(request: ModelRequest, uses: Uses, folder: Path) -> Job:
    scored = {name: f"score_{name}" for name in (uses.calibrate, *uses.threshold)}
    calibrate = "calibrate" if request.loaded.capabilities.calibrates else None
    return Job(
        folder=str(folder),
        code=own_code(),
        detector=request.loaded.name,
        params=dict(request.params),
        seed=request.seed,
        device=request.device,
        threads=request.threads,
        timeout_s=None,
        max_memory=None,
        train=("train0",) if uses.train else (),
        validate="validate",
        hints=None,
        targets=(JobTarget(TARGET, calibrate, {**scored, "source_val": "validate"}, keep=True),),
        model="model" if request.model is not None else None,
    )


def _run(request: ModelRequest, job: Job, progress: Callable[[str, float], None]) -> None:
    failures: list[Failed] = []

    def heard(event: Event) -> None:
        match event:
            case Progress():
                progress(f"{request.loaded.name}: {event.text}", event.fraction)
            case Failed():
                failures.append(event)

    outcome = LocalExecutor().run(job, threading.Event(), heard)
    reason = failures[0].reason if failures else outcome.reason
    if failures or outcome.status != "ok":
        log = outcome.log.decode(errors="replace").strip().splitlines()
        more = f" (its log ends with: {_end_of(log)})" if log and not failures else ""
        raise JanusBenchError(f"{request.loaded.name}: {reason}{more}")


def _end_of(log: Sequence[str]) -> str:
    """The last line, or the line of Python that a crash came from, which stands first in what its report lists."""
    crashed = [place for place, line in enumerate(log[:-1]) if line.startswith("Current thread ")]
    return log[crashed[-1] + 1].strip() if crashed else log[-1]


def _calibrated(
    request: ModelRequest,
    uses: Uses,
    division: Division,
    captures: Mapping[str, Path],
    rules: Mapping[str, Any],
    rows: Mapping[str, NDArray[np.int64]],
    scores: Mapping[str, NDArray[np.float64]],
) -> tuple[ModelAbout, dict[str, NDArray[Any]]]:
    """What the model says of itself, and the arrays of its calibration."""
    capabilities, store = request.loaded.capabilities, division.dataset.store
    aggregator = capabilities.aggregator or "identity"
    aggregate = scores[uses.calibrate]
    columns = np.concatenate([scores[name] for name in uses.threshold])
    flows = np.concatenate([rows[name] for name in uses.threshold])
    scalar = fit_aggregator(aggregator, aggregate, tuple(capabilities.scores))(columns)
    order = np.argsort(scalar, kind="stable")
    file = store.labels(["file"])["file"].to_numpy()
    names = sorted(captures)
    sums = {name: checksum(captures[name]) for name in names}

    def counted(ids: NDArray[np.int64]) -> list[ModelCapture]:
        found, counts = np.unique(file[ids], return_counts=True)
        number = dict(zip(found.tolist(), counts.tolist(), strict=True))
        return [ModelCapture(name=name, sha256=sums[name], flows=number.get(name, 0)) for name in names]

    calibration = ModelCalibration(
        captures=counted(flows),
        flows=len(flows),
        aggregated=len(aggregate),
        flows_per_day=_flows_per_day(division.dataset, file),
    )
    if request.model is not None:
        trained: Sequence[ModelCapture] = request.model.manifest["trained"]
    else:
        trained = counted(division.flows("train"))
    about = about_model(
        capabilities, request.loaded.name, version_of(request.loaded), request.params, request.seed, rules, trained
    )
    about = {**about, "calibration": calibration, "versions": {**about["versions"], **environment()}}  # type: ignore[assignment]
    features = store.take(flows, np.zeros(len(flows), np.uint64), frozenset({"features"})).feature_matrix()
    return about, {
        "scores": scalar[order],
        "columns": columns[order],
        "capture": np.searchsorted(names, file[flows][order]).astype(np.int32),
        "features": np.sort(features.astype(np.float32), axis=0),
        "aggregate": aggregate,
    }


def _flows_per_day(dataset: OpenDataset, file: NDArray[Any]) -> float:
    """Of all captures together, over the time that any of them covers: several sensors at once are one network; 0 where
    they have no length."""
    import polars as pl

    spans = (
        dataset.store.flows(["ts_start", "ts_end"])
        .with_columns(file=pl.Series(file))
        .group_by("file")
        .agg(begin=pl.col("ts_start").min(), end=pl.col("ts_end").max())
        .sort("begin")
    )
    seconds, covered = 0.0, -np.inf
    for _, begin, end in spans.iter_rows():
        seconds += max(end - max(begin, covered), 0.0)
        covered = max(covered, end)
    return dataset.store.n_flows / seconds * 86_400 if seconds > 0 else 0.0
