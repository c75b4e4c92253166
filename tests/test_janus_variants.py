"""JANUS's further scores against closed forms, and its variants: what they read, which columns they have, what they
learn."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score

from detectors.janus import Janus, JanusParams
from detectors.janus.binned import PAIRINGS, Binning, path_of
from detectors.janus.matching import accumulate_gradient, noisy_batch, train
from detectors.janus.model import Network
from detectors.janus.packing import Group, Layout, group_by_length, prefetched
from detectors.janus.preprocess import Sequences
from detectors.janus.scoring import NoiseBank, score_sequences
from janus_bench.conformance.flows import MIXED_BENIGN, mixed_flows, synthetic_benign
from janus_bench.contract import FlowBatch, validate_scores
from janus_bench.errors import UsageError
from protocols.aggregators import fit_aggregator
from tests.test_janus import (
    CPU,
    NLL_TIMES,
    TINY,
    context,
    fitted,
    flows_of,
    gaussian,
    gaussian_sequences,
    generator,
    mixed_lengths,
    noise_sequences,
    quiet,
    rectangles,
    table,
)

TEN = Janus.capabilities.scores[:10]


pytestmark = pytest.mark.usefixtures("one_thread")


def named(network: Network, data: Sequences, params: JanusParams) -> dict[str, np.ndarray]:
    scores = score_sequences(network, data, NoiseBank.drawn(params, gaussian(params), generator(1)), params)
    return dict(zip(Janus.declare(params).scores, scores.T, strict=True))


# further scores


class Field(Network):
    """A network with a given velocity: ``velocity(t, entries)`` of the FLOW entries and of the packet entries."""

    velocity: Callable[[float, torch.Tensor], torch.Tensor]

    def condition(self, t: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return (t,)

    def forward(self, flow: torch.Tensor, packets: torch.Tensor, condition: Any, placement: Any) -> Any:
        out = super().forward(flow, packets, super().condition(condition[0]), placement)
        t = float(condition[0])
        return out._replace(flow=self.velocity(t, flow), packet=self.velocity(t, packets[:, :3]))


def field_scores(
    velocity: Callable[[float, torch.Tensor], torch.Tensor], data: Sequences, params: JanusParams
) -> dict[str, np.ndarray]:
    network = Field(params, generator()).requires_grad_(False)
    network.velocity = velocity
    return named(network, data, params)


def test_a_straight_path_at_even_speed_has_no_curvature_and_is_as_long_as_its_ends_are_apart() -> None:
    data = noise_sequences(np.array([1, 4, 9, 16]))
    found = field_scores(lambda t, entries: torch.full_like(entries, 3.0), data, TINY)
    for part in ("total", "flow", "packet"):
        np.testing.assert_allclose(found[f"kinetic_{part}"], 9.0)
        np.testing.assert_allclose(found[f"curvature_{part}"], 0.0, atol=1e-5)
    np.testing.assert_allclose(found["arc_length"], 3.0)


def test_path_scores_of_a_bending_field_by_plain_python() -> None:
    """v(c, t) = (1 + t) c: every entry by its own recursion."""
    lengths = np.array([1, 3, 16])
    data, steps = noise_sequences(lengths), TINY.k_steps
    found = field_scores(lambda t, entries: (1 + t) * entries, data, TINY)
    for row, (start, length) in enumerate(zip(data.starts, lengths, strict=True)):
        entries = {
            "flow": data.flow[row].astype(float),
            "packet": data.packets[start : start + length, :3].astype(float).ravel(),
        }
        entries["total"] = np.concatenate([entries["flow"], entries["packet"]])
        for part, c1 in entries.items():
            z, speeds = c1, []
            for k in range(steps):
                speeds.append((1 + 1 - k / steps) * z)
                z = z - speeds[-1] / steps
            v = np.array(speeds)  # (K, entries)
            np.testing.assert_allclose(
                found[f"terminal_{'norm' if part == 'total' else part}"][row], np.sqrt((z**2).mean()), rtol=1e-5
            )
            np.testing.assert_allclose(found[f"kinetic_{part}"][row], (v**2).mean(), rtol=1e-5)
            np.testing.assert_allclose(found[f"velocity_{part}"][row], np.sqrt(((v[0] - c1) ** 2).mean()), rtol=1e-5)
            np.testing.assert_allclose(found[f"curvature_{part}"][row], v.var(axis=0).mean(), rtol=1e-4)
        np.testing.assert_allclose(found["arc_length"][row], np.sqrt((v**2).mean(axis=1)).mean(), rtol=1e-5)


def gaussian_velocity(t: float, c: np.ndarray, mean: np.ndarray, std: np.ndarray, sigma: float) -> np.ndarray:
    """E[c1 − c0 | c_t = c] of independent c0 ~ N(0, I) and c1 ~ N(mean, std²): see test_janus.py."""
    return mean + (t * std**2 - (1 - t)) / ((1 - t) ** 2 + t**2 * std**2 + sigma**2) * (c - t * mean)


@pytest.mark.parametrize("sigma", [0.0, 0.6])
def test_velocity_scores_of_the_perfect_model_of_an_independent_coupling(sigma: float) -> None:
    """c1 + σ ε at t = 1 tells nothing about c0 when pairs are independent, so v*(c1, 1) − c1 = E[c1' | c1' + σ ε = c1]
    − c1: zero for σ = 0, and (µ − c1) σ² / (s² + σ²) for Gaussian data."""
    rng = np.random.default_rng(1)
    mean, std = rng.uniform(-1, 1, 23), rng.uniform(0.3, 1.5, 23)
    data = gaussian_sequences(200, mean, std)
    params = replace(TINY, T=1, sigma=sigma)

    def optimal(t: float, entries: torch.Tensor) -> torch.Tensor:
        part = slice(0, 20) if entries.shape[1] == 20 else slice(20, 23)
        return torch.from_numpy(gaussian_velocity(t, entries.double().numpy(), mean[part], std[part], sigma)).float()

    found = field_scores(optimal, data, params)
    c1 = np.concatenate([data.flow, data.packets[:, :3]], axis=1)
    expected = np.sqrt((((mean - c1) * sigma**2 / (std**2 + sigma**2)) ** 2).mean(1))
    np.testing.assert_allclose(found["velocity_total"], expected, rtol=1e-4, atol=1e-6)


def test_a_trained_network_approaches_the_closed_forms_of_the_path_scores() -> None:
    """Gaussian data, independent coupling, σ = .6: the velocity is linear (see ``gaussian_velocity``), the path
    bends."""
    rng = np.random.default_rng(1)
    mean, std = rng.uniform(-1, 1, 23), rng.uniform(0.3, 1.5, 23)
    params = JanusParams(
        T=1,
        d_model=32,
        n_layers=1,
        n_heads=1,
        coupling="none",
        sigma=0.6,
        lr=8e-3,
        epochs=30,
        batch=512,
        lambda_disc=0.0,
        k_steps=8,
    )
    network = train(
        gaussian_sequences(8000, mean, std),
        gaussian_sequences(200, mean, std),
        params,
        gaussian(params),
        generator(),
        CPU,
        quiet,
    )
    test = gaussian_sequences(300, mean, std)
    found = named(network, test, params)
    z = c1 = np.concatenate([test.flow, test.packets[:, :3]], axis=1).astype(np.float64)
    speeds = []
    for k in range(8):
        speeds.append(gaussian_velocity(1 - k / 8, z, mean, std, 0.6))
        z = z - speeds[-1] / 8
    v = np.array(speeds)
    for name, expected in (
        ("velocity_total", np.sqrt(((v[0] - c1) ** 2).mean(1))),
        ("kinetic_total", (v**2).mean(axis=(0, 2))),
        ("curvature_total", v.var(axis=0).mean(1)),
        ("arc_length", np.sqrt((v**2).mean(axis=2)).mean(0)),
    ):
        # An error of .07 is the network's, as for the terminal scores in test_janus.py.
        assert np.abs(found[name] - expected).mean() < 0.07, name
        # The velocity score lies at t = 1, the edge of what training saw, and is the least exact.
        assert np.corrcoef(found[name], expected)[0, 1] > 0.88, name


class Listening(Network):
    """A network that writes down at which time it was shown which bits."""

    heard: list[tuple[float, torch.Tensor]]

    def condition(self, t: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return (*super().condition(t), t)

    def forward(self, flow: torch.Tensor, packets: torch.Tensor, condition: Any, placement: Any) -> Any:
        self.heard.append((float(condition[-1]), packets[:, 3:]))
        return super().forward(flow, packets, condition[:-1], placement)


@pytest.mark.parametrize("source", ["uniform", "mask"])
def test_the_reverse_ode_is_shown_the_observed_bits_or_those_of_their_path(source: str) -> None:
    """One flow of 16 packets.  ``clamped``: the bits; ``path``: at t each with probability t, by the bank, else what
    the source says."""
    data = noise_sequences(np.array([16]))
    bits = torch.from_numpy(data.packets[:, 3:])
    for shown in ("clamped", "path"):
        params = replace(TINY, bits=shown, discrete_source=source)
        bank = NoiseBank.drawn(params, gaussian(params), generator(1))
        network = Listening(params, generator()).requires_grad_(False)
        network.heard = []
        score_sequences(network, data, bank, params)
        ode = network.heard[: params.k_steps]
        assert [t for t, _ in ode] == [1.0, 0.75, 0.5, 0.25]
        assert sorted(t for t, _ in network.heard[params.k_steps :]) == sorted(NLL_TIMES)
        for k, (t, seen) in enumerate(ode):
            other = torch.where(bank.coin[3 + k], 1.0, -1.0) if source == "uniform" else torch.zeros(16, 6)
            kept = (bank.uniform[3 + k] < t) | (shown == "clamped")
            torch.testing.assert_close(seen, torch.where(kept, 2 * bits - 1, other), rtol=0, atol=0)
            assert bool(kept.all()) == (shown == "clamped" or t == 1.0)


# the reduction over packets


def perturbed(params: JanusParams) -> Network:
    """An untrained network that says something."""
    network = Network(params, generator()).requires_grad_(False)
    for parameter in network.parameters():
        parameter.normal_(0.0, 0.2, generator=generator(parameter.numel()))
    return network


def packet_values(
    network: Network, bank: NoiseBank, flow: np.ndarray, packets: np.ndarray, steps: int
) -> dict[str, np.ndarray]:
    """What each packet of one flow would score, (L,) or for the NLL (L, 6): the means over its own entries, before any
    root."""
    length = len(packets)
    placement = network.place(Layout.of([Group(np.array([0]), length)], np.array([length])))

    def heads(t: float, z_flow: np.ndarray, z: np.ndarray, shown: np.ndarray) -> list[np.ndarray]:
        states = (torch.from_numpy(part).float() for part in (z_flow[None], np.concatenate([z, shown], axis=1)))
        return [head.double().numpy() for head in network(*states, network.condition(torch.tensor([t])), placement)]

    c1, bits = packets[:, :3], packets[:, 3:]
    z_flow, z, path = flow, c1, []
    for k in range(steps):
        v_flow, v, _ = heads(1 - k / steps, z_flow, z, 2 * bits - 1)
        path.append(v)
        z_flow, z = z_flow - v_flow[0] / steps, z - v / steps
    v = np.array(path)  # (K, L, 3)
    nll = np.zeros((length, 6))
    noise = {name: tensor.numpy() for name, tensor in vars(bank).items()}
    for time, t in enumerate(NLL_TIMES):
        x = np.where(noise["uniform"][time, :length] < t, bits, noise["coin"][time, :length])
        noisy = noise["packets_kept"][time, :length] * c1 + noise["packets"][time, :length]
        logits = heads(t, noise["flow_kept"][time] * flow + noise["flow"][time], noisy, 2 * x - 1)[2]
        nll += np.log1p(np.exp(-(2 * bits - 1) * logits)) / len(NLL_TIMES)
    return {
        "terminal": (z**2).mean(1),
        "velocity": ((v[0] - c1) ** 2).mean(1),
        "kinetic": (v**2).mean(axis=(0, 2)),
        "curvature": v.var(axis=0).mean(1),
        "nll": nll,
    }


@pytest.mark.parametrize(("reduction", "decide"), [("mean", np.mean), ("max", np.max)])
def test_a_reduction_by_plain_python_flow_by_flow(reduction: str, decide: Callable[..., Any]) -> None:
    params = replace(TINY, reduction=reduction)
    network, bank = perturbed(params), NoiseBank.drawn(params, gaussian(params), generator(1))
    lengths = np.array([1, 2, 7, 16])
    data = noise_sequences(lengths)
    found = named(network, data, params)
    for row, (start, length) in enumerate(zip(data.starts, lengths, strict=True)):
        own = packet_values(
            network,
            bank,
            data.flow[row].astype(float),
            data.packets[start : start + length].astype(float),
            params.k_steps,
        )
        for kind, root in (
            ("terminal", np.sqrt),
            ("velocity", np.sqrt),
            ("kinetic", np.asarray),
            ("curvature", np.asarray),
        ):
            np.testing.assert_allclose(found[f"{kind}_packet"][row], root(decide(own[kind])), rtol=1e-4, err_msg=kind)
        nll = decide(own["nll"], axis=0)
        np.testing.assert_allclose([found[f"disc_nll_ch{channel}"][row] for channel in range(2, 8)], nll, rtol=1e-4)
        np.testing.assert_allclose(found["disc_nll_total"][row], nll.mean(), rtol=1e-4)


def test_the_mean_is_the_default_and_the_worst_packet_decides_in_packet_scores_alone() -> None:
    lengths = mixed_lengths(40).clip(1, TINY.T)
    data, network = noise_sequences(lengths), perturbed(TINY)
    default, mean, worst = (
        named(network, data, params)
        for params in (TINY, replace(TINY, reduction="mean"), replace(TINY, reduction="max"))
    )
    assert default.keys() == worst.keys()
    assert (lengths == 1).any()
    for name, column in worst.items():
        np.testing.assert_array_equal(mean[name], default[name])
        if name.endswith("_packet") or name.startswith("disc_nll_"):
            assert (column[lengths > 1] > mean[name][lengths > 1]).all(), name
            np.testing.assert_allclose(column[lengths == 1], mean[name][lengths == 1], rtol=1e-5)
        else:
            np.testing.assert_array_equal(column, mean[name])


def test_a_flow_whose_packets_are_missing_scores_zero_in_place_of_its_worst_packet() -> None:
    params = replace(TINY, reduction="max")
    found = named(perturbed(params), noise_sequences(np.array([3, 0, 5])), params)
    for name, column in found.items():
        of_packets = name.endswith("_packet") or name.startswith("disc_nll_")
        assert (column[1] == 0) == of_packets, name
        assert (column[[0, 2]] > 0).all(), name


# what a variant has

VARIANTS: dict[str, dict[str, Any]] = {
    "full": {},
    "B1": {"use_flow_token": False},
    "B2": {"T": 0},
    "B3": {"disc_as_cont": True},
    "B4": {"cont_as_disc": True, "cont_n_bins": 8},
    "B4 of packets alone": {"cont_as_disc": True, "cont_n_bins": 8, "use_flow_token": False},
    "B5": {"joint": False},
    "lambda 0": {"lambda_disc": 0.0},
    "full attention, 9 continuous": {"disc_as_cont": True, "reference_mode": "full"},
    "stratified": {"coupling": "stratified"},
    "max": {"reduction": "max"},
    "max, 9 continuous": {"reduction": "max", "disc_as_cont": True},
    "max, B2": {"reduction": "max", "T": 0},
    "max, B4": {"reduction": "max", "cont_as_disc": True, "cont_n_bins": 8},
}


def variant(name: str) -> JanusParams:
    return replace(TINY, **VARIANTS[name])


def test_the_default_has_twenty_columns_and_its_scalar_is_made_of_the_ten() -> None:
    assert Janus.declare(JanusParams()) == Janus.capabilities
    assert Janus.capabilities.aggregator == "oas[columns=terminal_*+disc_nll_*]"
    assert len(Janus.capabilities.scores) == 20
    assert TEN[:3] == ("terminal_flow", "terminal_packet", "terminal_norm")
    assert sorted(name for name in Janus.capabilities.scores if name.startswith(("terminal_", "disc_nll_"))) == sorted(
        TEN
    )


def test_the_default_scalar_and_the_mean_of_the_ten_columns_point_upwards(tmp_path: Path) -> None:
    """What the conformance check of orientation cannot say, because the other ten columns have no fixed direction."""
    detector = Janus(JanusParams(**Janus.profiles["check"]))
    detector.fit(synthetic_benign(0, 300), context(synthetic_benign(2, 60), tmp_path))
    scores = detector.score(mixed_flows())
    attack = np.arange(len(mixed_flows())) >= MIXED_BENIGN
    assert np.mean([roc_auc_score(attack, scores[name]) for name in TEN]) > 0.7
    assert Janus.capabilities.aggregator is not None
    scalar = fit_aggregator(
        Janus.capabilities.aggregator, table(detector.score(synthetic_benign(3, 100))), Janus.capabilities.scores
    )
    assert roc_auc_score(attack, scalar(table(scores))) > 0.9


@pytest.mark.parametrize(
    ("name", "inputs", "aggregator", "project_columns"),
    [
        ("B1", {"packets"}, "oas[columns=terminal_*+disc_nll_*]", ("terminal_packet", *TEN[3:])),
        ("B2", {"features"}, "oas[columns=terminal_*]", ("terminal_flow",)),
        ("B3", {"packets", "features"}, "oas[columns=terminal_*]", TEN[:3]),
        ("B4", {"packets", "features"}, "oas[columns=disc_nll_*]", TEN[3:]),
        ("B5", {"packets", "features"}, "oas[columns=terminal_*+disc_nll_*]", TEN),
        ("lambda 0", {"packets", "features"}, "oas[columns=terminal_*]", TEN[:3]),
    ],
)
def test_what_a_variant_lacks_has_no_column(
    name: str, inputs: set[str], aggregator: str, project_columns: tuple[str, ...]
) -> None:
    declared = Janus.declare(variant(name))
    assert declared.inputs == inputs
    assert declared.aggregator == aggregator
    assert tuple(column for column in declared.scores if column in TEN) == project_columns
    others = {column for column in declared.scores if column not in TEN}
    assert bool(others) == (name != "B4")
    for part, there in (("flow", name != "B1"), ("packet", name != "B2")):
        assert (f"kinetic_{part}" in others) == (there and name != "B4")


@pytest.mark.parametrize("name", VARIANTS)
def test_a_variant_learns_scores_what_it_declares_and_scores_so_again_when_loaded(name: str, tmp_path: Path) -> None:
    params = variant(name)
    declared = Janus.declare(params)

    def visible(flows: FlowBatch) -> FlowBatch:
        """What the harness would show: only the declared inputs."""
        packets = "packets" in declared.inputs
        return FlowBatch(
            flows.ids,
            flows.offsets if packets else None,
            flows.packets if packets else {},
            flows.features if "features" in declared.inputs else {},
        )

    seen: list[float] = []
    detector = Janus(params)
    train_flows, validation = visible(flows_of(mixed_lengths(60))), visible(flows_of(mixed_lengths(20, 1), 1))
    detector.fit(train_flows, context(validation, tmp_path, progress=lambda fraction, text: seen.append(fraction)))
    assert seen == sorted(seen)
    assert seen[-1] == 1.0
    flows = visible(flows_of(mixed_lengths(50, 3), 4))
    scores = validate_scores(detector.score(flows), 50, declared.scores)
    assert all(np.ptp(column) > 0 for column in scores.values())
    alone = table(detector.score(flows.take(np.array([17]))))
    np.testing.assert_allclose(alone, table(scores)[[17]], atol=1e-5, rtol=1e-5)
    detector.save(tmp_path / "model")
    loaded = Janus.load(tmp_path / "model", params)
    np.testing.assert_array_equal(table(loaded.score(flows)), table(scores))


@pytest.mark.parametrize("name", VARIANTS)
def test_grouped_and_padded_batches_agree_in_every_variant(name: str) -> None:
    params = variant(name)
    lengths = np.minimum(mixed_lengths(40), params.T)
    data = noise_sequences(lengths)
    data = replace(data, flow=data.flow[:, : params.widths.flow])
    path = path_of(params, data)
    data = path.prepared(data)
    network = Network(params, generator())
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.normal_(0.0, 0.1, generator=generator(parameter.numel()))
    batch = noisy_batch(data, np.arange(40), params, path, generator(2))
    losses, gradients = [], []
    for groups in (None, rectangles(40, params.T)):
        network.zero_grad()
        losses.append(accumulate_gradient(network, batch, path, groups))
        gradients.append(
            torch.cat([parameter.grad.flatten() for parameter in network.parameters() if parameter.grad is not None])
        )
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)
    torch.testing.assert_close(gradients[0], gradients[1], atol=1e-5, rtol=1e-4)
    bank = NoiseBank.drawn(params, path, generator(1))
    grouped, padded = (
        score_sequences(network.requires_grad_(False), data, bank, params, groups)
        for groups in (None, rectangles(40, params.T))
    )
    np.testing.assert_allclose(grouped, padded, atol=1e-5, rtol=1e-5)


def test_without_a_flow_token_packets_do_not_depend_on_the_future_through_it() -> None:
    """In causal_packets the future reaches a packet through FLOW alone: without FLOW it does not."""
    network = Network(replace(variant("B1"), n_layers=3), generator()).requires_grad_(False)
    for parameter in network.parameters():
        parameter.normal_(0.0, 0.3, generator=generator(parameter.numel()))
    layout = Layout.of([Group(np.array([0]), 8)], np.array([8]))
    packets = torch.randn(8, 9, generator=generator(2))
    changed = packets.clone()
    changed[5] += 1.0
    before, after = (
        network(torch.empty(1, 0), p, network.condition(torch.tensor([0.4])), network.place(layout)).packet
        for p in (packets, changed)
    )
    assert torch.equal(before[:5], after[:5])
    assert not torch.allclose(before[6], after[6])


def test_heads_trained_apart_are_those_of_each_loss_alone(tmp_path: Path) -> None:
    """The continuous scores of B5 are those of λ_disc = 0 (same seed, same network); the discrete ones are not."""
    flows = flows_of(mixed_lengths(50, 3), 4)
    apart = fitted(variant("B5"), tmp_path, 60).score(flows)
    continuous = fitted(variant("lambda 0"), tmp_path, 60).score(flows)
    for name, column in continuous.items():
        np.testing.assert_array_equal(apart[name], column)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"T": 0, "use_flow_token": False}, "T must be at least 1 without a FLOW token"),
        ({"disc_as_cont": True, "cont_as_disc": True}, "disc_as_cont"),
        ({"cont_as_disc": True, "T": 0}, "cont_as_disc"),
        ({"cont_as_disc": True, "lambda_disc": 0.0}, "cont_as_disc"),
        ({"cont_as_disc": True, "discrete_source": "mask"}, "discrete_source"),
        ({"joint": False, "lambda_disc": 0.0}, "joint"),
        ({"joint": False, "disc_as_cont": True}, "joint"),
        ({"reduction": "median"}, "^janus: reduction must be one of mean, max, not 'median'$"),
        ({"reduction": None}, "^janus: reduction must be one of mean, max, not None$"),
    ],
)
def test_parameters_that_cannot_be_are_one_clear_line(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message) as caught:
        replace(TINY, **changes)
    assert "must be" in str(caught.value)


# bins


def test_bins_hold_equal_shares_and_their_centres_are_inside() -> None:
    data = noise_sequences(np.full(500, 3))
    binning = Binning.fitted(data, 3, 8)
    assert binning.edges.shape == (23, 7)
    bins = binning.index(data.flow, 0)
    for column in range(20):
        np.testing.assert_allclose(np.bincount(bins[:, column], minlength=8), 500 / 8, atol=1)
    quantised = binning.apply(data)
    np.testing.assert_array_equal(binning.index(quantised.flow, 0), bins)
    np.testing.assert_array_equal(binning.index(quantised.packets[:, :3], 20), binning.index(data.packets[:, :3], 20))
    np.testing.assert_array_equal(quantised.packets[:, 3:], data.packets[:, 3:])


def test_repeated_values_leave_bins_empty_and_stay_themselves() -> None:
    data = noise_sequences(np.full(100, 2))
    few = replace(
        data,
        flow=np.repeat(np.array([-1.0, 0.0, 2.0], dtype=np.float32), [20, 50, 30])[:, None]
        * np.ones((1, 20), dtype=np.float32),
    )
    binning = Binning.fitted(few, 3, 8)
    np.testing.assert_array_equal(binning.apply(few).flow, few.flow)


def test_the_binned_path_keeps_an_entry_with_probability_t_and_else_shows_any_bin() -> None:
    params = replace(TINY, cont_as_disc=True, cont_n_bins=4)
    raw = noise_sequences(np.full(4000, 2))
    binning = Binning.fitted(raw, 3, 4)
    data = binning.apply(raw)
    batch = noisy_batch(data, np.arange(4000), params, path_of(params, raw), generator(2))
    np.testing.assert_array_equal(batch.flow_target.numpy(), binning.index(data.flow, 0))
    np.testing.assert_array_equal(
        batch.packet_target[..., :3].numpy().reshape(-1, 3), binning.index(data.packets[:, :3], 20)
    )
    same = (batch.flow.numpy() == data.flow).mean(1)
    t = batch.t.numpy()
    assert np.corrcoef(same, t)[0, 1] > 0.8
    assert (same - (t + (1 - t) / 4)).mean() == pytest.approx(0, abs=0.01)
    shown = binning.index(batch.flow.numpy(), 0)
    np.testing.assert_allclose(np.bincount(shown.ravel(), minlength=4) / shown.size, 0.25, atol=0.02)


def test_the_loss_without_a_continuous_head_is_the_mean_cross_entropy_of_all_cells() -> None:
    """An untrained network gives even odds: log K of each entry, log 2 of each bit."""
    params = replace(TINY, cont_as_disc=True, cont_n_bins=5)
    raw = noise_sequences(np.array([1, 5, 16]))
    path = path_of(params, raw)
    batch = noisy_batch(path.prepared(raw), np.arange(3), params, path, generator(2))
    loss = accumulate_gradient(Network(params, generator()), batch, path)
    entries, bits = 3 * 20 + 22 * 3, 22 * 6
    assert loss == pytest.approx((entries * np.log(5) + bits * np.log(2)) / (entries + bits), rel=1e-5)


def test_bit_nll_beside_binned_entries_is_that_of_the_closed_form_posterior() -> None:
    q = np.array([0.5, 0.9, 0.2, 0.05, 0.7, 0.97])

    def sequences(n: int, seed: int) -> Sequences:
        rng = np.random.default_rng(seed)
        packets = np.concatenate([rng.normal(size=(n * 4, 3)), rng.random((n * 4, 6)) < q], axis=1).astype(np.float32)
        return Sequences(rng.normal(size=(n, 20)).astype(np.float32), packets, np.arange(n) * 4, np.full(n, 4))

    params = JanusParams(
        T=4,
        d_model=32,
        n_layers=1,
        n_heads=1,
        lr=4e-3,
        epochs=12,
        batch=128,
        k_steps=1,
        cont_as_disc=True,
        cont_n_bins=4,
    )
    data = sequences(1200, 0)
    path = path_of(params, data)
    network = train(path.prepared(data), path.prepared(sequences(100, 1)), params, path, generator(), CPU, quiet)
    bank = NoiseBank.drawn(params, path, generator(1))
    measured = score_sequences(network, path.prepared(sequences(2000, 2)), bank, params)[:, 1:].mean(0)
    expected = np.zeros(6)
    for time, t in enumerate(NLL_TIMES):
        for position in range(4):
            for channel in range(6):
                shown = (
                    None
                    if float(bank.uniform[time, position, channel]) < t
                    else int(bank.coin[time, position, channel])
                )
                for bit, share in ((0, 1 - q[channel]), (1, q[channel])):
                    x = bit if shown is None else shown
                    weights = [p * (t * (x == b) + (1 - t) / 2) for b, p in ((0, 1 - q[channel]), (1, q[channel]))]
                    expected[channel] -= share * np.log(weights[bit] / sum(weights)) / (4 * len(NLL_TIMES))
    np.testing.assert_allclose(measured, expected, atol=0.03)


# coupling, devices, memory


def test_stratified_coupling_pairs_flows_of_equal_length_only() -> None:
    rng = np.random.default_rng(0)
    lengths = rng.integers(1, 6, 64)
    chosen = PAIRINGS["stratified"](rng.random((64, 64)) * 200, lengths, generator())
    np.testing.assert_array_equal(lengths[chosen], lengths)
    assert (chosen != np.arange(64)).any()


def test_batches_drawn_ahead_are_the_same() -> None:
    params = replace(TINY, T=16)
    data = noise_sequences(np.full(60, 5))

    def drawn() -> Iterator[Any]:
        source = generator(3)
        return (
            noisy_batch(data, np.arange(start, start + 20), params, gaussian(params), source) for start in (0, 20, 40)
        )

    for plain, ahead in zip(drawn(), prefetched(drawn()), strict=True):
        assert torch.equal(plain.flow, ahead.flow)
        assert torch.equal(plain.packets, ahead.packets)


@pytest.mark.parametrize("precision", ["bf16", "tf32"])
def test_a_fast_precision_on_the_cpu_is_one_clear_line(precision: str, tmp_path: Path) -> None:
    flows = flows_of(np.array([3, 4]))
    with pytest.raises(UsageError, match=f"precision={precision} needs --device cuda"):
        Janus(replace(TINY, precision=precision)).fit(flows, context(flows, tmp_path))


def test_half_precision_runs_every_operation_and_stays_near_full_precision() -> None:
    """Autocast on the CPU stands in for the GPU's, which it shares its rules with; the detector itself allows it on
    CUDA only."""
    data = noise_sequences(np.minimum(mixed_lengths(60), 16))
    network = Network(TINY, generator())
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.normal_(0.0, 0.1, generator=generator(parameter.numel()))
    path = gaussian(TINY)
    bank, batch = NoiseBank.drawn(TINY, path, generator(1)), noisy_batch(data, np.arange(60), TINY, path, generator(2))
    results = {}
    for precision in ("fp32", "bf16"):
        network.precision = precision
        network.zero_grad()
        loss = accumulate_gradient(network, batch, path)
        results[precision] = (
            score_sequences(network, data, bank, TINY),
            loss,
            [p.grad.clone() for p in network.parameters() if p.grad is not None],
        )
    (full, full_loss, full_gradient), (half, half_loss, half_gradient) = results["fp32"], results["bf16"]
    assert not np.array_equal(full, half)
    np.testing.assert_allclose(half, full, atol=0.05, rtol=0.05)
    assert half_loss == pytest.approx(full_loss, rel=0.01)
    norm = torch.cat([g.flatten() for g in full_gradient]).norm()
    assert (
        torch.cat([(a - b).flatten() for a, b in zip(full_gradient, half_gradient, strict=True)]).norm() < 0.05 * norm
    )


def test_scoring_in_blocks_changes_nothing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    detector = fitted(TINY, tmp_path, 60)
    flows = flows_of(mixed_lengths(100, 3), 4)
    whole = table(detector.score(flows))
    monkeypatch.setattr("detectors.janus.detector.CHUNK", 17)
    np.testing.assert_allclose(table(detector.score(flows)), whole, atol=1e-5, rtol=1e-5)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here")
@pytest.mark.parametrize(("precision", "tolerance"), [("fp32", 1e-3), ("tf32", 5e-2), ("bf16", 1e-1)])
def test_one_checkpoint_scores_alike_on_both_devices(precision: str, tolerance: float, tmp_path: Path) -> None:
    flows = flows_of(mixed_lengths(200, 3), 4)
    on_cpu = fitted(TINY, tmp_path, 200)
    data = on_cpu._need_fit().sequences(flows, TINY)
    here = score_sequences(
        on_cpu._need_fit().network, data, on_cpu._need_fit().bank, TINY, group_by_length(data.lengths)
    )
    torch.set_float32_matmul_precision("high" if precision == "tf32" else "highest")
    network = on_cpu._need_fit().network.to("cuda")
    network.precision = precision
    there = score_sequences(network, data, on_cpu._need_fit().bank, TINY)
    torch.set_float32_matmul_precision("highest")
    np.testing.assert_allclose(there, here, atol=tolerance, rtol=tolerance)
