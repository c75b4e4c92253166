"""The engine of drivers whose labels are lists of connections: a row a connection, with its 5-tuple, its start and its
duration, as Zeek and Argus write them (``zeek``, ``argus``).

A flow monitor ends connections by other rules than ours, so rows claim flows as those of a flow meter do
(``labelling.overlap``): a flow takes a label if all rows that share time with it agree.
"""

import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import polars as pl

from datasets_registry.drivers.csv_labels import ENOUGH, HOUR, fates, pieces, report
from datasets_registry.drivers.driver import (
    BENIGN,
    Label,
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
from datasets_registry.labelling.keys import KEY_COLUMNS
from datasets_registry.labelling.overlap import match_overlapping
from datasets_registry.labelling.times import NS
from janus_bench.errors import DataError, UsageError


@dataclass(frozen=True, eq=False)
class Connections:
    """The rows of a list that are of a group's time.

    rows   position (Int64, among the lines of the file, from 0), ``KEY_COLUMNS``, start (in the list's own clock),
           duration, precision (Int64, ns), null where a text cannot be read; text: the label as it is written; copy
           (Boolean): a row before it says the same in every column
    other  (n,) Boolean: of a protocol that has no flows here, such as ARP
    lines  of the file
    """

    rows: pl.DataFrame
    other: pl.Series
    lines: int


@dataclass(frozen=True)
class ConnectionLabels:
    """Where a dataset's lists are and what their labels mean.

    name       how the lists are called, for messages
    belongs    (path of a file below the labels folder, group) → whether it is a list of the group
    read       (file, group) → its rows of that group's time; DataError where it is none of this format
    labels     see ``LabelMap``
    neither    pattern of labels that are known to be neither benign nor attack → the name that they are counted under.
               Their rows claim flows like all others, and these flows are left out
    zone       hours that the lists' clock is ahead of UTC
    benign     groups that are benign as a whole where they have no list
    """

    name: str
    belongs: Callable[[str, str], bool]
    read: Callable[[Path, str], Connections]
    labels: LabelMap
    neither: Mapping[str, str] = field(default_factory=dict)
    zone: int = 0
    benign: Callable[[str], bool] = lambda _group: False

    def labeller(self, request: Request) -> Labeller:
        """See ``Driver.labeller``; the lists of all groups are looked for before anything else is done."""
        if request.labels is None:
            raise UsageError(f"this dataset's labels are in its {self.name}: name their folder with --labels")
        check_folder(request.labels, "labels")
        files = sorted(files_below(request.labels).files.items())
        found: dict[str, list[Path]] = {}
        for group in sorted(request.groups):
            if own := [path for name, path in files if self.belongs(name, group)]:
                found[group] = own
            elif not self.benign(group):
                raise DataError(
                    f"{request.labels}: no {self.name} of {group}, of which there is a capture: add it, or take the "
                    "capture away"
                )
            else:
                request.tell(f"{group}: no {self.name}; taken as benign as a whole, as such captures are published")
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
        copies = rows.filter("copy").group_by("label").len()
        counts: Counter[tuple[str, str]] = Counter(
            {(label, "duplicates"): count for label, count in copies.iter_rows()}
        )
        offset, parts = None, []
        for sessions, known in pieces(rows.filter(~pl.col("copy")), table):
            if offset is None:
                offset = self._offset(request, group, read_clock(sessions, known), rows.height)
            match = match_overlapping(sessions.with_columns(pl.col("start") - offset), known)
            parts.append(match.flows)
            counts += fates(match)
        for name in set(self.neither.values()):  # such flows are known, and are left out all the same
            counts[name, "unmatched_flows"] += counts.pop((name, "flows"), 0)
        kinds = rows.select("row", "family", "attack")
        chosen = pl.concat(parts).join(kinds, on="row", how="left", maintain_order="left")
        return assign(flows, chosen.filter(pl.col("attack").is_not_null()), report(+counts, noted))

    def _offset(self, request: Request, group: str, clock: Clock, n_rows: int) -> int:
        """ns to subtract from the rows' times."""
        if not clock.votes:
            raise DataError(
                f"{group}: none of the 5-tuples of {n_rows} rows occurs in the captures; do captures and labels belong "
                "together?"
            )
        zone = self.zone * HOUR
        clock = Clock(clock.votes, tuple((offset - zone, share) for offset, share in clock.offsets))
        request.tell(f"{group}: start by the {self.name} − first packet over {clock.votes} shared 5-tuples: {clock}")
        offset, share = clock.offsets[0]
        if request.time_offset_s is not None:
            return round(request.time_offset_s * NS) + zone * NS
        if offset or share < ENOUGH:
            raise DataError(
                f"{group}: the times of its {self.name} are {offset:+d} s off the captures in {share:.1%} of "
                f"{clock.votes} shared 5-tuples, and should be UTC{f'{self.zone:+d}' if self.zone else ''}; to "
                f"subtract that, repeat with --time-offset {offset}"
            )
        return zone * NS

    def _read(self, request: Request, group: str, paths: Sequence[Path]) -> tuple[pl.DataFrame, Counter[str]]:
        """row, the columns of ``Connections.rows``, label, family, attack of all lists; and what was left out."""
        tables, noted, before = [], Counter[str](), 0
        for path in paths:
            read = self.read(path, group)
            names = {name: self._class(name or "") for name in read.rows["text"].unique(maintain_order=True)}
            known = class_table("text", pl.String(), {text: each for text, each in names.items() if each is not None})
            rows = read.rows.join(known, on="text", how="left", maintain_order="left").drop("text")
            rows = rows.with_columns(attack=pl.when(~pl.col("label").is_in(list(self.neither.values()))).then("attack"))
            readable = rows.select(pl.all_horizontal(pl.col(*KEY_COLUMNS, "start").is_not_null())).to_series()
            labelled = rows["label"].is_not_null()
            left = Counter(
                bad_rows=int((~readable & ~read.other).sum()),
                unknown_labels=int((readable & ~labelled & ~read.other).sum()),
                other_protocols=int(read.other.sum()),
            )
            noted += left
            if +left:
                unknown = [name for name, kind in names.items() if kind is None]
                request.tell(
                    f"{path.name}: of {rows.height} rows, "
                    + ", ".join(f"{count} {what.replace('_', ' ')}" for what, count in (+left).items())
                    + (f"; not known: {', '.join(map(repr, unknown[:5]))}" if unknown else "")
                )
            numbered = rows.with_columns(row=pl.col("position") + before).drop("position")
            tables.append(numbered.filter(readable & labelled & ~read.other))
            before += read.lines
        rows = pl.concat(tables)
        if not rows.height:
            raise DataError(f"{group}: none of the {before} rows of its {self.name} can be used")
        return rows, noted

    def _class(self, text: str) -> Label | None:
        neither = (name for pattern, name in self.neither.items() if re.fullmatch(pattern, text.strip(), re.IGNORECASE))
        if (name := next(neither, None)) is not None:
            return Label(name, name)
        return self.labels.classify(text)
