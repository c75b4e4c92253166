"""Kernels: functions that numba compiles once for a computer, and again when a source of theirs has changed.

numba's own cache looks at the file of the function that it compiled, and unpickles its index before it compares that.
A kernel holds whatever it calls and every constant that it names, also those of other files, and its index names the
classes of its arguments: after an upgrade it would compute what it computed before, or end in an error of pickle.  Here
the stamp of all those sources stands beside numba's version, which is read and compared first.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import numba
from numba.core.caching import IndexDataCacheFile

ROOT = Path(__file__).resolve().parents[1]
_IMPORT = re.compile(r"^from ([\w.]+) import (?:\(([^)]*)\)|([^(\n]+))|^import ([\w.]+)", re.MULTILINE)
"""An import at the beginning of a line: what a function imports by itself is nothing that numba compiles."""


def njit(**options: Any) -> Callable[[Callable[..., Any]], Any]:
    """``numba.njit`` with these options, whose result is kept on disk as long as ``sources_of`` its module stay."""

    def compiled(function: Callable[..., Any]) -> Any:
        kernel = numba.njit(cache=True, **options)(function)
        kept, stamp = getattr(kernel, "_cache", None), _stamp(function.__module__)
        if kept is not None and stamp:  # without, where numba is told not to compile, and outside of our packages
            kept._cache_file = _Index(kept.cache_path, kept._impl.filename_base, stamp)
        return kernel

    return compiled


class _Index(IndexDataCacheFile):  # type: ignore[misc]
    """What is compiled of one function; one that is damaged is no reason to end, but to compile again."""

    def __init__(self, folder: str, name: str, stamp: str) -> None:
        super().__init__(folder, name, stamp)
        self._version = f"{self._version} {stamp}"

    def _load_index(self) -> Mapping[Any, str]:
        try:
            return super()._load_index()
        except Exception:  # noqa: BLE001  pickle fails in many ways
            return {}

    def _load_data(self, name: str) -> Any:
        try:
            return super()._load_data(name)
        except Exception:  # noqa: BLE001  see above
            return None


@cache
def _stamp(module: str) -> str:
    found = sources_of(module)
    digest = hashlib.sha256()
    for name in sorted(found):
        digest.update(f"{name} {len(found[name])}\n".encode() + found[name])
    return digest.hexdigest() if found else ""


def sources_of(module: str) -> dict[str, bytes]:
    """Sources of a module, and of all that it takes from its own package and from this one, by the modules' names;
    none for a module that is not in a file of ours."""
    packages = {module.partition(".")[0], __name__.partition(".")[0]}
    found: dict[str, bytes] = {}
    waiting = [module]
    while waiting:
        name = waiting.pop()
        if name in found or name.partition(".")[0] not in packages or (source := _source(name)) is None:
            continue
        found[name] = source
        for begin, several, one, whole in _IMPORT.findall(source.decode(errors="replace")):
            names = re.sub(r"#.*", "", several or one).split(",")
            waiting += [begin or whole, *(f"{begin}.{each.split()[0]}" for each in names if each.strip())]
    return found


@cache
def _source(module: str) -> bytes | None:
    place = ROOT.joinpath(*module.split("."))
    for file in (place.with_suffix(".py"), place / "__init__.py"):
        if file.is_file():
            return file.read_bytes()
    return None
