"""A detector in a file of its own, ``./mine.py`` or ``./mine.py:MyDetector``: an author needs no package to begin.

The file is loaded by itself, under a name that nothing else has; the folder that it lies in is not searched for
modules, so that its own content is all that a stored result depends on.
"""

from __future__ import annotations

import hashlib
import inspect
import re
import sys
import traceback
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

from janus_bench.errors import UsageError, unknown
from janus_bench.files import why

_ASKED_FOR = re.compile(r"(?P<file>.+\.py)(?::(?P<name>\w+))?")


def is_file(request: str) -> bool:
    """Whether a detector is asked for by its file and not by its name."""
    return _ASKED_FOR.fullmatch(request) is not None


def path_of(request: str) -> Path:
    """The file that is asked for, whatever class of it."""
    asked = _ASKED_FOR.fullmatch(request)
    assert asked is not None
    return Path(asked["file"])


def load(request: str) -> tuple[str, type, str, str]:
    """Name of the rows (the class where the request names it, else the file's stem), the class, the request with the
    file's whole path, and 12 hex digits of the SHA-256 of its content.

    UsageError, in a line, for a file that cannot be read or run, or that does not hold one detector.
    """
    asked = _ASKED_FOR.fullmatch(request)
    assert asked is not None
    path = Path(asked["file"]).absolute()
    try:
        content = path.read_bytes()
    except OSError as error:
        raise UsageError(f"{asked['file']}: {why(error)}") from None
    digest = hashlib.sha256(content).hexdigest()[:12]
    cls = _chosen(asked["file"], asked["name"], _run(asked["file"], path, content, digest))
    return asked["name"] or path.stem, cls, f"{path}:{asked['name']}" if asked["name"] else str(path), digest


def _run(shown: str, path: Path, content: bytes, digest: str) -> ModuleType:
    """The module that the content makes; the same content is the same module."""
    name = f"janus_bench_file_{digest}_{path.stem}"
    if name in sys.modules:
        return sys.modules[name]
    module = ModuleType(name)
    module.__file__ = str(path)
    sys.modules[name] = module  # dataclasses look their module up there
    try:
        exec(compile(content, path, "exec"), vars(module))
    except (Exception, SystemExit) as error:  # noqa: BLE001  whatever the author's file raises is one line
        del sys.modules[name]
        beside = _beside(error, path)
        raise UsageError(f"{shown}{_line(error, path)}: {type(error).__name__}: {_first_line(error)}{beside}") from None
    return module


def _beside(error: BaseException, path: Path) -> str:
    """What to do about an import of something that lies in the same folder."""
    name = (error.name or "").partition(".")[0] if isinstance(error, ModuleNotFoundError) else ""
    if not name or not any((path.parent / there).exists() for there in (name, f"{name}.py")):
        return ""
    return (
        f"; {path.name} is loaded by itself, without its folder: install {name}, or move what it has into {path.name}"
    )


def _line(error: BaseException, path: Path) -> str:
    """Where in the file it happened."""
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(path)]
    if isinstance(error, SyntaxError) and error.filename == str(path):
        lines.append(error.lineno or 1)
    return f", line {lines[-1]}" if lines else ""


def _first_line(error: BaseException) -> str:
    return error.msg if isinstance(error, SyntaxError) else next(iter(str(error).strip().splitlines()), "")


def _chosen(shown: str, name: str | None, module: ModuleType) -> type:
    """The class that is asked for, or the only one that is a detector."""
    found = detectors_in(vars(module), module.__name__)
    if name is not None:
        if name not in found:
            raise unknown(f"detector in {shown}", name, found)
        return found[name]
    if not found:
        raise UsageError(f"{shown} holds no detector: it needs a class with `capabilities`, fit() and score()")
    if len(found) > 1:
        raise UsageError(
            f"{shown} holds {len(found)} detectors: choose {' or '.join(f'{shown}:{one}' for one in found)}, or begin "
            "the name of a class that is only a base with _"
        )
    return next(iter(found.values()))


def detectors_in(names: Mapping[str, Any], module: str) -> dict[str, type]:
    """Public classes that the module defines itself and that declare capabilities; where none does, those that score,
    so that its author is told what they lack."""
    own = {
        name: value
        for name, value in names.items()
        if inspect.isclass(value) and value.__module__ == module and not name.startswith("_")
    }
    declared = {name: value for name, value in own.items() if hasattr(value, "capabilities")}
    return declared or {name: value for name, value in own.items() if callable(getattr(value, "score", None))}
