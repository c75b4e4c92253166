"""Drivers on SYNTHETIC replicas of their datasets, written by code that knows only the published format: no row and no
flow is lost."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from datasets_registry.drivers import cicids2017, load_driver
from datasets_registry.drivers.driver import NO_LABEL, Driver, Request, find_captures
from datasets_registry.labelling.assignment import Assignment
from datasets_registry.labelling.keys import KEY_COLUMNS
from janus_bench.errors import DataError, UsageError
from tests.replicas import Traps, TrueFlow, TrueRow, Truth, write_cicddos2019, write_cicids2017
from tests.test_drivers_match import flow_key
from tests.test_drivers_slice import flow_table

WRITERS = {"cicids2017": write_cicids2017, "cicddos2019": write_cicddos2019}
TRAPS = Traps(duplicated=0.05, missing=0.05, orphans=0.05, swapped=0.2, ambiguous=3, bad_bytes=2, broken=2)
FATES = {"row": "matched", "duplicate": "duplicates", "orphan": "unmatched_rows", "ambiguous": "ambiguous"}


@dataclass(frozen=True)
class Prepared:
    """What a driver makes of a replica: group → flows and assignment; and its diagnostics."""

    flows: dict[str, pl.DataFrame]
    found: dict[str, Assignment]
    said: list[str]


def prepare(driver: Driver, truth: Truth, labels: Path | None, **request: Any) -> Prepared:
    said: list[str] = []
    options = driver.options(**request.pop("options", {})) if driver.options else None
    captures = find_captures(driver, truth.captures)
    groups = frozenset(group for _, group in captures.values())
    label = driver.labeller(Request(labels, groups, options, tell=said.append, **request))
    flows = {}
    for group in sorted({group for _, group in captures.values()}):
        flows[group] = flow_table({path: file for path, (file, of) in captures.items() if of == group}, driver.rules)
    return Prepared(flows, {group: label(group, table) for group, table in flows.items()}, said)


@pytest.fixture(scope="module", params=["cicids2017", "cicddos2019"])
def prepared(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Truth, Prepared]:
    truth = WRITERS[request.param](tmp_path_factory.mktemp(request.param), seed=3, traps=TRAPS)
    return request.param, truth, prepare(load_driver(request.param), truth, truth.labels)


def spelled(label: str) -> str:
    """As the drivers spell it: one name where the published files have several."""
    names = {
        "BENIGN": "benign",
        "UDPLag": "UDP-lag",
        **{name: f"DrDoS_{name}" for name in ("NetBIOS", "LDAP", "MSSQL", "UDP")},
    }
    return names.get(label, label.replace("–", "-"))


def identity(flow: TrueFlow) -> tuple[Any, ...]:
    return flow.capture, flow_key(flow.src, flow.sport, flow.dst, flow.dport, flow.proto), flow.first


def labelled(made: Prepared) -> dict[tuple[Any, ...], tuple[str, str, int]]:
    """flow → label, group and row"""
    result = {}
    for group, found in made.found.items():
        table = made.flows[group][found.flow]
        keys = table.select(KEY_COLUMNS).rows()
        for file, key, first, label, row in zip(
            table["file"], keys, table["first"], found.table["label"], found.table["row"], strict=True
        ):
            result[file, key, first] = (label, group, row)
    return result


def group_of_row(name: str, row: TrueRow) -> str:
    return row.file.split("/")[0] if name == "cicddos2019" else re.split(r"[/-]", row.file)[1].lower()


def test_the_captures_have_the_flows_that_were_written(prepared):
    _, truth, made = prepared
    read = {
        (row["file"], tuple(row[word] for word in KEY_COLUMNS), row["first"]): (row["last"], row["n_packets"])
        for table in made.flows.values()
        for row in table.iter_rows(named=True)
    }
    assert read == {identity(flow): (flow.last, flow.n_packets) for flow in truth.flows}


def test_every_flow_has_its_label_and_no_other_has_one(prepared):
    _, truth, made = prepared
    assert {flow: label for flow, (label, _, _) in labelled(made).items()} == {
        identity(flow): spelled(flow.label) for flow in truth.matched()
    }


def test_every_flow_has_the_row_that_was_written_for_it(prepared):
    name, truth, made = prepared
    position, own = {}, {}
    for group in made.flows:
        rows = sorted(
            (row for row in truth.rows if group_of_row(name, row) == group), key=lambda row: (row.file, row.line)
        )
        position |= {(group, number): row for number, row in enumerate(rows)}
    for flow, (_, group, number) in labelled(made).items():
        row = position[group, number]
        assert row.flow is not None
        own[flow] = identity(truth.flows[row.flow])
    assert own
    assert all(flow == truly for flow, truly in own.items())


def test_every_row_is_accounted_for_label_by_label(prepared):
    _, truth, made = prepared
    expected: Counter[tuple[str, str]] = Counter(
        (spelled(row.label), FATES[row.kind]) for row in truth.rows if row.kind in FATES
    )
    counted: Counter[tuple[str, str]] = Counter()
    for found in made.found.values():
        for label, counts in found.report.items():
            counted += Counter({(label, fate): counts.get(fate, 0) for fate in (*FATES.values(), "parts")})
    assert +counted == +expected
    rest = sum((Counter(found.report[NO_LABEL]) for found in made.found.values()), Counter())
    assert rest["bad_rows"] == sum(row.kind == "broken" for row in truth.rows) > 0
    assert rest["blank_rows"] == sum(row.kind == "blank" for row in truth.rows)
    assert rest["infinite_values"] > 0
    assert rest["undecodable_bytes"] > 0


def test_every_flow_is_accounted_for_label_by_label(prepared):
    _, truth, made = prepared
    totals: Counter[str] = Counter()
    for found in made.found.values():
        for label, counts in found.report.items():
            totals += Counter(
                {f"{label}/{kind}": counts.get(kind, 0) for kind in ("flows", "unmatched_flows", "ambiguous_flows")}
            )
    wanted = Counter(f"{spelled(flow.label)}/flows" for flow in truth.matched())
    assert {key: count for key, count in totals.items() if key.endswith("/flows")} == wanted
    for kind, fate in (("none", "unmatched_flows"), ("ambiguous", "ambiguous_flows")):
        assert (
            sum(count for key, count in totals.items() if key.endswith(f"/{fate}"))
            == sum(flow.row == kind for flow in truth.flows)
            > 0
        )
    # The flows that are attributed to a label are of that label.
    truly = Counter(f"{spelled(flow.label)}/unmatched_flows" for flow in truth.flows if flow.row == "none")
    attributed = {
        key: count for key, count in totals.items() if key.endswith("/unmatched_flows") and not key.startswith(NO_LABEL)
    }
    assert attributed
    assert all(count <= truly[key] for key, count in attributed.items())


def test_the_assignment_is_in_order_and_names_captures(prepared):
    _, _, made = prepared
    for group, found in made.found.items():
        assert (np.diff(found.flow) > 0).all()
        assert (
            found.table["file"].to_list()
            == found.table["source"].to_list()
            == made.flows[group]["file"][found.flow].to_list()
        )
        assert found.table["attack"].to_list() == [label != "benign" for label in found.table["label"]]
        assert found.table.null_count().sum_horizontal().item() == 0


def test_large_datasets_are_matched_in_pieces_with_the_same_result(prepared, monkeypatch: pytest.MonkeyPatch):
    name, truth, made = prepared
    monkeypatch.setattr("datasets_registry.drivers.csv_labels.PIECE", 300)
    again = prepare(load_driver(name), truth, truth.labels)
    for group, found in made.found.items():
        assert again.found[group].flow.tolist() == found.flow.tolist()
        assert again.found[group].table.equals(found.table)
        assert again.found[group].report == found.report


def test_the_clock_is_printed_and_holds(prepared):
    _, _, made = prepared
    clocks = [line for line in made.said if "shared 5-tuples" in line]
    assert len(clocks) == len(made.found)
    assert all(": +0 s in 9" in line or ": +0 s in 100" in line for line in clocks)


# --- clocks that are wrong


@pytest.mark.parametrize(
    ("name", "day", "hours", "group"), [("cicids2017", "Tuesday", 3, "tuesday"), ("cicddos2019", "03-11", 3, "03-11")]
)
def test_a_wrong_time_zone_is_found_with_the_offset_to_give(
    tmp_path: Path, name: str, day: str, hours: int, group: str
):
    # The hours of a 12-hour clock without AM and PM are known only up to where they begin: a shifted morning stays one.
    truth = WRITERS[name](tmp_path, seed=1, traps=Traps(wrong_zone_day=day, wrong_zone_hours=hours))
    with pytest.raises(DataError, match=rf"^{group}: .*--time-offset {hours * 3600}$"):
        prepare(load_driver(name), truth, truth.labels)


def test_a_given_offset_is_for_the_groups_that_need_one(tmp_path: Path):
    truth = write_cicddos2019(tmp_path, seed=1, traps=Traps(wrong_zone_day="03-11", wrong_zone_hours=5))
    made = prepare(load_driver("cicddos2019"), truth, truth.labels, time_offset_s=18000.0)
    assert len(labelled(made)) == len(truth.flows)
    assert [line for line in made.said if "as given" in line] == [
        "03-11: +18000 s are subtracted from the CSVs' times, as given"
    ]
    wrong = prepare(load_driver("cicddos2019"), truth, truth.labels, time_offset_s=7200.0)
    assert {group for group, found in wrong.found.items() if len(found.flow)} == {"01-12"}


def test_the_days_of_cicddos2019_may_have_each_others_zone(tmp_path: Path):
    truth = write_cicddos2019(tmp_path, seed=1, traps=Traps(wrong_zone_day="03-11", wrong_zone_hours=-1))
    made = prepare(load_driver("cicddos2019"), truth, truth.labels)
    assert len(labelled(made)) == len(truth.flows)


def test_a_12_hour_clock_that_is_taken_as_24_hours_does_not_pass(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    truth = write_cicids2017(tmp_path, seed=1)
    csvs = replace(cicids2017.CSVS, form=replace(cicids2017.CSVS.form, afternoon=()))
    with pytest.raises(
        DataError, match=r"friday: no time offset holds for 80% of .* \(-43200 s in 68.\d%, \+0 s in 31.\d%, "
    ):
        prepare(replace(cicids2017.DRIVER, labeller=csvs.labeller, options=None), truth, truth.labels)


# --- labels that need no CSV


def test_corrected_labels_are_by_window_and_host(tmp_path: Path):
    truth = write_cicids2017(tmp_path, seed=3)
    made = prepare(load_driver("cicids2017"), truth, None, options={"labels": "corrected"})
    given = {flow: label for flow, (label, _, _) in labelled(made).items()}
    wanted = {identity(flow): spelled(flow.corrected) for flow in truth.flows}
    assert {flow: label for flow, label in wanted.items() if given.get(flow) != label} == {}
    assert len(set(given.values())) == 16
    total = sum(
        (Counter({label: counts["flows"]}) for found in made.found.values() for label, counts in found.report.items()),
        Counter(),
    )
    assert total == Counter(wanted.values())


def test_corrected_labels_want_the_captures_of_the_day(tmp_path: Path):
    truth = write_cicids2017(tmp_path, seed=3)
    monday, tuesday = (truth.captures / f"{day}-WorkingHours.pcap" for day in ("Monday", "Tuesday"))
    tuesday.replace(monday)
    with pytest.raises(DataError, match="monday: 100% of its flows are not of 2017-07-03"):
        prepare(load_driver("cicids2017"), truth, None, options={"labels": "corrected"})


# --- folders that will not do


def test_folders_that_will_not_do(tmp_path: Path):
    truth = write_cicddos2019(tmp_path / "whole", seed=1)
    (tmp_path / "empty").mkdir()
    driver = load_driver("cicddos2019")
    for labels, kind, said in [
        (None, UsageError, "--labels"),
        (tmp_path / "nowhere", DataError, "nowhere: no such folder"),
        (tmp_path / "empty", DataError, "empty: none of this dataset's CSVs"),
    ]:
        with pytest.raises(kind, match=said):
            driver.labeller(Request(labels))
    with pytest.raises(DataError, match=r"no CSV for the captures of 01-12; expected"):
        prepare(load_driver("cicddos2019"), truth, truth.labels / "03-11")
    with pytest.raises(
        DataError, match=r"empty: none of its 0 files is a capture of cicddos2019; expected SAT-01-12-2018_0"
    ):
        find_captures(driver, tmp_path / "empty")


def test_captures_and_csvs_of_other_days_do_not_belong_together(tmp_path: Path):
    truth = write_cicddos2019(tmp_path, seed=1)
    for capture in (truth.captures / "PCAP-03-11").iterdir():
        capture.rename(capture.parent / capture.name.replace("03-11", "01-12").replace("_0", "_09"))
    for capture in (truth.captures / "PCAP-01-12").iterdir():
        capture.unlink()
    with pytest.raises(DataError, match=r"01-12: (none of the 5-tuples|no time offset holds|the CSVs' times)"):
        prepare(load_driver("cicddos2019"), truth, truth.labels)
