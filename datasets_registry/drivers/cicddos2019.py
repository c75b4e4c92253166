"""CIC-DDoS2019: two days of reflection and flooding attacks, with little benign traffic."""

from datasets_registry.capture.rules import FlowRules
from datasets_registry.drivers.csv_labels import CsvLabels
from datasets_registry.drivers.csv_rows import ISO, CsvFormat
from datasets_registry.drivers.driver import Driver, LabelMap, Tables, by_pattern

REFLECTORS = ("DNS", "LDAP", "MSSQL", "NetBIOS", "NTP", "SNMP", "SSDP")
LABELS = LabelMap(
    benign=frozenset({"benign"}),
    attacks={
        # The two days spell the same attacks with and without DrDoS_, and two of them in other ways, too.
        **{f"(DrDoS_)?{service}": (f"DrDoS_{service}", f"{service} reflection") for service in REFLECTORS},
        r"Portmap": ("Portmap", "Portmap reflection"),
        r"TFTP": ("TFTP", "TFTP reflection"),
        r"(DrDoS_)?UDP": ("DrDoS_UDP", "UDP flood"),
        r"UDP-?Lag": ("UDP-lag", "UDP-lag"),
        r"Syn": ("Syn", "SYN flood"),
        r"WebDDoS": ("WebDDoS", "WebDDoS"),
    },
)

CSVS = CsvLabels(
    form=CsvFormat(time_format=ISO),
    labels=LABELS,
    # Both days have a Syn.csv and a UDPLag.csv: only the folder tells them apart.
    files={"01-12": r"(.*/)?(CSV-)?01-12/.*\.csv", "03-11": r"(.*/)?(CSV-)?03-11/.*\.csv"},
    zones={"01-12": (-4, -3), "03-11": (-3, -4)},
)

DRIVER = Driver(
    name="cicddos2019",
    summary="CIC-DDoS2019: reflection and flooding attacks of 1 December and 3 November 2018",
    licence="free for research with citation (Canadian Institute for Cybersecurity, UNB)",
    citation=(
        "Sharafaldin et al.: Developing Realistic Distributed Denial of Service (DDoS) Attack Dataset and "
        "Taxonomy, ICCST 2019"
    ),
    captures="SAT-01-12-2018_0 … _0818 and SAT-03-11-2018_0 … _0145",
    group_of=by_pattern({day: rf"SAT-{day}-2018_\d+(\.pcap(ng)?)?(\.gz|\.zst)?" for day in ("01-12", "03-11")}),
    defects=(
        "almost no benign traffic: 113 828 of 70 427 637 published rows, so false-positive rates stand on little "
        "(counted on the published CSVs)",
        "the captures hold every packet twice, 1 to 3 µs apart; the copies are left out here (measured on captures of "
        "both days)",
        "CSVs of one attack hold rows of others: labels are taken from the rows, never from the file's name",
    ),
    labeller=CSVS.labeller,
    tables=Tables("cicflowmeter", lambda _options: r"(.*/)?(CSV-)?(01-12|03-11)/.*\.csv", LABELS),
    # The captures hold every packet twice, from both legs of a mirrored port.
    rules=FlowRules(remove_mirrored=True),
)
