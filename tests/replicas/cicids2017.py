"""A SYNTHETIC CIC-IDS2017: five pcapng captures and the eight CSVs of ``TrafficLabelling``.

Sources: the dataset's page (https://www.unb.ca/cic/datasets/ids-2017.html) for schedule and hosts; Engelen et al. 2021
(10.1109/SPW53761.2021.00009) and Liu et al. 2022 (10.1109/CNS56114.2022.9947235) for what the published labels miss.
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
    with_tails,
)
from tests.replicas.packets import ICMP, TCP, UDP, Ends, arp, conversation, long_conversation, write_pcapng
from tests.replicas.truth import Traps, Truth

__all__ = ["DAYS", "HEADER", "write_cicids2017"]

HEADER = columns(IDENTITY, FEATURES_BEFORE, " Fwd Header Length", FEATURES_AFTER, " Label")
ADT_HOURS = -3
BENIGN = "BENIGN"
KALI, ATTACKER, WEB_SERVER, UBUNTU12, VISTA = (
    "205.174.165.73",
    "172.16.0.1",
    "192.168.10.50",
    "192.168.10.51",
    "192.168.10.8",
)
BOTS = ("192.168.10.15", "192.168.10.9", "192.168.10.14", "192.168.10.5", VISTA)
WEB, INFILTRATION = "TrafficLabelling/Thursday-WorkingHours-Morning-WebAttacks.pcap_ISCX.csv", "Infiltration - Portscan"


@dataclass(frozen=True)
class Day:
    """date in July 2017; csvs: (local time from which it holds the flows, file name), in order."""

    date: int
    capture: str
    csvs: tuple[tuple[str, str], ...]


DAYS = {
    "Monday": Day(3, "Monday-WorkingHours.pcap", (("00:00", "Monday-WorkingHours"),)),
    "Tuesday": Day(4, "Tuesday-WorkingHours.pcap", (("00:00", "Tuesday-WorkingHours"),)),
    "Wednesday": Day(5, "Wednesday-workingHours.pcap", (("00:00", "Wednesday-workingHours"),)),
    "Thursday": Day(
        6,
        "Thursday-WorkingHours.pcap",
        (
            ("00:00", "Thursday-WorkingHours-Morning-WebAttacks"),
            ("13:00", "Thursday-WorkingHours-Afternoon-Infilteration"),
        ),
    ),
    "Friday": Day(
        7,
        "Friday-WorkingHours.pcap",
        (
            ("00:00", "Friday-WorkingHours-Morning"),
            ("13:00", "Friday-WorkingHours-Afternoon-PortScan"),
            ("15:40", "Friday-WorkingHours-Afternoon-DDos"),
        ),
    ),
}


@dataclass(frozen=True)
class Attack:
    """A class of the dataset: ``n`` flows from ``src`` to ``dst``, local times of day.  port 0: another one for every
    flow."""

    day: str
    label: str
    begin: str
    end: str
    n: int
    src: tuple[str, ...]
    dst: tuple[str, ...]
    port: int
    packets: int = 10
    corrected: str = ""


ATTACKS = (
    Attack("Tuesday", "FTP-Patator", "09:17", "10:30", 40, (ATTACKER,), (WEB_SERVER,), 21),
    Attack("Tuesday", "SSH-Patator", "13:00", "16:11", 40, (ATTACKER,), (WEB_SERVER,), 22, 16),
    Attack("Wednesday", "DoS slowloris", "09:47", "10:12", 30, (ATTACKER,), (WEB_SERVER,), 80, 6),
    Attack("Wednesday", "DoS Slowhttptest", "10:13", "10:38", 30, (ATTACKER,), (WEB_SERVER,), 80, 6),
    Attack("Wednesday", "DoS Hulk", "10:39", "11:09", 120, (ATTACKER,), (WEB_SERVER,), 80, 9),
    Attack("Wednesday", "DoS GoldenEye", "11:10", "11:23", 40, (ATTACKER,), (WEB_SERVER,), 80, 12),
    Attack("Wednesday", "Heartbleed", "15:11", "15:33", 4, (ATTACKER,), (UBUNTU12,), 444, 40),
    Attack("Thursday", "Web Attack – Brute Force", "09:10", "10:12", 30, (ATTACKER,), (WEB_SERVER,), 80, 14),
    Attack("Thursday", "Web Attack – XSS", "10:13", "10:37", 20, (ATTACKER,), (WEB_SERVER,), 80, 14),
    Attack("Thursday", "Web Attack – Sql Injection", "10:39", "10:45", 5, (ATTACKER,), (WEB_SERVER,), 80, 8),
    Attack("Thursday", "Infiltration", "14:15", "15:50", 8, (VISTA,), (KALI,), 444, 20),
    Attack(
        "Thursday",
        BENIGN,
        "15:04",
        "15:45",
        60,
        (VISTA,),
        tuple(f"192.168.10.{i}" for i in (9, 12, 14, 15, 16)),
        0,
        2,
        INFILTRATION,
    ),
    Attack("Friday", "Bot", "09:30", "12:59", 40, BOTS, (KALI,), 8080, 12),
    Attack("Friday", "PortScan", "13:05", "15:23", 120, (ATTACKER,), (WEB_SERVER,), 0, 2),
    Attack("Friday", "DDoS", "15:56", "16:16", 120, (ATTACKER,), (WEB_SERVER,), 80, 8),
)
N_BENIGN = 200
N_PORTLESS = 3
RETURNING = 10  # 5-tuples that occur again later in the day


def _clock(day: Day, text: str) -> int:
    hour, minute = map(int, text.split(":"))
    return int(datetime(2017, 7, day.date, hour - ADT_HOURS, minute, tzinfo=UTC).timestamp()) * 10**9


def _local(ns: int, ahead: int = 0) -> datetime:
    return datetime.fromtimestamp(ns // 10**9, UTC) + timedelta(hours=ADT_HOURS + ahead)


def _time(ns: int, day: str, ahead: int) -> str:
    """12-hour clock without AM or PM; Monday's file has two digits and seconds."""
    local = _local(ns, ahead)
    hour = local.hour % 12 or 12
    if day == "Monday":
        return f"{local:%d/%m/%Y} {hour:02d}:{local:%M:%S}"
    return f"{local.day}/{local.month}/{local.year} {hour}:{local:%M}"


def _csv(day: Day, ns: int) -> str:
    at = f"{_local(ns):%H:%M}"
    return "TrafficLabelling/" + next(name for begin, name in reversed(day.csvs) if at >= begin) + ".pcap_ISCX.csv"


def _other(session: Session) -> str:
    """A label that the session's file holds besides the session's."""
    if session.label != BENIGN:
        return BENIGN
    held = [
        attack.label
        for attack in ATTACKS
        if attack.label != BENIGN and _csv(DAYS[attack.day], _clock(DAYS[attack.day], attack.begin)) == session.file
    ]
    return held[0] if held else ""


def _session(day: str, packets: list, label: str, corrected: str = "") -> Session:
    return Session(DAYS[day].capture, day, _csv(DAYS[day], packets[0].ts), packets, label, corrected)


def _moment(rng: np.random.Generator, begin: int, end: int) -> int:
    """A time that leaves room for a conversation, in whole µs."""
    return begin + int(rng.integers(1_000_000, (end - begin) // 1000 - 100_000_000)) * 1000


def _benign(name: str, rng: np.random.Generator) -> list[Session]:
    day, sessions = DAYS[name], []
    for i, port in zip(range(N_BENIGN), count(49152), strict=False):
        begin = _moment(rng, _clock(day, "09:00"), _clock(day, "16:55"))
        # what the intruder's foothold does that day is attack
        hosts = [3, 5, 9, 12, 14, 15, 16, 17, 19, 25] + [8] * (name != "Thursday")
        inside, outside = f"192.168.10.{rng.choice(hosts)}", f"93.184.{rng.integers(1, 250)}.{rng.integers(1, 250)}"
        if i % 3 == 0:
            ends, n, span = (
                Ends(inside, port, "192.168.10.3" if inside != "192.168.10.3" else "8.8.8.8", 53, UDP),
                2,
                int(rng.integers(1, 5000)) * 10,
            )
        elif i % 10 == 1:  # the web server's ordinary visitors, all day long
            ends, n, span = (
                Ends(inside, port, WEB_SERVER, 80, TCP),
                int(rng.integers(4, 12)),
                int(rng.integers(100, 500_000)) * 10,
            )
        else:
            ends, n = Ends(inside, port, outside, int(rng.choice([80, 443])), TCP), int(rng.integers(2, 20))
            span = 0 if i % 20 == 2 else int(rng.integers(100, 6_000_000)) * 10
        sessions.append(_session(name, conversation(rng, ends, begin, n=n if span else 2, span_us=span), BENIGN))
    for session in sessions[1 : 1 + RETURNING]:
        middle = _clock(day, "12:50")
        again = session.first + (7000 if session.first < middle else -7000) * 10**9
        sessions.append(_session(name, conversation(rng, session.ends, again, n=6, span_us=900_000), BENIGN))
    return sessions


def _portless(name: str, rng: np.random.Generator) -> list[Session]:
    """Pings, which CICFlowMeter knows nothing of: flows without a row, whatever the traps."""
    begin = _clock(DAYS[name], "10:00")
    pings = [Ends(f"192.168.10.{5 + i}", 0, "192.168.10.3", 0, ICMP) for i in range(N_PORTLESS)]
    talks = [
        conversation(rng, ends, _moment(rng, begin, begin + 3600 * 10**9), n=4, span_us=3_000_000) for ends in pings
    ]
    return [replace(_session(name, packets, BENIGN), file="") for packets in talks]


def _long(name: str, rng: np.random.Generator, n: int) -> list[Session]:
    """Connections that are kept open."""
    day = DAYS[name]
    ends = [Ends(f"192.168.10.{12 + i % 6}", 41000 + i, f"74.125.{1 + i}.188", 443, TCP) for i in range(n)]
    talks = [long_conversation(rng, each, _moment(rng, _clock(day, "09:10"), _clock(day, "16:30"))) for each in ends]
    return [replace(_session(name, packets, BENIGN), cut=True) for packets in talks]


def _attacks(name: str, rng: np.random.Generator) -> list[Session]:
    day, sessions, port = DAYS[name], [], count(33000)
    for attack in (attack for attack in ATTACKS if attack.day == name):
        begin, end = _clock(day, attack.begin), _clock(day, attack.end)
        for i in range(attack.n):
            ends = Ends(
                attack.src[i % len(attack.src)],
                next(port),
                attack.dst[i % len(attack.dst)],
                attack.port or 1 + 7 * i,
                TCP,
            )
            n = attack.packets if attack.packets < 3 else int(rng.integers(3, attack.packets + 1))
            packets = conversation(
                rng, ends, _moment(rng, begin, end), n=n, span_us=int(rng.integers(50, 2_000_000)) * 10
            )
            sessions.append(_session(name, packets, attack.label, attack.corrected))
    return sessions


def write_cicids2017(folder: Path, seed: int = 0, traps: Traps = Traps()) -> Truth:  # noqa: B008 — frozen
    """``captures/<Day>-WorkingHours.pcap`` and ``labels/TrafficLabelling/*.csv``; groups (days): Monday, Tuesday, …

    Each day's capture also holds ARP frames, and three pings that have no row whatever the traps.
    ``corrected`` differs from ``label`` for ``Infiltration - Portscan``, which the CSVs call BENIGN.  There are no "-
    Attempted" flows.
    """
    rng = np.random.default_rng([2017, seed])
    sessions = [
        session
        for day in DAYS
        for session in [*_benign(day, rng), *_portless(day, rng), *_long(day, rng, traps.long), *_attacks(day, rng)]
    ]
    sessions = with_tails(sessions, traps.tails, rng)
    others = {
        day.capture: [
            (_clock(day, "09:30") + i * 10**9, arp("02:00:00:00:00:01", "192.168.10.5", "192.168.10.3"))
            for i in range(5)
        ]
        for day in DAYS.values()
    }
    style = CsvStyle(HEADER, _time, _other, "cp1252", {WEB: 40})
    return finish_replica(folder, sessions, style, traps, rng, write_pcapng, others)
