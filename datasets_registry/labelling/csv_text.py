"""What a CSV is that is not lines of UTF-8 with commas between the cells: no parser's own message says it."""

from __future__ import annotations

import codecs
from pathlib import Path

from janus_bench.errors import DataError

HEAD = 1 << 16
MARKS = {  # the longer ones first: that of UTF-16 begins that of UTF-32
    codecs.BOM_UTF32_LE: "UTF-32",
    codecs.BOM_UTF32_BE: "UTF-32",
    codecs.BOM_UTF16_LE: "UTF-16",
    codecs.BOM_UTF16_BE: "UTF-16",
}
PACKED = {b"\x1f\x8b": "gzip", b"\x28\xb5\x2f\xfd": "zstd", b"PK\x03\x04": "zip", b"\xfd7zXZ": "xz", b"BZh": "bzip2"}
DELIMITERS = {";": "semicolons", "\t": "tabs", "|": "bars"}


def check_csv_text(path: Path, *, lossy: bool = False) -> None:
    """DataError where ``path`` is packed, in UTF-16 or UTF-32, has lines that end in CR alone, or no commas.

    ``lossy``: bytes that are not UTF-8 are the caller's matter; else they are an error, too.
    """
    try:
        with path.open("rb") as file:
            head = file.read(HEAD)
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror})") from None
    if packing := next((name for magic, name in PACKED.items() if head.startswith(magic)), None):
        raise DataError(f"{path}: is packed with {packing}: unpack it first")
    if encoding := _wide(head):
        raise DataError(
            f"{path}: is written in {encoding}: save it as UTF-8, for example with `iconv -f {encoding} -t UTF-8`"
        )
    if b"\r" in head.rstrip(b"\r\n") and b"\n" not in head:
        how = "save it with LF or CR LF, for example with `tr '\\r' '\\n'`"
        raise DataError(f"{path}: its lines end in CR alone, as old Macs wrote them: {how}")
    if b"\0" in head.partition(b"\n")[0]:
        raise DataError(f"{path}: its first line holds bytes that no text has: it is no CSV")
    first = head.partition(b"\n")[0].decode("utf-8-sig", errors="replace")
    if "," not in first and (between := max(DELIMITERS, key=first.count)) in first:
        raise DataError(f"{path}: has {DELIMITERS[between]} between its cells: save it with commas")
    if not lossy:
        _check_utf8(path)


def _wide(head: bytes) -> str | None:
    """UTF-16 or UTF-32, by its mark, or by the zero bytes that its first line has in every character."""
    if marked := next((encoding for mark, encoding in MARKS.items() if head.startswith(mark)), None):
        return marked
    start = head[:64]
    for encoding in ("UTF-32LE", "UTF-32BE", "UTF-16LE", "UTF-16BE"):
        unit = int(encoding[4:6]) // 8
        text = start[: len(start) // unit * unit]
        if len(text) >= 2 * unit and text.count(0) == len(text) // unit * (unit - 1):
            places = text[unit - 1 :: unit] if encoding.endswith("LE") else text[::unit]
            if not any(places):
                return encoding
    return None


def _check_utf8(path: Path) -> None:
    with path.open("rb") as file:
        for line, data in enumerate(file, 1):
            try:
                data.decode()
            except UnicodeDecodeError as error:
                byte, how = data[error.start], "save the file as UTF-8 (it may be in Latin-1 or Windows-1252)"
                raise DataError(f"{path}: line {line}: byte 0x{byte:02x} is not UTF-8: {how}") from None
