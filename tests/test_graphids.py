"""graphids: conversations and what hosts receive against plain loops, embeddings that tell hosts alone, and the
collapse."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import replace

import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score

from detectors.graphids import GraphIDS, GraphIDSParams
from detectors.graphids.graph import conversations, received, windows
from detectors.graphids.network import hidden_pairs
from janus_bench.conformance import parametrize_with_detectors
from janus_bench.contract import PacketStream
from janus_bench.errors import DataError, UsageError
from tests.factories import context, fitted, nothing

SMALL = GraphIDSParams(window=64, edge=16, width=16, feed=32, dropout=0.0, epochs=25, lr=3e-3)


@parametrize_with_detectors([GraphIDS])
def test_graphids_keeps_the_contract(check):
    check()


def made(rows):
    """A stream of packets (capture, time, source, source port, destination, destination port, size, flow)."""
    columns = [np.array(column) for column in zip(*sorted(rows, key=lambda row: row[:2]), strict=True)]
    capture, time, source, sport, destination, dport, size, flow = columns
    source, destination = source.astype(np.uint64), destination.astype(np.uint64)
    sockets = source * 10_000 + sport.astype(np.uint64), destination * 10_000 + dport.astype(np.uint64)
    return PacketStream(
        time=time.astype(float),
        size=size.astype(np.uint32),
        sender=source,
        source=source,
        destination=destination,
        channel=source,
        source_socket=sockets[0],
        destination_socket=sockets[1],
        capture=capture.astype(np.int32),
        flow=flow.astype(np.int64),
    )


def traffic(seed, pairs, size=lambda rng, a, b: rng.integers(60, 200), captures=2):
    """Three packets each way between random ports of (source, destination), one pair a conversation and a flow."""
    rng, rows = np.random.default_rng(seed), []
    for flow, (a, b) in enumerate(pairs):
        begin, port = rng.uniform(0, 600), rng.integers(1024, 9999)
        for packet in range(6):
            ends = (a, port, b, 80) if packet % 2 == 0 else (b, 80, a, port)
            rows.append((flow % captures, begin + packet * rng.uniform(0.01, 0.1), *ends, size(rng, a, b), flow))
    return made(rows)


def plain_conversations(stream):
    """Packet by packet: the numbers of the packets of each conversation, in the order of their first packets."""
    open_, found = {}, []
    for i in range(len(stream)):
        key = (int(stream.capture[i]), frozenset([int(stream.source_socket[i]), int(stream.destination_socket[i])]))
        if key not in open_ or stream.time[i] - stream.time[open_[key][-1]] > 120:
            open_[key] = []
            found.append(open_[key])
        open_[key].append(i)
    return found


def test_conversations_are_those_of_a_plain_loop_with_their_statistics():
    rng = np.random.default_rng(0)
    rows = [
        (rng.integers(2), rng.uniform(0, 5000), a := rng.integers(3), 1, (a + 1) % 3, rng.integers(2), 60 + i, -1)
        for i in range(400)
    ]
    stream = made(rows)
    graph, plain = conversations(stream), plain_conversations(stream)
    assert len(plain) == len(graph.features) > 20
    for edge, packets in enumerate(plain):
        assert set(graph.of_packet[packets]) == {edge}
        time, size = stream.time[packets] * 1e6, stream.size[packets].astype(float)
        out = stream.source_socket[packets] == stream.source_socket[packets[0]]
        gaps = np.diff(time) if len(packets) > 1 else np.zeros(1)
        expected = [time[-1] - time[0], out.sum(), (~out).sum(), size[out].sum(), size[~out].sum()]
        expected += [size.mean(), size.std(), size.min(), size.max(), gaps.mean(), gaps.std(), gaps.max()]
        np.testing.assert_allclose(graph.features[edge], np.log1p(expected), rtol=1e-7, atol=1e-7)
        assert graph.source[edge] == stream.source[packets[0]]
        assert graph.destination[edge] == stream.destination[packets[0]]
        assert graph.capture[edge] == stream.capture[packets[0]]


def test_hosts_receive_the_mean_of_the_edges_into_them_in_their_capture():
    graph = conversations(traffic(1, np.random.default_rng(1).integers(0, 6, size=(80, 2))))
    features = np.random.default_rng(2).normal(size=graph.features.shape)
    incoming = defaultdict(list)
    for edge in range(len(features)):
        incoming[graph.capture[edge], graph.destination[edge]].append(features[edge])
    for edge, row in enumerate(received(graph, features)):
        ends = [incoming.get((graph.capture[edge], end)) for end in (graph.source[edge], graph.destination[edge])]
        expected = [np.zeros(12) if rows is None else np.mean(rows, axis=0) for rows in ends]
        np.testing.assert_allclose(row, np.concatenate(expected))


def test_windows_are_consecutive_full_and_of_one_capture():
    capture = np.repeat([0, 1, 2], [10, 4, 3])
    expected = [[0, 1, 2, 3], [4, 5, 6, 7], [6, 7, 8, 9], [10, 11, 12, 13], [14, 15, 16, -1]]
    assert windows(capture, 4).tolist() == expected


@pytest.fixture(scope="module")
def network():
    """30 hosts in three roles: clients of the first ten talk to the second ten, those to the third; each role receives
    packets of its own size."""

    def size(rng, a, b):
        return 100 + 400 * (b // 10) + rng.integers(0, 40)

    def pairs(seed, n):
        rng = np.random.default_rng(seed)
        role = rng.integers(0, 2, n)
        return np.stack([10 * role + rng.integers(0, 10, n), 10 * (role + 1) + rng.integers(0, 10, n)], axis=1)

    train, validation = (traffic(seed, pairs(seed, n), size) for seed, n in ((0, 400), (1, 150)))
    odd = np.stack([np.arange(10), 20 + np.arange(10)], axis=1)  # clients that talk to servers of the third role
    test = traffic(2, np.concatenate([pairs(2, 300), odd]), size)
    return [replace(nothing(n), stream=stream) for n, stream in ((400, train), (150, validation), (310, test))]


@pytest.fixture(scope="module")
def detector(network):
    fitted_ = GraphIDS(SMALL)
    fitted_.fit(network[0], context(network[1]))
    return fitted_


def test_a_client_that_talks_to_another_role_ranks_above_the_benign_ones(detector, network):
    assert roc_auc_score(np.arange(310) >= 300, detector.score(network[2])) >= 0.9


def test_conversations_of_one_host_pair_have_one_embedding_whatever_they_are(detector):
    stream = traffic(5, [(1, 11), (1, 11), (2, 11)], size=lambda rng, a, b: rng.integers(60, 1500), captures=1)
    graph = conversations(stream)
    assert not np.allclose(graph.features[0], graph.features[1])
    rows = detector._windows(graph)[0]
    with torch.inference_mode():
        codes = detector._model.embedded(torch.from_numpy(rows.reshape(1, 64, 25)[..., :24]))[0, :3]
    by_source = {int(source): code for source, code in zip(graph.source, codes, strict=True)}
    for source, code in zip(graph.source, codes, strict=True):
        assert torch.equal(code, by_source[int(source)])


def test_another_conversation_into_a_host_changes_the_edges_at_that_host_alone():
    pairs = [(1, 11), (2, 11), (11, 21), (3, 12), (12, 22)]
    few, more = (conversations(traffic(6, given, captures=1)) for given in (pairs, [*pairs, (4, 11)]))

    def by_ends(graph):
        ends = zip(graph.source.tolist(), graph.destination.tolist(), strict=True)
        return dict(zip(ends, received(graph, graph.features), strict=True))

    before, after = by_ends(few), by_ends(more)
    changed = {ends for ends in before if not np.allclose(before[ends], after[ends])}
    assert changed == {(1, 11), (2, 11), (11, 21)}


def test_half_of_the_flows_score_as_in_the_whole_batch(detector, network):
    flows = network[2]
    np.testing.assert_array_equal(detector.score(flows)[::2], detector.score(flows.take(slice(None, None, 2))))


def test_training_as_published_shrinks_the_embeddings_and_a_fixed_target_does_not(network):
    spreads, errors = {}, {}
    for target in ("joint", "detached"):
        detector = fitted(GraphIDS(replace(SMALL, target=target)), network[0])
        rows = torch.from_numpy(detector._windows(conversations(network[0].stream))[0]).unflatten(1, (-1, 25))
        with torch.inference_mode():
            codes = detector._model.embedded(rows[..., :24])[rows[..., 24] > 0]
        spreads[target] = float(codes.std(dim=0).mean())
        errors[target] = float(detector.score(network[0]).mean())
    assert errors["joint"] < 0.5 * errors["detached"]  # what a benign validation loss would reward
    assert spreads["joint"] < 0.3 * spreads["detached"]


def test_an_epoch_is_judged_by_the_error_of_each_window_over_its_embeddings_variance(detector, network):
    rows = torch.from_numpy(detector._windows(conversations(network[1].stream))[0])
    given = rows.unflatten(1, (-1, 25))
    with torch.inference_mode():
        found = detector._judge(rows).numpy()
        codes, output = (each.double().numpy() for each in detector._model(given[..., :24], given[..., 24] > 0))
    for window, present in enumerate(given[..., 24].numpy() > 0):
        code, made_ = codes[window][present], output[window][present]
        assert found[window] == pytest.approx(
            np.square(made_ - code).sum() / code.var(axis=0).sum() / len(code), rel=1e-3
        )


def test_edge_features_far_from_the_training_ones_are_clipped_to_ten_spreads(detector):
    stream = traffic(5, [(1, 11), (2, 12)], size=lambda rng, a, b: 2_000_000_000, captures=1)
    rows = detector._windows(conversations(stream))[0].reshape(1, 64, 25)
    assert np.abs(rows).max() == 10


def test_pairs_are_hidden_both_ways_and_never_from_themselves():
    hidden = hidden_pairs((3, 50), 0.15, torch.Generator().manual_seed(0))
    assert torch.equal(hidden, hidden.transpose(1, 2))
    assert not hidden.diagonal(dim1=1, dim2=2).any()
    assert float(hidden.float().mean()) == pytest.approx(0.15, abs=0.02)


def test_flows_without_a_conversation_are_refused(detector, network):
    with pytest.raises(DataError, match="1 of 2 flows have no packet in the stream"):
        detector.score(replace(nothing(2), stream=traffic(7, [(1, 11)])))
    with pytest.raises(UsageError, match="graphids: width must be a multiple of heads=4"):
        GraphIDSParams(width=30)
