"""``labels.csv``: reading it, its one-line errors, and matching its rows to flows."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from datasets_registry.capture.addresses import parse_address
from datasets_registry.labelling.assignment import Assignment
from datasets_registry.labelling.keys import KEY_COLUMNS
from datasets_registry.labelling.labels_csv import LabelRows, read_labels
from datasets_registry.labelling.match import match_rows
from datasets_registry.labelling.times import NS, parse_times
from janus_bench.errors import DataError

HEADER = "file,ts_start,src_ip,src_port,dst_ip,dst_port,proto,label"
ROW = "a.pcap,1600000000.5,10.0.0.1,1234,10.0.0.2,53,17,benign"
US = 1000


def folder_with(tmp_path: Path, text: str) -> Path:
    (tmp_path / "a.pcap").write_bytes(b"")
    (tmp_path / "labels.csv").write_text(text, encoding="utf-8")
    return tmp_path


def labels(tmp_path: Path, *rows: str, header: str = HEADER) -> LabelRows:
    return read_labels(folder_with(tmp_path, "\n".join([header, *rows]) + "\n"))


def key(src: str, sport: int, dst: str, dport: int, proto: int) -> list[int]:
    (version, *a), (_, *b) = parse_address(src), parse_address(dst)
    (*a, sport), (*b, dport) = sorted([(*a, sport), (*b, dport)])
    return [*a, *b, version << 40 | proto << 32 | sport << 16 | dport]


def flow_table(
    *flows: tuple[int, int],
    file: str = "a.pcap",
    tuple5: tuple[str, int, str, int, int] = ("10.0.0.1", 1234, "10.0.0.2", 53, 17),
) -> pl.DataFrame:
    """``flows``: (first, last) in ns, all of one 5-tuple."""
    schema = {"file": pl.String, **dict.fromkeys(KEY_COLUMNS, pl.UInt64), "first": pl.Int64, "last": pl.Int64}
    return pl.DataFrame([[file, *key(*tuple5), first, last] for first, last in flows], schema=schema, orient="row")


def pairs(match: Assignment) -> dict[int, int]:
    """flow → row"""
    return dict(zip(match.flow.tolist(), match.table["row"].to_list(), strict=True))


# --- reading


def test_reading_gives_keys_times_and_defaults(tmp_path):
    read = labels(
        tmp_path,
        ROW,
        "a.pcap,1600000001.25,10.0.0.2,53,10.0.0.1,1234,udp,DoS Hulk",
        "a.pcap,1600000002.0,::1,7,fe80::A,8,icmpv6,BENIGN",
    )
    rows = read.rows
    assert [tuple(row) for row in rows.select(KEY_COLUMNS).iter_rows()] == [
        tuple(key("10.0.0.1", 1234, "10.0.0.2", 53, 17)),
        tuple(key("10.0.0.1", 1234, "10.0.0.2", 53, 17)),
        tuple(key("::1", 0, "fe80::a", 0, 58)),
    ]
    assert rows["start"].to_list() == [1600000000_500000000, 1600000001_250000000, 1600000002_000000000]
    assert rows["end"].null_count() == 3
    assert rows["attack"].to_list() == [False, True, False]
    assert rows["label"].to_list() == rows["family"].to_list() == ["benign", "DoS Hulk", "benign"]
    assert rows["source"].to_list() == ["a.pcap"] * 3
    assert rows["site"].to_list() == [""] * 3
    assert rows["row"].to_list() == [0, 1, 2]
    assert read.precision == NS // 100


@pytest.mark.parametrize(
    ("start", "end"), [("1600000000", "1600000001.25"), ("1600000000.25", "1600000001"), ("1600000000", "1600000001")]
)
def test_times_are_as_exact_as_the_coarser_of_the_two_columns(tmp_path, start, end):
    rows = labels(tmp_path, f"a.pcap,{start},10.0.0.2,53,10.0.0.1,1234,udp,benign,{end}", header=f"{HEADER},ts_end")
    assert rows.precision == NS


def test_a_host_that_talks_to_itself_has_one_5_tuple_in_both_directions(tmp_path):
    rows = labels(
        tmp_path,
        *(f"a.pcap,1600000000,10.0.0.1,{one},10.0.0.1,{other},udp,benign" for one, other in ((5, 9), (9, 5), (5, 8))),
    )
    found = list(rows.rows.select(KEY_COLUMNS).iter_rows())
    assert found[0] == found[1] == tuple(key("10.0.0.1", 5, "10.0.0.1", 9, 17)) != found[2]


def test_optional_and_unknown_columns_spaces_bom_and_quotes(tmp_path):
    header = "\ufeff" + " , ".join(
        ["extra", *HEADER.split(","), "source", "family", "ts_end", "site", "extra", "^f.*$"]
    )
    read = labels(tmp_path, f'x,{ROW},"s, 1",fam,1600000009, lab ,x,x', f"x,{ROW},,,,,,", header=header)
    assert read.rows["source"].to_list() == ["s, 1", "a.pcap"]
    assert read.rows["family"].to_list() == ["fam", "benign"]
    assert read.rows["site"].to_list() == ["lab", ""]
    assert read.rows["end"].to_list() == [1600000009 * NS, None]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("file,ts_start,src_ip,dst_ip,proto,label\n", ["missing column src_port, dst_port", "labels.csv"]),
        (f"{HEADER},label\n{ROW},scan\n", ["labels.csv: several columns named label: which one counts?"]),
        (f"{HEADER}, label,proto \n{ROW},scan,6\n", ["labels.csv: several columns named proto, label: which one"]),
        (HEADER + "\n", ["no rows"]),
        ("", ["not a readable CSV"]),
        (
            f"{HEADER}\n{ROW}\nabsent.pcap{ROW[6:]}\nother.pcap{ROW[6:]}\n",
            ["2 file(s)", "not in the folder: absent.pcap, other.pcap"],
        ),
        (f"{HEADER}\n../a.pcap{ROW[6:]}\n", ["not in the folder: ../a.pcap"]),
        (
            f"{HEADER}\n{ROW}\n{ROW.replace('1600000000.5', 'noon')}\n",
            ["line 3", "ts_start is 'noon'", "seconds since the epoch"],
        ),
        (f"{HEADER}\n{ROW.replace('1234', '70000')}\n", ["line 2", "src_port is '70000'", "0 to 65535"]),
        (f"{HEADER}\n{ROW.replace(',53,', ',http,')}\n", ["line 2", "dst_port is 'http'"]),
        (f"{HEADER}\n{ROW.replace(',17,', ',quic,')}\n", ["line 2", "proto is 'quic'"]),
        (f"{HEADER}\n{ROW.replace('10.0.0.2', 'host')}\n", ["line 2", "dst_ip is 'host'"]),
        (f"{HEADER}\n{ROW.replace('10.0.0.2', '::1')}\n", ["line 2", "same IP version"]),
        (f"{HEADER}\n{ROW}\n{ROW.replace('benign', '')}\n", ["line 3", "label is empty"]),
    ],
)
def test_mistakes_are_one_line_that_says_where(tmp_path, text, said):
    with pytest.raises(DataError) as error:
        read_labels(folder_with(tmp_path, text))
    message = str(error.value)
    assert "\n" not in message
    for part in said:
        assert part in message


def test_a_folder_without_labels_says_what_is_expected(tmp_path):
    with pytest.raises(DataError, match=r"no labels\.csv; expected .*file, ts_start, src_ip"):
        read_labels(tmp_path)


# --- times


def failing(row: int, text: str) -> Exception:
    return ValueError(f"{row}: {text}")


@pytest.mark.parametrize(
    ("values", "ns", "precision"),
    [
        (["1600000000", "1600000001"], [1600000000 * NS, 1600000001 * NS], NS),
        (["1600000000.123456", "1600000001.5"], [1600000000_123456000, 1600000001_500000000], US),
        (["12.366184", None], [12_366184000, None], US),
        (["1600000000.123456789"], [1600000000_123456789], US),
        (["2017-07-03 11:55"], [1499082900 * NS], 60 * NS),
        (["2017-07-03 11:55:30", "2017-07-03T11:55Z"], [1499082930 * NS, 1499082900 * NS], NS),
        (["2017-07-03T11:55:30.25+00:00"], [1499082930_250000000], NS // 100),
    ],
)
def test_times_and_the_precision_of_their_format(values, ns, precision):
    parsed, found = parse_times(pl.Series("t", values, dtype=pl.String), failing)
    assert parsed.to_list() == ns
    assert found == precision


@pytest.mark.parametrize("text", ["1.6e9", "-5", "2017-13-01 00:00", "03/07/2017 11:55", "1600000000123", "nan"])
def test_times_of_no_known_form_are_refused(text):
    with pytest.raises(ValueError, match="1: "):
        parse_times(pl.Series("t", ["5", text]), failing)


@settings(deadline=None)
@given(st.integers(0, 2**33), st.integers(0, 999_999))
def test_microseconds_are_exact(seconds, micros):
    parsed, _ = parse_times(pl.Series("t", [f"{seconds}.{micros:06d}"]), failing)
    assert parsed.to_list() == [seconds * NS + micros * US]


# --- matching


def test_a_row_matches_its_flow_in_either_direction_within_the_precision(tmp_path):
    start = 1600000000 * NS
    read = labels(
        tmp_path, ROW.replace("00.5,", "00.000000,"), "a.pcap,1600000500.000000,10.0.0.2,53,10.0.0.1,1234,17,attack"
    )
    flows = flow_table(
        (start - US, start + 9 * NS), (start + 500 * NS + US, start + 501 * NS), (start + 700 * NS, start + 700 * NS)
    )
    match = match_rows(read, flows)
    assert pairs(match) == {0: 0, 1: 1}
    assert match.report == {
        "attack": {"matched": 1, "unmatched_rows": 0, "ambiguous": 0},
        "benign": {"matched": 1, "unmatched_rows": 0, "ambiguous": 0},
    }
    late = flow_table((start + 2 * US, start + NS), (start + 500 * NS, start + 501 * NS))
    assert pairs(match_rows(read, late)) == {1: 1}


@pytest.mark.parametrize(
    ("text", "slack"), [("1600000000", NS), ("2020-09-13 12:26", 60 * NS), ("1600000000.0000001", US)]
)
def test_the_precision_is_that_of_the_file(tmp_path, text, slack):
    read = labels(tmp_path, ROW.replace("1600000000.5", text))
    start = read.rows["start"][0]
    for off, matched in ((slack, True), (-slack, True), (slack + 1, False), (-slack - 1, False)):
        flows = pl.concat([flow_table((start + off, start + off)), flow_table((start, start), file="b.pcap")])
        if matched:
            assert pairs(match_rows(read, flows)) == {0: 0}
        else:
            with pytest.raises(DataError):
                match_rows(read, flows)


def test_with_an_end_the_whole_flow_must_lie_inside(tmp_path):
    header = HEADER + ",ts_end"
    read = labels(
        tmp_path,
        f"{ROW.replace('00.5,', '00.000000,')},1600000010.000000",
        f"{ROW.replace('00.5,', '50.000000,')},",
        header=header,
    )
    start = 1600000000 * NS
    assert pairs(match_rows(read, flow_table((start, start + 10 * NS + US), (start + 50 * NS, start + 99 * NS)))) == {
        0: 0,
        1: 1,
    }
    assert pairs(match_rows(read, flow_table((start, start + 11 * NS), (start + 50 * NS, start + 99 * NS)))) == {1: 1}


def test_other_files_and_other_tuples_do_not_match(tmp_path):
    (tmp_path / "b.pcap").write_bytes(b"")
    read = labels(tmp_path, ROW, "b.pcap" + ROW[6:])
    at = read.rows["start"][0]
    others = [
        ("10.0.0.1", 1234, "10.0.0.2", 53, 6),
        ("10.0.0.1", 53, "10.0.0.2", 1234, 17),
        ("10.0.0.1", 1234, "10.0.0.3", 53, 17),
    ]
    flows = pl.concat([*(flow_table((at, at), tuple5=other) for other in others), flow_table((at, at), file="b.pcap")])
    match = match_rows(read, flows)
    assert pairs(match) == {3: 1}
    assert match.report["benign"] == {"matched": 1, "unmatched_rows": 1, "ambiguous": 0}


def test_agreeing_rows_of_one_flow_give_it_the_nearest_and_count_the_others(tmp_path):
    rows = [ROW.replace("00.5,", f"{at},").replace("benign", "scan") for at in ("00.000003", "00.000001", "00.000001")]
    match = match_rows(labels(tmp_path, *rows), flow_table((1600000000 * NS + 2 * US, 1600000001 * NS)))
    assert pairs(match) == {0: 0}
    assert match.report == {"scan": {"matched": 1, "unmatched_rows": 0, "ambiguous": 2}}


def test_of_two_rows_within_the_precision_the_nearer_one_is_the_flow_s(tmp_path):
    rows = [ROW.replace("00.5,", f"00.{hundredths},") for hundredths in ("51", "50", "49")]
    at = 1600000000_502000000  # 8, 2 and 12 ms away, at a precision of 10 ms
    match = match_rows(labels(tmp_path, *rows), flow_table((at, at)))
    assert pairs(match) == {0: 1}
    assert match.report["benign"] == {"matched": 1, "unmatched_rows": 1, "ambiguous": 1}


def test_rows_that_disagree_leave_the_flow_unmatched(tmp_path):
    rows = [ROW, ROW.replace("benign", "attack"), ROW.replace("00.5,", "99.5,")]
    at = 1600000000_500000000
    match = match_rows(labels(tmp_path, *rows), flow_table((at, at), (at + 99 * NS, at + 99 * NS)))
    assert pairs(match) == {1: 2}
    assert match.report["attack"] == {"matched": 0, "unmatched_rows": 0, "ambiguous": 1}
    assert match.report["benign"] == {"matched": 1, "unmatched_rows": 0, "ambiguous": 1}
    with pytest.raises(DataError, match="differ in label or family"):
        match_rows(labels(tmp_path, *rows[:2]), flow_table((at, at)))


@pytest.mark.parametrize("other", ["benign,scan", "attack,web"])
def test_rows_that_disagree_in_label_or_in_family_alone_leave_the_flow_unmatched(tmp_path, other):
    at = 1600000000_500000000
    rows = [f"{ROW},web", f"{ROW.rpartition(',')[0]},{other}", f"{ROW.replace('00.5,', '99.5,')},web"]
    match = match_rows(
        labels(tmp_path, *rows, header=f"{HEADER},family"), flow_table((at, at), (at + 99 * NS, at + 99 * NS))
    )
    assert pairs(match) == {1: 2}


def test_a_row_that_starts_with_the_flow_beats_one_that_only_covers_it(tmp_path):
    header = HEADER + ",ts_end"
    rows = [
        f"{ROW.replace('00.5', '00.000000')},1600000300.000000",
        f"{ROW.replace('00.5', '20.000000').replace('benign', 'attack')},1600000030.000000",
    ]
    start = 1600000000 * NS
    match = match_rows(labels(tmp_path, *rows, header=header), flow_table((start + 20 * NS, start + 30 * NS)))
    assert pairs(match) == {0: 1}
    assert match.report["benign"]["ambiguous"] == 1


def test_each_row_gets_at_most_one_flow(tmp_path):
    read = labels(tmp_path, f"{ROW.replace('00.5', '00.000000')},1600000900.000000", header=HEADER + ",ts_end")
    start = 1600000000 * NS
    assert pairs(match_rows(read, flow_table((start, start + NS), (start + 300 * NS, start + 301 * NS)))) == {0: 0}


def test_clocks_that_are_off_are_told_with_the_offset(tmp_path):
    rows = [ROW.replace("00.5", f"{i:02d}.250000").replace("1234", str(1000 + i)) for i in range(20)]
    read = labels(tmp_path, *rows)
    flows = pl.concat(
        flow_table(
            ((1600000000 + i) * NS + 250_000_000 - 3600 * NS,) * 2, tuple5=("10.0.0.2", 53, "10.0.0.1", 1000 + i, 17)
        )
        for i in range(20)
    )
    with pytest.raises(DataError, match=r"none of its 20 rows .* 20 agree .* ts_start is \+3600 s off .* in 100%"):
        match_rows(read, flows)


def test_a_few_accidental_matches_do_not_hide_a_clock_that_is_off(tmp_path):
    rows = [ROW.replace("00.5", f"{i:02d}.0").replace("1234", str(1000 + i)) for i in range(20)]
    off = [3600] * 18 + [0, 0]
    flows = pl.concat(
        flow_table(((1600000000 + i - off[i]) * NS,) * 2, tuple5=("10.0.0.2", 53, "10.0.0.1", 1000 + i, 17))
        for i in range(20)
    )
    with pytest.raises(DataError, match=r"2 of its 20 rows match .* \+3600 s off .* in 90%"):
        match_rows(labels(tmp_path, *rows), flows)


def test_without_a_common_tuple_or_a_common_offset_the_message_says_so(tmp_path):
    read = labels(tmp_path, ROW, ROW.replace("1234", "1235"))
    with pytest.raises(DataError, match="no row's file and 5-tuple occur there"):
        match_rows(read, flow_table((0, 0), file="b.pcap"))
    flows = pl.concat(
        [flow_table((5 * NS, 5 * NS)), flow_table((999 * NS, 999 * NS), tuple5=("10.0.0.1", 1235, "10.0.0.2", 53, 17))]
    )
    with pytest.raises(DataError, match="no common time offset"):
        match_rows(read, flows)


def by_hand(rows: list[tuple[int, int | None, str]], flows: list[tuple[int, int]], precision: int) -> dict[int, int]:
    """The rule of ``match_rows`` for one 5-tuple, spelled out."""
    claims: dict[int, list[tuple[bool, int, int]]] = {}
    for row, (start, end, _) in enumerate(rows):
        for flow, (first, last) in enumerate(flows):
            inside = first <= start + precision if end is None else last <= end + precision
            if first >= start - precision:
                if inside:
                    claims.setdefault(flow, []).append((abs(first - start) > precision, abs(first - start), row))
                break
    best = {flow: [claim for claim in sorted(mine) if claim[0] == min(mine)[0]] for flow, mine in claims.items()}
    return {flow: mine[0][2] for flow, mine in best.items() if len({rows[row][2] for _, _, row in mine}) == 1}


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(st.integers(0, 1000), st.none() | st.integers(0, 400), st.sampled_from(["benign", "x"])),
        min_size=1,
        max_size=8,
    ),
    st.lists(st.tuples(st.integers(121, 300), st.integers(0, 200)), min_size=1, max_size=5),
)
def test_matching_agrees_with_its_rule(tmp_path_factory, drawn_rows, drawn_flows):
    rows = [(start, None if length is None else start + length, label) for start, length, label in drawn_rows]
    flows, at = [], 0
    for gap, length in drawn_flows:
        flows.append((at + gap, at + gap + length))
        at += gap + length
    lines = [
        f"a.pcap,{start},10.0.0.1,1234,10.0.0.2,53,17,{label},{'' if end is None else end}"
        for start, end, label in rows
    ]
    read = labels(tmp_path_factory.getbasetemp(), *lines, header=HEADER + ",ts_end")
    want = by_hand(rows, flows, 1)
    table = flow_table(*((first * NS, last * NS) for first, last in flows))
    if want:
        assert pairs(match_rows(read, table)) == want
    else:
        with pytest.raises(DataError):
            match_rows(read, table)
