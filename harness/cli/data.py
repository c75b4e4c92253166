"""``janus-bench data``: add, list, info."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from harness import plugins
from harness.cli import console
from harness.cli.progress import PreparationProgress
from harness.errors import UsageError
from harness.sites import added, dataset_folder, home, open_dataset


def add(
    name: str, folder: Path, idle_timeout: float, active_timeout: float | None, tcp_close: Literal["idle", "cicflowmeter"], remove_mirrored: bool
) -> None:
    from datasets_registry.flows.rules import FlowRules
    from datasets_registry.ingest import ingest_folder

    rules = FlowRules(idle_timeout, active_timeout, tcp_close, remove_mirrored)

    if not re.fullmatch(r"[A-Za-z0-9_-]+", name):
        raise UsageError(f"dataset name {name!r}: use letters, digits, _ and -")
    if name in plugins.datasets():
        raise UsageError(f"dataset name {name!r} belongs to a plugin's dataset: choose another")
    try:
        with PreparationProgress() as progress:
            summary = f"captures of {folder.resolve().name}"
            manifest = ingest_folder(folder, dataset_folder(name), name=name, summary=summary, rules=rules, progress=progress)
    except OSError as error:
        raise UsageError(f"{error.filename}: {error.strerror}; JANUS_BENCH_HOME names the folder that datasets are written to ({home()})") from None
    _print(manifest)


def show_list(output: str) -> None:
    rows = []
    for name in added():
        manifest = json.loads((dataset_folder(name) / "manifest.json").read_text())
        kind = "synthetic" if manifest["synthetic"] else "captures"
        rows.append((name, kind, str(manifest["n_flows"]), str(manifest["benign"]), str(manifest["attack"]), manifest["summary"]))
    for name, dataset in plugins.datasets().items():
        if name not in added():
            rows.append((name, "synthetic" if dataset.synthetic else "captures", "–", "–", "–", f"{dataset.summary} (made when first used)"))
    console.table(("dataset", "kind", "flows", "benign", "attack", "summary"), rows, output)
    for broken in plugins.broken_plugins():
        console.say(f"janus-bench: plugin {broken.name} ({broken.origin}) is left out: {broken.error}")


def show_info(name: str, output: str) -> None:
    with PreparationProgress() as progress:
        manifest = open_dataset(name, progress).manifest
    if output == "json":
        console.out(json.dumps(manifest, indent=1))
    else:
        _print(manifest)


def _print(manifest: Mapping[str, Any]) -> None:
    """Families on standard output; what was dropped, not matched or odd on standard error."""
    rows = [(family, str(counts[0]), str(counts[1])) for family, counts in sorted(manifest["families"].items())]
    kind = "SYNTHETIC, " if manifest["synthetic"] else ""
    title = f"{manifest['name']}: {kind}{manifest['n_flows']} flows, {manifest['benign']} benign, {manifest['attack']} attack"
    console.table(("family", "flows", "with ≥ 2 packets"), rows, "table", title)
    packets = manifest["packets"]
    console.say(
        f"packets: {packets['read']} read, {packets['used']} used; dropped: {_counts(packets['dropped'])}; noted: {_counts(packets['noted'])}"
    )
    for label, match in sorted(manifest["labels"].items()):
        console.say(f"label {label!r}: {match['matched']} rows matched, {match['unmatched_rows']} not, {match['ambiguous']} ambiguous")
    if manifest["unmatched_flows"]:
        console.say(f"{manifest['unmatched_flows']} flows have no label and were dropped (an unmatched flow is not benign)")
    for name, file in manifest["files"].items():
        if file["dropped"]:
            console.say(f"{name}: {file['used']} of {file['packets']} packets used; dropped: {_counts(file['dropped'])}")
    for warning in manifest["warnings"]:
        console.say(f"warning: {warning}")


def _counts(reasons: Mapping[str, int]) -> str:
    return ", ".join(f"{number} {reason}" for reason, number in sorted(reasons.items())) or "none"
