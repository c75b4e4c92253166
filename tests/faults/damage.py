"""Files as disks, crashes and editors leave them, and what a command then says: for the tests of damaged files and for
the campaign."""

from __future__ import annotations

import contextlib
import io
import json
import os
import random
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.cli.main import main

LONGEST_LINE = 1000
PROCESS = (sys.executable, "-c", "from harness.cli.main import main\nmain()")
LIMIT_S = 500.0
"""No command of the campaign works for so long, on a busy machine neither."""


@dataclass(frozen=True)
class Outcome:
    """What a command in this process ended with."""

    code: int
    out: str
    err: str


def outcome_of(*arguments: str | Path) -> Outcome:
    """``janus-bench`` with these arguments; any exception but the end of the program passes through."""
    out, err, argv = io.StringIO(), io.StringIO(), sys.argv
    sys.argv = ["janus-bench", *map(str, arguments)]
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            main()
        code = 0
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(bool(end.code))
    finally:
        sys.argv = argv
    return Outcome(code, out.getvalue(), err.getvalue())


def outcome_of_process(*arguments: str | Path) -> Outcome:
    """The same as a process of its own; one that goes on for too long is ended, and its code is −9."""
    try:
        done = subprocess.run(
            [*PROCESS, *map(str, arguments)], capture_output=True, text=True, timeout=LIMIT_S, check=False
        )
    except subprocess.TimeoutExpired:
        return Outcome(-9, "", "")
    return Outcome(done.returncode, done.stdout, done.stderr)


def wrong_with(outcome: Outcome) -> str:
    """Why an outcome is not that of a program that minds what it reads, or an empty string."""
    said = [
        line for line in outcome.err.splitlines() if line.startswith("janus-bench: ") and " is left out: " not in line
    ]
    if "Traceback" in outcome.out + outcome.err or "panicked" in outcome.err:
        return "a traceback"
    if outcome.code not in (0, 1, 2, 3, 4):
        return f"exit code {outcome.code}"
    if outcome.code and len(said) != 1:
        return f"exit code {outcome.code} with {len(said)} lines of error"
    if any(len(line) > LONGEST_LINE for line in said):
        return "an endless line"
    if "not enough memory" in outcome.err:
        return "memory ran out over a small file"
    if re.search(r"[(:] ?None\b", "".join(said)):
        return "a cause that is called None"
    return ""


def damaged(data: bytes, rng: random.Random) -> tuple[str, bytes]:
    """What was done to the bytes, and what they are then: a flip, a cut, nothing left, two blocks swapped, a hole,
    something at the end."""
    kind = rng.choice(("flip", "flip", "flip", "cut", "empty", "swap", "hole", "tail"))
    if kind == "empty" or not data:
        return kind, b""
    changed = bytearray(data)
    if kind == "flip":
        for _ in range(rng.choice((1, 1, 2, 8))):
            near_an_end = rng.random() < 0.7
            place = rng.randrange(len(changed))
            if near_an_end:  # headers and footers say how the rest is to be read
                place = rng.choice((place % 256, -1 - place % 1024)) % len(changed)
            changed[place] ^= 1 << rng.randrange(8)
    elif kind == "cut":
        del changed[rng.randrange(len(changed)) :]
    elif kind == "swap":
        size = max(1, len(changed) // rng.choice((2, 4, 16)))
        first, second = (rng.randrange(max(1, len(changed) - size + 1)) for _ in range(2))
        changed[first : first + size], changed[second : second + size] = (
            changed[second : second + size],
            changed[first : first + size],
        )
    elif kind == "hole":
        begin = rng.randrange(len(changed))
        end = min(len(changed), begin + rng.choice((1, 8, 512)))
        changed[begin:end] = bytes(end - begin)
    else:
        changed += rng.randbytes(rng.choice((1, 100)))
    return kind, bytes(changed)


VALUES: tuple[Any, ...] = (
    None,
    0,
    -1,
    10**30,
    0.5,
    1e308,
    "",
    "x",
    "\x1b[31m",
    "../..",
    True,
    [],
    {},
    [None],
    {"a": None},
)


def with_another_value(data: bytes, rng: random.Random) -> tuple[str, bytes]:
    """JSON in which one value, anywhere, is another one or is not there."""
    value = json.loads(data)
    places = list(_places(value))
    container, key = places[rng.randrange(len(places))]
    if rng.random() < 0.3:
        del container[key]
        return f"without {key}", json.dumps(value).encode()
    container[key] = rng.choice(VALUES)
    return f"{key} = {container[key]!r}", json.dumps(value).encode()


def _places(value: Any) -> Iterator[tuple[Any, Any]]:
    for key, inner in value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ():
        yield value, key
        yield from _places(inner)


INSTEAD: dict[str, Callable[[Path], object]] = {
    "nothing": lambda path: None,
    "folder": lambda path: path.mkdir(),
    "FIFO": os.mkfifo,
    "dangling link": lambda path: path.symlink_to("nowhere-at-all"),
    "link to itself": lambda path: path.symlink_to(path.name),
    "endless device": lambda path: path.symlink_to("/dev/zero"),
}
"""What may lie in the place of a file."""


@dataclass(frozen=True)
class Case:
    """Commands that read a file, as the words behind ``janus-bench``; what one writes with ``-o`` is not there before
    it."""

    file: Path
    commands: tuple[tuple[str | Path, ...], ...]


def remove(path: Path) -> None:
    """Whatever it is."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def damage_once(
    cases: Sequence[Case], seed: int, run: Callable[..., Outcome] = outcome_of, *, odd: bool = False
) -> tuple[str, str, int]:
    """One damage to one file, and one command that reads it: what was done, what went wrong (or an empty string), and
    the exit code.  The file is as it was afterwards.

    odd: now and then something else than a file lies in its place.
    """
    rng = random.Random(seed)
    case = cases[seed % len(cases)]
    command = rng.choice(case.commands)
    whole = case.file.read_bytes()
    if "-o" in command:
        remove(Path(command[command.index("-o") + 1]))
    if odd and rng.random() < 0.1:
        what = rng.choice(sorted(INSTEAD))
        remove(case.file)
        INSTEAD[what](case.file)
    else:
        change = with_another_value if case.file.suffix == ".json" and rng.random() < 0.7 else damaged
        what, bad = change(whole, rng)
        case.file.write_bytes(bad)
    code = 99
    try:
        outcome = run(*command)
        wrong, code = wrong_with(outcome), outcome.code
    except Exception as error:  # this is what must not be
        wrong = f"{type(error).__name__}: {error}"
    finally:
        if case.file.parent.is_dir():  # what is extracted goes when the dataset is there
            remove(case.file)
            case.file.write_bytes(whole)
    return f"{case.file.parent.name}/{case.file.name} ({what}), {' '.join(map(str, command[:2]))}", wrong, code


def try_damages(cases: list[Case], number: int, seed: int) -> tuple[list[str], dict[str, int]]:
    """``number`` damages; what went wrong, and how often each exit code was seen."""
    failures: list[str] = []
    codes: dict[str, int] = {}
    for place in range(seed * 1_000_000, seed * 1_000_000 + number):
        what, wrong, code = damage_once(cases, place)
        codes[str(code)] = codes.get(str(code), 0) + 1
        if wrong:
            failures.append(f"{place} {what}: {wrong}")
    return failures, codes
