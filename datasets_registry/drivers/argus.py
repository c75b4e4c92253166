"""Lists of flows that Argus's ``ra`` printed as CSV, as lists of connections.

Ports are decimal, or hexadecimal with ``0x`` (type and code of ICMP); protocols have names, and what Argus took for an
application over UDP (``rtp``, ``rtcp``, ``udt``) stands in the place of the protocol.
"""

from dataclasses import dataclass
from pathlib import Path

import polars as pl

from datasets_registry.drivers.connections import Connections
from datasets_registry.labelling.csv_text import check_csv_text
from datasets_registry.labelling.keys import WITH_PORTS, addresses, canonical_keys
from datasets_registry.labelling.labels_csv import PROTOCOLS
from datasets_registry.labelling.times import NS
from janus_bench.errors import DataError
from janus_bench.stored import first_line

OVER_UDP = dict.fromkeys(("rtp", "rtcp", "udt"), 17)
NAMES = {**PROTOCOLS, **OVER_UDP, "ipv6-icmp": 58, "ospf": 89, "pim": 103, "rsvp": 46, "ah": 51}
"""Protocols that are matched, by Argus's names; rows of others (ARP, and the unassigned ones that fuzzers send) are
counted."""
USED = ("src_ip", "src_port", "dst_ip", "dst_port", "proto", "time", "duration")


@dataclass(frozen=True)
class ArgusFormat:
    """How a dataset's lists are written.

    columns  names of all columns, where the files have no header; empty: they stand in the first line
    text     the label out of the columns
    The others are names of columns: times in seconds since the epoch or as ``yyyy/MM/dd hh:mm:ss.ffffff``, durations in
    seconds.
    """

    text: pl.Expr
    columns: tuple[str, ...] = ()
    src_ip: str = "SrcAddr"
    src_port: str = "Sport"
    dst_ip: str = "DstAddr"
    dst_port: str = "Dport"
    proto: str = "Proto"
    time: str = "StartTime"
    duration: str = "Dur"


def read_flows(path: Path, form: ArgusFormat) -> Connections:
    """All rows of a list; DataError where it is none of this format."""
    check_csv_text(path, lossy=True)
    names = form.columns or _header(path)
    missing = [getattr(form, role) for role in USED if getattr(form, role) not in names]
    missing += [name for name in form.text.meta.root_names() if name not in names]
    if missing:
        raise DataError(f"{path}: no list of flows: its first line has no column {', '.join(map(repr, missing))}")
    try:
        lines = pl.scan_csv(
            path,
            has_header=not form.columns,
            # A stray quote must not swallow the lines that follow.
            quote_char=None,
            schema=dict.fromkeys(names, pl.String),
            encoding="utf8-lossy",
            truncate_ragged_lines=True,
            missing_columns="insert",
            row_index_name="position",
        )
        roles = {role: pl.col(getattr(form, role)).str.strip_chars(' \t\r"\ufeff') for role in USED}
        text = lines.select(
            pl.col("position").cast(pl.Int64),
            **roles,
            text=form.text,
            copy=~pl.struct(names).hash().is_first_distinct(),
        ).collect()
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException) as error:
        raise DataError(f"{path}: not a readable list of flows ({first_line(error)})") from None
    protocol = text["proto"].str.to_lowercase().replace_strict(NAMES, default=None, return_dtype=pl.Int64)
    source, destination = (
        addresses(text[f"{side}_ip"]).with_columns(port=_ports(text[f"{side}_port"], protocol))
        for side in ("src", "dst")
    )
    icmp6 = (protocol == 1) & (source["version"] == 6)
    start, precision = _times(text["time"])
    seconds = text["duration"].cast(pl.Float64, strict=False).fill_null(0.0).fill_nan(0.0).clip(0, 1e6)
    rows = pl.concat(
        [
            text.select("position", "text", "copy"),
            canonical_keys(source, destination, protocol.set(icmp6.fill_null(False), 58)),
            pl.DataFrame([start, (seconds * NS).round().cast(pl.Int64).alias("duration"), precision]),
        ],
        how="horizontal",
    )
    return Connections(rows, protocol.is_null() & text["proto"].is_not_null(), rows.height)


def _header(path: Path) -> tuple[str, ...]:
    with path.open("rb") as file:
        return tuple(name.strip() for name in file.readline().decode("utf-8-sig", errors="replace").split(","))


def _ports(text: pl.Series, protocol: pl.Series) -> pl.Series:
    """Int64; null where a text is no port, 0 where the protocol has none."""
    parsed = text.to_frame("t").select(
        pl.coalesce(
            pl.col("t").str.extract(r"^0x([0-9a-fA-F]{1,8})$").str.to_integer(base=16, strict=False),
            pl.col("t").cast(pl.Int64, strict=False),
        )
    )
    port = parsed.to_series()
    port = port.set(~port.is_between(0, 65535).fill_null(False), None)
    return port.set(~protocol.is_in(WITH_PORTS).fill_null(True), 0).alias("port")


def _times(text: pl.Series) -> tuple[pl.Series, pl.Series]:
    """start (null where a text is no time) and precision, Int64 ns: a second, or a microsecond where any row has a
    fraction."""
    seconds = pl.coalesce(
        pl.col("t").str.extract(r"^(\d{1,10})(?:\.\d+)?$").cast(pl.Int64),
        pl.col("t")
        .str.extract(r"^(\d{4}/\d{2}/\d{2} \d{2}:\d{2}:\d{2})(?:\.\d+)?$")
        .str.to_datetime("%Y/%m/%d %H:%M:%S", strict=False)
        .dt.epoch("s"),
    )
    fraction = pl.col("t").str.extract(r"\.(\d{1,9})$")
    frame = text.to_frame("t").select(
        start=seconds * NS + fraction.fill_null("").str.pad_end(9, "0").cast(pl.Int64),
        precision=pl.when(fraction.is_not_null().any()).then(NS // 10**6).otherwise(NS).cast(pl.Int64),
    )
    precision = frame["precision"]
    return frame["start"], precision if len(precision) == len(text) else precision.new_from_index(0, len(text))
