"""Corrected labels of CIC-IDS2017 at the edges of every window, against the published schedule, written down here
once more."""

from __future__ import annotations

import datetime as dt
import ipaddress

import polars as pl
import pytest

from datasets_registry.drivers import load_driver
from datasets_registry.drivers.driver import Request
from janus_bench.errors import DataError

FIREWALL, KALI, SERVER = "172.16.0.1", "205.174.165.73", "192.168.10.50"
DATES = {"monday": 3, "tuesday": 4, "wednesday": 5, "thursday": 6, "friday": 7}
TCP, UDP = 6, 17

# Day, first and last minute (of Fredericton, UTC − 3), label, initiator, responder, its port; and what the same flow
# is just before and just after.
SCHEDULE = [
    ("tuesday", "09:17", "10:30", "FTP-Patator", FIREWALL, SERVER, 21, None, None),
    ("tuesday", "13:00", "16:11", "SSH-Patator", FIREWALL, SERVER, 22, None, None),
    ("wednesday", "10:13", "10:38", "DoS Slowhttptest", FIREWALL, SERVER, 80, "DoS slowloris", "DoS Hulk"),
    ("wednesday", "10:39", "11:09", "DoS Hulk", FIREWALL, SERVER, 80, "DoS Slowhttptest", "DoS GoldenEye"),
    ("wednesday", "11:10", "11:23", "DoS GoldenEye", FIREWALL, SERVER, 80, "DoS Hulk", None),
    ("wednesday", "15:11", "15:33", "Heartbleed", FIREWALL, "192.168.10.51", 444, None, None),
    ("thursday", "09:10", "10:12", "Web Attack - Brute Force", FIREWALL, SERVER, 80, None, "Web Attack - XSS"),
    ("thursday", "10:13", "10:37", "Web Attack - XSS", FIREWALL, SERVER, 80, "Web Attack - Brute Force", None),
    ("thursday", "10:39", "10:45", "Web Attack - Sql Injection", FIREWALL, SERVER, 80, None, None),
    ("thursday", "14:15", "15:50", "Infiltration", "192.168.10.8", KALI, 444, None, None),
    ("thursday", "14:15", "15:50", "Infiltration - Portscan", "192.168.10.8", "192.168.10.25", 135, "benign", "benign"),
    ("friday", "09:30", "12:59", "Bot", "192.168.10.15", KALI, 8080, None, None),
    ("friday", "12:30", "15:40", "PortScan", FIREWALL, SERVER, 3306, None, None),
    ("friday", "15:40", "16:30", "DDoS", FIREWALL, SERVER, 80, "PortScan", None),
]


def moment(day: str, minute: str) -> int:
    """ns since the epoch of a minute by the dataset's clock."""
    hours, minutes = map(int, minute.split(":"))
    local = dt.datetime(2017, 7, DATES[day], hours, minutes, tzinfo=dt.timezone(dt.timedelta(hours=-3)))
    return int(local.timestamp()) * 10**9


def flow(
    first: int, source: str, destination: str, port: int, proto: int = TCP, sport: int = 50_000
) -> dict[str, object]:
    """A flow as the reader of captures gives it: the lower endpoint is ``a``; ``swapped``: the other one began."""
    ends = [(int(ipaddress.ip_address(host)), number) for host, number in ((source, sport), (destination, port))]
    (a, a_port), (b, b_port) = sorted(ends)
    version = ipaddress.ip_address(source).version
    key = {"a_high": a >> 64, "a_low": a % 2**64, "b_high": b >> 64, "b_low": b % 2**64}
    rest = ((version * 256 + proto) << 32) + (a_port << 16) + b_port
    return {"file": "x.pcap", **key, "rest": rest, "swapped": ends[0] > ends[1], "first": first, "last": first + 1}


SCHEMA = dict.fromkeys(("a_high", "a_low", "b_high", "b_low", "rest"), pl.UInt64)


def labels(day: str, *flows: dict[str, object], offset: float | None = None) -> list[str | None]:
    """The label of each flow, None without one."""
    driver = load_driver("cicids2017")
    assert driver.options is not None
    label = driver.labeller(Request(None, frozenset({day}), driver.options(labels="corrected"), offset))
    found = label(day, pl.DataFrame(list(flows), schema_overrides=SCHEMA))
    given = dict(zip(found.flow.tolist(), found.table["label"], strict=True))
    return [given.get(place) for place in range(len(flows))]


@pytest.mark.parametrize(("day", "begin", "end", "label", "source", "destination", "port", "before", "after"), SCHEDULE)
def test_a_window_holds_from_its_first_instant_to_the_end_of_its_last_minute(
    day, begin, end, label, source, destination, port, before, after
):
    opens, closes = moment(day, begin), moment(day, end) + 60 * 10**9
    times = (opens - 10**6, opens, closes - 10**6, closes)
    assert labels(day, *(flow(when, source, destination, port) for when in times)) == [before, label, label, after]


@pytest.mark.parametrize(
    ("day", "begin", "end", "label", "source", "destination", "port"), [row[:7] for row in SCHEDULE]
)
def test_either_side_may_begin_except_where_the_scanner_has_to(day, begin, end, label, source, destination, port):
    answer = flow(moment(day, begin), destination, source, 50_000, sport=port)
    assert labels(day, answer) == [None if label == "Infiltration - Portscan" else label]


def test_of_windows_that_overlap_the_first_decides():
    flows = [flow(moment("friday", "15:40"), FIREWALL, SERVER, port) for port in (80, 81)]
    assert labels("friday", *flows) == ["DDoS", "PortScan"]


def test_ports_and_protocols_are_the_windows():
    heartbleed, bot, scan = moment("wednesday", "15:20"), moment("friday", "10:00"), moment("thursday", "15:00")
    assert labels("wednesday", *(flow(heartbleed, FIREWALL, "192.168.10.51", port) for port in (444, 443))) == [
        "Heartbleed",
        None,
    ]
    assert labels("friday", *(flow(bot, "192.168.10.15", KALI, port) for port in (8080, 8081, 8080 + 256))) == [
        "Bot",
        None,
        None,
    ]
    # whichever endpoint is the lower one
    assert labels(
        "friday", flow(bot, KALI, "192.168.10.15", 8080), flow(bot, "192.168.10.15", KALI, 50_000, sport=8080)
    ) == ["Bot", "Bot"]
    flows = (flow(scan, "192.168.10.8", "192.168.10.25", 53, proto) for proto in (TCP, UDP))
    assert labels("thursday", *flows) == ["Infiltration - Portscan", None]


def test_networks_are_whole_and_hosts_are_ipv4():
    when = moment("thursday", "15:00")
    hosts = ("192.168.10.0", "192.168.10.255", "192.168.11.0")
    assert labels("thursday", *(flow(when, "192.168.10.8", host, 135) for host in hosts)) == [
        "Infiltration - Portscan"
    ] * 2 + [None]
    attack = moment("tuesday", "09:30")
    alike = [str(ipaddress.IPv6Address(int(ipaddress.IPv4Address(host)))) for host in (FIREWALL, SERVER)]
    assert labels("tuesday", flow(attack, FIREWALL, SERVER, 21), flow(attack, *alike, 21)) == ["FTP-Patator", "benign"]


def test_a_day_has_its_own_windows_and_everybody_else_is_benign():
    assert labels(
        "monday",
        flow(moment("monday", "09:30"), FIREWALL, SERVER, 21),
        flow(moment("monday", "09:30"), "8.8.8.8", SERVER, 21),
    ) == [
        None,
        "benign",
    ]
    # the hour of SSH-Patator, on another day
    assert labels("thursday", flow(moment("thursday", "14:00"), FIREWALL, SERVER, 22)) == [None]


def test_an_offset_of_the_clock_moves_the_windows():
    early = flow(moment("tuesday", "08:20"), FIREWALL, SERVER, 21)
    assert labels("tuesday", early) == [None]
    assert labels("tuesday", early, offset=3600.0) == ["FTP-Patator"]


def test_captures_of_another_day_are_refused():
    here, there = (flow(moment(day, "12:00"), "8.8.8.8", SERVER, 53) for day in ("tuesday", "friday"))
    assert labels("tuesday", here, here, here, there) == ["benign"] * 4
    with pytest.raises(DataError, match="tuesday: 75% of its flows are not of 2017-07-04"):
        labels("tuesday", here, there, there, there)
