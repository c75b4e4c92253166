"""Audits that were made, kept in the home by the hash of what they are of: one takes seconds to minutes, and every
table is to carry it."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Literal, TypedDict

from janus_bench.files import write_atomically
from janus_bench.records import SCHEMA_VERSION
from janus_bench.stored import Unreadable, read_json

AUDIT_VERSION = 5  # Of an audit's document: changes when a number or a threshold does.


class KeptFinding(TypedDict):
    """Of an audit, the fields that tables show."""

    key: str
    severity: Literal["note", "warning", "error"]
    text: str
    short: str
    action: str


class KeptAudit(TypedDict):
    """Of an audit, the entries that are relied on; there are others."""

    audit_version: int
    schema_version: int
    hash: str
    findings: Sequence[KeptFinding]
    measures: Sequence[Mapping[str, object]]


def keep_audit(home: Path, audit: Mapping[str, Any]) -> None:
    """Keep a document of ``audit_store``.  Where that is impossible it is made again next time."""
    path = _path(home, audit["hash"])
    with suppress(OSError):
        path.parent.mkdir(exist_ok=True)
        write_atomically(path, json.dumps({**audit, "schema_version": SCHEMA_VERSION}, allow_nan=False))


def kept_audit(home: Path, data_hash: str) -> KeptAudit | None:
    """The audit of the flows with this hash; None where there is none, or one by other rules."""
    if not re.fullmatch(r"[\w-]+", data_hash):  # it came out of a file, and becomes the name of another
        return None
    try:
        found: KeptAudit = read_json(_path(home, data_hash), KeptAudit)
    except Unreadable:
        return None
    rules = found["audit_version"], found["schema_version"], found["hash"]
    return found if rules == (AUDIT_VERSION, SCHEMA_VERSION, data_hash) else None


def _path(home: Path, data_hash: str) -> Path:
    return home / "audits" / f"{data_hash}.json"
