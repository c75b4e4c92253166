"""Thresholds, p-values and the drift line, against their definitions and on simulated draws."""

from __future__ import annotations

import numpy as np
import pytest

from harness.operate.judge import Judge, p_values, threshold_of
from harness.operate.reasons import Reasons
from janus_bench.columns import FLOW_FEATURES
from janus_bench.errors import UsageError


def test_p_values_are_super_uniform_on_independent_draws():
    """P(p ≤ a) ≤ a for every a, over draws of calibration and flow together; with ties too."""
    rng = np.random.default_rng(1)
    for draw in (lambda n: rng.standard_normal(n), lambda n: rng.integers(0, 8, n).astype(float)):
        p = np.array([p_values(draw(1), np.sort(draw(49)))[0] for _ in range(20_000)])
        assert p.min() >= 1 / 50
        for level in (0.02, 0.04, 0.1, 0.25, 0.5, 0.9):
            assert np.mean(p <= level) <= level + 4 * np.sqrt(level * (1 - level) / len(p))
    continuous = np.array(
        [p_values(rng.standard_normal(1), np.sort(rng.standard_normal(49)))[0] for _ in range(20_000)]
    )
    assert abs(np.mean(continuous <= 0.1) - 0.1) < 0.01  # and no more careful than it has to be


@pytest.mark.parametrize("seed", range(5))
def test_a_threshold_is_the_smallest_calibration_score_with_so_few_above_it(seed):
    rng = np.random.default_rng(seed)
    scores = np.sort(rng.integers(0, 60, int(rng.integers(100, 400))).astype(float))
    for rate in (0.01, 0.02, 0.1, 0.3):
        expected = min(value for value in scores if np.mean(scores > value) <= rate)
        assert threshold_of(f"fpr={rate}", scores, 0).value == expected
        found = threshold_of(f"alerts={rate * 1000:g}/day", scores, 1000)
        assert (found.value, found.promised) == (expected, pytest.approx(rate))
    assert threshold_of("p99", scores, 0).value == np.quantile(scores, 0.99, method="higher")


def test_a_rate_that_so_few_flows_cannot_know_is_refused_with_the_number_that_could():
    """Of n + 1 exchangeable flows the largest is the new one once in n + 1."""
    scores = np.arange(98.0)
    with pytest.raises(UsageError, match="takes 99 calibration flows to know, the model has 98"):
        threshold_of("fpr=0.01", scores, 0)
    assert threshold_of("fpr=0.01", np.arange(99.0), 0).value == 98.0
    for wrong in ("p100", "fpr=0", "fpr=2", "alerts=5", "alerts=2000/day", "x"):
        with pytest.raises(UsageError):
            threshold_of(wrong, scores, 1000)
    with pytest.raises(UsageError, match="how many flows a day"):
        threshold_of("alerts=5/day", scores, 0)


class Model:
    """A calibrated model in memory: captures of so many flows, whose scores are drawn around a place of their own."""

    folder = "model"

    def __init__(self, places: list[float], flows: int = 400, seed: int = 0) -> None:
        rng = np.random.default_rng(seed)
        scores = np.concatenate([place + rng.standard_normal(flows) for place in places])
        capture = np.repeat(np.arange(len(places)), flows)
        order = np.argsort(scores)
        self.arrays = {
            "scores": scores[order],
            "columns": scores[order, None],
            "capture": capture[order],
            "features": np.zeros((len(scores), len(FLOW_FEATURES))),
            "aggregate": scores[:10, None],
        }
        captures = [{"name": f"c{number}", "sha256": "", "flows": flows} for number in range(len(places))]
        calibration = {"captures": captures, "flows": len(scores), "aggregated": 10, "flows_per_day": 1e6}
        self.manifest = {"calibration": calibration, "scores": ["score"], "aggregator": "identity"}

    def array(self, name: str) -> np.ndarray:
        return self.arrays[name]


def test_each_capture_is_judged_by_the_others():
    model = Model([0, 0, 3])
    judge = Judge(model, "p99")  # type: ignore[arg-type]
    rates = {one.capture: one.rate for one in judge.left_out}
    scores, capture = model.arrays["scores"], model.arrays["capture"]
    for number in range(3):
        own = capture == number
        threshold = np.quantile(scores[~own], 0.99, method="higher")
        assert rates[f"c{number}"] == np.mean(scores[own] > threshold)
    assert rates["c2"] > 0.5
    assert "judged by the others: c0 0.00%" in judge.described()[-1]
    assert Judge(Model([0]), "p99").left_out == []  # type: ignore[arg-type]


def test_the_drift_line_comes_where_chance_and_the_captures_do_not_allow_the_rate():
    """On the calibrated network once in a hundred at most; on another one nearly always."""
    judge, rng, said = Judge(Model([0, 0]), "p99"), np.random.default_rng(9), 0  # type: ignore[arg-type]
    for _ in range(200):
        alerts = int(np.sum(rng.standard_normal(1000) > judge.threshold.value))
        said += bool(judge.drift(alerts, 1000))
    assert said <= 8
    assert "recalibrate" in judge.drift(100, 1000)
    assert judge.drift(0, 0) == ""
    apart = Judge(Model([0, 3]), "p99")  # type: ignore[arg-type]
    assert apart.drift(300, 1000) == ""  # one of its own captures would look like that


def test_reasons_are_the_features_furthest_out_in_units_that_people_read():
    rng = np.random.default_rng(2)
    known = rng.normal(3.0, 1.0, (500, len(FLOW_FEATURES)))
    usual = np.full(len(FLOW_FEATURES), 3.0)
    odd = usual.copy()
    odd[FLOW_FEATURES.index("bytes_fwd")] = np.log1p(3.1e6)
    odd[FLOW_FEATURES.index("iat_min")] = np.log1p(2.5e6)
    odd[FLOW_FEATURES.index("size_min")] = -5.0
    (reasons,) = Reasons(known, np.zeros((500, 1)), ["score"]).of(odd[None], np.zeros((1, 1)))
    assert sorted(reasons) == [
        "bytes_fwd 3.1 MB: above 100.00% of benign",
        "iat_min 2.5 s: above 100.00% of benign",
        "size_min -0.993 B: below 100.00% of benign",
    ]
    same = Reasons(np.log1p(np.ones((9, 20))).astype(np.float32), np.zeros((9, 1)), ["score"])
    (reasons,) = same.of(np.log1p(np.ones((1, 20))), np.zeros((1, 1)))
    assert all(reason.endswith("above 0.00% of benign") for reason in reasons)
    (reasons,) = Reasons(known, rng.normal(0, 1, (500, 2)), ["a", "b"]).of(odd[None], np.array([[9.0, 0.0]]))
    assert reasons[3] == "a 9: above 100.00% of benign"


def test_a_score_of_a_packet_channel_is_called_by_the_channels_name():
    """The numbers of JANUS's columns are those of the packet channels: 2 is the direction, 3 SYN."""
    known = np.random.default_rng(1).normal(size=(200, 3))
    names = ["disc_nll_ch2", "disc_nll_ch3", "score_ch99"]
    (reasons,) = Reasons(np.zeros((200, 20)), known, names).of(np.zeros((1, 20)), np.array([[0.0, 9.0, 8.0]]))
    assert "disc_nll_ch3 (syn) 9: above 100.00% of benign" in reasons
    assert "score_ch99 8: above 100.00% of benign" in reasons
    assert any(reason.startswith("disc_nll_ch2 (direction) 0: ") for reason in reasons)
