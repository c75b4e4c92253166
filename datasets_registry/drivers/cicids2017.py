"""CIC-IDS2017: a week of an office network, attacked from Tuesday to Friday."""

import datetime as dt
from dataclasses import dataclass
from typing import Literal

from datasets_registry.drivers.csv_labels import CsvLabels
from datasets_registry.drivers.csv_rows import DAY_FIRST, CsvFormat
from datasets_registry.drivers.driver import Driver, LabelMap, Tables, by_pattern
from datasets_registry.drivers.windows import Window, WindowLabels
from janus_bench.errors import UsageError

DAYS = ("monday", "tuesday", "wednesday", "thursday", "friday")
ADT = -3  # hours ahead of UTC
AFTERNOON = tuple(range(1, 8))  # Recorded from 9 to 5, by a clock of twelve hours without AM and PM.

LABELS = LabelMap(
    benign=frozenset({"benign"}),
    attacks={
        **{label: (label, "brute force") for label in ("FTP-Patator", "SSH-Patator")},
        **{label: (label, "DoS") for label in ("DoS slowloris", "DoS Slowhttptest", "DoS Hulk", "DoS GoldenEye")},
        r"Heartbleed": ("Heartbleed", "Heartbleed"),
        # Between the words is a dash of code page 1252, byte 0x96, that other programs have turned into something else:
        # U+FFFD, or, encoded twice, letters such as Â.
        **{
            rf"Web Attack[\WÂÃâ]+{kind}": (f"Web Attack - {kind}", "web attack")
            for kind in ("Brute Force", "XSS", "Sql Injection")
        },
        r"Infiltration": ("Infiltration", "infiltration"),
        r"Infiltration\W+Portscan": ("Infiltration - Portscan", "port scan"),
        r"Bot": ("Bot", "bot"),
        r"PortScan": ("PortScan", "port scan"),
        r"DDoS": ("DDoS", "DDoS"),
    },
)

CSVS = CsvLabels(
    form=CsvFormat(time_format=DAY_FIRST, afternoon=AFTERNOON),
    labels=LABELS,
    files={day: rf"(.*/)?{day}[^/]*\.csv" for day in DAYS},
    zones=dict.fromkeys(DAYS, (ADT,)),
)

ATTACKER = ("172.16.0.1",)  # the firewall's inner address, behind which the attackers sit
VICTIM = ("192.168.10.50",)
OUTSIDE = ("205.174.165.73",)
INFILTRATED = ("192.168.10.8",)
INSIDE = ("192.168.10.0/24",)


def _attack(day: str, begin: str, end: str, label: str, **hosts: object) -> Window:
    kind = LABELS.classify(label)
    assert kind is not None, label
    return Window(day, begin, end, kind, **({"attackers": ATTACKER, "victims": VICTIM} | hosts))  # type: ignore[arg-type]


# Attack windows of Engelen et al. (2021) and Liu et al. (2022).  Their classes "… - Attempted" (the attacker's flows
# without payload) and the benign flows of attacking hosts need what labelling does not see; the first have the attack's
# label here, the second none.
WINDOWS = WindowLabels(
    windows=(
        _attack("tuesday", "09:17", "10:30", "FTP-Patator"),
        _attack("tuesday", "13:00", "16:11", "SSH-Patator"),
        _attack("wednesday", "00:00", "10:12", "DoS slowloris"),
        _attack("wednesday", "10:13", "10:38", "DoS Slowhttptest"),
        _attack("wednesday", "10:39", "11:09", "DoS Hulk"),
        _attack("wednesday", "11:10", "11:23", "DoS GoldenEye"),
        # The victim of Heartbleed is another server: the port tells.
        _attack("wednesday", "15:11", "15:33", "Heartbleed", victims=INSIDE, port=444),
        _attack("thursday", "09:10", "10:12", "Web Attack - Brute Force"),
        _attack("thursday", "10:13", "10:37", "Web Attack - XSS"),
        _attack("thursday", "10:39", "10:45", "Web Attack - Sql Injection"),
        _attack("thursday", "14:15", "15:50", "Infiltration", attackers=INFILTRATED, victims=OUTSIDE),
        _attack(
            "thursday",
            "14:15",
            "15:50",
            "Infiltration - Portscan",
            attackers=INFILTRATED,
            victims=INSIDE,
            protocol=6,
            attacker_begins=True,
        ),
        Window("thursday", "14:15", "15:50", None, INFILTRATED),
        _attack("friday", "09:30", "12:59", "Bot", attackers=OUTSIDE, victims=INSIDE, port=8080),
        # At 15:40 both are on; the flood goes to one port of the server.
        _attack("friday", "15:40", "16:30", "DDoS", port=80),
        _attack("friday", "12:30", "15:40", "PortScan"),
        *(Window(day, "00:00", "23:59", None, ATTACKER + OUTSIDE) for day in DAYS),
    ),
    days={day: dt.date(2017, 7, 3 + number) for number, day in enumerate(DAYS)},
    zone=ADT,
)


@dataclass(frozen=True)
class CicIdsOptions:
    """labels: ``original``, of the published CSVs, or ``corrected``, by attack windows and hosts (no CSV is read)."""

    labels: Literal["original", "corrected"] = "original"


def _tables(options: CicIdsOptions) -> str:
    if options.labels != "original":
        raise UsageError("labels=corrected is by windows and hosts of the captures: name them with --captures")
    return rf"(.*/)?({'|'.join(DAYS)})[^/]*\.csv"


PORT_SCAN = (
    "a port scan of Thursday afternoon, 71 767 flows of the corrected labels, is labelled BENIGN in the published "
    "CSVs: use labels=corrected (Liu et al. 2022, 10.1109/CNS56114.2022.9947235; Lanvin et al. 2022, CRiSIS)"
)
"""What ``labels=corrected`` mends."""

LABELLERS = {"original": CSVS.labeller, "corrected": WINDOWS.labeller}


DRIVER = Driver(
    name="cicids2017",
    summary="CIC-IDS2017: an office network, 3 to 7 July 2017",
    licence="free for research with citation (Canadian Institute for Cybersecurity, UNB)",
    citation=(
        "Sharafaldin et al.: Toward Generating a New Intrusion Detection Dataset and Intrusion Traffic "
        "Characterization, ICISSP 2018"
    ),
    captures="Monday-WorkingHours.pcap … Friday-WorkingHours.pcap",
    group_of=by_pattern({day: rf"{day}-workinghours\.pcap(ng)?(\.gz|\.zst)?" for day in DAYS}),
    defects=(
        "CICFlowMeter cut TCP flows at wrong places, so that one connection is several rows, and flows of attackers "
        "without payload are labelled as attacks (Engelen et al. 2021, 10.1109/SPW53761.2021.00009)",
    ),
    defects_of=lambda options: (PORT_SCAN,) if options.labels == "original" else (),
    labeller=lambda request: LABELLERS[request.options.labels](request),
    options=CicIdsOptions,
    tables=Tables("cicflowmeter", _tables, LABELS, AFTERNOON),
)
