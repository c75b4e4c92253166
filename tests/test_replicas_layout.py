"""The synthetic replicas are what they claim: dpkt finds the flows of their truth, and headers, names and traps are the
published ones."""

from __future__ import annotations

import csv
import filecmp
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path

import dpkt
import pytest

from tests.conftest import SHARED_DATA
from tests.replicas import (
    Traps,
    Truth,
    cicddos2019,
    cicids2017,
    ciciot2023,
    iscxtor2016,
    write_cicddos2019,
    write_cicids2017,
    write_ciciot2023,
    write_iscxtor2016,
)

WRITERS: dict[str, Callable[..., Truth]] = {
    "cicids2017": write_cicids2017,
    "cicddos2019": write_cicddos2019,
    "ciciot2023": write_ciciot2023,
    "iscxtor2016": write_iscxtor2016,
}
WITH_CSV = ["cicids2017", "cicddos2019"]
EVERYTHING = Traps(
    duplicated=0.05,
    missing=0.05,
    orphans=0.05,
    swapped=0.2,
    ambiguous=3,
    bad_bytes=2,
    broken=2,
    repeated_headers=1,
    long=4,
    tails=0.1,
)
MIDNIGHT = {"Monday": 3, "Tuesday": 4, "Wednesday": 5, "Thursday": 6, "Friday": 7}


@pytest.fixture(scope="module")
def replica(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Truth]:
    """Name → the replica with every trap that it has (made once)."""

    @cache
    def make(name: str) -> Truth:
        folder = tmp_path_factory.mktemp(name)
        return WRITERS[name](folder, 7, EVERYTHING) if name in WITH_CSV else WRITERS[name](folder, 7)

    return make


def packets_of(path: Path) -> Iterator[tuple[int, dpkt.ethernet.Ethernet]]:
    """(µs since the epoch, frame), as dpkt reads it."""
    with path.open("rb") as file:
        for ts, data in dpkt.pcap.UniversalReader(file):
            yield round(ts * 1e6), dpkt.ethernet.Ethernet(data)


def flows_of(path: Path, copies: int, active_us: float) -> list[tuple]:
    """Initiator's 5-tuple, first, last, packets (without copies): idle timeout 120 s."""
    newest: dict[frozenset, list] = {}
    flows = []
    for ts, frame in packets_of(path):
        ip = frame.data
        if not isinstance(ip, dpkt.ip.IP):
            continue
        ports = (ip.data.sport, ip.data.dport) if ip.p in (6, 17) else (0, 0)
        sender, receiver = (".".join(map(str, ip.src)), ports[0]), (".".join(map(str, ip.dst)), ports[1])
        key = frozenset([sender, receiver, ip.p])
        flow = newest.get(key)
        if flow is None or ts - flow[4] > 120e6 or ts - flow[3] > active_us:
            flow = newest[key] = [sender, receiver, ip.p, ts, ts, 0, Counter()]
            flows.append(flow)
        flow[5] += 1
        flow[6][bytes(ip)] += 1
        if flow[6][bytes(ip)] == 1:
            flow[4] = ts
    assert all(set(flow[6].values()) == {copies} for flow in flows)
    return [(*flow[0], *flow[1], flow[2], flow[3], flow[4], flow[5] // copies) for flow in flows]


@pytest.mark.parametrize("name", WRITERS)
def test_dpkt_finds_exactly_the_flows_of_the_truth(replica, name):
    truth = replica(name)
    found, told = defaultdict(list), defaultdict(list)
    for path in sorted(path for path in truth.captures.rglob("*") if path.is_file()):
        capture = path.relative_to(truth.captures).as_posix()
        found[capture] = sorted(
            flows_of(path, 2 if name == "cicddos2019" else 1, 10e6 if name == "iscxtor2016" else float("inf"))
        )
    for flow in truth.flows:
        told[flow.capture].append(
            (
                flow.src,
                flow.sport,
                flow.dst,
                flow.dport,
                flow.proto,
                flow.first // 1000,
                flow.last // 1000,
                flow.n_packets,
            )
        )
    assert found == {capture: sorted(flows) for capture, flows in told.items()}


@pytest.mark.parametrize("name", WRITERS)
def test_a_replica_depends_on_its_seed_alone(replica, name, tmp_path):
    truth = replica(name)
    traps = (EVERYTHING,) if name in WITH_CSV else ()
    again, other = WRITERS[name](tmp_path / "again", 7, *traps), WRITERS[name](tmp_path / "other", 8, *traps)
    assert (again.flows, again.rows) == (truth.flows, truth.rows)
    assert other.flows != truth.flows
    for folder, made in ((truth.captures, again.captures), (truth.labels, again.labels)):
        names = [path.relative_to(folder) for path in folder.rglob("*") if path.is_file()]
        assert names
        assert all(filecmp.cmp(folder / path, made / path, shallow=False) for path in names)


def test_ids_captures_are_pcapng_and_ddos_captures_pcap(replica):
    assert (replica("cicids2017").captures / "Monday-WorkingHours.pcap").read_bytes()[:4] == bytes.fromhex("0a0d0d0a")
    assert (replica("cicddos2019").captures / "PCAP-01-12" / "SAT-01-12-2018_0").read_bytes()[:4] == bytes.fromhex(
        "d4c3b2a1"
    )


@pytest.mark.parametrize(
    ("name", "classes"),
    [("cicids2017", 15), ("cicddos2019", 19), ("ciciot2023", 34), ("iscxtor2016", 2)],
)
def test_every_class_is_there(replica, name, classes):
    assert len({flow.label for flow in replica(name).flows}) == classes


def test_the_copies_of_a_mirror_port_follow_within_3_us(replica):
    for path in sorted((replica("cicddos2019").captures / "PCAP-03-11").iterdir()):
        times = defaultdict(list)
        for ts, frame in packets_of(path):
            times[bytes(frame)].append(ts)
        assert all(len(both) == 2 and 1 <= both[1] - both[0] <= 3 for both in times.values())


# --- CSVs


@cache
def lines_of(path: Path) -> list[list[str]]:
    return list(csv.reader(path.read_bytes().decode("latin-1").splitlines()))


@pytest.mark.skipif(not SHARED_DATA.is_dir(), reason="the published CSVs' headers are not on this machine")
@pytest.mark.parametrize(
    ("header", "sample"),
    [
        (cicids2017.HEADER, "cic_ids2017_GeneratedLabelledFlows_header_assembled.csv"),
        (cicids2017.HEADER[4:5] + cicids2017.HEADER[7:], "cic_ids2017_MachineLearningCVE_wednesday.csv"),
        (cicddos2019.HEADER, "cic_ddos2019_03-11_Portmap.csv"),
        (ciciot2023.MERGED_HEADER, "cic_iot2023_merged.csv"),
        (ciciot2023.PART_HEADER, "ciciot2023_part_csv_HEADER_ONLY.csv"),
        (iscxtor2016.HEADER, "iscxtor2016_scenarioA_HEADER_ONLY.csv"),
    ],
)
def test_headers_are_the_published_ones(header, sample):
    with (SHARED_DATA / "csv_samples" / sample).open(encoding="utf-8") as file:
        assert header == file.readline().rstrip("\r\n").split(",")


@pytest.mark.parametrize("name", WRITERS)
def test_every_line_has_its_files_columns(replica, name):
    headers = {"cicids2017": [85], "cicddos2019": [88], "ciciot2023": [40, 47], "iscxtor2016": [29]}[name]
    files = list(replica(name).labels.rglob("*.csv"))
    assert {len(lines_of(path)[0]) for path in files} == set(headers)
    assert all(len(line) == len(lines[0]) for lines in map(lines_of, files) for line in lines)


def test_names_of_files_are_the_published_ones(replica):
    ids, ddos = (
        {path.relative_to(replica(name).labels).as_posix() for path in replica(name).labels.rglob("*.csv")}
        for name in WITH_CSV
    )
    days = [
        "Monday-WorkingHours",
        "Tuesday-WorkingHours",
        "Wednesday-workingHours",
        "Thursday-WorkingHours-Morning-WebAttacks",
    ]
    days += [
        "Thursday-WorkingHours-Afternoon-Infilteration",
        "Friday-WorkingHours-Morning",
        "Friday-WorkingHours-Afternoon-PortScan",
    ]
    assert ids == {f"TrafficLabelling/{day}.pcap_ISCX.csv" for day in [*days, "Friday-WorkingHours-Afternoon-DDos"]}
    first = [f"DrDoS_{name}" for name in ("DNS", "LDAP", "MSSQL", "NTP", "NetBIOS", "SNMP", "SSDP", "UDP")] + [
        "Syn",
        "TFTP",
        "UDPLag",
    ]
    second = ["LDAP", "MSSQL", "NetBIOS", "Portmap", "Syn", "UDP", "UDPLag"]
    assert ddos == {f"01-12/{name}.csv" for name in first} | {f"03-11/{name}.csv" for name in second}


def test_oddities_of_the_published_csvs(replica):
    ids, ddos = replica("cicids2017").labels, replica("cicddos2019").labels
    web = next(ids.rglob("*WebAttacks*")).read_bytes()
    assert b"Web Attack \x96 XSS" in web
    assert web.endswith(b"\r\n" + b"," * 84 + b"\r\n")
    hours = {
        int(line[6].split()[1].split(":")[0])
        for path in ids.rglob("*.csv")
        for line in lines_of(path)[1:]
        if re.search(r"\d:\d", line[6])
    }
    assert hours <= set(range(1, 13))
    assert {1, 4, 9, 12} <= hours
    assert re.fullmatch(r"03/07/2017 \d\d:\d\d:\d\d", lines_of(next(ids.rglob("Monday*")))[1][6])
    assert "Infinity" in web.decode("latin-1")
    assert any(line[20] == "NaN" for path in ids.rglob("*.csv") for line in lines_of(path))
    for name, own in (("03-11/LDAP", "LDAP"), ("01-12/UDPLag", "UDP-lag")):
        assert len({line[-1] for line in lines_of(ddos / f"{name}.csv")[1:]} - {"BENIGN", own}) >= 1


# --- rows and flows belong together


def row_time(name: str, text: str, day: str) -> int:
    """ns, read here in a third way; ``day`` in the words of the replica's CSV path."""
    if name == "cicddos2019":
        local = datetime.strptime(text, "%Y-%m-%d %H:%M:%S.%f").replace(tzinfo=UTC)
        return round((local + timedelta(hours=3 if day == "03-11" else 4)).timestamp() * 1e6) * 1000
    local = datetime.strptime(text, "%d/%m/%Y %H:%M:%S" if text.count(":") == 2 else "%d/%m/%Y %H:%M").replace(
        tzinfo=UTC
    )
    return int((local + timedelta(hours=3 + (12 if local.hour < 8 else 0))).timestamp()) * 10**9


@pytest.mark.parametrize("name", WITH_CSV)
def test_rows_are_those_of_the_truth(replica, name):
    truth = replica(name)
    lines = {path.relative_to(truth.labels).as_posix(): lines_of(path) for path in truth.labels.rglob("*.csv")}
    assert Counter(row.file for row in truth.rows) == {file: len(content) - 1 for file, content in lines.items()}
    long = {row.flow for row in truth.rows if row.kind == "part"}
    before = int(name == "cicddos2019")  # its first column is a number
    for row in truth.rows:
        line = lines[row.file][row.line + 1]
        if row.kind == "header":
            assert line == lines[row.file][0]
            continue
        source, destination, time = line[before + 1 : before + 3], line[before + 3 : before + 5], line[before + 6]
        assert line[-1] == row.label.replace("–", "\x96")
        if row.flow is None:
            assert row.kind in ("orphan", "broken", "blank")
            assert ("noon" in time) == (row.kind == "broken")
            continue
        if row.kind == "part" or row.flow in long:
            continue
        flow = truth.flows[row.flow]
        ends = [flow.src, str(flow.sport)], [flow.dst, str(flow.dport)]
        assert (source, destination) in (ends, ends[::-1])
        assert (source == ends[0]) == (flow.row != "swapped") or flow.row == "ambiguous"
        unit = 10**9 * (1 if time.count(":") == 2 else 60) if name == "cicids2017" else 1000
        assert row_time(name, time, row.file.split("/")[0]) == flow.first // unit * unit
        assert 0 <= int(line[before + 7]) - (flow.last - flow.first) // 1000 <= 3 * before


@pytest.mark.parametrize("name", WITH_CSV)
def test_rows_of_a_flow_that_was_cut_cover_it(replica, name):
    truth = replica(name)
    before = int(name == "cicddos2019")
    rows = defaultdict(list)
    for row in truth.rows:
        rows[row.flow].append(row)
    cut = {flow: mine for flow, mine in rows.items() if flow is not None and "part" in {row.kind for row in mine}}
    assert sum(len(mine) == 3 for mine in cut.values()) == 4 * (5 if name == "cicids2017" else 2)
    assert (sum(len(mine) == 2 for mine in cut.values()) > 50) == (name == "cicids2017")
    for at, mine in cut.items():
        flow = truth.flows[at]
        lines = [
            lines_of(truth.labels / row.file)[row.line + 1] for row in sorted(mine, key=lambda row: row.kind != "row")
        ]
        assert sum(int(line[before + 8]) + int(line[before + 9]) for line in lines) == flow.n_packets * (1 + before)
        assert all(int(line[before + 7]) <= 120_000_000 for line in lines)
        assert all({line[before + 1], line[before + 3]} == {flow.src, flow.dst} for line in lines)
        assert {line[-1] for line in lines} == {flow.label.replace("–", "\x96")}
        times = [row_time(name, line[before + 6], mine[0].file.split("/")[0]) for line in lines]
        assert flow.first - 60 * 10**9 < min(times) == times[0] <= flow.first
        assert max(times) <= flow.last


@pytest.mark.parametrize("name", WITH_CSV)
def test_the_traps_are_set_as_often_as_asked(replica, name):
    truth = replica(name)
    kinds = Counter(row.kind for row in truth.rows)
    n, files = len(truth.flows), len({row.file for row in truth.rows})
    fates = Counter(flow.row for flow in truth.flows)
    listed = n - 15 * (name == "cicids2017")  # three pings a day have no row in any case
    assert kinds["row"] == fates["plain"] + fates["swapped"]
    assert kinds["ambiguous"] == 2 * fates["ambiguous"]
    assert fates["ambiguous"] == (3 * 4 if name == "cicids2017" else 3 * 2)  # Monday has no second label
    assert kinds["broken"] == 2 * files
    assert kinds["header"] == files
    assert 0.03 < kinds["orphan"] / listed <= 0.05
    assert 0.03 < kinds["duplicate"] / listed <= 0.05
    assert 0.03 < (fates["none"] - (n - listed)) / listed <= 0.05
    assert 0.1 < fates["swapped"] / listed <= 0.2
    raw = b"".join(path.read_bytes() for path in truth.labels.rglob("*.csv"))
    assert raw.count(b"\xff\x81\x9d") == 2 * files
    claimed = {row.flow for row in truth.rows if row.kind == "orphan"}
    assert claimed == {None}


@pytest.mark.parametrize("name", WITH_CSV)
def test_without_traps_every_listed_flow_has_one_row(tmp_path, name):
    truth = WRITERS[name](tmp_path, 1)
    assert {row.kind for row in truth.rows} <= {"row", "blank"}
    rows = Counter(row.flow for row in truth.rows if row.flow is not None)
    assert set(rows.values()) == {1}
    assert len(rows) == len(truth.matched()) == len(truth.flows) - 15 * (name == "cicids2017")


@pytest.mark.parametrize(
    ("name", "day", "other"), [("cicids2017", "Tuesday", "Friday"), ("cicddos2019", "03-11", "01-12")]
)
def test_a_wrong_zone_moves_one_day_of_the_csvs_and_no_capture(tmp_path, name, day, other):
    right = WRITERS[name](tmp_path / "right", 3)
    wrong = WRITERS[name](tmp_path / "wrong", 3, Traps(wrong_zone_day=day, wrong_zone_hours=3))
    assert right.flows == wrong.flows
    assert right.rows == wrong.rows

    def times(truth: Truth, which: str) -> list[str]:
        column = 6 + (name == "cicddos2019")
        return [
            line[column]
            for path in sorted(truth.labels.rglob("*.csv"))
            if which in path.as_posix()
            for line in lines_of(path)[1:]
        ]

    assert times(right, f"/{other}") == times(wrong, f"/{other}")
    assert len(times(right, f"/{day}")) == sum(f"/{day}" in f"/{row.file}" for row in right.rows)
    moved = zip(times(right, f"/{day}"), times(wrong, f"/{day}"), strict=True)
    assert all((int(b.split()[1].split(":")[0]) - int(a.split()[1].split(":")[0])) % 12 == 3 for a, b in moved)


def test_corrected_labels_are_known_by_hosts_and_times(replica):
    by_label = defaultdict(list)
    for flow in replica("cicids2017").flows:
        by_label[flow.corrected].append(flow)
    assert len(by_label) == 16
    scans = by_label["Infiltration - Portscan"]
    assert {flow.label for flow in scans} == {"BENIGN"}
    assert {flow.src for flow in scans} == {"192.168.10.8"}
    adt = timedelta(hours=-3)
    for label, begin, end in (
        ("SSH-Patator", "13:00", "16:11"),
        ("Heartbleed", "15:11", "15:33"),
        ("Infiltration", "14:15", "15:50"),
    ):
        local = [f"{datetime.fromtimestamp(flow.first // 10**9, UTC) + adt:%H:%M}" for flow in by_label[label]]
        assert all(begin <= time <= end for time in local)


def test_attackers_take_part_in_some_flows_of_a_slow_attack_and_all_of_a_flood(replica):
    share = {
        attack.label: [flow.attacker_mac for flow in replica("ciciot2023").flows if flow.label == attack.label]
        for attack in ciciot2023.ATTACKS
    }
    assert all(share["DDoS-SYN_Flood"])
    assert 0.1 < sum(share["Recon-PingSweep"]) / len(share["Recon-PingSweep"]) < 0.2
    assert any(flow.attacker_mac for flow in replica("ciciot2023").flows if flow.label == "BenignTraffic")
    for flow_mac, frame_macs in attacker_frames(replica("ciciot2023")):
        assert flow_mac == frame_macs


def attacker_frames(truth: Truth) -> Iterator[tuple[bool, bool]]:
    """(what the truth says, what the frames say) of every flow of one capture."""
    path = next(path for path in truth.captures.rglob("*") if path.name.casefold() == "recon-portscan.pcap")
    capture = path.relative_to(truth.captures).as_posix()
    attackers = {bytes.fromhex(mac.replace(":", "")) for mac in ciciot2023.ATTACKERS}
    first = {}
    for ts, frame in packets_of(path):
        if isinstance(frame.data, dpkt.ip.IP):
            first.setdefault(ts, bool({frame.src, frame.dst} & attackers))
    for flow in truth.flows:
        if flow.capture == capture:
            yield flow.attacker_mac, first[flow.first // 1000]
