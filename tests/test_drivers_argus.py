"""The drivers of UNSW-NB15 and CTU-13, on SYNTHETIC replicas: row by row."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from datasets_registry.drivers import load_driver
from datasets_registry.drivers.argus import read_flows
from datasets_registry.drivers.driver import NO_LABEL, Request
from datasets_registry.drivers.unsw_nb15 import FORM
from janus_bench.errors import DataError, UsageError
from tests.conftest import SHARED_DATA, needs_shared_data
from tests.replicas import write_ctu13, write_unsw_nb15
from tests.replicas.truth import TrueRow, Truth
from tests.test_drivers_replicas import Prepared, identity, labelled, prepare

WRITERS: dict[str, Callable[[Path, int], Truth]] = {"unsw_nb15": write_unsw_nb15, "ctu13": write_ctu13}
MALWARE = {"42": "Neris", "52": "Rbot"}
FATES = {
    "row": "matched", "part": "parts", "orphan": "unmatched_rows", "ambiguous": "ambiguous", "duplicate": "duplicates"
}  # fmt: skip


@pytest.fixture(scope="module", params=WRITERS)
def prepared(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Truth, Prepared]:
    truth = WRITERS[request.param](tmp_path_factory.mktemp(request.param), 5)
    return request.param, truth, prepare(load_driver(request.param), truth, truth.labels)


def spelled(name: str, label: str) -> str:
    """As the driver counts a label that is written so."""
    if name == "unsw_nb15":
        return "benign" if label == "Normal" else label
    if found := re.fullmatch(r"flow=From-(Botnet|Normal)-V(\d+)-.*", label):
        return MALWARE[found[2]] if found[1] == "Botnet" else "benign"
    return next(word for word in ("Background", "To-Botnet", "To-Normal", "Normal") if word in label)


NEITHER = {"Background", "To-Botnet", "To-Normal", "Normal"}


def test_every_flow_has_the_label_and_a_row_that_were_written_for_it_and_no_other_has_one(prepared):
    name, truth, made = prepared
    found = labelled(made)
    expected = {identity(flow): spelled(name, flow.label) for flow in truth.flows if flow.row == "plain"}
    assert {flow: label for flow, (label, _, _) in found.items()} == {
        flow: label for flow, label in expected.items() if label not in NEITHER
    }
    assert set(expected.values()) & NEITHER == (NEITHER if name == "ctu13" else set())
    for group, assignment in made.found.items():
        assert assignment.table["attack"].to_list() == [label != "benign" for label in assignment.table["label"]], group
    place = {row: number for rows in lists(name, truth).values() for number, row in enumerate(rows)}
    of_row = {(group_of(name, row, truth), number): row for row, number in place.items()}
    for flow, (_, group, number) in found.items():
        row = of_row[group if name == "ctu13" else "", number]
        assert row.kind in ("row", "part", "duplicate")
        assert row.flow is not None
        assert identity(truth.flows[row.flow]) == flow


def lists(name: str, truth: Truth) -> dict[str, list[TrueRow]]:
    """What is read one after the other → its rows, in order."""
    found: dict[str, list[TrueRow]] = {}
    for row in sorted(truth.rows, key=lambda row: (row.file, row.line)):
        found.setdefault(group_of(name, row, truth), []).append(row)
    return found


def group_of(name: str, row: TrueRow, truth: Truth) -> str:
    return {"42": "scenario 1", "52": "scenario 11"}[row.file.split("/")[0][-2:]] if name == "ctu13" else ""


def test_every_row_is_accounted_for_label_by_label(prepared):
    name, truth, made = prepared
    counted: Counter[tuple[str, str]] = Counter()
    for found in made.found.values():
        for label, counts in found.report.items():
            counted += Counter({(label, fate): counts.get(fate, 0) for fate in FATES.values()})
    assert +counted == Counter((spelled(name, row.label), FATES[row.kind]) for row in truth.rows if row.kind in FATES)
    rest = sum((Counter(found.report[NO_LABEL]) for found in made.found.values()), Counter())
    kinds = Counter(row.kind for row in truth.rows)
    left = {"bad_rows": "broken", "unknown_labels": "unknown", "other_protocols": "other"}
    assert {reason: rest[reason] for reason in left} == {reason: kinds[kind] for reason, kind in left.items()}
    unmatched = {
        label: sum(found.report.get(label, {}).get("unmatched_flows", 0) for found in made.found.values())
        for label in NEITHER
    }
    flows = Counter(spelled(name, flow.label) for flow in truth.flows if flow.row == "plain")
    assert unmatched == {label: flows[label] if name == "ctu13" else 0 for label in NEITHER}


def test_the_captures_have_the_flows_that_were_written_without_their_copies(prepared):
    _, truth, made = prepared
    read = Counter(
        (file, first, n)
        for table in made.flows.values()
        for file, first, n in table.select("file", "first", "n_packets").iter_rows()
    )
    assert read == Counter((flow.capture, flow.first, flow.n_packets) for flow in truth.flows)


def test_what_is_read_of_a_row_is_said_once(prepared):
    name, _, made = prepared
    said = "\n".join(made.said)
    unknown = {"unsw_nb15": "'attack_cat Generic, Label 0'", "ctu13": "'flow=Unheard-Of'"}
    assert unknown[name] in said
    assert said.count("shared 5-tuples: +0 s in") == 2


@pytest.mark.parametrize("name", WRITERS)
def test_what_does_not_do_is_one_line(name, tmp_path):
    driver = load_driver(name)
    with pytest.raises(UsageError, match="name their folder with --labels"):
        driver.labeller(Request(None))
    groups = frozenset({"17-2-2015" if name == "unsw_nb15" else "scenario 11"})
    with pytest.raises(DataError, match="of which there is a capture: add it, or take the capture away"):
        driver.labeller(Request(tmp_path, groups))
    if name == "ctu13":
        (tmp_path / "capture20110818-2.binetflow").write_text("StartTime,Label\n1,2\n")
        with pytest.raises(DataError, match="its first line has no column 'SrcAddr', 'Sport', "):
            driver.labeller(Request(tmp_path, groups))("scenario 11", None)  # type: ignore[arg-type]


def test_a_wrong_clock_is_found_with_the_offset_to_give(tmp_path):
    truth = write_ctu13(tmp_path, 5)
    for path in truth.labels.rglob("*.binetflow"):
        hours = path.read_text().replace("2011/08/10 10:", "2011/08/10 09:").replace("2011/08/18 13:", "2011/08/18 12:")
        path.write_text(hours)
    with pytest.raises(DataError, match=r"scenario 1: .* -3600 s off .* should be UTC\+2; .*--time-offset -3600"):
        prepare(load_driver("ctu13"), truth, truth.labels)
    given = prepare(load_driver("ctu13"), truth, truth.labels, time_offset_s=-3600.0)
    assert len(labelled(given)) > 50


def test_names_of_captures():
    group_of = load_driver("ctu13").group_of
    assert group_of("CTU-Malware-Capture-Botnet-54/capture20110815-3.truncated.pcap.gz") == "scenario 13"
    assert group_of("1/botnet-capture-20110810-neris.pcap") is None
    assert group_of("capture20110810.truncated.pcap.bz2") is None
    group_of = load_driver("unsw_nb15").group_of
    assert group_of("UNSW-NB15 - pcap files/pcaps 22-1-2015/53.pcap") == "22-1-2015"
    assert group_of("elsewhere/53.pcap") is None


@needs_shared_data
def test_real_rows_of_unsw_nb15_are_read():
    from datasets_registry.drivers.argus import read_flows
    from datasets_registry.drivers.unsw_nb15 import FORM

    read = read_flows(SHARED_DATA / "csv_samples" / "unsw_nb15_rows_noheader.csv", FORM)
    assert read.rows.null_count().sum_horizontal().item() == 0
    assert Counter(read.rows["text"]) == {"Normal": 6, "Exploits": 3, "Fuzzers": 1}
    assert read.rows["start"][0] == 1424250009 * 10**9
    assert not read.other.any()


def test_a_first_line_that_ends_early_is_a_row_that_cannot_be_read_and_the_others_are(tmp_path):
    source = next(write_unsw_nb15(tmp_path, 3).labels.rglob("*_1.csv"))
    lines = source.read_text(encoding="utf-8").splitlines()
    whole = read_flows(source, FORM)
    cut = tmp_path / "cut.csv"
    cut.write_text("\n".join([",".join(lines[0].split(",")[:3]), *lines]), encoding="utf-8")
    found = read_flows(cut, FORM)
    assert found.rows["position"].to_list() == list(range(len(lines) + 1))
    assert found.rows["start"].to_list() == [None, *whole.rows["start"]]
