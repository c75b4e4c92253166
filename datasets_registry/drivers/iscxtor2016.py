"""ISCXTor2016: the same applications with and without Tor.  The label is the capture's folder; the CSV has no times to
match by.

Tor attacks nobody: it is the class to be told apart (the positive), and a result on this dataset is about a shift of
classes, not about attacks.
"""

import re
from pathlib import PurePosixPath

from datasets_registry.capture.rules import FlowRules
from datasets_registry.drivers.driver import BENIGN, Driver, Label, by_class, label_captures

FOLDERS = {"tor": Label("Tor", "class shift"), "nontor": BENIGN}
CAPTURE = re.compile(r".+\.pcap(ng)?(\.gz|\.zst)?", re.IGNORECASE)


def _class_of(path: str) -> Label | None:
    """The class that the nearest folder named after one stands for."""
    *folders, name = PurePosixPath(path).parts
    if not CAPTURE.fullmatch(name):
        return None
    return next(
        (FOLDERS[key] for part in reversed(folders) if (key := re.sub(r"[\W_]", "", part).casefold()) in FOLDERS), None
    )


DRIVER = Driver(
    name="iscxtor2016",
    summary="ISCXTor2016: eight kinds of applications through Tor and without it; a class-shift task, not attacks",
    licence="free for research with citation (Canadian Institute for Cybersecurity, UNB)",
    citation="Lashkari et al.: Characterization of Tor Traffic Using Time Based Features, ICISSP 2017",
    captures="captures in the folders Tor and NonTor",
    group_of=by_class(_class_of),
    defects=(
        "the label is the capture's folder, and the two classes were recorded apart: what tells them apart may be the "
        "recording (see the audit); the published CSV has no times to match by",
    ),
    tables="their 23 features of times are a set that no other dataset has",
    labeller=lambda _request: lambda _group, flows: label_captures(flows, _class_of),
    rules=FlowRules(active_timeout_s=10.0),  # the published CSV's: SelectedFeatures-10s
    task="class shift",
)
