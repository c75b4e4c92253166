"""Reads every import of the project and prints which point upwards and which files import each other in a circle.

``python -m tests.arrows``; an arrow may only point down: harness → reports → datasets_registry, protocols, detectors →
janus_bench.
"""

from __future__ import annotations

import ast
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
FLOOR = {"janus_bench": 0, "protocols": 1, "datasets_registry": 1, "detectors": 1, "reports": 2, "harness": 3}
MAY_IMPORT_BESIDE = {("datasets_registry", "protocols")}
"""Rooms of one floor that may look into another of it."""


FOR_TYPES = {("janus_bench", "harness.api"), ("janus_bench", "reports.notebook")}
"""What the public face names for type checkers alone, and loads when somebody asks for it."""


def modules(root: Path = ROOT) -> dict[str, Path]:
    """Dotted name → file."""
    found = {}
    for package in FLOOR:
        for path in sorted((root / package).rglob("*.py")):
            parts = path.relative_to(root).with_suffix("").parts
            found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def arrows(root: Path = ROOT) -> dict[str, set[str]]:
    """Module → the project's modules that it imports anywhere, for types only or within a function included."""
    known = modules(root)
    found: dict[str, set[str]] = {}
    for name, path in known.items():
        imported = set()
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                imported |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                submodules = {f"{node.module}.{alias.name}" for alias in node.names}
                imported |= submodules & set(known) or {node.module}
        found[name] = {other for other in (imported & set(known)) - {name} if (name, other) not in FOR_TYPES}
    return found


def upward(found: dict[str, set[str]]) -> list[tuple[str, str]]:
    """Imports that do not point down, between rooms."""
    wrong = []
    for name, imported in found.items():
        for other in sorted(imported):
            here, there = name.split(".")[0], other.split(".")[0]
            if here != there and FLOOR[there] >= FLOOR[here] and (here, there) not in MAY_IMPORT_BESIDE:
                wrong.append((name, other))
    return wrong


def circles(found: dict[str, set[str]]) -> list[list[str]]:
    """Groups of files that import each other, directly or by others (strongly connected components of more than
    one)."""
    reached = {name: _reachable(name, found) for name in found}
    groups = {frozenset(other for other in reached[name] if name in reached[other]) | {name} for name in found}
    return sorted(sorted(group) for group in groups if len(group) > 1)


def _reachable(start: str, found: dict[str, set[str]]) -> set[str]:
    seen: set[str] = set()
    waiting = [start]
    while waiting:
        for other in found[waiting.pop()] - seen:
            seen.add(other)
            waiting.append(other)
    return seen


if __name__ == "__main__":
    everything = arrows()
    up, around = upward(everything), circles(everything)
    print(
        f"{len(everything)} files, {sum(map(len, everything.values()))} arrows: {len(up)} upward, {len(around)} circles"
    )
    for first, second in up:
        print(f"upward: {first} -> {second}")
    for group in around:
        print(f"circle: {', '.join(group)}")
