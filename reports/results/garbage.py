"""What lies in a results folder and no plan needs: found, measured, and removed."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from pathlib import Path

from janus_bench.errors import DataError
from janus_bench.files import remove_folder
from janus_bench.held import is_dead
from reports.results.folder import RunStore
from reports.results.verify import ASIDE


@dataclass(frozen=True)
class Garbage:
    """Files and folders of one kind that can go."""

    what: str
    paths: tuple[Path, ...]

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(_size(path) for path in self.paths)


def garbage_of(folder: Path) -> list[Garbage]:
    """In the order in which it is removed: a row goes before its scores, so the folder is valid at every moment.

    DataError where there are no results, a plan or row is damaged, a run is at work, or it cannot be told what plans
    ask for, because there are none or one was set aside and not made anew.
    """
    store = RunStore.open(folder)
    _refuse_while_at_work(folder)
    plans = store.plans()
    lost = {path.name for path in (folder / ASIDE / "plans").glob("*")} - {f"{plan.key}.json" for plan in plans}
    if lost or not plans:
        reason = f"{folder / ASIDE / 'plans' / min(lost)} was set aside" if lost else f"{folder} has no plan"
        raise DataError(f"{reason}, so nobody can tell what is needed: run its command again, which writes it anew")
    asked = {cell.run_key for plan in plans for cell in plan.cells}
    records = {key: record for key, record in store.records().items() if key in asked}
    fits = {record.fit_key for record in records.values()}
    hashes = {entry.hash for plan in plans for entry in plan.datasets.values()}
    hashes |= {str(record.spec["target_hash"]) for record in records.values()}
    of_fits = [
        Garbage("logs", _others(folder / "logs", fits)),
        Garbage("models", _others(folder / "models", fits)),
    ]
    found = [
        Garbage("rows", _others(folder / "results", asked)),
        Garbage("scores", _others(folder / "scores", asked)),
        *(of_fits if records.keys() == asked else ()),  # which fit a run that is missing belongs to, no plan says
        Garbage("truths", _others(folder / "truth", hashes)),
        Garbage("timelines", _others(folder / "timelines", hashes)),
        Garbage("damaged, set aside", tuple(path for path in (folder / ASIDE,) if path.exists())),
    ]
    return [each for each in found if each.paths]


def remove(garbage: Iterable[Garbage]) -> None:
    """OSError where something cannot be removed; what is left is found again."""
    for path in (path for each in garbage for path in each.paths):
        if path.is_dir() and not path.is_symlink():
            remove_folder(path)
        else:
            path.unlink(missing_ok=True)


def _others(folder: Path, needed: Collection[str]) -> tuple[Path, ...]:
    """What is in it under another name than those that are needed; a name ends at its first dot."""
    found = sorted(folder.iterdir()) if folder.is_dir() else []
    return tuple(path for path in found if path.name[0] != "." and path.name.partition(".")[0] not in needed)


def _refuse_while_at_work(folder: Path) -> None:
    for lock in sorted((folder / "locks").glob("*")):
        if not is_dead(lock):
            raise DataError(
                f"{lock} says that a run is at work in {folder}: wait for it, or delete that folder if none is"
            )


def _size(path: Path) -> int:
    files = path.rglob("*") if path.is_dir() else (path,)
    return sum(each.lstat().st_size for each in files if not each.is_dir())
