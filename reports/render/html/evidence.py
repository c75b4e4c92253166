"""What the page is made from, collected by ``reports.render.html.collect``.  Standard library only.  A number that does not exist is None."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from reports.published.table import PublishedTable
from reports.tables.document import Board
from reports.tables.evidence import CellEvidence

__all__ = ["Environment", "FamilySize", "ReportData", "RunRow"]

Audit = Mapping[str, Any]
"""An audit of a dataset: ``findings`` [{severity, text}], ``measures`` [{what, unit, value, detail}] (``datasets_registry.audits.audit_store``), and
``tables`` [{title, columns, rows}]; each may be absent."""


@dataclass(frozen=True)
class FamilySize:
    """Flows of a family in the whole dataset, and the captures that they come from."""

    flows: int
    captures: int


@dataclass(frozen=True)
class RunRow:
    """One attempted run, or an expected one that is missing (``key`` names it all the same)."""

    key: str
    detector: str
    version: str
    regime: str
    source: str
    target: str
    seed: int
    status: str
    reason: str
    attempt: int | None
    finished: str
    device: str
    aggregator: str
    cost: Mapping[str, float | None]


@dataclass(frozen=True)
class Environment:
    """Versions and machine, as the rows recorded them, and how many rows did."""

    values: Mapping[str, str]
    runs: int


@dataclass(frozen=True)
class ReportData:
    """Everything on the page.

    documents     metric → leaderboard document (``reports.tables.leaderboard``), all of the same plans; the first is shown first
    summaries     metric → what it is, one line
    cells         in any order; cells without an ok run are absent (their status is in the documents)
    families      dataset → family → size
    hashes        dataset → hash of its data
    plans         keys of the plans, oldest first
    published     ``reports.published.table.published_table``: the literature, never ranked
    """

    documents: Mapping[str, Board]
    summaries: Mapping[str, str]
    cells: tuple[CellEvidence, ...]
    families: Mapping[str, Mapping[str, FamilySize]]
    hashes: Mapping[str, str]
    plans: tuple[str, ...]
    runs: tuple[RunRow, ...]
    environments: tuple[Environment, ...]
    audits: Mapping[str, Audit]
    published: PublishedTable

    @property
    def first(self) -> Board:
        """The document that is shown first."""
        return next(iter(self.documents.values()))
