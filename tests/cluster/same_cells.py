"""A 4 × 4 of three detectors on the synthetic suite, and what a cluster's rows of it are held to: this machine's."""

from __future__ import annotations

import os
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from datasets_registry.registry import OpenDataset, describe, load_datasets, synthetic_suite
from harness.executors import Executor
from harness.executors.local import LocalExecutor
from harness.plan import DetectorChoice, Plan, Settings, make_plan
from harness.runner import Machine, Result, run_plan
from janus_bench import plugins
from janus_bench.quiet import ignore
from reports.results.folder import RunStore
from tests.test_same_bits import Quiet

DETECTORS = ("iforest", "mahalanobis", "length")
CELLS = 3 * 16 + 2 * 4  # And a baseline for every target, of the two that learn.


@pytest.fixture(scope="module")
def planned(home: Path) -> tuple[Plan, dict[str, OpenDataset]]:
    os.environ["JANUS_BENCH_HOME"] = str(home)
    opened = load_datasets(synthetic_suite(), ignore)
    chosen = [DetectorChoice(name, plugins.load_detector(name), {}) for name in DETECTORS]
    plan = make_plan(plugins.protocols()["cross"], describe(opened), chosen, Settings("quick", "grouped", (42,), "cpu"))
    return plan, opened


@pytest.fixture(scope="module")
def locally(planned: Any, tmp_path_factory: pytest.TempPathFactory) -> RunStore:
    store, _ = run_with(LocalExecutor(), planned, tmp_path_factory.mktemp("local"), jobs=2)
    return store


def run_with(
    executor: Executor, planned: tuple[Plan, dict[str, OpenDataset]], runs: Path, jobs: int = 3
) -> tuple[RunStore, Result]:
    store = RunStore.create(runs)
    return store, run_plan(*planned, store, Machine(jobs, 1, 300, None, executor), Quiet())


class InBackground:
    """A run in a thread, whose rows are counted as they come."""

    def __init__(self, executor: Executor, planned: Any, runs: Path) -> None:
        self._rows = runs / "results"
        self._done: list[RunStore] = []
        self._failed: list[BaseException] = []
        self._thread = threading.Thread(target=self._work, args=(executor, planned, runs), daemon=True)
        self._thread.start()

    def _work(self, executor: Executor, planned: Any, runs: Path) -> None:
        try:
            self._done.append(run_with(executor, planned, runs)[0])
        except BaseException as error:
            self._failed.append(error)

    def rows(self) -> int:
        return len(list(self._rows.iterdir())) if self._rows.is_dir() else 0

    def until_rows(self, more: int) -> None:
        """So many more rows are there, and the run goes on."""
        before = self.rows()
        until(lambda: self._failed or self.rows() >= before + more)
        assert self._thread.is_alive(), f"it was over too soon: {self._failed}"

    def result(self) -> RunStore:
        self._thread.join(900)
        assert not self._failed, self._failed
        return self._done[0]


def the_same(store: RunStore, locally: RunStore) -> None:
    """Every cell is ok, once, with the scores that this machine alone makes."""
    found, expected = store.records(), locally.records()
    assert found.keys() == expected.keys()
    assert len(found) == CELLS
    assert Counter(record.status for record in found.values()) == {"ok": CELLS}
    assert {record.attempt for record in found.values()} == {1}
    for key, record in found.items():
        assert store.scores(key).equals(locally.scores(key)), record.spec
        assert record.metrics == expected[key].metrics
        assert record.environment["processor"] == expected[key].environment["processor"]
    assert len(list((store.folder / "results").iterdir())) == CELLS


def two_at_once(executor: Executor, planned: Any, runs: Path) -> None:
    """The same plan from two stores: every fit is done once."""
    results: list[Result] = []
    both = [
        threading.Thread(target=lambda: results.append(run_with(executor, planned, runs, jobs=2)[1])) for _ in range(2)
    ]
    for each in both:
        each.start()
    for each in both:
        each.join(900)
    assert sum(len(result.records) for result in results) == CELLS
    assert [len(result.records) + result.reused for result in results] == [CELLS, CELLS]


def until(condition: Callable[[], Any], seconds: float = 400.0) -> Any:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if found := condition():
            return found
        time.sleep(0.05)
    raise AssertionError("it did not come to that")
