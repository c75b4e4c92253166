"""Reading published CSVs: their real headers and rows, and everything that can be wrong with one; each line is used or
counted."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from datasets_registry.drivers import cicddos2019, cicids2017
from datasets_registry.drivers.csv_rows import CsvRows, read_rows
from datasets_registry.drivers.driver import LabelMap
from datasets_registry.labelling.keys import KEY_COLUMNS
from datasets_registry.labelling.times import NS
from janus_bench.errors import DataError
from tests.conftest import SHARED_DATA, needs_shared_data
from tests.test_drivers_match import flow_key as key

SAMPLES = SHARED_DATA / "csv_samples"
HEADER = (
    "Flow ID, Source IP, Source Port, Destination IP, Destination Port, Protocol, Timestamp, Flow Duration,Flow "
    "Bytes/s, Flow Packets/s, Label"
)
ROW = "x,10.0.0.1,1000,10.0.0.2,80,6,6/7/2017 9:15,113,1.5,2.5,BENIGN"
MINUTE = 60 * NS


def read(tmp_path: Path, *lines: str | bytes, header: str = HEADER) -> CsvRows:
    path = tmp_path / "some.csv"
    path.write_bytes(
        b"\r\n".join(line.encode() if isinstance(line, str) else line for line in (header, *lines)) + b"\r\n"
    )
    return read_rows(path, cicids2017.CSVS.form, cicids2017.LABELS)


def account(found: CsvRows) -> int:
    return found.rows.height + sum(found.left_out.values())


# --- what is published


@needs_shared_data
def test_the_real_sample_of_cicids2017():
    found = read_rows(
        SAMPLES / "cic_ids2017_GeneratedLabelledFlows_header_assembled.csv", cicids2017.CSVS.form, cicids2017.LABELS
    )
    assert found.rows["label"].to_list() == ["benign", "Web Attack - Brute Force", "benign", "benign"]
    assert found.rows["attack"].to_list() == [False, True, False, False]
    # 6 July 2017, 09:15, to the minute
    assert found.rows["start"].unique().to_list() == [1499332500 * NS]
    assert found.rows["precision"].unique().to_list() == [MINUTE]
    assert found.rows["duration"].to_list() == [113_000, 5185118_000, 259762_000, 357626_000]
    assert found.rows.select(KEY_COLUMNS).row(1) == key("172.16.0.1", 44380, "192.168.10.50", 80, 6)
    assert not any(found.left_out.values())


@needs_shared_data
def test_the_real_sample_of_cicddos2019():
    found = read_rows(SAMPLES / "cic_ddos2019_03-11_Portmap.csv", cicddos2019.CSVS.form, cicddos2019.LABELS)
    assert found.rows["label"].to_list() == ["Portmap"] * 6
    assert found.rows["start"][0] == 1541239295_983831_000
    assert found.rows["precision"].unique().to_list() == [1000]
    assert found.rows.select(KEY_COLUMNS).row(0) == key("172.16.0.5", 932, "192.168.50.4", 44723, 17)
    assert +found.noted == {"infinite_values": 1}


LABELS_2017 = (
    "BENIGN", "DoS Hulk", "PortScan", "DDoS", "DoS GoldenEye", "FTP-Patator", "SSH-Patator", "DoS slowloris",
    "DoS Slowhttptest", "Bot", "Infiltration", "Heartbleed", "Infiltration - Portscan",
    *(
        f"Web Attack {dash} {kind}"
        for dash in ("–", "\x96", "\ufffd", "-", "?", "Â\x96", "Â–", "â€“")  # the last three are encoded twice
        for kind in ("Brute Force", "XSS", "Sql Injection", "SQL Injection")
    ),
)  # fmt: skip
LABELS_2019 = (
    "BENIGN", "Syn", "TFTP", "UDPLag", "UDP-lag", "WebDDoS", "Portmap",
    *(
        prefix + name
        for prefix in ("", "DrDoS_")
        for name in ("DNS", "LDAP", "MSSQL", "NTP", "NetBIOS", "SNMP", "SSDP", "UDP")
    ),
)  # fmt: skip


@pytest.mark.parametrize(
    ("labels", "written", "classes"), [(cicids2017.LABELS, LABELS_2017, 16), (cicddos2019.LABELS, LABELS_2019, 14)]
)
def test_every_published_spelling_is_known(labels: LabelMap, written: tuple[str, ...], classes: int):
    for text in written:
        for spelling in (text, text.upper(), f" {text} "):
            found = labels.classify(spelling)
            assert found is not None, spelling
            assert found.attack == (text != "BENIGN")
            assert found.label.split()[0].lower()[-3:] == text.replace("UDPLag", "UDP-lag").split()[0].lower()[-3:]
    assert len({labels.classify(text) for text in written}) == classes
    assert labels.classify("Unheard Of") is None


# --- times


@pytest.mark.parametrize(
    ("text", "hour", "minute", "second", "precision"),
    [
        ("7/7/2017 8:59", 8, 59, 0, MINUTE),
        ("7/7/2017 12:01", 12, 1, 0, MINUTE),
        ("7/7/2017 1:02", 13, 2, 0, MINUTE),
        ("7/7/2017 7:03", 19, 3, 0, MINUTE),
        ("07/07/2017 03:04:05", 15, 4, 5, NS),
        ("07/07/2017 08:04:05", 8, 4, 5, NS),
    ],
)
def test_hours_one_to_seven_are_the_afternoon(
    tmp_path: Path, text: str, hour: int, minute: int, second: int, precision: int
):
    found = read(tmp_path, ROW.replace("6/7/2017 9:15", text))
    seventh_of_july = 1499385600
    assert found.rows["start"].to_list() == [(seventh_of_july + 3600 * hour + 60 * minute + second) * NS]
    assert found.rows["precision"].to_list() == [precision]


def test_a_fraction_of_zero_that_was_dropped_is_as_precise_as_its_file(tmp_path: Path):
    path = tmp_path / "some.csv"
    row = ROW.replace("6/7/2017 9:15", "2018-11-03 10:01:35")
    path.write_text("\n".join([HEADER, row, row.replace(":35", ":36.5"), row.replace(":35", "")]))
    found = read_rows(path, cicddos2019.CSVS.form, cicddos2019.LABELS)
    assert found.rows["start"].to_list() == [1541239295 * NS, 1541239296 * NS + NS // 2, 1541239260 * NS]
    assert found.rows["precision"].to_list() == [1000, 1000, MINUTE]


# --- what can be wrong


def test_blank_rows_repeated_headers_and_short_and_long_lines(tmp_path: Path):
    found = read(tmp_path, ROW, "," * 10, "", HEADER, "x,10.0.0.1,1000", ROW + ",7,8", ROW.replace("1000", "1001"))
    assert found.rows["position"].to_list() == [0, 5, 6]
    assert +found.left_out == {"blank_rows": 2, "repeated_headers": 1, "bad_rows": 1}
    assert found.lines == account(found) == 7


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("10.0.0.1", "10.0.0"),
        ("10.0.0.1", "::1"),
        ("1000", "70000"),
        ("80", "-1"),
        ("6,", "x,"),
        ("6/7/2017", "6/13/2017"),
        ("9:15", "9:75"),
        ("9:15", "noon"),
    ],
)
def test_a_row_that_cannot_be_read_is_left_out_and_counted(tmp_path: Path, before: str, after: str):
    found = read(tmp_path, ROW, ROW.replace(before, after, 1))
    assert found.rows["position"].to_list() == [0]
    assert +found.left_out == {"bad_rows": 1}


def test_bytes_that_are_no_text(tmp_path: Path):
    found = read(
        tmp_path,
        ROW.replace("BENIGN", "").encode() + b"Web Attack \x96 XSS",
        b"\x81\xff" + ROW.encode(),
        ROW.encode().replace(b"10.0.0.1", b"10.\xff.0.1"),
        ROW.encode().replace(b"10.0.0.1", b"10.0\x00.0.1"),
        b'"' + ROW.encode(),
        ROW,
    )
    assert found.rows["label"].to_list() == ["Web Attack - XSS", "benign", "benign", "benign"]
    assert found.rows["position"].to_list() == [0, 1, 4, 5]
    assert +found.left_out == {"bad_rows": 2}
    assert +found.noted == {"undecodable_bytes": 3}


def test_a_file_is_read_in_blocks_with_the_same_result(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    seconds = ROW.replace("9:15", "9:15:16")
    lines = [
        ROW,
        "," * 10,
        HEADER,
        "",
        ROW.replace("BENIGN", "DDoS"),
        "bad",
        seconds,
        *[ROW.replace("1000", str(port)) for port in range(50)],
        ROW,
    ]
    lines += [seconds.replace("16", "17.5"), ROW.replace("BENIGN", "Martian"), b"\xff" + ROW.encode()]
    whole = read(tmp_path, *lines)
    assert whole.rows["copy"].sum() == 2
    for size in (1, 100, 1000):
        monkeypatch.setattr("datasets_registry.drivers.csv_rows.BLOCK", size)
        parts = read(tmp_path, *lines)
        assert parts.rows.equals(whole.rows)
        assert (parts.lines, parts.left_out, parts.noted, parts.unknown) == (
            whole.lines,
            whole.left_out,
            whole.noted,
            whole.unknown,
        )


def test_damaged_files_end_in_an_account_or_in_one_line(tmp_path: Path):
    """Seeded: bytes of a file are overwritten, cut out and doubled."""
    random = np.random.default_rng(5)
    content = "\r\n".join([HEADER, *[ROW.replace("1000", str(1000 + port)) for port in range(20)]]).encode()
    path, refused = tmp_path / "some.csv", 0
    for _ in range(150):
        data = bytearray(content)
        for _ in range(random.integers(1, 12)):
            begin, length = random.integers(len(data)), random.integers(1, 60)
            piece = bytes(random.integers(0, 256, length, dtype=np.uint8))
            data[begin : begin + length] = [piece, b"", bytes(data[begin : begin + length]) * 2, b"\n\x00\"'"][
                random.integers(4)
            ]
        path.write_bytes(data)
        try:
            found = read_rows(path, cicids2017.CSVS.form, cicids2017.LABELS)
        except DataError as error:
            assert "\n" not in str(error)  # noqa: PT017
            refused += 1
        else:
            assert account(found) == found.lines
            assert found.rows.null_count().sum_horizontal().item() == 0
    assert refused < 75


def test_infinite_missing_and_negative_durations_count_as_none(tmp_path: Path):
    durations = ["Infinity", "NaN", "", "-7", "1e300", "12.0"]
    found = read(tmp_path, *(ROW.replace("113", text) for text in durations), ROW.replace("1.5", "Infinity"))
    assert found.rows["duration"].to_list() == [0, 0, 0, 0, 0, 12_000, 113_000]
    assert +found.noted == {"infinite_values": 3, "bad_durations": 5}


def test_unknown_labels_are_named_and_left_out(tmp_path: Path):
    found = read(tmp_path, ROW, ROW.replace("BENIGN", "Martian"), ROW.replace("BENIGN", ""))
    assert found.rows.height == 1
    assert +found.left_out == {"unknown_labels": 2}
    assert found.unknown == ("Martian",)


def test_a_row_that_says_the_same_is_a_copy_and_the_other_direction_is_not(tmp_path: Path):
    swapped = ROW.replace("10.0.0.1,1000,10.0.0.2,80", "10.0.0.2,80,10.0.0.1,1000")
    found = read(tmp_path, ROW, swapped, ROW.replace("1.5", "1.6"), ROW.replace("113", "114"))
    assert found.rows["copy"].to_list() == [False, False, True, False]
    assert found.rows.select(KEY_COLUMNS).n_unique() == 1


def test_protocols_that_the_meter_does_not_know_are_one_without_ports(tmp_path: Path):
    found = read(tmp_path, *(ROW.replace(",6,", f",{protocol},") for protocol in (0, 1, 58, 132)))
    assert found.rows.select(KEY_COLUMNS).unique().rows() == [key("10.0.0.1", 0, "10.0.0.2", 0, 0)]


@pytest.mark.parametrize(
    ("header", "said"),
    [
        (HEADER.replace(" Timestamp", " Time"), "no column 'Timestamp'"),
        (HEADER.replace(" Source IP", " Src IP").replace(" Label", "Class"), "no column 'Source IP', 'Label'"),
        ("", "no column"),
    ],
)
def test_a_missing_column_is_one_line(tmp_path: Path, header: str, said: str):
    with pytest.raises(DataError, match=said) as error:
        read(tmp_path, ROW, header=header)
    assert "\n" not in str(error.value)
    assert "some.csv" in str(error.value)


def test_odd_headers(tmp_path: Path):
    twice = HEADER + ", Label, Source IP"
    found = read(tmp_path, f"{ROW},DDoS,9.9.9.9", header="\ufeff" + twice.replace(" Flow Duration", "Something"))
    assert found.rows.select("label", "duration").row(0) == ("benign", 0)
    assert found.rows.select(KEY_COLUMNS).row(0) == key("10.0.0.1", 1000, "10.0.0.2", 80, 6)


@pytest.mark.parametrize("content", [b"", HEADER.encode()])
def test_a_file_without_rows(tmp_path: Path, content: bytes):
    path = tmp_path / "empty.csv"
    path.write_bytes(content)
    if content:
        assert read_rows(path, cicids2017.CSVS.form, cicids2017.LABELS).rows.schema == _schema(tmp_path)
    else:
        with pytest.raises(DataError, match=r"empty\.csv: no column"):
            read_rows(path, cicids2017.CSVS.form, cicids2017.LABELS)


def _schema(tmp_path: Path) -> pl.Schema:
    return read(tmp_path, ROW).rows.schema
