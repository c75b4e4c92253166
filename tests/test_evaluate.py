"""From stored scores to numbers."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from janus_bench.errors import DataError
from janus_bench.extensions import Metric, TestScores
from protocols.metrics import METRICS
from protocols.roles import aggregator_role
from reports.results.evidence import cell_scores, compute_metrics

SPEC = {"regime": "transfer", "calibration": "target_benign", "target": "t"}


def tables(n: int = 400) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Two score columns; flows 0 … n−1, roles in quarters, attacks among the test flows; every third flow has one
    packet."""
    rng = np.random.default_rng(3)
    role = np.repeat(["source_val", "cal_a", "cal_b", "test"], n // 4)
    attack = (role == "test") & (rng.random(n) < 0.4)
    scores = pl.DataFrame(
        {
            "flow_id": np.arange(n),
            "target": ["t"] * n,
            "role": role,
            "a": rng.normal(size=n) + attack,
            "b": rng.normal(size=n),
        }
    )
    truth = pl.DataFrame(
        {
            "flow_id": np.arange(n),
            "attack": attack,
            "family": np.where(attack, "scan", "web"),
            "n_packets": np.arange(n) % 3 + 1,
        }
    )
    truth = truth.with_columns(source=pl.lit("capture"))
    return scores.sample(fraction=1.0, shuffle=True, seed=1), truth


def test_the_aggregator_sees_its_calibration_role_only():
    scores, truth = tables()
    for regime, calibration, role in [
        ("transfer", "target_benign", "cal_a"),
        ("transfer", "source_benign", "source_val"),
        ("transfer", "none", "source_val"),
        ("control", "target_benign", "cal_b"),
    ]:
        assert aggregator_role(regime, calibration, 1) == role
        spec = {"regime": regime, "calibration": calibration, "target": "t", "schema_version": 1}
        before = cell_scores(scores, truth, spec, "oas")[""]
        elsewhere = scores.with_columns(
            a=pl.when(pl.col("role").is_in([role, "test", "cal_b"])).then("a").otherwise(1e6)
        )
        assert np.array_equal(cell_scores(elsewhere, truth, spec, "oas")[""].score, before.score)
        there = scores.with_columns(a=pl.when(pl.col("role") == role).then(pl.col("a") * 3).otherwise("a"))
        assert not np.array_equal(cell_scores(there, truth, spec, "oas")[""].score, before.score)


def test_thresholds_come_from_cal_b_and_a_control_s_aggregator_from_cal_a():
    scores, truth = tables()
    of = {role[0]: part["a"].to_list() for role, part in scores.group_by("role", maintain_order=True)}
    for regime in ("transfer", "control"):
        spec = {"regime": regime, "calibration": "target_benign", "target": "t", "schema_version": 2}
        found = cell_scores(scores, truth, spec, "column:a")[""]
        assert found.cal_b.tolist() == of["cal_b"]
        assert sorted(found.score) == sorted(of["test"])
        before, moved = (
            cell_scores(
                scores.with_columns(a=pl.when(pl.col("role") == role).then(pl.col("a") * 3).otherwise("a")),
                truth,
                spec,
                "oas",
            )[""].score
            for role in ("source_val", "cal_a")
        )
        assert not np.array_equal(before, moved)
        assert np.array_equal(before, cell_scores(scores, truth, spec, "oas")[""].score)


def test_views_and_metrics_by_brute_force():
    scores, truth = tables()
    views = cell_scores(scores, truth, SPEC, "column:a")
    values = compute_metrics(views, {metric.name: metric for metric in METRICS}, pytest.fail)
    test = scores.filter(pl.col("role") == "test").join(truth, on="flow_id")
    for suffix, kept in (("", test), ("@2+", test.filter(pl.col("n_packets") >= 2))):
        attacks, benign = kept.filter("attack")["a"].to_numpy(), kept.filter(~pl.col("attack"))["a"].to_numpy()
        assert values[f"auroc{suffix}"] == pytest.approx((attacks[:, None] > benign).mean())
        assert len(views[suffix].score) == kept.height
    assert len(views[""].cal_b) == 100


def test_truth_of_another_dataset_is_refused():
    scores, truth = tables()
    with pytest.raises(DataError, match="another version"):
        cell_scores(scores, truth.filter(pl.col("flow_id") < 390), SPEC, "column:a")


def test_a_metric_that_raises_or_is_not_finite_is_none_and_said():
    def broken(cell: TestScores) -> float:
        raise ZeroDivisionError("in the plugin")

    said: list[str] = []
    evidence = TestScores(np.zeros(2), np.array([True, False]), np.array(["x", "y"]), np.zeros(1))
    metrics = {
        "broken": Metric("broken", "", broken),
        "infinite": Metric("infinite", "", lambda cell: np.inf),
        "one": Metric("one", "", lambda cell: 1),
    }
    assert compute_metrics({"": evidence}, metrics, said.append) == {"broken": None, "infinite": None, "one": 1.0}
    assert said == ["metric broken raised ZeroDivisionError: in the plugin; it is left out"]
