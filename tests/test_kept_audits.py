"""Audits that were made before: kept by the hash of what they are of, and carried by every table; and what else stands
beside a pooled AUROC."""

from __future__ import annotations

import csv
import io
import json
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from datasets_registry.audits.kept import AUDIT_VERSION, keep_audit, kept_audit
from harness.cli import audit as command
from harness.cli import leaderboard
from janus_bench.records import SCHEMA_VERSION
from reports.results.model import Results
from tests.test_report import small_store


def finding(severity: str, short: str) -> dict[str, Any]:
    return {"key": "a.b", "severity": severity, "text": f"text of {short}", "short": short, "action": "look"}


def audit_of(data_hash: str, *findings: dict[str, Any]) -> dict[str, Any]:
    return {"audit_version": AUDIT_VERSION, "hash": data_hash, "findings": list(findings), "measures": []}


WARNINGS = [finding("warning", f"warning {number}") for number in range(5)]


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small_store(tmp_path_factory.mktemp("audits") / "runs")[0].folder


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Audits of dataset ``a`` (with hash ``aa``), and of nothing else."""
    monkeypatch.setenv("JANUS_BENCH_HOME", str(tmp_path))
    keep_audit(tmp_path, audit_of("aa", *WARNINGS, WARNINGS[0], finding("note", "worth knowing")))
    return tmp_path


def test_an_audit_is_kept_and_one_by_other_rules_is_not_used(home: Path) -> None:
    assert [each["short"] for each in kept_audit(home, "aa")["findings"]][-1] == "worth knowing"  # type: ignore[index]
    assert kept_audit(home, "bb") is None
    file = home / "audits" / "aa.json"
    whole = json.loads(file.read_text())
    assert whole["schema_version"] == SCHEMA_VERSION
    for changed in ({"audit_version": AUDIT_VERSION - 1}, {"schema_version": 1}, {"hash": "other"}, {"findings": 3}):
        file.write_text(json.dumps({**whole, **changed}))
        assert kept_audit(home, "aa") is None
    file.write_text("{")
    assert kept_audit(home, "aa") is None
    (home / "secret.json").write_text(json.dumps(whole))
    assert kept_audit(home, "../secret") is None


def test_where_it_cannot_be_kept_nothing_is_lost_but_time(tmp_path: Path) -> None:
    (tmp_path / "audits").write_text("a file in the place of the folder")
    keep_audit(tmp_path, audit_of("aa"))
    assert kept_audit(tmp_path, "aa") is None


def test_what_the_command_finds_is_kept(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = {"dataset": "c", **audit_of("cc", *WARNINGS)}
    monkeypatch.setattr("datasets_registry.registry.open_dataset", lambda *_: None)
    monkeypatch.setattr(command, "document", lambda *_: found)
    command.audit(["c"], output="json")
    assert [each["short"] for each in kept_audit(home, "cc")["findings"]] == [  # type: ignore[index]
        each["short"] for each in WARNINGS
    ]


def test_every_table_has_a_line_for_each_dataset_that_was_audited(
    runs: Path, home: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "300")
    keep_audit(home, audit_of("bb", finding("note", "worth knowing")))
    for table in ("leaderboard", "thresholds"):
        leaderboard.leaderboard(runs, intervals=False, table=table)
        lines = [line for line in capsys.readouterr().out.splitlines() if "audit" in line]
        assert lines[0] == "- audit of a: warning 0; warning 1; warning 2 and 2 more"
        assert lines[1] == "- audit of b: no warnings"
        assert "`janus-bench data audit NAME`" in lines[2]
        assert len(lines) == 3
    leaderboard.leaderboard(runs, intervals=False, output="json")
    board = json.loads(capsys.readouterr().out)
    assert [each["short"] for each in board["audits"]["a"]].count("warning 0") == 2
    assert board["audits"]["b"][0]["action"] == "look"


def test_what_was_not_audited_is_said_and_changes_no_table(
    runs: Path, home: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.rmtree(home / "audits")
    leaderboard.leaderboard(runs, intervals=False)
    silent = capsys.readouterr()
    assert "audit" not in silent.out + silent.err  # neither dataset is here
    monkeypatch.setattr("datasets_registry.registry.added", lambda: ["b"])
    leaderboard.leaderboard(runs, intervals=False)
    said = capsys.readouterr()
    assert said.out == silent.out
    assert said.err.startswith("note: this version made no audit of b yet: `janus-bench data audit b`")


def test_pages_use_what_is_kept_and_make_only_what_is_missing(
    runs: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[str] = []

    def document(store: Any, progress: Any) -> dict[str, Any]:
        made.append(store.hash)
        return audit_of(store.hash, finding("warning", "new"))

    monkeypatch.setattr(command, "document", document)
    monkeypatch.setattr("datasets_registry.registry.added", lambda: ["a", "b"])
    monkeypatch.setattr("datasets_registry.store.is_current", lambda folder: True)
    monkeypatch.setattr(
        "datasets_registry.store.FlowStore.open", lambda folder: SimpleNamespace(hash=2 * Path(folder).name)
    )
    table = Results.open(runs).select()
    for _ in range(2):
        found = command.all_audits(table)
        assert {name: audit["findings"][0]["short"] for name, audit in found.items()} == {"a": "warning 0", "b": "new"}
    assert made == ["bb"]


def test_the_mean_over_families_stands_beside_auroc_where_runs_have_stored_it(
    runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("JANUS_BENCH_HOME", str(tmp_path))
    folder = tmp_path / "runs"
    shutil.copytree(runs, folder)
    expected: dict[bool, list[float]] = {True: [], False: []}
    for place, file in enumerate(sorted((folder / "results").glob("*.json"))):
        row = json.loads(file.read_text())
        if row["status"] == "ok":
            row["metrics"] = {"auroc": 0.9, "macro_auroc": 0.5 + place / 100}
            file.write_text(json.dumps(row))
            if row["spec"]["detector"] == "far":
                expected[row["spec"]["source"] == row["spec"]["target"]].append(0.5 + place / 100)
    leaderboard.leaderboard(folder, intervals=False, output="csv")
    lines = [line for line in csv.DictReader(io.StringIO(capsys.readouterr().out)) if line["detector"] == "far"]
    for line in lines:
        assert float(line["macro_within_mean"]) == pytest.approx(sum(expected[True]) / 4, abs=1e-12)
        assert float(line["macro_cross_mean"]) == pytest.approx(sum(expected[False]) / 4, abs=1e-12)
    leaderboard.leaderboard(runs, intervals=False, output="csv")
    assert "macro_within_mean" not in capsys.readouterr().out.splitlines()[0]
