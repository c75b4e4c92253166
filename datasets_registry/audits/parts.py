"""What a number rests on: parts that are too small, and flows that stand in two captures."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from datasets_registry.audits.view import Answer, AuditView, Finding, Ids, Measured, judged, percent
from datasets_registry.store import FlowStore
from protocols.flow_index import recorded_twice

FPR = 0.01  # The share of false alarms that thresholds are asked for most often.
FEW_ABOVE = 10
"""Calibration flows above a threshold from which it is more than a single flow's score: 10 / FPR of them in all."""
MIN_BENIGN, MIN_FAMILY = 200, 20
"""Benign test flows, and attack flows of a family, below which a number is mostly chance: of 200 flows one false alarm
is half a percent."""
MIN_TRAIN = 2
REPEATED = 0.01  # Share of a class's flows that stand in another capture, too, from which a warning is given.


def sizes(view: AuditView, parts: Mapping[str, Ids]) -> Answer:
    """Flows of the grouped partition's parts, before caps."""
    n = {name: len(ids) for name, ids in parts.items()}
    families = Counter(view.family[parts["test_attack"]].tolist())
    small = {name: count for name, count in sorted(families.items()) if count < MIN_FAMILY}
    needed = round(FEW_ABOVE / FPR)
    above = round(n["cal_b"] * FPR)
    measures = [
        Measured("parts.train", "benign flows to train on (grouped)", "count", n["train"]),
        Measured("parts.thresholds", "benign flows that thresholds come from (grouped)", "count", n["cal_b"]),
        Measured("parts.test_benign", "benign flows that are tested (grouped)", "count", n["test_benign"]),
        Measured("parts.families", f"families of fewer than {MIN_FAMILY} attack flows", "count", len(small), small),
    ]
    findings = []
    if n["train"] < MIN_TRAIN:
        text = f"{n['train']} benign flows to train on: no detector can be fitted"
        findings.append(Finding("parts.train", "error", text, "no training flows", n["train"], MIN_TRAIN))
    if n["cal_b"] < needed:
        rests = f"a threshold at {FPR:.0%} false alarms rests on the {above} highest of them"
        none = f"there is no threshold at {FPR:.0%} false alarms, which needs {1 / FPR:.0f}"
        text = f"{n['cal_b']} calibration flows for thresholds: {rests if n['cal_b'] >= 1 / FPR else none}"
        findings.append(Finding("parts.thresholds", "warning", text, "few flows behind thresholds", n["cal_b"], needed))
    if n["test_benign"] < MIN_BENIGN:
        text = f"{n['test_benign']} benign test flows: an AUROC of 1.000 on so few means little"
        findings.append(
            Finding("parts.test_benign", "warning", text, "few benign test flows", n["test_benign"], MIN_BENIGN)
        )
    if small:
        shown = ", ".join(f"{name} {count}" for name, count in list(small.items())[:5])
        text = f"{len(small)} families of attacks have fewer than {MIN_FAMILY} flows ({shown}): theirs is chance"
        findings.append(Finding("parts.families", "note", text, "tiny families", len(small), 1))
    return Answer(measures, findings)


def repeated(view: AuditView, store: FlowStore) -> Answer:
    """Flows that were recorded twice: one 5-tuple in two captures, within a second."""
    key, what = "captures.repeated", "flows that stand in another capture, too"
    flows = store.flows(["src_ip", "src_port", "dst_ip", "dst_port", "proto", "ts_start"])
    one, other = recorded_twice(flows, store.labels(["file"]))
    apart = view.capture[one] != view.capture[other]
    again = other[apart]
    names = store.labels(["source"])["source"]
    pairs = Counter(zip(names[one[apart]].to_list(), names[again].to_list(), strict=True))
    detail: dict[str, object] = {
        "benign": int((~view.attack[again]).sum()),
        "attack": int(view.attack[again].sum()),
        **{f"{a} and {b}": count for (a, b), count in pairs.most_common(3)},
    }
    twice = view.attack[again]
    shares = [float((twice == kind).sum() / max(1, (view.attack == kind).sum())) for kind in (False, True)]
    (first, second), most = pairs.most_common(1)[0] if pairs else (("", ""), 0)
    text = (
        f"{len(again)} flows ({percent(max(shares))} of their class) stand in two captures, {most} of them in {first} "
        f"and {second}: they were recorded twice or published under two names; partitions and intervals take captures "
        "that share so much as one"
    )
    measure = Measured(key, what, "count", len(again), detail if pairs else {})
    return Answer([measure], judged(key, max(shares), text, "flows in two captures", warning=REPEATED))
