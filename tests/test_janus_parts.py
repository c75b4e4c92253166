"""The parts of JANUS one by one, each against an independent reference: layout, coupling, paths, preprocessing,
attention, parameters."""

from __future__ import annotations

import importlib.util
import itertools
import subprocess
import sys
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linear_sum_assignment
from scipy.special import logsumexp

from detectors.janus import Janus, JanusParams, JanusPlus, JanusPlusParams
from detectors.janus.binned import PAIRINGS
from detectors.janus.matching import averaging, noised_bits, sinkhorn_log_plan, transport_cost
from detectors.janus.model import Network, _mask
from detectors.janus.packing import OVERHEAD_TOKENS, Group, Layout, group_by_length, micro_batches
from detectors.janus.preprocess import Sequences, Standardiser
from janus_bench.columns import CONTINUOUS_CHANNELS, DISCRETE_CHANNELS, FLOW_FEATURES
from janus_bench.contract import FlowBatch
from janus_bench.errors import UsageError

SMALL = JanusParams(T=12, d_model=16, n_layers=2, n_heads=2)
LENGTHS = st.lists(st.integers(1, 20), min_size=1, max_size=60).map(lambda lengths: np.array(lengths, dtype=np.int64))


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


pytestmark = pytest.mark.usefixtures("one_thread")


# the house


def test_the_flagship_can_be_read_in_one_sitting() -> None:
    package = Path(importlib.util.find_spec("detectors.janus").submodule_search_locations[0])  # type: ignore[union-attr,index]
    lines = {
        name: len((package / f"{name}.py").read_text(encoding="utf-8").splitlines())
        for name in ("model", "matching", "scoring")
    }
    assert sum(lines.values()) <= 820, lines  # 750 of 150 columns


# parameters


def test_importing_the_package_does_not_import_torch_sklearn_or_scipy() -> None:
    code = (
        "import sys, detectors.janus as j, detectors.janus.config; j.Janus(j.JanusParams()); j.JanusPlus(); "
        "print(*[m for m in ('torch', 'sklearn', 'scipy') if m in sys.modules])"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == ""


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("T", -1),
        ("T", 65),
        ("use_flow_token", 1),
        ("cont_n_bins", 1),
        ("precision", "fp16"),
        ("d_model", 0),
        ("n_heads", 3),
        ("sigma", -0.1),
        ("sigma", float("nan")),
        ("sigma", "0.1"),
        ("lambda_disc", float("inf")),
        ("coupling", "emd"),
        ("reference_mode", "causal"),
        ("discrete_source", "gaussian"),
        ("bits", ["clamped"]),
        ("k_steps", 2.0),
        ("epochs", True),
        ("batch", 0),
        ("lr", 0.0),
        ("weight_decay", -1.0),
        ("ema", 1.0),
        ("patience", 0),
    ],
)
def test_a_wrong_parameter_is_one_line_with_its_name_and_value(field: str, value: object) -> None:
    with pytest.raises(UsageError) as error:
        replace(SMALL, **{field: value})  # type: ignore[arg-type]
    message = str(error.value)
    assert field in message
    assert repr(value) in message
    assert "must be" in message
    assert "\n" not in message


def test_every_profile_is_valid_and_cross_refines_paper() -> None:
    for overrides in Janus.profiles.values():
        JanusParams(**overrides)
    assert JanusPlus.profiles == Janus.profiles
    assert JanusParams(**Janus.profiles["paper"]) == JanusParams()
    assert JanusParams(**Janus.profiles["paper/cross"]).sigma == 0.6


def test_what_the_profiles_and_the_defaults_stand_for_is_pinned() -> None:
    """Every stored number says ``quick`` or ``paper``: who changes one of these changes what those words mean."""
    assert Janus.profiles == {
        "quick": {"d_model": 64, "n_layers": 2, "epochs": 25, "k_steps": 8, "sigma": 0.1},
        "paper": {},
        "paper/cross": {"sigma": 0.6},
        "check": {"d_model": 32, "n_layers": 1, "epochs": 3, "k_steps": 4},
    }
    inputs = {
        "T": 64,
        "use_flow_token": True,
        "disc_as_cont": False,
        "cont_as_disc": False,
        "cont_n_bins": 32,
        "joint": True,
    }
    size = {"d_model": 128, "n_layers": 4, "n_heads": 4, "reference_mode": "causal_packets"}
    path = {"sigma": 0.1, "lambda_disc": 1.0, "coupling": "sinkhorn", "discrete_source": "uniform"}
    scores = {"bits": "clamped", "k_steps": 16, "reduction": "mean"}
    training = {
        "epochs": 40,
        "patience": 10,
        "batch": 256,
        "lr": 3e-4,
        "weight_decay": 0.01,
        "ema": 0.999,
        "precision": "fp32",
    }
    assert asdict(JanusParams()) == inputs | size | path | scores | training
    assert asdict(JanusPlusParams()) == asdict(JanusParams()) | {"bank": 20_000}


# layout


def test_grouping_costs_no_more_than_any_other_merging_of_the_lengths() -> None:
    rng = np.random.default_rng(5)
    for _ in range(20):
        lengths = rng.choice([1, 2, 3, 7, 20, 60], size=rng.integers(1, 80))
        distinct, counts = np.unique(lengths, return_counts=True)
        costs = []
        for cuts in itertools.product([False, True], repeat=len(distinct) - 1):
            bounds = [0, *(i + 1 for i, cut in enumerate(cuts) if cut), len(distinct)]
            costs.append(
                sum(OVERHEAD_TOKENS + counts[i:j].sum() * (distinct[j - 1] + 1) for i, j in itertools.pairwise(bounds))
            )
        groups = group_by_length(lengths, max_tokens=10**9)
        assert sum(OVERHEAD_TOKENS + group.tokens for group in groups) == min(costs)


@settings(deadline=None)
@given(LENGTHS, st.integers(1, 200))
def test_groups_partition_the_flows_within_the_token_limit(lengths: np.ndarray, max_tokens: int) -> None:
    groups = group_by_length(lengths, max_tokens)
    assert sorted(np.concatenate([group.rows for group in groups])) == list(range(len(lengths)))
    for group in groups:
        assert lengths[group.rows].max() <= group.width
        assert group.tokens <= max_tokens or len(group.rows) == 1
    batches = micro_batches(groups, max_tokens)
    assert [id(group) for batch in batches for group in batch] == [id(group) for group in groups]
    assert all(sum(group.tokens for group in batch) <= max_tokens or len(batch) == 1 for batch in batches)


@settings(deadline=None)
@given(LENGTHS)
def test_a_layout_gives_every_token_its_own_slot_in_its_flow(lengths: np.ndarray) -> None:
    layout = Layout.of(group_by_length(lengths), lengths)
    flows, packets = len(lengths), int(lengths.sum())
    assert list(layout.content[layout.flow_slot]) == list(range(flows))
    assert list(layout.content[layout.packet_slot]) == list(range(flows, flows + packets))
    assert len(np.unique(np.concatenate([layout.flow_slot, layout.packet_slot]))) == flows + packets
    assert (layout.slot_flow[layout.packet_slot] == layout.flow_of).all()
    for flow in range(flows):  # packets stand behind their FLOW token, in order
        slots = layout.packet_slot[layout.flow_of == flow]
        assert list(slots) == list(layout.flow_slot[flow] + 1 + np.arange(lengths[layout.rows[flow]]))
    assert sum(rows * size for rows, size in layout.shapes) == len(layout.content)


# coupling


NO_LENGTHS = np.zeros(0, dtype=np.int64)
"""For the methods that do not look at them."""


def example_costs(size: int = 64) -> torch.Tensor:
    lengths = np.minimum(np.random.default_rng(0).geometric(0.15, size), 64)
    valid = torch.from_numpy(np.arange(212) < 20 + 3 * lengths[:, None])
    data = torch.randn(size, 3, generator=generator(1)) @ torch.randn(3, 212, generator=generator(2))
    return transport_cost(data, valid, torch.randn(size, 212, generator=generator(3)))


def assign(method: str, cost: torch.Tensor, lengths: np.ndarray, source: torch.Generator) -> np.ndarray:
    return PAIRINGS[method](cost.double().numpy(), lengths, source)


def test_transport_cost_counts_only_the_entries_that_a_flow_has() -> None:
    data, noise = torch.randn(5, 7, generator=generator(1)), torch.randn(5, 7, generator=generator(2))
    valid = torch.rand(5, 7, generator=generator(3)) < 0.6
    expected = [
        [sum((noise[j, e] - data[i, e]) ** 2 for e in range(7) if valid[i, e]) for j in range(5)] for i in range(5)
    ]
    torch.testing.assert_close(transport_cost(data, valid, noise), torch.tensor(expected))


def test_sinkhorn_plan_equals_plain_log_domain_sinkhorn() -> None:
    cost = example_costs(20).double().numpy()
    logits = -cost / (0.05 * np.median(cost))
    f = g = np.full(20, 0.0)
    for _ in range(3000):
        f = -np.log(20) - logsumexp(logits + g, axis=1)
        g = -np.log(20) - logsumexp(logits + f[:, None], axis=0)
    plan = np.exp(sinkhorn_log_plan(cost))
    np.testing.assert_allclose(plan.sum(0), 1 / 20, rtol=1e-9)
    np.testing.assert_allclose(plan.sum(1), 1 / 20, rtol=1e-3)
    np.testing.assert_allclose(plan, np.exp(logits + f[:, None] + g), atol=2e-4)


def test_sinkhorn_plan_survives_costs_that_underflow_a_plain_kernel() -> None:
    cost = np.abs(np.random.default_rng(0).normal(size=(30, 30))) * np.logspace(0, 8, 30)[:, None]
    plan = np.exp(sinkhorn_log_plan(cost))
    assert np.isfinite(plan).all()
    np.testing.assert_allclose(plan.sum(0), 1 / 30, rtol=1e-9)


@pytest.mark.parametrize("method", ["sinkhorn", "exact", "none", "stratified"])
@pytest.mark.parametrize("size", [1, 2, 64])
def test_every_coupling_uses_each_noise_once(method: str, size: int) -> None:
    cost = example_costs(size)
    lengths = np.random.default_rng(0).integers(1, 5, size)
    assert sorted(assign(method, cost, lengths, generator())) == list(range(size))
    assert (assign(method, cost, lengths, generator(4)) == assign(method, cost, lengths, generator(4))).all()


def test_exact_coupling_is_scipys_and_sinkhorns_cost_is_near_it() -> None:
    cost = example_costs(128)
    table = cost.double().numpy()
    rows = np.arange(128)
    exact = table[rows, assign("exact", cost, NO_LENGTHS, generator())].mean()
    assert exact == pytest.approx(table[linear_sum_assignment(table)].mean())
    independent = table.mean()
    drawn = [table[rows, assign("sinkhorn", cost, NO_LENGTHS, generator(seed))].mean() for seed in range(10)]
    plan = np.exp(sinkhorn_log_plan(table))
    # The permutation is drawn from the entropic plan: its cost is the plan's, a little above the exact one.
    assert np.mean(drawn) == pytest.approx((plan * table).sum(), rel=0.03)
    assert exact <= min(drawn)
    assert max(drawn) < 1.15 * exact
    assert max(drawn) < 0.95 * independent


# paths


@pytest.mark.parametrize("t", [0.0, 0.3, 1.0])
def test_the_discrete_path_keeps_a_bit_with_probability_t(t: float) -> None:
    bits = (torch.rand(20_000, 6, generator=generator(1)) < 0.3).float()
    uniform, coin = torch.rand(20_000, 6, generator=generator(2)), torch.rand(20_000, 6, generator=generator(3)) < 0.5
    agrees = (noised_bits("uniform", bits, t, uniform, coin) == 2 * bits - 1).float().mean()
    assert float(agrees) == pytest.approx(t + (1 - t) / 2, abs=0.01)
    masked = noised_bits("mask", bits, t, uniform, coin)
    assert float((masked == 0).float().mean()) == pytest.approx(1 - t, abs=0.01)
    assert bool(((masked == 0) | (masked == 2 * bits - 1)).all())


def test_averaging_follows_the_steps_so_far_then_the_stated_decay() -> None:
    assert averaging(0, 0.999) == pytest.approx(0.1)
    assert averaging(490, 0.999) == pytest.approx(491 / 500)
    assert averaging(100_000, 0.999) == 0.999


# preprocessing


def packet_flows(columns: dict[str, np.ndarray], lengths: list[int]) -> FlowBatch:
    total = sum(lengths)
    packets = {name: columns.get(name, np.zeros(total)) for name in CONTINUOUS_CHANNELS + DISCRETE_CHANNELS}
    features = {name: columns.get(name, np.arange(len(lengths), dtype=np.float64)) for name in FLOW_FEATURES}
    return FlowBatch(
        np.arange(len(lengths), dtype=np.uint64),
        np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64),
        packets,
        features,
    )


def standardised(benign: FlowBatch, flows: FlowBatch, max_packets: int = 64) -> Sequences:
    params = replace(SMALL, T=max_packets)
    return Standardiser.fitted(benign, params).apply(flows, params)


def test_standardising_is_the_z_score_of_log1p_over_the_packets_that_are_read() -> None:
    rng = np.random.default_rng(0)
    lengths = [3, 1, 9, 5]
    size, psh = rng.integers(40, 1500, 18).astype(np.float32), rng.integers(0, 2, 18)
    flows = packet_flows({"size": size, "psh": psh}, lengths)
    kept = np.concatenate([np.arange(0, 3), [3], np.arange(4, 9), np.arange(13, 18)])  # the 9-packet flow keeps 5
    data = standardised(flows, flows, 5)
    assert list(data.lengths) == [3, 1, 5, 5]
    logs = np.log1p(size[kept].astype(np.float64))
    np.testing.assert_allclose(data.packets[:, 0], (logs - logs.mean()) / logs.std(), rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(data.packets[:, 3 + DISCRETE_CHANNELS.index("psh")], psh[kept])
    np.testing.assert_allclose(data.flow.mean(0), 0, atol=1e-6)
    np.testing.assert_allclose(data.flow.std(0), 1, rtol=1e-5)
    dense, valid = data.padded(np.array([1, 2]), 6)
    np.testing.assert_array_equal(valid.sum(1), [1, 5])
    np.testing.assert_array_equal(dense[1, :5], data.packets[4:9])
    assert not dense[~valid].any()


def test_constant_columns_and_extreme_packets_stay_within_the_clip() -> None:
    benign = packet_flows(
        {name: np.full(4, 64.0) for name in CONTINUOUS_CHANNELS} | {name: np.ones(2) for name in FLOW_FEATURES}, [2, 2]
    )
    assert not standardised(benign, benign).packets[:, :3].any()
    nearly = packet_flows({"size": np.full(2, 65.0), "iat": np.full(2, 64.0), "win": np.full(2, 64.0)}, [2])
    assert np.abs(standardised(benign, nearly).packets[:, 0]).max() < 0.5  # 1.5 % more is not ten standard deviations
    extreme = packet_flows({"size": np.full(2, 65535.0), "iat": np.array([-5.0, 1e9]), "win": np.full(2, 65535.0)}, [2])
    packets = standardised(benign, extreme).packets
    assert np.isfinite(packets).all()
    assert np.abs(packets).max() == 10


# attention


def random_network(params: JanusParams) -> Network:
    """A network whose zero-initialised layers are random too, so that every path carries something."""
    network = Network(params, generator()).requires_grad_(False)
    for parameter in network.parameters():
        parameter.normal_(0.0, 0.3, generator=generator(parameter.numel()))
    return network


def outputs(network: Network, flow: torch.Tensor, packets: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """FLOW's output (20,), and the packets' (L, 9), of one flow."""
    lengths = np.array([len(packets)])
    layout = Layout.of([Group(np.array([0]), len(packets))], lengths)
    out = network(flow[None], packets, network.condition(torch.tensor([0.4])), network.place(layout))
    return out.flow[0], torch.cat([out.packet, out.logits], dim=1)


@pytest.mark.parametrize(
    ("mode", "layers", "earlier_changes", "flow_changes"),
    [
        ("causal_strict", 1, False, False),
        ("causal_strict", 3, False, False),
        ("causal_packets", 1, False, True),
        ("causal_packets", 2, True, True),  # through FLOW, from the second block on
        ("full", 1, True, True),
    ],
)
def test_who_notices_a_change_of_a_later_packet(
    mode: str, layers: int, earlier_changes: bool, flow_changes: bool
) -> None:
    network = random_network(replace(SMALL, reference_mode=mode, n_layers=layers))
    flow, packets = torch.randn(20, generator=generator(1)), torch.randn(8, 9, generator=generator(2))
    changed = packets.clone()
    changed[5] += 1.0
    (flow_before, before), (flow_after, after) = outputs(network, flow, packets), outputs(network, flow, changed)
    assert torch.equal(before[:5], after[:5]) != earlier_changes
    assert torch.equal(flow_before, flow_after) != flow_changes
    assert not torch.equal(before[5], after[5])
    assert not torch.allclose(before[6], after[6])


@pytest.mark.parametrize("mode", ["causal_strict", "causal_packets", "full"])
def test_every_packet_sees_the_flow_token(mode: str) -> None:
    network = random_network(replace(SMALL, reference_mode=mode))
    flow, packets = torch.randn(20, generator=generator(1)), torch.randn(8, 9, generator=generator(2))
    difference = outputs(network, flow, packets)[1] - outputs(network, flow + 1.0, packets)[1]
    assert (difference.abs().amax(1) > 1e-4).all()


def test_only_causal_strict_scores_a_prefix_as_part_of_the_whole() -> None:
    flow, packets = torch.randn(20, generator=generator(1)), torch.randn(8, 9, generator=generator(2))
    for mode, same in (("causal_strict", True), ("causal_packets", False), ("full", False)):
        network = random_network(replace(SMALL, reference_mode=mode))
        whole, prefix = outputs(network, flow, packets)[1][:4], outputs(network, flow, packets[:4])[1]
        assert torch.allclose(whole, prefix, atol=1e-5) == same


@settings(max_examples=15, deadline=None)
@given(
    st.lists(st.integers(1, 12), min_size=1, max_size=8), st.sampled_from(["causal_strict", "causal_packets", "full"])
)
def test_padding_and_company_do_not_change_a_flow(lengths: list[int], mode: str) -> None:
    network = random_network(replace(SMALL, reference_mode=mode))
    sizes = np.array(lengths)
    layout = Layout.of([Group(np.arange(len(sizes)), 12)], sizes)
    flow, packets = (
        torch.randn(len(sizes), 20, generator=generator(1)),
        torch.randn(int(sizes.sum()), 9, generator=generator(2)),
    )
    t = torch.full((len(sizes),), 0.4)
    together = network(flow, packets, network.condition(t), network.place(layout))
    both = torch.cat([together.packet, together.logits], dim=1)
    for row, (start, size) in enumerate(zip(np.cumsum(sizes) - sizes, sizes, strict=True)):
        alone_flow, alone = outputs(network, flow[row], packets[start : start + size])
        torch.testing.assert_close(together.flow[row], alone_flow, atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(both[start : start + size], alone, atol=1e-4, rtol=1e-4)


def test_the_network_has_about_the_published_number_of_parameters() -> None:
    network = Network(JanusParams(), generator())
    assert sum(parameter.numel() for parameter in network.parameters()) == pytest.approx(1.2e6, rel=0.1)
    assert len({id(parameter) for parameter in network.parameters()}) == len(list(network.parameters()))


@pytest.mark.parametrize(
    ("mode", "flow_token", "expected"),
    [
        ("causal_packets", True, ["1111", "1100", "1110", "1111"]),
        ("causal_strict", True, ["1000", "1100", "1110", "1111"]),
        ("full", True, None),
        ("causal_packets", False, ["1000", "0100", "0110", "0111"]),
        ("full", False, ["1000", "0111", "0111", "0111"]),
    ],
)
def test_who_sees_whom(mode: str, flow_token: bool, expected: list[str] | None) -> None:
    """Slot 0 is FLOW; without one nothing sees it, and it sees itself alone, so that no row is empty."""
    mask = _mask(mode, 4, None, flow_token=flow_token)
    assert (
        None if mask is None else ["".join("1" if logit == 0 else "0" for logit in row) for row in mask.tolist()]
    ) == expected
