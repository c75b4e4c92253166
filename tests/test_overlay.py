"""``run --overlay``: where captures lie, what that does to context and stream, and that no other run notices."""

from __future__ import annotations

import csv
import json
import math
import re
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.stats import kstest

from datasets_registry.context import part_context
from datasets_registry.ingest import ingest_folder
from datasets_registry.overlay import Shift, lay_over
from datasets_registry.registry import OpenDataset
from datasets_registry.store import FlowStore
from datasets_registry.stream import open_stream, part_stream
from harness.staging import Batch, Part, Stages
from janus_bench.columns import CONTEXT_FEATURES
from janus_bench.errors import UsageError
from janus_bench.records import RunSpec, key_of
from protocols.roles import Surroundings
from protocols.splits import Draw, some_attacks
from reports.render.html.collect import collect
from reports.render.html.page import render_page
from reports.results.measures import measure_of
from reports.results.model import Results
from reports.statistics.compare import rows_between
from reports.tables.leaderboard import build_leaderboard
from tests import context_oracle as oracle
from tests import pcap_builders as make
from tests.conftest import Cli, shared_once
from tests.numbered import write_numbered

CAPTURES = {  # name → site, length in seconds, hosts
    "long.pcap": ("lab", 600, "10.0.0."),
    "short.pcap": ("lab", 90, "10.0.0."),
    "other.pcap": ("lab", 60, "10.0.0."),
    "alone.pcap": ("lab", 200, "10.9.9."),
    "away.pcap": ("office", 300, "10.0.0."),
    "away_too.pcap": ("office", 40, "10.0.0."),
}
YEAR = 365 * 86_400
AUROC = measure_of("auroc")


def write_captures(folder: Path) -> Path:
    """Forty answered flows a capture, years apart, among three hosts; every third flow of the short one is an
    attack."""
    rng = np.random.default_rng(8)
    folder.mkdir(parents=True)
    with (folder / "labels.csv").open("w", newline="") as file:
        labels = csv.writer(file)
        labels.writerow(
            ["file", "ts_start", "src_ip", "src_port", "dst_ip", "dst_port", "proto", "label", "family", "site"]
        )
        for number, (name, (site, length, hosts)) in enumerate(CAPTURES.items()):
            starts = np.sort(np.append(rng.integers(0, length * 10**6, 38), [0, length * 10**6]))
            packets = []
            for place, start in enumerate(starts.tolist()):
                begin = (1_400_000_000 + number * YEAR) * 10**6 + start  # µs
                one, other = (f"{hosts}{host}" for host in rng.permutation(3)[:2] + 1)
                port, service = 20_000 + place, int(rng.choice([53, 123]))
                for sender, receiver, ports, later in (
                    (one, other, (port, service), 0),
                    (other, one, (service, port), 700),
                ):
                    frame = make.ethernet(make.ipv4(sender, receiver, make.UDP, make.udp(*ports, b"x" * 9)))
                    packets.append(((begin + later) * 1000, frame))
                label = "attack" if name == "short.pcap" and place % 3 == 0 else "benign"
                labels.writerow([name, f"{begin / 1e6:.6f}", one, port, other, service, 17, label, label, site])
            (folder / name).write_bytes(make.pcap(sorted(packets)))
    return folder


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> OpenDataset:
    def write(folder: Path) -> None:
        ingest_folder(write_captures(folder / "captures"), folder / "store", name="overlay", stream=True)

    return OpenDataset(FlowStore.open(shared_once(tmp_path_factory, "overlay", write) / "store"))


def files_of(dataset: OpenDataset) -> np.ndarray:
    return dataset.store.labels(["file"])["file"].to_numpy()


def some_of(dataset: OpenDataset, without: str = "") -> np.ndarray:
    """Some flows of every capture but one."""
    chosen = np.flatnonzero(files_of(dataset) != without)
    return chosen[::2]


def test_every_test_capture_begins_at_a_drawn_moment_within_the_longest_of_its_site(dataset):
    everything = lay_over(dataset.store, dataset.index, some_of(dataset), 1)
    assert set(everything) == set(CAPTURES)
    assert everything["long.pcap"].offset == everything["away.pcap"].offset == 0
    by_site = {CAPTURES[name][0]: place.site for name, place in everything.items()}
    assert all(place.site == by_site[CAPTURES[name][0]] for name, place in everything.items())
    assert len(set(by_site.values())) == 2
    drawn = {name: [] for name in CAPTURES}
    for seed in range(60):
        for name, place in lay_over(dataset.store, dataset.index, some_of(dataset), seed).items():
            drawn[name].append(place.offset)
            assert place.first == everything[name].first
    for name, offsets in drawn.items():
        room = max(length for site, length, _ in CAPTURES.values() if site == CAPTURES[name][0]) - CAPTURES[name][1]
        assert min(offsets) >= 0
        assert max(offsets) <= room
        if room:
            assert kstest(np.array(offsets) / room, "uniform").pvalue > 1e-4, name
    assert abs(np.corrcoef(drawn["short.pcap"], drawn["other.pcap"])[0, 1]) < 0.5  # one offset each, not one for all


def test_offsets_follow_from_data_seed_and_capture_and_only_test_captures_have_one(dataset):
    places = lay_over(dataset.store, dataset.index, some_of(dataset), 7)
    assert lay_over(dataset.store, dataset.index, some_of(dataset)[::-1], 7) == places
    fewer = lay_over(dataset.store, dataset.index, some_of(dataset, "other.pcap"), 7)
    assert fewer == {name: place for name, place in places.items() if name != "other.pcap"}
    assert lay_over(dataset.store, dataset.index, some_of(dataset), 8) != places
    assert lay_over(dataset.store, replace(dataset.index, salt=5), some_of(dataset), 7) != places
    shorter = lay_over(dataset.store, dataset.index, some_of(dataset, "long.pcap"), 7)  # D is another capture's then
    assert shorter["alone.pcap"].offset == 0


def expected_context(dataset: OpenDataset, places: dict[str, Shift]) -> np.ndarray:
    """By the definition, of captures that were merged by hand."""
    table, files = dataset.store.flows(), files_of(dataset)
    merged: dict[Any, list[tuple[float, int, oracle.Flow]]] = {}
    for i, row in enumerate(table.iter_rows(named=True)):
        place = places.get(files[i])
        start = row["ts_start"] if place is None else row["ts_start"] - place.first + place.offset
        flow = oracle.Flow(row["src_ip"], row["dst_ip"], row["dst_port"], row["proto"], start, start + 0.0007)
        merged.setdefault(files[i] if place is None else CAPTURES[files[i]][0], []).append((start, i, flow))
    found = np.empty((len(files), len(CONTEXT_FEATURES)))
    for flows in merged.values():
        flows.sort(key=lambda each: each[:2])
        for (_, i, _), row in zip(flows, oracle.context([flow for *_, flow in flows]), strict=True):
            found[i] = [row[name] for name in CONTEXT_FEATURES]
    return found


@pytest.mark.parametrize("without", ["", "short.pcap"])
def test_context_is_that_of_the_captures_of_a_site_merged_by_their_shifted_clocks(dataset, without):
    rows, world = np.arange(dataset.store.n_flows), np.ones(dataset.store.n_flows, np.bool_)
    places = lay_over(dataset.store, dataset.index, some_of(dataset, without), 3)
    found, plain = (part_context(dataset.store, rows, world, each) for each in (places, None))
    assert np.allclose(found, expected_context(dataset, places), rtol=1e-5, atol=1e-5)
    changed = (found != plain).any(axis=1)
    files = files_of(dataset)
    assert not changed[files == "alone.pcap"].any()  # no host of it is in another capture
    assert changed[files == "other.pcap"].mean() > 0.5
    assert changed[files == "away_too.pcap"].mean() > 0.5
    assert not changed[files == without].any()


def test_the_share_of_changed_contexts_is_that_of_the_test_flows(dataset):
    draw = Draw(3, "grouped", "quick")
    rows = dataset.part(draw, "test")
    places = lay_over(dataset.store, dataset.index, rows, 3)
    expected = np.abs(expected_context(dataset, places) - expected_context(dataset, {}))[rows].max(axis=1) > 1e-4
    assert 0 < expected.mean() < 1
    assert dataset.context_changed(draw) == pytest.approx(expected.mean(), abs=1.5 / len(rows))


def test_the_stream_is_one_capture_a_site_in_which_every_capture_keeps_its_packets_and_its_gaps(dataset):
    rows, attack = np.arange(dataset.store.n_flows), dataset.index.attack
    places = lay_over(dataset.store, dataset.index, some_of(dataset, "short.pcap"), 3)
    stream = part_stream(dataset.store, rows, attack, np.random.default_rng(1), training=False, overlay=places)
    stored, captures = open_stream(dataset.store.folder / "stream")
    files = files_of(dataset)
    held = {
        number: frozenset(files[np.unique(stream.flow[stream.capture == number])].tolist())
        for number in np.unique(stream.capture).tolist()
    }
    lab, office = ({name for name in CAPTURES if CAPTURES[name][0] == site} for site in ("lab", "office"))
    assert set(held.values()) == {frozenset(lab - {"short.pcap"}), frozenset({"short.pcap"}), frozenset(office)}
    for number, names in held.items():
        time = stream.time[stream.capture == number]
        assert (np.diff(time) >= 0).all()
        assert time[0] == 0
        for name in names:
            mine = (stream.capture == number) & (files[stream.flow] == name)
            own = slice(captures[name].start, captures[name].stop)
            assert np.array_equal(np.diff(stream.time[mine]), np.diff(stored["time"][own]))
            for column in ("size", "source", "destination_socket"):
                assert np.array_equal(getattr(stream, column)[mine], stored[column][own])
            if name in places:
                others = min(places[other].offset for other in names)
                assert stream.time[mine][0] == places[name].offset - others
    plain = part_stream(dataset.store, rows, attack, np.random.default_rng(1), training=False)
    assert len(np.unique(plain.capture)) == len(CAPTURES)


def test_a_capture_whose_packets_are_out_of_order_keeps_their_order(dataset, monkeypatch):
    stored, captures = open_stream(dataset.store.folder / "stream")
    time = np.array(stored["time"])
    begin = captures["short.pcap"].start
    time[begin + 10] -= 5.0  # a clock that was set back
    monkeypatch.setattr(
        "datasets_registry.stream.open_stream", lambda folder: (dict(stored) | {"time": time}, captures)
    )
    rows = np.arange(dataset.store.n_flows)
    places = lay_over(dataset.store, dataset.index, rows, 3)
    rng = np.random.default_rng(1)
    stream = part_stream(dataset.store, rows, dataset.index.attack, rng, training=False, overlay=places)
    mine = files_of(dataset)[stream.flow] == "short.pcap"
    own = slice(begin, captures["short.pcap"].stop)
    assert np.array_equal(stream.size[mine], stored["size"][own])
    assert np.array_equal(np.diff(stream.time[mine]), np.diff(time[own]))


def order_of(dataset: OpenDataset, part: str) -> list[int]:
    stages = Stages([dataset], [])
    try:
        return stages.flow_ids(Part(dataset.store.hash, Draw(3, "grouped", "quick"), part)).tolist()
    finally:
        stages.close()


def staged(dataset: OpenDataset, part: str, world: Surroundings) -> dict[str, np.ndarray]:
    batch = Batch.of(
        Part(dataset.store.hash, Draw(3, "grouped", "quick"), part),
        frozenset({"context", "stream", "features"}),
        scored=part != "train",
        world=world,
    )
    stages = Stages([dataset], [batch])
    try:
        folder = stages.open({"x": batch}) / "in" / "x"
        return {str(path.relative_to(folder)): np.load(path) for path in folder.rglob("*.npy")}
    finally:
        stages.close()


@pytest.mark.parametrize("part", ["test", "train", "val", "cal_a", "cal_b", "baseline_train", "hints_transductive"])
def test_what_is_tested_is_staged_overlaid_and_nothing_else_is(dataset, part):
    """Under the same names, ids and in the same order: a child is told nothing, and scores are paired."""
    plain, overlaid = (staged(dataset, part, world) for world in (Surroundings(), Surroundings(overlay=True)))
    assert set(plain) == set(overlaid)
    assert {path.split("/")[0] for path in plain} == {"ids", "context", "stream", "features"}
    different = {path for path in plain if not np.array_equal(plain[path], overlaid[path])}
    if part in ("test", "hints_transductive"):
        assert {"context/context.npy", "stream/capture.npy"} <= different
        assert not different & {"ids/ids.npy", "features/features.npy"}
    else:
        assert different == set()


def test_attacks_that_are_left_are_among_the_neighbours_of_what_learns_and_of_nothing_that_is_tested(dataset):
    plain = {part: staged(dataset, part, Surroundings()) for part in ("test", "train", "cal_b")}
    half, whole = (
        {part: staged(dataset, part, Surroundings(attacks_left=share)) for part in plain} for share in (0.5, 1.0)
    )
    for part in plain:
        different = {path for path in plain[part] if not np.array_equal(plain[part][path], whole[part][path])}
        assert different == (set() if part == "test" else {"context/context.npy"})
    files, everything = files_of(dataset), np.ones(dataset.store.n_flows, np.bool_)
    rows = dataset.part(Draw(3, "grouped", "quick"), "train")
    short = rows[files[rows] == "short.pcap"]
    assert len(short)  # benign flows of the only capture with attacks
    order = {flow: place for place, flow in enumerate(order_of(dataset, "train"))}
    expected = part_context(dataset.store, short, everything)
    assert np.array_equal(whole["train"]["context/context.npy"][[order[flow] for flow in short]], expected)
    assert not np.array_equal(half["train"]["context/context.npy"], whole["train"]["context/context.npy"])


def test_whole_sessions_are_left_and_fewer_are_part_of_more(dataset):
    index = dataset.index
    one, two = (set(some_attacks(index, share).tolist()) for share in (0.2, 0.6))
    attacks = set(np.flatnonzero(index.attack).tolist())
    assert one < two < attacks
    assert some_attacks(index, 0.0).size == 0
    assert set(some_attacks(index, 1.0).tolist()) == attacks
    sessions = len(np.unique(index.session[index.attack]))
    assert len(np.unique(index.session[list(one)])) == math.ceil(0.2 * sessions)
    rest = [flow for flow in attacks if flow not in one]
    assert not set(index.session[list(one)]) & set(index.session[rest])


SPEC = RunSpec("d", "1", {}, "transfer", "t", "h", "t", "h", 1, "grouped", "quick", "quick", "target_benign", "cpu")


def test_an_overlay_and_attacks_that_are_left_are_part_of_the_key_and_change_no_other():
    before = {name: value for name, value in asdict(SPEC).items() if name not in ("overlay", "attacks_left")}
    assert SPEC.key == key_of(before)
    assert SPEC.declared == before
    changed = [replace(SPEC, **how) for how in ({"overlay": True}, {"attacks_left": 0.01}, {"attacks_left": 0.05})]
    assert len({SPEC.key, *(each.key for each in changed)}) == 4
    assert len({SPEC.fit_key, *(each.fit_key for each in changed)}) == 4


@pytest.fixture(scope="module")
def commands(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A network without sites whose captures share their servers; run without an overlay, then with one."""
    import sys

    folder = tmp_path_factory.mktemp("overlaid")
    ingest_folder(write_numbered(folder / "captures", 0), folder / "home" / "datasets" / "north", name="north")
    cli = Cli(sys.executable, folder / "home", folder)
    run = ["run", "--protocol", "within", "--detectors", "knn,knn[input=context]", "--seeds", "42"]
    return cli, cli(*run), cli(*run, "--overlay")


def test_a_run_with_an_overlay_says_what_it_changed_and_shares_what_sees_no_neighbours(commands):
    cli, plain, overlaid = commands
    assert plain.returncode == overlaid.returncode == 0, plain.stderr + overlaid.stderr
    (share,) = re.findall(r"--overlay changes the context of (\S+)% of the test flows of north", overlaid.stderr)
    assert 0 < float(share) <= 100
    assert "4 runs ok, 0 not, 0 reused" in plain.stderr
    assert "2 runs ok, 0 not, 2 reused" in overlaid.stderr  # those of knn on features
    rows = [json.loads(path.read_text()) for path in (cli.folder / "runs" / "results").glob("*.json")]
    assert sum("overlay" in row["spec"] for row in rows) == 2
    assert {row["partition"].get("context_changed") is not None for row in rows if "overlay" in row["spec"]} == {True}
    changed = [row["metrics"]["auroc"] for row in rows if "overlay" in row["spec"]]
    assert set(changed).isdisjoint(row["metrics"]["auroc"] for row in rows if "overlay" not in row["spec"])


def test_rows_with_an_overlay_are_a_table_of_their_own(commands):
    cli, _, _ = commands
    said: list[str] = []
    results = Results.open(cli.folder / "runs", said.append)
    overlaid, plain = (build_leaderboard(results.select(name), AUROC) for name in ("within+overlay", "within"))
    assert [board["protocol"] for board in (overlaid, plain)] == ["within+overlay", "within"]
    assert [len(board["rows"]) for board in (overlaid, plain)] == [2, 2]
    (note,) = [note for note in overlaid["notes"] if "--overlay" in note]
    assert re.search(r"changed: north \d+\.\d%$", note)
    assert not any("--overlay" in note for note in plain["notes"])
    said.clear()
    latest = results.select()  # the one that was asked for last, and what else there is
    assert latest.title.startswith("within+overlay (quick, grouped split)")
    assert [line for line in said if "also holds within (" in line]
    with pytest.raises(UsageError, match="overlay is"):
        rows_between(results.select("within"), latest, ())
    page = render_page(collect(latest, {}))
    assert "within+overlay" in page
    assert "lie over each other" in page
