"""The simulator's TCP, UDP and draws, alone: properties that hold for any script, stack, loss rate and seed."""

from __future__ import annotations

from collections import defaultdict
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from datasets_registry.synthetic import network
from datasets_registry.synthetic.datagrams import DatagramExchange
from datasets_registry.synthetic.network import Path, Stack
from datasets_registry.synthetic.randomness import Dice, zipf_weights
from datasets_registry.synthetic.tcp import TcpConnection, syn_options
from datasets_registry.synthetic.trace import ACK, FIN, PSH, RST, SYN, UDP, FlowEntry, Trace

STACKS = [
    network.WINDOWS,
    network.LINUX,
    network.SERVER,
    network.CDN,
    network.APPLE,
    network.EMBEDDED,
    network.PLC,
    network.OLD_WINDOWS,
    network.FREEBSD,
]
SCRIPTS = st.lists(st.tuples(st.integers(0, 1), st.integers(1, 60_000), st.floats(0, 3)), max_size=8)
PATHS = st.builds(
    lambda near, far, jitter, loss, rate: Path((near, far), jitter, loss, (rate, rate), 1460),
    st.floats(1e-4, 0.01),
    st.floats(1e-4, 0.2),
    st.floats(0, 0.01),
    st.sampled_from([0.0, 0.02, 0.2]),
    st.floats(1e5, 1e8),
)
CONNECTIONS = st.tuples(st.integers(0, 10**6), st.sampled_from(STACKS), st.sampled_from(STACKS), PATHS, SCRIPTS)


def simulate(
    seed: int, client: Stack, server: Stack, path: Path, script: list[tuple[int, int, float]]
) -> tuple[TcpConnection, list[tuple]]:
    trace = Trace()
    connection = TcpConnection(trace, Dice(seed), 0, (client, server), path, 0.0)
    connection.open()
    connection.play(script)
    connection.finish(0, 0.5)
    return connection, sorted(trace.packets)


def covered(packets: list[tuple], side: int) -> list[tuple[int, int]]:
    """Sequence ranges of one side, in order, SYN and FIN counting one."""
    return sorted((p[5], p[5] + p[4] + bool(p[3] & SYN) + bool(p[3] & FIN)) for p in packets if p[2] == side)


@settings(max_examples=150, deadline=None)
@given(CONNECTIONS)
def test_every_byte_of_the_script_is_in_the_capture(case: tuple) -> None:
    _, packets = simulate(*case)
    for side in (0, 1):
        ranges = covered(packets, side)
        end = ranges[0][0]
        for begin, stop in ranges:
            assert begin <= end, "a hole that no retransmission fills"
            end = max(end, stop)
        assert end - ranges[0][0] == 2 + sum(size for writer, size, _ in case[4] if writer == side)  # SYN and FIN


@settings(max_examples=150, deadline=None)
@given(CONNECTIONS)
def test_nobody_acknowledges_what_was_not_sent_and_acknowledgements_never_go_back(case: tuple) -> None:
    _, packets = simulate(*case)
    sent: dict[int, int] = {}
    last: dict[int, int] = {}
    for _, _, side, flags, payload, seq, ack, _, _ in packets:
        sent[side] = max(sent.get(side, 0), seq + payload + bool(flags & (SYN | FIN)))
        if flags & ACK:
            assert ack <= sent[1 - side]
            assert ack >= last.get(side, 0)
            last[side] = ack


@settings(max_examples=150, deadline=None)
@given(CONNECTIONS)
def test_segments_fit_the_mss_and_windows_fit_their_field(case: tuple) -> None:
    connection, packets = simulate(*case)
    limit = min(1460, case[1].mss, case[2].mss)
    for _, _, _, flags, payload, _, _, window, _ in packets:
        assert 0 <= payload <= limit
        assert payload <= connection.mss
        assert 0 <= window <= 65535
        assert payload == 0 or not flags & (SYN | FIN | RST)


@settings(max_examples=100, deadline=None)
@given(CONNECTIONS)
def test_without_loss_nothing_is_sent_twice_and_each_write_ends_with_a_push(case: tuple) -> None:
    seed, client, server, path, script = case
    _, packets = simulate(seed, client, server, Path(path.distance, path.jitter, 0.0, path.rate, path.mss), script)
    for side in (0, 1):
        data = [p for p in packets if p[2] == side and p[4]]
        assert all(earlier[5] + earlier[4] == later[5] for earlier, later in pairwise(data))
        assert sum(bool(p[3] & PSH) for p in data) == sum(writer == side for writer, *_ in script)


def test_loss_repeats_sequence_numbers_about_as_often_as_the_path_loses() -> None:
    path = Path((0.001, 0.02), 0.001, 0.03, (1e7, 1e7), 1460)
    _, packets = simulate(7, network.LINUX, network.SERVER, path, [(1, 200_000, 0.01)] * 20)
    seen = defaultdict(list)
    for packet in packets:
        if packet[4]:
            seen[packet[5]].append(packet)
    repeated = [group for group in seen.values() if len(group) > 1]
    assert all(len({packet[4] for packet in group}) == 1 for group in repeated), "a retransmission has the same bytes"
    # half of the lost segments were lost before the capture point and are seen once
    assert stats.binomtest(len(repeated), len(seen), 0.015).pvalue > 1e-3


def test_a_retransmission_after_silence_waits_for_the_timer() -> None:
    path = Path((0.001, 0.02), 0.0, 0.4, (1e7, 1e7), 1460)
    _, packets = simulate(3, network.LINUX, network.SERVER, path, [(0, 100, 0.1)] * 60)
    gaps = [
        later[0] - earlier[0]
        for earlier, later in pairwise([p for p in packets if p[2] == 0 and p[4]])
        if earlier[5] == later[5]
    ]
    assert len(gaps) > 5
    assert min(gaps) >= 0.2 - 1e-6  # RFC 6298 as common stacks have it


def test_the_round_trip_shows_in_the_handshake() -> None:
    path = Path((0.002, 0.05), 0.0, 0.0, (1e8, 1e8), 1460)
    _, packets = simulate(1, network.LINUX, network.SERVER, path, [])
    syn, syn_ack, ack = packets[:3]
    assert (syn[3], syn_ack[3], ack[3]) == (SYN, SYN | ACK, ACK)
    assert (syn_ack[6], ack[6]) == (syn[5] + 1, syn_ack[5] + 1)
    assert syn_ack[0] - syn[0] == pytest.approx(2 * 0.05, abs=1e-3)
    assert ack[0] - syn_ack[0] == pytest.approx(2 * 0.002, abs=1e-3)


def test_slow_start_doubles_the_burst() -> None:
    path = Path((0.0001, 0.05), 0.0, 0.0, (1e9, 1e9), 1460)
    _, packets = simulate(1, network.LINUX, network.SERVER, path, [(1, 60_000, 0.0)])
    data = [p[0] for p in packets if p[2] == 1 and p[4]]
    breaks = np.flatnonzero(np.diff(data) > 0.05)
    assert np.diff(np.r_[-1, breaks, len(data) - 1]).tolist() == [10, 20, 12]


def test_syn_options_have_the_mss_and_only_what_both_sides_offer() -> None:
    assert syn_options(network.WINDOWS, 1452)[:4] == b"\x02\x04" + (1452).to_bytes(2, "big")
    assert syn_options(network.MIRAI, 1460) == b""
    assert len(syn_options(network.LINUX, 1460)) == 20
    assert len(syn_options(network.SERVER, 1460, network.EMBEDDED)) == 4
    for stack in STACKS:
        assert len(syn_options(stack, 1460)) % 4 == 0


def test_lost_datagrams_leave_only_the_senders_clock_moving() -> None:
    exchange = DatagramExchange(Trace(), Dice(1), 0, Path((0.001, 0.001), 0.0, 1.0, (1e6, 1e6), 1460), 5.0)
    assert not exchange.send(0, 100)
    assert exchange.clock[0] > 5.0
    assert exchange.clock[1] == 5.0


def test_silence_splits_a_flow_and_two_labels_in_one_flow_are_refused() -> None:
    trace = Trace()
    entry = FlowEntry(
        UDP, (b"\x0a\0\0\x01", b"\x0a\0\0\x02"), (5, 6), (b"\0" * 6,) * 2, (64, 64), (b"", b""), False, "one"
    )
    flow = trace.add(entry)
    for time, side in ((1.0, 0), (120.9, 1), (241.0, 1), (999.0, 0)):
        trace.packets.append((time, flow, side, 0, 10, 0, 0, 0, 0))
    packets, clock = trace.sorted_packets(500.0, 10**6)
    rows = list(trace.flow_rows(packets, clock, 10**6))
    assert [(row.first, row.last, row.initiator, row.packets) for row in rows] == [
        (1_000_000, 120_900_000, 0, 2),
        (241_000_000, 241_000_000, 1, 1),
    ]
    assert rows[1].endpoints == ("10.0.0.2", 6, "10.0.0.1", 5)
    other = trace.add(
        FlowEntry(UDP, entry.addresses, entry.ports, entry.macs, entry.ttls, entry.syn_options, True, "two")
    )
    trace.packets.append((2.0, other, 0, 0, 10, 0, 0, 0, 0))
    with pytest.raises(AssertionError, match="two labels"):
        list(trace.flow_rows(*trace.sorted_packets(500.0, 10**6), 10**6))


def test_dice_repeat_for_a_subject_and_differ_between_subjects() -> None:
    def draws(*subject: object) -> list[float]:
        dice = Dice(*subject)
        return [dice.random() for _ in range(5)]

    assert draws(1, "office", 2) == draws(1, "office", 2)
    assert draws(1, "office", 2) != draws(1, "office", 3)


def test_draws_follow_their_distributions() -> None:
    dice = Dice("distributions")
    n = 4_000
    assert stats.kstest([dice.lognormal(3.0, 0.7) for _ in range(n)], stats.lognorm(0.7, scale=3.0).cdf).pvalue > 1e-3
    assert stats.kstest([dice.pareto(2.0, 1.5) for _ in range(n)], stats.pareto(1.5, scale=2.0).cdf).pvalue > 1e-3
    assert stats.kstest([dice.exponential(0.2) for _ in range(n)], stats.expon(scale=0.2).cdf).pvalue > 1e-3
    counts = np.array([dice.count(3.0) for _ in range(n)])
    assert counts.min() == 1
    assert counts.mean() == pytest.approx(3.0, abs=0.15)
    assert stats.chisquare(np.bincount([dice.integer(2, 6) for _ in range(n)])[2:]).pvalue > 1e-3
    picks = np.bincount([dice.weighted(range(4), zipf_weights(4, 1.0)) for _ in range(n)])
    weights = 1 / np.arange(1, 5)
    assert stats.chisquare(picks, n * weights / weights.sum()).pvalue > 1e-3
    assert sorted(dice.sample(range(5), 9)) == [0, 1, 2, 3, 4]
