"""What a plugin can add besides detectors: datasets, protocols, metrics, renderers, and run callbacks.  A leaf module.

A plugin is a module registered under the entry-point group ``janus_bench``; it implements any of the hooks of
``HookSpecs`` with ``@hookimpl``.  Detectors are separate: one entry point each in the group ``janus_bench.detectors``,
so that they can be listed unimported.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import pluggy

if TYPE_CHECKING:
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

PROJECT = "janus_bench"
hookspec = pluggy.HookspecMarker(PROJECT)
hookimpl = pluggy.HookimplMarker(PROJECT)


@dataclass(frozen=True)
class Dataset:
    """A dataset that can make its own captures: ``write(folder)`` leaves captures and a ``labels.csv`` there, and the
    ordinary extraction takes over.  ``version`` changes when the captures change."""

    name: str
    summary: str
    write: Callable[[Path], None]
    synthetic: bool
    version: str
    licence: str = "not stated"


BEST_FIXED = "best-fixed"
"""In place of an aggregator: the best single score column of each cell, chosen with the labels of the test; an upper
bound, marked as one."""


@dataclass(frozen=True)
class Variant:
    """One setting of a protocol.  Each has rows of its own on the leaderboard, named ``detector · variant``.

    train_size, contamination  see ``protocols.splits.Draw``
    attacks_left               see ``protocols.roles.Surroundings``
    caps                       caps of a published protocol in place of the profile's
    params                     parameters that override everyone's, the user's too
    aggregator                 makes this row's scalar in place of the detector's own (rows with the same parameters
                               share their runs), or ``BEST_FIXED``
    group                      rows that belong together in a table
    """

    name: str = ""
    train_size: int | None = None
    contamination: float | None = None
    attacks_left: float = 0.0
    caps: str | None = None
    params: Mapping[str, Any] = field(default_factory=dict)
    aggregator: str | None = None
    group: str = ""


@dataclass(frozen=True)
class ProtocolSpec:
    """Which source is scored on which target.

    cells      dataset names → ordered (source, target) pairs
    regimes    ``transfer``: fit on the source; ``control``: beside it, fit on the target's calibration flows alone;
               ``pooled``: fit on both, as rows of its own
    minimum    datasets needed
    variants   settings to compare; one without a name by default
    detectors  what ``run`` takes where no detector is asked for
    split      how the benign flows are divided, in place of the user's choice (``time``); empty: the user's
    reference  of a study: the name of the variant that its others are compared with;  ``beside``: the one whose matrix
               stands beside that one's
    table      which table ``leaderboard`` and ``run`` show: a name of ``reports.tables.details.TABLES``; empty: the
               leaderboard with its matrices
    """

    name: str
    summary: str
    cells: Callable[[Sequence[str]], Sequence[tuple[str, str]]]
    regimes: tuple[Literal["transfer", "control", "pooled"], ...] = ("transfer", "control")
    calibration: Literal["target_benign", "source_benign", "none"] = "target_benign"
    minimum: int = 1
    variants: tuple[Variant, ...] = (Variant(),)
    detectors: tuple[str, ...] = ()
    split: str = ""
    table: str = ""
    reference: str = ""
    beside: str = ""


@dataclass(frozen=True)
class TestScores:
    """The evidence of one cell: the target's test flows, and benign calibration flows that neither detector nor
    aggregator saw.

    score   (n,) float64, higher = more anomalous
    attack  (n,) bool
    family  (n,) str
    cal_b   (m,) float64: scores of calibration flows B, for thresholds
    """

    __test__ = False  # not a pytest class

    score: NDArray[np.float64]
    attack: NDArray[np.bool_]
    family: NDArray[np.str_]
    cal_b: NDArray[np.float64]


@dataclass(frozen=True)
class Metric:
    """A number per cell.  ``compute`` returns None where the number does not exist.

    benign_in_site  fewest benign test flows that a site needs to count in the view ``@site``
    """

    name: str
    summary: str
    compute: Callable[[TestScores], float | None]
    higher_is_better: bool = True
    benign_in_site: int = 50


@dataclass(frozen=True)
class Renderer:
    """Turns the leaderboard document (its keys: ``reports.tables.document.Board``) into text, whole or in pieces that
    are written as they are made; ``width`` in columns, ``color`` allows ANSI codes; ``binary``: it returns bytes, which
    are only written to a file; ``records``: every number that there is, in lines for programs, whatever columns are to
    be shown."""

    name: str
    summary: str
    render: Callable[[Mapping[str, Any], int, bool], str | bytes | Iterator[str]]
    binary: bool = False
    records: bool = False


class HookSpecs:
    """The hooks; names of methods are names of functions in a plugin module."""

    @hookspec
    def janus_bench_datasets(self) -> Iterable[Dataset]:
        """Datasets that this plugin can write."""
        return ()

    @hookspec
    def janus_bench_protocols(self) -> Iterable[ProtocolSpec]:
        """Protocols that this plugin declares."""
        return ()

    @hookspec
    def janus_bench_metrics(self) -> Iterable[Metric]:
        """Metrics that this plugin can compute."""
        return ()

    @hookspec
    def janus_bench_renderers(self) -> Iterable[Renderer]:
        """Leaderboard formats that this plugin can write."""
        return ()

    @hookspec
    def janus_bench_run_started(self, run: Mapping[str, Any]) -> None:
        """A fit starts; ``run`` is its declaration.  Exceptions are reported as one line and change nothing."""

    @hookspec
    def janus_bench_run_finished(self, record: Mapping[str, Any]) -> None:
        """A row was written; ``record`` is the row."""
