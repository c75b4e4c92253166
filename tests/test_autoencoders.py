"""ae, memae, sparse-memae: addresses against the paper's equations, errors against sums written out, and what a memory
is for."""

from __future__ import annotations

import math
from dataclasses import replace

import hypothesis.strategies as st
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis.extra.numpy import arrays
from sklearn.metrics import roc_auc_score

from detectors.autoencoders import AE, AEParams, MemAE, MemAEParams, SparseMemAE, SparseMemAEParams
from detectors.autoencoders.network import ERRORS, Autoencoder, address_entropy, shrink, sparsest
from detectors.shared.inputs import INPUTS, ZScores
from detectors.shared.training import seeded_initialisation
from janus_bench.conformance import check_detector, parametrize_with_detectors
from janus_bench.conformance.flows import mixed_flows, synthetic_benign
from janus_bench.errors import DataError, PluginError, UsageError
from tests.factories import context, only
from tests.factories import on_features as flows

ALL = (AE, MemAE, SparseMemAE)
EPOCHS = 30


@parametrize_with_detectors(ALL)
def test_autoencoders_keep_the_contract(check):
    check()


@pytest.mark.parametrize("detector", ALL)
def test_packet_input_keeps_the_contract_too(detector):
    assert [
        result
        for result in check_detector(detector, detector.Params(input="packets", epochs=5))
        if result.status == "failed"
    ] == []


def clusters(seed):
    """Four prototypes for training, validation and test, and four others: 20 columns, little spread within a
    cluster."""
    rng = np.random.default_rng(seed)
    prototypes = rng.normal(size=(8, 20))

    def draw(which, n):
        return flows(prototypes[rng.choice(which, n)] + 0.1 * rng.normal(size=(n, 20)))

    return draw(range(4), 400), draw(range(4), 100), draw(range(4), 200), draw(range(4, 8), 200)


def paper_address(code, items, threshold):
    """Equations 3, 4, 6 and 7 of the paper, item by item; where no weight exceeds the threshold, all of the largest
    item."""
    cosines = [float(code @ item / (np.linalg.norm(code) * np.linalg.norm(item))) for item in items]
    exponentials = [math.exp(cosine) for cosine in cosines]
    weights = [value / sum(exponentials) for value in exponentials]
    kept = [max(weight - threshold, 0) * weight / (abs(weight - threshold) + 1e-15) for weight in weights]
    if sum(kept) == 0:
        return [float(weight == max(weights)) for weight in weights]
    return [weight / sum(kept) for weight in kept]


@pytest.mark.parametrize(("times", "most"), [(1.0, 11), (1.5, 5)])
def test_memory_addresses_are_those_of_the_paper_s_equations(times, most):
    generator = torch.Generator().manual_seed(0)
    network = Autoencoder("features", 16, 4, (12, lambda similarity: shrink(similarity, times / 12))).double()
    network.memory.items.data = torch.randn(12, 4, dtype=torch.float64, generator=generator)
    codes = torch.randn(20, 4, dtype=torch.float64, generator=generator)
    combined, weights = network.memory(codes)
    items = network.memory.items.detach().numpy()
    expected = np.array([paper_address(code, items, times / 12) for code in codes.numpy()])
    np.testing.assert_allclose(weights.detach().numpy(), expected, atol=1e-9)
    np.testing.assert_allclose(combined.detach().numpy(), expected @ items, atol=1e-9)
    assert 1 < (expected > 0).sum(axis=1).mean() <= most  # the shrinkage removes items, and not all but one


@settings(max_examples=60, deadline=None)
@given(similarity=arrays(np.float32, (5, 9), elements=st.floats(-1, 1, width=32)), times=st.floats(1, 3))
def test_an_address_never_collapses(similarity, times):
    """Even where no weight exceeds the threshold (all items equally similar): the weights are a convex combination."""
    weights = shrink(torch.from_numpy(similarity), times / 9)
    assert (weights >= 0).all()
    np.testing.assert_allclose(weights.sum(dim=1), 1, rtol=1e-5)


def test_sparsest_is_the_softmax_of_the_k_largest():
    similarity = torch.tensor([[0.1, 0.9, -0.5, 0.8]])
    e = math.exp(0.1)
    np.testing.assert_allclose(sparsest(similarity, 2), [[0, e / (1 + e), 0, 1 / (1 + e)]], rtol=1e-6)
    np.testing.assert_allclose(sparsest(similarity, 4), similarity.softmax(dim=1), rtol=1e-6)


def test_entropy_of_known_addresses_and_its_slope_is_finite_at_zero():
    weights = torch.tensor([[0.25, 0.25, 0.25, 0.25], [1.0, 0.0, 0.0, 0.0]], requires_grad=True)
    entropy = address_entropy(weights)
    assert entropy.item() == pytest.approx(math.log(4) / 2)
    entropy.backward()
    assert torch.isfinite(weights.grad).all()


@pytest.mark.parametrize(
    "address",
    [lambda similarity: shrink(similarity, 1 / 20), lambda similarity: sparsest(similarity, 1)],
    ids=["shrink", "top-1"],
)
def test_without_a_bottleneck_only_the_memory_tells_the_unseen_from_the_seen(address):
    """Identity encoder and decoder, the unit vectors as items.  The autoencoder reconstructs everything; with the
    memory e_i stays e_i, while e_i − e_j, whose only item above average similarity is e_i, becomes e_i: an error of
    ‖e_j‖² / 20."""
    plain, memory = Autoencoder("features", 16, 20, None), Autoencoder("features", 16, 20, (20, address))
    for network in (plain, memory):
        network.encoder = network.decoder = torch.nn.Identity()
    memory.memory.items.data = torch.eye(20)
    seen = torch.eye(20)
    unseen = seen - seen.roll(1, dims=0)
    for rows, expected in ((seen, 0.0), (unseen, 1 / 20)):
        np.testing.assert_allclose(ERRORS["features"](rows, plain(rows)[0]), 0, atol=1e-12)
        np.testing.assert_allclose(ERRORS["features"](rows, memory(rows)[0]).detach(), expected, atol=1e-7)


@pytest.mark.parametrize("detector", ALL)
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_unseen_clusters_are_told_from_seen_ones(detector, seed):
    train, validation, seen, unseen = clusters(seed)
    fitted = detector(detector.Params(epochs=EPOCHS, batch=32))
    fitted.fit(train, context(validation, seed))
    scores = np.concatenate([fitted.score(seen), fitted.score(unseen)])
    assert roc_auc_score(np.repeat([0, 1], 200), scores) > 0.99
    assert fitted.score(unseen).mean() > 10 * fitted.score(seen).mean()


def test_a_memory_of_single_items_reconstructs_no_more_things_than_it_has_items():
    train, validation, seen, unseen = clusters(0)
    fitted = SparseMemAE(SparseMemAEParams(epochs=EPOCHS, items=6, k=1))
    fitted.fit(train, context(validation))
    rows = INPUTS["features"].rows(flows(np.concatenate([seen.feature_matrix(), unseen.feature_matrix()])),
                                   fitted._standardiser, 10.0, np.float32)  # fmt: skip
    output = fitted._model(torch.from_numpy(rows))[0].detach().numpy()
    assert 2 <= len(np.unique(output.round(4), axis=0)) <= 6


def test_packet_error_is_the_masked_sum_written_out_packet_by_packet():
    batch = synthetic_benign(0, 12)
    read = INPUTS["packets"]
    standardiser = ZScores.fitted(read.columns(batch))
    rows = read.rows(batch, standardiser, 10.0, np.float32)
    output = np.random.default_rng(0).normal(size=(12, 576)).astype(np.float32)
    expected = []
    for i in range(12):
        start, stop = batch.offsets[i], batch.offsets[i + 1]
        errors = []
        for j, packet in enumerate(range(start, stop)):
            guess = output[i, 9 * j : 9 * j + 9].astype(np.float64)
            z = [
                (math.log1p(batch.packets[name][packet]) - standardiser.mean[c]) / standardiser.std[c]
                for c, name in enumerate(("size", "iat", "win"))
            ]
            square = sum((value - guess[c]) ** 2 for c, value in enumerate(z)) / 3
            cross_entropy = 0.0
            for c, name in enumerate(("direction", "syn", "fin", "rst", "psh", "ack")):
                probability = 1 / (1 + math.exp(-guess[3 + c]))
                cross_entropy -= math.log(probability if batch.packets[name][packet] else 1 - probability) / 6
            errors.append(square + cross_entropy)
        expected.append(sum(errors) / len(errors))
    np.testing.assert_allclose(ERRORS["packets"](torch.from_numpy(rows), torch.from_numpy(output)), expected, rtol=1e-4)


def test_standardised_packets_have_mean_zero_and_padding_is_zero():
    batch = synthetic_benign(0, 200)
    read = INPUTS["packets"]
    packets = read.rows(batch, ZScores.fitted(read.columns(batch)), 10.0, np.float32).reshape(200, 64, 10)
    present = packets[..., -1] == 1
    np.testing.assert_array_equal(present.sum(axis=1), batch.lengths)
    np.testing.assert_allclose(packets[present][:, :3].mean(axis=0), 0, atol=1e-4)
    assert not packets[~present].any()


@pytest.mark.parametrize("kind", ["features", "packets"])
@pytest.mark.parametrize("detector", ALL)
def test_each_input_needs_only_itself(detector, kind):
    whole = synthetic_benign(0, 60)
    alone = only(whole, kind)
    fitted = detector(detector.Params(input=kind, epochs=2))
    fitted.fit(alone, context(alone))
    np.testing.assert_array_equal(fitted.score(alone), fitted.score(whole))


def test_the_weights_of_the_best_validation_epoch_are_kept_and_training_stops_after_patience():
    train, validation, _, _ = clusters(0)
    seen = []
    # this rate makes the error jump, so that a last epoch is not the best
    detector = AE(AEParams(epochs=200, lr=0.03, patience=4))
    detector.fit(
        train, replace(context(validation), progress=lambda fraction, text: seen.append(float(text.split()[-1])))
    )
    assert len(seen) < 200
    assert len(seen) - 1 - int(np.argmin(seen)) == 4
    assert detector.score(validation).mean() == pytest.approx(min(seen), abs=1e-4)
    assert min(seen) < seen[-1]


def test_without_validation_flows_all_epochs_run():
    train, validation, _, _ = clusters(0)
    seen = []
    AE(AEParams(epochs=12, patience=1)).fit(
        train, replace(context(validation.take(slice(0, 0))), progress=lambda *step: seen.append(step))
    )
    assert len(seen) == 12


def test_every_part_of_the_memory_network_learns():
    train, validation, _, _ = clusters(0)
    detector = MemAE(MemAEParams(epochs=1))
    ctx = context(validation)
    with seeded_initialisation(ctx.seed):
        before = {name: weight.clone() for name, weight in detector._build().state_dict().items()}
    detector.fit(train, ctx)
    unchanged = [name for name, weight in detector._model.state_dict().items() if torch.equal(weight, before[name])]
    assert unchanged == []


@pytest.mark.parametrize("kind", ["features", "packets"])
@pytest.mark.parametrize("detector", ALL)
def test_saved_and_loaded_scores_are_equal_and_other_parameters_are_refused(detector, kind, tmp_path):
    params = detector.Params(input=kind, epochs=2)
    fitted = detector(params)
    fitted.fit(synthetic_benign(0, 100), context(synthetic_benign(1, 20)))
    fitted.save(tmp_path)
    np.testing.assert_array_equal(detector.load(tmp_path, params).score(mixed_flows()), fitted.score(mixed_flows()))
    with pytest.raises(DataError, match=r"\.json: saved with .* asked for"):
        detector.load(tmp_path, replace(params, code=5))


@pytest.mark.parametrize("detector", ALL)
def test_scoring_before_fitting_says_so(detector):
    with pytest.raises(PluginError, match=r"score\(\) before fit\(\)"):
        detector().score(mixed_flows())


@pytest.mark.parametrize(
    ("params", "wrong"),
    [
        (AEParams, {"input": "bytes"}),
        (AEParams, {"hidden": 1}),
        (AEParams, {"code": 0}),
        (AEParams, {"epochs": 0}),
        (AEParams, {"batch": 1.5}),
        (AEParams, {"patience": 0}),
        (AEParams, {"lr": 0.0}),
        (MemAEParams, {"items": 1}),
        (MemAEParams, {"shrink": 0.9}),
        (MemAEParams, {"shrink": 3.1}),
        (MemAEParams, {"shrink": float("nan")}),
        (MemAEParams, {"shrink": 3.0, "items": 4}),  # λ = 3/4, but the largest weight that four cosines allow is 0.71
        (MemAEParams, {"entropy": -1.0}),
        (SparseMemAEParams, {"k": 0}),
        (SparseMemAEParams, {"k": 11, "items": 10}),
    ],
    ids=str,
)
def test_wrong_parameters_are_refused_in_one_line_that_names_detector_and_parameter(params, wrong):
    with pytest.raises(UsageError) as caught:
        params(**wrong)
    assert str(caught.value).startswith(f"{params.name}: {next(iter(wrong))} must be ")
    assert "\n" not in str(caught.value)
