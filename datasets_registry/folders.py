"""The files below a folder that somebody downloaded, copied or mounted, links followed; and why others are left."""

from __future__ import annotations

import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

HIDDEN = "a name that begins with a dot, or __MACOSX"
DANGLING = "a link to what is not there (a disk that is not mounted, a file that was not fetched)"
POINTER = "a text of git-annex or Git LFS in place of a file that was not fetched"
SAME = "the same as another one that is taken"
SPECIAL = "no regular file"
UNREAD = "packed or named in a way that is not read: unpack it, or pack it with gzip or zstd"
SHOWN = 10

_CAPTURE = re.compile(
    r".*\.(pcap|pcapng|cap|dmp)\d*(\.\d+)?(\.(gz|zst|xz|lzma|bz2|lz4|zip|7z|rar|z|part|tmp|crdownload))*", re.IGNORECASE
)
_TABLE = re.compile(
    r".*\.(csv|tsv|parquet|pq|arrow|feather|xlsx?)\d*(\.\d+)?"
    r"(\.(gz|zst|xz|lzma|bz2|lz4|zip|7z|rar|z|part|tmp|crdownload))*",
    re.IGNORECASE,
)
_POINTER = re.compile(rb"(\.\./)*(\.git/|/)annex/objects/|version https://git-lfs\.github\.com/")
_POINTER_SIZE = 1 << 10


@dataclass(frozen=True)
class Below:
    """files: path below the folder ('/'-separated) → file, sorted; left: path of each other file or folder → why."""

    files: Mapping[str, Path]
    left: Mapping[str, str]


def files_below(folder: Path) -> Below:
    """Each file once, however many links lead to it, by the name without links if it has one."""
    files: dict[str, Path] = {}
    left: dict[str, str] = {}
    seen: set[tuple[int, int]] = set()

    def name(path: Path) -> str:
        return path.relative_to(folder).as_posix()

    def is_new(path: Path) -> bool:
        found = path.stat()
        key = found.st_dev, found.st_ino
        if key in seen:
            left[name(path)] = SAME
        new = key not in seen
        seen.add(key)
        return new

    folders, links = [folder], list[Path]()
    while folders or links:
        path = folders.pop(0) if folders else links.pop(0)
        try:
            if not is_new(path):
                continue
            if not path.is_dir():
                if _is_pointer(path):
                    left[name(path)] = POINTER
                else:
                    files[name(path)] = path
                continue
            for entry in sorted(path.iterdir()):
                if entry.name.startswith(".") or entry.name == "__MACOSX":
                    left[name(entry)] = HIDDEN
                elif not entry.exists():
                    left[name(entry)] = DANGLING
                elif not entry.is_dir() and not entry.is_file():
                    left[name(entry)] = SPECIAL
                else:
                    (links if entry.is_symlink() else folders).append(entry)
        except OSError as error:
            left[name(path)] = f"cannot be read ({error.strerror})"
    return Below(dict(sorted(files.items())), dict(sorted(left.items())))


def _is_pointer(path: Path) -> bool:
    if path.stat().st_size > _POINTER_SIZE:
        return False
    with path.open("rb") as file:
        return _POINTER.match(file.read(_POINTER_SIZE)) is not None


def looks_like_capture(name: str) -> bool:
    """Whether somebody who named a file so took it for a capture."""
    return bool(_CAPTURE.fullmatch(name))


def looks_like_table(name: str) -> bool:
    """The same of a table."""
    return bool(_TABLE.fullmatch(name))


def say_left(left: Mapping[str, str], what: str) -> list[str]:
    """A line for each reason, with the names; ``what`` they are not taken for."""
    lines = []
    for reason in dict.fromkeys(left.values()):
        names = [name for name, why in left.items() if why == reason]
        more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
        lines.append(f"not taken for {what}, {reason}: {', '.join(names[:SHOWN])}{more}")
    return lines


PROVENANCE = "PROVENANCE.md"
"""What whoever collected the captures says of where they are from: kept with the dataset, and with what is made of
it."""


def take_provenance(folder: Path, to: Path) -> None:
    """Copy the ``PROVENANCE`` of ``folder``, where there is one, into the folder ``to``."""
    if (folder / PROVENANCE).is_file():
        shutil.copyfile(folder / PROVENANCE, to / PROVENANCE)
