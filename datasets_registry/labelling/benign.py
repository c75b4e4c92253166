"""What is benign: flows whose label is ``benign``, in any case.  A label that looks as if it meant that is warned
of."""

from __future__ import annotations

import re
from collections.abc import Mapping

BENIGN = "benign"
LOOKS_BENIGN = re.compile(
    r"benign.*|normal.*|legit(imate)?.*|background.*|clean.*|good(ware)?|regular|harmless|innocuous"
    r"|non[\W_]?(attack|malicious)|no[\W_]?attack|ok|none|null|nan|n/?a|-|0(\.0+)?|false|no",
    re.IGNORECASE,
)


def benign_warnings(labels: Mapping[str, tuple[int, bool]]) -> list[str]:
    """Lines to warn with; ``labels``: name → flows, and whether they are attacks."""
    said = []
    if labels and all(attack for _, attack in labels.values()):
        meant = f"only the label {BENIGN!r} means that"
        said.append(f"no flow is benign: {meant}; nothing can be trained on this dataset, and nothing calibrated")
    alike = {
        name: flows
        for name, (flows, attack) in sorted(labels.items())
        if attack and LOOKS_BENIGN.fullmatch(name.strip())
    }
    if alike:
        shown = ", ".join(f"{name!r} ({flows} flows)" for name, flows in alike.items())
        instead = f"write {BENIGN!r} where that is meant, and add the dataset again"
        said.append(f"labels that look benign are taken for attacks: {shown}; {instead}")
    return said
