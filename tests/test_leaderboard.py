"""The leaderboard document against numbers worked out by hand, and its renderers."""

from __future__ import annotations

import csv
import io
import json
import re
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from janus_bench.records import DatasetEntry, DetectorRow, ExpectedCell, PlanRecord, RunRecord
from reports.render.layout import wrap_name
from tests.planted import document as build_leaderboard
from tests.rendering import RENDER

ANSI = re.compile(r"\x1b\[[0-9;]*m")
SITES = ("site_a", "site_b")
PAIRS = tuple((source, target) for source in SITES for target in SITES)
PARTITION = {
    "kind": "grouped",
    "reason": "",
    "sizes": {"train": 5000, "val": 500},
    "attacks_sharing_a_training_capture": 7,
}


@dataclass
class Planted:
    """Plans, rows and values written down cell by cell."""

    cells: list[ExpectedCell] = field(default_factory=list)
    detectors: dict[str, DetectorRow] = field(default_factory=dict)
    records: dict[str, RunRecord] = field(default_factory=dict)
    values: dict[str, float | None] = field(default_factory=dict)

    def detector(self, label: str, *, uses_labels: bool = False, provenance: str = "our reading") -> None:
        self.detectors[label] = DetectorRow(
            label.split("[")[0], provenance=provenance, uses_labels=uses_labels, scores=("s",), aggregator="oas"
        )

    def expect(self, label: str, source: str, target: str, seed: int, regime: str = "transfer") -> str:
        """Put a cell into the plan; controls of a target share one run, as in a real plan."""
        key = f"{label}/{regime}/{source if regime == 'transfer' else ''}/{target}/{seed}"
        self.cells.append(ExpectedCell(label, regime, source, target, seed, key))  # type: ignore[arg-type]
        return key

    def add(
        self,
        label: str,
        source: str,
        target: str,
        seed: int,
        outcome: float | tuple[str, str],
        regime: str = "transfer",
        **changes: Any,
    ) -> None:
        """A cell with its row; ``outcome`` is its value, or the status and reason of a failure."""
        key = self.expect(label, source, target, seed, regime)
        status, reason = ("ok", "") if isinstance(outcome, float) else outcome
        record = RunRecord(
            key=key,
            fit_key=f"{label}/{regime}/{source}/{seed}",
            spec={"params": {}, "target": target, "version": "1"},
            status=status,  # type: ignore[arg-type]
            reason=reason,
            attempt=1,
            finished="",
            provenance=self.detectors[label].provenance,
            uses_labels=self.detectors[label].uses_labels,
            aggregator="oas",
            counts={"n_train": 5000, "n_cal": 2000, "n_test_benign": 1500, "n_test_attack": 500},
            partition=PARTITION,
        )
        self.records[key] = replace(record, **changes)
        self.values[key] = outcome if isinstance(outcome, float) else None

    def plan(self, synthetic: tuple[str, ...] = (), **changes: Any) -> PlanRecord:
        datasets = {
            name: DatasetEntry(name, synthetic=name in synthetic, flows=90_000, benign=80_000, attack=10_000)
            for name in SITES
        }
        seeds = tuple(sorted({cell.seed for cell in self.cells}))
        return replace(
            PlanRecord(
                "cross", "quick", "grouped", "target_benign", seeds, datasets, self.detectors, tuple(self.cells)
            ),
            **changes,
        )

    def document(self, metric: str = "auroc", **changes: Any) -> dict[str, Any]:
        return build_leaderboard([self.plan(**changes)], self.records, self.values, metric)


ALPHA = {
    ("site_a", "site_a"): (0.90, 0.92, 0.94),
    ("site_a", "site_b"): (0.875, 0.75, 0.625),
    ("site_b", "site_a"): (0.5, 0.625, 0.5625),
    ("site_b", "site_b"): (0.96, 0.98, 1.00),
}
ALPHA_CONTROL = {"site_a": (0.70, 0.74, 0.72), "site_b": (0.60, 0.60, 0.66)}


def planted() -> Planted:
    """Five detectors: one with three seeds; one with a dagger, one seed and half a control, in a tie with it; one that
    learns nothing; one with a timeout and a run that is not there; one that failed everywhere."""
    table = Planted()
    table.detector("alpha")
    for pair in PAIRS:
        for seed in (1, 2, 3):
            cost = {
                "fit_s": 10.0 * seed,
                "flows_per_s": 1000.0 if pair[1] == "site_a" else 3000.0,
                "peak_rss_mb": 100.0 * seed,
            }
            table.add("alpha", *pair, seed, ALPHA[pair][seed - 1], cost=cost)
            table.add("alpha", *pair, seed, ALPHA_CONTROL[pair[1]][seed - 1], "control", cost={"fit_s": 999.0})
    table.detector("beta[x=1,y=sink]", uses_labels=True, provenance="adapted")
    for pair, value in zip(PAIRS, (0.75, 0.6875, 0.625, 0.75), strict=True):
        table.add("beta[x=1,y=sink]", *pair, 1, value)
        table.add(
            "beta[x=1,y=sink]", *pair, 1, 0.5 if pair[1] == "site_a" else ("error", "ValueError: no spread"), "control"
        )
    table.detector("gamma", provenance="control")
    for pair in PAIRS:
        table.add("gamma", *pair, 1, 0.5)
    table.detector("delta")
    table.add("delta", "site_a", "site_a", 1, 0.75)
    table.add("delta", "site_a", "site_b", 1, ("timeout", "exceeded 30m"))
    table.expect("delta", "site_b", "site_a", 1)
    table.add("delta", "site_b", "site_b", 1, 0.875)
    table.detector("epsilon")
    for pair in PAIRS:
        table.add("epsilon", *pair, 1, ("oom", "more than 8G"), cost={"fit_s": 5.0, "peak_rss_mb": 8000.0})
    return table


def as_bytes(rendered: str | bytes) -> bytes:
    """What a renderer gave; the whole document stands uncompressed in a Parquet file's metadata."""
    return rendered if isinstance(rendered, bytes) else rendered.encode()


def rows_of(document: Mapping[str, Any]) -> dict[str, Any]:
    return {row["detector"]: row for row in document["rows"]}


def cells_of(row: Mapping[str, Any]) -> dict[tuple[str, str], Any]:
    return {(cell["source"], cell["target"]): cell for cell in row["cells"]}


# -- the document ------------------------------------------------------------------------------------------------------


def test_the_document_has_the_keys_that_other_programs_read() -> None:
    document = planted().document()
    expected = {
        "protocol": "cross",
        "regime": "transfer",
        "calibration": "target_benign",
        "split": "grouped",
        "profile": "quick",
    }
    expected |= {
        "schema_version": 2,
        "synthetic": False,
        "metric": "auroc",
        "datasets": ["site_a", "site_b"],
        "n_expected_cells": 4,
    }
    assert expected.items() <= document.items()
    for row in document["rows"]:
        assert {
            "detector",
            "params",
            "provenance",
            "status_counts",
            "summary",
            "control_summary",
            "cost",
            "cells",
        } <= set(row)
        assert set(row["summary"]) == set(row["control_summary"]) == {"within_mean", "cross_mean", "cross_worst"}
        assert set(row["cost"]) == {"fit_s", "flows_per_s", "peak_rss_mb"}
        for cell in row["cells"]:
            assert set(cell) == {
                *(
                    "source",
                    "target",
                    "metric",
                    "mean",
                    "std",
                    "n_seeds",
                    "low",
                    "high",
                    "control",
                    "status",
                    "reason",
                    "params",
                    "aggregator",
                ),
                *("site_mean", "control_site"),
                *("n_train", "n_cal", "n_test_benign", "n_test_attack"),
            }


def test_cells_are_means_over_seeds_beside_the_control_of_their_target() -> None:
    cells = cells_of(rows_of(planted().document())["alpha"])
    # site_a → site_b: (.875 + .75 + .625) / 3 = .75; deviations ± .125, so std = sqrt(2 · .125² / 2) = .125; control of
    # site_b: 1.86 / 3 = .62
    cell = cells["site_a", "site_b"]
    assert cell["mean"] == 0.75
    assert cell["std"] == pytest.approx(0.125)
    assert cell["control"] == pytest.approx(0.62)
    assert (cell["n_seeds"], cell["status"], cell["reason"], cell["aggregator"]) == (3, "ok", "", "oas")
    assert (cell["n_train"], cell["n_cal"], cell["n_test_benign"], cell["n_test_attack"]) == (5000, 2000, 1500, 500)
    assert cells["site_b", "site_a"]["control"] == cells["site_a", "site_a"]["control"] == pytest.approx(0.72)


def test_summaries_of_transfer_and_control() -> None:
    row = rows_of(planted().document())["alpha"]
    # within (.92 + .98) / 2; cross (.75 + .5625) / 2; worst min(.75, .5625)
    assert row["summary"] == pytest.approx({"within_mean": 0.95, "cross_mean": 0.65625, "cross_worst": 0.5625})
    # per seed: within .93 .95 .97; cross .6875 .6875 .59375 (deviations .03125 .03125 −.0625); worst .5 .625 .5625
    assert row["summary_std"] == pytest.approx(
        {"within_mean": 0.02, "cross_mean": (0.005859375 / 2) ** 0.5, "cross_worst": 0.0625}
    )
    # each off-diagonal cell carries the control of its target: .62 and .72
    assert row["control_summary"] == pytest.approx({"within_mean": 0.67, "cross_mean": 0.67, "cross_worst": 0.62})
    # per seed: .65 .67 .69 both; worst .60 .60 .66
    assert row["control_summary_std"] == pytest.approx(
        {"within_mean": 0.02, "cross_mean": 0.02, "cross_worst": 0.0012**0.5}
    )
    assert row["collapse_cells"] == 1  # .5625 ≤ .57


def test_a_class_shift_target_is_shown_and_left_out_of_means() -> None:
    table = planted()
    datasets = dict(table.plan().datasets)
    datasets["site_b"] = replace(datasets["site_b"], task="class shift")
    document = table.document(datasets=datasets)
    row = rows_of(document)["alpha"]
    # what is left: site_a → site_a .92, site_b → site_a .5625
    assert row["summary"] == pytest.approx({"within_mean": 0.92, "cross_mean": 0.5625, "cross_worst": 0.5625})
    assert cells_of(row)["site_a", "site_b"]["mean"] == 0.75
    assert row["collapse_cells"] == 1
    assert any(note.startswith("site_b: a class-shift task, not attacks") for note in document["notes"])
    assert not any("class-shift" in note for note in planted().document()["notes"])


def test_one_seed_has_no_spread_and_a_failed_control_no_number() -> None:
    row = rows_of(planted().document())["beta[x=1,y=sink]"]
    assert row["summary"] == {"within_mean": 0.75, "cross_mean": 0.65625, "cross_worst": 0.625}
    assert set(row["summary_std"].values()) == {None}
    assert {cell["std"] for cell in row["cells"]} == {None}
    assert [cell["control"] for cell in row["cells"]] == [0.5, None, 0.5, None]
    assert set(row["control_summary"].values()) == {None}
    # four control cells stand for two runs, one per target
    assert row["control_status_counts"] == {"ok": 1, "error": 1}
    assert row["control_reason"] == "error on site_b, seed 1: ValueError: no spread"


def test_a_failure_and_a_missing_run_keep_their_status_and_leave_no_summary() -> None:
    row = rows_of(planted().document())["delta"]
    cells = cells_of(row)
    assert [(cell["status"], cell["reason"], cell["mean"], cell["n_seeds"]) for cell in row["cells"]] == [
        ("ok", "", 0.75, 1),
        ("timeout", "exceeded 30m", None, 0),
        ("missing", "not run yet", None, 0),
        ("ok", "", 0.875, 1),
    ]
    assert cells["site_b", "site_a"]["n_train"] is None
    assert row["summary"] == {"within_mean": 0.8125, "cross_mean": None, "cross_worst": None}
    assert row["status_counts"] == {"ok": 2, "timeout": 1, "missing": 1}
    assert row["collapse_cells"] is None
    assert row["control_status_counts"] == {}


def test_costs_average_fits_of_finished_runs_and_take_the_highest_memory() -> None:
    rows = rows_of(planted().document())
    # six fits (two sources × three seeds): fit_s 10, 20, 30 twice; each fit's flows/s (1000 + 3000) / 2; controls are
    # not counted
    assert rows["alpha"]["cost"] == {"fit_s": 20.0, "flows_per_s": 2000.0, "peak_rss_mb": 300.0}
    assert rows["epsilon"]["cost"] == {"fit_s": None, "flows_per_s": None, "peak_rss_mb": None}


def test_rows_are_ranked_with_ties_then_incomplete_then_failed() -> None:
    rows = planted().document()["rows"]
    assert [(row["detector"], row["rank"]) for row in rows] == [
        ("alpha", 1),
        ("beta[x=1,y=sink]", 1),
        ("gamma", 3),
        ("delta", None),
        ("epsilon", None),
    ]
    assert rows[-1]["status_counts"] == {"ok": 0, "oom": 4}


def test_a_metric_where_lower_is_better_turns_order_and_worst_around() -> None:
    table = planted()
    document = build_leaderboard([table.plan()], table.records, table.values, "fpr_p95", higher_is_better=False)
    assert [row["detector"] for row in document["rows"]] == ["gamma", "alpha", "beta[x=1,y=sink]", "delta", "epsilon"]
    assert rows_of(document)["alpha"]["summary"]["cross_worst"] == 0.75
    assert rows_of(document)["alpha"]["collapse_cells"] is None
    assert any("lower is better" in note for note in document["notes"])


def test_the_worst_seed_gives_a_cell_its_status_and_is_named() -> None:
    table = Planted()
    table.detector("alpha")
    for pair in PAIRS:
        for seed in (1, 2, 3):
            broken = pair == ("site_b", "site_a") and seed > 1
            outcome = ("killed", "signal 9") if seed == 2 else ("error", "KeyError: 'x'")
            table.add("alpha", *pair, seed, outcome if broken else 0.5)
    row = table.document()["rows"][0]
    cell = cells_of(row)["site_b", "site_a"]
    assert (cell["status"], cell["reason"], cell["mean"], cell["std"], cell["n_seeds"]) == (
        "error",
        "seed 3: KeyError: 'x'",
        0.5,
        None,
        1,
    )
    assert row["summary"] == {"within_mean": 0.5, "cross_mean": None, "cross_worst": None}
    assert row["summary_std"] == {"within_mean": 0.0, "cross_mean": None, "cross_worst": None}
    assert row["status_counts"] == {"ok": 10, "error": 1, "killed": 1}


@pytest.mark.parametrize("absent", [None, float("nan"), float("inf")])
def test_a_number_that_does_not_exist_is_null_though_its_run_is_ok(absent: float | None) -> None:
    table = Planted()
    table.detector("alpha")
    for pair in PAIRS:
        table.add("alpha", *pair, 1, 0.5)
    table.values["alpha/transfer/site_a/site_b/1"] = absent
    row = table.document()["rows"][0]
    cell = cells_of(row)["site_a", "site_b"]
    assert (cell["mean"], cell["status"], cell["n_seeds"]) == (None, "ok", 0)
    assert row["summary"] == {"within_mean": 0.5, "cross_mean": None, "cross_worst": None}
    assert row["rank"] is None


def test_plans_are_united_and_the_later_one_counts() -> None:
    first, second = Planted(), Planted()
    for table in (first, second):
        table.detector("alpha")
    second.detector("beta")
    for pair in PAIRS:
        for seed in (1, 2):
            first.add("alpha", *pair, seed, 0.25)
        second.add("beta", *pair, 2, 0.75)
        second.add("alpha", *pair, 2, 0.5)
    renamed = tuple(replace(cell, run_key=f"new/{cell.run_key}") for cell in second.cells)
    records = first.records | {f"new/{key}": record for key, record in second.records.items()}
    values = first.values | {f"new/{key}": value for key, value in second.values.items()}
    document = build_leaderboard([first.plan(), second.plan(cells=renamed)], records, values, "auroc")
    rows = rows_of(document)
    # alpha: seed 1 from the first plan (.25), seed 2 from the second (.5); beta was asked for seed 2 only
    assert {cell["mean"] for cell in rows["alpha"]["cells"]} == {0.375}
    assert {cell["n_seeds"] for cell in rows["beta"]["cells"]} == {1}
    assert document["seeds"] == [1, 2]
    assert any("not every detector was asked for all of them" in note for note in document["notes"])


def test_plans_of_different_tables_are_refused() -> None:
    plan = planted().plan()
    with pytest.raises(ValueError, match="different tables"):
        build_leaderboard([plan, replace(plan, split="random")], {}, {}, "auroc")
    with pytest.raises(ValueError, match="at least one plan"):
        build_leaderboard([], {}, {}, "auroc")


def test_parameters_may_differ_within_and_across() -> None:
    table = Planted()
    table.detector("alpha")
    for source, target in PAIRS:
        params = {"depth": 4, "sigma": 0.1 if source == target else 0.6}
        table.add("alpha", source, target, 1, 0.5, spec={"params": params, "target": target, "version": "1"})
    document = table.document()
    row = document["rows"][0]
    assert row["params"] == {"depth": 4}
    assert cells_of(row)["site_a", "site_a"]["params"] == {"depth": 4, "sigma": 0.1}
    assert cells_of(row)["site_a", "site_b"]["params"] == {"depth": 4, "sigma": 0.6}
    for name in ("table", "markdown"):
        assert "sigma=0.1 within, 0.6 cross" in RENDER[name](document, 120, False)


def test_parameters_of_a_row_that_is_not_finished_are_those_of_what_there_is() -> None:
    table = Planted()
    table.detector("alpha")
    for pair in PAIRS[:2]:
        table.add("alpha", *pair, 1, 0.5, spec={"params": {"depth": 4}, "target": pair[1], "version": "1"})
        table.expect("alpha", *pair, 2)
    for pair in PAIRS[2:]:
        table.expect("alpha", *pair, 1)
    document = table.document()
    assert document["rows"][0]["params"] == {"depth": 4}
    assert "depth=4 within" not in RENDER["table"](document, 120, False)


def test_another_aggregator_is_named_on_every_cell_and_below() -> None:
    table = planted()
    document = build_leaderboard([table.plan()], table.records, table.values, "auroc", "column:terminal_norm")
    assert {cell["aggregator"] for row in document["rows"] for cell in row["cells"] if cell["status"] != "missing"} == {
        "column:terminal_norm"
    }
    assert any("combined by column:terminal_norm instead" in note for note in document["notes"])


# -- notes -------------------------------------------------------------------------------------------------------------


def test_notes_say_what_a_reader_must_know() -> None:
    table = planted()
    for key, record in table.records.items():
        if record.spec["target"] == "site_b":
            reason = "grouped by capture, val would hold 120 flows, fewer than 200"
            table.records[key] = replace(record, partition=PARTITION | {"kind": "time blocks", "reason": reason})
    document = table.document(synthetic=("site_b",), split="random")
    text = "\n".join(document["notes"])
    assert document["synthetic"] is True
    assert document["notes"][0].startswith("SYNTHETIC DATA: site_b ")
    assert "calibrated cross-domain transfer: aggregator and thresholds use benign flows of the target" in text
    assert "control = the same detector fitted on nothing but the target's benign calibration flows" in text
    assert "time blocks inside captures: site_b (grouped by capture, val would hold 120 flows, fewer than 200)" in text
    assert "whole captures: site_a" in text
    assert "--split random" in text
    assert "† uses attack labels" in text
    assert "± is the sample standard deviation over seeds 1, 2, 3" in text


def test_notes_that_do_not_apply_are_not_there() -> None:
    table = Planted()
    table.detector("gamma")
    for pair in PAIRS:
        table.add("gamma", *pair, 7, 0.5)
    text = "\n".join(table.document()["notes"])
    assert "single seed (7)" in text
    for word in ("SYNTHETIC", "control =", "random", "†", "±"):
        assert word not in text


def test_a_dataset_whose_partition_differs_between_seeds_names_them() -> None:
    table = Planted()
    table.detector("gamma")
    for pair in PAIRS:
        table.add("gamma", *pair, 1, 0.5)
        table.add("gamma", *pair, 2, 0.5, partition=PARTITION | {"kind": "time blocks", "sizes": {"train": 4321}})
    document = table.document()
    text = "\n".join(document["notes"])
    assert "whole captures: site_a (seeds 1), site_b (seeds 1)" in text
    assert "time blocks inside captures: site_a (seeds 2), site_b (seeds 2)" in text
    assert document["datasets_info"]["site_a"]["partitions"]["2"]["sizes"] == {"train": 4321}
    assert "4,321" in RENDER["table"](document, 80, False)


def test_auprc_is_printed_with_its_base_rate() -> None:
    # 500 attacks among 2 000 test flows
    notes = planted().document("auprc")["notes"]
    assert "AUPRC of a random score = share of attacks among test flows: site_a 0.250, site_b 0.250" in notes


def test_calibration_on_the_source_is_not_called_calibrated_on_the_target() -> None:
    text = "\n".join(planted().document(calibration="source_benign")["notes"])
    assert "aggregator uses benign flows of the source" in text
    assert "aggregator and thresholds use benign flows of the target" not in text


# -- renderers ---------------------------------------------------------------------------------------------------------


def short(value: float | None) -> str:
    return "–" if value is None else re.sub(r"^(-?)0\.", r"\1.", f"{value:.3f}")


def numbers_of(document: Mapping[str, Any]) -> set[str]:
    """Every number that a reader must find, as it is printed."""
    found = set()
    for row in document["rows"]:
        pairs = [(cell["mean"], cell["std"]) for cell in row["cells"]]
        pairs += [
            (row[which][name], row[f"{which}_std"][name])
            for which in ("summary", "control_summary")
            for name in row[which]
        ]
        found |= {f"{short(mean)}±{short(std)}" if std is not None else short(mean) for mean, std in pairs}
        found |= {short(cell["control"]) for cell in row["cells"]}
    return found


@pytest.mark.parametrize("width", [80, 120, 200])
def test_a_terminal_table_fits_and_keeps_every_number_label_and_status(width: int) -> None:
    document = planted().document(synthetic=("site_a",))
    text = RENDER["table"](document, width, False)
    assert max(map(len, text.split("\n"))) <= width
    assert "\x1b" not in text
    words = set(text.split())
    assert numbers_of(document) <= words
    assert {
        "alpha",
        "beta[x=1,y=sink]",
        "gamma",
        "delta",
        "epsilon",
        "†",
        "timeout",
        "missing",
        "-.014",
        "20.0",
        "2,000",
        "300",
    } <= words
    assert "2 ok" in text
    assert "delta timeout (site_a → site_b): exceeded 30m" in text
    assert "epsilon oom (all cells): more than 8G" in " ".join(text.split())
    assert text.count("SYNTHETIC DATA") == 4  # leaderboard, matrices, partitions, note


def test_gain_is_transfer_minus_control() -> None:
    lines = RENDER["markdown"](planted().document(), 80, False).split("\n")
    header = next(line for line in lines if line.startswith("| #")).split(" | ")
    gains = {
        line.split(" | ")[1]: line.split(" | ")[header.index("gain")]
        for line in lines
        if re.match(r"\| [\d–]+ \|", line)
    }
    # alpha: .65625 − .67 = −.01375; beta's control failed; gamma has none; delta has no cross mean and no control
    assert gains == {"`alpha`": "-.014", "`beta[x=1,y=sink] †`": "–", "`gamma`": "–", "`delta`": "–", "`epsilon`": "–"}


def test_colour_changes_nothing_but_colour() -> None:
    document = planted().document()
    plain, coloured = RENDER["table"](document, 100, False), RENDER["table"](document, 100, True)
    assert "\x1b[" in coloured
    assert [line.rstrip() for line in ANSI.sub("", coloured).split("\n")] == plain.split("\n")


def test_the_terminal_table_does_not_depend_on_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    document = planted().document()
    plain, coloured = RENDER["table"](document, 100, False), RENDER["table"](document, 100, True)
    for name, value in {"COLUMNS": "33", "FORCE_COLOR": "1", "TERM": "dumb", "NO_COLOR": "1"}.items():
        monkeypatch.setenv(name, value)
    assert RENDER["table"](document, 100, False) == plain
    assert RENDER["table"](document, 100, True) == coloured


@pytest.mark.parametrize(
    "label", ["janus[sigma=0.1]", "janus[red]", "a[/]", "b[link=x]:smile:", "pipe|star*under_score"]
)
@pytest.mark.parametrize("name", ["table", "markdown", "csv", "json"])
def test_labels_print_literally(label: str, name: str) -> None:
    table = Planted()
    table.detector(label)
    for pair in PAIRS:
        table.add(label, *pair, 1, 0.5)
    text = RENDER[name](table.document(), 100, False)
    assert label in text.replace("\\|", "|")


def test_columns_that_do_not_fit_move_into_another_table() -> None:
    document = planted().document()
    tables = {width: RENDER["table"](document, width, False).split("Not ok")[0] for width in (80, 200)}
    assert tables[80].count("#  detector") == 3
    assert tables[200].count("#  detector") == 1


def test_matrices_that_nobody_would_read_are_left_out_of_a_terminal_and_that_is_said() -> None:
    document = planted().document()
    alpha = rows_of(document)["alpha"]
    many = {**document, "rows": [{**alpha, "cells": alpha["cells"] * 5_001}]}
    text = RENDER["table"](many, 100, False)
    said = " ".join(text.split())
    assert "20,004 cells are too many for a terminal" in said
    assert "--format csv has them all" in said
    assert "source (rows) → target (columns)" not in text
    assert text.count("\n") < 100
    assert len(RENDER["csv"](many, 100, False).splitlines()) == 20_005


def test_json_has_a_cell_on_a_line() -> None:
    document = planted().document()
    lines = RENDER["json"](document, 80, False).split("\n")
    cells = [json.loads(line.strip().rstrip(",")) for line in lines if line.strip().startswith('{"source"')]
    assert cells == [cell for row in document["rows"] for cell in row["cells"]]


names = st.text("abcdefgh_-XYZ019", min_size=1, max_size=40)


@pytest.mark.parametrize("width", [60, 80, 120, 200])
def test_many_parameters_get_the_whole_width_and_none_is_broken(width: int) -> None:
    document = planted().document()
    params = {f"use_of_the_flow_token_{place:02}": True for place in range(25)}
    row = {**rows_of(document)["alpha"], "params": params}
    text = RENDER["table"]({**document, "rows": [row, *document["rows"][1:]]}, width, False)
    lines = text.split("\n")
    assert max(map(len, lines)) <= width
    found = [line for line in lines if "use_of_the_flow_token_" in line]
    assert sum(line.count("=True") for line in found) == 25
    assert len(found) <= -(-len(", ".join(f"{name}=True" for name in params)) // (width - 30))


@settings(max_examples=25, deadline=None)
@given(st.lists(names, min_size=2, max_size=7, unique=True), names, st.sampled_from([40, 57, 80, 133]))
def test_long_names_wrap_and_never_widen_the_table(sites: list[str], label: str, width: int) -> None:
    table = Planted()
    table.detector(label)
    for source in sites:
        for target in sites:
            table.add(label, source, target, 1, 0.515625)
    document = table.document(
        datasets={name: DatasetEntry(name, flows=1, benign=1, attack=0, notes="a note") for name in sites}
    )
    text = RENDER["table"](document, width, False)
    assert max(map(len, text.split("\n"))) <= width
    assert text.count(".516") >= len(sites) ** 2


@given(names, st.integers(1, 30))
def test_wrapped_names_keep_every_character(name: str, width: int) -> None:
    lines = wrap_name(name, width).split("\n")
    assert "".join(lines) == name
    assert max(map(len, lines)) <= width


def test_json_is_the_document() -> None:
    document = planted().document()
    text = RENDER["json"](document, 80, False)
    assert json.loads(text, parse_constant=lambda constant: pytest.fail(f"{constant} is not JSON")) == document


def test_csv_has_a_line_per_cell_and_leaves_absent_numbers_empty() -> None:
    document = planted().document(synthetic=("site_a",))
    lines = list(csv.DictReader(io.StringIO(RENDER["csv"](document, 80, False))))
    assert len(lines) == 5 * 4
    timeout = next(line for line in lines if line["status"] == "timeout")
    assert (timeout["detector"], timeout["mean"], timeout["std"], timeout["control"]) == ("delta", "", "", "")
    assert {line["synthetic"] for line in lines} == {"true"}
    alpha = [line for line in lines if line["detector"] == "alpha"]
    assert [float(line["mean"]) for line in alpha] == [cell["mean"] for cell in rows_of(document)["alpha"]["cells"]]


def test_markdown_tables_are_rectangular_and_complete() -> None:
    document = planted().document()
    text = RENDER["markdown"](document, 80, False)
    blocks = [block.split("\n") for block in text.split("\n\n") if block.startswith("|")]
    assert len(blocks) == 1 + 4 + 1  # leaderboard, a matrix for each detector with a number, partitions
    for block in blocks:
        assert len({line.count(" | ") for line in block}) == 1
    flat = set(re.split(r"[\s|]+|<br>", text))
    assert numbers_of(document) <= flat
    assert all(note in text.replace("\\", "") for note in document["notes"])


def test_no_format_uses_the_word_that_the_protocol_forbids() -> None:
    document = planted().document(split="random", synthetic=("site_a",))
    for render in RENDER.values():
        assert not re.search(b"zero.?shot", as_bytes(render(document, 120, False)), re.IGNORECASE)


def test_a_table_without_any_row_that_ran_still_prints() -> None:
    table = Planted()
    table.detector("alpha")
    for pair in PAIRS:
        table.expect("alpha", *pair, 1)
    document = table.document()
    assert document["rows"][0]["status_counts"] == {"ok": 0, "missing": 4}
    text = RENDER["table"](document, 80, False)
    assert "4 missing" in text
    assert "not run yet" in text


def test_listing_the_formats_imports_nothing_heavy() -> None:
    code = (
        "import sys, reports.tables.leaderboard, reports.plugin; reports.plugin.janus_bench_renderers();"
        "print(*(name for name in ('torch', 'polars', 'sklearn', 'rich') if name in sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == ""
