"""Incidents against a slow count in plain Python, on a planted set: several campaigns a host, hosts in several files, a
flood from invented addresses, a clock that is set meanwhile and one that goes back."""

from __future__ import annotations

import csv
import io
import itertools
import json
import math
from collections import defaultdict
from dataclasses import asdict, replace
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import polars as pl
import pytest

from datasets_registry.registry import OpenDataset
from datasets_registry.store import FlowStore
from datasets_registry.timeline import timeline
from harness.cli import figures, leaderboard
from janus_bench.errors import DataError, UsageError
from janus_bench.quiet import ignore
from janus_bench.records import DatasetEntry, DetectorRow, ExpectedCell, PlanRecord, RunRecord, RunSpec
from protocols.incidents import why_not_watched
from reports.render.html.collect import collect
from reports.render.html.page import render_page
from reports.results.archive import export
from reports.results.folder import RunStore
from reports.results.merge import merge
from reports.results.model import Results
from reports.statistics.incidents import _Counted
from reports.tables.incidents import _refused
from tests.conftest import Cli
from tests.rendering import RENDER

SEEDS = (1, 2)
YEARS = 40 * 365 * 86_400.0
N, N_CAL = 900, 240

Flow = dict[str, Any]


def planted_flows() -> list[Flow]:
    """Nine captures of ten hosts.  Those of capture 0 begin in 1970 and go on in 2010 (its clock was set), and capture
    1's clock goes back in the middle; captures 7 and 8 hold the same flows; capture 2 is flooded from addresses that
    come once each."""
    rng = np.random.default_rng(7)
    flows: list[Flow] = []
    for number in range(N):
        capture = number % 9
        start = 1.2e9 + 40_000.0 * (capture % 4) + 1500.0 * float(rng.integers(0, 4)) + float(rng.uniform(0, 300))
        if capture == 0:
            start = float(rng.uniform(0, 2000)) + YEARS * int(number > N // 2)
        if capture == 1 and number > N // 2:
            start -= 5000
        length = float(rng.exponential(200))
        attack = number >= N_CAL and bool(rng.random() < 0.3)
        family = ["benign", "scan", "flood", "theft"][int(rng.integers(1, 4))] if attack else "benign"
        host, peer = (int(each) for each in rng.choice(10, 2, replace=False))
        host %= 4
        if attack and capture == 2:
            family, host, peer = "flood", 100 + number, 3
        flow = {"flow_id": number, "source": f"c{capture}", "group": f"c{min(capture, 7)}", "attack": attack}
        flow |= {"family": family, "host": host, "peer": peer, "start": start, "end": start + length, "n_packets": 3}
        flow |= {"judged": start + length * float(rng.uniform(0.3, 1)), "site": ""}
        flows.append(flow)
    return flows


FLOWS = planted_flows()


def score_of(seed: int, label: str) -> list[float]:
    """Rounded, so that scores tie, with each other and with thresholds."""
    rng = np.random.default_rng([seed, label == "late"])
    return [round(float(rng.normal()) + 1.1 * flow["attack"], 2) for flow in FLOWS]


def spec_of(label: str, seed: int) -> RunSpec:
    how = {"split": "grouped", "caps": "paper", "profile": "quick", "calibration": "target_benign", "device": "cpu"}
    where = {"source": "plant", "source_hash": "pp", "target": "plant", "target_hash": "pp", "seed": seed}
    return RunSpec(detector=label, version="1", params={}, regime="transfer", **where, **how)  # type: ignore[arg-type]


def write(folder: Path, *, partition: dict[str, Any] | None = None, with_timeline: bool = True) -> Results:
    """``early`` judges a flow by its 64th packet, ``late`` at its end."""
    store = RunStore.create(folder)
    table = pl.DataFrame(FLOWS)
    store.write_truth("pp", table.select("flow_id", "attack", "family", "source", "site", "group", "n_packets"))
    if with_timeline:
        store.write_timeline("pp", lambda: table.select("flow_id", "host", "peer", "start", "end", "judged"))
    cells = []
    for label in ("early", "late"):
        for seed in SEEDS:
            key = spec_of(label, seed).key
            cells.append(ExpectedCell(label, "transfer", "plant", "plant", seed, key))
            role = np.repeat(["cal_b", "test"], [N_CAL, N - N_CAL])
            scores = {"flow_id": np.arange(N), "target": ["plant"] * N, "role": role, "score": score_of(seed, label)}
            extra = pl.DataFrame({**scores, "role": ["cal_a"] * N})[:3]
            store.write_scores(key, pl.concat([pl.DataFrame(scores), extra]))
            record = RunRecord(key, key, asdict(spec_of(label, seed)), "ok", "", 1, "", "test", False, "identity")
            store.append(replace(record, partition=partition or {}))
    rows = {"early": DetectorRow("early"), "late": DetectorRow("late", at_end=True)}
    entries = {"plant": DatasetEntry("pp", flows=N, benign=N - 200, attack=200)}
    store.write_plan(PlanRecord("operational", "quick", "grouped", "target_benign", SEEDS, entries, rows, tuple(cells)))
    return Results(store)


@pytest.fixture(scope="module")
def planted(tmp_path_factory: pytest.TempPathFactory) -> Results:
    return write(tmp_path_factory.mktemp("incidents"))


def board(results: Results, **options: Any) -> dict[str, Any]:
    table = results.select()
    return dict(leaderboard.with_table(table, leaderboard.document(table, "auroc"), "incidents", **options))


def records_of(results: Results, **options: Any) -> list[dict[str, Any]]:
    return list(board(results, **options)["details"]["records"])


# -- the slow count ----------------------------------------------------------------------------------------------------


def when(flow: Flow, label: str) -> float:
    return float(flow["end"] if label == "late" else flow["judged"])


def watched(flows: list[Flow]) -> float:
    """Seconds, by walking through every capture's flows in order of time."""
    total = 0.0
    for capture in {flow["source"] for flow in flows}:
        reached = -math.inf
        for start, end in sorted((flow["start"], flow["end"] + 300) for flow in flows if flow["source"] == capture):
            total += max(0.0, end - max(start, reached))
            reached = max(reached, end)
    return total


def windows(flows: list[Flow], label: str, length: float) -> dict[tuple[str, int, int], list[int]]:
    found = defaultdict(list)
    for flow in flows:
        found[flow["source"], flow["host"], math.floor(when(flow, label) / length)].append(flow["flow_id"])
    return found


def campaigns(flows: list[Flow]) -> list[list[Flow]]:
    """Grown one flow at a time: what shares a host with any member joins."""
    left = [flow for flow in flows if flow["attack"]]
    found = []
    while left:
        own = [left.pop()]
        grown = True
        while grown:
            hosts = {flow[side] for flow in own for side in ("host", "peer")}
            more = [
                flow
                for flow in left
                if (flow["source"], flow["family"]) == (own[0]["source"], own[0]["family"])
                and hosts & {flow["host"], flow["peer"]}
            ]
            left = [flow for flow in left if flow not in more]
            own, grown = own + more, bool(more)
        found.append(own)
    return found


def expected(label: str, seed: int, tau: float, length: float) -> dict[str, float]:
    scores, tested = score_of(seed, label), FLOWS[N_CAL:]
    alerts = {flow["flow_id"] for flow in tested if scores[flow["flow_id"]] > tau}
    true = false = missed = 0
    for members in windows(tested, label, length).values():
        above = [flow for flow in members if flow in alerts]
        if above:
            hit = any(FLOWS[flow]["attack"] for flow in above)
            true, false = true + hit, false + (not hit)
        else:
            missed += any(FLOWS[flow]["attack"] for flow in members)
    times, begun, soon, n_found = [], [], 0, 0
    found = campaigns(tested)
    for own in found:
        hits = [when(flow, label) for flow in own if flow["flow_id"] in alerts]
        starts = sorted(flow["start"] for flow in own)
        n_found += bool(hits)
        if hits and all(later - earlier < 365 * 86_400 for earlier, later in itertools.pairwise(starts)):
            times.append(min(hits) - starts[0])
            begun.append(sum(start <= min(hits) for start in starts))
            soon += times[-1] <= 60
    hours = watched(tested) / 3600
    return {
        "campaigns": len(found),
        "found": n_found,
        "found_share": n_found / len(found),
        "found_in_60s": soon / len(found),
        "seconds_to_alert": median(times),
        "flows_to_alert": median(begun),
        "missed_windows": missed,
        "true_incidents": true,
        "false_incidents": false,
        "observed_hours": hours,
        "false_per_day": false / hours * 24,
        "alerts": len(alerts),
        "alerts_per_incident": len(alerts) / (true + false),
    }


def tau_of(label: str, seed: int, threshold: str, length: float) -> float:
    """Of the budget: every calibration score is tried, from the lowest on."""
    calibration, scores = FLOWS[:N_CAL], score_of(seed, label)
    known = sorted(scores[flow["flow_id"]] for flow in calibration)
    if threshold == "P99":
        return known[math.ceil(0.99 * (N_CAL - 1))]
    per_day, days = float(threshold.split()[0]), watched(calibration) / 86_400
    grouped = windows(calibration, label, length).values()
    return next(tau for tau in known if sum(any(scores[f] > tau for f in own) for own in grouped) <= per_day * days)


@pytest.mark.parametrize(("window", "per_day"), [(None, None), (3.5, 60.0)])
def test_numbers_are_those_of_a_slow_count(planted: Results, window: float | None, per_day: float | None) -> None:
    records = records_of(planted, window=window, incidents_per_day=per_day)
    length, budget = 60 * (window or 10.0), f"{per_day or 10:g} a day"
    assert len(records) == 2 * 3
    for record in records:
        if record["threshold"] == "P99.9":
            assert record["reason"] == "P99.9 takes 1,000 calibration flows B, there are 240"
            continue
        label, threshold = record["detector"], record["threshold"]
        assert threshold in ("P99", budget)
        seeds = [expected(label, seed, tau_of(label, seed, threshold, length), length) for seed in SEEDS]
        for name in seeds[0]:
            assert record[name] == pytest.approx(np.mean([seed[name] for seed in seeds])), (label, threshold, name)
    # the planted set has what it is for
    own = campaigns(FLOWS[N_CAL:])
    assert max(len({flow["host"] for flow in each}) for each in own) > 15
    of_campaigns = [pair for each in own for pair in {(flow["source"], flow["host"]) for flow in each}]
    assert max(of_campaigns.count(pair) for pair in of_campaigns) > 1
    assert len({source for source, host in of_campaigns if host == 1}) > 1


def test_the_late_detector_is_judged_later(planted: Results) -> None:
    by_label = {r["detector"]: r for r in records_of(planted) if r["threshold"] == "P99"}
    early, late = (
        expected(label, 1, tau_of(label, 1, "P99", 600), 600)["seconds_to_alert"] for label in ("early", "late")
    )
    assert early != late
    assert by_label["early"]["seconds_to_alert"] != by_label["late"]["seconds_to_alert"]


def test_intervals_hold_the_number_and_are_those_of_captures_repeated(planted: Results) -> None:
    for record in records_of(planted):
        if record["reason"]:
            continue
        for name in ("found_share", "false_per_day", "alerts_per_incident"):
            assert record[f"{name}_low"] < record[name] < record[f"{name}_high"], name
    rng = np.random.default_rng(3)
    values, group = rng.normal(size=40), rng.integers(0, 6, 40)
    values[::7] = np.nan
    weights = rng.integers(0, 4, (6, 30)).astype(np.float64)
    counted = _Counted({}, group, values, values)
    for draw, found in zip(weights.T, counted.median(values, weights), strict=True):
        repeated = np.repeat(values, draw[group].astype(int))
        assert found == pytest.approx(np.nanmedian(repeated))


def test_every_format_has_the_numbers_and_a_terminal_of_80_columns_holds_them(planted: Results) -> None:
    document = board(planted)
    record = next(r for r in document["details"]["records"] if (r["detector"], r["threshold"]) == ("early", "P99"))
    text = RENDER["table"](document, 80, False)
    assert max(map(len, text.split("\n"))) <= 80
    for form in ("table", "markdown", "latex"):
        shown = RENDER[form](document, 160, False)
        assert f"{record['false_incidents']:g}" in shown
        assert "there are 240" in " ".join(shown.split())
    lines = csv.DictReader(io.StringIO(RENDER["csv"](document, 80, False)))
    line = next(each for each in lines if (each["detector"], each["threshold"]) == ("early", "P99"))
    assert float(line["seconds_to_alert"]) == record["seconds_to_alert"]
    assert json.loads(RENDER["json"](document, 80, False))["details"]["records"][0] == document["details"]["records"][0]
    page = render_page(collect(planted.select()))
    section = page[page.index('id="incidents"') :]
    assert "there are 240" in section
    assert "false a day" in section


def test_the_figure_has_a_point_per_detector_and_threshold_and_says_why_there_is_none(
    planted: Results, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: dict[str, Any] = {}

    def keep(points: dict[str, Any], *_: object) -> bytes:
        drawn.update(points)
        return b"<svg/>"

    monkeypatch.setattr("reports.figures.incident_plot", keep)
    file, folder = tmp_path / "x.svg", planted.folder
    figures.incidents(file, "early,late", "plant", "plant", runs=folder)
    records = [r for r in records_of(planted) if r["found_share"] is not None and r["false_per_day"] is not None]
    assert [(p.threshold, p.found, p.false_per_day) for p in drawn["early"]] == [
        (r["threshold"], r["found_share"], r["false_per_day"]) for r in records if r["detector"] == "early"
    ]
    assert set(drawn) == {"early", "late"}
    with pytest.raises(UsageError, match="unknown dataset 'office'"):
        figures.incidents(file, "early", "office", "plant", runs=folder)
    few = write(tmp_path / "few", with_timeline=False).folder
    with pytest.raises(
        DataError, match=r"no incidents of plant → plant can be drawn: when its flows were there was not"
    ):
        figures.incidents(file, "early", "plant", "plant", runs=few)


def test_what_cannot_be_counted_says_why(tmp_path: Path) -> None:
    sizes = {"test_benign": 400, "test_attack": 90, "cal_b": 100}
    part = {"kind": "grouped", "reason": "", "sizes": sizes, "uncapped": {**sizes, "test_attack": 2000}}
    assert {r["reason"] for r in records_of(write(tmp_path / "capped", partition=part))} == {
        "1,910 of 2,000 flows of test_attack were left out: --protocol operational tests all"
    }
    part = {"kind": "grouped", "reason": "", "sizes": sizes, "uncapped": {**sizes, "cal_b": 500}}
    by_name = {r["threshold"]: r["reason"] for r in records_of(write(tmp_path / "cal", partition=part))}
    assert by_name["P99"] == ""
    assert by_name["10 a day"].startswith("400 of 500 flows of cal_b were left out")
    results = write(tmp_path / "no", with_timeline=False)
    assert {r["reason"] for r in records_of(results)} == {
        "when its flows were there was not stored: of captures the same `run` again adds it, and fits nothing; of a "
        "table it is not known"
    }
    assert "Refused" in RENDER["table"](board(results), 80, False)
    many = records_of(write(tmp_path / "budget"), incidents_per_day=0.5)
    assert "one incident in it would be" in next(r["reason"] for r in many if r["threshold"] == "0.5 a day")


def test_one_reason_of_many_cells_and_rows_is_one_line() -> None:
    record = {"day_reason": "", "interval_reason": "", "target": "home"}
    records = [
        record | {"detector": label, "source": source, "threshold": threshold, "reason": reason}
        for label in "abcde"
        for source, reason in (("home", "few"), ("office", "few"), ("plant", ""))
        for threshold in ("P99", "P99.9")
    ]
    lines = _refused(records, dict(zip("abcde", "ABCDE", strict=True)))  # type: ignore[arg-type]
    assert lines == [("all 5 rows", "home → home, office → home", "P99, P99.9", "few")]


def test_captures_of_one_flow_and_hosts_made_anonymous_are_refused() -> None:
    n = np.arange(60)
    none = np.zeros(60, bool)
    assert "alone in their captures" in why_not_watched(n, n % 5, n % 7, none)
    assert "one address" in why_not_watched(n % 3, none.astype(int), none.astype(int), none)
    assert "initiator of its own" in why_not_watched(n % 3, n, n % 7, none)
    assert why_not_watched(n % 3, n % 5, n % 7, none) == ""
    assert why_not_watched(n % 3, n, n % 7, n > 5) == ""  # a flood from invented addresses is none of that


def test_too_short_a_time_has_no_rate(planted: Results, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("reports.statistics.incidents.HOUR_S", 1e6)
    record = next(r for r in records_of(planted) if r["threshold"] == "P99")
    assert record["false_per_day"] is None
    assert "less than an hour" in record["day_reason"]
    assert record["false_incidents"] is not None


def test_a_timeline_is_that_of_the_stored_packets_and_names_nobody(home: Path) -> None:
    store = FlowStore.open(home / "datasets" / "alpha")
    found, flows = timeline(store), store.flows()
    assert not any(dtype == pl.String for dtype in found.dtypes)
    offsets, packets = store.shards[0].arrays()
    n_long = 0
    numbers: dict[str, int] = {}
    for row, flow in zip(found.iter_rows(named=True), flows.iter_rows(named=True), strict=True):
        kept = packets["iat"][offsets[flow["flow_id"]] : offsets[flow["flow_id"] + 1]].astype(float).sum() / 1e6
        last = min(flow["ts_start"] + kept, flow["ts_end"]) if flow["n_packets"] > 64 else flow["ts_end"]
        n_long += flow["n_packets"] > 64
        assert row["judged"] == pytest.approx(last, abs=1e-6)
        assert (row["start"], row["end"]) == (flow["ts_start"], flow["ts_end"])
        assert numbers.setdefault(flow["src_ip"], row["host"]) == row["host"]
        assert numbers.setdefault(flow["dst_ip"], row["peer"]) == row["peer"]
    assert len(set(numbers.values())) == len(numbers)


def test_operational_runs_what_is_needed_and_a_second_run_adds_what_was_not_stored(cli: Cli) -> None:
    arguments = ("--protocol", "operational", "--datasets", "alpha", "--detectors", "length", "--seeds", "1")
    result = cli("run", *arguments)
    assert result.returncode == 0, result.stderr
    assert "Incidents" in result.stdout or "Refused" in result.stdout
    (stored,) = (cli.folder / "runs" / "timelines").iterdir()
    before = stored.read_bytes()
    stored.unlink()
    assert "was not stored" in " ".join(cli("leaderboard", "--table", "incidents").stdout.split())
    again = cli("run", *arguments)
    assert "nothing to do: all 1 runs" in again.stderr
    assert stored.read_bytes() == before
    assert cli("leaderboard", "--table", "incidents", "--window", "0").returncode == 2
    (record,) = RunStore.open(cli.folder / "runs").records().values()
    dataset = OpenDataset(FlowStore.open(Path(cli.environment["JANUS_BENCH_HOME"]) / "datasets" / "alpha"))
    assert record.counts["n_test_attack"] == int(dataset.index.attack.sum())


def test_merge_keeps_timelines(planted: Results, tmp_path: Path) -> None:
    other = write(tmp_path / "other", with_timeline=False)
    merge([other.folder, planted.folder], tmp_path / "both")
    assert records_of(Results.open(tmp_path / "both")) == records_of(planted)


def test_a_damaged_timeline_is_neither_merged_nor_archived(planted: Results, tmp_path: Path) -> None:
    """In a merge it would take the place of the whole one of the other folder."""
    other = write(tmp_path / "other").folder
    damaged = other / "timelines" / "pp.parquet"
    damaged.write_bytes(damaged.read_bytes()[:-20])
    with pytest.raises(DataError, match=f"{damaged} is damaged"):
        merge([planted.folder, other], tmp_path / "both")
    with pytest.raises(DataError, match=f"{damaged} is damaged"):
        export(other, tmp_path / "x.tar.gz", ignore)
    assert [path.name for path in tmp_path.iterdir() if path.name in ("both", "x.tar.gz")] == []
