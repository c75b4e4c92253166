"""``janus-bench data`` as a user types it: add, export, list, info, and what is left in the home folder."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from datasets_registry.making import making
from datasets_registry.store import FlowStore
from datasets_registry.stream import StreamWriter
from datasets_registry.verify import verify_store
from harness.cli import data as command
from janus_bench.errors import DataError, UsageError
from tests.conftest import Cli, write_example_captures


@pytest.fixture
def fresh_home(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("JANUS_BENCH_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


def add(name: str, folder: Path, idle_timeout: float = 120.0, *, stream: bool = False, **more: Any) -> None:
    command.add(name, [folder], idle_timeout, stream=stream, **more)


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
        "disk": rows["lan"]["disk"],
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
        add("lan", captures, replace=True)
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


def test_a_dataset_is_replaced_only_where_that_is_asked_for(fresh_home, tmp_path):
    captures = write_example_captures(tmp_path / "captures")
    add("lan", captures)
    lan = fresh_home / "datasets" / "lan"
    before = {path: path.read_bytes() for path in lan.rglob("*") if path.is_file()}
    lines = (captures / "labels.csv").read_text().splitlines(keepends=True)
    (captures / "labels.csv").write_text("".join(lines[:100]))
    with pytest.raises(UsageError, match=r"there is a dataset 'lan' already: --replace puts .*; nothing was changed"):
        add("lan", captures)
    assert {path: path.read_bytes() for path in lan.rglob("*") if path.is_file()} == before
    lan.joinpath("manifest.json").write_text("{")  # one that cannot be opened is not thrown away either
    with pytest.raises(UsageError, match="--replace"):
        add("lan", captures)
    add("lan", captures, replace=True)
    assert FlowStore.open(lan).n_flows < 840


def test_what_was_read_as_what_is_shown_and_benign_words_are_obeyed(fresh_home, tmp_path, capsys):
    captures = write_example_captures(tmp_path / "captures")
    text = (captures / "labels.csv").read_text()
    header, *lines = text.splitlines()
    place = header.split(",").index("label")
    words = ("Normal", "0", "BenignTraffic", "-", "NaN", "BENIGN")
    cells = [line.split(",") for line in lines]
    benign = [row for row in cells if row[place] == "benign"]
    for number, row in enumerate(benign):
        row[place] = words[number % len(words)]
    (captures / "labels.csv").write_text("\n".join([header, *map(",".join, cells)]) + "\n")
    add("lan", captures)
    said = capsys.readouterr()
    read = FlowStore.open(fresh_home / "datasets" / "lan").manifest["labels_read"]
    assert {text: (row["label"], row["attack"], row["rows"]) for text, row in read.items()} == {
        "attack": ("attack", True, 120),
        "BENIGN": ("benign", False, 120),
        **{word: (word, True, 120) for word in words[:-1]},
    }
    table = [" ".join(line.split()) for line in said.out.splitlines()]
    assert {"BENIGN benign 120", "Normal attack 'Normal' 120", "NaN attack 'NaN' 120"} <= set(table)
    assert "--replace --benign '-,0,BenignTraffic,NaN,Normal'" in said.err
    add("lan", captures, replace=True, benign="-,0,benigntraffic,NaN,Normal")
    manifest = FlowStore.open(fresh_home / "datasets" / "lan").manifest
    assert (manifest["benign"], manifest["attack"], manifest["warnings"]) == (720, 120, [])
    assert set(manifest["labels"]) == {"benign", "attack"}
    with pytest.raises(UsageError, match=r"unknown label 'nomral'\. Did you mean 'Normal'"):
        add("lan", captures, replace=True, benign="nomral")
    with pytest.raises(UsageError, match="an empty word"):
        add("lan", captures, replace=True, benign="Normal,")
    command.export("lan", tmp_path / "dense")
    with pytest.raises(UsageError, match=r"a Boolean column attack of flows\.parquet says; leave out --benign"):
        add("dense", tmp_path / "dense", benign="Normal")


def test_licence_citation_and_provenance_go_where_the_dataset_goes(fresh_home, tmp_path, capsys):
    captures = write_example_captures(tmp_path / "captures")
    (captures / "PROVENANCE.md").write_text("# From a laboratory\n")
    add("lan", captures, licence="CC BY 4.0", citation="Doe 2026")
    command.export("lan", tmp_path / "dense")
    add("again", tmp_path / "dense")
    add("other", tmp_path / "dense", licence="none")
    for name, licence in (("lan", "CC BY 4.0"), ("again", "CC BY 4.0"), ("other", "none")):
        folder = fresh_home / "datasets" / name
        manifest = FlowStore.open(folder).manifest
        assert (manifest["licence"], manifest["citation"]) == (licence, "Doe 2026")
        assert (folder / "PROVENANCE.md").read_text() == "# From a laboratory\n"
        verify_store(folder)
    (fresh_home / "datasets" / "lan" / "PROVENANCE.md").write_text("# From elsewhere\n")
    with pytest.raises(DataError, match=r"PROVENANCE\.md: not the bytes that were written"):
        verify_store(fresh_home / "datasets" / "lan")
    capsys.readouterr()
    command.show_info("again", "table")
    said = capsys.readouterr().err
    assert "licence: CC BY 4.0" in said
    assert "cite: Doe 2026" in said
    assert f"provenance: {fresh_home / 'datasets' / 'again' / 'PROVENANCE.md'}" in said


def test_a_dataset_is_removed_whole_and_what_is_none_is_one_line(fresh_home, tmp_path, capsys):
    captures = write_example_captures(tmp_path / "captures")
    add("lan", captures)
    add("wan", captures)
    capsys.readouterr()
    command.show_list("json")
    disk = {row["dataset"]: row["disk"] for row in json.loads(capsys.readouterr().out)}
    there = sum(path.stat().st_size for path in (fresh_home / "datasets" / "lan").rglob("*") if path.is_file())
    assert disk["lan"] == f"{there / 1e3:.0f} kB"
    assert disk["synthetic_home"] == "–"
    with making(fresh_home / "datasets", "lan"), pytest.raises(UsageError, match="another process is making lan"):
        command.remove("lan")
    command.remove("lan")
    assert capsys.readouterr().err == f"lan: removed, {disk['lan']}\n"
    assert {path.name for path in (fresh_home / "datasets").iterdir()} == {".extracted", "wan"}
    with pytest.raises(UsageError, match=r"unknown dataset 'lan'.*Nothing was removed"):
        command.remove("lan")
    with pytest.raises(UsageError, match="unknown dataset"):
        command.remove("../datasets/wan")
    (fresh_home / "datasets" / "wan" / "manifest.json").write_text("{")
    command.remove("wan")
    assert [path.name for path in (fresh_home / "datasets").iterdir()] == [".extracted"]


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
