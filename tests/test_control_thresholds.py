"""The thresholds of a target-only control mean what they say: P95 of calibration flows B realises a false-positive rate
of 5 %, within what chance allows, on every real network; and a control whose thresholds came from flows that it was
fitted on would be seen."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from datasets_registry.registry import OpenDataset, describe
from harness import runner, worker
from harness.executors import Outcome
from harness.plan import DetectorChoice, Plan, Settings, make_plan
from harness.runner import Machine, run_plan
from janus_bench.extensions import ProtocolSpec, Variant
from janus_bench.params import parse_request
from janus_bench.plugins import load_detector
from protocols.roles import Roles, Use, roles_of
from reports.results.folder import RunStore
from tests.chance import Rate, realised
from tests.conftest import needs_shared_data
from tests.test_same_bits import Quiet

NETWORKS = ("iot_home", "mobile_voice", "enterprise_windows", "ics_scada")
DETECTORS = ("janus-plus", "knn[input=features+context]")
"""The others: ``python -m benchmarks.control_thresholds``."""
SEEDS = (42, 43)
CONTROLLED = ProtocolSpec(
    "controlled", "", lambda names: [(name, name) for name in names], variants=(Variant(caps="quick"),)
)


class InProcess:
    """Runs a job here: the worker's own code, without a child process that would import everything again."""

    def run(self, job: Any, stop: Any, on_event: Any) -> Outcome:
        class Collected:
            send = staticmethod(on_event)

            @staticmethod
            def failed(error: BaseException, target: str | None = None) -> None:
                raise error

        (Path(job.folder) / "log").touch()
        worker.run(job, Collected())  # type: ignore[arg-type]
        return Outcome("ok", "", 0.0, None)


def rate_of_control(dataset: OpenDataset, folder: Path, request: str) -> Rate:
    """Of one detector, with its smallest model, the mean over ``SEEDS``."""
    name = dataset.store.name
    detector, given = parse_request(request)
    choice = DetectorChoice(request, load_detector(detector), given)
    plan = make_plan(CONTROLLED, describe({name: dataset}), [choice], Settings("check", "grouped", SEEDS, "cpu"))
    cells = tuple(cell for cell in plan.record.cells if cell.regime == "control")
    plan = Plan(replace(plan.record, cells=cells), plan.only({cell.run_key for cell in cells}))
    store = RunStore.create(folder)
    records = run_plan(plan, {name: dataset}, store, Machine(1, 1, None, None, InProcess()), Quiet()).records
    assert [(record.status, record.reason) for record in records] == [("ok", "")] * len(SEEDS)
    return realised([(store.scores(record.key), store.truth(dataset.store.hash)) for record in records])


@needs_shared_data
@pytest.mark.usefixtures("one_thread")
@pytest.mark.parametrize("detector", DETECTORS)
@pytest.mark.parametrize("network", NETWORKS)
def test_a_control_realises_the_rate_that_its_threshold_was_set_for(network, detector, real_store, tmp_path):
    rate = rate_of_control(OpenDataset(real_store(network)), tmp_path, detector)
    assert rate.allowed, rate


@needs_shared_data
@pytest.mark.parametrize("network", NETWORKS)
def test_thresholds_from_flows_that_were_fitted_on_would_be_seen(network, real_store, tmp_path, monkeypatch):
    """As every control once was: its bank held the flows that its thresholds came from."""

    def as_before(regime: str, calibration: str) -> Roles:
        roles = roles_of(regime, calibration)
        return replace(roles, fit=(*roles.fit, Use("target", "cal_b")))

    monkeypatch.setattr(runner, "roles_of", as_before)
    rate = rate_of_control(OpenDataset(real_store(network)), tmp_path, "knn[k=1]")
    assert rate.found > 0.2
    assert not rate.allowed, rate


@pytest.mark.parametrize("honest", [True, False])
def test_a_threshold_is_allowed_where_captures_differ_and_refused_where_it_knows_its_own_flows(honest):
    """Forty captures of a site, each with a level of its own: far from independent flows, and allowed as they are."""
    refused = 0
    for seed in range(8):
        rng = np.random.default_rng(seed)
        capture = np.repeat(np.arange(40), 50)
        role = np.where(rng.permutation(40) < 14, "cal_b", "test")[capture]
        score = rng.normal(size=40)[capture] + rng.normal(size=2000)
        if not honest:
            score[role == "cal_b"] -= 4
        keys = {"flow_id": np.arange(2000), "target": ["t"] * 2000, "role": role, "score": score}
        truth = {"flow_id": np.arange(2000), "attack": [False] * 2000, "site": ["lab"] * 2000}
        rate = realised([(pl.DataFrame(keys), pl.DataFrame(truth | {"group": capture.astype(str)}))], redraws=100)
        refused += not rate.allowed
    assert refused <= 2 if honest else refused == 8
