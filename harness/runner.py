"""Runs a plan: stages each fit, hands it to an executor, and turns what comes back into rows."""

import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from concurrent.futures import Executor as Pool
from contextlib import AbstractContextManager, contextmanager, nullcontext
from copy import deepcopy
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from datasets_registry.manifest import is_table
from datasets_registry.registry import OpenDataset, draw_of, sets_of
from datasets_registry.timeline import timeline
from harness.environment import environment, plugin_of
from harness.executors import Executor, Outcome, Shared
from harness.executors.in_process import InProcessExecutor, SameThread
from harness.jobs import Began, Event, Failed, FitDone, Job, JobTarget, ModelSaved, Progress, Scored, own_code, short
from harness.models import about_model
from harness.plan import Fit, Plan
from harness.scored import read_scores
from harness.staging import Batch, Part, Stages, remove_stale
from harness.turns import turn
from janus_bench import plugins
from janus_bench.contract import Capabilities
from janus_bench.errors import DataError, InvalidScores, JanusBenchError
from janus_bench.files import why
from janus_bench.models import ModelAbout, ModelCapture
from janus_bench.plugins import one_line
from janus_bench.records import ROLES, Recorded, RunRecord, RunSpec, Status
from protocols.roles import Surroundings, Use, roles_of
from protocols.splits import FEWEST_FLOWS
from reports.results.evidence import cell_scores, compute_metrics
from reports.results.folder import RunStore, WriteFailed

ARTIFACTS = ("cic_features", "stream")  # Inputs that not every dataset has; its manifest says which.


class Observer(Protocol):
    """Who watches a run (progress bars or plain lines)."""

    def fit_started(self, fit: Fit) -> None: ...
    def fit_progress(self, fit: Fit, fraction: float, text: str) -> None: ...
    def fit_finished(self, fit: Fit, records: Sequence[RunRecord]) -> None: ...
    def fit_handed_out(self, fit: Fit, where: str) -> None: ...
    def message(self, line: str) -> None: ...


@dataclass
class Result:
    """What a call of ``run_plan`` did."""

    reused: int
    records: list[RunRecord] = field(default_factory=list)
    interrupted: bool = False
    gave_up: bool = False  # So many runs failed (``Machine.max_failures``) that the rest was left.
    handed_out: int = 0  # Fits that somebody else does; their runs have no rows yet.


@dataclass(frozen=True)
class Machine:
    """Where and within which limits fits run: ``jobs`` at a time, each with ``threads`` threads; time and memory are of
    one fit, ``max_failures`` runs of all may fail before the rest is left; None = unlimited."""

    jobs: int
    threads: int
    timeout_s: float | None
    max_memory: int | None
    executor: Executor
    max_failures: int | None = None

    @contextmanager
    def pool(self) -> Iterator[Pool]:
        """Where the fits of a run are waited for."""
        kept = self.executor if isinstance(self.executor, AbstractContextManager) else nullcontext()
        waiting = SameThread() if isinstance(self.executor, InProcessExecutor) else ThreadPoolExecutor(self.jobs)
        with kept, waiting:
            yield waiting


def run_plan(
    plan: Plan, datasets: Mapping[str, OpenDataset], store: RunStore, machine: Machine, observer: Observer
) -> Result:
    """Run what is not yet final; every attempted run becomes a row.  WriteFailed if rows cannot be written any more."""
    place = machine.executor.stages_in if isinstance(machine.executor, Shared) else None
    remove_stale(place)
    finished = final_runs(plan.fits, datasets, store.records())
    wanted = {cell.run_key for cell in plan.record.cells}
    result = Result(reused=len(wanted & finished))
    store.write_plan(plan.record)
    for dataset in datasets.values():
        store.write_truth(dataset.store.hash, dataset.truth)
        if not is_table(dataset.store.manifest):  # of a table nobody knows who was there when
            store.write_timeline(dataset.store.hash, partial(timeline, dataset.store))
    stop = _Stop(machine.max_failures)
    fits = [_FitRun(fit, datasets, store, machine, observer, stop) for fit in plan.only(wanted - finished)]
    stages = Stages(datasets.values(), [batch for fit in fits for batch in fit.batches.values()], place)
    try:
        with machine.pool() as pool:
            futures: list[Future[list[RunRecord]]] = []
            pending: set[Future[list[RunRecord]]] = set()
            try:
                for fit in fits:  # the first is at work, and an interrupt can come, before the last is submitted
                    futures.append(pool.submit(fit.run, stages))
                pending = set(futures)
                while pending:
                    done, pending = wait(pending, timeout=0.2, return_when=FIRST_COMPLETED)
                    for future in done:
                        result.records += future.result()
            except KeyboardInterrupt:
                result.interrupted = True
                stop.set()
                pending = pending or set(futures)
                pending |= {pool.submit(fit.run, stages) for fit in fits[len(futures) :]}
                result.records += [record for future in pending for record in future.result()]
            except BaseException:
                stop.set()
                for future in futures:
                    future.cancel()
                raise
    finally:
        stages.close()
    result.gave_up = stop.gave_up
    result.interrupted |= stop.is_set() and not stop.gave_up  # also where a fit of this very process was interrupted
    result.reused += sum(len(fit.reused) for fit in fits)
    result.handed_out = sum(fit.handed_out != "" for fit in fits)
    return result


def final_runs(fits: Iterable[Fit], datasets: Mapping[str, OpenDataset], records: Mapping[str, Recorded]) -> set[str]:
    """Keys of the fits' runs that are not run again: ok, or skipped for a reason that still holds."""
    final = set()
    for fit in fits:
        for run in fit.runs:
            status = records[run.key].status if run.key in records else ""
            if status == "ok" or (status == "skipped" and why_not(run, fit.loaded.capabilities, datasets)):
                final.add(run.key)
    return final


def why_not(run: RunSpec, capabilities: Capabilities, datasets: Mapping[str, OpenDataset]) -> str:
    """Why a run cannot be, or an empty string."""
    for use in roles_of(run.regime, run.calibration).uses:
        name = dataset_of(run, use)
        for part in ("test_benign", "test_attack") if use.part == "test" else (use.part,):
            n = len(datasets[name].part(draw_of(run), part))
            # without attacks there are false alerts to count, with a single one nothing could be told of it
            if n < FEWEST_FLOWS and not (part == "test_attack" and n == 0):
                return f"{name} has {n} flows for {part}, fewer than {FEWEST_FLOWS}"
    shown = run.source or run.target
    if capabilities.hints != "none" and not len(datasets[shown].part(draw_of(run), "test_attack")):
        return f"{shown} has no attack flows, and this detector is shown some ({capabilities.hints})"
    for name in dict.fromkeys((run.source or run.target, run.target)):
        manifest = datasets[name].store.manifest
        if is_table(manifest) and (lacking := capabilities.inputs - set(sets_of(manifest))):
            return (
                f"{name} is a table without packets: it has {' and '.join(sets_of(manifest))}, not "
                f"{' and '.join(sorted(lacking))}"
            )
        if not is_table(manifest) and "netflow_v2" in capabilities.inputs:
            return f"{name} was made of captures: it has {' and '.join(sets_of(manifest))}, not netflow_v2"
        for artifact in ARTIFACTS:
            if artifact in capabilities.inputs and not manifest.get(artifact):
                return f"{name} was added without {artifact}: add it again from its captures"
        if "stream" in capabilities.inputs and (absent := manifest.get("packets_not_in_stream", 0)) > 0:
            return f"{name}: {absent} packets of its flows are not in the packet stream"
    if run.calibration == "none" and run.regime != "control" and len(capabilities.scores) > 1:
        return "several score columns need calibration flows for their aggregator, and this protocol has none"
    return ""


def dataset_of(run: RunSpec, use: Use) -> str:
    """The name of the dataset whose flows are used."""
    return run.target if use.where == "target" or run.source is None else run.source


class _Stop(threading.Event):
    """Set by an interrupt, or by the last failure that is put up with."""

    def __init__(self, failures: int | None) -> None:
        super().__init__()
        self.gave_up = False
        self._left, self._counting = failures, threading.Lock()

    def saw(self, status: Status) -> None:
        """A run has ended."""
        if self._left is None or status in ("ok", "skipped", "interrupted"):
            return
        with self._counting:
            self._left -= 1
            if self._left == 0 and not self.is_set():
                self.gave_up = True
                self.set()


class _FitRun:
    """One fit from staging to rows."""

    def __init__(
        self,
        fit: Fit,
        datasets: Mapping[str, OpenDataset],
        store: RunStore,
        machine: Machine,
        observer: Observer,
        stop: _Stop,
    ) -> None:
        self._fit, self._datasets, self._store, self._machine, self._observer, self._stop = (
            fit,
            datasets,
            store,
            machine,
            observer,
            stop,
        )
        self._records: list[RunRecord] = []
        self.handed_out = ""  # Where, if somebody else does it: there are no rows yet.
        self.reused: list[RunRecord] = []  # What another run of this moment has finished.
        self._fit_s: float | None = None
        self._fit_cpu_s: float | None = None
        self._environment: Mapping[str, str] = environment()
        self._why = {run.key: why_not(run, fit.loaded.capabilities, datasets) for run in fit.runs}
        ready = [run for run in fit.runs if not self._why[run.key]]
        self._runs = {f"t{number}": run for number, run in enumerate(ready)}  # opaque target name → run
        self._train: list[str] = []
        self._targets: list[JobTarget] = []
        self.batches = self._named_batches() if ready else {}

    def _named_batches(self) -> dict[str, Batch]:
        """Name of a batch in the job → the staged part behind it."""
        capabilities, first = self._fit.loaded.capabilities, self._fit.first
        roles = roles_of(first.regime, first.calibration)

        def batch(run: RunSpec, use: Use, *, scored: bool) -> Batch:
            world = Surroundings(run.overlay, run.attacks_left)
            return Batch.of(self._part(run, use), capabilities.inputs, scored=scored, world=world)

        found = {f"train{number}": batch(first, use, scored=False) for number, use in enumerate(roles.fit)}
        self._train = list(found)
        found["validate"] = batch(first, roles.validate, scored=False)
        found["source_val"] = batch(first, roles.scored["source_val"], scored=True)
        if capabilities.hints != "none":
            found["hints"] = batch(first, Use(roles.hints, f"hints_{capabilities.hints}"), scored=True)
        for target, run in self._runs.items():
            score = {role: role if role == "source_val" else f"{target}_{role}" for role in ROLES}
            found |= {name: batch(run, roles.scored[role], scored=True) for role, name in score.items()}
            calibrate = None
            if capabilities.calibrates and roles.calibrate is not None:
                calibrate = f"{target}_calibrate"
                found[calibrate] = batch(run, roles.calibrate, scored=False)
            self._targets.append(JobTarget(target, calibrate, score))
        return found

    def _part(self, run: RunSpec, use: Use) -> Part:
        return Part(self._datasets[dataset_of(run, use)].store.hash, draw_of(run), use.part)

    def run(self, stages: Stages) -> list[RunRecord]:
        """Its rows, unless another run that shares the results folder writes them."""
        begins = not self._stop.is_set()
        if begins:
            self._observer.fit_started(self._fit)
        with turn(self._store.lock_folder(self._fit.key), self._stop, self._say_that_it_waits) as ours:
            missing = self._what_is_missing() if ours else []
            if not begins:
                for run in missing:
                    self._append(run, "interrupted", "interrupted before it started")
            elif missing:
                self._do(missing, stages)
            else:
                stages.release(None, self.batches.values())
        if self.handed_out:
            self._observer.fit_handed_out(self._fit, self.handed_out)
        elif begins:
            self._observer.fit_finished(self._fit, self.reused + self._records)
        return self._records

    def _say_that_it_waits(self) -> None:
        self._observer.message(
            f"{self._fit.title}: another run with this results folder is at it; waiting for that one"
        )

    def _what_is_missing(self) -> list[RunSpec]:
        """Another run may have finished some or all of it since this one looked."""
        records = self._store.records_of(run.key for run in self._fit.runs)
        final = final_runs([self._fit], self._datasets, records)
        self.reused = [records[key] for key in sorted(final)]
        self._runs = {name: run for name, run in self._runs.items() if run.key not in final}
        self._targets = [target for target in self._targets if target.name in self._runs]
        return [run for run in self._fit.runs if run.key not in final]

    def _do(self, runs: Sequence[RunSpec], stages: Stages) -> None:
        told = {"fit": self._fit.key, "runs": [deepcopy(run.declared) for run in runs]}
        plugins.notify("janus_bench_run_started", told, self._observer.message)
        for run in runs:
            if self._why[run.key]:
                self._append(run, "skipped", self._why[run.key])
        if self._runs:
            self._run_child(stages)
        else:
            stages.release(None, self.batches.values())

    def _run_child(self, stages: Stages) -> None:
        folder = None
        try:
            folder = stages.open(self.batches)
            outcome = self._machine.executor.run(
                self._job(folder), self._stop, lambda event: self._on_event(stages, folder, event)
            )
            if not outcome.handed_out:
                self._store.write_log(self._fit.key, outcome.log)
        except WriteFailed:
            raise
        except JanusBenchError as error:
            outcome = Outcome("error", str(error), 0.0, None)
        except OSError as error:
            outcome = Outcome(
                "error", f"staging failed: {why(error)}{f' ({error.filename})' if error.filename else ''}", 0.0, None
            )
        except Exception as error:  # noqa: BLE001  whatever one fit does costs its own rows, never the run
            outcome = Outcome("error", one_line(error), 0.0, None)
        finally:
            stages.release(folder, self.batches.values())
        if outcome.handed_out:
            self.handed_out = outcome.reason
            return
        self._finish(list(self._runs.values()), outcome)

    def _job(self, folder: Path) -> Job:
        run, machine = self._fit.first, self._machine
        return Job(
            folder=str(folder),
            code=own_code(),
            detector=self._fit.loaded.file or run.detector,
            params=dict(run.params),
            seed=run.seed,
            device=run.device,
            threads=machine.threads,
            timeout_s=machine.timeout_s,
            max_memory=machine.max_memory,
            train=tuple(self._train),
            validate="validate",
            hints="hints" if "hints" in self.batches else None,
            targets=tuple(self._targets),
            version=self._fit.loaded.version,
            scores=tuple(self._fit.loaded.capabilities.scores),
        )

    def _on_event(self, stages: Stages, folder: Path, event: Event) -> None:
        match event:
            case Began():
                self._environment = event.environment
            case Progress():
                self._observer.fit_progress(self._fit, event.fraction, event.text)
            case FitDone():
                self._fit_s, self._fit_cpu_s = event.fit_s, event.cpu_s
                self._observer.fit_progress(self._fit, 0.0, "scoring")
            case ModelSaved():
                self._keep_model(folder / "out" / "model")
            case Scored() if event.target in self._runs:
                run = self._runs.pop(event.target)
                try:
                    self._collect(stages, run, folder / "out" / event.target, event)
                except InvalidScores as error:
                    self._append(run, "invalid_output", str(error))
                except JanusBenchError:
                    raise
                except Exception as error:  # noqa: BLE001  whatever one target's scores do costs its own row, never another's
                    self._append(run, "error", one_line(error))
            case Failed() if event.target in self._runs:
                self._append(self._runs.pop(event.target), event.status, event.reason)

    def _keep_model(self, saved: Path) -> None:
        """A model that cannot be kept costs no scores: it is a line."""
        try:
            self._store.write_model(self._fit.key, saved, self._about())
        except DataError as error:
            self._observer.message(f"{self._fit.title}: the model is not kept: {error}")

    def _about(self) -> ModelAbout:
        """The model that all runs of this fit share: nothing of a target is in it."""
        run, capabilities = self._fit.first, self._fit.loaded.capabilities
        used = roles_of(run.regime, run.calibration).fit
        trained = [
            ModelCapture(
                name=dataset_of(run, use),
                sha256=self._part(run, use).data_hash,
                flows=len(self._planned(self._part(run, use))),
            )
            for use in used
        ]
        manifest = self._datasets[dataset_of(run, used[0])].store.manifest
        return about_model(capabilities, run.detector, run.version, run.params, run.seed, manifest, trained)

    def _collect(self, stages: Stages, run: RunSpec, out: Path, event: Scored) -> None:
        """A target's scores are there: store them, derive the numbers, write the row.  InvalidScores where files are no
        scores."""
        import polars as pl

        columns = self._fit.loaded.capabilities.scores
        names = next(target.score for target in self._targets if target.name == event.target)
        tables, scored = [], 0
        for role in ROLES:
            flow_ids = stages.flow_ids(self.batches[names[role]].part)
            values = read_scores(out / f"{role}.npy", (len(flow_ids), len(columns)))
            scored += len(values) if role != "source_val" else 0
            keys = {"flow_id": flow_ids, "target": [run.target] * len(values), "role": [role] * len(values)}
            table = pl.DataFrame(keys | {name: values[:, number] for number, name in enumerate(columns)})
            tables.append(table.sort("flow_id"))
        scores = pl.concat(tables)
        self._store.write_scores(run.key, scores)
        views = cell_scores(scores, self._datasets[run.target].truth, run.declared, self._aggregator)
        cost = {
            "fit_s": self._fit_s,
            "fit_cpu_s": self._fit_cpu_s,
            "calibrate_s": event.calibrate_s,
            "score_s": event.score_s,
            "score_cpu_s": event.cpu_s,
            "flows_per_s": scored / event.score_s if event.score_s else None,
            "peak_rss_mb": event.peak_rss_mb,
            "peak_vram_mb": event.peak_vram_mb,
        }
        counts = self._counts(run, stages.flow_ids)
        self._append(run, "ok", "", counts, cost, compute_metrics(views, plugins.metrics(), self._observer.message))

    def _counts(self, run: RunSpec, flow_ids: Callable[[Part], NDArray[np.int64]]) -> dict[str, int | None]:
        """Flows of a run by what they are for: as they were staged, or (of a run without scores) as they would have
        been."""
        roles, attack = roles_of(run.regime, run.calibration), self._datasets[run.target].index.attack

        def rows(*uses: Use) -> int:
            return sum(len(flow_ids(self._part(run, use))) for use in uses)

        attacks = int(np.count_nonzero(attack[flow_ids(self._part(run, roles.scored["test"]))]))
        return {
            "n_train": rows(*roles.fit),
            "n_val": rows(roles.validate),
            "n_cal": rows(roles.scored["cal_a"]),
            "n_cal_b": rows(roles.scored["cal_b"]),
            "n_test_benign": rows(roles.scored["test"]) - attacks,
            "n_test_attack": attacks,
        }

    def _planned(self, part: Part) -> NDArray[np.int64]:
        return next(one for one in self._datasets.values() if one.store.hash == part.data_hash).part(
            part.draw, part.name
        )

    def _made_by(self) -> dict[str, str]:
        """What else than the machine a fit's bits follow from: threads, the package of a stranger's detector, and that
        a seed does not decide its scores where it says so."""
        found = {"threads": str(self._machine.threads), "plugin": plugin_of(self._fit.loaded.factory.__module__)}
        if not self._fit.loaded.capabilities.deterministic:
            found["deterministic"] = "no"
        return {name: value for name, value in found.items() if value}

    @property
    def _aggregator(self) -> str:
        return self._fit.loaded.capabilities.aggregator or "identity"

    def _finish(self, runs: Sequence[RunSpec], outcome: Outcome) -> None:
        """Rows for the runs that the child did not get to."""
        for run in runs:
            status, reason = outcome.status, outcome.reason
            if status == "ok":
                status, reason = "error", "the worker finished without scoring this target"
            self._append(run, status, reason, cost={"fit_s": self._fit_s, "peak_rss_mb": outcome.peak_rss_mb})

    def _append(
        self,
        run: RunSpec,
        status: Status,
        reason: str,
        counts: Mapping[str, int | None] | None = None,
        cost: Mapping[str, float | None] | None = None,
        metrics: Mapping[str, float | None] | None = None,
    ) -> RunRecord:
        dataset, capabilities = self._datasets[run.target], self._fit.loaded.capabilities
        partition = dict(dataset.describe(draw_of(run)))
        if run.overlay:
            partition["context_changed"] = dataset.context_changed(draw_of(run))
        record = self._store.append(
            RunRecord(
                key=run.key,
                fit_key=self._fit.key,
                spec=run.declared,
                status=status,
                reason=short(reason),
                attempt=0,
                finished=datetime.now(UTC).isoformat(timespec="seconds"),
                provenance=capabilities.provenance,
                uses_labels=capabilities.uses_labels,
                aggregator=self._aggregator,
                counts=counts or self._counts(run, self._planned),
                cost=cost or {},
                metrics=metrics or {},
                partition=partition,
                environment={**self._environment, **self._made_by()},
            )
        )
        self._records.append(record)
        self._stop.saw(status)
        plugins.notify("janus_bench_run_finished", asdict(record), self._observer.message)
        return record
