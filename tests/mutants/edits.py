"""The lists of edits (``lists/*.toml``), and how one is made.

    [[place]]
    file = "protocols/roles.py"
    within = "roles_of"                  # the function, class or name, dotted, in which every ``old`` below stands
    tests = ["test_splits.py::test_x"]   # below tests/; an edit may name its own
    edits = [["old", "new", "what the bug would be"], …]

A fragment is found whatever the line breaks and spaces between its characters, so that a file can be wrapped anew; an
``old`` that does not occur exactly once is an error, so that no list rots in silence.  An edit that nothing can see has
a reason in a table of its own:

    [[place]]
    …
    survives = "why"
"""

from __future__ import annotations

import ast
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

LISTS = Path(__file__).with_name("lists")


@dataclass(frozen=True)
class Edit:
    """``old`` becomes ``new`` in one place of one file.

    what      the bug that this would be
    tests     files or node ids below ``tests/`` of which at least one has to fail
    survives  why none can; empty: one has to
    """

    file: str
    within: str
    old: str
    new: str
    what: str
    tests: tuple[str, ...]
    survives: str = ""

    @property
    def title(self) -> str:
        return f"{self.file} {self.within}: {self.what}"

    def applied(self, source: str) -> str:
        """The file's text with the edit made; ValueError if ``old`` is not found exactly once, or if the result is no
        Python or the same."""
        begin, end = span_of(source, self.within)
        part = source[begin:end]
        places = [place for place, character in enumerate(part) if not character.isspace()]
        squeezed, wanted = "".join(part[place] for place in places), "".join(self.old.split())
        found = squeezed.count(wanted)
        if not wanted or found != 1:
            raise ValueError(f"{self.title}: {self.old!r} is found {found} times, not once: bring the list up to date")
        first = squeezed.index(wanted)
        edited = source[: begin + places[first]] + self.new + source[begin + places[first + len(wanted) - 1] + 1 :]
        try:
            same = ast.dump(ast.parse(edited)) == ast.dump(ast.parse(source))
        except SyntaxError as error:
            raise ValueError(f"{self.title}: the edited file is no Python: {error}") from None
        if same:
            raise ValueError(f"{self.title}: the edit changes nothing")
        return edited


def all_edits(folder: Path = LISTS) -> list[Edit]:
    """Of every list, in the order of their names."""
    return [edit for path in sorted(folder.glob("*.toml")) for edit in _of_list(path)]


def _of_list(path: Path) -> Iterator[Edit]:
    for place in tomllib.loads(path.read_text(encoding="utf-8"))["place"]:
        for old, new, what, *own in place["edits"]:
            yield Edit(
                place["file"],
                place["within"],
                old,
                new,
                what,
                tuple(own[0] if own else place.get("tests", ())),
                place.get("survives", ""),
            )


def span_of(source: str, within: str) -> tuple[int, int]:
    """Where the dotted name is defined in ``source``: first and last character + 1.  ValueError if it is not there."""
    body: list[ast.stmt] = ast.parse(source).body
    node: ast.stmt | None = None
    for name in within.split("."):
        node = next((each for each in body if name in _names(each)), None)
        if node is None:
            raise ValueError(f"there is no {within} any more: bring the list up to date")
        body = getattr(node, "body", [])
    assert node is not None
    assert node.end_lineno is not None
    lines = source.splitlines(keepends=True)
    return sum(map(len, lines[: node.lineno - 1])), sum(map(len, lines[: node.end_lineno]))


def _names(node: ast.stmt) -> set[str]:
    """What a statement defines."""
    if isinstance(node, ast.FunctionDef | ast.ClassDef):
        return {node.name}
    targets = node.targets if isinstance(node, ast.Assign) else [node.target] if isinstance(node, ast.AnnAssign) else []
    return {each.id for target in targets for each in ast.walk(target) if isinstance(each, ast.Name)}
