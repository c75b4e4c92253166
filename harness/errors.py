"""Errors that the user can act on.  Apart from the contract, which re-exports them, so that the command line starts without numpy."""

from __future__ import annotations


class JanusBenchError(Exception):
    """An error that the user can act on: one line saying what, where and what to do.  ``exit_code`` is the command's."""

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
