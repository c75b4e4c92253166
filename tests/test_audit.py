"""Audits: every number against an independent way to get it, every finding where it belongs and not where it does
not."""

from __future__ import annotations

import html
import itertools
import json
import math
import re
import shutil
import time
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import typer
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from datasets_registry.audits.actions import ACTIONS, action_for
from datasets_registry.audits.artefacts import artefacts, caps, mirrored, one_packet, wall
from datasets_registry.audits.audit import audit_store
from datasets_registry.audits.captures import coverage, origins, separable_captures
from datasets_registry.audits.channels import BenignFlows, distances
from datasets_registry.audits.duplicates import duplicates, sequence_hashes
from datasets_registry.audits.families import families
from datasets_registry.audits.parts import repeated, shared_tuples, sizes
from datasets_registry.audits.separability import best_feature, flag_rarity, one_rule, port_rarity, separability
from datasets_registry.audits.unseen import unseen
from datasets_registry.audits.view import Answer, AuditView
from datasets_registry.capture.features import flow_features
from datasets_registry.ingest import ingest_folder
from datasets_registry.plugin import janus_bench_datasets
from datasets_registry.store import FlowStore
from harness.cli import audit as command
from janus_bench.columns import BIT_OF, FLOW_FEATURES
from janus_bench.errors import UsageError
from tests.conftest import SHARED_DATA, needs_shared_data, write_example_captures

DOMAINS = SHARED_DATA / "domains"
DOCS = Path(__file__).resolve().parents[1] / "docs" / "audits.md"
KNOWN = {
    "mirrored.captures",
    "mirrored.extraction",
    "caps.benign",
    "caps.attack",
    "one_packet.attack",
    "one_packet.family",
    "origins.apart",
    "origins.captures",
    "captures.repeated",
    "parts.test_benign",
}
"""What is known of the shared data, and is neither in enterprise_windows nor in the synthetic suite."""

Packet = tuple[int, int, int, float]  # bits, size, win, iat


def view_of(flows: list[list[Packet]], attack: list[bool], **given_columns: Any) -> AuditView:
    """A view of these flows; whatever is not given is the same for all."""
    n = len(flows)
    offsets = np.concatenate([[0], np.cumsum([len(flow) for flow in flows])]).astype(np.int64)
    rows = [packet for flow in flows for packet in flow]
    packets = {
        name: np.array([row[place] for row in rows], dtype)
        for place, (name, dtype) in enumerate(
            [("bits", np.uint8), ("size", np.uint16), ("win", np.uint16), ("iat", np.float32)]
        )
    }
    columns: dict[str, Any] = {
        "n_packets": np.diff(offsets),
        "family": np.where(attack, "scan", "web").astype(np.str_),
        "capture": np.zeros(n, np.int64),
        "ends": np.tile([0, 1], (n, 1)),
        "ports": np.tile([40000, 80], (n, 1)),
        "proto": np.full(n, 6),
        "start": np.zeros(n),
        "manifest": {"labels": {}, "unmatched_flows": 0, "packets": {"read": len(rows), "dropped": {}, "noted": {}}},
    }
    features = flow_features(offsets, packets["size"], packets["iat"], packets["bits"])
    return AuditView(
        offsets=offsets, packets=packets, features=features, attack=np.array(attack, bool), **(columns | given_columns)
    )


def keys(answer: Answer) -> set[str]:
    return {finding.key for finding in answer.findings}


def value(answer: Answer, key: str) -> float | None:
    (found,) = [measure.value for measure in answer.measures if measure.key == key]
    return found


def random_flows(rng: np.random.Generator, n: int, longest: int = 6) -> list[list[Packet]]:
    def packet(place: int) -> Packet:
        return (
            int(rng.integers(64)),
            int(rng.integers(40, 1500)),
            int(rng.integers(65536)),
            float(rng.exponential(20_000)) if place else 0.0,
        )

    return [[packet(place) for place in range(rng.integers(1, longest + 1))] for _ in range(n)]


# numbers


def test_the_best_feature_of_one_class_does_not_exist():
    assert best_feature(np.zeros((3, 20)), np.zeros(3, bool)) == (None, [])


@settings(deadline=None)  # imports and compilation fall into the first call
@given(
    st.lists(
        st.lists(
            st.tuples(st.integers(0, 1), st.integers(40, 41), st.integers(7, 8), st.sampled_from([0.0, 1.0, 900.0])),
            min_size=1,
            max_size=3,
        )
    )
)
def test_hashes_are_equal_exactly_where_sequences_are_twins(flows):
    if not flows:
        return
    view = view_of(flows, [False] * len(flows))
    exact = [tuple((bits, size, win, round(iat / 1000)) for bits, size, win, iat in flow) for flow in flows]
    near = [tuple((bits, size) for bits, size, _, _ in flow) for flow in flows]
    for sequences, is_exact in ((exact, True), (near, False)):
        hashes = sequence_hashes(view, exact=is_exact).tolist()
        assert [[a == b for a in hashes] for b in hashes] == [[a == b for a in sequences] for b in sequences]


def test_rarity_of_flags_and_ports_against_a_plain_count():
    rng = np.random.default_rng(3)
    flows = random_flows(rng, 30)
    ports = rng.integers(1, 4, (30, 2))
    proto = rng.choice([6, 17], 30)
    view = view_of(flows, [False] * 30, ports=ports, proto=proto)
    fit = np.arange(30) < 12
    flags = Counter(bits >> 1 for flow in flows[:12] for bits, *_ in flow)
    total = sum(flags.values()) + 32
    expected = [np.mean([-math.log((flags[bits >> 1] + 1) / total) for bits, *_ in flow]) for flow in flows]
    assert flag_rarity(view, fit) == pytest.approx(expected)
    services = [(int(protocol), int(min(pair))) for protocol, pair in zip(proto, ports, strict=True)]
    seen = Counter(services[:12])
    total = 12 + len(set(services))
    assert port_rarity(view, fit) == pytest.approx([-math.log((seen[service] + 1) / total) for service in services])


def test_the_best_feature_is_the_one_that_separates_and_its_direction_is_told():
    rng = np.random.default_rng(0)
    features, attack = rng.normal(size=(400, 20)), np.arange(400) < 100
    features[attack, 7] -= 4
    found, ranking = best_feature(features, attack)
    assert ranking[0] == (FLOW_FEATURES[7], "lower")
    assert found == pytest.approx(1 - roc_auc_score(attack, features[:, 7]))


def test_twins_in_training_are_counted_by_part():
    a, b, c = ([(0, size, 0, 0.0), (1, 50, 0, 5.0)] for size in (60, 61, 62))
    view = view_of([a, b, c, a, b, c, a, c], [False] * 6 + [True] * 2)
    parts = {"train": np.array([0, 1]), "test_benign": np.array([3, 4, 5]), "test_attack": np.array([6, 7])}
    answer = duplicates(view, parts, parts)
    assert value(answer, "duplicates.exact_benign_in_train_grouped") == pytest.approx(2 / 3)
    assert value(answer, "duplicates.exact_attack_in_train_grouped") == pytest.approx(1 / 2)
    assert value(answer, "duplicates.exact_benign") == 1
    assert value(answer, "duplicates.exact_attack") == 0
    assert "duplicates.exact_attack_in_train_grouped" in keys(answer)


# findings


def talks(n: int, rng: np.random.Generator) -> list[list[Packet]]:
    """Conversations in both directions whose packets all differ in size."""
    return [
        [
            (place % 2, int(size), 9, 700.0 if place else 0.0)
            for place, size in enumerate(rng.permutation(1000)[:8] + 40)
        ]
        for _ in range(n)
    ]


def doubled(flow: list[Packet], directions: set[int]) -> list[Packet]:
    """The flow with a copy 2 µs after every packet of these directions."""
    return [
        copy
        for bits, size, win, iat in flow
        for copy in ([(bits, size, win, iat)] + [(bits, size, win, 2.0)] * (bits & 1 in directions))
    ]


def test_a_mirrored_capture_is_found_and_a_sender_that_repeats_itself_is_not_taken_for_one():
    plain = talks(30, np.random.default_rng(1))
    attack = [False, True] * 15
    both = mirrored(view_of([doubled(flow, {0, 1}) for flow in plain], attack))
    assert keys(both) == {"mirrored.captures"}
    assert value(both, "mirrored.packets") == 0.5
    assert value(both, "mirrored.captures") == 1
    one_way = mirrored(view_of([doubled(flow, {0}) for flow in plain], attack))
    assert keys(one_way) == {"mirrored.packets"}
    assert one_way.findings[0].severity == "note"
    assert keys(mirrored(view_of(plain, attack))) == set()


def test_only_the_mirrored_capture_of_two_counts():
    flows = talks(40, np.random.default_rng(1))
    flows[:20] = [doubled(flow, {0, 1}) for flow in flows[:20]]
    view = view_of(flows, [False, True] * 20, capture=np.repeat([0, 1], 20))
    assert value(mirrored(view), "mirrored.captures") == pytest.approx(320 / 480)


@pytest.mark.parametrize(("removed", "expected"), [(True, [("mirrored.extraction", "note", 0.4)]), (False, [])])
def test_mirrored_packets_that_the_extractor_removed_are_told(removed, expected):
    manifest = {"packets": {"read": 100, "dropped": {}, "noted": {"mirrored": 40}}, "remove_mirrored": removed}
    answer = mirrored(view_of(talks(4, np.random.default_rng(1)), [False, True] * 2, manifest=manifest))
    assert value(answer, "mirrored.extraction") == 0.4
    assert [(finding.key, finding.severity, finding.value) for finding in answer.findings] == expected


def test_a_wall_is_the_end_of_a_cut_tail_and_nothing_else():
    tail = np.arange(1, 60)
    assert wall(np.concatenate([tail, np.full(30, 60)])) == (60, 30)
    assert wall(np.concatenate([tail, np.full(30, 60), [75, 80]])) == (60, 30)
    assert wall(np.concatenate([tail, np.full(30, 60), np.arange(61, 80)])) is None  # the tail goes on
    assert wall(np.concatenate([tail, np.full(9, 60)])) is None  # too few
    assert wall(np.concatenate([np.full(500, 2), np.full(500, 60)])) is None  # a tool that always sends 60
    assert wall(np.random.default_rng(0).geometric(0.05, 5000)) is None
    assert wall(np.array([], np.int64)) is None


@settings(deadline=None)  # imports and compilation fall into the first call
@given(st.integers(25, 200), st.integers(0, 2**32 - 1))
def test_a_cut_anywhere_in_a_long_tail_is_found(cap, seed):
    lengths = np.minimum(np.random.default_rng(seed).geometric(0.01, 3000), cap)
    assert wall(lengths) == (cap, int((lengths == cap).sum()))


@pytest.mark.parametrize(
    ("benign_cap", "attack_cap", "expected"),
    [
        (60, 100, {("caps.benign", "warning")}),
        (100, 30, {("caps.attack", "warning")}),
        (80, 100, {("caps.benign", "note")}),
        (100, 100, set()),
    ],
)
def test_caps_that_differ_by_label_are_found(benign_cap, attack_cap, expected):
    lengths = np.random.default_rng(5).geometric(0.02, 2000)
    attack = np.arange(2000) % 2 == 1
    lengths = np.minimum(lengths, np.where(attack, attack_cap, benign_cap))
    answer = caps(view_of([[(0, 40, 0, 0.0)]] * 2000, attack.tolist(), n_packets=lengths))
    assert {(finding.key, finding.severity) for finding in answer.findings} == expected


def test_a_cap_that_the_other_class_never_reaches_shows_nothing():
    benign, attack = np.minimum(np.random.default_rng(5).geometric(0.02, 1000), 60), np.full(1000, 3)
    view = view_of(
        [[(0, 40, 0, 0.0)]] * 2000, [False] * 1000 + [True] * 1000, n_packets=np.concatenate([benign, attack])
    )
    assert keys(caps(view)) == set()


def test_a_one_packet_scan_that_is_most_of_the_attacks_is_found():
    lengths = [4] * 50 + [1] * 90 + [5] * 10
    family = np.array(["web"] * 50 + ["scan"] * 90 + ["bot"] * 10)
    view = view_of([[(0, 40, 0, 0.0)]] * 150, [False] * 50 + [True] * 100, n_packets=np.array(lengths), family=family)
    assert keys(one_packet(view)) == {"one_packet.attack", "one_packet.family"}
    longer = view_of([[(0, 40, 0, 0.0)]] * 150, [False] * 50 + [True] * 100, n_packets=np.full(150, 2), family=family)
    assert keys(one_packet(longer)) == set()


def origins_of(captures: str, ends: np.ndarray, attack: list[bool]) -> Answer:
    view = view_of(
        [[(0, 40, 0, 0.0)]] * len(attack), attack, capture=np.unique(list(captures), return_inverse=True)[1], ends=ends
    )
    return origins(view, {"train": np.flatnonzero(~np.array(attack))[::2]})


def test_attacks_from_elsewhere_are_told_from_attacks_among_benign_traffic():
    attack = [False] * 100 + [True] * 50
    same, other = np.tile([0, 1], (150, 1)), np.repeat([[0, 1], [2, 3]], [100, 50], axis=0)
    among = origins_of("a" * 150, same, attack)
    assert keys(among) == set()
    assert value(among, "origins.hosts_in_capture") == 1
    elsewhere = origins_of("a" * 100 + "b" * 50, other, attack)
    assert [finding.short for finding in elsewhere.findings] == [
        "attacks from other networks",
        "labels by file, not verified",
    ]
    assert value(elsewhere, "origins.apart") == 1
    captures_only = origins_of("a" * 100 + "b" * 50, same, attack)
    assert [finding.short for finding in captures_only.findings] == [
        "attacks from other captures",
        "labels by file, not verified",
    ]
    # one benign flow among the attacks' capture is not benign traffic, but it shows that labels are not the file's
    stray = origins_of("b" + "a" * 149, np.tile([0, 1], (150, 1)), [True] * 50 + [False] * 100)
    assert keys(stray) == set()
    hidden = origins_of(
        "a" * 300 + "b" * 51, np.repeat([[0, 1], [2, 3]], [300, 51], axis=0), [False] * 301 + [True] * 50
    )
    assert keys(hidden) == {"origins.apart"}


def test_captures_that_differ_are_told_apart_and_equal_ones_are_not():
    rng = np.random.default_rng(2)
    flows = random_flows(rng, 300)
    capture = np.tile([0, 1, 2], 100)
    answer = separable_captures(view_of(flows, [False] * 300, capture=capture), 1)
    assert keys(answer) == set()
    assert value(answer, "captures.separability") == pytest.approx(0.5, abs=0.12)
    shifted = view_of(
        [[(b, s + 2000 * (c == 0), w, i) for b, s, w, i in flow] for flow, c in zip(flows, capture, strict=True)],
        [False] * 300,
        capture=capture,
    )
    assert value(separable_captures(shifted, 1), "captures.separability") > 0.6
    assert value(separable_captures(view_of(flows, [False] * 300), 1), "captures.separability") is None


def test_rows_and_flows_without_a_partner_are_told():
    labels = {
        "benign": {"matched": 90, "unmatched_rows": 0, "ambiguous": 0},
        "attack": {"matched": 7, "unmatched_rows": 3, "ambiguous": 0},
    }
    view = view_of(
        [[(0, 40, 0, 0.0)]] * 97, [False] * 90 + [True] * 7, manifest={"labels": labels, "unmatched_flows": 3}
    )
    answer = coverage(view)
    assert keys(answer) == {"coverage.unmatched_rows", "coverage.unmatched_flows"}
    assert value(answer, "coverage.unmatched_rows") == pytest.approx(0.03)


def test_what_separates_is_found_and_noise_is_not():
    rng = np.random.default_rng(4)
    flows, attack = random_flows(rng, 400), (np.arange(400) % 2 == 1).tolist()
    parts = {"train": np.arange(0, 400, 4)}
    noise = separability(view_of(flows, attack), parts, 1)
    assert keys(noise) == set()
    assert value(noise, "separability.forest") == pytest.approx(0.5, abs=0.1)
    longer = [flow * 4 if is_attack else flow for flow, is_attack in zip(flows, attack, strict=True)]
    found = separability(view_of(longer, attack), parts, 1)
    assert {"separability.length_stored", "separability.best_feature"} <= keys(found)
    for answer in (noise, found):
        assert value(answer, "control.best_feature") == pytest.approx(0.5, abs=0.15)
        assert value(answer, "control.forest") == pytest.approx(0.5, abs=0.15)


def test_a_control_that_misses_one_half_is_told(monkeypatch):
    from datasets_registry.audits import separability as module

    view = view_of(random_flows(np.random.default_rng(4), 200), [False, True] * 100)
    monkeypatch.setattr(module, "attack_auroc", lambda features, attack, seed: 0.9)
    assert "control.forest" in keys(separability(view, {"train": np.arange(0, 200, 4)}, 1))


def test_5_tuples_in_training_and_test_are_counted_in_either_direction():
    ends = np.array([[0, 1], [1, 0], [0, 1], [0, 2], [0, 1], [2, 0]])
    ports = np.array([[500, 80], [80, 500], [500, 81], [500, 80], [500, 80], [80, 500]])
    proto = np.array([6, 6, 6, 6, 17, 6])
    view = view_of([[(0, 40, 0, 0.0)]] * 6, [False] * 4 + [True] * 2, ends=ends, ports=ports, proto=proto)
    parts = {"train": np.array([0, 3]), "test_benign": np.array([1, 2]), "test_attack": np.array([4, 5])}
    answer = shared_tuples(view, parts, {**parts, "test_benign": np.array([2])})
    assert (
        value(answer, "tuples.benign_in_train_grouped") == 0.5
    )  # another port, and another protocol, are other tuples
    assert value(answer, "tuples.attack_in_train_grouped") == 0.5
    assert value(answer, "tuples.benign_in_train_random") == 0
    assert keys(answer) == {"tuples.benign_in_train_grouped", "tuples.attack_in_train_grouped"}


def test_a_family_is_counted_by_hosts_time_and_twins():
    flood, web = [(0, 40, 1, 0.0)], [(0, 60, 1, 0.0), (1, 70, 1, 5.0)]
    view = view_of(
        [flood] * 30 + [web] * 3,
        [True] * 30 + [False] * 3,
        family=np.array(["flood"] * 30 + ["web"] * 3),
        ends=np.array([[0, 1]] * 15 + [[1, 0]] * 15 + [[2, 1], [2, 3], [3, 2]]),
        start=np.concatenate([np.linspace(0, 59, 30), [0, 1800, 3600]]),
        capture=np.array([0] * 30 + [1, 1, 2]),
    )
    answer = families(view)
    (table,) = answer.tables
    rows = {row[0]: dict(zip(table.columns, row, strict=True)) for row in table.rows}
    assert rows["flood"] == {
        "family": "flood", "class": "attack", "flows": 30, "captures": 1, "senders": 2, "receivers": 2, "host pairs": 1,
        "span": pytest.approx(59 / 3600), "twins": 1.0, "one packet": 1.0,
    }  # fmt: skip
    assert (rows["web"]["senders"], rows["web"]["host pairs"], rows["web"]["span"]) == (2, 2, 1.0)
    assert keys(answer) == {"families.one_pair", "families.one_minute"}
    assert len(table.units) == len(table.columns)


def largest_gap(one: list[float], other: list[float]) -> float:
    """Of two empirical distribution functions, counted."""
    return max(
        abs(sum(each <= at for each in one) / len(one) - sum(each <= at for each in other) / len(other))
        for at in {*one, *other}
    )


def test_networks_are_as_far_apart_as_the_distributions_of_a_channel_say():
    rng = np.random.default_rng(7)

    def network(window: int) -> tuple[list[list[Packet]], BenignFlows]:
        flows = [
            [
                (place % 2, int(rng.integers(40, 1400)), int(rng.integers(100) + window), 9.0 * place)
                for place in range(3)
            ]
            for _ in range(120)
        ]
        view = view_of(flows, [False] * 100 + [True] * 20)
        parts = {"train": np.arange(50), "test_benign": np.arange(50, 100)}
        return flows, BenignFlows.of(view, parts, 1)

    (near, one), (far, other) = network(0), network(50)
    found = distances({"one": one, "other": other})

    def mean_window(flows: list[list[Packet]]) -> list[float]:
        return [sum(packet[2] for packet in flow) / 3 for flow in flows]

    expected = {
        "win_mean": largest_gap(mean_window(near[:100]), mean_window(far[:100])),
        "win_min": largest_gap(*([float(min(p[2] for p in flow)) for flow in flows[:100]] for flows in (near, far))),
        "win_max": largest_gap(*([float(max(p[2] for p in flow)) for flow in flows[:100]] for flows in (near, far))),
    }
    matrix, names = found["values"]["window"], found["by"]["window"]
    assert matrix[0][1] == matrix[1][0] == pytest.approx(max(expected.values()), abs=1e-6)
    assert expected[names[0][1]] == max(expected.values())
    itself = [largest_gap(mean_window(near[:50]), mean_window(near[50:100]))]
    assert matrix[0][0] >= itself[0] - 1e-9
    assert found["values"]["timing"][0][1] == 0  # attacks do not count, and gaps are alike
    assert found["flows"] == {"one": 100, "other": 100}


def test_small_parts_are_told_and_large_ones_are_not():
    def found(train: int, cal_b: int, benign: int, attacks: int) -> dict[str, str]:
        n = train + cal_b + benign
        view = view_of([[(0, 40, 0, 0.0)]] * (n + attacks), [False] * n + [True] * attacks)
        edges = np.cumsum([0, train, cal_b, benign, attacks])
        parts = [np.arange(a, b) for a, b in itertools.pairwise(edges)]
        answer = sizes(view, dict(zip(("train", "cal_b", "test_benign", "test_attack"), parts, strict=True)))
        return {finding.key: finding.severity for finding in answer.findings}

    assert found(10, 1000, 200, 20) == {}
    assert found(10, 999, 200, 20) == {"parts.thresholds": "warning"}
    assert found(10, 1000, 199, 20) == {"parts.test_benign": "warning"}
    assert found(10, 1000, 200, 19) == {"parts.families": "warning"}
    assert found(1, 1000, 200, 0) == {"parts.train": "error"}


def unseen_of(sizes_of: tuple[int, int, int], captures: str) -> Answer:
    """60 benign flows of a size in captures a to f, 40 scans and 40 floods in the captures that ``captures`` names."""
    rng = np.random.default_rng(8)
    benign, scan, flood = (
        [[(0, int(size + rng.integers(-20, 21)), 0, 0.0)] for _ in range(n)]
        for size, n in zip(sizes_of, (240, 40, 40), strict=True)
    )
    places = [*(list("abcdef") * 40), *(captures[0] * 40), *(captures[1] * 40)]
    view = view_of(
        benign + scan + flood,
        [False] * 240 + [True] * 80,
        family=np.repeat(["web", "scan", "flood"], [240, 40, 40]),
        capture=np.unique(places, return_inverse=True)[1],
    )
    return unseen(view, {"train": np.arange(120), "test_benign": np.arange(120, 240)}, 1)


def test_attacks_that_are_recognised_unseen_are_told_where_they_were_recorded_apart():
    apart = unseen_of((600, 100, 110), "xy")  # both attacks are small, as whatever the recorder cut
    assert keys(apart) == {"separability.unseen"}
    assert value(apart, "separability.unseen") > 0.99
    assert keys(unseen_of((600, 100, 1000), "xy")) == set()  # what was learned of one says nothing of the other
    among = unseen_of((600, 100, 110), "ab")
    assert keys(among) == set()
    assert value(among, "separability.unseen") is None


@pytest.mark.parametrize("higher", [True, False])
def test_the_one_rule_is_the_best_of_all_thresholds_and_told_in_the_feature_s_unit(higher):
    rng = np.random.default_rng(5)
    sizes_of = rng.integers(40, 90, 300)
    attack = rng.random(300) < np.where((sizes_of >= 64) == higher, 0.8, 0.1)
    found = one_rule(np.log1p(sizes_of.astype(float)), attack, "size_mean", higher=higher)

    def share(bound: int, kind: bool) -> float:
        return float(np.mean((sizes_of >= bound if higher else sizes_of <= bound)[attack == kind]))

    best = max(range(40, 90), key=lambda bound: share(bound, True) - share(bound, False))
    assert found.value == pytest.approx(share(best, True) - share(best, False))
    most = "least" if higher else "most"
    said = f"size_mean at {most} {best} bytes: {share(best, True):.0%} of the attacks, {share(best, False):.0%} of the"
    assert found.detail["rule"] == f"{said} benign flows"


def test_flows_that_stand_in_two_captures_are_found_and_planted_nowhere_else(tmp_path, home):
    captures = write_example_captures(tmp_path / "captures")
    header, *lines = (captures / "labels.csv").read_text().splitlines()
    name = next(line.split(",")[0] for line in lines if ",attack" in line)
    shutil.copyfile(captures / name, captures / "again.pcap")
    copies = [line.replace(name, "again.pcap", 1) for line in lines if line.startswith(name)]
    (captures / "labels.csv").write_text("\n".join([header, *lines, *copies]) + "\n")
    ingest_folder(captures, tmp_path / "store", name="twice")
    store = FlowStore.open(tmp_path / "store")
    found = repeated(AuditView.from_store(store), store)
    assert value(found, "captures.repeated") == len(copies)
    assert keys(found) == {"captures.repeated"}
    assert f"again.pcap and {name}" in found.findings[0].text
    plain = FlowStore.open(home / "datasets" / "alpha")
    none = repeated(AuditView.from_store(plain), plain)
    assert (keys(none), value(none, "captures.repeated")) == (set(), 0)


def test_every_finding_says_what_to_do_and_fail_on_is_an_exit_code(home, monkeypatch, capsys):
    monkeypatch.setenv("JANUS_BENCH_HOME", str(home))
    monkeypatch.setenv("COLUMNS", "400")  # no cell is broken
    command.audit(["alpha"], "json")
    found = json.loads(capsys.readouterr().out)["findings"]
    assert "parts.thresholds" in {finding["key"] for finding in found}
    for finding in found:
        assert finding["action"] == action_for(finding["key"]) in ACTIONS.values()
    with pytest.raises(typer.Exit) as end:
        command.audit(["alpha"], "table", None, "warning")
    assert end.value.exit_code == 3
    said = capsys.readouterr()
    warnings = [finding for finding in found if finding["severity"] != "note"]
    assert f"alpha: {len(warnings)} finding(s) of severity warning or graver" in said.err
    assert all(f"to do: {finding['action']}" in " ".join(said.out.split()) for finding in found)
    command.audit(["alpha"], "table", None, "error")  # none is so grave
    documented = DOCS.read_text(encoding="utf-8")
    assert [key for key in ACTIONS if key not in documented] == []


# whole datasets


@pytest.fixture(scope="module")
def documents(tmp_path_factory):
    """Name → the document that ``data audit`` prints, each dataset extracted and audited once."""
    home = tmp_path_factory.mktemp("audited")
    made: dict[str, dict[str, Any]] = {}

    def get(name: str) -> dict[str, Any]:
        if name not in made:
            folder, synthetic = DOMAINS / name, {dataset.name: dataset for dataset in janus_bench_datasets()}
            if name in synthetic:
                folder = home / "captures" / name
                folder.mkdir(parents=True)
                synthetic[name].write(folder)
            ingest_folder(folder, home / "datasets" / name, name=name)
            made[name] = command.document(FlowStore.open(home / "datasets" / name))
        return made[name]

    return get


def found_in(document: dict[str, Any]) -> dict[str, str]:
    return {finding["key"]: finding["severity"] for finding in document["findings"]}


def measured(document: dict[str, Any], key: str) -> Any:
    (found,) = [measure["value"] for measure in document["measures"] if measure["key"] == key]
    return found


REPEATED = {"cicddos2019_slice": 364, "mobile_voice": 230}
EXPECTED = {
    "cicddos2019_slice": {"origins.apart", "captures.repeated", "parts.test_benign"},
    "mobile_voice": {"captures.repeated", "caps.benign", "one_packet.attack", "origins.apart", "origins.captures"},
    "ics_scada": {"one_packet.attack", "one_packet.family", "origins.apart"},
    "iot_home": {"origins.apart", "origins.captures"},
    "enterprise_windows": set(),
}


@needs_shared_data
@pytest.mark.parametrize("name", EXPECTED)
def test_what_is_known_of_the_real_networks_is_found_and_no_more(name, documents):
    found = found_in(documents(name))
    known = KNOWN - {"mirrored.captures", "mirrored.extraction"}
    assert set(found) & known == EXPECTED[name]
    assert {found[key] for key in EXPECTED[name]} <= {"warning"}
    # copies are found in the packets, or were removed by the extractor, which is told as well
    assert bool(set(found) & {"mirrored.captures", "mirrored.extraction"}) == (name == "cicddos2019_slice")
    assert not any(key.startswith("control.") for key in found)
    assert measured(documents(name), "captures.repeated") == REPEATED.get(name, 0)
    # attacks that were recorded apart are recognised unseen; those among benign traffic are nothing to be judged by
    recognised = {"iot_home": "warning", "mobile_voice": "warning", "ics_scada": "note"}
    assert found.get("separability.unseen") == recognised.get(name)
    if name == "iot_home":  # a flood that the forest, trained on scans and SSH, never met
        (unseen_there,) = (each for each in documents(name)["measures"] if each["key"] == "separability.unseen")
        assert float(unseen_there["detail"]["botnet_syn_http_flood"]) >= 0.99


@needs_shared_data
def test_the_text_names_the_cap_and_the_family(documents):
    said = {
        finding["key"]: finding["text"]
        for name in ("mobile_voice", "ics_scada")
        for finding in documents(name)["findings"]
    }
    assert "benign flows are cut at 60 packets" in said["caps.benign"]
    assert "attack flows at 100" in said["caps.benign"]
    assert "port_scan is 96.1%" in said["one_packet.family"]
    assert documents("iot_home")["headline"][:2] == ["attacks from other networks", "labels by file, not verified"]


@pytest.mark.parametrize("name", ["synthetic_office", "synthetic_campus"])
def test_none_of_it_is_found_in_the_synthetic_suite(name, documents):
    assert set(found_in(documents(name))) & KNOWN == set()


def test_the_same_dataset_gives_the_same_document_quickly_and_the_documentation_names_every_measure(home):
    store = FlowStore.open(home / "datasets" / "alpha")
    began = time.process_time()
    document = command.document(store)
    assert time.process_time() - began < 20
    text = json.dumps(document, allow_nan=False)
    assert json.dumps(command.document(store), allow_nan=False) == text
    measured = [measure["key"] for measure in document["measures"]]
    assert len(measured) == len(set(measured))
    documented = DOCS.read_text(encoding="utf-8")
    assert [key for key in measured if f"`{key}`" not in documented] == []


def test_the_command_prints_one_document_or_a_table_or_writes_a_page(home, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("JANUS_BENCH_HOME", str(home))
    monkeypatch.setenv("COLUMNS", "400")  # no cell is broken
    page = tmp_path / "audit.html"
    command.audit(["alpha"], "json", page)
    document = json.loads(capsys.readouterr().out)
    assert (document["dataset"], document["flows"]) == ("alpha", 840)
    about = {"audit_version", "dataset", "hash", "synthetic", "flows", "benign", "attack", "seed", "partition"}
    assert set(document) == about | {"headline", "findings", "measures", "tables"}  # what programs may rely on
    assert {frozenset(each) for each in document["findings"]} == {
        frozenset(("key", "severity", "text", "short", "value", "threshold", "action"))
    }
    assert {frozenset(each) for each in document["measures"]} == {
        frozenset(("key", "what", "unit", "value", "detail", "status"))
    }
    assert {frozenset(each) for each in document["tables"]} == {frozenset(("key", "title", "columns", "units", "rows"))}
    with pytest.raises(UsageError, match=r"no such folder\): choose another file with -o"):
        command.audit(["alpha"], "json", tmp_path / "nowhere" / "audit.html")
    severities = {finding["key"]: finding["severity"] for finding in document["findings"]}
    for measure in document["measures"]:
        expected = {severities.get(measure["key"], "ok"), *({"measured"} - {severities.get(measure["key"])})}
        assert (measure["status"] in expected) == (measure["value"] is not None), measure
        assert (measure["status"] == "not applicable") == ("reason" in measure["detail"]) == (measure["value"] is None)
        if measure["key"] in severities and measure["value"] is not None:
            assert measure["status"] == severities[measure["key"]]
    written = page.read_text(encoding="utf-8")
    assert "http:" not in written.replace("http-equiv", "")
    assert "https:" not in written
    assert all(html.escape(finding["text"]) in html.escape(html.unescape(written)) for finding in document["findings"])
    assert written.count("To do: ") == len(document["findings"])
    assert document["partition"]["kind"] in ("grouped", "time blocks")
    command.audit(["alpha"], "table")
    printed = capsys.readouterr().out
    paragraphs = " ".join(printed.split())  # broken at words, where they are longer than a line
    assert all(finding["text"] in paragraphs for finding in document["findings"])
    assert all(measure["what"] in paragraphs for measure in document["measures"])


def test_several_datasets_have_an_audit_each_and_the_distances_between_them(home, monkeypatch, capsys):
    monkeypatch.setenv("JANUS_BENCH_HOME", str(home))
    monkeypatch.setenv("COLUMNS", "400")
    finding = {"key": "parts.train", "severity": "warning", "text": "few", "action": "add some"}
    about = {"synthetic": False, "benign": 1, "attack": 1, "seed": 42, "measures": [], "tables": []}
    about |= {"findings": [finding], "partition": {"kind": "grouped", "reason": ""}}
    monkeypatch.setattr(command, "document", lambda store, progress: about | {"dataset": store.name})
    monkeypatch.setattr("datasets_registry.audits.kept.keep_audit", lambda *_: None)  # they are made up
    with pytest.raises(typer.Exit):
        command.audit(["alpha", "beta", "alpha"], "json", None, "warning")
    said = capsys.readouterr()
    document = json.loads(said.out)
    assert [each["dataset"] for each in document["audits"]] == document["distances"]["datasets"] == ["alpha", "beta"]
    assert said.err.count("1 finding(s) of severity warning or graver") == 2
    command.audit(["alpha", "beta"])
    printed = capsys.readouterr().out
    for channel in ("sizes", "timing", "flags", "window"):
        values, by = (document["distances"][part][channel] for part in ("values", "by"))
        assert values[0][1] == values[1][0]
        assert re.search(rf"^alpha +beta .*{values[0][1]:.2f} {by[0][1]}", printed, re.MULTILINE)
        assert re.search(rf"^beta +itself .*{values[1][1]:.2f} {by[1][1]}", printed, re.MULTILINE)


def test_a_dataset_of_one_class_is_audited(home):
    store = FlowStore.open(home / "datasets" / "alpha")
    benign = AuditView.from_store(store)
    flows = random_flows(np.random.default_rng(0), 60)
    view = view_of(flows, [False] * 60)
    assert len(benign) == 840
    assert {measure.value for measure in separability(view, {"train": np.arange(30)}, 1).measures} == {None}
    assert keys(artefacts(view)) == set()
    assert keys(origins(view, {"train": np.arange(30)})) == set()


def test_bits_that_are_no_flags_do_not_count():
    flows = talks(5, np.random.default_rng(0))
    marked = [[(bits | 1 << len(BIT_OF), size, win, iat) for bits, size, win, iat in flow] for flow in flows]
    one, other = view_of(flows, [False] * 5), view_of(marked, [False] * 5)
    assert (sequence_hashes(one, exact=True) == sequence_hashes(other, exact=True)).all()
    assert (flag_rarity(one, np.ones(5, bool)) == flag_rarity(other, np.ones(5, bool))).all()


def test_audit_store_reports_progress(home):
    store = FlowStore.open(home / "datasets" / "alpha")
    heard: list[float] = []
    said: list[str] = []
    half = np.flatnonzero(~store.labels()["attack"].to_numpy())
    parts = {
        "train": half[::2],
        "cal_b": half[:0],
        "test_benign": half[1::2],
        "test_attack": np.flatnonzero(store.labels()["attack"].to_numpy()),
    }
    audit_store(store, parts, parts, 1, lambda text, fraction: (said.append(text), heard.append(fraction)))
    assert heard == sorted(heard)
    assert len(heard) == 12
    assert "auditing alpha, attacks not trained on" in said
