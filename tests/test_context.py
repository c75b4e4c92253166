"""The input ``context``: against a slow independent implementation, on generated flows and on real networks; what it
may and may not tell."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from datasets_registry.context import context_features, first_answers, part_context
from datasets_registry.ingest import ingest_folder
from datasets_registry.registry import OpenDataset
from datasets_registry.store import FlowStore
from detectors.shared.inputs import INPUTS
from harness.staging import Batch, Part, Stages
from janus_bench.columns import CONTEXT_FEATURES
from janus_bench.params import build_params
from janus_bench.plugins import detector_entries, load_detector
from protocols.splits import Draw
from tests import context_oracle as oracle
from tests.factories import broken_by_parameters
from tests.numbered import number_of, write_numbered
from tests.test_who_is_given_what import numbered_home  # noqa: F401  a fixture

DOMAINS = Path(__file__).resolve().parents[1].parent / "shared" / "data" / "domains"
NETWORKS = (
    sorted(path.name for path in DOMAINS.iterdir() if (path / "labels.csv").is_file()) if DOMAINS.is_dir() else []
)


def check(flows: list[oracle.Flow], found: np.ndarray) -> None:
    expected = oracle.context(flows)
    assert set(expected[0]) == set(CONTEXT_FEATURES)
    wanted = np.array([[row[name] for name in CONTEXT_FEATURES] for row in expected])
    wrong = (np.abs(found - wanted) > 1e-6 * (1 + np.abs(wanted))).any(axis=0)  # float32
    assert [name for name, bad in zip(CONTEXT_FEATURES, wrong, strict=True) if bad] == []


def as_arrays(flows: list[oracle.Flow]) -> tuple:
    number = {
        host: place for place, host in enumerate(sorted({host for flow in flows for host in (flow.src, flow.dst)}))
    }
    column = lambda name: np.array([getattr(flow, name) for flow in flows])  # noqa: E731
    hosts = tuple(np.array([number[getattr(flow, side)] for flow in flows]) for side in ("src", "dst"))
    answered = np.array([np.inf if flow.answered is None else flow.answered for flow in flows])
    return hosts, column("dport"), column("proto"), column("start"), answered


@pytest.mark.parametrize("seed", range(6))
def test_generated_flows_have_the_context_that_its_definition_gives_them(seed):
    """Bursts at one time, pauses of hours, busy and idle hosts, more than 256 flows of a key, answers late, never and
    at once."""
    rng = np.random.default_rng(seed)
    hosts = [f"10.0.0.{i}" for i in range(1 + rng.integers(1, 12))]
    gaps = rng.choice(
        [0.0, 1e-6, 0.01, 0.5, 9.9, 10.0, 400.0, 4000.0, 11_000.0],
        500,
        p=[0.3, 0.1, 0.3, 0.19, 0.03, 0.03, 0.03, 0.01, 0.01],
    )
    start = 1.5e9 + np.cumsum(gaps)
    answered = [None if rng.random() < 0.3 else at + rng.choice([0.0, 0.003, 2.0, 200.0]) for at in start]
    flows = [
        oracle.Flow(
            *rng.choice(hosts, 2),
            int(rng.choice([22, 80, 443, *range(1000, 1010)])),
            int(rng.choice([6, 17])),
            at,
            answer,
        )
        for at, answer in zip(start, answered, strict=True)
    ]
    numbers, dport, proto, times, answers = as_arrays(flows)
    check(flows, context_features(numbers, dport, proto, times, answers))


@pytest.mark.skipif(not NETWORKS, reason=f"no real captures at {DOMAINS}")
@pytest.mark.parametrize("name", NETWORKS)
def test_every_real_network_has_the_context_that_its_definition_gives_it(name, real_store):
    """In both worlds; of large captures the first three hundred flows."""
    store = real_store(name)
    table, labels = store.flows(), store.labels()
    start, file, attack = table["ts_start"].to_numpy(), labels["file"].to_numpy(), labels["attack"].to_numpy()
    answered = first_answers(store, start)
    for world in (np.ones(len(start), np.bool_), ~attack):
        found = part_context(store, np.flatnonzero(world), world)
        place = np.cumsum(world) - 1
        for capture in np.unique(file[world])[:6]:
            chosen = np.flatnonzero(world & (file == capture))
            chosen = chosen[np.argsort(start[chosen], kind="stable")][:300]
            flows = [
                oracle.Flow(
                    row["src_ip"],
                    row["dst_ip"],
                    row["dst_port"],
                    row["proto"],
                    row["ts_start"],
                    None if np.isinf(answer) else answer,
                )
                for row, answer in zip(table[chosen].iter_rows(named=True), answered[chosen], strict=True)
            ]
            check(flows, found[place[chosen]])


@dataclass
class Network:
    """Flows in memory, as a store gives them; none was ever answered."""

    table: pl.DataFrame
    files: list[str]
    shards: list[Any] = field(default_factory=list)

    def flows(self, columns: list[str]) -> pl.DataFrame:
        return self.table.select(columns)

    def labels(self, columns: list[str]) -> pl.DataFrame:
        return pl.DataFrame({"file": self.files})

    def context(self, world: np.ndarray | None = None, rows: np.ndarray | None = None) -> np.ndarray:
        world = np.ones(len(self.files), np.bool_) if world is None else world
        return part_context(self, np.flatnonzero(world) if rows is None else rows, world)


@pytest.fixture
def network(monkeypatch: pytest.MonkeyPatch) -> Network:
    """Three captures of 100 flows among six hosts, at times that a binary fraction holds exactly."""
    monkeypatch.setattr("datasets_registry.context.first_answers", lambda store, start: np.full(len(start), np.inf))
    rng, n = np.random.default_rng(5), 300
    table = pl.DataFrame(
        {
            "src_ip": rng.choice([f"192.0.2.{i}" for i in range(6)], n),
            "dst_ip": rng.choice([f"192.0.2.{i}" for i in range(6)], n),
            "dst_port": rng.choice([22, 53, 443], n).astype(np.uint16),
            "proto": rng.choice([6, 17], n).astype(np.uint8),
            "ts_start": np.tile(rng.permutation(3200)[:100] / 8, 3) + 1.6e9,
        }
    )
    return Network(table, [f"{i // 100}.pcap" for i in range(n)])


def test_attacks_change_nothing_of_what_a_detector_learns_from(network):
    """Whether they are there, who made them, and how many: what learns and calibrates lies in a world without them."""
    attack = np.arange(300) % 3 == 0
    expected = network.context(~attack)
    others = network.table.with_columns(
        src_ip=pl.when(pl.lit(attack)).then(pl.lit("198.51.100.7")).otherwise("src_ip"),
        ts_start=pl.when(pl.lit(attack)).then(pl.col("ts_start") + 1).otherwise("ts_start"),
    )
    assert np.array_equal(Network(others, network.files).context(~attack), expected)
    fewer = Network(
        network.table.filter(~attack), [file for file, bad in zip(network.files, attack, strict=True) if not bad]
    )
    assert np.array_equal(fewer.context(), expected)
    assert not np.array_equal(network.context()[~attack], expected)  # in the world of the test they do


def test_context_tells_neither_order_nor_names_nor_dates(network):
    expected = network.context()
    order = np.random.default_rng(6).permutation(300)
    mixed = Network(network.table[order], [network.files[i] for i in order])
    assert np.array_equal(mixed.context(), expected[order])
    renamed = network.table.with_columns(pl.col("src_ip", "dst_ip").str.replace("192.0.2.", "2001:db8::", literal=True))
    assert np.array_equal(Network(renamed, [f"z{3 - int(file[0])}" for file in network.files]).context(), expected)
    later = network.table.with_columns(ts_start=pl.col("ts_start") + 86400 * 365)
    assert np.array_equal(Network(later, network.files).context(), expected)


def test_a_capture_is_a_world_of_its_own(network):
    for capture in range(3):
        own = slice(100 * capture, 100 * capture + 100)
        alone = Network(network.table[own], network.files[own]).context()
        assert np.array_equal(alone, network.context()[own])


def test_rows_are_given_in_the_order_that_was_asked_for(network):
    rows = np.array([250, 3, 199, 4])
    assert np.array_equal(network.context(rows=rows), network.context()[rows])


@pytest.mark.parametrize("contamination", [0.0, 0.1])
def test_what_is_staged_lies_among_benign_flows_and_what_is_tested_among_all(numbered_home, contamination):  # noqa: F811
    dataset = OpenDataset(FlowStore.open(numbered_home / "datasets" / "north"))
    draw = Draw(7, "grouped", "quick", contamination=contamination)
    table, labels = dataset.store.flows(), dataset.store.labels()
    benign = (labels["label"] == "benign").to_numpy()
    assert 0 < benign.sum() < len(benign)
    in_training = np.zeros(len(benign), np.bool_)
    in_training[dataset.partition(draw).parts["train"]] = True
    assert (in_training & ~benign).any() == bool(contamination)
    for name in ("train", "val", "cal_a", "cal_b", "test", "baseline_train", "baseline_val", "baseline_cal_a"):
        part = Part(dataset.store.hash, draw, name)
        batch = Batch.of(part, frozenset({"context"}), scored=name in ("cal_a", "cal_b", "test"))
        stages = Stages([dataset], [batch])
        try:
            folder = stages.open({"x": batch})
            found, rows = np.load(folder / "in" / "x" / "context" / "context.npy"), stages.flow_ids(part)
        finally:
            stages.close()
        world = np.ones(len(benign), np.bool_) if name == "test" else benign | in_training
        for file in labels["file"].unique().to_list():
            mine = np.flatnonzero(world & (labels["file"] == file).to_numpy())
            mine = mine[np.argsort(table["ts_start"].to_numpy()[mine], kind="stable")]
            flows = [
                oracle.Flow(
                    row["src_ip"], row["dst_ip"], row["dst_port"], row["proto"], row["ts_start"], row["ts_start"] + 0.01
                )
                for row in table[mine].iter_rows(named=True)
            ]
            place = {flow: at for at, flow in enumerate(rows)}
            kept = [at for at, flow in enumerate(mine) if flow in place]
            expected = oracle.context(flows)
            wanted = np.array([[expected[at][column] for column in CONTEXT_FEATURES] for at in kept])
            if kept:
                assert np.allclose(found[[place[mine[at]] for at in kept]], wanted, rtol=1e-5, atol=1e-5)


def staged_by_number(dataset: OpenDataset, names: Sequence[str]) -> dict[str, dict[int, np.ndarray]]:
    """Part → number of a flow (``tests.numbered``) → its context, as a detector is given it."""
    offsets, packets = dataset.store.shards[0].arrays()
    found: dict[str, dict[int, np.ndarray]] = {}
    for name in names:
        part = Part(dataset.store.hash, Draw(7, "grouped", "quick"), name)
        batch = Batch.of(part, frozenset({"context"}), scored=name == "test")
        stages = Stages([dataset], [batch])
        try:
            matrix = np.load(stages.open({"x": batch}) / "in" / "x" / "context" / "context.npy")
            numbers = [number_of(tuple(packets["size"][offsets[i] : offsets[i] + 2])) for i in stages.flow_ids(part)]
        finally:
            stages.close()
        found[name] = dict(zip(numbers, matrix, strict=True))
    return found


@pytest.fixture(scope="module")
def relabelled(tmp_path_factory: pytest.TempPathFactory) -> tuple[OpenDataset, OpenDataset, OpenDataset]:
    """A network as it is; with every third benign flow called an attack and half of the attacks benign; and with most
    attacks taken out of the labels and the others under another family."""
    folder = tmp_path_factory.mktemp("relabelled")
    opened = []
    for name in ("plain", "mixed", "fewer"):
        captures = write_numbered(folder / name, 0)
        table = pl.read_csv(captures / "labels.csv")
        place, attack = pl.int_range(pl.len()), pl.col("label") == "attack"
        if name == "mixed":
            other = pl.when(attack).then(pl.lit("benign")).otherwise(pl.lit("attack"))
            table = table.with_columns(label=pl.when(place % 3 == 0).then(other).otherwise("label"))
        elif name == "fewer":
            renamed = pl.when(attack).then(pl.lit("renamed")).otherwise("family")
            table = table.filter(~attack | (place % 5 == 0)).with_columns(family=renamed)
        table.write_csv(captures / "labels.csv")
        ingest_folder(captures, folder / "stores" / name, name=name)
        opened.append(OpenDataset(FlowStore.open(folder / "stores" / name)))
    return tuple(opened)


def common(one: dict[int, np.ndarray], other: dict[int, np.ndarray]) -> list[bool]:
    return [np.array_equal(one[number], other[number]) for number in one.keys() & other.keys()]


def test_no_relabelling_changes_the_context_of_what_is_tested(relabelled):
    plain, mixed, _ = relabelled
    assert (plain.index.attack != mixed.index.attack).mean() > 0.2
    same = common(staged_by_number(plain, ["test"])["test"], staged_by_number(mixed, ["test"])["test"])
    assert len(same) > 50
    assert all(same)


def test_removing_and_renaming_attacks_changes_no_context_of_training_validation_or_calibration(relabelled):
    plain, _, fewer = relabelled
    assert plain.index.attack.sum() > 3 * fewer.index.attack.sum() > 0
    parts = ["train", "val", "cal_a", "cal_b", "baseline_train", "baseline_val", "baseline_cal_a"]
    pool: list[dict[int, np.ndarray]] = [{}, {}]
    for found, dataset in zip(pool, (plain, fewer), strict=True):
        for rows in staged_by_number(dataset, parts).values():
            found.update(rows)  # a flow's context is one, whatever part it is in
    same = common(*pool)
    assert len(same) > 300
    assert all(same)
    tested = common(*(staged_by_number(dataset, ["test"])["test"] for dataset in (plain, fewer)))
    assert not all(tested)  # flows that are gone are in no context of the test


TABULAR = sorted(
    name
    for name in detector_entries()
    if (params := load_detector(name).params_type) and "input" in {each.name for each in fields(params)}
)


def test_every_tabular_detector_can_read_context():
    assert set(TABULAR) == {
        *(
            "ae",
            "ecod",
            "gmm",
            "iforest",
            "kitnet-flow",
            "knn",
            "mahalanobis",
            "memae",
            "ocsvm",
            "ocsvm-nystroem",
            "pca",
        ),
        *("rfm", "sparse-memae", "tccm"),
        *("clan", "dte", "nf-iaf", "tipso-gan-unsupervised"),
    }
    assert {"features", "context", "features+context"} <= set(INPUTS)


@pytest.mark.parametrize("name", TABULAR)
def test_a_tabular_detector_keeps_the_contract_on_context(name):
    loaded = load_detector(name)
    for given, inputs in (("context", {"context"}), ("features+context", {"features", "context"})):
        params = build_params(loaded.name, loaded.params_type, loaded.profiles.get("check", {}), {"input": given})
        declared = loaded.declaring(params)
        assert declared.capabilities.inputs == inputs
        assert broken_by_parameters(loaded.factory, params) == []
