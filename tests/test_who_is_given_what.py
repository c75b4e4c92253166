"""Who is given what, proven by probes that go through the real child process: which flows a detector is fitted on,
validates, calibrates and scores with, in every regime and for every input, against a statement of the roles that shares
nothing with ``protocols.roles``."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from datasets_registry.ingest import ingest_folder
from datasets_registry.registry import OpenDataset
from datasets_registry.store import FlowStore
from protocols.splits import Draw
from tests.conftest import Cli, shared_once
from tests.numbered import number_of, write_numbered

PROBES = ("p-features", "p-packets", "p-cic", "p-stream")
SEEDS = (42, 43)


@pytest.fixture(scope="session")
def numbered_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    def make(folder: Path) -> None:
        for name, first in (("north", 0), ("south", 5000)):
            ingest_folder(write_numbered(folder / name, first), folder / "datasets" / name, name=name, stream=True)

    return shared_once(tmp_path_factory, "numbered", make)


@dataclass(frozen=True)
class Network:
    """One of the two, as an independent reader sees it: the number of every flow, and its parts."""

    dataset: OpenDataset
    numbers: np.ndarray

    @classmethod
    def open(cls, home: Path, name: str) -> Network:
        store = FlowStore.open(home / "datasets" / name)
        offsets, packets = store.shards[0].arrays()
        sizes = [tuple(packets["size"][begin:end].tolist()) for begin, end in pairwise(offsets)]
        return cls(OpenDataset(store), np.array([number_of(each) for each in sizes]))

    def part(self, seed: int, name: str, draw: Mapping[str, Any]) -> set[int]:
        partition = self.dataset.partition(
            Draw(seed, draw["split"], draw["caps"], draw["train_size"], draw["contamination"])
        )
        flow_ids = partition.test if name == "test" else partition.parts[name]
        return set(self.numbers[flow_ids].tolist())


@pytest.fixture(scope="session")
def networks(numbered_home: Path) -> dict[str, Network]:
    return {name: Network.open(numbered_home, name) for name in ("north", "south")}


Line = tuple[str, list[int]]


@dataclass(frozen=True)
class Seen:
    """A fit, as its log tells it, with the rows that it made."""

    lines: list[Line]
    rows: list[dict[str, Any]]
    runs: Path

    def of(self, what: str) -> list[list[int]]:
        return [numbers for kind, numbers in self.lines if kind == what]

    def scores(self, row: Mapping[str, Any]) -> pl.DataFrame:
        return pl.read_parquet(self.runs / "scores" / f"{row['key']}.parquet")


def probed(
    python: Path, home: Path, folder: Path, protocol: str, detectors: str, seeds: tuple[int, ...] = SEEDS
) -> list[Seen]:
    cli = Cli(python, home, folder)
    done = cli(
        "run",
        "--protocol",
        protocol,
        "--detectors",
        detectors,
        "--seeds",
        ",".join(map(str, seeds)),
        "--datasets",
        "north,south",
    )
    assert done.returncode == 0, done.stderr
    rows = [json.loads(path.read_text()) for path in (folder / "runs" / "results").glob("*.json")]
    found = []
    for log in (folder / "runs" / "logs").glob("*.log"):
        said = [line.split() for line in log.read_text().splitlines() if line.startswith("GIVEN")]
        lines = [(words[1], list(map(int, words[2:]))) for words in said]
        found.append(Seen(lines, [row for row in rows if row["fit_key"] == log.stem], folder / "runs"))
    assert sum(len(seen.rows) for seen in found) == len(rows)
    return found


@pytest.fixture(scope="session")
def crossed(plugin_python: Path, numbered_home: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Seen]:
    return probed(plugin_python, numbered_home, tmp_path_factory.mktemp("crossed"), "cross", ",".join(PROBES))


def check_fit(seen: Seen, networks: Mapping[str, Network]) -> None:
    """One fit against the roles of its regime, written down here once more."""
    spec = seen.rows[0]["spec"]
    source, seed = spec["source"], spec["seed"]

    def flows(name: str, part: str) -> set[int]:
        return networks[name].part(seed, part, spec)

    ((told_seed, _),) = seen.of("SEED")
    assert told_seed == seed
    (fitted,), (validated,) = seen.of("FIT"), seen.of("VALIDATION")
    assert len(set(fitted)) == len(fitted)
    if spec["regime"] == "control":
        (calibrated,) = seen.of("CALIBRATION")
        three = [set(fitted), set(validated), set(calibrated)]
        cal_a = flows(spec["target"], "cal_a")
        assert set.union(*three) == cal_a
        assert sum(map(len, three)) == len(cal_a)
        shares = [len(each) / len(cal_a) for each in three]
        assert shares == pytest.approx([50 / 70, 5 / 70, 15 / 70], abs=0.06)
        expected_validation = three[1]
    else:
        expected = flows(source, "train") | (flows(spec["target"], "cal_a") if spec["regime"] == "pooled" else set())
        assert set(fitted) == expected
        expected_validation = flows(source, "val")
        assert set(validated) == expected_validation
    counts = seen.rows[0]["counts"]
    assert (counts["n_train"], counts["n_val"]) == (len(fitted), len(validated))

    # per target: first calibrate, on what this target (or the source) has for it, and only then score
    order = [kind for kind, _ in seen.lines if kind in ("CALIBRATION", "SCORE")]
    calibrations = iter(seen.of("CALIBRATION"))
    if spec["calibration"] == "none":
        assert "CALIBRATION" not in order
    else:
        assert order[0] == "CALIBRATION"
    calibrated_as = {
        row["key"]: seen.scores(row).get_column("calibrations", default=pl.Series([0.0]))[-1] for row in seen.rows
    }
    for row in sorted(seen.rows, key=lambda row: calibrated_as[row["key"]]):
        target = row["spec"]["target"]
        scores = seen.scores(row)
        by_role = {role: set(part["number"].cast(pl.Int64)) for (role,), part in scores.group_by("role")}
        assert by_role["source_val"] == expected_validation
        assert by_role["cal_b"] == flows(target, "cal_b")
        assert by_role["test"] == flows(target, "test")
        if spec["calibration"] != "none":
            calibrated = set(next(calibrations))
            if spec["regime"] != "control":
                assert (
                    calibrated
                    == {"target_benign": flows(target, "cal_a"), "source_benign": flows(source, "val")}[
                        spec["calibration"]
                    ]
                )
                assert by_role["cal_a"] == flows(target, "cal_a")
            else:
                assert by_role["cal_a"] == calibrated
            # all roles, the source's validation flows too, under this target's calibration
            assert scores["calibrations"].n_unique() == 1
        assert not (set(fitted) | expected_validation) & (by_role["cal_b"] | by_role["test"])
        assert not by_role["cal_a"] & (by_role["cal_b"] | by_role["test"])
        n = row["counts"]
        assert (n["n_cal"], n["n_cal_b"]) == (len(by_role["cal_a"]), len(by_role["cal_b"]))
        assert n["n_test_benign"] + n["n_test_attack"] == len(by_role["test"])
        numbers = networks[target].numbers
        recorded = scores.join(
            pl.DataFrame({"flow_id": np.arange(len(numbers)), "true": numbers.astype(np.float64)}),
            on="flow_id",
            how="left",
        )
        mine = recorded.filter(pl.col("role") != "source_val")
        assert (mine["number"] == mine["true"]).all()  # each score stands beside the flow that it is the score of


@pytest.mark.xdist_group("probes")
@pytest.mark.parametrize("probe", PROBES)
def test_every_input_of_every_fit_of_a_cross_run_holds_the_flows_of_its_role(
    crossed: list[Seen], networks: dict[str, Network], probe: str
) -> None:
    mine = [seen for seen in crossed if seen.rows[0]["spec"]["detector"] == probe]
    assert len(mine) == (2 + 2) * len(SEEDS)
    for seen in mine:
        check_fit(seen, networks)


@pytest.mark.xdist_group("probes")
def test_detectors_of_one_run_see_the_same_flows_in_the_same_order(crossed: list[Seen]) -> None:
    seen_by: dict[tuple[Any, ...], list[list[Line]]] = {}
    for seen in crossed:
        spec = seen.rows[0]["spec"]
        lines = [(kind, numbers) for kind, numbers in seen.lines if not kind.endswith("-OTHERS")]
        seen_by.setdefault(
            (spec["regime"], spec["source"], spec["target"] if spec["regime"] == "control" else "", spec["seed"]), []
        ).append(lines)
    assert {len(each) for each in seen_by.values()} == {len(PROBES)}
    for first, *others in seen_by.values():
        assert all(other == first for other in others)


@pytest.mark.xdist_group("probes")
def test_seeds_are_the_runs_and_draw_differently(crossed: list[Seen]) -> None:
    drawn = {seed: {draw for seen in crossed for told, draw in seen.of("SEED") if told == seed} for seed in SEEDS}
    assert all(len(draws) == 1 for draws in drawn.values())
    assert drawn[42] != drawn[43]


@pytest.mark.xdist_group("probes")
def test_a_stream_detector_learns_from_its_own_packets_and_scores_in_whole_captures(
    crossed: list[Seen], networks: dict[str, Network]
) -> None:
    for seen in crossed:
        if seen.rows[0]["spec"]["detector"] != "p-stream":
            continue
        for kind in ("FIT", "VALIDATION", "CALIBRATION"):
            assert {numbers[0] for numbers in seen.of(f"{kind}-OTHERS")} == {0}
        scored, others = seen.of("SCORE"), seen.of("SCORE-OTHERS")
        for flows, (other,) in zip(scored, others, strict=True):
            name = "north" if flows[0] < 5000 else "south"
            file = networks[name].dataset.store.labels(["file"])["file"].to_numpy()
            number = networks[name].numbers
            captures = set(file[np.isin(number, flows)])
            assert other == 2 * (np.isin(file, list(captures)).sum() - len(flows))


@pytest.mark.parametrize(
    ("protocol", "regimes"),
    [
        ("within", {"transfer", "control"}),
        ("pooled", {"transfer", "pooled", "control"}),
        ("train-size", {"transfer"}),
        ("contamination", {"transfer"}),
        ("p-source-benign", {"transfer", "control"}),
        ("p-uncalibrated", {"transfer"}),
    ],
)
def test_roles_hold_in_every_protocol(
    plugin_python: Path,
    numbered_home: Path,
    networks: dict[str, Network],
    tmp_path: Path,
    protocol: str,
    regimes: set[str],
) -> None:
    probe = "p-single" if protocol == "p-uncalibrated" else "p-features"
    found = probed(plugin_python, numbered_home, tmp_path, protocol, probe, SEEDS[:1])
    assert {seen.rows[0]["spec"]["regime"] for seen in found} == regimes
    calibration = {"p-source-benign": "source_benign", "p-uncalibrated": "none"}.get(protocol, "target_benign")
    assert {row["spec"]["calibration"] for seen in found for row in seen.rows} == {calibration}
    for seen in found:
        check_fit(seen, networks)
    if protocol == "contamination":
        attack = {name: set(each.numbers[each.dataset.index.attack].tolist()) for name, each in networks.items()}
        shares = {
            round(len(set(seen.of("FIT")[0]) & (attack["north"] | attack["south"])) / len(seen.of("FIT")[0]), 2)
            for seen in found
        }
        assert shares == {0.0, 0.01, 0.02, 0.05, 0.1}
