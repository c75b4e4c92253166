"""``janus-bench data audit`` and ``janus-bench data verify``."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from harness.cli import completing, console
from harness.cli.options import DatasetName, ListFormat
from harness.cli.progress import PreparationProgress
from janus_bench import plugins
from janus_bench.errors import DataError, unknown
from janus_bench.quiet import ignore

if TYPE_CHECKING:
    from datasets_registry.audits.kept import KeptAudit
    from datasets_registry.audits.shared import SharedFlows
    from datasets_registry.store import FlowStore
    from protocols.splits import Partition
    from reports.results.model import ResultTable

SEED = 42  # The first of the seeds that ``run`` uses: its partition is the one that is audited.

Report = Callable[[str, float], None]


def audit(
    names: Annotated[
        list[str],
        typer.Argument(autocompletion=completing.dataset, help="See `janus-bench data list`."),
    ],
    output: ListFormat = "table",
    page: Annotated[
        Path | None, typer.Option("-o", "--output", help="A self-contained HTML page to write instead of the table.")
    ] = None,
    fail_on: Annotated[
        Literal["never", "error", "warning"],
        typer.Option(help="Exit code 3 if there is a finding of this severity or a graver one."),
    ] = "never",
) -> None:
    """What besides attacks tells a dataset's attack flows from its benign ones, and what to do about it.  Of several
    datasets also how far their benign flows lie from each other."""
    from datasets_registry.audits.kept import keep_audit
    from datasets_registry.registry import home, open_dataset

    if page is not None:
        console.check_place(page)
    with PreparationProgress() as progress:
        stores = [open_dataset(name, progress) for name in dict.fromkeys(names)]
        found = [document(store, progress) for store in stores]
        apart = distances(stores, progress) if len(stores) > 1 else None
    for one in found:
        keep_audit(home(), one)
    if output == "json":
        whole = {"audits": found, "distances": apart} if apart else found[0]
        console.out(json.dumps(whole, indent=1, ensure_ascii=False, allow_nan=False), as_json=True)
    if page is not None:
        from reports.render.html.audit import render_audits

        html = render_audits(found, apart).encode(errors="replace")
        console.save(page, html, " (opens in any browser, nothing is loaded from a network)")
    elif output == "table":
        for one in found:
            _print(console.cleaned(one))
        if apart:
            _print_distances(console.cleaned(apart))
    grave = {"never": (), "error": ("error",), "warning": ("error", "warning")}[fail_on]
    bad = {one["dataset"]: sum(finding["severity"] in grave for finding in one["findings"]) for one in found}
    for name, number in bad.items():
        if number:
            console.say(f"janus-bench: {name}: {number} finding(s) of severity {fail_on} or graver")
    together = apart["shared"] if apart and fail_on == "warning" else []
    for each in together:
        console.say(f"janus-bench: {each['text']}")
    if any(bad.values()) or together:
        raise typer.Exit(3)


def document(store: FlowStore, progress: Report = ignore) -> dict[str, Any]:
    """The audit of a dataset (``datasets_registry.audits.audit_store``) and, as ``partition``, the grouped partition
    that it used."""
    from datasets_registry.audits.audit import audit_store

    if sets := store.manifest.get("feature_sets"):
        raise DataError(
            f"{store.name}: not audited: the audit measures packets, and this is a table without them, with "
            f"{' and '.join(sets)}"
        )
    grouped, random = _partitions(store, "grouped", "random")
    return audit_store(store, grouped.parts, random.parts, SEED, progress) | {"partition": grouped.describe()}


def distances(stores: Sequence[FlowStore], progress: Report = ignore) -> dict[str, Any]:
    """How far the benign flows of datasets with packets lie from each other
    (``datasets_registry.audits.channels``), and flows that two of them share (``shared``)."""
    from datasets_registry.audits.channels import BenignFlows, distances
    from datasets_registry.audits.shared import shared_flows
    from datasets_registry.audits.view import AuditView

    networks = {}
    for place, store in enumerate(stores):
        progress(f"auditing {store.name}, distance from the others", place / len(stores))
        (grouped,) = _partitions(store, "grouped")
        networks[store.name] = BenignFlows.of(AuditView.from_store(store), grouped.parts, SEED)
    shared = shared_flows({store.name: store for store in stores})
    return {**distances(networks), "shared": [{**each, "text": _in_both(each)} for each in shared]}


def _in_both(found: SharedFlows) -> str:
    return (
        f"{found['flows']:,} flows ({found['share']:.1%} of the smaller) stand in {found['one']} and in "
        f"{found['other']}: what is trained on in one is tested in the other; leave one of them out of `cross`"
    )


def _partitions(store: FlowStore, *splits: Literal["grouped", "random"]) -> list[Partition]:
    from protocols.flow_index import FlowIndex
    from protocols.splits import Caps, Draw, draw_partition

    index = FlowIndex.from_tables(store.flows(), store.labels(), store.hash)
    uncapped = Caps(train=store.n_flows, cal_a=None, cal_b=None, test_benign=None, test_attack=None)
    return [draw_partition(index, Draw(SEED, split, "paper"), uncapped) for split in splits]


def kept_audits(table: ResultTable) -> dict[str, KeptAudit]:
    """The audits of a table's datasets that were made before, dataset → audit."""
    from datasets_registry.audits.kept import kept_audit
    from datasets_registry.registry import home

    found = {name: kept_audit(home(), entry.hash) for name, entry in table.datasets.items()}
    return {name: audit for name, audit in found.items() if audit is not None}


def all_audits(table: ResultTable, progress: Report = ignore) -> dict[str, Mapping[str, Any]]:
    """Those, and those of the datasets that are still here exactly as they were run, which are made now and kept."""
    from datasets_registry.audits.kept import keep_audit
    from datasets_registry.registry import home

    found: dict[str, Mapping[str, Any]] = {**kept_audits(table)}
    for name, entry in table.datasets.items():
        if name not in found and (store := still_here(name, entry.hash)) is not None:
            try:
                found[name] = document(store, progress)
                keep_audit(home(), found[name])
            except DataError as error:
                console.say(f"note: no audit of {name}: {error}")
    return found


def all_distances(table: ResultTable, progress: Report = ignore) -> dict[str, Any] | None:
    """How far the benign flows lie from each other of those datasets that are still here exactly as they were run; None
    of fewer than two."""
    stores = [store for name, entry in table.datasets.items() if (store := still_here(name, entry.hash)) is not None]
    return distances(stores, progress) if len(stores) > 1 else None


def still_here(name: str, content: str) -> FlowStore | None:
    """The dataset, where it is here with the content that was run; a damaged one is said."""
    from datasets_registry.registry import added, dataset_folder
    from datasets_registry.store import FlowStore, is_current

    if name not in added() or not is_current(dataset_folder(name)):
        return None
    try:
        store = FlowStore.open(dataset_folder(name))
    except DataError as error:
        console.say(f"note: {name} cannot be looked at: {error}")
        return None
    return store if store.hash == content else None


def _print(document: Mapping[str, Any]) -> None:
    kind = "SYNTHETIC, " if document["synthetic"] else ""
    partition = document["partition"]
    title = f"{document['dataset']}: {kind}{document['benign']} benign, {document['attack']} attack flows"
    rows = [
        (row["what"], _value(row["unit"], row["value"]), row["status"], _detail(row["detail"]))
        for row in document["measures"]
    ]
    console.table(("measured", "", "", ""), rows, "table", title)
    for table in document["tables"]:
        cells = [[_cell(unit, value) for unit, value in zip(table["units"], row, strict=True)] for row in table["rows"]]
        console.out("")
        console.table(table["columns"], cells, "table", f"{document['dataset']}: {table['title']}")
    why = f" ({partition['reason']})" if partition["reason"] else ""
    console.out("\n" + console.wrapped(f"partition of seed {document['seed']}: {partition['kind']}{why}") + "\n")
    if not document["findings"]:
        console.out("nothing found beyond the thresholds")
    for finding in document["findings"]:
        console.out(console.wrapped(f"{finding['severity']}: {finding['text']}"))
        console.out(console.wrapped(f"to do: {finding['action']}"))


def _print_distances(found: Mapping[str, Any]) -> None:
    """A row for each pair of networks; a network against itself is the pair's yardstick."""
    names, rows = found["datasets"], []
    for place, one in enumerate(names):
        for at in range(place, len(names)):
            numbers = [(found["values"][name][place][at], found["by"][name][place][at]) for name in found["values"]]
            pair = (one, names[at] if at > place else "itself")
            rows.append((*pair, *("–" if value is None else f"{value:.2f} {by}" for value, by in numbers)))
    title = f"benign against benign, 0 to 1: {found['statistic']}"
    console.out("")
    console.table(("network", "and", *found["values"]), rows, "table", title)
    for each in found["shared"]:
        console.out(console.wrapped(f"warning: {each['text']}"))


def _value(unit: str, value: float | None) -> str:
    return "–" if value is None else {"auroc": f"{value:.3f}", "share": f"{value:.1%}", "count": f"{value:g}"}[unit]


def _cell(unit: str, value: Any) -> str:
    if value is None:
        return "–"
    return {"share": "{:.1%}", "hours": "{:,.2f} h"}.get(unit, "{}").format(value)


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
