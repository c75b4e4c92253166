"""The driver of IoT-23, on a SYNTHETIC replica and on real captures with their published logs: row by row."""

from __future__ import annotations

from collections import Counter

import pytest

from datasets_registry.drivers import load_driver
from datasets_registry.drivers.driver import NO_LABEL, Request
from datasets_registry.drivers.iot23 import group_of
from janus_bench.errors import DataError, UsageError
from tests.conftest import SHARED_DATA, needs_shared_data
from tests.replicas import write_iot23
from tests.replicas.iot23 import UNLOGGED
from tests.replicas.truth import Truth
from tests.test_drivers_replicas import Prepared, identity, labelled, prepare

REAL = SHARED_DATA / "published" / "iot23"
DRIVER = load_driver("iot23")
FATES = {"row": "matched", "part": "parts", "orphan": "unmatched_rows", "ambiguous": "ambiguous"}


@pytest.fixture(scope="module")
def truth(tmp_path_factory: pytest.TempPathFactory) -> Truth:
    return write_iot23(tmp_path_factory.mktemp("iot23"), seed=4)


@pytest.fixture(scope="module")
def made(truth: Truth) -> Prepared:
    return prepare(DRIVER, truth, truth.labels)


def spelled(label: str) -> str:
    return "benign" if label.lower() == "benign" else label.removeprefix("Malicious ")


def test_every_flow_has_the_label_and_the_row_that_were_written_for_it_and_no_other_has_one(truth, made):
    found = labelled(made)
    assert {flow: label for flow, (label, _, _) in found.items()} == {
        identity(flow): spelled(flow.label) for flow in truth.flows if flow.row == "plain"
    }
    for flow, (_, group, number) in found.items():
        if group == UNLOGGED:
            assert number == -1
            continue
        (row,) = [row for row in truth.rows if row.file.startswith(f"{group}/") and row.line == number]
        assert row.kind in ("row", "part")
        assert row.flow is not None
        assert identity(truth.flows[row.flow]) == flow


def test_every_row_is_accounted_for(truth, made):
    counted: Counter[tuple[str, str]] = Counter()
    for found in made.found.values():
        for label, counts in found.report.items():
            counted += Counter({(label, fate): counts.get(fate, 0) for fate in FATES.values()})
    assert +counted == Counter((spelled(row.label), FATES[row.kind]) for row in truth.rows if row.kind in FATES)
    logs = {row.file for row in truth.rows}
    for group, found in made.found.items():
        if group != UNLOGGED:
            assert {key: found.report[NO_LABEL][key] for key in ("bad_rows", "unknown_labels")} == {
                "bad_rows": 1,
                "unknown_labels": 1,
            }
    said = "\n".join(made.said)
    assert said.count("1 bad rows, 1 unknown labels; not known: 'Malicious Nonsense'") == len(logs)
    assert f"{UNLOGGED}: no conn.log.labeled; taken as benign as a whole" in said


def test_names_of_captures_and_of_logs():
    for path, group in (
        ("CTU-IoT-Malware-Capture-34-1/2018-12-21.pcap", "CTU-IoT-Malware-Capture-34-1"),
        ("x/CTU-IoT-Malware-Capture-34-1.irc.pcap", "CTU-IoT-Malware-Capture-34-1"),
        ("CTU-IoT-Malware-Capture-9-1/bro/conn.log.labeled", "CTU-IoT-Malware-Capture-9-1"),
        ("elsewhere/x.pcap", None),
    ):
        assert group_of(path) == group
    assert DRIVER.group_of("CTU-IoT-Malware-Capture-9-1/bro/conn.log.labeled") is None


def test_what_does_not_do_is_one_line(truth, tmp_path):
    with pytest.raises(UsageError, match="name their folder with --labels"):
        DRIVER.labeller(Request(None))
    (tmp_path / "none").mkdir()
    groups = frozenset({"CTU-IoT-Malware-Capture-1-1"})
    with pytest.raises(DataError, match=r"no conn\.log\.labeled of CTU-IoT-Malware-Capture-1-1, of which there is"):
        DRIVER.labeller(Request(tmp_path / "none", groups))
    log = tmp_path / "CTU-IoT-Malware-Capture-1-1.conn.log.labeled"
    log.write_text("#fields\tts\tuid\n1\t2\n")
    flows = prepare(DRIVER, truth, truth.labels).flows["CTU-IoT-Malware-Capture-1-1"]
    with pytest.raises(DataError, match=r"no conn\.log\.labeled of Zeek: its #fields lack id\.orig_h"):
        DRIVER.labeller(Request(tmp_path, groups))("CTU-IoT-Malware-Capture-1-1", flows)
    source = truth.labels / "CTU-IoT-Malware-Capture-1-1" / "bro" / "conn.log.labeled"
    log.write_text("".join(
        line if line.startswith("#") or not line[0].isdigit() else f"{int(line[:10]) + 3600}{line[10:]}"
        for line in source.read_text().splitlines(keepends=True)
    ))  # fmt: skip
    with pytest.raises(DataError, match=r"\+3600 s off the captures in .*repeat with --time-offset 3600"):
        DRIVER.labeller(Request(tmp_path, groups))("CTU-IoT-Malware-Capture-1-1", flows)
    given = Request(tmp_path, groups, time_offset_s=3600.0)
    assert len(DRIVER.labeller(given)("CTU-IoT-Malware-Capture-1-1", flows).flow) > 50


@needs_shared_data
def test_the_real_captures_and_all_rows_of_their_published_logs(tmp_path):
    for path in REAL.iterdir():
        if "8-1" not in path.name and path.name != "labels.csv":
            (tmp_path / path.name).symlink_to(path.resolve())
    made = prepare(DRIVER, Truth(tmp_path, tmp_path, (), ()), tmp_path)
    rows = {
        group: {fate: sum(counts.get(fate, 0) for counts in found.report.values()) for fate in FATES.values()}
        for group, found in made.found.items()
    }
    for name, lines in (("42-1", 4426), ("34-1", 6706)):
        counts = rows[f"CTU-IoT-Malware-Capture-{name}"]
        assert counts["unmatched_rows"] == 0
        assert sum(counts.values()) == lines
    # rows that contradict each other claim one flow; one more has no row of its own, but lies within another's time
    assert _flows(made, "42-1") == (3603, 1)
    assert set(made.found["CTU-Honeypot-Capture-Philips-Hue-2018-09-14"].table["label"]) == {"benign"}


def _flows(made: Prepared, name: str) -> tuple[int, int]:
    """Labelled and contradicted flows of a capture."""
    found = made.found[f"CTU-IoT-Malware-Capture-{name}"]
    return len(found.flow), sum(counts.get("ambiguous_flows", 0) for counts in found.report.values())
