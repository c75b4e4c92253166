"""What the runner asks an executor for, and what it makes of the answer, with one that runs nothing: the limits of a
fit, costs and columns."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from datasets_registry.registry import OpenDataset, describe
from datasets_registry.store import FlowStore
from harness.executors import Outcome
from harness.jobs import Event, FitDone, Job, Scored
from harness.plan import DetectorChoice, Settings, make_plan
from harness.runner import Machine, Result, run_plan
from harness.scored import read_scores
from janus_bench.contract import Capabilities
from janus_bench.errors import InvalidScores
from janus_bench.extensions import ProtocolSpec
from janus_bench.plugins import LoadedDetector
from reports.results.folder import RunStore
from tests.numbered import number_of
from tests.test_same_bits import Quiet
from tests.test_who_is_given_what import numbered_home  # noqa: F401  a fixture


@dataclass(frozen=True)
class Params:
    k: int = 5


CAPABILITIES = Capabilities(inputs=frozenset({"packets"}), scores=("near", "far"), aggregator="oas")


class Pretends:
    """An executor that keeps the jobs and leaves behind, for every flow, the lengths of its two packets as the two
    scores."""

    def __init__(self, columns: int) -> None:
        self.jobs: list[Job] = []
        self.hinted: list[list[int]] = []
        self.columns = columns

    def run(self, job: Job, stop: threading.Event, on_event: Callable[[Event], None]) -> Outcome:
        self.jobs.append(job)
        folder = Path(job.folder)
        if job.hints is not None:
            sizes = np.load(folder / "in" / job.hints / "packets" / "size.npy").reshape(-1, 2).tolist()
            self.hinted.append([number_of((one, other)) for one, other in sizes])
        on_event(FitDone(11.0, 21.0))
        for target in job.targets:
            out = folder / "out" / target.name
            out.mkdir()
            for role, name in target.score.items():
                size = np.load(folder / "in" / name / "packets" / "size.npy").astype(np.float64)
                np.save(out / f"{role}.npy", size.reshape(-1, 2)[:, : self.columns])
            on_event(Scored(target.name, 3.0, 2.0, 77.0, 9.0, 55.0))
        return Outcome("ok", "", 20.0, 99.0)


def pretended(
    home: Path,
    runs: Path,
    capabilities: Capabilities = CAPABILITIES,
    calibration: str = "target_benign",
    absent: Mapping[str, object] | None = None,
    **limits: object,
) -> tuple[Result, Pretends, RunStore]:
    datasets = {name: OpenDataset(FlowStore.open(home / "datasets" / name)) for name in ("north", "south")}
    for dataset in datasets.values():
        dataset.store.manifest.update(absent or {})
    protocol = ProtocolSpec("cells", "", lambda _: [("north", "south")], regimes=("transfer",), calibration=calibration)  # type: ignore[arg-type]
    choice = DetectorChoice("d", LoadedDetector("d", object, capabilities, Params, {}), {"k": "9"})
    plan = make_plan(protocol, describe(datasets), [choice], Settings("quick", "grouped", (7, 8), "cpu"))
    executor, store = Pretends(len(capabilities.scores)), RunStore.create(runs)
    machine = replace(Machine(1, 1, None, None, executor), **limits)  # type: ignore[arg-type]
    return run_plan(plan, datasets, store, machine, Quiet()), executor, store


def test_a_job_has_the_runs_seed_and_the_machines_limits(numbered_home: Path, tmp_path: Path) -> None:  # noqa: F811
    _, executor, _ = pretended(numbered_home, tmp_path / "runs", threads=3, timeout_s=60.0, max_memory=2**33)
    assert [job.seed for job in executor.jobs] == [7, 8]
    assert {(job.threads, job.timeout_s, job.max_memory, job.device, job.detector) for job in executor.jobs} == {
        (3, 60.0, 2**33, "cpu", "d")
    }
    assert [job.params for job in executor.jobs] == [{"k": 9}] * 2
    assert all(job.hints is None and job.targets[0].calibrate is None for job in executor.jobs)  # it declares neither


@pytest.mark.parametrize(("most", "begun", "gave_up"), [(1, 1, True), (2, 2, True), (3, 2, False), (None, 2, False)])
def test_the_rest_is_left_when_so_many_have_failed(
    numbered_home: Path,  # noqa: F811
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    most: int | None,
    begun: int,
    gave_up: bool,
) -> None:
    monkeypatch.setattr(Pretends, "run", lambda self, job, *_: self.jobs.append(job) or Outcome("oom", "", 1.0, None))
    result, executor, store = pretended(numbered_home, tmp_path, max_failures=most)
    assert (len(executor.jobs), result.gave_up, result.interrupted) == (begun, gave_up, False)
    statuses = sorted(record.status for record in store.records().values())
    assert statuses == ["interrupted"] * (2 - begun) + ["oom"] * begun


@pytest.mark.parametrize(("hints", "attacks", "benign"), [("few_shot", 20, 0), ("transductive", 100, 100)])
def test_hints_are_of_the_source_each_flow_once_and_others_for_another_seed(
    numbered_home: Path,  # noqa: F811
    tmp_path: Path,
    hints: str,
    attacks: int,
    benign: int,
) -> None:
    capabilities = replace(CAPABILITIES, hints=hints)  # type: ignore[arg-type]
    _, executor, _ = pretended(numbered_home, tmp_path / "runs", capabilities)
    assert [job.hints for job in executor.jobs] == ["hints", "hints"]
    first, second = executor.hinted
    for numbers in (first, second):
        assert max(numbers) < 5000  # of north, the source
        assert len(set(numbers)) == len(numbers)
        # see tests.numbered: the last two captures
        attack = [number % 1000 >= 600 and (number - 600) % 120 >= 60 for number in numbers]
        assert (sum(attack), len(attack) - sum(attack)) == (attacks, benign)
    assert set(first) != set(second)


def test_an_interrupt_before_the_last_fit_is_submitted_is_a_row_for_each_that_was_not_begun(
    numbered_home: Path,  # noqa: F811
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    whole, calls = ThreadPoolExecutor.submit, []

    def submit(pool, *arguments):
        calls.append(arguments)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return whole(pool, *arguments)

    monkeypatch.setattr(ThreadPoolExecutor, "submit", submit)
    result, _, store = pretended(numbered_home, tmp_path / "runs")
    assert result.interrupted
    assert len(result.records) == len(store.records()) == 2
    assert "interrupted" in {record.status for record in result.records}


def test_costs_are_what_the_child_measured_and_flows_a_second_are_those_it_scored_then(
    numbered_home: Path,  # noqa: F811
    tmp_path: Path,
) -> None:
    result, _, _ = pretended(numbered_home, tmp_path / "runs")
    assert [record.status for record in result.records] == ["ok", "ok"]
    for record in result.records:
        counts = record.counts
        # not the source's validation flows
        scored = sum(counts[name] or 0 for name in ("n_cal", "n_cal_b", "n_test_benign", "n_test_attack"))
        assert record.cost == {
            "fit_s": 11.0,
            "fit_cpu_s": 21.0,
            "calibrate_s": 3.0,
            "score_s": 2.0,
            "score_cpu_s": 9.0,
            "flows_per_s": scored / 2.0,
            "peak_rss_mb": 77.0,
            "peak_vram_mb": 55.0,
        }


def test_each_column_is_stored_under_its_name_beside_its_flow(numbered_home: Path, tmp_path: Path) -> None:  # noqa: F811
    result, _, store = pretended(numbered_home, tmp_path / "runs")
    for record in result.records:
        for role, network in (("source_val", "north"), ("cal_a", "south"), ("test", "south")):
            scores = store.scores(record.key).filter(pl.col("role") == role)
            offsets, packets = FlowStore.open(numbered_home / "datasets" / network).shards[0].arrays()
            flow = scores["flow_id"].to_numpy()
            assert (scores["near"].to_numpy() == packets["size"][offsets[flow]]).all()
            assert (scores["far"].to_numpy() == packets["size"][offsets[flow] + 1]).all()
            assert not np.array_equal(scores["near"], scores["far"])


ONE = replace(CAPABILITIES, scores=("score",), aggregator=None)
STREAM = replace(CAPABILITIES, inputs=frozenset({"packets", "stream"}))


@pytest.mark.parametrize(
    ("capabilities", "calibration", "absent", "reason"),
    [
        (
            CAPABILITIES,
            "none",
            {},
            "several score columns need calibration flows for their aggregator, and this protocol has none",
        ),
        (ONE, "none", {}, ""),
        (STREAM, "target_benign", {"stream": False}, "north was added without stream: add it again from its captures"),
        (STREAM, "target_benign", {"stream": None}, "north was added without stream: add it again from its captures"),
        (
            STREAM,
            "target_benign",
            {"packets_not_in_stream": 1},
            "north: 1 packets of its flows are not in the packet stream",
        ),
        (STREAM, "target_benign", {}, ""),
    ],
)
def test_what_cannot_be_is_skipped_with_its_reason_and_no_child_is_asked(
    numbered_home: Path,  # noqa: F811
    tmp_path: Path,
    capabilities: Capabilities,
    calibration: str,
    absent: Mapping[str, object],
    reason: str,
) -> None:
    result, executor, _ = pretended(numbered_home, tmp_path / "runs", capabilities, calibration, absent)
    assert {(record.status, record.reason) for record in result.records} == {("skipped" if reason else "ok", reason)}
    assert bool(executor.jobs) == (not reason)


def test_a_part_of_a_single_flow_is_a_reason(
    numbered_home: Path,  # noqa: F811
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    whole = OpenDataset.part
    for left, reason in ((1, "south has 1 flows for cal_b, fewer than 2"), (2, "")):
        monkeypatch.setattr(
            OpenDataset,
            "part",
            lambda self, draw, name, left=left: whole(self, draw, name)[: left if name == "cal_b" else None],
        )
        result, _, _ = pretended(numbered_home, tmp_path / str(left))
        assert {record.reason for record in result.records} == {reason}


def test_scores_are_read_as_the_numbers_that_they_have_to_be_or_not_at_all(tmp_path: Path) -> None:
    good, path = np.arange(6.0).reshape(3, 2), tmp_path / "test.npy"
    np.save(path, good)
    assert read_scores(path, (3, 2)).tolist() == good.tolist()
    link = tmp_path / "link.npy"
    link.symlink_to(path)
    bad: dict[str, np.ndarray] = {
        "rows": good[:2],
        "columns": good[:, :1],
        "nan": np.where(good == 3, np.nan, good),
        "infinite": np.where(good == 3, np.inf, good),
        "whole": good.astype(np.int64),
        "complex": good + 0j,
        "objects": good.astype(object),
    }
    for name, values in bad.items():
        np.save(tmp_path / f"{name}.npy", values)
    (tmp_path / "cut.npy").write_bytes(path.read_bytes()[:100])
    (tmp_path / "empty.npy").touch()
    os.mkfifo(tmp_path / "pipe.npy")
    for name in (*bad, "cut", "empty", "link", "pipe", "missing"):
        with pytest.raises(InvalidScores, match=rf"^{name}\.npy "):
            read_scores(tmp_path / f"{name}.npy", (3, 2))
