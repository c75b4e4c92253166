"""What the columns of a table are called and mean: two layouts that are known, and one from a TOML file."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from datasets_registry.folders import DANGLING, HIDDEN, files_below, looks_like_table, say_left
from janus_bench.columns import CIC_FEATURES, FEATURE_INPUTS, INPUT_SPELLINGS
from janus_bench.errors import DataError, UsageError, likely, unknown
from janus_bench.quiet import ignore
from janus_bench.stored import Unreadable, read_toml

ROLES = ("src_ip", "src_port", "dst_ip", "dst_port", "proto", "time")
"""Columns that partitions and audits look at and no detector is given."""
TABLES = (".csv", ".parquet")
NO_TABLE = f"tables are read from {' and '.join(TABLES)}, not packed"
LOOKS_LIKE_A_LABEL = re.compile(r"label|class|attack([\W_]?(cat|type|name))?|category|target|type", re.IGNORECASE)
SAME_WORDS = {
    **dict.fromkeys(("pkt", "pkts", "packets"), "packet"),
    **dict.fromkeys(("byt", "byts", "bytes"), "byte"),
    **dict.fromkeys(("b", "blk"), "bulk"),
    "tot": "total",
    "len": "length",
    "cnt": "count",
    "average": "avg",
    "seg": "segment",
    "var": "variance",
    "forward": "fwd",
    "backward": "bwd",
    "cwr": "cwe",
    "of": "",
}
"""What versions of CICFlowMeter call the same thing."""


def tables_in(
    folder: Path, pattern: str = "", tell: Callable[[str], None] = ignore, warn: Callable[[str], None] = ignore
) -> dict[str, Path]:
    """Path below a folder → file, of the tables there whose path from the folder's own name on is like ``pattern`` (a
    regular expression; case does not matter); sorted.

    DataError where there is none.  Every other file is named with the reason, in lines: to ``warn`` those that somebody
    may have taken for tables, to ``tell`` the rest.
    """
    below, wanted, own = files_below(folder), re.compile(pattern or ".*", re.IGNORECASE), folder.resolve().name
    found, left, tables = dict[str, Path](), dict(below.left), 0
    for name, path in below.files.items():
        if not name.lower().endswith(TABLES):
            left[name] = NO_TABLE
        elif not wanted.fullmatch(f"{own}/{name}"):
            left[name] = "not named as this dataset names them"
            tables += 1
        else:
            found[name] = path
    if not found:
        like = f" of {tables} is like {pattern}" if pattern else f" ({', '.join(TABLES)}) below it"
        lines = say_left({name: why for name, why in left.items() if why != HIDDEN}, "a table")
        raise DataError("; ".join([f"{folder}: no table{like}", *lines]))
    # What a link leads nowhere to may have been a folder of tables.
    meant = {name for name, why in left.items() if why == DANGLING or (looks_like_table(name) and why != HIDDEN)}
    for line in say_left({name: why for name, why in left.items() if name in meant}, "a table"):
        warn(line)
    for line in say_left({name: why for name, why in left.items() if name not in meant}, "a table"):
        tell(line)
    return found


def plain(name: str) -> str:
    """A name without case, spaces and punctuation."""
    return re.sub(r"[\W_]", "", name).casefold()


def meter_words(name: str) -> str:
    """The words of a name of CICFlowMeter, sorted: ``Fwd Pkt Len Max`` and ``Fwd Packet Length Max`` have the same, as
    have ``TotLen Bwd Pkts`` and ``Total Length of Bwd Packets``."""
    words = re.findall(r"[^\W_]+", re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name).lower())
    return " ".join(sorted(filter(None, (SAME_WORDS.get(word, word) for word in words))))


@dataclass(frozen=True)
class TableLayout:
    """One layout.

    features  the set of features that a table of it has (``columns.FEATURE_INPUTS``)
    label     name of the column with the labels
    roles     of ``ROLES``: the names that it may have; any may be missing, but for the layout of a file
    columns   feature → name of its column, where it is another
    same      name → what names of one column have in common
    flag      name of a column of 0 and 1 that says who is an attack, too; it is compared, and decides nothing
    benign    labels that mean benign, in lower case
    afternoon hours that are written without AM or PM, in times whose day is first, and mean the afternoon
    own       somebody described it for tables of their own: what it names has to be there
    """

    features: str
    label: str
    roles: Mapping[str, Sequence[str]]
    columns: Mapping[str, str] = field(default_factory=dict)
    same: Callable[[str], str] = plain
    flag: str = ""
    benign: frozenset[str] = frozenset({"benign"})
    afternoon: tuple[int, ...] = ()
    own: bool = False


LAYOUTS = {
    "cicflowmeter": TableLayout(
        "cic_features",
        "Label",
        {
            "src_ip": ("Source IP", "Src IP"),
            "src_port": ("Source Port", "Src Port"),
            "dst_ip": ("Destination IP", "Dst IP"),
            "dst_port": ("Destination Port", "Dst Port"),
            "proto": ("Protocol",),
            "time": ("Timestamp",),
        },
        same=meter_words,
    ),
    "netflow_v2": TableLayout(
        "netflow_v2",
        "Attack",
        {
            "src_ip": ("IPV4_SRC_ADDR",),
            "src_port": ("L4_SRC_PORT",),
            "dst_ip": ("IPV4_DST_ADDR",),
            "dst_port": ("L4_DST_PORT",),
            "proto": ("PROTOCOL",),
            "time": ("FLOW_START_MILLISECONDS",),
        },
        flag="Label",
    ),
}

PACKETS_OF = {"cic_features": ("Total Fwd Packets", "Total Backward Packets"), "netflow_v2": ("IN_PKTS", "OUT_PKTS")}
"""Set of features → those that count a flow's packets."""
DURATION_OF = {"cic_features": ("Flow Duration", 1e-6), "netflow_v2": ("FLOW_DURATION_MILLISECONDS", 1e-3)}
"""Set of features → its duration, and its unit in seconds."""


def layout_of(text: str, label_column: str = "") -> TableLayout:
    """The layout that ``--layout`` names, or that its TOML file describes; UsageError or DataError where it is
    none."""
    layout = LAYOUTS.get(text.lower()) if not text.endswith(".toml") else _from_file(Path(text))
    if layout is None:
        raise unknown("layout", text, LAYOUTS, "A file LAYOUT.toml describes another one.")
    chosen = replace(layout, label=label_column, flag="") if label_column else layout
    _check_meanings(text, chosen)
    return chosen


def _check_meanings(text: str, layout: TableLayout) -> None:
    """DataError where one column is two features, or what tells the label is given for something else, too."""
    feature_in: dict[str, str] = {}
    for feature in FEATURE_INPUTS[layout.features]:
        column = layout.columns.get(feature, feature)
        first = feature_in.setdefault(layout.same(column), feature)
        if first != feature:
            raise DataError(
                f"{text}: column {column!r} is both {first} and {feature}: say for each feature which column it is"
            )
    label = layout.same(layout.label)
    roles = {layout.same(name): role for role, names in layout.roles.items() for name in names}
    if other := feature_in.get(label) or roles.get(label):
        raise DataError(
            f"{text}: column {layout.label!r} is both the label and {other}: say another column for one of the two"
        )


def _from_file(path: Path) -> TableLayout:
    try:
        found, _ = read_toml(path)
    except Unreadable as error:
        raise UsageError(f"{path}: {error}") from None
    keys = ("features", "label", "columns", *ROLES)
    for key in found:
        if key not in keys:
            raise unknown(f"entry of {path.name}", key, keys)
    columns = found.pop("columns", {})
    texts = {**found, **(columns if isinstance(columns, dict) else {"columns": None})}
    if wrong := [key for key, value in texts.items() if not isinstance(value, str)]:
        raise DataError(f"{path}: {wrong[0]} must be the name of a column, in quotes")
    name = INPUT_SPELLINGS.get(found.get("features", ""), found.get("features", ""))
    if name not in PACKETS_OF:
        raise unknown(f"set of features in {path.name}", name, PACKETS_OF, 'Say one, such as features = "netflow_v2".')
    if "label" not in found:
        raise DataError(f'{path}: no entry label: say which column has the labels, such as label = "Attack"')
    for feature in columns:
        if feature not in FEATURE_INPUTS[name]:
            raise unknown(f"feature of {name} in {path.name}", feature, FEATURE_INPUTS[name])
    roles = {role: (found[role],) for role in ROLES if role in found}
    same = meter_words if name == "cic_features" else plain
    return TableLayout(name, found["label"], roles, columns, same, own=True)


@dataclass(frozen=True)
class Places:
    """Where a file has what: features in the order of their set, roles, label, flag (−1: nowhere); and what was odd
    about its header."""

    features: Sequence[int]
    roles: Mapping[str, int]
    label: int
    flag: int
    said: Sequence[str]


def places_in(path: Path, header: Sequence[str], layout: TableLayout) -> Places:
    """DataError if a feature or the label has no column, or a role that a layout of one's own names."""
    keys = [layout.same(name) for name in header]
    first = {key: place for place, key in reversed(list(enumerate(keys)))}
    columns = FEATURE_INPUTS[layout.features]
    wanted = {feature: layout.same(layout.columns.get(feature, feature)) for feature in columns}
    missing = [layout.columns.get(feature, feature) for feature, key in wanted.items() if key not in first]
    if missing:
        shown = ", ".join(map(repr, missing[:3])) + (", …" if len(missing) > 3 else "")
        raise DataError(
            f"{path}: no column for {len(missing)} of the {len(columns)} features of {layout.features}: {shown}; a set "
            "is whole or it is not read (names that differ are told in a LAYOUT.toml)"
        )
    label = first.get(layout.same(layout.label), -1)
    alike = [name.strip() for name in header if LOOKS_LIKE_A_LABEL.fullmatch(name.strip())]
    if label < 0:
        among = f"; its header has {', '.join(alike)}: name one with --label-column" if alike else ""
        raise DataError(f"{path}: no column {layout.label!r} with the labels{among}")
    read = {header[label].strip(), layout.flag}
    said = [f"column {name!r} looks like labels and is not read" for name in dict.fromkeys(alike) if name not in read]
    twice = {header[place].strip() for place, key in enumerate(keys) if first[key] != place and key in wanted.values()}
    said += [f"column {name!r} is there more than once: the first counts" for name in sorted(twice)]
    roles = {
        role: next(first[layout.same(name)] for name in names if layout.same(name) in first)
        for role, names in layout.roles.items()
        if any(layout.same(name) in first for name in names)
    }
    for role, (named, *_) in layout.roles.items() if layout.own else ():
        if role in roles:
            continue
        near = likely(named, [name.strip() for name in header])
        meant = f" Did you mean {near!r}?" if near else ""
        raise DataError(f"{path}: no column {named!r}, which the layout says is its {role}.{meant}")
    flag = first.get(layout.same(layout.flag), -1) if layout.flag else -1
    return Places([first[wanted[feature]] for feature in columns], roles, label, flag, said)


assert len({meter_words(name) for name in CIC_FEATURES}) == len(CIC_FEATURES)
