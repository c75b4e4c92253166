"""KitNET against plain NumPy and the original program; kitsune and kitnet-flow as detectors."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
from scipy.stats import spearmanr

from detectors.kitsune import KitNETFlow, KitNETParams, Kitsune, KitsuneParams
from detectors.kitsune.afterimage import AfterImage
from detectors.kitsune.kitnet import KitNET
from janus_bench.conformance import parametrize_with_detectors
from janus_bench.errors import DataError, PluginError, UsageError
from tests.conftest import SHARED_DATA, needs_shared_data
from tests.factories import context, nothing, on_features, stream_of
from tests.test_kitsune_features import REFERENCES, packets, read_plainly


@parametrize_with_detectors([Kitsune, KitNETFlow])
def test_kitsune_and_kitnet_flow_keep_the_contract(check):
    check()


class PlainAutoencoder:
    """A row at a time, as the paper describes it and the public code starts it."""

    def __init__(self, units):
        hidden = math.ceil(0.75 * units)
        self.w = np.random.RandomState(1234).uniform(-1 / units, 1 / units, size=(units, hidden))
        self.b, self.c = np.zeros(hidden), np.zeros(units)
        self.low, self.high = np.full(units, np.inf), np.full(units, -np.inf)

    def run(self, x, learn):
        if learn:
            self.low, self.high = np.minimum(self.low, x), np.maximum(self.high, x)
        x = (x - self.low) / (self.high - self.low + 1e-16)
        with np.errstate(over="ignore"):
            y = 1 / (1 + np.exp(-(x @ self.w + self.b)))
            error = x - 1 / (1 + np.exp(-(y @ self.w.T + self.c)))
        if learn:
            slope = (error @ self.w) * y * (1 - y)
            self.w = self.w + 0.1 * (np.outer(x, slope) + np.outer(error, y))
            self.b, self.c = self.b + 0.1 * slope, self.c + 0.1 * error
        return math.sqrt(np.mean(error**2))


def plain_kitnet(groups, train, test):
    """RMSEs of the output autoencoder on the training rows, each before it is learned from, and on the test rows."""
    members, output = [PlainAutoencoder(len(group)) for group in groups], PlainAutoencoder(len(groups))

    def run(row, learn):
        return output.run(
            np.array([member.run(row[group], learn) for member, group in zip(members, groups, strict=True)]), learn
        )

    return [run(row, True) for row in train], [run(row, False) for row in test]


def correlated(seed, n, width=23):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(n, 6)) @ np.random.default_rng(9).normal(size=(6, width)) + 0.3 * rng.normal(
        size=(n, width)
    )


def test_kitnet_equals_plain_numpy_in_training_and_in_scoring():
    rows, test = correlated(0, 900), np.concatenate([correlated(1, 300), 50 * correlated(2, 20)])
    kitnet = KitNET()
    kitnet.learn_groups(rows[:300])
    assert len(kitnet.groups) > 2
    trained = kitnet.train(rows[300:])
    expected_trained, expected = plain_kitnet(kitnet.groups, rows[300:], test)
    np.testing.assert_allclose(trained, expected_trained, rtol=1e-9)
    np.testing.assert_allclose(kitnet.score(test), expected, rtol=1e-9)


def test_kitnet_learns_and_far_rows_score_higher_without_bound():
    kitnet = KitNET()
    kitnet.learn_groups(correlated(0, 300))
    errors = kitnet.train(correlated(1, 5000))
    assert errors[-500:].mean() < 0.7 * errors[:500].mean()
    near, far, very_far = (kitnet.score(scale * correlated(2, 200)) for scale in (1, 100, 1e12))
    assert near.max() < far.min() < very_far.min()
    assert np.isfinite(very_far).all()


@needs_shared_data
@pytest.mark.parametrize("name", REFERENCES)
def test_rmse_equals_that_of_the_original_program(name):
    reference = np.load(SHARED_DATA / "kitsune_reference" / f"{name}.npz")
    time, size, keys = read_plainly(name, len(reference["rmse"]))
    features = AfterImage(time, size, keys).next(len(time))
    mapped = int(reference["fm_grace"]) + 1
    trained = mapped + int(reference["ad_grace"])
    kitnet = KitNET()
    kitnet.learn_groups(features[:mapped])
    kitnet.train(features[mapped:trained])
    scores, expected = kitnet.score(features[trained:]), reference["rmse"][trained:]
    assert (reference["rmse"][:trained] == 0).all()
    assert len(expected) > 4000
    assert (abs(scores - expected) <= 1e-5 * expected).mean() >= 0.99
    assert spearmanr(scores, expected).statistic >= 0.9999


def batch(captures, flow, n):
    return dataclasses.replace(nothing(n), stream=stream_of(captures, flow))


TRAIN = [packets(0, 900, 12), packets(1, 700, 12)]
TEST = [packets(2, 300, 12), packets(3, 400, 12)]


@pytest.mark.parametrize("reduction", ["max", "mean"])
def test_a_flow_s_score_is_the_largest_or_mean_of_its_packets(reduction):
    detector = Kitsune(KitsuneParams(reduction=reduction))
    detector.fit(batch(TRAIN, np.full(1600, -1), 0), context())
    flow = np.random.default_rng(0).integers(-1, 60, 700)
    scores = detector.score(batch(TEST, flow, 62))

    features = np.concatenate([AfterImage(*capture).next(10**6) for capture in TRAIN])  # anew with every capture
    kitnet = KitNET()
    kitnet.learn_groups(features[:161])  # a tenth, and one
    kitnet.train(features[161:])
    errors = kitnet.score(np.concatenate([AfterImage(*capture).next(10**6) for capture in TEST]))
    expected = [getattr(np, reduction)(errors[flow == i]) if (flow == i).any() else 0 for i in range(62)]
    assert expected[-1] == 0
    np.testing.assert_allclose(scores, expected, rtol=1e-9)


def test_a_capture_s_scores_do_not_depend_on_the_captures_before_it():
    detector = Kitsune()
    detector.fit(batch(TRAIN, np.full(1600, -1), 0), context())
    alone = detector.score(batch(TEST[1:], np.arange(400), 400))
    second = detector.score(batch(TEST, np.concatenate([np.full(300, -1), np.arange(400)]), 400))
    np.testing.assert_allclose(second, alone, rtol=1e-9)


def test_kitsune_ranks_a_flood_above_what_it_was_trained_on():
    time, size, keys = packets(5, 600, 12)
    flood = np.arange(300, 600)
    time, size = time.copy(), size.copy()
    time[flood] = time[300] + np.arange(300) * 1e-4
    size[flood] = 60
    detector = Kitsune()
    detector.fit(batch(TRAIN, np.full(1600, -1), 0), context())
    scores = detector.score(batch([(time, size, keys)], np.arange(600), 600))
    assert np.median(scores[350:]) > 2 * np.median(scores[:300])


def test_blocks_of_packets_do_not_change_the_fit(monkeypatch):
    whole, parts = Kitsune(), Kitsune()
    flows = batch(TEST, np.arange(700), 700)
    whole.fit(batch(TRAIN, np.full(1600, -1), 0), context())
    expected = whole.score(flows)
    monkeypatch.setattr("detectors.kitsune._BLOCK", 37)
    parts.fit(batch(TRAIN, np.full(1600, -1), 0), context())
    np.testing.assert_allclose(parts.score(flows), expected, rtol=1e-9)


def test_kitnet_flow_is_kitnet_on_the_flow_features_in_their_order():
    rows, test = correlated(0, 500, 20), correlated(1, 100, 20)
    detector = KitNETFlow(KitNETParams(fm_share=0.2, largest=5))
    detector.fit(on_features(rows), context())
    kitnet = KitNET(largest=5)
    kitnet.learn_groups(rows[:101])
    kitnet.train(rows[101:])
    np.testing.assert_array_equal(detector.score(on_features(test)), kitnet.score(test))


def test_the_mapper_takes_the_public_code_s_grace_or_a_share():
    assert KitNETParams().mapped(10**6) == 5001
    assert KitNETParams().mapped(1000) == 101
    assert KitNETParams(fm_grace=3).mapped(1000) == 4


@pytest.mark.parametrize("detector", [KitNETFlow(), Kitsune()])
def test_one_training_row_is_refused(detector):
    flows = dataclasses.replace(on_features(correlated(0, 1, 20)), stream=stream_of([packets(0, 1, 3)], [0]))
    with pytest.raises(DataError, match="1 training rows"):
        detector.fit(flows, context())


@pytest.mark.parametrize(
    ("make", "named"),
    [
        (lambda: KitNETParams(largest=0), "largest"),
        (lambda: KitNETParams(hidden=1.5), "hidden"),
        (lambda: KitNETParams(fm_share=1), "fm_share"),
        (lambda: KitNETParams(rate=-1), "rate"),
        (lambda: KitsuneParams(reduction="median"), "reduction must be one of max, mean"),
    ],
)
def test_wrong_parameters_are_named(make, named):
    with pytest.raises(UsageError, match=named):
        make()


def test_score_before_fit_is_refused():
    with pytest.raises(PluginError, match="score"):
        Kitsune().score(batch(TEST, np.arange(700), 700))
