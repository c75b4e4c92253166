"""Every row says what became of the target's benign calibration flows: nothing, aggregator, memory bank, training."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from harness.cli import catalogue, leaderboard
from harness.plan import DetectorChoice, Settings, make_plan
from janus_bench import plugins
from janus_bench.contract import Capabilities
from janus_bench.errors import UsageError
from janus_bench.extensions import BEST_FIXED
from janus_bench.records import DetectorRow, PlanRecord, RunRecord
from protocols.roles import use_of_target
from reports.render.html.collect import collect
from reports.render.html.page import render_page
from reports.results.folder import RunStore
from reports.results.measures import measure_of
from reports.results.model import Results
from reports.tables.leaderboard import build_leaderboard
from tests import test_site_view as planted
from tests.rendering import RENDER

BANK = Capabilities(inputs=frozenset({"features"}), calibrates=True, remembers=True)
ANY = Capabilities(inputs=frozenset({"features"}), calibrates=True)
PLAIN = Capabilities(inputs=frozenset({"features"}))


@pytest.mark.parametrize(
    ("regime", "calibration", "detector", "aggregator", "used"),
    [
        ("transfer", "target_benign", PLAIN, "identity", ""),
        ("transfer", "target_benign", PLAIN, "column:a", ""),
        ("transfer", "target_benign", PLAIN, BEST_FIXED, ""),
        ("transfer", "target_benign", PLAIN, "oas[standardize=zscore]", "aggregator"),
        ("transfer", "target_benign", PLAIN, "knn", "aggregator"),
        ("transfer", "target_benign", ANY, "identity", "calibration"),
        ("transfer", "target_benign", BANK, "identity", "memory bank"),
        ("transfer", "target_benign", BANK, "oas", "memory bank, aggregator"),
        ("transfer", "source_benign", BANK, "oas", ""),  # all of it is of the source
        ("transfer", "none", BANK, "oas", ""),
        ("pooled", "target_benign", PLAIN, "identity", "training"),
        ("pooled", "target_benign", PLAIN, "oas", "training, aggregator"),
        ("pooled", "target_benign", BANK, "identity", "training, memory bank"),
        ("pooled", "source_benign", BANK, "oas", "training"),
        ("control", "target_benign", BANK, "oas", "training, memory bank, aggregator"),
        ("control", "none", PLAIN, "identity", "training"),
    ],
)
def test_what_is_used_follows_from_what_regime_contract_and_aggregator_declare(
    regime: str, calibration: str, detector: Capabilities, aggregator: str, used: str
) -> None:
    assert ", ".join(use_of_target(regime, calibration, detector.target_use, aggregator)) == used


def test_a_detector_cannot_remember_without_calibrating() -> None:
    with pytest.raises(ValueError, match="needs calibrates=True"):
        Capabilities(inputs=frozenset({"features"}), remembers=True)


def test_a_plan_declares_the_regime_of_its_rows_and_what_calibrate_does() -> None:
    choices = [DetectorChoice(name, plugins.load_detector(name), {}) for name in ("knn", "janus-plus", "length")]
    datasets = {name: {"hash": name} for name in ("a", "b")}
    record = make_plan(
        plugins.protocols()["pooled"], datasets, choices, Settings("quick", "grouped", (1,), "cpu")
    ).record
    assert {label: (row.regime, row.calibrates) for label, row in record.detectors.items()} == {
        "knn": ("transfer", ""),
        "knn · pooled": ("pooled", ""),
        "janus-plus": ("transfer", "memory bank"),
        "janus-plus · pooled": ("pooled", "memory bank"),
        "length": ("transfer", ""),
    }
    assert PlanRecord.from_json(json.loads(json.dumps(record.to_json()))) == record


def test_a_plan_that_does_not_say_it_keeps_its_key() -> None:
    """Plans that were stored before: what they do not hold is no part of them."""
    rows = {"knn": DetectorRow("knn", detector="knn")}
    plan = PlanRecord("cross", "quick", "grouped", "target_benign", (1,), {}, rows, ())
    assert not {"regime", "calibrates"} & set(plan.to_json()["detectors"]["knn"])


def saying(folder: Path, **rows: dict[str, Any]) -> RunStore:
    """The planted results of another test, with these declarations of rows; keyword: detector."""
    store = RunStore.open(planted.write(folder, seeds=(1,)))
    (plan,) = store.plans()
    (folder / "plans" / f"{plan.key}.json").unlink()
    declared = {label: replace(row, **rows.get(label, {})) for label, row in plan.detectors.items()}
    store.write_plan(replace(plan, detectors=declared))
    return store


def test_every_format_shows_it_beside_the_row(tmp_path: Path) -> None:
    store = saying(
        tmp_path / "runs",
        one={"regime": "transfer", "calibrates": "memory bank"},
        two={"regime": "pooled", "calibrates": ""},
    )
    table = Results.open(store.folder).select()
    board = build_leaderboard(table, measure_of("auroc"))
    expected = {"one": "memory bank", "two": "training"}
    assert {row["detector"]: row["target_use"] for row in board["rows"]} == expected
    lines = csv.DictReader(io.StringIO(RENDER["csv"](board, 80, False)))
    assert {line["detector"]: line["target_use"] for line in lines} == expected
    for name in ("table", "markdown", "latex"):
        text = RENDER[name](board, 160, False)
        for label, used in expected.items():
            assert any(label in line and used in line for line in text.splitlines()), (name, label)
        assert "did not have equal information" in " ".join(text.split()), name
    page = render_page(collect(table))
    for label, used in expected.items():
        line = next(line for line in page.splitlines() if f'<th scope="row" class="d">{label}' in line)
        assert f">{used}<" in line


def test_another_aggregator_is_another_use(tmp_path: Path) -> None:
    store = saying(tmp_path / "runs", one={"calibrates": ""}, two={"calibrates": ""})
    table = Results.open(store.folder).select()
    for aggregator, used in ((None, "nothing"), ("oas", "aggregator"), ("column:score", "nothing")):
        rows = build_leaderboard(table, measure_of("auroc", aggregator))["rows"]
        assert {row["target_use"] for row in rows} == {used}, aggregator
    with pytest.raises(UsageError, match="every row here has one score"):
        leaderboard.leaderboard(store.folder, aggregator="column:nothing", intervals=False)


def test_an_older_plan_does_not_say_what_its_detectors_did(tmp_path: Path) -> None:
    board = build_leaderboard(Results.open(planted.write(tmp_path / "runs", seeds=(1,))).select(), measure_of("auroc"))
    assert {row["target_use"] for row in board["rows"]} == {None}
    assert "target flows" not in " ".join(RENDER["table"](board, 160, False).split())


def test_an_older_pooled_row_is_known_by_its_runs(tmp_path: Path) -> None:
    store = RunStore.open(planted.write(tmp_path / "runs", seeds=(1,)))
    records = {key: record for key, record in store.records().items() if record.spec["detector"] == "two"}

    class Pooled(RunStore):
        def records(self) -> dict[str, RunRecord]:
            found = super().records()
            return found | {key: replace(found[key], spec={**found[key].spec, "regime": "pooled"}) for key in records}

    rows = Results(Pooled(store.folder)).select().rows
    assert {row.label: row.fitted for row in rows} == {"one": "transfer", "two": "pooled"}


def test_detector_info_says_it_for_every_regime(capsys: Any) -> None:
    for name, said in (
        ("knn", "transfer: nothing; pooled: training; control: training"),
        (
            "janus",
            "transfer: aggregator; pooled: training + aggregator; control: training + aggregator",
        ),
        (
            "janus-plus",
            "transfer: memory bank; pooled: training + memory bank; control: training + memory bank",
        ),
        ("length", "transfer: nothing"),
    ):
        catalogue.detector(name, "json")
        assert json.loads(capsys.readouterr().out)["target flows"] == said
