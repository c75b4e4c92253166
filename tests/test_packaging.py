"""What is in the wheel."""

from __future__ import annotations

import shutil
import subprocess
import sys
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
    shipped = {name for name in zipfile.ZipFile(wheel).namelist() if name.endswith(".py")}
    there = {str(path.relative_to(ROOT)) for package in PACKAGES for path in (ROOT / package).rglob("*.py")}
    assert there <= shipped
