"""``data prepare`` from captures and CSVs to a store that can be audited, and drivers that other packages bring."""

from __future__ import annotations

import re
import sys
from importlib import metadata
from pathlib import Path

import pytest

from datasets_registry.capture.rules import FlowRules
from datasets_registry.drivers import BUILT_IN, driver_names, load_driver
from datasets_registry.drivers.driver import Driver, Label, Request, by_pattern, label_captures
from datasets_registry.store import FlowStore
from harness.cli import prepare as command
from janus_bench.errors import DataError, JanusBenchError, PluginError, UsageError
from tests.conftest import ROOT, Cli
from tests.replicas import Traps, Truth, write_cicddos2019, write_cicids2017


@pytest.fixture(scope="module")
def truth(tmp_path_factory: pytest.TempPathFactory) -> Truth:
    return write_cicddos2019(
        tmp_path_factory.mktemp("ddos"), seed=5, traps=Traps(missing=0.05, duplicated=0.05, broken=1)
    )


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("JANUS_BENCH_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


def test_prepare_prints_clock_account_and_audit(
    truth: Truth, home: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("COLUMNS", "400")  # no cell is broken
    command.prepare("cicddos2019", truth.captures, truth.labels)
    printed = capsys.readouterr()
    assert re.search(
        r"01-12: CSV start − first packet over \d+ shared 5-tuples: \+0 s in 100\.0% \(.*: UTC-4 or UTC-3\)",
        printed.err,
    )
    assert "03-11: CSV start − first packet" in printed.err
    assert re.search(r"Syn.csv: of \d+ rows, 1 bad rows", printed.err)
    assert "an unmatched flow is not benign" in printed.err
    # the audit comes last
    account = {line.split("  ")[0].strip(): line.split() for line in reversed(printed.out.splitlines())}
    matched = [flow for flow in truth.matched() if flow.label == "DrDoS_DNS"]
    assert account["DrDoS_DNS"][1] == str(len(matched))
    assert "packets in captures that hold nearly every packet twice" in " ".join(printed.out.split())
    store = FlowStore.open(home / "datasets" / "cicddos2019")
    assert store.n_flows == len(truth.matched())
    assert store.manifest["remove_mirrored"] is True
    assert store.manifest["driver"] == "cicddos2019"
    assert store.manifest["licence"] == load_driver("cicddos2019").licence
    assert sum(family[0] for family in store.manifest["families"].values()) == store.n_flows


def test_a_wrong_clock_stops_with_the_diagnostic_and_the_captures_are_not_read_again(
    tmp_path: Path, home: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    wrong = write_cicddos2019(tmp_path, seed=5, traps=Traps(wrong_zone_day="03-11", wrong_zone_hours=5))
    with pytest.raises(DataError, match=r"03-11: .* --time-offset 18000"):
        command.prepare("cicddos2019", wrong.captures, wrong.labels)
    assert "+18000 s in 100.0%" in capsys.readouterr().err
    assert not (home / "datasets" / "cicddos2019").exists()

    def never(*_: object) -> None:
        raise AssertionError("a capture was read again")

    monkeypatch.setattr("datasets_registry.extraction.extract_flows", never)
    command.prepare("cicddos2019", wrong.captures, wrong.labels, 18000.0)
    assert FlowStore.open(home / "datasets" / "cicddos2019").n_flows == len(wrong.flows)
    assert [path.name for path in (home / "datasets").iterdir() if not path.name.startswith(".")] == ["cicddos2019"]
    assert not (home / "datasets" / ".extracted" / "cicddos2019").exists()


def test_the_command_line(truth: Truth, tmp_path: Path):
    cli = Cli(sys.executable, tmp_path / "home", tmp_path)
    folders = ("--captures", truth.captures, "--labels", truth.labels)
    done = cli("data", "prepare", "cicddos2019", *folders, "--as", "mine", "--time-offset", "-3600")
    assert done.returncode == 0, done.stderr
    assert "mine: " in done.stdout
    assert "as given" not in done.stderr  # no group needs it
    assert (tmp_path / "home" / "datasets" / "mine" / "manifest.json").is_file()
    refused = cli("data", "prepare", "cicids2017", *folders)
    assert refused.returncode == 3
    assert refused.stderr.count("\n") == 1


def test_options_and_another_name(tmp_path: Path, home: Path):
    week = write_cicids2017(tmp_path, seed=2)
    command.prepare("cicids2017[labels=corrected]", week.captures, name="ids_corrected")
    manifest = FlowStore.open(home / "datasets" / "ids_corrected").manifest
    assert manifest["name"] == "ids_corrected"
    assert manifest["options"] == {"labels": "corrected"}
    assert (
        manifest["labels"]["Infiltration - Portscan"]["flows"]
        == sum(flow.corrected == "Infiltration - Portscan" for flow in week.flows)
        > 0
    )


@pytest.mark.parametrize(
    ("request_text", "name", "kind", "said"),
    [
        ("cicddos2018", "", UsageError, "unknown dataset to prepare 'cicddos2018'. Did you mean 'cicddos2019'?"),
        ("cicddos2019[labels=original]", "", UsageError, "has no parameters, but labels"),
        ("cicids2017[labels=best]", "", UsageError, "labels='best' must be one of original, corrected"),
        ("cicids2017[label=original]", "", UsageError, "Did you mean 'labels'?"),
        ("cicddos2019", "a/b", UsageError, "dataset name 'a/b'"),
        ("cicddos2019", "synthetic_home", UsageError, "belongs to a plugin's dataset"),
        ("cicids2017", "", DataError, "is a capture of cicids2017; expected Monday-WorkingHours"),
    ],
)
def test_mistakes_are_one_line_before_anything_is_read(
    truth: Truth, home: Path, request_text: str, name: str, kind: type[JanusBenchError], said: str
):
    with pytest.raises(kind) as error:
        command.prepare(request_text, truth.captures, truth.labels, name=name)
    assert said in str(error.value)
    assert "\n" not in str(error.value)
    assert not home.exists()


def test_a_csv_without_a_column_stops_before_the_captures_are_read(tmp_path: Path, home: Path):
    damaged = write_cicddos2019(tmp_path, seed=5)
    path = damaged.labels / "03-11" / "Syn.csv"
    path.write_text(path.read_text().replace(" Timestamp,", "", 1))
    with pytest.raises(DataError, match=r"Syn\.csv: no column 'Timestamp' in its header of 87"):
        command.prepare("cicddos2019", damaged.captures, damaged.labels)
    assert not home.exists()


# --- the registry


def test_the_built_in_drivers_say_who_made_what():
    assert set(BUILT_IN) <= set(driver_names())
    for name in BUILT_IN:
        driver = load_driver(name)
        assert driver.name == name
        assert driver.licence
        assert re.search(r"20\d\d", driver.citation)
        assert driver.group_of("notes.txt") is None


@pytest.mark.parametrize(
    ("name", "path", "group"),
    [
        ("cicids2017", "Wednesday-workingHours.pcap", "wednesday"),
        ("cicids2017", "pcaps/Thursday-WorkingHours.pcap.gz", "thursday"),
        ("cicids2017", "Thursday-WorkingHours-Morning-WebAttacks.pcap_ISCX.csv", None),
        ("cicids2018", "Wednesday-14-02-2018/pcap/UCAP172.31.69.25", "14-02"),
        ("cicids2018", "x/Friday-02-03-2018/pcap/pcap/capDESKTOP-AN3U28N-172.31.64.111.pcap.gz", "02-03"),
        ("cicids2018", "Friday-16-02-2018/UCAP172.31.69.25-part1", "16-02"),
        ("cicids2018", "Friday-16-02-2018/UCAP172.31.69.25 - Copy", None),
        ("cicids2018", "Saturday-17-02-2018/UCAP172.31.69.25", None),
        ("cicids2018", "Wednesday-14-02-2018/logs.zip", None),
        ("cicids2018", "UCAP172.31.69.25", None),
        ("cicddos2019", "PCAP-01-12/SAT-01-12-2018_0818", "01-12"),
        ("cicddos2019", "SAT-03-11-2018_0", "03-11"),
        ("cicddos2019", "SAT-03-11-2018_0145.pcap", "03-11"),
        ("cicddos2019", "SAT-04-11-2018_0", None),
    ],
)
def test_captures_find_their_group(name: str, path: str, group: str | None):
    assert load_driver(name).group_of(path) == group


def test_a_driver_of_another_package_is_one_entry_point(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    (tmp_path / "their_driver.py").write_text(
        "from datasets_registry.drivers.driver import *\n"
        "DRIVER = Driver('theirs', 's', 'l', 'c', 'a.pcap', by_pattern({'day': 'a.pcap'}), lambda _: None)\nOTHER = 7\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    points = [
        metadata.EntryPoint(name, f"their_driver:{target}", "janus_bench.drivers")
        for name, target in (("theirs", "DRIVER"), ("other", "OTHER"), ("absent", "NOTHING"), ("misnamed", "DRIVER"))
    ]
    monkeypatch.setattr(metadata, "entry_points", lambda group: points if group == "janus_bench.drivers" else [])
    assert set(driver_names()) == {*BUILT_IN, "theirs", "other", "absent", "misnamed"}
    assert load_driver("theirs").group_of("x/A.pcap") == "day"
    for name, said in (
        ("other", "is no Driver"),
        ("absent", "AttributeError"),
        ("misnamed", "is no Driver called 'misnamed'"),
    ):
        with pytest.raises(PluginError, match=said):
            load_driver(name)


def test_a_driver_has_a_name_that_a_command_line_takes():
    with pytest.raises(UsageError, match="driver name 'My Net'"):
        Driver("My Net", "", "", "", "", by_pattern({}), lambda _: _never, FlowRules())


def _never(_group, _flows):
    raise AssertionError


# --- the guide


def test_the_driver_of_the_guide_works(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Its code is run on captures and CSVs in the format that it describes."""
    guide = (ROOT / "docs" / "adding-a-dataset.md").read_text()
    (source,) = re.findall(r"```python\n(.*?)```", guide, flags=re.DOTALL)
    (tmp_path / "guide_driver.py").write_text(source)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "guide_driver", raising=False)
    driver = __import__("guide_driver").DRIVER
    (sample,) = re.findall(r"```csv\n(.*?)```", guide, flags=re.DOTALL)
    folder = tmp_path / "labels"
    folder.mkdir()
    (folder / "flows-day1.csv").write_text(sample)
    assert driver.group_of("day1/eth0-day1.pcap") == "day1"
    flows = guide_flows()
    found = driver.labeller(Request(folder, frozenset({"day1"})))("day1", flows)
    assert found.table["label"].to_list() == ["benign", "Port Scan"]
    assert found.flow.tolist() == [0, 1]


def guide_flows():
    """The two flows that the guide's rows are about, and one that has no row."""
    import polars as pl

    from tests.test_drivers_match import flow_key

    start = 1_704_877_200 * 10**9  # 10 January 2024, 10:00 at UTC+1
    tuples = [
        ("10.0.0.5", 50312, "10.0.0.1", 53, 17),
        ("10.0.0.9", 41000, "10.0.0.5", 22, 6),
        ("10.0.0.9", 41001, "10.0.0.5", 23, 6),
    ]
    keys = [flow_key(*tuple5) for tuple5 in tuples]
    schema = {"a_high": pl.UInt64, "a_low": pl.UInt64, "b_high": pl.UInt64, "b_low": pl.UInt64, "rest": pl.UInt64}
    times = pl.DataFrame({"first": [start + 250_000_000, start + 10**9, start + 10**9]}).with_columns(
        last=pl.col("first") + 1000
    )
    return (
        pl.DataFrame(keys, schema=schema, orient="row").hstack(times).with_columns(file=pl.lit("day1/eth0-day1.pcap"))
    )


def test_labels_by_capture_are_counted():
    import polars as pl

    flows = pl.DataFrame({"file": ["b/1.pcap", "a/1.pcap", "c/1.pcap", "a/1.pcap"]})
    kinds = {"a": Label("DoS X", "DoS"), "b": Label("Y", "y", False)}
    found = label_captures(flows, lambda path: kinds.get(path[0]), pl.Series([True, True, True, False]))
    assert found.flow.tolist() == [0, 1]
    assert found.table.select("label", "family", "attack", "file", "row").rows() == [
        ("Y", "y", False, "b/1.pcap", -1),
        ("DoS X", "DoS", True, "a/1.pcap", -1),
    ]
    counted = {label: (counts["flows"], counts["unmatched_flows"]) for label, counts in found.report.items()}
    assert counted == {"Y": (1, 0), "DoS X": (1, 1), "(no label)": (0, 1)}
