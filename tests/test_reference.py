"""The reference names everything that there is, the tutorial's commands do what the page says, and the site has every
page."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import get_args

import pytest

from harness.cli.main import COMMANDS
from harness.executors.choice import EXECUTORS
from janus_bench import errors
from janus_bench.records import Status
from reports.results.model import MISSING
from tests import reference
from tests.conftest import ROOT, Cli

COMMAND = re.compile(r"^((?:janus-bench|python) .*)$", re.MULTILINE)
READ = re.compile(r'environ(?:\.get\(|\[)"([A-Z_]+)"|"([A-Z_]+)" (?:not )?in os\.environ')


def test_the_page_is_what_the_code_makes_of_it():
    assert reference.PAGE.read_text() == reference.page(), "python -m tests.reference writes it anew"
    for name in COMMANDS:
        assert f"\n### {name}\n" in reference.PAGE.read_text()


def test_a_command_says_of_itself_what_the_help_of_its_group_says_of_it():
    found = dict(reference.commands())
    assert found.keys() == COMMANDS.keys()
    for name, command in found.items():
        assert command.get_short_help_str(limit=10_000) == COMMANDS[name].summary


def test_every_status_exit_code_and_executor_has_its_meaning():
    assert set(reference.STATUSES) == {*get_args(Status), MISSING}
    raised = {
        each.exit_code
        for each in vars(errors).values()
        if isinstance(each, type) and issubclass(each, errors.JanusBenchError)
    }
    assert set(reference.EXIT_CODES) == {0, 130, *raised}
    assert set(reference.EXECUTOR_MEANINGS) == set(EXECUTORS)


def test_every_variable_that_is_read_has_its_meaning():
    read: set[tuple[str, str]] = set()
    for package in ("janus_bench", "harness", "detectors", "datasets_registry", "protocols", "reports"):
        for path in (ROOT / package).rglob("*.py"):
            read |= set(READ.findall(path.read_text()))
    names = {name for pair in read for name in pair if name}
    assert {"JANUS_BENCH_HOME", "NO_COLOR"} <= names
    assert names == set(reference.VARIABLES)


def test_the_site_has_every_page():
    named = re.findall(r"- ([\w-]+\.md)$", (ROOT / "mkdocs.yml").read_text(), flags=re.MULTILINE)
    assert sorted(named) == sorted(path.name for path in (ROOT / "docs").glob("*.md"))


@pytest.mark.xdist_group("tutorial")
def test_the_tutorial_does_what_it_says(tmp_path: Path):
    """Its commands, one after the other, in an empty folder with an empty home."""
    page = (ROOT / "docs" / "tutorial.md").read_text()
    (source,) = re.findall(r"```python\n(.*?)```", page, flags=re.DOTALL)
    (tmp_path / "mine.py").write_text(source)
    command = Cli(sys.executable, tmp_path / "home", tmp_path)
    said = []
    for line in COMMAND.findall(page):
        program, *arguments = shlex.split(line)
        if program == "python":
            script, *rest = arguments
            subprocess.run([sys.executable, ROOT / script, *rest], cwd=tmp_path, check=True)
        else:
            assert program == "janus-bench"
            done = command(*arguments)
            assert done.returncode == 0, (line, done.stderr)
            said.append(done.stdout)
    assert len(said) == 10
    assert "office" in said[1]
    assert "840" in said[1]
    assert all(name in said[-1] for name in ("mine", "knn", "length"))
    assert (tmp_path / "report.html").stat().st_size > 10_000
