"""``doctor``: a healthy machine, and each thing that can be wrong with its fix."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil
import pytest
from typer.testing import CliRunner

from harness.cli import doctor
from harness.cli.main import app
from janus_bench import plugins


def found(*arguments: str) -> tuple[int, dict[str, dict[str, Any]]]:
    result = CliRunner().invoke(app, ["doctor", "--format", "json", *arguments])
    return result.exit_code, {line["what"]: line for line in json.loads(result.stdout)}


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("JANUS_BENCH_HOME", str(tmp_path / "home"))
    roomy = SimpleNamespace(available=8 << 30, total=16 << 30)
    monkeypatch.setattr(psutil, "virtual_memory", lambda: roomy)
    monkeypatch.setattr(doctor, "_container_limit", lambda: None)
    monkeypatch.setattr(doctor.shutil, "disk_usage", lambda _: SimpleNamespace(free=99 << 30))
    return tmp_path


def test_a_healthy_machine_has_nothing_to_mend() -> None:
    code, said = found()
    assert [line for line in said.values() if line["fix"]] == []
    assert code == 0
    assert said["memory"]["found"] == "8.0 of 16.0 GiB free"
    assert said["plugins"]["found"].endswith(" 0 broken")
    assert {"python", "torch", "processor", "GPU", "home", "stages", "kernels", "datasets"} <= set(said)


def test_each_thing_that_is_wrong_has_its_fix(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    damaged = place / "home" / "datasets" / "office"
    damaged.mkdir(parents=True)
    (damaged / "manifest.json").write_text("{")
    monkeypatch.setattr(doctor, "_container_limit", lambda: 1 << 30)
    monkeypatch.setattr(doctor.shutil, "disk_usage", lambda _: SimpleNamespace(free=5 << 20))
    monkeypatch.setattr(doctor.os, "access", lambda *_: False)
    broken = plugins.Broken("mine", "my-package", "ImportError: no numpy")
    monkeypatch.setattr(plugins, "load_detectors", lambda: ([], [broken]))
    code, said = found()
    assert code == 1
    assert "--max-memory 1G" in said["memory"]["fix"]
    assert "1.0 of 16.0 GiB free, at most 1.0 GiB for this container" in said["memory"]["found"]
    assert "JANUS_BENCH_HOME" in said["home"]["fix"]
    assert "TMPDIR" in said["stages"]["fix"]
    assert "NUMBA_CACHE_DIR" in said["kernels"]["fix"]
    assert said["plugin mine"]["found"] == "my-package: ImportError: no numpy"
    assert "damaged" in said["dataset office"]["found"]
    assert "add it again" in said["dataset office"]["fix"]


def test_a_folder_that_cannot_be_written_is_told_of(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JANUS_BENCH_HOME", "/proc/nothing/home")
    code, said = found()
    assert code == 1
    assert said["home"]["fix"] == "name another folder with JANUS_BENCH_HOME"


def test_a_home_that_is_a_file_is_told_of(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (place / "file").touch()
    monkeypatch.setenv("JANUS_BENCH_HOME", str(place / "file"))
    code, said = found()
    assert code == 1
    assert said["home"] == {
        "what": "home",
        "found": f"{place}/file: is a file: name the folder that datasets are kept in with JANUS_BENCH_HOME",
        "fix": "name another folder with JANUS_BENCH_HOME",
    }
    assert "datasets" not in said
