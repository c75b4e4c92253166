"""The engine of drivers whose labels are Zeek's ``conn.log.labeled``: a row a connection, with its 5-tuple, its start
in UTC to the microsecond and its duration.

Zeek ends connections by other rules than ours, so rows claim flows as those of a flow meter do
(``labelling.overlap``): a flow takes a label if all rows that share time with it agree.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import polars as pl

from datasets_registry.drivers.csv_labels import ENOUGH, fates, pieces, report
from datasets_registry.drivers.driver import (
    BENIGN,
    Labeller,
    LabelMap,
    Request,
    assign,
    check_folder,
    class_table,
    empty_counts,
)
from datasets_registry.folders import files_below
from datasets_registry.labelling.assignment import Assignment
from datasets_registry.labelling.clock import Clock, read_clock
from datasets_registry.labelling.keys import KEY_COLUMNS, addresses, canonical_keys
from datasets_registry.labelling.labels_csv import PROTOCOLS
from datasets_registry.labelling.overlap import match_overlapping
from datasets_registry.labelling.times import NS
from janus_bench.errors import DataError, UsageError
from janus_bench.stored import first_line

FIELDS = ("ts", "id.orig_h", "id.orig_p", "id.resp_h", "id.resp_p", "proto", "duration")
PRECISION = 1000  # ns: times and durations are written to the microsecond
UNSET = ("-", "(empty)")


@dataclass(frozen=True)
class ZeekLabels:
    """Where a dataset's logs are and what their labels mean.

    group_of  path of a log → group, as ``Driver.group_of`` for captures
    labels    of ``label detailed-label``, such as ``Malicious C&C``; an unset detail is left out
    benign    groups that are benign as a whole where they have no log
    """

    labels: LabelMap
    group_of: Callable[[str], str | None]
    benign: Callable[[str], bool]

    def labeller(self, request: Request) -> Labeller:
        """See ``Driver.labeller``; the logs of all groups are looked for before anything else is done."""
        if request.labels is None:
            raise UsageError("this dataset's labels are in its logs: name their folder with --labels")
        check_folder(request.labels, "labels")
        found: dict[str, list[Path]] = {}
        for name, path in sorted(files_below(request.labels).files.items()):
            group = self.group_of(name) if name.lower().endswith("conn.log.labeled") else None
            if group is not None:
                found.setdefault(group, []).append(path)
        for group in sorted(request.groups - set(found)):
            if not self.benign(group):
                raise DataError(
                    f"{request.labels}: no conn.log.labeled of {group}, of which there is a capture: add its log, or "
                    "take the capture away"
                )
            request.tell(f"{group}: no conn.log.labeled; taken as benign as a whole, as such captures are published")
        return partial(self._label, request, found)

    def _label(
        self, request: Request, found: Mapping[str, Sequence[Path]], group: str, flows: pl.DataFrame
    ) -> Assignment:
        if group not in found:
            whole = pl.DataFrame({"flow": range(flows.height)}, {"flow": pl.UInt32})
            names = {"label": BENIGN.label, "family": BENIGN.family}
            chosen = whole.with_columns(attack=False, **{name: pl.lit(text) for name, text in names.items()})
            return assign(flows, chosen, {BENIGN.label: empty_counts() | {"flows": flows.height}})
        rows, noted = self._read(request, group, found[group])
        table = flows.select(*KEY_COLUMNS, "first", "last").with_row_index("flow")
        counts: Counter[tuple[str, str]] = Counter()
        offset, parts = None, []
        for sessions, known in pieces(rows, table):
            if offset is None:
                offset = self._offset(request, group, read_clock(sessions, known), rows.height)
            match = match_overlapping(sessions.with_columns(pl.col("start") - offset), known)
            parts.append(match.flows)
            counts += fates(match)
        kinds = rows.select("row", "family", "attack")
        chosen = pl.concat(parts).join(kinds, on="row", how="left", maintain_order="left")
        return assign(flows, chosen, report(counts, noted))

    def _offset(self, request: Request, group: str, clock: Clock, n_rows: int) -> int:
        """ns to subtract from the rows' times."""
        if not clock.votes:
            raise DataError(
                f"{group}: none of the 5-tuples of {n_rows} rows occurs in the captures; do captures and logs belong "
                "together?"
            )
        request.tell(f"{group}: start by the log − first packet over {clock.votes} shared 5-tuples: {clock}")
        offset, share = clock.offsets[0]
        if request.time_offset_s is not None:
            return round(request.time_offset_s * NS)
        if offset or share < ENOUGH:
            raise DataError(
                f"{group}: the log's times are {offset:+d} s off the captures in {share:.1%} of {clock.votes} shared "
                f"5-tuples, and should be UTC; to subtract that, repeat with --time-offset {offset}"
            )
        return 0

    def _read(self, request: Request, group: str, paths: Sequence[Path]) -> tuple[pl.DataFrame, Counter[str]]:
        """row, ``KEY_COLUMNS``, start, duration, precision (Int64, ns), label, family, attack of all logs; and what was
        left out."""
        tables, noted, before = [], Counter[str](), 0
        for path in paths:
            text = _read_text(path)
            names = {name: self.labels.classify(name or "") for name in text["label"].unique(maintain_order=True)}
            rows = _parsed(text).hstack(
                text.select(text="label")
                .join(class_table("text", pl.String(), names), on="text", how="left", maintain_order="left")
                .drop("text")
            )
            readable = rows.select(pl.all_horizontal(pl.col(*KEY_COLUMNS, "start").is_not_null())).to_series()
            labelled = rows["label"].is_not_null()
            left = Counter(bad_rows=int((~readable).sum()), unknown_labels=int((readable & ~labelled).sum()))
            noted += left
            if +left:
                unknown = [name for name, kind in names.items() if kind is None]
                request.tell(
                    f"{path.name}: of {text.height} rows, "
                    + ", ".join(f"{count} {what.replace('_', ' ')}" for what, count in (+left).items())
                    + (f"; not known: {', '.join(map(repr, unknown[:5]))}" if unknown else "")
                )
            numbered = rows.with_columns(row=pl.int_range(pl.len(), dtype=pl.Int64) + before)
            tables.append(numbered.filter(readable & labelled))
            before += text.height
        rows = pl.concat(tables)
        if not rows.height:
            raise DataError(f"{group}: none of the {before} rows of its logs can be used")
        return rows, noted


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
