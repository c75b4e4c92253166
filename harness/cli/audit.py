"""``janus-bench data audit`` and ``janus-bench data verify``."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from harness.cli import console
from harness.cli.options import DatasetName, ListFormat
from harness.cli.progress import PreparationProgress
from janus_bench import plugins
from janus_bench.errors import DataError, unknown
from janus_bench.quiet import ignore

if TYPE_CHECKING:
    from datasets_registry.audits.kept import KeptAudit
    from datasets_registry.store import FlowStore
    from reports.results.model import ResultTable

SEED = 42  # The first of the seeds that ``run`` uses: its partition is the one that is audited.

Report = Callable[[str, float], None]


def audit(
    name: DatasetName,
    output: ListFormat = "table",
    fail_on: Annotated[
        Literal["never", "error", "warning"],
        typer.Option(help="Exit code 3 if there is a finding of this severity or a graver one."),
    ] = "never",
) -> None:
    """What besides attacks tells a dataset's attack flows from its benign flows, with warnings in plain language and
    what to do."""
    from datasets_registry.audits.kept import keep_audit
    from datasets_registry.registry import home, open_dataset

    with PreparationProgress() as progress:
        found = document(open_dataset(name, progress), progress)
    keep_audit(home(), found)
    if output == "json":
        console.out(json.dumps(found, indent=1, ensure_ascii=False, allow_nan=False), as_json=True)
    else:
        _print(console.cleaned(found))
    grave = {"never": (), "error": ("error",), "warning": ("error", "warning")}[fail_on]
    if count := sum(finding["severity"] in grave for finding in found["findings"]):
        console.say(f"janus-bench: {name}: {count} finding(s) of severity {fail_on} or graver")
        raise typer.Exit(3)


def document(store: FlowStore, progress: Report = ignore) -> dict[str, Any]:
    """The audit of a dataset (``datasets_registry.audits.audit_store``) and, as ``partition``, the grouped partition
    that it used."""
    from datasets_registry.audits import audit_store
    from protocols.flow_index import FlowIndex
    from protocols.splits import Caps, Draw, draw_partition

    if sets := store.manifest.get("feature_sets"):
        raise DataError(
            f"{store.name}: not audited: the audit measures packets, and this is a table without them, with "
            f"{' and '.join(sets)}"
        )
    index = FlowIndex.from_tables(store.flows(), store.labels(), store.hash)
    uncapped = Caps(train=store.n_flows, cal_a=None, cal_b=None, test_benign=None, test_attack=None)
    grouped, random = (draw_partition(index, Draw(SEED, split, "paper"), uncapped) for split in ("grouped", "random"))
    return audit_store(store, grouped.parts, random.parts, SEED, progress) | {"partition": grouped.describe()}


def kept_audits(table: ResultTable) -> dict[str, KeptAudit]:
    """The audits of a table's datasets that were made before, dataset → audit."""
    from datasets_registry.audits.kept import kept_audit
    from datasets_registry.registry import home

    found = {name: kept_audit(home(), entry.hash) for name, entry in table.datasets.items()}
    return {name: audit for name, audit in found.items() if audit is not None}


def all_audits(table: ResultTable, progress: Report = ignore) -> dict[str, Mapping[str, Any]]:
    """Those, and those of the datasets that are still here exactly as they were run, which are made now and kept."""
    from datasets_registry.audits.kept import keep_audit
    from datasets_registry.registry import added, dataset_folder, home
    from datasets_registry.store import FlowStore, is_current

    found: dict[str, Mapping[str, Any]] = {**kept_audits(table)}
    for name, entry in table.datasets.items():
        if name not in found and name in added() and is_current(dataset_folder(name)):
            try:
                store = FlowStore.open(dataset_folder(name))
                if store.hash == entry.hash:
                    found[name] = document(store, progress)
                    keep_audit(home(), found[name])
            except DataError as error:
                console.say(f"note: no audit of {name}: {error}")
    return found


def _print(document: Mapping[str, Any]) -> None:
    kind = "SYNTHETIC, " if document["synthetic"] else ""
    partition = document["partition"]
    title = f"{document['dataset']}: {kind}{document['benign']} benign, {document['attack']} attack flows"
    rows = [(row["what"], _value(row["unit"], row["value"]), _detail(row["detail"])) for row in document["measures"]]
    console.table(("measured", "", ""), rows, "table", title)
    why = f" ({partition['reason']})" if partition["reason"] else ""
    console.out("\n" + console.wrapped(f"partition of seed {document['seed']}: {partition['kind']}{why}") + "\n")
    if not document["findings"]:
        console.out("nothing found beyond the thresholds")
    for finding in document["findings"]:
        console.out(console.wrapped(f"{finding['severity']}: {finding['text']}"))
        console.out(console.wrapped(f"to do: {finding['action']}"))


def _value(unit: str, value: float | None) -> str:
    return "–" if value is None else {"auroc": f"{value:.3f}", "share": f"{value:.1%}", "count": f"{value:g}"}[unit]


def _detail(detail: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {_number(value)}" for name, value in detail.items())


def _number(value: object) -> str:
    return "–" if value is None else f"{value:.1%}" if isinstance(value, float) else str(value)


def verify(name: DatasetName, output: ListFormat = "table") -> None:
    """Check a dataset's files against their checksums, and their contents against each other.  Exit code 3 if one is
    damaged."""
    from datasets_registry.registry import dataset_folder, home
    from datasets_registry.verify import verify_store

    there = sorted(
        path.name for path in (home() / "datasets").glob("*") if path.is_dir() and not path.name.startswith(".")
    )
    if name not in there:
        hint = (
            "It is made when first used."
            if name in plugins.datasets()
            else f"Add one with: janus-bench data add {name} FOLDER"
        )
        raise unknown("dataset", name, there, hint)
    with PreparationProgress() as progress:
        report = verify_store(dataset_folder(name), progress)
    if output == "json":
        console.out(
            json.dumps(
                {"dataset": name, "checks": [check.as_row() for check in report.checks], "notes": list(report.notes)},
                indent=1,
            )
        )
        return
    console.table(
        ("file", "checked", ""),
        [(check.file, check.what, check.extent) for check in report.checks],
        "table",
        f"{name}: whole",
    )
    for note in report.notes:
        console.say(f"note: {note}")
