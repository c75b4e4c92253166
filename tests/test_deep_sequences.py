"""anomaly-transformer, contrastive, tslanet: networks on packet sequences, against what is written out and known
answers."""

from __future__ import annotations

import math
from dataclasses import replace
from functools import cache, partial

import numpy as np
import pytest
import torch

from detectors.anomaly_transformer import AnomalyTransformer, AnomalyTransformerParams
from detectors.anomaly_transformer import network as anomaly
from detectors.contrastive import Contrastive, ContrastiveParams, _ByLength, _lengths
from detectors.contrastive.network import cut_and_pasted, nt_xent
from detectors.shared import encoders
from detectors.shared.encoders import by_length, packet_errors, presence
from detectors.tslanet import TSLANet, TSLANetParams
from detectors.tslanet import network as tslanet
from janus_bench.conformance import parametrize_with_detectors
from janus_bench.contract import concatenated
from tests.factories import context
from tests.planted_sequences import of_length, separation, sequences

SMALL = {
    "anomaly-transformer": AnomalyTransformerParams(
        width=32, layers=2, heads=4, lr=2e-3, halving=False, epochs=8, weighted=False
    ),
    "contrastive": ContrastiveParams(width=64, layers=2, epochs=3, lr=2e-3),
    "tslanet": TSLANetParams(width=32, epochs=8, lr=3e-3),
}
CLASSES = {"anomaly-transformer": AnomalyTransformer, "contrastive": Contrastive, "tslanet": TSLANet}
REQUIRED = {  # order, one, far
    "anomaly-transformer": (0.85, 0.8, 0.95),
    "contrastive": (0.75, 0.75, 0.99),
    "tslanet": (0.95, 0.9, 0.99),
}


PLANTED = partial(sequences, 800, 200)


@cache
def trained(name):
    """Fitted on the planted sequences."""
    detector, planted = CLASSES[name](SMALL[name]), PLANTED()
    detector.fit(planted.train, context(planted.validation))
    return detector


@parametrize_with_detectors(CLASSES.values())
def test_the_networks_on_sequences_keep_the_contract(check):
    check()


@pytest.mark.parametrize("name", CLASSES)
def test_planted_anomalies_are_seen(name):
    aurocs = PLANTED().aurocs(trained(name))
    for kind, least in zip(("order", "one", "far"), REQUIRED[name], strict=True):
        assert aurocs[kind] >= least, aurocs


@pytest.mark.parametrize("name", CLASSES)
def test_a_flow_scores_alone_as_among_longer_ones(name):
    short, mixed = of_length(3, 5), concatenated([of_length(3, 5), of_length(2, 60)])
    detector = trained(name)
    alone = np.concatenate([detector.score(short.take([i])) for i in range(3)])
    np.testing.assert_allclose(alone, detector.score(mixed)[:3], rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("name", ["anomaly-transformer", "tslanet"])
def test_another_length_alone_is_no_anomaly_to_a_mean(name):
    detector = trained(name)
    assert 0.2 < separation(detector.score(of_length(200, 14)), detector.score(of_length(200, 11, seed=1))) < 0.8


def packets(lengths, seed=0, positions=8):
    """Random packets (B, T, 10) of flows of these lengths."""
    generator = torch.Generator().manual_seed(seed)
    given = torch.randn((len(lengths), positions, 10), generator=generator)
    given[..., 3:9] = (given[..., 3:9] > 0).float()
    given[..., 9] = 1
    return given * (torch.arange(positions) < torch.tensor(lengths)[:, None])[..., None]


# anomaly-transformer


def test_the_prior_is_a_gaussian_around_each_position_and_its_spread_is_two_at_most():
    valid = presence(packets((8, 5)))
    sigma = anomaly.spread(torch.linspace(-3, 3, 16).reshape(2, 1, 8))
    assert 0 < float(sigma.min()) < float(sigma.max()) <= 2 + 1e-4
    prior = anomaly.prior_of(sigma, valid)
    torch.testing.assert_close(prior.sum(dim=-1), torch.ones(2, 1, 8))
    assert (prior[0, 0].argmax(dim=1) == torch.arange(8)).all()
    assert (prior[1, ..., 5:] == 0).all()
    i, j, s = 3, 5, float(sigma[0, 0, 3])
    row = [math.exp(-((i - k) ** 2) / (2 * s * s)) / s for k in range(8)]
    assert float(prior[0, 0, i, j]) == pytest.approx(row[j] / sum(row), rel=1e-5)


def test_equal_associations_leave_the_mean_error():
    given = packets((8, 5, 1))
    valid, errors = presence(given), torch.rand(3, 8, generator=torch.Generator().manual_seed(1))
    prior = anomaly.prior_of(torch.full((3, 2, 8), 1.0), valid)
    same = [anomaly.Associations(prior, prior)] * 2
    assert float(anomaly.divergence(prior, prior).abs().max()) == 0
    expected = [errors[i, :n].mean() for i, n in enumerate((8, 5, 1))]
    torch.testing.assert_close(anomaly.criterion(errors, same, valid, 50.0), torch.stack(expected))


def test_the_criterion_is_that_of_the_paper():
    """Flow by flow and row by row, in NumPy."""
    given, network = packets((8, 5)), trained("anomaly-transformer")._model
    valid = presence(given)
    with torch.inference_mode():
        output, pairs = network(given, valid)
        found = anomaly.criterion(packet_errors(given, output), pairs, valid, 50.0)
        errors = packet_errors(given, output).double().numpy()
    for flow, n in enumerate((8, 5)):
        total = np.zeros(n)
        for series, prior in pairs:
            for head in range(series.shape[1]):
                s, p = (part[flow, head, :n, :n].double().numpy() for part in (series, prior))
                logs = np.log(p + 1e-4) - np.log(s + 1e-4)
                total += ((p * logs).sum(axis=1) - (s * logs).sum(axis=1)) / series.shape[1]
        weights = np.exp(-50 * (total - total.min()))
        assert float(found[flow]) == pytest.approx((weights / weights.sum()) @ errors[flow, :n], rel=1e-3)


def test_one_loss_has_the_gradients_of_the_two_of_the_paper():
    given, k = packets((8, 5, 3)), 3.0
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = anomaly.AssociationNetwork(16, 2, 4).double()
    given, valid = given.double(), presence(given)

    def gradients(*losses):
        network.zero_grad()
        output, pairs = network(given, valid)
        errors = packet_errors(given, output)
        for i, loss in enumerate(losses):
            loss(errors, pairs).backward(retain_graph=i + 1 < len(losses))
        return [weight.grad.clone() for weight in network.parameters()]

    def mean_divergence(pairs, detached):
        each = []
        for series, prior in pairs:
            s, p = (series, prior.detach()) if detached == "prior" else (series.detach(), prior)
            logs = (p + 1e-4).log() - (s + 1e-4).log()
            each.append(((p * logs).sum(-1) - (s * logs).sum(-1)).mean(dim=1)[valid].mean())
        return torch.stack(each).mean()

    two = gradients(
        lambda errors, pairs: errors[valid].mean() - k * mean_divergence(pairs, "prior"),
        lambda errors, pairs: errors[valid].mean() + k * mean_divergence(pairs, "series"),
    )
    one = gradients(lambda errors, pairs: anomaly.minimax(errors, pairs, valid, k).mean())
    for expected, found in zip(two, one, strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-9)


def test_cutting_a_batch_group_by_group_leaves_its_loss_as_it_is(monkeypatch):
    monkeypatch.setattr(encoders, "WORTH", 0)
    detector = trained("anomaly-transformer")
    flows = concatenated([of_length(2, 60), of_length(50, 5), of_length(5, 12, seed=1), of_length(3, 8, seed=2)])
    rows = torch.from_numpy(detector._rows(flows))
    assert sorted(len(part) for part in by_length(rows)) == [2, 5, 53]
    given = rows.unflatten(1, (-1, 10))
    with torch.inference_mode():
        output, pairs = detector._model(given, presence(given))
        whole = anomaly.minimax(packet_errors(given, output), pairs, presence(given), detector.params.k).mean()
        assert float(detector._loss(rows, None)) == pytest.approx(float(whole), rel=1e-4)


def test_weighted_scores_still_see_what_is_far():
    detector = AnomalyTransformer(replace(SMALL["anomaly-transformer"], weighted=True, epochs=2))
    detector.fit(PLANTED().train, context())
    assert PLANTED().aurocs(detector)["far"] >= 0.95
    rows = torch.from_numpy(detector._rows(PLANTED().benign)[:50])
    with torch.inference_mode():
        errors, pairs, valid = detector._errors(rows)
        torch.testing.assert_close(detector._evaluate(rows), anomaly.criterion(errors, pairs, valid, 50.0))
        assert not torch.allclose(detector._evaluate(rows), anomaly.reconstruction(errors, valid), rtol=1e-2)


# contrastive


def test_nt_xent_of_orthogonal_pairs_and_of_any_views():
    views = torch.eye(6)
    assert float(nt_xent(views, views, 0.5)) == pytest.approx(math.log(1 + 10 * math.exp(-2)))
    rng = np.random.default_rng(0)
    first, second = rng.normal(size=(2, 5, 4))
    all_views = np.concatenate([first, second])
    all_views /= np.linalg.norm(all_views, axis=1, keepdims=True)
    expected = []
    for i in range(10):
        others = [j for j in range(10) if j != i]
        logits = all_views[others] @ all_views[i] / 0.5
        expected.append(np.log(np.exp(logits).sum()) - logits[others.index((i + 5) % 10)])
    assert float(nt_xent(*map(torch.from_numpy, (first, second)), 0.5)) == pytest.approx(np.mean(expected))


def test_a_view_takes_one_stretch_of_two_fifths_from_its_partner():
    lengths = (1, 5, 8)
    given, partners = packets(lengths, 0), packets(lengths, 1)
    starts = set()
    for draw in (0.0, 0.5, 0.999):
        view = cut_and_pasted(given, partners, 0.4, torch.full((3,), draw))
        replaced = (view != given).any(dim=2)
        assert replaced.sum(dim=1).tolist() == [0, 2, 3]
        assert torch.equal(view[replaced], partners[replaced])
        place = replaced[2].nonzero()[:, 0]
        assert (place.diff() == 1).all()
        starts.add(int(place[0]))
    assert starts == {0, 3, 5}


def test_partners_are_training_flows_of_equal_length():
    detector = trained("contrastive")
    rows = detector._rows(PLANTED().train)[:200]
    drawn = _ByLength(rows).drawn(torch.from_numpy(rows), torch.Generator().manual_seed(0)).numpy()
    np.testing.assert_array_equal(_lengths(drawn), _lengths(rows))
    known = {row.tobytes() for row in rows}
    assert all(row.tobytes() in known for row in drawn)
    assert (drawn != rows).any(axis=1).mean() > 0.5


def test_the_second_view_of_a_flow_in_training_holds_two_fifths_of_another():
    rows = trained("contrastive")._rows(PLANTED().train)[:100]
    detector = Contrastive(SMALL["contrastive"])
    detector._by_length = _ByLength(rows)

    class Shown:
        """In place of the network: the views themselves."""

        def __call__(self, packets):
            return packets

        def head(self, packets):
            return packets

    detector._model = Shown()
    first, second = detector._views(torch.from_numpy(rows), torch.Generator().manual_seed(0))
    given = torch.from_numpy(rows).unflatten(1, (-1, 10))
    assert torch.equal(first, given)
    replaced = (second != given).any(dim=2).sum(dim=1)
    expected = (0.4 * presence(given).sum(dim=1)).round()
    assert ((replaced == expected) | (replaced == 0)).all()  # a flow may be its own partner
    assert float((replaced > 0).float().mean()) > 0.7


def test_a_training_flow_scores_zero_whatever_the_order_of_the_bank():
    detector, planted = trained("contrastive"), PLANTED()
    assert detector.score(planted.train.take(slice(0, 100))).max() <= 1e-6
    expected, bank = detector.score(planted.benign), detector._bank
    try:
        detector._bank = bank[::-1].copy()
        np.testing.assert_allclose(detector.score(planted.benign), expected, atol=1e-6)
    finally:
        detector._bank = bank


# tslanet


def spectral(every, strong, threshold):
    block = tslanet.Spectral(4)
    with torch.no_grad():
        block.every.copy_(torch.tensor([every, 0.0]).expand(4, 2))
        block.strong.copy_(torch.tensor([strong, 0.0]).expand(4, 2))
        block.threshold.fill_(threshold)
    return block


@torch.no_grad()
def test_the_spectral_block_can_be_the_identity_and_can_pass_one_frequency():
    x = torch.randn(3, 15, 4, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(spectral(1, 0, 0.5)(x), x)
    torch.testing.assert_close(spectral(0, 1, -1.0)(x), x)
    wave = torch.cos(2 * math.pi * 3 * torch.arange(15) / 15)[None, :, None].expand(1, 15, 4)
    loud = wave + 0.05 * x[:1]
    spectrum = torch.fft.rfft(loud, dim=1, norm="ortho")
    energy = spectrum.abs().square().sum(dim=2)[0]
    passed = spectral(0, 1, float(energy.sort().values[-2] / energy.median() * 1.01)).passed(spectrum)[0]
    assert passed.round().nonzero()[:, 0].tolist() == [3]


def test_hidden_packets_do_not_influence_what_is_predicted_of_them():
    network, given = trained("tslanet")._model, packets((64,), positions=64)
    masked = torch.zeros(1, 15, dtype=torch.bool)
    masked[0, 4] = True  # packets 16 to 23
    other = given.clone()
    other[:, 16:24, :9] = packets((64,), 1, positions=64)[:, 16:24, :9]
    with torch.inference_mode():
        assert torch.equal(*(network(each, masked, True) for each in (given, other)))
        # as published the patches that overlap the hidden one still show its packets
        assert not torch.equal(*(network(each, masked, False) for each in (given, other)))


def test_a_score_is_the_mean_error_of_three_passes_that_do_not_see_what_they_predict():
    detector = trained("tslanet")
    rows = torch.from_numpy(detector._rows(PLANTED().benign)[:20])
    given, errors, counts = rows.unflatten(1, (-1, 10)), torch.zeros(20), torch.zeros(20)
    with torch.inference_mode():
        for turn in range(3):
            masked = (torch.arange(15) % 3 == turn).expand(20, -1)
            found = tslanet.patch_errors(given, detector._model(given, masked, True), masked)
            errors, counts = errors + found[0], counts + found[1]
        torch.testing.assert_close(detector._evaluate(rows), errors / counts)


def test_errors_are_means_over_the_hidden_packets_that_are_there():
    given = packets((10,), positions=64)
    output = torch.zeros(1, 15, 8, 9)
    masked = torch.zeros(1, 15, dtype=torch.bool)
    masked[0, [1, 2]] = True  # packets 4 to 11 and 8 to 15: 4 to 9, and 8 and 9
    errors, counts = tslanet.patch_errors(given, output, masked)
    each = packet_errors(given, torch.zeros(1, 64, 9))[0]
    assert int(counts) == 8
    assert float(errors) == pytest.approx(float(each[4:10].sum() + each[8:10].sum()), rel=1e-5)
    assert tslanet.covered(masked)[0].nonzero()[:, 0].tolist() == list(range(4, 16))
    assert tslanet.begun(given)[0].nonzero()[:, 0].tolist() == [0, 1, 2]


def test_the_published_pretraining_shrinks_the_embeddings_and_predicting_packets_does_not():
    rows = torch.from_numpy(trained("tslanet")._rows(PLANTED().train)[:400]).unflatten(1, (-1, 10))

    @torch.no_grad()
    def spread(network):
        return float(network.eval().embedded(rows).std(dim=0).mean())

    def spread_after(loss):
        generator = torch.Generator().manual_seed(0)
        with torch.random.fork_rng():
            torch.manual_seed(0)
            network = tslanet.PatchNetwork(16, 2)
            optimiser = torch.optim.AdamW(network.parameters(), 3e-3, weight_decay=1e-4)
            before = spread(network)
            for _ in range(12):
                for part in rows.split(50):
                    optimiser.zero_grad()
                    loss(network.train(), part, generator).backward()
                    optimiser.step()
            return spread(network) / before

    def published(network, part, generator):
        masked = (torch.rand((len(part), 15), generator=generator) < 0.4) & tslanet.begun(part)
        codes = network.embedded(part)
        return (network.blocks(codes * ~masked[..., None]) - codes)[masked].square().mean()

    def ours(network, part, generator):
        detector = TSLANet(SMALL["tslanet"])
        detector._model = network
        return detector._loss(part.flatten(1), generator)

    shrunk, kept = spread_after(published), spread_after(ours)
    assert shrunk < 0.4
    assert kept > 0.9
