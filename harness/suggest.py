"""Errors that help: the unknown name, the nearest one, and what there is."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

from harness.errors import UsageError


def unknown(kind: str, name: str, available: Iterable[str], hint: str = "") -> UsageError:
    """``unknown detector 'januss': did you mean 'janus'?  Available: …`` as a UsageError, to be raised by the caller."""
    names = sorted(available)
    near = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    suggestion = f" Did you mean {near[0]!r}?" if near else ""
    listed = ", ".join(names) or "none"
    return UsageError(f"unknown {kind} {name!r}.{suggestion} Available: {listed}.{f' {hint}' if hint else ''}")
