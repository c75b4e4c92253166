"""A SYNTHETIC CIC-DDoS2019: captures that hold every packet twice, and the CSVs of two days in two time zones.

Source: the dataset's page (https://www.unb.ca/cic/datasets/ddos-2019.html) and Sharafaldin et al. 2019
(10.1109/CCST.2019.8888419) for attacks and their times of day.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path

import numpy as np

from tests.replicas.cic_rows import (
    FEATURES_AFTER,
    FEATURES_BEFORE,
    IDENTITY,
    CsvStyle,
    Session,
    columns,
    finish_replica,
)
from tests.replicas.packets import TCP, UDP, Ends, Packet, conversation, doubled, long_conversation
from tests.replicas.truth import Traps, Truth

__all__ = ["DAYS", "HEADER", "write_cicddos2019"]

HEADER = columns(
    "Unnamed: 0", IDENTITY, FEATURES_BEFORE, " Fwd Header Length.1", FEATURES_AFTER, "SimillarHTTP, Inbound, Label"
)
BENIGN = "BENIGN"
ATTACKER = "172.16.0.5"


@dataclass(frozen=True)
class Attack:
    """label; the CSV that holds it; local times of day; protocol, and the reflector's port (0: the victim's ports at
    random)."""

    label: str
    csv: str
    begin: str
    end: str
    proto: int
    port: int


@dataclass(frozen=True)
class Day:
    """zone: hours; captures: how many files; victim; attacks in the order of time."""

    date: tuple[int, int, int]
    zone: int
    captures: int
    victim: str
    attacks: tuple[Attack, ...]


DAYS = {
    "01-12": Day(
        (2018, 12, 1),
        -4,
        12,
        "192.168.50.1",
        (
            Attack("DrDoS_NTP", "DrDoS_NTP", "10:35", "10:45", UDP, 123),
            Attack("DrDoS_DNS", "DrDoS_DNS", "10:52", "11:05", UDP, 53),
            Attack("DrDoS_LDAP", "DrDoS_LDAP", "11:22", "11:32", UDP, 389),
            Attack("DrDoS_MSSQL", "DrDoS_MSSQL", "11:36", "11:45", UDP, 1434),
            Attack("DrDoS_NetBIOS", "DrDoS_NetBIOS", "11:50", "12:00", UDP, 137),
            Attack("DrDoS_SNMP", "DrDoS_SNMP", "12:12", "12:23", UDP, 161),
            Attack("DrDoS_SSDP", "DrDoS_SSDP", "12:27", "12:37", UDP, 1900),
            Attack("DrDoS_UDP", "DrDoS_UDP", "12:45", "13:09", UDP, 0),
            Attack("UDP-lag", "UDPLag", "13:11", "13:15", UDP, 0),
            Attack("WebDDoS", "UDPLag", "13:18", "13:29", TCP, 80),
            Attack("Syn", "Syn", "13:29", "13:34", TCP, 0),
            Attack("TFTP", "TFTP", "13:35", "17:15", UDP, 69),
        ),
    ),
    "03-11": Day(
        (2018, 11, 3),
        -3,
        4,
        "192.168.50.4",
        (
            Attack("Portmap", "Portmap", "09:43", "09:51", UDP, 111),
            Attack("NetBIOS", "NetBIOS", "10:00", "10:09", UDP, 137),
            Attack("LDAP", "LDAP", "10:21", "10:30", UDP, 389),
            Attack("MSSQL", "MSSQL", "10:33", "10:42", UDP, 1434),
            Attack("UDP", "UDP", "10:53", "11:03", UDP, 0),
            Attack("UDPLag", "UDPLag", "11:14", "11:24", UDP, 0),
            Attack("Syn", "Syn", "11:28", "17:35", TCP, 0),
        ),
    ),
}
N_ATTACK, N_BENIGN = 50, 6
STRAY = 10  # every so many flows of an attack are rows of the file of the attack before it
SINGLE = 3  # every so many flood flows are one packet (and its copy)


def _clock(day: Day, text: str) -> int:
    hour, minute = map(int, text.split(":"))
    return int(datetime(*day.date, hour - day.zone, minute, tzinfo=UTC).timestamp()) * 10**9


def _time(ns: int, day: str, ahead: int) -> str:
    local = datetime.fromtimestamp(ns // 10**9, UTC) + timedelta(hours=DAYS[day].zone + ahead)
    return f"{local:%Y-%m-%d %H:%M:%S}.{ns // 1000 % 10**6:06d}"


def _capture(name: str, number: int) -> str:
    """``SAT-01-12-2018_0``, ``_01``, …, ``_09``, ``_010``, …"""
    date = DAYS[name].date
    return f"PCAP-{name}/SAT-{name}-{date[0]}_0{number or ''}"


def _moment(rng: np.random.Generator, begin: int, end: int) -> int:
    return begin + int(rng.integers(1_000_000, (end - begin) // 1000 - 80_000_000)) * 1000


def _session(rng: np.random.Generator, name: str, capture: str, csv: str, packets: list[Packet], label: str) -> Session:
    return Session(
        capture, name, f"{name}/{csv}.csv", doubled(rng, packets), label, last=packets[-1].ts, n_packets=len(packets)
    )


def _attack(rng: np.random.Generator, name: str, number: int, ports: count[int]) -> list[Session]:
    day = DAYS[name]
    attack, before = day.attacks[number], day.attacks[max(number - 1, 0)]
    capture = _capture(name, number * day.captures // len(day.attacks))
    begin, end, sessions = _clock(day, attack.begin), _clock(day, attack.end), []
    for i in range(N_ATTACK):
        flood = attack.label != "WebDDoS"
        # A reflector's port sends, its victim's ports are drawn; a flood picks both.
        ends = Ends(
            ATTACKER,
            attack.port if attack.port and flood else next(ports),
            day.victim,
            attack.port if not flood else 1024 + 37 * next(ports) % 60000,
            attack.proto,
        )
        n = 1 if flood and i % SINGLE == 0 else int(rng.integers(2, 5)) if flood else int(rng.integers(6, 20))
        span = int(rng.integers(10, 200)) * 10 if flood else int(rng.integers(1000, 3_000_000)) * 10
        packets = conversation(
            rng,
            ends,
            _moment(rng, begin, end),
            n=n,
            span_us=span,
            one_way=flood,
            payload=460 if attack.proto == UDP else 200,
        )
        sessions.append(
            _session(rng, name, capture, before.csv if i % STRAY == 5 else attack.csv, packets, attack.label)
        )
    for i in range(N_BENIGN):
        inside, outside = f"192.168.50.{5 + i % 4}", f"172.217.{rng.integers(1, 250)}.{rng.integers(1, 250)}"
        ends = (
            Ends(inside, 40000 + next(ports) % 20000, outside, 443, TCP)
            if i % 2
            else Ends(inside, 40000 + next(ports) % 20000, "8.8.8.8", 53, UDP)
        )
        n, span = (
            (int(rng.integers(4, 20)), int(rng.integers(1000, 6_000_000)) * 10)
            if i % 2
            else (2, int(rng.integers(10, 5000)) * 10)
        )
        packets = conversation(rng, ends, _moment(rng, begin, end), n=n, span_us=span)
        sessions.append(_session(rng, name, capture, attack.csv, packets, BENIGN))
    return sessions


def _long(rng: np.random.Generator, name: str, n: int) -> list[Session]:
    """Connections that are kept open, during the day's longest attack, the last."""
    day = DAYS[name]
    attack, capture = day.attacks[-1], _capture(name, day.captures - 1)
    ends = [Ends(f"192.168.50.{5 + i % 4}", 61000 + i, f"74.125.{1 + i}.188", 443, TCP) for i in range(n)]
    talks = [
        long_conversation(rng, each, _moment(rng, _clock(day, attack.begin), _clock(day, "17:00"))) for each in ends
    ]
    return [replace(_session(rng, name, capture, attack.csv, packets, BENIGN), cut=True) for packets in talks]


def _other(session: Session) -> str:
    """A label that the session's file holds besides the session's."""
    if session.label != BENIGN:
        return BENIGN
    return next(
        attack.label for attack in DAYS[session.day].attacks if session.file == f"{session.day}/{attack.csv}.csv"
    )


def _extra(rng: np.random.Generator) -> dict[str, object]:
    return {"Unnamed: 0": int(rng.integers(0, 200_000)), "SimillarHTTP": 0, "Inbound": 1}


def write_cicddos2019(folder: Path, seed: int = 0, traps: Traps = Traps()) -> Truth:  # noqa: B008 — frozen
    """``captures/PCAP-01-12/SAT-01-12-2018_0…_011``, ``captures/PCAP-03-11/SAT-03-11-2018_0…_03``,
    ``labels/01-12/*.csv``, ``labels/03-11/*.csv``.

    Groups (days): 01-12 and 03-11.  Every packet is there twice; the truth counts it once, the CSVs twice (as the
    published ones do).  A tenth of an attack's rows are in the file of the attack before it.  No flow crosses from one
    capture to the next, which real ones do.
    """
    rng = np.random.default_rng([2019, seed])
    sessions = []
    for name, day in DAYS.items():
        ports = count(1)
        sessions += [session for number in range(len(day.attacks)) for session in _attack(rng, name, number, ports)]
        sessions += _long(rng, name, traps.long)
    return finish_replica(folder, sessions, CsvStyle(HEADER, _time, _other, extra=_extra), traps, rng)
