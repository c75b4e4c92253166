"""Every number of the methods paragraph, by the name of the LaTeX command that prints it: the text itself has none, so
that none is typed, and authors can use them in their own sentences."""

from collections.abc import Iterable, Mapping, Sequence

from janus_bench.records import DatasetEntry
from protocols.splits import CAPS, FIRST_DAY, SHARES
from reports.results.model import ResultTable
from reports.tables.document import Board, BoardPartition
from reports.tables.fields import NONE, whole
from reports.tables.verdict import ALPHA

PREFIX = "jb"
HOUR = 3600
PARTS = {
    "Train": "train",
    "Val": "val",
    "CalA": "cal_a",
    "CalB": "cal_b",
    "TestBenign": "test_benign",
    "TestAttack": "test_attack",
}
"""How a part is called in the names of commands, which have letters only."""


def numbers_of(document: Board, table: ResultTable) -> dict[str, str]:
    """Name of the command (without its backslash) → what it prints; a number that does not exist is a dash."""
    rows, entries = document["rows"], list(table.datasets.values())
    found = {
        "Detectors": whole(len({row["name"] for row in rows})),
        "Rows": whole(len(rows)),
        "Datasets": whole(len(document["datasets"])),
        "Cells": whole(document["n_expected_cells"]),
        "Seeds": whole(len(document["seeds"])),
        "SeedList": ", ".join(map(str, document["seeds"])),
        "Runs": whole(sum(sum(row["status_counts"].values()) for row in rows)),
        "RunsOk": whole(sum(row["status_counts"].get("ok", 0) for row in rows)),
        "ControlRuns": whole(sum(sum(row["control_status_counts"].values()) for row in rows)),
        "ControlRunsOk": whole(sum(row["control_status_counts"].get("ok", 0) for row in rows)),
        "Sites": whole(document["sites"]["n_sites"] if "sites" in document else 0),
        "Resamples": whole(document["statistics"]["resamples"] if document["statistics"] else None),
        "Confidence": f"{100 * (1 - ALPHA):g}",
        "Alpha": f"{100 * ALPHA:g}",
        **{kind.title(): _sum(entries, kind) for kind in ("flows", "benign", "attack")},
        **_shares(document["split"]),
        **_caps(table),
        **_sizes(document),
        **_fits(table),
    }
    return {f"{PREFIX}{name}": text for name, text in found.items()}


def _sum(entries: Sequence[DatasetEntry], kind: str) -> str:
    counts = [getattr(entry, kind) for entry in entries]
    return NONE if None in counts else whole(sum(counts))


def _shares(split: str) -> dict[str, str]:
    shares: Mapping[str, float] = FIRST_DAY if split == "drift" else SHARES
    named = {"train": "Train", "val": "Val", "cal_a": "CalA", "cal_b": "CalB", "test": "Test"}
    return {f"Share{word}": f"{100 * shares[part]:g}" for part, word in named.items() if part in shares}


def _caps(table: ResultTable) -> dict[str, str]:
    """The most flows that a part may hold; ``no limit`` where nothing bounds it, a range where runs differ."""
    names = {run.record.spec["caps"] for run in table.runs if run.record is not None} & CAPS.keys()
    found = {}
    for word, part in PARTS.items():
        limits = {getattr(CAPS[name], part, None) for name in names} or {None}
        known = [limit for limit in limits if limit is not None]
        found[f"Cap{word}"] = " or ".join(
            [*(whole(limit) for limit in sorted(known)), *(["no limit"] * (None in limits))]
        )
    return found


def _sizes(document: Board) -> dict[str, str]:
    """The fewest and the most flows of a part, of any dataset under any seed."""
    partitions = [part for info in document["datasets_info"].values() for part in info["partitions"].values()]
    found = {}
    for word, part in PARTS.items():
        sizes = _of_part(partitions, part)
        found[f"{word}Fewest"], found[f"{word}Most"] = whole(min(sizes, default=None)), whole(max(sizes, default=None))
    return found


def _of_part(partitions: Iterable[BoardPartition], part: str) -> list[int]:
    return [size for partition in partitions if (size := partition.get("sizes", {}).get(part)) is not None]


def _fits(table: ResultTable) -> dict[str, str]:
    """How many fits, and for how long they trained."""
    seconds = {
        run.ok.fit_key: value
        for run in table.runs
        if run.ok is not None and (value := run.ok.cost.get("fit_s")) is not None
    }
    total = sum(seconds.values())
    spent = f"{total / HOUR:.1f} hours" if total >= HOUR else f"{total / 60:.1f} minutes"
    return {"Fits": whole(len(seconds)), "FitTime": spent}


def numbers_text(numbers: Mapping[str, str]) -> str:
    """The file that defines the commands."""
    lines = [rf"\newcommand{{\{name}}}{{{text.replace(NONE, '--')}}}" for name, text in numbers.items()]
    return "\n".join(["% The numbers of this run, as `janus-bench leaderboard --format json` has them.", *lines, ""])
