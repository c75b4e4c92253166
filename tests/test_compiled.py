"""What numba has compiled is used again as long as no source that went into it has changed, and only so long."""

from __future__ import annotations

import ast
import importlib
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import pytest

from janus_bench import compiled
from tests import arrows

KERNEL = """
from janus_bench.compiled import njit
from made_up.parts import (
    Pair,  # a class of its own
    twice,
)
from made_up import constants as c

@njit(nogil=True)
def total(pair):
    return twice(pair.a) + pair.b + c.MORE

def answer():
    return total(Pair(1, 2)), sum(total.stats.cache_hits.values())
"""
PARTS = """
from typing import NamedTuple
from janus_bench.compiled import njit

class Pair(NamedTuple):
    a: int
    b: int

@njit()
def twice(x):
    return 2 * x
"""


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[], tuple[int, int]]]:
    """A call computes 2 · 1 + 2 + 1000 in a program that has just been started; what comes back is the sum, and how
    often it was found compiled."""
    folder = tmp_path / "made_up"
    folder.mkdir()
    for name, text in (("__init__", ""), ("kernel", KERNEL), ("parts", PARTS), ("constants", "MORE = 1000\n")):
        (folder / f"{name}.py").write_text(text)
    monkeypatch.setattr(compiled, "ROOT", tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)  # times of files are too coarse for edits of this speed

    def forget() -> None:
        compiled._stamp.cache_clear()
        compiled._source.cache_clear()
        for name in [name for name in sys.modules if name.startswith("made_up")]:
            del sys.modules[name]

    def started() -> tuple[int, int]:
        forget()
        importlib.invalidate_caches()
        module: ModuleType = importlib.import_module("made_up.kernel")
        result: tuple[int, int] = module.answer()
        return result

    yield started
    forget()


def test_a_kernel_is_compiled_once(package):
    assert package() == (1004, 0)
    assert package() == (1004, 1)


@pytest.mark.parametrize(
    ("file", "old", "new", "total"),
    [
        ("constants", "1000", "2000", 2004),
        ("parts", "2 * x", "3 * x", 1005),
        ("parts", "a: int\n    b: int", "b: int\n    a: int", 1005),
        ("kernel", "pair.b +", "pair.b -", -996),
    ],
)
def test_a_change_in_any_file_that_went_into_it_compiles_it_again(package, tmp_path, file, old, new, total):
    assert package() == (1004, 0)
    path = tmp_path / "made_up" / f"{file}.py"
    path.write_text(path.read_text().replace(old, new))
    assert package() == (total, 0)
    assert package() == (total, 1)


def test_a_class_that_has_another_name_now_is_no_error(package, tmp_path):
    assert package() == (1004, 0)
    for name in ("kernel", "parts"):
        path = tmp_path / "made_up" / f"{name}.py"
        path.write_text(path.read_text().replace("Pair", "Couple"))
    assert package() == (1004, 0)


@pytest.mark.parametrize("suffix", ["nbi", "nbc"])
@pytest.mark.parametrize("damage", [b"", b"\x80\x04", b"\x80\x04cmade_up.nothing\nx\n.", bytes(1000)])
def test_a_damaged_file_of_what_was_compiled_is_compiled_again(package, tmp_path, suffix, damage):
    assert package() == (1004, 0)
    (kept,) = (tmp_path / "made_up" / "__pycache__").glob(f"kernel.total*.{suffix}")
    kept.write_bytes(damage)
    assert package() == (1004, 0)
    assert package() == (1004, 1)


def modules_with_kernels() -> list[str]:
    found = arrows.modules()
    return sorted(name for name, path in found.items() if "import njit\n" in path.read_text(encoding="utf-8"))


def imported(module: str, known: dict[str, Path]) -> set[str]:
    """Our modules that one imports when it is loaded, those that they import, and itself, by Python's own parser."""
    found, waiting = set(), [module]
    while waiting:
        name = waiting.pop()
        if name in found or name not in known:
            continue
        found.add(name)
        for node in ast.parse(known[name].read_text(encoding="utf-8")).body:
            if isinstance(node, ast.Import):
                waiting += [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                assert node.level == 0
                waiting += [str(node.module), *(f"{node.module}.{alias.name}" for alias in node.names)]
    return found


@pytest.mark.parametrize("module", modules_with_kernels())
def test_what_goes_into_a_kernel_is_what_its_module_imports(module):
    assert set(compiled.sources_of(module)) == imported(module, arrows.modules())


def test_every_kernel_of_ours_is_compiled_in_this_way():
    assert len(modules_with_kernels()) == 17
    for name, path in arrows.modules().items():
        assert name == "janus_bench.compiled" or "from numba import njit" not in path.read_text(encoding="utf-8"), name
        assert name == "janus_bench.compiled" or "numba.njit(" not in path.read_text(encoding="utf-8"), name
