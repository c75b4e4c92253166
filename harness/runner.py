"""Runs a plan: stages each fit, hands it to a child process, and turns what comes back into rows."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from typing import Any, Protocol

import numpy as np

from datasets_registry.registry import Site, draw_of
from datasets_registry.stream import part_stream
from harness.environment import environment
from harness.executors.local import Limits, Outcome, run_child
from harness.plan import Fit, Plan
from harness.staging import Stage, StagedPart, remove_stale
from janus_bench import plugins
from janus_bench.contract import Capabilities
from janus_bench.errors import JanusBenchError
from janus_bench.records import (
    ROLES,
    RunRecord,
    RunSpec,
    Status,
)
from protocols.splits import Partition, control_parts
from reports.results.evidence import cell_scores, compute_metrics
from reports.results.folder import RunStore, WriteFailed

ARTIFACTS = ("cic_features", "stream")
"""Inputs that not every dataset has; its manifest says which."""

HINTS_DRAW = 7
"""Sets the draw of hints apart from other draws of the same seed."""

FEWEST_FLOWS = 2
"""A part with fewer flows cannot train, calibrate or test anything: its cells are skipped, with the reason."""


class Observer(Protocol):
    """Who watches a run (progress bars or plain lines)."""

    def fit_started(self, fit: Fit) -> None: ...
    def fit_progress(self, fit: Fit, fraction: float, text: str) -> None: ...
    def fit_finished(self, fit: Fit, records: Sequence[RunRecord]) -> None: ...
    def message(self, line: str) -> None: ...


@dataclass
class Result:
    """What a call of ``run_plan`` did."""

    reused: int
    records: list[RunRecord] = field(default_factory=list)
    interrupted: bool = False


@dataclass(frozen=True)
class Machine:
    """Where and within which limits fits run."""

    jobs: int
    threads: int
    limits: Limits


def run_plan(plan: Plan, sites: Mapping[str, Site], store: RunStore, machine: Machine, observer: Observer) -> Result:
    """Run what is not yet final; every attempted run becomes a row.  WriteFailed if rows cannot be written any more."""
    remove_stale()
    finished = final_runs(plan, sites, store)
    wanted = {cell.run_key for cell in plan.record.cells}
    result = Result(reused=len(wanted & finished))
    store.write_plan(plan.record)
    for site in sites.values():
        store.write_truth(site.store.hash, site.truth)
    stop = threading.Event()
    with ThreadPoolExecutor(machine.jobs) as pool:
        pending: set[Future[list[RunRecord]]] = {
            pool.submit(_FitRun(fit, sites, store, machine, observer, stop).run) for fit in plan.only(wanted - finished)
        }
        try:
            while pending:
                done, pending = wait(pending, timeout=0.2, return_when=FIRST_COMPLETED)
                for future in done:
                    result.records += future.result()
        except KeyboardInterrupt:
            result.interrupted = True
            stop.set()
            result.records += [record for future in pending for record in future.result()]
        except BaseException:
            stop.set()
            for future in pending:
                future.cancel()
            raise
    return result


def final_runs(plan: Plan, sites: Mapping[str, Site], store: RunStore) -> set[str]:
    """Keys of the plan's runs that are not run again: ok, or skipped for a reason that still holds."""
    records = store.records()
    final = set()
    for fit in plan.fits:
        for run in fit.runs:
            status = records[run.key].status if run.key in records else ""
            if status == "ok" or (status == "skipped" and why_not(run, fit.loaded.capabilities, sites)):
                final.add(run.key)
    return final


def why_not(run: RunSpec, capabilities: Capabilities, sites: Mapping[str, Site]) -> str:
    """Why a run cannot be, or an empty string."""
    needed = [(run.target, part) for part in ("cal_a", "cal_b", "test_benign", "test_attack")]
    needed += [(run.source, part) for part in ("train", "val")] if run.source is not None else []
    for name, part in needed:
        n = len(sites[name].partition(draw_of(run)).parts[part])
        if n < FEWEST_FLOWS:
            return f"{name} has {n} flows for {part}, fewer than {FEWEST_FLOWS}"
    for name in dict.fromkeys((run.source or run.target, run.target)):
        for artifact in ARTIFACTS:
            if artifact in capabilities.inputs and not sites[name].store.manifest.get(artifact):
                return f"{name} was added without {artifact}: add it again from its captures"
    if run.calibration == "none" and len(capabilities.scores) > 1:
        return "several score columns need calibration flows for their aggregator, and this protocol has none"
    return ""


class _FitRun:
    """One fit from staging to rows."""

    def __init__(self, fit: Fit, sites: Mapping[str, Site], store: RunStore, machine: Machine, observer: Observer, stop: threading.Event) -> None:
        self._fit, self._sites, self._store, self._machine, self._observer, self._stop = fit, sites, store, machine, observer, stop
        self._runs: dict[str, RunSpec] = {}  # opaque target name → run
        self._records: list[RunRecord] = []
        self._fit_s: float | None = None
        self._rng = np.random.default_rng(int(fit.key, 16))

    def run(self) -> list[RunRecord]:
        fit = self._fit
        if self._stop.is_set():
            return [self._append(run, "interrupted", "interrupted before it started") for run in fit.runs]
        self._observer.fit_started(fit)
        plugins.notify("janus_bench_run_started", {"fit": fit.key, "runs": [asdict(run) for run in fit.runs]}, self._observer.message)
        ready = []
        for run in fit.runs:
            reason = why_not(run, fit.loaded.capabilities, self._sites)
            if reason:
                self._append(run, "skipped", reason)
            else:
                ready.append(run)
        if ready:
            self._run_child(ready)
        self._observer.fit_finished(fit, self._records)
        return self._records

    def _run_child(self, ready: Sequence[RunSpec]) -> None:
        fit = self._fit
        try:
            stage = Stage(fit.loaded.capabilities.inputs, self._rng)
        except OSError as error:
            self._finish(ready, Outcome("error", f"no temporary folder for staging: {error.strerror}", 0.0, None))
            return
        try:
            self._runs = {f"t{number}": run for number, run in enumerate(ready)}
            roles = {target: self._stage_target(stage, target, run) for target, run in self._runs.items()}
            for name, parts in self._training_parts().items():
                stage.add(name, parts)
            outcome = run_child(
                stage.job(self._job(), roles),
                stage.folder,
                self._machine.limits,
                self._stop,
                lambda event: self._on_event(stage, event),
            )
            self._store.write_log(fit.key, stage.folder / "log")
            self._finish(list(self._runs.values()), outcome)
        except WriteFailed:
            raise
        except JanusBenchError as error:
            self._finish(list(self._runs.values()), Outcome("error", str(error), 0.0, None))
        except OSError as error:
            self._finish(list(self._runs.values()), Outcome("error", f"staging failed: {error.strerror} ({error.filename})", 0.0, None))
        finally:
            stage.close()

    def _job(self) -> dict[str, Any]:
        run, machine = self._fit.first, self._machine
        calibrate_on = {"target_benign": "{target}_cal_a", "source_benign": "val", "none": None}[run.calibration]
        return {
            "detector": run.detector,
            "params": dict(run.params),
            "seed": run.seed,
            "device": run.device,
            "threads": machine.threads,
            "timeout_s": machine.limits.timeout_s,
            "max_memory": machine.limits.max_memory,
            "calibrate_on": "{target}_cal_b" if run.regime == "control" else calibrate_on,
        }

    def _partition(self, name: str) -> Partition:
        return self._sites[name].partition(draw_of(self._fit.first))

    def _part(self, name: str, flow_ids: Any, *, training: bool = False) -> StagedPart:
        """``training``: a stream around the flows holds nothing of other flows."""
        site = self._sites[name]
        stream = None
        if "stream" in self._fit.loaded.capabilities.inputs:
            stream = part_stream(site.store, flow_ids, site.index.attack, self._rng, training=training)
        return StagedPart(site.store, flow_ids, site.index.attack[flow_ids], stream)

    def _training_parts(self) -> dict[str, list[StagedPart]]:
        """Flows to fit on, and to validate on; pooled: the target's cal A joins the source's training flows."""
        run = self._fit.first
        if run.source is None:
            train, val = control_parts(self._sites[run.target].index, self._partition(run.target).parts["cal_a"], run.seed)
            return {"train": [self._part(run.target, train, training=True)], "val": [self._part(run.target, val)]} | self._hints(run.target)
        parts = self._partition(run.source).parts
        train_parts = [self._part(run.source, parts["train"], training=True)]
        if run.regime == "pooled":
            train_parts.append(self._part(run.target, self._partition(run.target).parts["cal_a"], training=True))
        return {"train": train_parts, "val": [self._part(run.source, parts["val"])]} | self._hints(run.source)

    def _hints(self, name: str) -> dict[str, list[StagedPart]]:
        """What a detector that does not keep to benign flows is given (``Capabilities.hints``), drawn from the test part of ``name``."""
        kind, parts = self._fit.loaded.capabilities.hints, self._partition(name).parts
        if kind == "none":
            return {}
        rng = np.random.default_rng([self._fit.first.seed, HINTS_DRAW])
        wanted = {"few_shot": {"test_attack": 20}, "transductive": {"test_benign": 100, "test_attack": 100}}[kind]
        chosen = [rng.choice(parts[part], size=min(n, len(parts[part])), replace=False) for part, n in wanted.items()]
        return {"hints": [self._part(name, np.concatenate(chosen))]}

    def _stage_target(self, stage: Stage, target: str, run: RunSpec) -> list[str]:
        partition = self._partition(run.target)
        roles = {"cal_b": partition.parts["cal_b"], "test": partition.test}
        if run.regime != "control":
            roles = {"cal_a": partition.parts["cal_a"]} | roles
        for role, flow_ids in roles.items():
            stage.add(f"{target}_{role}", [self._part(run.target, flow_ids)])
        return list(roles)

    def _on_event(self, stage: Stage, event: Mapping[str, Any]) -> None:
        kind = event["event"]
        if kind == "progress":
            self._observer.fit_progress(self._fit, event["fraction"], event["text"])
        elif kind == "fitted":
            self._fit_s = event["fit_s"]
            self._observer.fit_progress(self._fit, 1.0, "scoring")
        elif kind == "saved":
            folder = self._store.model_folder(self._fit.key)
            shutil.rmtree(folder, ignore_errors=True)
            try:
                shutil.copytree(stage.folder / "out" / "model", folder)
            except OSError as error:
                raise WriteFailed(f"cannot write {folder}: {error.strerror or error}. Make room and run the same command again") from None
        elif kind == "scored":
            self._collect(stage, event)
        elif kind == "failed" and event["target"] is not None:
            self._append(self._runs.pop(event["target"]), event["status"], event["reason"])

    def _collect(self, stage: Stage, event: Mapping[str, Any]) -> None:
        """A target's scores are there: store them, derive the numbers, write the row."""
        import polars as pl

        run = self._runs.pop(event["target"])
        columns = self._fit.loaded.capabilities.scores
        tables, scored = [], 0
        for role in ROLES:
            if role == "cal_a" and run.regime == "control":
                continue
            values = stage.scores(event["target"], role)
            flow_ids = stage.flow_ids("val" if role == "source_val" else f"{event['target']}_{role}")
            scored += len(values) if role != "source_val" else 0
            keys = {"flow_id": flow_ids, "target": [run.target] * len(values), "role": [role] * len(values)}
            table = pl.DataFrame(keys | {name: values[:, number] for number, name in enumerate(columns)})
            tables.append(table.sort("flow_id"))
        scores = pl.concat(tables)
        self._store.write_scores(run.key, scores)
        site = self._sites[run.target]
        views = cell_scores(scores, site.truth, asdict(run), self._aggregator)
        cost = {
            "fit_s": self._fit_s,
            "calibrate_s": event["calibrate_s"],
            "score_s": event["score_s"],
            "flows_per_s": scored / event["score_s"] if event["score_s"] > 0 else None,
            "peak_rss_mb": event["peak_rss_mb"],
        }
        self._append(run, "ok", "", cost=cost, metrics=compute_metrics(views, plugins.metrics(), self._observer.message))

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
        cost: Mapping[str, float | None] | None = None,
        metrics: Mapping[str, float | None] | None = None,
    ) -> RunRecord:
        target, capabilities = self._partition(run.target), self._fit.loaded.capabilities
        record = self._store.append(
            RunRecord(
                key=run.key,
                fit_key=self._fit.key,
                spec=asdict(run),
                status=status,
                reason=reason,
                attempt=0,
                finished=datetime.now(UTC).isoformat(timespec="seconds"),
                provenance=capabilities.provenance,
                uses_labels=capabilities.uses_labels,
                aggregator=self._aggregator,
                counts=self._counts(run, target),
                cost=cost or {},
                metrics=metrics or {},
                partition=target.describe(),
                environment=environment(),
            )
        )
        self._records.append(record)
        plugins.notify("janus_bench_run_finished", asdict(record), self._observer.message)
        return record

    def _counts(self, run: RunSpec, target: Partition) -> dict[str, int | None]:
        if run.source is None:
            train, val = control_parts(self._sites[run.target].index, target.parts["cal_a"], run.seed)
            n_train, n_val, n_cal = len(train), len(val), len(target.parts["cal_b"])
        else:
            source = self._partition(run.source)
            n_train, n_val, n_cal = len(source.parts["train"]), len(source.parts["val"]), len(target.parts["cal_a"])
            n_train += n_cal if run.regime == "pooled" else 0
        return {
            "n_train": n_train,
            "n_val": n_val,
            "n_cal": n_cal,
            "n_cal_b": len(target.parts["cal_b"]),
            "n_test_benign": len(target.parts["test_benign"]),
            "n_test_attack": len(target.parts["test_attack"]),
        }
