"""A detector in a file of its own: it runs like an installed one, every change of its content is another run, and what
is wrong with it is one line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from harness import worker
from harness.jobs import Job
from janus_bench.errors import JanusBenchError, UsageError
from janus_bench.plugins import load_detector
from tests.conftest import Cli

SOURCE = """
from __future__ import annotations

import dataclasses

import numpy as np

from janus_bench import Capabilities
from janus_bench.params import CheckedParams


@dataclasses.dataclass(frozen=True)
class Params(CheckedParams):
    name = "far"
    alpha: float = 1.0


class Far:
    Params = Params
    capabilities = Capabilities(inputs=frozenset({"features"}), provenance="our reading", version="3")

    def __init__(self, params: Params = Params()) -> None:
        self.params = params

    def fit(self, benign, ctx) -> None:
        print("fitted as", __name__)
        self.mean = benign.feature_matrix().mean(0)

    def score(self, flows):
        return self.params.alpha * np.log1p(np.abs(flows.feature_matrix() - self.mean)).sum(1)
"""


@pytest.fixture
def mine(tmp_path: Path) -> Path:
    file = tmp_path / "mine.py"
    file.write_text(SOURCE)
    return file


def specs(folder: Path) -> list[dict[str, object]]:
    return [json.loads(path.read_text()) for path in sorted((folder / "runs" / "results").glob("*.json"))]


def test_one_file_runs_in_the_child_and_its_content_is_in_the_key(cli: Cli, mine: Path):
    run = ("run", "--protocol", "within", "--datasets", "alpha,beta", "--seeds", "1", "--detectors")
    done = cli(*run, "./mine.py,./mine.py:Far[alpha=.5]")
    assert done.returncode == 0, done.stderr
    rows = specs(cli.folder)
    assert {row["status"] for row in rows} == {"ok"}
    assert sorted({(row["spec"]["detector"], row["spec"]["params"]["alpha"]) for row in rows}) == [
        ("Far", 0.5),
        ("mine", 1.0),
    ]
    (plan,) = [json.loads(path.read_text()) for path in (cli.folder / "runs" / "plans").glob("*.json")]
    assert set(plan["detectors"]) == {"mine", "Far[alpha=.5]"}
    (version,) = {row["spec"]["version"] for row in rows}
    assert version.startswith("3, file ")
    assert "fitted as janus_bench_file_" in next((cli.folder / "runs" / "logs").glob("*.log")).read_text()

    assert "nothing to do" in cli(*run, "./mine.py").stderr
    mine.write_text(SOURCE + "# a remark\n")
    assert load_detector(str(mine)).version != version


def test_a_file_that_is_edited_before_its_fit_begins_is_refused(mine: Path, tmp_path: Path):
    planned = load_detector(f"{mine}:Far")
    mine.write_text(SOURCE.replace("log1p", "sqrt"))
    job = Job(
        str(tmp_path),
        worker.own_code(),
        planned.file,
        {"alpha": 1.0},
        1,
        "cpu",
        1,
        None,
        None,
        (),
        "",
        None,
        (),
        version=planned.version,
    )
    with pytest.raises(JanusBenchError, match=r"mine.py:Far is version '3, file \w+' and was planned as '3, file \w+'"):
        worker.run(job, None)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("x = 1\n", "mine.py holds no detector: it needs a class with `capabilities`, fit\\(\\) and score\\(\\)"),
        (
            SOURCE + "class Further(Far):\n    pass\n",
            "mine.py holds 2 detectors: choose .*mine.py:Far or .*mine.py:Further, or begin the name .* with _",
        ),
        ("import near\n", "No module named 'near'; mine.py is loaded by itself, without its folder: install near, or"),
        ("def f(:\n", "mine.py, line 1: SyntaxError: invalid syntax"),
        ("\nimport no_such_module\n", "mine.py, line 2: ModuleNotFoundError: No module named 'no_such_module'"),
        ("import sys\n\n\nsys.exit(0)\n", "mine.py, line 4: SystemExit: 0"),
        ("class A:\n    def score(self, flows): ...\n", "mine.py: A has no `capabilities` attribute"),
        (SOURCE.replace("def fit", "def feet"), r"mine.py: Far has no method fit\(\)"),
    ],
)
def test_what_is_wrong_with_a_file_is_one_line(mine: Path, content: str, said: str):
    mine.write_text(content)
    (mine.parent / "near.py").touch()
    with pytest.raises(UsageError, match=said) as caught:
        load_detector(str(mine))
    assert "\n" not in str(caught.value)


def test_the_log_of_a_crash_has_the_line_that_it_came_from(cli: Cli, mine: Path):
    mine.write_text(
        SOURCE.replace("import dataclasses", "import ctypes, dataclasses").replace(
            "print(", "ctypes.string_at(0), print("
        )
    )
    done = cli("run", "--protocol", "within", "--datasets", "alpha", "--seeds", "1", "--detectors", "./mine.py")
    assert "the worker died of signal 11 (Segmentation fault)" in done.stderr
    log = next((cli.folder / "runs" / "logs").glob("*.log")).read_text()
    assert f'File "{mine}", line {mine.read_text().split("string_at")[0].count(chr(10)) + 1} in fit' in log


def test_a_base_with_an_underscore_is_no_detector(mine: Path):
    mine.write_text(SOURCE.replace("class Far:", "class _Far:") + "class Farther(_Far):\n    pass\n")
    assert load_detector(str(mine)).factory.__name__ == "Farther"


def test_two_files_of_one_name_are_told_apart(cli: Cli, mine: Path):
    (cli.folder / "other").mkdir()
    (cli.folder / "other" / "mine.py").write_text(SOURCE)
    done = cli("run", "--detectors", "./mine.py,./other/mine.py", "--datasets", "alpha,beta", "--dry-run")
    assert done.returncode == 2
    assert f"{mine} and {mine.parent}/other/mine.py are all called 'mine'" in done.stderr


def test_a_name_that_is_not_there_or_taken_is_refused(mine: Path, tmp_path: Path):
    with pytest.raises(UsageError, match=r"unknown detector in .*mine.py 'Fax'. Did you mean 'Far'"):
        load_detector(f"{mine}:Fax")
    with pytest.raises(UsageError, match=r"nothing\.py: No such file"):
        load_detector(str(tmp_path / "nothing.py"))
    with pytest.raises(UsageError, match="'janus' is an installed detector: give the file, or what"):
        load_detector(str(mine.rename(tmp_path / "janus.py")))


def test_check_and_info_take_a_file_and_a_wrong_one_is_exit_code_2(cli: Cli, mine: Path):
    info = json.loads(cli("detector", "info", "./mine.py[alpha=.5]", "--format", "json").stdout)
    assert info["parameters"] == "alpha=0.5"
    done = cli("detector", "check", "./mine.py")
    assert done.returncode == 0, done.stdout + done.stderr
    mine.write_text("x = 1\n")
    done = cli("run", "--detectors", "./mine.py")
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
