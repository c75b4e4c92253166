"""janus-context against independent references: p-values by counting, the tail by its formula, the score put together
by hand, and what context changes."""

from __future__ import annotations

import math
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
from scipy.spatial import cKDTree

from detectors.janus import JanusContext, JanusContextParams, JanusPlus, JanusPlusParams
from detectors.janus.patches import packet_points
from detectors.janus.surprise import Surprise
from janus_bench.columns import CONTEXT_FEATURES, FLOW_FEATURES
from janus_bench.contract import FlowBatch
from janus_bench.errors import DataError, UsageError
from tests.test_janus import TINY, context, flows_of, mixed_lengths

TENTH = 0.1  # as docs/janus-context.md says of the tail; not imported, or the check of it would be none
SMALL = JanusContextParams(**asdict(TINY))

pytestmark = pytest.mark.usefixtures("one_thread")


def with_context(flows: FlowBatch, seed: int, shift: float = 0.0) -> FlowBatch:
    values = np.random.default_rng([seed, 99]).normal(2.0 + shift, 0.5, (len(flows), len(CONTEXT_FEATURES)))
    named = {name: values[:, column].copy() for column, name in enumerate(CONTEXT_FEATURES)}
    return FlowBatch(flows.ids, flows.offsets, flows.packets, {**flows.features, **named})


BENIGN = with_context(flows_of(mixed_lengths(150)), 0)
VALIDATION = with_context(flows_of(mixed_lengths(40, 1), 1), 1)
TARGET = with_context(flows_of(mixed_lengths(91, 2), 2, shift=0.3), 2)


def fitted(folder: Path, params: JanusContextParams = SMALL) -> JanusContext:
    detector = JanusContext(params)
    detector.fit(BENIGN, context(VALIDATION, folder))
    return detector


@pytest.fixture(scope="module")
def detector(tmp_path_factory: pytest.TempPathFactory) -> JanusContext:
    """Fitted and calibrated once; tests that calibrate it anew use one of their own."""
    made = fitted(tmp_path_factory.mktemp("fit"))
    made.calibrate(TARGET)
    return made


def test_a_p_value_is_what_counting_and_the_tail_s_formula_give() -> None:
    known = np.random.default_rng(0).lognormal(0.0, 0.7, 137)
    surprise = Surprise.fitted(known)
    start = np.quantile(known, 1 - TENTH)
    excess = [math.log(d / start) for d in known if d > start]
    exponent = sum(excess) / len(excess)  # Hill's estimator
    for distance in [*np.linspace(0.01, 1.2 * known.max(), 60), *known[:20], 50 * known.max()]:
        p = (1 + sum(other >= distance for other in known)) / (1 + len(known))
        beyond = TENTH * (distance / start) ** (-1 / exponent)
        expected = -math.log(max(p, TENTH) if distance <= start else beyond)
        assert surprise(np.array([distance]))[0] == pytest.approx(expected, rel=1e-9)


def test_what_rounding_changes_of_a_distance_does_not_change_how_surprising_it_is() -> None:
    """Benign flows repeat each other: many distances are those of the calibration, or none at all."""
    rng = np.random.default_rng(3)
    known = np.concatenate([np.zeros(40), rng.choice(rng.lognormal(-1.0, 1.0, 30), 200)])
    surprise = Surprise.fitted(known)
    again = known[known < surprise.start]
    for noise in (-1e-6, 1e-6):
        np.testing.assert_array_equal(surprise(again + noise * (1.0 + again)), surprise(again))
    nothing = Surprise.fitted(np.abs(rng.normal(0.0, 1e-7, 50)))
    np.testing.assert_array_equal(nothing(np.abs(rng.normal(0.0, 1e-7, 50))), 0.0)


def test_more_distance_is_never_less_surprising() -> None:
    for known in (np.random.default_rng(1).exponential(1.0, 30), np.zeros(12), np.ones(5), np.array([2.0])):
        found = Surprise.fitted(known)(np.linspace(0.0, 40.0, 500))
        assert np.isfinite(found).all()
        assert (found >= 0).all()
        assert (np.diff(found) >= 0).all()


def test_p_values_of_benign_flows_are_no_smaller_than_uniform_ones() -> None:
    """Of independent draws, P(p ≤ t) ≤ t: by counting up to a tenth, and on average where the tail goes on."""
    rng = np.random.default_rng(2)
    p = np.array([np.exp(-Surprise.fitted(rng.exponential(1.0, 200))(rng.exponential(1.0, 1))) for _ in range(4000)])
    for share in (0.5, 0.25, 0.1, 0.02):
        assert (p <= share).mean() <= share + 3 * math.sqrt(share * (1 - share) / len(p)) + 0.005


def test_the_score_is_what_its_pieces_give(detector: JanusContext) -> None:
    """Flow by flow, with another nearest-neighbour search and the p-values of the fitted references."""
    learnt, known = detector._need_fit()
    janus, metric = learnt.space.janus, learnt.space.metric
    flows = with_context(flows_of(np.array([1, 5, 2, 16, 1, 30]), 7, shift=0.6), 7, 0.4)
    width = SMALL.d_model + 9

    def mapped(one: FlowBatch) -> np.ndarray:
        return metric(packet_points(*janus.read(one)))

    def pooled(batch: FlowBatch) -> np.ndarray:
        means = np.stack([mapped(batch.take([i])).mean(axis=0) for i in range(len(batch))])
        return means.astype(np.float64) * math.sqrt(width)

    def whole(batch: FlowBatch) -> np.ndarray:
        target = pooled(TARGET)
        parts = [((pooled(batch) - target.mean(axis=0)) / np.maximum(target.std(axis=0), 0.1), width)]
        for columns in (FLOW_FEATURES, CONTEXT_FEATURES):
            source, values = BENIGN.feature_matrix(columns), batch.feature_matrix(columns)
            parts.append(((values - source.mean(axis=0)) / np.maximum(source.std(axis=0), 0.1), len(columns)))
        return np.concatenate([np.clip(values, -10, 10) / math.sqrt(n) for values, n in parts], axis=1)

    packets = cKDTree(np.concatenate([mapped(TARGET), mapped(BENIGN)]))
    remembered = cKDTree(np.concatenate([whole(TARGET), whole(BENIGN)]))
    by_packets = np.array([packets.query(mapped(flows.take([i])))[0].mean() for i in range(len(flows))])
    as_whole = remembered.query(whole(flows))[0]
    expected = known.by_packets(by_packets) + known.as_whole(as_whole)
    np.testing.assert_allclose(detector.score(flows), expected, rtol=2e-3)


def test_references_are_distances_between_halves(detector: JanusContext) -> None:
    """Every calibration flow is in one of them once, and is never its own neighbour."""
    _, known = detector._need_fit()
    for surprise in (known.by_packets, known.as_whole):
        assert len(surprise.reference) == len(TARGET)
        assert surprise.reference.min() > 1e-3


def test_an_ordinary_flow_among_strange_neighbours_is_found(detector: JanusContext) -> None:
    like = with_context(flows_of(mixed_lengths(60, 5), 5, shift=0.3), 5)
    strange = with_context(flows_of(mixed_lengths(60, 5), 5, shift=0.3), 5, shift=4.0)
    assert np.median(detector.score(strange)) > np.median(detector.score(like)) + 3


def test_a_flow_of_unknown_packets_is_found_in_ordinary_context(detector: JanusContext) -> None:
    like = with_context(flows_of(mixed_lengths(60, 5), 5, shift=0.3), 5)
    unlike = with_context(flows_of(mixed_lengths(60, 5), 5, shift=4.0), 5)
    assert np.median(detector.score(unlike)) > np.median(detector.score(like)) + 3


def test_a_second_calibration_replaces_the_first_and_none_leaves_it(tmp_path: Path) -> None:
    made = fitted(tmp_path)
    uncalibrated = made.score(VALIDATION)
    made.calibrate(TARGET.take(slice(0, 0)))
    np.testing.assert_array_equal(made.score(VALIDATION), uncalibrated)
    made.calibrate(TARGET)
    first = made.score(VALIDATION)
    assert not np.array_equal(first, uncalibrated)
    made.calibrate(BENIGN)
    made.calibrate(TARGET)
    np.testing.assert_array_equal(made.score(VALIDATION), first)


@pytest.mark.parametrize("n", [1, 2, 3])
def test_a_handful_of_calibration_flows_is_enough_to_score(tmp_path: Path, n: int) -> None:
    made = fitted(tmp_path)
    made.calibrate(TARGET.take(slice(0, n)))
    assert np.isfinite(made.score(VALIDATION)).all()
    assert len(made.score(VALIDATION.take(slice(0, 0)))) == 0


def test_what_is_remembered_is_bounded(tmp_path: Path) -> None:
    made = fitted(tmp_path, replace(SMALL, bank=40))
    made.calibrate(TARGET)
    _, known = made._need_fit()
    assert len(known.packets) == len(known.flows) == 2 * 40 < len(TARGET)  # so many of the target and of the source
    again = fitted(tmp_path, replace(SMALL, bank=40))
    again.calibrate(TARGET)
    np.testing.assert_array_equal(again._need_fit()[1].flows, known.flows)


def test_a_saved_model_scores_the_same_and_that_of_another_detector_is_refused(
    detector: JanusContext, tmp_path: Path
) -> None:
    detector.save(tmp_path)
    loaded = JanusContext.load(tmp_path, SMALL)
    np.testing.assert_array_equal(loaded.score(VALIDATION), detector.score(VALIDATION))
    loaded.calibrate(BENIGN)
    assert not np.array_equal(loaded.score(VALIDATION), detector.score(VALIDATION))
    with pytest.raises(DataError, match="'janus-context', not 'janus-plus'"):
        JanusPlus.load(tmp_path, JanusPlusParams(**asdict(TINY)))


def test_using_it_wrongly_is_one_clear_line() -> None:
    with pytest.raises(UsageError, match=r"^janus-context: use_flow_token must be"):
        JanusContextParams(use_flow_token=False)
    with pytest.raises(UsageError, match=r"^janus-context: T must be"):
        JanusContextParams(T=0)
    for call in (JanusContext().score, JanusContext().calibrate):
        with pytest.raises(UsageError, match="not fitted"):
            call(TARGET)
