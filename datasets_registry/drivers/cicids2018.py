"""CSE-CIC-IDS2018: ten days of a company's network in a cloud, as tables of CICFlowMeter, or as captures of its hosts.

The published tables, but for one, have no addresses, so that they label no capture.  The captures are labelled by the
hosts and times of the corrected labels (Liu et al. 2022).
"""

import datetime as dt
import re

from datasets_registry.drivers.driver import BENIGN, Driver, Label, LabelMap, Tables
from datasets_registry.drivers.windows import ANYWHERE, Window, WindowLabels

LABELS = LabelMap(
    benign=frozenset({"benign"}),
    attacks={
        r"FTP-Brute-?Force": ("FTP-BruteForce", "brute force"),
        r"SSH-Brute-?force": ("SSH-Bruteforce", "brute force"),
        **{
            rf"DoS attacks-{name}": (f"DoS attacks-{name}", "DoS")
            for name in ("GoldenEye", "Hulk", "SlowHTTPTest", "Slowloris")
        },
        r"DDoS attacks?-LOIC-HTTP": ("DDoS attacks-LOIC-HTTP", "DDoS"),
        r"DDoS attacks?-(LOIC-UDP)": ("DDoS attacks-LOIC-UDP", "DDoS"),
        r"DDoS attacks?-HOIC": ("DDoS attacks-HOIC", "DDoS"),
        r"Brute Force\W+Web": ("Brute Force -Web", "web attack"),
        r"Brute Force\W+XSS": ("Brute Force -XSS", "web attack"),
        r"SQL Injection": ("SQL Injection", "web attack"),
        r"Infil(te|t)ration": ("Infiltration", "infiltration"),
        r"Bot": ("Bot", "bot"),
    },
)

DAYS = ("14-02", "15-02", "16-02", "20-02", "21-02", "22-02", "23-02", "28-02", "01-03", "02-03")
CAPTURE = r"(.*/)?[a-z]+-(\d\d-\d\d)-2018/(.*/)?u?cap(?!.* - copy)[^/]*\d+\.\d+\.\d+\.\d+[^/]*"

WEB_SERVER, SHOP = ("172.31.69.25",), ("172.31.69.28",)
WEB_ATTACKER, BOT_MASTER, INTRUDER = ("18.218.115.60",), ("18.219.211.138",), ("13.58.225.34",)
FLOODERS = (
    *WEB_ATTACKER,
    *("18.219.9.1", "18.219.32.43", "18.218.55.126", "52.14.136.135", "18.219.5.43", "18.216.200.189"),
    *("18.218.229.235", "18.218.11.51", "18.216.24.42"),
)
FTP, SSH, FTP_AGAIN = ("18.221.219.4",), ("13.58.98.64",), ("13.59.126.31",)
SLOWLORIS, HULK = ("18.217.165.70",), ("18.219.193.20",)
OUTSIDERS = (*FLOODERS, *BOT_MASTER, *INTRUDER, *FTP, *SSH, *FTP_AGAIN, *SLOWLORIS, *HULK)
DROPBOX = ("162.125.3.1", "162.125.3.5", "162.125.3.6", "162.125.248.1", "162.125.18.133")
SCANNED = tuple(f"172.31.69.{host}" for host in (1, *range(4, 25)))
DHCP = 68

SCAN = Label("Infiltration - NMAP Portscan", "port scan")
DOWNLOAD = Label("Infiltration - Dropbox Download", "infiltration")
CONTROL = Label("Infiltration - Communication Victim Attacker", "infiltration")


def _attack(day: str, begin: str, end: str, label: str, attackers: tuple[str, ...], **more: object) -> Window:
    kind = LABELS.classify(label)
    assert kind is not None, label
    return Window(day, begin, end, kind, attackers, **({"victims": WEB_SERVER} | more))  # type: ignore[arg-type]


def _infiltration(
    day: str,
    host: tuple[str, ...],
    *,
    downloads: tuple[tuple[str, str], ...],
    control: tuple[tuple[str, str], ...],
    scan: tuple[str, str],
) -> tuple[Window, ...]:
    """What the host did that somebody had taken over; what else it did meanwhile cannot be told apart."""
    begin, end = min(at for at, _ in (*downloads, *control)), max(at for _, at in (*control, scan))
    return (
        Window(day, begin, end, BENIGN, host, port=DHCP, protocol=17),
        *(Window(day, *times, DOWNLOAD, host, DROPBOX, attacker_begins=True) for times in downloads),
        *(Window(day, *times, CONTROL, host, INTRUDER) for times in control),
        Window(day, *scan, SCAN, host, SCANNED, attacker_begins=True),
        Window(day, begin, end, None, host),
    )


# Hosts and times (UTC, seconds) of Liu et al. (2022).  Their classes "… - Attempted" need what labelling does not see
# (payload, flags), or are told by a closed port; they have the attack's label here.  What else attackers sent has none.
WINDOWS = WindowLabels(
    windows=(
        _attack("14-02", "14:33:26", "16:10:31", "FTP-BruteForce", FTP),
        _attack("14-02", "18:01:21", "18:01:21", "FTP-BruteForce", SSH, port=21),
        _attack("14-02", "18:01:50", "19:32:30", "SSH-Bruteforce", SSH, port=22),
        _attack("15-02", "13:27:42", "14:11:45", "DoS attacks-GoldenEye", BOT_MASTER),
        _attack("15-02", "15:00:12", "15:42:01", "DoS attacks-Slowloris", SLOWLORIS),
        # The tables call it DoS attacks-SlowHTTPTest: it went to the closed port 21.
        _attack("16-02", "14:12:14", "15:05:13", "FTP-BruteForce", FTP_AGAIN),
        _attack("16-02", "17:45:27", "17:58:23", "DoS attacks-Hulk", HULK),
        _attack("20-02", "14:13:54", "15:16:48", "DDoS attacks-LOIC-HTTP", FLOODERS, protocol=6),
        _attack("20-02", "17:14:17", "17:29:16", "DDoS attacks-LOIC-UDP", FLOODERS, protocol=17),
        _attack("21-02", "14:08:51", "14:43:39", "DDoS attacks-LOIC-UDP", FLOODERS, protocol=17, victims=SHOP),
        _attack("21-02", "18:11:08", "19:05:54", "DDoS attacks-HOIC", FLOODERS, protocol=6, victims=SHOP),
        _attack("22-02", "14:13:44", "14:15:47", "Brute Force -Web", WEB_ATTACKER, victims=SHOP),
        _attack("22-02", "14:17:51", "15:23:59", "Brute Force -Web", WEB_ATTACKER, victims=SHOP),
        _attack("22-02", "17:51:39", "18:29:41", "Brute Force -XSS", WEB_ATTACKER, victims=SHOP),
        _attack("22-02", "20:14:30", "20:14:58", "SQL Injection", WEB_ATTACKER, victims=SHOP),
        _attack("22-02", "20:16:30", "20:27:56", "SQL Injection", WEB_ATTACKER, victims=SHOP),
        _attack("23-02", "14:04:30", "15:03:06", "Brute Force -Web", WEB_ATTACKER, victims=SHOP),
        _attack("23-02", "17:01:04", "18:10:28", "Brute Force -XSS", WEB_ATTACKER, victims=SHOP),
        _attack("23-02", "19:05:22", "19:06:27", "SQL Injection", WEB_ATTACKER, victims=SHOP),
        _attack("23-02", "19:06:32", "19:17:24", "SQL Injection", WEB_ATTACKER, victims=SHOP),
        *_infiltration(
            "28-02",
            ("172.31.69.24",),
            downloads=(("14:33:24", "14:46:12"), ("17:42:51", "17:43:44")),
            control=(("14:45:40", "16:08:55"), ("17:43:59", "18:39:59")),
            scan=("14:46:22", "18:39:00"),
        ),
        *_infiltration(
            "01-03",
            ("172.31.69.13",),
            downloads=(("13:53:10", "13:59:20"), ("14:03:52", "15:34:14")),
            control=(("13:57:54", "13:59:05"), ("14:04:35", "18:17:25"), ("18:18:15", "19:37:21")),
            scan=("14:09:48", "19:38:12"),
        ),
        _attack("02-03", "14:13:28", "19:54:52", "Bot", BOT_MASTER, victims=ANYWHERE),
        *(Window(day, "00:00", "23:59", None, OUTSIDERS) for day in DAYS),
    ),
    days={day: dt.date(2018, int(day[3:]), int(day[:2])) for day in DAYS},
    zone=0,
    by_host=True,
)


def _day_of(path: str) -> str | None:
    found = re.fullmatch(CAPTURE, path, re.IGNORECASE)
    return found[2] if found and found[2] in DAYS else None


DRIVER = Driver(
    name="cicids2018",
    summary="CSE-CIC-IDS2018: a company's network in a cloud, 14 February to 2 March 2018",
    licence="free for research with citation (CSE and Canadian Institute for Cybersecurity, UNB)",
    citation=(
        "Sharafaldin et al.: Toward Generating a New Intrusion Detection Dataset and Intrusion Traffic "
        "Characterization, ICISSP 2018"
    ),
    captures="Wednesday-14-02-2018/pcap/UCAP172.31.69.25, …/capEC2AMAZ-O4EL3NG-172.31.69.24, one per host and day",
    group_of=_day_of,
    labeller=WINDOWS.labeller,
    tables=Tables(
        "cicflowmeter", lambda _options: r"(.*/)?[^/]*-\d\d-\d\d-2018_TrafficForML_CICFlowMeter\.(csv|parquet)", LABELS
    ),
    defects=(
        "the tables, but for one, have no addresses, so that connections cannot be kept together and each row is its "
        "own session; times are of a clock of twelve hours without AM and PM",
        "flows were cut and labelled wrongly, as in CIC-IDS2017 (Liu et al. 2022, 10.1109/CNS56114.2022.9947235)",
        "headers stand among the rows of some tables; they are left out and counted",
        "captures are of single hosts: a conversation between two of them stands in two captures and is used once; "
        "many break off in mid-packet",
        "FTP was attacked at a closed port, and what the tables call SlowHTTPTest is that, too (Liu et al. 2022): the "
        "captures' labels say FTP-BruteForce",
    ),
)
