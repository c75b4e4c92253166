"""What to do about a finding: one sentence for each key, so that whoever reads it need not guess."""

from __future__ import annotations

_BESIDE = "read this beside every number on the dataset"
ACTIONS = {
    "coverage": "look at the rows by label (data info): captures may be missing, or clocks disagree",
    "origins.apart": (
        "believe numbers inside a site only (@site), or add captures in which attacks and benign traffic share hosts"
    ),
    "origins.captures": "look at some flows of each capture by hand before the labels are believed",
    "mirrored.packets": "compare with the control `length`, and look at one such flow",
    "mirrored.captures": "add the dataset again with --remove-mirrored",
    "mirrored.extraction": "nothing: the copies were left out; say so where the dataset is described",
    "caps": "add the captures whole, or cut both classes at the lower cap",
    "one_packet.attack": "read the view of flows of two or more packets beside it (--metric auroc@2+)",
    "one_packet.family": "read the mean over families (--metric macro_auroc) instead of the pooled number",
    "separability.unseen": "believe numbers inside a site only, and test on a network where attacks share captures",
    "separability": "compare with the controls in the same table: a detector has to beat what this alone can",
    "control": "do not use this audit: report it, with the dataset's hash",
    "captures.separability": "read false-positive rates of the target beside AUROC, and calibrate on the target",
    "captures.repeated": "leave one of the captures out, or keep both knowing that they count as one",
    "context.alone": "see whether context holds for the next network, within a site, and with run --overlay",
    "context.thinned": "leave out detectors that read context, or add the captures whole",
    "context.captures": "read false-positive rates beside AUROC where a detector reads context",
    "context.capped": "add the captures whole before a detector reads context",
    "tuples.benign_in_train_grouped": "compare with the numbers on other networks: these connections are known",
    "tuples.attack_in_train_grouped": "look at such flows by hand: a label may be wrong, or captures may overlap",
    "families.one_pair": "read the mean over families, with intervals over captures, and no number of flows",
    "families.one_minute": "read the mean over families, with intervals over captures, and no number of flows",
    "duplicates": "compare grouped with random partitions, and prefer the mean over families",
    "parts.train": "add benign traffic: nothing can be trained on so few flows",
    "parts.thresholds": "add benign traffic, or read AUROC and no number that needs a threshold at 1 %",
    "parts.test_benign": "add benign traffic; until then give intervals with every number",
    "parts.families": "leave these families out of means over families, or give their numbers with intervals",
}


def action_for(key: str) -> str:
    """The sentence of a finding's key, or of the longest beginning of it that has one."""
    while key not in ACTIONS and "." in key:
        key = key.rpartition(".")[0]
    return ACTIONS.get(key, _BESIDE)
