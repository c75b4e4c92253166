"""What the audits of the datasets found, under a leaderboard document: a line for each dataset, and where to read more.
Standard library only."""

from collections.abc import Mapping, Sequence
from typing import Any

from reports.tables.document import AuditFinding, Board
from reports.tables.fields import in_order

LISTED = 3  # So many warnings of a dataset are named, the others counted.
GRAVE = ("error", "warning")
SEVERITIES = (*GRAVE, "note")
MORE = "audits in whole, and what to do about each finding: `janus-bench data audit NAME`"


def with_audits(document: Board, audits: Mapping[str, Mapping[str, Any]]) -> Board:
    """The document with the findings of ``audits`` (dataset → ``datasets_registry.audits.kept.KeptAudit``), those of
    other datasets left out, and with their notes.  The same document where there are none."""
    found = {
        name: [_finding(each) for each in audits[name]["findings"]] for name in document["datasets"] if name in audits
    }
    return {**document, "audits": found, "notes": [*document["notes"], *_notes(found)]} if found else document


def _finding(of: Mapping[str, Any]) -> AuditFinding:
    return {name: of[name] for name in AuditFinding.__annotations__}  # type: ignore[return-value]


def grave(findings: Sequence[AuditFinding]) -> list[AuditFinding]:
    """Those that should be read beside every number on the dataset."""
    return [finding for finding in findings if finding["severity"] in GRAVE]


def _notes(found: Mapping[str, Sequence[AuditFinding]]) -> list[str]:
    warned = {name: in_words(grave(findings)) for name, findings in found.items()}
    lines = [f"audit of {name}: {words}" for name, words in warned.items() if words]
    sound = [name for name, words in warned.items() if not words]
    lines += [f"audit of {', '.join(sound)}: no warnings"] if sound else []
    return [*lines, MORE] if lines else []


def in_words(findings: Sequence[AuditFinding], listed: int = LISTED) -> str:
    """The first of them in short, each once; empty where there are none."""
    kinds = in_order(finding["short"] for finding in findings)
    more = f" and {len(kinds) - listed} more" if len(kinds) > listed else ""
    return f"{'; '.join(kinds[:listed])}{more}"
