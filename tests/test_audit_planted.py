"""The audit's confusion table: planted defects are found, each where it was planted and nothing beside it.  The whole
table, at full size, is ``python -m tests.planted_audits``; here it is the one of the documentation, and some of it
anew."""

from __future__ import annotations

import copy
import re
from pathlib import Path

import pytest

from datasets_registry.audits import captures, context, forest, unseen
from datasets_registry.audits.actions import ACTIONS
from tests.conftest import ROOT
from tests.planted_audits import DEFECTS, Planted, draw, found

ANEW = (
    "none",
    "attacks have the window of one tool",
    "attacks on benign 5-tuples",
    "each family between one pair of hosts",
)


@pytest.fixture(scope="module")
def nothing_wrong() -> Planted:
    return draw(0)


@pytest.fixture(autouse=True)
def thrifty(monkeypatch: pytest.MonkeyPatch) -> None:
    """Few trees and few flows: what is planted here is far beyond its threshold."""
    for module in (forest, unseen):
        monkeypatch.setattr(module, "TREES", 5)
        monkeypatch.setattr(module, "CLASS_CAP", 500)
    for module in (captures, context):
        monkeypatch.setattr(module, "CAPTURE_CAP", 60)
    monkeypatch.setattr(context, "SAMPLE", 300)


@pytest.mark.parametrize("name", ANEW)
def test_what_is_planted_is_found_and_nothing_else(name: str, nothing_wrong: Planted, tmp_path: Path) -> None:
    assert found(name, tmp_path / "store", copy.deepcopy(nothing_wrong)) == DEFECTS[name][1]


def test_the_documented_table_has_every_defect_and_no_finding_beside_it() -> None:
    text = (ROOT / "docs" / "audits.md").read_text(encoding="utf-8").split("## Planted defects")[1].split("\n## ")[0]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if line.startswith("|")]
    assert {name: set(re.findall(r"`(.+?)`", keys)) for name, keys, _ in rows[2:]} == {
        name: keys for name, (_, keys) in DEFECTS.items()
    }
    assert {beside for *_, beside in rows[2:]} == {"–"}


def test_every_finding_that_has_an_action_of_its_own_is_planted_or_named_as_not() -> None:
    planted = {key for _, keys in DEFECTS.values() for key in keys}
    elsewhere = {"context.thinned", "parts.train"}
    own = {action for action in ACTIONS if "." in action}
    assert own - planted == elsewhere
