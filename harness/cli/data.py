"""``janus-bench data``: add, list, info."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from harness import plugins
from harness.cli import console
from harness.cli.progress import PreparationProgress
from harness.errors import UsageError
from harness.sites import added, dataset_folder, open_dataset


def add(name: str, folder: Path) -> None:
    from datasets_registry.ingest import ingest_folder

    if not re.fullmatch(r"[A-Za-z0-9_-]+", name):
        raise UsageError(f"dataset name {name!r}: use letters, digits, _ and -")
    if name in plugins.datasets():
        raise UsageError(f"dataset name {name!r} belongs to a plugin's dataset: choose another")
    try:
        with PreparationProgress() as progress:
            manifest = ingest_folder(folder, dataset_folder(name), name=name, summary=f"captures of {folder.resolve().name}", progress=progress)
    except PermissionError as error:
        raise UsageError(f"cannot write {error.filename}: set JANUS_BENCH_HOME to a folder that can be written") from None
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


def _print(manifest: dict[str, Any]) -> None:
    rows = [(family, str(counts[0]), str(counts[1])) for family, counts in sorted(manifest["families"].items())]
    title = f"{manifest['name']}: {manifest['n_flows']} flows, {manifest['benign']} benign, {manifest['attack']} attack"
    console.table(("family", "flows", "with ≥ 2 packets"), rows, "table", title)
