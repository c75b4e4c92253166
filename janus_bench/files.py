"""Files that a reader finds whole or not at all."""

from __future__ import annotations

import fcntl
import glob
import hashlib
import os
import secrets
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

if TYPE_CHECKING:
    from numpy.typing import NDArray


PART = ".part"  # What the name of a file or folder ends in that is not whole yet.


def why(error: OSError) -> str:
    """What the system said, never None: numpy reports a write that was cut short without saying that the disk is
    full."""
    if isinstance(error, shutil.Error) and isinstance(error.args[0], list):  # of many files: the first says it
        return str(error.args[0][0][-1])
    if error.errno is not None:
        return error.strerror or os.strerror(error.errno)
    return next(iter(str(error).strip().splitlines()), "") or type(error).__name__


def write_array(path: Path, values: NDArray[Any]) -> None:
    """A ``.npy`` file.  ``numpy.save`` does not say why it could write but a part; the file itself does."""
    import numpy as np

    with path.open("wb") as file:
        np.lib.format.write_array_header_1_0(
            file, np.lib.format.header_data_from_array_1_0(values := np.ascontiguousarray(values))
        )
        file.write(values.reshape(-1).data)


def checksum(path: Path) -> str:
    """SHA-256 of a file, 64 hex digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def link_or_copy(source: str | Path, target: str | Path) -> None:
    """One copy on the disk is enough of what is never changed in place, where both places are on one file system."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)


@contextmanager
def written_aside(path: Path, exclusive: bool = False) -> Iterator[IO[bytes]]:
    """A new file beside ``path`` that is flushed to the disk and takes its place, with its permissions, when the block
    ends well.

    Otherwise ``path`` is what it was before, and nothing is left beside it.  A link in its place is replaced, not what
    it leads to: a folder from elsewhere may have one that leads to anything.  OSError, its ``filename`` being ``path``,
    where it cannot be written (disk full, no such folder, no permission); with ``exclusive`` FileExistsError for one
    that is taken.
    """
    place, before = Path(path), 0o644
    with suppress(OSError):
        if stat.S_ISREG((found := place.lstat()).st_mode):
            before = stat.S_IMODE(found.st_mode)
    # named before it is made: an interrupt between the two would leave it
    temporary = place.with_name(f"{_beside(place)}{secrets.token_hex(6)}{PART}")
    try:
        with _held(temporary) as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
            # a temporary file is its owner's alone
            temporary.chmod(before)
            if exclusive:
                os.link(temporary, place)
            else:
                temporary.replace(place)
    except FileExistsError:
        raise
    except OSError as error:
        raise OSError(error.errno, why(error), str(path)) from None
    finally:
        with suppress(OSError):  # no such folder, say: then nothing was made
            temporary.unlink(missing_ok=True)


def _held(path: Path) -> IO[bytes]:
    """A new file, its owner's alone, held by a lock that the kernel releases when the process dies, so that what a dead
    one left can be told from it.  On a file system without such locks nothing is ever taken for left behind."""
    while True:
        file = open(path, "xb", opener=lambda name, flags: os.open(name, flags | os.O_CLOEXEC, 0o600))  # noqa: SIM115  for the caller to close; a Path cannot say the mode
        with suppress(OSError):
            fcntl.flock(file, fcntl.LOCK_EX)
        if path.exists():
            return file
        file.close()  # somebody saw it before it was held, and took it for left behind


def _beside(place: Path) -> str:
    return f".{place.name[:40]}."  # of a name as long as a file system bears


def remove_left_behind(folder: Path, of: Path | None = None) -> None:
    """Remove what killed processes left of files that they were writing in ``folder``, or of the file ``of`` in it."""
    for path in folder.glob(f"{glob.escape(_beside(of)) if of else '.'}*{PART}"):
        with suppress(OSError):  # held, gone, or another user's
            handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                path.unlink()
            finally:
                os.close(handle)


def remove_folder(folder: Path) -> None:
    """Remove a folder in which a stranger has worked, as far as it can be: ``rmtree`` ends in an error where folders
    lie too deep in each other, and leaves what lies in those that may not be written to."""
    import shutil
    import subprocess

    with suppress(RecursionError):
        shutil.rmtree(folder, ignore_errors=True)
    if folder.is_dir():
        for command in (("chmod", "-R", "u+rwX"), ("rm", "-rf")):
            subprocess.run([*command, "--", folder], stderr=subprocess.DEVNULL, check=False)


def write_atomically(path: Path, data: bytes | str, exclusive: bool = False) -> bool:
    """``written_aside`` of ``data`` (text as UTF-8); False, and nothing written, where ``exclusive`` and the path is
    taken."""
    try:
        with written_aside(path, exclusive) as file:
            file.write(data.encode(errors="replace") if isinstance(data, str) else data)
    except FileExistsError:
        return False
    return True
