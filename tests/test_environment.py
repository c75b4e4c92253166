"""What a row says of the code and the machine that made it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from harness import environment as measured
from harness.environment import cpu_seconds, hash_of_code, is_other_code, plugin_of


def test_the_hash_of_code_changes_with_every_line_and_name_and_with_nothing_else(tmp_path: Path) -> None:
    package = tmp_path / "package"
    (package / "inner").mkdir(parents=True)
    (package / "a.py").write_text("x = 1\n")
    (package / "inner" / "b.py").write_text("y = 1\n")
    first = hash_of_code(package)
    (package / "notes.txt").write_text("what is no code")
    (package / "__pycache__").mkdir()
    assert hash_of_code(package) == first
    (package / "inner" / "b.py").write_text("y = 2\n")
    second = hash_of_code(package)
    (package / "inner" / "b.py").rename(package / "inner" / "c.py")
    assert len({first, second, hash_of_code(package)}) == 3
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    assert hash_of_code(package) == hash_of_code(package.rename(elsewhere / "package"))


def test_a_strangers_package_is_named_with_its_version_and_hash(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "stranger").mkdir()
    (tmp_path / "stranger" / "__init__.py").write_text("x = 1\n")
    about = tmp_path / "stranger_dist-2.5.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: stranger-dist\nVersion: 2.5\n")
    (about / "top_level.txt").write_text("stranger\n")
    monkeypatch.syspath_prepend(tmp_path)
    __import__("stranger")
    assert plugin_of("stranger.inner") == f"stranger-dist 2.5 ({hash_of_code(tmp_path / 'stranger')})"
    assert not is_other_code("stranger.inner", {"plugin": plugin_of("stranger.inner")})
    assert is_other_code("stranger.inner", {"plugin": "stranger-dist 2.5 (0123456789abcdef)"})
    assert not is_other_code("stranger.inner", {})  # of a run that did not keep it
    monkeypatch.delitem(sys.modules, "stranger")
    assert plugin_of("detectors.janus") == ""  # whose code and version are the row's own
    assert plugin_of("of_a_single_file") == ""


def test_gpus_are_named_as_the_driver_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for number, model in enumerate(("NVIDIA H100", "NVIDIA T4")):
        (tmp_path / f"000{number}").mkdir()
        (tmp_path / f"000{number}" / "information").write_text(f"Model: \t\t {model}\nIRQ:   \t\t 24\n")
    monkeypatch.setattr(measured, "GPUS", tmp_path)
    assert measured._gpus() == ["NVIDIA H100", "NVIDIA T4"]
    monkeypatch.setattr(measured, "GPUS", tmp_path / "none")
    assert measured._gpus() == []


def test_a_childs_work_counts() -> None:
    before = cpu_seconds()
    subprocess.run([sys.executable, "-c", "import time\nwhile time.process_time() < .3: pass"], check=True)
    assert 0.3 <= cpu_seconds() - before < 5
