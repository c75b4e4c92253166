"""A results folder as one file for an archive: ``.tar.zst`` or ``.tar.gz`` with checksums.  The same results give the
same bytes."""

import gzip
import hashlib
import io
import os
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

from janus_bench.errors import DataError, UsageError
from janus_bench.files import checksum, why, written_aside
from janus_bench.records import SCHEMA_VERSION, Recorded
from reports.results.folder import FOLDERS, RunStore

CHECKSUMS = "SHA256SUMS"


def _zstd(file: IO[bytes]) -> Any:
    import pyarrow as pa

    return pa.CompressedOutputStream(file, "zstd")


SUFFIXES: dict[str, Callable[[IO[bytes]], Any]] = {
    ".tar.zst": _zstd,
    ".tar.gz": lambda file: gzip.GzipFile("", "wb", fileobj=file, mtime=0),
}


def export(folder: Path, archive: Path, progress: Callable[[str, float], None]) -> str:
    """Write the archive, whole or not at all, and give its SHA-256.  Its one folder has its name; ``sha256sum -c
    SHA256SUMS`` checks it there.

    Owners and times are left out.  UsageError for another suffix or a place that cannot be written, DataError where a
    row lacks its scores.
    """
    suffix = next((suffix for suffix in SUFFIXES if archive.name.endswith(suffix) and archive.name != suffix), None)
    if suffix is None:
        raise UsageError(f"cannot tell the format of {archive}: end its name with {' or '.join(SUFFIXES)}")
    store = RunStore.open(folder)
    _check(store)
    files = sorted(
        path
        for name in FOLDERS
        for path in (folder / name).rglob("*")
        if path.is_file() and not path.name.startswith(".")
    )
    top = archive.name.removesuffix(suffix)
    try:
        with (
            written_aside(Path(os.path.realpath(archive))) as file,
            open(file.fileno(), "wb", closefd=False) as kept_open,  # Arrow closes what it has written to
            SUFFIXES[suffix](kept_open) as stream,
            tarfile.open(fileobj=stream, mode="w|", format=tarfile.PAX_FORMAT) as tar,
        ):
            sums = []
            for place, path in enumerate(files):
                progress("exporting", place / len(files))
                name, data = path.relative_to(folder).as_posix(), path.read_bytes()
                sums.append(f"{hashlib.sha256(data).hexdigest()}  {name}\n")
                _add(tar, f"{top}/{name}", data)
            _add(tar, f"{top}/{CHECKSUMS}", "".join(sums).encode())
    except OSError as error:
        raise UsageError(f"cannot write {archive} ({why(error)}): choose another file with -o") from None
    return checksum(archive)


def _add(tar: tarfile.TarFile, name: str, data: bytes) -> None:
    entry = tarfile.TarInfo(name)
    entry.size, entry.mode = len(data), 0o644
    tar.addfile(entry, io.BytesIO(data))


def _check(store: RunStore) -> None:
    """Every plan is one, every ok row has its scores and truth, and these and timelines are whole: an archive without
    them could not be looked into."""
    store.plans()
    for data_hash in sorted({str(record.spec["target_hash"]) for record in store.records().values()}):
        store.timeline(data_hash)
    for record in store.records().values():
        if record.status != "ok":
            continue
        scores, truth = store.scores(record.key), store.truth(record.spec["target_hash"])
        flows = dict(scores.group_by("role").len().iter_rows())
        counted = {"cal_a": ("n_cal",), "cal_b": ("n_cal_b",), "test": ("n_test_benign", "n_test_attack")}
        for role, names in counted.items():
            expected = [record.counts.get(name) for name in names]
            if (
                record.schema_version == SCHEMA_VERSION
                and None not in expected
                and flows.get(role, 0) != sum(filter(None, expected))
            ):
                raise _lacking(
                    store, record, f"{flows.get(role, 0)} flows for {role}, its row says {sum(filter(None, expected))}"
                )
        if scores.filter(scores["role"] == "test").join(truth, on="flow_id", how="anti").height:
            raise _lacking(store, record, "flows that its truth does not know")


def _lacking(store: RunStore, record: Recorded, what: str) -> DataError:
    """A run whose scores are not those that it was stored with."""
    where = store.folder / "scores" / f"{record.key}.parquet"
    return DataError(
        f"{where} has {what}: delete it and {store.folder / 'results' / record.key}.*.json, and run again "
        "before exporting"
    )
