"""The engine of drivers whose labels are CICFlowMeter's CSVs with addresses and times: read, set the clock, match,
account for every row."""

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import polars as pl

from datasets_registry.drivers.csv_rows import TCP_UDP, CsvFormat, check_header, read_rows
from datasets_registry.drivers.driver import NO_LABEL, Labeller, LabelMap, Request, assign, check_folder, empty_counts
from datasets_registry.folders import DANGLING, files_below, say_left
from datasets_registry.labelling.assignment import Assignment
from datasets_registry.labelling.clock import Clock, read_clock
from datasets_registry.labelling.keys import KEY_COLUMNS
from datasets_registry.labelling.overlap import Overlap, match_overlapping, with_sessions
from datasets_registry.labelling.times import NS
from janus_bench.errors import DataError, UsageError

HOUR = 3600
APART = 26 * HOUR  # no two time zones are further apart
ENOUGH = 0.8  # share of the shared 5-tuples that have to agree on the clock

PIECE = 4_000_000  # rows and flows that are matched at a time


@dataclass(frozen=True)
class CsvLabels:
    """Where a dataset's CSVs are and how they are read.

    files  group → regular expression of its CSVs' paths, from the labels folder's own name on ('/'-separated, case does
           not matter)
    zones  group → hours that the CSVs' clock is ahead of UTC; any after the first are taken, too, if the captures say
           so
    """

    form: CsvFormat
    labels: LabelMap
    files: Mapping[str, str]
    zones: Mapping[str, tuple[int, ...]]

    def labeller(self, request: Request) -> Labeller:
        """See ``Driver.labeller``; the CSVs of all groups asked for are looked for, and at, before anything else is
        done."""
        if request.labels is None:
            raise UsageError("this dataset's labels are in its CSVs: name their folder with --labels")
        found = self._find(request)
        for group in sorted(request.groups):
            if group not in found:
                raise DataError(
                    f"{request.labels}: no CSV for the captures of {group}; expected {self.files.get(group, 'none')}"
                )
            for path in found[group]:
                check_header(path, self.form)
        return partial(self._label, request, found)

    def _find(self, request: Request) -> dict[str, list[Path]]:
        """Group → its CSVs; what else there is below the labels folder is told."""
        assert request.labels is not None
        folder = request.labels
        check_folder(folder, "labels")
        below = files_below(folder)
        found: dict[str, list[Path]] = {}
        left = dict(below.left)
        for file, path in sorted(below.files.items(), key=lambda item: item[1]):
            name = f"{folder.resolve().name}/{file}"
            groups = [group for group, pattern in self.files.items() if re.fullmatch(pattern, name, re.IGNORECASE)]
            for group in groups:
                found.setdefault(group, []).append(path)
            if not request.groups.intersection(groups):
                left[file] = (
                    f"it is of {' and '.join(groups)}, of which there are no captures"
                    if groups
                    else "not named as this dataset names them"
                )
        for line in say_left(
            {file: why for file, why in left.items() if file.lower().endswith(".csv") or why == DANGLING},
            "a label file",
        ):
            request.tell(line)
        if not found:
            raise DataError(
                f"{folder}: none of this dataset's CSVs; expected paths such as "
                f"{' or '.join(list(self.files.values())[:2])}"
            )
        return found

    def _label(
        self, request: Request, found: Mapping[str, Sequence[Path]], group: str, flows: pl.DataFrame
    ) -> Assignment:
        rows, noted, faults = self._read(request, found[group])
        if not rows.height:
            raise DataError(
                f"{group}: none of the rows of its {len(found[group])} CSVs can be used: "
                f"{faults or 'no row has a label that is known'}"
            )
        table = flows.select(
            "a_high", "a_low", "b_high", "b_low", _as_the_meter_sees("rest"), "first", "last"
        ).with_row_index("flow")
        counts: Counter[tuple[str, str]] = Counter(
            {(label, "duplicates"): count for label, count in rows.filter("copy").group_by("label").len().iter_rows()}
        )
        offset, chosen = None, []
        for sessions, known in pieces(rows.filter(~pl.col("copy")), table):
            if offset is None:
                offset = self._offset(request, group, read_clock(sessions, known), rows.height, faults)
            match = match_overlapping(sessions.with_columns(pl.col("start") - offset), known)
            chosen.append(match.flows)
            counts += fates(match)
        kinds = rows.select("row", "family", "attack")
        return assign(
            flows, pl.concat(chosen).join(kinds, on="row", how="left", maintain_order="left"), report(counts, noted)
        )

    def _read(self, request: Request, paths: Sequence[Path]) -> tuple[pl.DataFrame, Counter[str], str]:
        """Rows of all files, ``row`` counting on; what was left out or odd; and the first rows that could not be
        read."""
        tables, noted, faults, before = [], Counter[str](), "", 0
        for path in paths:
            read = read_rows(path, self.form, self.labels)
            tables.append(read.rows.with_columns(row=pl.col("position") + before).drop("position"))
            before += read.lines
            noted += read.left_out + read.noted
            wrong = "; ".join(f"{example} ({count} rows)" for count, example in read.faults.values())
            faults = faults or (f"{path.name}: {wrong}" if wrong else "")
            if seen := {reason: count for reason, count in (read.left_out + read.noted).items() if count}:
                request.tell(
                    f"{path.name}: of {read.lines} rows, "
                    + ", ".join(f"{count} {reason.replace('_', ' ')}" for reason, count in seen.items())
                    + (f": {wrong}" if wrong else "")
                )
            if read.unknown:
                request.tell(
                    f"{path.name}: labels that the driver does not know, left out: "
                    f"{', '.join(map(repr, read.unknown[:5]))}"
                )
        return pl.concat(tables), noted, faults

    def _offset(self, request: Request, group: str, clock: Clock, n_rows: int, faults: str) -> int:
        """ns to subtract from the rows' times (in the CSVs' own clock): what the captures confirm and the driver
        expects, or what was given."""
        zones = self.zones[group]
        zone = zones[0]
        if not clock.votes:
            unread = f"; rows that could not be read: {faults}" if faults else ""
            raise DataError(
                f"{group}: none of the 5-tuples of {n_rows} CSV rows occurs in the captures; do captures and "
                f"CSVs belong together?{unread}"
            )
        clock = Clock(clock.votes, tuple((offset - zone * HOUR, share) for offset, share in clock.offsets))
        expected = "expected by the driver: " + " or ".join(f"UTC{known:+d}" for known in zones)
        request.tell(f"{group}: CSV start − first packet over {clock.votes} shared 5-tuples: {clock} ({expected})")
        (offset, share), given = clock.offsets[0], request.time_offset_s
        if share >= ENOUGH and offset in {(known - zone) * HOUR for known in zones}:
            return (offset + zone * HOUR) * NS
        if given is not None:  # for the groups that need it
            request.tell(f"{group}: {given:+.10g} s are subtracted from the CSVs' times, as given")
            return round(given * NS) + zone * HOUR * NS
        if abs(offset) > APART:
            raise DataError(
                f"{group}: the CSVs' times are {offset / 24 / HOUR:+.1f} days off the captures in {share:.1%} "
                f"of {clock.votes} 5-tuples, as no time "
                f"zone is; they were read as {self.form.time_shown}: are they written in another order, or the "
                "captures of other days?"
            )
        if share < ENOUGH:
            raise DataError(
                f"{group}: no time offset holds for {ENOUGH:.0%} of {clock.votes} shared 5-tuples ({clock}; "
                f"{expected}); "
                f"if the most frequent one is right, repeat with --time-offset {offset}"
            )
        raise DataError(
            f"{group}: the CSVs' times are {offset:+d} s off the captures in {share:.1%} of {clock.votes} "
            f"shared 5-tuples ({expected}); "
            f"to subtract that, repeat with --time-offset {offset}"
        )


def _as_the_meter_sees(rest: str) -> pl.Expr:
    """The key's last word with protocols that CICFlowMeter does not know as 0 without ports."""
    column = pl.col(rest)
    known = (column // 2**32 % 256).is_in(TCP_UDP)
    return pl.when(known).then(column).otherwise(column // 2**40 * 2**40).alias(rest)


def pieces(rows: pl.DataFrame, flows: pl.DataFrame) -> Iterator[tuple[pl.DataFrame, pl.DataFrame]]:
    """Both tables as ``with_sessions`` gives them, in pieces that have no 5-tuple in common: matching needs many times
    the memory of what it matches.

    A 5-tuple's piece is drawn by its hash, so that the first one is a fair sample of them for the clock.
    """
    number = 1 + (rows.height + flows.height) // PIECE
    rows, flows = (
        table.with_columns(piece=(pl.struct(KEY_COLUMNS).hash() % number).cast(pl.UInt32)) for table in (rows, flows)
    )
    for piece in range(number):
        yield with_sessions(*(table.filter(pl.col("piece") == piece).drop("piece") for table in (rows, flows)))


def fates(match: Overlap) -> Counter[tuple[str, str]]:
    """(label, what became of it) → rows or flows"""
    counts: Counter[tuple[str, str]] = Counter()
    for table in (match.rows, match.flows.with_columns(fate=pl.lit("flows")), match.rest):
        for label, fate, count in table.group_by("label", "fate").len().iter_rows():
            counts[label or NO_LABEL, fate] += count
    return counts


def report(counts: Mapping[tuple[str, str], int], noted: Mapping[str, int]) -> dict[str, dict[str, int]]:
    """label → rows: matched, parts, ambiguous, duplicates, unmatched_rows; flows: flows, unmatched_flows,
    ambiguous_flows."""
    report: dict[str, dict[str, int]] = {}
    for (label, fate), count in sorted(counts.items()):
        report.setdefault(label, empty_counts() | {"parts": 0, "duplicates": 0, "ambiguous_flows": 0})[fate] = count
    if seen := {reason: count for reason, count in noted.items() if count}:
        report[NO_LABEL] = report.get(NO_LABEL, empty_counts()) | seen
    return report
