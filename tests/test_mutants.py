"""The lists of edits are in order: every edit still applies, once, and leaves a file that can be read; every test
that it names is there."""

from __future__ import annotations

import ast

import pytest

from tests.conftest import ROOT
from tests.mutants.edits import Edit, all_edits

EDITS = all_edits()
SOURCE = (
    "LIMIT = 5\n\n\nclass Reader:\n    def read(self, n):\n        return self.next(\n            n + 1,\n         "
    "   LIMIT,\n        )\n"
)


def edit(within: str, old: str, new: str = "0") -> Edit:
    return Edit("x.py", within, old, new, "a bug", ("test_x.py",))


@pytest.mark.parametrize("file", sorted({edit.file for edit in EDITS}))
def test_every_edit_applies(file):
    source = (ROOT / file).read_text(encoding="utf-8")
    for each in EDITS:
        if each.file == file:
            each.applied(source)


def test_every_edit_names_tests_that_there_are_and_none_stands_twice():
    known: dict[str, set[str]] = {}
    for each in EDITS:
        assert each.what, each.title
        assert each.tests, each.title
        for test in each.tests:
            file, _, name = test.partition("::")
            if file not in known:
                tree = ast.parse((ROOT / "tests" / file).read_text(encoding="utf-8"))
                known[file] = {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}
            assert not name or name.partition("[")[0] in known[file], each.title
    edits = [(each.file, each.within, "".join(each.old.split()), each.new) for each in EDITS]
    assert len(set(edits)) == len(edits) >= 150
    assert sum(bool(each.survives) for each in EDITS) <= 0.1 * len(EDITS)


def test_an_edit_is_found_whatever_the_line_breaks_and_within_its_place_alone():
    wrapped = edit("Reader.read", "self.next(n + 1, LIMIT", "self.next(n, LIMIT").applied(SOURCE)
    assert wrapped == SOURCE.replace("self.next(\n            n + 1,\n            LIMIT", "self.next(n, LIMIT")
    assert edit("LIMIT", "5").applied(SOURCE) == SOURCE.replace("5", "0")


@pytest.mark.parametrize(
    ("within", "old", "new", "said"),
    [
        ("Reader.read", "n + 2", "0", "is found 0 times"),
        ("Reader.read", "n", "0", "times, not once"),
        ("Reader.write", "n + 1", "0", "there is no Reader.write any more"),
        ("Reader.read", "n + 1", "n +", "no Python"),
        ("Reader.read", "n + 1", "(n + 1)", "changes nothing"),
        ("Reader.read", "", "0", "times, not once"),
    ],
)
def test_an_edit_that_no_longer_fits_is_an_error_that_says_so(within, old, new, said):
    with pytest.raises(ValueError, match=said):
        edit(within, old, new).applied(SOURCE)
