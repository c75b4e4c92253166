"""Several results folders made into one.  Nothing is run; what two folders disagree on is refused, never averaged or dropped silently."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from janus_bench.errors import DataError, UsageError
from janus_bench.records import RunRecord
from reports.results.folder import FOLDERS, RunStore
from reports.statistics.sides import check_same_schema

if TYPE_CHECKING:
    import polars as pl

__all__ = ["Merged", "merge"]


@dataclass(frozen=True)
class Merged:
    """What came together: runs kept, runs that several folders had alike, plans; and notes about what now stands side by side."""

    runs: int
    shared: int
    plans: int
    notes: tuple[str, ...]


def merge(folders: Sequence[Path], destination: Path) -> Merged:
    """Write the union of ``folders`` to ``destination``, which appears whole or not at all.

    A run that several folders have counts once: an ok one before any other, then that of the folder named first, with all its attempts.  UsageError
    for fewer than two folders, a destination that is not empty, or plans of another schema version; DataError if two folders have different scores
    for the same run, or different flows under the same data hash.
    """
    if len({folder.resolve() for folder in folders}) < 2:
        raise UsageError("name two or more different results folders to merge")
    if destination.exists() and (not destination.is_dir() or any(destination.iterdir())):
        raise UsageError(f"{destination} is not an empty folder: choose another with -o")
    stores = [RunStore.open(folder) for folder in folders]
    check_same_schema(folders, "merge")
    records = [store.records() for store in stores]
    _check_truth(stores)
    chosen = {key: _choose(key, stores, records) for key in sorted({key for found in records for key in found})}
    plans = _plans(stores)
    try:
        destination.parent.mkdir(parents=True, exist_ok=True)
        staged = Path(tempfile.mkdtemp(prefix=f".{destination.name}.", suffix=".part", dir=destination.parent))
    except OSError as error:
        raise UsageError(f"{destination} cannot be written ({error.strerror}): choose another with -o") from None
    try:
        staged.chmod(0o755)
        for name in FOLDERS:
            (staged / name).mkdir()
        for name, source in plans.items():
            shutil.copy2(source, staged / "plans" / name)
        for store in stores:
            for path in (store.folder / "truth").glob("*.parquet"):
                shutil.copy2(path, staged / "truth" / path.name)
        for key, place in chosen.items():
            _copy_run(stores[place].folder, staged, records[place][key])
        if destination.exists():
            destination.rmdir()
        staged.replace(destination)
    finally:
        shutil.rmtree(staged, ignore_errors=True)
    shared = sum(sum(key in found for found in records) > 1 for key in chosen)
    kept = [records[place][key] for key, place in chosen.items()]
    return Merged(len(chosen), shared, len(plans), tuple(_notes(kept)))


def _choose(key: str, stores: Sequence[RunStore], records: Sequence[dict[str, RunRecord]]) -> int:
    """Place of the folder whose row counts."""
    there = [place for place, found in enumerate(records) if key in found]
    ok = [place for place in there if records[place][key].status == "ok"]
    for place in ok[1:]:
        if not _equal(stores[ok[0]].scores(key), stores[place].scores(key), ["role", "flow_id"]):
            first, other = records[ok[0]][key], records[place][key]
            run = f"{first.spec['detector']} on {first.spec['target']}, seed {first.spec['seed']}"
            where = f"{stores[ok[0]].folder} ({_made_by(first)}) and {stores[place].folder} ({_made_by(other)})"
            raise DataError(
                f"run {key} ({run}) has different scores in {where}: "
                "delete its row and scores in one of them, or look at both with `janus-bench compare`"
            )
    return (ok or there)[0]


def _made_by(record: RunRecord) -> str:
    found = [record.environment.get(name, "") for name in ("janus-bench", "commit", "processor")]
    return ", ".join(filter(None, found)) or "version not recorded"


def _equal(one: pl.DataFrame, other: pl.DataFrame, keys: list[str]) -> bool:
    return one.columns == other.columns and one.sort(keys).equals(other.sort(keys))


def _check_truth(stores: Sequence[RunStore]) -> None:
    seen: dict[str, RunStore] = {}
    for store in stores:
        for path in sorted((store.folder / "truth").glob("*.parquet")):
            first = seen.setdefault(path.stem, store)
            if first is not store and not _equal(first.truth(path.stem), store.truth(path.stem), ["flow_id"]):
                raise DataError(
                    f"{first.folder} and {store.folder} have different flows under the data hash {path.stem[:12]}: one of them is damaged"
                )


def _plans(stores: Sequence[RunStore]) -> dict[str, Path]:
    """File name → the plan to keep; where several folders have it, the one that was asked for last (a table shows the latest plan)."""
    kept: dict[str, Path] = {}
    for store in stores:
        store.plans()  # refuses what cannot be read
        for path in sorted((store.folder / "plans").glob("*.json")):
            before = kept.get(path.name)
            if before is None or path.stat().st_mtime_ns > before.stat().st_mtime_ns:
                kept[path.name] = path
    return kept


def _copy_run(source: Path, staged: Path, record: RunRecord) -> None:
    for path in (source / "results").glob(f"{record.key}.*.json"):
        shutil.copy2(path, staged / "results" / path.name)
    for name in (f"scores/{record.key}.parquet", f"logs/{record.fit_key}.log"):
        if (source / name).exists() and not (staged / name).exists():
            shutil.copy2(source / name, staged / name)
    model = staged / "models" / record.fit_key
    if (source / "models" / record.fit_key).is_dir() and not model.exists():
        shutil.copytree(source / "models" / record.fit_key, model, copy_function=_link_or_copy)


def _link_or_copy(source: str, target: str) -> None:
    """Models are never changed in place, so one copy on disk is enough where both folders are on one file system."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)


def _notes(records: Sequence[RunRecord]) -> list[str]:
    """What a table made of these rows marks, too."""
    made = sorted({_made_by(record) for record in records})
    notes = [f"rows were made by {len(made)} versions or machines ({'; '.join(made)}): tables say so"] if len(made) > 1 else []
    versions: dict[str, set[str]] = {}
    for record in records:
        versions.setdefault(record.spec["detector"], set()).add(record.spec["version"])
    notes += [f"{name}: runs of versions {', '.join(sorted(found))}" for name, found in sorted(versions.items()) if len(found) > 1]
    return notes
