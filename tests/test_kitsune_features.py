"""AfterImage and the feature mapper against plain Python, SciPy and outputs of the original program."""

from __future__ import annotations

import math
import struct
from socket import AF_INET, AF_INET6, inet_ntop

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.cluster.hierarchy import fcluster, linkage

from detectors.kitsune import pairs
from detectors.kitsune.afterimage import FEATURES, AfterImage, PacketKeys
from detectors.kitsune.mapper import correlation_distances, feature_groups
from detectors.kitsune.pairs import DECAYS
from tests.conftest import SHARED_DATA, needs_shared_data

REFERENCES = ("iot_home__attack_ndsec1_botnet_http_flood", "iot_home__benign_HueSwitch")


class Stat:
    """One damped statistic, as the paper's recursions and the public code's quirks have it."""

    def __init__(self, decay, t):
        self.decay, self.last, self.ls, self.ss, self.w, self.mean, self.var, self.pairs = (
            decay,
            t,
            0.0,
            0.0,
            1e-20,
            0.0,
            0.0,
            [],
        )

    def fade(self, t):
        if t > self.last:
            factor = 2.0 ** (-self.decay * (t - self.last))
            self.ls, self.ss, self.w, self.last = self.ls * factor, self.ss * factor, self.w * factor, t

    def insert(self, v, t):
        self.fade(t)
        self.ls, self.ss, self.w = self.ls + v, self.ss + v * v, self.w + 1
        self.mean = self.ls / self.w
        self.var = abs(self.ss / self.w - self.mean**2)
        for pair in self.pairs:
            pair.update(self, v, t)
        return [self.w, self.mean, self.var]


class Pair:
    def __init__(self, a, b, t):
        self.ends, self.residuals, self.cross, self.w, self.last = (a, b), [0.0, 0.0], 0.0, 1e-20, t
        a.pairs.append(self)
        b.pairs.append(self)

    def update(self, sender, v, t):
        side = 0 if sender is self.ends[0] else 1
        self.ends[1 - side].fade(t)
        if t > self.last:
            factor = 2.0 ** (-sender.decay * (t - self.last))
            self.cross, self.w, self.last = self.cross * factor, self.w * factor, t
        self.cross += (v - sender.mean) * self.residuals[1 - side]
        self.w += 1
        self.residuals[side] = v - sender.mean

    def stats(self):
        a, b = self.ends
        covariance, scale = self.cross / self.w, math.sqrt(a.var) * math.sqrt(b.var)
        return [
            math.sqrt(a.var**2 + b.var**2),
            math.sqrt(a.mean**2 + b.mean**2),
            covariance,
            covariance / scale if scale else 0.0,
        ]


def plain_features(time, size, keys):
    """AfterImage with dictionaries, one packet and one λ at a time."""
    tables = {name: {} for name in ("sender", "host", "channel", "socket")}

    def stat(table, key, decay, t):
        return tables[table].setdefault((key, decay), Stat(decay, t))

    def two(table, a, b, decay, t, v):
        source = stat(table, a, decay, t)
        alone = source.insert(v, t)
        target = stat(table, b, decay, t)
        pair = next((pair for pair in source.pairs if target in pair.ends), None) or Pair(source, target, t)
        pair.update(source, v, t)
        return alone + pair.stats()

    rows = []
    for t, v, sender, a, b, channel, c, d in zip(time, size, *keys, strict=True):
        row = []
        for decay in DECAYS:
            row += stat("sender", sender, decay, t).insert(v, t)
        for decay in DECAYS:
            row += two("host", a, b, decay, t, v)
        for decay in DECAYS:
            jitter = stat("channel", channel, decay, t)
            row += jitter.insert(max(t - jitter.last, 0.0), t)
        for decay in DECAYS:
            row += two("socket", c, d, decay, t, v)
        rows.append(row)
    return np.array(rows)


def packets(seed, n, hosts, backwards=0.0):
    """Random packets between ``hosts`` hosts, host 0 a server that most talk to; a share of them is earlier than the
    one before."""
    rng = np.random.default_rng(seed)
    time = 1.6e9 + np.cumsum(rng.exponential(0.2, n)) - backwards * rng.exponential(0.5, n) * (rng.random(n) < 0.2)
    source, destination = rng.integers(0, hosts, n), np.where(rng.random(n) < 0.6, 0, rng.integers(0, hosts, n))
    swap = rng.random(n) < 0.5
    source, destination = np.where(swap, destination, source), np.where(swap, source, destination)
    ports = rng.integers(0, 2, (2, n))
    keys = (
        source,
        source,
        destination,
        source * hosts + destination,
        source * 2 + ports[0],
        destination * 2 + ports[1],
    )
    return time, rng.integers(40, 1500, n), PacketKeys(*(key.astype(np.uint64) for key in keys))


def tolerances(reference):
    """1e-9 of each value; of a variance, radius or covariance that is nearly nothing of the squared means that it is a
    difference of, 1e-12 of these.

    A correlation divides such a covariance by such deviations: infinity where either is nearly nothing, and what the
    smaller of the two variances is uncertain by where that one alone is small.
    """
    allowed = 1e-9 * abs(reference)
    for start, width in ((0, 3), (15, 7), (50, 3), (65, 7)):
        for at in range(start, start + width * len(DECAYS), width):
            squared = reference[:, at + 1] ** 2
            if width == 7:
                squared = np.maximum(squared, reference[:, at + 4] ** 2)  # of both members
                covariance, correlation = abs(reference[:, at + 5]), abs(reference[:, at + 6])
                deviations = covariance / np.where(correlation == 0, 1, correlation)  # of both members, multiplied
                allowed[
                    (correlation != 0) & ((covariance < 1e-5 * squared) | (deviations < 1e-5 * squared)), at + 6
                ] = np.inf
                own = reference[:, at + 2]
                with np.errstate(divide="ignore", invalid="ignore"):
                    smaller = np.minimum(own, deviations**2 / own)
                    uncertain = np.nan_to_num(abs(reference[:, at + 6]) * 1e-12 * squared / smaller, posinf=0)
                # A variance of nothing makes it 0; of one that is not quite nothing, another rounding, it is anything.
                nothing = np.where(correlation == 0, np.where(covariance == 0, 1e-6, np.inf), 0)
                allowed[:, at + 6] = np.maximum.reduce([allowed[:, at + 6], uncertain, nothing])
            for column in (2,) if width == 3 else (2, 3, 5):
                allowed[:, at + column] = np.maximum(allowed[:, at + column], 1e-12 * squared)
    return allowed


def assert_agree(features, reference):
    allowed = tolerances(reference)
    assert np.isinf(allowed).mean() < 0.05
    assert np.isfinite(features).all()
    assert (abs(features - reference) <= allowed).all()


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10**6), st.sampled_from([1, 2, 5, 60]), st.sampled_from([0.0, 1.0]))
def test_afterimage_equals_plain_python_with_hubs_and_with_time_that_goes_back(seed, hosts, backwards):
    time, size, keys = packets(seed, 300, hosts, backwards)
    features = AfterImage(time, size, keys).next(300)
    assert features.shape == (300, FEATURES)
    assert_agree(features, plain_features(time.tolist(), size.tolist(), [key.tolist() for key in keys]))


def test_many_partners_make_a_hub_and_few_do_not_change_a_bit():
    time, size, keys = packets(3, 400, 6)
    expected = plain_features(time.tolist(), size.tolist(), [key.tolist() for key in keys])
    features = AfterImage(time, size, keys).next(400)
    assert (features == expected).mean() > 0.99
    _, _, many = packets(3, 400, 60)
    image = AfterImage(time, size, many)
    image.next(400)
    assert image._capture.hosts.ties[:, 6].sum() > 0, (
        f"no host has more than {pairs.HUB} partners: the test above does not reach the hubs"
    )


def test_blocks_of_packets_give_what_all_at_once_give():
    time, size, keys = packets(1, 500, 40)
    image = AfterImage(time, size, keys)
    blocks = [image.next(n) for n in (1, 200, 10**6, 5)]
    assert [len(block) for block in blocks] == [1, 200, 299, 0]
    np.testing.assert_array_equal(np.concatenate(blocks), AfterImage(time, size, keys).next(500))


def test_first_packet_has_weight_one_its_size_as_mean_and_no_variance():
    row = AfterImage([5.0], [70], PacketKeys(*(np.array([k], np.uint64) for k in (1, 2, 3, 4, 5, 6)))).next(1)[0]
    np.testing.assert_array_equal(row[:3], [1, 70, 0])
    np.testing.assert_array_equal(row[15:22], [1, 70, 0, 0, 70, 0, 0])
    np.testing.assert_array_equal(row[50:53], [1, 0, 0])


def test_correlation_distances_tend_to_those_of_numpy():
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(20_000, 6)) @ rng.normal(size=(6, 6))
    np.testing.assert_allclose(correlation_distances(rows), np.maximum(1 - np.corrcoef(rows.T), 0), atol=0.01)


def test_a_constant_feature_is_at_distance_one_from_all():
    rows = np.random.default_rng(0).normal(size=(50, 3))
    rows[:, 1] = 7
    np.testing.assert_array_equal(correlation_distances(rows)[1], 1)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 25), st.integers(1, 12))
def test_groups_partition_the_features_are_small_and_are_scipy_s_clusters(seed, width, largest):
    rng = np.random.default_rng(seed)
    rows = rng.normal(size=(60, width)) @ rng.normal(size=(width, width))
    groups = feature_groups(rows, largest)
    assert sorted(feature for group in groups for feature in group) == list(range(width))
    assert max(map(len, groups)) <= largest
    if width == 1:
        return
    merges = linkage(correlation_distances(rows)[np.triu_indices(width, 1)], "single")
    clusters = {frozenset([i]) for i in range(width)}
    for height in merges[:, 2]:
        numbers = fcluster(merges, height, "distance")
        clusters |= {frozenset(np.flatnonzero(numbers == c).tolist()) for c in set(numbers)}
    assert {frozenset(group) for group in groups} <= clusters
    parents = [c for c in clusters if any(c > set(group) for group in groups) and len(c) <= largest]
    assert not parents, "a larger cluster would have fitted"


def read_plainly(name, limit):
    """Time, wire length and the original's key texts (as numbers) of the first packets of a reference capture:
    Ethernet, IP, TCP and UDP."""
    site, capture = name.split("__")
    raw, at = (SHARED_DATA / "domains" / site / f"{capture}.pcap").read_bytes(), 24
    times, sizes, keys, numbers = [], [], [[] for _ in range(6)], {}
    while len(times) < limit:
        seconds, micros, captured, wire = struct.unpack_from("<IIII", raw, at)
        frame, at = raw[at + 16 : at + 16 + captured], at + 16 + captured
        times.append(float(f"{seconds}.{micros:06d}"))
        sizes.append(wire)
        if frame[12:14] == b"\x08\x00":
            source, target, transport = (
                inet_ntop(AF_INET, frame[26:30]),
                inet_ntop(AF_INET, frame[30:34]),
                14 + (frame[14] & 15) * 4,
            )
        else:
            assert frame[12:14] == b"\x86\xdd"
            source, target, transport = inet_ntop(AF_INET6, frame[22:38]), inet_ntop(AF_INET6, frame[38:54]), 54
        ports = struct.unpack_from(">HH", frame, transport)
        texts = (
            frame[6:12].hex(":") + source,
            source,
            target,
            source + target,
            f"{source}{ports[0]}",
            f"{target}{ports[1]}",
        )
        for column, text in zip(keys, texts, strict=True):
            column.append(numbers.setdefault(text, len(numbers)))
    return np.array(times), np.array(sizes), PacketKeys(*(np.array(column, np.uint64) for column in keys))


@needs_shared_data
@pytest.mark.parametrize("name", REFERENCES)
def test_features_equal_those_of_the_original_program(name):
    reference = np.load(SHARED_DATA / "kitsune_reference" / f"{name}.npz")
    time, size, keys = read_plainly(name, len(reference["rmse"]))
    features = AfterImage(time, size, keys).next(len(time))[reference["feature_rows"]]
    assert_agree(features, reference["features"])
    assert (features == reference["features"]).mean() > 0.85
    groups = feature_groups(AfterImage(time, size, keys).next(int(reference["fm_grace"]) + 1), 10)
    assert {frozenset(group) for group in groups} == {
        frozenset(map(int, text.split(","))) for text in reference["groups"]
    }
