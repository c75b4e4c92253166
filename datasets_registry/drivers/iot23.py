"""IoT-23: twenty captures of infected devices and three of healthy ones, labelled by connection in Zeek's logs."""

import re

from datasets_registry.drivers.connections import ConnectionLabels
from datasets_registry.drivers.driver import Driver, LabelMap
from datasets_registry.drivers.zeek import read_log

CAPTURE = re.compile(r"CTU-(IoT-Malware|Honeypot)-Capture(-[a-z0-9]+)+", re.IGNORECASE)
PACKETS = re.compile(r".+\.pcap(ng)?(\.gz|\.zst)?", re.IGNORECASE)

LABELS = LabelMap(
    benign=frozenset({"benign"}),
    # The details of the published logs (https://www.stratosphereips.org/datasets-iot23); the first word says that it is
    # an attack, the detail which: of joined ones (C&C-FileDownload) the family is the first.
    attacks={
        **{
            rf"Malicious {detail}": (detail, family)
            for detail, family in {
                "C&C": "C&C",
                **{f"C&C-{what}": "C&C" for what in ("FileDownload", "HeartBeat", "Mirai", "Torii")},
                **{f"C&C-HeartBeat-{what}": "C&C" for what in ("Attack", "FileDownload")},
                "PartOfAHorizontalPortScan": "port scan",
                "PartOfAHorizontalPortScan-Attack": "port scan",
                "DDoS": "DDoS",
                "Okiru": "Okiru",
                "Okiru-Attack": "Okiru",
                "Attack": "attack",
                "FileDownload": "file download",
            }.items()
        },
        "Malicious": ("Malicious", "attack"),
    },
)


def group_of(path: str) -> str | None:
    """The capture's name, in its file's or in the nearest folder's."""
    return next((found[0] for part in reversed(path.split("/")) if (found := CAPTURE.match(part))), None)


LOGS = ConnectionLabels(
    name="conn.log.labeled",
    belongs=lambda path, group: path.lower().endswith("conn.log.labeled") and group_of(path) == group,
    read=read_log,
    labels=LABELS,
    benign=lambda group: "honeypot" in group.lower(),
)

DRIVER = Driver(
    name="iot23",
    summary="IoT-23: captures of 20 infected and 3 healthy devices, 2018 and 2019",
    licence="CC BY 4.0 (Stratosphere Laboratory)",
    citation=(
        "Garcia, Parmisano, Erquiaga: IoT-23: A labeled dataset with malicious and benign IoT network traffic, 2020, "
        "10.5281/zenodo.4743746"
    ),
    captures="captures in folders such as CTU-IoT-Malware-Capture-42-1, or named so",
    group_of=lambda path: group_of(path) if PACKETS.fullmatch(path.rpartition("/")[2]) else None,
    tables="the numbers of a conn.log.labeled are a set that no other dataset has",
    labeller=LOGS.labeller,
    defects=(
        "benign and malicious connections to one address look alike: 1 947 retries of capture 42-1 to "
        "185.244.25.183:4975 are Benign by its log and equal the C&C connections of 34-1 packet by packet (counted on "
        "both captures with their published logs)",
        "most of a capture's rows are of one class, so that capture and class are hard to tell apart: 6 706 of the "
        "rows of 34-1 to one port are C&C, all but 6 of the 4 426 of 42-1 Benign (counted on the published logs)",
    ),
)
