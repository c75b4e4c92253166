"""``janus-bench data`` as a user types it: add, export, list, info, and what is left in the home folder."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from datasets_registry.store import FlowStore
from datasets_registry.stream import StreamWriter
from harness.cli import data as command
from janus_bench.errors import DataError, UsageError
from tests.conftest import Cli, write_example_captures


@pytest.fixture
def fresh_home(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("JANUS_BENCH_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


def add(name: str, folder: Path, idle_timeout: float = 120.0, *, stream: bool = False) -> None:
    command.add(name, folder, idle_timeout, stream=stream)


def test_a_dataset_is_added_exported_and_added_again(fresh_home, tmp_path, capsys):
    add("lan", write_example_captures(tmp_path / "captures"))
    assert sorted(path.name for path in (fresh_home / "datasets").iterdir()) == [".extracted", "lan"]
    assert list((fresh_home / "datasets" / ".extracted").iterdir()) == []
    for layout in ("original", "full_store"):
        command.export("lan", tmp_path / layout, layout)
        add(layout, tmp_path / layout)
    stores = [FlowStore.open(fresh_home / "datasets" / name) for name in ("lan", "original", "full_store")]
    assert len({store.hash for store in stores}) == 1
    assert all(store.manifest["cic_features"] for store in stores)
    # what became of the captures is not forgotten
    assert stores[0].manifest["packets"] == stores[1].manifest["packets"]
    capsys.readouterr()
    command.show_list("json")
    rows = {row["dataset"]: row for row in json.loads(capsys.readouterr().out)}
    assert rows["lan"] == {
        "dataset": "lan",
        "kind": "captures",
        "flows": "840",
        "benign": "720",
        "attack": "120",
        "families": str(len(stores[0].manifest["families"])),
        "licence": "not stated",
        "summary": "captures of captures",
    }
    assert rows["full_store"]["summary"] == "packet sequences of full_store"
    command.show_info("lan", "table")
    printed = capsys.readouterr()
    assert "lan: 840 flows, 720 benign, 120 attack" in printed.out
    assert f"from: captures of captures; licence: not stated; content hash {stores[0].hash[:16]}" in printed.err
    assert "label 'attack': 120 flows; 120 rows matched, 0 not, 0 ambiguous" in printed.err


def test_info_names_the_sites_where_there_are_several(fresh_home, tmp_path, capsys):
    captures = write_example_captures(tmp_path / "captures")
    header, *lines = (captures / "labels.csv").read_text().splitlines()
    for sites in ({"lab"}, {"lab", ""}):
        named = [f"{line},{'lab' if sites == {'lab'} or number % 2 else ''}" for number, line in enumerate(lines)]
        (captures / "labels.csv").write_text("\n".join([f"{header},site", *named]) + "\n")
        add("lan", captures)
        table = FlowStore.open(fresh_home / "datasets" / "lan").labels()
        capsys.readouterr()
        command.show_info("lan", "table")
        said = [line for line in capsys.readouterr().err.splitlines() if line.startswith("site ")]
        counts = {site: (table["site"] == site) for site in sorted(sites)}
        expected = [
            (
                f"site {site or '(none named)'}: {(of & ~table['attack']).sum()} benign, "
                f"{(of & table['attack']).sum()} attack flows"
            )
            for site, of in counts.items()
        ]
        assert said == (expected if len(sites) > 1 else [])


def test_packets_that_the_stream_does_not_have_are_counted_and_stated(fresh_home, tmp_path, capsys, monkeypatch):
    captures = write_example_captures(tmp_path / "captures")
    n_captures = len(list(captures.glob("*.pcap*")))
    add("whole", captures, stream=True)
    assert "packet stream" not in capsys.readouterr().err
    whole_add = StreamWriter.add
    monkeypatch.setattr(StreamWriter, "add", lambda *arguments: whole_add(*arguments) - 2)
    add("lossy", captures, stream=True)
    add("without", captures)
    command.show_info("lossy", "table")
    assert (
        capsys.readouterr().err.count(f"warning: {2 * n_captures} packets of the flows are not in the packet stream")
        == 2
    )
    manifests = {path.parent.name: json.loads(path.read_text()) for path in fresh_home.glob("datasets/*/manifest.json")}
    stated = {name: manifest.get("packets_not_in_stream") for name, manifest in manifests.items()}
    assert stated == {"whole": 0, "lossy": 2 * n_captures, "without": None}


def test_what_cannot_be_added_or_exported_is_one_line(fresh_home, tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match=r"no labels\.csv"):
        add("lan", tmp_path / "empty")
    add("lan", write_example_captures(tmp_path / "captures"))
    command.export("lan", tmp_path / "dense")
    with pytest.raises(UsageError, match="holds packet sequences, whose flows are made already"):
        add("again", tmp_path / "dense", 60.0)
    with pytest.raises(UsageError, match="a packet stream can only be written from captures"):
        add("again", tmp_path / "dense", stream=True)
    with pytest.raises(UsageError, match=r"dense: is there already; name a new folder"):
        command.export("lan", tmp_path / "dense")
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match="file: File exists; -o names the folder to write"):
        command.export("lan", tmp_path / "file" / "below")


def test_a_store_of_the_old_layout_is_one_line(fresh_home, tmp_path):
    add("lan", write_example_captures(tmp_path / "captures"))
    path = fresh_home / "datasets" / "lan" / "manifest.json"
    manifest = json.loads(path.read_text())
    path.write_text(
        json.dumps(
            {key: value for key, value in manifest.items() if key not in ("store_version", "shards", "cic_features")}
        )
    )
    done = Cli(sys.executable, fresh_home, tmp_path)("data", "info", "lan")
    assert done.returncode == 3
    assert (
        done.stderr
        == f"janus-bench: {path.parent}: a store of version 1, this program reads 2 and 3; add the dataset again\n"
    )
