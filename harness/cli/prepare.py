"""``janus-bench data prepare``: the captures and label files of a published dataset → a dataset to run on."""

from __future__ import annotations

import dataclasses
import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from datasets_registry.registry import dataset_folder
from harness.cli import audit, console
from harness.cli.data import extracted_folder
from harness.cli.progress import PreparationProgress
from janus_bench import plugins
from janus_bench.errors import UsageError, unknown
from janus_bench.params import build_params, parse_request

if TYPE_CHECKING:
    from datasets_registry.drivers.driver import Driver

__all__ = ["Request", "execute", "prepare"]

KINDS = ("matched", "parts", "duplicates", "ambiguous", "unmatched_rows", "flows", "sampled_out", "ambiguous_flows", "unmatched_flows")
"""What is shown of a label's account, if there is any; what was wrong with lines of the label files has been said."""


@dataclass(frozen=True)
class Request:
    """What was asked for.

    dataset        driver, with its options in brackets: ``cicids2017[labels=corrected]``
    captures       folder of the published captures; labels: of the published label files, None if there are none
    time_offset_s  seconds to subtract from the label files' times where the driver's own time zone does not hold; None: stop there
    name           of the dataset that is made; "": the driver's
    stream         keep the packet stream too
    """

    dataset: str
    captures: Path
    labels: Path | None = None
    time_offset_s: float | None = None
    name: str = ""
    stream: bool = False


def execute(request: Request) -> None:
    """Prepare the dataset, print what became of every label, and audit it."""
    manifest = prepare(request)
    _print(manifest)
    audit.audit(manifest["name"], "table")


def prepare(request: Request) -> dict[str, Any]:
    """Extract, label and store; returns the manifest."""
    from datasets_registry.drivers import driver_names, load_driver
    from datasets_registry.drivers.driver import Request as LabelRequest
    from datasets_registry.drivers.driver import find_captures
    from datasets_registry.ingest import CaptureFile, ingest_captures

    asked, given = parse_request(request.dataset)
    if asked not in driver_names():
        raise unknown("dataset to prepare", asked, driver_names(), "Captures with a labels.csv are added with: janus-bench data add NAME FOLDER")
    driver = load_driver(asked)
    options = build_params(driver.name, driver.options, given, kind="dataset")
    name = request.name or driver.name
    if not re.fullmatch(r"[A-Za-z0-9_-]+", name):
        raise UsageError(f"dataset name {name!r}: use letters, digits, _ and -")
    if name in plugins.datasets():
        raise UsageError(f"dataset name {name!r} belongs to a plugin's dataset: choose another with --as")
    said: list[str] = []
    try:
        captures = {path: CaptureFile(file, group) for path, (file, group) in find_captures(driver, request.captures).items()}
        groups = frozenset(capture.group for capture in captures.values())
        # Before the captures are read, which may take hours: what is wrong with the labels folder shows here.
        label = driver.labeller(LabelRequest(request.labels, groups, options, request.time_offset_s, said.append))
        with PreparationProgress() as progress:
            manifest = ingest_captures(
                captures,
                label,
                dataset_folder(name),
                about=_about(driver, name, options),
                rules=driver.rules,
                cache=extracted_folder(name),
                stream=request.stream,
                progress=progress,
            )
        shutil.rmtree(extracted_folder(name), ignore_errors=True)  # it stays where this stops before: the captures are not read again
        return manifest
    finally:
        for line in said:
            console.say(line)


def _about(driver: Driver, name: str, options: Any) -> dict[str, Any]:
    chosen = dataclasses.asdict(options) if options is not None else {}
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
        console.say(f"{manifest['unmatched_flows']} flows have no label and were dropped (an unmatched flow is not benign)")
    for warning in manifest["warnings"]:
        console.say(f"warning: {warning}")
