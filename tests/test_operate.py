"""From captures without labels to alerts: ``fit``, ``score``, ``recalibrate``, as an operator calls them."""

from __future__ import annotations

import csv
import gzip
import hashlib
import io
import json
import os
import re
import shutil
import signal
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import polars as pl
import pytest
import typer

from datasets_registry.capture.rules import FlowRules
from datasets_registry.context import part_context
from harness.cli import operate
from harness.cli import score as scoring
from harness.models import detector_of
from harness.operate.alerts import FlowRecord
from harness.operate.fitting import _flows_per_day
from harness.operate.formats import FORMATS, Format
from janus_bench.columns import CONTEXT_FEATURES
from janus_bench.contract import FlowBatch
from janus_bench.errors import DataError, UsageError
from janus_bench.models import open_model, write_model
from tests import pcap_builders as build
from tests.conftest import Cli, shared_once, write_example_captures
from tests.test_streaming import as_store

DETECTOR = "iforest[input=features+context,n_estimators=20]"


@pytest.fixture(scope="session")
def network(tmp_path_factory) -> Path:
    """``captures``: ten of benign flows, two with a scan; ``model``: of the first seven; ``scan.jsonl``: all flows of
    one with a scan."""

    def make(folder: Path) -> None:
        captures = write_example_captures(folder / "captures")
        benign = [captures / f"segment_{number:02d}.pcap" for number in range(7)]
        operate.fit(DETECTOR, benign, folder / "model", device="cpu")
        scan = captures / "segment_10.pcap"
        scoring.score(folder / "model", [scan], form="jsonl", everything=True, output=folder / "scan.jsonl")

    return shared_once(tmp_path_factory, "operate", make)


@pytest.fixture
def scan(network: Path) -> Path:
    return network / "captures" / "segment_10.pcap"


def scored(model: Path, *captures: Path, **options: Any) -> None:
    scoring.score(model, list(captures), **options)


def objects(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


def test_fit_says_what_it_did_with_which_flows(network, tmp_path, capsys):
    """A second fit of the same is the same model, and nothing is written where something is."""
    captures = [network / "captures" / f"segment_{number:02d}.pcap" for number in (0, 1)]
    operate.fit("length", captures, tmp_path / "model", device="cpu")
    said = capsys.readouterr().err
    manifest = open_model(tmp_path / "model").manifest
    calibration = manifest["calibration"]
    assert calibration is not None
    assert "divided by time, the earliest first" in said
    assert "120 flows are few" in said
    assert f"thresholds: {calibration['flows']} flows of" in said
    assert [one["name"] for one in manifest["trained"]] == ["segment_00.pcap", "segment_01.pcap"]
    assert sum(one["flows"] for one in manifest["trained"]) == 60
    assert sum(one["flows"] for one in calibration["captures"]) == calibration["flows"] == 36
    with pytest.raises(UsageError, match="is there already"):
        operate.fit("length", captures, tmp_path / "model", device="cpu")


def test_scores_are_those_of_the_batch_path_and_every_number_is_what_it_is_called(network, scan, tmp_path, capsys):
    """Flows stored, staged with their context and scored at once; thresholds and p-values by their definitions."""
    rows = objects((network / "scan.jsonl").read_text())
    found = {(row["src_ip"], row["src_port"], row["dst_port"], row["first"]): row for row in rows}
    store = as_store(scan, tmp_path / "store", FlowRules())
    ids = np.arange(store.n_flows)
    flows = store.take(ids, ids.astype(np.uint64), frozenset({"features"}))
    context = part_context(store, ids, np.ones(len(ids), np.bool_)).astype(np.float64)
    features = {**flows.features, **dict(zip(CONTEXT_FEATURES, context.T, strict=True))}
    model = open_model(network / "model")
    model.copy_detector(tmp_path / "detector")
    loaded = detector_of(model)
    detector = loaded.restore(tmp_path / "detector", loaded.params_type(**model.manifest["params"]))
    expected = detector.score(FlowBatch(flows.ids, features=features))
    assert len(found) == store.n_flows == 120
    calibration = np.load(network / "model" / "calibration" / "scores.npy")
    assert (np.diff(calibration) >= 0).all()
    threshold = np.quantile(calibration, 0.99, method="higher")
    for row, score in zip(store.flows().iter_rows(named=True), expected, strict=True):
        when = np.datetime64(round(row["ts_start"] * 1e6), "us").astype(str) + "Z"
        one = found[row["src_ip"], row["src_port"], row["dst_port"], when]
        assert abs(one["score"] - score) <= 1e-6 * np.ptp(expected)
        assert (one["dst_ip"], one["dst_port"], one["proto"]) == (row["dst_ip"], row["dst_port"], row["proto"])
        assert one["alert"] == (one["score"] > threshold)
        assert one["threshold"] == threshold
        above = sum(value >= one["score"] for value in calibration)
        assert one["p_value"] == pytest.approx((1 + above) / (len(calibration) + 1))
        assert one["packets"]["sent"] + one["packets"]["received"] == min(row["n_packets"], 64)
        assert bool(one["why"]) == one["alert"]
        assert one["detector"] == "iforest"


def test_a_scan_alerts_and_the_drift_line_says_that_this_is_not_the_network(network, scan, capsys):
    scored(network / "model", scan, form="jsonl")
    printed = capsys.readouterr()
    alerts = objects(printed.out)
    assert len(alerts) >= 55
    assert all(alert["alert"] for alert in alerts)
    assert sum(alert["src_ip"] == "10.9.0.66" for alert in alerts) >= 55
    assert all(len(alert["why"]) == 3 and "of benign" in alert["why"][0] for alert in alerts)
    assert "janus-bench recalibrate" in printed.err
    scored(network / "model", network / "captures" / "segment_08.pcap", form="jsonl")
    printed = capsys.readouterr()
    assert "recalibrate" not in printed.err
    assert f"{len(objects(printed.out))} alerts of 60 flows" in printed.err
    assert "realised rate of each calibration capture, judged by the others: segment_" in printed.err


EVE = {
    "timestamp": str,
    "flow_id": int,
    "event_type": str,
    "src_ip": str,
    "src_port": int,
    "dest_ip": str,
    "dest_port": int,
    "proto": str,
    "community_id": str,
    "alert": {
        "action": str,
        "gid": int,
        "signature_id": int,
        "rev": int,
        "signature": str,
        "category": str,
        "severity": int,
    },
    "flow": {
        **dict.fromkeys(("pkts_toserver", "pkts_toclient", "bytes_toserver", "bytes_toclient"), int),
        "start": str,
    },
}
"""Keys and types of an alert in the EVE JSON format of Suricata 7.0.16 (docs.suricata.io, "Eve JSON Format")."""


def test_every_format_has_the_same_alerts(network, scan, capsys, monkeypatch):
    """Those of one call, written in every format."""
    records: list[FlowRecord] = []

    def keep(record: FlowRecord) -> str:
        records.append(record)
        return ""

    monkeypatch.setitem(FORMATS, "csv", Format("", keep))  # type: ignore[arg-type]
    scored(network / "model", scan, form="csv")
    monkeypatch.undo()
    shown = {name: form.head + "".join(map(form.line, records)) for name, form in FORMATS.items()}
    alerts, rows = objects(shown["jsonl"]), list(csv.DictReader(io.StringIO(shown["csv"])))
    events, lines = objects(shown["eve"]), shown["table"].splitlines()[1:]
    assert len(alerts) == len(rows) == len(events) == len(lines) >= 55
    assert len({event["flow_id"] for event in events}) == len(events)
    for alert, row, event, line in zip(alerts, rows, events, lines, strict=True):
        assert float(row["score"]) == alert["score"]
        assert row["why"].split("; ") == alert["why"]
        assert int(row["bytes_received"]) == alert["bytes"]["received"]
        assert {name: type(value) for name, value in event.items() if name not in ("alert", "flow", "janus_bench")} == {
            name: kind for name, kind in EVE.items() if isinstance(kind, type)
        }
        for part in ("alert", "flow"):
            assert {name: type(value) for name, value in event[part].items()} == EVE[part]
        assert event["community_id"] == alert["community_id"]
        assert event["flow"]["pkts_toserver"] == alert["packets"]["sent"]
        assert alert["src_ip"] in line
        assert alert["why"][0] in line


@pytest.mark.parametrize("width", [60, 80, 120])
def test_a_table_holds_at_the_width_of_the_terminal_and_loses_nothing(network, scan, monkeypatch, capsys, width):
    scored(network / "model", scan, form="jsonl")
    alerts = objects(capsys.readouterr().out)
    monkeypatch.setenv("COLUMNS", str(width))
    scored(network / "model", scan)
    text = capsys.readouterr().out
    assert max(map(len, text.splitlines())) <= max(width, 79)
    assert text.count("ALERT") == len(alerts)
    words = " ".join(text.split())
    for alert in alerts:
        assert f"ALERT {alert['src_ip']}:{alert['src_port']} → {alert['dst_ip']}:{alert['dst_port']} " in words
        for reason in alert["why"]:
            assert reason in words
    monkeypatch.delenv("COLUMNS")
    scored(network / "model", scan)
    assert len(capsys.readouterr().out.splitlines()) == 1 + len(alerts)


def test_a_flow_names_its_capture(network, scan, tmp_path, capsys):
    """Two of the same name, too."""
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "tonight.pcap").write_bytes(scan.read_bytes())
    captures = [tmp_path / folder / "tonight.pcap" for folder in ("a", "b")]
    scored(network / "model", *captures, form="jsonl", everything=True)
    rows = objects(capsys.readouterr().out)
    assert [row["capture"] for row in rows] == [str(captures[1])] * 120 + ["tonight.pcap"] * 120
    scored(network / "model", scan, form="csv")
    assert {row["capture"] for row in csv.DictReader(io.StringIO(capsys.readouterr().out))} == {scan.name}


def test_neither_a_capture_nor_a_model_is_written_over(network, scan, tmp_path):
    captures, model = tmp_path / "captures", tmp_path / "model"
    captures.mkdir()
    capture = captures / "tonight.pcap"
    capture.write_bytes(scan.read_bytes())
    shutil.copytree(network / "model", model)
    (tmp_path / "linked").symlink_to(capture)
    (tmp_path / "hard").hardlink_to(capture)
    before = {path: path.read_bytes() for path in [capture, *model.rglob("*")] if path.is_file()}
    for output in (capture, tmp_path / "linked", tmp_path / "hard"):
        for given in (capture, captures):
            with pytest.raises(UsageError, match="is the capture that is to be scored"):
                scored(model, given, form="csv", output=output)
    for output in (model / "model.json", model / "alerts.csv", model):
        with pytest.raises(UsageError, match="is in the model's folder"):
            scored(model, capture, output=output)
    with capture.open() as standard_input:
        command = [*Cli(sys.executable, tmp_path, tmp_path).command, "score", str(model), "-", "-o", str(capture)]
        done = subprocess.run(command, stdin=standard_input, capture_output=True, text=True)
    assert done.returncode == 2
    assert "is the capture that is to be scored" in done.stderr
    assert {path: path.read_bytes() for path in [capture, *model.rglob("*")] if path.is_file()} == before


def test_a_packed_capture_on_standard_input_is_told_apart_from_none(network, scan, tmp_path):
    command = [*Cli(sys.executable, tmp_path, tmp_path).command, "score", str(network / "model"), "-"]
    done = subprocess.run(command, input=gzip.compress(scan.read_bytes()), capture_output=True)
    assert done.returncode == 3
    assert b"standard input: not a capture: it is compressed with gzip: unpack it first (`gzip -dc`)" in done.stderr


def test_alerts_a_day_are_those_of_all_sensors_together():
    """Two captures at once, one an hour later, and one inside the first: 3 hours, not 5."""
    hours = [(0.0, 2.0), (0.0, 1.0), (0.5, 1.5), (3.0, 4.0)]
    rows = [(3600 * begin, 3600 * end, f"{number}.pcap") for number, (begin, end) in enumerate(hours) for _ in range(3)]
    flows = pl.DataFrame([row[:2] for row in rows], schema=["ts_start", "ts_end"], orient="row")
    store = SimpleNamespace(flows=lambda columns: flows.select(columns), n_flows=len(rows))
    found = _flows_per_day(SimpleNamespace(store=store), np.array([row[2] for row in rows]))  # type: ignore[arg-type]
    assert found == pytest.approx(12 / 3 * 24)


def test_flows_in_no_part_are_counted(tmp_path, capsys):
    """One conversation that goes on, in many flows, beside others: what lies across a boundary is in no part."""
    packets = []
    for number in range(60):
        for port in (1000, 1001 + number):
            frame = build.ipv4("10.0.0.1", "10.0.0.2", 17, build.udp(port, 53, b"x" * 9))
            packets.append((10**9 * (1_600_000_000 + 200 * number), build.ethernet(frame)))
    (tmp_path / "talk.pcap").write_bytes(build.pcap(packets))
    operate.fit("length", [tmp_path / "talk.pcap"], tmp_path / "model", device="cpu")
    said = capsys.readouterr().err
    counts = {what: int(count) for what, count in re.findall(r"^  ([a-z ]+): (\d+) flow", said, re.M)}
    assert "120 flows, divided by time" in said
    assert counts["in no part"] >= 20
    assert sum(counts.values()) == 120


def test_hashed_addresses_tell_who_is_the_same_and_nothing_else(network, scan, capsys):
    scored(network / "model", scan, form="jsonl", everything=True, hash_addresses="a key")
    plain, hashed = objects((network / "scan.jsonl").read_text()), objects(capsys.readouterr().out)
    with pytest.raises(UsageError, match="is no key, so that addresses would be in clear"):
        scored(network / "model", scan, hash_addresses="")
    names = {(row["src_ip"], one["src_ip"]) for row, one in zip(plain, hashed, strict=True)}
    assert len(names) == len({row["src_ip"] for row in plain}) == len({one["src_ip"] for one in hashed})
    key = hashlib.sha256(b"a key").digest()
    for plainly, shown in names:
        assert shown == hashlib.blake2b(plainly.encode(), key=key, digest_size=8).hexdigest()
    assert {one["community_id"] for one in hashed} == {None}
    assert [one["score"] for one in hashed] == [row["score"] for row in plain]


def test_recalibrate_changes_thresholds_and_nothing_that_was_learned(network, scan, tmp_path, capsys):
    others = [network / "captures" / f"segment_{number:02d}.pcap" for number in (7, 8, 9)]
    operate.recalibrate(network / "model", others, tmp_path / "again")
    before, after = open_model(network / "model"), open_model(tmp_path / "again")
    own = {name: total for name, total in before.manifest["files"].items() if name.startswith("detector/")}
    assert own.items() <= after.manifest["files"].items()
    assert after.manifest["trained"] == before.manifest["trained"]
    assert [one["name"] for one in after.manifest["calibration"]["captures"]] == [path.name for path in others]
    assert len(after.array("scores")) == after.manifest["calibration"]["flows"] == 90
    capsys.readouterr()
    scored(tmp_path / "again", scan, form="jsonl", everything=True)
    rows = objects((network / "scan.jsonl").read_text()), objects(capsys.readouterr().out)
    assert [one["score"] for one in rows[0]] == [one["score"] for one in rows[1]]
    assert rows[0][0]["threshold"] != rows[1][0]["threshold"]


def test_captures_that_are_cut_empty_or_without_ip_are_a_line_each(network, scan, tmp_path, capsys):
    whole = scan.read_bytes()
    (tmp_path / "cut.pcap").write_bytes(whole[: len(whole) // 2 + 7])
    (tmp_path / "empty.pcap").write_bytes(b"")
    (tmp_path / "header.pcap").write_bytes(whole[:24])
    (tmp_path / "arp.pcap").write_bytes(build.pcap([(10**18, build.ethernet(bytes(28), 0x0806))]))
    (tmp_path / "no.pcap").write_bytes(b"this is no capture")
    names = ("no", "cut", "empty", "header", "arp")
    captures = [*(tmp_path / f"{name}.pcap" for name in names), network / "captures" / "segment_08.pcap"]
    with pytest.raises(typer.Exit) as caught:
        scored(network / "model", *captures, form="jsonl", everything=True)
    assert caught.value.exit_code == 3
    printed = capsys.readouterr()
    assert len(objects(printed.out)) > 60 + 20  # the last one is scored all the same
    for line in (
        "cut.pcap: ends inside a packet record; what precedes it is scored",
        "empty.pcap: empty, or cut off before its first packet",
        "arp.pcap: none of its 1 packets can be used",
        "no.pcap: not a capture",
    ):
        assert line in printed.err


def test_damage_that_leaves_no_packet_is_a_capture_that_cannot_be_read(network, scan, tmp_path, capsys):
    whole, noise = scan.read_bytes(), np.random.default_rng(1).bytes(3000)
    (tmp_path / "noise.pcap").write_bytes(whole[:24] + b"\xff" * 16 + noise)
    (tmp_path / "late.pcap").write_bytes(whole + b"\xff" * 16 + noise)
    scored(network / "model", tmp_path / "late.pcap", form="jsonl", everything=True)
    assert len(objects(capsys.readouterr().out)) == 120
    with pytest.raises(typer.Exit) as caught:
        scored(network / "model", tmp_path / "noise.pcap")
    assert caught.value.exit_code == 3
    assert (
        "noise.pcap: is damaged; what precedes the damage is scored, what follows was not read"
        in capsys.readouterr().err
    )


def test_what_cannot_be_is_refused_before_anything_is_read(network, scan, tmp_path):
    taken = tmp_path / "taken"
    taken.mkdir()
    os.mkfifo(tmp_path / "pipe.pcap")
    model = network / "model"
    for kind, said, call in (
        (DataError, "not a model", lambda: scored(taken, scan)),
        (DataError, "no such file", lambda: scored(model, tmp_path / "nothing.pcap")),
        (DataError, "no regular file", lambda: scored(model, tmp_path / "pipe.pcap")),
        (DataError, "no capture in it", lambda: scored(model, taken)),
        (UsageError, "write p99, fpr=0.001 or alerts=50/day", lambda: scored(model, scan, threshold="99")),
        (UsageError, "takes 9,999 calibration flows", lambda: scored(model, scan, threshold="fpr=0.0001")),
        (UsageError, "cannot write", lambda: scored(model, scan, output=tmp_path / "no" / "file")),
        (UsageError, "name it alone", lambda: scored(model, Path("-"), scan)),
        (UsageError, "cannot write", lambda: operate.fit("length", [scan], tmp_path / "no" / "model")),
        (UsageError, "is there already", lambda: operate.fit("length", [scan], taken)),
        (UsageError, "reads whole captures", lambda: operate.fit("kitsune", [scan], tmp_path / "m")),
        (UsageError, "needs attacks", lambda: operate.fit("shafir-few-shot", [scan], tmp_path / "m")),
        (UsageError, "has no save", lambda: operate.fit("pyod:KNN", [scan], tmp_path / "m")),
    ):
        with pytest.raises(kind, match=said) as caught:
            call()
        assert "\n" not in str(caught.value)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["pipe.pcap", "taken"]


def test_captures_without_flows_are_told_by_their_folder_however_they_are_named(tmp_path, monkeypatch):
    for name in ("one.pcap", "two.pcap"):
        (tmp_path / name).write_bytes(build.pcap([]))
    monkeypatch.chdir(tmp_path)
    for captures in ([Path("one.pcap")], [Path("one.pcap"), tmp_path / "two.pcap"]):
        with pytest.raises(DataError, match=f"^{tmp_path}: no flow in its {len(captures)} capture"):
            operate.fit("length", captures, tmp_path / "model")


def test_a_model_that_run_left_says_how_to_calibrate_it(network, scan, tmp_path):
    model = open_model(network / "model")
    write_model(tmp_path / "bare", network / "model" / "detector", {**model.manifest, "calibration": None})
    with pytest.raises(DataError, match="is not calibrated, as models that `run` leaves are not: janus-bench recal"):
        scored(tmp_path / "bare", scan)


@pytest.fixture
def quick_model(network: Path, tmp_path: Path) -> Path:
    """The same model, to which a flow ends half a second after its last packet, and every flow alerts."""
    model = open_model(network / "model")
    names = ("columns", "capture", "features", "aggregate")
    arrays = {name: model.array(name) for name in names} | {"scores": np.sort(model.array("scores") - 100)}
    rules = {**model.manifest["rules"], "idle_timeout_s": 0.5}
    write_model(tmp_path / "quick", network / "model" / "detector", {**model.manifest, "rules": rules}, arrays)
    return tmp_path / "quick"


def arriving() -> Iterator[bytes]:
    """A header, then the packets of a flow each, stamped with the time at which they are asked for."""
    yield struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 65535, 1)
    for number in range(200):
        frame = build.ethernet(build.ipv4("192.0.2.1", "192.0.2.2", 17, build.udp(1000 + number, 53, bytes(20))))
        now = time.time()
        yield struct.pack("<IIII", int(now), int(now % 1 * 1e6), len(frame), len(frame)) + frame


def test_on_standard_input_an_alert_leaves_within_a_second_and_an_interrupt_loses_none(quick_model, tmp_path):
    """The line falls silent after the first flows: the clock on the wall ends them."""
    child = subprocess.Popen(
        [*Cli(sys.executable, tmp_path, tmp_path).command, "score", str(quick_model), "-", "--format", "jsonl"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert child.stdin is not None
    assert child.stdout is not None
    heard: list[tuple[float, dict[str, Any]]] = []

    def listen() -> None:
        for line in child.stdout:  # type: ignore[union-attr]
            heard.append((time.time(), json.loads(line)))

    threading.Thread(target=listen, daemon=True).start()
    packets, sent = arriving(), {}

    def send(flows: int) -> None:
        for _ in range(flows):
            child.stdin.write(next(packets))  # type: ignore[union-attr]
            child.stdin.flush()  # type: ignore[union-attr]
            sent[len(sent)] = time.time()

    def wait_for(alerts: int) -> None:
        until = time.time() + 60
        while len(heard) < alerts and time.time() < until and child.poll() is None:
            time.sleep(0.02)

    child.stdin.write(next(packets))
    send(1)
    wait_for(1)  # until the detector is loaded
    begun = len(heard)
    send(3)
    wait_for(begun + 3)
    late = [when - sent[alert["src_port"] - 1000] - 0.5 for when, alert in heard[begun:]]
    assert len(late) == 3
    assert max(late) < 1.0
    send(5)
    time.sleep(0.2)
    child.send_signal(signal.SIGINT)
    assert child.wait(60) == 130
    time.sleep(0.2)
    assert sorted(alert["src_port"] for _, alert in heard) == [1000 + number for number in range(9)]
    assert b"the flows that were open are scored" in child.stderr.read()  # type: ignore[union-attr]


def test_an_interrupt_that_nobody_waits_for_is_said(tmp_path):
    """typer turns it into an exit without a word; an object that was half made has no more to say."""
    code = (
        "import typer\nfrom harness.cli import main\nmain.app = typer.Typer()\n"
        "class Half:\n    def __del__(self): raise AttributeError('_ptr')\n"
        "@main.app.command()\ndef wait():\n    half = Half()\n    raise KeyboardInterrupt\nmain.main()"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path)
    assert (done.returncode, done.stdout, done.stderr.strip()) == (130, "", "janus-bench: interrupted")
