"""CTU-13: thirteen captures of a university network with a bot in it; labels in Argus's bidirectional lists.

Labels: the README of each scenario (mcfp.felk.cvut.cz, CTU-Malware-Capture-Botnet-42 … -54): what the malware sent is
From-Botnet; To-Botnet are "flows sent to the botnet by unknown computers, so they should not be considered malicious
perse"; so it is with From-Normal and To-Normal.  What is Background nobody has looked at.
"""

import re

import polars as pl

from datasets_registry.drivers.argus import ArgusFormat, read_flows
from datasets_registry.drivers.connections import ConnectionLabels
from datasets_registry.drivers.driver import Driver, LabelMap

FIRST = 42  # CTU-Malware-Capture-Botnet-42 is scenario 1.
# Scenario → (name of its capture and list, malware), of Garcia et al. 2014.
SCENARIOS = {
    1: ("20110810", "Neris"),
    2: ("20110811", "Neris"),
    3: ("20110812", "Rbot"),
    4: ("20110815", "Rbot"),
    5: ("20110815-2", "Virut"),
    6: ("20110816", "Menti"),
    7: ("20110816-2", "Sogou"),
    8: ("20110816-3", "Murlo"),
    9: ("20110817", "Neris"),
    10: ("20110818", "Rbot"),
    11: ("20110818-2", "Rbot"),
    12: ("20110819", "NSIS.ay"),
    13: ("20110815-3", "Virut"),
}
GROUPS = {date: f"scenario {number}" for number, (date, _) in SCENARIOS.items()}
CEST = 2  # hours ahead of UTC, in August

LABELS = LabelMap(
    benign=frozenset(),
    attacks={
        rf"flow=From-Botnet-V{FIRST - 1 + number}-.+": (malware, malware) for number, (_, malware) in SCENARIOS.items()
    },
    benign_patterns=(r"flow=From-Normal-V\d+-.+",),
)
NEITHER = {
    r"flow=(From-|To-)?Background.*": "Background",
    r"flow=To-Botnet-.+": "To-Botnet",
    r"flow=To-Normal-.+": "To-Normal",
    # Neither from nor to: the README does not say what it is.
    r"flow=Normal-.+": "Normal",
}
NAME = r"(?:.*/)?capture(2011\d{4}(?:-[23])?)"
CAPTURE = re.compile(rf"{NAME}(?:\.truncated)?\.pcap(?:\.gz|\.zst)?", re.IGNORECASE)
LIST = re.compile(rf"{NAME}\.binetflow", re.IGNORECASE)
FORM = ArgusFormat(text=pl.col("Label").fill_null("").str.strip_chars(' \t\r"'))


def _group(pattern: re.Pattern[str], path: str) -> str | None:
    found = pattern.fullmatch(path)
    return GROUPS.get(found[1]) if found else None


LISTS = ConnectionLabels(
    name="capture2011….binetflow",
    belongs=lambda path, group: _group(LIST, path) == group,
    read=lambda path, _group: read_flows(path, FORM),
    labels=LABELS,
    neither=NEITHER,
    zone=CEST,
)

DRIVER = Driver(
    name="ctu13",
    summary="CTU-13: a university network with bots in it, 13 scenarios of August 2011",
    licence="free with citation (Stratosphere Laboratory, CTU Prague)",
    citation=(
        "Garcia, Grill, Stiborek, Zunino: An empirical comparison of botnet detection methods, Computers & Security "
        "45, 2014, 10.1016/j.cose.2014.05.011"
    ),
    captures=(
        "whole captures, unpacked: capture20110810.truncated.pcap … (botnet-capture-….pcap have the bot's packets "
        "alone, which stand in the whole ones, too)"
    ),
    group_of=lambda path: _group(CAPTURE, path),
    tables="the numbers of a .binetflow are a set that no other dataset has",
    labeller=LISTS.labeller,
    defects=(
        "90 to 98 % of a scenario's flows are Background, which nobody has looked at: they are neither benign nor "
        "attack, and are left out (Garcia et al. 2014); a flow's neighbours are therefore mostly missing",
        "labels are by address: all that an infected host sent is the bot's, and of the normal hosts a web, a name and "
        "a matlab server are not so reliable by the dataset's own README",
        "packets are cut behind their headers, and the bot's bandwidth was limited (README of scenario 1: 20 kbit/s)",
        "one infected host in nine of the scenarios, three or ten in the others: few hosts are all of the attacks "
        "(Garcia et al. 2014, table 3)",
    ),
)
