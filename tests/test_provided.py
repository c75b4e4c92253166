"""A test may be skipped for want of a tool, but not where that tool was provided: `.ci/run` installs some, and skips
for ever would go unseen."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.conftest import ROOT

pytest_plugins = ["pytester"]

SKIPS = {
    "mark": "import pytest\n@pytest.mark.skipif(True, reason='no Chromedriver on this machine')\ndef test_it(): ...",
    "call": "import pytest\ndef test_it(): pytest.skip('neither tectonic nor chromedriver is installed')",
    "fixture": "import pytest\n@pytest.fixture\ndef it(): pytest.skip('no chromedriver')\ndef test_it(it): ...",
    "module": "import pytest\npytest.importorskip('chromedriver_of_nobody')\ndef test_it(): ...",
}


@pytest.mark.parametrize("kind", SKIPS)
@pytest.mark.parametrize(("provided", "fails"), [("pdflatex chromedriver", True), ("pdflatex", False), ("", False)])
def test_a_skip_for_want_of_what_was_provided_is_a_failure(pytester, monkeypatch, kind, provided, fails):
    monkeypatch.setenv("JANUS_BENCH_PROVIDED", provided)
    pytester.makepyfile(SKIPS[kind])
    result = pytester.runpytest("-n0", "-p", "tests.conftest", "-p", "no:cacheprovider")
    outcomes = result.parseoutcomes()
    if fails:
        assert result.ret != 0
        assert "skipped" not in outcomes
        result.stdout.fnmatch_lines(["*JANUS_BENCH_PROVIDED names chromedriver, and yet: *"])
    else:
        assert outcomes == {"skipped": 1}


def test_an_expected_failure_is_left_alone(pytester, monkeypatch):
    monkeypatch.setenv("JANUS_BENCH_PROVIDED", "chromedriver")
    pytester.makepyfile("import pytest\n@pytest.mark.xfail(reason='chromedriver is slow')\ndef test_it(): assert False")
    assert pytester.runpytest("-n0", "-p", "tests.conftest", "-p", "no:cacheprovider").parseoutcomes() == {"xfailed": 1}


def test_every_tool_that_is_insisted_on_is_named_by_a_skip():
    """A tool under another name than the skips use would never be missed."""
    scripts = (ROOT / ".ci" / "run").read_text() + (ROOT / "Makefile").read_text()
    tools = {
        *re.findall(r"^provide (\S+)", scripts, re.MULTILINE),
        *re.findall(r'JANUS_BENCH_PROVIDED="([a-z ]+)', scripts)[0].split(),
    }
    reasons = "\n".join(
        line.lower() for file in (ROOT / "tests").glob("test_*.py") if file.name != "test_provided.py"
        for line in file.read_text().splitlines() if re.search("skip|reason", line)
    )  # fmt: skip
    assert {"chromium", "chromedriver", "pdflatex", "zstd", "pyod", "selenium"} <= tools
    assert {tool for tool in tools if tool not in reasons} == set()


APT_GET = """#!/bin/sh
[ "$1" = install ] || exit 0
echo "$@" >> installed
for package in "$@"; do case $package in
  chromium) touch bin/chromium ;; chromium-driver) touch bin/chromedriver ;;
  texlive-latex-base) exit 100 ;; zstd) touch bin/zstd ;;
esac; done; chmod +x bin/*
"""


@pytest.mark.parametrize("there", [[], ["chromium"], ["chromedriver", "zstd"]])
def test_each_tool_is_installed_where_it_is_missing_and_insisted_on_where_it_is_there(tmp_path: Path, there: list[str]):
    """`.ci/run` in a system of its own, whose apt-get has everything but LaTeX."""
    (tmp_path / "bin").mkdir()
    (tmp_path / ".ci").mkdir()
    shutil.copy(ROOT / ".ci" / "run", tmp_path / ".ci" / "run")
    programs = {
        "apt-get": APT_GET,
        "id": "#!/bin/sh\necho 0\n",
        "make": '#!/bin/sh\necho "$@:$JANUS_BENCH_PROVIDED"\n',
        **dict.fromkeys(there, ""),
    }
    for name, text in programs.items():
        (tmp_path / "bin" / name).write_text(text)
        (tmp_path / "bin" / name).chmod(0o755)
    for name in ("sh", "bash", "dirname", "touch", "chmod"):
        (tmp_path / "bin" / name).symlink_to(shutil.which(name))
    done = subprocess.run(
        ["bash", ".ci/run"],
        cwd=tmp_path,
        env={"PATH": str(tmp_path / "bin")},
        capture_output=True,
        text=True,
        check=True,
    )
    missing, last = done.stdout.splitlines()
    assert missing == "pdflatex is missing: its tests will be skipped"
    assert last.split() == ["test:", "chromium", "chromedriver", "zstd"]
    installed = (tmp_path / "installed").read_text().split()
    packages = {"chromium": "chromium", "chromedriver": "chromium-driver", "zstd": "zstd"}
    assert {name for name, package in packages.items() if package in installed} == set(packages) - set(there)
