"""Partitions: sizes, what is never divided, and that a draw depends on nothing but dataset, seed and split."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from janus_bench.errors import DataError
from protocols.flow_index import FlowIndex
from protocols.splits import CAPS, Caps, Draw, baseline_parts, draw_partition, timeline_problem

BENIGN_PARTS = ("train", "val", "cal_a", "cal_b", "test_benign")
# As docs/partitions.md says: not imported, or nothing would check them.
SHARES = {"train": 0.50, "val": 0.05, "cal_a": 0.15, "cal_b": 0.10, "test": 0.20}
NO_CAPS = Caps(None, None, None, None, None)
WEB, SCAN, FLOOD, BEACON, RARE, TINY = range(6)


def make_index(captures: list[int], attacks: int = 300, seed: int = 0, flows_per_session: int = 1) -> FlowIndex:
    """``captures[i]`` benign flows in capture i, then attacks spread over the first three captures in four families."""
    rng = np.random.default_rng(seed)
    benign = sum(captures)
    capture = np.concatenate(
        [np.repeat(np.arange(len(captures)), captures), rng.integers(0, min(3, len(captures)), attacks)]
    )
    family = np.concatenate(
        [np.repeat(WEB, benign), np.array([SCAN, FLOOD, BEACON, RARE])[np.arange(attacks) % 37 % 4]]
    )
    start = capture * 1000.0 + rng.random(len(capture)) * 900
    # neighbours in one capture share a session
    session = np.arange(len(capture)) // flows_per_session * 10_000 + capture
    _, session = np.unique(session, return_inverse=True)
    return FlowIndex(
        np.arange(len(capture)) >= benign, family, capture, session, start, np.zeros_like(capture), ("",), salt=99
    )


def test_grouped_never_divides_a_capture_and_keeps_the_shares():
    index = make_index([150] * 40)
    partition = draw_partition(index, Draw(42, "grouped", "paper"), NO_CAPS)
    assert partition.kind == "grouped"
    owners = [set(index.capture[partition.parts[name]]) for name in BENIGN_PARTS]
    assert sum(len(owner) for owner in owners) == 40  # disjoint, and every capture is used
    for name, share in SHARES.items():
        size = len(partition.parts["test_benign" if name == "test" else name])
        assert abs(size - share * 6000) <= 150  # within one capture of the target


@pytest.mark.parametrize(("captures", "reason"), [([500] * 9, "fewer than 10"), ([90] * 20, "fewer than 200")])
def test_falls_back_to_time_blocks_and_says_why(captures, reason):
    partition = draw_partition(make_index(captures), Draw(42, "grouped", "paper"), NO_CAPS)
    assert partition.kind == "time blocks"
    assert reason in partition.reason


def test_time_blocks_are_contiguous_inside_each_capture():
    index = make_index([600, 300, 80])
    partition = draw_partition(index, Draw(7, "grouped", "paper"), NO_CAPS)
    part_of = np.full(len(index.attack), -1)
    for number, name in enumerate(BENIGN_PARTS):
        part_of[partition.parts[name]] = number
    for capture in range(3):
        flows = np.flatnonzero(~index.attack & (index.capture == capture))
        changes = np.count_nonzero(np.diff(part_of[flows[np.argsort(index.start[flows])]]))
        assert changes <= len(BENIGN_PARTS) - 1  # each part is one block


@settings(max_examples=40, deadline=None)
@given(
    captures=st.lists(st.integers(1, 400), min_size=1, max_size=25),
    seed=st.integers(0, 1000),
    split=st.sampled_from(["grouped", "random"]),
    flows_per_session=st.integers(1, 4),
)
def test_parts_are_disjoint_complete_benign_and_divide_no_session(captures, seed, split, flows_per_session):
    index = make_index(captures, flows_per_session=flows_per_session)
    partition = draw_partition(index, Draw(seed, split, "paper"), NO_CAPS)
    benign = np.concatenate([partition.parts[name] for name in BENIGN_PARTS])
    assert sorted(benign) == list(np.flatnonzero(~index.attack))
    assert list(partition.parts["test_attack"]) == list(np.flatnonzero(index.attack))
    # attacks are tested, and so is the rest of their sessions
    owner = dict.fromkeys(index.session[index.attack].tolist(), "test_benign")
    for name in BENIGN_PARTS:
        for session in index.session[partition.parts[name]]:
            assert owner.setdefault(int(session), name) == name


@pytest.mark.parametrize("captures", [[150] * 40, [900] * 6])
def test_the_draw_depends_on_seed_and_split_only(captures):
    """Not on what the dataset is called, in particular."""
    index = make_index(captures)
    first, again = (
        draw_partition(replace(index, name=name), Draw(42, "grouped", "quick")) for name in ("alpha", "beta")
    )
    assert all(np.array_equal(first.parts[name], again.parts[name]) for name in first.parts)
    other = draw_partition(index, Draw(43, "grouped", "quick"))
    assert not np.array_equal(first.parts["train"], other.parts["train"])


def test_quick_caps_hold_and_families_keep_a_floor():
    index = make_index([900] * 30, attacks=9000)
    partition = draw_partition(index, Draw(42, "grouped", "quick"))
    assert {name: len(flow_ids) for name, flow_ids in partition.parts.items() if name != "val"} == {
        "train": 5000,
        "cal_a": 2000,
        "cal_b": 1000,
        "test_benign": 2000,
        "test_attack": 2000,
    }
    families, counts = np.unique(index.family[partition.parts["test_attack"]], return_counts=True)
    assert set(families) == {SCAN, FLOOD, BEACON, RARE}
    assert counts.min() >= 20
    assert partition.uncapped["test_attack"] == 9000


def test_a_family_of_three_flows_survives_the_cap():
    index = make_index([900] * 30, attacks=9000)
    family = index.family.copy()
    family[np.flatnonzero(index.attack)[:3]] = TINY
    index = replace(index, family=family)
    chosen = draw_partition(index, Draw(1, "grouped", "quick")).parts["test_attack"]
    assert np.count_nonzero(index.family[chosen] == TINY) == 3
    assert len(chosen) == 2000


def test_attacks_that_share_a_training_capture_are_counted():
    index = make_index([150] * 40, attacks=300)
    partition = draw_partition(index, Draw(42, "grouped", "paper"), NO_CAPS)
    training = set(index.capture[partition.parts["train"]])
    expected = sum(int(index.capture[flow]) in training for flow in partition.parts["test_attack"])
    assert partition.shared_captures == expected


@given(
    st.lists(st.integers(1, 40), min_size=1, max_size=60),
    st.integers(0, 50),
)
@settings(max_examples=60, deadline=None)
def test_the_target_only_baseline_divides_cal_a_in_50_5_15_by_session(sizes, seed):
    session = np.repeat(np.arange(len(sizes)), sizes)
    index = replace(make_index([len(session)], attacks=0), session=session)
    cal_a = np.arange(len(session))[:: 2 if seed % 2 else 1]
    parts = baseline_parts(index, cal_a, seed)
    assert list(parts) == ["train", "val", "cal_a"]
    assert sorted(np.concatenate(list(parts.values()))) == list(cal_a)
    held = [set(session[ids]) for ids in parts.values()]
    assert sum(map(len, held)) == len(set(session[cal_a]))
    if len(set(session[cal_a])) >= 3:
        assert all(held)
    for ids, share in zip(parts.values(), (50 / 70, 5 / 70, 15 / 70), strict=True):
        assert abs(len(ids) - share * len(cal_a)) <= 3 * max(sizes)
    assert all(
        np.array_equal(ids, baseline_parts(replace(index, name="other"), cal_a, seed)[name])
        for name, ids in parts.items()
    )


def test_sessions_of_one_flow_are_divided_in_50_5_15_exactly():
    index = make_index([7000], attacks=0)
    assert [len(ids) for ids in baseline_parts(index, np.arange(7000), 1).values()] == [5000, 500, 1500]


def test_a_large_session_leaves_no_part_of_the_baseline_with_a_single_flow():
    index = replace(make_index([500], attacks=0), session=np.r_[np.repeat([0, 1, 2, 3], 100), np.arange(4, 104)])
    for seed in range(200):
        assert min(len(ids) for ids in baseline_parts(index, np.arange(500), seed).values()) >= 2


def test_the_baseline_of_another_seed_is_another():
    index = make_index([150] * 40)
    cal_a = draw_partition(index, Draw(42, "grouped", "quick")).parts["cal_a"]
    assert not np.array_equal(baseline_parts(index, cal_a, 1)["train"], baseline_parts(index, cal_a, 2)["train"])


def test_smaller_training_sets_are_part_of_larger_ones_and_change_nothing_else():
    index = make_index([150] * 40)
    whole = draw_partition(index, Draw(42, "grouped", "quick"))
    sizes = [draw_partition(index, Draw(42, "grouped", "quick", train_size=size)) for size in (100, 1000)]
    assert [len(partition.parts["train"]) for partition in sizes] == [100, 1000]
    assert set(sizes[0].parts["train"]) < set(sizes[1].parts["train"]) < set(whole.parts["train"])
    for partition in sizes:
        assert all(np.array_equal(partition.parts[name], whole.parts[name]) for name in whole.parts if name != "train")


def test_contamination_replaces_benign_by_attacks_that_are_never_tested():
    index = make_index([150] * 40, attacks=2000, flows_per_session=2)
    clean, dirty = (draw_partition(index, Draw(42, "grouped", "quick", contamination=share)) for share in (0.0, 0.1))
    assert len(clean.parts["train"]) == len(dirty.parts["train"])
    assert not index.attack[clean.parts["train"]].any()
    assert index.attack[dirty.parts["train"]].sum() == dirty.contaminants == round(0.1 * len(dirty.parts["train"]))
    # all shares are tested on the same flows
    assert np.array_equal(clean.parts["test_attack"], dirty.parts["test_attack"])
    assert not set(index.session[dirty.parts["train"]]) & set(index.session[dirty.parts["test_attack"]])
    assert set(index.family[dirty.parts["test_attack"]]) == {SCAN, FLOOD, BEACON, RARE}
    tested = draw_partition(index, Draw(42, "grouped", "quick")).parts["test_attack"]
    assert set(clean.parts["test_attack"]) < set(tested) or len(tested) == 2000


def test_half_of_the_attack_sessions_of_every_family_are_kept_for_training():
    index = make_index([150] * 40, attacks=2000)
    tested, reserved = (
        draw_partition(index, Draw(1, "grouped", "paper", contamination=share), NO_CAPS) for share in (None, 0.0)
    )
    for family in (SCAN, FLOOD, BEACON, RARE):
        every, half = (
            np.count_nonzero(index.family[partition.parts["test_attack"]] == family) for partition in (tested, reserved)
        )
        assert every == np.count_nonzero(index.family[index.attack] == family)
        assert abs(half - every / 2) <= 1


def test_ten_captures_are_enough():
    kinds = [draw_partition(make_index([900] * n), Draw(42, "grouped", "paper"), NO_CAPS).kind for n in (9, 10)]
    assert kinds == ["time blocks", "grouped"]


@pytest.mark.parametrize("seed", range(5))
def test_large_captures_find_room_before_small_ones_have_taken_it(seed):
    sizes = [3000, 1500, 800] + [100] * 40
    partition = draw_partition(make_index(sizes), Draw(seed, "grouped", "paper"), NO_CAPS)
    assert partition.kind == "grouped"
    for name, share in zip(BENIGN_PARTS, SHARES.values(), strict=True):
        assert abs(len(partition.parts[name]) - share * sum(sizes)) <= 200


def test_captures_of_a_single_flow_add_up_to_the_shares_where_blocks_divide_them():
    index = make_index([9000] + [1] * 600, attacks=0)
    partition = draw_partition(index, Draw(42, "grouped", "paper"), NO_CAPS)
    assert partition.kind == "time blocks"
    small = index.capture > 0
    for name, share in zip(BENIGN_PARTS, SHARES.values(), strict=True):
        assert abs(small[partition.parts[name]].sum() - share * 600) < 5 * (share * (1 - share) * 600) ** 0.5


def test_a_cap_keeps_flows_of_the_whole_part():
    index = make_index([150] * 40)
    whole, capped = (
        draw_partition(index, Draw(42, "grouped", "paper"), caps) for caps in (NO_CAPS, replace(NO_CAPS, cal_a=300))
    )
    ids = whole.parts["cal_a"]
    rank = np.searchsorted(ids, capped.parts["cal_a"])
    assert len(rank) == 300
    assert 0.35 < np.mean(rank < len(ids) / 2) < 0.65


def test_a_cap_below_the_floors_of_all_families_is_kept_and_shared():
    index = make_index([150] * 40, attacks=2000)
    tested = draw_partition(index, Draw(42, "grouped", "paper"), replace(NO_CAPS, test_attack=40)).parts["test_attack"]
    assert len(tested) == 40
    assert np.bincount(index.family[tested])[[SCAN, FLOOD, BEACON, RARE]].min() >= 10


# -- the time split ----------------------------------------------------------------------------------------------------

START = 1_600_000_000.0


def in_one_timeline(captures: list[int], **changes) -> FlowIndex:
    """``make_index`` with a clock that was set."""
    index = make_index(captures, **changes)
    return replace(index, start=START + index.start)


@given(st.lists(st.integers(30, 300), min_size=1, max_size=14), st.integers(0, 3), st.integers(1, 4))
@settings(max_examples=40, deadline=None)
def test_the_time_split_trains_before_it_tests_and_divides_no_session(captures, seed, flows_per_session):
    index = in_one_timeline(captures, seed=seed, flows_per_session=flows_per_session)
    partition = draw_partition(index, Draw(7, "time", "paper"), NO_CAPS)
    parts = [partition.parts[name] for name in BENIGN_PARTS]
    assert partition.kind == "time"
    for earlier, later in itertools.pairwise(parts):
        if len(earlier) and len(later):
            assert index.start[earlier].max() <= index.start[later].min()
    sessions = [set(index.session[ids].tolist()) for ids in parts]
    assert sum(map(len, sessions)) == len(set().union(*sessions))
    assert not index.attack[np.concatenate(parts)].any()
    attacks = partition.parts["test_attack"]
    if len(parts[-1]) and len(attacks):
        assert index.start[attacks].min() >= index.start[parts[-1]].min()
    left_out = sum(captures) - sum(map(len, parts))
    early = int(index.attack.sum()) - len(attacks)
    assert partition.reason == (
        f"{early} attack flows before the test period and {left_out} flows of sessions across a boundary are left out"
    )


def test_the_time_split_keeps_the_shares_and_is_the_same_for_every_seed():
    index = in_one_timeline([200] * 10)
    one, other = (draw_partition(index, Draw(seed, "time", "paper"), NO_CAPS) for seed in (1, 2))
    assert [len(one.parts[name]) for name in BENIGN_PARTS] == [round(2000 * share) for share in SHARES.values()]
    assert all(np.array_equal(one.parts[name], other.parts[name]) for name in one.parts)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda index: replace(index, start=np.zeros_like(index.start)), "its flows have no times"),
        (
            lambda index: replace(index, start=index.start - START),
            "2300 flows begin before 1990, by a clock that was not set",
        ),
        (
            lambda index: replace(index, start=index.start + 4e7 * (index.capture > 4)),
            "its flows lie in 2 periods more than a year apart",
        ),
        (
            lambda index: replace(index, at_home=0.4, name="plant"),
            "only 40% of its attack flows involve a host that also has benign traffic",
        ),
    ],
)
def test_the_time_split_is_refused_without_one_site_and_one_clock(change, said):
    index = change(in_one_timeline([200] * 10))
    assert timeline_problem(index) == said
    with pytest.raises(
        DataError, match=f"{index.name} cannot be divided by time, which needs one site and one clock: .*choose other"
    ) as refusal:
        draw_partition(index, Draw(1, "time", "paper"), NO_CAPS)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize(("attacker", "at_home"), [("10.0.0.1", 1.0), ("203.0.113.9", 0.5)])
def test_attacks_are_of_the_same_site_where_they_involve_its_hosts(attacker, at_home):
    """One attack comes from ``attacker``, the other from a host with benign traffic; both go to a host that has
    none."""
    n = 42
    source = ["10.0.0.1"] * 41 + [attacker]
    target = ["10.0.0.2"] * 40 + ["198.51.100.7"] * 2
    flows = pl.DataFrame(
        {
            "flow_id": np.arange(n),
            "src_ip": source,
            "dst_ip": target,
            "src_port": np.arange(n),
            "dst_port": np.full(n, 80),
            "proto": np.full(n, 6),
            "ts_start": START + np.arange(n),
        }
    )
    same = {name: ["c"] * n for name in ("family", "source", "file", "site")}
    labels = pl.DataFrame({"flow_id": np.arange(n), "attack": np.arange(n) >= 40, **same})
    index = FlowIndex.from_tables(flows, labels, "0123456789abcdef", "plant")
    assert (index.at_home, index.name) == (at_home, "plant")


def test_each_file_has_the_addresses_and_the_times_that_it_has():
    """A file with addresses and times beside two without either: rows of these are sessions of their own, and nobody
    knows that they were recorded twice."""
    rows = (
        [("a", f"10.0.0.{i}", i % 2, START + i) for i in range(8)] + [("b", "", 6, 0.0)] * 8 + [("c", "", 6, 0.0)] * 8
    )
    file, source, port, start = (list(column) for column in zip(*rows, strict=True))
    known = [1024 if address else 0 for address in source]
    flows = pl.DataFrame({
        "src_ip": source, "dst_ip": ["10.9.9.9" if address else "" for address in source], "src_port": known,
        "dst_port": port, "proto": [6] * 24, "ts_start": start,
    })  # fmt: skip
    one = pl.Series(["c"] * 24)
    labels = pl.DataFrame({"attack": [False] * 24, "family": one, "source": file, "file": file, "site": one})
    index = FlowIndex.from_tables(flows, labels, "0123456789abcdef")
    assert len(set(index.session.tolist())) == 24
    assert not index.same
    # with times alone
    index = FlowIndex.from_tables(
        flows.with_columns(ts_start=pl.Series([*start[:8], *start[:8], *start[:8]])), labels, "0123456789abcdef"
    )
    assert len(set(index.session.tolist())) == 24
    assert not index.same
    # with addresses and no times, 5-tuples of a file are sessions, and equal ones of two files are not one flow
    flows = flows.with_columns(src_ip=pl.Series(["10.0.0.1"] * 24))
    index = FlowIndex.from_tables(flows, labels, "0123456789abcdef")
    assert [len(set(index.session[begin : begin + 8].tolist())) for begin in (0, 8, 16)] == [2, 1, 1]
    assert len(set(index.session.tolist())) == 4
    assert not index.same


def test_a_host_with_a_benign_flow_or_two_is_not_at_home():
    """4 000 benign flows of one host, and one of the attacker; twenty would make it a host of the site."""
    for own, at_home in ((1, 0.0), (19, 0.0), (20, 1.0)):
        n = 4000 + own + 10
        source = ["10.0.0.1"] * 4000 + ["198.51.100.9"] * (own + 10)
        ports = {
            "src_port": np.arange(n),
            "dst_port": np.full(n, 80),
            "proto": np.full(n, 6),
            "ts_start": START + np.arange(n),
        }
        flows = pl.DataFrame(
            {
                "flow_id": np.arange(n),
                "src_ip": source,
                "dst_ip": [f"203.0.113.{place % 250}" for place in range(n)],
                **ports,
            }
        )
        flows = flows.with_columns(
            dst_ip=pl.when(pl.col("flow_id") < 4000 + own).then("dst_ip").otherwise(pl.lit("192.0.2.77"))
        )
        same = {name: ["c"] * n for name in ("family", "source", "file", "site")}
        labels = pl.DataFrame({"flow_id": np.arange(n), "attack": np.arange(n) >= 4000 + own, **same})
        assert FlowIndex.from_tables(flows, labels, "0123456789abcdef").at_home == at_home


def test_caps_are_the_published_ones():
    """ConMD: 10 K training flows, 5 K + 5 K tested; Shafir: 10 K, 10 K + 10 K; JANUS: 10 K, everything tested; quick is
    ours, as in docs."""
    assert {
        name: (caps.train, caps.cal_a, caps.cal_b, caps.test_benign, caps.test_attack) for name, caps in CAPS.items()
    } == {
        "quick": (5_000, 2_000, 1_000, 2_000, 2_000),
        "paper": (10_000, None, None, None, None),
        "conmd": (10_000, None, None, 5_000, 5_000),
        "shafir": (10_000, None, None, 10_000, 10_000),
        # what ``fit`` takes of captures without labels: all other benign flows set its thresholds
        "fit-quick": (5_000, 2_000, None, None, 2_000),
        "fit-paper": (10_000, None, None, None, None),
    }
