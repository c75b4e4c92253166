"""Errors that the user can act on.  Apart from the contract, which re-exports them, so that the command line starts
without numpy."""

import difflib
from collections.abc import Iterable


class JanusBenchError(Exception):
    """An error that the user can act on: one line saying what, where and what to do.  ``exit_code`` is the
    command's."""

    exit_code = 1


class UsageError(JanusBenchError):
    """The command or a parameter is wrong."""

    exit_code = 2


class DataError(JanusBenchError):
    """Data are missing or damaged."""

    exit_code = 3


class PluginError(JanusBenchError):
    """A plugin could not be loaded or breaks the contract."""

    exit_code = 4


class UndeclaredInput(PluginError):
    """A detector asked for an input that its ``Capabilities.inputs`` does not name."""


class InvalidScores(PluginError):
    """A detector returned scores of the wrong shape, type or names, or scores that are not finite."""


FEW = 12


def likely(name: str, available: Iterable[str]) -> str | None:
    """Which of ``available`` somebody who wrote ``name`` most likely meant; None where none is like it."""
    folded = {known.casefold(): known for known in sorted(available, reverse=True)}
    near = difflib.get_close_matches(name.casefold(), folded, n=1, cutoff=0.5)
    return folded[near[0]] if near else None


def unknown(kind: str, name: str, available: Iterable[str], hint: str = "") -> UsageError:
    """``unknown detector 'januss'.  Did you mean 'janus'?`` as a UsageError, to be raised by the caller; all that are
    available are named where they are few, or none is like it."""
    names = sorted(available)
    near = likely(name, names)
    suggestion = f" Did you mean {near!r}?" if near else ""
    listed = "" if near and len(names) > FEW else f" Available: {', '.join(names) or 'none'}."
    return UsageError(f"unknown {kind} {name!r}.{suggestion}{listed}{f' {hint}' if hint else ''}")
