"""Folders that one process works in: held by a lock of the kernel, which it releases when the process dies.

So nobody waits for a dead process, and what it left behind can be told from what a living one is about to finish,
also across containers.
"""

from __future__ import annotations

import errno
import fcntl
import os
import re
import secrets
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from janus_bench.errors import UsageError
from janus_bench.files import PART, remove_folder, why


def hold(folder: Path, *, wait: bool = False) -> int | None:
    """A handle that holds ``folder`` until it is closed; None where the file system has no such locks.

    BlockingIOError where another process holds it, FileNotFoundError where it is not there (any more).
    """
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        if os.path.samestat(os.fstat(handle), folder.stat()):
            return handle
    except OSError as error:
        os.close(handle)
        if isinstance(error, (BlockingIOError, FileNotFoundError)):
            raise
        return None
    os.close(handle)
    raise FileNotFoundError(errno.ENOENT, "another one is in its place", str(folder))


@contextmanager
def beside(destination: Path, suffix: str) -> Iterator[Path]:
    """An empty folder beside ``destination``, held by this process, that vanishes at the end.

    Those of dead processes go first.
    """
    destination.parent.mkdir(parents=True, exist_ok=True)
    remove_dead(destination.parent, re.escape(destination.name))
    # A leading dot: whoever lists the datasets in the parent folder passes over it.
    # It is named before it is made: an interrupt between the two would leave it.
    folder, handle = destination.parent / f".{destination.name}.{secrets.token_hex(6)}{suffix}", None
    try:
        handle = _made(folder)
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        if handle is not None:
            os.close(handle)


@contextmanager
def temporary(name: str) -> Iterator[Path]:
    """An empty folder of this user alone in the temporary folder that vanishes at the end; what killed processes left
    under the name goes first."""
    with beside(Path(tempfile.gettempdir()) / name, PART) as folder:
        folder.chmod(0o700)
        yield folder


def must_be_new(destination: Path) -> None:
    """UsageError where there is anything but an empty folder."""
    if destination.exists() and (not destination.is_dir() or any(destination.iterdir())):
        raise UsageError(f"{destination} is not an empty folder: choose another with -o")


@contextmanager
def folder_written_aside(destination: Path) -> Iterator[Path]:
    """A new folder beside ``destination`` that takes its place when the block ends well; otherwise nothing is left.
    UsageError where there is anything but an empty folder, or where it cannot be written."""
    must_be_new(destination)
    with ExitStack() as stack:
        try:
            staged = stack.enter_context(beside(destination, PART))
        except OSError as error:
            raise UsageError(f"{destination} cannot be written ({why(error)}): choose another with -o") from None
        yield staged
        if destination.exists():
            destination.rmdir()
        staged.replace(destination)


def _made(folder: Path) -> int | None:
    while True:
        folder.mkdir()
        with suppress(FileNotFoundError):  # somebody saw it before it was held, and took it for left behind
            handle = hold(folder, wait=True)
            folder.chmod(0o755)
            return handle


def remove_dead(parent: Path, name: str) -> None:
    """The folders of ``beside`` in ``parent`` whose maker is dead; ``name``: a pattern of what they stand beside."""
    for path in parent.iterdir():
        if re.fullmatch(rf"\.{name}\.[\w.-]+\.(part|old)", path.name):
            remove_if_dead(path)


def is_dead(folder: Path) -> bool:
    """Whether nobody holds a folder, as far as can be told: its maker has died."""
    with suppress(OSError):  # held, gone, or another user's
        if (handle := hold(folder)) is not None:
            os.close(handle)
            return True
    return False


def remove_if_dead(folder: Path) -> None:
    """Remove a folder that nobody holds."""
    with suppress(OSError):  # held, gone, or another user's
        if (handle := hold(folder)) is not None:
            remove_folder(folder)
            os.close(handle)
