"""Where things are printed: data on standard output, everything else on standard error; tables that survive a pipe."""

import contextlib
import errno
import io
import json
import operator
import os
import re
import shlex
import shutil
import sys
import textwrap
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

from janus_bench import plugins
from janus_bench.errors import UsageError
from janus_bench.files import remove_left_behind, why, written_aside

LONGEST_LINE = 20_000  # Characters of what is said, several times what the longest list of names takes.
PIPED_WIDTH = 140  # Columns when standard output is not a terminal; rich would cut tables at 80.


def width() -> int:
    if columns := os.environ.get("COLUMNS"):
        return max(40, int(columns)) if columns.isdigit() else PIPED_WIDTH
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else PIPED_WIDTH


def color() -> bool:
    return sys.stdout.isatty() and "NO_COLOR" not in os.environ


_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
"""What a terminal obeys instead of showing it, and what changes the order of what it shows."""
_LAYOUT = re.compile(r"\n|\t")
_COLORED = re.compile(r"\n|\t|\x1b\[[0-9;]*m")


def visible(text: str, kept: re.Pattern[str] | None = None) -> str:
    """Control characters as JSON would escape them: a name out of a file must not move the cursor or make a line of its
    own.

    kept: what stays where it is found.
    """
    if not _CONTROL.search(text):
        return text
    if kept is None:
        return _CONTROL.sub(lambda found: json.dumps(found[0])[1:-1] if found[0] != "\x7f" else "\\u007f", text)
    begin, parts = 0, []
    for found in kept.finditer(text):
        parts += [visible(text[begin : found.start()]), found[0]]
        begin = found.end()
    return "".join([*parts, visible(text[begin:])])


@lru_cache(maxsize=1 << 14)
def _is_visible(text: str) -> bool:
    """A large document has few names, and each a thousand times."""
    return not _CONTROL.search(text)


def cleaned(value: Any) -> Any:
    """A document with every text in it ``visible``; a part that has nothing to hide is the same object, not a copy."""
    if isinstance(value, str):
        return value if _is_visible(value) else visible(value)
    if value is None or type(value) in (float, int, bool):  # most of a large document
        return value
    if isinstance(value, Mapping):
        found = {cleaned(key): cleaned(one) for key, one in value.items()}
        same = all(key is kept and one is found[kept] for (key, one), kept in zip(value.items(), found, strict=True))
        return value if same else found
    if isinstance(value, list | tuple):
        parts = type(value)(map(cleaned, value))
        return value if all(map(operator.is_, value, parts)) else parts
    return value


def out(text: str | Iterable[str], *, as_json: bool = False) -> None:
    """Data, whole or in pieces.  What standard output cannot encode becomes ``?``, or an escape in JSON (``main`` has
    set that)."""
    kept = _COLORED if color() else _LAYOUT
    escaped = as_json and "utf" not in (sys.stdout.encoding or "utf").lower()
    try:
        for piece in ended(text):
            shown = visible(piece, kept)
            sys.stdout.write(_ascii(shown) if escaped else shown)
        sys.stdout.flush()
    except OSError as error:
        if error.errno == errno.EPIPE:  # the reader has seen enough
            raise
        # or what is still buffered fails again at the end
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise UsageError(f"cannot write standard output ({why(error)})") from None


def ended(text: str | Iterable[str]) -> Iterator[str]:
    """Its pieces, the last of which ends a line."""
    last = ""
    for piece in (text,) if isinstance(text, str) else text:
        yield piece
        last = piece or last
    if not last.endswith("\n"):
        yield "\n"


def _ascii(text: str) -> str:
    return re.sub(r"[^\x00-\x7f]+", lambda found: json.dumps(found[0])[1:-1], text)


def _said_width() -> int:
    """Columns of the terminal that is standard error; standard output may be a pipe at the same time."""
    if (columns := os.environ.get("COLUMNS", "")).isdigit():
        return max(40, int(columns))
    try:
        return os.get_terminal_size(sys.stderr.fileno()).columns or PIPED_WIDTH
    except (OSError, ValueError):  # ValueError: a stream of a program that has no file below it
        return PIPED_WIDTH


def say(text: str) -> None:
    """Everything else, a line at a time, cut in the middle where it is endless, as a cell of a file may be; a terminal
    would break it inside words.  Where it cannot be written there is nobody to tell, and a run goes on."""
    if len(text) > LONGEST_LINE:
        text = f"{text[: LONGEST_LINE // 2]} … {text[-LONGEST_LINE // 2 :]}"
    with contextlib.suppress(OSError):
        text = visible(text)
        if sys.stderr.isatty():
            text = textwrap.fill(text, _said_width(), break_long_words=False, break_on_hyphens=False)
        sys.stderr.write(f"{text}\n")
        sys.stderr.flush()


def never_without_streams() -> None:
    """What the caller has closed (``>&-``) fails when it is read or written; what is said on standard error is lost.
    Python has ``None`` there, and the next file that is opened would get the number, and what children print in it."""
    for number, (name, mode, access) in enumerate(
        (("stdin", "rb", os.O_WRONLY), ("stdout", "wb", os.O_RDONLY), ("stderr", "wb", os.O_WRONLY))
    ):
        if getattr(sys, name) is None:
            opened = os.open(os.devnull, access)
            if opened != number:
                os.dup2(opened, number)
                os.close(opened)
            unbuffered = os.fdopen(number, mode, buffering=0)  # or what is still buffered fails again at the end
            setattr(sys, name, io.TextIOWrapper(unbuffered, encoding="utf-8", errors="replace", write_through=True))


def never_fail_to_encode() -> None:
    """Print ``?`` for what the encodings of standard output and standard error do not have."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")


def say_broken_plugins() -> None:
    """A line for each plugin that could not be used."""
    for broken in plugins.broken_plugins():
        say(f"janus-bench: plugin {broken.name} ({broken.origin}) is left out: {broken.error}")


def check_place(file: Path) -> None:
    """UsageError where a file that was asked for with ``-o`` is a folder, or in none, or ``-``, which names none."""
    if str(file) == "-":
        raise UsageError("-o - names no file: name one; without -o, tables are printed")
    if file.is_dir() or not file.parent.is_dir():
        reason = "it is a folder" if file.is_dir() else "no such folder"
        raise UsageError(f"cannot write {file} ({reason}): choose another file with -o")


def save(file: Path, data: bytes | Iterable[str], what: str = "") -> None:
    """A file that was asked for with ``-o``; ``what`` is said of it after its name."""
    check_place(file)
    pieces = (data,) if isinstance(data, bytes) else (piece.encode(errors="replace") for piece in data)
    try:
        if _is_stream(file):  # anything else is replaced, once the new one is whole; of a link what it leads to
            with file.open("ab") as opened:
                opened.writelines(pieces)
        else:
            place = Path(os.path.realpath(file))
            remove_left_behind(place.parent, place)
            with written_aside(place) as opened:
                opened.writelines(pieces)
    except OSError as error:
        raise UsageError(f"cannot write {file} ({why(error)}): choose another file with -o") from None
    say(f"wrote {file}{what}")


def _is_stream(file: Path) -> bool:
    """A pipe, a device, or one of the process's own files under another name."""
    own = file.is_relative_to("/proc") or (file.parent == Path("/dev") and file.is_symlink())
    return own or file.is_relative_to("/dev/fd") or (file.exists() and not file.is_file())


def retry_command() -> str:
    """The command line as it was typed, to be copied."""
    return shlex.join(["janus-bench", *sys.argv[1:]])


def table(columns: Sequence[str], rows: Iterable[Sequence[str]], output: str, title: str = "") -> None:
    """Rows as a table that fits the width, or as JSON objects; cells are printed literally (no markup)."""
    if output == "json":
        out(_json_rows(columns, rows), as_json=True)
        return
    from reports.render.listing import listing

    lines = listing(columns, [[visible(cell) for cell in row] for row in rows], width())
    out("\n".join([*([wrapped(visible(title))] if title else []), *lines]))


def _json_rows(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterator[str]:
    """As an encoder would write the whole list, row by row."""
    start = "["
    for row in rows:
        shown = json.dumps(dict(zip(columns, row, strict=True)), indent=1, ensure_ascii=False).replace("\n", "\n ")
        yield f"{start}\n {shown}"
        start = ","
    yield "[]" if start == "[" else "\n]"


def wrapped(text: str) -> str:
    """A paragraph of at most the terminal's width, broken at words."""
    from reports.render.listing import wrapped_text

    return wrapped_text(text, width())


def document(fields: Mapping[str, Any], output: str) -> None:
    """Named facts, one a line, or as a JSON object."""
    if output == "json":
        out(json.dumps(fields, indent=1, ensure_ascii=False), as_json=True)
    else:
        table(("", ""), [(name, str(value)) for name, value in fields.items()], output)
