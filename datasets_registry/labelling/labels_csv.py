"""Read a folder's ``labels.csv``: one row per flow, checked as a whole before anything is matched."""

import os
import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

import polars as pl

from datasets_registry.labelling.benign import BENIGN, as_benign, read_as
from datasets_registry.labelling.csv_text import check_csv_text
from datasets_registry.labelling.keys import addresses, canonical_keys
from datasets_registry.labelling.times import parse_times
from janus_bench.errors import DataError

LABELS_FILE = "labels.csv"
REQUIRED = ("file", "ts_start", "src_ip", "src_port", "dst_ip", "dst_port", "proto", "label")
OPTIONAL = ("ts_end", "family", "source", "site")
PROTOCOLS = {
    "icmp": 1,
    "igmp": 2,
    "tcp": 6,
    "udp": 17,
    "dccp": 33,
    "gre": 47,
    "esp": 50,
    "icmp6": 58,
    "icmpv6": 58,
    "ipv6-icmp": 58,
}
PROTOCOLS |= {"sctp": 132, "udplite": 136}


@dataclass(frozen=True, eq=False)
class LabelRows:
    """The rows of a ``labels.csv``.

    rows       row, file, ``KEY_COLUMNS``, start (Int64, ns), end (Int64, ns, null where unknown), attack, label,
               family, source, site
    precision  ns: how exact the file's times are
    files      name in ``file`` → the file, whatever the form of its accents (NFC, NFD)
    warnings   what was odd
    read_as    see ``benign.read_as``
    """

    path: Path
    rows: pl.DataFrame
    precision: int
    files: Mapping[str, Path]
    warnings: tuple[str, ...] = ()
    read_as: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)


def read_labels(folder: Path, benign_words: frozenset[str] = frozenset()) -> LabelRows:
    """The labels of a folder of captures; ``benign_words``: what means benign besides that word itself, in lower case.

    DataError says what is missing or which line is wrong.
    """
    path = folder / LABELS_FILE
    if not path.is_file():
        raise DataError(f"{folder}: no {LABELS_FILE}; expected one row per flow with the columns {', '.join(REQUIRED)}")
    check_csv_text(path)
    try:
        # Everything as text first: what a column means is decided here, not by the values that happen to be in it.
        frame = pl.read_csv(path, infer_schema=False, glob=False)
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException, OSError) as error:
        raise DataError(f"{path}: not a readable CSV ({str(error).splitlines()[0]})") from None
    names = [_AGAIN.sub("", name).strip() for name in frame.columns]
    if twice := [name for name in (*REQUIRED, *OPTIONAL) if names.count(name) > 1]:
        raise DataError(f"{path}: several columns named {', '.join(twice)}: which one counts? Leave one of each")
    frame = frame.select(
        pl.col(column).alias(name)
        for column, name in zip(frame.columns, names, strict=True)
        if name in (*REQUIRED, *OPTIONAL)
    )
    missing = [name for name in REQUIRED if name not in frame.columns]
    if missing:
        raise DataError(f"{path}: missing column {', '.join(missing)}; required are {', '.join(REQUIRED)}")
    frame = frame.with_columns(pl.lit(None, pl.String).alias(name) for name in OPTIONAL if name not in frame.columns)
    frame = frame.select(pl.col(*REQUIRED, *OPTIONAL).str.strip_chars().replace("", None))
    if not frame.height:
        raise DataError(f"{path}: no rows")
    for name in REQUIRED:
        _require(path, frame[name], frame[name].is_null(), "a value")
    files = _find_files(path, folder, frame["file"])

    start, precision = parse_times(frame["ts_start"], lambda row, text: _bad(path, row, "ts_start", text, _TIME))
    end, end_precision = parse_times(frame["ts_end"], lambda row, text: _bad(path, row, "ts_end", text, _TIME))
    # CICFlowMeter writes negative durations.  An end that is written less exactly than its start may lie before it by
    # that much.
    early = (end < start // end_precision * end_precision).fill_null(False)
    end = end.set(early, None)
    warnings: tuple[str, ...] = ()
    if early.any():
        line = int(early.arg_max() or 0) + 2
        warnings = (
            (
                f"{path.name}: {early.sum()} rows whose ts_end lies before their ts_start, the first in line "
                f"{line}; it counts as none"
            ),
        )
    benign = as_benign(frame["label"], benign_words)
    label = frame["label"].set(benign, BENIGN)
    rows = frame.select(
        pl.int_range(pl.len(), dtype=pl.Int64).alias("row"),
        "file",
        *_keys(path, frame),
        start,
        end,
        attack=~benign,
        label=label,
        family=pl.coalesce("family", pl.lit(label)),
        source=pl.coalesce("source", "file"),
        site=pl.col("site").fill_null(""),
    ).rename({"ts_start": "start", "ts_end": "end"})
    return LabelRows(
        path,
        rows,
        max(precision, end_precision) if end.null_count() < len(end) else precision,
        files,
        warnings,
        read_as(frame["label"], label, ~benign),
    )


_AGAIN = re.compile(r"_duplicated_\d+$")
"""What polars adds to the name of a column that is there already."""
_TIME = "seconds since the epoch, or YYYY-MM-DD HH:MM[:SS[.ffffff]] in UTC"


def _require(path: Path, texts: pl.Series, wrong: pl.Series, expected: str) -> None:
    """DataError about the first text that is wrong, (n,) Boolean."""
    if wrong.any():
        row = wrong.arg_true()[0]
        raise _bad(path, row, texts.name, texts[row], expected)


def _bad(path: Path, row: int, column: str, text: str | None, expected: str) -> DataError:
    found = "empty" if text is None else repr(text)
    return DataError(f"{path}: line {row + 2}: {column} is {found}; expected {expected}")


def _find_files(path: Path, folder: Path, files: pl.Series) -> dict[str, Path]:
    """See ``LabelRows.files``."""
    names = files.unique(maintain_order=True)
    found = {name: folder / name for name in names if _is_inside(name) and (folder / name).is_file()}
    if len(found) < len(names):
        there: dict[str, Path] = {}
        for parent, _, inside in os.walk(folder):
            for file in sorted(inside):
                there.setdefault(_composed(Path(parent, file).relative_to(folder).as_posix()), Path(parent, file))
        alike = {name: there[_composed(name)] for name in names if name not in found and _composed(name) in there}
        found |= {name: file for name, file in alike.items() if file.is_file()}
    absent = [name for name in names if name not in found]
    if absent:
        shown = ", ".join(absent[:3]) + (", …" if len(absent) > 3 else "")
        raise DataError(f"{path}: {len(absent)} file(s) named in it are not in the folder: {shown}")
    return found


def _is_inside(name: str) -> bool:
    relative = PurePosixPath(name)
    return not relative.is_absolute() and ".." not in relative.parts


def _composed(name: str) -> str:
    return unicodedata.normalize("NFC", name)


def _integers(path: Path, texts: pl.Series, highest: int) -> pl.Series:
    numbers = texts.cast(pl.Int64, strict=False)
    _require(path, texts, ~numbers.is_between(0, highest).fill_null(False), f"an integer from 0 to {highest}")
    return numbers


def _protocols(path: Path, texts: pl.Series) -> pl.Series:
    named = texts.str.to_lowercase().replace_strict(PROTOCOLS, default=None, return_dtype=pl.Int64)
    numbers = texts.cast(pl.Int64, strict=False)
    protocols = numbers.zip_with(numbers.is_not_null(), named)
    _require(
        path,
        texts,
        ~protocols.is_between(0, 255).fill_null(False),
        f"a protocol number, or one of {', '.join(PROTOCOLS)}",
    )
    return protocols


def _addresses(path: Path, texts: pl.Series) -> pl.DataFrame:
    """See ``addresses``; here every text has to be one."""
    parsed = addresses(texts)
    _require(path, texts, parsed["version"].is_null(), "an IPv4 or IPv6 address")
    return parsed


def _keys(path: Path, frame: pl.DataFrame) -> list[pl.Series]:
    """The 5-tuple of each row with its endpoints in canonical order, as ``KEY_COLUMNS``."""
    protocol = _protocols(path, frame["proto"])
    source, destination = (
        _addresses(path, frame[f"{side}_ip"]).with_columns(port=_integers(path, frame[f"{side}_port"], 65535))
        for side in ("src", "dst")
    )
    _require(
        path,
        frame["dst_ip"],
        source["version"] != destination["version"],
        "an address of the same IP version as src_ip",
    )
    return canonical_keys(source, destination, protocol).get_columns()
