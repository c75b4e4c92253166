"""The checklist of pitfalls: line by line on a folder that has them, on one that avoids what can be avoided, and on
both with a single thing changed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from types import SimpleNamespace
from typing import Any

import polars as pl
import pytest

from janus_bench.contract import Capabilities
from janus_bench.extensions import BEST_FIXED
from janus_bench.records import DatasetEntry, DetectorRow, ExpectedCell, PlanRecord, RunRecord
from reports.results.facts import _captures, folder_facts
from reports.results.measures import measure_of
from reports.results.model import Results
from reports.tables.audits import with_audits
from reports.tables.details import TABLES, Operations, tables_of, with_details
from reports.tables.document import Board
from reports.tables.leaderboard import build_leaderboard
from tests.planted import InMemory

KEYS = [*(f"P{number}" for number in range(1, 11)), "A1", "A2", "A3", "A4", "D1", "D2", "D3"]
AUROC, NOTHING = measure_of("auroc"), Operations(1, (0.1,), 600)
CLASSICAL = Capabilities(inputs=frozenset({"features"}), groups=frozenset({"classical"}))
DEEP = Capabilities(inputs=frozenset({"packets"}))


RECORDED = DatasetEntry("", flows=9000, benign=8000, attack=1000)


@dataclass(frozen=True)
class Network:
    """A results folder of one protocol: every row on every pair of networks, numbers that are no matter of interest."""

    networks: tuple[str, ...]
    seeds: tuple[int, ...]
    rows: Mapping[str, DetectorRow]
    control: bool = True
    split: str = "time"
    n_test_benign: int = 5000
    n_cal_b: int = 1500
    tpr: float | None = 0.5
    spec: Mapping[str, Any] | None = None
    partition: Mapping[str, Any] | None = None
    environment: Mapping[str, str] | None = None
    entry: DatasetEntry = RECORDED
    captures: tuple[int, int] = (20, 12)
    auroc: Mapping[str, float] | None = None

    def results(self) -> Results:
        cells, records = [], {}
        for label, row in self.rows.items():
            regimes = ("transfer", "control") if self.control and row.learns else ("transfer",)
            for regime in regimes:
                for source in self.networks:
                    for target in self.networks:
                        for seed in self.seeds:
                            key = f"{label} {regime} {source} {target} {seed}"
                            cells.append(ExpectedCell(label, regime, source, target, seed, key))  # type: ignore[arg-type]
                            records[key] = self.record(key, label, row, regime, target)
        datasets = {name: replace(self.entry, hash=name) for name in self.networks}
        plan = PlanRecord("cross", "quick", self.split, "target_benign", self.seeds, datasets, self.rows, tuple(cells))
        return Results(Stored([plan], records, captures=self.captures))

    def record(self, key: str, label: str, row: DetectorRow, regime: str, target: str) -> RunRecord:
        spec = {"params": {}, "target": target, "target_hash": target, "version": "1", "device": "cpu"}
        spec |= {"regime": regime, "seed": 1, "split": self.split, "caps": "quick", **(self.spec or {})}
        counts = {"n_test_benign": self.n_test_benign, "n_test_attack": 500, "n_cal_b": self.n_cal_b}
        return RunRecord(
            key,
            key,
            spec,
            "ok",
            "",
            1,
            "2026-01-02T03:04:05+00:00",
            row.provenance,
            row.uses_labels,
            row.aggregator,
            counts,
            {"fit_s": 1.0, "score_s": 1.0},
            {"auroc": (self.auroc or {}).get(label, 0.6), "macro_auroc": 0.6, "tpr_at_fpr_1pct": self.tpr},
            {"kind": self.split, "reason": "", **(self.partition or {})},
            {"processor": "a processor"} if self.environment is None else self.environment,
        )


@dataclass(frozen=True)
class Stored(InMemory):
    """With as many captures of benign flows and of attacks."""

    captures: tuple[int, int] = (1, 1)

    def truth(self, data_hash: str) -> pl.DataFrame:
        benign, attack = self.captures
        return pl.DataFrame(
            {
                "flow_id": range(benign + attack),
                "attack": [False] * benign + [True] * attack,
                "source": [f"capture {number}" for number in range(benign + attack)],
            }
        )


def finding(key: str, severity: str = "warning") -> dict[str, str]:
    return {"key": key, "severity": severity, "text": f"all of {key}", "short": f"short {key}", "action": "look"}


ROWS = {
    "deep": DetectorRow("deep", provenance="adapted"),
    "near": DetectorRow("near", provenance="faithful"),
    "length": DetectorRow("length", provenance="control", learns=False),
}
GOOD = Network(("home", "plant", "voice"), (1, 2, 3), ROWS)
GOOD_AUDITS: dict[str, Any] = {name: {"findings": []} for name in GOOD.networks}
BAD = Network(
    ("home",),
    (1,),
    {
        "deep": replace(ROWS["deep"], uses_labels=True),
        "deep · best": DetectorRow("deep", provenance="adapted", aggregator=BEST_FIXED, variant="best"),
    },
    control=False,
    split="random",
    n_test_benign=90,
    n_cal_b=60,
    tpr=None,
    spec={"contamination": 0.05},
    partition={"attacks_in_train": 25},
    environment={},
    captures=(20, 1),
)
BAD_AUDITS = {"home": {"findings": [finding("separability.length_stored"), finding("duplicates.exact_benign")]}}
SITES = {
    name: {"counted": ["lab"], "sites": {"lab": {}}, "attacks_outside": 0, "shared": True} for name in GOOD.networks
}


def board_of(network: Network, audits: Mapping[str, Any], sites: Mapping[str, Any] | None = None) -> Board:
    table = network.results().select()
    board = build_leaderboard(table, AUROC)
    if sites is not None:
        board = {**board, "sites": {**board["sites"], "targets": sites}}  # type: ignore[typeddict-item]
    facts = folder_facts(table, {"deep": DEEP, "near": CLASSICAL, "length": DEEP})
    return with_details(with_audits(board, audits), "pitfalls", [facts], NOTHING)


def judged(network: Network, audits: Mapping[str, Any], sites: Mapping[str, Any] | None = None) -> dict[str, Any]:
    records: Sequence[Any] = board_of(network, audits, sites)["details"]["records"]
    assert [record["pitfall"] for record in records] == KEYS
    assert all(record["why"] for record in records)
    return {record["pitfall"]: record for record in records}


def verdicts(*given: Any) -> dict[str, str]:
    return {key: record["verdict"] for key, record in judged(*given).items()}


BEST = dict.fromkeys(KEYS, "avoided") | dict.fromkeys(("P1", "P2", "P5", "P9"), "cannot be excluded")
BEST |= {"P10": "not avoided", "A3": "not avoided"}
"""No folder can show that its traffic is like others', that labels are right, where settings come from, that it holds
in operation; one without poisoned or several training sizes has no attacker and one amount of training flows."""


def test_a_folder_that_avoids_what_can_be_avoided_is_called_so_line_by_line() -> None:
    assert verdicts(GOOD, GOOD_AUDITS, SITES) == BEST


def test_a_folder_with_every_pitfall_is_called_so_line_by_line() -> None:
    found = judged(BAD, BAD_AUDITS)
    expected = dict.fromkeys(KEYS, "not avoided")
    expected |= {"P9": "cannot be excluded", "P10": "cannot be excluded", "D1": "avoided", "D3": "not avoided"}
    assert {key: record["verdict"] for key, record in found.items()} == expected
    says = {
        "P1": ("one network", "single capture: home"),
        "P2": ("contamination", "home"),
        "P3": ("random split", "reach deep"),
        "P4": ("home: short separability.length_stored",),
        "P5": ("labels of the test: deep · best",),
        "P6": ("no complete target-only control", "learns nothing", "no simple detector"),
        "P7": ("2 of 2 runs",),
        "P8": ("60 calibration flows",),
        "P10": ("shares 0.05", "evades"),
        "A1": ("2 of 2 runs",),
        "A2": ("one seed",),
        "A4": ("deep",),
    }
    for key, words in says.items():
        assert all(word in found[key]["why"] for word in words), (key, found[key]["why"])


def test_a_capture_that_holds_both_classes_is_counted_once() -> None:
    truth = pl.DataFrame({"attack": [False, False, True, True], "source": ["a", "b", "b", "c"]})
    assert _captures(SimpleNamespace(truth=lambda _: truth), "hash") == (2, 2, 3)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("change", "flipped", "word"),
    [
        ({"networks": ("home",)}, {"P1": "not avoided"}, "one network"),
        ({"captures": (9, 1)}, {"P1": "not avoided"}, "home, plant, voice"),
        (
            {"entry": DatasetEntry("", synthetic=True)},
            {"P1": "not avoided", "P2": "avoided", "P9": "not avoided"},
            "home",
        ),
        ({"split": "grouped"}, {"P3": "cannot be excluded"}, "younger"),
        ({"split": "random"}, {"P3": "not avoided"}, "random"),
        ({"auroc": {"length": 0.85}}, {"P4": "not avoided"}, "length has .850"),
        ({"auroc": {"length": 0.15}}, {"P4": "not avoided"}, "length has .150"),
        ({"control": False}, {"P6": "not avoided"}, "target-only"),
        ({"rows": {"deep": ROWS["deep"], "length": ROWS["length"]}}, {"P6": "not avoided"}, "simple"),
        ({"rows": {"near": ROWS["near"]}}, {"P6": "not avoided"}, "learns nothing"),
        ({"tpr": None}, {"P7": "not avoided"}, "of 135 runs"),
        ({"n_test_benign": 999}, {"P8": "cannot be excluded"}, "home 999"),
        ({"n_cal_b": 99}, {"P8": "not avoided"}, "99 calibration"),
        ({"environment": {}}, {"A1": "not avoided"}, "of 135 runs"),
        ({"seeds": (1, 2)}, {"A2": "cannot be excluded"}, "2 seeds"),
        ({"spec": {"contamination": 0.01}}, {"P10": "cannot be excluded", "A4": "cannot be excluded"}, "attack"),
        ({"partition": {"attacks_in_train": 1}}, {"P2": "not avoided"}, "contamination"),
        (
            {"entry": DatasetEntry("", notes=("a table without packets, with flow",))},
            {"D1": "cannot be excluded"},
            "home, plant, voice",
        ),
    ],
)
def test_one_change_turns_the_lines_that_it_concerns_and_no_other(
    change: dict[str, Any], flipped: dict[str, str], word: str
) -> None:
    network = replace(GOOD, **change)
    found = judged(network, GOOD_AUDITS, {name: SITES[name] for name in network.networks})
    changed = {key: record["verdict"] for key, record in found.items() if record["verdict"] != BEST[key]}
    assert changed == flipped
    assert any(word in found[key]["why"] for key in flipped)


@pytest.mark.parametrize(
    ("found", "flipped"),
    [
        ([finding("origins.captures")], {"P2": "not avoided"}),
        ([finding("coverage.unmatched_rows")], {"P2": "not avoided"}),
        ([finding("origins.apart")], {"P4": "not avoided"}),
        ([finding("caps.benign")], {"P4": "not avoided"}),
        ([finding("separability.ports")], {"P4": "not avoided", "D2": "not avoided"}),
        ([finding("separability.ports", "note")], {"D2": "cannot be excluded"}),
        ([finding("one_packet.attack")], {"P4": "not avoided", "D3": "not avoided"}),
        ([finding("duplicates.exact_attack", "note")], {"D3": "cannot be excluded"}),
        ([finding("parts.thresholds")], {}),
        (None, {"P4": "cannot be excluded", "D2": "cannot be excluded", "D3": "cannot be excluded"}),
    ],
)
def test_findings_of_an_audit_and_a_missing_audit_turn_their_lines(found: Any, flipped: dict[str, str]) -> None:
    audits = {name: audit for name, audit in GOOD_AUDITS.items() if name != "plant"}
    audits |= {} if found is None else {"plant": {"findings": found}}
    records = judged(GOOD, audits, SITES)
    assert {key: record["verdict"] for key, record in records.items() if record["verdict"] != BEST[key]} == flipped
    assert all("plant" in records[key]["why"] for key in flipped)


def test_where_no_site_is_known_or_none_is_shared_the_pooled_number_may_be_an_artefact() -> None:
    assert verdicts(GOOD, GOOD_AUDITS, {})["P4"] == "cannot be excluded"
    apart = {**SITES, "voice": {**SITES["voice"], "counted": [], "shared": False}}
    found = judged(GOOD, GOOD_AUDITS, apart)["P4"]
    assert (found["verdict"], "share a site: voice" in found["why"]) == ("not avoided", True)


def test_a_detector_that_is_not_installed_is_never_called_simple_or_not() -> None:
    table = GOOD.results().select()
    facts = folder_facts(table, {})
    assert facts.unknown == ("deep", "near", "length")
    board = with_details(build_leaderboard(table, AUROC), "pitfalls", [facts], NOTHING)
    record = {each["pitfall"]: each for each in board["details"]["records"]}["P6"]  # type: ignore[typeddict-item]
    assert record["verdict"] == "cannot be excluded"


def test_it_is_a_table_as_any_other() -> None:
    board = board_of(GOOD, GOOD_AUDITS, SITES)
    (table,) = tables_of(board)
    assert [row.cells[0].text for row in table.rows] == KEYS
    assert all(note in board["notes"] for note in TABLES["pitfalls"].notes)
