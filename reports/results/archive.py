"""A results folder as one file for an archive: ``.tar.zst`` or ``.tar.gz`` with checksums.  The same results give the
same bytes."""

import gzip
import hashlib
import io
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

from janus_bench.errors import DataError, UsageError
from reports.results.folder import FOLDERS, RunStore

CHECKSUMS = "SHA256SUMS"


def _zstd(file: BinaryIO) -> Any:
    import pyarrow as pa

    return pa.CompressedOutputStream(file, "zstd")


SUFFIXES: dict[str, Callable[[BinaryIO], Any]] = {
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
    temporary = archive.with_name(f".{archive.name}.part")
    try:
        with (
            temporary.open("wb") as file,
            SUFFIXES[suffix](file) as stream,
            tarfile.open(fileobj=stream, mode="w|", format=tarfile.PAX_FORMAT) as tar,
        ):
            sums = []
            for place, path in enumerate(files):
                progress("exporting", place / len(files))
                name, data = path.relative_to(folder).as_posix(), path.read_bytes()
                sums.append(f"{hashlib.sha256(data).hexdigest()}  {name}\n")
                _add(tar, f"{top}/{name}", data)
            _add(tar, f"{top}/{CHECKSUMS}", "".join(sums).encode())
        temporary.replace(archive)
    except OSError as error:
        raise UsageError(f"cannot write {archive} ({error.strerror}): choose another file with -o") from None
    finally:
        temporary.unlink(missing_ok=True)
    with archive.open("rb") as written:
        return hashlib.file_digest(written, "sha256").hexdigest()


def _add(tar: tarfile.TarFile, name: str, data: bytes) -> None:
    entry = tarfile.TarInfo(name)
    entry.size, entry.mode = len(data), 0o644
    tar.addfile(entry, io.BytesIO(data))


def _check(store: RunStore) -> None:
    """Every ok row has its scores and truth: an archive without them could not be looked into."""
    for key, record in store.records().items():
        for path in (
            store.folder / "scores" / f"{key}.parquet",
            store.folder / "truth" / f"{record.spec['target_hash']}.parquet",
        ):
            if record.status == "ok" and not path.exists():
                raise DataError(
                    f"{path} is missing though run {key} is ok: delete its row in results/ and run it again "
                    "before exporting"
                )
