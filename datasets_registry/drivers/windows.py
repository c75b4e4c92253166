"""The engine of drivers whose labels are known by hosts and times of day; no label file is read."""

import datetime as dt
import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial

import polars as pl

from datasets_registry.drivers.driver import (
    BENIGN,
    NO_LABEL,
    Label,
    Labeller,
    Request,
    assign,
    class_table,
    empty_counts,
)
from datasets_registry.labelling.assignment import Assignment
from datasets_registry.labelling.keys import KEY_COLUMNS
from datasets_registry.labelling.times import NS
from janus_bench.errors import DataError

ANYWHERE = ("0.0.0.0/0",)
HOUR = 3600
CLOCKS_S = 2  # How far the clocks of two hosts may lie apart that recorded one conversation.


@dataclass(frozen=True)
class Window:
    """Flows between two sets of hosts whose first packet lies from ``begin`` to the end of the minute (HH:MM) or second
    (HH:MM:SS) ``end`` of the dataset's clock.

    label      None: they cannot be told apart, and stay unlabelled
    attackers, victims  IPv4 addresses or networks; either side may begin, unless ``attacker_begins``
    port       of one of the endpoints; None: any
    protocol   IP protocol; None: any
    """

    group: str
    begin: str
    end: str
    label: Label | None
    attackers: tuple[str, ...]
    victims: tuple[str, ...] = ANYWHERE
    port: int | None = None
    protocol: int | None = None
    attacker_begins: bool = False


@dataclass(frozen=True)
class WindowLabels:
    """The first window that a flow belongs to labels it; a flow of none is benign: the attacks of these datasets were
    all made on purpose.

    days  group → its date;  zone: hours that the windows' clock is ahead of UTC
    by_host  each capture of a group is of one host, so that a conversation between two of them stands in two captures:
             that of the first one (by name) is labelled, the other one stays without a label
    """

    windows: tuple[Window, ...]
    days: Mapping[str, dt.date]
    zone: int
    by_host: bool = False

    def labeller(self, request: Request) -> Labeller:
        return partial(self._label, request)

    def _label(self, request: Request, group: str, flows: pl.DataFrame) -> Assignment:
        midnight = (self.days[group] - dt.date(1970, 1, 1)).days * 24 * HOUR
        ahead = self.zone * HOUR + (request.time_offset_s or 0.0)
        # Seconds since midnight of the group's day, by the dataset's clock
        table = flows.with_columns(at=(pl.col("first") / NS + ahead - midnight), version=pl.col("rest") // 2**40)
        on_the_day = table.select(((pl.col("at") >= 0) & (pl.col("at") < 24 * HOUR)).mean()).item()
        if flows.height and on_the_day < 0.5:
            raise DataError(
                f"{group}: {1 - on_the_day:.0%} of its flows are not of {self.days[group]}; are these the "
                "captures of that day?"
            )
        windows = [window for window in self.windows if window.group == group]
        number = pl.coalesce(
            *(pl.when(_inside(window)).then(index) for index, window in enumerate(windows)), pl.lit(len(windows))
        )
        names = class_table("number", pl.Int32(), dict(enumerate([*(window.label for window in windows), BENIGN])))
        found = table.select(flow=pl.int_range(pl.len(), dtype=pl.Int64), number=number.cast(pl.Int32))
        if self.by_host and (again := _seen_from_both_ends(flows)).any():
            request.tell(
                f"{group}: {int(again.sum())} flows stand in the captures of both of their hosts; they are used once"
            )
            found = found.filter(~again)
        chosen = found.join(names, on="number", maintain_order="left")
        report = {
            label: empty_counts() | {"flows": count}
            for label, count in chosen.group_by("label").len().sort("label").iter_rows()
        }
        if left := flows.height - chosen.height:
            report[NO_LABEL] = empty_counts() | {"unmatched_flows": left}
        return assign(flows, chosen.drop("number"), report)


def _seen_from_both_ends(flows: pl.DataFrame) -> pl.Series:
    """(n,) Boolean: a capture with an earlier name has the same 5-tuple, begun at most ``CLOCKS_S`` before or after."""

    def beside(step: int) -> pl.Expr:
        file, first = (pl.col(name).shift(step).over(KEY_COLUMNS) for name in ("file", "first"))
        return (pl.col("file") > file) & ((pl.col("first") - first).abs() <= CLOCKS_S * NS)

    ordered = flows.with_row_index("flow").sort(*KEY_COLUMNS, "first", "file")
    return ordered.with_columns(again=(beside(1) | beside(-1)).fill_null(value=False)).sort("flow")["again"]


def _seconds(time: str) -> tuple[int, int]:
    """Of a time of day: seconds since midnight, and how many it lasts."""
    hours, minutes, *seconds = map(int, time.split(":"))
    return hours * HOUR + minutes * 60 + sum(seconds), 1 if seconds else 60


def _inside(window: Window) -> pl.Expr:
    (begin, _), (end, lasts) = _seconds(window.begin), _seconds(window.end)
    here = (pl.col("at") >= begin) & (pl.col("at") < end + lasts)
    a_attacks = _among("a", window.attackers) & _among("b", window.victims)
    b_attacks = _among("b", window.attackers) & _among("a", window.victims)
    if window.attacker_begins:
        a_attacks, b_attacks = a_attacks & ~pl.col("swapped"), b_attacks & pl.col("swapped")
    here &= a_attacks | b_attacks
    if window.port is not None:
        here &= (pl.col("rest") % 2**16 == window.port) | (pl.col("rest") // 2**16 % 2**16 == window.port)
    if window.protocol is not None:
        here &= pl.col("rest") // 2**32 % 256 == window.protocol
    return here


def _among(end: str, hosts: tuple[str, ...]) -> pl.Expr:
    """Whether an endpoint (``a`` or ``b``) is one of the hosts."""
    networks = [ipaddress.IPv4Network(host) for host in hosts]
    address = pl.col(f"{end}_low")
    inside = [address.is_between(int(network.network_address), int(network.broadcast_address)) for network in networks]
    return (pl.col("version") == 4) & pl.any_horizontal(*inside)
