"""Read a folder's ``labels.csv``: one row per flow, checked as a whole before anything is matched."""

from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import polars as pl

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
BENIGN = "benign"


@dataclass(frozen=True, eq=False)
class LabelRows:
    """The rows of a ``labels.csv``.

    rows       row, file, ``KEY_COLUMNS``, start (Int64, ns), end (Int64, ns, null where unknown), attack, label,
               family, source, site
    precision  ns: how exact the file's times are
    """

    path: Path
    rows: pl.DataFrame
    precision: int


def read_labels(folder: Path) -> LabelRows:
    """The labels of a folder of captures; DataError says what is missing or which line is wrong."""
    path = folder / LABELS_FILE
    if not path.is_file():
        raise DataError(f"{folder}: no {LABELS_FILE}; expected one row per flow with the columns {', '.join(REQUIRED)}")
    try:
        # Everything as text first: what a column means is decided here, not by the values that happen to be in it.
        frame = pl.read_csv(path, infer_schema=False)
    except (pl.exceptions.PolarsError, OSError) as error:
        raise DataError(f"{path}: not a readable CSV ({str(error).splitlines()[0]})") from None
    frame = frame.rename({name: name.strip() for name in frame.columns})
    missing = [name for name in REQUIRED if name not in frame.columns]
    if missing:
        raise DataError(f"{path}: missing column {', '.join(missing)}; required are {', '.join(REQUIRED)}")
    frame = frame.with_columns(pl.lit(None, pl.String).alias(name) for name in OPTIONAL if name not in frame.columns)
    frame = frame.select(pl.col(*REQUIRED, *OPTIONAL).str.strip_chars().replace("", None))
    if not frame.height:
        raise DataError(f"{path}: no rows")
    for name in REQUIRED:
        _require(path, frame[name], frame[name].is_null(), "a value")
    _check_files(path, folder, frame["file"])

    start, precision = parse_times(frame["ts_start"], lambda row, text: _bad(path, row, "ts_start", text, _TIME))
    end, end_precision = parse_times(frame["ts_end"], lambda row, text: _bad(path, row, "ts_end", text, _TIME))
    benign = pl.col("label").str.to_lowercase() == BENIGN
    label = pl.when(benign).then(pl.lit(BENIGN)).otherwise("label")
    rows = frame.select(
        pl.int_range(pl.len(), dtype=pl.Int64).alias("row"),
        "file",
        *_keys(path, frame),
        start,
        end,
        attack=~benign,
        label=label,
        family=pl.coalesce("family", label),
        source=pl.coalesce("source", "file"),
        site=pl.col("site").fill_null(""),
    ).rename({"ts_start": "start", "ts_end": "end"})
    return LabelRows(path, rows, max(precision, end_precision) if end.null_count() < len(end) else precision)


_TIME = "seconds since the epoch, or YYYY-MM-DD HH:MM[:SS[.ffffff]] in UTC"


def _require(path: Path, texts: pl.Series, wrong: pl.Series, expected: str) -> None:
    """DataError about the first text that is wrong, (n,) Boolean."""
    if wrong.any():
        row = wrong.arg_true()[0]
        raise _bad(path, row, texts.name, texts[row], expected)


def _bad(path: Path, row: int, column: str, text: str | None, expected: str) -> DataError:
    found = "empty" if text is None else repr(text)
    return DataError(f"{path}: line {row + 2}: {column} is {found}; expected {expected}")


def _check_files(path: Path, folder: Path, files: pl.Series) -> None:
    def usable(name: str) -> bool:
        relative = PurePosixPath(name)
        return not relative.is_absolute() and ".." not in relative.parts and (folder / relative).is_file()

    absent = [name for name in files.unique(maintain_order=True) if not usable(name)]
    if absent:
        shown = ", ".join(absent[:3]) + (", …" if len(absent) > 3 else "")
        raise DataError(f"{path}: {len(absent)} file(s) named in it are not in the folder: {shown}")


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
