"""Datasets that are prepared from their published tables alone, on SYNTHETIC replicas whose writers share no code with
the drivers: every row is used under its label, or counted."""

from __future__ import annotations

import csv
import math
import re
from collections import Counter
from itertools import product
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from datasets_registry.drivers import load_driver
from datasets_registry.store import FlowStore
from datasets_registry.verify import verify_store
from harness.cli import prepare as command
from janus_bench import run
from janus_bench.errors import DataError, UsageError
from tests.replicas import Traps, write_cicids2017
from tests.test_data_tables import HEADER, SHORT, home, netflow, write

assert home  # a fixture

TRAPS = Traps(
    duplicated=0.05,
    missing=0.05,
    orphans=0.05,
    swapped=0.1,
    bad_bytes=2,
    broken=2,
    repeated_headers=2,
    long=2,
    tails=0.1,
)


def finite(text: str) -> bool:
    try:
        return math.isfinite(float(text))
    except ValueError:
        return False


def truth_of(path: Path) -> tuple[Counter[str], Counter[str]]:
    """Label → rows that can be used; and what becomes of the others, read anew with the csv module."""
    usable, left = Counter[str](), Counter[str]()
    with path.open(encoding="latin-1", newline="") as file:
        reader = csv.reader(file)
        header = [name.strip() for name in next(reader)]
        first, last, when = header.index("Flow Duration"), header.index("Idle Min"), header.index("Timestamp")
        for row in reader:
            if [name.strip() for name in row] == header:
                left["repeated_headers"] += 1
            elif (
                len(row) == len(header)
                and all(finite(text) for text in row[first : last + 1])
                and re.fullmatch(r"(\d+/\d+/\d+|\d+-\d+-\d+) \d+:\d+(:\d+(\.\d+)?)?", row[when].strip())
            ):
                usable[row[-1].strip()] += 1
            else:
                left["bad_rows"] += 1
    return usable, left


def test_tables_of_a_replica_are_counted_label_by_label(home, tmp_path):
    name = "cicids2017"
    replica = write_cicids2017(tmp_path / "replica", seed=3, traps=TRAPS)
    command.prepare(name, None, replica.labels)
    verify_store(home / "datasets" / name)
    store = FlowStore.open(home / "datasets" / name)
    tables = load_driver(name).tables
    assert tables is not None
    assert tables.labels is not None
    expected: Counter[str] = Counter()
    for file, account in store.manifest["tables"].items():
        usable, left = truth_of(replica.labels / file)
        assert account["left_out"] == +left, file
        for label, number in usable.items():
            kind = tables.labels.classify(label)
            assert kind is not None
            expected[kind.label] += number
    assert {label: counts["flows"] for label, counts in store.manifest["labels"].items()} == expected
    assert store.manifest["feature_sets"] == ["cic_features"]
    assert store.manifest["known_defects"]
    assert set(store.manifest["tables"]) == {row.file for row in replica.rows}


def test_netflow_tables_are_told_apart_by_their_names(home, tmp_path):
    rows = {"NF-ToN-IoT-v2": netflow(60, 1), "NF-BoT-IoT-v2": netflow(40, 2)}
    for name, table in rows.items():
        write(tmp_path / f"{name}.csv", HEADER, table)
    for which, name in (("ton_iot", "NF-ToN-IoT-v2"), ("bot_iot", "NF-BoT-IoT-v2")):
        command.prepare(f"nf_v2[which={which}]", None, tmp_path, name=which)
        store = FlowStore.open(home / "datasets" / which)
        assert set(store.manifest["tables"]) == {f"{name}.csv"}
        assert store.labels()["attack"].to_list() == [row[-1] != "Benign" for row in rows[name]]
        assert store.manifest["options"] == {"which": which}
    with pytest.raises(DataError, match=r"no table of \d+ is like .*NF-UNSW-NB15-v2"):
        command.prepare("nf_v2", None, tmp_path)
    (tmp_path / "x").mkdir()
    with pytest.raises(DataError, match="none of its 0 files is a capture of nf_v2; expected none: it is"):
        command.prepare("nf_v2", tmp_path / "x", tmp_path)


def test_tables_of_2018_are_read_under_their_spellings_and_labels_that_nobody_knows_are_left_out(home, tmp_path):
    rng = np.random.default_rng(5)
    written = ["Benign", "Infilteration", "Brute Force -Web", "DDOS attack-HOIC", "SQL Injection", "Novel"]
    spelled = ("benign", "Infiltration", "Brute Force -Web", "DDoS attacks-HOIC", "SQL Injection")
    rows = []
    for i in range(300):
        numbers = rng.integers(0, 1000, len(SHORT) - 4)
        rows.append(["443", "6", f"02/03/2018 0{1 + i % 9}:10:{i % 60:02}", *map(str, numbers), written[i % 6]])
    rows.insert(100, SHORT)
    write(tmp_path / "Friday-02-03-2018_TrafficForML_CICFlowMeter.csv", SHORT, rows)
    command.prepare("cicids2018", None, tmp_path)
    store = FlowStore.open(home / "datasets" / "cicids2018")
    (account,) = store.manifest["tables"].values()
    assert account["left_out"] == {"repeated_headers": 1, "unknown_labels": 50}
    assert Counter(store.labels()["label"]) == dict.fromkeys(spelled, 50)
    assert "Label: 50 rows of an unknown label, such as 'Novel'" in "\n".join(store.manifest["warnings"])
    assert store.manifest["labels_read"]["Infilteration"] == {"label": "Infiltration", "attack": True, "rows": 50}
    taken = store.take(np.array([7]), np.array([7], np.uint64), frozenset({"cic_features"})).features
    good = [row for row in rows if row is not SHORT and row[-1] != "Novel"]
    assert [taken["Flow Duration"][0], taken["Total Fwd Packets"][0]] == [float(text) for text in good[7][3:5]]


def test_what_tables_cannot_have_is_one_line(home, tmp_path):
    for request, folders, message in (
        ("cicids2017[labels=corrected]", (None, tmp_path), "labels=corrected is by windows and hosts of the captures"),
        ("ciciot2023", (None, tmp_path), "captures with --captures; its tables are not read: a row is a window of 10"),
        ("unsw_nb15", (None, tmp_path), "as NetFlow it is nf_v2[which=unsw_nb15]"),
        ("cicids2017", (None, None), "or of its tables with --labels"),
    ):
        with pytest.raises(UsageError, match=re.escape(message)):
            command.prepare(request, *folders)
    with pytest.raises(UsageError, match="--stream and --time-offset are of captures"):
        command.prepare("cicids2017", None, tmp_path, stream=True)


def test_a_cross_run_of_the_four_netflow_tables_ends_with_every_row_ok_or_skipped_with_its_reason(home, tmp_path):
    names = {"unsw_nb15": "NF-UNSW-NB15-v2", "ton_iot": "NF-ToN-IoT-v2", "bot_iot": "NF-BoT-IoT-v2"}
    names["cse_cic_ids2018"] = "NF-CSE-CIC-IDS2018-v2"
    for seed, (which, name) in enumerate(names.items(), 1):
        write(tmp_path / f"{name}.csv", HEADER, netflow(500, seed))
        command.prepare(f"nf_v2[which={which}]", None, tmp_path, name=which)
    done = run("mahalanobis,length", datasets=list(names), seeds=[1], runs=tmp_path / "runs", executor="in-process")
    rows = {row["detector"]: row for row in done.leaderboard().document["rows"]}
    cells = {
        name: {(cell["source"], cell["target"]): cell["status"] for cell in row["cells"]} for name, row in rows.items()
    }
    pairs = set(product(names, names))
    assert cells == {"mahalanobis": dict.fromkeys(pairs, "ok"), "length": dict.fromkeys(pairs, "skipped")}
    reasons = set(done.runs.filter(pl.col("status") == "skipped")["reason"])
    assert reasons == {f"{name} is a table without packets: it has netflow_v2, not packets" for name in names}
