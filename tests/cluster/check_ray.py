"""A Ray cluster of two nodes on this machine, whose workers are killed and whose nodes go away: every cell is ``ok``
once, and equals the local executor's.  Minutes; ``make ray`` runs it, no test of the suite does."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import psutil
import pytest

from datasets_registry.registry import OpenDataset, describe, load_datasets, synthetic_suite
from harness.executors import Executor
from harness.executors.local import LocalExecutor
from harness.plan import DetectorChoice, Plan, Settings, make_plan
from harness.runner import Machine, Result, run_plan
from janus_bench import plugins
from janus_bench.quiet import ignore
from reports.results.folder import RunStore
from tests.conftest import home  # noqa: F401  a fixture
from tests.test_same_bits import Quiet

ray = pytest.importorskip("ray", reason="Ray is not installed: pip install -c constraints.txt 'janus-bench[ray]'")

DETECTORS = ("iforest", "mahalanobis", "knn")
CELLS = 3 * 16 + 3 * 4  # And a baseline for every target.


class Cluster:
    """A head with one core, whose workers are never lost, and a node with two."""

    def __init__(self) -> None:
        from ray.cluster_utils import Cluster as Nodes

        self.nodes = Nodes(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
        self.second: Any = self.nodes.add_node(num_cpus=2)
        self.nodes.wait_for_nodes()

    @property
    def address(self) -> str:
        return str(self.nodes.address)

    def workers(self) -> list[psutil.Process]:
        """Those that are at a fit."""
        return [each for each in psutil.process_iter() if "ray::_task" in "".join(_command(each))]


def _command(process: psutil.Process) -> Sequence[str]:
    try:
        return process.cmdline()
    except psutil.Error:
        return ()


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    made = Cluster()
    try:
        yield made
    finally:
        ray.shutdown()
        made.nodes.shutdown()


@pytest.fixture(scope="module")
def planned(home: Path) -> tuple[Plan, dict[str, OpenDataset]]:  # noqa: F811
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


def until(condition: Callable[[], Any], seconds: float = 400.0) -> Any:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if found := condition():
            return found
        time.sleep(0.05)
    raise AssertionError("it did not come to that")


def test_a_worker_is_killed_and_a_node_goes_away_in_mid_run(
    cluster: Cluster, planned: Any, locally: RunStore, tmp_path: Path
) -> None:
    from harness.executors.ray_cluster import RayExecutor

    executor = RayExecutor(cluster.address)
    assert executor.fits_at_once(1) == 3
    done: list[RunStore] = []
    failed: list[BaseException] = []

    def work() -> None:
        try:
            done.append(run_with(executor, planned, tmp_path / "runs")[0])
        except BaseException as error:
            failed.append(error)

    running = threading.Thread(target=work)
    running.start()
    rows = tmp_path / "runs" / "results"
    until(lambda: failed or (rows.is_dir() and len(list(rows.iterdir())) >= 4))
    victim = until(cluster.workers)[0]
    victim.send_signal(signal.SIGKILL)
    so_far = len(list(rows.iterdir()))
    until(lambda: failed or len(list(rows.iterdir())) >= so_far + 8)
    assert running.is_alive(), "it was over before the node could go"
    cluster.nodes.remove_node(cluster.second, allow_graceful=False)
    running.join(600)
    assert not failed, failed
    the_same(done[0], locally)


def test_two_runs_at_once_into_one_folder(cluster: Cluster, planned: Any, locally: RunStore, tmp_path: Path) -> None:
    """The same plan from two stores: every fit is done once."""
    from harness.executors.ray_cluster import RayExecutor

    executor = RayExecutor(cluster.address)
    results: list[Result] = []
    both = [
        threading.Thread(target=lambda: results.append(run_with(executor, planned, tmp_path, jobs=2)[1]))
        for _ in range(2)
    ]
    for each in both:
        each.start()
    for each in both:
        each.join(600)
    assert sum(len(result.records) for result in results) == CELLS
    assert [len(result.records) + result.reused for result in results] == [CELLS, CELLS]
    the_same(RunStore.open(tmp_path), locally)
