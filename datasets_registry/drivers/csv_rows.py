"""Rows of one published CSV of CICFlowMeter, read whatever is in it: what cannot be used is left out and counted.

Only the columns that identify a flow are read.  The features of the CSV are not: they are computed from the packets.
"""

import csv
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from datasets_registry.drivers.driver import LabelMap, class_table
from datasets_registry.labelling.csv_text import check_csv_text
from datasets_registry.labelling.keys import KEY_COLUMNS, addresses, canonical_keys
from datasets_registry.labelling.times import NS
from janus_bench.errors import DataError

DAY_FIRST = (
    r"(?<day>\d{1,2})/(?<month>\d{1,2})/(?<year>\d{4}) "
    r"(?<hour>\d{1,2}):(?<minute>\d{2})(?::(?<second>\d{2})(?:\.(?<fraction>\d{1,9}))?)?"
)
"""6/7/2017 9:15, 03/07/2017 08:55:58"""

ISO = (
    r"(?<year>\d{4})-(?<month>\d{2})-(?<day>\d{2})[ "
    r"T](?<hour>\d{2}):(?<minute>\d{2})(?::(?<second>\d{2})(?:\.(?<fraction>\d{1,9}))?)?"
)
"""2018-11-03 10:01:35.983831"""

TIMES_SHOWN = {DAY_FIRST: "d/M/yyyy h:mm[:ss]", ISO: "yyyy-MM-dd hh:mm[:ss[.ffffff]]"}  # As a person reads them.

TCP_UDP = (6, 17)  # CICFlowMeter knows these protocols; it writes every other one as 0, without ports.

USED = ("src_ip", "src_port", "dst_ip", "dst_port", "proto", "time", "label")
MICROSECOND = NS // 10**6
BLOCK = 1 << 25  # bytes that are read at a time


@dataclass(frozen=True)
class CsvFormat:
    """How a dataset's CSVs are written.

    Names are those of the header, spaces at their ends aside; of a name that is there twice the first column counts.

    src_ip … label  the columns that are needed
    duration        of the flow in µs; without the column every duration is 0
    watched         columns of which only infinite values and undecodable bytes are counted, if they are there
    time_format     regular expression with the groups year, month, day, hour, minute, and optionally second and
                    fraction
    afternoon       hours that are written without AM or PM and mean the afternoon
    """

    time_format: str
    src_ip: str = "Source IP"
    src_port: str = "Source Port"
    dst_ip: str = "Destination IP"
    dst_port: str = "Destination Port"
    proto: str = "Protocol"
    time: str = "Timestamp"
    label: str = "Label"
    duration: str = "Flow Duration"
    watched: tuple[str, ...] = ("Flow ID", "Flow Bytes/s", "Flow Packets/s")
    afternoon: tuple[int, ...] = ()

    @property
    def time_shown(self) -> str:
        """The format of times for messages."""
        return TIMES_SHOWN.get(self.time_format, self.time_format)


@dataclass(frozen=True, eq=False)
class CsvRows:
    """What could be used of a CSV.

    rows     position (Int64, among the lines of the file after the header, from 0), ``KEY_COLUMNS``, start (Int64, ns,
             in the CSV's own clock), duration, precision (Int64, ns), label, family (Categorical), attack (Boolean),
             copy (Boolean: a row before it says the same)
    lines    lines after the header
    left_out reason → lines: blank_rows, repeated_headers, bad_rows, unknown_labels
    noted    what → lines that were used all the same: undecodable_bytes, bad_durations, infinite_values
    unknown  labels that the driver does not know
    faults   column → how many of the bad rows cannot be read for what is in it, and the first of them in words
    """

    rows: pl.DataFrame
    lines: int
    left_out: Counter[str]
    noted: Counter[str]
    unknown: tuple[str, ...]
    faults: Mapping[str, tuple[int, str]]


def read_rows(path: Path, form: CsvFormat, labels: LabelMap) -> CsvRows:
    """The rows of a CSV, read in blocks; DataError where it is none of this format."""
    names = check_header(path, form)
    tables, lines, left_out, noted, unknown = [], 0, Counter[str](), Counter[str](), dict[str, None]()
    faults: dict[str, tuple[int, str]] = {}
    for block in _blocks(path):
        text = _read_text(path, block, names, form)
        blank = pl.all_horizontal(pl.col(*USED).is_null())
        # A file that was put together from several has their headers inside.
        header = pl.col("src_ip") == form.src_ip
        left_out += Counter(text.select(blank_rows=blank.sum(), repeated_headers=header.sum()).row(0, named=True))
        used = text.filter(~blank & header.fill_null(False).not_())
        noted += Counter(
            undecodable_bytes=int(used["undecodable"].sum()),
            infinite_values=int(used["infinite"].sum()),
            bad_durations=_duration(used).null_count(),
        )
        known, strange = _classified(used, labels)
        rows = _parsed(used, form).hstack(known).with_columns(pl.col("position") + lines)
        readable, labelled = (
            pl.all_horizontal(pl.col(*KEY_COLUMNS, "start").is_not_null()),
            pl.col("label").is_not_null(),
        )
        left_out += Counter(
            rows.select(bad_rows=(~readable).sum(), unknown_labels=(readable & ~labelled).sum()).row(0, named=True)
        )
        for column, (count, example) in _faults(used.filter(rows.select(~readable).to_series()), form, lines).items():
            before, first = faults.get(column, (0, example))
            faults[column] = before + count, first
        tables.append(rows.filter(readable & labelled))
        lines += text.height
        unknown |= dict.fromkeys(strange)
    return CsvRows(_finished(pl.concat(tables)), lines, left_out, noted, tuple(unknown), faults)


def _blocks(path: Path) -> Iterator[bytes]:
    """Whole lines after the header, ``BLOCK`` bytes or a little more at a time; one block at least."""
    with path.open("rb") as file:
        file.readline()
        yield file.read(BLOCK) + file.readline()
        while block := file.read(BLOCK):
            yield block + file.readline()


def _finished(rows: pl.DataFrame) -> pl.DataFrame:
    """What only the whole file shows: rows that are there twice, and its precision, because writers drop a fraction of
    zero."""
    finest = pl.when(pl.col("precision") <= NS).then(pl.col("precision").min()).otherwise(pl.col("precision"))
    return rows.with_columns(finest.alias("precision"), copy=~pl.col("said").is_first_distinct()).drop("said")


def _names(path: Path) -> list[str]:
    check_csv_text(path, lossy=True)
    with path.open("rb") as file:
        first = file.readline().decode("utf-8-sig", errors="replace")
    try:
        return [name.strip() for name in next(csv.reader([first.strip()]), [])]
    except csv.Error as error:
        raise DataError(f"{path}: its first line is no header ({error})") from None


def check_header(path: Path, form: CsvFormat) -> list[str]:
    """The names in a CSV's header; DataError if a column that is needed is not among them."""
    names = _names(path)
    missing = [getattr(form, name) for name in USED if getattr(form, name) not in names]
    if missing:
        raise DataError(
            f"{path}: no column {', '.join(map(repr, missing))} in its header of {len(names)}; is it the CSV "
            "with addresses and times?"
        )
    return names


def _read_text(path: Path, block: bytes, names: list[str], form: CsvFormat) -> pl.DataFrame:
    """position (of the block's lines), the used columns and the duration as text (null where empty), infinite,
    undecodable (Boolean)."""
    column = {name: pl.col(f"c{names.index(getattr(form, name))}") for name in USED}
    column["duration"] = pl.col(f"c{names.index(form.duration)}") if form.duration in names else pl.lit("0")
    watched = [pl.col(f"c{names.index(name)}") for name in form.watched if name in names] + list(column.values())
    cleaned = [
        expression.str.strip_chars(" \t\r\"'").replace("", None).alias(name) for name, expression in column.items()
    ]
    columns = {f"c{number}": pl.String for number in range(len(names))}
    try:
        # Quotes have no meaning in these files: a stray one must not swallow the lines that follow.
        lines = pl.scan_csv(
            block,
            has_header=False,
            schema=columns,
            quote_char=None,
            encoding="utf8-lossy",
            truncate_ragged_lines=True,
            missing_columns="insert",
            row_index_name="position",
        )
        return lines.select(
            pl.col("position").cast(pl.Int64),
            *cleaned,
            infinite=_any(watched, r"(?i)^\s*[+-]?(inf(inity)?|nan)\s*$"),
            undecodable=_any(watched, "\ufffd"),
        ).collect()
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException) as error:
        raise DataError(f"{path}: not a readable CSV ({str(error).splitlines()[0]})") from None


def _any(columns: list[pl.Expr], pattern: str) -> pl.Expr:
    return pl.any_horizontal(*(column.str.contains(pattern).fill_null(False) for column in columns))


def _duration(text: pl.DataFrame) -> pl.Series:
    """µs as a number; null where it is none, is infinite, or below 0."""
    number = text["duration"].cast(pl.Float64, strict=False)
    return number.set(~(number.is_finite() & (number >= 0) & (number < 1e15)).fill_null(False), None)


def _parsed(text: pl.DataFrame, form: CsvFormat) -> pl.DataFrame:
    """Columns of ``CsvRows.rows`` but those of the label, null keys or start where a text cannot be read; and said, a
    hash of the text."""
    protocol = _number(text, "proto", 255)
    protocol = protocol.set(~protocol.is_in(TCP_UDP).fill_null(True), 0)
    source, destination = (
        addresses(text[f"{side}_ip"]).with_columns(port=_number(text, f"{side}_port", 65535)) for side in ("src", "dst")
    )
    mixed = source["version"] != destination["version"]
    keys = canonical_keys(source, destination, protocol).with_columns(
        pl.when(~mixed).then(pl.col("rest")).alias("rest")
    )
    start, precision = _times(text["time"], form)
    duration = (_duration(text).fill_null(0.0) * MICROSECOND).round().cast(pl.Int64).alias("duration")
    said = text.select(said=pl.struct(*USED, "duration").hash())["said"]
    return pl.concat(
        [text.select("position"), keys, pl.DataFrame([start, duration, precision, said])], how="horizontal"
    )


def _number(text: pl.DataFrame, name: str, highest: int) -> pl.Series:
    value = text[name].cast(pl.Float64, strict=False)  # "80.0" is what a table that was edited elsewhere has
    return value.set(~value.is_between(0, highest).fill_null(False), None).cast(pl.Int64)


def _faults(bad: pl.DataFrame, form: CsvFormat, before: int) -> dict[str, tuple[int, str]]:
    """See ``CsvRows.faults``; ``bad``: texts of the bad rows of a block that follows ``before`` lines."""
    if not bad.height:
        return {}
    versions = [addresses(bad[f"{side}_ip"])["version"] for side in ("src", "dst")]
    checks = (
        ("time", _times(bad["time"], form)[0].is_not_null(), form.time_shown),
        ("src_ip", versions[0].is_not_null(), "an IPv4 or IPv6 address"),
        ("dst_ip", versions[1].is_not_null(), "an IPv4 or IPv6 address"),
        ("src_port", _number(bad, "src_port", 65535).is_not_null(), "a port, 0 to 65535"),
        ("dst_port", _number(bad, "dst_port", 65535).is_not_null(), "a port, 0 to 65535"),
        ("proto", _number(bad, "proto", 255).is_not_null(), "the number of a protocol"),
        ("dst_ip", versions[0] == versions[1], f"of the IP version of {form.src_ip}"),
    )
    faults: dict[str, tuple[int, str]] = {}
    fine_so_far = pl.repeat(True, bad.height, dtype=pl.Boolean, eager=True)
    for name, fine, expected in checks:
        wrong = fine_so_far & ~fine.fill_null(False)
        fine_so_far &= fine.fill_null(False)
        if wrong.any():
            row, column = int(wrong.arg_max() or 0), getattr(form, name)
            found = "empty" if bad[name][row] is None else repr(bad[name][row])
            example = f"{column} {found} (line {bad['position'][row] + before + 2}) is not {expected}"
            count, first = faults.get(column, (0, example))
            faults[column] = count + int(wrong.sum()), first
    return faults


def _times(texts: pl.Series, form: CsvFormat) -> tuple[pl.Series, pl.Series]:
    """start, precision: Int64 ns, each by its own text."""
    parts = texts.to_frame("t").select(pl.col("t").str.extract_groups(f"^{form.time_format}$")).unnest("t")
    optional = [pl.lit(None, pl.String).alias(name) for name in ("second", "fraction") if name not in parts.columns]
    parts = parts.with_columns(optional).with_columns(
        pl.col("year", "month", "day", "hour", "minute", "second").cast(pl.Int64, strict=False)
    )
    date = pl.concat_str([pl.col("year"), pl.col("month"), pl.col("day")], separator="-").str.to_date(
        "%Y-%m-%d", strict=False
    )
    hour = pl.col("hour") + 12 * pl.col("hour").is_in(form.afternoon).cast(pl.Int64)
    seconds = date.dt.epoch("s") + 3600 * hour + 60 * pl.col("minute") + pl.col("second").fill_null(0)
    fraction = pl.col("fraction").fill_null("").str.pad_end(9, "0").cast(pl.Int64)
    # With a duration added, later times would not fit into int64 nanoseconds.
    valid = (
        pl.col("year").is_between(1970, 2199)
        & (pl.col("hour") < 24)
        & (pl.col("minute") < 60)
        & (pl.col("second").fill_null(0) < 60)
    )
    times = parts.select(
        start=pl.when(valid).then(seconds * NS + fraction),
        precision=pl.when(pl.col("second").is_null())
        .then(60 * NS)
        .when(pl.col("fraction").is_null())
        .then(NS)
        .otherwise(MICROSECOND)
        .cast(pl.Int64),
    )
    return times["start"], times["precision"]


def _classified(text: pl.DataFrame, labels: LabelMap) -> tuple[pl.DataFrame, tuple[str, ...]]:
    """label, family, attack of each row, null where the driver does not know the label; and those labels."""
    found = {name: labels.classify(name or "") for name in text["label"].unique(maintain_order=True)}
    table = class_table("text", pl.String(), found).with_columns(pl.col("label", "family").cast(pl.Categorical))
    known = text.select(text="label").join(table, on="text", how="left", maintain_order="left").drop("text")
    return known, tuple(name for name, kind in found.items() if name and not kind)
