"""A fitted detector as a folder: what ``run`` and ``fit`` leave behind, and ``score`` reads.

::

    model.json      what it is, what it was made of, and the SHA-256 of every other file
    detector/       the detector's own files
    calibration/    absent where nothing was calibrated (a model that ``run`` left); N benign flows, by their scores:
        scores.npy    (N,) float64, rising: what a threshold and a p-value come from
        columns.npy   (N, k) float64, the detector's score columns of these flows
        capture.npy   (N,) int32, place of each one's capture in the manifest
        features.npy  (N, 20) float32, ``columns.FLOW_FEATURES``, each column sorted by itself
        aggregate.npy (M, k) float64, score columns of the flows that the aggregator is fitted on

Only the files that the manifest names are read; links are not followed, and nothing in a model is executed.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import stat
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, TypedDict

from janus_bench.errors import DataError
from janus_bench.files import PART, checksum, why, write_array
from janus_bench.held import beside
from janus_bench.stored import Unreadable, read_array, read_json

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

MODEL_VERSION = 1
"""Changes when the layout does."""
MANIFEST, DETECTOR, CALIBRATION = "model.json", "detector", "calibration"


class ModelCapture(TypedDict):
    """A capture that a model was made of, and how many of its flows were used."""

    name: str
    sha256: str
    flows: int


class ModelCalibration(TypedDict):
    """Where the calibration scores came from: captures by their names, the flows of the thresholds and of the
    aggregator, and how many flows a day there were."""

    captures: Sequence[ModelCapture]
    flows: int
    aggregated: int
    flows_per_day: float


class ModelRules(TypedDict):
    """What a flow was (``capture.rules.FlowRules``)."""

    idle_timeout_s: float
    active_timeout_s: float | None
    tcp_close: str
    remove_mirrored: bool


class ModelAbout(TypedDict):
    """What whoever makes a model says of it.

    version   the detector's, and the context's where it reads one; versions: of extraction, Python and packages
    trained   captures, or the dataset by its content hash, and the flows that it learned from
    """

    detector: str
    version: str
    params: Mapping[str, object]
    inputs: Sequence[str]
    scores: Sequence[str]
    aggregator: str
    seed: int
    rules: ModelRules
    trained: Sequence[ModelCapture]
    calibration: ModelCalibration | None
    versions: Mapping[str, str]


class ModelManifest(ModelAbout):
    """``files``: path → SHA-256; ``fingerprint``: SHA-256 of all else that the manifest says, and so of the model."""

    model_version: int
    fingerprint: str
    files: Mapping[str, str]


@dataclass(frozen=True, eq=False)
class SavedModel:
    """A model whose manifest and checksums have been looked at."""

    folder: Path
    manifest: ModelManifest

    def array(self, name: str) -> NDArray[Any]:
        """One of the calibration's arrays, in memory."""
        path = self.folder / CALIBRATION / f"{name}.npy"
        try:
            return read_array(path, mapped=False)
        except Unreadable as error:
            raise _damaged(self.folder, f"{CALIBRATION}/{name}.npy: {error}") from None

    def copy_detector(self, to: Path) -> None:
        """The detector's own files into the new folder ``to``, each looked at again as it is copied."""
        to.mkdir(parents=True)
        for name, expected in self.manifest["files"].items():
            place = PurePosixPath(name)
            if place.parts[0] == DETECTOR:
                copy = to.joinpath(*place.parts[1:])
                copy.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(self.folder / name, copy, follow_symlinks=False)
                if _sha256(copy) != expected:
                    raise _damaged(self.folder, f"{name} is not what was written")


def open_model(folder: Path) -> SavedModel:
    """A model, its files compared with their checksums; DataError, which says what to do, for anything else."""
    path = folder / MANIFEST
    if path.is_symlink():
        raise DataError(f"{folder}: {MANIFEST} is a link, which is not followed: copy the model whole")
    if not path.is_file():
        raise DataError(f"{folder}: not a model (no {MANIFEST}); `janus-bench fit` makes one")
    try:
        version = read_json(path, Mapping[str, object]).get("model_version")
        if version != MODEL_VERSION:
            raise DataError(f"{folder}: a model of version {version}, this program reads {MODEL_VERSION}: fit it again")
        manifest: ModelManifest = read_json(path, ModelManifest)
        for name, expected in manifest["files"].items():
            if _sha256(_inside(folder, name)) != expected:
                raise Unreadable(f"{name} is not what was written")
        if manifest["fingerprint"] != _fingerprint(manifest):
            raise Unreadable(f"{MANIFEST} is not what was written")
    except Unreadable as error:
        raise _damaged(folder, str(error)) from None
    return SavedModel(folder, manifest)


def write_model(
    place: Path, detector: Path, about: ModelAbout, arrays: Mapping[str, NDArray[np.generic]] | None = None
) -> bool:
    """A new model in ``place``, of what a detector saved in the folder ``detector``: whole or not there.

    False, and nothing written, where something is there already.  DataError where what was saved holds anything but
    files and folders; OSError where it cannot be written.
    """
    with beside(place, PART) as folder:
        _copy_regular(detector, folder / DETECTOR)
        for name, values in (arrays or {}).items():
            (folder / CALIBRATION).mkdir(exist_ok=True)
            write_array(folder / CALIBRATION / f"{name}.npy", values)
        found = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
        files = {name: _sha256(folder / name) for name in found}
        manifest: dict[str, Any] = {**about, "model_version": MODEL_VERSION, "files": files}
        manifest["fingerprint"] = _fingerprint(manifest)
        (folder / MANIFEST).write_text(json.dumps(manifest, indent=1) + "\n", encoding="utf-8")
        try:
            folder.rename(place)
        except OSError:
            if not place.is_dir():
                raise
            return False
    return True


def _copy_regular(source: Path, destination: Path) -> None:
    """A folder whose owner may be at work in it still: whatever goes wrong with reading it is a DataError."""
    with _reading(source, os.O_DIRECTORY) as folder:
        names = os.listdir(folder)  # noqa: PTH208  of what was opened, whatever its name leads to by now
    destination.mkdir()
    for name in names:
        with _reading(source / name) as handle:
            mode = os.fstat(handle).st_mode
            if stat.S_ISREG(mode):
                with open(handle, "rb", closefd=False) as file, (destination / name).open("wb") as copy:
                    shutil.copyfileobj(file, copy)
            elif stat.S_ISDIR(mode):
                _copy_regular(source / name, destination / name)
            else:
                raise DataError(f"{name} in it is neither a file nor a folder")


@contextmanager
def _reading(path: Path, flags: int = 0) -> Iterator[int]:
    """Never through a link, and without waiting for whoever might write to a FIFO."""
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC | flags)
    except OSError as error:
        raise DataError(f"{path.name} in it cannot be read ({why(error)})") from None
    try:
        yield handle
    finally:
        os.close(handle)


def _fingerprint(manifest: Mapping[str, Any]) -> str:
    told = {name: value for name, value in manifest.items() if name != "fingerprint"}
    return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()


def _inside(folder: Path, name: str) -> Path:
    """A file below ``folder``, no part of whose path leads out of it."""
    parts = PurePosixPath(name).parts
    if not parts or ".." in parts or PurePosixPath(name).is_absolute():
        raise Unreadable(f"it names {name!r}, which is not below it")
    path = folder
    for part in parts:
        path = path / part
        if path.is_symlink():
            raise Unreadable(f"{name} is reached by a link")
    return path


def _sha256(path: Path) -> str:
    try:
        if not stat.S_ISREG(path.lstat().st_mode):
            raise Unreadable(f"{path.name} is not a regular file")
        return checksum(path)
    except OSError as error:
        raise Unreadable(f"{path.name}: {why(error)}") from None


def _damaged(folder: Path, what: str) -> DataError:
    return DataError(f"{folder}: the model is damaged ({what}); fit it again, or fetch it again")
