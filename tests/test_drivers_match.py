"""Rows of a flow meter against flows, with an oracle that compares every row with every flow; and the clock between the
two."""

from __future__ import annotations

from collections import Counter

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from datasets_registry.capture.addresses import parse_address
from datasets_registry.labelling.clock import read_clock
from datasets_registry.labelling.overlap import Overlap, match_overlapping
from datasets_registry.labelling.times import NS

MINUTE = 60 * NS
ROW = {
    "row": pl.Int64,
    "session": pl.UInt32,
    "start": pl.Int64,
    "duration": pl.Int64,
    "precision": pl.Int64,
    "label": pl.String,
}
FLOW = {"flow": pl.UInt32, "session": pl.UInt32, "first": pl.Int64, "last": pl.Int64}


def flow_key(src: str, sport: int, dst: str, dport: int, proto: int) -> tuple[int, ...]:
    """``KEY_COLUMNS`` of a 5-tuple."""
    (version, *a), (_, *b) = parse_address(src), parse_address(dst)
    (*a, sport), (*b, dport) = sorted([(*a, sport), (*b, dport)])
    return *a, *b, version << 40 | proto << 32 | sport << 16 | dport


def rows_of(*rows: tuple[int | None, int, int, int, str]) -> pl.DataFrame:
    """session, start, duration, precision, label"""
    return pl.DataFrame([(number, *row) for number, row in enumerate(rows)], schema=ROW, orient="row")


def flows_of(*flows: tuple[int, int, int]) -> pl.DataFrame:
    """session, first, last"""
    return pl.DataFrame([(number, *flow) for number, flow in enumerate(flows)], schema=FLOW, orient="row")


def fates(match: Overlap) -> list[str]:
    return match.rows.sort("row")["fate"].to_list()


def pairs(match: Overlap) -> dict[int, tuple[int, str]]:
    return {flow: (row, label) for flow, row, label in match.flows.select("flow", "row", "label").iter_rows()}


def oracle(
    rows: pl.DataFrame, flows: pl.DataFrame
) -> tuple[dict[int, tuple[int, str]], list[str], dict[int, tuple[str | None, str]]]:
    """flow → (row, label), fate of each row, flow → (label, fate) of the others: by the definition, pair by pair."""
    table = rows.to_dicts()
    found, rest, agreed, touched = {}, {}, set(), set()
    for flow in flows.to_dicts():
        mine = [row for row in table if row["session"] == flow["session"]]
        claims = [
            row
            for row in mine
            if flow["first"] <= row["start"] + row["duration"] + row["precision"]
            and flow["last"] >= row["start"] - row["precision"]
        ]
        touched |= {row["row"] for row in claims}
        if claims and len({row["label"] for row in claims}) == 1:
            agreed |= {row["row"] for row in claims}
            nearest = min(claims, key=lambda row: (abs(row["start"] - flow["first"]), row["row"]))
            found[flow["flow"]] = (nearest["row"], nearest["label"])
        else:
            labels = {row["label"] for row in mine}
            rest[flow["flow"]] = (
                labels.pop() if len(labels) == 1 else None,
                "ambiguous_flows" if claims else "unmatched_flows",
            )
    own = {row for row, _ in found.values()}
    fate = [
        "matched"
        if number in own
        else "parts"
        if number in agreed
        else "ambiguous"
        if number in touched
        else "unmatched_rows"
        for number in range(len(table))
    ]
    return found, fate, rest


times = st.integers(0, 40)
some_rows = st.lists(
    st.tuples(st.none() | st.integers(0, 2), times, st.integers(0, 8), st.integers(0, 3), st.sampled_from("xxxy")),
    max_size=12,
)
some_flows = st.lists(
    st.tuples(st.integers(0, 2), times, st.integers(0, 8)).map(lambda flow: (flow[0], flow[1], flow[1] + flow[2])),
    max_size=12,
)


@settings(max_examples=300, deadline=None)
@given(some_rows, some_flows)
def test_matching_is_what_its_definition_says(rows, flows):
    known = {session for session, *_ in flows}
    row_table = rows_of(*((session if session in known else None, *others) for session, *others in rows))
    flow_table = flows_of(*flows)
    match = match_overlapping(row_table, flow_table)
    expected_flows, expected_fates, expected_rest = oracle(row_table, flow_table)
    assert pairs(match) == expected_flows
    assert fates(match) == expected_fates
    assert {
        flow: (label, fate) for flow, label, fate in match.rest.select("flow", "label", "fate").iter_rows()
    } == expected_rest


def test_a_connection_that_the_meter_cut_at_its_fin_has_one_row_of_its_own():
    match = match_overlapping(
        rows_of((0, 100, 50, 1, "x"), (0, 151, 3, 1, "x"), (0, 160, 0, 1, "x")), flows_of((0, 100, 160))
    )
    assert pairs(match) == {0: (0, "x")}
    assert fates(match) == ["matched", "parts", "parts"]


def test_a_row_covers_the_flows_of_two_captures():
    match = match_overlapping(rows_of((0, 100, 50, 1, "x")), flows_of((0, 100, 120), (0, 121, 150)))
    assert pairs(match) == {0: (0, "x"), 1: (0, "x")}


def test_a_row_does_not_claim_a_flow_that_ended_before_it_while_another_of_its_session_goes_on():
    match = match_overlapping(rows_of((0, 50, 0, 1, "x")), flows_of((0, 0, 100), (0, 10, 20)))
    assert pairs(match) == {0: (0, "x")}
    assert match.rest.select("flow", "label", "fate").rows() == [(1, "x", "unmatched_flows")]


def test_rows_that_contradict_each_other_label_nothing():
    match = match_overlapping(
        rows_of((0, 100, 0, 1, "x"), (0, 100, 0, 1, "y"), (1, 100, 0, 1, "x")), flows_of((0, 100, 101), (1, 100, 100))
    )
    assert pairs(match) == {1: (2, "x")}
    assert fates(match) == ["ambiguous", "ambiguous", "matched"]
    assert match.rest.select("flow", "label", "fate").rows() == [(0, None, "ambiguous_flows")]


def test_flows_apart_by_the_idle_timeout_do_not_take_each_others_rows_at_the_precision_of_a_minute():
    apart = 121 * NS
    flows = flows_of(*((0, number * apart, number * apart) for number in range(50)))
    rows = rows_of(*((0, number * apart // MINUTE * MINUTE, 0, MINUTE, "xy"[number % 2]) for number in range(50)))
    assert pairs(match_overlapping(rows, flows)) == {number: (number, "xy"[number % 2]) for number in range(50)}


# --- the clock


@pytest.mark.parametrize("precision", [1000, NS, MINUTE])
@pytest.mark.parametrize("offset", [0, 3600, -3 * 3600, 12 * 3600])
@pytest.mark.parametrize("whole", [True, False])
def test_the_clock_is_read_off_the_shared_tuples(precision: int, offset: int, whole: bool):
    firsts = [10**18 + number * (7 * NS if whole else 7_654_321_987) for number in range(200)]
    flows = flows_of(*((number, first, first + 5) for number, first in enumerate(firsts)))
    truncated = [(first + offset * NS) // precision * precision for first in firsts]
    rows = rows_of(*((number, start, 0, precision, "x") for number, start in enumerate(truncated) if number % 20))
    later = rows_of(*((number, start + 999 * NS, 0, precision, "x") for number, start in enumerate(truncated)))
    clock = read_clock(pl.concat([later, rows]), flows)
    assert clock.votes == 200
    assert clock.offsets[0] == (offset, pytest.approx(0.95))
    assert Counter(dict(clock.offsets)).total() == pytest.approx(1.0)


def test_a_clock_without_shared_tuples_has_no_votes():
    clock = read_clock(rows_of((None, 5, 5, 5, "x")), flows_of((0, 1, 2)))
    assert clock.votes == 0
    assert clock.offsets == ()
