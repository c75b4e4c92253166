"""What the detectors of a results folder say of themselves, as far as they are installed here."""

from __future__ import annotations

from typing import TYPE_CHECKING

from janus_bench import plugins
from janus_bench.errors import JanusBenchError

if TYPE_CHECKING:
    from janus_bench.contract import Capabilities
    from reports.results.model import ResultTable


def capabilities_of(table: ResultTable) -> dict[str, Capabilities]:
    """Registered name → capabilities; one that is not installed, or does not load, is left out."""
    found = {}
    for name in dict.fromkeys(row.declared.name for row in table.rows):
        try:
            found[name] = plugins.load_detector(name).capabilities
        except JanusBenchError:
            continue
    return found
