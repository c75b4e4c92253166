"""``detector check`` of detectors that end the process, print, or have one fault that many checks meet; and what of
other plugins a fit imports."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

import pytest

from harness import request
from harness.checking import check_apart
from janus_bench import plugins
from janus_bench.errors import PluginError, UsageError
from janus_bench.params import build_params
from reports.results.measures import measure_of
from tests.conftest import Cli
from tests.test_compare import write_folder

SOURCE = """
import dataclasses, os, sys
import numpy as np
from janus_bench import Capabilities
PARAMS

class Mine:
    capabilities = Capabilities(inputs=frozenset({"features"}), provenance="our reading")
    CLASS
    def fit(self, benign, ctx):
        self.mean = benign.feature_matrix().mean(0)
    def score(self, flows):
        x = flows.feature_matrix()
        SCORE
        return np.abs(x - self.mean).mean(1)
"""


def mine(folder: Path, score: str = "pass", params: str = "", cls: str = "") -> Path:
    file = folder / "mine.py"
    file.write_text(SOURCE.replace("SCORE", score).replace("PARAMS", params).replace("CLASS", cls))
    return file


def checked(file: Path) -> dict[str, tuple[str, str]]:
    results, _ = check_apart(str(file), lambda name, share: None)
    return {result.name: (result.status, result.message) for result in results}


def test_a_detector_that_ends_the_process_fails_the_check_under_way_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "temp").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temp"))
    found = checked(mine(tmp_path, "os._exit(0)"))
    assert list((tmp_path / "temp").iterdir()) == []
    assert found["params"][0] == "passed"
    assert found["score_columns"] == ("failed", "it ended the process with exit code 0")
    assert found["score_shape"] == ("not made", "it ended the process with exit code 0 before")
    assert {status for status, _ in found.values()} == {"passed", "failed", "not made"}


def test_a_file_that_ends_the_process_while_it_is_loaded_is_refused(tmp_path: Path) -> None:
    with pytest.raises(PluginError, match=r"mine.py cannot be loaded: it ended the process with exit code 0"):
        checked(mine(tmp_path, params="os._exit(0)"))


def test_a_cause_is_said_once_and_with_its_place(tmp_path: Path) -> None:
    for score, said in (
        ("sys.exit(0)", "it calls sys.exit(0) (mine.py, line 14)"),
        ("flows.features['n_packets'] += 1", "ValueError: output array is read-only (mine.py, line 14)"),
    ):
        found = checked(mine(tmp_path, score))
        failed = {name: message for name, (status, message) in found.items() if status == "failed"}
        assert failed == {"score_columns": said}
        assert found["score_shape"] == ("not made", "fails as score_columns does")
        assert found["save_load"] == ("not made", "needs score_columns")
    found = checked(mine(tmp_path, "x = x + np.random.rand(*x.shape)"))
    failed = {name for name, (status, _) in found.items() if status == "failed"}
    assert "global_random_state" in failed
    assert not failed & {"order_invariance", "batch_invariance"}


def test_what_a_detector_prints_is_beside_the_table(tmp_path: Path, cli: Cli) -> None:
    done = cli("detector", "check", str(mine(tmp_path, "print('one,', 'two')")), "--format", "json")
    assert done.returncode == 0, done.stderr
    assert {result["status"] for result in json.loads(done.stdout)} == {"passed", "exempt"}
    assert "one, two\n" in done.stderr
    assert "exempt" in done.stderr.splitlines()[-1]


PARAMS = """
@dataclasses.dataclass(frozen=True)
class P:
    a: object = DEFAULT
"""


@pytest.mark.parametrize("default", ["float('nan')", "frozenset({1})"])
def test_a_default_that_json_cannot_hold_is_a_line_about_the_plugin(tmp_path: Path, default: str) -> None:
    file = mine(tmp_path, params=PARAMS.replace("DEFAULT", default), cls="Params = P")
    with pytest.raises(UsageError, match=r"the default of parameter a, .*, does not fit into JSON"):
        plugins.load_detector(str(file))
    file.write_text(file.read_text().replace(default, "1"))
    with pytest.raises(UsageError, match=r"a = .* does not fit into JSON"):
        build_params("mine", plugins.load_detector(str(file)).params_type, {"a": {1}})
    file.write_text(file.read_text().replace("a: object = 1", "a: object"))
    with pytest.raises(UsageError, match=r"`Params\(\)` raised TypeError.*: every parameter needs a default"):
        plugins.load_detector(str(file))


def test_a_fit_asks_no_other_plugin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def ask() -> None:
        raise AssertionError("every detector was imported")

    monkeypatch.setattr(plugins, "_presets", ask)
    assert plugins.load_planned(str(mine(tmp_path))).name == "mine"
    assert plugins.load_planned("iforest").name == "iforest"
    with pytest.raises(AssertionError):
        plugins.load_detector(str(mine(tmp_path)))


def test_each_reason_has_a_line_with_its_own_log(tmp_path: Path) -> None:
    from reports.results.folder import RunStore

    records = list(RunStore.open(write_folder(tmp_path / "runs", ("good",))).records().values())[:6]
    reasons = ["KeyError: 'a'", "", "exit code 0", "exit code 0", "KeyError: 'a'", "exit code 0"]
    from dataclasses import replace

    told = [
        replace(record, status="error" if reason else "ok", reason=reason, fit_key=f"fit{number}")
        for number, (record, reason) in enumerate(zip(records, reasons, strict=True))
    ]
    logs, labels = tmp_path / "logs", {record.key: f"good[n={number}]" for number, record in enumerate(told)}
    logs.mkdir()
    (logs / "fit2.log").touch()
    assert request.failures(told, tmp_path, labels) == [
        f"3 × error (good[n=2], good[n=3], good[n=5]): exit code 0 (log: {logs}/fit2.log)",
        "2 × error (good[n=0], good[n=4]): KeyError: 'a'",  # which wrote no log
    ]


def test_an_aggregator_that_there_is_not_is_refused_before_anything_is_read() -> None:
    with pytest.raises(UsageError, match=r"unknown aggregator 'osa'. Did you mean 'oas'"):
        measure_of("auroc", "osa")
    with pytest.raises(UsageError, match="unknown aggregator"):
        measure_of("auroc@site", "wild[columns=a]")
    assert measure_of("auroc", "column:a").aggregator == "column:a"


def test_a_plugin_with_such_a_default_is_left_out_of_a_group(monkeypatch: pytest.MonkeyPatch) -> None:
    from dataclasses import dataclass, field

    from detectors.controls import Length

    @dataclass(frozen=True)
    class Params:
        a: float = field(default=float("nan"))

    class Bad(Length):
        pass

    Bad.Params = Params
    with pytest.raises(PluginError, match="the default of parameter a, nan, does not fit into JSON"):
        plugins.describe_detector("bad", Bad)


def test_a_file_is_checked_as_it_is_run_without_the_folder_where_its_author_stands(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = mine(tmp_path)
    file.write_text("import beside_it\n" + file.read_text())
    (tmp_path / "beside_it.py").touch()
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match="without its folder: install beside_it"):
        checked(file)
