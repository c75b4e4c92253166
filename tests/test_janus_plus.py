"""janus-plus against independent references: nearest packets, the metric, the score put together by hand, and what
calibration replaces."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.spatial import cKDTree

from detectors.janus import Janus, JanusPlus, JanusPlusParams
from detectors.janus.packing import packed
from detectors.janus.patches import PointMetric, nearest_distance, packet_points
from detectors.janus.preprocess import CHANNELS
from janus_bench.contract import FlowBatch
from janus_bench.errors import UsageError
from tests.test_janus import CPU, TINY, context, flows_of, mixed_lengths

RIDGE = 0.1  # as docs/janus-plus.md says; not imported, or the check of it would be none
SMALL = JanusPlusParams(**asdict(TINY))
BENIGN, VALIDATION = flows_of(mixed_lengths(150)), flows_of(mixed_lengths(40, 1), 1)
TARGET = flows_of(mixed_lengths(80, 2), 2, shift=0.3)


pytestmark = pytest.mark.usefixtures("one_thread")


def fitted(folder: Path, params: JanusPlusParams = SMALL, validation: FlowBatch = VALIDATION) -> JanusPlus:
    detector = JanusPlus(params)
    detector.fit(BENIGN, context(validation, folder))
    return detector


def network_of(detector: JanusPlus) -> Janus:
    assert detector._known is not None
    return detector._known.space.janus


@pytest.fixture(scope="module")
def plus(tmp_path_factory: pytest.TempPathFactory) -> JanusPlus:
    """Fitted and calibrated once; tests that calibrate it anew use one of their own."""
    detector = fitted(tmp_path_factory.mktemp("fit"))
    detector.calibrate(TARGET)
    return detector


def rows(n: int, entries: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(3.0, 2.0, (n, entries)).astype(np.float32)


def test_nearest_distances_are_those_of_a_k_d_tree() -> None:
    points, bank = rows(1300, 7, 0), rows(400, 7, 1)
    np.testing.assert_allclose(
        nearest_distance(points, bank, CPU), cKDTree(bank.astype(np.float64)).query(points)[0], rtol=1e-5
    )


def test_a_packet_of_the_bank_is_at_distance_zero_exactly() -> None:
    bank = 10.0 + rows(300, 5, 0)  # where ‖x‖² + ‖y‖² − 2⟨x, y⟩ in float32 is not zero for x = y
    assert (nearest_distance(bank[::-1].copy(), bank, CPU) == 0).all()


def test_the_metric_is_that_of_its_formula() -> None:
    """Written out again with loops: state of 4 entries, of which one hardly varies and counts as a tenth of their mean
    spread, and 2 channels."""
    training, validation = rows(60, 6, 0), rows(25, 6, 1)
    training[:, 1] = training[:, 1] * 0.01 + 3.0
    validation[:, 1] = validation[:, 1] * 0.01 + 3.0
    mean, std = training.astype(np.float64).mean(axis=0), training.astype(np.float64).std(axis=0)
    assert std[1] < 0.05 * std[:4].mean()
    std[1] = 0.1 * std[:4].mean()
    weight = np.array([2.0, 2.0, 2.0, 2.0, np.sqrt(2.0), np.sqrt(2.0)])  # √4 and √2
    known, unseen = (training - mean) / (std * weight), (validation - mean) / (std * weight)
    covariance = np.zeros((6, 6))
    for packet in unseen:
        distances = [np.linalg.norm(packet - other) for other in known]
        d = packet - known[int(np.argmin(distances))]
        covariance += np.outer(d, d) / (d @ d) / len(unseen)
    values, vectors = np.linalg.eigh(covariance)
    expected = unseen @ vectors @ np.diag((values / values.mean() + RIDGE) ** -0.5)
    mapped = PointMetric.fitted(training, validation, 2)(validation)
    # An eigenvector's sign and the rotation of equal eigenvalues are free; distances are not.
    np.testing.assert_allclose(
        np.linalg.norm(mapped[:, None] - mapped[None], axis=2),
        np.linalg.norm(expected[:, None] - expected[None], axis=2),
        atol=2e-4,
    )


def test_what_varies_among_unseen_benign_packets_counts_less() -> None:
    """Validation packets leave the training packets along entry 0 alone, so a step along it is shorter than one along
    entry 1."""
    training = rows(500, 4, 0)
    validation = training[:100].copy()
    validation[:, 0] += np.float32(40.0)
    metric = PointMetric.fitted(training, validation, 1)
    plain = PointMetric.fitted(training, validation[:0], 1)
    steps = metric(np.vstack([np.zeros(4), np.eye(4)[:2]]).astype(np.float32))
    unweighted = plain(np.vstack([np.zeros(4), np.eye(4)[:2]]).astype(np.float32))
    along, across = (
        np.linalg.norm(steps[i] - steps[0]) / np.linalg.norm(unweighted[i] - unweighted[0]) for i in (1, 2)
    )
    assert along < 0.7 * across
    assert across == pytest.approx(RIDGE**-0.5, rel=0.2)


def test_without_validation_flows_all_directions_are_alike(tmp_path: Path) -> None:
    detector = fitted(tmp_path, validation=VALIDATION.take(slice(0, 0)))
    assert detector._known is not None
    np.testing.assert_array_equal(
        detector._known.space.metric.directions, np.eye(SMALL.d_model + len(CHANNELS), dtype=np.float32)
    )
    assert np.isfinite(detector.score(TARGET)).all()


def test_points_are_states_beside_channels_and_do_not_depend_on_company(plus: JanusPlus) -> None:
    network, data = network_of(plus).read(TARGET)
    together = packet_points(network, data)
    np.testing.assert_array_equal(together[:, -len(CHANNELS) :], data.packets)
    assert together[:, : SMALL.d_model].std(axis=0).min() > 0
    alone = np.concatenate([packet_points(*network_of(plus).read(TARGET.take([flow]))) for flow in range(len(TARGET))])
    np.testing.assert_allclose(alone, together, atol=1e-5)


def test_a_packet_s_state_is_what_the_network_makes_of_clean_data_at_time_one(plus: JanusPlus) -> None:
    network, data = network_of(plus).read(flows_of(np.array([3]), 9))
    (layout,) = packed(data.lengths)
    shown = torch.from_numpy(
        np.concatenate([data.packets[:, :3], 2.0 * data.packets[:, 3:] - 1.0], axis=1).astype(np.float32)
    )
    found = {}
    for t in (0.0, 1.0):
        with torch.inference_mode():
            states = network.states(
                torch.from_numpy(data.flow), shown, network.condition(torch.full((1,), t)), network.place(layout)
            )
        found[t] = states[1:].numpy()  # after FLOW
    points = packet_points(network, data)[:, : SMALL.d_model]
    np.testing.assert_allclose(points, found[1.0], atol=1e-5)
    assert np.abs(points - found[0.0]).max() > 1e-3


def test_the_score_is_the_mean_distance_of_a_flows_packets(plus: JanusPlus) -> None:
    """From its pieces, flow by flow, with another nearest-neighbour search."""
    assert plus._known is not None
    metric = plus._known.space.metric
    tree = cKDTree(metric(packet_points(*network_of(plus).read(TARGET))))
    flows = flows_of(np.array([1, 5, 2, 16, 1]), 7, shift=1.0)
    expected = [
        tree.query(metric(packet_points(*network_of(plus).read(flows.take([flow])))))[0].mean()
        for flow in range(len(flows))
    ]
    np.testing.assert_allclose(plus.score(flows), expected, rtol=1e-4)


def test_calibration_flows_score_nothing_and_a_second_calibration_replaces_the_first(tmp_path: Path) -> None:
    detector = fitted(tmp_path)
    # not calibrated: the training flows are what is known
    np.testing.assert_allclose(detector.score(BENIGN), 0, atol=1e-4)
    assert detector.score(TARGET).min() > 0.01
    detector.calibrate(TARGET)
    np.testing.assert_allclose(detector.score(TARGET), 0, atol=1e-4)
    assert detector.score(BENIGN).min() > 0.01
    first = detector.score(VALIDATION)
    detector.calibrate(BENIGN)
    detector.calibrate(TARGET.take(slice(0, 0)))  # nothing to remember: what was known stays
    np.testing.assert_allclose(detector.score(BENIGN), 0, atol=1e-4)
    detector.calibrate(TARGET)
    np.testing.assert_array_equal(detector.score(VALIDATION), first)


def test_the_bank_is_bounded_and_its_draw_repeats(tmp_path: Path) -> None:
    params = replace(SMALL, bank=100)
    banks = []
    for _ in range(2):
        detector = fitted(tmp_path, params)
        detector.calibrate(TARGET)
        assert detector._known is not None
        banks.append(detector._known.bank)
    assert int(TARGET.lengths.sum()) > 100 == len(banks[0])
    np.testing.assert_array_equal(*banks)
    every = detector._known.space.metric(packet_points(*network_of(detector).read(TARGET)))
    np.testing.assert_allclose(nearest_distance(banks[0], every, CPU), 0, atol=1e-5)  # each is a packet of the target
    assert len(np.unique(banks[0], axis=0)) == 100  # and none is there twice


def test_the_seed_of_the_fit_draws_the_bank(tmp_path: Path) -> None:
    """The same network throughout, so banks differ by their draw alone."""
    detector = fitted(tmp_path, replace(SMALL, bank=100))
    assert detector._known is not None
    space = detector._known.space
    by_seed = {seed: space.some(BENIGN, seed, 100) for seed in (42, 43)}
    assert not np.array_equal(by_seed[42], by_seed[43])
    np.testing.assert_array_equal(detector._known.bank, by_seed[42])  # ``context`` fits with seed 42
    detector.calibrate(TARGET)
    drawn = detector._known.bank
    np.testing.assert_array_equal(drawn, space.some(TARGET, 42, 100))
    detector._known = replace(detector._known, seed=43)
    detector.calibrate(TARGET)
    assert not np.array_equal(detector._known.bank, drawn)


@pytest.mark.parametrize("changes", [{"T": 0}, {"cont_as_disc": True}, {"joint": False}, {"sigma": -1.0}])
def test_a_network_without_packets_or_with_two_parts_is_refused_in_one_line(changes: dict[str, object]) -> None:
    with pytest.raises(UsageError, match=f"^janus-plus: {next(iter(changes))} must be"):
        JanusPlusParams(**changes)  # type: ignore[arg-type]


def test_using_it_wrongly_is_one_clear_line() -> None:
    with pytest.raises(UsageError, match=r"^janus-plus: bank must be a whole number"):
        JanusPlusParams(bank=0)
    for call in (JanusPlus().score, JanusPlus().calibrate):
        with pytest.raises(UsageError, match="not fitted"):
            call(TARGET)


def test_a_flow_of_unknown_packets_scores_higher_than_one_of_known_packets(plus: JanusPlus) -> None:
    like, unlike = flows_of(mixed_lengths(60, 5), 5, shift=0.3), flows_of(mixed_lengths(60, 5), 5, shift=4.0)
    assert np.median(plus.score(unlike)) > 2 * np.median(plus.score(like))
