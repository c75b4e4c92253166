"""Label files that went wrong before: encodings, ends before starts, other words for benign, times of another
format."""

from __future__ import annotations

import sys
import unicodedata
from pathlib import Path

import pytest

from datasets_registry.drivers import cicddos2019, cicids2017
from datasets_registry.drivers.csv_rows import read_rows
from datasets_registry.drivers.driver import Driver
from datasets_registry.ingest import ingest_folder
from datasets_registry.labelling.benign import benign_words
from datasets_registry.labelling.csv_text import check_csv_text
from datasets_registry.labelling.labels_csv import read_labels
from datasets_registry.store import FlowStore
from harness.cli import prepare as command
from janus_bench.errors import DataError
from tests import pcap_builders as build
from tests.conftest import SHARED_DATA, Cli, needs_shared_data
from tests.test_drivers_csv import HEADER as CIC_HEADER
from tests.test_drivers_csv import ROW as CIC_ROW

S = 10**9
HEADER = "file,ts_start,src_ip,src_port,dst_ip,dst_port,proto,label,ts_end"
CASES = SHARED_DATA / "cases"


def tcp(number: int) -> bytes:
    return build.ethernet(build.ipv4("10.0.0.1", "10.0.0.2", build.TCP, build.tcp(1000 + number, 80, build.SYN)))


def folder_with(
    tmp_path: Path, rows: list[tuple[str, str]], name: str = "a.pcap", file: str = "a.pcap", start: str = "{}.000000"
) -> Path:
    """A capture whose flow ``i`` is two packets, at ``i`` and ``i + .5`` s; ``rows``: label and ts_end of each."""
    folder = tmp_path / "captures"
    folder.mkdir(exist_ok=True)
    packets = [(i * S + half * S // 2, tcp(i)) for i in range(len(rows)) for half in (0, 1)]
    (folder / name).write_bytes(build.pcap(packets))
    lines = [
        f"{file},{start.format(i)},10.0.0.1,{1000 + i},10.0.0.2,80,6,{label},{end}"
        for i, (label, end) in enumerate(rows)
    ]
    (folder / "labels.csv").write_text("\n".join([HEADER, *lines]) + "\n", encoding="utf-8")
    return folder


# --- ends before starts


def test_an_end_before_its_start_counts_as_none_and_is_counted(tmp_path):
    folder = folder_with(
        tmp_path, [("benign", "0.600000"), ("benign", "0.900000"), ("scan", "2.600000"), ("scan", "0"), ("scan", "")]
    )
    manifest = ingest_folder(folder, tmp_path / "store", name="x")
    assert (manifest["n_flows"], manifest["unmatched_flows"]) == (5, 0)
    assert manifest["warnings"] == [
        "labels.csv: 2 rows whose ts_end lies before their ts_start, the first in line 3; it counts as none"
    ]
    everywhere = folder_with(tmp_path, [("benign", ""), *[(f"scan{i}", f"{i - 1}.999999") for i in range(1, 5)]])
    manifest = ingest_folder(everywhere, tmp_path / "store", name="x")
    assert (manifest["n_flows"], manifest["warnings"][0][:18]) == (5, "labels.csv: 4 rows")


def test_an_end_that_is_written_less_exactly_than_its_start_is_no_end_before_it(tmp_path):
    folder = folder_with(tmp_path, [("benign", str(i)) for i in range(3)], start="{}.250000")
    assert read_labels(folder).warnings == ()
    assert read_labels(folder).rows["end"].null_count() == 0
    early = folder_with(tmp_path, [("benign", "9"), ("benign", "0")], start="{}.250000")
    assert read_labels(early).warnings


@pytest.mark.parametrize("start", ["9999999999", "9000000001", "2999-01-01 00:00", "1960-01-01 00:00"])
def test_a_time_that_cannot_be_is_one_line_and_not_another_time(tmp_path, start):
    folder = folder_with(tmp_path, [("benign", ""), ("scan", "")], start=start)
    with pytest.raises(
        DataError, match=rf"labels\.csv: line 2: ts_start is '{start}'; expected seconds since the epoch"
    ):
        read_labels(folder)


@pytest.mark.parametrize("date", ["6/7/9999 9:15", "6/7/2300 9:15", "6/7/1969 9:15", "6/7/0001 9:15"])
def test_a_year_that_cannot_be_is_a_bad_row(tmp_path, date):
    path = tmp_path / "x.csv"
    path.write_text("\n".join([CIC_HEADER, CIC_ROW, CIC_ROW.replace("6/7/2017 9:15", date)]) + "\n")
    found = read_rows(path, cicids2017.CSVS.form, cicids2017.LABELS)
    assert (found.rows.height, list(found.faults)) == (1, ["Timestamp"])


# --- benign


@pytest.mark.parametrize(
    "word",
    ["Normal", "0", "BenignTraffic", "background", "NaN", "Benign_Final", "legitimate", "none", "Clean", "non-attack"],
)
def test_labels_that_look_benign_and_datasets_without_benign_flows_are_warned_of(tmp_path, word):
    rows = [(word, ""), (word, ""), ("scan", "")]
    manifest = ingest_folder(folder_with(tmp_path, rows), tmp_path / "store", name="x")
    assert (manifest["benign"], manifest["attack"]) == (0, 3)
    assert manifest["warnings"][0].startswith("no flow is benign: only the label 'benign' means that")
    assert (
        f"labels that look benign are taken for attacks: '{word}' (2 flows); if that is what they mean, add the "
        f"dataset again with --replace --benign '{word}'"
    ) == manifest["warnings"][1]
    manifest = ingest_folder(folder_with(tmp_path, [*rows, ("BENIGN", "")]), tmp_path / "store", name="x")
    assert [line[:24] for line in manifest["warnings"]] == ["labels that look benign "]
    assert FlowStore.open(tmp_path / "store").manifest["warnings"] == manifest["warnings"]
    # the option that the warning names does what it says
    meant = ingest_folder(folder_with(tmp_path, rows), tmp_path / "store", name="x", benign_words=benign_words(word))
    assert (meant["benign"], meant["attack"], meant["warnings"]) == (2, 1, [])
    assert set(meant["families"]) == {"benign/benign", "attack/scan"}


@pytest.mark.parametrize("word", ["DoS Hulk", "scan", "1", "attack", "abnormal", "malware", "Bot"])
def test_attacks_do_not_look_benign(tmp_path, word):
    manifest = ingest_folder(folder_with(tmp_path, [("benign", ""), (word, "")]), tmp_path / "store", name="x")
    assert manifest["warnings"] == []


# --- names in another form


@pytest.mark.parametrize(("on_disk", "in_file"), [("NFD", "NFC"), ("NFC", "NFD"), ("NFC", "NFC"), ("NFD", "NFD")])
def test_a_name_whose_accents_are_written_in_another_form_is_found(tmp_path, on_disk, in_file):
    name = "trafik_Zürich_é.pcap"
    written = unicodedata.normalize(in_file, name)
    folder = folder_with(tmp_path, [("benign", ""), ("scan", "")], unicodedata.normalize(on_disk, name), written)
    manifest = ingest_folder(folder, tmp_path / "store", name="x", stream=True)
    assert (manifest["n_flows"], list(manifest["files"]), manifest["unmatched_flows"]) == (2, [written], 0)
    (folder / "labels.csv").write_text((folder / "labels.csv").read_text().replace("Z", "X"))
    with pytest.raises(DataError, match="1 file\\(s\\) named in it are not in the folder"):
        read_labels(folder)


# --- texts


TEXTS = {
    "UTF-16 with its mark": (lambda text: text.encode("utf-16"), "is written in UTF-16: save it as UTF-8"),
    "UTF-16BE with its mark": (lambda text: b"\xfe\xff" + text.encode("utf-16-be"), "is written in UTF-16"),
    "UTF-16LE": (lambda text: text.encode("utf-16-le"), "is written in UTF-16LE"),
    "UTF-16BE": (lambda text: text.encode("utf-16-be"), "is written in UTF-16BE"),
    "UTF-32 with its mark": (lambda text: text.encode("utf-32"), "is written in UTF-32: save"),
    "UTF-32BE": (lambda text: text.encode("utf-32-be"), "is written in UTF-32BE"),
    "bytes": (lambda text: b"\x93\x00\x17;\n" + text.encode(), "its first line holds bytes that no text has"),
    "CR": (lambda text: text.replace("\n", "\r").encode(), "its lines end in CR alone"),
    "semicolons": (lambda text: text.replace(",", ";").encode(), "has semicolons between its cells"),
    "tabs": (lambda text: text.replace(",", "\t").encode(), "has tabs between its cells"),
    "bars": (lambda text: text.replace(",", "|").encode(), "has bars between its cells"),
    "gzip": (lambda text: b"\x1f\x8b\x08\0" + text.encode(), "is packed with gzip"),
    "zip": (lambda text: b"PK\3\4" + text.encode(), "is packed with zip"),
}


@pytest.mark.parametrize("which", TEXTS)
def test_a_csv_that_is_no_lines_of_utf_8_with_commas_is_one_line_that_says_what_it_is(tmp_path, which):
    change, said = TEXTS[which]
    folder = folder_with(tmp_path, [("benign", ""), ("scan", "")])
    labels = folder / "labels.csv"
    labels.write_bytes(change(labels.read_text()))
    theirs = tmp_path / "Tuesday.csv"
    theirs.write_bytes(change(f"{CIC_HEADER}\n{CIC_ROW}\n"))
    for read in (lambda: read_labels(folder), lambda: read_rows(theirs, cicids2017.CSVS.form, cicids2017.LABELS)):
        with pytest.raises(DataError) as error:
            read()
        assert said in str(error.value)
        assert "\n" not in str(error.value)
        assert ".csv: " in str(error.value)


@pytest.mark.parametrize(
    "text", ["a,b\r\n1,2\r\n", "a,b\n1,2", "a,b\r\n", "\ufeffa,b\n", "a\n1\n", "", "a,b\n1,2\r\r\n", "é,ü\n"]
)
def test_ordinary_texts_are_let_through(tmp_path, text):
    path = tmp_path / "x.csv"
    path.write_bytes(text.encode())
    check_csv_text(path)


def test_a_byte_that_is_not_utf_8_is_named_with_its_line(tmp_path):
    folder = folder_with(tmp_path, [("benign", ""), ("scan", "")])
    (folder / "labels.csv").write_bytes((folder / "labels.csv").read_bytes().replace(b"scan", b"sc\xe4n"))
    with pytest.raises(DataError, match=r"labels\.csv: line 3: byte 0xe4 is not UTF-8"):
        read_labels(folder)


# --- rows that a driver cannot read


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        ("6/7/2017 9:15", "7/4/2017 9:17 AM", "Timestamp '7/4/2017 9:17 AM' (line 3) is not d/M/yyyy h:mm[:ss]"),
        ("6/7/2017 9:15", "2017-07-04 09:17:00", "Timestamp '2017-07-04 09:17:00' (line 3) is not d/M/yyyy h:mm[:ss]"),
        ("6/7/2017 9:15", "7/13/2017 9:17", "Timestamp '7/13/2017 9:17' (line 3) is not d/M/yyyy h:mm[:ss]"),
        ("6/7/2017 9:15", "", "Timestamp empty (line 3) is not d/M/yyyy h:mm[:ss]"),
        ("10.0.0.1", "10.0.0", "Source IP '10.0.0' (line 3) is not an IPv4 or IPv6 address"),
        ("10.0.0.2", "host", "Destination IP 'host' (line 3) is not an IPv4 or IPv6 address"),
        ("10.0.0.2", "::1", "Destination IP '::1' (line 3) is not of the IP version of Source IP"),
        ("1000", "70000", "Source Port '70000' (line 3) is not a port, 0 to 65535"),
        (",80,", ",http,", "Destination Port 'http' (line 3) is not a port, 0 to 65535"),
        (",6,", ",tcp,", "Protocol 'tcp' (line 3) is not the number of a protocol"),
    ],
)
def test_rows_that_cannot_be_read_say_the_column_and_show_one(tmp_path, before, after, said):
    wrong = CIC_ROW.replace(before, after, 1)
    path = tmp_path / "x.csv"
    path.write_text("\n".join([CIC_HEADER, CIC_ROW, wrong, wrong]) + "\n")
    found = read_rows(path, cicids2017.CSVS.form, cicids2017.LABELS)
    assert found.left_out["bad_rows"] == 2
    assert list(found.faults.values()) == [(2, said)]


def test_the_first_row_of_each_column_is_shown_whatever_the_blocks(tmp_path, monkeypatch):
    lines = [
        CIC_ROW,
        CIC_ROW.replace("9:15", "noon"),
        CIC_ROW.replace("1000", "-1"),
        CIC_ROW.replace("9:15", "9:77"),
        CIC_ROW,
    ]
    path = tmp_path / "x.csv"
    path.write_text("\n".join([CIC_HEADER, *lines]) + "\n")
    expected = {
        "Timestamp": (2, "Timestamp '6/7/2017 noon' (line 3) is not d/M/yyyy h:mm[:ss]"),
        "Source Port": (1, "Source Port '-1' (line 4) is not a port, 0 to 65535"),
    }
    for size in (1, 70, 1 << 20):
        monkeypatch.setattr("datasets_registry.drivers.csv_rows.BLOCK", size)
        assert read_rows(path, cicids2017.CSVS.form, cicids2017.LABELS).faults == expected


def prepared(tmp_path: Path, driver: Driver, capture: str, csv: str, times: list[str], start: int) -> None:
    """``data prepare`` of one capture and one CSV; flow ``i`` begins at ``start + 60 i``."""
    for name in ("p", "l"):
        (tmp_path / name).mkdir()
    (tmp_path / "p" / capture).write_bytes(build.pcap([((start + 60 * i) * S, tcp(i)) for i in range(len(times))]))
    (tmp_path / "l" / csv).parent.mkdir(exist_ok=True)
    rows = [CIC_ROW.replace("1000", str(1000 + i)).replace("6/7/2017 9:15", time) for i, time in enumerate(times)]
    (tmp_path / "l" / csv).write_text("\n".join([CIC_HEADER, *rows]) + "\n")
    command.prepare(driver.name, tmp_path / "p", tmp_path / "l", name="x")


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("JANUS_BENCH_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


FOURTH_OF_JULY = 1499170620  # 2017-07-04 09:17 at UTC-3


@pytest.mark.parametrize("written", ["7/4/2017 9:{} AM", "2017-07-04 09:{}:00"])
def test_times_of_another_format_are_the_cause_that_is_named(home, tmp_path, written, capsys):
    times = [written.format(17 + i) for i in range(6)]
    with pytest.raises(DataError) as error:
        prepared(tmp_path, cicids2017.DRIVER, "Tuesday-WorkingHours.pcap", "Tuesday.csv", times, FOURTH_OF_JULY)
    assert f"Timestamp {times[0]!r} (line 2) is not d/M/yyyy h:mm[:ss] (6 rows)" in str(error.value)
    assert "belong together" not in str(error.value)
    assert f"6 bad rows: Timestamp {times[0]!r} (line 2)" in capsys.readouterr().err


def test_months_before_days_propose_no_offset(home, tmp_path):
    with pytest.raises(DataError) as error:
        prepared(
            tmp_path,
            cicids2017.DRIVER,
            "Tuesday-WorkingHours.pcap",
            "Tuesday.csv",
            [f"7/4/2017 9:{17 + i}" for i in range(6)],
            FOURTH_OF_JULY,
        )
    assert "--time-offset" not in str(error.value)
    assert "-88.0 days off" in str(error.value)
    assert (
        "they were read as d/M/yyyy h:mm[:ss]: are they written in another order, or the captures of other days?"
        in str(error.value)
    )


def test_days_that_disagree_propose_no_offset_either(home, tmp_path):
    times = [f"2018-11-{3 + i:02} 10:0{i}:00" for i in range(6)]
    with pytest.raises(DataError) as error:
        prepared(tmp_path, cicddos2019.DRIVER, "SAT-03-11-2018_0", "03-11/Syn.csv", times, 1_500_000_000)
    assert "--time-offset" not in str(error.value)
    assert "yyyy-MM-dd hh:mm[:ss[.ffffff]]" in str(error.value)


def test_the_right_format_is_prepared(home, tmp_path):
    prepared(
        tmp_path,
        cicids2017.DRIVER,
        "Tuesday-WorkingHours.pcap",
        "Tuesday.csv",
        [f"4/7/2017 9:{17 + i}" for i in range(6)],
        FOURTH_OF_JULY,
    )
    assert FlowStore.open(home / "datasets" / "x").n_flows == 6


# --- the cases that were handed in


@needs_shared_data
def test_the_cases_of_labels_csv(tmp_path):
    early = ingest_folder(CASES / "label_end_before_start", tmp_path / "early", name="x")
    assert (early["n_flows"], early["warnings"][0][:18]) == (6, "labels.csv: 2 rows")
    otherwise = ingest_folder(CASES / "benign_spelled_otherwise", tmp_path / "otherwise", name="x")
    assert [line[:18] for line in otherwise["warnings"]] == ["no flow is benign:", "labels that look b"]


@needs_shared_data
@pytest.mark.parametrize(
    ("case", "said"),
    [
        ("csv_utf16", "ISCX.csv: is written in UTF-16"),
        ("csv_am_pm", "Timestamp '7/4/2017 9:17 AM' (line 2) is not d/M/yyyy h:mm[:ss]"),
    ],
)
def test_the_cases_of_csvs(tmp_path, case, said):
    done = Cli(sys.executable, tmp_path / "home", CASES / case)(
        "data", "prepare", "cicids2017", "--captures", "p", "--labels", "l", "--as", "x"
    )
    assert done.returncode == 3
    assert said in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr
