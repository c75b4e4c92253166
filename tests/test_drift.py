"""Day by day: a benign network (SYNTHETIC) whose sizes shift on its third day is seen on that day, by the protocol and
by the operator's commands, and mended by recalibrating on it."""

from __future__ import annotations

import csv
import io
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from datasets_registry.ingest import ingest_folder
from datasets_registry.registry import OpenDataset
from datasets_registry.store import FlowStore
from harness.cli import figures, leaderboard, operate
from harness.cli import score as scoring
from janus_bench.errors import DataError
from protocols.splits import Draw, draw_partition
from reports.render.html.collect import collect, day_evidence
from reports.render.html.page import render_page
from reports.results.model import Results
from reports.statistics import drift
from reports.statistics.drift import _Day, _evidence, days_of
from reports.tables.drift import day_records, day_tables
from tests import pcap_builders as build
from tests.conftest import Cli, shared_once
from tests.rendering import RENDER

MONDAY = 1_700_438_400  # 2023-11-20 00:00 UTC
DAYS, FLOWS, SHIFT = 5, 400, 2
DATES = [f"2023-11-{20 + day}" for day in range(DAYS)]


def write_week(folder: Path) -> Path:
    """A capture a day; every flow is an exchange of two datagrams by a socket of its own, with sizes that shift by 500
    bytes on the third day.  On the fourth a few hosts are scanned."""
    folder.mkdir(parents=True)
    rng = np.random.default_rng(11)
    lines = ["file,ts_start,src_ip,src_port,dst_ip,dst_port,proto,label,family"]
    for day in range(DAYS):
        packets = []
        for number in range(FLOWS + 20 * (day == 3)):
            attack = number >= FLOWS
            start = MONDAY + 86_400 * day + 200.0 * number + float(rng.uniform(0, 20))
            client, port = f"10.0.0.{1 + number % 9}", 20_000 + number
            extra = 500 * (day >= SHIFT)
            sizes = (
                (1, 1) if attack else (60 + extra + int(rng.integers(0, 40)), 200 + extra + int(rng.integers(0, 90)))
            )
            ends = [(client, "10.0.1.1", port, 53), ("10.0.1.1", client, 53, port)]
            for place, (size, (src, dst, sport, dport)) in enumerate(zip(sizes, ends, strict=True)):
                frame = build.ethernet(build.ipv4(src, dst, build.UDP, build.udp(sport, dport, bytes(size))))
                packets.append((int(1e9 * (start + 0.02 * place)), frame))
            label = "scan,scan" if attack else "benign,benign"
            lines.append(f"{DATES[day]}.pcap,{start:.6f},{client},{port},10.0.1.1,53,17,{label}")
        (folder / f"{DATES[day]}.pcap").write_bytes(build.pcap(packets))
    (folder / "labels.csv").write_text("\n".join(lines) + "\n")
    return folder


@pytest.fixture(scope="session")
def week(tmp_path_factory: pytest.TempPathFactory) -> Path:
    def make(folder: Path) -> None:
        captures = write_week(folder / "captures")
        ingest_folder(captures, folder / "home" / "datasets" / "week", name="week", stream=False)
        command = ("run", "--protocol", "drift", "--datasets", "week", "--detectors", "knn,length", "--seeds", "1,2")
        done = Cli(sys.executable, folder / "home", folder)(*command)
        assert done.returncode == 0, done.stdout + done.stderr

    return shared_once(tmp_path_factory, "week", make)


def open_week(week: Path) -> OpenDataset:
    return OpenDataset(FlowStore.open(week / "home" / "datasets" / "week"))


def board(week: Path) -> dict[str, Any]:
    table = Results.open(week / "runs").select("drift")
    return dict(leaderboard.with_table(table, leaderboard.document(table, "auroc"), "drift"))


def test_the_earliest_day_trains_and_calibrates_and_every_later_one_is_tested(week: Path) -> None:
    index = open_week(week).index
    partition = draw_partition(index, Draw(1, "drift", "paper"))
    day = ((index.start - MONDAY) // 86_400).astype(int)
    early = ["train", "val", "cal_a", "cal_b"]
    sizes = [len(partition.parts[name]) for name in early]
    assert sizes == [200, 20, 60, 120]
    ends = [index.start[partition.parts[name]].max() for name in early]
    begins = [index.start[partition.parts[name]].min() for name in early]
    assert all(day[partition.parts[name]].max() == 0 for name in early)
    assert all(end < begin for end, begin in zip(ends, begins[1:], strict=False))
    # a socket that was used on the first day is used again in another file: another session
    assert sorted(partition.parts["test_benign"]) == np.flatnonzero(~index.attack & (day > 0)).tolist()
    assert sorted(partition.parts["test_attack"]) == np.flatnonzero(index.attack).tolist()


def test_as_many_days_train_as_a_threshold_takes_and_one_day_or_several_sites_are_refused(week: Path) -> None:
    index = open_week(week).index
    slow = replace(index, start=MONDAY + (index.start - MONDAY) * 3)  # 134 flows a day: 40 of them for thresholds
    partition = draw_partition(slow, Draw(1, "drift", "paper"))
    day = (slow.start - MONDAY) // 86_400
    assert day[np.concatenate([partition.parts[name] for name in ("train", "cal_b")])].max() == 2
    assert day[partition.test].min() == 3
    assert len(partition.parts["cal_b"]) >= 100
    assert "3 days train and calibrate" in partition.reason
    for changed, why in (
        (replace(index, start=MONDAY + (index.start - MONDAY) / 5), "one day alone"),
        (replace(index, sites=("a", "b")), "2 sites; add each as a dataset"),
    ):
        with pytest.raises(DataError, match=why):
            draw_partition(changed, Draw(1, "drift", "paper"))


def test_a_shift_is_seen_on_its_day_and_mended_by_recalibrating_on_it(week: Path) -> None:
    records = board(week)["details"]["records"]
    knn = {r["day"]: r for r in records if (r["detector"], r["threshold"]) == ("knn", "P99")}
    assert list(knn) == DATES[1:]
    assert [knn[day]["drift"] for day in DATES[1:]] == ["", "above", "above", "above"]
    assert knn[DATES[1]]["recalibrated"] == knn[DATES[1]]["fpr"]
    for day in DATES[2:]:
        assert knn[day]["fpr"] > 0.5
    assert knn[DATES[2]]["recalibrated"] > 0.5  # nobody could know the day before
    for day in DATES[3:]:
        assert knn[day]["recalibrated"] <= knn[day]["high"]
    attacked = knn[DATES[3]]
    assert (attacked["n_benign"], attacked["n_attack"]) == (FLOWS, 20)
    assert attacked["auroc"] is not None
    assert [knn[day]["auroc"] for day in DATES if day in knn and day != DATES[3]] == [None] * 3
    length = [r for r in records if r["detector"] == "length"]
    assert {r["drift"] for r in length} == {""}  # all flows have two packets


def test_rates_and_areas_are_those_of_plain_loops(week: Path) -> None:
    results = Results.open(week / "runs")
    records = {
        r["day"]: r for r in board(week)["details"]["records"] if (r["detector"], r["threshold"]) == ("knn", "P95")
    }
    index = open_week(week).index
    rates: dict[str, list[list[float]]] = {day: [] for day in DATES[1:]}
    for record in results.records.values():
        if record.spec["detector"] != "knn":
            continue
        scores = results.scores(record.key)
        cal = sorted(scores.filter(pl.col("role") == "cal_b")["score"])
        rows = scores.filter(pl.col("role") == "test").sort("flow_id")
        by_day: dict[str, list[tuple[float, float, bool]]] = {day: [] for day in DATES[1:]}
        for flow, score in rows.select("flow_id", "score").iter_rows():
            start = float(index.start[flow])
            by_day[DATES[int((start - MONDAY) // 86_400)]].append((start, score, bool(index.attack[flow])))
        before = cal
        for day in DATES[1:]:
            benign = sorted((start, score) for start, score, attack in by_day[day] if not attack)
            found = []
            for known in (cal, before):
                tau = sorted(known)[int(np.ceil(0.95 * (len(known) - 1)))]
                found.append(sum(score > tau for _, score in benign) / len(benign))
            rates[day].append(found)
            before = [score for _, score in benign[len(benign) // 2 :]]
    for day, found in rates.items():
        fixed, again = np.mean(found, axis=0)
        assert records[day]["fpr"] == pytest.approx(fixed)
        assert records[day]["recalibrated"] == pytest.approx(again)


def test_a_day_that_not_every_seed_tests_is_of_those_that_do(week: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    row = Results.open(week / "runs").select("drift").row("length")
    runs = [run for run in row.runs if run.ok]
    whole = {(day.threshold, day.day): day for day in days_of(("length", "week", "week"), runs)}
    days = drift._days
    first, *_ = days(runs[0])
    monkeypatch.setattr(
        drift, "_days", lambda run: {day: of for day, of in days(run).items() if run is not runs[0] or day != first}
    )
    found = {(day.threshold, day.day): day for day in days_of(("length", "week", "week"), runs)}
    assert found.keys() == whole.keys()
    assert {day.n_seeds for (_, name), day in found.items() if name == min(whole)[1]} == {1}
    assert {day.n_seeds for (_, name), day in found.items() if name != min(whole)[1]} == {2}


def test_a_day_that_has_benign_flows_under_some_seeds_alone_has_no_rate() -> None:
    """As under protocols that divide captures: which of them are tested is the seed's."""
    rng = np.random.default_rng(1)
    cal, hits = rng.normal(size=200), rng.normal(size=5)
    seeds = [_Day((benign, hits), cal, None, np.empty(0)) for benign in (np.empty(0), rng.normal(size=30))]
    found = _evidence(("knn", "a", "a"), "P95", 20, 17000, seeds)
    assert (found.n_benign, found.n_attack, found.fpr, found.low, found.high, found.auroc) == (0, 5, *[None] * 4)


def test_table_figure_and_page_show_the_days(week: Path, tmp_path: Path) -> None:
    document = board(week)
    text = RENDER["table"](document, 80, False)
    assert max(map(len, text.split("\n"))) <= 80
    assert text.count(DATES[2]) >= 4
    assert "above" in text
    for form in ("markdown", "latex"):
        assert DATES[2] in RENDER[form](document, 120, False)
    lines = list(csv.DictReader(io.StringIO(RENDER["csv"](document, 80, False))))
    assert {line["day"] for line in lines} == set(DATES[1:])
    figures.drift(tmp_path / "drift.svg", "knn", "P99", "drift", week / "runs")
    assert b"2023-11-22" in (tmp_path / "drift.svg").read_bytes()
    page = render_page(collect(Results.open(week / "runs").select("drift")))
    assert 'id="drift"' in page
    assert DATES[2] in page[page.index('<section id="drift"') :]


def test_a_control_and_another_source_are_told_apart(week: Path) -> None:
    """The days of a target-only control, as other protocols have one, never stand under the name of the transfer."""
    days = day_evidence(Results.open(week / "runs").select("drift"))
    other = [replace(day, source=source) for source in ("", "far") for day in days]
    document = {**board(week), "datasets": ["week", "far"]}
    records = day_records(document, [*other, *days])
    tables = day_tables(document, records)
    titles = [table.title for table in tables]
    for where in ("week", "far → week", "control → week"):
        assert sum(title.startswith(f"{where}: day by day, τ = P99 ") for title in titles) == 1
    shown = [(row.cells[0].text, row.cells[1].text) for table in tables[:2] for row in table.rows]
    assert len(shown) == 2 * len(set(shown))  # at two thresholds
    few = day_records(document, [replace(day, recalibrated_reason="few") for day in (*other, *days)])
    refused = [row.cells[1].text for row in day_tables(document, few)[-1].rows]
    assert refused.count("control → week, P99") == refused.count("week, P99") == 1
    assert all(row.cells[2].text.count(DATES[1]) == 1 for row in day_tables(document, few)[-1].rows)


def test_the_commands_see_the_shift_on_its_day_and_recalibrating_mends_it(
    week: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    captures = [week / "captures" / f"{day}.pcap" for day in DATES]
    operate.fit("mahalanobis", captures[:1], tmp_path / "first", device="cpu")

    def said(model: str, day: int) -> str:
        scoring.score(tmp_path / model, [captures[day]], form="jsonl", output=tmp_path / f"{model}{day}.jsonl")
        return capsys.readouterr().err

    drifted = "the network is no longer the one that was calibrated"
    assert drifted not in said("first", 1)
    assert drifted in said("first", 2)
    operate.recalibrate(tmp_path / "first", captures[2:3], tmp_path / "third")
    assert drifted not in said("third", 4)
    assert drifted in said("first", 4)
