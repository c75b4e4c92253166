"""``janus-bench data prepare``: the captures and label files of a published dataset → a dataset to run on."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from datasets_registry.registry import dataset_folder
from harness.cli import audit, completing, console
from harness.cli.data import check_new_name, print_dataset, told_on_failure, written_as
from harness.cli.options import Replace, Stream
from janus_bench.errors import UsageError, unknown
from janus_bench.params import build_params, parse_request

if TYPE_CHECKING:
    from datasets_registry.drivers.driver import Driver

KINDS = (
    "matched",
    "parts",
    "duplicates",
    "ambiguous",
    "unmatched_rows",
    "flows",
    "sampled_out",
    "ambiguous_flows",
    "unmatched_flows",
)
"""What is shown of a label's account, if there is any; what was wrong with lines of the label files has been said."""


def prepare(
    dataset: Annotated[
        str,
        typer.Argument(
            autocompletion=completing.driver,
            help=(
                "A published dataset: cicids2017, cicids2018, cicddos2019, ciciot2023, ctu13, iot23, iscxtor2016, "
                "nf_v2, unsw_nb15; options in brackets."
            ),
        ),
    ],
    captures: Annotated[
        Path | None,
        typer.Option(help="Folder of the published captures; without it a dataset is made of the tables of --labels."),
    ] = None,
    labels: Annotated[
        Path | None, typer.Option(help="Folder of the published label files, where the dataset has any.")
    ] = None,
    time_offset: Annotated[
        float | None,
        typer.Option(
            help="Seconds to subtract from the labels' times where the dataset's own time zone does not hold."
        ),
    ] = None,
    name: Annotated[
        str, typer.Option("--as", help="Name of the dataset that is made; default: that of the published one.")
    ] = "",
    replace: Replace = False,
    stream: Stream = False,
) -> None:
    """Extract, match labels, store and audit one of the published datasets."""
    from datasets_registry.drivers import driver_names, load_driver
    from datasets_registry.drivers.driver import Request, find_captures
    from datasets_registry.ingest import CaptureFile, ingest_captures

    asked, given = parse_request(dataset)
    if asked not in driver_names():
        raise unknown(
            "dataset to prepare",
            asked,
            driver_names(),
            "Captures with a labels.csv are added with: janus-bench data add NAME FOLDER",
        )
    driver = load_driver(asked)
    options = build_params(driver.name, driver.options, given, kind="dataset")
    name = name or driver.name
    check_new_name(name, replace, " with --as")
    if captures is None:
        _prepare_tables(driver, labels, options, name, replace=replace, of_captures=stream or time_offset is not None)
        return
    said: list[str] = []
    warnings: list[str] = []
    try:
        found = find_captures(driver, captures, said.append, warnings.append)
        files = {path: CaptureFile(file, group) for path, (file, group) in found.items()}
        groups = frozenset(capture.group for capture in files.values())
        # Before the captures are read, which may take hours: what is wrong with the labels folder shows here.
        label = driver.labeller(Request(labels, groups, options, time_offset, said.append))
        with written_as(name, replace, " with --as") as (cache, progress):
            manifest = ingest_captures(
                files,
                label,
                dataset_folder(name),
                about=_about(driver, name, options),
                rules=driver.rules,
                provenance=captures,
                cache=cache,
                stream=stream,
                progress=progress,
                warnings=warnings,
            )
    except BaseException:
        said += [f"warning: {line}" for line in warnings]
        raise
    finally:
        for line in said:
            console.say(line)
    _print(manifest)
    audit.audit([name])


def _prepare_tables(
    driver: Driver, folder: Path | None, options: Any, name: str, *, replace: bool, of_captures: bool
) -> None:
    """A dataset without packets, of the published tables alone."""
    from datasets_registry.drivers.driver import Tables, check_folder
    from datasets_registry.tables.ingest import ingest_tables
    from datasets_registry.tables.layouts import layout_of, tables_in

    if not isinstance(driver.tables, Tables):
        why = f": {driver.tables}" if driver.tables else ""
        raise UsageError(
            f"{driver.name}: name the folder of its captures with --captures; its tables are not read{why}"
        )
    if folder is None:
        raise UsageError(
            f"{driver.name}: name the folder of its captures with --captures, or of its tables with --labels"
        )
    if of_captures:
        raise UsageError("--stream and --time-offset are of captures, and there is no --captures")
    check_folder(folder, "labels")
    not_taken: list[str] = []
    tables = tables_in(folder, driver.tables.files(options), console.say, not_taken.append)
    about = _about(driver, name, options) | {"warnings": not_taken}
    classify = driver.tables.labels.classify if driver.tables.labels else None
    with told_on_failure(not_taken), written_as(name, replace, " with --as") as (_, progress):
        manifest = ingest_tables(
            tables,
            dataset_folder(name),
            dataclasses.replace(layout_of(driver.tables.layout), afternoon=driver.tables.afternoon),
            name=name,
            about=about,
            classify=classify,
            provenance=folder,
            progress=progress,
        )
    print_dataset(manifest, dataset_folder(name))


def _about(driver: Driver, name: str, options: Any) -> dict[str, Any]:
    chosen = dataclasses.asdict(options) if options is not None else {}
    defects = [*driver.defects, *driver.defects_of(options)]
    summary = driver.summary + "".join(f", {key} {value}" for key, value in chosen.items())
    return {
        "name": name,
        "synthetic": False,
        "summary": summary,
        "licence": driver.licence,
        "citation": driver.citation,
        "driver": driver.name,
        "task": driver.task,
        "options": chosen,
        **({"known_defects": defects} if defects else {}),
    }


def _print(manifest: Mapping[str, Any]) -> None:
    """The account of every label on standard output: rows of the label files, then flows."""
    labels = manifest["labels"]
    there = {kind for counts in labels.values() for kind, count in counts.items() if count}
    kinds = [kind for kind in KINDS if kind in there]
    rows = [(label, *(str(counts.get(kind, 0)) for kind in kinds)) for label, counts in sorted(labels.items())]
    title = f"{manifest['name']}: {manifest['n_flows']} flows, {manifest['benign']} benign, {manifest['attack']} attack"
    console.table(("label", *(kind.replace("_", " ") for kind in kinds)), rows, "table", title)
    if manifest["unmatched_flows"]:
        console.say(
            f"{manifest['unmatched_flows']} flows have no label and were dropped (an unmatched flow is not benign)"
        )
    for defect in manifest.get("known_defects", ()):
        console.say(f"known: {defect}")
    for warning in manifest["warnings"]:
        console.say(f"warning: {warning}")
