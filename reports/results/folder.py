"""A folder of results.  Append-only: an attempt is a new file, written beside its place and renamed, so every file is
whole at every moment.

plans/<key>.json              what was asked for (PlanRecord)
results/<run>.<attempt>.json  one row per attempted run (RunRecord); the highest attempt counts
scores/<run>.parquet          flow_id, target, role, one float64 column per score
truth/<data hash>.parquet     flow_id, attack, family, source, n_packets of a dataset's test flows: joined by the
                              parent, never seen by a child
models/<fit>/                 what a detector saved
logs/<fit>.log                the child's standard error
"""

from __future__ import annotations

import io
import json
import os
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import asdict, replace
from datetime import UTC, datetime
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

from janus_bench.errors import DataError, JanusBenchError, UsageError
from janus_bench.files import write_atomically
from janus_bench.records import READABLE_VERSIONS, PlanRecord, RunRecord

if TYPE_CHECKING:
    import polars as pl

FOLDERS = ("plans", "results", "scores", "truth", "models", "logs")


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
                f"no results in {folder}: start with `janus-bench run --runs {folder}`, or name another folder "
                "with --runs"
            )
        return cls(folder)

    @classmethod
    def create(cls, folder: Path) -> RunStore:
        """The folder, made if need be and proved writable.  UsageError if it is not."""
        try:
            for name in FOLDERS:
                (folder / name).mkdir(parents=True, exist_ok=True)
                with tempfile.TemporaryFile(dir=folder / name):
                    pass
        except OSError as error:
            raise UsageError(
                f"results folder {folder} cannot be written ({error.strerror}): choose another with --runs"
            ) from None
        return cls(folder)

    def append(self, record: RunRecord) -> RunRecord:
        """Write a row as the next attempt of its run."""
        folder = self.folder / "results"
        first = 1 + max((_attempt_of(path)[1] for path in folder.glob(f"{record.key}.*.json")), default=0)
        for attempt in count(first):
            record = replace(record, attempt=attempt)
            if self._write(folder / f"{record.key}.{attempt}.json", _json(asdict(record)), exclusive=True):
                break
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

    def write_model(self, fit_key: str, saved: Path) -> None:
        """Keep what a detector saved: regular files only, and links are never followed.

        DataError, and nothing kept, where there is anything else; written beside its place and renamed, so that a model
        is whole or not there.
        """
        place = self.model_folder(fit_key)
        try:
            beside = Path(tempfile.mkdtemp(dir=place.parent, prefix=".", suffix=".part"))
            try:
                beside.chmod(0o755)
                _copy_regular(saved, beside)
                shutil.rmtree(place, ignore_errors=True)
                beside.rename(place)
            finally:
                shutil.rmtree(beside, ignore_errors=True)
        except OSError as error:
            raise WriteFailed(
                f"cannot write {place}: {error.strerror or error}. Make room and run the same command again"
            ) from None

    def write_log(self, fit_key: str, log: Path) -> None:
        """Keep a child's standard error."""
        self._write(self.folder / "logs" / f"{fit_key}.log", log.read_bytes())

    def records(self) -> dict[str, RunRecord]:
        """The latest attempt of every run."""
        attempts = sorted((*_attempt_of(path), path) for path in (self.folder / "results").glob("*.json"))
        latest = {key: path for key, attempt, path in attempts if attempt}
        return {key: RunRecord(**_read(path)) for key, path in latest.items()}

    def plans(self) -> list[PlanRecord]:
        """Every plan, in the order of their keys; ``reports.results.model`` knows which was asked for last."""
        return [_plan(path) for path in sorted((self.folder / "plans").glob("*.json"))]

    def scores(self, run_key: str) -> pl.DataFrame:
        return self._read_parquet(self.folder / "scores" / f"{run_key}.parquet")

    def truth(self, data_hash: str) -> pl.DataFrame:
        return self._read_parquet(self.folder / "truth" / f"{data_hash}.parquet")

    def model_folder(self, fit_key: str) -> Path:
        return self.folder / "models" / fit_key

    def _write(self, path: Path, data: bytes, *, exclusive: bool = False) -> bool:
        """``janus_bench.files.write_atomically``; WriteFailed where it cannot."""
        try:
            return write_atomically(path, data, exclusive)
        except OSError as error:
            raise WriteFailed(
                f"cannot write {path}: {error.strerror}; what was finished before is kept. Make room and run "
                "the same command again"
            ) from None

    def _write_parquet(self, path: Path, table: pl.DataFrame) -> None:
        buffer = io.BytesIO()
        table.write_parquet(buffer, compression="zstd")
        self._write(path, buffer.getvalue())

    def _read_parquet(self, path: Path) -> pl.DataFrame:
        import polars as pl

        try:
            return pl.read_parquet(path)
        except FileNotFoundError:
            raise DataError(
                f"{path} is missing: its row cannot be derived; delete the row in results/ and run again"
            ) from None
        except (pl.exceptions.PolarsError, OSError) as error:
            raise DataError(
                f"{path} is damaged ({str(error).splitlines()[0]}): delete it and its row in results/, and run again"
            ) from None


def _copy_regular(source: Path, destination: Path) -> None:
    for entry in os.scandir(source):
        if entry.is_dir(follow_symlinks=False):
            (destination / entry.name).mkdir()
            _copy_regular(Path(entry.path), destination / entry.name)
        elif entry.is_file(follow_symlinks=False):
            shutil.copyfile(entry.path, destination / entry.name, follow_symlinks=False)
        else:
            raise DataError(f"{entry.name} in it is neither a file nor a folder")


def _attempt_of(path: Path) -> tuple[str, int]:
    key, _, attempt = path.stem.partition(".")
    return key, int(attempt) if attempt.isdigit() else 0


def _json(value: Mapping[str, Any]) -> bytes:
    return (json.dumps(value, indent=1, allow_nan=False) + "\n").encode()


def _read(path: Path) -> dict[str, Any]:
    try:
        fields = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise DataError(f"{path} cannot be read ({error}): delete it and run again") from None
    version = fields.get("schema_version") if isinstance(fields, dict) else None
    if version not in READABLE_VERSIONS:
        raise DataError(
            f"{path} has schema version {version}, this janus-bench reads {' and '.join(map(str, READABLE_VERSIONS))}: "
            "it was written by another version of janus-bench; use that one, or another folder with --runs"
        )
    return dict(fields)


def _plan(path: Path) -> PlanRecord:
    try:
        return PlanRecord.from_json(_read(path))
    except (TypeError, KeyError, AttributeError) as error:
        raise DataError(f"{path} is no plan ({error}): delete it and run again") from None
