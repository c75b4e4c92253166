"""The command line: help, lists, and one clear line for every mistake."""

from __future__ import annotations

import json
import shutil
import struct
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import write_example_captures


def the_line(done: subprocess.CompletedProcess[str]) -> str:
    """The one line of an error, after checking that there is no more than that."""
    assert "Traceback" not in done.stderr + done.stdout
    lines = [line for line in done.stderr.splitlines() if line.startswith("janus-bench:")]
    assert len(lines) == 1, done.stderr
    return lines[0]


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("detector", "info", "pyodd:KNN"), 2, ["unknown family of detectors", "Did you mean 'pyod'"]),
        (("run", "--detectors", "januss"), 2, ["unknown detector 'januss'", "Did you mean 'janus'"]),
        (("run", "--protocol", "croos"), 2, ["unknown protocol 'croos'", "Did you mean 'cross'"]),
        (
            ("run", "--datasets", "alfa,beta"),
            2,
            ["unknown dataset 'alfa'", "Did you mean 'alpha'", "janus-bench data add alfa FOLDER"],
        ),
        (("run", "--detectors", "ocsvm[nuu=0.1]"), 2, ["unknown parameter of ocsvm 'nuu'", "Did you mean 'nu'"]),
        (("run", "--protocol", "sweep-lambda", "--detectors", "length"), 2, ["protocol sweep-lambda sets lambda_disc"]),
        (("run", "--detectors", ""), 2, ["--detectors is empty", "leave it out"]),
        (("run", "--datasets", ","), 2, ["--datasets is empty", "janus-bench data list"]),
        (("run", "--detectors", "ocsvm[nu=much]"), 2, ["nu='much'", "a number"]),
        (("run", "--detectors", "ocsvm[nu=7]"), 2, ["ocsvm", "nu"]),
        (("run", "--detectors", "ocsvm,ocsvm"), 2, ["named twice"]),
        (("run", "--detectors", "length", "--seeds", "x"), 2, ["--seeds 'x'", "whole numbers"]),
        (
            ("run", "--detectors", "length", "--seeds", "4294967296"),
            2,
            ["--seeds '4294967296'", "from 0 to 4294967295"],
        ),
        (("run", "--detectors", "length", "--timeout", "soon"), 2, ["--timeout 'soon'", "30m"]),
        (
            ("run", "--detectors", "length", "--max-memory", "8"),
            2,
            ["--max-memory '8'", "with its unit (k, m, g)", "8G"],
        ),
        (("run", "--detectors", "length", "--timeout", "30"), 2, ["--timeout '30'", "with its unit (s, m, h)", "30m"]),
        (("leaderboard", "--metric", "AUROC"), 2, ["unknown metric 'AUROC'", "Did you mean 'auroc'"]),
        (("detector", "info", "IForest"), 2, ["Did you mean 'iforest'"]),
        (("run", "--detectors", "length", "--datasets", "alpha"), 2, ["needs at least 2 datasets"]),
        (("run", "--detectors", "length", "--format", "tabel"), 2, ["unknown format 'tabel'", "Did you mean 'table'"]),
        (("run", "--detectors", "length", "--device", "cuda"), 2, ["--device cuda", "--device auto or cpu"]),
        (("leaderboard",), 3, ["no results in runs", "janus-bench run"]),
        (("data", "info", "alphq"), 2, ["unknown dataset 'alphq'"]),
        (("detector", "info", "janis"), 2, ["Did you mean 'janus'"]),
        (("protocol", "info", "wihtin"), 2, ["Did you mean 'within'"]),
        (("detector", "check", "no.such.module:X"), 4, ["no.such.module:X cannot be loaded"]),
        (("data", "add", "bad name", "."), 2, ["letters, digits"]),
        (("data", "add", "--", "-x", "."), 2, ["'-x'", "letters, digits", "not - first"]),
        (("data", "add", "x" * 300, "."), 2, ["xxx…", "300 letters", "at most 100"]),
    ],
)
def test_a_mistake_is_one_line_with_its_exit_code(cli, arguments, code, words):
    if "cuda" in arguments and Path("/dev/nvidiactl").exists():
        pytest.skip("this machine has a GPU")
    done = cli(*arguments)
    assert done.returncode == code, done.stderr
    line = the_line(done)
    assert all(word in line for word in words), line


def test_params_file(cli):
    (cli.folder / "good.toml").write_text("[ocsvm]\nnu = 0.1\n")
    done = cli(
        "run",
        "--detectors",
        "ocsvm",
        "--datasets",
        "alpha,beta",
        "--params",
        "good.toml",
        "--dry-run",
        "--format",
        "json",
        "--seeds",
        "1",
    )
    assert "nu=0.1" in done.stdout, done.stderr
    (cli.folder / "stranger.toml").write_text("[iforest]\nn_estimators = 5\n")
    assert "iforest, not among the detectors" in the_line(
        cli("run", "--detectors", "ocsvm", "--params", "stranger.toml")
    )
    (cli.folder / "bad.toml").write_text("[ocsvm\n")
    assert "not valid TOML" in the_line(cli("run", "--detectors", "ocsvm", "--params", "bad.toml"))


@pytest.fixture
def captures(tmp_path: Path) -> Path:
    return write_example_captures(tmp_path / "captures")


@pytest.fixture
def data_cli(cli, tmp_path):
    cli.environment["JANUS_BENCH_HOME"] = str(tmp_path / "home")
    return cli


def test_data_add_list_info(data_cli, captures):
    done = data_cli("data", "add", "lan", captures)
    assert done.returncode == 0, done.stderr
    assert "840 flows, 720 benign, 120 attack" in done.stdout
    assert "lan" in data_cli("data", "list").stdout
    manifest = json.loads(data_cli("data", "info", "lan", "--format", "json").stdout)
    assert (manifest["benign"], manifest["attack"]) == (720, 120)


def test_folder_without_labels(data_cli, captures):
    (captures / "labels.csv").unlink()
    done = data_cli("data", "add", "lan", captures)
    assert done.returncode == 3
    assert "labels.csv" in the_line(done)


def test_folder_that_is_not_there(data_cli):
    done = data_cli("data", "add", "lan", "nowhere")
    assert done.returncode == 3
    assert "nowhere" in the_line(done)


def test_labels_with_a_missing_column(data_cli, captures):
    text = (captures / "labels.csv").read_text()
    (captures / "labels.csv").write_text(text.replace("ts_start", "when", 1))
    done = data_cli("data", "add", "lan", captures)
    assert done.returncode == 3
    assert "ts_start" in the_line(done)


def test_an_empty_capture_among_others_is_counted(data_cli, captures):
    (captures / "segment_00.pcap").write_bytes(struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 65535, 1))
    done = data_cli("data", "add", "lan", captures)
    assert done.returncode == 0, done.stderr
    assert "segment_00.pcap" in done.stderr
    assert "780 flows" in done.stdout


def test_a_capture_cut_in_mid_packet_yields_what_precedes_the_cut(data_cli, captures):
    whole = (captures / "segment_00.pcap").read_bytes()
    (captures / "segment_00.pcap").write_bytes(whole[: len(whole) // 2 + 5])
    done = data_cli("data", "add", "lan", captures)
    assert done.returncode == 0, done.stderr
    assert "segment_00.pcap" in done.stderr
    manifest = json.loads(data_cli("data", "info", "lan", "--format", "json").stdout)
    assert 780 < manifest["n_flows"] < 840


def test_a_text_file_named_pcap(data_cli, captures):
    (captures / "segment_00.pcap").write_text("this is no capture at all, only text\n" * 10)
    done = data_cli("data", "add", "lan", captures)
    assert done.returncode == 3
    assert "segment_00.pcap" in the_line(done)
    assert not (data_cli.folder / "home" / "datasets" / "lan").exists()


def test_a_failed_add_keeps_the_dataset_that_was_there(data_cli, captures):
    assert data_cli("data", "add", "lan", captures).returncode == 0
    (captures / "labels.csv").unlink()
    assert data_cli("data", "add", "lan", captures, "--replace").returncode == 3
    assert json.loads(data_cli("data", "info", "lan", "--format", "json").stdout)["n_flows"] == 840


def test_a_damaged_store_is_one_line(data_cli, captures):
    assert data_cli("data", "add", "lan", captures).returncode == 0
    folder = data_cli.folder / "home" / "datasets"
    shutil.copytree(folder / "lan", folder / "lan2")
    (folder / "lan" / "packets" / "size.npy").write_bytes(b"\x93NUMPY")
    done = data_cli("run", "--detectors", "length", "--datasets", "lan,lan2", "--seeds", "1")
    assert done.returncode == 3
    assert "lan" in the_line(done)


@pytest.mark.parametrize("command", [(), ("run",), ("leaderboard",), ("data", "add"), ("detector", "check")])
def test_help_has_examples_and_imports_nothing_heavy(cli, command):
    done = cli(*command, "--help")
    assert done.returncode == 0
    assert "janus-bench " in done.stdout.split("Examples:")[1]
    probe = (
        "import sys; sys.argv = ['janus-bench', *sys.argv[1:]]\nfrom harness.cli.main import main\ntry:\n    "
        "main()\nexcept SystemExit:\n    pass\n"
    )
    probe += (
        "print(sorted(set(sys.modules) & {'torch', 'numpy', 'polars', 'sklearn', 'numba', 'scipy', 'rich'}), "
        "file=sys.stderr)"
    )
    heavy = subprocess.run(
        [sys.executable, "-c", probe, *command, "--help"], capture_output=True, text=True, check=True
    )
    assert heavy.stderr.strip() == "[]"


def test_lists_name_what_is_built_in(cli):
    detectors = {row["detector"] for row in json.loads(cli("detector", "list", "--format", "json").stdout)}
    assert {"janus", "shafir", "iforest", "ocsvm", "length", "random"} <= detectors
    assert {"within", "cross"} <= {
        row["protocol"] for row in json.loads(cli("protocol", "list", "--format", "json").stdout)
    }
    assert {"auroc", "auprc", "macro_auroc"} <= {
        row["metric"] for row in json.loads(cli("metric", "list", "--format", "json").stdout)
    }
    assert {"table", "markdown", "csv", "json"} <= {
        row["renderer"] for row in json.loads(cli("renderer", "list", "--format", "json").stdout)
    }


def test_listing_and_reading_a_detector_does_not_import_torch(cli):
    probe = (
        "import sys; from janus_bench.plugins import detector_entries, load_detector\nfor name in "
        "detector_entries(): load_detector(name)\n"
    )
    probe += "print('torch' in sys.modules, 'sklearn' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False False"


def test_info_of_a_detector_is_in_words_and_json_in_names(cli):
    said = " ".join(cli("detector", "info", "pyod:ECOD").stdout.split())
    assert "aggregator none: there is one score" in said
    assert "uses labels or test flows True" in said
    document = json.loads(cli("detector", "info", "pyod:ECOD", "--format", "json").stdout)
    assert (document["aggregator"], document["uses_labels"]) == (None, True)


def test_a_home_that_cannot_be_written_is_one_line(cli, captures):
    (cli.folder / "file").write_text("")
    cli.environment["JANUS_BENCH_HOME"] = str(cli.folder / "file")
    done = cli("data", "add", "lan", captures)
    assert done.returncode == 2
    assert "JANUS_BENCH_HOME" in the_line(done)
    for command in (("run", "--detectors", "length", "--protocol", "within"), ("data", "list")):
        done = cli(*command)
        assert done.returncode == 2
        assert "file: is a file: name the folder that datasets are kept in with JANUS_BENCH_HOME" in the_line(done)


def test_a_closed_pipe_ends_quietly(cli):
    command = f"{cli.command[0]} -c '{cli.command[2]}' detector list | true"
    piped = subprocess.run(command, shell=True, env=cli.environment, capture_output=True, text=True, check=True)
    assert piped.stderr == ""
