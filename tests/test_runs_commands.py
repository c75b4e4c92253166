"""``runs list``, ``log`` and ``why``: single runs of a results folder, and what asking for one again would change."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from harness.cli.main import app
from janus_bench import plugins
from janus_bench.errors import JanusBenchError
from tests.conftest import Cli

FAILING = """
from janus_bench import Capabilities


class Wrong:
    capabilities = Capabilities(inputs=frozenset({"features"}), provenance="our reading")

    def fit(self, benign, ctx):
        raise ValueError("no such luck")

    def score(self, flows): ...
"""


def ask(*arguments: str) -> str:
    """Standard output, or the one line of an error."""
    done = CliRunner().invoke(app, ["runs", *arguments])
    if isinstance(done.exception, JanusBenchError):
        assert (done.exception.exit_code, str(done.exception).count("\n")) == (2, 0)
        return str(done.exception)
    assert done.exit_code == 0, done.output
    return done.output


def test_a_failure_is_listed_its_log_shown_and_what_changed_since_is_said(cli: Cli, tmp_path: Path, monkeypatch):
    (tmp_path / "wrong.py").write_text(FAILING)
    ran = cli(
        "run", "--protocol", "within", "--detectors", "length,./wrong.py", "--datasets", "alpha,beta", "--seeds", "1"
    )
    assert ran.returncode == 1, ran.stderr
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("JANUS_BENCH_HOME", cli.environment["JANUS_BENCH_HOME"])

    rows = {row["key"]: row for row in json.loads(ask("list", "--format", "json"))}
    stored = {path.name.split(".")[0]: json.loads(path.read_text()) for path in Path("runs/results").glob("*.json")}
    assert {key: row["status"] for key, row in rows.items()} == {key: row["status"] for key, row in stored.items()}
    failed = json.loads(ask("list", "--status", "error", "--format", "json"))
    assert failed
    assert {(row["detector"], row["reason"]) for row in failed} == {("wrong", "ValueError: no such luck")}
    assert "unknown status 'eror'. Did you mean 'error'" in ask("list", "--status", "eror")

    key = failed[0]["key"]
    for asked in (key, key[:9], stored[key]["fit_key"][:9]):
        told = ask("log", asked)
        assert 'wrong.py", line 9, in fit' in told
        assert f"{key}: error: ValueError: no such luck" in told
    assert f"Did you mean {key}?" in ask("log", key[:-2] + "xx")
    assert "give more of the key" in ask("log", "")

    assert "wrong came from a file of its own: say where it is with --detector ./wrong.py" in ask("why", key)
    assert "nothing differs; asked for again, it ended with error and is run again" in ask(
        "why", key, "--detector", "./wrong.py"
    )
    (tmp_path / "wrong.py").write_text(FAILING.replace("raise", "pass  # raise"))
    changed = ask("why", key, "--detector", "./wrong.py", "--format", "json")
    assert [row["declared"] for row in json.loads(changed[: changed.rindex("]") + 1])] == ["version"]
    assert f"{key} would be " in changed

    ok = next(key for key, row in rows.items() if row["status"] == "ok")
    assert "nothing differs; asked for again, it is reused" in ask("why", ok)
    monkeypatch.setattr(plugins.LoadedDetector, "version", "7")
    told = ask("why", ok, "--format", "json")
    stated = stored[ok]["spec"]["version"]
    assert json.loads(told[: told.rindex("]") + 1]) == [{"declared": "version", "stored": stated, "now": "7"}]


def test_a_folder_without_results_is_one_line(tmp_path: Path):
    done = CliRunner().invoke(app, ["runs", "log", "ab", "--runs", str(tmp_path)])
    assert str(done.exception).startswith(f"no results in {tmp_path}")


def test_the_version_is_that_of_the_installed_distribution():
    from importlib.metadata import version

    assert CliRunner().invoke(app, ["--version"]).output == f"janus-bench {version('janus-bench')}\n"


@pytest.mark.parametrize("key", ["zz", "0" * 40])
def test_a_key_of_no_run_says_where_keys_are(key: str, tmp_path: Path):
    (tmp_path / "results").mkdir()
    done = CliRunner().invoke(app, ["runs", "log", key, "--runs", str(tmp_path)])
    assert str(done.exception) == f"no run {key!r} in {tmp_path}. See: janus-bench runs list --runs {tmp_path}"
