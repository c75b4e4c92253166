"""The HTML report: what is collected from stored scores, and the page that is made of it, without a browser."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Mapping
from dataclasses import asdict, replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score, roc_curve

from janus_bench.errors import DataError, UsageError
from janus_bench.records import DatasetEntry, DetectorRow, ExpectedCell, PlanRecord, RunRecord, RunSpec
from protocols.metrics import tpr_at_fpr
from reports.published.table import published_table
from reports.render.html import records, results
from reports.render.html.collect import MAX_POINTS, collect, roc_grid, tpr_at
from reports.render.html.evidence import FamilySize, ReportData
from reports.render.html.page import render_page
from reports.results.folder import RunStore
from reports.results.model import Results
from reports.tables.evidence import CONTROL, CellEvidence, FamilyArea, ThresholdEvidence
from reports.tables.fields import share, whole
from tests.planted import InMemory
from tests.planted import document as build_leaderboard

FORBIDDEN = re.compile(r"zero[\W_]*shot", re.IGNORECASE)
METRICS = (
    "auroc",
    "macro_auroc",
    "auroc@2+",
    "macro_auroc@2+",
    "auprc",
    "pauc_1pct",
    "tpr_at_fpr_5pct",
    "tpr_at_fpr_1pct",
    "tpr_at_fpr_01pct",
    "fpr_p95",
)
AUDIT: dict[str, Any] = {
    "findings": [{"severity": "warning", "text": "length alone tells attacks from benign flows"}],
    "measures": [
        {
            "key": "a.b",
            "what": "AUROC of the number of packets",
            "unit": "auroc",
            "value": 0.9876,
            "detail": {"n": 4, "share": 0.5},
        }
    ],
    "tables": [
        {
            "title": "twins",
            "columns": ["part", "n"],
            "units": ["text", "count"],
            "rows": [["train", 1234], ["test", None]],
        }
    ],
}


def planted(
    names: tuple[str, ...] = ("alpha", "beta[x=1]", "gamma"),
    sites: tuple[str, ...] = ("site_a", "site_b"),
    seeds: tuple[int, ...] = (1, 2, 3),
    *,
    synthetic: bool = True,
    families: int = 3,
    points: int = 100,
) -> ReportData:
    """A page's data written down without scores.  The last detector timed out on the first site.  Every realised FPR at
    P99 is .01 on 10 000 benign flows with a recall of .9: 9 999 false alerts a day at a base rate of 1e-4 and a million
    flows."""
    rng = np.random.default_rng(5)
    pairs = [(source, target) for source in sites for target in sites]
    expected, records, areas = [], {}, {}
    for place, label in enumerate(names):
        for regime, wanted in (("transfer", pairs), ("control", pairs)):
            for source, target in wanted:
                for seed in seeds:
                    key = hashlib.sha256(
                        f"{label}{regime}{source if regime == 'transfer' else ''}{target}{seed}".encode()
                    ).hexdigest()[:16]
                    expected.append(ExpectedCell(label, regime, source, target, seed, key))  # type: ignore[arg-type]
                    failed = place == len(names) - 1 and regime == "transfer" and target == sites[0]
                    records[key] = record(key, label, regime, source, target, seed, "timeout" if failed else "ok")
                    areas[key] = None if failed else float(0.5 + 0.49 * rng.random())
    datasets = {
        name: DatasetEntry(name * 8, synthetic=synthetic, flows=9, benign=8, attack=1, notes=f"note on {name}")
        for name in sites
    }
    detectors = {
        label: DetectorRow(label, provenance="our reading" if place else "original", aggregator="oas")
        for place, label in enumerate(names)
    }
    plan = PlanRecord("cross", "quick", "grouped", "target_benign", seeds, datasets, detectors, tuple(expected))
    documents = {name: build_leaderboard([plan], records, areas, name) for name in METRICS}
    ok = [
        (label, source, target)
        for label in names
        for source, target in pairs
        if not (label == names[-1] and target == sites[0])
    ]
    cells = [
        evidence(*cell, rng, families, points)
        for cell in ok + [(label, CONTROL, target) for label in names for target in sites]
    ]
    return ReportData(
        table=Results(InMemory([plan], records)).table([plan]),
        documents=documents,
        summaries={"auroc": "Area under the ROC curve."},
        cells=tuple(cells),
        families={
            name: {f"family_{number}": FamilySize(1000, number + 1) for number in range(families)} for name in sites
        },
        audits={sites[0]: AUDIT},
        published=published_table(documents["auroc"], ["janus"]),
    )


def record(key: str, label: str, regime: str, source: str, target: str, seed: int, status: str) -> RunRecord:
    spec = {"params": {"sigma": 0.1}, "target": target, "version": "1", "device": "cpu", "regime": regime}
    spec |= {"caps": "quick"}
    cost = {"fit_s": 10.0 * seed, "flows_per_s": 1000.0, "peak_rss_mb": 100.0}
    counts = {"n_train": 5000, "n_cal": 2000, "n_test_benign": 1500, "n_test_attack": 500}
    partition = {
        "kind": "grouped",
        "reason": "",
        "sizes": {"train": 5000, "val": 500},
        "attacks_sharing_a_training_capture": 7,
    }
    reason = "" if status == "ok" else "longer than 30m"
    where = f"{label}/{regime}/{source}/{seed}"
    finished = "2026-01-02T03:04:05+00:00"
    row = RunRecord(
        key, where, spec, status, reason, 1, finished, "our reading", False, "oas", counts, cost, {}, partition
    )  # type: ignore[arg-type]
    return replace(row, environment={"python": "3.11.7", "numpy": "2.4.6"})


def evidence(
    label: str, source: str, target: str, rng: np.random.Generator, families: int, points: int
) -> CellEvidence:
    fpr = roc_grid([10_000], points)
    at = ThresholdEvidence(0.01, 0.0081, 0.0122, True, 0.9, 0.95, 0.92, 10_000, 2000, 1000)
    few = ThresholdEvidence(0.05, 0.0457, 0.0545, False, 0.95, None, 0.93, 10_000, 2000, 1000)
    areas = {
        f"family_{number}": FamilyArea(float(rng.random()), 15 if number == 0 else 100) for number in range(families)
    }
    tpr = tuple(np.sort(rng.random(len(fpr) - 1)).tolist())
    return CellEvidence(
        label, source, target, 3, 10_000, tuple(fpr.tolist()), (*tpr, 1.0), areas, {"P95": few, "P99": at}
    )


class Page(HTMLParser):
    """Tags with their attributes, and the text of each table; fails on a tag that is not closed in order."""

    VOID = ("meta", "link", "input", "br", "wbr")

    def __init__(self, page: str) -> None:
        super().__init__()
        self.stack: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.inside: dict[str, list[str]] = {"caption": [], "title": [], "h1": [], "script": [], "style": []}
        self.feed(page)
        assert self.stack == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.stack.append(tag)
        if tag in self.inside:
            self.inside[tag].append("")

    def handle_endtag(self, tag: str) -> None:
        assert self.stack.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.stack and self.stack[-1] in self.inside:
            self.inside[self.stack[-1]][-1] += data


# -- what is collected -------------------------------------------------------------------------------------------------


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 400), st.integers(1, 200), st.booleans())
def test_a_thinned_curve_has_measured_points_only(seed, n, m, ties):
    rng = np.random.default_rng(seed)
    benign, hits = rng.normal(size=n), rng.normal(1, 1, size=m)
    if ties:
        benign, hits = benign.round(1), hits.round(1)
    benign, hits = np.sort(benign), np.sort(hits)
    grid = roc_grid([n])
    tpr = tpr_at(benign, hits, grid)
    assert len(grid) <= MAX_POINTS
    assert (grid[0], grid[-1], tpr[-1]) == (0, 1, 1)
    fpr_all, tpr_all, _ = roc_curve(np.repeat([0, 1], [n, m]), np.concatenate([benign, hits]), drop_intermediate=False)
    best = [tpr_all[fpr_all <= rate + 1e-12].max() for rate in grid]
    assert tpr == pytest.approx(best)
    steps = np.arange(n + 1) / n  # the exact end: no step is missing among the smallest rates
    assert np.isin(steps[: min(n + 1, 40)], grid).all()


def test_a_curve_agrees_with_the_metric_at_its_landmarks():
    rng = np.random.default_rng(0)
    attack = rng.random(9000) < 0.3
    score = rng.normal(size=9000) + attack
    benign, hits = np.sort(score[~attack]), np.sort(score[attack])
    grid = roc_grid([len(benign)])
    for one_in in (1000, 100, 20):
        assert 1 / one_in in grid
        assert tpr_at(benign, hits, np.array([1 / one_in]))[0] == pytest.approx(tpr_at_fpr(score, attack, one_in))


def test_the_steps_of_every_seed_are_kept():
    grid = roc_grid([700, 1100])
    assert len(grid) <= MAX_POINTS
    smallest = sorted({k / 700 for k in range(701)} | {k / 1100 for k in range(1101)})[:45]
    assert np.isin(smallest, grid).all()


def small_spec(name: str) -> RunSpec:
    """Of the run ``far`` or ``near``, source, target, seed, as in ``farab1``."""
    label, (source, target, seed) = name[:-3], name[-3:]
    where = {
        "source": source,
        "source_hash": source * 2,
        "target": target,
        "target_hash": target * 2,
        "seed": int(seed),
    }
    how = {"split": "grouped", "caps": "quick", "profile": "quick", "calibration": "target_benign", "device": "cpu"}
    return RunSpec(detector=label, version="1", params={}, regime="transfer", **where, **how)  # type: ignore[arg-type]


def small_store(folder: Path) -> tuple[RunStore, PlanRecord]:
    """Detectors ``far`` and ``near`` on two sites and two seeds, their scores written down; one run of ``near`` failed,
    one is missing."""
    store = RunStore.create(folder)
    sites = {name: DatasetEntry(name * 2, flows=2200, benign=2000, attack=200) for name in ("a", "b")}
    family = np.where(np.arange(2200) < 2000, "web", np.where(np.arange(2200) < 2010, "rare", "scan"))
    source = [f"capture_{number % 7}" for number in range(2200)]
    for name in sites:
        truth = {
            "flow_id": np.arange(2200),
            "attack": np.arange(2200) >= 2000,
            "family": family,
            "source": source,
            "n_packets": np.arange(2200) % 3 + 1,
        }
        store.write_truth(sites[name].hash, pl.DataFrame(truth))  # type: ignore[arg-type]
    cells = []
    for label in ("far", "near"):
        for origin, target, seed in ((origin, target, seed) for origin in "ab" for target in "ab" for seed in (1, 2)):
            name = f"{label}{origin}{target}{seed}"
            spec = small_spec(name)
            key = spec.key
            cells.append(ExpectedCell(label, "transfer", origin, target, seed, key))
            if name == "nearbb2":
                continue
            status = "error" if name == "nearab2" else "ok"
            rng = np.random.default_rng(seed + 7 * (label == "far"))
            score = rng.normal(size=2200) + (np.arange(2200) >= 2000) * (3 if label == "far" else 1)
            role = np.repeat(["cal_a", "cal_b", "test"], [200, 400, 1600])
            if status == "ok":
                table = {"flow_id": np.arange(2200), "target": [target] * 2200, "role": role, "score": score}
                store.write_scores(key, pl.DataFrame(table))
            store.append(
                RunRecord(
                    key,
                    key,
                    asdict(spec),
                    status,
                    "" if status == "ok" else "ValueError: no",
                    1,
                    "",
                    "test",
                    False,
                    "identity",
                )
            )  # type: ignore[arg-type]
    declared = {label: DetectorRow(label, provenance="test") for label in ("far", "near")}
    plan = PlanRecord("cross", "quick", "grouped", "target_benign", (1, 2), sites, declared, tuple(cells))
    store.write_plan(plan)
    return store, plan


def test_collected_numbers_by_brute_force(tmp_path):
    store, _ = small_store(tmp_path)
    data = collect(Results(store).select())
    assert list(data.documents)[:2] == ["auroc", "macro_auroc"]
    assert "auroc@2+" in data.documents
    cells = {(cell.detector, cell.source, cell.target): cell for cell in data.cells}
    cell = cells["far", "a", "b"]
    parts = []
    for seed in (1, 2):
        scores = store.scores(small_spec(f"farab{seed}").key)["score"].to_numpy()
        benign, rare, scan = scores[600:2000], scores[2000:2010], scores[2010:]
        tau = np.sort(scores[200:600])[396]  # numpy's "higher" at .99 · 399 = 395.01
        parts.append((benign, rare, scan, tau))
    assert cell.n_seeds == 2
    assert cell.families["rare"].n == 10
    expected = [
        roc_auc_score(np.repeat([0, 1], [len(benign), len(scan)]), np.concatenate([benign, scan]))
        for benign, _, scan, _ in parts
    ]
    assert cell.families["scan"].auroc == pytest.approx(np.mean(expected))
    at = cell.thresholds["P99"]
    rates = [(benign > tau).mean() for benign, _, _, tau in parts]
    assert at.fpr == pytest.approx(np.mean(rates))
    assert at.recall == pytest.approx(
        np.mean(
            [np.concatenate([rare, scan] if len(rare) else [scan]).__gt__(tau).mean() for _, rare, scan, tau in parts]
        )
    )
    assert at.measured is bool(round(float(np.mean(rates)) * 1400) >= 10)
    assert (at.n_benign, at.n_attack, at.n_cal) == (1400, 200, 400)
    assert at.fpr_low < at.fpr < at.fpr_high
    document = {row["detector"]: row for row in data.first["rows"]}
    areas = []
    for seed in (1, 2):
        scores = store.scores(small_spec(f"farab{seed}").key)["score"].to_numpy()[600:]
        areas.append(roc_auc_score(np.arange(1600) >= 1400, scores))
    shown = next(found for found in document["far"]["cells"] if (found["source"], found["target"]) == ("a", "b"))
    assert shown["mean"] == pytest.approx(np.mean(areas))
    assert data.families["a"]["scan"] == FamilySize(190, 7)
    assert cells["near", "a", "b"].n_seeds == 1
    assert {run.key: run.status for run in data.runs}[small_spec("nearbb2").key] == "missing"
    page = render_page(data)
    assert "ValueError: no" in page
    assert "SYNTHETIC" not in page


def test_damaged_scores_are_one_clear_error(tmp_path):
    store, _ = small_store(tmp_path)
    key = small_spec("faraa1").key
    (tmp_path / "scores" / f"{key}.parquet").write_bytes(b"PAR1")
    with pytest.raises(DataError, match=rf"{key}\.parquet is damaged"):
        collect(Results(store).select())


def test_the_command_writes_one_file_and_says_where(tmp_path, capsys):
    from harness.cli.report import report

    store, _ = small_store(tmp_path / "runs")
    report(store.folder, "", tmp_path / "report.html")
    assert (tmp_path / "report.html").read_text().startswith("<!DOCTYPE html>")
    assert "report.html" in capsys.readouterr().err
    for wrong in (tmp_path, tmp_path / "none" / "report.html"):
        with pytest.raises(UsageError, match="choose another file with -o"):
            report(store.folder, "", wrong)
    with pytest.raises(DataError, match="no results in"):
        report(tmp_path / "elsewhere", "", tmp_path / "report.html")


# -- the page ----------------------------------------------------------------------------------------------------------


def test_the_page_is_self_contained_and_reproducible():
    text = render_page(planted())
    assert text == render_page(planted())
    page = Page(text)
    for tag, attributes in page.tags:
        assert "src" not in attributes
        assert not any(name.startswith("on") or name == "style" for name in attributes), (tag, attributes)
        if "href" in attributes:
            assert str(attributes["href"]).startswith(("#", "data:,"))
    assert not re.search(
        r"url\(|@import|fetch\(|XMLHttpRequest|import\(", "".join(page.inside["style"] + page.inside["script"])
    )
    policy = next(
        str(attributes["content"])
        for _, attributes in page.tags
        if attributes.get("http-equiv") == "Content-Security-Policy"
    )
    assert policy.startswith("default-src 'none';")
    for inline in (page.inside["style"][0], page.inside["script"][-1]):
        assert base64.b64encode(hashlib.sha256(inline.encode()).digest()).decode() in policy
    targets = {attributes["id"] for _, attributes in page.tags if "id" in attributes}
    assert {str(attributes["href"])[1:] for tag, attributes in page.tags if tag == "a"} <= targets


def test_every_table_has_a_caption_and_scoped_heads():
    page = Page(render_page(planted()))
    assert len(page.inside["caption"]) == sum(tag == "table" for tag, _ in page.tags) > 20
    assert all(caption.strip() for caption in page.inside["caption"])
    assert all(attributes.get("scope") in ("row", "col") for tag, attributes in page.tags if tag == "th")


def test_synthetic_data_are_called_so_in_the_title_and_on_every_table_of_results():
    data = planted()
    page = Page(render_page(data))
    assert "SYNTHETIC DATA" in page.inside["title"][0]
    assert "SYNTHETIC DATA" in page.inside["h1"][0]
    published = [caption for caption in page.inside["caption"] if "SYNTHETIC DATA" not in caption]
    assert (
        len(published)
        == len(re.findall(r"<caption>", render_page(data).split('id="published"')[1].split('id="provenance"')[0]))
        == 4
    )
    assert "SYNTHETIC" not in render_page(planted(synthetic=False)).replace("SYNTHETIC DATA: generated", "")


def test_notes_findings_and_reported_methods_are_there_and_the_forbidden_word_is_not():
    data = planted()
    text = render_page(data)
    plain = re.sub(r"<wbr>|&#39;", lambda found: "'" if found.group() == "&#39;" else "", text)
    for note in data.first["notes"]:
        assert note in plain, note
    assert "calibrated cross-domain transfer" in text
    assert "length alone tells attacks from benign flows" in text
    assert ".988" in text.split('id="datasets"')[1]
    assert text.count("No audit stored") == 1  # of site_b
    assert "reported only" in text
    assert "longer than 30m" in text
    assert not FORBIDDEN.search(text)
    assert not FORBIDDEN.search(render_page(planted(synthetic=False)))


def test_distances_of_benign_traffic_stand_beside_the_matrices_where_they_are_known():
    names = ["site_a", "site_b"]
    apart = {"datasets": names, "values": {"sizes": [[0.125, 0.75], [0.75, None]]}, "by": {"sizes": [["x", "y"]] * 2}}
    section = render_page(replace(planted(), distances=apart)).split('id="matrices"')[1].split('id="curves"')[0]
    table = section.split("sizes · benign against benign · SYNTHETIC DATA")[2].split("</table>")[0]
    assert re.findall(r"<td[^>]*>([^<]+)", table) == [".12", ".75", ".75", "–"]
    assert table.count(" own") == 2
    assert "benign against benign" not in render_page(planted()).split('id="curves"')[0]


def test_names_cannot_break_out_of_the_page():
    hostile = "</script><script>alert(1)</script>"
    text = render_page(planted(names=(f'x[a="{hostile}"]', "y"), sites=("<b>&", 'q"uote')))
    assert hostile not in text
    assert "<script>alert" not in text
    assert "<b>&" not in text
    assert len(Page(text).inside["script"]) == 2


def test_a_number_that_does_not_exist_is_a_dash():
    text = render_page(planted())
    board = text.split('id="leaderboard"')[1].split('id="matrices"')[0]
    row = next(line for line in board.splitlines() if "gamma" in line and "<tr" in line)
    cells = re.findall(r"<t[dh][^>]*>([^<]*)", row)
    assert cells[0] == "–"  # no rank
    assert cells[3] == "–"  # no within mean: one of its cells timed out
    assert 'data-v="0"' not in row.replace('data-v="0.0"', 'data-v="0"')


def test_twenty_detectors_on_four_by_four_with_three_seeds_stay_below_3_mb():
    names = tuple(f"detector_{number:02}[sigma=0.6,lambda_disc=0.5]" for number in range(20))
    sites = ("enterprise_windows", "mobile_voice", "ics_scada_plant", "iot_home_network")
    data = planted(names, sites, (42, 43, 44), families=15)
    size = len(render_page(data).encode())
    assert 500_000 < size < 3_000_000, size


def test_long_tables_are_shown_in_part_and_say_where_the_rest_is(monkeypatch):
    data = planted()
    whole = render_page(data)
    assert whole.count("Alerts, threshold at") > whole.count("Alerts, threshold at P99") > 0
    failed = sum(not run.ok for run in data.runs)
    assert 0 < failed < len(data.runs)
    for module in (records, results):
        monkeypatch.setattr(module, "LONG", 3)
    page = render_page(data)
    assert page.count("Alerts, threshold at P99 ") == page.count("Alerts, threshold at") == 2  # caption and region
    assert "janus-bench leaderboard --table thresholds" in page
    assert f"Runs that are not ok ({failed} of {len(data.runs)})" in page
    assert "janus-bench runs list" in page
    for run in data.runs:
        assert (run.key in page[page.index("Runs that are not ok") :]) == (not run.ok)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "–"),
        (0.0, "0.0 %"),
        (1.0, "100 %"),
        (0.125, "13 %"),
        (0.0112, "1.1 %"),
        (0.00089, "0.089 %"),
        (1e-7, "< 0.0001 %"),
    ],
)
def test_percentages(value, text):
    assert share(value) == text


def test_whole_numbers_round_halves_upwards():
    values: Mapping[float, str] = {499.5: "500", 9999.0: "9,999", 0.4: "0", 1e6: "1,000,000"}
    assert {value: whole(value) for value in values} == values
