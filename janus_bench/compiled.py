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
_FROM = re.compile(r"\nfrom ([\w.]+) import (?:\(([^)]*)\)|([^(\n]+))")
_IMPORT = re.compile(r"\nimport ([\w.]+)")
"""Imports at the beginning of a line: what a function imports by itself is nothing that numba compiles."""


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
    return hashlib.sha256(repr(sorted(found.items())).encode()).hexdigest() if found else ""


def sources_of(module: str) -> dict[str, str]:
    """A module, and all that it takes from its own package and from this one: names of modules → SHA-256 of their
    sources; none for a module that is not in a file of ours."""
    packages = {module.partition(".")[0], __name__.partition(".")[0]}
    found: dict[str, str] = {}
    waiting = [module]
    while waiting:
        name = waiting.pop()
        if name not in found and name.partition(".")[0] in packages and (source := _source(name)) is not None:
            found[name], imported = source
            waiting += imported
    return found


@cache
def _source(module: str) -> tuple[str, list[str]] | None:
    """Digest of a module's source, and what it imports: modules, and names of which some are modules."""
    place = ROOT.joinpath(*module.split("."))
    for file in (place.with_suffix(".py"), place / "__init__.py"):
        if file.is_file():
            source = file.read_bytes()
            text = "\n" + source.decode(errors="replace")
            imported = _IMPORT.findall(text)
            for begin, several, one in _FROM.findall(text):
                names = re.sub(r"#.*", "", several or one).split(",")
                imported += [begin, *(f"{begin}.{each.split()[0]}" for each in names if each.strip())]
            return hashlib.sha256(source).hexdigest(), imported
    return None
