"""A folder of results.  Append-only: an attempt is a new file, written beside its place and renamed, so every file is
whole at every moment.

plans/<key>.json              what was asked for (PlanRecord)
results/<run>.<attempt>.json  one row per attempted run (RunRecord); the highest attempt counts
scores/<run>.parquet          flow_id, target, role, one float64 column per score
truth/<data hash>.parquet     flow_id, attack, family, source, n_packets of a dataset's test flows: joined by the
                              parent, never seen by a child
timelines/<data hash>.parquet flow_id, host, peer, start, end, judged of all its flows: what incidents are counted from;
                              seen by no child either
index.npz                     rows once more, for readers in a hurry (reports.results.index)
models/<fit>/                 a model that was fitted (janus_bench.models)
logs/<fit>.log                the child's standard error
locks/<fit>/                  there and locked while a run is at that fit
"""

from __future__ import annotations

import errno
import json
import os
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import asdict, replace
from datetime import UTC, datetime
from functools import cached_property
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

from janus_bench.errors import DataError, JanusBenchError, UsageError
from janus_bench.files import PART, remove_left_behind, why, write_atomically
from janus_bench.held import remove_if_dead
from janus_bench.models import ModelAbout, write_model
from janus_bench.records import (
    CELL,
    READABLE_VERSIONS,
    ExpectedCell,
    PlanRecord,
    Recorded,
    RunRecord,
    RunSpec,
    StoredPartition,
    canonical_json,
    declared,
    key_of,
)
from janus_bench.stored import Unreadable, mismatch, read_json, read_table, regular, table_bytes
from reports.results.columns import RowsMaker
from reports.results.index import RowFiles, RowIndex, attempt_of, is_due, row_files, write_index

if TYPE_CHECKING:
    import polars as pl

SCORES = {"flow_id": "Int64", "target": "String", "role": "String"}
TRUTH = {"flow_id": "Int64", "attack": "Boolean", "family": "String", "source": "String", "n_packets": "Int64"}
"""Columns that these tables have, and their types; scores follow in columns of their own, and a truth of schema version
2 has site and group."""

TIMELINE = {
    "flow_id": "Int64",
    "host": "Int64",
    "peer": "Int64",
    "start": "Float64",
    "end": "Float64",
    "judged": "Float64",
}

FOLDERS = ("plans", "results", "scores", "truth", "timelines", "models", "logs")


class WriteFailed(JanusBenchError):
    """A result could not be written: the disk is full or the folder went away.  What was written before is whole."""


class RunStore:
    """Reader and writer of one results folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @classmethod
    def open(cls, folder: Path) -> RunStore:
        """An existing results folder, for reading.  DataError if there is none."""
        if not (folder / "results").is_dir():
            raise DataError(
                f"no results in {folder}: start with `janus-bench run --detectors iforest,knn --runs {folder}`, or "
                "name another folder with --runs"
            )
        return cls(folder)

    @classmethod
    def create(cls, folder: Path) -> RunStore:
        """The folder, made if need be and proved writable; what killed processes left in it goes.  UsageError if it is
        not writable."""
        try:
            for name in FOLDERS:
                (folder / name).mkdir(parents=True, exist_ok=True)
                with tempfile.TemporaryFile(dir=folder / name):
                    pass
            for inner in (folder, *folder.iterdir()):
                remove_left_behind(inner)
            for left in (*(folder / "locks").glob("*"), *(folder / "models").glob(f".*{PART}")):
                remove_if_dead(left)
        except OSError as error:
            raise UsageError(
                f"results folder {folder} cannot be written ({why(error)}): choose another with --runs"
            ) from None
        return cls(folder)

    def append(self, record: RunRecord) -> RunRecord:
        """Write a row as the next attempt of its run."""
        for attempt in count(1 + self._attempts.get(record.key, 0)):
            record = replace(record, attempt=attempt)
            if self._write(self._row(f"{record.key}.{attempt}.json"), _json(asdict(record)), exclusive=True):
                break
        self._attempts[record.key] = attempt
        return record

    def write_plan(self, plan: PlanRecord) -> PlanRecord:
        """Store a plan as the one that was asked for last; the same request is the same file, so asking again renews
        ``made``."""
        plan = replace(plan, made=datetime.now(UTC).isoformat(timespec="microseconds"))
        self._write(self.folder / "plans" / f"{plan.key}.json", _json(plan.to_json()))
        return plan

    def write_scores(self, run_key: str, table: pl.DataFrame) -> None:
        """Columns: see ``janus_bench.records.ROLES``."""
        self._write_parquet(self.folder / "scores" / f"{run_key}.parquet", table)

    def write_truth(self, data_hash: str, table: pl.DataFrame) -> None:
        """What the parent knows of a dataset's flows; written once."""
        path = self.folder / "truth" / f"{data_hash}.parquet"
        if not path.exists():
            self._write_parquet(path, table)

    def write_timeline(self, data_hash: str, make: Callable[[], pl.DataFrame]) -> None:
        """When a dataset's flows were there, and their hosts; made and written once."""
        path = self.folder / "timelines" / f"{data_hash}.parquet"
        if not path.exists():
            self._write_parquet(path, make())

    def write_model(self, fit_key: str, saved: Path, about: ModelAbout) -> None:
        """Keep what a detector saved as a model (``janus_bench.models``): whole or not there.

        DataError, and nothing kept, where there is anything but files and folders or it cannot be read.  A model that
        is there already stays: it may be in use, or be another run's of this moment.
        """
        place = self.model_folder(fit_key)
        try:
            write_model(place, saved, about)
        except OSError as error:
            if error.errno == errno.ENAMETOOLONG:  # of the model's own names, not for want of room
                raise DataError(f"the names in it are too long for {place}") from None
            raise WriteFailed(f"cannot write {place}: {why(error)}. Make room and run the same command again") from None

    def write_log(self, fit_key: str, log: bytes) -> None:
        """Keep a child's standard error."""
        self._write(self.folder / "logs" / f"{fit_key}.log", log)

    def log(self, fit_key: str) -> str:
        """What a child wrote to its standard error; DataError if nothing was kept."""
        path = self.folder / "logs" / f"{fit_key}.log"
        try:
            regular(path)
            return path.read_text(encoding="utf-8", errors="replace")
        except Unreadable as error:
            raise DataError(f"{path}: {error}: this fit left no log") from None
        except OSError as error:
            raise DataError(f"{path}: {why(error)}: this fit left no log") from None

    def records(self) -> dict[str, Recorded]:
        """The latest attempt of every run."""
        index, files = RowIndex.read(self.folder), self._row_files()
        rows = index.rows(files)
        of_all = list(zip(files.keys, files.names.tolist(), rows.tolist(), strict=True))

        def record(key: str, name: bytes, row: int) -> Recorded:
            return read_record(self._row(os.fsdecode(name))) if row < 0 else index.columns.record(key, row)

        if not is_due(int((rows < 0).sum()), len(rows)):
            return {key: record(key, name, row) for key, name, row in of_all}
        maker = RowsMaker()
        for key, name, row in of_all:
            maker.add(record(key, name, row))
        columns = maker.columns()
        with suppress(OSError):  # it only saves time
            write_index(self.folder, columns, files)
        return {key: columns.record(key, row) for row, key in enumerate(files.keys)}

    def records_of(self, runs: Iterable[str]) -> dict[str, RunRecord]:
        """The latest attempt of those of these runs that have one: not every file is looked at."""
        found = {}
        for key in runs:
            attempt = self._attempts.get(key, 0)
            while self._row(f"{key}.{attempt + 1}.json").exists():
                attempt += 1
            if attempt:
                self._attempts[key] = attempt
                found[key] = read_record(self._row(f"{key}.{attempt}.json"))
        return found

    def _row_files(self) -> RowFiles:
        return row_files(_listed(self.folder / "results"))

    @cached_property
    def _attempts(self) -> dict[str, int]:
        """Run → its last attempt that is known of; others may have written more since."""
        files = self._row_files()
        return {
            key: attempt_of(os.fsdecode(name))[1] for key, name in zip(files.keys, files.names.tolist(), strict=True)
        }

    def _row(self, name: str) -> Path:
        return self.folder / "results" / name

    def plans(self) -> list[PlanRecord]:
        """Every plan, in the order of their keys; ``reports.results.model`` knows which was asked for last."""
        return [read_plan(Path(path)) for path in sorted(entry.path for entry in _listed(self.folder / "plans"))]

    def scores(self, run_key: str) -> pl.DataFrame:
        """Finite scores of at least one flow; DataError, which says what to do, where they are not there or damaged."""
        path = self.folder / "scores" / f"{run_key}.parquet"
        what_to_do = f"delete it and results/{run_key}.*.json"
        found = _table(path, SCORES, what_to_do)
        values = found.drop(*SCORES)
        if (
            not found.height
            or not values.width
            or not all(dtype.is_float() for dtype in values.dtypes)
            or not all(map(_finite, values))
        ):
            raise DataError(f"{path} is damaged (it does not hold finite scores): {what_to_do}, and run again")
        return found

    def truth(self, data_hash: str) -> pl.DataFrame:
        """DataError, which says what to do, where it is not there or damaged."""
        return _table(self.folder / "truth" / f"{data_hash}.parquet", TRUTH, "delete it if it is there")

    def timeline(self, data_hash: str) -> pl.DataFrame | None:
        """None where it was not stored; DataError, which says what to do, where it is damaged."""
        path = self.folder / "timelines" / f"{data_hash}.parquet"
        return _table(path, TIMELINE, "delete it") if path.exists() else None

    def model_folder(self, fit_key: str) -> Path:
        return self.folder / "models" / fit_key

    def lock_folder(self, fit_key: str) -> Path:
        return self.folder / "locks" / fit_key

    def _write(self, path: Path, data: bytes, *, exclusive: bool = False) -> bool:
        """``janus_bench.files.write_atomically``; WriteFailed where it cannot."""
        try:
            return write_atomically(path, data, exclusive)
        except OSError as error:
            raise WriteFailed(
                f"cannot write {path}: {why(error)}; what was finished before is kept. Make room and run the "
                "same command again"
            ) from None

    def _write_parquet(self, path: Path, table: pl.DataFrame) -> None:
        self._write(path, table_bytes(table))


def _json(value: Mapping[str, Any]) -> bytes:
    return (json.dumps(value, indent=1, allow_nan=False) + "\n").encode()


def _finite(values: pl.Series) -> bool:
    return bool(values.is_finite().all())


def _listed(folder: Path) -> Iterator[os.DirEntry[str]]:
    """The JSON files in it.  DataError for a folder that may not be looked into, which a glob would take for an empty
    one."""
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                if entry.name.endswith(".json") and not entry.name.startswith("."):
                    yield entry
    except FileNotFoundError:
        return
    except OSError as error:
        raise DataError(
            f"{folder} cannot be read ({why(error)}): mend that, or name another folder with --runs"
        ) from None


def _read(path: Path, kind: type, compact: Callable[[dict[str, Any]], Any] | None = None) -> dict[str, Any]:
    """The fields of a ``kind``; ``compact``: see ``janus_bench.stored.read_json``."""
    try:
        fields = read_json(path, compact=compact)
        version = fields.get("schema_version") if isinstance(fields, dict) else None
        if not isinstance(version, int) or version in READABLE_VERSIONS:
            if wrong := mismatch(fields, kind):
                raise Unreadable(wrong)
            return dict(fields)
    except Unreadable as error:
        raise _damaged(path, str(error)) from None
    raise DataError(
        f"{path} has schema version {version}, this janus-bench reads {' and '.join(map(str, READABLE_VERSIONS))}: "
        "it was written by another version of janus-bench; use that one, or another folder with --runs"
    )


def read_record(path: Path) -> RunRecord:
    """A row's file; DataError, which says what to do, where it is damaged."""
    fields = _read(path, RunRecord)
    if wrong := mismatch(fields["spec"], RunSpec, "spec") or mismatch(
        fields.get("partition", {}), StoredPartition, "partition"
    ):
        raise _damaged(path, wrong)
    key, partition = _spelled(path, lambda: key_of(declared(fields["spec"]))), fields.get("partition", {})
    if (fields["key"], fields["attempt"]) != attempt_of(path.name) or key != fields["key"]:
        raise _damaged(path, "its key is not that of its name and declaration")
    if partition and "kind" not in partition:
        raise _damaged(path, "partition.kind is missing")
    _spelled(path, lambda: canonical_json(partition))
    return RunRecord(**fields)


def _spelled(path: Path, spell: Callable[[], str]) -> str:
    """What is made of a part of a file that may hold anything."""
    try:
        return spell()
    except RecursionError:
        raise _damaged(path, "it is nested too deep") from None
    except ValueError:
        raise _damaged(path, "a number in it is no number") from None


def read_plan(path: Path) -> PlanRecord:
    """A plan's file; DataError, which says what to do, where it is damaged."""
    plan = PlanRecord.from_json(_read(path, PlanRecord, _cell))
    if _spelled(path, lambda: plan.key) != path.stem:
        raise _damaged(path, "what it holds is not what its name is made of")
    for what, there, known in (
        ("detector", {cell.label for cell in plan.cells}, plan.detectors),
        ("dataset", {cell.target for cell in plan.cells}, plan.datasets),
    ):
        if unknown := there - known.keys():
            raise _damaged(path, f"its cells name {what} {min(unknown)!r}, which it does not declare")
    return plan


def _cell(found: dict[str, Any]) -> Any:
    """What is a cell of a plan, as one; a plan may have a hundred thousand."""
    return found if found.keys() != _CELL or mismatch(found, ExpectedCell) else ExpectedCell.from_json(found)


_CELL = frozenset(CELL)


def _damaged(path: Path, what: str) -> DataError:
    return DataError(f"{path} is damaged ({what}): delete it and run again")


def _table(path: Path, types: Mapping[str, str], what_to_do: str) -> pl.DataFrame:
    """A stored table with columns of these types, none of them with a missing value."""
    try:
        found = read_table(path)
        for name, expected in types.items():
            if name not in found.columns or str(found[name].dtype) != expected:
                raise Unreadable(
                    f"column {name} holds {found[name].dtype if name in found.columns else 'nothing'}, "
                    f"expected {expected}"
                )
        if any(found.null_count().row(0)):
            raise Unreadable("values are missing")
    except Unreadable as error:
        what = f"is damaged ({error})" if path.exists() else "is missing"
        raise DataError(f"{path} {what}: {what_to_do}, and run again") from None
    return found
