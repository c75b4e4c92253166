"""The check of one parameter that ``janus-plus`` makes by itself; all others are limits on annotations (``janus_bench.params``)."""

from __future__ import annotations

from janus_bench.errors import UsageError

__all__ = ["require_integer"]


def require_integer(detector: str, name: str, value: object) -> None:
    """UsageError unless ``value`` is a whole number ≥ 1."""
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise UsageError(f"{detector}: {name} must be an integer ≥ 1, not {value!r}")
