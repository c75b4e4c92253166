"""Captures that nobody has labelled, as a dataset that a detector can be fitted on: every flow of them is taken for
benign."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import polars as pl

from datasets_registry.capture.rules import FlowRules
from datasets_registry.context import first_answers
from datasets_registry.extraction import CaptureFile
from datasets_registry.folders import files_below, say_left
from datasets_registry.ingest import SUFFIXES, ingest_captures
from datasets_registry.labelling.assignment import Assignment
from datasets_registry.registry import OpenDataset
from datasets_registry.store import FlowStore
from janus_bench.errors import DataError
from janus_bench.held import temporary
from janus_bench.records import NOT_STATED

FEW_FLOWS = 1000
SCAN_TRIES, SCAN_UNANSWERED = 50, 0.9
"""A host that tried so many services of other hosts, with no answer from this share of them, is told of."""


def captures_of(paths: Sequence[Path], say: Callable[[str], None]) -> dict[str, Path]:
    """Name → capture, of files and of what lies in folders; DataError where there is none."""
    found: dict[str, Path] = {}
    for path in paths:
        if path.is_dir():
            below = files_below(path)
            chosen = {name: file for name, file in below.files.items() if name.lower().endswith(SUFFIXES)}
            for line in say_left({n: w for n, w in below.left.items() if n.lower().endswith(SUFFIXES)}, "a capture"):
                say(f"{path}: {line}")
            if not chosen:
                raise DataError(f"{path}: no capture in it; they end with {', '.join(SUFFIXES[::3])}, packed or not")
            found |= {f"{path.name}/{name}" if len(paths) > 1 else name: file for name, file in chosen.items()}
        elif path.exists() and not path.is_file():
            raise DataError(f"{path}: no regular file; `janus-bench score MODEL -` reads a capture that arrives")
        elif path.exists():
            found[path.name if path.name not in found else str(path)] = path
        else:
            raise DataError(f"{path}: no such file or folder")
    return dict(sorted(found.items()))


@contextmanager
def benign_dataset(
    captures: Mapping[str, Path], rules: FlowRules, jobs: int, progress: Callable[[str, float], None]
) -> Iterator[OpenDataset]:
    """The flows of ``captures``, all of them benign, as a dataset that is gone afterwards."""
    with temporary("janus-bench-captures") as folder:
        destination = folder / "store"
        ingest_captures(
            {name: CaptureFile(path, "") for name, path in captures.items()},
            lambda _group, flows: _all_benign(flows),
            destination,
            about={"name": "captures", "synthetic": False, "summary": "", "licence": NOT_STATED},
            rules=rules,
            cache=None,
            jobs=jobs,
            progress=progress,
        )
        yield OpenDataset(FlowStore.open(destination))


def _all_benign(flows: pl.DataFrame) -> Assignment:
    table = flows.select(
        "file",
        attack=pl.lit(False),
        label=pl.lit("benign"),
        family=pl.lit("benign"),
        source=pl.col("file"),
        row=pl.lit(-1, pl.Int64),
        site=pl.lit(""),
    )
    return Assignment(np.arange(flows.height), table, {})


def worries(dataset: OpenDataset) -> list[str]:
    """What to think about before a model of these flows is believed."""
    store, lines = dataset.store, list(dataset.store.manifest["warnings"])
    if store.n_flows < FEW_FLOWS:
        lines.append(f"{store.n_flows} flows are few: a day of a network has many thousands")
    files = store.labels(["file"])["file"]
    if files.n_unique() == 1:
        lines.append("one capture alone: what is usual may be another on another day; fit on captures of several")
    flows = store.flows(["src_ip", "dst_ip", "dst_port", "proto", "ts_start"])
    answered = np.isfinite(first_answers(store, flows["ts_start"].to_numpy()))
    scans = (
        flows.with_columns(answered=pl.Series(answered))
        .group_by("src_ip")
        .agg(tries=pl.struct("dst_ip", "dst_port", "proto").n_unique(), unanswered=1 - pl.col("answered").mean())
        .filter((pl.col("tries") >= SCAN_TRIES) & (pl.col("unanswered") >= SCAN_UNANSWERED))
        .sort("tries", descending=True)
    )
    for host, tries, unanswered in scans.head(3).iter_rows():
        lines.append(
            f"{host} tried {tries} services, {unanswered:.0%} of its flows unanswered: a scan? What is fitted on is "
            "taken for benign: leave out the capture if it is one"
        )
    return lines
