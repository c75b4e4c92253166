"""whisper: its spectra against torch's, what a gap does to them, and a source that changes its rhythm."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from sklearn.cluster import KMeans
from sklearn.metrics import roc_auc_score

from detectors.whisper import Whisper, WhisperParams, encoded, spectra
from janus_bench.conformance import parametrize_with_detectors
from janus_bench.contract import PacketStream
from janus_bench.errors import DataError, UsageError
from tests.factories import context, nothing


@parametrize_with_detectors([Whisper])
def test_whisper_keeps_the_contract(check):
    check()


@pytest.mark.parametrize("n", [26, 49, 50, 600, 1234])
def test_spectra_are_those_of_torch(n):
    sequence = np.random.default_rng(n).normal(size=n) * 500
    expected = torch.stft(
        torch.from_numpy(sequence), 50, 12, window=torch.ones(50, dtype=torch.float64), return_complex=True
    )
    np.testing.assert_allclose(spectra(sequence), np.log2(np.abs(expected.numpy().T) ** 2 + 1), atol=1e-9)


def test_a_constant_sequence_has_power_at_frequency_zero_alone():
    power = spectra(np.full(300, 7.0))
    np.testing.assert_allclose(power[:, 0], np.log2((50 * 7.0) ** 2 + 1))
    assert power[:, 1:].max() < 1e-9


def test_twice_the_gaps_add_a_constant_and_change_frequency_zero_alone():
    rng = np.random.default_rng(0)
    gaps, size = rng.lognormal(-4, 1, 400), rng.integers(60, 1500, 400)
    once, twice = (encoded(np.cumsum(factor * gaps), size) for factor in (1, 2))
    np.testing.assert_allclose((twice - once)[1:], -15.68)
    assert encoded(np.zeros(3), size[:3]) == pytest.approx(10 * size[:3] - 15.68 * np.log2(1e-5))
    # the first packet has no gap: beyond the first window nothing of it is left
    np.testing.assert_allclose(spectra(once)[6:, 1:], spectra(twice)[6:, 1:], atol=1e-7)
    assert np.abs(spectra(once)[6:, 0] - spectra(twice)[6:, 0]).min() > 1e-3


def talk(address: int, n: int, period: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Packets of one address: a large one every ``period`` packets."""
    time = rng.uniform(0, 1) + np.cumsum(rng.lognormal(-4, 0.2, n))
    return time, np.where(np.arange(n) % period == 0, 1400, 100), np.full(n, address)


def stream(sources, flow_of):
    """A capture of these addresses, merged by time; ``flow_of``: address → flow."""
    time, size, source = (np.concatenate(parts) for parts in zip(*sources, strict=True))
    order = np.argsort(time, kind="stable")
    time, size, source = time[order], size[order].astype(np.uint32), source[order].astype(np.uint64)
    same = dict.fromkeys(("sender", "source", "destination", "channel"), source)
    sockets = dict.fromkeys(("source_socket", "destination_socket"), source)
    flow = np.array([flow_of.get(int(address), -1) for address in source])
    return PacketStream(time=time, size=size, capture=np.zeros(len(time), np.int32), flow=flow, **same, **sockets)


def network(seed, others=()):
    """20 benign addresses with period 2, and ``others`` with periods of their own; flow i is of address i."""
    rng = np.random.default_rng(seed)
    sources = [talk(i, 300, 2, rng) for i in range(20)] + [talk(20 + i, 300, p, rng) for i, p in enumerate(others)]
    n = len(sources)
    return replace(nothing(n), stream=stream(sources, {i: i for i in range(n)}))


@pytest.fixture(scope="module")
def detector():
    fitted = Whisper()
    fitted.fit(network(0), context())
    return fitted


def test_an_address_with_another_period_ranks_above_the_benign_ones(detector):
    scores = detector.score(network(1, others=(3, 5, 7)))
    assert roc_auc_score(np.arange(23) >= 20, scores) == 1.0
    assert scores[20:].min() > 1.5 * scores[:20].max()


def test_a_score_is_the_distance_of_the_worst_stretch_in_which_the_flow_sends(detector):
    """An address that changes its rhythm halfway: a flow of its first half is scored by the first stretch, one of both
    halves by the worse."""
    rng = np.random.default_rng(4)
    n = 12 * 250
    time = np.cumsum(rng.lognormal(-4, 0.2, n))
    size = np.where(np.arange(n) % np.where(np.arange(n) < n // 2, 2, 5) == 0, 1400, 100)
    whole = stream([(time, size, np.zeros(n))], {})
    flow = np.full(n, -1)
    flow[[0, 5]], flow[[7, n - 1]] = 0, 1
    scores = detector.score(replace(nothing(2), stream=replace(whole, flow=flow)))
    frames = spectra(encoded(time, size))
    stretches = np.stack([frames[:100].mean(axis=0), frames[100:200].mean(axis=0), frames[-100:].mean(axis=0)])
    distances = [np.linalg.norm(row - detector._model["centres"], axis=1).min() for row in stretches]
    np.testing.assert_allclose(scores, [distances[0], max(distances[0], distances[2])], rtol=1e-9)


def test_what_the_responder_of_a_flow_sends_has_no_part_in_its_score(detector):
    rng = np.random.default_rng(6)
    asks, answers = talk(0, 300, 2, rng), talk(1, 300, 5, rng)  # the answers' rhythm is a strange one
    answers = (answers[0] + 2, *answers[1:])
    alone, both, answered = (
        detector.score(replace(nothing(1), stream=stream([asks, answers], flow_of)))[0]
        for flow_of in ({0: 0}, {0: 0, 1: 0}, {1: 0})
    )
    assert both == alone < answered


def test_half_of_the_flows_score_as_in_the_whole_batch(detector):
    flows = network(1, others=(3,))
    np.testing.assert_array_equal(detector.score(flows)[::2], detector.score(flows.take(slice(None, None, 2))))


def test_centres_are_those_of_k_means_on_whole_addresses_where_they_are_short():
    detector, flows = Whisper(WhisperParams(centres=3)), network(2, others=(3, 4))
    detector.fit(flows, context(seed=1))
    given = flows.packet_stream()
    rows = []
    for address in range(22):
        chosen = given.source == address
        rows.append(spectra(encoded(given.time[chosen], given.size[chosen])).mean(axis=0))
    means = KMeans(3, n_init=10, random_state=1).fit(np.stack(rows)).cluster_centers_
    np.testing.assert_allclose(np.sort(detector._model["centres"], axis=0), np.sort(means, axis=0), atol=1e-9)


def test_addresses_that_send_too_little_score_the_benign_mean_and_are_counted(detector, caplog):
    rng = np.random.default_rng(5)
    sources = [talk(0, 300, 2, rng), talk(1, 3, 2, rng)]
    with caplog.at_level("WARNING"):
        scores = detector.score(replace(nothing(3), stream=stream(sources, {0: 0, 1: 1})))
    assert scores[1] == scores[2] == detector._model["usual"][0] != scores[0]
    assert "2 of 3 flows" in caplog.text
    with pytest.raises(DataError, match="no address of the training captures sent 500 packets"):
        Whisper(WhisperParams(shortest=500)).fit(network(0), context())
    with pytest.raises(UsageError, match="whisper: shortest must be a whole number ≥ 2"):
        WhisperParams(shortest=1)
