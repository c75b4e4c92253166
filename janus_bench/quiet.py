"""The callback of someone who does not listen."""

from __future__ import annotations


def ignore(*_: object) -> None:
    """Takes whatever it is told, a fraction done or a line of text, and does nothing."""
