"""Checks of parameter values that the detectors share: each raises one line that names detector, parameter and what is allowed."""

from __future__ import annotations

import math
from collections.abc import Iterable

from janus_bench.errors import UsageError

__all__ = ["require", "require_choice", "require_integer", "require_positive"]


def require(holds: bool, detector: str, name: str, expected: str, value: object) -> None:
    """UsageError ``DETECTOR: NAME must be EXPECTED, not VALUE`` unless ``holds``."""
    if not holds:
        raise UsageError(f"{detector}: {name} must be {expected}, not {value!r}")


def require_choice(detector: str, name: str, value: object, allowed: Iterable[str]) -> None:
    """One of ``allowed``."""
    options = tuple(allowed)
    require(value in options, detector, name, " or ".join(options), value)


def require_integer(detector: str, name: str, value: object, least: int = 1) -> None:
    """A whole number ≥ ``least``."""
    require(isinstance(value, int) and not isinstance(value, bool) and value >= least, detector, name, f"an integer ≥ {least}", value)


def require_positive(detector: str, name: str, value: object) -> None:
    """A finite number > 0."""
    number = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value) and value > 0
    require(number, detector, name, "a positive number", value)
