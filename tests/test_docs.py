"""The documentation tells the truth: its code runs, its commands and options exist, its links lead somewhere."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from harness.cli.main import GROUPS
from janus_bench.conformance import check_detector
from tests.conftest import ROOT

PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")), ROOT / "examples" / "plugin" / "README.md"]


def test_the_detector_of_the_readme_passes_the_check():
    (source,) = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), flags=re.DOTALL)
    namespace: dict[str, object] = {}
    exec(compile(source, "README.md", "exec"), namespace)
    results = check_detector(namespace["ZScore"])
    assert len(results) > 10
    assert [result for result in results if result.status == "failed"] == []


def commands() -> list[tuple[str, ...]]:
    found = set()
    for page in PAGES:
        for words in re.findall(r"(?:`|^ *)janus-bench((?: [a-z]+)+)", page.read_text(), flags=re.MULTILINE):
            found.add(tuple(words.split()[:2]))
    return sorted(found)


def test_every_command_in_the_documentation_exists(cli):
    assert len(commands()) >= 5
    for words in commands():
        command = words if words[0] in GROUPS else words[:1]
        done = cli(*command, "--help")
        assert done.returncode == 0, (words, done.stderr)


def test_every_option_in_the_documentation_exists(cli):
    documented = {words if words[0] in GROUPS else words[:1] for words in commands()}
    known = "".join(cli(*command, "--help").stdout for command in sorted(documented))
    for page in PAGES:
        for line in page.read_text().splitlines():
            if "janus-bench" in line:
                for option in re.findall(r"(?<![\w-])--[a-z-]+", line):
                    assert option in known, (page.name, option)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path):
    for target in re.findall(r"\]\(([^)#]+)\)", page.read_text()):
        if "://" not in target:
            assert (page.parent / target).exists(), target
