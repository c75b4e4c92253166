"""The driver of CIC-DDoS2019 on real packets of it; the CSVs in the published format are made here from the slice's
``labels.csv``."""

from __future__ import annotations

import csv
from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from datasets_registry.capture.rules import FlowRules
from datasets_registry.drivers import load_driver
from datasets_registry.drivers.driver import Request, find_captures
from datasets_registry.labelling.keys import KEY_COLUMNS
from janus_bench.errors import DataError
from tests.conftest import SHARED_DATA, needs_shared_data
from tests.memory_flows import read_flows

SLICE = SHARED_DATA / "domains" / "cicddos2019_slice"
HEADER = SHARED_DATA / "csv_samples" / "cic_ddos2019_03-11_Portmap.csv"
# The slice's captures under names as published, and the hours that each day's clock is ahead of UTC
DAYS = {
    "01-12": ({"webddos_20181201.pcap": "SAT-01-12-2018_0"}, -4),
    "03-11": ({"benign_syn_20181103.pcap": "SAT-03-11-2018_0", "syn_20181103.pcap": "SAT-03-11-2018_0145"}, -3),
}
LABELS = {"syn": "Syn", "webddos": "WebDDoS", "cicddos2019_benign": "BENIGN"}


def flow_table(captures: dict[str, Path], rules: FlowRules) -> pl.DataFrame:
    """What ``ingest_captures`` gives a labeller."""
    tables = []
    for name, path in sorted(captures.items()):
        _, flows = read_flows(path, rules)
        keys = {column: flows.keys[:, word] for word, column in enumerate(KEY_COLUMNS)}
        tables.append(
            pl.DataFrame(
                {
                    **keys,
                    "swapped": flows.swapped,
                    "first": flows.first,
                    "last": flows.last,
                    "n_packets": flows.n_packets,
                }
            ).with_columns(file=pl.lit(name))
        )
    return pl.concat(tables)


class Published:
    """The slice as it would be published."""

    def __init__(self, folder: Path, *, hours_off: int = 0, unmatched: float = 0.0, seed: int = 7) -> None:
        self.captures, self.labels = folder / "captures", folder / "CSVs"
        # Two captures of a day share flows: these have one row, as in one CSV of the day.  day → label and flows of
        # each row, in their order
        self.rows: dict[str, list[tuple[str, int]]] = {}
        random = np.random.default_rng(seed)
        header = HEADER.read_text().splitlines()[0].split(",")
        for day, (names, zone) in DAYS.items():
            (self.labels / f"CSV-{day}" / day).mkdir(parents=True)
            self.captures.mkdir(exist_ok=True)
            for source, name in names.items():
                (self.captures / name).symlink_to(SLICE / source)
            flows = [flow for source in names for flow in self._flows(source)]
            copies = Counter(self._identity(flow) for flow in flows)
            kept = [
                flow for flow in {self._identity(flow): flow for flow in flows}.values() if random.random() >= unmatched
            ]
            self.rows[day] = [(LABELS[flow["family"]], copies[self._identity(flow)]) for flow in kept]
            with (self.labels / f"CSV-{day}" / day / "Syn.csv").open("w", encoding="utf-8", newline="") as file:
                writer = csv.writer(file)
                writer.writerow(header)
                writer.writerows(
                    self._row(header, flow, zone + hours_off, bool(random.random() < 0.1)) for flow in kept
                )

    @staticmethod
    def _identity(flow: dict[str, str]) -> tuple[str, ...]:
        return (
            *sorted([f"{flow['src_ip']}:{flow['src_port']}", f"{flow['dst_ip']}:{flow['dst_port']}"]),
            flow["proto"],
            flow["ts_start"],
        )

    @staticmethod
    def _flows(source: str) -> list[dict[str, str]]:
        with (SLICE / "labels.csv").open() as file:
            return [flow for flow in csv.DictReader(file) if flow["file"] == source]

    @staticmethod
    def _row(header: list[str], flow: dict[str, str], hours: int, swapped: bool) -> list[str]:
        seconds, micro = flow["ts_start"].split(".")
        start = datetime.fromtimestamp(int(seconds), UTC) + timedelta(hours=hours)
        end_seconds, end_micro = flow["ts_end"].split(".")
        src, dst = ("dst", "src") if swapped else ("src", "dst")
        values = {
            " Source IP": flow[f"{src}_ip"],
            " Source Port": flow[f"{src}_port"],
            " Destination IP": flow[f"{dst}_ip"],
            " Destination Port": flow[f"{dst}_port"],
            " Protocol": flow["proto"] if flow["proto"] in ("6", "17") else "0",
            " Timestamp": f"{start:%Y-%m-%d %H:%M:%S}.{micro}",
            " Flow Duration": str((int(end_seconds) - int(seconds)) * 10**6 + int(end_micro) - int(micro)),
            "Flow Bytes/s": "Infinity",
            " Label": LABELS[flow["family"]],
        }
        return [values.get(name, "0") for name in header]

    def count(self, day: str) -> dict[str, tuple[int, int]]:
        """label → rows and flows"""
        names = {label: "benign" if label == "BENIGN" else label for label, _ in self.rows[day]}
        return {
            name: (sum(label == row for row, _ in self.rows[day]), sum(n for row, n in self.rows[day] if label == row))
            for label, name in names.items()
        }


def prepare(published: Published, day: str, **request):
    driver = load_driver("cicddos2019")
    said: list[str] = []
    label = driver.labeller(Request(published.labels, tell=said.append, **request))
    captures = {name: path for name, (path, group) in find_captures(driver, published.captures).items() if group == day}
    flows = flow_table(captures, driver.rules)
    return label(day, flows), flows, said


@needs_shared_data
@pytest.mark.parametrize("day", DAYS)
def test_every_flow_of_the_slice_gets_its_row(tmp_path: Path, day: str):
    published = Published(tmp_path)
    found, flows, said = prepare(published, day)
    assert len(found.flow) == flows.height == sum(number for _, number in published.rows[day])
    for label, (rows, of_flows) in published.count(day).items():
        counts = found.report[label]
        assert (counts["matched"], counts["flows"]) == (rows, of_flows)
        assert counts["unmatched_rows"] == counts["unmatched_flows"] == counts["ambiguous"] == 0
    assert found.report["(no label)"]["infinite_values"] == len(published.rows[day])
    taken = Counter(zip(found.table["row"], found.table["label"], strict=True))
    names = {"BENIGN": "benign"}
    assert taken == {(row, names.get(label, label)): number for row, (label, number) in enumerate(published.rows[day])}
    assert "+0 s in 100.0%" in said[-1]


@needs_shared_data
def test_flows_without_a_row_stay_without_a_label(tmp_path: Path):
    published = Published(tmp_path, unmatched=0.05)
    found, flows, _ = prepare(published, "03-11")
    missing = flows.height - sum(number for _, number in published.rows["03-11"])
    assert missing > 100
    assert sum(counts["flows"] for counts in found.report.values()) == flows.height - missing == len(found.flow)
    assert sum(counts["unmatched_flows"] for counts in found.report.values()) == missing


@needs_shared_data
def test_a_wrong_time_zone_is_found_and_named(tmp_path: Path):
    published = Published(tmp_path, hours_off=2)
    with pytest.raises(DataError, match=r"\+7200 s off .* 100\.0%.* --time-offset 7200$"):
        prepare(published, "03-11")
    found, flows, _ = prepare(published, "03-11", time_offset_s=7200)
    assert len(found.flow) == flows.height
    found, flows, _ = prepare(published, "03-11", time_offset_s=7200.5)  # these CSVs are exact to the µs
    assert len(found.flow) < 0.1 * flows.height


@needs_shared_data
def test_the_other_days_zone_is_taken_without_asking(tmp_path: Path):
    published = Published(tmp_path, hours_off=-1)
    found, flows, said = prepare(published, "03-11")
    assert len(found.flow) == flows.height
    assert "-3600 s in 100.0%" in said[-1]


@needs_shared_data
def test_the_mirrors_copies_are_left_out_by_default(tmp_path: Path):
    driver = load_driver("cicddos2019")
    path = SLICE / "webddos_20181201.pcap"
    removed, kept = (flow_table({"x": path}, rules)["n_packets"].sum() for rules in (driver.rules, FlowRules()))
    assert removed < 0.6 * kept
