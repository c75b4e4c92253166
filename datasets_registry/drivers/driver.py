"""What the driver of a published dataset declares, and what all drivers share.

A driver is one file: a ``Driver`` with the dataset's constants, and a ``labeller`` made from one of the engines:
``csv_labels`` (rows of CICFlowMeter's CSVs), ``connections`` (lists of connections, as Zeek and Argus write them),
``windows`` (hosts and times of day), or ``label_captures`` below (the capture's name is the label).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from datasets_registry.capture.rules import FlowRules
from datasets_registry.folders import HIDDEN, UNREAD, files_below, looks_like_capture, say_left
from datasets_registry.labelling.assignment import Assignment
from janus_bench.errors import DataError, UsageError
from janus_bench.quiet import ignore

if TYPE_CHECKING:
    import polars as pl

NO_LABEL = "(no label)"  # Where a report counts flows that cannot be attributed to one label.


@dataclass(frozen=True)
class Label:
    """A class of a dataset: its name, the family that it is counted in, and whether it is an attack (a positive, where
    nothing is attacked)."""

    label: str
    family: str
    attack: bool = True


BENIGN = Label("benign", "benign", False)


@dataclass(frozen=True)
class LabelMap:
    """The spellings of a dataset's labels.

    benign   names of benign traffic, in lower case; benign_patterns: regular expressions of more
    attacks  regular expression → label and family; the first that matches the whole text counts.  Case never matters.
    """

    benign: frozenset[str]
    attacks: Mapping[str, tuple[str, str]]
    benign_patterns: tuple[str, ...] = ()

    def classify(self, text: str) -> Label | None:
        """The class of a label as it is written in the dataset; None if the driver does not know it."""
        text = text.strip()
        if text.lower() in self.benign or any(
            re.fullmatch(pattern, text, re.IGNORECASE) for pattern in self.benign_patterns
        ):
            return BENIGN
        found = (Label(*names) for pattern, names in self.attacks.items() if re.fullmatch(pattern, text, re.IGNORECASE))
        return next(found, None)


@dataclass(frozen=True)
class Request:
    """What the user asked a driver for.

    labels         folder of the published label files; None if none was given
    groups         of the captures that are there
    options        an instance of the driver's ``options``; None if it has none
    time_offset_s  seconds that the label files' clock is ahead of what the driver expects, in groups where that does
                   not hold
    tell           takes one line of diagnostics
    """

    labels: Path | None = None
    groups: frozenset[str] = frozenset()
    options: Any = None
    time_offset_s: float | None = None
    tell: Callable[[str], None] = ignore


Labeller = Callable[[str, "pl.DataFrame"], Assignment]
"""(group, its flows as ``ingest.ingest_captures`` gives them) → which of them have which label."""


@dataclass(frozen=True)
class Tables:
    """The published tables of a dataset, of which one without packets is made where no captures are given.

    layout     name in ``tables.layouts.LAYOUTS``
    files      options → regular expression of the tables' paths, from the folder's own name on; UsageError for options
               that tables cannot have
    labels     None: the layout's own
    afternoon  hours that are written without AM or PM and mean the afternoon
    """

    layout: str
    files: Callable[[Any], str]
    labels: LabelMap | None = None
    afternoon: tuple[int, ...] = ()


@dataclass(frozen=True)
class Driver:
    """One published dataset.

    group_of   a capture's path below the captures folder ('/'-separated) → the group of captures that are labelled
               together (a day, an attack); None: not a capture of this dataset.  ``by_pattern`` makes one from regular
               expressions.
    captures   how the captures are named, for the message that none was found
    labeller   the labeller of a request; UsageError or DataError where the request or the label files do not do
    rules      what is a flow in this dataset
    options    frozen dataclass of the driver's options, each with a default
    tables     see ``Tables``; else why the published tables are not read
    defects    what is known to be wrong with the dataset, each with who found it: shown by ``data info`` and beside
               every number
    defects_of options → what is wrong besides that where these are chosen: what an option mends is no defect there
    task       ``class shift`` where the positives are no attacks: such a dataset is left out of attack means
    """

    name: str
    summary: str
    licence: str
    citation: str
    captures: str
    group_of: Callable[[str], str | None]
    labeller: Callable[[Request], Labeller]
    rules: FlowRules = FlowRules()  # noqa: RUF009 — frozen
    options: type | None = None
    tables: Tables | str = ""
    defects: tuple[str, ...] = ()
    defects_of: Callable[[Any], tuple[str, ...]] = lambda _options: ()
    task: Literal["attacks", "class shift"] = "attacks"

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[a-z0-9_-]+", self.name):
            raise UsageError(f"driver name {self.name!r}: use lower-case letters, digits, _ and -")


def tables_alone(_request: Request) -> Labeller:
    """The labeller of a dataset that was published without captures, or whose captures are not read here."""
    raise UsageError("this dataset is prepared from its tables: name their folder with --labels, without --captures")


def by_pattern(groups: Mapping[str, str]) -> Callable[[str], str | None]:
    """Group → regular expression of its captures' file names (without folders, case does not matter) as a
    ``group_of``."""
    compiled = {group: re.compile(pattern, re.IGNORECASE) for group, pattern in groups.items()}

    def group_of(path: str) -> str | None:
        name = path.rpartition("/")[2]
        return next((group for group, pattern in compiled.items() if pattern.fullmatch(name)), None)

    return group_of


def by_class(class_of: Callable[[str], Label | None]) -> Callable[[str], str | None]:
    """The label of a capture's class as a ``group_of``."""

    def group_of(path: str) -> str | None:
        found = class_of(path)
        return found.label if found else None

    return group_of


def find_captures(
    driver: Driver, folder: Path, tell: Callable[[str], None] = ignore, warn: Callable[[str], None] = ignore
) -> dict[str, tuple[Path, str]]:
    """Path below ``folder`` ('/'-separated) → (file, group) of every capture that the driver knows, sorted.

    DataError if there is none.  Every other file is named with the reason, in lines: to ``warn`` those that somebody
    may have taken for captures, to ``tell`` the rest.
    """
    check_folder(folder, "captures")
    below = files_below(folder)
    found = {name: (path, group) for name, path in below.files.items() if (group := driver.group_of(name)) is not None}
    if not found:
        there = f"; there are {', '.join(list(below.files)[:3])}" if below.files else ""
        lines = say_left({name: why for name, why in below.left.items() if why != HIDDEN}, "a capture")
        raise DataError(
            f"{folder}: none of its {len(below.files)} files is a capture of {driver.name}; expected {driver.captures}"
            + "; ".join([there, *lines])
        )
    named = f"not named as {driver.name} names them"
    left = dict(below.left) | {name: UNREAD if _is_packed(name) else named for name in below.files if name not in found}
    for line in say_left(
        {name: why for name, why in left.items() if looks_like_capture(name) and why != HIDDEN}, "a capture"
    ):
        warn(line)
    for line in say_left(
        {name: why for name, why in left.items() if not looks_like_capture(name) or why == HIDDEN}, "a capture"
    ):
        tell(line)
    return found


def _is_packed(name: str) -> bool:
    return bool(re.search(r"\.(xz|lzma|bz2|lz4|zip|7z|rar|z)$", name, re.IGNORECASE))


def check_folder(folder: Path, what: str) -> None:
    """DataError if there is no such folder, or if it is a file; ``what``: the option that names it."""
    if folder.is_file():
        raise DataError(f"{folder}: is a file: name the folder that it is in with --{what} {folder.parent}")
    if not folder.is_dir():
        raise DataError(f"{folder}: no such folder")


def assign(flows: pl.DataFrame, chosen: pl.DataFrame, report: Mapping[str, Mapping[str, int]]) -> Assignment:
    """An ``Assignment`` of ``chosen``: flow (position in ``flows``, each once), label, family, attack, and row (−1
    without it).

    The source of a flow, the unit that a partition never divides, is its capture.
    """
    import polars as pl

    chosen = chosen.sort("flow")
    position = chosen["flow"].cast(pl.Int64).to_numpy()
    file = flows["file"][position] if len(position) else pl.Series("file", [], pl.String)
    row = (
        chosen["row"].cast(pl.Int64)
        if "row" in chosen.columns
        else pl.repeat(-1, chosen.height, dtype=pl.Int64, eager=True)
    )
    text = chosen.select("attack", pl.col("label", "family").cast(pl.String))
    table = text.with_columns(source=file, file=file, row=row)
    return Assignment(position.astype(np.int64), table, report)


def label_captures(
    flows: pl.DataFrame, label_of: Callable[[str], Label | None], keep: pl.Series | None = None
) -> Assignment:
    """Every flow has the label of its capture's name; none where ``label_of`` gives None or ``keep`` (n,) Boolean is
    False.

    The report counts, per label, ``flows`` that have it and ``unmatched_flows`` that ``keep`` left out.
    """
    import polars as pl

    table = class_table(
        "file", pl.String(), {name: label_of(name) for name in flows["file"].unique(maintain_order=True)}
    )
    kept = pl.repeat(True, flows.height, dtype=pl.Boolean, eager=True) if keep is None else keep
    labelled = (
        flows.select("file", flow=pl.int_range(pl.len(), dtype=pl.Int64), kept=kept)
        .join(table, on="file", how="left", maintain_order="left")
        .with_columns(kept=pl.col("kept") & pl.col("label").is_not_null())
    )
    counts = labelled.group_by(pl.col("label").fill_null(NO_LABEL)).agg(
        flows=pl.col("kept").sum(), unmatched_flows=(~pl.col("kept")).sum()
    )
    report = {
        label: empty_counts() | {"flows": kept, "unmatched_flows": left}
        for label, kept, left in counts.sort("label").iter_rows()
    }
    return assign(flows, labelled.filter("kept"), report)


def class_table(key: str, dtype: pl.DataType, classes: Mapping[Any, Label | None]) -> pl.DataFrame:
    """The classes, without those that are None: their keys in the column ``key``, label, family (String) and attack
    (Boolean)."""
    import polars as pl

    rows = [(name, found.label, found.family, found.attack) for name, found in classes.items() if found]
    return pl.DataFrame(
        rows, schema={key: dtype, "label": pl.String, "family": pl.String, "attack": pl.Boolean}, orient="row"
    )


def empty_counts() -> dict[str, int]:
    """What a report counts for every label: rows of the label file (the first three) and flows."""
    return {"matched": 0, "unmatched_rows": 0, "ambiguous": 0, "flows": 0, "unmatched_flows": 0}
