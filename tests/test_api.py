"""The Python face does what the commands do: a notebook that is run cell by cell, operators' functions, and errors."""

from __future__ import annotations

import ast
import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import matplotlib
import polars as pl
import pytest

import janus_bench
from harness import api
from harness.executors import Outcome
from harness.executors.local import LocalExecutor
from janus_bench import DataError, JanusBenchError, UsageError
from tests.conftest import ROOT, Cli
from tests.test_compare import scores, write_folder

pytestmark = pytest.mark.xdist_group("api")  # one process runs the notebook

NOTEBOOK = ROOT / "examples" / "results.ipynb"


def executed(notebook: Path) -> Iterator[Any]:
    """What each code cell shows: its last expression, as a kernel has it."""
    names: dict[str, Any] = {}
    for cell in json.loads(notebook.read_text())["cells"]:
        if cell["cell_type"] == "code":
            source = "".join(cell["source"])
            tree = ast.parse(source)
            last = tree.body.pop() if isinstance(tree.body[-1], ast.Expr) else None
            exec(compile(tree, str(notebook), "exec"), names)
            shown = eval(compile(ast.Expression(last.value), str(notebook), "eval"), names) if last else None
            yield None if source.rstrip().endswith(";") else shown


@pytest.fixture(scope="module")
def ran(home: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which the notebook has run."""
    folder = tmp_path_factory.mktemp("notebook")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("JANUS_BENCH_HOME", str(home))
        matplotlib.use("Agg")
        shown = list(executed(NOTEBOOK))
    board, rows, cells, means, plot = shown
    assert "<table>" in board._repr_html_()
    assert {"knn", "length"} == set(rows["detector"]) == set(cells["detector"])
    assert {(row["source"], row["target"]) for row in cells.to_dicts()} == {("alpha", "alpha"), ("beta", "beta")}
    assert means.row(0)[:2] == ("knn", "length")
    assert plot is None
    return folder


def test_a_notebook_runs_and_has_the_numbers_of_the_command(ran: Path, home: Path) -> None:
    results = janus_bench.open_results(ran / "runs")
    said = Cli(sys.executable, home, ran)("leaderboard", "--format", "json", "--no-intervals")
    board = json.loads(said.stdout)
    assert results.leaderboard().document == board
    means = {row["detector"]: row["summary"]["within_mean"] for row in board["rows"]}
    assert dict(results.rows.select("detector", "within_mean").iter_rows()) == means
    asked = ("compare", "runs", "--detectors", "knn,length", "--format", "json")
    document = json.loads(Cli(sys.executable, home, ran)(*asked).stdout)
    assert results.compare("knn", "length").document == document
    assert results.runs["status"].to_list() == ["ok"] * 6
    transfer = results.runs.filter(regime="transfer")
    assert transfer["auroc"].mean() == pytest.approx(results.cells["mean"].mean())


def test_what_is_there_is_not_run_again_and_a_mistake_is_one_line(
    ran: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ran)
    monkeypatch.setenv("JANUS_BENCH_HOME", str(home))
    before = sorted((ran / "runs" / "results").iterdir())
    again = janus_bench.run(["knn"], protocol="within", seeds=(42,))
    assert sorted((ran / "runs" / "results").iterdir()) == before
    assert set(again.rows["detector"]) == {"knn", "length"}
    for options, words in (
        ({"detectors": "iforrest"}, "Did you mean 'iforest'"),
        ({"detectors": ","}, "',' names nothing"),
        ({"detectors": "length", "seeds": ()}, "--seeds '': give at least one seed"),
        ({"detectors": "length", "timeout": "30"}, "--timeout '30': give a number above 0 with its unit"),
        ({"detectors": "length", "datasets": ["alfa"]}, "Did you mean 'alpha'"),
        (
            {"timeout": 30},
            "timeout is 30, expected text (Longest time for one fit with its scoring, with unit: 90s, 2h)",
        ),
        ({"max_memory": 8}, "max_memory is 8, expected text"),
        ({"profile": "x"}, 'profile is "x", expected one of quick, paper'),
        ({"split": "x"}, 'split is "x", expected one of grouped, random'),
        ({"device": "x"}, 'device is "x", expected one of auto, cpu, cuda'),
        ({"jobs": 0}, "jobs is 0, expected at least 1"),
        ({"jobs": 1.5}, "jobs is 1.5, expected a whole number"),
        ({"executor": None}, "executor is null, expected text"),
        ({"protocol": 5}, "protocol is 5, expected text"),
        ({"detectors": Cli}, '["knn", "./mine.py:MyClass"]'),
        ({"detectors": [Cli]}, '["knn", "./mine.py:MyClass"]'),
        ({"detectors": again.rows}, "detectors=shape: "),
        ({"datasets": None}, "datasets=None: give text as on the command line"),
        ({"runs": 5}, "runs=5: give a path"),
        ({"params": 5}, "params=5: give a path"),
        ({"params": {"length": 5}}, "params={'length': 5}: give a mapping for each detector"),
        ({"params": {"knn": {"k": 3}}}, "params: parameters for knn, not among the detectors asked for"),
        ({"detectors": "knn", "params": {"knn": {"k": 0}}}, "detector 'knn': k=0 must be a whole number ≥ 1"),
    ):
        with pytest.raises(UsageError, match=re.escape(words)) as found:
            janus_bench.run(**{"detectors": "length"} | options)
        assert "\n" not in str(found.value)


def test_parameters_are_a_mapping_or_a_file_of_the_same(ran: Path, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ran)
    monkeypatch.setenv("JANUS_BENCH_HOME", str(home))
    asked: dict[str, Any] = {"detectors": "knn", "protocol": "within", "seeds": [42], "runs": "with_parameters"}
    mapping = janus_bench.run(**asked, params={"knn": {"k": 3}}).runs
    (ran / "params.toml").write_text("[knn]\nk = 3\n")
    assert janus_bench.run(**asked, params="params.toml").runs["key"].to_list() == mapping["key"].to_list()
    assert janus_bench.run(**asked).runs["key"].to_list() != mapping["key"].to_list()


def test_datasets_are_those_that_the_command_lists(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JANUS_BENCH_HOME", str(home))
    found = janus_bench.datasets()
    assert found.filter(kind="captures")["dataset"].to_list() == ["alpha", "beta"]
    alpha = found.row(0, named=True)
    assert (alpha["flows"], alpha["benign"], alpha["attack"]) == (840, 720, 120)
    assert found.filter(kind="synthetic")["flows"].null_count() == len(found) - 2  # made when first used


def test_captures_are_fitted_on_and_scored(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    captures = home / "captures"
    model = janus_bench.fit("length", captures, tmp_path / "office.model", seed=1)
    assert model.manifest["detector"] == "length"
    everything = janus_bench.score(model, captures, everything=True)
    assert len(everything) == 840
    alerts = janus_bench.score(tmp_path / "office.model", str(captures), threshold="p90")
    assert alerts["alert"].all()
    assert 0 < len(alerts) < 840
    assert alerts["first"].dtype == pl.Datetime("us", "UTC")
    assert (everything["packets_sent"] >= 1).all()
    (tmp_path / "none.jsonl").touch()
    none = api._flows(tmp_path / "none.jsonl")
    assert (len(none), none.schema) == (0, alerts.schema)
    with pytest.raises(DataError, match=r"none: no such file or folder"):
        janus_bench.score(model, tmp_path / "none")
    for options, words in (
        ({"profile": "x"}, 'profile is "x", expected one of quick, paper'),
        ({"seed": -1}, "seed is -1, expected at least 0"),
        ({"sead": 1}, "unknown option 'sead'. Did you mean 'seed'?"),
        ({"captures": 5}, "captures=5: give a path"),
    ):
        with pytest.raises(UsageError, match=re.escape(words)):
            janus_bench.fit(**{"detector": "length", "captures": captures, "output": tmp_path / "other"} | options)
    with pytest.raises(UsageError, match="threshold is 90, expected text"):
        janus_bench.score(model, captures, threshold=90)  # type: ignore[arg-type]


CRASHED = b"""almost there
Fatal Python error: Segmentation fault

Current thread 0x00007f5e (most recent call first):
  File "mine.py", line 12 in fit
  File "worker.py", line 183 in run

Extension modules: numpy, scipy (total: 2)
"""


@pytest.mark.parametrize(
    ("log", "end"), [(b"first\nalmost there\n", "almost there"), (CRASHED, 'File "mine.py", line 12 in fit')]
)
def test_a_fit_that_dies_is_one_line_with_the_end_of_its_log(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, log: bytes, end: str
) -> None:
    died = Outcome("killed", "the worker died of signal 11", 1.0, None, log)
    monkeypatch.setattr(LocalExecutor, "run", lambda *_: died)
    with pytest.raises(JanusBenchError, match=rf"worker died of signal 11 \(its log ends with: {end}\)"):
        janus_bench.fit("length", home / "captures", tmp_path / "model")
    assert not (tmp_path / "model").exists()


def test_a_model_needs_a_detector_that_is_installed(tmp_path: Path) -> None:
    saves = "    def save(self, folder): ...\n    load = fit = score = save\n"
    (tmp_path / "mine.py").write_text(
        "from janus_bench import Capabilities\n\n\nclass Mine:\n"
        f"    capabilities = Capabilities(inputs={{'features'}})\n{saves}"
    )
    with pytest.raises(UsageError, match="mine is a file of its own, and a model names a detector that is installed"):
        janus_bench.fit(f"{tmp_path}/mine.py", tmp_path, tmp_path / "model")


def test_results_in_a_notebook(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "runs", failed=[("poor", "alpha", "beta", 2)], controlled=("good",))
    results = janus_bench.open_results(folder)
    assert "cross (quick, grouped split) on alpha, beta, gamma: 2 rows, 9 cells, seeds [1, 2]" in repr(results)
    board = results.leaderboard()
    assert board.rows["detector"].to_list() == ["good", "poor"]
    assert board.rows["control_within_mean"].null_count() == 1
    assert board.cells.filter(detector="poor", source="alpha", target="beta")["status"].item() == "error"
    assert "good" in repr(board)
    assert repr(board).splitlines()[0].startswith("Leaderboard · cross")
    failed = results.runs.filter(status="error")
    assert failed.select("detector", "source", "target", "seed").row(0) == ("poor", "alpha", "beta", 2)
    assert results.compare("good", control=True).means["B"].unique().to_list() == ["control of good"]
    found = results.scores("good", "alpha", "beta", 1)
    stored = scores("good", "alpha", "beta", 1).filter(pl.col("role") != "source_val")
    assert found.select(stored.columns).equals(stored)
    assert found["attack"].to_list() == [flow >= 100 for flow in found["flow_id"]]
    with pytest.raises(DataError, match="poor, alpha → beta, seed 2 is error"):
        results.scores("poor", "alpha", "beta", 2)
    with pytest.raises(UsageError, match="no cell alpha → delta of poor with seed 1"):
        results.scores("poor", "alpha", "delta", 1)
    with pytest.raises(DataError, match="no results in"):
        janus_bench.open_results(tmp_path / "none")


def test_names_are_escaped_in_html(tmp_path: Path) -> None:
    board = janus_bench.open_results(write_folder(tmp_path / "runs")).leaderboard()
    for row in board.document["rows"]:
        row["detector"] = "<b>bold</b>"
    html = board._repr_html_()
    assert "&lt;b&gt;bold" in html
    assert "<b>bold" not in html


def test_a_notebook_has_one_bar_that_is_redrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    from harness.api import _watching
    from harness.cli.progress import NotebookProgress

    drawn: list[str] = []
    shell = ModuleType("IPython")
    shell.get_ipython = lambda: SimpleNamespace(kernel=None)  # type: ignore[attr-defined]
    display = ModuleType("IPython.display")
    display.HTML = str  # type: ignore[attr-defined]
    display.display = lambda html, display_id: drawn.append(html) or SimpleNamespace(update=drawn.append)  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "IPython", shell)
    monkeypatch.setitem(sys.modules, "IPython.display", display)
    one: Any = SimpleNamespace(key="k", title="<knn> from alpha")
    with _watching(1) as watch:
        assert isinstance(watch, NotebookProgress)
        watch.fit_started(one)
        watch.fit_finished(one, [])
    assert "value=0 max=1" in drawn[0]
    assert "&lt;knn&gt; from alpha: at work" in drawn[1]
    assert "value=1 max=1" in drawn[-1]
    assert "<knn>" not in "".join(drawn)
