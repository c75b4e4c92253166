"""stfpm, rd4ad, mmr, conmd, ssl-knn: one teacher, each mechanism against sums written out, identities, and planted
sequences."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from sklearn.neighbors import NearestNeighbors

from detectors.distillation import MMR, RD4AD, STFPM, teacher
from detectors.distillation.conmd import ConMD
from detectors.distillation.neighbours import SSLKNN
from detectors.distillation.students import (
    MaskedStudent,
    angles,
    drawn_mask,
    flat_angles,
    mean_of_scales,
    squared_distances,
    upsampled,
)
from detectors.distillation.tokens import Masking, angle, blended, loss
from detectors.shared import encoders
from detectors.shared.encoders import Maps, ResidualCNN, as_packets, hidden, pooled, presence, smallest
from detectors.shared.inputs import INPUTS, ZScores
from detectors.shared.training import seeded_initialisation
from janus_bench.conformance import parametrize_with_detectors
from janus_bench.conformance.flows import mixed_flows, synthetic_benign
from janus_bench.errors import UsageError
from tests.factories import context, fitted, only
from tests.planted_sequences import of_length, separation, sequences

ALL = (STFPM, RD4AD, MMR, ConMD, SSLKNN)
SMALL = {"teacher_epochs": 5, "width": 16}
LEARNED = {
    STFPM: {"epochs": 10, "batch": 16},
    RD4AD: {"epochs": 6, "batch": 32, "lr": 3e-3},
    MMR: {"epochs": 10, "batch": 32, "tokens": 16, "layers": 1, "lr": 1e-2},
    ConMD: {"epochs": 3, "batch": 32, "tokens": 16, "layers": 2, "lr": 1e-2},
    SSLKNN: {},
}
"""Less than any profile, for networks of half the width."""


@parametrize_with_detectors([SSLKNN])
def test_neighbours_keep_the_contract(check):
    """The others do by their presets (tests/test_presets.py)."""
    check()


def checked(detector, **others):
    return detector.Params(**{**detector.profiles["check"], **others})


def rows_of(n, seed=0):
    """Rows (n, 640) of flows of 1 to 12 packets."""
    reading, flows = INPUTS["packets"], synthetic_benign(seed, n)
    standardiser = ZScores.fitted(reading.columns(synthetic_benign(1, 50)))
    return reading.rows(flows, standardiser, 10.0, np.float32)


def a_batch(n=6, seed=0):
    """Packets (n, 16, 10) of flows of 1 to 12 packets."""
    return as_packets(torch.from_numpy(rows_of(n, seed)))


# -- the teacher -------------------------------------------------------------------------------------------------------


def weights(module):
    return {name: weight.numpy().copy() for name, weight in module.state_dict().items()}


def assert_equal_weights(expected, found):
    assert expected.keys() == found.keys()
    for name, weight in expected.items():
        np.testing.assert_array_equal(found[name], weight, err_msg=name)


@pytest.mark.parametrize("kind", ["ssl", "random"])
def test_the_teacher_is_the_same_in_every_row_and_its_student_is_no_twin(kind):
    train, found = synthetic_benign(0, 80), {}
    for detector in ALL:
        made = detector(checked(detector, teacher=kind))
        made.fit(train, context(synthetic_benign(1, 20)))
        found[detector] = weights(made._model.teacher)
        assert not any(weight.requires_grad for weight in made._model.teacher.parameters())
        if detector is STFPM:
            student = weights(made._model.student)
    for detector in ALL[1:]:
        assert_equal_weights(found[STFPM], found[detector])
    assert not np.array_equal(found[STFPM]["stem.weight"], student["stem.weight"])


def test_a_student_s_training_leaves_the_teacher_as_the_pretext_task_left_it(monkeypatch):
    kept, pretrain = {}, teacher.pretrain

    def watched(network, *arguments):
        before = weights(network)
        pretrain(network, *arguments)
        kept["after"] = weights(network)
        assert not np.array_equal(before["stem.weight"], kept["after"]["stem.weight"])

    monkeypatch.setattr(teacher, "pretrain", watched)
    for detector in (STFPM, RD4AD, MMR, ConMD):
        made = fitted(detector(checked(detector)), synthetic_benign(0, 60))
        assert_equal_weights(kept["after"], weights(made._model.teacher))


def test_the_pretext_task_hides_a_packet_at_least_and_never_all():
    packets = a_batch(40)
    valid = presence(packets)
    for draws in (torch.zeros(valid.shape), torch.ones(valid.shape), torch.rand(valid.shape)):
        seen = []

        class Recorded(ResidualCNN):
            def of(self, packets, valid):
                seen.append(presence(packets))  # noqa: B023
                return super().of(packets, valid)

        teacher.FillIn(Recorded(8)).errors(packets, draws)
        shown, n = seen[0].sum(dim=1), valid.sum(dim=1)
        assert (shown < n).all()
        assert ((shown > 0) | (n == 1)).all()


def test_what_is_hidden_has_no_influence_on_the_teacher_s_answer_and_only_it_counts():
    packets = a_batch(8)
    valid = presence(packets)
    network = teacher.FillIn(ResidualCNN(8))
    draws = torch.rand(valid.shape, generator=torch.Generator().manual_seed(0))
    mask = smallest(draws, valid, torch.ones(8, dtype=torch.long))
    changed = packets.clone()
    changed[..., :9] += 3 * mask[..., None]
    answers = [network.teacher.of(hidden(each, mask), valid).features[2] for each in (packets, changed)]
    assert torch.equal(*answers)


@pytest.mark.parametrize("n", [1, 5])
def test_a_part_of_one_validation_flow_is_judged_as_in_a_longer_part(n, monkeypatch):
    said = []
    for at_once in (4, 256):  # five flows leave a part of one beside a part of four
        monkeypatch.setattr(teacher, "AT_ONCE", at_once)
        with seeded_initialisation(1):
            network = ResidualCNN(8)
        lines = []
        report = context(progress=lambda done, text, lines=lines: lines.append(text))
        teacher.pretrain(network, rows_of(40), rows_of(n, 1), 1, report)
        said.append(lines)
    assert said[0] == said[1]
    assert ", validation " in said[0][0]


def test_the_teacher_s_best_epoch_is_kept_by_validation_flows_whose_hidden_packets_stay_the_same(monkeypatch):
    train_phases, seen, network = teacher.train_phases, [], ResidualCNN(8)

    def watched(networks, rows, phases, schedule, ctx, validate):
        def second_is_best():
            assert validate() == validate()
            seen.append(weights(network))
            return (3.0, 1.0, 2.0)[len(seen) - 1]

        train_phases(networks, rows, phases, schedule, ctx, validate and second_is_best)

    monkeypatch.setattr(teacher, "train_phases", watched)
    teacher.pretrain(network, rows_of(40), rows_of(20, 1), 3, context())
    assert len(seen) == 3
    assert not np.array_equal(seen[1]["stem.weight"], seen[2]["stem.weight"])
    assert_equal_weights(seen[1], weights(network))


def test_padding_and_the_cut_of_padding_have_no_influence():
    """The maps of flows of eight packets without padding are those of the flows in 64 positions."""
    network = ResidualCNN(8)
    for bias in (network.stem.bias, *(block.first.bias for stage in network.stages for block in stage)):
        torch.nn.init.normal_(bias)
    packets = a_batch(60)
    packets = packets[presence(packets).sum(dim=1) >= 8][:, :8]
    whole = network(torch.nn.functional.pad(packets, (0, 0, 0, 56)))
    cut = network(packets)
    for at, (x, short) in enumerate(zip(whole.features, cut.features, strict=True)):
        torch.testing.assert_close(x[..., : 8 >> at], short)
        assert not x[..., 8 >> at :].any()


def test_a_batch_of_short_and_long_flows_is_learned_from_in_two_parts_as_in_one(monkeypatch):
    made = STFPM(checked(STFPM))
    fitted(made, synthetic_benign(0, 60))
    rows = torch.from_numpy(made._rows(mixed_flows().take(np.arange(200, 330))))  # 100 short and 30 long
    parts = encoders.by_length(rows)
    assert len(parts) == 2
    assert sorted(torch.cat(parts).tolist()) == list(range(130))
    in_two = made._loss(rows, None)
    monkeypatch.setattr(encoders, "WORTH", 10**9)
    assert len(encoders.by_length(rows)) == 1
    torch.testing.assert_close(in_two, made._loss(rows, None))


# -- the mechanisms ----------------------------------------------------------------------------------------------------


def maps_of(packets, seed):
    torch.manual_seed(seed)
    return ResidualCNN(8)(packets)


@pytest.fixture
def maps():
    with torch.random.fork_rng(), torch.no_grad():
        packets = a_batch(6)
        yield maps_of(packets, 1), maps_of(packets, 2).features


def test_distances_of_normalised_features_are_twice_one_minus_the_cosine(maps):
    for squares, cosines in zip(squared_distances(*maps), angles(*maps), strict=True):
        torch.testing.assert_close(squares, 2 * cosines, rtol=1e-4, atol=1e-5)


def test_maps_against_sums_written_out_flow_by_flow_and_packet_by_packet(maps):
    taught, learned = maps
    product, total = upsampled(squared_distances(*maps)).prod(dim=0), upsampled(angles(*maps)).sum(dim=0)
    n = taught.masks[0][:, 0].sum(dim=1).int().tolist()
    for i, packets in enumerate(n):
        expected = []
        for j in range(packets):
            pairs = [
                (t[i, :, j >> k].numpy(), s[i, :, j >> k].numpy())
                for k, (t, s) in enumerate(zip(taught.features, learned, strict=True))
            ]
            cosines = [float(t @ s / np.linalg.norm(t) / np.linalg.norm(s)) for t, s in pairs]
            expected.append((np.prod([2 - 2 * c for c in cosines]), sum(1 - c for c in cosines)))
        products, sums = np.array(expected).T
        np.testing.assert_allclose(product[i, :packets], products, rtol=1e-3, atol=1e-6)
        np.testing.assert_allclose(total[i, :packets], sums, rtol=1e-3, atol=1e-6)
        valid = taught.masks[0][:, 0]
        assert float(pooled(total, valid, "max")[i]) == pytest.approx(sums.max(), rel=1e-3)
        assert float(pooled(total, valid, "mean")[i]) == pytest.approx(sums.mean(), rel=1e-3)


def test_a_scale_that_agrees_makes_stfpm_s_product_nothing(maps):
    taught, learned = maps
    assert upsampled(squared_distances(taught, learned)).prod(dim=0).max() > 1e-3
    assert not upsampled(squared_distances(taught, [taught.features[0], *learned[1:]])).prod(dim=0).any()


def test_angles_ignore_the_length_of_features(maps):
    taught, learned = maps
    longer = Maps([3 * t for t in taught.features], taught.masks)
    for one, other in zip(angles(taught, learned), angles(longer, [s / 7 for s in learned]), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(flat_angles(longer, learned), flat_angles(taught, learned), rtol=1e-4, atol=1e-5)


def test_a_student_that_is_the_teacher_scores_nothing():
    flows = mixed_flows()
    for detector, zero in ((STFPM, np.log(1e-12)), (RD4AD, 0.0), (MMR, 0.0)):
        made = fitted(detector(checked(detector)), synthetic_benign(0, 60))

        def same(rows, generator=None, made=made):
            taught = made._model.teacher(as_packets(rows))
            return taught, taught.features

        made._maps = same
        np.testing.assert_allclose(made.score(flows), zero, atol=2e-6)
    made = fitted(ConMD(checked(ConMD)), synthetic_benign(0, 60))
    made._model.learned = lambda packets, masked: made._model.taught(packets)
    np.testing.assert_allclose(made.score(flows), 0, atol=2e-6)


def test_what_mmr_masks_has_no_influence_on_its_maps_and_some_packet_is_left():
    packets = a_batch(30)
    valid = presence(packets)
    masked = drawn_mask(packets, 0.4, torch.Generator().manual_seed(0))
    n = valid.sum(dim=1)
    np.testing.assert_array_equal(masked.sum(dim=1), np.minimum(np.round(0.4 * n.numpy()), n.numpy() - 1))
    student = MaskedStudent(8, 16, 1)
    changed = packets.clone()
    changed[..., :9] += 3 * masked[..., None]
    for before, after in zip(student(packets, masked), student(changed, masked), strict=True):
        assert torch.equal(before, after)
    shown = student(packets)
    assert any(not torch.equal(*pair) for pair in zip(shown, student(changed), strict=True))


def test_the_losses_of_rd4ad_and_mmr_are_those_of_their_code():
    """RD4AD's is one cosine a scale of the whole map, though its score is per position; MMR's student does not see the
    packets that are drawn."""
    rows = torch.from_numpy(rows_of(30))
    made = fitted(RD4AD(checked(RD4AD, teacher="random")), synthetic_benign(0, 60))
    with torch.no_grad():
        found, (taught, learned) = made._losses(rows, None), made._maps(rows)
    expected = np.zeros(30)
    for t, s in zip(taught.features, learned, strict=True):
        one, other = (each.flatten(1).double().numpy() for each in (t, s))
        expected += 1 - (one * other).sum(axis=1) / np.linalg.norm(one, axis=1) / np.linalg.norm(other, axis=1)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)
    made = fitted(MMR(checked(MMR, teacher="random")), synthetic_benign(0, 60))
    packets = as_packets(rows)
    with torch.no_grad():
        found = made._losses(rows, torch.Generator().manual_seed(3))
        taught = made._model.teacher(packets)
        masked, whole = (
            mean_of_scales(angles(taught, made._model.student(packets, mask)), taught.masks)
            for mask in (drawn_mask(packets, 0.4, torch.Generator().manual_seed(3)), None)
        )
    torch.testing.assert_close(found, masked)
    assert not torch.allclose(found, whole)


def test_mmr_s_rate_rises_over_a_quarter_of_the_epochs_and_falls_twice_to_a_tenth():
    factor = MMR(checked(MMR, epochs=20))._schedule().lr_factor
    assert [factor(epoch) for epoch in (0, 2, 4, 11, 12, 15, 16, 19)] == pytest.approx(
        [0.2, 0.6, 1, 1, 0.1, 0.1, 0.01, 0.01]
    )


def test_stfpm_keeps_the_epoch_with_the_lowest_map_on_the_validation_flows():
    made, seen = STFPM(checked(STFPM, teacher="random", epochs=3)), []

    def second_is_best(rows):
        seen.append(weights(made._model.student))
        return np.full(len(rows), (3.0, 1.0, 2.0)[len(seen) - 1])

    made._judged = second_is_best
    made.fit(synthetic_benign(0, 60), context(synthetic_benign(1, 20)))
    assert not np.array_equal(seen[1]["stem.weight"], seen[2]["stem.weight"])
    assert_equal_weights(seen[1], weights(made._model.student))


# -- conmd -------------------------------------------------------------------------------------------------------------


def test_conmd_s_score_lies_on_the_line_through_its_branches():
    generator = torch.Generator().manual_seed(0)
    taught, masked, unmasked = (torch.randn(5, 9, 14, generator=generator) for _ in range(3))
    torch.testing.assert_close(blended(taught, masked, unmasked, 0), angle(taught, unmasked))
    torch.testing.assert_close(blended(taught, masked, unmasked, 1), angle(taught, masked))
    torch.testing.assert_close(blended(taught, unmasked, unmasked, -0.3), angle(taught, unmasked))
    for i in range(5):
        t, m = taught[i].flatten().double().numpy(), masked[i].flatten().double().numpy()
        expected = 1 - t @ m / np.linalg.norm(t) / np.linalg.norm(m) + 0.1 * np.linalg.norm(t - m)
        assert float(loss(taught, masked)[i]) == pytest.approx(expected, rel=1e-5)


def test_conmd_learns_with_masked_packets_and_scores_thirteen_tenths_of_the_unmasked_answer():
    made = fitted(ConMD(checked(ConMD, teacher="random", packets=9)), synthetic_benign(0, 60))
    network, rows = made._model, torch.from_numpy(rows_of(30))
    with torch.no_grad():
        found, scores = made._loss(rows, torch.Generator().manual_seed(3)), made._evaluate(rows)
        packets = network.first(rows)
        taught, unseen = network.taught(packets), torch.zeros(packets.shape[:2], dtype=torch.bool)
        drawn = network.mask(packets, torch.rand(unseen.shape, generator=torch.Generator().manual_seed(3)))
        whole = network.learned(packets, unseen)
        torch.testing.assert_close(found, loss(taught, network.learned(packets, drawn)).mean())
        assert float(found) != pytest.approx(float(loss(taught, whole).mean()), rel=1e-4)
        parts = [network.learned(packets, mask) for mask in network.stored(packets)]
        blends = [angle(taught, 1.3 * whole - 0.3 * part) for part in parts]
    torch.testing.assert_close(scores, torch.stack(blends).mean(dim=0), rtol=1e-4, atol=1e-6)
    assert not torch.allclose(scores, angle(taught, whole), rtol=1e-3)


def test_conmd_masks_as_many_packets_as_are_weak_and_one_more_but_never_all():
    made = fitted(ConMD(checked(ConMD, packets=9)), synthetic_benign(0, 300))
    train = synthetic_benign(0, 300)
    sizes = [train.packet("size")[a:b][:9] for a, b in zip(train.offsets, train.offsets[1:], strict=False)]
    weak = int(np.median([(flow < 240).sum() for flow in sizes])) + 1
    assert int(made._model.weak) == weak
    packets = made._model.first(torch.from_numpy(made._rows(train)))
    assert packets.shape[1] == 9
    n = np.minimum(train.lengths, 9)
    for mask in made._model.stored(packets):
        np.testing.assert_array_equal(mask.sum(dim=1), np.minimum(weak, n - 1))
    assert len({mask.numpy().tobytes() for mask in made._model.stored(packets)}) == 4


def test_in_conmd_masked_packets_have_no_influence_and_others_only_through_the_global_layers():
    packets = a_batch(20)[:, :9]
    packets = packets[presence(packets).sum(dim=1) >= 6]
    for layers, reaches in ((1, False), (2, True)):
        network = Masking(8, 9, 8, layers)
        masked = torch.zeros(packets.shape[:2], dtype=torch.bool)
        masked[:, 1] = True
        changed = packets.clone()
        changed[:, 1, :9] += 3
        assert torch.equal(network.learned(packets, masked), network.learned(changed, masked))
        changed[:, 0, :9] -= 3
        before, after = (network.learned(each, masked) for each in (packets, changed))
        assert not torch.equal(before[:, 0], after[:, 0])
        assert torch.equal(before[:, 5], after[:, 5]) is not reaches


# -- planted sequences -------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def planted():
    return sequences(400, 100)


@pytest.fixture(scope="module")
def learned(planted):
    """Each detector after a short training, all on one pretrained teacher, which is trained once."""
    made, kept, pretrain = {}, {}, teacher.pretrain

    def once(network, *arguments):
        if not kept:
            pretrain(network, *arguments)
            kept.update(network.state_dict())
        network.load_state_dict(kept)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(teacher, "pretrain", once)
        for detector in ALL:
            made[detector] = detector(detector.Params(**SMALL, **LEARNED[detector]))
            made[detector].fit(planted.train, context(planted.validation))
    return made


@pytest.mark.parametrize(
    ("detector", "order", "one"),
    [(STFPM, 0.9, 0.75), (RD4AD, 0.98, 0.8), (MMR, 0.95, 0.7), (ConMD, 0.95, 0.7), (SSLKNN, 0.98, 0.85)],
)
def test_packets_in_another_order_are_seen_by_all_and_one_wrong_packet_by_most(learned, planted, detector, order, one):
    found = planted.aurocs(learned[detector])
    assert found["order"] >= order
    assert found["one"] >= one
    assert found["far"] >= 0.99


@pytest.mark.parametrize("detector", [STFPM, MMR])
def test_a_mean_over_packets_hardly_tells_flows_by_their_length(learned, planted, detector):
    made = learned[detector]
    pooled_mean = detector(replace(made.params, pool="mean"))
    pooled_mean._model, pooled_mean._standardiser = made._model, made._standardiser
    short, long = (pooled_mean.score(of_length(300, n)) for n in (12, 15))
    assert separation(short, long) == pytest.approx(0.5, abs=0.2)  # a flow's ends are harder than its middle


def test_ssl_knn_is_the_distance_to_whitened_neighbours(learned, planted):
    made = learned[SSLKNN]
    bank = made._bank["rows"]
    np.testing.assert_allclose(np.cov(bank.T), np.eye(bank.shape[1]), atol=1e-6)
    features = made._applied(made._evaluate, made._rows(planted.benign))
    rows = (features - made._bank["centre"]) @ made._bank["turn"]
    expected = NearestNeighbors(n_neighbors=5, algorithm="kd_tree").fit(bank).kneighbors(rows)[0][:, 4]
    np.testing.assert_allclose(made.score(planted.benign), expected, rtol=1e-6)


@pytest.mark.parametrize("detector", ALL)
def test_scores_of_mixed_lengths_are_those_of_each_flow_alone_and_packets_suffice(learned, detector):
    flows = only(mixed_flows(), "packets").take(np.arange(0, 340, 17))
    together = learned[detector].score(flows)
    alone = np.concatenate([learned[detector].score(flows.take(slice(i, i + 1))) for i in range(len(flows))])
    np.testing.assert_allclose(together, alone, rtol=1e-4, atol=1e-5 * together.std())


@pytest.mark.parametrize("detector", ALL)
def test_another_order_of_flows_is_that_of_their_scores_and_a_loaded_fit_scores_alike(learned, detector, tmp_path):
    made, flows = learned[detector], only(mixed_flows(), "packets").take(np.arange(0, 340, 5))
    expected, order = made.score(flows), np.random.default_rng(0).permutation(len(flows))
    near = {"rtol": 1e-4, "atol": 1e-5 * expected.std()}
    np.testing.assert_allclose(made.score(flows.take(order)), expected[order], **near)
    made.save(tmp_path)
    np.testing.assert_array_equal(detector.load(tmp_path, made.params).score(flows), expected)


def test_parameters_that_no_head_can_divide_are_refused():
    for detector in (MMR, ConMD):
        with pytest.raises(UsageError, match=r"tokens must be a multiple of its four heads, not 6"):
            detector.Params(tokens=6)
