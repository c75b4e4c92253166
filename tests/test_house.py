"""The floors of the house, its public face, and the door that an old plugin still comes in by."""

from __future__ import annotations

import ast
import importlib
import subprocess
import sys
from pathlib import Path

import janus_bench
from tests import arrows


def test_no_import_points_upwards_and_no_two_files_import_each_other():
    found = arrows.arrows()
    assert len(found) > 150
    assert arrows.upward(found) == []
    assert arrows.circles(found) == []


def test_an_upward_import_and_a_circle_would_be_seen(tmp_path: Path):
    for package in arrows.FLOOR:
        (tmp_path / package).mkdir()
        (tmp_path / package / "__init__.py").touch()
    (tmp_path / "reports" / "a.py").write_text("def f():\n    from harness import b\n")
    (tmp_path / "harness" / "b.py").write_text("import reports.a\n")
    (tmp_path / "protocols" / "c.py").write_text("from datasets_registry.d import x\n")
    (tmp_path / "datasets_registry" / "d.py").write_text("from protocols.c import y\n")
    found = arrows.arrows(tmp_path)
    assert arrows.upward(found) == [("protocols.c", "datasets_registry.d"), ("reports.a", "harness.b")]
    assert arrows.circles(found) == [["datasets_registry.d", "protocols.c"], ["harness.b", "reports.a"]]


UPWARDS = frozenset({"datasets", "fit", "open_results", "run", "score"})
"""Names of the public face that live on a higher floor: the only ones, each loaded when it is asked for."""


def test_the_public_face_has_what_it_says_and_loads_it_when_asked():
    for name in janus_bench.__all__:
        assert getattr(janus_bench, name) is getattr(importlib.import_module(janus_bench._MODULE_OF[name]), name)
    assert set(janus_bench.__all__) == set(janus_bench._MODULE_OF)
    above = {name for name, module in janus_bench._MODULE_OF.items() if not module.startswith("janus_bench.")}
    assert above == UPWARDS
    loaded = (
        "import sys, janus_bench; print(sorted(m for m in sys.modules if m.startswith('janus_bench') or m == 'numpy'))"
    )
    assert (
        subprocess.run([sys.executable, "-c", loaded], capture_output=True, text=True, check=True).stdout
        == "['janus_bench']\n"
    )


def test_a_plugin_that_imports_the_contract_where_it_was_is_told_so_in_one_line_and_works():
    code = (
        "from harness.contract import Capabilities, FlowBatch, UsageError\nimport janus_bench\nassert FlowBatch is "
        "janus_bench.FlowBatch\n"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    (line,) = [line for line in result.stderr.splitlines() if "harness.contract has moved" in line]
    assert "import from janus_bench instead" in line


def test_no_public_class_name_stands_twice():
    found: dict[str, list[str]] = {}
    for module, path in arrows.modules().items():
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                found.setdefault(node.name, []).append(module)
    assert len(found) > 150
    assert {name: modules for name, modules in found.items() if len(modules) > 1} == {}


def test_no_file_is_longer_than_a_reader_bears():
    assert {
        name: lines
        for name, path in arrows.modules().items()
        if (lines := len(path.read_text(encoding="utf-8").splitlines())) > 520  # 450 of 150 columns
    } == {}
