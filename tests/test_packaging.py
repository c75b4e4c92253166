"""What is in the wheel, what a release has to agree in, and what `make quick` runs."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tomllib
import zipfile

from tests.conftest import ROOT

PACKAGES = ("janus_bench", "harness", "detectors", "datasets_registry", "protocols", "reports")


def test_the_wheel_holds_the_packages_and_nothing_else(tmp_path):
    source = tmp_path / "source"
    source.mkdir()
    for name in (*PACKAGES, "tests", "benchmarks", "examples", "docs"):
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    command = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--no-build-isolation", "-w", tmp_path, source]
    subprocess.run(command, check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    names = {name.split("/")[0] for name in zipfile.ZipFile(wheel).namelist()}
    assert {name for name in names if not name.endswith(".dist-info")} == set(PACKAGES)
    shipped = set(zipfile.ZipFile(wheel).namelist())
    own = (path for package in PACKAGES for path in (ROOT / package).rglob("*") if path.is_file())
    there = {str(path.relative_to(ROOT)) for path in own if path.suffix not in (".pyc", ".nbi", ".nbc")}
    assert there <= shipped
    assert {f"{package}/py.typed" for package in PACKAGES} <= there  # type checkers take the types of these packages


def test_the_version_to_cite_is_the_one_that_is_released():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    (cited,) = re.findall(r"^version: (.*)$", (ROOT / "CITATION.cff").read_text(), flags=re.MULTILINE)
    assert cited == project["version"]
    assert f"## {cited} " in (ROOT / "CHANGELOG.md").read_text()


def test_make_quick_runs_nothing_that_needs_a_capture_a_run_or_a_browser():
    (names,) = re.findall(r"^QUICK := ((?:.*\\\n)*.*)$", (ROOT / "Makefile").read_text(), flags=re.MULTILINE)
    files = [ROOT / "tests" / f"test_{name}.py" for name in names.replace("\\", " ").split()]
    assert len(files) > 15
    slow = re.compile(
        r"\b(home|cli|plugin_cli|plugin_python)\b[,):]|pcap_builders|selenium|ingest_folder|needs_shared_data"
    )
    assert {file.name: slow.findall(file.read_text()) for file in files if slow.search(file.read_text())} == {}
