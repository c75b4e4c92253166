"""One document per dataset: everything that was measured, and what of it a reader has to know."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from datasets_registry.audits.actions import action_for
from datasets_registry.audits.artefacts import artefacts
from datasets_registry.audits.captures import coverage, origins, separable_captures
from datasets_registry.audits.context import context
from datasets_registry.audits.duplicates import duplicates
from datasets_registry.audits.families import families
from datasets_registry.audits.kept import AUDIT_VERSION
from datasets_registry.audits.parts import repeated, shared_tuples, sizes
from datasets_registry.audits.separability import separability
from datasets_registry.audits.unseen import unseen
from datasets_registry.audits.view import ONE_CLASS, AuditView, Finding, Ids, Measured
from datasets_registry.store import FlowStore
from janus_bench.quiet import ignore

SEVERITIES = ("error", "warning", "note")


def audit_store(
    store: FlowStore,
    grouped: Mapping[str, Ids],
    random: Mapping[str, Ids],
    seed: int,
    progress: Callable[[str, float], None] = ignore,
) -> dict[str, Any]:
    """Audit a dataset; the same store, partitions and seed give the same document.

    ``grouped`` and ``random``: part → flow ids, uncapped, of the partition that the protocols use and of a random one
    (``protocols.splits``). The document has ``audit_version``, ``dataset``, ``hash``, ``synthetic``, ``flows``,
    ``benign``, ``attack``, ``seed``, ``headline`` (the warnings in a few words each), ``findings`` (fields of
    ``view.Finding``, and ``action``: what to do), ``measures`` (of ``view.Measured``, with ``status`` in the place of
    ``judged``: the severity of its finding, ``ok``, ``not applicable`` with the ``reason`` in its detail, or
    ``measured`` where there is no threshold) and ``tables`` (of ``view.MeasuredTable``).  DataError if a table is
    damaged.
    """
    view = AuditView.from_store(store)
    checks: dict[str, Callable[[], Any]] = {
        "labels": lambda: coverage(view),
        "sizes of parts": lambda: sizes(view, grouped),
        "shared 5-tuples": lambda: shared_tuples(view, grouped, random),
        "origins": lambda: origins(view, grouped),
        "repeated flows": lambda: repeated(view, store),
        "artefacts": lambda: artefacts(view),
        "separability": lambda: separability(view, grouped, seed),
        "attacks not trained on": lambda: unseen(view, grouped, seed),
        "separable captures": lambda: separable_captures(view, seed),
        "context": lambda: context(view, store, grouped, seed),
        "duplicates": lambda: duplicates(view, grouped, random),
        "families": lambda: families(view),
    }
    answers = []
    for number, (name, check) in enumerate(checks.items()):
        progress(f"auditing {store.name}, {name}", number / len(checks))
        answers.append(check())
    findings = sorted(
        (finding for answer in answers for finding in answer.findings),
        key=lambda finding: SEVERITIES.index(finding.severity),
    )
    return {
        "audit_version": AUDIT_VERSION,
        "dataset": store.name,
        "hash": store.hash,
        "synthetic": store.manifest["synthetic"],
        "flows": len(view),
        "benign": int((~view.attack).sum()),
        "attack": int(view.attack.sum()),
        "seed": seed,
        "headline": [finding.short for finding in findings if finding.severity != "note"],
        "findings": [_plain(asdict(finding)) | {"action": action_for(finding.key)} for finding in findings],
        "measures": [_with_status(measure, findings) for answer in answers for measure in answer.measures],
        "tables": [_plain(asdict(table)) for answer in answers for table in answer.tables],
    }


def _with_status(measure: Measured, findings: Sequence[Finding]) -> dict[str, Any]:
    """A measure as it stands in the document; one without a value says why there is none."""
    row = _plain(asdict(measure))
    found = [finding.severity for finding in findings if finding.key == measure.key]
    if measure.value is None:
        row["detail"] = {"reason": ONE_CLASS if measure.unit == "auroc" else "no such flows"} | row["detail"]
        status = "not applicable"
    else:
        status = found[0] if found else "ok" if measure.judged else "measured"
    del row["judged"]
    return row | {"status": status}


def _plain(value: Any) -> Any:
    """Numbers to six digits: enough to read, few enough to be the same on every machine."""
    if isinstance(value, Mapping):
        return {key: _plain(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(entry) for entry in value]
    return round(value, 6) if isinstance(value, float) else value
