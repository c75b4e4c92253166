"""A third-party package installed with pip: its detector, dataset, protocol, metric and renderer are listed and work; a
broken one costs a line."""

from __future__ import annotations

import json
import re

import pytest


def names(done, column: str) -> set[str]:
    assert done.returncode == 0, done.stderr
    return {row[column] for row in json.loads(done.stdout)}


@pytest.mark.parametrize(
    ("command", "column", "name"),
    [
        (("detector", "list"), "detector", "example-zscore"),
        (("data", "list"), "dataset", "example_lan"),
        (("protocol", "list"), "protocol", "example-off-diagonal"),
        (("metric", "list"), "metric", "example_tpr_at_fpr_10pct"),
        (("renderer", "list"), "renderer", "example-tsv"),
    ],
)
def test_each_contribution_is_in_its_list(plugin_cli, command, column, name):
    assert name in names(plugin_cli(*command, "--format", "json"), column)


def test_the_detector_passes_the_check(plugin_cli):
    done = plugin_cli("detector", "check", "example-zscore")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "failed" not in done.stdout


def test_a_broken_detector_fails_the_check_with_exit_code_1(plugin_cli):
    done = plugin_cli("detector", "check", "h-nan")
    assert done.returncode == 1
    assert "failed" in done.stdout


def test_everything_it_adds_works_together(plugin_cli, tmp_path):
    plugin_cli.environment["JANUS_BENCH_HOME"] = str(tmp_path / "home")
    plugin_cli("data", "add", "other", tmp_path)  # no labels there: refused, and changes nothing
    run = ("run", "--protocol", "example-off-diagonal", "--detectors", "example-zscore,length", "--seeds", "42")
    refused = plugin_cli(*run, "--datasets", "example_lan")
    assert refused.returncode == 2
    assert "needs at least 2 datasets" in refused.stderr

    from tests.conftest import write_example_captures

    assert plugin_cli("data", "add", "copy", write_example_captures(tmp_path / "captures")).returncode == 0
    done = plugin_cli(*run, "--datasets", "example_lan,copy")
    assert done.returncode == 0, done.stderr
    assert "example-zscore" in done.stdout
    assert "SYNTHETIC" in done.stdout
    rows = [json.loads(path.read_text()) for path in (plugin_cli.folder / "runs" / "results").iterdir()]
    brought_by = {row["spec"]["detector"]: row["environment"].get("plugin", "") for row in rows}
    assert brought_by["length"] == ""
    assert re.fullmatch(r"janus-bench-example 0\.1\.0 \([0-9a-f]{16}\)", brought_by["example-zscore"])
    assert "its code has changed" not in plugin_cli(*run, "--datasets", "example_lan,copy").stderr
    for path in (plugin_cli.folder / "runs" / "results").iterdir():  # as if the package had been edited since
        path.write_text(
            re.sub(r"(janus-bench-example 0\.1\.0 \()[0-9a-f]{16}", r"\g<1>0123456789abcdef", path.read_text())
        )
    again = plugin_cli(*run, "--datasets", "example_lan,copy").stderr
    assert re.search(
        r"^example-zscore: its code has changed since it made \d runs .* version is still ", again, re.MULTILINE
    )
    assert "length: its code" not in again
    key = next(row["key"] for row in rows if row["spec"]["detector"] == "example-zscore")
    assert "the code of example-zscore has changed since" in plugin_cli("runs", "why", key).stderr
    board = plugin_cli("leaderboard", "--metric", "example_tpr_at_fpr_10pct", "--format", "example-tsv")
    lines = board.stdout.splitlines()
    assert lines[0] == "detector\tsource\ttarget\tmean"
    assert len(lines) == 1 + 2 * 2
    zscore = [line.split("\t") for line in lines if line.startswith("example-zscore")]
    assert {(source, target) for _, source, target, _ in zscore} == {("example_lan", "copy"), ("copy", "example_lan")}
    assert all(0.0 <= float(mean) <= 1.0 for *_, mean in zscore)


def test_a_plugin_that_raises_at_import_is_one_line(plugin_cli):
    done = plugin_cli("detector", "list", "--format", "json")
    assert done.returncode == 0
    broken = [row for row in json.loads(done.stdout) if row["provenance"] == "broken"]
    assert [row["detector"] for row in broken] == ["h-broken-import"]
    assert "RuntimeError: this module" in broken[0]["source"]
    assert "\n" not in broken[0]["source"]
    assert [line for line in done.stderr.splitlines() if "hostile" in line] == [
        "janus-bench: plugin hostile (janus-bench-hostile) is left out: cannot be loaded: RuntimeError: this module …"
    ]
    used = plugin_cli("run", "--detectors", "h-broken-import", "--datasets", "alpha,beta")
    assert used.returncode == 4
    assert "h-broken-import" in used.stderr
    assert "Traceback" not in used.stderr


def test_all_detectors_are_those_that_can_be_loaded(plugin_cli):
    done = plugin_cli(
        "run", "--detectors", "all", "--datasets", "alpha,beta", "--seeds", "42", "--dry-run", "--format", "json"
    )
    assert done.returncode == 0, done.stderr
    asked = {row["detector"] for row in json.loads(done.stdout)}
    assert {"length", "example-zscore", "h-nan"} <= asked
    assert "h-broken-import" not in asked
    (line,) = [line for line in done.stderr.splitlines() if "h-broken-import" in line]
    assert "is left out" in line
    assert "RuntimeError" in line


def test_run_callbacks_see_every_fit_and_row_and_cannot_break_a_run(plugin_cli):
    told = plugin_cli.folder / "told"
    done = plugin_cli(
        "run",
        "--protocol",
        "within",
        "--detectors",
        "length",
        "--datasets",
        "alpha,beta",
        "--seeds",
        "42",
        CALLBACKS=str(told),
    )
    assert done.returncode == 0, done.stderr
    lines = [json.loads(line) for line in told.read_text().splitlines()]
    assert sum("started" in line for line in lines) == 2
    assert [line["status"] for line in lines if "finished" in line] == ["ok", "ok"]
    assert "janus_bench_run_finished raised RuntimeError: a callback went wrong" in done.stderr
    assert "Traceback" not in done.stderr
