"""Several results folders made into one.  Nothing is run; what two folders disagree on is refused, never averaged or
dropped silently."""

import os
import shutil
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl

from janus_bench.errors import DataError, UsageError
from janus_bench.files import link_or_copy
from janus_bench.held import folder_written_aside, must_be_new
from janus_bench.records import Recorded
from reports.results.folder import FOLDERS
from reports.results.model import Results
from reports.tables.fields import grouped

ROUNDING = 1e-3
"""Scores of one run may differ by so much of themselves and of the distance between their quartiles: sums of
floating-point numbers depend on how many threads and which instructions made them, and training carries that on."""


@dataclass(frozen=True)
class Merged:
    """What came together: runs kept, runs that several folders had alike, plans; and notes about what now stands side
    by side."""

    runs: int
    shared: int
    plans: int
    notes: tuple[str, ...]


def merge(folders: Sequence[Path], destination: Path) -> Merged:
    """Write the union of ``folders`` to ``destination``, which appears whole or not at all.

    A run that several folders have counts once: an ok one before any other, then that of the folder named first, with
    all its attempts.  UsageError for fewer than two folders, a destination that is not empty, or folders of different
    schema versions; DataError if two folders have different scores for the same run, beyond what other threads
    or another processor make of it (``ROUNDING``), or different flows under the same
    data hash.
    """
    if len({os.path.realpath(folder) for folder in folders}) < 2:
        raise UsageError("name two or more different results folders to merge")
    must_be_new(destination)
    parts = [Results.open(folder) for folder in folders]
    _check_versions(parts)
    _check_truth(parts)
    rounded: list[str] = []
    chosen = {key: _choose(key, parts, rounded) for key in sorted({key for part in parts for key in part.records})}
    plans = _plans(parts)
    with folder_written_aside(destination) as staged:
        for name in FOLDERS:
            (staged / name).mkdir()
        of_data = [part.folder / name for part in parts for name in ("truth", "timelines")]
        for source in (*plans, *(path for folder in of_data for path in folder.glob("*.parquet"))):
            shutil.copy2(source, staged / source.parent.name / source.name)
        attempts = {part.folder: _attempts(part.folder) for part in parts}
        for key, part in chosen.items():
            _copy_run(part.folder, staged, part.records[key], attempts[part.folder][key])
    shared = sum(sum(key in part.records for part in parts) > 1 for key in chosen)
    kept = [part.records[key] for key, part in chosen.items()]
    return Merged(len(chosen), shared, len(plans), (*_of_rounding(rounded), *_notes(kept)))


def _check_versions(parts: Sequence[Results]) -> None:
    """Rows of different schema versions were not made under the same rules."""
    seen: dict[int, Results] = {}
    for part in parts:
        for version in {record.schema_version for record in part.records.values()} | {
            plan.schema_version for plan in part.plans
        }:
            seen.setdefault(version, part)
    if len(seen) > 1:
        found = ", ".join(f"{version} (as in {part.folder})" for version, part in sorted(seen.items()))
        raise UsageError(f"cannot merge results of different schema versions: {found}; run the older ones again")


def _choose(key: str, parts: Sequence[Results], rounded: list[str]) -> Results:
    """The folder whose row counts; ``rounded`` takes the run's name where another's scores differ in rounding."""
    there = [part for part in parts if key in part.records]
    ok = [part for part in there if part.records[key].status == "ok"]
    for part in ok[1:]:
        if _same_bytes(*(each.folder / "scores" / f"{key}.parquet" for each in (ok[0], part))):
            continue
        one, same = ok[0].scores(key), part.scores(key)
        if not _equal(one, same, ["role", "flow_id"]):
            first, other = ok[0].records[key], part.records[key]
            run = f"{first.spec['detector']} on {first.spec['target']}, seed {first.spec['seed']}"
            if _nearly(one, same):
                rounded.append(run)
                continue
            where = f"{ok[0].folder} ({_made_by(first)}) and {part.folder} ({_made_by(other)})"
            raise DataError(
                f"run {key} ({run}) has different scores in {where}: "
                "delete its row and scores in one of them, or look at both with `janus-bench compare`"
            )
    return (ok or there)[0]


def _same_bytes(one: Path, other: Path) -> bool:
    try:
        return one.read_bytes() == other.read_bytes()
    except OSError:  # which the reader of scores says better
        return False


def _made_by(record: Recorded) -> str:
    found = [record.environment.get(name, "") for name in ("janus-bench", "commit", "processor")]
    return ", ".join(filter(None, found)) or "version not recorded"


def _nearly(one: pl.DataFrame, other: pl.DataFrame) -> bool:
    """Are they scores of the same flows in the same roles that differ in rounding at most?"""
    keys = ["role", "flow_id", "target"]
    one, other = one.sort(keys), other.sort(keys)
    if one.columns != other.columns or not one.select(keys).equals(other.select(keys)):
        return False
    first, second = (table.select(pl.exclude(keys)).to_numpy() for table in (one, other))  # (n, columns)
    low, high = np.quantile(first, [0.25, 0.75], axis=0)
    return bool((np.abs(first - second) <= ROUNDING * (np.abs(first) + high - low)).all())


def _of_rounding(runs: Sequence[str]) -> list[str]:
    more = f" and {len(runs) - 1} more" if len(runs) > 1 else ""
    differ = "scores that differ in rounding, as other threads or another processor make them: the first folder's stay"
    return [f"{runs[0]}{more}: {differ}"] if runs else []


def _equal(one: pl.DataFrame, other: pl.DataFrame, keys: list[str]) -> bool:
    return one.columns == other.columns and one.sort(keys).equals(other.sort(keys))


def _check_truth(parts: Sequence[Results]) -> None:
    """Truths and timelines are whole: one that is damaged would take the place of another folder's."""
    seen: dict[str, Results] = {}
    for part in parts:
        for path in sorted((part.folder / "timelines").glob("*.parquet")):
            part.timeline(path.stem)
        for path in sorted((part.folder / "truth").glob("*.parquet")):
            truth, first = part.truth(path.stem), seen.setdefault(path.stem, part)
            if first is not part and not _equal(first.truth(path.stem), truth, ["flow_id"]):
                raise DataError(
                    f"{first.folder} and {part.folder} have different flows under the data hash "
                    f"{path.stem[:12]}: one of them is damaged"
                )


def _plans(parts: Sequence[Results]) -> Collection[Path]:
    """The plans to keep; where several folders have one, the one that was asked for last (a table shows the latest
    plan)."""
    latest = sorted((plan.made, f"{plan.key}.json", place) for place, part in enumerate(parts) for plan in part.plans)
    return {name: parts[place].folder / "plans" / name for _, name, place in latest}.values()


def _attempts(folder: Path) -> dict[str, list[str]]:
    """Run → names of its rows' files.  The folder is looked through once: it may hold many thousands."""
    names = (path.name for path in (folder / "results").glob("*.json"))
    return grouped((name.partition(".")[0], name) for name in names)


def _copy_run(source: Path, staged: Path, record: Recorded, rows: Sequence[str]) -> None:
    for name in rows:
        link_or_copy(source / "results" / name, staged / "results" / name)
    for name in (f"scores/{record.key}.parquet", f"logs/{record.fit_key}.log"):
        if not (staged / name).exists() and (source / name).exists():
            link_or_copy(source / name, staged / name)
    model = staged / "models" / record.fit_key
    if not model.exists() and (source / "models" / record.fit_key).is_dir():
        shutil.copytree(source / "models" / record.fit_key, model, copy_function=link_or_copy)


def _notes(records: Sequence[Recorded]) -> list[str]:
    """What a table made of these rows marks, too."""
    made = sorted({_made_by(record) for record in records})
    notes = (
        [f"rows were made by {len(made)} versions or machines ({'; '.join(made)}): tables say so"]
        if len(made) > 1
        else []
    )
    versions = grouped((record.spec["detector"], record.spec["version"]) for record in records)
    notes += [
        f"{name}: runs of versions {', '.join(sorted(set(found)))}"
        for name, found in sorted(versions.items())
        if len(set(found)) > 1
    ]
    return notes
