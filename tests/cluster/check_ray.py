"""A Ray cluster of two nodes on this machine, whose workers are killed and whose nodes go away: every cell is ``ok``
once, and equals the local executor's.  Minutes; ``make ray`` runs it, no test of the suite does."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import psutil
import pytest

from reports.results.folder import RunStore
from tests.cluster.same_cells import InBackground, locally, planned, the_same, two_at_once, until  # noqa: F401
from tests.conftest import home  # noqa: F401  a fixture

ray = pytest.importorskip("ray", reason="Ray is not installed: pip install -c constraints.txt 'janus-bench[ray]'")

os.environ["RAY_worker_niceness"] = "0"  # noqa: SIM112  Ray spells it so.  On a machine with other work, 15, which is Ray's, means never.


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


def test_a_worker_is_killed_and_a_node_goes_away_in_mid_run(
    cluster: Cluster,
    planned: Any,  # noqa: F811
    locally: RunStore,  # noqa: F811
    tmp_path: Path,
) -> None:
    from harness.executors.ray_cluster import RayExecutor

    executor = RayExecutor(cluster.address)
    assert executor.fits_at_once(1) == 3
    running = InBackground(executor, planned, tmp_path / "runs")
    running.until_rows(4)
    until(cluster.workers)[0].send_signal(signal.SIGKILL)
    running.until_rows(8)
    cluster.nodes.remove_node(cluster.second, allow_graceful=False)
    the_same(running.result(), locally)


def test_two_runs_at_once_into_one_folder(
    cluster: Cluster,
    planned: Any,  # noqa: F811
    locally: RunStore,  # noqa: F811
    tmp_path: Path,
) -> None:
    from harness.executors.ray_cluster import RayExecutor

    two_at_once(RayExecutor(cluster.address), planned, tmp_path)
    the_same(RunStore.open(tmp_path), locally)
