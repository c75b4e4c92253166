"""Programs as detectors: another interpreter, Node, and everything that one can do wrong."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

import janus_bench
from detectors.exec_adapter import read_scores, write_flows
from janus_bench.conformance.flows import synthetic_benign
from janus_bench.contract import FitContext, FlowBatch
from janus_bench.errors import InvalidScores, PluginError, UsageError
from janus_bench.plugins import load_detector
from tests.conftest import ROOT

pytestmark = pytest.mark.xdist_group("exec")

EXAMPLES = ROOT / "examples" / "programs"
PYTHON = f"""#!/bin/sh
# another interpreter: of all packages it sees pyarrow alone
PYTHONPATH="$(dirname "$0")/packages" exec {sys.executable} -S "$@"
"""


@pytest.fixture(scope="module")
def programs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("programs")
    for name in ("zscore.toml", "zscore.py", "lengths.toml", "lengths.mjs"):
        shutil.copy(EXAMPLES / name, folder)
    (folder / "packages").mkdir()
    (folder / "packages" / "pyarrow").symlink_to(Path(pa.__file__).parent)
    (folder / "python").write_text(PYTHON)
    (folder / "python").chmod(0o755)
    manifest = folder / "zscore.toml"
    manifest.write_text(manifest.read_text().replace('"python3"', f'"{folder}/python"'))
    return folder


def test_the_other_interpreter_has_pyarrow_and_neither_numpy_nor_janus_bench(programs: Path) -> None:
    code = "import pyarrow, importlib.util as u; print([u.find_spec(n) for n in ('janus_bench', 'numpy', 'harness')])"
    said = subprocess.run([programs / "python", "-c", code], capture_output=True, text=True, check=True, cwd="/")
    assert said.stdout.strip() == "[None, None, None]"


def test_a_program_stands_on_the_board_with_the_numbers_of_its_formula(
    programs: Path, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("JANUS_BENCH_HOME", str(home))
    where = f"exec:{programs}/zscore.toml"
    results = janus_bench.run([f"{where}[floor=.01]", "length"], datasets="alpha", protocol="within", seeds=[42])
    assert set(results.runs["status"]) == {"ok"}
    assert set(results.rows["detector"]) == {"zscore[floor=.01]", "length"}
    assert list(results.scores("zscore[floor=.01]", "alpha", "alpha", 42).columns[3:5]) == ["mean", "worst"]
    spec = next(iter(results.results.records.values())).spec
    assert str(programs) not in json.dumps([record.spec for record in results.results.records.values()])
    assert ", file " in str(spec["version"]) or spec["detector"] == "length"


def test_a_program_computes_what_it_says(programs: Path, tmp_path: Path) -> None:
    """Against numpy."""
    detector = made(programs / "zscore.toml")
    flows, other = synthetic_benign(1, 50), synthetic_benign(2, 60)
    detector.fit(flows, context(flows, tmp_path))
    found = detector.score(other)
    x = flows.feature_matrix()
    z = np.abs((other.feature_matrix() - x.mean(0)) / x.std(0).clip(1e-3))
    np.testing.assert_allclose(found["mean"], z.mean(1), rtol=1e-9)
    np.testing.assert_allclose(found["worst"], z.max(1), rtol=1e-9)
    detector.calibrate(other)
    x = other.feature_matrix()
    z = np.abs((other.feature_matrix() - x.mean(0)) / x.std(0).clip(1e-3))
    np.testing.assert_allclose(detector.score(other)["mean"], z.mean(1), rtol=1e-9)


def made(manifest: Path):
    loaded = load_detector(f"exec:{manifest}")
    return loaded.create(loaded.params_type())


def context(flows: FlowBatch, scratch: Path) -> FitContext:
    return FitContext(flows, 7, np.random.default_rng(7), "cpu", scratch)


def fitted_scores(detector, flows: FlowBatch, scratch: Path):
    detector.fit(flows, context(flows, scratch))
    return detector.score(flows)


def has_arrow() -> bool:
    return shutil.which("node") is not None and (EXAMPLES / "node_modules" / "apache-arrow").is_dir()


@pytest.mark.skipif(not has_arrow(), reason="examples/programs has no apache-arrow for Node (npm install apache-arrow)")
def test_a_program_in_node_computes_what_it_says(programs: Path, tmp_path: Path) -> None:
    (programs / "node_modules").symlink_to(EXAMPLES / "node_modules")
    flows, other = synthetic_benign(1, 50), synthetic_benign(2, 60)
    detector = made(programs / "lengths.toml")
    detector.fit(flows, context(flows, tmp_path))

    def rows(batch: FlowBatch) -> np.ndarray:
        mean = np.add.reduceat(batch.packet("size").astype(float), batch.offsets[:-1]) / batch.lengths
        return np.column_stack([np.log1p(batch.lengths), mean])

    x = rows(flows)
    z = np.abs((rows(other) - x.mean(0)) / x.std(0).clip(1e-3)).sum(1)
    np.testing.assert_allclose(detector.score(other)["score"], z, rtol=1e-9)


def test_flows_arrive_as_they_are(tmp_path: Path) -> None:
    flows = synthetic_benign(3, 20)
    write_flows(tmp_path / "flows.arrow", flows, frozenset({"features", "packets"}))
    with pa.OSFile(str(tmp_path / "flows.arrow"), "rb") as file:
        table = pa.ipc.open_file(file).read_all()
    assert table["id"].to_pylist() == flows.ids.tolist()
    for name, values in flows.features.items():
        assert table[name].to_pylist() == values.tolist()
    for name, values in flows.packets.items():
        given = table[f"packet.{name}"].to_pylist()
        assert [len(each) for each in given] == flows.lengths.tolist()
        assert [value for each in given for value in each] == values.tolist()


# -- what can be wrong -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("manifest", "said"),
    [
        ("command = [", "not valid TOML"),
        ("", "command is missing"),
        ('command = "node"', "command: expected a list of texts"),
        ("command = 3", "command: expected a list of texts"),
        ('command = ["x"]\ninput = ["features"]', "unknown entry of m.toml 'input'. Did you mean 'inputs'"),
        ('command = ["x"]\ninputs = ["flows"]', "unknown input"),
        ('command = ["x"]\ninputs = ["stream"]', "a stream is not handed to programs"),
        ('command = ["x"]\nscores = ["a", "b"]', "several score columns need a default aggregator"),
        ('command = ["x"]\nfiles = ["gone.py"]', "there is no gone.py beside it"),
        ('command = ["x"]\nname = "janus"', "'janus' is an installed detector"),
        ('command = ["x"]\n[params]\na = [1]', "params.a: expected a truth value, a number or a text"),
    ],
)
def test_a_manifest_that_is_wrong_is_one_line(tmp_path: Path, manifest: str, said: str) -> None:
    (tmp_path / "m.toml").write_text(manifest)
    with pytest.raises(UsageError) as found:
        load_detector(f"exec:{tmp_path}/m.toml")
    assert said in str(found.value)
    assert "\n" not in str(found.value)


def test_what_a_program_is_made_of_is_part_of_its_version(tmp_path: Path) -> None:
    (tmp_path / "m.toml").write_text('command = ["sh", "run.sh"]\nfiles = ["table.csv"]')
    versions = set()
    for name in ("run.sh", "table.csv"):
        (tmp_path / name).write_text("one")
    for name in ("run.sh", "table.csv"):
        versions.add(load_detector(f"exec:{tmp_path}/m.toml").version)
        (tmp_path / name).write_text("another")
    versions.add(load_detector(f"exec:{tmp_path}/m.toml").version)
    assert len(versions) == 3


@pytest.mark.parametrize(
    ("script", "said"),
    [
        ("echo first; echo the reason >&2; exit 3", "fit ended with exit code 3: the reason"),
        ("kill -9 $$", "fit ended with signal 9"),
        (
            "printf 'x.mjs:3\n\nTypeError: no rows\n    at new NodeError (errors.js)\n\nNode.js v20.1\n'; exit 1",
            "1: TypeError",
        ),
        ("echo 'error: of before'; echo started; kill -9 $$", "fit ended with signal 9: started"),
        ("true", "^the program wrote no scores.arrow$"),
        ("[ $1 = score ] && echo text > $2/scores.arrow; true", "scores.arrow cannot be read: File is too small"),
    ],
)
def test_a_program_that_fails_says_why(tmp_path: Path, script: str, said: str) -> None:
    (tmp_path / "run.sh").write_text(script)
    (tmp_path / "m.toml").write_text('command = ["sh", "run.sh"]')
    flows, detector = synthetic_benign(1, 10), made(tmp_path / "m.toml")
    with pytest.raises((PluginError, InvalidScores), match=said):
        fitted_scores(detector, flows, tmp_path)
    (tmp_path / "m.toml").write_text('command = ["no-such-program"]')
    with pytest.raises(PluginError, match="no-such-program cannot be started: No such file or directory"):
        made(tmp_path / "m.toml").fit(flows, context(flows, tmp_path))


def test_scores_are_those_of_the_flows_or_refused(tmp_path: Path) -> None:
    ids = np.array([5, 3, 9], np.uint64)
    good = {"id": pa.array(ids), "score": pa.array([1.0, 2.0, 3.0])}
    for columns, said in (
        ({"id": good["id"]}, "has not one column 'score'; it has id"),
        ({**good, "id": pa.array(ids[::-1].copy())}, "does not have the ids"),
        ({**good, "id": pa.array(ids.astype(np.int64))}, "does not have the ids"),
        ({**good, "score": pa.array([1, 2, 3])}, "column 'score' is int64, expected float64"),
    ):
        table = pa.table(columns)
        with pa.OSFile(str(tmp_path / "scores.arrow"), "wb") as file, pa.ipc.new_file(file, table.schema) as writer:
            writer.write_table(table)
        with pytest.raises(InvalidScores, match=said):
            read_scores(tmp_path / "scores.arrow", ids, ("score",))


def test_time_and_memory_of_a_program_are_limited_as_any_others(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a program starts is of its fit's processes."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("JANUS_BENCH_HOME", str(home))
    hungry = f"{sys.executable} -S -c 'import time; x = b\"x\" * 900_000_000; time.sleep(60)'"
    for name, script in (("sleeps", "sleep 60"), ("eats", hungry)):
        (tmp_path / f"{name}.sh").write_text(script)
        (tmp_path / f"{name}.toml").write_text(f'command = ["sh", "{name}.sh"]')
    asked = {"datasets": "alpha", "protocol": "within", "seeds": [42], "jobs": 2}
    slow = janus_bench.run("exec:./sleeps.toml", **asked, timeout="3s").runs
    assert set(slow["status"]) == {"timeout"}
    large = janus_bench.run("exec:./eats.toml", **asked, max_memory="600M").runs.filter(detector="eats")
    assert set(large["status"]) == {"oom"}
    assert subprocess.run(["pgrep", "-f", "sleep 60"], capture_output=True, check=False).stdout == b""
