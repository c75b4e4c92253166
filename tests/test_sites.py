"""Sites, sessions and captures that hold the same flows: from the tables of a dataset to its partition."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from datasets_registry.ingest import ingest_folder
from datasets_registry.registry import OpenDataset
from datasets_registry.store import FlowStore
from protocols.flow_index import FlowIndex
from protocols.splits import Caps, Draw, Partition, baseline_parts, draw_partition
from tests.conftest import SHARED_DATA, needs_shared_data, write_example_captures

PARTS = ("train", "val", "cal_a", "cal_b", "test_benign")
SHARE = {"train": 0.50, "val": 0.05, "cal_a": 0.15, "cal_b": 0.10, "test_benign": 0.20}
NO_CAPS = Caps(None, None, None, None, None)
START = 1_600_000_000.0
HASH = "0123456789abcdef"


def rows(captures: Sequence[tuple[str, str, int]], attack: bool = False, seed: int = 0) -> pl.DataFrame:
    """Flows of captures (site, name, number of flows), one after the other in time, each flow with a 5-tuple of its
    own."""
    rng = np.random.default_rng(seed)
    tables = []
    for number, (site, name, n) in enumerate(captures):
        hosts = rng.integers(1, 250, n)
        table = pl.DataFrame(
            {
                "src_ip": [f"10.{seed}.{number % 250}.{host}" for host in hosts],
                "src_port": rng.permutation(60_000)[:n] + 1024,
            }
        )
        start = START + 10_000.0 * number + np.sort(rng.random(n)) * 9_000
        tables.append(
            table.with_columns(ts_start=pl.Series(start), source=pl.lit(name), file=pl.lit(name), site=pl.lit(site))
        )
    fixed = {
        "dst_ip": pl.lit("192.0.2.1"),
        "dst_port": pl.lit(443, pl.Int64),
        "proto": pl.lit(6),
        "attack": pl.lit(attack),
    }
    return pl.concat(tables).with_columns(family=pl.lit("scan" if attack else "web"), **fixed)


def index_of(table: pl.DataFrame, name: str = "this dataset") -> FlowIndex:
    table = table.with_row_index("flow_id")
    return FlowIndex.from_tables(table, table, HASH, name)


def sizes(index: FlowIndex, partition: Partition, site: str) -> dict[str, int]:
    """Benign flows of the site in every part."""
    number = index.sites.index(site)
    return {name: int(np.count_nonzero(index.site[partition.parts[name]] == number)) for name in PARTS}


# -- sessions: nothing of a 5-tuple is on two sides --------------------------------------------------------------------


def with_sisters() -> pl.DataFrame:
    """Six captures of two sites in which every 5-tuple has flows at three moments, one of them in the other
    direction."""
    once = rows(
        [("north", f"n{number}", 300) for number in range(3)] + [("south", f"s{number}", 200) for number in range(12)]
    )
    back = once.rename({"src_ip": "dst_ip", "dst_ip": "src_ip", "src_port": "dst_port", "dst_port": "src_port"}).select(
        once.columns
    )
    later = [(table, pl.col("ts_start") + delay) for table, delay in ((once, 0.0), (once, 700.0), (back, 1_900.0))]
    return pl.concat([table.with_columns(ts_start=moment) for table, moment in later]).sort("file", "ts_start")


def connections(table: pl.DataFrame) -> list[frozenset[object]]:
    """The file and 5-tuple of each flow, stated with sets of socket texts."""
    columns = table.select("file", "proto", "src_ip", "src_port", "dst_ip", "dst_port")
    return [
        frozenset({("file", file), ("proto", proto), ("socket", a, p), ("socket", b, q)})
        for file, proto, a, p, b, q in columns.iter_rows()
    ]


@pytest.mark.parametrize("split", ["grouped", "random", "time"])
def test_sister_flows_of_a_connection_are_never_on_two_sides(split):
    table = with_sisters()
    key = connections(table)
    index = index_of(table)
    for seed in (1, 2):
        partition = draw_partition(index, Draw(seed, split, "paper"), NO_CAPS)
        for parts in (
            {name: partition.parts[name] for name in PARTS},
            baseline_parts(index, partition.parts["cal_a"], seed),
        ):
            held = [{key[flow] for flow in ids} for ids in parts.values()]
            assert all(held)
            assert len(set().union(*held)) == sum(map(len, held))


def test_benign_flows_of_a_session_with_attacks_are_tested_with_them():
    benign = rows([("", f"c{number}", 200) for number in range(12)])
    attack = benign[::40].with_columns(ts_start=pl.col("ts_start") + 30.0, attack=pl.lit(True), family=pl.lit("scan"))
    table = pl.concat([benign, attack])
    index = index_of(table)
    torn = set(np.flatnonzero(~index.attack)[::40].tolist())
    for split, contamination in (("grouped", None), ("random", None), ("random", 0.1)):
        parts = draw_partition(index, Draw(3, split, "paper", contamination=contamination), NO_CAPS).parts
        assert torn <= set(parts["test_benign"].tolist())
        assert not index.attack[parts["train"]].any()


def test_flows_of_other_protocols_between_the_same_sockets_are_sessions_of_their_own():
    table = rows([("", "a", 50)])
    both = index_of(pl.concat([table, table.with_columns(proto=pl.lit(17))]))
    assert len(np.unique(both.session)) == 100


# -- captures that hold the same flows ---------------------------------------------------------------------------------


def copied(table: pl.DataFrame, of: str, to: str, n: int, delay: float, swapped: bool = False) -> pl.DataFrame:
    """``table`` and, in the capture ``to``, copies of the first ``n`` flows of the capture ``of``, ``delay`` seconds
    later."""
    copies = table.filter(pl.col("source") == of)[:n].with_columns(
        ts_start=pl.col("ts_start") + delay, source=pl.lit(to), file=pl.lit(to)
    )
    if swapped:
        names = {"src_ip": "dst_ip", "dst_ip": "src_ip", "src_port": "dst_port", "dst_port": "src_port"}
        copies = copies.rename(names).select(table.columns)
    return pl.concat([table, copies]).sort("file", "ts_start")


def twice(table: pl.DataFrame) -> pl.DataFrame:
    """Every pair (one, other) of the same 5-tuple, in either direction, in two files, that start within a second of
    each other."""
    ends = [pl.concat_str(f"{side}_ip", f"{side}_port", separator=" ") for side in ("src", "dst")]
    flows = table.with_row_index("id").select(
        "id", "file", "proto", "ts_start", a=pl.min_horizontal(ends), b=pl.max_horizontal(ends)
    )
    pairs = flows.join(flows, on=["a", "b", "proto"], suffix="_other")
    return pairs.filter(
        (pl.col("file") < pl.col("file_other")) & ((pl.col("ts_start") - pl.col("ts_start_other")).abs() <= 1.0)
    )


def sides(index: FlowIndex, partition: Partition) -> np.ndarray:
    """The part of each flow, attacks being tested; −1 where it was left out."""
    side = np.full(len(index.attack), -1)
    for number, name in enumerate(PARTS):
        side[partition.parts[name]] = number
    side[partition.parts["test_attack"]] = PARTS.index("test_benign")
    return side


@pytest.mark.parametrize(("shared", "together"), [(2, False), (9, False), (10, True), (60, True)])
def test_captures_are_one_from_five_percent_of_the_smaller_one_on(shared, together):
    table = copied(
        rows([("", f"c{number:02}", 400) for number in range(20)] + [("", "small", 200 - shared)]),
        "c03",
        "small",
        shared,
        0.4,
    )
    index = index_of(table)
    assert dict(index.same) == ({"small": "c03"} if together else {})
    units = [set(index.capture[table["source"].to_numpy() == name].tolist()) for name in ("c03", "small")]
    assert (units[0] == units[1]) == together


@pytest.mark.parametrize(
    ("delay", "swapped", "together"), [(0.0, False, True), (-0.9, True, True), (1.5, False, False)]
)
def test_the_same_flow_starts_within_a_second_in_either_direction(delay, swapped, together):
    table = copied(rows([("", f"c{number:02}", 400) for number in range(12)]), "c03", "copy", 100, delay, swapped)
    index = index_of(table)
    assert dict(index.same) == ({"copy": "c03"} if together else {})


@pytest.mark.parametrize(("delay", "together"), [(1.0, True), (1.001, False)])
def test_a_second_to_the_dot_is_still_the_same_flow(delay, together):
    whole_seconds = rows([("", f"c{number:02}", 400) for number in range(12)]).with_columns(pl.col("ts_start").floor())
    assert dict(index_of(copied(whole_seconds, "c03", "copy", 100, delay)).same) == (
        {"copy": "c03"} if together else {}
    )


@pytest.mark.parametrize(("delay", "owner"), [(0.4, "c03"), (-0.4, "z")])
def test_a_flow_that_two_captures_share_is_of_the_one_that_saw_it_first(delay, owner):
    # too few to make the two captures one
    table = copied(rows([("", name, 400) for name in ("c03", "c04", "z")]), "c03", "z", 2, delay)
    index = index_of(table)
    assert not index.same
    # of a name's last flow, which nobody shares
    capture = dict(zip(table["source"], index.capture.tolist(), strict=True))
    both = table.with_columns(session=pl.Series(index.session), capture=pl.Series(index.capture))
    shared = both.filter(pl.col("source").n_unique().over("session") == 2)
    assert shared.height == 4
    assert set(shared["capture"]) == {capture[owner]}


def test_two_flows_in_common_are_chance_however_small_the_captures():
    table = copied(rows([("", f"c{number:02}", 10) for number in range(12)]), "c03", "copy", 2, 0.0)
    assert not index_of(table).same


def test_a_chain_of_captures_is_one_group_named_after_the_first():
    table = rows([("", f"c{number:02}", 100) for number in range(12)])
    for of, to in (("c05", "x"), ("x", "c02"), ("c09", "z")):
        table = copied(table, of, to, 50, 0.1)
    assert dict(index_of(table).same) == {"c05": "c02", "x": "c02", "z": "c09"}


def test_one_flow_of_a_capture_is_not_many_because_another_repeats_it():
    """Twenty starts of one 5-tuple within a second, in a capture of 20 flows, and two of them in another, each between
    two: two flows are shared."""
    burst = rows([("", "burst", 1)])
    burst = pl.concat([burst.with_columns(ts_start=pl.col("ts_start") + 0.01 * number) for number in range(20)])
    singles = burst[[5, 15]].with_columns(
        file=pl.lit("other"), source=pl.lit("other"), ts_start=pl.col("ts_start") + 0.005
    )
    index = index_of(pl.concat([burst, rows([("", "other", 20)], seed=1), singles]))
    assert not index.same


@settings(max_examples=25, deadline=None)
@given(
    captures=st.lists(st.integers(20, 200), min_size=2, max_size=16),
    copies=st.lists(
        st.tuples(st.integers(0, 15), st.integers(0, 15), st.integers(1, 60), st.floats(-0.9, 0.9), st.booleans()),
        max_size=5,
    ),
    split=st.sampled_from(["grouped", "random", "time"]),
    seed=st.integers(0, 99),
)
def test_no_flow_is_in_training_and_its_copy_in_test(captures, copies, split, seed):
    table = rows([("north" if number % 3 else "south", f"c{number:02}", n) for number, n in enumerate(captures)])
    for of, to, n, delay, swapped in copies:
        if of % len(captures) != to % len(captures):
            table = copied(table, f"c{of % len(captures):02}", f"c{to % len(captures):02}", n, delay, swapped)
    attacks = copied(rows([("", "a", 50)], attack=True, seed=2), "a", "b", 20, 0.2)
    table = pl.concat([table, attacks])
    index = index_of(table)
    side = sides(index, draw_partition(index, Draw(seed, split, "paper"), NO_CAPS))
    pairs = twice(table)
    one, other = side[pairs["id"].to_numpy()], side[pairs["id_other"].to_numpy()]
    assert (one == other)[(one >= 0) & (other >= 0)].all()


def test_copies_of_a_reserved_attack_never_test_what_it_contaminates():
    attacks = copied(rows([("", "a", 300)], attack=True, seed=2), "a", "b", 299, 0.2)
    table = pl.concat([rows([("", f"c{number:02}", 300) for number in range(12)]), attacks])
    index = index_of(table)
    partition = draw_partition(index, Draw(1, "grouped", "paper", contamination=0.1), NO_CAPS)
    trained, tested = (set(partition.parts[name].tolist()) for name in ("train", "test_attack"))
    assert partition.contaminants > 100
    assert not [
        pair for pair in twice(table).select("id", "id_other").iter_rows() if trained & set(pair) and tested & set(pair)
    ]


@needs_shared_data
@pytest.mark.parametrize(("name", "copies"), [("cicddos2019_slice", 363), ("mobile_voice", 230)])
def test_no_flow_of_a_real_network_is_in_training_and_its_copy_in_test(name, copies):
    """The rows of the label file stand for the flows."""
    table = pl.read_csv(SHARED_DATA / "domains" / name / "labels.csv", infer_schema_length=None)
    table = table.with_columns(attack=pl.col("label") != "benign", source=pl.coalesce("source", "file")).sort(
        "file", "ts_start"
    )
    pairs = twice(table)
    assert pairs["id"].n_unique() >= copies
    assert pairs["id_other"].n_unique() >= copies
    index = index_of(table)
    assert len(index.same) == 1
    side = sides(index, draw_partition(index, Draw(42, "grouped", "quick"), NO_CAPS))
    assert np.array_equal(side[pairs["id"].to_numpy()], side[pairs["id_other"].to_numpy()])


def test_a_capture_added_twice_is_one_group_of_the_truth(tmp_path):
    """From the folder to what scores are joined to."""
    captures = write_example_captures(tmp_path / "captures")
    labels = pl.read_csv(captures / "labels.csv", infer_schema=False).with_columns(site=pl.lit("lab"))
    first, *_ = sorted(labels["file"].unique())
    shutil.copy(captures / first, captures / "zz_again.pcap")
    again = labels.filter(pl.col("file") == first).with_columns(
        file=pl.lit("zz_again.pcap"), source=pl.lit("zz_again.pcap"), site=pl.lit("other")
    )
    pl.concat(
        [labels.with_columns(source=pl.col("file")), again.select(*labels.columns, "source")], how="diagonal"
    ).write_csv(captures / "labels.csv")
    ingest_folder(captures, tmp_path / "store", name="twice")
    dataset = OpenDataset(FlowStore.open(tmp_path / "store"))
    truth = dataset.truth
    assert truth.columns == ["flow_id", "attack", "family", "source", "site", "group", "n_packets"]
    twin, rest = truth.filter(pl.col("source") == "zz_again.pcap"), truth.filter(pl.col("source") != "zz_again.pcap")
    assert len(twin) == labels.filter(pl.col("file") == first).height
    assert set(twin["group"]) == {first}
    assert rest["group"].equals(rest["source"].rename("group"))
    assert set(twin["site"]) == {"other"}
    assert set(rest["site"]) == {"lab"}
    side = sides(dataset.index, dataset.partition(Draw(42, "grouped", "paper")))
    flows = dataset.store.flows()
    found = twice(flows.join(truth.select("flow_id", file="source"), on="flow_id"))
    assert len(found) >= len(twin)
    assert np.array_equal(side[found["id"].to_numpy()], side[found["id_other"].to_numpy()])


# -- sites: each gives its share to every part -------------------------------------------------------------------------

LAB = [("lab", f"lab{number:02}", 250) for number in range(30)]
SERVER = [("server", "server", 1000)]
PLANT = [("plant", f"plant{number}", 400) for number in range(4)]


def test_every_site_gives_its_shares_to_every_part():
    index = index_of(pl.concat([rows(LAB + SERVER + PLANT), rows([("", "scan", 500)], attack=True, seed=2)]))
    for seed in range(5):
        partition = draw_partition(index, Draw(seed, "grouped", "paper"), NO_CAPS)
        assert partition.kind == "grouped and time blocks"
        assert partition.reason == "plant: 4 benign captures, fewer than 10; server: 1 benign capture, fewer than 10"
        for site, n, coarse in (("lab", 7500, 250), ("server", 1000, 5), ("plant", 1600, 20)):
            held = sizes(index, partition, site)
            assert sum(held.values()) == n
            assert all(abs(held[name] - share * n) <= coarse for name, share in SHARE.items())
        lab = [
            set(index.capture[ids][index.site[ids] == index.sites.index("lab")])
            for ids in (partition.parts[name] for name in PARTS)
        ]
        assert sum(map(len, lab)) == 30  # whole captures
        assert list(partition.parts["test_attack"]) == list(np.flatnonzero(index.attack))


def test_a_site_whose_large_captures_leave_nothing_to_a_part_is_divided_by_time():
    """Ten captures, but nine tenths of its flows are in one of them."""
    lopsided = [("port", "port0", 1800), *(("port", f"port{number}", 20) for number in range(1, 11))]
    index = index_of(rows(LAB + lopsided))
    for seed in range(5):
        partition = draw_partition(index, Draw(seed, "grouped", "paper"), NO_CAPS)
        assert partition.kind == "grouped and time blocks"
        assert partition.reason.startswith("port: grouped by capture, ")
        held = sizes(index, partition, "port")
        assert abs(held["test_benign"] - 400) <= 20


def test_of_several_sites_each_gives_every_part_at_least_half_of_its_due():
    """Large and small captures, so that whole ones often miss a part by much; blocks of time miss by one flow a
    capture."""
    port = [("port", f"port{number:02}", 300 if number < 4 else 25) for number in range(16)]
    index = index_of(rows([("lab", f"lab{number:02}", 600) for number in range(30)] + port))
    kinds = set()
    for seed in range(25):
        partition = draw_partition(index, Draw(seed, "grouped", "paper"), NO_CAPS)
        held = sizes(index, partition, "port")
        kinds.add(partition.kind)
        slack = 0 if partition.kind == "grouped" else len(port)
        assert all(held[name] >= SHARE[name] * 1500 / 2 - slack for name in PARTS)
    assert kinds == {"grouped", "grouped and time blocks"}


def test_all_sites_by_time_or_all_by_capture_are_called_so():
    blocks = draw_partition(index_of(rows(SERVER + PLANT)), Draw(1, "grouped", "paper"), NO_CAPS)
    assert blocks.kind == "time blocks"
    assert "plant: " in blocks.reason
    assert "server: " in blocks.reason
    other = [("other", f"other{number:02}", 250) for number in range(30)]
    grouped = draw_partition(index_of(rows(LAB + other)), Draw(1, "grouped", "paper"), NO_CAPS)
    assert (grouped.kind, grouped.reason) == ("grouped", "")


def test_another_site_does_not_change_how_a_site_is_divided():
    """Each has its own generator; the content hash, which would change with the dataset, is held here."""
    alone, beside = index_of(rows(LAB + PLANT)), index_of(rows(LAB + PLANT + SERVER))
    parts = [draw_partition(index, Draw(4, "grouped", "paper"), NO_CAPS).parts for index in (alone, beside)]
    n = len(alone.attack)
    assert all(np.array_equal(parts[0][name], parts[1][name][parts[1][name] < n]) for name in PARTS)


def test_a_cap_on_the_test_leaves_a_small_site_in_it():
    small = [("small", "small", 300)]
    index = index_of(rows([("lab", f"lab{number:02}", 900) for number in range(40)] + SERVER + small))
    partition = draw_partition(index, Draw(5, "grouped", "quick"))
    assert len(partition.parts["test_benign"]) == 2000
    uncapped = draw_partition(index, Draw(5, "grouped", "quick"), NO_CAPS)
    for site in ("server", "small"):  # 200 and 60 of them, less than what a site keeps
        kept = sizes(index, partition, site)["test_benign"]
        assert kept >= min(195, sizes(index, uncapped, site)["test_benign"])
    every = draw_partition(replace(index, site=np.zeros_like(index.site), sites=("",)), Draw(5, "grouped", "quick"))
    assert len(every.parts["test_benign"]) == 2000


def test_a_capture_has_the_site_of_its_benign_flows():
    benign = rows([("lab", f"lab{number:02}", 250) for number in range(12)] + PLANT)
    foreign = rows([("elsewhere", "lab00", 900)], attack=True, seed=2)
    index = index_of(pl.concat([benign, foreign]))
    assert {
        index.sites[number]
        for number in index.site[np.concatenate([np.arange(250), np.arange(len(benign), len(index.attack))])]
    } == {"lab"}


@needs_shared_data
def test_the_web_server_laboratory_of_mixed_web_is_tested():
    """Its one benign capture went to training as a whole when sites were not known."""
    table = pl.read_csv(Path(SHARED_DATA, "domains", "mixed_web", "labels.csv"), infer_schema_length=None)
    table = table.with_columns(attack=pl.col("label") != "benign", source=pl.coalesce("source", "file")).sort(
        "file", "ts_start"
    )
    index = index_of(table)
    for seed in (42, 43, 44):
        held = sizes(index, draw_partition(index, Draw(seed, "grouped", "quick"), NO_CAPS), "web_server_lab")
        assert 0.15 <= held["test_benign"] / sum(held.values()) <= 0.25


def test_sites_of_equal_captures_are_divided_differently():
    index = index_of(rows([(site, f"{site}{number}", 300) for site in ("north", "south") for number in range(12)]))
    for seed in (1, 2, 3):
        parts = draw_partition(index, Draw(seed, "grouped", "paper"), NO_CAPS).parts
        north, south = (
            set(np.unique(index.capture[parts["train"][index.site[parts["train"]] == number]]) % 12)
            for number in (0, 1)
        )
        assert north != south
