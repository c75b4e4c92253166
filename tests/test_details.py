"""Tables in place of the leaderboard: thresholds, alerts a day, families, spread over seeds; numbers by plain Python
from the stored scores."""

from __future__ import annotations

import csv
import io
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from scipy.stats import beta, t
from sklearn.metrics import f1_score, precision_score, recall_score, roc_auc_score

from harness.cli import leaderboard
from janus_bench.errors import UsageError
from reports.results.folder import RunStore
from reports.results.measures import measure_of
from reports.results.model import Results
from reports.tables.details import THRESHOLDS
from tests.conftest import Cli
from tests.rendering import RENDER
from tests.test_report import small_spec, small_store

SEEDS = (1, 2)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> RunStore:
    """Two detectors on two sites, two seeds; 400 calibration flows B, 1 400 benign and 200 attack test flows; two runs
    of ``near`` are not ok."""
    return small_store(tmp_path_factory.mktemp("details"))[0]


def document_of(store: RunStore, table: str, **options: Any) -> dict[str, Any]:
    chosen = Results(store).select()
    return dict(leaderboard.with_table(chosen, leaderboard.document(chosen, "auroc"), table, **options))


def parts_of(store: RunStore, key: str) -> tuple[np.ndarray, np.ndarray, np.ndarray, list[float]]:
    """Test scores, whether they are attacks, their families, and calibration scores B in order."""
    table = store.scores(key)
    test = table.filter(pl.col("role") == "test").join(
        store.truth("bb" if key[-2] == "b" else "aa"), on="flow_id", maintain_order="left"
    )
    return (
        test["score"].to_numpy(),
        test["attack"].to_numpy(),
        test["family"].to_numpy(),
        sorted(table.filter(pl.col("role") == "cal_b")["score"]),
    )


def test_thresholds_are_means_over_seeds_of_scikit_learns_numbers(store: RunStore) -> None:
    records = document_of(store, "thresholds")["details"]["records"]
    assert {(record["detector"], record["source"], record["target"]) for record in records} == {
        *(("far", source, target) for source in "ab" for target in "ab"),
        *(("near", source, target) for source in "ab" for target in "ab"),
    }
    (record,) = [
        r for r in records if (r["detector"], r["source"], r["target"], r["threshold"]) == ("far", "a", "b", "P95")
    ]
    found: dict[str, list[float]] = {"fpr": [], "recall": [], "precision": [], "f1": []}
    for seed in SEEDS:
        score, attack, _, cal = parts_of(store, small_spec(f"farab{seed}").key)
        tau = cal[int(np.ceil(0.95 * 399))]  # the "higher" quantile of 400 ordered values
        alert = score > tau
        found["fpr"].append(float(alert[~attack].mean()))
        for name, metric in (("recall", recall_score), ("precision", precision_score), ("f1", f1_score)):
            found[name].append(metric(attack, alert))
    for name, values in found.items():
        assert record[name] == pytest.approx(np.mean(values)), name
    assert (record["n_benign"], record["n_attack"], record["n_cal"], record["n_seeds"]) == (1400, 200, 400, 2)


def test_a_percentile_that_the_calibration_flows_cannot_give_has_no_numbers(store: RunStore) -> None:
    """400 flows B: P95 needs 20 and P99 100, P99.9 would need 1 000."""
    document = document_of(store, "thresholds")
    by_name = {name: [r for r in document["details"]["records"] if r["threshold"] == name] for name in THRESHOLDS}
    assert all(record["fpr"] is not None for name in ("P95", "P99") for record in by_name[name])
    assert all(record["fpr"] is None and record["f1"] is None for record in by_name["P99.9"])
    text = RENDER["table"](document, 120, False)
    assert "τ = P99 of" in text
    assert "τ = P99.9 of" not in text
    assert "without them it is left out" in " ".join(text.split())


def test_alerts_a_day_follow_from_the_rates(store: RunStore) -> None:
    document = document_of(store, "alerts", flows_per_day=500_000, base_rates="0.02,1e-4")
    records = document["details"]["records"]
    rates = {
        r["threshold"]: r
        for r in document_of(store, "thresholds")["details"]["records"]
        if (r["detector"], r["source"], r["target"]) == ("far", "a", "b")
    }
    for record in (r for r in records if (r["detector"], r["source"], r["target"]) == ("far", "a", "b")):
        at, base = rates[record["threshold"]], record["base_rate"]
        if at["fpr"] is None:
            assert (record["ppv"], record["reason"]) == (None, "too few calibration flows B")
            continue
        k = round(at["fpr"] * 1400)
        if k < 10:
            assert (record["ppv"], record["false_alerts"], record["reason"]) == (
                None,
                None,
                "too few false alerts on the benign test flows",
            )
            continue
        false, true = 500_000 * (1 - base) * at["fpr"], 500_000 * base * at["recall"]
        assert (record["false_alerts"], record["true_alerts"], record["ppv"]) == (
            pytest.approx(false),
            pytest.approx(true),
            pytest.approx(true / (true + false)),
        )
        low, high = beta.ppf(0.025, k, 1400 - k + 1), beta.ppf(0.975, k + 1, 1400 - k)  # Clopper-Pearson
        assert record["false_alerts_low"] == pytest.approx(500_000 * (1 - base) * low)
        assert record["false_alerts_high"] == pytest.approx(500_000 * (1 - base) * high)
    assert {record["base_rate"] for record in records} == {0.02, 1e-4}
    assert any(record["ppv"] is not None for record in records)


@pytest.mark.parametrize("rates", ["0", "1", "x", "0.1,0.1", "0.1,2"])
def test_base_rates_that_are_none_are_refused(store: RunStore, rates: str) -> None:
    with pytest.raises(UsageError, match="numbers between 0 and 1"):
        document_of(store, "alerts", base_rates=rates)


def test_families_against_all_benign_flows(store: RunStore) -> None:
    document = document_of(store, "families")
    (record,) = [
        r
        for r in document["details"]["records"]
        if (r["detector"], r["source"], r["target"], r["family"]) == ("far", "a", "b", "scan")
    ]
    areas = []
    for seed in SEEDS:
        score, attack, family, _ = parts_of(store, small_spec(f"farab{seed}").key)
        kept = ~attack | (family == "scan")
        areas.append(roc_auc_score(attack[kept], score[kept]))
    assert record["auroc"] == pytest.approx(np.mean(areas))
    assert (record["n_test"], record["in_macro"]) == (190, True)
    text = RENDER["table"](document, 100, False)
    assert re.search(r"rare \* +10 ", text)  # ten flows: in no macro average, and marked
    assert "b, mean of other sources: AUROC per attack family" in text


def test_spread_over_seeds_with_students_factor_and_none_for_one_seed(store: RunStore) -> None:
    document = document_of(store, "stability")
    records = {
        (r["detector"], r["source"], r["target"]): r for r in document["details"]["records"] if r["what"] == "cell"
    }
    areas = []
    for seed in SEEDS:
        score, attack, _, _ = parts_of(store, small_spec(f"farab{seed}").key)
        areas.append(roc_auc_score(attack, score))
    both = records["far", "a", "b"]
    assert (both["mean"], both["std"], both["n_seeds"]) == (
        pytest.approx(np.mean(areas)),
        pytest.approx(np.std(areas, ddof=1)),
        2,
    )
    assert both["half_width"] == pytest.approx(t.ppf(0.975, 1) * np.std(areas, ddof=1) / 2**0.5)
    one = records["near", "b", "b"]
    assert (one["n_seeds"], one["std"], one["half_width"]) == (1, None, None)


@pytest.mark.parametrize("table", ["thresholds", "alerts", "families", "stability"])
@pytest.mark.parametrize("width", [80, 200])
def test_every_format_shows_the_same_records_and_the_terminal_keeps_its_width(
    store: RunStore, table: str, width: int
) -> None:
    document = document_of(store, table)
    text = RENDER["table"](document, width, False)
    assert max(map(len, text.splitlines())) <= width
    assert "near" in text
    assert "Not ok" in text  # failures are not hidden by another table
    coloured = re.sub(r"\x1b\[[0-9;]*m", "", RENDER["table"](document, width, True))
    assert [line.rstrip() for line in coloured.splitlines()] == text.splitlines()
    records = document["details"]["records"]
    lines = list(csv.DictReader(io.StringIO(RENDER["csv"](document, width, False))))
    parquet = pl.read_parquet(io.BytesIO(RENDER["parquet"](document, width, False)))
    assert len(lines) == len(parquet) == len(records) > 0
    for place, record in enumerate(records):
        for name, value in record.items():
            assert parquet[name][place] == value, name
            assert lines[place][name] == (
                "" if value is None else str(value).lower() if isinstance(value, bool) else str(value)
            ), name
    assert json.loads(RENDER["json"](document, width, False))["details"]["records"] == records
    markdown, latex = RENDER["markdown"](document, width, False), RENDER["latex"](document, width, False)
    assert markdown.count("\n| :--") == text.count("\n──") if width == 200 else "| :--" in markdown
    assert latex.count(r"\begin{tabular}") == latex.count(r"\end{tabular}") >= 2


def test_a_protocol_names_its_table_and_a_wrong_name_gets_a_suggestion(store: RunStore) -> None:
    from dataclasses import replace

    results = Results(store)
    (plan,) = results.plans
    for protocol, table in (
        ("thresholded", "thresholds"),
        ("per-family", "families"),
        ("stability", "stability"),
        ("cross", "leaderboard"),
    ):
        assert leaderboard.table_name(results.table([replace(plan, protocol=protocol)])) == table
    thresholded = results.table([replace(plan, protocol="thresholded")])
    assert leaderboard.table_name(thresholded, "leaderboard") == "leaderboard"
    with pytest.raises(UsageError, match="Did you mean 'families'"):
        leaderboard.table_name(thresholded, "familes")


def test_a_protocol_runs_and_prints_its_table_and_other_tables_need_no_new_run(cli: Cli) -> None:
    done = cli("run", "--protocol", "thresholded", "--detectors", "length", "--datasets", "alpha", "--seeds", "42")
    assert done.returncode == 0, done.stderr
    assert "Thresholds · thresholded" in done.stdout
    assert "τ = P95 of calibration flows B" in done.stdout
    alerts = cli("leaderboard", "--table", "alerts", "--base-rates", "0.01", "--format", "csv")
    assert alerts.returncode == 0, alerts.stderr
    assert {
        (line["detector"], line["table"], line["base_rate"]) for line in csv.DictReader(io.StringIO(alerts.stdout))
    } == {("length", "alerts", "0.01")}
    piped = cli("leaderboard", "--watch")
    assert (piped.returncode, piped.stderr.count("\n")) == (2, 1)


def test_a_parquet_file_is_written_and_refused_as_text(
    store: RunStore, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(UsageError, match="not text: write it to a file"):
        leaderboard.find_renderer("parquet")
    file = tmp_path / "board.parquet"
    leaderboard.leaderboard(store.folder, output="parquet", file=file, intervals=False)
    table = pl.read_parquet(file)
    assert table.height == 8
    assert table.filter((pl.col("detector") == "near") & (pl.col("source") == "b") & (pl.col("target") == "b"))[
        "status"
    ].to_list() == ["missing"]
    assert "wrote" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"columns": "within", "table": "families"}, "leave it out for --table families"),
        ({"columns": "within", "output": "csv"}, "--format csv has every number"),
        ({"columns": "within", "output": "json"}, "--format json has every number"),
        (
            {"metric": "auprc", "table": "thresholds"},
            "none of auprc: leave --metric out, or ask for --table leaderboard",
        ),
        ({"base_rates": "0.1"}, "--base-rates is for --table alerts"),
        ({"window": 5.0, "table": "alerts"}, "--window is for --table incidents"),
        ({"file": Path("-")}, "-o - names no file"),
    ],
)
def test_an_option_that_would_be_passed_over_is_refused(store: RunStore, asked: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        leaderboard.leaderboard(store.folder, **({"intervals": False} | asked))


def test_stability_is_of_the_metric_that_was_asked_for(store: RunStore, capsys: pytest.CaptureFixture[str]) -> None:
    leaderboard.leaderboard(store.folder, metric="auprc", table="stability")
    assert "AUPRC" in capsys.readouterr().out


def test_intervals_are_computed_once_and_then_kept(
    store: RunStore, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    import reports.statistics.intervals

    def never(*_: object) -> None:
        raise AssertionError("computed again")

    computed = reports.statistics.intervals.leaderboard_statistics
    monkeypatch.setattr(reports.statistics.intervals, "leaderboard_statistics", never)
    with pytest.raises(UsageError, match=r"unknown column 'withn'. Did you mean 'within'"):
        leaderboard.leaderboard(store.folder, columns="withn")  # before anything is computed
    monkeypatch.setattr(reports.statistics.intervals, "leaderboard_statistics", computed)
    leaderboard.leaderboard(store.folder, output="json")
    first = json.loads(capsys.readouterr().out)
    assert first["statistics"]["resamples"] == 1000
    monkeypatch.setattr(reports.statistics.intervals, "leaderboard_statistics", never)
    leaderboard.leaderboard(store.folder, output="json")
    assert json.loads(capsys.readouterr().out) == first
    leaderboard.leaderboard(store.folder, output="markdown", columns="cross 95 % networks")
    assert "| cross 95 % networks | status |" in capsys.readouterr().out
    leaderboard.leaderboard(store.folder, output="json", intervals=False)
    assert json.loads(capsys.readouterr().out)["statistics"] is None
    with pytest.raises(UsageError, match="leave out --intervals or --aggregator"):
        leaderboard.with_intervals(Results.open(store.folder).select(), measure_of("auroc", "oas"), True, "leaderboard")
