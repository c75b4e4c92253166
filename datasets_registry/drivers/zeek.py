"""Zeek's ``conn.log.labeled`` as a list of connections: times in UTC to the microsecond, labels behind the last
field."""

from pathlib import Path

import polars as pl

from datasets_registry.drivers.connections import Connections
from datasets_registry.labelling.keys import addresses, canonical_keys
from datasets_registry.labelling.labels_csv import PROTOCOLS
from datasets_registry.labelling.times import NS
from janus_bench.errors import DataError
from janus_bench.stored import first_line

FIELDS = ("ts", "id.orig_h", "id.orig_p", "id.resp_h", "id.resp_p", "proto", "duration")
PRECISION = 1000  # ns: times and durations are written to the microsecond
UNSET = ("-", "(empty)")


def read_log(path: Path, _group: str = "") -> Connections:
    """The rows of a log, each labelled ``label detailed-label``, such as ``Malicious C&C``; an unset detail is left
    out.  DataError where it is no such log."""
    text = _read_text(path)
    rows = _parsed(text).with_columns(text["label"].alias("text"), copy=pl.lit(False))
    numbered = rows.with_columns(position=pl.int_range(pl.len(), dtype=pl.Int64))
    return Connections(numbered, pl.repeat(False, rows.height, dtype=pl.Boolean, eager=True), rows.height)


def _read_text(path: Path) -> pl.DataFrame:
    """The columns ``FIELDS``, and label: ``label`` and ``detailed-label`` with a space between; texts."""
    names: list[str] = []
    with path.open(encoding="utf-8", errors="replace") as file:
        for line in file:
            if not line.startswith("#"):
                break
            if line.startswith("#fields"):
                names = line.rstrip("\r\n").split("\t")[1:]
    # The labels were appended behind the last field with spaces, in most logs at least.
    last = [part for name in names[-3:] for part in name.split()][-3:]
    missing = [name for name in FIELDS if name not in names]
    if missing or last[-2:] != ["label", "detailed-label"]:
        raise DataError(
            f"{path}: no conn.log.labeled of Zeek: its #fields lack {', '.join(missing) or 'label and detailed-label'}"
        )
    try:
        lines = pl.scan_csv(
            path,
            separator="\t",
            has_header=False,
            comment_prefix="#",
            quote_char=None,
            schema=dict.fromkeys(map(str, range(len(names))), pl.String),
            encoding="utf8-lossy",
            truncate_ragged_lines=True,
            missing_columns="insert",
        )
        behind = pl.concat_str(
            [pl.col(str(place)).fill_null("") for place in range(max(0, len(names) - 3), len(names))], separator="  "
        )
        words = (
            behind.str.strip_chars()
            .str.split("  ")
            .list.eval(pl.element().str.strip_chars().filter(pl.element().str.strip_chars() != ""))
        )
        detail = (
            pl.when(words.list.get(-1, null_on_oob=True).is_in(UNSET))
            .then(pl.lit(""))
            .otherwise(words.list.get(-1, null_on_oob=True))
        )
        return lines.select(
            *(pl.col(str(names.index(name))).str.strip_chars().alias(name) for name in FIELDS),
            label=pl.concat_str([words.list.get(-2, null_on_oob=True), detail], separator=" ").str.strip_chars(),
        ).collect(engine="streaming")
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException) as error:
        raise DataError(f"{path}: not a readable log ({first_line(error)})") from None


def _parsed(text: pl.DataFrame) -> pl.DataFrame:
    """``KEY_COLUMNS``, start, duration, precision; null where a text cannot be read."""
    source, destination = (
        addresses(text[f"id.{end}_h"]).with_columns(port=text[f"id.{end}_p"].cast(pl.Int64, strict=False))
        for end in ("orig", "resp")
    )
    known = {name: number for name, number in PROTOCOLS.items() if not name.startswith("icmp")}
    protocol = text["proto"].str.to_lowercase().replace_strict(known, default=None, return_dtype=pl.Int64)
    icmp = pl.Series(text["proto"].str.to_lowercase() == "icmp")  # of both versions, told apart by the addresses
    protocol = protocol.set(icmp & (source["version"] == 4).fill_null(False), 1)
    protocol = protocol.set(icmp & (source["version"] == 6).fill_null(False), 58)
    seconds, duration = (text[name].cast(pl.Float64, strict=False) for name in ("ts", "duration"))
    # Through text: seconds since 1970 with six digits are more than a float holds.
    whole = text["ts"].str.extract(r"^(\d{1,10})(?:\.\d+)?$").cast(pl.Int64)
    fraction = text["ts"].str.extract(r"^\d+\.(\d{1,9})").fill_null("").str.pad_end(9, "0").cast(pl.Int64)
    start = pl.Series("start", whole * NS + fraction).set(seconds.is_null(), None)
    length = (duration.fill_null(0.0).clip(0, 1e6) * NS).round().cast(pl.Int64).alias("duration")
    precision = pl.repeat(PRECISION, text.height, dtype=pl.Int64, eager=True).alias("precision")
    keys = canonical_keys(source, destination, protocol)
    return pl.concat([keys, pl.DataFrame([start, length, precision])], how="horizontal")
