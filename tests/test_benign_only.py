"""A network without attacks as a target: its false alerts are counted, and it is in no mean."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from harness.cli import leaderboard
from harness.runner import why_not
from janus_bench.contract import Capabilities
from janus_bench.records import RunSpec
from reports.render.html.collect import collect
from reports.render.html.page import render_page
from reports.results.folder import RunStore
from reports.results.model import Results
from tests.conftest import Cli, write_example_captures


@pytest.fixture(scope="module")
def ran(home: Path, tmp_path_factory: pytest.TempPathFactory) -> Cli:
    """``quiet`` is the example network without its attacks, beside ``alpha``."""
    folder = tmp_path_factory.mktemp("quiet")
    cli = Cli(sys.executable, folder / "home", folder)
    captures = write_example_captures(folder / "captures")
    labels = captures / "labels.csv"
    head, *rows = labels.read_text().splitlines()
    labels.write_text("\n".join([head, *(row for row in rows if ",benign," in f"{row},")]) + "\n")
    (folder / "home" / "datasets").mkdir(parents=True)
    (folder / "home" / "datasets" / "alpha").symlink_to(home / "datasets" / "alpha")
    added = cli("data", "add", "quiet", captures, "--no-stream")
    assert added.returncode == 0, added.stderr
    command = ("run", "--protocol", "cross", "--datasets", "alpha,quiet", "--detectors", "length", "--seeds", "1")
    done = cli(*command)
    assert done.returncode == 0, done.stdout + done.stderr
    return cli


def test_a_benign_only_target_tells_its_false_alerts_and_is_in_no_mean(ran: Cli) -> None:
    records = RunStore.open(ran.folder / "runs").records().values()
    assert {record.status for record in records} == {"ok"}
    of_quiet = [record for record in records if record.spec["target"] == "quiet"]
    for record in of_quiet:
        assert record.counts["n_test_attack"] == 0
        assert record.counts["n_test_benign"] > 50
        assert record.metrics["auroc"] is None
        assert 0 <= record.metrics["fpr_p95"] <= 1  # type: ignore[operator]
    table = Results.open(ran.folder / "runs").select()
    document = leaderboard.document(table, "auroc")
    (row,) = document["rows"]
    means = {(cell["source"], cell["target"]): cell["mean"] for cell in row["cells"]}
    assert means["alpha", "quiet"] is None
    assert row["summary"]["within_mean"] == means["alpha", "alpha"]
    assert row["summary"]["cross_mean"] == means["quiet", "alpha"]
    assert any(note.startswith("quiet: no attacks") for note in document["notes"])
    shown: Any = leaderboard.with_table(table, document, "thresholds")["details"]["records"]
    at = next(r for r in shown if (r["source"], r["target"], r["threshold"]) == ("alpha", "quiet", "P95"))
    assert at["fpr"] is not None
    assert at["recall"] is None
    assert "quiet: no attacks" in render_page(collect(table))


def test_who_is_shown_attacks_needs_some(ran: Cli) -> None:
    from datasets_registry.registry import OpenDataset
    from datasets_registry.store import FlowStore

    quiet = OpenDataset(FlowStore.open(ran.folder / "home" / "datasets" / "quiet"))
    spec = next(iter(RunStore.open(ran.folder / "runs").records().values())).spec
    run = replace(RunSpec(**spec), source="quiet", target="quiet", regime="transfer")  # type: ignore[arg-type]
    plain = Capabilities(inputs=frozenset({"features"}), scores=("score",))
    assert why_not(run, plain, {"quiet": quiet}) == ""
    shown = replace(plain, hints="few_shot")
    assert why_not(run, shown, {"quiet": quiet}).startswith("quiet has no attack flows")
