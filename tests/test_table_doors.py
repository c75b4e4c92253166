"""What stands at the doors of datasets of tables: which files are let in, which columns mean what, and what is said of
a dataset that is in.  The tables are SYNTHETIC and written here."""

from __future__ import annotations

import errno
import os
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from datasets_registry.audits.parts import repeated
from datasets_registry.drivers import load_driver
from datasets_registry.folders import DANGLING, HIDDEN, POINTER, SAME, SPECIAL, looks_like_table
from datasets_registry.store import FlowStore
from datasets_registry.tables import ingest
from datasets_registry.tables.layouts import NO_TABLE, layout_of, meter_words
from harness.cli import data, prepare
from janus_bench.errors import DataError, UsageError
from janus_bench.params import build_params
from tests.test_data_tables import HEADER, METER, add, home, netflow, write

assert home  # a fixture


def metered(port: int, time: str, label: str = "BENIGN") -> list[str]:
    """A row of CICFlowMeter, told from others by its source port."""
    numbers = ["1" for _ in METER[7:-1]]
    return ["f", "10.0.0.1", str(port), "10.0.0.2", "80", "6", time, *numbers, label]


# --- what is let in


@pytest.mark.parametrize("how", ["add", "prepare"])
def test_a_full_disk_names_the_folder_and_what_sets_it(home, tmp_path, monkeypatch, how):
    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    path = write(tmp_path / "NF-UNSW-NB15-v2.csv", HEADER, netflow(20, 1))
    monkeypatch.setattr(ingest.NpyFile, "append", full)
    with pytest.raises(UsageError) as error:
        add(home, [path]) if how == "add" else prepare.prepare("nf_v2", None, tmp_path)
    assert str(error.value) == (
        f"{home}: No space left on device; JANUS_BENCH_HOME names the folder that datasets are written to ({home})"
    )


def test_a_home_that_cannot_be_made_is_named_and_a_table_that_cannot_be_read_is_not_blamed_on_it(tmp_path, monkeypatch):
    path = write(tmp_path / "nf.csv", HEADER, netflow(20, 1))
    monkeypatch.setenv("JANUS_BENCH_HOME", str(path / "home"))
    with pytest.raises(UsageError, match=r"home.*: Not a directory; JANUS_BENCH_HOME names the folder"):
        data.add("t", [path], layout="netflow_v2")
    with pytest.raises(PermissionError), data.home_named():
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(tmp_path / "other.csv"))


def test_what_is_no_file_is_called_what_it_is(home, tmp_path):
    os.mkfifo(tmp_path / "pipe.csv")
    (tmp_path / "lost.csv").symlink_to("nowhere")
    for path, message in (
        (tmp_path / "pipe.csv", "pipe.csv: a FIFO; a table is read more than once: write it to a file, and add that"),
        (Path("/dev/null"), "/dev/null: a device; a table is read more than once"),
        (tmp_path / "lost.csv", f"lost.csv: {DANGLING}"),
        (tmp_path / "none.csv", "none.csv: no such file"),
    ):
        with pytest.raises(DataError, match=re.escape(message)):
            add(home, [path])


def test_a_table_that_two_names_lead_to_is_taken_once_and_the_other_name_is_told(home, tmp_path, capsys):
    rows = netflow(30, 1)
    base = write(tmp_path / "base.csv", HEADER, rows)
    (tmp_path / "link.csv").symlink_to(base)
    (tmp_path / "hard.csv").hardlink_to(base)
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "deep.csv").symlink_to(base)
    write(tmp_path / "folder" / "other.csv", HEADER, netflow(10, 2))
    paths = [base, *(tmp_path / name for name in ("link.csv", "hard.csv", "folder"))]
    store = add(home, paths)
    assert {name: table["used"] for name, table in store.manifest["tables"].items()} == {
        "base.csv": 30,
        "other.csv": 10,
    }
    said = [line for line in capsys.readouterr().err.splitlines() if line.startswith("warning: not taken")]
    assert said == [f"warning: not taken for a table, {SAME}: link.csv, hard.csv, deep.csv"]
    data.show_info("t")
    assert said[0] in capsys.readouterr().err


def left_in(folder: Path) -> dict[str, str]:
    """Put into ``folder`` what is no table there; path → why it is none."""
    (folder / "lost.csv").symlink_to("nowhere")
    (folder / "disk").symlink_to("not-mounted")
    (folder / "lfs.csv").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 5\n")
    (folder / "packed.csv.gz").write_bytes(b"\x1f\x8b")
    (folder / "part.csv.part").touch()
    (folder / "sheet.xlsx").touch()
    os.mkfifo(folder / "pipe.csv")
    return {
        "lost.csv": DANGLING,
        "disk": DANGLING,
        "lfs.csv": POINTER,
        "packed.csv.gz": NO_TABLE,
        "part.csv.part": NO_TABLE,
        "sheet.xlsx": NO_TABLE,
        "pipe.csv": SPECIAL,
    }


def check_named(lines: list[str], left: dict[str, str]) -> None:
    """Each in the line of its reason, and nothing besides."""
    told = {}
    for line in lines:
        if "the first counts" in line:
            continue
        reason, _, names = line.removeprefix("not taken for a table, ").rpartition(": ")
        told |= dict.fromkeys(names.split(", "), reason)
    assert told == left


def test_every_file_below_a_folder_of_tables_is_taken_or_named_with_the_reason(home, tmp_path, capsys):
    folder = tmp_path / "tables"
    (folder / "deep").mkdir(parents=True)
    write(folder / "nf.csv", HEADER, netflow(20, 1))
    write(folder / "deep" / "more.CSV", HEADER, netflow(10, 2))
    left = left_in(folder)
    (folder / "again.csv").symlink_to(folder / "nf.csv")
    for name in ("README", "._nf.csv"):
        (folder / name).touch()
    store = add(home, [folder])
    assert list(store.manifest["tables"]) == ["deep/more.CSV", "nf.csv"]
    check_named(store.manifest["warnings"], left | {"again.csv": SAME})
    said = capsys.readouterr().err
    for line in (
        f"warning: not taken for a table, {POINTER}: lfs.csv",
        f"\nnot taken for a table, {NO_TABLE}: README\n",
        f"not taken for a table, {HIDDEN}: ._nf.csv",
    ):
        assert said.count(line) == 1
    write(folder / "wrong.csv", HEADER[1:5], [])
    with pytest.raises(DataError):
        add(home, [folder])
    assert f"warning: not taken for a table, {POINTER}: lfs.csv" in capsys.readouterr().err


def test_tables_that_a_driver_does_not_know_by_name_are_named(home, tmp_path, capsys):
    folder = tmp_path / "TrafficLabelling"
    folder.mkdir()
    write(folder / "Monday-WorkingHours.csv", METER, [metered(1, "3/7/2017 9:01"), metered(2, "3/7/2017 9:02", "DDoS")])
    left = left_in(folder)
    for name in ("Teusday-WorkingHours.csv", "Friday-WorkingHours.parquet"):
        (folder / name).write_text("not one of them")
        left[name] = "not named as this dataset names them"
    prepare.prepare("cicids2017", None, folder, name="x")
    manifest = FlowStore.open(home / "datasets" / "x").manifest
    assert list(manifest["tables"]) == ["Monday-WorkingHours.csv"]
    check_named(manifest["warnings"], left)
    assert f"warning: not taken for a table, {NO_TABLE}: packed.csv.gz" in capsys.readouterr().err


def test_a_folder_without_tables_says_in_one_line_what_there_is(home, tmp_path):
    left = left_in(tmp_path)
    (tmp_path / "._x.csv").touch()
    for call, begin in (
        (lambda: add(home, [tmp_path]), f"{tmp_path}: no table (.csv, .parquet) below it"),
        (lambda: prepare.prepare("nf_v2", None, tmp_path), f"{tmp_path}: no table of 0 is like "),
    ):
        with pytest.raises(DataError) as error:
            call()
        said, *lines = str(error.value).split("; not taken for a table, ")
        assert said.startswith(begin)
        check_named(lines, left)
    assert not home.exists()


@pytest.mark.parametrize(
    ("name", "taken"),
    [(name, True) for name in ("x.csv", "d/x.CSV.gz", "x.tsv", "x.parquet.zst", "x.csv.1", "x.csv.part", "x.xlsx")]
    + [(name, False) for name in ("README.md", "csv", "x.csv.md5", "x.pcap", "LAYOUT.toml")],
)
def test_what_somebody_took_for_a_table(name, taken):
    assert looks_like_table(name) == taken


# --- what columns mean


@pytest.mark.parametrize(
    ("described", "message"),
    [
        (
            'label = "Attack"\ntime = "whenn"',
            "nf.csv: no column 'whenn', which the layout says is its time. Did you mean 'when'?",
        ),
        ('label = "Attack"\nsrc_ip = "not there"', "no column 'not there', which the layout says is its src_ip."),
        ('label = "Atack"', "no column 'Atack' with the labels; its header has Label, Attack: name one"),
        (
            'label = "Attack"\n[columns]\nIN_BYTES = "sent"\nOUT_BYTES = "SENT"',
            "own.toml: column 'SENT' is both IN_BYTES and OUT_BYTES: say for each feature which column it is",
        ),
        ('label = "Attack"\n[columns]\nOUT_BYTES = "in bytes"', "column 'in bytes' is both IN_BYTES and OUT_BYTES"),
        (
            'label = "Attack"\nsrc_port = "attack"',
            "own.toml: column 'Attack' is both the label and src_port: say another column for one of the two",
        ),
        ('label = "in_bytes"', "column 'in_bytes' is both the label and IN_BYTES"),
    ],
)
def test_a_layout_of_ones_own_names_columns_that_are_there_and_each_for_one_thing(home, tmp_path, described, message):
    path = write(tmp_path / "nf.csv", [*HEADER[:-2], "when", *HEADER[-2:]], [])
    layout = tmp_path / "own.toml"
    layout.write_text(f'features = "netflow_v2"\n{described}\n')
    with pytest.raises(DataError, match=re.escape(message)):
        add(home, [path], str(layout))


def test_a_label_column_that_is_a_feature_is_refused_and_two_that_change_places_are_not(home, tmp_path):
    with pytest.raises(DataError, match="netflow_v2: column 'PROTOCOL' is both the label and PROTOCOL"):
        layout_of("netflow_v2", "PROTOCOL")
    layout = tmp_path / "own.toml"
    layout.write_text(
        'features = "netflow_v2"\nlabel = "Attack"\nproto = "protocol"\n'
        '[columns]\nIN_BYTES = "OUT_BYTES"\nOUT_BYTES = "IN_BYTES"\n'
    )
    store = add(home, [write(tmp_path / "nf.csv", HEADER, netflow(20, 1))], str(layout))
    ids = np.arange(store.n_flows)
    taken = store.take(ids, ids.astype(np.uint64), frozenset({"netflow_v2"}))
    assert taken.features["OUT_BYTES"].tolist() == list(range(20))


def test_names_in_another_script_are_told_apart():
    assert len({meter_words(name) for name in ("时间", "标签", "Zeit", "время", "")}) == 5


# --- what is said of a dataset


def test_two_captures_of_one_flow_are_the_same_two_whichever_saw_it_first(home, tmp_path):
    def rows(first: range) -> list[list[str]]:
        return [metered(1024 + i, f"2017-07-03 09:00:{i:02}.{0 if i in first else 5}") for i in range(20)]

    paths = [write(tmp_path / "b.csv", METER, rows(range(13))), write(tmp_path / "a.csv", METER, rows(range(13, 20)))]
    store = add(home, paths, "cicflowmeter")
    labels = store.labels()
    # An audit is of packets, but what stands in two captures is told by the flows alone.
    view: Any = SimpleNamespace(attack=labels["attack"].to_numpy(), capture=(labels["source"] == "a.csv").to_numpy())
    found = repeated(view, store)
    assert found.measures[0].detail == {"benign": 20, "attack": 0, "a.csv and b.csv": 20}
    assert "20 flows (50.0% of their class) stand in two captures, 20 of them in a.csv and b.csv" in (
        found.findings[0].text
    )


def test_a_defect_that_an_option_mends_is_none_of_a_dataset_that_was_made_with_it():
    driver, known = load_driver("cicids2017"), {}
    for labels in ("original", "corrected"):
        options = build_params(driver.name, driver.options, {"labels": labels}, kind="dataset")
        known[labels] = prepare._about(driver, "x", options)["known_defects"]
    (mended,) = set(known["original"]) - set(known["corrected"])
    assert "use labels=corrected" in mended
    assert known["corrected"] == list(driver.defects)


def test_the_afternoon_of_cicids2017_comes_after_its_morning_in_tables_too(home, tmp_path):
    written = {
        "3/7/2017 9:01": "09:01",
        "3/7/2017 12:30": "12:30",
        "3/7/2017 1:00": "13:00",
        "03/07/2017 04:58:59": "16:58:59",
        "3/7/2017 7:59": "19:59",
        "3/7/2017 8:00": "08:00",
        # A day that is not first was written by another program, whose clock has twenty-four hours.
        "2017-07-03 03:00:00": "03:00",
    }
    rows = [metered(1024 + i, time) for i, time in enumerate(written)]
    path = write(tmp_path / "Monday-WorkingHours.csv", METER, rows)
    prepare.prepare("cicids2017", None, tmp_path, name="x")
    flows = FlowStore.open(home / "datasets" / "x").flows()
    assert flows["ts_start"].to_list() == [seconds_of(clock) for clock in written.values()]
    plain = add(home, [path], "cicflowmeter").flows()["ts_start"].to_list()
    assert plain[2] == seconds_of("01:00")  # nobody said so of another dataset's clock


def seconds_of(clock: str) -> float:
    hours, minutes, *rest = map(int, clock.split(":"))
    return 1499040000.0 + 3600 * hours + 60 * minutes + sum(rest)  # 2017-07-03
