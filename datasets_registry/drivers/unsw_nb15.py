"""UNSW-NB15: two days of a test range whose benign and attack traffic a generator made; labels in Argus's lists."""

import re
from pathlib import Path

import polars as pl

from datasets_registry.capture.rules import FlowRules
from datasets_registry.drivers.argus import ArgusFormat, read_flows
from datasets_registry.drivers.connections import ConnectionLabels, Connections
from datasets_registry.drivers.driver import Driver, LabelMap
from datasets_registry.labelling.times import NS

# The columns of UNSW-NB15_1.csv … _4.csv, which have no header, as NUSW-NB15_features.csv names them.
COLUMNS = (
    *("srcip", "sport", "dstip", "dsport", "proto", "state", "dur", "sbytes", "dbytes", "sttl", "dttl", "sloss"),
    *("dloss", "service", "Sload", "Dload", "Spkts", "Dpkts", "swin", "dwin", "stcpb", "dtcpb", "smeansz", "dmeansz"),
    *("trans_depth", "res_bdy_len", "Sjit", "Djit", "Stime", "Ltime", "Sintpkt", "Dintpkt", "tcprtt", "synack"),
    *("ackdat", "is_sm_ips_ports", "ct_state_ttl", "ct_flw_http_mthd", "is_ftp_login", "ct_ftp_cmd", "ct_srv_src"),
    *("ct_srv_dst", "ct_dst_ltm", "ct_src_ltm", "ct_src_dport_ltm", "ct_dst_sport_ltm", "ct_dst_src_ltm"),
    *("attack_cat", "Label"),
)
CATEGORY, FLAG = (pl.col(name).fill_null("").str.strip_chars() for name in ("attack_cat", "Label"))
# The category is empty where nothing was attacked; where the two columns disagree the label is one that is not known.
TEXT = (
    pl.when((CATEGORY == "") & (FLAG == "0"))
    .then(pl.lit("Normal"))
    .when((CATEGORY != "") & (FLAG == "1"))
    .then(CATEGORY)
    .otherwise(pl.concat_str(pl.lit("attack_cat "), CATEGORY, pl.lit(", Label "), FLAG))
)
FORM = ArgusFormat(
    text=TEXT,
    columns=COLUMNS,
    src_ip="srcip",
    src_port="sport",
    dst_ip="dstip",
    dst_port="dsport",
    proto="proto",
    time="Stime",
    duration="dur",
)
LABELS = LabelMap(
    benign=frozenset({"normal"}),
    attacks={
        # Some files have the singular, others the plural (1 795 and 534 rows).
        r"Backdoors?": ("Backdoor", "backdoor"),
        **{
            name: (name, name.lower())
            for name in ("Fuzzers", "Analysis", "Exploits", "Generic", "Reconnaissance", "Shellcode", "Worms")
        },
        "DoS": ("DoS", "DoS"),
    },
)
# The lists divide the records by number, not by day: a row is of the captures of its own day.  s since the epoch.
DAYS = {"22-1-2015": (1_421_884_800, 1_424_131_200), "17-2-2015": (1_424_131_200, 1_425_168_000)}
LIST = re.compile(r"(.*/)?UNSW-NB15_[1-4]\.csv", re.IGNORECASE)
CAPTURE = re.compile(r"(?:.*/)?pcaps[ _-]?(22-1-2015|17-2-2015)/(?:.*/)?\d+\.pcap(?:\.gz|\.zst)?", re.IGNORECASE)


def _read(path: Path, group: str) -> Connections:
    read = read_flows(path, FORM)
    begin, end = (time * NS for time in DAYS[group])
    # A time that cannot be read is of no day: such rows are counted with the first.
    own = (read.rows["start"] >= begin) & (read.rows["start"] < end)
    own = own.fill_null(group == next(iter(DAYS)))
    return Connections(read.rows.filter(own), read.other.filter(own), read.lines)


LISTS = ConnectionLabels(
    name="UNSW-NB15_1.csv … UNSW-NB15_4.csv",
    belongs=lambda path, _group: LIST.fullmatch(path) is not None,
    read=_read,
    labels=LABELS,
)


def group_of(path: str) -> str | None:
    """The day of a capture, by the name of its folder."""
    found = CAPTURE.fullmatch(path)
    return found[1] if found else None


DRIVER = Driver(
    name="unsw_nb15",
    summary="UNSW-NB15: a test range with a traffic generator, 22 January and 17 February 2015",
    licence="free for academic research with citation (UNSW Canberra)",
    citation=(
        "Moustafa, Slay: UNSW-NB15: a comprehensive data set for network intrusion detection systems, MilCIS 2015, "
        "10.1109/MilCIS.2015.7348942"
    ),
    captures="folders as published: pcaps 22-1-2015/1.pcap … 53.pcap and pcaps 17-2-2015/1.pcap … 27.pcap",
    group_of=group_of,
    tables="their 47 columns are a set that no other dataset has; as NetFlow it is nf_v2[which=unsw_nb15]",
    labeller=LISTS.labeller,
    rules=FlowRules(remove_mirrored=True),
    defects=(
        "the majority of packets stand in the captures twice, and 17-2-2015/27.pcap is cut short (CN-TU, "
        "github.com/CN-TU/Datasets-preprocessing); copies that differ in nothing are left out, those whose TTL a "
        "router lowered cannot be recognised",
        "the TTL tells the label so closely that users leave it out (Sarhan et al. 2022, 10.1007/s11036-021-01843-0): "
        "benign and attack packets came from different machines",
        "one flow may have rows of several categories, and is then left out as ambiguous: Fuzzers and Exploits share a "
        "5-tuple and a second in UNSW-NB15_4.csv (rows shown by github.com/fkie-cad/COMIDDS)",
        "design flaws that let a classifier score well without learning the attack recur across such benchmarks (Flood "
        "et al. 2024, 10.1109/EuroSP60621.2024.00042)",
    ),
)
