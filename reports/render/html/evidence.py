"""What the page is made from, collected by ``reports.render.html.collect``.  A number that does not exist is None."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from reports.published.table import PublishedTable
from reports.results.model import ResultTable, Run
from reports.tables.document import Board, DetailRecord
from reports.tables.evidence import CellEvidence
from reports.tables.fields import flags

Audit = Mapping[str, Any]
"""An audit of a dataset: ``findings`` [{severity, text, action}], ``measures`` [{what, unit, value, detail, status}]
and ``tables`` [{title, columns, units, rows}] (``datasets_registry.audits.audit_store``); each, and action and status,
may be absent."""


@dataclass(frozen=True)
class FamilySize:
    """Flows of a family in the whole dataset, and the captures that they come from."""

    flows: int
    captures: int


@dataclass(frozen=True)
class ReportData:
    """Everything on the page.

    documents     metric → leaderboard document of ``table`` (``reports.tables.leaderboard``); the first is shown first
    summaries     metric → what it is, one line
    cells         in any order; cells without an ok run are absent (their status is in the documents)
    families      dataset → family → size
    distances     of the networks' benign traffic (``datasets_registry.audits.channels.distances``); empty where the
                  datasets are not here
    details       table of ``reports.tables.details.TABLES`` → its records, for a section of its own
    published     ``reports.published.table.published_table``: the literature, never ranked
    """

    table: ResultTable
    documents: Mapping[str, Board]
    summaries: Mapping[str, str]
    cells: tuple[CellEvidence, ...]
    families: Mapping[str, Mapping[str, FamilySize]]
    audits: Mapping[str, Audit]
    published: PublishedTable
    details: Mapping[str, Sequence[DetailRecord]] = field(default_factory=dict)
    distances: Mapping[str, Any] = field(default_factory=dict)

    @property
    def first(self) -> Board:
        return next(iter(self.documents.values()))

    @property
    def flags(self) -> str:
        return flags(self.first)

    @cached_property
    def numbers(self) -> dict[str, int]:
        """Label → the number that the filter knows a detector by: its place on the first leaderboard."""
        return {row["detector"]: place for place, row in enumerate(self.first["rows"])}

    @cached_property
    def runs(self) -> list[Run]:
        """Every expected run once, whether it was attempted or not."""
        return list({run.key: run for run in self.table.runs}.values())
