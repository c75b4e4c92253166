"""JANUS as a whole: known answers where theory gives them, the contract, and what must not change a score."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment
from sklearn.metrics import roc_auc_score
from torch.optim.optimizer import register_optimizer_step_pre_hook

from detectors.janus import Janus, JanusParams
from detectors.janus.binned import restored_path
from detectors.janus.matching import (
    GaussianPath,
    NoisyBatch,
    Weights,
    _validation_batches,
    _validation_loss,
    accumulate_gradient,
    noisy_batch,
    train,
)
from detectors.janus.model import Network
from detectors.janus.packing import Group
from detectors.janus.preprocess import Sequences
from detectors.janus.scoring import NoiseBank, score_sequences
from janus_bench.columns import FLOW_FEATURES
from janus_bench.contract import FitContext, FlowBatch, validate_scores
from janus_bench.errors import DataError, UsageError

TINY = JanusParams(T=16, d_model=16, n_layers=2, n_heads=2, k_steps=4, epochs=2, batch=32)
CPU = torch.device("cpu")
# stated here again: what the NLL is checked at must not come from the code that is checked
NLL_TIMES = (0.25, 0.5, 0.75)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def gaussian(params: JanusParams, continuous: float = 1.0, discrete: float | None = None) -> GaussianPath:
    """The path of ``params``, which have a continuous head; the losses weigh 1 and λ_disc unless told otherwise."""
    path = restored_path(params, {})
    assert isinstance(path, GaussianPath)
    return replace(path, weights=Weights(continuous, params.lambda_disc if discrete is None else discrete))


def quiet(fraction: float, text: str) -> None:
    """No progress display."""


def context(
    validation: FlowBatch, folder: Path, seed: int = 42, progress: Callable[[float, str], None] = quiet
) -> FitContext:
    return FitContext(validation, seed, np.random.default_rng(seed), "cpu", folder, progress=progress)


def flows_of(lengths: NDArray[np.int64], seed: int = 0, shift: float = 0.0) -> FlowBatch:
    """Random flows, all of one kind; ``shift`` moves their sizes, gaps and features by that many log units."""
    rng = np.random.default_rng(seed)
    n, total = len(lengths), int(lengths.sum())
    packets: dict[str, NDArray[Any]] = {
        "size": np.exp(rng.normal(5.0 + shift, 1.0, total)),
        "iat": np.exp(rng.normal(8.0 + shift, 2.0, total)),
        "win": np.exp(rng.normal(8.0, 0.5, total)),
    }
    packets |= {
        name: (rng.random(total) < share).astype(np.uint8)
        for name, share in zip(["direction", "syn", "fin"], [0.5, 0.1, 0.0], strict=True)
    }
    packets |= {
        name: (rng.random(total) < share).astype(np.uint8)
        for name, share in zip(["rst", "psh", "ack"], [0.02, 0.4, 0.9], strict=True)
    }
    features = {name: rng.normal(3.0 + shift, 1.0, n) for name in FLOW_FEATURES}
    return FlowBatch(
        np.arange(n, dtype=np.uint64), np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64), packets, features
    )


def mixed_lengths(n: int, seed: int = 0) -> NDArray[np.int64]:
    return np.random.default_rng(seed).geometric(0.2, n).astype(np.int64)


def fitted(params: JanusParams, folder: Path, n: int = 200, seed: int = 42) -> Janus:
    detector = Janus(params)
    detector.fit(flows_of(mixed_lengths(n)), context(flows_of(mixed_lengths(40, 1), 1), folder, seed))
    return detector


@pytest.fixture(scope="module")
def janus(tmp_path_factory: pytest.TempPathFactory) -> Janus:
    """One detector fitted on random flows, shared by the tests that only score."""
    return fitted(TINY, tmp_path_factory.mktemp("fit"))


def table(scores: dict[str, NDArray[np.float64]]) -> NDArray[np.float64]:
    return np.column_stack(list(scores.values()))


pytestmark = pytest.mark.usefixtures("one_thread")


# known answers


def gaussian_sequences(n: int, mean: NDArray[np.float64], std: NDArray[np.float64]) -> Sequences:
    """Flows of one packet whose 23 continuous entries are independent Gaussians, and whose bits are fair coins."""
    rng = np.random.default_rng(0)
    entries = rng.normal(mean, std, (n, 23)).astype(np.float32)
    packets = np.concatenate([entries[:, 20:], rng.integers(0, 2, (n, 6))], axis=1).astype(np.float32)
    return Sequences(entries[:, :20], packets, np.arange(n), np.ones(n, dtype=np.int64))


def test_velocity_and_terminal_state_of_gaussian_data_are_the_closed_form() -> None:
    """With independent coupling the objective's minimiser is v*(c, t) = E[c1 − c0 | c_t = c], linear for Gaussian data:
    v* = µ + (t s² − (1 − t)) / ((1 − t)² + t² s² + σ²) · (c − t µ).  Its Euler path back from c1 is an explicit
    recursion."""
    rng = np.random.default_rng(1)
    mean, std = rng.uniform(-1, 1, 23), rng.uniform(0.3, 1.5, 23)
    params = JanusParams(
        T=1,
        d_model=32,
        n_layers=1,
        n_heads=1,
        coupling="none",
        lr=4e-3,
        epochs=50,
        batch=256,
        lambda_disc=0.0,
        k_steps=8,
    )
    data = gaussian_sequences(3000, mean, std)
    network = train(data, gaussian_sequences(200, mean, std), params, gaussian(params), generator(), CPU, quiet)

    def optimal(c: NDArray[np.float64], t: float) -> NDArray[np.float64]:
        return mean + (t * std**2 - (1 - t)) / ((1 - t) ** 2 + t**2 * std**2 + params.sigma**2) * (c - t * mean)

    test = gaussian_sequences(500, mean, std)
    z = np.concatenate([test.flow, test.packets[:, :3]], axis=1).astype(np.float64)
    for k in range(params.k_steps):
        z = z - optimal(z, 1 - k / params.k_steps) / params.k_steps
    expected = np.sqrt(np.column_stack([(z[:, :20] ** 2).mean(1), (z[:, 20:] ** 2).mean(1), (z**2).mean(1)]))
    scores = score_sequences(network, test, NoiseBank.drawn(params, gaussian(params), generator(1)), params)[:, :3]
    # Terminal states are near N(0, I), so the scores are near 1 and spread over flows by .12 to .31: an error of .07 is
    # the network's.
    assert np.sqrt(((scores - expected) ** 2).mean(0)).max() < 0.07
    for column in range(3):
        assert np.corrcoef(scores[:, column], expected[:, column])[0, 1] > 0.97


@pytest.mark.parametrize("source", ["uniform", "mask"])
def test_bit_nll_of_independent_bits_is_that_of_the_closed_form_posterior(source: str) -> None:
    """Bits with p(b = 1) = q per channel, independent of everything: p(b | x_t) follows from Bayes' rule, and so does
    the mean NLL that the noise bank's kept and replaced cells give."""
    q = np.array([0.5, 0.9, 0.2, 0.05, 0.7, 0.97])
    width = 8

    def sequences(n: int, seed: int) -> Sequences:
        rng = np.random.default_rng(seed)
        packets = np.concatenate([rng.normal(size=(n * width, 3)), rng.random((n * width, 6)) < q], axis=1).astype(
            np.float32
        )
        return Sequences(rng.normal(size=(n, 20)).astype(np.float32), packets, np.arange(n) * width, np.full(n, width))

    params = JanusParams(
        T=width,
        d_model=32,
        n_layers=1,
        n_heads=1,
        coupling="none",
        lr=4e-3,
        epochs=20,
        batch=128,
        k_steps=1,
        discrete_source=source,
    )
    network = train(sequences(1200, 0), sequences(100, 1), params, gaussian(params), generator(), CPU, quiet)
    bank = NoiseBank.drawn(params, gaussian(params), generator(1))
    measured = score_sequences(network, sequences(2000, 2), bank, params)[:, 3:10].mean(0)

    expected = np.zeros(6)
    for time, t in enumerate(NLL_TIMES):
        for position in range(width):
            for channel in range(6):
                kept, coin = float(bank.uniform[time, position, channel]) < t, int(bank.coin[time, position, channel])
                for bit, share in ((0, 1 - q[channel]), (1, q[channel])):
                    shown = bit if kept else coin if source == "uniform" else None
                    # Likelihood of what is shown, given each value of the bit.
                    like = (
                        [1.0, 1.0]
                        if shown is None
                        else [t * (shown == b) + (1 - t) * (0.5 if source == "uniform" else 0.0) for b in (0, 1)]
                    )
                    weights = [(1 - q[channel]) * like[0], q[channel] * like[1]]
                    expected[channel] -= share * np.log(weights[bit] / sum(weights)) / (width * len(NLL_TIMES))
    np.testing.assert_allclose(measured[1:], expected, atol=0.02)
    assert measured[0] == pytest.approx(measured[1:].mean())


def untrained(params: JanusParams) -> tuple[Network, NoiseBank]:
    """Zero velocity (the heads start at zero), so z_0 = c1."""
    return Network(params, generator()).requires_grad_(False), NoiseBank.drawn(params, gaussian(params), generator(1))


def untrained_scores(data: Sequences, params: JanusParams) -> NDArray[np.float64]:
    network, bank = untrained(params)
    return score_sequences(network, data, bank, params)


def noise_sequences(lengths: NDArray[np.int64], seed: int = 0) -> Sequences:
    rng = np.random.default_rng(seed)
    total = int(lengths.sum())
    packets = np.concatenate([rng.normal(size=(total, 3)), rng.integers(0, 2, (total, 6))], axis=1).astype(np.float32)
    return Sequences(
        rng.normal(size=(len(lengths), 20)).astype(np.float32), packets, np.cumsum(lengths) - lengths, lengths
    )


def test_terminal_scores_of_pure_noise_do_not_detect_length() -> None:
    params = replace(TINY, T=64)
    lengths = np.repeat([8, 64], 1000)
    data = noise_sequences(lengths)
    scores = untrained_scores(data, params)[:, :3]
    long = lengths == 64
    for column in scores.T:
        assert 0.4 < roc_auc_score(long, column) < 0.6
    squares = np.add.reduceat((data.packets[:, :3].astype(np.float64) ** 2).sum(1), data.starts)
    assert roc_auc_score(long, np.sqrt(squares)) == 1.0  # the plain norm detects nothing else
    np.testing.assert_allclose(scores[:, 1], np.sqrt(squares / (3 * lengths)), rtol=1e-6)


def test_repeating_a_flows_packets_leaves_its_terminal_packet_score() -> None:
    params = replace(TINY, T=64)
    once = noise_sequences(np.full(20, 4))
    rows = (np.arange(20)[:, None] * 4 + np.tile(np.arange(4), 16)).ravel()
    repeated = Sequences(once.flow, once.packets[rows], np.arange(20) * 64, np.full(20, 64))
    first, second = (untrained_scores(data, params)[:, :2] for data in (once, repeated))
    np.testing.assert_allclose(first, second, rtol=1e-6)


def test_flows_far_from_the_benign_ones_score_higher(janus: Janus) -> None:
    lengths = mixed_lengths(200, 7)
    ordinary, shifted = janus.score(flows_of(lengths, 8)), janus.score(flows_of(lengths, 9, shift=6.0))
    for name in ("terminal_flow", "terminal_packet", "terminal_norm"):
        assert roc_auc_score(np.repeat([0, 1], 200), np.concatenate([ordinary[name], shifted[name]])) > 0.95


# grouping changes nothing but time


def rectangles(n: int, width: int) -> list[Group]:
    """Everything padded to ``width``, in two rectangles."""
    return [Group(rows, width) for rows in np.array_split(np.arange(n), 2)]


@pytest.mark.parametrize("mode", ["full", "causal_packets", "causal_strict"])
@pytest.mark.parametrize("bits", ["clamped", "path"])
def test_grouped_and_padded_flows_score_the_same(mode: str, bits: str) -> None:
    params = replace(TINY, reference_mode=mode, bits=bits)
    network, bank = untrained(params)
    for parameter in network.parameters():
        parameter.normal_(0.0, 0.1, generator=generator(parameter.numel()))
    data = noise_sequences(np.minimum(mixed_lengths(150), 16))
    grouped, padded = (
        score_sequences(network, data, bank, params),
        score_sequences(network, data, bank, params, rectangles(150, 16)),
    )
    np.testing.assert_allclose(grouped, padded, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("mode", ["full", "causal_packets", "causal_strict"])
def test_grouped_and_padded_batches_have_the_same_loss_and_gradient(mode: str) -> None:
    params = replace(TINY, reference_mode=mode)
    network = Network(params, generator())
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.normal_(0.0, 0.1, generator=generator(parameter.numel()))
    data = noise_sequences(np.minimum(mixed_lengths(60), 16))
    batch = noisy_batch(data, np.arange(60), params, gaussian(params), generator(2))
    losses, gradients = [], []
    for groups in (None, rectangles(60, 16)):
        network.zero_grad()
        losses.append(accumulate_gradient(network, batch, gaussian(params, 1.0, 0.7), groups))
        gradients.append(
            torch.cat([parameter.grad.flatten() for parameter in network.parameters() if parameter.grad is not None])
        )
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)
    assert len(gradients[0]) == sum(parameter.numel() for parameter in network.parameters())
    torch.testing.assert_close(gradients[0], gradients[1], atol=1e-5, rtol=1e-4)


def test_the_loss_is_the_mean_over_valid_entries_plus_lambda_times_the_mean_over_valid_cells() -> None:
    """An untrained network predicts 0 and even odds, so the loss is mean (c1 − c0)² + λ log 2."""
    data = noise_sequences(np.array([1, 5, 16]))
    batch = noisy_batch(data, np.arange(3), TINY, gaussian(TINY), generator(2))
    valid = torch.arange(16) < torch.tensor([1, 5, 16])[:, None]
    entries = torch.cat([batch.flow_target.flatten(), batch.packet_target[valid][:, :3].flatten()])
    assert len(entries) == 3 * 20 + 22 * 3
    loss = accumulate_gradient(Network(TINY, generator()), batch, gaussian(TINY, 1.0, 0.7))
    assert loss == pytest.approx(float(entries.square().mean()) + 0.7 * np.log(2), rel=1e-5)


def test_the_noised_batch_lies_on_the_path_between_its_noise_and_its_data() -> None:
    params = replace(TINY, sigma=0.0)
    data = noise_sequences(np.array([2, 7, 4]))
    batch = noisy_batch(data, np.arange(3), params, gaussian(params), generator(2))
    noise = data.flow - batch.flow_target.numpy()  # c0 = c1 − u
    t = batch.t.numpy()[:, None]
    np.testing.assert_allclose(batch.flow.numpy(), (1 - t) * noise + t * data.flow, atol=1e-6)
    np.testing.assert_array_equal(batch.packet_target[1, :7, 3:].numpy(), data.packets[2:9, 3:])


def drawn_noise(batch: NoisyBatch, data: Sequences, width: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Data, c0 = c1 − u and which entries count, each (B, 20 + 3 width), of a batch of all of ``data``."""
    dense, valid = data.padded(np.arange(len(data)), width)
    entries = torch.cat([torch.from_numpy(data.flow), torch.from_numpy(dense[..., :3]).flatten(1)], dim=1)
    target = torch.cat([batch.flow_target, batch.packet_target[..., :3].flatten(1)], dim=1)
    counts = torch.cat(
        [torch.ones(len(data), 20, dtype=torch.bool), torch.from_numpy(valid).repeat_interleave(3, dim=1)], dim=1
    )
    return entries, entries - target, counts


def test_a_batch_pairs_every_flow_with_the_noise_that_its_coupling_chose() -> None:
    """Of the pairs as they are in the batch: those of ``exact`` cost what scipy's best assignment costs, those of
    ``sinkhorn`` little more."""
    data = noise_sequences(np.random.default_rng(3).integers(1, 7, 48))
    shares = {}
    for coupling in ("exact", "sinkhorn", "stratified", "none"):
        params = replace(TINY, coupling=coupling)
        batch = noisy_batch(data, np.arange(48), params, gaussian(params), generator(2))
        entries, noise, counts = drawn_noise(batch, data, int(data.lengths.max()))
        # of data row i and noise row j
        cost = (((noise[None] - entries[:, None]) ** 2) * counts[:, None]).sum(2).double().numpy()
        shares[coupling] = np.trace(cost) / cost[linear_sum_assignment(cost)].sum()
    assert shares["exact"] == pytest.approx(1.0, rel=1e-5)
    assert 1.0 <= shares["sinkhorn"] < 1.2 < shares["stratified"] < 1.45 < shares["none"]


def test_sigma_is_the_spread_around_the_path_in_training_and_in_the_noise_bank() -> None:
    params = replace(TINY, sigma=0.6, T=64)
    data = noise_sequences(np.full(100, 64))
    batch = noisy_batch(data, np.arange(100), params, gaussian(params), generator(2))
    t = batch.t[:, None]
    blur = batch.flow - (torch.from_numpy(data.flow) - (1 - t) * batch.flow_target)  # c_t − (c1 − (1 − t) u)
    assert float(blur.std()) == pytest.approx(0.6, rel=0.05)
    for seed in range(3):
        bank = NoiseBank.drawn(params, gaussian(params), generator(seed))
        expected = [((1 - time) ** 2 + 0.36) ** 0.5 for time in NLL_TIMES]
        np.testing.assert_allclose(bank.packets.std((1, 2)), expected, rtol=0.2)
        assert bank.flow.shape == (3, 20)


def test_a_score_depends_on_its_flow_alone(janus: Janus) -> None:
    flows = flows_of(mixed_lengths(120, 3), 4)
    together = table(janus.score(flows))
    order = np.random.default_rng(0).permutation(120)
    np.testing.assert_allclose(table(janus.score(flows.take(order))), together[order], atol=1e-5, rtol=1e-5)
    for row in (0, 17, 119):
        np.testing.assert_allclose(
            table(janus.score(flows.take(np.array([row])))), together[[row]], atol=1e-5, rtol=1e-5
        )


# the contract


def test_scores_are_the_declared_columns_and_the_total_is_the_mean_of_the_six(janus: Janus) -> None:
    flows = flows_of(mixed_lengths(30, 3), 4)
    scores = validate_scores(janus.score(flows), 30, Janus.capabilities.scores)
    np.testing.assert_allclose(
        scores["disc_nll_total"], np.mean([scores[f"disc_nll_ch{channel}"] for channel in range(2, 8)], axis=0)
    )
    assert {name: len(column) for name, column in janus.score(flows.take(slice(0, 0))).items()} == dict.fromkeys(
        Janus.capabilities.scores, 0
    )


def test_a_seed_fixes_the_scores_and_torchs_global_generator_is_left_alone(tmp_path: Path) -> None:
    flows = flows_of(mixed_lengths(30, 3), 4)
    state = torch.get_rng_state()
    first, again, other = (table(fitted(TINY, tmp_path, 80, seed).score(flows)) for seed in (42, 42, 43))
    assert torch.equal(torch.get_rng_state(), state)
    np.testing.assert_array_equal(first, again)
    assert not np.allclose(first, other)


@pytest.mark.parametrize(
    "changes",
    [
        {"coupling": "exact", "discrete_source": "mask"},
        {"coupling": "none", "bits": "path", "reference_mode": "full"},
        {"discrete_source": "mask", "bits": "path", "reference_mode": "causal_strict"},
    ],
)
def test_a_loaded_detector_scores_as_the_saved_one(changes: dict[str, str], tmp_path: Path) -> None:
    params = replace(TINY, **changes)  # type: ignore[arg-type]
    saved = fitted(params, tmp_path, 60)
    saved.save(tmp_path / "model")
    loaded = Janus.load(tmp_path / "model", params)
    flows = flows_of(mixed_lengths(50, 3), 4)
    np.testing.assert_array_equal(table(saved.score(flows)), table(loaded.score(flows)))
    assert np.isfinite(table(saved.score(flows))).all()


def test_loading_what_is_not_this_model_is_one_clear_line(janus: Janus, tmp_path: Path) -> None:
    janus.save(tmp_path)
    with pytest.raises(DataError, match=r"sigma = 0\.1, not 0\.6"):
        Janus.load(tmp_path, replace(TINY, sigma=0.6))
    (tmp_path / "janus.safetensors").write_bytes(b"cut")
    with pytest.raises(DataError, match="no readable model in"):
        Janus.load(tmp_path, TINY)
    with pytest.raises(DataError, match="no readable model in"):
        Janus.load(tmp_path / "nowhere", TINY)


def test_using_it_wrongly_is_one_clear_line(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="not fitted"):
        Janus(TINY).score(flows_of(np.array([3])))
    with pytest.raises(UsageError, match="no benign training flows"):
        Janus(TINY).fit(flows_of(np.zeros(0, dtype=np.int64)), context(flows_of(np.array([3])), tmp_path))


def test_one_flow_is_enough_to_fit_and_to_score(tmp_path: Path) -> None:
    detector = Janus(TINY)
    detector.fit(flows_of(np.array([1])), context(flows_of(np.zeros(0, dtype=np.int64)), tmp_path))
    assert np.isfinite(table(detector.score(flows_of(np.array([64]), 3)))).all()


def test_constant_columns_and_extreme_packets_give_finite_scores(tmp_path: Path) -> None:
    lengths = np.full(40, 3)
    ordinary = flows_of(lengths)
    constant = FlowBatch(
        ordinary.ids,
        ordinary.offsets,
        {name: np.full_like(column, 1) for name, column in ordinary.packets.items()},
        {name: np.full_like(column, 2.0) for name, column in ordinary.features.items()},
    )
    detector = Janus(TINY)
    detector.fit(constant, context(constant, tmp_path))
    assert np.isfinite(table(detector.score(ordinary))).all()
    huge = {"size": 65535, "iat": 1_000_000_000, "win": 65535}
    extreme = FlowBatch(
        ordinary.ids,
        ordinary.offsets,
        {name: np.full(120, huge.get(name, 1), dtype=np.int64) for name in ordinary.packets},
        {name: np.full(40, 1e12) for name in ordinary.features},
    )
    scores = table(detector.score(extreme))
    assert np.isfinite(scores).all()
    assert scores.max() < 1e3


# training


def test_early_stopping_keeps_the_weights_of_the_best_validation_loss() -> None:
    """Twelve training flows are learnt by heart, so the validation loss turns; the kept network's is the lowest that
    was reported."""
    params = replace(TINY, epochs=150, patience=5, lr=1e-2, batch=12)
    data, validation = noise_sequences(np.full(12, 5), 1), noise_sequences(np.full(100, 5), 2)
    reported: list[float] = []
    path = gaussian(params)
    network = train(
        data,
        validation,
        params,
        path,
        generator(),
        CPU,
        lambda fraction, text: reported.append(float(text.rpartition(" ")[2])),
    )
    assert len(reported) == int(np.argmin(reported)) + 1 + params.patience < params.epochs
    kept = _validation_loss(network, _validation_batches(validation, params, path, CPU), path)
    assert kept == pytest.approx(min(reported), abs=1e-4)
    assert kept < reported[-1]


def test_weights_decay_by_the_stated_share_of_the_learning_rate() -> None:
    """Where there is no gradient AdamW's step is w ← w (1 − lr · decay): the layers behind heads that are zero have
    none at the first step."""
    params = replace(TINY, epochs=1, batch=10, lr=0.02, weight_decay=0.3, ema=0.0)
    data = noise_sequences(np.full(10, 5))
    trained = train(
        data, noise_sequences(np.zeros(0, dtype=np.int64)), params, gaussian(params), generator(), CPU, quiet
    )
    torch.testing.assert_close(
        trained.packet_in.weight, Network(params, generator()).packet_in.weight * (1 - 0.02 * 0.3)
    )
    assert trained.packet_head.weight.any()


def test_what_is_kept_is_the_average_of_the_weights() -> None:
    """After one step a tenth of the initial weights is still in it."""
    params = replace(TINY, epochs=1, batch=10, lr=0.02)
    data = noise_sequences(np.full(10, 5))
    nothing = noise_sequences(np.zeros(0, dtype=np.int64))
    kept, last = (
        train(data, nothing, p, gaussian(p), generator(), CPU, quiet) for p in (params, replace(params, ema=0.0))
    )
    for average, first, stepped in zip(
        kept.parameters(), Network(params, generator()).parameters(), last.parameters(), strict=True
    ):
        torch.testing.assert_close(average, 0.1 * first + 0.9 * stepped)


def test_no_step_is_taken_along_a_gradient_longer_than_one() -> None:
    data = noise_sequences(np.full(64, 5))
    far = replace(data, flow=20.0 * data.flow)
    norms = []

    def watch(optimiser: torch.optim.Optimizer, *arguments: object) -> None:
        gradients = [
            parameter.grad.flatten()
            for group in optimiser.param_groups
            for parameter in group["params"]
            if parameter.grad is not None
        ]
        norms.append(float(torch.cat(gradients).norm()))

    hook = register_optimizer_step_pre_hook(watch)
    train(far, data, TINY, gaussian(TINY), generator(), CPU, quiet)
    hook.remove()
    assert len(norms) == 2 * TINY.epochs
    np.testing.assert_allclose(norms, 1.0, rtol=1e-3)


def test_progress_is_reported_once_an_epoch(tmp_path: Path) -> None:
    seen: list[tuple[float, str]] = []
    flows = flows_of(mixed_lengths(40))
    Janus(TINY).fit(flows, context(flows, tmp_path, progress=lambda fraction, text: seen.append((fraction, text))))
    assert [fraction for fraction, _ in seen] == [0.5, 1.0]
    assert seen[0][1].startswith("epoch 1/2, loss ")
